/* Bodies of the micro-kernels; micro_*.c define the vectors and include this.
 *
 *   vec, WIDTH             a vector of WIDTH floats
 *   TARGET                 the function attribute that allows its instructions
 *   TAIL FIND_TAIL LOAD_TAIL STORE_TAIL   of a panel's last vector, of which perhaps only some
 *                          channels exist; FIND_TAIL takes how many, WIDTH or more for all
 *   LOAD STORE SPREAD ADD MULTIPLY_ADD AT_LEAST_ZERO AT_MOST
 *   WIDEST                 vectors of the panel that it likes best: 2 or 3
 *   PIXELS_1 PIXELS_2 PIXELS_3   pixels of a tile with so many vectors: all sums, one panel row
 *                          and one spread pixel stay in registers
 *   DEPTHWISE_PIXELS       neighbours that a depthwise tile has, at most: 7 or more
 *   SPREAD_PAIR UNPAIR PAIRS_3   where there are panels of pairs (see micro.h): two neighbours
 *                          to all pairs of lanes; sums of pairs; pixels of a tile of 3 vectors
 *   MICRO, ISA             the name of what it exports, and for whom */

#define INLINE static inline __attribute__((always_inline)) TARGET

/* A panel of the ring: constant, so that a pixel's neighbours need no arithmetic to be found.
 */
enum { MAX_PIXELS = 14, PANEL = WIDEST * WIDTH };
#ifndef SPREAD_PAIR
#define SPREAD_PAIR(p) SPREAD(p) /* never asked for */
#endif

INLINE vec
activate(vec x, tl_function function)
{
    /* NaN stays NaN: the second operand is what x86 answers then. */
    if (function != TL_LINEAR) {
        x = AT_LEAST_ZERO(x);
    }
    if (function == TL_RELU6) {
        x = AT_MOST(SPREAD_CONSTANT(6.0F), x);
    }
    return x;
}

/* Hides from the compiler where a number comes from. It would otherwise give each of a tile's
 * pixels an index register of its own, more than there are, and load them in the innermost
 * loop.
 */
#define HIDE_ORIGIN(x) __asm__("" : "+r"(x))

/* Keeps the compiler from reading a vector from memory again for each of its uses. */
#define IN_REGISTER(x) __asm__("" : "+v"(x))

/* Into the second cache level: two lines at a time, the least that a step may skip. */
#define BRING_NEAR(at) (__builtin_prefetch(at, 0, 2), __builtin_prefetch((at) + 64, 0, 2))

/* How far a tile's pixels lie apart, in bytes: three registers reach seven pixels. */
typedef struct steps {
    size_t one, three, five;
} steps;

INLINE const float *
pixel_at(const char *low, const char *high, const steps by, const size_t p)
{
    const char *base = p < 7 ? low : high;
    switch (p % 7) {
    case 0:
        return (const float *)(const void *)base;
    case 1:
        return (const float *)(const void *)(base + by.one);
    case 2:
        return (const float *)(const void *)(base + by.one * 2);
    case 3:
        return (const float *)(const void *)(base + by.three);
    case 4:
        return (const float *)(const void *)(base + by.one * 4);
    case 5:
        return (const float *)(const void *)(base + by.five);
    default:
        return (const float *)(const void *)(base + by.three * 2);
    }
}

/* What is brought near in each round of the innermost loop. */
typedef struct ahead {
    const char *at;
    size_t step; /* bytes */
} ahead;

INLINE ahead
look_ahead(const tl_panel_job *job, size_t rounds)
{
    if (job->next_bytes == 0) {
        return (ahead){(const char *)job->weights, 0}; /* near already */
    }
    return (ahead){(const char *)job->next, (job->next_bytes + rounds - 1) / rounds};
}

/* Sums -> dst, one after the other, so that the first are stored while the last are made. What
 * is constant where this is inlined costs nothing. */
INLINE void
finish(vec sum[MAX_PIXELS][TL_MAX_PANEL], float *dst, size_t dst_stride, const float *residual,
       const TAIL tail, const tl_function function, const size_t pixels, const size_t vectors)
{
#pragma GCC unroll 14
    for (size_t p = 0; p < pixels; p++) {
#pragma GCC unroll 3
        for (size_t v = 0; v < vectors; v++) {
            const bool last = v + 1 == vectors;
            vec x = activate(sum[p][v], function);
            if (residual != NULL) {
                const float *from = residual + v * WIDTH;
                x = ADD(x, last ? LOAD_TAIL(from, tail) : LOAD(from));
            }
            if (last) {
                STORE_TAIL(dst + v * WIDTH, x, tail);
            } else {
                STORE(dst + v * WIDTH, x);
            }
        }
        dst += dst_stride;
        HIDE_ORIGIN(dst);
        if (residual != NULL) {
            residual += dst_stride;
            HIDE_ORIGIN(residual);
        }
    }
}

/* How to store: what is constant in each case is not asked for each vector. */
INLINE void
finish_tile(vec sum[MAX_PIXELS][TL_MAX_PANEL], const tl_panel_job *job, size_t first,
            const TAIL tail, const size_t pixels, const size_t vectors)
{
    const size_t behind = first * job->dst_stride;
    float *dst = job->dst + behind;
    if (job->residual != NULL) {
        finish(sum, dst, job->dst_stride, job->residual + behind, tail, job->function, pixels,
               vectors);
    } else if (job->function == TL_RELU6) {
        finish(sum, dst, job->dst_stride, NULL, tail, TL_RELU6, pixels, vectors);
    } else if (job->function == TL_RELU) {
        finish(sum, dst, job->dst_stride, NULL, tail, TL_RELU, pixels, vectors);
    } else {
        finish(sum, dst, job->dst_stride, NULL, tail, TL_LINEAR, pixels, vectors);
    }
}

INLINE void
start_from_bias(vec sum[MAX_PIXELS][TL_MAX_PANEL], const float *bias, const size_t pixels,
                const size_t vectors)
{
#pragma GCC unroll 3
    for (size_t v = 0; v < vectors; v++) {
        const vec first = LOAD(bias + v * WIDTH);
#pragma GCC unroll 14
        for (size_t p = 0; p < pixels; p++) {
            sum[p][v] = first;
        }
    }
}

INLINE void
start_from_dst(vec sum[MAX_PIXELS][TL_MAX_PANEL], const float *from, size_t stride,
               const TAIL tail, const size_t pixels, const size_t vectors)
{
#pragma GCC unroll 14
    for (size_t p = 0; p < pixels; p++) {
#pragma GCC unroll 3
        for (size_t v = 0; v < vectors; v++) {
            const float *at = from + v * WIDTH;
            sum[p][v] = v + 1 == vectors ? LOAD_TAIL(at, tail) : LOAD(at);
        }
        from += stride;
        HIDE_ORIGIN(from);
    }
}

/* The innermost loop: `taps` inputs of each pixel a round, 1 or (see pairs) 2. */
INLINE void
accumulate(vec sum[MAX_PIXELS][TL_MAX_PANEL], const tl_panel_job *job, size_t first, ahead near,
           const size_t pixels, const size_t vectors, const size_t taps)
{
    const float *weights = job->weights;
    steps by = {job->src_stride * sizeof *weights, 3 * job->src_stride * sizeof *weights,
                5 * job->src_stride * sizeof *weights};
    HIDE_ORIGIN(by.three);
    HIDE_ORIGIN(by.five);
    for (size_t s = 0; s < job->segments; s++) {
        const char *low = (const char *)(job->src[s] + first * job->src_stride);
        const char *high = low + 7 * by.one;
        HIDE_ORIGIN(high);
        for (size_t k = 0; k < job->depth; k += taps) {
            vec row[TL_MAX_PANEL];
            BRING_NEAR(near.at);
            near.at += near.step;
#pragma GCC unroll 3
            for (size_t v = 0; v < vectors; v++) {
                row[v] = LOAD(weights + v * WIDTH);
            }
#pragma GCC unroll 14
            for (size_t p = 0; p < pixels; p++) {
                const float *from = pixel_at(low, high, by, p);
                const vec x = taps == 1 ? SPREAD(from) : SPREAD_PAIR(from);
#pragma GCC unroll 3
                for (size_t v = 0; v < vectors; v++) {
                    sum[p][v] = MULTIPLY_ADD(x, row[v], sum[p][v]);
                }
            }
            weights += vectors * WIDTH;
            low += taps * sizeof(float);
            high += taps * sizeof(float);
        }
    }
}

/* `pixels` x `vectors` sums in registers; both are constants where this is inlined. */
INLINE void
multiply_tile(const tl_panel_job *job, size_t first, ahead near, const size_t pixels,
              const size_t vectors)
{
    vec sum[MAX_PIXELS][TL_MAX_PANEL];
    const TAIL tail = FIND_TAIL(job->channels - (vectors - 1) * WIDTH);
    if (job->bias != NULL) {
        start_from_bias(sum, job->bias, pixels, vectors);
    } else {
        start_from_dst(sum, job->dst + first * job->dst_stride, job->dst_stride, tail, pixels,
                       vectors);
    }
    accumulate(sum, job, first, near, pixels, vectors, 1);
    finish_tile(sum, job, first, tail, pixels, vectors);
}

#ifdef UNPAIR
/* The same where even lanes sum up even inputs and odd ones odd inputs: no lane is idle where
 * only half of a vector's channels exist. */
INLINE void
multiply_tile_pairs(const tl_panel_job *job, size_t first, ahead near, const size_t pixels,
                    const size_t vectors)
{
    vec sum[MAX_PIXELS][TL_MAX_PANEL];
    start_from_bias(sum, job->bias, pixels, vectors);
    accumulate(sum, job, first, near, pixels, vectors, 2);
#pragma GCC unroll 14
    for (size_t p = 0; p < pixels; p++) {
        UNPAIR(sum[p], vectors);
    }
    finish_tile(sum, job, first, FIND_TAIL(vectors % 2 == 0 ? WIDTH : WIDTH / 2), pixels,
                (vectors + 1) / 2);
}
#endif

/* Cuts the pixels into tiles of nearly equal size, none larger than `most`. */
#define MULTIPLY_PANEL(name, kind, vectors, most, taps)                                        \
    static TARGET void multiply_##name(const tl_panel_job *given)                              \
    {                                                                                          \
        const tl_panel_job own = *given;                                                       \
        const tl_panel_job *job = &own;                                                        \
        size_t tiles = (job->pixels + (most) - 1) / (most);                                    \
        const size_t rounds = job->segments * job->depth / (taps);                             \
        ahead near = look_ahead(job, tiles * rounds);                                          \
        for (size_t first = 0; tiles > 0; tiles--) {                                           \
            const size_t pixels = (job->pixels - first + tiles - 1) / tiles;                   \
            switch (pixels) {                                                                  \
                TILES_##most(kind, vectors)                                                    \
            }                                                                                  \
            first += pixels;                                                                   \
            near.at += near.step * rounds;                                                     \
        }                                                                                      \
    }
#define TILE(pixels, kind, vectors)                                                            \
    case pixels:                                                                               \
        multiply_tile##kind(job, first, near, pixels, vectors);                                \
        break;
#define TILES_4(...)                                                                           \
    TILE(1, __VA_ARGS__) TILE(2, __VA_ARGS__) TILE(3, __VA_ARGS__) TILE(4, __VA_ARGS__)
#define TILES_6(...) TILES_4(__VA_ARGS__) TILE(5, __VA_ARGS__) TILE(6, __VA_ARGS__)
#define TILES_7(...) TILES_6(__VA_ARGS__) TILE(7, __VA_ARGS__)
#define TILES_9(...) TILES_7(__VA_ARGS__) TILE(8, __VA_ARGS__) TILE(9, __VA_ARGS__)
#define TILES_14(...)                                                                          \
    TILES_9(__VA_ARGS__)                                                                       \
    TILE(10, __VA_ARGS__)                                                                      \
    TILE(11, __VA_ARGS__) TILE(12, __VA_ARGS__) TILE(13, __VA_ARGS__) TILE(14, __VA_ARGS__)
#define MULTIPLY(name, kind, vectors, most, taps)                                              \
    MULTIPLY_PANEL(name, kind, vectors, most, taps)

MULTIPLY(1, , 1, PIXELS_1, 1)
MULTIPLY(2, , 2, PIXELS_2, 1)
#if WIDEST > 2
MULTIPLY(3, , 3, PIXELS_3, 1)
#endif
#ifdef UNPAIR
MULTIPLY(pairs_1, _pairs, 1, PIXELS_1, 2)
MULTIPLY(pairs_2, _pairs, 2, PIXELS_2, 2)
MULTIPLY(pairs_3, _pairs, 3, PAIRS_3, 2)
#endif

static void
multiply(const tl_panel_job *job)
{
    static void (*const panels[])(const tl_panel_job *) = {
        multiply_1,
        multiply_2,
#if WIDEST > 2
        multiply_3,
#endif
    };
    panels[job->vectors - 1](job);
}

#ifdef UNPAIR
static void
multiply_pairs(const tl_panel_job *job)
{
    static void (*const panels[])(const tl_panel_job *) = {multiply_pairs_1, multiply_pairs_2,
                                                           multiply_pairs_3};
    panels[job->vectors - 1](job);
}
#endif

/* One vector of channels, `pixels` neighbours: an input is loaded once for all of them. */
INLINE void
depthwise_tile(float *dst, size_t dst_stride, const float *const *src, const float *weights,
               const float *bias, tl_function function, const TAIL tail, const size_t pixels,
               const size_t stride)
{
    vec sum[MAX_PIXELS];
    const size_t columns = (pixels - 1) * stride + 3;

#pragma GCC unroll 14
    for (size_t p = 0; p < pixels; p++) {
        sum[p] = LOAD(bias);
    }
#pragma GCC unroll 3
    for (size_t i = 0; i < 3; i++) {
        const vec weight[3] = {LOAD(weights + i * 3 * PANEL),
                               LOAD(weights + (i * 3 + 1) * PANEL),
                               LOAD(weights + (i * 3 + 2) * PANEL)};
#pragma GCC unroll 29
        for (size_t column = 0; column < columns; column++) {
            vec x = LOAD(src[i] + column * PANEL);
            IN_REGISTER(x);
#pragma GCC unroll 3
            for (size_t j = 0; j < 3; j++) {
                if (column >= j && (column - j) % stride == 0 &&
                    (column - j) / stride < pixels) {
                    sum[(column - j) / stride] =
                        MULTIPLY_ADD(x, weight[j], sum[(column - j) / stride]);
                }
            }
        }
    }
#pragma GCC unroll 14
    for (size_t p = 0; p < pixels; p++) {
        const vec x = activate(sum[p], function);
        STORE_TAIL(dst, x, tail);
        dst += dst_stride;
        HIDE_ORIGIN(dst);
    }
}

/* How many neighbours are done at once, of so many that are left. */
static inline size_t
depthwise_group(size_t left)
{
    static const size_t sizes[] = {DEPTHWISE_PIXELS, 7, 4, 2, 1};
    size_t i = 0;
    while (sizes[i] > left) {
        i++;
    }
    return sizes[i];
}

/* Groups of neighbours: the vectors of a group one after the other, while its rows are near. */
#define DEPTHWISE(stride)                                                                      \
    static TARGET void depthwise_##stride(const tl_depthwise_job *given)                       \
    {                                                                                          \
        const tl_depthwise_job job = *given;                                                   \
        for (size_t first = 0; first < job.pixels;) {                                          \
            const size_t pixels = depthwise_group(job.pixels - first);                         \
            float *dst = job.dst + first * job.dst_stride;                                     \
            for (size_t v = 0; v < job.vectors; v++) {                                         \
                const size_t at = first * stride * PANEL + v * WIDTH;                          \
                const float *src[] = {job.src[0] + at, job.src[1] + at, job.src[2] + at};      \
                const float *weights = job.weights + v * WIDTH;                                \
                const float *bias = job.bias + v * WIDTH;                                      \
                const TAIL tail = FIND_TAIL(job.channels - v * WIDTH);                         \
                float *to = dst + v * WIDTH;                                                   \
                switch (pixels) {                                                              \
                    DEPTHWISE_WIDEST(stride)                                                   \
                    DEPTHWISE_TILE(7, stride)                                                  \
                    DEPTHWISE_TILE(4, stride)                                                  \
                    DEPTHWISE_TILE(2, stride)                                                  \
                    DEPTHWISE_TILE(1, stride)                                                  \
                }                                                                              \
            }                                                                                  \
            first += pixels;                                                                   \
        }                                                                                      \
    }
#if DEPTHWISE_PIXELS > 7
#define DEPTHWISE_WIDEST(stride) DEPTHWISE_TILE(DEPTHWISE_PIXELS, stride)
#else
#define DEPTHWISE_WIDEST(stride)
#endif
#define DEPTHWISE_TILE(pixels, stride)                                                         \
    case pixels:                                                                               \
        depthwise_tile(to, job.dst_stride, src, weights, bias, job.function, tail, pixels,     \
                       stride);                                                                \
        break;

DEPTHWISE(1)
DEPTHWISE(2)

static void
depthwise(const tl_depthwise_job *job)
{
    if (job->stride == 1) {
        depthwise_1(job);
    } else {
        depthwise_2(job);
    }
}

static TARGET bool
copy(float *dst, const float *src, size_t count)
{
    const uint32_t exponent = 0x7f800000U; /* all ones in NaN and infinity */
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &src[i], sizeof bits);
        found |= (bits & exponent) == exponent;
        dst[i] = src[i];
    }
    return found == 0;
}

#include "kernels/micro_training.h"

const tl_micro MICRO = {
    .isa = ISA,
    .width = WIDTH,
    .widest_panel = WIDEST,
    .multiply = multiply,
#ifdef UNPAIR
    .multiply_pairs = multiply_pairs,
#endif
    .depthwise = depthwise,
    .copy = copy,
    .outer = outer,
    .taps = taps,
    .tap_sums = tap_sums,
    .load = load_view,
    .moments = moments,
    .finish = finish_gradient,
    .inner = inner_gradient,
    .add_up = add_up,
};
