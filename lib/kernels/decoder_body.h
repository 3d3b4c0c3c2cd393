/* decoder_body.h -- decoder_ref.c on sixteen floats at a time; included after a v16_*.h. */
#include "exp_constants.h"
#include "parts.h"
#include <math.h>

V v16 v_exp(v16 x)
{
    const v16 n = v_rint(v_mul(x, v_set(EXP_LOG2E)));
    const v16 r = v_sub(v_sub(x, v_mul(n, v_set(EXP_LN2_HI))), v_mul(n, v_set(EXP_LN2_LO)));
    v16 p = v_add(v_mul(v_set(EXP_P4), r), v_set(EXP_P3));
    v16 y;

    p = v_add(v_mul(p, r), v_set(EXP_P2));
    p = v_add(v_mul(p, r), v_set(EXP_P1));
    p = v_add(v_mul(p, r), v_set(EXP_P0));
    y = v_add(v_add(v_mul(p, v_mul(r, r)), r), v_set(1.0f));
    y = v_add_exponent(y, n);
    /* outside the range the exponent above is meaningless, and replaced here */
    y = v_if_gt(x, v_set(EXP_MAX), v_set(INFINITY), y);
    y = v_if_gt(v_set(EXP_MIN), x, v_set(0.0f), y);
    return v_if_nan(x, x, y);
}

V float max_of(const float *x, size_t n)
{
    v16 acc = v_set(-INFINITY);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        acc = v_max(v_load(x + i), acc);
    if (i < n)
        acc = v_max(v_load_n(x + i, n - i, acc), acc);
    return v_fold_max(acc);
}

static void exp_f32(float *dst, const float *src, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store(dst + i, v_exp(v_load(src + i)));
    if (i < n)
        v_store_n(dst + i, v_exp(v_load_n(src + i, n - i, v_set(0.0f))), n - i);
}

static void softmax_f32(float *x, size_t n)
{
    const v16 max = v_set(max_of(x, n)), none = v_set(0.0f);
    v16 acc = none, inverse;
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        const v16 e = v_exp(v_sub(v_load(x + i), max));
        v_store(x + i, e);
        acc = v_add(acc, e);
    }
    if (i < n) {
        const v16 e = v_keep_n(v_exp(v_sub(v_load_n(x + i, n - i, max), max)), n - i);
        v_store_n(x + i, e, n - i);
        acc = v_add(acc, e);
    }
    inverse = v_set(1.0f / v_fold_add(acc));
    for (i = 0; i + 16 <= n; i += 16)
        v_store(x + i, v_mul(v_load(x + i), inverse));
    if (i < n)
        v_store_n(x + i, v_mul(v_load_n(x + i, n - i, none), inverse), n - i);
}

static void rmsnorm_f32(float *dst, const float *x, const float *weight, size_t n, float eps)
{
    const v16 none = v_set(0.0f);
    v16 acc = none, factor;
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        acc = v_add(acc, v_mul(v_load(x + i), v_load(x + i)));
    if (i < n) {
        const v16 tail = v_load_n(x + i, n - i, none);
        acc = v_add(acc, v_mul(tail, tail));
    }
    factor = v_set(1.0f / sqrtf(v_fold_add(acc) / (float)n + eps));
    for (i = 0; i + 16 <= n; i += 16)
        v_store(dst + i, v_mul(v_mul(v_load(x + i), factor), v_load(weight + i)));
    if (i < n)
        v_store_n(
            dst + i,
            v_mul(v_mul(v_load_n(x + i, n - i, none), factor), v_load_n(weight + i, n - i, none)),
            n - i);
}

V v16 silu_mul(v16 gate, v16 up)
{
    return v_mul(v_div(gate, v_add(v_set(1.0f), v_exp(v_neg(gate)))), up);
}

static void silu_mul_f32(float *dst, const float *gate, const float *up, size_t n)
{
    const v16 none = v_set(0.0f);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store(dst + i, silu_mul(v_load(gate + i), v_load(up + i)));
    if (i < n)
        v_store_n(dst + i, silu_mul(v_load_n(gate + i, n - i, none), v_load_n(up + i, n - i, none)),
                  n - i);
}

static void rope_half_f32(float *x, const float *cos, const float *sin, size_t n_rot)
{
    const size_t half = n_rot / 2;
    const v16 none = v_set(0.0f);
    float *y = x + half;
    size_t i = 0;

    for (; i + 16 <= half; i += 16) {
        const v16 a = v_load(x + i), b = v_load(y + i), c = v_load(cos + i), s = v_load(sin + i);
        v_store(x + i, v_sub(v_mul(a, c), v_mul(b, s)));
        v_store(y + i, v_add(v_mul(b, c), v_mul(a, s)));
    }
    if (i < half) {
        const size_t r = half - i;
        const v16 a = v_load_n(x + i, r, none), b = v_load_n(y + i, r, none);
        const v16 c = v_load_n(cos + i, r, none), s = v_load_n(sin + i, r, none);
        v_store_n(x + i, v_sub(v_mul(a, c), v_mul(b, s)), r);
        v_store_n(y + i, v_add(v_mul(b, c), v_mul(a, s)), r);
    }
}

static size_t first_equal(const float *x, size_t n, float value)
{
    const v16 v = v_set(value);
    size_t i = 0;

    while (i + 16 <= n && !v_any_eq(v_load(x + i), v))
        i += 16;
    while (i < n && x[i] != value)
        i++;
    return i < n ? i : 0;
}

static float logsumexp_f32(const float *x, size_t n, size_t *argmax)
{
    const float top = max_of(x, n);
    const v16 max = v_set(top);
    v16 acc = v_set(0.0f);
    size_t i = 0;

    *argmax = first_equal(x, n, top);
    for (; i + 16 <= n; i += 16)
        acc = v_add(acc, v_exp(v_sub(v_load(x + i), max)));
    if (i < n)
        acc = v_add(acc, v_keep_n(v_exp(v_sub(v_load_n(x + i, n - i, max), max)), n - i));
    return (float)(log((double)v_fold_add(acc)) + (double)top);
}

const struct woq_kernels WOQ_PART(decoder) = {
    .exp_f32 = exp_f32,
    .softmax_f32 = softmax_f32,
    .rmsnorm_f32 = rmsnorm_f32,
    .silu_mul_f32 = silu_mul_f32,
    .rope_half_f32 = rope_half_f32,
    .logsumexp_f32 = logsumexp_f32,
};
