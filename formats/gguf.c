/* gguf.c -- see gguf.h. Layout and limits: formats.md 3.1 (ggml, gguf.cpp). One cursor walks the
 * header; each read asks it for bytes, so that no length from the file is trusted. */
#include "gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LEN ((uint64_t)1 << 30) /* string bytes, array elements */
#define MIN_KV 13     /* key length and 1 byte, kind, 1 byte less than the least value */
#define MIN_TENSOR 25 /* name length and 1 byte, n_dims, type, offset */

static const char hint_damaged[] = "the file is damaged or cut short: copy or download it again";

struct cursor {
    const uint8_t *data;
    size_t at, bytes;
    struct woq_error *err;
};

static uint64_t load(const uint8_t *p, unsigned bytes)
{
    uint64_t x = 0;

    for (unsigned i = bytes; i-- > 0;)
        x = x << 8 | p[i];
    return x;
}

/* The next n bytes, or NULL with a message. */
static const uint8_t *take(struct cursor *c, uint64_t n, const char *what)
{
    const uint8_t *p = c->data + c->at;

    if (n > c->bytes - c->at) {
        woq_fail(c->err, WOQ_ETRUNC, hint_damaged,
                 "truncated at byte %zu: %s needs %" PRIu64 " bytes, %zu are left", c->at, what, n,
                 c->bytes - c->at);
        return NULL;
    }
    c->at += (size_t)n;
    return p;
}

static bool take_int(struct cursor *c, unsigned bytes, const char *what, uint64_t *out)
{
    const uint8_t *p = take(c, bytes, what);

    if (p)
        *out = load(p, bytes);
    return p != NULL;
}

/* A string as a new NUL-terminated copy; no empty ones, no NUL inside, at most max bytes. */
static char *take_name(struct cursor *c, uint64_t max, const char *what)
{
    const size_t at = c->at;
    const uint8_t *p;
    uint64_t n;
    char *s;

    if (!take_int(c, 8, what, &n))
        return NULL;
    if (n == 0 || n > max) {
        woq_fail(c->err, WOQ_EDATA, hint_damaged,
                 "byte %zu: %s of %" PRIu64 " bytes, want 1 to %" PRIu64, at, what, n, max);
        return NULL;
    }
    if (!(p = take(c, n, what)))
        return NULL;
    if (memchr(p, 0, (size_t)n)) {
        woq_fail(c->err, WOQ_EDATA, hint_damaged, "byte %zu: %s holds a NUL byte", at, what);
        return NULL;
    }
    if (!(s = malloc((size_t)n + 1))) {
        woq_fail_nomem(c->err, (size_t)n + 1);
        return NULL;
    }
    memcpy(s, p, (size_t)n);
    s[n] = '\0';
    return s;
}

/* The status of what take_name met. */
static int failed(const struct cursor *c)
{
    return c->err->status < 0 ? (int)c->err->status : WOQ_EDATA;
}

static const uint8_t kind_bytes[WOQ_GGUF_N_KINDS] = {
    [WOQ_GGUF_U8] = 1,  [WOQ_GGUF_I8] = 1,  [WOQ_GGUF_U16] = 2, [WOQ_GGUF_I16] = 2,
    [WOQ_GGUF_U32] = 4, [WOQ_GGUF_I32] = 4, [WOQ_GGUF_F32] = 4, [WOQ_GGUF_BOOL] = 1,
    [WOQ_GGUF_U64] = 8, [WOQ_GGUF_I64] = 8, [WOQ_GGUF_F64] = 8,
};

static int take_values(struct cursor *c, struct woq_gguf_kv *kv)
{
    const size_t at = c->at;
    uint64_t n;

    kv->data = c->data + c->at;
    if (kv->kind != WOQ_GGUF_STRING) {
        if (!take(c, kv->n * kind_bytes[kv->kind], "a value")) /* n <= 2^30 */
            return WOQ_ETRUNC;
    } else {
        for (uint64_t i = 0; i < kv->n; i++) {
            if (!take_int(c, 8, "a string length", &n))
                return WOQ_ETRUNC;
            if (n > MAX_LEN)
                return woq_fail(c->err, WOQ_EDATA, hint_damaged,
                                "byte %zu: string of %" PRIu64 " bytes, want at most 2^30",
                                c->at - 8, n);
            if (!take(c, n, "a string"))
                return WOQ_ETRUNC;
        }
    }
    kv->bytes = c->at - at;
    for (uint64_t i = 0; kv->kind == WOQ_GGUF_BOOL && i < kv->n; i++)
        if (kv->data[i] > 1)
            return woq_fail(c->err, WOQ_EDATA, hint_damaged, "key '%s': bool %u, want 0 or 1",
                            kv->key, kv->data[i]);
    return WOQ_OK;
}

static int take_kv(struct cursor *c, struct woq_gguf_kv *kv)
{
    uint64_t kind;

    if (!(kv->key = take_name(c, MAX_LEN, "a key")))
        return failed(c);
    if (!take_int(c, 4, "a value type", &kind))
        return WOQ_ETRUNC;
    kv->n = 1;
    kv->is_array = kind == WOQ_GGUF_ARRAY;
    if (kv->is_array &&
        (!take_int(c, 4, "an element type", &kind) || !take_int(c, 8, "an array length", &kv->n)))
        return WOQ_ETRUNC;
    if (kind >= WOQ_GGUF_N_KINDS || kind == WOQ_GGUF_ARRAY)
        return woq_fail(c->err, WOQ_EDATA, hint_damaged,
                        "key '%s' has the value type %" PRIu64 "%s", kv->key, kind,
                        kv->is_array ? " in an array" : "");
    if (kv->n > MAX_LEN)
        return woq_fail(c->err, WOQ_EDATA, hint_damaged,
                        "key '%s': array of %" PRIu64 " elements, want at most 2^30", kv->key,
                        kv->n);
    kv->kind = (enum woq_gguf_kind)kind;
    return take_values(c, kv);
}

static int take_dims(struct cursor *c, struct woq_gguf_tensor *t, uint64_t *n_elem)
{
    uint64_t n_dims, ne;

    if (!take_int(c, 4, "a tensor's rank", &n_dims))
        return WOQ_ETRUNC;
    if (n_dims > 4)
        return woq_fail(c->err, WOQ_EDATA, hint_damaged,
                        "tensor '%s' has %" PRIu64 " dimensions, want at most 4", t->name, n_dims);
    t->n_dims = (unsigned)n_dims;
    *n_elem = 1;
    for (unsigned i = 0; i < t->n_dims; i++) {
        if (!take_int(c, 8, "a dimension", &ne))
            return WOQ_ETRUNC;
        if (__builtin_mul_overflow(*n_elem, ne, n_elem) || *n_elem > INT64_MAX || ne > INT64_MAX)
            return woq_fail(c->err, WOQ_EDATA, hint_damaged,
                            "tensor '%s' has 2^63 elements or more", t->name);
        t->shape[t->n_dims - 1 - i] = ne;
    }
    return WOQ_OK;
}

/* `running` is where the tensor must begin in the data section; moves on behind its padding. */
static int take_tensor(struct cursor *c, struct woq_gguf_tensor *t, uint64_t alignment,
                       uint64_t *running)
{
    uint64_t n_elem = 0, type, offset;
    size_t row, end;
    int rc;

    if (!(t->name = take_name(c, 63, "a tensor name")))
        return failed(c);
    if ((rc = take_dims(c, t, &n_elem)) < 0)
        return rc;
    if (!take_int(c, 4, "a tensor type", &type) || !take_int(c, 8, "a tensor offset", &offset))
        return WOQ_ETRUNC;
    if (!(t->type = woq_ggml_type((uint32_t)type)))
        return woq_fail(c->err, WOQ_EDATA, NULL, "tensor '%s' has the unknown type %" PRIu64,
                        t->name, type);
    const uint64_t ne0 = t->n_dims ? t->shape[t->n_dims - 1] : 1;
    if (ne0 == 0 || !woq_ggml_row_bytes(t->type, ne0, &row))
        return woq_fail(c->err, WOQ_EDATA, hint_damaged,
                        "tensor '%s': rows of %" PRIu64 " elements, %s wants a multiple of %u",
                        t->name, ne0, t->type->name, t->type->block_elems);
    if (!woq_mul_size((size_t)(n_elem / ne0), row, &t->bytes) ||
        !woq_add_size((size_t)*running, t->bytes, &end) ||
        !woq_add_size(end, (size_t)alignment, &end))
        return woq_fail(c->err, WOQ_EDATA, hint_damaged, "tensor '%s' has more than 2^64 bytes",
                        t->name);
    if (offset != *running)
        return woq_fail(c->err, WOQ_EDATA, hint_damaged,
                        "tensor '%s' begins at data byte %" PRIu64 ", want %" PRIu64
                        " (no holes, no overlaps)",
                        t->name, offset, *running);
    t->data = NULL;
    *running = woq_align(*running + t->bytes, alignment);
    return WOQ_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Is a name there twice? names: n strings, sorted in place. */
static int check_unique(char **names, size_t n, const char *what, struct woq_error *err)
{
    if (n)
        qsort(names, n, sizeof *names, by_text);
    for (size_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return woq_fail(err, WOQ_EDATA, NULL, "%s '%s' is there twice", what, names[i]);
    return WOQ_OK;
}

static int check_names(const struct woq_gguf *g, struct woq_error *err)
{
    const size_t n = g->n_kv > g->n_tensors ? g->n_kv : g->n_tensors;
    char **names = calloc(n + 1, sizeof *names);
    int rc;

    if (!names)
        return woq_fail_nomem(err, (n + 1) * sizeof *names);
    for (size_t i = 0; i < g->n_kv; i++)
        names[i] = g->kv[i].key;
    rc = check_unique(names, g->n_kv, "key", err);
    for (size_t i = 0; rc == WOQ_OK && i < g->n_tensors; i++)
        names[i] = g->tensors[i].name;
    if (rc == WOQ_OK)
        rc = check_unique(names, g->n_tensors, "tensor", err);
    free(names);
    return rc;
}

static int take_start(struct cursor *c, struct woq_gguf *g, uint64_t *n_tensors, uint64_t *n_kv)
{
    const uint8_t *magic = take(c, 4, "the magic word");
    uint64_t version;

    if (!magic || !take_int(c, 4, "the version", &version))
        return WOQ_ETRUNC;
    if (memcmp(magic, "GGUF", 4) != 0)
        return woq_fail(c->err, WOQ_EDATA, NULL, "no GGUF file: it does not begin with \"GGUF\"");
    if (version != 0 && (version & 0xffff) == 0)
        return woq_fail(c->err, WOQ_EUNSUPPORTED, "convert it on a little-endian machine",
                        "the file is big-endian");
    if (version < 2 || version > 3)
        return woq_fail(c->err, WOQ_EUNSUPPORTED, NULL, "GGUF version %" PRIu64 ", want 2 or 3",
                        version);
    g->version = (uint32_t)version;
    if (!take_int(c, 8, "the number of tensors", n_tensors) ||
        !take_int(c, 8, "the number of keys", n_kv))
        return WOQ_ETRUNC;
    const size_t left = c->bytes - c->at;
    if (*n_kv > left / MIN_KV || *n_tensors > left / MIN_TENSOR)
        return woq_fail(c->err, WOQ_ETRUNC, hint_damaged,
                        "truncated: %" PRIu64 " keys and %" PRIu64
                        " tensors do not fit into %zu bytes",
                        *n_kv, *n_tensors, left);
    return WOQ_OK;
}

static int get_alignment(struct woq_gguf *g, struct woq_error *err)
{
    const struct woq_gguf_kv *kv = woq_gguf_get(g, "general.alignment");

    g->alignment = 32;
    if (!kv)
        return WOQ_OK;
    if (kv->kind != WOQ_GGUF_U32 || !woq_gguf_u64(kv, 0, &g->alignment) || kv->is_array ||
        g->alignment == 0 || (g->alignment & (g->alignment - 1)))
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "general.alignment is %" PRIu64 ", want a power of two as u32",
                        g->alignment);
    return WOQ_OK;
}

/* Data pointers, once the whole header is known. The padding behind the last tensor may be absent.
 */
static int place_tensors(struct woq_gguf *g, struct cursor *c)
{
    size_t start = c->at;

    if (g->n_tensors && g->alignment > SIZE_MAX - start)
        return woq_fail(c->err, WOQ_EDATA, hint_damaged, "alignment beyond the file");
    start = (size_t)woq_align(start, g->alignment);
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct woq_gguf_tensor *t = &g->tensors[i];

        if (start > c->bytes || t->bytes > c->bytes - start)
            return woq_fail(c->err, WOQ_ETRUNC, hint_damaged,
                            "truncated: tensor '%s' ends at byte %zu, the file has %zu", t->name,
                            start + t->bytes, c->bytes);
        t->data = c->data + start;
        start += (size_t)woq_align(t->bytes, g->alignment);
    }
    return WOQ_OK;
}

static int parse(struct woq_gguf *g, struct cursor *c)
{
    uint64_t n_tensors = 0, n_kv = 0, running = 0;
    int rc;

    if ((rc = take_start(c, g, &n_tensors, &n_kv)) < 0)
        return rc;
    g->kv = calloc((size_t)n_kv + 1, sizeof *g->kv);
    g->tensors = calloc((size_t)n_tensors + 1, sizeof *g->tensors);
    if (!g->kv || !g->tensors)
        return woq_fail_nomem(c->err, (size_t)(n_kv + n_tensors));
    for (g->n_kv = 0; g->n_kv < n_kv;)
        if ((rc = take_kv(c, &g->kv[g->n_kv++])) < 0)
            return rc;
    if ((rc = get_alignment(g, c->err)) < 0)
        return rc;
    for (g->n_tensors = 0; g->n_tensors < n_tensors;)
        if ((rc = take_tensor(c, &g->tensors[g->n_tensors++], g->alignment, &running)) < 0)
            return rc;
    if ((rc = check_names(g, c->err)) < 0)
        return rc;
    return place_tensors(g, c);
}

int woq_gguf_parse(struct woq_gguf *g, const void *data, size_t bytes, struct woq_error *err)
{
    struct woq_error own = { 0 }; /* err may be NULL; the cursor needs one */
    struct cursor c = { data, 0, bytes, err ? err : &own };
    int rc;

    memset(g, 0, sizeof *g);
    if ((rc = parse(g, &c)) < 0)
        woq_gguf_release(g);
    return rc;
}

int woq_gguf_open(struct woq_gguf *g, const char *path, struct woq_error *err)
{
    struct woq_map map = { 0 };
    int rc;

    memset(g, 0, sizeof *g);
    if ((rc = woq_map_open(&map, path, err)) < 0)
        return rc;
    if ((rc = woq_gguf_parse(g, map.data, map.bytes, err)) < 0) {
        woq_map_release(&map);
        return err ? woq_error_at(err, "%s", path) : rc;
    }
    g->map = map;
    return WOQ_OK;
}

void woq_gguf_release(struct woq_gguf *g)
{
    for (size_t i = 0; i < g->n_kv; i++)
        free(g->kv[i].key);
    for (size_t i = 0; i < g->n_tensors; i++)
        free(g->tensors[i].name);
    free(g->kv);
    free(g->tensors);
    woq_map_release(&g->map);
    for (size_t i = 0; i < g->n_more; i++)
        woq_map_release(&g->more[i]);
    free(g->more);
    memset(g, 0, sizeof *g);
}

const struct woq_gguf_kv *woq_gguf_get(const struct woq_gguf *g, const char *key)
{
    for (size_t i = 0; i < g->n_kv; i++)
        if (strcmp(g->kv[i].key, key) == 0)
            return &g->kv[i];
    return NULL;
}

const struct woq_gguf_tensor *woq_gguf_tensor(const struct woq_gguf *g, const char *name)
{
    for (size_t i = 0; i < g->n_tensors; i++)
        if (strcmp(g->tensors[i].name, name) == 0)
            return &g->tensors[i];
    return NULL;
}

bool woq_gguf_i64(const struct woq_gguf_kv *kv, uint64_t i, int64_t *out)
{
    if (!kv || i >= kv->n)
        return false;
    const unsigned bytes = kind_bytes[kv->kind];
    const uint64_t x = load(kv->data + i * bytes, bytes);
    switch (kv->kind) {
    case WOQ_GGUF_U64:
        if (x > INT64_MAX)
            return false; /* fall through */
    case WOQ_GGUF_U8:
    case WOQ_GGUF_U16:
    case WOQ_GGUF_U32:
        *out = (int64_t)x;
        return true;
    case WOQ_GGUF_I8:
        *out = x < 0x80 ? (int64_t)x : (int64_t)x - 0x100;
        return true;
    case WOQ_GGUF_I16:
        *out = (int16_t)x;
        return true;
    case WOQ_GGUF_I32:
        *out = (int32_t)x;
        return true;
    case WOQ_GGUF_I64:
        *out = (int64_t)x;
        return true;
    default:
        return false;
    }
}

bool woq_gguf_u64(const struct woq_gguf_kv *kv, uint64_t i, uint64_t *out)
{
    int64_t x;

    if (kv && kv->kind == WOQ_GGUF_U64 && i < kv->n) {
        *out = load(kv->data + i * 8, 8);
        return true;
    }
    if (!woq_gguf_i64(kv, i, &x) || x < 0)
        return false;
    *out = (uint64_t)x;
    return true;
}

bool woq_gguf_f64(const struct woq_gguf_kv *kv, uint64_t i, double *out)
{
    int64_t x;
    float f;

    if (!kv || i >= kv->n)
        return false;
    if (kv->kind == WOQ_GGUF_F32) {
        const uint32_t bits = (uint32_t)load(kv->data + i * 4, 4);

        memcpy(&f, &bits, sizeof f);
        *out = (double)f;
        return true;
    }
    if (kv->kind == WOQ_GGUF_F64) {
        const uint64_t bits = load(kv->data + i * 8, 8);

        memcpy(out, &bits, sizeof *out);
        return true;
    }
    if (!woq_gguf_i64(kv, i, &x))
        return false;
    *out = (double)x;
    return true;
}

bool woq_gguf_bool(const struct woq_gguf_kv *kv, bool *out)
{
    if (!kv || kv->kind != WOQ_GGUF_BOOL || kv->n != 1)
        return false;
    *out = kv->data[0] != 0;
    return true;
}

bool woq_gguf_string(const struct woq_gguf_kv *kv, const char **s, size_t *len)
{
    if (!kv || kv->kind != WOQ_GGUF_STRING || kv->is_array)
        return false;
    *len = (size_t)load(kv->data, 8);
    *s = (const char *)kv->data + 8;
    return true;
}

bool woq_gguf_next_string(const struct woq_gguf_kv *kv, size_t *at, const char **s, size_t *len)
{
    if (!kv || kv->kind != WOQ_GGUF_STRING || *at >= kv->bytes)
        return false;
    *len = (size_t)load(kv->data + *at, 8);
    *s = (const char *)kv->data + *at + 8;
    *at += 8 + *len;
    return true;
}
