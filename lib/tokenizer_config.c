/* tokenizer_config.c -- what a class of tokenizer_config.json implies where the vocabulary is a
 * SentencePiece model or a tiktoken file: those say nothing of BOS, special tokens or expressions,
 * which are code of the class. A class that is not in the table is refused unless the file itself
 * says what matters. */
#include "tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
/* clang-format off */
#define WORDS(numbers) /* a C string that holds a JSON string */ \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"" \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" numbers \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}}," BYTE_LEVEL "]}"

static const struct tok_class classes[] = {
    { "LlamaTokenizer", .bos = true, .rebuilds = true },
    { "LlamaTokenizerFast", .bos = true, .rebuilds = true },
    { "CodeLlamaTokenizer", .bos = true, .rebuilds = true },
    { "CodeLlamaTokenizerFast", .bos = true, .rebuilds = true },
    { "GemmaTokenizer", .bos = true, .rebuilds = true },
    { "GemmaTokenizerFast", .bos = true, .rebuilds = true },
    { "CohereTokenizer", .bos = true, .rebuilds = true },
    { "CohereTokenizerFast", .bos = true, .rebuilds = true },
    { "LLaMATokenizer", .bos = true },
    { "BaichuanTokenizer", .bos = true },
    { "InternLMTokenizer", .bos = true },
    { "InternLM2Tokenizer", .bos = true },
    { "OrionTokenizer", .bos = true },
    { "YiTokenizer", .bos = true },
    { "T5Tokenizer", .eos = true },
    { "T5TokenizerFast", .eos = true },
    { "ChatGLMTokenizer", .prefix = { "[gMASK]", "sop" }, .special = { "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop" } },
    { "QWenTokenizer", .normalizer = "{\"type\":\"NFC\"}", .pre = WORDS("\\\\p{N}"),
      .special = { "<|endoftext|>", "<|im_start|>", "<|im_end|>" }, .n_extra = 205 },
    { "ChatGLM4Tokenizer", .pre = WORDS("\\\\p{N}{1,3}"), .prefix = { "[gMASK]", "<sop>" } },
};
/* clang-format on */

const struct tok_class *tok_class_find(const struct woq_json *config)
{
    const char *name = woq_json_get_str(config, "tokenizer_class");

    for (size_t i = 0; name && i < sizeof(classes) / sizeof(classes[0]); i++)
        if (!strcmp(name, classes[i].name))
            return &classes[i];
    return NULL;
}

/* ------------------------------------------------------------------ added tokens */
static void push_token(struct woq_json *list, const char *text, size_t id)
{
    struct woq_json *item = woq_json_object();

    woq_json_set_str(item, "content", text);
    woq_json_set_num(item, "id", (double)id);
    woq_json_set_bool(item, "special", true);
    woq_json_push(list, item);
}

/* {"32000":{"content":..}, ..} as the list that tokenizer.json has. */
static int from_decoder(struct woq_json *list, const struct woq_json *decoder,
                        struct woq_error *err)
{
    woq_json_each(item, decoder)
    {
        struct woq_json *copy = woq_json_copy(item);
        char *end;
        const unsigned long id = strtoul(woq_json_key(item), &end, 10);

        if (*end || end == woq_json_key(item) || id >= TOK_MAX_ID) {
            woq_json_free(copy);
            return woq_fail(err, WOQ_EDATA, NULL,
                            "tokenizer_config.json: added_tokens_decoder has the id '%.60s'",
                            woq_json_key(item));
        }
        woq_json_set_num(copy, "id", (double)id);
        /* There is nothing to normalize them with before they are found. */
        woq_json_set_bool(copy, "normalized", false);
        woq_json_push(list, copy);
    }
    return WOQ_OK;
}

int tok_class_added(struct woq_tokenizer *t, const struct tok_class *class, size_t n_ids,
                    const struct woq_json *config, struct woq_error *err)
{
    const struct woq_json *decoder = woq_json_get(config, "added_tokens_decoder");
    struct woq_json *list = woq_json_array();
    int rc = list ? from_decoder(list, decoder, err) : woq_fail_nomem(err, 64);

    for (size_t i = 0; rc == WOQ_OK && class && i < TOK_CLASS_SPECIAL && class->special[i]; i++)
        push_token(list, class->special[i], n_ids++);
    for (unsigned i = 0; rc == WOQ_OK && class && i < class->n_extra; i++) {
        char text[32];

        (void)snprintf(text, sizeof(text), "<|extra_%u|>", i);
        push_token(list, text, n_ids++);
    }
    if (rc == WOQ_OK)
        rc = tok_added_parse(&t->added, list, &t->vocab.map, err);
    woq_json_free(list);
    return rc;
}

/* ------------------------------------------------------------------ what stands around a text */
static int push_named(const struct woq_tokenizer *t, const char *token, struct woq_ids *out,
                      struct woq_error *err)
{
    const long id = woq_tokenizer_id(t, token);

    if (id < 0)
        return woq_fail(err, WOQ_EDATA, "add it to added_tokens_decoder in tokenizer_config.json",
                        "the tokenizer puts '%s' before each text, but there is no such token",
                        token);
    return woq_ids_push(out, (uint32_t)id, err);
}

int tok_class_around(struct woq_tokenizer *t, const struct tok_class *class,
                     const struct woq_json *config, struct woq_error *err)
{
    const char *name = woq_json_get_str(config, "tokenizer_class");
    bool bos = class ? class->bos : true, eos = class && class->eos, said;
    int rc = WOQ_OK;

    /* Without a configuration it is Meta's own folder, whose code adds BOS. */
    said = woq_json_bool(woq_json_get(config, "add_bos_token"), &bos);
    (void)woq_json_bool(woq_json_get(config, "add_eos_token"), &eos);
    if (name && !class && !said)
        return woq_fail(err, WOQ_EUNSUPPORTED,
                        "say \"add_bos_token\" in tokenizer_config.json, or give a tokenizer.json",
                        "tokenizer_config.json: whether class '%.60s' adds BOS is not known here",
                        name);
    for (size_t i = 0; rc == WOQ_OK && class && i < 2 && class->prefix[i]; i++)
        rc = push_named(t, class->prefix[i], &t->prefix, err);
    if (rc == WOQ_OK && bos && t->bos >= 0)
        rc = woq_ids_push(&t->prefix, (uint32_t)t->bos, err);
    if (rc == WOQ_OK && eos && t->eos >= 0)
        rc = woq_ids_push(&t->suffix, (uint32_t)t->eos, err);
    return rc;
}
