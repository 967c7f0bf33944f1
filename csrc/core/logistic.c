/* The objective of a logistic regression in blocks, and the search that asks for it. */
#include "core/logistic.h"

#include <math.h>
#include <string.h>

#include "core/arena.h"
#include "core/lbfgs.h"
#include "core/logistic_loops.h"
#include "core/pool.h"
#include "core/shape.h"

/* What the blocks of a round compute; between rounds one thread sums up. */
typedef enum stage {
    MEANS,      /* of the features; a block is some columns */
    DEVIATIONS, /* from them; the same */
    SCORES,     /* of rows, their losses and what is wrong with them; a block is some rows */
    GRADIENT,   /* a block is some columns; a round is a stretch of rows */
    OUTCOMES,   /* of all rows, at the end */
    DONE
} stage;

enum { ROWS = 32, STRETCH = 4096, ARRAYS = 7 };

static const double ROUNDING = 1e-24; /* of a squared mean: a variance below it is rounding */

struct tl_logistic {
    tl_logistic_plan plan;
    const tl_logistic_loops *loops;
    tl_lbfgs *search;
    tl_arena arena;
    size_t *chosen; /* (count): rows with a weight above 0 */
    size_t count;
    double total; /* of their weights */
    double *mean; /* (width) */
    double scale; /* weight = what the search sees * scale */
    double bias_scale;
    double *weights;  /* (outputs, padded width) at the search's point */
    double *bias;     /* (outputs) */
    double *errors;   /* (rows, outputs): weight * (probability - truth), then probability */
    double *losses;   /* (blocks of rows) */
    double *gradient; /* (outputs, padded width) */
    size_t padded;
    stage stage;
    size_t block, stretch; /* the next of this round, and the round */
    tl_logistic_result result;
};

/* --- the plan --------------------------------------------------------------------------- */

static tl_status
check_plan(const tl_logistic_plan *plan)
{
    const int64_t classes = plan->outputs == 1 ? 2 : (int64_t)plan->outputs;
    if (plan->rows == 0 || plan->width == 0 || plan->outputs == 0 ||
        plan->outputs > INT64_MAX) {
        return tl_fail(TL_BAD_VALUE, "features (%zu, %zu) and %zu outputs leave nothing to fit",
                       plan->rows, plan->width, plan->outputs);
    }
    if (!(plan->l2 >= 0) || !isfinite(plan->l2)) {
        return tl_fail(TL_BAD_VALUE, "l2 must be a number of at least 0, not %g", plan->l2);
    }
    if (!(plan->tolerance > 0) || !isfinite(plan->tolerance)) {
        return tl_fail(TL_BAD_VALUE, "tolerance must be a number above 0, not %g",
                       plan->tolerance);
    }
    for (size_t i = 0; plan->start != NULL && i < (plan->width + 1) * plan->outputs; i++) {
        if (!isfinite(plan->start[i])) {
            return tl_fail(TL_BAD_VALUE, "start must hold finite numbers, but %zu is %g", i,
                           plan->start[i]);
        }
    }
    for (size_t r = 0; r < plan->rows; r++) {
        if (plan->labels[r] < 0 || plan->labels[r] >= classes) {
            return tl_fail(TL_BAD_VALUE, "labels must be from 0 to %lld, but label %zu is %lld",
                           (long long)classes - 1, r, (long long)plan->labels[r]);
        }
        if (plan->weights != NULL && !(plan->weights[r] >= 0 && isfinite(plan->weights[r]))) {
            return tl_fail(TL_BAD_VALUE,
                           "sample_weight must hold numbers of at least 0, but %zu is %g", r,
                           (double)plan->weights[r]);
        }
    }
    return TL_OK;
}

static size_t
blocks_of(size_t count, size_t size)
{
    return count / size + (count % size != 0);
}

/* One arena for everything but the search. */
static tl_status
allocate(tl_logistic *fit)
{
    tl_status status = TL_OK;
    const tl_logistic_plan *plan = &fit->plan;
    tl_layout layout = {0};
    size_t cells;
    size_t matrix;
    size_t places[ARRAYS];
    TL_TRY(tl_multiply(&cells, plan->rows, plan->outputs));
    TL_TRY(tl_multiply(&matrix, fit->padded, plan->outputs));
    const size_t counts[ARRAYS] = {
        plan->rows, fit->padded, matrix, plan->outputs, cells, blocks_of(plan->rows, ROWS),
        matrix,
    };
    for (size_t i = 0; i < ARRAYS; i++) {
        size_t bytes;
        TL_TRY(tl_multiply(&bytes, counts[i], sizeof(double)));
        TL_TRY(tl_layout_add(&layout, &places[i], bytes));
    }
    TL_TRY(tl_arena_create(&fit->arena, layout.size));
    fit->chosen = tl_arena_at(&fit->arena, places[0]); /* size_t is no wider than double */
    fit->mean = tl_arena_at(&fit->arena, places[1]);
    fit->weights = tl_arena_at(&fit->arena, places[2]);
    fit->bias = tl_arena_at(&fit->arena, places[3]);
    fit->errors = tl_arena_at(&fit->arena, places[4]);
    fit->losses = tl_arena_at(&fit->arena, places[5]);
    fit->gradient = tl_arena_at(&fit->arena, places[6]);
done:
    return status;
}

static tl_status
choose_rows(tl_logistic *fit)
{
    for (size_t r = 0; r < fit->plan.rows; r++) {
        const double weight = fit->plan.weights == NULL ? 1 : (double)fit->plan.weights[r];
        if (weight > 0) {
            fit->chosen[fit->count++] = r;
            fit->total += weight;
        }
    }
    if (fit->count == 0) {
        return tl_fail(TL_BAD_VALUE, "sample_weight leaves no row to learn from");
    }
    return TL_OK;
}

tl_status
tl_logistic_create(tl_logistic **out, const tl_logistic_plan *plan)
{
    tl_status status = TL_OUT_OF_MEMORY;
    size_t variables;
    tl_logistic *fit = NULL;
    TL_TRY(check_plan(plan));
    if (plan->width > SIZE_MAX - TL_LOGISTIC_COLUMNS) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    fit = tl_alloc(1, sizeof *fit);
    if (fit == NULL) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    fit->plan = *plan;
    fit->loops = tl_logistic_loops_for(tl_cpu_isa());
    fit->padded = blocks_of(plan->width, TL_LOGISTIC_COLUMNS) * TL_LOGISTIC_COLUMNS;
    TL_TRY(allocate(fit));
    TL_TRY(choose_rows(fit));
    TL_TRY(tl_multiply(&variables, plan->width + 1, plan->outputs));
    TL_TRY(tl_lbfgs_create(&fit->search, variables,
                           &(tl_lbfgs_limits){plan->tolerance, plan->iterations}));
    *out = fit;
    fit = NULL;
done:
    tl_logistic_destroy(fit);
    return status;
}

void
tl_logistic_destroy(tl_logistic *fit)
{
    if (fit != NULL) {
        tl_lbfgs_destroy(fit->search);
        tl_arena_destroy(&fit->arena);
        tl_free(fit);
    }
}

bool
tl_logistic_is_done(const tl_logistic *fit)
{
    return fit->stage == DONE;
}

/* --- between what the search sees and what the rows are multiplied with -------------------
 *
 * The search sees u (width + 1, outputs). Weights are w = scale u; the last row of u is the
 * score at the features' means, so the bias is that less mean * w. Of MobileNetV2's features
 * this halves the steps; a scale for each feature, by its variance, doubles them again. */

static void
look_up_point(tl_logistic *fit)
{
    const size_t outputs = fit->plan.outputs;
    const double *u = tl_lbfgs_point(fit->search);
    for (size_t c = 0; c < outputs; c++) {
        double *weights = fit->weights + c * fit->padded;
        double moved = 0;
        for (size_t j = 0; j < fit->plan.width; j++) {
            weights[j] = u[j * outputs + c] * fit->scale;
            moved += weights[j] * fit->mean[j];
        }
        fit->bias[c] = u[fit->plan.width * outputs + c] * fit->bias_scale - moved;
    }
}

static void
set_start(tl_logistic *fit)
{
    const size_t outputs = fit->plan.outputs;
    const size_t width = fit->plan.width;
    const double *start = fit->plan.start;
    double *u = tl_lbfgs_point(fit->search);
    for (size_t c = 0; start != NULL && c < outputs; c++) {
        double moved = 0;
        for (size_t j = 0; j < width; j++) {
            u[j * outputs + c] = start[j * outputs + c] / fit->scale;
            moved += start[j * outputs + c] * fit->mean[j];
        }
        u[width * outputs + c] = (start[width * outputs + c] + moved) / fit->bias_scale;
    }
}

/* The value and the gradient at the point, out of what the blocks found. */
static double
sum_up(tl_logistic *fit)
{
    const size_t outputs = fit->plan.outputs;
    const double l2 = fit->plan.l2;
    double *gradient = tl_lbfgs_gradient(fit->search);
    double loss = 0;
    double squares = 0;
    for (size_t b = 0; b < blocks_of(fit->count, ROWS); b++) {
        loss += fit->losses[b];
    }
    for (size_t c = 0; c < outputs; c++) {
        const double *weights = fit->weights + c * fit->padded;
        const double *found = fit->gradient + c * fit->padded;
        double wrong = 0;
        for (size_t i = 0; i < fit->count; i++) {
            wrong += fit->errors[fit->chosen[i] * outputs + c];
        }
        gradient[fit->plan.width * outputs + c] = wrong / fit->total * fit->bias_scale;
        for (size_t j = 0; j < fit->plan.width; j++) {
            const double slope = (found[j] - fit->mean[j] * wrong) / fit->total;
            gradient[j * outputs + c] = (slope + l2 * weights[j]) * fit->scale;
            squares += weights[j] * weights[j];
        }
    }
    return loss / fit->total + l2 / 2 * squares;
}

/* --- blocks ------------------------------------------------------------------------------ */

typedef struct round {
    tl_logistic *fit;
    size_t first; /* block */
} round_job;

static double
weight_of(const tl_logistic *fit, size_t row)
{
    return fit->plan.weights == NULL ? 1 : (double)fit->plan.weights[row];
}

static tl_status
sum_columns(void *context, size_t index)
{
    const round_job *job = context;
    tl_logistic *fit = job->fit;
    const size_t width = fit->plan.width;
    const size_t begin = (job->first + index) * TL_LOGISTIC_COLUMNS;
    const size_t end =
        width - begin < TL_LOGISTIC_COLUMNS ? width : begin + TL_LOGISTIC_COLUMNS;
    const bool squares = fit->stage == DEVIATIONS;
    double *sums = squares ? fit->gradient : fit->mean; /* which is free so far */
    for (size_t i = 0; i < fit->count; i++) {
        const float *row = fit->plan.features + fit->chosen[i] * width;
        const double weight = weight_of(fit, fit->chosen[i]) / fit->total;
        for (size_t j = begin; j < end; j++) {
            const double x = squares ? (double)row[j] - fit->mean[j] : (double)row[j];
            sums[j] += weight * (squares ? x * x : x);
        }
    }
    for (size_t j = begin; j < end; j++) {
        if (!isfinite(sums[j])) {
            return tl_fail(TL_BAD_VALUE, "features hold NaN or infinity in column %zu", j);
        }
    }
    return TL_OK;
}

/* A row's scores become errors, or probabilities; returns its loss. */
static double
judge(double *scores, size_t outputs, int64_t label)
{
    if (outputs == 1) {
        const double score = label == 1 ? scores[0] : -scores[0];
        const double tail = exp(-fabs(scores[0]));
        scores[0] = (scores[0] >= 0 ? 1 : tail) / (1 + tail);
        return log1p(tail) + (score < 0 ? -score : 0);
    }
    const double right = scores[label];
    double most = scores[0];
    double sum = 0;
    for (size_t c = 1; c < outputs; c++) {
        most = fmax(most, scores[c]);
    }
    for (size_t c = 0; c < outputs; c++) {
        scores[c] = exp(scores[c] - most);
        sum += scores[c];
    }
    for (size_t c = 0; c < outputs; c++) {
        scores[c] /= sum;
    }
    return log(sum) + most - right;
}

static tl_status
score_rows(void *context, size_t index)
{
    const round_job *job = context;
    tl_logistic *fit = job->fit;
    const size_t outputs = fit->plan.outputs;
    const bool learning = fit->stage == SCORES;
    const size_t count = learning ? fit->count : fit->plan.rows;
    const size_t begin = (job->first + index) * ROWS;
    const size_t end = count - begin < ROWS ? count : begin + ROWS;
    double loss = 0;
    for (size_t at = begin; at < end; at += TL_LOGISTIC_TILE) {
        const size_t left = end - at < TL_LOGISTIC_TILE ? end - at : TL_LOGISTIC_TILE;
        const float *rows[TL_LOGISTIC_TILE];
        double *scores[TL_LOGISTIC_TILE];
        for (size_t t = 0; t < TL_LOGISTIC_TILE; t++) {
            const size_t i = at + (t < left ? t : 0); /* a short tile repeats its first row */
            const size_t row = learning ? fit->chosen[i] : i;
            rows[t] = fit->plan.features + row * fit->plan.width;
            scores[t] = fit->errors + row * outputs;
        }
        for (size_t t = 0; t < left; t++) {
            memcpy(scores[t], fit->bias, outputs * sizeof(double));
        }
        fit->loops->add_scores(scores, left, rows, fit->weights, fit->plan.width, fit->padded,
                               outputs);
        for (size_t t = 0; t < left; t++) {
            const size_t row = learning ? fit->chosen[at + t] : at + t;
            const int64_t label = fit->plan.labels[row];
            const double value = judge(scores[t], outputs, label);
            if (!learning) {
                continue;
            }
            const double weight = weight_of(fit, row);
            loss += weight * value;
            scores[t][outputs == 1 ? 0 : label] -= outputs == 1 ? (double)label : 1;
            for (size_t c = 0; c < outputs; c++) {
                scores[t][c] *= weight;
            }
        }
    }
    if (learning) {
        fit->losses[begin / ROWS] = loss;
    }
    return TL_OK;
}

static tl_status
add_gradient(void *context, size_t index)
{
    const round_job *job = context;
    tl_logistic *fit = job->fit;
    const size_t outputs = fit->plan.outputs;
    const size_t column = (job->first + index) * TL_LOGISTIC_COLUMNS;
    const size_t begin = fit->stretch * STRETCH;
    const size_t end = fit->count - begin < STRETCH ? fit->count : begin + STRETCH;
    const size_t left = fit->plan.width - column;
    const size_t columns = left < TL_LOGISTIC_COLUMNS ? left : TL_LOGISTIC_COLUMNS;
    if (begin == 0) {
        for (size_t c = 0; c < outputs; c++) {
            memset(fit->gradient + c * fit->padded + column, 0,
                   TL_LOGISTIC_COLUMNS * sizeof(double));
        }
    }
    for (size_t at = begin; at < end; at += TL_LOGISTIC_TILE) {
        const size_t count = end - at < TL_LOGISTIC_TILE ? end - at : TL_LOGISTIC_TILE;
        const float *rows[TL_LOGISTIC_TILE];
        const double *errors[TL_LOGISTIC_TILE];
        for (size_t t = 0; t < count; t++) {
            rows[t] = fit->plan.features + fit->chosen[at + t] * fit->plan.width + column;
            errors[t] = fit->errors + fit->chosen[at + t] * outputs;
        }
        fit->loops->add_gradient(fit->gradient + column, rows, errors, count, columns,
                                 fit->padded, outputs);
    }
    return TL_OK;
}

/* --- rounds ------------------------------------------------------------------------------ */

/* How many blocks this round has, what computes one, and how many multiplications that is. */
typedef struct round_size {
    tl_task task;
    size_t blocks;
    double cost;
} round_size;

static round_size
size_of_round(const tl_logistic *fit)
{
    const double width = (double)fit->plan.width;
    const double outputs = (double)fit->plan.outputs;
    const size_t columns = blocks_of(fit->plan.width, TL_LOGISTIC_COLUMNS);
    const size_t learned = blocks_of(fit->count, ROWS);
    const size_t all = blocks_of(fit->plan.rows, ROWS);
    const size_t stretch = fit->count < STRETCH ? fit->count : STRETCH;
    switch (fit->stage) {
    case SCORES:
        return (round_size){score_rows, learned, ROWS * width * outputs};
    case OUTCOMES:
        return (round_size){score_rows, all, ROWS * width * outputs};
    case GRADIENT:
        return (round_size){add_gradient, columns,
                            (double)stretch * TL_LOGISTIC_COLUMNS * outputs};
    default:
        return (round_size){sum_columns, columns, (double)fit->count * TL_LOGISTIC_COLUMNS};
    }
}

/* Scales under which the curvature along most variables is about 1, so that a tolerance means
 * the same for all features and penalties: `share` is that of the loss along a score, where
 * every output is as likely as any other. */
static void
set_scales(tl_logistic *fit)
{
    const double classes = fit->plan.outputs == 1 ? 2 : (double)fit->plan.outputs;
    const double share = (1 - 1 / classes) / classes;
    double variance = 0;
    for (size_t j = 0; j < fit->plan.width; j++) {
        if (fit->gradient[j] > ROUNDING * fit->mean[j] * fit->mean[j]) {
            variance += fit->gradient[j] / (double)fit->plan.width;
        }
    }
    const double curvature = share * variance + fit->plan.l2;
    fit->scale = curvature > 0 ? 1 / sqrt(curvature) : 1;
    fit->bias_scale = 1 / sqrt(share);
}

/* All blocks of a round have run: what comes next. */
static void
finish_round(tl_logistic *fit)
{
    fit->block = 0;
    switch (fit->stage) {
    case MEANS:
        fit->stage = DEVIATIONS;
        break;
    case DEVIATIONS:
        set_scales(fit);
        set_start(fit);
        look_up_point(fit);
        fit->stage = SCORES;
        break;
    case SCORES:
        fit->stretch = 0;
        fit->stage = GRADIENT;
        break;
    case GRADIENT:
        fit->stretch++;
        if (fit->stretch * STRETCH < fit->count) {
            break;
        }
        const double value = sum_up(fit);
        const tl_lbfgs_state state = tl_lbfgs_tell(fit->search, value);
        look_up_point(fit);
        fit->result = (tl_logistic_result){
            .value = tl_lbfgs_value(fit->search),
            .iterations = tl_lbfgs_iterations(fit->search),
            .converged = state != TL_LBFGS_LIMITED && isfinite(value),
        };
        fit->stage = state == TL_LBFGS_GOES_ON ? SCORES : OUTCOMES;
        break;
    default:
        fit->stage = DONE;
        break;
    }
}

tl_status
tl_logistic_advance(tl_logistic *fit, double effort)
{
    tl_status status = TL_OK;
    const size_t threads = tl_pool_threads();
    while (fit->stage != DONE && effort > 0) {
        const round_size size = size_of_round(fit);
        const double fitting = effort / size.cost;
        const size_t left = size.blocks - fit->block;
        size_t count = fitting < (double)left ? (size_t)fitting : left;
        count = count < threads ? (left < threads ? left : threads) : count;
        round_job job = {fit, fit->block};
        TL_TRY(tl_pool_run(size.task, &job, count));
        fit->block += count;
        effort -= size.cost * (double)count;
        if (fit->block == size.blocks) {
            finish_round(fit);
        }
    }
done:
    return status;
}

void
tl_logistic_read(const tl_logistic *fit, double *weights, double *bias, double *probabilities,
                 tl_logistic_result *result)
{
    const size_t outputs = fit->plan.outputs;
    double squares = 0;
    for (size_t c = 0; c < outputs; c++) {
        for (size_t j = 0; j < fit->plan.width; j++) {
            const double weight = fit->weights[c * fit->padded + j];
            weights[j * outputs + c] = weight;
            squares += weight * weight;
        }
    }
    memcpy(bias, fit->bias, outputs * sizeof(double));
    memcpy(probabilities, fit->errors, fit->plan.rows * outputs * sizeof(double));
    *result = fit->result;
    result->loss = result->value - fit->plan.l2 / 2 * squares;
}
