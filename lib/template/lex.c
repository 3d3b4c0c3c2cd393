/* lex.c -- a template's text to tokens, with the white space that Jinja2 takes away
 * (trim_blocks, lstrip_blocks, '-' and '+' in tags). */
#include "internal.h"

#include <woq/unicode.h>

#include <errno.h>
#include <stdlib.h>

struct lex {
    struct tpl_tokens *out;
    const char *s;
    size_t n, at;
    size_t line_at; /* where the line of `line` begins */
    unsigned line;
    size_t seen; /* lines are counted up to here */
    bool line_starting;
    struct woq_arena *arena;
    struct woq_error *err;
};

/* Line and column of byte `at`. */
static void place(struct lex *l, size_t at, unsigned *line, unsigned *col)
{
    if (at < l->line_at) {
        l->seen = l->line_at = 0;
        l->line = 1;
    }
    for (; l->seen < at; l->seen++)
        if (l->s[l->seen] == '\n') {
            l->line++;
            l->line_at = l->seen + 1;
        }
    *line = l->line;
    *col = (unsigned)(at - l->line_at) + 1;
}

int tpl_fail_at(struct woq_error *err, enum woq_status status, const char *hint, unsigned line,
                unsigned col, const char *what)
{
    return woq_fail(err, status, hint, "template line %u, column %u: %s", line, col, what);
}

static int fail(struct lex *l, size_t at, const char *what)
{
    unsigned line, col;

    place(l, at, &line, &col);
    return tpl_fail_at(l->err, WOQ_EDATA, NULL, line, col, what);
}

static struct tpl_token *push(struct lex *l, enum tpl_token_type type, size_t at)
{
    struct tpl_tokens *o = l->out;
    struct tpl_token *t;

    if (o->n == o->cap) {
        const size_t cap = o->cap ? 2 * o->cap : 256;

        if (!(t = realloc(o->t, cap * sizeof *t))) {
            woq_fail_nomem(l->err, cap * sizeof *t);
            return NULL;
        }
        o->t = t;
        o->cap = cap;
    }
    t = &o->t[o->n++];
    *t = (struct tpl_token){ .type = type };
    place(l, at, &t->line, &t->col);
    return t;
}

static bool starts(const struct lex *l, size_t at, const char *word)
{
    const size_t n = strlen(word);

    return l->n - at >= n && memcmp(l->s + at, word, n) == 0;
}

/* Bytes of the white space at `at`, 0 if there is none. */
static size_t space_at(const struct lex *l, size_t at)
{
    size_t bytes;

    return at < l->n && tpl_is_space(woq_utf8_get(l->s + at, &bytes)) ? bytes : 0;
}

static size_t skip_space(const struct lex *l, size_t at)
{
    size_t n;

    while ((n = space_at(l, at)))
        at += n;
    return at;
}

/* ------------------------------------------------------------------ text between tags */
/* Text [from, to) before a tag with `sign` ('-', '+' or another character). */
static int put_text(struct lex *l, size_t from, size_t to, char sign, bool print)
{
    struct tpl_token *t;

    if (sign == '-') {
        to = from + tpl_strip(NULL, tpl_text(l->s + from, to - from), NULL, 2).len;
    } else if (sign != '+' && !print) {
        size_t line = to;

        while (line > from && l->s[line - 1] != '\n')
            line--;
        if ((line > from || l->line_starting) && line < to && skip_space(l, line) >= to)
            to = line;
    }
    if (to == from)
        return WOQ_OK;
    if (!(t = push(l, TPL_T_DATA, from)))
        return WOQ_ENOMEM;
    t->s = l->s + from;
    t->len = to - from;
    return WOQ_OK;
}

/* Is there a tag's end `mark` at `at`, perhaps with a sign? Its end with the white space that it
 * takes, or 0. */
static size_t end_at(const struct lex *l, size_t at, const char *mark)
{
    const bool print = mark[0] == '}';
    const char sign = at < l->n ? l->s[at] : 0;

    if (starts(l, at, mark))
        return at + 2 + (!print && at + 2 < l->n && l->s[at + 2] == '\n');
    if ((sign != '-' && (sign != '+' || print)) || !starts(l, at + 1, mark))
        return 0;
    return sign == '-' ? skip_space(l, at + 3) : at + 3;
}

static void past_end(struct lex *l, size_t end)
{
    l->line_starting = l->s[end - 1] == '\n';
    l->at = end;
}

static int comment(struct lex *l, size_t at)
{
    for (size_t i = at; i < l->n; i++) {
        const size_t end = end_at(l, i, "#}");

        if (end) {
            past_end(l, end);
            return WOQ_OK;
        }
    }
    return fail(l, at, "a comment has no end '#}'");
}

/* {% WORD %} whose "{%" is at `at`: its end, or 0. *sign: the one of its beginning. */
static size_t bare_tag(const struct lex *l, size_t at, const char *word, char *sign)
{
    if (!starts(l, at, "{%"))
        return 0;
    at += 2;
    *sign = at < l->n ? l->s[at] : 0;
    at = skip_space(l, at + (*sign == '-' || *sign == '+'));
    if (!starts(l, at, word))
        return 0;
    at = skip_space(l, at + strlen(word));
    return end_at(l, at, "%}");
}

/* {% raw %} at `from`, whose text begins at `at`. */
static int raw(struct lex *l, size_t from, size_t at)
{
    l->line_starting = l->s[at - 1] == '\n';
    for (size_t i = at; i + 1 < l->n; i++) {
        char sign = 0;
        const size_t end = bare_tag(l, i, "endraw", &sign);

        if (end) {
            const int rc = put_text(l, at, i, sign, false);

            past_end(l, end);
            return rc;
        }
    }
    return fail(l, from, "a raw block has no end");
}

/* ------------------------------------------------------------------ inside tags */
static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t digits(const struct lex *l, size_t at)
{
    while (at < l->n && ((l->s[at] >= '0' && l->s[at] <= '9') || l->s[at] == '_'))
        at++;
    return at;
}

/* Python's numbers: decimal ones with a fraction or an exponent are floats. */
static int number(struct lex *l)
{
    const size_t from = l->at;
    size_t end = digits(l, from), more;
    bool real = false;
    char text[64], *stop;
    size_t n = 0;
    struct tpl_token *t;

    if (l->s[from] == '0' && from + 1 < l->n && strchr("xXbBoO", l->s[from + 1]) && l->s[from + 1])
        return fail(l, from, "numbers with a base (0x, 0b, 0o) are not read");
    if (end + 1 < l->n && l->s[end] == '.' && l->s[end + 1] >= '0' && l->s[end + 1] <= '9') {
        end = digits(l, end + 1);
        real = true;
    }
    if (end < l->n && (l->s[end] == 'e' || l->s[end] == 'E')) {
        more = end + 1 + (end + 1 < l->n && (l->s[end + 1] == '+' || l->s[end + 1] == '-'));
        if (more < l->n && l->s[more] >= '0' && l->s[more] <= '9') {
            end = digits(l, more);
            real = true;
        }
    }
    for (size_t i = from; i < end && n < sizeof text - 1; i++)
        if (l->s[i] != '_')
            text[n++] = l->s[i];
    text[n] = 0;
    if (l->s[end - 1] == '_' || n == sizeof text - 1 || (!real && n > 1 && text[0] == '0'))
        return fail(l, from, "a number that can't be read");
    if (!(t = push(l, real ? TPL_T_FLOAT : TPL_T_INT, from)))
        return WOQ_ENOMEM;
    errno = 0;
    if (real)
        t->f = strtod(text, &stop);
    else
        t->i = strtoll(text, &stop, 10);
    if (!real && errno)
        return fail(l, from, "a number beyond 64 bits");
    l->at = end;
    return WOQ_OK;
}

/* n hexadecimal digits at `at`, or -1. */
static long hex(const struct lex *l, size_t at, size_t n)
{
    long v = 0;

    if (l->n - at < n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const char c = l->s[at + i];
        const int d = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;

        if (d < 0)
            return -1;
        v = 16 * v + d;
    }
    return v;
}

/* The escape at *at (on the backslash) into out; bytes that were written, or 0 for an error. */
static size_t escape(struct lex *l, size_t *at, char *out)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char c = l->s[*at + 1], *p = c ? strchr(from, c) : NULL;
    const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    long cp = 0;
    size_t i = *at + 1;

    if (p) {
        *at += 2;
        *out = to[p - from];
        return 1;
    }
    if (n) {
        cp = hex(l, i + 1, n);
        *at += 2 + n;
    } else if (c >= '0' && c <= '7') {
        for (; i < *at + 4 && l->s[i] >= '0' && l->s[i] <= '7'; i++)
            cp = 8 * cp + (l->s[i] - '0');
        *at = i;
    } else if (c == 'N') {
        return 0;
    } else { /* what Python does not know stays as it is */
        *at += 1;
        *out = '\\';
        return 1;
    }
    return cp < 0 || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)
               ? 0
               : woq_utf8_put(out, (uint32_t)cp);
}

static int string(struct lex *l)
{
    const size_t from = l->at;
    const char quote = l->s[from];
    size_t end = from + 1, n = 0, got;
    struct tpl_token *t;
    char *out;

    for (; end < l->n && l->s[end] != quote; end++)
        end += l->s[end] == '\\' && end + 1 < l->n;
    if (end >= l->n)
        return fail(l, from, "a string has no end");
    out = woq_arena_alloc(l->arena, end - from + 4, l->err);
    if (!out || !(t = push(l, TPL_T_STRING, from)))
        return WOQ_ENOMEM;
    for (size_t i = from + 1; i < end;) {
        if (l->s[i] != '\\') {
            out[n++] = l->s[i++];
        } else if (l->s[i + 1] == '\n') {
            i += 2;
        } else {
            const size_t at = i;

            if (!(got = escape(l, &i, out + n)) || i > end)
                return fail(l, at, "an escape that can't be read");
            n += got;
        }
    }
    out[n] = 0;
    t->s = out;
    t->len = n;
    l->at = end + 1;
    return WOQ_OK;
}

static int name(struct lex *l)
{
    size_t end = l->at;
    struct tpl_token *t = push(l, TPL_T_NAME, l->at);
    char *out;

    while (end < l->n && is_word(l->s[end]))
        end++;
    out = t ? woq_arena_alloc(l->arena, end - l->at + 1, l->err) : NULL;
    if (!out)
        return WOQ_ENOMEM;
    memcpy(out, l->s + l->at, end - l->at);
    out[end - l->at] = 0;
    t->s = out;
    t->len = end - l->at;
    l->at = end;
    return WOQ_OK;
}

static int operator(struct lex *l)
{
    static const char twos[][3] = { "**", "//", "==", "!=", ">=", "<=" };
    const char c = l->s[l->at];
    int op = 0;
    struct tpl_token *t;

    for (size_t i = 0; !op && i < sizeof twos / sizeof twos[0]; i++)
        if (starts(l, l->at, twos[i]))
            op = TPL_OP2(twos[i][0], twos[i][1]);
    if (!op && c && strchr("+-/*%~[](){}><=.:|,;", c))
        op = (unsigned char)c;
    if (!op)
        return fail(l, l->at, "a character that means nothing in a tag");
    if (!(t = push(l, TPL_T_OP, l->at)))
        return WOQ_ENOMEM;
    t->op = op;
    l->at += op > 255 ? 2 : 1;
    return WOQ_OK;
}

/* The brackets that are open; false for one that closes nothing or another. */
static bool balance(char *open, size_t cap, size_t *n, int op)
{
    static const char opening[] = "([{", closing[] = ")]}";
    const char *p;

    if (op > 255)
        return true;
    if ((p = strchr(opening, op))) {
        if (*n == cap)
            return false;
        open[(*n)++] = closing[p - opening];
    } else if (strchr(closing, op)) {
        return *n && open[--*n] == op;
    }
    return true;
}

/* The tokens of a tag up to its end `mark`. */
static int tag(struct lex *l, size_t from, const char *mark)
{
    char open[TPL_MAX_PARSED];
    size_t n_open = 0, end;
    int rc = WOQ_OK;

    while (rc == WOQ_OK) {
        l->at = skip_space(l, l->at);
        if (l->at >= l->n)
            return fail(l, from, mark[0] == '}' ? "'{{' has no end '}}'" : "'{%' has no end '%}'");
        if (!n_open && (end = end_at(l, l->at, mark))) {
            const bool ok = push(l, mark[0] == '}' ? TPL_T_PRINT_END : TPL_T_BLOCK_END, l->at);

            past_end(l, end);
            return ok ? WOQ_OK : WOQ_ENOMEM;
        }
        if (l->s[l->at] >= '0' && l->s[l->at] <= '9')
            rc = number(l);
        else if (is_word(l->s[l->at]))
            rc = name(l);
        else if (l->s[l->at] == '\'' || l->s[l->at] == '"')
            rc = string(l);
        else if ((rc = operator(l)) == WOQ_OK &&
                 !balance(open, sizeof open, &n_open, l->out->t[l->out->n - 1].op))
            rc = fail(l, l->at - 1, "a bracket that closes none, or too many of them");
    }
    return rc;
}

static int step(struct lex *l)
{
    const size_t from = l->at;
    size_t at = from, inner;
    bool print;
    char sign;
    int rc;

    while (at < l->n &&
           !(l->s[at] == '{' && at + 1 < l->n && l->s[at + 1] && strchr("{%#", l->s[at + 1])))
        at++;
    if (at == l->n) {
        l->at = at;
        return put_text(l, from, at, '+', false);
    }
    print = l->s[at + 1] == '{';
    inner = bare_tag(l, at, "raw", &sign);
    sign = at + 2 < l->n ? l->s[at + 2] : 0;
    if ((rc = put_text(l, from, at, sign, print)) < 0)
        return rc;
    if (inner) /* which leaves the newline behind its beginning */
        return raw(l, at, inner - (l->s[inner - 2] == '}' && l->s[inner - 4] != '-'));
    l->at = at + 2 + (sign == '-' || sign == '+');
    if (l->s[at + 1] == '#')
        return comment(l, l->at);
    if (!push(l, print ? TPL_T_PRINT_BEGIN : TPL_T_BLOCK_BEGIN, at))
        return WOQ_ENOMEM;
    return tag(l, at, print ? "}}" : "%}");
}

int tpl_lex(struct tpl_tokens *out, const char *text, size_t bytes, struct woq_arena *arena,
            struct woq_error *err)
{
    struct lex l = { .out = out,
                     .s = text,
                     .n = bytes,
                     .line = 1,
                     .line_starting = true,
                     .arena = arena,
                     .err = err };
    int rc = WOQ_OK;

    while (rc == WOQ_OK && l.at < l.n)
        rc = step(&l);
    if (rc == WOQ_OK && !push(&l, TPL_T_EOF, l.n))
        rc = WOQ_ENOMEM;
    return rc;
}
