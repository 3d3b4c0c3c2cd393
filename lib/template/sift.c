/* sift.c -- filters that go over the items of a value. Those that Jinja2 makes lazily give
 * a generator: it can be iterated once and has neither length nor text. */
#include "internal.h"

#include <stdlib.h>

/* ------------------------------------------------------------------ attributes */
/* item.a.b by "a.b", numbers as subscripts; what is undefined becomes `otherwise`, if given. */
static struct tpl_val by_path(struct tpl_run *r, struct tpl_val item, struct tpl_val path,
                              const struct tpl_val *otherwise)
{
    for (size_t at = 0; r->rc == WOQ_OK && path.type == TPL_STRING && at <= path.len;) {
        const char *dot = memchr(path.s + at, '.', path.len - at);
        const size_t n = dot ? (size_t)(dot - path.s) - at : path.len - at;
        struct tpl_val part = tpl_text(path.s + at, n);
        int64_t i = 0;
        size_t k = 0;

        for (; k < n && k < 9 && part.s[k] >= '0' && part.s[k] <= '9'; k++)
            i = 10 * i + (part.s[k] - '0');
        item = tpl_attr(r, item, n && k == n ? tpl_int(i) : part, false);
        if (item.type == TPL_UNDEFINED && otherwise)
            item = *otherwise;
        at += n + 1;
    }
    if (path.type == TPL_INT) {
        item = tpl_attr(r, item, path, false);
        return item.type == TPL_UNDEFINED && otherwise ? *otherwise : item;
    }
    if (path.type != TPL_STRING)
        tpl_fail(r, WOQ_EDATA, NULL, "an attribute's name of type %s", tpl_type_name(path));
    return item;
}

/* Case-insensitive comparisons look at the lower case. */
static struct tpl_val folded(struct tpl_run *r, struct tpl_val v, bool fold)
{
    return fold && v.type == TPL_STRING ? tpl_case_of(r, v, TPL_LOWER) : v;
}

/* ------------------------------------------------------------------ one of them, all of them */
static struct tpl_val f_first(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;
    const struct tpl_seq *s = tpl_bind(r, &p, "", "first", args) ? tpl_items(r, v) : NULL;

    return s && s->n ? s->v[0] : tpl_missing(r, "there is no first item");
}

static struct tpl_val f_last(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;
    const struct tpl_seq *s;

    if (v.type == TPL_GENERATOR)
        tpl_fail(r, WOQ_EDATA, NULL, "last: a generator can't be read from its end");
    s = tpl_bind(r, &p, "", "last", args) ? tpl_items(r, v) : NULL;
    return s && s->n ? s->v[s->n - 1] : tpl_missing(r, "there is no last item");
}

static struct tpl_val copy_of(struct tpl_run *r, const struct tpl_seq *s, enum tpl_type type)
{
    const struct tpl_val list = tpl_seq_new(r, type, s->n);

    for (size_t i = 0; r->rc == WOQ_OK && i < s->n; i++)
        tpl_seq_set(r, list, i, s->v[i]);
    return list;
}

static struct tpl_val f_list(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;

    return tpl_bind(r, &p, "", "list", args) ? copy_of(r, tpl_items(r, v), TPL_LIST) : v;
}

static struct tpl_val f_join(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct woq_str out = { 0 };
    struct tpl_params p;
    const struct tpl_seq *s;
    struct tpl_val d;

    if (!tpl_bind(r, &p, "d=,attribute=", "join", args))
        return v;
    d = p.has[0] ? tpl_str(r, p.v[0]) : tpl_text("", 0);
    s = tpl_items(r, v);
    for (size_t i = 0; r->rc == WOQ_OK && i < s->n; i++) {
        if (i)
            tpl_add(r, &out, d.s, d.len);
        tpl_print(r, &out, p.has[1] ? by_path(r, s->v[i], p.v[1], NULL) : s->v[i]);
    }
    return tpl_text_of(r, &out);
}

static struct tpl_val f_reverse(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct woq_str out = { 0 };
    struct tpl_params p;
    const struct tpl_seq *s;
    struct tpl_val list;

    if (!tpl_bind(r, &p, "", "reverse", args))
        return v;
    s = tpl_items(r, v);
    list = tpl_seq_new(r, v.type == TPL_GENERATOR ? TPL_LIST : TPL_GENERATOR, s->n);
    for (size_t i = 0; r->rc == WOQ_OK && i < s->n; i++)
        tpl_seq_set(r, list, i, s->v[s->n - 1 - i]);
    if (v.type != TPL_STRING)
        return list;
    for (size_t i = 0; r->rc == WOQ_OK && i < list.seq->n; i++)
        tpl_add(r, &out, list.seq->v[i].s, list.seq->v[i].len);
    return tpl_text_of(r, &out);
}

static struct tpl_val f_items(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;

    if (!tpl_bind(r, &p, "", "items", args))
        return v;
    if (v.type == TPL_UNDEFINED)
        return tpl_seq_new(r, TPL_GENERATOR, 0);
    if (v.type != TPL_DICT) {
        tpl_fail(r, WOQ_EDATA, NULL, "items: a value of type %s", tpl_type_name(v));
        return v;
    }
    return tpl_pairs(r, v.dict, TPL_GENERATOR);
}

/* ------------------------------------------------------------------ map, select */
/* What has no truth has no items here, even where it can't be iterated. */
static const struct tpl_seq *items_if_any(struct tpl_run *r, struct tpl_val v)
{
    return tpl_truth(v) ? tpl_items(r, v) : tpl_seq_new(r, TPL_LIST, 0).seq;
}

/* The arguments from `from` on. */
static struct tpl_args rest(const struct tpl_args *args, size_t from)
{
    struct tpl_args a = *args;

    a.v += from < a.n ? from : a.n;
    a.n -= from < a.n ? from : a.n;
    return a;
}

/* Argument i as a NUL-terminated name. */
static const char *name_at(struct tpl_run *r, const struct tpl_args *args, size_t i)
{
    if (args->v[i].type != TPL_STRING) {
        tpl_fail(r, WOQ_EDATA, NULL, "want the name of a filter or a test");
        return "";
    }
    return tpl_text_copy(r, args->v[i].s, args->v[i].len).s;
}

static struct tpl_val f_map(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    const struct tpl_args more = rest(args, 1);
    const struct tpl_seq *s = items_if_any(r, v);
    const struct tpl_val list = tpl_seq_new(r, TPL_GENERATOR, s->n);
    struct tpl_params p = { 0 };
    const char *name = args->n ? name_at(r, args, 0) : NULL;

    if (!args->n && !tpl_bind(r, &p, "attribute,default=", "map", args))
        return v;
    for (size_t i = 0; r->rc == WOQ_OK && i < s->n; i++)
        tpl_seq_set(r, list, i,
                    name ? tpl_filter(r, name, s->v[i], &more)
                         : by_path(r, s->v[i], p.v[0], p.has[1] ? &p.v[1] : NULL));
    return list;
}

/* The items whose (attribute's) test is `want`. */
static struct tpl_val sift(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args,
                           bool attr, bool want)
{
    const struct tpl_seq *s = items_if_any(r, v);
    const struct tpl_val list = tpl_seq_new(r, TPL_GENERATOR, 0);
    const struct tpl_args more = rest(args, (size_t)attr + 1);
    const char *name = args->n > (size_t)attr ? name_at(r, args, attr) : NULL;

    if (attr && !args->n)
        tpl_fail(r, WOQ_EDATA, NULL, "selectattr and rejectattr want an attribute");
    for (size_t i = 0; r->rc == WOQ_OK && i < s->n; i++) {
        const struct tpl_val x = attr ? by_path(r, s->v[i], args->v[0], NULL) : s->v[i];
        const bool yes = name ? tpl_test(r, name, x, &more) : tpl_truth(x);

        if (yes == want)
            tpl_seq_push(r, list, s->v[i]);
    }
    return list;
}

static struct tpl_val f_select(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    return sift(r, v, args, false, true);
}

static struct tpl_val f_reject(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    return sift(r, v, args, false, false);
}

static struct tpl_val f_selectattr(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    return sift(r, v, args, true, true);
}

static struct tpl_val f_rejectattr(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    return sift(r, v, args, true, false);
}

/* ------------------------------------------------------------------ order */
/* Stable, from above if `reverse`: a merge of runs, as a comparison may fail. */
static void merge_sort(struct tpl_run *r, struct tpl_pair *a, struct tpl_pair *tmp, size_t n,
                       bool reverse)
{
    const size_t half = n / 2;
    size_t i = 0, k = half;

    if (n < 2 || r->rc < 0)
        return;
    merge_sort(r, a, tmp, half, reverse);
    merge_sort(r, a + half, tmp, n - half, reverse);
    for (size_t at = 0; at < n; at++) {
        bool second = i == half;

        if (i < half && k < n) {
            const int c = tpl_order(r, a[k].key, a[i].key, "<");

            second = reverse ? c > 0 : c < 0;
        }
        tmp[at] = second ? a[k++] : a[i++];
    }
    memcpy(a, tmp, n * sizeof *a);
}

/* pairs: what to compare, what to keep. The second ones in order, as a list. */
static struct tpl_val sorted(struct tpl_run *r, struct tpl_pair *pairs, size_t n, bool reverse)
{
    struct tpl_pair *tmp = tpl_alloc(r, n, sizeof *tmp);
    struct tpl_val list;

    if (tmp)
        merge_sort(r, pairs, tmp, n, reverse);
    list = tpl_seq_new(r, TPL_LIST, r->rc < 0 ? 0 : n);
    for (size_t i = 0; r->rc == WOQ_OK && i < n; i++)
        tpl_seq_set(r, list, i, pairs[i].value);
    return list;
}

static struct tpl_val f_sort(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;
    const struct tpl_seq *s;
    struct tpl_pair *pairs;

    if (!tpl_bind(r, &p, "reverse=,case_sensitive=,attribute=", "sort", args))
        return v;
    if (p.v[2].type == TPL_STRING && memchr(p.v[2].s, ',', p.v[2].len))
        tpl_unsupported(r, "sort by more than one attribute");
    s = tpl_items(r, v);
    if (!(pairs = tpl_alloc(r, s->n, sizeof *pairs)))
        return v;
    for (size_t i = 0; r->rc == WOQ_OK && i < s->n; i++) {
        const struct tpl_val key =
            p.has[2] && p.v[2].type != TPL_NONE ? by_path(r, s->v[i], p.v[2], NULL) : s->v[i];

        pairs[i] = (struct tpl_pair){ folded(r, key, !tpl_truth(p.v[1])), s->v[i] };
    }
    return sorted(r, pairs, s->n, p.has[0] && tpl_truth(p.v[0]));
}

static struct tpl_val f_dictsort(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;
    struct tpl_pair *pairs;
    struct tpl_val items;
    bool value;

    if (!tpl_bind(r, &p, "case_sensitive=,by=,reverse=", "dictsort", args) || !tpl_is_defined(r, v))
        return v;
    value = p.has[1] && tpl_text_is(p.v[1], "value");
    if (v.type != TPL_DICT || (p.has[1] && !value && !tpl_text_is(p.v[1], "key"))) {
        tpl_fail(r, WOQ_EDATA, NULL, "dictsort: want a dict, and by='key' or by='value'");
        return v;
    }
    items = tpl_pairs(r, v.dict, TPL_LIST);
    if (!(pairs = tpl_alloc(r, items.seq->n, sizeof *pairs)))
        return v;
    for (size_t i = 0; r->rc == WOQ_OK && i < items.seq->n; i++)
        pairs[i] = (struct tpl_pair){ folded(r, items.seq->v[i].seq->v[value], !tpl_truth(p.v[0])),
                                      items.seq->v[i] };
    return sorted(r, pairs, items.seq->n, p.has[2] && tpl_truth(p.v[2]));
}

static struct tpl_val f_unique(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_val list, seen;
    struct tpl_params p;
    const struct tpl_seq *s;

    if (!tpl_bind(r, &p, "case_sensitive=,attribute=", "unique", args))
        return v;
    list = tpl_seq_new(r, TPL_GENERATOR, 0);
    seen = tpl_dict_new(r, TPL_DICT);
    s = tpl_items(r, v);
    for (size_t i = 0; r->rc == WOQ_OK && i < s->n; i++) {
        struct tpl_val key = p.has[1] ? by_path(r, s->v[i], p.v[1], NULL) : s->v[i];

        key = folded(r, key, !tpl_truth(p.v[0]));
        if (r->rc == WOQ_OK && !tpl_dict_get(r, seen.dict, key)) {
            tpl_dict_set(r, seen, key, tpl_none);
            tpl_seq_push(r, list, s->v[i]);
        }
    }
    return list;
}

/* ------------------------------------------------------------------ min, max, sum */
static struct tpl_val extreme(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args,
                              int sign, const char *what)
{
    struct tpl_params p;
    const struct tpl_seq *s;
    struct tpl_val best = tpl_none;
    size_t at = 0;

    if (!tpl_bind(r, &p, "case_sensitive=,attribute=", what, args))
        return v;
    s = tpl_items(r, v);
    for (size_t i = 0; r->rc == WOQ_OK && i < s->n; i++) {
        struct tpl_val key = p.has[1] ? by_path(r, s->v[i], p.v[1], NULL) : s->v[i];

        key = folded(r, key, !tpl_truth(p.v[0]));
        if (i && sign * tpl_order(r, key, best, sign < 0 ? "<" : ">") <= 0)
            continue;
        best = key;
        at = i;
    }
    return r->rc == WOQ_OK && s->n ? s->v[at] : tpl_missing(r, "%s of nothing", what);
}

static struct tpl_val f_min(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    return extreme(r, v, args, -1, "min");
}

static struct tpl_val f_max(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    return extreme(r, v, args, 1, "max");
}

static struct tpl_val f_sum(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;
    const struct tpl_seq *s;
    struct tpl_val sum;

    if (!tpl_bind(r, &p, "attribute=,start=", "sum", args))
        return v;
    sum = p.has[1] ? p.v[1] : tpl_int(0);
    s = tpl_items(r, v);
    for (size_t i = 0; r->rc == WOQ_OK && i < s->n; i++)
        sum = tpl_binary(r, '+', sum,
                         p.has[0] && p.v[0].type != TPL_NONE ? by_path(r, s->v[i], p.v[0], NULL)
                                                             : s->v[i]);
    return sum;
}

const struct tpl_filter_row tpl_list_filters[] = {
    { "first", f_first },
    { "last", f_last },
    { "list", f_list },
    { "join", f_join },
    { "reverse", f_reverse },
    { "items", f_items },
    { "map", f_map },
    { "select", f_select },
    { "reject", f_reject },
    { "selectattr", f_selectattr },
    { "rejectattr", f_rejectattr },
    { "sort", f_sort },
    { "dictsort", f_dictsort },
    { "unique", f_unique },
    { "min", f_min },
    { "max", f_max },
    { "sum", f_sum },
    { NULL, NULL },
};
