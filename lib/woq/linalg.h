/* linalg.h -- dense algebra in row-major f32. The only room that knows OpenBLAS.
 * Single-threaded calls by design: callers parallelise over independent items (threads.h). */
#ifndef WOQ_LINALG_H
#define WOQ_LINALG_H
#include <stdbool.h>
#include <stddef.h>

/* C[m][n] = alpha * op(A) op(B) + beta * C; leading dimensions in elements of the stored rows.
 * trans_a: A is stored [k][m]; trans_b: B is stored [n][k] (the usual case for weights). */
void woq_sgemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha,
               const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
               size_t ldc);
/* Upper triangle of C[n][n] += A^T A, A stored [k][n]: half the work of woq_sgemm, the same values.
 */
void woq_ssyrk(size_t n, size_t k, const float *a, size_t lda, float *c, size_t ldc);
/* Threads of OpenBLAS's own for the calls that follow. For benchmarks, which measure its peak. */
void woq_blas_set_threads(int n);
/* Core type that OpenBLAS chose, e.g. "SkylakeX". */
const char *woq_blas_core(void);
const char *woq_blas_config(void);

#endif
