/* Bytes to numbers and pixels without gaps, against loops of one line, for every instruction
 * set. */
#include <stdint.h>

#include "check.h"
#include "core/cpu.h"
#include "core/random.h"
#include "image/pixels.h"

static const char *const isas[] = {"sse41", "avx2", "avx512"};

enum { MOST = 900, EDGE = 0xA5 };

static void
fill(uint8_t *bytes, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)tl_random_bits(seed, i);
    }
}

static void
test_numbers_of_bytes(void)
{
    static const tl_pixel_map maps[] = {
        {1, 1.0F / 255, -0.0F}, {127.5F, 1, -1}, {1, 1, 0}, {3, 0.1F, 0.7F}, {1, -2, -0.0F}};
    static uint8_t src[MOST * 4];
    static float dst[MOST * 4 + 1];
    fill(src, sizeof src, 1);
    for (size_t isa = 0; isa < 3; isa++) {
        CHECK(tl_cpu_limit(isas[isa]));
        for (size_t n = 0; n < 300; n++) {
            const tl_pixel_map *map = &maps[n % 5];
            const size_t step = 1 + n % 4;
            const size_t channels = 1 + (n / 4) % step;
            const size_t pixels = n < 40 ? n : (n * 37) % MOST;
            dst[pixels * channels] = EDGE;
            tl_pixels_to_float(dst, src, pixels, channels, step, map);
            for (size_t i = 0; i < pixels * channels && !this_test_failed; i++) {
                const uint8_t byte = src[i / channels * step + i % channels];
                const float divided = (float)byte / map->divide;
                const float scaled = divided * map->scale;
                const float expected = scaled + map->offset;
                CHECK(memcmp(&dst[i], &expected, sizeof expected) == 0);
            }
            CHECK(dst[pixels * channels] == EDGE);
        }
    }
}

static void
test_pixels_without_gaps(void)
{
    static uint8_t src[MOST * 4];
    static uint8_t dst[MOST * 4 + 1];
    fill(src, sizeof src, 2);
    for (size_t isa = 0; isa < 3; isa++) {
        CHECK(tl_cpu_limit(isas[isa]));
        for (size_t n = 0; n < 300; n++) {
            const size_t step = 1 + n % 4;
            const size_t channels = 1 + (n / 4) % step;
            const size_t pixels = n < 40 ? n : (n * 37) % MOST;
            dst[pixels * channels] = EDGE;
            tl_pixels_pack(dst, src, pixels, channels, step);
            for (size_t i = 0; i < pixels * channels && !this_test_failed; i++) {
                CHECK(dst[i] == src[i / channels * step + i % channels]);
            }
            CHECK(dst[pixels * channels] == EDGE);
            tl_pixels_pack_reversed(dst, src, pixels, channels, step);
            for (size_t i = 0; i < pixels * channels && !this_test_failed; i++) {
                const size_t from = pixels - 1 - i / channels;
                CHECK(dst[i] == src[from * step + i % channels]);
            }
            CHECK(dst[pixels * channels] == EDGE);
        }
    }
}

static void
test_streaming_is_copying(void)
{
    static float src[200];
    static float dst[220];
    for (size_t i = 0; i < 200; i++) {
        src[i] = (float)i + 1;
    }
    for (size_t offset = 0; offset < 9; offset++) {
        for (size_t count = 0; count < 200; count++) {
            memset(dst, 0, sizeof dst);
            tl_pixels_stream(dst + offset, src, count);
            tl_pixels_settle();
            CHECK(memcmp(dst + offset, src, count * sizeof *src) == 0);
            CHECK(dst[offset + count] == 0 && (offset == 0 || dst[offset - 1] == 0));
        }
    }
}

static void
test_picked_pixels(void)
{
    static uint8_t src[20 * 90];
    static uint8_t dst[40 * 40 * 4 + 1];
    int64_t rows[40];
    int64_t cols[40];
    fill(src, sizeof src, 3);
    for (size_t n = 0; n < 400; n++) {
        const size_t step = 1 + n % 4;
        const size_t channels = 1 + (n / 4) % step;
        const size_t height = n % 40;
        const size_t width = (n / 3) % 40;
        for (size_t i = 0; i < 40; i++) {
            rows[i] = (int64_t)(tl_random_bits(n, i) % 20);
            cols[i] = (int64_t)(tl_random_bits(n, 40 + i) % 22);
        }
        dst[height * width * channels] = EDGE;
        tl_pixels_pick(dst, height, width, src, 90, channels, step, rows, cols);
        for (size_t i = 0; i < height * width * channels && !this_test_failed; i++) {
            const size_t pixel = i / channels;
            CHECK(dst[i] == src[(size_t)rows[pixel / width] * 90 +
                                (size_t)cols[pixel % width] * step + i % channels]);
        }
        CHECK(dst[height * width * channels] == EDGE);
    }
}

/* The last byte of the source is the last that may be read: the sanitizers watch. */
static void
test_nothing_is_read_behind_the_end(void)
{
    uint8_t dst[64 * 3];
    CHECK(tl_cpu_limit("avx512"));
    for (size_t pixels = 0; pixels <= 64; pixels++) {
        uint8_t src[pixels * 4 + 1];
        memset(src, 7, sizeof src);
        tl_pixels_pack(dst, src + 1, pixels, 3, 4);
        CHECK(pixels == 0 || dst[pixels * 3 - 1] == 7);
        for (size_t step = 3; step <= 4; step++) {
            tl_pixels_pack_reversed(dst, src, pixels, 3, step);
            CHECK(pixels == 0 || dst[pixels * 3 - 1] == 7);
        }
    }
}

int
main(void)
{
    RUN(test_numbers_of_bytes);
    RUN(test_pixels_without_gaps);
    RUN(test_streaming_is_copying);
    RUN(test_picked_pixels);
    RUN(test_nothing_is_read_behind_the_end);
    return REPORT();
}
