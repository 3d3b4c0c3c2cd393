/* tokenizer_run.c -- normalizers and pre-tokenizers at work (formats.md 6.2, 6.3). */
#include "tokenizer_internal.h"

#include <string.h>

/* ------------------------------------------------------------------ changing the text of pieces */
static int strip(const struct tok_step *s, const char *text, size_t len, struct woq_str *out,
                 bool *moved, struct woq_error *err)
{
    size_t start = 0, end = len, n;

    while (s->left && start < end && woq_cp_is_space(woq_utf8_get(text + start, &n)))
        start += n;
    while (s->right && end > start) {
        size_t at = end - 1;

        while (at > start && ((unsigned char)text[at] & 0xc0) == 0x80)
            at--;
        if (!woq_cp_is_space(woq_utf8_get(text + at, &n)))
            break;
        end = at;
    }
    *moved = start > 0;
    return tok_add(out, text + start, end - start, err);
}

static int replace(const struct tok_step *s, struct tok_work *w, const char *text, size_t len,
                   struct woq_str *out, struct woq_error *err)
{
    int rc = tok_find(&s->pattern, w, text, len, err);

    for (size_t i = 0; rc == WOQ_OK && i < w->n_ranges; i++) {
        const struct tok_range r = w->range[i];

        rc = r.match ? tok_add(out, s->content, s->content_bytes, err)
                     : tok_add(out, text + r.start, r.end - r.start, err);
    }
    return rc;
}

/* What SentencePiece's "nmt" rules do to control characters and odd spaces. */
static int nmt(const char *text, size_t len, struct woq_str *out, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0, n; rc == WOQ_OK && i < len; i += n) {
        const uint32_t c = woq_utf8_get(text + i, &n);

        if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
            c == 0x9f)
            continue;
        if (c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
            (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
            c == 0xfeff || c == 0xfffd)
            rc = tok_add(out, " ", 1, err);
        else
            rc = tok_add(out, text + i, n, err);
    }
    return rc;
}

static int strip_accents(const char *text, size_t len, struct woq_str *out, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0, n; rc == WOQ_OK && i < len; i += n)
        if (!woq_cp_is_mark(woq_utf8_get(text + i, &n)))
            rc = tok_add(out, text + i, n, err);
    return rc;
}

/* Spaces become the replacement character, one is put in front by the scheme. */
static int metaspace(const struct tok_step *s, const struct tok_piece *p, const char *text,
                     struct woq_str *out, struct woq_error *err)
{
    const bool has = text[0] == ' ' ||
                     (p->len >= s->content_bytes && !memcmp(text, s->content, s->content_bytes));
    const bool wants =
        s->prepend == TOK_PREPEND_ALWAYS || (s->prepend == TOK_PREPEND_FIRST && p->first);
    size_t from = 0;
    int rc = WOQ_OK;

    if (wants && !has)
        rc = tok_add(out, s->content, s->content_bytes, err);
    for (size_t i = 0; rc == WOQ_OK && i <= p->len; i++) {
        if (i < p->len && text[i] != ' ')
            continue;
        rc = tok_add(out, text + from, i - from, err);
        if (rc == WOQ_OK && i < p->len)
            rc = tok_add(out, s->content, s->content_bytes, err);
        from = i + 1;
    }
    return rc;
}

static int change(const struct woq_tokenizer *t, const struct tok_step *s, struct tok_work *w,
                  struct tok_piece *p, struct woq_error *err)
{
    const char *text = w->text.s + p->off;
    struct woq_str *out = &w->other;
    bool moved = false;
    int rc;

    switch (s->kind) {
    case TOK_NORM_FORM:
        return woq_utf8_normalize(out, text, p->len, s->form, err);
    case TOK_NORM_LOWER:
        return woq_utf8_lower(out, text, p->len, err);
    case TOK_NORM_NMT:
        return nmt(text, p->len, out, err);
    case TOK_NORM_STRIP_ACCENTS:
        return strip_accents(text, p->len, out, err);
    case TOK_NORM_SPM:
        return tok_spm_normalize(&t->spm, text, p->len, p->first, out, err);
    case TOK_NORM_CHARSMAP:
        return tok_charsmap_run(&s->charsmap, text, p->len, out, err);
    case TOK_NORM_REPLACE:
        return replace(s, w, text, p->len, out, err);
    case TOK_NORM_PREPEND:
        rc = tok_add(out, s->content, s->content_bytes, err);
        return rc < 0 ? rc : tok_add(out, text, p->len, err);
    case TOK_NORM_STRIP:
        rc = strip(s, text, p->len, out, &moved, err);
        p->first = p->first && !moved;
        return rc;
    case TOK_PRE_METASPACE:
        return metaspace(s, p, text, out, err);
    case TOK_PRE_BYTELEVEL: /* the prefix space; the alphabet comes after the split */
        rc = text[0] == ' ' ? WOQ_OK : tok_add(out, " ", 1, err);
        return rc < 0 ? rc : tok_add(out, text, p->len, err);
    default:
        WOQ_BUG("not a step that changes text");
    }
}

/* Runs change() over all text into the other buffer. */
static int change_all(const struct woq_tokenizer *t, const struct tok_step *s, struct tok_work *w,
                      struct woq_error *err)
{
    struct woq_str old;
    size_t n = 0;

    w->other.len = 0;
    for (size_t i = 0; i < w->pieces.n; i++) {
        struct tok_piece p = w->pieces.p[i];
        const size_t at = w->other.len;

        if (p.id == TOK_NO_ID) {
            const int rc = change(t, s, w, &p, err);

            if (rc < 0)
                return rc;
            p.off = at;
            p.len = w->other.len - at;
            if (!p.len)
                continue;
        }
        w->pieces.p[n++] = p;
    }
    w->pieces.n = n;
    old = w->text;
    w->text = w->other;
    w->other = old;
    return WOQ_OK;
}

static int split_all(const struct tok_pattern *p, enum tok_behaviour b, bool invert,
                     struct tok_work *w, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < w->pieces.n; i++) {
        const struct tok_piece piece = w->pieces.p[i];

        if (piece.id != TOK_NO_ID)
            rc = tok_piece_add(w, piece.off, piece.len, piece.id, piece.first, err);
        else
            rc = tok_split(p, b, invert, w, &piece, err);
    }
    tok_pieces_swap(w);
    return rc;
}

/* Bytes to the characters of ByteLevel's alphabet: at most two bytes each. */
static int to_alphabet(const struct woq_tokenizer *t, struct tok_work *w, struct woq_error *err)
{
    struct woq_str old;

    w->other.len = 0;
    for (size_t i = 0; i < w->pieces.n; i++) {
        struct tok_piece *p = &w->pieces.p[i];
        const unsigned char *text = (const unsigned char *)w->text.s + p->off;
        const size_t at = w->other.len;
        char buf[256];
        size_t n = 0;

        if (p->id != TOK_NO_ID)
            continue;
        for (size_t k = 0; k < p->len; k++) {
            const uint16_t cp = t->byte_cp[text[k]];

            if (cp < 0x80) {
                buf[n++] = (char)cp;
            } else {
                buf[n++] = (char)(0xc0 | cp >> 6);
                buf[n++] = (char)(0x80 | (cp & 0x3f));
            }
            if (n + 2 > sizeof(buf) || k + 1 == p->len) {
                const int rc = tok_add(&w->other, buf, n, err);

                if (rc < 0)
                    return rc;
                n = 0;
            }
        }
        p->off = at;
        p->len = w->other.len - at;
    }
    old = w->text;
    w->text = w->other;
    w->other = old;
    return WOQ_OK;
}

static int run_one(const struct woq_tokenizer *t, const struct tok_step *s, struct tok_work *w,
                   struct woq_error *err)
{
    int rc;

    switch (s->kind) {
    case TOK_PRE_SPLIT:
        return split_all(&s->pattern, s->behaviour, s->invert, w, err);
    case TOK_PRE_BYTELEVEL:
        if (s->prefix_space && (rc = change_all(t, s, w, err)) < 0)
            return rc;
        if (s->use_regex) {
            const struct tok_pattern gpt2 = { .re = t->gpt2 };

            if ((rc = split_all(&gpt2, TOK_ISOLATED, false, w, err)) < 0)
                return rc;
        }
        return to_alphabet(t, w, err);
    case TOK_NORM_BYTELEVEL:
        return to_alphabet(t, w, err);
    case TOK_PRE_METASPACE:
        if ((rc = change_all(t, s, w, err)) < 0 || !s->split)
            return rc;
        {
            const struct tok_pattern mark = { .literal = s->content,
                                              .literal_bytes = s->content_bytes };

            return split_all(&mark, TOK_MERGED_WITH_NEXT, false, w, err);
        }
    default:
        return change_all(t, s, w, err);
    }
}

int tok_steps_run(const struct woq_tokenizer *t, const struct tok_steps *steps, struct tok_work *w,
                  struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < steps->n; i++)
        rc = run_one(t, &steps->s[i], w, err);
    return rc;
}
