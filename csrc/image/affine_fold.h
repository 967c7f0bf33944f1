/* Where a coordinate outside 0..last means in a picture of more than one sample, by scipy's
 * rules for the modes that repeat it; as it is in the others. Both sides are computed and one
 * is chosen, so that a loop over it becomes vectors. */
#ifndef TL_IMAGE_AFFINE_FOLD_H
#define TL_IMAGE_AFFINE_FOLD_H

#include <math.h>

#include "image/affine.h"

static inline __attribute__((always_inline)) double
tl_affine_fold(double x, double last, tl_edge_mode mode)
{
    const double size = last + 1;
    if (mode == TL_EDGE_MIRROR) {
        const double up = 2 * last * trunc(-x / (2 * last)) + x;
        const double below = up <= -last ? up + 2 * last : -up;
        const double down = x - 2 * last * trunc(x / (2 * last));
        const double above = down >= size ? 2 * last - down : down;
        return x < 0 ? below : x > last ? above : x;
    }
    if (mode == TL_EDGE_REFLECT) {
        const double moved = 2 * size * trunc(-x / (2 * size)) + x;
        const double up = x < -2 * size ? moved : x;
        const double below = up < -size ? up + 2 * size : (up > -1e-15 ? 1e-15 : -up) - 1;
        const double down = x - 2 * size * trunc(x / (2 * size));
        const double above = down >= size ? 2 * size - down - 1 : down;
        return x < 0 ? below : x > last ? above : x;
    }
    if (mode == TL_EDGE_WRAP) {
        const double below = x + last * (trunc(-x / last) + 1);
        const double above = x - last * trunc(x / last);
        return x < 0 ? below : x > last ? above : x;
    }
    if (mode == TL_EDGE_GRID_WRAP) {
        const double below = x + size * (trunc((-1 - x) / size) + 1);
        const double above = x - size * trunc(x / size);
        return x < 0 ? below : x > last ? above : x;
    }
    return x;
}

#endif
