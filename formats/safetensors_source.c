/* safetensors_source.c -- a source of float tensors that lie in safetensors or in PyTorch's files:
 * each goes to the stream straight from the mapping, but for those that lie in strides, and those
 * that the architecture keeps otherwise there: matrices that are [in, out], experts that lie in one
 * tensor, in gpt-oss's files packed as mxfp4. */
#include <formats/ct_float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/arch.h>
#include <woq/threads.h>

#include "source.h"

enum { MAX_EXPERTS = 1 << 12, ITEM_COLS = 64 };

struct part {
    const struct woq_st_tensor *t;
    const uint8_t *data;
    size_t offset, bytes; /* of the tensor's data in order: where this part is */
    bool transposed;
    const uint8_t *scales; /* of mxfp4, whose codes are at data; NULL: floats */
};

struct state {
    size_t last; /* item loaded last, or SIZE_MAX */
    struct part *parts;
    struct woq_buf buf, out; /* a strided one, in order; a matrix turned */
};

/* --- [in, out] to [out, in] --- */

struct turn {
    const uint8_t *src;
    uint8_t *dst;
    size_t rows, cols, width; /* of the result */
};

static void turn_rows(void *ctx, size_t item, int thread)
{
    const struct turn *j = ctx;
    const size_t end = (item + 1) * ITEM_COLS < j->rows ? (item + 1) * ITEM_COLS : j->rows;

    (void)thread;
    for (size_t c = 0; c < j->cols; c++)
        for (size_t r = item * ITEM_COLS; r < end; r++)
            memcpy(j->dst + (r * j->cols + c) * j->width, j->src + (c * j->rows + r) * j->width,
                   j->width);
}

static int load(struct woq_source *s, size_t item, struct woq_frame *f, struct woq_error *err)
{
    struct state *state = s->priv;
    const struct part *p = &state->parts[item];
    const struct woq_item *it = &s->items[item];
    struct turn j = { .width = woq_dtype_bytes(it->dtype) };

    if (state->last != SIZE_MAX)
        woq_source_done(s, state->parts[state->last].data, state->parts[state->last].bytes);
    state->last = item;
    if (!p->t->strided)
        woq_source_ahead(s, p->data, p->bytes);
    const uint8_t *all = woq_st_rows(p->t, &state->buf, err);
    if (!all)
        return WOQ_ENOMEM;
    woq_frame_begin(f, p->scales ? "QTEN" : "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", it->name);
    if (p->scales)
        return woq_mxfp4_load(p->data, p->scales, (size_t)it->shape[0], (size_t)it->shape[1], f,
                              err);
    j.src = all + p->offset;
    if (!p->transposed && p->t->strided) /* not lent: the buffer is used again */
        return woq_frame_add(f, "data", it->dtype, it->n_dims, it->shape, j.src, err);
    if (!p->transposed)
        return woq_frame_add_lent(f, "data", it->dtype, it->n_dims, it->shape, j.src, err);
    j.rows = (size_t)it->shape[0];
    j.cols = (size_t)it->shape[1];
    if (!(j.dst = woq_buf_need(&state->out, p->bytes, err)))
        return WOQ_ENOMEM;
    woq_parallel((j.rows + ITEM_COLS - 1) / ITEM_COLS, turn_rows, &j);
    woq_json_set_bool(f->meta, "transposed", true);
    return woq_frame_add(f, "data", it->dtype, it->n_dims, it->shape, j.dst, err);
}

static void close_state(struct woq_source *s)
{
    struct state *state = s->priv;

    woq_buf_release(&state->buf);
    woq_buf_release(&state->out);
    free(state->parts);
    free(state);
    s->priv = NULL;
}

/* --- items --- */

static struct part *new_part(struct woq_source *s, const struct woq_st_tensor *t,
                             struct woq_error *err)
{
    struct state *state = s->priv;
    struct part *grown = realloc(state->parts, (s->n_items + 1) * sizeof *grown);

    if (!grown) {
        woq_fail_nomem(err, (s->n_items + 1) * sizeof *grown);
        return NULL;
    }
    state->parts = grown;
    grown[s->n_items] = (struct part){ .t = t, .data = t->data, .bytes = t->bytes };
    return &grown[s->n_items];
}

static void swap_dims(struct part *p, struct woq_item *item)
{
    const uint64_t rows = item->shape[0];

    p->transposed = true;
    item->shape[0] = item->shape[1];
    item->shape[1] = rows;
}

/* One item for each expert of a tensor [E, ...]. */
static int add_stack(struct woq_source *s, const struct woq_config *c, struct woq_place place,
                     const struct woq_st_tensor *t, struct woq_error *err)
{
    const uint64_t n = t->n_dims ? t->shape[0] : 0;
    char name[256];

    if (t->n_dims != (place.bias ? 2u : 3u) || n < 1 || n > MAX_EXPERTS)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tensor '%s' has %u dims, first %llu: want experts first", t->name,
                        t->n_dims, (unsigned long long)n);
    for (place.index = 0; place.index < n; place.index++) {
        struct part *p = new_part(s, t, err);
        struct woq_item *item;

        if (!p || woq_config_name(c, &place, name, sizeof name) < 0 ||
            !(item = woq_source_add_st(s, t, err)))
            return WOQ_ENOMEM;
        free(item->name);
        if (!(item->name = strdup(name)))
            return woq_fail_nomem(err, sizeof name);
        p->bytes = t->bytes / (size_t)n;
        p->offset = place.index * p->bytes;
        p->data = t->strided ? t->data : p->data + p->offset;
        item->file_bytes = p->bytes;
        item->n_dims--;
        memmove(item->shape, item->shape + 1, item->n_dims * sizeof *item->shape);
        if (woq_arch_is_conv1d(c->arch, &place))
            swap_dims(p, item);
    }
    return WOQ_OK;
}

/* --- gpt-oss: NAME_blocks [E, out, in / 32, 16] of two codes a byte, NAME_scales [E, out, in / 32]
 * (formats.md 4.d) --- */

static const struct woq_st_tensor *other_half(const struct woq_source *s, const char *name,
                                              const char *end, const char *other)
{
    struct woq_str full = { 0 };
    const struct woq_st_tensor *t = NULL;

    if (woq_str_addf(&full, "%.*s%s", (int)(strlen(name) - strlen(end)), name, other) == WOQ_OK)
        t = woq_st_find(&s->st, full.s);
    woq_str_release(&full);
    return t;
}

static int check_blocks(const struct woq_st_tensor *b, const struct woq_st_tensor *scales,
                        struct woq_error *err)
{
    bool ok = b->n_dims == 4 && b->shape[3] == 16 && b->shape[0] >= 1 &&
              b->shape[0] <= MAX_EXPERTS && b->shape[1] && b->shape[2] && scales &&
              strcmp(b->stored, "U8") == 0 && strcmp(scales->stored, "U8") == 0 &&
              scales->n_dims == 3;

    for (unsigned d = 0; ok && d < 3; d++)
        ok = scales->shape[d] == b->shape[d];
    return ok ? WOQ_OK
              : woq_fail(err, WOQ_EDATA, NULL,
                         "'%s': want U8 [experts, out, in / 32, 16] and its scales beside it",
                         b->name);
}

static int add_blocks(struct woq_source *s, const struct woq_config *c,
                      const struct woq_st_tensor *t, const struct woq_st_tensor *scales,
                      struct woq_error *err)
{
    const size_t tail = strlen("_blocks"), n = (size_t)t->shape[0];
    char name[256];
    struct woq_place place;

    snprintf(name, sizeof name, "%.*s", (int)(strlen(t->name) - tail), t->name);
    if (!c->arch || !woq_arch_stack(c->arch, name, &place))
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "'%s' is no stack of experts", t->name);
    for (place.index = 0; place.index < n; place.index++) {
        struct part *p = new_part(s, t, err);
        struct woq_item *item;

        if (!p || woq_config_name(c, &place, name, sizeof name) < 0 ||
            !(item = woq_source_add(s, name, err)))
            return WOQ_ENOMEM;
        p->bytes = t->bytes / n;
        p->data = t->data + place.index * p->bytes;
        p->scales = scales->data + place.index * (scales->bytes / n);
        item->quantized = true;
        item->dtype = WOQ_U8;
        item->n_dims = 2;
        item->shape[0] = t->shape[1];
        item->shape[1] = t->shape[2] * 32;
        item->file_bytes = p->bytes + scales->bytes / n;
        snprintf(item->stored, sizeof item->stored, "mxfp4");
    }
    return WOQ_OK;
}

static int add_packed(struct woq_source *s, const struct woq_config *c,
                      const struct woq_st_tensor *t, bool *taken, struct woq_error *err)
{
    const struct woq_st_tensor *scales;
    int rc;

    *taken = true;
    if (woq_ends_with(t->name, "_blocks")) {
        scales = other_half(s, t->name, "_blocks", "_scales");
        rc = check_blocks(t, scales, err);
        return rc ? rc : add_blocks(s, c, t, scales, err);
    }
    *taken = woq_ends_with(t->name, "_scales") && other_half(s, t->name, "_scales", "_blocks");
    return WOQ_OK;
}

static int add_tensor(struct woq_source *s, const struct woq_config *c, bool mxfp4,
                      const struct woq_st_tensor *t, struct woq_error *err)
{
    struct woq_place place;
    struct woq_item *item;
    struct part *p;
    bool taken = false;
    const int rc = mxfp4 ? add_packed(s, c, t, &taken, err) : WOQ_OK;

    if (rc || taken)
        return rc;

    if (c->arch && woq_arch_stack(c->arch, t->name, &place))
        return add_stack(s, c, place, t, err);
    if (!(p = new_part(s, t, err)) || !(item = woq_source_add_st(s, t, err)))
        return WOQ_ENOMEM;
    if (c->arch && t->n_dims == 2 && woq_arch_place(c->arch, t->name, &place) &&
        woq_arch_is_conv1d(c->arch, &place))
        swap_dims(p, item);
    return WOQ_OK;
}

int woq_safetensors_source_init(struct woq_source *s, bool mxfp4, struct woq_error *err)
{
    struct state *state = calloc(1, sizeof *state);
    struct woq_config c = { .arch = woq_arch_find(s->config, NULL) };
    int rc = WOQ_OK;

    if (!state)
        return woq_fail_nomem(err, sizeof *state);
    state->last = SIZE_MAX;
    s->priv = state;
    s->close = close_state;
    s->load = load;
    s->format = mxfp4 ? "mxfp4" : s->st.shards[0].format;
    for (size_t i = 0; i < s->st.n_tensors && rc == WOQ_OK; i++)
        rc = add_tensor(s, &c, mxfp4, &s->st.tensors[i], err);
    return rc;
}
