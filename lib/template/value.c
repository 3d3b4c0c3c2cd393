/* value.c -- values of a running template, compared and measured as Python does. */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const struct tpl_val tpl_none = { .type = TPL_NONE };
const struct tpl_val tpl_undefined = { .type = TPL_UNDEFINED };

/* ------------------------------------------------------------------ limits */
void tpl_fail(struct tpl_run *r, enum woq_status status, const char *hint, const char *fmt, ...)
{
    char what[640];
    va_list ap;

    if (r->rc < 0)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    r->rc = r->at ? tpl_fail_at(r->err, status, hint, r->at->line, r->at->col, what)
                  : woq_fail(r->err, status, hint, "%s", what);
}

void tpl_unsupported(struct tpl_run *r, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    tpl_fail(r, WOQ_EUNSUPPORTED, NULL, "%s: not supported", what);
}

static bool use_bytes(struct tpl_run *r, size_t n)
{
    if (r->rc == WOQ_OK && n > r->limits.bytes - r->used_bytes)
        tpl_fail(r, WOQ_EDATA, NULL, "the template makes more than %zu bytes of values and text",
                 r->limits.bytes);
    if (r->rc < 0)
        return false;
    r->used_bytes += n;
    return true;
}

void *tpl_alloc(struct tpl_run *r, size_t n, size_t size)
{
    size_t bytes;
    void *p;

    if (!woq_mul_size(n, size, &bytes) || bytes > SIZE_MAX - 64) {
        r->rc = r->rc < 0 ? r->rc : woq_fail_nomem(r->err, SIZE_MAX);
        return NULL;
    }
    bytes = (size_t)woq_align(bytes ? bytes : 1, 16);
    if (!use_bytes(r, bytes))
        return NULL;
    if (bytes > r->block_left) {
        const size_t piece = bytes > 8192 ? bytes : 65536;

        p = woq_arena_alloc(&r->arena, piece, r->err);
        if (!p) {
            r->rc = WOQ_ENOMEM;
            return NULL;
        }
        if (piece == bytes)
            return memset(p, 0, bytes);
        r->block = p;
        r->block_left = piece;
    }
    p = r->block;
    r->block += bytes;
    r->block_left -= bytes;
    return memset(p, 0, bytes);
}

bool tpl_step(struct tpl_run *r, size_t n)
{
    if (r->rc == WOQ_OK && n > r->limits.steps - r->n_steps)
        tpl_fail(r, WOQ_EDATA, NULL, "the template takes more than %zu steps", r->limits.steps);
    if (r->rc < 0)
        return false;
    r->n_steps += n;
    return true;
}

void tpl_add(struct tpl_run *r, struct woq_str *out, const char *s, size_t n)
{
    if (use_bytes(r, n) && woq_str_add(out, s, n) < 0)
        r->rc = woq_fail_nomem(r->err, n);
}

/* ------------------------------------------------------------------ scalars, strings */
struct tpl_val tpl_bool(bool b)
{
    return (struct tpl_val){ .type = TPL_BOOL, .b = b };
}

struct tpl_val tpl_int(int64_t i)
{
    return (struct tpl_val){ .type = TPL_INT, .i = i };
}

struct tpl_val tpl_float(double f)
{
    return (struct tpl_val){ .type = TPL_FLOAT, .f = f };
}

struct tpl_val tpl_text(const char *s, size_t len)
{
    return (struct tpl_val){ .type = TPL_STRING, .s = s, .len = len };
}

struct tpl_val tpl_text_copy(struct tpl_run *r, const char *s, size_t len)
{
    char *copy = tpl_alloc(r, len + 1, 1);

    if (!copy)
        return tpl_text("", 0);
    if (len)
        memcpy(copy, s, len);
    return tpl_text(copy, len);
}

struct tpl_val tpl_text_of(struct tpl_run *r, struct woq_str *s)
{
    const struct tpl_val v = tpl_text_copy(r, s->s, s->len);

    woq_str_release(s);
    return v;
}

struct tpl_val tpl_missing(struct tpl_run *r, const char *fmt, ...)
{
    char what[160];
    struct tpl_val v;
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    v = tpl_text_copy(r, what, strlen(what));
    v.type = TPL_UNDEFINED;
    return v;
}

bool tpl_is_seq(struct tpl_val v)
{
    return v.type >= TPL_LIST && v.type <= TPL_GENERATOR;
}

bool tpl_is_number(struct tpl_val v)
{
    return v.type == TPL_BOOL || v.type == TPL_INT || v.type == TPL_FLOAT;
}

bool tpl_text_is(struct tpl_val v, const char *s)
{
    return v.type == TPL_STRING && v.len == strlen(s) && !memcmp(v.s, s, v.len);
}

double tpl_number(struct tpl_val v)
{
    return v.type == TPL_BOOL ? v.b : v.type == TPL_INT ? (double)v.i : v.f;
}

/* ------------------------------------------------------------------ lists and dicts */
/* 1 + the depth of what v holds; rc when that is too much. */
static unsigned depth_of(struct tpl_run *r, struct tpl_val v)
{
    const unsigned d = tpl_is_seq(v) ? v.seq->depth : v.type == TPL_DICT ? v.dict->depth : 0;

    if (d + 1 > TPL_MAX_NESTED)
        tpl_fail(r, WOQ_EDATA, NULL, "lists and objects nested more than %d deep", TPL_MAX_NESTED);
    return d + 1;
}

struct tpl_val tpl_seq_new(struct tpl_run *r, enum tpl_type type, size_t n)
{
    struct tpl_seq *seq = tpl_alloc(r, 1, sizeof *seq);
    struct tpl_val *v = seq ? tpl_alloc(r, n, sizeof *v) : NULL;

    if (!v)
        return (struct tpl_val){ .type = type, .seq = &r->no_items };
    seq->v = v;
    seq->n = n;
    return (struct tpl_val){ .type = type, .seq = seq };
}

void tpl_seq_set(struct tpl_run *r, struct tpl_val seq, size_t i, struct tpl_val v)
{
    const unsigned depth = depth_of(r, v);

    if (r->rc < 0 || i >= seq.seq->n)
        return;
    seq.seq->v[i] = v;
    if (depth > seq.seq->depth)
        seq.seq->depth = depth;
}

void tpl_seq_push(struct tpl_run *r, struct tpl_val list, struct tpl_val v)
{
    struct tpl_seq *s = list.seq;

    if (r->rc == WOQ_OK && !(s->n & (s->n - 1))) {
        struct tpl_val *grown = tpl_alloc(r, s->n ? 2 * s->n : 1, sizeof *grown);

        if (!grown)
            return;
        if (s->n)
            memcpy(grown, s->v, s->n * sizeof *grown);
        s->v = grown;
    }
    if (r->rc < 0)
        return;
    s->n++;
    tpl_seq_set(r, list, s->n - 1, v);
}

struct tpl_val tpl_dict_new(struct tpl_run *r, enum tpl_type type)
{
    struct tpl_dict *d = tpl_alloc(r, 1, sizeof *d);

    return (struct tpl_val){ .type = type, .dict = d ? d : &r->no_pairs };
}

static bool can_be_key(struct tpl_val v)
{
    if (v.type == TPL_TUPLE) {
        for (size_t i = 0; i < v.seq->n; i++)
            if (!can_be_key(v.seq->v[i]))
                return false;
        return true;
    }
    return v.type == TPL_STRING || v.type == TPL_NONE || tpl_is_number(v);
}

const struct tpl_val *tpl_dict_get(struct tpl_run *r, const struct tpl_dict *d, struct tpl_val key)
{
    if (!can_be_key(key)) {
        tpl_fail(r, WOQ_EDATA, NULL, "a value of type %s can't be a key", tpl_type_name(key));
        return NULL;
    }
    for (size_t i = 0; i < d->n; i++)
        if (!tpl_step(r, 1) || tpl_equal(r, d->pairs[i].key, key))
            return r->rc < 0 ? NULL : &d->pairs[i].value;
    return NULL;
}

const struct tpl_val *tpl_dict_text(const struct tpl_dict *d, const char *key)
{
    for (size_t i = 0; i < d->n; i++)
        if (tpl_text_is(d->pairs[i].key, key))
            return &d->pairs[i].value;
    return NULL;
}

void tpl_dict_set(struct tpl_run *r, struct tpl_val dict, struct tpl_val key, struct tpl_val v)
{
    struct tpl_dict *d = dict.dict;
    const struct tpl_val *old = tpl_dict_get(r, d, key);
    const unsigned depth = dict.type == TPL_NAMESPACE ? 0 : depth_of(r, v);
    struct tpl_pair *p;

    if (r->rc < 0)
        return;
    if (depth > d->depth)
        d->depth = depth;
    if (old) {
        d->pairs[(size_t)((const struct tpl_pair *)((const char *)old -
                                                    offsetof(struct tpl_pair, value)) -
                          d->pairs)]
            .value = v;
        return;
    }
    if (d->n == d->cap) {
        const size_t cap = d->cap ? 2 * d->cap : 4;

        if (!(p = tpl_alloc(r, cap, sizeof *p)))
            return;
        if (d->n)
            memcpy(p, d->pairs, d->n * sizeof *p);
        d->pairs = p;
        d->cap = cap;
    }
    d->pairs[d->n++] = (struct tpl_pair){ key, v };
}

struct tpl_val tpl_pairs(struct tpl_run *r, const struct tpl_dict *d, enum tpl_type type)
{
    const struct tpl_val list = tpl_seq_new(r, type, d->n);

    for (size_t i = 0; i < d->n && r->rc == WOQ_OK; i++) {
        const struct tpl_val pair = tpl_seq_new(r, TPL_TUPLE, 2);

        tpl_seq_set(r, pair, 0, d->pairs[i].key);
        tpl_seq_set(r, pair, 1, d->pairs[i].value);
        tpl_seq_set(r, list, i, pair);
    }
    return list;
}

/* ------------------------------------------------------------------ truth, order, length */
bool tpl_truth(struct tpl_val v)
{
    switch (v.type) {
    case TPL_UNDEFINED:
    case TPL_NONE:
        return false;
    case TPL_BOOL:
        return v.b;
    case TPL_INT:
        return v.i != 0;
    case TPL_FLOAT:
        return !(v.f == 0);
    case TPL_STRING:
        return v.len > 0;
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
    case TPL_VIEW:
        return v.seq->n > 0;
    case TPL_DICT:
        return v.dict->n > 0;
    default:
        return true;
    }
}

static int order_numbers(struct tpl_val a, struct tpl_val b)
{
    if (a.type != TPL_FLOAT && b.type != TPL_FLOAT) {
        const int64_t x = a.type == TPL_BOOL ? a.b : a.i, y = b.type == TPL_BOOL ? b.b : b.i;

        return x < y ? -1 : x > y;
    }
    return tpl_number(a) < tpl_number(b) ? -1 : tpl_number(a) > tpl_number(b);
}

static int order_texts(struct tpl_val a, struct tpl_val b)
{
    const int c = memcmp(a.s, b.s, a.len < b.len ? a.len : b.len);

    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

static bool equal_dicts(struct tpl_run *r, const struct tpl_dict *a, const struct tpl_dict *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct tpl_val *v = tpl_dict_get(r, b, a->pairs[i].key);

        if (!v || !tpl_equal(r, a->pairs[i].value, *v))
            return false;
    }
    return true;
}

static bool equal_seqs(struct tpl_run *r, const struct tpl_seq *a, const struct tpl_seq *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!tpl_equal(r, a->v[i], b->v[i]))
            return false;
    return true;
}

bool tpl_equal(struct tpl_run *r, struct tpl_val a, struct tpl_val b)
{
    if (!tpl_step(r, 1))
        return false;
    if (tpl_is_number(a) && tpl_is_number(b))
        return !isnan(tpl_number(a)) && !isnan(tpl_number(b)) && order_numbers(a, b) == 0;
    if (a.type != b.type)
        return false;
    switch (a.type) {
    case TPL_UNDEFINED:
    case TPL_NONE:
        return true;
    case TPL_STRING:
        return a.len == b.len && (!a.len || !memcmp(a.s, b.s, a.len));
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
        return equal_seqs(r, a.seq, b.seq);
    case TPL_DICT:
        return equal_dicts(r, a.dict, b.dict);
    case TPL_VIEW:
        tpl_unsupported(r, "comparing a dict's keys, values or items");
        return false;
    case TPL_METHOD:
        return a.bound == b.bound;
    case TPL_FUNCTION:
        return a.function == b.function;
    case TPL_LOOP:
        return a.loop == b.loop;
    case TPL_MACRO:
        return a.macro == b.macro;
    case TPL_NAMESPACE:
        return a.dict == b.dict;
    default:
        return a.seq == b.seq;
    }
}

int tpl_order(struct tpl_run *r, struct tpl_val a, struct tpl_val b, const char *op)
{
    if (!tpl_step(r, 1))
        return 0;
    if (tpl_is_number(a) && tpl_is_number(b)) {
        if (isnan(tpl_number(a)) || isnan(tpl_number(b)))
            tpl_unsupported(r, "the order of a value that is not a number");
        return order_numbers(a, b);
    }
    if (a.type == TPL_STRING && b.type == TPL_STRING)
        return order_texts(a, b);
    if (a.type != b.type || (a.type != TPL_LIST && a.type != TPL_TUPLE)) {
        if (a.type == TPL_UNDEFINED || b.type == TPL_UNDEFINED)
            (void)tpl_len(r, a.type == TPL_UNDEFINED ? a : b);
        tpl_fail(r, WOQ_EDATA, NULL, "'%s' between %s and %s", op, tpl_type_name(a),
                 tpl_type_name(b));
        return 0;
    }
    for (size_t i = 0; i < a.seq->n && i < b.seq->n; i++)
        if (!tpl_equal(r, a.seq->v[i], b.seq->v[i]))
            return tpl_order(r, a.seq->v[i], b.seq->v[i], op);
    return a.seq->n < b.seq->n ? -1 : a.seq->n > b.seq->n;
}

const char *tpl_type_name(struct tpl_val v)
{
    static const char *const names[TPL_N_TYPES] = {
        "Undefined", "NoneType", "bool",     "int",       "float",       "str",
        "list",      "tuple",    "range",    "dict_view", "generator",   "dict",
        "Namespace", "Macro",    "function", "method",    "LoopContext",
    };

    return names[v.type];
}

size_t tpl_len(struct tpl_run *r, struct tpl_val v)
{
    switch (v.type) {
    case TPL_UNDEFINED:
        return 0;
    case TPL_STRING:
        return tpl_text_len(v);
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
    case TPL_VIEW:
        return v.seq->n;
    case TPL_DICT:
        return v.dict->n;
    default:
        tpl_fail(r, WOQ_EDATA, NULL, "a value of type %s has no length", tpl_type_name(v));
        return 0;
    }
}

/* The characters of a string. */
static struct tpl_val characters(struct tpl_run *r, struct tpl_val s)
{
    const struct tpl_val list = tpl_seq_new(r, TPL_LIST, tpl_text_len(s));
    size_t at = 0, bytes;

    for (size_t i = 0; r->rc == WOQ_OK && i < list.seq->n; i++, at += bytes) {
        const struct tpl_val rest = tpl_text(s.s + at, s.len - at);

        bytes = tpl_text_at(rest, 1);
        tpl_seq_set(r, list, i, tpl_text(s.s + at, bytes));
    }
    return list;
}

static struct tpl_val keys(struct tpl_run *r, const struct tpl_dict *d)
{
    const struct tpl_val list = tpl_seq_new(r, TPL_LIST, d->n);

    for (size_t i = 0; r->rc == WOQ_OK && i < list.seq->n; i++)
        tpl_seq_set(r, list, i, d->pairs[i].key);
    return list;
}

const struct tpl_seq *tpl_items(struct tpl_run *r, struct tpl_val v)
{
    struct tpl_val list;

    switch (v.type) {
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
    case TPL_VIEW:
        return v.seq;
    case TPL_GENERATOR:
        list = tpl_seq_new(r, TPL_LIST, 0);
        if (r->rc == WOQ_OK) {
            *list.seq = *v.seq;
            v.seq->n = 0;
        }
        return list.seq;
    case TPL_STRING:
        return characters(r, v).seq;
    case TPL_DICT:
        return keys(r, v.dict).seq;
    case TPL_UNDEFINED:
        break;
    default:
        tpl_fail(r, WOQ_EDATA, NULL, "a value of type %s can't be iterated", tpl_type_name(v));
    }
    return tpl_seq_new(r, TPL_LIST, 0).seq;
}
