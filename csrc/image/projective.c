/* Coordinates beyond the border are brought back first, then the picture is sampled. */
#include "image/projective.h"

#include <math.h>
#include <stdint.h>

static float
clamped(float at, size_t length)
{
    const float last = (float)(length - 1);
    return at < 0 ? 0 : at > last ? last : at;
}

/* The whole number in a ratio; where float32 knows no fractions any more, 0. */
static float
whole(float ratio)
{
    return ratio < 1e7F ? (float)(int64_t)ratio : 0;
}

static float
reflected(float at, size_t length)
{
    const float n = (float)length;
    if (length > 1 && at < 0) {
        at += 2 * n * whole(-at / (2 * n));
        at = at < -n ? at + 2 * n : -at - 1;
    } else if (length > 1 && at > n - 1) {
        at -= 2 * n * whole(at / (2 * n));
        at = at >= n ? 2 * n - at - 1 : at;
    }
    return clamped(at, length);
}

static float
wrapped(float at, size_t length)
{
    const float n = (float)length;
    if (length > 1 && at < 0) {
        at += n * (whole(-at / (n - 1)) + 1);
    } else if (length > 1 && at > n - 1) {
        at -= n * whole(at / (n - 1));
    }
    return clamped(at, length);
}

static float
brought_back(float at, size_t length, tl_beyond beyond)
{
    switch (beyond) {
    case TL_BEYOND_NEAREST:
        return clamped(at, length);
    case TL_BEYOND_REFLECT:
        return reflected(at, length);
    case TL_BEYOND_WRAP:
        return wrapped(at, length);
    default:
        return at;
    }
}

/* The pixel at (x, y), or NULL outside. */
static const float *
pixel_at(const float *src, const tl_projective *how, float y, float x)
{
    if (!(y >= 0 && x >= 0 && y < (float)how->height && x < (float)how->width)) {
        return NULL;
    }
    return src + ((size_t)y * how->width + (size_t)x) * how->channels;
}

static void
sample_nearest(float *dst, const float *src, const tl_projective *how, float y, float x)
{
    const float *from = pixel_at(src, how, roundf(y), roundf(x));
    for (size_t c = 0; c < how->channels; c++) {
        dst[c] = from == NULL ? how->fill_value : from[c];
    }
}

static void
sample_bilinear(float *dst, const float *src, const tl_projective *how, float y, float x)
{
    const float top = floorf(y);
    const float left = floorf(x);
    const float right_weight = x - left;
    const float left_weight = left + 1 - x;
    const float lower_weight = y - top;
    const float upper_weight = top + 1 - y;
    const float *from[4] = {pixel_at(src, how, top, left), pixel_at(src, how, top, left + 1),
                            pixel_at(src, how, top + 1, left),
                            pixel_at(src, how, top + 1, left + 1)};
    for (size_t c = 0; c < how->channels; c++) {
        float p[4];
        for (size_t k = 0; k < 4; k++) {
            p[k] = from[k] == NULL ? how->fill_value : from[k][c];
        }
        dst[c] = upper_weight * (left_weight * p[0] + right_weight * p[1]) +
                 lower_weight * (left_weight * p[2] + right_weight * p[3]);
    }
}

void
tl_projective_run(float *dst, const float *src, const tl_projective *how, const float m[8])
{
    for (size_t row = 0; row < how->height; row++) {
        const float y = (float)row;
        for (size_t col = 0; col < how->width; col++) {
            const float x = (float)col;
            const float k = m[6] * x + m[7] * y + 1;
            const float from_x = (m[0] * x + m[1] * y + m[2]) / k;
            const float from_y = (m[3] * x + m[4] * y + m[5]) / k;
            const float at_x = brought_back(from_x, how->width, how->beyond);
            const float at_y = brought_back(from_y, how->height, how->beyond);
            float *to = dst + (row * how->width + col) * how->channels;
            if (k == 0 || !isfinite(at_x) || !isfinite(at_y)) {
                for (size_t c = 0; c < how->channels; c++) {
                    to[c] = how->fill_value;
                }
            } else if (how->bilinear) {
                sample_bilinear(to, src, how, at_y, at_x);
            } else {
                sample_nearest(to, src, how, at_y, at_x);
            }
        }
    }
}
