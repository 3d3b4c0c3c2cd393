/* torch_hqq.c -- HQQ's own files of torch.save (formats.md 4.g): a dict of the state dicts of
 * modules, or one state dict, in which numbers, words and dicts stand beside tensors. They become
 * the tensors that the package's encoding for safetensors makes of them, the ones of inner dicts
 * under both names. */
#include "torch_internal.h"

#include <stdlib.h>
#include <string.h>

/* Modules, "meta" of releases before 0.2, meta_scale. */
enum { DEPTH = 3 };

static bool is_text(const struct woq_pickle_value *v, const char *text)
{
    return v->kind == WOQ_PICKLE_STR && v->str.bytes == strlen(text) &&
           memcmp(v->str.s, text, v->str.bytes) == 0;
}

bool woq_torch_is_hqq(const struct woq_pickle_value *root)
{
    for (size_t i = 0; root->kind == WOQ_PICKLE_DICT && i + 1 < root->seq.n; i += 2) {
        const struct woq_pickle_value *key = root->seq.items[i], *value = root->seq.items[i + 1];
        const struct woq_pickle_value *codes = woq_pickle_get(value, "W_q");

        if ((codes && codes->kind == WOQ_PICKLE_TENSOR) ||
            (value->kind == WOQ_PICKLE_TENSOR && key->kind == WOQ_PICKLE_STR &&
             key->str.bytes > 4 && memcmp(key->str.s + key->str.bytes - 4, ".W_q", 4) == 0))
            return true;
    }
    return false;
}

/* A torch.Size. */
static bool is_sizes(const struct woq_pickle_value *v)
{
    bool ok = v->kind == WOQ_PICKLE_SEQ && !v->is_list && v->seq.n <= WOQ_MAX_DIMS;

    for (size_t i = 0; ok && i < v->seq.n; i++)
        ok = v->seq.items[i]->kind == WOQ_PICKLE_INT;
    return ok;
}

static bool is_leaf(const struct woq_pickle_value *v)
{
    return v->kind == WOQ_PICKLE_TENSOR || v->kind == WOQ_PICKLE_BOOL ||
           v->kind == WOQ_PICKLE_INT || v->kind == WOQ_PICKLE_FLOAT || v->kind == WOQ_PICKLE_STR ||
           woq_pickle_dtype(v) || is_sizes(v);
}

/* Values may stand in many dicts, or in themselves: `most` bounds what comes of it. */
static size_t count(const struct woq_pickle_value *v, unsigned depth, size_t most)
{
    size_t n = 0;

    if (v->kind != WOQ_PICKLE_DICT)
        return is_leaf(v);
    for (size_t i = 0; i + 1 < v->seq.n && depth <= DEPTH && n <= most; i += 2)
        n += 1 + count(v->seq.items[i + 1], depth + 1, most - n);
    return n;
}

static int own(struct woq_st_tensor *t, const char *stored, unsigned n_dims, size_t n,
               const void *data, struct woq_error *err)
{
    const unsigned width = woq_st_dtype(stored, &t->dtype) / 8;

    memcpy(t->stored, stored, strlen(stored) + 1);
    t->n_dims = n_dims;
    t->shape[0] = n_dims ? n : 0;
    t->bytes = n * width;
    if (!(t->owned = woq_alloc(t->bytes + 1, err)))
        return WOQ_ENOMEM;
    memcpy(t->owned, data, t->bytes);
    t->data = t->owned;
    return WOQ_OK;
}

static int own_text(struct woq_st_tensor *t, const char *head, const char *text, size_t bytes,
                    struct woq_error *err)
{
    struct woq_str s = { 0 };
    int rc = woq_str_addf(&s, "%s", head);

    if (rc == WOQ_OK)
        rc = woq_str_add(&s, text, bytes);
    rc = rc == WOQ_OK ? own(t, "U8", 1, s.len, s.s, err) : woq_fail_nomem(err, bytes);
    woq_str_release(&s);
    return rc;
}

static int encode(struct woq_st_tensor *t, const struct woq_pickle_value *v, struct woq_error *err)
{
    const char *dtype = woq_pickle_dtype(v);
    int64_t sizes[WOQ_MAX_DIMS];
    int32_t small;
    float f;

    switch (v->kind) {
    case WOQ_PICKLE_BOOL:
        return own(t, "U8", 0, 1, &(const uint8_t){ v->i != 0 }, err);
    case WOQ_PICKLE_INT:
        small = (int32_t)v->i;
        return small == v->i ? own(t, "I32", 0, 1, &small, err) : own(t, "I64", 0, 1, &v->i, err);
    case WOQ_PICKLE_FLOAT:
        f = (float)v->f;
        return own(t, "F32", 0, 1, &f, err);
    case WOQ_PICKLE_STR:
        return own_text(t, "", v->str.s, v->str.bytes, err);
    case WOQ_PICKLE_SEQ:
        for (size_t i = 0; i < v->seq.n; i++)
            sizes[i] = v->seq.items[i]->i;
        return own(t, "I64", 1, v->seq.n, sizes, err);
    default:
        return own_text(t, "torch.", dtype, strlen(dtype), err);
    }
}

/* Of "meta" the name is left out, as where its values stand in the module itself. */
static int add_name(struct woq_str *name, const struct woq_pickle_value *key,
                    const struct woq_pickle_value *value, struct woq_error *err)
{
    int rc = woq_torch_key(key, err);

    if (rc < 0 || (value->kind == WOQ_PICKLE_DICT && is_text(key, "meta")))
        return rc;
    if (name->len)
        rc = woq_str_add(name, ".", 1);
    if (rc == WOQ_OK)
        rc = woq_str_add(name, key->str.s, key->str.bytes);
    return rc == WOQ_OK ? rc : woq_fail_nomem(err, key->str.bytes);
}

static int take(struct woq_st *st, struct woq_str *name, const struct woq_pickle_value *dict,
                unsigned depth, const struct woq_zip *z, struct woq_error *err)
{
    const size_t head = name->len;
    int rc = WOQ_OK;

    for (size_t i = 0; i + 1 < dict->seq.n && depth <= DEPTH && rc == WOQ_OK; i += 2) {
        const struct woq_pickle_value *value = dict->seq.items[i + 1];
        struct woq_st_tensor *t;

        if (value->kind != WOQ_PICKLE_DICT && !is_leaf(value))
            continue;
        if ((rc = add_name(name, dict->seq.items[i], value, err)) < 0)
            break;
        if (value->kind == WOQ_PICKLE_DICT)
            rc = take(st, name, value, depth + 1, z, err);
        else if (!(t = woq_st_add(st, name->s, name->len, err)))
            rc = WOQ_ENOMEM;
        else
            rc = value->kind == WOQ_PICKLE_TENSOR ? woq_torch_place(t, value->tensor, z, err)
                                                  : encode(t, value, err);
        name->len = head;
    }
    return rc;
}

int woq_torch_take_hqq(struct woq_st *st, const struct woq_pickle *p,
                       const struct woq_pickle_value *root, const struct woq_zip *z,
                       struct woq_error *err)
{
    const size_t n = count(root, 0, p->n_values);
    struct woq_str name = { 0 };
    int rc;

    if (n > p->n_values)
        return woq_fail(err, WOQ_EDATA, woq_torch_damaged,
                        "dicts stand in each other again and again");
    rc = woq_st_reserve(st, n, err);
    if (rc == WOQ_OK)
        rc = take(st, &name, root, 0, z, err);
    woq_str_release(&name);
    return rc;
}
