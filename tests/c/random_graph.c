/* The decoder. Bytes that run out count as zero, so that a shorter string is a smaller case. */
#include "random_graph.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "naive_graph.h"

enum { MOST_NODES = 40, MOST_PART_NODES = 6, MOST_ELEMENTS = 20000, MOST_PRODUCTS = 400000 };

typedef struct reader {
    const unsigned char *next;
    size_t left;
    bool sober; /* no absurd numbers: a network that can be run is to come out */
} reader;

static size_t
take(reader *bytes)
{
    if (bytes->left == 0) {
        return 0;
    }
    bytes->left--;
    return *bytes->next++;
}

/* Numbers at which arithmetic turns. */
static size_t
absurd_size(reader *bytes)
{
    static const size_t edges[] = {
        0,
        1,
        2,
        255,
        65535,
        65536,
        65537,
        INT32_MAX,
        (size_t)INT32_MAX + 1,
        UINT32_MAX,
        1UL << 32,
        (1UL << 32) + 1,
        1UL << 60,
        1UL << 62,
        (1UL << 62) - 1,
        SIZE_MAX / 2,
        SIZE_MAX - 1,
        SIZE_MAX,
    };
    return edges[take(bytes) % (sizeof edges / sizeof edges[0])];
}

static float
absurd_float(reader *bytes)
{
    const float edges[] = {0.0F, -0.0F,  -1.0F,    1.0F,      6.0F,    5.9999995F,
                           NAN,  1e-45F, INFINITY, -INFINITY, 3.4e38F, 0.99999994F};
    return edges[take(bytes) % (sizeof edges / sizeof edges[0])];
}

/* --- nodes ------------------------------------------------------------------------------ */

static void
sensible_attributes(tl_node *node, reader *bytes)
{
    const size_t a = take(bytes);
    switch (node->op) {
    case TL_OP_CONV2D:
    case TL_OP_DEPTHWISE_CONV2D: {
        const size_t b = take(bytes);
        const size_t filters = take(bytes);
        node->convolution = (tl_convolution){.filters = 1 + filters % (filters < 192 ? 17 : 36),
                                             .kernel = {1 + a % 5, 1 + a / 5 % 5},
                                             .strides = {1 + b % 3, 1 + b / 3 % 3},
                                             .same = (a & 128) != 0,
                                             .use_bias = (b & 128) != 0};
        break;
    }
    case TL_OP_BATCH_NORMALIZATION:
        node->batch_normalization.epsilon = 1e-3F * (float)(1 + a % 4);
        node->batch_normalization.momentum = (float)(a / 4 % 5) / 4;
        node->inference = a >= 192;
        break;
    case TL_OP_RELU:
        node->relu.max_value = a % 64 == 63 ? 2.5F : a % 2 == 0 ? 6.0F : INFINITY;
        break;
    case TL_OP_ACTIVATION:
        node->activation.function = (tl_function)(a % TL_FUNCTION_COUNT);
        break;
    case TL_OP_ZERO_PADDING2D:
        node->padding = (tl_padding){a % 4, a / 4 % 4, a / 16 % 4, a / 64};
        break;
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        node->pooling.keepdims = a % 2 != 0;
        break;
    case TL_OP_DENSE:
        node->dense.units = 1 + a % 40;
        node->dense.use_bias = a < 128;
        break;
    case TL_OP_DROPOUT:
    case TL_OP_SPATIAL_DROPOUT2D:
        node->dropout.rate = (float)(a % 8) / 8;
        node->inference = a >= 160;
        break;
    case TL_OP_MAX_POOLING2D:
    case TL_OP_AVERAGE_POOLING2D: {
        const size_t b = take(bytes);
        node->window.pool[0] = 1 + a % 4;
        node->window.pool[1] = 1 + a / 4 % 4;
        node->window.strides[0] = 1 + b % 3;
        node->window.strides[1] = 1 + b / 3 % 3;
        node->window.same = (a & 64) != 0;
        break;
    }
    default:
        break;
    }
}

static void
absurd_attributes(tl_node *node, reader *bytes)
{
    switch (node->op) {
    case TL_OP_CONV2D:
    case TL_OP_DEPTHWISE_CONV2D: {
        const size_t flags = take(bytes);
        node->convolution.same = (flags & 1) != 0;
        node->convolution.use_bias = (flags & 2) != 0;
        node->convolution.filters = (flags & 4) != 0 ? absurd_size(bytes) : 3;
        for (size_t axis = 0; axis < 2; axis++) {
            const bool wild = (flags & (8U << axis)) != 0;
            node->convolution.kernel[axis] = wild ? absurd_size(bytes) : 1 + take(bytes) % 20;
            node->convolution.strides[axis] = wild ? absurd_size(bytes) : 1 + take(bytes) % 20;
        }
        break;
    }
    case TL_OP_BATCH_NORMALIZATION:
        node->batch_normalization.epsilon = absurd_float(bytes);
        node->batch_normalization.momentum = absurd_float(bytes);
        break;
    case TL_OP_RELU:
        node->relu.max_value = absurd_float(bytes);
        break;
    case TL_OP_ACTIVATION:
        node->activation.function = (tl_function)take(bytes);
        break;
    case TL_OP_ZERO_PADDING2D: {
        const bool wild = take(bytes) % 2 != 0;
        size_t *sides[] = {&node->padding.top, &node->padding.bottom, &node->padding.left,
                           &node->padding.right};
        for (size_t i = 0; i < 4; i++) {
            *sides[i] = wild ? absurd_size(bytes) : take(bytes) % 24;
        }
        break;
    }
    case TL_OP_DENSE:
        node->dense.use_bias = take(bytes) % 2 != 0;
        node->dense.units = absurd_size(bytes);
        break;
    case TL_OP_DROPOUT:
    case TL_OP_SPATIAL_DROPOUT2D:
        node->dropout.rate = absurd_float(bytes);
        break;
    case TL_OP_MAX_POOLING2D:
    case TL_OP_AVERAGE_POOLING2D: {
        const size_t flags = take(bytes);
        node->window.same = (flags & 1) != 0;
        for (size_t axis = 0; axis < 2; axis++) {
            const bool wild = (flags & (2U << axis)) != 0;
            node->window.pool[axis] = wild ? absurd_size(bytes) : 1 + take(bytes) % 20;
            node->window.strides[axis] = wild ? absurd_size(bytes) : 1 + take(bytes) % 20;
        }
        break;
    }
    default:
        sensible_attributes(node, bytes);
        break;
    }
}

static bool
wants_image(tl_op op)
{
    return op == TL_OP_CONV2D || op == TL_OP_DEPTHWISE_CONV2D || op == TL_OP_ZERO_PADDING2D ||
           op == TL_OP_GLOBAL_AVERAGE_POOLING2D || op == TL_OP_GLOBAL_MAX_POOLING2D ||
           op == TL_OP_MAX_POOLING2D || op == TL_OP_AVERAGE_POOLING2D ||
           op == TL_OP_SPATIAL_DROPOUT2D;
}

/* The last node before `before` with this shape, or the node itself. */
static size_t
of_equal_shape(const tl_graph *graph, size_t node, size_t before)
{
    for (size_t i = before; i-- > 0;) {
        if (i != node && tl_shape_equal(&graph->nodes[i].shape, &graph->nodes[node].shape)) {
            return i;
        }
    }
    return node;
}

/* The last node before `before` that differs from `node` in the last axis at most, or the node
 * itself. */
static size_t
of_equal_pixels(const tl_graph *graph, size_t node, size_t before)
{
    const tl_shape *wanted = &graph->nodes[node].shape;
    for (size_t i = before; i-- > 0;) {
        tl_shape shape = graph->nodes[i].shape;
        shape.dims[shape.rank - 1] = wanted->dims[wanted->rank - 1];
        if (i != node && tl_shape_equal(&shape, wanted)) {
            return i;
        }
    }
    return node;
}

/* Mostly the last node, so that chains grow; now and then any, so that branches do. */
static void
choose_inputs(tl_node *node, const tl_graph *graph, reader *bytes)
{
    const size_t a = take(bytes);
    size_t input = graph->count - 1;
    if (a >= 176) {
        input = a % graph->count;
    }
    while (wants_image(node->op) && a % 8 != 7 && input > 0 &&
           graph->nodes[input].shape.rank != 3) {
        input--;
    }
    node->inputs[0] = input;
    node->input_count = 1;
    if (node->op == TL_OP_CONCATENATE) {
        const size_t b = take(bytes);
        const size_t count = 2 + b % 3 + (b >= 192 ? b % 5 : 0);
        for (size_t k = 1; k < count; k++) {
            const size_t before = take(bytes);
            node->inputs[k] = before >= 248
                                  ? before % graph->count
                                  : of_equal_pixels(graph, input, 1 + before % graph->count);
        }
        node->input_count = count;
    }
    if (node->op == TL_OP_ADD) {
        const size_t b = take(bytes);
        node->input_count = 2;
        node->inputs[1] =
            b >= 240 ? b % graph->count : of_equal_shape(graph, input, graph->count - b % 2);
        if (b % 4 == 1) {
            node->inputs[0] = node->inputs[1];
            node->inputs[1] = input;
        }
    }
}

/* Any node; `prefix` keeps the names of different graphs apart. */
static tl_node
read_node(reader *bytes, const tl_graph *graph, const char *prefix)
{
    static const tl_op common[] = {
        TL_OP_CONV2D,
        TL_OP_BATCH_NORMALIZATION,
        TL_OP_RELU,
        TL_OP_DEPTHWISE_CONV2D,
        TL_OP_CONV2D,
        TL_OP_ADD,
        TL_OP_ADD,
        TL_OP_ZERO_PADDING2D,
        TL_OP_CONV2D,
        TL_OP_BATCH_NORMALIZATION,
        TL_OP_DENSE,
        TL_OP_ACTIVATION,
        TL_OP_DROPOUT,
        TL_OP_GLOBAL_AVERAGE_POOLING2D,
        TL_OP_FLATTEN,
        TL_OP_GLOBAL_MAX_POOLING2D,
        TL_OP_CONCATENATE,
        TL_OP_MAX_POOLING2D,
        TL_OP_AVERAGE_POOLING2D,
        TL_OP_SPATIAL_DROPOUT2D,
        TL_OP_CONCATENATE,
        TL_OP_ACTIVATION,
    };
    const size_t kind = take(bytes);
    tl_node node = {.op = common[kind % (sizeof common / sizeof common[0])]};
    (void)snprintf(node.name, sizeof node.name, "%s%zu", prefix, graph->count);
    choose_inputs(&node, graph, bytes);
    if (kind < 224 || bytes->sober) {
        sensible_attributes(&node, bytes);
        return node;
    }
    const size_t how = take(bytes);
    if (how % 16 == 1) {
        node.op = (tl_op)take(bytes);
    }
    absurd_attributes(&node, bytes);
    switch (how % 16) {
    case 2:
        node.input_count = absurd_size(bytes);
        break;
    case 3:
        node.inputs[how / 16 % 2] = absurd_size(bytes);
        break;
    case 4:
        node.name[0] = '\0';
        break;
    case 5:
        memset(node.name, 'n', sizeof node.name); /* without an end */
        break;
    case 6:
        memcpy(node.name, graph->nodes[take(bytes) % graph->count].name, sizeof node.name);
        break;
    default:
        break;
    }
    return node;
}

/* --- promises of building ---------------------------------------------------------------- */

static bool
name_is_allowed(const tl_graph *graph, const tl_node *node)
{
    if (node->name[0] == '\0' || memchr(node->name, '\0', sizeof node->name) == NULL) {
        return false;
    }
    for (size_t i = 0; i < graph->count; i++) {
        if (strcmp(graph->nodes[i].name, node->name) == 0) {
            return false;
        }
    }
    return true;
}

/* To compare with after a refusal: counts, and a sum over all that a node says. */
typedef struct stamp {
    size_t count, param_count;
    uint64_t sum;
} stamp;

static stamp
stamp_of(const tl_graph *graph)
{
    stamp result = {graph->count, graph->param_count, 0};
    for (size_t i = 0; i < graph->count; i++) {
        const tl_node *n = &graph->nodes[i];
        const size_t facts[] = {(size_t)n->op,    n->inputs[0],   n->input_count, n->shape.rank,
                                n->shape.dims[0], n->first_param, n->param_count};
        for (size_t k = 0; k < sizeof facts / sizeof facts[0]; k++) {
            result.sum = result.sum * 31 + facts[k];
        }
        for (const char *letter = n->name; *letter != '\0'; letter++) {
            result.sum = result.sum * 31 + (uint64_t)*letter;
        }
    }
    return result;
}

static bool
same_stamp(stamp a, stamp b)
{
    return a.count == b.count && a.param_count == b.param_count && a.sum == b.sum;
}

static void
report(random_case *c, const char *what, const tl_node *node)
{
    char op[32];
    (void)snprintf(op, sizeof op, "op %d", (int)node->op);
    if (c->fault[0] == '\0') {
        (void)snprintf(c->fault, sizeof c->fault, "%s: %s \"%.40s\": %s", what, op, node->name,
                       tl_detail());
    }
}

static tl_status
checked_add(random_case *c, tl_graph *graph, const tl_node *node)
{
    tl_shape shape;
    const bool expected = name_is_allowed(graph, node) && naive_shape(&shape, graph, node);
    const stamp before = stamp_of(graph);
    size_t id = TL_NONE;
    tl_detail_clear();
    const tl_status status = tl_graph_add(graph, &id, node);
    if (status != TL_OK) {
        if (status != TL_BAD_VALUE && status != TL_OUT_OF_MEMORY) {
            report(c, "a node was refused for no reason of its own", node);
        }
        if (tl_detail()[0] == '\0') {
            report(c, "a node was refused without a sentence", node);
        }
        if (id != TL_NONE || !same_stamp(before, stamp_of(graph))) {
            report(c, "a refused node changed the graph", node);
        }
        if (expected) {
            report(c, "a sound node was refused", node);
        }
        return status;
    }
    const tl_node *added = &graph->nodes[graph->count - 1];
    if (!expected) {
        report(c, "an impossible node was taken", node);
    } else if (id != before.count || graph->count != before.count + 1 ||
               graph->param_count != before.param_count + added->param_count) {
        report(c, "a node was counted wrongly", node);
    } else if (!tl_shape_equal(&shape, &added->shape)) {
        report(c, "a node has another shape than Keras's", node);
    }
    return status;
}

static void
checked_extend(random_case *c, const tl_graph *other, size_t input, bool inference)
{
    const stamp before = stamp_of(c->graph);
    size_t id = TL_NONE;
    tl_detail_clear();
    const bool fits = input < c->graph->count &&
                      tl_shape_equal(&c->graph->nodes[input].shape, &other->nodes[0].shape);
    const tl_status status = tl_graph_extend(c->graph, &id, other, input, inference);
    if (status != TL_OK) {
        if (id != TL_NONE || !same_stamp(before, stamp_of(c->graph)) ||
            tl_detail()[0] == '\0') {
            report(c, "a refused extension changed the graph", &other->nodes[0]);
        }
        return;
    }
    const size_t last = other->count == 1 ? input : c->graph->count - 1;
    if (!fits || id != last || c->graph->count != before.count + other->count - 1 ||
        c->graph->param_count != before.param_count + other->param_count ||
        !tl_shape_equal(&c->graph->nodes[id].shape, &other->nodes[other->count - 1].shape)) {
        report(c, "an extension is not what it copies", &other->nodes[0]);
    }
    for (size_t i = 1; i < other->count; i++) {
        const bool wanted = inference || other->nodes[i].inference;
        if (c->graph->nodes[before.count + i - 1].inference != wanted) {
            report(c, "an extension has lost its mode", &other->nodes[i]);
        }
    }
}

/* Appends a node that is no byte's choice. */
static void
append(random_case *c, tl_node node, const char *prefix, size_t input, size_t second)
{
    (void)snprintf(node.name, sizeof node.name, "%s%zu", prefix, c->graph->count);
    node.inputs[0] = input;
    node.inputs[1] = second == TL_NONE ? 0 : second;
    node.input_count = second == TL_NONE ? 1 : 2;
    (void)checked_add(c, c->graph, &node);
}

/* What a classifier ends in: pooling, dense layers, an activation; some of it, as `how` says.
 */
static void
read_head(random_case *c, size_t how, reader *bytes)
{
    const size_t a = take(bytes);
    const size_t units = 1 + a % 5;
    const tl_op poolings[] = {TL_OP_GLOBAL_AVERAGE_POOLING2D, TL_OP_GLOBAL_MAX_POOLING2D,
                              TL_OP_FLATTEN, TL_OP_FLATTEN};
    const bool pools = c->graph->nodes[c->graph->count - 1].shape.rank == 3;
    const tl_node layers[] = {
        {.op = how % 2 != 0 && pools ? TL_OP_DENSE : TL_OP_DROPOUT, .dense = {units, true}},
        {.op = poolings[a / 5 % 4]},
        {.op = TL_OP_DENSE, .dense = {2 + a / 32, true}},
        {.op = TL_OP_ACTIVATION, .activation = {(tl_function)(how / 2 % TL_FUNCTION_COUNT)}},
        {.op = TL_OP_DROPOUT, .dropout = {how % 3 == 0 ? 0.25F : 0}},
        {.op = TL_OP_DENSE, .dense = {1 + how % 6, how % 7 != 0}},
        {.op = TL_OP_ACTIVATION, .activation = {(tl_function)(a / 3 % TL_FUNCTION_COUNT)}},
    };
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        const tl_node node = layers[i];
        if ((i == 0 && node.op != TL_OP_DENSE) || (i == 1 && !pools) ||
            (i == 6 && how % 4 == 0)) {
            continue;
        }
        append(c, node, "head", c->graph->count - 1, TL_NONE);
        if (i == 3 && how % 5 == 2) { /* x + dense(x) */
            const size_t x = c->graph->count - 1;
            const size_t width = tl_shape_channels(&c->graph->nodes[x].shape);
            append(c, (tl_node){.op = TL_OP_DENSE, .dense = {width, true}}, "head", x, TL_NONE);
            append(c, (tl_node){.op = TL_OP_ADD}, "head", x, c->graph->count - 1);
        }
    }
}

/* What MobileNetV2 is made of: x + convolution(...(x)), and now and then x once more. */
static void
read_block(random_case *c, reader *bytes)
{
    const size_t a = take(bytes);
    size_t x = c->graph->count - 1;
    while (x > 0 && c->graph->nodes[x].shape.rank != 3) {
        x--;
    }
    if (c->graph->nodes[x].shape.rank != 3) {
        return;
    }
    const tl_op op = a % 2 != 0 ? TL_OP_DEPTHWISE_CONV2D : TL_OP_CONV2D;
    const size_t side = 1 + a / 2 % 3;
    const size_t channels = c->graph->nodes[x].shape.dims[2];
    const tl_convolution inner = {1 + a / 8, {side, side}, {1, 1}, true, false};
    const tl_convolution project = {channels, {1, 1}, {1, 1}, true, a % 5 == 0};
    const tl_node norm = {.op = TL_OP_BATCH_NORMALIZATION,
                          .inference = a % 9 == 0,
                          .batch_normalization = {1e-3F, 0.9F}};
    append(c, (tl_node){.op = op, .convolution = inner}, "block", x, TL_NONE);
    if (a % 7 >= 5) {
        append(c, norm, "block", c->graph->count - 1, TL_NONE);
    }
    append(c, (tl_node){.op = TL_OP_RELU, .relu = {6.0F}}, "block", c->graph->count - 1,
           TL_NONE);
    append(c, (tl_node){.op = TL_OP_CONV2D, .convolution = project}, "block",
           c->graph->count - 1, TL_NONE);
    if (a % 4 == 3) {
        append(c, norm, "block", c->graph->count - 1, TL_NONE);
    }
    append(c, (tl_node){.op = TL_OP_ADD}, "block", x, c->graph->count - 1);
    if (a % 3 == 0) {
        append(c, (tl_node){.op = TL_OP_ADD}, "block", c->graph->count - 1, x);
    }
}

/* --- whole cases ------------------------------------------------------------------------ */

static tl_shape
read_shape(reader *bytes)
{
    const size_t a = take(bytes);
    if (a == 255 && !bytes->sober) {
        tl_shape shape = {.rank = absurd_size(bytes)};
        for (size_t i = 0; i < TL_MAX_RANK; i++) {
            shape.dims[i] = absurd_size(bytes);
        }
        return shape;
    }
    if (a >= 224) {
        return tl_shape_1(1 + take(bytes) % 40);
    }
    const size_t b = take(bytes);
    const size_t channels = take(bytes);
    return tl_shape_3(1 + a % 11, 1 + b % 11, 1 + channels % (channels < 192 ? 12 : 36));
}

/* A few nodes behind an input of `shape`, to extend the graph by. */
static tl_status
read_part(tl_graph **out, random_case *c, reader *bytes, const tl_shape *shape)
{
    char prefix[32];
    tl_graph *part = NULL;
    const tl_status status = tl_graph_create(&part, "part", shape);
    if (status != TL_OK) {
        return status;
    }
    (void)snprintf(prefix, sizeof prefix, take(bytes) % 16 == 15 ? "n" : "p%zu_",
                   c->graph->count);
    for (size_t i = take(bytes) % MOST_PART_NODES; i > 0; i--) {
        const tl_node node = read_node(bytes, part, prefix);
        (void)checked_add(c, part, &node);
    }
    *out = part;
    return TL_OK;
}

static void
read_extension(random_case *c, reader *bytes)
{
    const size_t a = take(bytes);
    const size_t input = a >= 176 ? a % c->graph->count : c->graph->count - 1;
    tl_graph *part = NULL;
    const tl_shape other = tl_shape_3(2, 2, 2);
    const bool fits = a % 16 != 15;
    if (read_part(&part, c, bytes, fits ? &c->graph->nodes[input].shape : &other) != TL_OK) {
        return;
    }
    checked_extend(c, part, a == 175 ? c->graph->count : input, a / 16 % 2 != 0);
    tl_graph_destroy(part);
}

static tl_status
read_input(random_case *c, reader *bytes)
{
    const tl_shape shape = read_shape(bytes);
    const tl_status status = tl_graph_create(&c->graph, "input", &shape);
    if (status == TL_OK) {
        return TL_OK;
    }
    if (c->graph != NULL || tl_detail()[0] == '\0') {
        (void)snprintf(c->fault, sizeof c->fault, "an input was refused, but left a graph");
    }
    const tl_shape one = tl_shape_1(1);
    return tl_graph_create(&c->graph, "input", &one);
}

tl_status
random_case_read(random_case *out, const unsigned char *bytes, size_t count)
{
    tl_status status = TL_OK;
    reader r = {bytes, count, false};
    random_case c = {.seed = (unsigned)take(&r) % 64};
    const size_t run = take(&r);
    const size_t ends = take(&r);
    const size_t from = take(&r);
    const size_t to = take(&r);
    c.batch = 1 + run % 5;
    c.threads = 1 + run / 5 % 4;
    c.choices = (unsigned)(take(&r) + 256 * take(&r));
    const size_t head = take(&r);
    reader head_bytes = {&(const unsigned char){(unsigned char)take(&r)}, 1, true};
    r.sober = c.seed % 8 != 7;
    TL_TRY(read_input(&c, &r));
    while (r.left > 0 && c.graph->count < MOST_NODES) {
        if (*r.next >= 248) {
            (void)take(&r);
            read_extension(&c, &r);
        } else if (*r.next >= 228 && r.sober) {
            (void)take(&r);
            read_block(&c, &r);
        } else {
            const tl_node node = read_node(&r, c.graph, "n");
            (void)checked_add(&c, c.graph, &node);
        }
    }
    if (head >= 48) {
        read_head(&c, head - 48, &head_bytes);
    }
    c.stop = ends < 160 ? c.graph->count - 1 : to % c.graph->count;
    c.start = ends % 4 != 3 ? 0 : from % (c.stop + 1);
    *out = c;
done:
    return status;
}

void
random_case_clear(random_case *c)
{
    tl_graph_destroy(c->graph);
    c->graph = NULL;
}

bool
random_case_is_small(const random_case *c)
{
    tl_param_spec specs[TL_MAX_NODE_PARAMS];
    double elements = 0;
    double products = 0;
    for (size_t i = 0; i < c->graph->count; i++) {
        const tl_node *node = &c->graph->nodes[i];
        const size_t count = tl_node_params(c->graph, node, specs);
        const double values = (double)tl_shape_elements(&node->shape);
        elements += values;
        for (size_t k = 0; k < count; k++) {
            const double numbers = (double)tl_shape_elements(&specs[k].shape);
            const double places = values / (double)tl_shape_channels(&node->shape);
            elements += numbers;
            products += k == 0 ? numbers * places : 0;
        }
        if (node->op == TL_OP_MAX_POOLING2D || node->op == TL_OP_AVERAGE_POOLING2D) {
            /* the naive loops look at every pixel for every window */
            products += values *
                        (double)tl_shape_elements(&c->graph->nodes[node->inputs[0]].shape) /
                        (double)tl_shape_channels(&node->shape);
        }
    }
    return elements * (double)c->batch < 3 * MOST_ELEMENTS && elements < MOST_ELEMENTS &&
           products * (double)c->batch < MOST_PRODUCTS;
}

const char *
random_case_describe(char *text, size_t size, const random_case *c)
{
    int used = snprintf(text, size, "start %zu, stop %zu, batch %zu, threads %zu, seed %u",
                        c->start, c->stop, c->batch, c->threads, c->seed);
    for (size_t i = 0; i < c->graph->count && used >= 0 && (size_t)used < size; i++) {
        const tl_node *n = &c->graph->nodes[i];
        const tl_convolution *a = &n->convolution;
        const tl_shape *s = &n->shape;
        used += snprintf(text + used, size - (size_t)used,
                         "\n%2zu %s of %zu, %zu -> (%zu, %zu, %zu)", i, tl_op_name(n->op),
                         n->inputs[0], n->inputs[1], s->dims[0], s->dims[1], s->dims[2]);
        if (used >= 0 && (size_t)used < size &&
            (n->op == TL_OP_CONV2D || n->op == TL_OP_DEPTHWISE_CONV2D)) {
            used += snprintf(text + used, size - (size_t)used,
                             " kernel (%zu, %zu), strides (%zu, %zu), %s, %s", a->kernel[0],
                             a->kernel[1], a->strides[0], a->strides[1],
                             a->same ? "same" : "valid", a->use_bias ? "bias" : "no bias");
        } else if (used >= 0 && (size_t)used < size && n->op == TL_OP_ZERO_PADDING2D) {
            used +=
                snprintf(text + used, size - (size_t)used, " (%zu, %zu), (%zu, %zu)",
                         n->padding.top, n->padding.bottom, n->padding.left, n->padding.right);
        }
    }
    return text;
}
