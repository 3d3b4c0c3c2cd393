/* gguf.h -- the container of GGUF v2 and v3 from memory or a mapped file: keys and tensors, checked
 * against every limit of the reference reader (formats.md 3.1). What the keys mean for a model is
 * gguf_source.c's business, the vocabulary gguf_vocab.h's; writing is gguf_write.h's. */
#ifndef WOQ_GGUF_H
#define WOQ_GGUF_H
#include <formats/ggml_types.h>
#include <woq/util.h>

enum woq_gguf_kind {
    WOQ_GGUF_U8,
    WOQ_GGUF_I8,
    WOQ_GGUF_U16,
    WOQ_GGUF_I16,
    WOQ_GGUF_U32,
    WOQ_GGUF_I32,
    WOQ_GGUF_F32,
    WOQ_GGUF_BOOL,
    WOQ_GGUF_STRING,
    WOQ_GGUF_ARRAY,
    WOQ_GGUF_U64,
    WOQ_GGUF_I64,
    WOQ_GGUF_F64,
    WOQ_GGUF_N_KINDS
};

struct woq_gguf_kv {
    char *key;
    enum woq_gguf_kind kind; /* of the value, or of an array's elements; never WOQ_GGUF_ARRAY */
    bool is_array;
    uint64_t n;          /* elements, 1 for a scalar */
    const uint8_t *data; /* first value in the file, aligned to nothing */
    size_t bytes;
};

struct woq_gguf_tensor {
    char *name;
    const struct woq_ggml_type *type;
    unsigned n_dims;
    uint64_t shape[4]; /* outermost first, as in HF: {out, in} */
    const uint8_t *data;
    size_t bytes; /* without padding */
};

struct woq_gguf {
    uint32_t version;
    uint64_t alignment;
    struct woq_gguf_kv *kv; /* file order, unique keys */
    size_t n_kv;
    struct woq_gguf_tensor *tensors; /* file order, unique names */
    size_t n_tensors;
    struct woq_map map;   /* zeroed where the bytes belong to the caller */
    struct woq_map *more; /* of the other parts of a split model (gguf_split.h) */
    size_t n_more;
};

/* From memory; `data` is borrowed until release. */
int woq_gguf_parse(struct woq_gguf *g, const void *data, size_t bytes, struct woq_error *err);
int woq_gguf_open(struct woq_gguf *g, const char *path, struct woq_error *err);
void woq_gguf_release(struct woq_gguf *g); /* accepts a zeroed struct */

const struct woq_gguf_kv *woq_gguf_get(const struct woq_gguf *g, const char *key);
const struct woq_gguf_tensor *woq_gguf_tensor(const struct woq_gguf *g, const char *name);

/* Element i of a kv (0 for a scalar); false if absent (kv NULL), i >= n, or of another kind:
 * u64 takes any non-negative integer, i64 any integer that fits, f64 any float or integer. */
bool woq_gguf_u64(const struct woq_gguf_kv *kv, uint64_t i, uint64_t *out);
bool woq_gguf_i64(const struct woq_gguf_kv *kv, uint64_t i, int64_t *out);
bool woq_gguf_f64(const struct woq_gguf_kv *kv, uint64_t i, double *out);
bool woq_gguf_bool(const struct woq_gguf_kv *kv, bool *out);
/* A string scalar; *s is not NUL-terminated. */
bool woq_gguf_string(const struct woq_gguf_kv *kv, const char **s, size_t *len);
/* Walks a string array: start with *at = 0 bytes; false at the end. */
bool woq_gguf_next_string(const struct woq_gguf_kv *kv, size_t *at, const char **s, size_t *len);

#endif
