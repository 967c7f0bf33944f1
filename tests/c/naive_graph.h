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

/* How a step of training computes; NULL: inference. */
typedef struct naive_mode {
    uint64_t seed, iteration; /* of dropout, whose masks are those of core/random.h */
    size_t row;               /* of the batch: the first */
    /* One flag a parameter: a batch norm whose gamma is trained takes the statistics of the
     * rows. NULL: none is. */
    const bool *trainable;
    /* Where these statistics go, and the estimates of their errors: one array a parameter, of
     * which those of moving means and variances are filled. Both or none. */
    double *const *statistics;
    double *const *statistics_errors;
    /* Not 0: every value is off by about its own estimated rounding, at random, the same each
     * time. What comes of that is what float32 may make of it. */
    uint64_t noise;
} naive_mode;

/* x, error (rows, elements of stop; error may be NULL) <- the values of `rows` images at
 * `stop`. */
tl_status naive_run(double *x, double *error, const tl_graph *graph, double *const *params,
                    const float *src, size_t rows, size_t start, size_t stop,
                    const naive_mode *mode);

/* One row's loss, and whether a clip or a rounding near one decides about it. */
double naive_loss(const tl_loss *loss, const double *outputs, const float *targets, size_t cols,
                  bool *clipped);

#endif
