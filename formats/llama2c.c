/* llama2c.c -- a source over llama2.c checkpoints, versions 0 (legacy), 1 (f32) and 2 (Q8_0):
 * formats.md 7 (karpathy/llama2.c, export.py, run.c). A header of seven numbers says all; the rest
 * is arrays in a fixed order, so the file must have exactly the size that follows from it. A
 * tokenizer.bin beside it travels on as tokenizer.model. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <woq/arch.h>
#include <woq/threads.h>

#include "llama2c_vocab.h"
#include "source.h"

#define MAGIC 0x616b3432u

struct header {
    int version;
    size_t start; /* where the arrays begin */
    size_t dim, hidden, n_layers, n_heads, n_kv_heads, vocab, seq_len;
    size_t group; /* version 2: elements per scale */
    bool shared;  /* head = embedding */
};

struct place {
    const uint8_t *data;
    size_t n_rows, n_cols;
    size_t head_rows; /* rows of a head to un-permute, 0 = as they are */
    size_t bytes;     /* in the file */
    bool q8;
};

struct state {
    struct header h;
    const struct woq_arch *arch;
    struct place *places;
    size_t last;
    struct woq_buf out;
};

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Sizes below 2^24 keep every product of three of them inside 64 bits. */
static int take_size(size_t *out, const uint8_t *p, const char *what, struct woq_error *err)
{
    const uint32_t x = u32(p);

    if (x == 0 || x > 1u << 24) {
        woq_fail(err, WOQ_EDATA, NULL, "llama2.c header: %s %" PRIu32 ", want 1 to 2^24", what, x);
        return WOQ_EDATA;
    }
    *out = x;
    return WOQ_OK;
}

static int take_version(struct header *h, const uint8_t *p, size_t bytes, struct woq_error *err)
{
    if (bytes < 28)
        return woq_fail(err, WOQ_ETRUNC, NULL, "truncated: %zu bytes of a llama2.c header", bytes);
    h->start = 28;
    if (u32(p) != MAGIC)
        return WOQ_OK;
    h->version = (int)u32(p + 4);
    h->start = 256;
    if (h->version != 1 && h->version != 2)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "llama2.c version %d, want 0, 1 or 2",
                        h->version);
    if (bytes < 256)
        return woq_fail(err, WOQ_ETRUNC, NULL, "truncated: %zu of 256 bytes of header", bytes);
    h->shared = p[36] != 0;
    return h->version == 2 ? take_size(&h->group, p + 37, "group_size", err) : WOQ_OK;
}

static int take_header(struct header *h, const uint8_t *p, size_t bytes, struct woq_error *err)
{
    uint8_t vocab[4];
    int rc = take_version(h, p, bytes, err);

    if (rc < 0)
        return rc;
    p += h->version ? 8 : 0;
    memcpy(vocab, p + 20, 4);
    if (h->version == 0) {
        /* A negative vocabulary means a head of its own. */
        const uint32_t v = u32(vocab);

        h->shared = !(v & 0x80000000u);
        if (!h->shared)
            for (int i = 0; i < 4; i++)
                vocab[i] = (uint8_t)((0u - v) >> (8 * i));
    }
    if ((rc = take_size(&h->dim, p, "dim", err)) < 0 ||
        (rc = take_size(&h->hidden, p + 4, "hidden_dim", err)) < 0 ||
        (rc = take_size(&h->n_layers, p + 8, "n_layers", err)) < 0 ||
        (rc = take_size(&h->n_heads, p + 12, "n_heads", err)) < 0 ||
        (rc = take_size(&h->n_kv_heads, p + 16, "n_kv_heads", err)) < 0 ||
        (rc = take_size(&h->vocab, vocab, "vocab_size", err)) < 0 ||
        (rc = take_size(&h->seq_len, p + 24, "seq_len", err)) < 0)
        return rc;
    if (h->dim % h->n_heads || h->dim / h->n_heads % 2 || h->n_heads % h->n_kv_heads)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "llama2.c header: dim %zu, %zu heads, %zu kv heads do not divide", h->dim,
                        h->n_heads, h->n_kv_heads);
    return WOQ_OK;
}

struct part {
    enum woq_role role;
    bool per_block, q8;
    size_t n_rows, n_cols; /* n_rows 0: a vector */
};
#define N_PARTS 13

/* The arrays in file order; role NONE = the rope tables of version 0, which readers skip. */
static size_t list_parts(const struct header *h, struct part parts[N_PARTS])
{
    const size_t head = h->dim / h->n_heads, kv = h->n_kv_heads * head;
    const bool q8 = h->version == 2;
    /* clang-format off */
    const struct part norms[3] = { { WOQ_ROLE_ATTN_NORM, true, false, 0, h->dim },
                                   { WOQ_ROLE_MLP_NORM, true, false, 0, h->dim },
                                   { WOQ_ROLE_FINAL_NORM, false, false, 0, h->dim } };
    const struct part embed = { WOQ_ROLE_EMBED, false, q8, h->vocab, h->dim };
    const struct part attn[4] = { { WOQ_ROLE_Q, true, q8, h->dim, h->dim },
                                  { WOQ_ROLE_K, true, q8, kv, h->dim },
                                  { WOQ_ROLE_V, true, q8, kv, h->dim },
                                  { WOQ_ROLE_O, true, q8, h->dim, h->dim } };
    const struct part mlp[3] = { { WOQ_ROLE_GATE, true, q8, h->hidden, h->dim },
                                 { WOQ_ROLE_DOWN, true, q8, h->dim, h->hidden },
                                 { WOQ_ROLE_UP, true, q8, h->hidden, h->dim } };
    const struct part rope = { WOQ_ROLE_NONE, false, false, 2 * h->seq_len, head / 2 };
    const struct part classifier = { WOQ_ROLE_HEAD, false, q8, h->vocab, h->dim };
    /* clang-format on */
    size_t n = 0;

    if (h->version) {
        memcpy(parts, norms, sizeof norms);
        n = 3;
    }
    parts[n++] = embed;
    if (!h->version)
        parts[n++] = norms[0];
    memcpy(parts + n, attn, sizeof attn);
    n += 4;
    if (!h->version)
        parts[n++] = norms[1];
    memcpy(parts + n, mlp, sizeof mlp);
    n += 3;
    if (!h->version) {
        parts[n++] = norms[2];
        parts[n++] = rope;
    }
    if (!h->shared)
        parts[n++] = classifier;
    return n;
}

static int part_bytes(const struct header *h, const struct part *part, size_t *bytes,
                      struct woq_error *err)
{
    size_t n;
    bool ok = woq_mul_size(part->n_rows ? part->n_rows : 1, part->n_cols, &n);

    if (ok && part->q8 && h->group) {
        if (n % h->group) {
            woq_fail(err, WOQ_EDATA, NULL,
                     "llama2.c header: group_size %zu does not divide a matrix of %zu", h->group,
                     n);
            return WOQ_EDATA;
        }
        ok = woq_mul_size(n / h->group, 4, bytes) && woq_add_size(*bytes, n, bytes);
    } else {
        ok = ok && woq_mul_size(n, 4, bytes);
    }
    if (ok)
        return WOQ_OK;
    woq_fail(err, WOQ_EDATA, NULL, "llama2.c header: sizes overflow");
    return WOQ_EDATA;
}

/* The file's size must be exactly what the header says; checked before anything is allocated. */
static int check_size(const struct header *h, const struct part *parts, size_t n_parts,
                      size_t bytes, struct woq_error *err)
{
    size_t want = h->start, one;
    int rc;

    for (size_t i = 0; i < n_parts; i++) {
        if ((rc = part_bytes(h, &parts[i], &one, err)) < 0)
            return rc;
        if (!woq_mul_size(one, parts[i].per_block ? h->n_layers : 1, &one) ||
            !woq_add_size(want, one, &want))
            return woq_fail(err, WOQ_EDATA, NULL, "llama2.c header: sizes overflow");
    }
    if (want != bytes)
        return woq_fail(err, bytes < want ? WOQ_ETRUNC : WOQ_EDATA,
                        "is this a llama2.c checkpoint, and whole?",
                        "%s%zu bytes, the llama2.c header (version %d) asks for %zu",
                        bytes < want ? "truncated: " : "", bytes, h->version, want);
    return WOQ_OK;
}

static int add_item(struct woq_source *s, const struct part *part, size_t block,
                    const uint8_t *data, size_t bytes, struct woq_error *err)
{
    struct state *state = s->priv;
    struct place *p = &state->places[s->n_items];
    struct woq_item *item;
    char name[256];

    const struct woq_config c = { .arch = state->arch };
    const struct woq_place at = { .role = part->role, .block = (long)block };

    if (woq_config_name(&c, &at, name, sizeof name) < 0)
        WOQ_BUG("the llama row has no name for a role");
    *p = (struct place){ data, part->n_rows ? part->n_rows : 1, part->n_cols, 0, bytes, part->q8 };
    if (part->role == WOQ_ROLE_Q || part->role == WOQ_ROLE_K)
        p->head_rows = state->h.dim / state->h.n_heads;
    if (!(item = woq_source_add(s, name, err)))
        return WOQ_ENOMEM;
    item->dtype = WOQ_F32;
    item->n_dims = part->n_rows ? 2 : 1;
    item->shape[0] = part->n_rows ? part->n_rows : part->n_cols;
    item->shape[1] = part->n_rows ? part->n_cols : 0;
    snprintf(item->stored, sizeof item->stored, "%s", part->q8 ? "Q8" : "F32");
    item->file_bytes = bytes;
    return WOQ_OK;
}

static int add_items(struct woq_source *s, const struct part *parts, size_t n_parts,
                     const uint8_t *data, struct woq_error *err)
{
    struct state *state = s->priv;
    size_t bytes;
    int rc;

    state->places = calloc(N_PARTS * state->h.n_layers, sizeof *state->places);
    if (!state->places)
        return woq_fail_nomem(err, N_PARTS * state->h.n_layers * sizeof *state->places);
    data += state->h.start;
    for (size_t i = 0; i < n_parts; i++) {
        if ((rc = part_bytes(&state->h, &parts[i], &bytes, err)) < 0)
            return rc;
        for (size_t b = 0; b < (parts[i].per_block ? state->h.n_layers : 1); b++, data += bytes)
            if (parts[i].role != WOQ_ROLE_NONE &&
                (rc = add_item(s, &parts[i], b, data, bytes, err)) < 0)
                return rc;
    }
    return WOQ_OK;
}

static int make_config(struct woq_source *s, struct woq_error *err)
{
    const struct state *state = s->priv;
    const struct header *h = &state->h;
    const size_t head_dim = h->dim / h->n_heads;
    struct woq_json *c = s->config = woq_json_object(), *classes = woq_json_array();

    woq_json_push(classes, woq_json_of_str(state->arch->architectures[0]));
    woq_json_set(c, "architectures", classes);
    woq_json_set_str(c, "model_type", state->arch->model_type);
    woq_json_set_num(c, "hidden_size", (double)h->dim);
    woq_json_set_num(c, "intermediate_size", (double)h->hidden);
    woq_json_set_num(c, "num_hidden_layers", (double)h->n_layers);
    woq_json_set_num(c, "num_attention_heads", (double)h->n_heads);
    woq_json_set_num(c, "num_key_value_heads", (double)h->n_kv_heads);
    woq_json_set_num(c, "head_dim", (double)head_dim);
    woq_json_set_num(c, "max_position_embeddings", (double)h->seq_len);
    woq_json_set_num(c, "vocab_size", (double)h->vocab);
    woq_json_set_num(c, "rms_norm_eps", 1e-5); /* run.c: fixed, as is theta */
    woq_json_set_num(c, "rope_theta", 10000);
    woq_json_set_str(c, "hidden_act", "silu");
    woq_json_set_bool(c, "tie_word_embeddings", h->shared);
    woq_json_set_num(c, "bos_token_id", 1);
    woq_json_set_num(c, "eos_token_id", 2);
    woq_json_set_str(c, "torch_dtype", "float32");
    char *text = c ? woq_json_print(c, true) : NULL;
    if (!text)
        return woq_fail_nomem(err, 1);
    return woq_source_add_side(s, "config.json", text, strlen(text), err);
}

struct job {
    const struct place *p;
    size_t group;
    float *dst;
};

/* One HF row; values of version 2 come first, then the scales of the whole matrix. */
static void decode_row(void *ctx, size_t row, int thread)
{
    const struct job *j = ctx;
    const struct place *p = j->p;
    float *y = j->dst + row * p->n_cols;
    size_t from = row;

    (void)thread;
    if (p->head_rows) {
        const size_t half = p->head_rows / 2, i = row % p->head_rows;

        from = row - i + 2 * (i % half) + i / half;
    }
    if (!p->q8) {
        memcpy(y, p->data + from * p->n_cols * 4, p->n_cols * 4);
        return;
    }
    const uint8_t *scales = p->data + p->n_rows * p->n_cols;
    for (size_t c = 0; c < p->n_cols; c++) {
        const size_t at = from * p->n_cols + c;
        float scale;

        memcpy(&scale, scales + at / j->group * 4, 4);
        y[c] = (float)(int8_t)p->data[at] * scale;
    }
}

static int load(struct woq_source *s, size_t item, struct woq_frame *f, struct woq_error *err)
{
    struct state *state = s->priv;
    const struct place *p = &state->places[item];
    const void *data = p->data;

    if (state->last != SIZE_MAX)
        woq_source_done(s, state->places[state->last].data, state->places[state->last].bytes);
    state->last = item;
    woq_source_ahead(s, p->data, p->bytes);
    if (p->q8 || p->head_rows) {
        struct job j = { p, state->h.group, NULL };

        if (!(data = j.dst = woq_buf_need(&state->out, p->n_rows * p->n_cols * 4, err)))
            return WOQ_ENOMEM;
        woq_parallel(p->n_rows, decode_row, &j);
    }
    woq_frame_begin(f, "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", s->items[item].name);
    if (p->q8)
        woq_json_set_str(woq_frame_edit(f), "source", "Q8");
    return woq_frame_add(f, "data", WOQ_F32, s->items[item].n_dims, s->items[item].shape, data,
                         err);
}

static void close_state(struct woq_source *s)
{
    struct state *state = s->priv;

    woq_buf_release(&state->out);
    free(state->places);
    free(state);
    s->priv = NULL;
}

/* tokenizer.bin of the same folder, if there is one, as a SentencePiece model. */
static int add_tokenizer(struct woq_source *s, struct woq_error *err)
{
    static const char config[] = "{\"tokenizer_class\":\"LlamaTokenizer\",\"legacy\":true}\n";
    const char *slash = s->path ? strrchr(s->path, '/') : NULL;
    const int dir = slash ? (int)(slash - s->path) + 1 : 0;
    struct woq_str path = { 0 }, model = { 0 };
    char *data = NULL;
    size_t bytes = 0;
    int rc = WOQ_OK;

    if (!s->path)
        return WOQ_OK;
    if (woq_str_addf(&path, "%.*stokenizer.bin", dir, s->path) < 0)
        return woq_fail_nomem(err, strlen(s->path));
    if (access(path.s, F_OK) == 0 &&
        (rc = woq_file_read(path.s, 0, &data, &bytes, err)) == WOQ_OK &&
        (rc = woq_llama2c_vocab(&model, data, bytes, err)) == WOQ_OK) {
        char *text = strdup(config);

        rc = woq_source_add_side(s, "tokenizer.model", model.s, model.len, err);
        model = (struct woq_str){ 0 }; /* it changed hands */
        if (rc < 0)
            free(text);
        else
            rc = text ? woq_source_add_side(s, "tokenizer_config.json", text, strlen(text), err)
                      : woq_fail_nomem(err, sizeof(config));
    }
    woq_str_release(&model);
    woq_str_release(&path);
    free(data);
    return rc;
}

int woq_llama2c_source_init(struct woq_source *s, const void *data, size_t bytes,
                            struct woq_error *err)
{
    struct state *state = calloc(1, sizeof *state);
    struct part parts[N_PARTS];
    int rc;

    if (!state)
        return woq_fail_nomem(err, sizeof *state);
    state->last = SIZE_MAX;
    s->format = "llama2c";
    s->priv = state;
    s->close = close_state;
    s->load = load;
    state->arch = woq_arch_by_type("llama");
    if ((rc = take_header(&state->h, data, bytes, err)) < 0)
        return rc;
    const size_t n_parts = list_parts(&state->h, parts);
    if ((rc = check_size(&state->h, parts, n_parts, bytes, err)) < 0 ||
        (rc = make_config(s, err)) < 0 || (rc = add_tokenizer(s, err)) < 0)
        return rc;
    return add_items(s, parts, n_parts, data, err);
}
