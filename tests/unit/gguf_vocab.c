/* gguf_vocab.c -- tokenizer.json to GGUF's vocabulary and back: the same ids for the same text. */
#include <formats/gguf_vocab.h>
#include <woq/tokenizer.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDEN "tests/golden/tokenizers/"

static const char config_json[] = "{\"bos_token\":\"<|a|>\",\"eos_token\":{\"content\":\"<|b|>\"}}";

static void read_golden(const char *family, char **data, size_t *bytes)
{
    struct woq_str path = { 0 };
    struct woq_error err = { 0 };

    woq_str_addf(&path, GOLDEN "%s/tokenizer.json", family);
    if (woq_file_read(path.s, 0, data, bytes, &err) < 0)
        fail_msg("%s", err.what);
    woq_str_release(&path);
}

static struct woq_tokenizer *open_tokenizer(const char *json, size_t bytes, const char *config)
{
    struct woq_tokenizer *t = NULL;
    struct woq_error err = { 0 };

    if (woq_tokenizer_open(&t, json, bytes, config, config ? strlen(config) : 0, &err) < 0)
        fail_msg("%s", err.what);
    return t;
}

static void compare(const struct woq_tokenizer *a, const struct woq_tokenizer *b)
{
    static const char *const texts[] = {
        "",
        "Hello, world! I'M 12345 it's",
        "a\r\n\r\n  b \t c  ",
        "caf\u00e9 e\u0301 \u4f60\u597d \U0001f600",
        "x<|endoftext|>y<|im_start|>z<a>b<a>",
        "<|eot_id|>!!\n\n??",
        "word [NORM] word \t\t \u2167\u00bd",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct woq_ids x = { 0 }, y = { 0 };
        struct woq_error err = { 0 };

        assert_int_equal(woq_tokenizer_encode(a, texts[i], strlen(texts[i]), true, &x, &err), 0);
        assert_int_equal(woq_tokenizer_encode(b, texts[i], strlen(texts[i]), true, &y, &err), 0);
        assert_int_equal(x.n, y.n);
        if (x.n)
            assert_memory_equal(x.ids, y.ids, x.n * sizeof(*x.ids));
        woq_ids_release(&x);
        woq_ids_release(&y);
    }
}

static void round_trip(const char *family, const char *pre, int add_bos)
{
    struct woq_gguf_vocab v;
    struct woq_error err = { 0 };
    struct woq_str json = { 0 }, config = { 0 };
    struct woq_tokenizer *before, *after;
    char *original;
    size_t bytes;

    read_golden(family, &original, &bytes);
    if (woq_gguf_vocab_from_json(&v, original, bytes, NULL, 0, NULL, &err) < 0)
        fail_msg("%s: %s", family, err.what);
    assert_string_equal(v.model, "gpt2");
    assert_string_equal(v.pre, pre);
    assert_int_equal(v.add_bos, add_bos);
    assert_int_equal(v.add_eos, 0);
    if (woq_gguf_vocab_to_json(&v, &json, &config, &err) < 0)
        fail_msg("%s: %s", family, err.what);
    before = open_tokenizer(original, bytes, NULL);
    after = open_tokenizer(json.s, json.len, config.s);
    assert_int_equal(woq_tokenizer_size(after), woq_tokenizer_size(before));
    assert_int_equal(v.n, woq_tokenizer_size(before));
    /* Flags of added tokens have no word in GGUF: the texts here do not need them. */
    compare(before, after);
    woq_tokenizer_close(before);
    woq_tokenizer_close(after);
    woq_gguf_vocab_release(&v);
    woq_str_release(&json);
    woq_str_release(&config);
    free(original);
}

static void test_round_trips(void **state)
{
    (void)state;
    round_trip("gpt2", "gpt-2", 0);
    round_trip("smollm", "smollm", 0);
    round_trip("llama3", "llama-bpe", 1);
    round_trip("qwen2", "qwen2", 0);
}

/* ------------------------------------------------------------------ made-up vocabularies */
static char text[7][8] = { "a", "b", "\u0120a", "<|a|>", "<|b|>", "[PAD5]", "\"\\\n" };
static char *tokens[] = { text[0], text[1], text[2], text[3], text[4], text[5], text[6] };
static int32_t types[] = { 1, 1, 1, 3, 4, 5, 1 };
static char merge[8] = "\u0120 a";
static char *merges[] = { merge };

static struct woq_gguf_vocab made_up(void)
{
    return (struct woq_gguf_vocab){ .tokens = tokens,
                                    .types = types,
                                    .n = 7,
                                    .model = "gpt2",
                                    .pre = "gpt-2",
                                    .bos = 3,
                                    .eos = 4,
                                    .unk = -1,
                                    .pad = -1,
                                    .add_bos = -1,
                                    .add_eos = -1 };
}

static void test_to_json(void **state)
{
    struct woq_gguf_vocab v = made_up();
    struct woq_str json = { 0 }, config = { 0 };
    struct woq_error err = { 0 };
    struct woq_ids ids = { 0 };
    struct woq_tokenizer *t;
    struct woq_json *c = NULL;
    const char *chat = "{% if \"x\" %}\n{% endif %}";
    struct woq_json *item = woq_json_object();

    (void)state;
    v.add_bos = 1;
    v.add_eos = 1;
    v.pre = NULL; /* "default" */
    v.chat_templates = woq_json_array();
    woq_json_set_str(item, "name", "default");
    woq_json_set_str(item, "template", chat);
    woq_json_push(v.chat_templates, item);
    assert_int_equal(woq_gguf_vocab_to_json(&v, &json, &config, &err), WOQ_OK);
    t = open_tokenizer(json.s, json.len, config.s);
    assert_int_equal(woq_tokenizer_bos(t), 3);
    assert_int_equal(woq_tokenizer_eos(t), 4);
    assert_true(woq_tokenizer_adds_bos(t));
    assert_int_equal(woq_tokenizer_id(t, "[PAD5]"), -1);
    assert_int_equal(woq_tokenizer_id(t, "\"\\\n"), 6);
    assert_int_equal(woq_tokenizer_encode(t, "ab<|b|>", 7, true, &ids, &err), WOQ_OK);
    assert_int_equal(ids.n, 5);
    assert_int_equal(ids.ids[0], 3);
    assert_int_equal(ids.ids[3], 4);
    assert_int_equal(ids.ids[4], 4);
    assert_int_equal(woq_json_parse(&c, config.s, config.len, &err), WOQ_OK);
    assert_string_equal(woq_json_get_str(c, "chat_template"), chat);
    woq_json_free(v.chat_templates);
    woq_json_free(c);
    woq_ids_release(&ids);
    woq_tokenizer_close(t);
    woq_str_release(&json);
    woq_str_release(&config);
}

static void expect(const struct woq_gguf_vocab *v, int status, const char *what)
{
    struct woq_str json = { 0 }, config = { 0 };
    struct woq_error err = { 0 };

    assert_int_equal(woq_gguf_vocab_to_json(v, &json, &config, &err), status);
    if (!strstr(err.what, what))
        fail_msg("'%s' does not say '%s'", err.what, what);
    woq_str_release(&json);
    woq_str_release(&config);
}

/* No token that a text could have, in either kind of vocabulary; those behind it keep their ids. */
static void test_empty_token(void **state)
{
    struct woq_gguf_vocab v = made_up();
    struct woq_str json = { 0 }, config = { 0 };
    struct woq_error err = { 0 };
    struct woq_tokenizer *t;

    (void)state;
    strcpy(text[1], "");
    for (int spm = 0; spm < 2; spm++) {
        v.model = spm ? "llama" : "gpt2";
        json.len = config.len = 0;
        if ((spm ? woq_gguf_vocab_to_spm(&v, &json, &config, &err)
                 : woq_gguf_vocab_to_json(&v, &json, &config, &err)) < 0)
            fail_msg("%s", err.what);
        t = open_tokenizer(json.s, json.len, config.s);
        assert_int_equal(woq_tokenizer_id(t, "a"), 0);
        assert_int_equal(woq_tokenizer_id(t, ""), -1);
        assert_int_equal(woq_tokenizer_id(t, "\"\\\n"), 6);
        woq_tokenizer_close(t);
    }
    strcpy(text[1], "b");
    woq_str_release(&json);
    woq_str_release(&config);
}

static void test_refused(void **state)
{
    struct woq_gguf_vocab v = made_up();

    (void)state;
    v.model = "rwkv";
    expect(&v, WOQ_EUNSUPPORTED, "tokenizer.ggml.model 'rwkv'");
    v.model = NULL;
    expect(&v, WOQ_EUNSUPPORTED, "(none)");
    v = made_up();
    v.pre = "superbpe";
    expect(&v, WOQ_EUNSUPPORTED, "tokenizer.ggml.pre 'superbpe'");
    v = made_up();
    v.bos = 7;
    expect(&v, WOQ_EDATA, "bos_token_id 7, but there are 7");
    v.bos = 5; /* an unused token has no text */
    expect(&v, WOQ_EDATA, "bos_token_id 5");
    v = made_up();
    v.merges = merges;
    v.n_merges = 1;
    strcpy(text[0], "\xff");
    expect(&v, WOQ_EDATA, "tokens 0 is not UTF-8");
    strcpy(text[0], "a");
    strcpy(merge, "ab");
    expect(&v, WOQ_EDATA, "merges 0 'ab'");
    strcpy(merge, "a ");
    expect(&v, WOQ_EDATA, "merges 0 'a '");
}

#define TOKENIZER(pre, model)                                                                      \
    "{\"added_tokens\":[{\"id\":4,\"content\":\"<|a|>\",\"special\":true},{\"id\":3,\"content\":"  \
    "\"<|b|>\"}],\"pre_tokenizer\":" pre                                                           \
    ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,"                                     \
    "\"ab\":2},\"merges\":[[\"a\",\"b\"]]" model "}}"
#define PLAIN "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"

static void test_from_json(void **state)
{
    static const char json[] = TOKENIZER(PLAIN, "");
    static const char model[] = "{\"vocab_size\":8,\"eos_token_id\":[2]}";
    struct woq_json *config = NULL;
    struct woq_gguf_vocab v;
    struct woq_error err = { 0 };

    (void)state;
    assert_int_equal(woq_json_parse(&config, model, sizeof(model) - 1, &err), WOQ_OK);
    assert_int_equal(woq_gguf_vocab_from_json(&v, json, sizeof(json) - 1, config_json,
                                              sizeof(config_json) - 1, config, &err),
                     WOQ_OK);
    assert_int_equal(v.n, 8);
    assert_string_equal(v.tokens[2], "ab");
    assert_int_equal(v.types[2], WOQ_GGUF_NORMAL);
    assert_string_equal(v.tokens[3], "<|b|>");
    assert_int_equal(v.types[3], WOQ_GGUF_USER_DEFINED);
    assert_int_equal(v.types[4], WOQ_GGUF_CONTROL);
    assert_string_equal(v.tokens[7], "[PAD7]");
    assert_int_equal(v.types[7], WOQ_GGUF_UNUSED);
    assert_int_equal(v.n_merges, 1);
    assert_string_equal(v.merges[0], "a b");
    assert_int_equal(v.bos, 4);
    assert_int_equal(v.eos, 3);
    assert_int_equal(v.pad, -1);
    woq_gguf_vocab_release(&v);
    /* Without tokenizer_config.json the ids of config.json count. */
    assert_int_equal(woq_gguf_vocab_from_json(&v, json, sizeof(json) - 1, NULL, 0, config, &err),
                     0);
    assert_int_equal(v.bos, -1);
    assert_int_equal(v.eos, 2);
    woq_gguf_vocab_release(&v);
    woq_json_free(config);
}

static void test_from_json_refused(void **state)
{
    static const struct {
        const char *json, *what;
    } bad[] = {
        { TOKENIZER("null", ""), "no name for the pre_tokenizer none" },
        { TOKENIZER("{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", ""), "prefix space" },
        { TOKENIZER("{\"type\":\"Whitespace\"}", ""), "Whitespace" },
        { TOKENIZER(PLAIN, ",\"ignore_merges\":true"), "with ignore_merges" },
        { TOKENIZER(PLAIN, ",\"byte_fallback\":true"), "byte_fallback" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct woq_gguf_vocab v;
        struct woq_error err = { 0 };

        assert_int_equal(
            woq_gguf_vocab_from_json(&v, bad[i].json, strlen(bad[i].json), NULL, 0, NULL, &err),
            WOQ_EUNSUPPORTED);
        if (!strstr(err.what, bad[i].what))
            fail_msg("'%s' does not say '%s'", err.what, bad[i].what);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_to_json),
        cmocka_unit_test(test_empty_token), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_from_json),   cmocka_unit_test(test_from_json_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
