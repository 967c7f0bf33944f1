/* Keras's layers for pictures, by the code of csrc/image: as steps of inference, and as changes
 * at random in front of a training. */
#ifndef TL_KERNELS_PICTURES_H
#define TL_KERNELS_PICTURES_H

#include "core/graph.h"
#include "core/ops.h"

extern const tl_backend tl_pictures_backend;

/* A tl_resize_function. */
tl_status tl_pictures_resize(float *dst, const float *src, const tl_node *node,
                             const tl_shape *input, size_t rows, bool back);

/* dst (count, shape of the node) <- src (count, shape of its input), each picture changed by
 * its own TL_DRAWN of `numbers` (core/augmentation.h), one picture a thread. TL_BAD_VALUE where
 * the node is no random layer. */
tl_status tl_pictures_change(float *dst, const float *src, const tl_graph *graph, size_t node,
                             const float *numbers, size_t count);

#endif
