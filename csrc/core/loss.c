/* Binary, categorical and sparse categorical cross-entropy. */
#include "core/loss.h"

#include <math.h>
#include <string.h>

static const float EPSILON = 1e-7F; /* keras.config.epsilon() */

static const char *const names[TL_LOSS_COUNT] = {
    [TL_BINARY_CROSSENTROPY] = "binary_crossentropy",
    [TL_CATEGORICAL_CROSSENTROPY] = "categorical_crossentropy",
    [TL_SPARSE_CATEGORICAL_CROSSENTROPY] = "sparse_categorical_crossentropy",
};

const char *
tl_loss_name(tl_loss_kind kind)
{
    return names[kind];
}

bool
tl_loss_from_name(tl_loss_kind *kind, const char *name)
{
    for (int i = 0; i < TL_LOSS_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            *kind = (tl_loss_kind)i;
            return true;
        }
    }
    return false;
}

size_t
tl_loss_target_cols(tl_loss_kind kind, size_t cols)
{
    return kind == TL_SPARSE_CATEGORICAL_CROSSENTROPY ? 1 : cols;
}

tl_status
tl_loss_check(const tl_loss *loss, const float *targets, size_t rows, size_t cols)
{
    const size_t width = tl_loss_target_cols(loss->kind, cols);
    for (size_t i = 0; i < rows * width; i++) {
        if (!isfinite(targets[i])) {
            return tl_fail(TL_BAD_VALUE, "y holds %g at row %zu; it must be finite",
                           (double)targets[i], i / width);
        }
        if (loss->kind == TL_SPARSE_CATEGORICAL_CROSSENTROPY &&
            (targets[i] < 0 || targets[i] >= (float)cols || targets[i] != floorf(targets[i]))) {
            return tl_fail(TL_BAD_VALUE,
                           "y holds %g at row %zu; with sparse_categorical_crossentropy it "
                           "must be a whole number from 0 to %zu",
                           (double)targets[i], i, cols - 1);
        }
    }
    return TL_OK;
}

/* Each function below returns one row's loss and, if grad is not NULL, its gradient. */

static double
binary_from_logits(float *grad, const float *z, const float *y, size_t cols)
{
    double sum = 0;
    for (size_t c = 0; c < cols; c++) {
        const float e = expf(-fabsf(z[c]));
        sum += (double)((z[c] > 0 ? z[c] : 0) - z[c] * y[c] + log1pf(e));
        if (grad != NULL) {
            const float p = z[c] >= 0 ? 1.0F / (1.0F + e) : e / (1.0F + e);
            grad[c] = (p - y[c]) / (float)cols;
        }
    }
    return sum / (double)cols;
}

static bool
clipped(float *p)
{
    if (*p < EPSILON) {
        *p = EPSILON;
        return true;
    }
    if (*p > 1.0F - EPSILON) {
        *p = 1.0F - EPSILON;
        return true;
    }
    return false;
}

static double
binary_from_probabilities(float *grad, const float *outputs, const float *y, size_t cols)
{
    double sum = 0;
    for (size_t c = 0; c < cols; c++) {
        float p = outputs[c];
        const bool flat = clipped(&p);
        sum -= (double)(y[c] * logf(p) + (1.0F - y[c]) * logf(1.0F - p));
        if (grad != NULL) {
            grad[c] = flat ? 0 : ((1.0F - y[c]) / (1.0F - p) - y[c] / p) / (float)cols;
        }
    }
    return sum / (double)cols;
}

/* The target of column c: a one-hot row, or a class number. */
static float
target_at(const float *y, size_t c, bool sparse)
{
    return sparse ? (float)((size_t)y[0] == c) : y[c];
}

static double
categorical_from_logits(float *grad, const float *z, const float *y, size_t cols, bool sparse)
{
    float largest = z[0];
    float sum = 0;
    double value = 0;
    for (size_t c = 1; c < cols; c++) {
        largest = z[c] > largest ? z[c] : largest;
    }
    for (size_t c = 0; c < cols; c++) {
        sum += expf(z[c] - largest);
    }
    const float log_sum = logf(sum);
    for (size_t c = 0; c < cols; c++) {
        const float t = target_at(y, c, sparse);
        value += (double)(t * (log_sum - (z[c] - largest)));
        if (grad != NULL) {
            grad[c] = expf(z[c] - largest) / sum - t;
        }
    }
    return value;
}

/* Keras renormalises each row before it clips. */
static double
categorical_from_probabilities(float *grad, const float *outputs, const float *y, size_t cols)
{
    float sum = 0;
    float dot = 0;
    double value = 0;
    for (size_t c = 0; c < cols; c++) {
        sum += outputs[c];
    }
    for (size_t c = 0; c < cols; c++) {
        float p = outputs[c] / sum;
        const bool flat = clipped(&p);
        value -= (double)(y[c] * logf(p));
        if (grad != NULL) {
            grad[c] = flat ? 0 : -y[c] / p; /* with respect to outputs / sum */
            dot += grad[c] * outputs[c] / sum;
        }
    }
    for (size_t c = 0; grad != NULL && c < cols; c++) {
        grad[c] = (grad[c] - dot) / sum;
    }
    return value;
}

/* Keras clips, takes the logarithm and calls the result logits: that renormalises. */
static double
sparse_from_probabilities(float *grad, const float *outputs, const float *y, size_t cols)
{
    const size_t label = (size_t)y[0];
    float sum = 0;
    float target = 0;
    for (size_t c = 0; c < cols; c++) {
        float p = outputs[c];
        (void)clipped(&p);
        sum += p;
        target = c == label ? p : target;
    }
    for (size_t c = 0; grad != NULL && c < cols; c++) {
        float p = outputs[c];
        const bool flat = clipped(&p);
        grad[c] = flat ? 0 : 1.0F / sum - (c == label ? 1.0F / p : 0.0F);
    }
    return (double)(logf(sum) - logf(target));
}

static double
row_loss(const tl_loss *loss, float *grad, const float *outputs, const float *y, size_t cols)
{
    switch (loss->kind) {
    case TL_BINARY_CROSSENTROPY:
        return loss->from_logits ? binary_from_logits(grad, outputs, y, cols)
                                 : binary_from_probabilities(grad, outputs, y, cols);
    case TL_CATEGORICAL_CROSSENTROPY:
        return loss->from_logits ? categorical_from_logits(grad, outputs, y, cols, false)
                                 : categorical_from_probabilities(grad, outputs, y, cols);
    case TL_SPARSE_CATEGORICAL_CROSSENTROPY:
    case TL_LOSS_COUNT:
        break;
    }
    return loss->from_logits ? categorical_from_logits(grad, outputs, y, cols, true)
                             : sparse_from_probabilities(grad, outputs, y, cols);
}

void
tl_loss_compute(const tl_loss *loss, double *value, float *grad_outputs, const float *outputs,
                const float *targets, const float *weights, size_t rows, size_t cols,
                size_t total)
{
    const size_t width = tl_loss_target_cols(loss->kind, cols);
    double sum = 0;
    for (size_t r = 0; r < rows; r++) {
        float *grad = grad_outputs == NULL ? NULL : grad_outputs + r * cols;
        const float weight = weights == NULL ? 1.0F : weights[r];
        sum += (double)weight *
               row_loss(loss, grad, outputs + r * cols, targets + r * width, cols);
        for (size_t c = 0; grad != NULL && c < cols; c++) {
            grad[c] *= weight / (float)total;
        }
    }
    *value = sum / (double)total;
}
