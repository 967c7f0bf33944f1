/* Bodies of the loops that only training needs; included by micro_template.h. */

/* --- products --------------------------------------------------------------------------- */

/* `rows` x `vectors` sums in registers; both are constants where this is inlined. */
INLINE void
outer_tile(const tl_outer_job *job, size_t m, size_t n, const TAIL tail, const size_t rows,
           const size_t vectors)
{
    vec sum[MAX_PIXELS][TL_MAX_PANEL];
    float *dst = job->dst + m * job->dst_stride + n;
    const float *a = job->a + m;
    const float *b = job->b + n;
    /* A sum of its own, added at the end: less is rounded off than of a large total. */
#pragma GCC unroll 14
    for (size_t r = 0; r < rows; r++) {
#pragma GCC unroll 3
        for (size_t v = 0; v < vectors; v++) {
            sum[r][v] = SPREAD_CONSTANT(0.0F);
        }
    }
    for (size_t p = 0; p < job->depth; p++) {
        vec row[TL_MAX_PANEL];
#pragma GCC unroll 3
        for (size_t v = 0; v < vectors; v++) {
            const float *from = b + v * WIDTH;
            row[v] = v + 1 == vectors ? LOAD_TAIL(from, tail) : LOAD(from);
        }
#pragma GCC unroll 14
        for (size_t r = 0; r < rows; r++) {
            const vec x = SPREAD(a + r);
#pragma GCC unroll 3
            for (size_t v = 0; v < vectors; v++) {
                sum[r][v] = MULTIPLY_ADD(x, row[v], sum[r][v]);
            }
        }
        a += job->a_stride;
        b += job->b_stride;
    }
    finish(sum, dst, job->dst_stride, dst, tail, TL_LINEAR, rows, vectors);
}

/* All rows of one panel of columns. */
#define OUTER_PANEL(vectors, most)                                                             \
    static TARGET void outer_##vectors(const tl_outer_job *job, size_t n, size_t cols)         \
    {                                                                                          \
        const TAIL tail = FIND_TAIL(cols - ((vectors) - 1) * WIDTH);                           \
        size_t tiles = (job->rows + (most) - 1) / (most);                                      \
        for (size_t m = 0; tiles > 0; tiles--) {                                               \
            const size_t rows = (job->rows - m + tiles - 1) / tiles;                           \
            switch (rows) {                                                                    \
                OUTER_TILES_##most(vectors)                                                    \
            }                                                                                  \
            m += rows;                                                                         \
        }                                                                                      \
    }
#define OUTER_TILE(rows, vectors)                                                              \
    case rows:                                                                                 \
        outer_tile(job, m, n, tail, rows, vectors);                                            \
        break;
#define OUTER_TILES_4(v) OUTER_TILE(1, v) OUTER_TILE(2, v) OUTER_TILE(3, v) OUTER_TILE(4, v)
#define OUTER_TILES_6(v) OUTER_TILES_4(v) OUTER_TILE(5, v) OUTER_TILE(6, v)
#define OUTER_TILES_7(v) OUTER_TILES_6(v) OUTER_TILE(7, v)
#define OUTER_TILES_14(v)                                                                      \
    OUTER_TILES_7(v)                                                                           \
    OUTER_TILE(8, v)                                                                           \
    OUTER_TILE(9, v)                                                                           \
    OUTER_TILE(10, v) OUTER_TILE(11, v) OUTER_TILE(12, v) OUTER_TILE(13, v) OUTER_TILE(14, v)
#define OUTER(vectors, most) OUTER_PANEL(vectors, most)

OUTER(1, PIXELS_1)
OUTER(2, PIXELS_2)

static void
outer(const tl_outer_job *given)
{
    const tl_outer_job job = *given;
    for (size_t n = 0; n < job.cols;) {
        const size_t left = job.cols - n;
        const size_t cols = left < 2 * WIDTH ? left : 2 * WIDTH;
        if (cols > WIDTH) {
            outer_2(&job, n, cols);
        } else {
            outer_1(&job, n, cols);
        }
        n += cols;
    }
}

/* --- taps of a depthwise convolution ---------------------------------------------------- */

INLINE void
taps_tile(const tl_taps_job *job, size_t p, size_t c, const TAIL tail, const bool whole,
          const size_t pixels)
{
    vec sum[8];
    float *dst = job->dst + p * job->dst_stride + c;
    const size_t step = job->src_stride;
#pragma GCC unroll 8
    for (size_t i = 0; i < pixels; i++) {
        const float *from = job->bias != NULL ? job->bias + c : dst + i * job->dst_stride;
        sum[i] = whole ? LOAD(from) : LOAD_TAIL(from, tail);
    }
    for (size_t t = 0; t < job->taps; t++) {
        const float *src = job->src[t] + p * step + c;
        const float *weights = job->weights[t] + c;
        const vec w = whole ? LOAD(weights) : LOAD_TAIL(weights, tail);
#pragma GCC unroll 8
        for (size_t i = 0; i < pixels; i++) {
            const float *from = src + i * step;
            sum[i] = MULTIPLY_ADD(whole ? LOAD(from) : LOAD_TAIL(from, tail), w, sum[i]);
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < pixels; i++) {
        const vec x = activate(sum[i], job->function);
        if (whole) {
            STORE(dst + i * job->dst_stride, x);
        } else {
            STORE_TAIL(dst + i * job->dst_stride, x, tail);
        }
    }
}

INLINE void
taps_pixels(const tl_taps_job *job, size_t p, const size_t pixels)
{
    size_t c = 0;
    for (; c + WIDTH <= job->channels; c += WIDTH) {
        taps_tile(job, p, c, FIND_TAIL(WIDTH), true, pixels);
    }
    if (c < job->channels) {
        taps_tile(job, p, c, FIND_TAIL(job->channels - c), false, pixels);
    }
}

static TARGET void
taps(const tl_taps_job *given)
{
    const tl_taps_job job = *given;
    size_t p = 0;
    for (; p + 8 <= job.pixels; p += 8) {
        taps_pixels(&job, p, 8);
    }
    for (; p + 4 <= job.pixels; p += 4) {
        taps_pixels(&job, p, 4);
    }
    for (; p < job.pixels; p++) {
        taps_pixels(&job, p, 1);
    }
}

/* `count` taps from `first` on, one vector of channels. */
INLINE void
tap_sums_vector(const tl_tap_sums_job *job, size_t first, size_t c, const TAIL tail,
                const bool whole, const size_t count)
{
    vec sum[9];
    const float *src[9];
    const float *grad = job->grad + c;
#pragma GCC unroll 9
    for (size_t t = 0; t < count; t++) {
        src[t] = job->src[first + t] + c;
        sum[t] = SPREAD_CONSTANT(0.0F);
    }
    for (size_t p = 0; p < job->pixels; p++) {
        vec g = whole ? LOAD(grad) : LOAD_TAIL(grad, tail);
#pragma GCC unroll 9
        for (size_t t = 0; t < count; t++) {
            const float *from = src[t] + p * job->src_stride;
            sum[t] = MULTIPLY_ADD(whole ? LOAD(from) : LOAD_TAIL(from, tail), g, sum[t]);
        }
        grad += job->channels;
    }
#pragma GCC unroll 9
    for (size_t t = 0; t < count; t++) {
        float *to = job->sums[first + t] + c;
        if (whole) {
            STORE(to, ADD(LOAD(to), sum[t]));
        } else {
            STORE_TAIL(to, ADD(LOAD_TAIL(to, tail), sum[t]), tail);
        }
    }
}

INLINE void
tap_sums_group(const tl_tap_sums_job *job, size_t first, const size_t count)
{
    size_t c = 0;
    for (; c + WIDTH <= job->channels; c += WIDTH) {
        tap_sums_vector(job, first, c, FIND_TAIL(WIDTH), true, count);
    }
    if (c < job->channels) {
        tap_sums_vector(job, first, c, FIND_TAIL(job->channels - c), false, count);
    }
}

static TARGET void
tap_sums(const tl_tap_sums_job *given)
{
    const tl_tap_sums_job job = *given;
    size_t first = 0;
    for (; first + 9 <= job.taps; first += 9) {
        tap_sums_group(&job, first, 9);
    }
    for (; first + 3 <= job.taps; first += 3) {
        tap_sums_group(&job, first, 3);
    }
    for (; first < job.taps; first++) {
        tap_sums_group(&job, first, 1);
    }
}

/* --- passes over pixels ----------------------------------------------------------------- */

/* The compiler makes vectors of these. NaN stays NaN. */
INLINE float
activated(float x, const tl_function function)
{
    if (function != TL_LINEAR) {
        x = x < 0 ? 0 : x;
    }
    if (function == TL_RELU6) {
        x = x > 6 ? 6 : x;
    }
    return x;
}

INLINE void
load_as(float *restrict dst, const tl_view *src, size_t pixels, size_t channels,
        const bool normed, const tl_function function)
{
    const float *restrict from = src->data;
    const float *restrict mean = src->mean;
    const float *restrict scale = src->scale;
    const float *restrict shift = src->shift;
    if (!normed) {
        for (size_t i = 0; i < pixels * channels; i++) {
            dst[i] = activated(from[i], function);
        }
        return;
    }
    for (size_t p = 0; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++) {
            dst[c] = activated((from[c] - mean[c]) * scale[c] + shift[c], function);
        }
        dst += channels;
        from += channels;
    }
}

static TARGET void
load_view(float *dst, const tl_view *src, size_t pixels, size_t channels)
{
    if (src->mean == NULL) {
        if (src->function == TL_LINEAR) {
            memcpy(dst, src->data, pixels * channels * sizeof *dst);
        } else if (src->function == TL_RELU) {
            load_as(dst, src, pixels, channels, false, TL_RELU);
        } else {
            load_as(dst, src, pixels, channels, false, TL_RELU6);
        }
    } else if (src->function == TL_LINEAR) {
        load_as(dst, src, pixels, channels, true, TL_LINEAR);
    } else if (src->function == TL_RELU) {
        load_as(dst, src, pixels, channels, true, TL_RELU);
    } else {
        load_as(dst, src, pixels, channels, true, TL_RELU6);
    }
}

static TARGET void
add_up(float *restrict sums, const float *restrict src, size_t pixels, size_t channels)
{
    size_t p = 0;
    for (; p + 4 <= pixels; p += 4) { /* fewer trips to the sums */
        const float *a = src + p * channels;
        const float *b = a + channels;
        const float *d = b + channels;
        const float *e = d + channels;
        for (size_t c = 0; c < channels; c++) {
            sums[c] += (a[c] + b[c]) + (d[c] + e[c]);
        }
    }
    for (; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++) {
            sums[c] += src[p * channels + c];
        }
    }
}

static TARGET void
moments(float *restrict sum, float *restrict squares, const float *restrict src, size_t pixels,
        size_t channels)
{
    const float share = 1.0F / (float)pixels;
    memset(sum, 0, channels * sizeof *sum);
    memset(squares, 0, channels * sizeof *squares);
    add_up(sum, src, pixels, channels);
    size_t p = 0;
    for (; p + 2 <= pixels; p += 2) {
        const float *a = src + p * channels;
        const float *b = a + channels;
        for (size_t c = 0; c < channels; c++) {
            const float mean = sum[c] * share;
            const float x = a[c] - mean;
            const float y = b[c] - mean;
            squares[c] += x * x + y * y;
        }
    }
    for (; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++) {
            const float x = src[p * channels + c] - sum[c] * share;
            squares[c] += x * x;
        }
    }
}

INLINE void
finish_as(float *restrict dst, const float *restrict grad, const tl_gradient *to,
          const float *restrict stored, float *restrict sums, size_t pixels, size_t channels,
          const bool adds, const bool normed, const tl_function function)
{
    const float *restrict mean = to->view.mean;
    const float *restrict scale = to->view.scale;
    const float *restrict shift = to->view.shift;
    float *restrict products = sums + channels;
    for (size_t p = 0; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++) {
            float g = adds ? dst[c] + grad[c] : grad[c];
            const float centred = normed ? stored[c] - mean[c] : stored[c];
            if (function != TL_LINEAR) {
                const float y = normed ? centred * scale[c] + shift[c] : centred;
                g = y > 0 ? g : 0;
                if (function == TL_RELU6) {
                    g = y < 6 ? g : 0;
                }
            }
            dst[c] = g;
            if (normed) {
                sums[c] += g;
                products[c] += g * centred;
            }
        }
        dst += channels;
        grad += channels;
        stored += channels;
    }
}

#define FINISH(adds, normed)                                                                   \
    switch (to->view.function) {                                                               \
    case TL_RELU:                                                                              \
        finish_as(dst, grad, to, stored, sums, pixels, channels, adds, normed, TL_RELU);       \
        break;                                                                                 \
    case TL_RELU6:                                                                             \
        finish_as(dst, grad, to, stored, sums, pixels, channels, adds, normed, TL_RELU6);      \
        break;                                                                                 \
    default:                                                                                   \
        finish_as(dst, grad, to, stored, sums, pixels, channels, adds, normed, TL_LINEAR);     \
        break;                                                                                 \
    }

static TARGET void
finish_gradient(float *dst, const float *grad, const tl_gradient *to, const float *stored,
                float *sums, size_t pixels, size_t channels)
{
    if (to->view.mean != NULL && to->adds) {
        FINISH(true, true)
    } else if (to->view.mean != NULL) {
        FINISH(false, true)
    } else if (to->adds) {
        FINISH(true, false)
    } else {
        FINISH(false, false)
    }
}

static TARGET void
inner_gradient(float *restrict dst, const tl_inner *from, size_t pixels, size_t channels)
{
    const float *restrict gradient = from->gradient;
    const float *restrict data = from->data;
    const float *restrict mean = from->mean;
    const float *restrict scale = from->scale;
    const float *restrict offset = from->offset;
    const float *restrict slope = from->slope;
    for (size_t p = 0; p < pixels; p++) {
        if (offset == NULL) {
            for (size_t c = 0; c < channels; c++) {
                dst[c] = gradient[c] * scale[c];
            }
        } else {
            for (size_t c = 0; c < channels; c++) {
                dst[c] = gradient[c] * scale[c] - offset[c] - (data[c] - mean[c]) * slope[c];
            }
        }
        dst += channels;
        gradient += channels;
        data += channels;
    }
}
