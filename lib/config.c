/* config.c -- what a config.json means: defaults of transformers 4.57.6, ranges, rope scaling
 * (models.md 2, 3.1, 3.3, 3.4, 5.2). Sizes that decide shapes have no default here: every file
 * that a library wrote has them, and a guess would be a plausible wrong model. */
#include <woq/arch.h>

#include <math.h>
#include <string.h>

#include <woq/util.h>

/* Limits well above any model; products of any two stay below 2^53. */
enum { MAX_WIDTH = 1 << 22, MAX_VOCAB = 1 << 24, MAX_HEADS = 1 << 14, MAX_HEAD_DIM = 1 << 14 };
static const uint64_t max_positions = (uint64_t)1 << 40;

static int get_u64(const struct woq_json *v, const char *key, uint64_t lo, uint64_t hi,
                   uint64_t *out, struct woq_error *err)
{
    double number;

    if (woq_json_u64(v, out) && *out >= lo && *out <= hi)
        return WOQ_OK;
    if (!woq_json_num(v, &number))
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' is not a number, want a count",
                        key);
    return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' is %g, want a whole number %llu..%llu",
                    key, number, (unsigned long long)lo, (unsigned long long)hi);
}

/* A size that must be there. */
static int need(const struct woq_json *config, const char *key, uint64_t hi, size_t *out,
                struct woq_error *err)
{
    const struct woq_json *v = woq_json_get(config, key);
    uint64_t n;
    int rc;

    if (woq_json_type(v) == WOQ_JNULL)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json lacks '%s'", key);
    if ((rc = get_u64(v, key, 1, hi, &n, err)) < 0)
        return rc;
    *out = (size_t)n;
    return WOQ_OK;
}

/* A size with a default for an absent key or null. */
static int maybe(const struct woq_json *config, const char *key, uint64_t hi, uint64_t otherwise,
                 size_t *out, struct woq_error *err)
{
    *out = (size_t)otherwise;
    if (woq_json_type(woq_json_get(config, key)) == WOQ_JNULL)
        return WOQ_OK;
    return need(config, key, hi, out, err);
}

/* A real number with a default; range lo < x <= hi. */
static int real(const struct woq_json *obj, const char *key, double lo, double hi, double otherwise,
                double *out, struct woq_error *err)
{
    const struct woq_json *v = woq_json_get(obj, key);

    *out = otherwise;
    if (woq_json_type(v) != WOQ_JNULL && !woq_json_num(v, out))
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' is not a number", key);
    if (isnan(*out))
        return woq_fail(err, WOQ_EDATA, NULL, "config.json lacks '%s' for its rope scaling", key);
    if (!(*out > lo && *out <= hi))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: '%s' is %g, want more than %g, up to %g", key, *out, lo, hi);
    return WOQ_OK;
}

static int flag(const struct woq_json *config, const char *key, bool otherwise, bool *out,
                struct woq_error *err)
{
    const struct woq_json *v = woq_json_get(config, key);

    *out = otherwise;
    if (woq_json_type(v) != WOQ_JNULL && !woq_json_bool(v, out))
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' is neither true nor false", key);
    return WOQ_OK;
}

static int read_sizes(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const bool has_kv = woq_json_get(j, "num_key_value_heads") != NULL;
    const bool has_head_dim = woq_json_type(woq_json_get(j, "head_dim")) != WOQ_JNULL;
    size_t kv;
    int rc;

    if ((rc = need(j, "hidden_size", MAX_WIDTH, &c->hidden, err)) < 0 ||
        (rc = need(j, "intermediate_size", MAX_WIDTH, &c->inter, err)) < 0 ||
        (rc = need(j, "num_hidden_layers", WOQ_MAX_BLOCKS, &c->n_layers, err)) < 0 ||
        (rc = need(j, "num_attention_heads", MAX_HEADS, &c->n_heads, err)) < 0 ||
        (rc = need(j, "vocab_size", MAX_VOCAB, &c->vocab, err)) < 0)
        return rc;
    /* null means as many as query heads; only an absent key means the class default. */
    kv = has_kv || !c->arch->default_kv_heads ? c->n_heads : (size_t)c->arch->default_kv_heads;
    if ((rc = maybe(j, "num_key_value_heads", MAX_HEADS, kv, &c->n_kv_heads, err)) < 0 ||
        (rc = maybe(j, "head_dim", MAX_HEAD_DIM, 1, &c->head_dim, err)) < 0 ||
        (rc = maybe(j, "max_position_embeddings", max_positions, c->arch->default_positions,
                    &c->max_positions, err)) < 0)
        return rc;
    if (c->n_heads % c->n_kv_heads)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: num_attention_heads %zu is no multiple of "
                        "num_key_value_heads %zu",
                        c->n_heads, c->n_kv_heads);
    if (!has_head_dim && c->hidden % c->n_heads)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: hidden_size %zu is no multiple of num_attention_heads %zu, "
                        "and there is no 'head_dim'",
                        c->hidden, c->n_heads);
    if (!has_head_dim)
        c->head_dim = c->hidden / c->n_heads;
    if (c->n_heads * c->head_dim > MAX_WIDTH)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: num_attention_heads %zu x head_dim %zu is more than %d",
                        c->n_heads, c->head_dim, MAX_WIDTH);
    return WOQ_OK;
}

static int read_act(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    static const struct {
        const char *name;
        enum woq_act act;
    } acts[] = {
        { "silu", WOQ_ACT_SILU },
        { "swish", WOQ_ACT_SILU },
        { "gelu", WOQ_ACT_GELU_ERF },
        { "gelu_python", WOQ_ACT_GELU_ERF },
        { "gelu_new", WOQ_ACT_GELU_TANH },
        { "gelu_pytorch_tanh", WOQ_ACT_GELU_TANH },
        { "gelu_python_tanh", WOQ_ACT_GELU_TANH },
        { "gelu_accurate", WOQ_ACT_GELU_TANH },
        { "relu", WOQ_ACT_RELU },
    };
    const struct woq_json *v = woq_json_get(j, "hidden_act");
    const char *name = woq_json_str(v);

    c->act = c->arch->act;
    if (woq_json_type(v) == WOQ_JNULL)
        return WOQ_OK;
    for (size_t i = 0; name && i < sizeof acts / sizeof acts[0]; i++)
        if (!strcmp(acts[i].name, name)) {
            c->act = acts[i].act;
            return WOQ_OK;
        }
    return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                    "config.json: hidden_act '%.100s' is not known, want silu, gelu, gelu_new, "
                    "gelu_pytorch_tanh or relu",
                    name ? name : "(not a string)");
}

static int read_biases(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    bool attention = false, mlp = false;
    int rc;

    if (c->arch->attention_bias_key && (rc = flag(j, "attention_bias", false, &attention, err)) < 0)
        return rc;
    if (c->arch->mlp_bias_key && (rc = flag(j, "mlp_bias", false, &mlp, err)) < 0)
        return rc;
    c->qkv_bias = attention || c->arch->qkv_bias_always;
    c->o_bias = attention;
    c->mlp_bias = mlp;
    return flag(j, "tie_word_embeddings", c->arch->tie_default, &c->tie, err);
}

static void set_window(struct woq_config *c, size_t block)
{
    c->window_blocks[block / 64] |= (uint64_t)1 << (block % 64);
}

size_t woq_config_window(const struct woq_config *c, size_t block)
{
    return block < WOQ_MAX_BLOCKS && (c->window_blocks[block / 64] >> (block % 64) & 1) ? c->window
                                                                                        : 0;
}

/* layer_types: one of two strings per block; wins over the row's pattern. */
static int read_layer_types(struct woq_config *c, const struct woq_json *types,
                            struct woq_error *err)
{
    size_t block = 0;

    if (woq_json_type(types) != WOQ_JARRAY || woq_json_len(types) != c->n_layers)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: 'layer_types' has %zu entries, want num_hidden_layers %zu",
                        woq_json_len(types), c->n_layers);
    woq_json_each(item, types)
    {
        const char *name = woq_json_str(item);

        if (name && !strcmp(name, "sliding_attention"))
            set_window(c, block);
        else if (!name || strcmp(name, "full_attention") != 0)
            return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                            "config.json: layer_types[%zu] is '%.100s', want sliding_attention or "
                            "full_attention",
                            block, name ? name : "(not a string)");
        block++;
    }
    return WOQ_OK;
}

static int read_window(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_json *v = woq_json_get(j, "sliding_window");
    const struct woq_json *types = woq_json_get(j, "layer_types");
    const bool gated = c->arch->window_key_gated;
    uint64_t first = 0, window = (uint64_t)c->arch->default_window;
    bool use = true;
    int rc;

    if (!window || (v && woq_json_type(v) == WOQ_JNULL))
        return WOQ_OK;
    if (gated && (rc = flag(j, "use_sliding_window", false, &use, err)) < 0)
        return rc;
    if (!use)
        return WOQ_OK;
    if (v && (rc = get_u64(v, "sliding_window", 1, max_positions, &window, err)) < 0)
        return rc;
    c->window = (size_t)window;
    if (woq_json_type(types) != WOQ_JNULL)
        return read_layer_types(c, types, err);
    if (gated) {
        const struct woq_json *layers = woq_json_get(j, "max_window_layers");

        first = 28;
        if (woq_json_type(layers) != WOQ_JNULL &&
            (rc = get_u64(layers, "max_window_layers", 0, max_positions, &first, err)) < 0)
            return rc;
    }
    for (uint64_t l = first; l < c->n_layers; l++)
        set_window(c, (size_t)l);
    return WOQ_OK;
}

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

    if ((rc = real(s, "factor", 0, 1e6, (double)NAN, &c->rope_factor, err)) < 0 ||
        (rc = real(s, "original_max_position_embeddings", 0, 1e12, (double)c->max_positions,
                   &c->rope_original, err)) < 0 ||
        (rc = real(s, "beta_fast", 0, 1e6, 32, &c->rope_beta_fast, err)) < 0 ||
        (rc = real(s, "beta_slow", 0, 1e6, 1, &c->rope_beta_slow, err)) < 0 ||
        (rc = flag(s, "truncate", true, &c->rope_truncate, err)) < 0)
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
    return real(s, "attention_factor", 0, 1e6, otherwise, &c->rope_attn_factor, err);
}

static int read_llama3(struct woq_config *c, const struct woq_json *s, struct woq_error *err)
{
    int rc;

    if ((rc = real(s, "factor", 0, 1e6, (double)NAN, &c->rope_factor, err)) < 0 ||
        (rc = real(s, "low_freq_factor", 0, 1e6, (double)NAN, &c->rope_low, err)) < 0 ||
        (rc = real(s, "high_freq_factor", 0, 1e6, (double)NAN, &c->rope_high, err)) < 0 ||
        (rc = real(s, "original_max_position_embeddings", 0, 1e12, (double)NAN, &c->rope_original,
                   err)) < 0)
        return rc;
    if (c->rope_high <= c->rope_low)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: high_freq_factor %g is not above low_freq_factor %g",
                        c->rope_high, c->rope_low);
    return WOQ_OK;
}

static int read_scaling(struct woq_config *c, const struct woq_json *s, bool new_form,
                        struct woq_error *err)
{
    const char *type = woq_json_get_str(s, "rope_type");

    if (!type)
        type = woq_json_get_str(s, "type");
    if (!type && new_form && !woq_json_get(s, "full_attention") &&
        !woq_json_get(s, "sliding_attention"))
        type = "default";
    if (!type)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "config.json: rope scaling without 'rope_type'");
    if (!strcmp(type, "default"))
        return WOQ_OK;
    if (!strcmp(type, "linear") || !strcmp(type, "dynamic")) {
        c->rope_scaling = !strcmp(type, "linear") ? WOQ_ROPE_LINEAR : WOQ_ROPE_DYNAMIC;
        c->rope_original = (double)c->max_positions;
        return real(s, "factor", 0, 1e6, (double)NAN, &c->rope_factor, err);
    }
    if (!strcmp(type, "llama3")) {
        c->rope_scaling = WOQ_ROPE_LLAMA3;
        return read_llama3(c, s, err);
    }
    if (!strcmp(type, "yarn")) {
        c->rope_scaling = WOQ_ROPE_YARN;
        return read_yarn(c, s, err);
    }
    return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                    "config.json: rope scaling '%.100s' is not known, want default, linear, "
                    "dynamic, llama3 or yarn",
                    type);
}

static int read_rope(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_json *parameters = woq_json_get(j, "rope_parameters");
    const bool new_form = woq_json_type(parameters) != WOQ_JNULL;
    const struct woq_json *s = new_form ? parameters : woq_json_get(j, "rope_scaling");
    double theta, fraction;
    int rc;

    c->rope_attn_factor = 1;
    if (woq_json_type(s) != WOQ_JNULL && woq_json_type(s) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' is not an object",
                        new_form ? "rope_parameters" : "rope_scaling");
    if ((rc = real(j, "rope_theta", 0, 1e15, 10000, &theta, err)) < 0 ||
        (rc = real(new_form ? s : NULL, "rope_theta", 0, 1e15, theta, &c->rope_theta, err)) < 0 ||
        (rc = real(j, "partial_rotary_factor", 0, 1, 1, &fraction, err)) < 0 ||
        (rc = real(new_form ? s : NULL, "partial_rotary_factor", 0, 1, fraction, &fraction, err)) <
            0)
        return rc;
    c->n_rot = (size_t)((double)c->head_dim * fraction);
    if (c->n_rot < 2 || c->n_rot % 2)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: %zu of %zu head dimensions rotate, want an even number",
                        c->n_rot, c->head_dim);
    if (woq_json_type(s) == WOQ_JNULL)
        return WOQ_OK;
    if ((rc = read_scaling(c, s, new_form, err)) < 0)
        return rc;
    /* theta' raises to n / (n - 2). */
    if (c->rope_scaling == WOQ_ROPE_DYNAMIC && c->n_rot < 4)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: dynamic rope scaling of %zu dimensions, want 4 or more",
                        c->n_rot);
    return WOQ_OK;
}

int woq_config_init(struct woq_config *c, const struct woq_json *config, struct woq_error *err)
{
    double eps;
    int rc;

    memset(c, 0, sizeof *c);
    if (woq_json_type(config) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json is not an object");
    if (!(c->arch = woq_arch_find(config, err)))
        return err ? err->status : WOQ_EUNSUPPORTED;
    if ((rc = read_sizes(c, config, err)) < 0 ||
        (rc = real(config, "rms_norm_eps", 0, 1, 1e-6, &eps, err)) < 0)
        return rc;
    c->eps = (float)eps;
    if ((rc = read_act(c, config, err)) < 0 || (rc = read_biases(c, config, err)) < 0 ||
        (rc = read_window(c, config, err)) < 0)
        return rc;
    return read_rope(c, config, err);
}
