/* gated.c -- activations of the gated MLP (models.md 6.6, 6.7). Only silu has a kernel: the other
 * rows are rare, and a matmul beside them takes most of the time. */
#include "decoder_internal.h"

#include <math.h>

#include <woq/kernels.h>

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

void woq_gated_act(enum woq_act act, float *dst, const float *gate, const float *up, size_t n)
{
    float (*f)(float) = act == WOQ_ACT_GELU_ERF ? gelu_erf : act == WOQ_ACT_RELU ? relu : gelu_tanh;

    if (act == WOQ_ACT_SILU) {
        woq_kernels()->silu_mul_f32(dst, gate, up, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        dst[i] = f(gate[i]) * up[i];
}
