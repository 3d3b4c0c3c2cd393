/* v16_ref.h -- sixteen floats in plain C, for bodies that work on whole vectors and so need no
 * second wording: here the body itself is the definition. */
#ifndef WOQ_V16_H
#define WOQ_V16_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define ISA ref
#define V static inline __attribute__((always_inline))
#define V_LANES for (int i = 0; i < 16; i++)

typedef struct {
    float f[16];
} v16;

V v16 v_set(float x)
{
    v16 r;

    V_LANES r.f[i] = x;
    return r;
}
V v16 v_load(const float *p)
{
    v16 r;

    V_LANES r.f[i] = p[i];
    return r;
}
V void v_store(float *p, v16 x)
{
    V_LANES p[i] = x.f[i];
}
V void v_store_u8(uint8_t *p, v16 x) /* integers 0..255 */
{
    V_LANES p[i] = (uint8_t)x.f[i];
}
#define V_BINARY(name, value)                                                                      \
    V v16 name(v16 a, v16 b)                                                                       \
    {                                                                                              \
        V_LANES a.f[i] = value;                                                                    \
        return a;                                                                                  \
    }
V_BINARY(v_add, a.f[i] + b.f[i])
V_BINARY(v_sub, a.f[i] - b.f[i])
V_BINARY(v_mul, a.f[i] * b.f[i])
V_BINARY(v_div, a.f[i] / b.f[i])
V_BINARY(v_min, a.f[i] < b.f[i] ? a.f[i] : b.f[i])
V_BINARY(v_max, a.f[i] > b.f[i] ? a.f[i] : b.f[i])
V v16 v_abs(v16 a)
{
    V_LANES a.f[i] = fabsf(a.f[i]);
    return a;
}
V v16 v_rint(v16 a) /* |a| < 2^22: the sum has no bits left for a fraction */
{
    V_LANES a.f[i] = (a.f[i] + 0x1.8p23f) - 0x1.8p23f;
    return a;
}
V v16 v_if_gt(v16 a, v16 b, v16 yes, v16 no) /* a > b ? yes : no */
{
    V_LANES no.f[i] = a.f[i] > b.f[i] ? yes.f[i] : no.f[i];
    return no;
}

#endif
