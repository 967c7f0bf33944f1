/* The output activations, row by row. */
#ifndef TL_CORE_ACTIVATION_H
#define TL_CORE_ACTIVATION_H

#include <stddef.h>

#include "core/graph.h"

/* dst (rows, cols) <- function(src); softmax runs over each row. dst may be src. */
void tl_activation_forward(float *dst, const float *src, size_t rows, size_t cols,
                           tl_function function);

/* grad_src (rows, cols) += gradient through the function, from its output dst. ReLU6's
 * gradient is 1 on the open interval (0, 6), as TensorFlow's. */
void tl_activation_backward(float *grad_src, const float *grad_dst, const float *dst,
                            size_t rows, size_t cols, tl_function function);

#endif
