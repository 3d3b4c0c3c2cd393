/* ggml_encode.c -- see the header. Scales are collected for a run of blocks and rounded to f16 at
 * once; codes are computed from the scale before its rounding, as ggml does. */
#include <formats/ggml_encode.h>

#include <formats/ggml_search.h>
#include <math.h>
#include <string.h>
#include <woq/kernels.h>

enum { QK = 32, RUN = 64 }; /* elements per block, blocks per call of the f16 kernel */

/* A zero or denormal scale has no usable reciprocal: every code is then that of 0. */
static float reciprocal(float d)
{
    const float id = d != 0 ? 1.0f / d : 0.0f;
    return isfinite(id) ? id : 0.0f;
}

static uint8_t clamp_code(float x, float top)
{
    return (uint8_t)(x >= top ? top : x);
}

void woq_ggml_put_nibbles(uint8_t *dst, const uint8_t *codes)
{
    for (size_t j = 0; j < QK / 2; j++)
        dst[j] = (uint8_t)((codes[j] & 15) | codes[j + QK / 2] << 4);
}

void woq_ggml_put_five_bits(uint8_t *dst, const uint8_t *codes)
{
    memset(dst, 0, 4);
    for (size_t j = 0; j < QK; j++)
        dst[j / 8] = (uint8_t)(dst[j / 8] | (codes[j] >> 4) << j % 8);
    woq_ggml_put_nibbles(dst + 4, codes);
}

/* Codes 0..top around top / 2, the extreme value at 0; returns the scale. */
static float sym_codes(uint8_t q[QK], const float *x, int top)
{
    const float half = (float)(top + 1) / 2;
    float amax = 0, max = 0, id;

    for (size_t i = 0; i < QK; i++)
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            max = x[i];
        }
    id = reciprocal(max / -half);
    for (size_t i = 0; i < QK; i++)
        q[i] = clamp_code(x[i] * id + (half + 0.5f), (float)top);
    return max / -half;
}

static float asym_codes(uint8_t q[QK], float *min_out, const float *x, int top)
{
    float min = x[0], max = x[0], d, id;

    for (size_t i = 1; i < QK; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    d = (max - min) / (float)top;
    id = reciprocal(d);
    for (size_t i = 0; i < QK; i++)
        q[i] = clamp_code((x[i] - min) * id + 0.5f, (float)top);
    *min_out = min;
    return d;
}

/* Puts the f16 scales (and mins) of n blocks into place. */
static bool put_scales(uint8_t *dst, size_t block_bytes, const float *d, const float *min, size_t n)
{
    uint16_t h[2][RUN];
    const struct woq_kernels *k = woq_kernels();
    bool ok = true;

    k->f32_to_f16(h[0], d, n);
    if (min)
        k->f32_to_f16(h[1], min, n);
    for (size_t i = 0; i < n; i++) {
        memcpy(dst + i * block_bytes, &h[0][i], 2);
        ok = ok && (h[0][i] & 0x7c00) != 0x7c00;
        if (min) {
            memcpy(dst + i * block_bytes + 2, &h[1][i], 2);
            ok = ok && (h[1][i] & 0x7c00) != 0x7c00;
        }
    }
    return ok;
}

static bool encode_run(uint8_t *dst, const struct woq_ggml_type *type, const float *x,
                       size_t n_blocks)
{
    const bool has_min = type->id == WOQ_GGML_Q4_1 || type->id == WOQ_GGML_Q5_1;
    const bool five = type->id == WOQ_GGML_Q5_0 || type->id == WOQ_GGML_Q5_1;
    const int top = five ? 31 : 15;
    float d[RUN], min[RUN];

    if (type->id == WOQ_GGML_Q8_0) {
        woq_kernels()->block32_s8((int8_t *)dst + 2, type->block_bytes, d, x, n_blocks);
        return put_scales(dst, type->block_bytes, d, NULL, n_blocks);
    }
    for (size_t b = 0; b < n_blocks; b++, x += QK) {
        uint8_t *at = dst + b * type->block_bytes + (has_min ? 4 : 2), q[QK];

        d[b] = has_min ? asym_codes(q, &min[b], x, top) : sym_codes(q, x, top);
        if (five)
            woq_ggml_put_five_bits(at, q);
        else
            woq_ggml_put_nibbles(at, q);
    }
    return put_scales(dst, type->block_bytes, d, has_min ? min : NULL, n_blocks);
}

static bool encode_plain(uint8_t *dst, const struct woq_ggml_type *type, const float *src,
                         size_t n_elem)
{
    bool ok = true;

    for (size_t b = 0; b < n_elem / QK; b += RUN) {
        const size_t n = n_elem / QK - b < RUN ? n_elem / QK - b : RUN;
        ok = encode_run(dst + b * type->block_bytes, type, src + b * QK, n) && ok;
    }
    return ok;
}

/* --- ternary blocks of 256 --- */

static float ternary(uint8_t q[256], const float *x)
{
    float amax = 0, id;

    for (size_t i = 0; i < 256; i++)
        amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    id = reciprocal(amax);
    for (size_t i = 0; i < 256; i++) {
        const float v = x[i] * id;
        q[i] = (uint8_t)(v >= 0.5f ? 2 : v <= -0.5f ? 0 : 1);
    }
    return amax;
}

/* Five trits as a base-3 number, the first most significant, scaled so that a decoder's
 * multiplication brings each to the top of the byte. */
static uint8_t join_trits(const uint8_t *q, size_t stride, size_t n)
{
    unsigned number = 0;

    for (size_t k = 0; k < 5; k++)
        number = number * 3 + (k < n ? q[k * stride] : 0);
    return (uint8_t)((number * 256 + 242) / 243);
}

static void put_tq1_0(uint8_t *b, const uint8_t *q)
{
    for (size_t j = 0; j < 32; j++)
        b[j] = join_trits(q + j, 32, 5);
    for (size_t j = 0; j < 16; j++)
        b[32 + j] = join_trits(q + 160 + j, 16, 5);
    for (size_t j = 0; j < 4; j++)
        b[48 + j] = join_trits(q + 240 + j, 4, 4);
}

static void put_tq2_0(uint8_t *b, const uint8_t *q)
{
    memset(b, 0, 64);
    for (size_t i = 0; i < 256; i++) {
        uint8_t *at = b + i / 128 * 32 + i % 32;
        *at = (uint8_t)(*at | q[i] << i % 128 / 32 * 2);
    }
}

static bool encode_ternary(uint8_t *dst, const struct woq_ggml_type *type, const float *x,
                           size_t n_elem)
{
    bool ok = true;

    for (size_t b = 0; b < n_elem / 256; b++, x += 256, dst += type->block_bytes) {
        uint8_t q[256];
        uint16_t h;
        const float d = ternary(q, x);

        (type->id == WOQ_GGML_TQ1_0 ? put_tq1_0 : put_tq2_0)(dst, q);
        woq_kernels()->f32_to_f16(&h, &d, 1);
        memcpy(dst + type->block_bytes - 2, &h, 2);
        ok = ok && (h & 0x7c00) != 0x7c00;
    }
    return ok;
}

/* --- MXFP4: a power of two for 32 values of e2m1 --- */

static uint8_t e2m1_code(float v)
{
    static const float cuts[7] = { 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f };
    const float a = fabsf(v);
    uint8_t code = 0;

    while (code < 7 && a > cuts[code])
        code++;
    return (uint8_t)(code && v < 0 ? code | 8 : code);
}

static float mxfp4_codes(uint8_t q[QK], const float *x, const float *weight, int e)
{
    static const float values[8] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
    const float scale = ldexpf(1.0f, e), inv = ldexpf(1.0f, -e);
    float err = 0;

    for (size_t i = 0; i < QK; i++) {
        q[i] = e2m1_code(x[i] * inv);
        const float r = fabsf(x[i]) - values[q[i] & 7] * scale;
        err += (weight ? weight[i] : 1.0f) * (r * r);
    }
    return err;
}

/* The usual exponent puts the largest value at 4 .. 8, where 6 is the last code; one less or more
 * may leave a smaller error. */
static void encode_mxfp4(uint8_t *dst, const float *x, const float *weight, size_t n_elem)
{
    for (size_t b = 0; b < n_elem / QK; b++, x += QK, dst += 17) {
        const float *w = weight ? weight + b * QK : NULL;
        float amax = 0, best = INFINITY;
        uint8_t q[QK];
        int usual;

        for (size_t i = 0; i < QK; i++)
            amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
        (void)frexpf(amax, &usual); /* amax = f 2^usual, f in [1/2, 1) */
        memset(dst, 0, 17);
        for (int k = 0; amax > 0 && k < 3; k++) {
            static const int around[3] = { 0, -1, 1 };
            int e = usual - 3 + around[k];

            e = e < -126 ? -126 : e > 125 ? 125 : e; /* both the power and its inverse are normal */
            const float err = mxfp4_codes(q, x, w, e);
            if (!(err < best))
                continue;
            best = err;
            dst[0] = (uint8_t)(e + 127);
            woq_ggml_put_nibbles(dst + 1, q);
        }
    }
}

bool woq_ggml_can_encode(const struct woq_ggml_type *type)
{
    switch (type->id) {
    case WOQ_GGML_F32:
    case WOQ_GGML_F16:
    case WOQ_GGML_BF16:
    case WOQ_GGML_Q8_0:
    case WOQ_GGML_TQ1_0:
    case WOQ_GGML_TQ2_0:
    case WOQ_GGML_MXFP4:
        return true;
    default:
        return woq_ggml_is_searched(type->id);
    }
}

static bool all_finite_half(const uint16_t *x, size_t n, uint16_t inf)
{
    unsigned bad = 0;

    for (size_t i = 0; i < n; i++)
        bad |= (x[i] & inf) == inf;
    return !bad;
}

static bool encode_scalars(void *restrict dst, const struct woq_ggml_type *type,
                           const float *restrict src, size_t n)
{
    woq_from_f32(dst, type->dtype, src, n);
    if (type->dtype == WOQ_F32)
        return woq_kernels()->all_finite_f32(src, n);
    return all_finite_half(dst, n, type->dtype == WOQ_F16 ? 0x7c00 : 0x7f80);
}

bool woq_ggml_encode(void *restrict dst, const struct woq_ggml_type *type,
                     const float *restrict src, const float *importance, size_t n_elem)
{
    const bool plain = type->id == WOQ_GGML_Q4_0 || type->id == WOQ_GGML_Q4_1 ||
                       type->id == WOQ_GGML_Q5_0 || type->id == WOQ_GGML_Q5_1;

    if (type->dtype != WOQ_NO_DTYPE)
        return encode_scalars(dst, type, src, n_elem);
    if (!woq_kernels()->all_finite_f32(src, n_elem)) /* codes of NaN are undefined: not computed */
        return false;
    if (type->id == WOQ_GGML_Q8_0 || (plain && !importance))
        return encode_plain(dst, type, src, n_elem);
    if (type->id == WOQ_GGML_TQ1_0 || type->id == WOQ_GGML_TQ2_0)
        return encode_ternary(dst, type, src, n_elem);
    if (type->id == WOQ_GGML_MXFP4) {
        encode_mxfp4(dst, src, importance, n_elem);
        return true;
    }
    return woq_ggml_search(dst, type->id, src, importance, n_elem);
}
