/* gguf_file.c -- see the header. */
#include <formats/gguf_file.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t woq_gguf_header_bytes(uint64_t keys)
{
    return 24 + keys;
}

uint64_t woq_gguf_info_bytes(const char *name, unsigned n_dims)
{
    return 8 + strlen(name) + 4 + 8 * n_dims + 4 + 8;
}

void woq_gguf_file_predict(struct woq_gguf_file *f, uint64_t header_bytes)
{
    f->data_start = woq_align(header_bytes, WOQ_GGUF_ALIGN);
    f->out.at = f->data_start;
}

uint64_t woq_gguf_info_elems(const struct woq_gguf_info *i)
{
    uint64_t n = 1;

    for (unsigned d = 0; d < i->n_dims; d++)
        n *= i->ne[d];
    return n;
}

static int grow(struct woq_gguf_file *f, struct woq_error *err)
{
    const size_t cap = f->cap_infos ? 2 * f->cap_infos : 256;
    struct woq_gguf_info *more;

    if (f->n_infos < f->cap_infos)
        return WOQ_OK;
    if (!(more = realloc(f->infos, cap * sizeof *more)))
        return woq_fail_nomem(err, cap * sizeof *more);
    f->infos = more;
    f->cap_infos = cap;
    return WOQ_OK;
}

const struct woq_gguf_info *woq_gguf_file_add(struct woq_gguf_file *f, const char *name,
                                              unsigned n_dims, const uint64_t *ne,
                                              const struct woq_ggml_type *type,
                                              struct woq_error *err)
{
    static const char zeros[WOQ_GGUF_ALIGN];
    struct woq_gguf_info *i;
    uint64_t pad;
    size_t row;

    if (!woq_ggml_row_bytes(type, ne[0], &row)) {
        woq_fail(err, WOQ_EDATA, NULL, "%llu columns are no whole blocks of %s",
                 (unsigned long long)ne[0], type->name);
        return NULL;
    }
    if (grow(f, err) < 0)
        return NULL;
    i = memset(&f->infos[f->n_infos], 0, sizeof *i);
    snprintf(i->name, sizeof i->name, "%s", name);
    i->n_dims = n_dims;
    memcpy(i->ne, ne, n_dims * sizeof *ne);
    i->type = type;
    i->offset = f->out.at - f->data_start;
    i->bytes = row * (woq_gguf_info_elems(i) / ne[0]);
    pad = woq_align(i->bytes, WOQ_GGUF_ALIGN) - i->bytes;
    f->out.at += i->bytes + pad;
    /* The end of the file is written, too. */
    if (pad && woq_outfile_write_at(&f->out, zeros, pad, f->out.at - pad, err) < 0)
        return NULL;
    f->n_infos++;
    return i;
}

static int add_u64(struct woq_str *h, uint64_t x)
{
    return woq_str_add(h, &x, 8);
}

static int add_info(struct woq_str *h, const struct woq_gguf_info *i)
{
    const uint32_t n_dims = i->n_dims, type = i->type->id;
    int rc = add_u64(h, strlen(i->name));

    if (rc == WOQ_OK)
        rc = woq_str_add(h, i->name, strlen(i->name));
    if (rc == WOQ_OK)
        rc = woq_str_add(h, &n_dims, 4);
    if (rc == WOQ_OK)
        rc = woq_str_add(h, i->ne, 8 * n_dims);
    if (rc == WOQ_OK)
        rc = woq_str_add(h, &type, 4);
    return rc == WOQ_OK ? add_u64(h, i->offset) : rc;
}

static int make_header(const struct woq_gguf_file *f, const struct woq_str *keys, uint64_t n_keys,
                       struct woq_str *h)
{
    static const char magic[8] = "GGUF\3\0\0";
    static const char zeros[WOQ_GGUF_ALIGN];
    int rc = woq_str_add(h, magic, 8);

    if (rc == WOQ_OK)
        rc = add_u64(h, f->n_infos);
    if (rc == WOQ_OK)
        rc = add_u64(h, n_keys);
    if (rc == WOQ_OK)
        rc = woq_str_add(h, keys->s, keys->len);
    for (size_t i = 0; i < f->n_infos && rc == WOQ_OK; i++)
        rc = add_info(h, &f->infos[i]);
    return rc == WOQ_OK ? woq_str_add(h, zeros, woq_align(h->len, WOQ_GGUF_ALIGN) - h->len) : rc;
}

int woq_gguf_file_finish(struct woq_gguf_file *f, const struct woq_str *keys, uint64_t n_keys,
                         struct woq_error *err)
{
    struct woq_str h = { 0 };
    int rc = make_header(f, keys, n_keys, &h) == WOQ_OK ? WOQ_OK : woq_fail_nomem(err, h.len);

    if (rc == WOQ_OK)
        rc = woq_outfile_shift(&f->out, f->data_start, h.len, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_write_at(&f->out, h.s, h.len, 0, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_finish(&f->out, err);
    woq_str_release(&h);
    return rc;
}

void woq_gguf_file_release(struct woq_gguf_file *f)
{
    woq_outfile_abort(&f->out);
    free(f->infos);
    memset(f, 0, sizeof *f);
}
