/* rank_avx2.c -- chains of rank-one updates (rank_body.h) with vectors of 32 bytes. */
#include "parts.h"
#include <immintrin.h>

#define WOQ_VEC_BYTES 32
#define WOQ_FNMA_f32(c, a, p)                                                                      \
    (vec_f32) _mm256_fnmadd_ps(_mm256_set1_ps(a), (__m256)(p), (__m256)(c))
#define WOQ_FNMA_f64(c, a, p)                                                                      \
    (vec_f64) _mm256_fnmadd_pd(_mm256_set1_pd(a), (__m256d)(p), (__m256d)(c))
#define WOQ_RANK_NAME rank_sub
#include "rank_body.h"

const struct woq_kernels woq_rank_avx2 = {
    .rank_sub_f32 = rank_sub_f32,
    .rank_sub_f64 = rank_sub_f64,
};
