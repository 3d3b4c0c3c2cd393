/* filter.c -- the filters of one value; those of lists are in sift.c. */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Markup stays Markup. */
static struct tpl_val marked(struct tpl_val v, struct tpl_val like)
{
    v.safe = like.type == TPL_STRING && like.safe;
    return v;
}

static struct tpl_val f_trim(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;

    if (!tpl_bind(r, &p, "chars=", "trim", args))
        return v;
    if (p.has[0] && p.v[0].type != TPL_STRING && p.v[0].type != TPL_NONE)
        tpl_fail(r, WOQ_EDATA, NULL, "trim: chars of type %s", tpl_type_name(p.v[0]));
    return tpl_strip(r, tpl_str(r, v), p.v[0].type == TPL_STRING ? &p.v[0] : NULL, 3);
}

static void no_args(struct tpl_run *r, const struct tpl_args *args, const char *what)
{
    struct tpl_params p;

    (void)tpl_bind(r, &p, "", what, args);
}

static struct tpl_val f_lower(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    no_args(r, args, "lower");
    return marked(tpl_case_of(r, tpl_str(r, v), TPL_LOWER), v);
}

static struct tpl_val f_upper(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    no_args(r, args, "upper");
    return marked(tpl_case_of(r, tpl_str(r, v), TPL_UPPER), v);
}

static struct tpl_val f_title(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    no_args(r, args, "title");
    return tpl_case_of(r, tpl_str(r, v), TPL_TITLE_FILTER);
}

static struct tpl_val f_capitalize(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    no_args(r, args, "capitalize");
    return marked(tpl_case_of(r, tpl_str(r, v), TPL_CAPITALIZE), v);
}

static struct tpl_val f_replace(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;

    if (!tpl_bind(r, &p, "old,new,count=", "replace", args))
        return v;
    if (p.has[2] && p.v[2].type != TPL_INT && p.v[2].type != TPL_NONE)
        tpl_fail(r, WOQ_EDATA, NULL, "replace: a count of type %s", tpl_type_name(p.v[2]));
    return tpl_replace(r, tpl_str(r, v), tpl_str(r, p.v[0]), tpl_str(r, p.v[1]),
                       p.v[2].type == TPL_INT ? p.v[2].i : -1);
}

static struct tpl_val f_default(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;

    if (!tpl_bind(r, &p, "default_value=,boolean=", "default", args))
        return v;
    if (v.type != TPL_UNDEFINED && !(p.has[1] && tpl_truth(p.v[1]) && !tpl_truth(v)))
        return v;
    return p.has[0] ? p.v[0] : tpl_text("", 0);
}

static struct tpl_val f_string(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    no_args(r, args, "string");
    return tpl_str(r, v);
}

static struct tpl_val f_safe(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    no_args(r, args, "safe");
    v = tpl_str(r, v);
    v.safe = true;
    return v;
}

struct tpl_val tpl_escape(struct tpl_run *r, struct tpl_val v)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = { "&amp;", "&lt;", "&gt;", "&#39;", "&#34;" };
    struct woq_str out = { 0 };

    v = tpl_str(r, v);
    if (v.safe)
        return v;
    for (size_t i = 0; r->rc == WOQ_OK && i < v.len; i++) {
        const char *p = v.s[i] ? strchr(from, v.s[i]) : NULL;

        if (p)
            tpl_add(r, &out, to[p - from], strlen(to[p - from]));
        else
            tpl_add(r, &out, v.s + i, 1);
    }
    v = tpl_text_of(r, &out);
    v.safe = true;
    return v;
}

static struct tpl_val f_escape(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    no_args(r, args, "escape");
    return tpl_escape(r, v);
}

static struct tpl_val f_length(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    no_args(r, args, "length");
    return tpl_int((int64_t)tpl_len(r, v));
}

/* ------------------------------------------------------------------ numbers */
/* int() or float() of Python on a string of ASCII digits; false where it raises. */
static bool number_of(struct tpl_run *r, struct tpl_val s, bool real, struct tpl_val *out)
{
    char buf[64], *end;
    size_t n = 0;

    s = tpl_strip(r, s, NULL, 3);
    if (s.len >= sizeof buf) {
        tpl_unsupported(r, "a number of more than 60 characters");
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.s[i] >= 128)
            tpl_unsupported(r, "digits other than ASCII");
        if (!s.s[i] || (!real && !strchr("+-0123456789", s.s[i])))
            return s.s[i] == '_' ? (tpl_unsupported(r, "a number with '_'"), false) : false;
        if (real && strchr("xXpP_", s.s[i]))
            return false;
        buf[n++] = s.s[i];
    }
    buf[n] = 0;
    *out = real ? tpl_float(strtod(buf, &end)) : tpl_int(strtoll(buf, &end, 10));
    if (!n || *end || (!real && (buf[n - 1] < '0' || out->i == INT64_MAX || out->i == INT64_MIN)))
        return false;
    return true;
}

static struct tpl_val whole(struct tpl_run *r, double f, struct tpl_val otherwise)
{
    if (!isfinite(f))
        return otherwise;
    if (fabs(f) >= 9.2e18)
        tpl_unsupported(r, "a number beyond 64 bits");
    return tpl_int(r->rc < 0 ? 0 : (int64_t)f);
}

static struct tpl_val f_int(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;
    struct tpl_val n;

    if (!tpl_bind(r, &p, "default=,base=", "int", args))
        return v;
    if (p.has[1] && !(p.v[1].type == TPL_INT && p.v[1].i == 10))
        tpl_unsupported(r, "int with another base than 10");
    if (!p.has[0])
        p.v[0] = tpl_int(0);
    if (v.type == TPL_FLOAT)
        return isnan(v.f) ? p.v[0] : whole(r, v.f, p.v[0]);
    if (v.type == TPL_BOOL || v.type == TPL_INT)
        return tpl_int(v.type == TPL_BOOL ? v.b : v.i);
    if (!tpl_is_defined(r, v) || v.type != TPL_STRING)
        return p.v[0];
    if (number_of(r, v, false, &n))
        return n;
    return number_of(r, v, true, &n) ? whole(r, n.f, p.v[0]) : p.v[0];
}

static struct tpl_val f_float(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;
    struct tpl_val n;

    if (!tpl_bind(r, &p, "default=", "float", args) || !tpl_is_defined(r, v))
        return v;
    if (tpl_is_number(v))
        return tpl_float(tpl_number(v));
    if (v.type == TPL_STRING && number_of(r, v, true, &n))
        return n;
    return p.has[0] ? p.v[0] : tpl_float(0);
}

static struct tpl_val f_abs(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    no_args(r, args, "abs");
    if (!tpl_is_defined(r, v) || !tpl_is_number(v)) {
        tpl_fail(r, WOQ_EDATA, NULL, "abs: a value of type %s", tpl_type_name(v));
        return v;
    }
    if (v.type == TPL_FLOAT)
        return tpl_float(fabs(v.f));
    return tpl_number(v) < 0 ? tpl_binary(r, '-', tpl_int(0), v)
                             : tpl_binary(r, '+', tpl_int(0), v);
}

static struct tpl_val f_round(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct tpl_params p;
    char buf[400];
    double scale;
    int64_t digits;

    if (!tpl_bind(r, &p, "precision=,method=", "round", args) || !tpl_is_defined(r, v))
        return v;
    digits = p.v[0].type == TPL_INT ? p.v[0].i : 0;
    if (!tpl_is_number(v) || digits < 0 || digits > 15 || (p.has[0] && p.v[0].type != TPL_INT))
        tpl_unsupported(r, "round of a value of type %s to %lld digits", tpl_type_name(v),
                        (long long)digits);
    if (r->rc < 0)
        return v;
    scale = pow(10, (double)digits);
    if (!p.has[1] || tpl_text_is(p.v[1], "common")) {
        if (v.type != TPL_FLOAT)
            return tpl_binary(r, '+', v, tpl_int(0));
        (void)snprintf(buf, sizeof buf, "%.*f", (int)digits, v.f);
        return tpl_float(strtod(buf, NULL));
    }
    if (tpl_text_is(p.v[1], "ceil"))
        return tpl_float(ceil(tpl_number(v) * scale) / scale);
    if (!tpl_text_is(p.v[1], "floor"))
        tpl_fail(r, WOQ_EDATA, NULL, "round: the method is common, ceil or floor");
    return tpl_float(floor(tpl_number(v) * scale) / scale);
}

/* ------------------------------------------------------------------ lines */
static struct tpl_val indentation(struct tpl_run *r, const struct tpl_params *p)
{
    struct woq_str s = { 0 };

    if (p->has[0] && p->v[0].type == TPL_STRING)
        return p->v[0];
    if (p->has[0] && p->v[0].type != TPL_INT)
        tpl_fail(r, WOQ_EDATA, NULL, "indent: a width of type %s", tpl_type_name(p->v[0]));
    for (int64_t i = 0; r->rc == WOQ_OK && i < (p->has[0] ? p->v[0].i : 4); i++)
        tpl_add(r, &s, " ", 1);
    return tpl_text_of(r, &s);
}

static struct tpl_val f_indent(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    struct woq_str out = { 0 };
    struct tpl_params p;
    struct tpl_val by, lines;
    bool blank;

    if (!tpl_bind(r, &p, "width=,first=,blank=", "indent", args) || !tpl_is_defined(r, v))
        return v;
    if (v.type != TPL_STRING || v.safe) {
        tpl_unsupported(r, "indent of a value of type %s", v.safe ? "Markup" : tpl_type_name(v));
        return v;
    }
    by = indentation(r, &p);
    blank = p.has[2] && tpl_truth(p.v[2]);
    tpl_add(r, &out, v.s, v.len);
    tpl_add(r, &out, "\n", 1); /* so that an empty text has a line too */
    lines = tpl_lines(r, tpl_text_of(r, &out), false);
    out = (struct woq_str){ 0 };
    for (size_t i = 0; r->rc == WOQ_OK && i < lines.seq->n; i++) {
        const struct tpl_val line = lines.seq->v[i];

        if (i)
            tpl_add(r, &out, "\n", 1);
        if (i ? line.len || blank : p.has[1] && tpl_truth(p.v[1]))
            tpl_add(r, &out, by.s, by.len);
        tpl_add(r, &out, line.s, line.len);
    }
    return tpl_text_of(r, &out);
}

static struct tpl_val f_format(struct tpl_run *r, struct tpl_val v, const struct tpl_args *args)
{
    if (v.type == TPL_STRING && v.safe)
        tpl_unsupported(r, "format of the result of 'safe'");
    return tpl_percent(r, tpl_str(r, v), args);
}

/* ------------------------------------------------------------------ by name */
static const struct tpl_filter_row filters[] = {
    { "trim", f_trim },
    { "lower", f_lower },
    { "upper", f_upper },
    { "title", f_title },
    { "capitalize", f_capitalize },
    { "replace", f_replace },
    { "default", f_default },
    { "d", f_default },
    { "string", f_string },
    { "safe", f_safe },
    { "e", f_escape },
    { "escape", f_escape },
    { "length", f_length },
    { "count", f_length },
    { "int", f_int },
    { "float", f_float },
    { "abs", f_abs },
    { "round", f_round },
    { "indent", f_indent },
    { "format", f_format },
    { "tojson", tpl_tojson },
    { NULL, NULL },
};

static tpl_filter_fn *find(const char *name)
{
    for (const struct tpl_filter_row *f = filters; f->name; f++)
        if (!strcmp(name, f->name))
            return f->fn;
    for (const struct tpl_filter_row *f = tpl_list_filters; f->name; f++)
        if (!strcmp(name, f->name))
            return f->fn;
    return NULL;
}

struct tpl_val tpl_filter(struct tpl_run *r, const char *name, struct tpl_val v,
                          const struct tpl_args *args)
{
    tpl_filter_fn *fn = find(name);

    if (fn)
        return fn(r, v, args);
    tpl_unsupported(r, "the filter '%.60s'", name);
    return tpl_undefined;
}
