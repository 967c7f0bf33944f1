/* Pooling over windows and over whole pictures, one picture at a time. */
#ifndef TL_CORE_POOLING_H
#define TL_CORE_POOLING_H

#include <stdbool.h>

#include "core/shape.h"

typedef struct tl_pooling_window {
    size_t pool[2];
    size_t strides[2];
    tl_padding padding;
    tl_shape src; /* (height, width, channels) */
    tl_shape dst;
    bool average; /* over the pixels that exist; otherwise the largest */
} tl_pooling_window;

/* NaN wins over every number. */
void tl_pooling_forward(float *dst, const float *src, const tl_pooling_window *window);

/* grad_src += the gradient; a maximum's goes to the first pixel that has it, as in TensorFlow.
 */
void tl_pooling_backward(float *grad_src, const float *grad_dst, const float *src,
                         const tl_pooling_window *window);

/* dst (channels) <- src (pixels, channels). */
void tl_global_pooling_forward(float *dst, const float *src, size_t pixels, size_t channels,
                               bool average);

/* grad_src += the gradient; equal maxima share it evenly, as in TensorFlow's reduce_max. */
void tl_global_pooling_backward(float *grad_src, const float *grad_dst, const float *dst,
                                const float *src, size_t pixels, size_t channels, bool average);

#endif
