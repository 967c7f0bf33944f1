/* The table of who runs a block: own kernels or oneDNN, by measurement. */
#ifndef TL_KERNELS_CHOICES_H
#define TL_KERNELS_CHOICES_H

#include "core/cpu.h"
#include "core/ops.h"

typedef enum tl_pattern {
    TL_PATTERN_STEM,              /* a convolution of pictures */
    TL_PATTERN_STEM_BLOCK,        /* the same, depthwise, project */
    TL_PATTERN_INVERTED_RESIDUAL, /* expand, depthwise, project */
    TL_PATTERN_SEPARABLE,         /* depthwise, project */
    TL_PATTERN_DEPTHWISE,         /* with or without an expansion, but nothing behind */
    TL_PATTERN_POINTWISE,         /* a 1 x 1 convolution */
    TL_PATTERN_POOLED             /* the same, averaged over all pixels */
} tl_pattern;

typedef enum tl_choice { TL_CHOICE_FUSED, TL_CHOICE_SEPARATE, TL_CHOICE_ONEDNN } tl_choice;

/* The measured choice for a block that tl_fused_match found; for a shape that was not measured,
 * what most shapes got on this instruction set. */
tl_choice tl_choose(tl_isa isa, const tl_block *block);

#endif
