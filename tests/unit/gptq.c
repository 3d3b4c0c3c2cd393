/* gptq.c -- GPTQ against the numerical fixtures of INC 3.6 (the tables are in the comments: runs on
 * W = sin(1 + 7i + 3j), X = cos((t+1)(j+1)), and on the splitmix case with 48 outputs), and its
 * properties: H = I is rounding to nearest, threads do not change a bit. */
#include <woq/gptq.h>
#include <woq/stream.h>
#include <woq/threads.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAXR = 48, MAXC = 100, MAXT = 64 };

static float W[MAXR * MAXC], X[MAXT * MAXC], H[MAXC * MAXC];
static uint8_t codes[MAXR * MAXC];
static float scale[MAXR * MAXC], zero[MAXR * MAXC];
static int32_t g_idx[MAXC];
static struct woq_factor factor;

static void small_case(void)
{
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 8; j++)
            W[i * 8 + j] = (float)sin(1.0 + 7 * i + 3 * j);
    for (int t = 0; t < 16; t++)
        for (int j = 0; j < 8; j++)
            X[t * 8 + j] = (float)cos((t + 1.0) * (j + 1.0));
    memset(H, 0, sizeof H);
    woq_hessian_add(H, 8, X, 16);
    woq_hessian_mirror(H, 8);
}

static uint64_t splitmix(uint64_t k)
{
    uint64_t z = k * 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static double t4(uint64_t k)
{
    const uint64_t z = splitmix(k);

    return (double)((z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48)) - 131070.0;
}

/* Columns 0 .. n-1 of the case of 100 columns. */
static void big_case(size_t n)
{
    for (size_t i = 0; i < 48; i++)
        for (size_t j = 0; j < n; j++)
            W[i * n + j] = (float)(t4(1 + i * MAXC + j) / 1048576.0);
    for (size_t t = 0; t < 64; t++)
        for (size_t j = 0; j < n; j++) {
            const double a = t4(1048576 + t * MAXC + j);
            const double b = t4(1048576 + t * MAXC + (j + 1) % MAXC);

            X[t * n + j] = (float)((a + b / 2) * (double)(1 << (j * j % 5)) / 1048576.0);
        }
    memset(H, 0, sizeof H);
    woq_hessian_add(H, n, X, 64);
    woq_hessian_mirror(H, n);
    for (size_t i = 0; i < n * n; i++)
        H[i] *= 0.5f; /* 2 / 4 sequences */
}

struct golden {
    const char *name;
    int bits, group;
    bool sym;
    enum woq_order order;
    bool static_groups;
    size_t block;
    enum woq_gptq_search search;
    double loss;
    const char *codes; /* small case: rows as in the table */
    uint64_t hash;     /* big case */
    double sum, scales, zeros;
    size_t n;
};

/* GPTQ of W behind H as it stands. */
static void quantize(const struct woq_gptq_opts *o, size_t rows, size_t n, double damp,
                     struct woq_gptq_report *report)
{
    const struct woq_qarrays out = { .codes = codes, .scale = scale, .zero = zero, .g_idx = g_idx };
    struct woq_error err = { 0 };

    assert_int_equal(
        woq_factor_init(&factor, H, n, o->order, woq_scheme_group_elems(&o->scheme, n), damp, &err),
        WOQ_OK);
    factor.h = H;
    assert_int_equal(woq_gptq(&out, W, rows, &factor, o, report, &err), WOQ_OK);
    woq_factor_release(&factor);
}

static void set_opts(struct woq_gptq_opts *o, const struct golden *g)
{
    woq_gptq_opts_init(o);
    o->scheme.bits = g->bits;
    o->scheme.group_size = g->group;
    o->scheme.sym = g->sym;
    o->order = g->order;
    o->static_groups = g->static_groups;
    o->block_size = g->block;
    o->search = g->search;
}

static void run(const struct golden *g, size_t rows, size_t n, struct woq_gptq_report *report)
{
    struct woq_gptq_report unused;
    struct woq_gptq_opts o;

    set_opts(&o, g);
    quantize(&o, rows, n, 0.01, report ? report : &unused);
}

/* The first 96 columns behind a diagonal H: no feedback, codes are those of the weights alone. */
static void run_alone(const struct woq_gptq_opts *o, struct woq_gptq_report *report)
{
    big_case(96);
    for (size_t j = 0; j < 96; j++)
        for (size_t k = 0; k < 96; k++)
            H[j * 96 + k] = j == k ? (float)(1 + j * 7 % 5) : 0;
    quantize(o, 48, 96, 0, report);
}

#define MM WOQ_GPTQ_MINMAX
static const struct golden small[] = {
    { "asym, block 8", 4, 4, false, WOQ_ORDER_NONE, false, 8, MM, 0.116698,
      "15 0 13 2 15 0 9 6 15 0 15 0 14 0 13 1 14 2 15 0 14 0 15 0 9 6 15 0 13 2 15 0" },
    { "asym, block 4", 4, 4, false, WOQ_ORDER_NONE, false, 4, MM, 0.119024,
      "15 0 13 2 15 0 9 6 15 0 15 0 15 0 13 1 14 2 15 0 14 0 15 0 9 6 15 0 13 2 15 0" },
    { "sym, block 8", 4, 4, true, WOQ_ORDER_NONE, false, 8, MM, 0.140094,
      "15 1 14 3 15 3 10 8 15 0 15 1 15 1 14 2 13 2 15 1 15 1 15 1 8 6 13 1 13 2 15 1" },
    { "act_order", 4, 4, false, WOQ_ORDER_ACT, false, 8, MM, 0.103022,
      "15 0 15 0 12 4 9 7 15 0 15 0 14 2 13 3 15 2 14 0 15 0 15 0 15 13 9 0 12 3 15 0" },
    { "GAR", 4, 4, false, WOQ_ORDER_GAR, false, 8, MM, 0.116136,
      "15 0 13 2 15 0 9 6 15 0 15 1 15 0 13 1 14 2 15 0 14 0 15 0 9 6 15 0 13 2 15 0" },
    { "act_order + static", 4, 4, false, WOQ_ORDER_ACT, true, 8, MM, 0.116136,
      "15 0 13 2 15 0 9 6 15 0 15 1 15 0 13 1 14 2 15 0 14 0 15 0 9 6 15 0 13 2 15 0" },
    { "static", 4, 4, false, WOQ_ORDER_NONE, true, 8, MM, 0.116698,
      "15 0 13 2 15 0 9 6 15 0 15 0 14 0 13 1 14 2 15 0 14 0 15 0 9 6 15 0 13 2 15 0" },
    { "per row", 4, -1, false, WOQ_ORDER_NONE, false, 8, MM, 0.177842,
      "15 0 13 2 11 4 8 7 15 0 15 0 15 1 13 3 12 1 13 0 14 0 15 0 8 7 11 4 13 2 15 0" },
    { "asym, mse", 4, 4, false, WOQ_ORDER_NONE, false, 8, WOQ_GPTQ_MSE, 0.136308,
      "15 0 13 2 15 0 9 6 15 0 15 0 15 0 13 1 14 1 15 0 14 0 15 0 9 6 15 0 13 2 15 0" },
    { "sym, mse", 4, 4, true, WOQ_ORDER_NONE, false, 8, WOQ_GPTQ_MSE, 0.132331,
      "15 1 14 3 15 3 10 8 15 0 15 1 15 1 14 2 14 1 15 0 15 1 15 0 8 5 13 0 13 2 15 0" },
    { "3 bits", 3, 4, false, WOQ_ORDER_NONE, false, 8, MM, 0.719548,
      "7 0 6 1 7 0 5 3 7 0 7 0 6 0 6 0 7 1 7 0 6 0 7 0 4 3 7 0 6 1 7 0" },
    { "group 3", 4, 3, false, WOQ_ORDER_NONE, false, 8, MM, 0.091473,
      "15 0 13 0 15 4 15 1 15 0 15 0 15 1 15 0 13 0 15 1 15 0 14 0 5 0 15 3 15 0 15 0" },
};

static void test_small(void **state)
{
    (void)state;
    small_case();
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        struct woq_gptq_report report;
        const char *s = small[i].codes;
        char *end;

        print_message("%s\n", small[i].name);
        run(&small[i], 4, 8, &report);
        for (int k = 0; k < 32; k++, s = end)
            assert_int_equal(codes[k], strtol(s, &end, 10));
        assert_true(fabs(report.loss - small[i].loss) < 2e-6);
    }
    run(&small[3], 4, 8, NULL); /* act_order: p = 0 5 7 1 3 4 6 2 */
    for (int k = 0; k < 8; k++)
        assert_int_equal(g_idx[k], "00111010"[k] - '0');
}

static void test_factor(void **state)
{
    static const double diag[] = { 0.427371, 0.413023, 0.420360, 0.361497,
                                   0.364964, 0.356850, 0.368024, 0.356876 };
    struct woq_error err = { 0 };

    (void)state;
    small_case();
    assert_int_equal(woq_factor_init(&factor, H, 8, WOQ_ORDER_NONE, 4, 0.01, &err), WOQ_OK);
    for (size_t k = 0; k < 8; k++)
        assert_true(fabs(1 / sqrt((double)factor.pivot[k]) - diag[k]) < 1e-6);
    woq_factor_release(&factor);
}

/* INC's symmetric run is left out: its range of a group without a negative weight is half of what
 * it should be (algorithms.md 3.4), and the tail groups of this case have such; with that rule put
 * in by hand the codes were the same. */
static const struct golden big[] = {
    { "asym, block 128", 4, 32, false, WOQ_ORDER_NONE, false, 128, MM, 0.050421, NULL,
      0x20a9cbd3bcec01f4, 35744, 1.640616, 1464, 100 },
    { "asym, block 32", 4, 32, false, WOQ_ORDER_NONE, false, 32, MM, 0.048608, NULL,
      0x23249f609a2abe10, 35374, 1.676772, 1442, 100 },
    { "asym, block 24", 4, 32, false, WOQ_ORDER_NONE, false, 24, MM, 0.047513, NULL,
      0xdcb7137787b48b1a, 35290, 1.677266, 1445, 100 },
    { "act_order", 4, 32, false, WOQ_ORDER_ACT, false, 128, MM, 0.033402, NULL, 0x6fa8d455a8db62b4,
      35833, 1.667137, 1442, 100 },
    { "act_order + static", 4, 32, false, WOQ_ORDER_ACT, true, 128, MM, 0.031309, NULL,
      0x6d97e979b88a4363, 35845, 1.640616, 1464, 100 },
    { "mse, block 32", 4, 32, false, WOQ_ORDER_NONE, false, 32, WOQ_GPTQ_MSE, 0.048887, NULL,
      0xe002bae341404dcb, 35325, 1.627686, 1446, 100 },
    { "per row", 4, -1, false, WOQ_ORDER_NONE, false, 128, MM, 0.066548, NULL, 0x021943f7a155b2c5,
      35377, 0.548049, 358, 100 },
    { "3 bits, block 32", 3, 32, false, WOQ_ORDER_NONE, false, 32, MM, 0.260040, NULL,
      0x8b2d952a215ce634, 16741, 3.812824, 675, 100 },
    { "GAR", 4, 32, false, WOQ_ORDER_GAR, false, 128, MM, 0.041986, NULL, 0x2dfa29205b192564, 34101,
      1.414543, 1087, 96 },
};

static void test_big(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof big / sizeof *big; i++) {
        const struct golden *g = &big[i];
        const size_t groups = g->group < 0 ? 1 : (g->n + 31) / 32;
        struct woq_gptq_report report;
        double sum = 0, scales = 0, zeros = 0;

        print_message("%s\n", g->name);
        big_case(g->n);
        run(g, 48, g->n, &report);
        for (size_t k = 0; k < 48 * g->n; k++)
            sum += codes[k];
        for (size_t k = 0; k < 48 * groups; k++) {
            scales += (double)scale[k];
            zeros += (double)zero[k];
        }
        assert_true(sum == g->sum);
        assert_true(fabs(scales - g->scales) < 2e-6);
        if (g->zeros >= 0)
            assert_true(zeros == g->zeros);
        assert_true(fabs(report.loss - g->loss) < 2e-6);
        assert_int_equal(woq_xxh64(codes, 48 * g->n), g->hash);
    }
}

static void test_identity_is_rtn(void **state)
{
    static uint8_t plain[MAXR * MAXC];
    static float s[MAXR * MAXC], z[MAXR * MAXC];
    struct woq_scheme scheme;
    struct woq_error err = { 0 };

    (void)state;
    big_case(100);
    memset(H, 0, sizeof H);
    for (size_t j = 0; j < 100; j++)
        H[j * 100 + j] = 1;
    run(&big[0], 48, 100, NULL);
    woq_scheme_init(&scheme);
    scheme.bits = 4;
    scheme.group_size = 32;
    scheme.sym = false;
    assert_int_equal(woq_rtn(plain, s, z, W, 48, 100, &scheme, NULL, &err), WOQ_OK);
    assert_memory_equal(plain, codes, 4800);
    assert_memory_equal(s, scale, 48 * 4 * sizeof *s);
}

static void test_hard_hessians(void **state)
{
    struct woq_error err = { 0 };

    (void)state;
    big_case(100);
    for (size_t j = 0; j < 100; j++) /* a dead column, and rank 1 everywhere else */
        for (size_t i = 0; i < 100; i++)
            H[i * 100 + j] = i == 7 || j == 7 ? 0 : 1;
    assert_int_equal(woq_factor_init(&factor, H, 100, WOQ_ORDER_NONE, 32, 1e-18, &err), WOQ_OK);
    assert_int_equal(factor.n_dead, 1);
    assert_true(factor.in_f64 && factor.percdamp > 1e-18); /* the ladder was climbed */
    woq_factor_release(&factor);
    for (size_t j = 0; j < 100; j++)
        H[j * 100 + (j + 1) % 100] = H[(j + 1) % 100 * 100 + j] = 50; /* indefinite */
    assert_int_equal(woq_factor_init(&factor, H, 100, WOQ_ORDER_NONE, 32, 0.01, &err), WOQ_OK);
    assert_true(factor.no_feedback);
    woq_factor_release(&factor);
    H[3 * 100 + 3] = NAN;
    assert_int_equal(woq_hessian_check(H, 100, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "entry 3"));
}

enum { FN = 300 }; /* more than a panel, with a tail */
static float fh[FN * FN];

/* Correlated inputs; where `twins`, two large ones that are nearly the same. */
static void factor_case(bool twins)
{
    static float x[500 * FN];

    for (size_t i = 0; i < 500 * FN; i++)
        x[i] = (float)((t4(i * 3 + 7) + t4(i * 3 + 10)) / 1048576.0);
    for (size_t t = 0; t < 500 && twins; t++) {
        x[t * FN + 5] *= 1e3f;
        x[t * FN + 200] = x[t * FN + 5] * (1 + 0.1f * x[t * FN + 7]);
    }
    memset(fh, 0, sizeof fh);
    woq_hessian_add(fh, FN, x, 500);
    woq_hessian_mirror(fh, FN);
}

/* L^T D L is the permuted, damped matrix, to the precision that the pivots called for. */
static void test_factor_product(void **state)
{
    struct woq_error err = { 0 };

    (void)state;
    for (int twins = 0; twins < 2; twins++) {
        double mean = 0, most = 0;

        factor_case(twins);
        for (size_t i = 0; i < FN; i++)
            mean += (double)fh[i * FN + i] / FN;
        assert_int_equal(woq_factor_init(&factor, fh, FN, WOQ_ORDER_ACT, 64, 1e-6, &err), WOQ_OK);
        assert_true(factor.in_f64 == twins && factor.percdamp == 1e-6);
        for (size_t i = 0; i < FN; i++)
            for (size_t j = 0; j <= i; j++) {
                const size_t a = factor.perm[i], b = factor.perm[j];
                double sum = i == j ? -1e-6 * mean : 0;

                for (size_t k = i; k < FN; k++)
                    sum += (k == i ? 1 : (double)factor.l[k * factor.ld + i]) *
                           (double)factor.pivot[k] *
                           (k == j ? 1 : (double)factor.l[k * factor.ld + j]);
                sum = fabs(sum - (double)fh[a * FN + b]) /
                      sqrt((double)fh[a * FN + a] * (double)fh[b * FN + b]);
                most = sum > most ? sum : most;
            }
        print_message("%s: off by %.2g\n", twins ? "f64" : "f32", most);
        assert_true(most < 1e-6);
        woq_factor_release(&factor);
    }
}

static void halve(void *ctx, size_t c)
{
    for (size_t i = 0; i < 16; i++)
        ((float *)ctx)[c * 16 + i] *= 0.5f;
}

/* A walk gives the same bits however it is cut, and without a callback it solves y L^T = x. */
static void test_walk(void **state)
{
    static float x[2][FN * 16];
    struct woq_error err = { 0 };

    (void)state;
    factor_case(false);
    assert_int_equal(woq_factor_init(&factor, fh, FN, WOQ_ORDER_NONE, 64, 0.01, &err), WOQ_OK);
    for (size_t i = 0; i < FN * 16; i++)
        x[0][i] = x[1][i] = (float)(t4(i) / 1048576.0);
    woq_factor_walk(&factor, x[0], 16, 0, FN, FN, halve, x[0]);
    for (size_t at = 0, to; at < FN; at = to) {
        to = at + 7 + at / 3 < FN ? at + 7 + at / 3 : FN;
        woq_factor_walk(&factor, x[1], 16, at, to, FN, halve, x[1]);
    }
    assert_memory_equal(x[0], x[1], sizeof x[0]);
    for (size_t i = 0; i < FN * 16; i++)
        x[0][i] = (float)(t4(i) / 1048576.0);
    woq_factor_walk(&factor, x[0], 16, 0, FN, FN, NULL, NULL);
    for (size_t j = 0; j < FN; j++)
        for (size_t i = 0; i < 16; i++) {
            double sum = (double)x[0][j * 16 + i];

            for (size_t k = 0; k < j; k++)
                sum += (double)factor.l[j * factor.ld + k] * (double)x[0][k * 16 + i];
            assert_true(fabs(sum - t4(j * 16 + i) / 1048576.0) < 1e-5);
        }
    woq_factor_release(&factor);
}

/* A size with many blocks and tails: the same bits with one thread and with three. */
static void test_threads(void **state)
{
    enum { N = 300, R = 37 };
    static float w[R * N], x[500 * N], h[N * N], s[2][R * 8], z[2][R * 8];
    static uint8_t c[2][R * N];
    struct woq_error err = { 0 };
    struct woq_gptq_opts o;
    struct woq_gptq_report report;

    (void)state;
    for (size_t i = 0; i < R * N; i++)
        w[i] = (float)(t4(i) / 1048576.0);
    for (size_t i = 0; i < 500 * N; i++)
        x[i] = (float)(t4(i * 3 + 7) / 1048576.0);
    woq_hessian_add(h, N, x, 500);
    woq_hessian_mirror(h, N);
    assert_int_equal(woq_hessian_check(h, N, &err), WOQ_OK);
    woq_gptq_opts_init(&o);
    o.scheme.group_size = 64;
    o.scheme.sym = false;
    for (int turn = 0; turn < 2; turn++) {
        woq_threads_set(turn ? 3 : 1);
        assert_int_equal(woq_factor_init(&factor, h, N, WOQ_ORDER_GAR, 64, 0.01, &err), WOQ_OK);
        o.order = WOQ_ORDER_GAR;
        assert_int_equal(woq_gptq(&(struct woq_qarrays){ .codes = c[turn],
                                                         .scale = s[turn],
                                                         .zero = z[turn],
                                                         .g_idx = NULL },
                                  w, R, &factor, &o, &report, &err),
                         WOQ_OK);
        woq_factor_release(&factor);
    }
    assert_memory_equal(c[0], c[1], sizeof c[0]);
    assert_memory_equal(s[0], s[1], R * 5 * sizeof(float));
}

/* sum over rows of r H r, r = w - dequant(codes), plainly in double. */
static double weighted_error(const struct woq_gptq_opts *o, size_t rows, size_t n, size_t groups)
{
    double sum = 0;

    for (size_t i = 0; i < rows; i++) {
        double r[MAXC];

        for (size_t j = 0; j < n; j++) {
            const size_t g = o->order == WOQ_ORDER_ACT && !o->static_groups
                                 ? (size_t)g_idx[j]
                                 : j / woq_scheme_group_elems(&o->scheme, n);
            const double s = (double)scale[i * groups + g], z = (double)zero[i * groups + g];

            r[j] = (double)W[i * n + j] - ((double)codes[i * n + j] - z) * s;
        }
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < n; k++)
                sum += r[j] * (double)H[j * n + k] * r[k];
    }
    return sum;
}

/* The weighted error never grows with a sweep, over schemes, orders and group sizes; after many it
 * is well below where it was; reports say so. */
static void test_refit_is_monotone(void **state)
{
    static const struct golden cases[] = {
        { "4 bits", 4, 32, false, WOQ_ORDER_NONE, false, 128, WOQ_GPTQ_DIAG },
        { "2 bits, act order", 2, 32, false, WOQ_ORDER_ACT, false, 128, WOQ_GPTQ_DIAG },
        { "3 bits, act order, static", 3, 20, true, WOQ_ORDER_ACT, true, 32, MM },
        { "4 bits, GAR", 4, 25, true, WOQ_ORDER_GAR, false, 128, WOQ_GPTQ_MSE },
        { "per row", 3, -1, false, WOQ_ORDER_ACT, false, 128, WOQ_GPTQ_DIAG },
        { "1 bit", 1, 50, false, WOQ_ORDER_NONE, false, 128, WOQ_GPTQ_DIAG },
        { "8 bits", 8, 10, true, WOQ_ORDER_NONE, true, 128, WOQ_GPTQ_DIAG },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int way = 0; way < 4; way++) {
            const struct golden *g = &cases[i];
            const bool f16 = way % 2, float_zero = way / 2;
            double first = 0, last = 0;

            if (float_zero && g->sym)
                continue;
            print_message("%s%s%s\n", g->name, f16 ? ", f16 scales" : "",
                          float_zero ? ", float zero points" : "");
            big_case(100);
            for (int sweeps = 0; sweeps < 6; sweeps++) {
                struct woq_gptq_report report;
                struct woq_gptq_opts o;
                double now;

                set_opts(&o, g);
                strcpy(o.scheme.scale_dtype, f16 ? "f16" : "f32");
                o.scheme.float_zero = float_zero;
                o.refit = sweeps;
                quantize(&o, 48, 100, 0.01, &report);
                now = weighted_error(&o, 48, 100, woq_scheme_groups(&o.scheme, 100));
                if (sweeps == 0)
                    first = last = now;
                assert_true(now <= last * (1 + 1e-6));
                if (sweeps) {
                    assert_true(fabs(report.error - first) <= 1e-3 * first);
                    assert_true(fabs(report.refit_error - now) <= 1e-3 * first);
                }
                last = now;
            }
            print_message("  %.6g -> %.6g\n", first, last);
            assert_true(last < 0.99 * first);
        }
}

/* Wide groups go in blocks of 128 columns; the same bits for any number of threads. */
static void test_refit_threads(void **state)
{
    enum { N = 300, R = 37 };
    static float w[R * N], x[500 * N], h[N * N], s[2][R * 8], z[2][R * 8];
    static uint8_t c[2][R * N];
    struct woq_error err = { 0 };
    struct woq_gptq_opts o;
    struct woq_gptq_report report;

    (void)state;
    for (size_t i = 0; i < R * N; i++)
        w[i] = (float)(t4(i) / 1048576.0);
    for (size_t i = 0; i < 500 * N; i++)
        x[i] = (float)((t4(i * 3 + 7) + t4(i * 3 + 10)) / 1048576.0);
    woq_hessian_add(h, N, x, 500);
    woq_hessian_mirror(h, N);
    woq_gptq_opts_init(&o);
    o.scheme.group_size = 200;
    o.scheme.sym = false;
    o.refit = 3;
    for (int turn = 0; turn < 2; turn++) {
        woq_threads_set(turn ? 3 : 1);
        assert_int_equal(woq_factor_init(&factor, h, N, WOQ_ORDER_NONE, 200, 0.01, &err), WOQ_OK);
        factor.h = h;
        assert_int_equal(woq_gptq(&(struct woq_qarrays){ .codes = c[turn],
                                                         .scale = s[turn],
                                                         .zero = z[turn],
                                                         .g_idx = NULL },
                                  w, R, &factor, &o, &report, &err),
                         WOQ_OK);
        assert_true(report.refit_error < report.error);
        woq_factor_release(&factor);
    }
    assert_memory_equal(c[0], c[1], sizeof c[0]);
    assert_memory_equal(s[0], s[1], R * 2 * sizeof(float));
}

/* Inputs of the quantized path are a distorted copy of the float path's: the target's output comes
 * nearer to the float path's than any weights do that are rounded without it. */
static void test_target(void **state)
{
    enum { N = 40, T = 64, R = 5 };
    static float d[N * N], target[R * N], wd[R * N], xf[T * N];
    struct woq_error err = { 0 };
    double plain = 0, aimed = 0;

    (void)state;
    big_case(N);
    for (size_t i = 0; i < T * N; i++)
        xf[i] = X[i] + 0.3f * (float)(t4(i * 7 + 1) / 1048576.0);
    memset(H, 0, sizeof H);
    woq_hessian_add(H, N, X, T);
    woq_hessian_mirror(H, N);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++) {
            double sum = 0;

            for (size_t t = 0; t < T; t++)
                sum += ((double)xf[t * N + i] - (double)X[t * N + i]) * (double)X[t * N + j];
            d[i * N + j] = (float)sum;
        }
    assert_int_equal(woq_factor_init(&factor, H, N, WOQ_ORDER_ACT, 8, 1e-6, &err), WOQ_OK);
    factor.h = H;
    factor.d = d;
    woq_gptq_drift(wd, W, R, &factor);
    assert_int_equal(woq_gptq_target(target, W, wd, R, &factor, 1, &err), WOQ_OK);
    for (size_t i = 0; i < R; i++)
        for (size_t t = 0; t < T; t++) {
            double want = 0, a = 0, b = 0;

            for (size_t j = 0; j < N; j++) {
                want += (double)W[i * N + j] * (double)xf[t * N + j];
                a += (double)W[i * N + j] * (double)X[t * N + j];
                b += (double)target[i * N + j] * (double)X[t * N + j];
            }
            plain += (want - a) * (want - a);
            aimed += (want - b) * (want - b);
        }
    print_message("distance from the float path: %.6g with W, %.6g with the target\n", plain,
                  aimed);
    assert_true(aimed < 0.6 * plain);
    assert_int_equal(woq_gptq_target(target, W, wd, R, &factor, 0, &err), WOQ_OK);
    assert_memory_equal(target, W, R * N * sizeof *W);
    woq_factor_release(&factor);
}

/* Names of what the frame layer needs of a hess frame. */
static void hess_frame(struct woq_frame *f, const float *h, const float *d, size_t n)
{
    const uint64_t shape[2] = { n, n };
    struct woq_error err = { 0 };
    struct woq_json *meta;

    woq_frame_begin(f, "hess");
    meta = woq_frame_edit(f);
    woq_json_set_str(meta, "of", "w");
    assert_int_equal(woq_frame_add(f, "h", WOQ_F32, 2, shape, h, &err), WOQ_OK);
    if (d)
        assert_int_equal(woq_frame_add(f, "d", WOQ_F32, 2, shape, d, &err), WOQ_OK);
}

/* The corrected result is kept where it is nearer to the float path, and only there. */
static void test_correction_is_guarded(void **state)
{
    enum { N = 40, R = 5 };
    static float d[N * N];
    const uint64_t shape[2] = { R, N };
    struct woq_gptq_group group = { 0 };
    struct woq_frame hess = { 0 }, weight = { 0 }, out = { 0 };
    struct woq_gptq_report report = { 0 };
    struct woq_buf buf = { 0 };
    struct woq_gptq_opts o;
    struct woq_error err = { 0 };
    struct woq_json *meta;
    int kept = 0;

    (void)state;
    big_case(N);
    woq_gptq_opts_init(&o);
    o.scheme.group_size = 8;
    o.correct = 1;
    woq_frame_begin(&weight, "TENS");
    meta = woq_frame_edit(&weight);
    woq_json_set_str(meta, "name", "w");
    assert_int_equal(woq_frame_add(&weight, "data", WOQ_F32, 2, shape, W, &err), WOQ_OK);
    for (int i = 0; i < 8; i++) { /* from no distortion to one that is all there is */
        for (size_t k = 0; k < N * N; k++)
            d[k] = (float)((i % 2 ? 1 : -1) * i * t4(k + 17) / 1048576.0 / 50);
        hess_frame(&hess, H, d, N);
        assert_int_equal(woq_gptq_group_need(&group, &hess, &weight, N, 8, &o, &err), WOQ_ITEM);
        assert_int_equal(woq_gptq_frame(&out, &weight, &group, &o, &buf, &report, &err), WOQ_OK);
        assert_true(report.has_target);
        assert_int_equal(report.corrected, report.corrected_error < report.plain_error);
        kept += report.corrected;
        if (i == 0) /* nothing to correct: the same result, the plain one is kept */
            assert_true(!report.corrected && report.plain_error == report.corrected_error);
    }
    assert_true(kept > 0);
    hess_frame(&hess, H, NULL, N);
    assert_int_equal(woq_gptq_group_need(&group, &hess, &weight, N, 8, &o, &err), WOQ_ITEM);
    memset(&report, 0, sizeof report);
    assert_int_equal(woq_gptq_frame(&out, &weight, &group, &o, &buf, &report, &err), WOQ_OK);
    assert_false(report.has_target);
    d[5] = INFINITY;
    hess_frame(&hess, H, d, N);
    assert_int_equal(woq_gptq_group_need(&group, &hess, &weight, N, 8, &o, &err), WOQ_EDATA);
    woq_gptq_group_release(&group);
    woq_frame_release(&hess);
    woq_frame_release(&weight);
    woq_frame_release(&out);
    woq_buf_release(&buf);
}

/* Full range: the largest weight of a group has the code 0, whatever its sign. */
static void test_full_range(void **state)
{
    struct woq_gptq_report report;
    struct woq_gptq_opts o;

    (void)state;
    woq_gptq_opts_init(&o);
    o.scheme.full_range = true;
    o.search = WOQ_GPTQ_MINMAX;
    o.static_groups = true;
    run_alone(&o, &report);
    for (size_t i = 0; i < 48; i++)
        for (size_t g = 0; g < 3; g++) {
            size_t top = i * 96 + g * 32;

            for (size_t j = top; j < i * 96 + (g + 1) * 32; j++)
                if (fabsf(W[j]) > fabsf(W[top]))
                    top = j;
            assert_int_equal(codes[top], 0);
            assert_true(scale[i * 3 + g] * W[top] < 0);
            assert_true(fabsf(scale[i * 3 + g] * 8 + W[top]) < 1e-6f);
        }
}

/* The error of the n weights of a group on a grid of 16 codes, weighted by the diagonal of H. */
static double diag_error(size_t row, size_t col, size_t n, double s, double z)
{
    double sum = 0;

    for (size_t j = col; j < col + n; j++) {
        const double w = (double)W[row * 96 + j];
        const double d = w - s * (fmin(fmax(rint(w / s) + z, 0), 15) - z);

        sum += (double)H[j * 97] * d * d;
    }
    return sum;
}

/* The search by the diagonal finds what shrinking the range finds, or better: zero points move. */
static void test_search_moves_zeros(void **state)
{
    struct woq_gptq_report report;
    struct woq_gptq_opts o;
    double shrunk = 0, found = 0;

    (void)state;
    woq_gptq_opts_init(&o);
    o.scheme.sym = false;
    o.scheme.group_size = 32;
    o.static_groups = true;
    run_alone(&o, &report);
    for (size_t i = 0; i < 48; i++)
        for (size_t g = 0; g < 3; g++) {
            double lo = 0, hi = 0, best = HUGE_VAL, mine;

            for (size_t j = i * 96 + g * 32; j < i * 96 + (g + 1) * 32; j++) {
                lo = fmin(lo, (double)W[j]);
                hi = fmax(hi, (double)W[j]);
            }
            for (int k = 0; k < 80; k++) {
                const double p = 1 - k / 100.0, s = p * (hi - lo) / 15;

                best = fmin(best, diag_error(i, g * 32, 32, s, rint(-p * lo / s)));
            }
            mine = diag_error(i, g * 32, 32, (double)scale[i * 3 + g], (double)zero[i * 3 + g]);
            assert_true(mine <= 1.001 * best && zero[i * 3 + g] >= 1);
            shrunk += best;
            found += mine;
        }
    assert_true(found < 0.98 * shrunk);
    assert_true(fabs(2 * report.loss - found) < 1e-3 * found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_factor),
        cmocka_unit_test(test_factor_product),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_big),
        cmocka_unit_test(test_identity_is_rtn),
        cmocka_unit_test(test_hard_hessians),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refit_is_monotone),
        cmocka_unit_test(test_refit_threads),
        cmocka_unit_test(test_target),
        cmocka_unit_test(test_correction_is_guarded),
        cmocka_unit_test(test_full_range),
        cmocka_unit_test(test_search_moves_zeros),
    };

    return cmocka_run_group_tests_name("gptq", tests, NULL, NULL);
}
