/* What a graph computes, node by node in double, straight from the attributes: no lowering, no
 * folding, no step, no padding or shape arithmetic of the product. The oracle of random graphs.
 *
 * Beside every number goes an estimate of how far float32 may be off from it, in units of
 * 2^-24: rounding errors of one sum are taken as independent, those of one channel as equal. So
 * a tolerance follows from the numbers themselves, also where they cancel or a relu drops them.
 */
#ifndef TL_TESTS_NAIVE_GRAPH_H
#define TL_TESTS_NAIVE_GRAPH_H

#include "core/loss.h"
#include "core/network.h"

/* The graph's parameters in double, in the graph's order. One block: free with tl_free. */
tl_status naive_params(double ***out, const tl_parameters *parameters);

/* Shape of the node's value by Keras's rules, from the shapes of its inputs; false where Keras
 * or tlcore's documented limits refuse the node. */
bool naive_shape(tl_shape *shape, const tl_graph *graph, const tl_node *node);

/* Whether the value of `stop` is a function of the value of `start`. */
bool naive_reaches(const tl_graph *graph, size_t start, size_t stop);

/* How dropout falls in training; NULL: inference. The masks are those of core/random.h. */
typedef struct naive_dropout {
    uint64_t seed, iteration;
    size_t row;
} naive_dropout;

/* x, error (elements of stop; error may be NULL) <- one image's value at `stop`. */
tl_status naive_run(double *x, double *error, const tl_graph *graph, double *const *params,
                    const float *src, size_t start, size_t stop, const naive_dropout *dropout);

/* One row's loss, and whether a clip or a rounding near one decides about it. */
double naive_loss(const tl_loss *loss, const double *outputs, const float *targets, size_t cols,
                  bool *clipped);

#endif
