/* gguf_vocab_from.c -- tokenizer.json to GGUF's vocabulary. The name of the pre-tokenizer is found
 * by comparing its steps with those of the known families; what has no name there is refused,
 * because a loader would tokenize otherwise without a word. Normalizer NFC is let through: GGUF's
 * loaders skip it for the families that have it. */
#include "gguf_vocab.h"

#include "gguf_vocab_internal.h"

#include <woq/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GPT2_REGEX                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* ------------------------------------------------------------------ naming the pre-tokenizer */
static void sign_split(struct woq_str *out, const struct woq_json *v)
{
    const struct woq_json *pattern = woq_json_get(v, "pattern");
    const char *regex = woq_json_get_str(pattern, "Regex");
    const char *literal = woq_json_get_str(pattern, "String");
    const char *behaviour = woq_json_get_str(v, "behavior");
    const bool invert = woq_json_get_bool(v, "invert", false);
    const bool isolated = behaviour && !strcmp(behaviour, "Isolated") && !invert;
    const bool matches = behaviour && !strcmp(behaviour, "Removed") && invert;
    const size_t len = regex ? strlen(regex) : 0;
    /* The expressions that end so match every character: keeping the matches is isolating them. */
    const bool all = len > 4 && !strcmp(regex + len - 4, "|\\s+");

    if (regex && (isolated || (matches && all)))
        (void)woq_str_addf(out, "Split(%s)", regex);
    else
        (void)woq_str_addf(out, "Split(%s %s, %s%s)", regex ? "regex" : "string",
                           regex     ? regex
                           : literal ? literal
                                     : "?",
                           behaviour ? behaviour : "?", invert ? ", invert" : "");
}

/* A line that is equal for pre-tokenizers that cut alike. */
static void sign(struct woq_str *out, const struct woq_json *v, int depth)
{
    const char *type = woq_json_get_str(v, "type");

    if (!type) {
        (void)woq_str_addf(out, "none ");
    } else if (!strcmp(type, "Sequence") && depth < 8) {
        woq_json_each(item, woq_json_get(v, "pretokenizers")) sign(out, item, depth + 1);
        return;
    } else if (!strcmp(type, "Split")) {
        sign_split(out, v);
    } else if (!strcmp(type, "ByteLevel")) {
        if (woq_json_get_bool(v, "use_regex", true))
            (void)woq_str_addf(out, "Split(" GPT2_REGEX ") ");
        (void)woq_str_addf(out, "ByteLevel%s",
                           woq_json_get_bool(v, "add_prefix_space", true) ? "(prefix space)" : "");
    } else if (!strcmp(type, "Digits")) {
        (void)woq_str_addf(out, "Digits(%s)",
                           woq_json_get_bool(v, "individual_digits", false) ? "one" : "run");
    } else {
        (void)woq_str_addf(out, "%s", type);
    }
    (void)woq_str_addf(out, " ");
}

static int sign_known(struct woq_str *out, enum woq_pre pre, struct woq_error *err)
{
    const char *text = woq_pre_json(pre);
    struct woq_json *v = NULL;
    const int rc = woq_json_parse(&v, text, strlen(text), err);

    if (rc == WOQ_OK)
        sign(out, v, 0);
    woq_json_free(v);
    return rc;
}

static int name_pre(const char **name, const struct woq_json *root, struct woq_error *err)
{
    const bool ignore = woq_json_get_bool(woq_json_get(root, "model"), "ignore_merges", false);
    struct woq_str found = { 0 };
    int rc = WOQ_OK;

    sign(&found, woq_json_get(root, "pre_tokenizer"), 0);
    *name = NULL;
    for (int pre = 0; rc == WOQ_OK && !*name && pre < WOQ_N_PRE; pre++) {
        struct woq_str known = { 0 };

        rc = sign_known(&known, (enum woq_pre)pre, err);
        if (rc == WOQ_OK && found.s && known.s && !strcmp(found.s, known.s))
            *name = woq_pre_name_of((enum woq_pre)pre, ignore);
        woq_str_release(&known);
    }
    if (rc == WOQ_OK && !*name)
        rc = woq_fail(err, WOQ_EUNSUPPORTED, "write another format, for instance --format gptq",
                      "GGUF has no name for the pre_tokenizer %.300s%s", found.s ? found.s : "none",
                      ignore ? "with ignore_merges" : "");
    woq_str_release(&found);
    return rc;
}

/* ------------------------------------------------------------------ tokens and merges */
int woq_gguf_vocab_copy(char **out, const char *text, struct woq_error *err)
{
    const size_t bytes = strlen(text) + 1;

    free(*out);
    *out = malloc(bytes);
    if (!*out)
        return woq_fail_nomem(err, bytes);
    memcpy(*out, text, bytes);
    return WOQ_OK;
}

static int fill_tokens(struct woq_gguf_vocab *v, const struct woq_tokenizer *t,
                       const struct woq_json *root, struct woq_error *err)
{
    int rc;

    woq_json_each(item, woq_json_get(woq_json_get(root, "model"), "vocab"))
    {
        uint64_t id = 0;

        if (!woq_json_u64(item, &id) || id >= v->n)
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: token id out of range");
        if ((rc = woq_gguf_vocab_copy(&v->tokens[id], woq_json_key(item), err)) < 0)
            return rc;
        v->types[id] = WOQ_GGUF_NORMAL;
    }
    woq_json_each(item, woq_json_get(root, "added_tokens"))
    {
        const char *content = woq_json_get_str(item, "content");
        uint64_t id = 0;

        if (!content || !woq_json_u64(woq_json_get(item, "id"), &id) || id >= v->n)
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.json: added token id out of range");
        /* The second of equal tokens is not one: its id stays unused. */
        if (!*content || woq_tokenizer_id(t, content) != (long)id)
            continue;
        if ((rc = woq_gguf_vocab_copy(&v->tokens[id], content, err)) < 0)
            return rc;
        v->types[id] =
            woq_json_get_bool(item, "special", false) ? WOQ_GGUF_CONTROL : WOQ_GGUF_USER_DEFINED;
    }
    for (size_t i = 0; i < v->n; i++) {
        char name[32];

        if (v->tokens[i])
            continue;
        (void)snprintf(name, sizeof(name), "[PAD%zu]", i);
        if ((rc = woq_gguf_vocab_copy(&v->tokens[i], name, err)) < 0)
            return rc;
        v->types[i] = WOQ_GGUF_UNUSED;
    }
    return WOQ_OK;
}

static int fill_merges(struct woq_gguf_vocab *v, const struct woq_json *root, struct woq_error *err)
{
    const struct woq_json *merges = woq_json_get(woq_json_get(root, "model"), "merges");
    const size_t n = woq_json_len(merges);

    v->merges = calloc(n ? n : 1, sizeof(*v->merges));
    if (!v->merges)
        return woq_fail_nomem(err, n * sizeof(*v->merges));
    woq_json_each(item, merges)
    {
        const char *line = woq_json_str(item);
        const char *left = woq_json_str(woq_json_first(item));
        const char *right = woq_json_str(woq_json_next(woq_json_first(item)));
        struct woq_str both = { 0 };
        int rc;

        if (line && !strncmp(line, "#version", 8))
            continue;
        if (line) {
            if ((rc = woq_gguf_vocab_copy(&v->merges[v->n_merges++], line, err)) < 0)
                return rc;
            continue;
        }
        if (!left || !right || strchr(left, ' ') || strchr(right, ' '))
            return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                            "GGUF cannot say merge %zu: a part holds a space", v->n_merges);
        if (woq_str_addf(&both, "%s %s", left, right) < 0)
            return woq_fail_nomem(err, both.len);
        v->merges[v->n_merges++] = both.s;
    }
    return WOQ_OK;
}

/* ------------------------------------------------------------------ ids and template */
/* A token of tokenizer_config.json (text or object), else an id (or list of ids) of config.json. */
long woq_gguf_vocab_id(const struct woq_tokenizer *t, const struct woq_json *tokenizer_config,
                       const struct woq_json *config, const char *token_key, const char *id_key)
{
    const struct woq_json *v = woq_json_get(tokenizer_config, token_key);
    const char *text = woq_json_str(v) ? woq_json_str(v) : woq_json_get_str(v, "content");
    const struct woq_json *id = woq_json_get(config, id_key);
    uint64_t x;

    if (text)
        return woq_tokenizer_id(t, text);
    if (woq_json_type(id) == WOQ_JARRAY)
        id = woq_json_first(id);
    return woq_json_u64(id, &x) && x < woq_tokenizer_size(t) ? (long)x : -1;
}

/* What the template adds to an empty text: nothing, BOS, EOS, or both. */
int woq_gguf_vocab_template(struct woq_gguf_vocab *v, const struct woq_tokenizer *t,
                            struct woq_error *err)
{
    struct woq_ids ids = { 0 };
    int rc = woq_tokenizer_encode(t, "", 0, true, &ids, err);

    if (rc == WOQ_OK && ids.n && woq_tokenizer_adds_bos(t) && v->bos < 0)
        v->bos = (long)ids.ids[0];
    if (rc == WOQ_OK) {
        const size_t n_bos = ids.n > 0 && (long)ids.ids[0] == v->bos && woq_tokenizer_adds_bos(t);
        const size_t n_eos = ids.n == n_bos + 1 && (long)ids.ids[ids.n - 1] == v->eos;

        v->add_bos = (int)n_bos;
        v->add_eos = (int)n_eos;
        if (ids.n != n_bos + n_eos)
            rc = woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                          "GGUF cannot say a template that adds %zu tokens other than BOS and EOS",
                          ids.n);
    }
    woq_ids_release(&ids);
    return rc;
}

int64_t woq_gguf_vocab_rows(const struct woq_json *config)
{
    const struct woq_json *text = woq_json_get(config, "text_config");
    const struct woq_json *c = text ? text : config;

    return woq_json_get_int(c, "vocab_size", woq_json_get_int(c, "padded_vocab_size", 0));
}

static int fill(struct woq_gguf_vocab *v, const struct woq_tokenizer *t,
                const struct woq_json *root, const struct woq_json *tokenizer_config,
                const struct woq_json *config, struct woq_error *err)
{
    const struct woq_json *model = woq_json_get(root, "model");
    const char *normalizer = woq_json_get_str(woq_json_get(root, "normalizer"), "type");
    const int64_t want = woq_gguf_vocab_rows(config);
    int rc;

    if (normalizer && strcmp(normalizer, "NFC") != 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "GGUF cannot say normalizer '%s'", normalizer);
    if (woq_json_get_bool(model, "byte_fallback", false))
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "GGUF: only byte-level BPE is written, this one has byte_fallback");
    if ((rc = name_pre(&v->pre, root, err)) < 0)
        return rc;
    v->model = "gpt2";
    v->n = woq_tokenizer_size(t);
    if (want > 0 && want < (1 << 22) && (size_t)want > v->n)
        v->n = (size_t)want;
    v->tokens = calloc(v->n, sizeof(*v->tokens));
    v->types = calloc(v->n, sizeof(*v->types));
    if (!v->tokens || !v->types)
        return woq_fail_nomem(err, v->n * sizeof(*v->tokens));
    if ((rc = fill_tokens(v, t, root, err)) < 0 || (rc = fill_merges(v, root, err)) < 0)
        return rc;
    v->bos = woq_gguf_vocab_id(t, tokenizer_config, config, "bos_token", "bos_token_id");
    v->eos = woq_gguf_vocab_id(t, tokenizer_config, config, "eos_token", "eos_token_id");
    v->unk = woq_gguf_vocab_id(t, tokenizer_config, NULL, "unk_token", "");
    v->pad = woq_gguf_vocab_id(t, tokenizer_config, config, "pad_token", "pad_token_id");
    return woq_gguf_vocab_template(v, t, err);
}

int woq_gguf_vocab_from_json(struct woq_gguf_vocab *v, const char *tokenizer, size_t bytes,
                             const char *tokenizer_config, size_t config_bytes,
                             const struct woq_json *config, struct woq_error *err)
{
    struct woq_json *root = NULL, *tc = NULL;
    struct woq_tokenizer *t = NULL;
    int rc;

    woq_gguf_vocab_init(v);
    /* Opening it checks everything that is relied on here. */
    rc = woq_tokenizer_open(&t, tokenizer, bytes, tokenizer_config, config_bytes, err);
    if (rc == WOQ_OK)
        rc = woq_json_parse(&root, tokenizer, bytes, err);
    if (rc == WOQ_OK && tokenizer_config)
        rc = woq_json_parse(&tc, tokenizer_config, config_bytes, err);
    if (rc == WOQ_OK)
        rc = fill(v, t, root, tc, config, err);
    woq_json_free(root);
    woq_json_free(tc);
    woq_tokenizer_close(t);
    if (rc < 0)
        woq_gguf_vocab_release(v);
    return rc;
}

void woq_gguf_vocab_init(struct woq_gguf_vocab *v)
{
    *v = (struct woq_gguf_vocab){ .bos = -1,
                                  .eos = -1,
                                  .unk = -1,
                                  .pad = -1,
                                  .add_bos = -1,
                                  .add_eos = -1,
                                  .add_space_prefix = -1,
                                  .remove_extra = -1 };
}

void woq_gguf_vocab_release(struct woq_gguf_vocab *v)
{
    for (size_t i = 0; v->tokens && i < v->n; i++)
        free(v->tokens[i]);
    for (size_t i = 0; i < v->n_merges; i++)
        free(v->merges[i]);
    free(v->tokens);
    free(v->types);
    free(v->merges);
    free(v->scores);
    free(v->charsmap);
    woq_json_free(v->chat_templates);
    woq_gguf_vocab_init(v);
}
