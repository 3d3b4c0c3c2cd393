/* config.c -- what a config.json means: sizes, switches, activation (models.md 2, 3.1, 3.3).
 * Defaults are those of transformers 4.57.6. Sizes that decide shapes have no default here: every
 * file that a library wrote has them, and a guess would be a plausible wrong model. */
#include "arch_internal.h"

#include <math.h>
#include <string.h>

static int need_alias(const struct woq_json *j, const char *const keys[2], uint64_t hi, size_t *out,
                      struct woq_error *err)
{
    const char *key =
        keys[1] && !woq_json_get(j, keys[0]) && woq_json_get(j, keys[1]) ? keys[1] : keys[0];

    return woq_config_need(j, key, hi, out, err);
}

static int read_inter(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_arch_keys *k = c->arch->keys;

    c->inter = 4 * c->hidden;
    if (!k->inter)
        return WOQ_OK;
    return k->inter_4h ? woq_config_maybe(j, k->inter, WOQ_MAX_WIDTH, c->inter, &c->inter, err)
                       : woq_config_need(j, k->inter, WOQ_MAX_WIDTH, &c->inter, err);
}

static int read_kv_heads(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const char *key = c->arch->keys->kv_heads;
    size_t kv = c->n_heads;
    int rc;

    c->n_kv_heads = c->n_heads;
    if (!key)
        return WOQ_OK;
    /* null means as many as query heads; only an absent key means the class default. */
    if (!woq_json_get(j, key) && c->arch->default_kv_heads)
        kv = (size_t)c->arch->default_kv_heads;
    if ((rc = woq_config_maybe(j, key, WOQ_MAX_HEADS, kv, &c->n_kv_heads, err)) < 0)
        return rc;
    if (c->n_heads % c->n_kv_heads)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: %s %zu is no multiple of %s %zu",
                        c->arch->keys->heads[0], c->n_heads, key, c->n_kv_heads);
    return WOQ_OK;
}

static int read_head_dim(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_arch_keys *k = c->arch->keys;
    const bool given = k->head_dim && woq_json_type(woq_json_get(j, k->head_dim)) != WOQ_JNULL;
    size_t dim = (size_t)c->arch->default_head_dim;
    int rc;

    if (!given && !dim && c->hidden % c->n_heads)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: %s %zu is no multiple of %s %zu, and there is no 'head_dim'",
                        k->hidden[0], c->hidden, k->heads[0], c->n_heads);
    if (!dim)
        dim = c->hidden / c->n_heads;
    c->head_dim = dim;
    if (given && (rc = woq_config_need(j, k->head_dim, WOQ_MAX_HEADS, &c->head_dim, err)) < 0)
        return rc;
    c->v_dim = c->head_dim;
    return WOQ_OK;
}

static int read_sizes(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_arch_keys *k = c->arch->keys;
    const char *const positions =
        k->positions[1] && !woq_json_get(j, k->positions[0]) ? k->positions[1] : k->positions[0];
    const uint64_t n = c->arch->default_positions ? c->arch->default_positions : 2048;
    int rc;

    if ((rc = need_alias(j, k->hidden, WOQ_MAX_WIDTH, &c->hidden, err)) < 0 ||
        (rc = read_inter(c, j, err)) < 0 ||
        (rc = need_alias(j, k->layers, WOQ_MAX_BLOCKS, &c->n_layers, err)) < 0 ||
        (rc = need_alias(j, k->heads, WOQ_MAX_HEADS, &c->n_heads, err)) < 0 ||
        (rc = woq_config_need(j, k->vocab, WOQ_MAX_VOCAB, &c->vocab, err)) < 0 ||
        (rc = read_kv_heads(c, j, err)) < 0 || (rc = read_head_dim(c, j, err)) < 0 ||
        (rc = woq_config_maybe(j, positions, WOQ_MAX_POSITIONS, n, &c->max_positions, err)) < 0)
        return rc;
    c->embed_dim = c->hidden;
    return WOQ_OK;
}

static int check_sizes(const struct woq_config *c, struct woq_error *err)
{
    if (c->n_heads % c->n_kv_heads)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: %zu heads are no multiple of %zu key and value heads",
                        c->n_heads, c->n_kv_heads);
    if (c->n_heads * c->head_dim > WOQ_MAX_WIDTH || c->n_heads * c->v_dim > WOQ_MAX_WIDTH)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: %zu heads of %zu is more than %d",
                        c->n_heads, c->head_dim, WOQ_MAX_WIDTH);
    if (c->arch->names[WOQ_ROLE_POSITION] && c->max_positions > WOQ_MAX_VOCAB)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: a table of %zu positions",
                        c->max_positions);
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
        { "gelu_fast", WOQ_ACT_GELU_TANH },
        { "gelu_pytorch_tanh", WOQ_ACT_GELU_TANH },
        { "gelu_python_tanh", WOQ_ACT_GELU_TANH },
        { "gelu_accurate", WOQ_ACT_GELU_TANH },
        { "quick_gelu", WOQ_ACT_QUICK_GELU },
        { "relu", WOQ_ACT_RELU },
        { "relu2", WOQ_ACT_RELU2 },
    };
    const struct woq_json *v = woq_config_get(j, c->arch->keys->act);
    const char *name = woq_json_str(v);

    c->act = c->arch->act;
    if (woq_json_type(v) == WOQ_JNULL || c->act == WOQ_ACT_OSS)
        return WOQ_OK;
    for (size_t i = 0; name && i < sizeof acts / sizeof acts[0]; i++)
        if (!strcmp(acts[i].name, name)) {
            c->act = acts[i].act;
            return WOQ_OK;
        }
    return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                    "config.json: %s '%.100s' is not known, want silu, gelu, gelu_new, "
                    "gelu_pytorch_tanh, quick_gelu, relu or relu2",
                    c->arch->keys->act[0], name ? name : "(not a string)");
}

static int read_switches(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const struct woq_switch *s = c->arch->switches;
    const size_t n = sizeof c->arch->switches / sizeof *c->arch->switches;

    c->traits = c->arch->traits;
    for (size_t i = 0; i < n && s[i].key; i++) {
        bool on;
        const int rc = woq_config_flag(j, s[i].key, s[i].otherwise, &on, err);

        if (rc < 0)
            return rc;
        c->traits |= on ? s[i].on : s[i].off;
    }
    if (woq_has(c, WOQ_T_CLIP_QKV) && woq_json_type(woq_json_get(j, "clip_qkv")) != WOQ_JNULL) {
        double clip;
        const int rc = woq_config_real(j, "clip_qkv", 0, 1e30, 0, &clip, err);

        if (rc < 0)
            return rc;
        c->clip_qkv = (float)clip;
    }
    return woq_config_flag(j, "tie_word_embeddings", c->arch->tie_default, &c->tie, err);
}

static int read_eps(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    const char *key = c->arch->eps_key ? c->arch->eps_key : c->arch->keys->eps;
    double eps = c->arch->eps != 0 ? c->arch->eps : 1e-6;
    int rc = WOQ_OK;

    if (key && *key)
        rc = woq_config_real(j, key, 0, 1, eps, &eps, err);
    c->eps = (float)eps;
    return rc;
}

/* What a refinement or a row may change. */
static void set_plain(struct woq_config *c)
{
    c->norm = c->arch->norm;
    c->qkv = c->arch->qkv;
    c->attn_scale = woq_has(c, WOQ_T_NO_SCALE) ? 1 : 1.0f / sqrtf((float)c->head_dim);
    c->embed_mul = c->resid_mul = c->logit_mul = c->router_scale = 1;
}

static int read_all(struct woq_config *c, const struct woq_json *j, struct woq_error *err)
{
    int rc;

    if ((rc = read_sizes(c, j, err)) < 0 || (rc = read_eps(c, j, err)) < 0 ||
        (rc = read_act(c, j, err)) < 0 || (rc = read_switches(c, j, err)) < 0)
        return rc;
    set_plain(c);
    if ((rc = woq_config_read_windows(c, j, err)) < 0 ||
        (rc = woq_config_read_experts(c, j, err)) < 0)
        return rc;
    if (c->arch->refine && (rc = c->arch->refine(c, j, err)) < 0)
        return rc;
    if ((rc = check_sizes(c, err)) < 0)
        return rc;
    return woq_config_read_rope(c, j, err);
}

int woq_config_init(struct woq_config *c, const struct woq_json *config, struct woq_error *err)
{
    const struct woq_json *text = woq_json_get(config, "text_config");

    memset(c, 0, sizeof *c);
    if (woq_json_type(config) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json is not an object");
    if (!(c->arch = woq_arch_find(config, err)))
        return err ? err->status : WOQ_EUNSUPPORTED;
    /* Multimodal wrappers keep the decoder's keys apart. */
    return read_all(c, woq_json_type(text) == WOQ_JOBJECT ? text : config, err);
}
