/* text.c -- regular expressions, UTF-8 and character properties, sampling of tokens. */
#include <woq/regex.h>
#include <woq/tokens.h>
#include <woq/unicode.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct woq_regex *compile(const char *pattern, enum woq_regex_syntax syntax)
{
    struct woq_regex *re = NULL;
    struct woq_error err = { 0 };

    if (woq_regex_open(&re, pattern, strlen(pattern), syntax, &err) < 0)
        fail_msg("%s: %s", pattern, err.what);
    return re;
}

static void test_search(void **state)
{
    struct woq_regex *re = compile("^model\\.layers\\.[0-3]\\..*proj", WOQ_REGEX_PCRE);
    struct woq_error err = { 0 };

    (void)state;
    assert_int_equal(woq_regex_search(re, "model.layers.2.mlp.up_proj.weight", &err), 1);
    assert_int_equal(woq_regex_search(re, "model.layers.4.mlp.up_proj.weight", &err), 0);
    assert_int_equal(woq_regex_search(re, "", &err), 0);
    assert_int_equal(woq_regex_search(re, "\xff", &err), WOQ_EDATA);
    woq_regex_close(re);
    re = NULL;
    assert_int_equal(woq_regex_open(&re, "a(b", 3, WOQ_REGEX_PCRE, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "'a(b', byte 3: "));
    assert_null(re);
}

/* [start, end) of each match, as "0-1 3-4". */
static void matches(const char *pattern, const char *text, const char *want)
{
    struct woq_regex *re = compile(pattern, WOQ_REGEX_ONIGURUMA);
    struct woq_match *m = NULL;
    struct woq_error err = { 0 };
    struct woq_str got = { 0 };
    size_t start, end, from = 0;

    assert_int_equal(woq_match_open(&m, &err), WOQ_OK);
    while (from <= strlen(text) &&
           woq_regex_match(re, m, text, strlen(text), from, &start, &end, &err) == WOQ_ITEM) {
        woq_str_addf(&got, "%s%zu-%zu", got.len ? " " : "", start, end);
        from = end > start ? end : end + 1;
    }
    if (strcmp(got.s ? got.s : "", want) != 0)
        fail_msg("%s on '%s': got '%s', want '%s'", pattern, text, got.s ? got.s : "", want);
    woq_str_release(&got);
    woq_match_close(m);
    woq_regex_close(re);
}

/* Where PCRE2 by itself would answer otherwise. */
static void test_oniguruma(void **state)
{
    (void)state;
    matches("\\s",
            "a\u180eb\xc2\x85"
            "c",
            "5-7"); /* U+180E is no space since Unicode 6.3 */
    matches("[\\S]+", "a\u180eb c", "0-5 6-7");
    matches("\\w+", "e\u0301\u203f\u00b2\u24b6",
            "0-6 8-11"); /* marks and connectors are, U+00B2 not */
    matches("\\h+", "xa0Fg", "1-4");
    matches("^b$", "a\nb\nc", "2-3"); /* line anchors */
    matches("(?m:a.b)", "a\nb", "0-3");
    matches("a.b", "a\nb", "");
    matches("[a[b\\d]]+", "xab1y", "1-4");
    matches("a{,2}b", "aaab", "1-4");
    matches("\\u0041", "xA", "1-2");
    matches("(?i:s)", "S\u017f", "0-1 1-3");
    matches("\\p{Han}", "\u4e2d\u3001", "0-3"); /* the script, not its extensions */
    matches("\\p{^L}", "a1", "1-2");
    matches("\\p{Letter}", "1a", "1-2");
}

static void test_oniguruma_refused(void **state)
{
    static const char *const bad[] = { "[a&&b]", "[a[^b]]", "(?~a)", "[\\W]",   "\\Ka", "\\p{Lu",
                                       "\\",     "[a",      "\\u12", "(*FAIL)", "\\pL" };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct woq_regex *re = NULL;
        struct woq_error err = { 0 };

        if (woq_regex_open(&re, bad[i], strlen(bad[i]), WOQ_REGEX_ONIGURUMA, &err) !=
            WOQ_EUNSUPPORTED)
            fail_msg("%s: %s", bad[i], err.what);
        assert_null(re);
    }
}

static void test_utf8(void **state)
{
    static const struct {
        const char *text;
        size_t valid, bad; /* first bad byte, length of its maximal subpart */
    } cases[] = {
        { "abc", 3, 0 },
        { "0123456789\xe4\xbd\xa0", 13, 0 },
        { "\xf4\x8f\xbf\xbf", 4, 0 },
        { "a\x80", 1, 1 },
        { "0123456789\xff", 10, 1 },
        { "\xc0\x80", 0, 1 },     /* overlong */
        { "\xe0\x9f\xbf", 0, 1 }, /* overlong */
        { "\xed\xa0\x80", 0, 1 }, /* surrogate */
        { "\xf4\x90\x80\x80", 0, 1 },
        { "\xe4\xbd", 0, 2 }, /* cut */
        { "\xf0\x9f\x98", 0, 3 },
        { "\xf0\x9f\x98z", 0, 3 },
        { "\xf5\x80", 0, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *s = cases[i].text;
        const size_t n = strlen(s);

        assert_int_equal(woq_utf8_valid(s, n), cases[i].valid);
        if (cases[i].valid < n)
            assert_int_equal(woq_utf8_bad_bytes(s + cases[i].valid, n - cases[i].valid),
                             cases[i].bad);
    }
    for (uint32_t cp = 1; cp < 0x110000; cp += cp < 0x900 ? 1 : 0x101) {
        char buf[4];
        size_t n, got;

        if (cp >= 0xd800 && cp < 0xe000)
            continue;
        n = woq_utf8_put(buf, cp);
        assert_int_equal(woq_utf8_valid(buf, n), n);
        assert_int_equal(woq_utf8_get(buf, &got), cp);
        assert_int_equal(got, n);
    }
}

static void test_properties(void **state)
{
    (void)state;
    assert_true(woq_cp_is_space(0x85) && woq_cp_is_space(0xa0) && woq_cp_is_space(0x2028));
    assert_true(woq_cp_is_space(0x3000) && woq_cp_is_space('\v'));
    assert_false(woq_cp_is_space(0x1c) || woq_cp_is_space(0x200b) || woq_cp_is_space(0x180e));
    assert_true(woq_cp_is_word(0x2167) && woq_cp_is_word(0xaa) && woq_cp_is_word(0x301));
    assert_true(woq_cp_is_word(0x200c) && woq_cp_is_word('_') && woq_cp_is_word(0x24b6));
    assert_false(woq_cp_is_word(0xbd) || woq_cp_is_word(0xb2) || woq_cp_is_word('-'));
    assert_true(woq_cp_is_numeric(0xbd) && woq_cp_is_numeric(0x2167) && woq_cp_is_numeric('7'));
    assert_true(woq_cp_is_punct('$') && woq_cp_is_punct('_') && woq_cp_is_punct(0x2026));
    assert_false(woq_cp_is_punct(0) || woq_cp_is_punct('a') || woq_cp_is_punct(0x20ac));
}

static void test_forms(void **state)
{
    static const struct {
        enum woq_form form;
        const char *text, *want;
    } cases[] = {
        { WOQ_NFC, "plain", "plain" },         { WOQ_NFC, "e\u0301", "\xc3\xa9" },
        { WOQ_NFD, "\xc3\xa9", "e\u0301" },    { WOQ_NFC, "\u212b", "\u00c5" },
        { WOQ_NFKC, "\ufb01 \u00b2", "fi 2" }, { WOQ_NFKD, "\u1e9b\u0323", "s\u0323\u0307" },
        { WOQ_NFC, "\ufb01", "\ufb01" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct woq_str out = { 0 };
        struct woq_error err = { 0 };
        const char *s = cases[i].text;

        assert_int_equal(woq_utf8_normalize(&out, s, strlen(s), cases[i].form, &err), WOQ_OK);
        assert_string_equal(out.s, cases[i].want);
        woq_str_release(&out);
    }
}

static void test_samples(void **state)
{
    struct woq_error err = { 0 };
    size_t a[1000], b[1000], low = 0;

    (void)state;
    assert_int_equal(woq_sample_starts(a, 1000, 110, 11, 9, &err), WOQ_OK);
    assert_int_equal(woq_sample_starts(b, 1000, 110, 11, 9, &err), WOQ_OK);
    assert_memory_equal(a, b, sizeof(a));
    for (size_t i = 0; i < 1000; i++) {
        assert_true(a[i] <= 99);
        low += a[i] < 50;
    }
    assert_true(low > 400 && low < 600);
    assert_int_equal(woq_sample_starts(a, 5, 11, 11, 9, &err), WOQ_OK);
    assert_int_equal(a[4], 0);
    assert_int_equal(woq_sample_starts(a, 5, 10, 11, 9, &err), WOQ_EDATA);
    assert_string_equal(err.what, "the text has 10 tokens, a sample needs 11");
    /* SplitMix64 from seed 0 begins e220a8397b1dcdaf (its authors' test vector). */
    assert_int_equal(woq_sample_starts(a, 1, 1000, 1, 0, &err), WOQ_OK);
    assert_int_equal(a[0], 0xe220a8397b1dcdafu % 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_oniguruma),
        cmocka_unit_test(test_oniguruma_refused),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_samples),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
