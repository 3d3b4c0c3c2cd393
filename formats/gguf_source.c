/* gguf_source.c -- a source over a GGUF file: HF names, HF row order, block types as f32.
 *
 * The rope of GGUF's llama pairs neighbouring rows, so the rows of q and k are permuted within each
 * head there (formats.md 3.5): file row h*hd + 2j + t is HF row h*hd + t*(hd/2) + j. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/threads.h>

#include "gguf_config.h"
#include "gguf_split.h"
#include "gguf_tokenizer.h"
#include "source.h"

struct place {
    const struct woq_gguf_tensor *t;
    size_t head_rows; /* rows of a head to un-permute, 0 = as they are */
};

struct state {
    struct woq_gguf g;
    struct woq_config c;
    struct place *places; /* of the items */
    struct woq_buf out, raw;
    size_t last;
};

struct job {
    const struct woq_ggml_type *type;
    const uint8_t *src;
    uint8_t *dst;
    size_t n_rows, row_elems, src_row, dst_row, head_rows, rows_per_item;
};

/* Row of the file that is row r of the stream. */
static size_t file_row(const struct job *j, size_t r)
{
    const size_t half = j->head_rows / 2, i = half ? r % j->head_rows : 0;

    return half ? r - i + 2 * (i % half) + i / half : r;
}

static void decode_rows(void *ctx, size_t item, int thread)
{
    const struct job *j = ctx;
    const size_t row0 = item * j->rows_per_item, left = j->n_rows - row0;
    const size_t row1 = row0 + (left < j->rows_per_item ? left : j->rows_per_item);

    (void)thread;
    for (size_t r = row0; r < row1; r++) {
        const size_t from = file_row(j, r);

        if (j->type->decode)
            j->type->decode((float *)(void *)(j->dst + r * j->dst_row), j->src + from * j->src_row,
                            j->row_elems / j->type->block_elems);
        else
            memcpy(j->dst + r * j->dst_row, j->src + from * j->src_row, j->src_row);
    }
}

/* Rows of a tensor: a vector (bias of q, k) is a column of rows where it has to be permuted. */
static void job_init(struct job *j, const struct woq_gguf_tensor *t, size_t head_rows)
{
    const bool column = t->n_dims < 2 && head_rows;
    uint64_t n_rows = column ? t->shape[0] : 1;

    for (unsigned i = 0; i + 1 < t->n_dims; i++)
        n_rows *= t->shape[i];
    j->type = t->type;
    j->src = t->data;
    j->head_rows = head_rows;
    j->n_rows = (size_t)n_rows;
    j->row_elems = column || !t->n_dims ? 1 : (size_t)t->shape[t->n_dims - 1];
    j->src_row = n_rows ? t->bytes / (size_t)n_rows : 0;
    j->dst_row = t->type->decode ? j->row_elems * sizeof(float) : j->src_row;
    j->rows_per_item = 1 + 65536 / j->row_elems;
}

/* The blocks as they lie in the file, rows in the order of the stream: whoever writes the same type
 * again takes them. */
static int add_raw(struct state *state, struct woq_frame *f, const struct woq_gguf_tensor *t,
                   const struct job *j, struct woq_error *err)
{
    const uint64_t shape[2] = { j->n_rows, j->src_row };
    uint8_t *raw;

    woq_json_set_str(woq_frame_edit(f), "raw_format", t->type->name);
    if (!j->head_rows)
        return woq_frame_add_lent(f, "raw", WOQ_U8, 2, shape, t->data, err);
    if (!(raw = woq_buf_need(&state->raw, t->bytes, err)))
        return WOQ_ENOMEM;
    for (size_t r = 0; r < j->n_rows; r++)
        memcpy(raw + r * j->src_row, j->src + file_row(j, r) * j->src_row, j->src_row);
    return woq_frame_add(f, "raw", WOQ_U8, 2, shape, raw, err);
}

static int load(struct woq_source *s, size_t item, struct woq_frame *f, struct woq_error *err)
{
    struct state *state = s->priv;
    const struct place *p = &state->places[item];
    const struct woq_gguf_tensor *t = p->t;
    const void *data = t->data;
    struct job j;
    size_t bytes;
    int rc;

    if (state->last != SIZE_MAX)
        woq_source_done(s, state->places[state->last].t->data, state->places[state->last].t->bytes);
    state->last = item;
    woq_source_ahead(s, t->data, t->bytes);
    if (s->items[item].dtype == WOQ_NO_DTYPE)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "tensor '%s' has type %s, which woq can't decode", t->name, t->type->name);
    if (t->type->decode || p->head_rows) {
        job_init(&j, t, p->head_rows);
        if (!woq_mul_size(j.n_rows, j.dst_row, &bytes))
            return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' is too large", t->name);
        if (!(data = j.dst = woq_buf_need(&state->out, bytes, err)))
            return WOQ_ENOMEM;
        woq_parallel((j.n_rows + j.rows_per_item - 1) / j.rows_per_item, decode_rows, &j);
    }
    woq_frame_begin(f, "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", s->items[item].name);
    woq_json_set_str(woq_frame_edit(f), "source", t->type->name);
    if (data == t->data)
        return woq_frame_add_lent(f, "data", s->items[item].dtype, t->n_dims, t->shape, data, err);
    rc = woq_frame_add(f, "data", s->items[item].dtype, t->n_dims, t->shape, data, err);
    return rc == WOQ_OK && t->type->decode ? add_raw(state, f, t, &j, err) : rc;
}

static void close_state(struct woq_source *s)
{
    struct state *state = s->priv;

    woq_gguf_release(&state->g);
    woq_buf_release(&state->out);
    woq_buf_release(&state->raw);
    free(state->places);
    free(state);
    s->priv = NULL;
}

/* Size of a head where rows have to be un-permuted; checked, since the rows follow from it. */
static int head_rows(const struct woq_arch *a, const struct woq_json *config, enum woq_role role,
                     const struct woq_gguf_tensor *t, size_t *rows, struct woq_error *err)
{
    *rows = 0;
    if (!a->gguf_permuted || (role != WOQ_ROLE_Q && role != WOQ_ROLE_K))
        return WOQ_OK;
    const int64_t dim = woq_json_get_int(config, "head_dim", 0);
    if (dim < 2 || dim % 2 || !t->n_dims || t->shape[0] % (uint64_t)dim)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tensor '%s': %" PRIu64 " rows are no multiple of an even head size "
                        "(%" PRId64 ")",
                        t->name, t->n_dims ? t->shape[0] : 0, dim);
    if (t->n_dims < 2 && t->type->decode)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' is a %s vector, want a float type",
                        t->name, t->type->name);
    *rows = (size_t)dim;
    return WOQ_OK;
}

static int add_item(struct woq_source *s, const struct woq_arch *a, const struct woq_gguf_tensor *t,
                    struct woq_error *err)
{
    struct state *state = s->priv;
    struct woq_item *item;
    struct woq_place p;
    char name[256];
    int rc;

    if (strcmp(t->name, "rope_freqs.weight") == 0)
        return WOQ_OK; /* in config.json as rope_scaling */
    if (!woq_arch_gguf_place(a, t->name, &p) ||
        woq_config_name(&state->c, &p, name, sizeof name) < 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "tensor '%s' has no place in architecture %s",
                        t->name, a->gguf_arch);
    if ((rc = head_rows(a, s->config, p.role, t, &state->places[s->n_items].head_rows, err)) < 0)
        return rc;
    state->places[s->n_items].t = t;
    if (!(item = woq_source_add(s, name, err)))
        return WOQ_ENOMEM;
    item->dtype = t->type->decode ? WOQ_F32 : t->type->dtype;
    item->n_dims = t->n_dims;
    memcpy(item->shape, t->shape, sizeof t->shape);
    snprintf(item->stored, sizeof item->stored, "%s", t->type->name);
    item->file_bytes = t->bytes;
    if (t->type->decode)
        item->stream_bytes = t->bytes / t->type->block_bytes * t->type->block_elems * 4 + t->bytes;
    return WOQ_OK;
}

static int add_json(struct woq_source *s, const char *name, const struct woq_json *value,
                    struct woq_error *err)
{
    char *text = woq_json_print(value, true);

    if (!text)
        return woq_fail_nomem(err, 1);
    return woq_source_add_side(s, name, text, strlen(text), err);
}

/* A vocabulary that is not known is no reason to refuse the weights. */
static int add_tokenizer(struct woq_source *s, const struct woq_gguf *g, struct woq_error *err)
{
    struct woq_str text = { 0 }, config = { 0 };
    struct woq_error why = { 0 };
    const char *name = NULL;
    int rc = woq_gguf_tokenizer(g, &name, &text, &config, &why);

    if (rc == WOQ_EUNSUPPORTED) {
        s->no_tokenizer = why;
        rc = WOQ_OK;
    } else if (rc < 0) {
        woq_fail(err, rc, why.hint[0] ? why.hint : NULL, "%s", why.what);
    } else if ((rc = woq_source_add_side(s, name, text.s, text.len, err)) == WOQ_OK) {
        rc = woq_source_add_side(s, "tokenizer_config.json", config.s, config.len, err);
        return rc; /* both texts changed hands */
    } else {
        text.s = NULL;
    }
    woq_str_release(&text);
    woq_str_release(&config);
    return rc;
}

static int init_items(struct woq_source *s, struct woq_error *err)
{
    struct state *state = s->priv;
    struct woq_json *generation = NULL;
    const struct woq_arch *a;
    int rc;

    state->places = calloc(state->g.n_tensors + 1, sizeof *state->places);
    if (!state->places)
        return woq_fail_nomem(err, state->g.n_tensors * sizeof *state->places);
    if ((rc = woq_gguf_config(&state->g, &a, &s->config, &generation, err)) == WOQ_OK &&
        (rc = add_json(s, "config.json", s->config, err)) == WOQ_OK)
        rc = add_json(s, "generation_config.json", generation, err);
    woq_json_free(generation);
    if (rc == WOQ_OK)
        rc = woq_config_init(&state->c, s->config, err);
    if (rc == WOQ_OK)
        rc = add_tokenizer(s, &state->g, err);
    for (size_t i = 0; rc == WOQ_OK && i < state->g.n_tensors; i++)
        rc = add_item(s, a, &state->g.tensors[i], err);
    return rc;
}

int woq_gguf_source_init(struct woq_source *s, const void *data, size_t bytes,
                         struct woq_error *err)
{
    struct state *state = calloc(1, sizeof *state);
    int rc;

    if (!state)
        return woq_fail_nomem(err, sizeof *state);
    state->last = SIZE_MAX;
    s->format = "gguf";
    s->priv = state;
    s->close = close_state;
    s->load = load;
    if ((rc = woq_gguf_parse(&state->g, data, bytes, err)) < 0 ||
        (rc = woq_gguf_add_parts(&state->g, s->mapped ? s->path : NULL, err)) < 0)
        return rc;
    return init_items(s, err);
}
