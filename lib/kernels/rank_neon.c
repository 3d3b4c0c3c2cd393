/* rank_neon.c -- chains of rank-one updates (rank_body.h) with vectors of 16 bytes. */
#include "parts.h"
#include <arm_neon.h>

#define WOQ_VEC_BYTES 16
#define WOQ_FNMA_f32(c, a, p) (vec_f32) vfmsq_n_f32((float32x4_t)(c), (float32x4_t)(p), a)
#define WOQ_FNMA_f64(c, a, p) (vec_f64) vfmsq_n_f64((float64x2_t)(c), (float64x2_t)(p), a)
#define WOQ_RANK_NAME rank_sub
#include "rank_body.h"

const struct woq_kernels woq_rank_neon = {
    .rank_sub_f32 = rank_sub_f32,
    .rank_sub_f64 = rank_sub_f64,
};
