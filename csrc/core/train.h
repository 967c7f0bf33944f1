/* Forward and backward of the trainable part, over a whole batch, and the optimizer's step.
 *
 * A trainer holds the memory of training (values, gradients, optimizer slots) for the nodes
 * behind `start`; it is made at the first batch and grows when a larger one comes. The weights
 * stay where they are, in the network's parameters. One caller at a time. */
#ifndef TL_CORE_TRAIN_H
#define TL_CORE_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/loss.h"
#include "core/network.h"
#include "core/optimizer.h"
#include "core/train_parts.h"

typedef struct tl_trainer tl_trainer;

typedef struct tl_trainer_plan {
    size_t start;          /* node whose values are the inputs */
    const bool *trainable; /* one flag a parameter of the network; copied */
    tl_loss loss;          /* from_logits as the user said; a sigmoid or softmax implies it */
    tl_optimizer optimizer;
    /* Of batch norms, at the places of their parameters; NULL: those of the graph. Not kept. */
    const float *momentums;
    const float *multipliers; /* of the learning rate, one a parameter; NULL: all 1; copied */
    uint64_t seed;            /* of dropout */
} tl_trainer_plan;

/* The network must outlive the trainer. TL_UNSUPPORTED names a node that cannot be trained
 * through, TL_BAD_VALUE an output that the loss does not fit. */
tl_status tl_trainer_create(tl_trainer **out, tl_network *network, const tl_trainer_plan *plan);
void tl_trainer_destroy(tl_trainer *trainer);

typedef struct tl_batch {
    const float *inputs;  /* (rows, shape of start) */
    const float *targets; /* (rows, target columns) */
    const float *weights; /* (rows) or NULL */
    size_t rows;
    /* Asked on the caller's thread every now and then; true ends the step with TL_INTERRUPTED
     * and nothing changed. NULL: never. */
    bool (*interrupted)(void *context);
    void *context;
} tl_batch;

/* Columns that targets must have, and that outputs have. */
size_t tl_trainer_target_cols(const tl_trainer *trainer);
size_t tl_trainer_output_cols(const tl_trainer *trainer);
size_t tl_trainer_start(const tl_trainer *trainer);

/* Bytes that training takes beside the parameters and the optimizer's slots, for batches of so
 * many rows. Allocates nothing that stays. */
tl_status tl_trainer_memory(const tl_trainer *trainer, size_t rows, size_t *bytes);

/* One step: *value <- the loss before it, outputs (rows, output columns) <- the values that it
 * was computed from. A batch whose loss is not finite still steps, as in Keras. */
tl_status tl_trainer_step(tl_trainer *trainer, double *value, float *outputs,
                          const tl_batch *batch, float learning_rate);

/* The same without the step: *gradients, one a parameter of the network, NULL where it is not
 * trained, hold until the next call. */
tl_status tl_trainer_gradients(tl_trainer *trainer, double *value, float *outputs,
                               const tl_batch *batch, const float *const **gradients);

/* Loss and outputs in inference mode, through the same steps as tl_network_run. */
tl_status tl_trainer_evaluate(tl_trainer *trainer, double *value, float *outputs,
                              const tl_batch *batch);

/* Where the time of all steps went; false behind the last unit. */
bool tl_trainer_time(const tl_trainer *trainer, size_t index, tl_unit_time *time);

/* The weights become their moving averages, if the optimizer keeps any. */
void tl_trainer_apply_averages(tl_trainer *trainer);

/* SGD's momentum from the next step on; see train_state.h. */
tl_status tl_trainer_set_momentum(tl_trainer *trainer, float momentum);

/* Batches trained so far. */
uint64_t tl_trainer_iterations(const tl_trainer *trainer);
void tl_trainer_set_iterations(tl_trainer *trainer, uint64_t iterations);

/* The optimizer's arrays, all of one tensor together: see train_state.h. */
size_t tl_trainer_slot_count(const tl_trainer *trainer);
float *tl_trainer_slot(const tl_trainer *trainer, size_t index, const tl_tensor **tensor);

#endif
