/* tokenizer_post.c -- what is put around a text: the templates of tokenizer.json, and the flags of
 * tokenizer_config.json that overrule them (formats.md 6.5). */
#include "tokenizer_internal.h"

#include <string.h>

/* ------------------------------------------------------------------ template */
/* Appends the ids of a special token of a TemplateProcessing. */
static int special_ids(const struct woq_tokenizer *t, const struct woq_json *processor,
                       const struct woq_json *special, struct woq_ids *out, struct woq_error *err)
{
    const char *name = woq_json_get_str(special, "id");
    const struct woq_json *known = woq_json_get(processor, "special_tokens");
    const struct woq_json *ids = name ? woq_json_get(woq_json_get(known, name), "ids") : NULL;

    if (!woq_json_len(ids))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tokenizer.json: the template's '%.60s' is not in its special_tokens",
                        name ? name : "(none)");
    woq_json_each(item, ids)
    {
        uint64_t id;
        size_t bytes;
        int rc;

        if (!woq_json_u64(item, &id) || id >= t->n_ids || !tok_token(t, (uint32_t)id, &bytes))
            return woq_fail(err, WOQ_EDATA, NULL,
                            "tokenizer.json: an id of the template's '%.60s' is not in the "
                            "vocabulary",
                            name);
        if ((rc = woq_ids_push(out, (uint32_t)id, err)) < 0)
            return rc;
    }
    return WOQ_OK;
}

/* What this template puts before and behind the text, around what earlier ones did. */
static int parse_template(struct woq_tokenizer *t, const struct woq_json *v, struct woq_error *err)
{
    struct woq_ids prefix = { 0 };
    bool text_seen = false;
    int rc = WOQ_OK;

    woq_json_each(item, woq_json_get(v, "single"))
    {
        const struct woq_json *special = woq_json_get(item, "SpecialToken");
        const char *sequence = woq_json_get_str(woq_json_get(item, "Sequence"), "id");

        if (special)
            rc = special_ids(t, v, special, text_seen ? &t->suffix : &prefix, err);
        else if (!sequence || strcmp(sequence, "A") != 0 || text_seen)
            rc = woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                          "tokenizer.json: the template does not hold its text exactly once");
        else
            text_seen = true;
        if (rc < 0)
            break;
    }
    if (rc == WOQ_OK && !text_seen)
        rc = woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                      "tokenizer.json: the template does not hold its text exactly once");
    for (size_t i = 0; rc == WOQ_OK && i < t->prefix.n; i++)
        rc = woq_ids_push(&prefix, t->prefix.ids[i], err);
    woq_ids_release(&t->prefix);
    t->prefix = prefix;
    return rc;
}

/* "cls" and "sep", each [token, id], before and behind the text. */
static int parse_cls_sep(struct woq_tokenizer *t, const struct woq_json *v, const char *type,
                         struct woq_error *err)
{
    static const char *const keys[] = { "cls", "sep" };
    int rc = WOQ_OK;

    if (t->prefix.n || t->suffix.n)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "tokenizer.json: %s around another post_processor", type);
    for (size_t i = 0; rc == WOQ_OK && i < 2; i++) {
        const struct woq_json *pair = woq_json_get(v, keys[i]);
        uint64_t id;
        size_t bytes;

        if (!woq_json_u64(woq_json_next(woq_json_first(pair)), &id) || id >= t->n_ids ||
            !tok_token(t, (uint32_t)id, &bytes))
            return woq_fail(err, WOQ_EDATA, NULL,
                            "tokenizer.json: '%s' of %s is not a token of the vocabulary", keys[i],
                            type);
        rc = woq_ids_push(i ? &t->suffix : &t->prefix, (uint32_t)id, err);
    }
    return rc;
}

static int parse_post(struct woq_tokenizer *t, const struct woq_json *v, int depth,
                      struct woq_error *err)
{
    const char *type = woq_json_get_str(v, "type");
    int rc = WOQ_OK;

    if (woq_json_type(v) == WOQ_JNULL || (type && !strcmp(type, "ByteLevel")))
        return WOQ_OK; /* ByteLevel trims offsets only */
    if (type && !strcmp(type, "TemplateProcessing"))
        return parse_template(t, v, err);
    if (type && (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing")))
        return parse_cls_sep(t, v, type, err);
    if (!type || strcmp(type, "Sequence") != 0 || depth > 8)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "tokenizer.json: post_processor '%s' is not supported",
                        type ? type : "(none)");
    woq_json_each(item, woq_json_get(v, "processors"))
    {
        if ((rc = parse_post(t, item, depth + 1, err)) < 0)
            break;
    }
    return rc;
}

int tok_post_parse(struct woq_tokenizer *t, const struct woq_json *v, struct woq_error *err)
{
    return parse_post(t, v, 0, err);
}

/* ------------------------------------------------------------------ tokenizer_config.json */
/* A token there is its text, or an object with "content". */
static long config_token(const struct woq_tokenizer *t, const struct woq_json *config,
                         const char *key)
{
    const struct woq_json *v = woq_json_get(config, key);
    const char *text = woq_json_str(v) ? woq_json_str(v) : woq_json_get_str(v, "content");

    return text ? woq_tokenizer_id(t, text) : -1;
}

void tok_config_tokens(struct woq_tokenizer *t, const struct woq_json *config)
{
    const long bos = config_token(t, config, "bos_token");
    const long eos = config_token(t, config, "eos_token");

    t->bos = bos >= 0 || !t->spm.on ? bos : t->bos;
    t->eos = eos >= 0 || !t->spm.on ? eos : t->eos;
    t->clean_up = woq_json_get_bool(config, "clean_up_tokenization_spaces", false);
    t->spm.only_first = !woq_json_get_bool(config, "legacy", true);
}

int tok_config_template(struct woq_tokenizer *t, const struct tok_class *c,
                        const struct woq_json *config, struct woq_error *err)
{
    if (!c || !c->rebuilds)
        return WOQ_OK;
    t->prefix.n = t->suffix.n = 0;
    return tok_class_around(t, c, config, err);
}
