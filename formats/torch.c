/* torch.c -- the tensors of a file of torch.save: zip archive, pickle, storages (formats.md 2).
 *
 * Several tensors may share a storage (tied weights, views), and a tensor may walk through it in
 * strides (a transposed weight). What lies row after row is a view into the mapping, what does not
 * is brought in order when it is loaded. */
#include "torch_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/threads.h>
#include <woq/unicode.h>

const char woq_torch_damaged[] = "the file is damaged or cut short: copy or download it again";

static int fail_tensor(const struct woq_st_tensor *t, const char *what, struct woq_error *err)
{
    return woq_fail(err, WOQ_EDATA, woq_torch_damaged, "tensor '%s': %s", t->name, what);
}

/* Row after row without holes? Strides of dimensions of one element mean nothing. */
static bool is_contiguous(const struct woq_pickle_tensor *p)
{
    uint64_t want = 1;

    for (unsigned i = p->n_dims; i-- > 0;) {
        if (p->shape[i] != 1 && p->stride[i] != want)
            return false;
        want *= p->shape[i]; /* below 2^64: checked before */
    }
    return true;
}

/* Elements, and the last one that the strides reach; both without overflow. */
static int measure(struct woq_st_tensor *t, const struct woq_pickle_tensor *p, uint64_t *n_elem,
                   uint64_t *last, struct woq_error *err)
{
    uint64_t reach;

    *n_elem = 1;
    *last = p->offset;
    for (unsigned i = 0; i < p->n_dims; i++)
        if (__builtin_mul_overflow(*n_elem, p->shape[i], n_elem))
            return fail_tensor(t, "its shape has more than 2^64 elements", err);
    for (unsigned i = 0; i < p->n_dims && *n_elem; i++)
        if (__builtin_mul_overflow(p->shape[i] - 1, p->stride[i], &reach) ||
            __builtin_add_overflow(*last, reach, last))
            return fail_tensor(t, "its strides reach beyond 2^64", err);
    return WOQ_OK;
}

/* Bytes of the storage, or 0 and a message: as many as its pickle says must be in the archive. */
static int storage_data(const struct woq_zip *z, const struct woq_st_tensor *t,
                        const struct woq_pickle_storage *s, const uint8_t **data, uint64_t *bytes,
                        struct woq_error *err)
{
    enum woq_dtype dtype;
    const unsigned bits = s->type ? woq_st_dtype(s->type, &dtype) : 8;
    const struct woq_zip_member *m;
    char name[64];

    snprintf(name, sizeof name, "data/%s", s->key);
    if (!(m = woq_zip_find(z, name)))
        return woq_fail(err, WOQ_EDATA, woq_torch_damaged,
                        "tensor '%s': the archive has no storage '%s'", t->name, name);
    if (__builtin_mul_overflow(s->n_elem, bits / 8, bytes) || *bytes > m->bytes)
        return woq_fail(err, WOQ_EDATA, woq_torch_damaged,
                        "tensor '%s': storage '%s' has %zu bytes, want %" PRIu64 " x %u", t->name,
                        name, m->bytes, s->n_elem, bits / 8);
    *data = m->data;
    return WOQ_OK;
}

int woq_torch_place(struct woq_st_tensor *t, const struct woq_pickle_tensor *p,
                    const struct woq_zip *z, struct woq_error *err)
{
    const unsigned width = woq_st_dtype(p->type, &t->dtype) / 8;
    const uint8_t *data = NULL;
    uint64_t n_elem = 0, last = 0, bytes = 0;
    int rc;

    snprintf(t->stored, sizeof t->stored, "%s", p->type);
    t->n_dims = p->n_dims;
    memcpy(t->shape, p->shape, sizeof t->shape);
    if ((rc = measure(t, p, &n_elem, &last, err)) < 0 ||
        (rc = storage_data(z, t, p->storage, &data, &bytes, err)) < 0)
        return rc;
    t->data = data;
    if (n_elem == 0)
        return WOQ_OK;
    if (last >= bytes / width)
        return woq_fail(err, WOQ_EDATA, woq_torch_damaged,
                        "tensor '%s' reaches element %" PRIu64 " of a storage of %" PRIu64, t->name,
                        last, bytes / width);
    t->data = data + p->offset * width;
    /* A stride of 0 repeats elements: what it asks for must be bounded by what was downloaded. */
    if (!woq_mul_size((size_t)n_elem, width, &t->bytes) || t->bytes > z->bytes)
        return fail_tensor(t, "its strides repeat elements; it would be larger than the file", err);
    if (!is_contiguous(p)) {
        t->strided = true;
        memcpy(t->stride, p->stride, sizeof t->stride);
    }
    return WOQ_OK;
}

int woq_torch_key(const struct woq_pickle_value *key, struct woq_error *err)
{
    if (key->kind == WOQ_PICKLE_STR && !memchr(key->str.s, 0, key->str.bytes) &&
        woq_utf8_valid(key->str.s, key->str.bytes) == key->str.bytes)
        return WOQ_OK;
    return woq_fail(err, WOQ_EDATA, woq_torch_damaged, "a tensor whose name is no UTF-8 text");
}

static int take_tensor(struct woq_st *st, const struct woq_pickle_value *key,
                       const struct woq_pickle_value *value, const struct woq_zip *z,
                       struct woq_error *err)
{
    struct woq_st_tensor *t;
    const int rc = woq_torch_key(key, err);

    if (rc < 0)
        return rc;
    if (!(t = woq_st_add(st, key->str.s, key->str.bytes, err)))
        return WOQ_ENOMEM;
    return woq_torch_place(t, value->tensor, z, err);
}

static size_t count_tensors(const struct woq_pickle_value *dict)
{
    size_t n = 0;

    for (size_t i = 0; dict->kind == WOQ_PICKLE_DICT && i + 1 < dict->seq.n; i += 2)
        n += dict->seq.items[i + 1]->kind == WOQ_PICKLE_TENSOR;
    return n;
}

/* No tensor at the top: a key that leads to some is worth telling. */
static int no_tensors(const struct woq_pickle_value *root, struct woq_error *err)
{
    for (size_t i = 0; root->kind == WOQ_PICKLE_DICT && i + 1 < root->seq.n; i += 2) {
        const struct woq_pickle_value *key = root->seq.items[i];
        char hint[128];

        if (key->kind != WOQ_PICKLE_STR || key->str.bytes > 64 ||
            !count_tensors(root->seq.items[i + 1]))
            continue;
        snprintf(hint, sizeof hint, "there are some under a key: --key '%.*s'", (int)key->str.bytes,
                 key->str.s);
        return woq_fail(err, WOQ_EDATA, hint, "the pickle's dict holds no tensor itself");
    }
    return woq_fail(err, WOQ_EDATA, "is this a state dict of torch.save?",
                    "the pickle is no dict of tensors");
}

/* Other values of the dict (an epoch, a version) are no weights. */
static int take_root(struct woq_st *st, const struct woq_pickle *p, const struct woq_zip *z,
                     const char *key, struct woq_error *err)
{
    const struct woq_pickle_value *root = p->root;
    int rc;

    if (key && !(root = woq_pickle_get(root, key)))
        return woq_fail(err, WOQ_EDATA, "look into it with torch.load",
                        "--key '%s': the pickle's dict has no such key", key);
    if (woq_torch_is_hqq(root))
        return woq_torch_take_hqq(st, p, root, z, err);
    const size_t n = count_tensors(root);
    if (n == 0)
        return no_tensors(root, err);
    if ((rc = woq_st_reserve(st, n, err)) < 0)
        return rc;
    for (size_t i = 0; i + 1 < root->seq.n; i += 2)
        if (root->seq.items[i + 1]->kind == WOQ_PICKLE_TENSOR &&
            (rc = take_tensor(st, root->seq.items[i], root->seq.items[i + 1], z, err)) < 0)
            return rc;
    return WOQ_OK;
}

static int check_archive(const struct woq_zip *z, bool check_crc, struct woq_error *err)
{
    const struct woq_zip_member *order = woq_zip_find(z, "byteorder");
    int rc;

    if (woq_zip_find(z, "constants.pkl"))
        return woq_fail(err, WOQ_EUNSUPPORTED,
                        "load it with torch.jit.load and save its state_dict()",
                        "a TorchScript archive, want a state dict");
    if (!woq_zip_find(z, "data.pkl"))
        return woq_fail(err, WOQ_EUNSUPPORTED, "is this a file of torch.save?",
                        "a zip archive without '%sdata.pkl'", z->top);
    if (order && (order->bytes < 6 || memcmp(order->data, "little", 6) != 0))
        return woq_fail(err, WOQ_EUNSUPPORTED, "save it again on a little-endian machine",
                        "the byte order is '%.*s', want 'little'",
                        (int)(order->bytes < 16 ? order->bytes : 16), (const char *)order->data);
    for (size_t i = 0; check_crc && i < z->n; i++)
        if ((rc = woq_zip_check_crc(&z->members[i], err)) < 0)
            return rc;
    return WOQ_OK;
}

int woq_st_parse_torch(struct woq_st *st, const uint8_t *data, size_t bytes,
                       const struct woq_st_opts *opts, struct woq_error *err)
{
    static const struct woq_st_opts none;
    struct woq_pickle p = { 0 };
    struct woq_zip z;
    int rc;

    if (!opts)
        opts = &none;
    if ((rc = woq_zip_parse(&z, data, bytes, err)) < 0)
        return rc;
    if ((rc = check_archive(&z, opts->check_crc, err)) == WOQ_OK) {
        const struct woq_zip_member *m = woq_zip_find(&z, "data.pkl");

        rc = woq_pickle_parse(&p, m->data, m->bytes, err);
    }
    if (rc == WOQ_OK)
        rc = take_root(st, &p, &z, opts->key, err);
    woq_pickle_release(&p);
    woq_zip_release(&z);
    return rc;
}

/* --- strides --- */

enum {
    TILE = 64
}; /* rows that are filled column by column: a transposed weight is read in order */

struct gather {
    const struct woq_st_tensor *t;
    uint8_t *dst;
    size_t n_rows, n_cols, width;
};

/* Byte of the first element of row r, a row being a run of the last dimension. */
static size_t row_start(const struct woq_st_tensor *t, size_t r, size_t width)
{
    uint64_t at = 0;

    for (unsigned i = t->n_dims - 1; i-- > 0;) {
        at += r % t->shape[i] * t->stride[i];
        r /= t->shape[i];
    }
    return (size_t)at * width;
}

static void gather_tile(void *ctx, size_t item, int thread)
{
    const struct gather *g = ctx;
    const size_t r0 = item * TILE, n = g->n_rows - r0 < TILE ? g->n_rows - r0 : TILE;
    const size_t step = (size_t)g->t->stride[g->t->n_dims - 1] * g->width, w = g->width;
    size_t from[TILE];

    (void)thread;
    for (size_t r = 0; r < n; r++)
        from[r] = row_start(g->t, r0 + r, w);
    for (size_t c = 0; c < g->n_cols; c++)
        for (size_t r = 0; r < n; r++) {
            const uint8_t *src = g->t->data + from[r] + c * step;
            uint8_t *dst = g->dst + ((r0 + r) * g->n_cols + c) * w;

            if (w == 2)
                memcpy(dst, src, 2);
            else if (w == 4)
                memcpy(dst, src, 4);
            else
                memcpy(dst, src, w);
        }
}

const void *woq_st_rows(const struct woq_st_tensor *t, struct woq_buf *buf, struct woq_error *err)
{
    enum woq_dtype dtype;
    struct gather g = { .t = t, .n_rows = 1, .width = woq_st_dtype(t->stored, &dtype) / 8 };

    if (!t->strided)
        return t->data;
    if (!(g.dst = woq_buf_need(buf, t->bytes, err)))
        return NULL;
    for (unsigned i = 0; i + 1 < t->n_dims; i++)
        g.n_rows *= (size_t)t->shape[i];
    g.n_cols = (size_t)t->shape[t->n_dims - 1];
    woq_parallel((g.n_rows + TILE - 1) / TILE, gather_tile, &g);
    return g.dst;
}

int woq_st_settle(struct woq_st *st, struct woq_error *err)
{
    size_t room = 0;

    for (size_t i = 0; i < st->n_shards; i++)
        room += st->shards[i].bytes;
    for (size_t i = 0; i < st->n_tensors; i++) {
        struct woq_st_tensor *t = &st->tensors[i];
        struct woq_buf buf = { 0 };

        if (!t->strided)
            continue;
        if (t->bytes > room)
            return fail_tensor(t, "more strided tensors than the files are large", err);
        room -= t->bytes;
        if (!(t->data = woq_st_rows(t, &buf, err)))
            return WOQ_ENOMEM;
        t->owned = buf.data;
        t->strided = false;
    }
    return WOQ_OK;
}
