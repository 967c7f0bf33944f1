/* Naive loops: nothing shared with the product but the step that they are told to run. To add
 * a step kind, add its loop and a case; test_steps.c then compares it with every backend. */
#include "reference_ops.h"

#include <math.h>
#include <string.h>

#include "core/arena.h"
#include "dnnl/backend.h"
#include "kernels/fused.h"
#include "kernels/pictures.h"
#include "kernels/plain.h"
#include "kernels/training.h"
#include "reference_training.h"

static size_t
takes(const tl_block *chain)
{
    (void)chain;
    return 1;
}

static tl_status
prepare(tl_kernel *kernel, const tl_block *block)
{
    const tl_step *step = &block->steps[0];
    *kernel = (tl_kernel){
        .packed_bytes = (tl_step_kernel_count(step) + tl_step_bias_count(step)) * sizeof(float),
        .adds_in_place = step->has_residual && step->kind == TL_STEP_CONV2D,
    };
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
    const tl_step *step = &block->steps[0];
    float *numbers = packed;
    (void)kernel;
    memcpy(numbers, weights[0], tl_step_kernel_count(step) * sizeof *numbers);
    memcpy(numbers + tl_step_kernel_count(step), biases[0],
           tl_step_bias_count(step) * sizeof *numbers);
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
    (void)binding;
}

double
reference_function(tl_function function, double x)
{
    const double hard_sigmoid = fmin(fmax(x + 3, 0), 6) / 6;
    const double softplus = fmax(x, 0) + log1p(exp(-fabs(x)));
    switch (function) {
    case TL_RELU:
        return fmax(x, 0);
    case TL_RELU6:
        return fmin(fmax(x, 0), 6);
    case TL_SIGMOID:
        return 1 / (1 + exp(-x));
    case TL_TANH:
        return tanh(x);
    case TL_ELU:
        return x > 0 ? x : expm1(x);
    case TL_SELU:
        return 1.0507009873554804934193349852946 *
               (x > 0 ? x : 1.6732632423543772848170429916717 * expm1(x));
    case TL_SOFTPLUS:
        return softplus;
    case TL_SOFTSIGN:
        return x / (1 + fabs(x));
    case TL_SILU:
        return x / (1 + exp(-x));
    case TL_GELU:
        return x / 2 * erfc(-x / sqrt(2));
    case TL_HARD_SIGMOID:
        return hard_sigmoid;
    case TL_HARD_SILU:
        return x * hard_sigmoid;
    case TL_LEAKY_RELU:
        return x > 0 ? x : 0.2 * x;
    case TL_EXPONENTIAL:
        return exp(x);
    case TL_MISH:
        return x * tanh(softplus);
    default:
        return x;
    }
}

/* One output of a convolution; `group` is the only input channel of a depthwise one. */
static double
convolve(const tl_step *step, const float *src, const float *kernel, size_t oh, size_t ow,
         size_t oc)
{
    const size_t *s = step->src_shape.dims;
    const size_t channels = s[2];
    const size_t outputs = step->dst_shape.dims[2];
    const bool depthwise = step->kind == TL_STEP_DEPTHWISE_CONV2D;
    double sum = 0;
    for (size_t kh = 0; kh < step->kernel[0]; kh++) {
        for (size_t kw = 0; kw < step->kernel[1]; kw++) {
            const size_t h = oh * step->strides[0] + kh;
            const size_t w = ow * step->strides[1] + kw;
            if (h < step->padding.top || h - step->padding.top >= s[0] ||
                w < step->padding.left || w - step->padding.left >= s[1]) {
                continue;
            }
            const float *pixel =
                src + ((h - step->padding.top) * s[1] + (w - step->padding.left)) * channels;
            const float *taps =
                kernel + (kh * step->kernel[1] + kw) * channels * (depthwise ? 1 : outputs);
            if (depthwise) {
                sum += (double)pixel[oc] * (double)taps[oc];
                continue;
            }
            for (size_t c = 0; c < channels; c++) {
                sum += (double)pixel[c] * (double)taps[c * outputs + oc];
            }
        }
    }
    return sum;
}

static void
run_convolution(const tl_step *step, float *dst, const float *src, const float *numbers)
{
    const size_t *d = step->dst_shape.dims;
    const float *bias = numbers + tl_step_kernel_count(step);
    for (size_t h = 0; h < d[0]; h++) {
        for (size_t w = 0; w < d[1]; w++) {
            for (size_t c = 0; c < d[2]; c++) {
                float *out = dst + (h * d[1] + w) * d[2] + c;
                double x = convolve(step, src, numbers, h, w, c) + (double)bias[c];
                x += step->has_residual ? (double)*out : 0;
                *out = (float)reference_function(step->function, x);
            }
        }
    }
}

static void
run_dense(const tl_step *step, float *dst, const float *src, const float *numbers)
{
    const size_t in = tl_shape_channels(&step->src_shape);
    const size_t out = tl_shape_channels(&step->dst_shape);
    const size_t rows = tl_shape_elements(&step->src_shape) / in;
    for (size_t r = 0; r < rows; r++) {
        for (size_t o = 0; o < out; o++) {
            double sum = (double)numbers[in * out + o];
            for (size_t i = 0; i < in; i++) {
                sum += (double)src[r * in + i] * (double)numbers[i * out + o];
            }
            dst[r * out + o] = (float)reference_function(step->function, sum);
        }
    }
}

static void
run_padding(const tl_step *step, float *dst, const float *src)
{
    const size_t *s = step->src_shape.dims;
    const size_t *d = step->dst_shape.dims;
    for (size_t h = 0; h < d[0]; h++) {
        for (size_t w = 0; w < d[1]; w++) {
            for (size_t c = 0; c < d[2]; c++) {
                const bool inside = h >= step->padding.top && h - step->padding.top < s[0] &&
                                    w >= step->padding.left && w - step->padding.left < s[1];
                dst[(h * d[1] + w) * d[2] + c] =
                    inside
                        ? src[((h - step->padding.top) * s[1] + w - step->padding.left) * s[2] +
                              c]
                        : 0;
            }
        }
    }
}

static void
run_pooling(const tl_step *step, float *dst, const float *src)
{
    const size_t *s = step->src_shape.dims;
    for (size_t c = 0; c < s[2]; c++) {
        double sum = 0;
        double largest = -INFINITY;
        for (size_t p = 0; p < s[0] * s[1]; p++) {
            sum += (double)src[p * s[2] + c];
            largest = fmax(largest, (double)src[p * s[2] + c]);
        }
        dst[c] =
            (float)(step->kind == TL_STEP_GLOBAL_MAX_POOLING2D ? largest
                                                               : sum / (double)(s[0] * s[1]));
    }
}

static void
run_window(const tl_step *step, float *dst, const float *src)
{
    const size_t *s = step->src_shape.dims;
    const size_t *d = step->dst_shape.dims;
    for (size_t i = 0; i < d[0] * d[1] * d[2]; i++) {
        double sum = 0;
        double largest = -INFINITY;
        size_t pixels = 0;
        for (size_t p = 0; p < s[0] * s[1]; p++) {
            /* where the pixel lies among those with padding, and where the window begins */
            const size_t h = p / s[1] + step->padding.top;
            const size_t w = p % s[1] + step->padding.left;
            const size_t top = i / d[2] / d[1] * step->strides[0];
            const size_t left = i / d[2] % d[1] * step->strides[1];
            if (h >= top && h < top + step->kernel[0] && w >= left &&
                w < left + step->kernel[1]) {
                const double x = (double)src[p * s[2] + i % d[2]];
                sum += x;
                largest = fmax(largest, x);
                pixels++;
            }
        }
        dst[i] = (float)(step->kind == TL_STEP_MAX_POOLING2D ? largest : sum / (double)pixels);
    }
}

static void
run_concatenate(const tl_step *step, float *dst, const tl_work *work)
{
    const size_t channels = tl_shape_channels(&step->dst_shape);
    for (size_t i = 0; i < tl_shape_elements(&step->dst_shape); i++) {
        const float *src = work->src;
        size_t width = tl_shape_channels(&step->src_shape);
        size_t c = i % channels;
        for (size_t k = 0; c >= width; k++) {
            c -= width;
            src = work->others[k];
            width = step->other_channels[k];
        }
        dst[i] = src[i / channels * width + c];
    }
}

static void
run_softmax(float *dst, const float *src, size_t rows, size_t cols, bool logarithm)
{
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        double largest = -INFINITY;
        for (size_t c = 0; c < cols; c++) {
            largest = fmax(largest, (double)src[r * cols + c]);
        }
        for (size_t c = 0; c < cols; c++) {
            sum += exp((double)src[r * cols + c] - largest);
        }
        for (size_t c = 0; c < cols; c++) {
            const double x = (double)src[r * cols + c] - largest;
            dst[r * cols + c] = (float)(logarithm ? x - log(sum) : exp(x) / sum);
        }
    }
}

static void
run_pointwise(const tl_step *step, float *dst, const float *src, const float *numbers,
              const float *residual)
{
    const size_t count = tl_shape_elements(&step->dst_shape);
    const size_t channels = tl_shape_channels(&step->dst_shape);
    if (step->function == TL_SOFTMAX || step->function == TL_LOG_SOFTMAX) {
        run_softmax(dst, src, count / channels, channels, step->function == TL_LOG_SOFTMAX);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        double x = (double)src[i];
        if (step->kind == TL_STEP_AFFINE) {
            x = x * (double)numbers[i % channels] + (double)numbers[channels + i % channels];
        } else if (step->kind == TL_STEP_ADD) {
            x += (double)residual[i];
        }
        dst[i] = (float)reference_function(step->function, x);
    }
}

static tl_status
forward(const tl_kernel *kernel, const tl_block *block, void *binding, const tl_work *work)
{
    const tl_step *step = &block->steps[0];
    float *dst = work->dst;
    const float *src = work->src;
    (void)kernel;
    switch (step->kind) {
    case TL_STEP_CONV2D:
    case TL_STEP_DEPTHWISE_CONV2D:
        run_convolution(step, dst, src, binding);
        break;
    case TL_STEP_DENSE:
        run_dense(step, dst, src, binding);
        break;
    case TL_STEP_ZERO_PADDING2D:
        run_padding(step, dst, src);
        break;
    case TL_STEP_GLOBAL_AVERAGE_POOLING2D:
    case TL_STEP_GLOBAL_MAX_POOLING2D:
        run_pooling(step, dst, src);
        break;
    case TL_STEP_MAX_POOLING2D:
    case TL_STEP_AVERAGE_POOLING2D:
        run_window(step, dst, src);
        break;
    case TL_STEP_CONCATENATE:
        run_concatenate(step, dst, work);
        break;
    default:
        run_pointwise(step, dst, src, binding, work->residual);
        break;
    }
    return TL_OK;
}

static tl_status
gemm(float *c, const float *a, const float *b, const tl_gemm *g)
{
    for (size_t i = 0; i < g->m; i++) {
        for (size_t j = 0; j < g->n; j++) {
            double sum = g->beta != 0 ? (double)c[i * g->n + j] : 0;
            for (size_t k = 0; k < g->k; k++) {
                sum += (double)a[g->transpose_a ? k * g->m + i : i * g->k + k] *
                       (double)b[g->transpose_b ? j * g->k + k : k * g->n + j];
            }
            c[i * g->n + j] = (float)sum;
        }
    }
    return TL_OK;
}

static const tl_backend reference_backend = {
    .name = "reference",
    .takes = takes,
    .prepare = prepare,
    .release = release,
    .pack = pack,
    .bind = bind,
    .unbind = unbind,
    .forward = forward,
};

static const tl_backend *const reference_list[] = {&reference_backend};
static const tl_backend *const product_list[] = {&tl_fused_backend, &tl_dnnl_backend,
                                                 &tl_pictures_backend, &tl_plain_backend};

const tl_ops reference_ops = {reference_list, 1, gemm, NULL, &reference_training};
const tl_ops product_ops = {product_list, 4, tl_dnnl_gemm, tl_pictures_resize,
                            &tl_training_kernels};
