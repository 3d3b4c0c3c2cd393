/* gguf_forms.c -- GGUF files as other converters make them: experts apart, q, k, v or gate and up
 * together, latent keys and values whole, keys of older names. Each is made from a file of ours,
 * and the source has to hand on the same tensors, codes and config.json. */
#include <formats/ggml_encode.h>
#include <formats/gguf.h>
#include <formats/gguf_layout.h>
#include <formats/sink.h>
#include <formats/source.h>
#include <woq/gen.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/woq-forms.XXXXXX";

/* --- a file of ours --- */

/* config.json of a fixture, members of `edits` instead of its own. The caller frees. */
static char *config_of(const char *fixture, const char *edits)
{
    struct woq_json *config = NULL, *more = NULL;
    struct woq_error err = { 0 };
    char path[128], *text, *out;
    size_t bytes;

    snprintf(path, sizeof path, "tests/golden/archs/%s/config.json", fixture);
    if (woq_file_read(path, 0, &text, &bytes, &err) < 0 ||
        woq_json_parse(&config, text, bytes, &err) < 0 ||
        woq_json_parse(&more, edits, strlen(edits), &err) < 0)
        fail_msg("%s: %s", path, err.what);
    woq_json_each(item, more)
    {
        woq_json_set(config, woq_json_key(item), woq_json_copy(item));
    }
    out = woq_json_print(config, false);
    woq_json_free(config);
    woq_json_free(more);
    free(text);
    return out;
}

/* Writes the model of a config.json as GGUF and reads the file. */
static void make_file(struct woq_gguf *g, const char *fixture, const char *edits)
{
    const char *rules[] = { "*attn_?_b.weight=f16" }; /* transposed: the same in either form */
    char *config = config_of(fixture, edits), path[128];
    struct woq_gen_model *m = NULL;
    struct woq_error err = { 0 };
    struct woq_sink sink = { 0 };
    struct woq_frame *f;

    snprintf(path, sizeof path, "%s/m.gguf", folder);
    const struct woq_sink_opts opts = {
        .path = path, .format = "gguf", .type = "q8_0", .tensor_types = { rules, 1 }, .force = true
    };
    if (woq_gen_model_open_config(&m, config, WOQ_F32, 1, &err) < 0 ||
        woq_sink_open(&sink, &opts, NULL, &err) < 0)
        fail_msg("%s: %s", fixture, err.what);
    while (woq_gen_model_next(m, &f, &err) > 0)
        if (woq_sink_put(&sink, f, &err) < 0)
            fail_msg("%s: %s", fixture, err.what);
    if (woq_sink_finish(&sink, &err) < 0 || woq_gguf_open(g, path, &err) < 0)
        fail_msg("%s: %s", fixture, err.what);
    woq_sink_release(&sink);
    woq_gen_model_close(m);
    free(config);
}

/* --- a file of another form, in memory --- */

struct file {
    struct woq_str keys, infos, data;
    uint64_t n_keys, n_tensors;
};

static void put_uint(struct woq_str *s, uint64_t x, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(woq_str_add(s, &(uint8_t){ (uint8_t)(x >> 8 * i) }, 1), 0);
}

static void put_text(struct woq_str *s, const char *text)
{
    put_uint(s, strlen(text), 8);
    woq_str_add(s, text, strlen(text));
}

static void put_key(struct file *f, const struct woq_gguf_kv *kv, const char *name)
{
    put_text(&f->keys, name);
    put_uint(&f->keys, kv->is_array ? WOQ_GGUF_ARRAY : kv->kind, 4);
    if (kv->is_array) {
        put_uint(&f->keys, kv->kind, 4);
        put_uint(&f->keys, kv->n, 8);
    }
    woq_str_add(&f->keys, kv->data, kv->bytes);
    f->n_keys++;
}

/* A tensor whose data are put behind it; shape outermost first. */
static void put_tensor(struct file *f, const char *name, const struct woq_ggml_type *type,
                       unsigned n_dims, const uint64_t *shape)
{
    put_text(&f->infos, name);
    put_uint(&f->infos, n_dims, 4);
    for (unsigned d = n_dims; d-- > 0;)
        put_uint(&f->infos, shape[d], 8);
    put_uint(&f->infos, type->id, 4);
    while (f->data.len % 32)
        put_uint(&f->data, 0, 1);
    put_uint(&f->infos, f->data.len, 8);
    f->n_tensors++;
}

/* The whole file; the caller frees. */
static char *finish(struct file *f, uint32_t version, size_t *bytes)
{
    struct woq_str out = { 0 };

    woq_str_add(&out, "GGUF", 4);
    put_uint(&out, version, 4);
    put_uint(&out, f->n_tensors, 8);
    put_uint(&out, f->n_keys, 8);
    woq_str_add(&out, f->keys.s, f->keys.len);
    woq_str_add(&out, f->infos.s, f->infos.len);
    while (out.len % 32)
        put_uint(&out, 0, 1);
    woq_str_add(&out, f->data.s, f->data.len);
    woq_str_release(&f->keys);
    woq_str_release(&f->infos);
    woq_str_release(&f->data);
    *bytes = out.len;
    return out.s;
}

/* --- the forms --- */

/* The tensor of the block of t that has another last part of its name, "attn_k.weight". */
static const struct woq_gguf_tensor *sibling(const struct woq_gguf *g,
                                             const struct woq_gguf_tensor *t, const char *last)
{
    char name[64];

    snprintf(name, sizeof name, "%.*s%s", (int)(strchr(t->name + 4, '.') + 1 - t->name), t->name,
             last);
    return woq_gguf_tensor(g, name);
}

static bool is(const struct woq_gguf_tensor *t, const char *last)
{
    return !strncmp(t->name, "blk.", 4) && !strcmp(strchr(t->name + 4, '.') + 1, last);
}

/* blk.0.ffn_gate_exps.weight -> blk.0.ffn_gate.0.weight ... */
static void put_each(struct file *f, const struct woq_gguf_tensor *t)
{
    const char *at = strstr(t->name, "_exps");
    const size_t n = (size_t)t->shape[0], bytes = t->bytes / n;
    char name[64];

    for (size_t e = 0; e < n; e++) {
        snprintf(name, sizeof name, "%.*s.%zu%s", (int)(at - t->name), t->name, e, at + 5);
        put_tensor(f, name, t->type, t->n_dims - 1, t->shape + 1);
        woq_str_add(&f->data, t->data + e * bytes, bytes);
    }
}

static const struct fused {
    enum woq_gguf_form form;
    const char *name, *parts[3];
} fused[] = {
    { WOQ_GGUF_FUSED_QKV,
      "attn_qkv.weight",
      { "attn_q.weight", "attn_k.weight", "attn_v.weight" } },
    { WOQ_GGUF_FUSED_QKV_BIAS, "attn_qkv.bias", { "attn_q.bias", "attn_k.bias", "attn_v.bias" } },
    { WOQ_GGUF_FUSED_GATE_UP,
      "ffn_gate_up_exps.weight",
      { "ffn_gate_exps.weight", "ffn_up_exps.weight" } },
};

/* Rows of several tensors one after another, of experts for each. */
static void put_fused(struct file *f, const struct woq_gguf *g, const struct woq_gguf_tensor *t,
                      const struct fused *how)
{
    const unsigned along = t->n_dims > 2; /* experts are outermost */
    const size_t n = along ? (size_t)t->shape[0] : 1;
    const struct woq_gguf_tensor *parts[3] = { NULL };
    uint64_t shape[4] = { n };
    char name[64];

    memcpy(shape, t->shape, sizeof shape);
    shape[along] = 0;
    for (size_t i = 0; i < 3 && how->parts[i]; i++) {
        parts[i] = sibling(g, t, how->parts[i]);
        assert_non_null(parts[i]);
        assert_ptr_equal(parts[i]->type, t->type);
        shape[along] += parts[i]->shape[along];
    }
    snprintf(name, sizeof name, "%.*s%s", (int)(strchr(t->name + 4, '.') + 1 - t->name), t->name,
             how->name);
    put_tensor(f, name, t->type, t->n_dims, shape);
    for (size_t e = 0; e < n; e++)
        for (size_t i = 0; i < 3 && parts[i]; i++)
            woq_str_add(&f->data, parts[i]->data + e * (parts[i]->bytes / n), parts[i]->bytes / n);
}

/* attn_k_b [heads][latent][nope] and attn_v_b [heads][v][latent] as [heads][nope + v][latent]; of
 * Q8_0 if told, else of F16 as they are. */
static void put_whole(struct file *f, const struct woq_gguf_tensor *k,
                      const struct woq_gguf_tensor *v, bool quantized)
{
    const size_t heads = k->shape[0], latent = k->shape[1], nope = k->shape[2], n = v->shape[1];
    const struct woq_ggml_type *type = woq_ggml_type(quantized ? WOQ_GGML_Q8_0 : WOQ_GGML_F16);
    uint16_t row[64];
    uint8_t block[136];
    float x[64];
    size_t bytes;
    char name[64];

    assert_true(latent <= 64 && k->type->id == WOQ_GGML_F16 && v->type->id == WOQ_GGML_F16);
    assert_true(woq_ggml_row_bytes(type, latent, &bytes));
    snprintf(name, sizeof name, "%.*skv_b.weight", (int)(strstr(k->name, "k_b") - k->name),
             k->name);
    put_tensor(f, name, type, 2, (uint64_t[]){ heads * (nope + n), latent });
    for (size_t i = 0; i < heads * (nope + n); i++) {
        const size_t h = i / (nope + n), r = i % (nope + n);

        for (size_t c = 0; c < latent; c++)
            memcpy(&row[c],
                   r < nope ? k->data + 2 * ((h * latent + c) * nope + r)
                            : v->data + 2 * ((h * n + r - nope) * latent + c),
                   2);
        woq_to_f32(x, row, WOQ_F16, latent);
        assert_true(woq_ggml_encode(block, type, x, NULL, latent));
        woq_str_add(&f->data, block, bytes);
    }
}

struct form {
    const char *fixture, *edits;
    unsigned forms;       /* enum woq_gguf_form */
    const char *drop;     /* keys that are left out, as "|a|b|" of the names behind the first dot */
    const char *names[4]; /* keys that have other names: from, to */
    uint32_t version;     /* 0: 3 */
    bool quantized;       /* latent keys and values */
};

/* True if this tensor is written here in another form, or with a sibling. */
static bool reform(struct file *f, const struct woq_gguf *g, const struct woq_gguf_tensor *t,
                   const struct form *form)
{
    for (size_t i = 0; i < sizeof fused / sizeof fused[0]; i++)
        for (size_t k = 0; k < 3 && (form->forms & fused[i].form) && fused[i].parts[k]; k++)
            if (is(t, fused[i].parts[k])) {
                if (k == 0)
                    put_fused(f, g, t, &fused[i]);
                return true;
            }
    if ((form->forms & WOQ_GGUF_EACH_EXPERT) && strstr(t->name, "_exps.")) {
        put_each(f, t);
        return true;
    }
    if (!(form->forms & WOQ_GGUF_WHOLE_KV_B) ||
        (!is(t, "attn_k_b.weight") && !is(t, "attn_v_b.weight")))
        return false;
    if (is(t, "attn_k_b.weight"))
        put_whole(f, t, sibling(g, t, "attn_v_b.weight"), form->quantized);
    return true;
}

static void put_keys(struct file *f, const struct woq_gguf *g, const struct form *form)
{
    for (size_t i = 0; i < g->n_kv; i++) {
        const char *dot = strchr(g->kv[i].key, '.');
        char name[96], in_list[96];

        snprintf(in_list, sizeof in_list, "|%s|", dot + 1);
        if (form->drop && strstr(form->drop, in_list))
            continue;
        snprintf(name, sizeof name, "%s", g->kv[i].key);
        for (size_t k = 0; k < 4 && form->names[k]; k += 2)
            if (!strcmp(dot + 1, form->names[k]))
                snprintf(name, sizeof name, "%.*s.%s", (int)(dot - g->kv[i].key), g->kv[i].key,
                         form->names[k + 1]);
        put_key(f, &g->kv[i], name);
    }
}

static char *other_form(const struct woq_gguf *g, const struct form *form, size_t *bytes)
{
    struct file f = { { 0 }, { 0 }, { 0 }, 0, 0 };

    put_keys(&f, g, form);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct woq_gguf_tensor *t = &g->tensors[i];

        if (reform(&f, g, t, form))
            continue;
        put_tensor(&f, t->name, t->type, t->n_dims, t->shape);
        woq_str_add(&f.data, t->data, t->bytes);
    }
    return finish(&f, form->version ? form->version : 3, bytes);
}

/* --- the same to a reader --- */

static struct woq_source *open_mem(const void *data, size_t bytes, const struct form *form)
{
    struct woq_source *s = NULL;
    struct woq_error err = { 0 };

    if (woq_source_open_mem(&s, "x.gguf", data, bytes, NULL, 0, &err) < 0)
        fail_msg("%s %x: %s", form->fixture, form->forms, err.what);
    return s;
}

static void expect_array(const struct form *form, const struct woq_frame *a,
                         const struct woq_frame *b, const char *array)
{
    const struct woq_array *x = woq_frame_array(a, array), *y = woq_frame_array(b, array);

    if (!x != !y || (x && (x->bytes != y->bytes || memcmp(x->data, y->data, x->bytes) != 0)))
        fail_msg("%s %x: %s of '%s' differs", form->fixture, form->forms, array, woq_frame_name(a));
}

/* Latent keys and values are f32 where they come from two tensors: the same numbers; of Q8_0, the
 * blocks and numbers nearby. */
static void expect_numbers(const struct form *form, const struct woq_frame *a,
                           const struct woq_frame *b)
{
    struct woq_buf bufs[2] = { { 0 } };
    struct woq_error err = { 0 };
    const float *x = NULL, *y = NULL;
    size_t n_rows, n_cols;
    double sum = 0, error = 0;

    assert_int_equal(woq_weight_f32(a, &n_rows, &n_cols, &x, &bufs[0], &err), 0);
    assert_int_equal(woq_weight_f32(b, &n_rows, &n_cols, &y, &bufs[1], &err), 0);
    for (size_t i = 0; i < n_rows * n_cols; i++) {
        sum += (double)x[i] * (double)x[i];
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    }
    if (form->quantized) {
        assert_string_equal(woq_json_get_str(b->meta, "raw_format"), "Q8_0");
        assert_int_equal(woq_frame_array(b, "raw")->bytes, n_rows * n_cols / 32 * 34);
        assert_true(error > 0 && error < 1e-4 * sum);
    } else {
        assert_true(error == 0 && sum > 0);
    }
    woq_buf_release(&bufs[0]);
    woq_buf_release(&bufs[1]);
}

static void expect_same(const struct form *form, struct woq_source *a, struct woq_source *b)
{
    struct woq_frame x = { 0 }, y = { 0 };
    struct woq_error err = { 0 };

    assert_int_equal(woq_json_len(a->config), woq_json_len(b->config));
    woq_json_each(item, a->config)
    {
        char *was = woq_json_print(item, false);
        char *now = woq_json_print(woq_json_get(b->config, woq_json_key(item)), false);

        if (!now || strcmp(was, now) != 0)
            fail_msg("%s %x: %s is %s, not %s", form->fixture, form->forms, woq_json_key(item), now,
                     was);
        free(was);
        free(now);
    }
    assert_int_equal(a->n_items, b->n_items);
    for (size_t i = 0; i < a->n_items; i++) {
        if (a->load(a, i, &x, &err) < 0 || b->load(b, i, &y, &err) < 0)
            fail_msg("%s %x: %s", form->fixture, form->forms, err.what);
        assert_string_equal(woq_frame_name(&x), woq_frame_name(&y));
        if (strstr(woq_frame_name(&x), "kv_b_proj")) {
            expect_numbers(form, &x, &y);
            continue;
        }
        expect_array(form, &x, &y, "data");
        expect_array(form, &x, &y, "raw");
    }
    woq_frame_release(&x);
    woq_frame_release(&y);
}

#define EACH WOQ_GGUF_EACH_EXPERT
#define QKV (WOQ_GGUF_FUSED_QKV | WOQ_GGUF_FUSED_QKV_BIAS)
#define GATE_UP WOQ_GGUF_FUSED_GATE_UP
#define WHOLE WOQ_GGUF_WHOLE_KV_B
#define DEEP "\"rms_norm_eps\":1e-6,\"kv_lora_rank\":32"
#define NO_MLA                                                                                     \
    "|attention.key_length|attention.value_length|vocab_size|expert_group_count|"                  \
    "expert_group_used_count|"
#define MLA_NAMES                                                                                  \
    {                                                                                              \
        "attention.key_length_mla", "attention.key_length", "attention.value_length_mla",          \
            "attention.value_length"                                                               \
    }

/* clang-format off */
static const struct form forms[] = {
    { "mixtral", "{}", EACH, "|vocab_size|", { NULL }, 2, false },
    { "mixtral", "{}", GATE_UP | QKV, NULL, { NULL }, 0, false },
    { "granitemoe", "{}", EACH, NULL, { NULL }, 0, false },
    { "granitemoe", "{}", GATE_UP | QKV, NULL, { NULL }, 0, false },
    { "gpt_oss", "{}", EACH | QKV, NULL, { NULL }, 0, false },
    { "gpt_oss", "{}", GATE_UP | WOQ_GGUF_FUSED_QKV, NULL, { NULL }, 0, false },
    { "qwen2_moe", "{\"decoder_sparse_step\":1,\"moe_intermediate_size\":24,"
                   "\"intermediate_size\":48,\"shared_expert_intermediate_size\":48}",
      GATE_UP | QKV, "|expert_feed_forward_length|expert_shared_feed_forward_length|", { NULL }, 0,
      false },
    { "qwen3_moe", "{\"mlp_only_layers\":[]}", GATE_UP | QKV, NULL, { NULL }, 0, false },
    { "olmoe", "{\"num_key_value_heads\":4,\"clip_qkv\":null}", EACH | QKV, NULL, { NULL }, 0, false },
    { "llama", "{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.5}}", QKV,
      "|rope.scaling.type|", { "rope.scaling.factor", "rope.scale_linear" }, 2, false },
    { "llama", "{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.5}}", 0,
      "|rope.scaling.type|", { NULL }, 0, false },
    { "baichuan-7b", "{\"num_hidden_layers\":32,\"hidden_size\":32,\"num_attention_heads\":4}", QKV,
      NULL, { NULL }, 0, false },
    { "phi", "{\"qk_layernorm\":false}", QKV, NULL, { NULL }, 0, false },
    { "phi", "{\"qk_layernorm\":false}", WOQ_GGUF_FUSED_QKV, NULL, { NULL }, 0, false },
    { "deepseek_v2", "{" DEEP ",\"topk_method\":\"greedy\",\"n_group\":1,\"topk_group\":1}", WHOLE,
      NO_MLA "expert_gating_func|expert_weights_norm|", MLA_NAMES, 0, false },
    { "deepseek_v2", "{" DEEP ",\"topk_method\":\"greedy\",\"n_group\":1,\"topk_group\":1}",
      WHOLE | EACH, NO_MLA, MLA_NAMES, 0, true },
    { "deepseek_v3", "{" DEEP ",\"n_group\":1,\"topk_group\":1}", WHOLE | GATE_UP, NO_MLA, MLA_NAMES,
      0, false },
};
/* clang-format on */

static void test_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const struct form *form = &forms[i];
        struct woq_source *a, *b;
        struct woq_gguf g;
        size_t bytes;
        char *other;

        make_file(&g, form->fixture, form->edits);
        other = other_form(&g, form, &bytes);
        a = open_mem(g.map.data, g.map.bytes, form);
        b = open_mem(other, bytes, form);
        expect_same(form, a, b);
        woq_source_close(a);
        woq_source_close(b);
        woq_gguf_release(&g);
        free(other);
    }
}

static void refused(const struct form *form, const char *lost, const char *want)
{
    struct woq_source *s = NULL;
    struct woq_error err = { 0 };
    struct woq_gguf g;
    size_t bytes;
    char *other;

    make_file(&g, form->fixture, form->edits);
    other = other_form(&g, form, &bytes);
    for (size_t i = 0; i + strlen(lost) < bytes; i++)
        if (!memcmp(other + i, lost, strlen(lost)))
            other[i + strlen(lost) - 1] ^= 1;
    assert_true(woq_source_open_mem(&s, "x.gguf", other, bytes, NULL, 0, &err) < 0);
    if (!strstr(err.what, want))
        fail_msg("'%s', want '%s'", err.what, want);
    woq_gguf_release(&g);
    free(other);
}

static void test_refusals(void **state)
{
    const struct form each = { "mixtral", "{}", EACH, NULL, { NULL }, 0, false };
    const struct form whole = {
        "deepseek_v2", "{" DEEP ",\"topk_method\":\"greedy\"}", WHOLE, NULL, { NULL }, 0, false
    };
    const struct form old = { "mixtral", "{}", 0, NULL, { NULL }, 1, false };

    (void)state;
    refused(&each, "blk.1.ffn_up.4", "tensor 'blk.1.ffn_up.5.weight' has no place");
    refused(&each, "blk.1.ffn_down.3.w", "tensor 'blk.1.ffn_down.3.veight' has no place");
    /* The keys of split heads with the whole matrix: two tensors are one too many. */
    refused(&whole, "blk.1.attn_kv_b", "tensor 'blk.1.attn_kv_c.weight' has no place");
    refused(&old, "no such text", "GGUF version 1, want 2 or 3");
}

/* Rows that lie interleaved, as converters once wrote them for one kind of processor. */
static void test_interleaved(void **state)
{
    const struct form plain = { "llama", "{}", 0, NULL, { NULL }, 0, false };
    const struct woq_ggml_type *type = woq_ggml_type(31);
    struct file f = { { 0 }, { 0 }, { 0 }, 0, 0 };
    struct woq_frame frame = { 0 };
    struct woq_error err = { 0 };
    struct woq_source *s;
    struct woq_gguf g;
    size_t bytes, n = 0;
    char *file;

    (void)state;
    make_file(&g, plain.fixture, "{\"hidden_size\":64}");
    put_keys(&f, &g, &plain);
    for (size_t i = 0; i < g.n_tensors; i++) {
        const struct woq_gguf_tensor *t = &g.tensors[i];
        const bool it = is(t, "attn_v.weight");

        put_tensor(&f, t->name, it ? type : t->type, t->n_dims, t->shape);
        if (it)
            assert_true(woq_ggml_row_bytes(type, t->shape[1], &bytes));
        woq_str_add(&f.data, t->data, it ? bytes * (size_t)t->shape[0] : t->bytes);
    }
    file = finish(&f, 3, &bytes);
    s = open_mem(file, bytes, &plain);
    for (size_t i = 0; i < s->n_items; i++)
        if (s->load(s, i, &frame, &err) < 0) {
            assert_non_null(strstr(err.what, "has type Q4_0_4_4, which woq can't decode"));
            n++;
        }
    assert_int_equal(n, 2); /* one in each block */
    woq_frame_release(&frame);
    woq_source_close(s);
    woq_gguf_release(&g);
    free(file);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/m.gguf", folder);
    return unlink(path) || rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_interleaved),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
