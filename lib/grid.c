/* grid.c -- scales and zero points of groups from their ranges: algorithms.md 1.3 - 1.5, 6.9. */
#include <woq/kernels.h>
#include <woq/quant.h>
#include <woq/threads.h>

#include <float.h>
#include <math.h>
#include <string.h>

enum {
    CHUNK = 256,
    ITEM_ELEMS = 1 << 16, /* of the search for the largest weight */
    MAX_ITEMS = 1 << 10,
};

/* To nearest, ties to even, for |x| < 2^22: the sum has no bits left below 1. Exact where rintf is,
 * without a call per group. */
static inline float round_even(float x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

/* --- the largest magnitude of a tensor --- */
struct absmax_job {
    const float *w;
    size_t n, item_elems;
    float most[MAX_ITEMS];
};

static void absmax_item(void *ctx, size_t item, int thread)
{
    struct absmax_job *j = ctx;
    const size_t at = item * j->item_elems;

    (void)thread;
    j->most[item] =
        woq_kernels()->absmax_f32(j->w + at, j->n - at < j->item_elems ? j->n - at : j->item_elems);
}

static float absmax(const float *w, size_t n)
{
    struct absmax_job j = { .w = w, .n = n, .item_elems = n / MAX_ITEMS + 1 };
    size_t n_items;

    if (j.item_elems < ITEM_ELEMS)
        j.item_elems = ITEM_ELEMS;
    n_items = (n + j.item_elems - 1) / j.item_elems;
    woq_parallel(n_items, absmax_item, &j);
    return woq_kernels()->absmax_f32(j.most, n_items);
}

/* The scale that lets the largest weight have the largest e4m3 scale and level (6.9). */
static float tensor_div(float most, float top)
{
    const float x = woq_e4m3_lut()[0x7e] * top / most;

    return most > 0.0f ? x < FLT_MAX ? x : FLT_MAX : 1.0f;
}

void woq_grid_init(struct woq_grid *g, const struct woq_scheme *s, const float *w, size_t n)
{
    const struct woq_format *f = woq_format_find(s->dtype, s->bits);

    if (!f)
        WOQ_BUG("woq_grid_init: no scheme to quantize by");
    *g = (struct woq_grid){ .s = s,
                            .format = f,
                            .levels = woq_format_levels(f),
                            .mid = (float)(1 << s->bits >> 1),
                            .maxq = (float)((1 << s->bits) - 1),
                            .top = woq_format_top(f),
                            .scale_div = 1.0f,
                            .f16 = strcmp(s->scale_dtype, "f16") == 0 };
    if (f->scale == WOQ_SCALE_E4M3)
        g->scale_div = tensor_div(absmax(w, n), g->top);
}

static void round_to_f16(float *x, size_t n)
{
    const struct woq_kernels *k = woq_kernels();
    uint16_t half[CHUNK];

    for (size_t at = 0; at < n; at += CHUNK) {
        const size_t m = n - at < CHUNK ? n - at : CHUNK;
        k->f32_to_f16(half, x + at, m);
        k->f16_to_f32(x + at, half, m);
    }
}

static void scales_to_f16(float *scale, size_t n)
{
    for (size_t i = 0; i < n; i++) /* a scale may not become 0: the smallest f16 instead */
        if (fabsf(scale[i]) < 0x1p-24f)
            scale[i] = scale[i] < 0.0f ? -0x1p-24f : 0x1p-24f;
    round_to_f16(scale, n);
}

void woq_grid_round(const struct woq_grid *g, float *scale, size_t n)
{
    const float *e8m0 = woq_e8m0_lut(), *e4m3 = woq_e4m3_lut();

    if (g->format->scale == WOQ_SCALE_E8M0)
        for (size_t i = 0; i < n; i++)
            scale[i] = e8m0[woq_e8m0_code(scale[i])];
    else if (g->format->scale == WOQ_SCALE_E4M3)
        for (size_t i = 0; i < n; i++)
            scale[i] = e4m3[woq_e4m3_code(scale[i] * g->scale_div)] / g->scale_div;
    else if (g->f16)
        scales_to_f16(scale, n);
}

void woq_grid_round_zero(const struct woq_grid *g, float *zero, size_t n)
{
    for (size_t i = 0; i < n && !g->s->float_zero; i++)
        zero[i] = round_even(zero[i]);
    if (g->s->float_zero && g->f16)
        round_to_f16(zero, n);
}

static void sym_scales(float *scale, const float *min, const float *max, size_t n, float quantile,
                       const struct woq_grid *g)
{
    const struct woq_scheme *s = g->s;
    const float div = s->full_range ? g->mid : s->bits == 1 ? 1.0f : g->mid - 1.0f;

    for (size_t i = 0; i < n; i++) {
        const float lo = fabsf(min[i]), hi = fabsf(max[i]);
        const float am = (lo > hi ? lo : hi) * quantile;
        const float x = am / div;
        /* an empty range, or one so small that the quotient vanishes, decodes to zeros */
        scale[i] = x > 0.0f ? x : 1.0f / div;
        if (s->full_range && hi > lo)
            scale[i] = -scale[i];
    }
}

static void asym_scales(float *scale, const float *min, const float *max, size_t n, float quantile,
                        float maxq)
{
    for (size_t i = 0; i < n; i++) {
        const float lo = (min[i] < 0.0f ? min[i] : 0.0f) * quantile;
        const float hi = (max[i] > 0.0f ? max[i] : 0.0f) * quantile;
        const float x = (hi - lo) / maxq;
        scale[i] = x > 0.0f ? x : 2.0f / maxq;
    }
}

/* zero = -lo / scale, a whole number unless it is to be float; for an empty range lo is -1 (1.4).
 */
static void asym_zeros(float *zero, const float *scale, const float *min, const float *max,
                       size_t n, float quantile, const struct woq_grid *g)
{
    const float maxq = g->maxq;

    for (size_t i = 0; i < n; i++) {
        const float lo = (min[i] < 0.0f ? min[i] : 0.0f) * quantile;
        const float hi = (max[i] > 0.0f ? max[i] : 0.0f) * quantile;
        const float x = ((hi - lo) / maxq > 0.0f ? -lo : 1.0f) / scale[i];
        /* a scale rounded to f16 may be too small for the range */
        zero[i] = x < maxq ? x : maxq;
    }
    woq_grid_round_zero(g, zero, n);
}

/* OCP MX 1.0, 6.3: the exponent of the largest weight less that of the largest level; weights
 * above that level are cut. */
static float power_scale(float most, float top)
{
    int e = most > 0.0f ? ilogbf(most) - ilogbf(top) : 1 - ilogbf(top);

    e = e < -127 ? -127 : e > 127 ? 127 : e;
    return woq_e8m0_lut()[e + 127];
}

static void level_scales(float *scale, const float *min, const float *max, size_t n, float quantile,
                         const struct woq_grid *g)
{
    for (size_t i = 0; i < n; i++) {
        const float lo = fabsf(min[i]), hi = fabsf(max[i]);
        const float most = (lo > hi ? lo : hi) * quantile, x = most / g->top;

        if (g->format->scale == WOQ_SCALE_E8M0)
            scale[i] = power_scale(most, g->top);
        else if (g->format->scale == WOQ_SCALE_E4M3) /* 0 is a scale, of a group of zeros */
            scale[i] = x;
        else
            scale[i] = x > 0.0f ? x : 1.0f / g->top;
    }
}

void woq_group_params(float *scale, float *zero, const float *min, const float *max, size_t n,
                      float quantile, const struct woq_grid *g)
{
    if (g->levels)
        level_scales(scale, min, max, n, quantile, g);
    else if (g->s->sym)
        sym_scales(scale, min, max, n, quantile, g);
    else
        asym_scales(scale, min, max, n, quantile, g->maxq);
    woq_grid_round(g, scale, n);
    if (!zero)
        return;
    if (!g->levels && !g->s->sym)
        asym_zeros(zero, scale, min, max, n, quantile, g);
    else
        for (size_t i = 0; i < n; i++)
            zero[i] = g->s->bits == 1 ? 0.0f : g->mid;
}
