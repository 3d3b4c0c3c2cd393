/* format.c -- the table of number formats, and their codebooks.
 *
 * Values by code, as the file formats store them: nf4 ascending and fp4 in the order of
 * bitsandbytes, small floats as sign, exponent, mantissa. fp4 and fp4_e2m1 are scaled so that the
 * largest value is 1; the smallest magnitude is 0.0625 before that, which OCP's E2M1 (mxfp4, nvfp4)
 * does not have (algorithms.md 1.5). */
#include <woq/format.h>
#include <woq/util.h>

#include <math.h>
#include <pthread.h>
#include <string.h>

/* clang-format off */
static const float nf4[16] = { /* Dettmers et al. 2023, arXiv:2305.14314, appendix E */
    -1.0f,                 -0.6961928009986877f,  -0.5250730514526367f,  -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f,  0.16093020141124725f,  0.24611230194568634f,  0.33791524171829224f,
    0.44070982933044434f,  0.5626170039176941f,   0.7229568362236023f,   1.0f,
};
#define HALF(s, d, a, b, c, e, f, g, h) /* the eight magnitudes of one sign */                     \
    0.0f, s (a / d), s (b / d), s (c / d), s (e / d), s (f / d), s (g / d), s (h / d)
#define BOTH(...) { HALF(+, __VA_ARGS__), HALF(-, __VA_ARGS__) }
static const float fp4[16] = BOTH(12.0f, 0.0625f, 8.0f, 12.0f, 4.0f, 6.0f, 2.0f, 3.0f);
static const float fp4_e2m1[16] = BOTH(6.0f, 0.0625f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f);

#define E2M1 .mantissa_bits = 1, .bias = 1, .special = WOQ_FLOAT_ALL
#define E4M3 .mantissa_bits = 3, .bias = 7, .special = WOQ_FLOAT_FN
static const struct woq_format rows[] = {
    { "int", NULL },
    { "nf4", "nf", 4, .values = nf4 },
    { "fp4", "fp4_e2m1_bnb", 4, .values = fp4 },
    { "fp4_e2m1", NULL, 4, .values = fp4_e2m1 },
    { "mxfp4", "mx_fp mx_fp4 mx_fp4e2m1", 4, 32, true, WOQ_SCALE_E8M0, E2M1 },
    { "nvfp4", "nv_fp nv_fp4 fp4_v2", 4, 16, true, WOQ_SCALE_E4M3, E2M1 },
    { "mxfp8", "mx_fp mx_fp8 mx_fp8e4m3", 8, 32, true, WOQ_SCALE_E8M0, E4M3 },
    { "fp8_e4m3", "fp8 fp8_e4m3fn", 8, -1, E4M3 },
    { "fp8_e5m2", NULL, 8, -1, .mantissa_bits = 2, .bias = 15, .special = WOQ_FLOAT_IEEE },
    { "fp8_e4m3fnuz", NULL, 8, -1, .mantissa_bits = 3, .bias = 8, .special = WOQ_FLOAT_FNUZ },
    { "fp8_e5m2fnuz", NULL, 8, -1, .mantissa_bits = 2, .bias = 16, .special = WOQ_FLOAT_FNUZ },
};
/* clang-format on */
#define N_FORMATS (sizeof rows / sizeof rows[0])

static struct woq_levels levels[N_FORMATS];
static float e8m0[256], e4m3[256], ue5m3[256];
static struct woq_levels dynamic;
static pthread_once_t once = PTHREAD_ONCE_INIT;

const struct woq_format *woq_format_find(const char *name, int bits)
{
    const struct woq_format *first = NULL;

    for (size_t i = 0; name && i < N_FORMATS; i++) {
        if (strcmp(rows[i].name, name) != 0 && !woq_word_in(rows[i].aliases, name))
            continue;
        if (rows[i].bits == bits)
            return &rows[i];
        first = first ? first : &rows[i];
    }
    return first;
}

const struct woq_format *woq_format_row(unsigned i)
{
    return i < N_FORMATS ? &rows[i] : NULL;
}

/* A small float; what its flavour of special codes takes away is NaN or infinite. */
static float float_value(const struct woq_format *f, unsigned code)
{
    const unsigned sign = code >> (f->bits - 1), low = code & ((1U << (f->bits - 1)) - 1);
    const unsigned m = low & ((1U << f->mantissa_bits) - 1), e = low >> f->mantissa_bits;
    const unsigned top = (1U << (f->bits - 1)) - 1, top_e = top >> f->mantissa_bits;
    float x;

    if (f->special == WOQ_FLOAT_FNUZ && sign && low == 0)
        return NAN;
    if (f->special == WOQ_FLOAT_FN && low == top)
        return NAN;
    if (f->special == WOQ_FLOAT_IEEE && e == top_e)
        return m ? NAN : sign ? -INFINITY : INFINITY;
    x = e ? ldexpf((float)(m + (1U << f->mantissa_bits)), (int)e - f->bias - f->mantissa_bits)
          : ldexpf((float)m, 1 - f->bias - f->mantissa_bits);
    return sign ? -x : x;
}

static float value_of(const struct woq_format *f, unsigned code)
{
    return f->values ? f->values[code] : float_value(f, code);
}

/* Of two levels: -0 lies below +0. */
static bool is_below(float a, float b)
{
    return a < b || (a == b && signbit(a) && !signbit(b));
}

/* Insertion keeps them ascending; the second zero of a list has no use, a small float keeps the
 * sign of a weight that rounds to 0, as the formats' own encoders do. */
static void insert(struct woq_levels *l, const struct woq_format *f, unsigned code)
{
    const float x = value_of(f, code);
    unsigned at = l->n;

    if (!isfinite(x) || (f->values && x == 0.0f && code >= 8))
        return;
    for (; at > 0 && is_below(x, l->value[at - 1]); at--) {
        l->value[at] = l->value[at - 1];
        l->code[at] = l->code[at - 1];
    }
    l->value[at] = x;
    l->code[at] = (float)code;
    l->n++;
}

/* The largest x that belongs to level i or below. Midpoints belong to the lower level of a list,
 * to the level with the even code of a small float: ties to even. */
static float cut_behind(const struct woq_levels *l, const struct woq_format *f, unsigned i)
{
    const double middle = ((double)l->value[i] + (double)l->value[i + 1]) / 2;
    const bool up = !f->values && ((unsigned)l->code[i] & 1);

    if (l->value[i] == 0.0f && l->value[i + 1] == 0.0f) /* -0 and +0: both zeros are +0 */
        return -0x1p-149f;
    return up ? nextafterf((float)middle, -INFINITY) : (float)middle;
}

static void build_levels(struct woq_levels *l, const struct woq_format *f)
{
    for (unsigned code = 0; code < 1U << f->bits; code++)
        insert(l, f, code);
    for (unsigned i = 0; i < 256; i++)
        l->cut[i] = i + 1 < l->n ? cut_behind(l, f, i) : INFINITY;
}

static void add_dynamic(float x)
{
    unsigned at = dynamic.n++;

    for (; at > 0 && x < dynamic.value[at - 1]; at--)
        dynamic.value[at] = dynamic.value[at - 1];
    dynamic.value[at] = x;
}

/* The i-th of n + 1 points from 0.1 to 1, as torch.linspace rounds it: bitsandbytes' own values. */
static float border(int i, int n)
{
    const float step = (1.0f - 0.1f) / (float)n;

    return i < (n + 1) / 2 ? fmaf(step, (float)i, 0.1f) : fmaf(-step, (float)(n - i), 1.0f);
}

/* For each power of ten, 2^e intervals between 0.1 and 1 by their middles; 0 and 1
 * (formats.md 4.f).
 */
static void build_dynamic(void)
{
    static const struct woq_format list = { .values = nf4 }; /* ties as a list of values has them */

    for (int e = 0; e < 7; e++)
        for (int i = 0; i < 1 << e; i++) {
            const float middle = (border(i, 1 << e) + border(i + 1, 1 << e)) / 2;
            const float x = (float)pow(10, e - 6) * middle;
            add_dynamic(x);
            add_dynamic(-x);
        }
    add_dynamic(0);
    add_dynamic(1);
    for (unsigned i = 0; i < 256; i++) {
        dynamic.code[i] = (float)i;
        dynamic.cut[i] = i < 255 ? cut_behind(&dynamic, &list, i) : INFINITY;
    }
}

static void build(void)
{
    /* Its sign bit would be the ninth. */
    static const struct woq_format unsigned_e5m3 = {
        .bits = 9, .mantissa_bits = 3, .bias = 15, .special = WOQ_FLOAT_FN
    };

    for (size_t i = 1; i < N_FORMATS; i++)
        build_levels(&levels[i], &rows[i]);
    for (unsigned i = 0; i < 256; i++)
        e8m0[i] = i < 255 ? ldexpf(1, (int)i - 127) : NAN;
    for (unsigned i = 0; i < 256; i++)
        ue5m3[i] = float_value(&unsigned_e5m3, i);
    build_dynamic();
    woq_format_lut(e4m3, woq_format_find("fp8_e4m3", 8));
}

void woq_format_lut(float *lut, const struct woq_format *f)
{
    for (unsigned code = 0; code < 1U << f->bits; code++)
        lut[code] = value_of(f, code);
}

bool woq_format_has_lut(const struct woq_format *f, const float *lut, int bits)
{
    bool same = f && lut && f->bits == bits;

    for (unsigned code = 0; same && code < 1U << bits; code++) {
        const float x = value_of(f, code);
        same = x == lut[code] || (isnan(x) && isnan(lut[code]));
    }
    return same;
}

const struct woq_levels *woq_format_levels(const struct woq_format *f)
{
    pthread_once(&once, build);
    return f == rows ? NULL : &levels[f - rows];
}

float woq_format_top(const struct woq_format *f)
{
    const struct woq_levels *l = woq_format_levels(f);

    return l ? l->value[l->n - 1] : 0.0f;
}

const float *woq_e8m0_lut(void)
{
    pthread_once(&once, build);
    return e8m0;
}

const float *woq_e4m3_lut(void)
{
    pthread_once(&once, build);
    return e4m3;
}

const float *woq_ue5m3_lut(void)
{
    pthread_once(&once, build);
    return ue5m3;
}

const float *woq_dynamic_lut(void)
{
    pthread_once(&once, build);
    return dynamic.value;
}

uint8_t woq_dynamic_code(float x)
{
    pthread_once(&once, build);
    return (uint8_t)woq_level_of(&dynamic, x);
}

uint8_t woq_e8m0_code(float x)
{
    int e;
    const double m = frexp((double)x, &e); /* m in [1/2, 1) */
    const int code = e + 127 - (m < 0.70710678118654752);

    return (uint8_t)(code < 0 ? 0 : code > 254 ? 254 : code);
}

uint8_t woq_e4m3_code(float x)
{
    const struct woq_levels *l = woq_format_levels(woq_format_find("fp8_e4m3", 8));

    return (uint8_t)l->code[woq_level_of(l, x)];
}
