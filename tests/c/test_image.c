/* csrc/image: the affine transformation against a picture that is extended value by value, the
 * instruction sets against each other, the chain against numbers made by hand, and no read
 * beyond a picture. To add a fill mode, add it to `extended`. */
#define _DEFAULT_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "core/arena.h"
#include "core/cpu.h"
#include "core/pool.h"
#include "image/float_loops.h"
#include "image/statistics.h"
#include "image/transform.h"

enum { MAX_SIDE = 150, MAX_CHANNELS = 5, MAX_VALUES = MAX_SIDE * MAX_SIDE * MAX_CHANNELS };

static uint32_t state = 1;

static double
uniform(double low, double high)
{
    state = state * 1664525U + 1013904223U;
    return low + (high - low) * ((double)(state >> 8) / (1 << 24));
}

static size_t
whole(size_t low, size_t high)
{
    return low + (size_t)(uniform(0, 1) * (double)(high - low + 1));
}

/* Pages that may be used, with a page that may not on either side. */
typedef struct guarded {
    unsigned char *map;
    size_t size, page;
} guarded;

static guarded
guarded_pages(size_t bytes)
{
    guarded g = {NULL, 0, (size_t)sysconf(_SC_PAGESIZE)};
    g.size = (bytes + g.page - 1) / g.page * g.page;
    g.map = mmap(NULL, g.size + 2 * g.page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(g.map != MAP_FAILED);
    CHECK(mprotect(g.map + g.page, g.size, PROT_READ | PROT_WRITE) == 0);
    return g;
}

/* `bytes` that begin or end at a page that may not be touched. */
static void *
at_the_edge(const guarded *g, size_t bytes, bool at_end)
{
    return g->map + g->page + (at_end ? g->size - bytes : 0);
}

static void
release(const guarded *g)
{
    (void)munmap(g->map, g->size + 2 * g->page);
}

/* --- a naive second implementation -------------------------------------------------------- */

/* Index i of a row of n values that goes on for ever; -1 is cval. */
static long
extended(long i, long n, tl_edge_mode fill)
{
    while (i < 0 || i >= n) {
        switch (fill) {
        case TL_EDGE_NEAREST:
            i = i < 0 ? 0 : n - 1;
            break;
        case TL_EDGE_REFLECT:
            i = i < 0 ? -1 - i : 2 * n - 1 - i;
            break;
        case TL_EDGE_MIRROR:
            i = n == 1 ? 0 : i < 0 ? -i : 2 * n - 2 - i;
            break;
        case TL_EDGE_GRID_WRAP:
            i = i < 0 ? i + n : i - n;
            break;
        default:
            return -1;
        }
    }
    return i;
}

static double
value_of(const tl_affine_job *job, long i, long j, size_t c)
{
    const size_t at = ((size_t)i * job->width + (size_t)j) * job->step + c;
    return job->type == TL_UINT8     ? ((const uint8_t *)job->src)[at]
           : job->type == TL_FLOAT32 ? (double)((const float *)job->src)[at]
                                     : ((const double *)job->src)[at];
}

/* The picture at a place between pixels. */
static double
picture_at(const tl_affine_job *job, double y, double x, size_t c)
{
    const long height = (long)job->height;
    const long width = (long)job->width;
    const tl_edge_mode fill = job->affine.fill;
    const bool constant = fill == TL_EDGE_CONSTANT;
    if (constant && (y < 0 || y > (double)(height - 1) || x < 0 || x > (double)(width - 1))) {
        return job->affine.cval;
    }
    while (fill == TL_EDGE_WRAP && (y < 0 || y > (double)(height - 1))) {
        y = height == 1 ? 0 : y < 0 ? y + (double)(height - 1) : y - (double)(height - 1);
    }
    while (fill == TL_EDGE_WRAP && (x < 0 || x > (double)(width - 1))) {
        x = width == 1 ? 0 : x < 0 ? x + (double)(width - 1) : x - (double)(width - 1);
    }
    double sum = 0;
    const double shift = job->affine.order == 0 ? 0.5 : 0;
    const double top = floor(y + shift);
    const double left = floor(x + shift);
    for (int a = 0; a <= job->affine.order; a++) {
        for (int b = 0; b <= job->affine.order; b++) {
            const long i = extended((long)top + a, height, fill);
            const long j = extended((long)left + b, width, fill);
            const double weight =
                job->affine.order == 0 ? 1 : (1 - fabs(y - top - a)) * (1 - fabs(x - left - b));
            const bool outside = i < 0 || j < 0;
            /* what has no weight may lie anywhere */
            sum += weight == 0 ? 0
                               : weight * (outside ? job->affine.cval : value_of(job, i, j, c));
        }
    }
    return sum;
}

static double
naive(const tl_affine_job *job, size_t row, size_t col, size_t c)
{
    const double *m = job->affine.m;
    const double i = (double)(job->flip_rows ? job->height - 1 - row : row);
    const double j = (double)(job->flip_cols ? job->width - 1 - col : col);
    const double y = m[0] * i + m[1] * j + m[2];
    const double x = m[3] * i + m[4] * j + m[5];
    return picture_at(job, y, x, c);
}

/* --- random jobs -------------------------------------------------------------------------- */

static size_t
size_of(tl_pixel_type type)
{
    return type == TL_UINT8 ? 1 : type == TL_FLOAT32 ? 4 : 8;
}

/* A job whose src lies at an edge of the pages; dst is set by the caller. */
static tl_affine_job
random_job(const guarded *pages)
{
    tl_affine_job job = {.height = whole(1, 40), .width = whole(1, MAX_SIDE)};
    if (whole(0, 3) == 0) {
        job.height = whole(1, 3);
        job.width = whole(1, 4);
    }
    if (whole(0, 7) == 0) {
        job.height = whole(1, 3);
        job.width = whole(200, 700);
    }
    job.channels = whole(0, 1) == 0 ? 3 : whole(1, MAX_CHANNELS);
    job.type = (tl_pixel_type)whole(0, 2);
    job.step = job.type == TL_UINT8 && job.channels <= 4 && whole(0, 1) == 0 ? 4 : job.channels;
    job.flip_rows = whole(0, 1) == 0;
    job.flip_cols = whole(0, 1) == 0;
    const double spread = (double[]){0, 0.3, 3}[whole(0, 2)];
    for (size_t i = 0; i < 6; i++) {
        const double size = (double)(i == 2 ? job.height : job.width);
        job.affine.m[i] = i % 3 == 2 ? uniform(-0.5, 0.5) * size : uniform(-spread, spread);
    }
    if (spread == 0 && whole(0, 1) == 0) { /* some pixels lie on the last sample */
        job.affine.m[2] = floor(job.affine.m[2]);
        job.affine.m[5] = floor(job.affine.m[5]);
    }
    job.affine.m[0] += 1;
    job.affine.m[4] += 1;
    job.affine.order = (int)whole(0, 1);
    job.affine.fill = (tl_edge_mode)whole(0, TL_EDGE_COUNT - 1);
    job.affine.cval = uniform(-50, 300);
    const size_t values = job.height * job.width * job.step;
    void *src = at_the_edge(pages, values * size_of(job.type), whole(0, 1) == 0);
    for (size_t i = 0; i < values; i++) {
        if (job.type == TL_UINT8) {
            ((uint8_t *)src)[i] = (uint8_t)whole(0, 255);
        } else if (job.type == TL_FLOAT32) {
            ((float *)src)[i] = (float)uniform(-100, 300);
        } else {
            ((double *)src)[i] = uniform(-100, 300);
        }
    }
    job.src = src;
    return job;
}

static void
test_affine_is_what_a_naive_one_is(void)
{
    const guarded pages = guarded_pages(MAX_VALUES * sizeof(double));
    static double dst[MAX_VALUES];
    for (int n = 0; n < 400; n++) {
        tl_affine_job job = random_job(&pages);
        job.dst = dst;
        CHECK_OK(tl_affine_check(&job.affine));
        tl_affine_rows(&job, 0, job.height);
        double worst = 0;
        for (size_t at = 0; at < job.height * job.width * job.channels; at++) {
            const size_t pixel = at / job.channels;
            const double got =
                job.type == TL_FLOAT64 ? dst[at] : (double)((const float *)(void *)dst)[at];
            const double expected =
                naive(&job, pixel / job.width, pixel % job.width, at % job.channels);
            worst = fmax(worst, fabs(got - expected));
        }
        if (!(worst < 1e-4)) {
            (void)printf("case %d: fill %d order %d type %d\n", n, (int)job.affine.fill,
                         job.affine.order, (int)job.type);
        }
        CHECK(worst < 1e-4);
    }
    release(&pages);
}

static void
test_instruction_sets_agree_to_the_bit(void)
{
#if defined(__x86_64__)
    const guarded pages = guarded_pages(MAX_VALUES * sizeof(double));
    static const tl_pixel_map map = {127.5F, 1, -1};
    static double results[3][MAX_VALUES];
    tl_affine_rows_function *const sets[] = {tl_affine_rows_portable, tl_affine_rows_avx2,
                                             tl_affine_rows_avx512};
    static const tl_isa needs[] = {TL_ISA_BASELINE, TL_ISA_AVX2, TL_ISA_AVX512};
    for (int n = 0; n < 400; n++) {
        tl_affine_job job = random_job(&pages);
        job.map = job.type != TL_FLOAT64 && whole(0, 1) == 0 ? &map : NULL;
        const size_t bytes = job.height * job.width * job.channels *
                             (job.type == TL_FLOAT64 ? sizeof(double) : sizeof(float));
        for (size_t s = 0; s < 3; s++) {
            if (tl_cpu_detected() < needs[s]) {
                continue;
            }
            memset(results[s], 0xab, sizeof results[s]);
            job.dst = results[s];
            job.streams =
                job.type != TL_FLOAT64 && job.channels <= 4 && (s + (size_t)n) % 2 == 0;
            sets[s](&job, 0, job.height);
            tl_pixels_settle();
            CHECK(memcmp(results[s], results[0], bytes) == 0);
            CHECK(((const unsigned char *)results[s])[bytes] == 0xab);
        }
    }
    release(&pages);
#endif
}

static void
test_far_away_and_huge_numbers_are_survived(void)
{
    static const uint8_t src[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    static const double far[] = {1e9, -1e9, 1e18, -1e19, 1e200, -1e200};
    for (tl_edge_mode fill = 0; fill < TL_EDGE_COUNT; fill++) {
        for (size_t k = 0; k < 6 * 6; k++) {
            for (int order = 0; order < 2; order++) {
                float dst[12];
                const tl_affine affine = {
                    {1, far[k % 6], far[k / 6], far[k / 6], 1, far[k % 6]}, order, fill, 5};
                const tl_affine_job job = {.affine = affine,
                                           .type = TL_UINT8,
                                           .src = src,
                                           .step = 3,
                                           .dst = dst,
                                           .height = 2,
                                           .width = 2,
                                           .channels = 3};
                CHECK_OK(tl_affine_check(&affine));
                tl_affine_rows(&job, 0, 2);
                for (size_t i = 0; i < 12; i++) {
                    CHECK(isfinite(dst[i]));
                }
            }
        }
    }
}

static void
test_what_is_refused(void)
{
    float dst[4];
    const float src[4] = {0};
    tl_transform_job job;
    tl_transform how = {.moves = true, .affine = {{1, 0, 0, 0, 1, 0}, 2, TL_EDGE_NEAREST, 0}};
#define BEGIN(result, type, channels)                                                          \
    tl_transform_begin(&job, &how, dst, result, src, type, channels, 1, 1, channels)
    CHECK(BEGIN(TL_FLOAT32, TL_FLOAT32, 3) == TL_BAD_VALUE);
    CHECK(strcmp(tl_detail(), "order must be 0 or 1, not 2") == 0);
    how.affine.order = 1;
    how.affine.m[3] = NAN;
    CHECK(BEGIN(TL_FLOAT32, TL_FLOAT32, 3) == TL_BAD_VALUE);
    how.affine.m[3] = INFINITY;
    CHECK(BEGIN(TL_FLOAT32, TL_FLOAT32, 3) == TL_BAD_VALUE);
    how.affine.m[3] = 0;
    CHECK(BEGIN(TL_UINT8, TL_UINT8, 3) == TL_BAD_VALUE);
    CHECK(BEGIN(TL_FLOAT64, TL_FLOAT32, 3) == TL_BAD_VALUE);
    CHECK(BEGIN(TL_FLOAT32, TL_FLOAT64, 3) == TL_BAD_VALUE);
    CHECK(BEGIN(TL_FLOAT32, TL_UINT8, 3) == TL_OK);
    how.brightens = true;
    CHECK(BEGIN(TL_FLOAT64, TL_FLOAT64, 1) == TL_BAD_VALUE);
    CHECK(BEGIN(TL_FLOAT32, TL_FLOAT32, 2) == TL_BAD_VALUE);
#undef BEGIN
    tl_edge_mode mode;
    CHECK(tl_edge_mode_named(&mode, "grid-mirror") && mode == TL_EDGE_REFLECT);
    CHECK(!tl_edge_mode_named(&mode, "mirrored"));
}

/* --- the chain ---------------------------------------------------------------------------- */

static void
run(const tl_transform *how, void *dst, tl_pixel_type result, const void *src,
    tl_pixel_type type, size_t height, size_t width, size_t channels)
{
    tl_transform_job job;
    CHECK_OK(tl_transform_begin(&job, how, dst, result, src, type, channels, height, width,
                                channels));
    while (!tl_transform_is_done(&job)) {
        CHECK_OK(tl_transform_advance(&job, 1 << 20, false));
    }
}

static void
check_floats(const float *got, const float *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CHECK_NEAR(got[i], expected[i], 1e-6);
    }
}

static void
test_flips_keep_bytes(void)
{
    static const uint8_t src[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    uint8_t dst[12];
    const tl_transform cols = {.flips_cols = true};
    run(&cols, dst, TL_UINT8, src, TL_UINT8, 2, 2, 3);
    CHECK(memcmp(dst, (uint8_t[]){4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9}, 12) == 0);
    const tl_transform rows = {.flips_rows = true};
    run(&rows, dst, TL_UINT8, src, TL_UINT8, 2, 2, 3);
    CHECK(memcmp(dst, (uint8_t[]){7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6}, 12) == 0);
    const tl_transform both = {.flips_rows = true, .flips_cols = true};
    run(&both, dst, TL_UINT8, src, TL_UINT8, 3, 4, 1);
    CHECK(memcmp(dst, (uint8_t[]){12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 12) == 0);
    double turned[12];
    const double numbers[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    run(&both, turned, TL_FLOAT64, numbers, TL_FLOAT64, 3, 2, 2);
    CHECK(turned[0] == 11 && turned[1] == 12 && turned[11] == 2);
}

/* Copies of all sizes and layouts, against the affine transformation that changes nothing. */
static void
test_copies_are_moves_to_the_same_place(void)
{
    const guarded pages = guarded_pages(MAX_VALUES * sizeof(double));
    static double moved[MAX_VALUES];
    static double copied[MAX_VALUES];
    for (int n = 0; n < 200; n++) {
        const tl_affine_job job = random_job(&pages);
        const tl_pixel_type result = job.type == TL_UINT8 ? TL_FLOAT32 : job.type;
        tl_transform how = {.flips_rows = job.flip_rows,
                            .flips_cols = job.flip_cols,
                            .maps = job.type != TL_FLOAT64 && whole(0, 1) == 0,
                            .map = {127.5F, 3, -1},
                            .rescale = whole(0, 1) == 0 ? 1.0F : 0.5F,
                            .affine = {{1, 0, 0, 0, 1, 0}, 0, TL_EDGE_NEAREST, 0}};
        for (int moves = 0; moves < 2; moves++) {
            tl_transform_job one;
            how.moves = moves != 0;
            CHECK_OK(tl_transform_begin(&one, &how, moves != 0 ? moved : copied, result,
                                        job.src, job.type, job.step, job.height, job.width,
                                        job.channels));
            while (!tl_transform_is_done(&one)) {
                CHECK_OK(tl_transform_advance(&one, whole(1, 3000), false));
            }
        }
        CHECK(memcmp(moved, copied, job.height * job.width * job.channels * size_of(result)) ==
              0);
    }
    release(&pages);
}

static void
test_channel_shift_stays_in_the_range(void)
{
    const float src[] = {10, 20, 30, 40};
    float dst[4];
    tl_transform how = {.shifts_channels = true, .channel_shift = 15};
    run(&how, dst, TL_FLOAT32, src, TL_FLOAT32, 2, 2, 1);
    check_floats(dst, (float[]){25, 35, 40, 40}, 4);
    how.channel_shift = -15;
    run(&how, dst, TL_FLOAT32, src, TL_FLOAT32, 2, 2, 1);
    check_floats(dst, (float[]){10, 10, 15, 25}, 4);
}

static void
test_brightness_is_pillows(void)
{
    const float src[] = {0, 10.9F, 100, 254.99F};
    float dst[4];
    tl_transform how = {.brightens = true, .brightness = 1.5F};
    run(&how, dst, TL_FLOAT32, src, TL_FLOAT32, 2, 2, 1);
    check_floats(dst, (float[]){0, 15, 150, 255}, 4);
    how.stretches = true;
    how.brightness = 1;
    const float narrow[] = {100, 101, 102, 104};
    run(&how, dst, TL_FLOAT32, narrow, TL_FLOAT32, 2, 2, 1);
    check_floats(dst, (float[]){0, 63, 127, 255}, 4);
    /* beyond 0..255: stretched, made darker, and brought back */
    how.stretches = false;
    how.brightness = 0.5F;
    const float wide[] = {-10, 500, 245, -10};
    run(&how, dst, TL_FLOAT32, wide, TL_FLOAT32, 2, 2, 1);
    check_floats(dst, (float[]){-10, 127.0F / 255 * 510 - 10, 63.0F / 255 * 510 - 10, -10}, 4);
    /* opacity stays */
    const float rgba[] = {10, 20, 30, 41, 50, 60, 70, 81};
    float out[8];
    how.brightness = 2;
    run(&how, out, TL_FLOAT32, rgba, TL_FLOAT32, 1, 2, 4);
    check_floats(out, (float[]){20, 40, 60, 41, 100, 120, 140, 81}, 8);
    const float flat[] = {300, 300, 300, 300};
    run(&how, dst, TL_FLOAT32, flat, TL_FLOAT32, 2, 2, 1);
    check_floats(dst, (float[]){300, 300, 300, 300}, 4);
}

static void
test_standardisation_in_its_order(void)
{
    const uint8_t src[] = {0, 51, 102, 255};
    float dst[4];
    const float mean[] = {1, 2};
    const float divisor[] = {2, 4};
    tl_transform how = {
        .maps = true, .map = {51, 1, -1}, .rescale = 2, .mean = mean, .divisor = divisor};
    run(&how, dst, TL_FLOAT32, src, TL_UINT8, 1, 2, 2);
    check_floats(dst, (float[]){-1.5F, -0.5F, 0.5F, 1.5F}, 4);
    how = (tl_transform){.centers = true, .normalizes = true};
    const float x[] = {2, 4, 4, 6};
    run(&how, dst, TL_FLOAT32, x, TL_FLOAT32, 2, 2, 1);
    const float deviation = sqrtf(2) + 1e-6F;
    check_floats(dst, (float[]){-2 / deviation, 0, 0, 2 / deviation}, 4);
}

static void
test_mean_and_deviation(void)
{
    static float x[5000];
    static const size_t counts[] = {1, 3, 7, 8, 9, 127, 128, 129, 1000, 5000};
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
        double sum = 0;
        double squares = 0;
        for (size_t i = 0; i < counts[k]; i++) {
            x[i] = (float)uniform(-1, 5);
            sum += (double)x[i];
        }
        const double mean = sum / (double)counts[k];
        for (size_t i = 0; i < counts[k]; i++) {
            squares += ((double)x[i] - mean) * ((double)x[i] - mean);
        }
        CHECK_NEAR(tl_mean_of(x, counts[k]), mean, 1e-6);
        CHECK_NEAR(tl_deviation_of(x, counts[k]), sqrt(squares / (double)counts[k]), 1e-6);
        float range[2] = {INFINITY, -INFINITY};
        float lowest = x[0];
        float highest = x[0];
        tl_float_loops_best()->extend_range(range, x, counts[k]);
        for (size_t i = 0; i < counts[k]; i++) {
            lowest = fminf(lowest, x[i]);
            highest = fmaxf(highest, x[i]);
        }
        CHECK(range[0] == lowest && range[1] == highest);
    }
}

static tl_transform
everything(const float *three)
{
    return (tl_transform){.moves = true,
                          .affine = {{0.9, -0.3, 12, 0.2, 1.1, -9}, 1, TL_EDGE_REFLECT, 0},
                          .flips_cols = true,
                          .shifts_channels = true,
                          .channel_shift = 9,
                          .brightens = true,
                          .brightness = 1.3F,
                          .maps = true,
                          .map = {127.5F, 1, -1},
                          .rescale = 0.5F,
                          .centers = true,
                          .normalizes = true,
                          .mean = three,
                          .divisor = three};
}

static void
test_slices_and_the_crew_change_nothing(void)
{
    enum { H = 61, W = 47 };
    static uint8_t src[H * W * 3];
    static float whole_picture[H * W * 3];
    static float sliced[H * W * 3];
    const float three[] = {0.1F, 0.2F, 0.3F};
    const tl_transform how = everything(three);
    for (size_t i = 0; i < sizeof src; i++) {
        src[i] = (uint8_t)whole(0, 255);
    }
    run(&how, whole_picture, TL_FLOAT32, src, TL_UINT8, H, W, 3);
    for (int shared = 0; shared < 2; shared++) {
        for (size_t values = 1; values < H * W * 8; values = values * 7 + 100) {
            tl_transform_job job;
            memset(sliced, 0, sizeof sliced);
            CHECK_OK(
                tl_transform_begin(&job, &how, sliced, TL_FLOAT32, src, TL_UINT8, 3, H, W, 3));
            while (!tl_transform_is_done(&job)) {
                CHECK_OK(tl_transform_advance(&job, values, shared != 0));
            }
            CHECK(memcmp(sliced, whole_picture, sizeof sliced) == 0);
        }
    }
}

/* The whole chain under every limit on instruction sets. */
static void
test_the_chain_is_the_same_on_every_cpu(void)
{
    enum { H = 33, W = 29 };
    static const char *const limits[] = {"sse41", "avx2", "avx512"};
    static uint8_t src[H * W * 4];
    static float results[3][H * W * 4];
    const float four[] = {0.1F, 0.2F, 0.3F, 0.4F};
    for (size_t i = 0; i < sizeof src; i++) {
        src[i] = (uint8_t)whole(0, 255);
    }
    for (size_t channels = 1; channels <= 4; channels += channels == 1 ? 2 : 1) {
        for (int wide = 0; wide < 2; wide++) {
            tl_transform how = everything(four);
            how.affine.fill = TL_EDGE_CONSTANT;
            how.affine.cval = wide != 0 ? 400 : 3; /* brightness stretches beyond 255 */
            for (size_t s = 0; s < 3; s++) {
                CHECK(tl_cpu_limit(limits[s]));
                run(&how, results[s], TL_FLOAT32, src, TL_UINT8, H, W, channels);
                CHECK(memcmp(results[s], results[0], H * W * channels * sizeof(float)) == 0);
            }
        }
    }
}

static void
test_pictures_without_pixels_are_done(void)
{
    const tl_transform how = {.centers = true};
    tl_transform_job job;
    CHECK_OK(tl_transform_begin(&job, &how, NULL, TL_FLOAT32, NULL, TL_FLOAT32, 3, 0, 5, 3));
    CHECK(tl_transform_is_done(&job));
}

/* No allocation of its own: with none to be had, a picture on the calling thread succeeds. */
static void
test_it_allocates_nothing(void)
{
    const uint8_t src[12] = {0, 40, 80, 120, 160, 200, 240, 3, 2, 1, 0, 9};
    float dst[12];
    const float three[] = {0.1F, 0.2F, 0.3F};
    const tl_transform how = everything(three);
    tl_transform_job job;
    tl_alloc_fail_at(0);
    CHECK_OK(tl_transform_begin(&job, &how, dst, TL_FLOAT32, src, TL_UINT8, 3, 2, 2, 3));
    while (!tl_transform_is_done(&job)) {
        CHECK_OK(tl_transform_advance(&job, 100, false));
    }
    CHECK(tl_alloc_is_refused());
    tl_alloc_fail_at(-1);
}

int
main(void)
{
    RUN(test_affine_is_what_a_naive_one_is);
    RUN(test_instruction_sets_agree_to_the_bit);
    RUN(test_far_away_and_huge_numbers_are_survived);
    RUN(test_what_is_refused);
    RUN(test_flips_keep_bytes);
    RUN(test_copies_are_moves_to_the_same_place);
    RUN(test_channel_shift_stays_in_the_range);
    RUN(test_brightness_is_pillows);
    RUN(test_standardisation_in_its_order);
    RUN(test_mean_and_deviation);
    RUN(test_slices_and_the_crew_change_nothing);
    RUN(test_the_chain_is_the_same_on_every_cpu);
    RUN(test_pictures_without_pixels_are_done);
    RUN(test_it_allocates_nothing);
    return REPORT();
}
