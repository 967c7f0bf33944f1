/* The checks; each is a few promises of one header, on one random case. */
#include "check_graph.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builders.h"
#include "core/arena.h"
#include "core/pool.h"
#include "core/random.h"
#include "core/train.h"
#include "naive_graph.h"
#include "reference_ops.h"

check_margins worst_margins;

static char sentence[640];

static const char *broken(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *
broken(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return sentence;
}

/* --- building --------------------------------------------------------------------------- */

const char *
check_building(const random_case *c, bool *looked)
{
    tl_graph *copy = NULL;
    const char *fault = c->fault[0] == '\0' ? NULL : c->fault;
    *looked = true;
    if (tl_graph_copy(&copy, c->graph) != TL_OK) {
        return broken("a graph could not be copied");
    }
    if (copy->count != c->graph->count || copy->param_count != c->graph->param_count) {
        fault = broken("a copy differs from its graph");
    }
    for (size_t i = 0; fault == NULL && i < copy->count; i++) {
        const tl_node *node = &copy->nodes[i];
        tl_op op = TL_OP_COUNT;
        if (strcmp(node->name, c->graph->nodes[i].name) != 0 ||
            !tl_op_from_name(&op, tl_op_name(node->op)) || op != node->op) {
            fault = broken("node %zu has lost its name", i);
        }
    }
    tl_graph_destroy(copy);
    return fault;
}

/* --- lowering --------------------------------------------------------------------------- */

/* Whether a node that `stop` needs is one that tl_lower documents as unsupported. */
static bool
has_odd_relu(const tl_graph *graph, size_t start, size_t stop)
{
    for (size_t i = start + 1; i <= stop; i++) {
        const tl_node *node = &graph->nodes[i];
        if (node->op == TL_OP_RELU && node->relu.max_value != 6.0F &&
            !isinf(node->relu.max_value)) {
            return true;
        }
    }
    return false;
}

/* Whether reader i may read the value of step `src`, which has this shape. */
static bool
reads_well(const tl_lowered *lowered, const tl_graph *graph, size_t start, size_t i, size_t src,
           const tl_shape *shape)
{
    const tl_shape *given = src == TL_NONE ? &graph->nodes[start].shape
                                           : (src < i ? &lowered->steps[src].dst_shape : NULL);
    return given != NULL && tl_shape_equal(given, shape);
}

static const char *
check_step(const tl_lowered *lowered, const tl_graph *graph, size_t start, size_t i)
{
    const tl_step *step = &lowered->steps[i];
    if (!reads_well(lowered, graph, start, i, step->src, &step->src_shape)) {
        return broken("step %zu reads a value that is not there, or of another shape", i);
    }
    if (step->has_residual &&
        !reads_well(lowered, graph, start, i, step->residual, &step->dst_shape)) {
        return broken("step %zu has a residual that is not there, or of another shape", i);
    }
    size_t channels = tl_shape_channels(&step->src_shape);
    for (size_t k = 0; k < step->other_count; k++) {
        tl_shape shape = step->src_shape;
        shape.dims[shape.rank - 1] = step->other_channels[k];
        channels += step->other_channels[k];
        if (!reads_well(lowered, graph, start, i, step->others[k], &shape)) {
            return broken("step %zu puts together what is not there, or of another shape", i);
        }
    }
    if ((step->kind == TL_STEP_CONCATENATE) != (step->other_count > 0) ||
        (step->other_count > 0 && channels != tl_shape_channels(&step->dst_shape))) {
        return broken("step %zu puts together another number of channels than its own", i);
    }
    if (!tl_shape_equal(&step->dst_shape, &graph->nodes[step->node].shape)) {
        return broken("step %zu makes another shape than its node", i);
    }
    return NULL;
}

/* used[p] counts how often parameter p is read. */
static void
count_params(size_t *used, const tl_lowered *lowered)
{
    for (size_t i = 0; i < lowered->count; i++) {
        const tl_step *step = &lowered->steps[i];
        if (step->kernel_param != TL_NONE) {
            used[step->kernel_param]++;
        }
        if (step->bias_param != TL_NONE) {
            used[step->bias_param]++;
        }
        for (size_t k = 0; step->gamma_param != TL_NONE && k < 4; k++) {
            used[step->gamma_param + k]++;
        }
    }
}

static const char *
check_params(const tl_lowered *lowered, const tl_graph *graph, size_t start, size_t stop)
{
    const char *fault = NULL;
    size_t *used = tl_alloc(graph->param_count, sizeof *used);
    if (used == NULL) {
        return broken("no memory");
    }
    count_params(used, lowered);
    for (size_t i = 0; i < graph->count; i++) {
        const tl_node *node = &graph->nodes[i];
        const bool within = i > start && i <= stop && naive_reaches(graph, i, stop) == true;
        for (size_t k = 0; k < node->param_count && fault == NULL; k++) {
            const size_t times = used[node->first_param + k];
            if (times > 1 || (times == 1 && (i <= start || i > stop))) {
                fault = broken("parameter %zu is read %zu times", node->first_param + k, times);
            } else if (within && times == 0) {
                fault = broken("parameter %zu is never read", node->first_param + k);
            }
        }
    }
    tl_free(used);
    return fault;
}

const char *
check_lowering(const random_case *c, bool *looked)
{
    const char *fault = NULL;
    tl_lowered *lowered = NULL;
    const bool reaches = naive_reaches(c->graph, c->start, c->stop);
    const bool odd = has_odd_relu(c->graph, c->start, c->stop);
    tl_lowered *const none = NULL;
    *looked = true;
    if (tl_lower(&lowered, c->graph, c->stop + 1, c->stop) != TL_BAD_VALUE || lowered != none) {
        return broken("a stretch that ends before it starts was lowered");
    }
    const tl_status status = tl_lower(&lowered, c->graph, c->start, c->stop);
    if (status == TL_OK && !reaches) {
        fault = broken("%zu to %zu was lowered, but needs more", c->start, c->stop);
    } else if (status == TL_BAD_VALUE && reaches) {
        fault = broken("%zu to %zu was refused: %s", c->start, c->stop, tl_detail());
    } else if (status == TL_UNSUPPORTED && !odd) {
        fault = broken("%zu to %zu is not supported: %s", c->start, c->stop, tl_detail());
    } else if (status == TL_OUT_OF_MEMORY || status == TL_BACKEND_FAILED) {
        fault = broken("%zu to %zu failed: %s", c->start, c->stop, tl_detail());
    }
    for (size_t i = 0; status == TL_OK && fault == NULL && i < lowered->count; i++) {
        fault = check_step(lowered, c->graph, c->start, i);
    }
    if (status == TL_OK && fault == NULL) {
        fault = check_params(lowered, c->graph, c->start, c->stop);
    }
    tl_lowered_destroy(lowered);
    return fault;
}

/* --- a network of one case -------------------------------------------------------------- */

typedef struct scene {
    tl_parameters *parameters;
    tl_network *network;
    double **params;
    float *src;    /* (batch, start) */
    float *dst;    /* (batch, stop) */
    float *again;  /* the same */
    double *naive; /* (stop) */
    double *error; /* (stop) */
    size_t src_count, dst_count;
} scene;

static void
scene_clear(scene *s)
{
    free(s->error);
    free(s->naive);
    free(s->again);
    free(s->dst);
    free(s->src);
    tl_free(s->params);
    tl_network_destroy(s->network);
    tl_parameters_release(s->parameters);
}

/* From malloc, not tl_alloc: its blocks end where the numbers end, and the sanitizer sees it.
 */
static const char *
scene_create(scene *s, const random_case *c, const tl_ops *ops, size_t start, size_t stop)
{
    *s = (scene){.src_count = tl_shape_elements(&c->graph->nodes[start].shape),
                 .dst_count = tl_shape_elements(&c->graph->nodes[stop].shape)};
    s->src = malloc(c->batch * s->src_count * sizeof *s->src);
    s->dst = malloc(c->batch * s->dst_count * sizeof *s->dst);
    s->again = malloc(c->batch * s->dst_count * sizeof *s->again);
    s->naive = malloc(s->dst_count * sizeof *s->naive);
    s->error = malloc(s->dst_count * sizeof *s->error);
    if (s->src == NULL || s->dst == NULL || s->again == NULL || s->naive == NULL ||
        s->error == NULL || random_parameters(&s->parameters, c->graph, c->seed) != TL_OK ||
        naive_params(&s->params, s->parameters) != TL_OK) {
        return broken("no memory");
    }
    random_numbers(s->src, c->batch * s->src_count, c->seed + 1000);
    if (tl_network_create(&s->network, c->graph, &s->parameters, 1, ops) != TL_OK) {
        return broken("the graph makes no network: %s", tl_detail());
    }
    return NULL;
}

/* --- running ---------------------------------------------------------------------------- */

/* The estimate is a standard deviation, roughly; ROOM of them are allowed. `test_random 20000`
 * prints how much of that is used: 0.29, and 0.34 of what gradients are allowed. */
static const double ROOM = 4;
static const double UNIT = 0x1p-24;

static const char *
compare_image(const scene *s, const float *given)
{
    for (size_t i = 0; i < s->dst_count; i++) {
        const double allowed = ROOM * UNIT * (s->error[i] + fabs(s->naive[i])) + 1e-30;
        const double off = fabs((double)given[i] - s->naive[i]);
        if (isinf(s->error[i])) {
            continue; /* came from what float32 may not hold */
        }
        worst_margins.forward = fmax(worst_margins.forward, off / allowed);
        if (!(off <= allowed)) {
            return broken("number %zu is %.9g, not %.9g: off by %.3g, allowed are %.3g", i,
                          (double)given[i], s->naive[i], off, allowed);
        }
    }
    return NULL;
}

/* The same images one by one, and by another crew, give the same bits. */
static const char *
compare_batches(const scene *s, const random_case *c)
{
    for (size_t i = 0; i < c->batch; i++) {
        if (tl_network_run(s->network, s->again + i * s->dst_count, s->src + i * s->src_count,
                           1, c->start, c->stop) != TL_OK) {
            return broken("one image of %zu could not be run: %s", c->batch, tl_detail());
        }
    }
    const size_t bytes = c->batch * s->dst_count * sizeof *s->dst;
    if (memcmp(s->dst, s->again, bytes) != 0) {
        return broken("%zu images one by one give other bits than at once", c->batch);
    }
    if (c->choices % 4 != 0) {
        return NULL; /* threads take long to start: every fourth case has a crew of its own */
    }
    if (tl_pool_set_threads(c->threads) != TL_OK) {
        return broken("the crew could not be resized: %s", tl_detail());
    }
    memset(s->again, 0, bytes);
    if (tl_network_run(s->network, s->again, s->src, c->batch, c->start, c->stop) != TL_OK) {
        return broken("%zu threads could not run: %s", c->threads, tl_detail());
    }
    return memcmp(s->dst, s->again, bytes) == 0
               ? NULL
               : broken("%zu threads give other bits than before", c->threads);
}

/* What it takes to run is told beforehand, and told the same twice. */
static const char *
compare_plan(const scene *s, const random_case *c)
{
    tl_network_memory first;
    tl_network_memory second;
    if (tl_network_memory_plan(s->network, &first, c->start, c->stop) != TL_OK ||
        tl_network_memory_plan(s->network, &second, c->start, c->stop) != TL_OK) {
        return broken("a stretch that ran has no plan: %s", tl_detail());
    }
    return memcmp(&first, &second, sizeof first) == 0 ? NULL : broken("a plan changed");
}

/* start to stop in two pieces is start to stop, if some node on the way parts it. A value may
 * be rounded elsewhere then, so this is compared with the naive graph, too. */
static const char *
compare_pieces(const scene *s, const random_case *c)
{
    const char *fault = NULL;
    const size_t middle = c->start + c->choices % (c->stop - c->start + 1);
    float *between = NULL;
    if (!naive_reaches(c->graph, c->start, middle) ||
        !naive_reaches(c->graph, middle, c->stop)) {
        return NULL;
    }
    between = malloc(tl_shape_elements(&c->graph->nodes[middle].shape) * sizeof *between);
    if (between == NULL) {
        return broken("no memory");
    }
    if (tl_network_run(s->network, between, s->src, 1, c->start, middle) != TL_OK ||
        tl_network_run(s->network, s->again, between, 1, middle, c->stop) != TL_OK) {
        fault = broken("two pieces at %zu could not be run: %s", middle, tl_detail());
    } else {
        fault = compare_image(s, s->again);
    }
    free(between);
    return fault;
}

static const char *
check_run(const random_case *c, bool *looked, const tl_ops *ops)
{
    scene s = {0};
    const char *fault = NULL;
    *looked = false;
    if (!random_case_is_small(c)) {
        return NULL;
    }
    fault = scene_create(&s, c, ops, c->start, c->stop);
    const bool reaches = naive_reaches(c->graph, c->start, c->stop);
    const bool odd = has_odd_relu(c->graph, c->start, c->stop);
    tl_status status = TL_OK;
    if (fault == NULL) {
        tl_detail_clear();
        status = tl_network_run(s.network, s.dst, s.src, c->batch, c->start, c->stop);
        const bool may_fail = !reaches || (odd && status == TL_UNSUPPORTED);
        if (status == TL_OK ? !reaches : !may_fail) {
            fault = broken("running %zu to %zu gave status %d: %s", c->start, c->stop,
                           (int)status, tl_detail());
        }
    }
    if (fault == NULL && status == TL_OK) {
        *looked = true;
        for (size_t i = 0; i < c->batch && fault == NULL; i++) {
            if (naive_run(s.naive, s.error, c->graph, s.params, s.src + i * s.src_count, 1,
                          c->start, c->stop, NULL) != TL_OK) {
                fault = broken("the naive graph had no memory");
                break;
            }
            fault = compare_image(&s, s.dst + i * s.dst_count);
        }
        fault = fault == NULL ? compare_batches(&s, c) : fault;
        fault = fault == NULL ? compare_plan(&s, c) : fault;
        if (fault == NULL && c->batch == 1) { /* the naive value is that of the one image */
            fault = compare_pieces(&s, c);
        }
    }
    scene_clear(&s);
    return fault;
}

const char *
check_reference(const random_case *c, bool *looked)
{
    return check_run(c, looked, &reference_ops);
}

const char *
check_product(const random_case *c, bool *looked)
{
    return check_run(c, looked, &product_ops);
}

/* --- plans of any size ------------------------------------------------------------------ */

enum { MOST_PLANNED_NUMBERS = 200000 };

static bool
has_few_parameters(const tl_graph *graph)
{
    tl_param_spec specs[TL_MAX_NODE_PARAMS];
    double numbers = 0;
    for (size_t i = 0; i < graph->count; i++) {
        const size_t count = tl_node_params(graph, &graph->nodes[i], specs);
        for (size_t k = 0; k < count; k++) {
            numbers += (double)tl_shape_elements(&specs[k].shape);
        }
    }
    return numbers < MOST_PLANNED_NUMBERS;
}

/* Bytes of the largest value that is neither the input nor the output, at least. */
static bool
covers_every_value(const tl_graph *graph, size_t start, size_t stop, size_t bytes)
{
    tl_lowered *lowered = NULL;
    bool covers = tl_lower(&lowered, graph, start, stop) == TL_OK;
    for (size_t i = 0; covers && i < lowered->count; i++) {
        covers = bytes >= tl_shape_elements(&lowered->steps[i].dst_shape) * sizeof(float);
    }
    tl_lowered_destroy(lowered);
    return covers;
}

const char *
check_plan(const random_case *c, bool *looked)
{
    const tl_ops *ops = c->choices % 2 == 0 ? &product_ops : &reference_ops;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    tl_network_memory memory = {0};
    const char *fault = NULL;
    *looked = has_few_parameters(c->graph);
    if (!*looked) {
        return NULL;
    }
    if (random_parameters(&parameters, c->graph, c->seed) != TL_OK ||
        tl_network_create(&network, c->graph, &parameters, 1, ops) != TL_OK) {
        fault = broken("no network: %s", tl_detail());
    } else {
        tl_detail_clear();
        const tl_status status = tl_network_memory_plan(network, &memory, c->start, c->stop);
        if (status == TL_OK &&
            !covers_every_value(c->graph, c->start, c->stop, memory.executor)) {
            fault = broken("%zu bytes are planned, and are too few", memory.executor);
        } else if (status == TL_BAD_VALUE && naive_reaches(c->graph, c->start, c->stop)) {
            fault = broken("no plan from %zu to %zu: %s", c->start, c->stop, tl_detail());
        } else if (status != TL_OK && tl_detail()[0] == '\0') {
            fault = broken("status %d without a sentence", (int)status);
        }
        if (tl_network_memory_plan(network, &memory, 0, c->graph->count) != TL_BAD_VALUE) {
            fault = broken("a stretch that ends behind the graph has a plan");
        }
    }
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    return fault;
}

/* --- the cut ---------------------------------------------------------------------------- */

/* In some of the cases the dense layers behind all others, as in transfer learning, or any
 * parameters; else whole kinds of layers, behind some node or all. Moving statistics never. */
static void
choose_trainable(bool *trainable, const random_case *c)
{
    const tl_graph *graph = c->graph;
    const size_t kind = c->choices / 16 % 8; /* below 5: of those with all kinds */
    const size_t from = c->choices % 3 == 0 ? graph->count / 2 : 0;
    const bool any = c->choices % 5 == 0;
    size_t head = graph->count;
    while (head > 1 && (!tl_op_has_params(graph->nodes[head - 1].op) ||
                        graph->nodes[head - 1].op == TL_OP_DENSE)) {
        head--;
    }
    for (size_t i = 0; i < graph->count; i++) {
        const tl_node *node = &graph->nodes[i];
        const bool norm = node->op == TL_OP_BATCH_NORMALIZATION;
        const bool wanted = kind < 2 || (kind == 2) == norm; /* everything, norms, the others */
        for (size_t k = 0; k < node->param_count && k < 2; k++) {
            const size_t p = node->first_param + k;
            if (kind < 5) {
                trainable[p] = wanted && i >= from;
            } else {
                trainable[p] = any ? (c->choices >> p % 13) % 2 != 0 : i >= head && p % 7 != 6;
            }
        }
    }
}

static bool
trains(const tl_node *node, const bool *trainable)
{
    const bool drops = node->op == TL_OP_DROPOUT || node->op == TL_OP_SPATIAL_DROPOUT2D;
    bool any = drops && node->dropout.rate > 0 && !node->inference;
    for (size_t k = 0; k < node->param_count; k++) {
        any = any || trainable[node->first_param + k];
    }
    return any;
}

/* Whether training may start at `cut`: nothing up to it trains, nothing behind reads past it.
 */
static bool
may_cut(const tl_graph *graph, const bool *trainable, size_t cut)
{
    for (size_t i = 0; i < graph->count; i++) {
        for (size_t k = 0; i > cut && k < graph->nodes[i].input_count; k++) {
            if (graph->nodes[i].inputs[k] < cut) {
                return false;
            }
        }
        if (i <= cut && trains(&graph->nodes[i], trainable)) {
            return false;
        }
    }
    return true;
}

const char *
check_cut(const random_case *c, bool *looked)
{
    scene s = {0};
    random_case whole = *c;
    whole.batch = 1;
    bool *trainable = tl_alloc(c->graph->param_count, sizeof *trainable);
    *looked = false;
    if (trainable == NULL || !random_case_is_small(c)) {
        tl_free(trainable);
        return NULL;
    }
    const char *fault = scene_create(&s, &whole, &reference_ops, 0, 0);
    if (fault == NULL) {
        *looked = true;
        choose_trainable(trainable, c);
        const tl_node *last = &c->graph->nodes[c->graph->count - 1];
        size_t expected = last->op == TL_OP_ACTIVATION ? last->inputs[0] : c->graph->count - 1;
        while (!may_cut(c->graph, trainable, expected)) {
            expected--; /* the input always may */
        }
        const size_t cut = tl_network_cut(s.network, trainable);
        fault = cut == expected ? NULL : broken("the cut is %zu, not %zu", cut, expected);
    }
    scene_clear(&s);
    tl_free(trainable);
    return fault;
}

/* --- training --------------------------------------------------------------------------- */

enum { MOST_DIFFERENCES = 24, NOISE_DRAWS = 3 };
static const double NOISE_ROOM = 12;

typedef struct lesson {
    const random_case *c;
    scene scene;
    tl_trainer *trainer;
    bool *trainable;
    tl_loss loss;  /* as told to the trainer */
    tl_loss taken; /* as the loss is computed: logits behind a sigmoid or softmax */
    size_t cut, logits;
    size_t cols, width;
    float *targets;
    float *weights;
    float *outputs;
    /* one array a parameter, in one block each */
    float **before;      /* the weights before a step */
    double **statistics; /* of the batch, where they are taken, and how far off they may be */
    double **statistics_errors;
    naive_mode mode; /* of the step */
    bool clipped;
} lesson;

static void
lesson_clear(lesson *l)
{
    tl_trainer_destroy(l->trainer);
    scene_clear(&l->scene);
    tl_free(l->statistics_errors);
    tl_free(l->statistics);
    tl_free(l->before);
    free(l->outputs);
    free(l->weights);
    free(l->targets);
    tl_free(l->trainable);
}

static void
choose_targets(lesson *l)
{
    const size_t rows = l->c->batch;
    random_numbers(l->weights, rows, l->c->seed + 3000);
    random_numbers(l->targets, rows * l->width, l->c->seed + 2000);
    for (size_t i = 0; i < rows * l->width; i++) {
        l->targets[i] = fabsf(l->targets[i]);
        if (l->loss.kind == TL_SPARSE_CATEGORICAL_CROSSENTROPY) {
            l->targets[i] = floorf(l->targets[i] * (float)l->cols * 0.999F);
        }
    }
    /* TensorFlow's gradient of this loss, and so ours, takes each row for a distribution */
    for (size_t r = 0; l->loss.kind == TL_CATEGORICAL_CROSSENTROPY && r < rows; r++) {
        float sum = 0;
        for (size_t c = 0; c < l->width; c++) {
            sum += l->targets[r * l->width + c];
        }
        for (size_t c = 0; c < l->width; c++) {
            l->targets[r * l->width + c] /= sum;
        }
    }
}

/* The mean loss of the batch by the naive graph; mode NULL: in inference. */
static double
naive_value(lesson *l, const naive_mode *mode)
{
    const size_t count = tl_shape_elements(&l->c->graph->nodes[l->logits].shape);
    double *outputs = malloc(2 * l->c->batch * count * sizeof *outputs);
    double *errors = outputs == NULL ? NULL : outputs + l->c->batch * count;
    double sum = 0;
    if (outputs == NULL ||
        naive_run(outputs, errors, l->c->graph, l->scene.params, l->scene.src, l->c->batch,
                  l->cut, l->logits, mode) != TL_OK) {
        sum = NAN;
    }
    for (size_t i = 0; outputs != NULL && i < l->c->batch * count; i++) {
        l->clipped =
            l->clipped || isinf(errors[i]); /* float32 may not hold what it came from */
    }
    for (size_t r = 0; isfinite(sum) && r < l->c->batch; r++) {
        sum +=
            (double)l->weights[r] * naive_loss(&l->taken, outputs + r * count,
                                               l->targets + r * l->width, l->cols, &l->clipped);
        /* a probability less its target is off by the rounding of 1, also where that is more
         * than the difference */
        const uint64_t stream = mode == NULL ? 0 : mode->noise;
        for (size_t c = 0; stream != 0 && l->taken.from_logits && c < l->cols; c++) {
            const double off = 2 * (double)tl_random_uniform(stream, r * l->cols + c) - 1;
            sum += (double)l->weights[r] * 2 * UNIT * off * outputs[r * count + c];
        }
    }
    free(outputs);
    return sum / (double)l->c->batch;
}

/* One number that is trained: the next tensor's, anywhere in it. */
typedef struct picked {
    size_t param, index;
    double slope; /* by differences */
    double noise; /* how far float32 may move that */
    bool smooth;
} picked;

static size_t
pick_numbers(picked *numbers, const lesson *l)
{
    const tl_parameters *all = l->scene.parameters;
    size_t count = 0;
    size_t p = l->c->choices % (all->count + 1);
    for (size_t tried = 0; count < MOST_DIFFERENCES && tried < 4 * all->count; tried++, p++) {
        const size_t param = p % all->count;
        if (l->trainable[param] && !(all->tensors[param].count == 1 && tried >= all->count)) {
            const uint64_t bits = tl_random_bits(l->c->seed, tried);
            numbers[count++] = (picked){param, bits % all->tensors[param].count, 0, 0, false};
        }
    }
    return count;
}

/* The mean of the differences of both sides; false where they disagree, as at the kink of a
 * relu. */
static bool
difference(double *slope, lesson *l, double *number, const naive_mode *mode, double here)
{
    const double h = 1e-5;
    const double kept = *number;
    *number = kept + h;
    const double up = (naive_value(l, mode) - here) / h;
    *number = kept - h;
    const double down = (here - naive_value(l, mode)) / h;
    *number = kept;
    *slope = (up + down) / 2;
    return fabs(up - down) <= 1e-3 * (fabs(up) + fabs(down)) + 1e-5 && isfinite(*slope);
}

/* The gradient of a graph whose values are off by their roundings differs from that of the
 * exact one about as much as float32's does. */
static void
take_differences(picked *numbers, size_t count, lesson *l)
{
    naive_mode noisy = l->mode;
    noisy.statistics = NULL;
    naive_mode exact = noisy;
    for (uint64_t draw = 0; draw <= NOISE_DRAWS; draw++) {
        noisy.noise = draw;
        const double here = naive_value(l, &noisy);
        for (size_t k = 0; k < count; k++) {
            double *number = &l->scene.params[numbers[k].param][numbers[k].index];
            double slope;
            const bool smooth =
                difference(&slope, l, number, draw == 0 ? &exact : &noisy, here);
            if (draw == 0) {
                numbers[k].slope = slope;
                numbers[k].smooth = smooth;
            } else {
                numbers[k].smooth &= smooth;
                numbers[k].noise = fmax(numbers[k].noise, fabs(slope - numbers[k].slope));
            }
        }
    }
}

static const char *
compare_gradients(lesson *l, const float *const *gradients)
{
    picked numbers[MOST_DIFFERENCES];
    const size_t count = pick_numbers(numbers, l);
    double largest = 0;
    take_differences(numbers, count, l);
    for (size_t k = 0; k < count; k++) {
        largest = fmax(largest, numbers[k].smooth ? fabs(numbers[k].slope) : 0);
    }
    for (size_t k = 0; k < count && !l->clipped; k++) {
        const size_t p = numbers[k].param;
        double noise = 0;
        for (size_t i = 0; i < count; i++) { /* of the tensor: one number may be lucky */
            noise =
                fmax(noise, numbers[i].param == p && numbers[i].smooth ? numbers[i].noise : 0);
        }
        if (!numbers[k].smooth) {
            continue;
        }
        if (gradients[p] == NULL) { /* leads nowhere */
            if (numbers[k].slope != 0) {
                return broken("parameter %zu has no gradient", p);
            }
            continue;
        }
        const double gradient = (double)gradients[p][numbers[k].index];
        const double allowed = 4e-6 * fmax(largest, 0.1) + NOISE_ROOM * noise;
        const double off = fabs(gradient - numbers[k].slope);
        worst_margins.gradient = fmax(worst_margins.gradient, off / allowed);
        worst_margins.allowed = fmax(worst_margins.allowed, allowed / fmax(largest, 0.1));
        if (!(off <= allowed)) {
            return broken("the gradient of number %zu of parameter %zu is %.9g, not %.9g, "
                          "allowed are %.3g (loss %d, %s)",
                          numbers[k].index, p, gradient, numbers[k].slope, allowed,
                          (int)l->loss.kind, l->taken.from_logits ? "logits" : "probabilities");
        }
    }
    return NULL;
}

/* What the step showed of the batch, in its mode. */
static const char *
compare_outputs(lesson *l)
{
    const scene *s = &l->scene;
    const char *fault = NULL;
    const size_t count = l->c->batch * l->cols;
    double *x = malloc(count * sizeof *x);
    double *error = malloc(count * sizeof *error);
    if (x == NULL || error == NULL ||
        naive_run(x, error, l->c->graph, s->params, s->src, l->c->batch, l->cut,
                  l->c->graph->count - 1, &l->mode) != TL_OK) {
        fault = broken("no memory");
    }
    for (size_t i = 0; i < count && fault == NULL; i++) {
        const double allowed = ROOM * UNIT * (error[i] + fabs(x[i])) + 1e-30;
        const double off = fabs((double)l->outputs[i] - x[i]);
        if (isinf(error[i])) {
            continue;
        }
        worst_margins.output = fmax(worst_margins.output, off / allowed);
        if (!(off <= allowed)) {
            fault = broken("output %zu of a step is %.9g, not %.9g: allowed are %.3g", i,
                           (double)l->outputs[i], x[i], allowed);
        }
    }
    free(error);
    free(x);
    return fault;
}

/* Plain descent at rate 1 moves every trained number by its gradient, and moving statistics
 * towards those of the batch; nothing else moves. */
static const char *
compare_weights(const lesson *l, const float *const *gradients)
{
    const tl_graph *graph = l->c->graph;
    for (size_t i = 0; i < graph->count; i++) {
        const tl_node *node = &graph->nodes[i];
        for (size_t k = 0; k < node->param_count; k++) {
            const size_t p = node->first_param + k;
            const tl_tensor *tensor = &l->scene.parameters->tensors[p];
            const double keep = (double)node->batch_normalization.momentum;
            for (size_t n = 0; n < tensor->count; n++) {
                double expected = (double)l->before[p][n];
                double allowed = 0;
                if (!isnan(l->statistics[p][n])) { /* the naive step took it of the batch */
                    expected = expected * keep + l->statistics[p][n] * (1 - keep);
                    allowed = ROOM * UNIT *
                              (l->statistics_errors[p][n] * (1 - keep) +
                               fabs((double)l->before[p][n]) + fabs(l->statistics[p][n]));
                } else if (gradients[p] != NULL) {
                    expected = (double)(l->before[p][n] - gradients[p][n]);
                }
                const double off = fabs((double)tensor->data[n] - expected);
                worst_margins.statistics =
                    fmax(worst_margins.statistics,
                         allowed > 0 && isfinite(allowed) ? off / allowed : 0);
                if (!(off <= allowed || isinf(allowed) ||
                      (isnan(expected) && isnan(tensor->data[n])))) {
                    return broken("number %zu of parameter %zu is %.9g after a step, not %.9g",
                                  n, p, (double)tensor->data[n], expected);
                }
            }
        }
    }
    return NULL;
}

/* What a step will have to leave, and where it may leave something. */
static const char *
keep_before(lesson *l)
{
    const tl_parameters *all = l->scene.parameters;
    size_t numbers = 0;
    for (size_t p = 0; p < all->count; p++) {
        numbers += all->tensors[p].count;
    }
    const size_t heads = all->count * sizeof(void *);
    l->before = tl_alloc(1, heads + numbers * sizeof(float));
    l->statistics = tl_alloc(1, heads + numbers * sizeof(double));
    l->statistics_errors = tl_alloc(1, heads + numbers * sizeof(double));
    if (l->before == NULL || l->statistics == NULL || l->statistics_errors == NULL) {
        return broken("no memory");
    }
    numbers = 0;
    for (size_t p = 0; p < all->count; p++) {
        const tl_tensor *tensor = &all->tensors[p];
        l->before[p] = (float *)(l->before + all->count) + numbers;
        l->statistics[p] = (double *)(l->statistics + all->count) + numbers;
        l->statistics_errors[p] = (double *)(l->statistics_errors + all->count) + numbers;
        memcpy(l->before[p], tensor->data, tensor->count * sizeof(float));
        for (size_t n = 0; n < tensor->count; n++) {
            l->statistics[p][n] = NAN;
        }
        numbers += tensor->count;
    }
    return NULL;
}

static const char *
compare_step(lesson *l)
{
    double value;
    double stepped_from;
    const float *const *gradients = NULL;
    const tl_batch batch = {.inputs = l->scene.src,
                            .targets = l->targets,
                            .weights = l->weights,
                            .rows = l->c->batch};
    tl_detail_clear();
    const double told = naive_value(l, NULL);
    const tl_status status = tl_trainer_evaluate(l->trainer, &value, l->outputs, &batch);
    if (status != TL_OK) {
        return broken("evaluate gave status %d: %s", (int)status, tl_detail());
    }
    if (!l->clipped && !(fabs(value - told) <= 1e-3 * fmax(1, fabs(told)))) {
        return broken("the loss is %.9g, not %.9g", value, told);
    }
    const tl_status given =
        tl_trainer_gradients(l->trainer, &value, l->outputs, &batch, &gradients);
    if (given != TL_OK) {
        return strstr(tl_detail(), "no trainable weights") != NULL && given == TL_BAD_VALUE
                   ? NULL
                   : broken("gradients gave status %d: %s", (int)given, tl_detail());
    }
    const char *fault = keep_before(l);
    l->mode = (naive_mode){.seed = 7,
                           .iteration = tl_trainer_iterations(l->trainer),
                           .trainable = l->trainable,
                           .statistics = l->statistics,
                           .statistics_errors = l->statistics_errors};
    fault = fault == NULL ? compare_outputs(l) : fault;
    if (fault != NULL) {
        return fault;
    }
    const double expected = naive_value(l, &l->mode);
    if (!l->clipped && !(fabs(value - expected) <= 1e-3 * fmax(1, fabs(expected)))) {
        return broken("the loss of a step is %.9g, not %.9g", value, expected);
    }
    fault = compare_gradients(l, gradients);
    if (fault != NULL) {
        return fault;
    }
    /* the gradients that a step takes are the same, bit for bit, and stay until the next */
    if (tl_trainer_step(l->trainer, &stepped_from, l->outputs, &batch, 1.0F) != TL_OK ||
        memcmp(&stepped_from, &value, sizeof value) != 0) {
        return broken("a step from %.17g, not %.17g: %s", stepped_from, value, tl_detail());
    }
    return compare_weights(l, gradients);
}

/* False where the case has nothing to train, or the trainer says that it cannot. */
static bool
lesson_create(lesson *l, const char **fault)
{
    const random_case *c = l->c;
    const tl_graph *graph = c->graph;
    const tl_node *last = &graph->nodes[graph->count - 1];
    const tl_ops *ops = c->choices % 2 == 0 ? &product_ops : &reference_ops;
    l->trainable = tl_alloc(graph->param_count, sizeof *l->trainable);
    *fault = l->trainable == NULL ? broken("no memory") : scene_create(&l->scene, c, ops, 0, 0);
    if (*fault != NULL) {
        return false;
    }
    choose_trainable(l->trainable, c);
    l->cut = tl_network_cut(l->scene.network, l->trainable);
    scene_clear(&l->scene);
    *fault = scene_create(&l->scene, c, ops, l->cut, graph->count - 1);
    if (*fault != NULL) {
        return false;
    }
    l->loss.kind = (tl_loss_kind)(c->choices / 2 % TL_LOSS_COUNT);
    l->loss.from_logits = c->choices / 8 % 2 != 0;
    const tl_trainer_plan plan = {
        .start = l->cut, .trainable = l->trainable, .loss = l->loss, .seed = 7};
    const tl_status status = tl_trainer_create(&l->trainer, l->scene.network, &plan);
    if (status != TL_OK) {
        *fault = (status == TL_UNSUPPORTED || status == TL_BAD_VALUE) && tl_detail()[0] != '\0'
                     ? NULL
                     : broken("a trainer gave status %d: %s", (int)status, tl_detail());
        return false;
    }
    const bool implied =
        last->op == TL_OP_ACTIVATION && graph->count - 1 > l->cut &&
        (last->activation.function == TL_SIGMOID || last->activation.function == TL_SOFTMAX);
    l->taken = (tl_loss){l->loss.kind, l->loss.from_logits || implied};
    l->logits = implied ? last->inputs[0] : graph->count - 1;
    l->cols = tl_trainer_output_cols(l->trainer);
    l->width = tl_trainer_target_cols(l->trainer);
    l->targets = malloc(c->batch * l->width * sizeof *l->targets);
    l->weights = malloc(c->batch * sizeof *l->weights);
    l->outputs = malloc(c->batch * l->cols * sizeof *l->outputs);
    if (l->targets == NULL || l->weights == NULL || l->outputs == NULL) {
        *fault = broken("no memory");
        return false;
    }
    choose_targets(l);
    return true;
}

/* A trainer from a node that nobody would choose is refused, or evaluates and steps. */
static const char *
try_any_start(lesson *l)
{
    const random_case *c = l->c;
    const size_t output = c->graph->count - 1;
    double value;
    l->trainable = tl_alloc(c->graph->param_count, sizeof *l->trainable);
    const char *fault = l->trainable == NULL
                            ? broken("no memory")
                            : scene_create(&l->scene, c, &reference_ops, c->start, output);
    if (fault != NULL) {
        return fault;
    }
    choose_trainable(l->trainable, c);
    const tl_trainer_plan plan = {
        .start = c->start, .trainable = l->trainable, .loss = {TL_BINARY_CROSSENTROPY, true}};
    if (tl_trainer_create(&l->trainer, l->scene.network, &plan) != TL_OK) {
        return NULL;
    }
    if (!naive_reaches(c->graph, c->start, output)) {
        return broken("a trainer from node %zu has not what the output needs", c->start);
    }
    l->targets = calloc(c->batch * l->scene.dst_count, sizeof *l->targets);
    const tl_batch batch = {.inputs = l->scene.src, .targets = l->targets, .rows = c->batch};
    if (l->targets == NULL) {
        return broken("no memory");
    }
    if (tl_trainer_evaluate(l->trainer, &value, l->scene.dst, &batch) != TL_OK) {
        return broken("a trainer from node %zu cannot evaluate: %s", c->start, tl_detail());
    }
    const tl_status status = tl_trainer_step(l->trainer, &value, l->scene.dst, &batch, 0.1F);
    return status == TL_OK || strstr(tl_detail(), "no trainable weights") != NULL
               ? NULL
               : broken("a trainer from node %zu cannot step: %s", c->start, tl_detail());
}

const char *
check_training(const random_case *c, bool *looked)
{
    lesson l = {.c = c};
    lesson other = {.c = c};
    const char *fault = NULL;
    *looked = false;
    if (!random_case_is_small(c)) {
        return NULL;
    }
    if (lesson_create(&l, &fault)) {
        *looked = true;
        fault = compare_step(&l);
    }
    fault = fault == NULL ? try_any_start(&other) : fault;
    lesson_clear(&other);
    lesson_clear(&l);
    return fault;
}
