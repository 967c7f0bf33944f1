/* Bodies of the micro-kernels; micro_*.c define the vectors and include this.
 *
 *   vec, WIDTH             a vector of WIDTH floats
 *   TARGET                 the function attribute that allows its instructions
 *   LOAD_PART STORE_PART  of the last vector of a panel, of which only some channels exist
 *   LOAD STORE SPREAD ADD MULTIPLY_ADD AT_LEAST_ZERO AT_MOST
 *   PIXELS_1 .. PIXELS_4   pixels of a tile with so many vectors: all sums, one panel row and
 *                          one spread pixel stay in registers
 *   WIDEST, MICRO, ISA     the panel it likes best, the name of what it exports */

#define INLINE static inline __attribute__((always_inline)) TARGET

/* A panel of the ring: constant, so that a pixel's neighbours need no arithmetic to be found.
 */
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

/* `pixels` x `vectors` sums in registers; both are constants where this is inlined. */
INLINE void
multiply_tile(const tl_panel_job *job, size_t first, const size_t pixels, const size_t vectors)
{
    vec sum[MAX_PIXELS][TL_MAX_PANEL];
    float *dst = job->dst + first * job->dst_stride;
    const size_t last = job->channels - (vectors - 1) * WIDTH; /* channels of the last vector */

#pragma GCC unroll 14
    for (size_t p = 0; p < pixels; p++) {
#pragma GCC unroll 4
        for (size_t v = 0; v < vectors; v++) {
            const float *at = dst + p * job->dst_stride + v * WIDTH;
            sum[p][v] = job->bias != NULL                    ? LOAD(job->bias + v * WIDTH)
                        : v + 1 == vectors && last < (WIDTH) ? LOAD_PART(at, last)
                                                             : LOAD(at);
        }
    }
    const float *weights = job->weights;
    const size_t stride = job->src_stride;
    for (size_t s = 0; s < job->segments; s++) {
        const float *src = job->src[s] + first * stride;
        for (size_t k = 0; k < job->depth; k++) {
            vec row[TL_MAX_PANEL];
#pragma GCC unroll 4
            for (size_t v = 0; v < vectors; v++) {
                row[v] = LOAD(weights + v * WIDTH);
            }
#pragma GCC unroll 14
            for (size_t p = 0; p < pixels; p++) {
                const vec x = SPREAD(src + p * stride + k);
#pragma GCC unroll 4
                for (size_t v = 0; v < vectors; v++) {
                    sum[p][v] = MULTIPLY_ADD(x, row[v], sum[p][v]);
                }
            }
            weights += vectors * WIDTH;
        }
    }
#pragma GCC unroll 14
    for (size_t p = 0; p < pixels; p++) {
#pragma GCC unroll 4
        for (size_t v = 0; v < vectors; v++) {
            const size_t at = p * job->dst_stride + v * WIDTH;
            const bool part = v + 1 == vectors && last < (WIDTH);
            vec x = activate(sum[p][v], job->function);
            if (job->residual != NULL) {
                const float *from = job->residual + first * job->dst_stride + at;
                x = ADD(x, part ? LOAD_PART(from, last) : LOAD(from));
            }
            if (part) {
                STORE_PART(dst + at, x, last);
            } else {
                STORE(dst + at, x);
            }
        }
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
depthwise_tile(const tl_depthwise_job *job, size_t first, size_t v, const size_t pixels,
               const size_t stride)
{
    vec sum[DEPTHWISE_PIXELS];
    const vec bias = LOAD(job->bias + v * WIDTH);
    const size_t columns = (pixels - 1) * stride + 3;

#pragma GCC unroll 7
    for (size_t p = 0; p < pixels; p++) {
        sum[p] = bias;
    }
#pragma GCC unroll 3
    for (size_t i = 0; i < 3; i++) {
        const float *src = job->src[i] + first * stride * PANEL + v * WIDTH;
        const float *weights = job->weights + i * 3 * PANEL + v * WIDTH;
        const vec weight[3] = {LOAD(weights), LOAD(weights + PANEL), LOAD(weights + 2 * PANEL)};
#pragma GCC unroll 15
        for (size_t column = 0; column < columns; column++) {
            const vec x = LOAD(src + column * PANEL);
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
    const size_t exist = job->channels - v * WIDTH;
#pragma GCC unroll 7
    for (size_t p = 0; p < pixels; p++) {
        float *to = job->dst + (first + p) * job->dst_stride + v * WIDTH;
        const vec x = activate(sum[p], job->function);
        if (exist < (WIDTH)) {
            STORE_PART(to, x, exist);
        } else {
            STORE(to, x);
        }
    }
}

#define DEPTHWISE(stride)                                                                      \
    static TARGET void depthwise_##stride(const tl_depthwise_job *given)                       \
    {                                                                                          \
        const tl_depthwise_job own = *given;                                                   \
        const tl_depthwise_job *job = &own;                                                    \
        for (size_t first = 0; first < job->pixels;) {                                         \
            const size_t left = job->pixels - first;                                           \
            const size_t pixels = left >= 7 ? 7 : left >= 4 ? 4 : left >= 2 ? 2 : 1;           \
            for (size_t v = 0; v < job->vectors; v++) {                                        \
                switch (pixels) {                                                              \
                case 7:                                                                        \
                    depthwise_tile(job, first, v, 7, stride);                                  \
                    break;                                                                     \
                case 4:                                                                        \
                    depthwise_tile(job, first, v, 4, stride);                                  \
                    break;                                                                     \
                case 2:                                                                        \
                    depthwise_tile(job, first, v, 2, stride);                                  \
                    break;                                                                     \
                default:                                                                       \
                    depthwise_tile(job, first, v, 1, stride);                                  \
                    break;                                                                     \
                }                                                                              \
            }                                                                                  \
            first += pixels;                                                                   \
        }                                                                                      \
    }

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
