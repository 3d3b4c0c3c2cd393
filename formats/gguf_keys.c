/* gguf_keys.c -- see the header. */
#include <formats/gguf_keys.h>

#include <formats/gguf.h>
#include <formats/gguf_vocab.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void raw(struct woq_gguf_keys *k, const void *data, size_t bytes)
{
    if (woq_str_add(&k->text, data, bytes) != WOQ_OK)
        k->oom = true;
}

static void put_u32(struct woq_gguf_keys *k, uint32_t x)
{
    raw(k, &x, 4);
}

static void put_u64(struct woq_gguf_keys *k, uint64_t x)
{
    raw(k, &x, 8);
}

static void put_text(struct woq_gguf_keys *k, const char *s)
{
    put_u64(k, strlen(s));
    raw(k, s, strlen(s));
}

static void key(struct woq_gguf_keys *k, const char *arch, const char *name,
                enum woq_gguf_kind kind)
{
    char full[160];

    snprintf(full, sizeof full, "%s%s%s", arch ? arch : "", arch ? "." : "", name);
    put_text(k, full);
    put_u32(k, kind);
    k->n++;
}

static void kv_text(struct woq_gguf_keys *k, const char *arch, const char *name, const char *s)
{
    key(k, arch, name, WOQ_GGUF_STRING);
    put_text(k, s);
}

static void kv_u32(struct woq_gguf_keys *k, const char *arch, const char *name, size_t x)
{
    key(k, arch, name, WOQ_GGUF_U32);
    put_u32(k, (uint32_t)x);
}

static void kv_f32(struct woq_gguf_keys *k, const char *arch, const char *name, double x)
{
    const float f = (float)x;

    key(k, arch, name, WOQ_GGUF_F32);
    raw(k, &f, 4);
}

static void kv_bool(struct woq_gguf_keys *k, const char *name, bool b)
{
    const uint8_t byte = b;

    key(k, NULL, name, WOQ_GGUF_BOOL);
    raw(k, &byte, 1);
}

static void kv_array(struct woq_gguf_keys *k, const char *name, enum woq_gguf_kind kind, size_t n)
{
    key(k, NULL, name, WOQ_GGUF_ARRAY);
    put_u32(k, kind);
    put_u64(k, n);
}

/* yarn with what llama.cpp takes as given. */
static bool plain_yarn(const struct woq_config *c, const struct woq_json *config)
{
    const struct woq_json *s = woq_json_get(config, "rope_scaling");

    s = s ? s : woq_json_get(config, "rope_parameters");
    return c->rope_beta_fast == 32 && c->rope_beta_slow == 1 &&
           woq_json_type(woq_json_get(s, "attention_factor")) == WOQ_JNULL &&
           woq_json_type(woq_json_get(s, "mscale")) == WOQ_JNULL &&
           woq_json_type(woq_json_get(s, "mscale_all_dim")) == WOQ_JNULL;
}

static int rope_keys(struct woq_gguf_keys *k, const struct woq_config *c,
                     const struct woq_json *config, struct woq_error *err)
{
    const char *a = c->arch->gguf_arch;

    kv_u32(k, a, "rope.dimension_count", c->n_rot);
    kv_f32(k, a, "rope.freq_base", c->rope_theta);
    if (c->rope_scaling == WOQ_ROPE_PLAIN || c->rope_scaling == WOQ_ROPE_LLAMA3)
        return WOQ_OK; /* llama3 is the tensor rope_freqs.weight */
    if (c->rope_scaling == WOQ_ROPE_DYNAMIC || c->rope_scaling == WOQ_ROPE_LONG ||
        (c->rope_scaling == WOQ_ROPE_YARN && !plain_yarn(c, config)))
        return woq_fail(err, WOQ_ETYPE, "use --format safetensors or gptq",
                        "this rope_scaling of config.json has no form in GGUF: want linear, llama3 "
                        "or yarn with its defaults");
    kv_text(k, a, "rope.scaling.type", c->rope_scaling == WOQ_ROPE_YARN ? "yarn" : "linear");
    kv_f32(k, a, "rope.scaling.factor", c->rope_factor);
    if (c->rope_scaling == WOQ_ROPE_YARN)
        kv_u32(k, a, "rope.scaling.original_context_length", (size_t)c->rope_original);
    return WOQ_OK;
}

static int window_key(struct woq_gguf_keys *k, const struct woq_config *c, struct woq_error *err)
{
    size_t n = 0;

    for (size_t b = 0; b < c->n_layers; b++)
        n += woq_config_window(c, b) != 0;
    if (n && n < c->n_layers)
        return woq_fail(err, WOQ_ETYPE, "use --format safetensors or gptq",
                        "a sliding window in %zu of %zu blocks has no form in GGUF", n,
                        c->n_layers);
    if (n)
        kv_u32(k, c->arch->gguf_arch, "attention.sliding_window", c->window);
    return WOQ_OK;
}

static int model_keys(struct woq_gguf_keys *k, const struct woq_config *c,
                      const struct woq_json *config, const char *name, struct woq_error *err)
{
    const char *a = c->arch->gguf_arch;
    int rc;

    kv_text(k, NULL, "general.architecture", a);
    kv_text(k, NULL, "general.type", "model");
    kv_text(k, NULL, "general.name", name);
    kv_u32(k, NULL, "general.file_type", 0);
    k->file_type_at = k->text.len - 4;
    kv_u32(k, NULL, "general.quantization_version", 2);
    kv_u32(k, a, "context_length", c->max_positions);
    kv_u32(k, a, "embedding_length", c->hidden);
    kv_u32(k, a, "block_count", c->n_layers);
    kv_u32(k, a, "feed_forward_length", c->inter);
    kv_u32(k, a, "attention.head_count", c->n_heads);
    kv_u32(k, a, "attention.head_count_kv", c->n_kv_heads);
    kv_f32(k, a, "attention.layer_norm_rms_epsilon", (double)c->eps);
    if (c->head_dim * c->n_heads != c->hidden) {
        kv_u32(k, a, "attention.key_length", c->head_dim);
        kv_u32(k, a, "attention.value_length", c->head_dim);
    }
    kv_u32(k, a, "vocab_size", c->vocab);
    rc = rope_keys(k, c, config, err);
    return rc == WOQ_OK ? window_key(k, c, err) : rc;
}

static void special_id(struct woq_gguf_keys *k, const char *name, long id)
{
    if (id >= 0)
        kv_u32(k, NULL, name, (size_t)id);
}

static void vocab_keys(struct woq_gguf_keys *k, const struct woq_gguf_vocab *v)
{
    kv_text(k, NULL, "tokenizer.ggml.model", v->model);
    if (v->pre)
        kv_text(k, NULL, "tokenizer.ggml.pre", v->pre);
    kv_array(k, "tokenizer.ggml.tokens", WOQ_GGUF_STRING, v->n);
    for (size_t i = 0; i < v->n; i++)
        put_text(k, v->tokens[i]);
    kv_array(k, "tokenizer.ggml.token_type", WOQ_GGUF_I32, v->n);
    for (size_t i = 0; i < v->n; i++)
        put_u32(k, v->types ? (uint32_t)v->types[i] : WOQ_GGUF_NORMAL);
    if (v->scores) {
        kv_array(k, "tokenizer.ggml.scores", WOQ_GGUF_F32, v->n);
        for (size_t i = 0; i < v->n; i++) {
            uint32_t bits;

            memcpy(&bits, &v->scores[i], sizeof bits);
            put_u32(k, bits);
        }
    } else {
        kv_array(k, "tokenizer.ggml.merges", WOQ_GGUF_STRING, v->n_merges);
        for (size_t i = 0; i < v->n_merges; i++)
            put_text(k, v->merges[i]);
    }
    special_id(k, "tokenizer.ggml.bos_token_id", v->bos);
    special_id(k, "tokenizer.ggml.eos_token_id", v->eos);
    special_id(k, "tokenizer.ggml.unknown_token_id", v->unk);
    special_id(k, "tokenizer.ggml.padding_token_id", v->pad);
    if (v->add_bos >= 0)
        kv_bool(k, "tokenizer.ggml.add_bos_token", v->add_bos > 0);
    if (v->add_eos >= 0)
        kv_bool(k, "tokenizer.ggml.add_eos_token", v->add_eos > 0);
    if (v->add_space_prefix >= 0)
        kv_bool(k, "tokenizer.ggml.add_space_prefix", v->add_space_prefix > 0);
    if (v->chat_template)
        kv_text(k, NULL, "tokenizer.chat_template", v->chat_template);
    k->n_tokens = v->n;
}

static int tokenizer_keys(struct woq_gguf_keys *k, const struct woq_json *config,
                          const struct woq_frame *modl, struct woq_error *err)
{
    const struct woq_array *t = woq_frame_array(modl, "tokenizer.json");
    const struct woq_array *spm = t ? NULL : woq_frame_array(modl, "tokenizer.model");
    const struct woq_array *tc = woq_frame_array(modl, "tokenizer_config.json");
    struct woq_gguf_vocab v = { 0 };
    int rc;

    if (!t && !spm) {
        kv_text(k, NULL, "tokenizer.ggml.model", "none");
        return WOQ_OK;
    }
    const char *tc_text = tc ? tc->data : NULL;
    const size_t tc_bytes = tc ? tc->bytes : 0;
    rc = spm ? woq_gguf_vocab_from_spm(&v, spm->data, spm->bytes, tc_text, tc_bytes, config, err)
             : woq_gguf_vocab_from_json(&v, t->data, t->bytes, tc_text, tc_bytes, config, err);
    if (rc == WOQ_OK)
        vocab_keys(k, &v);
    else if (err && rc == WOQ_EUNSUPPORTED && !err->hint[0])
        snprintf(err->hint, sizeof err->hint,
                 "woq-extract --no-side leaves the tokenizer out: the file then has no vocabulary");
    woq_gguf_vocab_release(&v);
    return rc;
}

int woq_gguf_keys_init(struct woq_gguf_keys *k, const struct woq_config *c,
                       const struct woq_json *config, const struct woq_frame *modl,
                       const char *name, struct woq_error *err)
{
    int rc;

    memset(k, 0, sizeof *k);
    rc = model_keys(k, c, config, name, err);
    if (rc == WOQ_OK)
        rc = tokenizer_keys(k, config, modl, err);
    return rc == WOQ_OK && k->oom ? woq_fail_nomem(err, k->text.len) : rc;
}

int woq_gguf_keys_imatrix(struct woq_gguf_keys *k, const char *file, const char *dataset,
                          size_t n_entries, size_t n_chunks, struct woq_error *err)
{
    kv_text(k, NULL, "quantize.imatrix.file", file);
    if (dataset)
        kv_text(k, NULL, "quantize.imatrix.dataset", dataset);
    kv_u32(k, NULL, "quantize.imatrix.entries_count", n_entries);
    kv_u32(k, NULL, "quantize.imatrix.chunks_count", n_chunks);
    return k->oom ? woq_fail_nomem(err, k->text.len) : WOQ_OK;
}

void woq_gguf_keys_release(struct woq_gguf_keys *k)
{
    woq_str_release(&k->text);
    memset(k, 0, sizeof *k);
}

void woq_gguf_rope_freqs(float *dst, const struct woq_config *c)
{
    const double pi2 = 2 * 3.14159265358979323846;

    for (size_t i = 0; i < c->n_rot / 2; i++) {
        const double wl = pi2 * pow(c->rope_theta, 2 * (double)i / (double)c->n_rot);
        const double t = (c->rope_original / wl - c->rope_low) / (c->rope_high - c->rope_low);
        dst[i] =
            (float)(wl < c->rope_original / c->rope_high  ? 1
                    : wl > c->rope_original / c->rope_low ? c->rope_factor
                                                          : 1 / ((1 - t) / c->rope_factor + t));
    }
}
