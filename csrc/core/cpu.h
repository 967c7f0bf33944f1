/* What the CPU can do and what of it may be used. Kernels choose by tl_cpu_isa; the limit is
 * for comparing their paths on one machine. */
#ifndef TL_CORE_CPU_H
#define TL_CORE_CPU_H

#include <stdbool.h>

typedef enum tl_isa {
    TL_ISA_BASELINE, /* whatever the compiler takes for granted */
    TL_ISA_SSE41,
    TL_ISA_AVX2,  /* with FMA */
    TL_ISA_AVX512 /* F, BW, DQ and VL */
} tl_isa;

/* The best of them that this CPU and its operating system have. */
tl_isa tl_cpu_detected(void);

/* The best that may be used: the smaller of tl_cpu_detected and the limit. */
tl_isa tl_cpu_isa(void);

/* Sets the limit: "sse41", "avx2" or "avx512", before any kernel is chosen. False for any other
 * name. */
bool tl_cpu_limit(const char *name);
bool tl_cpu_is_limited(void);

/* As tl_cpu_limit takes it, or "baseline". */
const char *tl_isa_name(tl_isa isa);

#endif
