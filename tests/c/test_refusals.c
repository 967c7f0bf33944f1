/* Memory that the C library, libstdc++ or the system refuses, wherever it is asked for: by
 * tlcore, by oneDNN, by C++ strings, by the start of a thread. This program's own malloc stands
 * before the C library's for every library in the process, and refuses the n-th call; or the
 * address space is limited. Each n runs in a forked child: it must end with TL_OK,
 * TL_OUT_OF_MEMORY or a refused thread, never by a signal, and the same network must run once
 * there is memory again.
 *
 *   test_refusals [stride]      every stride-th n (default 397; 1 is all) */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "builders.h"
#include "check.h"
#include "core/pool.h"
#include "core/train.h"
#include "dnnl/backend.h"
#include "reference_ops.h"

enum { SIDE = 12, IMAGES = 3, MOST = 100000, HANGS = 30, UNTOUCHED = 100, STRANGE = 101 };

/* --- the allocator that refuses --------------------------------------------------------- */

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static atomic_long countdown = -1; /* below zero: none is refused */

static bool
refused(void)
{
    if (atomic_load(&countdown) < 0 || atomic_fetch_sub(&countdown, 1) != 0) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

void *
malloc(size_t bytes)
{
    return refused() ? NULL : __libc_malloc(bytes);
}

void *
calloc(size_t count, size_t size)
{
    return refused() ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *block, size_t bytes)
{
    return refused() ? NULL : __libc_realloc(block, bytes);
}

void *
aligned_alloc(size_t alignment, size_t bytes)
{
    return refused() ? NULL : __libc_memalign(alignment, bytes);
}

int
posix_memalign(void **block, size_t alignment, size_t bytes)
{
    void *found = refused() ? NULL : __libc_memalign(alignment, bytes);
    if (found == NULL) {
        return ENOMEM;
    }
    *block = found;
    return 0;
}

void *
mmap(void *hint, size_t bytes, int protection, int flags, int file, off_t offset)
{
    return refused() ? MAP_FAILED
                     : (void *)syscall(SYS_mmap, hint, bytes, protection, flags, file, offset);
}

/* --- the story -------------------------------------------------------------------------- */

typedef struct cast {
    tl_graph *graph;
    tl_parameters *parameters;
    tl_network *network;
    tl_trainer *trainer;
} cast;

static float src[IMAGES * SIDE * SIDE * 3];
static float features[IMAGES * SIDE * SIDE * 10];
static float outputs[IMAGES * 4];

static tl_status
create(cast *c)
{
    tl_status status = TL_OK;
    TL_TRY(small_graph(&c->graph, SIDE, SIDE));
    TL_TRY(random_parameters(&c->parameters, c->graph, 1));
    TL_TRY(tl_network_create(&c->network, c->graph, &c->parameters, 1, &product_ops));
done:
    return status;
}

static tl_status
predict_and_train(cast *c)
{
    tl_status status = TL_OK;
    const float targets[IMAGES] = {0, 1, 2};
    bool trainable[64] = {false};
    double value;
    for (size_t i = c->graph->param_count - 4; i < c->graph->param_count; i++) {
        trainable[i] = true;
    }
    const tl_trainer_plan plan = {
        .start = tl_network_cut(c->network, trainable),
        .trainable = trainable,
        .loss = {TL_SPARSE_CATEGORICAL_CROSSENTROPY, false},
        .optimizer = {.kind = TL_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7F}};
    const tl_batch batch = {.inputs = features, .targets = targets, .rows = IMAGES};
    TL_TRY(tl_network_run(c->network, outputs, src, IMAGES, 0, c->graph->count - 1));
    TL_TRY(tl_network_run(c->network, features, src, IMAGES, 0, plan.start));
    if (c->trainer == NULL) {
        TL_TRY(tl_trainer_create(&c->trainer, c->network, &plan));
    }
    TL_TRY(tl_trainer_step(c->trainer, &value, outputs, &batch, 0.01F));
done:
    return status;
}

static void
destroy(cast *c)
{
    tl_trainer_destroy(c->trainer);
    tl_network_destroy(c->network);
    tl_parameters_release(c->parameters);
    tl_graph_destroy(c->graph);
    *c = (cast){0};
}

/* --- children --------------------------------------------------------------------------- */

typedef void (*trouble)(long n);

static void
refuse_call(long n)
{
    atomic_store(&countdown, n);
}

/* As much address space as is in use, and n times 32 KiB. */
static void
limit_address_space(long n)
{
    unsigned long pages = 0;
    struct rlimit limit = {0, RLIM_INFINITY};
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1) {
        _exit(STRANGE);
    }
    (void)fclose(file);
    limit.rlim_cur = pages * (unsigned long)sysconf(_SC_PAGESIZE) + (unsigned long)n * 32768;
    (void)setrlimit(RLIMIT_AS, &limit);
}

static void
end_trouble(void)
{
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    atomic_store(&countdown, -1);
    (void)setrlimit(RLIMIT_AS, &none);
}

/* Runs in the child; the answer is its exit code. */
static int
tell(trouble begin, long n)
{
    cast c = {0};
    alarm(HANGS);
    if (begin == limit_address_space) {
        begin(n);
    } else {
        atomic_store(&countdown, n);
    }
    tl_status status = create(&c);
    if (status == TL_OK) {
        status = predict_and_train(&c);
    }
    const bool untouched = begin == refuse_call && atomic_load(&countdown) >= 0;
    end_trouble();
    if (status != TL_OK && status != TL_OUT_OF_MEMORY && status != TL_SYSTEM_FAILED) {
        return STRANGE;
    }
    if (c.network != NULL && predict_and_train(&c) != TL_OK) {
        return STRANGE; /* neither usable nor refused at once */
    }
    destroy(&c);
    if (create(&c) != TL_OK || predict_and_train(&c) != TL_OK) {
        return STRANGE;
    }
    destroy(&c);
    return untouched ? UNTOUCHED : (int)status;
}

typedef struct tally {
    long runs, fine, refused, strange;
} tally;

/* Adds child n's end to the tally; false once the story ends before the trouble. */
static bool
watch(tally *t, trouble begin, long n)
{
    int ended = 0;
    (void)fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        _exit(tell(begin, n));
    }
    CHECK(child > 0 && waitpid(child, &ended, 0) == child);
    const int code = WIFEXITED(ended) ? WEXITSTATUS(ended) : STRANGE;
    if (code == UNTOUCHED) {
        return false;
    }
    t->runs++;
    t->fine += code == TL_OK;
    t->refused += code == TL_OUT_OF_MEMORY || code == TL_SYSTEM_FAILED;
    if (code == STRANGE) {
        t->strange++;
        (void)printf("n = %ld: %s %d\n", n, WIFSIGNALED(ended) ? "signal" : "exit code",
                     WIFSIGNALED(ended) ? WTERMSIG(ended) : WEXITSTATUS(ended));
    }
    return true;
}

static long stride = 397;

static void
test_every_refused_call(void)
{
    tally t = {0};
    long n = 0;
    while (n < MOST && watch(&t, refuse_call, n)) {
        n += stride;
    }
    (void)printf("  refused calls: %ld tried, %ld made good, %ld reported, %ld neither\n",
                 t.runs, t.fine, t.refused, t.strange);
    CHECK(n < MOST && t.strange == 0 && t.fine > 0 && t.refused > 0);
}

static void
test_address_space_limits(void)
{
    tally t = {0};
    for (long n = 0; n < 12000 && t.fine < 3; n += stride / 4 + 1) {
        (void)watch(&t, limit_address_space, n);
    }
    (void)printf("  address space: %ld limits tried, %ld enough, %ld reported, %ld neither\n",
                 t.runs, t.fine, t.refused, t.strange);
    CHECK(t.strange == 0 && t.fine > 0 && t.refused > 0);
}

int
main(int count, char **arguments)
{
    if (count > 1) {
        stride = strtol(arguments[1], NULL, 10);
    }
    CHECK_OK(tl_dnnl_open());
    if (getenv("ONLY")) {
        int st;
        if (!fork()) {
            _exit(tell(limit_address_space, atol(getenv("ONLY"))));
        }
        wait(&st);
        return 0;
    }
    RUN(test_every_refused_call);
    RUN(test_address_space_limits);
    tl_pool_close();
    return REPORT();
}
