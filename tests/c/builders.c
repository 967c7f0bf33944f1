/* Builders shared by the test programs. */
#include "builders.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/random.h"

tl_status
add_node(tl_graph *graph, size_t *id, tl_node node, const char *name, size_t input,
         size_t second)
{
    (void)snprintf(node.name, sizeof node.name, "%s", name);
    node.inputs[0] = input;
    node.inputs[1] = second == TL_NONE ? 0 : second;
    node.input_count = second == TL_NONE ? 1 : 2;
    return tl_graph_add(graph, id, &node);
}

void
random_numbers(float *dst, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count; i++) {
        dst[i] = 2 * tl_random_uniform(seed, i) - 1;
    }
}

tl_status
random_parameters(tl_parameters **out, const tl_graph *graph, unsigned seed)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_param_spec specs[TL_MAX_NODE_PARAMS];
    tl_parameters *parameters = NULL;
    tl_shape *shapes = tl_alloc(graph->param_count, sizeof *shapes);
    bool *variances = tl_alloc(graph->param_count, sizeof *variances);
    if (shapes == NULL || variances == NULL) {
        goto done;
    }
    for (size_t i = 0; i < graph->count; i++) {
        const size_t count = tl_node_params(graph, &graph->nodes[i], specs);
        for (size_t k = 0; k < count; k++) {
            shapes[graph->nodes[i].first_param + k] = specs[k].shape;
            variances[graph->nodes[i].first_param + k] =
                strcmp(specs[k].name, "moving_variance") == 0;
        }
    }
    TL_TRY(tl_parameters_create(&parameters, shapes, graph->param_count));
    for (size_t i = 0; i < graph->param_count; i++) {
        tl_tensor *tensor = &parameters->tensors[i];
        random_numbers(tensor->data, tensor->count, seed + (unsigned)i);
        const size_t rank = tensor->shape.rank;
        const bool depthwise = rank == 4 && tensor->shape.dims[3] == 1;
        const size_t fan_in = rank < 2 ? 1
                                       : tensor->count / tensor->shape.dims[rank - 1] /
                                             (depthwise ? tensor->shape.dims[2] : 1);
        for (size_t k = 0; k < tensor->count; k++) {
            /* values keep their size from layer to layer, and rounding stays rounding */
            tensor->data[k] = variances[i] ? 0.6F + 0.5F * tensor->data[k]
                                           : tensor->data[k] * sqrtf(3.0F / (float)fan_in);
        }
    }
    *out = parameters;
    parameters = NULL;
done:
    tl_parameters_release(parameters);
    tl_free(variances);
    tl_free(shapes);
    return status;
}

static tl_node
convolution(tl_op op, size_t filters, size_t kernel, size_t stride, bool same)
{
    return (tl_node){.op = op,
                     .convolution = {filters, {kernel, kernel}, {stride, stride}, same, false}};
}

static const tl_node batch_norm = {.op = TL_OP_BATCH_NORMALIZATION,
                                   .batch_normalization = {1e-3F}};
static const tl_node relu6 = {.op = TL_OP_RELU, .relu = {6.0F}};

static tl_status
add_residual_block(tl_graph *graph, size_t *id)
{
    tl_status status = TL_OK;
    const size_t input = *id;
    size_t x = input;
    const size_t channels = graph->nodes[input].shape.dims[2];
    TL_TRY(
        add_node(graph, &x, convolution(TL_OP_CONV2D, 20, 1, 1, true), "expand", x, TL_NONE));
    TL_TRY(add_node(graph, &x, batch_norm, "expand_BN", x, TL_NONE));
    TL_TRY(add_node(graph, &x, relu6, "expand_relu", x, TL_NONE));
    TL_TRY(add_node(graph, &x, convolution(TL_OP_DEPTHWISE_CONV2D, 0, 3, 1, true), "dw", x,
                    TL_NONE));
    TL_TRY(add_node(graph, &x, batch_norm, "dw_BN", x, TL_NONE));
    TL_TRY(add_node(graph, &x, relu6, "dw_relu", x, TL_NONE));
    TL_TRY(add_node(graph, &x, convolution(TL_OP_CONV2D, channels, 1, 1, true), "project", x,
                    TL_NONE));
    TL_TRY(add_node(graph, &x, batch_norm, "project_BN", x, TL_NONE));
    TL_TRY(add_node(graph, id, (tl_node){.op = TL_OP_ADD}, "add", input, x));
done:
    return status;
}

tl_status
small_graph(tl_graph **out, size_t height, size_t width)
{
    tl_status status = TL_OK;
    tl_graph *graph = NULL;
    const tl_shape shape = tl_shape_3(height, width, 3);
    const tl_node pad = {.op = TL_OP_ZERO_PADDING2D, .padding = {height % 2, 1, width % 2, 1}};
    size_t x = 0;
    TL_TRY(tl_graph_create(&graph, "input", &shape));
    TL_TRY(add_node(graph, &x, pad, "pad", x, TL_NONE));
    TL_TRY(add_node(graph, &x, convolution(TL_OP_CONV2D, 10, 3, 2, false), "stem", x, TL_NONE));
    TL_TRY(add_node(graph, &x, batch_norm, "stem_BN", x, TL_NONE));
    TL_TRY(add_node(graph, &x, relu6, "stem_relu", x, TL_NONE));
    TL_TRY(add_residual_block(graph, &x));
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_GLOBAL_AVERAGE_POOLING2D}, "gap", x,
                    TL_NONE));
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_DROPOUT, .dropout = {0.25F}}, "dropout", x,
                    TL_NONE));
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_DENSE, .dense = {7, true}}, "dense", x,
                    TL_NONE));
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_ACTIVATION, .activation = {TL_RELU}},
                    "dense/activation", x, TL_NONE));
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_DENSE, .dense = {4, true}}, "scores", x,
                    TL_NONE));
    TL_TRY(add_node(graph, &x, (tl_node){.op = TL_OP_ACTIVATION, .activation = {TL_SOFTMAX}},
                    "scores/activation", x, TL_NONE));
    *out = graph;
    graph = NULL;
done:
    tl_graph_destroy(graph);
    return status;
}
