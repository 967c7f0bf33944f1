/* Values of pixels changed where they are: scale, contrast, brightness. As Keras 3 computes
 * them, in float32. */
#ifndef TL_IMAGE_PHOTOMETRIC_H
#define TL_IMAGE_PHOTOMETRIC_H

#include <stddef.h>

/* dst (pixels, channels) = src * scale + offset, with one number for all channels (count 1) or
 * one a channel. */
void tl_rescale(float *dst, const float *src, size_t pixels, size_t channels,
                const float *scale, const float *offset, size_t count);

/* dst = (src - mean) * factor + mean, the mean that of the picture's channel; within range. */
void tl_contrast(float *dst, const float *src, size_t pixels, size_t channels, float factor,
                 const float range[2]);

/* dst = src + delta, within range. */
void tl_brighten(float *dst, const float *src, size_t count, float delta, const float range[2]);

#endif
