/* opt.c -- one table in, everything about options out. */
#include <woq/opt.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cursor {
    const struct woq_opt *const *tables;
    size_t n_tables;
    bool *seen;
};

/* Row of a long name, with its index over the joined tables. */
static const struct woq_opt *by_long(const struct cursor *c, const char *name, size_t n,
                                     size_t *index)
{
    size_t i = 0;

    for (size_t t = 0; t < c->n_tables; t++)
        for (const struct woq_opt *o = c->tables[t]; o->type != WOQ_OPT_END; o++, i++)
            if (o->long_name && strlen(o->long_name) == n && memcmp(o->long_name, name, n) == 0) {
                *index = i;
                return o;
            }
    return NULL;
}

static const struct woq_opt *by_short(const struct cursor *c, char name, size_t *index)
{
    size_t i = 0;

    for (size_t t = 0; t < c->n_tables; t++)
        for (const struct woq_opt *o = c->tables[t]; o->type != WOQ_OPT_END; o++, i++)
            if (o->short_name == name && name) {
                *index = i;
                return o;
            }
    return NULL;
}

/* The long name that `name` is the start of, or nearly is, for the hint. */
static const char *similar(const struct cursor *c, const char *name, size_t n)
{
    const char *best = NULL;
    size_t best_common = 2;

    for (size_t t = 0; t < c->n_tables; t++)
        for (const struct woq_opt *o = c->tables[t]; o->type != WOQ_OPT_END; o++) {
            size_t k = 0;

            while (o->long_name && k < n && o->long_name[k] && o->long_name[k] == name[k])
                k++;
            if (k > best_common) {
                best_common = k;
                best = o->long_name;
            }
        }
    return best;
}

int woq_parse_size(const char *text, uint64_t *out, struct woq_error *err)
{
    static const char suffix[] = "KMGT";
    const char *s;
    char *end;
    double x, scale = 1;

    errno = 0;
    x = strtod(text, &end);
    s = end != text && *end ? strchr(suffix, *end >= 'a' ? *end - 32 : *end) : NULL;
    if (s) {
        scale = ldexp(1.0, 10 * (int)(s - suffix + 1));
        end++;
        if (*end == 'i')
            end++;
        if (*end == 'B' || *end == 'b')
            end++;
    }
    if (end == text || *end || errno || !(x >= 0) || x * scale >= 0x1p63)
        return woq_fail(err, WOQ_EUSAGE, "use a count such as 512M or 4G", "'%s' is no size", text);
    *out = (uint64_t)(x * scale);
    return WOQ_OK;
}

static int range(const struct woq_opt *o, double x, struct woq_error *err)
{
    if (o->lo < o->hi && (x < o->lo || x > o->hi))
        return woq_fail(err, WOQ_EUSAGE, NULL, "--%s %g: want %g to %g", o->long_name, x, o->lo,
                        o->hi);
    return WOQ_OK;
}

static bool is_choice(const char *choices, const char *value)
{
    const size_t n = strlen(value);

    for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL) {
        const char *end = strchr(c, '|');
        const size_t len = end ? (size_t)(end - c) : strlen(c);

        if (len == n && memcmp(c, value, n) == 0)
            return true;
    }
    return false;
}

static int set_number(const struct woq_opt *o, const char *value, struct woq_error *err)
{
    char *end;

    errno = 0;
    if (o->type == WOQ_OPT_INT) {
        const long x = strtol(value, &end, 10);

        if (end == value || *end || errno)
            return woq_fail(err, WOQ_EUSAGE, NULL, "--%s '%s': want an integer", o->long_name,
                            value);
        *(long *)o->ptr = x;
        return range(o, (double)x, err);
    }
    const double x = strtod(value, &end);

    if (end == value || *end || !isfinite(x))
        return woq_fail(err, WOQ_EUSAGE, NULL, "--%s '%s': want a finite number", o->long_name,
                        value);
    *(double *)o->ptr = x;
    return range(o, x, err);
}

static int set(const struct woq_opt *o, const char *value, struct woq_error *err)
{
    struct woq_list *list;
    const char **grown;

    switch (o->type) {
    case WOQ_OPT_FLAG:
        *(bool *)o->ptr = true;
        return WOQ_OK;
    case WOQ_OPT_INT:
    case WOQ_OPT_F64:
        return set_number(o, value, err);
    case WOQ_OPT_SIZE:
        if (woq_parse_size(value, o->ptr, NULL))
            return woq_fail(err, WOQ_EUSAGE, "use a count such as 512M or 4G",
                            "--%s '%s': want a size", o->long_name, value);
        return WOQ_OK;
    case WOQ_OPT_ENUM:
        if (!is_choice(o->choices, value))
            return woq_fail(err, WOQ_EUSAGE, NULL, "--%s '%s': want one of %s", o->long_name, value,
                            o->choices);
        *(const char **)o->ptr = value;
        return WOQ_OK;
    case WOQ_OPT_LIST:
        list = o->ptr;
        grown = realloc(list->items, (list->n + 1) * sizeof *grown);
        if (!grown)
            return woq_fail_nomem(err, sizeof *grown);
        list->items = grown;
        list->items[list->n++] = value;
        return WOQ_OK;
    case WOQ_OPT_STR:
    case WOQ_OPT_END:
        break;
    }
    *(const char **)o->ptr = value;
    return WOQ_OK;
}

/* One long option; consumes argv[*i + 1] when it needs a value that is not attached. */
static void mark(const struct cursor *c, const struct woq_opt *o, size_t index)
{
    c->seen[index] = true;
    if (o->given)
        *o->given = true;
}

static int parse_long(const struct cursor *c, int argc, char **argv, int *i, struct woq_error *err)
{
    const char *name = argv[*i] + 2, *eq = strchr(name, '='), *value = eq ? eq + 1 : NULL;
    const size_t n = eq ? (size_t)(eq - name) : strlen(name);
    size_t index = 0;
    const struct woq_opt *o = by_long(c, name, n, &index);
    char hint[96] = "see --help";

    if (!o) {
        const char *near = similar(c, name, n);

        if (near)
            snprintf(hint, sizeof hint, "did you mean --%s? see --help", near);
        return woq_fail(err, WOQ_EUSAGE, hint, "unknown option --%.*s", (int)n, name);
    }
    if (o->type == WOQ_OPT_FLAG && value)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--%s takes no value", o->long_name);
    if (o->type != WOQ_OPT_FLAG && !value) {
        if (*i + 1 >= argc)
            return woq_fail(err, WOQ_EUSAGE, NULL, "--%s wants %s", o->long_name, o->arg);
        value = argv[++*i];
    }
    mark(c, o, index);
    return set(o, value, err);
}

static int parse_short(const struct cursor *c, int argc, char **argv, int *i, struct woq_error *err)
{
    for (const char *s = argv[*i] + 1; *s; s++) {
        size_t index = 0;
        const struct woq_opt *o = by_short(c, *s, &index);
        const char *value = NULL;

        if (!o)
            return woq_fail(err, WOQ_EUSAGE, "see --help", "unknown option -%c", *s);
        mark(c, o, index);
        if (o->type != WOQ_OPT_FLAG) {
            if (!s[1] && *i + 1 >= argc)
                return woq_fail(err, WOQ_EUSAGE, NULL, "-%c wants %s", *s, o->arg);
            value = s[1] ? s + 1 : argv[++*i];
        }
        int rc = set(o, value, err);

        if (rc)
            return rc;
        if (value)
            break;
    }
    return WOQ_OK;
}

static size_t count(const struct woq_opt *const *tables, size_t n_tables)
{
    size_t n = 0;

    for (size_t t = 0; t < n_tables; t++)
        for (const struct woq_opt *o = tables[t]; o->type != WOQ_OPT_END; o++)
            n++;
    return n;
}

static int check_required(const struct cursor *c, struct woq_error *err)
{
    size_t i = 0;

    for (size_t t = 0; t < c->n_tables; t++)
        for (const struct woq_opt *o = c->tables[t]; o->type != WOQ_OPT_END; o++, i++)
            if (o->required && !c->seen[i])
                return woq_fail(err, WOQ_EUSAGE, "see --help", "--%s %s is required", o->long_name,
                                o->arg ? o->arg : "");
    return WOQ_OK;
}

int woq_opt_parse(const struct woq_opt *const *tables, size_t n_tables, int argc, char **argv,
                  int *n_operands, bool *seen, struct woq_error *err)
{
    struct cursor c = { tables, n_tables, seen };
    bool *own = NULL, only_operands = false;
    int rc = WOQ_OK, n = 0;

    if (!seen)
        c.seen = own = calloc(count(tables, n_tables) + 1, sizeof *own);
    if (!c.seen)
        return woq_fail_nomem(err, 1);
    for (int i = 1; i < argc && rc == WOQ_OK; i++) {
        char *a = argv[i];

        if (only_operands || a[0] != '-' || a[1] == 0)
            argv[n++] = a;
        else if (strcmp(a, "--") == 0)
            only_operands = true;
        else if (a[1] == '-')
            rc = parse_long(&c, argc, argv, &i, err);
        else
            rc = parse_short(&c, argc, argv, &i, err);
    }
    if (rc == WOQ_OK)
        rc = check_required(&c, err);
    free(own);
    *n_operands = n;
    return rc;
}

static void print_value(const struct woq_opt *o, struct woq_str *out)
{
    switch (o->type) {
    case WOQ_OPT_INT:
        woq_str_addf(out, "%ld", *(long *)o->ptr);
        break;
    case WOQ_OPT_SIZE:
        woq_str_addf(out, "%llu", (unsigned long long)*(uint64_t *)o->ptr);
        break;
    case WOQ_OPT_F64:
        woq_str_addf(out, "%.9g", *(double *)o->ptr);
        break;
    case WOQ_OPT_STR:
    case WOQ_OPT_ENUM:
        woq_str_addf(out, "%s", *(const char **)o->ptr ? *(const char **)o->ptr : "");
        break;
    case WOQ_OPT_FLAG:
    case WOQ_OPT_LIST:
    case WOQ_OPT_END:
        break;
    }
}

int woq_opt_record(const struct woq_opt *const *tables, size_t n_tables, const bool *seen,
                   struct woq_str *out)
{
    size_t i = 0;

    for (size_t t = 0; t < n_tables; t++)
        for (const struct woq_opt *o = tables[t]; o->type != WOQ_OPT_END; o++, i++) {
            if (!seen[i] || o->local)
                continue;
            if (o->type == WOQ_OPT_LIST) {
                const struct woq_list *list = o->ptr;

                for (size_t k = 0; k < list->n; k++)
                    woq_str_addf(out, "%s--%s '%s'", out->len ? " " : "", o->long_name,
                                 list->items[k]);
                continue;
            }
            woq_str_addf(out, "%s--%s", out->len ? " " : "", o->long_name);
            if (o->type != WOQ_OPT_FLAG) {
                woq_str_add(out, " ", 1);
                print_value(o, out);
            }
        }
    return WOQ_OK;
}

static void print_default(const struct woq_opt *o, struct woq_str *out)
{
    struct woq_str v = { 0 };

    print_value(o, &v);
    if (v.len && !o->required)
        woq_str_addf(out, " (default %s)", v.s);
    if ((o->type == WOQ_OPT_INT || o->type == WOQ_OPT_F64) && o->lo < o->hi)
        woq_str_addf(out, " [%g..%g]", o->lo, o->hi);
    if (o->required)
        woq_str_addf(out, " (required)");
    woq_str_release(&v);
}

/* Help text flowed from column 28 to 96. */
static void flow(struct woq_str *out, size_t col, const char *text)
{
    enum { LEFT = 28, RIGHT = 96 };

    if (col + 2 > LEFT) {
        woq_str_addf(out, "\n");
        col = 0;
    }
    woq_str_addf(out, "%*s", (int)(LEFT - col), "");
    col = LEFT;
    while (*text) {
        const size_t n = strcspn(text, " ");

        if (col > LEFT && col + 1 + n > RIGHT) {
            woq_str_addf(out, "\n%*s", LEFT, "");
            col = LEFT;
        } else if (col > LEFT) {
            woq_str_add(out, " ", 1);
            col++;
        }
        woq_str_add(out, text, n);
        col += n;
        text += n + (text[n] == ' ');
    }
    woq_str_addf(out, "\n");
}

void woq_opt_help(const struct woq_opt *const *tables, size_t n_tables, struct woq_str *out)
{
    for (size_t t = 0; t < n_tables; t++)
        for (const struct woq_opt *o = tables[t]; o->type != WOQ_OPT_END; o++) {
            struct woq_str text = { 0 };
            const size_t from = out->len;

            if (o->short_name)
                woq_str_addf(out, "  -%c, --%s", o->short_name, o->long_name);
            else
                woq_str_addf(out, "      --%s", o->long_name);
            if (o->arg)
                woq_str_addf(out, " %s", o->arg);
            woq_str_addf(&text, "%s", o->help);
            if (o->choices)
                woq_str_addf(&text, ": %s", o->choices);
            print_default(o, &text);
            flow(out, out->len - from, text.s ? text.s : o->help);
            woq_str_release(&text);
        }
}

/* Text in which no word is taken for a macro or an escape. */
static void mdoc_text(struct woq_str *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\\')
            woq_str_addf(out, "\\e");
        else if (*text == '-')
            woq_str_addf(out, "\\-");
        else
            woq_str_add(out, text, 1);
    }
}

void woq_opt_mdoc(const struct woq_opt *const *tables, size_t n_tables, struct woq_str *out)
{
    woq_str_addf(out, ".Bl -tag -width Ds\n");
    for (size_t t = 0; t < n_tables; t++)
        for (const struct woq_opt *o = tables[t]; o->type != WOQ_OPT_END; o++) {
            struct woq_str text = { 0 };

            woq_str_addf(out, ".It ");
            if (o->short_name)
                woq_str_addf(out, "Fl %c , ", o->short_name);
            woq_str_addf(out, "Fl \\-%s", o->long_name);
            if (o->arg)
                woq_str_addf(out, " Ar %s", o->arg);
            woq_str_addf(out, "\n");
            woq_str_addf(&text, "%c%s",
                         o->help[0] >= 'a' && o->help[0] <= 'z' ? o->help[0] - 32 : o->help[0],
                         o->help + 1);
            if (o->choices)
                woq_str_addf(&text, ": %s", o->choices);
            print_default(o, &text);
            /* A line that begins with either is a request to roff. */
            if (text.s && (text.s[0] == '\'' || text.s[0] == '.'))
                woq_str_addf(out, "\\&");
            mdoc_text(out, text.s ? text.s : o->help);
            woq_str_addf(out, ".\n");
            woq_str_release(&text);
        }
    woq_str_addf(out, ".El\n");
}

void woq_opt_complete(const struct woq_opt *const *tables, size_t n_tables, struct woq_str *out)
{
    static const char *const kinds[] = { "end",    "flag",   "int",  "size",
                                         "number", "string", "enum", "list" };

    for (size_t t = 0; t < n_tables; t++)
        for (const struct woq_opt *o = tables[t]; o->type != WOQ_OPT_END; o++) {
            woq_str_addf(out, "--%s\t%s\t", o->long_name, kinds[o->type]);
            if (o->choices)
                woq_str_addf(out, "%s", o->choices);
            else if (o->lo < o->hi)
                woq_str_addf(out, "%.17g..%.17g", o->lo, o->hi);
            woq_str_addf(out, "\t%s", o->help);
            print_default(o, out);
            woq_str_addf(out, "\n");
        }
}
