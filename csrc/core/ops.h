/* The contract between WHAT a network is and HOW its steps run.
 *
 * The core declares it; dnnl/ and kernels/ implement it, tests/c/reference_ops.c too. A
 * backend takes blocks: one step, or several in a row that it runs as one, so that what lies
 * between them is never a whole picture in memory. For inference a block goes through
 *
 *   takes     how many of the next steps the backend wants as one block
 *   prepare   once a program: makes the code for one image (a kernel), no weights yet
 *   pack      whenever weights change: lays the folded weights out as the kernel wants them
 *   bind      once an executor: whatever one thread needs to run it
 *   forward   once an image, or once each part of it: no allocation, no lock
 *
 * All but takes are called on crew threads; a kernel may be prepared on one and
 * run on another. Training needs matrix products of whole batches, gemm, and what
 * train_ops.h says. */
#ifndef TL_CORE_OPS_H
#define TL_CORE_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/lower.h"
#include "core/status.h"
#include "core/train_ops.h"

/* Steps in a row: each reads what the one before made, and nobody else reads that. */
typedef struct tl_block {
    const tl_step *steps;
    size_t count; /* at least 1 */
} tl_block;

#define TL_NOT_FINITE "an image holds NaN or infinity"

enum { TL_MAX_PHASES = 2, TL_MAX_BLOCK = 3 };

typedef struct tl_kernel {
    void *state;          /* the backend's own */
    size_t packed_bytes;  /* what pack fills; 64-byte aligned */
    size_t scratch_bytes; /* what forward may scribble on; 64-byte aligned, one a thread */
    size_t shared_bytes;  /* what one phase leaves for the next; one an image */
    bool adds_in_place;   /* the residual lies in dst, and dst may take its place over; whoever
                             does that cannot be shared out */
    bool takes_pixels;    /* can read bytes as well as floats */
    bool checks_finite;   /* reads all of src and can refuse NaN and infinity in it */
    /* How one image can be shared out among threads: in phases, one after the other, each of
     * so many units. 0 phases: it cannot. */
    size_t phases;
    size_t units[TL_MAX_PHASES];
} tl_kernel;

/* Images to read: floats, or bytes and what each byte means. */
typedef struct tl_images {
    const float *numbers;  /* NULL: pixels */
    const uint8_t *pixels; /* only of the input of a graph */
    const float *values;   /* 256 */
    bool finite;           /* refuse images with NaN or infinity */
} tl_images;

/* The images from the one whose numbers begin `behind` numbers or bytes later. */
static inline tl_images
tl_images_from(const tl_images *images, size_t behind)
{
    return (tl_images){
        .numbers = images->numbers == NULL ? NULL : images->numbers + behind,
        .pixels = images->pixels == NULL ? NULL : images->pixels + behind,
        .values = images->values,
        .finite = images->finite,
    };
}

/* What to compute: the whole block, or the units [begin, end) of one phase. */
typedef struct tl_work {
    float *dst; /* never overlaps src, except that a flatten copies nothing where equal */
    const float *src;
    const uint8_t *pixels; /* in place of src where the kernel takes_pixels, or NULL */
    const float *values;   /* 256: what each byte means */
    bool finite;           /* refuse src with NaN or infinity; where the kernel checks_finite */
    const float *residual; /* added; already in dst where the kernel adds_in_place */
    const float *others[TL_MAX_INPUTS - 1]; /* what a concatenate reads behind src */
    void *shared;
    bool whole;
    size_t phase, begin, end;
} tl_work;

typedef struct tl_backend {
    const char *name;

    /* How many of the first steps the backend takes as one block; 0: not even the first.
     * `chain` is as long as steps follow each other like the steps of a block. */
    size_t (*takes)(const tl_block *chain);

    /* On failure *kernel is untouched. */
    tl_status (*prepare)(tl_kernel *kernel, const tl_block *block);
    void (*release)(tl_kernel *kernel);

    /* weights[i] (HWIO, folded) and biases[i] are of the block's i-th step; NULL for steps
     * without weights. Not called where packed_bytes is 0. */
    tl_status (*pack)(const tl_kernel *kernel, const tl_block *block, void *packed,
                      const float *const *weights, const float *const *biases);

    tl_status (*bind)(void **binding, const tl_kernel *kernel, void *packed, void *scratch);
    void (*unbind)(void *binding);

    tl_status (*forward)(const tl_kernel *kernel, const tl_block *block, void *binding,
                         const tl_work *work);
} tl_backend;

/* c (m, n) <- a (m, k) b (k, n) + beta c, row-major; a or b may be stored transposed. */
typedef struct tl_gemm {
    bool transpose_a, transpose_b;
    size_t m, n, k;
    float beta; /* 0 or 1 */
} tl_gemm;

typedef tl_status (*tl_gemm_function)(float *c, const float *a, const float *b,
                                      const tl_gemm *shape);

/* A node that resizes pictures (picture_node.h), in training: dst <- src of `rows` pictures;
 * with `back` src's gradient, dst here, += what dst's, src here, means for it. */
typedef tl_status (*tl_resize_function)(float *dst, const float *src, const tl_node *node,
                                        const tl_shape *input, size_t rows, bool back);

/* Everything that can run, in order of preference. */
typedef struct tl_ops {
    const tl_backend *const *backends;
    size_t count;
    tl_gemm_function gemm;
    tl_resize_function resize; /* NULL: such nodes cannot be trained through */
    const tl_train_ops *training;
} tl_ops;

#endif
