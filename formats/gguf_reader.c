/* gguf_reader.c -- see the header. */
#include <formats/gguf_reader.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

const struct woq_gguf_kv *woq_gguf_find(const struct woq_gguf_reader *r, const char *key)
{
    char full[160];

    if ((size_t)snprintf(full, sizeof full, "%s.%s", r->name, key) >= sizeof full)
        return NULL;
    return woq_gguf_get(r->g, full);
}

uint64_t woq_gguf_size(struct woq_gguf_reader *r, const char *key, uint64_t otherwise)
{
    const struct woq_gguf_kv *kv = woq_gguf_find(r, key);
    uint64_t x = otherwise, y;

    if (r->rc < 0)
        return 1;
    if (!kv && !otherwise)
        r->rc = woq_fail(r->err, WOQ_EDATA, NULL, "key '%s.%s' is missing", r->name, key);
    if (kv && (!woq_gguf_u64(kv, 0, &x) || x == 0 || x > INT32_MAX))
        r->rc = woq_fail(r->err, WOQ_EDATA, NULL, "key '%s.%s' is no size from 1 to 2^31-1",
                         r->name, key);
    for (uint64_t i = 1; r->rc == WOQ_OK && kv && i < kv->n; i++)
        if (!woq_gguf_u64(kv, i, &y) || y != x)
            r->rc = woq_fail(r->err, WOQ_EUNSUPPORTED, NULL,
                             "key '%s.%s' differs between layers, which config.json can't say",
                             r->name, key);
    return r->rc < 0 ? 1 : x;
}

double woq_gguf_num(struct woq_gguf_reader *r, const char *key, double otherwise)
{
    const struct woq_gguf_kv *kv = woq_gguf_find(r, key);
    double x = otherwise;

    if (r->rc < 0 || (!kv && !isnan(otherwise)))
        return otherwise;
    if (!kv)
        r->rc = woq_fail(r->err, WOQ_EDATA, NULL, "key '%s.%s' is missing", r->name, key);
    else if (!woq_gguf_f64(kv, 0, &x) || !isfinite(x))
        r->rc = woq_fail(r->err, WOQ_EDATA, NULL, "key '%s.%s' is no finite number", r->name, key);
    return x;
}

uint64_t woq_gguf_count(const struct woq_gguf_reader *r, const char *key)
{
    uint64_t x;

    return woq_gguf_u64(woq_gguf_find(r, key), 0, &x) ? x : 0;
}

bool woq_gguf_has_text(const struct woq_gguf_kv *kv, const char *text)
{
    const char *s;
    size_t len;

    return woq_gguf_string(kv, &s, &len) && len == strlen(text) && memcmp(s, text, len) == 0;
}
