/* Building graphs: shapes, parameters and checks of every kind of node. */
#include "core/graph.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/picture_node.h"

static const char *const op_names[TL_OP_COUNT] = {
    [TL_OP_INPUT] = "input",
    [TL_OP_CONV2D] = "conv2d",
    [TL_OP_DEPTHWISE_CONV2D] = "depthwise_conv2d",
    [TL_OP_BATCH_NORMALIZATION] = "batch_normalization",
    [TL_OP_RELU] = "relu",
    [TL_OP_ACTIVATION] = "activation",
    [TL_OP_ADD] = "add",
    [TL_OP_ZERO_PADDING2D] = "zero_padding2d",
    [TL_OP_GLOBAL_AVERAGE_POOLING2D] = "global_average_pooling2d",
    [TL_OP_GLOBAL_MAX_POOLING2D] = "global_max_pooling2d",
    [TL_OP_FLATTEN] = "flatten",
    [TL_OP_DENSE] = "dense",
    [TL_OP_DROPOUT] = "dropout",
    [TL_OP_CONCATENATE] = "concatenate",
    [TL_OP_MAX_POOLING2D] = "max_pooling2d",
    [TL_OP_AVERAGE_POOLING2D] = "average_pooling2d",
    [TL_OP_SPATIAL_DROPOUT2D] = "spatial_dropout2d",
    [TL_OP_RESCALING] = "rescaling",
    [TL_OP_RESIZING] = "resizing",
    [TL_OP_CENTER_CROP] = "center_crop",
    [TL_OP_RANDOM_FLIP] = "random_flip",
    [TL_OP_RANDOM_ROTATION] = "random_rotation",
    [TL_OP_RANDOM_ZOOM] = "random_zoom",
    [TL_OP_RANDOM_TRANSLATION] = "random_translation",
    [TL_OP_RANDOM_CONTRAST] = "random_contrast",
    [TL_OP_RANDOM_BRIGHTNESS] = "random_brightness",
    [TL_OP_RANDOM_CROP] = "random_crop",
};

static const char *const function_names[TL_FUNCTION_COUNT] = {
    [TL_LINEAR] = "linear",
    [TL_RELU] = "relu",
    [TL_RELU6] = "relu6",
    [TL_SIGMOID] = "sigmoid",
    [TL_SOFTMAX] = "softmax",
    [TL_TANH] = "tanh",
    [TL_ELU] = "elu",
    [TL_SELU] = "selu",
    [TL_SOFTPLUS] = "softplus",
    [TL_SOFTSIGN] = "softsign",
    [TL_SILU] = "silu",
    [TL_GELU] = "gelu",
    [TL_HARD_SIGMOID] = "hard_sigmoid",
    [TL_HARD_SILU] = "hard_silu",
    [TL_LEAKY_RELU] = "leaky_relu",
    [TL_EXPONENTIAL] = "exponential",
    [TL_MISH] = "mish",
    [TL_LOG_SOFTMAX] = "log_softmax",
};

const char *
tl_op_name(tl_op op)
{
    return op_names[op];
}

bool
tl_op_from_name(tl_op *op, const char *name)
{
    for (int i = 0; i < TL_OP_COUNT; i++) {
        if (strcmp(op_names[i], name) == 0) {
            *op = (tl_op)i;
            return true;
        }
    }
    return false;
}

const char *
tl_function_name(tl_function function)
{
    return function_names[function];
}

bool
tl_function_from_name(tl_function *function, const char *name)
{
    for (int i = 0; i < TL_FUNCTION_COUNT; i++) {
        if (strcmp(function_names[i], name) == 0) {
            *function = (tl_function)i;
            return true;
        }
    }
    return false;
}

bool
tl_op_has_params(tl_op op)
{
    return op == TL_OP_CONV2D || op == TL_OP_DEPTHWISE_CONV2D ||
           op == TL_OP_BATCH_NORMALIZATION || op == TL_OP_DENSE;
}

bool
tl_node_is_random(const tl_node *node)
{
    return (node->op == TL_OP_DROPOUT || node->op == TL_OP_SPATIAL_DROPOUT2D) &&
           node->dropout.rate > 0 && !node->inference;
}

bool
tl_node_is_augmentation(const tl_node *node)
{
    return node->op >= TL_OP_RANDOM_FLIP && node->op <= TL_OP_RANDOM_CROP && !node->inference;
}

static tl_padding
padding_of(bool same, const tl_shape *input, const size_t kernel[2], const size_t strides[2])
{
    tl_padding padding = {0, 0, 0, 0};
    if (same) {
        tl_same_padding(&padding.top, &padding.bottom, input->dims[0], kernel[0], strides[0]);
        tl_same_padding(&padding.left, &padding.right, input->dims[1], kernel[1], strides[1]);
    }
    return padding;
}

tl_padding
tl_convolution_padding(const tl_convolution *convolution, const tl_shape *input)
{
    return padding_of(convolution->same, input, convolution->kernel, convolution->strides);
}

tl_padding
tl_window_padding(const tl_node *node, const tl_shape *input)
{
    return padding_of(node->window.same, input, node->window.pool, node->window.strides);
}

size_t
tl_node_params(const tl_graph *graph, const tl_node *node, tl_param_spec *specs)
{
    size_t count = 0;
    if (node->op == TL_OP_CONV2D || node->op == TL_OP_DEPTHWISE_CONV2D) {
        const tl_convolution *c = &node->convolution;
        const size_t channels = tl_shape_channels(&graph->nodes[node->inputs[0]].shape);
        const bool depthwise = node->op == TL_OP_DEPTHWISE_CONV2D;
        const size_t filters = depthwise ? channels : c->filters;
        specs[count++] = (tl_param_spec){
            depthwise ? "depthwise_kernel" : "kernel",
            {4, {c->kernel[0], c->kernel[1], channels, depthwise ? 1 : filters}},
            true,
        };
        if (c->use_bias) {
            specs[count++] = (tl_param_spec){"bias", tl_shape_1(filters), true};
        }
    } else if (node->op == TL_OP_BATCH_NORMALIZATION) {
        const tl_shape shape =
            tl_shape_1(tl_shape_channels(&graph->nodes[node->inputs[0]].shape));
        specs[count++] = (tl_param_spec){"gamma", shape, true};
        specs[count++] = (tl_param_spec){"beta", shape, true};
        specs[count++] = (tl_param_spec){"moving_mean", shape, false};
        specs[count++] = (tl_param_spec){"moving_variance", shape, false};
    } else if (node->op == TL_OP_DENSE) {
        const size_t features = tl_shape_channels(&graph->nodes[node->inputs[0]].shape);
        specs[count++] =
            (tl_param_spec){"kernel", {2, {features, node->dense.units, 0, 0}}, true};
        if (node->dense.use_bias) {
            specs[count++] = (tl_param_spec){"bias", tl_shape_1(node->dense.units), true};
        }
    }
    return count;
}

/* --- shapes ----------------------------------------------------------------------------- */

/* "(224, 224, 3)" into text[64]. */
static const char *
shape_text(char *text, const tl_shape *shape)
{
    size_t used = 0;
    text[0] = '\0';
    if (shape->rank == 0 || shape->rank > TL_MAX_RANK) {
        (void)snprintf(text, 64, "a shape of %zu dimensions", shape->rank);
        return text;
    }
    for (size_t i = 0; i < shape->rank; i++) {
        const int n =
            snprintf(text + used, 64 - used, "%s%zu", i == 0 ? "(" : ", ", shape->dims[i]);
        used += n > 0 ? (size_t)n : 0;
        if (used >= 62) {
            return text;
        }
    }
    (void)snprintf(text + used, 64 - used, shape->rank == 1 ? ",)" : ")");
    return text;
}

static tl_status
want_image(const tl_node *node, const tl_shape *input)
{
    char text[64];
    if (input->rank == 3) {
        return TL_OK;
    }
    return tl_fail(TL_BAD_VALUE,
                   "%s \"%s\" needs an input of (height, width, channels), but is given %s",
                   tl_op_name(node->op), node->name, shape_text(text, input));
}

/* `what`: the attribute that holds the kernel. */
static tl_status
check_window(const tl_node *node, const char *what, const size_t kernel[2],
             const size_t strides[2])
{
    const size_t limit = 1 << 16;
    for (int axis = 0; axis < 2; axis++) {
        if (kernel[axis] < 1 || kernel[axis] > limit || strides[axis] < 1 ||
            strides[axis] > limit) {
            return tl_fail(
                TL_BAD_VALUE, "%s \"%s\" needs %s and strides from 1 to %zu, not %zu and %zu",
                tl_op_name(node->op), node->name, what, limit, kernel[axis], strides[axis]);
        }
    }
    return TL_OK;
}

static tl_status
convolution_shape(tl_shape *shape, const tl_node *node, const tl_shape *input)
{
    tl_status status = TL_OK;
    const tl_convolution *c = &node->convolution;
    const bool depthwise = node->op == TL_OP_DEPTHWISE_CONV2D;
    char text[64];
    TL_TRY(check_window(node, "kernel_size", c->kernel, c->strides));
    if (!depthwise && c->filters < 1) {
        return tl_fail(TL_BAD_VALUE, "conv2d \"%s\" needs filters of at least 1", node->name);
    }
    const tl_padding p = tl_convolution_padding(c, input);
    *shape =
        tl_shape_3(tl_convolved(input->dims[0], c->kernel[0], c->strides[0], p.top, p.bottom),
                   tl_convolved(input->dims[1], c->kernel[1], c->strides[1], p.left, p.right),
                   depthwise ? input->dims[2] : c->filters);
    if (shape->dims[0] == 0 || shape->dims[1] == 0) {
        return tl_fail(TL_BAD_VALUE,
                       "%s \"%s\" has a kernel of (%zu, %zu), larger than its input %s",
                       tl_op_name(node->op), node->name, c->kernel[0], c->kernel[1],
                       shape_text(text, input));
    }
done:
    return status;
}

static tl_status
window_shape(tl_shape *shape, const tl_node *node, const tl_shape *input)
{
    tl_status status = TL_OK;
    const size_t *pool = node->window.pool;
    const size_t *strides = node->window.strides;
    char text[64];
    TL_TRY(check_window(node, "pool_size", pool, strides));
    const tl_padding p = tl_window_padding(node, input);
    *shape = tl_shape_3(tl_convolved(input->dims[0], pool[0], strides[0], p.top, p.bottom),
                        tl_convolved(input->dims[1], pool[1], strides[1], p.left, p.right),
                        input->dims[2]);
    if (shape->dims[0] == 0 || shape->dims[1] == 0) {
        return tl_fail(
            TL_BAD_VALUE, "%s \"%s\" has a pool_size of (%zu, %zu), larger than its input %s",
            tl_op_name(node->op), node->name, pool[0], pool[1], shape_text(text, input));
    }
done:
    return status;
}

static tl_status
padded_shape(tl_shape *shape, const tl_node *node, const tl_shape *input)
{
    const tl_padding *p = &node->padding;
    const size_t limit = 1 << 16;
    if (p->top > limit || p->bottom > limit || p->left > limit || p->right > limit) {
        return tl_fail(TL_BAD_VALUE, "zero_padding2d \"%s\" allows a padding of at most %zu",
                       node->name, limit);
    }
    *shape = tl_shape_3(input->dims[0] + p->top + p->bottom,
                        input->dims[1] + p->left + p->right, input->dims[2]);
    return TL_OK;
}

static tl_status
pooled_shape(tl_shape *shape, const tl_node *node, const tl_shape *input)
{
    *shape =
        node->pooling.keepdims ? tl_shape_3(1, 1, input->dims[2]) : tl_shape_1(input->dims[2]);
    return TL_OK;
}

static tl_status
dense_shape(tl_shape *shape, const tl_node *node, const tl_shape *input)
{
    if (node->dense.units < 1) {
        return tl_fail(TL_BAD_VALUE, "dense \"%s\" needs units of at least 1", node->name);
    }
    *shape = *input;
    shape->dims[shape->rank - 1] = node->dense.units;
    return TL_OK;
}

static tl_status
add_shape(tl_shape *shape, const tl_node *node, const tl_shape *a, const tl_shape *b)
{
    char text_a[64];
    char text_b[64];
    if (!tl_shape_equal(a, b)) {
        return tl_fail(TL_BAD_VALUE,
                       "add \"%s\" needs two inputs of one shape, but is given %s and %s",
                       node->name, shape_text(text_a, a), shape_text(text_b, b));
    }
    *shape = *a;
    return TL_OK;
}

/* All inputs agree in every axis but the last, along which they are put together. */
static tl_status
concatenated_shape(tl_shape *shape, const tl_graph *graph, const tl_node *node)
{
    char text_a[64];
    char text_b[64];
    const tl_shape *first = &graph->nodes[node->inputs[0]].shape;
    size_t channels = tl_shape_channels(first);
    for (size_t k = 1; k < node->input_count; k++) {
        const tl_shape *other = &graph->nodes[node->inputs[k]].shape;
        tl_shape alike = *other;
        alike.dims[alike.rank - 1] = tl_shape_channels(first);
        if (!tl_shape_equal(&alike, first)) {
            return tl_fail(
                TL_BAD_VALUE,
                "concatenate \"%s\" needs inputs that differ in the last axis alone, "
                "but is given %s and %s",
                node->name, shape_text(text_a, first), shape_text(text_b, other));
        }
        if (tl_shape_channels(other) > SIZE_MAX - channels) {
            return tl_fail(TL_OUT_OF_MEMORY,
                           "concatenate \"%s\" makes more channels than fit memory",
                           node->name);
        }
        channels += tl_shape_channels(other);
    }
    *shape = *first;
    shape->dims[shape->rank - 1] = channels;
    return TL_OK;
}

static tl_status
check_numbers(const tl_node *node)
{
    switch (node->op) {
    case TL_OP_BATCH_NORMALIZATION:
        if (!(node->batch_normalization.momentum >= 0 &&
              node->batch_normalization.momentum <= 1)) {
            return tl_fail(TL_BAD_VALUE,
                           "batch_normalization \"%s\" needs momentum from 0 to 1, not %g",
                           node->name, (double)node->batch_normalization.momentum);
        }
        if (!(node->batch_normalization.epsilon > 0 && node->batch_normalization.epsilon < 1)) {
            return tl_fail(TL_BAD_VALUE,
                           "batch_normalization \"%s\" needs epsilon between 0 and 1, not %g",
                           node->name, (double)node->batch_normalization.epsilon);
        }
        break;
    case TL_OP_RELU:
        if (!(node->relu.max_value > 0)) {
            return tl_fail(TL_BAD_VALUE, "relu \"%s\" needs a max_value above 0, not %g",
                           node->name, (double)node->relu.max_value);
        }
        break;
    case TL_OP_ACTIVATION:
        if (node->activation.function >= TL_FUNCTION_COUNT) {
            return tl_fail(TL_BAD_VALUE, "activation \"%s\" has no function of number %u",
                           node->name, (unsigned)node->activation.function);
        }
        break;
    case TL_OP_DROPOUT:
    case TL_OP_SPATIAL_DROPOUT2D:
        if (!(node->dropout.rate >= 0 && node->dropout.rate < 1)) {
            return tl_fail(TL_BAD_VALUE,
                           "%s \"%s\" needs a rate of at least 0 and below 1, not %g",
                           tl_op_name(node->op), node->name, (double)node->dropout.rate);
        }
        break;
    default:
        break;
    }
    return TL_OK;
}

/* Shape of the node's value; its inputs exist. */
static tl_status
infer_shape(tl_shape *shape, const tl_graph *graph, const tl_node *node)
{
    tl_status status = TL_OK;
    const tl_shape *input = &graph->nodes[node->inputs[0]].shape;
    size_t count;
    TL_TRY(check_numbers(node));
    switch (node->op) {
    case TL_OP_CONV2D:
    case TL_OP_DEPTHWISE_CONV2D:
        TL_TRY(want_image(node, input));
        TL_TRY(convolution_shape(shape, node, input));
        break;
    case TL_OP_ZERO_PADDING2D:
        TL_TRY(want_image(node, input));
        TL_TRY(padded_shape(shape, node, input));
        break;
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        TL_TRY(want_image(node, input));
        TL_TRY(pooled_shape(shape, node, input));
        break;
    case TL_OP_MAX_POOLING2D:
    case TL_OP_AVERAGE_POOLING2D:
        TL_TRY(want_image(node, input));
        TL_TRY(window_shape(shape, node, input));
        break;
    case TL_OP_SPATIAL_DROPOUT2D:
        TL_TRY(want_image(node, input));
        *shape = *input;
        break;
    case TL_OP_RESCALING:
        TL_TRY(tl_picture_shape(shape, node, input));
        break;
    case TL_OP_RESIZING:
    case TL_OP_CENTER_CROP:
    case TL_OP_RANDOM_FLIP:
    case TL_OP_RANDOM_ROTATION:
    case TL_OP_RANDOM_ZOOM:
    case TL_OP_RANDOM_TRANSLATION:
    case TL_OP_RANDOM_CONTRAST:
    case TL_OP_RANDOM_BRIGHTNESS:
    case TL_OP_RANDOM_CROP:
        TL_TRY(want_image(node, input));
        TL_TRY(tl_picture_shape(shape, node, input));
        break;
    case TL_OP_CONCATENATE:
        TL_TRY(concatenated_shape(shape, graph, node));
        break;
    case TL_OP_FLATTEN:
        TL_TRY(tl_shape_count(&count, input));
        *shape = tl_shape_1(count);
        break;
    case TL_OP_DENSE:
        TL_TRY(dense_shape(shape, node, input));
        break;
    case TL_OP_ADD:
        TL_TRY(add_shape(shape, node, input, &graph->nodes[node->inputs[1]].shape));
        break;
    default:
        *shape = *input;
        break;
    }
    TL_TRY(tl_shape_count(&count, shape));
done:
    return status;
}

/* --- building --------------------------------------------------------------------------- */

static tl_status
check_shape(const tl_shape *shape)
{
    size_t count;
    char text[64];
    if (shape->rank != 1 && shape->rank != 3) {
        return tl_fail(TL_BAD_VALUE,
                       "input_shape must be (height, width, channels) or (features,), not %s",
                       shape_text(text, shape));
    }
    for (size_t i = 0; i < shape->rank; i++) {
        if (shape->dims[i] < 1) {
            return tl_fail(TL_BAD_VALUE, "input_shape %s must hold numbers of at least 1",
                           shape_text(text, shape));
        }
    }
    return tl_shape_count(&count, shape);
}

static tl_status
reserve_node(tl_graph *graph)
{
    if (graph->count < graph->capacity) {
        return TL_OK;
    }
    const size_t capacity = graph->capacity == 0 ? 16 : 2 * graph->capacity;
    tl_node *nodes = tl_grow(graph->nodes, graph->count, capacity, sizeof *nodes);
    if (nodes == NULL) {
        return tl_fail(TL_OUT_OF_MEMORY, "no memory for a graph of %zu nodes", capacity);
    }
    graph->nodes = nodes;
    graph->capacity = capacity;
    return TL_OK;
}

tl_status
tl_graph_create(tl_graph **out, const char *name, const tl_shape *shape)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_graph *graph = tl_alloc(1, sizeof *graph);
    if (graph == NULL) {
        goto done;
    }
    TL_TRY(check_shape(shape));
    TL_TRY(reserve_node(graph));
    tl_node *input = &graph->nodes[graph->count++];
    input->op = TL_OP_INPUT;
    input->shape = *shape;
    (void)snprintf(input->name, sizeof input->name, "%s", name);

    *out = graph; /* handed over */
    graph = NULL;
done:
    tl_graph_destroy(graph);
    return status;
}

void
tl_graph_destroy(tl_graph *graph)
{
    if (graph != NULL) {
        tl_free(graph->nodes);
        tl_free(graph);
    }
}

tl_status
tl_graph_copy(tl_graph **out, const tl_graph *graph)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_graph *copy = tl_alloc(1, sizeof *copy);
    if (copy == NULL) {
        goto done;
    }
    copy->nodes = tl_alloc(graph->count, sizeof *copy->nodes);
    if (copy->nodes == NULL) {
        goto done;
    }
    memcpy(copy->nodes, graph->nodes, graph->count * sizeof *copy->nodes);
    copy->count = graph->count;
    copy->capacity = graph->count;
    copy->param_count = graph->param_count;

    *out = copy;
    copy = NULL;
    status = TL_OK;
done:
    tl_graph_destroy(copy);
    return status;
}

static tl_status
check_node(const tl_graph *graph, const tl_node *node)
{
    const bool many = node->op == TL_OP_CONCATENATE;
    const size_t least = many || node->op == TL_OP_ADD ? 2 : 1;
    const size_t most = many ? TL_MAX_INPUTS : least;
    if (node->op == TL_OP_INPUT || node->op >= TL_OP_COUNT) {
        return tl_fail(TL_BAD_VALUE, "op must be a layer's, and a graph has only one input");
    }
    if (node->name[0] == '\0') {
        return tl_fail(TL_BAD_VALUE, "name of a %s must not be empty", tl_op_name(node->op));
    }
    if (memchr(node->name, '\0', sizeof node->name) == NULL) {
        return tl_fail(TL_BAD_VALUE, "name of a %s must be shorter than %d bytes",
                       tl_op_name(node->op), TL_NAME_SIZE);
    }
    if (node->input_count < least || node->input_count > most) {
        char allowed[32];
        (void)snprintf(allowed, sizeof allowed, least == most ? "%zu" : "%zu to %zu", least,
                       most);
        return tl_fail(TL_BAD_VALUE, "%s \"%s\" takes %s input%s, not %zu",
                       tl_op_name(node->op), node->name, allowed, most == 1 ? "" : "s",
                       node->input_count);
    }
    for (size_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] >= graph->count) {
            return tl_fail(TL_BAD_VALUE, "%s \"%s\" names input %zu of a graph of %zu nodes",
                           tl_op_name(node->op), node->name, node->inputs[i], graph->count);
        }
    }
    for (size_t i = 0; i < graph->count; i++) {
        if (strcmp(graph->nodes[i].name, node->name) == 0) {
            return tl_fail(TL_BAD_VALUE, "the name \"%s\" is used twice; names must differ",
                           node->name);
        }
    }
    return TL_OK;
}

tl_status
tl_graph_add(tl_graph *graph, size_t *id, const tl_node *node)
{
    tl_status status = TL_OK;
    tl_param_spec specs[TL_MAX_NODE_PARAMS];
    tl_node added = *node;

    TL_TRY(check_node(graph, &added));
    TL_TRY(infer_shape(&added.shape, graph, &added));
    added.first_param = graph->param_count;
    added.param_count = tl_node_params(graph, &added, specs);
    for (size_t i = 0; i < added.param_count; i++) {
        size_t count;
        TL_TRY(tl_shape_count(&count, &specs[i].shape));
    }
    TL_TRY(reserve_node(graph));
    graph->param_count += added.param_count;
    *id = graph->count;
    graph->nodes[graph->count++] = added;
done:
    return status;
}

tl_status
tl_graph_extend(tl_graph *graph, size_t *id, const tl_graph *other, size_t input,
                bool inference)
{
    tl_status status = TL_OK;
    const size_t nodes_before = graph->count;
    const size_t params_before = graph->param_count;
    char text_a[64];
    char text_b[64];
    size_t last = input;

    if (input >= graph->count) {
        return tl_fail(TL_BAD_VALUE, "input %zu is not a node of a graph of %zu nodes", input,
                       graph->count);
    }
    if (!tl_shape_equal(&graph->nodes[input].shape, &other->nodes[0].shape)) {
        return tl_fail(TL_BAD_VALUE, "\"%s\" takes inputs of shape %s, but is given %s",
                       other->nodes[0].name, shape_text(text_a, &other->nodes[0].shape),
                       shape_text(text_b, &graph->nodes[input].shape));
    }
    for (size_t i = 1; i < other->count; i++) {
        tl_node node = other->nodes[i];
        node.inference = node.inference || inference;
        for (size_t k = 0; k < node.input_count; k++) {
            /* node 0 became `input`; the others follow behind what was there before */
            node.inputs[k] = node.inputs[k] == 0 ? input : nodes_before + node.inputs[k] - 1;
        }
        TL_TRY(tl_graph_add(graph, &last, &node));
    }
    *id = last;
done:
    if (status != TL_OK) {
        graph->count = nodes_before;
        graph->param_count = params_before;
    }
    return status;
}
