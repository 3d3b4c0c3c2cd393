/* spill.c -- rows in memory and in a file are the same rows; what a full or closed folder says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <woq/spill.h>

enum { ROWS = 1000, WIDTH = 37 };

static void put_and_get(struct woq_spill *s, size_t n_rows, size_t width, uint32_t seed)
{
    uint32_t *rows = malloc(n_rows * width * sizeof *rows), *back = malloc(width * sizeof *back);
    const size_t half = n_rows / 2;

    for (size_t i = 0; i < n_rows * width; i++)
        rows[i] = (uint32_t)i * 2654435761u + seed;
    assert_int_equal(woq_spill_begin(s, n_rows, width * sizeof *rows, NULL), 0);
    assert_int_equal(woq_spill_put(s, half, n_rows - half, rows + half * width, NULL), 0);
    assert_int_equal(woq_spill_put(s, 0, half, rows, NULL), 0);
    for (size_t r = 0; r < n_rows; r++) {
        assert_int_equal(woq_spill_get(s, r, 1, back, NULL), 0);
        assert_memory_equal(back, rows + r * width, width * sizeof *rows);
    }
    free(back);
    free(rows);
}

/* Budgets around the size; sizes that grow and shrink, in memory and in the file by turns. */
static void test_round_trip(void **unused)
{
    const size_t bytes = ROWS * WIDTH * sizeof(uint32_t);

    (void)unused;
    for (size_t budget = bytes - 1; budget <= bytes; budget++) {
        struct woq_spill *s;

        assert_int_equal(woq_spill_open(&s, budget, NULL), 0);
        put_and_get(s, ROWS, WIDTH, 1);
        put_and_get(s, ROWS, 2 * WIDTH, 2);
        put_and_get(s, 3, WIDTH, 3);
        put_and_get(s, 2 * ROWS, 2 * WIDTH, 4);
        put_and_get(s, ROWS, WIDTH, 5);
        woq_spill_close(s);
    }
    woq_spill_close(NULL);
}

static void test_no_folder(void **unused)
{
    struct woq_error err = { 0 };
    struct woq_spill *s;

    (void)unused;
    setenv("TMPDIR", "/nowhere/at/all", 1);
    assert_int_equal(woq_spill_open(&s, 100, &err), 0);
    assert_int_equal(woq_spill_begin(s, 10, 10, &err), 0); /* memory: no folder is needed */
    assert_int_equal(woq_spill_begin(s, 10, 11, &err), WOQ_ESYS);
    assert_non_null(strstr(err.what, "temporary file in '/nowhere/at/all'"));
    assert_non_null(strstr(err.hint, "TMPDIR"));
    woq_spill_close(s);
    unsetenv("TMPDIR");
}

/* No file may grow beyond 64 KiB: the same way out as a full disk. */
static void test_no_room(void **unused)
{
    const struct rlimit small = { 65536, RLIM_INFINITY };
    struct rlimit before;
    struct woq_error err = { 0 };
    struct woq_spill *s;

    (void)unused;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(woq_spill_open(&s, 0, &err), 0);
    put_and_get(s, 10, 100, 1);
    assert_int_equal(woq_spill_begin(s, 20, 4096, &err), WOQ_ESYS);
    assert_non_null(strstr(err.what, "can't reserve 1 MiB for a temporary file in '"));
    assert_non_null(strstr(err.hint, "more room"));
    assert_int_equal(woq_spill_begin(s, SIZE_MAX / 2, 4096, &err), WOQ_ENOMEM);
    woq_spill_close(s);
    setrlimit(RLIMIT_FSIZE, &before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
