/* What is done to float32 values one by one, as vectors of whatever width the CPU has; the
 * results do not depend on it. All change x in place. */
#ifndef TL_IMAGE_FLOAT_LOOPS_H
#define TL_IMAGE_FLOAT_LOOPS_H

#include <stdbool.h>
#include <stddef.h>

#include "image/pixels.h"

typedef struct tl_brightness {
    float lowest, highest; /* of the whole picture */
    float factor;
    bool stretches; /* to 0..255 even if all values are in it */
} tl_brightness;

typedef struct tl_float_loops {
    /* (x / divide * scale + offset) * rescale */
    void (*map)(float *x, size_t count, const tl_pixel_map *map, float rescale);
    /* x + by, not below lowest, not above highest */
    void (*shift)(float *x, size_t count, float by, float lowest, float highest);
    /* Keras's apply_brightness_shift: to uint8, Pillow's blend with black, and back. */
    void (*brighten)(float *x, size_t count, const tl_brightness *by);
    void (*subtract)(float *x, size_t count, float value);
    void (*divide)(float *x, size_t count, float value);
    /* (x - mean) / divisor, of each channel; either may be NULL. count is a multiple of
     * channels.
     */
    void (*by_channel)(float *x, size_t count, size_t channels, const float *mean,
                       const float *divisor);
    /* range[0] and range[1] become the lowest and highest of themselves and of x. */
    void (*extend_range)(float range[2], const float *x, size_t count);
} tl_float_loops;

/* Those of the best instruction set that may be used. */
const tl_float_loops *tl_float_loops_best(void);

#endif
