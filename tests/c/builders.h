/* Small networks with random weights, for the test programs. */
#ifndef TL_TESTS_BUILDERS_H
#define TL_TESTS_BUILDERS_H

#include "core/network.h"

/* Appends a node behind `input` (and `second`, if not TL_NONE) and returns its index. */
tl_status add_node(tl_graph *graph, size_t *id, tl_node node, const char *name, size_t input,
                   size_t second);

/* One group of parameters for the whole graph, filled with numbers of either sign; moving
 * variances are positive. */
tl_status random_parameters(tl_parameters **out, const tl_graph *graph, unsigned seed);

/* count numbers from -1 to 1. */
void random_numbers(float *dst, size_t count, unsigned seed);

/* stem, one inverted residual with padding, one with an add, pooling, dense, softmax. */
tl_status small_graph(tl_graph **out, size_t height, size_t width);

#endif
