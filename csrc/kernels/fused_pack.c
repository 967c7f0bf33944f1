/* Weights in the order in which the kernels read them: panel after panel of output channels. */
#include "kernels/fused_run.h"

#include <string.h>

/* Two rows at a time, their channels side by side; zeros where the second is missing. */
static void
pack_pairs(float *to, const float *from, size_t rows, size_t channels, size_t stride)
{
    for (size_t r = 0; r < rows; r += 2) {
        for (size_t c = 0; c < channels; c++) {
            *to++ = from[r * stride + c];
            *to++ = r + 1 < rows ? from[(r + 1) * stride + c] : 0;
        }
    }
}

/* (rows, channels) -> panels of (rows, vectors * width), zeros behind the last channel. Where
 * all panels are `even`, the last one is as wide as the others. */
static void
pack_panels(float *to, const float *from, size_t rows, const tl_panels *panels, size_t width,
            bool even)
{
    for (size_t panel = 0; panel < panels->count; panel++) {
        const size_t whole = panels->vectors * width;
        const size_t first = panel * whole;
        const size_t wide = even ? whole : tl_panel_channels(panels, panel, width);
        const size_t left = panels->channels - first;
        const size_t exist = left < wide ? left : wide;
        if (tl_panel_is_paired(panels, panel)) {
            pack_pairs(to, from + first, rows, exist, panels->channels);
            return;
        }
        for (size_t r = 0; r < rows; r++) {
            memcpy(to, from + r * panels->channels + first, exist * sizeof *to);
            memset(to + exist, 0, (wide - exist) * sizeof *to);
            to += wide;
        }
    }
}

tl_status
tl_fused_pack(const tl_kernel *kernel, const tl_block *block, void *packed,
              const float *const *weights, const float *const *biases)
{
    const tl_fused *p = kernel->state;
    const size_t width = p->micro->width;
    float *numbers = packed;
    for (size_t i = 0; i < block->count; i++) {
        const tl_step *step = &block->steps[i];
        if (step == p->produce) {
            pack_panels(numbers + p->produce_at, weights[i],
                        step->kernel[0] * step->kernel[1] * p->in_channels, &p->middle, width,
                        false);
            pack_panels(numbers + p->produce_bias_at, biases[i], 1, &p->middle, width, false);
        } else if (step == p->depthwise) {
            pack_panels(numbers + p->depthwise_at, weights[i], 9, &p->middle, width, true);
            pack_panels(numbers + p->depthwise_bias_at, biases[i], 1, &p->middle, width, true);
        } else if (step == p->project) {
            pack_panels(numbers + p->project_at, weights[i], p->depth, &p->out, width, false);
            pack_panels(numbers + p->project_bias_at, biases[i], 1, &p->out, width, false);
        }
    }
    return TL_OK;
}
