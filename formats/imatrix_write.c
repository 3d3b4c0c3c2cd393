/* imatrix_write.c -- both forms of an importance matrix as bytes (formats.md 3.7). */
#include <formats/imatrix.h>

#include <formats/gguf.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 32 };

struct bytes {
    struct woq_str *out;
    bool oom;
};

static void put(struct bytes *b, const void *data, size_t n)
{
    if (woq_str_add(b->out, data, n) != WOQ_OK)
        b->oom = true;
}

static void put_u32(struct bytes *b, uint64_t x)
{
    const uint32_t u = (uint32_t)x;

    put(b, &u, 4);
}

static void put_u64(struct bytes *b, uint64_t x)
{
    put(b, &x, 8);
}

static void put_f32(struct bytes *b, double x)
{
    const float f = (float)x;

    put(b, &f, 4);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct woq_imatrix_entry *)a)->name,
                  ((const struct woq_imatrix_entry *)b)->name);
}

static const char *dataset_of(const struct woq_imatrix *m)
{
    return m->dataset ? m->dataset : "unknown";
}

static int ready(struct woq_imatrix *m, struct woq_error *err)
{
    if (!m->n_entries)
        return woq_fail(err, WOQ_EDATA, NULL, "imatrix: no entries");
    qsort(m->entries, m->n_entries, sizeof *m->entries, by_name);
    return WOQ_OK;
}

/* A value is the mean times the number of calls, which readers divide by. */
int woq_imatrix_write_dat(struct woq_imatrix *m, struct woq_str *out, struct woq_error *err)
{
    const uint32_t chunks = woq_imatrix_chunks(m);
    struct bytes b = { out, false };
    int rc = ready(m, err);

    if (rc < 0)
        return rc;
    put_u32(&b, m->n_entries);
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct woq_imatrix_entry *e = &m->entries[i];

        put_u32(&b, strlen(e->name));
        put(&b, e->name, strlen(e->name));
        put_u32(&b, chunks);
        put_u32(&b, e->n * e->n_mats);
        for (size_t k = 0; k < e->n * e->n_mats; k++)
            put_f32(&b, (double)e->mean_sq[k] * chunks);
    }
    put_u32(&b, chunks);
    put_u32(&b, strlen(dataset_of(m)));
    put(&b, dataset_of(m), strlen(dataset_of(m)));
    return b.oom ? woq_fail_nomem(err, out->len) : WOQ_OK;
}

/* --- GGUF --- */

static void put_text(struct bytes *b, const char *s)
{
    put_u64(b, strlen(s));
    put(b, s, strlen(s));
}

static void put_key(struct bytes *b, const char *key, enum woq_gguf_kind kind)
{
    put_text(b, key);
    put_u32(b, kind);
}

static uint64_t padded(uint64_t n)
{
    return woq_align(n, ALIGN);
}

static void put_info(struct bytes *b, const char *name, const char *suffix, uint64_t cols,
                     uint64_t rows, uint64_t *offset)
{
    put_u64(b, strlen(name) + strlen(suffix));
    put(b, name, strlen(name));
    put(b, suffix, strlen(suffix));
    put_u32(b, 2);
    put_u64(b, cols);
    put_u64(b, rows);
    put_u32(b, WOQ_GGML_F32);
    put_u64(b, *offset);
    *offset += padded(cols * rows * 4);
}

static void pad(struct bytes *b, size_t start)
{
    static const char zeros[ALIGN];

    put(b, zeros, padded(b->out->len - start) - (b->out->len - start));
}

int woq_imatrix_write_gguf(struct woq_imatrix *m, struct woq_str *out, struct woq_error *err)
{
    const size_t start = out->len;
    struct bytes b = { out, false };
    uint64_t offset = 0;
    int rc = ready(m, err);

    if (rc < 0)
        return rc;
    put(&b, "GGUF\3\0\0", 8);
    put_u64(&b, 2 * m->n_entries);
    put_u64(&b, 4);
    put_key(&b, "general.type", WOQ_GGUF_STRING);
    put_text(&b, "imatrix");
    put_key(&b, "imatrix.datasets", WOQ_GGUF_ARRAY);
    put_u32(&b, WOQ_GGUF_STRING);
    put_u64(&b, 1);
    put_text(&b, dataset_of(m));
    put_key(&b, "imatrix.chunk_count", WOQ_GGUF_U32);
    put_u32(&b, woq_imatrix_chunks(m));
    put_key(&b, "imatrix.chunk_size", WOQ_GGUF_U32);
    put_u32(&b, m->chunk_size);
    for (size_t i = 0; i < m->n_entries; i++) {
        put_info(&b, m->entries[i].name, ".in_sum2", m->entries[i].n, m->entries[i].n_mats,
                 &offset);
        put_info(&b, m->entries[i].name, ".counts", 1, m->entries[i].n_mats, &offset);
    }
    pad(&b, start);
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct woq_imatrix_entry *e = &m->entries[i];
        const double each = (double)e->n_tokens / (double)e->n_mats;

        for (size_t k = 0; k < e->n * e->n_mats; k++)
            put_f32(&b, (double)e->mean_sq[k] * each);
        pad(&b, start);
        for (size_t k = 0; k < e->n_mats; k++)
            put_f32(&b, each);
        pad(&b, start);
    }
    return b.oom ? woq_fail_nomem(err, out->len) : WOQ_OK;
}
