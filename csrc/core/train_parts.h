/* Forward, loss and backward of a batch, in parts that threads work on side by side.
 *
 * A part is a run of the batch's rows with memory and gradients of its own. Where a batch norm
 * takes statistics of the whole batch, all parts must have come as far, and a part holds all of
 * its rows at once; else each goes there and back alone with a few rows at a time, whose values
 * stay in its cache. Gradients and sums of parts are added up in their order: the same rows in
 * the same number of parts give the same bits. */
#ifndef TL_CORE_TRAIN_PARTS_H
#define TL_CORE_TRAIN_PARTS_H

#include <stdint.h>

#include "core/arena.h"
#include "core/loss.h"
#include "core/network.h"
#include "core/train_plan.h"

typedef struct tl_parts tl_parts;

typedef struct tl_parts_plan {
    tl_network *network; /* outlives the parts */
    size_t start;        /* nodes */
    size_t logits;
    const bool *needed;     /* one a node: it leads to the logits */
    const bool *trainable;  /* one a parameter */
    const float *momentums; /* of batch norms, one a parameter; NULL: the graph's */
    tl_loss loss;
    tl_function output; /* what the user sees of the logits */
} tl_parts_plan;

/* TL_UNSUPPORTED names a node that cannot be trained through. */
tl_status tl_parts_create(tl_parts **out, const tl_parts_plan *plan);
void tl_parts_destroy(tl_parts *parts);

/* Whether anything is trained, and which parameters. */
bool tl_parts_train(const tl_parts *parts);
const bool *tl_parts_trained(const tl_parts *parts);

/* Bytes that a batch of so many rows needs. */
tl_status tl_parts_memory(const tl_parts *parts, size_t rows, size_t *bytes);

/* Makes room for the next run; what there is stays until the new one exists. */
tl_status tl_parts_reserve(tl_parts *parts, size_t rows);

typedef struct tl_parts_batch {
    const float *inputs;
    const float *targets;
    const float *weights; /* or NULL */
    size_t rows;
    float *outputs;
    uint64_t seed; /* of dropout */
    uint64_t step;
    /* Asked on the caller's thread every now and then: true ends the step. NULL: never. */
    bool (*interrupted)(void *context);
    void *context;
} tl_parts_batch;

/* Room must be reserved for as many rows, and the parameters locked for writing. TL_INTERRUPTED
 * if asked to. */
tl_status tl_parts_run(tl_parts *parts, double *loss, const tl_parts_batch *batch);

/* What the last run left: one gradient a parameter, NULL where it is not trained. */
const float *const *tl_parts_gradients(const tl_parts *parts);

/* Moves the moving statistics towards those of the last batch. */
void tl_parts_move_statistics(const tl_parts *parts);

/* Seconds of a processor that unit i took in all runs so far, on average of the parts; false:
 * no such unit. */
typedef struct tl_unit_time {
    const char *name; /* of its head's node */
    double forward, backward;
} tl_unit_time;
bool tl_parts_time(const tl_parts *parts, size_t index, tl_unit_time *time);

#endif
