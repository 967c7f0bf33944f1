/* oneDNN as a backend: convolutions, depthwise convolutions, dense layers, matrix products. */
#ifndef TL_DNNL_BACKEND_H
#define TL_DNNL_BACKEND_H

#include "core/ops.h"

extern const tl_backend tl_dnnl_backend;

/* Makes the engine and tells the crew to keep OpenMP to one thread. Call once, before use. */
tl_status tl_dnnl_open(void);

/* A tl_gemm_function. */
tl_status tl_dnnl_gemm(float *c, const float *a, const float *b, const tl_gemm *shape);

/* "3.2.0", and the instruction set that oneDNN uses, as static strings. */
const char *tl_dnnl_version(void);
const char *tl_dnnl_isa(void);

#endif
