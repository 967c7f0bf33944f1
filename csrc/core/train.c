/* The training arena and one step: forward, loss, backward, update. */
#include "core/train.h"

#include <math.h>
#include <string.h>

#include "core/activation.h"
#include "core/arena.h"
#include "core/pool.h"
#include "core/random.h"
#include "core/train_state.h"

typedef struct value {
    size_t count;    /* floats of one row */
    bool in_part;    /* the node lies behind `start` and leads to the output */
    bool wants_grad; /* a trainable parameter lies at or before it */
    size_t offset, grad_offset;
    float *data; /* (rows, count) */
    float *grad; /* the same, if wants_grad */
} value;

struct tl_trainer {
    tl_network *network; /* borrowed */
    size_t start;
    size_t logits; /* the node whose values go into the loss */
    size_t output;
    bool *trainable;
    tl_loss loss;
    uint64_t seed;
    value *values;      /* one a node */
    tl_arena batch;     /* activations and their gradients */
    size_t batch_rows;  /* what it has room for */
    float **grads;      /* one a parameter, NULL where it is not trained */
    tl_arena gradients; /* of the parameters */
    tl_train_state *state;
};

/* --- creation --------------------------------------------------------------------------- */

static tl_status
check_node(const tl_graph *graph, size_t id)
{
    const tl_node *node = &graph->nodes[id];
    switch (node->op) {
    case TL_OP_DENSE:
    case TL_OP_ACTIVATION:
    case TL_OP_DROPOUT:
    case TL_OP_FLATTEN:
    case TL_OP_ADD:
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        return TL_OK;
    case TL_OP_RELU:
        if (node->relu.max_value == 6.0F || isinf(node->relu.max_value)) {
            return TL_OK;
        }
        break;
    default:
        break;
    }
    return tl_fail(TL_UNSUPPORTED,
                   "training cannot go through the %s layer \"%s\" yet: freeze it and all "
                   "before it (layer.trainable = False, or base.trainable = False) and compile "
                   "again",
                   tl_op_name(node->op), node->name);
}

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

/* Which nodes behind `start` lead to the logits, and where gradients must flow. */
static tl_status
mark_part(tl_trainer *t, const tl_graph *graph)
{
    tl_status status = TL_OK;
    if (t->logits < t->start) {
        return tl_fail(TL_BAD_VALUE, "the value of \"%s\" cannot be computed from \"%s\" alone",
                       graph->nodes[t->output].name, graph->nodes[t->start].name);
    }
    t->values[t->logits].in_part = true;
    for (size_t i = t->logits; i > t->start; i--) {
        const tl_node *node = &graph->nodes[i];
        for (size_t k = 0; t->values[i].in_part && k < node->input_count; k++) {
            if (node->inputs[k] < t->start) {
                return tl_fail(TL_BAD_VALUE,
                               "the value of \"%s\" cannot be computed from \"%s\" alone",
                               node->name, graph->nodes[t->start].name);
            }
            t->values[node->inputs[k]].in_part = true;
        }
    }
    for (size_t i = t->start + 1; i <= t->logits; i++) {
        const tl_node *node = &graph->nodes[i];
        if (!t->values[i].in_part) {
            continue;
        }
        TL_TRY(check_node(graph, i));
        for (size_t k = 0; k < node->param_count; k++) {
            t->values[i].wants_grad |= t->trainable[node->first_param + k];
        }
        for (size_t k = 0; k < node->input_count; k++) {
            t->values[i].wants_grad |= t->values[node->inputs[k]].wants_grad;
        }
    }
    for (size_t i = 0; i < graph->count; i++) {
        t->values[i].count = tl_shape_elements(&graph->nodes[i].shape);
    }
done:
    return status;
}

/* A gradient for every parameter that is trained, and what the optimizer keeps of it. */
static tl_status
create_state(tl_trainer *t, const tl_graph *graph, const tl_trainer_plan *plan)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_layout layout = {0};
    size_t *offsets = tl_alloc(graph->param_count, sizeof *offsets);
    bool *trains = tl_alloc(graph->param_count, sizeof *trains);
    if (offsets == NULL || trains == NULL) {
        goto done;
    }
    for (size_t i = t->start + 1; i <= t->logits; i++) {
        const tl_node *node = &graph->nodes[i];
        for (size_t k = 0; k < node->param_count; k++) {
            const size_t p = node->first_param + k;
            trains[p] = t->values[i].in_part && t->trainable[p];
        }
    }
    for (size_t p = 0; p < graph->param_count; p++) {
        const size_t bytes = tl_network_tensor(t->network, p)->count * sizeof(float);
        if (trains[p]) {
            TL_TRY(tl_layout_add(&layout, &offsets[p], bytes));
        }
    }
    TL_TRY(tl_arena_create(&t->gradients, layout.size));
    for (size_t p = 0; p < graph->param_count; p++) {
        if (trains[p]) {
            t->grads[p] = tl_arena_at(&t->gradients, offsets[p]);
            tl_arena_guard(&t->gradients, offsets[p],
                           tl_network_tensor(t->network, p)->count * sizeof(float));
        }
    }
    TL_TRY(tl_train_state_create(&t->state, t->network, trains, &plan->optimizer,
                                 plan->multipliers));
done:
    tl_free(trains);
    tl_free(offsets);
    return status;
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
    t->values = tl_alloc(graph->count, sizeof *t->values);
    t->grads = tl_alloc(graph->param_count, sizeof(float *));
    if (t->trainable == NULL || t->values == NULL || t->grads == NULL) {
        goto done;
    }
    memcpy(t->trainable, plan->trainable, graph->param_count * sizeof *t->trainable);
    TL_TRY(attach_loss(t, graph));
    TL_TRY(mark_part(t, graph));
    TL_TRY(create_state(t, graph, plan));

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
        tl_arena_destroy(&trainer->gradients);
        tl_arena_destroy(&trainer->batch);
        tl_free(trainer->grads);
        tl_free(trainer->values);
        tl_free(trainer->trainable);
        tl_free(trainer);
    }
}

size_t
tl_trainer_output_cols(const tl_trainer *trainer)
{
    return trainer->values[trainer->output].count;
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

/* Room for a batch of `rows`: the old block is given back only once the new one exists. */
static tl_status
reserve_batch(tl_trainer *t, size_t rows)
{
    tl_status status = TL_OK;
    tl_layout layout = {0};
    tl_arena arena;
    if (rows <= t->batch_rows) {
        return TL_OK;
    }
    for (size_t i = t->start + 1; i <= t->logits; i++) {
        value *v = &t->values[i];
        size_t bytes;
        if (!v->in_part) {
            continue;
        }
        TL_TRY(tl_multiply(&bytes, rows, v->count * sizeof(float)));
        TL_TRY(tl_layout_add(&layout, &v->offset, bytes));
        if (v->wants_grad) {
            TL_TRY(tl_layout_add(&layout, &v->grad_offset, bytes));
        }
    }
    TL_TRY(tl_arena_create(&arena, layout.size));
    tl_fork_guard_enter();
    tl_arena_destroy(&t->batch);
    t->batch = arena;
    t->batch_rows = rows;
    for (size_t i = t->start + 1; i <= t->logits; i++) {
        value *v = &t->values[i];
        const size_t bytes = rows * v->count * sizeof(float);
        if (v->in_part) {
            v->data = tl_arena_at(&arena, v->offset);
            tl_arena_guard(&arena, v->offset, bytes);
        }
        if (v->wants_grad) {
            v->grad = tl_arena_at(&arena, v->grad_offset);
            tl_arena_guard(&arena, v->grad_offset, bytes);
        }
    }
    tl_fork_guard_leave();
done:
    return status;
}

/* --- forward ---------------------------------------------------------------------------- */

/* Rows of a dense layer: it runs over the last axis. */
static size_t
dense_rows(const tl_graph *graph, const tl_node *node, size_t rows)
{
    const tl_shape *shape = &graph->nodes[node->inputs[0]].shape;
    return rows * (tl_shape_elements(shape) / tl_shape_channels(shape));
}

static tl_status
forward_dense(tl_trainer *t, const tl_node *node, float *dst, const float *src, size_t rows)
{
    const tl_graph *graph = tl_network_graph(t->network);
    const size_t total = dense_rows(graph, node, rows);
    const size_t units = node->dense.units;
    const tl_tensor *kernel = tl_network_tensor(t->network, node->first_param);
    const tl_gemm shape = {.m = total,
                           .n = units,
                           .k = kernel->shape.dims[0],
                           .beta = node->dense.use_bias ? 1.0F : 0.0F};
    if (node->dense.use_bias) {
        const float *bias = tl_network_tensor(t->network, node->first_param + 1)->data;
        for (size_t r = 0; r < total; r++) {
            memcpy(dst + r * units, bias, units * sizeof *dst);
        }
    }
    return tl_network_ops(t->network)->gemm(dst, src, kernel->data, &shape);
}

static float
dropout_rate(const tl_node *node)
{
    return node->inference ? 0 : node->dropout.rate;
}

/* Whether dropout keeps element i of this node in this step. */
static bool
kept(const tl_trainer *t, size_t id, float rate, size_t i)
{
    const uint64_t step = tl_train_state_iterations(t->state);
    const uint64_t stream = tl_random_bits(t->seed, step * 4096 + id);
    return tl_random_uniform(stream, i) >= rate;
}

static void
forward_dropout(const tl_trainer *t, size_t id, float *dst, const float *src, size_t count)
{
    const float rate = dropout_rate(&tl_network_graph(t->network)->nodes[id]);
    const float scale = 1.0F / (1.0F - rate);
    for (size_t i = 0; i < count; i++) {
        dst[i] = kept(t, id, rate, i) ? src[i] * scale : 0;
    }
}

static void
forward_pooling(const tl_node *node, float *dst, const float *src, const tl_shape *input)
{
    const size_t pixels = input->dims[0] * input->dims[1];
    const size_t channels = input->dims[2];
    const bool average = node->op == TL_OP_GLOBAL_AVERAGE_POOLING2D;
    memcpy(dst, src, channels * sizeof *dst);
    for (size_t p = 1; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++) {
            const float x = src[p * channels + c];
            dst[c] = average ? dst[c] + x : (x > dst[c] || x != x ? x : dst[c]);
        }
    }
    for (size_t c = 0; average && c < channels; c++) {
        dst[c] /= (float)pixels;
    }
}

/* What a relu or an activation node computes. */
static tl_function
node_function(const tl_node *node)
{
    if (node->op == TL_OP_ACTIVATION) {
        return node->activation.function;
    }
    return node->relu.max_value == 6.0F ? TL_RELU6 : TL_RELU;
}

static tl_status
forward_node(tl_trainer *t, size_t id, size_t rows)
{
    const tl_graph *graph = tl_network_graph(t->network);
    const tl_node *node = &graph->nodes[id];
    const value *v = &t->values[id];
    const value *input = &t->values[node->inputs[0]];
    const size_t channels = tl_shape_channels(&node->shape);
    const size_t count = rows * v->count;
    switch (node->op) {
    case TL_OP_DENSE:
        return forward_dense(t, node, v->data, input->data, rows);
    case TL_OP_ACTIVATION:
    case TL_OP_RELU:
        tl_activation_forward(v->data, input->data, count / channels, channels,
                              node_function(node));
        break;
    case TL_OP_DROPOUT:
        forward_dropout(t, id, v->data, input->data, count);
        break;
    case TL_OP_ADD:
        for (size_t i = 0; i < count; i++) {
            v->data[i] = input->data[i] + t->values[node->inputs[1]].data[i];
        }
        break;
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        for (size_t r = 0; r < rows; r++) {
            forward_pooling(node, v->data + r * v->count, input->data + r * input->count,
                            &graph->nodes[node->inputs[0]].shape);
        }
        break;
    default: /* flatten: the same numbers in the same order */
        memcpy(v->data, input->data, count * sizeof *v->data);
        break;
    }
    return TL_OK;
}

/* --- backward --------------------------------------------------------------------------- */

static tl_status
backward_dense(tl_trainer *t, size_t id, size_t rows)
{
    tl_status status = TL_OK;
    const tl_graph *graph = tl_network_graph(t->network);
    const tl_node *node = &graph->nodes[id];
    const value *v = &t->values[id];
    const value *input = &t->values[node->inputs[0]];
    const tl_gemm_function gemm = tl_network_ops(t->network)->gemm;
    const tl_tensor *kernel = tl_network_tensor(t->network, node->first_param);
    const size_t total = dense_rows(graph, node, rows);
    const size_t units = node->dense.units;
    const size_t features = kernel->shape.dims[0];
    float *grad_kernel = t->grads[node->first_param];
    if (grad_kernel != NULL) {
        TL_TRY(gemm(grad_kernel, input->data, v->grad,
                    &(tl_gemm){.transpose_a = true, .m = features, .n = units, .k = total}));
    }
    float *grad_bias = node->dense.use_bias ? t->grads[node->first_param + 1] : NULL;
    if (grad_bias != NULL) {
        memset(grad_bias, 0, units * sizeof *grad_bias);
        for (size_t r = 0; r < total; r++) {
            for (size_t c = 0; c < units; c++) {
                grad_bias[c] += v->grad[r * units + c];
            }
        }
    }
    if (input->grad != NULL) {
        TL_TRY(gemm(
            input->grad, v->grad, kernel->data,
            &(tl_gemm){.transpose_b = true, .m = total, .n = features, .k = units, .beta = 1}));
    }
done:
    return status;
}

static void
backward_pooling(const tl_node *node, float *grad_src, const float *grad_dst, const float *dst,
                 const float *src, const tl_shape *input)
{
    const size_t pixels = input->dims[0] * input->dims[1];
    const size_t channels = input->dims[2];
    if (node->op == TL_OP_GLOBAL_AVERAGE_POOLING2D) {
        for (size_t i = 0; i < pixels * channels; i++) {
            grad_src[i] += grad_dst[i % channels] / (float)pixels;
        }
        return;
    }
    for (size_t c = 0; c < channels; c++) {
        size_t ties = 0; /* shared evenly, as TensorFlow's reduce_max does */
        for (size_t p = 0; p < pixels; p++) {
            ties += src[p * channels + c] == dst[c];
        }
        for (size_t p = 0; p < pixels; p++) {
            if (src[p * channels + c] == dst[c]) {
                grad_src[p * channels + c] += grad_dst[c] / (float)ties;
            }
        }
    }
}

/* Adds the node's share to the gradients of its inputs and parameters. */
static tl_status
backward_node(tl_trainer *t, size_t id, size_t rows)
{
    const tl_graph *graph = tl_network_graph(t->network);
    const tl_node *node = &graph->nodes[id];
    const value *v = &t->values[id];
    const value *input = &t->values[node->inputs[0]];
    const size_t channels = tl_shape_channels(&node->shape);
    const size_t count = rows * v->count;
    if (node->op == TL_OP_DENSE) {
        return backward_dense(t, id, rows);
    }
    for (size_t k = 0; node->op == TL_OP_ADD && k < 2; k++) {
        float *grad = t->values[node->inputs[k]].grad;
        for (size_t i = 0; grad != NULL && i < count; i++) {
            grad[i] += v->grad[i];
        }
    }
    if (input->grad == NULL) {
        return TL_OK;
    }
    switch (node->op) {
    case TL_OP_ADD:
        break;
    case TL_OP_ACTIVATION:
    case TL_OP_RELU:
        tl_activation_backward(input->grad, v->grad, input->data, v->data, count / channels,
                               channels, node_function(node));
        break;
    case TL_OP_DROPOUT:
        for (size_t i = 0; i < count; i++) {
            if (kept(t, id, dropout_rate(node), i)) {
                input->grad[i] += v->grad[i] / (1.0F - dropout_rate(node));
            }
        }
        break;
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        for (size_t r = 0; r < rows; r++) {
            backward_pooling(node, input->grad + r * input->count, v->grad + r * v->count,
                             v->data + r * v->count, input->data + r * input->count,
                             &graph->nodes[node->inputs[0]].shape);
        }
        break;
    default: /* flatten */
        tl_activation_backward(input->grad, v->grad, input->data, v->data, 1, count, TL_LINEAR);
        break;
    }
    return TL_OK;
}

/* --- one step --------------------------------------------------------------------------- */

typedef struct stepping {
    tl_trainer *trainer;
    const tl_batch *batch;
    float learning_rate;
    float *outputs;
    double value;
} stepping;

static void
clear_gradients(tl_trainer *t, size_t rows)
{
    for (size_t i = t->start + 1; i < t->logits; i++) {
        if (t->values[i].grad != NULL) {
            memset(t->values[i].grad, 0, rows * t->values[i].count * sizeof(float));
        }
    }
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

static void
update_parameters(tl_trainer *t, float learning_rate)
{
    tl_fork_guard_enter(); /* a forked child must not see a step half done */
    tl_train_state_update(t->state, (const float *const *)t->grads, learning_rate);
    tl_network_touch(t->network, t->trainable);
    tl_fork_guard_leave();
}

/* Runs on a crew thread; the parameters are locked for writing. */
static tl_status
step_task(void *context, size_t unused)
{
    tl_status status = TL_OK;
    stepping *job = context;
    tl_trainer *t = job->trainer;
    const size_t rows = job->batch->rows;
    const size_t cols = tl_trainer_output_cols(t);
    const value *logits = &t->values[t->logits];
    (void)unused;

    for (size_t i = t->start + 1; i <= t->logits; i++) {
        if (t->values[i].in_part) {
            TL_TRY(forward_node(t, i, rows));
        }
    }
    copy_outputs(t, job->outputs, logits->data, rows);
    tl_loss_compute(&t->loss, &job->value, logits->grad, logits->data, job->batch->targets,
                    job->batch->weights, rows, cols);
    clear_gradients(t, rows);
    for (size_t i = t->logits; i > t->start; i--) {
        if (t->values[i].in_part && t->values[i].grad != NULL) {
            TL_TRY(backward_node(t, i, rows));
        }
    }
    update_parameters(t, job->learning_rate);
done:
    return status;
}

static tl_status
check_batch(const tl_trainer *t, const tl_batch *batch)
{
    if (batch->rows == 0) {
        return tl_fail(TL_BAD_VALUE, "x holds no row; a batch needs at least one");
    }
    return tl_loss_check(&t->loss, batch->targets, batch->rows, tl_trainer_output_cols(t));
}

tl_status
tl_trainer_step(tl_trainer *trainer, double *value_out, float *outputs, const tl_batch *batch,
                float learning_rate)
{
    tl_status status = TL_OK;
    stepping job = {trainer, batch, learning_rate, outputs, 0};

    TL_TRY(check_batch(trainer, batch));
    if (!trainer->values[trainer->logits].wants_grad) {
        return tl_fail(TL_BAD_VALUE, "the model has no trainable weights: set trainable = True "
                                     "on a layer and compile again");
    }
    TL_TRY(reserve_batch(trainer, batch->rows));
    /* the inputs are only read */
    trainer->values[trainer->start].data = (float *)(uintptr_t)batch->inputs;
    tl_network_lock_write(trainer->network);
    status = tl_pool_run(step_task, &job, 1);
    tl_network_unlock(trainer->network);
    trainer->values[trainer->start].data = NULL;
    if (status == TL_OK) {
        *value_out = job.value;
    }
done:
    return status;
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
                    batch->rows, cols);
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
