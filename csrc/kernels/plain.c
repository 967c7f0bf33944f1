/* One loop a step kind; nothing to prepare, and weights only for the affine step. */
#include "kernels/plain.h"

#include <string.h>

#include "core/activation.h"

static size_t
takes(const tl_block *chain)
{
    const tl_step_kind kind = chain->steps[0].kind;
    return kind != TL_STEP_CONV2D && kind != TL_STEP_DEPTHWISE_CONV2D && kind != TL_STEP_DENSE;
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
run_average(float *dst, const float *src, size_t pixels, size_t channels)
{
    memcpy(dst, src, channels * sizeof *dst);
    for (size_t p = 1; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++) {
            dst[c] += src[p * channels + c];
        }
    }
    for (size_t c = 0; c < channels; c++) {
        dst[c] /= (float)pixels;
    }
}

static void
run_maximum(float *dst, const float *src, size_t pixels, size_t channels)
{
    memcpy(dst, src, channels * sizeof *dst);
    for (size_t p = 1; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++) {
            const float x = src[p * channels + c];
            dst[c] = x > dst[c] || x != x ? x : dst[c];
        }
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

/* The part of a pooling window that lies within the picture, along one axis: begin < end. */
static void
clip_window(size_t *begin, size_t *end, size_t at, size_t kernel, size_t before, size_t size)
{
    *begin = at > before ? at - before : 0;
    *end = at + kernel - before < size ? at + kernel - before : size;
}

/* One output pixel: all channels of the window's pixels, row by row. */
static void
pool_window(float *dst, const float *src, const tl_step *step, size_t oh, size_t ow)
{
    const size_t *s = step->src_shape.dims;
    const bool average = step->kind == TL_STEP_AVERAGE_POOLING2D;
    size_t top;
    size_t bottom;
    size_t left;
    size_t right;
    clip_window(&top, &bottom, oh * step->strides[0], step->kernel[0], step->padding.top, s[0]);
    clip_window(&left, &right, ow * step->strides[1], step->kernel[1], step->padding.left,
                s[1]);
    memcpy(dst, src + (top * s[1] + left) * s[2], s[2] * sizeof *dst);
    for (size_t h = top; h < bottom; h++) {
        for (size_t w = h == top ? left + 1 : left; w < right; w++) {
            const float *pixel = src + (h * s[1] + w) * s[2];
            for (size_t c = 0; average && c < s[2]; c++) {
                dst[c] += pixel[c];
            }
            for (size_t c = 0; !average && c < s[2]; c++) {
                dst[c] = pixel[c] > dst[c] || pixel[c] != pixel[c] ? pixel[c] : dst[c];
            }
        }
    }
    const float pixels = (float)((bottom - top) * (right - left));
    for (size_t c = 0; average && c < s[2]; c++) {
        dst[c] /= pixels;
    }
}

static void
run_pooling(float *dst, const float *src, const tl_step *step)
{
    const size_t *d = step->dst_shape.dims;
    for (size_t h = 0; h < d[0]; h++) {
        for (size_t w = 0; w < d[1]; w++) {
            pool_window(dst + (h * d[1] + w) * d[2], src, step, h, w);
        }
    }
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
        run_average(dst, src, pixels, channels);
        break;
    case TL_STEP_GLOBAL_MAX_POOLING2D:
        run_maximum(dst, src, pixels, channels);
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
