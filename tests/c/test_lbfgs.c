/* The search on functions whose lowest point is known, and logistic regression against an
 * objective written down a second time, with its gradient by finite differences in double. */
#include "builders.h"
#include "check.h"
#include "core/arena.h"
#include "core/lbfgs.h"
#include "core/logistic.h"
#include "core/logistic_loops.h"
#include "core/pool.h"
#include "core/random.h"

/* --- the search ------------------------------------------------------------------------- */

typedef double (*function)(double *gradient, const double *point, size_t count);

/* Rosenbrock's valley in chained form; lowest at (1, 1, ...), where it is 0. */
static double
valley(double *gradient, const double *x, size_t count)
{
    double value = 0;
    memset(gradient, 0, count * sizeof *gradient);
    for (size_t i = 0; i + 1 < count; i++) {
        const double bend = x[i + 1] - x[i] * x[i];
        value += 100 * bend * bend + (1 - x[i]) * (1 - x[i]);
        gradient[i] += -400 * x[i] * bend - 2 * (1 - x[i]);
        gradient[i + 1] += 200 * bend;
    }
    return value;
}

/* A bowl ten thousand times steeper one way than another; lowest at (1, 2, 3, ...). */
static double
bowl(double *gradient, const double *x, size_t count)
{
    double value = 0;
    for (size_t i = 0; i < count; i++) {
        const double steep = pow(10, 4.0 * (double)i / (double)(count - 1));
        const double off = x[i] - (double)(i + 1);
        value += steep * off * off / 2;
        gradient[i] = steep * off;
    }
    return value;
}

/* Infinite beyond 1: a trial that went too far must come back. Lowest at 0.9. */
static double
wall(double *gradient, const double *x, size_t count)
{
    double value = 0;
    for (size_t i = 0; i < count; i++) {
        if (x[i] >= 1) {
            gradient[i] = NAN;
            value = INFINITY;
        } else {
            value += -log(1 - x[i]) - 10 * x[i];
            gradient[i] = 1 / (1 - x[i]) - 10;
        }
    }
    return value;
}

static tl_lbfgs_state
search_with(double *point, function f, size_t count, const tl_lbfgs_limits *limits)
{
    tl_lbfgs *search = NULL;
    tl_lbfgs_state state = TL_LBFGS_LIMITED;
    CHECK_OK(tl_lbfgs_create(&search, count, limits));
    if (search == NULL) {
        return state;
    }
    memcpy(tl_lbfgs_point(search), point, count * sizeof *point);
    do {
        const double *at = tl_lbfgs_point(search);
        state = tl_lbfgs_tell(search, f(tl_lbfgs_gradient(search), at, count));
    } while (state == TL_LBFGS_GOES_ON);
    memcpy(point, tl_lbfgs_point(search), count * sizeof *point);
    CHECK(tl_lbfgs_iterations(search) <= limits->iterations);
    tl_lbfgs_destroy(search);
    return state;
}

static void
test_the_search_finds_the_lowest_point(void)
{
    double x[20];
    const tl_lbfgs_limits limits = {1e-9, 2000};
    for (size_t count = 2; count <= 20; count += 9) {
        for (size_t i = 0; i < count; i++) {
            x[i] = i % 2 == 0 ? -1.2 : 1;
        }
        const tl_lbfgs_state state = search_with(x, valley, count, &limits);
        CHECK(state == TL_LBFGS_CONVERGED || state == TL_LBFGS_EXACT);
        for (size_t i = 0; i < count && count == 2; i++) {
            CHECK_NEAR(x[i], 1, 1e-7); /* longer valleys have a second low point */
        }
        memset(x, 0, sizeof x);
        CHECK(search_with(x, bowl, count, &limits) != TL_LBFGS_LIMITED);
        for (size_t i = 0; i < count; i++) {
            CHECK_NEAR(x[i], (double)(i + 1), 1e-7);
        }
        memset(x, 0, sizeof x);
        CHECK(search_with(x, wall, count, &limits) != TL_LBFGS_LIMITED);
        for (size_t i = 0; i < count; i++) {
            CHECK_NEAR(x[i], 0.9, 1e-7);
        }
    }
}

static void
test_the_search_ends_where_it_is_told(void)
{
    double x[10] = {0};
    double gradient[10];
    const double before = valley(gradient, x, 10);
    CHECK(search_with(x, valley, 10, &(tl_lbfgs_limits){1e-9, 5}) == TL_LBFGS_LIMITED);
    CHECK(valley(gradient, x, 10) < before);
    memset(x, 0, sizeof x);
    CHECK(search_with(x, valley, 10, &(tl_lbfgs_limits){1e9, 5}) == TL_LBFGS_CONVERGED);
    CHECK(x[0] == 0);
    /* no tolerance can be met: what rounding allows ends it, at the best point */
    memset(x, 0, sizeof x);
    CHECK(search_with(x, bowl, 10, &(tl_lbfgs_limits){1e-300, 100000}) != TL_LBFGS_LIMITED);
    CHECK_NEAR(x[9], 10, 1e-12);
    /* the function is infinite from the start: nowhere to go */
    x[0] = 2;
    CHECK(search_with(x, wall, 10, &(tl_lbfgs_limits){1e-9, 5}) == TL_LBFGS_EXACT);
    CHECK(x[0] == 2);
}

/* --- logistic regression ---------------------------------------------------------------- */

enum { MOST_ROWS = 4500, MOST_CELLS = 40000, MOST_OUTPUTS = 5 };

static float features[MOST_CELLS];
static int64_t labels[MOST_ROWS];
static float row_weights[MOST_ROWS];
static double start[1000];

/* A plan with features of means far from 0 and labels that they tell something about. */
static tl_logistic_plan
plan_for(size_t rows, size_t width, size_t outputs, double l2)
{
    const size_t classes = outputs == 1 ? 2 : outputs;
    random_numbers(features, rows * width, 3);
    random_numbers(row_weights, rows, 4);
    for (size_t r = 0; r < rows; r++) {
        labels[r] = (int64_t)(tl_random_bits(5, r) % classes);
        row_weights[r] = r % 7 == 0 ? 0 : fabsf(row_weights[r]);
        for (size_t j = 0; j < width; j++) {
            features[r * width + j] +=
                2 + (j % classes == (size_t)labels[r] ? 0.5F : 0) + (float)j / (float)width;
        }
    }
    return (tl_logistic_plan){.features = features,
                              .labels = labels,
                              .weights = row_weights,
                              .rows = rows,
                              .width = width,
                              .outputs = outputs,
                              .l2 = l2,
                              .tolerance = 1e-10,
                              .iterations = 2000};
}

/* What logistic.h says is minimised, in the plainest loops. probabilities may be NULL. */
static double
objective(double *probabilities, const tl_logistic_plan *plan, const double *weights,
          const double *bias)
{
    const size_t outputs = plan->outputs;
    double total = 0;
    double loss = 0;
    double squares = 0;
    for (size_t r = 0; r < plan->rows; r++) {
        double p[MOST_OUTPUTS];
        double sum = 0;
        const double weight = plan->weights == NULL ? 1 : (double)plan->weights[r];
        for (size_t c = 0; c < outputs; c++) {
            double score = bias[c];
            for (size_t j = 0; j < plan->width; j++) {
                score += (double)plan->features[r * plan->width + j] * weights[j * outputs + c];
            }
            p[c] = exp(score);
            sum += p[c];
        }
        sum += outputs == 1; /* a sigmoid: the other class scores 0 */
        for (size_t c = 0; c < outputs; c++) {
            p[c] /= sum;
            if (probabilities != NULL) {
                probabilities[r * outputs + c] = p[c];
            }
        }
        const double right =
            outputs > 1 ? p[plan->labels[r]] : (plan->labels[r] == 1 ? p[0] : 1 / sum);
        loss -= weight * log(right);
        total += weight;
    }
    for (size_t i = 0; i < plan->width * outputs; i++) {
        squares += weights[i] * weights[i];
    }
    return loss / total + plan->l2 / 2 * squares;
}

typedef struct answer {
    double weights[1000], bias[MOST_OUTPUTS], probabilities[MOST_ROWS * MOST_OUTPUTS];
    tl_logistic_result result;
} answer;

static tl_status
solve(answer *out, const tl_logistic_plan *plan, double effort)
{
    tl_status status = TL_OK;
    tl_logistic *fit = NULL;
    TL_TRY(tl_logistic_create(&fit, plan));
    while (!tl_logistic_is_done(fit)) {
        TL_TRY(tl_logistic_advance(fit, effort));
    }
    tl_logistic_read(fit, out->weights, out->bias, out->probabilities, &out->result);
done:
    tl_logistic_destroy(fit);
    return status;
}

static answer found, other;
static double expected[MOST_ROWS * MOST_OUTPUTS];

/* Central differences of the objective along every variable. */
static double
largest_slope(const tl_logistic_plan *plan, answer *at)
{
    const double h = 1e-5;
    double most = 0;
    for (size_t i = 0; i < (plan->width + 1) * plan->outputs; i++) {
        double *variable = i < plan->width * plan->outputs
                               ? &at->weights[i]
                               : &at->bias[i - plan->width * plan->outputs];
        const double kept = *variable;
        *variable = kept + h;
        const double up = objective(NULL, plan, at->weights, at->bias);
        *variable = kept - h;
        const double down = objective(NULL, plan, at->weights, at->bias);
        *variable = kept;
        most = fmax(most, fabs(up - down) / (2 * h));
    }
    return most;
}

static void
check_solution(const tl_logistic_plan *plan)
{
    CHECK_OK(solve(&found, plan, 1e7));
    CHECK(found.result.converged && found.result.iterations > 2);
    const double value = objective(expected, plan, found.weights, found.bias);
    CHECK_NEAR(found.result.value, value, 1e-12);
    CHECK(found.result.loss <= found.result.value);
    for (size_t i = 0; i < plan->rows * plan->outputs; i++) {
        CHECK_NEAR(found.probabilities[i], expected[i], 1e-12);
    }
    CHECK(largest_slope(plan, &found) < 1e-8);
}

static void
test_the_gradient_vanishes_at_the_solution(void)
{
    const struct {
        size_t rows, width, outputs;
        double l2;
    } cases[] = {{37, 5, 3, 0.1}, {33, 70, 2, 0.01}, {64, 64, 5, 1e-3},
                 {50, 3, 1, 0.1}, {41, 9, 1, 1e-3},  {4200, 2, 2, 1e-4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tl_logistic_plan plan =
            plan_for(cases[i].rows, cases[i].width, cases[i].outputs, cases[i].l2);
        check_solution(&plan);
        plan.weights = NULL;
        check_solution(&plan);
    }
}

/* No step at all: the value is that of the start, anywhere. */
static void
test_the_start_is_where_it_begins(void)
{
    tl_logistic_plan plan = plan_for(30, 6, 3, 0.2);
    for (size_t i = 0; i < 7 * 3; i++) {
        start[i] = (double)tl_random_uniform(8, i) - 0.5;
    }
    plan.start = start;
    plan.iterations = 0;
    CHECK_OK(solve(&found, &plan, 1e7));
    CHECK(!found.result.converged && found.result.iterations == 0);
    CHECK_NEAR(found.result.value, objective(NULL, &plan, start, start + 6 * 3), 1e-12);
    for (size_t i = 0; i < 6 * 3; i++) {
        CHECK_NEAR(found.weights[i], start[i], 1e-14);
    }
    for (size_t c = 0; c < 3; c++) {
        CHECK_NEAR(found.bias[c], start[6 * 3 + c], 1e-14);
    }
    /* from the solution it is there at once */
    plan.iterations = 1000;
    CHECK_OK(solve(&found, &plan, 1e7));
    memcpy(start, found.weights, 6 * 3 * sizeof *start);
    memcpy(start + 6 * 3, found.bias, 3 * sizeof *start);
    plan.tolerance = 1e-8;
    CHECK_OK(solve(&other, &plan, 1e7));
    CHECK(other.result.iterations == 0 && found.result.iterations > 2);
}

/* Rows of weight 0 are as good as absent, but get their probabilities. */
static void
test_rows_of_no_weight_are_left_out(void)
{
    tl_logistic_plan plan = plan_for(40, 6, 3, 0.05);
    for (size_t r = 0; r < 40; r++) {
        row_weights[r] = r < 25 ? 1 : 0;
    }
    CHECK_OK(solve(&found, &plan, 1e7));
    plan.weights = NULL;
    plan.rows = 25;
    CHECK_OK(solve(&other, &plan, 1e7));
    CHECK(memcmp(found.weights, other.weights, 6 * 3 * sizeof(double)) == 0);
    CHECK(memcmp(found.probabilities, other.probabilities, 25 * 3 * sizeof(double)) == 0);
    for (size_t r = 25; r < 40; r++) {
        const double *p = &found.probabilities[r * 3];
        CHECK_NEAR(p[0] + p[1] + p[2], 1, 1e-12);
    }
}

static void
test_neither_threads_nor_slices_change_a_bit(void)
{
    const tl_logistic_plan plan = plan_for(4300, 9, 3, 1e-3);
    CHECK_OK(solve(&found, &plan, 1e12));
    for (size_t threads = 1; threads <= 5; threads++) {
        CHECK_OK(tl_pool_set_threads(threads));
        CHECK_OK(solve(&other, &plan, threads == 3 ? 1 : 3e4));
        CHECK(memcmp(&found.result, &other.result, sizeof found.result) == 0);
        CHECK(memcmp(found.weights, other.weights, 9 * 3 * sizeof(double)) == 0);
        CHECK(memcmp(found.bias, other.bias, 3 * sizeof(double)) == 0);
        CHECK(memcmp(found.probabilities, other.probabilities, 4300 * 3 * sizeof(double)) == 0);
    }
    CHECK_OK(tl_pool_set_threads(2));
}

/* What can be told apart has no lowest point without a penalty; the search still ends. */
static void
test_separable_rows_without_a_penalty(void)
{
    tl_logistic_plan plan = plan_for(12, 30, 3, 0);
    plan.weights = NULL;
    plan.iterations = 200;
    CHECK_OK(solve(&found, &plan, 1e7));
    CHECK(found.result.value < 1e-6 && found.result.value == found.result.loss);
    for (size_t r = 0; r < 12; r++) {
        CHECK(found.probabilities[r * 3 + (size_t)labels[r]] > 0.999);
    }
}

/* Columns that are all alike, and a single row. */
static void
test_features_that_tell_nothing(void)
{
    tl_logistic_plan plan = plan_for(20, 4, 2, 0);
    size_t ones = 0;
    double weight = 0;
    double of_ones = 0;
    for (size_t i = 0; i < 20 * 4; i++) {
        features[i] = 3;
    }
    for (size_t r = 0; r < 20; r++) {
        weight += (double)row_weights[r];
        of_ones += labels[r] == 1 ? (double)row_weights[r] : 0;
        ones += labels[r] == 1;
    }
    CHECK(ones > 0 && ones < 20);
    CHECK_OK(solve(&found, &plan, 1e7));
    CHECK_NEAR(found.probabilities[1], of_ones / weight, 1e-9);
    CHECK_NEAR(found.weights[0], 0, 1e-9);
    plan.rows = 1;
    plan.weights = NULL;
    plan.iterations = 50;
    CHECK_OK(solve(&found, &plan, 1e7));
    CHECK(found.probabilities[labels[0]] > 0.99);
}

static void
check_refused(const tl_logistic_plan *plan, const char *text)
{
    CHECK(solve(&found, plan, 1e7) == TL_BAD_VALUE);
    CHECK(strstr(tl_detail(), text) != NULL);
}

static void
test_bad_plans_are_refused(void)
{
    const tl_logistic_plan good = plan_for(10, 3, 3, 0.1);
    tl_logistic_plan plan = good;
    CHECK_OK(solve(&found, &plan, 1e7));
    plan.rows = 0;
    check_refused(&plan, "nothing to fit");
    plan = good;
    plan.outputs = 0;
    check_refused(&plan, "nothing to fit");
    plan = good;
    plan.l2 = -0.5;
    check_refused(&plan, "l2 must be a number of at least 0, not -0.5");
    plan.l2 = NAN;
    check_refused(&plan, "l2 must be");
    plan = good;
    plan.tolerance = 0;
    check_refused(&plan, "tolerance must be a number above 0, not 0");
    plan = good;
    plan.outputs = 2;
    labels[4] = 2;
    check_refused(&plan, "labels must be from 0 to 1, but label 4 is 2");
    plan.outputs = 1;
    check_refused(&plan, "labels must be from 0 to 1, but label 4 is 2");
    labels[4] = -1;
    check_refused(&good, "but label 4 is -1");
    labels[4] = 0;
    row_weights[3] = -1;
    check_refused(&good, "sample_weight must hold numbers of at least 0, but 3 is -1");
    for (size_t r = 0; r < 10; r++) {
        row_weights[r] = 0;
    }
    check_refused(&good, "no row to learn from");
    row_weights[2] = 1;
    memset(start, 0, sizeof start);
    start[11] = INFINITY;
    plan = good;
    plan.start = start;
    check_refused(&plan, "start must hold finite numbers, but 11 is inf");
    start[11] = 1e308; /* a score that is infinite: not even the first value is a number */
    start[0] = 1e308;
    CHECK_OK(solve(&found, &plan, 1e7));
    CHECK(!found.result.converged && !isfinite(found.result.value));
    features[2 * 3 + 1] = NAN;
    check_refused(&good, "features hold NaN or infinity in column 1");
    plan = good;
    plan.width = SIZE_MAX;
    CHECK(solve(&found, &plan, 1e7) == TL_OUT_OF_MEMORY);
    plan.width = SIZE_MAX / 16;
    CHECK(solve(&found, &plan, 1e7) == TL_OUT_OF_MEMORY);
}

/* Every instruction set that this CPU has gives what the plain loops give. */
static void
test_loops_of_every_instruction_set(void)
{
    enum { WIDTH = 150, PADDED = 192, OUTPUTS = 3 };
    static float x[TL_LOGISTIC_TILE * WIDTH];
    static double w[OUTPUTS * PADDED];
    const tl_logistic_loops *plain = tl_logistic_loops_for(TL_ISA_BASELINE);
    random_numbers(x, TL_LOGISTIC_TILE * WIDTH, 1);
    for (size_t i = 0; i < OUTPUTS * PADDED; i++) {
        w[i] = i % PADDED < WIDTH ? (double)tl_random_uniform(2, i) - 0.5 : 0;
    }
    for (int isa = 0; isa <= (int)tl_cpu_detected(); isa++) {
        const tl_logistic_loops *loops = tl_logistic_loops_for((tl_isa)isa);
        for (size_t count = 1; count <= TL_LOGISTIC_TILE; count++) {
            double scores[2][TL_LOGISTIC_TILE][OUTPUTS] = {{{0}}};
            double gradient[2][OUTPUTS * PADDED] = {{0}};
            const float *rows[TL_LOGISTIC_TILE];
            const double *errors[TL_LOGISTIC_TILE];
            double *to[2][TL_LOGISTIC_TILE];
            for (size_t t = 0; t < TL_LOGISTIC_TILE; t++) {
                rows[t] = x + (t < count ? t : 0) * WIDTH;
                errors[t] = w + t;
                to[0][t] = scores[0][t];
                to[1][t] = scores[1][t];
            }
            loops->add_scores(to[0], count, rows, w, WIDTH, PADDED, OUTPUTS);
            plain->add_scores(to[1], count, rows, w, WIDTH, PADDED, OUTPUTS);
            loops->add_gradient(gradient[0], rows, errors, count, 22, PADDED, OUTPUTS);
            plain->add_gradient(gradient[1], rows, errors, count, 22, PADDED, OUTPUTS);
            for (size_t t = 0; t < TL_LOGISTIC_TILE; t++) {
                double right = 0;
                for (size_t j = 0; j < WIDTH && t < count; j++) {
                    right += (double)rows[t][j] * w[PADDED + j];
                }
                CHECK_NEAR(scores[0][t][1], right, 1e-12);
                CHECK_NEAR(scores[1][t][1], right, 1e-12);
            }
            for (size_t i = 0; i < OUTPUTS * PADDED; i++) {
                CHECK_NEAR(gradient[0][i], gradient[1][i], 1e-12);
            }
            CHECK(gradient[0][21] != 0 && gradient[0][22] == 0);
        }
    }
}

static void
test_every_failed_allocation_is_reported(void)
{
    const tl_logistic_plan plan = plan_for(10, 3, 3, 0.1);
    long n = 0;
    CHECK_OK(solve(&found, &plan, 1e7));
    for (tl_status status = TL_OUT_OF_MEMORY; status != TL_OK && n < 100; n++) {
        tl_logistic *fit = NULL;
        tl_alloc_fail_at(n);
        status = tl_logistic_create(&fit, &plan);
        CHECK((fit != NULL) == (status == TL_OK));
        CHECK(status == TL_OK || status == TL_OUT_OF_MEMORY);
        while (status == TL_OK && !tl_logistic_is_done(fit)) {
            CHECK_OK(tl_logistic_advance(fit, 1e6)); /* allocates nothing */
        }
        tl_alloc_fail_at(-1);
        tl_logistic_destroy(fit);
    }
    CHECK(n == 5); /* the fit, its arena, the search, its vectors */
    tl_logistic_destroy(NULL);
    tl_lbfgs_destroy(NULL);
}

int
main(void)
{
    RUN(test_the_search_finds_the_lowest_point);
    RUN(test_the_search_ends_where_it_is_told);
    RUN(test_the_gradient_vanishes_at_the_solution);
    RUN(test_the_start_is_where_it_begins);
    RUN(test_rows_of_no_weight_are_left_out);
    RUN(test_neither_threads_nor_slices_change_a_bit);
    RUN(test_separable_rows_without_a_penalty);
    RUN(test_features_that_tell_nothing);
    RUN(test_bad_plans_are_refused);
    RUN(test_loops_of_every_instruction_set);
    RUN(test_every_failed_allocation_is_reported);
    tl_pool_close();
    return REPORT();
}
