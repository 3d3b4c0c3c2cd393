/* tokenizer.c -- fuzz target: tokenizer.json, then a text behind the first NUL byte; a GGUF
 * vocabulary made from it and read back. Texts are short: a hostile expression may take its whole
 * match limit. */
#include <formats/gguf_vocab.h>
#include <stdint.h>
#include <string.h>
#include <woq/tokenizer.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void use(const struct woq_tokenizer *t, const char *text, size_t bytes)
{
    struct woq_ids ids = { 0 };
    struct woq_str out = { 0 };
    struct woq_error err = { 0 };

    if (woq_tokenizer_encode(t, text, bytes, true, &ids, &err) == WOQ_OK) {
        (void)woq_tokenizer_decode(t, ids.ids, ids.n, false, &out, &err);
        out.len = 0;
        (void)woq_tokenizer_decode(t, ids.ids, ids.n, true, &out, &err);
    }
    ids.n = 0;
    for (uint32_t id = 0; id < woq_tokenizer_size(t) && id < 64; id++)
        if (woq_tokenizer_decode(t, &id, 1, false, &out, &err) == WOQ_OK)
            (void)woq_ids_push(&ids, id, &err);
    (void)woq_tokenizer_decode(t, ids.ids, ids.n, false, &out, &err);
    woq_ids_release(&ids);
    woq_str_release(&out);
}

static void to_gguf_and_back(const char *json, size_t bytes)
{
    struct woq_gguf_vocab v;
    struct woq_str tokenizer = { 0 }, config = { 0 };
    struct woq_error err = { 0 };

    if (woq_gguf_vocab_from_json(&v, json, bytes, NULL, 0, NULL, &err) == WOQ_OK) {
        (void)woq_gguf_vocab_to_json(&v, &tokenizer, &config, &err);
        woq_gguf_vocab_release(&v);
    }
    woq_str_release(&tokenizer);
    woq_str_release(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char plain[] = " a<s> b\xc3\xa9\r\n 12 it's\t";
    const uint8_t *nul = bytes ? memchr(data, 0, bytes) : NULL;
    const char *json = (const char *)data;
    const size_t json_bytes = nul ? (size_t)(nul - data) : bytes;
    struct woq_tokenizer *t = NULL;
    struct woq_error err = { 0 };

    if (woq_tokenizer_open(&t, json, json_bytes, json, json_bytes, &err) < 0)
        return 0;
    use(t, plain, sizeof(plain) - 1);
    if (nul && bytes - json_bytes - 1 <= 256)
        use(t, (const char *)nul + 1, bytes - json_bytes - 1);
    woq_tokenizer_close(t);
    to_gguf_and_back(json, json_bytes);
    return 0;
}
