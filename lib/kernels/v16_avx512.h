/* v16_avx512.h -- sixteen floats in one register, for the bodies (*_body.h). */
#ifndef WOQ_V16_H
#define WOQ_V16_H
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ISA avx512
#define V static inline __attribute__((always_inline))

typedef __m512 v16;
typedef __m512i v16i;

V __mmask16 v_first(size_t r) /* the first r lanes, r = 0..16 */
{
    return (__mmask16)((1u << r) - 1u);
}
V v16 v_set(float x)
{
    return _mm512_set1_ps(x);
}
V v16 v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
V v16 v_load_n(const float *p, size_t r, v16 fill)
{
    return _mm512_mask_loadu_ps(fill, v_first(r), p);
}
V void v_store(float *p, v16 x)
{
    _mm512_storeu_ps(p, x);
}
V void v_store_n(float *p, v16 x, size_t r)
{
    _mm512_mask_storeu_ps(p, v_first(r), x);
}
V v16 v_keep_n(v16 x, size_t r) /* 0 in the lanes from r on */
{
    return _mm512_maskz_mov_ps(v_first(r), x);
}
V v16 v_load_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
V v16 v_load_u8_n(const uint8_t *p, size_t r)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(v_first(r), p)));
}
V void v_store_u8(uint8_t *p, v16 x) /* integers 0..255 */
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x)));
}
V void v_store_u8_n(uint8_t *p, v16 x, size_t r)
{
    _mm_mask_storeu_epi8(p, v_first(r), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x)));
}
V v16 v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
V void v_store_f16(uint16_t *p, v16 x)
{
    _mm256_storeu_si256((__m256i *)p,
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
V v16 v_load_bf16(const uint16_t *p)
{
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));

    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
V void v_store_bf16(uint16_t *p, v16 x)
{
    const __m512i u = _mm512_castps_si512(x), upper = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i near = _mm512_srli_epi32(
        _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);

    _mm256_storeu_si256((__m256i *)p,
                        _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(near, nan, quiet)));
}
V v16 v_add(v16 a, v16 b)
{
    return _mm512_add_ps(a, b);
}
V v16 v_sub(v16 a, v16 b)
{
    return _mm512_sub_ps(a, b);
}
V v16 v_mul(v16 a, v16 b)
{
    return _mm512_mul_ps(a, b);
}
V v16 v_div(v16 a, v16 b)
{
    return _mm512_div_ps(a, b);
}
V v16 v_min(v16 a, v16 b) /* a < b ? a : b */
{
    return _mm512_min_ps(a, b);
}
V v16 v_max(v16 a, v16 b) /* a > b ? a : b */
{
    return _mm512_max_ps(a, b);
}
V v16 v_abs(v16 a)
{
    return _mm512_abs_ps(a);
}
V v16 v_neg(v16 a)
{
    return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f));
}
V v16 v_rint(v16 a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
V v16 v_if_gt(v16 a, v16 b, v16 yes, v16 no) /* a > b ? yes : no */
{
    return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), yes);
}
V v16 v_if_nan(v16 a, v16 yes, v16 no)
{
    return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), yes);
}
V int v_any_eq(v16 a, v16 b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ) != 0;
}
V v16 v_add_exponent(v16 y, v16 n) /* y * 2^n by integer addition */
{
    const __m512i shift = _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23);

    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y), shift));
}
V v16 v_lookup(const float *table, v16 at) /* table[at], integers as floats */
{
    return _mm512_i32gather_ps(_mm512_cvttps_epi32(at), table, 4);
}
V v16 v_lookup16(v16 table, v16 at) /* lane `at` of the table */
{
    return _mm512_permutexvar_ps(_mm512_cvttps_epi32(at), table);
}
V v16i v_bits_none(void)
{
    return _mm512_setzero_si512();
}
V v16i v_bits_max(v16i seen, v16 x) /* largest magnitude as an integer: inf and NaN are on top */
{
    return _mm512_max_epi32(seen, _mm512_castps_si512(v_abs(x)));
}
V int v_bits_finite(v16i seen)
{
    return _mm512_cmpge_epi32_mask(seen, _mm512_set1_epi32(0x7f800000)) == 0;
}
#define V_FOLD(name, op)                                                                           \
    V float name(v16 x)                                                                            \
    {                                                                                              \
        const __m256 a =                                                                           \
            _mm256_##op##_ps(_mm512_extractf32x8_ps(x, 1), _mm512_castps512_ps256(x));             \
        const __m128 b = _mm_##op##_ps(_mm256_extractf128_ps(a, 1), _mm256_castps256_ps128(a));    \
        const __m128 c = _mm_##op##_ps(_mm_movehl_ps(b, b), b);                                    \
        return _mm_cvtss_f32(_mm_##op##_ss(_mm_movehdup_ps(c), c));                                \
    }
V_FOLD(v_fold_add, add)
V_FOLD(v_fold_min, min)
V_FOLD(v_fold_max, max)

#endif
