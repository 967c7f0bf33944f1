/* The steps that only touch memory once: pooling, padding, adding, activations. Plain loops
 * run them at the speed of the cache; no library does better by enough to matter. */
#ifndef TL_KERNELS_PLAIN_H
#define TL_KERNELS_PLAIN_H

#include "core/ops.h"

extern const tl_backend tl_plain_backend;

#endif
