/* Memory for libraries that cannot bear a refusal.
 *
 * Before a thread calls such a library it holds ballast: address space that nothing touches.
 * While the call runs, what the system refuses is cut from the ballast, so that no allocation
 * inside the call fails. The lack of memory is reported where it can be borne: by the next
 * tl_ballast_hold, which replaces used ballast or fails.
 *
 *   | header | cut | cut | ...  ->               TL_BALLAST |    | spare, for the system |
 *
 * Used ballast is unmapped when the last piece of it has been freed, by any thread. */
#ifndef TL_CORE_BALLAST_H
#define TL_CORE_BALLAST_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/* A call into oneDNN was seen to take 12 MB when it was the first of its kind (dnnl_sgemm) and
 * 16 MB for packing large matrices. It is address space, not memory. */
enum { TL_BALLAST = 32 << 20, TL_SPARE = 2 << 20 };

/* This thread holds fresh ballast from now on; costs nothing where it does. */
tl_status tl_ballast_hold(void);
void tl_ballast_drop(void);

/* As malloc's and posix_memalign's block, or NULL once the ballast is used up. `alignment` is a
 * power of two from 8 on. tl_ballast_free takes it, and whatever malloc gave. */
void *tl_ballast_malloc(size_t alignment, size_t bytes);
void tl_ballast_free(void *block);

/* As mmap of private anonymous memory, or NULL; and munmap. */
void *tl_ballast_map(size_t bytes, int protection);
int tl_ballast_unmap(void *block, size_t bytes);

/* For allocations that cannot be led here: the system gets some spare room, and may grant what
 * it has just refused. False where none is left. */
bool tl_ballast_spare(void);

#endif
