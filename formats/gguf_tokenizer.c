/* gguf_tokenizer.c -- see gguf_tokenizer.h; what the keys mean is gguf_vocab.c's business. */
#include "gguf_tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_vocab.h"

#include <woq/unicode.h>

/* A string array as NUL-terminated strings in one block, which *list begins; free(*list). */
static int take_list(char ***list, size_t *n, const struct woq_gguf_kv *kv, struct woq_error *err)
{
    size_t bytes, head, at = 0, len;
    const char *s;

    *list = NULL;
    *n = 0;
    if (!kv)
        return WOQ_OK;
    if (kv->kind != WOQ_GGUF_STRING || !kv->is_array)
        return woq_fail(err, WOQ_EDATA, NULL, "key '%s' is no array of strings", kv->key);
    /* Each length word of 8 bytes leaves room for a NUL. */
    if (!woq_mul_size((size_t)kv->n, sizeof **list, &head) ||
        !woq_add_size(head, kv->bytes, &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    if (!(*list = malloc(bytes + 1)))
        return woq_fail_nomem(err, bytes);
    char *text = (char *)*list + head;
    while (woq_gguf_next_string(kv, &at, &s, &len)) {
        if (memchr(s, 0, len)) {
            free(*list);
            *list = NULL;
            return woq_fail(err, WOQ_EDATA, NULL, "key '%s': string %zu holds a NUL byte", kv->key,
                            *n);
        }
        (*list)[(*n)++] = text;
        memcpy(text, s, len);
        text[len] = '\0';
        text += len + 1;
    }
    return WOQ_OK;
}

static int take_types(struct woq_gguf_vocab *v, const struct woq_gguf_kv *kv, struct woq_error *err)
{
    int64_t x;

    if (!kv)
        return WOQ_OK;
    if (kv->n != v->n)
        return woq_fail(err, WOQ_EDATA, NULL, "%" PRIu64 " token types for %zu tokens", kv->n,
                        v->n);
    if (!(v->types = calloc(v->n + 1, sizeof *v->types)))
        return woq_fail_nomem(err, v->n * sizeof *v->types);
    for (size_t i = 0; i < v->n; i++) {
        if (!woq_gguf_i64(kv, i, &x) || x < 0 || x > INT32_MAX)
            return woq_fail(err, WOQ_EDATA, NULL, "the type of token %zu is no small number", i);
        v->types[i] = (int32_t)x;
    }
    return WOQ_OK;
}

static int take_scores(struct woq_gguf_vocab *v, const struct woq_gguf_kv *kv,
                       struct woq_error *err)
{
    double x;

    if (!kv)
        return WOQ_OK;
    if (kv->n != v->n)
        return woq_fail(err, WOQ_EDATA, NULL, "%" PRIu64 " scores for %zu tokens", kv->n, v->n);
    if (!(v->scores = calloc(v->n + 1, sizeof *v->scores)))
        return woq_fail_nomem(err, v->n * sizeof *v->scores);
    for (size_t i = 0; i < v->n; i++) {
        if (!woq_gguf_f64(kv, i, &x))
            return woq_fail(err, WOQ_EDATA, NULL, "the score of token %zu is no number", i);
        v->scores[i] = (float)x;
    }
    return WOQ_OK;
}

/* An array of bytes. */
static int take_charsmap(struct woq_gguf_vocab *v, const struct woq_gguf_kv *kv,
                         struct woq_error *err)
{
    int64_t x;

    if (!kv || !kv->n)
        return WOQ_OK;
    if (kv->n > kv->bytes || !(v->charsmap = malloc((size_t)kv->n)))
        return woq_fail_nomem(err, (size_t)kv->n);
    v->charsmap_bytes = (size_t)kv->n;
    for (size_t i = 0; i < v->charsmap_bytes; i++) {
        if (!woq_gguf_i64(kv, i, &x) || x < -128 || x > 255)
            return woq_fail(err, WOQ_EDATA, NULL, "key '%s' is no array of bytes", kv->key);
        v->charsmap[i] = (char)x;
    }
    return WOQ_OK;
}

static long id_of(const struct woq_gguf *g, const char *key)
{
    uint64_t id;

    return woq_gguf_u64(woq_gguf_get(g, key), 0, &id) && id <= INT32_MAX ? (long)id : -1;
}

static int flag_of(const struct woq_gguf *g, const char *key)
{
    bool on;

    return woq_gguf_bool(woq_gguf_get(g, key), &on) ? on : -1;
}

/* Malloc'ed text of a string key, NULL if absent. */
static int take_text(char **out, const struct woq_gguf *g, const char *key, struct woq_error *err)
{
    const char *s;
    size_t len;

    *out = NULL;
    if (!woq_gguf_string(woq_gguf_get(g, key), &s, &len))
        return WOQ_OK;
    if (!(*out = strndup(s, len)))
        return woq_fail_nomem(err, len);
    return WOQ_OK;
}

/* The text of a key as a template of the list. */
static int take_template(struct woq_json *list, const struct woq_gguf_kv *kv, const char *name,
                         struct woq_error *err)
{
    struct woq_json *item = NULL;
    const char *s;
    char *text;
    size_t len;

    if (!kv)
        return WOQ_OK;
    if (!woq_gguf_string(kv, &s, &len) || memchr(s, 0, len) || woq_utf8_valid(s, len) < len)
        return woq_fail(err, WOQ_EDATA, NULL, "key '%s' is no text in UTF-8", kv->key);
    if (!(text = strndup(s, len)))
        return woq_fail_nomem(err, len);
    item = woq_json_object();
    woq_json_set_str(item, "name", name);
    woq_json_set_str(item, "template", text);
    woq_json_push(list, item);
    free(text);
    return WOQ_OK;
}

/* The default, then those whose names are in their keys. */
static int take_templates(struct woq_gguf_vocab *v, const struct woq_gguf *g, struct woq_error *err)
{
    static const char key[] = "tokenizer.chat_template";
    const size_t n = sizeof key - 1;
    struct woq_json *list = woq_json_array();
    int rc = take_template(list, woq_gguf_get(g, key), "default", err);

    for (size_t i = 0; rc == WOQ_OK && i < g->n_kv; i++)
        if (!strncmp(g->kv[i].key, key, n) && g->kv[i].key[n] == '.')
            rc = take_template(list, &g->kv[i], g->kv[i].key + n + 1, err);
    if (woq_json_len(list))
        v->chat_templates = list;
    else
        woq_json_free(list);
    return rc;
}

int woq_gguf_tokenizer(const struct woq_gguf *g, const char **name, struct woq_str *tokenizer,
                       struct woq_str *tokenizer_config, struct woq_error *err)
{
    struct woq_gguf_vocab v = { .bos = id_of(g, "tokenizer.ggml.bos_token_id"),
                                .eos = id_of(g, "tokenizer.ggml.eos_token_id"),
                                .unk = id_of(g, "tokenizer.ggml.unknown_token_id"),
                                .pad = id_of(g, "tokenizer.ggml.padding_token_id"),
                                .add_bos = flag_of(g, "tokenizer.ggml.add_bos_token"),
                                .add_eos = flag_of(g, "tokenizer.ggml.add_eos_token"),
                                .add_space_prefix = flag_of(g, "tokenizer.ggml.add_space_prefix"),
                                .remove_extra =
                                    flag_of(g, "tokenizer.ggml.remove_extra_whitespaces") };
    char *model = NULL, *pre = NULL;
    int rc;

    if (!woq_gguf_get(g, "tokenizer.ggml.tokens"))
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "the file has no vocabulary");
    if ((rc = take_text(&model, g, "tokenizer.ggml.model", err)) == WOQ_OK &&
        (rc = take_text(&pre, g, "tokenizer.ggml.pre", err)) == WOQ_OK &&
        (rc = take_templates(&v, g, err)) == WOQ_OK &&
        (rc = take_list(&v.tokens, &v.n, woq_gguf_get(g, "tokenizer.ggml.tokens"), err)) ==
            WOQ_OK &&
        (rc = take_list(&v.merges, &v.n_merges, woq_gguf_get(g, "tokenizer.ggml.merges"), err)) ==
            WOQ_OK &&
        (rc = take_scores(&v, woq_gguf_get(g, "tokenizer.ggml.scores"), err)) == WOQ_OK &&
        (rc = take_charsmap(&v, woq_gguf_get(g, "tokenizer.ggml.precompiled_charsmap"), err)) ==
            WOQ_OK &&
        (rc = take_types(&v, woq_gguf_get(g, "tokenizer.ggml.token_type"), err)) == WOQ_OK) {
        const bool spm = model && (!strcmp(model, "llama") || !strcmp(model, "t5"));

        v.model = model;
        v.pre = pre;
        *name = spm ? "tokenizer.model" : "tokenizer.json";
        rc = spm ? woq_gguf_vocab_to_spm(&v, tokenizer, tokenizer_config, err)
                 : woq_gguf_vocab_to_json(&v, tokenizer, tokenizer_config, err);
    }
    free(v.scores);
    free(v.charsmap);
    free(v.tokens);
    free(v.merges);
    free(v.types);
    woq_json_free(v.chat_templates);
    free(model);
    free(pre);
    return rc;
}
