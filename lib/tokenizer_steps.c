/* tokenizer_steps.c -- normalizers and pre-tokenizers of tokenizer.json (formats.md 6.2, 6.3). */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ parsing */
static int flatten(struct tok_steps *steps, const struct woq_json *v, const char *what,
                   const char *members, tok_parse_one *one, int depth, struct woq_error *err)
{
    const char *type = woq_json_get_str(v, "type");
    int rc = WOQ_OK;

    if (woq_json_type(v) == WOQ_JNULL)
        return WOQ_OK;
    if (!type)
        return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: a %s has no \"type\"", what);
    if (!strcmp(type, "Sequence")) {
        if (depth > 8)
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: %s nested too deep", what);
        woq_json_each(item,
                      woq_json_get(v, members)) if ((rc = flatten(steps, item, what, members, one,
                                                                  depth + 1, err)) < 0) return rc;
        return rc;
    }
    if (steps->n == TOK_MAX_STEPS)
        return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: more than %d steps of %s",
                        TOK_MAX_STEPS, what);
    if (!steps->s && !(steps->s = calloc(TOK_MAX_STEPS, sizeof(*steps->s))))
        return woq_fail_nomem(err, TOK_MAX_STEPS * sizeof(*steps->s));
    rc = one(&steps->s[steps->n++], v, type, err);
    if (rc == WOQ_ITEM)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "tokenizer.json: %s '%s' is not supported",
                        what, type);
    return rc;
}

int tok_steps_parse(struct tok_steps *steps, const struct woq_json *v, const char *what,
                    const char *members, tok_parse_one *one, struct woq_error *err)
{
    return flatten(steps, v, what, members, one, 0, err);
}

void tok_steps_release(struct tok_steps *steps)
{
    for (size_t i = 0; i < steps->n; i++) {
        tok_pattern_release(&steps->s[i].pattern);
        free(steps->s[i].content);
    }
    free(steps->s);
    *steps = (struct tok_steps){ 0 };
}

int tok_step_content(struct tok_step *s, const char *text, struct woq_error *err)
{
    if (!text)
        return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: a step lacks its text");
    s->content_bytes = strlen(text);
    s->content = malloc(s->content_bytes + 1);
    if (!s->content)
        return woq_fail_nomem(err, s->content_bytes + 1);
    memcpy(s->content, text, s->content_bytes + 1);
    return WOQ_OK;
}

static int one_normalizer(struct tok_step *s, const struct woq_json *v, const char *type,
                          struct woq_error *err)
{
    static const char *const forms[] = {
        [WOQ_NFC] = "NFC", [WOQ_NFD] = "NFD", [WOQ_NFKC] = "NFKC", [WOQ_NFKD] = "NFKD"
    };
    int rc;

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (!strcmp(type, forms[i])) {
            s->kind = TOK_NORM_FORM;
            s->form = (enum woq_form)i;
            return WOQ_OK;
        }
    if (!strcmp(type, "Lowercase")) {
        s->kind = TOK_NORM_LOWER;
        return WOQ_OK;
    }
    if (!strcmp(type, "Replace")) {
        s->kind = TOK_NORM_REPLACE;
        if ((rc = tok_pattern_parse(&s->pattern, woq_json_get(v, "pattern"), err)) < 0)
            return rc;
        return tok_step_content(s, woq_json_get_str(v, "content"), err);
    }
    if (!strcmp(type, "Prepend")) {
        s->kind = TOK_NORM_PREPEND;
        return tok_step_content(s, woq_json_get_str(v, "prepend"), err);
    }
    if (!strcmp(type, "Strip")) {
        s->kind = TOK_NORM_STRIP;
        s->left = woq_json_get_bool(v, "strip_left", true);
        s->right = woq_json_get_bool(v, "strip_right", true);
        return WOQ_OK;
    }
    return WOQ_ITEM;
}

int tok_normalizer_parse(struct tok_steps *steps, const struct woq_json *v, struct woq_error *err)
{
    return tok_steps_parse(steps, v, "normalizer", "normalizers", one_normalizer, err);
}

int tok_metaspace_parse(struct tok_step *s, const struct woq_json *v, struct woq_error *err)
{
    const char *replacement = woq_json_get_str(v, "replacement");
    const char *scheme = woq_json_get_str(v, "prepend_scheme");

    if (!scheme)
        scheme = woq_json_get_bool(v, "add_prefix_space", true) ? "always" : "never";
    if (!strcmp(scheme, "always"))
        s->prepend = TOK_PREPEND_ALWAYS;
    else if (!strcmp(scheme, "first"))
        s->prepend = TOK_PREPEND_FIRST;
    else if (!strcmp(scheme, "never"))
        s->prepend = TOK_PREPEND_NEVER;
    else
        return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: prepend_scheme '%s'", scheme);
    if (!replacement || !*replacement ||
        woq_utf8_bytes((unsigned char)*replacement) != strlen(replacement))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tokenizer.json: the replacement of Metaspace is not one character");
    s->split = woq_json_get_bool(v, "split", true);
    return tok_step_content(s, replacement, err);
}

static int parse_behaviour(struct tok_step *s, const char *name, struct woq_error *err)
{
    static const char *const names[] = {
        [TOK_REMOVED] = "Removed",
        [TOK_ISOLATED] = "Isolated",
        [TOK_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [TOK_MERGED_WITH_NEXT] = "MergedWithNext",
        [TOK_CONTIGUOUS] = "Contiguous",
    };

    for (size_t i = 0; name && i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(name, names[i])) {
            s->behaviour = (enum tok_behaviour)i;
            return WOQ_OK;
        }
    return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: behavior '%s' of a pre_tokenizer",
                    name ? name : "(none)");
}

static int parse_split(struct tok_step *s, const struct woq_json *v, struct woq_error *err)
{
    int rc = parse_behaviour(s, woq_json_get_str(v, "behavior"), err);

    s->kind = TOK_PRE_SPLIT;
    s->invert = woq_json_get_bool(v, "invert", false);
    return rc < 0 ? rc : tok_pattern_parse(&s->pattern, woq_json_get(v, "pattern"), err);
}

static int one_pre(struct tok_step *s, const struct woq_json *v, const char *type,
                   struct woq_error *err)
{
    s->kind = TOK_PRE_SPLIT;
    if (!strcmp(type, "ByteLevel")) {
        s->kind = TOK_PRE_BYTELEVEL;
        s->prefix_space = woq_json_get_bool(v, "add_prefix_space", true);
        s->use_regex = woq_json_get_bool(v, "use_regex", true);
        return WOQ_OK;
    }
    if (!strcmp(type, "Split"))
        return parse_split(s, v, err);
    if (!strcmp(type, "Metaspace")) {
        s->kind = TOK_PRE_METASPACE;
        return tok_metaspace_parse(s, v, err);
    }
    if (!strcmp(type, "Digits")) {
        s->pattern.is = woq_cp_is_numeric;
        s->behaviour =
            woq_json_get_bool(v, "individual_digits", false) ? TOK_ISOLATED : TOK_CONTIGUOUS;
        return WOQ_OK;
    }
    if (!strcmp(type, "Punctuation")) {
        const char *behaviour = woq_json_get_str(v, "behavior");

        s->pattern.is = woq_cp_is_punct;
        return parse_behaviour(s, behaviour ? behaviour : "Isolated", err);
    }
    if (!strcmp(type, "WhitespaceSplit")) {
        s->pattern.is = woq_cp_is_space;
        s->behaviour = TOK_REMOVED;
        return WOQ_OK;
    }
    if (!strcmp(type, "Whitespace")) {
        static const char words[] = "\\w+|[^\\w\\s]+";

        s->behaviour = TOK_REMOVED;
        s->invert = true;
        return woq_regex_open(&s->pattern.re, words, sizeof(words) - 1, WOQ_REGEX_ONIGURUMA, err);
    }
    return WOQ_ITEM;
}

int tok_pre_parse(struct tok_steps *steps, const struct woq_json *v, struct woq_error *err)
{
    return tok_steps_parse(steps, v, "pre_tokenizer", "pretokenizers", one_pre, err);
}

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

static int change(const struct tok_step *s, struct tok_work *w, struct tok_piece *p,
                  struct woq_error *err)
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
static int change_all(const struct tok_step *s, struct tok_work *w, struct woq_error *err)
{
    struct woq_str old;
    size_t n = 0;

    w->other.len = 0;
    for (size_t i = 0; i < w->pieces.n; i++) {
        struct tok_piece p = w->pieces.p[i];
        const size_t at = w->other.len;

        if (p.id == TOK_NO_ID) {
            const int rc = change(s, w, &p, err);

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
        if (s->prefix_space && (rc = change_all(s, w, err)) < 0)
            return rc;
        if (s->use_regex) {
            const struct tok_pattern gpt2 = { .re = t->gpt2 };

            if ((rc = split_all(&gpt2, TOK_ISOLATED, false, w, err)) < 0)
                return rc;
        }
        return to_alphabet(t, w, err);
    case TOK_PRE_METASPACE:
        if ((rc = change_all(s, w, err)) < 0 || !s->split)
            return rc;
        {
            const struct tok_pattern mark = { .literal = s->content,
                                              .literal_bytes = s->content_bytes };

            return split_all(&mark, TOK_MERGED_WITH_NEXT, false, w, err);
        }
    default:
        return change_all(s, w, err);
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
