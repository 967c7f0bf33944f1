/* Output activations and their gradients. */
#include "core/activation.h"

#include <math.h>
#include <string.h>

static void
softmax_row(float *dst, const float *src, size_t cols)
{
    float largest = src[0];
    float sum = 0;
    for (size_t c = 1; c < cols; c++) {
        largest = src[c] > largest ? src[c] : largest;
    }
    for (size_t c = 0; c < cols; c++) {
        dst[c] = expf(src[c] - largest);
        sum += dst[c];
    }
    for (size_t c = 0; c < cols; c++) {
        dst[c] /= sum;
    }
}

static float
sigmoid(float x)
{
    /* exp of a negative number only: no overflow on either side */
    const float e = expf(-fabsf(x));
    return x >= 0 ? 1.0F / (1.0F + e) : e / (1.0F + e);
}

void
tl_activation_forward(float *dst, const float *src, size_t rows, size_t cols,
                      tl_function function)
{
    const size_t count = rows * cols;
    switch (function) {
    case TL_RELU:
        for (size_t i = 0; i < count; i++) {
            dst[i] = src[i] < 0 ? 0 : src[i]; /* NaN stays NaN */
        }
        break;
    case TL_RELU6:
        for (size_t i = 0; i < count; i++) {
            const float positive = src[i] < 0 ? 0 : src[i];
            dst[i] = positive > 6 ? 6 : positive;
        }
        break;
    case TL_SIGMOID:
        for (size_t i = 0; i < count; i++) {
            dst[i] = sigmoid(src[i]);
        }
        break;
    case TL_SOFTMAX:
        for (size_t r = 0; r < rows; r++) {
            softmax_row(dst + r * cols, src + r * cols, cols);
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

void
tl_activation_backward(float *grad_src, const float *grad_dst, const float *dst, size_t rows,
                       size_t cols, tl_function function)
{
    const size_t count = rows * cols;
    switch (function) {
    case TL_RELU:
        for (size_t i = 0; i < count; i++) {
            grad_src[i] += dst[i] > 0 ? grad_dst[i] : 0;
        }
        break;
    case TL_RELU6:
        for (size_t i = 0; i < count; i++) {
            grad_src[i] += dst[i] > 0 && dst[i] < 6 ? grad_dst[i] : 0;
        }
        break;
    case TL_SIGMOID:
        for (size_t i = 0; i < count; i++) {
            grad_src[i] += grad_dst[i] * dst[i] * (1 - dst[i]);
        }
        break;
    case TL_SOFTMAX:
        for (size_t r = 0; r < rows; r++) {
            softmax_backward(grad_src + r * cols, grad_dst + r * cols, dst + r * cols, cols);
        }
        break;
    case TL_LINEAR:
    case TL_FUNCTION_COUNT:
        for (size_t i = 0; i < count; i++) {
            grad_src[i] += grad_dst[i];
        }
        break;
    }
}
