/* pickle.h -- the pickles of torch.save: a state dict as a tree of values, nothing else.
 *
 * A pickle is a program that may import and call anything. Here it may only build dicts, lists,
 * tuples, strings, numbers and tensors: the opcodes and globals of formats.md 2.2 and 2.3, which is
 * what torch.load(weights_only=True) takes for plain state dicts. Nothing is looked up by name at
 * run time and nothing is called; values may refer to each other in circles, so who reads them must
 * not follow references without end. */
#ifndef WOQ_PICKLE_H
#define WOQ_PICKLE_H
#include <woq/frame.h>

enum woq_pickle_kind {
    WOQ_PICKLE_NONE,
    WOQ_PICKLE_BOOL,
    WOQ_PICKLE_INT,
    WOQ_PICKLE_FLOAT,
    WOQ_PICKLE_STR,
    WOQ_PICKLE_SEQ,    /* tuple, list */
    WOQ_PICKLE_DICT,   /* keys and values in turn */
    WOQ_PICKLE_GLOBAL, /* a row of the table of globals */
    WOQ_PICKLE_STORAGE,
    WOQ_PICKLE_TENSOR
};

/* What a tensor lies in: the member data/KEY of the archive. */
struct woq_pickle_storage {
    const char *key;  /* NUL-terminated, in the arena */
    const char *type; /* element type as safetensors spells it, "F32"; NULL: untyped bytes */
    uint64_t n_elem;  /* bytes where untyped */
};

struct woq_pickle_tensor {
    const struct woq_pickle_storage *storage;
    const char *type;
    uint64_t offset; /* elements, as the strides */
    unsigned n_dims;
    uint64_t shape[WOQ_MAX_DIMS], stride[WOQ_MAX_DIMS];
};

struct woq_pickle_value {
    enum woq_pickle_kind kind;
    bool is_list; /* of a SEQ */
    union {
        int64_t i; /* INT, BOOL; GLOBAL: row */
        double f;
        struct {
            const char *s; /* in the pickle, not NUL-terminated */
            size_t bytes;
        } str;
        struct {
            struct woq_pickle_value **items;
            size_t n, cap;
        } seq; /* SEQ, DICT */
        const struct woq_pickle_storage *storage;
        const struct woq_pickle_tensor *tensor;
    };
};

struct woq_pickle {
    struct woq_pickle_value *root;
    struct woq_arena arena; /* owns every value */
    size_t n_values;
};

/* Runs a pickle; `data` is borrowed until release. On failure nothing is left to release. Shapes
 * and strides are not compared with the storage: that is torch.c's business. */
int woq_pickle_parse(struct woq_pickle *p, const uint8_t *data, size_t bytes,
                     struct woq_error *err);
void woq_pickle_release(struct woq_pickle *p); /* accepts a zeroed struct */

/* Value of a string key in a dict, or NULL. */
const struct woq_pickle_value *woq_pickle_get(const struct woq_pickle_value *dict, const char *key);

/* "float16" of torch.float16; NULL for what is no dtype. */
const char *woq_pickle_dtype(const struct woq_pickle_value *v);

/* PyTorch's class of storages of an element type as safetensors spells it: "FloatStorage" for F32;
 * NULL if there is none. */
const char *woq_pickle_storage_name(const char *type);

#endif
