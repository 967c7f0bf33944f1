/* AVX2 with FMA: 16 registers of 8 floats. */
#include "kernels/micro.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

typedef __m256 vec;

enum { WIDTH = 8, WIDEST = 3 };
#define TARGET __attribute__((target("avx2,fma")))

static inline TARGET __m256i
lanes_before(size_t count)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), lanes);
}

#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, x) _mm256_storeu_ps(p, x)
#define LOAD_PART(p, count) _mm256_maskload_ps(p, lanes_before(count))
#define STORE_PART(p, x, count) _mm256_maskstore_ps(p, lanes_before(count), x)
#define SPREAD(p) _mm256_broadcast_ss(p)
#define SPREAD_CONSTANT(x) _mm256_set1_ps(x)
#define ADD(a, b) _mm256_add_ps(a, b)
#define MULTIPLY_ADD(a, b, c) _mm256_fmadd_ps(a, b, c)
#define AT_LEAST_ZERO(x) _mm256_max_ps(_mm256_setzero_ps(), x)
#define AT_MOST(limit, x) _mm256_min_ps(limit, x)
#define PIXELS_1 7
#define PIXELS_2 6
#define PIXELS_3 4
#define PIXELS_4 4
#define MICRO tl_micro_avx2
#define ISA TL_ISA_AVX2
#include "kernels/micro_template.h"
#endif
