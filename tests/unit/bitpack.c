/* Packed fields against the worked examples of formats.md 4 and against a packer that knows only
 * where each bit of a line is. */
#include <formats/bitpack.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
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

static void repeat(uint8_t *out, size_t n, const uint8_t *of, size_t n_of)
{
    for (size_t i = 0; i < n; i++)
        out[i] = of[i % n_of];
}

/* A line of n fields as the bytes of its words. */
static void expect_bytes(enum woq_field_order order, int bits, int word_bits, const uint8_t *fields,
                         size_t n, const uint8_t *want, size_t n_want)
{
    const struct woq_bitmat m = { order, bits, word_bits, 1, n, false };
    uint64_t words[64];
    uint8_t back[256];

    assert_int_equal(woq_bitmat_bytes(&m), n_want);
    memset(words, 0xff, sizeof words);
    woq_bitmat_pack(words, &m, fields, n, 1);
    assert_memory_equal(words, want, n_want);
    woq_bitmat_unpack(back, n, 1, &m, words);
    assert_memory_equal(back, fields, n);
}

/* formats.md 4.a, 4.b, 4.d. */
static void worked_examples(void **state)
{
    static const uint8_t q4[16] = { 5, 8, 11, 14, 1, 4, 7, 10, 13, 0, 3, 6, 9, 12, 15, 2 };
    static const uint8_t w4[16] = { 0x85, 0xeb, 0x41, 0xa7, 0x0d, 0x63, 0xc9, 0x2f,
                                    0x85, 0xeb, 0x41, 0xa7, 0x0d, 0x63, 0xc9, 0x2f };
    static const uint8_t q3[8] = { 5, 0, 3, 6, 1, 4, 7, 2 };
    static const uint8_t w3[12] = { 0xc5, 0x1c, 0x5e, 0xc5, 0x1c, 0x5e,
                                    0xc5, 0x1c, 0x5e, 0xc5, 0x1c, 0x5e };
    static const uint8_t planar3[12] = { 0xb1, 0xb1, 0xb1, 0xb1, 0xb1, 0xb1,
                                         0xb1, 0xb1, 0x69, 0x69, 0x69, 0x69 };
    static const uint8_t whole3[16] = { 0xc5, 0x1c, 0x5e, 0x05, 0x73, 0x78, 0x15, 0x33,
                                        0xe1, 0x55, 0xcc, 0x21, 0x17, 0,    0,    0 };
    static const uint8_t w5[20] = { 0x43, 0x45, 0xfc, 0x4d, 0xa3, 0x5b, 0x24, 0x78, 0x7d, 0x61,
                                    0x53, 0x07, 0xf4, 0x6c, 0x27, 0x4b, 0x66, 0x70, 0x5c, 0xe5 };
    static const uint8_t q2[4] = { 1, 0, 3, 2 },
                         w2[8] = { 0xb1, 0xb1, 0xb1, 0xb1, 0xb1, 0xb1, 0xb1, 0xb1 };
    static const uint8_t q8[4] = { 11, 48, 85, 122 };
    static const uint8_t awq[8] = { 5, 8, 11, 14, 1, 4, 7, 10 },
                         wawq[4] = { 0xb5, 0x71, 0xe8, 0xa4 };
    static const uint8_t up[8] = { 0, 1, 2, 3, 4, 5, 6, 7 }, wup[4] = { 0x20, 0x64, 0x31, 0x75 };
    uint8_t f[32];

    (void)state;
    repeat(f, 32, q4, 16);
    expect_bytes(WOQ_FIELDS_DENSE, 4, 32, f, 32, w4, 16);
    expect_bytes(WOQ_FIELDS_WHOLE, 4, 32, f, 32, w4, 16);
    repeat(f, 32, q3, 8);
    expect_bytes(WOQ_FIELDS_DENSE, 3, 32, f, 32, w3, 12);
    expect_bytes(WOQ_FIELDS_WHOLE, 3, 32, f, 32, whole3, 16);
    expect_bytes(WOQ_FIELDS_PLANAR, 3, 32, f, 32, planar3, 12);
    for (size_t i = 0; i < 32; i++)
        f[i] = (uint8_t)((7 * i + 3) % 32);
    expect_bytes(WOQ_FIELDS_DENSE, 5, 32, f, 32, w5, 20);
    repeat(f, 32, q2, 4);
    expect_bytes(WOQ_FIELDS_DENSE, 2, 32, f, 32, w2, 8);
    expect_bytes(WOQ_FIELDS_DENSE, 8, 32, q8, 4, q8, 4);
    expect_bytes(WOQ_FIELDS_AWQ, 4, 32, awq, 8, wawq, 4);
    expect_bytes(WOQ_FIELDS_AWQ, 4, 32, up, 8, wup, 4);
}

/* Where bit b of field f lies in a line by planes: that of 4 bits first, then of 2, then of 1. */
static size_t planar_bit(size_t bits, size_t f, size_t b)
{
    size_t below = 0;

    for (size_t width = 8; width; width /= 2) {
        if (!(bits & width))
            continue;
        if (b < below + width)
            return f / 32 * bits * 32 + below * 32 + f % 32 * width + (b - below);
        below += width;
    }
    fail();
    return 0;
}

/* Every bit of a matrix by the definition in the header. */
static void expect_places(const struct woq_bitmat *m, const uint8_t *fields, size_t line_step,
                          size_t field_step, const uint8_t *words)
{
    static const size_t awq[8] = { 0, 4, 1, 5, 2, 6, 3, 7 };
    const size_t n_words = woq_bitmat_words(m), width = (size_t)m->word_bits;
    const size_t bits = (size_t)m->bits, per = width / bits;

    for (size_t l = 0; l < m->n_lines; l++)
        for (size_t i = 0; i < m->n_fields * bits; i++) {
            const size_t f = i / bits, b = i % bits;
            const size_t bit = m->order == WOQ_FIELDS_DENSE    ? i
                               : m->order == WOQ_FIELDS_PLANAR ? planar_bit(bits, f, b)
                               : m->order == WOQ_FIELDS_AWQ    ? (f / 8 * 8 + awq[f % 8]) * bits + b
                                                            : f / per * width + f % per * bits + b;
            const size_t word =
                m->words_first ? bit / width * m->n_lines + l : l * n_words + bit / width;
            const size_t at = word * width + bit % width;
            const int is = words[at / 8] >> at % 8 & 1;
            const int want = fields[l * line_step + f * field_step] >> b & 1;
            if (is != want)
                fail_msg("order %d, %d bits of %d: line %zu, field %zu, bit %zu", (int)m->order,
                         m->bits, m->word_bits, l, f, b);
        }
}

static void expect_round_trip(const struct woq_bitmat *m, bool by_column, uint32_t *seed)
{
    const size_t n = m->n_lines * m->n_fields, bytes = woq_bitmat_bytes(m);
    const size_t line_step = by_column ? 1 : m->n_fields, field_step = by_column ? m->n_lines : 1;
    uint8_t *fields = malloc(n), *back = calloc(1, n);
    void *words = woq_alloc(bytes, NULL), *again = woq_alloc(bytes, NULL);

    assert_true(fields && back && words && again);
    for (size_t i = 0; i < n; i++)
        fields[i] = (uint8_t)(lcg(seed) & ((1u << m->bits) - 1));
    memset(words, 0xff, bytes);
    memset(again, 0x55, bytes);
    woq_bitmat_pack(words, m, fields, line_step, field_step);
    woq_bitmat_pack(again, m, fields, line_step, field_step);
    assert_memory_equal(words, again, bytes); /* every byte is written */
    expect_places(m, fields, line_step, field_step, words);
    woq_bitmat_unpack(back, line_step, field_step, m, words);
    assert_memory_equal(fields, back, n);
    free(fields);
    free(back);
    free(words);
    free(again);
}

static void places(void **state)
{
    static const size_t sizes[][2] = { { 1, 1 },   { 3, 31 },   { 16, 32 },  { 17, 64 },
                                       { 65, 40 }, { 130, 72 }, { 5, 1032 }, { 200, 520 } };
    static const int widths[] = { 8, 16, 32, 64 };
    uint32_t seed = 7;

    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int way = 0; way < 4; way++) {
            struct woq_bitmat m = { WOQ_FIELDS_DENSE, 0, 32, sizes[s][0], sizes[s][1], way & 1 };
            for (m.bits = 1; m.bits <= 8; m.bits++)
                expect_round_trip(&m, way & 2, &seed);
            for (m.order = WOQ_FIELDS_PLANAR, m.bits = 1; m.bits <= 8; m.bits++)
                expect_round_trip(&m, way & 2, &seed);
            m.order = WOQ_FIELDS_WHOLE;
            for (size_t w = 0; w < 4; w++)
                for (m.word_bits = widths[w], m.bits = 1; m.bits <= 8; m.bits++)
                    expect_round_trip(&m, way & 2, &seed);
            m = (struct woq_bitmat){ WOQ_FIELDS_AWQ, 0, 32, sizes[s][0], sizes[s][1], way & 1 };
            for (m.bits = 1; m.bits <= 8; m.bits++)
                expect_round_trip(&m, way & 2, &seed);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_examples),
        cmocka_unit_test(places),
    };
    return cmocka_run_group_tests_name("bitpack", tests, NULL, NULL);
}
