/* Looks a block up in choices.inc, which benchmarks/bench_layers.py --write makes. */
#include "kernels/choices.h"

typedef struct row {
    tl_isa isa;
    tl_pattern pattern;
    size_t height, in, middle, out, stride; /* of the source; middle 0: there is none */
    tl_choice choice;
} row;

/* The last row ends the table: no picture has height 0. */
static const row rows[] = {
#include "kernels/choices.inc"
    {TL_ISA_BASELINE, TL_PATTERN_STEM, 0, 0, 0, 0, 0, TL_CHOICE_FUSED},
};

static row
describe(tl_isa isa, const tl_block *block)
{
    const tl_step *first = &block->steps[0];
    const tl_step *last = &block->steps[block->count - 1];
    const bool depthwise_first = first->kind == TL_STEP_DEPTHWISE_CONV2D;
    const bool widened = first->kernel[0] > 1 && !depthwise_first; /* a stem */
    row r = {.isa = isa, .height = first->src_shape.dims[0], .stride = 1};
    r.in = tl_shape_channels(&first->src_shape);
    r.out = tl_shape_channels(&last->dst_shape);
    for (size_t i = 0; i < block->count; i++) {
        r.stride *= block->steps[i].strides[0];
    }
    if (last->kind == TL_STEP_GLOBAL_AVERAGE_POOLING2D) {
        r.pattern = TL_PATTERN_POOLED;
    } else if (block->count == 1) {
        r.pattern = depthwise_first ? TL_PATTERN_DEPTHWISE
                    : widened       ? TL_PATTERN_STEM
                                    : TL_PATTERN_POINTWISE;
    } else {
        r.middle = tl_shape_channels(&first->dst_shape);
        r.pattern = depthwise_first                ? TL_PATTERN_SEPARABLE
                    : last->kind != TL_STEP_CONV2D ? TL_PATTERN_DEPTHWISE
                    : widened                      ? TL_PATTERN_STEM_BLOCK
                                                   : TL_PATTERN_INVERTED_RESIDUAL;
    }
    return r;
}

/* What most inverted residuals got that were measured on this instruction set. */
static tl_choice
usual_choice(tl_isa isa)
{
    size_t counts[TL_CHOICE_ONEDNN + 1] = {0};
    tl_choice most = TL_CHOICE_FUSED;
    for (const row *known = rows; known->height > 0; known++) {
        counts[known->choice] +=
            known->isa == isa && known->pattern == TL_PATTERN_INVERTED_RESIDUAL;
    }
    for (tl_choice choice = TL_CHOICE_FUSED; choice <= TL_CHOICE_ONEDNN; choice++) {
        most = counts[choice] > counts[most] ? choice : most;
    }
    return most;
}

tl_choice
tl_choose(tl_isa isa, const tl_block *block)
{
    const row r = describe(isa, block);
    for (const row *known = rows; known->height > 0; known++) {
        if (known->isa == r.isa && known->pattern == r.pattern && known->height == r.height &&
            known->in == r.in && known->middle == r.middle && known->out == r.out &&
            known->stride == r.stride) {
            return known->choice;
        }
    }
    return usual_choice(r.isa);
}
