/* One loop a step kind; nothing to prepare, and weights only for the affine step. */
#include "kernels/plain.h"

#include <string.h>

#include "core/activation.h"
#include "core/pooling.h"

static size_t
takes(const tl_block *chain)
{
    const tl_step_kind kind = chain->steps[0].kind;
    return kind != TL_STEP_CONV2D && kind != TL_STEP_DEPTHWISE_CONV2D &&
           kind != TL_STEP_DENSE && kind != TL_STEP_RESCALING && kind != TL_STEP_CROP &&
           kind != TL_STEP_RESIZING;
}

static tl_status
prepare(tl_kernel *kernel, const tl_block *block)
{
    const tl_step *step = &block->steps[0];
    const size_t numbers = tl_step_kernel_count(step) + tl_step_bias_count(step);
    *kernel = (tl_kernel){.packed_bytes = numbers * sizeof(float)};
    return TL_OK;
}

static void
release(tl_kernel *kernel)
{
    (void)kernel;
}

static tl_status
pack(const tl_kernel *kernel, const tl_block *block, void *packed, const float *const *weights,
     const float *const *biases)
{
    const size_t channels = tl_step_bias_count(&block->steps[0]);
    float *numbers = packed;
    (void)kernel;
    memcpy(numbers, weights[0], channels * sizeof *numbers);
    memcpy(numbers + channels, biases[0], channels * sizeof *numbers);
    return TL_OK;
}

static tl_status
bind(void **binding, const tl_kernel *kernel, void *packed, void *scratch)
{
    (void)kernel;
    (void)scratch;
    *binding = packed;
    return TL_OK;
}

static void
unbind(void *binding)
{
    (void)binding; /* the program's */
}

static void
run_affine(float *dst, const float *src, const float *numbers, size_t pixels, size_t channels)
{
    const float *scale = numbers;
    const float *shift = numbers + channels;
    for (size_t p = 0; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++) {
            dst[p * channels + c] = src[p * channels + c] * scale[c] + shift[c];
        }
    }
}

static void
run_padding(float *dst, const float *src, const tl_step *step)
{
    const size_t channels = step->src_shape.dims[2];
    const size_t src_row = step->src_shape.dims[1] * channels;
    const size_t dst_row = step->dst_shape.dims[1] * channels;
    memset(dst, 0, tl_shape_elements(&step->dst_shape) * sizeof *dst);
    for (size_t h = 0; h < step->src_shape.dims[0]; h++) {
        memcpy(dst + (h + step->padding.top) * dst_row + step->padding.left * channels,
               src + h * src_row, src_row * sizeof *dst);
    }
}

static void
run_concatenate(float *dst, const tl_work *work, const tl_step *step, size_t pixels)
{
    const size_t channels = tl_shape_channels(&step->dst_shape);
    const float *src = work->src;
    size_t width = tl_shape_channels(&step->src_shape);
    size_t first = 0; /* channel of dst */
    for (size_t k = 0; k <= step->other_count; k++) {
        for (size_t p = 0; p < pixels; p++) {
            memcpy(dst + p * channels + first, src + p * width, width * sizeof *dst);
        }
        if (k < step->other_count) {
            first += width;
            src = work->others[k];
            width = step->other_channels[k];
        }
    }
}

static void
run_pooling(float *dst, const float *src, const tl_step *step)
{
    tl_pooling_window window = {.padding = step->padding,
                                .src = step->src_shape,
                                .dst = step->dst_shape,
                                .average = step->kind == TL_STEP_AVERAGE_POOLING2D};
    memcpy(window.pool, step->kernel, sizeof window.pool);
    memcpy(window.strides, step->strides, sizeof window.strides);
    tl_pooling_forward(dst, src, &window);
}

static tl_status
forward(const tl_kernel *kernel, const tl_block *block, void *binding, const tl_work *work)
{
    const tl_step *step = &block->steps[0];
    float *dst = work->dst;
    const float *src = work->src;
    const size_t count = tl_shape_elements(&step->dst_shape);
    const size_t channels = tl_shape_channels(&step->src_shape);
    const size_t pixels = tl_shape_elements(&step->src_shape) / channels;
    (void)kernel;
    switch (step->kind) {
    case TL_STEP_AFFINE:
        run_affine(dst, src, binding, pixels, channels);
        break;
    case TL_STEP_ADD:
        for (size_t i = 0; i < count; i++) {
            dst[i] = src[i] + work->residual[i];
        }
        break;
    case TL_STEP_ZERO_PADDING2D:
        run_padding(dst, src, step);
        break;
    case TL_STEP_GLOBAL_AVERAGE_POOLING2D:
        tl_global_pooling_forward(dst, src, pixels, channels, true);
        break;
    case TL_STEP_GLOBAL_MAX_POOLING2D:
        tl_global_pooling_forward(dst, src, pixels, channels, false);
        break;
    case TL_STEP_MAX_POOLING2D:
    case TL_STEP_AVERAGE_POOLING2D:
        run_pooling(dst, src, step);
        break;
    case TL_STEP_CONCATENATE:
        run_concatenate(dst, work, step, pixels);
        break;
    case TL_STEP_FLATTEN:
    case TL_STEP_ACTIVATION:
        memcpy(dst, src, count * sizeof *dst);
        break;
    default:
        return tl_fail(TL_UNSUPPORTED, "the plain kernels cannot run a %s",
                       tl_step_kind_name(step->kind));
    }
    if (step->function != TL_LINEAR) {
        tl_activation_forward(dst, dst, count / tl_shape_channels(&step->dst_shape),
                              tl_shape_channels(&step->dst_shape), step->function);
    }
    return TL_OK;
}

const tl_backend tl_plain_backend = {
    .name = "plain",
    .takes = takes,
    .prepare = prepare,
    .release = release,
    .pack = pack,
    .bind = bind,
    .unbind = unbind,
    .forward = forward,
};
