/* One picture through Keras's chain, pass by pass: a pass goes over all rows, and what the next
 * one must know of the whole picture (its range, mean or deviation) is found in between. */
#include "image/transform.h"

#include <math.h>
#include <string.h>

#include "core/pool.h"
#include "image/float_loops.h"
#include "image/statistics.h"

enum { MOVE, SHIFT_CHANNELS, BRIGHTEN, MAP, CENTER, NORMALIZE, BY_CHANNEL, DONE };
enum { MAX_TASKS = 64 };

/* Bytes of a picture that would take much of the second cache from who decodes the next one. */
static const size_t large = 128 << 10;

static bool
is_on(const tl_transform_job *job, int pass)
{
    const tl_transform *how = &job->how;
    switch (pass) {
    case SHIFT_CHANNELS:
        return how->shifts_channels;
    case BRIGHTEN:
        return how->brightens;
    case MAP: /* unless it is done together with the move */
        return how->maps && job->affine.map == NULL;
    case CENTER:
        return how->centers;
    case NORMALIZE:
        return how->normalizes;
    case BY_CHANNEL:
        return how->mean != NULL || how->divisor != NULL;
    default:
        return true;
    }
}

static bool
needs_range(const tl_transform_job *job)
{
    return (job->pass == MOVE && (job->how.shifts_channels || job->how.brightens)) ||
           (job->pass == SHIFT_CHANNELS && job->how.brightens);
}

/* Whether no pass comes after the first. */
static bool
is_only_pass(const tl_transform_job *job)
{
    int pass = MOVE + 1;
    while (pass != DONE && !is_on(job, pass)) {
        pass++;
    }
    return pass == DONE;
}

static bool
is_more_than_moves(const tl_transform *how)
{
    return how->shifts_channels || how->brightens || how->maps || how->centers ||
           how->normalizes || how->mean != NULL || how->divisor != NULL;
}

static tl_status
check(const tl_transform *how, tl_pixel_type result, tl_pixel_type type, size_t channels)
{
    const tl_pixel_type natural = type == TL_UINT8 ? TL_FLOAT32 : type;
    const bool keeps_bytes =
        type == TL_UINT8 && result == TL_UINT8 && !how->moves && !is_more_than_moves(how);
    if (result != natural && !keeps_bytes) {
        return tl_fail(
            TL_BAD_VALUE,
            "dst must hold float32 for a src of uint8 or float32, float64 for one of "
            "float64, or uint8 for a src of uint8 that is only flipped");
    }
    if (type == TL_FLOAT64 && is_more_than_moves(how)) {
        return tl_fail(TL_BAD_VALUE, "a src of float64 can be moved and flipped, no more");
    }
    if (how->brightens && channels != 1 && channels != 3 && channels != 4) {
        return tl_fail(TL_BAD_VALUE,
                       "brightness needs a picture of 1, 3 or 4 channels, not %zu", channels);
    }
    return how->moves ? tl_affine_check(&how->affine) : TL_OK;
}

tl_status
tl_transform_begin(tl_transform_job *job, const tl_transform *how, void *dst,
                   tl_pixel_type result, const void *src, tl_pixel_type type, size_t step,
                   size_t height, size_t width, size_t channels)
{
    tl_status status;
    TL_TRY(check(how, result, type, channels));
    *job = (tl_transform_job){
        .how = *how,
        .result = result,
        .loops = tl_float_loops_best(),
        .pass = height == 0 || width == 0 || channels == 0 ? DONE : MOVE,
        .made = {INFINITY, -INFINITY},
        .affine = {.affine = how->affine,
                   .flip_rows = how->flips_rows,
                   .flip_cols = how->flips_cols,
                   .type = type,
                   .src = src,
                   .step = step,
                   .dst = dst,
                   .height = height,
                   .width = width,
                   .channels = channels},
    };
    if (how->maps && !how->shifts_channels && !how->brightens && how->rescale == 1.0F) {
        job->affine.map = &job->how.map;
    }
    job->affine.streams = result == TL_FLOAT32 && channels <= 4 && is_only_pass(job) &&
                          height * width > large / (channels * sizeof(float));
done:
    return status;
}

bool
tl_transform_is_done(const tl_transform_job *job)
{
    return job->pass == DONE;
}

/* The last pixel of src becomes the first of dst. */
#define TURN_ROUND(type)                                                                       \
    do {                                                                                       \
        type *out = (type *)dst;                                                               \
        for (size_t w = pixels; w-- > 0;) {                                                    \
            memcpy(out, (const type *)src + w * step, channels * sizeof *out);                 \
            out += channels;                                                                   \
        }                                                                                      \
    } while (0)

static void
copy_bytes(void *dst, const uint8_t *src, size_t pixels, const tl_affine_job *how)
{
    const size_t channels = how->channels;
    const size_t step = how->step;
    if (how->flip_cols) {
        tl_pixels_pack_reversed(dst, src, pixels, channels, step);
    } else {
        tl_pixels_pack(dst, src, pixels, channels, step);
    }
}

/* Bytes to numbers, a block at a time. */
static void
copy_bytes_to_floats(float *dst, const uint8_t *src, const tl_affine_job *how)
{
    enum { BLOCK = 1024 };
    static const tl_pixel_map plain = {1, 1, -0.0F};
    const tl_pixel_map *map = how->map != NULL ? how->map : &plain;
    const size_t channels = how->channels;
    const size_t step = how->step;
    if (!how->flip_cols && !how->streams && (step == channels || channels <= 4)) {
        tl_pixels_to_float(dst, src, how->width, channels, step, map);
        return;
    }
    uint8_t turned[BLOCK];
    float made[BLOCK];
    const size_t whole = channels <= BLOCK ? BLOCK / channels : 0;
    for (size_t w = 0; w < how->width;) {
        const size_t left = how->width - w;
        const size_t pixels = whole == 0 ? 1 : left < whole ? left : whole;
        const size_t from = how->flip_cols ? left - pixels : w;
        const uint8_t *bytes = src + from * step;
        if (whole != 0) {
            copy_bytes(turned, bytes, pixels, how);
            bytes = turned;
        }
        float *const to = dst + w * channels;
        tl_pixels_to_float(how->streams ? made : to, bytes, pixels * channels, 1, 1, map);
        if (how->streams) {
            tl_pixels_stream(to, made, pixels * channels);
        }
        w += pixels;
    }
}

static void
copy_row(const tl_transform_job *job, size_t row)
{
    const tl_affine_job *how = &job->affine;
    const size_t pixels = how->width;
    const size_t channels = how->channels;
    const size_t step = how->step;
    const size_t to = row * pixels * channels;
    const size_t from = (how->flip_rows ? how->height - 1 - row : row) * pixels * step;
    if (how->type == TL_UINT8 && job->result == TL_UINT8) {
        copy_bytes((uint8_t *)how->dst + to, (const uint8_t *)how->src + from, pixels, how);
    } else if (how->type == TL_UINT8) {
        copy_bytes_to_floats((float *)how->dst + to, (const uint8_t *)how->src + from, how);
    } else if (how->type == TL_FLOAT32) {
        float *dst = (float *)how->dst + to;
        const float *src = (const float *)how->src + from;
        if (how->flip_cols) {
            TURN_ROUND(float);
        } else {
            memcpy(dst, src, pixels * channels * sizeof *dst);
        }
        if (how->map != NULL) {
            job->loops->map(dst, pixels * channels, how->map, 1);
        }
    } else {
        double *dst = (double *)how->dst + to;
        const double *src = (const double *)how->src + from;
        if (how->flip_cols) {
            TURN_ROUND(double);
        } else {
            memcpy(dst, src, pixels * channels * sizeof *dst);
        }
    }
}

/* The last of 4 channels is opacity, which Pillow leaves as it is. */
static void
brighten_pixels(float *x, size_t count, const tl_transform_job *job)
{
    tl_brightness by = {.lowest = job->lowest,
                        .highest = job->highest,
                        .factor = job->how.brightness,
                        .stretches = job->how.stretches};
    if (job->affine.channels != 4) {
        job->loops->brighten(x, count, &by);
        return;
    }
    for (size_t i = 0; i < count; i += 4) {
        by.factor = job->how.brightness;
        job->loops->brighten(x + i, 3, &by);
        by.factor = 1;
        job->loops->brighten(x + i + 3, 1, &by);
    }
}

/* Rows of the pass that the job is in; range is extended by the values made, where needed. */
static void
run_rows(const tl_transform_job *job, size_t first, size_t last, float range[2])
{
    const tl_float_loops *loops = job->loops;
    const size_t count = job->affine.width * job->affine.channels;
    if (job->pass == MOVE && job->how.moves) {
        tl_affine_rows(&job->affine, first, last);
    }
    for (size_t row = first; row < last; row++) {
        /* other types are moved, no more */
        float *x = job->result == TL_FLOAT32 ? (float *)job->affine.dst + row * count : NULL;
        switch (job->pass) {
        case MOVE:
            if (!job->how.moves) {
                copy_row(job, row);
            }
            break;
        case SHIFT_CHANNELS:
            loops->shift(x, count, job->how.channel_shift, job->lowest, job->highest);
            break;
        case BRIGHTEN:
            brighten_pixels(x, count, job);
            break;
        case MAP:
            loops->map(x, count, &job->how.map, job->how.rescale);
            break;
        case CENTER:
            loops->subtract(x, count, job->mean);
            break;
        case NORMALIZE:
            loops->divide(x, count, job->divisor);
            break;
        default:
            loops->by_channel(x, count, job->affine.channels, job->how.mean, job->how.divisor);
        }
        if (needs_range(job)) {
            loops->extend_range(range, x, count);
        }
    }
}

typedef struct shared_rows {
    const tl_transform_job *job;
    size_t first, last, tasks;
    float ranges[MAX_TASKS][2];
} shared_rows;

static tl_status
run_part(void *context, size_t index)
{
    shared_rows *rows = context;
    const size_t count = rows->last - rows->first;
    run_rows(rows->job, rows->first + count * index / rows->tasks,
             rows->first + count * (index + 1) / rows->tasks, rows->ranges[index]);
    return TL_OK;
}

static tl_status
run_shared(tl_transform_job *job, size_t last)
{
    tl_status status;
    const size_t threads = tl_pool_threads();
    shared_rows rows = {.job = job, .first = job->row, .last = last};
    rows.tasks = last - job->row < MAX_TASKS ? last - job->row : MAX_TASKS;
    rows.tasks = rows.tasks < threads ? rows.tasks : threads;
    for (size_t i = 0; i < rows.tasks; i++) {
        memcpy(rows.ranges[i], job->made, sizeof job->made);
    }
    TL_TRY(tl_pool_run(run_part, &rows, rows.tasks));
    for (size_t i = 0; i < rows.tasks; i++) {
        job->loops->extend_range(job->made, rows.ranges[i], 2);
    }
done:
    return status;
}

/* The next pass that is on, and what it must know of the whole picture. */
static void
enter_next_pass(tl_transform_job *job)
{
    const size_t count = job->affine.height * job->affine.width * job->affine.channels;
    do {
        job->pass++;
    } while (job->pass != DONE && !is_on(job, job->pass));
    job->row = 0;
    job->lowest = job->made[0];
    job->highest = job->made[1];
    job->made[0] = INFINITY;
    job->made[1] = -INFINITY;
    if (job->pass == CENTER) {
        job->mean = tl_mean_of(job->affine.dst, count);
    } else if (job->pass == NORMALIZE) {
        job->divisor = tl_deviation_of(job->affine.dst, count) + 1e-6F;
    }
}

tl_status
tl_transform_advance(tl_transform_job *job, size_t values, bool shared)
{
    tl_status status = TL_OK;
    const size_t height = job->affine.height;
    const size_t a_row = job->affine.width * job->affine.channels;
    const size_t rows = values / a_row > 0 ? values / a_row : 1;
    const size_t last = rows < height - job->row ? job->row + rows : height;
    if (shared) {
        TL_TRY(run_shared(job, last));
    } else {
        run_rows(job, job->row, last, job->made);
    }
    if (job->affine.streams) {
        tl_pixels_settle();
    }
    job->row = last;
    if (last == height) {
        enter_next_pass(job);
    }
done:
    return status;
}
