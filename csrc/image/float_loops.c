/* One set of loops for each instruction set. */
#include "image/float_loops.h"

#include <stdint.h>
#include <string.h>

#include "core/cpu.h"

enum { PERIOD = 48 };

#define TARGET
#define NAME(x) x##_portable
#include "image/float_loops_template.h"

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2")))
#define NAME(x) x##_avx2
#include "image/float_loops_template.h"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define NAME(x) x##_avx512
#include "image/float_loops_template.h"
#endif

const tl_float_loops *
tl_float_loops_best(void)
{
#if defined(__x86_64__)
    const tl_isa isa = tl_cpu_isa();
    if (isa == TL_ISA_AVX512) {
        return &loops_avx512;
    }
    if (isa == TL_ISA_AVX2) {
        return &loops_avx2;
    }
#endif
    return &loops_portable;
}
