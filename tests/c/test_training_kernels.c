/* Training's own kernels against the naive loops: random layers between random views, on every
 * instruction set that this CPU has; then the naive loops against differences.
 * TLCORE_FUZZ_CASES sets how many layers. All arrays are exactly as large as they need be, what
 * is only written holds NaN before, and so do scratch and what is packed. */
#include <stdlib.h>

#include "builders.h"
#include "check.h"
#include "core/cpu.h"
#include "kernels/training.h"
#include "reference_training.h"

enum { CASES = 300, MOST_PRODUCTS = 1500000, MOST_BLOCKS = 40 };

static const char *const isas[] = {"sse41", "avx2", "avx512"};
static const double UNIT = 0x1p-24;

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

static bool
chance(size_t out_of)
{
    return draw(1, out_of) == 1;
}

static size_t
fuzz_cases(void)
{
    const char *text = getenv("TLCORE_FUZZ_CASES");
    const long given = text == NULL ? 0 : strtol(text, NULL, 10);
    return given > 0 ? (size_t)given : CASES;
}

/* --- arrays ----------------------------------------------------------------------------- */

static void *blocks[MOST_BLOCKS];
static size_t block_count;

/* Until forget_arrays; from the C library, so that a sanitizer sees where they end. */
static void *
array(size_t count, size_t size)
{
    void *block = NULL;
    const size_t bytes = count * size == 0 ? 1 : count * size;
    if (block_count == MOST_BLOCKS || posix_memalign(&block, 64, bytes) != 0) {
        abort();
    }
    memset(block, 0xff, bytes); /* NaN, in floats and doubles alike */
    blocks[block_count++] = block;
    return block;
}

static void
forget_arrays(void)
{
    while (block_count > 0) {
        free(blocks[--block_count]);
    }
}

/* Numbers from -size to size, or none. */
static float *
numbers(size_t count, float size, bool wanted)
{
    float *dst = wanted ? array(count, sizeof *dst) : NULL;
    if (wanted) {
        random_numbers(dst, count, (unsigned)draw(1, 1000000000));
    }
    for (size_t i = 0; wanted && i < count; i++) {
        dst[i] *= size;
    }
    return dst;
}

static float *
copy(const float *src, size_t count)
{
    float *dst = src == NULL ? NULL : array(count, sizeof *dst);
    if (dst != NULL) {
        memcpy(dst, src, count * sizeof *dst);
    }
    return dst;
}

/* --- random layers ---------------------------------------------------------------------- */

static size_t
products(const tl_layer *l)
{
    return tl_shape_elements(&l->dst) * l->kernel[0] * l->kernel[1] *
           (l->depthwise ? 1 : l->src.dims[2]);
}

static void
random_padding(tl_layer *l)
{
    tl_padding *p = &l->padding;
    const size_t how = draw(0, 2);
    *p = (tl_padding){0};
    if (how == 1) {
        *p = (tl_padding){draw(0, 4), draw(0, 4), draw(0, 4), draw(0, 4)};
    } else if (how == 2) {
        tl_same_padding(&p->top, &p->bottom, l->src.dims[0], l->kernel[0], l->strides[0]);
        tl_same_padding(&p->left, &p->right, l->src.dims[1], l->kernel[1], l->strides[1]);
    }
}

static bool
try_layer(tl_layer *l, size_t most_products)
{
    const size_t longest = chance(3) ? 10 : 7; /* above TL_MAX_SEGMENTS rows, too */
    const bool pointwise = chance(4);
    const size_t channels = chance(3) ? 70 : 24;
    *l = (tl_layer){.depthwise = !pointwise && chance(2)};
    l->src = tl_shape_3(draw(1, 40), draw(1, 40), draw(1, channels));
    for (size_t i = 0; i < 2; i++) {
        l->kernel[i] = pointwise ? 1 : draw(1, longest);
        l->strides[i] = pointwise && !chance(5) ? 1 : draw(1, 3);
    }
    random_padding(l);
    const tl_padding *p = &l->padding;
    l->dst =
        tl_shape_3(tl_convolved(l->src.dims[0], l->kernel[0], l->strides[0], p->top, p->bottom),
                   tl_convolved(l->src.dims[1], l->kernel[1], l->strides[1], p->left, p->right),
                   l->depthwise ? l->src.dims[2] : draw(1, channels));
    return l->dst.dims[0] > 0 && l->dst.dims[1] > 0 && products(l) <= most_products;
}

/* A layer, and all that its forward and backward are given; what they add to or fill is copied
 * for each. */
typedef struct scene {
    tl_layer layer;
    size_t images;
    size_t in, out;  /* channels */
    size_t src, dst; /* numbers of all images */
    size_t kernel_count;
    float *kernel, *bias;  /* bias: or NULL */
    tl_view view;          /* of the source */
    tl_inner inner;        /* of the outputs */
    tl_function function;  /* of what is stored */
    float *before_src;     /* gradient that another reader has written */
    bool adds, last, sums; /* of the source's gradient */
    bool wants_src, wants_kernel, wants_bias, wants_moments;
    double begun; /* pixels in the moments before */
} scene;

/* Numbers at a kink may fall on either side; none does. */
static void
leave_kinks(float *z, const tl_view *view, size_t count, size_t channels)
{
    for (size_t i = 0; i < count; i++) {
        const size_t c = i % channels;
        for (;; z[i] += 0.01F) {
            const float y = view->mean == NULL
                                ? z[i]
                                : (z[i] - view->mean[c]) * view->scale[c] + view->shift[c];
            if (fabsf(y) > 1e-3F && fabsf(y - 6) > 1e-3F) {
                break;
            }
        }
    }
}

/* Scales of either sign, none of them small. */
static float *
random_scales(size_t count)
{
    float *scale = numbers(count, 1, true);
    for (size_t i = 0; i < count; i++) {
        scale[i] += scale[i] < 0 ? -0.5F : 0.5F;
    }
    return scale;
}

static tl_view
random_view(size_t count, size_t channels)
{
    const tl_function functions[] = {TL_LINEAR, TL_RELU, TL_RELU6};
    const bool normed = !chance(3);
    float *z = numbers(count, 7, true);
    tl_view view = {.data = z, .function = functions[draw(0, 2)]};
    if (normed) {
        view.mean = numbers(channels, 1, true);
        view.scale = random_scales(channels);
        view.shift = numbers(channels, 3, true);
    }
    leave_kinks(z, &view, count, channels);
    return view;
}

static tl_inner
random_inner(size_t count, size_t channels)
{
    const size_t how = draw(0, 2); /* no batch norm, stored statistics, the batch's */
    tl_inner inner = {.gradient = numbers(count, 1, true), .data = numbers(count, 2, true)};
    if (how > 0) {
        inner.mean = numbers(channels, 1, true);
        inner.scale = random_scales(channels);
    }
    if (how > 1) {
        inner.offset = numbers(channels, 0.3F, true);
        inner.slope = numbers(channels, 0.3F, true);
    }
    return inner;
}

static void
random_scene(scene *s, size_t most_products)
{
    const tl_function functions[] = {TL_LINEAR, TL_RELU, TL_RELU6};
    *s = (scene){.images = draw(1, 4)};
    while (!try_layer(&s->layer, most_products)) {
    }
    const tl_layer *l = &s->layer;
    s->in = l->src.dims[2];
    s->out = l->dst.dims[2];
    s->src = s->images * tl_shape_elements(&l->src);
    s->dst = s->images * tl_shape_elements(&l->dst);
    s->kernel_count = tl_layer_kernel_count(l);
    const float fan_in = (float)(s->kernel_count / s->out);
    s->kernel = numbers(s->kernel_count, sqrtf(3 / fan_in), true);
    s->bias = numbers(s->out, 1, chance(2));
    s->view = random_view(s->src, s->in);
    s->inner = random_inner(s->dst, s->out);
    s->before_src = numbers(s->src, 1, true);
    s->adds = chance(2);
    s->last = !chance(3);
    s->sums = s->view.mean != NULL && !chance(4);
    s->wants_src = !chance(5);
    s->wants_kernel = !chance(5);
    s->wants_bias = chance(2);
    s->wants_moments = chance(2);
    s->function = functions[chance(2) ? 0 : draw(1, 2)];
    s->begun = chance(2) ? 0 : (double)draw(1, 50);
}

/* --- running and comparing -------------------------------------------------------------- */

typedef struct outcome {
    float *dst, *grad_src, *grad_kernel, *grad_bias;
    double *sums; /* (2, in) */
    tl_moments moments;
} outcome;

static double *
doubles(size_t count, double value)
{
    double *dst = array(count, sizeof *dst);
    for (size_t i = 0; i < count; i++) {
        dst[i] = value + (double)i;
    }
    return dst;
}

static outcome
run(const scene *s, const tl_train_ops *ops)
{
    size_t packed_bytes = 0;
    size_t scratch_bytes = 0;
    CHECK_OK(ops->plan(&s->layer, &packed_bytes, &scratch_bytes));
    void *packed = array(packed_bytes, 1);
    void *scratch = array(scratch_bytes, 1);
    outcome o = {.dst = array(s->dst, sizeof(float)),
                 .grad_src =
                     s->adds ? copy(s->before_src, s->src) : array(s->src, sizeof(float)),
                 .grad_kernel = copy(s->kernel, s->kernel_count), /* added to */
                 .sums = doubles(2 * s->in, -1)};
    o.grad_bias = array(s->out, sizeof(float));
    for (size_t c = 0; c < s->out; c++) {
        o.grad_bias[c] = (float)c;
    }
    o.moments = (tl_moments){s->begun, doubles(s->out, s->begun == 0 ? 0 : 0.5),
                             doubles(s->out, s->begun == 0 ? 0 : 2)};
    for (size_t c = 0; s->begun == 0 && c < s->out; c++) {
        o.moments.mean[c] = 0;
        o.moments.squares[c] = 0;
    }
    ops->pack(&s->layer, packed, s->kernel, s->bias);
    ops->forward(&s->layer, &(tl_layer_forward){.dst = o.dst,
                                                .src = s->view,
                                                .kernel = s->kernel,
                                                .bias = s->bias,
                                                .function = s->function,
                                                .packed = packed,
                                                .images = s->images,
                                                .moments = s->wants_moments ? &o.moments : NULL,
                                                .scratch = scratch});
    memset(scratch, 0xff, scratch_bytes);
    ops->backward(&s->layer, &(tl_layer_backward){
                                 .dst = s->inner,
                                 .src = s->view,
                                 .src_gradient = {.data = s->wants_src ? o.grad_src : NULL,
                                                  .adds = s->adds,
                                                  .last = s->last,
                                                  .view = s->view,
                                                  .sums = s->sums ? o.sums : NULL},
                                 .kernel = s->kernel,
                                 .grad_kernel = s->wants_kernel ? o.grad_kernel : NULL,
                                 .grad_bias = s->wants_bias ? o.grad_bias : NULL,
                                 .packed = packed,
                                 .images = s->images,
                                 .scratch = scratch});
    return o;
}

static double worst_used; /* of what is allowed */

/* `size`: what one of the numbers added up may be; a sum of `terms` of them is as large as
 * sqrt(terms) of them, and as far off as their roundings. */
static bool
near(double given, double expected, double size, size_t terms)
{
    const double sum = fmax(fabs(expected), size * sqrt((double)terms));
    const double allowed = 2 * UNIT * sqrt((double)terms + 16) * sum;
    worst_used = fmax(worst_used, fabs(given - expected) / allowed);
    return fabs(given - expected) <= allowed;
}

static bool
all_near(const float *given, const float *expected, size_t count, double size, size_t terms)
{
    for (size_t i = 0; i < count; i++) {
        if (!near((double)given[i], (double)expected[i], size, terms)) {
            (void)printf("number %zu of %zu is %.9g, not %.9g\n", i, count, (double)given[i],
                         (double)expected[i]);
            return false;
        }
    }
    return true;
}

static bool
all_doubles_near(const double *given, const double *expected, size_t count, double size,
                 size_t terms)
{
    for (size_t i = 0; i < count; i++) {
        if (!near(given[i], expected[i], size, terms)) {
            (void)printf("sum %zu of %zu is %.9g, not %.9g\n", i, count, given[i], expected[i]);
            return false;
        }
    }
    return true;
}

static void
compare(const scene *s, const outcome *given, const outcome *expected)
{
    const size_t fan_in = s->kernel_count / s->out;
    const size_t fan_out = s->kernel_count / s->in;
    const size_t pixels = s->dst / s->out;
    const size_t src_pixels = s->src / s->in;
    const double weight = sqrt(3 / (double)fan_in);
    CHECK(all_near(given->dst, expected->dst, s->dst, 5 * weight, fan_in));
    CHECK(!s->wants_src ||
          all_near(given->grad_src, expected->grad_src, s->src, 2 * weight + 1, fan_out));
    CHECK(all_near(given->grad_kernel, expected->grad_kernel, s->kernel_count, 10, pixels));
    CHECK(all_near(given->grad_bias, expected->grad_bias, s->out, 2, pixels));
    const double grad = 2 * (weight * sqrt((double)fan_out) + 1);
    CHECK(all_doubles_near(given->sums, expected->sums, 2 * s->in, 8 * grad, src_pixels));
    CHECK(given->moments.count == expected->moments.count);
    CHECK(all_doubles_near(given->moments.mean, expected->moments.mean, s->out, 5, 100));
    CHECK(all_doubles_near(given->moments.squares, expected->moments.squares, s->out, 20,
                           pixels * 16));
}

static void
describe(const scene *s, size_t index, const char *isa)
{
    const tl_layer *l = &s->layer;
    (void)printf("in case %zu on %s: %s (%zu, %zu, %zu) x %zu -> (%zu, %zu, %zu), kernel %zu x "
                 "%zu, strides %zu, %zu, padding %zu %zu %zu %zu, function %d\n",
                 index, isa, l->depthwise ? "depthwise" : "dense", l->src.dims[0],
                 l->src.dims[1], s->in, s->images, l->dst.dims[0], l->dst.dims[1], s->out,
                 l->kernel[0], l->kernel[1], l->strides[0], l->strides[1], l->padding.top,
                 l->padding.bottom, l->padding.left, l->padding.right, (int)s->view.function);
}

static void
test_layers_equal_naive_loops(void)
{
    const size_t cases = fuzz_cases();
    for (size_t i = 0; i < cases && !this_test_failed; i++) {
        scene s;
        seed = 88172645463325252UL + i * 1000003UL;
        random_scene(&s, MOST_PRODUCTS);
        const outcome expected = run(&s, &reference_training);
        const size_t kept = block_count;
        for (size_t isa = 0; isa < 3 && !this_test_failed; isa++) {
            CHECK(tl_cpu_limit(isas[isa]));
            const outcome given = run(&s, &tl_training_kernels);
            compare(&s, &given, &expected);
            const outcome again = run(&s, &tl_training_kernels);
            CHECK(memcmp(given.dst, again.dst, s.dst * sizeof(float)) == 0);
            CHECK(memcmp(given.grad_kernel, again.grad_kernel,
                         s.kernel_count * sizeof(float)) == 0);
            if (this_test_failed) {
                describe(&s, i, isas[isa]);
            }
            while (block_count > kept) {
                free(blocks[--block_count]);
            }
        }
        forget_arrays();
    }
}

/* --- the loops that no layer is around -------------------------------------------------- */

/* Some pixels of a picture, from any one on. */
static void
check_passes(size_t channels, size_t pixels, size_t first)
{
    const size_t count = (first + pixels) * channels;
    const tl_view view = random_view(count, channels);
    const tl_inner inner = random_inner(count, channels);
    const float *grad = numbers(pixels * channels, 1, true);
    const float *before = numbers(count, 1, true);
    const bool adds = chance(2);
    const bool last = chance(2);
    float *scratch = array(4 * channels, sizeof *scratch);
    float *dst[2];
    float *loaded[2];
    float *inners[2];
    double *sums[2];
    for (size_t i = 0; i < 2; i++) {
        const tl_train_ops *ops = i == 0 ? &tl_training_kernels : &reference_training;
        dst[i] = copy(before, count);
        loaded[i] = array(count, sizeof(float));
        inners[i] = array(pixels * channels, sizeof(float));
        sums[i] = doubles(2 * channels, 1);
        ops->load(loaded[i], &view, first + pixels, channels);
        ops->inner(inners[i], &inner, first, pixels, channels);
        const tl_gradient to = {.data = dst[i],
                                .adds = adds,
                                .last = last,
                                .view = view,
                                .sums = view.mean == NULL ? NULL : sums[i]};
        ops->pass(&to, grad, first, pixels, channels, scratch);
    }
    CHECK(all_near(dst[0], dst[1], count, 1, 1));
    CHECK(memcmp(dst[0], before, first * channels * sizeof(float)) == 0);
    CHECK(all_near(loaded[0], loaded[1], count, 14, 1));
    CHECK(all_near(inners[0], inners[1], pixels * channels, 2, 1));
    CHECK(all_doubles_near(sums[0], sums[1], 2 * channels, 16, pixels));
}

static void
test_passes_equal_naive_loops(void)
{
    seed = 1234567;
    for (size_t i = 0; i < 150 && !this_test_failed; i++) {
        CHECK(tl_cpu_limit(isas[i % 3]));
        check_passes(draw(1, 70), draw(1, chance(4) ? 1500 : 60), draw(0, 20));
        forget_arrays();
    }
}

/* A value that is far from a variance keeps it: no cancellation. In several runs of pixels, as
 * layers give them. */
static void
test_moments_with_large_means(void)
{
    const float means[] = {0, 3, -1000, 1e4F};
    seed = 7654321;
    for (size_t i = 0; i < 120 && !this_test_failed; i++) {
        const size_t channels = draw(1, 70);
        const size_t pixels = draw(1, chance(3) ? 3000 : 200);
        const float mean = means[draw(0, 3)];
        const float spread = chance(2) ? 1 : 0.1F;
        float *scratch = array(4 * channels, sizeof *scratch);
        float *src = numbers(pixels * channels, spread, true);
        tl_moments given = {0, doubles(channels, 0), doubles(channels, 0)};
        CHECK(tl_cpu_limit(isas[i % 3]));
        for (size_t k = 0; k < pixels * channels; k++) {
            src[k] += mean * (1 + (float)(k % channels));
        }
        for (size_t c = 0; c < channels; c++) {
            given.mean[c] = 0;
            given.squares[c] = 0;
        }
        for (size_t first = 0; first < pixels;) {
            const size_t some = draw(1, pixels - first);
            tl_training_kernels.moments(&given, src + first * channels, some, channels,
                                        scratch);
            first += some;
        }
        for (size_t c = 0; c < channels; c++) {
            double sum = 0;
            double squares = 0;
            for (size_t p = 0; p < pixels; p++) {
                sum += (double)src[p * channels + c];
            }
            for (size_t p = 0; p < pixels; p++) {
                const double off = (double)src[p * channels + c] - sum / (double)pixels;
                squares += off * off;
            }
            /* a float mean of a tile is off by some units of its last place, and its square
             * and its product with a deviation enter the sum; the square of the mean does not
             */
            const double far = 8 * UNIT * fabs(sum / (double)pixels);
            CHECK(fabs(given.mean[c] - sum / (double)pixels) <= far + UNIT * (double)spread);
            CHECK(fabs(given.squares[c] - squares) <=
                  1e-5 * squares +
                      far * (sqrt(squares * (double)pixels) + far * (double)pixels) +
                      UNIT * UNIT);
        }
        CHECK(given.count == (double)pixels);
        forget_arrays();
    }
}

/* NaN stays NaN through any view, and where it is. */
static void
test_nan_stays_where_it_is(void)
{
    enum { CHANNELS = 21, PIXELS = 9 };
    seed = 99;
    for (size_t i = 0; i < 36; i++) {
        const tl_view view = random_view(PIXELS * CHANNELS, CHANNELS);
        float *dst = array(PIXELS * CHANNELS, sizeof *dst);
        float *src = copy(view.data, PIXELS * CHANNELS);
        tl_view with_nan = view;
        CHECK(tl_cpu_limit(isas[i % 3]));
        src[40] = NAN;
        with_nan.data = src;
        tl_training_kernels.load(dst, &with_nan, PIXELS, CHANNELS);
        for (size_t k = 0; k < PIXELS * CHANNELS; k++) {
            CHECK(isnan(dst[k]) == (k == 40));
        }
        forget_arrays();
    }
}

static void
test_sizes_that_do_not_fit_are_refused(void)
{
    const size_t large = (size_t)1 << 30;
    size_t packed = 7;
    size_t scratch = 8;
    const tl_layer layer = {.kernel = {1, 1},
                            .strides = {1, 1},
                            .src = tl_shape_3(1, 1, large),
                            .dst = tl_shape_3(1, 1, large << 10)};
    CHECK(tl_training_kernels.plan(&layer, &packed, &scratch) == TL_OUT_OF_MEMORY);
    CHECK(packed == 7 && scratch == 8);
}

/* --- the naive loops against differences ------------------------------------------------ */

/* Numbers that a loss depends on: sum of t * behind(z), where z is the layer's output. */
typedef struct question {
    const scene *s;
    tl_view behind; /* its data: z */
    const float *t;
    float *z;
    void *scratch;
} question;

static double
answer(const question *q)
{
    const scene *s = q->s;
    double sum = 0;
    reference_training.forward(&s->layer, &(tl_layer_forward){.dst = q->z,
                                                              .src = s->view,
                                                              .kernel = s->kernel,
                                                              .bias = s->bias,
                                                              .images = s->images,
                                                              .scratch = q->scratch});
    for (size_t i = 0; i < s->dst; i++) {
        float y;
        const size_t c = i % s->out;
        tl_view one = q->behind;
        one.data += i;
        if (one.mean != NULL) {
            one.mean += c;
            one.scale += c;
            one.shift += c;
        }
        reference_training.load(&y, &one, 1, 1);
        sum += (double)q->t[i] * (double)y;
    }
    return sum;
}

/* Some of the gradients in an array of numbers; those at a kink are left out. */
static void
check_slopes(const question *q, const float *array_of, const double *gradient, size_t count)
{
    float *at = (float *)(uintptr_t)array_of; /* put back before anybody else looks */
    for (size_t k = 0; k < 4; k++) {
        const size_t i = draw(0, count - 1);
        const float kept = at[i];
        const double here = answer(q);
        at[i] = kept + 0x1p-7F;
        const double up = (answer(q) - here) * 0x1p7;
        at[i] = kept - 0x1p-7F;
        const double down = (here - answer(q)) * 0x1p7;
        at[i] = kept;
        if (fabs(up - down) <= 2e-3 * (1 + fabs(up))) {
            CHECK_NEAR(gradient[i], (up + down) / 2, 3e-3);
        }
    }
}

static double *
widened(const float *src, size_t count)
{
    double *dst = array(count, sizeof *dst);
    for (size_t i = 0; i < count; i++) {
        dst[i] = (double)src[i];
    }
    return dst;
}

static void
check_differences(const scene *s)
{
    size_t packed;
    size_t scratch_bytes;
    CHECK_OK(reference_training.plan(&s->layer, &packed, &scratch_bytes));
    question q = {.s = s,
                  .t = numbers(s->dst, 1, true),
                  .z = array(s->dst, sizeof(float)),
                  .scratch = array(scratch_bytes, 1)};
    q.behind = random_view(1, s->out);
    q.behind.data = q.z;
    (void)answer(&q);
    float *grad = array(s->dst, sizeof *grad);
    float *grad_src = array(s->src, sizeof *grad_src);
    float *grad_kernel = numbers(s->kernel_count, 0, true);
    float *grad_bias = numbers(s->out, 0, true);
    double *behind_sums = doubles(2 * s->out, 0);
    memset(behind_sums, 0, 2 * s->out * sizeof *behind_sums);
    const tl_gradient to = {.data = grad,
                            .last = true,
                            .view = q.behind,
                            .sums = q.behind.mean == NULL ? NULL : behind_sums};
    reference_training.pass(&to, q.t, 0, s->dst / s->out, s->out, NULL);
    reference_training.backward(
        &s->layer,
        &(tl_layer_backward){.dst = {.gradient = grad, .data = q.z, .scale = q.behind.scale},
                             .src = s->view,
                             .src_gradient = {.data = grad_src, .last = true, .view = s->view},
                             .kernel = s->kernel,
                             .grad_kernel = grad_kernel,
                             .grad_bias = grad_bias,
                             .images = s->images,
                             .scratch = q.scratch});
    double *of_src = widened(grad_src, s->src);
    for (size_t i = 0; s->view.mean != NULL && i < s->src; i++) {
        of_src[i] *= (double)s->view.scale[i % s->in];
    }
    check_slopes(&q, s->view.data, of_src, s->src);
    check_slopes(&q, s->kernel, widened(grad_kernel, s->kernel_count), s->kernel_count);
    if (s->bias != NULL) {
        check_slopes(&q, s->bias, widened(grad_bias, s->out), s->out);
    }
    if (q.behind.mean != NULL) { /* beta, and gamma over the deviation */
        check_slopes(&q, q.behind.shift, behind_sums, s->out);
        check_slopes(&q, q.behind.scale, behind_sums + s->out, s->out);
    }
}

static void
test_naive_layers_have_the_gradients_of_differences(void)
{
    for (size_t i = 0; i < 40 && !this_test_failed; i++) {
        scene s;
        seed = 4242424242UL + i * 1000003UL;
        random_scene(&s, 3000);
        check_differences(&s);
        if (this_test_failed) {
            describe(&s, i, "no instruction set");
        }
        forget_arrays();
    }
}

enum { PIXELS = 7 };

/* Sum of t * batch norm(z) with the statistics of z. */
static double
normalised(const double *z, const double *t, double gamma, double epsilon)
{
    double mean = 0;
    double variance = 0;
    double sum = 0;
    for (size_t p = 0; p < PIXELS; p++) {
        mean += z[p] / PIXELS;
    }
    for (size_t p = 0; p < PIXELS; p++) {
        variance += (z[p] - mean) * (z[p] - mean) / PIXELS;
    }
    for (size_t p = 0; p < PIXELS; p++) {
        sum += t[p] * gamma * (z[p] - mean) / sqrt(variance + epsilon);
    }
    return sum;
}

/* `inner` with the offset and the slope that train_parts.c makes of the sums. */
static void
test_inner_is_the_gradient_through_statistics(void)
{
    double z[PIXELS];
    double t[PIXELS];
    float stored[PIXELS];
    float grad[PIXELS];
    float dst[PIXELS];
    const double gamma = 1.7;
    const double epsilon = 1e-3;
    double mean = 0;
    double variance = 0;
    double sums[2] = {0, 0};
    random_numbers(stored, PIXELS, 1);
    random_numbers(grad, PIXELS, 2);
    for (size_t p = 0; p < PIXELS; p++) {
        z[p] = (double)stored[p];
        t[p] = (double)grad[p];
        mean += z[p] / PIXELS;
    }
    for (size_t p = 0; p < PIXELS; p++) {
        variance += (z[p] - mean) * (z[p] - mean) / PIXELS;
        sums[0] += t[p];
        sums[1] += t[p] * (z[p] - mean);
    }
    const double inverse = 1 / sqrt(variance + epsilon);
    const float parts[] = {(float)mean, (float)(gamma * inverse),
                           (float)(gamma * inverse * sums[0] / PIXELS),
                           (float)(gamma * inverse * inverse * inverse * sums[1] / PIXELS)};
    const tl_inner inner = {grad, stored, parts, parts + 1, parts + 2, parts + 3};
    for (size_t i = 0; i < 4; i++) {
        CHECK(tl_cpu_limit(isas[i % 3]));
        (i == 3 ? &reference_training : &tl_training_kernels)->inner(dst, &inner, 0, PIXELS, 1);
        for (size_t p = 0; p < PIXELS; p++) {
            const double kept = z[p];
            z[p] = kept + 1e-5;
            const double up = normalised(z, t, gamma, epsilon);
            z[p] = kept - 1e-5;
            const double down = normalised(z, t, gamma, epsilon);
            z[p] = kept;
            CHECK_NEAR(dst[p], (up - down) / 2e-5, 1e-6);
        }
    }
}

int
main(void)
{
    RUN(test_layers_equal_naive_loops);
    RUN(test_passes_equal_naive_loops);
    RUN(test_moments_with_large_means);
    RUN(test_nan_stays_where_it_is);
    RUN(test_sizes_that_do_not_fit_are_refused);
    RUN(test_naive_layers_have_the_gradients_of_differences);
    RUN(test_inner_is_the_gradient_through_statistics);
    (void)printf("worst error in units of what is allowed: %.3g\n", worst_used);
    return REPORT();
}
