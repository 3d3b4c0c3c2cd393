/* gen_model.c -- whole models of any architecture with random weights (woq-gen --llama, --config).
 * What tensors there are is in the table of architectures; one of them is in memory. */
#include <woq/gen.h>
#include <woq/model.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN, INTER, LAYERS, HEADS, KV, VOCAB, SEED, TIE, CTX, N_KEYS };
static const char *const keys[N_KEYS] = { "hidden", "inter", "layers", "heads", "kv",
                                          "vocab",  "seed",  "tie",    "ctx" };

struct woq_gen_model {
    uint64_t v[N_KEYS];
    enum woq_dtype dtype;
    struct woq_config c;
    enum { MODL, BEGIN, TENSOR, END, DONE } next;
    struct woq_place place; /* of the next tensor */
    long block;             /* that the stream is in, -1 outside */
    struct woq_frame frame;
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

static void begin(struct woq_gen_model *m)
{
    m->block = -1;
    m->place = (struct woq_place){ 0 };
    m->next = woq_config_next(&m->c, &m->place) ? MODL : DONE;
}

static struct woq_gen_model *new_model(enum woq_dtype dtype, struct woq_error *err)
{
    struct woq_gen_model *m = calloc(1, sizeof *m);

    if (!m)
        woq_fail_nomem(err, sizeof *m);
    else
        m->dtype = dtype;
    return m;
}

static int read_config(struct woq_gen_model *m, struct woq_error *err)
{
    struct woq_json *json = NULL;
    int rc = woq_json_parse(&json, m->config, strlen(m->config), err);

    if (rc == WOQ_OK)
        rc = woq_config_init(&m->c, json, err);
    woq_json_free(json);
    begin(m);
    return rc;
}

int woq_gen_model_open_config(struct woq_gen_model **out, const char *config, enum woq_dtype dtype,
                              uint64_t seed, struct woq_error *err)
{
    struct woq_gen_model *m = new_model(dtype, err);
    int rc;

    if (!m)
        return WOQ_ENOMEM;
    m->v[SEED] = seed;
    m->config = strdup(config);
    if ((rc = m->config ? read_config(m, err) : woq_fail_nomem(err, strlen(config))) < 0) {
        woq_gen_model_close(m);
        return rc;
    }
    *out = m;
    return WOQ_OK;
}

int woq_gen_model_open(struct woq_gen_model **out, const char *text, struct woq_error *err)
{
    struct woq_gen_model *m = new_model(WOQ_F16, err);
    int rc = WOQ_OK;

    if (!m)
        return WOQ_ENOMEM;
    m->v[HIDDEN] = 64;
    m->v[LAYERS] = 2;
    m->v[HEADS] = 4;
    m->v[VOCAB] = 256;
    m->v[SEED] = 1;
    m->v[CTX] = 2048;
    while (*text && rc == WOQ_OK) {
        const size_t n = strcspn(text, ",");
        rc = set_key(m, text, n, err);
        text += n + (text[n] == ',');
    }
    if (rc == WOQ_OK)
        rc = check_shape(m, err);
    if (rc == WOQ_OK)
        rc = make_config(m, err);
    if (rc == WOQ_OK)
        rc = read_config(m, err);
    if (rc < 0) {
        woq_gen_model_close(m);
        return rc;
    }
    *out = m;
    return WOQ_OK;
}

void woq_gen_model_close(struct woq_gen_model *m)
{
    if (!m)
        return;
    woq_frame_release(&m->frame);
    free(m->config);
    free(m);
}

void woq_gen_model_total(const struct woq_gen_model *m, uint64_t *frames, uint64_t *bytes)
{
    struct woq_place p = { 0 };

    *frames = 1 + 2 * m->c.n_layers;
    *bytes = strlen(m->config);
    while (woq_config_next(&m->c, &p)) {
        uint64_t shape[2]; /* at most 2^24 * 2^24 * 4 each */
        unsigned n_dims;

        woq_config_shape(&m->c, &p, &n_dims, shape);
        ++*frames;
        *bytes += shape[0] * shape[1] * woq_dtype_bytes(m->dtype);
    }
}

/* FNV-1a: a tensor's numbers depend on its name, not on its place. */
static uint64_t name_hash(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;

    while (*name)
        h = (h ^ (unsigned char)*name++) * 0x100000001b3u;
    return h;
}

/* A matrix: bell-shaped with standard deviation 1/sqrt(cols), so that activations keep their size;
 * a norm: 1 +- 0.05, of Gemma, which adds the 1, +- 0.05; other vectors: +- 0.1. */
static int make_tensor(struct woq_gen_model *m, struct woq_error *err)
{
    const bool norm = woq_role_is_norm(m->place.role) && !m->place.bias;
    struct woq_frame *f = &m->frame;
    double std, center = norm && m->c.norm != WOQ_NORM_RMS_1P ? 1 : 0;
    uint64_t shape[2], seed;
    size_t n_elem, bytes;
    unsigned n_dims;
    char name[256];
    void *data;
    int rc = woq_config_name(&m->c, &m->place, name, sizeof name);

    if (rc < 0)
        WOQ_BUG("a tensor without a name");
    woq_config_shape(&m->c, &m->place, &n_dims, shape);
    std = norm ? 0.05 : n_dims == 1 ? 0.1 : 1.0 / sqrt((double)shape[1]);
    if (!woq_mul_size(shape[0], shape[1], &n_elem) ||
        !woq_mul_size(n_elem, woq_dtype_bytes(m->dtype), &bytes))
        return woq_fail(err, WOQ_EUSAGE, NULL, "%s is too large", name);
    seed = woq_gen_sequence(m->v[SEED] ^ name_hash(name));
    woq_frame_begin(f, "TENS");
    if ((rc = woq_tensor_meta(f, m->c.arch, name, err)) < 0 ||
        (rc = woq_frame_alloc(f, "data", m->dtype, n_dims, shape, &data, err)) < 0)
        return rc;
    woq_gen_bell(data, m->dtype, n_elem, seed, std / WOQ_GEN_BELL_STD, center);
    return WOQ_OK;
}

static void make_marker(struct woq_gen_model *m, const char *type)
{
    woq_frame_begin(&m->frame, type);
    woq_json_set_num(woq_frame_edit(&m->frame), "block", (double)m->block);
}

/* After a tensor: another of the same part, or the end of a block, or the next block. */
static void advance(struct woq_gen_model *m)
{
    const bool more = woq_config_next(&m->c, &m->place);

    if (more && m->place.block == m->block)
        m->next = TENSOR;
    else
        m->next = m->block >= 0 ? END : !more ? DONE : m->place.block >= 0 ? BEGIN : TENSOR;
    if (!more)
        m->place.block = -2;
}

int woq_gen_model_next(struct woq_gen_model *m, struct woq_frame **f, struct woq_error *err)
{
    const uint64_t bytes = strlen(m->config);
    int rc = WOQ_OK;

    *f = &m->frame;
    switch (m->next) {
    case MODL:
        woq_modl_begin(&m->frame);
        rc = woq_frame_add(&m->frame, "config.json", WOQ_U8, 1, &bytes, m->config, err);
        m->next = TENSOR;
        break;
    case BEGIN:
        m->block = m->place.block;
        make_marker(m, "BLKB");
        m->next = TENSOR;
        break;
    case TENSOR:
        rc = make_tensor(m, err);
        advance(m);
        break;
    case END:
        make_marker(m, "BLKE");
        m->block = -1;
        m->next = m->place.block >= 0 ? BEGIN : m->place.block == -2 ? DONE : TENSOR;
        break;
    default:
        return WOQ_OK;
    }
    return rc < 0 ? rc : WOQ_ITEM;
}
