/* torch_write.c -- see the header. The pickle is what torch.load(weights_only=True) takes: an
 * OrderedDict of calls of _rebuild_tensor_v2, without a memo. */
#include <formats/torch_write.h>

#include <formats/pickle.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ORDERED_DICT "ccollections\nOrderedDict\n)R"

/* The opcode and `bytes` bytes of x. */
static int put(struct woq_str *s, char op, uint64_t x, unsigned bytes)
{
    char text[9] = { op };

    for (unsigned i = 0; i < bytes; i++)
        text[1 + i] = (char)(x >> 8 * i & 255);
    return woq_str_add(s, text, 1 + bytes);
}

/* BININT1, BININT2, BININT, or LONG1 of 8 bytes. */
static int put_int(struct woq_str *s, uint64_t x)
{
    if (x <= UINT8_MAX)
        return put(s, 'K', x, 1);
    if (x <= UINT16_MAX)
        return put(s, 'M', x, 2);
    if (x <= INT32_MAX)
        return put(s, 'J', x, 4);
    const int rc = woq_str_add(s, "\212\10", 2);
    return rc == WOQ_OK ? woq_str_add(s, (const char *)&x, 8) : rc;
}

static int put_text(struct woq_str *s, const char *text)
{
    const size_t n = strlen(text);
    const int rc = put(s, 'X', n, 4);

    return rc == WOQ_OK ? woq_str_add(s, text, n) : rc;
}

/* ('storage', torch.FloatStorage, '0', 'cpu', elements) */
static int put_storage(struct woq_str *s, const struct woq_st_entry *e, size_t number)
{
    char key[24];
    int rc = woq_str_add(s, "(", 1);

    snprintf(key, sizeof key, "%zu", number);
    if (rc == WOQ_OK)
        rc = put_text(s, "storage");
    if (rc == WOQ_OK)
        rc = woq_str_addf(s, "ctorch\n%s\n", woq_pickle_storage_name(e->stored));
    if (rc == WOQ_OK)
        rc = put_text(s, key);
    if (rc == WOQ_OK)
        rc = put_text(s, "cpu");
    if (rc == WOQ_OK)
        rc = put_int(s, e->bytes / woq_dtype_bytes(e->dtype));
    return rc == WOQ_OK ? woq_str_add(s, "tQ", 2) : rc;
}

/* The shape, or the elements from one of a dimension to the next. */
static int put_sizes(struct woq_str *s, const struct woq_st_entry *e, bool strides)
{
    int rc = woq_str_add(s, "(", 1);

    for (unsigned d = 0; d < e->n_dims && rc == WOQ_OK; d++) {
        uint64_t step = 1;
        for (unsigned k = d + 1; k < e->n_dims; k++)
            step *= e->shape[k] ? e->shape[k] : 1;
        rc = put_int(s, strides ? step : e->shape[d]);
    }
    return rc == WOQ_OK ? woq_str_add(s, "t", 1) : rc;
}

static int put_tensor(struct woq_str *s, const struct woq_st_entry *e, size_t number)
{
    int rc = put_text(s, e->name);

    if (rc == WOQ_OK)
        rc = woq_str_addf(s, "ctorch._utils\n_rebuild_tensor_v2\n(");
    if (rc == WOQ_OK)
        rc = put_storage(s, e, number);
    if (rc == WOQ_OK)
        rc = put_int(s, 0);
    if (rc == WOQ_OK)
        rc = put_sizes(s, e, false);
    if (rc == WOQ_OK)
        rc = put_sizes(s, e, true);
    return rc == WOQ_OK ? woq_str_addf(s, "\211" ORDERED_DICT "tR") : rc;
}

int woq_torch_begin(struct woq_zip_writer *z, const struct woq_st_entry *e, size_t number,
                    struct woq_error *err)
{
    char name[32];

    if (!woq_pickle_storage_name(e->stored))
        return woq_fail(err, WOQ_ETYPE, "use a format of safetensors",
                        "'%s' is %s: a PyTorch file has no storage of that type", e->name,
                        e->stored);
    snprintf(name, sizeof name, "data/%zu", number);
    return woq_zip_begin(z, name, e->bytes, err);
}

int woq_torch_finish(struct woq_zip_writer *z, const struct woq_st_entry *entries, size_t n,
                     struct woq_error *err)
{
    struct woq_str s = { 0 };
    int rc = woq_str_addf(&s, "\200\2" ORDERED_DICT "(");

    for (size_t i = 0; i < n && rc == WOQ_OK; i++)
        rc = put_tensor(&s, &entries[i], i);
    if (rc == WOQ_OK)
        rc = woq_str_add(&s, "u.", 2);
    rc = rc == WOQ_OK ? woq_zip_put(z, "data.pkl", s.s, s.len, err) : woq_fail_nomem(err, s.len);
    if (rc == WOQ_OK)
        rc = woq_zip_put(z, "byteorder", "little", 6, err);
    if (rc == WOQ_OK)
        rc = woq_zip_put(z, "version", "3\n", 2, err);
    woq_str_release(&s);
    return rc == WOQ_OK ? woq_zip_writer_finish(z, err) : rc;
}
