/* The innermost loops, once for each instruction set: what fused_stages.c and fused_walk.c call
 * for a row or a panel. docs/kernels.md explains their blocking.
 *
 * Results are a function of a pixel alone: however many pixels a call is given, and wherever it
 * cuts them into tiles, each output is the same chain of multiply-adds in the same order. */
#ifndef TL_KERNELS_MICRO_H
#define TL_KERNELS_MICRO_H

#include <stdbool.h>
#include <stddef.h>

#include "core/cpu.h"
#include "core/train_ops.h"

enum {
    TL_MAX_SEGMENTS = 7, /* rows of a kernel */
    TL_MAX_PANEL = 3,    /* vectors of a panel */
};

/* dst[p, c] <- function(bias[c] + sum over s, k of src[s][p, k] weights[s, k, c]) + residual */
typedef struct tl_panel_job {
    float *dst;
    size_t dst_stride; /* floats from pixel to pixel */
    const float *src[TL_MAX_SEGMENTS];
    size_t segments;
    size_t src_stride;
    size_t depth;         /* of a segment; more than src_stride where pixels overlap */
    const float *weights; /* a panel: (segments, depth, vectors * width) */
    size_t vectors;       /* 1 to TL_MAX_PANEL */
    size_t channels;      /* of the panel that dst has: at most vectors * width */
    size_t pixels;
    const float *bias;     /* vectors * width; NULL: dst is added to */
    const float *residual; /* as dst, or NULL */
    tl_function function;  /* linear, relu or relu6 */
    const float *next;     /* what is read soon, brought near meanwhile */
    size_t next_bytes;
} tl_panel_job;

/* dst[p, c] <- function(bias[c] + sum over i, j of src[i][p * stride + j, c] weights[i, j, c])
 * for a 3 x 3 kernel. */
typedef struct tl_depthwise_job {
    float *dst;
    size_t dst_stride;
    const float *src[3]; /* rows of panels: the left neighbour of the first pixel comes first */
    size_t stride;       /* 1 or 2 */
    const float *weights; /* (3, 3, panel) */
    const float *bias;    /* (panel) */
    size_t vectors;       /* of the panel */
    size_t channels;      /* that dst has: at most vectors * width */
    size_t pixels;
    tl_function function;
} tl_depthwise_job;

/* What training does to pixels in a row: (pixels, channels) without gaps, and arrays of one
 * number a channel. */
typedef struct tl_outer_job { /* dst[m, n] += sum over p of a[p, m] b[p, n] */
    float *dst;
    size_t dst_stride;
    const float *a;
    size_t a_stride;
    size_t rows; /* m */
    const float *b;
    size_t b_stride;
    size_t cols; /* n */
    size_t depth;
} tl_outer_job;

enum { TL_MAX_TAPS = 32 };

/* dst[p, c] <- function(bias[c] or dst[p, c] + sum over t of src[t][p, c] weights[t][c]) */
typedef struct tl_taps_job {
    float *dst;
    size_t dst_stride;
    const float *src[TL_MAX_TAPS];
    const float *weights[TL_MAX_TAPS];
    size_t taps;
    size_t src_stride;
    const float *bias;    /* NULL: dst is added to */
    tl_function function; /* linear, relu or relu6, of the sum */
    size_t pixels;
    size_t channels;
} tl_taps_job;

/* sums[t][c] += sum over p of src[t][p, c] grad[p, c] */
typedef struct tl_tap_sums_job {
    float *sums[TL_MAX_TAPS];
    const float *src[TL_MAX_TAPS];
    size_t taps;
    size_t src_stride;
    const float *grad; /* (pixels, channels) */
    size_t pixels;
    size_t channels;
} tl_tap_sums_job;

/* multiply_pairs does the same for a panel of half vectors: even lanes sum up what even inputs
 * give, odd ones what odd inputs give, and both are added at the end. So no lane is idle, and
 * an input is read with its neighbour. `vectors` is 1, 2 or 3, twice those of the channels,
 * `depth` even, `weights` (depth / 2, channels, 2) and `bias` (channels, 2), with 0 for the odd
 * lanes; there is always a bias. */
typedef struct tl_micro {
    tl_isa isa;
    size_t width;        /* floats in a vector */
    size_t widest_panel; /* vectors of a panel, at most; what depthwise calls a panel */
    void (*multiply)(const tl_panel_job *job);
    void (*multiply_pairs)(const tl_panel_job *job); /* NULL where nothing is won */
    void (*depthwise)(const tl_depthwise_job *job);
    bool (*copy)(float *dst, const float *src, size_t count); /* whether all are finite */

    void (*outer)(const tl_outer_job *job);
    void (*taps)(const tl_taps_job *job);
    void (*tap_sums)(const tl_tap_sums_job *job);
    void (*load)(float *dst, const tl_view *src, size_t pixels, size_t channels);
    /* sum[c] and, about that mean, squares[c] of a tile */
    void (*moments)(float *sum, float *squares, const float *src, size_t pixels,
                    size_t channels);
    /* dst <- the finished gradient; adds to sums (2, channels), or NULL */
    void (*finish)(float *dst, const float *grad, const tl_gradient *to, const float *stored,
                   float *sums, size_t pixels, size_t channels);
    void (*inner)(float *dst, const tl_inner *from, size_t pixels, size_t channels);
    void (*add_up)(float *sums, const float *src, size_t pixels, size_t channels);
} tl_micro;

extern const tl_micro tl_micro_avx512;
extern const tl_micro tl_micro_avx2;
extern const tl_micro tl_micro_portable;

#endif
