/* The only allocator.
 *
 *   tl_layout layout = {0};                       plan first: sizes only, nothing allocated
 *   size_t a, b;
 *   TL_TRY(tl_layout_add(&layout, &a, n));
 *   TL_TRY(tl_layout_add(&layout, &b, m));
 *   TL_TRY(tl_arena_create(&arena, layout.size)); then one block
 *   float *x = tl_arena_at(&arena, a);
 *
 *   | sub-block a | pad to 64 | sub-block b | pad | ...      every sub-block 64-byte aligned
 *
 * In AddressSanitizer builds a poisoned gap follows every sub-block of a layout that is
 * guarded, and every block, so that an overrun inside an arena is seen. */
#ifndef TL_CORE_ARENA_H
#define TL_CORE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

enum { TL_ALIGNMENT = 64 };

/* Zeroed memory, 64-byte aligned, or NULL. Free with tl_free; tl_free(NULL) is fine. */
void *tl_alloc(size_t count, size_t size);
void tl_free(void *block);

/* Copies `count` elements of an array into a block twice as large; frees the old one.
 * Returns NULL and keeps the old one when memory runs out. */
void *tl_grow(void *block, size_t count, size_t new_count, size_t size);

/* Testing: the n-th allocation from now on fails (0 is the next one; negative: none). */
void tl_alloc_fail_at(long n);

/* Whether an allocation that comes now must fail for a test's sake; counts as one. */
bool tl_alloc_is_refused(void);

typedef struct tl_layout {
    size_t size; /* bytes planned so far */
} tl_layout;

/* Plans a sub-block of `bytes`; *offset is where it will lie. TL_OUT_OF_MEMORY if the sum
 * does not fit a size_t. */
tl_status tl_layout_add(tl_layout *layout, size_t *offset, size_t bytes);

/* A sub-block that is needed from one moment to another only. */
typedef struct tl_lifetime {
    size_t bytes;
    size_t first, last; /* moments */
    size_t offset;
} tl_lifetime;

/* Places blocks[index] at the lowest aligned offset at which none of the blocks in front of it
 * lies that is needed at the same time; *end grows to where it ends. TL_OUT_OF_MEMORY if the
 * sum does not fit a size_t. */
tl_status tl_lifetime_place(tl_lifetime *blocks, size_t index, size_t *end);

typedef struct tl_arena {
    unsigned char *base;
    size_t size;
} tl_arena;

/* Allocates the block. Large arenas ask for huge pages. */
tl_status tl_arena_create(tl_arena *arena, size_t size);
void tl_arena_destroy(tl_arena *arena);

static inline void *
tl_arena_at(const tl_arena *arena, size_t offset)
{
    return arena->base + offset;
}

/* In AddressSanitizer builds poisons the gap behind a sub-block; otherwise nothing. */
void tl_arena_guard(const tl_arena *arena, size_t offset, size_t bytes);

#endif
