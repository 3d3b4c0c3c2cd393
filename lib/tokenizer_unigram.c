/* tokenizer_unigram.c -- the segmentation of a text with the highest sum of scores (Kudo 2018,
 * arXiv:1804.10959v1, 3.2), by Viterbi over the bytes of the text (formats.md 6.4). */
#include "tokenizer_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0 /* below the lowest score */

struct tok_best { /* the best path that ends at a byte */
    double score;
    uint32_t start; /* of its last piece; TOK_NO_ID: no path yet */
    uint32_t id;
};

/* ------------------------------------------------------------------ loading */
static int load_pieces(struct tok_unigram *u, struct tok_vocab *vocab, const struct woq_json *list,
                       struct woq_error *err)
{
    double lowest = HUGE_VAL;
    uint32_t id = 0;

    woq_json_each(item, list)
    {
        const struct woq_json *piece = woq_json_first(item);
        const char *text = woq_json_str(piece);
        int rc;

        if (!text || woq_json_len(item) != 2 ||
            !woq_json_num(woq_json_next(piece), &u->score[id]) || !isfinite(u->score[id]))
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: piece %u is not [text, score]",
                            id);
        if ((rc = tok_vocab_add(vocab, text, strlen(text), id, err)) < 0)
            return woq_error_at(err, "tokenizer.json");
        if ((rc = tok_trie_add(&u->trie, text, strlen(text), id, err)) < 0)
            return rc;
        lowest = fmin(lowest, u->score[id++]);
    }
    u->unk_score = lowest - UNKNOWN_PENALTY;
    return WOQ_OK;
}

int tok_unigram_parse(struct tok_unigram *u, struct tok_vocab *vocab, const struct woq_json *model,
                      struct woq_error *err)
{
    const struct woq_json *list = woq_json_get(model, "vocab"), *unk;
    const size_t n = woq_json_len(list);
    uint64_t id;
    int rc;

    u->vocab = vocab;
    u->unk = -1;
    u->byte_fallback = woq_json_get_bool(model, "byte_fallback", false);
    if (woq_json_type(list) != WOQ_JARRAY || n > TOK_MAX_ID)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tokenizer.json: model.vocab is not a list of at most %u pieces",
                        TOK_MAX_ID);
    unk = woq_json_get(model, "unk_id");
    if (woq_json_type(unk) != WOQ_JNULL) {
        if (!woq_json_u64(unk, &id) || id >= n)
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: unk_id is not one of %zu pieces",
                            n);
        u->unk = (long)id;
    }
    if (!(u->score = calloc(n + 1, sizeof(*u->score))))
        return woq_fail_nomem(err, n * sizeof(*u->score));
    if ((rc = load_pieces(u, vocab, list, err)) == WOQ_OK)
        tok_vocab_index(vocab);
    return rc;
}

void tok_unigram_release(struct tok_unigram *u)
{
    tok_trie_release(&u->trie);
    free(u->score);
    *u = (struct tok_unigram){ 0 };
}

/* ------------------------------------------------------------------ the best path */
static void reach(const struct tok_unigram *u, struct tok_best *b, double score, size_t start,
                  uint32_t id)
{
    const double kept = u->type ? (double)(float)score : score; /* SentencePiece has floats */

    if (b->start != TOK_NO_ID && kept <= b->score)
        return; /* of equal paths the first counts */
    *b = (struct tok_best){ kept, (uint32_t)start, id };
}

/* SentencePiece counts from 0 again where the best path has come beyond this, so that its floats
 * keep their digits; and it then rounds what ends farther on. */
#define SCORE_RESET 100000.0
static void count_anew(struct tok_best *best, size_t at, size_t farthest)
{
    const double so_far = best[at].score;

    if (fabs(so_far) > SCORE_RESET)
        for (size_t i = at; i <= farthest; i++)
            best[i].score = (double)(float)(best[i].score - so_far);
}

/* Extends the path that ends at byte `at` by every piece that begins there; *farthest is the last
 * end of a path. */
static int extend(const struct tok_unigram *u, struct tok_best *best, const char *text, size_t len,
                  size_t at, size_t *farthest, struct woq_error *err)
{
    const size_t one = woq_utf8_bytes((unsigned char)text[at]);
    const double score = best[at].score;
    bool has_one = false;
    uint32_t node = 0;

    for (size_t i = at; i < len && tok_trie_step(&u->trie, &node, (unsigned char)text[i]); i++) {
        if (!u->trie.token[node])
            continue;
        const uint32_t id = u->trie.token[node] - 1;

        reach(u, &best[i + 1], u->score[id] + score, at, id);
        *farthest = *farthest > i + 1 ? *farthest : i + 1;
        has_one = has_one || i + 1 == at + one;
    }
    if (has_one)
        return WOQ_OK;
    if (u->unk < 0)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "a character of the text is not in the vocabulary, which has no unk_id");
    reach(u, &best[at + one], u->unk_score + score, at, (uint32_t)u->unk);
    *farthest = *farthest > at + one ? *farthest : at + one;
    return WOQ_OK;
}

/* A run of unknown characters is a piece of its own if it happens to be one, else its bytes if all
 * are there, else one unknown token. */
static int put_unknown(const struct tok_unigram *u, const char *text, size_t len,
                       struct woq_ids *out, struct woq_error *err)
{
    const struct tok_entry *e = u->type ? NULL : tok_map_get(&u->vocab->map, text, len);

    if (!e && u->byte_fallback && tok_vocab_has_bytes(u->vocab, text, len))
        return tok_vocab_push_bytes(u->vocab, text, len, out, err);
    return woq_ids_push(out, e ? e->value : (uint32_t)u->unk, err);
}

/* Turns the links around and walks the path from its start. */
static int walk(const struct tok_unigram *u, struct tok_best *best, const char *text, size_t len,
                struct woq_ids *out, struct woq_error *err)
{
    size_t unknown = SIZE_MAX;
    int rc = WOQ_OK;

    for (uint32_t at = (uint32_t)len, end = TOK_NO_ID; at != TOK_NO_ID;) {
        const uint32_t start = at ? best[at].start : TOK_NO_ID;

        best[at].start = end;
        end = at;
        at = start;
    }
    for (size_t at = 0; rc == WOQ_OK && at < len; at = best[at].start) {
        const uint32_t id = best[best[at].start].id;

        if (u->unk >= 0 && id == (uint32_t)u->unk) {
            unknown = unknown == SIZE_MAX ? at : unknown;
            continue;
        }
        if (unknown != SIZE_MAX)
            rc = put_unknown(u, text + unknown, at - unknown, out, err);
        unknown = SIZE_MAX;
        if (rc == WOQ_OK)
            rc = woq_ids_push(out, id, err);
    }
    if (rc == WOQ_OK && unknown != SIZE_MAX)
        rc = put_unknown(u, text + unknown, len - unknown, out, err);
    return rc;
}

int tok_unigram_encode(const struct tok_unigram *u, struct tok_work *w, const char *text,
                       size_t len, struct woq_error *err)
{
    size_t farthest = 0;
    int rc;

    w->symbols.n = 0;
    if (len >= TOK_NO_ID)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "a piece of text of %zu bytes", len);
    if ((rc = tok_grow(&w->best, &w->cap_best, len + 1, sizeof(*w->best), err)) < 0)
        return rc;
    for (size_t i = 0; i <= len; i++)
        w->best[i] = (struct tok_best){ 0, TOK_NO_ID, TOK_NO_ID };
    for (size_t at = 0; rc == WOQ_OK && at < len; at += woq_utf8_bytes((unsigned char)text[at])) {
        if (u->type)
            count_anew(w->best, at, farthest);
        rc = extend(u, w->best, text, len, at, &farthest, err);
    }
    return rc < 0 ? rc : walk(u, w->best, text, len, &w->symbols, err);
}
