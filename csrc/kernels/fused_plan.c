/* Patterns, panels, tiles and the layout of scratch and weights. */
#include "kernels/fused_plan.h"

enum {
    PICTURE_CHANNELS = 4, /* more than these are no picture: oneDNN's convolutions take over */
    LARGEST_PAD = 3,
    LARGEST_VALUE = 40, /* numbers of a value: a power of two */
};

/* --- patterns --------------------------------------------------------------------------- */

static bool
fits_activation(const tl_step *step)
{
    return step->function == TL_LINEAR || step->function == TL_RELU ||
           step->function == TL_RELU6;
}

static bool
is_pointwise(const tl_step *step)
{
    const tl_padding *p = &step->padding;
    return step->kind == TL_STEP_CONV2D && fits_activation(step) && step->kernel[0] == 1 &&
           step->kernel[1] == 1 && step->strides[0] == 1 && step->strides[1] == 1 &&
           p->top + p->bottom + p->left + p->right == 0;
}

static bool
is_narrow(const tl_padding *p)
{
    return p->top <= LARGEST_PAD && p->bottom <= LARGEST_PAD && p->left <= LARGEST_PAD &&
           p->right <= LARGEST_PAD;
}

/* A convolution of pictures, as a network begins. */
static bool
is_stem(const tl_step *step)
{
    return step->kind == TL_STEP_CONV2D && fits_activation(step) && !step->has_residual &&
           tl_shape_channels(&step->src_shape) <= PICTURE_CHANNELS &&
           step->kernel[0] <= TL_MAX_SEGMENTS && step->kernel[1] <= TL_MAX_SEGMENTS &&
           is_narrow(&step->padding);
}

static bool
is_depthwise(const tl_step *step)
{
    return step->kind == TL_STEP_DEPTHWISE_CONV2D && fits_activation(step) &&
           step->kernel[0] == 3 && step->kernel[1] == 3 && step->strides[0] <= 2 &&
           step->strides[0] == step->strides[1] && is_narrow(&step->padding);
}

size_t
tl_fused_match(const tl_block *chain)
{
    const tl_step *steps = chain->steps;
    const size_t count = chain->count;
    const bool produces =
        is_stem(&steps[0]) || (is_pointwise(&steps[0]) && !steps[0].has_residual);
    const size_t depthwise = produces && count > 1 && is_depthwise(&steps[1]) ? 1 : 0;
    if (depthwise == 1 || is_depthwise(&steps[0])) {
        const bool projects = count > depthwise + 1 && is_pointwise(&steps[depthwise + 1]);
        return depthwise + 1 + projects;
    }
    if (is_pointwise(&steps[0])) {
        const bool pools = count > 1 && steps[1].kind == TL_STEP_GLOBAL_AVERAGE_POOLING2D &&
                           !steps[0].has_residual;
        return 1 + pools;
    }
    return is_stem(&steps[0]) ? 1 : 0;
}

const tl_micro *
tl_fused_micro(void)
{
    switch (tl_cpu_isa()) {
#if defined(__x86_64__)
    case TL_ISA_AVX512:
        return &tl_micro_avx512;
    case TL_ISA_AVX2:
        return &tl_micro_avx2;
#endif
    default:
        return &tl_micro_portable;
    }
}

/* --- panels ----------------------------------------------------------------------------- */

static tl_panels
cut(size_t channels, size_t vectors, const tl_micro *micro)
{
    const size_t all = (channels + micro->width - 1) / micro->width;
    return (tl_panels){channels, vectors, (all + vectors - 1) / vectors, all * micro->width, 0};
}

/* The widest panel that cuts the channels evenly, if there is one of more than a vector. */
static tl_panels
cut_evenly(size_t channels, const tl_micro *micro)
{
    const size_t all = (channels + micro->width - 1) / micro->width;
    const size_t widest = all < micro->widest_panel ? all : micro->widest_panel;
    for (size_t vectors = widest; vectors > 1; vectors--) {
        if (all % vectors == 0) {
            return cut(channels, vectors, micro);
        }
    }
    return cut(channels, widest, micro);
}

/* Panels of two vectors, and one of pairs for the rest where halves of a vector are left. */
static bool
cut_pairs(tl_panels *panels, size_t channels, size_t depth, const tl_micro *micro)
{
    const size_t whole = 2 * micro->width;
    const size_t rest = channels % whole;
    if (micro->multiply_pairs == NULL || rest == 0 || rest % (micro->width / 2) != 0 ||
        depth % 2 != 0) {
        return false;
    }
    *panels = (tl_panels){channels, 2, channels / whole + 1, channels, rest};
    return true;
}

/* --- tiles ------------------------------------------------------------------------------ */

static size_t
smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t
larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static tl_edge
edge_of(const tl_step *step)
{
    const size_t inner = step->src_shape.dims[1];
    const size_t reach = (step->dst_shape.dims[1] - 1) * step->strides[1] + step->kernel[1];
    return (tl_edge){
        .top = step->padding.top,
        .left = step->padding.left,
        .width = larger(step->padding.left + inner, reach),
        .height = step->src_shape.dims[0],
        .inner = inner,
    };
}

/* In floats. */
enum {
    TILE = 24 * 1024,      /* that project finds in the second cache level */
    ONE_PANEL = 96 * 1024, /* of a ring for all rows of one panel, at most */
    WEIGHTS = 64 * 1024,   /* more than these are read once, not again for each tile */
    CHUNK = 192,           /* channels: so deep that loading and storing sums costs little */
};

static void
choose_tiles(tl_fused *p)
{
    const size_t stride = p->depthwise->strides[0];
    const size_t row = p->out_width * p->middle.padded;
    const size_t panel = p->middle.vectors * p->micro->width;
    const size_t rows = smaller(larger(TILE / row, 1), p->out_height);
    const size_t depth = p->produce == NULL ? 0 : p->in_channels;

    p->by_chunks = !p->edged && p->project != NULL && p->middle.count > 1 &&
                   p->mid.width * panel * p->mid.height <= ONE_PANEL &&
                   p->middle.channels * (depth + p->out_channels) > WEIGHTS;
    if (p->by_chunks) {
        p->ring_panels = 1;
        p->chunk_panels = smaller(larger(CHUNK / panel, 1), p->middle.count);
        p->tile_rows = p->out_height;
        p->slots = p->mid.height;
    } else {
        p->ring_panels = p->middle.count;
        p->chunk_panels = p->middle.count;
        p->tile_rows = rows;
        p->slots = (rows - 1) * stride + 3;
    }
    p->tile_stride = p->chunk_panels * panel;
}

/* --- the plan --------------------------------------------------------------------------- */

static tl_status
reserve(size_t *total, size_t *at, size_t a, size_t b, size_t c)
{
    size_t product;
    tl_status status = tl_multiply(&product, a, b);
    if (status == TL_OK) {
        status = tl_multiply(&product, product, c);
    }
    if (status == TL_OK && (product > SIZE_MAX / 64 || *total > SIZE_MAX / 64)) {
        status = tl_fail(TL_OUT_OF_MEMORY, "a plan of more than 2^58 numbers");
    }
    if (status == TL_OK) {
        *at = *total;
        *total += (product + 15) / 16 * 16; /* 64 bytes */
    }
    return status;
}

static tl_status
lay_out_scratch(tl_fused *p)
{
    tl_status status = TL_OK;
    const size_t panel = p->middle.vectors * p->micro->width;
    size_t *total = &p->scratch_floats;
    if (p->edged) {
        /* one row more: that of zeros */
        TL_TRY(reserve(total, &p->in_rows_at, p->in_slots + 1, p->in.width, p->in_channels));
    }
    if (p->depthwise != NULL) {
        TL_TRY(reserve(total, &p->ring_at, p->ring_panels * p->slots, p->mid.width, panel));
        TL_TRY(reserve(total, &p->zeros_at, 1, p->mid.width, panel));
        TL_TRY(reserve(total, &p->tile_at, p->tile_rows, p->out_width, p->tile_stride));
    }
    if (p->pools) {
        TL_TRY(reserve(total, &p->tile_at, p->out_height, p->out_width,
                       p->out.vectors * p->micro->width));
    }
done:
    return status;
}

static tl_status
lay_out_weights(tl_fused *p)
{
    tl_status status = TL_OK;
    size_t *total = &p->packed_floats;
    if (p->produce != NULL) {
        TL_TRY(reserve(total, &p->produce_at, p->produce->kernel[0] * p->produce->kernel[1],
                       p->in_channels, p->middle.padded));
        TL_TRY(reserve(total, &p->produce_bias_at, 1, 1, p->middle.padded));
    }
    if (p->depthwise != NULL) {
        const size_t panel = p->middle.vectors * p->micro->width;
        TL_TRY(reserve(total, &p->depthwise_at, 9, p->middle.count, panel));
        TL_TRY(reserve(total, &p->depthwise_bias_at, 1, p->middle.count, panel));
    }
    if (p->project != NULL) {
        TL_TRY(reserve(total, &p->project_at, 1, p->depth, p->out.padded));
        TL_TRY(reserve(total, &p->project_bias_at, 1, 1, p->out.padded + p->out.paired));
    }
done:
    return status;
}

/* So that a product with a panel or a kernel cannot overflow. */
static tl_status
check_sizes(const tl_block *block)
{
    for (size_t i = 0; i < block->count; i++) {
        const tl_step *step = &block->steps[i];
        if (tl_shape_elements(&step->src_shape) >> LARGEST_VALUE > 0 ||
            tl_shape_elements(&step->dst_shape) >> LARGEST_VALUE > 0) {
            return tl_fail(TL_OUT_OF_MEMORY, "a value of more than 2^%d numbers",
                           LARGEST_VALUE);
        }
    }
    return TL_OK;
}

/* Which step is which stage. */
static void
name_stages(tl_fused *p, const tl_block *block)
{
    const tl_step *steps = block->steps;
    for (size_t i = 0; i < block->count; i++) {
        if (steps[i].kind == TL_STEP_DEPTHWISE_CONV2D) {
            p->depthwise = &steps[i];
        } else if (steps[i].kind == TL_STEP_GLOBAL_AVERAGE_POOLING2D) {
            p->pools = true;
        } else if (i == 0 && (block->count > 1 || !is_pointwise(&steps[0])) &&
                   !(block->count > 1 && steps[1].kind == TL_STEP_GLOBAL_AVERAGE_POOLING2D)) {
            p->produce = &steps[i];
        } else {
            p->project = &steps[i];
        }
    }
}

tl_status
tl_fused_plan(tl_fused *plan, const tl_block *block, const tl_micro *micro)
{
    tl_status status = TL_OK;
    tl_fused p = {.micro = micro};
    TL_TRY(check_sizes(block));
    name_stages(&p, block);
    const tl_step *first = &block->steps[0];
    const tl_step *last = p.project != NULL     ? p.project
                          : p.depthwise != NULL ? p.depthwise
                                                : p.produce;
    p.in_channels = tl_shape_channels(&first->src_shape);
    p.in_width = first->src_shape.dims[1];
    p.out_height = last->dst_shape.dims[0];
    p.out_width = last->dst_shape.dims[1];
    p.out_channels = last->dst_shape.dims[2];
    if (p.produce != NULL) {
        p.in = edge_of(p.produce);
        p.edged = !is_pointwise(p.produce);
        p.middle = cut(tl_shape_channels(&p.produce->dst_shape), micro->widest_panel, micro);
    }
    if (p.depthwise != NULL) {
        p.mid = edge_of(p.depthwise);
        p.middle = cut(tl_shape_channels(&p.depthwise->dst_shape), micro->widest_panel, micro);
        choose_tiles(&p);
    }
    if (p.project != NULL) {
        p.depth = tl_shape_channels(&p.project->src_shape);
        /* Pairs cannot take up a sum that rests in dst. */
        if (p.by_chunks || p.pools || !cut_pairs(&p.out, p.out_channels, p.depth, micro)) {
            p.out = cut_evenly(p.out_channels, micro);
        }
    }
    if (p.edged) {
        const size_t rows = p.depthwise != NULL ? p.slots : 1; /* of the middle, at once */
        p.in_slots = smaller((rows - 1) * p.produce->strides[0] + p.produce->kernel[0],
                             p.in.top + p.in.height);
    }
    TL_TRY(lay_out_scratch(&p));
    TL_TRY(lay_out_weights(&p));
    *plan = p;
done:
    return status;
}
