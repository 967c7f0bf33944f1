/* Layers for pictures as nodes: checks, shapes, and which part of a picture they take. */
#ifndef TL_CORE_PICTURE_NODE_H
#define TL_CORE_PICTURE_NODE_H

#include "core/graph.h"

/* The shape of a rescaling's, resizing's, center_crop's or random layer's value. TL_BAD_VALUE
 * names the attribute that is not allowed. */
tl_status tl_picture_shape(tl_shape *shape, const tl_node *node, const tl_shape *input);

/* What a resizing, a center_crop or, in inference, a random_crop takes of a picture, to bring
 * it to its size. */
tl_region tl_picture_region(const tl_node *node, const tl_shape *input);

/* How it is brought to its size. */
tl_resizing tl_picture_resizing(const tl_node *node);

/* Whether the node is one of these three, and so draws nothing. */
bool tl_node_resizes(const tl_node *node);

/* What a random_crop takes in training that begins at `top` and `left`. */
tl_region tl_picture_cut_out(const tl_node *node, const tl_shape *input, size_t top,
                             size_t left);

const char *tl_interpolation_name(tl_interpolation interpolation);
bool tl_interpolation_from_name(tl_interpolation *interpolation, const char *name);
const char *tl_fill_mode_name(tl_fill_mode mode);
bool tl_fill_mode_from_name(tl_fill_mode *mode, const char *name);

#endif
