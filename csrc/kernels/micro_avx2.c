/* AVX2 with FMA: 16 registers of 8 floats. */
#include "kernels/micro.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

typedef __m256 vec;

enum { WIDTH = 8 };
#define WIDEST 3
#define TARGET __attribute__((target("avx2,fma")))

static inline TARGET __m256i
lanes_before(size_t count)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), lanes);
}

static inline TARGET vec
load_tail(const float *from, size_t tail)
{
    return tail < WIDTH ? _mm256_maskload_ps(from, lanes_before(tail)) : _mm256_loadu_ps(from);
}

/* Masked stores are slow on many CPUs. */
static inline TARGET void
store_tail(float *to, vec x, size_t tail)
{
    if (tail < WIDTH) {
        _mm256_maskstore_ps(to, lanes_before(tail), x);
    } else {
        _mm256_storeu_ps(to, x);
    }
}

#define TAIL size_t
#define FIND_TAIL(count) (count)
#define LOAD_TAIL(p, tail) load_tail(p, tail)
#define STORE_TAIL(p, x, tail) store_tail(p, x, tail)
#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, x) _mm256_storeu_ps(p, x)
#define SPREAD(p) _mm256_broadcast_ss(p)
#define SPREAD_CONSTANT(x) _mm256_set1_ps(x)
#define ADD(a, b) _mm256_add_ps(a, b)
#define MULTIPLY_ADD(a, b, c) _mm256_fmadd_ps(a, b, c)
#define AT_LEAST_ZERO(x) _mm256_max_ps(_mm256_setzero_ps(), x)
#define AT_MOST(limit, x) _mm256_min_ps(limit, x)
#define PIXELS_1 7
#define PIXELS_2 6
#define PIXELS_3 4
#define DEPTHWISE_PIXELS 7
#define MICRO tl_micro_avx2
#define ISA TL_ISA_AVX2
#include "kernels/micro_template.h"
#endif
