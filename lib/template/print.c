/* print.c -- values as text: Python's str() and repr(), JSON as json.dumps writes it; and
 * JSON to values. */
#include "internal.h"

#include <woq/json.h>
#include <woq/unicode.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void add_text(struct tpl_run *r, struct woq_str *out, const char *s)
{
    tpl_add(r, out, s, strlen(s));
}

/* ------------------------------------------------------------------ numbers */
/* repr() of a float: the fewest digits that read back the same; an exponent from 1e16 on and below
 * 1e-4. */
static void add_float(struct tpl_run *r, struct woq_str *out, double f)
{
    char text[40], digits[24], *e;
    int n = 0, exp10;
    size_t len = 0;

    if (!isfinite(f)) {
        add_text(r, out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    do
        (void)snprintf(text, sizeof text, "%.*e", n, f);
    while (strtod(text, NULL) < f || strtod(text, NULL) > f ? n++ < 17 : false);
    e = strchr(text, 'e');
    exp10 = (int)strtol(e + 1, NULL, 10);
    if (exp10 < -4 || exp10 >= 16) {
        (void)snprintf(e, sizeof text - (size_t)(e - text), "e%c%02d", exp10 < 0 ? '-' : '+',
                       abs(exp10));
        add_text(r, out, text);
        return;
    }
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            digits[len++] = *p;
    if (signbit(f))
        add_text(r, out, "-");
    if (exp10 < 0)
        add_text(r, out, "0.");
    for (int i = -1; i > exp10; i--)
        add_text(r, out, "0");
    for (int i = 0; i < (int)len || i <= exp10; i++) {
        tpl_add(r, out, i < (int)len ? &digits[i] : "0", 1);
        if (i == exp10)
            add_text(r, out, i + 1 < (int)len ? "." : ".0");
    }
}

static void add_int(struct tpl_run *r, struct woq_str *out, int64_t i)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%lld", (long long)i);
    add_text(r, out, text);
}

/* ------------------------------------------------------------------ repr */
/* str.isprintable() */
static bool is_printable(uint32_t cp)
{
    const char *c = woq_cp_category(cp);

    return cp == ' ' || !(c[0] == 'C' || c[0] == 'Z');
}

static void repr_text(struct tpl_run *r, struct woq_str *out, struct tpl_val s)
{
    const char quote = memchr(s.s, '\'', s.len) && !memchr(s.s, '"', s.len) ? '"' : '\'';
    size_t bytes;

    tpl_add(r, out, &quote, 1);
    for (size_t at = 0; r->rc == WOQ_OK && at < s.len; at += bytes) {
        const uint32_t cp = woq_utf8_get(s.s + at, &bytes);
        char buf[16] = { '\\', (char)cp, 0 };

        if (cp == '\n' || cp == '\r' || cp == '\t')
            buf[1] = cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't';
        else if (cp != '\\' && cp != (unsigned char)quote && is_printable(cp))
            buf[0] = 0;
        else if (cp != '\\' && cp != (unsigned char)quote)
            (void)snprintf(buf, sizeof buf,
                           cp < 256     ? "\\x%02x"
                           : cp < 65536 ? "\\u%04x"
                                        : "\\U%08x",
                           (unsigned)cp);
        if (buf[0])
            add_text(r, out, buf);
        else
            tpl_add(r, out, s.s + at, bytes);
    }
    tpl_add(r, out, &quote, 1);
}

static void repr_list(struct tpl_run *r, struct woq_str *out, struct tpl_val v)
{
    const bool tuple = v.type == TPL_TUPLE;

    add_text(r, out, tuple ? "(" : "[");
    for (size_t i = 0; r->rc == WOQ_OK && i < v.seq->n; i++) {
        add_text(r, out, i ? ", " : "");
        tpl_repr(r, out, v.seq->v[i]);
    }
    add_text(r, out, tuple ? v.seq->n == 1 ? ",)" : ")" : "]");
}

void tpl_repr(struct tpl_run *r, struct woq_str *out, struct tpl_val v)
{
    if (!tpl_step(r, 1))
        return;
    switch (v.type) {
    case TPL_UNDEFINED:
        add_text(r, out, "Undefined");
        break;
    case TPL_NONE:
        add_text(r, out, "None");
        break;
    case TPL_BOOL:
        add_text(r, out, v.b ? "True" : "False");
        break;
    case TPL_INT:
        add_int(r, out, v.i);
        break;
    case TPL_FLOAT:
        add_float(r, out, v.f);
        break;
    case TPL_STRING:
        if (v.safe)
            tpl_unsupported(r, "a list with the result of 'safe' as text");
        repr_text(r, out, v);
        break;
    case TPL_LIST:
    case TPL_TUPLE:
        repr_list(r, out, v);
        break;
    case TPL_DICT:
        add_text(r, out, "{");
        for (size_t i = 0; r->rc == WOQ_OK && i < v.dict->n; i++) {
            add_text(r, out, i ? ", " : "");
            tpl_repr(r, out, v.dict->pairs[i].key);
            add_text(r, out, ": ");
            tpl_repr(r, out, v.dict->pairs[i].value);
        }
        add_text(r, out, "}");
        break;
    default:
        tpl_unsupported(r, "a value of type %s as text", tpl_type_name(v));
    }
}

void tpl_print(struct tpl_run *r, struct woq_str *out, struct tpl_val v)
{
    if (v.type == TPL_STRING)
        tpl_add(r, out, v.s, v.len);
    else if (v.type != TPL_UNDEFINED)
        tpl_repr(r, out, v);
}

struct tpl_val tpl_str(struct tpl_run *r, struct tpl_val v)
{
    struct woq_str out = { 0 };

    if (v.type == TPL_STRING)
        return v;
    tpl_print(r, &out, v);
    return tpl_text_of(r, &out);
}

/* ------------------------------------------------------------------ JSON out */
struct dump {
    struct tpl_run *r;
    struct woq_str *out;
    bool ascii, sort, lines;
    struct tpl_val indent; /* text of one level */
    struct tpl_val comma, colon;
    size_t level;
};

static void dump_text(struct dump *d, struct tpl_val s)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    size_t bytes;

    add_text(d->r, d->out, "\"");
    for (size_t at = 0; d->r->rc == WOQ_OK && at < s.len; at += bytes) {
        const uint32_t cp = woq_utf8_get(s.s + at, &bytes);
        const char *p = cp && cp < 128 ? strchr(from, (int)cp) : NULL;
        char buf[16];

        if (p)
            (void)snprintf(buf, sizeof buf, "\\%c", to[p - from]);
        else if (cp >= 65536 && d->ascii)
            (void)snprintf(buf, sizeof buf, "\\u%04x\\u%04x", (unsigned)(0xd7c0 + (cp >> 10)),
                           (unsigned)(0xdc00 + (cp & 0x3ff)));
        else if (cp < 32 || (cp > 126 && d->ascii))
            (void)snprintf(buf, sizeof buf, "\\u%04x", (unsigned)cp);
        else
            buf[0] = 0;
        if (buf[0])
            add_text(d->r, d->out, buf);
        else
            tpl_add(d->r, d->out, s.s + at, bytes);
    }
    add_text(d->r, d->out, "\"");
}

static void dump_line(struct dump *d)
{
    if (!d->lines)
        return;
    add_text(d->r, d->out, "\n");
    for (size_t i = 0; d->r->rc == WOQ_OK && i < d->level; i++)
        tpl_add(d->r, d->out, d->indent.s, d->indent.len);
}

static void dump_value(struct dump *d, struct tpl_val v);

static void dump_float(struct dump *d, double f)
{
    if (isfinite(f))
        add_float(d->r, d->out, f);
    else
        add_text(d->r, d->out, isnan(f) ? "NaN" : f < 0 ? "-Infinity" : "Infinity");
}

static void dump_key(struct dump *d, struct tpl_val key)
{
    if (key.type == TPL_STRING) {
        dump_text(d, key);
        return;
    }
    if (key.type == TPL_TUPLE)
        tpl_fail(d->r, WOQ_EDATA, NULL, "a key of type tuple can't be JSON");
    add_text(d->r, d->out, "\"");
    dump_value(d, key);
    add_text(d->r, d->out, "\"");
}

static int by_key(const void *a, const void *b)
{
    const struct tpl_val *x = a, *y = b;
    const size_t n = x->len < y->len ? x->len : y->len;
    const int c = n ? memcmp(x->s, y->s, n) : 0;

    return c ? c : x->len < y->len ? -1 : x->len > y->len;
}

/* The pairs in order of keys, if that is asked for. */
static const struct tpl_pair *sorted(struct dump *d, const struct tpl_dict *dict)
{
    struct tpl_pair *copy;

    if (!d->sort)
        return dict->pairs;
    for (size_t i = 0; i < dict->n; i++)
        if (dict->pairs[i].key.type != TPL_STRING)
            tpl_unsupported(d->r, "sort_keys with keys that are not strings");
    if (!tpl_step(d->r, dict->n) || !(copy = tpl_alloc(d->r, dict->n, sizeof *copy)))
        return dict->pairs;
    if (dict->n)
        memcpy(copy, dict->pairs, dict->n * sizeof *copy);
    qsort(copy, dict->n, sizeof *copy, by_key); /* no two are equal; the key comes first */
    return copy;
}

static void dump_all(struct dump *d, struct tpl_val v)
{
    const bool dict = v.type == TPL_DICT;
    const size_t n = dict ? v.dict->n : v.seq->n;
    const struct tpl_pair *pairs = dict ? sorted(d, v.dict) : NULL;

    add_text(d->r, d->out, dict ? "{" : "[");
    d->level++;
    for (size_t i = 0; d->r->rc == WOQ_OK && i < n; i++) {
        if (i)
            tpl_add(d->r, d->out, d->comma.s, d->comma.len);
        dump_line(d);
        if (dict) {
            dump_key(d, pairs[i].key);
            tpl_add(d->r, d->out, d->colon.s, d->colon.len);
        }
        dump_value(d, dict ? pairs[i].value : v.seq->v[i]);
    }
    d->level--;
    if (n)
        dump_line(d);
    add_text(d->r, d->out, dict ? "}" : "]");
}

static void dump_value(struct dump *d, struct tpl_val v)
{
    if (!tpl_step(d->r, 1))
        return;
    switch (v.type) {
    case TPL_NONE:
        add_text(d->r, d->out, "null");
        break;
    case TPL_BOOL:
        add_text(d->r, d->out, v.b ? "true" : "false");
        break;
    case TPL_INT:
        add_int(d->r, d->out, v.i);
        break;
    case TPL_FLOAT:
        dump_float(d, v.f);
        break;
    case TPL_STRING:
        dump_text(d, v);
        break;
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_DICT:
        dump_all(d, v);
        break;
    default:
        tpl_fail(d->r, WOQ_EDATA, NULL, "a value of type %s can't be JSON", tpl_type_name(v));
    }
}

/* indent=: a number of spaces or a text; none: all in one line. */
static void dump_indent(struct dump *d, struct tpl_val v)
{
    struct woq_str s = { 0 };

    if (v.type == TPL_NONE)
        return;
    d->lines = true;
    d->comma = tpl_text(",", 1);
    if (v.type == TPL_STRING) {
        d->indent = v;
        return;
    }
    if (v.type != TPL_INT || v.i > 64)
        tpl_fail(d->r, WOQ_EDATA, NULL, "tojson: indent is none, a number up to 64 or a string");
    for (int64_t i = 0; d->r->rc == WOQ_OK && i < v.i; i++)
        add_text(d->r, &s, " ");
    d->indent = tpl_text_of(d->r, &s);
}

static void dump_separators(struct dump *d, struct tpl_val v)
{
    if (v.type == TPL_NONE)
        return;
    if ((v.type != TPL_LIST && v.type != TPL_TUPLE) || v.seq->n != 2 ||
        v.seq->v[0].type != TPL_STRING || v.seq->v[1].type != TPL_STRING) {
        tpl_fail(d->r, WOQ_EDATA, NULL, "tojson: separators are two strings");
        return;
    }
    d->comma = v.seq->v[0];
    d->colon = v.seq->v[1];
}

/* tojson of transformers: json.dumps without the HTML escapes of Jinja2. */
struct tpl_val tpl_tojson(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct woq_str out = { 0 };
    struct tpl_params p;
    struct dump d = { .r = r, .out = &out, .comma = tpl_text(", ", 2), .colon = tpl_text(": ", 2) };

    if (!tpl_bind(r, &p, "ensure_ascii=,indent=,separators=,sort_keys=", "tojson", args))
        return tpl_none;
    d.ascii = p.has[0] && tpl_truth(p.v[0]);
    d.sort = p.has[3] && tpl_truth(p.v[3]);
    if (p.has[1])
        dump_indent(&d, p.v[1]);
    if (p.has[2])
        dump_separators(&d, p.v[2]);
    dump_value(&d, v);
    return tpl_text_of(r, &out);
}

/* ------------------------------------------------------------------ JSON in */
/* The tree has numbers as doubles; whether one is an int is seen in the text, where the numbers
 * stand in the same order. */
struct load {
    struct tpl_run *r;
    const char *s;
    size_t n, at;
};

/* To the next number outside of strings; -Infinity is none. */
static void next_number(struct load *l)
{
    bool string = false;

    for (; l->at < l->n; l->at++) {
        const char c = l->s[l->at];

        if (string && c == '\\')
            l->at++;
        else if (c == '"')
            string = !string;
        else if (!string && ((c >= '0' && c <= '9') ||
                             (c == '-' && l->at + 1 < l->n && l->s[l->at + 1] != 'I')))
            break;
    }
}

static struct tpl_val load_number(struct load *l)
{
    bool real = false;
    char text[64];
    size_t n = 0;
    struct tpl_val v;

    next_number(l);
    for (; l->at < l->n && l->s[l->at] && strchr("+-0123456789.eE", l->s[l->at]); l->at++) {
        real |= strchr(".eE", l->s[l->at]) != NULL;
        if (n < sizeof text)
            text[n++] = l->s[l->at];
    }
    if (!n || n == sizeof text) {
        tpl_fail(l->r, WOQ_EDATA, NULL, "%s among the variables",
                 n ? "a number of more than 60 characters" : "NaN");
        return tpl_none;
    }
    text[n] = 0;
    v = real ? tpl_float(strtod(text, NULL)) : tpl_int(strtoll(text, NULL, 10));
    if (!real && (v.i == INT64_MAX || v.i == INT64_MIN))
        tpl_fail(l->r, WOQ_EDATA, NULL, "a number beyond 64 bits among the variables");
    return v;
}

static struct tpl_val load_value(struct load *l, const struct woq_json *v, unsigned depth)
{
    struct tpl_val to;
    bool b;

    if (depth > TPL_MAX_NESTED)
        tpl_fail(l->r, WOQ_EDATA, NULL, "nested more than %d deep", TPL_MAX_NESTED);
    if (!tpl_step(l->r, 1))
        return tpl_none;
    switch (woq_json_type(v)) {
    case WOQ_JBOOL:
        return tpl_bool(woq_json_bool(v, &b) && b);
    case WOQ_JNUMBER:
        return load_number(l);
    case WOQ_JSTRING:
        return tpl_text_copy(l->r, woq_json_str(v), strlen(woq_json_str(v)));
    case WOQ_JARRAY: {
        size_t i = 0;

        to = tpl_seq_new(l->r, TPL_LIST, woq_json_len(v));
        woq_json_each(item, v) tpl_seq_set(l->r, to, i++, load_value(l, item, depth + 1));
        return to;
    }
    case WOQ_JOBJECT:
        to = tpl_dict_new(l->r, TPL_DICT);
        woq_json_each(item, v)
        {
            const char *key = woq_json_key(item);
            const struct tpl_val k = tpl_text_copy(l->r, key, strlen(key));

            tpl_dict_set(l->r, to, k, load_value(l, item, depth + 1));
        }
        return to;
    default:
        return tpl_none;
    }
}

struct tpl_val tpl_from_json(struct tpl_run *r, const char *text, size_t bytes)
{
    struct load l = { .r = r, .s = text, .n = bytes };
    struct tpl_val v = tpl_none;
    struct woq_json *root = NULL;

    if (r->rc < 0)
        return v;
    if (woq_utf8_valid(text, bytes) < bytes)
        r->rc =
            woq_fail(r->err, WOQ_EDATA, NULL, "byte %zu is not UTF-8", woq_utf8_valid(text, bytes));
    else
        r->rc = woq_json_parse(&root, text, bytes, r->err);
    if (r->rc == WOQ_OK)
        v = load_value(&l, root, 0);
    woq_json_free(root);
    return v;
}
