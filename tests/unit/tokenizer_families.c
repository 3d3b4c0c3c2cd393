/* tokenizer_families.c -- 500 hard strings for each family of tokenizers: ids and decoded texts as
 * the original has them (tests/golden/tokenizers/families.py). */
#include "golden.h"

#define GOLDEN "tests/golden/tokenizers/"

/* The base with some of its members, and members of its model, replaced. */
static struct woq_tokenizer *open_patched(const struct woq_json *base, const struct woq_json *patch,
                                          const char *name)
{
    struct woq_json *root = woq_json_copy(base);
    struct woq_tokenizer *t = NULL;
    struct woq_error err = { 0 };
    char *text;

    woq_json_each(item, patch)
    {
        if (strcmp(woq_json_key(item), "model") != 0) {
            woq_json_set(root, woq_json_key(item), woq_json_copy(item));
            continue;
        }
        woq_json_each(member, item)
            woq_json_set(woq_json_get(root, "model"), woq_json_key(member), woq_json_copy(member));
    }
    text = woq_json_print(root, false);
    if (woq_tokenizer_open(&t, text, strlen(text), NULL, 0, &err) < 0)
        fail_msg("%s: %s", name, err.what);
    free(text);
    woq_json_free(root);
    return t;
}

/* What a sparse table of texts has for string i, else `otherwise`. */
static const char *text_at(const struct woq_json *sparse, size_t i, const char *otherwise)
{
    char key[24];
    const char *text;

    (void)snprintf(key, sizeof(key), "%zu", i);
    text = woq_json_get_str(sparse, key);
    return text ? text : otherwise;
}

static bool decodes_to(const struct woq_tokenizer *t, const struct woq_ids *ids, bool skip,
                       const char *want)
{
    struct woq_error err = { 0 };
    struct woq_str text = { 0 };
    const bool same = woq_tokenizer_decode(t, ids->ids, ids->n, skip, &text, &err) == WOQ_OK &&
                      strcmp(text.s, want) == 0;

    if (!same)
        print_error("  got '%.200s' %s, want '%.200s'\n", text.s ? text.s : "", err.what, want);
    woq_str_release(&text);
    return same;
}

/* Number of strings whose ids or decoded texts differ. */
static size_t check_family(const struct woq_tokenizer *t, const struct woq_json *family,
                           const struct woq_json *strings, const char *name)
{
    const struct woq_json *text = woq_json_first(strings);
    const struct woq_json *decoded = woq_json_get(family, "decoded");
    const struct woq_json *skipped = woq_json_get(family, "skipped");
    struct woq_ids ids = { 0 };
    size_t i = 0, bad = 0;

    woq_json_each(want, woq_json_get(family, "ids"))
    {
        struct woq_error err = { 0 };
        const char *s = woq_json_str(text), *plain = text_at(decoded, i, s), *wrong = NULL;

        ids.n = 0;
        if (woq_tokenizer_encode(t, s, strlen(s), false, &ids, &err) < 0)
            wrong = err.what;
        else if (!same_ids(&ids, want))
            wrong = "ids";
        else if (!decodes_to(t, &ids, false, plain))
            wrong = "decoded";
        else if (!decodes_to(t, &ids, true, text_at(skipped, i, plain)))
            wrong = "decoded without special tokens";
        if (wrong)
            print_error("%s, string %zu '%.100s': %s\n", name, i, s, wrong);
        bad += wrong != NULL;
        text = woq_json_next(text);
        i++;
    }
    assert_int_equal(i, 500);
    woq_ids_release(&ids);
    return bad;
}

/* A row of tests/compat. */
static void seen(const char *kind, const char *name, size_t n_bad)
{
    if (!n_bad)
        printf("# compat | tokenizer | %s, %s | 500 texts\n", kind, name);
}

static void check_file(const char *path, const char *kind)
{
    struct woq_json *all = read_json(path), *strings = read_json(GOLDEN "strings.json");
    size_t bad = 0;

    woq_json_each(family, woq_json_get(all, "families"))
    {
        const char *name = woq_json_get_str(family, "name");
        struct woq_tokenizer *t =
            open_patched(woq_json_get(all, "base"), woq_json_get(family, "patch"), name);
        struct woq_ids ids = { 0 };
        struct woq_error err = { 0 };

        assert_int_equal(woq_tokenizer_encode(t, "", 0, true, &ids, &err), WOQ_OK);
        assert_true(same_ids(&ids, woq_json_get(family, "template")));
        const size_t wrong = check_family(t, family, strings, name);
        seen(kind, name, wrong);
        bad += wrong;
        woq_ids_release(&ids);
        woq_tokenizer_close(t);
    }
    assert_int_equal(bad, 0);
    woq_json_free(all);
    woq_json_free(strings);
}

static void test_byte_level(void **state)
{
    (void)state;
    check_file(GOLDEN "byte_level.json", "tokenizer.json BPE");
}

static void test_metaspace(void **state)
{
    (void)state;
    check_file(GOLDEN "metaspace.json", "tokenizer.json BPE of SentencePiece");
}

static void test_unigram(void **state)
{
    (void)state;
    check_file(GOLDEN "unigram.json", "tokenizer.json Unigram");
}

/* Decoding leaves control pieces out, as the original does. */
static size_t check_model(const struct woq_tokenizer *t, const struct woq_json *model,
                          const struct woq_json *strings, const char *name, bool skip)
{
    const struct woq_json *text = woq_json_first(strings);
    struct woq_ids ids = { 0 };
    size_t i = 0, bad = 0;

    woq_json_each(want, woq_json_get(model, "ids"))
    {
        struct woq_error err = { 0 };
        const char *s = woq_json_str(text), *wrong = NULL;

        ids.n = 0;
        if (woq_tokenizer_encode(t, s, strlen(s), false, &ids, &err) < 0)
            wrong = err.what;
        else if (!same_ids(&ids, want))
            wrong = "ids";
        else if (!decodes_to(t, &ids, skip, text_at(woq_json_get(model, "decoded"), i, s)))
            wrong = "decoded";
        if (wrong)
            print_error("%s, string %zu '%.100s': %s\n", name, i, s, wrong);
        bad += wrong != NULL;
        text = woq_json_next(text);
        i++;
    }
    assert_int_equal(i, 500);
    woq_ids_release(&ids);
    return bad;
}

static void test_sentencepiece(void **state)
{
    struct woq_json *all = read_json(GOLDEN "spm.json"),
                    *strings = read_json(GOLDEN "strings.json");
    size_t bad = 0, n = 0;

    (void)state;
    woq_json_each(model, woq_json_get(all, "models"))
    {
        const char *name = woq_json_get_str(model, "name");
        struct woq_str path = { 0 };
        struct woq_tokenizer *t = NULL;
        struct woq_error err = { 0 };
        char *data;
        size_t bytes;

        woq_str_addf(&path, GOLDEN "spm/%s.model", name);
        if (woq_file_read(path.s, 0, &data, &bytes, &err) < 0 ||
            woq_tokenizer_open(&t, data, bytes, NULL, 0, &err) < 0)
            fail_msg("%s: %s", path.s, err.what);
        const size_t wrong = check_model(t, model, strings, name, true);
        seen("SentencePiece model", name, wrong);
        bad += wrong;
        woq_tokenizer_close(t);
        woq_str_release(&path);
        free(data);
        n++;
    }
    assert_int_equal(bad, 0);
    assert_int_equal(n, 10);
    woq_json_free(all);
    woq_json_free(strings);
}

/* One text of 200 kB: sums of scores are floats, which must be rounded where the original does. */
static void test_long_unigram(void **state)
{
    struct woq_json *all = read_json(GOLDEN "spm_long.json"),
                    *strings = read_json(GOLDEN "strings.json");
    struct woq_str once = { 0 }, text = { 0 };

    (void)state;
    woq_json_each(s, strings)
    {
        woq_str_addf(&once, "%s%s", s == woq_json_first(strings) ? "" : " ", woq_json_str(s));
    }
    woq_json_each(model, woq_json_get(all, "models"))
    {
        const char *name = woq_json_get_str(model, "name");
        struct woq_str path = { 0 };
        struct woq_tokenizer *t = NULL;
        struct woq_ids ids = { 0 };
        struct woq_error err = { 0 };
        uint32_t fnv = 2166136261u;
        char *data;
        size_t bytes;

        text.len = 0;
        for (int64_t i = woq_json_get_int(model, "times", 0); i > 0; i--)
            woq_str_addf(&text, "%s", once.s);
        woq_str_addf(&path, GOLDEN "spm/%s.model", name);
        if (woq_file_read(path.s, 0, &data, &bytes, &err) < 0 ||
            woq_tokenizer_open(&t, data, bytes, NULL, 0, &err) < 0 ||
            woq_tokenizer_encode(t, text.s, text.len, false, &ids, &err) < 0)
            fail_msg("%s: %s", path.s, err.what);
        for (size_t i = 0; i < ids.n; i++)
            fnv = (fnv ^ ids.ids[i]) * 16777619u;
        assert_int_equal(ids.n, woq_json_get_int(model, "n", 0));
        if (fnv != (uint32_t)woq_json_get_int(model, "fnv", 0))
            fail_msg("%s: other ids", name);
        woq_ids_release(&ids);
        woq_tokenizer_close(t);
        woq_str_release(&path);
        free(data);
    }
    assert_int_equal(woq_json_len(woq_json_get(all, "models")), 5);
    woq_str_release(&once);
    woq_str_release(&text);
    woq_json_free(all);
    woq_json_free(strings);
}

static void test_tiktoken(void **state)
{
    struct woq_json *all = read_json(GOLDEN "tiktoken.json"),
                    *strings = read_json(GOLDEN "strings.json");
    struct woq_error err = { 0 };
    char *data;
    size_t bytes, bad = 0;

    (void)state;
    assert_int_equal(woq_file_read(GOLDEN "small.tiktoken", 0, &data, &bytes, &err), WOQ_OK);
    woq_json_each(class, woq_json_get(all, "classes"))
    {
        const char *name = woq_json_get_str(class, "name");
        char *config = woq_json_print(woq_json_get(class, "config"), false);
        struct woq_tokenizer *t = NULL;

        if (woq_tokenizer_open(&t, data, bytes, config, strlen(config), &err) < 0)
            fail_msg("%s: %s", name, err.what);
        const size_t wrong = check_model(t, class, strings, name, false);
        seen("tiktoken file", name, wrong);
        bad += wrong;
        woq_tokenizer_close(t);
        free(config);
    }
    assert_int_equal(bad, 0);
    woq_json_free(all);
    woq_json_free(strings);
    free(data);
}

/* Files that are not what they seem, and classes that nothing is known of. */
static void refused(const char *data, size_t bytes, const char *config, int status,
                    const char *what)
{
    struct woq_tokenizer *t = NULL;
    struct woq_error err = { 0 };

    if (woq_tokenizer_open(&t, data, bytes, config, config ? strlen(config) : 0, &err) != status ||
        !strstr(err.what, what))
        fail_msg("got %d '%s', want %d '%s'", err.status, err.what, status, what);
    assert_null(t);
}

static void test_refused(void **state)
{
    static const char cut[] = "\n\x08\n\x05<unk"; /* a length beyond the end */
    static const char no_unknown[] = "\n\x03\n\x01"
                                     "a"; /* one normal piece */
    static const char twice[] = "\n\x05\n\x01"
                                "a\x18\x02\n\x03\n\x01"
                                "b\n\x03\n\x01"
                                "b";
    static const char word[] = "\n\x05\n\x01"
                               "a\x18\x02\x12\x02\x18\x03"; /* model_type 3 */
    static const char bytes[] = "\n\x05\n\x01"
                                "a\x18\x02\x12\x03\x98\x02\x01"; /* byte_fallback */
    struct woq_error err = { 0 };
    char *model;
    size_t n;

    (void)state;
    refused(cut, sizeof(cut) - 1, NULL, WOQ_EDATA, "not valid protobuf at byte 2");
    refused(no_unknown, sizeof(no_unknown) - 1, NULL, WOQ_EDATA, "0 unknown pieces");
    refused(twice, sizeof(twice) - 1, NULL, WOQ_EDATA, "'b' occurs twice");
    refused(word, sizeof(word) - 1, NULL, WOQ_EUNSUPPORTED, "model_type 'word'");
    refused(bytes, sizeof(bytes) - 1, NULL, WOQ_EDATA, "0 byte pieces, byte_fallback is true");
    refused("YQ== 0\nYg== 1\n", 14, NULL, WOQ_EUNSUPPORTED, "how its texts are cut");
    refused("YQ== 0\nYg== x\n", 14, "{\"tokenizer_class\":\"QWenTokenizer\"}", WOQ_EDATA,
            "the rank is not a number");
    refused("YQ== 0\nYg== 1\n", 14, "{\"tokenizer_class\":\"QWenTokenizer\"}", WOQ_EDATA,
            "byte 0x00 is no token");
    assert_int_equal(woq_file_read(GOLDEN "spm/llama.model", 0, &model, &n, &err), WOQ_OK);
    refused(model, n, "{\"tokenizer_class\":\"OddTokenizer\"}", WOQ_EUNSUPPORTED,
            "whether class 'OddTokenizer' adds BOS");
    refused(model, n, "{\"added_tokens_decoder\":{\"x\":{\"content\":\"y\"}}}", WOQ_EDATA,
            "has the id 'x'");
    free(model);
}

/* What tokenizer_config.json says of a SentencePiece model. */
static void test_spm_config(void **state)
{
    static const char config[] =
        "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_eos_token\":true,\"legacy\":false,"
        "\"added_tokens_decoder\":{\"1\":{\"content\":\"<s>\",\"special\":true},"
        "\"900\":{\"content\":\"<new>\"}}}";
    struct woq_tokenizer *t = NULL;
    struct woq_error err = { 0 };
    struct woq_ids ids = { 0 }, plain = { 0 };
    struct woq_str text = { 0 };
    char *model;
    size_t n;

    (void)state;
    assert_int_equal(woq_file_read(GOLDEN "spm/llama.model", 0, &model, &n, &err), WOQ_OK);
    assert_int_equal(woq_tokenizer_open(&t, model, n, config, strlen(config), &err), WOQ_OK);
    assert_int_equal(woq_tokenizer_encode(t, "the<new>the<s>", 14, true, &ids, &err), WOQ_OK);
    assert_int_equal(woq_tokenizer_encode(t, "the", 3, false, &plain, &err), WOQ_OK);
    assert_int_equal(ids.ids[0], 1);
    assert_int_equal(ids.ids[1], plain.ids[0]);
    assert_int_equal(ids.ids[2], 900);
    /* No dummy prefix there: legacy is false. */
    assert_int_not_equal(ids.ids[3], plain.ids[0]);
    assert_int_equal(ids.ids[ids.n - 2], 1);
    assert_int_equal(ids.ids[ids.n - 1], 2);
    assert_int_equal(woq_tokenizer_decode(t, ids.ids, ids.n, true, &text, &err), WOQ_OK);
    assert_string_equal(text.s, "the<new>the");
    text.len = 0;
    assert_int_equal(woq_tokenizer_decode(t, ids.ids, ids.n, false, &text, &err), WOQ_OK);
    assert_string_equal(text.s, "<s> the<new>the<s></s>");
    woq_ids_release(&ids);
    woq_ids_release(&plain);
    woq_str_release(&text);
    woq_tokenizer_close(t);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level),   cmocka_unit_test(test_metaspace),
        cmocka_unit_test(test_unigram),      cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_long_unigram), cmocka_unit_test(test_tiktoken),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_spm_config),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
