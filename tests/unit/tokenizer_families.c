/* tokenizer_families.c -- 500 hard strings for each family of tokenizers: ids and decoded texts as
 * the original has them (tests/golden/tokenizers/families.py). */
#include <woq/tokenizer.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDEN "tests/golden/tokenizers/"

static struct woq_json *read_json(const char *path)
{
    struct woq_error err = { 0 };
    struct woq_json *v = NULL;
    char *text = NULL;
    size_t bytes;

    if (woq_file_read(path, 0, &text, &bytes, &err) < 0 ||
        woq_json_parse(&v, text, bytes, &err) < 0)
        fail_msg("%s: %s", path, err.what);
    free(text);
    return v;
}

static bool same_ids(const struct woq_ids *ids, const struct woq_json *want)
{
    size_t i = 0;

    woq_json_each(item, want)
    {
        uint64_t id;

        if (!woq_json_u64(item, &id) || i >= ids->n || ids->ids[i++] != id)
            return false;
    }
    return i == ids->n;
}

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

static void check_file(const char *path)
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
        bad += check_family(t, family, strings, name);
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
    check_file(GOLDEN "byte_level.json");
}

static void test_metaspace(void **state)
{
    (void)state;
    check_file(GOLDEN "metaspace.json");
}

static void test_unigram(void **state)
{
    (void)state;
    check_file(GOLDEN "unigram.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_metaspace),
        cmocka_unit_test(test_unigram),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
