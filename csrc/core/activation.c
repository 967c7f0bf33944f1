/* Activations and their gradients: a curve and its slope each, but for the two that see rows.
 */
#include "core/activation.h"

#include <math.h>
#include <string.h>

/* --- curves ----------------------------------------------------------------------------- */

static const float ELU_SCALE = 1.05070098735548049342F; /* of selu: arXiv:1706.02515 */
static const float ELU_ALPHA = 1.67326324235437728482F;
static const float LEAK = 0.2F;
static const float SQRT_HALF = 0.70710678118654752440F;
static const float GAUSS_PEAK = 0.39894228040143267794F; /* 1 / sqrt(2 pi) */

static float
relu(float x)
{
    return x < 0 ? 0 : x; /* NaN stays NaN */
}

static float
relu6(float x)
{
    const float positive = relu(x);
    return positive > 6 ? 6 : positive;
}

static float
sigmoid(float x)
{
    /* exp of a negative number only: no overflow on either side */
    const float e = expf(-fabsf(x));
    return x >= 0 ? 1.0F / (1.0F + e) : e / (1.0F + e);
}

static float
elu(float x)
{
    return x >= 0 ? x : expm1f(x);
}

static float
selu(float x)
{
    return ELU_SCALE * (x >= 0 ? x : ELU_ALPHA * expm1f(x));
}

static float
softplus(float x)
{
    return relu(x) + log1pf(expf(-fabsf(x)));
}

static float
softsign(float x)
{
    return x / (1.0F + fabsf(x));
}

static float
silu(float x)
{
    return x * sigmoid(x);
}

/* The share of a normal distribution that lies below x; erfc does not cancel far out. */
static float
gauss_below(float x)
{
    return 0.5F * erfcf(-x * SQRT_HALF);
}

static float
gelu(float x)
{
    return x * gauss_below(x);
}

static float
hard_sigmoid(float x)
{
    return relu6(x + 3.0F) / 6.0F;
}

static float
hard_silu(float x)
{
    return x * hard_sigmoid(x);
}

static float
leaky_relu(float x)
{
    return x > 0 ? x : LEAK * x;
}

static float
mish(float x)
{
    return x * tanhf(softplus(x));
}

/* --- slopes, from the input x and the output y; at kinks TensorFlow's --------------------- */

static float
relu_slope(float x, float y)
{
    (void)y;
    return x > 0 ? 1 : 0;
}

static float
relu6_slope(float x, float y)
{
    (void)y;
    return x > 0 && x < 6 ? 1 : 0;
}

static float
sigmoid_slope(float x, float y)
{
    (void)x;
    return y * (1.0F - y);
}

static float
tanh_slope(float x, float y)
{
    (void)x;
    return 1.0F - y * y;
}

static float
elu_slope(float x, float y)
{
    (void)x;
    return y < 0 ? y + 1.0F : 1.0F;
}

static float
selu_slope(float x, float y)
{
    (void)x;
    return y < 0 ? y + ELU_SCALE * ELU_ALPHA : ELU_SCALE;
}

static float
softplus_slope(float x, float y)
{
    (void)y;
    return sigmoid(x);
}

static float
softsign_slope(float x, float y)
{
    const float size = 1.0F + fabsf(x);
    (void)y;
    return 1.0F / (size * size);
}

static float
silu_slope(float x, float y)
{
    const float s = sigmoid(x);
    return s + y * (1.0F - s);
}

static float
gelu_slope(float x, float y)
{
    (void)y;
    return gauss_below(x) + x * GAUSS_PEAK * expf(-0.5F * x * x);
}

static float
hard_sigmoid_slope(float x, float y)
{
    (void)y;
    return relu6_slope(x + 3.0F, 0) / 6.0F;
}

static float
hard_silu_slope(float x, float y)
{
    return hard_sigmoid(x) + x * hard_sigmoid_slope(x, y);
}

static float
leaky_relu_slope(float x, float y)
{
    (void)y;
    return x > 0 ? 1 : LEAK;
}

static float
exponential_slope(float x, float y)
{
    (void)x;
    return y;
}

static float
mish_slope(float x, float y)
{
    const float t = tanhf(softplus(x));
    (void)y;
    return t + x * sigmoid(x) * (1.0F - t * t);
}

/* --- rows ------------------------------------------------------------------------------- */

static float
largest_of(const float *src, size_t cols)
{
    float largest = src[0];
    for (size_t c = 1; c < cols; c++) {
        largest = src[c] > largest ? src[c] : largest;
    }
    return largest;
}

static void
softmax_row(float *dst, const float *src, size_t cols)
{
    const float largest = largest_of(src, cols);
    float sum = 0;
    for (size_t c = 0; c < cols; c++) {
        dst[c] = expf(src[c] - largest);
        sum += dst[c];
    }
    for (size_t c = 0; c < cols; c++) {
        dst[c] /= sum;
    }
}

static void
log_softmax_row(float *dst, const float *src, size_t cols)
{
    const float largest = largest_of(src, cols);
    float sum = 0;
    for (size_t c = 0; c < cols; c++) {
        sum += expf(src[c] - largest);
    }
    const float log_sum = logf(sum);
    for (size_t c = 0; c < cols; c++) {
        dst[c] = src[c] - largest - log_sum;
    }
}

static void
softmax_backward(float *grad_src, const float *grad_dst, const float *dst, size_t cols)
{
    float dot = 0;
    for (size_t c = 0; c < cols; c++) {
        dot += grad_dst[c] * dst[c];
    }
    for (size_t c = 0; c < cols; c++) {
        grad_src[c] += dst[c] * (grad_dst[c] - dot);
    }
}

static void
log_softmax_backward(float *grad_src, const float *grad_dst, const float *dst, size_t cols)
{
    float sum = 0;
    for (size_t c = 0; c < cols; c++) {
        sum += grad_dst[c];
    }
    for (size_t c = 0; c < cols; c++) {
        grad_src[c] += grad_dst[c] - expf(dst[c]) * sum;
    }
}

/* --- all of them ------------------------------------------------------------------------ */

/* Inlined, so that each caller's loop holds its curve and not a call. */
static inline __attribute__((always_inline)) void
each(float *dst, const float *src, size_t count, float (*curve)(float))
{
    for (size_t i = 0; i < count; i++) {
        dst[i] = curve(src[i]);
    }
}

void
tl_activation_forward(float *dst, const float *src, size_t rows, size_t cols,
                      tl_function function)
{
    const size_t count = rows * cols;
    switch (function) {
    case TL_RELU:
        each(dst, src, count, relu);
        break;
    case TL_RELU6:
        each(dst, src, count, relu6);
        break;
    case TL_SIGMOID:
        each(dst, src, count, sigmoid);
        break;
    case TL_SOFTMAX:
        for (size_t r = 0; r < rows; r++) {
            softmax_row(dst + r * cols, src + r * cols, cols);
        }
        break;
    case TL_TANH:
        each(dst, src, count, tanhf);
        break;
    case TL_ELU:
        each(dst, src, count, elu);
        break;
    case TL_SELU:
        each(dst, src, count, selu);
        break;
    case TL_SOFTPLUS:
        each(dst, src, count, softplus);
        break;
    case TL_SOFTSIGN:
        each(dst, src, count, softsign);
        break;
    case TL_SILU:
        each(dst, src, count, silu);
        break;
    case TL_GELU:
        each(dst, src, count, gelu);
        break;
    case TL_HARD_SIGMOID:
        each(dst, src, count, hard_sigmoid);
        break;
    case TL_HARD_SILU:
        each(dst, src, count, hard_silu);
        break;
    case TL_LEAKY_RELU:
        each(dst, src, count, leaky_relu);
        break;
    case TL_EXPONENTIAL:
        each(dst, src, count, expf);
        break;
    case TL_MISH:
        each(dst, src, count, mish);
        break;
    case TL_LOG_SOFTMAX:
        for (size_t r = 0; r < rows; r++) {
            log_softmax_row(dst + r * cols, src + r * cols, cols);
        }
        break;
    case TL_LINEAR:
    case TL_FUNCTION_COUNT:
        if (dst != src) {
            memcpy(dst, src, count * sizeof *dst);
        }
        break;
    }
}

/* What a backward pass reads, beside where it adds to. */
typedef struct passing {
    const float *grad_dst, *src, *dst;
    size_t count;
} passing;

static inline __attribute__((always_inline)) void
each_slope(float *grad_src, const passing *p, float (*slope)(float x, float y))
{
    for (size_t i = 0; i < p->count; i++) {
        grad_src[i] += p->grad_dst[i] * slope(p->src[i], p->dst[i]);
    }
}

void
tl_activation_backward(float *grad_src, const float *grad_dst, const float *src,
                       const float *dst, size_t rows, size_t cols, tl_function function)
{
    const passing p = {grad_dst, src, dst, rows * cols};
    switch (function) {
    case TL_RELU:
        each_slope(grad_src, &p, relu_slope);
        break;
    case TL_RELU6:
        each_slope(grad_src, &p, relu6_slope);
        break;
    case TL_SIGMOID:
        each_slope(grad_src, &p, sigmoid_slope);
        break;
    case TL_SOFTMAX:
        for (size_t r = 0; r < rows; r++) {
            softmax_backward(grad_src + r * cols, grad_dst + r * cols, dst + r * cols, cols);
        }
        break;
    case TL_TANH:
        each_slope(grad_src, &p, tanh_slope);
        break;
    case TL_ELU:
        each_slope(grad_src, &p, elu_slope);
        break;
    case TL_SELU:
        each_slope(grad_src, &p, selu_slope);
        break;
    case TL_SOFTPLUS:
        each_slope(grad_src, &p, softplus_slope);
        break;
    case TL_SOFTSIGN:
        each_slope(grad_src, &p, softsign_slope);
        break;
    case TL_SILU:
        each_slope(grad_src, &p, silu_slope);
        break;
    case TL_GELU:
        each_slope(grad_src, &p, gelu_slope);
        break;
    case TL_HARD_SIGMOID:
        each_slope(grad_src, &p, hard_sigmoid_slope);
        break;
    case TL_HARD_SILU:
        each_slope(grad_src, &p, hard_silu_slope);
        break;
    case TL_LEAKY_RELU:
        each_slope(grad_src, &p, leaky_relu_slope);
        break;
    case TL_EXPONENTIAL:
        each_slope(grad_src, &p, exponential_slope);
        break;
    case TL_MISH:
        each_slope(grad_src, &p, mish_slope);
        break;
    case TL_LOG_SOFTMAX:
        for (size_t r = 0; r < rows; r++) {
            log_softmax_backward(grad_src + r * cols, grad_dst + r * cols, dst + r * cols,
                                 cols);
        }
        break;
    case TL_LINEAR:
    case TL_FUNCTION_COUNT:
        for (size_t i = 0; i < p.count; i++) {
            grad_src[i] += grad_dst[i];
        }
        break;
    }
}
