/* Pictures turned, zoomed and moved, as TensorFlow's ImageProjectiveTransformV3 does it. */
#ifndef TL_IMAGE_PROJECTIVE_H
#define TL_IMAGE_PROJECTIVE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum tl_beyond {
    TL_BEYOND_CONSTANT, /* k k k | a b c d | k k k, with k the fill value */
    TL_BEYOND_NEAREST,  /* a a a | a b c d | d d d */
    TL_BEYOND_REFLECT,  /* c b a | a b c d | d c b */
    TL_BEYOND_WRAP      /* b c d | a b c d | a b c */
} tl_beyond;

typedef struct tl_projective {
    size_t height, width, channels; /* of both pictures */
    tl_beyond beyond;
    bool bilinear; /* otherwise the nearest pixel */
    float fill_value;
} tl_projective;

/* dst <- src, the pixel (x, y) of dst from ((m0 x + m1 y + m2) / k, (m3 x + m4 y + m5) / k)
 * with k = m6 x + m7 y + 1, all in float32. */
void tl_projective_run(float *dst, const float *src, const tl_projective *how,
                       const float m[8]);

#endif
