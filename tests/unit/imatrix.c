/* Importance matrices: what llama-imatrix wrote (tests/golden/imatrix), our own there and back in
 * both forms, and damage. */
#include <formats/imatrix.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void path_of(char path[512], const char *name)
{
    const char *repo = getenv("REPO");

    snprintf(path, 512, "%s/tests/golden/imatrix/%s", repo ? repo : ".", name);
}

static void reads_both_forms_of_llama_imatrix(void **state)
{
    static const char *const files[] = { "two.gguf", "two.dat" };
    char path[512], name[64];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct woq_error err = { 0 };
        struct woq_imatrix m;
        size_t n, n_tokens, seen = 0;
        FILE *f;
        path_of(path, files[i]);
        if (woq_imatrix_open(&m, path, &err) != WOQ_OK)
            fail_msg("%s", err.what);
        assert_int_equal(m.n_entries, 2);
        assert_string_equal(m.dataset, "calibration text");
        path_of(path, "means.txt");
        assert_non_null(f = fopen(path, "re"));
        for (; fscanf(f, "%63s %zu %zu", name, &n, &n_tokens) == 3; seen++) {
            const struct woq_imatrix_entry *e = woq_imatrix_get(&m, name);
            assert_non_null(e);
            assert_int_equal(e->n, n);
            assert_int_equal(e->n_mats, 1);
            if (i == 0)
                assert_int_equal(e->n_tokens, n_tokens);
            for (size_t k = 0; k < 8; k++) {
                double want;
                assert_int_equal(fscanf(f, "%lf", &want), 1);
                assert_true(fabs((double)e->mean_sq[k] - want) <= 1e-6 * want);
            }
        }
        assert_int_equal(seen, 2);
        fclose(f);
        woq_imatrix_release(&m);
    }
}

static void make(struct woq_imatrix *m)
{
    static const float a[4] = { 1, 0.5f, 0, 3 }, b[2][3] = { { 1, 2, 3 }, { 4, 5, 6 } };
    struct woq_error err = { 0 };

    memset(m, 0, sizeof *m);
    assert_int_equal(woq_imatrix_add(m, "z", &b[0][0], 3, 2, 2048, &err), WOQ_OK);
    assert_int_equal(woq_imatrix_add(m, "a", a, 4, 1, 1024, &err), WOQ_OK);
    assert_int_equal(woq_imatrix_add(m, "a", a, 4, 1, 1, &err), WOQ_EDATA);
    m->dataset = strdup("text");
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    for (int gguf = 0; gguf < 2; gguf++) {
        struct woq_imatrix m, back;
        struct woq_str out = { 0 };
        struct woq_error err = { 0 };
        const struct woq_imatrix_entry *e;
        make(&m);
        assert_int_equal((gguf ? woq_imatrix_write_gguf : woq_imatrix_write_dat)(&m, &out, &err),
                         WOQ_OK);
        if (woq_imatrix_parse(&back, out.s, out.len, &err) != WOQ_OK)
            fail_msg("%s", err.what);
        assert_int_equal(back.n_entries, 2);
        assert_string_equal(back.dataset, "text");
        assert_int_equal(woq_imatrix_chunks(&back), 4);
        assert_non_null(e = woq_imatrix_get(&back, "a"));
        assert_int_equal(e->n, 4);
        for (size_t i = 0; i < 4; i++)
            assert_true(e->mean_sq[i] == woq_imatrix_get(&m, "a")->mean_sq[i]);
        assert_non_null(e = woq_imatrix_get(&back, "z"));
        assert_int_equal(e->n * e->n_mats, 6);
        assert_int_equal(e->n_tokens, 2048);
        for (size_t i = 0; i < 6; i++)
            assert_true(e->mean_sq[i] == (float)i + 1);
        woq_imatrix_release(&back);
        /* every cut is an error, except behind the entries of the binary form or in the padding */
        for (size_t n = 0; n < out.len; n++) {
            const bool whole = gguf ? n + 32 > out.len : n == out.len - 12;
            char *cut = malloc(n + 1);
            assert_non_null(cut);
            memcpy(cut, out.s, n);
            const int rc = woq_imatrix_parse(&back, cut, n, &err);
            if (rc == WOQ_OK && !whole)
                fail_msg("cut at %zu of %zu was taken", n, out.len);
            woq_imatrix_release(&back);
            free(cut);
        }
        woq_str_release(&out);
        woq_imatrix_release(&m);
    }
}

static void refuse(const void *data, size_t bytes, const char *what)
{
    struct woq_error err = { 0 };
    struct woq_imatrix m;

    assert_true(woq_imatrix_parse(&m, data, bytes, &err) < 0);
    if (!strstr(err.what, what))
        fail_msg("'%s', want '%s'", err.what, what);
    assert_int_equal(m.n_entries, 0);
}

static void put(uint8_t **at, const void *data, size_t n)
{
    memcpy(*at, data, n);
    *at += n;
}

/* One entry of the binary form, called "w". */
static size_t entry(uint8_t buf[64], int32_t n_entries, int32_t n_calls, int32_t n, float value)
{
    uint8_t *at = buf;

    put(&at, &n_entries, 4);
    put(&at, (int32_t[]){ 1 }, 4);
    put(&at, "w", 1);
    put(&at, &n_calls, 4);
    put(&at, &n, 4);
    put(&at, &value, 4);
    return (size_t)(at - buf);
}

static void refuses_damage(void **state)
{
    uint8_t b[64];
    struct woq_imatrix m;
    struct woq_error err = { 0 };

    (void)state;
    assert_int_equal(woq_imatrix_parse(&m, b, entry(b, 1, 4, 1, 2.0f), &err), WOQ_OK);
    assert_true(m.entries[0].mean_sq[0] == 0.5f && m.entries[0].n_tokens == 4 * 512);
    woq_imatrix_release(&m);
    assert_int_equal(woq_imatrix_parse(&m, b, entry(b, 1, 0, 1, 2.0f), &err), WOQ_OK);
    assert_true(m.entries[0].mean_sq[0] == 2.0f); /* no calls: as it is */
    woq_imatrix_release(&m);
    refuse("", 0, "no imatrix file");
    refuse("\0\0\0\0", 4, "no imatrix file");
    refuse("hello, world", 12, "impossible count");
    refuse(b, entry(b, -1, 1, 1, 1.0f), "no imatrix file");
    refuse(b, entry(b, 2, 1, 1, 1.0f), "cut short");
    refuse(b, entry(b, 1, 1, 0, 1.0f), "without values");
    refuse(b, entry(b, 1, 1, -1, 1.0f), "impossible count");
    refuse(b, entry(b, 1, 1, 0x7fffffff, 1.0f), "impossible count");
    refuse(b, entry(b, 1, 1, 1, NAN), "value 0 of 'w' is nan, want 0 or more");
    refuse(b, entry(b, 1, 1, 1, -1.0f), "want 0 or more");
    refuse(b, entry(b, 1, 1, 1, 1.0f) + 3, "what follows the entries");
    refuse("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, "general.type is not 'imatrix'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_both_forms_of_llama_imatrix),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(refuses_damage),
    };
    return cmocka_run_group_tests_name("imatrix", tests, NULL, NULL);
}
