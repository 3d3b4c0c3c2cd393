/* ggml_search.c -- fitted groups into the bytes of blocks (formats.md 3.3). */
#include <formats/ggml_search.h>

#include <formats/ggml_encode.h>
#include <formats/ggml_fit.h>
#include <formats/ggml_types.h>
#include <string.h>
#include <woq/kernels.h>

static void put_f16(uint8_t *at, float x)
{
    uint16_t h;

    woq_kernels()->f32_to_f16(&h, &x, 1);
    at[0] = (uint8_t)h;
    at[1] = (uint8_t)(h >> 8);
}

/* --- a block of 32: `lane` is its group --- */

static void pack_q4_0(uint8_t *b, const struct woq_fit *f, size_t lane)
{
    put_f16(b, f->scale[lane]);
    woq_ggml_put_nibbles(b + 2, f->codes + 32 * lane);
}

static void pack_q4_1(uint8_t *b, const struct woq_fit *f, size_t lane)
{
    put_f16(b, f->scale[lane]);
    put_f16(b + 2, f->min[lane]);
    woq_ggml_put_nibbles(b + 4, f->codes + 32 * lane);
}

static void pack_q5_0(uint8_t *b, const struct woq_fit *f, size_t lane)
{
    put_f16(b, f->scale[lane]);
    woq_ggml_put_five_bits(b + 2, f->codes + 32 * lane);
}

static void pack_q5_1(uint8_t *b, const struct woq_fit *f, size_t lane)
{
    put_f16(b, f->scale[lane]);
    put_f16(b + 2, f->min[lane]);
    woq_ggml_put_five_bits(b + 4, f->codes + 32 * lane);
}

/* --- a block of 256: its groups are the lanes from `lane` on --- */

/* Two bits of each of 256 codes: byte 32 n + l holds elements 128 n + 32 s + l, s = 0..3. */
static void put_two_bits(uint8_t *qs, const uint8_t *q, int shift)
{
    for (size_t i = 0; i < 256; i++)
        qs[i / 128 * 32 + i % 32] =
            (uint8_t)(qs[i / 128 * 32 + i % 32] | (q[i] >> shift & 3) << i % 128 / 32 * 2);
}

static void pack_q2_k(uint8_t *b, const struct woq_fit *f, size_t lane)
{
    for (size_t g = 0; g < 16; g++)
        b[g] = (uint8_t)(f->scale_code[g] | f->min_code[g] << 4);
    put_two_bits(b + 16, f->codes, 0);
    put_f16(b + 80, f->unit[0]);
    put_f16(b + 82, f->min_unit[0]);
    (void)lane;
}

static void pack_q3_k(uint8_t *b, const struct woq_fit *f, size_t lane)
{
    for (size_t i = 0; i < 256; i++)
        b[i % 32] = (uint8_t)(b[i % 32] | (f->codes[i] >> 2) << (i / 32));
    put_two_bits(b + 32, f->codes, 0);
    for (size_t g = 0; g < 16; g++) {
        const int code = f->scale_code[g] + 32;

        b[96 + g % 8] = (uint8_t)(b[96 + g % 8] | (code & 15) << 4 * (g / 8));
        b[104 + g % 4] = (uint8_t)(b[104 + g % 4] | (code >> 4) << 2 * (g / 4));
    }
    put_f16(b + 108, f->unit[0]);
    (void)lane;
}

/* Eight scales and minima of six bits in twelve bytes. */
static void put_scale_min(uint8_t *s, const int *scale, const int *min)
{
    for (size_t j = 0; j < 4; j++) {
        s[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
        s[j + 4] = (uint8_t)(min[j] | min[j + 4] >> 4 << 6);
        s[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
    }
}

static void put_halves(uint8_t *qs, const uint8_t *q) /* nibbles of Q4_K and Q5_K */
{
    for (size_t i = 0; i < 256; i++)
        qs[i / 64 * 32 + i % 32] =
            (uint8_t)(qs[i / 64 * 32 + i % 32] | (q[i] & 15) << i % 64 / 32 * 4);
}

static void pack_q4_k(uint8_t *b, const struct woq_fit *f, size_t lane)
{
    put_f16(b, f->unit[lane / 8]);
    put_f16(b + 2, f->min_unit[lane / 8]);
    put_scale_min(b + 4, f->scale_code + lane, f->min_code + lane);
    put_halves(b + 16, f->codes + 32 * lane);
}

static void pack_q5_k(uint8_t *b, const struct woq_fit *f, size_t lane)
{
    const uint8_t *q = f->codes + 32 * lane;

    put_f16(b, f->unit[lane / 8]);
    put_f16(b + 2, f->min_unit[lane / 8]);
    put_scale_min(b + 4, f->scale_code + lane, f->min_code + lane);
    for (size_t i = 0; i < 256; i++)
        b[16 + i % 32] = (uint8_t)(b[16 + i % 32] | (q[i] >> 4) << (i / 32));
    put_halves(b + 48, q);
}

static void pack_q6_k(uint8_t *b, const struct woq_fit *f, size_t lane)
{
    for (size_t i = 0; i < 256; i++) {
        uint8_t *ql = b + i / 128 * 64 + i % 64;

        *ql = (uint8_t)(*ql | (f->codes[i] & 15) << i % 128 / 64 * 4);
    }
    put_two_bits(b + 128, f->codes, 4);
    for (size_t g = 0; g < 16; g++)
        b[192 + g] = (uint8_t)f->scale_code[g];
    put_f16(b + 208, f->unit[0]);
    (void)lane;
}

static void pack_iq4_xs(uint8_t *b, const struct woq_fit *f, size_t lane)
{
    put_f16(b, f->unit[lane / 8]);
    for (size_t g = 0; g < 8; g++) {
        const int code = f->scale_code[lane + g] + 32;

        b[2 + g / 4] = (uint8_t)(b[2 + g / 4] | (code >> 4) << 2 * (g % 4));
        b[4 + g / 2] = (uint8_t)(b[4 + g / 2] | (code & 15) << 4 * (g % 2));
        woq_ggml_put_nibbles(b + 8 + 16 * g, f->codes + 32 * (lane + g));
    }
}

/* --- the search of each type --- */

/* clang-format off */
static const float nl_levels[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
/* Where searches begin (struct woq_tile_grid), by bits of a code: found by trying on normal, Laplace
 * and Student weights with flat and log-normal importances. Few bits gain from drawing the range in
 * far; many bits have many minima close to one another, also beyond the range. With -31 / 30 at one
 * end a group that already lies on sixteen levels is found again in 5 bits. */
static const float min2[] = { 0.0f, 0.4f, 0.8f, 1.2f };
static const float min4[] = { 0.0f, 0.45f, 0.9f, -0.45f, -0.9f };
static const float min5[] = { 0.0f, 0.5f, 1.0f, -0.5f, -1.0334f };
static const float scale3[] = { -3.5f, -4.2f, -5.04f, -6.048f, -7.258f, -8.709f, 2.8f, 3.5f, 4.375f, 5.469f, 6.836f };
static const float scale4[] = { -7.0f, -7.56f, -8.165f, -8.818f, -9.523f, -10.29f, -11.11f, -12.0f, -12.96f, -13.99f, 6.0f, 6.6f, 7.26f, 7.986f, 8.785f, 9.663f, 10.63f, 11.69f, 12.86f, 14.15f };
static const float scale5[] = { -18.0f, -17.3f, -16.6f, -15.9f, -15.2f, -14.5f, -13.8f, -13.1f, -12.4f, 17.0f, 16.3f, 15.6f, 14.9f, 14.2f, 13.5f, 12.8f, 12.1f };
static const float scale6[] = { -34.0f, -33.3f, -32.6f, -31.9f, -31.2f, -30.5f, -29.8f, -29.1f, -28.4f, -27.7f, -27.0f, -26.3f, -25.6f, -24.9f, -24.2f, -23.5f, 33.0f, 32.3f, 31.6f, 30.9f, 30.2f, 29.5f, 28.8f, 28.1f, 27.4f, 26.7f, 26.0f, 25.3f, 24.6f, 23.9f, 23.2f, 22.5f };
static const float levels4[] = { -105.0f, -111.3f, -118.0f, -125.1f, -132.6f, -140.5f, -148.9f, -157.9f, -167.4f, -177.4f, -188.0f, -199.3f, 95.0f, 100.7f, 106.7f, 113.1f, 119.9f, 127.1f, 134.8f, 142.8f, 151.4f, 160.5f, 170.1f, 180.3f };

#define STARTS(s) .starts = (s), .n_starts = sizeof(s) / sizeof(s)[0]

static const struct row {
    uint32_t id;
    struct woq_fit_spec spec;
    void (*pack)(uint8_t *b, const struct woq_fit *f, size_t lane);
} rows[] = {
    { WOQ_GGML_Q2_K, { { .n = 16, .kind = WOQ_TILE_MIN_BELOW_ZERO, .hi = 3, STARTS(min2), 2, 3 }, 0, 15, 15, 2 }, pack_q2_k },
    { WOQ_GGML_Q4_K, { { .n = 32, .kind = WOQ_TILE_MIN_BELOW_ZERO, .hi = 15, STARTS(min4), 2, 3 }, 0, 63, 63, 2 }, pack_q4_k },
    { WOQ_GGML_Q5_K, { { .n = 32, .kind = WOQ_TILE_MIN_BELOW_ZERO, .hi = 31, STARTS(min5), 2, 3 }, 0, 63, 63, 2 }, pack_q5_k },
    { WOQ_GGML_Q3_K, { { .n = 16, .lo = -4, .hi = 3, STARTS(scale3), 2, 2 }, -32, 31, 0, 1 }, pack_q3_k },
    { WOQ_GGML_Q6_K, { { .n = 16, .lo = -32, .hi = 31, STARTS(scale6), 1, 3 }, -128, 127, 0, 1 }, pack_q6_k },
    { WOQ_GGML_IQ4_XS, { { .n = 32, .levels = nl_levels, STARTS(levels4), 1, 3 }, -32, 31, 0, 1 }, pack_iq4_xs },
    { WOQ_GGML_IQ4_NL, { { .n = 32, .levels = nl_levels, STARTS(levels4), 1, 3 }, 0, 0, 0, 0 }, pack_q4_0 },
    { WOQ_GGML_Q4_0, { { .n = 32, .lo = -8, .hi = 7, STARTS(scale4), 2, 3 }, 0, 0, 0, 0 }, pack_q4_0 },
    { WOQ_GGML_Q5_0, { { .n = 32, .lo = -16, .hi = 15, STARTS(scale5), 2, 3 }, 0, 0, 0, 0 }, pack_q5_0 },
    { WOQ_GGML_Q4_1, { { .n = 32, .kind = WOQ_TILE_MIN, .hi = 15, STARTS(min4), 2, 3 }, 0, 0, 0, 0 }, pack_q4_1 },
    { WOQ_GGML_Q5_1, { { .n = 32, .kind = WOQ_TILE_MIN, .hi = 31, STARTS(min5), 2, 3 }, 0, 0, 0, 0 }, pack_q5_1 },
};
/* clang-format on */

static const struct row *row_of(uint32_t id)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].id == id)
            return &rows[i];
    return NULL;
}

bool woq_ggml_is_searched(uint32_t id)
{
    return row_of(id) != NULL;
}

bool woq_ggml_search(uint8_t *dst, uint32_t id, const float *src, const float *weight,
                     size_t n_elem)
{
    const struct woq_kernels *k = woq_kernels();
    const struct row *r = row_of(id);
    const struct woq_ggml_type *type = woq_ggml_type(id);
    const size_t n = r->spec.grid.n, lanes = type->block_elems / n;
    const size_t n_groups = n_elem / n;
    struct woq_fit f;
    bool ok = true;

    for (size_t at = 0; at < n_groups; at += WOQ_TILE_LANES) {
        const size_t some = n_groups - at < WOQ_TILE_LANES ? n_groups - at : WOQ_TILE_LANES;

        woq_fit_groups(&f, &r->spec, src + at * n, weight ? weight + at * n : NULL, some);
        ok = ok && k->all_finite_f32(f.scale, some) && k->all_finite_f32(f.min, some);
        for (size_t lane = 0; lane < some; lane += lanes, dst += type->block_bytes) {
            memset(dst, 0, type->block_bytes);
            r->pack(dst, &f, lane);
        }
    }
    return ok;
}
