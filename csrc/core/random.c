/* Counter-based random numbers and Keras's default initialiser. */
#include "core/random.h"

#include <math.h>

static uint64_t
mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9U;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

uint64_t
tl_random_bits(uint64_t seed, uint64_t index)
{
    const uint64_t golden = 0x9e3779b97f4a7c15U;
    return mix(mix(seed + golden) + (index + 1) * golden);
}

float
tl_random_uniform(uint64_t seed, uint64_t index)
{
    return (float)(tl_random_bits(seed, index) >> 40) * 0x1p-24F;
}

void
tl_random_glorot_uniform(float *dst, const tl_shape *shape, uint64_t seed)
{
    const size_t count = tl_shape_elements(shape);
    const size_t rank = shape->rank;
    double fan_in = (double)shape->dims[0];
    double fan_out = fan_in;
    if (rank >= 2) {
        double receptive = 1;
        for (size_t i = 0; i + 2 < rank; i++) {
            receptive *= (double)shape->dims[i];
        }
        fan_in = receptive * (double)shape->dims[rank - 2];
        fan_out = receptive * (double)shape->dims[rank - 1];
    }
    const float limit = (float)sqrt(6.0 / (fan_in + fan_out));
    for (size_t i = 0; i < count; i++) {
        dst[i] = (2.0F * tl_random_uniform(seed, i) - 1.0F) * limit;
    }
}
