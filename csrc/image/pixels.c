/* uint8 -> float32 through a table: a byte has only 256 values. */
#include "image/pixels.h"

void
tl_pixels_to_float(float *dst, const uint8_t *src, size_t count, const tl_pixel_map *map)
{
    float table[256];
    for (int i = 0; i < 256; i++) {
        const float divided = (float)i / map->divide;
        const float scaled = divided * map->scale;
        table[i] = scaled + map->offset;
    }
    for (size_t i = 0; i < count; i++) {
        dst[i] = table[src[i]];
    }
}
