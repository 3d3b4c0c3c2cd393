/* gguf_keys.c -- see the header. */
#include <formats/gguf_keys.h>

#include <formats/gguf_arch.h>
#include <formats/gguf_kv.h>
#include <formats/gguf_rope.h>
#include <string.h>

/* Positions by rope; scalings whose divisors are tensors have their keys here, too. */
static void rope_keys(struct woq_gguf_keys *k, const struct woq_config *c, const char *a)
{
    double factor;

    if (!c->n_rot)
        return;
    woq_gguf_kv_u32(k, a, "rope.dimension_count", c->n_rot);
    woq_gguf_kv_f32(k, a, "rope.freq_base", c->rope_theta);
    if (c->rope_theta_local != c->rope_theta)
        woq_gguf_kv_f32(k, a, "rope.freq_base_swa", c->rope_theta_local);
    factor = woq_gguf_attn_factor(c);
    if (factor != 1)
        woq_gguf_kv_f32(k, a, "rope.scaling.attn_factor", factor);
    if (c->rope_scaling == WOQ_ROPE_LINEAR || c->rope_scaling == WOQ_ROPE_YARN) {
        woq_gguf_kv_text(k, a, "rope.scaling.type",
                         c->rope_scaling == WOQ_ROPE_YARN ? "yarn" : "linear");
        woq_gguf_kv_f32(k, a, "rope.scaling.factor", c->rope_factor);
    }
    if (c->rope_scaling == WOQ_ROPE_YARN || c->rope_scaling == WOQ_ROPE_LONG)
        woq_gguf_kv_u32(k, a, "rope.scaling.original_context_length", (size_t)c->rope_original);
}

/* Which blocks have the window, unless the architecture's period says it. */
static void window_keys(struct woq_gguf_keys *k, const struct woq_config *c, const char *a)
{
    const size_t period = (size_t)c->arch->window_period;
    size_t n = 0;
    bool usual = period > 0;

    for (size_t b = 0; b < c->n_layers; b++) {
        n += woq_config_window(c, b) != 0;
        usual &= period && (woq_config_window(c, b) != 0) == ((b + 1) % period != 0);
    }
    if (n)
        woq_gguf_kv_u32(k, a, "attention.sliding_window", c->window);
    if (!n || n == c->n_layers || usual)
        return;
    woq_gguf_kv_array(k, a, "attention.sliding_window_pattern", WOQ_GGUF_BOOL, c->n_layers);
    for (size_t b = 0; b < c->n_layers; b++)
        woq_gguf_put_raw(k, &(uint8_t){ woq_config_window(c, b) != 0 }, 1);
}

static void extra_keys(struct woq_gguf_keys *k, const struct woq_config *c,
                       const struct woq_json *config, const struct woq_gguf_arch *row)
{
    for (const struct woq_gguf_extra *e = row->extras; e && e->key; e++) {
        const char *at = (const char *)c + e->at;
        float x;

        if (e->kind == WOQ_GGUF_SIZE) {
            size_t n;

            memcpy(&n, at, sizeof n);
            if (n)
                woq_gguf_kv_u32(k, row->name, e->key, n);
            continue;
        }
        memcpy(&x, at, sizeof x);
        if (x != 0)
            woq_gguf_kv_f32(k, row->name, e->key,
                            e->kind == WOQ_GGUF_INVERSE ? 1 / (double)x : (double)x);
    }
    if (row->put)
        row->put(k, c, config);
}

static void head_keys(struct woq_gguf_keys *k, const struct woq_config *c,
                      const struct woq_gguf_arch *row)
{
    woq_gguf_kv_u32(k, row->name, "attention.head_count", c->n_heads);
    if (row->quirks & WOQ_GGUF_LATENT)
        return; /* the family's own: one head of latent vectors */
    woq_gguf_kv_u32(k, row->name, "attention.head_count_kv", c->n_kv_heads);
    if (c->head_dim * c->n_heads == c->hidden)
        return;
    woq_gguf_kv_u32(k, row->name, "attention.key_length", c->head_dim);
    woq_gguf_kv_u32(k, row->name, "attention.value_length", c->head_dim);
}

static void model_keys(struct woq_gguf_keys *k, const struct woq_config *c,
                       const struct woq_json *config, const char *name)
{
    const struct woq_gguf_arch *row = woq_gguf_arch_of(c->arch);
    const char *a = row->name;

    woq_gguf_kv_text(k, NULL, "general.architecture", a);
    woq_gguf_kv_text(k, NULL, "general.type", "model");
    woq_gguf_kv_text(k, NULL, "general.name", name);
    woq_gguf_kv_u32(k, NULL, "general.file_type", 0);
    k->file_type_at = k->text.len - 4;
    woq_gguf_kv_u32(k, NULL, "general.quantization_version", 2);
    woq_gguf_kv_u32(k, a, "context_length", c->max_positions);
    woq_gguf_kv_u32(k, a, "embedding_length", c->hidden);
    woq_gguf_kv_u32(k, a, "block_count", c->n_layers);
    woq_gguf_kv_u32(k, a, "feed_forward_length", c->inter);
    head_keys(k, c, row);
    woq_gguf_kv_f32(k, a,
                    c->norm == WOQ_NORM_LN ? "attention.layer_norm_epsilon"
                                           : "attention.layer_norm_rms_epsilon",
                    (double)c->eps);
    woq_gguf_kv_u32(k, a, "vocab_size", c->vocab);
    extra_keys(k, c, config, row);
    rope_keys(k, c, a);
    window_keys(k, c, a);
}

int woq_gguf_keys_init(struct woq_gguf_keys *k, const struct woq_config *c,
                       const struct woq_json *config, const struct woq_frame *modl,
                       const char *name, struct woq_error *err)
{
    int rc;

    memset(k, 0, sizeof *k);
    model_keys(k, c, config, name);
    rc = woq_gguf_keys_vocab(k, config, modl, err);
    return rc == WOQ_OK && k->oom ? woq_fail_nomem(err, k->text.len) : rc;
}

int woq_gguf_keys_imatrix(struct woq_gguf_keys *k, const char *file, const char *dataset,
                          size_t n_entries, size_t n_chunks, struct woq_error *err)
{
    woq_gguf_kv_text(k, NULL, "quantize.imatrix.file", file);
    if (dataset)
        woq_gguf_kv_text(k, NULL, "quantize.imatrix.dataset", dataset);
    woq_gguf_kv_u32(k, NULL, "quantize.imatrix.entries_count", n_entries);
    woq_gguf_kv_u32(k, NULL, "quantize.imatrix.chunks_count", n_chunks);
    return k->oom ? woq_fail_nomem(err, k->text.len) : WOQ_OK;
}

void woq_gguf_keys_release(struct woq_gguf_keys *k)
{
    woq_str_release(&k->text);
    memset(k, 0, sizeof *k);
}
