/* Joining nodes to units, and the memory of one walk there and back. */
#include "core/train_plan.h"

#include <math.h>
#include <string.h>

#include "core/arena.h"

/* --- units ------------------------------------------------------------------------------ */

typedef struct planning {
    tl_train_plan *plan;
    const tl_graph *graph;
    const bool *trainable;
    const tl_train_ops *ops;
    size_t start;
    size_t *readers; /* per node: how many needed nodes read it */
    size_t *reader;  /* one of them */
    size_t *unit;    /* per node: the unit whose value it is */
} planning;

static bool
is_rectifier(const tl_node *node, tl_function *function)
{
    if (node->op == TL_OP_RELU) {
        *function = isinf(node->relu.max_value) ? TL_RELU : TL_RELU6;
        return true;
    }
    if (node->op == TL_OP_ACTIVATION &&
        (node->activation.function == TL_RELU || node->activation.function == TL_RELU6)) {
        *function = node->activation.function;
        return true;
    }
    return false;
}

/* Nodes that hand on the very numbers that they read. */
static bool
passes_through(const tl_node *node)
{
    const bool random_picture =
        node->op >= TL_OP_RANDOM_FLIP && node->op <= TL_OP_RANDOM_BRIGHTNESS;
    return node->op == TL_OP_FLATTEN || (random_picture && node->inference) ||
           ((node->op == TL_OP_DROPOUT || node->op == TL_OP_SPATIAL_DROPOUT2D) &&
            (node->inference || node->dropout.rate == 0)) ||
           (node->op == TL_OP_ACTIVATION && node->activation.function == TL_LINEAR);
}

static bool
is_trained(const planning *p, size_t id)
{
    const tl_node *node = &p->graph->nodes[id];
    for (size_t k = 0; k < node->param_count; k++) {
        if (p->trainable[node->first_param + k]) {
            return true;
        }
    }
    return false;
}

/* The unit that makes the node's input, if what stands behind it may join: nobody else reads
 * that value. */
static tl_unit *
joinable(const planning *p, size_t id)
{
    const size_t input = p->graph->nodes[id].inputs[0];
    tl_unit *unit = &p->plan->units[p->unit[input]];
    if (p->unit[input] == 0 || p->readers[input] != 1 || unit->last != input ||
        unit->function != TL_LINEAR) {
        return NULL;
    }
    return unit;
}

/* Zero padding whose only reader is a convolution is part of it. */
static bool
is_absorbed(const planning *p, size_t id)
{
    const tl_op reader = p->graph->nodes[p->reader[id]].op;
    return id > p->start && p->graph->nodes[id].op == TL_OP_ZERO_PADDING2D &&
           p->readers[id] == 1 && (reader == TL_OP_CONV2D || reader == TL_OP_DEPTHWISE_CONV2D);
}

static tl_status
describe_layer(const planning *p, tl_unit *unit, const tl_node *node)
{
    tl_status status = TL_OK;
    const tl_convolution *c = &node->convolution;
    const tl_node *input = &p->graph->nodes[node->inputs[0]];
    tl_layer *layer = &unit->layer;
    unit->is_layer = true;
    layer->depthwise = node->op == TL_OP_DEPTHWISE_CONV2D;
    memcpy(layer->kernel, c->kernel, sizeof layer->kernel);
    memcpy(layer->strides, c->strides, sizeof layer->strides);
    layer->padding = tl_convolution_padding(c, &input->shape);
    layer->src = input->shape;
    layer->dst = node->shape;
    if (is_absorbed(p, node->inputs[0])) {
        layer->padding.top += input->padding.top;
        layer->padding.bottom += input->padding.bottom;
        layer->padding.left += input->padding.left;
        layer->padding.right += input->padding.right;
        layer->src = p->graph->nodes[input->inputs[0]].shape;
        unit->inputs[0] = p->unit[input->inputs[0]];
    }
    TL_TRY(p->ops->plan(layer, &unit->packed_bytes, &unit->layer_scratch));
    p->plan->work += tl_shape_elements(&layer->dst) * layer->kernel[0] * layer->kernel[1] *
                     (layer->depthwise ? 1 : layer->src.dims[2]);
done:
    return status;
}

static tl_status
new_unit(planning *p, size_t id)
{
    tl_status status = TL_OK;
    const tl_node *node = &p->graph->nodes[id];
    tl_unit *unit = &p->plan->units[p->plan->count];
    const tl_shape *shape = &node->shape;
    *unit =
        (tl_unit){.head = id, .norm = TL_NONE, .last = id, .input_count = node->input_count};
    unit->channels = tl_shape_channels(shape);
    unit->pixels = tl_shape_elements(shape) / unit->channels;
    for (size_t k = 0; k < node->input_count; k++) {
        unit->inputs[k] = p->unit[node->inputs[k]];
    }
    if (node->op == TL_OP_CONV2D || node->op == TL_OP_DEPTHWISE_CONV2D) {
        TL_TRY(describe_layer(p, unit, node));
    } else if (node->op == TL_OP_DENSE) {
        p->plan->work += tl_shape_elements(shape) *
                         tl_shape_channels(&p->graph->nodes[node->inputs[0]].shape);
    }
    p->unit[id] = p->plan->count++;
done:
    return status;
}

static void
add_norm(planning *p, tl_unit *unit, size_t id)
{
    const tl_node *node = &p->graph->nodes[id];
    unit->norm = id;
    unit->last = id;
    unit->batch_statistics = !node->inference && p->trainable[node->first_param];
    p->plan->batch_statistics |= unit->batch_statistics;
    p->unit[id] = (size_t)(unit - p->plan->units);
}

static tl_status
plan_node(planning *p, size_t id)
{
    tl_status status = TL_OK;
    const tl_node *node = &p->graph->nodes[id];
    tl_unit *unit;
    tl_function function;
    if (is_absorbed(p, id)) {
        return TL_OK;
    }
    if (passes_through(node)) {
        p->unit[id] = p->unit[node->inputs[0]];
        return TL_OK;
    }
    if (node->op == TL_OP_BATCH_NORMALIZATION) {
        unit = joinable(p, id);
        if (unit == NULL || unit->norm != TL_NONE) {
            TL_TRY(new_unit(p, id));
            unit = &p->plan->units[p->unit[id]];
        }
        add_norm(p, unit, id);
    } else if (is_rectifier(node, &function)) {
        unit = joinable(p, id);
        if (unit == NULL) {
            TL_TRY(new_unit(p, id));
            unit = &p->plan->units[p->unit[id]];
        }
        unit->function = function;
        unit->last = id;
        p->unit[id] = (size_t)(unit - p->plan->units);
    } else {
        TL_TRY(new_unit(p, id));
    }
    unit = &p->plan->units[p->unit[id]];
    unit->wants_grad |= is_trained(p, id);
    for (size_t k = 0; k < unit->input_count; k++) {
        unit->wants_grad |= p->plan->units[unit->inputs[k]].wants_grad;
    }
done:
    return status;
}

/* A batch norm that neither looks at the batch nor trains is folded into the convolution. */
static bool
can_fold(const planning *p, const tl_unit *unit)
{
    return unit->is_layer &&
           (unit->norm == TL_NONE || (!unit->batch_statistics && !is_trained(p, unit->norm)));
}

/* Which units are folded, and where what is packed lies. */
static tl_status
lay_packed(const planning *p)
{
    tl_status status = TL_OK;
    tl_layout layout = {0};
    for (size_t u = 1; u < p->plan->count; u++) {
        tl_unit *unit = &p->plan->units[u];
        unit->folded = can_fold(p, unit);
        if (unit->is_layer) {
            TL_TRY(tl_layout_add(&layout, &unit->packed_offset, unit->packed_bytes));
        }
        if (unit->folded) {
            const size_t floats = tl_layer_kernel_count(&unit->layer) + unit->channels;
            TL_TRY(tl_layout_add(&layout, &unit->folded_offset, floats * sizeof(float)));
        }
    }
    p->plan->packed_bytes = layout.size;
done:
    return status;
}

/* Who writes to a gradient first and last, in the order of the backward walk. */
static tl_status
order_writers(tl_train_plan *plan)
{
    struct writer {
        bool any;
        size_t unit, input;
    } *writers = tl_alloc(plan->count, sizeof *writers);
    if (writers == NULL) {
        return TL_OUT_OF_MEMORY;
    }
    for (size_t u = plan->count; u-- > 1;) {
        tl_unit *unit = &plan->units[u];
        for (size_t k = 0; unit->wants_grad && k < unit->input_count; k++) {
            struct writer *w = &writers[unit->inputs[k]];
            if (w->any) {
                plan->units[w->unit].ends[w->input] = false;
            }
            unit->adds[k] = w->any;
            unit->ends[k] = true;
            *w = (struct writer){true, u, k};
        }
    }
    tl_free(writers);
    return TL_OK;
}

tl_status
tl_train_plan_create(tl_train_plan *plan, const tl_graph *graph, size_t start, size_t logits,
                     const bool *needed, const bool *trainable, const tl_train_ops *ops)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_train_plan made = {0};
    planning p = {
        .plan = &made, .graph = graph, .trainable = trainable, .ops = ops, .start = start};
    made.units = tl_alloc(graph->count, sizeof *made.units);
    p.readers = tl_alloc(graph->count, sizeof *p.readers);
    p.reader = tl_alloc(graph->count, sizeof *p.reader);
    p.unit = tl_alloc(graph->count, sizeof *p.unit);
    if (made.units == NULL || p.readers == NULL || p.reader == NULL || p.unit == NULL) {
        goto done;
    }
    p.readers[logits] = 1; /* the loss */
    p.reader[logits] = logits;
    for (size_t i = start + 1; i <= logits; i++) {
        for (size_t k = 0; needed[i] && k < graph->nodes[i].input_count; k++) {
            p.readers[graph->nodes[i].inputs[k]]++;
            p.reader[graph->nodes[i].inputs[k]] = i;
        }
    }
    const tl_shape *shape = &graph->nodes[start].shape;
    made.units[0] = (tl_unit){.head = start, .norm = TL_NONE, .last = start};
    made.units[0].channels = tl_shape_channels(shape);
    made.units[0].pixels = tl_shape_elements(shape) / made.units[0].channels;
    made.count = 1;
    p.unit[start] = 0;
    for (size_t i = start + 1; i <= logits; i++) {
        if (needed[i]) {
            TL_TRY(plan_node(&p, i));
        }
    }
    made.logits = p.unit[logits];
    for (size_t u = 1; u < made.count; u++) {
        made.row_floats += made.units[u].channels * made.units[u].pixels;
    }
    TL_TRY(lay_packed(&p));
    TL_TRY(order_writers(&made));
    *plan = made; /* handed over */
    made.units = NULL;
    status = TL_OK;
done:
    tl_free(p.unit);
    tl_free(p.reader);
    tl_free(p.readers);
    tl_free(made.units);
    return status;
}

void
tl_train_plan_clear(tl_train_plan *plan)
{
    tl_free(plan->units);
    *plan = (tl_train_plan){0};
}

/* --- memory ----------------------------------------------------------------------------- */

/* Unit u goes forward at moment u and backward at 2 * count - u. */
static void
live_until(tl_lifetime *b, size_t moment)
{
    b->last = b->last < moment ? moment : b->last;
}

static void
find_lifetimes(const tl_train_plan *plan, tl_lifetime *values, tl_lifetime *grads)
{
    const size_t turn = plan->count;
    for (size_t u = 1; u < plan->count; u++) {
        values[u].first = u;
        values[u].last = u;
        grads[u].first = SIZE_MAX;
        grads[u].last = 2 * turn - u;
    }
    live_until(&values[plan->logits], turn);
    grads[plan->logits].first = turn;
    for (size_t u = 1; u < plan->count; u++) {
        const tl_unit *unit = &plan->units[u];
        const size_t back = 2 * turn - u;
        if (unit->wants_grad) {
            live_until(&values[u], back);
        }
        for (size_t k = 0; k < unit->input_count; k++) {
            const size_t input = unit->inputs[k];
            live_until(&values[input], unit->wants_grad ? back : u);
            if (unit->wants_grad && grads[input].first > back) {
                grads[input].first = back;
            }
        }
    }
}

/* Bytes of scratch that a unit needs, there and back. */
static tl_status
unit_scratch(size_t *bytes, const tl_train_plan *plan, const tl_unit *unit, size_t rows)
{
    tl_status status = TL_OK;
    tl_layout layout = {0};
    size_t unused;
    size_t count;
    TL_TRY(tl_layout_add(&layout, &unused, 4 * unit->channels * sizeof(float)));
    if (unit->is_layer) {
        TL_TRY(tl_layout_add(&layout, &unused, unit->layer_scratch));
    }
    if (!unit->is_layer || unit == &plan->units[plan->logits]) {
        TL_TRY(tl_multiply(&count, rows, unit->channels * unit->pixels * sizeof(float)));
        TL_TRY(tl_layout_add(&layout, &unused, count));
    }
    if (!unit->is_layer) {
        for (size_t k = 0; k < unit->input_count; k++) {
            const tl_unit *input = &plan->units[unit->inputs[k]];
            TL_TRY(tl_multiply(&count, rows, input->channels * input->pixels * sizeof(float)));
            TL_TRY(tl_layout_add(&layout, &unused, count));
            TL_TRY(tl_layout_add(&layout, &unused, count));
            TL_TRY(tl_layout_add(&layout, &unused, 4 * input->channels * sizeof(float)));
        }
    }
    *bytes = layout.size;
done:
    return status;
}

tl_status
tl_train_plan_memory(const tl_train_plan *plan, size_t rows, tl_place *places, size_t *bytes,
                     size_t *scratch)
{
    tl_status status = TL_OUT_OF_MEMORY;
    const size_t count = 2 * plan->count;
    tl_lifetime *blocks = tl_alloc(count, sizeof *blocks); /* values, then gradients */
    tl_lifetime *sorted = tl_alloc(count, sizeof *sorted);
    size_t *order = tl_alloc(count, sizeof *order);
    size_t used = 0;
    size_t end = 0;
    size_t most = 0;
    if (blocks == NULL || sorted == NULL || order == NULL) {
        goto done;
    }
    find_lifetimes(plan, blocks, blocks + plan->count);
    for (size_t u = 1; u < plan->count; u++) {
        const tl_unit *unit = &plan->units[u];
        size_t size;
        size_t needed;
        TL_TRY(tl_multiply(&size, rows, unit->channels * unit->pixels * sizeof(float)));
        tl_layout rounded = {0};
        size_t unused;
        TL_TRY(tl_layout_add(&rounded, &unused, size));
        blocks[u].bytes = rounded.size;
        order[used++] = u;
        if (unit->wants_grad) {
            blocks[plan->count + u].bytes = rounded.size;
            order[used++] = plan->count + u;
        }
        TL_TRY(unit_scratch(&needed, plan, unit, rows));
        most = most < needed ? needed : most;
    }
    for (size_t i = 1; i < used; i++) { /* the largest first; equal ones as they came */
        const size_t moving = order[i];
        size_t at = i;
        for (; at > 0 && blocks[order[at - 1]].bytes < blocks[moving].bytes; at--) {
            order[at] = order[at - 1];
        }
        order[at] = moving;
    }
    for (size_t i = 0; i < used; i++) {
        sorted[i] = blocks[order[i]];
        TL_TRY(tl_lifetime_place(sorted, i, &end));
        blocks[order[i]].offset = sorted[i].offset;
    }
    for (size_t u = 1; places != NULL && u < plan->count; u++) {
        places[u] = (tl_place){blocks[u].offset, blocks[plan->count + u].offset};
    }
    *bytes = end;
    *scratch = most;
    status = TL_OK;
done:
    tl_free(order);
    tl_free(sorted);
    tl_free(blocks);
    return status;
}
