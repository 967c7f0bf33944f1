/* AVX-512: 32 registers of 16 floats. */
#include "kernels/micro.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

typedef __m512 vec;

enum { WIDTH = 16, WIDEST = 2 };
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
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
#define PIXELS_3 7
#define PIXELS_4 7
#define MICRO tl_micro_avx512
#define ISA TL_ISA_AVX512
#include "kernels/micro_template.h"
#endif
