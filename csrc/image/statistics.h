/* Mean and deviation of float32 values with NumPy's arithmetic: pairwise sums, so that the
 * result is np.mean's and np.std's. */
#ifndef TL_IMAGE_STATISTICS_H
#define TL_IMAGE_STATISTICS_H

#include <stddef.h>

/* `count` is at least 1. */
float tl_mean_of(const float *x, size_t count);
float tl_deviation_of(const float *x, size_t count);

/* range[0] and range[1] become the lowest and highest of themselves and of x. NaNs do not
 * count. */
void tl_range_extend(float range[2], const float *x, size_t count);

#endif
