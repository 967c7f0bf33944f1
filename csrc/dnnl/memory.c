/* oneDNN ends the process where it is refused memory. So it never is: setup.py has renamed what
 * the private library imports, and its allocations end here. What it imports from OpenMP ends
 * here too, so that it knows of one thread. */
#include "dnnl/memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "core/ballast.h"

/* Called by libdnnl-tlcore.so.3 alone, under these names: see RENAMED in setup.py. */
#define IMPORTED __attribute__((visibility("default")))

IMPORTED void *tl_dnnl_malloc(size_t bytes);
IMPORTED void *tl_dnnl_new(size_t bytes);
IMPORTED int tl_dnnl_posix_memalign(void **block, size_t alignment, size_t bytes);
IMPORTED void tl_dnnl_free(void *block);
IMPORTED void *tl_dnnl_mmap(void *hint, size_t bytes, int protection, int flags, int file,
                            off_t offset);
IMPORTED int tl_dnnl_munmap(void *block, size_t bytes);
IMPORTED int tl_dnnl_one(void);
IMPORTED int tl_dnnl_zero(void);

enum { MALLOC_ALIGNMENT = 16 };

typedef void (*function)(void);
typedef function (*handler_setter)(function handler);

static function throw_bad_alloc; /* libstdc++'s; NULL where it is not to be found */
static function earlier_handler;

void *
tl_dnnl_malloc(size_t bytes)
{
    return tl_ballast_malloc(MALLOC_ALIGNMENT, bytes);
}

void *
tl_dnnl_new(size_t bytes)
{
    void *block = tl_ballast_malloc(MALLOC_ALIGNMENT, bytes);
    if (block == NULL && throw_bad_alloc != NULL) {
        throw_bad_alloc();
    }
    return block;
}

int
tl_dnnl_posix_memalign(void **block, size_t alignment, size_t bytes)
{
    void *found = tl_ballast_malloc(alignment, bytes);
    if (found == NULL) {
        return ENOMEM;
    }
    *block = found;
    return 0;
}

void
tl_dnnl_free(void *block)
{
    tl_ballast_free(block);
}

/* For generated code: always anonymous and private. */
void *
tl_dnnl_mmap(void *hint, size_t bytes, int protection, int flags, int file, off_t offset)
{
    (void)hint;
    (void)flags;
    (void)file;
    (void)offset;
    void *block = tl_ballast_map(bytes, protection);
    return block == NULL ? MAP_FAILED : block;
}

int
tl_dnnl_munmap(void *block, size_t bytes)
{
    return tl_ballast_unmap(block, bytes);
}

int
tl_dnnl_one(void)
{
    return 1;
}

int
tl_dnnl_zero(void)
{
    return 0;
}

/* --- strings ---------------------------------------------------------------------------- */

/* libstdc++ makes strings with its own operator new, which asks this handler before it gives
 * up, and tries again when the handler returns. */
static void
on_refusal(void)
{
    if (tl_ballast_spare()) {
        return;
    }
    if (earlier_handler != NULL) {
        earlier_handler();
    } else {
        throw_bad_alloc();
    }
}

void
tl_dnnl_memory_open(void)
{
    handler_setter set_new_handler;
    void *library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
    if (library == NULL) {
        return; /* it is inside oneDNN, and so is the operator new that it uses */
    }
    void *setter = dlsym(library, "_ZSt15set_new_handlerPFvvE");
    void *thrower = dlsym(library, "_ZSt17__throw_bad_allocv");
    (void)dlclose(library); /* oneDNN keeps it */
    if (setter != NULL && thrower != NULL) {
        memcpy(&set_new_handler, &setter, sizeof setter);
        memcpy(&throw_bad_alloc, &thrower, sizeof thrower);
        earlier_handler = set_new_handler(on_refusal);
    }
}
