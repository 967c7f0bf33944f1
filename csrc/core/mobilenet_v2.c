/* The seven-row table of the paper and the block that reads it. */
#include "core/mobilenet_v2.h"

#include <math.h>
#include <stdio.h>

/* arXiv:1801.04381, table 2: expansion t, output channels c, blocks n, first stride s. */
static const struct {
    size_t expansion, channels, blocks, stride;
} table[] = {
    {1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2},  {6, 64, 4, 2},
    {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1},
};

static const float BATCH_NORM_EPSILON = 1e-3F;
static const float BATCH_NORM_MOMENTUM = 0.999F;

/* Nearest multiple of 8, but never less than nine tenths of `channels`. */
static size_t
make_divisible(double channels)
{
    const size_t nearest = (size_t)(channels + 4) / 8 * 8;
    const size_t result = nearest < 8 ? 8 : nearest;
    return (double)result < 0.9 * channels ? result + 8 : result;
}

/* A graph under construction: `last` is the node that the next one takes. */
typedef struct builder {
    tl_graph *graph;
    size_t last;
    const char *prefix; /* "block_3_" */
} builder;

/* Appends `node`, named by prefix and suffix, behind the last one. */
static tl_status
append(builder *b, tl_node node, const char *suffix)
{
    if (node.input_count == 0) {
        node.inputs[0] = b->last;
        node.input_count = 1;
    }
    (void)snprintf(node.name, sizeof node.name, "%s%s", b->prefix, suffix);
    return tl_graph_add(b->graph, &b->last, &node);
}

static tl_status
append_batch_norm(builder *b, const char *suffix)
{
    return append(b,
                  (tl_node){.op = TL_OP_BATCH_NORMALIZATION,
                            .batch_normalization = {BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM}},
                  suffix);
}

static tl_status
append_relu6(builder *b, const char *suffix)
{
    return append(b, (tl_node){.op = TL_OP_RELU, .relu = {6.0F}}, suffix);
}

static tl_status
append_pointwise(builder *b, size_t filters, const char *suffix)
{
    const tl_convolution c = {filters, {1, 1}, {1, 1}, true, false};
    return append(b, (tl_node){.op = TL_OP_CONV2D, .convolution = c}, suffix);
}

/* Keras pads before a stride of 2: one pixel behind, and one in front of an odd size. */
static tl_status
append_padding(builder *b, const char *suffix)
{
    const tl_shape *shape = &b->graph->nodes[b->last].shape;
    const tl_padding padding = {shape->dims[0] % 2, 1, shape->dims[1] % 2, 1};
    return append(b, (tl_node){.op = TL_OP_ZERO_PADDING2D, .padding = padding}, suffix);
}

static tl_status
append_block(builder *b, size_t expansion, size_t channels, size_t stride)
{
    tl_status status = TL_OK;
    const size_t input = b->last;
    const size_t input_channels = tl_shape_channels(&b->graph->nodes[input].shape);
    const tl_convolution depthwise = {0, {3, 3}, {stride, stride}, stride == 1, false};

    if (expansion > 1) {
        TL_TRY(append_pointwise(b, expansion * input_channels, "expand"));
        TL_TRY(append_batch_norm(b, "expand_BN"));
        TL_TRY(append_relu6(b, "expand_relu"));
    }
    if (stride == 2) {
        TL_TRY(append_padding(b, "pad"));
    }
    TL_TRY(append(b, (tl_node){.op = TL_OP_DEPTHWISE_CONV2D, .convolution = depthwise},
                  "depthwise"));
    TL_TRY(append_batch_norm(b, "depthwise_BN"));
    TL_TRY(append_relu6(b, "depthwise_relu"));
    TL_TRY(append_pointwise(b, channels, "project"));
    TL_TRY(append_batch_norm(b, "project_BN"));
    if (stride == 1 && input_channels == channels) {
        TL_TRY(append(b,
                      (tl_node){.op = TL_OP_ADD, .inputs = {input, b->last}, .input_count = 2},
                      "add"));
    }
done:
    return status;
}

static tl_status
append_top(builder *b, const tl_mobilenet_v2 *options)
{
    tl_status status = TL_OK;
    const bool average = options->include_top || options->pooling == TL_POOLING_AVERAGE;
    if (average) {
        TL_TRY(append(b, (tl_node){.op = TL_OP_GLOBAL_AVERAGE_POOLING2D},
                      "global_average_pooling2d"));
    } else if (options->pooling == TL_POOLING_MAX) {
        TL_TRY(append(b, (tl_node){.op = TL_OP_GLOBAL_MAX_POOLING2D}, "global_max_pooling2d"));
    }
    if (options->include_top) {
        TL_TRY(append(b, (tl_node){.op = TL_OP_DENSE, .dense = {options->classes, true}},
                      "predictions"));
        if (options->classifier_activation != TL_LINEAR) {
            TL_TRY(append(b,
                          (tl_node){.op = TL_OP_ACTIVATION,
                                    .activation = {options->classifier_activation}},
                          "predictions/activation"));
        }
    }
done:
    return status;
}

static tl_status
check_options(const tl_mobilenet_v2 *options)
{
    const tl_shape *input = &options->input;
    if (!(options->alpha > 0 && options->alpha <= 16)) {
        return tl_fail(TL_BAD_VALUE, "alpha must be above 0 and at most 16, not %g",
                       options->alpha);
    }
    if (input->rank != 3 || input->dims[0] < 32 || input->dims[1] < 32) {
        return tl_fail(TL_BAD_VALUE,
                       "input_shape must be (height, width, channels) with a height and width "
                       "of at least 32, not (%zu, %zu, %zu)",
                       input->dims[0], input->dims[1], input->dims[2]);
    }
    if (options->include_top && options->classes < 1) {
        return tl_fail(TL_BAD_VALUE, "classes must be at least 1");
    }
    return TL_OK;
}

tl_status
tl_mobilenet_v2_create(tl_graph **out, const tl_mobilenet_v2 *options)
{
    tl_status status = TL_OK;
    const double alpha = options->alpha;
    char prefix[32];
    builder b = {NULL, 0, ""};

    TL_TRY(check_options(options));
    TL_TRY(tl_graph_create(&b.graph, "input_layer", &options->input));

    const tl_convolution stem = {make_divisible(32 * alpha), {3, 3}, {2, 2}, true, false};
    TL_TRY(append(&b, (tl_node){.op = TL_OP_CONV2D, .convolution = stem}, "Conv1"));
    TL_TRY(append_batch_norm(&b, "bn_Conv1"));
    TL_TRY(append_relu6(&b, "Conv1_relu"));

    size_t block = 0;
    for (size_t row = 0; row < sizeof table / sizeof table[0]; row++) {
        const size_t channels = make_divisible(floor((double)table[row].channels * alpha));
        for (size_t i = 0; i < table[row].blocks; i++, block++) {
            (void)snprintf(prefix, sizeof prefix, "block_%zu_", block);
            b.prefix = block == 0 ? "expanded_conv_" : prefix;
            TL_TRY(append_block(&b, table[row].expansion, channels,
                                i == 0 ? table[row].stride : 1));
        }
    }
    b.prefix = "";
    TL_TRY(append_pointwise(&b, alpha > 1 ? make_divisible(1280 * alpha) : 1280, "Conv_1"));
    TL_TRY(append_batch_norm(&b, "Conv_1_bn"));
    TL_TRY(append_relu6(&b, "out_relu"));
    TL_TRY(append_top(&b, options));

    *out = b.graph; /* handed over */
    b.graph = NULL;
done:
    tl_graph_destroy(b.graph);
    return status;
}
