/* Rows of an affine transformation, included once an instruction set, which defines TARGET,
 * ROWS (the function's name), BLEND_RGB_BYTES and BLEND_RGB_FLOATS (dst, src, its width and step,
 * places, count; how many pixels, from the first on, they have done).
 *
 * First where the pixels of a stretch lie: compiled to vectors, no branches; then their values.
 * A pixel whose two neighbours are not two samples side by side is odd and done anew after that.
 */
#include <math.h>
#include <string.h>

#include "image/affine_places.h"

#define INLINE static inline __attribute__((always_inline)) TARGET

INLINE double
fold(double x, double last, tl_fill_mode mode)
{
    const double size = last + 1;
    if (mode == TL_FILL_MIRROR) {
        /* as affine.c has it, both sides computed and one chosen */
        const double up = 2 * last * trunc(-x / (2 * last)) + x;
        const double below = up <= -last ? up + 2 * last : -up;
        const double down = x - 2 * last * trunc(x / (2 * last));
        const double above = down >= size ? 2 * last - down : down;
        return x < 0 ? below : x > last ? above : x;
    }
    if (mode == TL_FILL_REFLECT) {
        const double moved = 2 * size * trunc(-x / (2 * size)) + x;
        const double up = x < -2 * size ? moved : x;
        const double below = up < -size ? up + 2 * size : (up > -1e-15 ? 1e-15 : -up) - 1;
        const double down = x - 2 * size * trunc(x / (2 * size));
        const double above = down >= size ? 2 * size - down - 1 : down;
        return x < 0 ? below : x > last ? above : x;
    }
    if (mode == TL_FILL_WRAP) {
        const double below = x + last * (trunc(-x / last) + 1);
        const double above = x - last * trunc(x / last);
        return x < 0 ? below : x > last ? above : x;
    }
    if (mode == TL_FILL_GRID_WRAP) {
        const double below = x + size * (trunc((-1 - x) / size) + 1);
        const double above = x - size * trunc(x / size);
        return x < 0 ? below : x > last ? above : x;
    }
    return x;
}

/* Whether any of the pixels is odd. `y` and `x` are those of column 0 of the row. */
INLINE bool
find(places *restrict found, double y, double x, double col, double step, size_t count,
     const tl_affine_job *job, tl_fill_mode mode, int order)
{
    const double last_y = (double)(job->height - 1);
    const double last_x = (double)(job->width - 1);
    const double width = (double)job->width;
    const double dy = job->affine.m[1];
    const double dx = job->affine.m[4];
    const bool clamps = mode == TL_FILL_NEAREST && job->type != TL_FLOAT64; /* see affine.h */
    int32_t any = 0;
    for (size_t k = 0; k < count; k++) {
        const double j = col + step * (double)(int32_t)k;
        const double at_y = fold(y + j * dy, last_y, mode);
        const double at_x = fold(x + j * dx, last_x, mode);
        const double inner_y = at_y < 0 ? 0 : at_y > last_y ? last_y : at_y;
        const double inner_x = at_x < 0 ? 0 : at_x > last_x ? last_x : at_x;
        const double moved = fabs(inner_y - at_y) + fabs(inner_x - at_x);
        const int32_t odd = !clamps && moved != 0 ? -1 : 0;
        found->odd[k] = odd;
        any |= odd;
        if (order == 0) {
            found->at[k] = (int32_t)(floor(inner_y + 0.5) * width + floor(inner_x + 0.5));
        } else {
            /* the last sample is the second of two */
            const double floor_y = floor(inner_y);
            const double floor_x = floor(inner_x);
            const double from_y = floor_y > last_y - 1 ? last_y - 1 : floor_y;
            const double from_x = floor_x > last_x - 1 ? last_x - 1 : floor_x;
            const double weight_y = 1 - (inner_y - from_y);
            const double weight_x = 1 - (inner_x - from_x);
            found->at[k] = (int32_t)(from_y * width + from_x);
            found->y0[k] = weight_y;
            found->y1[k] = 1 - weight_y;
            found->x0[k] = weight_x;
            found->x1[k] = 1 - weight_x;
        }
    }
    return any != 0;
}

static TARGET bool
find_in_mode(places *found, double y, double x, double col, double step, size_t count,
             const tl_affine_job *job)
{
#define FIND(mode)                                                                             \
    case mode:                                                                                 \
        return job->affine.order == 0 ? find(found, y, x, col, step, count, job, mode, 0)      \
                                      : find(found, y, x, col, step, count, job, mode, 1)
    switch (job->affine.fill) {
        FIND(TL_FILL_NEAREST);
        FIND(TL_FILL_REFLECT);
        FIND(TL_FILL_WRAP);
        FIND(TL_FILL_MIRROR);
        FIND(TL_FILL_GRID_WRAP);
    default:
        return job->affine.order == 0
                   ? find(found, y, x, col, step, count, job, TL_FILL_CONSTANT, 0)
                   : find(found, y, x, col, step, count, job, TL_FILL_CONSTANT, 1);
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
        } else {
            blend_bytes(dst, job->src, 0, count, channels, step, job, found);
        }
    } else if (job->type == TL_FLOAT32) {
        if (is_rgb) {
            done = BLEND_RGB_FLOATS(dst, job->src, job->width, found, count);
            blend_floats(dst, job->src, done, count, 3, 3, job, found);
        } else if (channels == 1) {
            blend_floats(dst, job->src, 0, count, 1, 1, job, found);
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
    const size_t bytes = job->type == TL_FLOAT64 ? sizeof(double) : sizeof(float);
    /* what does not fit int32 or has no second sample is odd throughout */
    const bool all_odd =
        job->height * job->width > INT32_MAX || job->height < 2 || job->width < 2;
    for (size_t row = first; row < last; row++) {
        const double i = (double)(job->flip_rows ? job->height - 1 - row : row);
        const double y = m[2] + i * m[0];
        const double x = m[5] + i * m[3];
        for (size_t start = 0; start < job->width; start += STRETCH) {
            const size_t left = job->width - start;
            const size_t count = left < STRETCH ? left : STRETCH;
            const size_t to = row * job->width + start;
            const double step = job->flip_cols ? -1 : 1;
            const double col = (double)(job->flip_cols ? job->width - 1 - start : start);
            unsigned char *dst = (unsigned char *)job->dst + to * job->channels * bytes;
            places found;
            bool any_odd = true;
            if (!all_odd) {
                any_odd = find_in_mode(&found, y, x, col, step, count, job);
                blend(dst, job, &found, count);
            }
            for (size_t k = 0; any_odd && k < count; k++) {
                if (all_odd || found.odd[k] != 0) {
                    const double j = col + step * (double)k;
                    tl_affine_pixel(job, to + k, y + j * m[1], x + j * m[4]);
                }
            }
            if (job->map != NULL) {
                map_floats((float *)dst, count * job->channels, job->map);
            }
        }
    }
}
