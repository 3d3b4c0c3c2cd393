/* threads.c -- a pool that hands out items by an atomic counter. Workers are started by the first
 * parallel call and sleep on a condition between calls. */
#define _GNU_SOURCE /* sched_getaffinity: the processors that this process may use */
#include <woq/threads.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_THREADS = 1024 };

static int wanted;
static _Thread_local bool inside;
static _Thread_local int self;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    int n_workers, busy;
    unsigned long turn;
    size_t n_items;
    atomic_size_t next;
    void (*fn)(void *, size_t, int);
    void *ctx;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER,
           .start = PTHREAD_COND_INITIALIZER,
           .done = PTHREAD_COND_INITIALIZER };

/* cgroup v2 quota, rounded up; 0 if there is none. */
static int quota(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    char text[64] = "", *end;
    double limit, period;

    if (!f)
        return 0;
    if (!fgets(text, sizeof text, f))
        text[0] = 0;
    fclose(f);
    limit = strtod(text, &end);
    if (end == text)
        return 0; /* "max" */
    period = strtod(end, NULL);
    return period > 0 && limit > 0 ? (int)((limit + period - 1) / period) : 0;
}

static int processors(void)
{
    cpu_set_t set;
    int n = 1, q = quota();

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    return q > 0 && q < n ? q : n;
}

void woq_threads_set(int n)
{
    wanted = n > MAX_THREADS ? MAX_THREADS : n;
}

int woq_threads(void)
{
    if (wanted <= 0) {
        const char *env = getenv("WOQ_THREADS");
        const long n = env ? strtol(env, NULL, 10) : 0;

        woq_threads_set(n > 0 && n <= MAX_THREADS ? (int)n : processors());
    }
    return wanted;
}

static void work(int thread)
{
    size_t i;

    inside = true;
    self = thread;
    while ((i = atomic_fetch_add(&pool.next, 1)) < pool.n_items)
        pool.fn(pool.ctx, i, thread);
    inside = false;
}

static void *worker(void *arg)
{
    const int thread = (int)(size_t)arg;
    unsigned long seen = 0;

    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.turn == seen)
            pthread_cond_wait(&pool.start, &pool.lock);
        seen = pool.turn;
        pthread_mutex_unlock(&pool.lock);
        work(thread);
        pthread_mutex_lock(&pool.lock);
        if (--pool.busy == 0)
            pthread_cond_signal(&pool.done);
    }
    return NULL;
}

/* Fewer workers than wanted (no memory for stacks) only make it slower. */
static void start_workers(int n)
{
    while (pool.n_workers < n) {
        pthread_t t;
        pthread_attr_t attr;
        int rc;

        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        rc = pthread_create(&t, &attr, worker, (void *)(size_t)(pool.n_workers + 1));
        pthread_attr_destroy(&attr);
        if (rc != 0)
            return;
        pool.n_workers++;
    }
}

void woq_parallel(size_t n_items, void (*fn)(void *ctx, size_t item, int thread), void *ctx)
{
    if (inside || n_items <= 1 || woq_threads() == 1) {
        for (size_t i = 0; i < n_items; i++)
            fn(ctx, i, self);
        return;
    }
    pthread_mutex_lock(&pool.lock);
    if (pool.n_workers < woq_threads() - 1)
        start_workers(woq_threads() - 1);
    pool.fn = fn;
    pool.ctx = ctx;
    pool.n_items = n_items;
    atomic_store(&pool.next, 0);
    pool.busy = pool.n_workers;
    pool.turn++;
    pthread_cond_broadcast(&pool.start);
    pthread_mutex_unlock(&pool.lock);
    work(0);
    pthread_mutex_lock(&pool.lock);
    while (pool.busy > 0)
        pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}
