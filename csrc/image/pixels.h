/* Pixels from uint8 HWC on. Stands on core/status, pool, arena and cpu alone. */
#ifndef TL_IMAGE_PIXELS_H
#define TL_IMAGE_PIXELS_H

#include <stddef.h>
#include <stdint.h>

typedef struct tl_pixel_map {
    float divide, scale, offset;
} tl_pixel_map;

/* dst = (src / divide) * scale + offset, each operation rounded to float32, in this order.
 *
 * src holds `pixels` pixels of `channels` bytes, one every `step` bytes; dst has no gaps. */
void tl_pixels_to_float(float *dst, const uint8_t *src, size_t pixels, size_t channels,
                        size_t step, const tl_pixel_map *map);

/* dst = src without the gaps. */
void tl_pixels_pack(uint8_t *dst, const uint8_t *src, size_t pixels, size_t channels,
                    size_t step);

/* The same, the last pixel first. */
void tl_pixels_pack_reversed(uint8_t *dst, const uint8_t *src, size_t pixels, size_t channels,
                             size_t step);

/* Pixel (i, j) of dst, height x width without gaps, is the one at (rows[i], cols[j]) of src,
 * whose rows lie `row_step` bytes apart. */
void tl_pixels_pick(uint8_t *dst, size_t height, size_t width, const uint8_t *src,
                    size_t row_step, size_t channels, size_t step, const int64_t *rows,
                    const int64_t *cols);

/* dst = src, past the caches: for what is larger than they are and is not read soon, so that it
 * does not push out what is. Other threads see it after tl_pixels_settle. */
void tl_pixels_stream(float *dst, const float *src, size_t count);
void tl_pixels_settle(void);

#endif
