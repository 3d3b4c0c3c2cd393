/* rope.c -- tables of rotary positions (models.md 5.1, 5.2). */
#include "arch_internal.h"
#include "decoder_internal.h"

#include <math.h>

#include <woq/kernels.h>

static const double two_pi = 6.283185307179586;

/* Wavelengths shorter than hi stay, longer than lo are stretched, between them a blend. */
static double llama3_freq(const struct woq_config *c, double inv)
{
    const double wavelen = two_pi / inv;
    const double blend = (c->rope_original / wavelen - c->rope_low) / (c->rope_high - c->rope_low);

    if (wavelen < c->rope_original / c->rope_high)
        return inv;
    if (wavelen > c->rope_original / c->rope_low)
        return inv / c->rope_factor;
    return (1 - blend) * inv / c->rope_factor + blend * inv;
}

/* The dimension that turns r times over the original length. */
static double yarn_dim(const struct woq_config *c, double r)
{
    return (double)c->n_rot * log(c->rope_original / (r * two_pi)) / (2 * log(c->rope_theta));
}

static double yarn_freq(const struct woq_config *c, double inv, size_t i)
{
    double lo = yarn_dim(c, c->rope_beta_fast), hi = yarn_dim(c, c->rope_beta_slow), ramp;

    if (c->rope_truncate) {
        lo = floor(lo);
        hi = ceil(hi);
    }
    lo = fmax(lo, 0);
    hi = fmin(hi, (double)c->n_rot - 1);
    if (lo == hi)
        hi += 0.001;
    ramp = fmin(fmax(((double)i - lo) / (hi - lo), 0), 1);
    return inv / c->rope_factor * ramp + inv * (1 - ramp);
}

static double theta_of(const struct woq_config *c, bool local, size_t seq_len)
{
    const double n = (double)c->n_rot, m = c->rope_original;

    if (local)
        return c->rope_theta_local;
    if (c->rope_scaling != WOQ_ROPE_DYNAMIC || (double)seq_len <= m)
        return c->rope_theta;
    return c->rope_theta *
           pow(c->rope_factor * (double)seq_len / m - (c->rope_factor - 1), n / (n - 2));
}

static double scaled_freq(const struct woq_config *c, double inv, size_t i, size_t seq_len)
{
    switch (c->rope_scaling) {
    case WOQ_ROPE_LINEAR:
        return inv / c->rope_factor;
    case WOQ_ROPE_LLAMA3:
        return llama3_freq(c, inv);
    case WOQ_ROPE_YARN:
        return yarn_freq(c, inv, i);
    case WOQ_ROPE_LONG:
        return inv / (double)((double)seq_len > c->rope_original ? c->rope_long : c->rope_short)[i];
    default:
        return inv;
    }
}

bool woq_rope_depends(const struct woq_config *c)
{
    return c->n_rot && (c->rope_scaling == WOQ_ROPE_DYNAMIC || c->rope_scaling == WOQ_ROPE_LONG);
}

int woq_rope_make(struct woq_rope *r, const struct woq_config *c, bool local, size_t n_positions,
                  size_t seq_len, struct woq_error *err)
{
    const size_t half = c->n_rot / 2;
    const double theta = theta_of(c, local, seq_len);
    const double mscale = c->rope_mscale[(double)seq_len > c->rope_original];
    const double a = local ? 1 : mscale != 0 ? mscale : c->rope_attn_factor;
    float *cos_out, *sin_out;
    size_t bytes;

    if (!woq_mul_size(n_positions, 2 * half * sizeof(float), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    if (!(cos_out = woq_buf_need(&r->table, bytes, err)))
        return WOQ_ENOMEM;
    sin_out = cos_out + n_positions * half;
    r->n_positions = n_positions;
    for (size_t i = 0; i < half; i++) {
        double inv = pow(theta, -2.0 * (double)i / (double)c->n_rot);

        if (!local)
            inv = scaled_freq(c, inv, i, seq_len);
        for (size_t p = 0; p < n_positions; p++) {
            cos_out[p * half + i] = (float)(a * cos((double)p * inv));
            sin_out[p * half + i] = (float)(a * sin((double)p * inv));
        }
    }
    return WOQ_OK;
}

const struct woq_rope *woq_rope_of(const struct woq_config *c, size_t block,
                                   const struct woq_rope *rope, const struct woq_rope *local)
{
    if (!woq_config_has_rope(c, block))
        return NULL;
    return woq_has(c, WOQ_T_LOCAL_ROPE) && woq_bits_get(c->window_blocks, block) ? local : rope;
}

void woq_rope_row(const struct woq_rope *r, const struct woq_config *c, float *row, size_t p)
{
    const size_t half = c->n_rot / 2;
    const float *cos_table = r->table.data, *sin_table = cos_table + r->n_positions * half;

    for (size_t a = 0; a < c->n_heads + c->n_kv_heads; a++)
        woq_kernels()->rope_half_f32(row + a * c->head_dim + c->rot_first, cos_table + p * half,
                                     sin_table + p * half, c->n_rot);
}

float woq_alibi_slope(size_t h, size_t n)
{
    size_t c = 1;

    while (2 * c <= n)
        c *= 2;
    return (float)exp2(h < c ? -8.0 * (double)(h + 1) / (double)c
                             : -8.0 * (double)(2 * (h - c) + 1) / (double)(2 * c));
}
