/* The contract of training: convolutions over the images of one part of a batch, with the batch
 * norm and the activation that stand before and behind them.
 *
 * What is stored of a convolution is its bare output z. The layers behind it are a way of
 * reading it, a view: function((z - mean) * scale + shift). Whoever reads a value normalises a
 * tile of it on the way into the cache; whoever gives its gradient masks it there, and sums up
 * what the batch norm's own gradient needs. So every pass touches memory once.
 *
 *   forward    z of this layer  <- view of the layer before;   moments of z on the way
 *   backward   gradient of z    <- gradient of the view behind, by `inner`, tile by tile
 *              gradients of kernel and bias, and of the view before, which `pass` finishes
 *
 * Where a batch norm's statistics are stored ones and its gamma and beta do not train, it is
 * folded into the convolution: then what is stored is the value itself, behind the function.
 *
 * Tensors are (images, height, width, channels); per-channel arrays have `channels` numbers. */
#ifndef TL_CORE_TRAIN_OPS_H
#define TL_CORE_TRAIN_OPS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/graph.h"

/* How stored numbers are read. */
typedef struct tl_view {
    const float *data;
    const float *mean; /* NULL, and so the next two: no batch norm */
    const float *scale;
    const float *shift;
    tl_function function; /* linear, relu or relu6 */
} tl_view;

static inline bool
tl_view_is_plain(const tl_view *view)
{
    return view->mean == NULL && view->function == TL_LINEAR;
}

/* Count, mean and sum of squared deviations of each channel, merged tile by tile (Chan, Golub,
 * LeVeque, 1979): no cancellation, however large the mean. */
typedef struct tl_moments {
    double count;
    double *mean;
    double *squares;
} tl_moments;

/* Where the gradient of a view's value goes: before its function, behind its batch norm. */
typedef struct tl_gradient {
    float *data; /* NULL: nobody wants it */
    bool adds;   /* another reader of the value has written already */
    bool last;   /* no other will: the function's mask and the sums are due */
    tl_view view;
    double *sums; /* (2, channels): of the gradient, and of it times (z - mean); or NULL */
} tl_gradient;

/* The gradient of z: scale * gradient - offset - (z - mean) * slope. */
typedef struct tl_inner {
    const float *gradient; /* of the view, finished */
    const float *data;     /* z */
    const float *mean;
    const float *scale; /* NULL: no batch norm, the gradient itself */
    const float
        *offset; /* NULL, and so the slope: stored statistics, which do not depend on z */
    const float *slope;
} tl_inner;

typedef struct tl_layer {
    bool depthwise;
    size_t kernel[2];
    size_t strides[2];
    tl_padding padding;
    tl_shape src; /* of one image: (height, width, channels) */
    tl_shape dst;
} tl_layer;

static inline size_t
tl_layer_kernel_count(const tl_layer *layer)
{
    return layer->kernel[0] * layer->kernel[1] * layer->src.dims[2] *
           (layer->depthwise ? 1 : layer->dst.dims[2]);
}

typedef struct tl_layer_forward {
    float *dst;
    tl_view src;
    const float *kernel;  /* HWIO, depthwise (h, w, c, 1) */
    const float *bias;    /* or NULL */
    tl_function function; /* of what is stored: linear, relu or relu6 */
    const void *packed;
    size_t images;
    tl_moments *moments; /* or NULL */
    void *scratch;
} tl_layer_forward;

typedef struct tl_layer_backward {
    tl_inner dst;
    tl_view src;
    tl_gradient src_gradient;
    const float *kernel;
    float *grad_kernel; /* added to; or NULL */
    float *grad_bias;   /* added to; or NULL */
    const void *packed;
    size_t images;
    void *scratch;
} tl_layer_backward;

typedef struct tl_train_ops {
    /* Bytes that pack fills, and that forward and backward may scribble on; both 64-byte
     * aligned. TL_OUT_OF_MEMORY where they do not fit a size_t. */
    tl_status (*plan)(const tl_layer *layer, size_t *packed_bytes, size_t *scratch_bytes);
    void (*pack)(const tl_layer *layer, void *packed, const float *kernel, const float *bias);
    void (*forward)(const tl_layer *layer, const tl_layer_forward *call);
    void (*backward)(const tl_layer *layer, const tl_layer_backward *call);

    /* For all other layers. `scratch`: 4 * channels floats. */
    void (*load)(float *dst, const tl_view *src, size_t pixels, size_t channels);
    void (*moments)(tl_moments *moments, const float *src, size_t pixels, size_t channels,
                    float *scratch);
    /* Gives `grad`, the gradient of the value of these pixels, to whoever wants it. */
    void (*pass)(const tl_gradient *to, const float *grad, size_t first_pixel, size_t pixels,
                 size_t channels, float *scratch);
    void (*inner)(float *dst, const tl_inner *from, size_t first_pixel, size_t pixels,
                  size_t channels);
} tl_train_ops;

#endif
