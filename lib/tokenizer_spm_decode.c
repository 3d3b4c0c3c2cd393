/* tokenizer_spm_decode.c -- pieces of a SentencePiece model to text, as the original does. */
#include "tokenizer_internal.h"

#include <string.h>

/* A run of byte pieces: U+FFFD for each byte that begins no character. */
static int flush_bytes(struct woq_str *run, struct woq_str *out, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < run->len;) {
        const size_t good = woq_utf8_valid(run->s + i, run->len - i);

        rc = tok_add(out, run->s + i, good, err);
        i += good;
        if (rc == WOQ_OK && i < run->len) {
            rc = tok_add(out, "\xef\xbf\xbd", 3, err);
            i++;
        }
    }
    run->len = 0;
    return rc;
}

/* The piece's text; marks become spaces, one at the begin of the text is the dummy prefix. */
static int put_piece(const struct tok_spm *s, const char *text, size_t len, bool at_begin,
                     bool *dropped, struct woq_str *out, struct woq_error *err)
{
    int rc = WOQ_OK;
    size_t i = 0;

    *dropped = false;
    if (at_begin && (s->dummy_prefix || s->remove_extra) && len >= TOK_MARK_BYTES &&
        !memcmp(text, TOK_MARK, TOK_MARK_BYTES)) {
        i = TOK_MARK_BYTES;
        /* Where extra spaces were removed, the next piece may drop one too. */
        *dropped = !s->remove_extra;
    }
    for (size_t n; rc == WOQ_OK && i < len; i += n) {
        n = woq_utf8_bytes((unsigned char)text[i]);
        if (n == TOK_MARK_BYTES && !memcmp(text + i, TOK_MARK, n))
            rc = tok_add(out, " ", 1, err);
        else
            rc = tok_add(out, text + i, n, err);
    }
    return rc;
}

static bool is_special(const struct woq_tokenizer *t, uint32_t id, const char *text, size_t len)
{
    const struct tok_entry *e = tok_map_get(&t->added.by_content, text, len);

    return (id < t->spm.n && t->spm.type[id] == WOQ_SPM_CONTROL) ||
           (e && t->added.a[e->value].special);
}

int tok_spm_decode(const struct woq_tokenizer *t, struct tok_work *w, struct woq_str *out,
                   struct woq_error *err)
{
    const struct tok_spm *s = &t->spm;
    struct woq_str run = { 0 };
    bool at_begin = true, dropped = false;
    int rc = WOQ_OK;

    for (size_t i = 0; rc == WOQ_OK && i < w->pieces.n; i++) {
        const struct tok_piece p = w->pieces.p[i];
        const char *text = w->text.s + p.off;
        const int type = p.id < s->n && !t->added_of[p.id] ? s->type[p.id] : 0;
        const char byte = (char)(type == WOQ_SPM_BYTE ? woq_spm_byte(text, p.len) : 0);

        if (type == WOQ_SPM_BYTE) {
            rc = tok_add(&run, &byte, 1, err);
            continue;
        }
        if ((rc = flush_bytes(&run, out, err)) < 0)
            break;
        at_begin = at_begin && !dropped && !out->len;
        dropped = false;
        if (type == WOQ_SPM_UNKNOWN)
            rc = tok_add(out, s->unk_surface.s, s->unk_surface.len, err);
        else if (is_special(t, p.id, text, p.len))
            rc = w->skip_special ? WOQ_OK : tok_add(out, text, p.len, err);
        else if (p.id < s->n && !t->added_of[p.id])
            rc = put_piece(s, text, p.len, at_begin, &dropped, out, err);
        else
            rc = tok_add(out, text, p.len, err);
    }
    if (rc == WOQ_OK)
        rc = flush_bytes(&run, out, err);
    woq_str_release(&run);
    return rc;
}
