/* The activations, element by element or row by row. */
#ifndef TL_CORE_ACTIVATION_H
#define TL_CORE_ACTIVATION_H

#include <stddef.h>

#include "core/graph.h"

/* dst (rows, cols) <- function(src); softmax and log_softmax run over each row. dst may be
 * src. */
void tl_activation_forward(float *dst, const float *src, size_t rows, size_t cols,
                           tl_function function);

/* grad_src (rows, cols) += gradient through the function, from its input src and its output
 * dst. At kinks the slopes are TensorFlow's: relu's 1 for x > 0, relu6's on the open interval
 * (0, 6), those of hard_sigmoid on (-3, 3), leaky_relu's 0.2 at 0, elu's and selu's the right
 * one at 0. */
void tl_activation_backward(float *grad_src, const float *grad_dst, const float *src,
                            const float *dst, size_t rows, size_t cols, tl_function function);

#endif
