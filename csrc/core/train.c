/* The trainer: what is trained with which loss, one step, and the optimizer's state. */
#include "core/train.h"

#include <string.h>

#include "core/activation.h"
#include "core/arena.h"
#include "core/pool.h"
#include "core/train_parts.h"
#include "core/train_state.h"

struct tl_trainer {
    tl_network *network; /* borrowed */
    size_t start;
    size_t logits; /* the node whose values go into the loss */
    size_t output;
    bool *trainable; /* one flag a parameter */
    bool *needed;    /* one a node: it leads from start to the logits */
    tl_loss loss;
    uint64_t seed;
    tl_parts *parts;
    tl_train_state *state;
};

/* --- creation --------------------------------------------------------------------------- */

/* Finds the node whose values the loss takes, and whether these are logits. */
static tl_status
attach_loss(tl_trainer *t, const tl_graph *graph)
{
    const tl_node *last = &graph->nodes[t->output];
    t->logits = t->output;
    if (last->shape.rank != 1) {
        return tl_fail(TL_BAD_VALUE,
                       "loss needs an output of (classes,) for each picture, but the model "
                       "ends in \"%s\" with (%zu, %zu, %zu): add GlobalAveragePooling2D or "
                       "Flatten",
                       last->name, last->shape.dims[0], last->shape.dims[1],
                       last->shape.dims[2]);
    }
    /* Keras takes every loss from what went into a sigmoid or softmax, also where the two do
     * not fit (a softmax with binary cross-entropy): its sigmoid() and softmax() leave their
     * logits with the tensor. */
    if (last->op == TL_OP_ACTIVATION && t->output > t->start &&
        (last->activation.function == TL_SIGMOID || last->activation.function == TL_SOFTMAX)) {
        t->logits = last->inputs[0];
        t->loss.from_logits = true;
    }
    return TL_OK;
}

/* Which nodes behind `start` lead to the logits. */
static tl_status
mark_needed(tl_trainer *t, const tl_graph *graph)
{
    const char *start = graph->nodes[t->start].name;
    if (t->logits < t->start) {
        return tl_fail(TL_BAD_VALUE, "the value of \"%s\" cannot be computed from \"%s\" alone",
                       graph->nodes[t->output].name, start);
    }
    t->needed[t->logits] = true;
    for (size_t i = t->logits; i > t->start; i--) {
        const tl_node *node = &graph->nodes[i];
        for (size_t k = 0; t->needed[i] && k < node->input_count; k++) {
            if (node->inputs[k] < t->start) {
                return tl_fail(TL_BAD_VALUE,
                               "the value of \"%s\" cannot be computed from \"%s\" alone",
                               node->name, start);
            }
            t->needed[node->inputs[k]] = true;
        }
    }
    return TL_OK;
}

tl_status
tl_trainer_create(tl_trainer **out, tl_network *network, const tl_trainer_plan *plan)
{
    tl_status status = TL_OUT_OF_MEMORY;
    const tl_graph *graph = tl_network_graph(network);
    tl_trainer *t = NULL;

    if (plan->start >= graph->count) {
        return tl_fail(TL_BAD_VALUE, "start must be a node of the network, not %zu of %zu",
                       plan->start, graph->count);
    }
    t = tl_alloc(1, sizeof *t);
    if (t == NULL) {
        goto done;
    }
    t->network = network;
    t->start = plan->start;
    t->output = graph->count - 1;
    t->loss = plan->loss;
    t->seed = plan->seed;
    t->trainable = tl_alloc(graph->param_count, sizeof *t->trainable);
    t->needed = tl_alloc(graph->count, sizeof *t->needed);
    if (t->trainable == NULL || t->needed == NULL) {
        goto done;
    }
    memcpy(t->trainable, plan->trainable, graph->param_count * sizeof *t->trainable);
    TL_TRY(attach_loss(t, graph));
    TL_TRY(mark_needed(t, graph));
    const tl_node *last = &graph->nodes[t->output];
    TL_TRY(tl_parts_create(&t->parts,
                           &(tl_parts_plan){.network = network,
                                            .start = t->start,
                                            .logits = t->logits,
                                            .needed = t->needed,
                                            .trainable = t->trainable,
                                            .momentums = plan->momentums,
                                            .loss = t->loss,
                                            .output = t->logits == t->output
                                                          ? TL_LINEAR
                                                          : last->activation.function}));
    TL_TRY(tl_train_state_create(&t->state, network, tl_parts_trained(t->parts),
                                 &plan->optimizer, plan->multipliers));

    *out = t; /* handed over */
    t = NULL;
done:
    tl_trainer_destroy(t);
    return status;
}

void
tl_trainer_destroy(tl_trainer *trainer)
{
    if (trainer != NULL) {
        tl_train_state_destroy(trainer->state);
        tl_parts_destroy(trainer->parts);
        tl_free(trainer->needed);
        tl_free(trainer->trainable);
        tl_free(trainer);
    }
}

size_t
tl_trainer_output_cols(const tl_trainer *trainer)
{
    return tl_shape_elements(&tl_network_graph(trainer->network)->nodes[trainer->output].shape);
}

size_t
tl_trainer_target_cols(const tl_trainer *trainer)
{
    return tl_loss_target_cols(trainer->loss.kind, tl_trainer_output_cols(trainer));
}

size_t
tl_trainer_start(const tl_trainer *trainer)
{
    return trainer->start;
}

tl_status
tl_trainer_memory(const tl_trainer *trainer, size_t rows, size_t *bytes)
{
    return tl_parts_memory(trainer->parts, rows, bytes);
}

/* --- one step --------------------------------------------------------------------------- */

static tl_status
check_batch(const tl_trainer *t, const tl_batch *batch)
{
    if (batch->rows == 0) {
        return tl_fail(TL_BAD_VALUE, "x holds no row; a batch needs at least one");
    }
    return tl_loss_check(&t->loss, batch->targets, batch->rows, tl_trainer_output_cols(t));
}

typedef struct asking {
    tl_network *network;
    const tl_batch *batch;
    bool stop;
} asking;

/* Whoever answers may want to use the network. If weights were set meanwhile, the step has to
 * begin again. */
static bool
ask(void *context)
{
    asking *a = context;
    const unsigned long before = tl_network_version(a->network);
    tl_network_unlock(a->network);
    a->stop = a->batch->interrupted(a->batch->context);
    tl_network_lock_write(a->network);
    return a->stop || tl_network_version(a->network) != before;
}

/* Loss and gradients; the parameters are locked for writing. */
static tl_status
run(tl_trainer *t, double *value, float *outputs, const tl_batch *batch)
{
    tl_status status;
    asking a = {t->network, batch, false};
    const tl_parts_batch whole = {
        .inputs = batch->inputs,
        .targets = batch->targets,
        .weights = batch->weights,
        .rows = batch->rows,
        .outputs = outputs,
        .seed = t->seed,
        .step = tl_train_state_iterations(t->state),
        .interrupted = batch->interrupted == NULL ? NULL : ask,
        .context = &a,
    };
    do {
        status = tl_parts_run(t->parts, value, &whole);
    } while (status == TL_INTERRUPTED && !a.stop);
    return status;
}

typedef struct updating {
    tl_trainer *trainer;
    float learning_rate;
} updating;

/* Runs on a crew thread, inside the fork guard: a forked child must not see a step half done.
 */
static tl_status
update_task(void *context, size_t unused)
{
    const updating *job = context;
    tl_trainer *t = job->trainer;
    (void)unused;
    tl_train_state_update(t->state, tl_parts_gradients(t->parts), job->learning_rate);
    tl_parts_move_statistics(t->parts);
    tl_network_touch(t->network, t->trainable);
    return TL_OK;
}

static tl_status
prepare(tl_trainer *t, const tl_batch *batch)
{
    tl_status status = TL_OK;
    TL_TRY(check_batch(t, batch));
    if (!tl_parts_train(t->parts)) {
        return tl_fail(TL_BAD_VALUE, "the model has no trainable weights: set trainable = True "
                                     "on a layer and compile again");
    }
    TL_TRY(tl_parts_reserve(t->parts, batch->rows));
done:
    return status;
}

tl_status
tl_trainer_step(tl_trainer *trainer, double *value_out, float *outputs, const tl_batch *batch,
                float learning_rate)
{
    tl_status status = TL_OK;
    double value;
    TL_TRY(prepare(trainer, batch));
    tl_network_lock_write(trainer->network);
    status = run(trainer, &value, outputs, batch);
    if (status == TL_OK) {
        status = tl_pool_run(update_task, &(updating){trainer, learning_rate}, 1);
    }
    tl_network_unlock(trainer->network);
    if (status == TL_OK) {
        *value_out = value;
    }
done:
    return status;
}

tl_status
tl_trainer_gradients(tl_trainer *trainer, double *value_out, float *outputs,
                     const tl_batch *batch, const float *const **gradients)
{
    tl_status status = TL_OK;
    double value;
    TL_TRY(prepare(trainer, batch));
    tl_network_lock_write(trainer->network);
    status = run(trainer, &value, outputs, batch);
    tl_network_unlock(trainer->network);
    if (status == TL_OK) {
        *value_out = value;
        *gradients = tl_parts_gradients(trainer->parts);
    }
done:
    return status;
}

/* outputs <- what the user sees of the values that the loss took. */
static void
copy_outputs(const tl_trainer *t, float *outputs, const float *values, size_t rows)
{
    const size_t cols = tl_trainer_output_cols(t);
    const tl_node *last = &tl_network_graph(t->network)->nodes[t->output];
    tl_activation_forward(outputs, values, rows, cols,
                          t->logits == t->output ? TL_LINEAR : last->activation.function);
}

tl_status
tl_trainer_evaluate(tl_trainer *trainer, double *value_out, float *outputs,
                    const tl_batch *batch)
{
    tl_status status = TL_OK;
    const size_t cols = tl_trainer_output_cols(trainer);
    float *values = NULL;
    size_t count;

    TL_TRY(check_batch(trainer, batch));
    TL_TRY(tl_multiply(&count, batch->rows, cols));
    values = tl_alloc(count, sizeof *values);
    if (values == NULL) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    TL_TRY(tl_network_run(trainer->network, values, batch->inputs, batch->rows, trainer->start,
                          trainer->logits));
    tl_loss_compute(&trainer->loss, value_out, NULL, values, batch->targets, batch->weights,
                    batch->rows, cols, batch->rows);
    copy_outputs(trainer, outputs, values, batch->rows);
done:
    tl_free(values);
    return status;
}

/* --- state ------------------------------------------------------------------------------ */

uint64_t
tl_trainer_iterations(const tl_trainer *trainer)
{
    return tl_train_state_iterations(trainer->state);
}

void
tl_trainer_set_iterations(tl_trainer *trainer, uint64_t iterations)
{
    tl_train_state_set_iterations(trainer->state, iterations);
}

tl_status
tl_trainer_set_momentum(tl_trainer *trainer, float momentum)
{
    return tl_train_state_set_momentum(trainer->state, momentum);
}

void
tl_trainer_apply_averages(tl_trainer *trainer)
{
    tl_network_lock_write(trainer->network);
    tl_fork_guard_enter();
    tl_train_state_apply_averages(trainer->state);
    tl_network_touch(trainer->network, trainer->trainable);
    tl_fork_guard_leave();
    tl_network_unlock(trainer->network);
}

size_t
tl_trainer_slot_count(const tl_trainer *trainer)
{
    return tl_train_state_slot_count(trainer->state);
}

float *
tl_trainer_slot(const tl_trainer *trainer, size_t index, const tl_tensor **tensor)
{
    return tl_train_state_slot(trainer->state, index, tensor);
}

bool
tl_trainer_time(const tl_trainer *trainer, size_t index, tl_unit_time *time)
{
    return tl_parts_time(trainer->parts, index, time);
}
