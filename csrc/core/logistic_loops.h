/* The two products of a logistic regression, compiled for what the CPU can do. Sums run in one
 * order for each of them. Used by logistic.c alone. */
#ifndef TL_CORE_LOGISTIC_LOOPS_H
#define TL_CORE_LOGISTIC_LOOPS_H

#include <stddef.h>

#include "core/cpu.h"

enum {
    TL_LOGISTIC_TILE = 4,     /* rows that share a look at the weights */
    TL_LOGISTIC_COLUMNS = 64, /* of a block of the gradient; widths are padded to it */
};

typedef struct tl_logistic_loops {
    /* scores[t] (outputs) += rows[t] (width) . weights (outputs, padded) for t < count; all
     * rows of the tile must be readable. */
    void (*add_scores)(double *const *scores, size_t count, const float *const *rows,
                       const double *weights, size_t width, size_t padded, size_t outputs);

    /* gradient (outputs, padded), its first columns += errors[t] (outputs) x rows[t] (columns)
     * for t < count. */
    void (*add_gradient)(double *gradient, const float *const *rows,
                         const double *const *errors, size_t count, size_t columns,
                         size_t padded, size_t outputs);
} tl_logistic_loops;

const tl_logistic_loops *tl_logistic_loops_for(tl_isa isa);

#endif
