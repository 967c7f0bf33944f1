/* Dense layers, activations, dropout, pooling: plain loops, and products where it pays. */
#include "core/train_heads.h"

#include <math.h>
#include <string.h>

#include "core/activation.h"
#include "core/picture_node.h"
#include "core/pooling.h"
#include "core/random.h"

tl_status
tl_head_check(const tl_node *node, const tl_ops *ops)
{
    if (node->op == TL_OP_RELU && !isinf(node->relu.max_value) &&
        node->relu.max_value != 6.0F) {
        return tl_fail(TL_UNSUPPORTED,
                       "training cannot go through relu \"%s\" with max_value %g; 6 and None "
                       "can be trained",
                       node->name, (double)node->relu.max_value);
    }
    const bool resizes = tl_node_resizes(node);
    if (tl_node_is_augmentation(node) || (resizes && ops->resize == NULL)) {
        return tl_fail(TL_UNSUPPORTED,
                       "training cannot go through %s \"%s\": put it in front of all layers "
                       "that train",
                       tl_op_name(node->op), node->name);
    }
    return TL_OK;
}

static const tl_shape *
input_shape(const tl_head *h, size_t k)
{
    return &h->graph->nodes[h->node->inputs[k]].shape;
}

static size_t
dst_count(const tl_head *h)
{
    return tl_shape_elements(&h->node->shape);
}

/* --- dense ------------------------------------------------------------------------------ */

/* Rows of a dense layer: it runs over the last axis. */
static size_t
dense_rows(const tl_head *h)
{
    const tl_shape *shape = input_shape(h, 0);
    return h->rows * (tl_shape_elements(shape) / tl_shape_channels(shape));
}

static tl_status
forward_dense(const tl_head *h)
{
    const size_t total = dense_rows(h);
    const size_t units = h->node->dense.units;
    const tl_gemm shape = {.m = total,
                           .n = units,
                           .k = tl_shape_channels(input_shape(h, 0)),
                           .beta = h->bias != NULL ? 1.0F : 0.0F};
    for (size_t r = 0; h->bias != NULL && r < total; r++) {
        memcpy(h->dst + r * units, h->bias, units * sizeof *h->dst);
    }
    return h->gemm(h->dst, h->src[0], h->kernel, &shape);
}

static tl_status
backward_dense(const tl_head *h)
{
    tl_status status = TL_OK;
    const size_t total = dense_rows(h);
    const size_t units = h->node->dense.units;
    const size_t features = tl_shape_channels(input_shape(h, 0));
    if (h->grad_kernel != NULL) {
        TL_TRY(h->gemm(
            h->grad_kernel, h->src[0], h->grad,
            &(tl_gemm){.transpose_a = true, .m = features, .n = units, .k = total, .beta = 1}));
    }
    for (size_t r = 0; h->grad_bias != NULL && r < total; r++) {
        for (size_t c = 0; c < units; c++) {
            h->grad_bias[c] += h->grad[r * units + c];
        }
    }
    if (h->grad_src[0] != NULL) {
        TL_TRY(h->gemm(
            h->grad_src[0], h->grad, h->kernel,
            &(tl_gemm){.transpose_b = true, .m = total, .n = features, .k = units, .beta = 1}));
    }
done:
    return status;
}

/* --- dropout ---------------------------------------------------------------------------- */

/* dst (+)= src, scaled up where dropout keeps it. The mask depends on the place in the batch;
 * of spatial dropout on the channel in the picture alone. */
static void
drop(const tl_head *h, float *dst, const float *src, bool adds)
{
    const float rate = h->node->dropout.rate;
    const float scale = 1.0F / (1.0F - rate);
    const size_t count = dst_count(h);
    const bool spatial = h->node->op == TL_OP_SPATIAL_DROPOUT2D;
    const size_t masks = spatial ? tl_shape_channels(&h->node->shape) : count;
    for (size_t i = 0; i < h->rows * count; i++) {
        const size_t place = (h->first_row + i / count) * masks + i % masks;
        const bool kept = tl_random_uniform(h->stream, place) >= rate;
        const float x = kept ? src[i] * scale : 0;
        dst[i] = adds ? dst[i] + x : x;
    }
}

/* --- pooling ---------------------------------------------------------------------------- */

static tl_pooling_window
window_of(const tl_head *h)
{
    tl_pooling_window window = {.padding = tl_window_padding(h->node, input_shape(h, 0)),
                                .src = *input_shape(h, 0),
                                .dst = h->node->shape,
                                .average = h->node->op == TL_OP_AVERAGE_POOLING2D};
    memcpy(window.pool, h->node->window.pool, sizeof window.pool);
    memcpy(window.strides, h->node->window.strides, sizeof window.strides);
    return window;
}

static void
forward_pooling(const tl_head *h)
{
    const tl_shape *input = input_shape(h, 0);
    const size_t src_count = tl_shape_elements(input);
    const size_t channels = input->dims[2];
    for (size_t r = 0; r < h->rows; r++) {
        const float *src = h->src[0] + r * src_count;
        float *dst = h->dst + r * dst_count(h);
        if (h->node->op == TL_OP_MAX_POOLING2D || h->node->op == TL_OP_AVERAGE_POOLING2D) {
            const tl_pooling_window window = window_of(h);
            tl_pooling_forward(dst, src, &window);
        } else {
            tl_global_pooling_forward(dst, src, src_count / channels, channels,
                                      h->node->op == TL_OP_GLOBAL_AVERAGE_POOLING2D);
        }
    }
}

static void
backward_pooling(const tl_head *h)
{
    const tl_shape *input = input_shape(h, 0);
    const size_t src_count = tl_shape_elements(input);
    const size_t channels = input->dims[2];
    for (size_t r = 0; r < h->rows; r++) {
        const float *src = h->src[0] + r * src_count;
        const float *grad = h->grad + r * dst_count(h);
        float *grad_src = h->grad_src[0] + r * src_count;
        if (h->node->op == TL_OP_MAX_POOLING2D || h->node->op == TL_OP_AVERAGE_POOLING2D) {
            const tl_pooling_window window = window_of(h);
            tl_pooling_backward(grad_src, grad, src, &window);
        } else {
            tl_global_pooling_backward(grad_src, grad, h->dst + r * dst_count(h), src,
                                       src_count / channels, channels,
                                       h->node->op == TL_OP_GLOBAL_AVERAGE_POOLING2D);
        }
    }
}

/* --- concatenation ---------------------------------------------------------------------- */

/* All inputs' pixels side by side, or their gradients apart. */
static void
concatenate(const tl_head *h)
{
    const size_t width = tl_shape_channels(&h->node->shape);
    const size_t pixels = h->rows * dst_count(h) / width;
    size_t first = 0;
    for (size_t k = 0; k < h->node->input_count; k++) {
        const size_t channels = tl_shape_channels(input_shape(h, k));
        for (size_t p = 0; p < pixels; p++) {
            const size_t at = p * width + first;
            if (h->grad == NULL) {
                memcpy(h->dst + at, h->src[k] + p * channels, channels * sizeof *h->dst);
            }
            for (size_t c = 0; h->grad_src[k] != NULL && c < channels; c++) {
                h->grad_src[k][p * channels + c] += h->grad[at + c];
            }
        }
        first += channels;
    }
}

/* --- padding ---------------------------------------------------------------------------- */

/* Copies images into larger ones, or adds the inner part of larger ones to smaller ones. */
static void
pad(const tl_head *h, float *large, float *small)
{
    const tl_padding *p = &h->node->padding;
    const tl_shape *input = input_shape(h, 0);
    const size_t row = input->dims[1] * input->dims[2];
    const size_t large_row = h->node->shape.dims[1] * input->dims[2];
    for (size_t y = 0; y < h->rows * input->dims[0]; y++) {
        const size_t image = y / input->dims[0];
        float *at = large +
                    (image * h->node->shape.dims[0] + y % input->dims[0] + p->top) * large_row +
                    p->left * input->dims[2];
        if (h->grad == NULL) {
            memcpy(at, small + y * row, row * sizeof *at);
        } else {
            for (size_t i = 0; i < row; i++) {
                small[y * row + i] += at[i];
            }
        }
    }
}

/* --- rescaling -------------------------------------------------------------------------- */

/* dst = src * scale + offset, or the gradient of src. */
static void
rescale(const tl_head *h)
{
    const tl_rescaling *r = &h->node->rescaling;
    const size_t channels = tl_shape_channels(&h->node->shape);
    for (size_t i = 0; i < h->rows * dst_count(h); i++) {
        const size_t c = r->count == 1 ? 0 : i % channels;
        if (h->grad == NULL) {
            h->dst[i] = h->src[0][i] * r->scale[c] + r->offset[c];
        } else {
            h->grad_src[0][i] += h->grad[i] * r->scale[c];
        }
    }
}

/* --- who does what ---------------------------------------------------------------------- */

tl_status
tl_head_forward(const tl_head *h)
{
    const size_t count = dst_count(h);
    const size_t channels = tl_shape_channels(&h->node->shape);
    switch (h->node->op) {
    case TL_OP_DENSE:
        return forward_dense(h);
    case TL_OP_RESIZING:
    case TL_OP_CENTER_CROP:
    case TL_OP_RANDOM_CROP:
        return h->resize(h->dst, h->src[0], h->node, input_shape(h, 0), h->rows, false);
    case TL_OP_ACTIVATION:
        tl_activation_forward(h->dst, h->src[0], h->rows * count / channels, channels,
                              h->node->activation.function);
        break;
    case TL_OP_DROPOUT:
    case TL_OP_SPATIAL_DROPOUT2D:
        drop(h, h->dst, h->src[0], false);
        break;
    case TL_OP_CONCATENATE:
        concatenate(h);
        break;
    case TL_OP_MAX_POOLING2D:
    case TL_OP_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        forward_pooling(h);
        break;
    case TL_OP_ZERO_PADDING2D:
        memset(h->dst, 0, h->rows * count * sizeof *h->dst);
        pad(h, h->dst, (float *)(uintptr_t)h->src[0]); /* only read */
        break;
    case TL_OP_RESCALING:
        rescale(h);
        break;
    default:
        return tl_fail(TL_UNSUPPORTED, "training cannot go through the %s layer \"%s\"",
                       tl_op_name(h->node->op), h->node->name);
    }
    return TL_OK;
}

tl_status
tl_head_backward(const tl_head *h)
{
    const size_t count = dst_count(h);
    const size_t channels = tl_shape_channels(&h->node->shape);
    if (h->node->op == TL_OP_DENSE) {
        return backward_dense(h);
    }
    if (h->node->op == TL_OP_CONCATENATE) {
        concatenate(h);
        return TL_OK;
    }
    if (h->grad_src[0] == NULL) {
        return TL_OK;
    }
    switch (h->node->op) {
    case TL_OP_RESIZING:
    case TL_OP_CENTER_CROP:
    case TL_OP_RANDOM_CROP:
        return h->resize(h->grad_src[0], h->grad, h->node, input_shape(h, 0), h->rows, true);
    case TL_OP_ACTIVATION:
        tl_activation_backward(h->grad_src[0], h->grad, h->src[0], h->dst,
                               h->rows * count / channels, channels,
                               h->node->activation.function);
        break;
    case TL_OP_DROPOUT:
    case TL_OP_SPATIAL_DROPOUT2D:
        drop(h, h->grad_src[0], h->grad, true);
        break;
    case TL_OP_MAX_POOLING2D:
    case TL_OP_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        backward_pooling(h);
        break;
    case TL_OP_ZERO_PADDING2D:
        pad(h, (float *)(uintptr_t)h->grad, h->grad_src[0]); /* only read */
        break;
    case TL_OP_RESCALING:
        rescale(h);
        break;
    default:
        return tl_fail(TL_UNSUPPORTED, "training cannot go through the %s layer \"%s\"",
                       tl_op_name(h->node->op), h->node->name);
    }
    return TL_OK;
}
