/* Measures how many fp32 multiply-adds the machine can do, in GFLOP/s.
 *
 *   cc -O2 -pthread -o peak peak.c && ./peak 2        two threads; prints one number
 *
 * The loop is assembly: compilers merge a C loop's accumulators and then report several times
 * the true limit. Twelve independent accumulators cover the latency of two FMA units. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ACCUMULATORS = 12, REPEATS = 5, MAX_THREADS = 256 };

static long rounds;
static bool wide; /* 512-bit registers */
static pthread_barrier_t start;

/* clang-format off */
#define TWELVE(reg, a, b)                                                            \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "0\n\t"                           \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "1\n\t"                           \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "2\n\t"                           \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "3\n\t"                           \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "4\n\t"                           \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "5\n\t"                           \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "6\n\t"                           \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "7\n\t"                           \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "8\n\t"                           \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "9\n\t"                           \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "10\n\t"                          \
    "vfmadd231ps %%" reg a ", %%" reg b ", %%" reg "11\n\t"

/* Everything is zero first: denormals would slow the loop. */
#define LOOP(reg)                                                                    \
    __asm__ volatile("vzeroall\n\t"                                                  \
                     ".balign 32\n"                                                  \
                     "1:\n\t" TWELVE(reg, "12", "13")                                \
                     "dec %0\n\t"                                                    \
                     "jnz 1b\n\t"                                                    \
                     "vzeroupper"                                                    \
                     : "+r"(n)                                                       \
                     :                                                               \
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", \
                       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",   \
                       "xmm14", "xmm15")
/* clang-format on */

static void *
work(void *unused)
{
    long n = rounds;
    (void)pthread_barrier_wait(&start);
    if (wide) {
        LOOP("zmm");
    } else {
        LOOP("ymm");
    }
    return unused;
}

static double
now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds that `threads` threads need for `rounds` rounds each. */
static double
measure(long threads)
{
    pthread_t crew[MAX_THREADS];
    (void)pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
    for (long i = 0; i < threads; i++) {
        if (pthread_create(&crew[i], NULL, work, NULL) != 0) {
            exit(2);
        }
    }
    (void)pthread_barrier_wait(&start);
    const double begun = now();
    for (long i = 0; i < threads; i++) {
        (void)pthread_join(crew[i], NULL);
    }
    const double spent = now() - begun;
    (void)pthread_barrier_destroy(&start);
    return spent;
}

int
main(int argc, char **argv)
{
    const long threads = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
    if (threads < 1 || threads > MAX_THREADS || !__builtin_cpu_supports("fma")) {
        return 1;
    }
    wide = __builtin_cpu_supports("avx512f");
    const double flop = 2.0 * ACCUMULATORS * (wide ? 16 : 8) * (double)threads;
    double best = 0;
    for (int i = 0; i < REPEATS; i++) {
        rounds = 20 * 1000 * 1000;
        const double rate = flop * (double)rounds / measure(threads) / 1e9;
        best = rate > best ? rate : best;
    }
    printf("%.1f\n", best);
    return 0;
}
