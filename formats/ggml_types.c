/* ggml_types.c -- see ggml_types.h. Formulas: formats.md 3.3 (ggml-quants.c), compared bit for bit
 * with the PyPI package gguf on random blocks (tests/golden/ggml). Products keep the order of the
 * formula, since each rounds. b points at a block, y at its output. */
#include "ggml_types.h"

#include <string.h>
#include <woq/util.h>

static inline float bits_f32(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t f32_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* f16 at any address. Normal numbers shift into place and are rescaled by 2^112 exactly; that also
 * normalises subnormals; exponent 31 is put back by hand. */
static inline float h(const uint8_t *p)
{
    const uint32_t v = (uint32_t)p[0] | (uint32_t)p[1] << 8;
    const uint32_t sign = (v & 0x8000u) << 16, rest = (v & 0x7fffu) << 13;

    if (rest >= 0x0f800000u) /* inf, NaN */
        return bits_f32(sign | rest | 0x7f800000u);
    return bits_f32(sign | f32_bits(bits_f32(rest) * 0x1p112f));
}

static inline uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

#define BLOCKS(elems, bytes)                                                                       \
    for (size_t i_block = 0; i_block < n_blocks; i_block++, y += (elems), b += (bytes))

static void decode_q4_0(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(32, 18)
    {
        const float d = h(b);

        for (int j = 0; j < 16; j++)
            y[j] = d * (float)((b[2 + j] & 15) - 8);
        for (int j = 0; j < 16; j++)
            y[j + 16] = d * (float)((b[2 + j] >> 4) - 8);
    }
}

static void decode_q4_1(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(32, 20)
    {
        const float d = h(b), m = h(b + 2);

        for (int j = 0; j < 16; j++)
            y[j] = d * (float)(b[4 + j] & 15) + m;
        for (int j = 0; j < 16; j++)
            y[j + 16] = d * (float)(b[4 + j] >> 4) + m;
    }
}

static void decode_q5_0(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(32, 22)
    {
        const float d = h(b);
        const uint32_t qh = u32(b + 2);

        for (int j = 0; j < 16; j++)
            y[j] = d * (float)((int)((b[6 + j] & 15u) | ((qh >> j) & 1) << 4) - 16);
        for (int j = 0; j < 16; j++)
            y[j + 16] = d * (float)((int)(b[6 + j] >> 4 | ((qh >> (j + 16)) & 1) << 4) - 16);
    }
}

static void decode_q5_1(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(32, 24)
    {
        const float d = h(b), m = h(b + 2);
        const uint32_t qh = u32(b + 4);

        for (int j = 0; j < 16; j++)
            y[j] = d * (float)((b[8 + j] & 15u) | ((qh >> j) & 1) << 4) + m;
        for (int j = 0; j < 16; j++)
            y[j + 16] = d * (float)(b[8 + j] >> 4 | ((qh >> (j + 16)) & 1) << 4) + m;
    }
}

static void decode_q8_0(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(32, 34)
    {
        const float d = h(b);

        for (int j = 0; j < 32; j++)
            y[j] = d * (float)(int8_t)b[2 + j];
    }
}

static void decode_q2_k(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(256, 84)
    {
        const uint8_t *scales = b, *qs = b + 16;
        const float d = h(b + 80), dmin = h(b + 82);

        for (int i = 0; i < 256; i += 16) {
            const int n = i / 128, s = i % 128 / 32;
            const float ds = d * (float)(scales[i / 16] & 15);
            const float ms = dmin * (float)(scales[i / 16] >> 4);

            for (int l = 0; l < 16; l++)
                y[i + l] = ds * (float)((qs[32 * n + i % 32 + l] >> (2 * s)) & 3) - ms;
        }
    }
}

static void decode_q3_k(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(256, 110)
    {
        const uint8_t *hmask = b, *qs = b + 32, *scales = b + 96;
        const float d = h(b + 108);

        for (int i = 0; i < 256; i += 16) {
            const int n = i / 128, s = i % 128 / 32, g = i / 16;
            const int low = (scales[g % 8] >> (4 * (g / 8))) & 15;
            const int high = (scales[8 + g % 4] >> (2 * (g / 4))) & 3;
            const float ds = d * (float)((low | high << 4) - 32);

            for (int l = i % 32; l < i % 32 + 16; l++) {
                const int q = (qs[32 * n + l] >> (2 * s)) & 3;
                const int bit = (hmask[l] >> (4 * n + s)) & 1;

                y[i - i % 32 + l] = ds * (float)(q - 4 * (1 - bit));
            }
        }
    }
}

/* Six-bit scale and minimum j of a Q4_K or Q5_K block. */
static inline void scale_min(const uint8_t *s, int j, int *sc, int *m)
{
    if (j < 4) {
        *sc = s[j] & 63;
        *m = s[j + 4] & 63;
    } else {
        *sc = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *m = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

static void decode_q4_k(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(256, 144)
    {
        const float d = h(b), dmin = h(b + 2);

        for (int j = 0; j < 8; j++) {
            const uint8_t *qs = b + 16 + 32 * (j / 2);
            const int shift = 4 * (j % 2);
            int sc, m;

            scale_min(b + 4, j, &sc, &m);
            const float ds = d * (float)sc, ms = dmin * (float)m;
            for (int l = 0; l < 32; l++)
                y[32 * j + l] = ds * (float)((qs[l] >> shift) & 15) - ms;
        }
    }
}

static void decode_q5_k(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(256, 176)
    {
        const float d = h(b), dmin = h(b + 2);
        const uint8_t *qh = b + 16;

        for (int j = 0; j < 8; j++) {
            const uint8_t *qs = b + 48 + 32 * (j / 2);
            const int shift = 4 * (j % 2);
            int sc, m;

            scale_min(b + 4, j, &sc, &m);
            const float ds = d * (float)sc, ms = dmin * (float)m;
            for (int l = 0; l < 32; l++) {
                const int q = ((qs[l] >> shift) & 15) | ((qh[l] >> j) & 1) << 4;

                y[32 * j + l] = ds * (float)q - ms;
            }
        }
    }
}

static void decode_q6_k(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(256, 210)
    {
        const uint8_t *ql = b, *qh = b + 128, *scales = b + 192;
        const float d = h(b + 208);

        for (int i = 0; i < 256; i += 16) {
            const int n = i / 128, t = i % 128 / 32;
            const float ds = d * (float)(int8_t)scales[i / 16];

            for (int l = i % 32; l < i % 32 + 16; l++) {
                const int low = (ql[64 * n + 32 * (t % 2) + l] >> (4 * (t / 2))) & 15;
                const int high = (qh[32 * n + l] >> (2 * t)) & 3;

                y[i - i % 32 + l] = ds * (float)((low | high << 4) - 32);
            }
        }
    }
}

static const int8_t nl_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113 };

static void decode_iq4_nl(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(32, 18)
    {
        const float d = h(b);

        for (int j = 0; j < 16; j++) {
            y[j] = d * (float)nl_values[b[2 + j] & 15];
            y[j + 16] = d * (float)nl_values[b[2 + j] >> 4];
        }
    }
}

static void decode_iq4_xs(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(256, 136)
    {
        const float d = h(b);
        const unsigned scales_h = b[2] | (unsigned)b[3] << 8;

        for (int ib = 0; ib < 8; ib++) {
            const uint8_t *qs = b + 8 + 16 * ib;
            const int low = (b[4 + ib / 2] >> (4 * (ib % 2))) & 15;
            const int ls = low | (int)((scales_h >> (2 * ib)) & 3) << 4;
            const float ds = d * (float)(ls - 32);

            for (int j = 0; j < 16; j++) {
                y[32 * ib + j] = ds * (float)nl_values[qs[j] & 15];
                y[32 * ib + j + 16] = ds * (float)nl_values[qs[j] >> 4];
            }
        }
    }
}

static void decode_mxfp4(float *y, const uint8_t *b, size_t n_blocks)
{
    /* e2m1 values doubled; the scale is halved to match. */
    static const int8_t e2m1[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

    BLOCKS(32, 17)
    {
        const uint32_t e = b[0];
        const float d = bits_f32(e < 2 ? 0x00200000u << e : (e - 1) << 23);

        for (int j = 0; j < 16; j++) {
            y[j] = d * (float)e2m1[b[1 + j] & 15];
            y[j + 16] = d * (float)e2m1[b[1 + j] >> 4];
        }
    }
}

static void decode_tq1_0(float *y, const uint8_t *b, size_t n_blocks)
{
    static const uint8_t pow3[5] = { 1, 3, 9, 27, 81 };
    static const struct {
        int at, n_bytes, n_trits;
    } parts[3] = { { 0, 32, 5 }, { 32, 16, 5 }, { 48, 4, 4 } };

    BLOCKS(256, 54)
    {
        const float d = h(b + 52);
        float *out = y;

        for (int p = 0; p < 3; p++)
            for (int n = 0; n < parts[p].n_trits; n++)
                for (int j = 0; j < parts[p].n_bytes; j++) {
                    const uint8_t q = (uint8_t)(b[parts[p].at + j] * pow3[n]);

                    *out++ = d * (float)((q * 3 >> 8) - 1);
                }
    }
}

static void decode_tq2_0(float *y, const uint8_t *b, size_t n_blocks)
{
    BLOCKS(256, 66)
    {
        const float d = h(b + 64);

        for (int i = 0; i < 256; i += 32) {
            const uint8_t *qs = b + 32 * (i / 128);
            const int shift = 2 * (i % 128 / 32);

            for (int l = 0; l < 32; l++)
                y[i + l] = d * (float)(((qs[l] >> shift) & 3) - 1);
        }
    }
}

/* clang-format off */
static const struct woq_ggml_type types[] = {
    { "F32", 0, 1, 4, WOQ_F32, NULL },    { "F16", 1, 1, 2, WOQ_F16, NULL },
    { "BF16", 30, 1, 2, WOQ_BF16, NULL }, { "F64", 28, 1, 8, WOQ_F64, NULL },
    { "I8", 24, 1, 1, WOQ_I8, NULL },     { "I16", 25, 1, 2, WOQ_I16, NULL },
    { "I32", 26, 1, 4, WOQ_I32, NULL },   { "I64", 27, 1, 8, WOQ_I64, NULL },
    { "Q4_0", 2, 32, 18, WOQ_NO_DTYPE, decode_q4_0 },
    { "Q4_1", 3, 32, 20, WOQ_NO_DTYPE, decode_q4_1 },
    { "Q5_0", 6, 32, 22, WOQ_NO_DTYPE, decode_q5_0 },
    { "Q5_1", 7, 32, 24, WOQ_NO_DTYPE, decode_q5_1 },
    { "Q8_0", 8, 32, 34, WOQ_NO_DTYPE, decode_q8_0 },
    { "Q8_1", 9, 32, 36, WOQ_NO_DTYPE, NULL },
    { "Q2_K", 10, 256, 84, WOQ_NO_DTYPE, decode_q2_k },
    { "Q3_K", 11, 256, 110, WOQ_NO_DTYPE, decode_q3_k },
    { "Q4_K", 12, 256, 144, WOQ_NO_DTYPE, decode_q4_k },
    { "Q5_K", 13, 256, 176, WOQ_NO_DTYPE, decode_q5_k },
    { "Q6_K", 14, 256, 210, WOQ_NO_DTYPE, decode_q6_k },
    { "Q8_K", 15, 256, 292, WOQ_NO_DTYPE, NULL },
    { "IQ2_XXS", 16, 256, 66, WOQ_NO_DTYPE, NULL }, { "IQ2_XS", 17, 256, 74, WOQ_NO_DTYPE, NULL },
    { "IQ3_XXS", 18, 256, 98, WOQ_NO_DTYPE, NULL }, { "IQ1_S", 19, 256, 50, WOQ_NO_DTYPE, NULL },
    { "IQ4_NL", 20, 32, 18, WOQ_NO_DTYPE, decode_iq4_nl },
    { "IQ3_S", 21, 256, 110, WOQ_NO_DTYPE, NULL },  { "IQ2_S", 22, 256, 82, WOQ_NO_DTYPE, NULL },
    { "IQ4_XS", 23, 256, 136, WOQ_NO_DTYPE, decode_iq4_xs },
    { "IQ1_M", 29, 256, 56, WOQ_NO_DTYPE, NULL },
    /* Q4_0 and IQ4_NL with rows interleaved, from before llama.cpp did that when it loads a file. */
    { "Q4_0_4_4", 31, 32, 18, WOQ_NO_DTYPE, NULL }, { "Q4_0_4_8", 32, 32, 18, WOQ_NO_DTYPE, NULL },
    { "Q4_0_8_8", 33, 32, 18, WOQ_NO_DTYPE, NULL },
    { "TQ1_0", 34, 256, 54, WOQ_NO_DTYPE, decode_tq1_0 },
    { "TQ2_0", 35, 256, 66, WOQ_NO_DTYPE, decode_tq2_0 },
    { "IQ4_NL_4_4", 36, 32, 18, WOQ_NO_DTYPE, NULL },
    { "IQ4_NL_4_8", 37, 32, 18, WOQ_NO_DTYPE, NULL },
    { "IQ4_NL_8_8", 38, 32, 18, WOQ_NO_DTYPE, NULL },
    { "MXFP4", 39, 32, 17, WOQ_NO_DTYPE, decode_mxfp4 },
    { "NVFP4", 40, 64, 36, WOQ_NO_DTYPE, NULL }, { "Q1_0", 41, 128, 18, WOQ_NO_DTYPE, NULL },
    { "Q2_0", 42, 64, 18, WOQ_NO_DTYPE, NULL },
};
/* clang-format on */

const struct woq_ggml_type *woq_ggml_type(uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].id == id)
            return &types[i];
    return NULL;
}

const struct woq_ggml_type *woq_ggml_type_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

bool woq_ggml_row_bytes(const struct woq_ggml_type *type, uint64_t n_elem, size_t *bytes)
{
    if (n_elem % type->block_elems || n_elem > SIZE_MAX)
        return false;
    return woq_mul_size((size_t)n_elem / type->block_elems, type->block_bytes, bytes);
}
