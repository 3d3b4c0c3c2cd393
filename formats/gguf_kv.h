/* gguf_kv.h -- single entries of the key-value section of a GGUF file, with exactly the value types
 * that llama.cpp asks for (formats.md 3.1, 3.4). Out of memory is noted in k->oom. */
#ifndef WOQ_FORMATS_GGUF_KV_H
#define WOQ_FORMATS_GGUF_KV_H
#include <formats/gguf.h>
#include <formats/gguf_keys.h>

/* `arch`: before the name, with a dot; or NULL. */
void woq_gguf_kv_text(struct woq_gguf_keys *k, const char *arch, const char *name, const char *s);
void woq_gguf_kv_u32(struct woq_gguf_keys *k, const char *arch, const char *name, size_t x);
void woq_gguf_kv_f32(struct woq_gguf_keys *k, const char *arch, const char *name, double x);
void woq_gguf_kv_bool(struct woq_gguf_keys *k, const char *arch, const char *name, bool b);
/* The start of n elements, which are to be put next. */
void woq_gguf_kv_array(struct woq_gguf_keys *k, const char *arch, const char *name,
                       enum woq_gguf_kind kind, size_t n);
void woq_gguf_put_raw(struct woq_gguf_keys *k, const void *data, size_t bytes);
void woq_gguf_put_u32(struct woq_gguf_keys *k, uint32_t x);
void woq_gguf_put_text(struct woq_gguf_keys *k, const char *s);

#endif
