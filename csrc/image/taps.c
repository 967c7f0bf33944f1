/* Weights are computed in float32 by the same formulas as in TensorFlow's kernels, which decide
 * what pixel is nearest and where a kernel ends. */
#include "image/taps.h"

#include <math.h>

#include "core/arena.h"

static size_t
least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* --- the weights of one pixel ----------------------------------------------------------- */

static float
pixel_scale(const tl_sampling *s)
{
    return (float)s->in / (float)s->out;
}

static size_t
nearest_tap(float *weights, size_t *first, const tl_sampling *s, size_t i)
{
    const float at = floorf(((float)i + 0.5F) * pixel_scale(s));
    *first = least_of((size_t)at, s->in - 1);
    weights[0] = 1;
    return 1;
}

static size_t
bilinear_taps(float *weights, size_t *first, const tl_sampling *s, size_t i)
{
    const float at = ((float)i + 0.5F) * pixel_scale(s) - 0.5F;
    const float below = floorf(at);
    const float above = ceilf(at);
    const size_t upper = above < 0 ? 0 : least_of((size_t)above, s->in - 1);
    const size_t lower = below < 0 ? 0 : least_of((size_t)below, upper);
    *first = lower;
    weights[0] = upper == lower ? 1 : 1 - (at - below);
    weights[1] = at - below;
    return upper - lower + 1;
}

/* Keys's cubic with a = -0.5, from a table of 1024 steps as TensorFlow has it. */
static float
keys_table(size_t step, bool outer)
{
    const float a = -0.5F;
    float x = (float)step / 1024.0F;
    if (!outer) {
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    }
    x += 1;
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}

/* Pixels outside the picture weigh nothing, and the others share what they would have weighed.
 */
static size_t
bicubic_taps(float *weights, size_t *first, const tl_sampling *s, size_t i)
{
    const float at = ((float)i + 0.5F) * pixel_scale(s) - 0.5F;
    const ptrdiff_t below = (ptrdiff_t)floorf(at);
    const size_t step = (size_t)lrintf((at - (float)below) * 1024.0F);
    const float all[4] = {keys_table(step, true), keys_table(step, false),
                          keys_table(1024 - step, false), keys_table(1024 - step, true)};
    size_t count = 0;
    float sum = 0;
    for (ptrdiff_t k = 0; k < 4; k++) {
        const ptrdiff_t pixel = below - 1 + k;
        if (pixel >= 0 && pixel < (ptrdiff_t)s->in) {
            if (count == 0) {
                *first = (size_t)pixel;
            }
            weights[count++] = all[k];
            sum += all[k];
        }
    }
    for (size_t k = 0; k < count; k++) {
        weights[k] *= 1 / sum;
    }
    return count;
}

/* A pixel of the result covers an interval of the picture: each pixel counts by what lies in
 * it. */
static size_t
area_taps(float *weights, size_t *first, const tl_sampling *s, size_t i)
{
    const float scale = pixel_scale(s);
    const float begin = (float)i * scale;
    const float end = (float)(i + 1) * scale;
    size_t count = 0;
    *first = least_of((size_t)floorf(begin), s->in - 1);
    for (size_t pixel = (size_t)floorf(begin); pixel < (size_t)ceilf(end); pixel++) {
        const float left = (float)pixel < begin ? begin : (float)pixel;
        const float right = (float)(pixel + 1) > end ? end : (float)(pixel + 1);
        if (pixel < s->in) {
            weights[count++] = (right - left) / scale;
        } else { /* rounding led beyond the last one */
            weights[count == 0 ? count++ : count - 1] += (right - left) / scale;
        }
    }
    return count;
}

static float
lanczos(float radius, float x)
{
    const double pi = 3.14159265358979323846;
    if (x > radius) {
        return 0;
    }
    if (x <= 1e-3F) {
        return 1;
    }
    return (float)((double)radius * sin(pi * (double)x) * sin(pi * (double)x / (double)radius) /
                   (pi * pi * (double)x * (double)x));
}

static float
kernel_at(tl_resize_method method, float x)
{
    switch (method) {
    case TL_RESIZE_LANCZOS3:
        return lanczos(3, x);
    case TL_RESIZE_LANCZOS5:
        return lanczos(5, x);
    case TL_RESIZE_BICUBIC:
        return x >= 2   ? 0
               : x >= 1 ? ((-0.5F * x + 2.5F) * x - 4) * x + 2
                        : ((1.5F * x - 2.5F) * x) * x + 1;
    default: /* a triangle */
        return x < 1 ? 1 - x : 0;
    }
}

static float
kernel_radius(tl_resize_method method)
{
    return method == TL_RESIZE_LANCZOS3   ? 3
           : method == TL_RESIZE_LANCZOS5 ? 5
           : method == TL_RESIZE_BICUBIC  ? 2
                                          : 1;
}

/* How far apart the pixels of the result are in the picture. */
static float
spacing(const tl_sampling *s)
{
    return (float)(1.0 / (double)((float)s->out / (float)s->in));
}

/* A kernel is as wide as the spacing where that is wider than a pixel, against aliasing. */
static float
kernel_scale(const tl_sampling *s)
{
    return s->antialias && spacing(s) > 1 ? spacing(s) : 1;
}

static size_t
kernel_taps(float *weights, size_t *first, const tl_sampling *s, size_t i)
{
    const float at = ((float)i + 0.5F) * spacing(s);
    const float reach = kernel_radius(s->method) * kernel_scale(s);
    const float shrink = 1 / kernel_scale(s);
    const float begin = ceilf(at - reach - 0.5F);
    const float end = floorf(at + reach - 0.5F);
    const size_t last = end < 0 ? 0 : least_of((size_t)end, s->in - 1);
    size_t count = 0;
    float sum = 0;
    *first = begin < 0 ? 0 : least_of((size_t)begin, last);
    for (size_t pixel = *first; pixel <= last; pixel++) {
        weights[count] = kernel_at(s->method, fabsf((float)pixel + 0.5F - at) * shrink);
        sum += weights[count++];
    }
    for (size_t k = 0; k < count; k++) {
        weights[k] *= 1 / sum;
    }
    return count;
}

/* --- an axis ---------------------------------------------------------------------------- */

static bool
has_kernel(const tl_sampling *s)
{
    return s->method == TL_RESIZE_LANCZOS3 || s->method == TL_RESIZE_LANCZOS5 ||
           (s->antialias &&
            (s->method == TL_RESIZE_BILINEAR || s->method == TL_RESIZE_BICUBIC));
}

/* No pixel is made of more than these. */
static size_t
most_taps(const tl_sampling *s)
{
    if (has_kernel(s)) {
        const float reach = ceilf(kernel_radius(s->method) * kernel_scale(s));
        return least_of(2 * (size_t)reach + 2, s->in);
    }
    switch (s->method) {
    case TL_RESIZE_NEAREST:
        return 1;
    case TL_RESIZE_AREA:
        return (size_t)ceilf(pixel_scale(s)) + 2;
    default:
        return 4;
    }
}

static size_t
taps_of(float *weights, size_t *first, const tl_sampling *s, size_t i)
{
    if (has_kernel(s)) {
        return kernel_taps(weights, first, s, i);
    }
    switch (s->method) {
    case TL_RESIZE_NEAREST:
        return nearest_tap(weights, first, s, i);
    case TL_RESIZE_BILINEAR:
        return bilinear_taps(weights, first, s, i);
    case TL_RESIZE_BICUBIC:
        return bicubic_taps(weights, first, s, i);
    default:
        return area_taps(weights, first, s, i);
    }
}

void
tl_taps_clear(tl_taps *a)
{
    tl_free(a->weights);
    tl_free(a->count);
    tl_free(a->first);
}

tl_status
tl_taps_init(tl_taps *a, const tl_sampling *s)
{
    a->most = most_taps(s);
    a->first = tl_alloc(s->out, sizeof *a->first);
    a->count = tl_alloc(s->out, sizeof *a->count);
    a->weights = tl_alloc(s->out, a->most * sizeof *a->weights);
    if (a->first == NULL || a->count == NULL || a->weights == NULL) {
        return TL_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < s->out; i++) {
        a->count[i] = taps_of(a->weights + i * a->most, &a->first[i], s, i);
    }
    return TL_OK;
}
