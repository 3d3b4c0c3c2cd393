/* rank_avx2.c -- chains of rank-one updates (rank_body.h) with vectors of 32 bytes. */
#include "parts.h"

#define WOQ_VEC_BYTES 32
#define WOQ_RANK_NAME rank_sub
#include "rank_body.h"

const struct woq_kernels woq_rank_avx2 = {
    .rank_sub_f32 = rank_sub_f32,
    .rank_sub_f64 = rank_sub_f64,
};
