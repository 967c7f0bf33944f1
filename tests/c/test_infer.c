/* Every backend against the naive loops: single steps over random shapes, whole networks, and
 * lowering against the unlowered graph. To cover a new step kind, add a row to `cases`. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "builders.h"
#include "check.h"
#include "core/arena.h"
#include "core/mobilenet_v2.h"
#include "core/pool.h"
#include "dnnl/backend.h"
#include "reference_ops.h"

/* Largest difference relative to the largest value, for a batch through both networks. */
static double
difference(const tl_graph *graph, size_t start, size_t stop, size_t batch, unsigned seed)
{
    tl_parameters *parameters = NULL;
    tl_network *reference = NULL;
    tl_network *product = NULL;
    double largest = 0;
    double worst = 1e9;
    const size_t src_count = batch * tl_shape_elements(&graph->nodes[start].shape);
    const size_t dst_count = batch * tl_shape_elements(&graph->nodes[stop].shape);
    float *src = tl_alloc(src_count, sizeof *src);
    float *expected = tl_alloc(dst_count, sizeof *expected);
    float *given = tl_alloc(dst_count, sizeof *given);
    random_numbers(src, src_count, seed + 77);
    CHECK_OK(random_parameters(&parameters, graph, seed));
    CHECK_OK(tl_network_create(&reference, graph, &parameters, 1, &reference_ops));
    CHECK_OK(tl_network_create(&product, graph, &parameters, 1, &product_ops));
    CHECK_OK(tl_network_run(reference, expected, src, batch, start, stop));
    CHECK_OK(tl_network_run(product, given, src, batch, start, stop));
    if (!this_test_failed) {
        worst = 0;
        for (size_t i = 0; i < dst_count; i++) {
            largest = fmax(largest, fabs((double)expected[i]));
            worst = fmax(worst, fabs((double)expected[i] - (double)given[i]));
        }
    }
    tl_network_destroy(product);
    tl_network_destroy(reference);
    tl_parameters_release(parameters);
    tl_free(given);
    tl_free(expected);
    tl_free(src);
    return worst / fmax(largest, 1e-3);
}

static const size_t convolution_cases[][7] = {
    /* height, width, channels, filters, kernel, stride, same */
    {9, 7, 3, 32, 3, 2, 1},   {8, 8, 3, 16, 3, 2, 0},     {7, 7, 24, 144, 1, 1, 1},
    {1, 5, 17, 5, 1, 1, 0},   {14, 14, 33, 64, 1, 1, 1},  {6, 5, 8, 8, 5, 1, 1},
    {10, 3, 16, 16, 3, 3, 1}, {1, 1, 320, 1280, 1, 1, 0},
};

static void
test_convolutions_equal_naive_loops(void)
{
    for (size_t i = 0; i < sizeof convolution_cases / sizeof convolution_cases[0]; i++) {
        const size_t *c = convolution_cases[i];
        for (int depthwise = 0; depthwise < 2; depthwise++) {
            tl_graph *graph = NULL;
            size_t id = 0;
            const tl_shape shape = tl_shape_3(c[0], c[1], c[2]);
            const tl_convolution attributes = {
                depthwise ? 0 : c[3], {c[4], c[4]}, {c[5], c[5]}, c[6] != 0, true};
            CHECK_OK(tl_graph_create(&graph, "input", &shape));
            CHECK_OK(add_node(graph, &id,
                              (tl_node){.op = depthwise ? TL_OP_DEPTHWISE_CONV2D : TL_OP_CONV2D,
                                        .convolution = attributes},
                              "conv", 0, TL_NONE));
            CHECK(difference(graph, 0, id, 2, 5) < 1e-5);
            tl_graph_destroy(graph);
        }
    }
}

static void
test_pointwise_steps_equal_naive_loops(void)
{
    const tl_node nodes[] = {
        {.op = TL_OP_BATCH_NORMALIZATION, .batch_normalization = {1e-3F}},
        {.op = TL_OP_RELU, .relu = {6.0F}},
        {.op = TL_OP_RELU, .relu = {INFINITY}},
        {.op = TL_OP_ACTIVATION, .activation = {TL_SIGMOID}},
        {.op = TL_OP_ACTIVATION, .activation = {TL_SOFTMAX}},
        {.op = TL_OP_ZERO_PADDING2D, .padding = {1, 2, 0, 3}},
        {.op = TL_OP_GLOBAL_AVERAGE_POOLING2D},
        {.op = TL_OP_GLOBAL_MAX_POOLING2D, .pooling = {true}},
        {.op = TL_OP_FLATTEN},
        {.op = TL_OP_DENSE, .dense = {9, true}},
        {.op = TL_OP_DENSE, .dense = {1, false}},
        {.op = TL_OP_DROPOUT, .dropout = {0.5F}},
        {.op = TL_OP_SPATIAL_DROPOUT2D, .dropout = {0.5F}},
        {.op = TL_OP_MAX_POOLING2D, .window = {{1, 1}, {1, 1}, false}},
        {.op = TL_OP_MAX_POOLING2D, .window = {{3, 2}, {2, 1}, true}},
        {.op = TL_OP_AVERAGE_POOLING2D, .window = {{3, 2}, {2, 3}, true}},
        {.op = TL_OP_AVERAGE_POOLING2D, .window = {{40, 40}, {1, 1}, true}},
        {.op = TL_OP_ACTIVATION, .activation = {TL_LOG_SOFTMAX}},
        {.op = TL_OP_ACTIVATION, .activation = {TL_GELU}},
    };
    const tl_shape shapes[] = {tl_shape_3(5, 4, 11), tl_shape_3(1, 1, 1), tl_shape_3(1, 9, 16)};
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        for (size_t s = 0; s < 3; s++) {
            tl_graph *graph = NULL;
            size_t id = 0;
            CHECK_OK(tl_graph_create(&graph, "input", &shapes[s]));
            CHECK_OK(add_node(graph, &id, nodes[i], "node", 0, TL_NONE));
            CHECK(difference(graph, 0, id, 3, (unsigned)i) < 1e-5);
            tl_graph_destroy(graph);
        }
    }
}

static void
test_adds_of_every_kind_equal_naive_loops(void)
{
    /* input + conv(input): the residual is the caller's; conv + conv of one value; x + x */
    tl_graph *graph = NULL;
    size_t a = 0;
    size_t b = 0;
    size_t sum = 0;
    const tl_shape shape = tl_shape_3(5, 5, 8);
    const tl_node conv = {.op = TL_OP_CONV2D, .convolution = {8, {1, 1}, {1, 1}, true, true}};
    const tl_node add = {.op = TL_OP_ADD};
    CHECK_OK(tl_graph_create(&graph, "input", &shape));
    CHECK_OK(add_node(graph, &a, conv, "a", 0, TL_NONE));
    CHECK_OK(add_node(graph, &sum, add, "input_plus_a", 0, a));
    CHECK(difference(graph, 0, sum, 2, 1) < 1e-5);
    CHECK_OK(add_node(graph, &a, conv, "c", sum, TL_NONE));
    CHECK_OK(add_node(graph, &b, conv, "d", sum, TL_NONE));
    CHECK_OK(add_node(graph, &sum, add, "c_plus_d", a, b));
    CHECK_OK(add_node(graph, &sum, add, "twice", sum, sum));
    CHECK_OK(add_node(graph, &a, conv, "e", sum, TL_NONE));
    CHECK_OK(add_node(graph, &b, add, "e_plus_sum", a, sum));
    CHECK_OK(add_node(graph, &b, add, "sum_lives_on", b, sum));
    CHECK(difference(graph, 0, b, 2, 2) < 1e-5);
    tl_graph_destroy(graph);
}

/* Of the input, of one value twice, of values that live on, from a node in the middle. */
static void
test_concatenations_equal_naive_loops(void)
{
    tl_graph *graph = NULL;
    size_t conv = 0;
    size_t pool = 0;
    size_t all = 0;
    size_t end = 0;
    const tl_shape shape = tl_shape_3(5, 4, 3);
    const tl_node node = {.op = TL_OP_CONV2D, .convolution = {7, {1, 1}, {1, 1}, true, true}};
    const tl_node same = {.op = TL_OP_AVERAGE_POOLING2D, .window = {{3, 3}, {1, 1}, true}};
    tl_node join = {.op = TL_OP_CONCATENATE, .name = "join", .input_count = 8};
    CHECK_OK(tl_graph_create(&graph, "input", &shape));
    CHECK_OK(add_node(graph, &conv, node, "conv", 0, TL_NONE));
    CHECK_OK(add_node(graph, &pool, same, "pool", conv, TL_NONE));
    const size_t inputs[] = {0, conv, pool, conv, 0, 0, pool, conv};
    memcpy(join.inputs, inputs, sizeof inputs);
    CHECK_OK(tl_graph_add(graph, &all, &join));
    CHECK(tl_shape_channels(&graph->nodes[all].shape) == 3 * 3 + 5 * 7);
    CHECK(difference(graph, 0, all, 3, 1) < 1e-5);
    CHECK_OK(add_node(graph, &end, (tl_node){.op = TL_OP_CONCATENATE}, "again", all, conv));
    CHECK_OK(add_node(graph, &end, node, "end", end, TL_NONE));
    CHECK(difference(graph, 0, end, 3, 2) < 1e-5);
    CHECK(difference(graph, all, all, 1, 2) == 0);
    tl_graph_destroy(graph);
}

static void
test_networks_equal_naive_loops_from_and_to_any_node(void)
{
    tl_graph *graph = NULL;
    CHECK_OK(small_graph(&graph, 13, 10));
    for (size_t stop = 1; stop < graph->count; stop++) {
        CHECK(difference(graph, 0, stop, 2, 3) < 1e-5);
    }
    CHECK(difference(graph, 4, graph->count - 1, 3, 4) < 1e-5);
    tl_graph_destroy(graph);
}

static void
test_mobilenet_v2_equals_naive_loops(void)
{
    tl_graph *graph = NULL;
    const tl_mobilenet_v2 options = {.input = tl_shape_3(33, 40, 3),
                                     .alpha = 0.35,
                                     .include_top = true,
                                     .classes = 10,
                                     .classifier_activation = TL_LINEAR};
    CHECK_OK(tl_mobilenet_v2_create(&graph, &options));
    CHECK(difference(graph, 0, graph->count - 1, 1, 9) < 1e-5);
    tl_graph_destroy(graph);
}

/* --- whole-network promises ------------------------------------------------------------- */

static void
test_results_do_not_depend_on_batch_or_threads(void)
{
    enum { IMAGES = 5 };
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    static float src[IMAGES * 16 * 16 * 3];
    static float whole[IMAGES * 4];
    static float single[4];
    random_numbers(src, sizeof src / sizeof src[0], 1);
    CHECK_OK(small_graph(&graph, 16, 16));
    CHECK_OK(random_parameters(&parameters, graph, 2));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &product_ops));
    for (size_t threads = 1; threads <= 3; threads++) {
        CHECK_OK(tl_pool_set_threads(threads));
        CHECK_OK(tl_network_run(network, whole, src, IMAGES, 0, graph->count - 1));
        for (size_t i = 0; i < IMAGES; i++) {
            CHECK_OK(tl_network_run(network, single, src + i * 768, 1, 0, graph->count - 1));
            CHECK(memcmp(single, whole + i * 4, sizeof single) == 0);
        }
    }
    CHECK(tl_network_prefix_runs(network) == 3 * 2 * IMAGES);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

static void
test_changed_weights_are_packed_again(void)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    static float src[12 * 12 * 3];
    float before[4];
    float after[4];
    random_numbers(src, sizeof src / sizeof src[0], 1);
    CHECK_OK(small_graph(&graph, 12, 12));
    CHECK_OK(random_parameters(&parameters, graph, 2));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &product_ops));
    CHECK_OK(tl_network_run(network, before, src, 1, 0, graph->count - 1));
    tl_rwlock_write(&parameters->lock);
    parameters->tensors[0].data[0] += 1;
    tl_parameters_touch(parameters, 0);
    tl_rwlock_unlock(&parameters->lock);
    CHECK_OK(tl_network_run(network, after, src, 1, 0, graph->count - 1));
    CHECK(memcmp(before, after, sizeof before) != 0);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

static atomic_size_t packed;

static tl_status
count_pack(const tl_kernel *kernel, const tl_block *block, void *at,
           const float *const *weights, const float *const *biases)
{
    atomic_fetch_add(&packed, 1);
    return reference_ops.backends[0]->pack(kernel, block, at, weights, biases);
}

/* A frozen prefix stays packed while a suffix in the same block of parameters trains. */
static void
test_only_what_changed_is_packed_again(void)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    tl_backend counting = *reference_ops.backends[0];
    const tl_backend *const backends[] = {&counting};
    const tl_ops ops = {.backends = backends,
                        .count = 1,
                        .gemm = reference_ops.gemm,
                        .training = reference_ops.training};
    static float src[12 * 12 * 3];
    float at_cut[10];
    float scores[4];
    bool trains[64] = {false};
    size_t cut = 0;
    counting.pack = count_pack;
    random_numbers(src, sizeof src / sizeof src[0], 1);
    CHECK_OK(small_graph(&graph, 12, 12));
    while (strcmp(graph->nodes[cut].name, "gap") != 0) {
        cut++;
    }
    for (size_t p = graph->nodes[cut].first_param; p < graph->param_count; p++) {
        trains[p] = true;
    }
    CHECK_OK(random_parameters(&parameters, graph, 2));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &ops));
    CHECK_OK(tl_network_run(network, at_cut, src, 1, 0, cut));
    CHECK_OK(tl_network_run(network, scores, at_cut, 1, cut, graph->count - 1));
    const size_t once = atomic_load(&packed);
    const unsigned long version = parameters->version;
    CHECK(once > 0);
    tl_network_lock_write(network);
    tl_network_touch(network, trains);
    tl_network_unlock(network);
    CHECK(parameters->version == version + 1);
    CHECK_OK(tl_network_run(network, at_cut, src, 1, 0, cut));
    CHECK(atomic_load(&packed) == once);
    CHECK_OK(tl_network_run(network, scores, at_cut, 1, cut, graph->count - 1));
    const size_t suffix = atomic_load(&packed);
    CHECK(suffix > once);
    tl_rwlock_write(&parameters->lock);
    tl_parameters_touch(parameters, 0);
    tl_rwlock_unlock(&parameters->lock);
    CHECK_OK(tl_network_run(network, scores, at_cut, 1, cut, graph->count - 1));
    CHECK(atomic_load(&packed) == suffix);
    CHECK_OK(tl_network_run(network, at_cut, src, 1, 0, cut));
    CHECK(atomic_load(&packed) > suffix);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

static void
test_a_forked_child_predicts(void)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    static float src[12 * 12 * 3];
    float here[4];
    float there[4];
    int result = -1;
    random_numbers(src, sizeof src / sizeof src[0], 1);
    CHECK_OK(small_graph(&graph, 12, 12));
    CHECK_OK(random_parameters(&parameters, graph, 2));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &product_ops));
    CHECK_OK(tl_network_run(network, here, src, 1, 0, graph->count - 1));
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        const tl_status status = tl_network_run(network, there, src, 1, 0, graph->count - 1);
        _exit(status == TL_OK && memcmp(here, there, sizeof here) == 0 ? 0 : 1);
    }
    CHECK(waitpid(child, &result, 0) == child);
    CHECK(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

static void
test_the_cut_follows_the_trainable_flags(void)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    bool trainable[64] = {false};
    CHECK_OK(small_graph(&graph, 12, 12));
    CHECK_OK(random_parameters(&parameters, graph, 2));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &reference_ops));
    /* nothing trains: up to the dropout all the same, because that is random */
    size_t cut = tl_network_cut(network, trainable);
    CHECK(strcmp(graph->nodes[cut].name, "gap") == 0);
    trainable[graph->param_count - 1] = true;
    CHECK(tl_network_cut(network, trainable) == cut);
    for (size_t i = 0; i < graph->count; i++) {
        if (strcmp(graph->nodes[i].name, "project") == 0) {
            trainable[graph->nodes[i].first_param] = true;
        }
    }
    cut = tl_network_cut(network, trainable); /* the add takes the stem's value too */
    CHECK(strcmp(graph->nodes[cut].name, "stem_relu") == 0);
    trainable[0] = true;
    cut = tl_network_cut(network, trainable);
    CHECK(strcmp(graph->nodes[cut].name, "pad") == 0);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

/* Found by tests/fuzz/fuzz_plan: read nodes that are not there before it refused them. */
static void
test_stretches_behind_the_graph_are_refused(void)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    tl_network_memory memory = {0};
    float src[12 * 12 * 3] = {0};
    float dst[4];
    CHECK_OK(small_graph(&graph, 12, 12));
    CHECK_OK(random_parameters(&parameters, graph, 2));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &reference_ops));
    const size_t behind[] = {graph->count, graph->count + 1000, TL_NONE};
    for (size_t i = 0; i < 3; i++) {
        CHECK(tl_network_run(network, dst, src, 1, 0, behind[i]) == TL_BAD_VALUE);
        CHECK(tl_network_memory_plan(network, &memory, 0, behind[i]) == TL_BAD_VALUE);
        CHECK(tl_network_memory_plan(network, &memory, behind[i], behind[i]) == TL_BAD_VALUE);
    }
    CHECK(tl_network_run(network, dst, src, 1, 3, 2) == TL_BAD_VALUE);
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

static void
test_networks_refuse_wrong_parameters(void)
{
    tl_graph *graph = NULL;
    tl_graph *other = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    const tl_shape image = tl_shape_3(4, 4, 3);
    CHECK_OK(small_graph(&graph, 12, 12));
    CHECK_OK(tl_graph_create(&other, "input", &image));
    CHECK_OK(random_parameters(&parameters, graph, 2));
    CHECK(tl_network_create(&network, other, &parameters, 1, &reference_ops) == TL_BAD_VALUE);
    CHECK(tl_network_create(&network, graph, &parameters, 0, &reference_ops) == TL_BAD_VALUE);
    CHECK(network == NULL);
    tl_parameters_release(parameters);
    tl_graph_destroy(other);
    tl_graph_destroy(graph);
}

int
main(void)
{
    CHECK_OK(tl_dnnl_open());
    RUN(test_convolutions_equal_naive_loops);
    RUN(test_pointwise_steps_equal_naive_loops);
    RUN(test_adds_of_every_kind_equal_naive_loops);
    RUN(test_concatenations_equal_naive_loops);
    RUN(test_networks_equal_naive_loops_from_and_to_any_node);
    RUN(test_mobilenet_v2_equals_naive_loops);
    RUN(test_results_do_not_depend_on_batch_or_threads);
    RUN(test_changed_weights_are_packed_again);
    RUN(test_only_what_changed_is_packed_again);
    RUN(test_a_forked_child_predicts);
    RUN(test_the_cut_follows_the_trainable_flags);
    RUN(test_stretches_behind_the_graph_are_refused);
    RUN(test_networks_refuse_wrong_parameters);
    tl_pool_close();
    return REPORT();
}
