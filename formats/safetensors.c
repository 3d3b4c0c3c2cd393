/* safetensors.c -- see safetensors.h. Layout and rules: formats.md 1 (huggingface/safetensors,
 * tensor.rs). The header is scanned for depth and number form before the JSON parser sees it, so
 * that a hostile header meets the cheap checks first. */
#include "stored_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/json.h>

static const char hint_damaged[] = "the file is damaged or cut short: copy or download it again";

/* clang-format off */
static const struct { const char *name; unsigned bits; enum woq_dtype dtype; } dtypes[] = {
    { "F32", 32, WOQ_F32 }, { "F16", 16, WOQ_F16 }, { "BF16", 16, WOQ_BF16 }, { "F64", 64, WOQ_F64 },
    { "I8", 8, WOQ_I8 },    { "U8", 8, WOQ_U8 },    { "I16", 16, WOQ_I16 },   { "U16", 16, WOQ_U16 },
    { "I32", 32, WOQ_I32 }, { "U32", 32, WOQ_U32 }, { "I64", 64, WOQ_I64 },   { "U64", 64, WOQ_U64 },
    { "BOOL", 8, WOQ_BOOL },
    { "F8_E4M3", 8, WOQ_NO_DTYPE },     { "F8_E5M2", 8, WOQ_NO_DTYPE }, { "F8_E8M0", 8, WOQ_NO_DTYPE },
    { "F8_E4M3FNUZ", 8, WOQ_NO_DTYPE }, { "F8_E5M2FNUZ", 8, WOQ_NO_DTYPE },
    { "F4", 4, WOQ_NO_DTYPE }, { "F6_E2M3", 6, WOQ_NO_DTYPE }, { "F6_E3M2", 6, WOQ_NO_DTYPE },
    { "C64", 64, WOQ_NO_DTYPE },
};
/* clang-format on */

unsigned woq_st_dtype(const char *stored, enum woq_dtype *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(stored, dtypes[i].name) == 0) {
            *dtype = dtypes[i].dtype;
            return dtypes[i].bits;
        }
    *dtype = WOQ_NO_DTYPE;
    return 0;
}

/* Length of the UTF-8 sequence at s, 0 if it is none (overlong, surrogate, cut). */
static size_t utf8_len(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80)
        return 1;
    const size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* What the JSON parser does not look at: UTF-8, depth <= 3, integers only inside [ ]. */
static int scan_header(const unsigned char *s, size_t n, struct woq_error *err)
{
    bool in_string = false;
    int depth = 0, brackets = 0;

    for (size_t i = 0, len; i < n; i += len) {
        if (!(len = utf8_len(s + i, n - i)))
            return woq_fail(err, WOQ_EDATA, hint_damaged, "header byte %zu is not UTF-8", i);
        if (in_string) {
            if (s[i] == '\\' && i + 1 < n)
                len = 2;
            else if (s[i] == '"')
                in_string = false;
            continue;
        }
        if (s[i] == '"')
            in_string = true;
        depth += (s[i] == '{' || s[i] == '[') - (s[i] == '}' || s[i] == ']');
        brackets += (s[i] == '[') - (s[i] == ']');
        if (depth > 3)
            return woq_fail(err, WOQ_EDATA, hint_damaged,
                            "header byte %zu: nested deeper than 3 levels", i);
        if (brackets > 0 && strchr(".eE-+", s[i]) && s[i])
            return woq_fail(err, WOQ_EDATA, hint_damaged,
                            "header byte %zu: want plain integers in shape and data_offsets", i);
    }
    return WOQ_OK;
}

static int get_shape(struct woq_st_tensor *t, const struct woq_json *shape, struct woq_error *err)
{
    if (woq_json_type(shape) != WOQ_JARRAY)
        return woq_fail(err, WOQ_EDATA, hint_damaged, "tensor '%s' has no shape", t->name);
    t->n_dims = 0;
    woq_json_each(dim, shape)
    {
        if (t->n_dims == WOQ_MAX_DIMS)
            return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' has more than %d dimensions",
                            t->name, WOQ_MAX_DIMS);
        if (!woq_json_u64(dim, &t->shape[t->n_dims++]))
            return woq_fail(err, WOQ_EDATA, hint_damaged,
                            "tensor '%s': dimension %u is not a size below 2^53", t->name,
                            t->n_dims - 1);
    }
    return WOQ_OK;
}

/* Bytes that dtype and shape ask for; fails on overflow and on a broken byte. */
static int want_bytes(const struct woq_st_tensor *t, unsigned bits, uint64_t *bytes,
                      struct woq_error *err)
{
    uint64_t n = bits;

    for (unsigned i = 0; i < t->n_dims; i++)
        if (__builtin_mul_overflow(n, t->shape[i], &n))
            return woq_fail(err, WOQ_EDATA, hint_damaged,
                            "tensor '%s': its shape needs more than 2^64 bits", t->name);
    if (n % 8)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "tensor '%s' takes %" PRIu64 " bits, want whole bytes", t->name, n);
    *bytes = n / 8;
    return WOQ_OK;
}

static int get_tensor(struct woq_st_tensor *t, const struct woq_json *entry, const uint8_t *data,
                      uint64_t data_bytes, struct woq_error *err)
{
    const struct woq_json *offsets = woq_json_get(entry, "data_offsets");
    const char *dtype = woq_json_get_str(entry, "dtype");
    uint64_t begin, end, want = 0;
    int rc;

    if (woq_json_type(entry) != WOQ_JOBJECT || !dtype)
        return woq_fail(err, WOQ_EDATA, hint_damaged, "tensor '%s' has no dtype", t->name);
    const unsigned bits = woq_st_dtype(dtype, &t->dtype);
    if (!bits)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' has the unknown dtype '%s'", t->name,
                        dtype);
    snprintf(t->stored, sizeof t->stored, "%s", dtype);
    if ((rc = get_shape(t, woq_json_get(entry, "shape"), err)) < 0)
        return rc;
    const struct woq_json *first = woq_json_first(offsets);
    if (woq_json_len(offsets) != 2 || woq_json_type(offsets) != WOQ_JARRAY ||
        !woq_json_u64(first, &begin) || !woq_json_u64(woq_json_next(first), &end))
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "tensor '%s': data_offsets is not [begin, end]", t->name);
    if (begin > end)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "tensor '%s' ends at data byte %" PRIu64 ", before its begin %" PRIu64,
                        t->name, end, begin);
    if (end > data_bytes)
        return woq_fail(err, WOQ_ETRUNC, hint_damaged,
                        "truncated: tensor '%s' ends at data byte %" PRIu64
                        ", the file has %" PRIu64,
                        t->name, end, data_bytes);
    if ((rc = want_bytes(t, bits, &want, err)) < 0)
        return rc;
    if (end - begin != want)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "tensor '%s' has %" PRIu64 " bytes, its dtype and shape want %" PRIu64,
                        t->name, end - begin, want);
    t->data = data + begin;
    t->bytes = (size_t)want;
    return WOQ_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct woq_st_tensor *x = a, *y = b;

    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* No hole, no overlap, nothing behind the last tensor. */
static int check_gapless(struct woq_st_tensor *t, size_t n, const uint8_t *data,
                         uint64_t data_bytes, struct woq_error *err)
{
    const uint8_t *at = data;

    qsort(t, n, sizeof *t, by_place);
    for (size_t i = 0; i < n; i++) {
        if (t[i].data != at)
            return woq_fail(err, WOQ_EDATA, hint_damaged, "tensor '%s' begins at data byte %td, %s",
                            t[i].name, t[i].data - data,
                            t[i].data > at ? "behind a hole" : "inside another tensor");
        at += t[i].bytes;
    }
    if ((uint64_t)(at - data) != data_bytes)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "the tensors take %td bytes of data, the file has %" PRIu64, at - data,
                        data_bytes);
    return WOQ_OK;
}

static int check_metadata(const struct woq_json *meta, struct woq_error *err)
{
    if (woq_json_type(meta) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, hint_damaged, "__metadata__ is not an object");
    woq_json_each(v, meta)
    {
        if (!woq_json_str(v))
            return woq_fail(err, WOQ_EDATA, hint_damaged, "__metadata__ '%s' is not a string",
                            woq_json_key(v));
    }
    return WOQ_OK;
}

/* Appends the tensors of one header; their names are copied. */
static int take_entries(struct woq_st *st, const struct woq_json *header, const uint8_t *data,
                        uint64_t data_bytes, struct woq_error *err)
{
    const size_t n0 = st->n_tensors;
    int rc = woq_st_reserve(st, woq_json_len(header), err);

    if (rc < 0)
        return rc;
    woq_json_each(entry, header)
    {
        const char *name = woq_json_key(entry);

        if (strcmp(name, "__metadata__") == 0) {
            if ((rc = check_metadata(entry, err)) < 0)
                return rc;
            continue;
        }
        struct woq_st_tensor *t = woq_st_add(st, name, strlen(name), err);
        if (!t)
            return WOQ_ENOMEM;
        if ((rc = get_tensor(t, entry, data, data_bytes, err)) < 0)
            return rc;
    }
    return check_gapless(st->tensors + n0, st->n_tensors - n0, data, data_bytes, err);
}

int woq_st_parse_safetensors(struct woq_st *st, const uint8_t *data, size_t bytes,
                             struct woq_error *err)
{
    struct woq_json *header = NULL;
    uint64_t n = 0;
    int rc;

    if (bytes < 8)
        return woq_fail(err, WOQ_ETRUNC, hint_damaged,
                        "truncated: %zu bytes, want at least the 8 of the header length", bytes);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | data[i];
    if (n > WOQ_ST_MAX_HEADER)
        return woq_fail(err, WOQ_EDATA, "is this a safetensors file?",
                        "header length %" PRIu64 ", want at most %u", n, WOQ_ST_MAX_HEADER);
    if (n > bytes - 8)
        return woq_fail(err, WOQ_ETRUNC, hint_damaged,
                        "truncated: header of %" PRIu64 " bytes, the file has %zu after its length",
                        n, bytes - 8);
    if ((rc = scan_header(data + 8, (size_t)n, err)) < 0)
        return rc;
    if ((rc = woq_json_parse(&header, (const char *)data + 8, (size_t)n, err)) < 0)
        return rc;
    if (woq_json_type(header) != WOQ_JOBJECT)
        rc = woq_fail(err, WOQ_EDATA, hint_damaged, "the header is not a JSON object");
    else
        rc = take_entries(st, header, data + 8 + n, bytes - 8 - n, err);
    woq_json_free(header);
    return rc;
}
