/* Sums in the order in which NumPy adds: 8 sums side by side in blocks of 128, and halves of
 * what is longer than that. */
#include "image/statistics.h"

#include <math.h>
#include <stdbool.h>

enum { SUMS = 8, BLOCK = 128, LANES = 16 };

/* The value, or the square of its distance from `center`. */
static inline __attribute__((always_inline)) float
term(float x, float center, bool squares)
{
    const float distance = x - center;
    return squares ? distance * distance : x;
}

static inline __attribute__((always_inline)) float
sum_of_block(const float *x, size_t count, float center, bool squares)
{
    float sums[SUMS];
    size_t i = SUMS;
    float sum = 0;
    if (count < SUMS) {
        for (i = 0; i < count; i++) {
            sum += term(x[i], center, squares);
        }
        return sum;
    }
    for (size_t k = 0; k < SUMS; k++) {
        sums[k] = term(x[k], center, squares);
    }
    for (; i + SUMS <= count; i += SUMS) {
        for (size_t k = 0; k < SUMS; k++) {
            sums[k] += term(x[i + k], center, squares);
        }
    }
    sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
          ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    for (; i < count; i++) {
        sum += term(x[i], center, squares);
    }
    return sum;
}

static float
sum_of(const float *x, size_t count, float center, bool squares)
{
    if (count <= BLOCK) {
        return squares ? sum_of_block(x, count, center, true)
                       : sum_of_block(x, count, center, false);
    }
    const size_t half = count / 2 - count / 2 % SUMS;
    return sum_of(x, half, center, squares) + sum_of(x + half, count - half, center, squares);
}

/* NumPy divides by its integers in double. */
static float
share_of(float sum, size_t count)
{
    return (float)((double)sum / (double)count);
}

float
tl_mean_of(const float *x, size_t count)
{
    return share_of(sum_of(x, count, 0, false), count);
}

float
tl_deviation_of(const float *x, size_t count)
{
    return sqrtf(share_of(sum_of(x, count, tl_mean_of(x, count), true), count));
}

void
tl_range_extend(float range[2], const float *x, size_t count)
{
    float lowest[LANES];
    float highest[LANES];
    size_t i = 0;
    for (size_t k = 0; k < LANES; k++) {
        lowest[k] = range[0];
        highest[k] = range[1];
    }
    for (; i + LANES <= count; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            lowest[k] = x[i + k] < lowest[k] ? x[i + k] : lowest[k];
            highest[k] = x[i + k] > highest[k] ? x[i + k] : highest[k];
        }
    }
    for (; i < count; i++) {
        lowest[0] = x[i] < lowest[0] ? x[i] : lowest[0];
        highest[0] = x[i] > highest[0] ? x[i] : highest[0];
    }
    for (size_t k = 0; k < LANES; k++) {
        range[0] = lowest[k] < range[0] ? lowest[k] : range[0];
        range[1] = highest[k] > range[1] ? highest[k] : range[1];
    }
}
