/* uint8 -> float32, and pixels of four bytes -> three. Written for the compiler to vectorise.
 */
#include "image/pixels.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define SSE41 __attribute__((target("sse4.1")))
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#endif

#include "core/cpu.h"

enum { BLOCK = 256 }; /* pixels without their gaps at a time: they stay in the first cache */

#if defined(__x86_64__)
/* Three of four bytes, for as long as 16 bytes may be read and written; pixels done. */
static SSE41 size_t
pack_rgb(uint8_t *dst, const uint8_t *src, size_t pixels)
{
    const __m128i order = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    size_t i = 0;
    for (; i + 6 <= pixels; i += 4) { /* a write ends within the second next pixel */
        const __m128i four = _mm_loadu_si128((const __m128i *)(const void *)(src + 4 * i));
        _mm_storeu_si128((__m128i *)(void *)(dst + 3 * i), _mm_shuffle_epi8(four, order));
    }
    return i;
}

/* As pack_rgb, from the last pixel of src on. Where src has no gaps, 4 bytes in front of each 4
 * pixels are read as well. */
static SSE41 size_t
pack_rgb_reversed(uint8_t *dst, const uint8_t *src, size_t pixels, size_t step)
{
    const __m128i order =
        step == 4 ? _mm_setr_epi8(12, 13, 14, 8, 9, 10, 4, 5, 6, 0, 1, 2, -1, -1, -1, -1)
                  : _mm_setr_epi8(13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, -1, -1, -1, -1);
    size_t i = 0;
    for (; i + 6 <= pixels; i += 4) {
        const __m128i four =
            _mm_loadu_si128((const __m128i *)(const void *)(src + step * (pixels - i) - 16));
        _mm_storeu_si128((__m128i *)(void *)(dst + 3 * i), _mm_shuffle_epi8(four, order));
    }
    return i;
}
#endif

void
tl_pixels_pack(uint8_t *dst, const uint8_t *src, size_t pixels, size_t channels, size_t step)
{
    assert(channels <= step);
    if (channels == step) {
        memcpy(dst, src, pixels * channels);
        return;
    }
    size_t i = 0;
#if defined(__x86_64__)
    if (channels == 3 && step == 4 && tl_cpu_isa() >= TL_ISA_SSE41) {
        i = pack_rgb(dst, src, pixels);
    }
#endif
    for (; i < pixels; i++) {
        for (size_t c = 0; c < channels; c++) {
            dst[i * channels + c] = src[i * step + c];
        }
    }
}

void
tl_pixels_pack_reversed(uint8_t *dst, const uint8_t *src, size_t pixels, size_t channels,
                        size_t step)
{
    assert(channels <= step);
    size_t i = 0;
#if defined(__x86_64__)
    if (channels == 3 && step <= 4 && tl_cpu_isa() >= TL_ISA_SSE41) {
        i = pack_rgb_reversed(dst, src, pixels, step);
    }
#endif
    for (; i < pixels; i++) {
        memcpy(dst + i * channels, src + (pixels - 1 - i) * step, channels);
    }
}

/* Three bytes as four, the last of which the next pixel overwrites. */
static size_t
pick_rgb(uint8_t *dst, const uint8_t *src, const int64_t *cols, size_t width)
{
    size_t j = 0;
    for (; j + 1 < width; j++) {
        uint32_t pixel;
        memcpy(&pixel, src + 4 * (size_t)cols[j], sizeof pixel);
        memcpy(dst + 3 * j, &pixel, sizeof pixel);
    }
    return j;
}

void
tl_pixels_pick(uint8_t *dst, size_t height, size_t width, const uint8_t *src, size_t row_step,
               size_t channels, size_t step, const int64_t *rows, const int64_t *cols)
{
    for (size_t i = 0; i < height; i++) {
        const uint8_t *from = src + (size_t)rows[i] * row_step;
        uint8_t *to = dst + i * width * channels;
        size_t j = channels == 3 && step == 4 ? pick_rgb(to, from, cols, width) : 0;
        for (; j < width; j++) {
            memcpy(to + j * channels, from + (size_t)cols[j] * step, channels);
        }
    }
}

/* Division by 1 and addition of -0 change nothing, so that they can be left out. */
static inline __attribute__((always_inline)) void
convert_each(float *dst, const uint8_t *src, size_t count, tl_pixel_map map)
{
    if (map.divide == 1.0F && map.offset == 0.0F && signbit(map.offset)) {
        for (size_t i = 0; i < count; i++) {
            dst[i] = (float)src[i] * map.scale;
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        dst[i] = (float)src[i] / map.divide * map.scale + map.offset;
    }
}

static void
convert_plain(float *dst, const uint8_t *src, size_t count, tl_pixel_map map)
{
    convert_each(dst, src, count, map);
}

#if defined(__x86_64__)
static AVX2 void
convert_avx2(float *dst, const uint8_t *src, size_t count, tl_pixel_map map)
{
    convert_each(dst, src, count, map);
}

static AVX512 void
convert_avx512(float *dst, const uint8_t *src, size_t count, tl_pixel_map map)
{
    convert_each(dst, src, count, map);
}
#endif

void
tl_pixels_to_float(float *dst, const uint8_t *src, size_t pixels, size_t channels, size_t step,
                   const tl_pixel_map *map)
{
    void (*convert)(float *, const uint8_t *, size_t, tl_pixel_map) = convert_plain;
    uint8_t packed[BLOCK * 4];
#if defined(__x86_64__)
    const tl_isa isa = tl_cpu_isa();
    convert = isa >= TL_ISA_AVX512 ? convert_avx512
              : isa >= TL_ISA_AVX2 ? convert_avx2
                                   : convert_plain;
#endif
    if (channels == step || channels > 4) {
        assert(channels == step);
        convert(dst, src, pixels * channels, *map);
        return;
    }
    for (size_t i = 0; i < pixels; i += BLOCK) {
        const size_t some = pixels - i < BLOCK ? pixels - i : BLOCK;
        tl_pixels_pack(packed, src + i * step, some, channels, step);
        convert(dst + i * channels, packed, some * channels, *map);
    }
}

void
tl_pixels_stream(float *dst, const float *src, size_t count)
{
    size_t i = 0;
#if defined(__x86_64__)
    for (; i < count && ((uintptr_t)(dst + i) & 15) != 0; i++) {
        dst[i] = src[i];
    }
    for (; i + 4 <= count; i += 4) {
        _mm_stream_ps(dst + i, _mm_loadu_ps(src + i));
    }
#endif
    for (; i < count; i++) {
        dst[i] = src[i];
    }
}

void
tl_pixels_settle(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}
