/* Own kernels for the blocks that MobileNetV2 is made of, as a backend: what lies between the
 * stages of a block never leaves the first two cache levels. docs/kernels.md explains how. */
#ifndef TL_KERNELS_FUSED_H
#define TL_KERNELS_FUSED_H

#include "core/ops.h"

extern const tl_backend tl_fused_backend;

/* Who gets which block. "table": what benchmarks/bench_layers.py measured (choices.inc). The
 * others are for tests and that benchmark: "fused": these kernels wherever they can;
 * "separate": these kernels, a step at a time; "onednn": never. */
typedef enum tl_preference {
    TL_PREFER_TABLE,
    TL_PREFER_FUSED,
    TL_PREFER_SEPARATE,
    TL_PREFER_ONEDNN
} tl_preference;

/* For programs made from now on. False for a name that is none of the four. */
bool tl_fused_prefer(const char *name);

/* The name that was preferred last, a static string. */
const char *tl_fused_preferred(void);

#endif
