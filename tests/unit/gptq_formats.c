/* gptq_formats.c -- GPTQ with other number formats than integers, and with scales that are
 * quantized, on W = sin(1 + 7 i + 3 j) with X = cos((t + 1)(j + 1)) (algorithms.md 11.8, as Intel
 * Neural Compressor 3.6 gives it) and on a bigger matrix. */
#include <woq/gptq.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 24, N = 96, TOKENS = 200 };

static float W[ROWS * N], X[TOKENS * N], H[N * N];
static uint8_t codes[ROWS * N];
static float scale[ROWS * N], zero[ROWS * N];
static struct woq_factor factor;

/* common: what all channels of a token share, so that errors can be made up for. */
static void make_case(size_t rows, size_t n, size_t tokens, double common)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            W[i * n + j] = (float)sin(1.0 + 7.0 * (double)i + 3.0 * (double)j);
    for (size_t t = 0; t < tokens; t++)
        for (size_t j = 0; j < n; j++)
            X[t * n + j] =
                (float)(cos(((double)t + 1.0) * ((double)j + 1.0)) + common * cos((double)t));
    memset(H, 0, sizeof H);
    woq_hessian_add(H, n, X, tokens);
    woq_hessian_mirror(H, n);
}

static void factorize(size_t n, size_t group)
{
    struct woq_error err = { 0 };

    if (woq_factor_init(&factor, H, n, WOQ_ORDER_NONE, group, 0.01, &err) != WOQ_OK)
        fail_msg("%s", err.what);
}

/* 8 bits, with a zero point and symmetric; what is stored decodes to the scales that codes were
 * chosen by. */
static void double_quantization(void **unused)
{
    static const struct {
        bool sym;
        double loss;
        float scale[8];
    } rows[] = {
        { false,
          0.117282,
          { 0.106686f, 0.047384f, 0.132707f, 0.117158f, 0.116053f, 0.132779f, 0.044756f,
            0.105182f } },
        { true,
          0.117658,
          { 0.106583f, 0.047048f, 0.132707f, 0.117097f, 0.115988f, 0.132779f, 0.044932f,
            0.105596f } },
    };
    static const uint8_t first[] = { 205, 255, 223, 86 };
    struct woq_gptq_opts o;
    struct woq_gptq_report report;
    struct woq_error err = { 0 };
    float steps[2], zeros[2], decoded[8];
    uint8_t scale_codes[8];
    const struct woq_qarrays a = { .codes = codes,
                                   .scale = scale,
                                   .zero = zero,
                                   .scale_codes = scale_codes,
                                   .scale_scale = steps,
                                   .scale_zero = zeros };
    const struct woq_nested n = { .codes = scale_codes,
                                  .scale = steps,
                                  .zero = zeros,
                                  .div = 1,
                                  .bits = 8,
                                  .n_rows = 4,
                                  .n_cols = 2,
                                  .group = 4,
                                  .by_column = true };

    (void)unused;
    make_case(4, 8, 16, 0);
    woq_gptq_opts_init(&o);
    o.scheme.group_size = 4;
    o.scheme.sym = false;
    o.scheme.dq.on = true;
    o.block_size = 8;
    o.search = WOQ_GPTQ_MINMAX;
    factorize(8, 4);
    for (size_t i = 0; i < 2; i++) {
        o.scheme.dq.sym = rows[i].sym;
        assert_int_equal(woq_gptq(&a, W, 4, &factor, &o, &report, &err), WOQ_OK);
        for (size_t g = 0; g < 8; g++)
            if (fabsf(scale[g] - rows[i].scale[g]) > 1e-6f)
                fail_msg("scale %zu is %f, want %f", g, (double)scale[g], (double)rows[i].scale[g]);
        if (fabs(report.loss - rows[i].loss) > 1e-6)
            fail_msg("loss is %f, want %f", report.loss, rows[i].loss);
        woq_nested_decode(decoded, &n);
        assert_memory_equal(decoded, scale, sizeof decoded);
        for (size_t r = 0; r < 4 && !rows[i].sym; r++)
            assert_int_equal(scale_codes[2 * r], first[r]);
    }
    woq_factor_release(&factor);
}

static struct woq_gptq_opts opts_of(const char *dtype)
{
    struct woq_json *quant = woq_json_object();
    struct woq_error err = { 0 };
    struct woq_gptq_opts o;

    woq_gptq_opts_init(&o);
    woq_json_set_str(quant, "dtype", dtype);
    assert_int_equal(woq_scheme_from_json(&o.scheme, quant, &err), WOQ_OK);
    woq_json_free(quant);
    o.search = WOQ_GPTQ_MINMAX;
    return o;
}

static double output_error(const struct woq_scheme *s, const uint8_t *c, const float *sc)
{
    const size_t groups = woq_scheme_groups(s, N), g = woq_scheme_group_elems(s, N);
    float lut[256];
    double sum = 0;

    woq_format_lut(lut, woq_format_find(s->dtype, s->bits));
    for (size_t i = 0; i < ROWS; i++) {
        double r[N];
        for (size_t j = 0; j < N; j++)
            r[j] =
                (double)W[i * N + j] - (double)lut[c[i * N + j]] * (double)sc[i * groups + j / g];
        for (size_t j = 0; j < N; j++)
            for (size_t k = 0; k < N; k++)
                sum += r[j] * (double)H[j * N + k] * r[k];
    }
    return sum;
}

/* With H = I it is rounding to nearest; with another H the output error is less than that leaves.
 */
static void codebooks(void **unused)
{
    static const char *const names[] = { "nf4",   "fp4",   "fp4_e2m1", "mxfp4",
                                         "nvfp4", "mxfp8", "fp8_e4m3", "fp8_e5m2" };
    static const struct woq_qarrays a = { .codes = codes, .scale = scale, .zero = zero };
    static uint8_t plain[ROWS * N];
    static float plain_scale[ROWS * N];
    struct woq_gptq_report report;
    struct woq_error err = { 0 };

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct woq_gptq_opts o = opts_of(names[i]);
        double ratio;

        make_case(ROWS, N, TOKENS, 1);
        assert_int_equal(woq_rtn(plain, plain_scale, NULL, W, ROWS, N, &o.scheme, NULL, &err),
                         WOQ_OK);
        for (size_t c = 0; c < (size_t)N * N; c++)
            H[c] = c % (N + 1) == 0;
        factorize(N, 32);
        assert_int_equal(woq_gptq(&a, W, ROWS, &factor, &o, &report, &err), WOQ_OK);
        woq_factor_release(&factor);
        assert_memory_equal(codes, plain, sizeof plain);

        make_case(ROWS, N, TOKENS, 1);
        factorize(N, 32);
        assert_int_equal(woq_gptq(&a, W, ROWS, &factor, &o, &report, &err), WOQ_OK);
        woq_factor_release(&factor);
        ratio = output_error(&o.scheme, codes, scale) / output_error(&o.scheme, plain, plain_scale);
        if (!(ratio < 0.97))
            fail_msg("%s: the error is %g of what rounding leaves", names[i], ratio);
    }
}

/* A refit lessens the error of a codebook, too, and leaves scales what the format can store. */
static void refit(void **unused)
{
    static const char *const names[] = { "nf4", "mxfp4", "nvfp4" };
    static const struct woq_qarrays a = { .codes = codes, .scale = scale, .zero = zero };
    struct woq_gptq_report report;
    struct woq_error err = { 0 };

    (void)unused;
    make_case(ROWS, N, TOKENS, 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct woq_gptq_opts o = opts_of(names[i]);
        struct woq_grid grid;
        float stored[ROWS * 6];
        size_t n;

        o.refit = 3;
        n = ROWS * woq_scheme_groups(&o.scheme, N);
        factorize(N, 32);
        factor.h = H;
        assert_int_equal(woq_gptq(&a, W, ROWS, &factor, &o, &report, &err), WOQ_OK);
        assert_true(report.refit_error < report.error);
        assert_true(fabs(output_error(&o.scheme, codes, scale) / report.refit_error - 1) < 1e-3);
        woq_grid_init(&grid, &o.scheme, W, (size_t)ROWS * N);
        memcpy(stored, scale, n * sizeof *stored);
        woq_grid_round(&grid, stored, n);
        assert_memory_equal(stored, scale, n * sizeof *stored);
        factor.h = NULL;
        woq_factor_release(&factor);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(double_quantization),
        cmocka_unit_test(codebooks),
        cmocka_unit_test(refit),
    };

    return cmocka_run_group_tests_name("gptq_formats", tests, NULL, NULL);
}
