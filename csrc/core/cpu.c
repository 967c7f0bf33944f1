/* CPU features, asked of the compiler's run-time library. */
#include "core/cpu.h"

#include <string.h>

static const char *const names[] = {
    [TL_ISA_BASELINE] = "baseline",
    [TL_ISA_SSE41] = "sse41",
    [TL_ISA_AVX2] = "avx2",
    [TL_ISA_AVX512] = "avx512",
};

static tl_isa limit = TL_ISA_AVX512;
static bool limited;

tl_isa
tl_cpu_detected(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        return TL_ISA_AVX512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return TL_ISA_AVX2;
    }
    if (__builtin_cpu_supports("sse4.1")) {
        return TL_ISA_SSE41;
    }
#endif
    return TL_ISA_BASELINE;
}

tl_isa
tl_cpu_isa(void)
{
    const tl_isa best = tl_cpu_detected();
    return best < limit ? best : limit;
}

bool
tl_cpu_limit(const char *name)
{
    for (tl_isa isa = TL_ISA_SSE41; isa <= TL_ISA_AVX512; isa++) {
        if (strcmp(name, names[isa]) == 0) {
            limit = isa;
            limited = true;
            return true;
        }
    }
    return false;
}

bool
tl_cpu_is_limited(void)
{
    return limited;
}

const char *
tl_isa_name(tl_isa isa)
{
    return names[isa];
}
