/* Graph -> list of steps: what inference runs, export writes and (later) quantisation reads.
 *
 * Batch norm is folded into the convolution or dense layer before it, ReLU and ReLU6 become
 * its activation, zero padding its padding, and a residual add its second input. What does
 * something in training only is not there. Only the structure is decided here; tl_step_fold()
 * computes the numbers whenever weights change. */
#ifndef TL_CORE_LOWER_H
#define TL_CORE_LOWER_H

#include <stdint.h>

#include "core/graph.h"

#define TL_NONE SIZE_MAX

typedef enum tl_step_kind {
    TL_STEP_CONV2D,
    TL_STEP_DEPTHWISE_CONV2D,
    TL_STEP_DENSE,
    TL_STEP_AFFINE, /* a batch norm with nothing before it to fold into */
    TL_STEP_ADD,
    TL_STEP_ACTIVATION,
    TL_STEP_ZERO_PADDING2D,
    TL_STEP_GLOBAL_AVERAGE_POOLING2D,
    TL_STEP_GLOBAL_MAX_POOLING2D,
    TL_STEP_FLATTEN,
    TL_STEP_CONCATENATE,
    TL_STEP_MAX_POOLING2D,
    TL_STEP_AVERAGE_POOLING2D,
    TL_STEP_RESCALING,
    TL_STEP_CROP, /* a part of a picture as it is */
    TL_STEP_RESIZING,
    TL_STEP_KIND_COUNT
} tl_step_kind;

typedef struct tl_step {
    tl_step_kind kind;
    size_t node;     /* the last graph node that it computes */
    size_t src;      /* step whose value it reads; TL_NONE: the value at `start` */
    size_t residual; /* second input of an add, or fused behind a convolution */
    bool has_residual;
    size_t others[TL_MAX_INPUTS - 1]; /* what a concatenate reads behind src, by steps */
    size_t other_channels[TL_MAX_INPUTS - 1];
    size_t other_count;
    tl_shape src_shape;
    tl_shape dst_shape;
    size_t kernel[2]; /* of a pooling its window */
    size_t strides[2];
    tl_padding padding;
    tl_region region; /* of a crop or a resizing: what it takes of the picture */
    union {
        tl_rescaling rescaling;
        tl_resizing resizing;
    };
    tl_function function; /* activation, applied last */
    /* indices of parameters in the graph, or TL_NONE */
    size_t kernel_param;
    size_t bias_param;
    size_t gamma_param; /* beta, moving_mean and moving_variance follow it */
    float epsilon;
} tl_step;

typedef struct tl_lowered {
    tl_step *steps;
    size_t count;
} tl_lowered;

/* Lowers the nodes that lead from the value of `start` to the value of `stop`.
 * TL_BAD_VALUE if `stop` does not depend on `start` alone. Empty where start == stop. */
tl_status tl_lower(tl_lowered **out, const tl_graph *graph, size_t start, size_t stop);
void tl_lowered_destroy(tl_lowered *lowered);

/* Elements of the folded kernel (HWIO, depthwise (h, w, c, 1), dense (in, out); for an affine
 * step the scale) and of the folded bias; 0 where the step has no weights. */
size_t tl_step_kernel_count(const tl_step *step);
size_t tl_step_bias_count(const tl_step *step);

/* kernel, bias <- the step's weights with batch norm folded in, computed in double.
 * `tensors[i]` is the data of the graph's i-th parameter. */
void tl_step_fold(const tl_step *step, float *kernel, float *bias, const float *const *tensors);

const char *tl_step_kind_name(tl_step_kind kind);

#endif
