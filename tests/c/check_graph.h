/* What a random case must keep to. Each check returns NULL, or a sentence on what is broken;
 * *looked tells whether there was anything to look at. Used by libFuzzer, hypothesis and
 * test_random.c alike; every caller has opened oneDNN (tl_dnnl_open) before. */
#ifndef TL_TESTS_CHECK_GRAPH_H
#define TL_TESTS_CHECK_GRAPH_H

#include "core/network.h"
#include "random_graph.h"

typedef const char *(*case_check)(const random_case *c, bool *looked);

/* What building promised on the way, copies, and names. */
const char *check_building(const random_case *c, bool *looked);

/* tl_lower refuses what cannot be, and its list is in order and uses each parameter once. */
const char *check_lowering(const random_case *c, bool *looked);

/* tl_network_memory_plan answers for any shapes, also for those that no memory holds. */
const char *check_plan(const random_case *c, bool *looked);

/* The cut is the last node behind which all that trains or is random lies alone. */
const char *check_cut(const random_case *c, bool *looked);

/* From start to stop by the reference loops, by the product: equal to the naive graph; equal
 * bit for bit for every batch and number of threads; and through any node on the way. */
const char *check_reference(const random_case *c, bool *looked);
const char *check_product(const random_case *c, bool *looked);

/* Losses, outputs and gradients of the part behind the cut, against central differences, and
 * the weights and moving statistics behind a step. */
const char *check_training(const random_case *c, bool *looked);

/* The worst errors met so far, in units of what is allowed. */
typedef struct check_margins {
    double forward, gradient, output, statistics;
    double allowed; /* the most that was allowed of a gradient, over the largest */
} check_margins;
extern check_margins worst_margins;

#endif
