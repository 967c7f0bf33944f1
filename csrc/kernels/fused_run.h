/* What a planned fused block does: packs its weights and runs. fused.c offers both to the core.
 */
#ifndef TL_KERNELS_FUSED_RUN_H
#define TL_KERNELS_FUSED_RUN_H

#include "kernels/fused_plan.h"

/* See core/ops.h. The kernel's state is a tl_fused. */
tl_status tl_fused_pack(const tl_kernel *kernel, const tl_block *block, void *packed,
                        const float *const *weights, const float *const *biases);

/* The whole block, or the units of a phase that `work` names. TL_BAD_VALUE for NaN or infinity
 * in the source, where that is asked for; everything is computed all the same. */
tl_status tl_fused_forward(const tl_kernel *kernel, const float *packed, float *scratch,
                           const tl_work *work);

#endif
