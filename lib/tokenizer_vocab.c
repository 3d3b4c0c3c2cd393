/* tokenizer_vocab.c -- tokens and their ids. */
#include "tokenizer_internal.h"

#include <stdio.h>
#include <string.h>

int tok_vocab_add(struct tok_vocab *v, const char *token, size_t len, uint64_t id,
                  struct woq_error *err)
{
    if (id >= TOK_MAX_ID)
        return woq_fail(err, WOQ_EDATA, NULL, "id of token '%.60s' is not in 0..%u", token,
                        TOK_MAX_ID - 1);
    if (tok_map_get(&v->map, token, len))
        return woq_fail(err, WOQ_EDATA, NULL, "token '%.60s' occurs twice", token);
    return tok_map_add(&v->map, token, len, (uint32_t)id, err);
}

static uint32_t id_of(const struct tok_vocab *v, const char *token, size_t len)
{
    const struct tok_entry *e = tok_map_get(&v->map, token, len);

    return e ? e->value : TOK_NO_ID;
}

void tok_vocab_index(struct tok_vocab *v)
{
    for (uint32_t cp = 0; cp < 0x800; cp++) {
        char text[4];
        const size_t n = woq_utf8_put(text, cp);

        v->char_id[cp] = id_of(v, text, n);
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];

        (void)snprintf(name, sizeof(name), "<0x%02X>", byte);
        v->byte_id[byte] = id_of(v, name, 6);
    }
}

uint32_t tok_vocab_char(const struct tok_vocab *v, const char *text, size_t n)
{
    size_t bytes;

    return n <= 2 ? v->char_id[woq_utf8_get(text, &bytes)] : id_of(v, text, n);
}

bool tok_vocab_has_bytes(const struct tok_vocab *v, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (v->byte_id[(unsigned char)text[i]] == TOK_NO_ID)
            return false;
    return true;
}

int tok_vocab_push_bytes(const struct tok_vocab *v, const char *text, size_t n, struct woq_ids *out,
                         struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < n; i++)
        rc = woq_ids_push(out, v->byte_id[(unsigned char)text[i]], err);
    return rc;
}

bool tok_vocab_cuts_at_marks(const struct tok_vocab *v)
{
    if (id_of(v, TOK_MARK, TOK_MARK_BYTES) == TOK_NO_ID)
        return false;
    for (size_t i = 0; i < v->map.n; i++) {
        const struct tok_entry *e = &v->map.entry[i];
        const char *text = v->map.keys.s + e->off;
        bool mark = true;

        for (size_t k = 0, n; k < e->len; k += n) {
            const bool before = mark;

            n = woq_utf8_bytes((unsigned char)text[k]);
            mark = n == TOK_MARK_BYTES && !memcmp(text + k, TOK_MARK, n);
            if (mark && !before)
                return false;
        }
    }
    return true;
}
