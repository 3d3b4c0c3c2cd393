/* regex_onig.c -- Oniguruma's Ruby syntax said in PCRE2's, for the expressions in tokenizer.json.
 *
 * One pass over the pattern. Most of it is the same in both; rewritten are: \s \S \w \W (Unicode's
 * White_Space and Alphabetic: PCRE2 10.42 counts U+180E as space and has no marks in \w), \h \H,
 * \uHHHH, script names (PCRE2 10.40 reads \p{Han} as script extensions), (?m) (Ruby's "dot matches
 * newline"),
 * {,n}, and unions of classes. Class algebra with && and complements inside classes are refused. */
#include "regex_internal.h"

#include <ctype.h>
#include <string.h>

/* White_Space and its complement, as class contents. */
#define SPACE                                                                                      \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define NOT_SPACE                                                                                  \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{"     \
    "1fff}"                                                                                        \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"                 \
    "\\x{3001}-\\x{10ffff}"
/* Alphabetic, M, Nd, Pc. The ranges are what Alphabetic has beyond L, Nl and M. */
#define WORD                                                                                       \
    "\\p{L}\\p{M}\\p{Nl}\\p{Nd}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"                    \
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
#define HEX "0-9a-fA-F"

struct scan {
    const char *p, *end;
    struct woq_str *out;
    struct woq_error *err;
    unsigned depth; /* of classes */
    bool oom;
};

static void put(struct scan *s, const char *text)
{
    if (woq_str_add(s->out, text, strlen(text)) < 0)
        s->oom = true;
}

static void put_n(struct scan *s, const char *text, size_t n)
{
    if (woq_str_add(s->out, text, n) < 0)
        s->oom = true;
}

static int refuse(struct scan *s, const char *what)
{
    return woq_fail(s->err, WOQ_EUNSUPPORTED, NULL, "regular expression: %s is not supported",
                    what);
}

static bool is_category(const char *name, size_t n)
{
    static const char *const letters = "CLMNPSZ";

    return n == 1 || (n == 2 && strchr(letters, name[0]) &&
                      (islower((unsigned char)name[1]) || name[1] == '&'));
}

/* \p{...}, \P{...}, \p{^...}: *s->p is the 'p'. */
static int property(struct scan *s)
{
    static const char *const known[][2] = {
        { "Letter", "L" },
        { "Mark", "M" },
        { "Number", "N" },
        { "Symbol", "S" },
        { "Punctuation", "P" },
        { "Separator", "Z" },
        { "Other", "C" },
        { "Any", "Any" },
        { "Uppercase_Letter", "Lu" },
        { "Lowercase_Letter", "Ll" },
        { "Decimal_Number", "Nd" },
    };
    const char *open = s->p + 1, *close, *name;
    bool negate = *s->p == 'P';
    size_t n;

    if (open == s->end || *open != '{')
        return refuse(s, "\\p without braces");
    close = memchr(open, '}', (size_t)(s->end - open));
    if (!close)
        return refuse(s, "\\p{ without its brace");
    name = open + 1;
    if (name < close && *name == '^') {
        negate = !negate;
        name++;
    }
    n = (size_t)(close - name);
    put(s, negate ? "\\P{" : "\\p{");
    s->p = close + 1;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (n == strlen(known[i][0]) && !memcmp(name, known[i][0], n)) {
            put(s, known[i][1]);
            put(s, "}");
            return WOQ_OK;
        }
    if (!is_category(name, n))
        put(s, "sc:");
    put_n(s, name, n);
    put(s, "}");
    return WOQ_OK;
}

/* \uHHHH: *s->p is the 'u'. */
static int unicode_escape(struct scan *s)
{
    for (int i = 1; i <= 4; i++)
        if (s->end - s->p <= i || !isxdigit((unsigned char)s->p[i]))
            return refuse(s, "\\u without four digits");
    put(s, "\\x{");
    put_n(s, s->p + 1, 4);
    put(s, "}");
    s->p += 5;
    return WOQ_OK;
}

/* Class escapes: contents to put between brackets, or NULL. */
static const char *class_escape(char c, bool *negated)
{
    *negated = c == 'S' || c == 'W' || c == 'H';
    switch (c) {
    case 's':
    case 'S':
        return SPACE;
    case 'w':
    case 'W':
        return WORD;
    case 'h':
    case 'H':
        return HEX;
    default:
        return NULL;
    }
}

/* *s->p is the backslash. */
static int escape(struct scan *s, bool in_class)
{
    const char c = s->p + 1 < s->end ? s->p[1] : '\0';
    bool negated;
    const char *set = class_escape(c, &negated);

    if (!c)
        return refuse(s, "a backslash at the end");
    s->p++;
    if (c == 'p' || c == 'P')
        return property(s);
    if (c == 'u')
        return unicode_escape(s);
    if (!set) {
        /* These mean something else in PCRE2, or nothing at all. */
        if (strchr("KgkyYMCcEQNOR", c))
            return refuse(s, "one of \\K \\g \\k \\y \\Y \\M \\C \\c \\E \\Q \\N \\O \\R");
        put(s, "\\");
        put_n(s, &c, 1);
        s->p++;
        return WOQ_OK;
    }
    s->p++;
    if (in_class && negated && c != 'S')
        return refuse(s, "\\W or \\H inside a class");
    if (in_class) {
        put(s, negated ? NOT_SPACE : set);
        return WOQ_OK;
    }
    put(s, negated ? "[^" : "[");
    put(s, set);
    put(s, "]");
    return WOQ_OK;
}

/* Members of a class up to its ']'; an inner class without ^ is a union and loses its brackets. */
static int class_members(struct scan *s)
{
    bool first = true;

    if (++s->depth > 16)
        return refuse(s, "such deep nesting of classes");
    for (; s->p < s->end && (*s->p != ']' || first); first = false) {
        int rc;

        if (*s->p == '\\') {
            if ((rc = escape(s, true)) < 0)
                return rc;
        } else if (*s->p == '[' && s->end - s->p > 1 && s->p[1] == ':') {
            put_n(s, s->p, 2);
            s->p += 2;
        } else if (*s->p == '[') {
            if (s->end - s->p > 1 && s->p[1] == '^')
                return refuse(s, "a negated class inside a class");
            s->p++;
            if ((rc = class_members(s)) < 0)
                return rc;
        } else if (*s->p == '&' && s->end - s->p > 1 && s->p[1] == '&') {
            return refuse(s, "&& inside a class");
        } else {
            if (*s->p == ']')
                put(s, "\\");
            put_n(s, s->p++, 1);
        }
    }
    if (s->p == s->end)
        return refuse(s, "a class without its ']'");
    s->p++;
    s->depth--;
    return WOQ_OK;
}

static int class(struct scan *s)
{
    int rc;

    put(s, "[");
    s->p++;
    if (s->p < s->end && *s->p == '^') {
        put(s, "^");
        s->p++;
    }
    rc = class_members(s);
    put(s, "]");
    return rc;
}

/* *s->p is '(': options of Ruby, and kinds of groups that PCRE2 does not have. */
static int group(struct scan *s)
{
    const char *q = s->p + 1;

    if (s->end - s->p > 2 && q[0] == '?') {
        if (q[1] == '~')
            return refuse(s, "an absent group (?~...)");
        if (strchr("imx-", q[1])) {
            put(s, "(?");
            for (q++; q < s->end && strchr("imx-", *q); q++)
                put(s, *q == 'm' ? "s" : *q == 'i' ? "i" : *q == 'x' ? "x" : "-");
            s->p = q;
            return WOQ_OK;
        }
    } else if (s->end - s->p > 1 && q[0] == '*') {
        return refuse(s, "a verb or callout (*...)");
    }
    put(s, "(");
    s->p++;
    return WOQ_OK;
}

int woq_onig_to_pcre(struct woq_str *out, const char *pattern, size_t bytes, struct woq_error *err)
{
    struct scan s = { .p = pattern, .end = pattern + bytes, .out = out, .err = err };
    int rc = WOQ_OK;

    if (memchr(pattern, '\0', bytes))
        return woq_fail(err, WOQ_EDATA, NULL, "regular expression holds a NUL byte");
    while (s.p < s.end && rc == WOQ_OK) {
        if (*s.p == '\\')
            rc = escape(&s, false);
        else if (*s.p == '[')
            rc = class(&s);
        else if (*s.p == '(')
            rc = group(&s);
        else {
            if (*s.p == '{' && s.end - s.p > 1 && s.p[1] == ',') {
                put(&s, "{0");
                s.p++;
            } else {
                put_n(&s, s.p++, 1);
            }
        }
    }
    if (rc == WOQ_OK && s.oom)
        rc = woq_fail_nomem(err, out->len);
    return rc;
}
