/* The crew: threads that take indices from a queue of jobs, and locks that survive a fork. */
#include "core/pool.h"

#include <assert.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ballast.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

enum { MAX_THREADS = 256 };

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
    size_t wanted; /* 0: not yet decided */
    bool stopping;
    bool closed; /* the process ends: no job is taken any more */
} crew = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

static atomic_ulong generation = 1;
static pthread_rwlock_t fork_guard = PTHREAD_RWLOCK_INITIALIZER; /* fork is the writer */
static pthread_mutex_t renewal = PTHREAD_MUTEX_INITIALIZER; /* of locks, in a forked child */
static pthread_mutex_t start_stop = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_handlers = PTHREAD_ONCE_INIT;

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
    crew.lock = open_mutex;
    crew.work = open_cond;
    crew.first = NULL;
    crew.last = NULL;
    crew.started = 0;
    crew.stopping = false;
    (void)pthread_rwlock_init(&fork_guard, NULL);
    renewal = open_mutex;
    start_stop = open_mutex;
    atomic_fetch_add(&generation, 1);
}

static void
install_fork_handlers(void)
{
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

unsigned long
tl_generation(void)
{
    return atomic_load(&generation);
}

void
tl_fork_guard_enter(void)
{
    pthread_rwlock_rdlock(&fork_guard);
}

void
tl_fork_guard_leave(void)
{
    pthread_rwlock_unlock(&fork_guard);
}

/* --- how many CPUs ---------------------------------------------------------------------- */

/* CPUs that a "quota period" file grants, rounded up; 0 where it sets no limit. */
static size_t
quota_cpus(const char *path)
{
    size_t cpus = 0;
    double quota = 0;
    double period = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    if (fscanf(file, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0) {
        cpus = (size_t)(quota / period + 0.999);
    }
    fclose(file);
    return cpus == 0 && quota > 0 && period > 0 ? 1 : cpus;
}

/* The smallest quota on the way from this process's cgroup (version 2) up to the root. */
static size_t
cgroup_cpus(void)
{
    size_t least = 0;
    char line[512];
    char path[640];
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "0::", 3) != 0) {
            continue;
        }
        char *group = line + 3;
        group[strcspn(group, "\n")] = '\0';
        for (;;) {
            (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
            const size_t cpus = quota_cpus(path);
            if (cpus > 0 && (least == 0 || cpus < least)) {
                least = cpus;
            }
            char *slash = strrchr(group, '/');
            if (slash == NULL) {
                break;
            }
            *slash = '\0';
        }
        break;
    }
    fclose(file);
    return least;
}

size_t
tl_pool_available(void)
{
    cpu_set_t set;
    size_t cpus = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        const int count = CPU_COUNT(&set);
        cpus = count > 0 ? (size_t)count : 1;
    }
    const size_t quota = cgroup_cpus();
    if (quota > 0 && quota < cpus) {
        cpus = quota;
    }
    return cpus > MAX_THREADS ? MAX_THREADS : cpus;
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

static void *
crew_thread(void *unused)
{
    (void)unused;
#if defined(__x86_64__)
    /* Denormals cost a hundred times a normal number and carry nothing here. */
    _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
    pthread_mutex_lock(&crew.lock);
    for (;;) {
        while (crew.first == NULL && !crew.stopping) {
            pthread_cond_wait(&crew.work, &crew.lock);
        }
        if (crew.stopping) {
            break; /* what is left in the queue is the next crew's */
        }
        job *current = crew.first;
        const size_t index = current->next++;
        current->running++;
        if (current->next == current->count) {
            unlink_job(current);
        }
        pthread_mutex_unlock(&crew.lock);

        tl_detail_clear();
        const tl_status status = current->task(current->context, index);

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
        if (current->running == 0 && current->next == current->count) {
            pthread_cond_signal(&current->finished);
        }
    }
    pthread_mutex_unlock(&crew.lock);
    tl_ballast_drop();
    return NULL;
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
        crew.wanted = tl_pool_available();
    }
    sigset_t all;
    sigset_t old;
    sigfillset(&all); /* signals belong to the interpreter's threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (crew.started < crew.wanted) {
        if (pthread_create(&crew.threads[crew.started], NULL, crew_thread, NULL) != 0) {
            break;
        }
        crew.started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (crew.started == 0) {
        return tl_fail(TL_SYSTEM_FAILED, "the system refused to start a thread");
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
    pthread_once(&fork_handlers, install_fork_handlers);
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
        crew.wanted = tl_pool_available();
    }
    const size_t count = crew.wanted;
    pthread_mutex_unlock(&crew.lock);
    return count;
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
    stop_crew(count == 0 ? tl_pool_available() : count, false);
    return TL_OK;
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
    pthread_once(&fork_handlers, install_fork_handlers);
    lock->generation = tl_generation();
    return rwlock_open(&lock->lock);
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
    pthread_once(&fork_handlers, install_fork_handlers);
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
