/* moments.c -- sums over chunks of activations, against plain loops in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/moments.h>

enum { WIDTH = 19, TOKENS = 53 };

static float x[TOKENS * WIDTH];

static void fill(void)
{
    uint32_t state = 12345;

    for (size_t i = 0; i < TOKENS * WIDTH; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state / 4e8f * (float)(1 + i % WIDTH); /* channels differ in size */
    }
}

/* Tokens [from, to) of x as an acts frame, numbered from `token0` on. */
static void acts(struct woq_frame *f, size_t from, size_t to, uint64_t token0)
{
    const uint64_t shape[2] = { to - from, WIDTH };
    struct woq_json *meta;

    woq_frame_begin(f, "acts");
    meta = woq_frame_edit(f);
    woq_json_set_num(meta, "block", 2);
    woq_json_set_str(meta, "group", "qkv");
    woq_json_set_str(meta, "of", "q");
    woq_json_set_num(meta, "token0", (double)token0);
    assert_int_equal(woq_frame_add(f, "x", WOQ_F32, 2, shape, x + from * WIDTH, NULL), WOQ_OK);
}

static int take(struct woq_moments *m, enum woq_moment_kind kind, size_t from, size_t to,
                struct woq_error *err)
{
    struct woq_frame f = { 0 };
    int rc;

    acts(&f, from, to, from);
    rc = woq_moments_take(m, kind, &f, err);
    woq_frame_release(&f);
    return rc;
}

static const void *array(const struct woq_frame *f, const char *name)
{
    const struct woq_array *a = woq_frame_array(f, name);

    assert_non_null(a);
    return a->data;
}

static void spans_are(const struct woq_frame *f, const char *want)
{
    char *text = woq_json_print(woq_json_get(f->meta, "spans"), false);

    assert_string_equal(text, want);
    free(text);
}

/* H [WIDTH][WIDTH] of tokens [0, n) within the rounding of n sums in float. */
static void is_hessian(const struct woq_frame *f, size_t n)
{
    const float *h = array(f, "h");

    for (size_t i = 0; i < WIDTH; i++)
        for (size_t j = 0; j < WIDTH; j++) {
            double sum = 0, size = 0;

            for (size_t t = 0; t < n; t++) {
                sum += (double)x[t * WIDTH + i] * (double)x[t * WIDTH + j];
                size += fabs((double)x[t * WIDTH + i] * (double)x[t * WIDTH + j]);
            }
            assert_true(fabs((double)h[i * WIDTH + j] - sum) <= size * (double)n * 6e-8);
            assert_true(h[i * WIDTH + j] == h[j * WIDTH + i]);
        }
    assert_int_equal(*(const uint64_t *)array(f, "n_tokens"), n);
    assert_true(f->flags & WOQ_FRAME_OF);
    assert_string_equal(woq_json_get_str(f->meta, "of"), "q");
    assert_string_equal(woq_json_get_str(f->meta, "group"), "qkv");
    assert_int_equal(woq_json_get_int(f->meta, "block", -1), 2);
}

static void a_hessian_is_the_sum_over_chunks(void **state)
{
    (void)state;
    struct woq_moments m = { 0 };
    struct woq_frame f = { 0 };

    assert_true(woq_moments_is_empty(&m));
    assert_int_equal(take(&m, WOQ_MOMENT_HESS, 0, 20, NULL), WOQ_OK);
    assert_false(woq_moments_is_empty(&m));
    assert_int_equal(take(&m, WOQ_MOMENT_HESS, 20, 21, NULL), WOQ_OK);
    assert_int_equal(take(&m, WOQ_MOMENT_HESS, 21, TOKENS, NULL), WOQ_OK);
    assert_int_equal(woq_moments_emit(&m, WOQ_MOMENT_HESS, &f, NULL), WOQ_OK);
    assert_true(woq_frame_is(&f, "hess"));
    is_hessian(&f, TOKENS);
    spans_are(&f, "[[0,53]]");
    /* The next group starts from nothing. */
    woq_moments_clear(&m);
    assert_true(woq_moments_is_empty(&m));
    assert_int_equal(take(&m, WOQ_MOMENT_HESS, 0, 7, NULL), WOQ_OK);
    assert_int_equal(woq_moments_emit(&m, WOQ_MOMENT_HESS, &f, NULL), WOQ_OK);
    is_hessian(&f, 7);
    spans_are(&f, "[[0,7]]");
    woq_frame_release(&f);
    woq_moments_release(&m);
}

static void statistics_of_each_channel(void **state)
{
    (void)state;
    struct woq_moments m = { 0 };
    struct woq_frame f = { 0 };
    const float *absmax, *mean_abs, *mean_sq;

    assert_int_equal(take(&m, WOQ_MOMENT_STAT, 0, 30, NULL), WOQ_OK);
    assert_int_equal(take(&m, WOQ_MOMENT_STAT, 30, TOKENS, NULL), WOQ_OK);
    assert_int_equal(woq_moments_emit(&m, WOQ_MOMENT_STAT, &f, NULL), WOQ_OK);
    assert_true(woq_frame_is(&f, "stat"));
    absmax = array(&f, "absmax");
    mean_abs = array(&f, "mean_abs");
    mean_sq = array(&f, "mean_sq");
    for (size_t c = 0; c < WIDTH; c++) {
        double max = 0, sum = 0, sum2 = 0;

        for (size_t t = 0; t < TOKENS; t++) {
            const double a = fabs((double)x[t * WIDTH + c]);

            max = a > max ? a : max;
            sum += a;
            sum2 += a * a;
        }
        assert_true(absmax[c] == (float)max);
        assert_true(fabs((double)mean_abs[c] - sum / TOKENS) <= 1e-7 * sum / TOKENS);
        assert_true(fabs((double)mean_sq[c] - sum2 / TOKENS) <= 1e-7 * sum2 / TOKENS);
    }
    assert_int_equal(*(const uint64_t *)array(&f, "n_tokens"), TOKENS);
    woq_frame_release(&f);
    woq_moments_release(&m);
}

static void spans_join_whatever_their_order(void **state)
{
    (void)state;
    static const struct {
        size_t from, to;
        const char *spans;
    } steps[] = {
        { 10, 20, "[[10,20]]" },
        { 40, 50, "[[10,20],[40,50]]" },
        { 25, 30, "[[10,20],[25,30],[40,50]]" },
        { 20, 25, "[[10,30],[40,50]]" },
        { 0, 5, "[[0,5],[10,30],[40,50]]" },
        { 35, 40, "[[0,5],[10,30],[35,50]]" },
        { 5, 10, "[[0,30],[35,50]]" },
        { 30, 35, "[[0,50]]" },
        { 50, 53, "[[0,53]]" },
    };
    struct woq_moments m = { 0 };
    struct woq_frame f = { 0 };

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(take(&m, WOQ_MOMENT_HESS, steps[i].from, steps[i].to, NULL), WOQ_OK);
        assert_int_equal(woq_moments_emit(&m, WOQ_MOMENT_HESS, &f, NULL), WOQ_OK);
        spans_are(&f, steps[i].spans);
    }
    is_hessian(&f, TOKENS);
    woq_frame_release(&f);
    woq_moments_release(&m);
}

static void tokens_count_once(void **state)
{
    (void)state;
    static const size_t overlaps[][2] = { { 10, 20 }, { 5, 11 },  { 19, 25 }, { 0, 53 },
                                          { 12, 15 }, { 29, 31 }, { 34, 36 }, { 20, 31 } };
    struct woq_moments m = { 0 };
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };

    assert_int_equal(take(&m, WOQ_MOMENT_HESS, 10, 20, &err), WOQ_OK);
    assert_int_equal(take(&m, WOQ_MOMENT_HESS, 30, 35, &err), WOQ_OK);
    for (size_t i = 0; i < sizeof overlaps / sizeof *overlaps; i++) {
        char want[96];

        snprintf(want, sizeof want, "tokens %zu to %zu of block 2, group 'qkv' were counted before",
                 overlaps[i][0], overlaps[i][1]);
        assert_int_equal(take(&m, WOQ_MOMENT_HESS, overlaps[i][0], overlaps[i][1], &err),
                         WOQ_EDATA);
        assert_string_equal(err.what, want);
    }
    /* What was refused was not counted. */
    assert_int_equal(woq_moments_emit(&m, WOQ_MOMENT_HESS, &f, &err), WOQ_OK);
    spans_are(&f, "[[10,20],[30,35]]");
    assert_int_equal(*(const uint64_t *)array(&f, "n_tokens"), 15);
    woq_frame_release(&f);
    woq_moments_release(&m);
}

static void parts_merge_into_the_whole(void **state)
{
    (void)state;
    struct woq_moments part[2] = { { 0 }, { 0 } }, sum = { 0 };
    struct woq_frame a = { 0 }, b = { 0 }, got = { 0 };
    struct woq_error err = { 0 };

    assert_int_equal(take(&part[0], WOQ_MOMENT_HESS, 0, 31, &err), WOQ_OK);
    assert_int_equal(take(&part[1], WOQ_MOMENT_HESS, 31, TOKENS, &err), WOQ_OK);
    assert_int_equal(woq_moments_emit(&part[0], WOQ_MOMENT_HESS, &a, &err), WOQ_OK);
    assert_int_equal(woq_moments_emit(&part[1], WOQ_MOMENT_HESS, &b, &err), WOQ_OK);
    assert_int_equal(woq_moments_merge(&sum, &b, &err), WOQ_OK);
    assert_true(woq_moments_match(&sum, &a));
    assert_int_equal(woq_moments_merge(&sum, &a, &err), WOQ_OK);
    assert_int_equal(woq_moments_emit(&sum, WOQ_MOMENT_HESS, &got, &err), WOQ_OK);
    is_hessian(&got, TOKENS);
    spans_are(&got, "[[0,53]]");

    assert_int_equal(woq_moments_merge(&sum, &a, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "tokens 0 to 31 of block 2, group 'qkv' were counted before"));
    woq_moments_clear(&sum);
    assert_int_equal(woq_moments_merge(&sum, &a, &err), WOQ_OK);
    woq_json_set_num(woq_frame_edit(&b), "block", 3);
    assert_false(woq_moments_match(&sum, &b));
    assert_int_equal(woq_moments_merge(&sum, &b, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "partial sums do not match: block 3, group 'qkv', width 19"));
    woq_frame_release(&a);
    woq_frame_release(&b);
    woq_frame_release(&got);
    woq_moments_release(&part[0]);
    woq_moments_release(&part[1]);
    woq_moments_release(&sum);
}

static void what_is_not_finite_is_named(void **state)
{
    (void)state;
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    static const char *const text[] = { "nan", "inf", "-inf" };
    const size_t token = 41, channel = 17;
    float *at = &x[token * WIDTH + channel];
    const float good = *at;

    for (size_t i = 0; i < 3; i++)
        for (int kind = WOQ_MOMENT_HESS; kind <= WOQ_MOMENT_STAT; kind++) {
            struct woq_moments m = { 0 };
            struct woq_error err = { 0 };
            char want[128];

            snprintf(want, sizeof want,
                     "activation of block 2, group 'qkv' is %s at token %zu, channel %zu", text[i],
                     token - 40, channel);
            *at = bad[i];
            assert_int_equal(take(&m, (enum woq_moment_kind)kind, 0, 40, &err), WOQ_OK);
            assert_int_equal(take(&m, (enum woq_moment_kind)kind, 40, TOKENS, &err), WOQ_EDATA);
            assert_string_equal(err.what, want);
            woq_moments_release(&m);
        }
    *at = good;
}

static void chunks_of_other_shapes_are_refused(void **state)
{
    (void)state;
    const uint64_t narrow[2] = { 2, WIDTH - 1 }, none[2] = { 0, WIDTH };
    struct woq_moments m = { 0 };
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };

    assert_int_equal(take(&m, WOQ_MOMENT_STAT, 0, 10, &err), WOQ_OK);
    acts(&f, 10, 12, 10);
    assert_int_equal(woq_frame_add(&f, "x", WOQ_F32, 2, narrow, x, &err), WOQ_OK);
    assert_int_equal(woq_moments_take(&m, WOQ_MOMENT_STAT, &f, &err), WOQ_EDATA);
    assert_string_equal(err.what, "activations are 18 wide, 19 before");
    assert_int_equal(woq_frame_add(&f, "x", WOQ_F32, 2, none, x, &err), WOQ_OK);
    assert_int_equal(woq_moments_take(&m, WOQ_MOMENT_STAT, &f, &err), WOQ_EDATA);
    assert_string_equal(err.what, "acts frame of 0 tokens");
    woq_frame_release(&f);
    woq_moments_release(&m);
}

static int setup(void **state)
{
    (void)state;
    fill();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hessian_is_the_sum_over_chunks),
        cmocka_unit_test(statistics_of_each_channel),
        cmocka_unit_test(spans_join_whatever_their_order),
        cmocka_unit_test(tokens_count_once),
        cmocka_unit_test(parts_merge_into_the_whole),
        cmocka_unit_test(what_is_not_finite_is_named),
        cmocka_unit_test(chunks_of_other_shapes_are_refused),
    };
    return cmocka_run_group_tests_name("moments", tests, setup, NULL);
}
