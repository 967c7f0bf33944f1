/* Plain loops over small arrays of lanes, which compilers turn into vectors of any width. */
#include "core/logistic_loops.h"

enum { TILE = TL_LOGISTIC_TILE, COLUMNS = TL_LOGISTIC_COLUMNS, LANES = 8 };

#define ALWAYS __attribute__((always_inline))

/* (TILE, COLUMNS) of the rows as double, zeros behind them. */
static inline ALWAYS void
widen(double x[TILE][COLUMNS], const float *const *rows, size_t count, size_t at,
      size_t columns)
{
    for (size_t t = 0; t < TILE; t++) {
        if (t < count && columns == COLUMNS) {
            for (size_t j = 0; j < COLUMNS; j++) {
                x[t][j] = (double)rows[t][at + j];
            }
            continue;
        }
        for (size_t j = 0; j < COLUMNS; j++) {
            x[t][j] = t < count && j < columns ? (double)rows[t][at + j] : 0;
        }
    }
}

static inline ALWAYS void
add_scores(double *const *scores, size_t count, const float *const *rows, const double *weights,
           size_t width, size_t padded, size_t outputs)
{
    for (size_t at = 0; at < width; at += COLUMNS) {
        double x[TILE][COLUMNS];
        widen(x, rows, TILE, at, width - at < COLUMNS ? width - at : COLUMNS);
        for (size_t c = 0; c < outputs; c++) {
            const double *w = weights + c * padded + at;
            double sums[TILE][LANES] = {{0}};
            for (size_t j = 0; j < COLUMNS; j += LANES) {
                for (size_t t = 0; t < TILE; t++) {
                    for (size_t l = 0; l < LANES; l++) {
                        sums[t][l] += x[t][j + l] * w[j + l];
                    }
                }
            }
            for (size_t t = 0; t < count; t++) {
                double sum = 0;
                for (size_t l = 0; l < LANES; l++) {
                    sum += sums[t][l];
                }
                scores[t][c] += sum;
            }
        }
    }
}

static inline ALWAYS void
add_gradient(double *gradient, const float *const *rows, const double *const *errors,
             size_t count, size_t columns, size_t padded, size_t outputs)
{
    double x[TILE][COLUMNS];
    widen(x, rows, count, 0, columns);
    for (size_t c = 0; c < outputs; c++) {
        double *restrict to = gradient + c * padded;
        double by[TILE];
        for (size_t t = 0; t < TILE; t++) {
            by[t] = t < count ? errors[t][c] : 0;
        }
        for (size_t j = 0; j < COLUMNS; j++) {
            to[j] += (by[0] * x[0][j] + by[1] * x[1][j]) + (by[2] * x[2][j] + by[3] * x[3][j]);
        }
    }
}

#define LOOPS(name, target)                                                                    \
    target static void add_scores_##name(double *const *scores, size_t count,                  \
                                         const float *const *rows, const double *weights,      \
                                         size_t width, size_t padded, size_t outputs)          \
    {                                                                                          \
        add_scores(scores, count, rows, weights, width, padded, outputs);                      \
    }                                                                                          \
    target static void add_gradient_##name(double *gradient, const float *const *rows,         \
                                           const double *const *errors, size_t count,          \
                                           size_t columns, size_t padded, size_t outputs)      \
    {                                                                                          \
        add_gradient(gradient, rows, errors, count, columns, padded, outputs);                 \
    }                                                                                          \
    static const tl_logistic_loops loops_##name = {add_scores_##name, add_gradient_##name}

LOOPS(plain, );
#if defined(__x86_64__)
LOOPS(avx2, __attribute__((target("avx2,fma"))));
LOOPS(avx512, __attribute__((target("avx512f,avx512dq,avx512vl"))));
#endif

const tl_logistic_loops *
tl_logistic_loops_for(tl_isa isa)
{
#if defined(__x86_64__)
    if (isa >= TL_ISA_AVX512) {
        return &loops_avx512;
    }
    if (isa >= TL_ISA_AVX2) {
        return &loops_avx2;
    }
#endif
    (void)isa;
    return &loops_plain;
}
