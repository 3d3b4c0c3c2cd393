/* tokenizer_word.c -- one piece of text to ids: what was found for a word is kept, because texts
 * repeat themselves.
 *
 * Vocabularies made by SentencePiece have no pre-tokenizer: a whole text is one piece, whose merges
 * need a heap and no cache helps. But where no token has a mark (U+2581, a space) behind anything
 * but marks, no merge reaches over the place in front of such a mark, and the text may be cut there
 * with the same result. */
#include "tokenizer_internal.h"

#include <string.h>

#define CACHED_BYTES 64      /* longer words are not kept */
#define CACHED_WORDS 200000u /* bounds the cache to about 20 MB */

static int remember(struct tok_work *w, const char *text, size_t len, struct woq_error *err)
{
    int rc;

    if (len > CACHED_BYTES || w->words.n >= CACHED_WORDS)
        return WOQ_OK;
    if ((rc = tok_grow(&w->span, &w->cap_spans, w->n_spans + 1, sizeof(*w->span), err)) < 0 ||
        (rc = tok_map_add(&w->words, text, len, (uint32_t)w->n_spans, err)) < 0)
        return rc;
    w->span[w->n_spans++] = (struct tok_span){ w->word_ids.n, (uint32_t)w->symbols.n };
    for (size_t i = 0; rc == WOQ_OK && i < w->symbols.n; i++)
        rc = woq_ids_push(&w->word_ids, w->symbols.ids[i], err);
    return rc;
}

static int push_all(struct woq_ids *out, const uint32_t *ids, size_t n, struct woq_error *err)
{
    int rc = tok_grow(&out->ids, &out->cap, out->n + n, sizeof(*out->ids), err);

    if (rc == WOQ_OK && n) {
        memcpy(out->ids + out->n, ids, n * sizeof(*ids));
        out->n += n;
    }
    return rc;
}

static int one_word(const struct woq_tokenizer *t, struct tok_work *w, const char *text, size_t len,
                    struct woq_ids *out, struct woq_error *err)
{
    const struct tok_entry *e = len <= CACHED_BYTES ? tok_map_get(&w->words, text, len) : NULL;
    int rc;

    if (e) {
        const struct tok_span *s = &w->span[e->value];

        return s->n ? push_all(out, w->word_ids.ids + s->off, s->n, err) : WOQ_OK;
    }
    if (t->model == TOK_UNIGRAM)
        rc = tok_unigram_encode(&t->unigram, w, text, len, err);
    else if (t->model == TOK_SPM_BPE)
        rc = tok_spm_encode(t, w, text, len, err);
    else
        rc = tok_bpe_encode(&t->bpe, w, text, len, err);
    if (rc < 0 || (rc = remember(w, text, len, err)) < 0)
        return rc;
    return push_all(out, w->symbols.ids, w->symbols.n, err);
}

/* End of the word at the start of text: in front of a mark behind something else. */
static size_t word_end(const char *text, size_t len)
{
    size_t at = 0;

    while (len - at >= TOK_MARK_BYTES && !memcmp(text + at, TOK_MARK, TOK_MARK_BYTES))
        at += TOK_MARK_BYTES;
    while (at < len) {
        const char *hit = memchr(text + at, TOK_MARK[0], len - at);

        if (!hit)
            return len;
        at = (size_t)(hit - text);
        if (len - at >= TOK_MARK_BYTES && !memcmp(hit, TOK_MARK, TOK_MARK_BYTES))
            return at;
        at++;
    }
    return len;
}

int tok_word_encode(const struct woq_tokenizer *t, struct tok_work *w, const char *text, size_t len,
                    struct woq_ids *out, struct woq_error *err)
{
    int rc = WOQ_OK;

    if (!t->cut_at_marks)
        return one_word(t, w, text, len, out, err);
    for (size_t at = 0, n; rc == WOQ_OK && at < len; at += n) {
        n = word_end(text + at, len - at);
        rc = one_word(t, w, text + at, n, out, err);
    }
    return rc;
}
