/* unicode.c -- the wrapper around utf8proc, and a validator of UTF-8. */
#include <woq/packages.h>
#include <woq/unicode.h>

#include <utf8proc.h>

#include <stdlib.h>
#include <string.h>

/* Length of the valid character at p, or 0; *bad receives the length of the maximal subpart. */
static size_t char_bytes(const unsigned char *p, size_t n, size_t *bad)
{
    unsigned char lo = 0x80, hi = 0xbf;
    size_t want;

    *bad = 1;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    want = woq_utf8_bytes(p[0]);
    if (p[0] == 0xe0)
        lo = 0xa0; /* overlong */
    else if (p[0] == 0xed)
        hi = 0x9f; /* surrogates */
    else if (p[0] == 0xf0)
        lo = 0x90; /* overlong */
    else if (p[0] == 0xf4)
        hi = 0x8f; /* beyond U+10FFFF */
    for (size_t i = 1; i < want; i++) {
        if (i == n || p[i] < lo || p[i] > hi)
            return 0;
        lo = 0x80;
        hi = 0xbf;
        *bad = i + 1;
    }
    return want;
}

size_t woq_utf8_valid(const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t i = 0, bad;

    while (i < bytes) {
        uint64_t word;
        size_t n;

        if (bytes - i >= sizeof(word)) {
            memcpy(&word, p + i, sizeof(word));
            if (!(word & 0x8080808080808080u)) {
                i += sizeof(word);
                continue;
            }
        }
        n = char_bytes(p + i, bytes - i, &bad);
        if (!n)
            return i;
        i += n;
    }
    return bytes;
}

size_t woq_utf8_bad_bytes(const char *text, size_t bytes)
{
    size_t bad;

    (void)char_bytes((const unsigned char *)text, bytes, &bad);
    return bad;
}

uint32_t woq_utf8_get(const char *text, size_t *bytes)
{
    const unsigned char *p = (const unsigned char *)text;

    *bytes = woq_utf8_bytes(p[0]);
    switch (*bytes) {
    case 1:
        return p[0];
    case 2:
        return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    case 3:
        return (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    default:
        return (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
    }
}

size_t woq_utf8_put(char *out, uint32_t cp)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)out);
}

/* Below these limits a text is its own normal form. */
static bool is_plain(const char *text, size_t bytes, enum woq_form form)
{
    /* First bytes of U+0300, U+00C0 (in c3), U+00A0 (in c2). */
    const unsigned char limit = form == WOQ_NFC ? 0xcc : form == WOQ_NFD ? 0xc3 : 0xc2;

    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] >= limit)
            return false;
    return true;
}

int woq_utf8_normalize(struct woq_str *out, const char *text, size_t bytes, enum woq_form form,
                       struct woq_error *err)
{
    static const utf8proc_option_t options[] = {
        [WOQ_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [WOQ_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [WOQ_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [WOQ_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    utf8proc_uint8_t *made = NULL;
    utf8proc_ssize_t n;
    int rc;

    if (is_plain(text, bytes, form))
        return woq_str_add(out, text, bytes) < 0 ? woq_fail_nomem(err, bytes) : WOQ_OK;
    n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &made, options[form]);
    if (n == UTF8PROC_ERROR_NOMEM || n == UTF8PROC_ERROR_OVERFLOW)
        return woq_fail_nomem(err, bytes);
    if (n < 0)
        return woq_fail(err, WOQ_EDATA, NULL, "text cannot be normalized: %s", utf8proc_errmsg(n));
    rc = woq_str_add(out, made, (size_t)n) < 0 ? woq_fail_nomem(err, (size_t)n) : WOQ_OK;
    free(made);
    return rc;
}

int woq_utf8_lower(struct woq_str *out, const char *text, size_t bytes, struct woq_error *err)
{
    for (size_t i = 0, n; i < bytes; i += n) {
        const uint32_t cp = woq_utf8_get(text + i, &n);
        char buf[4];
        int rc;

        if (cp == 0x130)
            rc = woq_str_add(out, "i\xcc\x87", 3);
        else
            rc = woq_str_add(out, buf,
                             woq_utf8_put(buf, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp)));
        if (rc < 0)
            return woq_fail_nomem(err, bytes);
    }
    return WOQ_OK;
}

uint32_t woq_cp_upper(uint32_t cp)
{
    return (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp);
}

size_t woq_grapheme_bytes(const char *text, size_t bytes)
{
    size_t n, next;
    uint32_t cp = woq_utf8_get(text, &n);
    utf8proc_int32_t state = 0;

    while (n < bytes) {
        const uint32_t following = woq_utf8_get(text + n, &next);

        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)cp, (utf8proc_int32_t)following,
                                             &state))
            break;
        n += next;
        cp = following;
    }
    return n;
}

const char *woq_cp_category(uint32_t cp)
{
    return utf8proc_category_string((utf8proc_int32_t)cp);
}

bool woq_cp_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool woq_cp_is_numeric(uint32_t cp)
{
    return woq_cp_category(cp)[0] == 'N';
}

bool woq_cp_is_punct(uint32_t cp)
{
    if (cp < 0x80 && strchr("$+<=>^`|~", (int)cp))
        return cp != 0;
    return woq_cp_category(cp)[0] == 'P';
}

bool woq_cp_is_mark(uint32_t cp)
{
    return woq_cp_category(cp)[0] == 'M';
}

bool woq_cp_is_word(uint32_t cp)
{
    const char *c = woq_cp_category(cp);

    if (c[0] == 'L' || c[0] == 'M' || !strcmp(c, "Nd") || !strcmp(c, "Nl") || !strcmp(c, "Pc"))
        return true;
    /* Alphabetic beyond these (circled and squared letters), and Join_Control. */
    return (cp >= 0x24b6 && cp <= 0x24e9) || (cp >= 0x1f130 && cp <= 0x1f149) ||
           (cp >= 0x1f150 && cp <= 0x1f169) || (cp >= 0x1f170 && cp <= 0x1f189) || cp == 0x200c ||
           cp == 0x200d;
}

const char *woq_version_utf8proc(void)
{
    return utf8proc_version();
}
