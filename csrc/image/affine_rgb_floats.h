/* RGB of float32, one pixel at a time: its colours are 3 of the 4 doubles of a vector. Included
 * by the instruction sets that have such vectors; they define TARGET. */
#include <immintrin.h>
#include <stddef.h>

#include "image/affine_places.h"

/* The last pixel of a stretch is left to others, for 4 floats are written for each. */
static inline TARGET size_t
blend_rgb_floats(float *dst, const float *src, size_t width, const places *found, size_t count)
{
    const __m128i three = _mm_setr_epi32(-1, -1, -1, 0);
    for (size_t k = 0; k + 1 < count; k++) {
        const float *above = src + 3 * (size_t)found->at[k];
        const float *below = above + 3 * width;
        const __m256d y0 = _mm256_broadcast_sd(&found->y0[k]);
        const __m256d y1 = _mm256_broadcast_sd(&found->y1[k]);
        const __m256d x0 = _mm256_broadcast_sd(&found->x0[k]);
        const __m256d x1 = _mm256_broadcast_sd(&found->x1[k]);
        const __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(above));
        const __m256d b = _mm256_cvtps_pd(_mm_loadu_ps(above + 3));
        const __m256d c = _mm256_cvtps_pd(_mm_loadu_ps(below));
        const __m256d d = _mm256_cvtps_pd(_mm_maskload_ps(below + 3, three));
        __m256d sum = _mm256_setzero_pd();
        sum = _mm256_add_pd(sum, _mm256_mul_pd(_mm256_mul_pd(a, y0), x0));
        sum = _mm256_add_pd(sum, _mm256_mul_pd(_mm256_mul_pd(b, y0), x1));
        sum = _mm256_add_pd(sum, _mm256_mul_pd(_mm256_mul_pd(c, y1), x0));
        sum = _mm256_add_pd(sum, _mm256_mul_pd(_mm256_mul_pd(d, y1), x1));
        _mm_storeu_ps(dst + 3 * k, _mm256_cvtpd_ps(sum));
    }
    return count - 1;
}
