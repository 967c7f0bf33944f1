/* A bump allocator that is used only where the system's own refuses. */
#include "core/ballast.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/arena.h"

enum { PAGE = 4096, SPARED = 16 * PAGE, MOST_CUT = 1024 };

/* Lies at the start of its own address space. */
typedef struct ballast {
    size_t cut;               /* what lies before has been handed out */
    atomic_size_t owners;     /* the thread that holds it, and every piece not yet freed */
    _Atomic(uintptr_t) *slot; /* in `known`, once a piece has been cut */
} ballast;

static _Thread_local ballast *held;
static _Thread_local tl_arena spare;

/* Every ballast of which a piece was cut: a block lies in one of them or is malloc's. */
static _Atomic(uintptr_t) known[MOST_CUT];
static atomic_size_t known_count;

static void *
map(size_t bytes, int protection)
{
    void *block =
        mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

static void
leave(ballast *b)
{
    if (atomic_fetch_sub(&b->owners, 1) != 1) {
        return;
    }
    if (b->slot != NULL) {
        atomic_store(b->slot, 0);
        atomic_fetch_sub(&known_count, 1);
    }
    (void)munmap(b, TL_BALLAST);
}

void
tl_ballast_drop(void)
{
    if (held != NULL) {
        leave(held);
        held = NULL;
    }
    if (spare.size > 0) {
        (void)munmap(spare.base, spare.size);
    }
    spare = (tl_arena){NULL, 0};
}

tl_status
tl_ballast_hold(void)
{
    if (held != NULL && held->slot == NULL && spare.size == TL_SPARE) {
        return TL_OK;
    }
    tl_ballast_drop();
    const bool refused = tl_alloc_is_refused();
    held = refused ? NULL : map(TL_BALLAST, PROT_READ | PROT_WRITE);
    spare.base = held == NULL ? NULL : map(TL_SPARE, PROT_READ | PROT_WRITE);
    spare.size = spare.base == NULL ? 0 : TL_SPARE;
    if (held != NULL) {
        held->cut = sizeof *held; /* a new mapping is zeroed */
        atomic_init(&held->owners, 1);
    }
    if (spare.base == NULL) {
        tl_ballast_drop();
        return tl_fail(TL_OUT_OF_MEMORY, "no room for %d bytes of working memory",
                       TL_BALLAST + TL_SPARE);
    }
    return TL_OK;
}

bool
tl_ballast_spare(void)
{
    if (spare.size == 0) {
        return false;
    }
    spare.size -= SPARED;
    return munmap(spare.base + spare.size, SPARED) == 0;
}

/* --- pieces ----------------------------------------------------------------------------- */

/* Enters `b` in the list of those that were cut; false where the list is full. */
static bool
make_known(ballast *b)
{
    for (size_t i = 0; b->slot == NULL && i < MOST_CUT; i++) {
        uintptr_t none = 0;
        if (atomic_compare_exchange_strong(&known[i], &none, (uintptr_t)b)) {
            b->slot = &known[i];
            atomic_fetch_add(&known_count, 1);
        }
    }
    return b->slot != NULL;
}

static void *
cut(size_t alignment, size_t bytes)
{
    ballast *b = held;
    if (b == NULL || bytes > TL_BALLAST || alignment > TL_BALLAST || !make_known(b)) {
        return NULL;
    }
    const size_t start = (b->cut + alignment - 1) / alignment * alignment;
    if (start + bytes > TL_BALLAST) {
        return NULL;
    }
    b->cut = start + bytes;
    atomic_fetch_add(&b->owners, 1);
    return (unsigned char *)b + start;
}

/* The ballast that the block was cut from, or NULL. */
static ballast *
ballast_of(const void *block)
{
    if (atomic_load(&known_count) == 0) {
        return NULL; /* almost always */
    }
    for (size_t i = 0; i < MOST_CUT; i++) {
        const uintptr_t start = atomic_load(&known[i]);
        if (start != 0 && (uintptr_t)block - start < TL_BALLAST) {
            return (ballast *)start;
        }
    }
    return NULL;
}

void *
tl_ballast_malloc(size_t alignment, size_t bytes)
{
    void *block = NULL;
    if (posix_memalign(&block, alignment, bytes) == 0) {
        return block;
    }
    return cut(alignment < 16 ? 16 : alignment, bytes == 0 ? 1 : bytes);
}

void
tl_ballast_free(void *block)
{
    ballast *b = ballast_of(block);
    if (b == NULL) {
        free(block);
    } else {
        leave(b);
    }
}

void *
tl_ballast_map(size_t bytes, int protection)
{
    void *block = map(bytes, protection);
    return block != NULL ? block : cut(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);
}

int
tl_ballast_unmap(void *block, size_t bytes)
{
    ballast *b = ballast_of(block);
    if (b == NULL) {
        return munmap(block, bytes);
    }
    leave(b);
    return 0;
}
