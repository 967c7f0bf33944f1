/* Means are summed in double: the order of the pixels does not show. */
#include "image/photometric.h"

static float
within(float x, const float range[2])
{
    return x < range[0] ? range[0] : x > range[1] ? range[1] : x;
}

void
tl_rescale(float *dst, const float *src, size_t pixels, size_t channels, const float *scale,
           const float *offset, size_t count)
{
    if (count == 1) {
        for (size_t i = 0; i < pixels * channels; i++) {
            dst[i] = src[i] * scale[0] + offset[0];
        }
        return;
    }
    for (size_t i = 0; i < pixels; i++) {
        for (size_t c = 0; c < channels; c++) {
            dst[i * channels + c] = src[i * channels + c] * scale[c] + offset[c];
        }
    }
}

/* Channels that are summed side by side. */
enum { TOGETHER = 4 };

void
tl_contrast(float *dst, const float *src, size_t pixels, size_t channels, float factor,
            const float range[2])
{
    for (size_t first = 0; first < channels; first += TOGETHER) {
        const size_t count = channels - first < TOGETHER ? channels - first : TOGETHER;
        double sums[TOGETHER] = {0};
        float means[TOGETHER];
        for (size_t i = 0; i < pixels; i++) {
            for (size_t c = 0; c < count; c++) {
                sums[c] += (double)src[i * channels + first + c];
            }
        }
        for (size_t c = 0; c < count; c++) {
            means[c] = (float)(sums[c] / (double)pixels);
        }
        for (size_t i = 0; i < pixels; i++) {
            for (size_t c = 0; c < count; c++) {
                const size_t at = i * channels + first + c;
                dst[at] = within((src[at] - means[c]) * factor + means[c], range);
            }
        }
    }
}

void
tl_brighten(float *dst, const float *src, size_t count, float delta, const float range[2])
{
    for (size_t i = 0; i < count; i++) {
        dst[i] = within(src[i] + delta, range);
    }
}
