/* gguf_source.c -- a source over a GGUF file: HF names, HF row order, block types as f32.
 *
 * Items are the tensors that config.json asks for; gguf_layout.h tells of which parts each is made.
 * Rows that lie as they do in HF files are handed on from the mapping. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/threads.h>

#include "gguf_config.h"
#include "gguf_layout.h"
#include "gguf_rope.h"
#include "gguf_split.h"
#include "gguf_tokenizer.h"
#include "source.h"

/* An item: what it is, and the tensors of its parts. Small, since experts are many. */
struct place {
    struct woq_place p;
    const struct woq_gguf_tensor *tensors[WOQ_GGUF_PARTS];
    size_t n_parts;
    bool moves;    /* rows are not those of the one part */
    bool one_type; /* of all parts, none transposed: blocks can be kept */
    bool less_one; /* norms of Gemma, which HF files have less 1 */
};

struct state {
    struct woq_gguf g;
    struct woq_config c;
    unsigned forms;       /* of the file: enum woq_gguf_form */
    struct place *places; /* of the items */
    size_t cap_places;
    struct woq_buf out, raw;
    size_t last;
};

/* --- rows of an item --- */

struct job {
    const struct woq_config *c;
    unsigned forms;
    const struct place *place;
    struct woq_gguf_part parts[WOQ_GGUF_PARTS]; /* of the place */
    uint8_t *dst;
    size_t n_rows, n_cols, dst_row, rows_per_item;
    bool as_f32;
};

static size_t row_bytes(const struct woq_gguf_part *part, const struct woq_gguf_tensor *t)
{
    size_t bytes = 0;

    (void)woq_ggml_row_bytes(t->type, part->n_heads ? part->ne[0] : part->n_cols, &bytes);
    return bytes;
}

/* Our rows of a part. */
static const uint8_t *part_data(const struct woq_gguf_part *part, const struct woq_gguf_tensor *t)
{
    return t->data + part->row0 * row_bytes(part, t);
}

static size_t part_bytes(const struct woq_gguf_part *part, const struct woq_gguf_tensor *t)
{
    return (part->n_heads ? part->n_heads * part->n_cols : part->n_rows) * row_bytes(part, t);
}

static void decode_row(float *dst, const struct woq_gguf_tensor *t, const uint8_t *src, size_t n)
{
    if (t->type->decode) {
        t->type->decode(dst, src, n / t->type->block_elems);
    } else {
        float x;

        for (size_t i = 0, width = woq_dtype_bytes(t->type->dtype); i < n; i++) {
            uint64_t raw = 0; /* a file aligns its data to nothing */

            memcpy(&raw, src + i * width, width);
            woq_to_f32(&x, &raw, t->type->dtype, 1);
            dst[i] = x;
        }
    }
}

static void fill_row(const struct job *j, size_t r)
{
    size_t k, to;
    uint8_t *dst = j->dst + r * j->dst_row;

    woq_gguf_row(j->c, j->forms, &j->place->p, r, &k, &to);
    const struct woq_gguf_part *part = &j->parts[k];
    const struct woq_gguf_tensor *t = j->place->tensors[k];
    const size_t bytes = row_bytes(part, t);
    const uint8_t *src = part_data(part, t) + to * bytes;

    if (!j->as_f32)
        memcpy(dst, src, bytes);
    else
        decode_row((float *)(void *)dst, t, src, j->n_cols);
    for (size_t i = 0; j->place->less_one && i < j->n_cols; i++)
        ((float *)(void *)dst)[i] -= 1;
}

static void fill_rows(void *ctx, size_t item, int thread)
{
    const struct job *j = ctx;
    const size_t row0 = item * j->rows_per_item, left = j->n_rows - row0;
    const size_t row1 = row0 + (left < j->rows_per_item ? left : j->rows_per_item);

    (void)thread;
    for (size_t r = row0; r < row1; r++)
        fill_row(j, r);
}

/* A head's rows and columns of a transposed part: its rows are the columns of ours. */
static int fill_transposed(struct state *state, const struct job *j, size_t k,
                           struct woq_error *err)
{
    const struct woq_gguf_part *part = &j->parts[k];
    const struct woq_gguf_tensor *t = j->place->tensors[k];
    const size_t per_head = part->n_rows / part->n_heads, bytes = row_bytes(part, t);
    float *x = woq_buf_need(&state->raw, per_head * sizeof *x, err);
    size_t of, to;

    if (!x)
        return WOQ_ENOMEM;
    for (size_t i = 0; i < part->n_heads * part->n_cols; i++) {
        const size_t head = i / part->n_cols, col = i % part->n_cols;

        decode_row(x, t, t->data + i * bytes, per_head);
        for (size_t r = 0, row = head * (j->n_rows / part->n_heads); r < per_head; row++) {
            woq_gguf_row(j->c, j->forms, &j->place->p, row, &of, &to);
            if (of == k)
                ((float *)(void *)(j->dst + row * j->dst_row))[col] = x[r++];
        }
    }
    return WOQ_OK;
}

static int fill_item(struct state *state, const struct job *j, struct woq_error *err)
{
    struct job rows = *j;
    int rc = WOQ_OK;

    if (j->parts[0].n_heads)
        for (size_t r = 0; r < j->n_rows; r++) {
            size_t k, to;

            woq_gguf_row(j->c, j->forms, &j->place->p, r, &k, &to);
            if (!j->parts[k].n_heads)
                fill_row(&rows, r);
        }
    else
        woq_parallel((j->n_rows + j->rows_per_item - 1) / j->rows_per_item, fill_rows, &rows);
    for (size_t k = 0; k < j->place->n_parts && rc == WOQ_OK; k++)
        if (j->parts[k].n_heads)
            rc = fill_transposed(state, j, k, err);
    return rc;
}

/* The blocks as they lie in the file, rows in the order of the stream: whoever writes the same type
 * again takes them. */
static int add_raw(struct state *state, struct woq_frame *f, const struct job *j,
                   struct woq_error *err)
{
    const struct place *p = j->place;
    const struct woq_gguf_tensor *t = p->tensors[0];
    const uint64_t shape[2] = { j->n_rows, row_bytes(&j->parts[0], t) };
    struct job raw = *j;
    size_t bytes;

    woq_json_set_str(woq_frame_edit(f), "raw_format", t->type->name);
    if (!p->moves)
        return woq_frame_add_lent(f, "raw", WOQ_U8, 2, shape, part_data(&j->parts[0], t), err);
    raw.as_f32 = false;
    raw.dst_row = (size_t)shape[1];
    if (!woq_mul_size(raw.n_rows, raw.dst_row, &bytes) ||
        !(raw.dst = woq_buf_need(&state->raw, bytes, err)))
        return WOQ_ENOMEM;
    woq_parallel((raw.n_rows + raw.rows_per_item - 1) / raw.rows_per_item, fill_rows, &raw);
    return woq_frame_add(f, "raw", WOQ_U8, 2, shape, raw.dst, err);
}

static void init_job(struct job *j, const struct state *state, const struct woq_item *item,
                     const struct place *p)
{
    memset(j, 0, sizeof *j);
    j->c = &state->c;
    j->forms = state->forms;
    j->place = p;
    (void)woq_gguf_parts(&state->c, state->forms, &p->p, j->parts);
    j->n_rows = (size_t)item->shape[0];
    j->n_cols = item->n_dims > 1 ? (size_t)item->shape[1] : 1;
    j->as_f32 = item->dtype == WOQ_F32;
    j->dst_row = j->n_cols * woq_dtype_bytes(item->dtype);
    j->rows_per_item = 1 + 65536 / (j->n_cols + 1);
}

/* Pages of an item that was loaded. */
static void give_back(struct woq_source *s, size_t item)
{
    const struct state *state = s->priv;
    const struct place *p = &state->places[item];
    struct woq_gguf_part parts[WOQ_GGUF_PARTS];
    const size_t n = woq_gguf_parts(&state->c, state->forms, &p->p, parts);

    for (size_t k = 0; k < n; k++)
        woq_source_done(s, part_data(&parts[k], p->tensors[k]),
                        part_bytes(&parts[k], p->tensors[k]));
}

static int load(struct woq_source *s, size_t item, struct woq_frame *f, struct woq_error *err)
{
    struct state *state = s->priv;
    const struct woq_item *it = &s->items[item];
    const struct place *p = &state->places[item];
    const struct woq_gguf_tensor *t = p->tensors[0];
    struct job j;
    size_t bytes;
    int rc;

    if (it->dtype == WOQ_NO_DTYPE)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "tensor '%s' has type %s, which woq can't decode", t->name, t->type->name);
    if (state->last != SIZE_MAX)
        give_back(s, state->last);
    state->last = item;
    init_job(&j, state, it, p);
    for (size_t k = 0; k < p->n_parts; k++)
        woq_source_ahead(s, part_data(&j.parts[k], p->tensors[k]),
                         part_bytes(&j.parts[k], p->tensors[k]));
    woq_frame_begin(f, "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", it->name);
    woq_json_set_str(woq_frame_edit(f), "source", t->type->name);
    if (!p->moves && !p->less_one && t->type->dtype == it->dtype)
        return woq_frame_add_lent(f, "data", it->dtype, it->n_dims, it->shape,
                                  part_data(&j.parts[0], t), err);
    if (!woq_mul_size(j.n_rows, j.dst_row, &bytes))
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' is too large", t->name);
    if (!(j.dst = woq_buf_need(&state->out, bytes, err)))
        return WOQ_ENOMEM;
    if ((rc = fill_item(state, &j, err)) < 0)
        return rc;
    rc = woq_frame_add(f, "data", it->dtype, it->n_dims, it->shape, j.dst, err);
    return rc == WOQ_OK && p->one_type && t->type->decode ? add_raw(state, f, &j, err) : rc;
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

/* --- items --- */

/* The tensor of a part; its shape is what config.json makes it. */
static int find_part(const struct state *state, struct place *place, size_t k,
                     const struct woq_gguf_part *part, struct woq_error *err)
{
    const size_t before = (size_t)(place - state->places);
    const struct woq_gguf_tensor *t = NULL;
    bool same = true;

    /* Those of an expert lie where those of the one before it do, one of three tensors each. */
    for (size_t i = 1; place->p.index && i <= 3 && !t && i <= before; i++)
        if ((place - i)->tensors[k] && !strcmp((place - i)->tensors[k]->name, part->name))
            t = (place - i)->tensors[k];
    if (!t)
        t = woq_gguf_tensor(&state->g, part->name);
    if (!t)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' is missing", part->name);
    /* Outermost dimensions of 1 may be left out, or not. */
    for (unsigned d = 0; d < 4; d++)
        same &= (d < t->n_dims ? t->shape[t->n_dims - 1 - d] : 1) ==
                (d < part->n_dims ? part->ne[d] : 1);
    if (!same)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tensor '%s' has %" PRIu64 " rows of %" PRIu64
                        ", but the keys of the file make it %" PRIu64 " of %" PRIu64,
                        part->name, t->n_dims > 1 ? t->shape[t->n_dims - 2] : 1,
                        t->n_dims ? t->shape[t->n_dims - 1] : 1, part->n_dims > 1 ? part->ne[1] : 1,
                        part->ne[0]);
    if (part->n_cols == 1 && part->ne[0] != 1 && t->type->decode)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' is a %s vector, want a float type",
                        t->name, t->type->name);
    place->tensors[k] = t;
    return WOQ_OK;
}

/* What an item is in a stream: floats of one type as they are, others f32. */
static void describe(struct woq_item *item, struct place *place, const struct woq_gguf_part *parts)
{
    const struct woq_ggml_type *type = place->tensors[0]->type;
    bool known = true;

    place->one_type = true;
    for (size_t k = 0; k < place->n_parts; k++) {
        const struct woq_ggml_type *t = place->tensors[k]->type;

        known &= t->dtype != WOQ_NO_DTYPE || t->decode;
        place->one_type &= t == type && !parts[k].n_heads;
        item->file_bytes += part_bytes(&parts[k], place->tensors[k]);
    }
    item->dtype = !place->one_type || place->less_one || type->decode ? WOQ_F32 : type->dtype;
    if (!known)
        item->dtype = WOQ_NO_DTYPE;
    snprintf(item->stored, sizeof item->stored, "%s", type->name);
    if (type->decode && place->one_type)
        item->stream_bytes =
            item->shape[0] * (item->n_dims > 1 ? item->shape[1] : 1) * 4 + item->file_bytes;
}

/* Room for one more; not for all that the keys promise. */
static struct place *new_place(struct state *state, size_t n, struct woq_error *err)
{
    const size_t cap = state->cap_places ? 2 * state->cap_places : 256;
    struct place *more;

    if (n == state->cap_places) {
        if (!(more = realloc(state->places, cap * sizeof *more))) {
            woq_fail_nomem(err, cap * sizeof *more);
            return NULL;
        }
        state->places = more;
        state->cap_places = cap;
    }
    return memset(&state->places[n], 0, sizeof *state->places);
}

static int add_item(struct woq_source *s, const struct woq_place *p, struct woq_error *err)
{
    struct state *state = s->priv;
    struct place *place = new_place(state, s->n_items, err);
    struct woq_gguf_part parts[WOQ_GGUF_PARTS];
    struct woq_item *item;
    char name[256];
    int rc = WOQ_OK;

    if (!place)
        return WOQ_ENOMEM;
    place->p = *p;
    place->n_parts = woq_gguf_parts(&state->c, state->forms, p, parts);
    place->moves = woq_gguf_moves_rows(&state->c, state->forms, p);
    place->less_one = state->c.norm == WOQ_NORM_RMS_1P && woq_role_is_norm(p->role);
    if (!place->n_parts || woq_config_name(&state->c, p, name, sizeof name) < 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "a tensor without a name in GGUF");
    for (size_t k = 0; k < place->n_parts && rc == WOQ_OK; k++)
        rc = find_part(state, place, k, &parts[k], err);
    if (rc < 0)
        return rc;
    if (!(item = woq_source_add(s, name, err)))
        return WOQ_ENOMEM;
    woq_config_shape(&state->c, p, &item->n_dims, item->shape);
    describe(item, place, parts);
    return WOQ_OK;
}

/* Every tensor of the file has to be one that the architecture knows. */
static int check_names(const struct state *state, struct woq_error *err)
{
    const struct woq_gguf *g = &state->g;
    bool *known = calloc(g->n_tensors + 1, sizeof *known);
    struct woq_gguf_part parts[WOQ_GGUF_PARTS];
    struct woq_place p = { 0 };
    int rc = known ? WOQ_OK : woq_fail_nomem(err, g->n_tensors);

    while (known && woq_config_next(&state->c, &p)) {
        for (size_t k = 0, n = woq_gguf_parts(&state->c, state->forms, &p, parts); k < n; k++) {
            const struct woq_gguf_tensor *t = woq_gguf_tensor(g, parts[k].name);

            if (t)
                known[t - g->tensors] = true;
        }
        if (!(state->forms & WOQ_GGUF_EACH_EXPERT)) /* all lie where the first does */
            p.index = woq_config_count(&state->c, p.role) - 1;
    }
    for (size_t i = 0; i < g->n_tensors && rc == WOQ_OK; i++)
        if (!known[i] && !woq_gguf_is_rope_tensor(g->tensors[i].name))
            rc =
                woq_fail(err, WOQ_EUNSUPPORTED, NULL, "tensor '%s' has no place in architecture %s",
                         g->tensors[i].name, state->c.arch->model_type);
    free(known);
    return rc;
}

static int add_items(struct woq_source *s, struct woq_error *err)
{
    struct state *state = s->priv;
    struct woq_place p = { 0 };
    int rc;

    for (size_t i = 0; i < state->g.n_tensors; i++)
        state->forms |= woq_gguf_form_of(state->g.tensors[i].name);
    rc = check_names(state, err);
    while (rc == WOQ_OK && woq_config_next(&state->c, &p))
        rc = add_item(s, &p, err);
    return rc;
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

    if ((rc = woq_gguf_config(&state->g, &a, &s->config, &generation, err)) == WOQ_OK &&
        (rc = add_json(s, "config.json", s->config, err)) == WOQ_OK)
        rc = add_json(s, "generation_config.json", generation, err);
    woq_json_free(generation);
    if (rc == WOQ_OK)
        rc = woq_config_init(&state->c, s->config, err);
    if (rc == WOQ_OK)
        rc = add_tokenizer(s, &state->g, err);
    if (rc == WOQ_OK)
        rc = add_items(s, err);
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
