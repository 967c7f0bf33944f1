/* Measures the machine's limits: fp32 multiply-adds in GFLOP/s, and reading in GB/s from the
 * second cache level and from memory.
 *
 *   cc -O2 -pthread -o peak peak.c
 *   ./peak 2 avx512        two threads, 512-bit registers (or avx2); prints the three numbers
 *   ./peak 2 avx512 500    multiplies for a third of a second and then until 93 % of 500
 * GFLOP/s are reached, but at most three seconds; prints the last rate
 *
 * The second form is for before a measurement: a host may put two virtual CPUs that were idle
 * on one core, and needs a while to notice; and threads of whoever was measured before may be
 * waiting busily.
 *
 * The loops are assembly: compilers merge a C loop's accumulators and then report several times
 * the true limit. Twelve independent accumulators cover the latency of two FMA units. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ACCUMULATORS = 12, REPEATS = 5, MAX_THREADS = 256 };
enum { CACHE_BYTES = 256 << 10, MEMORY_BYTES = 64 << 20, LINES = 512 }; /* bytes a round */

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

/* Eight loads of a line each, in halves: so AVX2 is enough, and as fast. */
#define READ(at)                                                                     \
    __asm__ volatile("vmovaps (%0), %%ymm0\n\t"                                      \
                     "vmovaps 32(%0), %%ymm1\n\t"                                    \
                     "vmovaps 64(%0), %%ymm2\n\t"                                    \
                     "vmovaps 96(%0), %%ymm3\n\t"                                    \
                     "vmovaps 128(%0), %%ymm4\n\t"                                   \
                     "vmovaps 160(%0), %%ymm5\n\t"                                   \
                     "vmovaps 192(%0), %%ymm6\n\t"                                   \
                     "vmovaps 224(%0), %%ymm7\n\t"                                   \
                     "vmovaps 256(%0), %%ymm0\n\t"                                   \
                     "vmovaps 288(%0), %%ymm1\n\t"                                   \
                     "vmovaps 320(%0), %%ymm2\n\t"                                   \
                     "vmovaps 352(%0), %%ymm3\n\t"                                   \
                     "vmovaps 384(%0), %%ymm4\n\t"                                   \
                     "vmovaps 416(%0), %%ymm5\n\t"                                   \
                     "vmovaps 448(%0), %%ymm6\n\t"                                   \
                     "vmovaps 480(%0), %%ymm7\n\t"                                   \
                     :                                                               \
                     : "r"(at)                                                       \
                     : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",     \
                       "xmm6", "xmm7")
/* clang-format on */

/* What the threads do: multiply and add, or read so many bytes again and again. */
static size_t reading;

/* When a thread began and ended: the one that waits may itself have to wait for a CPU. */
typedef struct span {
    double begun, ended;
} span;

static double
now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void
read_again(long n, span *mine)
{
    char *block = aligned_alloc(LINES, reading);
    if (block == NULL) {
        exit(2);
    }
    for (size_t i = 0; i < reading; i++) {
        block[i] = 1; /* pages of its own */
    }
    (void)pthread_barrier_wait(&start);
    mine->begun = now();
    for (; n > 0; n--) {
        for (size_t i = 0; i < reading; i += LINES) {
            READ(block + i);
        }
    }
    mine->ended = now();
    free(block);
}

static void *
work(void *argument)
{
    span *mine = argument;
    long n = rounds;
    if (reading > 0) {
        read_again(n, mine);
        return NULL;
    }
    (void)pthread_barrier_wait(&start);
    mine->begun = now();
    if (wide) {
        LOOP("zmm");
    } else {
        LOOP("ymm");
    }
    mine->ended = now();
    return NULL;
}

/* Seconds that `threads` threads need for `rounds` rounds each. */
static double
measure(long threads)
{
    pthread_t crew[MAX_THREADS];
    span spans[MAX_THREADS];
    (void)pthread_barrier_init(&start, NULL, (unsigned)threads);
    for (long i = 0; i < threads; i++) {
        if (pthread_create(&crew[i], NULL, work, &spans[i]) != 0) {
            exit(2);
        }
    }
    span all = {1e300, 0};
    for (long i = 0; i < threads; i++) {
        (void)pthread_join(crew[i], NULL);
        all.begun = spans[i].begun < all.begun ? spans[i].begun : all.begun;
        all.ended = spans[i].ended > all.ended ? spans[i].ended : all.ended;
    }
    (void)pthread_barrier_destroy(&start);
    return all.ended - all.begun;
}

/* The best of some repetitions, in GB/s of all threads together. */
static double
bandwidth(long threads, size_t bytes)
{
    double best = 0;
    reading = bytes;
    rounds = (long)((1UL << 30) / bytes);
    for (int i = 0; i < REPEATS; i++) {
        const double moved = (double)bytes * (double)rounds * (double)threads;
        const double rate = moved / measure(threads) / 1e9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* GFLOP/s of all threads together. */
static double
multiply(long threads, long count)
{
    rounds = count;
    const double flop = 2.0 * ACCUMULATORS * (wide ? 16 : 8) * (double)threads;
    return flop * (double)rounds / measure(threads) / 1e9;
}

static double
settle(long threads, double wanted)
{
    const double begun = now();
    double rate = 0;
    double spent = 0;
    while (spent < 0.33 || (rate < 0.93 * wanted && spent < 3)) {
        rate = multiply(threads, 2 * 1000 * 1000);
        spent = now() - begun;
    }
    return rate;
}

int
main(int argc, char **argv)
{
    const long threads = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
    if (threads < 1 || threads > MAX_THREADS || !__builtin_cpu_supports("fma")) {
        return 1;
    }
    wide = __builtin_cpu_supports("avx512f") && (argc < 3 || strcmp(argv[2], "avx2") != 0);
    if (argc > 3) {
        printf("%.1f\n", settle(threads, strtod(argv[3], NULL)));
        return 0;
    }
    double best = 0;
    for (int i = 0; i < REPEATS; i++) {
        const double rate = multiply(threads, 20 * 1000 * 1000);
        best = rate > best ? rate : best;
    }
    const double cache = bandwidth(threads, CACHE_BYTES);
    printf("%.1f %.1f %.1f\n", best, cache, bandwidth(threads, MEMORY_BYTES));
    return 0;
}
