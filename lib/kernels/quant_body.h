/* quant_body.h -- quant_ref.c on sixteen floats at a time; included after a v16_*.h.
 *
 * Lanes beyond the tail are filled with what leaves each accumulator as it is. */
#include "parts.h"
#include <math.h>

static float absmax_f32(const float *x, size_t n)
{
    v16 acc = v_set(0.0f);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        acc = v_max(v_abs(v_load(x + i)), acc);
    if (i < n)
        acc = v_max(v_abs(v_load_n(x + i, n - i, v_set(0.0f))), acc);
    return v_fold_max(acc);
}

V v16i minmax_run(float *min, float *max, const float *x, size_t n, v16i seen)
{
    v16 lo = v_set(INFINITY), hi = v_set(-INFINITY);
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        const v16 at = v_load(x + i);
        lo = v_min(at, lo);
        hi = v_max(at, hi);
        seen = v_bits_max(seen, at);
    }
    if (i < n) {
        lo = v_min(v_load_n(x + i, n - i, lo), lo);
        hi = v_max(v_load_n(x + i, n - i, hi), hi);
        seen = v_bits_max(seen, v_load_n(x + i, n - i, v_set(0.0f)));
    }
    *min = v_fold_min(lo);
    *max = v_fold_max(hi);
    if (*min > *max)
        *min = *max = 0.0f;
    return seen;
}

static void minmax_f32(float *min, float *max, const float *x, size_t n)
{
    minmax_run(min, max, x, n, v_bits_none());
}

static int all_finite_f32(const float *x, size_t n)
{
    v16i seen = v_bits_none();
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        seen = v_bits_max(seen, v_load(x + i));
    if (i < n)
        seen = v_bits_max(seen, v_load_n(x + i, n - i, v_set(0.0f)));
    return v_bits_finite(seen);
}

static int minmax_groups_f32(float *min, float *max, const float *x, size_t n, size_t group)
{
    v16i seen = v_bits_none();

    for (size_t at = 0, g = 0; at < n; at += group, g++)
        seen = minmax_run(&min[g], &max[g], x + at, n - at < group ? n - at : group, seen);
    return v_bits_finite(seen);
}

static int minmax_cols_f32(float *min, float *max, const float *x, size_t n)
{
    const v16 none = v_set(0.0f);
    v16i seen = v_bits_none();
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        const v16 at = v_load(x + i);
        v_store(min + i, v_min(at, v_load(min + i)));
        v_store(max + i, v_max(at, v_load(max + i)));
        seen = v_bits_max(seen, at);
    }
    if (i < n) {
        const size_t r = n - i;
        const v16 at = v_load_n(x + i, r, none);
        v_store_n(min + i, v_min(at, v_load_n(min + i, r, none)), r);
        v_store_n(max + i, v_max(at, v_load_n(max + i, r, none)), r);
        seen = v_bits_max(seen, at);
    }
    return v_bits_finite(seen);
}

/* t = w / scale: for a whole zero point rint(t) + zero, for others the nearest all the same. */
V v16 code_at(v16 t, v16 zero, v16 maxq)
{
    const v16 whole = v_rint(zero);
    const v16 code = v_add(v_rint(v_add(t, v_sub(zero, whole))), whole);

    return v_min(v_max(code, v_set(0.0f)), maxq);
}

V v16 code_of(v16 w, v16 scale, v16 zero, v16 maxq)
{
    return code_at(v_div(w, scale), zero, maxq);
}

V void quant_run(uint8_t *codes, const float *w, size_t n, float scale, float zero, v16 maxq)
{
    const v16 s = v_set(scale), z = v_set(zero);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store_u8(codes + i, code_of(v_load(w + i), s, z, maxq));
    if (i < n)
        v_store_u8_n(codes + i, code_of(v_load_n(w + i, n - i, s), s, z, maxq), n - i);
}

static void quant_u8(uint8_t *codes, const float *w, size_t n, float scale, float zero, float maxq)
{
    quant_run(codes, w, n, scale, zero, v_set(maxq));
}

static void quant_groups_u8(uint8_t *codes, const float *w, size_t n, size_t group,
                            const float *scale, const float *zero, float mid, float maxq)
{
    const v16 top = v_set(maxq);

    for (size_t at = 0, g = 0; at < n; at += group, g++)
        quant_run(codes + at, w + at, n - at < group ? n - at : group, scale[g],
                  zero ? zero[g] : mid, top);
}

static void quant_cols_u8(uint8_t *codes, const float *w, size_t n, const float *scale,
                          const float *zero, float mid, float maxq)
{
    const v16 top = v_set(maxq), middle = v_set(mid);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store_u8(codes + i, code_of(v_load(w + i), v_load(scale + i),
                                      zero ? v_load(zero + i) : middle, top));
    if (i < n) {
        const size_t r = n - i;
        const v16 one = v_set(1.0f);
        v_store_u8_n(codes + i,
                     code_of(v_load_n(w + i, r, one), v_load_n(scale + i, r, one),
                             zero ? v_load_n(zero + i, r, middle) : middle, top),
                     r);
    }
}

V void dequant_run(float *dst, const uint8_t *codes, size_t n, float scale, float zero)
{
    const v16 s = v_set(scale), z = v_set(zero);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store(dst + i, v_mul(v_sub(v_load_u8(codes + i), z), s));
    if (i < n)
        v_store_n(dst + i, v_mul(v_sub(v_load_u8_n(codes + i, n - i), z), s), n - i);
}

static void dequant_u8(float *dst, const uint8_t *codes, size_t n, float scale, float zero)
{
    dequant_run(dst, codes, n, scale, zero);
}

static void dequant_groups_u8(float *dst, const uint8_t *codes, size_t n, size_t group,
                              const float *scale, const float *zero, float mid)
{
    for (size_t at = 0, g = 0; at < n; at += group, g++)
        dequant_run(dst + at, codes + at, n - at < group ? n - at : group, scale[g],
                    zero ? zero[g] : mid);
}

static void dequant_cols_u8(float *dst, const uint8_t *codes, size_t n, const float *scale,
                            const float *zero, float mid)
{
    const v16 middle = v_set(mid);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store(dst + i, v_mul(v_sub(v_load_u8(codes + i), zero ? v_load(zero + i) : middle),
                               v_load(scale + i)));
    if (i < n) {
        const size_t r = n - i;
        const v16 z = zero ? v_load_n(zero + i, r, middle) : middle;
        v_store_n(dst + i,
                  v_mul(v_sub(v_load_u8_n(codes + i, r), z), v_load_n(scale + i, r, middle)), r);
    }
}

V v16 square_err(v16 w, v16 inverse, v16 scale, v16 zero, v16 maxq)
{
    const v16 code = code_at(v_mul(w, inverse), zero, maxq);
    const v16 diff = v_sub(w, v_mul(v_sub(code, zero), scale));

    return v_mul(diff, diff);
}

V float err_run(const float *w, const float *weight, size_t n, float scale, float zero, float maxq)
{
    const v16 inv = v_set(1 / scale), s = v_set(scale), z = v_set(zero), top = v_set(maxq);
    const v16 none = v_set(0.0f);
    v16 acc = none;
    size_t i = 0;

    if (weight)
        for (; i + 16 <= n; i += 16)
            acc = v_add(acc, v_mul(v_load(weight + i), square_err(v_load(w + i), inv, s, z, top)));
    else
        for (; i + 16 <= n; i += 16)
            acc = v_add(acc, square_err(v_load(w + i), inv, s, z, top));
    if (i < n) {
        const size_t r = n - i;
        v16 sq = square_err(v_load_n(w + i, r, none), inv, s, z, top);
        if (weight)
            sq = v_mul(v_load_n(weight + i, r, none), sq);
        /* whatever the formula gives for a weight of 0 must not enter the lanes beyond the tail */
        acc = v_add(acc, v_keep_n(sq, r));
    }
    return v_fold_add(acc);
}

static float quant_err(const float *w, const float *weight, size_t n, float scale, float zero,
                       float maxq)
{
    return err_run(w, weight, n, scale, zero, maxq);
}

static void quant_err_groups(float *err, const float *w, const float *weight, size_t n,
                             size_t group, const float *scale, const float *zero, float mid,
                             float maxq)
{
    for (size_t at = 0, g = 0; at < n; at += group, g++)
        err[g] = err_run(w + at, weight ? weight + at : NULL, n - at < group ? n - at : group,
                         scale[g], zero ? zero[g] : mid, maxq);
}

/* Codes of sixteen elements, as bytes with the sign bit turned over. */
V void put_s8(int8_t *codes, v16 x, v16 id)
{
    const v16 v = v_mul(x, id), a = v_abs(v), near = v_rint(a), middle = v_set(128.0f);
    const v16 r = v_if_gt(v_set(0.5f), v_sub(a, near), near, v_add(near, v_set(1.0f)));
    const v16 code = v_if_gt(v_set(0.0f), v, v_sub(middle, r), v_add(middle, r));
    uint8_t bytes[16];

    v_store_u8(bytes, v_if_nan(v, middle, code));
    for (size_t i = 0; i < 16; i++)
        bytes[i] ^= 0x80;
    memcpy(codes, bytes, 16);
}

static void block32_s8(int8_t *codes, size_t stride, float *scale, const float *x, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, x += 32, codes += stride) {
        const v16 lo = v_load(x), hi = v_load(x + 16);
        const v16 seen = v_max(v_abs(hi), v_max(v_abs(lo), v_set(0.0f)));
        const float d = v_fold_max(seen) / 127.0f, inverse = 1.0f / d;
        const v16 id = v_set(d != 0.0f && isfinite(inverse) ? inverse : 0.0f);

        scale[b] = d;
        put_s8(codes, lo, id);
        put_s8(codes + 16, hi, id);
    }
}

const struct woq_kernels WOQ_PART(quant) = {
    .absmax_f32 = absmax_f32,
    .minmax_f32 = minmax_f32,
    .all_finite_f32 = all_finite_f32,
    .minmax_groups_f32 = minmax_groups_f32,
    .minmax_cols_f32 = minmax_cols_f32,
    .block32_s8 = block32_s8,
    .quant_u8 = quant_u8,
    .dequant_u8 = dequant_u8,
    .quant_err = quant_err,
    .quant_err_groups = quant_err_groups,
    .quant_groups_u8 = quant_groups_u8,
    .dequant_groups_u8 = dequant_groups_u8,
    .quant_cols_u8 = quant_cols_u8,
    .dequant_cols_u8 = dequant_cols_u8,
};
