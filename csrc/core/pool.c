/* The crew: threads that take indices from a queue of jobs, and locks that survive a fork. */
#include "core/pool.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "core/ballast.h"
#include "core/cpu_count.h"

enum { MAX_THREADS = 256, PATIENCE = 2000, AWAKE = 150 };

/* One call of tl_pool_run; lives on its caller's stack and hangs in the queue until all of
 * its indices have been taken. */
typedef struct job {
    tl_task task;
    void *context;
    size_t count;
    size_t next;    /* index to hand out */
    size_t running; /* indices handed out and not yet finished */
    tl_status status;
    char detail[TL_DETAIL_SIZE];
    pthread_cond_t finished;
    struct job *later;
} job;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    job *first;
    job *last;
    pthread_t threads[MAX_THREADS];
    size_t started;
    size_t busy;   /* threads that run a task */
    size_t wanted; /* 0: not yet decided */
    bool chosen;   /* `wanted` is what the user said */
    bool stopping;
    bool closed; /* the process ends: no job is taken any more */
} crew = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

static atomic_ulong generation = 1;
static atomic_uint calls; /* that concern the crew: who is awake looks at it */
/* Fork is the writer, and goes first: many tasks in a row must not keep it waiting. */
static pthread_rwlock_t fork_guard = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static _Thread_local unsigned guarded; /* how often this thread has entered the guard */
static pthread_mutex_t renewal = PTHREAD_MUTEX_INITIALIZER; /* of locks, in a forked child */
static pthread_mutex_t start_stop = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_handlers = PTHREAD_ONCE_INIT;
static bool has_fork_handlers;

/* --- fork ------------------------------------------------------------------------------- */

static void
before_fork(void)
{
    pthread_rwlock_wrlock(&fork_guard);
}

static void
after_fork_in_parent(void)
{
    pthread_rwlock_unlock(&fork_guard);
}

/* Only the forking thread lives on: the crew and whoever held a lock are gone. */
static void
after_fork_in_child(void)
{
    const pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;
    const pthread_cond_t open_cond = PTHREAD_COND_INITIALIZER;
    const pthread_rwlock_t open_guard = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
    crew.lock = open_mutex;
    crew.work = open_cond;
    crew.first = NULL;
    crew.last = NULL;
    crew.started = 0;
    crew.busy = 0;
    crew.stopping = false;
    if (!crew.chosen) {
        crew.wanted = 0; /* the child may be given other CPUs */
    }
    fork_guard = open_guard;
    renewal = open_mutex;
    start_stop = open_mutex;
    atomic_fetch_add(&generation, 1);
}

static void
install_fork_handlers(void)
{
    has_fork_handlers =
        pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
}

tl_status
tl_pool_open(void)
{
    pthread_once(&fork_handlers, install_fork_handlers);
    return has_fork_handlers
               ? TL_OK
               : tl_fail(TL_SYSTEM_FAILED, "the system refused to register fork handlers");
}

unsigned long
tl_generation(void)
{
    return atomic_load(&generation);
}

void
tl_fork_guard_enter(void)
{
    if (guarded++ == 0) {
        pthread_rwlock_rdlock(&fork_guard);
    }
}

void
tl_fork_guard_leave(void)
{
    if (--guarded == 0) {
        pthread_rwlock_unlock(&fork_guard);
    }
}

/* --- the crew --------------------------------------------------------------------------- */

/* Takes the job out of the queue; holds crew.lock. */
static void
unlink_job(job *done)
{
    job **link = &crew.first;
    job *before = NULL;
    while (*link != done) {
        before = *link;
        link = &before->later;
    }
    *link = done->later;
    if (crew.last == done) {
        crew.last = before;
    }
}

/* A moment without sleep, with crew.lock open: who asks for one image after the other would
 * otherwise wait each time until the system has woken the crew. */
static void
wait_awake(void)
{
    const unsigned seen = atomic_load(&calls);
    pthread_mutex_unlock(&crew.lock);
    for (int turn = 0; turn < AWAKE && atomic_load(&calls) == seen; turn++) {
        for (int i = 0; i < 16; i++) {
            tl_pool_pause(0);
        }
        sched_yield(); /* to the caller, if it is waiting for this processor */
    }
    pthread_mutex_lock(&crew.lock);
}

static void *
crew_thread(void *unused)
{
    (void)unused;
#if defined(__x86_64__)
    /* Denormals cost a hundred times a normal number and carry nothing here. */
    _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
    pthread_mutex_lock(&crew.lock);
    for (bool awake = false;;) {
        while (crew.first == NULL && !crew.stopping) {
            if (awake) {
                wait_awake();
                awake = false;
            } else {
                pthread_cond_wait(&crew.work, &crew.lock);
            }
        }
        awake = true;
        if (crew.stopping) {
            break; /* what is left in the queue is the next crew's */
        }
        job *current = crew.first;
        const size_t index = current->next++;
        current->running++;
        crew.busy++;
        if (current->next == current->count) {
            unlink_job(current);
        }
        pthread_mutex_unlock(&crew.lock);

        tl_detail_clear();
        tl_fork_guard_enter(); /* libraries lock at surprising moments, as at a first use */
        const tl_status status = current->task(current->context, index);
        tl_fork_guard_leave();

        pthread_mutex_lock(&crew.lock);
        if (status != TL_OK && current->status == TL_OK) {
            current->status = status;
            (void)snprintf(current->detail, sizeof current->detail, "%s", tl_detail());
            if (current->next < current->count) {
                current->next = current->count; /* begin no more of it */
                unlink_job(current);
            }
        }
        current->running--;
        crew.busy--;
        if (current->running == 0 && current->next == current->count) {
            pthread_cond_signal(&current->finished);
        }
    }
    pthread_mutex_unlock(&crew.lock);
    tl_ballast_drop();
    return NULL;
}

static size_t
usable_cpus(void)
{
    const size_t cpus = tl_cpu_count();
    return cpus > MAX_THREADS ? MAX_THREADS : cpus;
}

/* Starts what is missing; holds crew.lock. Fails only if not one thread runs. */
static tl_status
start_crew(void)
{
    if (crew.closed) {
        return tl_fail(TL_SYSTEM_FAILED, "the process is ending: no job is taken any more");
    }
    if (crew.stopping) {
        return TL_OK; /* stop_crew starts the next crew once this one has gone */
    }
    if (crew.wanted == 0) {
        crew.wanted = usable_cpus();
    }
    sigset_t all;
    sigset_t old;
    sigfillset(&all); /* signals belong to the interpreter's threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int refused = 0;
    while (crew.started < crew.wanted && refused == 0) {
        /* It frees what the last thread on the same stack had: a child would free it again. */
        tl_fork_guard_enter();
        refused = pthread_create(&crew.threads[crew.started], NULL, crew_thread, NULL);
        tl_fork_guard_leave();
        crew.started += refused == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (crew.started == 0) {
        return tl_fail(TL_SYSTEM_FAILED,
                       "the system refused to start a thread (error %d): the limit of "
                       "processes (ulimit -u) or of memory is reached",
                       refused);
    }
    return TL_OK;
}

/* Wakes every waiting caller with the failure of start_crew; holds crew.lock. */
static void
fail_all_jobs(void)
{
    while (crew.first != NULL) {
        job *lost = crew.first;
        unlink_job(lost);
        lost->next = lost->count; /* nobody runs it: the crew has gone */
        lost->status = TL_SYSTEM_FAILED;
        (void)snprintf(lost->detail, sizeof lost->detail, "%s", tl_detail());
        pthread_cond_signal(&lost->finished);
    }
}

tl_status
tl_pool_run(tl_task task, void *context, size_t count)
{
    tl_status status = TL_OK;
    job mine = {.task = task, .context = context, .count = count, .status = TL_OK};

    if (count == 0) {
        return TL_OK;
    }
    status = tl_pool_open();
    if (status != TL_OK) {
        return status;
    }
    if (pthread_cond_init(&mine.finished, NULL) != 0) {
        return tl_fail(TL_SYSTEM_FAILED, "the system refused a condition variable");
    }
    pthread_mutex_lock(&crew.lock);
    TL_TRY(start_crew());
    if (crew.last == NULL) {
        crew.first = &mine;
    } else {
        crew.last->later = &mine;
    }
    crew.last = &mine;
    atomic_fetch_add(&calls, 1);
    pthread_cond_broadcast(&crew.work);
    while (mine.running > 0 || mine.next < mine.count) {
        pthread_cond_wait(&mine.finished, &crew.lock);
    }
    status = mine.status;
done:
    pthread_mutex_unlock(&crew.lock);
    pthread_cond_destroy(&mine.finished);
    if (status != TL_OK && mine.status != TL_OK) {
        tl_detail_set(mine.detail);
    }
    return status;
}

size_t
tl_pool_threads(void)
{
    pthread_mutex_lock(&crew.lock);
    if (crew.wanted == 0) {
        crew.wanted = usable_cpus();
    }
    const size_t count = crew.wanted;
    pthread_mutex_unlock(&crew.lock);
    return count;
}

size_t
tl_pool_idle(void)
{
    pthread_mutex_lock(&crew.lock);
    if (crew.wanted == 0) {
        crew.wanted = usable_cpus();
    }
    const size_t idle =
        crew.first != NULL || crew.busy > crew.wanted ? 0 : crew.wanted - crew.busy;
    pthread_mutex_unlock(&crew.lock);
    return idle;
}

void
tl_pool_pause(unsigned turn)
{
    if (turn > PATIENCE) {
        sched_yield();
        return;
    }
#if defined(__x86_64__)
    _mm_pause();
#endif
}

/* Ends the crew as soon as each thread is done with its index; then a crew of `wanted` threads
 * goes on with the queue, or all queued jobs fail if `close`. */
static void
stop_crew(size_t wanted, bool close)
{
    pthread_mutex_lock(&start_stop);
    pthread_mutex_lock(&crew.lock);
    const size_t count = crew.started; /* start_crew adds none while stopping */
    crew.stopping = true;
    atomic_fetch_add(&calls, 1);
    pthread_cond_broadcast(&crew.work);
    pthread_mutex_unlock(&crew.lock);
    for (size_t i = 0; i < count; i++) {
        pthread_join(crew.threads[i], NULL);
    }
    pthread_mutex_lock(&crew.lock);
    crew.started = 0;
    crew.stopping = false;
    crew.closed = crew.closed || close;
    crew.wanted = wanted;
    crew.chosen = wanted > 0;
    if (crew.first != NULL && start_crew() != TL_OK) {
        fail_all_jobs();
    }
    pthread_mutex_unlock(&crew.lock);
    pthread_mutex_unlock(&start_stop);
}

tl_status
tl_pool_set_threads(size_t count)
{
    if (count > MAX_THREADS) {
        return tl_fail(TL_BAD_VALUE, "n must be from 1 to %d threads, not %zu", MAX_THREADS,
                       count);
    }
    const tl_status status = tl_pool_open();
    if (status == TL_OK) {
        stop_crew(count, false);
    }
    return status;
}

void
tl_pool_close(void)
{
    stop_crew(0, true);
}

/* --- locks ------------------------------------------------------------------------------ */

static tl_status
rwlock_open(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    const int failed = pthread_rwlock_init(lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    return failed ? tl_fail(TL_SYSTEM_FAILED, "the system refused a lock") : TL_OK;
}

tl_status
tl_rwlock_init(tl_rwlock *lock)
{
    const tl_status status = tl_pool_open();
    lock->generation = tl_generation();
    return status == TL_OK ? rwlock_open(&lock->lock) : status;
}

void
tl_rwlock_clear(tl_rwlock *lock)
{
    pthread_rwlock_destroy(&lock->lock);
}

/* A lock from before a fork may be held by a thread that does not exist here. */
static void
rwlock_renew(tl_rwlock *lock)
{
    const unsigned long now = tl_generation();
    if (__atomic_load_n(&lock->generation, __ATOMIC_ACQUIRE) == now) {
        return;
    }
    pthread_mutex_lock(&renewal);
    if (lock->generation != now) {
        (void)rwlock_open(&lock->lock);
        __atomic_store_n(&lock->generation, now, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&renewal);
}

void
tl_rwlock_read(tl_rwlock *lock)
{
    rwlock_renew(lock);
    pthread_rwlock_rdlock(&lock->lock);
}

void
tl_rwlock_write(tl_rwlock *lock)
{
    rwlock_renew(lock);
    pthread_rwlock_wrlock(&lock->lock);
}

void
tl_rwlock_unlock(tl_rwlock *lock)
{
    pthread_rwlock_unlock(&lock->lock);
}

tl_status
tl_mutex_init(tl_mutex *mutex)
{
    const tl_status status = tl_pool_open();
    if (status != TL_OK) {
        return status;
    }
    mutex->generation = tl_generation();
    return pthread_mutex_init(&mutex->lock, NULL) != 0
               ? tl_fail(TL_SYSTEM_FAILED, "the system refused a lock")
               : TL_OK;
}

void
tl_mutex_clear(tl_mutex *mutex)
{
    pthread_mutex_destroy(&mutex->lock);
}

void
tl_mutex_lock(tl_mutex *mutex)
{
    const unsigned long now = tl_generation();
    if (__atomic_load_n(&mutex->generation, __ATOMIC_ACQUIRE) != now) {
        pthread_mutex_lock(&renewal);
        if (mutex->generation != now) {
            (void)pthread_mutex_init(&mutex->lock, NULL);
            __atomic_store_n(&mutex->generation, now, __ATOMIC_RELEASE);
        }
        pthread_mutex_unlock(&renewal);
    }
    pthread_mutex_lock(&mutex->lock);
}

void
tl_mutex_unlock(tl_mutex *mutex)
{
    pthread_mutex_unlock(&mutex->lock);
}
