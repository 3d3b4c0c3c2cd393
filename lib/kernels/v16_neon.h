/* v16_neon.h -- sixteen floats in four registers, for the bodies (*_body.h). ARMv8-A.
 *
 * fmin and fmax treat zeros and NaN in another way than the definition (lanes_ref.h), so minima and
 * maxima are a comparison and a selection. */
#ifndef WOQ_V16_H
#define WOQ_V16_H
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ISA neon
#define V static inline __attribute__((always_inline))

typedef float32x4x4_t v16;
typedef int32x4x4_t v16i;

/* One line per quarter q. */
#define V_EACH(q) for (int q = 0; q < 4; q++)

V v16 v_set(float x)
{
    v16 r;

    V_EACH(q) r.val[q] = vdupq_n_f32(x);
    return r;
}
V v16 v_load(const float *p)
{
    v16 r;

    V_EACH(q) r.val[q] = vld1q_f32(p + 4 * q);
    return r;
}
V void v_store(float *p, v16 x)
{
    V_EACH(q) vst1q_f32(p + 4 * q, x.val[q]);
}
V v16 v_load_n(const float *p, size_t r, v16 fill)
{
    float lanes[16];

    v_store(lanes, fill);
    memcpy(lanes, p, r * sizeof *p);
    return v_load(lanes);
}
V void v_store_n(float *p, v16 x, size_t r)
{
    float lanes[16];

    v_store(lanes, x);
    memcpy(p, lanes, r * sizeof *p);
}
V v16 v_keep_n(v16 x, size_t r) /* 0 in the lanes from r on */
{
    float lanes[16] = { 0 };

    v_store_n(lanes, x, r);
    return v_load(lanes);
}
V v16 v_load_u8(const uint8_t *p)
{
    const uint8x16_t b = vld1q_u8(p);
    const uint16x8_t lo = vmovl_u8(vget_low_u8(b)), hi = vmovl_u8(vget_high_u8(b));
    v16 r;

    r.val[0] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(lo)));
    r.val[1] = vcvtq_f32_u32(vmovl_u16(vget_high_u16(lo)));
    r.val[2] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(hi)));
    r.val[3] = vcvtq_f32_u32(vmovl_u16(vget_high_u16(hi)));
    return r;
}
V v16 v_load_u8_n(const uint8_t *p, size_t r)
{
    uint8_t bytes[16] = { 0 };

    memcpy(bytes, p, r);
    return v_load_u8(bytes);
}
V void v_store_u8(uint8_t *p, v16 x) /* integers 0..255 */
{
    const uint16x8_t lo =
        vcombine_u16(vmovn_u32(vcvtq_u32_f32(x.val[0])), vmovn_u32(vcvtq_u32_f32(x.val[1])));
    const uint16x8_t hi =
        vcombine_u16(vmovn_u32(vcvtq_u32_f32(x.val[2])), vmovn_u32(vcvtq_u32_f32(x.val[3])));

    vst1q_u8(p, vcombine_u8(vmovn_u16(lo), vmovn_u16(hi)));
}
V void v_store_u8_n(uint8_t *p, v16 x, size_t r)
{
    uint8_t bytes[16];

    v_store_u8(bytes, x);
    memcpy(p, bytes, r);
}
V v16 v_load_f16(const uint16_t *p)
{
    v16 r;

    V_EACH(q) r.val[q] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * q)));
    return r;
}
V void v_store_f16(uint16_t *p, v16 x)
{
    V_EACH(q) vst1_u16(p + 4 * q, vreinterpret_u16_f16(vcvt_f16_f32(x.val[q])));
}
V v16 v_load_bf16(const uint16_t *p)
{
    v16 r;

    V_EACH(q) r.val[q] = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * q), 16));
    return r;
}
V uint16x4_t v_quarter_to_bf16(float32x4_t x)
{
    const uint32x4_t u = vreinterpretq_u32_f32(x), upper = vshrq_n_u32(u, 16);
    const uint32x4_t odd = vandq_u32(upper, vdupq_n_u32(1));
    const uint32x4_t near = vshrq_n_u32(vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
    const uint32x4_t quiet = vorrq_u32(upper, vdupq_n_u32(0x40));

    return vmovn_u32(vbslq_u32(vceqq_f32(x, x), near, quiet));
}
V void v_store_bf16(uint16_t *p, v16 x)
{
    V_EACH(q) vst1_u16(p + 4 * q, v_quarter_to_bf16(x.val[q]));
}
V v16 v_add(v16 a, v16 b)
{
    V_EACH(q) a.val[q] = vaddq_f32(a.val[q], b.val[q]);
    return a;
}
V v16 v_sub(v16 a, v16 b)
{
    V_EACH(q) a.val[q] = vsubq_f32(a.val[q], b.val[q]);
    return a;
}
V v16 v_mul(v16 a, v16 b)
{
    V_EACH(q) a.val[q] = vmulq_f32(a.val[q], b.val[q]);
    return a;
}
V v16 v_div(v16 a, v16 b)
{
    V_EACH(q) a.val[q] = vdivq_f32(a.val[q], b.val[q]);
    return a;
}
V float32x4_t v_quarter_min(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
V float32x4_t v_quarter_max(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
V v16 v_min(v16 a, v16 b) /* a < b ? a : b */
{
    V_EACH(q) a.val[q] = v_quarter_min(a.val[q], b.val[q]);
    return a;
}
V v16 v_max(v16 a, v16 b) /* a > b ? a : b */
{
    V_EACH(q) a.val[q] = v_quarter_max(a.val[q], b.val[q]);
    return a;
}
V v16 v_abs(v16 a)
{
    V_EACH(q) a.val[q] = vabsq_f32(a.val[q]);
    return a;
}
V v16 v_neg(v16 a)
{
    V_EACH(q) a.val[q] = vnegq_f32(a.val[q]);
    return a;
}
V v16 v_rint(v16 a)
{
    V_EACH(q) a.val[q] = vrndnq_f32(a.val[q]);
    return a;
}
V v16 v_if_gt(v16 a, v16 b, v16 yes, v16 no) /* a > b ? yes : no */
{
    V_EACH(q) no.val[q] = vbslq_f32(vcgtq_f32(a.val[q], b.val[q]), yes.val[q], no.val[q]);
    return no;
}
V v16 v_if_nan(v16 a, v16 yes, v16 no)
{
    V_EACH(q) no.val[q] = vbslq_f32(vceqq_f32(a.val[q], a.val[q]), no.val[q], yes.val[q]);
    return no;
}
V int v_any_eq(v16 a, v16 b)
{
    uint32x4_t any = vdupq_n_u32(0);

    V_EACH(q) any = vorrq_u32(any, vceqq_f32(a.val[q], b.val[q]));
    return vmaxvq_u32(any) != 0;
}
V v16 v_add_exponent(v16 y, v16 n) /* y * 2^n by integer addition */
{
    V_EACH(q)
    y.val[q] = vreinterpretq_f32_s32(
        vaddq_s32(vreinterpretq_s32_f32(y.val[q]), vshlq_n_s32(vcvtq_s32_f32(n.val[q]), 23)));
    return y;
}
V v16 v_lookup(const float *table, v16 at) /* table[at], integers as floats */
{
    float x[16];

    v_store(x, at);
    for (int i = 0; i < 16; i++)
        x[i] = table[(int)x[i]];
    return v_load(x);
}
V v16 v_lookup16(v16 table, v16 at) /* lane `at` of the table */
{
    float lanes[16];

    v_store(lanes, table);
    return v_lookup(lanes, at);
}
V v16i v_bits_none(void)
{
    v16i none;

    V_EACH(q) none.val[q] = vdupq_n_s32(0);
    return none;
}
V v16i v_bits_max(v16i seen, v16 x) /* largest magnitude as an integer: inf and NaN are on top */
{
    V_EACH(q) seen.val[q] = vmaxq_s32(seen.val[q], vreinterpretq_s32_f32(vabsq_f32(x.val[q])));
    return seen;
}
V int v_bits_finite(v16i seen)
{
    int32x4_t top = seen.val[0];

    V_EACH(q) top = vmaxq_s32(top, seen.val[q]);
    return vmaxvq_s32(top) < 0x7f800000;
}
#define V_FOLD(name, op)                                                                           \
    V float name(v16 x)                                                                            \
    {                                                                                              \
        const float32x4_t a = op(op(x.val[3], x.val[1]), op(x.val[2], x.val[0]));                  \
        const float32x4_t b = op(vextq_f32(a, a, 2), a);                                           \
        return vgetq_lane_f32(op(vextq_f32(b, b, 1), b), 0);                                       \
    }
V_FOLD(v_fold_add, vaddq_f32)
V_FOLD(v_fold_min, v_quarter_min)
V_FOLD(v_fold_max, v_quarter_max)

#endif
