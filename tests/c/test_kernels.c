/* The own kernels against the naive loops: random blocks of every pattern, on every instruction
 * set that this CPU has, whole and in parts, from floats and from bytes. TLCORE_FUZZ_CASES sets
 * how many of each. */
#include <stdlib.h>

#include "builders.h"
#include "check.h"
#include "core/arena.h"
#include "core/cpu.h"
#include "core/pool.h"
#include "dnnl/backend.h"
#include "kernels/fused.h"
#include "reference_ops.h"

enum { IMAGES = 3, CASES = 60 };

static const char *const isas[] = {"sse41", "avx2", "avx512"};
static const char *const ways[] = {"fused", "separate"};

static unsigned long seed;

/* From least to most; xorshift, the same on every machine. */
static size_t
draw(size_t least, size_t most)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return least + seed % (most - least + 1);
}

static size_t
fuzz_cases(void)
{
    const char *text = getenv("TLCORE_FUZZ_CASES");
    const long given = text == NULL ? 0 : strtol(text, NULL, 10);
    return given > 0 ? (size_t)given : CASES;
}

/* --- random blocks ---------------------------------------------------------------------- */

static tl_status
add_activation(tl_graph *graph, size_t *id, const char *name)
{
    const float limits[] = {6.0F, INFINITY};
    const size_t kind = draw(0, 2);
    if (kind == 2) {
        return TL_OK;
    }
    return add_node(graph, id, (tl_node){.op = TL_OP_RELU, .relu = {limits[kind]}}, name, *id,
                    TL_NONE);
}

static tl_status
add_convolution(tl_graph *graph, size_t *id, tl_op op, tl_convolution attributes,
                const char *name)
{
    return add_node(graph, id, (tl_node){.op = op, .convolution = attributes}, name, *id,
                    TL_NONE);
}

/* Some of: a stem or an expansion, a depthwise convolution, a projection with or without a
 * residual, pooling. */
static tl_status
random_block(tl_graph **out)
{
    tl_status status = TL_OK;
    const bool stem = draw(0, 3) == 0;
    const bool wide = draw(0, 7) == 0;
    /* so many channels that a picture is done chunk after chunk of them */
    const bool deep = !wide && draw(0, 3) == 0;
    const size_t channels = stem ? draw(1, 4) : draw(1, deep ? 600 : 70);
    const tl_shape shape =
        tl_shape_3(draw(1, wide ? 40 : 15), draw(1, wide ? 40 : 15), channels);
    size_t id = 0;
    size_t middle = channels;

    TL_TRY(tl_graph_create(out, "input", &shape));
    if (stem) {
        const size_t side = draw(1, 7);
        middle = draw(1, deep ? 250 : 40);
        TL_TRY(add_convolution(*out, &id, TL_OP_CONV2D,
                               (tl_convolution){.filters = middle,
                                                .kernel = {side, draw(1, 7)},
                                                .strides = {draw(1, 3), draw(1, 3)},
                                                .same = true,
                                                .use_bias = true},
                               "stem"));
        TL_TRY(add_activation(*out, &id, "stem_relu"));
    } else if (draw(0, 3) > 0) {
        middle = draw(1, deep ? 500 : 150);
        TL_TRY(add_convolution(*out, &id, TL_OP_CONV2D,
                               (tl_convolution){middle, {1, 1}, {1, 1}, true, draw(0, 1) == 0},
                               "expand"));
        TL_TRY(add_activation(*out, &id, "expand_relu"));
    }
    if (draw(0, 4) > 0) {
        const size_t stride = draw(1, 2);
        const size_t *dims = (*out)->nodes[id].shape.dims;
        const bool same = dims[0] < 3 || dims[1] < 3 || draw(0, 3) > 0;
        if (draw(0, 3) == 0) {
            TL_TRY(
                add_node(*out, &id,
                         (tl_node){.op = TL_OP_ZERO_PADDING2D,
                                   .padding = {draw(0, 2), draw(0, 2), draw(0, 2), draw(0, 2)}},
                         "pad", id, TL_NONE));
        }
        TL_TRY(add_convolution(*out, &id, TL_OP_DEPTHWISE_CONV2D,
                               (tl_convolution){0, {3, 3}, {stride, stride}, same, true},
                               "depthwise"));
        TL_TRY(add_activation(*out, &id, "depthwise_relu"));
    }
    if (draw(0, 4) > 0) {
        const bool residual =
            tl_shape_equal(&(*out)->nodes[id].shape, &shape) ||
            (draw(0, 1) == 0 && (*out)->nodes[id].shape.dims[0] == shape.dims[0] &&
             (*out)->nodes[id].shape.dims[1] == shape.dims[1]);
        TL_TRY(add_convolution(
            *out, &id, TL_OP_CONV2D,
            (tl_convolution){
                residual ? channels : draw(1, deep ? 200 : 130), {1, 1}, {1, 1}, true, true},
            "project"));
        if (residual) {
            TL_TRY(add_node(*out, &id, (tl_node){.op = TL_OP_ADD}, "add", id, 0));
        } else {
            TL_TRY(add_activation(*out, &id, "project_relu"));
            if (draw(0, 2) == 0) {
                TL_TRY(add_node(*out, &id, (tl_node){.op = TL_OP_GLOBAL_AVERAGE_POOLING2D},
                                "pool", id, TL_NONE));
            }
        }
    }
    if (id == 0) {
        TL_TRY(add_convolution(*out, &id, TL_OP_CONV2D,
                               (tl_convolution){draw(1, 90), {1, 1}, {1, 1}, true, true},
                               "alone"));
    }
done:
    return status;
}

/* An inverted residual as MobileNetV2 has them. */
static tl_status
inverted_residual(tl_graph **out, const size_t *sizes)
{
    tl_status status = TL_OK;
    const tl_shape shape = tl_shape_3(sizes[0], sizes[0], sizes[1]);
    const tl_node relu6 = {.op = TL_OP_RELU, .relu = {6.0F}};
    size_t id = 0;
    TL_TRY(tl_graph_create(out, "input", &shape));
    TL_TRY(add_convolution(*out, &id, TL_OP_CONV2D,
                           (tl_convolution){sizes[2], {1, 1}, {1, 1}, true, true}, "expand"));
    TL_TRY(add_node(*out, &id, relu6, "expand_relu", id, TL_NONE));
    TL_TRY(add_convolution(*out, &id, TL_OP_DEPTHWISE_CONV2D,
                           (tl_convolution){0, {3, 3}, {sizes[4], sizes[4]}, true, true},
                           "depthwise"));
    TL_TRY(add_node(*out, &id, relu6, "depthwise_relu", id, TL_NONE));
    TL_TRY(add_convolution(*out, &id, TL_OP_CONV2D,
                           (tl_convolution){sizes[3], {1, 1}, {1, 1}, true, true}, "project"));
    if (sizes[1] == sizes[3] && sizes[4] == 1) {
        TL_TRY(add_node(*out, &id, (tl_node){.op = TL_OP_ADD}, "add", id, 0));
    }
done:
    return status;
}

/* height, in, expanded, out, stride: all rows at once, chunk after chunk, one panel, many */
static const size_t real_blocks[][5] = {
    {28, 16, 96, 24, 2},   {28, 24, 144, 24, 1},  {14, 64, 384, 64, 1}, {9, 96, 576, 96, 1},
    {14, 96, 576, 160, 2}, {7, 160, 960, 160, 1}, {7, 56, 336, 112, 1}, {5, 40, 240, 40, 1},
};
enum { REAL_BLOCKS = sizeof real_blocks / sizeof real_blocks[0] };

/* --- comparing -------------------------------------------------------------------------- */

typedef struct scene {
    tl_graph *graph;
    tl_parameters *parameters;
    size_t src_count, dst_count; /* of one image */
    float *src, *expected, *given;
    uint8_t *bytes;
    float values[256];
} scene;

static void
scene_clear(scene *s)
{
    tl_free(s->bytes);
    tl_free(s->given);
    tl_free(s->expected);
    tl_free(s->src);
    tl_parameters_release(s->parameters);
    tl_graph_destroy(s->graph);
}

/* The i-th block with weights, bytes, the floats that they mean, and what comes of them. */
static tl_status
scene_set(scene *s, size_t which)
{
    tl_status status = TL_OK;
    tl_network *reference = NULL;
    const unsigned numbers = (unsigned)draw(1, 1000000);
    *s = (scene){0};
    TL_TRY(which < REAL_BLOCKS ? inverted_residual(&s->graph, real_blocks[which])
                               : random_block(&s->graph));
    TL_TRY(random_parameters(&s->parameters, s->graph, numbers));
    s->src_count = tl_shape_elements(&s->graph->nodes[0].shape);
    s->dst_count = tl_shape_elements(&s->graph->nodes[s->graph->count - 1].shape);
    s->src = tl_alloc(IMAGES * s->src_count, sizeof *s->src);
    s->bytes = tl_alloc(IMAGES * s->src_count, 1);
    s->expected = tl_alloc(IMAGES * s->dst_count, sizeof *s->expected);
    s->given = tl_alloc(IMAGES * s->dst_count, sizeof *s->given);
    random_numbers(s->values, 256, numbers);
    for (size_t i = 0; i < IMAGES * s->src_count; i++) {
        s->bytes[i] = (uint8_t)draw(0, 255);
        s->src[i] = s->values[s->bytes[i]];
    }
    TL_TRY(tl_network_create(&reference, s->graph, &s->parameters, 1, &reference_ops));
    status = tl_network_run(reference, s->expected, s->src, IMAGES, 0, s->graph->count - 1);
done:
    tl_network_destroy(reference);
    return status;
}

static bool
near_expected(const scene *s)
{
    double largest = 1e-3;
    double worst = 0;
    for (size_t i = 0; i < IMAGES * s->dst_count; i++) {
        largest = fmax(largest, fabs((double)s->expected[i]));
        worst = fmax(worst, fabs((double)s->expected[i] - (double)s->given[i]));
    }
    return worst <= 1e-5 * largest;
}

/* Together, one at a time on crews of several sizes, from bytes: all the same bits. */
static void
check_bits(const scene *s, tl_network *network)
{
    const size_t stop = s->graph->count - 1;
    const tl_images bytes = {.pixels = s->bytes, .values = s->values};
    float *again = tl_alloc(IMAGES * s->dst_count, sizeof *again);
    const size_t size = IMAGES * s->dst_count * sizeof *again;
    for (size_t threads = 1; threads <= 4; threads++) {
        CHECK_OK(tl_pool_set_threads(threads));
        memset(again, 0, size);
        for (size_t i = 0; i < IMAGES; i++) {
            CHECK_OK(tl_network_run(network, again + i * s->dst_count,
                                    s->src + i * s->src_count, 1, 0, stop));
        }
        CHECK(memcmp(again, s->given, size) == 0);
        memset(again, 0, size);
        CHECK_OK(tl_network_run_images(network, again, &bytes, IMAGES, 0, stop));
        CHECK(memcmp(again, s->given, size) == 0);
    }
    CHECK_OK(tl_network_run_images(network, again, &bytes, 1, 0, stop));
    CHECK(memcmp(again, s->given, size / IMAGES) == 0);
    tl_free(again);
}

static void
test_blocks_equal_naive_loops(void)
{
    const size_t cases = fuzz_cases();
    for (size_t i = 0; i < cases && !this_test_failed; i++) {
        scene s;
        seed = 88172645463325252UL + i * 1000003UL;
        CHECK_OK(scene_set(&s, i));
        for (size_t isa = 0; isa < 3; isa++) {
            CHECK(tl_cpu_limit(isas[isa]));
            for (size_t way = 0; way < 2; way++) {
                tl_network *network = NULL;
                CHECK(tl_fused_prefer(ways[way]));
                CHECK_OK(tl_network_create(&network, s.graph, &s.parameters, 1, &product_ops));
                CHECK_OK(tl_pool_set_threads(2));
                CHECK_OK(
                    tl_network_run(network, s.given, s.src, IMAGES, 0, s.graph->count - 1));
                CHECK(near_expected(&s));
                check_bits(&s, network);
                tl_network_destroy(network);
                if (this_test_failed) {
                    (void)printf("in case %zu, %s, %s\n", i, isas[isa], ways[way]);
                    break;
                }
            }
        }
        scene_clear(&s);
    }
    CHECK(tl_fused_prefer("table"));
}

/* --- promises that a sum alone does not show -------------------------------------------- */

/* What a pixel with NaN or infinity does to the pixels that do not see it: nothing. */
static void
test_nan_stays_where_it_is(void)
{
    enum { SIDE = 9, CHANNELS = 20 };
    const tl_shape shape = tl_shape_3(SIDE, SIDE, CHANNELS);
    static float src[SIDE * SIDE * CHANNELS];
    static float dst[SIDE * SIDE * CHANNELS];
    const tl_op ops[] = {TL_OP_CONV2D, TL_OP_RELU, TL_OP_DEPTHWISE_CONV2D, TL_OP_RELU,
                         TL_OP_CONV2D};
    const char *names[] = {"expand", "relu_1", "depthwise", "relu_2", "project"};
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    size_t id = 0;
    random_numbers(src, sizeof src / sizeof src[0], 4);
    src[(4 * SIDE + 4) * CHANNELS + 3] = NAN;
    CHECK_OK(tl_graph_create(&graph, "input", &shape));
    for (size_t i = 0; i < 5; i++) {
        tl_node node = {.op = ops[i]};
        if (ops[i] == TL_OP_RELU) {
            node.relu.max_value = 6.0F;
        } else {
            const size_t side = ops[i] == TL_OP_DEPTHWISE_CONV2D ? 3 : 1;
            node.convolution =
                (tl_convolution){side == 3 ? 0 : CHANNELS, {side, side}, {1, 1}, true, true};
        }
        CHECK_OK(add_node(graph, &id, node, names[i], id, TL_NONE));
    }
    CHECK_OK(random_parameters(&parameters, graph, 1));
    for (size_t isa = 0; isa < 3; isa++) {
        CHECK(tl_cpu_limit(isas[isa]) && tl_fused_prefer("fused"));
        CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &product_ops));
        CHECK_OK(tl_network_run(network, dst, src, 1, 0, id));
        for (size_t i = 0; i < SIDE * SIDE; i++) {
            const bool near = i / SIDE >= 3 && i / SIDE <= 5 && i % SIDE >= 3 && i % SIDE <= 5;
            CHECK(isnan(dst[i * CHANNELS]) == near);
        }
        tl_network_destroy(network);
    }
    CHECK(tl_fused_prefer("table"));
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

/* Wherever the number lies, also in rows and columns that no output reads: a stem checks what
 * it copies, everybody else's input is checked before. Alone and shared out. */
static void
test_infinite_pictures_are_refused(void)
{
    for (size_t i = 0; i < 60 && !this_test_failed; i++) {
        scene s;
        tl_network *network = NULL;
        seed = 1234567UL + i * 1000003UL;
        CHECK_OK(scene_set(&s, REAL_BLOCKS + i));
        const tl_images images = {.numbers = s.src, .finite = true};
        const size_t stop = s.graph->count - 1;
        CHECK(tl_cpu_limit(isas[i % 3]) && tl_fused_prefer("fused"));
        CHECK_OK(tl_network_create(&network, s.graph, &s.parameters, 1, &product_ops));
        for (size_t threads = 1; threads <= 3; threads++) {
            const size_t at = (IMAGES - 1) * s.src_count + draw(0, s.src_count - 1);
            const float kept = s.src[at];
            CHECK_OK(tl_pool_set_threads(threads));
            CHECK_OK(tl_network_run_images(network, s.given, &images, IMAGES, 0, stop));
            s.src[at] = draw(0, 1) == 0 ? NAN : -INFINITY;
            CHECK(tl_network_run_images(network, s.given, &images, IMAGES, 0, stop) ==
                  TL_BAD_VALUE);
            CHECK(strstr(tl_detail(), "NaN or infinity") != NULL);
            s.src[at] = kept;
        }
        CHECK_OK(tl_network_run_images(network, s.given, &images, IMAGES, 0, stop));
        CHECK(near_expected(&s));
        tl_network_destroy(network);
        scene_clear(&s);
    }
    CHECK(tl_fused_prefer("table"));
}

static void
test_bytes_are_read_at_the_input_only(void)
{
    tl_graph *graph = NULL;
    tl_parameters *parameters = NULL;
    tl_network *network = NULL;
    const uint8_t bytes[16 * 16 * 3] = {0};
    const float values[256] = {0};
    float dst[16 * 16 * 64];
    const tl_images images = {.pixels = bytes, .values = values};
    CHECK_OK(small_graph(&graph, 16, 16));
    CHECK_OK(random_parameters(&parameters, graph, 1));
    CHECK_OK(tl_network_create(&network, graph, &parameters, 1, &product_ops));
    CHECK(tl_network_run_images(network, dst, &images, 1, 1, 2) == TL_BAD_VALUE);
    CHECK_OK(tl_network_run_images(network, dst, &images, 1, 0, 0)); /* bytes made floats */
    tl_network_destroy(network);
    tl_parameters_release(parameters);
    tl_graph_destroy(graph);
}

static void
test_preferences_have_names(void)
{
    CHECK(tl_fused_prefer("onednn") && tl_fused_prefer("table"));
    CHECK(!tl_fused_prefer("") && !tl_fused_prefer("Fused"));
}

int
main(void)
{
    CHECK_OK(tl_dnnl_open());
    RUN(test_blocks_equal_naive_loops);
    RUN(test_nan_stays_where_it_is);
    RUN(test_infinite_pictures_are_refused);
    RUN(test_bytes_are_read_at_the_input_only);
    RUN(test_preferences_have_names);
    tl_pool_close();
    return REPORT();
}
