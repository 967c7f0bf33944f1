/* Aligned blocks, planned sizes, and the hook that makes the n-th allocation fail. */
#include "core/arena.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature) /* clang's way of telling */
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { GUARD = TL_ALIGNMENT };
#else
enum { GUARD = 0 };
#endif

enum { HUGE_PAGE = 2 << 20 };

/* Below zero: no failure is planned. */
static atomic_long fail_countdown = -1;

void
tl_alloc_fail_at(long n)
{
    atomic_store(&fail_countdown, n);
}

bool
tl_alloc_is_refused(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0) {
        return false;
    }
    return atomic_fetch_sub(&fail_countdown, 1) == 0;
}

static size_t
round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

void *
tl_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (tl_alloc_is_refused() || __builtin_mul_overflow(count, size, &bytes) ||
        bytes > PTRDIFF_MAX - 2 * HUGE_PAGE) {
        return NULL;
    }
    const bool large = bytes >= 2 * (size_t)HUGE_PAGE;
    const size_t alignment = large ? HUGE_PAGE : TL_ALIGNMENT;
    const size_t whole = round_up(bytes == 0 ? 1 : bytes, alignment);
    void *block = aligned_alloc(alignment, whole);
    if (block == NULL) {
        return NULL;
    }
    if (large) {
        (void)madvise(block, whole, MADV_HUGEPAGE); /* only advice: 4 KiB pages work too */
    }
    memset(block, 0, whole);
#ifdef __SANITIZE_ADDRESS__
    ASAN_POISON_MEMORY_REGION((unsigned char *)block + bytes, whole - bytes);
#endif
    return block;
}

void
tl_free(void *block)
{
    free(block);
}

void *
tl_grow(void *block, size_t count, size_t new_count, size_t size)
{
    void *bigger = tl_alloc(new_count, size);
    if (bigger != NULL && block != NULL) {
        memcpy(bigger, block, count * size);
        tl_free(block);
    }
    return bigger;
}

tl_status
tl_layout_add(tl_layout *layout, size_t *offset, size_t bytes)
{
    size_t end;
    if (bytes > SIZE_MAX - TL_ALIGNMENT - GUARD ||
        __builtin_add_overflow(layout->size, round_up(bytes, TL_ALIGNMENT) + GUARD, &end)) {
        return tl_fail(TL_OUT_OF_MEMORY, "a plan of more than 2^64 bytes of memory");
    }
    *offset = layout->size;
    layout->size = end;
    return TL_OK;
}

static bool
live_together(const tl_lifetime *a, const tl_lifetime *b)
{
    return a->first <= b->last && b->first <= a->last;
}

tl_status
tl_lifetime_place(tl_lifetime *blocks, size_t index, size_t *end)
{
    tl_lifetime *mine = &blocks[index];
    size_t offset = 0;
    if (mine->bytes > SIZE_MAX / 4) { /* leaves room for the sums below */
        return tl_fail(TL_OUT_OF_MEMORY, "a plan of more than 2^62 bytes of memory");
    }
    for (size_t i = 0; i < index;) {
        const tl_lifetime *other = &blocks[i];
        const bool clash = live_together(mine, other) &&
                           offset < other->offset + other->bytes &&
                           other->offset < offset + mine->bytes;
        if (clash) {
            offset = round_up(other->offset + other->bytes, TL_ALIGNMENT);
            i = 0; /* the new offset may meet an earlier one */
        } else {
            i++;
        }
    }
    if (offset > SIZE_MAX / 2) {
        return tl_fail(TL_OUT_OF_MEMORY, "a plan of more than 2^64 bytes of memory");
    }
    mine->offset = offset;
    if (offset + mine->bytes > *end) {
        *end = offset + mine->bytes;
    }
    return TL_OK;
}

tl_status
tl_arena_create(tl_arena *arena, size_t size)
{
    unsigned char *base = tl_alloc(size, 1);
    if (base == NULL) {
        return tl_fail(TL_OUT_OF_MEMORY, "no memory for a block of %zu bytes", size);
    }
    arena->base = base;
    arena->size = size;
    return TL_OK;
}

void
tl_arena_destroy(tl_arena *arena)
{
#ifdef __SANITIZE_ADDRESS__
    if (arena->base != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(arena->base, arena->size);
    }
#endif
    tl_free(arena->base);
    arena->base = NULL;
    arena->size = 0;
}

void
tl_arena_guard(const tl_arena *arena, size_t offset, size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
    const size_t end = offset + round_up(bytes, TL_ALIGNMENT);
    ASAN_POISON_MEMORY_REGION(arena->base + end, GUARD);
#else
    (void)arena;
    (void)offset;
    (void)bytes;
#endif
}
