/* gguf_config.c -- see gguf_config.h. */
#include "gguf_config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PI 3.14159265358979323846

struct keys {
    const struct woq_gguf *g;
    const char *arch;
    struct woq_error *err;
    int rc; /* first failure; later reads do nothing */
};

static const struct woq_gguf_kv *find(const struct keys *k, const char *key)
{
    char full[160];

    if ((size_t)snprintf(full, sizeof full, "%s.%s", k->arch, key) >= sizeof full)
        return NULL;
    return woq_gguf_get(k->g, full);
}

/* A size; `otherwise` where the key is absent, 0 = it must be there. Arrays must repeat one value.
 */
static uint64_t size_key(struct keys *k, const char *key, uint64_t otherwise)
{
    const struct woq_gguf_kv *kv = find(k, key);
    uint64_t x = otherwise, y;

    if (k->rc < 0)
        return 1;
    if (!kv && !otherwise)
        k->rc = woq_fail(k->err, WOQ_EDATA, NULL, "key '%s.%s' is missing", k->arch, key);
    if (kv && (!woq_gguf_u64(kv, 0, &x) || x == 0 || x > INT32_MAX))
        k->rc = woq_fail(k->err, WOQ_EDATA, NULL, "key '%s.%s' is no size from 1 to 2^31-1",
                         k->arch, key);
    for (uint64_t i = 1; k->rc == WOQ_OK && kv && i < kv->n; i++)
        if (!woq_gguf_u64(kv, i, &y) || y != x)
            k->rc = woq_fail(k->err, WOQ_EUNSUPPORTED, NULL,
                             "key '%s.%s' differs between layers, which config.json can't say",
                             k->arch, key);
    return k->rc < 0 ? 1 : x;
}

static double num_key(struct keys *k, const char *key, double otherwise)
{
    const struct woq_gguf_kv *kv = find(k, key);
    double x = otherwise;

    if (k->rc < 0 || (!kv && !isnan(otherwise)))
        return otherwise;
    if (!kv)
        k->rc = woq_fail(k->err, WOQ_EDATA, NULL, "key '%s.%s' is missing", k->arch, key);
    else if (!woq_gguf_f64(kv, 0, &x) || !isfinite(x))
        k->rc = woq_fail(k->err, WOQ_EDATA, NULL, "key '%s.%s' is no finite number", k->arch, key);
    return x;
}

/* 1e-5 went through f32 as 9.99999975e-06: the shortest decimal with the same f32 is meant. */
static double shortest(double x)
{
    char text[32];

    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtof(text, NULL) == (float)x)
            return strtod(text, NULL);
    }
    return x;
}

static bool has_text(const struct woq_gguf_kv *kv, const char *text)
{
    const char *s;
    size_t len;

    return woq_gguf_string(kv, &s, &len) && len == strlen(text) && memcmp(s, text, len) == 0;
}

/* llama3 divisors: 1 below the wavelength O/hi, F above O/lo, between them blended by
 * t = (O/wl - lo) / (hi - lo) to 1 / ((1-t)/F + t). */
static bool fits(const float *v, size_t n, double theta, double factor, double low, double high,
                 double original)
{
    for (size_t i = 0; i < n; i++) {
        const double wl = 2 * PI * pow(theta, (double)i / (double)n);
        const double t = (original / wl - low) / (high - low);
        const double want = wl < original / high  ? 1
                            : wl > original / low ? factor
                                                  : 1 / ((1 - t) / factor + t);

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
    woq_json_set_num(o, "factor", shortest(factor));
    woq_json_set_num(o, "low_freq_factor", 1);
    woq_json_set_num(o, "high_freq_factor", high);
    woq_json_set_num(o, "original_max_position_embeddings", original);
    *scaling = o;
    return o ? WOQ_OK : woq_fail_nomem(err, 1);
}

static int scaling_by_freqs(struct keys *k, const struct woq_gguf_tensor *t, struct woq_json **out,
                            uint64_t head_dim, double theta)
{
    if (t->type->id != WOQ_GGML_F32 || t->n_dims != 1 || t->shape[0] != head_dim / 2)
        return woq_fail(k->err, WOQ_EDATA, NULL, "rope_freqs.weight: want F32 [%" PRIu64 "]",
                        head_dim / 2);
    float *v = malloc(t->bytes + 1);
    if (!v)
        return woq_fail_nomem(k->err, t->bytes);
    memcpy(v, t->data, t->bytes);
    const int rc = woq_llama3_scaling(out, v, (size_t)t->shape[0], theta, k->err);
    free(v);
    return rc;
}

static int get_scaling(struct keys *k, struct woq_json **out, uint64_t head_dim, double theta)
{
    const struct woq_gguf_kv *type = find(k, "rope.scaling.type");
    const struct woq_gguf_tensor *freqs = woq_gguf_tensor(k->g, "rope_freqs.weight");
    const double factor = num_key(k, "rope.scaling.factor", 1);
    const bool yarn = has_text(type, "yarn");

    *out = NULL;
    if (k->rc < 0)
        return k->rc;
    if (freqs)
        return scaling_by_freqs(k, freqs, out, head_dim, theta);
    if (!type || has_text(type, "none") || (has_text(type, "linear") && factor == 1))
        return WOQ_OK;
    if ((!yarn && !has_text(type, "linear")) || num_key(k, "rope.scaling.attn_factor", 1) != 1)
        return woq_fail(k->err, WOQ_EUNSUPPORTED, NULL,
                        "key '%s.rope.scaling.type': want none, linear or plain yarn", k->arch);
    *out = woq_json_object();
    woq_json_set_str(*out, "rope_type", yarn ? "yarn" : "linear");
    woq_json_set_num(*out, "factor", shortest(factor));
    if (yarn)
        woq_json_set_num(*out, "original_max_position_embeddings",
                         (double)size_key(k, "rope.scaling.original_context_length", 0));
    return k->rc;
}

static bool has_bias(const struct woq_gguf *g, const struct woq_arch *a, enum woq_role role)
{
    const struct woq_config c = { .arch = a };
    const struct woq_place p = { .role = role, .bias = true };
    char name[128];

    return woq_config_gguf_name(&c, &p, name, sizeof name) == WOQ_OK &&
           woq_gguf_tensor(g, name) != NULL;
}

static bool has_switch(const struct woq_arch *a, const char *key)
{
    for (size_t i = 0; i < sizeof a->switches / sizeof *a->switches && a->switches[i].key; i++)
        if (strcmp(a->switches[i].key, key) == 0)
            return true;
    return false;
}

/* The type of the numbers, by the first linear. */
static const char *dtype_of(const struct woq_gguf *g, const struct woq_arch *a)
{
    const struct woq_config c = { .arch = a };
    const struct woq_place p = { .role = WOQ_ROLE_Q };
    char name[128];
    const struct woq_gguf_tensor *t = NULL;

    if (woq_config_gguf_name(&c, &p, name, sizeof name) == WOQ_OK)
        t = woq_gguf_tensor(g, name);
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

static int set_shapes(struct keys *k, struct woq_json *c)
{
    const uint64_t hidden = size_key(k, "embedding_length", 0);
    const uint64_t heads = size_key(k, "attention.head_count", 0);
    const uint64_t key_length =
        size_key(k, "attention.key_length", heads && hidden >= heads ? hidden / heads : 1);
    const double theta = num_key(k, "rope.freq_base", 10000);
    struct woq_json *scaling = NULL;

    woq_json_set_num(c, "hidden_size", (double)hidden);
    woq_json_set_num(c, "intermediate_size", (double)size_key(k, "feed_forward_length", 0));
    woq_json_set_num(c, "num_hidden_layers", (double)size_key(k, "block_count", 0));
    woq_json_set_num(c, "num_attention_heads", (double)heads);
    woq_json_set_num(c, "num_key_value_heads",
                     (double)size_key(k, "attention.head_count_kv", heads));
    woq_json_set_num(c, "head_dim", (double)key_length);
    woq_json_set_num(c, "max_position_embeddings", (double)size_key(k, "context_length", 0));
    woq_json_set_num(c, "rms_norm_eps",
                     shortest(num_key(k, "attention.layer_norm_rms_epsilon", (double)NAN)));
    woq_json_set_num(c, "rope_theta", shortest(theta));
    if (k->rc == WOQ_OK && (size_key(k, "attention.value_length", key_length) != key_length ||
                            size_key(k, "rope.dimension_count", key_length) != key_length))
        k->rc = k->rc < 0 ? k->rc
                          : woq_fail(k->err, WOQ_EUNSUPPORTED, NULL,
                                     "value_length and rope.dimension_count must equal the head "
                                     "size %" PRIu64 " in architecture %s",
                                     key_length, k->arch);
    if (k->rc < 0 || (k->rc = get_scaling(k, &scaling, key_length, theta)) < 0) {
        woq_json_free(scaling);
        return k->rc;
    }
    woq_json_set(c, "rope_scaling", scaling ? scaling : woq_json_of_null());
    return WOQ_OK;
}

static int fill(struct keys *k, const struct woq_arch *a, struct woq_json *c, struct woq_json *gen)
{
    const struct woq_gguf *g = k->g;
    const struct woq_gguf_tensor *embed = woq_gguf_tensor(g, "token_embd.weight");
    struct woq_json *classes = woq_json_array();
    uint64_t window = 0, experts = 0;

    woq_json_push(classes, woq_json_of_str(a->architectures[0]));
    woq_json_set(c, "architectures", classes);
    woq_json_set_str(c, "model_type", a->model_type);
    if (woq_gguf_u64(find(k, "expert_count"), 0, &experts) && experts > 0)
        return woq_fail(k->err, WOQ_EUNSUPPORTED, NULL,
                        "a mixture of %" PRIu64 " experts (architecture %s) is not supported",
                        experts, k->arch);
    if (!embed || embed->n_dims != 2)
        return woq_fail(k->err, WOQ_EDATA, NULL,
                        "tensor 'token_embd.weight' is missing or not 2-D");
    if (set_shapes(k, c) < 0)
        return k->rc;
    woq_json_set_num(c, "vocab_size", (double)embed->shape[0]);
    woq_json_set_str(c, "hidden_act", "silu");
    woq_json_set_bool(c, "tie_word_embeddings", !woq_gguf_tensor(g, "output.weight"));
    if (has_switch(a, "attention_bias"))
        woq_json_set_bool(c, "attention_bias", has_bias(g, a, WOQ_ROLE_Q));
    if (has_switch(a, "mlp_bias"))
        woq_json_set_bool(c, "mlp_bias", has_bias(g, a, WOQ_ROLE_GATE));
    if (a->window_gated)
        woq_json_set_bool(c, "use_sliding_window", false);
    else if (woq_gguf_u64(find(k, "attention.sliding_window"), 0, &window) && window > 0)
        woq_json_set_num(c, "sliding_window", (double)window);
    woq_json_set_str(c, "torch_dtype", dtype_of(g, a));
    set_ids(g, c, gen);
    return WOQ_OK;
}

/* llama in GGUF is Mistral too: only a window tells them apart. */
static const struct woq_arch *choose(const struct keys *k)
{
    const struct woq_arch *a = woq_arch_by_gguf(k->arch);
    uint64_t window;

    if (!a || strcmp(k->arch, "llama") != 0 ||
        !woq_gguf_u64(find(k, "attention.sliding_window"), 0, &window) || window == 0)
        return a;
    for (size_t i = 0; i < woq_arch_count(); i++)
        if (strcmp(woq_arch_at(i)->model_type, "mistral") == 0)
            return woq_arch_at(i);
    return a;
}

int woq_gguf_config(const struct woq_gguf *g, const struct woq_arch **a, struct woq_json **config,
                    struct woq_json **generation, struct woq_error *err)
{
    char arch[64];
    struct keys k = { g, arch, err, WOQ_OK };
    const char *s;
    size_t len;
    int rc;

    *config = *generation = NULL;
    if (!woq_gguf_string(woq_gguf_get(g, "general.architecture"), &s, &len))
        return woq_fail(err, WOQ_EDATA, NULL, "key 'general.architecture' is missing");
    snprintf(arch, sizeof arch, "%.*s", len < sizeof arch ? (int)len : 63, s);
    if (!(*a = choose(&k)))
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "unknown architecture '%s'", arch);
    *config = woq_json_object();
    *generation = woq_json_object();
    if ((rc = fill(&k, *a, *config, *generation)) < 0) {
        woq_json_free(*config);
        woq_json_free(*generation);
        *config = *generation = NULL;
    }
    return rc;
}
