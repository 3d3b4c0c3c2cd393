/* kernels.h -- the SIMD table. OP_ref.c defines each result; every other variant is bit-identical
 * (checked by tests/unit/kernels.c), because reductions are defined as 16 interleaved partial sums
 * (lane i sums elements i, i+16, ...; the tail goes to lanes 0..r-1) folded as a fixed tree
 * (8, 4, 2, 1: lane i += lane i+8, then i+4, i+2, i+1), no fma but in rank_sub, and exp is one
 * polynomial. Minima and maxima go through the same lanes, so the sign of a zero agrees too. Only
 * the payload of a NaN that arithmetic produced is left open. Default rounding and gradual
 * underflow are assumed.
 *
 * Pointers need no alignment unless said; ranges may not overlap unless dst == src is allowed. */
#ifndef WOQ_KERNELS_H
#define WOQ_KERNELS_H
#include <stddef.h>
#include <stdint.h>

/* The values of a codebook in ascending order, for the search of the nearest one: x belongs to
 * level i = the number of cuts below x (a NaN to level 0). Behind n - 1 cuts the rest are +inf. */
struct woq_levels {
    unsigned n; /* 2..256 */
    float cut[256], value[256];
    float code[256]; /* 0..255 */
};

/* The grid of a tile: sixteen groups of n elements, element i of group g at [i * 16 + g]. An
 * element is q * scale + min, q an integer of lo..hi or one of 16 ascending levels. */
struct woq_tile_grid {
    size_t n; /* 1..32 */
    enum woq_tile_kind {
        WOQ_TILE_SCALE, /* min is 0 */
        WOQ_TILE_MIN,
        WOQ_TILE_MIN_BELOW_ZERO, /* min <= 0 */
    } kind;                      /* with a min: lo is 0 and levels NULL */
    float lo, hi;
    const float *levels; /* or NULL; ties go to the lower one */
    /* Where the search begins: a scale alone at the extreme value over each of these; with a min,
     * at the ends of the range drawn in by each pair of them, in steps; out if below 0. */
    const float *starts;
    size_t n_starts;
    unsigned passes, last_passes; /* refits of each start, and of the best */
};
struct woq_tile_sums { /* of weights times ...; x = value, l = q (with a min only; else 0); err =
                        * what is left, squared */
    float l[16], ll[16], xl[16], err[16];
};

struct woq_kernels {
    const char *isa; /* "ref", "avx2", "avx512", "neon" */
    /* --- conversion; NaN stays NaN, rounding to nearest even --- */
    void (*f16_to_f32)(float *dst, const uint16_t *src, size_t n);
    void (*f32_to_f16)(uint16_t *dst, const float *src, size_t n);
    void (*bf16_to_f32)(float *dst, const uint16_t *src, size_t n);
    void (*f32_to_bf16)(uint16_t *dst, const float *src, size_t n);
    /* --- statistics of one group or row; 0 elements give 0 --- */
    float (*absmax_f32)(const float *x, size_t n); /* NaN is ignored */
    void (*minmax_f32)(float *min, float *max, const float *x, size_t n);
    /* 1 if every element is finite, else 0 */
    int (*all_finite_f32)(const float *x, size_t n);
    /* minmax_f32 of each run of `group` elements (group >= 1, the last run may be shorter):
     * ceil(n / group) results. Returns all_finite_f32 of the whole. */
    int (*minmax_groups_f32)(float *min, float *max, const float *x, size_t n, size_t group);
    /* min[i] = x[i] < min[i] ? x[i] : min[i], likewise max. Returns all_finite_f32 of x. */
    int (*minmax_cols_f32)(float *min, float *max, const float *x, size_t n);
    /* --- quantizing one group: algorithms.md 1.3, 1.4, on unsigned codes ---
     * code = clamp(rint(w / scale) + zero, 0, maxq), true division, ties to even; NaN gives 0. Of a
     * zero point between whole numbers the part beyond the nearest one is added before rounding. */
    void (*quant_u8)(uint8_t *codes, const float *w, size_t n, float scale, float zero, float maxq);
    /* w = (code - zero) * scale */
    void (*dequant_u8)(float *dst, const uint8_t *codes, size_t n, float scale, float zero);
    /* The same for a row of groups, as minmax_groups_f32; zero NULL = `mid` for every group. */
    void (*quant_groups_u8)(uint8_t *codes, const float *w, size_t n, size_t group,
                            const float *scale, const float *zero, float mid, float maxq);
    void (*quant_err_groups)(float *err, const float *w, const float *weight, size_t n,
                             size_t group, const float *scale, const float *zero, float mid,
                             float maxq);
    void (*dequant_groups_u8)(float *dst, const uint8_t *codes, size_t n, size_t group,
                              const float *scale, const float *zero, float mid);
    /* The same with one scale and zero per element (group_dim 0). */
    void (*quant_cols_u8)(uint8_t *codes, const float *w, size_t n, const float *scale,
                          const float *zero, float mid, float maxq);
    void (*dequant_cols_u8)(float *dst, const uint8_t *codes, size_t n, const float *scale,
                            const float *zero, float mid);
    /* sum of weight[i] * (w - dequant(code))^2 over the group; weight NULL = all 1. For searches:
     * the code is that of w * (1 / scale), which differs from quant_u8's only where w lies as near
     * to one level as to the next. */
    float (*quant_err)(const float *w, const float *weight, size_t n, float scale, float zero,
                       float maxq);
    /* --- blocks of 32 as ggml's Q8_0 has them ---
     * scale[b] = absmax / 127, codes = x * (1 / scale) with halves away from zero (NaN, and a scale
     * without a finite reciprocal, give 0), those of block b at codes + b * stride. */
    void (*block32_s8)(int8_t *codes, size_t stride, float *scale, const float *x, size_t n_blocks);
    /* --- the same for codebooks (format.h) ---
     * code of the level of w / scale, true division; a scale of 0 takes w as 0 */
    void (*level_groups_u8)(uint8_t *codes, const float *w, size_t n, size_t group,
                            const float *scale, const struct woq_levels *levels);
    void (*level_cols_u8)(uint8_t *codes, const float *w, size_t n, const float *scale,
                          const struct woq_levels *levels);
    void (*level_err_groups)(float *err, const float *w, const float *weight, size_t n,
                             size_t group, const float *scale, const struct woq_levels *levels);
    /* w = lut[code] * scale; codes are below n_lut */
    void (*lut_groups_f32)(float *dst, const uint8_t *codes, size_t n, size_t group,
                           const float *scale, const float *lut, size_t n_lut);
    void (*lut_cols_f32)(float *dst, const uint8_t *codes, size_t n, const float *scale,
                         const float *lut, size_t n_lut);
    /* --- grids of sixteen groups at once (struct woq_tile_grid); weights > 0, all finite --- */
    /* scale and min [16] with the least weighted squared error that the search finds */
    void (*tile_fit)(float *scale, float *min, const float *x, const float *weight,
                     const struct woq_tile_grid *grid);
    /* sums at the nearest codes of a given grid */
    void (*tile_sums)(struct woq_tile_sums *sums, const float *x, const float *weight,
                      const struct woq_tile_grid *grid, const float *scale, const float *min);
    /* those codes, q - lo or the number of the level, [n][16] */
    void (*tile_codes)(uint8_t *codes, const float *x, const struct woq_tile_grid *grid,
                       const float *scale, const float *min);
    /* Sixteen groups of n elements, element i of group g at x[i * stride + g]: of the factors the
     * first one with the least sum of weight[i] * (x - dequant(code))^2 for the scale times it and
     * the same zero, codes by x * (1 / scale), and that sum. maxq < 2^22, weights >= 0, all finite.
     */
    void (*tile_shrink)(float *factor, float *loss, const float *x, size_t stride,
                        const float *weight, size_t n, const float *scale, const float *zero,
                        float maxq, const float *factors, size_t n_factors);
    /* --- vectors --- */
    float (*dot_f32)(const float *a, const float *b, size_t n);
    float (*sum_f32)(const float *x, size_t n);
    void (*scale_f32)(float *x, size_t n, float factor);
    void (*add_f32)(float *dst, const float *src, size_t n);           /* dst += src */
    void (*axpy_f32)(float *dst, const float *src, size_t n, float a); /* dst += a * src */
    /* c[r][j] = fma(-a[r][k], u[k][j], c[r][j]) for k = 0, 1 ... depth-1, one after another: rows x
     * cols elements, row strides ldc, lda, ldu. a and u may lie in the matrix that
     * holds c where they do not meet the rows x cols part. */
    void (*rank_sub_f32)(float *c, size_t ldc, const float *a, size_t lda, const float *u,
                         size_t ldu, size_t rows, size_t cols, size_t depth);
    void (*rank_sub_f64)(double *c, size_t ldc, const double *a, size_t lda, const double *u,
                         size_t ldu, size_t rows, size_t cols, size_t depth);
    /* --- the decoder --- */
    /* dst = exp(src), dst may be src; within 2 ulp of the true value. Above 88.72283 +inf, below
     * -87.33654 (where the result would be denormal) 0, NaN stays NaN, denormals give 1. */
    void (*exp_f32)(float *dst, const float *src, size_t n);
    /* x = exp(x - max) * (1 / sum), in place, n >= 1; a row whose maximum is infinite becomes NaN
     */
    void (*softmax_f32)(float *x, size_t n);
    /* dst = x / sqrt(mean(x^2) + eps) * weight; dst may be x */
    void (*rmsnorm_f32)(float *dst, const float *x, const float *weight, size_t n, float eps);
    /* dst = gate / (1 + exp(-gate)) * up; dst may be gate; a gate of -inf gives NaN */
    void (*silu_mul_f32)(float *dst, const float *gate, const float *up, size_t n);
    /* one head in place, pairs (i, i + n_rot/2): models.md 5.1 HALF; cos, sin: n_rot/2 values */
    void (*rope_half_f32)(float *x, const float *cos, const float *sin, size_t n_rot);
    /* log(sum(exp(x - max))) + max (log in double), and the index of the first maximum (NaN is
     * ignored there, 0 if there is none); n >= 1 */
    float (*logsumexp_f32)(const float *x, size_t n, size_t *argmax);
};

/* The best table that this processor can run, capped by WOQ_ISA=ref|avx2|avx512|neon (a name that
 * is not compiled in caps at ref: the results are the same, only slower). Resolved once. */
const struct woq_kernels *woq_kernels(void);
/* All tables that were compiled in (for woq-info, tests, benchmarks); runnable[i] tells whether
 * this processor can run it. Returns the count (at most `max`). */
size_t woq_kernels_all(const struct woq_kernels **tables, int *runnable, size_t max);

#endif
