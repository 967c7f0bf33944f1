/* A fixed block of named tensors, shared by every network that uses it.
 *
 * Tensors are float32 in Keras's layouts (HWIO kernels) and never move once made. Readers
 * hold the lock for reading while they compute; whoever changes values holds it for writing,
 * raises the block's version and stamps the changed tensors with it, so that packed copies of
 * these, and of no others, are known to be stale. */
#ifndef TL_CORE_PARAMETERS_H
#define TL_CORE_PARAMETERS_H

#include <stdatomic.h>
#include <stddef.h>

#include "core/arena.h"
#include "core/pool.h"
#include "core/shape.h"

typedef struct tl_tensor {
    tl_shape shape;
    size_t count; /* elements */
    float *data;  /* view of the arena */
} tl_tensor;

typedef struct tl_parameters {
    atomic_size_t references;
    tl_rwlock lock;
    unsigned long version; /* guarded by lock */
    tl_arena arena;
    size_t count;
    tl_tensor *tensors;
    unsigned long *versions; /* one a tensor: that of its last change; guarded by lock */
} tl_parameters;

/* Zeroed tensors of these shapes; the caller owns one reference. */
tl_status tl_parameters_create(tl_parameters **out, const tl_shape *shapes, size_t count);

/* One more owner. */
tl_parameters *tl_parameters_share(tl_parameters *parameters);

/* Tensor `index` alone has changed; call with the lock held for writing. */
void tl_parameters_touch(tl_parameters *parameters, size_t index);

/* Gives one reference back; the last one frees. NULL is fine. */
void tl_parameters_release(tl_parameters *parameters);

#endif
