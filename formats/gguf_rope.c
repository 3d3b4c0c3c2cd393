/* gguf_rope.c -- see the header. */
#include <formats/gguf_rope.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PI 3.14159265358979323846

static const char freqs[] = "rope_freqs.weight";
static const char *const factors[] = { "rope_factors_short.weight", "rope_factors_long.weight" };

static double llama3_divisor(double wavelength, double factor, double low, double high,
                             double original)
{
    const double t = (original / wavelength - low) / (high - low);

    return wavelength < original / high  ? 1
           : wavelength > original / low ? factor
                                         : 1 / ((1 - t) / factor + t);
}

const char *woq_gguf_rope_tensor(const struct woq_config *c, size_t i, float *x)
{
    const size_t n = c->n_rot / 2;

    if (c->rope_scaling == WOQ_ROPE_LONG && i < 2) {
        if (x)
            memcpy(x, i ? c->rope_long : c->rope_short, n * sizeof *x);
        return factors[i];
    }
    if (c->rope_scaling != WOQ_ROPE_LLAMA3 || i > 0)
        return NULL;
    for (size_t d = 0; x && d < n; d++)
        x[d] = (float)llama3_divisor(2 * PI * pow(c->rope_theta, (double)d / (double)n),
                                     c->rope_factor, c->rope_low, c->rope_high, c->rope_original);
    return freqs;
}

bool woq_gguf_is_rope_tensor(const char *name)
{
    return !strcmp(name, freqs) || !strcmp(name, factors[0]) || !strcmp(name, factors[1]);
}

double woq_gguf_yarn_factor(double factor)
{
    return factor > 1 ? 0.1 * log(factor) + 1 : 1;
}

double woq_gguf_attn_factor(const struct woq_config *c)
{
    const double usual =
        c->rope_scaling == WOQ_ROPE_YARN ? woq_gguf_yarn_factor(c->rope_factor) : 1;

    /* Latent attention multiplies the scores instead, and tells by what (gguf_family.c). */
    if (c->qkv == WOQ_QKV_MLA || fabs(c->rope_attn_factor / usual - 1) < 1e-9)
        return 1;
    return c->rope_attn_factor / usual;
}

double woq_shortest(double x)
{
    char text[32];

    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtof(text, NULL) == (float)x)
            return strtod(text, NULL);
    }
    return x;
}

/* llama3 divisors: 1 below the wavelength O/hi, F above O/lo, between them blended by
 * t = (O/wl - lo) / (hi - lo) to 1 / ((1-t)/F + t). */
static bool fits(const float *v, size_t n, double theta, double factor, double low, double high,
                 double original)
{
    for (size_t i = 0; i < n; i++) {
        const double wl = 2 * PI * pow(theta, (double)i / (double)n);
        const double want = llama3_divisor(wl, factor, low, high, original);

        if (!(fabs((double)v[i] - want) <= 1e-5 * want))
            return false;
    }
    return true;
}

/* Written as whole numbers, mostly: take those that are that close. */
static double rounded(double x)
{
    return fabs(x - round(x)) < 1e-3 * x ? round(x) : x;
}

/* Only O/(hi-lo) and lo/(hi-lo) matter, so lo is set to 1. One blended value gives O if hi is the
 * usual 4; two give both. */
static bool solve(const float *v, size_t n, double theta, double factor, double *high,
                  double *original)
{
    double x[2] = { 0 }, t[2] = { 0 }; /* 1/wl and t of the first and the last blended value */
    size_t found = 0;

    for (size_t i = 0; i < n; i++) {
        const double value = (double)v[i];

        if (value <= 1 + 1e-6 || value >= factor * (1 - 1e-6))
            continue;
        const size_t slot = found++ ? 1 : 0;
        x[slot] = 1 / (2 * PI * pow(theta, (double)i / (double)n));
        t[slot] = (1 / value - 1 / factor) / (1 - 1 / factor);
    }
    if (found == 0)
        return false;
    *original = rounded((3 * t[0] + 1) / x[0]);
    if (fits(v, n, theta, factor, 1, *high, *original))
        return true;
    const double a = (t[1] - t[0]) / (x[1] - x[0]), b = a * x[0] - t[0];
    if (found < 2 || !(a > 0) || !(b > 0))
        return false;
    *high = rounded(1 + 1 / b);
    *original = rounded(a / b);
    return isfinite(*high) && isfinite(*original) && fits(v, n, theta, factor, 1, *high, *original);
}

int woq_llama3_scaling(struct woq_json **scaling, const float *v, size_t n, double theta,
                       struct woq_error *err)
{
    const double factor = n ? (double)v[n - 1] : 1;
    double high = 4, original = 8192;
    bool all_one = true;

    *scaling = NULL;
    for (size_t i = 0; i < n; i++)
        all_one &= v[i] == 1.0f;
    if (all_one)
        return WOQ_OK;
    if (!isfinite(factor) || factor <= 1 ||
        (!fits(v, n, theta, factor, 1, high, original) &&
         !solve(v, n, theta, factor, &high, &original)))
        return woq_fail(err, WOQ_EUNSUPPORTED, "start from the HF checkpoint of this model",
                        "rope_freqs.weight does not follow the llama3 formula, so no config.json "
                        "can say it");
    struct woq_json *o = woq_json_object();
    woq_json_set_str(o, "rope_type", "llama3");
    woq_json_set_num(o, "factor", woq_shortest(factor));
    woq_json_set_num(o, "low_freq_factor", 1);
    woq_json_set_num(o, "high_freq_factor", high);
    woq_json_set_num(o, "original_max_position_embeddings", original);
    *scaling = o;
    return o ? WOQ_OK : woq_fail_nomem(err, 1);
}
