/* decoder_ref.c -- what a decoder needs beside matrix products: the definition. */
#include "exp_constants.h"
#include "lanes_ref.h"
#include "parts.h"
#include <math.h>
#include <string.h>

static float exp_one(float x)
{
    float n, r, p, y;
    int32_t bits;

    if (x > EXP_MAX)
        return INFINITY;
    if (x < EXP_MIN)
        return 0.0f;
    if (isnan(x))
        return x;
    n = rintf(x * EXP_LOG2E);
    r = (x - n * EXP_LN2_HI) - n * EXP_LN2_LO;
    p = (((EXP_P4 * r + EXP_P3) * r + EXP_P2) * r + EXP_P1) * r + EXP_P0;
    y = (p * (r * r) + r) + 1.0f;
    /* 2^n into the exponent: n = 128 comes only with y < 1, n = -126 only with y >= 1 */
    memcpy(&bits, &y, sizeof bits);
    bits += (int32_t)n * (1 << 23);
    memcpy(&y, &bits, sizeof y);
    return y;
}

static float max_of(const float *x, size_t n)
{
    float lane[LANES];

    for (size_t i = 0; i < LANES; i++)
        lane[i] = -INFINITY;
    for (size_t i = 0; i < n; i++)
        lane[i % LANES] = pick_max(x[i], lane[i % LANES]);
    return lanes_max(lane);
}

static void exp_f32(float *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = exp_one(src[i]);
}

static void softmax_f32(float *x, size_t n)
{
    const float max = max_of(x, n);
    float lane[LANES] = { 0 }, inverse;

    for (size_t i = 0; i < n; i++) {
        x[i] = exp_one(x[i] - max);
        lane[i % LANES] += x[i];
    }
    inverse = 1.0f / lanes_sum(lane);
    for (size_t i = 0; i < n; i++)
        x[i] *= inverse;
}

static void rmsnorm_f32(float *dst, const float *x, const float *weight, size_t n, float eps)
{
    float lane[LANES] = { 0 }, factor;

    for (size_t i = 0; i < n; i++)
        lane[i % LANES] += x[i] * x[i];
    factor = 1.0f / sqrtf(lanes_sum(lane) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        dst[i] = (x[i] * factor) * weight[i];
}

static void silu_mul_f32(float *dst, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = gate[i] / (1.0f + exp_one(-gate[i])) * up[i];
}

static void rope_half_f32(float *x, const float *cos, const float *sin, size_t n_rot)
{
    const size_t half = n_rot / 2;

    for (size_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * cos[i] - b * sin[i];
        x[i + half] = b * cos[i] + a * sin[i];
    }
}

static float logsumexp_f32(const float *x, size_t n, size_t *argmax)
{
    const float max = max_of(x, n);
    float lane[LANES] = { 0 };
    size_t at = 0;

    while (at < n && x[at] != max)
        at++;
    *argmax = at < n ? at : 0;
    for (size_t i = 0; i < n; i++)
        lane[i % LANES] += exp_one(x[i] - max);
    return (float)(log((double)lanes_sum(lane)) + (double)max);
}

const struct woq_kernels woq_decoder_ref = {
    .exp_f32 = exp_f32,
    .softmax_f32 = softmax_f32,
    .rmsnorm_f32 = rmsnorm_f32,
    .silu_mul_f32 = silu_mul_f32,
    .rope_half_f32 = rope_half_f32,
    .logsumexp_f32 = logsumexp_f32,
};
