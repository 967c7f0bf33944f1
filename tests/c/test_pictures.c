/* Layers for pictures: csrc/image against loops that follow the definitions pixel by pixel, in
 * double, and what the core makes of such nodes. That Keras means the same by them is compared
 * in tests/parity. */
#include <stdlib.h>

#include "builders.h"
#include "check.h"
#include "core/arena.h"
#include "core/augmentation.h"
#include "core/picture_node.h"
#include "core/pool.h"
#include "image/photometric.h"
#include "image/projective.h"
#include "image/rearrange.h"
#include "image/resize.h"
#include "kernels/pictures.h"
#include "kernels/plain.h"

enum { MOST = 40 * 40 * 4 };

static const tl_backend *const backends[] = {&tl_pictures_backend, &tl_plain_backend};
static const tl_ops ops = {backends, 2, NULL, NULL, NULL};

/* --- resizing --------------------------------------------------------------------------- */

/* The pixel of the part that is resized. */
static double
part_at(const tl_resize_plan *p, const float *src, size_t row, size_t col, size_t channel)
{
    const ptrdiff_t y = p->start[0] + (ptrdiff_t)row;
    const ptrdiff_t x = p->start[1] + (ptrdiff_t)col;
    if (y < 0 || x < 0 || y >= (ptrdiff_t)p->src[0] || x >= (ptrdiff_t)p->src[1]) {
        return (double)p->fill_value;
    }
    return (double)src[((size_t)y * p->src[1] + (size_t)x) * p->channels + channel];
}

static double
naive_kernel(tl_resize_method method, double x)
{
    const double pi = acos(-1);
    const double radius = method == TL_RESIZE_LANCZOS3 ? 3 : 5;
    x = fabs(x);
    if (method == TL_RESIZE_BILINEAR) {
        return fmax(0, 1 - x);
    }
    if (method == TL_RESIZE_BICUBIC) {
        return x < 1   ? 1.5 * x * x * x - 2.5 * x * x + 1
               : x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2
                       : 0;
    }
    return x < 1e-6     ? 1
           : x > radius ? 0
                        : sin(pi * x) / (pi * x) * sin(pi * x / radius) / (pi * x / radius);
}

/* How much pixel `from` of `in` weighs in pixel `to` of `out`, up to a factor. */
static double
naive_weight(const tl_resize_plan *p, size_t in, size_t out, size_t from, size_t to)
{
    const double scale = (double)in / (double)out;
    if (p->method == TL_RESIZE_NEAREST) { /* in float32, which decides where it lies between */
        return from == (size_t)floorf(((float)to + 0.5F) * ((float)in / (float)out)) ? 1 : 0;
    }
    if (p->method == TL_RESIZE_AREA) {
        const double begin = fmax((double)from, (double)to * scale);
        return fmax(0, fmin((double)from + 1, ((double)to + 1) * scale) - begin);
    }
    const double wide = p->antialias && scale > 1 ? scale : 1;
    double at = ((double)to + 0.5) * scale;
    if (p->method == TL_RESIZE_BILINEAR && !p->antialias) { /* the border goes on outwards */
        at = fmin(fmax(at, 0.5), (double)in - 0.5);
    }
    return naive_kernel(p->method, ((double)from + 0.5 - at) / wide);
}

static double
naive_resized(const tl_resize_plan *p, const float *src, size_t y, size_t x, size_t c)
{
    double sum = 0;
    double total = 0;
    for (size_t row = 0; row < p->part[0]; row++) {
        const double high = naive_weight(p, p->part[0], p->dst[0], row, y);
        for (size_t col = 0; high != 0 && col < p->part[1]; col++) {
            const double weight = high * naive_weight(p, p->part[1], p->dst[1], col, x);
            sum += weight * part_at(p, src, row, col, c);
            total += weight;
        }
    }
    return sum / total;
}

static void
check_resize(const tl_resize_plan *p, const float *src, double tolerance)
{
    static float dst[MOST];
    tl_resize *resize = NULL;
    CHECK_OK(tl_resize_create(&resize, p));
    float *scratch = tl_alloc(tl_resize_scratch(resize), sizeof *scratch);
    CHECK(scratch != NULL);
    tl_resize_run(resize, dst, src, scratch);
    for (size_t i = 0; i < p->dst[0] * p->dst[1] * p->channels; i++) {
        const size_t pixel = i / p->channels;
        CHECK_NEAR(dst[i],
                   naive_resized(p, src, pixel / p->dst[1], pixel % p->dst[1], i % p->channels),
                   tolerance);
    }
    tl_free(scratch);
    tl_resize_destroy(resize);
}

static void
test_resizing_is_a_weighted_sum(void)
{
    static float src[MOST];
    const size_t sizes[][2] = {{11, 17}, {1, 5}, {30, 8}, {2, 2}, {23, 40}};
    random_numbers(src, MOST, 1);
    for (int method = TL_RESIZE_NEAREST; method <= TL_RESIZE_AREA; method++) {
        for (size_t a = 0; a < 5; a++) {
            for (size_t b = 0; b < 5; b++) {
                for (int antialias = 0; antialias < 2; antialias++) {
                    const tl_resize_plan plan = {
                        .src = {sizes[a][0], sizes[a][1]},
                        .dst = {sizes[b][0], sizes[b][1]},
                        .channels = 1 + a % 4,
                        .part = {sizes[a][0], sizes[a][1]},
                        .method = (tl_resize_method)method,
                        .antialias = antialias != 0,
                    };
                    /* bicubic weights come from a table of 1024 steps */
                    const bool table = method == TL_RESIZE_BICUBIC && antialias == 0;
                    check_resize(&plan, src, table ? 2e-3 : 2e-5);
                }
            }
        }
    }
}

static void
test_resizing_takes_a_part_or_a_border(void)
{
    static float src[MOST];
    const ptrdiff_t starts[][2] = {{2, 3}, {-3, 0}, {0, -4}, {-2, -1}, {9, 12}};
    const size_t parts[][2] = {{6, 9}, {17, 17}, {11, 25}, {14, 20}, {2, 5}};
    random_numbers(src, MOST, 2);
    for (size_t i = 0; i < 5; i++) {
        for (int method = TL_RESIZE_NEAREST; method <= TL_RESIZE_AREA; method++) {
            const tl_resize_plan plan = {.src = {11, 17},
                                         .dst = {13, 7},
                                         .channels = 3,
                                         .start = {starts[i][0], starts[i][1]},
                                         .part = {parts[i][0], parts[i][1]},
                                         .fill_value = 0.75F,
                                         .method = (tl_resize_method)method,
                                         .antialias = true};
            check_resize(&plan, src, 2e-5);
        }
    }
}

/* <grad, R src> = <R' grad, src> for the gradient's R', where what is filled adds nothing. */
static void
test_gradients_take_the_same_way_back(void)
{
    static float src[11 * 17 * 3];
    static float back[11 * 17 * 3];
    static float dst[13 * 7 * 3];
    static float grad[13 * 7 * 3];
    const ptrdiff_t starts[][2] = {{0, 0}, {2, 3}, {-3, 0}, {-2, -1}};
    const size_t parts[][2] = {{11, 17}, {6, 9}, {17, 17}, {14, 20}};
    random_numbers(src, 11 * 17 * 3, 11);
    random_numbers(grad, 13 * 7 * 3, 12);
    for (size_t i = 0; i < 4; i++) {
        for (int method = TL_RESIZE_NEAREST; method <= TL_RESIZE_AREA; method++) {
            const tl_resize_plan plan = {.src = {11, 17},
                                         .dst = {13, 7},
                                         .channels = 3,
                                         .start = {starts[i][0], starts[i][1]},
                                         .part = {parts[i][0], parts[i][1]},
                                         .method = (tl_resize_method)method,
                                         .antialias = true};
            double there = 0;
            double and_back = 0;
            tl_resize *resize = NULL;
            CHECK_OK(tl_resize_create(&resize, &plan));
            float *scratch = tl_alloc(tl_resize_scratch(resize), sizeof *scratch);
            CHECK(scratch != NULL);
            tl_resize_run(resize, dst, src, scratch);
            for (size_t k = 0; k < 11 * 17 * 3; k++) {
                back[k] = 0.25F; /* added to */
            }
            tl_resize_back(resize, back, grad, scratch);
            for (size_t k = 0; k < 13 * 7 * 3; k++) {
                there += (double)dst[k] * (double)grad[k];
            }
            for (size_t k = 0; k < 11 * 17 * 3; k++) {
                and_back += ((double)back[k] - 0.25) * (double)src[k];
            }
            CHECK_NEAR(and_back, there, 1e-4);
            tl_free(scratch);
            tl_resize_destroy(resize);
        }
    }
}

static void
test_resizing_survives_a_lack_of_memory(void)
{
    const tl_resize_plan plan = {.src = {9, 9},
                                 .dst = {5, 5},
                                 .channels = 3,
                                 .part = {9, 9},
                                 .method = TL_RESIZE_BILINEAR};
    tl_status status = TL_OUT_OF_MEMORY;
    long n = 0;
    for (; status != TL_OK && n < 50; n++) {
        tl_resize *resize = NULL;
        tl_alloc_fail_at(n);
        status = tl_resize_create(&resize, &plan);
        tl_alloc_fail_at(-1);
        CHECK(status == TL_OK ? resize != NULL : status == TL_OUT_OF_MEMORY && resize == NULL);
        tl_resize_destroy(resize);
    }
    CHECK(n == 8); /* the object, three arrays an axis, and then it works */
}

/* --- pixels in other places ------------------------------------------------------------- */

/* `at` as a whole number of an endless row that is made of 0 .. n - 1. */
static long
endless(long at, long n, tl_beyond beyond)
{
    switch (beyond) {
    case TL_BEYOND_NEAREST:
        return at < 0 ? 0 : at >= n ? n - 1 : at;
    case TL_BEYOND_WRAP:
        return ((at % n) + n) % n;
    case TL_BEYOND_REFLECT:
        at = ((at % (2 * n)) + 2 * n) % (2 * n);
        return at < n ? at : 2 * n - 1 - at;
    default:
        return at < 0 || at >= n ? -1 : at;
    }
}

static void
test_shifts_by_whole_pixels(void)
{
    static float src[7 * 5 * 2];
    static float dst[7 * 5 * 2];
    random_numbers(src, 70, 3);
    for (int mode = 0; mode < 4; mode++) {
        for (int bilinear = 0; bilinear < 2; bilinear++) {
            const tl_projective how = {.height = 7,
                                       .width = 5,
                                       .channels = 2,
                                       .beyond = (tl_beyond)mode,
                                       .bilinear = bilinear != 0,
                                       .fill_value = 0.5F};
            for (long down = -4; down <= 4; down++) {
                for (long right = -3; right <= 3; right++) {
                    const float m[8] = {1, 0, (float)-right, 0, 1, (float)-down, 0, 0};
                    tl_projective_run(dst, src, &how, m);
                    for (long i = 0; i < 35; i++) {
                        const long y = endless(i / 5 - down, 7, how.beyond);
                        const long x = endless(i % 5 - right, 5, how.beyond);
                        const float expected = y < 0 || x < 0 ? 0.5F : src[2 * (y * 5 + x) + 1];
                        CHECK(dst[2 * i + 1] == expected);
                    }
                }
            }
        }
    }
}

static void
test_nearest_takes_halves_from_behind(void)
{
    const float src[6] = {0, 1, 2, 3, 4, 5};
    const float shifts[] = {0.25F, 0.5F, 0.75F, 1.25F};
    const tl_projective rows = {
        .height = 6, .width = 1, .channels = 1, .beyond = TL_BEYOND_NEAREST};
    const tl_projective cols = {
        .height = 1, .width = 6, .channels = 1, .beyond = TL_BEYOND_NEAREST};
    float dst[6];
    for (size_t i = 0; i < 4; i++) {
        for (int turned = 0; turned < 2; turned++) {
            const float m[8] = {1, 0, turned != 0 ? 0 : shifts[i],
                                0, 1, turned != 0 ? shifts[i] : 0};
            tl_projective_run(dst, src, turned != 0 ? &rows : &cols, m);
            for (size_t k = 0; k < 6; k++) {
                CHECK(dst[k] == fminf(roundf((float)k + shifts[i]), 5));
            }
        }
    }
    const tl_projective both = {
        .height = 2, .width = 3, .channels = 1, .beyond = TL_BEYOND_CONSTANT};
    const float m[8] = {1, 0, 0.5F, 0, 1, 0.25F};
    tl_projective_run(dst, src, &both, m);
    CHECK(dst[0] == 1 && dst[1] == 2); /* between pixels that all exist */
}

static void
test_bilinear_is_exact_on_a_plane(void)
{
    static float src[9 * 8];
    static float dst[9 * 8];
    const tl_projective how = {
        .height = 9, .width = 8, .channels = 1, .beyond = TL_BEYOND_CONSTANT, .bilinear = true};
    const float m[8] = {0.8F, -0.3F, 1.7F, 0.25F, 0.7F, 0.4F, 0.01F, -0.02F};
    size_t inside = 0;
    for (int i = 0; i < 72; i++) {
        src[i] = 3 * (float)(i % 8) - 2 * (float)(i / 8);
    }
    tl_projective_run(dst, src, &how, m);
    for (int i = 0; i < 72; i++) {
        const double x = i % 8;
        const double y = i / 8;
        const double k = 0.01 * x - 0.02 * y + 1;
        const double from_x = (0.8 * x - 0.3 * y + 1.7) / k;
        const double from_y = (0.25 * x + 0.7 * y + 0.4) / k;
        if (from_x >= 0 && from_x <= 7 && from_y >= 0 && from_y <= 8) {
            CHECK_NEAR(dst[i], 3 * from_x - 2 * from_y, 1e-4);
            inside++;
        }
    }
    CHECK(inside > 40);
}

static void
test_places_that_are_no_numbers_give_numbers(void)
{
    float src[4] = {1, 2, 3, 4};
    float dst[4];
    const float matrices[][8] = {
        {NAN, 0, 0, 0, 1, 0, 0, 0},       {1, 0, INFINITY, 0, 1, 0, 0, 0},
        {1, 0, 0, 0, 1, -3e38F, 0, 0},    {1e30F, 1e30F, 1, 1, 1, 1, 1, 1},
        {1, 0, 0, 0, 1, 0, -1.0F, -1.0F}, {1e9F, 0, -5e8F, 0, -1e9F, 3e8F, 0, 0},
    };
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
        for (int mode = 0; mode < 4; mode++) {
            for (int bilinear = 0; bilinear < 2; bilinear++) {
                const tl_projective how = {.height = 2,
                                           .width = 2,
                                           .channels = 1,
                                           .beyond = (tl_beyond)mode,
                                           .bilinear = bilinear != 0,
                                           .fill_value = 2};
                tl_projective_run(dst, src, &how, matrices[i]);
                for (int k = 0; k < 4; k++) { /* far away the weights of pixels are 0 */
                    CHECK(dst[k] >= 0 && dst[k] <= 4);
                }
            }
        }
    }
}

static void
test_flips_and_parts_keep_every_value(void)
{
    static float src[6 * 5 * 3];
    static float dst[6 * 5 * 3];
    random_numbers(src, 90, 4);
    for (int how = 0; how < 4; how++) {
        tl_flip(dst, src, 6, 5, 3, how % 2 != 0, how / 2 != 0);
        for (size_t i = 0; i < 90; i++) {
            const size_t y = i / 15;
            const size_t x = i / 3 % 5;
            const size_t from_y = how / 2 != 0 ? 5 - y : y;
            const size_t from_x = how % 2 != 0 ? 4 - x : x;
            CHECK(dst[i] == src[(from_y * 5 + from_x) * 3 + i % 3]);
        }
    }
    tl_cut_out(dst, src, 5, 3, 2, 1, 3, 4);
    for (size_t i = 0; i < 36; i++) {
        CHECK(dst[i] == src[((2 + i / 12) * 5 + 1 + i / 3 % 4) * 3 + i % 3]);
    }
}

static void
test_values_are_changed_within_their_range(void)
{
    static float src[30 * 3];
    static float dst[30 * 3];
    const float range[2] = {-0.5F, 0.6F};
    const float scale[3] = {2, -1, 0.5F};
    const float offset[3] = {1, 0, -3};
    double means[3] = {0};
    random_numbers(src, 90, 5);
    for (size_t i = 0; i < 90; i++) {
        means[i % 3] += (double)src[i] / 30;
    }
    tl_contrast(dst, src, 30, 3, 1.5F, range);
    for (size_t i = 0; i < 90; i++) {
        const double x = ((double)src[i] - means[i % 3]) * 1.5 + means[i % 3];
        CHECK_NEAR(dst[i], fmin(fmax(x, -0.5), (double)range[1]), 1e-6);
    }
    tl_brighten(dst, src, 90, 0.25F, range);
    for (size_t i = 0; i < 90; i++) {
        CHECK(dst[i] == fminf(fmaxf(src[i] + 0.25F, -0.5F), 0.6F));
    }
    tl_rescale(dst, src, 30, 3, scale, offset, 3);
    for (size_t i = 0; i < 90; i++) {
        CHECK(dst[i] == src[i] * scale[i % 3] + offset[i % 3]);
    }
    tl_rescale(dst, src, 30, 3, scale, offset, 1);
    for (size_t i = 0; i < 90; i++) {
        CHECK(dst[i] == src[i] * 2 + 1);
    }
}

/* --- nodes ------------------------------------------------------------------------------ */

static const tl_augmentation warp = {.factor = {-0.2F, 0.3F},
                                     .width_factor = {-0.1F, 0.1F},
                                     .fill_mode = TL_FILL_REFLECT,
                                     .interpolation = TL_BILINEAR};
static const tl_augmentation light = {.factor = {-0.2F, 0.3F}, .value_range = {-1, 1}};

static tl_node
random_node(tl_op op)
{
    tl_node node = {.op = op, .augmentation = light};
    if (op == TL_OP_RANDOM_FLIP) {
        node.augmentation = (tl_augmentation){.horizontal = true};
    } else if (op == TL_OP_RANDOM_CROP) {
        node.augmentation = (tl_augmentation){.size = {5, 6}};
    } else if (op <= TL_OP_RANDOM_TRANSLATION) {
        node.augmentation = warp;
    }
    return node;
}

static tl_status
graph_of(tl_graph **out, const tl_node *nodes, size_t count)
{
    tl_status status = TL_OK;
    const tl_shape shape = tl_shape_3(9, 11, 3);
    size_t id = 0;
    TL_TRY(tl_graph_create(out, "input", &shape));
    for (size_t i = 0; i < count; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "node%zu", i);
        TL_TRY(add_node(*out, &id, nodes[i], name, id, TL_NONE));
    }
done:
    return status;
}

static void
test_zeros_are_refused(void)
{
    for (int op = TL_OP_RESCALING; op < TL_OP_COUNT; op++) {
        tl_graph *graph = NULL;
        const tl_node node = {.op = (tl_op)op};
        CHECK(graph_of(&graph, &node, 1) == TL_BAD_VALUE);
        CHECK(graph->count == 1);
        tl_graph_destroy(graph);
    }
}

static void
test_what_is_not_allowed_is_refused(void)
{
    tl_node nodes[] = {
        {.op = TL_OP_RESCALING, .rescaling = {2, {1, 1}, {0, 0}}},
        {.op = TL_OP_RESCALING, .rescaling = {1, {NAN}, {0}}},
        {.op = TL_OP_RESCALING, .rescaling = {1, {1}, {INFINITY}}},
        {.op = TL_OP_RESIZING, .resizing = {{5, 0}, TL_AREA, .crops = true}},
        {.op = TL_OP_RESIZING, .resizing = {{5, 1 << 17}, TL_AREA, .crops = true}},
        {.op = TL_OP_RESIZING, .resizing = {{5, 5}, TL_AREA, .crops = true, .pads = true}},
        {.op = TL_OP_RESIZING, .resizing = {{5, 5}, TL_AREA, .fill_value = NAN}},
        {.op = TL_OP_RESIZING, .resizing = {{5, 5}, TL_INTERPOLATION_COUNT}},
        {.op = TL_OP_RANDOM_ROTATION, .augmentation = warp},
        {.op = TL_OP_RANDOM_ROTATION, .augmentation = warp},
        {.op = TL_OP_RANDOM_ZOOM, .augmentation = warp},
        {.op = TL_OP_RANDOM_ZOOM, .augmentation = warp},
        {.op = TL_OP_RANDOM_TRANSLATION, .augmentation = warp},
        {.op = TL_OP_RANDOM_CONTRAST, .augmentation = light},
        {.op = TL_OP_RANDOM_BRIGHTNESS, .augmentation = light},
    };
    nodes[8].augmentation.factor[0] = 0.4F; /* not in order */
    nodes[9].augmentation.factor[1] = NAN;
    nodes[10].augmentation.interpolation = TL_AREA;
    nodes[11].augmentation.width_factor[1] = 1.5F;
    nodes[12].augmentation.fill_value = INFINITY;
    nodes[13].augmentation.value_range[0] = 1;
    nodes[14].augmentation.factor[1] = INFINITY;
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        tl_graph *graph = NULL;
        CHECK(graph_of(&graph, &nodes[i], 1) == TL_BAD_VALUE);
        CHECK(strstr(tl_detail(), "node0") != NULL);
        tl_graph_destroy(graph);
    }
}

static void
test_inference_leaves_out_what_is_random(void)
{
    tl_graph *graph = NULL;
    tl_lowered *lowered = NULL;
    const tl_node nodes[] = {
        random_node(TL_OP_RANDOM_FLIP),
        random_node(TL_OP_RANDOM_ZOOM),
        random_node(TL_OP_RANDOM_CONTRAST),
        {.op = TL_OP_RESIZING, .resizing = {{9, 11}, TL_BICUBIC}}, /* has that size */
        {.op = TL_OP_CENTER_CROP, .resizing = {.size = {8, 8}}},
        random_node(TL_OP_RANDOM_CROP), /* 5 by 6: the middle, resized */
        {.op = TL_OP_RESIZING, .resizing = {{5, 7}, TL_BILINEAR, .pads = true}},
        {.op = TL_OP_RESCALING, .rescaling = {1, {2}, {1}}},
        random_node(TL_OP_RANDOM_BRIGHTNESS),
    };
    CHECK_OK(graph_of(&graph, nodes, sizeof nodes / sizeof nodes[0]));
    CHECK_OK(tl_lower(&lowered, graph, 0, graph->count - 1));
    CHECK(lowered->count == 4);
    CHECK(lowered->steps[0].kind == TL_STEP_CROP && lowered->steps[0].region.left == 1);
    CHECK(lowered->steps[1].kind == TL_STEP_RESIZING);
    CHECK(lowered->steps[1].region.height == 6 && lowered->steps[1].region.width == 8);
    CHECK(lowered->steps[2].kind == TL_STEP_RESIZING); /* to 5 by 7 of 5 by 6: nothing to pad */
    CHECK(lowered->steps[3].kind == TL_STEP_RESCALING && lowered->steps[3].src == 2);
    tl_lowered_destroy(lowered);
    tl_graph_destroy(graph);
}

static void
test_a_border_is_no_part_of_the_picture(void)
{
    tl_graph *graph = NULL;
    tl_lowered *lowered = NULL;
    const tl_node node = {.op = TL_OP_RESIZING,
                          .resizing = {{11, 11}, TL_BILINEAR, .pads = true}};
    CHECK_OK(graph_of(&graph, &node, 1));
    CHECK_OK(tl_lower(&lowered, graph, 0, 1));
    CHECK(lowered->count == 1 && lowered->steps[0].kind == TL_STEP_RESIZING);
    CHECK(lowered->steps[0].region.top == -1 && lowered->steps[0].region.height == 11);
    tl_lowered_destroy(lowered);
    tl_graph_destroy(graph);
}

static void
test_draws_follow_from_seed_batch_and_place(void)
{
    tl_graph *graph = NULL;
    tl_node nodes[] = {random_node(TL_OP_RANDOM_ROTATION), random_node(TL_OP_RANDOM_ROTATION)};
    float few[2 * TL_DRAWN];
    float many[5 * TL_DRAWN];
    nodes[1].augmentation.seeded = true;
    nodes[1].augmentation.seed = 6;
    CHECK_OK(graph_of(&graph, nodes, 2));
    CHECK_OK(tl_augmentation_draw(few, graph, 1, 3, 7, 2));
    CHECK_OK(tl_augmentation_draw(many, graph, 1, 3, 7, 5));
    CHECK(memcmp(few, many, sizeof few) == 0);
    CHECK(memcmp(many, many + TL_DRAWN, TL_DRAWN * sizeof *many) != 0);
    CHECK_OK(tl_augmentation_draw(many, graph, 1, 3, 8, 5));
    CHECK(memcmp(few, many, sizeof few) != 0);
    CHECK_OK(tl_augmentation_draw(many, graph, 1, 4, 7, 5));
    CHECK(memcmp(few, many, sizeof few) != 0);
    CHECK_OK(tl_augmentation_draw(few, graph, 2, 3, 7, 2)); /* has its own seed */
    CHECK_OK(tl_augmentation_draw(many, graph, 2, 4, 7, 5));
    CHECK(memcmp(few, many, sizeof few) == 0);
    CHECK(tl_augmentation_draw(few, graph, 0, 3, 7, 2) == TL_BAD_VALUE);
    CHECK(tl_augmentation_draw(few, graph, 3, 3, 7, 2) == TL_BAD_VALUE);
    CHECK(tl_pictures_change(many, few, graph, 0, few, 1) == TL_BAD_VALUE);
    CHECK(tl_pictures_change(many, few, graph, 3, few, 1) == TL_BAD_VALUE);
    graph->nodes[1].inference = true;
    CHECK(tl_augmentation_draw(few, graph, 1, 3, 7, 2) == TL_BAD_VALUE);
    tl_graph_destroy(graph);
}

enum { ROWS = 7, PICTURE = 9 * 11 * 3 };

static void
test_changes_do_not_depend_on_threads(void)
{
    static float src[ROWS * PICTURE];
    static float dst[2][ROWS * PICTURE];
    float numbers[ROWS * TL_DRAWN];
    random_numbers(src, ROWS * PICTURE, 8);
    for (int op = TL_OP_RANDOM_FLIP; op <= TL_OP_RANDOM_CROP; op++) {
        tl_graph *graph = NULL;
        const tl_node node = random_node((tl_op)op);
        CHECK_OK(graph_of(&graph, &node, 1));
        CHECK_OK(tl_augmentation_draw(numbers, graph, 1, 3, 7, ROWS));
        const size_t count = tl_shape_elements(&graph->nodes[1].shape);
        for (size_t turn = 0; turn < 2; turn++) {
            CHECK_OK(tl_pool_set_threads(1 + 3 * turn));
            CHECK_OK(tl_pictures_change(dst[turn], src, graph, 1, numbers, ROWS));
        }
        CHECK(memcmp(dst[0], dst[1], ROWS * count * sizeof *src) == 0);
        /* and neither on the pictures beside it */
        CHECK_OK(
            tl_pictures_change(dst[1], src + 3 * PICTURE, graph, 1, numbers + 3 * TL_DRAWN, 1));
        CHECK(memcmp(dst[0] + 3 * count, dst[1], count * sizeof *src) == 0);
        tl_graph_destroy(graph);
    }
    CHECK_OK(tl_pool_set_threads(0));
}

static void
test_a_crop_survives_a_lack_of_memory_and_any_place(void)
{
    static float src[PICTURE];
    static float dst[20 * 6 * 3];
    const float places[][TL_DRAWN] = {{2, 3}, {-1, -5}, {1e30F, 1e30F}, {NAN, INFINITY}};
    tl_graph *graph = NULL;
    tl_node node = random_node(TL_OP_RANDOM_CROP);
    tl_status status = TL_OUT_OF_MEMORY;
    node.augmentation.size[0] = 20; /* more than there is: it is resized */
    random_numbers(src, PICTURE, 9);
    CHECK_OK(graph_of(&graph, &node, 1));
    for (size_t i = 0; i < 4; i++) {
        CHECK_OK(tl_pictures_change(dst, src, graph, 1, places[i], 1));
    }
    long n = 0;
    for (; status != TL_OK && n < 50; n++) {
        tl_alloc_fail_at(n);
        status = tl_pictures_change(dst, src, graph, 1, places[0], 1);
        tl_alloc_fail_at(-1);
        CHECK(status == TL_OK || status == TL_OUT_OF_MEMORY);
    }
    CHECK(n > 7 && n < 50);
    float drawn[2 * TL_DRAWN];
    CHECK_OK(tl_augmentation_draw(drawn, graph, 1, 3, 7, 2));
    CHECK(drawn[0] == 0 && drawn[1] == 4); /* nothing is drawn: 9 by 2 would be the middle */
    CHECK(memcmp(drawn, drawn + TL_DRAWN, TL_DRAWN * sizeof *drawn) == 0);
    tl_graph_destroy(graph);
}

static void
test_training_through_a_resizing_survives_a_lack_of_memory(void)
{
    static float src[PICTURE];
    static float dst[5 * 7 * 3];
    tl_graph *graph = NULL;
    const tl_node node = {.op = TL_OP_RESIZING, .resizing = {{5, 7}, TL_BILINEAR}};
    tl_status status = TL_OUT_OF_MEMORY;
    long n = 0;
    random_numbers(src, PICTURE, 13);
    CHECK_OK(graph_of(&graph, &node, 1));
    for (; status != TL_OK && n < 50; n++) {
        tl_alloc_fail_at(n);
        status =
            tl_pictures_resize(dst, src, &graph->nodes[1], &graph->nodes[0].shape, 1, false);
        tl_alloc_fail_at(-1);
        CHECK(status == TL_OK || status == TL_OUT_OF_MEMORY);
    }
    CHECK(n == 9); /* what a resizing needs, and scratch */
    tl_graph_destroy(graph);
}

/* --- programs --------------------------------------------------------------------------- */

/* Runs a network without parameters. */
static tl_status
run(float *dst, const tl_graph *graph, const tl_images *src, size_t count, size_t start,
    size_t *runs)
{
    tl_status status = TL_OK;
    tl_network *network = NULL;
    TL_TRY(tl_network_create(&network, graph, NULL, 0, &ops));
    TL_TRY(tl_network_run_images(network, dst, src, count, start, graph->count - 1));
    *runs = tl_network_prefix_runs(network);
done:
    tl_network_destroy(network);
    return status;
}

static void
test_programs_run_them(void)
{
    static unsigned char bytes[2 * PICTURE];
    static float src[2 * PICTURE];
    static float dst[2][2 * 64 * 3];
    float values[256];
    tl_graph *graph = NULL;
    size_t runs = 0;
    const tl_node nodes[] = {
        {.op = TL_OP_RESCALING, .rescaling = {3, {0.5F, 1, 2}, {1, 0, -1}}},
        {.op = TL_OP_RESIZING, .resizing = {{10, 9}, TL_BILINEAR}},
        {.op = TL_OP_CENTER_CROP, .resizing = {.size = {8, 8}}},
    };
    for (size_t i = 0; i < 256; i++) {
        values[i] = (float)i / 255;
    }
    for (size_t i = 0; i < 2 * PICTURE; i++) {
        bytes[i] = (unsigned char)(i * 37 % 256);
        src[i] = values[bytes[i]];
    }
    CHECK_OK(graph_of(&graph, nodes, 3));
    CHECK_OK(run(dst[0], graph, &(tl_images){.numbers = src}, 2, 0, &runs));
    CHECK(runs == 2);
    CHECK_OK(run(dst[1], graph, &(tl_images){.pixels = bytes, .values = values}, 2, 0, &runs));
    CHECK(memcmp(dst[0], dst[1], sizeof dst[0]) == 0);
    const tl_resize_plan plan = {.src = {9, 11},
                                 .dst = {10, 9},
                                 .channels = 3,
                                 .part = {9, 11},
                                 .method = TL_RESIZE_BILINEAR};
    for (size_t i = 0; i < 64 * 3; i++) { /* the first picture, the second channel */
        const size_t pixel = i / 3;
        if (i % 3 == 1) {
            CHECK_NEAR(dst[0][i], naive_resized(&plan, src, 1 + pixel / 8, pixel % 8, 1), 1e-5);
        }
    }
    tl_graph_destroy(graph);
}

static void
test_each_picture_counts_once(void)
{
    static float src[2 * PICTURE];
    static float dst[2 * PICTURE];
    const tl_node nodes[] = {
        {.op = TL_OP_RESCALING, .rescaling = {1, {2}, {1}}},
        random_node(TL_OP_RANDOM_FLIP),
        {.op = TL_OP_RESCALING, .rescaling = {1, {2}, {1}}},
        random_node(TL_OP_RANDOM_CONTRAST),
        {.op = TL_OP_RELU, .relu = {INFINITY}},
    };
    const size_t ways[][2] = {{0, 1}, {2, 3}, {4, 5}, {0, 5}, {0, 0}, {1, 5}};
    const size_t counts[] = {0, 0, 2, 2, 0, 0};
    tl_graph *graph = NULL;
    tl_network *network = NULL;
    random_numbers(src, 2 * PICTURE, 10);
    CHECK_OK(graph_of(&graph, nodes, 5));
    CHECK_OK(tl_network_create(&network, graph, NULL, 0, &ops));
    CHECK(tl_network_cut(network, NULL) == 5); /* random pictures do not hold it back */
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const size_t before = tl_network_prefix_runs(network);
        CHECK_OK(tl_network_run(network, dst, src, 2, ways[i][0], ways[i][1]));
        CHECK(tl_network_prefix_runs(network) - before == counts[i]);
    }
    tl_network_destroy(network);
    tl_graph_destroy(graph);
}

int
main(void)
{
    RUN(test_resizing_is_a_weighted_sum);
    RUN(test_resizing_takes_a_part_or_a_border);
    RUN(test_gradients_take_the_same_way_back);
    RUN(test_resizing_survives_a_lack_of_memory);
    RUN(test_shifts_by_whole_pixels);
    RUN(test_nearest_takes_halves_from_behind);
    RUN(test_bilinear_is_exact_on_a_plane);
    RUN(test_places_that_are_no_numbers_give_numbers);
    RUN(test_flips_and_parts_keep_every_value);
    RUN(test_values_are_changed_within_their_range);
    RUN(test_zeros_are_refused);
    RUN(test_what_is_not_allowed_is_refused);
    RUN(test_inference_leaves_out_what_is_random);
    RUN(test_a_border_is_no_part_of_the_picture);
    RUN(test_draws_follow_from_seed_batch_and_place);
    RUN(test_changes_do_not_depend_on_threads);
    RUN(test_a_crop_survives_a_lack_of_memory_and_any_place);
    RUN(test_training_through_a_resizing_survives_a_lack_of_memory);
    RUN(test_programs_run_them);
    RUN(test_each_picture_counts_once);
    tl_pool_close();
    return REPORT();
}
