/* The only threads: one crew, many callers, safe across fork; and the only locks.
 *
 * The crew is sized by the CPUs that this process may use (cpu_count.h) and starts at the first
 * job; where the system refuses a thread, those that there are do the work. Callers sleep
 * meanwhile. After a fork the child has a new crew and every lock is open again: a generation
 * stamp tells which state is stale. */
#ifndef TL_CORE_POOL_H
#define TL_CORE_POOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/* One unit of work. Runs on a crew thread; `index` counts from 0 to count - 1. */
typedef tl_status (*tl_task)(void *context, size_t index);

/* Runs task(context, i) for every i < count on the crew and waits. After a failure no new
 * index is begun; the first failure and its sentence are returned. Any number of threads may
 * call at once, but never a task. A fork waits for the tasks that run. */
tl_status tl_pool_run(tl_task task, void *context, size_t count);

/* How many threads the crew has or will have. */
size_t tl_pool_threads(void);

/* How many of them have nothing to do now; 0 where indices wait to be begun. */
size_t tl_pool_idle(void);

/* One turn of waiting for another task that is running, counted from 0: a moment, and after
 * many turns the processor is given away. */
void tl_pool_pause(unsigned turn);

/* Sets the size of the crew (1 to 256); 0 means: what the process may use. */
tl_status tl_pool_set_threads(size_t count);

/* Registers what makes forks safe; costs nothing from the second call on. Whoever makes a lock
 * or runs a job does it, and so should the one who opens the library: a fork may come at once.
 */
tl_status tl_pool_open(void);

/* Ends the crew for good: queued and later jobs fail. For the end of the process. */
void tl_pool_close(void);

/* Changes in the child of a fork. State stamped with another value is stale. */
unsigned long tl_generation(void);

/* Held around what a fork must not cut in half, such as calls into code that has locks of its
 * own. Tasks are run inside it; may be entered again. No lock may be waited for in it. */
void tl_fork_guard_enter(void);
void tl_fork_guard_leave(void);

/* Many readers or one writer; a waiting writer goes first. */
typedef struct tl_rwlock {
    pthread_rwlock_t lock;
    unsigned long generation;
} tl_rwlock;

tl_status tl_rwlock_init(tl_rwlock *lock);
void tl_rwlock_clear(tl_rwlock *lock);
void tl_rwlock_read(tl_rwlock *lock);
void tl_rwlock_write(tl_rwlock *lock);
void tl_rwlock_unlock(tl_rwlock *lock);

typedef struct tl_mutex {
    pthread_mutex_t lock;
    unsigned long generation;
} tl_mutex;

tl_status tl_mutex_init(tl_mutex *mutex);
void tl_mutex_clear(tl_mutex *mutex);
void tl_mutex_lock(tl_mutex *mutex);
void tl_mutex_unlock(tl_mutex *mutex);

#endif
