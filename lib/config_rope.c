/* config_rope.c -- rope scaling of a config.json (models.md 3.4, 5.2). */
#include "arch_internal.h"

#include <math.h>
#include <string.h>

/* models.md 5.2, g(s, m). */
static double yarn_scale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static int read_yarn(struct woq_config *c, const struct woq_json *s, struct woq_error *err)
{
    const double mscale = woq_json_get_num(s, "mscale", 0);
    const double all_dim = woq_json_get_num(s, "mscale_all_dim", 0);
    double otherwise;
    int rc;

    if ((rc = woq_config_real(s, "factor", 0, 1e6, (double)NAN, &c->rope_factor, err)) < 0 ||
        (rc = woq_config_real(s, "original_max_position_embeddings", 0, 1e12,
                              (double)c->max_positions, &c->rope_original, err)) < 0 ||
        (rc = woq_config_real(s, "beta_fast", 0, 1e6, 32, &c->rope_beta_fast, err)) < 0 ||
        (rc = woq_config_real(s, "beta_slow", 0, 1e6, 1, &c->rope_beta_slow, err)) < 0 ||
        (rc = woq_config_flag(s, "truncate", true, &c->rope_truncate, err)) < 0)
        return rc;
    if (c->rope_beta_fast < c->rope_beta_slow)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: yarn beta_fast %g is below beta_slow %g", c->rope_beta_fast,
                        c->rope_beta_slow);
    if (c->rope_theta <= 1)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: yarn wants rope_theta above 1, found %g", c->rope_theta);
    otherwise = mscale != 0 && all_dim != 0
                    ? yarn_scale(c->rope_factor, mscale) / yarn_scale(c->rope_factor, all_dim)
                    : yarn_scale(c->rope_factor, 1);
    return woq_config_real(s, "attention_factor", 0, 1e6, otherwise, &c->rope_attn_factor, err);
}

static int read_llama3(struct woq_config *c, const struct woq_json *s, struct woq_error *err)
{
    int rc;

    if ((rc = woq_config_real(s, "factor", 0, 1e6, (double)NAN, &c->rope_factor, err)) < 0 ||
        (rc = woq_config_real(s, "low_freq_factor", 0, 1e6, (double)NAN, &c->rope_low, err)) < 0 ||
        (rc = woq_config_real(s, "high_freq_factor", 0, 1e6, (double)NAN, &c->rope_high, err)) <
            0 ||
        (rc = woq_config_real(s, "original_max_position_embeddings", 0, 1e12, (double)NAN,
                              &c->rope_original, err)) < 0)
        return rc;
    if (c->rope_high <= c->rope_low)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: high_freq_factor %g is not above low_freq_factor %g",
                        c->rope_high, c->rope_low);
    return WOQ_OK;
}

/* One divisor for each pair of dimensions. */
static int read_divisors(const struct woq_config *c, const struct woq_json *s, const char *key,
                         float *out, struct woq_error *err)
{
    const struct woq_json *list = woq_json_get(s, key);
    size_t n = 0;

    woq_json_each(item, list)
    {
        double x = 0;

        if (n == c->n_rot / 2 || n == sizeof c->rope_short / sizeof *c->rope_short)
            break;
        if (!woq_json_num(item, &x) || !(x > 0 && x < 1e9))
            return woq_fail(err, WOQ_EDATA, NULL, "config.json: %s[%zu] is no number above 0", key,
                            n);
        out[n++] = (float)x;
    }
    if (n == c->n_rot / 2 && woq_json_len(list) == n)
        return WOQ_OK;
    return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' has %zu entries, want %zu", key,
                    woq_json_len(list), c->n_rot / 2);
}

static int read_long(struct woq_config *c, const struct woq_json *j, const struct woq_json *s,
                     struct woq_error *err)
{
    const char *key = "original_max_position_embeddings";
    const struct woq_json *from = woq_json_type(woq_json_get(j, key)) != WOQ_JNULL ? j
                                  : c->arch->router == WOQ_ROUTER_SPARSE           ? s
                                                                                   : NULL;
    double factor, scale;
    int rc;

    if ((rc = read_divisors(c, s, "short_factor", c->rope_short, err)) < 0 ||
        (rc = read_divisors(c, s, "long_factor", c->rope_long, err)) < 0 ||
        (rc = woq_config_real(from, key, 1, 1e12, (double)c->max_positions, &c->rope_original,
                              err)) < 0)
        return rc;
    factor = (double)c->max_positions / c->rope_original;
    if (!from && (rc = woq_config_real(s, "factor", 0, 1e6, 1, &factor, err)) < 0)
        return rc;
    scale = factor <= 1 ? 1 : sqrt(1 + log(factor) / log(c->rope_original));
    if (c->arch->router != WOQ_ROUTER_SPARSE)
        return woq_config_real(s, "attention_factor", 0, 1e6, scale, &c->rope_attn_factor, err);
    if ((rc = woq_config_real(s, "short_mscale", 0, 1e6, (double)NAN, &c->rope_mscale[0], err)) < 0)
        return rc;
    return woq_config_real(s, "long_mscale", 0, 1e6, (double)NAN, &c->rope_mscale[1], err);
}

static int read_scaling(struct woq_config *c, const struct woq_json *j, const struct woq_json *s,
                        bool new_form, struct woq_error *err)
{
    const char *type = woq_json_get_str(s, "rope_type");
    const bool phi3 = !strcmp(c->arch->model_type, "phi3");

    if (!type)
        type = woq_json_get_str(s, "type");
    if (!type && new_form)
        type = "default";
    if (!type)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "config.json: rope scaling without 'rope_type'");
    if (!strcmp(type, "default"))
        return WOQ_OK;
    if (!strcmp(type, "linear") || !strcmp(type, "dynamic")) {
        c->rope_scaling = !strcmp(type, "linear") ? WOQ_ROPE_LINEAR : WOQ_ROPE_DYNAMIC;
        c->rope_original = (double)c->max_positions;
        return woq_config_real(s, "factor", 0, 1e6, (double)NAN, &c->rope_factor, err);
    }
    if (!strcmp(type, "llama3")) {
        c->rope_scaling = WOQ_ROPE_LLAMA3;
        return read_llama3(c, s, err);
    }
    if (!strcmp(type, "longrope") || !strcmp(type, "su") || (phi3 && !strcmp(type, "yarn"))) {
        c->rope_scaling = WOQ_ROPE_LONG;
        return read_long(c, j, s, err);
    }
    if (!strcmp(type, "yarn")) {
        c->rope_scaling = WOQ_ROPE_YARN;
        return read_yarn(c, s, err);
    }
    return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                    "config.json: rope scaling '%.100s' is not known, want default, linear, "
                    "dynamic, llama3, yarn or longrope",
                    type);
}

/* The object of rope_parameters for full attention, where there is one for each kind of block. */
static int pick_parameters(struct woq_config *c, const struct woq_json **s, struct woq_error *err)
{
    const struct woq_json *full = woq_json_get(*s, "full_attention");
    const struct woq_json *local = woq_json_get(*s, "sliding_attention");

    if (!full && !local)
        return WOQ_OK;
    if (!woq_has(c, WOQ_T_LOCAL_ROPE))
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "config.json: rope scaling without 'rope_type'");
    *s = full;
    return c->arch->theta_local != 0
               ? woq_config_real(local, "rope_theta", 0, 1e15, c->rope_theta_local,
                                 &c->rope_theta_local, err)
               : WOQ_OK;
}

/* How many dimensions turn, and how fast. */
static int read_turn(struct woq_config *c, const struct woq_json *j, const struct woq_json *s,
                     struct woq_error *err)
{
    const char *theta_key = c->arch->theta_key ? c->arch->theta_key : "rope_theta";
    const char *partial_key = c->arch->partial_key ? c->arch->partial_key : "partial_rotary_factor";
    double theta = c->rope_theta, fraction = c->arch->partial != 0 ? c->arch->partial : 1;
    int rc;

    if (theta == 0)
        theta = c->arch->theta != 0 ? c->arch->theta : 10000;
    else
        s = j = NULL; /* a refinement knew it */
    if ((rc = woq_config_real(j, "rope_theta", 0, 1e15, theta, &theta, err)) < 0 ||
        (rc = woq_config_real(j, theta_key, 0, 1e15, theta, &theta, err)) < 0 ||
        (rc = woq_config_real(s, "rope_theta", 0, 1e15, theta, &c->rope_theta, err)) < 0 ||
        (rc = woq_config_real(j, "partial_rotary_factor", 0, 1, fraction, &fraction, err)) < 0 ||
        (rc = woq_config_real(j, partial_key, 0, 1, fraction, &fraction, err)) < 0 ||
        (rc = woq_config_real(s, "partial_rotary_factor", 0, 1, fraction, &fraction, err)) < 0)
        return rc;
    if (!c->n_rot)
        c->n_rot = (size_t)((double)c->head_dim * fraction);
    if (c->n_rot < 2 || c->n_rot % 2 || c->rot_first + c->n_rot > c->head_dim)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: %zu of %zu head dimensions rotate, want an even number",
                        c->n_rot, c->head_dim);
    return WOQ_OK;
}

/* Blocks without a window have no positions (cohere2), or others than those with one. */
static void set_kinds(struct woq_config *c)
{
    for (size_t l = 0; l < c->n_layers && woq_has(c, WOQ_T_FULL_NO_ROPE); l++)
        if (!woq_bits_get(c->window_blocks, l))
            woq_bits_set(c->no_rope_blocks, l);
}

int woq_config_read_rope(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_json *parameters = woq_json_get(j, "rope_parameters");
    const bool new_form = woq_json_type(parameters) != WOQ_JNULL;
    const struct woq_json *s = new_form ? parameters : woq_json_get(j, "rope_scaling");
    int rc;

    c->rope_attn_factor = 1;
    if (woq_has(c, WOQ_T_ALIBI) || c->arch->names[WOQ_ROLE_POSITION]) {
        c->n_rot = 0;
        return WOQ_OK;
    }
    if (woq_json_type(s) != WOQ_JNULL && woq_json_type(s) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' is not an object",
                        new_form ? "rope_parameters" : "rope_scaling");
    if (c->arch->theta_local != 0 &&
        (rc = woq_config_real(j, "rope_local_base_freq", 0, 1e15, c->arch->theta_local,
                              &c->rope_theta_local, err)) < 0)
        return rc;
    if (new_form && (rc = pick_parameters(c, &s, err)) < 0)
        return rc;
    if ((rc = read_turn(c, j, new_form ? s : NULL, err)) < 0)
        return rc;
    if (c->rope_theta_local == 0)
        c->rope_theta_local = c->rope_theta;
    set_kinds(c);
    if (woq_json_type(s) == WOQ_JNULL)
        return WOQ_OK;
    if ((rc = read_scaling(c, j, s, new_form, err)) < 0)
        return rc;
    /* theta' raises to n / (n - 2). */
    if (c->rope_scaling == WOQ_ROPE_DYNAMIC && c->n_rot < 4)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: dynamic rope scaling of %zu dimensions, want 4 or more",
                        c->n_rot);
    return WOQ_OK;
}
