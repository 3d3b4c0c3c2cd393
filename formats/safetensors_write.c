/* safetensors_write.c -- see the header. */
#include <formats/torch_write.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/util.h>

static const char spool_name[] = "spool.tmp";

/* A header entry of a usual name takes 100 to 130 bytes. */
enum { ENTRY_BYTES = 136, MIN_RESERVE = 1024 };

static const char *const dtype_names[WOQ_N_DTYPES] = {
    [WOQ_U8] = "U8",     [WOQ_I8] = "I8",   [WOQ_U16] = "U16", [WOQ_I16] = "I16",
    [WOQ_U32] = "U32",   [WOQ_I32] = "I32", [WOQ_U64] = "U64", [WOQ_I64] = "I64",
    [WOQ_F16] = "F16",   [WOQ_F32] = "F32", [WOQ_F64] = "F64", [WOQ_BF16] = "BF16",
    [WOQ_BOOL] = "BOOL",
};

void woq_st_writer_init(struct woq_st_writer *w, struct woq_out *out, uint64_t shard_bytes,
                        uint64_t n_tensors)
{
    const uint64_t n = n_tensors < 100000 ? n_tensors : 100000;

    memset(w, 0, sizeof *w);
    w->out = out;
    w->shard_bytes = shard_bytes ? shard_bytes : UINT64_MAX;
    w->reserve = woq_align(MIN_RESERVE + n * ENTRY_BYTES, 64) - 8;
}

void woq_st_writer_torch(struct woq_st_writer *w, const char *name)
{
    w->torch = name;
    w->shard_bytes = UINT64_MAX;
}

static void shard_temp_name(char name[64], size_t shard)
{
    snprintf(name, 64, "shard-%05zu.tmp", shard + 1);
}

static int open_shard(struct woq_st_writer *w, struct woq_error *err)
{
    char name[64];

    if (w->file.is_open || w->zip.file.is_open)
        return WOQ_OK;
    if (w->torch)
        return woq_zip_writer_open(&w->zip, w->out, w->torch, err);
    shard_temp_name(name, w->n_shards);
    w->first = w->n_entries;
    const int rc = woq_outfile_open(&w->file, w->out, name, err);
    w->file.at = 8 + w->reserve; /* a hole until the header is known */
    return rc;
}

static uint64_t open_bytes(const struct woq_st_writer *w)
{
    return w->file.is_open ? w->file.at - 8 - w->reserve + w->spool.at : 0;
}

static int quote(struct woq_str *s, const char *text)
{
    struct woq_json *v = woq_json_of_str(text);
    char *q = v ? woq_json_print(v, false) : NULL;
    const int rc = q ? woq_str_add(s, q, strlen(q)) : WOQ_ENOMEM;

    free(q);
    woq_json_free(v);
    return rc;
}

static int add_entry(struct woq_str *s, const struct woq_st_entry *e)
{
    int rc = woq_str_addf(s, ",");

    if (rc == WOQ_OK)
        rc = quote(s, e->name);
    if (rc == WOQ_OK)
        rc = woq_str_addf(s, ":{\"dtype\":\"%s\",\"shape\":[", e->stored);
    for (unsigned d = 0; d < e->n_dims && rc == WOQ_OK; d++)
        rc = woq_str_addf(s, d ? ",%llu" : "%llu", (unsigned long long)e->shape[d]);
    if (rc == WOQ_OK)
        rc = woq_str_addf(s, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)e->begin,
                          (unsigned long long)(e->begin + e->bytes));
    return rc;
}

/* Spooled tensors behind the others, wide elements first: each is then aligned, because the lengths
 * before it are multiples of at least its own element size. */
static int append_spool(struct woq_st_writer *w, struct woq_error *err)
{
    void *buf;
    int rc = WOQ_OK;

    if (!w->spool.is_open)
        return WOQ_OK;
    buf = woq_alloc((size_t)1 << 20, err);
    if (!buf)
        return WOQ_ENOMEM;
    for (size_t width = 8; width > 0 && rc == WOQ_OK; width /= 2)
        for (size_t i = w->first; i < w->n_entries && rc == WOQ_OK; i++) {
            struct woq_st_entry *e = &w->entries[i];
            uint64_t at = e->begin, left = e->bytes;
            if (!e->spooled || woq_dtype_bytes(e->dtype) != width)
                continue;
            e->begin = w->file.at - 8 - w->reserve;
            for (uint64_t n; left > 0 && rc == WOQ_OK; left -= n, at += n) {
                n = left < (1u << 20) ? left : 1u << 20;
                rc = woq_outfile_read_at(&w->spool, buf, n, at, err);
                if (rc == WOQ_OK)
                    rc = woq_outfile_add(&w->file, buf, n, err);
            }
        }
    free(buf);
    woq_outfile_abort(&w->spool);
    woq_out_remove(w->out, spool_name);
    return rc;
}

/* Header text padded to `*reserve`, which grows if it is too small. */
static int make_header(const struct woq_st_writer *w, struct woq_str *s, uint64_t *reserve,
                       struct woq_error *err)
{
    static const char meta[] = "{\"__metadata__\":{\"format\":\"pt\"}";
    int rc = woq_str_add(s, meta, sizeof meta - 1);

    for (size_t i = w->first; i < w->n_entries && rc == WOQ_OK; i++)
        rc = add_entry(s, &w->entries[i]);
    if (rc == WOQ_OK)
        rc = woq_str_add(s, "}", 1);
    if (s->len > *reserve)
        *reserve = woq_align(s->len + 8, 64) - 8;
    if (*reserve > 100000000)
        return woq_fail(err, WOQ_EUNSUPPORTED, "use a smaller --shard-size",
                        "%zu tensors need a header of %llu bytes: readers take 100000000",
                        w->n_entries - w->first, (unsigned long long)*reserve);
    while (rc == WOQ_OK && s->len < *reserve)
        rc = woq_str_add(s, "                                                                ",
                         *reserve - s->len < 64 ? (size_t)(*reserve - s->len) : 64);
    return rc == WOQ_OK ? rc : woq_fail_nomem(err, s->len);
}

static int close_shard(struct woq_st_writer *w, struct woq_error *err)
{
    struct woq_str s = { 0 };
    uint64_t n = w->reserve, *starts;
    int rc = append_spool(w, err);

    if (rc == WOQ_OK)
        rc = make_header(w, &s, &n, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_shift(&w->file, 8 + w->reserve, 8 + n, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_write_at(&w->file, &n, 8, 0, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_write_at(&w->file, s.s, s.len, 8, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_finish(&w->file, err);
    w->file_bytes += w->file.at;
    woq_str_release(&s);
    if (rc)
        return rc;
    starts = realloc(w->data_start, (w->n_shards + 1) * sizeof *starts);
    if (!starts)
        return woq_fail_nomem(err, (w->n_shards + 1) * sizeof *starts);
    w->data_start = starts;
    starts[w->n_shards++] = 8 + n;
    return WOQ_OK;
}

int woq_st_room(struct woq_st_writer *w, uint64_t bytes, struct woq_error *err)
{
    const uint64_t used = open_bytes(w);

    if (used > 0 && (bytes > w->shard_bytes || used > w->shard_bytes - bytes))
        return close_shard(w, err);
    return WOQ_OK;
}

static struct woq_st_entry *new_entry(struct woq_st_writer *w)
{
    if (w->n_entries == w->cap_entries) {
        const size_t cap = w->cap_entries ? 2 * w->cap_entries : 256;
        struct woq_st_entry *grown = realloc(w->entries, cap * sizeof *grown);
        if (!grown)
            return NULL;
        w->entries = grown;
        w->cap_entries = cap;
    }
    return memset(&w->entries[w->n_entries], 0, sizeof *w->entries);
}

int woq_st_begin(struct woq_st_writer *w, const char *name, enum woq_dtype dtype, unsigned n_dims,
                 const uint64_t *shape, struct woq_error *err)
{
    size_t bytes = woq_dtype_bytes(dtype);
    struct woq_st_entry *e;
    int rc = WOQ_OK;

    if (w->left)
        WOQ_BUG("a tensor begins before the last one is complete");
    for (unsigned d = 0; d < n_dims; d++)
        if (!woq_mul_size(bytes, (size_t)shape[d], &bytes))
            return woq_fail(err, WOQ_EDATA, NULL, "'%s' is larger than the address space", name);
    rc = woq_st_room(w, bytes, err);
    if (rc == WOQ_OK)
        rc = open_shard(w, err);
    if (rc)
        return rc;
    e = new_entry(w);
    if (!e || !(e->name = strdup(name)))
        return woq_fail_nomem(err, sizeof *e);
    w->n_entries++;
    e->dtype = dtype;
    e->stored = dtype_names[dtype];
    e->n_dims = n_dims;
    memcpy(e->shape, shape, n_dims * sizeof *shape);
    e->bytes = bytes;
    e->shard = w->n_shards;
    w->left = bytes;
    if (w->torch)
        return woq_torch_begin(&w->zip, e, w->n_entries - 1, err);
    e->spooled = bytes % 8 != 0;
    if (e->spooled && !w->spool.is_open)
        rc = woq_outfile_open(&w->spool, w->out, spool_name, err);
    e->begin = e->spooled ? w->spool.at : w->file.at - 8 - w->reserve;
    return rc;
}

int woq_st_data(struct woq_st_writer *w, const void *data, uint64_t bytes, struct woq_error *err)
{
    if (bytes > w->left)
        WOQ_BUG("more bytes than the tensor has");
    w->left -= bytes;
    w->total_bytes += bytes;
    if (w->torch)
        return woq_zip_data(&w->zip, data, bytes, err);
    return woq_outfile_add(w->entries[w->n_entries - 1].spooled ? &w->spool : &w->file, data, bytes,
                           err);
}

int woq_st_put(struct woq_st_writer *w, const char *name, enum woq_dtype dtype, unsigned n_dims,
               const uint64_t *shape, const void *data, struct woq_error *err)
{
    const int rc = woq_st_begin(w, name, dtype, n_dims, shape, err);

    return rc == WOQ_OK ? woq_st_data(w, data, w->left, err) : rc;
}

int woq_st_put_as(struct woq_st_writer *w, const char *name, const char *stored,
                  enum woq_dtype dtype, unsigned n_dims, const uint64_t *shape, const void *data,
                  struct woq_error *err)
{
    const int rc = woq_st_begin(w, name, dtype, n_dims, shape, err);

    if (rc != WOQ_OK)
        return rc;
    if (stored)
        w->entries[w->n_entries - 1].stored = stored;
    return woq_st_data(w, data, w->left, err);
}

static int close_torch(struct woq_st_writer *w, struct woq_error *err)
{
    const int rc = woq_torch_finish(&w->zip, w->entries, w->n_entries, err);

    w->file_bytes = w->zip.file.at;
    w->n_shards = 1;
    return rc;
}

int woq_st_seal(struct woq_st_writer *w, struct woq_error *err)
{
    int rc = WOQ_OK;

    if (w->n_shards == 0)
        rc = open_shard(w, err); /* a model without tensors is still a valid file */
    if (rc == WOQ_OK && w->zip.file.is_open)
        return close_torch(w, err);
    return rc == WOQ_OK && w->file.is_open ? close_shard(w, err) : rc;
}

int woq_st_edit(struct woq_st_writer *w, size_t entry,
                void (*edit)(void *ctx, void *data, size_t bytes), void *ctx, struct woq_error *err)
{
    const struct woq_st_entry *e = &w->entries[entry];
    const uint64_t at = w->data_start[e->shard] + e->begin;
    struct woq_outfile f;
    char name[64];
    void *buf = woq_alloc((size_t)e->bytes, err);
    int rc;

    if (!buf)
        return WOQ_ENOMEM;
    shard_temp_name(name, e->shard);
    rc = woq_outfile_reopen(&f, w->out, name, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_read_at(&f, buf, e->bytes, at, err);
    if (rc == WOQ_OK) {
        edit(ctx, buf, (size_t)e->bytes);
        rc = woq_outfile_write_at(&f, buf, e->bytes, at, err);
    }
    if (rc == WOQ_OK)
        rc = woq_outfile_finish(&f, err);
    woq_outfile_abort(&f);
    free(buf);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_names(const struct woq_st_writer *w, struct woq_error *err)
{
    const char **names = calloc(w->n_entries + 1, sizeof *names);
    int rc = WOQ_OK;

    if (!names)
        return woq_fail_nomem(err, w->n_entries * sizeof *names);
    for (size_t i = 0; i < w->n_entries; i++)
        names[i] = w->entries[i].name;
    qsort(names, w->n_entries, sizeof *names, by_name);
    for (size_t i = 1; i < w->n_entries && rc == WOQ_OK; i++)
        if (!strcmp(names[i - 1], names[i]))
            rc = woq_fail(err, WOQ_EDATA, "look for it with woq-ls", "tensor '%s' came twice",
                          names[i]);
    free(names);
    return rc;
}

static void shard_name(char name[64], size_t shard, size_t n_shards)
{
    if (n_shards == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05zu-of-%05zu.safetensors", shard + 1, n_shards);
}

static int write_index(struct woq_st_writer *w, struct woq_error *err)
{
    struct woq_outfile f = { 0 };
    struct woq_str s = { 0 };
    char name[64];
    int rc = woq_str_addf(&s,
                          "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n"
                          "  \"weight_map\": {",
                          (unsigned long long)w->total_bytes);

    for (size_t i = 0; i < w->n_entries && rc == WOQ_OK; i++) {
        shard_name(name, w->entries[i].shard, w->n_shards);
        rc = woq_str_addf(&s, i ? ",\n    " : "\n    ");
        if (rc == WOQ_OK)
            rc = quote(&s, w->entries[i].name);
        if (rc == WOQ_OK)
            rc = woq_str_addf(&s, ": \"%s\"", name);
    }
    if (rc == WOQ_OK)
        rc = woq_str_addf(&s, "\n  }\n}\n");
    rc = rc == WOQ_OK ? woq_outfile_open(&f, w->out, "model.safetensors.index.json", err)
                      : woq_fail_nomem(err, s.len);
    if (rc == WOQ_OK)
        rc = woq_outfile_add(&f, s.s, s.len, err);
    if (rc == WOQ_OK)
        rc = woq_outfile_finish(&f, err);
    woq_outfile_abort(&f);
    w->file_bytes += s.len;
    woq_str_release(&s);
    return rc;
}

int woq_st_finish(struct woq_st_writer *w, struct woq_error *err)
{
    char from[64], to[64];
    int rc = check_names(w, err);

    if (rc == WOQ_OK)
        rc = woq_st_seal(w, err);
    for (size_t i = 0; i < w->n_shards && !w->torch && rc == WOQ_OK; i++) {
        shard_temp_name(from, i);
        shard_name(to, i, w->n_shards);
        rc = woq_out_rename(w->out, from, to, err);
    }
    return rc == WOQ_OK && w->n_shards > 1 ? write_index(w, err) : rc;
}

void woq_st_writer_release(struct woq_st_writer *w)
{
    woq_outfile_abort(&w->file);
    woq_outfile_abort(&w->spool);
    woq_zip_writer_release(&w->zip);
    for (size_t i = 0; i < w->n_entries; i++)
        free(w->entries[i].name);
    free(w->entries);
    free(w->data_start);
    memset(w, 0, sizeof *w);
}
