/* gguf_kv.c -- see the header. */
#include <formats/gguf_kv.h>

#include <stdio.h>
#include <string.h>

void woq_gguf_put_raw(struct woq_gguf_keys *k, const void *data, size_t bytes)
{
    if (woq_str_add(&k->text, data, bytes) != WOQ_OK)
        k->oom = true;
}

void woq_gguf_put_u32(struct woq_gguf_keys *k, uint32_t x)
{
    woq_gguf_put_raw(k, &x, 4);
}

static void put_u64(struct woq_gguf_keys *k, uint64_t x)
{
    woq_gguf_put_raw(k, &x, 8);
}

void woq_gguf_put_text(struct woq_gguf_keys *k, const char *s)
{
    put_u64(k, strlen(s));
    woq_gguf_put_raw(k, s, strlen(s));
}

static void key(struct woq_gguf_keys *k, const char *arch, const char *name,
                enum woq_gguf_kind kind)
{
    char full[160];

    snprintf(full, sizeof full, "%s%s%s", arch ? arch : "", arch ? "." : "", name);
    woq_gguf_put_text(k, full);
    woq_gguf_put_u32(k, kind);
    k->n++;
}

void woq_gguf_kv_text(struct woq_gguf_keys *k, const char *arch, const char *name, const char *s)
{
    key(k, arch, name, WOQ_GGUF_STRING);
    woq_gguf_put_text(k, s);
}

void woq_gguf_kv_u32(struct woq_gguf_keys *k, const char *arch, const char *name, size_t x)
{
    key(k, arch, name, WOQ_GGUF_U32);
    woq_gguf_put_u32(k, (uint32_t)x);
}

void woq_gguf_kv_f32(struct woq_gguf_keys *k, const char *arch, const char *name, double x)
{
    const float f = (float)x;

    key(k, arch, name, WOQ_GGUF_F32);
    woq_gguf_put_raw(k, &f, 4);
}

void woq_gguf_kv_bool(struct woq_gguf_keys *k, const char *arch, const char *name, bool b)
{
    const uint8_t byte = b;

    key(k, arch, name, WOQ_GGUF_BOOL);
    woq_gguf_put_raw(k, &byte, 1);
}

void woq_gguf_kv_array(struct woq_gguf_keys *k, const char *arch, const char *name,
                       enum woq_gguf_kind kind, size_t n)
{
    key(k, arch, name, WOQ_GGUF_ARRAY);
    woq_gguf_put_u32(k, kind);
    put_u64(k, n);
}
