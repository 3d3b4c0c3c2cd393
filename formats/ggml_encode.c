/* ggml_encode.c -- see the header. Scales are collected for a run of blocks and rounded to f16 at
 * once; codes are computed from the scale before its rounding, as ggml does. */
#include <formats/ggml_encode.h>

#include <math.h>
#include <string.h>
#include <woq/kernels.h>

enum { QK = 32, RUN = 64 }; /* elements per block, blocks per call of the f16 kernel */

struct type_row {
    const char *name, *file_name;
    enum woq_ggml_out type;
    size_t block, bytes;
};

/* clang-format off */
static const struct type_row types[] = {
    { "f32",  "F32",  WOQ_GGML_OUT_F32,  1, 4 },
    { "f16",  "F16",  WOQ_GGML_OUT_F16,  1, 2 },
    { "q4_0", "Q4_0", WOQ_GGML_OUT_Q4_0, QK, 18 },
    { "q4_1", "Q4_1", WOQ_GGML_OUT_Q4_1, QK, 20 },
    { "q8_0", "Q8_0", WOQ_GGML_OUT_Q8_0, QK, 34 },
};
/* clang-format on */

static const struct type_row *row_of(enum woq_ggml_out type)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].type == type)
            return &types[i];
    WOQ_BUG("ggml type without a row");
}

int woq_ggml_out_from_name(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (!strcmp(types[i].name, name))
            return (int)types[i].type;
    return -1;
}

const char *woq_ggml_out_name(enum woq_ggml_out type)
{
    return row_of(type)->file_name;
}

size_t woq_ggml_out_block(enum woq_ggml_out type)
{
    return row_of(type)->block;
}

size_t woq_ggml_out_bytes(enum woq_ggml_out type, size_t n_elem)
{
    return n_elem / row_of(type)->block * row_of(type)->bytes;
}

/* A zero or denormal scale has no usable reciprocal: every code is then that of 0. */
static float reciprocal(float d)
{
    const float id = d != 0 ? 1.0f / d : 0.0f;
    return isfinite(id) ? id : 0.0f;
}

static uint8_t clamp15(float x)
{
    return x >= 15.0f ? 15 : (uint8_t)x;
}

static void join_nibbles(uint8_t qs[QK / 2], const uint8_t q[QK])
{
    for (size_t j = 0; j < QK / 2; j++)
        qs[j] = (uint8_t)(q[j] | q[j + QK / 2] << 4);
}

static float q4_0_block(uint8_t qs[QK / 2], const float *x)
{
    float amax = 0, max = 0, id;
    uint8_t q[QK];

    for (size_t i = 0; i < QK; i++)
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            max = x[i];
        }
    id = reciprocal(max / -8.0f);
    for (size_t i = 0; i < QK; i++)
        q[i] = clamp15(x[i] * id + 8.5f);
    join_nibbles(qs, q);
    return max / -8.0f;
}

static float q4_1_block(uint8_t qs[QK / 2], float *min_out, const float *x)
{
    float min = x[0], max = x[0], d, id;
    uint8_t q[QK];

    for (size_t i = 1; i < QK; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    d = (max - min) / 15.0f;
    id = reciprocal(d);
    for (size_t i = 0; i < QK; i++)
        q[i] = clamp15((x[i] - min) * id + 0.5f);
    join_nibbles(qs, q);
    *min_out = min;
    return d;
}

static float q8_0_block(int8_t qs[QK], const float *x)
{
    float amax = 0, id;

    for (size_t i = 0; i < QK; i++)
        amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    id = reciprocal(amax / 127.0f);
    for (size_t i = 0; i < QK; i++) {
        const float v = x[i] * id, a = fabsf(v);
        const int whole = (int)a, r = whole + (a - (float)whole >= 0.5f); /* half away from zero */
        qs[i] = (int8_t)(v < 0 ? -r : r);
    }
    return amax / 127.0f;
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

static bool encode_run(uint8_t *dst, enum woq_ggml_out type, const float *x, size_t n_blocks)
{
    const size_t bytes = row_of(type)->bytes;
    float d[RUN], min[RUN];

    for (size_t b = 0; b < n_blocks; b++, x += QK) {
        uint8_t *at = dst + b * bytes;
        if (type == WOQ_GGML_OUT_Q4_0)
            d[b] = q4_0_block(at + 2, x);
        else if (type == WOQ_GGML_OUT_Q4_1)
            d[b] = q4_1_block(at + 4, &min[b], x);
        else
            d[b] = q8_0_block((int8_t *)at + 2, x);
    }
    return put_scales(dst, bytes, d, type == WOQ_GGML_OUT_Q4_1 ? min : NULL, n_blocks);
}

static bool all_finite_f16(const uint16_t *x, size_t n)
{
    unsigned bad = 0;

    for (size_t i = 0; i < n; i++)
        bad |= (x[i] & 0x7c00) == 0x7c00;
    return !bad;
}

bool woq_ggml_encode(void *restrict dst, enum woq_ggml_out type, const float *restrict src,
                     size_t n_elem)
{
    const struct woq_kernels *k = woq_kernels();
    bool ok = true;

    if (type == WOQ_GGML_OUT_F32) {
        memcpy(dst, src, n_elem * sizeof *src);
        return k->all_finite_f32(src, n_elem);
    }
    if (type == WOQ_GGML_OUT_F16) {
        k->f32_to_f16(dst, src, n_elem);
        return all_finite_f16(dst, n_elem);
    }
    if (!k->all_finite_f32(src, n_elem)) /* codes of NaN are undefined: do not compute them */
        return false;
    for (size_t b = 0; b < n_elem / QK; b += RUN) {
        const size_t n = n_elem / QK - b < RUN ? n_elem / QK - b : RUN;
        ok = encode_run((uint8_t *)dst + b * row_of(type)->bytes, type, src + b * QK, n) && ok;
    }
    return ok;
}

/* True if every zero point is z; *bad receives the first that is no integer of 0..max. */
static bool zeros_are(const struct woq_qview *q, float z, bool *bad)
{
    const size_t n = q->n_rows * q->n_groups;
    const float max = (float)((1 << q->bits) - 1);
    bool all = true;

    *bad = false;
    for (size_t i = 0; q->zero && i < n; i++) {
        all = all && q->zero[i] == z;
        *bad = *bad || !(q->zero[i] >= 0 && q->zero[i] <= max);
    }
    return all;
}

int woq_ggml_grid(const struct woq_qview *q, enum woq_ggml_out *type, struct woq_error *err)
{
    static const char hint[] = "quantize with --bits 4 or 8 and a group size that is a multiple of "
                               "32, or put 'woq-dequant' before this and choose --type";
    bool bad, sym;

    if (q->lut || q->in_scale || q->group_dim != 1 || q->g_idx)
        return woq_fail(err, WOQ_ETYPE, hint, "%s has no form in GGUF's Q4_0, Q4_1 and Q8_0",
                        q->lut        ? "a codebook"
                        : q->in_scale ? "a scale per input"
                        : q->g_idx    ? "a permuted group index (act_order)"
                                      : "group_dim 0");
    if (q->bits != 4 && q->bits != 8)
        return woq_fail(err, WOQ_ETYPE, hint, "%d bits: GGUF's types here hold 4 or 8", q->bits);
    if (q->n_cols % QK || (q->n_groups > 1 && q->group_elems % QK))
        return woq_fail(err, WOQ_ETYPE, hint,
                        "%zu columns in groups of %zu: blocks have 32 columns and one scale",
                        q->n_cols, q->group_elems);
    sym = zeros_are(q, (float)(1 << (q->bits - 1)), &bad);
    if (bad)
        return woq_fail(err, WOQ_ETYPE, hint, "a zero point is outside 0..%d", (1 << q->bits) - 1);
    if (q->bits == 8 && !sym)
        return woq_fail(err, WOQ_ETYPE, "quantize 8 bits with --sym for GGUF",
                        "asymmetric 8-bit codes: Q8_0 has no zero point");
    *type = q->bits == 8 ? WOQ_GGML_OUT_Q8_0 : sym ? WOQ_GGML_OUT_Q4_0 : WOQ_GGML_OUT_Q4_1;
    return WOQ_OK;
}

bool woq_ggml_encode_codes(void *restrict dst, enum woq_ggml_out type, const struct woq_qview *q,
                           size_t row)
{
    const size_t n_blocks = q->n_cols / QK, bytes = row_of(type)->bytes;
    const uint8_t *codes = q->codes + row * q->n_cols;
    const float *scale = q->scale + row * q->n_groups;
    const float *zero = q->zero ? q->zero + row * q->n_groups : NULL;
    bool ok = true;

    for (size_t b = 0; b < n_blocks; b++, codes += QK) {
        const size_t g = q->n_groups > 1 ? b * QK / q->group_elems : 0;
        uint8_t *at = (uint8_t *)dst + b * bytes;
        uint16_t d, m;
        ok = woq_scales_to_f16(&d, &scale[g], 1) && ok;
        memcpy(at, &d, 2);
        if (type == WOQ_GGML_OUT_Q8_0) {
            for (size_t i = 0; i < QK; i++)
                at[2 + i] = codes[i] ^ 0x80;
        } else if (type == WOQ_GGML_OUT_Q4_0) {
            join_nibbles(at + 2, codes);
        } else {
            const float min = -(zero ? zero[g] : 8.0f) * scale[g];
            woq_kernels()->f32_to_f16(&m, &min, 1);
            ok = ok && (m & 0x7c00) != 0x7c00;
            memcpy(at + 2, &m, 2);
            join_nibbles(at + 4, codes);
        }
    }
    return ok;
}

bool woq_scales_to_f16(uint16_t *restrict dst, const float *restrict src, size_t n)
{
    float x[256];
    bool ok = true;

    for (size_t i = 0; i < n; i += 256) {
        const size_t m = n - i < 256 ? n - i : 256;
        for (size_t k = 0; k < m; k++) {
            const float a = fabsf(src[i + k]);
            ok = ok && a <= 65504.0f; /* false for NaN too */
            x[k] = copysignf(a < 6e-8f ? 6e-8f : a, src[i + k]);
        }
        woq_kernels()->f32_to_f16(dst + i, x, m);
    }
    return ok;
}
