/* tokenizer_charsmap.c -- the replacements of characters that SentencePiece compiles into a model
 * (formats.md 6.6): the size of a double array in bytes, the array, texts that end in NUL. A unit
 * of the array has its label in bits 0..7 and 31, bit 8 says that a value follows, bits 9..30 are
 * the offset of its children (Yata et al. 2007, as in the library darts-clone). */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

int tok_charsmap_open(struct tok_charsmap *c, const char *blob, size_t bytes, struct woq_error *err)
{
    const unsigned char *p = (const unsigned char *)blob;
    uint32_t size = 0;

    if (bytes > 4)
        size = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    if (bytes <= 4 || size > bytes - 4 || size % 4 || !size)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "precompiled_charsmap of %zu bytes with a table of %u bytes", bytes, size);
    c->n_units = size / 4;
    c->text_bytes = bytes - 4 - size;
    c->unit = malloc(size);
    c->text = malloc(c->text_bytes + 1);
    if (!c->unit || !c->text)
        return woq_fail_nomem(err, bytes);
    for (size_t i = 0; i < c->n_units; i++, p += 4)
        c->unit[i] = p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 24;
    memcpy(c->text, blob + 4 + size, c->text_bytes);
    c->text[c->text_bytes] = '\0';
    if (woq_utf8_valid(c->text, c->text_bytes) < c->text_bytes)
        return woq_fail(err, WOQ_EDATA, NULL, "precompiled_charsmap: a text is not UTF-8");
    return WOQ_OK;
}

void tok_charsmap_release(struct tok_charsmap *c)
{
    free(c->unit);
    free(c->text);
    *c = (struct tok_charsmap){ 0 };
}

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
}

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

const char *tok_charsmap_get(const struct tok_charsmap *c, const char *text, size_t len,
                             bool longest, size_t *used)
{
    const char *found = NULL;
    size_t at = 0;

    if (!c->n_units)
        return NULL;
    at = offset_of(c->unit[0]);
    for (size_t i = 0; i < len && text[i]; i++) {
        const unsigned char byte = (unsigned char)text[i];
        uint32_t unit;

        at ^= byte;
        if (at >= c->n_units)
            break;
        unit = c->unit[at];
        if ((unit & 0x800000ffu) != byte)
            break;
        at ^= offset_of(unit);
        if (at >= c->n_units)
            break;
        if (unit & 0x100) {
            const uint32_t value = c->unit[at] & 0x7fffffffu;

            /* Both texts are cut at whole characters only, whatever the file says. */
            if (value > c->text_bytes || continues(c->text[value]) ||
                (i + 1 < len && continues(text[i + 1])))
                continue;
            found = c->text + value;
            *used = i + 1;
            if (!longest)
                break;
        }
    }
    return found;
}

/* The original looks at the shortest prefix, and replaces all of the cluster or character by what
 * that one becomes. */
int tok_charsmap_run(const struct tok_charsmap *c, const char *text, size_t len,
                     struct woq_str *out, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t at = 0, n; rc == WOQ_OK && at < len; at += n) {
        const char *to = NULL;
        size_t used;

        n = woq_grapheme_bytes(text + at, len - at);
        if (n < 6)
            to = tok_charsmap_get(c, text + at, n, false, &used);
        if (to) {
            rc = tok_add(out, to, strlen(to), err);
            continue;
        }
        for (size_t i = at, one; rc == WOQ_OK && i < at + n; i += one) {
            one = woq_utf8_bytes((unsigned char)text[i]);
            to = tok_charsmap_get(c, text + i, one, false, &used);
            rc = to ? tok_add(out, to, strlen(to), err) : tok_add(out, text + i, one, err);
        }
    }
    return rc;
}
