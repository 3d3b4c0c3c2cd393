/* format.c -- values into a format: %s, %d, %r and {} {0} {name}, without widths. */
#include "internal.h"

/* One value of '%'. */
static void percent_value(struct tpl_run *r, struct woq_str *out, char kind, struct tpl_val v)
{
    if (kind == 's') {
        tpl_print(r, out, v);
    } else if (kind == 'r') {
        tpl_repr(r, out, v);
    } else if ((kind == 'd' || kind == 'i') && v.type == TPL_INT) {
        tpl_print(r, out, v);
    } else {
        tpl_unsupported(r, "%%%c of a value of type %s", kind, tpl_type_name(v));
    }
}

struct tpl_val tpl_percent(struct tpl_run *r, struct tpl_val s, const struct tpl_args *args)
{
    struct woq_str out = { 0 };
    size_t used = 0;

    if (args->n_named)
        tpl_unsupported(r, "%% with names");
    for (size_t i = 0; r->rc == WOQ_OK && i < s.len; i++) {
        if (s.s[i] != '%') {
            tpl_add(r, &out, s.s + i, 1);
        } else if (++i == s.len) {
            tpl_fail(r, WOQ_EDATA, NULL, "a format that ends in %%");
        } else if (s.s[i] == '%') {
            tpl_add(r, &out, "%", 1);
        } else if (!s.s[i] || !strchr("srdi", s.s[i])) {
            tpl_unsupported(r, "a format with %%%c", s.s[i]);
        } else if (used == args->n) {
            tpl_fail(r, WOQ_EDATA, NULL, "a format wants more than %zu values", args->n);
        } else {
            percent_value(r, &out, s.s[i], args->v[used++]);
        }
    }
    if (r->rc == WOQ_OK && used < args->n)
        tpl_fail(r, WOQ_EDATA, NULL, "a format takes %zu values, %zu are given", used, args->n);
    return tpl_text_of(r, &out);
}

/* The value that a field {...} of `len` bytes names. */
static struct tpl_val field(struct tpl_run *r, const char *s, size_t len, size_t *next,
                            const struct tpl_args *args)
{
    size_t i = 0;

    for (size_t k = 0; k < args->n_named; k++)
        if (args->named[k].key.len == len && len && !memcmp(args->named[k].key.s, s, len))
            return args->named[k].value;
    for (size_t k = 0; k < len; k++) {
        if (s[k] < '0' || s[k] > '9' || k > 3) {
            tpl_unsupported(r, "the field {%.*s} of a format", (int)(len < 40 ? len : 40), s);
            return tpl_none;
        }
        i = 10 * i + (size_t)(s[k] - '0');
    }
    if (!len)
        i = (*next)++;
    if (i < args->n)
        return args->v[i];
    tpl_fail(r, WOQ_EDATA, NULL, "a format wants more than %zu values", args->n);
    return tpl_none;
}

struct tpl_val tpl_str_format(struct tpl_run *r, struct tpl_val s, const struct tpl_args *args)
{
    struct woq_str out = { 0 };
    size_t next = 0;

    for (size_t i = 0; r->rc == WOQ_OK && i < s.len; i++) {
        const bool twice = i + 1 < s.len && s.s[i + 1] == s.s[i];
        const char *end;

        if ((s.s[i] != '{' && s.s[i] != '}') || twice) {
            tpl_add(r, &out, s.s + i, 1);
            i += twice && (s.s[i] == '{' || s.s[i] == '}');
            continue;
        }
        end = s.s[i] == '{' ? memchr(s.s + i, '}', s.len - i) : NULL;
        if (!end) {
            tpl_fail(r, WOQ_EDATA, NULL, "a format with a single '%c'", s.s[i]);
            break;
        }
        {
            const struct tpl_val v =
                field(r, s.s + i + 1, (size_t)(end - s.s) - i - 1, &next, args);

            if (r->rc == WOQ_OK)
                tpl_print(r, &out, v);
        }
        i = (size_t)(end - s.s);
    }
    return tpl_text_of(r, &out);
}
