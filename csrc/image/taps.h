/* Which pixels along one axis a pixel of a resized picture is made of, and how much each of
 * them weighs. */
#ifndef TL_IMAGE_TAPS_H
#define TL_IMAGE_TAPS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

typedef enum tl_resize_method {
    TL_RESIZE_NEAREST,
    TL_RESIZE_BILINEAR,
    TL_RESIZE_BICUBIC,
    TL_RESIZE_LANCZOS3,
    TL_RESIZE_LANCZOS5,
    TL_RESIZE_AREA
} tl_resize_method;

typedef struct tl_sampling {
    size_t in, out; /* pixels before and after */
    tl_resize_method method;
    bool antialias; /* not looked at by nearest and area */
} tl_sampling;

typedef struct tl_taps {
    size_t *first;  /* one a pixel of the result */
    size_t *count;  /* of pixels from there on, at least 1 */
    float *weights; /* `most` a pixel */
    size_t most;
} tl_taps;

/* TL_OUT_OF_MEMORY leaves what tl_taps_clear has to clear. */
tl_status tl_taps_init(tl_taps *taps, const tl_sampling *sampling);
void tl_taps_clear(tl_taps *taps);

#endif
