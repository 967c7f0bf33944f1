/* Limited-memory BFGS: the minimum of a smooth function of many variables, in double.
 *
 *   TL_TRY(tl_lbfgs_create(&search, count, &limits));
 *   fill tl_lbfgs_point(search) with where to begin, then
 *   do {
 *       value = the function at tl_lbfgs_point(search), its gradient into tl_lbfgs_gradient
 *   } while (tl_lbfgs_tell(search, value) == TL_LBFGS_GOES_ON);
 *
 * The search never calls the function, so that whoever computes it may do so in pieces. It is
 * the two-loop recursion with a line search by bracketing that ends at the weak Wolfe
 * conditions. Sources: Nocedal, Wright, Numerical Optimization (2006), algorithms 7.4 and 7.5;
 * Lewis, Overton, Math. Programming 141 (2013), algorithm 2.6; where rounding hides the
 * descent, Hager, Zhang, SIAM J. Optim. 16 (2005), the approximate Wolfe conditions. */
#ifndef TL_CORE_LBFGS_H
#define TL_CORE_LBFGS_H

#include <stddef.h>

#include "core/status.h"

enum { TL_LBFGS_MEMORY = 10 };

typedef struct tl_lbfgs tl_lbfgs;

typedef struct tl_lbfgs_limits {
    double tolerance;  /* the largest entry of the gradient, without its sign, at the end */
    size_t iterations; /* steps at most */
} tl_lbfgs_limits;

typedef enum tl_lbfgs_state {
    TL_LBFGS_GOES_ON,   /* the function is asked for at tl_lbfgs_point */
    TL_LBFGS_CONVERGED, /* the gradient is below the tolerance */
    TL_LBFGS_EXACT,     /* no step lowers the value any more: what is left is rounding */
    TL_LBFGS_LIMITED    /* the iterations are used up */
} tl_lbfgs_state;

/* A search that begins at zero. On failure *out is left as it was. */
tl_status tl_lbfgs_create(tl_lbfgs **out, size_t count, const tl_lbfgs_limits *limits);
void tl_lbfgs_destroy(tl_lbfgs *search);

/* Where the function is asked for; once the search has ended, the best point. (count) */
double *tl_lbfgs_point(tl_lbfgs *search);

/* What the caller fills with the gradient at the point. (count) */
double *tl_lbfgs_gradient(tl_lbfgs *search);

/* Takes the value at the point, and its gradient; moves the point. A value that is not finite
 * counts as too far, at the first point as the end. Allocates nothing. */
tl_lbfgs_state tl_lbfgs_tell(tl_lbfgs *search, double value);

/* The value at the best point so far, and the steps taken to it. */
double tl_lbfgs_value(const tl_lbfgs *search);
size_t tl_lbfgs_iterations(const tl_lbfgs *search);

#endif
