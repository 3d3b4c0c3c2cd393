/* gguf_config.c -- see gguf_config.h. */
#include "gguf_config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_family.h"
#include "gguf_reader.h"
#include "gguf_rope.h"

static bool has_tensor(const struct woq_gguf_reader *r, const char *name)
{
    return woq_gguf_tensor(r->g, name) != NULL;
}

/* --- rope --- */

/* The values of a tensor of n divisors; malloc'ed, or NULL and r->rc. */
static float *divisors(struct woq_gguf_reader *r, const struct woq_gguf_tensor *t, uint64_t n)
{
    float *v;

    if (t->type->id != WOQ_GGML_F32 || t->n_dims != 1 || t->shape[0] != n) {
        r->rc = woq_fail(r->err, WOQ_EDATA, NULL, "%s: want F32 [%" PRIu64 "]", t->name, n);
        return NULL;
    }
    if (!(v = malloc(t->bytes + 1)))
        r->rc = woq_fail_nomem(r->err, t->bytes);
    else
        memcpy(v, t->data, t->bytes);
    return v;
}

static void add_divisors(struct woq_gguf_reader *r, struct woq_json *scaling, const char *key,
                         const struct woq_gguf_tensor *t, uint64_t n)
{
    float *v = divisors(r, t, n);
    struct woq_json *list = v ? woq_json_array() : NULL;

    for (uint64_t i = 0; v && i < n; i++)
        woq_json_push(list, woq_json_of_num(woq_shortest((double)v[i])));
    if (list)
        woq_json_set(scaling, key, list);
    free(v);
}

/* longrope: the factor of cos and sin is said only where it does not follow from the sizes. */
static void long_scaling(struct woq_gguf_reader *r, struct woq_json *config,
                         struct woq_json **scaling, uint64_t n)
{
    const uint64_t positions = woq_gguf_size(r, "context_length", 0);
    const uint64_t original = woq_gguf_size(r, "rope.scaling.original_context_length", positions);
    const double factor = woq_gguf_num(r, "rope.scaling.attn_factor", 1);
    const double by = (double)positions / (double)original;
    const double usual = by > 1 ? sqrt(1 + log(by) / log((double)original)) : 1;
    const struct woq_gguf_tensor *s = woq_gguf_tensor(r->g, "rope_factors_short.weight");
    const struct woq_gguf_tensor *l = woq_gguf_tensor(r->g, "rope_factors_long.weight");

    if (r->rc < 0)
        return;
    if (!s || !l) {
        r->rc = woq_fail(r->err, WOQ_EDATA, NULL, "tensor 'rope_factors_%s.weight' is missing",
                         s ? "long" : "short");
        return;
    }
    *scaling = woq_json_object();
    woq_json_set_str(*scaling, "type", "longrope");
    add_divisors(r, *scaling, "short_factor", s, n);
    add_divisors(r, *scaling, "long_factor", l, n);
    if (fabs(factor / usual - 1) > 1e-6)
        woq_json_set_num(*scaling, "attention_factor", woq_shortest(factor));
    woq_json_set_num(config, "original_max_position_embeddings", (double)original);
}

static void yarn_scaling(struct woq_gguf_reader *r, struct woq_json *scaling, double factor)
{
    const double attn = woq_gguf_num(r, "rope.scaling.attn_factor", 1);
    const double all = 10 * woq_gguf_num(r, "rope.scaling.yarn_log_multiplier", 0);

    const uint64_t positions = woq_gguf_size(r, "context_length", 0);

    woq_json_set_num(scaling, "original_max_position_embeddings",
                     (double)woq_gguf_size(r, "rope.scaling.original_context_length", positions));
    /* Without, the graph scales in a way that no config.json can say. */
    if (r->rc == WOQ_OK && (r->row->quirks & WOQ_GGUF_LATENT) && !(all > 0))
        r->rc = woq_fail(r->err, WOQ_EUNSUPPORTED, NULL,
                         "key '%s.rope.scaling.yarn_log_multiplier' is missing or not above 0",
                         r->name);
    if (attn != 1)
        woq_json_set_num(scaling, "attention_factor", attn * woq_gguf_yarn_factor(factor));
    if (all != 0) {
        woq_json_set_num(scaling, "mscale", woq_shortest(all));
        woq_json_set_num(scaling, "mscale_all_dim", woq_shortest(all));
    }
    if (r->row->quirks & WOQ_GGUF_NO_TRUNCATE)
        woq_json_set_bool(scaling, "truncate", false);
}

static void get_scaling(struct woq_gguf_reader *r, struct woq_json *config,
                        struct woq_json **scaling, uint64_t n_rot, double theta)
{
    const struct woq_gguf_kv *type = woq_gguf_find(r, "rope.scaling.type");
    const struct woq_gguf_tensor *freqs = woq_gguf_tensor(r->g, "rope_freqs.weight");
    const double old = woq_gguf_num(r, "rope.scale_linear", 1); /* its first name */
    const double factor = woq_gguf_num(r, "rope.scaling.factor", old);
    const bool yarn = woq_gguf_has_text(type, "yarn");
    const bool linear = !type || woq_gguf_has_text(type, "linear");
    const bool plain = woq_gguf_num(r, "rope.scaling.attn_factor", 1) == 1 &&
                       !woq_gguf_find(r, "rope.scaling.yarn_log_multiplier");

    *scaling = NULL;
    if (r->rc < 0)
        return;
    if (freqs) {
        float *v = divisors(r, freqs, n_rot / 2);

        if (v)
            r->rc = woq_llama3_scaling(scaling, v, (size_t)(n_rot / 2), theta, r->err);
        free(v);
        return;
    }
    if (has_tensor(r, "rope_factors_long.weight") || has_tensor(r, "rope_factors_short.weight")) {
        long_scaling(r, config, scaling, n_rot / 2);
        return;
    }
    if (woq_gguf_has_text(type, "none") || (linear && factor == 1))
        return;
    if (!yarn && (!linear || !plain)) {
        r->rc = woq_fail(r->err, WOQ_EUNSUPPORTED, NULL,
                         "key '%s.rope.scaling.type': want none, linear or plain yarn", r->name);
        return;
    }
    *scaling = woq_json_object();
    woq_json_set_str(*scaling, "rope_type", yarn ? "yarn" : "linear");
    woq_json_set_num(*scaling, "factor", woq_shortest(factor));
    if (yarn)
        yarn_scaling(r, *scaling, factor);
}

/* The fraction of which a reader takes n whole dimensions of `dim`. */
static double fraction(uint64_t n, uint64_t dim)
{
    double x = (double)n / (double)dim;

    while ((uint64_t)((double)dim * x) < n)
        x = nextafter(x, 2);
    return x;
}

static void set_rope(struct woq_gguf_reader *r, const struct woq_arch *a, struct woq_json *c,
                     uint64_t head_dim)
{
    const double theta = woq_gguf_num(r, "rope.freq_base", 10000);
    const uint64_t n_rot = woq_gguf_size(r, "rope.dimension_count", head_dim);
    const double usual = a->partial != 0 ? a->partial : 1;
    struct woq_json *scaling = NULL;

    if ((a->traits & WOQ_T_ALIBI) || a->names[WOQ_ROLE_POSITION])
        return;
    if (r->rc == WOQ_OK &&
        (n_rot > head_dim || ((r->row->quirks & WOQ_GGUF_WHOLE_ROPE) && n_rot != head_dim)))
        r->rc = woq_fail(r->err, WOQ_EUNSUPPORTED, NULL,
                         "rope.dimension_count %" PRIu64 " does not fit the head size %" PRIu64
                         " in architecture %s",
                         n_rot, head_dim, r->name);
    if (r->rc < 0)
        return;
    woq_json_set_num(c, a->theta_key ? a->theta_key : "rope_theta", woq_shortest(theta));
    if (a->theta_local != 0)
        woq_json_set_num(c, "rope_local_base_freq",
                         woq_shortest(woq_gguf_num(r, "rope.freq_base_swa", 10000)));
    if (!(r->row->quirks & WOQ_GGUF_LATENT) && n_rot != (uint64_t)((double)head_dim * usual))
        woq_json_set_num(c, a->partial_key ? a->partial_key : "partial_rotary_factor",
                         fraction(n_rot, head_dim));
    get_scaling(r, c, &scaling, n_rot, theta);
    woq_json_set(c, "rope_scaling", scaling ? scaling : woq_json_of_null());
}

/* --- sizes --- */

static void set_act(const struct woq_arch *a, struct woq_json *c)
{
    static const struct {
        enum woq_act act;
        const char *name;
    } acts[] = { { WOQ_ACT_SILU, "silu" },
                 { WOQ_ACT_GELU_ERF, "gelu" },
                 { WOQ_ACT_GELU_TANH, "gelu_pytorch_tanh" } };

    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++)
        if (a->keys->act[0] && acts[i].act == a->act)
            woq_json_set_str(c, a->keys->act[0], acts[i].name);
}

static void set_num(struct woq_json *c, const char *key, double x)
{
    if (key && *key)
        woq_json_set_num(c, key, x);
}

static void set_shapes(struct woq_gguf_reader *r, const struct woq_arch *a, struct woq_json *c)
{
    const struct woq_arch_keys *k = a->keys;
    const bool latent = r->row->quirks & WOQ_GGUF_LATENT;
    const uint64_t hidden = woq_gguf_size(r, "embedding_length", 0);
    const uint64_t heads = woq_gguf_size(r, "attention.head_count", 0);
    const uint64_t dim = latent ? woq_gguf_latent_size(r, "attention.key_length")
                                : woq_gguf_size(r, "attention.key_length",
                                                heads && hidden >= heads ? hidden / heads : 1);
    const char *eps = a->norm == WOQ_NORM_LN ? "attention.layer_norm_epsilon"
                                             : "attention.layer_norm_rms_epsilon";

    set_num(c, k->hidden[0], (double)hidden);
    /* Of use for blocks without experts. */
    set_num(c, k->inter,
            (double)woq_gguf_size(r, "feed_forward_length",
                                  woq_gguf_count(r, "expert_feed_forward_length")));
    set_num(c, k->layers[0], (double)woq_gguf_size(r, "block_count", 0));
    set_num(c, k->heads[0], (double)heads);
    set_num(c, k->kv_heads, (double)woq_gguf_size(r, "attention.head_count_kv", heads));
    set_num(c, k->head_dim, (double)dim);
    set_num(c, k->positions[0], (double)woq_gguf_size(r, "context_length", 0));
    set_num(c, a->eps_key ? a->eps_key : k->eps, woq_shortest(woq_gguf_num(r, eps, (double)NAN)));
    if (r->rc == WOQ_OK && !latent && woq_gguf_size(r, "attention.value_length", dim) != dim)
        r->rc = woq_fail(r->err, WOQ_EUNSUPPORTED, NULL,
                         "value_length must equal the head size %" PRIu64 " in architecture %s",
                         dim, r->name);
    set_rope(r, a, c, dim);
}

/* --- what tensors say --- */

/* 1 or 0: the model has what a switch of config.json is for; -1: the file does not tell. */
static int switch_state(const struct woq_gguf_reader *r, uint64_t on)
{
    static const struct {
        uint64_t trait;
        const char *tensors[2];
    } signs[] = {
        { WOQ_T_O_BIAS, { "blk.0.attn_output.bias" } },
        { WOQ_T_MLP_BIAS, { "blk.0.ffn_up.bias" } },
        { WOQ_T_QKV_BIAS, { "blk.0.attn_q.bias", "blk.0.attn_qkv.bias" } },
        { WOQ_T_QK_NORM, { "blk.0.attn_q_norm.weight" } },
    };
    bool b;

    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (on & signs[i].trait)
            return has_tensor(r, signs[i].tensors[0]) ||
                   (signs[i].tensors[1] && has_tensor(r, signs[i].tensors[1]));
    if (on & WOQ_T_ONE_NORM)
        return !has_tensor(r, "blk.0.ffn_norm.weight");
    if (on & WOQ_T_PARALLEL)
        return !woq_gguf_bool(woq_gguf_find(r, "use_parallel_residual"), &b) || b;
    if (on & WOQ_T_NORM_TOPK)
        return (r->row->needs & WOQ_T_NORM_TOPK) ||
               (woq_gguf_bool(woq_gguf_find(r, "expert_weights_norm"), &b) && b);
    return -1;
}

static void set_switches(const struct woq_gguf_reader *r, const struct woq_arch *a,
                         struct woq_json *c)
{
    for (size_t i = 0; i < sizeof a->switches / sizeof *a->switches && a->switches[i].key; i++) {
        const int state = switch_state(r, a->switches[i].on);

        if (state >= 0)
            woq_json_set_bool(c, a->switches[i].key, state);
    }
}

/* Which blocks have the window, where it is not the architecture's own pattern. */
static void set_pattern(struct woq_gguf_reader *r, const struct woq_arch *a, struct woq_json *c,
                        bool windows)
{
    const struct woq_gguf_kv *kv = woq_gguf_find(r, "attention.sliding_window_pattern");
    const uint64_t n = woq_gguf_size(r, "block_count", 0);
    struct woq_json *types;

    if (r->rc < 0 || a->windows != WOQ_WINDOWS_PERIOD || (windows && !kv))
        return;
    if (windows && !kv->is_array) {
        woq_json_set_num(c, "sliding_window_pattern",
                         (double)woq_gguf_size(r, "attention.sliding_window_pattern", 0));
        return;
    }
    if (windows && (kv->kind != WOQ_GGUF_BOOL || kv->n != n)) {
        r->rc = woq_fail(r->err, WOQ_EDATA, NULL,
                         "key '%s.attention.sliding_window_pattern': want a bool for each of "
                         "%" PRIu64 " blocks",
                         r->name, n);
        return;
    }
    types = woq_json_array();
    for (uint64_t b = 0; b < n && b < WOQ_MAX_BLOCKS; b++)
        woq_json_push(types, woq_json_of_str(windows && kv->data[b] ? "sliding_attention"
                                                                    : "full_attention"));
    woq_json_set(c, "layer_types", types);
}

static void set_windows(struct woq_gguf_reader *r, const struct woq_arch *a, struct woq_json *c)
{
    const uint64_t window = woq_gguf_count(r, "attention.sliding_window");
    const char *key = a->window_key ? a->window_key : "sliding_window";
    const bool always = r->row->quirks & WOQ_GGUF_WINDOW; /* absent: the usual one */

    if (a->windows == WOQ_WINDOWS_NONE)
        return;
    if (a->window_gated)
        woq_json_set_bool(c, "use_sliding_window", window > 0);
    if (a->windows == WOQ_WINDOWS_FROM && window)
        woq_json_set_num(c, "max_window_layers", 0);
    if (window)
        woq_json_set_num(c, key, (double)window);
    else if (!a->window_gated && !always)
        woq_json_set(c, key, woq_json_of_null());
    set_pattern(r, a, c, window > 0 || always);
}

static void set_extras(struct woq_gguf_reader *r, struct woq_json *c)
{
    for (const struct woq_gguf_extra *e = r->row->extras; e && e->key; e++) {
        const struct woq_gguf_kv *kv = woq_gguf_find(r, e->key);

        if (kv && e->kind == WOQ_GGUF_SIZE)
            woq_json_set_num(c, e->json, (double)woq_gguf_size(r, e->key, 0));
        else if (kv)
            woq_json_set_num(c, e->json, woq_shortest(woq_gguf_num(r, e->key, 0)));
        else if (e->absent != 0)
            woq_json_set_num(c, e->json, e->absent);
    }
    if (r->row->get)
        r->row->get(r, c);
}

/* The type of the numbers, by the first linear. */
static const char *dtype_of(const struct woq_gguf *g)
{
    const struct woq_gguf_tensor *t = woq_gguf_tensor(g, "blk.0.attn_output.weight");

    if (t && t->type->dtype == WOQ_F16)
        return "float16";
    return t && t->type->dtype == WOQ_BF16 ? "bfloat16" : "float32";
}

static void set_id(const struct woq_gguf *g, const char *key, struct woq_json *config,
                   struct woq_json *generation, const char *name)
{
    uint64_t id;

    if (!woq_gguf_u64(woq_gguf_get(g, key), 0, &id) || id > INT32_MAX)
        return;
    woq_json_set_num(config, name, (double)id);
    woq_json_set_num(generation, name, (double)id);
}

static void set_ids(const struct woq_gguf *g, struct woq_json *config, struct woq_json *generation)
{
    uint64_t eos, eot;

    set_id(g, "tokenizer.ggml.bos_token_id", config, generation, "bos_token_id");
    set_id(g, "tokenizer.ggml.eos_token_id", config, generation, "eos_token_id");
    set_id(g, "tokenizer.ggml.padding_token_id", config, generation, "pad_token_id");
    /* A chat model ends its turn with eot: generation stops at either. */
    if (woq_gguf_u64(woq_gguf_get(g, "tokenizer.ggml.eos_token_id"), 0, &eos) &&
        woq_gguf_u64(woq_gguf_get(g, "tokenizer.ggml.eot_token_id"), 0, &eot) && eos != eot &&
        eot <= INT32_MAX) {
        struct woq_json *both = woq_json_array();

        woq_json_push(both, woq_json_of_num((double)eos));
        woq_json_push(both, woq_json_of_num((double)eot));
        woq_json_set(generation, "eos_token_id", both);
    }
}

static int fill(struct woq_gguf_reader *r, const struct woq_arch *a, struct woq_json *c,
                struct woq_json *gen)
{
    const struct woq_gguf_tensor *embed = woq_gguf_tensor(r->g, "token_embd.weight");
    struct woq_json *classes = woq_json_array();

    woq_json_push(classes, woq_json_of_str(a->architectures[0]));
    woq_json_set(c, "architectures", classes);
    woq_json_set_str(c, "model_type", a->model_type);
    if (woq_gguf_count(r, "expert_count") > 0 && a->router == WOQ_ROUTER_NONE)
        return woq_fail(r->err, WOQ_EUNSUPPORTED, NULL,
                        "a mixture of %" PRIu64 " experts (architecture %s) is not supported",
                        woq_gguf_count(r, "expert_count"), r->name);
    if (!embed || embed->n_dims != 2)
        return woq_fail(r->err, WOQ_EDATA, NULL,
                        "tensor 'token_embd.weight' is missing or not 2-D");
    set_shapes(r, a, c);
    woq_json_set_num(c, a->keys->vocab, (double)embed->shape[0]);
    set_act(a, c);
    woq_json_set_bool(c, "tie_word_embeddings", !has_tensor(r, "output.weight"));
    set_switches(r, a, c);
    set_windows(r, a, c);
    set_extras(r, c);
    woq_json_set_str(c, "torch_dtype", dtype_of(r->g));
    set_ids(r->g, c, gen);
    return r->rc;
}

/* A row of several with one name: the first whose mark the file has. */
static const struct woq_gguf_arch *choose(const struct woq_gguf_reader *r)
{
    const struct woq_gguf_arch *row;

    for (size_t i = 0; (row = woq_gguf_arch_at(i)); i++) {
        if (!row->name || strcmp(row->name, r->name) != 0)
            continue;
        if (!row->mark || has_tensor(r, row->mark))
            return row;
        const uint64_t x = woq_gguf_count(r, row->mark);

        if (row->mark_value ? x == row->mark_value : x > 0)
            return row;
    }
    return NULL;
}

/* Keys of the file that config.json has no key for have to be what it means without; so has what
 * they mean where they are absent. */
static int verify(struct woq_gguf_reader *r, const struct woq_json *config)
{
    struct woq_config c;
    const int rc = woq_config_init(&c, config, r->err);

    if (rc < 0 || (r->row->quirks & WOQ_GGUF_LATENT))
        return rc;
    const struct {
        const char *key;
        uint64_t is, absent;
    } sizes[] = { { "attention.head_count_kv", c.n_kv_heads, c.n_kv_heads },
                  { "attention.key_length", c.head_dim, c.head_dim },
                  { "feed_forward_length", c.inter, c.inter },
                  { "rope.dimension_count", c.n_rot ? c.n_rot : c.head_dim, c.head_dim } };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const uint64_t x = woq_gguf_size(r, sizes[i].key, sizes[i].absent);

        if (r->rc == WOQ_OK && x != sizes[i].is)
            return woq_fail(r->err, WOQ_EUNSUPPORTED, NULL,
                            "key '%s.%s' is %" PRIu64 ", but config.json of '%s' means %" PRIu64,
                            r->name, sizes[i].key, x, r->row->model_type, sizes[i].is);
    }
    return r->rc;
}

int woq_gguf_config(const struct woq_gguf *g, const struct woq_arch **a, struct woq_json **config,
                    struct woq_json **generation, struct woq_error *err)
{
    char name[64];
    struct woq_gguf_reader r = { g, name, NULL, err, WOQ_OK };
    const char *s;
    size_t len;
    int rc;

    *config = *generation = NULL;
    if (!woq_gguf_string(woq_gguf_get(g, "general.architecture"), &s, &len))
        return woq_fail(err, WOQ_EDATA, NULL, "key 'general.architecture' is missing");
    snprintf(name, sizeof name, "%.*s", len < sizeof name ? (int)len : 63, s);
    if (!(r.row = choose(&r)) || !(*a = woq_arch_by_type(r.row->model_type)))
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "unknown architecture '%s'", name);
    *config = woq_json_object();
    *generation = woq_json_object();
    if ((rc = fill(&r, *a, *config, *generation)) < 0 || (rc = verify(&r, *config)) < 0) {
        woq_json_free(*config);
        woq_json_free(*generation);
        *config = *generation = NULL;
    }
    return rc;
}
