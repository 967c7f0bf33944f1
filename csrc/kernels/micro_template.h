/* Bodies of the micro-kernels; micro_*.c define the vectors and include this.
 *
 *   vec, WIDTH             a vector of WIDTH floats
 *   TARGET                 the function attribute that allows its instructions
 *   TAIL FIND_TAIL LOAD_TAIL STORE_TAIL   of a panel's last vector, of which perhaps only some
 *                          channels exist; FIND_TAIL takes how many, WIDTH or more for all
 *   LOAD STORE SPREAD ADD MULTIPLY_ADD AT_LEAST_ZERO AT_MOST
 *   PIXELS_1 .. PIXELS_4   pixels of a tile with so many vectors: all sums, one panel row and
 *                          one spread pixel stay in registers
 *   WIDEST, MICRO, ISA     the panel it likes best, the name of what it exports */

#define INLINE static inline __attribute__((always_inline)) TARGET

/* A panel of the ring: constant, so that a pixel's neighbours need no arithmetic to be found.
 */
#define TILES_9(n) TILES_7(n) TILE(8, n) TILE(9, n)
enum { MAX_PIXELS = 14, DEPTHWISE_PIXELS = 7, PANEL = WIDEST * WIDTH };

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

/* `pixels` x `vectors` sums in registers; both are constants where this is inlined. */
INLINE void
multiply_tile(const tl_panel_job *job, size_t first, const size_t pixels, const size_t vectors)
{
    vec sum[MAX_PIXELS][TL_MAX_PANEL];
    const size_t dst_stride = job->dst_stride;
    const TAIL tail = FIND_TAIL(job->channels - (vectors - 1) * WIDTH);
    float *dst = job->dst + first * dst_stride;

    if (job->bias != NULL) {
#pragma GCC unroll 4
        for (size_t v = 0; v < vectors; v++) {
            const vec bias = LOAD(job->bias + v * WIDTH);
#pragma GCC unroll 14
            for (size_t p = 0; p < pixels; p++) {
                sum[p][v] = bias;
            }
        }
    } else {
        const float *from = dst;
#pragma GCC unroll 14
        for (size_t p = 0; p < pixels; p++) {
#pragma GCC unroll 4
            for (size_t v = 0; v < vectors; v++) {
                const float *at = from + v * WIDTH;
                sum[p][v] = v + 1 == vectors ? LOAD_TAIL(at, tail) : LOAD(at);
            }
            from += dst_stride;
            HIDE_ORIGIN(from);
        }
    }
    const float *weights = job->weights;
    steps by = {job->src_stride * sizeof *weights, 3 * job->src_stride * sizeof *weights,
                5 * job->src_stride * sizeof *weights};
    HIDE_ORIGIN(by.three);
    HIDE_ORIGIN(by.five);
    for (size_t s = 0; s < job->segments; s++) {
        const char *low = (const char *)(job->src[s] + first * job->src_stride);
        const char *high = low + 7 * by.one;
        HIDE_ORIGIN(high);
        for (size_t k = 0; k < job->depth; k++) {
            vec row[TL_MAX_PANEL];
#pragma GCC unroll 4
            for (size_t v = 0; v < vectors; v++) {
                row[v] = LOAD(weights + v * WIDTH);
            }
#pragma GCC unroll 14
            for (size_t p = 0; p < pixels; p++) {
                const vec x = SPREAD(pixel_at(low, high, by, p));
#pragma GCC unroll 4
                for (size_t v = 0; v < vectors; v++) {
                    sum[p][v] = MULTIPLY_ADD(x, row[v], sum[p][v]);
                }
            }
            weights += vectors * WIDTH;
            low += sizeof(float);
            high += sizeof(float);
        }
    }
    if (job->function != TL_LINEAR) {
#pragma GCC unroll 14
        for (size_t p = 0; p < pixels; p++) {
#pragma GCC unroll 4
            for (size_t v = 0; v < vectors; v++) {
                sum[p][v] = activate(sum[p][v], job->function);
            }
        }
    }
    if (job->residual != NULL) {
        const float *from = job->residual + first * dst_stride;
#pragma GCC unroll 14
        for (size_t p = 0; p < pixels; p++) {
#pragma GCC unroll 4
            for (size_t v = 0; v < vectors; v++) {
                const float *at = from + v * WIDTH;
                sum[p][v] = ADD(sum[p][v], v + 1 == vectors ? LOAD_TAIL(at, tail) : LOAD(at));
            }
            from += dst_stride;
            HIDE_ORIGIN(from);
        }
    }
#pragma GCC unroll 14
    for (size_t p = 0; p < pixels; p++) {
#pragma GCC unroll 4
        for (size_t v = 0; v < vectors; v++) {
            if (v + 1 == vectors) {
                STORE_TAIL(dst + v * WIDTH, sum[p][v], tail);
            } else {
                STORE(dst + v * WIDTH, sum[p][v]);
            }
        }
        dst += dst_stride;
        HIDE_ORIGIN(dst);
    }
}

/* Cuts the pixels into tiles of nearly equal size, none larger than `most`. */
#define MULTIPLY_PANEL(vectors, most)                                                          \
    static TARGET void multiply_##vectors(const tl_panel_job *given)                           \
    {                                                                                          \
        const tl_panel_job own = *given;                                                       \
        const tl_panel_job *job = &own;                                                        \
        size_t tiles = (job->pixels + (most) - 1) / (most);                                    \
        for (size_t first = 0; tiles > 0; tiles--) {                                           \
            const size_t pixels = (job->pixels - first + tiles - 1) / tiles;                   \
            switch (pixels) {                                                                  \
                TILES_##most(vectors)                                                          \
            }                                                                                  \
            first += pixels;                                                                   \
        }                                                                                      \
    }
#define TILE(pixels, vectors)                                                                  \
    case pixels:                                                                               \
        multiply_tile(job, first, pixels, vectors);                                            \
        break;
#define TILES_4(n) TILE(1, n) TILE(2, n) TILE(3, n) TILE(4, n)
#define TILES_6(n) TILES_4(n) TILE(5, n) TILE(6, n)
#define TILES_7(n) TILES_6(n) TILE(7, n)
#define TILES_14(n)                                                                            \
    TILES_7(n) TILE(8, n) TILE(9, n) TILE(10, n) TILE(11, n) TILE(12, n) TILE(13, n) TILE(14, n)
#define MULTIPLY(vectors, most) MULTIPLY_PANEL(vectors, most)

MULTIPLY(1, PIXELS_1)
MULTIPLY(2, PIXELS_2)
MULTIPLY(3, PIXELS_3)
MULTIPLY(4, PIXELS_4)

static void
multiply(const tl_panel_job *job)
{
    static void (*const panels[])(const tl_panel_job *) = {multiply_1, multiply_2, multiply_3,
                                                           multiply_4};
    panels[job->vectors - 1](job);
}

/* One vector of channels, `pixels` neighbours: an input is loaded once for all of them. */
INLINE void
depthwise_tile(float *dst, size_t dst_stride, const float *const *src, const float *weights,
               const float *bias, tl_function function, const TAIL tail, const size_t pixels,
               const size_t stride)
{
    vec sum[DEPTHWISE_PIXELS];
    const size_t columns = (pixels - 1) * stride + 3;

#pragma GCC unroll 7
    for (size_t p = 0; p < pixels; p++) {
        sum[p] = LOAD(bias);
    }
#pragma GCC unroll 3
    for (size_t i = 0; i < 3; i++) {
        const vec weight[3] = {LOAD(weights + i * 3 * PANEL),
                               LOAD(weights + (i * 3 + 1) * PANEL),
                               LOAD(weights + (i * 3 + 2) * PANEL)};
#pragma GCC unroll 15
        for (size_t column = 0; column < columns; column++) {
            const vec x = LOAD(src[i] + column * PANEL);
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
#pragma GCC unroll 7
    for (size_t p = 0; p < pixels; p++) {
        const vec x = activate(sum[p], function);
        STORE_TAIL(dst, x, tail);
        dst += dst_stride;
        HIDE_ORIGIN(dst);
    }
}

/* Groups of neighbours: the vectors of a group one after the other, while its rows are near. */
#define DEPTHWISE(stride)                                                                      \
    static TARGET void depthwise_##stride(const tl_depthwise_job *given)                       \
    {                                                                                          \
        const tl_depthwise_job job = *given;                                                   \
        for (size_t first = 0; first < job.pixels;) {                                          \
            const size_t left = job.pixels - first;                                            \
            const size_t pixels = left >= 7 ? 7 : left >= 4 ? 4 : left >= 2 ? 2 : 1;           \
            float *dst = job.dst + first * job.dst_stride;                                     \
            for (size_t v = 0; v < job.vectors; v++) {                                         \
                const size_t at = first * stride * PANEL + v * WIDTH;                          \
                const float *src[] = {job.src[0] + at, job.src[1] + at, job.src[2] + at};      \
                const float *weights = job.weights + v * WIDTH;                                \
                const float *bias = job.bias + v * WIDTH;                                      \
                const TAIL tail = FIND_TAIL(job.channels - v * WIDTH);                         \
                float *to = dst + v * WIDTH;                                                   \
                switch (pixels) {                                                              \
                    DEPTHWISE_TILE(7, stride)                                                  \
                    DEPTHWISE_TILE(4, stride)                                                  \
                    DEPTHWISE_TILE(2, stride)                                                  \
                    DEPTHWISE_TILE(1, stride)                                                  \
                }                                                                              \
            }                                                                                  \
            first += pixels;                                                                   \
        }                                                                                      \
    }
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

const tl_micro MICRO = {
    .isa = ISA,
    .width = WIDTH,
    .widest_panel = WIDEST,
    .multiply = multiply,
    .depthwise = depthwise,
};
