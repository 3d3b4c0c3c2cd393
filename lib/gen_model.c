/* gen_model.c -- whole llama models with random weights (woq-gen --llama). One tensor in memory. */
#include <woq/gen.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN, INTER, LAYERS, HEADS, KV, VOCAB, SEED, TIE, CTX, N_KEYS };
static const char *const keys[N_KEYS] = { "hidden", "inter", "layers", "heads", "kv",
                                          "vocab",  "seed",  "tie",    "ctx" };

/* clang-format off */
static const struct part {
    const char *name, *role, *group;
    int rows, cols; /* index into v[]; cols < 0: a norm; KV stands for kv * head_dim */
} stem[] = {
    { "model.embed_tokens.weight", "embed", NULL, VOCAB, HIDDEN },
}, block[] = {
    { "input_layernorm.weight", "attn.norm", NULL, HIDDEN, -1 },
    { "self_attn.q_proj.weight", "attn.q", "qkv", HIDDEN, HIDDEN },
    { "self_attn.k_proj.weight", "attn.k", "qkv", KV, HIDDEN },
    { "self_attn.v_proj.weight", "attn.v", "qkv", KV, HIDDEN },
    { "self_attn.o_proj.weight", "attn.o", "o", HIDDEN, HIDDEN },
    { "post_attention_layernorm.weight", "mlp.norm", NULL, HIDDEN, -1 },
    { "mlp.gate_proj.weight", "mlp.gate", "gateup", INTER, HIDDEN },
    { "mlp.up_proj.weight", "mlp.up", "gateup", INTER, HIDDEN },
    { "mlp.down_proj.weight", "mlp.down", "down", HIDDEN, INTER },
}, head[] = {
    { "model.norm.weight", "norm", NULL, HIDDEN, -1 },
    { "lm_head.weight", "head", NULL, VOCAB, HIDDEN },
};
/* clang-format on */
#define COUNT(a) (sizeof(a) / sizeof *(a))
#define BLOCK_FRAMES (COUNT(block) + 2)

struct woq_gen_model {
    uint64_t v[N_KEYS];
    enum woq_dtype dtype;
    uint64_t at, n_frames, tensor; /* next frame, of how many; tensors made so far */
    struct woq_frame frame;
    struct woq_buf buf;
    char *config;
};

static int set_key(struct woq_gen_model *m, const char *text, size_t n, struct woq_error *err)
{
    const char *eq = memchr(text, '=', n);
    char value[24] = "", *end;

    if (eq && (size_t)(text + n - eq) <= sizeof value)
        memcpy(value, eq + 1, (size_t)(text + n - eq) - 1);
    if (eq && eq - text == 5 && !strncmp(text, "dtype", 5)) {
        m->dtype = woq_dtype_from_name(value);
        if (woq_dtype_is_float(m->dtype) && m->dtype != WOQ_F64)
            return WOQ_OK;
        return woq_fail(err, WOQ_EUSAGE, NULL, "--llama dtype=%s: want f16, bf16 or f32", value);
    }
    for (int k = 0; eq && k < N_KEYS; k++) {
        if (strlen(keys[k]) != (size_t)(eq - text) || strncmp(keys[k], text, strlen(keys[k])) != 0)
            continue;
        errno = 0;
        m->v[k] = strtoull(value, &end, 10);
        if (*value < '0' || *value > '9' || *end || errno || (k != SEED && m->v[k] > 1u << 24))
            return woq_fail(err, WOQ_EUSAGE, NULL, "--llama %.*s: want a number up to 2^24", (int)n,
                            text);
        return WOQ_OK;
    }
    return woq_fail(err, WOQ_EUSAGE, "keys: hidden inter layers heads kv vocab ctx tie dtype seed",
                    "--llama: unknown '%.*s'", (int)(n < 40 ? n : 40), text);
}

static int check_shape(struct woq_gen_model *m, struct woq_error *err)
{
    uint64_t *v = m->v;

    if (!v[KV])
        v[KV] = v[HEADS];
    if (!v[INTER])
        v[INTER] = 4 * v[HIDDEN];
    if (!v[HIDDEN] || !v[LAYERS] || !v[HEADS] || !v[VOCAB] || !v[CTX])
        return woq_fail(err, WOQ_EUSAGE, NULL,
                        "--llama: hidden, layers, heads, vocab, ctx: want > 0");
    if (v[HIDDEN] % (2 * v[HEADS]))
        return woq_fail(err, WOQ_EUSAGE, NULL,
                        "--llama: hidden=%llu is no even multiple of heads=%llu",
                        (unsigned long long)v[HIDDEN], (unsigned long long)v[HEADS]);
    if (v[HEADS] % v[KV])
        return woq_fail(err, WOQ_EUSAGE, NULL, "--llama: heads=%llu is no multiple of kv=%llu",
                        (unsigned long long)v[HEADS], (unsigned long long)v[KV]);
    if (v[TIE] > 1)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--llama tie=%llu: want 0 or 1",
                        (unsigned long long)v[TIE]);
    return WOQ_OK;
}

static int make_config(struct woq_gen_model *m, struct woq_error *err)
{
    static const char *const names[N_KEYS] = { "hidden_size",
                                               "intermediate_size",
                                               "num_hidden_layers",
                                               "num_attention_heads",
                                               "num_key_value_heads",
                                               "vocab_size",
                                               NULL,
                                               NULL,
                                               "max_position_embeddings" };
    struct woq_json *c = woq_json_object(), *arch = woq_json_array();

    woq_json_push(arch, woq_json_of_str("LlamaForCausalLM"));
    woq_json_set(c, "architectures", arch);
    woq_json_set_str(c, "model_type", "llama");
    woq_json_set_str(c, "hidden_act", "silu");
    for (int k = 0; k < N_KEYS; k++)
        if (names[k])
            woq_json_set_num(c, names[k], (double)m->v[k]);
    woq_json_set_num(c, "rms_norm_eps", 1e-5);
    woq_json_set_num(c, "rope_theta", 10000.0);
    woq_json_set_bool(c, "tie_word_embeddings", m->v[TIE]);
    woq_json_set_num(c, "bos_token_id", 1);
    woq_json_set_num(c, "eos_token_id", 2);
    woq_json_set_str(c, "torch_dtype",
                     m->dtype == WOQ_F16    ? "float16"
                     : m->dtype == WOQ_BF16 ? "bfloat16"
                                            : "float32");
    m->config = woq_json_print(c, true);
    woq_json_free(c);
    return m->config ? WOQ_OK : woq_fail_nomem(err, 1024);
}

int woq_gen_model_open(struct woq_gen_model **out, const char *text, struct woq_error *err)
{
    struct woq_gen_model *m = calloc(1, sizeof *m);
    int rc = WOQ_OK;

    if (!m)
        return woq_fail_nomem(err, sizeof *m);
    m->v[HIDDEN] = 64;
    m->v[LAYERS] = 2;
    m->v[HEADS] = 4;
    m->v[VOCAB] = 256;
    m->v[SEED] = 1;
    m->v[CTX] = 2048;
    m->dtype = WOQ_F16;
    while (*text && rc == WOQ_OK) {
        const size_t n = strcspn(text, ",");
        rc = set_key(m, text, n, err);
        text += n + (text[n] == ',');
    }
    if (rc == WOQ_OK)
        rc = check_shape(m, err);
    if (rc == WOQ_OK)
        rc = make_config(m, err);
    if (rc < 0) {
        woq_gen_model_close(m);
        return rc;
    }
    m->n_frames = 1 + COUNT(stem) + m->v[LAYERS] * BLOCK_FRAMES + COUNT(head) - m->v[TIE];
    *out = m;
    return WOQ_OK;
}

void woq_gen_model_close(struct woq_gen_model *m)
{
    if (!m)
        return;
    woq_frame_release(&m->frame);
    woq_buf_release(&m->buf);
    free(m->config);
    free(m);
}

static void part_shape(const struct woq_gen_model *m, const struct part *p, uint64_t shape[2])
{
    shape[0] = m->v[p->rows];
    if (p->rows == KV)
        shape[0] *= m->v[HIDDEN] / m->v[HEADS];
    shape[1] = p->cols < 0 ? 1 : m->v[p->cols];
}

static uint64_t parts_bytes(const struct woq_gen_model *m, const struct part *p, size_t n)
{
    uint64_t sum = 0, shape[2];

    for (size_t i = 0; i < n; i++) {
        part_shape(m, &p[i], shape); /* at most 2^24 * 2^24 * 4 each */
        sum += shape[0] * shape[1] * woq_dtype_bytes(m->dtype);
    }
    return sum;
}

void woq_gen_model_total(const struct woq_gen_model *m, uint64_t *frames, uint64_t *bytes)
{
    *frames = m->n_frames;
    *bytes = strlen(m->config) + parts_bytes(m, stem, COUNT(stem)) +
             m->v[LAYERS] * parts_bytes(m, block, COUNT(block)) +
             parts_bytes(m, head, COUNT(head) - m->v[TIE]);
}

/* A weight: bell-shaped with standard deviation 1/sqrt(cols), so that activations keep their size;
 * a norm: 1 +- 0.05. */
static int make_tensor(struct woq_gen_model *m, const struct part *p, const char *prefix,
                       struct woq_error *err)
{
    struct woq_frame *f = &m->frame;
    const bool norm = p->cols < 0;
    const double std = norm ? 0.05 : 1.0 / sqrt((double)m->v[p->cols]);
    uint64_t shape[2];
    size_t n_elem, bytes;
    char name[96];
    void *data;

    part_shape(m, p, shape);
    if (!woq_mul_size(shape[0], shape[1], &n_elem) ||
        !woq_mul_size(n_elem, woq_dtype_bytes(m->dtype), &bytes))
        return woq_fail(err, WOQ_EUSAGE, NULL, "--llama: %s is too large", p->name);
    if (!(data = woq_buf_need(&m->buf, bytes, err)))
        return WOQ_ENOMEM;
    woq_gen_bell(data, m->dtype, n_elem, woq_gen_sequence(m->v[SEED] + (m->tensor++ << 32)),
                 std / WOQ_GEN_BELL_STD, norm ? 1.0 : 0.0);
    snprintf(name, sizeof name, "%s%s", prefix, p->name);
    woq_frame_begin(f, "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", name);
    woq_json_set_str(f->meta, "role", p->role);
    return woq_frame_add(f, "data", m->dtype, norm ? 1 : 2, shape, data, err);
}

static int make_block(struct woq_gen_model *m, uint64_t at, struct woq_error *err)
{
    const uint64_t b = at / BLOCK_FRAMES, i = at % BLOCK_FRAMES;
    const struct part *p;
    char prefix[48];
    int rc;

    if (i == 0 || i == BLOCK_FRAMES - 1) {
        woq_frame_begin(&m->frame, i ? "BLKE" : "BLKB");
        woq_json_set_num(woq_frame_edit(&m->frame), "block", (double)b);
        return WOQ_OK;
    }
    p = &block[i - 1];
    snprintf(prefix, sizeof prefix, "model.layers.%llu.", (unsigned long long)b);
    if ((rc = make_tensor(m, p, prefix, err)) < 0)
        return rc;
    woq_json_set_num(m->frame.meta, "block", (double)b);
    if (p->group)
        woq_json_set_str(m->frame.meta, "group", p->group);
    return WOQ_OK;
}

int woq_gen_model_next(struct woq_gen_model *m, struct woq_frame **f, struct woq_error *err)
{
    const uint64_t at = m->at, n_block = m->v[LAYERS] * BLOCK_FRAMES;
    int rc;

    if (at == m->n_frames)
        return WOQ_OK;
    if (at == 0) {
        const uint64_t bytes = strlen(m->config);
        woq_frame_begin(&m->frame, "MODL");
        rc = woq_frame_add(&m->frame, "config.json", WOQ_U8, 1, &bytes, m->config, err);
    } else if (at <= COUNT(stem)) {
        rc = make_tensor(m, &stem[at - 1], "", err);
    } else if (at <= COUNT(stem) + n_block) {
        rc = make_block(m, at - 1 - COUNT(stem), err);
    } else {
        rc = make_tensor(m, &head[at - 1 - COUNT(stem) - n_block], "", err);
    }
    m->at++;
    *f = &m->frame;
    return rc < 0 ? rc : WOQ_ITEM;
}
