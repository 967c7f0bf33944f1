/* Where a stretch of a row's pixels lies in the source, see affine_rows.h. */
#ifndef TL_IMAGE_AFFINE_PLACES_H
#define TL_IMAGE_AFFINE_PLACES_H

#include <stdint.h>

enum { STRETCH = 64 };

/* The upper left of 2 x 2 samples, counted in pixels, and the weights of rows and columns. */
typedef struct places {
    int32_t at[STRETCH];
    double y0[STRETCH], y1[STRETCH], x0[STRETCH], x1[STRETCH];
    int32_t odd[STRETCH]; /* -1: the pixel needs tl_affine_pixel */
} places;

#endif
