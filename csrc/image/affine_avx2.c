/* Rows of an affine transformation with AVX2: RGB of bytes as 3 vectors, one a colour, of 4
 * pixels. */
#include "image/affine.h"

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2")))
#include "image/affine_rgb_floats.h"

/* Two pixels side by side are read as 8 bytes, also where they are 6: then the first 6 in the
 * upper row and the last 6 in the lower row, so that all 8 are inside the picture. The 2 bytes
 * that are no colour are replaced by the upper end of 2^52 as a double. */
typedef enum layout { SPARE_6_7, SPARE_0_1, SPARE_3_7 } layout;

static inline __attribute__((always_inline)) TARGET __m256i
load_pairs(const uint8_t *from, const int32_t *at, layout spare)
{
    const size_t step = spare == SPARE_3_7 ? 4 : 3;
    __m128i half[2];
    for (int h = 0; h < 2; h++) {
        const __m128i first = _mm_loadl_epi64((const void *)(from + step * (size_t)at[2 * h]));
        const __m128i next =
            _mm_loadl_epi64((const void *)(from + step * (size_t)at[2 * h + 1]));
        half[h] = _mm_unpacklo_epi64(first, next);
    }
    const __m256i pairs = _mm256_set_m128i(half[1], half[0]);
    const __m256i two52 = _mm256_set1_epi16(0x4330);
    if (spare == SPARE_3_7) {
        const __m256i colours = _mm256_set1_epi32(0x00ffffff);
        const __m256i apart = _mm256_set1_epi64x(0x4300000030000000LL);
        return _mm256_or_si256(_mm256_and_si256(pairs, colours), apart);
    }
    return spare == SPARE_0_1 ? _mm256_blend_epi16(pairs, two52, 0x11)
                              : _mm256_blend_epi16(pairs, two52, 0x88);
}

/* One byte of each 8 as a double: 2^52 + byte is put together and 2^52 taken away. */
static inline __attribute__((always_inline)) TARGET __m256d
colour(__m256i pairs, int byte, layout spare)
{
    const long long none = 0x0000808080808000LL;
    const long long low = spare == SPARE_6_7 ? 6 : spare == SPARE_0_1 ? 0 : 3;
    const long long high = spare == SPARE_0_1 ? 1 : 7;
    const long long first = none | byte | low << 48 | high << 56;
    const long long next = first + 0x0808000000000008LL;
    const __m256i picked =
        _mm256_shuffle_epi8(pairs, _mm256_set_epi64x(next, first, next, first));
    return _mm256_sub_pd(_mm256_castsi256_pd(picked), _mm256_set1_pd(4503599627370496.0));
}

static inline __attribute__((always_inline)) TARGET __m128
blend_colour(__m256i above, __m256i below, int c, bool gaps, __m256d y0, __m256d y1, __m256d x0,
             __m256d x1)
{
    const int step = gaps ? 4 : 3;
    const int first = gaps ? 0 : 2; /* in the lower row */
    const layout upper = gaps ? SPARE_3_7 : SPARE_6_7;
    const layout lower = gaps ? SPARE_3_7 : SPARE_0_1;
    const __m256d upper_left = _mm256_mul_pd(colour(above, c, upper), y0);
    const __m256d upper_right = _mm256_mul_pd(colour(above, c + step, upper), y0);
    const __m256d lower_left = _mm256_mul_pd(colour(below, c + first, lower), y1);
    const __m256d lower_right = _mm256_mul_pd(colour(below, c + first + step, lower), y1);
    __m256d sum = _mm256_mul_pd(upper_left, x0);
    sum = _mm256_add_pd(sum, _mm256_mul_pd(upper_right, x1));
    sum = _mm256_add_pd(sum, _mm256_mul_pd(lower_left, x0));
    sum = _mm256_add_pd(sum, _mm256_mul_pd(lower_right, x1));
    return _mm256_cvtpd_ps(sum);
}

static inline __attribute__((always_inline)) TARGET size_t
blend_pairs(float *dst, const uint8_t *src, size_t width, bool gaps, const places *found,
            size_t count)
{
    const uint8_t *below_src = src + (gaps ? 4 * width : 3 * width - 2);
    size_t k = 0;
    for (; k + 4 <= count; k += 4) {
        const __m256i above = load_pairs(src, found->at + k, gaps ? SPARE_3_7 : SPARE_6_7);
        const __m256i below =
            load_pairs(below_src, found->at + k, gaps ? SPARE_3_7 : SPARE_0_1);
        const __m256d y0 = _mm256_loadu_pd(found->y0 + k);
        const __m256d y1 = _mm256_loadu_pd(found->y1 + k);
        const __m256d x0 = _mm256_loadu_pd(found->x0 + k);
        const __m256d x1 = _mm256_loadu_pd(found->x1 + k);
        const __m128 r = blend_colour(above, below, 0, gaps, y0, y1, x0, x1);
        const __m128 g = blend_colour(above, below, 1, gaps, y0, y1, x0, x1);
        const __m128 b = blend_colour(above, below, 2, gaps, y0, y1, x0, x1);
        const __m128 rg_low = _mm_unpacklo_ps(r, g);  /* r0 g0 r1 g1 */
        const __m128 rg_high = _mm_unpackhi_ps(r, g); /* r2 g2 r3 g3 */
        const __m128 b0r1 = _mm_shuffle_ps(b, r, _MM_SHUFFLE(1, 1, 0, 0));
        const __m128 g1b1 = _mm_shuffle_ps(g, b, _MM_SHUFFLE(1, 1, 1, 1));
        const __m128 b2r3 = _mm_shuffle_ps(b, rg_high, _MM_SHUFFLE(2, 2, 2, 2));
        const __m128 g3b3 = _mm_shuffle_ps(rg_high, b, _MM_SHUFFLE(3, 3, 3, 3));
        _mm_storeu_ps(dst + 3 * k, _mm_shuffle_ps(rg_low, b0r1, _MM_SHUFFLE(2, 0, 1, 0)));
        _mm_storeu_ps(dst + 3 * k + 4, _mm_shuffle_ps(g1b1, rg_high, _MM_SHUFFLE(1, 0, 2, 0)));
        _mm_storeu_ps(dst + 3 * k + 8, _mm_shuffle_ps(b2r3, g3b3, _MM_SHUFFLE(2, 0, 2, 0)));
    }
    return k;
}

static TARGET size_t
blend_rgb_bytes(float *dst, const uint8_t *src, size_t width, size_t step, const places *found,
                size_t count)
{
    return step == 4 ? blend_pairs(dst, src, width, true, found, count)
                     : blend_pairs(dst, src, width, false, found, count);
}

#define ROWS tl_affine_rows_avx2
#define BLEND_RGB_BYTES blend_rgb_bytes
#define BLEND_RGB_FLOATS blend_rgb_floats
#include "image/affine_rows.h"
#endif
