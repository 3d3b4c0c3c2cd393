/* level_ref.c -- codes of a codebook and back: the definition. */
#include "lanes_ref.h"
#include "parts.h"
#include <math.h>

static unsigned level_of(float w, float scale, const struct woq_levels *levels)
{
    const float x = w / (fabsf(scale) > 0.0f ? scale : INFINITY);
    unsigned at = 0;

    for (unsigned step = 128; step > 0; step /= 2)
        at += x > levels->cut[at + step - 1] ? step : 0;
    return at;
}

static void level_run(uint8_t *codes, const float *w, size_t n, float scale,
                      const struct woq_levels *levels)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)levels->code[level_of(w[i], scale, levels)];
}

static void level_groups_u8(uint8_t *codes, const float *w, size_t n, size_t group,
                            const float *scale, const struct woq_levels *levels)
{
    for (size_t at = 0, g = 0; at < n; at += group, g++)
        level_run(codes + at, w + at, n - at < group ? n - at : group, scale[g], levels);
}

static void level_cols_u8(uint8_t *codes, const float *w, size_t n, const float *scale,
                          const struct woq_levels *levels)
{
    for (size_t i = 0; i < n; i++)
        level_run(codes + i, w + i, 1, scale[i], levels);
}

static float level_err(const float *w, const float *weight, size_t n, float scale,
                       const struct woq_levels *levels)
{
    float lane[LANES] = { 0 };

    for (size_t i = 0; i < n; i++) {
        const float diff = w[i] - levels->value[level_of(w[i], scale, levels)] * scale;
        lane[i % LANES] += weight ? weight[i] * (diff * diff) : diff * diff;
    }
    return lanes_sum(lane);
}

static void level_err_groups(float *err, const float *w, const float *weight, size_t n,
                             size_t group, const float *scale, const struct woq_levels *levels)
{
    for (size_t at = 0, g = 0; at < n; at += group, g++)
        err[g] = level_err(w + at, weight ? weight + at : NULL, n - at < group ? n - at : group,
                           scale[g], levels);
}

static void lut_groups_f32(float *dst, const uint8_t *codes, size_t n, size_t group,
                           const float *scale, const float *lut, size_t n_lut)
{
    (void)n_lut;
    for (size_t i = 0; i < n; i++)
        dst[i] = lut[codes[i]] * scale[i / group];
}

static void lut_cols_f32(float *dst, const uint8_t *codes, size_t n, const float *scale,
                         const float *lut, size_t n_lut)
{
    lut_groups_f32(dst, codes, n, 1, scale, lut, n_lut);
}

const struct woq_kernels woq_level_ref = {
    .level_groups_u8 = level_groups_u8,
    .level_cols_u8 = level_cols_u8,
    .level_err_groups = level_err_groups,
    .lut_groups_f32 = lut_groups_f32,
    .lut_cols_f32 = lut_cols_f32,
};
