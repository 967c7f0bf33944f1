/* Random numbers that depend on (seed, index) alone, so that any thread may draw any of them.
 * The mixer is splitmix64's (Steele, Lea, Flood, OOPSLA 2014). */
#ifndef TL_CORE_RANDOM_H
#define TL_CORE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "core/shape.h"

/* The index-th number of stream `seed`. */
uint64_t tl_random_bits(uint64_t seed, uint64_t index);

/* In [0, 1), with 24 random bits. */
float tl_random_uniform(uint64_t seed, uint64_t index);

/* Fills dst with glorot_uniform values: U(-l, l), l = sqrt(6 / (fan_in + fan_out)), Keras's
 * fans (the receptive field times the last two axes). Glorot, Bengio, AISTATS 2010. */
void tl_random_glorot_uniform(float *dst, const tl_shape *shape, uint64_t seed);

#endif
