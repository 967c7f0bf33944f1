/* The contract between WHAT a network is and HOW its steps run.
 *
 * The core declares it; dnnl/ and kernels/ implement it, tests/c/reference_ops.c too. A
 * backend offers the steps that it can run. For inference a step goes through
 *
 *   prepare   once a program: makes the code for one image (a kernel), no weights yet
 *   pack      whenever weights change: lays the folded weights out as the kernel wants them
 *   bind      once an executor: whatever one thread needs to run it
 *   forward   once an image: no allocation, no lock
 *
 * prepare, pack and forward are called on crew threads; a kernel may be prepared on one and
 * run on another. Training needs matrix products of whole batches: gemm. */
#ifndef TL_CORE_OPS_H
#define TL_CORE_OPS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/lower.h"
#include "core/status.h"

typedef struct tl_kernel {
    void *state;          /* the backend's own */
    size_t packed_bytes;  /* what pack fills; 64-byte aligned */
    size_t scratch_bytes; /* what forward may scribble on; 64-byte aligned */
} tl_kernel;

typedef struct tl_backend {
    const char *name;

    bool (*offers)(const tl_step *step);

    /* On failure *kernel is untouched. */
    tl_status (*prepare)(tl_kernel *kernel, const tl_step *step);
    void (*release)(tl_kernel *kernel);

    /* `kernel` (HWIO, folded) and `bias` are NULL for steps without weights. */
    tl_status (*pack)(const tl_kernel *kernel, const tl_step *step, void *packed,
                      const float *weights, const float *bias);

    tl_status (*bind)(void **binding, const tl_kernel *kernel, void *packed, void *scratch);
    void (*unbind)(void *binding);

    /* dst <- step(src). A residual of a convolution already lies in dst and is added to; that
     * of an add is passed. dst never overlaps src, except that a flatten copies nothing where
     * they are equal. */
    tl_status (*forward)(const tl_kernel *kernel, const tl_step *step, void *binding,
                         float *dst, const float *src, const float *residual);
} tl_backend;

/* c (m, n) <- a (m, k) b (k, n) + beta c, row-major; a or b may be stored transposed. */
typedef struct tl_gemm {
    bool transpose_a, transpose_b;
    size_t m, n, k;
    float beta; /* 0 or 1 */
} tl_gemm;

typedef tl_status (*tl_gemm_function)(float *c, const float *a, const float *b,
                                      const tl_gemm *shape);

/* Everything that can run, in order of preference. */
typedef struct tl_ops {
    const tl_backend *const *backends;
    size_t count;
    tl_gemm_function gemm;
} tl_ops;

#endif
