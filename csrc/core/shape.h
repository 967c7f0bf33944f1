/* Shapes of one image's values, and size arithmetic that refuses to overflow. */
#ifndef TL_CORE_SHAPE_H
#define TL_CORE_SHAPE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

enum { TL_MAX_RANK = 4 };

/* Without the batch axis: (height, width, channels) or (features). Parameters use the same
 * struct for their own shapes: HWIO kernels have four dimensions. */
typedef struct tl_shape {
    size_t rank;
    size_t dims[TL_MAX_RANK];
} tl_shape;

static inline tl_shape
tl_shape_1(size_t n)
{
    return (tl_shape){1, {n, 0, 0, 0}};
}

static inline tl_shape
tl_shape_3(size_t height, size_t width, size_t channels)
{
    return (tl_shape){3, {height, width, channels, 0}};
}

bool tl_shape_equal(const tl_shape *a, const tl_shape *b);

/* *product = a * b, or TL_OUT_OF_MEMORY where that does not fit a size_t. */
tl_status tl_multiply(size_t *product, size_t a, size_t b);

/* Number of elements, as a size that times 4 bytes still fits a size_t; TL_BAD_VALUE where the
 * rank is above TL_MAX_RANK. */
tl_status tl_shape_count(size_t *count, const tl_shape *shape);

/* The same for a shape that has already been checked. */
size_t tl_shape_elements(const tl_shape *shape);

/* Length of the last axis. */
size_t tl_shape_channels(const tl_shape *shape);

typedef struct tl_padding {
    size_t top, bottom, left, right;
} tl_padding;

/* Keras's (and TensorFlow's) "same" padding of one axis: the odd pixel goes behind. */
void tl_same_padding(size_t *before, size_t *behind, size_t size, size_t kernel, size_t stride);

/* Length of a convolution's output; 0 if the kernel does not fit. */
size_t tl_convolved(size_t size, size_t kernel, size_t stride, size_t before, size_t behind);

#endif
