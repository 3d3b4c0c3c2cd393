/* spm.c -- fuzz target: a SentencePiece model, a tiktoken file or llama2.c's tokenizer.bin, whose
 * first 16 bits say how long it is; the rest is a text. What opens encodes, decodes and goes to
 * GGUF and back. */
#include <formats/gguf_vocab.h>
#include <formats/llama2c_vocab.h>
#include <stdint.h>
#include <string.h>
#include <woq/tokenizer.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char config[] = "{\"tokenizer_class\":\"QWenTokenizer\",\"add_bos_token\":true}";

static void use(const char *file, size_t bytes, const char *text, size_t text_bytes,
                const char *config_text)
{
    struct woq_tokenizer *t = NULL;
    struct woq_ids ids = { 0 };
    struct woq_str out = { 0 };
    struct woq_error err = { 0 };

    if (woq_tokenizer_open(&t, file, bytes, config_text, config_text ? strlen(config_text) : 0,
                           &err) < 0)
        return;
    if (woq_tokenizer_encode(t, text, text_bytes, true, &ids, &err) == WOQ_OK)
        (void)woq_tokenizer_decode(t, ids.ids, ids.n, true, &out, &err);
    ids.n = 0;
    for (uint32_t id = 0; id < woq_tokenizer_size(t) && id < 300; id++)
        (void)woq_ids_push(&ids, id, &err);
    (void)woq_tokenizer_decode(t, ids.ids, ids.n, false, &out, &err);
    woq_ids_release(&ids);
    woq_str_release(&out);
    woq_tokenizer_close(t);
}

static void to_gguf_and_back(const char *file, size_t bytes)
{
    struct woq_gguf_vocab v;
    struct woq_str model = { 0 }, more = { 0 };
    struct woq_error err = { 0 };

    if (woq_gguf_vocab_from_spm(&v, file, bytes, NULL, 0, NULL, &err) == WOQ_OK) {
        (void)woq_gguf_vocab_to_spm(&v, &model, &more, &err);
        woq_gguf_vocab_release(&v);
    }
    woq_str_release(&model);
    woq_str_release(&more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char plain[] = " a<s> b\xc3\xa9\r\n 12  it's\t\xe2\x96\x81";
    struct woq_str model = { 0 };
    struct woq_error err = { 0 };

    if (bytes < 2)
        return 0;
    const char *file = (const char *)data + 2;
    const size_t want = (size_t)(data[0] | data[1] << 8);
    const size_t n = want < bytes - 2 ? want : bytes - 2;

    use(file, n, plain, sizeof(plain) - 1, NULL);
    use(file, n, file + n, bytes - 2 - n, config);
    to_gguf_and_back(file, n);
    if (woq_llama2c_is_vocab(file, n) && woq_llama2c_vocab(&model, file, n, &err) == WOQ_OK)
        use(model.s, model.len, plain, sizeof(plain) - 1, NULL);
    woq_str_release(&model);
    return 0;
}
