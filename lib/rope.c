/* rope.c -- tables of rotary positions (models.md 5.1, 5.2). */
#include "decoder_internal.h"

#include <math.h>

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

static double theta_of(const struct woq_config *c, size_t seq_len)
{
    const double n = (double)c->n_rot, m = c->rope_original;

    if (c->rope_scaling != WOQ_ROPE_DYNAMIC || (double)seq_len <= m)
        return c->rope_theta;
    return c->rope_theta *
           pow(c->rope_factor * (double)seq_len / m - (c->rope_factor - 1), n / (n - 2));
}

void woq_rope_tables(float *cos_out, float *sin_out, const struct woq_config *c, size_t n_positions,
                     size_t seq_len)
{
    const size_t half = c->n_rot / 2;
    const double theta = theta_of(c, seq_len);

    for (size_t i = 0; i < half; i++) {
        double inv = pow(theta, -2.0 * (double)i / (double)c->n_rot);

        if (c->rope_scaling == WOQ_ROPE_LINEAR)
            inv /= c->rope_factor;
        else if (c->rope_scaling == WOQ_ROPE_LLAMA3)
            inv = llama3_freq(c, inv);
        else if (c->rope_scaling == WOQ_ROPE_YARN)
            inv = yarn_freq(c, inv, i);
        for (size_t p = 0; p < n_positions; p++) {
            cos_out[p * half + i] = (float)(c->rope_attn_factor * cos((double)p * inv));
            sin_out[p * half + i] = (float)(c->rope_attn_factor * sin((double)p * inv));
        }
    }
}
