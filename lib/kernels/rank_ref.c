/* rank_ref.c -- chains of rank-one updates (rank_body.h) with vectors of 16 bytes. */
#include "parts.h"

#define WOQ_VEC_BYTES 16
#define WOQ_FNMA_f32(c, a, p)                                                                      \
    (vec_f32)                                                                                      \
    {                                                                                              \
        fmaf(-(a), (p)[0], (c)[0]), fmaf(-(a), (p)[1], (c)[1]), fmaf(-(a), (p)[2], (c)[2]),        \
            fmaf(-(a), (p)[3], (c)[3])                                                             \
    }
#define WOQ_FNMA_f64(c, a, p)                                                                      \
    (vec_f64)                                                                                      \
    {                                                                                              \
        fma(-(a), (p)[0], (c)[0]), fma(-(a), (p)[1], (c)[1])                                       \
    }
#define WOQ_RANK_NAME rank_sub
#include "rank_body.h"

const struct woq_kernels woq_rank_ref = {
    .rank_sub_f32 = rank_sub_f32,
    .rank_sub_f64 = rank_sub_f64,
};
