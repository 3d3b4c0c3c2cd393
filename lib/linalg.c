/* linalg.c -- OpenBLAS, on one thread per call: the pool of threads.h is the only one at work. */
#include <woq/linalg.h>

#include <cblas.h>
#include <stdatomic.h>

static atomic_bool threads_set;

static void one_thread(void)
{
    if (!atomic_load_explicit(&threads_set, memory_order_relaxed))
        woq_blas_set_threads(1);
}

void woq_blas_set_threads(int n)
{
    openblas_set_num_threads(n);
    atomic_store_explicit(&threads_set, true, memory_order_relaxed);
}

void woq_sgemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha,
               const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
               size_t ldc)
{
    one_thread();
    cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                trans_b ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, alpha, a,
                (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}

void woq_ssyrk(size_t n, size_t k, const float *a, size_t lda, float *c, size_t ldc)
{
    one_thread();
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, (blasint)n, (blasint)k, 1, a, (blasint)lda,
                1, c, (blasint)ldc);
}

const char *woq_blas_core(void)
{
    return openblas_get_corename();
}

const char *woq_blas_config(void)
{
    return openblas_get_config();
}
