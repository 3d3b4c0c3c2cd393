/* gguf_keys_vocab.c -- the keys tokenizer.* of a GGUF file (formats.md 3.6). */
#include <formats/gguf_keys.h>

#include <formats/gguf_kv.h>
#include <formats/gguf_vocab.h>
#include <stdio.h>
#include <string.h>
#include <woq/model.h>

static void special_id(struct woq_gguf_keys *k, const char *name, long id)
{
    if (id >= 0)
        woq_gguf_kv_u32(k, NULL, name, (size_t)id);
}

static void vocab_keys(struct woq_gguf_keys *k, const struct woq_gguf_vocab *v)
{
    woq_gguf_kv_text(k, NULL, "tokenizer.ggml.model", v->model);
    if (v->pre)
        woq_gguf_kv_text(k, NULL, "tokenizer.ggml.pre", v->pre);
    woq_gguf_kv_array(k, NULL, "tokenizer.ggml.tokens", WOQ_GGUF_STRING, v->n);
    for (size_t i = 0; i < v->n; i++)
        woq_gguf_put_text(k, v->tokens[i]);
    woq_gguf_kv_array(k, NULL, "tokenizer.ggml.token_type", WOQ_GGUF_I32, v->n);
    for (size_t i = 0; i < v->n; i++)
        woq_gguf_put_u32(k, v->types ? (uint32_t)v->types[i] : WOQ_GGUF_NORMAL);
    if (v->scores) {
        woq_gguf_kv_array(k, NULL, "tokenizer.ggml.scores", WOQ_GGUF_F32, v->n);
        for (size_t i = 0; i < v->n; i++) {
            uint32_t bits;

            memcpy(&bits, &v->scores[i], sizeof bits);
            woq_gguf_put_u32(k, bits);
        }
    } else {
        woq_gguf_kv_array(k, NULL, "tokenizer.ggml.merges", WOQ_GGUF_STRING, v->n_merges);
        for (size_t i = 0; i < v->n_merges; i++)
            woq_gguf_put_text(k, v->merges[i]);
    }
    special_id(k, "tokenizer.ggml.bos_token_id", v->bos);
    special_id(k, "tokenizer.ggml.eos_token_id", v->eos);
    special_id(k, "tokenizer.ggml.unknown_token_id", v->unk);
    special_id(k, "tokenizer.ggml.padding_token_id", v->pad);
    if (v->add_bos >= 0)
        woq_gguf_kv_bool(k, NULL, "tokenizer.ggml.add_bos_token", v->add_bos > 0);
    if (v->add_eos >= 0)
        woq_gguf_kv_bool(k, NULL, "tokenizer.ggml.add_eos_token", v->add_eos > 0);
    if (v->add_space_prefix >= 0)
        woq_gguf_kv_bool(k, NULL, "tokenizer.ggml.add_space_prefix", v->add_space_prefix > 0);
    k->n_tokens = v->n;
}

/* A name as a key has it: other loaders allow letters and digits there. */
static void key_name(char out[64], const char *name)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    size_t i = 0;

    for (; i < 63 && name[i]; i++)
        out[i] = strchr(plain, name[i]) ? name[i] : '_';
    out[i] = '\0';
}

/* The default is a key of old; others have keys with their names, and a list of these. */
static int chat_keys(struct woq_gguf_keys *k, const struct woq_json *list, struct woq_error *err)
{
    const struct woq_json *first = woq_json_first(list);
    const char *is = woq_json_get_str(first, "name");
    const bool plain = is && !strcmp(is, "default");
    const struct woq_json *named = plain ? woq_json_next(first) : first;
    char name[64], other[64], key[96];
    size_t n = 0;

    for (const struct woq_json *x = named; x; x = woq_json_next(x), n++) {
        key_name(name, woq_json_get_str(x, "name"));
        for (const struct woq_json *y = named; y != x; y = woq_json_next(y)) {
            key_name(other, woq_json_get_str(y, "name"));
            if (!strcmp(name, other))
                return woq_fail(err, WOQ_EUNSUPPORTED, "give one of them another name",
                                "the chat templates '%s' and '%s' are both '%s' in GGUF",
                                woq_json_get_str(y, "name"), woq_json_get_str(x, "name"), name);
        }
        (void)snprintf(key, sizeof key, "tokenizer.chat_template.%s", name);
        woq_gguf_kv_text(k, NULL, key, woq_json_get_str(x, "template"));
    }
    if (n)
        woq_gguf_kv_array(k, NULL, "tokenizer.chat_templates", WOQ_GGUF_STRING, n);
    for (const struct woq_json *x = named; x; x = woq_json_next(x)) {
        key_name(name, woq_json_get_str(x, "name"));
        woq_gguf_put_text(k, name);
    }
    if (plain)
        woq_gguf_kv_text(k, NULL, "tokenizer.chat_template", woq_json_get_str(first, "template"));
    return WOQ_OK;
}

int woq_gguf_keys_vocab(struct woq_gguf_keys *k, const struct woq_json *config,
                        const struct woq_frame *modl, struct woq_error *err)
{
    const struct woq_array *t = woq_frame_array(modl, "tokenizer.json");
    const struct woq_array *spm = woq_frame_array(modl, "tokenizer.model");
    const struct woq_array *tc = woq_frame_array(modl, "tokenizer_config.json");
    const char *tc_text = tc ? tc->data : NULL;
    const size_t tc_bytes = tc ? tc->bytes : 0;
    struct woq_gguf_vocab v = { 0 };
    struct woq_error ignored = { 0 };
    int rc = WOQ_EUNSUPPORTED;

    if (!t && !spm) {
        woq_gguf_kv_text(k, NULL, "tokenizer.ggml.model", "none");
        return WOQ_OK;
    }
    if (t)
        rc = woq_gguf_vocab_from_json(&v, t->data, t->bytes, tc_text, tc_bytes, config,
                                      spm ? &ignored : err);
    /* SentencePiece's model says what tokenizer.json can only imitate, which GGUF has no word for.
     */
    if (spm && rc == WOQ_EUNSUPPORTED) {
        woq_gguf_vocab_release(&v);
        rc = woq_gguf_vocab_from_spm(&v, spm->data, spm->bytes, tc_text, tc_bytes, config, err);
    } else if (rc < 0 && spm && err) {
        *err = ignored;
    }
    if (rc == WOQ_OK && (rc = woq_modl_chat_list(modl, &v.chat_templates, err)) == WOQ_OK) {
        vocab_keys(k, &v);
        rc = chat_keys(k, v.chat_templates, err);
    } else if (err && rc == WOQ_EUNSUPPORTED && !err->hint[0]) {
        snprintf(err->hint, sizeof err->hint,
                 "woq-extract --no-side leaves the tokenizer out: the file then has no vocabulary");
    }
    woq_gguf_vocab_release(&v);
    return rc;
}
