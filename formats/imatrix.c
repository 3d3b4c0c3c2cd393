/* imatrix.c -- see the header. Layout: formats.md 3.7. */
#include <formats/imatrix.h>

#include <formats/gguf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUMS ".in_sum2"
#define COUNTS ".counts"
enum { CHUNK = 512, NAME_MAX_BYTES = 63 - (int)sizeof SUMS + 1 };

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct woq_imatrix_entry *)a)->name,
                  ((const struct woq_imatrix_entry *)b)->name);
}

const struct woq_imatrix_entry *woq_imatrix_get(const struct woq_imatrix *m, const char *name)
{
    for (size_t i = 0; i < m->n_entries; i++)
        if (strcmp(m->entries[i].name, name) == 0)
            return &m->entries[i];
    return NULL;
}

/* An entry with room for its values, at the end of the list. */
static int new_entry(struct woq_imatrix *m, const char *name, size_t name_bytes, size_t n,
                     size_t n_mats, struct woq_imatrix_entry **out, struct woq_error *err)
{
    struct woq_imatrix_entry *e;
    size_t bytes;

    if (m->n_entries == m->cap_entries) {
        const size_t cap = m->cap_entries ? 2 * m->cap_entries : 64;

        if (!(e = realloc(m->entries, cap * sizeof *e)))
            return woq_fail_nomem(err, cap * sizeof *e);
        m->entries = e;
        m->cap_entries = cap;
    }
    if (!name_bytes || !n || !n_mats || memchr(name, 0, name_bytes))
        return woq_fail(err, WOQ_EDATA, NULL, "imatrix: an entry without a name or without values");
    if (!woq_mul_size(n, n_mats, &bytes) || !woq_mul_size(bytes, sizeof(float), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    e = memset(&m->entries[m->n_entries], 0, sizeof *e);
    e->name = strndup(name, name_bytes);
    e->mean_sq = malloc(bytes);
    m->n_entries++;
    if (!e->name || !e->mean_sq)
        return woq_fail_nomem(err, bytes);
    e->n = n;
    e->n_mats = n_mats;
    *out = e;
    return WOQ_OK;
}

/* Values [from, to) of an entry. */
static int check_values(const struct woq_imatrix_entry *e, size_t from, size_t to,
                        struct woq_error *err)
{
    for (size_t i = from; i < to; i++)
        if (!(e->mean_sq[i] >= 0 && isfinite(e->mean_sq[i])))
            return woq_fail(err, WOQ_EDATA, "measure it anew",
                            "imatrix: value %zu of '%s' is %g, want 0 or more", i, e->name,
                            (double)e->mean_sq[i]);
    return WOQ_OK;
}

/* Each name once. */
static int check_names(struct woq_imatrix *m, struct woq_error *err)
{
    if (m->n_entries)
        qsort(m->entries, m->n_entries, sizeof *m->entries, by_name);
    for (size_t i = 1; i < m->n_entries; i++)
        if (by_name(&m->entries[i - 1], &m->entries[i]) == 0)
            return woq_fail(err, WOQ_EDATA, NULL, "imatrix: '%s' is there twice",
                            m->entries[i].name);
    if (!m->n_entries)
        return woq_fail(err, WOQ_EDATA, NULL, "imatrix: it has no entries");
    return WOQ_OK;
}

/* --- the binary form --- */

struct cursor {
    const uint8_t *at, *end;
};

/* n_bytes of a count that the file must have room for; NULL if it has not. */
static const uint8_t *take(struct cursor *c, uint64_t n_bytes)
{
    const uint8_t *p = c->at;

    if (n_bytes > (uint64_t)(c->end - c->at))
        return NULL;
    c->at += n_bytes;
    return p;
}

static bool take_count(struct cursor *c, uint32_t *out)
{
    const uint8_t *p = take(c, 4);

    if (p)
        memcpy(out, p, 4);
    return p && *out <= INT32_MAX;
}

static int dat_entry(struct woq_imatrix *m, struct cursor *c, struct woq_error *err)
{
    struct woq_imatrix_entry *e = NULL;
    uint32_t len = 0, n_calls = 0, n = 0;
    const uint8_t *name = NULL, *values = NULL;
    int rc;

    if (!take_count(c, &len) || !(name = take(c, len)) || !take_count(c, &n_calls) ||
        !take_count(c, &n) || !(values = take(c, (uint64_t)n * sizeof(float))))
        return woq_fail(err, WOQ_EDATA, "is it an imatrix file, and whole?",
                        "imatrix: entry %zu is cut short or has an impossible count", m->n_entries);
    if ((rc = new_entry(m, (const char *)name, len, n, 1, &e, err)) < 0)
        return rc;
    memcpy(e->mean_sq, values, n * sizeof(float));
    for (size_t i = 0; i < n && n_calls > 1; i++)
        e->mean_sq[i] /= (float)n_calls;
    e->n_tokens = (uint64_t)(n_calls ? n_calls : 1) * CHUNK;
    return check_values(e, 0, e->n * e->n_mats, err);
}

static int parse_dat(struct woq_imatrix *m, const uint8_t *data, size_t bytes,
                     struct woq_error *err)
{
    struct cursor c = { data, data + bytes };
    uint32_t n = 0, last_chunk, len;
    const uint8_t *dataset;
    int rc = WOQ_OK;

    if (!take_count(&c, &n) || !n)
        return woq_fail(err, WOQ_EDATA, "want what llama-imatrix writes, or woq-pack",
                        "it is no imatrix file");
    for (uint32_t i = 0; i < n && rc == WOQ_OK; i++)
        rc = dat_entry(m, &c, err);
    if (rc < 0 || c.at == c.end)
        return rc;
    if (!take_count(&c, &last_chunk) || !take_count(&c, &len) || !(dataset = take(&c, len)) ||
        c.at != c.end)
        return woq_fail(err, WOQ_EDATA, "is it an imatrix file, and whole?",
                        "imatrix: what follows the entries is malformed");
    m->dataset = strndup((const char *)dataset, len);
    return m->dataset ? WOQ_OK : woq_fail_nomem(err, len);
}

/* --- the GGUF form --- */

static const uint8_t *f32_tensor(const struct woq_gguf_tensor *t, size_t *rows, size_t *cols)
{
    if (!t || t->type->id != WOQ_GGML_F32 || t->n_dims < 1 || t->n_dims > 2)
        return NULL;
    *cols = (size_t)t->shape[t->n_dims - 1];
    *rows = t->n_dims > 1 ? (size_t)t->shape[0] : 1;
    return t->data;
}

static float value_at(const uint8_t *data, size_t i)
{
    float x;

    memcpy(&x, data + i * sizeof x, sizeof x);
    return x;
}

static int gguf_entry(struct woq_imatrix *m, const struct woq_gguf *g,
                      const struct woq_gguf_tensor *t, struct woq_error *err)
{
    const size_t len = strlen(t->name) - strlen(SUMS);
    struct woq_imatrix_entry *e = NULL;
    const uint8_t *sums, *counts;
    size_t rows = 0, cols = 0, count_rows = 0, one = 0;
    char name[128];
    int rc;

    snprintf(name, sizeof name, "%.*s" COUNTS, (int)len, t->name);
    sums = f32_tensor(t, &rows, &cols);
    counts = f32_tensor(woq_gguf_tensor(g, name), &count_rows, &one);
    if (!sums || !counts || count_rows * one != rows)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "imatrix: '%s' and '%s' are no pair of F32 tensors of fitting shapes",
                        t->name, name);
    if ((rc = new_entry(m, t->name, len, cols, rows, &e, err)) < 0)
        return rc;
    for (size_t r = 0; r < rows; r++) {
        const float count = value_at(counts, r);

        if (!(count >= 0 && count <= 1e18f))
            return woq_fail(err, WOQ_EDATA, NULL, "imatrix: '%s' counts %g tokens", name,
                            (double)count);
        /* An expert that saw no token: nothing is known, so its inputs are alike. */
        for (size_t c = 0; c < cols; c++)
            e->mean_sq[r * cols + c] = count > 0 ? value_at(sums, r * cols + c) / count : 1.0f;
        e->n_tokens += (uint64_t)count;
    }
    e->n_tokens = e->n_tokens ? e->n_tokens : 1;
    return check_values(e, 0, e->n * e->n_mats, err);
}

static int parse_gguf(struct woq_imatrix *m, const void *data, size_t bytes, struct woq_error *err)
{
    const char *type, *text;
    struct woq_gguf g;
    size_t len, at = 0;
    uint64_t chunk;
    int rc = woq_gguf_parse(&g, data, bytes, err);

    if (rc < 0)
        return rc;
    if (!woq_gguf_string(woq_gguf_get(&g, "general.type"), &type, &len) || len != 7 ||
        memcmp(type, "imatrix", 7) != 0)
        rc = woq_fail(err, WOQ_EDATA, "give --imatrix the file that llama-imatrix wrote",
                      "a GGUF file, but general.type is not 'imatrix'");
    if (woq_gguf_u64(woq_gguf_get(&g, "imatrix.chunk_size"), 0, &chunk) && chunk <= UINT32_MAX)
        m->chunk_size = (uint32_t)chunk;
    for (size_t i = 0; i < g.n_tensors && rc == WOQ_OK; i++) {
        const size_t n = strlen(g.tensors[i].name), s = strlen(SUMS);

        if (n > s && strcmp(g.tensors[i].name + n - s, SUMS) == 0)
            rc = gguf_entry(m, &g, &g.tensors[i], err);
    }
    if (rc == WOQ_OK &&
        woq_gguf_next_string(woq_gguf_get(&g, "imatrix.datasets"), &at, &text, &len))
        if (!(m->dataset = strndup(text, len)))
            rc = woq_fail_nomem(err, len);
    woq_gguf_release(&g);
    return rc;
}

int woq_imatrix_parse(struct woq_imatrix *m, const void *data, size_t bytes, struct woq_error *err)
{
    int rc;

    memset(m, 0, sizeof *m);
    m->chunk_size = CHUNK;
    rc = bytes >= 4 && memcmp(data, "GGUF", 4) == 0 ? parse_gguf(m, data, bytes, err)
                                                    : parse_dat(m, data, bytes, err);
    if (rc == WOQ_OK)
        rc = check_names(m, err);
    m->chunk_size = m->chunk_size ? m->chunk_size : CHUNK;
    if (rc < 0)
        woq_imatrix_release(m);
    return rc;
}

int woq_imatrix_open(struct woq_imatrix *m, const char *path, struct woq_error *err)
{
    struct woq_map map;
    int rc = woq_map_open(&map, path, err);

    memset(m, 0, sizeof *m);
    if (rc < 0)
        return rc;
    rc = woq_imatrix_parse(m, map.data, map.bytes, err);
    woq_map_release(&map);
    return rc < 0 ? woq_error_at(err, "%s", path) : WOQ_OK;
}

int woq_imatrix_add(struct woq_imatrix *m, const char *name, const float *mean_sq, size_t n,
                    size_t n_mats, uint64_t n_tokens, struct woq_error *err)
{
    struct woq_imatrix_entry *e = NULL;
    int rc;

    if (woq_imatrix_get(m, name))
        return woq_fail(err, WOQ_EDATA, NULL, "imatrix: '%s' twice", name);
    if (strlen(name) > NAME_MAX_BYTES)
        return woq_fail(err, WOQ_ETYPE, NULL, "imatrix: the name '%s' is longer than %d bytes",
                        name, NAME_MAX_BYTES);
    if ((rc = new_entry(m, name, strlen(name), n, n_mats, &e, err)) < 0)
        return rc;
    memcpy(e->mean_sq, mean_sq, n * n_mats * sizeof *mean_sq);
    e->n_tokens = n_tokens ? n_tokens : 1;
    m->chunk_size = m->chunk_size ? m->chunk_size : CHUNK;
    return check_values(e, 0, e->n * e->n_mats, err);
}

int woq_imatrix_put(struct woq_imatrix *m, const char *name, const float *mean_sq, size_t n,
                    size_t index, size_t n_mats, uint64_t n_tokens, struct woq_error *err)
{
    struct woq_imatrix_entry *e = NULL;
    float *ones;
    size_t bytes;
    int rc;

    if (n_mats < 2)
        return woq_imatrix_add(m, name, mean_sq, n, 1, n_tokens, err);
    for (size_t i = 0; i < m->n_entries && !e; i++)
        if (!strcmp(m->entries[i].name, name))
            e = &m->entries[i];
    if (!e) {
        if (!woq_mul_size(n, n_mats, &bytes) || !woq_mul_size(bytes, sizeof *ones, &bytes) ||
            !(ones = malloc(bytes)))
            return woq_fail_nomem(err, n);
        for (size_t i = 0; i < n * n_mats; i++)
            ones[i] = 1;
        rc = woq_imatrix_add(m, name, ones, n, n_mats, n_tokens, err);
        free(ones);
        if (rc < 0)
            return rc;
        e = &m->entries[m->n_entries - 1];
    }
    if (e->n != n || index >= e->n_mats)
        return woq_fail(err, WOQ_EDATA, NULL, "imatrix: '%s' has %zu values, others of it %zu",
                        name, n, e->n);
    memcpy(e->mean_sq + index * n, mean_sq, n * sizeof *mean_sq);
    e->n_tokens = n_tokens > e->n_tokens ? n_tokens : e->n_tokens;
    return check_values(e, index * n, (index + 1) * n, err);
}

uint32_t woq_imatrix_chunks(const struct woq_imatrix *m)
{
    const uint64_t size = m->chunk_size ? m->chunk_size : CHUNK;
    uint64_t most = 1;

    for (size_t i = 0; i < m->n_entries; i++) {
        const uint64_t n = (m->entries[i].n_tokens + size - 1) / size;

        most = n > most ? n : most;
    }
    return most > INT32_MAX ? INT32_MAX : (uint32_t)most;
}

void woq_imatrix_release(struct woq_imatrix *m)
{
    for (size_t i = 0; i < m->n_entries; i++) {
        free(m->entries[i].name);
        free(m->entries[i].mean_sq);
    }
    free(m->entries);
    free(m->dataset);
    memset(m, 0, sizeof *m);
}
