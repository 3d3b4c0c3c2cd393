/* tokenizer_pairs.c -- merges of vocabularies that list no merges: SentencePiece and tiktoken join
 * any two neighbours whose concatenation is a token. All ways to cut a token in two become pairs of
 * one rank, so the same loop serves them. */
#include "tokenizer_internal.h"

#include <string.h>

/* Id of one half of a token; TOK_NO_ID if it can't come about. */
static uint32_t half(const struct tok_vocab *v, const uint32_t *rank, uint32_t unknown,
                     const char *text, size_t len)
{
    const struct tok_entry *e = tok_map_get(&v->map, text, len);
    size_t n;

    if (len == woq_utf8_bytes((unsigned char)*text))
        return e ? e->value : unknown | woq_utf8_get(text, &n);
    return e && rank[e->value] != TOK_NO_ID ? e->value : TOK_NO_ID;
}

int tok_bpe_from_pieces(struct tok_bpe *b, const uint32_t *rank, uint32_t unknown,
                        struct woq_error *err)
{
    const struct tok_map *map = &b->vocab->map;
    size_t n_pairs = 0;
    int rc;

    for (size_t i = 0; i < map->n; i++)
        n_pairs += rank[map->entry[i].value] != TOK_NO_ID ? map->entry[i].len - 1 : 0;
    if ((rc = tok_bpe_reserve(b, n_pairs, err)) < 0)
        return rc;
    for (size_t i = 0; i < map->n; i++) {
        const struct tok_entry *e = &map->entry[i];
        const char *text = map->keys.s + e->off;

        if (rank[e->value] == TOK_NO_ID)
            continue;
        for (size_t at = woq_utf8_bytes((unsigned char)*text); at < e->len;
             at += woq_utf8_bytes((unsigned char)text[at])) {
            const uint32_t left = half(b->vocab, rank, unknown, text, at);
            const uint32_t right = left == TOK_NO_ID
                                       ? TOK_NO_ID
                                       : half(b->vocab, rank, unknown, text + at, e->len - at);

            if (right != TOK_NO_ID)
                tok_bpe_add(b, left, right, rank[e->value], e->value);
        }
    }
    return WOQ_OK;
}
