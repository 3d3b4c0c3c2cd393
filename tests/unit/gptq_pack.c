/* The bit layout of GPTQ against the worked examples of formats.md 4.a and a packer that knows only
 * "value i is at bit i*bits of a little-endian bit string". */
#include <formats/gptq_pack.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants the four above before it */
#include <cmocka.h>
#include <woq/util.h>

static uint32_t lcg(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* One output, n codes: the words of its column. */
static void expect_words(const uint8_t *codes, size_t n, int bits, const uint32_t *want)
{
    const size_t n_words = n * (size_t)bits / 32;
    /* 32 outputs: the codes are in output 5, the others are 0 */
    uint8_t *all = calloc(32, n);
    uint32_t *words = calloc(32, n_words * 4);

    assert_non_null(all);
    assert_non_null(words);
    memcpy(all + 5 * n, codes, n);
    woq_gptq_pack_weight(words, all, 32, n, bits);
    for (size_t i = 0; i < n_words; i++)
        for (size_t o = 0; o < 32; o++)
            assert_int_equal(words[i * 32 + o], o == 5 ? want[i] : 0);
    free(all);
    free(words);
}

static void worked_examples(void **state)
{
    static const uint8_t q4[16] = { 5, 8, 11, 14, 1, 4, 7, 10, 13, 0, 3, 6, 9, 12, 15, 2 };
    static const uint32_t w4[4] = { 0xa741eb85, 0x2fc9630d, 0xa741eb85, 0x2fc9630d };
    static const uint8_t q3[8] = { 5, 0, 3, 6, 1, 4, 7, 2 };
    static const uint32_t w3[3] = { 0xc55e1cc5, 0x1cc55e1c, 0x5e1cc55e };
    static const uint8_t q2[4] = { 1, 0, 3, 2 };
    static const uint32_t w2[2] = { 0xb1b1b1b1, 0xb1b1b1b1 };
    static const uint8_t q8[4] = { 11, 48, 85, 122 };
    uint8_t codes[32];
    uint32_t w8[8];

    (void)state;
    for (size_t i = 0; i < 32; i++)
        codes[i] = q4[i % 16];
    expect_words(codes, 32, 4, w4);
    for (size_t i = 0; i < 32; i++)
        codes[i] = q3[i % 8];
    expect_words(codes, 32, 3, w3);
    for (size_t i = 0; i < 32; i++)
        codes[i] = q2[i % 4];
    expect_words(codes, 32, 2, w2);
    for (size_t i = 0; i < 32; i++)
        codes[i] = q8[i % 4];
    for (size_t i = 0; i < 8; i++)
        memcpy(&w8[i], "\x0b\x30\x55\x7a", 4);
    expect_words(codes, 32, 8, w8);
}

static void sym_zero_words(void **state)
{
    static const struct {
        int bits;
        uint8_t v1[3], v2;
    } rows[] = { { 2, { 0x55, 0x55, 0x55 }, 0xaa },
                 { 3, { 0xdb, 0xb6, 0x6d }, 0 },
                 { 4, { 0x77, 0x77, 0x77 }, 0x88 },
                 { 8, { 0x7f, 0x7f, 0x7f }, 0x80 } };
    uint32_t words[8];
    size_t n_null, bad;

    (void)state;
    for (size_t r = 0; r < 4; r++) {
        const size_t bytes = 4 * (size_t)rows[r].bits;
        const uint8_t *b = (const uint8_t *)words;
        assert_true(woq_gptq_pack_zeros(words, NULL, 32, 1, rows[r].bits, true, &n_null, &bad));
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(b[i], rows[r].v1[i % 3]);
        woq_gptq_zeros_to_v2(words, bytes / 4, rows[r].bits);
        for (size_t i = 0; i < bytes && rows[r].v2; i++)
            assert_int_equal(b[i], rows[r].v2);
        assert_int_equal(n_null, 0);
    }
}

/* formats.md: zeros {8,7,0,15,1,2,3,4}: v2 word 4321f078, per-field v1 3210ef67. */
static void asym_zero_words(void **state)
{
    static const float z[8] = { 8, 7, 0, 15, 1, 2, 3, 4 };
    float zero[32], back[32];
    uint32_t words[4];
    size_t n_null, bad;

    (void)state;
    for (size_t i = 0; i < 32; i++)
        zero[i] = z[i % 8];
    assert_true(woq_gptq_pack_zeros(words, zero, 32, 1, 4, false, &n_null, &bad));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(words[i], 0x4321f078);
    assert_int_equal(n_null, 4);
    assert_true(woq_gptq_pack_zeros(words, zero, 32, 1, 4, true, &n_null, &bad));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(words[i], 0x3210ef67);
    woq_gptq_unpack_zeros(back, words, 32, 1, 4, true);
    assert_memory_equal(back, zero, sizeof zero);
    woq_gptq_zeros_to_v2(words, 4, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(words[i], 0x4321f078);
}

static void zeros_out_of_range(void **state)
{
    static const float wrong[] = { -1, 16, 7.5f, 1e30f, -0.5f, -1e-3f };
    float zero[64];
    uint32_t words[8];
    size_t n_null, bad;

    (void)state;
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        for (size_t i = 0; i < 64; i++)
            zero[i] = 3;
        zero[41] = wrong[k]; /* output 20, group 1 */
        bad = 0;
        assert_false(woq_gptq_pack_zeros(words, zero, 32, 2, 4, true, &n_null, &bad));
        assert_int_equal(bad, 41);
    }
}

static void bit_string(uint8_t *bytes, size_t at, int bits, unsigned value)
{
    for (int b = 0; b < bits; b++)
        if (value >> b & 1)
            bytes[(at + (size_t)b) / 8] |= (uint8_t)(1u << (at + (size_t)b) % 8);
}

static void random_round_trips(void **state)
{
    static const int widths[] = { 2, 3, 4, 8 };
    static const size_t outs[] = { 1, 8, 32, 96, 130 }, ins[] = { 32, 96, 160 };
    uint32_t seed = 20240607;

    (void)state;
    for (size_t t = 0; t < 4 * 5 * 3; t++) {
        const int bits = widths[t % 4];
        const size_t n_out = outs[t / 4 % 5], n_in = ins[t / 20];
        const size_t n_words = n_in * (size_t)bits / 32;
        uint8_t *codes = malloc(n_out * n_in), *back = malloc(n_out * n_in);
        uint8_t *column = malloc(n_words * 4);
        uint32_t *words = malloc(n_out * n_words * 4);
        assert_true(codes && back && column && words);
        for (size_t i = 0; i < n_out * n_in; i++)
            codes[i] = (uint8_t)(lcg(&seed) & ((1u << bits) - 1));
        woq_gptq_pack_weight(words, codes, n_out, n_in, bits);
        for (size_t o = 0; o < n_out; o++) {
            memset(column, 0, n_words * 4);
            for (size_t i = 0; i < n_in; i++)
                bit_string(column, i * (size_t)bits, bits, codes[o * n_in + i]);
            for (size_t w = 0; w < n_words; w++)
                assert_memory_equal(&words[w * n_out + o], column + 4 * w, 4);
        }
        woq_gptq_unpack_weight(back, words, n_out, n_in, bits);
        assert_memory_equal(back, codes, n_out * n_in);
        free(codes);
        free(back);
        free(column);
        free(words);
    }
}

static void random_zeros(void **state)
{
    static const int widths[] = { 2, 3, 4, 8 };
    float zero[96 * 5], back[96 * 5];
    uint32_t words[5 * 96 / 4], words2[5 * 96 / 4], seed = 7;
    size_t n_null, bad;

    (void)state;
    for (size_t t = 0; t < 40; t++) {
        const int bits = widths[t % 4];
        const size_t n_words = 5 * 96 / 32 * (size_t)bits;
        size_t nulls = 0;
        for (size_t i = 0; i < 96 * 5; i++) {
            zero[i] = (float)(lcg(&seed) & ((1u << bits) - 1));
            nulls += zero[i] == 0;
        }
        for (int v1 = 0; v1 < 2; v1++) {
            assert_true(woq_gptq_pack_zeros(words, zero, 96, 5, bits, v1, &n_null, &bad));
            assert_int_equal(n_null, nulls);
            woq_gptq_unpack_zeros(back, words, 96, 5, bits, v1);
            assert_memory_equal(back, zero, sizeof zero);
        }
        assert_true(woq_gptq_pack_zeros(words2, zero, 96, 5, bits, false, &n_null, &bad));
        woq_gptq_zeros_to_v2(words, n_words, bits);
        assert_memory_equal(words, words2, n_words * 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_examples),    cmocka_unit_test(sym_zero_words),
        cmocka_unit_test(asym_zero_words),    cmocka_unit_test(zeros_out_of_range),
        cmocka_unit_test(random_round_trips), cmocka_unit_test(random_zeros),
    };
    return cmocka_run_group_tests_name("gptq_pack", tests, NULL, NULL);
}
