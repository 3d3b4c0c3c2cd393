/* quant.c -- round to nearest against published results, and what must hold for any input.
 *
 * Golden values: codes, scales and zero points that Intel Neural Compressor 3.6 gives for W = sin(1
 * + 7 i + 3 j) (4 x 8, group 4) and for a 48 x 100 matrix of exact integers / 2^20 (group 32 with a
 * tail of 4); the hash is XXH64, seed 0, over the codes row by row, signed where symmetric. */
#include <woq/kernels.h>
#include <woq/quant.h>
#include <woq/stream.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX 8192

struct result {
    uint8_t codes[MAX];
    float scale[MAX], zero[MAX], w[MAX];
    size_t n_rows, n_cols, n_groups;
};

static uint64_t seed = 20240607;

static uint64_t splitmix(uint64_t k)
{
    uint64_t z = k * 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static float t4(uint64_t k)
{
    const uint64_t z = splitmix(k);
    const int64_t sum =
        (int64_t)((z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48)) - 131070;

    return (float)sum / 0x1p20f;
}

static struct woq_scheme scheme(const char *words)
{
    char text[256], *save, *word;
    struct woq_json *o = woq_json_object();
    struct woq_scheme s;
    struct woq_error err = { 0 };

    woq_scheme_init(&s);
    snprintf(text, sizeof text, "%s", words);
    for (word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        if (woq_scheme_set(o, word, &err) != WOQ_OK)
            fail_msg("%s: %s", word, err.what);
    assert_int_equal(woq_scheme_from_json(&s, o, &err), WOQ_OK);
    woq_json_free(o);
    return s;
}

static void rtn(struct result *r, const float *w, size_t n_rows, size_t n_cols, const char *words,
                const float *importance)
{
    const struct woq_scheme s = scheme(words);
    struct woq_error err = { 0 };
    struct woq_qview q = { .n_rows = n_rows,
                           .n_cols = n_cols,
                           .bits = s.bits,
                           .group_dim = s.group_dim,
                           .codes = r->codes,
                           .scale = r->scale };

    if (woq_rtn(r->codes, r->scale, r->zero, w, n_rows, n_cols, &s, importance, &err) != WOQ_OK)
        fail_msg("%s: %s", words, err.what);
    q.n_groups = woq_scheme_groups(&s, s.group_dim ? n_cols : n_rows);
    q.group_elems = woq_scheme_group_elems(&s, s.group_dim ? n_cols : n_rows);
    q.zero = woq_scheme_has_zero(&s) ? r->zero : NULL;
    woq_dequant_rows(r->w, &q, 0, n_rows);
    r->n_rows = n_rows;
    r->n_cols = n_cols;
    r->n_groups = q.n_groups;
}

static struct result res, res2;

/* --- the small matrix --- */
static void sine(float w[32])
{
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 8; j++)
            w[8 * i + j] = (float)sin(1.0 + 7 * i + 3 * j);
}

static void small(const char *words, size_t n_rows, const float *scale, const float *zero,
                  const int *signed_codes)
{
    const struct woq_scheme s = scheme(words);
    const int offset = s.sym && s.bits > 1 ? 1 << (s.bits - 1) : 0;
    float w[32];

    sine(w);
    rtn(&res, w, n_rows, 8, words, NULL);
    for (size_t i = 0; i < n_rows * res.n_groups; i++) {
        if (fabsf(res.scale[i] - scale[i]) > 1e-6f)
            fail_msg("%s: scale %zu is %f, want %f", words, i, (double)res.scale[i],
                     (double)scale[i]);
        if (zero && res.zero[i] != zero[i])
            fail_msg("%s: zero %zu is %f, want %f", words, i, (double)res.zero[i], (double)zero[i]);
    }
    for (size_t i = 0; i < 8 * n_rows; i++)
        if (res.codes[i] - offset != signed_codes[i])
            fail_msg("%s: code %zu is %d, want %d", words, i, res.codes[i] - offset,
                     signed_codes[i]);
}

static double mse(const float *w)
{
    double sum = 0;

    for (size_t i = 0; i < res.n_rows * res.n_cols; i++)
        sum += ((double)res.w[i] - (double)w[i]) * ((double)res.w[i] - (double)w[i]);
    return sum / (double)(res.n_rows * res.n_cols);
}

/* clang-format off */
static void int4_sym(void **unused)
{
    static const float scale[] = { 0.120210f, 0.060024f, 0.142856f, 0.130421f,
                                   0.129368f, 0.142845f, 0.057720f, 0.118825f };
    static const int q[] = { 7, -6, 5, -5, 7, -5, 2, 0,  7, -7, 7, -7, 7, -6, 6, -5,
                             5, -6, 6, -7, 7, -7, 7, -7, 0, -2, 5, -7, 4, -5, 6, -7 };
    float w[32];

    (void)unused;
    small("group_size=4", 4, scale, NULL, q);
    sine(w);
    assert_true(fabs(mse(w) - 8.90361e-4) < 1e-8);
    rtn(&res, w, 4, 8, "group_size=4 search=clip", NULL); /* ratio 0.98 */
    assert_true(fabsf(res.scale[0] - 0.98f * 0.120210f) < 1e-6f);
    assert_true(fabs(mse(w) - 8.06998e-4) < 1e-8);
}

static void int4_sym_full_range(void **unused)
{
    static const float scale[] = { -0.105184f, -0.052521f, 0.124999f, -0.114118f,
                                   0.113197f, -0.124989f, 0.050505f, 0.103972f };
    static const int q[] = { -8, 7, -6, 5, -8, 5, -3, 0,  7, -8, 7, -8, -8, 7, -7, 6,
                             6, -7, 7, -8, -8, 7, -8, 7,  0, -3, 5, -8, 5, -6, 7, -8 };
    float w[32];

    (void)unused;
    small("group_size=4 full_range", 4, scale, NULL, q);
    sine(w);
    assert_true(fabs(mse(w) - 2.142105e-3) < 1e-8);
}

static void int4_asym(void **unused)
{
    static const float scale[] = { 0.106552f, 0.047205f, 0.132707f, 0.117278f,
                                   0.116149f, 0.132779f, 0.044996f, 0.105126f };
    static const float zero[] = { 7, 6, 8, 7, 8, 7, 9, 8 };
    static const int q[] = { 15, 0, 13, 2, 15, 0, 9, 6, 15, 0, 15, 1, 15, 0, 14, 1,
                             14, 2, 15, 0, 14, 0, 15, 0, 9, 6, 15, 0, 13, 2, 15, 0 };
    float w[32];

    (void)unused;
    small("group_size=4 asym", 4, scale, zero, q);
    small("group_size=4 asym search=clip", 4, scale, zero, q); /* keeps ratio 1 */
    sine(w);
    assert_true(fabs(mse(w) - 1.188624e-3) < 1e-8);
}

static void other_widths(void **unused)
{
    static const struct {
        const char *words;
        float scale[2], zero[2];
        int q[8];
    } rows[] = {
        { "bits=1 sym", { 0.841471f, 0.420167f }, { 0, 0 }, { 1, 0, 1, 0, 1, 0, 0, 0 } },
        { "bits=1 asym", { 1.598274f, 0.708070f }, { 0, 0 }, { 1, 0, 0, 0, 1, 0, 0, 0 } },
        { "bits=2 sym", { 0.841471f, 0.420167f }, { 2, 2 }, { 1, -1, 1, -1, 1, -1, 0, 0 } },
        { "bits=2 asym", { 0.532758f, 0.236023f }, { 1, 1 }, { 3, 0, 2, 0, 3, 0, 2, 1 } },
        { "bits=3 sym", { 0.280490f, 0.140056f }, { 4, 4 }, { 3, -3, 2, -2, 3, -2, 1, 0 } },
        { "bits=3 asym", { 0.228325f, 0.101153f }, { 3, 3 }, { 7, 0, 6, 1, 7, 0, 4, 3 } },
        { "bits=8 sym", { 0.006626f, 0.003308f }, { 128, 128 },
          { 127, -114, 99, -82, 127, -87, 45, -3 } },
        { "bits=8 asym", { 0.006268f, 0.002777f }, { 121, 104 },
          { 255, 0, 226, 34, 255, 0, 158, 101 } },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char words[64];
        snprintf(words, sizeof words, "group_size=4 %s", rows[i].words);
        small(words, 1, rows[i].scale, rows[i].zero, rows[i].q);
    }
}

static void short_tail(void **unused)
{
    static const float scale[] = { 0.120210f, 0.077717f, 0.021411f, 0.142856f, 0.137342f, 0.108937f,
                                   0.119522f, 0.141147f, 0.142845f, 0.038701f, 0.091934f, 0.118825f };
    static const int q[] = { 7, -6, 5, -7, 5, -4, 7, 0,  7, -7, 7, -7, 7, -6, 7, -6,
                             5, -6, 7, -6, 7, -7, 7, -7, 0, -3, 7, -4, 6, -7, 6, -7 };

    (void)unused;
    small("group_size=3", 4, scale, NULL, q);
}

/* --- the bigger matrix --- */
static void bigger(void **unused)
{
    static const struct {
        const char *words;
        uint64_t hash;
        long sum;
        double scales, mse;
        int zeros;
    } rows[] = {
        { "bits=4 sym", 0xa169dd0b98e23b9d, -494, 2.021224, 1.085760e-05, 0 },
        { "bits=4 sym full_range", 0x0239316a90ee1c13, -1393, 0.124296, 8.600724e-06, 0 },
        { "bits=4 asym", 0x9e7fc4105a62614c, 35694, 1.640616, 7.981703e-06, 1464 },
        { "bits=3 sym", 0x4140f0a8a8c32d5b, -232, 4.716190, 5.808040e-05, 0 },
        { "bits=3 asym", 0xa5b9e13bab3ca80a, 16794, 3.515606, 3.626087e-05, 688 },
        { "bits=2 asym", 0x4143822d2e7ed229, 7287, 8.203080, 2.037996e-04, 295 },
        { "bits=8 sym", 0x6b8efa404ec09b81, -8654, 0.111406, 3.344809e-08, 0 },
        { "bits=8 asym", 0x8bc9ab7e1ff51878, 604124, 0.096507, 2.782034e-08, 24800 },
        { "bits=4 sym search=clip", 0xd3f53eb7cb41b714, -640, 1.819102, 1.006104e-05, 0 },
        { "bits=4 asym search=clip", 0x5e27b8446ca53dfd, 35670, 1.599601, 7.825725e-06, 0 },
    };
    static float w[4800];
    static uint8_t bytes[4800];

    (void)unused;
    for (size_t i = 0; i < 4800; i++)
        w[i] = t4(1 + i);
    assert_true(w[0] * 0x1p20f == 54055.0f && w[2] * 0x1p20f == -54986.0f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct woq_scheme s = scheme(rows[i].words);
        const int offset = s.sym ? 1 << (s.bits - 1) : 0;
        double scales = 0, zeros = 0;
        long sum = 0;
        rtn(&res, w, 48, 100, rows[i].words, NULL);
        for (size_t c = 0; c < 4800; c++) {
            bytes[c] = (uint8_t)(res.codes[c] - offset);
            sum += res.codes[c] - offset;
        }
        for (size_t g = 0; g < 48 * 4; g++) {
            scales += (double)res.scale[g];
            zeros += s.sym ? 0.0 : (double)res.zero[g];
        }
        if (woq_xxh64(bytes, 4800) != rows[i].hash || sum != rows[i].sum ||
            fabs(scales - rows[i].scales) > 1e-6 || fabs(mse(w) / rows[i].mse - 1) > 1e-5 ||
            (rows[i].zeros && zeros != rows[i].zeros))
            fail_msg("%s: hash %016llx sum %ld scales %f mse %g zeros %g", rows[i].words,
                     (unsigned long long)woq_xxh64(bytes, 4800), sum, scales, mse(w), zeros);
    }
}
/* clang-format on */

/* --- what must hold for any weight --- */
static const char *const all_schemes[] = {
    "bits=4",
    "bits=4 asym",
    "bits=3 full_range",
    "bits=8",
    "bits=1",
    "bits=1 asym",
    "bits=2 asym",
    "bits=5",
    "bits=8 asym",
    "bits=6 full_range",
    "bits=4 asym float_zero",
    "bits=2 asym float_zero",
};
static const char *const all_groups[] = {
    "group_size=-1",
    "group_size=1",
    "group_size=7",
    "group_size=16",
    "group_size=32",
    "group_size=1000",
    "group_size=5 group_dim=0",
    "group_size=-1 group_dim=0",
};

static void random_weight(float *w, size_t n, uint64_t salt)
{
    for (size_t i = 0; i < n; i++)
        w[i] = t4(splitmix(seed + salt) + i);
    for (size_t i = 0; i < n / 50; i++) /* a few zeros and outliers */
        w[splitmix(seed + salt + i) % n] *= (float)(splitmix(salt + i) % 3) * 4.0f;
}

static void each_combination(void (*fn)(const char *words, uint64_t salt))
{
    uint64_t salt = 0;

    for (size_t s = 0; s < sizeof all_schemes / sizeof *all_schemes; s++)
        for (size_t g = 0; g < sizeof all_groups / sizeof *all_groups; g++) {
            char words[128];
            snprintf(words, sizeof words, "%s %s", all_schemes[s], all_groups[g]);
            fn(words, ++salt);
        }
}

static size_t group_of(const struct woq_scheme *s, size_t row, size_t col)
{
    const size_t g = woq_scheme_group_elems(s, s->group_dim ? res.n_cols : res.n_rows);

    return s->group_dim ? row * res.n_groups + col / g : row / g * res.n_cols + col;
}

static void check_half_step(const char *words, uint64_t salt)
{
    const struct woq_scheme s = scheme(words);
    static float w[41 * 77];

    random_weight(w, 41 * 77, salt);
    rtn(&res, w, 41, 77, words, NULL);
    for (size_t r = 0; r < 41; r++)
        for (size_t c = 0; c < 77; c++) {
            const double step = fabs((double)res.scale[group_of(&s, r, c)]);
            const double off = fabs((double)res.w[r * 77 + c] - (double)w[r * 77 + c]);
            /* asym: a zero point is rounded too, so an end may lie half a step outside the codes;
             * full range: the end without a code is a whole step away; 1-bit sym drops a sign */
            const double most = s.full_range || (!s.sym && !s.float_zero) ? 1.0 : 0.5;
            if (off > most * step * (1 + 1e-5) && !(s.bits == 1 && s.sym))
                fail_msg("%s, seed %llu: [%zu][%zu] %g is %g steps off", words,
                         (unsigned long long)seed, r, c, (double)w[r * 77 + c], off / step);
            assert_true(res.codes[r * 77 + c] < 1 << s.bits);
        }
}

static void no_element_is_further_than_a_step(void **unused)
{
    (void)unused;
    each_combination(check_half_step);
}

/* Rows (columns for group_dim 0) are independent: permuting them permutes the result. */
static void check_permutation(const char *words, uint64_t salt)
{
    const struct woq_scheme s = scheme(words);
    static float w[40 * 40], p[40 * 40];

    random_weight(w, 40 * 40, salt);
    for (size_t r = 0; r < 40; r++)
        for (size_t c = 0; c < 40; c++)
            p[r * 40 + c] = s.group_dim ? w[(r * 7 % 40) * 40 + c] : w[r * 40 + c * 7 % 40];
    rtn(&res, w, 40, 40, words, NULL);
    rtn(&res2, p, 40, 40, words, NULL);
    for (size_t r = 0; r < 40; r++)
        for (size_t c = 0; c < 40; c++)
            if (res2.codes[r * 40 + c] !=
                (s.group_dim ? res.codes[(r * 7 % 40) * 40 + c] : res.codes[r * 40 + c * 7 % 40]))
                fail_msg("%s, seed %llu: code [%zu][%zu] depends on its neighbours", words,
                         (unsigned long long)seed, r, c);
}

static void rows_are_independent(void **unused)
{
    (void)unused;
    each_combination(check_permutation);
}

/* group_dim 0 is group_dim 1 of the transpose. */
static void columns_are_rows_of_the_transpose(void **unused)
{
    static const char *const words[][2] = {
        { "bits=4 asym group_size=7 group_dim=0", "bits=4 asym group_size=7" },
        { "bits=3 group_size=-1 group_dim=0 search=mse", "bits=3 group_size=-1 search=mse" },
        { "bits=4 group_size=16 group_dim=0 search=clip", "bits=4 group_size=16 search=clip" },
    };
    static float w[30 * 300], t[300 * 30];

    (void)unused;
    for (size_t i = 0; i < 3; i++) {
        random_weight(w, 27 * 299, 77 + i);
        for (size_t r = 0; r < 27; r++)
            for (size_t c = 0; c < 299; c++)
                t[c * 27 + r] = w[r * 299 + c];
        rtn(&res, w, 27, 299, words[i][0], NULL);
        rtn(&res2, t, 299, 27, words[i][1], NULL);
        for (size_t r = 0; r < 27; r++)
            for (size_t c = 0; c < 299; c++) {
                assert_int_equal(res.codes[r * 299 + c], res2.codes[c * 27 + r]);
                assert_true(res.w[r * 299 + c] == res2.w[c * 27 + r]);
            }
    }
}

static double weighted_loss(const float *w, const float *importance)
{
    double sum = 0;

    for (size_t r = 0; r < res.n_rows; r++)
        for (size_t c = 0; c < res.n_cols; c++) {
            const double d = (double)res.w[r * res.n_cols + c] - (double)w[r * res.n_cols + c];
            sum += d * d * (importance ? (double)importance[c] : 1.0);
        }
    return sum;
}

static void a_search_never_loses(void **unused)
{
    static float w[48 * 96], importance[96];

    (void)unused;
    random_weight(w, 48 * 96, 5);
    for (size_t c = 0; c < 96; c++)
        importance[c] = c % 9 == 0 ? 100.0f : (float)(c % 4);
    for (int weighted = 0; weighted < 2; weighted++) {
        const float *imp = weighted ? importance : NULL;
        double none, clip, mse_loss;
        rtn(&res, w, 48, 96, "bits=3 asym", imp);
        none = weighted_loss(w, imp);
        rtn(&res, w, 48, 96, "bits=3 asym search=clip", imp);
        clip = weighted_loss(w, imp);
        rtn(&res, w, 48, 96, "bits=3 asym search=mse", imp);
        mse_loss = weighted_loss(w, imp);
        assert_true(clip <= none * 1.000001 && mse_loss <= clip * 1.000001);
        assert_true(mse_loss < none * 0.999); /* it does find something */
    }
    rtn(&res, w, 48, 96, "bits=3 asym search=mse", NULL);
    assert_true(weighted_loss(w, importance) > 0);
    rtn(&res2, w, 48, 96, "bits=3 asym search=mse", importance);
    assert_memory_not_equal(res.codes, res2.codes, 48 * 96);
}

static void f16_scales_are_f16(void **unused)
{
    static float w[48 * 100];
    const struct woq_kernels *k = woq_kernels();

    (void)unused;
    random_weight(w, 4800, 9);
    w[0] = 1e-30f; /* a group whose scale vanishes in f16 */
    for (size_t c = 1; c < 32; c++)
        w[c] = 0.0f;
    for (int asym = 0; asym < 2; asym++) {
        rtn(&res, w, 48, 100, asym ? "asym scale_dtype=f16" : "scale_dtype=f16", NULL);
        for (size_t g = 0; g < 48 * 4; g++) {
            uint16_t h;
            float back;
            k->f32_to_f16(&h, &res.scale[g], 1);
            k->f16_to_f32(&back, &h, 1);
            assert_true(back == res.scale[g] && back != 0.0f);
        }
        assert_true(fabsf(res.w[0]) < 1e-7f);
    }
}

static void degenerate_groups(void **unused)
{
    float w[8] = { 0 };

    (void)unused;
    rtn(&res, w, 1, 8, "group_size=4", NULL);
    assert_true(res.scale[0] == 1.0f / 7.0f && res.codes[0] == 8 && res.w[0] == 0.0f);
    rtn(&res, w, 1, 8, "group_size=4 asym", NULL);
    assert_true(res.zero[0] == 7.0f && res.codes[0] == 7 && res.w[7] == 0.0f); /* 7.4999995 */
    for (size_t i = 0; i < 8; i++)
        w[i] = 3.0f;
    rtn(&res, w, 1, 8, "group_size=4 asym", NULL); /* all positive: zero point 0 */
    assert_true(res.zero[0] == 0.0f && res.codes[0] == 15 && fabsf(res.w[0] - 3.0f) < 1e-6f);
    for (size_t i = 0; i < 8; i++)
        w[i] = -3.0f;
    rtn(&res, w, 1, 8, "group_size=4 asym", NULL);
    assert_true(res.zero[0] == 15.0f && res.codes[0] == 0);
    for (size_t i = 0; i < 8; i++)
        w[i] = i == 2 ? 0x1p-149f : 0.0f; /* the scale underflows */
    rtn(&res, w, 1, 8, "group_size=4", NULL);
    assert_true(res.w[2] == 0.0f);
}

static void bad_numbers_are_named(void **unused)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    static const char *const name[] = { "NaN", "+inf", "-inf" };
    const struct woq_scheme cases[] = { scheme("bits=4"), scheme("asym group_dim=0"),
                                        scheme("search=clip"), scheme("search=mse asym") };
    static float w[70 * 70];
    struct woq_error err;

    (void)unused;
    for (size_t i = 0; i < 12; i++) {
        random_weight(w, 4900, 3);
        w[43 * 70 + 69] = bad[i % 3];
        w[44 * 70] = bad[i % 3];
        memset(&err, 0, sizeof err);
        assert_int_equal(
            woq_rtn(res.codes, res.scale, res.zero, w, 70, 70, &cases[i / 3], NULL, &err),
            WOQ_EDATA);
        assert_non_null(strstr(err.what, "[43][69]"));
        assert_non_null(strstr(err.what, name[i % 3]));
    }
}

static void scales_out_of_range_are_refused(void **unused)
{
    float w[8] = { 3e38f, -3e38f, 1, 1, 1, 1, 1, 1 };
    struct woq_scheme s = scheme("asym group_size=4");
    struct woq_error err = { 0 };

    (void)unused;
    assert_int_equal(woq_rtn(res.codes, res.scale, res.zero, w, 1, 8, &s, NULL, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "scale [0][0]"));
    w[0] = 1;
    w[1] = 1;
    w[5] = 1e7f;
    s = scheme("scale_dtype=f16 group_size=4");
    assert_int_equal(woq_rtn(res.codes, res.scale, res.zero, w, 1, 8, &s, NULL, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "scale [0][1]"));
    assert_non_null(strstr(err.hint, "f32"));
}

/* --- schemes --- */
static void schemes_from_text_and_json(void **unused)
{
    static const char json[] = "{\"use_sym\":false,\"dtype\":\"int3\",\"group_size\":-1,"
                               "\"use_mse_search\":true,\"use_full_range\":false}";
    struct woq_scheme s = scheme("bits=8 group_size=128 scale_dtype=f16 group_dim=0");
    struct woq_json *o, *back;
    struct woq_error err = { 0 };

    (void)unused;
    assert_true(s.bits == 8 && s.group_size == 128 && s.sym && s.group_dim == 0);
    assert_string_equal(s.scale_dtype, "f16");
    assert_int_equal(woq_json_parse(&o, json, sizeof json - 1, &err), WOQ_OK);
    assert_int_equal(woq_scheme_from_json(&s, o, &err), WOQ_OK);
    assert_true(s.bits == 3 && s.group_size == -1 && !s.sym && s.group_dim == 0);
    assert_string_equal(s.search, "clip");
    back = woq_json_object();
    assert_int_equal(woq_scheme_merge(back, o, &err), WOQ_OK);
    assert_int_equal((int)woq_json_get_int(back, "bits", 0), 3);
    assert_false(woq_json_get_bool(back, "sym", true));
    assert_null(woq_json_get(back, "use_sym"));
    assert_null(woq_json_get(back, "group_dim"));
    woq_json_free(back);
    woq_json_free(o);
    o = woq_scheme_to_json(&s);
    woq_scheme_init(&s);
    assert_int_equal(woq_scheme_from_json(&s, o, &err), WOQ_OK);
    assert_true(s.bits == 3 && s.group_size == -1 && !s.sym && s.group_dim == 0);
    woq_json_free(o);
    s = scheme("float");
    assert_true(woq_scheme_is_float(&s));
    s = scheme("bits=16");
    assert_true(woq_scheme_is_float(&s));
}

static void bad_schemes_are_refused(void **unused)
{
    static const char *const bad[] = {
        "bits=0",       "bits=9",           "bits=4.5",        "bits=x",
        "bits",         "group_size=0",     "group_size=-2",   "group_dim=2",
        "sym=maybe",    "search=best",      "bit=4",           "=4",
        "dtype=int9",   "dtype=nf5",        "scale_dtype=f64", "",
        "full_range=2", "float_zero=maybe", "group_size=1e30", "search=none clip",
        "bits= 4",
    };
    struct woq_json *o = woq_json_object();
    struct woq_scheme s;
    struct woq_error err = { 0 };

    (void)unused;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (woq_scheme_set(o, bad[i], &err) != WOQ_EUSAGE)
            fail_msg("'%s' was taken", bad[i]);
    assert_int_equal((int)woq_json_len(o), 0);
    woq_json_free(o);
    s = scheme("full_range asym");
    assert_int_equal(woq_scheme_check(&s, &err), WOQ_EUSAGE);
    s = scheme("full_range bits=1");
    assert_int_equal(woq_scheme_check(&s, &err), WOQ_EUSAGE);
    s = scheme("float_zero");
    assert_int_equal(woq_scheme_check(&s, &err), WOQ_EUSAGE);
    s = scheme("asym float_zero");
    assert_int_equal(woq_scheme_check(&s, &err), WOQ_OK);
    memcpy(s.dtype, "nf4", sizeof "nf4");
    s.sym = true;
    assert_int_equal(woq_scheme_check(&s, &err), WOQ_EUSAGE);
    s = scheme("asym float_zero");
    assert_int_equal(woq_scheme_set(o = woq_json_object(), "float_zero", &err), WOQ_OK);
    assert_int_equal(woq_scheme_set(o, "dtype=nf4", &err), WOQ_OK);
    assert_int_equal(woq_scheme_from_json(&s, o, &err), WOQ_OK);
    assert_false(s.float_zero); /* a codebook takes it back */
    woq_json_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(int4_sym),
        cmocka_unit_test(int4_sym_full_range),
        cmocka_unit_test(int4_asym),
        cmocka_unit_test(other_widths),
        cmocka_unit_test(short_tail),
        cmocka_unit_test(bigger),
        cmocka_unit_test(no_element_is_further_than_a_step),
        cmocka_unit_test(rows_are_independent),
        cmocka_unit_test(columns_are_rows_of_the_transpose),
        cmocka_unit_test(a_search_never_loses),
        cmocka_unit_test(f16_scales_are_f16),
        cmocka_unit_test(degenerate_groups),
        cmocka_unit_test(bad_numbers_are_named),
        cmocka_unit_test(scales_out_of_range_are_refused),
        cmocka_unit_test(schemes_from_text_and_json),
        cmocka_unit_test(bad_schemes_are_refused),
    };

    if (getenv("WOQ_TEST_SEED"))
        seed = strtoull(getenv("WOQ_TEST_SEED"), NULL, 10);
    return cmocka_run_group_tests_name("quant", tests, NULL, NULL);
}
