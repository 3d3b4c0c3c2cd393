/* GGML blocks against the worked examples of formats.md 3.3 and against blocks of the PyPI package
 * gguf (tests/golden/ggml_encode/make.py), byte for byte; codes of a QTEN against the formulas. */
#include <formats/ggml_encode.h>
#include <formats/ggml_grid.h>
#include <formats/ggml_search.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/util.h>

#include <cmocka.h>

/* Those of the reference quantizers, in the order of the golden file. */
static const char *const plain[] = { "Q4_0", "Q4_1",  "Q5_0",  "Q5_1",
                                     "Q8_0", "TQ1_0", "TQ2_0", "BF16" };
#define N_PLAIN (sizeof plain / sizeof plain[0])

static const struct woq_ggml_type *type_of(const char *name)
{
    const struct woq_ggml_type *type = woq_ggml_type_by_name(name);

    assert_non_null(type);
    assert_true(woq_ggml_can_encode(type));
    return type;
}

static size_t bytes_of(const struct woq_ggml_type *type, size_t n)
{
    size_t bytes;

    assert_true(woq_ggml_row_bytes(type, n, &bytes));
    return bytes;
}

static void hex(char *out, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sprintf(out + 2 * i, "%02x", b[i]);
}

static void worked_examples(void **state)
{
    static const char *const want[][2] = {
        { "Q4_0", "0034809191a2a2b3b3c4c4d5d5e6e6f7f7f8" },
        { "Q4_1", "223400c080809191a2a2b3b3c4c4d5d5e6e6f7f7" },
        { "Q5_0", "00300000ffff00112233445566778899aabbccddeeff" },
        { "Q5_1", "003000c00000ffff00112233445566778899aabbccddeeff" },
        { "Q8_0", "082481899199a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f77" },
        { "MXFP4", "7e0e0e1d1d2d2d3c3c4c4b4b5a5a595960" },
    };
    float x[32];
    uint8_t b[34];
    char text[80];

    (void)state;
    for (int i = 0; i < 32; i++)
        x[i] = (float)(i - 16) / 8;
    for (size_t t = 0; t < sizeof want / sizeof want[0]; t++) {
        assert_true(woq_ggml_encode(b, type_of(want[t][0]), x, NULL, 32));
        hex(text, b, bytes_of(type_of(want[t][0]), 32));
        assert_string_equal(text, want[t][1]);
    }
}

static void golden(void **state)
{
    struct woq_error err = { 0 };
    char *data, path[512];
    const char *repo = getenv("REPO");
    uint32_t size[2];
    size_t bytes, n;
    const float *x;
    uint8_t *got;

    (void)state;
    snprintf(path, sizeof path, "%s/tests/golden/ggml_encode/blocks.bin", repo ? repo : ".");
    if (woq_file_read(path, 0, &data, &bytes, &err) != WOQ_OK)
        fail_msg("%s", err.what);
    memcpy(size, data, 8);
    n = (size_t)size[0] * size[1];
    x = (const float *)(const void *)(data + 8);
    const uint8_t *want = (const uint8_t *)(x + n);
    got = malloc(n * 4);
    assert_non_null(got);
    for (size_t t = 0; t < N_PLAIN; t++) {
        const struct woq_ggml_type *type = type_of(plain[t]);
        const size_t row = bytes_of(type, size[1]);
        for (size_t r = 0; r < size[0]; r++) {
            assert_true(woq_ggml_encode(got + r * row, type, x + r * size[1], NULL, size[1]));
            if (memcmp(got + r * row, want + r * row, row) != 0)
                fail_msg("%s: row %zu differs", plain[t], r);
        }
        want += row * size[0];
    }
    assert_int_equal((const char *)want - data, bytes);
    free(got);
    free(data);
}

static double row_error(const struct woq_ggml_type *type, const float *x, const float *importance,
                        size_t n)
{
    static uint8_t b[4096];
    static float y[1024];
    double err = 0;

    assert_true(n <= 1024);
    assert_true(woq_ggml_encode(b, type, x, importance, n));
    type->decode(y, b, n / type->block_elems);
    for (size_t i = 0; i < n; i++) {
        const double d = (double)x[i] - (double)y[i];
        err += (importance ? (double)importance[i] : 1.0) * d * d;
    }
    return err;
}

/* Against what llama.cpp leaves on the same rows: less on the whole, and on no row much more. Its
 * Q4_0 to Q5_1 without an importance are ours byte for byte, so equal up to the sum. */
static void errors_are_no_larger_than_ggmls(void **state)
{
    struct woq_error err = { 0 };
    char *data, path[512];
    const char *repo = getenv("REPO");
    uint32_t size[3];
    size_t bytes;

    (void)state;
    snprintf(path, sizeof path, "%s/tests/golden/ggml_search/cases.bin", repo ? repo : ".");
    if (woq_file_read(path, 0, &data, &bytes, &err) != WOQ_OK)
        fail_msg("%s", err.what);
    assert_true(bytes > sizeof size);
    memcpy(size, data, sizeof size);
    const float *x = (const float *)(const void *)(data + 12), *imp = x + size[0] * size[1];
    const char *at = (const char *)(imp + size[1]);
    for (size_t t = 0; t < size[2]; t++) {
        uint32_t id;
        memcpy(&id, at, 4);
        at += 4;
        for (int seeing = 1; seeing >= 0; seeing--) {
            const struct woq_ggml_type *type = woq_ggml_type(id);
            double log_ratio = 0;
            for (size_t r = 0; r < size[0]; r++, at += 8) {
                double theirs;
                memcpy(&theirs, at, 8);
                const double ours = row_error(type, x + r * size[1], seeing ? imp : NULL, size[1]);
                log_ratio += log(ours / theirs) / size[0];
                if (ours > 1.1 * theirs)
                    fail_msg("%s row %zu: error %g, ggml's is %g", type->name, r, ours, theirs);
            }
            if (log_ratio > 1e-6)
                fail_msg("%s: errors are %g times those of ggml", type->name, exp(log_ratio));
            print_message("# %-6s %s importance: %.4f of ggml's error\n", type->name,
                          seeing ? "with an" : "without", exp(log_ratio));
        }
    }
    assert_int_equal(at - data, bytes);
    free(data);
}

/* Weights that were Q4_1 once, its scale and minimum in f16, lie on sixteen levels of 5 bits again,
 * whatever their importance, and to the last bit. */
static void sixteen_levels_are_found_again(void **state)
{
    static const char *const names[] = { "Q4_1", "Q5_1" };
    float x[1024], importance[1024];

    (void)state;
    for (size_t i = 0; i < 1024; i++) {
        const size_t block = i / 32, code = i % 32 < 2 ? 15 * (i % 2) : i * i * 7 / 3 % 16;

        x[i] =
            (float)(1025 + 74 * (block % 5)) / 65536 * (float)code - (float)(1501 + block) / 16384;
        importance[i] = (float)(1 + i * 37 % 101) / 10;
    }
    for (size_t t = 0; t < 2; t++)
        assert_true(row_error(type_of(names[t]), x, importance, 1024) == 0);
}

static void refuses_what_is_not_finite(void **state)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY, 3e38f };
    uint8_t b[4 * 256];
    float x[256];

    (void)state;
    for (size_t k = 0; k < 4; k++) {
        for (int i = 0; i < 256; i++)
            x[i] = (float)(i % 32);
        x[7] = bad[k];
        for (uint32_t id = 0; id < 43; id++) {
            const struct woq_ggml_type *type = woq_ggml_type(id);
            const bool holds = id == WOQ_GGML_F32 || id == WOQ_GGML_BF16 || id == WOQ_GGML_MXFP4;
            if (type && woq_ggml_can_encode(type))
                assert_int_equal(woq_ggml_encode(b, type, x, NULL, 256), holds && k == 3);
        }
    }
}

/* A scale whose reciprocal overflows: every value is 0 in the type, and so are the codes. */
static void tiny_scales(void **state)
{
    uint8_t b[34];
    float x[32];

    (void)state;
    for (int i = 0; i < 32; i++)
        x[i] = i == 3 ? 1e-44f : 0;
    assert_true(woq_ggml_encode(b, type_of("Q8_0"), x, NULL, 32));
    for (size_t i = 0; i < 34; i++)
        assert_int_equal(b[i], 0);
    assert_true(woq_ggml_encode(b, type_of("Q4_0"), x, NULL, 32));
    for (size_t i = 2; i < 18; i++)
        assert_int_equal(b[i], 0x88);
}

static float half(const uint8_t *at)
{
    float x;
    woq_to_f32(&x, at, WOQ_F16, 1);
    return x;
}

static void codes_keep_their_grid(void **state)
{
    uint8_t codes[2 * 128], b[4 * 34];
    float scale[2 * 2] = { 0.5f, -0.25f, 2, 0 }, zero[2 * 2] = { 8, 8, 8, 8 };
    struct woq_qview q = { .n_rows = 2,
                           .n_cols = 128,
                           .n_groups = 2,
                           .group_elems = 64,
                           .bits = 4,
                           .group_dim = 1,
                           .codes = codes,
                           .scale = scale,
                           .zero = zero };
    struct woq_error err = { 0 };
    const struct woq_ggml_type *type;

    (void)state;
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)(i * 7 % 16);
    assert_int_equal(woq_ggml_grid(&q, &type, &err), WOQ_OK);
    assert_int_equal(type->id, WOQ_GGML_Q4_0);
    assert_true(woq_ggml_encode_codes(b, type, &q, 0));
    for (size_t i = 0; i < 128; i++) {
        const uint8_t *at = b + i / 32 * 18, byte = at[2 + i % 16];
        assert_int_equal(byte >> (i % 32 / 16 * 4) & 15, codes[i]);
        assert_true(half(at) == scale[i / 64]);
    }
    zero[1] = 3;
    assert_int_equal(woq_ggml_grid(&q, &type, &err), WOQ_OK);
    assert_int_equal(type->id, WOQ_GGML_Q4_1);
    assert_true(woq_ggml_encode_codes(b, type, &q, 0));
    assert_true(half(b) == 0.5f && half(b + 2) == -4.0f);
    assert_true(half(b + 40) == -0.25f && half(b + 42) == 0.75f);
    assert_true(woq_ggml_encode_codes(b, type, &q, 1)); /* the zero scale stays usable */
    assert_true(half(b + 40) > 0);
    q.bits = 8;
    q.zero = NULL;
    assert_int_equal(woq_ggml_grid(&q, &type, &err), WOQ_OK);
    assert_int_equal(type->id, WOQ_GGML_Q8_0);
    assert_true(woq_ggml_encode_codes(b, type, &q, 0));
    for (size_t i = 0; i < 32; i++)
        assert_int_equal((int8_t)b[2 + i], codes[i] - 128);
    scale[0] = 70000;
    assert_false(woq_ggml_encode_codes(b, type, &q, 0));
}

static void grids_that_do_not_fit(void **state)
{
    static const uint8_t codes[64];
    static const float scale[64] = { 1 }, lut[16] = { 0 };
    const struct woq_qview good = { .n_rows = 1,
                                    .n_cols = 64,
                                    .n_groups = 1,
                                    .group_elems = 64,
                                    .bits = 4,
                                    .group_dim = 1,
                                    .codes = codes,
                                    .scale = scale };
    struct woq_qview bad[6] = { good, good, good, good, good, good };
    const float zero[1] = { 5 };
    const int32_t g_idx[64] = { 0 };
    struct woq_error err = { 0 };
    const struct woq_ggml_type *type;

    (void)state;
    assert_int_equal(woq_ggml_grid(&good, &type, &err), WOQ_OK);
    bad[0].bits = 3;
    bad[1].lut = lut;
    bad[2].group_dim = 0;
    bad[3].g_idx = g_idx;
    bad[4].n_groups = 4;
    bad[4].group_elems = 16;
    bad[5].bits = 8;
    bad[5].zero = zero;
    for (size_t i = 0; i < 6; i++) {
        memset(&err, 0, sizeof err);
        assert_int_equal(woq_ggml_grid(&bad[i], &type, &err), WOQ_ETYPE);
        assert_true(err.what[0] && err.hint[0]);
    }
}

static void scales_stay_divisible(void **state)
{
    static const float in[] = { 0, -0.0f, 1e-9f, -1e-9f, 1, -65504, 6e-8f };
    static const uint16_t want[] = { 0x0001, 0x8001, 0x0001, 0x8001, 0x3c00, 0xfbff, 0x0001 };
    static const float bad[] = { NAN, INFINITY, 65520, -1e6f };
    uint16_t out[7];

    (void)state;
    assert_true(woq_scales_to_f16(out, in, 7));
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(out[i], want[i]);
    for (size_t i = 0; i < 4; i++)
        assert_false(woq_scales_to_f16(out, &bad[i], 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_examples),
        cmocka_unit_test(golden),
        cmocka_unit_test(errors_are_no_larger_than_ggmls),
        cmocka_unit_test(sixteen_levels_are_found_again),
        cmocka_unit_test(refuses_what_is_not_finite),
        cmocka_unit_test(tiny_scales),
        cmocka_unit_test(codes_keep_their_grid),
        cmocka_unit_test(grids_that_do_not_fit),
        cmocka_unit_test(scales_stay_divisible),
    };
    return cmocka_run_group_tests_name("ggml_encode", tests, NULL, NULL);
}
