/* What the fused kernels take, and how a block is laid out and cut: sizes, tiles, panels.
 *
 * A fused block is up to three stages, of which any but one may be missing:
 *
 *   produce     a convolution whose rows of outputs (the middle) stay in a small ring
 *   depthwise   3 x 3, stride 1 or 2, over the ring
 *   project     a 1 x 1 convolution, with a residual, of what the depthwise made
 *
 * An inverted residual has all three; the stem with the first depthwise and project is one too;
 * a depthwise convolution alone copies its input into the ring. A 1 x 1 convolution alone is a
 * project of its source, and may be averaged over all pixels behind its activation. */
#ifndef TL_KERNELS_FUSED_PLAN_H
#define TL_KERNELS_FUSED_PLAN_H

#include "core/ops.h"
#include "kernels/micro.h"

/* How output channels are cut into panels: all of `vectors` but the last. */
typedef struct tl_panels {
    size_t channels;
    size_t vectors; /* of a panel */
    size_t count;
    size_t padded; /* channels, in whole vectors but for those of pairs */
    size_t paired; /* channels of the last panel if it is one of pairs (see micro.h), or 0 */
} tl_panels;

/* A row in memory with what surrounds it. */
typedef struct tl_edge {
    size_t top, left;
    size_t width;  /* pixels with both edges */
    size_t height; /* rows that exist */
    size_t inner;  /* pixels that exist, from `left` on */
} tl_edge;

enum { TL_GROUP = 14 }; /* pixels: of the largest tile */

typedef struct tl_fused {
    const tl_micro *micro;
    const tl_step *produce; /* NULL where missing; views of the block's steps */
    const tl_step *depthwise;
    const tl_step *project;
    bool pools;

    tl_edge in;         /* of the source, for a producer that cannot read it where it lies */
    bool edged;         /* it cannot */
    tl_edge mid;        /* of the ring */
    size_t in_channels; /* of the source */
    size_t in_width;
    size_t out_width, out_height, out_channels;
    tl_panels middle; /* channels of the ring */
    tl_panels out;    /* channels of dst */
    size_t depth;     /* channels that the project sums up */

    /* A tile is so many rows of outputs. In one tile the whole image is done chunk after chunk
     * of the middle channels, and the ring holds one panel; else the ring holds all of them. */
    bool by_chunks;
    size_t tile_rows;
    size_t tile_stride;  /* floats from pixel to pixel of a tile */
    size_t slots;        /* rows in the ring */
    size_t in_slots;     /* rows of the source that are copied in */
    size_t ring_panels;  /* panels in the ring: one where all its rows are done at once */
    size_t chunk_panels; /* panels of the middle that are projected at once */

    /* floats in scratch */
    size_t in_rows_at, ring_at, zeros_at, tile_at, scratch_floats;
    /* floats in what is packed */
    size_t produce_at, produce_bias_at, depthwise_at, depthwise_bias_at, project_at,
        project_bias_at, packed_floats;
} tl_fused;

/* How many steps of the chain are one fused block, whatever the table says; 0: none. */
size_t tl_fused_match(const tl_block *chain);

/* TL_UNSUPPORTED where a size does not fit. `block` must match and live as long. */
tl_status tl_fused_plan(tl_fused *plan, const tl_block *block, const tl_micro *micro);

/* The best micro-kernels that this CPU may use. */
const tl_micro *tl_fused_micro(void);

static inline bool
tl_panel_is_paired(const tl_panels *panels, size_t panel)
{
    return panels->paired > 0 && panel + 1 == panels->count;
}

/* Channels of the panel, with those that only fill up its last vector. */
static inline size_t
tl_panel_channels(const tl_panels *panels, size_t panel, size_t width)
{
    const size_t whole = panels->vectors * width;
    const size_t left = panels->padded - panel * whole;
    return left < whole ? left : whole;
}

/* Vectors of the panel, which is the last one or not. */
static inline size_t
tl_panel_vectors(const tl_panels *panels, size_t panel, size_t width)
{
    return tl_panel_is_paired(panels, panel) ? 2 * panels->paired / width
                                             : tl_panel_channels(panels, panel, width) / width;
}

/* Floats of a pixel of a panel of the middle. */
static inline size_t
tl_fused_panel_floats(const tl_fused *p)
{
    return p->micro->widest_panel * p->micro->width;
}

/* Rows of the middle that outputs before `row` need. */
static inline size_t
tl_fused_needed_rows(const tl_fused *p, size_t row)
{
    const size_t end = row == 0 ? 0 : (row - 1) * p->depthwise->strides[0] + 3;
    const size_t inside = end < p->mid.top ? 0 : end - p->mid.top;
    return inside < p->mid.height ? inside : p->mid.height;
}

/* The first row of the middle that the output row reads. */
static inline size_t
tl_fused_first_row(const tl_fused *p, size_t row)
{
    const size_t at = row * p->depthwise->strides[0];
    return at < p->mid.top ? 0 : at - p->mid.top;
}

/* Groups of pixels of dst: what goes to one thread at a time where chunks are shared out. */
static inline size_t
tl_fused_groups(const tl_fused *p)
{
    return (p->out_height * p->out_width + TL_GROUP - 1) / TL_GROUP;
}

#endif
