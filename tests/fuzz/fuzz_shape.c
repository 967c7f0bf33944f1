/* Sizes, layouts and arenas: tl_multiply, tl_shape_*, tl_same_padding, tl_convolved,
 * tl_layout_* and tl_arena_* against arithmetic in 128 bits. */
#include <string.h>

#include "core/arena.h"
#include "core/shape.h"
#include "fuzz.h"

__extension__ typedef unsigned __int128 wide;

enum { MOST_BLOCKS = 16, MOST_ARENA = 1 << 20 };
static const wide HOPELESS = (wide)1 << 48; /* more than there are addresses */

#define EXPECT(condition)                                                                      \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fuzz_broken(#condition);                                                           \
        }                                                                                      \
    } while (0)

typedef struct reader {
    const uint8_t *next;
    size_t left;
} reader;

/* Eight bytes of any number, or one byte that means a small one or an edge. */
static size_t
read_size(reader *r)
{
    size_t n = 0;
    if (r->left == 0) {
        return 0;
    }
    r->left--;
    const uint8_t kind = *r->next++;
    if (kind < 128) {
        return kind;
    }
    if (kind < 255) {
        const size_t bit = (size_t)1 << (kind % 64);
        return kind % 3 == 0 ? bit - 1 : kind % 3 == 1 ? bit : 0 - bit;
    }
    const size_t taken = r->left < sizeof n ? r->left : sizeof n;
    memcpy(&n, r->next, taken);
    r->next += taken;
    r->left -= taken;
    return n;
}

static void
try_products(reader *r)
{
    const size_t a = read_size(r);
    const size_t b = read_size(r);
    size_t product = 77;
    const tl_status status = tl_multiply(&product, a, b);
    const wide exact = (wide)a * b;
    EXPECT((status == TL_OK) == (exact <= SIZE_MAX));
    EXPECT(product == (status == TL_OK ? (size_t)exact : 77));
}

static void
try_shapes(reader *r)
{
    tl_shape shape = {.rank = read_size(r) % 7};
    size_t count = 77;
    wide exact = 1;
    bool over = shape.rank > TL_MAX_RANK;
    for (size_t i = 0; i < TL_MAX_RANK; i++) {
        shape.dims[i] = read_size(r);
        if (i < shape.rank) {
            exact *= shape.dims[i];
            over = over || exact > SIZE_MAX;
            exact = exact > SIZE_MAX ? SIZE_MAX : exact;
        }
    }
    over = over || exact * sizeof(float) > SIZE_MAX;
    const tl_status status = tl_shape_count(&count, &shape);
    EXPECT((status == TL_OK) == !over);
    EXPECT(count == (over ? 77 : (size_t)exact));
    EXPECT(over || tl_shape_elements(&shape) == count);
    EXPECT(over || tl_shape_equal(&shape, &shape));
}

/* Keras: ceil(size / stride) outputs, whatever the kernel; sizes as tl_shape_count lets pass.
 */
static void
try_padding(reader *r)
{
    const size_t size = 1 + read_size(r) % ((size_t)1 << 62);
    const size_t kernel = 1 + read_size(r) % 65536;
    const size_t stride = 1 + read_size(r) % 65536;
    size_t before;
    size_t behind;
    tl_same_padding(&before, &behind, size, kernel, stride);
    EXPECT(before <= behind && behind - before <= 1 && before + behind < kernel + stride);
    EXPECT(tl_convolved(size, kernel, stride, before, behind) ==
           size / stride + (size % stride != 0));
    EXPECT(tl_convolved(size, kernel, stride, 0, 0) ==
           (kernel > size ? 0 : (size - kernel) / stride + 1));
}

static void
try_arena(const tl_layout *layout, const size_t *offsets, const size_t *sizes, size_t count)
{
    tl_arena arena;
    EXPECT(tl_arena_create(&arena, layout->size) == TL_OK);
    for (size_t i = 0; i < count; i++) {
        tl_arena_guard(&arena, offsets[i], sizes[i]);
    }
    for (size_t i = 0; i < count; i++) {
        memset(tl_arena_at(&arena, offsets[i]), (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < count; i++) {
        const unsigned char *block = tl_arena_at(&arena, offsets[i]);
        EXPECT(sizes[i] == 0 || (block[0] == i + 1 && block[sizes[i] - 1] == i + 1));
    }
    tl_arena_destroy(&arena);
    EXPECT(arena.base == NULL && arena.size == 0);
}

static void
try_layout(reader *r)
{
    tl_layout layout = {0};
    size_t offsets[MOST_BLOCKS];
    size_t sizes[MOST_BLOCKS];
    size_t count = 0;
    for (size_t n = read_size(r) % MOST_BLOCKS; n > 0; n--) {
        const size_t bytes = read_size(r);
        const tl_layout before = layout;
        size_t offset = 77;
        if (tl_layout_add(&layout, &offset, bytes) != TL_OK) {
            EXPECT(layout.size == before.size && offset == 77);
            EXPECT((wide)before.size + bytes > SIZE_MAX - 4 * TL_ALIGNMENT);
            continue;
        }
        EXPECT(offset == before.size && offset % TL_ALIGNMENT == 0);
        EXPECT(layout.size >= offset && layout.size - offset >= bytes);
        offsets[count] = offset;
        sizes[count++] = bytes;
    }
    if (layout.size <= MOST_ARENA) {
        try_arena(&layout, offsets, sizes, count);
    }
}

static void
try_blocks(reader *r)
{
    const size_t count = read_size(r);
    const size_t size = read_size(r);
    const wide bytes = (wide)count * size;
    const wide grown = bytes + 3 * (wide)size;
    if ((bytes > MOST_ARENA && bytes < HOPELESS) || (grown > MOST_ARENA && grown < HOPELESS)) {
        return; /* might be given, and is too much for a fuzzer */
    }
    unsigned char *block = tl_alloc(count, size);
    EXPECT((block != NULL) == (bytes <= MOST_ARENA));
    if (block == NULL) {
        return;
    }
    EXPECT((uintptr_t)block % TL_ALIGNMENT == 0);
    for (size_t i = 0; i < (size_t)bytes; i++) {
        EXPECT(block[i] == 0);
        block[i] = 9;
    }
    unsigned char *larger = tl_grow(block, count, count + 3, size);
    EXPECT((larger != NULL) == (grown <= MOST_ARENA));
    EXPECT(larger == NULL || bytes == 0 || (larger[0] == 9 && larger[bytes - 1] == 9));
    tl_free(larger == NULL ? block : larger);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    reader r = {bytes, count};
    while (r.left > 0) {
        try_products(&r);
        try_shapes(&r);
        try_padding(&r);
        try_layout(&r);
        try_blocks(&r);
    }
    return 0;
}
