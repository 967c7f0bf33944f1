/* The stages of a fused block and the memory between them, for fused_walk.c, which decides in
 * what order they run. */
#ifndef TL_KERNELS_FUSED_STAGES_H
#define TL_KERNELS_FUSED_STAGES_H

#include "kernels/fused_plan.h"

/* Where a ring's rows lie: row i in slot i % slots, without a division for each. */
typedef struct tl_turn {
    size_t row, slot; /* the first row of those that are in use, and its slot */
} tl_turn;

static inline tl_turn
tl_turn_to(size_t row, size_t slots)
{
    return (tl_turn){row, row % slots};
}

typedef struct tl_fused_run {
    const tl_fused *p;
    const float *packed;
    float *scratch;
    const tl_work *work;
    size_t chunk;   /* first panel of the middle that lies in the ring */
    size_t in_have; /* rows of the source before this one need not be copied in again */
    tl_turn in, ring;
    bool finite; /* what has been copied in */
} tl_fused_run;

/* Weights that the thread reads next, brought near while it computes: a network's do not fit
 * into a core's cache, and each image reads all of them. {0}: they are near already. */
typedef struct tl_soon {
    const float *at;
    size_t bytes;
} tl_soon;

/* Of a panel of the producer. */
tl_soon tl_fused_produce_weights(const tl_fused_run *r, size_t panel);

/* Of a panel of outputs: channels [k, k + depth) of the middle. */
tl_soon tl_fused_project_weights(const tl_fused_run *r, size_t panel, size_t k, size_t depth);

/* What lies behind this block's: another block's. */
tl_soon tl_fused_next_weights(const tl_fused_run *r);

/* What rows [from, to) of the middle need of the source and do not have yet. */
void tl_fused_copy_rows_in(tl_fused_run *r, size_t from, size_t to);

/* Where the producer's job for a row of the middle finds its source. */
void tl_fused_find_source(const tl_fused_run *r, tl_panel_job *job, size_t row);

/* What all panels of the producer have in common. */
tl_panel_job tl_fused_producing(const tl_fused_run *r);

/* One panel of the producer: `job` has source and destination. */
void tl_fused_produce_panel(const tl_fused_run *r, tl_panel_job *job, size_t panel);

/* The row above and below the source. */
void tl_fused_clear_row_of_zeros(const tl_fused_run *r);

/* What lies beside the rows, and the row above and below the picture. */
void tl_fused_clear_edges(const tl_fused_run *r);

/* Rows [from, to) of the middle, one panel. */
void tl_fused_fill_ring(const tl_fused_run *r, size_t panel, size_t from, size_t to,
                        tl_soon next);

/* One row of outputs of the depthwise convolution, one panel. */
void tl_fused_depthwise_row(const tl_fused_run *r, float *dst, size_t dst_stride,
                            size_t channels, size_t panel, size_t row);

/* What to project: pixels and panels of dst from some channels of the middle. */
typedef struct tl_projection {
    const float *src; /* the first pixel's channel k */
    size_t src_stride;
    size_t k, depth; /* channels [k, k + depth) of all; the first ones start from the bias */
    size_t first, pixels;
    size_t begin, end; /* panels */
    tl_soon then;      /* is read next */
} tl_projection;

void tl_fused_project(const tl_fused_run *r, const tl_projection *what);

#endif
