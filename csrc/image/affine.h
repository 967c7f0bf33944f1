/* Affine transformation of a picture, height x width x channels, with the arithmetic of
 * scipy.ndimage.affine_transform for order 0 and 1: where a pixel of the result lies in the
 * source is computed in double, in scipy's order, and so are the weighted sums.
 *
 * Values of uint8 and float32 pictures are scipy's bit for bit, but for pixels beyond the edge
 * in the fill mode "nearest": their weights are rounded less often, and about one float in 2^28
 * ends on the neighbouring one. Pictures of float64 are scipy's throughout. */
#ifndef TL_IMAGE_AFFINE_H
#define TL_IMAGE_AFFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "image/pixels.h"

typedef enum tl_pixel_type { TL_UINT8, TL_FLOAT32, TL_FLOAT64 } tl_pixel_type;

/* What lies beyond the edges of a b c d. */
typedef enum tl_edge_mode {
    TL_EDGE_NEAREST,       /* a a a | a b c d | d d d */
    TL_EDGE_CONSTANT,      /* k k k | a b c d | k k k, no blending with k */
    TL_EDGE_REFLECT,       /* c b a | a b c d | d c b */
    TL_EDGE_WRAP,          /* b c d | b c d a | b c d, scipy's: period 3 */
    TL_EDGE_MIRROR,        /* d c b | a b c d | c b a */
    TL_EDGE_GRID_CONSTANT, /* k k k | a b c d | k k k, blended with k */
    TL_EDGE_GRID_WRAP,     /* b c d | a b c d | a b c */
    TL_EDGE_COUNT
} tl_edge_mode;

/* Scipy's name of a mode to the mode ("grid-mirror" is "reflect"); false for any other name. */
bool tl_edge_mode_named(tl_edge_mode *mode, const char *name);

/* Pixel (i, j) of the result is the source's at row m[0] i + m[1] j + m[2] and column
 * m[3] i + m[4] j + m[5]. */
typedef struct tl_affine {
    double m[6];
    int order; /* 0 or 1 */
    tl_edge_mode fill;
    double cval;
} tl_affine;

/* A source, and where its pixels go. uint8 and float32 become float32, float64 stays. */
typedef struct tl_affine_job {
    tl_affine affine;
    bool flip_rows, flip_cols; /* of the result */
    tl_pixel_type type;        /* of the source */
    const void *src;           /* height x width x channels, as dst; may not overlap it */
    size_t step;               /* values from a pixel of src to the next; no gaps for floats */
    void *dst;
    size_t height, width, channels;
    const tl_pixel_map *map; /* for float32 results, or NULL */
    bool streams;            /* past the caches: float32 of at most 4 channels */
} tl_affine_job;

/* TL_BAD_VALUE if a number is not finite or the order is another. */
tl_status tl_affine_check(const tl_affine *affine);

/* Rows first to last - 1 of the result, by the best instruction set that may be used. */
void tl_affine_rows(const tl_affine_job *job, size_t first, size_t last);

/* What the instruction sets have in common, and each of them. */
typedef void tl_affine_rows_function(const tl_affine_job *job, size_t first, size_t last);
tl_affine_rows_function tl_affine_rows_portable;
#if defined(__x86_64__)
tl_affine_rows_function tl_affine_rows_avx2, tl_affine_rows_avx512;
#endif

/* One pixel of the result by scipy's own steps, for any job: pixel `to` of dst, which holds
 * what job->dst does, is the source's at (y, x). Slow. */
void tl_affine_pixel(void *dst, const tl_affine_job *job, size_t to, double y, double x);

#endif
