/* A second implementation of core/ops.h: naive loops in double, the oracle of every step. */
#ifndef TL_TESTS_REFERENCE_OPS_H
#define TL_TESTS_REFERENCE_OPS_H

#include "core/ops.h"

extern const tl_ops reference_ops;

/* An activation in double; softmax and log_softmax, which see rows, are left out. */
double reference_function(tl_function function, double x);

/* What the product runs: oneDNN, then the plain kernels. */
extern const tl_ops product_ops;

#endif
