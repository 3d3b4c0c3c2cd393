/* v16_avx2.h -- sixteen floats in two registers, for the bodies (*_body.h). */
#ifndef WOQ_V16_H
#define WOQ_V16_H
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ISA avx2
#define V static inline __attribute__((always_inline))

typedef struct {
    __m256 lo, hi;
} v16;
typedef struct {
    __m256i lo, hi;
} v16i;

static const int32_t v_mask_table[32] = { -1, -1, -1, -1, -1, -1, -1, -1,
                                          -1, -1, -1, -1, -1, -1, -1, -1 };

V v16 v_pair(__m256 lo, __m256 hi)
{
    const v16 x = { lo, hi };

    return x;
}
V v16 v_set(float x)
{
    return v_pair(_mm256_set1_ps(x), _mm256_set1_ps(x));
}
V v16 v_load(const float *p)
{
    return v_pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
V __m256i v_mask(size_t r, int half) /* ones in the lanes of this half that are below r */
{
    return _mm256_loadu_si256((const __m256i *)(v_mask_table + 16 - r + 8 * half));
}
V v16 v_load_n(const float *p, size_t r, v16 fill)
{
    const __m256i lo = v_mask(r, 0), hi = v_mask(r, 1);

    return v_pair(
        _mm256_blendv_ps(fill.lo, _mm256_maskload_ps(p, lo), _mm256_castsi256_ps(lo)),
        _mm256_blendv_ps(fill.hi, _mm256_maskload_ps(p + 8, hi), _mm256_castsi256_ps(hi)));
}
V void v_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.lo);
    _mm256_storeu_ps(p + 8, x.hi);
}
V void v_store_n(float *p, v16 x, size_t r)
{
    _mm256_maskstore_ps(p, v_mask(r, 0), x.lo);
    _mm256_maskstore_ps(p + 8, v_mask(r, 1), x.hi);
}
V v16 v_keep_n(v16 x, size_t r) /* 0 in the lanes from r on */
{
    return v_pair(_mm256_and_ps(x.lo, _mm256_castsi256_ps(v_mask(r, 0))),
                  _mm256_and_ps(x.hi, _mm256_castsi256_ps(v_mask(r, 1))));
}
V v16 v_from_bytes(__m128i b)
{
    return v_pair(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(b)),
                  _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(b, 8))));
}
V __m128i v_to_bytes(v16 x) /* integers 0..255 */
{
    const __m256i words = _mm256_packs_epi32(_mm256_cvttps_epi32(x.lo), _mm256_cvttps_epi32(x.hi));
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);

    return _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
}
V v16 v_load_u8(const uint8_t *p)
{
    return v_from_bytes(_mm_loadu_si128((const __m128i *)p));
}
V v16 v_load_u8_n(const uint8_t *p, size_t r)
{
    uint8_t bytes[16] = { 0 };

    memcpy(bytes, p, r);
    return v_load_u8(bytes);
}
V void v_store_u8(uint8_t *p, v16 x)
{
    _mm_storeu_si128((__m128i *)p, v_to_bytes(x));
}
V void v_store_u8_n(uint8_t *p, v16 x, size_t r)
{
    uint8_t bytes[16];

    v_store_u8(bytes, x);
    memcpy(p, bytes, r);
}
V v16 v_load_f16(const uint16_t *p)
{
    return v_pair(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                  _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}
V void v_store_f16(uint16_t *p, v16 x)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.hi, _MM_FROUND_TO_NEAREST_INT));
}
V __m256 v_half_from_bf16(const uint16_t *p)
{
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));

    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
V v16 v_load_bf16(const uint16_t *p)
{
    return v_pair(v_half_from_bf16(p), v_half_from_bf16(p + 8));
}
V __m256i v_half_to_bf16(__m256 x)
{
    const __m256i u = _mm256_castps_si256(x), upper = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i near = _mm256_srli_epi32(
        _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));

    return _mm256_blendv_epi8(near, quiet, nan);
}
V void v_store_bf16(uint16_t *p, v16 x)
{
    const __m256i words = _mm256_packus_epi32(v_half_to_bf16(x.lo), v_half_to_bf16(x.hi));

    _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(words, 0xd8));
}
V v16 v_add(v16 a, v16 b)
{
    return v_pair(_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi));
}
V v16 v_sub(v16 a, v16 b)
{
    return v_pair(_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi));
}
V v16 v_mul(v16 a, v16 b)
{
    return v_pair(_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi));
}
V v16 v_div(v16 a, v16 b)
{
    return v_pair(_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi));
}
V v16 v_min(v16 a, v16 b) /* a < b ? a : b */
{
    return v_pair(_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi));
}
V v16 v_max(v16 a, v16 b) /* a > b ? a : b */
{
    return v_pair(_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi));
}
V v16 v_abs(v16 a)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);

    return v_pair(_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi));
}
V v16 v_neg(v16 a)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);

    return v_pair(_mm256_xor_ps(sign, a.lo), _mm256_xor_ps(sign, a.hi));
}
V v16 v_rint(v16 a)
{
    return v_pair(_mm256_round_ps(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                  _mm256_round_ps(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
V v16 v_if_gt(v16 a, v16 b, v16 yes, v16 no) /* a > b ? yes : no */
{
    return v_pair(_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_GT_OQ)),
                  _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_GT_OQ)));
}
V v16 v_if_nan(v16 a, v16 yes, v16 no)
{
    return v_pair(_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, a.lo, _CMP_UNORD_Q)),
                  _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, a.hi, _CMP_UNORD_Q)));
}
V int v_any_eq(v16 a, v16 b)
{
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ),
                                           _mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ))) != 0;
}
V __m256 v_half_add_exponent(__m256 y, __m256 n)
{
    const __m256i shift = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);

    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), shift));
}
V v16 v_add_exponent(v16 y, v16 n) /* y * 2^n by integer addition */
{
    return v_pair(v_half_add_exponent(y.lo, n.lo), v_half_add_exponent(y.hi, n.hi));
}
V __m256i v_half_index(__m256 x)
{
    return _mm256_cvttps_epi32(x);
}
V v16 v_lookup(const float *table, v16 at) /* table[at], integers as floats */
{
    return v_pair(_mm256_i32gather_ps(table, v_half_index(at.lo), 4),
                  _mm256_i32gather_ps(table, v_half_index(at.hi), 4));
}
V __m256 v_half_lookup16(v16 table, __m256 at)
{
    const __m256i i = v_half_index(at);

    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.lo, i),
                            _mm256_permutevar8x32_ps(table.hi, i),
                            _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}
V v16 v_lookup16(v16 table, v16 at) /* lane `at` of the table */
{
    return v_pair(v_half_lookup16(table, at.lo), v_half_lookup16(table, at.hi));
}
V v16i v_bits_none(void)
{
    const v16i none = { _mm256_setzero_si256(), _mm256_setzero_si256() };

    return none;
}
V v16i v_bits_max(v16i seen, v16 x) /* largest magnitude as an integer: inf and NaN are on top */
{
    const v16 a = v_abs(x);

    seen.lo = _mm256_max_epi32(seen.lo, _mm256_castps_si256(a.lo));
    seen.hi = _mm256_max_epi32(seen.hi, _mm256_castps_si256(a.hi));
    return seen;
}
V int v_bits_finite(v16i seen)
{
    const __m256i top = _mm256_max_epi32(seen.lo, seen.hi);

    return _mm256_movemask_epi8(_mm256_cmpgt_epi32(top, _mm256_set1_epi32(0x7f7fffff))) == 0;
}
#define V_FOLD(name, op)                                                                           \
    V float name(v16 x)                                                                            \
    {                                                                                              \
        const __m256 a = _mm256_##op##_ps(x.hi, x.lo);                                             \
        const __m128 b = _mm_##op##_ps(_mm256_extractf128_ps(a, 1), _mm256_castps256_ps128(a));    \
        const __m128 c = _mm_##op##_ps(_mm_movehl_ps(b, b), b);                                    \
        return _mm_cvtss_f32(_mm_##op##_ss(_mm_movehdup_ps(c), c));                                \
    }
V_FOLD(v_fold_add, add)
V_FOLD(v_fold_min, min)
V_FOLD(v_fold_max, max)

#endif
