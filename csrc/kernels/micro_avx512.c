/* AVX-512: 32 registers of 16 floats. */
#include "kernels/micro.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

typedef __m512 vec;

enum { WIDTH = 16 };
#define WIDEST 2
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))

static inline TARGET vec
spread_pair(const float *from)
{
    double both;
    memcpy(&both, from, sizeof both);
    return _mm512_castpd_ps(_mm512_set1_pd(both));
}

/* Sums of the lanes' pairs, side by side: 8 of each vector. */
static inline __attribute__((always_inline)) TARGET void
unpair(vec *sums, size_t vectors)
{
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    for (size_t v = 0; v < vectors; v++) {
        sums[v] = _mm512_add_ps(sums[v], _mm512_permute_ps(sums[v], 0xb1)); /* its neighbour */
    }
    sums[0] = _mm512_permutex2var_ps(sums[0], even, sums[vectors > 1 ? 1 : 0]);
    if (vectors > 2) {
        sums[1] = _mm512_permutex2var_ps(sums[2], even, sums[2]);
    }
}

#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, x) _mm512_storeu_ps(p, x)
#define TAIL __mmask16
#define FIND_TAIL(count) ((__mmask16)((count) < 16 ? (1U << (count)) - 1 : 0xffffU))
#define LOAD_TAIL(p, tail) _mm512_maskz_loadu_ps(tail, p)
#define STORE_TAIL(p, x, tail) _mm512_mask_storeu_ps(p, tail, x)
#define SPREAD(p) _mm512_set1_ps(*(p))
#define SPREAD_CONSTANT(x) _mm512_set1_ps(x)
#define ADD(a, b) _mm512_add_ps(a, b)
#define MULTIPLY_ADD(a, b, c) _mm512_fmadd_ps(a, b, c)
#define AT_LEAST_ZERO(x) _mm512_max_ps(_mm512_setzero_ps(), x)
#define AT_MOST(limit, x) _mm512_min_ps(limit, x)
#define PIXELS_1 14
#define PIXELS_2 14
#define PAIRS_3 9
#define SPREAD_PAIR(p) spread_pair(p)
#define UNPAIR(sums, vectors) unpair(sums, vectors)
#define DEPTHWISE_PIXELS 14
#define MICRO tl_micro_avx512
#define ISA TL_ISA_AVX512
#include "kernels/micro_template.h"
#endif
