/* Parts of a batch: their memory, their walk over the units, and what is added up of them. */
#include "core/train_parts.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "core/activation.h"
#include "core/pool.h"
#include "core/random.h"
#include "core/train_heads.h"

enum {
    SMALL_WORK = 4 << 20,   /* multiply-adds: below, threads cost more than they save */
    MICRO_FLOATS = 6 << 20, /* that a part stores at a time where it goes alone */
    ADD_PIXELS = 256
};
static const double BETWEEN_QUESTIONS = 0.05; /* seconds */

/* Of a unit with a batch norm: one number a channel. */
typedef struct norm {
    float *mean, *scale, *shift; /* of the view */
    float *inverse;              /* 1 / sqrt(variance + epsilon) */
    float *offset, *slope;       /* of the gradient, where statistics are the batch's */
    float *variance;
    float momentum;
} norm;

typedef struct part {
    tl_parts *all;
    tl_arena memory; /* values, gradients, scratch */
    unsigned char *scratch;
    tl_arena sums;          /* the doubles below, and the gradients behind them */
    tl_moments *moments;    /* one a unit */
    double **unit_sums;     /* one a unit: (2, channels) */
    float **grads;          /* one a parameter */
    size_t first_row, rows; /* of the batch, those at hand */
    double loss;
    double (*seconds)[2]; /* one a unit: forward, backward */
} part;

struct tl_parts {
    tl_network *network;
    const tl_graph *graph;
    const tl_ops *ops;
    tl_train_plan plan;
    bool *trains; /* one a parameter: it is trained and lies in a unit */
    tl_loss loss;
    tl_function output;
    norm *norms; /* one a unit */
    tl_arena norm_memory;
    tl_arena packed;
    part *parts;
    size_t count;     /* of parts */
    size_t rows;      /* that each has room for */
    tl_place *places; /* one a unit, in a part with that room */
    /* of the run that room was reserved for last */
    size_t batch_rows;
    size_t used;    /* parts */
    size_t at_once; /* rows that a part takes at a time */
};

/* --- creation --------------------------------------------------------------------------- */

static const tl_node *
node_of(const tl_parts *all, size_t id)
{
    return &all->graph->nodes[id];
}

static const float *
parameter(const tl_parts *all, size_t param)
{
    return tl_network_tensor(all->network, param)->data;
}

/* Which parameters are trained: those of units whose flag is set. */
static void
mark_trained(tl_parts *all, const bool *trainable)
{
    for (size_t u = 1; u < all->plan.count; u++) {
        const tl_unit *unit = &all->plan.units[u];
        const size_t nodes[] = {unit->head, unit->norm};
        for (size_t i = 0; i < 2; i++) {
            const tl_node *node = nodes[i] == TL_NONE ? NULL : node_of(all, nodes[i]);
            for (size_t k = 0; node != NULL && k < node->param_count; k++) {
                all->trains[node->first_param + k] = trainable[node->first_param + k];
            }
        }
    }
}

/* Plans in a first pass, points in a second. */
static tl_status
lay_norms(tl_parts *all)
{
    tl_status status = TL_OK;
    tl_layout layout = {0};
    for (int pass = 0; pass < 2; pass++) {
        layout.size = 0;
        for (size_t u = 1; u < all->plan.count; u++) {
            const tl_unit *unit = &all->plan.units[u];
            norm *n = &all->norms[u];
            float **arrays[] = {&n->mean,   &n->scale, &n->shift,   &n->inverse,
                                &n->offset, &n->slope, &n->variance};
            const size_t bytes = unit->channels * sizeof(float);
            for (size_t i = 0; unit->norm != TL_NONE && i < sizeof arrays / sizeof *arrays;
                 i++) {
                size_t offset;
                TL_TRY(tl_layout_add(&layout, &offset, bytes));
                if (pass == 1) {
                    *arrays[i] = tl_arena_at(&all->norm_memory, offset);
                    tl_arena_guard(&all->norm_memory, offset, bytes);
                }
            }
        }
        if (pass == 0) {
            TL_TRY(tl_arena_create(&all->norm_memory, layout.size));
        }
    }
done:
    return status;
}

tl_status
tl_parts_create(tl_parts **out, const tl_parts_plan *plan)
{
    tl_status status = TL_OUT_OF_MEMORY;
    const tl_graph *graph = tl_network_graph(plan->network);
    tl_parts *all = tl_alloc(1, sizeof *all);
    if (all == NULL) {
        goto done;
    }
    all->network = plan->network;
    all->graph = graph;
    all->ops = tl_network_ops(plan->network);
    all->loss = plan->loss;
    all->output = plan->output;
    for (size_t i = plan->start + 1; i <= plan->logits; i++) {
        if (plan->needed[i]) {
            TL_TRY(tl_head_check(&graph->nodes[i], all->ops));
        }
    }
    TL_TRY(tl_train_plan_create(&all->plan, graph, plan->start, plan->logits, plan->needed,
                                plan->trainable, all->ops->training));
    status = TL_OUT_OF_MEMORY;
    all->trains = tl_alloc(graph->param_count, sizeof *all->trains);
    all->norms = tl_alloc(all->plan.count, sizeof *all->norms);
    if (all->trains == NULL || all->norms == NULL) {
        goto done;
    }
    mark_trained(all, plan->trainable);
    for (size_t u = 1; u < all->plan.count; u++) {
        if (all->plan.units[u].norm != TL_NONE) {
            const tl_node *node = node_of(all, all->plan.units[u].norm);
            all->norms[u].momentum = plan->momentums != NULL
                                         ? plan->momentums[node->first_param]
                                         : node->batch_normalization.momentum;
        }
    }
    TL_TRY(lay_norms(all));
    TL_TRY(tl_arena_create(&all->packed, all->plan.packed_bytes));

    *out = all; /* handed over */
    all = NULL;
    status = TL_OK;
done:
    tl_parts_destroy(all);
    return status;
}

static void
part_clear(part *one)
{
    tl_arena_destroy(&one->memory);
    tl_arena_destroy(&one->sums);
    tl_free(one->moments);
    tl_free(one->unit_sums);
    tl_free(one->grads);
    tl_free(one->seconds);
}

static void
destroy_parts(part *parts, size_t count)
{
    for (size_t i = 0; parts != NULL && i < count; i++) {
        part_clear(&parts[i]);
    }
    tl_free(parts);
}

void
tl_parts_destroy(tl_parts *parts)
{
    if (parts != NULL) {
        destroy_parts(parts->parts, parts->count);
        tl_free(parts->places);
        tl_arena_destroy(&parts->packed);
        tl_arena_destroy(&parts->norm_memory);
        tl_free(parts->norms);
        tl_free(parts->trains);
        tl_train_plan_clear(&parts->plan);
        tl_free(parts);
    }
}

bool
tl_parts_train(const tl_parts *parts)
{
    return parts->plan.units[parts->plan.logits].wants_grad;
}

const bool *
tl_parts_trained(const tl_parts *parts)
{
    return parts->trains;
}

/* --- room ------------------------------------------------------------------------------- */

/* How many parts a batch is cut into, and how many rows of its own a part holds at once. */
static size_t
choose_parts(const tl_parts *all, size_t rows, size_t *at_once)
{
    const size_t threads = tl_pool_threads();
    size_t count = rows < threads ? rows : threads;
    if (all->plan.work * rows < SMALL_WORK) {
        count = 1;
    }
    *at_once = (rows + count - 1) / count;
    if (!all->plan.batch_statistics) {
        const size_t fit = MICRO_FLOATS / (all->plan.row_floats + 1) + 1;
        *at_once = *at_once < fit ? *at_once : fit;
    }
    return count;
}

/* Bytes of a part's sums and gradients; with a part, points it at them. */
static tl_status
lay_sums(const tl_parts *all, size_t *bytes, part *one)
{
    tl_status status = TL_OK;
    tl_layout layout = {0};
    size_t offset;
    for (size_t u = 1; u < all->plan.count; u++) {
        const tl_unit *unit = &all->plan.units[u];
        const size_t size = unit->channels * sizeof(double);
        double **arrays[] = {NULL, NULL, NULL};
        if (one != NULL) {
            arrays[0] = &one->moments[u].mean;
            arrays[1] = &one->moments[u].squares;
            arrays[2] = &one->unit_sums[u];
        }
        for (size_t i = 0; unit->norm != TL_NONE && i < 3; i++) {
            TL_TRY(tl_layout_add(&layout, &offset, i < 2 ? size : 2 * size));
            if (one != NULL) {
                *arrays[i] = tl_arena_at(&one->sums, offset);
                tl_arena_guard(&one->sums, offset, i < 2 ? size : 2 * size);
            }
        }
    }
    for (size_t p = 0; p < all->graph->param_count; p++) {
        const size_t size = tl_network_tensor(all->network, p)->count * sizeof(float);
        if (all->trains[p]) {
            TL_TRY(tl_layout_add(&layout, &offset, size));
            if (one != NULL) {
                one->grads[p] = tl_arena_at(&one->sums, offset);
                tl_arena_guard(&one->sums, offset, size);
            }
        }
    }
    *bytes = layout.size;
done:
    return status;
}

tl_status
tl_parts_memory(const tl_parts *parts, size_t rows, size_t *bytes)
{
    tl_status status = TL_OK;
    size_t at_once;
    const size_t count = choose_parts(parts, rows, &at_once);
    size_t values;
    size_t scratch;
    size_t sums;
    size_t of_parts;
    TL_TRY(tl_train_plan_memory(&parts->plan, at_once, NULL, &values, &scratch));
    TL_TRY(lay_sums(parts, &sums, NULL));
    TL_TRY(tl_multiply(&of_parts, values + scratch + sums, count));
    *bytes = of_parts + parts->packed.size + parts->norm_memory.size;
done:
    return status;
}

static tl_status
part_create(part *one, tl_parts *all, size_t memory, size_t scratch)
{
    tl_status status = TL_OUT_OF_MEMORY;
    size_t sums;
    one->all = all;
    one->moments = tl_alloc(all->plan.count, sizeof *one->moments);
    one->unit_sums = tl_alloc(all->plan.count, sizeof *one->unit_sums);
    one->grads = tl_alloc(all->graph->param_count, sizeof *one->grads);
    one->seconds = tl_alloc(all->plan.count, sizeof *one->seconds);
    if (one->moments == NULL || one->unit_sums == NULL || one->grads == NULL ||
        one->seconds == NULL) {
        goto done;
    }
    TL_TRY(lay_sums(all, &sums, NULL));
    TL_TRY(tl_arena_create(&one->sums, sums));
    TL_TRY(lay_sums(all, &sums, one));
    TL_TRY(tl_arena_create(&one->memory, memory + scratch));
    one->scratch = tl_arena_at(&one->memory, memory);
done:
    return status;
}

static tl_status
make_room(tl_parts *parts, size_t count, size_t rows)
{
    tl_status status = TL_OUT_OF_MEMORY;
    size_t memory;
    size_t scratch;
    part *made = tl_alloc(count, sizeof *made);
    tl_place *places = tl_alloc(parts->plan.count, sizeof *places);
    if (made == NULL || places == NULL) {
        goto done;
    }
    TL_TRY(tl_train_plan_memory(&parts->plan, rows, places, &memory, &scratch));
    for (size_t i = 0; i < count; i++) {
        TL_TRY(part_create(&made[i], parts, memory, scratch));
    }
    tl_fork_guard_enter();
    destroy_parts(parts->parts, parts->count);
    tl_free(parts->places);
    parts->parts = made; /* handed over */
    parts->places = places;
    parts->count = count;
    parts->rows = rows;
    tl_fork_guard_leave();
    made = NULL;
    places = NULL;
done:
    tl_free(places);
    destroy_parts(made, count);
    return status;
}

tl_status
tl_parts_reserve(tl_parts *parts, size_t rows)
{
    tl_status status = TL_OK;
    size_t at_once;
    const size_t count = choose_parts(parts, rows, &at_once);
    if (count > parts->count || at_once > parts->rows) {
        TL_TRY(make_room(parts, count < parts->count ? parts->count : count,
                         at_once < parts->rows ? parts->rows : at_once));
    }
    parts->batch_rows = rows;
    parts->used = count;
    parts->at_once = at_once;
done:
    return status;
}

/* --- a part and a unit ------------------------------------------------------------------ */

static float *
value_of(const part *one, size_t u)
{
    return tl_arena_at(&one->memory, one->all->places[u].value);
}

static float *
grad_of(const part *one, size_t u)
{
    return tl_arena_at(&one->memory, one->all->places[u].grad);
}

/* What readers of the unit see, in a part that is at hand. */
static tl_view
view_of(const part *one, const tl_parts_batch *batch, size_t u)
{
    const tl_parts *all = one->all;
    const tl_unit *unit = &all->plan.units[u];
    const norm *n = &all->norms[u];
    if (u == 0) {
        return (tl_view){.data =
                             batch->inputs + one->first_row * unit->channels * unit->pixels};
    }
    if (unit->folded) {
        return (tl_view){.data = value_of(one, u)};
    }
    return (tl_view){value_of(one, u), n->mean, n->scale, n->shift, unit->function};
}

/* The same for whoever masks its gradient: a folded unit's function is told by its values. */
static tl_gradient
gradient_to(const part *one, const tl_parts_batch *batch, size_t u, bool adds, bool last)
{
    const tl_unit *unit = &one->all->plan.units[u];
    tl_gradient to = {.data = grad_of(one, u),
                      .adds = adds,
                      .last = last,
                      .view = view_of(one, batch, u),
                      .sums = unit->folded ? NULL : one->unit_sums[u]};
    to.view.function = unit->function;
    return to;
}

/* Where a reader gives the gradient of its k-th input to. */
static tl_gradient
gradient_of(const part *one, const tl_parts_batch *batch, const tl_unit *reader, size_t k)
{
    const size_t u = reader->inputs[k];
    if (!one->all->plan.units[u].wants_grad) {
        return (tl_gradient){0};
    }
    return gradient_to(one, batch, u, reader->adds[k], reader->ends[k]);
}

static tl_inner
inner_of(const part *one, size_t u)
{
    const tl_unit *unit = &one->all->plan.units[u];
    const norm *n = &one->all->norms[u];
    tl_inner inner = {.gradient = grad_of(one, u), .data = value_of(one, u)};
    if (unit->norm != TL_NONE && !unit->folded) {
        inner.mean = n->mean;
        inner.scale = n->scale;
        inner.offset = unit->batch_statistics ? n->offset : NULL;
        inner.slope = unit->batch_statistics ? n->slope : NULL;
    }
    return inner;
}

/* Takes room out of the part's scratch; reset at each unit. */
typedef struct room {
    unsigned char *next;
} room;

static void *
take(room *r, size_t bytes)
{
    void *taken = r->next;
    r->next += (bytes + TL_ALIGNMENT - 1) / TL_ALIGNMENT * TL_ALIGNMENT;
    return taken;
}

/* The kernel and bias of a unit's head: parameters, and their gradients in a part. */
typedef struct weights {
    const float *kernel, *bias;
    float *grad_kernel, *grad_bias;
} weights;

static weights
weights_of(const part *one, const tl_unit *unit)
{
    const tl_parts *all = one->all;
    const tl_node *node = node_of(all, unit->head);
    weights w = {0};
    if (unit->is_layer || node->op == TL_OP_DENSE) {
        const size_t first = node->first_param;
        w.kernel = parameter(all, first);
        w.grad_kernel = one->grads[first];
        w.bias = node->param_count > 1 ? parameter(all, first + 1) : NULL;
        w.grad_bias = node->param_count > 1 ? one->grads[first + 1] : NULL;
    }
    if (unit->folded) {
        const float *folded = tl_arena_at(&all->packed, unit->folded_offset);
        w.kernel = folded;
        w.bias = folded + tl_layer_kernel_count(&unit->layer);
    }
    return w;
}

static bool
is_copy(const tl_parts *all, const tl_unit *unit)
{
    return unit->head == unit->norm ||
           (unit->head == unit->last && unit->function != TL_LINEAR) ||
           node_of(all, unit->head)->op == TL_OP_ADD;
}

/* Sums of one or more views, a few pixels at a time. */
static void
forward_sum(const part *one, const tl_parts_batch *batch, const tl_unit *unit, float *dst,
            room *r)
{
    const tl_train_ops *ops = one->all->ops->training;
    for (size_t k = 0; k < unit->input_count; k++) {
        /* behind a flatten the unit has other channels than what it reads */
        const tl_unit *input = &one->all->plan.units[unit->inputs[k]];
        const tl_view src = view_of(one, batch, unit->inputs[k]);
        const size_t pixels = one->rows * input->pixels;
        const size_t channels = input->channels;
        if (k == 0) {
            ops->load(dst, &src, pixels, channels);
            continue;
        }
        const size_t tile_pixels = pixels < ADD_PIXELS ? pixels : ADD_PIXELS;
        room own = *r;
        float *tile = take(&own, tile_pixels * channels * sizeof *tile);
        for (size_t first = 0; first < pixels; first += tile_pixels) {
            const size_t some = pixels - first < tile_pixels ? pixels - first : tile_pixels;
            tl_view from = src;
            from.data += first * channels;
            ops->load(tile, &from, some, channels);
            for (size_t i = 0; i < some * channels; i++) {
                dst[first * channels + i] += tile[i];
            }
        }
    }
}

/* The inputs of a head as plain numbers. */
static void
load_inputs(tl_head *head, const part *one, const tl_parts_batch *batch, const tl_unit *unit,
            room *r)
{
    for (size_t k = 0; k < unit->input_count; k++) {
        const tl_unit *input = &one->all->plan.units[unit->inputs[k]];
        const tl_view src = view_of(one, batch, unit->inputs[k]);
        const size_t pixels = one->rows * input->pixels;
        head->src[k] = src.data;
        if (!tl_view_is_plain(&src)) {
            float *loaded = take(r, pixels * input->channels * sizeof *loaded);
            one->all->ops->training->load(loaded, &src, pixels, input->channels);
            head->src[k] = loaded;
        }
    }
}

static tl_head
describe_head(const part *one, const tl_parts_batch *batch, const tl_unit *unit, float *dst)
{
    const tl_parts *all = one->all;
    const weights w = weights_of(one, unit);
    return (tl_head){.graph = all->graph,
                     .node = node_of(all, unit->head),
                     .gemm = all->ops->gemm,
                     .resize = all->ops->resize,
                     .rows = one->rows,
                     .first_row = one->first_row,
                     .stream = tl_random_bits(batch->seed, batch->step * 4096 + unit->head),
                     .dst = dst,
                     .kernel = w.kernel,
                     .bias = w.bias,
                     .grad_kernel = w.grad_kernel,
                     .grad_bias = w.grad_bias};
}

static tl_status
forward_unit(part *one, const tl_parts_batch *batch, size_t u)
{
    tl_status status = TL_OK;
    const tl_parts *all = one->all;
    const tl_unit *unit = &all->plan.units[u];
    const weights w = weights_of(one, unit);
    tl_moments *moments = unit->batch_statistics ? &one->moments[u] : NULL;
    float *dst = value_of(one, u);
    room r = {one->scratch};
    float *sums = take(&r, 4 * unit->channels * sizeof *sums);
    if (unit->is_layer) {
        all->ops->training->forward(&unit->layer,
                                    &(tl_layer_forward){
                                        .dst = dst,
                                        .src = view_of(one, batch, unit->inputs[0]),
                                        .kernel = w.kernel,
                                        .bias = w.bias,
                                        .function = unit->folded ? unit->function : TL_LINEAR,
                                        .packed = all->packed.base + unit->packed_offset,
                                        .images = one->rows,
                                        .moments = moments,
                                        .scratch = r.next,
                                    });
        return TL_OK;
    }
    if (is_copy(all, unit)) {
        forward_sum(one, batch, unit, dst, &r);
    } else {
        tl_head head = describe_head(one, batch, unit, dst);
        load_inputs(&head, one, batch, unit, &r);
        TL_TRY(tl_head_forward(&head));
    }
    if (moments != NULL) {
        all->ops->training->moments(moments, dst, one->rows * unit->pixels, unit->channels,
                                    sums);
    }
done:
    return status;
}

/* The gradient of what the unit stores, where it lies or in scratch. */
static const float *
inner_gradient(const part *one, size_t u, room *r)
{
    const tl_unit *unit = &one->all->plan.units[u];
    const tl_inner inner = inner_of(one, u);
    const size_t pixels = one->rows * unit->pixels;
    if (inner.scale == NULL) {
        return inner.gradient;
    }
    float *dst = take(r, pixels * unit->channels * sizeof *dst);
    one->all->ops->training->inner(dst, &inner, 0, pixels, unit->channels);
    return dst;
}

static void
give(const part *one, const tl_parts_batch *batch, const tl_unit *unit, size_t k,
     const float *grad, room *r)
{
    const tl_unit *input = &one->all->plan.units[unit->inputs[k]];
    const tl_gradient to = gradient_of(one, batch, unit, k);
    float *sums = take(r, 4 * input->channels * sizeof *sums);
    if (to.data != NULL) {
        one->all->ops->training->pass(&to, grad, 0, one->rows * input->pixels, input->channels,
                                      sums);
    }
}

static tl_status
backward_head(part *one, const tl_parts_batch *batch, size_t u, const float *grad, room *r)
{
    tl_status status = TL_OK;
    const tl_parts *all = one->all;
    const tl_unit *unit = &all->plan.units[u];
    tl_head head = describe_head(one, batch, unit, value_of(one, u));
    head.grad = grad;
    load_inputs(&head, one, batch, unit, r);
    for (size_t k = 0; k < unit->input_count; k++) {
        const tl_unit *input = &all->plan.units[unit->inputs[k]];
        const size_t bytes = one->rows * input->pixels * input->channels * sizeof(float);
        if (input->wants_grad) {
            head.grad_src[k] = take(r, bytes);
            memset(head.grad_src[k], 0, bytes);
        }
    }
    TL_TRY(tl_head_backward(&head));
    for (size_t k = 0; k < unit->input_count; k++) {
        if (head.grad_src[k] != NULL) {
            give(one, batch, unit, k, head.grad_src[k], r);
        }
    }
done:
    return status;
}

static tl_status
backward_unit(part *one, const tl_parts_batch *batch, size_t u)
{
    const tl_parts *all = one->all;
    const tl_unit *unit = &all->plan.units[u];
    const weights w = weights_of(one, unit);
    room r = {one->scratch};
    if (unit->is_layer) {
        all->ops->training->backward(&unit->layer,
                                     &(tl_layer_backward){
                                         .dst = inner_of(one, u),
                                         .src = view_of(one, batch, unit->inputs[0]),
                                         .src_gradient = gradient_of(one, batch, unit, 0),
                                         .kernel = w.kernel,
                                         .grad_kernel = w.grad_kernel,
                                         .grad_bias = w.grad_bias,
                                         .packed = all->packed.base + unit->packed_offset,
                                         .images = one->rows,
                                         .scratch = r.next,
                                     });
        return TL_OK;
    }
    const float *grad = inner_gradient(one, u, &r);
    if (!is_copy(all, unit)) {
        return backward_head(one, batch, u, grad, &r);
    }
    for (size_t k = 0; k < unit->input_count; k++) {
        give(one, batch, unit, k, grad, &r);
    }
    return TL_OK;
}

/* --- between units ---------------------------------------------------------------------- */

/* How a batch norm reads, once mean and variance are there. */
static void
settle_norm(const tl_parts *all, size_t u)
{
    const tl_unit *unit = &all->plan.units[u];
    const tl_node *node = node_of(all, unit->norm);
    const float *gamma = parameter(all, node->first_param);
    norm *n = &all->norms[u];
    for (size_t c = 0; c < unit->channels; c++) {
        const double variance = (double)n->variance[c];
        const double inverse = 1.0 / sqrt(variance + (double)node->batch_normalization.epsilon);
        n->inverse[c] = (float)inverse;
        n->scale[c] = (float)((double)gamma[c] * inverse);
    }
    memcpy(n->shift, parameter(all, node->first_param + 1), unit->channels * sizeof(float));
}

static void
read_stored_statistics(const tl_parts *all)
{
    for (size_t u = 1; u < all->plan.count; u++) {
        const tl_unit *unit = &all->plan.units[u];
        if (unit->norm != TL_NONE && !unit->batch_statistics) {
            const size_t first = node_of(all, unit->norm)->first_param;
            const size_t bytes = unit->channels * sizeof(float);
            memcpy(all->norms[u].mean, parameter(all, first + 2), bytes);
            memcpy(all->norms[u].variance, parameter(all, first + 3), bytes);
            settle_norm(all, u);
        }
    }
}

/* Statistics of the batch out of those of the parts, in their order. */
static void
merge_statistics(const tl_parts *all, size_t u)
{
    const tl_unit *unit = &all->plan.units[u];
    norm *n = &all->norms[u];
    for (size_t c = 0; c < unit->channels; c++) {
        double count = 0;
        double mean = 0;
        double squares = 0;
        for (size_t i = 0; i < all->used; i++) {
            const tl_moments *m = &all->parts[i].moments[u];
            const double total = count + m->count;
            const double delta = m->mean[c] - mean;
            mean += delta * m->count / total;
            squares += m->squares[c] + delta * delta * count * m->count / total;
            count = total;
        }
        n->mean[c] = (float)mean;
        n->variance[c] = (float)(squares / count); /* biased, as in Keras 3 */
    }
    settle_norm(all, u);
}

static double
sum_of_parts(const tl_parts *all, size_t u, size_t index)
{
    double sum = 0;
    for (size_t i = 0; i < all->used; i++) {
        sum += all->parts[i].unit_sums[u][index];
    }
    return sum;
}

/* What the gradient through the statistics takes off. */
static void
merge_sums(const tl_parts *all, size_t u)
{
    const tl_unit *unit = &all->plan.units[u];
    const norm *n = &all->norms[u];
    const double count = (double)all->batch_rows * (double)unit->pixels;
    for (size_t c = 0; c < unit->channels; c++) {
        const double scale = (double)n->scale[c];
        const double inverse = (double)n->inverse[c];
        const double products = sum_of_parts(all, u, unit->channels + c);
        n->offset[c] = (float)(scale * sum_of_parts(all, u, c) / count);
        n->slope[c] = (float)(scale * inverse * inverse * products / count);
    }
}

/* Gradients of gamma and beta, from the sums. */
static void
give_norm_gradients(const tl_parts *all, size_t u)
{
    const tl_unit *unit = &all->plan.units[u];
    const size_t first = node_of(all, unit->norm)->first_param;
    float *grad_gamma = all->parts[0].grads[first];
    float *grad_beta = all->parts[0].grads[first + 1];
    for (size_t c = 0; c < unit->channels; c++) {
        if (grad_gamma != NULL) {
            const double inverse = (double)all->norms[u].inverse[c];
            grad_gamma[c] = (float)(sum_of_parts(all, u, unit->channels + c) * inverse);
        }
        if (grad_beta != NULL) {
            grad_beta[c] = (float)sum_of_parts(all, u, c);
        }
    }
}

/* --- a run ------------------------------------------------------------------------------ */

/* What the parts do next: units [begin, end) forward, the loss, units [begin, end) backward. */
typedef struct walk {
    tl_parts *all;
    const tl_parts_batch *batch;
    size_t begin, end;
    bool turns;                  /* the loss follows */
    size_t back_begin, back_end; /* units, the last first */
    size_t turn;                 /* of rows, where parts take a few at a time */
} walk;

static double
seconds(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double
now(void)
{
    return seconds(CLOCK_MONOTONIC);
}

/* Of this thread: what other programs do meanwhile is not counted. */
static double
cpu_time(void)
{
    return seconds(CLOCK_THREAD_CPUTIME_ID);
}

/* Rows [begin, end) of the batch are the part's. */
static size_t
first_row_of(const tl_parts *all, size_t index)
{
    return all->batch_rows * index / all->used;
}

static void
turn_back(part *one, const tl_parts_batch *batch)
{
    const tl_parts *all = one->all;
    const size_t u = all->plan.logits;
    const tl_unit *unit = &all->plan.units[u];
    const size_t cols = unit->channels * unit->pixels;
    const size_t target_cols = tl_loss_target_cols(all->loss.kind, cols);
    const tl_view view = view_of(one, batch, u);
    const tl_gradient to = gradient_to(one, batch, u, false, true);
    room r = {one->scratch};
    float *sums = take(&r, 4 * unit->channels * sizeof *sums);
    float *grad = take(&r, one->rows * cols * sizeof *grad);
    float *outputs = batch->outputs + one->first_row * cols;
    double loss;
    /* the logits lie in the outputs until the loss is known */
    all->ops->training->load(outputs, &view, one->rows * unit->pixels, unit->channels);
    tl_loss_compute(&all->loss, &loss, grad, outputs,
                    batch->targets + one->first_row * target_cols,
                    batch->weights == NULL ? NULL : batch->weights + one->first_row, one->rows,
                    cols, all->batch_rows);
    one->loss += loss;
    tl_activation_forward(outputs, outputs, one->rows, cols, all->output);
    all->ops->training->pass(&to, grad, 0, one->rows * unit->pixels, unit->channels, sums);
}

static tl_status
walk_task(void *context, size_t index)
{
    tl_status status = TL_OK;
    const walk *w = context;
    part *one = &w->all->parts[index];
    const size_t at_once = w->all->at_once;
    const size_t begin = first_row_of(w->all, index) + w->turn * at_once;
    const size_t end = first_row_of(w->all, index + 1);
    if (begin >= end) {
        return TL_OK;
    }
    one->first_row = begin;
    one->rows = end - begin < at_once ? end - begin : at_once;
    double started = cpu_time();
    for (size_t u = w->begin; u < w->end; u++) {
        TL_TRY(forward_unit(one, w->batch, u));
        const double finished = cpu_time();
        one->seconds[u][0] += finished - started;
        started = finished;
    }
    if (w->turns) {
        turn_back(one, w->batch);
    }
    started = cpu_time();
    for (size_t u = w->back_end; u-- > w->back_begin;) {
        if (w->all->plan.units[u].wants_grad) {
            TL_TRY(backward_unit(one, w->batch, u));
            const double finished = cpu_time();
            one->seconds[u][1] += finished - started;
            started = finished;
        }
    }
done:
    return status;
}

static tl_status
clear_task(void *context, size_t index)
{
    const tl_parts *all = context;
    part *one = &all->parts[index];
    for (size_t u = 1; u < all->plan.count; u++) {
        const size_t bytes = all->plan.units[u].channels * sizeof(double);
        one->moments[u].count = 0;
        if (all->plan.units[u].norm != TL_NONE) {
            memset(one->moments[u].mean, 0, bytes);
            memset(one->moments[u].squares, 0, bytes);
            memset(one->unit_sums[u], 0, 2 * bytes);
        }
    }
    for (size_t p = 0; p < all->graph->param_count; p++) {
        if (one->grads[p] != NULL) {
            memset(one->grads[p], 0, tl_network_tensor(all->network, p)->count * sizeof(float));
        }
    }
    one->loss = 0;
    return TL_OK;
}

/* Kernel and bias with the batch norm in them. */
static void
fold(const tl_parts *all, const tl_unit *unit)
{
    const tl_node *node = node_of(all, unit->head);
    const tl_layer *layer = &unit->layer;
    float *kernel = tl_arena_at(&all->packed, unit->folded_offset);
    tl_step step = {.kind = layer->depthwise ? TL_STEP_DEPTHWISE_CONV2D : TL_STEP_CONV2D,
                    .src_shape = layer->src,
                    .dst_shape = layer->dst,
                    .kernel = {layer->kernel[0], layer->kernel[1]},
                    .kernel_param = node->first_param,
                    .bias_param = node->param_count > 1 ? node->first_param + 1 : TL_NONE,
                    .gamma_param = TL_NONE};
    if (unit->norm != TL_NONE) {
        const tl_node *norm_node = node_of(all, unit->norm);
        step.gamma_param = norm_node->first_param;
        step.epsilon = norm_node->batch_normalization.epsilon;
    }
    tl_step_fold(&step, kernel, kernel + tl_layer_kernel_count(layer),
                 tl_network_data(all->network));
}

static tl_status
pack_task(void *context, size_t index)
{
    const tl_parts *all = context;
    const tl_unit *unit = &all->plan.units[index];
    if (unit->folded) {
        fold(all, unit);
    }
    if (unit->is_layer) {
        const weights w = weights_of(&all->parts[0], unit);
        all->ops->training->pack(&unit->layer, all->packed.base + unit->packed_offset, w.kernel,
                                 w.bias);
    }
    return TL_OK;
}

/* The gradient of one parameter: of all parts, in their order. */
static tl_status
add_task(void *context, size_t param)
{
    const tl_parts *all = context;
    if (all->trains[param]) {
        const size_t count = tl_network_tensor(all->network, param)->count;
        float *sum = all->parts[0].grads[param];
        for (size_t i = 1; i < all->used; i++) {
            const float *more = all->parts[i].grads[param];
            for (size_t k = 0; k < count; k++) {
                sum[k] += more[k];
            }
        }
    }
    return TL_OK;
}

/* Gradients of folded kernels and biases -> those of the kernels and biases themselves. */
static void
unfold_gradients(const tl_parts *all, size_t u)
{
    const tl_unit *unit = &all->plan.units[u];
    const tl_node *node = node_of(all, unit->head);
    const float *scale = all->norms[u].scale;
    for (size_t k = 0; k < node->param_count; k++) {
        float *grad = all->parts[0].grads[node->first_param + k];
        const size_t count = tl_network_tensor(all->network, node->first_param + k)->count;
        for (size_t i = 0; grad != NULL && i < count; i++) {
            grad[i] *= scale[i % unit->channels]; /* the output channel runs fastest */
        }
    }
}

/* Asks, but not too often. */
static bool
is_interrupted(const tl_parts_batch *batch, double *asked)
{
    const double time = now();
    if (batch->interrupted == NULL || time - *asked < BETWEEN_QUESTIONS) {
        return false;
    }
    *asked = time;
    return batch->interrupted(batch->context);
}

/* All parts go as far as the next batch norm that needs them all, and so on, there and back. */
static tl_status
run_together(tl_parts *all, const tl_parts_batch *batch)
{
    tl_status status = TL_OK;
    const size_t count = all->plan.logits + 1;
    const tl_unit *units = all->plan.units;
    double asked = now();
    for (size_t u = 1; u < count;) {
        walk w = {.all = all, .batch = batch, .begin = u};
        while (u < count && !units[u].batch_statistics) {
            u++;
        }
        w.end = u < count ? u + 1 : u;
        w.turns = u == count;
        TL_TRY(tl_pool_run(walk_task, &w, all->used));
        if (u < count) {
            merge_statistics(all, u);
            u++;
        }
        if (u == count && !w.turns) {
            TL_TRY(tl_pool_run(walk_task, &(walk){.all = all, .batch = batch, .turns = true},
                               all->used));
        }
        if (is_interrupted(batch, &asked)) {
            return TL_INTERRUPTED;
        }
    }
    for (size_t u = count; u > 1;) {
        walk w = {.all = all, .batch = batch, .back_end = u};
        if (units[u - 1].batch_statistics) {
            merge_sums(all, u - 1);
        }
        u--;
        while (u > 1 && !units[u - 1].batch_statistics) {
            u--;
        }
        w.back_begin = u;
        TL_TRY(tl_pool_run(walk_task, &w, all->used));
        if (is_interrupted(batch, &asked)) {
            return TL_INTERRUPTED;
        }
    }
done:
    return status;
}

/* Each part alone, a few rows at a time. */
static tl_status
run_alone(tl_parts *all, const tl_parts_batch *batch)
{
    tl_status status = TL_OK;
    const size_t count = all->plan.logits + 1;
    const size_t longest = (all->batch_rows + all->used - 1) / all->used;
    double asked = now();
    for (size_t turn = 0; turn * all->at_once < longest; turn++) {
        TL_TRY(tl_pool_run(walk_task,
                           &(walk){.all = all,
                                   .batch = batch,
                                   .begin = 1,
                                   .end = count,
                                   .turns = true,
                                   .back_begin = 1,
                                   .back_end = count,
                                   .turn = turn},
                           all->used));
        if (is_interrupted(batch, &asked)) {
            return TL_INTERRUPTED;
        }
    }
done:
    return status;
}

tl_status
tl_parts_run(tl_parts *parts, double *loss, const tl_parts_batch *batch)
{
    tl_status status = TL_OK;
    double sum = 0;
    TL_TRY(tl_pool_run(clear_task, parts, parts->used));
    TL_TRY(tl_pool_run(pack_task, parts, parts->plan.count));
    read_stored_statistics(parts);
    TL_TRY(parts->plan.batch_statistics ? run_together(parts, batch) : run_alone(parts, batch));
    if (parts->used > 1) {
        TL_TRY(tl_pool_run(add_task, parts, parts->graph->param_count));
    }
    for (size_t u = 1; u < parts->plan.count; u++) {
        const tl_unit *unit = &parts->plan.units[u];
        if (unit->norm != TL_NONE && unit->wants_grad) {
            (unit->folded ? unfold_gradients : give_norm_gradients)(parts, u);
        }
    }
    for (size_t i = 0; i < parts->used; i++) {
        sum += parts->parts[i].loss;
    }
    *loss = sum;
done:
    return status;
}

const float *const *
tl_parts_gradients(const tl_parts *parts)
{
    return (const float *const *)parts->parts[0].grads;
}

void
tl_parts_move_statistics(const tl_parts *parts)
{
    for (size_t u = 1; u < parts->plan.count; u++) {
        const tl_unit *unit = &parts->plan.units[u];
        if (!unit->batch_statistics) {
            continue;
        }
        const tl_node *node = node_of(parts, unit->norm);
        const float keep = parts->norms[u].momentum;
        float *mean = tl_network_tensor(parts->network, node->first_param + 2)->data;
        float *variance = tl_network_tensor(parts->network, node->first_param + 3)->data;
        for (size_t c = 0; c < unit->channels; c++) {
            mean[c] = mean[c] * keep + parts->norms[u].mean[c] * (1.0F - keep);
            variance[c] = variance[c] * keep + parts->norms[u].variance[c] * (1.0F - keep);
        }
    }
}

bool
tl_parts_time(const tl_parts *parts, size_t index, tl_unit_time *time)
{
    if (index + 1 >= parts->plan.count) {
        return false;
    }
    const size_t u = index + 1;
    *time = (tl_unit_time){.name = node_of(parts, parts->plan.units[u].head)->name};
    for (size_t i = 0; i < parts->count; i++) {
        time->forward += parts->parts[i].seconds[u][0] / (double)parts->count;
        time->backward += parts->parts[i].seconds[u][1] / (double)parts->count;
    }
    return true;
}
