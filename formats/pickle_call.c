/* pickle_call.c -- the globals that a state dict may name (formats.md 2.3, torch/_utils.py) and
 * what calling them gives. A global is a row of this table; nothing is ever imported. */
#include "pickle_internal.h"

#include <string.h>

enum { MAX_KEY = 32 }; /* a storage's number */

enum role {
    DICT,      /* collections.OrderedDict: a new one */
    SIZE,      /* torch.Size: its argument */
    TENSOR,    /* _rebuild_tensor...: storage, offset, shape, stride, ... */
    PARAMETER, /* _rebuild_parameter, Parameter: the tensor that comes first */
    WRAPPER,   /* _rebuild_from_type_v2: function, class, arguments, state */
    CLASS,     /* only named by a wrapper */
    STORAGE,   /* only named by a persistent id */
    DTYPE      /* last argument of _rebuild_tensor_v3; a value in HQQ's files */
};

/* clang-format off */
static const struct global {
    const char *module, *name;
    enum role role;
    const char *type; /* of elements, as safetensors spells it; "" = bytes */
    unsigned min_args, max_args;
} globals[] = {
    { "collections", "OrderedDict", DICT, NULL, 0, 1 },
    { "torch", "Size", SIZE, NULL, 1, 1 },
    { "torch._utils", "_rebuild_tensor", TENSOR, NULL, 4, 4 },
    { "torch._utils", "_rebuild_tensor_v2", TENSOR, NULL, 6, 7 },
    { "torch._utils", "_rebuild_tensor_v3", TENSOR, NULL, 7, 8 },
    { "torch._utils", "_rebuild_parameter", PARAMETER, NULL, 3, 3 },
    { "torch.nn.parameter", "Parameter", PARAMETER, NULL, 1, 2 },
    { "torch._tensor", "_rebuild_from_type_v2", WRAPPER, NULL, 4, 4 },
    { "torch", "Tensor", CLASS, NULL, 0, 0 },
    { "torch", "FloatStorage", STORAGE, "F32", 0, 0 },
    { "torch", "DoubleStorage", STORAGE, "F64", 0, 0 },
    { "torch", "HalfStorage", STORAGE, "F16", 0, 0 },
    { "torch", "BFloat16Storage", STORAGE, "BF16", 0, 0 },
    { "torch", "LongStorage", STORAGE, "I64", 0, 0 },
    { "torch", "IntStorage", STORAGE, "I32", 0, 0 },
    { "torch", "ShortStorage", STORAGE, "I16", 0, 0 },
    { "torch", "CharStorage", STORAGE, "I8", 0, 0 },
    { "torch", "ByteStorage", STORAGE, "U8", 0, 0 },
    { "torch", "BoolStorage", STORAGE, "BOOL", 0, 0 },
    { "torch", "ComplexFloatStorage", STORAGE, "C64", 0, 0 },
    { "torch.storage", "UntypedStorage", STORAGE, "", 0, 0 },
    { "torch.storage", "_UntypedStorage", STORAGE, "", 0, 0 },
    { "torch", "float32", DTYPE, "F32", 0, 0 },
    { "torch", "float64", DTYPE, "F64", 0, 0 },
    { "torch", "float16", DTYPE, "F16", 0, 0 },
    { "torch", "bfloat16", DTYPE, "BF16", 0, 0 },
    { "torch", "int64", DTYPE, "I64", 0, 0 },
    { "torch", "int32", DTYPE, "I32", 0, 0 },
    { "torch", "int16", DTYPE, "I16", 0, 0 },
    { "torch", "int8", DTYPE, "I8", 0, 0 },
    { "torch", "uint8", DTYPE, "U8", 0, 0 },
    { "torch", "uint16", DTYPE, "U16", 0, 0 },
    { "torch", "uint32", DTYPE, "U32", 0, 0 },
    { "torch", "uint64", DTYPE, "U64", 0, 0 },
    { "torch", "bool", DTYPE, "BOOL", 0, 0 },
    { "torch", "complex64", DTYPE, "C64", 0, 0 },
    { "torch", "float8_e4m3fn", DTYPE, "F8_E4M3", 0, 0 },
    { "torch", "float8_e5m2", DTYPE, "F8_E5M2", 0, 0 },
    { "torch", "float8_e4m3fnuz", DTYPE, "F8_E4M3FNUZ", 0, 0 },
    { "torch", "float8_e5m2fnuz", DTYPE, "F8_E5M2FNUZ", 0, 0 },
    { "torch", "float8_e8m0fnu", DTYPE, "F8_E8M0", 0, 0 },
};
/* clang-format on */

int woq_pickle_global(const char *module, const char *name)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strcmp(globals[i].module, module) == 0 && strcmp(globals[i].name, name) == 0)
            return (int)i;
    return -1;
}

const char *woq_pickle_storage_name(const char *type)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (globals[i].role == STORAGE && strcmp(globals[i].type, type) == 0)
            return globals[i].name;
    return NULL;
}

static const struct global *global_of(const struct woq_pickle_value *v, enum role role)
{
    const struct global *g = v->kind == WOQ_PICKLE_GLOBAL ? &globals[v->i] : NULL;

    return g && g->role == role ? g : NULL;
}

const char *woq_pickle_dtype(const struct woq_pickle_value *v)
{
    const struct global *g = global_of(v, DTYPE);

    return g ? g->name : NULL;
}

static bool is_tuple(const struct woq_pickle_value *v)
{
    return v->kind == WOQ_PICKLE_SEQ && !v->is_list;
}

/* A tuple of sizes; false if it is none. */
static bool get_sizes(const struct woq_pickle_value *v, unsigned *n, uint64_t *out)
{
    if (!is_tuple(v) || v->seq.n > WOQ_MAX_DIMS)
        return false;
    *n = (unsigned)v->seq.n;
    for (unsigned i = 0; i < *n; i++) {
        const struct woq_pickle_value *x = v->seq.items[i];

        if (x->kind != WOQ_PICKLE_INT || x->i < 0)
            return false;
        out[i] = (uint64_t)x->i;
    }
    return true;
}

static struct woq_pickle_value *bad(struct woq_error *err, const char *what)
{
    woq_fail(err, WOQ_EDATA, woq_pickle_hint, "%s", what);
    return NULL;
}

static struct woq_pickle_value *
make_tensor(struct woq_pickle *p, const struct woq_pickle_value *args, struct woq_error *err)
{
    struct woq_pickle_value *const *a = args->seq.items, *v;
    struct woq_pickle_tensor *t = woq_arena_alloc(&p->arena, sizeof *t, err);
    unsigned n_strides = 0;

    if (!t)
        return NULL;
    memset(t, 0, sizeof *t);
    if (a[0]->kind != WOQ_PICKLE_STORAGE)
        return bad(err, "a tensor without a storage");
    if (a[1]->kind != WOQ_PICKLE_INT || a[1]->i < 0)
        return bad(err, "a tensor whose offset is no size");
    if (!get_sizes(a[2], &t->n_dims, t->shape) || !get_sizes(a[3], &n_strides, t->stride) ||
        n_strides != t->n_dims)
        return bad(err, "a tensor whose shape and strides are not tuples of at most 8 sizes");
    t->storage = a[0]->storage;
    t->offset = (uint64_t)a[1]->i;
    t->type = t->storage->type;
    if (args->seq.n >= 7 && a[6]->kind == WOQ_PICKLE_GLOBAL) { /* v3; v2 has metadata there */
        const struct global *dtype = global_of(a[6], DTYPE);

        if (!dtype)
            return bad(err, "a tensor whose dtype is none");
        t->type = dtype->type;
    }
    if (!t->type)
        return bad(err, "a tensor over untyped bytes without a dtype");
    if ((v = woq_pickle_new(p, WOQ_PICKLE_TENSOR, err)))
        v->tensor = t;
    return v;
}

/* OrderedDict() or, by old Pythons, OrderedDict([[key, value], ...]). */
static struct woq_pickle_value *make_dict(struct woq_pickle *p, const struct woq_pickle_value *args,
                                          struct woq_error *err)
{
    struct woq_pickle_value *v = woq_pickle_new(p, WOQ_PICKLE_DICT, err);
    const struct woq_pickle_value *list = args->seq.n ? args->seq.items[0] : NULL;

    if (list && list->kind != WOQ_PICKLE_SEQ)
        return bad(err, "an OrderedDict of what is no list");
    for (size_t i = 0; v && list && i < list->seq.n; i++) {
        const struct woq_pickle_value *pair = list->seq.items[i];

        if (pair->kind != WOQ_PICKLE_SEQ || pair->seq.n != 2)
            return bad(err, "an OrderedDict of what are no pairs");
        if (woq_pickle_append(p, v, pair->seq.items[0], err) < 0 ||
            woq_pickle_append(p, v, pair->seq.items[1], err) < 0)
            return NULL;
    }
    return v;
}

static struct woq_pickle_value *call(struct woq_pickle *p, const struct global *g,
                                     const struct woq_pickle_value *args, struct woq_error *err)
{
    struct woq_pickle_value *const *a = args->seq.items;

    if (args->seq.n < g->min_args || args->seq.n > g->max_args) {
        woq_fail(err, WOQ_EDATA, woq_pickle_hint, "%s.%s with %zu arguments", g->module, g->name,
                 args->seq.n);
        return NULL;
    }
    switch (g->role) {
    case DICT:
        return make_dict(p, args, err);
    case SIZE:
        return is_tuple(a[0]) ? a[0] : bad(err, "a torch.Size of what is no tuple");
    case TENSOR:
        return make_tensor(p, args, err);
    case PARAMETER:
        return a[0]->kind == WOQ_PICKLE_TENSOR ? a[0] : bad(err, "a parameter without a tensor");
    default:
        woq_fail(err, WOQ_EDATA, woq_pickle_hint, "a call of %s.%s", g->module, g->name);
        return NULL;
    }
}

struct woq_pickle_value *woq_pickle_call(struct woq_pickle *p,
                                         const struct woq_pickle_value *callee,
                                         const struct woq_pickle_value *args, struct woq_error *err)
{
    const struct global *g = &globals[callee->i];
    struct woq_pickle_value *const *a = args->seq.items;

    if (g->role != WRAPPER)
        return call(p, g, args, err);
    /* The function inside may be anything but a wrapper again: no depth that a file decides. */
    if (args->seq.n != 4 || a[0]->kind != WOQ_PICKLE_GLOBAL || !is_tuple(a[2]))
        return bad(err, "_rebuild_from_type_v2 without function, class, arguments and state");
    return call(p, &globals[a[0]->i], a[2], err);
}

struct woq_pickle_value *woq_pickle_persistent(struct woq_pickle *p,
                                               const struct woq_pickle_value *id,
                                               struct woq_error *err)
{
    struct woq_pickle_storage *s = woq_arena_alloc(&p->arena, sizeof *s, err);
    struct woq_pickle_value *const *a = id->seq.items, *v;
    const struct global *g;
    char *key;

    if (!s)
        return NULL;
    if (!is_tuple(id) || id->seq.n < 5 || id->seq.n > 6 ||
        (id->seq.n == 6 && a[5]->kind != WOQ_PICKLE_NONE) || a[0]->kind != WOQ_PICKLE_STR ||
        a[0]->str.bytes != 7 || memcmp(a[0]->str.s, "storage", 7) != 0 ||
        a[2]->kind != WOQ_PICKLE_STR || a[2]->str.bytes > MAX_KEY ||
        memchr(a[2]->str.s, 0, a[2]->str.bytes) || a[4]->kind != WOQ_PICKLE_INT || a[4]->i < 0 ||
        !(g = global_of(a[1], STORAGE)))
        return bad(err, "a persistent id that names no storage");
    if (!(key = woq_arena_alloc(&p->arena, a[2]->str.bytes + 1, err)))
        return NULL;
    memcpy(key, a[2]->str.s, a[2]->str.bytes);
    key[a[2]->str.bytes] = '\0';
    *s = (struct woq_pickle_storage){ key, g->type[0] ? g->type : NULL, (uint64_t)a[4]->i };
    if ((v = woq_pickle_new(p, WOQ_PICKLE_STORAGE, err)))
        v->storage = s;
    return v;
}
