/* ggml_grid.c -- see the header. */
#include <formats/ggml_grid.h>

#include <formats/ggml_encode.h>
#include <math.h>
#include <string.h>
#include <woq/kernels.h>

enum { QK = 32 }; /* elements per block of the types here */

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

/* MXFP4: e2m1 times a power of two for each 32 columns. */
static bool is_mxfp4(const struct woq_qview *q)
{
    static const float e2m1[8] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
    int e;

    if (!q->lut || q->bits != 4 || q->in_scale || q->g_idx || q->group_dim != 1 ||
        q->group_elems != QK || q->n_cols % QK)
        return false;
    for (size_t i = 0; i < 16; i++)
        if (q->lut[i] != (i < 8 ? e2m1[i] : -e2m1[i - 8]))
            return false;
    for (size_t i = 0; i < q->n_rows * q->n_groups; i++)
        if (frexpf(q->scale[i], &e) != 0.5f || e < -126 || e > 128)
            return false;
    return true;
}

static void encode_mxfp4(uint8_t *dst, const uint8_t *codes, const float *scale, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, dst += 17) {
        int e;

        (void)frexpf(scale[b], &e); /* 2^(e-1) */
        dst[0] = (uint8_t)(e + 126);
        woq_ggml_put_nibbles(dst + 1, codes + b * QK);
    }
}

int woq_ggml_grid(const struct woq_qview *q, const struct woq_ggml_type **type,
                  struct woq_error *err)
{
    static const char hint[] = "quantize with --bits 4, 5 or 8 and a group size that is a multiple "
                               "of 32, or put 'woq-dequant' before this and choose --type";
    static const enum woq_ggml_id sym_id[] = {
        [4] = WOQ_GGML_Q4_0, [5] = WOQ_GGML_Q5_0, [8] = WOQ_GGML_Q8_0
    };
    static const enum woq_ggml_id asym_id[] = { [4] = WOQ_GGML_Q4_1, [5] = WOQ_GGML_Q5_1 };
    bool bad, sym;

    if (is_mxfp4(q)) {
        *type = woq_ggml_type(WOQ_GGML_MXFP4);
        return WOQ_OK;
    }
    if (q->lut || q->in_scale || q->group_dim != 1 || q->g_idx)
        return woq_fail(err, WOQ_ETYPE, hint, "%s has no form in GGUF's blocks",
                        q->lut              ? "a codebook other than mxfp4"
                        : q->in_scale       ? "a scale per input"
                        : q->group_dim != 1 ? "group_dim 0"
                                            : "a permuted group index (act_order)");
    if (q->bits != 4 && q->bits != 5 && q->bits != 8)
        return woq_fail(err, WOQ_ETYPE, hint, "%d bits: GGUF's types here hold 4, 5 or 8", q->bits);
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
    *type = woq_ggml_type(sym ? sym_id[q->bits] : asym_id[q->bits]);
    return WOQ_OK;
}

bool woq_ggml_encode_codes(void *restrict dst, const struct woq_ggml_type *type,
                           const struct woq_qview *q, size_t row)
{
    const bool has_min = type->id == WOQ_GGML_Q4_1 || type->id == WOQ_GGML_Q5_1;
    const uint8_t *codes = q->codes + row * q->n_cols;
    const float *scale = q->scale + row * q->n_groups;
    const float *zero = q->zero ? q->zero + row * q->n_groups : NULL;
    bool ok = true;

    if (type->id == WOQ_GGML_MXFP4) {
        encode_mxfp4(dst, codes, scale, q->n_groups);
        return true;
    }
    for (size_t b = 0; b < q->n_cols / QK; b++, codes += QK) {
        const size_t g = q->n_groups > 1 ? b * QK / q->group_elems : 0;
        const float min = -(zero ? zero[g] : (float)(1 << (q->bits - 1))) * scale[g];
        uint8_t *at = (uint8_t *)dst + b * type->block_bytes;
        uint16_t d, m;

        ok = woq_scales_to_f16(&d, &scale[g], 1) && ok;
        memcpy(at, &d, 2);
        at += 2;
        if (has_min) {
            woq_kernels()->f32_to_f16(&m, &min, 1);
            ok = ok && (m & 0x7c00) != 0x7c00;
            memcpy(at, &m, 2);
            at += 2;
        }
        if (q->bits == 8)
            for (size_t i = 0; i < QK; i++)
                at[i] = codes[i] ^ 0x80;
        else if (q->bits == 5)
            woq_ggml_put_five_bits(at, codes);
        else
            woq_ggml_put_nibbles(at, codes);
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
