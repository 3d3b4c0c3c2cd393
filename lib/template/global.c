/* global.c -- the functions that every template has. */
#include "internal.h"

#include <stdio.h>
#include <time.h>

struct tpl_function {
    const char *name;
    struct tpl_val (*fn)(struct tpl_run *r, const struct tpl_args *args); /* NULL: not supported */
};

static bool want_ints(struct tpl_run *r, const struct tpl_args *args, int64_t *to)
{
    for (size_t i = 0; r->rc == WOQ_OK && i < args->n; i++) {
        if (!tpl_is_defined(r, args->v[i]))
            break;
        if (args->v[i].type != TPL_INT && args->v[i].type != TPL_BOOL)
            tpl_fail(r, WOQ_EDATA, NULL, "range: an argument of type %s",
                     tpl_type_name(args->v[i]));
        to[i] = args->v[i].type == TPL_BOOL ? args->v[i].b : args->v[i].i;
    }
    return r->rc == WOQ_OK;
}

static struct tpl_val g_range(struct tpl_run *r, const struct tpl_args *args)
{
    int64_t x[3] = { 0, 0, 1 }, from, to, step;
    uint64_t n = 0;
    struct tpl_val list;

    if (!args->n || args->n > 3 || args->n_named)
        tpl_fail(r, WOQ_EDATA, NULL, "range: want one to three numbers");
    if (r->rc < 0 || !want_ints(r, args, x))
        return tpl_none;
    from = args->n > 1 ? x[0] : 0;
    to = args->n > 1 ? x[1] : x[0];
    step = x[2];
    if (!step) {
        tpl_fail(r, WOQ_EDATA, NULL, "range: step 0");
        return tpl_none;
    }
    if (step > 0 ? to > from : from > to)
        n = (step > 0 ? (uint64_t)to - (uint64_t)from - 1 : (uint64_t)from - (uint64_t)to - 1) /
                (step > 0 ? (uint64_t)step : -(uint64_t)step) +
            1;
    if (n > TPL_MAX_RANGE)
        tpl_fail(r, WOQ_EDATA, NULL, "range: more than %d numbers", TPL_MAX_RANGE);
    list = tpl_seq_new(r, TPL_RANGE, r->rc < 0 ? 0 : (size_t)n);
    for (size_t i = 0; r->rc == WOQ_OK && i < n; i++)
        tpl_seq_set(r, list, i, tpl_int(from + (int64_t)i * step));
    return list;
}

static struct tpl_val mapping(struct tpl_run *r, enum tpl_type type, const struct tpl_args *args)
{
    const struct tpl_val d = tpl_dict_new(r, type);
    const struct tpl_dict *from = NULL;

    if (args->n > 1 || (args->n == 1 && args->v[0].type != TPL_DICT))
        tpl_unsupported(r, "dict() and namespace() from other things than a dict");
    else if (args->n)
        from = args->v[0].dict;
    for (size_t i = 0; r->rc == WOQ_OK && from && i < from->n; i++)
        tpl_dict_set(r, d, from->pairs[i].key, from->pairs[i].value);
    for (size_t i = 0; r->rc == WOQ_OK && i < args->n_named; i++)
        tpl_dict_set(r, d, args->named[i].key, args->named[i].value);
    return d;
}

static struct tpl_val g_dict(struct tpl_run *r, const struct tpl_args *args)
{
    return mapping(r, TPL_DICT, args);
}

static struct tpl_val g_namespace(struct tpl_run *r, const struct tpl_args *args)
{
    return mapping(r, TPL_NAMESPACE, args);
}

static struct tpl_val g_raise_exception(struct tpl_run *r, const struct tpl_args *args)
{
    struct tpl_params p;
    struct tpl_val s;

    if (!tpl_bind(r, &p, "message", "raise_exception", args))
        return tpl_none;
    s = tpl_str(r, p.v[0]);
    tpl_fail(r, WOQ_EDATA, "the template says so", "%.*s", (int)(s.len < 400 ? s.len : 400), s.s);
    return tpl_none;
}

/* `n` digits of *at as a number up to `most`; -1 if they are not there. Moves *at behind them. */
static int digits(const char **at, int n, int most)
{
    int x = 0;

    for (; n > 0; n--, ++*at) {
        if (**at < '0' || **at > '9')
            return -1;
        x = 10 * x + (**at - '0');
    }
    return x <= most ? x : -1;
}

/* The same behind a mark, which must be one of `marks`. */
static int digits_after(const char **at, const char *marks, int n, int most)
{
    if (!**at || !strchr(marks, **at))
        return -1;
    ++*at;
    return digits(at, n, most);
}

/* "YYYY-MM-DD[ HH:MM[:SS]]"; the weekday by Sakamoto's congruence. */
static bool date_of(struct tm *t, const char *date)
{
    static const int shift[] = { 0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4 };
    static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    const char *at = date;
    int y = digits(&at, 4, 9999), m = digits_after(&at, "-", 2, 12);
    int d = digits_after(&at, "-", 2, 31), h = 0, min = 0, s = 0;

    if (*at) {
        h = digits_after(&at, " T", 2, 23);
        min = digits_after(&at, ":", 2, 59);
    }
    if (*at)
        s = digits_after(&at, ":", 2, 60);
    if (*at || y < 1000 || m < 1 || d < 1 || h < 0 || min < 0 || s < 0)
        return false;
    *t = (struct tm){
        .tm_year = y - 1900, .tm_mon = m - 1, .tm_mday = d, .tm_hour = h, .tm_min = min, .tm_sec = s
    };
    t->tm_yday = before[m - 1] + d - 1 + (m > 2 && (y % 4 == 0 && (y % 100 || y % 400 == 0)));
    y -= m < 3;
    t->tm_wday = (y + y / 4 - y / 100 + y / 400 + shift[m - 1] + d) % 7;
    return true;
}

static struct tpl_val g_strftime_now(struct tpl_run *r, const struct tpl_args *args)
{
    struct tpl_params p;
    struct tm t;
    char text[256];
    size_t n;

    if (!tpl_bind(r, &p, "format", "strftime_now", args))
        return tpl_none;
    if (!r->date)
        tpl_fail(r, WOQ_EDATA, "give it with --chat-date, for example 2026-01-31",
                 "the template asks for today's date");
    else if (!date_of(&t, r->date))
        tpl_fail(r, WOQ_EUSAGE, NULL, "the date '%.40s': want YYYY-MM-DD or YYYY-MM-DD HH:MM:SS",
                 r->date);
    if (p.v[0].type != TPL_STRING || p.v[0].len > 100 || memchr(p.v[0].s, 0, p.v[0].len))
        tpl_fail(r, WOQ_EDATA, NULL, "strftime_now: want a format");
    for (size_t i = 0; r->rc == WOQ_OK && i + 1 < p.v[0].len; i++)
        if (p.v[0].s[i] == '%') {
            i += p.v[0].s[i + 1] == '-' && i + 2 < p.v[0].len;
            if (!strchr("aAbBdeFHIjmMpSTyY%", p.v[0].s[++i]))
                tpl_unsupported(r, "strftime_now with %%%c", p.v[0].s[i]);
        }
    if (r->rc < 0)
        return tpl_none;
    {
        const struct tpl_val format = tpl_text_copy(r, p.v[0].s, p.v[0].len);

        n = r->rc < 0 ? 0 : strftime(text, sizeof text, format.s, &t);
    }
    return tpl_text_copy(r, text, n);
}

static const struct tpl_function functions[] = {
    { "range", g_range },
    { "dict", g_dict },
    { "namespace", g_namespace },
    { "raise_exception", g_raise_exception },
    { "strftime_now", g_strftime_now },
    { "lipsum", NULL },
    { "cycler", NULL },
    { "joiner", NULL },
};

bool tpl_global(struct tpl_run *r, const char *name, struct tpl_val *out)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (!strcmp(functions[i].name, name)) {
            if (!functions[i].fn)
                tpl_unsupported(r, "the function '%s'", name);
            *out = (struct tpl_val){ .type = TPL_FUNCTION, .function = &functions[i] };
            return true;
        }
    return false;
}

struct tpl_val tpl_function_call(struct tpl_run *r, const struct tpl_function *f,
                                 const struct tpl_args *args)
{
    return f->fn(r, args);
}
