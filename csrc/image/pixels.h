/* Pixels from uint8 HWC on. Stands on core/status, pool and arena alone. */
#ifndef TL_IMAGE_PIXELS_H
#define TL_IMAGE_PIXELS_H

#include <stddef.h>
#include <stdint.h>

typedef struct tl_pixel_map {
    float divide, scale, offset;
} tl_pixel_map;

/* dst = (src / divide) * scale + offset, each operation rounded to float32, in this order. */
void tl_pixels_to_float(float *dst, const uint8_t *src, size_t count, const tl_pixel_map *map);

#endif
