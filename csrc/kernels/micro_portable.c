/* What every CPU has: the compiler's vectors of 4 floats, a multiplication and then a sum. */
#include "kernels/micro.h"

#include <stdint.h>
#include <string.h>

typedef float vec __attribute__((vector_size(16)));
typedef int mask __attribute__((vector_size(16)));

static inline vec
load(const float *from)
{
    vec x;
    memcpy(&x, from, sizeof x);
    return x;
}

static inline void
store(float *to, vec x)
{
    memcpy(to, &x, sizeof x);
}

/* Seldom needed, so not inline. */
static __attribute__((noinline)) vec
load_part(const float *from, size_t count)
{
    float whole[4] = {0};
    memcpy(whole, from, count * sizeof *from);
    return load(whole);
}

static __attribute__((noinline)) void
store_part(float *to, vec x, size_t count)
{
    memcpy(to, &x, count * sizeof *to);
}

static inline vec
load_tail(const float *from, size_t tail)
{
    return tail < 4 ? load_part(from, tail) : load(from);
}

static inline void
store_tail(float *to, vec x, size_t tail)
{
    if (tail < 4) {
        store_part(to, x, tail);
    } else {
        store(to, x);
    }
}

static inline vec
choose(mask yes, vec a, vec b)
{
    return (vec)((yes & (mask)a) | (~yes & (mask)b));
}

static inline vec
at_least_zero(vec x)
{
    return choose(x < (vec){0}, (vec){0}, x);
}

static inline vec
at_most(vec limit, vec x)
{
    return choose(x > limit, limit, x);
}

enum { WIDTH = 4 };
#define WIDEST 3
#define TARGET
#define LOAD(p) load(p)
#define STORE(p, x) store(p, x)
#define TAIL size_t
#define FIND_TAIL(count) (count)
#define LOAD_TAIL(p, tail) load_tail(p, tail)
#define STORE_TAIL(p, x, tail) store_tail(p, x, tail)
#define SPREAD(p) ((vec){*(p), *(p), *(p), *(p)})
#define SPREAD_CONSTANT(x) ((vec){x, x, x, x})
#define ADD(a, b) ((a) + (b))
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#define AT_LEAST_ZERO(x) at_least_zero(x)
#define AT_MOST(limit, x) at_most(limit, x)
#define PIXELS_1 7
#define PIXELS_2 6
#define PIXELS_3 4
#define DEPTHWISE_PIXELS 7
#define MICRO tl_micro_portable
#define ISA TL_ISA_BASELINE
#include "kernels/micro_template.h"
