/* Plain loops over a graph's nodes. To add an op, add its shape and its loop. */
#include "naive_graph.h"

#include <math.h>
#include <string.h>

#include "core/arena.h"
#include "core/random.h"
#include "reference_ops.h"

static const double UNIT = 0x1p-24;

tl_status
naive_params(double ***out, const tl_parameters *parameters)
{
    const size_t heads = parameters->count * sizeof(double *);
    size_t numbers = 0;
    for (size_t i = 0; i < parameters->count; i++) {
        numbers += parameters->tensors[i].count;
    }
    double **params = tl_alloc(1, heads + numbers * sizeof(double));
    if (params == NULL) {
        return TL_OUT_OF_MEMORY;
    }
    double *next = (double *)(params + parameters->count);
    for (size_t i = 0; i < parameters->count; i++) {
        params[i] = next;
        for (size_t k = 0; k < parameters->tensors[i].count; k++) {
            *next++ = (double)parameters->tensors[i].data[k];
        }
    }
    *out = params;
    return TL_OK;
}

/* --- shapes ----------------------------------------------------------------------------- */

static const size_t LIMIT = 1 << 16;

/* Keras: ceil(size / stride), or ceil((size - kernel + 1) / stride). */
static size_t
convolved(size_t size, size_t kernel, size_t stride, bool same)
{
    if (!same && kernel > size) {
        return 0;
    }
    const size_t places = same ? size : size - kernel + 1;
    return places / stride + (places % stride != 0);
}

static bool
convolution_shape(tl_shape *shape, const tl_node *node, const tl_shape *input)
{
    const tl_convolution *c = &node->convolution;
    const bool depthwise = node->op == TL_OP_DEPTHWISE_CONV2D;
    *shape = tl_shape_3(0, 0, depthwise ? input->dims[2] : c->filters);
    for (size_t axis = 0; axis < 2; axis++) {
        const size_t kernel = c->kernel[axis];
        const size_t stride = c->strides[axis];
        if (kernel < 1 || kernel > LIMIT || stride < 1 || stride > LIMIT) {
            return false;
        }
        shape->dims[axis] = convolved(input->dims[axis], kernel, stride, c->same);
    }
    return true;
}

static bool
window_shape(tl_shape *shape, const tl_node *node, const tl_shape *input)
{
    *shape = *input;
    for (size_t axis = 0; axis < 2; axis++) {
        const size_t pool = node->window.pool[axis];
        const size_t stride = node->window.strides[axis];
        if (pool < 1 || pool > LIMIT || stride < 1 || stride > LIMIT) {
            return false;
        }
        shape->dims[axis] = convolved(input->dims[axis], pool, stride, node->window.same);
    }
    return true;
}

/* The shape of the first input, with as many channels as all have; the others must agree. */
static bool
concatenated_shape(tl_shape *shape, const tl_graph *graph, const tl_node *node)
{
    long double channels = 0;
    const tl_shape *first = &graph->nodes[node->inputs[0]].shape;
    const size_t last = first->rank - 1;
    *shape = *first;
    shape->dims[last] = 0;
    for (size_t k = 0; k < node->input_count; k++) {
        const tl_shape *input = &graph->nodes[node->inputs[k]].shape;
        if (input->rank != first->rank) {
            return false;
        }
        for (size_t i = 0; i < last; i++) {
            if (input->dims[i] != first->dims[i]) {
                return false;
            }
        }
        channels += (long double)input->dims[last];
        shape->dims[last] += input->dims[last];
    }
    return channels < 0x1p62L;
}

/* Every size times four bytes must fit, as in long double it is easily said. */
static bool
fits(const tl_shape *shape)
{
    long double product = 4;
    for (size_t i = 0; i < shape->rank; i++) {
        if (shape->dims[i] == 0) {
            return false;
        }
        product *= (long double)shape->dims[i];
    }
    return product < 0x1p64L;
}

static bool
params_fit(const tl_node *node, const tl_shape *input, const tl_shape *shape)
{
    const size_t channels = input->dims[input->rank - 1];
    const tl_convolution *c = &node->convolution;
    if (node->op == TL_OP_CONV2D || node->op == TL_OP_DEPTHWISE_CONV2D) {
        const size_t filters = node->op == TL_OP_CONV2D ? shape->dims[2] : 1;
        return fits(&(tl_shape){4, {c->kernel[0], c->kernel[1], channels, filters}});
    }
    if (node->op == TL_OP_DENSE) {
        return fits(&(tl_shape){2, {channels, node->dense.units, 0, 0}});
    }
    return true;
}

static bool
padded_shape(tl_shape *shape, const tl_node *node, const tl_shape *input)
{
    const tl_padding *p = &node->padding;
    *shape = tl_shape_3(input->dims[0] + p->top + p->bottom,
                        input->dims[1] + p->left + p->right, input->dims[2]);
    return p->top <= LIMIT && p->bottom <= LIMIT && p->left <= LIMIT && p->right <= LIMIT;
}

static bool
numbers_are_allowed(const tl_node *node)
{
    switch (node->op) {
    case TL_OP_BATCH_NORMALIZATION:
        return node->batch_normalization.epsilon > 0 && node->batch_normalization.epsilon < 1 &&
               node->batch_normalization.momentum >= 0 &&
               node->batch_normalization.momentum <= 1;
    case TL_OP_RELU:
        return node->relu.max_value > 0;
    case TL_OP_DROPOUT:
    case TL_OP_SPATIAL_DROPOUT2D:
        return node->dropout.rate >= 0 && node->dropout.rate < 1;
    case TL_OP_ACTIVATION:
        return node->activation.function < TL_FUNCTION_COUNT;
    default: /* random graphs set none of what a layer for pictures must have */
        return node->op < TL_OP_RESCALING;
    }
}

bool
naive_shape(tl_shape *shape, const tl_graph *graph, const tl_node *node)
{
    bool allowed = numbers_are_allowed(node);
    const bool many = node->op == TL_OP_CONCATENATE;
    const size_t least = many || node->op == TL_OP_ADD ? 2 : 1;
    if (node->op == TL_OP_INPUT || node->op >= TL_OP_COUNT || node->input_count < least ||
        node->input_count > (many ? 8 : least)) {
        return false;
    }
    for (size_t k = 0; k < node->input_count; k++) {
        if (node->inputs[k] >= graph->count) {
            return false;
        }
    }
    const tl_shape *input = &graph->nodes[node->inputs[0]].shape;
    const bool image = input->rank == 3;
    *shape = *input;
    switch (node->op) {
    case TL_OP_CONV2D:
    case TL_OP_DEPTHWISE_CONV2D:
        allowed = image && convolution_shape(shape, node, input);
        break;
    case TL_OP_ZERO_PADDING2D:
        allowed = image && padded_shape(shape, node, input);
        break;
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        allowed = image;
        *shape = node->pooling.keepdims ? tl_shape_3(1, 1, input->dims[2])
                                        : tl_shape_1(input->dims[input->rank - 1]);
        break;
    case TL_OP_MAX_POOLING2D:
    case TL_OP_AVERAGE_POOLING2D:
        allowed = image && window_shape(shape, node, input);
        break;
    case TL_OP_SPATIAL_DROPOUT2D:
        allowed = allowed && image;
        break;
    case TL_OP_CONCATENATE:
        allowed = concatenated_shape(shape, graph, node);
        break;
    case TL_OP_FLATTEN:
        *shape = tl_shape_1(tl_shape_elements(input));
        break;
    case TL_OP_DENSE:
        shape->dims[shape->rank - 1] = node->dense.units;
        break;
    case TL_OP_ADD:
        allowed = tl_shape_equal(input, &graph->nodes[node->inputs[1]].shape);
        break;
    default:
        break;
    }
    return allowed && fits(shape) && params_fit(node, input, shape);
}

/* --- one node --------------------------------------------------------------------------- */

/* A value under way: numbers and the estimates of their errors. */
typedef struct field {
    double *x;
    double *e;
} field;

typedef struct walk {
    const tl_graph *graph;
    double *const *params;
    const naive_mode *mode;
    field *values; /* of one row */
    /* of the batch norm at hand, if it takes the batch's: one number a channel each */
    const double *mean, *variance;
    const double *mean_error, *variance_error;
} walk;

/* Nothing is promised of what float32 may not hold, nor of what is made of it: its error is
 * infinite. */
static const double HUGE_NUMBER = 1e37;

/* A sum of n products: rounding of each partial sum, and of weights that were folded. */
static double
sum_error(double inherited_squares, double magnitude, size_t n)
{
    if (!(magnitude < HUGE_NUMBER)) {
        return INFINITY;
    }
    return sqrt(inherited_squares + (double)(n + 4) * magnitude * magnitude);
}

/* Keras's same: the odd pixel behind; sizes here are small. */
static size_t
pixels_before(size_t size, size_t kernel, size_t stride, bool same)
{
    if (!same) {
        return 0;
    }
    const long outputs = (long)convolved(size, kernel, stride, true);
    const long total = (outputs - 1) * (long)stride + (long)kernel - (long)size;
    return total > 0 ? (size_t)total / 2 : 0;
}

typedef struct window {
    const tl_node *node;
    const tl_shape *src;
    const double *kernel; /* (kh, kw, channels, filters), depthwise (kh, kw, channels, 1) */
    size_t top, left;
} window;

/* What one output of a convolution sums up. */
typedef struct tally {
    double x, magnitude, squares;
    size_t n;
} tally;

/* One input channel of one window: its errors count as equal. */
static void
add_channel(tally *sum, const window *w, field src, size_t oh, size_t ow, size_t c,
            size_t weight, size_t stride)
{
    const tl_convolution *a = &w->node->convolution;
    const size_t *s = w->src->dims;
    double error = 0;
    for (size_t kh = 0; kh < a->kernel[0]; kh++) {
        const size_t h = oh * a->strides[0] + kh;
        for (size_t kw = 0; kw < a->kernel[1]; kw++) {
            const size_t v = ow * a->strides[1] + kw;
            if (h < w->top || h >= w->top + s[0] || v < w->left || v >= w->left + s[1]) {
                continue;
            }
            const size_t at = ((h - w->top) * s[1] + v - w->left) * s[2] + c;
            const double k = w->kernel[(kh * a->kernel[1] + kw) * stride + weight];
            sum->x += k * src.x[at];
            sum->magnitude += fabs(k * src.x[at]);
            error += fabs(k) * src.e[at];
            sum->n++;
        }
    }
    sum->squares += error * error;
}

static void
run_convolution(const walk *run, const tl_node *node, field dst, field src)
{
    const tl_shape *input = &run->graph->nodes[node->inputs[0]].shape;
    const tl_convolution *a = &node->convolution;
    const size_t channels = input->dims[2];
    const size_t *d = node->shape.dims;
    const bool depthwise = node->op == TL_OP_DEPTHWISE_CONV2D;
    const double *bias = a->use_bias ? run->params[node->first_param + 1] : NULL;
    const window w = {node, input, run->params[node->first_param],
                      pixels_before(input->dims[0], a->kernel[0], a->strides[0], a->same),
                      pixels_before(input->dims[1], a->kernel[1], a->strides[1], a->same)};
    for (size_t i = 0; i < d[0] * d[1] * d[2]; i++) {
        const size_t o = i % d[2];
        const size_t ow = i / d[2] % d[1];
        const size_t oh = i / d[2] / d[1];
        const double b = bias == NULL ? 0 : bias[o];
        tally sum = {.x = b, .magnitude = fabs(b)};
        if (depthwise) {
            add_channel(&sum, &w, src, oh, ow, o, o, channels);
        }
        for (size_t c = 0; !depthwise && c < channels; c++) {
            add_channel(&sum, &w, src, oh, ow, c, c * d[2] + o, channels * d[2]);
        }
        dst.x[i] = sum.x;
        dst.e[i] = sum_error(sum.squares, sum.magnitude, sum.n);
    }
}

static void
run_dense(const walk *run, const tl_node *node, field dst, field src)
{
    const tl_shape *input = &run->graph->nodes[node->inputs[0]].shape;
    const size_t in = input->dims[input->rank - 1];
    const size_t out = node->dense.units;
    const double *kernel = run->params[node->first_param];
    for (size_t i = 0; i < tl_shape_elements(&node->shape); i++) {
        const size_t row = i / out * in;
        const double bias =
            node->dense.use_bias ? run->params[node->first_param + 1][i % out] : 0;
        tally sum = {.x = bias, .magnitude = fabs(bias)};
        for (size_t c = 0; c < in; c++) {
            const double k = kernel[c * out + i % out];
            sum.x += k * src.x[row + c];
            sum.magnitude += fabs(k * src.x[row + c]);
            sum.squares += k * k * src.e[row + c] * src.e[row + c];
        }
        dst.x[i] = sum.x;
        dst.e[i] = sum_error(sum.squares, sum.magnitude, in);
    }
}

static void
run_batch_norm(const walk *run, const tl_node *node, field dst, field src)
{
    double *const *p = run->params + node->first_param; /* gamma, beta, mean, variance */
    const size_t channels = tl_shape_channels(&node->shape);
    const double epsilon = (double)node->batch_normalization.epsilon;
    const double *means = run->mean == NULL ? p[2] : run->mean;
    const double *variances = run->mean == NULL ? p[3] : run->variance;
    for (size_t i = 0; i < tl_shape_elements(&node->shape); i++) {
        const size_t c = i % channels;
        const double scale = p[0][c] / sqrt(variances[c] + epsilon);
        dst.x[i] = (src.x[i] - means[c]) * scale + p[1][c];
        dst.e[i] = fabs(scale) * src.e[i] +
                   3 * (fabs(scale) * (fabs(src.x[i]) + fabs(means[c])) + fabs(p[1][c]));
        if (run->mean != NULL) {
            const double off = run->variance_error[c] / (variances[c] + epsilon) / 2;
            dst.e[i] += fabs(scale) * run->mean_error[c] + fabs(dst.x[i] - p[1][c]) * off;
        }
    }
}

static double
clamp(double x, double least, double most)
{
    return x < least ? least : x > most ? most : x;
}

static void
run_softmax(field dst, field src, size_t rows, size_t cols, bool logarithm)
{
    for (size_t r = 0; r < rows; r++) {
        const double *x = src.x + r * cols;
        double largest = x[0];
        double sum = 0;
        double error = 0;
        for (size_t c = 0; c < cols; c++) {
            largest = fmax(largest, x[c]);
            error = fmax(error, src.e[r * cols + c]);
        }
        for (size_t c = 0; c < cols; c++) {
            sum += exp(x[c] - largest);
        }
        for (size_t c = 0; c < cols; c++) {
            const double p = exp(x[c] - largest) / sum;
            const double off = 2 * error + (double)cols + 8 + largest - x[c];
            dst.x[r * cols + c] = logarithm ? x[c] - largest - log(sum) : p;
            dst.e[r * cols + c] = !isfinite(error) ? INFINITY : logarithm ? off : p * off;
        }
    }
}

/* The error of y = function(x): that of x times the steepest slope, and the function's own
 * rounding. */
static double
function_error(tl_function function, double x, double y, double error)
{
    switch (function) {
    case TL_SIGMOID:
        return error / 4 + 4 * y;
    case TL_SELU:
        return 1.76 * error + 4 * fabs(y);
    case TL_SILU:
    case TL_MISH:
        return 1.1 * error + 8 * fabs(y);
    case TL_GELU: /* far out erfc turns the rounding of x into a multiple of it */
        return 1.13 * error + (8 + 2 * x * x) * fabs(y);
    case TL_HARD_SIGMOID:
        return error / 6 + 2;
    case TL_HARD_SILU: /* x + 3 is rounded at the size of 3 */
        return 1.5 * error + 4 * fabs(y) + fmin(fabs(x), 4);
    case TL_EXPONENTIAL:
        return y * (2 * error + 4);
    case TL_LINEAR:
    case TL_RELU:
    case TL_RELU6:
        return error;
    default: /* slopes of at most 1 */
        return error + 4 * fabs(y);
    }
}

static void
run_function(field dst, field src, const tl_shape *shape, tl_function function)
{
    const size_t count = tl_shape_elements(shape);
    const size_t cols = tl_shape_channels(shape);
    if (function == TL_SOFTMAX || function == TL_LOG_SOFTMAX) {
        run_softmax(dst, src, count / cols, cols, function == TL_LOG_SOFTMAX);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        dst.x[i] = reference_function(function, src.x[i]);
        dst.e[i] = isfinite(src.e[i]) ? function_error(function, src.x[i], dst.x[i], src.e[i])
                                      : INFINITY;
    }
}

static void
run_padding(const walk *run, const tl_node *node, field dst, field src)
{
    const size_t *s = run->graph->nodes[node->inputs[0]].shape.dims;
    const size_t *d = node->shape.dims;
    for (size_t i = 0; i < s[0] * s[1] * s[2]; i++) {
        const size_t h = i / s[2] / s[1] + node->padding.top;
        const size_t w = i / s[2] % s[1] + node->padding.left;
        const size_t at = (h * d[1] + w) * d[2] + i % s[2];
        dst.x[at] = src.x[i]; /* the rest is zero already */
        dst.e[at] = src.e[i];
    }
}

static void
run_pooling(const walk *run, const tl_node *node, field dst, field src)
{
    const size_t *s = run->graph->nodes[node->inputs[0]].shape.dims;
    const size_t pixels = s[0] * s[1];
    for (size_t c = 0; c < s[2]; c++) {
        double sum = 0;
        double magnitude = 0;
        double error = 0;
        double largest = src.x[c];
        double largest_error = 0;
        for (size_t p = 0; p < pixels; p++) {
            sum += src.x[p * s[2] + c];
            magnitude += fabs(src.x[p * s[2] + c]);
            error += src.e[p * s[2] + c];
            largest = fmax(largest, src.x[p * s[2] + c]);
            largest_error = fmax(largest_error, src.e[p * s[2] + c]);
        }
        const bool average = node->op == TL_OP_GLOBAL_AVERAGE_POOLING2D;
        dst.x[c] = average ? sum / (double)pixels : largest;
        /* a long sum of equal numbers rounds the same way every time */
        dst.e[c] =
            average ? error / (double)pixels + magnitude + 2 * fabs(dst.x[c]) : largest_error;
    }
}

static void
run_window(const walk *run, const tl_node *node, field dst, field src)
{
    const size_t *s = run->graph->nodes[node->inputs[0]].shape.dims;
    const size_t *d = node->shape.dims;
    const size_t *pool = node->window.pool;
    const size_t before[2] = {
        pixels_before(s[0], pool[0], node->window.strides[0], node->window.same),
        pixels_before(s[1], pool[1], node->window.strides[1], node->window.same)};
    for (size_t i = 0; i < d[0] * d[1] * d[2]; i++) {
        const size_t top = i / d[2] / d[1] * node->window.strides[0];
        const size_t left = i / d[2] % d[1] * node->window.strides[1];
        double largest = -INFINITY;
        double worst = 0;
        tally sum = {0};
        double error = 0;
        for (size_t h = 0; h < s[0]; h++) {
            for (size_t w = 0; w < s[1]; w++) {
                const size_t at = (h * s[1] + w) * s[2] + i % d[2];
                if (h + before[0] < top || h + before[0] >= top + pool[0] ||
                    w + before[1] < left || w + before[1] >= left + pool[1]) {
                    continue;
                }
                largest = fmax(largest, src.x[at]);
                worst = fmax(worst, src.e[at]);
                sum.x += src.x[at];
                sum.magnitude += fabs(src.x[at]);
                error += src.e[at];
                sum.n++;
            }
        }
        const double pixels = (double)sum.n;
        const bool average = node->op == TL_OP_AVERAGE_POOLING2D;
        dst.x[i] = average ? sum.x / pixels : largest;
        dst.e[i] = average ? error / pixels + sum.magnitude + 2 * fabs(dst.x[i]) : worst;
    }
}

static void
run_concatenate(const walk *run, const tl_node *node, field dst)
{
    const size_t channels = tl_shape_channels(&node->shape);
    size_t first = 0;
    for (size_t k = 0; k < node->input_count; k++) {
        const field src = run->values[node->inputs[k]];
        const tl_shape *shape = &run->graph->nodes[node->inputs[k]].shape;
        const size_t width = tl_shape_channels(shape);
        for (size_t i = 0; i < tl_shape_elements(shape); i++) {
            const size_t at = i / width * channels + first + i % width;
            dst.x[at] = src.x[i];
            dst.e[at] = src.e[i];
        }
        first += width;
    }
}

static void
run_dropout(const walk *run, size_t id, field dst, field src)
{
    const tl_node *node = &run->graph->nodes[id];
    const size_t count = tl_shape_elements(&node->shape);
    memcpy(dst.x, src.x, count * sizeof *dst.x);
    memcpy(dst.e, src.e, count * sizeof *dst.e);
    if (run->mode == NULL || node->inference) {
        return;
    }
    const naive_mode *d = run->mode;
    const uint64_t stream = tl_random_bits(d->seed, d->iteration * 4096 + id);
    /* one number for each element, or for each channel of a picture */
    const size_t draws = node->op == TL_OP_DROPOUT ? count : tl_shape_channels(&node->shape);
    for (size_t i = 0; i < count; i++) {
        const size_t draw = d->row * draws + i % draws;
        const bool kept = tl_random_uniform(stream, draw) >= node->dropout.rate;
        dst.x[i] *= kept ? 1 / (1 - (double)node->dropout.rate) : 0;
    }
}

static void
run_add(const tl_node *node, field dst, field a, field b)
{
    for (size_t i = 0; i < tl_shape_elements(&node->shape); i++) {
        dst.x[i] = a.x[i] + b.x[i];
        dst.e[i] = a.e[i] + b.e[i] + 4 * (fabs(a.x[i]) + fabs(b.x[i]));
    }
}

static void
doubt_huge(field value, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!(fabs(value.x[i]) < HUGE_NUMBER) || isnan(value.e[i])) {
            value.e[i] = INFINITY;
        }
    }
}

static void
run_node(const walk *run, size_t id)
{
    const tl_node *node = &run->graph->nodes[id];
    const field dst = run->values[id];
    const field src = run->values[node->inputs[0]];
    switch (node->op) {
    case TL_OP_CONV2D:
    case TL_OP_DEPTHWISE_CONV2D:
        run_convolution(run, node, dst, src);
        break;
    case TL_OP_BATCH_NORMALIZATION:
        run_batch_norm(run, node, dst, src);
        break;
    case TL_OP_RELU:
        run_function(dst, src, &node->shape, node->relu.max_value == 6.0F ? TL_RELU6 : TL_RELU);
        break;
    case TL_OP_ACTIVATION:
        run_function(dst, src, &node->shape, node->activation.function);
        break;
    case TL_OP_ADD:
        run_add(node, dst, src, run->values[node->inputs[1]]);
        break;
    case TL_OP_ZERO_PADDING2D:
        run_padding(run, node, dst, src);
        break;
    case TL_OP_GLOBAL_AVERAGE_POOLING2D:
    case TL_OP_GLOBAL_MAX_POOLING2D:
        run_pooling(run, node, dst, src);
        break;
    case TL_OP_DENSE:
        run_dense(run, node, dst, src);
        break;
    case TL_OP_DROPOUT:
    case TL_OP_SPATIAL_DROPOUT2D:
        run_dropout(run, id, dst, src);
        break;
    case TL_OP_MAX_POOLING2D:
    case TL_OP_AVERAGE_POOLING2D:
        run_window(run, node, dst, src);
        break;
    case TL_OP_CONCATENATE:
        run_concatenate(run, node, dst);
        break;
    default: /* flatten */
        run_function(dst, src, &node->shape, TL_LINEAR);
        break;
    }
}

/* --- whole stretches -------------------------------------------------------------------- */

/* needed[i]: the value of `stop` is computed from that of node i. */
static bool
mark_needed(bool *needed, const tl_graph *graph, size_t start, size_t stop)
{
    needed[stop] = true;
    for (size_t i = stop; i > start; i--) {
        for (size_t k = 0; needed[i] && k < graph->nodes[i].input_count; k++) {
            if (graph->nodes[i].inputs[k] < start) {
                return false;
            }
            needed[graph->nodes[i].inputs[k]] = true;
        }
    }
    return true;
}

bool
naive_reaches(const tl_graph *graph, size_t start, size_t stop)
{
    bool *needed = tl_alloc(graph->count, sizeof *needed);
    const bool reaches = needed != NULL && start <= stop && stop < graph->count &&
                         mark_needed(needed, graph, start, stop);
    tl_free(needed);
    return reaches;
}

/* Whether a step of training takes the statistics of the batch at this node. */
static bool
takes_statistics(const tl_node *node, const bool *trainable)
{
    return node->op == TL_OP_BATCH_NORMALIZATION && !node->inference && trainable != NULL &&
           trainable[node->first_param];
}

/* Mean and variance of each channel over all rows of a value, and how far off they may be. */
static void
take_statistics(double *const numbers[4], const field *rows, size_t row_count, size_t step,
                const tl_shape *shape)
{
    const size_t channels = tl_shape_channels(shape);
    const size_t pixels = tl_shape_elements(shape) / channels;
    const double count = (double)(row_count * pixels);
    for (size_t c = 0; c < channels; c++) {
        double mean = 0;
        double mean_error = 0;
        double variance = 0;
        double variance_error = 0;
        for (size_t i = 0; i < row_count * pixels; i++) {
            const field value = rows[i / pixels * step];
            const size_t at = i % pixels * channels + c;
            mean += value.x[at] / count;
            /* errors of one channel count as equal; a sum rounds */
            mean_error += (value.e[at] + 4 * fabs(value.x[at])) / count;
        }
        for (size_t i = 0; i < row_count * pixels; i++) {
            const field value = rows[i / pixels * step];
            const size_t at = i % pixels * channels + c;
            const double off = fabs(value.x[at] - mean);
            variance += off * off / count;
            variance_error += (2 * off * (value.e[at] + mean_error) + 8 * off * off) / count;
        }
        numbers[0][c] = mean;
        numbers[1][c] = variance;
        numbers[2][c] = mean_error;
        numbers[3][c] = variance_error + UNIT * mean_error * mean_error;
    }
}

/* All rows of one node. */
static tl_status
run_rows(walk *run, field *all, size_t rows, size_t id)
{
    tl_status status = TL_OK;
    const tl_graph *graph = run->graph;
    const tl_node *node = &graph->nodes[id];
    const size_t channels = tl_shape_channels(&node->shape);
    naive_mode mode = run->mode == NULL ? (naive_mode){0} : *run->mode;
    const naive_mode *given = run->mode;
    double *numbers = NULL;
    if (takes_statistics(node, mode.trainable)) {
        numbers = tl_alloc(4 * channels, sizeof *numbers);
        if (numbers == NULL) {
            status = TL_OUT_OF_MEMORY;
            goto done;
        }
        double *const four[4] = {numbers, numbers + channels, numbers + 2 * channels,
                                 numbers + 3 * channels};
        take_statistics(four, all + node->inputs[0], rows, graph->count,
                        &graph->nodes[node->inputs[0]].shape);
        run->mean = four[0];
        run->variance = four[1];
        run->mean_error = four[2];
        run->variance_error = four[3];
        for (size_t k = 0; k < 2 && mode.statistics != NULL; k++) {
            const size_t param = node->first_param + 2 + k;
            memcpy(mode.statistics[param], four[k], channels * sizeof *numbers);
            memcpy(mode.statistics_errors[param], four[2 + k], channels * sizeof *numbers);
        }
    }
    for (size_t r = 0; r < rows; r++) {
        run->values = all + r * graph->count;
        run->mode = given == NULL ? NULL : &mode;
        run_node(run, id);
        const size_t count = tl_shape_elements(&node->shape);
        const uint64_t stream = tl_random_bits(mode.noise, r * graph->count + id);
        for (size_t i = 0; mode.noise != 0 && i < count; i++) {
            const field value = run->values[id];
            value.x[i] += UNIT * value.e[i] * (2 * (double)tl_random_uniform(stream, i) - 1);
            value.e[i] = 0; /* the noise has it; of the next node its own rounding counts */
        }
        mode.row++;
    }
    run->mode = given;
    run->mean = NULL;
done:
    tl_free(numbers);
    return status;
}

tl_status
naive_run(double *x, double *error, const tl_graph *graph, double *const *params,
          const float *src, size_t rows, size_t start, size_t stop, const naive_mode *mode)
{
    tl_status status = TL_OUT_OF_MEMORY;
    double *block = NULL;
    size_t total = 0;
    walk run = {.graph = graph, .params = params, .mode = mode};
    field *all = tl_alloc(rows * graph->count, sizeof *all);
    bool *needed = tl_alloc(graph->count, sizeof *needed);
    if (all == NULL || needed == NULL) {
        goto done;
    }
    if (!mark_needed(needed, graph, start, stop)) {
        status = TL_BAD_VALUE;
        goto done;
    }
    for (size_t i = start; i <= stop; i++) {
        total += needed[i] || i == start ? 2 * tl_shape_elements(&graph->nodes[i].shape) : 0;
    }
    block = tl_alloc(rows * total, sizeof *block);
    if (block == NULL) {
        goto done;
    }
    double *next = block;
    for (size_t k = 0; k < rows * graph->count; k++) {
        const size_t i = k % graph->count;
        const size_t count = tl_shape_elements(&graph->nodes[i].shape);
        if (i == start || (i > start && i <= stop && needed[i])) {
            all[k] = (field){next, next + count};
            next += 2 * count;
        }
        for (size_t n = 0; i == start && n < count; n++) {
            all[k].x[n] = (double)*src++;
        }
    }
    for (size_t i = start + 1; i <= stop; i++) {
        if (needed[i]) {
            TL_TRY(run_rows(&run, all, rows, i));
            for (size_t r = 0; r < rows; r++) {
                doubt_huge(all[r * graph->count + i],
                           tl_shape_elements(&graph->nodes[i].shape));
            }
        }
    }
    const size_t count = tl_shape_elements(&graph->nodes[stop].shape);
    for (size_t r = 0; r < rows; r++) {
        memcpy(x + r * count, all[r * graph->count + stop].x, count * sizeof *x);
        if (error != NULL) {
            memcpy(error + r * count, all[r * graph->count + stop].e, count * sizeof *error);
        }
    }
    status = TL_OK;
done:
    tl_free(block);
    tl_free(needed);
    tl_free(all);
    return status;
}

/* --- losses ----------------------------------------------------------------------------- */

static double
from_logits(tl_loss_kind kind, const double *z, const float *y, size_t cols)
{
    double largest = z[0];
    double sum = 0;
    double value = 0;
    if (kind == TL_BINARY_CROSSENTROPY) {
        for (size_t c = 0; c < cols; c++) {
            value += fmax(z[c], 0) - z[c] * (double)y[c] + log1p(exp(-fabs(z[c])));
        }
        return value / (double)cols;
    }
    for (size_t c = 0; c < cols; c++) {
        largest = fmax(largest, z[c]);
    }
    for (size_t c = 0; c < cols; c++) {
        sum += exp(z[c] - largest);
    }
    for (size_t c = 0; c < cols; c++) {
        const bool sparse = kind == TL_SPARSE_CATEGORICAL_CROSSENTROPY;
        const double target = sparse ? (double)((size_t)y[0] == c) : (double)y[c];
        value += target * (log(sum) + largest - z[c]);
    }
    return value;
}

double
naive_loss(const tl_loss *loss, const double *outputs, const float *targets, size_t cols,
           bool *clipped)
{
    double sum = 0;
    double clipped_sum = 0;
    double value = 0;
    if (loss->from_logits) {
        return from_logits(loss->kind, outputs, targets, cols);
    }
    for (size_t c = 0; c < cols; c++) {
        sum += outputs[c];
        clipped_sum += clamp(outputs[c], 1e-7, 1 - 1e-7);
    }
    for (size_t c = 0; c < cols; c++) {
        const bool categorical = loss->kind == TL_CATEGORICAL_CROSSENTROPY;
        const double given = categorical ? outputs[c] / sum : outputs[c];
        const double p = clamp(given, 1e-7, 1 - 1e-7);
        *clipped = *clipped || !(given > 1e-2 && given < 1 - 1e-2) || !(fabs(sum) > 1e-2);
        if (loss->kind == TL_SPARSE_CATEGORICAL_CROSSENTROPY) {
            value += (size_t)targets[0] == c ? log(clipped_sum) - log(p) : 0;
        } else if (categorical) {
            value -= (double)targets[c] * log(p);
        } else {
            const double y = (double)targets[c];
            value -= (y * log(p) + (1 - y) * log(1 - p)) / (double)cols;
        }
    }
    return value;
}
