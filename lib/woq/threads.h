/* threads.h -- one pool of worker threads for the process.
 *
 * Work is cut into items whose borders do not depend on the number of threads, so results do not
 * either. BLAS runs on one thread inside an item. */
#ifndef WOQ_THREADS_H
#define WOQ_THREADS_H
#include <stddef.h>

/* --threads, else WOQ_THREADS, else the processors this process may use (affinity, cgroup quota).
 */
int woq_threads(void);
void woq_threads_set(int n); /* before the first parallel call; 0 = default */

/* Calls fn(ctx, i, thread) for i in 0..n_items-1, in any order, on woq_threads() threads (the
 * caller is one of them, thread ids 0..woq_threads()-1); returns when all are done. Not nested: an
 * inner call runs in its thread. */
void woq_parallel(size_t n_items, void (*fn)(void *ctx, size_t item, int thread), void *ctx);

#endif
