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

/* What both of them make of a place between pixels that all exist: bit for bit, but quicker. */
static inline void
sample_inside(float *to, const float *src, size_t width, size_t channels, bool bilinear,
              float y, float x)
{
    const int top = (int)y;
    const int left = (int)x;
    const float right_weight = x - (float)left;
    const float left_weight = (float)left + 1 - x;
    const float lower_weight = y - (float)top;
    const float upper_weight = (float)top + 1 - y;
    const float *upper = src + ((size_t)top * width + (size_t)left) * channels;
    const float *lower = upper + width * channels;
    if (!bilinear) { /* halves go away from 0, as roundf does it */
        const float *from = lower_weight >= 0.5F ? lower : upper;
        from += right_weight >= 0.5F ? channels : 0;
        for (size_t c = 0; c < channels; c++) {
            to[c] = from[c];
        }
        return;
    }
    for (size_t c = 0; c < channels; c++) {
        to[c] = upper_weight * (left_weight * upper[c] + right_weight * upper[channels + c]) +
                lower_weight * (left_weight * lower[c] + right_weight * lower[channels + c]);
    }
}

static inline bool
is_inside(const tl_projective *how, float y, float x)
{
    return x >= 0 && x < (float)(how->width - 1) && y >= 0 && y < (float)(how->height - 1);
}

/* One pixel of the result, from beyond the border or near it. */
static void
sample(float *to, const float *src, const tl_projective *how, float from_y, float from_x)
{
    const float x = brought_back(from_x, how->width, how->beyond);
    const float y = brought_back(from_y, how->height, how->beyond);
    if (is_inside(how, y, x)) {
        sample_inside(to, src, how->width, how->channels, how->bilinear, y, x);
    } else if (!isfinite(x) || !isfinite(y)) {
        for (size_t c = 0; c < how->channels; c++) {
            to[c] = how->fill_value;
        }
    } else if (how->bilinear) {
        sample_bilinear(to, src, how, y, x);
    } else {
        sample_nearest(to, src, how, y, x);
    }
}

/* A row of the result; `channels` and `bilinear` are those of `how`, known to the compiler. */
static inline void
make_row(float *dst, const float *src, const tl_projective *how, const float m[8], size_t row,
         size_t channels, bool bilinear)
{
    const bool affine = m[6] == 0 && m[7] == 0; /* then nothing is divided: k is 1 */
    const float y = (float)row;
    for (size_t col = 0; col < how->width; col++) {
        const float x = (float)col;
        float from_x = m[0] * x + m[1] * y + m[2];
        float from_y = m[3] * x + m[4] * y + m[5];
        if (!affine) {
            const float k = m[6] * x + m[7] * y + 1;
            from_x = k == 0 ? NAN : from_x / k; /* no number: it is filled */
            from_y /= k;
        }
        float *to = dst + col * channels;
        if (is_inside(how, from_y, from_x)) {
            sample_inside(to, src, how->width, channels, bilinear, from_y, from_x);
        } else {
            sample(to, src, how, from_y, from_x);
        }
    }
}

void
tl_projective_run(float *dst, const float *src, const tl_projective *how, const float m[8])
{
    for (size_t row = 0; row < how->height; row++) {
        float *to = dst + row * how->width * how->channels;
        if (how->channels == 3 && how->bilinear) {
            make_row(to, src, how, m, row, 3, true);
        } else {
            make_row(to, src, how, m, row, how->channels, how->bilinear);
        }
    }
}
