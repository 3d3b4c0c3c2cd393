/* gated.c -- activations of the MLP (models.md 6.6, 6.7, 6.8). Only silu has a kernel: the other
 * rows are rare, and a matmul beside them takes most of the time. */
#include "decoder_internal.h"

#include <math.h>

#include <woq/kernels.h>

static float silu(float x)
{
    return x / (1 + expf(-x));
}

static float gelu_erf(float x)
{
    return 0.5f * x * (1 + erff(x * 0.70710678f));
}

static float gelu_tanh(float x)
{
    return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

static float relu(float x)
{
    return x > 0 ? x : 0;
}

static float relu2(float x)
{
    return x > 0 ? x * x : 0;
}

static float quick_gelu(float x)
{
    return x / (1 + expf(-1.702f * x));
}

static float (*function_of(enum woq_act act))(float)
{
    switch (act) {
    case WOQ_ACT_GELU_ERF:
        return gelu_erf;
    case WOQ_ACT_GELU_TANH:
        return gelu_tanh;
    case WOQ_ACT_RELU:
        return relu;
    case WOQ_ACT_RELU2:
        return relu2;
    case WOQ_ACT_QUICK_GELU:
        return quick_gelu;
    default:
        return silu;
    }
}

/* gpt-oss: both sides clamped, and up + 1. */
static void oss(float *dst, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = (fminf(fmaxf(up[i], -7), 7) + 1) * quick_gelu(fminf(gate[i], 7));
}

void woq_gated_act(enum woq_act act, float *dst, const float *gate, const float *up, size_t n)
{
    float (*f)(float) = function_of(act);

    if (act == WOQ_ACT_SILU)
        woq_kernels()->silu_mul_f32(dst, gate, up, n);
    else if (act == WOQ_ACT_OSS)
        oss(dst, gate, up, n);
    else
        for (size_t i = 0; i < n; i++)
            dst[i] = f(gate[i]) * up[i];
}

void woq_plain_act(enum woq_act act, float *x, size_t n)
{
    float (*f)(float) = function_of(act);

    for (size_t i = 0; i < n; i++)
        x[i] = f(x[i]);
}
