/* rank_avx512.c -- chains of rank-one updates (rank_body.h) with vectors of 64 bytes. */
#include "parts.h"
#include <immintrin.h>

#define WOQ_VEC_BYTES 64
#define WOQ_FNMA_f32(c, a, p)                                                                      \
    (vec_f32) _mm512_fnmadd_ps(_mm512_set1_ps(a), (__m512)(p), (__m512)(c))
#define WOQ_FNMA_f64(c, a, p)                                                                      \
    (vec_f64) _mm512_fnmadd_pd(_mm512_set1_pd(a), (__m512d)(p), (__m512d)(c))
#define WOQ_RANK_NAME rank_sub
#include "rank_body.h"

const struct woq_kernels woq_rank_avx512 = {
    .rank_sub_f32 = rank_sub_f32,
    .rank_sub_f64 = rank_sub_f64,
};
