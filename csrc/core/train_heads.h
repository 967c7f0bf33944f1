/* Forward and backward of every layer that is not a convolution, over some rows of a batch. */
#ifndef TL_CORE_TRAIN_HEADS_H
#define TL_CORE_TRAIN_HEADS_H

#include <stdint.h>

#include "core/graph.h"
#include "core/ops.h"

typedef struct tl_head {
    const tl_graph *graph;
    const tl_node *node;
    tl_gemm_function gemm;
    tl_resize_function resize;
    size_t rows;
    size_t first_row;                /* of the batch: dropout draws by place */
    uint64_t stream;                 /* of dropout */
    const float *src[TL_MAX_INPUTS]; /* (rows, shape of the input) */
    float *dst;                      /* (rows, shape of the node) */
    const float *kernel;             /* of a dense layer */
    const float *bias;               /* or NULL */
    /* backward: all of these are added to */
    const float *grad;              /* of dst */
    float *grad_src[TL_MAX_INPUTS]; /* or NULL */
    float *grad_kernel;             /* or NULL */
    float *grad_bias;               /* or NULL */
} tl_head;

/* TL_UNSUPPORTED names a node that cannot be trained through. */
tl_status tl_head_check(const tl_node *node, const tl_ops *ops);

tl_status tl_head_forward(const tl_head *head);
tl_status tl_head_backward(const tl_head *head);

#endif
