/* method.c -- methods of strings, dicts, lists and loops, and the functions that are
 * always there. Python's other methods are known by name, so that calling one is an error and not
 * an undefined value. */
#include "internal.h"

#include <stdio.h>

typedef struct tpl_val method_fn(struct tpl_run *r, struct tpl_val self,
                                 const struct tpl_params *p);

struct tpl_method {
    enum tpl_type type;
    const char *name;
    method_fn *fn; /* NULL: not supported */
    const char *params;
};

/* Argument i as a string; rc if it is none. */
static bool want_text(struct tpl_run *r, const struct tpl_params *p, size_t i)
{
    if (p->v[i].type != TPL_STRING)
        tpl_fail(r, WOQ_EDATA, NULL, "an argument of type %s, want str", tpl_type_name(p->v[i]));
    return r->rc == WOQ_OK;
}

static int64_t want_int(struct tpl_run *r, const struct tpl_params *p, size_t i, int64_t otherwise)
{
    if (!p->has[i])
        return otherwise;
    if (p->v[i].type != TPL_INT && p->v[i].type != TPL_BOOL)
        tpl_fail(r, WOQ_EDATA, NULL, "an argument of type %s, want int", tpl_type_name(p->v[i]));
    return p->v[i].type == TPL_BOOL ? p->v[i].b : p->v[i].i;
}

/* ------------------------------------------------------------------ str */
static struct tpl_val strip(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p,
                            int ends)
{
    const bool chars = p->has[0] && p->v[0].type != TPL_NONE;

    return chars && !want_text(r, p, 0) ? s : tpl_strip(r, s, chars ? &p->v[0] : NULL, ends);
}

static struct tpl_val m_lstrip(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    return strip(r, s, p, 1);
}

static struct tpl_val m_rstrip(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    return strip(r, s, p, 2);
}

static struct tpl_val m_strip(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    return strip(r, s, p, 3);
}

static struct tpl_val m_lower(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    (void)p;
    return tpl_case_of(r, s, TPL_LOWER);
}

static struct tpl_val m_upper(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    (void)p;
    return tpl_case_of(r, s, TPL_UPPER);
}

static struct tpl_val m_title(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    (void)p;
    return tpl_case_of(r, s, TPL_TITLE_METHOD);
}

static struct tpl_val m_capitalize(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    (void)p;
    return tpl_case_of(r, s, TPL_CAPITALIZE);
}

/* Does s have `part` at its beginning or its end? */
static bool has_end(struct tpl_val s, struct tpl_val part, bool begin)
{
    return s.len >= part.len && !memcmp(begin ? s.s : s.s + s.len - part.len, part.s, part.len);
}

static struct tpl_val ends(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p,
                           bool begin)
{
    bool yes = false;

    if (p->v[0].type == TPL_TUPLE) {
        for (size_t i = 0; i < p->v[0].seq->n; i++)
            yes |= p->v[0].seq->v[i].type == TPL_STRING && has_end(s, p->v[0].seq->v[i], begin);
        return tpl_bool(yes);
    }
    return tpl_bool(want_text(r, p, 0) && has_end(s, p->v[0], begin));
}

static struct tpl_val m_startswith(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    return ends(r, s, p, true);
}

static struct tpl_val m_endswith(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    return ends(r, s, p, false);
}

static struct tpl_val m_removeprefix(struct tpl_run *r, struct tpl_val s,
                                     const struct tpl_params *p)
{
    if (!want_text(r, p, 0) || !has_end(s, p->v[0], true))
        return s;
    return tpl_text(s.s + p->v[0].len, s.len - p->v[0].len);
}

static struct tpl_val m_removesuffix(struct tpl_run *r, struct tpl_val s,
                                     const struct tpl_params *p)
{
    if (!want_text(r, p, 0) || !has_end(s, p->v[0], false))
        return s;
    return tpl_text(s.s, s.len - p->v[0].len);
}

static struct tpl_val m_replace(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    const int64_t count = want_int(r, p, 2, -1);

    return want_text(r, p, 0) && want_text(r, p, 1) ? tpl_replace(r, s, p->v[0], p->v[1], count)
                                                    : s;
}

static struct tpl_val m_join(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    const struct tpl_seq *items = tpl_items(r, p->v[0]);
    struct woq_str out = { 0 };

    for (size_t i = 0; r->rc == WOQ_OK && i < items->n; i++) {
        if (items->v[i].type != TPL_STRING)
            tpl_fail(r, WOQ_EDATA, NULL, "join: item %zu has type %s, want str", i,
                     tpl_type_name(items->v[i]));
        if (i)
            tpl_add(r, &out, s.s, s.len);
        if (r->rc == WOQ_OK)
            tpl_add(r, &out, items->v[i].s, items->v[i].len);
    }
    return tpl_text_of(r, &out);
}

static size_t rfind(struct tpl_val s, struct tpl_val part)
{
    for (size_t at = s.len + 1; at-- > part.len;)
        if (!memcmp(s.s + at - part.len, part.s, part.len))
            return at - part.len;
    return part.len ? SIZE_MAX : s.len;
}

static struct tpl_val found_at(struct tpl_val s, size_t at)
{
    return tpl_int(at == SIZE_MAX ? -1 : (int64_t)tpl_text_len(tpl_text(s.s, at)));
}

static struct tpl_val m_find(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    return want_text(r, p, 0) && tpl_step(r, 1 + s.len / 64) ? found_at(s, tpl_find(s, 0, p->v[0]))
                                                             : tpl_none;
}

static struct tpl_val m_rfind(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    return want_text(r, p, 0) && tpl_step(r, 1 + s.len / 64) ? found_at(s, rfind(s, p->v[0]))
                                                             : tpl_none;
}

static struct tpl_val m_count(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    int64_t n = 0;
    size_t at = 0;

    if (!want_text(r, p, 0) || !tpl_step(r, 1 + s.len / 64))
        return tpl_none;
    if (!p->v[0].len)
        return tpl_int((int64_t)tpl_text_len(s) + 1);
    while ((at = tpl_find(s, at, p->v[0])) != SIZE_MAX) {
        at += p->v[0].len;
        n++;
    }
    return tpl_int(n);
}

/* split() without a separator: words between white space. */
static struct tpl_val split_words(struct tpl_run *r, struct tpl_val s, size_t left)
{
    const struct tpl_val list = tpl_seq_new(r, TPL_LIST, 0);

    for (s = tpl_strip(r, s, NULL, 1); s.len && r->rc == WOQ_OK; s = tpl_strip(r, s, NULL, 1)) {
        size_t at = 0, bytes;

        if (!left--) {
            tpl_seq_push(r, list, s);
            break;
        }
        while (at < s.len) {
            const struct tpl_val rest = tpl_text(s.s + at, s.len - at);

            if (tpl_strip(r, rest, NULL, 1).len < rest.len)
                break;
            bytes = tpl_text_at(rest, 1);
            at += bytes;
        }
        tpl_seq_push(r, list, tpl_text(s.s, at));
        s = tpl_text(s.s + at, s.len - at);
    }
    return list;
}

/* The separator; false for white space. An empty one is an error. */
static bool separator(struct tpl_run *r, const struct tpl_params *p)
{
    if (!p->has[0] || p->v[0].type == TPL_NONE)
        return false;
    if (want_text(r, p, 0) && !p->v[0].len)
        tpl_fail(r, WOQ_EDATA, NULL, "split: the separator is empty");
    return true;
}

static struct tpl_val m_split(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    const struct tpl_val list = tpl_seq_new(r, TPL_LIST, 0);
    const int64_t max = want_int(r, p, 1, -1);
    size_t at = 0, found, left = max < 0 ? SIZE_MAX : (size_t)max;

    if (!tpl_step(r, 1 + s.len / 64))
        return list;
    if (!separator(r, p))
        return split_words(r, s, left);
    while (r->rc == WOQ_OK && left-- && (found = tpl_find(s, at, p->v[0])) != SIZE_MAX) {
        tpl_seq_push(r, list, tpl_text(s.s + at, found - at));
        at = found + p->v[0].len;
    }
    tpl_seq_push(r, list, tpl_text(s.s + at, s.len - at));
    return list;
}

static struct tpl_val m_rsplit(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    const struct tpl_val list = tpl_seq_new(r, TPL_LIST, 0);
    const int64_t max = want_int(r, p, 1, -1);
    size_t found, left = max < 0 ? SIZE_MAX : (size_t)max;

    if (!separator(r, p)) {
        if (left != SIZE_MAX)
            tpl_unsupported(r, "rsplit at white space with a maximum");
        return split_words(r, s, left);
    }
    while (r->rc == WOQ_OK && left-- && tpl_step(r, 1 + s.len / 64) &&
           (found = rfind(s, p->v[0])) != SIZE_MAX) {
        tpl_seq_push(r, list, tpl_text(s.s + found + p->v[0].len, s.len - found - p->v[0].len));
        s.len = found;
    }
    tpl_seq_push(r, list, s);
    for (size_t i = 0; r->rc == WOQ_OK && i < list.seq->n / 2; i++) {
        const struct tpl_val v = list.seq->v[i];

        list.seq->v[i] = list.seq->v[list.seq->n - 1 - i];
        list.seq->v[list.seq->n - 1 - i] = v;
    }
    return list;
}

/* Bytes of the end of a line at s[at], 0 if there is none: Python knows eleven of them. */
static size_t line_end(struct tpl_val s, size_t at)
{
    const unsigned char *c = (const unsigned char *)s.s + at;
    const size_t left = s.len - at;

    if (c[0] == '\r' && left > 1 && c[1] == '\n')
        return 2;
    if ((c[0] >= 10 && c[0] <= 13) || (c[0] >= 0x1c && c[0] <= 0x1e))
        return 1;
    if (left > 1 && c[0] == 0xc2 && c[1] == 0x85)
        return 2;
    return left > 2 && c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9) ? 3 : 0;
}

struct tpl_val tpl_lines(struct tpl_run *r, struct tpl_val s, bool keep)
{
    const struct tpl_val list = tpl_seq_new(r, TPL_LIST, 0);
    size_t from = 0, n;

    for (size_t at = 0; r->rc == WOQ_OK && at < s.len; at += n ? n : 1)
        if ((n = line_end(s, at))) {
            tpl_seq_push(r, list, tpl_text(s.s + from, at - from + (keep ? n : 0)));
            from = at + n;
        }
    if (from < s.len)
        tpl_seq_push(r, list, tpl_text(s.s + from, s.len - from));
    return list;
}

static struct tpl_val m_splitlines(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    return tpl_lines(r, s, p->has[0] && tpl_truth(p->v[0]));
}

static struct tpl_val all_of(struct tpl_run *r, struct tpl_val s, bool digits)
{
    bool yes = s.len > 0;

    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.s[i] >= 128)
            tpl_unsupported(r, "isdigit() and isspace() of other letters than ASCII");
        yes &= digits ? s.s[i] >= '0' && s.s[i] <= '9' : tpl_is_space((unsigned char)s.s[i]);
    }
    return tpl_bool(yes);
}

static struct tpl_val m_isdigit(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    (void)p;
    return all_of(r, s, true);
}

static struct tpl_val m_isspace(struct tpl_run *r, struct tpl_val s, const struct tpl_params *p)
{
    (void)p;
    return all_of(r, s, false);
}

/* ------------------------------------------------------------------ dict, list, loop */
static struct tpl_val m_items(struct tpl_run *r, struct tpl_val self, const struct tpl_params *p)
{
    (void)p;
    return tpl_pairs(r, self.dict, TPL_VIEW);
}

static struct tpl_val column(struct tpl_run *r, const struct tpl_dict *d, bool keys)
{
    const struct tpl_val list = tpl_seq_new(r, TPL_VIEW, d->n);

    for (size_t i = 0; r->rc == WOQ_OK && i < d->n; i++)
        tpl_seq_set(r, list, i, keys ? d->pairs[i].key : d->pairs[i].value);
    return list;
}

static struct tpl_val m_keys(struct tpl_run *r, struct tpl_val self, const struct tpl_params *p)
{
    (void)p;
    return column(r, self.dict, true);
}

static struct tpl_val m_values(struct tpl_run *r, struct tpl_val self, const struct tpl_params *p)
{
    (void)p;
    return column(r, self.dict, false);
}

static struct tpl_val m_get(struct tpl_run *r, struct tpl_val self, const struct tpl_params *p)
{
    const struct tpl_val *v = tpl_dict_get(r, self.dict, p->v[0]);

    return v ? *v : p->has[1] ? p->v[1] : tpl_none;
}

static struct tpl_val m_copy(struct tpl_run *r, struct tpl_val self, const struct tpl_params *p)
{
    (void)r;
    (void)p;
    return self;
}

static struct tpl_val m_index(struct tpl_run *r, struct tpl_val self, const struct tpl_params *p)
{
    for (size_t i = 0; r->rc == WOQ_OK && i < self.seq->n; i++)
        if (tpl_equal(r, self.seq->v[i], p->v[0]))
            return tpl_int((int64_t)i);
    tpl_fail(r, WOQ_EDATA, NULL, "index: the value is not in the list");
    return tpl_none;
}

static struct tpl_val m_count_items(struct tpl_run *r, struct tpl_val self,
                                    const struct tpl_params *p)
{
    int64_t n = 0;

    for (size_t i = 0; r->rc == WOQ_OK && i < self.seq->n; i++)
        n += tpl_equal(r, self.seq->v[i], p->v[0]);
    return tpl_int(n);
}

/* ------------------------------------------------------------------ methods by name */
/* Parameters with numbers for names are given by place only. */
static const struct tpl_method methods[] = {
    { TPL_STRING, "strip", m_strip, "1=" },
    { TPL_STRING, "lstrip", m_lstrip, "1=" },
    { TPL_STRING, "rstrip", m_rstrip, "1=" },
    { TPL_STRING, "lower", m_lower, "" },
    { TPL_STRING, "upper", m_upper, "" },
    { TPL_STRING, "title", m_title, "" },
    { TPL_STRING, "capitalize", m_capitalize, "" },
    { TPL_STRING, "startswith", m_startswith, "1" },
    { TPL_STRING, "endswith", m_endswith, "1" },
    { TPL_STRING, "removeprefix", m_removeprefix, "1" },
    { TPL_STRING, "removesuffix", m_removesuffix, "1" },
    { TPL_STRING, "replace", m_replace, "1,2,3=" },
    { TPL_STRING, "join", m_join, "1" },
    { TPL_STRING, "find", m_find, "1" },
    { TPL_STRING, "rfind", m_rfind, "1" },
    { TPL_STRING, "count", m_count, "1" },
    { TPL_STRING, "split", m_split, "sep=,maxsplit=" },
    { TPL_STRING, "rsplit", m_rsplit, "sep=,maxsplit=" },
    { TPL_STRING, "splitlines", m_splitlines, "keepends=" },
    { TPL_STRING, "isdigit", m_isdigit, "" },
    { TPL_STRING, "isspace", m_isspace, "" },
    { TPL_STRING, "format", NULL, NULL },
    { TPL_DICT, "items", m_items, "" },
    { TPL_DICT, "keys", m_keys, "" },
    { TPL_DICT, "values", m_values, "" },
    { TPL_DICT, "get", m_get, "1,2=" },
    { TPL_DICT, "copy", m_copy, "" },
    { TPL_LIST, "index", m_index, "1" },
    { TPL_LIST, "count", m_count_items, "1" },
    { TPL_LIST, "copy", m_copy, "" },
    { TPL_TUPLE, "index", m_index, "1" },
    { TPL_TUPLE, "count", m_count_items, "1" },
    { TPL_LOOP, "cycle", NULL, NULL },
    { TPL_LOOP, "changed", NULL, NULL },
};

/* What Python's types have besides: named, so that it is not taken for undefined. */
static const struct {
    enum tpl_type type;
    const char *names;
} others[] = {
    { TPL_STRING, " casefold center encode expandtabs format_map index isalnum isalpha isascii "
                  "isdecimal isidentifier islower isnumeric isprintable istitle isupper ljust "
                  "maketrans partition rindex rjust rpartition swapcase translate zfill " },
    { TPL_DICT, " clear fromkeys pop popitem setdefault update " },
    { TPL_LIST, " append clear extend insert pop remove reverse sort " },
    { TPL_VIEW, " isdisjoint mapping " },
    { TPL_RANGE, " start stop step index count " },
    { TPL_GENERATOR, " send throw close gi_code gi_frame gi_running gi_yieldfrom gi_suspended " },
    { TPL_BOOL, " as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag "
                "is_integer numerator real to_bytes " },
    { TPL_INT, " as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag "
               "is_integer numerator real to_bytes " },
    { TPL_FLOAT, " as_integer_ratio conjugate fromhex hex imag is_integer real " },
    { TPL_MACRO, " name arguments catch_kwargs catch_varargs caller explicit_caller " },
};

static bool known_elsewhere(struct tpl_val self, struct tpl_val name)
{
    char word[40];

    if (name.len > 30 || (name.len && memchr(name.s, ' ', name.len)))
        return false;
    (void)snprintf(word, sizeof word, " %.*s ", (int)name.len, name.s);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i].type == self.type && strstr(others[i].names, word))
            return true;
    return false;
}

bool tpl_method_find(struct tpl_run *r, struct tpl_val self, struct tpl_val name,
                     struct tpl_val *out)
{
    struct tpl_bound *b;

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (methods[i].type != self.type || !tpl_text_is(name, methods[i].name))
            continue;
        if (!(b = tpl_alloc(r, 1, sizeof *b)))
            return false;
        *b = (struct tpl_bound){ self, &methods[i] };
        *out = (struct tpl_val){ .type = TPL_METHOD, .bound = b };
        return true;
    }
    if (known_elsewhere(self, name))
        tpl_unsupported(r, "'%.*s' of %s", (int)name.len, name.s, tpl_type_name(self));
    return false;
}

static struct tpl_val loop_method(struct tpl_run *r, struct tpl_loop *l, bool cycle,
                                  const struct tpl_args *args)
{
    struct tpl_val now;

    if (cycle) {
        if (args->n)
            return args->v[l->at % args->n];
        tpl_fail(r, WOQ_EDATA, NULL, "cycle: want values");
        return tpl_none;
    }
    now = tpl_seq_new(r, TPL_TUPLE, args->n);
    for (size_t i = 0; i < args->n; i++)
        tpl_seq_set(r, now, i, args->v[i]);
    if (l->changed.type != TPL_UNDEFINED && tpl_equal(r, l->changed, now))
        return tpl_bool(false);
    l->changed = now;
    return tpl_bool(true);
}

struct tpl_val tpl_method_call(struct tpl_run *r, const struct tpl_bound *b,
                               const struct tpl_args *args)
{
    struct tpl_params p;

    if (b->self.type == TPL_LOOP)
        return loop_method(r, b->self.loop, !strcmp(b->method->name, "cycle"), args);
    if (b->self.type == TPL_STRING && b->self.safe)
        tpl_unsupported(r, "a method of the result of 'safe'");
    if (!b->method->fn)
        return r->rc < 0 ? tpl_none : tpl_str_format(r, b->self, args);
    if (r->rc < 0 || !tpl_bind(r, &p, b->method->params, b->method->name, args))
        return tpl_none;
    return b->method->fn(r, b->self, &p);
}
