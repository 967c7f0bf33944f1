/* What training runs: units, each a node with the batch norm and the ReLU behind it, and where
 * their values and gradients lie.
 *
 * A unit stores the bare output of its head; what its readers see is a view of that
 * (train_ops.h). The memory of a part of the batch is planned over one forward and one backward
 * walk: a gradient may lie where values lay that are no longer needed. */
#ifndef TL_CORE_TRAIN_PLAN_H
#define TL_CORE_TRAIN_PLAN_H

#include "core/lower.h"
#include "core/ops.h"

typedef struct tl_unit {
    size_t head;          /* node that makes the stored numbers; a batch norm or ReLU: a copy */
    size_t norm;          /* batch norm behind it, or TL_NONE */
    size_t last;          /* node whose value its readers see */
    tl_function function; /* linear, relu, relu6 */
    bool batch_statistics;
    bool wants_grad; /* a trainable parameter lies in it or before it */
    bool folded;     /* a convolution that stores its value: norm and function are part of it */
    size_t inputs[TL_MAX_INPUTS]; /* units */
    size_t input_count;
    bool adds[TL_MAX_INPUTS]; /* to the input's gradient: another unit has written before */
    bool ends[TL_MAX_INPUTS]; /* no unit will write after */
    size_t channels;
    size_t pixels; /* of a row; channels * pixels numbers are stored */
    bool is_layer; /* a convolution */
    tl_layer layer;
    size_t packed_offset, packed_bytes;
    size_t folded_offset; /* of kernel and bias, beside what is packed */
    size_t layer_scratch;
} tl_unit;

/* Where a unit's values and their gradients lie in the memory of a part. */
typedef struct tl_place {
    size_t value, grad;
} tl_place;

typedef struct tl_train_plan {
    tl_unit *units; /* the first is the value at `start` */
    size_t count;
    size_t logits; /* unit */
    size_t packed_bytes;
    bool batch_statistics; /* of any unit: all parts must have come as far */
    size_t work;           /* multiply-adds of a row, forward */
    size_t row_floats;     /* that all units store of a row */
} tl_train_plan;

/* Units from node `start` to node `logits`; `needed` tells which nodes lead there. */
tl_status tl_train_plan_create(tl_train_plan *plan, const tl_graph *graph, size_t start,
                               size_t logits, const bool *needed, const bool *trainable,
                               const tl_train_ops *ops);
void tl_train_plan_clear(tl_train_plan *plan);

/* Places values and gradients of a part of `rows` rows: places, if not NULL, one a unit. *bytes
 * is what they take, *scratch what a unit may scribble on beside. */
tl_status tl_train_plan_memory(const tl_train_plan *plan, size_t rows, tl_place *places,
                               size_t *bytes, size_t *scratch);

#endif
