/* Logistic regression: softmax over several outputs, or a sigmoid of one, with an L2 penalty.
 *
 * What is minimised, over weights (width, outputs) and bias (outputs), in double:
 *
 *     sum of s_r loss_r / sum of s_r  +  l2 / 2 * (sum of squares of the weights)
 *
 * s_r weighs row r; the bias is not penalised. With all s_r alike it is scikit-learn's
 * LogisticRegression with C = 1 / (l2 * rows). The search (lbfgs.h) sees every feature moved to
 * mean 0 and all of them scaled by one number, which changes how soon it ends, not where: the
 * penalty is on the weights as they are returned.
 *
 *   TL_TRY(tl_logistic_create(&fit, &plan));
 *   while (!tl_logistic_is_done(fit)) {
 *       TL_TRY(tl_logistic_advance(fit, effort));     here somebody may ask for an end
 *   }
 *   tl_logistic_read(fit, weights, bias, probabilities, &result);
 *
 * Sums go over fixed blocks of rows in their order, so that a result depends neither on the
 * number of threads nor on `effort`. */
#ifndef TL_CORE_LOGISTIC_H
#define TL_CORE_LOGISTIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct tl_logistic tl_logistic;

typedef struct tl_logistic_plan {
    const float *features; /* (rows, width), finite */
    const int64_t *labels; /* (rows), from 0 to outputs - 1; of one output 0 or 1 */
    const float
        *weights; /* (rows), at least 0, or NULL: all 1; a row of 0 is not learned from */
    const double *start; /* (width + 1, outputs): weights, then bias, to begin with; or NULL */
    size_t rows, width, outputs;
    double l2;         /* at least 0 */
    double tolerance;  /* of the gradient that the search sees; above 0 */
    size_t iterations; /* at most */
} tl_logistic_plan;

typedef struct tl_logistic_result {
    double value; /* what was minimised */
    double loss;  /* its first part */
    size_t iterations;
    bool converged; /* to the tolerance, or as far as double reaches */
} tl_logistic_result;

/* What the plan points to must stay until the fit is destroyed; `start` is copied. TL_BAD_VALUE
 * names a number that is not allowed. On failure *out is left as it was. */
tl_status tl_logistic_create(tl_logistic **out, const tl_logistic_plan *plan);
void tl_logistic_destroy(tl_logistic *fit);

/* Goes on for about `effort` multiplications, on the crew. Allocates nothing. */
tl_status tl_logistic_advance(tl_logistic *fit, double effort);
bool tl_logistic_is_done(const tl_logistic *fit);

/* Of a fit that is done: weights (width, outputs), bias (outputs), and of all rows, also those
 * of weight 0, the probabilities (rows, outputs). */
void tl_logistic_read(const tl_logistic *fit, double *weights, double *bias,
                      double *probabilities, tl_logistic_result *result);

#endif
