/* quant_ref.c -- statistics of groups, codes and back: the definition. */
#include "lanes_ref.h"
#include "parts.h"
#include <math.h>
#include <string.h>

static int is_finite(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return (u & 0x7f800000u) != 0x7f800000u;
}

static float absmax_f32(const float *x, size_t n)
{
    float lane[LANES] = { 0 };

    for (size_t i = 0; i < n; i++)
        lane[i % LANES] = pick_max(fabsf(x[i]), lane[i % LANES]);
    return lanes_max(lane);
}

static void minmax_f32(float *min, float *max, const float *x, size_t n)
{
    float lo[LANES], hi[LANES];

    for (size_t i = 0; i < LANES; i++) {
        lo[i] = INFINITY;
        hi[i] = -INFINITY;
    }
    for (size_t i = 0; i < n; i++) {
        lo[i % LANES] = pick_min(x[i], lo[i % LANES]);
        hi[i % LANES] = pick_max(x[i], hi[i % LANES]);
    }
    *min = lanes_min(lo);
    *max = lanes_max(hi);
    if (*min > *max) /* no number was seen */
        *min = *max = 0.0f;
}

static int all_finite_f32(const float *x, size_t n)
{
    int all = 1;

    for (size_t i = 0; i < n; i++)
        all &= is_finite(x[i]);
    return all;
}

static int minmax_groups_f32(float *min, float *max, const float *x, size_t n, size_t group)
{
    for (size_t at = 0, g = 0; at < n; at += group, g++)
        minmax_f32(&min[g], &max[g], x + at, n - at < group ? n - at : group);
    return all_finite_f32(x, n);
}

static int minmax_cols_f32(float *min, float *max, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        min[i] = pick_min(x[i], min[i]);
        max[i] = pick_max(x[i], max[i]);
    }
    return all_finite_f32(x, n);
}

/* t = w / scale: for a whole zero point rint(t) + zero, for others the nearest all the same. */
static float code_at(float t, float zero, float maxq)
{
    const float whole = rintf(zero);

    return pick_min(pick_max(rintf(t + (zero - whole)) + whole, 0.0f), maxq);
}

static void quant_u8(uint8_t *codes, const float *w, size_t n, float scale, float zero, float maxq)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)code_at(w[i] / scale, zero, maxq);
}

static void dequant_u8(float *dst, const uint8_t *codes, size_t n, float scale, float zero)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = ((float)codes[i] - zero) * scale;
}

static float quant_err(const float *w, const float *weight, size_t n, float scale, float zero,
                       float maxq)
{
    const float inverse = 1 / scale;
    float lane[LANES] = { 0 };

    for (size_t i = 0; i < n; i++) {
        const float code = code_at(w[i] * inverse, zero, maxq);
        const float diff = w[i] - (code - zero) * scale;
        lane[i % LANES] += weight ? weight[i] * (diff * diff) : diff * diff;
    }
    return lanes_sum(lane);
}

static void quant_err_groups(float *err, const float *w, const float *weight, size_t n,
                             size_t group, const float *scale, const float *zero, float mid,
                             float maxq)
{
    for (size_t at = 0, g = 0; at < n; at += group, g++)
        err[g] = quant_err(w + at, weight ? weight + at : NULL, n - at < group ? n - at : group,
                           scale[g], zero ? zero[g] : mid, maxq);
}

static void quant_groups_u8(uint8_t *codes, const float *w, size_t n, size_t group,
                            const float *scale, const float *zero, float mid, float maxq)
{
    for (size_t at = 0, g = 0; at < n; at += group, g++)
        quant_u8(codes + at, w + at, n - at < group ? n - at : group, scale[g],
                 zero ? zero[g] : mid, maxq);
}

static void dequant_groups_u8(float *dst, const uint8_t *codes, size_t n, size_t group,
                              const float *scale, const float *zero, float mid)
{
    for (size_t at = 0, g = 0; at < n; at += group, g++)
        dequant_u8(dst + at, codes + at, n - at < group ? n - at : group, scale[g],
                   zero ? zero[g] : mid);
}

static void quant_cols_u8(uint8_t *codes, const float *w, size_t n, const float *scale,
                          const float *zero, float mid, float maxq)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)code_at(w[i] / scale[i], zero ? zero[i] : mid, maxq);
}

static void dequant_cols_u8(float *dst, const uint8_t *codes, size_t n, const float *scale,
                            const float *zero, float mid)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = ((float)codes[i] - (zero ? zero[i] : mid)) * scale[i];
}

static void block32_s8(int8_t *codes, size_t stride, float *scale, const float *x, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, x += 32, codes += stride) {
        const float d = absmax_f32(x, 32) / 127.0f, inverse = 1.0f / d;
        const float id = d != 0.0f && isfinite(inverse) ? inverse : 0.0f;

        scale[b] = d;
        for (size_t i = 0; i < 32; i++) {
            const float v = x[i] * id, a = fabsf(v), near = rintf(a);
            const float r = a - near < 0.5f ? near : near + 1.0f;

            codes[i] = (int8_t)(isnan(v) ? 0 : v < 0.0f ? -r : r);
        }
    }
}

const struct woq_kernels woq_quant_ref = {
    .absmax_f32 = absmax_f32,
    .minmax_f32 = minmax_f32,
    .all_finite_f32 = all_finite_f32,
    .minmax_groups_f32 = minmax_groups_f32,
    .minmax_cols_f32 = minmax_cols_f32,
    .block32_s8 = block32_s8,
    .quant_u8 = quant_u8,
    .dequant_u8 = dequant_u8,
    .quant_err = quant_err,
    .quant_err_groups = quant_err_groups,
    .quant_groups_u8 = quant_groups_u8,
    .dequant_groups_u8 = dequant_groups_u8,
    .quant_cols_u8 = quant_cols_u8,
    .dequant_cols_u8 = dequant_cols_u8,
};
