/* tokenizer.c -- the tokenizer against what the original made of hard strings
 * (tests/golden/tokenizers), and against files that are wrong. */
#include "golden.h"

#include <woq/filter.h>
#include <woq/threads.h>

#define GOLDEN "tests/golden/tokenizers/"

static bool same_text(const struct woq_tokenizer *t, const struct woq_ids *ids, bool skip,
                      const char *want)
{
    struct woq_error err = { 0 };
    struct woq_str text = { 0 };
    const bool same = woq_tokenizer_decode(t, ids->ids, ids->n, skip, &text, &err) == WOQ_OK &&
                      strcmp(text.s, want) == 0;

    woq_str_release(&text);
    return same;
}

/* [text, ids, ids without template, decoded, decoded without special tokens]: what differs, or
 * NULL. */
static const char *check_case(const struct woq_tokenizer *t, const struct woq_json *c)
{
    const struct woq_json *text = woq_json_first(c), *full = woq_json_next(text);
    const struct woq_json *bare = woq_json_next(full), *decoded = woq_json_next(bare);
    const char *s = woq_json_str(text), *wrong = NULL;
    struct woq_ids ids = { 0 };
    struct woq_error err = { 0 };

    if (woq_tokenizer_encode(t, s, strlen(s), true, &ids, &err) < 0)
        wrong = "error";
    else if (!same_ids(&ids, full))
        wrong = "ids";
    else if (!same_text(t, &ids, false, woq_json_str(decoded)))
        wrong = "decoded";
    else if (!same_text(t, &ids, true, woq_json_str(woq_json_next(decoded))))
        wrong = "decoded without special tokens";
    ids.n = 0;
    if (!wrong &&
        (woq_tokenizer_encode(t, s, strlen(s), false, &ids, &err) < 0 || !same_ids(&ids, bare)))
        wrong = "ids without template";
    woq_ids_release(&ids);
    return wrong;
}

static size_t check_cases(const struct woq_tokenizer *t, const struct woq_json *cases,
                          const char *name)
{
    size_t bad = 0;

    woq_json_each(c, cases)
    {
        const char *wrong = check_case(t, c);
        char *line = wrong ? woq_json_print(c, false) : NULL;

        if (wrong)
            print_error("%s: %s differ: %.300s\n", name, wrong, line);
        bad += wrong != NULL;
        free(line);
    }
    return bad;
}

static void test_families(void **state)
{
    static const char *const names[] = { "gpt2", "smollm", "llama3", "qwen2" };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct woq_str path = { 0 };
        struct woq_error err = { 0 };
        struct woq_tokenizer *t = NULL;
        size_t bytes;
        char *text;

        woq_str_addf(&path, GOLDEN "%s/tokenizer.json", names[i]);
        text = read_text(path.s, &bytes);
        path.len = 0;
        woq_str_addf(&path, GOLDEN "%s/cases.json", names[i]);
        struct woq_json *cases = read_json(path.s);

        assert_true(woq_json_len(cases) >= 200);
        if (woq_tokenizer_open(&t, text, bytes, NULL, 0, &err) < 0)
            fail_msg("%s: %s", names[i], err.what);
        assert_int_equal(check_cases(t, cases, names[i]), 0);
        printf("# compat | tokenizer | tokenizer.json of %s | %zu texts\n", names[i],
               woq_json_len(cases));
        woq_tokenizer_close(t);
        woq_json_free(cases);
        woq_str_release(&path);
        free(text);
    }
}

/* The base with some of its members replaced. */
static char *patched(const struct woq_json *base, const struct woq_json *patch)
{
    struct woq_json *root = woq_json_copy(base);
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
    woq_json_free(root);
    return text;
}

static void test_variants(void **state)
{
    size_t bad = 0, n = 0;
    struct woq_json *all = read_json(GOLDEN "variants.json");

    (void)state;
    woq_json_each(v, woq_json_get(all, "variants"))
    {
        char *text = patched(woq_json_get(all, "base"), woq_json_get(v, "patch"));
        struct woq_tokenizer *t = NULL;
        struct woq_error err = { 0 };

        if (woq_tokenizer_open(&t, text, strlen(text), NULL, 0, &err) < 0)
            fail_msg("%s: %s", woq_json_get_str(v, "name"), err.what);
        bad += check_cases(t, woq_json_get(v, "cases"), woq_json_get_str(v, "name"));
        n++;
        woq_tokenizer_close(t);
        free(text);
    }
    assert_true(n > 50);
    assert_int_equal(bad, 0);
    woq_json_free(all);
}

/* ------------------------------------------------------------------ small made-up files */
#define MODEL(more) "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}," more "}"
#define MERGES "\"merges\":[\"a b\"]"
#define ADDED(members) "\"added_tokens\":[{\"content\":\"<s>\"," members "}],"

static int open_text(struct woq_tokenizer **t, const char *json, const char *config,
                     struct woq_error *err)
{
    *t = NULL;
    return woq_tokenizer_open(t, json, strlen(json), config, config ? strlen(config) : 0, err);
}

static const struct {
    const char *json;
    int status;
    const char *what;
} bad[] = {
    { "", WOQ_EDATA, "" },
    { "[]", WOQ_EDATA, "not an object" },
    { "{}", WOQ_EDATA, "no model" },
    { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", WOQ_EDATA, "empty" },
    { "{\"model\":{\"type\":\"WordPiece\"}}", WOQ_EUNSUPPORTED, "'WordPiece'" },
    { "{\"model\":{\"vocab\":{}}}", WOQ_EUNSUPPORTED, "(none)" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", WOQ_EDATA, "empty" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}", WOQ_EDATA, "not an object" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1}}}", WOQ_EDATA, "'a'" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1.5}}}", WOQ_EDATA, "'a'" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1e15}}}", WOQ_EDATA, "'a'" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1}}}", WOQ_EDATA, "twice" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0}}}", WOQ_EDATA, "id 0" },
    { "{" MODEL("\"merges\":[\"a c\"]") "}", WOQ_EDATA, "merge 0 needs token 'c'" },
    { "{" MODEL("\"merges\":[\"b a\"]") "}", WOQ_EDATA, "merge 0 needs token 'ba'" },
    { "{" MODEL("\"merges\":[\"ab\"]") "}", WOQ_EDATA, "merge 0 is neither" },
    { "{" MODEL("\"merges\":[[\"a\"]]") "}", WOQ_EDATA, "merge 0 is neither" },
    { "{" MODEL("\"merges\":[7]") "}", WOQ_EDATA, "merge 0 is neither" },
    { "{" MODEL(MERGES ",\"dropout\":0.1") "}", WOQ_EUNSUPPORTED, "dropout" },
    { "{\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," MODEL(MERGES) "}", WOQ_EUNSUPPORTED,
      "pre_tokenizer 'BertPreTokenizer'" },
    { "{\"normalizer\":{\"type\":\"Precompiled\"}," MODEL(MERGES) "}", WOQ_EDATA,
      "normalizer 'Precompiled'" },
    { "{\"normalizer\":{\"type\":\"BertNormalizer\"}," MODEL(MERGES) "}", WOQ_EUNSUPPORTED,
      "normalizer 'BertNormalizer'" },
    { "{\"decoder\":{\"type\":\"WordPiece\"}," MODEL(MERGES) "}", WOQ_EUNSUPPORTED,
      "decoder 'WordPiece'" },
    { "{\"post_processor\":{\"type\":\"BertProcessing\"}," MODEL(MERGES) "}", WOQ_EDATA,
      "'cls' of BertProcessing" },
    { "{\"post_processor\":{\"type\":\"Odd\"}," MODEL(MERGES) "}", WOQ_EUNSUPPORTED,
      "post_processor 'Odd'" },
    { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":1}}", WOQ_EDATA,
      "unk_id is not one of 1" },
    { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", WOQ_EDATA, "piece 0" },
    { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[\"a\",1]]}}", WOQ_EDATA, "twice" },
    { "{\"normalizer\":{}," MODEL(MERGES) "}", WOQ_EDATA, "no \"type\"" },
    { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":"
      "\"Isolated\"}," MODEL(MERGES) "}",
      WOQ_EDATA, "'('" },
    { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"},\"behavior\":"
      "\"Isolated\"}," MODEL(MERGES) "}",
      WOQ_EUNSUPPORTED, "&&" },
    { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":"
      "\"Odd\"}," MODEL(MERGES) "}",
      WOQ_EDATA, "'Odd'" },
    { "{" ADDED("\"id\":1") MODEL(MERGES) "}", WOQ_EDATA, "of another token" },
    { "{" ADDED("\"id\":99999999") MODEL(MERGES) "}", WOQ_EDATA, "added token 0" },
    { "{\"added_tokens\":[{\"content\":\"a\",\"id\":1}]," MODEL(MERGES) "}", WOQ_EDATA,
      "has id 1, but 0" },
    { "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
      "{\"id\":\"<s>\"}}]}," MODEL(MERGES) "}",
      WOQ_EDATA, "'<s>'" },
    { "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}," MODEL(MERGES) "}",
      WOQ_EUNSUPPORTED, "exactly once" },
    { "{\"x\":\"\xff\"," MODEL(MERGES) "}", WOQ_EDATA, "not UTF-8 at byte 6" },
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct woq_tokenizer *t;
        struct woq_error err = { 0 };

        if (open_text(&t, bad[i].json, NULL, &err) != bad[i].status ||
            !strstr(err.what, bad[i].what))
            fail_msg("%s: got %d '%s', want %d '%s'", bad[i].json, err.status, err.what,
                     bad[i].status, bad[i].what);
        assert_null(t);
    }
}

static void test_deep_nesting(void **state)
{
    struct woq_str json = { 0 };
    struct woq_tokenizer *t;
    struct woq_error err = { 0 };

    (void)state;
    woq_str_addf(&json, "{\"normalizer\":");
    for (int i = 0; i < 40; i++)
        woq_str_addf(&json, "{\"type\":\"Sequence\",\"normalizers\":[");
    woq_str_addf(&json, "{\"type\":\"NFC\"}");
    for (int i = 0; i < 40; i++)
        woq_str_addf(&json, "]}");
    woq_str_addf(&json, "," MODEL(MERGES) "}");
    assert_int_equal(open_text(&t, json.s, NULL, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "too deep"));
    woq_str_release(&json);
}

/* A pattern that backtracks exponentially must end in an error, not in hours. */
static void test_regex_explodes(void **state)
{
    char text[4097];
    struct woq_tokenizer *t;
    struct woq_error err = { 0 };
    struct woq_ids ids = { 0 };

    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 2] = 'c';
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(open_text(&t,
                               "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":"
                               "\"(a|a)+$\"},\"behavior\":\"Isolated\"}," MODEL(MERGES) "}",
                               NULL, &err),
                     WOQ_OK);
    assert_int_equal(woq_tokenizer_encode(t, text, strlen(text), true, &ids, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "(a|a)+$"));
    woq_ids_release(&ids);
    woq_tokenizer_close(t);
}

static void test_bad_text_and_ids(void **state)
{
    struct woq_tokenizer *t;
    struct woq_error err = { 0 };
    struct woq_ids ids = { 0 };
    struct woq_str text = { 0 };
    const uint32_t beyond[] = { 0, 7 };

    (void)state;
    assert_int_equal(open_text(&t, "{" ADDED("\"id\":5") MODEL(MERGES) "}", NULL, &err), WOQ_OK);
    assert_int_equal(woq_tokenizer_encode(t, "ab\xc0", 3, true, &ids, &err), WOQ_EDATA);
    assert_string_equal(err.what, "text is not UTF-8: byte 0xc0 at offset 2");
    assert_int_equal(woq_tokenizer_size(t), 6);
    assert_int_equal(woq_tokenizer_id(t, "<s>"), 5);
    assert_int_equal(woq_tokenizer_id(t, "ab"), 2);
    assert_int_equal(woq_tokenizer_id(t, "zz"), -1);
    assert_int_equal(woq_tokenizer_decode(t, beyond, 2, false, &text, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "token 1: id 7"));
    assert_int_equal(woq_tokenizer_encode(t, "ab<s>ba", 7, true, &ids, &err), WOQ_OK);
    assert_int_equal(ids.n, 4);
    assert_int_equal(ids.ids[1], 5);
    woq_ids_release(&ids);
    woq_str_release(&text);
    woq_tokenizer_close(t);
}

static void test_config(void **state)
{
    static const char json[] = "{" ADDED("\"id\":3,\"special\":true") MODEL(MERGES) "}";
    struct woq_tokenizer *t;
    struct woq_error err = { 0 };
    struct woq_ids ids = { 0 };

    (void)state;
    assert_int_equal(
        open_text(&t, json, "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"ab\"}", &err),
        WOQ_OK);
    assert_int_equal(woq_tokenizer_bos(t), 3);
    assert_int_equal(woq_tokenizer_eos(t), 2);
    assert_false(woq_tokenizer_adds_bos(t));
    woq_tokenizer_close(t);
    /* This class makes its own template. */
    assert_int_equal(open_text(&t, json,
                               "{\"bos_token\":\"<s>\",\"eos_token\":\"ab\",\"add_eos_token\":true,"
                               "\"tokenizer_class\":\"LlamaTokenizer\"}",
                               &err),
                     WOQ_OK);
    assert_true(woq_tokenizer_adds_bos(t));
    assert_int_equal(woq_tokenizer_encode(t, "b", 1, true, &ids, &err), WOQ_OK);
    assert_int_equal(ids.n, 3);
    assert_int_equal(ids.ids[0], 3);
    assert_int_equal(ids.ids[2], 2);
    woq_ids_release(&ids);
    woq_tokenizer_close(t);
    assert_int_equal(open_text(&t, json, "{", &err), WOQ_EDATA);
    assert_string_equal(err.where, "tokenizer_config.json");
}

/* transformers' clean-up at decode: only where the file asks for it. */
static void test_clean_up(void **state)
{
    static const char json[] = "{\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"BPE\","
                               "\"vocab\":{\"it\":0,\" 's\":1,"
                               "\" .\":2,\" n't\":3,\" ' \":4},\"merges\":[]}}";
    static const uint32_t ids[] = { 0, 1, 3, 4, 0, 2 };
    static const char *const configs[] = { "{}", "{\"clean_up_tokenization_spaces\":true}" };
    static const char *const want[] = { "it 's n't ' it .", "it'sn't'it." };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct woq_tokenizer *t;
        struct woq_error err = { 0 };
        struct woq_str text = { 0 };

        assert_int_equal(open_text(&t, json, configs[i], &err), WOQ_OK);
        assert_int_equal(woq_tokenizer_decode(t, ids, 6, false, &text, &err), WOQ_OK);
        assert_string_equal(text.s, want[i]);
        woq_str_release(&text);
        woq_tokenizer_close(t);
    }
}

struct shared {
    struct woq_tokenizer *t;
    const char *text;
    struct woq_ids ids[64];
    int rc[64];
};

static void encode_item(void *ctx, size_t item, int thread)
{
    struct shared *s = ctx;
    struct woq_error err = { 0 };

    (void)thread;
    s->rc[item] = woq_tokenizer_encode(s->t, s->text, strlen(s->text), true, &s->ids[item], &err);
}

/* One tokenizer may serve many threads. */
static void test_threads(void **state)
{
    static struct shared s = { .text = "Hello, world! 12345 it's  \n\n word more <a>b supercali" };
    struct woq_error err = { 0 };
    size_t bytes;
    char *json = read_text(GOLDEN "llama3/tokenizer.json", &bytes);

    (void)state;
    assert_int_equal(woq_tokenizer_open(&s.t, json, bytes, NULL, 0, &err), WOQ_OK);
    woq_threads_set(4);
    woq_parallel(64, encode_item, &s);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(s.rc[i], WOQ_OK);
        assert_int_equal(s.ids[i].n, s.ids[0].n);
        assert_memory_equal(s.ids[i].ids, s.ids[0].ids, s.ids[0].n * sizeof(uint32_t));
        if (i)
            woq_ids_release(&s.ids[i]);
    }
    woq_ids_release(&s.ids[0]);
    woq_tokenizer_close(s.t);
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),       cmocka_unit_test(test_variants),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_regex_explodes), cmocka_unit_test(test_bad_text_and_ids),
        cmocka_unit_test(test_config),         cmocka_unit_test(test_clean_up),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
