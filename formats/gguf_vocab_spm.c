/* gguf_vocab_spm.c -- SentencePiece vocabularies of GGUF ("llama", "t5") and tokenizer.model, each
 * from the other: pieces, scores and types are the same numbers in both.
 *
 * GGUF's loaders cut control and user-defined tokens out of a text before anything else. A
 * SentencePiece model does not know its control pieces in a text, so they are named in
 * tokenizer_config.json, as the added tokens of the model's class. */
#include "gguf_vocab.h"

#include "gguf_vocab_internal.h"

#include <woq/spm.h>
#include <woq/tokenizer.h>
#include <woq/unicode.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81" /* U+2581 */

/* ------------------------------------------------------------------ GGUF to tokenizer.model */
/* Old files have empty tokens, which no text becomes. */
static enum woq_spm_type type_of(const struct woq_gguf_vocab *v, size_t i)
{
    if (!*v->tokens[i])
        return WOQ_SPM_UNUSED;
    return v->types ? (enum woq_spm_type)v->types[i] : WOQ_SPM_NORMAL;
}

static int add_swapped(struct woq_str *out, const char *text, const char *from, const char *to)
{
    const size_t n = strlen(from);
    int rc = WOQ_OK;

    while (*text) {
        const bool hit = !strncmp(text, from, n);

        rc |= hit ? woq_str_add(out, to, strlen(to)) : woq_str_add(out, text, 1);
        text += hit ? n : 1;
    }
    return rc;
}

/* User-defined tokens are stored as they stand in a text: with spaces. */
static int add_pieces(struct woq_spm *m, const struct woq_gguf_vocab *v, struct woq_str *texts,
                      struct woq_error *err)
{
    size_t *end = calloc(v->n + 1, sizeof *end);
    int rc = end ? WOQ_OK : woq_fail_nomem(err, v->n * sizeof *end);

    for (size_t i = 0; rc == WOQ_OK && i < v->n; i++) {
        const bool user = type_of(v, i) == WOQ_SPM_USER_DEFINED;

        if ((user             ? add_swapped(texts, v->tokens[i], " ", MARK)
             : !*v->tokens[i] ? woq_str_addf(texts, "[EMPTY_%zu]", i)
                              : woq_str_add(texts, v->tokens[i], strlen(v->tokens[i]))) < 0)
            rc = woq_fail_nomem(err, texts->len);
        end[i] = texts->len;
    }
    for (size_t i = 0; rc == WOQ_OK && i < v->n; i++) {
        const size_t begin = i ? end[i - 1] : 0;
        enum woq_spm_type type = type_of(v, i);

        if (v->unk == (long)i)
            type = WOQ_SPM_UNKNOWN;
        else if (type == WOQ_SPM_UNKNOWN)
            type = WOQ_SPM_CONTROL; /* there can be one only */
        rc = woq_spm_add(m, texts->s + begin, end[i] - begin, v->scores ? v->scores[i] : 0, type,
                         err);
        m->byte_fallback = m->byte_fallback || type == WOQ_SPM_BYTE;
    }
    free(end);
    return rc;
}

static void put_token(struct woq_json *decoder, const struct woq_gguf_vocab *v, size_t id)
{
    const bool user = type_of(v, id) == WOQ_SPM_USER_DEFINED;
    struct woq_json *item = woq_json_object();
    struct woq_str content = { 0 };
    char key[24];

    (void)snprintf(key, sizeof(key), "%zu", id);
    if (add_swapped(&content, v->tokens[id], user ? MARK : " ", " ") == WOQ_OK)
        woq_json_set_str(item, "content", content.s ? content.s : "");
    woq_json_set_bool(item, "special", !user);
    woq_json_set(decoder, key, item);
    woq_str_release(&content);
}

static int put_config(struct woq_str *out, const struct woq_gguf_vocab *v, struct woq_error *err)
{
    struct woq_json *config = woq_json_object(), *decoder = woq_json_object();
    const struct {
        const char *key;
        long id;
    } named[] = { { "bos_token", v->bos },
                  { "eos_token", v->eos },
                  { "unk_token", v->unk },
                  { "pad_token", v->pad } };
    const bool t5 = !strcmp(v->model, "t5");
    char *text;
    int rc;

    woq_json_set_str(config, "tokenizer_class", t5 ? "T5Tokenizer" : "LlamaTokenizer");
    woq_json_set_bool(config, "add_bos_token", v->add_bos < 0 ? !t5 : v->add_bos > 0);
    woq_json_set_bool(config, "add_eos_token", v->add_eos < 0 ? t5 : v->add_eos > 0);
    woq_json_set_bool(config, "legacy", true);
    woq_json_set_bool(config, "clean_up_tokenization_spaces", false);
    for (size_t i = 0; i < 4; i++)
        if (named[i].id >= 0)
            woq_json_set_str(config, named[i].key, v->tokens[named[i].id]);
    for (size_t i = 0; i < v->n; i++)
        if (type_of(v, i) == WOQ_SPM_CONTROL || type_of(v, i) == WOQ_SPM_USER_DEFINED ||
            type_of(v, i) == WOQ_SPM_UNKNOWN)
            put_token(decoder, v, i);
    woq_json_set(config, "added_tokens_decoder", decoder);
    woq_json_set(config, "chat_template", woq_json_copy(woq_gguf_vocab_chat(v)));
    text = woq_json_print(config, true);
    rc = text ? woq_str_add(out, text, strlen(text)) : WOQ_ENOMEM;
    free(text);
    woq_json_free(config);
    return rc < 0 ? woq_fail_nomem(err, out->len) : WOQ_OK;
}

static int check_ids(struct woq_gguf_vocab *v, struct woq_error *err)
{
    const long id[] = { v->bos, v->eos, v->unk, v->pad };

    for (size_t i = 0; i < v->n; i++)
        if (woq_utf8_valid(v->tokens[i], strlen(v->tokens[i])) < strlen(v->tokens[i]))
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.ggml.tokens %zu is not UTF-8", i);
    for (size_t i = 0; i < 4; i++)
        if (id[i] >= 0 && (size_t)id[i] >= v->n)
            return woq_fail(err, WOQ_EDATA, NULL,
                            "tokenizer.ggml: a special token has id %ld, but there are %zu", id[i],
                            v->n);
    return WOQ_OK;
}

int woq_gguf_vocab_to_spm(const struct woq_gguf_vocab *vocab, struct woq_str *model,
                          struct woq_str *tokenizer_config, struct woq_error *err)
{
    struct woq_gguf_vocab v = *vocab;
    struct woq_str texts = { 0 };
    const bool t5 = !strcmp(v.model, "t5");
    struct woq_spm m;
    int rc = check_ids(&v, err);

    if (rc < 0)
        return rc;
    /* What loaders take where the file does not say (formats.md 3.6). */
    v.unk = v.unk < 0 && v.n ? (t5 && v.n > 2 ? 2 : 0) : v.unk;
    v.bos = v.bos < 0 && !t5 && v.n > 1 ? 1 : v.bos;
    v.eos = v.eos < 0 && v.n > 2 ? (t5 ? 1 : 2) : v.eos;
    woq_spm_init(&m);
    m.model = t5 ? WOQ_SPM_UNIGRAM : WOQ_SPM_BPE;
    m.dummy_prefix = v.add_space_prefix != 0;
    m.remove_extra = t5 && v.remove_extra > 0;
    m.charsmap = (struct woq_spm_text){ v.charsmap, v.charsmap_bytes };
    m.bos = v.bos;
    m.eos = v.eos;
    m.pad = v.pad;
    rc = add_pieces(&m, &v, &texts, err);
    if (rc == WOQ_OK)
        rc = woq_spm_write(&m, model, err);
    if (rc == WOQ_OK)
        rc = put_config(tokenizer_config, &v, err);
    woq_spm_release(&m);
    woq_str_release(&texts);
    return rc;
}

/* ------------------------------------------------------------------ tokenizer.model to GGUF */
/* A loader of "llama" neither normalizes nor drops spaces, and needs the bytes. */
static int check_model(const struct woq_spm *m, struct woq_error *err)
{
    const char *what = m->model != WOQ_SPM_BPE ? "model_type other than bpe"
                       : m->charsmap.len       ? "a precompiled_charsmap"
                       : m->remove_extra       ? "remove_extra_whitespaces"
                       : m->space_suffix       ? "treat_whitespace_as_suffix"
                       : !m->escape            ? "escape_whitespaces false"
                       : !m->byte_fallback     ? "no byte_fallback"
                                               : NULL;

    return what ? woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                           "GGUF's 'llama' vocabulary cannot say %s of tokenizer.model", what)
                : WOQ_OK;
}

static int fill_pieces(struct woq_gguf_vocab *v, const struct woq_spm *m, struct woq_error *err)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct woq_spm_piece *p = &m->piece[i];

        if (!(v->tokens[i] = strndup(p->text.s, p->text.len)))
            return woq_fail_nomem(err, p->text.len);
        v->types[i] = (int32_t)p->type;
        v->scores[i] = p->score;
        v->unk = p->type == WOQ_SPM_UNKNOWN ? (long)i : v->unk;
    }
    return WOQ_OK;
}

/* Tokens behind the model's pieces: those of tokenizer_config.json, and what fills the embedding.
 */
static int fill_added(struct woq_gguf_vocab *v, const struct woq_spm *m,
                      const struct woq_json *tokenizer_config, struct woq_error *err)
{
    int rc = WOQ_OK;

    woq_json_each(item, woq_json_get(tokenizer_config, "added_tokens_decoder"))
    {
        const unsigned long id = strtoul(woq_json_key(item), NULL, 10);
        const char *content = woq_json_get_str(item, "content");

        if (id < m->n || id >= v->n || !content || !*content)
            continue;
        if ((rc = woq_gguf_vocab_copy(&v->tokens[id], content, err)) < 0)
            return rc;
        v->types[id] =
            woq_json_get_bool(item, "special", false) ? WOQ_GGUF_CONTROL : WOQ_GGUF_USER_DEFINED;
    }
    for (size_t i = m->n; rc == WOQ_OK && i < v->n; i++) {
        char name[32];

        v->scores[i] = -1000;
        if (v->tokens[i])
            continue;
        (void)snprintf(name, sizeof(name), "[PAD%zu]", i);
        rc = woq_gguf_vocab_copy(&v->tokens[i], name, err);
        v->types[i] = WOQ_GGUF_UNUSED;
    }
    return rc;
}

static int fill(struct woq_gguf_vocab *v, const struct woq_spm *m, const struct woq_tokenizer *t,
                const struct woq_json *tokenizer_config, const struct woq_json *config,
                struct woq_error *err)
{
    const int64_t want = woq_gguf_vocab_rows(config);
    int rc;

    v->model = "llama";
    v->pre = "default";
    v->n = woq_tokenizer_size(t);
    if (want > 0 && want < (1 << 22) && (size_t)want > v->n)
        v->n = (size_t)want;
    v->tokens = calloc(v->n, sizeof(*v->tokens));
    v->types = calloc(v->n, sizeof(*v->types));
    v->scores = calloc(v->n, sizeof(*v->scores));
    if (!v->tokens || !v->types || !v->scores)
        return woq_fail_nomem(err, v->n * sizeof(*v->tokens));
    v->add_space_prefix = m->dummy_prefix;
    if ((rc = fill_pieces(v, m, err)) < 0 || (rc = fill_added(v, m, tokenizer_config, err)) < 0)
        return rc;
    v->bos = woq_tokenizer_bos(t);
    v->eos = woq_tokenizer_eos(t);
    v->pad = woq_gguf_vocab_id(t, tokenizer_config, config, "pad_token", "pad_token_id");
    return woq_gguf_vocab_template(v, t, err);
}

int woq_gguf_vocab_from_spm(struct woq_gguf_vocab *v, const char *model, size_t bytes,
                            const char *tokenizer_config, size_t config_bytes,
                            const struct woq_json *config, struct woq_error *err)
{
    struct woq_tokenizer *t = NULL;
    struct woq_json *tc = NULL;
    struct woq_spm m;
    int rc;

    woq_gguf_vocab_init(v);
    woq_spm_init(&m);
    if ((rc = woq_tokenizer_open(&t, model, bytes, tokenizer_config, config_bytes, err)) ==
            WOQ_OK &&
        (rc = woq_spm_read(&m, model, bytes, err)) == WOQ_OK &&
        (rc = check_model(&m, err)) == WOQ_OK) {
        if (tokenizer_config)
            rc = woq_json_parse(&tc, tokenizer_config, config_bytes, err);
        if (rc == WOQ_OK)
            rc = fill(v, &m, t, tc, config, err);
    }
    woq_json_free(tc);
    woq_spm_release(&m);
    woq_tokenizer_close(t);
    if (rc < 0)
        woq_gguf_vocab_release(v);
    return rc;
}
