/* Every method is a weighted sum over rows and then over columns; its gradient takes the same
 * way back. */
#include "image/resize.h"

#include <string.h>

#include "core/arena.h"

struct tl_resize {
    tl_resize_plan plan;
    tl_taps rows, cols;
};

static size_t
least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

tl_status
tl_resize_create(tl_resize **out, const tl_resize_plan *plan)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_resize *resize = tl_alloc(1, sizeof *resize);
    if (resize == NULL) {
        goto done;
    }
    resize->plan = *plan;
    TL_TRY(tl_taps_init(&resize->rows, &(tl_sampling){plan->part[0], plan->dst[0], plan->method,
                                                      plan->antialias}));
    TL_TRY(tl_taps_init(&resize->cols, &(tl_sampling){plan->part[1], plan->dst[1], plan->method,
                                                      plan->antialias}));

    *out = resize; /* handed over */
    resize = NULL;
done:
    tl_resize_destroy(resize);
    return status;
}

void
tl_resize_destroy(tl_resize *resize)
{
    if (resize != NULL) {
        tl_taps_clear(&resize->cols);
        tl_taps_clear(&resize->rows);
        tl_free(resize);
    }
}

size_t
tl_resize_scratch(const tl_resize *resize)
{
    return resize->plan.part[1] * resize->plan.channels;
}

static size_t
inside(ptrdiff_t at, size_t limit)
{
    return at < 0 ? 0 : least_of((size_t)at, limit);
}

static void
add_constant(float *dst, size_t count, float x, bool begins)
{
    for (size_t i = 0; i < count; i++) {
        dst[i] = begins ? x : dst[i] + x;
    }
}

static void
add_row(float *restrict dst, const float *restrict src, size_t count, float weight, bool begins)
{
    if (begins) {
        for (size_t i = 0; i < count; i++) {
            dst[i] = weight * src[i];
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        dst[i] += weight * src[i];
    }
}

/* How the line that is summed up lies over the picture, in numbers: so many in front of it,
 * then those of its columns from `first` on. */
typedef struct overlap {
    size_t before, within, whole;
    size_t first;
} overlap;

static overlap
overlap_of(const tl_resize_plan *p)
{
    const size_t begin = inside(p->start[1], p->src[1]);
    const size_t end = inside(p->start[1] + (ptrdiff_t)p->part[1], p->src[1]);
    return (overlap){.before = (size_t)((ptrdiff_t)begin - p->start[1]) * p->channels,
                     .within = (end - begin) * p->channels,
                     .whole = p->part[1] * p->channels,
                     .first = begin * p->channels};
}

/* Where the k-th row of those that make row y begins in the picture; false outside of it. */
static bool
find_row(size_t *offset, const tl_resize *resize, size_t y, size_t k)
{
    const tl_resize_plan *p = &resize->plan;
    const ptrdiff_t row = p->start[0] + (ptrdiff_t)(resize->rows.first[y] + k);
    *offset = row < 0 ? 0 : (size_t)row * p->src[1] * p->channels;
    return row >= 0 && row < (ptrdiff_t)p->src[0];
}

/* line (width of the part, channels) <- the weighted sum of rows for row y of the result. */
static void
sum_rows(const tl_resize *resize, float *line, const float *src, size_t y)
{
    const overlap o = overlap_of(&resize->plan);
    const float *weights = resize->rows.weights + y * resize->rows.most;
    for (size_t k = 0; k < resize->rows.count[y]; k++) {
        const float fill = weights[k] * resize->plan.fill_value;
        size_t row;
        if (!find_row(&row, resize, y, k)) {
            add_constant(line, o.whole, fill, k == 0);
            continue;
        }
        add_constant(line, o.before, fill, k == 0);
        add_row(line + o.before, src + row + o.first, o.within, weights[k], k == 0);
        add_constant(line + o.before + o.within, o.whole - o.before - o.within, fill, k == 0);
    }
}

static void
sum_cols(const tl_resize *resize, float *dst, const float *line)
{
    const tl_taps *cols = &resize->cols;
    const size_t channels = resize->plan.channels;
    for (size_t x = 0; x < resize->plan.dst[1]; x++) {
        const float *weights = cols->weights + x * cols->most;
        const float *src = line + cols->first[x] * channels;
        for (size_t c = 0; c < channels; c++) {
            float sum = weights[0] * src[c];
            for (size_t k = 1; k < cols->count[x]; k++) {
                sum += weights[k] * src[k * channels + c];
            }
            dst[x * channels + c] = sum;
        }
    }
}

void
tl_resize_run(const tl_resize *resize, float *dst, const float *src, float *scratch)
{
    const size_t row = resize->plan.dst[1] * resize->plan.channels;
    for (size_t y = 0; y < resize->plan.dst[0]; y++) {
        sum_rows(resize, scratch, src, y);
        sum_cols(resize, dst + y * row, scratch);
    }
}

/* The gradient of the line from that of row y of the result. */
static void
spread_cols(const tl_resize *resize, float *line, const float *grad)
{
    const tl_taps *cols = &resize->cols;
    const size_t channels = resize->plan.channels;
    memset(line, 0, tl_resize_scratch(resize) * sizeof *line);
    for (size_t x = 0; x < resize->plan.dst[1]; x++) {
        for (size_t k = 0; k < cols->count[x]; k++) {
            const float weight = cols->weights[x * cols->most + k];
            float *to = line + (cols->first[x] + k) * channels;
            for (size_t c = 0; c < channels; c++) {
                to[c] += weight * grad[x * channels + c];
            }
        }
    }
}

void
tl_resize_back(const tl_resize *resize, float *grad_src, const float *grad_dst, float *scratch)
{
    const size_t width = resize->plan.dst[1] * resize->plan.channels;
    const overlap o = overlap_of(&resize->plan);
    for (size_t y = 0; y < resize->plan.dst[0]; y++) {
        spread_cols(resize, scratch, grad_dst + y * width);
        for (size_t k = 0; k < resize->rows.count[y]; k++) {
            size_t row;
            if (find_row(&row, resize, y, k)) {
                add_row(grad_src + row + o.first, scratch + o.before, o.within,
                        resize->rows.weights[y * resize->rows.most + k], false);
            }
        }
    }
}
