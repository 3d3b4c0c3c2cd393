/* tokenizer_decode.c -- ids to text: the decoders of tokenizer.json (formats.md 6.5). A list of
 * tokens goes through each step; the result is their concatenation. */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

static int one_decoder(struct tok_step *s, const struct woq_json *v, const char *type,
                       struct woq_error *err)
{
    int rc;

    if (!strcmp(type, "ByteLevel")) {
        s->kind = TOK_DEC_BYTELEVEL;
        return WOQ_OK;
    }
    if (!strcmp(type, "ByteFallback")) {
        s->kind = TOK_DEC_BYTEFALLBACK;
        return WOQ_OK;
    }
    if (!strcmp(type, "Fuse")) {
        s->kind = TOK_DEC_FUSE;
        return WOQ_OK;
    }
    if (!strcmp(type, "Replace")) {
        s->kind = TOK_DEC_REPLACE;
        if ((rc = tok_pattern_parse(&s->pattern, woq_json_get(v, "pattern"), err)) < 0)
            return rc;
        return tok_step_content(s, woq_json_get_str(v, "content"), err);
    }
    if (!strcmp(type, "Strip")) {
        const int64_t start = woq_json_get_int(v, "start", 0),
                      stop = woq_json_get_int(v, "stop", 0);

        s->kind = TOK_DEC_STRIP;
        if (start < 0 || start > 1024 || stop < 0 || stop > 1024)
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: start, stop of decoder Strip");
        s->start = (size_t)start;
        s->stop = (size_t)stop;
        return tok_step_content(s, woq_json_get_str(v, "content"), err);
    }
    if (!strcmp(type, "BPEDecoder")) {
        const char *suffix = woq_json_get_str(v, "suffix");

        s->kind = TOK_DEC_BPE;
        return tok_step_content(s, suffix ? suffix : "</w>", err);
    }
    if (!strcmp(type, "Metaspace")) {
        s->kind = TOK_DEC_METASPACE;
        return tok_metaspace_parse(s, v, err);
    }
    return WOQ_ITEM;
}

int tok_decoder_parse(struct tok_steps *steps, const struct woq_json *v, struct woq_error *err)
{
    return tok_steps_parse(steps, v, "decoder", "decoders", one_decoder, err);
}

/* Bytes as UTF-8 text: U+FFFD for each maximal ill-formed part. */
static int add_lossy(struct woq_str *out, const char *bytes, size_t n, struct woq_error *err)
{
    size_t i = 0;
    int rc = WOQ_OK;

    while (rc == WOQ_OK && i < n) {
        const size_t good = woq_utf8_valid(bytes + i, n - i);

        rc = tok_add(out, bytes + i, good, err);
        i += good;
        if (rc == WOQ_OK && i < n) {
            rc = tok_add(out, "\xef\xbf\xbd", 3, err);
            i += woq_utf8_bad_bytes(bytes + i, n - i);
        }
    }
    return rc;
}

/* A token with a character outside of the alphabet stands for its own text. */
static int add_bytes(const struct woq_tokenizer *t, struct woq_str *out, const char *token,
                     size_t len, struct woq_error *err)
{
    const size_t before = out->len;

    for (size_t i = 0, n; i < len; i += n) {
        const uint32_t cp = woq_utf8_get(token + i, &n);
        const int16_t byte = cp < 0x144 ? t->cp_byte[cp] : -1;
        const char c = (char)byte;
        int rc;

        if (byte < 0) {
            out->len = before;
            return tok_add(out, token, len, err);
        }
        if ((rc = tok_add(out, &c, 1, err)) < 0)
            return rc;
    }
    return WOQ_OK;
}

/* One list of tokens is w->pieces over w->text; a step writes w->other and w->next. */
static int put(struct tok_work *w, const char *text, size_t len, struct woq_error *err)
{
    const size_t at = w->other.len;
    int rc = tok_add(&w->other, text, len, err);

    if (rc == WOQ_OK)
        rc = tok_grow(&w->next.p, &w->next.cap, w->next.n + 1, sizeof(*w->next.p), err);
    if (rc == WOQ_OK)
        w->next.p[w->next.n++] = (struct tok_piece){ at, len, TOK_NO_ID, false };
    return rc;
}

static int byte_level(const struct woq_tokenizer *t, struct tok_work *w, struct woq_error *err)
{
    struct woq_str bytes = { 0 }, text = { 0 };
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < w->pieces.n; i++)
        rc = add_bytes(t, &bytes, w->text.s + w->pieces.p[i].off, w->pieces.p[i].len, err);
    if (rc == WOQ_OK)
        rc = add_lossy(&text, bytes.s ? bytes.s : "", bytes.len, err);
    if (rc == WOQ_OK)
        rc = put(w, text.s ? text.s : "", text.len, err);
    woq_str_release(&bytes);
    woq_str_release(&text);
    return rc;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Value of "<0xHH>", or -1. */
static int byte_token(const char *token, size_t len)
{
    int high, low;

    if (len != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>')
        return -1;
    high = hex(token[3]);
    low = hex(token[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of bytes that is not UTF-8 becomes one U+FFFD per byte. */
static int flush_bytes(struct tok_work *w, struct woq_str *run, struct woq_error *err)
{
    int rc = WOQ_OK;

    if (!run->len)
        return WOQ_OK;
    if (woq_utf8_valid(run->s, run->len) == run->len)
        rc = put(w, run->s, run->len, err);
    else
        for (size_t i = 0; rc == WOQ_OK && i < run->len; i++)
            rc = put(w, "\xef\xbf\xbd", 3, err);
    run->len = 0;
    return rc;
}

static int byte_fallback(struct tok_work *w, struct woq_error *err)
{
    struct woq_str run = { 0 };
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < w->pieces.n; i++) {
        const struct tok_piece p = w->pieces.p[i];
        const int byte = byte_token(w->text.s + p.off, p.len);
        const char c = (char)byte;

        if (byte >= 0)
            rc = tok_add(&run, &c, 1, err);
        else if ((rc = flush_bytes(w, &run, err)) == WOQ_OK)
            rc = put(w, w->text.s + p.off, p.len, err);
    }
    if (rc == WOQ_OK)
        rc = flush_bytes(w, &run, err);
    woq_str_release(&run);
    return rc;
}

static int replace(const struct tok_step *s, struct tok_work *w, const char *text, size_t len,
                   struct woq_error *err)
{
    struct woq_str out = { 0 };
    int rc = tok_find(&s->pattern, w, text, len, err);

    for (size_t i = 0; rc == WOQ_OK && i < w->n_ranges; i++) {
        const struct tok_range r = w->range[i];

        rc = r.match ? tok_add(&out, s->content, s->content_bytes, err)
                     : tok_add(&out, text + r.start, r.end - r.start, err);
    }
    if (rc == WOQ_OK)
        rc = put(w, out.s ? out.s : "", out.len, err);
    woq_str_release(&out);
    return rc;
}

/* At most `start` times the content off the front, `stop` times off the end. */
static int strip(const struct tok_step *s, struct tok_work *w, const char *text, size_t len,
                 struct woq_error *err)
{
    const size_t n = s->content_bytes;
    size_t from = 0;

    for (size_t i = 0; n && i < s->start && len - from >= n && !memcmp(text + from, s->content, n);
         i++)
        from += n;
    for (size_t i = 0;
         n && i < s->stop && len - from >= n && !memcmp(text + len - n, s->content, n); i++)
        len -= n;
    return put(w, text + from, len - from, err);
}

/* Marks become spaces; those of the first token go where encoding puts one in front. */
static int metaspace(const struct tok_step *s, struct tok_work *w, size_t index, const char *text,
                     size_t len, struct woq_error *err)
{
    const bool drop = index == 0 && s->prepend != TOK_PREPEND_NEVER;
    struct woq_str out = { 0 };
    int rc = WOQ_OK;

    for (size_t i = 0, n; rc == WOQ_OK && i < len; i += n) {
        n = woq_utf8_bytes((unsigned char)text[i]);
        if (n != s->content_bytes || memcmp(text + i, s->content, n) != 0)
            rc = tok_add(&out, text + i, n, err);
        else if (!drop)
            rc = tok_add(&out, " ", 1, err);
    }
    if (rc == WOQ_OK)
        rc = put(w, out.s ? out.s : "", out.len, err);
    woq_str_release(&out);
    return rc;
}

/* The suffix ends words: a space, but not at the end of the text. */
static int end_of_word(const struct tok_step *s, struct tok_work *w, bool last, const char *text,
                       size_t len, struct woq_error *err)
{
    const size_t n = s->content_bytes, at = w->other.len;
    int rc = put(w, "", 0, err);

    for (size_t i = 0, step; rc == WOQ_OK && i < len; i += step) {
        const bool hit = n && len - i >= n && !memcmp(text + i, s->content, n);

        step = hit ? n : 1;
        rc =
            hit ? tok_add(&w->other, " ", last ? 0 : 1, err) : tok_add(&w->other, text + i, 1, err);
    }
    if (rc == WOQ_OK)
        w->next.p[w->next.n - 1].len = w->other.len - at;
    return rc;
}

static int spm(const struct woq_tokenizer *t, struct tok_work *w, struct woq_error *err)
{
    struct woq_str text = { 0 };
    int rc = tok_spm_decode(t, w, &text, err);

    if (rc == WOQ_OK)
        rc = put(w, text.s ? text.s : "", text.len, err);
    woq_str_release(&text);
    return rc;
}

static int each_token(const struct tok_step *s, struct tok_work *w, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < w->pieces.n; i++) {
        const char *text = w->text.s + w->pieces.p[i].off;
        const size_t len = w->pieces.p[i].len;

        if (s->kind == TOK_DEC_REPLACE)
            rc = replace(s, w, text, len, err);
        else if (s->kind == TOK_DEC_STRIP)
            rc = strip(s, w, text, len, err);
        else if (s->kind == TOK_DEC_BPE)
            rc = end_of_word(s, w, i + 1 == w->pieces.n, text, len, err);
        else
            rc = metaspace(s, w, i, text, len, err);
    }
    return rc;
}

static int decode_step(const struct woq_tokenizer *t, const struct tok_step *s, struct tok_work *w,
                       struct woq_error *err)
{
    struct woq_str old;
    int rc;

    w->other.len = 0;
    w->next.n = 0;
    if (s->kind == TOK_DEC_BYTELEVEL)
        rc = byte_level(t, w, err);
    else if (s->kind == TOK_DEC_SPM)
        rc = spm(t, w, err);
    else if (s->kind == TOK_DEC_BYTEFALLBACK)
        rc = byte_fallback(w, err);
    else if (s->kind == TOK_DEC_FUSE)
        rc = put(w, w->text.s ? w->text.s : "", w->text.len, err);
    else
        rc = each_token(s, w, err);
    tok_pieces_swap(w);
    old = w->text;
    w->text = w->other;
    w->other = old;
    return rc;
}

/* English punctuation as transformers' clean_up_tokenization does: in this order. */
static int clean_up(struct woq_str *text, size_t from, struct woq_error *err)
{
    static const char *const drop_space[] = { " .",   " ?",  " !",  " ,",   " ' ",
                                              " n't", " 'm", " 's", " 've", " 're" };

    for (size_t k = 0; k < sizeof(drop_space) / sizeof(drop_space[0]); k++) {
        const char *pattern = drop_space[k];
        const size_t n = strlen(pattern), keep = k == 4 ? 1 : n - 1;
        size_t to = from;

        for (size_t i = from; i < text->len;) {
            if (text->len - i >= n && !memcmp(text->s + i, pattern, n)) {
                memcpy(text->s + to, pattern + 1, keep);
                to += keep;
                i += n;
            } else {
                text->s[to++] = text->s[i++];
            }
        }
        text->len = to;
    }
    return tok_add(text, "", 0, err); /* ends it in NUL again */
}

static int collect(const struct woq_tokenizer *t, struct tok_work *w, const uint32_t *ids, size_t n,
                   bool skip_special, struct woq_error *err)
{
    int rc = WOQ_OK;

    w->other.len = 0;
    w->next.n = 0;
    for (size_t i = 0; rc == WOQ_OK && i < n; i++) {
        size_t len = 0;
        const char *text = tok_token(t, ids[i], &len);
        const struct tok_entry *e;

        if (!text)
            return woq_fail(err, WOQ_EDATA, NULL, "token %zu: id %u is not in the vocabulary (%zu)",
                            i, ids[i], t->n_ids);
        /* SentencePiece's own decoder drops them: they end a run of bytes. */
        e = skip_special && !t->spm.on ? tok_map_get(&t->added.by_content, text, len) : NULL;
        if (!e || !t->added.a[e->value].special)
            rc = put(w, text, len, err);
        if (rc == WOQ_OK && w->next.n)
            w->next.p[w->next.n - 1].id = ids[i];
    }
    w->skip_special = skip_special;
    return rc;
}

static int decode(const struct woq_tokenizer *t, struct tok_work *w, const uint32_t *ids, size_t n,
                  bool skip_special, struct woq_str *out, struct woq_error *err)
{
    const size_t from = out->len;
    struct woq_str old;
    int rc = collect(t, w, ids, n, skip_special, err);

    tok_pieces_swap(w);
    old = w->text;
    w->text = w->other;
    w->other = old;
    if (rc == WOQ_OK && !w->text.s)
        rc = tok_add(&w->text, "", 0, err);
    for (size_t i = 0; rc == WOQ_OK && i < t->decoder.n; i++)
        rc = decode_step(t, &t->decoder.s[i], w, err);
    for (size_t i = 0; rc == WOQ_OK && i < w->pieces.n; i++) {
        const struct tok_piece p = w->pieces.p[i];

        if (i && !t->has_decoder)
            rc = tok_add(out, " ", 1, err);
        if (rc == WOQ_OK)
            rc = tok_add(out, w->text.s + p.off, p.len, err);
    }
    return rc == WOQ_OK && t->clean_up ? clean_up(out, from, err) : rc;
}

int woq_tokenizer_decode(const struct woq_tokenizer *t, const uint32_t *ids, size_t n,
                         bool skip_special, struct woq_str *out, struct woq_error *err)
{
    struct tok_work *w = NULL;
    int rc = tok_work_new(&w, err);

    if (rc == WOQ_OK)
        rc = decode(t, w, ids, n, skip_special, out, err);
    if (rc == WOQ_OK)
        rc = tok_add(out, "", 0, err);
    tok_work_free(w);
    return rc;
}
