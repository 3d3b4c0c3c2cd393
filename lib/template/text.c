/* text.c -- strings of a template: code points in UTF-8, as Python's str treats them. */
#include "internal.h"

#include <woq/unicode.h>

bool tpl_is_space(uint32_t cp)
{
    return (cp >= 0x1c && cp <= 0x1f) || woq_cp_is_space(cp);
}

size_t tpl_text_len(struct tpl_val s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.s[i] & 0xc0) != 0x80;
    return n;
}

size_t tpl_text_at(struct tpl_val s, size_t i)
{
    size_t at = 0;

    for (; i && at < s.len; i--)
        at += woq_utf8_bytes((unsigned char)s.s[at]);
    return at;
}

/* Is the character at `at` to be stripped? */
static bool strips(struct tpl_val s, size_t at, size_t *bytes, const struct tpl_val *chars)
{
    const uint32_t cp = woq_utf8_get(s.s + at, bytes);
    size_t n;

    if (!chars)
        return tpl_is_space(cp);
    for (size_t i = 0; i < chars->len; i += n)
        if (woq_utf8_get(chars->s + i, &n) == cp)
            return true;
    return false;
}

/* ends: 1 the left one, 2 the right one, 3 both; chars NULL: white space. */
struct tpl_val tpl_strip(struct tpl_run *r, struct tpl_val s, const struct tpl_val *chars, int ends)
{
    size_t bytes;

    if (chars && !tpl_step(r, s.len / 8 * (chars->len + 1)))
        return s;
    while (ends & 1 && s.len && strips(s, 0, &bytes, chars)) {
        s.s += bytes;
        s.len -= bytes;
    }
    while (ends & 2 && s.len) {
        size_t at = s.len - 1;

        while (at && ((unsigned char)s.s[at] & 0xc0) == 0x80)
            at--;
        if (!strips(s, at, &bytes, chars))
            break;
        s.len = at;
    }
    return s;
}

size_t tpl_find(struct tpl_val s, size_t from, struct tpl_val part)
{
    if (!part.len)
        return from <= s.len ? from : SIZE_MAX;
    while (from + part.len <= s.len) {
        const char *p = memchr(s.s + from, part.s[0], s.len - from - part.len + 1);

        if (!p)
            break;
        if (!memcmp(p, part.s, part.len))
            return (size_t)(p - s.s);
        from = (size_t)(p - s.s) + 1;
    }
    return SIZE_MAX;
}

/* Before each character and at the end, as Python replaces an empty string. */
static void replace_empty(struct tpl_run *r, struct woq_str *out, struct tpl_val s,
                          struct tpl_val to, size_t count)
{
    size_t at = 0;

    for (; r->rc == WOQ_OK && count; count--) {
        const size_t n = at < s.len ? woq_utf8_bytes((unsigned char)s.s[at]) : 0;

        tpl_add(r, out, to.s, to.len);
        if (!n)
            break;
        tpl_add(r, out, s.s + at, n);
        at += n;
    }
    tpl_add(r, out, s.s + at, s.len - at);
}

/* count < 0: all of them. */
struct tpl_val tpl_replace(struct tpl_run *r, struct tpl_val s, struct tpl_val from,
                           struct tpl_val to, int64_t count)
{
    size_t left = count < 0 ? SIZE_MAX : (size_t)count, at = 0, found;
    struct woq_str out = { 0 };

    if (!tpl_step(r, 1 + s.len / 64))
        return s;
    if (!from.len) {
        replace_empty(r, &out, s, to, left);
        return tpl_text_of(r, &out);
    }
    while (r->rc == WOQ_OK && left-- && (found = tpl_find(s, at, from)) != SIZE_MAX) {
        tpl_add(r, &out, s.s + at, found - at);
        tpl_add(r, &out, to.s, to.len);
        at = found + from.len;
    }
    tpl_add(r, &out, s.s + at, s.len - at);
    return tpl_text_of(r, &out);
}

/* ------------------------------------------------------------------ case */
/* Does the full mapping of this letter differ from the one of a single character? */
static bool special_case(uint32_t cp, bool lower)
{
    static const uint16_t upper[][2] = {
        { 0xdf, 0xdf },     { 0x149, 0x149 },   { 0x1c4, 0x1cc },   { 0x1f0, 0x1f3 },
        { 0x345, 0x345 },   { 0x390, 0x390 },   { 0x3b0, 0x3b0 },   { 0x587, 0x587 },
        { 0x10d0, 0x10ff }, { 0x13a0, 0x13fd }, { 0x1c80, 0x1c8f }, { 0x1e96, 0x1e9e },
        { 0x1f50, 0x1f56 }, { 0x1f80, 0x1ffc }, { 0xab70, 0xabbf }, { 0xfb00, 0xfb17 },
    };

    if (lower)
        return cp == 0x3a3 || (cp >= 0x13a0 && cp <= 0x13fd);
    for (size_t i = 0; i < sizeof upper / sizeof upper[0]; i++)
        if (cp >= upper[i][0] && cp <= upper[i][1])
            return true;
    return false;
}

static bool is_cased(uint32_t cp)
{
    const char *c = woq_cp_category(cp);

    return c[0] == 'L' && (c[1] == 'u' || c[1] == 'l' || c[1] == 't');
}

/* Where the filter `title` sees words begin: after white space and -({[<. */
static bool begins_word(uint32_t before, enum tpl_case to)
{
    if (to == TPL_TITLE_METHOD)
        return !is_cased(before);
    return tpl_is_space(before) || (before < 128 && before && strchr("-({[<", (int)before));
}

static void add_case(struct tpl_run *r, struct woq_str *out, const char *s, size_t bytes,
                     uint32_t cp, bool upper)
{
    char buf[4];

    if (special_case(cp, !upper)) {
        tpl_unsupported(r, "the %s case of U+%04X", upper ? "upper" : "lower", (unsigned)cp);
        return;
    }
    if (upper) {
        tpl_add(r, out, buf, woq_utf8_put(buf, woq_cp_upper(cp)));
        return;
    }
    if (r->rc == WOQ_OK && woq_utf8_lower(out, s, bytes, r->err) < 0)
        r->rc = r->err->status;
}

struct tpl_val tpl_case_of(struct tpl_run *r, struct tpl_val s, enum tpl_case to)
{
    struct woq_str out = { 0 };
    uint32_t cp, before = ' ';
    size_t bytes;

    if (!tpl_step(r, 1 + s.len / 16))
        return s;
    for (size_t at = 0; r->rc == WOQ_OK && at < s.len; at += bytes, before = cp) {
        bool upper = to == TPL_UPPER || (to == TPL_CAPITALIZE && at == 0);

        cp = woq_utf8_get(s.s + at, &bytes);
        if (to == TPL_TITLE_METHOD || to == TPL_TITLE_FILTER)
            upper = begins_word(before, to);
        add_case(r, &out, s.s + at, bytes, cp, upper);
    }
    return tpl_text_of(r, &out);
}
