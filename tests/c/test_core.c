/* Sizes, arenas, random numbers, the crew, graphs and the table of MobileNetV2. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "builders.h"
#include "check.h"
#include "core/arena.h"
#include "core/mobilenet_v2.h"
#include "core/pool.h"
#include "core/random.h"

static void
test_sizes_refuse_to_overflow(void)
{
    size_t n = 7;
    const tl_shape huge = {3, {SIZE_MAX / 2, 3, 3, 0}};
    CHECK(tl_multiply(&n, SIZE_MAX, 2) == TL_OUT_OF_MEMORY);
    CHECK(n == 7);
    CHECK(tl_shape_count(&n, &huge) == TL_OUT_OF_MEMORY);
    CHECK_OK(tl_multiply(&n, 6, 7));
    CHECK(n == 42);
}

static void
test_same_padding_is_keras(void)
{
    size_t before;
    size_t behind;
    tl_same_padding(&before, &behind, 224, 3, 2); /* the stem: (0, 1) */
    CHECK(before == 0 && behind == 1);
    tl_same_padding(&before, &behind, 225, 3, 2);
    CHECK(before == 1 && behind == 1);
    tl_same_padding(&before, &behind, 7, 3, 1);
    CHECK(before == 1 && behind == 1);
    tl_same_padding(&before, &behind, 5, 1, 2);
    CHECK(before == 0 && behind == 0);
    CHECK(tl_convolved(2, 3, 1, 0, 0) == 0);
    CHECK(tl_convolved(224, 3, 2, 0, 1) == 112);
}

static void
test_layout_aligns_and_refuses(void)
{
    tl_layout layout = {0};
    size_t a;
    size_t b;
    CHECK_OK(tl_layout_add(&layout, &a, 1));
    CHECK_OK(tl_layout_add(&layout, &b, 100));
    CHECK(a == 0 && b % TL_ALIGNMENT == 0 && b >= 64);
    CHECK(tl_layout_add(&layout, &a, SIZE_MAX - 64) == TL_OUT_OF_MEMORY);
    CHECK(tl_alloc(SIZE_MAX, 2) == NULL);
    CHECK(tl_alloc(SIZE_MAX / 2, 1) == NULL);
}

static void
test_allocations_fail_when_told(void)
{
    tl_alloc_fail_at(1);
    void *first = tl_alloc(1, 8);
    void *second = tl_alloc(1, 8);
    void *third = tl_alloc(1, 8);
    CHECK(first != NULL && second == NULL && third != NULL);
    tl_alloc_fail_at(-1);
    tl_free(first);
    tl_free(third);
}

static void
test_random_numbers_are_uniform(void)
{
    double sum = 0;
    double squares = 0;
    const int n = 100000;
    for (int i = 0; i < n; i++) {
        const double x = (double)tl_random_uniform(3, (uint64_t)i);
        CHECK(x >= 0 && x < 1);
        sum += x;
        squares += x * x;
    }
    CHECK_NEAR(sum / n, 0.5, 0.01);
    CHECK_NEAR(squares / n, 1.0 / 3, 0.01);
    CHECK(tl_random_bits(1, 0) != tl_random_bits(2, 0));
}

static void
test_glorot_has_keras_limit(void)
{
    static float kernel[1280 * 64];
    const tl_shape shape = {2, {1280, 64, 0, 0}};
    const double limit = sqrt(6.0 / (1280 + 64));
    double largest = 0;
    double squares = 0;
    tl_random_glorot_uniform(kernel, &shape, 11);
    for (size_t i = 0; i < 1280 * 64; i++) {
        largest = fmax(largest, fabs((double)kernel[i]));
        squares += (double)kernel[i] * (double)kernel[i];
    }
    CHECK(largest <= limit && largest > 0.99 * limit);
    CHECK_NEAR(squares / (1280 * 64), limit * limit / 3, 1e-4);
}

/* --- the crew --------------------------------------------------------------------------- */

static tl_status
count_up(void *context, size_t index)
{
    atomic_fetch_add((atomic_size_t *)context, index + 1);
    return TL_OK;
}

static tl_status
fail_at_seven(void *context, size_t index)
{
    (void)context;
    return index == 7 ? tl_fail(TL_BAD_VALUE, "seven") : TL_OK;
}

static void
test_crew_runs_every_index_once(void)
{
    atomic_size_t sum = 0;
    for (int round = 0; round < 50; round++) {
        CHECK_OK(tl_pool_run(count_up, &sum, 100));
    }
    CHECK(atomic_load(&sum) == 50 * 5050);
    CHECK_OK(tl_pool_run(count_up, &sum, 0));
}

static void
test_crew_reports_the_failure(void)
{
    CHECK(tl_pool_run(fail_at_seven, NULL, 100) == TL_BAD_VALUE);
    CHECK(strcmp(tl_detail(), "seven") == 0);
}

static void
test_crew_can_be_resized(void)
{
    atomic_size_t sum = 0;
    CHECK_OK(tl_pool_set_threads(3));
    CHECK(tl_pool_threads() == 3);
    CHECK_OK(tl_pool_run(count_up, &sum, 10));
    CHECK(tl_pool_set_threads(100000) == TL_BAD_VALUE);
    CHECK_OK(tl_pool_set_threads(2));
    CHECK_OK(tl_pool_run(count_up, &sum, 10));
    CHECK(atomic_load(&sum) == 110);
}

static void
test_crew_works_in_a_forked_child(void)
{
    atomic_size_t sum = 0;
    int result = -1;
    CHECK_OK(tl_pool_run(count_up, &sum, 10));
    const pid_t child = fork();
    if (child == 0) {
        alarm(10);
        atomic_size_t mine = 0;
        const tl_status status = tl_pool_run(count_up, &mine, 10);
        _exit(status == TL_OK && atomic_load(&mine) == 55 ? 0 : 1);
    }
    CHECK(waitpid(child, &result, 0) == child);
    CHECK(WIFEXITED(result) && WEXITSTATUS(result) == 0);
}

/* In place of the C library's, so that a test can fork meanwhile. */
static atomic_bool starts_slowly;
static atomic_bool starting;

int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
               void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    void *found = dlsym(RTLD_NEXT, "pthread_create");
    memcpy(&real, &found, sizeof real);
    if (!atomic_load(&starts_slowly)) {
        return real(thread, attributes, run, argument);
    }
    atomic_store(&starting, true);
    usleep(50 * 1000);
    const int refused = real(thread, attributes, run, argument);
    atomic_store(&starting, false);
    return refused;
}

static void *
start_a_crew(void *sum)
{
    atomic_store(&starts_slowly, true);
    const tl_status status = tl_pool_run(count_up, sum, 10);
    atomic_store(&starts_slowly, false);
    return status == TL_OK ? sum : NULL;
}

/* On a used stack it would leave what the child frees again. */
static void
test_no_fork_falls_into_the_start_of_a_crew_thread(void)
{
    atomic_size_t sum = 0;
    pthread_t caller;
    void *done = NULL;
    int result = -1;
    CHECK_OK(tl_pool_set_threads(3)); /* which the next job starts */
    CHECK(pthread_create(&caller, NULL, start_a_crew, &sum) == 0);
    while (!atomic_load(&starting) && atomic_load(&sum) == 0) {
        usleep(100);
    }
    const pid_t child = fork();
    if (child == 0) {
        _exit(atomic_load(&starting));
    }
    CHECK(waitpid(child, &result, 0) == child);
    CHECK(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    CHECK(pthread_join(caller, &done) == 0 && done == &sum);
}

/* --- graphs ----------------------------------------------------------------------------- */

static void
test_graph_refuses_what_does_not_fit(void)
{
    tl_graph *graph = NULL;
    size_t id = 99;
    const tl_shape image = tl_shape_3(4, 4, 3);
    const tl_shape flat = {2, {3, 3, 0, 0}};
    const tl_node dense = {.op = TL_OP_DENSE, .dense = {5, true}};
    const tl_node convolution = {.op = TL_OP_CONV2D,
                                 .convolution = {8, {5, 5}, {1, 1}, false, true}};
    CHECK(tl_graph_create(&graph, "input", &flat) == TL_BAD_VALUE);
    CHECK(graph == NULL);
    CHECK_OK(tl_graph_create(&graph, "input", &image));
    CHECK(add_node(graph, &id, convolution, "conv", 0, TL_NONE) == TL_BAD_VALUE);
    CHECK(add_node(graph, &id, dense, "dense", 9, TL_NONE) == TL_BAD_VALUE);
    CHECK(add_node(graph, &id, dense, "", 0, TL_NONE) == TL_BAD_VALUE);
    CHECK(add_node(graph, &id, dense, "input", 0, TL_NONE) == TL_BAD_VALUE);
    CHECK(add_node(graph, &id, (tl_node){.op = TL_OP_DROPOUT, .dropout = {1.0F}}, "drop", 0,
                   TL_NONE) == TL_BAD_VALUE);
    CHECK(id == 99 && graph->count == 1 && graph->param_count == 0);
    CHECK_OK(add_node(graph, &id, dense, "dense", 0, TL_NONE));
    CHECK(id == 1 && graph->param_count == 2);
    CHECK(add_node(graph, &id, (tl_node){.op = TL_OP_ADD}, "add", 0, 1) == TL_BAD_VALUE);
    tl_graph_destroy(graph);
}

/* Found by tests/fuzz/fuzz_build: attributes that no Python caller can pass. */
static void
test_graph_refuses_what_only_c_can_say(void)
{
    tl_graph *graph = NULL;
    size_t id = 99;
    size_t count = 7;
    tl_shape shape = {9, {4, 4, 3, 1}};
    tl_node node = {.op = TL_OP_ACTIVATION, .input_count = 1};
    CHECK(tl_graph_create(&graph, "input", &shape) == TL_BAD_VALUE);
    CHECK(strstr(tl_detail(), "9 dimensions") != NULL);
    CHECK(tl_shape_count(&count, &shape) == TL_BAD_VALUE && count == 7);
    shape.rank = 0;
    CHECK(tl_graph_create(&graph, "input", &shape) == TL_BAD_VALUE && graph == NULL);
    shape.rank = 1;
    CHECK_OK(tl_graph_create(&graph, "input", &shape));
    memset(node.name, 'n', sizeof node.name); /* no end */
    CHECK(tl_graph_add(graph, &id, &node) == TL_BAD_VALUE);
    CHECK(strstr(tl_detail(), "shorter than 128") != NULL);
    node.name[5] = '\0';
    node.activation.function = TL_FUNCTION_COUNT;
    CHECK(tl_graph_add(graph, &id, &node) == TL_BAD_VALUE);
    node.op = TL_OP_COUNT;
    CHECK(tl_graph_add(graph, &id, &node) == TL_BAD_VALUE);
    CHECK(id == 99 && graph->count == 1);
    tl_graph_destroy(graph);
}

static size_t
parameters_of(double alpha, bool include_top)
{
    tl_graph *graph = NULL;
    tl_param_spec specs[TL_MAX_NODE_PARAMS];
    size_t total = 0;
    const tl_mobilenet_v2 options = {.input = tl_shape_3(224, 224, 3),
                                     .alpha = alpha,
                                     .include_top = include_top,
                                     .classes = 1000,
                                     .classifier_activation = TL_SOFTMAX};
    CHECK_OK(tl_mobilenet_v2_create(&graph, &options));
    for (size_t i = 0; graph != NULL && i < graph->count; i++) {
        const size_t count = tl_node_params(graph, &graph->nodes[i], specs);
        for (size_t k = 0; k < count; k++) {
            total += tl_shape_elements(&specs[k].shape);
        }
    }
    tl_graph_destroy(graph);
    return total;
}

static void
test_mobilenet_v2_has_keras_sizes(void)
{
    /* keras.applications.MobileNetV2(include_top=False, alpha=...).count_params() */
    CHECK(parameters_of(1.0, false) == 2257984);
    CHECK(parameters_of(0.35, false) == 410208);
    CHECK(parameters_of(0.5, false) == 706224);
    CHECK(parameters_of(0.75, false) == 1382064);
    CHECK(parameters_of(1.3, false) == 3766048);
    CHECK(parameters_of(1.4, false) == 4363712);
    CHECK(parameters_of(1.0, true) == 3538984);
}

static void
test_mobilenet_v2_lowers_to_its_convolutions(void)
{
    tl_graph *graph = NULL;
    tl_lowered *lowered = NULL;
    size_t kinds[TL_STEP_KIND_COUNT] = {0};
    size_t residuals = 0;
    const tl_mobilenet_v2 options = {.input = tl_shape_3(224, 224, 3), .alpha = 1.0};
    CHECK_OK(tl_mobilenet_v2_create(&graph, &options));
    CHECK_OK(tl_lower(&lowered, graph, 0, graph->count - 1));
    for (size_t i = 0; i < lowered->count; i++) {
        kinds[lowered->steps[i].kind]++;
        residuals += lowered->steps[i].has_residual;
    }
    CHECK(kinds[TL_STEP_CONV2D] == 35 && kinds[TL_STEP_DEPTHWISE_CONV2D] == 17);
    CHECK(residuals == 10 && lowered->count == 52);
    tl_lowered_destroy(lowered);
    tl_graph_destroy(graph);
}

int
main(void)
{
    RUN(test_sizes_refuse_to_overflow);
    RUN(test_same_padding_is_keras);
    RUN(test_layout_aligns_and_refuses);
    RUN(test_allocations_fail_when_told);
    RUN(test_random_numbers_are_uniform);
    RUN(test_glorot_has_keras_limit);
    RUN(test_crew_runs_every_index_once);
    RUN(test_crew_reports_the_failure);
    RUN(test_crew_can_be_resized);
    RUN(test_crew_works_in_a_forked_child);
    RUN(test_no_fork_falls_into_the_start_of_a_crew_thread);
    RUN(test_graph_refuses_what_does_not_fit);
    RUN(test_graph_refuses_what_only_c_can_say);
    RUN(test_mobilenet_v2_has_keras_sizes);
    RUN(test_mobilenet_v2_lowers_to_its_convolutions);
    tl_pool_close();
    return REPORT();
}
