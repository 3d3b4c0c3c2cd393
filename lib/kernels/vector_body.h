/* vector_body.h -- vector_ref.c on sixteen floats at a time; included after a v16_*.h. */
#include "parts.h"

static float dot_f32(const float *a, const float *b, size_t n)
{
    const v16 none = v_set(0.0f);
    v16 acc = none;
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        acc = v_add(acc, v_mul(v_load(a + i), v_load(b + i)));
    if (i < n)
        acc = v_add(acc, v_mul(v_load_n(a + i, n - i, none), v_load_n(b + i, n - i, none)));
    return v_fold_add(acc);
}

static float sum_f32(const float *x, size_t n)
{
    v16 acc = v_set(0.0f);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        acc = v_add(acc, v_load(x + i));
    if (i < n)
        acc = v_add(acc, v_load_n(x + i, n - i, v_set(0.0f)));
    return v_fold_add(acc);
}

static void scale_f32(float *x, size_t n, float factor)
{
    const v16 f = v_set(factor);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store(x + i, v_mul(v_load(x + i), f));
    if (i < n)
        v_store_n(x + i, v_mul(v_load_n(x + i, n - i, f), f), n - i);
}

static void add_f32(float *dst, const float *src, size_t n)
{
    const v16 none = v_set(0.0f);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store(dst + i, v_add(v_load(dst + i), v_load(src + i)));
    if (i < n)
        v_store_n(dst + i, v_add(v_load_n(dst + i, n - i, none), v_load_n(src + i, n - i, none)),
                  n - i);
}

static void axpy_f32(float *dst, const float *src, size_t n, float a)
{
    const v16 none = v_set(0.0f), f = v_set(a);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store(dst + i, v_add(v_load(dst + i), v_mul(f, v_load(src + i))));
    if (i < n)
        v_store_n(dst + i,
                  v_add(v_load_n(dst + i, n - i, none), v_mul(f, v_load_n(src + i, n - i, none))),
                  n - i);
}

const struct woq_kernels WOQ_PART(vector) = {
    .dot_f32 = dot_f32,
    .sum_f32 = sum_f32,
    .scale_f32 = scale_f32,
    .add_f32 = add_f32,
    .axpy_f32 = axpy_f32,
};
