/* Runs a lowered list forward, one image a thread; an image that is left over, several threads
 * to it. Used by network.c alone. */
#ifndef TL_CORE_INFER_H
#define TL_CORE_INFER_H

#include "core/lower.h"
#include "core/ops.h"

typedef struct tl_program tl_program;

/* Lowers, plans memory and prepares a kernel for every block, on the crew. */
tl_status tl_program_create(tl_program **out, const tl_graph *graph, const tl_ops *ops,
                            size_t start, size_t stop);
void tl_program_destroy(tl_program *program);

/* Folds and packs the weights on the crew. Nothing may run meanwhile. */
tl_status tl_program_pack(tl_program *program, const float *const *tensors);

/* dst <- src for `count` images. Weights must be packed. Any number of callers at once. */
tl_status tl_program_run(tl_program *program, float *dst, const tl_images *src, size_t count);

size_t tl_program_packed_bytes(const tl_program *program);
size_t tl_program_executor_bytes(const tl_program *program);

#endif
