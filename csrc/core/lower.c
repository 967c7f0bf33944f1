/* Folding and fusing, one node at a time: each node either joins the step that makes its
 * input or becomes a step of its own. */
#include "core/lower.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/arena.h"
#include "core/picture_node.h"

static const char *const kind_names[TL_STEP_KIND_COUNT] = {
    [TL_STEP_CONV2D] = "conv2d",
    [TL_STEP_DEPTHWISE_CONV2D] = "depthwise_conv2d",
    [TL_STEP_DENSE] = "dense",
    [TL_STEP_AFFINE] = "affine",
    [TL_STEP_ADD] = "add",
    [TL_STEP_ACTIVATION] = "activation",
    [TL_STEP_ZERO_PADDING2D] = "zero_padding2d",
    [TL_STEP_GLOBAL_AVERAGE_POOLING2D] = "global_average_pooling2d",
    [TL_STEP_GLOBAL_MAX_POOLING2D] = "global_max_pooling2d",
    [TL_STEP_FLATTEN] = "flatten",
    [TL_STEP_CONCATENATE] = "concatenate",
    [TL_STEP_MAX_POOLING2D] = "max_pooling2d",
    [TL_STEP_AVERAGE_POOLING2D] = "average_pooling2d",
    [TL_STEP_RESCALING] = "rescaling",
    [TL_STEP_CROP] = "crop",
    [TL_STEP_RESIZING] = "resizing",
};

const char *
tl_step_kind_name(tl_step_kind kind)
{
    return kind_names[kind];
}

/* --- working state ---------------------------------------------------------------------- */

enum { NOT_NEEDED = 0, NEEDED = 1 };

typedef struct lowering {
    const tl_graph *graph;
    size_t start;
    tl_lowered *lowered;
    size_t *value;     /* per node: the step that makes its value; TL_NONE for start */
    size_t *consumers; /* per node: how many needed nodes read it */
    unsigned char *needed;
} lowering;

/* Marks what `stop` needs, from behind, and counts who reads what. */
static tl_status
mark_needed(lowering *l, size_t stop)
{
    l->needed[stop] = NEEDED;
    for (size_t i = stop + 1; i-- > 0;) {
        const tl_node *node = &l->graph->nodes[i];
        if (l->needed[i] == NOT_NEEDED || i == l->start) {
            continue;
        }
        if (i < l->start || node->op == TL_OP_INPUT) {
            return tl_fail(TL_BAD_VALUE,
                           "the value of \"%s\" cannot be computed from \"%s\" alone",
                           l->graph->nodes[stop].name, l->graph->nodes[l->start].name);
        }
        for (size_t k = 0; k < node->input_count; k++) {
            l->needed[node->inputs[k]] = NEEDED;
            l->consumers[node->inputs[k]]++;
        }
    }
    return TL_OK;
}

/* The step that makes the node's input, if nobody else reads that value; else NULL. */
static tl_step *
sole_producer(lowering *l, size_t input)
{
    if (l->consumers[input] != 1 || input == l->start || l->value[input] == TL_NONE) {
        return NULL;
    }
    return &l->lowered->steps[l->value[input]];
}

static bool
has_weights(tl_step_kind kind)
{
    return kind == TL_STEP_CONV2D || kind == TL_STEP_DEPTHWISE_CONV2D ||
           kind == TL_STEP_DENSE || kind == TL_STEP_AFFINE;
}

static tl_step *
new_step(lowering *l, size_t id, tl_step_kind kind)
{
    const tl_node *node = &l->graph->nodes[id];
    tl_step *step = &l->lowered->steps[l->lowered->count];
    const size_t input = node->inputs[0];
    *step = (tl_step){
        .kind = kind,
        .node = id,
        .src = l->value[input],
        .residual = TL_NONE,
        .src_shape = l->graph->nodes[input].shape,
        .dst_shape = node->shape,
        .kernel = {1, 1},
        .strides = {1, 1},
        .kernel_param = TL_NONE,
        .bias_param = TL_NONE,
        .gamma_param = TL_NONE,
    };
    l->value[id] = l->lowered->count++;
    return step;
}

/* The node's value is now what `step` makes. */
static void
join(lowering *l, size_t id, tl_step *step)
{
    step->node = id;
    step->dst_shape = l->graph->nodes[id].shape;
    l->value[id] = (size_t)(step - l->lowered->steps);
}

/* --- one node --------------------------------------------------------------------------- */

/* Takes a lone zero padding before the convolution over: the list shrinks by that step. */
static void
absorb_padding(lowering *l, size_t input, tl_padding *padding, tl_shape *src_shape, size_t *src)
{
    tl_step *pad = sole_producer(l, input);
    if (pad == NULL || pad->kind != TL_STEP_ZERO_PADDING2D ||
        l->value[input] != l->lowered->count - 1) {
        return;
    }
    padding->top += pad->padding.top;
    padding->bottom += pad->padding.bottom;
    padding->left += pad->padding.left;
    padding->right += pad->padding.right;
    *src_shape = pad->src_shape;
    *src = pad->src;
    l->lowered->count--;
}

static void
lower_convolution(lowering *l, size_t id)
{
    const tl_node *node = &l->graph->nodes[id];
    const tl_convolution *c = &node->convolution;
    const size_t input = node->inputs[0];
    tl_padding padding = tl_convolution_padding(c, &l->graph->nodes[input].shape);
    tl_shape src_shape = l->graph->nodes[input].shape;
    size_t src = l->value[input];

    absorb_padding(l, input, &padding, &src_shape, &src);
    tl_step *step =
        new_step(l, id, node->op == TL_OP_CONV2D ? TL_STEP_CONV2D : TL_STEP_DEPTHWISE_CONV2D);
    step->src = src;
    step->src_shape = src_shape;
    step->padding = padding;
    memcpy(step->kernel, c->kernel, sizeof step->kernel);
    memcpy(step->strides, c->strides, sizeof step->strides);
    step->kernel_param = node->first_param;
    step->bias_param = c->use_bias ? node->first_param + 1 : TL_NONE;
}

static void
lower_batch_norm(lowering *l, size_t id)
{
    const tl_node *node = &l->graph->nodes[id];
    tl_step *step = sole_producer(l, node->inputs[0]);
    const bool folds = step != NULL && has_weights(step->kind) && !step->has_residual &&
                       step->function == TL_LINEAR && step->gamma_param == TL_NONE;
    if (folds) {
        join(l, id, step);
    } else {
        step = new_step(l, id, TL_STEP_AFFINE);
    }
    step->gamma_param = node->first_param;
    step->epsilon = node->batch_normalization.epsilon;
}

static tl_status
lower_activation(lowering *l, size_t id, tl_function function)
{
    tl_step *step = sole_producer(l, l->graph->nodes[id].inputs[0]);
    const bool pointwise = function == TL_RELU || function == TL_RELU6;
    if (step != NULL && pointwise && has_weights(step->kind) && step->function == TL_LINEAR &&
        !step->has_residual) {
        join(l, id, step);
    } else {
        step = new_step(l, id, TL_STEP_ACTIVATION);
    }
    step->function = function;
    return TL_OK;
}

static tl_status
lower_relu(lowering *l, size_t id)
{
    const float limit = l->graph->nodes[id].relu.max_value;
    if (isinf(limit)) {
        return lower_activation(l, id, TL_RELU);
    }
    if (limit == 6.0F) {
        return lower_activation(l, id, TL_RELU6);
    }
    return tl_fail(TL_UNSUPPORTED, "relu \"%s\" has max_value %g; 6 and None can be run",
                   l->graph->nodes[id].name, (double)limit);
}

static void
lower_add(lowering *l, size_t id)
{
    const tl_node *node = &l->graph->nodes[id];
    const size_t a = node->inputs[0];
    const size_t b = node->inputs[1];
    /* The input computed last can carry the other one as its residual. */
    const bool b_last =
        l->value[b] != TL_NONE && (l->value[a] == TL_NONE || l->value[b] > l->value[a]);
    const size_t carrier = b_last ? b : a;
    const size_t other = b_last ? a : b;
    tl_step *step = a == b ? NULL : sole_producer(l, carrier);
    if (step != NULL && step->kind == TL_STEP_CONV2D && step->function == TL_LINEAR &&
        !step->has_residual) {
        join(l, id, step);
        step->residual = l->value[other];
    } else {
        step = new_step(l, id, TL_STEP_ADD);
        step->residual = l->value[b];
    }
    step->has_residual = true;
}

static void
lower_concatenate(lowering *l, size_t id)
{
    const tl_node *node = &l->graph->nodes[id];
    tl_step *step = new_step(l, id, TL_STEP_CONCATENATE);
    step->other_count = node->input_count - 1;
    for (size_t k = 0; k < step->other_count; k++) {
        const size_t input = node->inputs[k + 1];
        step->others[k] = l->value[input];
        step->other_channels[k] = tl_shape_channels(&l->graph->nodes[input].shape);
    }
}

static void
lower_pooling(lowering *l, size_t id)
{
    const tl_node *node = &l->graph->nodes[id];
    tl_step *step = new_step(l, id,
                             node->op == TL_OP_MAX_POOLING2D ? TL_STEP_MAX_POOLING2D
                                                             : TL_STEP_AVERAGE_POOLING2D);
    memcpy(step->kernel, node->window.pool, sizeof step->kernel);
    memcpy(step->strides, node->window.strides, sizeof step->strides);
    step->padding = tl_window_padding(node, &step->src_shape);
}

static void
lower_dense(lowering *l, size_t id)
{
    const tl_node *node = &l->graph->nodes[id];
    tl_step *step = new_step(l, id, TL_STEP_DENSE);
    step->kernel_param = node->first_param;
    step->bias_param = node->dense.use_bias ? node->first_param + 1 : TL_NONE;
}

/* The node's value, and who reads it, is its input's. */
static void
pass_through(lowering *l, size_t id)
{
    const size_t input = l->graph->nodes[id].inputs[0];
    l->value[id] = l->value[input];
    l->consumers[id] += l->consumers[input] - 1;
}

/* Nothing where the picture has the wanted size already, and a copy where it is cut out. */
static void
lower_resizing(lowering *l, size_t id)
{
    const tl_node *node = &l->graph->nodes[id];
    const tl_shape *input = &l->graph->nodes[node->inputs[0]].shape;
    const tl_region region = tl_picture_region(node, input);
    const bool keeps_size =
        region.height == node->shape.dims[0] && region.width == node->shape.dims[1];
    if (keeps_size && tl_shape_equal(input, &node->shape)) {
        pass_through(l, id);
        return;
    }
    const bool within = region.top >= 0 && region.left >= 0;
    tl_step *step = new_step(l, id, keeps_size && within ? TL_STEP_CROP : TL_STEP_RESIZING);
    step->region = region;
    step->resizing = tl_picture_resizing(node);
}

static tl_status
lower_node(lowering *l, size_t id)
{
    const tl_node *node = &l->graph->nodes[id];
    switch (node->op) {
    case TL_OP_CONV2D:
    case TL_OP_DEPTHWISE_CONV2D:
        lower_convolution(l, id);
        break;
    case TL_OP_BATCH_NORMALIZATION:
        lower_batch_norm(l, id);
        break;
    case TL_OP_RELU:
        return lower_relu(l, id);
    case TL_OP_ACTIVATION:
        return lower_activation(l, id, node->activation.function);
    case TL_OP_ADD:
        lower_add(l, id);
        break;
    case TL_OP_ZERO_PADDING2D:
        new_step(l, id, TL_STEP_ZERO_PADDING2D)->padding = node->padding;
        break;
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
        (void)new_step(l, id, TL_STEP_GLOBAL_AVERAGE_POOLING2D);
        break;
    case TL_OP_GLOBAL_MAX_POOLING2D:
        (void)new_step(l, id, TL_STEP_GLOBAL_MAX_POOLING2D);
        break;
    case TL_OP_FLATTEN:
        (void)new_step(l, id, TL_STEP_FLATTEN);
        break;
    case TL_OP_DENSE:
        lower_dense(l, id);
        break;
    case TL_OP_CONCATENATE:
        lower_concatenate(l, id);
        break;
    case TL_OP_MAX_POOLING2D:
    case TL_OP_AVERAGE_POOLING2D:
        lower_pooling(l, id);
        break;
    case TL_OP_RESCALING:
        new_step(l, id, TL_STEP_RESCALING)->rescaling = node->rescaling;
        break;
    case TL_OP_RESIZING:
    case TL_OP_CENTER_CROP:
    case TL_OP_RANDOM_CROP: /* in inference the middle */
        lower_resizing(l, id);
        break;
    case TL_OP_SPATIAL_DROPOUT2D:
    case TL_OP_DROPOUT: /* nothing in inference, as what follows */
    case TL_OP_RANDOM_FLIP:
    case TL_OP_RANDOM_ROTATION:
    case TL_OP_RANDOM_ZOOM:
    case TL_OP_RANDOM_TRANSLATION:
    case TL_OP_RANDOM_CONTRAST:
    case TL_OP_RANDOM_BRIGHTNESS:
        pass_through(l, id);
        break;
    case TL_OP_INPUT:
    case TL_OP_COUNT:
        assert(!"an input has no step");
        break;
    }
    return TL_OK;
}

tl_status
tl_lower(tl_lowered **out, const tl_graph *graph, size_t start, size_t stop)
{
    tl_status status = TL_OUT_OF_MEMORY;
    lowering l = {.graph = graph, .start = start};

    if (start >= graph->count || stop >= graph->count || start > stop) {
        return tl_fail(TL_BAD_VALUE,
                       "start and stop must be nodes in order, not %zu and %zu of %zu", start,
                       stop, graph->count);
    }
    l.value = tl_alloc(graph->count, sizeof *l.value);
    l.consumers = tl_alloc(graph->count, sizeof *l.consumers);
    l.needed = tl_alloc(graph->count, sizeof *l.needed);
    l.lowered = tl_alloc(1, sizeof *l.lowered);
    if (l.value == NULL || l.consumers == NULL || l.needed == NULL || l.lowered == NULL) {
        goto done;
    }
    l.lowered->steps = tl_alloc(graph->count, sizeof *l.lowered->steps);
    if (l.lowered->steps == NULL) {
        goto done;
    }
    TL_TRY(mark_needed(&l, stop));
    l.value[start] = TL_NONE;
    for (size_t i = start + 1; i <= stop; i++) {
        if (l.needed[i] == NEEDED) {
            TL_TRY(lower_node(&l, i));
        }
    }

    *out = l.lowered; /* handed over */
    l.lowered = NULL;
    status = TL_OK;
done:
    tl_lowered_destroy(l.lowered);
    tl_free(l.needed);
    tl_free(l.consumers);
    tl_free(l.value);
    return status;
}

void
tl_lowered_destroy(tl_lowered *lowered)
{
    if (lowered != NULL) {
        tl_free(lowered->steps);
        tl_free(lowered);
    }
}

/* --- folding ---------------------------------------------------------------------------- */

size_t
tl_step_bias_count(const tl_step *step)
{
    return has_weights(step->kind) ? tl_shape_channels(&step->dst_shape) : 0;
}

size_t
tl_step_kernel_count(const tl_step *step)
{
    const size_t channels = tl_shape_channels(&step->src_shape);
    switch (step->kind) {
    case TL_STEP_CONV2D:
        return step->kernel[0] * step->kernel[1] * channels *
               tl_shape_channels(&step->dst_shape);
    case TL_STEP_DEPTHWISE_CONV2D:
        return step->kernel[0] * step->kernel[1] * channels;
    case TL_STEP_DENSE:
        return channels * tl_shape_channels(&step->dst_shape);
    case TL_STEP_AFFINE:
        return channels;
    default:
        return 0;
    }
}

enum { FOLD_BLOCK = 64 };

void
tl_step_fold(const tl_step *step, float *kernel, float *bias, const float *const *tensors)
{
    const size_t channels = tl_step_bias_count(step);
    const size_t rows = channels == 0 ? 0 : tl_step_kernel_count(step) / channels;
    const float *weights = step->kernel_param == TL_NONE ? NULL : tensors[step->kernel_param];
    double scale[FOLD_BLOCK];
    /* The output channel runs fastest in every kernel's layout. */
    for (size_t first = 0; first < channels; first += FOLD_BLOCK) {
        const size_t end = first + FOLD_BLOCK < channels ? first + FOLD_BLOCK : channels;
        for (size_t c = first; c < end; c++) {
            double shift =
                step->bias_param == TL_NONE ? 0 : (double)tensors[step->bias_param][c];
            scale[c - first] = 1;
            if (step->gamma_param != TL_NONE) {
                const double gamma = (double)tensors[step->gamma_param][c];
                const double beta = (double)tensors[step->gamma_param + 1][c];
                const double mean = (double)tensors[step->gamma_param + 2][c];
                const double variance = (double)tensors[step->gamma_param + 3][c];
                scale[c - first] = gamma / sqrt(variance + (double)step->epsilon);
                shift = (shift - mean) * scale[c - first] + beta;
            }
            bias[c] = (float)shift;
        }
        for (size_t r = 0; r < rows; r++) {
            for (size_t c = first; c < end; c++) {
                const double weight = weights == NULL ? 1 : (double)weights[r * channels + c];
                kernel[r * channels + c] = (float)(weight * scale[c - first]);
            }
        }
    }
}
