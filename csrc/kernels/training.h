/* Training's convolutions by own kernels: implements core/train_ops.h for every instruction
 * set.
 *
 * A 1 x 1 convolution goes through its pixels in tiles that stay in the second cache level:
 * normalise, multiply, sum up. Other convolutions go image by image through a padded copy,
 * whose windows are rows of a matrix as they lie. A depthwise one goes row by row through a
 * ring. No sum runs over more than one part, and within one always in the same order. */
#ifndef TL_KERNELS_TRAINING_H
#define TL_KERNELS_TRAINING_H

#include "core/train_ops.h"

extern const tl_train_ops tl_training_kernels;

#endif
