/* format.h -- the number formats of codes, one row each (algorithms.md 1.5, 1.5b, 6.9).
 *
 * A format other than "int" is a codebook: 2^bits values, of which a quantizer uses those that are
 * finite. A weight is divided by the scale of its group and takes the nearest of them. A new format
 * is one row of the table in lib/format.c; every quantizer, scheme and manual page follows. */
#ifndef WOQ_FORMAT_H
#define WOQ_FORMAT_H
#include <stdbool.h>
#include <stdint.h>
#include <woq/kernels.h>

/* What a scale may be before codes are chosen. */
enum woq_scale_type {
    WOQ_SCALE_FREE, /* any f32, or f16 where the scheme says so */
    WOQ_SCALE_E8M0, /* a power of two, 2^-127 .. 2^127, in one byte (OCP MX) */
    WOQ_SCALE_E4M3, /* an e4m3 value divided by one f32 of the whole tensor (NVFP4) */
};

struct woq_format {
    const char *name;
    const char *aliases; /* names of other tools, one blank apart; NULL = none */
    int bits;            /* of a code; 0 = as the scheme says */
    int group;           /* group size unless the scheme says another; 0 = as the scheme says */
    bool fixed_group;    /* it has no other */
    enum woq_scale_type scale;
    /* The value of each code: a list, or a small float of sign, exponent and mantissa. */
    const float *values;
    int mantissa_bits, bias;
    enum { WOQ_FLOAT_ALL, WOQ_FLOAT_FN, WOQ_FLOAT_IEEE, WOQ_FLOAT_FNUZ } special;
};

/* The canonical names, for tables of options; a unit test holds it to the table. */
#define WOQ_FORMAT_NAMES                                                                           \
    "int|nf4|fp4|fp4_e2m1|mxfp4|nvfp4|mxfp8|fp8_e4m3|fp8_e5m2|fp8_e4m3fnuz|fp8_e5m2fnuz"

/* By name or alias, of several with that alias the one with these bits, else the first; NULL if
 * there is none. The first row is "int". */
const struct woq_format *woq_format_find(const char *name, int bits);
/* The i-th row, NULL behind the last. */
const struct woq_format *woq_format_row(unsigned i);

/* The codebook, [2^bits]; codes that mean no number are NaN or infinite. Not for "int". */
void woq_format_lut(float *lut, const struct woq_format *f);
/* Is `lut` [2^bits] the codebook of that format? */
bool woq_format_has_lut(const struct woq_format *f, const float *lut, int bits);
/* The values that a quantizer uses, for the kernels; NULL for "int". Lives as long as the program.
 */
const struct woq_levels *woq_format_levels(const struct woq_format *f);
/* The largest of them: what the largest weight of a group is scaled to. */
float woq_format_top(const struct woq_format *f);

/* The level of x, as the kernels have it. */
static inline unsigned woq_level_of(const struct woq_levels *l, float x)
{
    unsigned at = 0;

    for (unsigned step = l->n > 16 ? 128 : 8; step > 0; step /= 2)
        at += x > l->cut[at + step - 1] ? step : 0;
    return at;
}

/* The codebooks of scales, [256]: bytes of E8M0, of e4m3, and of e5m3 without a sign. */
const float *woq_e8m0_lut(void);
const float *woq_e4m3_lut(void);
const float *woq_ue5m3_lut(void);
/* The map of bitsandbytes for values of -1 to 1, ascending: finer toward 0, ten to the power of -6
 * to 0 (Dettmers et al. 2022, arXiv:2110.02861, 2.1). */
const float *woq_dynamic_lut(void);
/* The index of the nearest value there, the lower one of two. */
uint8_t woq_dynamic_code(float x);
/* x > 0 as the byte of the nearest power of two, by ratio, within 2^-127 .. 2^127. */
uint8_t woq_e8m0_code(float x);
/* x >= 0 as the nearest e4m3 byte, ties to even, at most 448. */
uint8_t woq_e4m3_code(float x);

#endif
