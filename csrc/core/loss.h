/* Cross-entropies with Keras 3's numbers: values and gradients for one batch.
 *
 * From logits behind a sigmoid or softmax: no dead zone from clipping. Otherwise from
 * probabilities, clipped to [1e-7, 1 - 1e-7] as Keras clips them
 * (keras.io/api/losses/probabilistic_losses). */
#ifndef TL_CORE_LOSS_H
#define TL_CORE_LOSS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

typedef enum tl_loss_kind {
    TL_BINARY_CROSSENTROPY,
    TL_CATEGORICAL_CROSSENTROPY,
    TL_SPARSE_CATEGORICAL_CROSSENTROPY,
    TL_LOSS_COUNT
} tl_loss_kind;

typedef struct tl_loss {
    tl_loss_kind kind;
    bool from_logits;
} tl_loss;

const char *tl_loss_name(tl_loss_kind kind);
bool tl_loss_from_name(tl_loss_kind *kind, const char *name);

/* Columns of y: `cols`, or 1 for the sparse loss. */
size_t tl_loss_target_cols(tl_loss_kind kind, size_t cols);

/* Checks a batch of targets; TL_BAD_VALUE says which row is wrong. */
tl_status tl_loss_check(const tl_loss *loss, const float *targets, size_t rows, size_t cols);

/* *value <- sum over rows of weight * loss / total, where the rows are some of a batch of so
 * many. grad_outputs (rows, cols), if not NULL, <- its gradient. outputs (rows, cols) are
 * logits or probabilities, weights may be NULL. */
void tl_loss_compute(const tl_loss *loss, double *value, float *grad_outputs,
                     const float *outputs, const float *targets, const float *weights,
                     size_t rows, size_t cols, size_t total);

#endif
