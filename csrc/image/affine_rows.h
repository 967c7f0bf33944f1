/* Rows of an affine transformation, included once an instruction set, which defines TARGET,
 * ROWS (the function's name), BLEND_RGB_BYTES and BLEND_RGB_FLOATS (dst, src, its width and
 * step, places, count; how many pixels, from the first on, they have done).
 *
 * First where the pixels of a stretch lie: compiled to vectors, no branches; then their values.
 * A pixel whose two neighbours are not two samples side by side is odd and done anew after
 * that.
 */
#include <math.h>
#include <string.h>

#include "image/affine_fold.h"
#include "image/affine_places.h"

#define INLINE static inline __attribute__((always_inline)) TARGET

/* Row and column of a pixel of the result, by its column's number. */
typedef struct line {
    double y, dy, x, dx;
    double first, step; /* number of the first column, 1 or -1 */
} line;

/* A pixel at (y, x), whose upper left sample is `from`. */
INLINE void
put(places *restrict found, size_t k, double y, double x, double from_y, double from_x,
    double width)
{
    const double weight_y = 1 - (y - from_y);
    const double weight_x = 1 - (x - from_x);
    found->at[k] = (int32_t)(from_y * width + from_x);
    found->y0[k] = weight_y;
    found->y1[k] = 1 - weight_y;
    found->x0[k] = weight_x;
    found->x1[k] = 1 - weight_x;
}

/* A stretch without an odd pixel. */
static TARGET void
find_inside(places *restrict found, line at, size_t count, size_t row_width, int order)
{
    const double width = (double)row_width;
    for (size_t k = 0; order == 0 && k < count; k++) {
        const double j = at.first + at.step * (double)(int32_t)k;
        const double from_y = floor(at.y + j * at.dy + 0.5);
        found->at[k] = (int32_t)(from_y * width + floor(at.x + j * at.dx + 0.5));
    }
    for (size_t k = 0; order != 0 && k < count; k++) {
        const double j = at.first + at.step * (double)(int32_t)k;
        const double y = at.y + j * at.dy;
        const double x = at.x + j * at.dx;
        put(found, k, y, x, floor(y), floor(x), width);
    }
}

/* Any stretch. Whether a pixel is odd is found out unless `clamps`: then it lies at the edge.
 */
INLINE bool
find(places *restrict found, line at, size_t count, const tl_affine_job *job, tl_edge_mode mode,
     int order, bool clamps)
{
    const double last_y = (double)(job->height - 1);
    const double last_x = (double)(job->width - 1);
    const double width = (double)job->width;
    int32_t any = 0;
    for (size_t k = 0; k < count; k++) {
        const double j = at.first + at.step * (double)(int32_t)k;
        const double folded_y = tl_affine_fold(at.y + j * at.dy, last_y, mode);
        const double folded_x = tl_affine_fold(at.x + j * at.dx, last_x, mode);
        const double raised_y = folded_y > 0 ? folded_y : 0;
        const double raised_x = folded_x > 0 ? folded_x : 0;
        const double y = raised_y < last_y ? raised_y : last_y;
        const double x = raised_x < last_x ? raised_x : last_x;
        if (!clamps) {
            found->odd[k] = y != folded_y || x != folded_x ? -1 : 0;
            any |= found->odd[k];
        }
        if (order == 0) {
            found->at[k] = (int32_t)(floor(y + 0.5) * width + floor(x + 0.5));
        } else {
            /* the last sample is the second of two */
            const double floor_y = floor(y);
            const double floor_x = floor(x);
            put(found, k, y, x, floor_y < last_y - 1 ? floor_y : last_y - 1,
                floor_x < last_x - 1 ? floor_x : last_x - 1, width);
        }
    }
    return any != 0;
}

INLINE bool
is_inside(double coordinate, size_t size)
{
    return coordinate >= 0 && coordinate < (double)(size - 1);
}

/* Coordinates only rise or only fall along a row: what lies between two inside is inside. */
INLINE bool
are_inside(line at, size_t count, const tl_affine_job *job)
{
    const double j = at.first;
    const double end = at.first + at.step * (double)(count - 1);
    return is_inside(at.y + j * at.dy, job->height) &&
           is_inside(at.y + end * at.dy, job->height) &&
           is_inside(at.x + j * at.dx, job->width) && is_inside(at.x + end * at.dx, job->width);
}

/* Whether any pixel of the stretch is odd. */
static TARGET bool
find_all(places *found, line at, size_t count, const tl_affine_job *job)
{
    const int order = job->affine.order;
    if (are_inside(at, count, job)) {
        find_inside(found, at, count, job->width, order);
        return false;
    }
#define FIND(mode, clamps)                                                                     \
    (order == 0 ? find(found, at, count, job, mode, 0, clamps)                                 \
                : find(found, at, count, job, mode, 1, clamps))
    switch (job->affine.fill) {
    case TL_EDGE_NEAREST: /* see affine.h for the other type */
        return job->type != TL_FLOAT64 ? FIND(TL_EDGE_NEAREST, true)
                                       : FIND(TL_EDGE_NEAREST, false);
    case TL_EDGE_REFLECT:
        return FIND(TL_EDGE_REFLECT, false);
    case TL_EDGE_WRAP:
        return FIND(TL_EDGE_WRAP, false);
    case TL_EDGE_MIRROR:
        return FIND(TL_EDGE_MIRROR, false);
    case TL_EDGE_GRID_WRAP:
        return FIND(TL_EDGE_GRID_WRAP, false);
    default:
        return FIND(TL_EDGE_CONSTANT, false);
    }
#undef FIND
}

/* Pixels `from` on, of any kind. */
#define BLEND(name, src_type, dst_type)                                                        \
    INLINE void name(dst_type *restrict dst, const src_type *restrict src, size_t from,        \
                     size_t count, size_t channels, size_t step, const tl_affine_job *job,     \
                     const places *found)                                                      \
    {                                                                                          \
        const size_t row = job->width * step;                                                  \
        if (job->affine.order == 0) {                                                          \
            for (size_t k = from; k < count; k++) {                                            \
                for (size_t c = 0; c < channels; c++) {                                        \
                    dst[k * channels + c] = (dst_type)src[(size_t)found->at[k] * step + c];    \
                }                                                                              \
            }                                                                                  \
            return;                                                                            \
        }                                                                                      \
        for (size_t k = from; k < count; k++) {                                                \
            const src_type *p = src + (size_t)found->at[k] * step;                             \
            for (size_t c = 0; c < channels; c++, p++) {                                       \
                double sum = 0.0 + (double)p[0] * found->y0[k] * found->x0[k];                 \
                sum += (double)p[step] * found->y0[k] * found->x1[k];                          \
                sum += (double)p[row] * found->y1[k] * found->x0[k];                           \
                sum += (double)p[row + step] * found->y1[k] * found->x1[k];                    \
                dst[k * channels + c] = (dst_type)sum;                                         \
            }                                                                                  \
        }                                                                                      \
    }

BLEND(blend_bytes, uint8_t, float)
BLEND(blend_floats, float, float)
BLEND(blend_doubles, double, double)
#undef BLEND

static TARGET void
blend(void *dst, const tl_affine_job *job, const places *found, size_t count)
{
    const size_t channels = job->channels;
    const size_t step = job->step;
    const bool is_rgb = channels == 3 && job->affine.order == 1;
    size_t done = 0;
    /* the known sizes are for the compiler */
    if (job->type == TL_UINT8) {
        if (is_rgb && (step == 3 || step == 4)) {
            done = BLEND_RGB_BYTES(dst, job->src, job->width, step, found, count);
        }
        if (channels == 3) {
            blend_bytes(dst, job->src, done, count, 3, step, job, found);
        } else if (channels == 1 && step == 1) {
            blend_bytes(dst, job->src, 0, count, 1, 1, job, found);
        } else if (channels == 4 && step == 4) {
            blend_bytes(dst, job->src, 0, count, 4, 4, job, found);
        } else {
            blend_bytes(dst, job->src, 0, count, channels, step, job, found);
        }
    } else if (job->type == TL_FLOAT32) {
        if (is_rgb) {
            done = BLEND_RGB_FLOATS(dst, job->src, job->width, found, count);
            blend_floats(dst, job->src, done, count, 3, 3, job, found);
        } else if (channels == 1) {
            blend_floats(dst, job->src, 0, count, 1, 1, job, found);
        } else if (channels == 4) {
            blend_floats(dst, job->src, 0, count, 4, 4, job, found);
        } else {
            blend_floats(dst, job->src, 0, count, channels, channels, job, found);
        }
    } else {
        blend_doubles(dst, job->src, 0, count, channels, channels, job, found);
    }
}

/* x / divide * scale + offset, each step rounded to float32. */
static TARGET void
map_floats(float *restrict x, size_t count, const tl_pixel_map *map)
{
    const tl_pixel_map by = *map;
    if (by.divide == 1.0F) {
        for (size_t i = 0; i < count; i++) {
            const float scaled = x[i] * by.scale;
            x[i] = scaled + by.offset;
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const float divided = x[i] / by.divide;
        const float scaled = divided * by.scale;
        x[i] = scaled + by.offset;
    }
}

TARGET void
ROWS(const tl_affine_job *job, size_t first, size_t last)
{
    const double *m = job->affine.m;
    const bool floats = job->type != TL_FLOAT64;
    const size_t bytes = floats ? sizeof(float) : sizeof(double);
    /* what does not fit int32 or has no second sample is odd throughout */
    const bool all_odd =
        job->height * job->width > INT32_MAX || job->height < 2 || job->width < 2;
    for (size_t row = first; row < last; row++) {
        const double i = (double)(job->flip_rows ? job->height - 1 - row : row);
        line at = {.y = m[2] + i * m[0], .dy = m[1], .x = m[5] + i * m[3], .dx = m[4]};
        at.step = job->flip_cols ? -1 : 1;
        for (size_t start = 0; start < job->width; start += STRETCH) {
            const size_t left = job->width - start;
            const size_t count = left < STRETCH ? left : STRETCH;
            const size_t to = row * job->width + start;
            const size_t values = count * job->channels;
            float made[STRETCH * 4];
            void *const dst = (unsigned char *)job->dst + to * job->channels * bytes;
            void *const out = job->streams ? made : dst;
            places found;
            bool any_odd = true;
            at.first = (double)(job->flip_cols ? job->width - 1 - start : start);
            if (!all_odd) {
                any_odd = find_all(&found, at, count, job);
                blend(out, job, &found, count);
            }
            for (size_t k = 0; any_odd && k < count; k++) {
                if (!all_odd && found.odd[k] == 0) {
                    continue;
                }
                if (!all_odd && job->affine.fill == TL_EDGE_CONSTANT && floats) {
                    for (size_t c = 0; c < job->channels; c++) {
                        ((float *)out)[k * job->channels + c] = (float)job->affine.cval;
                    }
                } else {
                    const double j = at.first + at.step * (double)k;
                    tl_affine_pixel(out, job, k, at.y + j * at.dy, at.x + j * at.dx);
                }
            }
            if (job->map != NULL) {
                map_floats(out, values, job->map);
            }
            if (job->streams) {
                tl_pixels_stream(dst, made, values);
            }
        }
    }
}
