/* tokenizer_spm.c -- a SentencePiece model as a tokenizer (Kudo & Richardson 2018,
 * arXiv:1808.06226v1; formats.md 6.6): its normalizer, and BPE by scores. Unigram is
 * tokenizer_unigram.c's, decoding is tokenizer_spm_decode.c's.
 *
 * Added tokens of tokenizer_config.json are cut out before anything else; the model's own control
 * pieces are not found in a text unless they are named there. Deliberately absent: models of whole
 * words and of characters, denormalizers, sampling. */
#include "tokenizer_internal.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

/* A symbol that does not merge, and a character that is no piece (with its code point). */
#define FROZEN 0x80000000u
#define UNKNOWN 0x40000000u
#define MAX_MERGED_BYTES 512 /* longer pieces would take a square of their length to load */

/* ------------------------------------------------------------------ normalizer */
/* What the text begins with becomes: bytes read, and the bytes to write. */
static size_t normalize_prefix(const struct tok_spm *s, const char *text, size_t len,
                               const char **to, size_t *to_bytes)
{
    size_t used = 0;

    *to = text;
    if (tok_trie_longest(&s->user, text, len, &used) >= 0) {
        *to_bytes = used;
        return used;
    }
    if ((*to = tok_charsmap_get(&s->charsmap, text, len, true, &used))) {
        *to_bytes = strlen(*to);
        return used;
    }
    *to = text;
    *to_bytes = woq_utf8_bytes((unsigned char)*text);
    return *to_bytes;
}

static int add_space(const struct tok_spm *s, struct woq_str *out, struct woq_error *err)
{
    return s->escape ? tok_add(out, TOK_MARK, TOK_MARK_BYTES, err) : tok_add(out, " ", 1, err);
}

static int add_escaped(const struct tok_spm *s, struct woq_str *out, const char *text, size_t len,
                       struct woq_error *err)
{
    size_t from = 0;
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < len; i++) {
        if (text[i] != ' ')
            continue;
        rc = tok_add(out, text + from, i - from, err);
        if (rc == WOQ_OK)
            rc = add_space(s, out, err);
        from = i + 1;
    }
    return rc < 0 ? rc : tok_add(out, text + from, len - from, err);
}

static void drop_trailing(const struct tok_spm *s, struct woq_str *out, size_t begin)
{
    const char *space = s->escape ? TOK_MARK : " ";
    const size_t n = strlen(space);

    while (out->len - begin >= n && !memcmp(out->s + out->len - n, space, n))
        out->len -= n;
}

int tok_spm_normalize(const struct tok_spm *s, const char *text, size_t len, bool first,
                      struct woq_str *out, struct woq_error *err)
{
    const bool dummy = s->dummy_prefix && (first || !s->only_first);
    const size_t begin = out->len;
    bool after_space = s->remove_extra;
    const char *to;
    size_t at = 0, n, to_bytes;
    int rc = WOQ_OK;

    for (; s->remove_extra && at < len; at += n) {
        n = normalize_prefix(s, text + at, len - at, &to, &to_bytes);
        if (to_bytes != 1 || *to != ' ')
            break;
    }
    if (at == len)
        return WOQ_OK;
    if (dummy && !s->space_suffix)
        rc = add_space(s, out, err);
    for (; rc == WOQ_OK && at < len; at += n) {
        n = normalize_prefix(s, text + at, len - at, &to, &to_bytes);
        for (; after_space && to_bytes && *to == ' '; to++)
            to_bytes--;
        rc = add_escaped(s, out, to, to_bytes, err);
        if (to_bytes)
            after_space = s->remove_extra && to[to_bytes - 1] == ' ';
    }
    if (rc == WOQ_OK && s->remove_extra)
        drop_trailing(s, out, begin);
    if (rc == WOQ_OK && dummy && s->space_suffix)
        rc = add_space(s, out, err);
    return rc;
}

/* ------------------------------------------------------------------ BPE */
static int to_symbols(const struct woq_tokenizer *t, const char *text, size_t len,
                      struct woq_ids *out, struct woq_error *err)
{
    int rc = WOQ_OK;

    out->n = 0;
    for (size_t at = 0, n; rc == WOQ_OK && at < len; at += n) {
        const long user = tok_trie_longest(&t->spm.user, text + at, len - at, &n);
        uint32_t id = (uint32_t)user | FROZEN;

        if (user < 0) {
            n = woq_utf8_bytes((unsigned char)text[at]);
            id = tok_vocab_char(&t->vocab, text + at, n);
            if (id == TOK_NO_ID)
                id = UNKNOWN | woq_utf8_get(text + at, &n);
        }
        rc = woq_ids_push(out, id, err);
    }
    return rc;
}

/* A symbol's id; a piece of type UNUSED falls apart again into what it was merged from. */
static int put_symbol(const struct woq_tokenizer *t, const struct tok_work *w, uint32_t symbol,
                      bool *after_unknown, struct woq_ids *out, struct woq_error *err)
{
    const uint32_t id = symbol & ~FROZEN;
    char buf[4];
    const char *text = buf;
    size_t len = 0;

    if (!(symbol & (FROZEN | UNKNOWN)) && t->bpe.unused && t->bpe.unused[id] &&
        w->split[id].left != TOK_NO_ID) {
        const struct tok_halves h = w->split[id];
        const int rc = put_symbol(t, w, h.left, after_unknown, out, err);

        return rc < 0 ? rc : put_symbol(t, w, h.right, after_unknown, out, err);
    }
    if (!(symbol & UNKNOWN && !(symbol & FROZEN)) && id != t->spm.unk) {
        *after_unknown = false;
        return woq_ids_push(out, id, err);
    }
    if (*after_unknown && !t->spm.byte_fallback)
        return WOQ_OK; /* a run of unknown characters is one piece */
    *after_unknown = true;
    if (!t->spm.byte_fallback)
        return woq_ids_push(out, t->spm.unk, err);
    if (id == t->spm.unk)
        text = tok_token(t, id, &len);
    else
        len = woq_utf8_put(buf, id & ~UNKNOWN);
    return tok_vocab_push_bytes(&t->vocab, text, len, out, err);
}

static int reset_split(const struct woq_tokenizer *t, struct tok_work *w, struct woq_error *err)
{
    const int rc = tok_grow(&w->split, &w->cap_split, t->n_ids, sizeof(*w->split), err);

    for (size_t i = 0; rc == WOQ_OK && i < t->n_ids; i++)
        w->split[i] = (struct tok_halves){ TOK_NO_ID, TOK_NO_ID };
    return rc;
}

int tok_spm_encode(const struct woq_tokenizer *t, struct tok_work *w, const char *text, size_t len,
                   struct woq_error *err)
{
    struct woq_ids symbols;
    bool after_unknown = false;
    int rc = to_symbols(t, text, len, &w->symbols, err);

    if (rc == WOQ_OK && t->bpe.unused)
        rc = reset_split(t, w, err);
    if (rc == WOQ_OK)
        rc = tok_bpe_merge(&t->bpe, w, err);
    w->spare.n = 0;
    for (size_t i = 0; rc == WOQ_OK && i < w->symbols.n; i++)
        rc = put_symbol(t, w, w->symbols.ids[i], &after_unknown, &w->spare, err);
    symbols = w->symbols;
    w->symbols = w->spare;
    w->spare = symbols;
    return rc;
}

/* ------------------------------------------------------------------ loading */
struct ranked {
    float score;
    uint32_t id;
};

static int by_score(const void *a, const void *b)
{
    const float x = ((const struct ranked *)a)->score, y = ((const struct ranked *)b)->score;

    return (x < y) - (x > y);
}

static bool merges(const struct woq_spm_piece *p)
{
    return p->type == WOQ_SPM_NORMAL || p->type == WOQ_SPM_UNUSED;
}

/* Rank of each piece: by falling score, the same for equal scores. User-defined pieces are cut out
 * before anything merges, so none is ever put together. */
static int rank_pieces(const struct woq_spm *m, uint32_t *rank, struct woq_error *err)
{
    struct ranked *list = malloc((m->n + 1) * sizeof(*list));
    size_t n = 0;

    if (!list)
        return woq_fail_nomem(err, m->n * sizeof(*list));
    for (size_t i = 0; i < m->n; i++) {
        rank[i] = TOK_NO_ID;
        if (merges(&m->piece[i]))
            list[n++] = (struct ranked){ m->piece[i].score, (uint32_t)i };
    }
    qsort(list, n, sizeof(*list), by_score);
    for (size_t i = 0, r = 0; i < n; i++) {
        r = i && list[i].score < list[i - 1].score ? i : r;
        rank[list[i].id] = (uint32_t)r;
    }
    free(list);
    return WOQ_OK;
}

static int load_bpe(struct woq_tokenizer *t, const struct woq_spm *m, struct woq_error *err)
{
    uint32_t *rank = malloc((m->n + 1) * sizeof(*rank));
    bool unused = false;
    int rc = rank ? rank_pieces(m, rank, err) : woq_fail_nomem(err, m->n * sizeof(*rank));

    t->model = TOK_SPM_BPE;
    t->bpe.vocab = &t->vocab;
    for (size_t i = 0; rc == WOQ_OK && i < m->n; i++) {
        if (rank[i] != TOK_NO_ID && m->piece[i].text.len > MAX_MERGED_BYTES)
            rc = woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                          "SentencePiece model: piece %zu has %zu bytes, limit %d", i,
                          m->piece[i].text.len, MAX_MERGED_BYTES);
        unused = unused || m->piece[i].type == WOQ_SPM_UNUSED;
    }
    if (rc == WOQ_OK)
        rc = tok_bpe_from_pieces(&t->bpe, rank, UNKNOWN, err);
    free(rank);
    if (rc == WOQ_OK && unused && !(t->bpe.unused = calloc(m->n, sizeof(*t->bpe.unused))))
        rc = woq_fail_nomem(err, m->n);
    for (size_t i = 0; rc == WOQ_OK && unused && i < m->n; i++)
        t->bpe.unused[i] = m->piece[i].type == WOQ_SPM_UNUSED;
    t->cut_at_marks = rc == WOQ_OK && !unused && tok_vocab_cuts_at_marks(&t->vocab);
    return rc;
}

/* Scores are floats there, and so are sums; user-defined pieces get a bonus that always wins, since
 * 0.2.2 by their length alone. */
static int load_unigram(struct woq_tokenizer *t, const struct woq_spm *m, struct woq_error *err)
{
    struct tok_unigram *u = &t->unigram;
    float lowest = FLT_MAX;

    t->model = TOK_UNIGRAM;
    u->vocab = &t->vocab;
    u->unk = (long)t->spm.unk;
    u->byte_fallback = m->byte_fallback;
    u->type = t->spm.type;
    if (!(u->score = calloc(m->n + 1, sizeof(*u->score))))
        return woq_fail_nomem(err, m->n * sizeof(*u->score));
    for (size_t i = 0; i < m->n; i++)
        if (m->piece[i].type == WOQ_SPM_NORMAL && m->piece[i].score < lowest)
            lowest = m->piece[i].score;
    u->unk_score = (double)(lowest - 10.0f);
    for (size_t i = 0; i < m->n; i++) {
        const struct woq_spm_piece *p = &m->piece[i];
        int rc = WOQ_OK;

        u->score[i] = (double)p->score;
        if (p->type == WOQ_SPM_USER_DEFINED)
            u->score[i] = (double)(float)(0.1 * (double)(p->text.len - 1));
        if (p->type == WOQ_SPM_NORMAL || p->type == WOQ_SPM_USER_DEFINED)
            rc = tok_trie_add(&u->trie, p->text.s, p->text.len, (uint32_t)i, err);
        if (rc < 0)
            return rc;
    }
    return WOQ_OK;
}

static int load_flags(struct tok_spm *s, const struct woq_spm *m, struct woq_error *err)
{
    s->on = true;
    s->byte_fallback = m->byte_fallback;
    s->space_suffix = m->space_suffix;
    s->dummy_prefix = m->dummy_prefix;
    s->remove_extra = m->remove_extra;
    s->escape = m->escape;
    if (tok_add(&s->unk_surface, m->unk_surface.s, m->unk_surface.len, err) < 0)
        return WOQ_ENOMEM;
    if (woq_utf8_valid(m->unk_surface.s, m->unk_surface.len) < m->unk_surface.len)
        return woq_fail(err, WOQ_EDATA, NULL, "SentencePiece model: unk_surface is not UTF-8");
    if (m->denormalizer.len)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "SentencePiece model: a denormalizer is not supported");
    return m->charsmap.len ? tok_charsmap_open(&s->charsmap, m->charsmap.s, m->charsmap.len, err)
                           : WOQ_OK;
}

static int load_pieces(struct woq_tokenizer *t, const struct woq_spm *m, struct woq_error *err)
{
    struct tok_spm *s = &t->spm;

    if (!(s->type = calloc(m->n + 1, sizeof(*s->type))))
        return woq_fail_nomem(err, m->n);
    s->n = m->n;
    for (size_t i = 0; i < m->n; i++) {
        const struct woq_spm_piece *p = &m->piece[i];
        int rc = tok_vocab_add(&t->vocab, p->text.s, p->text.len, i, err);

        if (rc == WOQ_OK && p->type == WOQ_SPM_USER_DEFINED)
            rc = tok_trie_add(&s->user, p->text.s, p->text.len, (uint32_t)i, err);
        if (rc < 0)
            return woq_error_at(err, "SentencePiece model");
        s->type[i] = (uint8_t)p->type;
        if (p->type == WOQ_SPM_UNKNOWN)
            s->unk = (uint32_t)i;
    }
    tok_vocab_index(&t->vocab);
    return WOQ_OK;
}

static int one_step(struct tok_steps *steps, enum tok_kind kind, struct woq_error *err)
{
    if (!(steps->s = calloc(1, sizeof(*steps->s))))
        return woq_fail_nomem(err, sizeof(*steps->s));
    steps->s[0].kind = kind;
    steps->n = 1;
    return WOQ_OK;
}

int tok_spm_load(struct woq_tokenizer *t, const char *data, size_t bytes, struct woq_error *err)
{
    static const char *const names[] = { "?", "unigram", "bpe", "word", "char" };
    struct woq_spm m;
    int rc;

    woq_spm_init(&m);
    if ((rc = woq_spm_read(&m, data, bytes, err)) == WOQ_OK && m.model != WOQ_SPM_BPE &&
        m.model != WOQ_SPM_UNIGRAM)
        rc = woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                      "SentencePiece model: model_type '%s' is not supported, want bpe or unigram",
                      names[m.model]);
    if (rc == WOQ_OK && (rc = load_flags(&t->spm, &m, err)) == WOQ_OK &&
        (rc = load_pieces(t, &m, err)) == WOQ_OK &&
        (rc = one_step(&t->normalizer, TOK_NORM_SPM, err)) == WOQ_OK &&
        (rc = one_step(&t->decoder, TOK_DEC_SPM, err)) == WOQ_OK) {
        rc = m.model == WOQ_SPM_BPE ? load_bpe(t, &m, err) : load_unigram(t, &m, err);
        t->has_decoder = true;
        t->bos = m.bos;
        t->eos = m.eos;
    }
    woq_spm_release(&m);
    return rc;
}

void tok_spm_release(struct tok_spm *s)
{
    tok_charsmap_release(&s->charsmap);
    tok_trie_release(&s->user);
    woq_str_release(&s->unk_surface);
    free(s->type);
    *s = (struct tok_spm){ 0 };
}
