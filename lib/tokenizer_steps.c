/* tokenizer_steps.c -- normalizers and pre-tokenizers of tokenizer.json, read
 * (formats.md 6.2, 6.3). */
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
        tok_charsmap_release(&steps->s[i].charsmap);
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

static int parse_charsmap(struct tok_step *s, const char *base64, struct woq_error *err)
{
    struct woq_str blob = { 0 };
    int rc;

    s->kind = TOK_NORM_CHARSMAP;
    if (!base64)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tokenizer.json: normalizer 'Precompiled' has no precompiled_charsmap");
    rc = woq_base64_add(&blob, base64, strlen(base64), err);
    if (rc == WOQ_OK)
        rc = tok_charsmap_open(&s->charsmap, blob.s, blob.len, err);
    woq_str_release(&blob);
    return rc < 0 ? woq_error_at(err, "tokenizer.json") : rc;
}

static int one_normalizer(struct tok_step *s, const struct woq_json *v, const char *type,
                          struct woq_error *err)
{
    static const char *const forms[] = {
        [WOQ_NFC] = "NFC", [WOQ_NFD] = "NFD", [WOQ_NFKC] = "NFKC", [WOQ_NFKD] = "NFKD"
    };
    static const struct {
        const char *type;
        enum tok_kind kind;
    } plain[] = {
        { "Lowercase", TOK_NORM_LOWER },
        { "Nmt", TOK_NORM_NMT },
        { "StripAccents", TOK_NORM_STRIP_ACCENTS },
        { "ByteLevel", TOK_NORM_BYTELEVEL },
    };
    int rc;

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (!strcmp(type, forms[i])) {
            s->kind = TOK_NORM_FORM;
            s->form = (enum woq_form)i;
            return WOQ_OK;
        }
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        if (!strcmp(type, plain[i].type)) {
            s->kind = plain[i].kind;
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
    if (!strcmp(type, "Precompiled"))
        return parse_charsmap(s, woq_json_get_str(v, "precompiled_charsmap"), err);
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
    if (!strcmp(type, "CharDelimiterSplit")) {
        s->behaviour = TOK_REMOVED;
        return tok_pattern_parse(&s->pattern, woq_json_get(v, "delimiter"), err);
    }
    if (!strcmp(type, "FixedLength")) {
        const int64_t length = woq_json_get_int(v, "length", 5);

        if (length < 1 || length > INT32_MAX)
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: length of FixedLength");
        s->behaviour = TOK_ISOLATED;
        s->pattern.every = (size_t)length;
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
