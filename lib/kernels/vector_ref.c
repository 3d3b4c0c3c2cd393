/* vector_ref.c -- sums, products, scaled sums of vectors: the definition. */
#include "lanes_ref.h"
#include "parts.h"

static float dot_f32(const float *a, const float *b, size_t n)
{
    float lane[LANES] = { 0 };

    for (size_t i = 0; i < n; i++)
        lane[i % LANES] += a[i] * b[i];
    return lanes_sum(lane);
}

static float sum_f32(const float *x, size_t n)
{
    float lane[LANES] = { 0 };

    for (size_t i = 0; i < n; i++)
        lane[i % LANES] += x[i];
    return lanes_sum(lane);
}

static void scale_f32(float *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

static void add_f32(float *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] += src[i];
}

static void axpy_f32(float *dst, const float *src, size_t n, float a)
{
    for (size_t i = 0; i < n; i++)
        dst[i] += a * src[i];
}

const struct woq_kernels woq_vector_ref = {
    .dot_f32 = dot_f32,
    .sum_f32 = sum_f32,
    .scale_f32 = scale_f32,
    .add_f32 = add_f32,
    .axpy_f32 = axpy_f32,
};
