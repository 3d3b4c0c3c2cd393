/* gguf_vocab.c -- GGUF's vocabulary of byte-level BPE to tokenizer.json. Text is written directly:
 * a JSON tree of 150,000 tokens costs more. */
#include "gguf_vocab.h"

#include "gguf_vocab_internal.h"

#include <woq/unicode.h>

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ writing JSON text */
struct sink {
    struct woq_str *out;
    bool oom;
};

static void put(struct sink *s, const char *text)
{
    if (woq_str_add(s->out, text, strlen(text)) < 0)
        s->oom = true;
}

static void put_num(struct sink *s, size_t x)
{
    if (woq_str_addf(s->out, "%zu", x) < 0)
        s->oom = true;
}

static void put_string(struct sink *s, const char *text, size_t len)
{
    if (woq_json_quote(s->out, text, len) < 0)
        s->oom = true;
}

static void put_bool(struct sink *s, bool b)
{
    put(s, b ? "true" : "false");
}

/* Old files have empty tokens, which no text becomes. */
static int32_t type_of(const struct woq_gguf_vocab *v, size_t i)
{
    if (!*v->tokens[i])
        return WOQ_GGUF_UNUSED;
    return v->types ? v->types[i] : WOQ_GGUF_NORMAL;
}

static void put_added(struct sink *s, const struct woq_gguf_vocab *v)
{
    const char *comma = "";

    put(s, "\"added_tokens\":[");
    for (size_t i = 0; i < v->n; i++) {
        const int32_t type = type_of(v, i);

        if (type != WOQ_GGUF_CONTROL && type != WOQ_GGUF_USER_DEFINED && type != WOQ_GGUF_UNKNOWN)
            continue;
        put(s, comma);
        put(s, "{\"id\":");
        put_num(s, i);
        put(s, ",\"content\":");
        put_string(s, v->tokens[i], strlen(v->tokens[i]));
        put(s, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
               "\"special\":");
        put_bool(s, type != WOQ_GGUF_USER_DEFINED);
        put(s, "}");
        comma = ",";
    }
    put(s, "]");
}

static void put_special(struct sink *s, const char *token)
{
    put(s, "{\"SpecialToken\":{\"id\":");
    put_string(s, token, strlen(token));
    put(s, ",\"type_id\":0}}");
}

static void put_special_ids(struct sink *s, const struct woq_gguf_vocab *v, long id)
{
    const char *token = v->tokens[id];

    put_string(s, token, strlen(token));
    put(s, ":{\"id\":");
    put_string(s, token, strlen(token));
    put(s, ",\"ids\":[");
    put_num(s, (size_t)id);
    put(s, "],\"tokens\":[");
    put_string(s, token, strlen(token));
    put(s, "]}");
}

/* `pair` is there because the original wants it. */
static void put_template(struct sink *s, const struct woq_gguf_vocab *v, bool bos, bool eos)
{
    const char *const names[] = { "single", "pair" };

    put(s, "\"post_processor\":");
    if (!bos && !eos) {
        put(s, "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":false,"
               "\"use_regex\":true}");
        return;
    }
    put(s, "{\"type\":\"TemplateProcessing\"");
    for (size_t k = 0; k < 2; k++) {
        put(s, ",\"");
        put(s, names[k]);
        put(s, "\":[");
        for (size_t part = 0; part <= k; part++) {
            put(s, part ? "," : "");
            if (bos) {
                put_special(s, v->tokens[v->bos]);
                put(s, ",");
            }
            put(s, part ? "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}"
                        : "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}");
            if (eos) {
                put(s, ",");
                put_special(s, v->tokens[v->eos]);
            }
        }
        put(s, "]");
    }
    put(s, ",\"special_tokens\":{");
    if (bos)
        put_special_ids(s, v, v->bos);
    if (eos && !(bos && v->bos == v->eos)) {
        put(s, bos ? "," : "");
        put_special_ids(s, v, v->eos);
    }
    put(s, "}}");
}

static void put_vocab(struct sink *s, const struct woq_gguf_vocab *v)
{
    const char *comma = "";

    put(s, "\"vocab\":{");
    for (size_t i = 0; i < v->n; i++) {
        if (type_of(v, i) == WOQ_GGUF_UNUSED)
            continue;
        put(s, comma);
        put_string(s, v->tokens[i], strlen(v->tokens[i]));
        put(s, ":");
        put_num(s, i);
        comma = ",\n";
    }
    put(s, "}");
}

/* "A B", cut at the first space that is not the first character (formats.md 3.6). */
static int put_merges(struct sink *s, const struct woq_gguf_vocab *v, struct woq_error *err)
{
    put(s, "\"merges\":[");
    for (size_t i = 0; i < v->n_merges; i++) {
        const char *m = v->merges[i], *space = m[0] ? strchr(m + 1, ' ') : NULL;

        if (!space || !space[1])
            return woq_fail(err, WOQ_EDATA, NULL,
                            "tokenizer.ggml.merges %zu '%.60s' is not \"A B\"", i, m);
        put(s, i ? ",\n[" : "[");
        put_string(s, m, (size_t)(space - m));
        put(s, ",");
        put_string(s, space + 1, strlen(space + 1));
        put(s, "]");
    }
    put(s, "]");
    return WOQ_OK;
}

/* ------------------------------------------------------------------ checks */
static int check_id(const struct woq_gguf_vocab *v, long id, const char *what,
                    struct woq_error *err)
{
    if (id >= 0 && ((size_t)id >= v->n || type_of(v, (size_t)id) == WOQ_GGUF_UNUSED))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tokenizer.ggml.%s_token_id %ld, but there are %zu tokens", what, id, v->n);
    return WOQ_OK;
}

static int check_vocab(const struct woq_gguf_vocab *v, struct woq_error *err)
{
    int rc;

    if (!v->model || strcmp(v->model, "gpt2") != 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "tokenizer.ggml.model '%s' is not supported, want 'gpt2' (byte-level BPE), "
                        "'llama' or 't5' (SentencePiece)",
                        v->model ? v->model : "(none)");
    if (!woq_pre_find(v->pre))
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "tokenizer.ggml.pre '%s' is not supported",
                        v->pre);
    for (size_t i = 0; i < v->n; i++) {
        const size_t len = strlen(v->tokens[i]);

        if (woq_utf8_valid(v->tokens[i], len) < len)
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.ggml.tokens %zu is not UTF-8", i);
    }
    if ((rc = check_id(v, v->bos, "bos", err)) < 0 || (rc = check_id(v, v->eos, "eos", err)) < 0 ||
        (rc = check_id(v, v->unk, "unknown", err)) < 0)
        return rc;
    return check_id(v, v->pad, "padding", err);
}

/* ------------------------------------------------------------------ the two files */
static int put_tokenizer(struct sink *s, const struct woq_gguf_vocab *v,
                         const struct woq_pre_name *pre, bool bos, bool eos, struct woq_error *err)
{
    int rc;

    put(s, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n");
    put_added(s, v);
    put(s, ",\n\"normalizer\":");
    put(s, pre->nfc ? "{\"type\":\"NFC\"}" : "null");
    put(s, ",\n\"pre_tokenizer\":");
    put(s, woq_pre_json(pre->pre));
    put(s, ",\n");
    put_template(s, v, bos, eos);
    put(s, ",\n\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
           "\"use_regex\":true},\n\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
           "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
           "\"byte_fallback\":false,\"ignore_merges\":");
    put_bool(s, pre->ignore_merges);
    put(s, ",\n");
    put_vocab(s, v);
    put(s, ",\n");
    if ((rc = put_merges(s, v, err)) < 0)
        return rc;
    put(s, "}}\n");
    return WOQ_OK;
}

static void put_config_token(struct sink *s, const struct woq_gguf_vocab *v, const char *key,
                             long id)
{
    if (id < 0)
        return;
    put(s, ",\n\"");
    put(s, key);
    put(s, "\":");
    put_string(s, v->tokens[id], strlen(v->tokens[id]));
}

const struct woq_json *woq_gguf_vocab_chat(const struct woq_gguf_vocab *v)
{
    const struct woq_json *first = woq_json_first(v->chat_templates);
    const char *name = woq_json_get_str(first, "name");

    return name && !strcmp(name, "default") && !woq_json_next(first)
               ? woq_json_get(first, "template")
               : v->chat_templates;
}

static void put_config(struct sink *s, const struct woq_gguf_vocab *v, bool bos, bool eos)
{
    char *chat = woq_json_print(woq_gguf_vocab_chat(v), false);

    put(s, "{\"add_bos_token\":");
    put_bool(s, bos);
    put(s, ",\n\"add_eos_token\":");
    put_bool(s, eos);
    put_config_token(s, v, "bos_token", v->bos);
    put_config_token(s, v, "eos_token", v->eos);
    put_config_token(s, v, "pad_token", v->pad);
    put_config_token(s, v, "unk_token", v->unk);
    if (v->chat_templates) {
        put(s, ",\n\"chat_template\":");
        put(s, chat ? chat : "null");
        s->oom |= !chat;
    }
    free(chat);
    put(s, ",\n\"clean_up_tokenization_spaces\":false,"
           "\n\"tokenizer_class\":\"PreTrainedTokenizerFast\"}\n");
}

int woq_gguf_vocab_to_json(const struct woq_gguf_vocab *v, struct woq_str *tokenizer,
                           struct woq_str *tokenizer_config, struct woq_error *err)
{
    struct sink json = { tokenizer, false }, config = { tokenizer_config, false };
    const struct woq_pre_name *pre;
    bool bos, eos;
    int rc = check_vocab(v, err);

    if (rc < 0)
        return rc;
    pre = woq_pre_find(v->pre);
    bos = v->bos >= 0 && (v->add_bos < 0 ? pre->add_bos : v->add_bos > 0);
    eos = v->eos >= 0 && v->add_eos > 0;
    if ((rc = put_tokenizer(&json, v, pre, bos, eos, err)) < 0)
        return rc;
    put_config(&config, v, bos, eos);
    if (json.oom || config.oom)
        return woq_fail_nomem(err, tokenizer->len);
    return WOQ_OK;
}
