/* Rows of an affine transformation with AVX-512: RGB of bytes as 3 vectors, one a colour, of 8
 * pixels. */
#include "image/affine.h"

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#include "image/affine_rgb_floats.h"

/* Two pixels side by side are read as 8 bytes, also where they are 6: then the first 6 in the
 * upper row and the last 6 in the lower row, so that all 8 are inside the picture. */
static inline __attribute__((always_inline)) TARGET __m512i
load_pairs(const uint8_t *from, const int32_t *at, size_t step)
{
    __m128i quarter[4];
    for (int q = 0; q < 4; q++) {
        const __m128i first = _mm_loadl_epi64((const void *)(from + step * (size_t)at[2 * q]));
        const __m128i next =
            _mm_loadl_epi64((const void *)(from + step * (size_t)at[2 * q + 1]));
        quarter[q] = _mm_unpacklo_epi64(first, next);
    }
    const __m256i low = _mm256_set_m128i(quarter[1], quarter[0]);
    const __m256i high = _mm256_set_m128i(quarter[3], quarter[2]);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* One byte of each 8 as a double. */
static inline __attribute__((always_inline)) TARGET __m512d
colour(__m512i pairs, int byte)
{
    const long long first = (long long)(0x8080808080808000ULL | (unsigned)byte);
    const __m512i pick = _mm512_set4_epi64(first + 8, first, first + 8, first);
    return _mm512_cvtepi64_pd(_mm512_shuffle_epi8(pairs, pick));
}

static inline __attribute__((always_inline)) TARGET __m256
blend_colour(__m512i above, __m512i below, int c, int step, __m512d y0, __m512d y1, __m512d x0,
             __m512d x1)
{
    const int skipped = 8 - 2 * step;
    const __m512d upper_left = _mm512_mul_pd(colour(above, c), y0);
    const __m512d upper_right = _mm512_mul_pd(colour(above, c + step), y0);
    const __m512d lower_left = _mm512_mul_pd(colour(below, c + skipped), y1);
    const __m512d lower_right = _mm512_mul_pd(colour(below, c + step + skipped), y1);
    __m512d sum = _mm512_mul_pd(upper_left, x0);
    sum = _mm512_add_pd(sum, _mm512_mul_pd(upper_right, x1));
    sum = _mm512_add_pd(sum, _mm512_mul_pd(lower_left, x0));
    sum = _mm512_add_pd(sum, _mm512_mul_pd(lower_right, x1));
    return _mm512_cvtpd_ps(sum);
}

static inline __attribute__((always_inline)) TARGET size_t
blend_pairs(float *dst, const uint8_t *src, size_t width, int step, const places *found,
            size_t count)
{
    const size_t bytes = (size_t)step;
    /* of r0..r7 g0..g7 and, from 16 on, b0..b7 */
    const __m512i start =
        _mm512_setr_epi32(0, 8, 16, 1, 9, 17, 2, 10, 18, 3, 11, 19, 4, 12, 20, 5);
    const __m512i end = _mm512_setr_epi32(13, 21, 6, 14, 22, 7, 15, 23, 0, 0, 0, 0, 0, 0, 0, 0);
    size_t k = 0;
    for (; k + 8 <= count; k += 8) {
        const __m512i above = load_pairs(src, found->at + k, bytes);
        const __m512i below =
            load_pairs(src + bytes * width + 2 * bytes - 8, found->at + k, bytes);
        const __m512d y0 = _mm512_loadu_pd(found->y0 + k);
        const __m512d y1 = _mm512_loadu_pd(found->y1 + k);
        const __m512d x0 = _mm512_loadu_pd(found->x0 + k);
        const __m512d x1 = _mm512_loadu_pd(found->x1 + k);
        const __m256 r = blend_colour(above, below, 0, step, y0, y1, x0, x1);
        const __m256 g = blend_colour(above, below, 1, step, y0, y1, x0, x1);
        const __m256 b = blend_colour(above, below, 2, step, y0, y1, x0, x1);
        const __m512 rg = _mm512_insertf32x8(_mm512_castps256_ps512(r), g, 1);
        const __m512 wide_b = _mm512_castps256_ps512(b);
        _mm512_storeu_ps(dst + 3 * k, _mm512_permutex2var_ps(rg, start, wide_b));
        _mm256_storeu_ps(dst + 3 * k + 16,
                         _mm512_castps512_ps256(_mm512_permutex2var_ps(rg, end, wide_b)));
    }
    return k;
}

static TARGET size_t
blend_rgb_bytes(float *dst, const uint8_t *src, size_t width, size_t step, const places *found,
                size_t count)
{
    return step == 4 ? blend_pairs(dst, src, width, 4, found, count)
                     : blend_pairs(dst, src, width, 3, found, count);
}

#define ROWS tl_affine_rows_avx512
#define BLEND_RGB_BYTES blend_rgb_bytes
#define BLEND_RGB_FLOATS blend_rgb_floats
#include "image/affine_rows.h"
#endif
