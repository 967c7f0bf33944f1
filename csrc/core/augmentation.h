/* The random numbers of layers that change pictures in training: what is drawn for each picture
 * of a batch. Who carries it out is kernels/pictures.h. */
#ifndef TL_CORE_AUGMENTATION_H
#define TL_CORE_AUGMENTATION_H

#include "core/graph.h"

/* How many numbers a picture gets; the rest are zeros:
 *
 *   flip                          1: flipped, 0: not
 *   rotation, zoom, translation   a0 a1 a2 b0 b1 b2 c0 c1: where a pixel (x, y) comes from,
 *                                 ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k) with
 *                                 k = c0 x + c1 y + 1
 *   contrast                      the factor
 *   brightness                    what is added
 *   crop                          top, left: of the whole batch the same */
enum { TL_DRAWN = 8 };

/* numbers (rows, TL_DRAWN) <- the draws for the `batch`-th batch of a training. They depend on
 * the layer's own seed, or `seed` if it has none, and the picture's place in the batch.
 * TL_BAD_VALUE where the node is no random layer. */
tl_status tl_augmentation_draw(float *numbers, const tl_graph *graph, size_t node,
                               uint64_t seed, uint64_t batch, size_t rows);

#endif
