/* kernels.c -- every variant that this processor can run against the reference: all lengths 0..130
 * and some longer, inputs that end at an unreadable page, outputs at odd offsets between guard
 * bytes, values drawn to reach the branches. Equal means equal bits; only two NaN count as equal.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <woq/format.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_N 1100
#define OUT_BYTES (2 * MAX_N * sizeof(float) + 512)
#define MAX_TABLES 8

static uint64_t seed = 20240607, state;

static uint32_t next_u32(void)
{
    uint64_t z = (state += 0x9E3779B97F4A7C15u);

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ z >> 31) >> 16);
}

static float from_bits(uint32_t u)
{
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

/* --- input that ends at the last readable byte --- */
struct fence {
    uint8_t *end;
};

static struct fence fence_make(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t all = (bytes + page - 1) / page * page;
    uint8_t *p = mmap(NULL, all + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct fence f = { NULL };

    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + all, page, PROT_NONE), 0);
    f.end = p + all;
    return f;
}

enum mix { GAUSS, TIES, SPECIAL, EQUAL, ZEROS, ANY_BITS, N_MIXES };

static float draw(enum mix mix)
{
    static const float special[] = { 0.0f,      -0.0f,      INFINITY,  -INFINITY, NAN,
                                     0x1p-149f, -0x1p-140f, 3.4e38f,   -3.4e38f,  88.72283f,
                                     88.72284f, -87.33654f, -87.4f,    0x1p-126f, 1.0f,
                                     65504.0f,  65520.0f,   -65519.9f, 0x1p-24f,  0x1p-25f,
                                     6e-5f,     -1e-5f,     1e-10f,    -104.0f };
    const uint32_t u = next_u32();

    switch (mix) {
    case GAUSS:
        return ((float)(u & 0xffff) + (float)(u >> 16) - 65535.0f) / 16384.0f;
    case TIES: /* multiples of 1/4 of the scale that quant_scale gives: halves are ties */
        return (float)((int)(u % 129) - 64) * 0.0625f;
    case SPECIAL:
        return u % 3 ? special[u / 3 % (sizeof special / sizeof special[0])] : draw(GAUSS);
    case EQUAL:
        return -0.375f;
    case ZEROS: /* which of the two zeros is the minimum is part of the definition */
        return u % 11 == 0 ? NAN : u % 2 ? 0.0f : -0.0f;
    default:
        return from_bits(u);
    }
}

/* --- one kernel call on one set of inputs --- */
struct input {
    const float *a, *b, *c;
    const uint8_t *codes;
    const uint16_t *half;
    size_t n, group;
    float scale, zero, maxq;
};

/* `out` has room for 2 n floats; results beyond that go to `extra`. */
typedef void (*run_fn)(const struct woq_kernels *k, const struct input *in, void *out,
                       float extra[4]);

#define CASE(name)                                                                                 \
    static void run_##name(const struct woq_kernels *k, const struct input *in, void *out,         \
                           float extra[4])
#define UNUSED ((void)extra, (void)out)

CASE(f16_to_f32)
{
    UNUSED;
    k->f16_to_f32(out, in->half, in->n);
}
CASE(f32_to_f16)
{
    UNUSED;
    k->f32_to_f16(out, in->a, in->n);
}
CASE(bf16_to_f32)
{
    UNUSED;
    k->bf16_to_f32(out, in->half, in->n);
}
CASE(f32_to_bf16)
{
    UNUSED;
    k->f32_to_bf16(out, in->a, in->n);
}
CASE(absmax)
{
    UNUSED;
    extra[0] = k->absmax_f32(in->a, in->n);
}
CASE(minmax)
{
    UNUSED;
    k->minmax_f32(&extra[0], &extra[1], in->a, in->n);
}
CASE(all_finite)
{
    UNUSED;
    extra[0] = (float)k->all_finite_f32(in->a, in->n);
}
CASE(minmax_groups)
{
    float *min = out, *max = min + (in->n + in->group - 1) / in->group;
    extra[0] = (float)k->minmax_groups_f32(min, max, in->a, in->n, in->group);
}
CASE(minmax_cols)
{
    float *min = out, *max = min + in->n;
    memcpy(min, in->b, in->n * sizeof *min);
    memcpy(max, in->c, in->n * sizeof *max);
    extra[0] = (float)k->minmax_cols_f32(min, max, in->a, in->n);
}
CASE(quant)
{
    UNUSED;
    k->quant_u8(out, in->a, in->n, in->scale, in->zero, in->maxq);
}
CASE(dequant)
{
    UNUSED;
    k->dequant_u8(out, in->codes, in->n, in->scale, in->zero);
}
CASE(quant_err)
{
    UNUSED;
    extra[0] = k->quant_err(in->a, NULL, in->n, in->scale, in->zero, in->maxq);
    extra[1] = k->quant_err(in->a, in->b, in->n, in->scale, in->zero, in->maxq);
}
CASE(quant_err_groups)
{
    const size_t n_groups = (in->n + in->group - 1) / in->group;
    UNUSED;
    k->quant_err_groups(out, in->a, NULL, in->n, in->group, in->b, in->c, 0, in->maxq);
    k->quant_err_groups((float *)out + n_groups, in->a, in->c, in->n, in->group, in->b, NULL,
                        in->zero, in->maxq);
}
CASE(quant_groups)
{
    UNUSED;
    k->quant_groups_u8(out, in->a, in->n, in->group, in->b, NULL, in->zero, in->maxq);
    k->quant_groups_u8((uint8_t *)out + in->n, in->a, in->n, in->group, in->b, in->c, 0, in->maxq);
}
CASE(dequant_groups)
{
    UNUSED;
    k->dequant_groups_u8(out, in->codes, in->n, in->group, in->b, NULL, in->zero);
    k->dequant_groups_u8((float *)out + in->n, in->codes, in->n, in->group, in->b, in->c, 0);
}
CASE(quant_cols)
{
    UNUSED;
    k->quant_cols_u8(out, in->a, in->n, in->b, NULL, in->zero, in->maxq);
    k->quant_cols_u8((uint8_t *)out + in->n, in->a, in->n, in->b, in->c, 0, in->maxq);
}
CASE(dequant_cols)
{
    UNUSED;
    k->dequant_cols_u8(out, in->codes, in->n, in->b, NULL, in->zero);
    k->dequant_cols_u8((float *)out + in->n, in->codes, in->n, in->b, in->c, 0);
}
/* One table that fits in a register, one that does not. */
static const struct woq_levels *levels_of(const struct input *in)
{
    return woq_format_levels(woq_format_find(in->n % 2 ? "fp8_e4m3" : "fp4", 8));
}
CASE(level_groups)
{
    UNUSED;
    k->level_groups_u8(out, in->a, in->n, in->group, in->b, levels_of(in));
}
CASE(level_cols)
{
    UNUSED;
    k->level_cols_u8(out, in->a, in->n, in->b, levels_of(in));
}
CASE(level_err_groups)
{
    const size_t n_groups = (in->n + in->group - 1) / in->group;
    UNUSED;
    k->level_err_groups(out, in->a, NULL, in->n, in->group, in->b, levels_of(in));
    k->level_err_groups((float *)out + n_groups, in->a, in->c, in->n, in->group, in->b,
                        levels_of(in));
}
/* Codes below 2, 16 and 256 for a table of as many. */
static size_t few_codes(uint8_t *few, const struct input *in)
{
    static const size_t sizes[] = { 2, 16, 256 };
    const size_t n_lut = sizes[in->n % 3];

    for (size_t i = 0; i < in->n; i++)
        few[i] = (uint8_t)(in->codes[i] % n_lut);
    return n_lut;
}
CASE(lut_groups)
{
    uint8_t few[MAX_N];
    const size_t n_lut = few_codes(few, in);
    UNUSED;
    k->lut_groups_f32(out, few, in->n, in->group, in->b, woq_e4m3_lut(), n_lut);
}
CASE(lut_cols)
{
    uint8_t few[MAX_N];
    const size_t n_lut = few_codes(few, in);
    UNUSED;
    k->lut_cols_f32(out, few, in->n, in->b, woq_e4m3_lut() + 256 - n_lut, n_lut);
}
CASE(dot)
{
    UNUSED;
    extra[0] = k->dot_f32(in->a, in->b, in->n);
}
CASE(sum)
{
    UNUSED;
    extra[0] = k->sum_f32(in->a, in->n);
}
CASE(scale)
{
    UNUSED;
    memcpy(out, in->a, in->n * sizeof(float));
    k->scale_f32(out, in->n, in->scale);
}
CASE(add)
{
    UNUSED;
    memcpy(out, in->a, in->n * sizeof(float));
    k->add_f32(out, in->b, in->n);
}
CASE(axpy)
{
    UNUSED;
    memcpy(out, in->a, in->n * sizeof(float));
    k->axpy_f32(out, in->b, in->n, in->scale);
}
CASE(exp)
{
    UNUSED;
    k->exp_f32(out, in->a, in->n);
}
CASE(softmax)
{
    UNUSED;
    memcpy(out, in->a, in->n * sizeof(float));
    if (in->n)
        k->softmax_f32(out, in->n);
}
CASE(rmsnorm)
{
    UNUSED;
    k->rmsnorm_f32(out, in->a, in->b, in->n, 1e-5f);
}
CASE(rmsnorm_in_place)
{
    UNUSED;
    memcpy(out, in->a, in->n * sizeof(float));
    k->rmsnorm_f32(out, out, in->b, in->n, 1e-5f);
}
CASE(silu_mul)
{
    UNUSED;
    k->silu_mul_f32(out, in->a, in->b, in->n);
}
CASE(silu_mul_in_place)
{
    UNUSED;
    memcpy(out, in->a, in->n * sizeof(float));
    k->silu_mul_f32(out, out, in->b, in->n);
}
CASE(rope_half)
{
    UNUSED;
    memcpy(out, in->a, in->n * sizeof(float));
    k->rope_half_f32(out, in->b, in->c, in->n / 2 * 2);
}
CASE(logsumexp)
{
    size_t at = 0;

    UNUSED;
    if (in->n)
        extra[0] = k->logsumexp_f32(in->a, in->n, &at);
    extra[1] = (float)at;
}

/* Blocks one after the other; the scales of the first four. */
CASE(block32_s8)
{
    float scale[MAX_N / 32 + 1] = { 0 };

    k->block32_s8(out, 32, scale, in->a, in->n / 32);
    memcpy(extra, scale, 4 * sizeof *scale);
}

/* clang-format off */
static const struct kernel_case {
    const char *name;
    run_fn run;
    size_t out_bytes; /* of one element of the output; 0 = results in `extra` alone */
} cases[] = {
    { "f16_to_f32", run_f16_to_f32, 4 },     { "f32_to_f16", run_f32_to_f16, 2 },
    { "bf16_to_f32", run_bf16_to_f32, 4 },   { "f32_to_bf16", run_f32_to_bf16, 2 },
    { "absmax_f32", run_absmax, 0 },         { "minmax_f32", run_minmax, 0 },
    { "all_finite_f32", run_all_finite, 0 }, { "minmax_groups_f32", run_minmax_groups, 4 },
    { "minmax_cols_f32", run_minmax_cols, 4 },
    { "block32_s8", run_block32_s8, 1 },
    { "quant_u8", run_quant, 1 },            { "dequant_u8", run_dequant, 4 },
    { "quant_err", run_quant_err, 0 },
    { "quant_err_groups", run_quant_err_groups, 4 },
    { "quant_groups_u8", run_quant_groups, 1 }, { "dequant_groups_u8", run_dequant_groups, 4 },
    { "quant_cols_u8", run_quant_cols, 1 },  { "dequant_cols_u8", run_dequant_cols, 4 },
    { "level_groups_u8", run_level_groups, 1 }, { "level_cols_u8", run_level_cols, 1 },
    { "level_err_groups", run_level_err_groups, 4 },
    { "lut_groups_f32", run_lut_groups, 4 }, { "lut_cols_f32", run_lut_cols, 4 },
    { "dot_f32", run_dot, 0 },               { "sum_f32", run_sum, 0 },
    { "scale_f32", run_scale, 4 },           { "add_f32", run_add, 4 },
    { "axpy_f32", run_axpy, 4 },             { "exp_f32", run_exp, 4 },
    { "softmax_f32", run_softmax, 4 },       { "rmsnorm_f32", run_rmsnorm, 4 },
    { "rmsnorm_f32 in place", run_rmsnorm_in_place, 4 },
    { "silu_mul_f32", run_silu_mul, 4 },     { "silu_mul_f32 in place", run_silu_mul_in_place, 4 },
    { "rope_half_f32", run_rope_half, 4 },   { "logsumexp_f32", run_logsumexp, 0 },
};
/* clang-format on */
#define N_CASES (sizeof cases / sizeof cases[0])

static bool same_float(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* The guard bytes around and the results in between. */
static bool same_output(const uint8_t *want, const uint8_t *got, size_t at, size_t elem_bytes)
{
    if (elem_bytes != sizeof(float))
        return memcmp(want, got, OUT_BYTES) == 0;
    for (size_t i = at % sizeof(float); i + sizeof(float) <= OUT_BYTES; i += sizeof(float)) {
        float a, b;
        memcpy(&a, want + i, sizeof a);
        memcpy(&b, got + i, sizeof b);
        if (!same_float(a, b))
            return false;
    }
    return true;
}

static void compare(const struct woq_kernels *ref, const struct woq_kernels *k,
                    const struct kernel_case *c, const struct input *in, enum mix mix)
{
    static _Alignas(64) uint8_t want[OUT_BYTES], got[OUT_BYTES];
    /* 64 guard bytes, then an offset that no vector likes */
    const size_t at = 64 + (in->n % 5) * (c->out_bytes ? c->out_bytes : 1);
    float want_extra[4] = { 0 }, got_extra[4] = { 0 };

    memset(want, 0xa5, sizeof want);
    memset(got, 0xa5, sizeof got);
    c->run(ref, in, want + at, want_extra);
    c->run(k, in, got + at, got_extra);
    for (int i = 0; i < 4; i++)
        if (!same_float(want_extra[i], got_extra[i]))
            fail_msg("%s %s: n %zu, group %zu, inputs %d, seed %llu: result %d is %a, want %a",
                     k->isa, c->name, in->n, in->group, (int)mix, (unsigned long long)seed, i,
                     (double)got_extra[i], (double)want_extra[i]);
    if (!same_output(want, got, at, c->out_bytes))
        fail_msg("%s %s: n %zu, group %zu, inputs %d, seed %llu: output or guard bytes differ",
                 k->isa, c->name, in->n, in->group, (int)mix, (unsigned long long)seed);
}

static struct fence fence_a, fence_b, fence_c, fence_codes, fence_half;

static struct input make_input(size_t n, size_t group, enum mix mix)
{
    static const float maxqs[] = { 1.0f, 3.0f, 7.0f, 15.0f, 255.0f };
    float *a = (float *)fence_a.end - n, *b = (float *)fence_b.end - n,
          *c = (float *)fence_c.end - n;
    uint16_t *half = (uint16_t *)fence_half.end - n;
    uint8_t *codes = fence_codes.end - n;
    struct input in = { a, b, c, codes, half, n, group, 0.25f, 0.0f, 0.0f };

    in.maxq = maxqs[next_u32() % 5];
    in.zero = (float)(next_u32() % ((uint32_t)in.maxq + 1));
    if (next_u32() % 4 == 0)
        in.zero += (float)(next_u32() % 1000) / 1000; /* between whole numbers */
    if (mix != TIES)
        in.scale = draw(mix == EQUAL ? GAUSS : mix);
    for (size_t i = 0; i < n; i++) {
        a[i] = draw(mix);
        b[i] = mix == TIES ? 0.25f : draw(mix);
        c[i] = mix == ANY_BITS ? draw(mix) : (float)(next_u32() % 16);
        codes[i] = (uint8_t)next_u32();
        half[i] = (uint16_t)next_u32();
    }
    return in;
}

static void every_variant_equals_the_reference(void **unused)
{
    static const size_t longer[] = { 255, 256, 511, 1000, 1024 };
    static const size_t groups[] = { 1, 3, 16, 31, 32, 64, 128, 2000 };
    const struct woq_kernels *tables[MAX_TABLES];
    int runnable[MAX_TABLES];
    const size_t n_tables = woq_kernels_all(tables, runnable, MAX_TABLES);

    (void)unused;
    state = seed;
    for (size_t i = 0; i < 131 + sizeof longer / sizeof longer[0]; i++)
        for (int mix = 0; mix < N_MIXES; mix++) {
            const size_t n = i < 131 ? i : longer[i - 131];
            const struct input in = make_input(n, groups[next_u32() % 8], (enum mix)mix);
            for (size_t t = 1; t < n_tables; t++)
                for (size_t c = 0; runnable[t] && c < N_CASES; c++)
                    compare(tables[0], tables[t], &cases[c], &in, (enum mix)mix);
        }
}

/* --- the reference itself, against what the header promises --- */
static void all_halves_convert_alike(void **unused)
{
    const struct woq_kernels *tables[MAX_TABLES];
    int runnable[MAX_TABLES];
    const size_t n_tables = woq_kernels_all(tables, runnable, MAX_TABLES);
    static uint16_t half[65536], back[65536];
    static float want[65536], got[65536];

    (void)unused;
    for (size_t i = 0; i < 65536; i++)
        half[i] = (uint16_t)i;
    tables[0]->f16_to_f32(want, half, 65536);
    for (size_t t = 0; t < n_tables; t++) {
        if (!runnable[t])
            continue;
        tables[t]->f16_to_f32(got, half, 65536);
        assert_memory_equal(want, got, sizeof want);
        tables[t]->f32_to_f16(back, got, 65536);
        for (size_t i = 0; i < 65536; i++) /* a quiet bit may be added to a NaN */
            assert_int_equal(back[i] | (isnan(got[i]) ? 0x200 : 0),
                             half[i] | (isnan(got[i]) ? 0x200 : 0));
    }
    assert_true(want[0x3c00] == 1.0f && want[0x7bff] == 65504.0f && want[1] == 0x1p-24f);
    assert_true(isinf(want[0x7c00]) && isnan(want[0x7c01]) && signbit(want[0x8000]));
}

static void narrowing_rounds_to_even(void **unused)
{
    static const struct {
        float x;
        uint16_t f16, bf16;
    } rows[] = {
        { 1.0f, 0x3c00, 0x3f80 },
        { 1.0f + 0x1p-11f, 0x3c00, 0x3f80 },
        { 1.0f + 0x1p-8f, 0x3c04, 0x3f80 },
        { 1.0f + 0x3p-8f, 0x3c0c, 0x3f82 },
        { 1.0f + 0x3p-11f, 0x3c02, 0x3f80 },
        { 65519.996f, 0x7bff, 0x4780 },
        { 65520.0f, 0x7c00, 0x4780 },
        { -0x1p-25f, 0x8000, 0xb300 },
        { 0x1.8p-25f, 0x0001, 0x3340 },
        { 0x3p-25f, 0x0002, 0x33c0 },
        { 3.4e38f, 0x7c00, 0x7f80 },
        { 0x1.ffep-15f, 0x0400, 0x3880 },
    };
    const struct woq_kernels *k = woq_kernels();

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint16_t h;
        k->f32_to_f16(&h, &rows[i].x, 1);
        assert_int_equal(h, rows[i].f16);
        k->f32_to_bf16(&h, &rows[i].x, 1);
        assert_int_equal(h, rows[i].bf16);
    }
}

static void exp_is_within_two_ulp(void **unused)
{
    const struct woq_kernels *k = woq_kernels();
    double worst = 0;

    (void)unused;
    for (double at = -87.3365; at < 88.7228; at += 1.7e-4) {
        const float x = (float)at;
        float y, ulp;
        k->exp_f32(&y, &x, 1);
        ulp = nextafterf((float)exp((double)x), INFINITY) - (float)exp((double)x);
        worst = fmax(worst, fabs((double)y - exp((double)x)) / (double)ulp);
    }
    assert_true(worst <= 2.0);
}

static void exp_at_its_edges(void **unused)
{
    const float x[] = { 88.72283f, 88.72284f, INFINITY,  -87.33654f, -87.33655f,
                        -INFINITY, NAN,       0x1p-149f, -0.0f };
    float y[9];

    (void)unused;
    woq_kernels()->exp_f32(y, x, 9);
    assert_true(isfinite(y[0]) && y[0] > 3.4027e38f);
    assert_true(isinf(y[1]) && isinf(y[2]));
    assert_true(y[3] >= 0x1p-126f);
    assert_true(y[4] == 0.0f && y[5] == 0.0f);
    assert_true(isnan(y[6]) && y[7] == 1.0f && y[8] == 1.0f);
}

static void reductions_follow_the_lanes(void **unused)
{
    /* 2^24 + 1 is lost in float: the result tells in which order was added */
    float x[18] = { 16777216.0f };
    const struct woq_kernels *k = woq_kernels();
    size_t at = 99;

    (void)unused;
    x[16] = 1.0f; /* same lane as x[0]: lost */
    x[1] = 1.0f;
    x[9] = 1.0f; /* lane 1 collects 2 before it meets lane 0 */
    assert_true(k->sum_f32(x, 18) == 16777218.0f);
    x[17] = 16777216.0f;
    k->logsumexp_f32(x, 18, &at);
    assert_int_equal(at, 0);
}

static void codes_clamp_and_round_to_even(void **unused)
{
    const float w[] = { 0.5f, 1.5f, 2.5f, -0.5f, -9.0f, 1e30f, NAN, INFINITY, -INFINITY };
    const uint8_t want[] = { 8, 10, 10, 8, 0, 15, 0, 15, 0 };
    uint8_t codes[9];

    (void)unused;
    woq_kernels()->quant_u8(codes, w, 9, 1.0f, 8.0f, 15.0f);
    assert_memory_equal(codes, want, 9);
}

static void empty_and_nan_groups(void **unused)
{
    const float nan[2] = { NAN, NAN };
    const struct woq_kernels *k = woq_kernels();
    float lo = 5, hi = 5;

    (void)unused;
    k->minmax_f32(&lo, &hi, nan, 0);
    assert_true(lo == 0.0f && hi == 0.0f && k->absmax_f32(nan, 0) == 0.0f);
    lo = 5;
    k->minmax_f32(&lo, &hi, nan, 2);
    assert_true(lo == 0.0f && hi == 0.0f && k->absmax_f32(nan, 2) == 0.0f);
    assert_int_equal(k->all_finite_f32(nan, 2), 0);
    assert_int_equal(k->all_finite_f32(nan, 0), 1);
}

static void the_environment_caps_the_table(void **unused)
{
    const char *cap = getenv("WOQ_ISA");
    const struct woq_kernels *tables[MAX_TABLES];
    int runnable[MAX_TABLES];
    const size_t n = woq_kernels_all(tables, runnable, MAX_TABLES);

    (void)unused;
    assert_string_equal(tables[0]->isa, "ref");
    if (cap && *cap)
        for (size_t i = 0; i < n; i++)
            if (runnable[i] && strcmp(tables[i]->isa, cap) == 0)
                assert_ptr_equal(woq_kernels(), tables[i]);
    for (size_t i = 0; i < n; i++) /* nothing is left unresolved */
        for (size_t at = 0; at < sizeof **tables; at += sizeof(void *)) {
            void *member;
            memcpy(&member, (const char *)tables[i] + at, sizeof member);
            assert_non_null(member);
        }
}

/* Chains of rank-one updates on every size up to a few tiles, and then on more rows, columns and
 * steps than any variant takes at once, against the three plain loops. */
static void rank_updates_follow_the_order_of_k(void **unused)
{
    enum { R = 21, C = 270, K = 150 };
    static float c[R * C], want[R * C], a[R * K], u[K * C];
    static double cd[R * C], wantd[R * C], ad[R * K], ud[K * C];
    const struct woq_kernels *tables[8];
    int runnable[8];
    const size_t n = woq_kernels_all(tables, runnable, 8);

    (void)unused;
    for (size_t i = 0; i < R * K; i++)
        ad[i] = (double)(a[i] = (float)sin(1.0 + (double)i * 7));
    for (size_t i = 0; i < K * C; i++)
        ud[i] = (double)(u[i] = (float)cos((double)i * 3));
    for (size_t t = 0; t < n; t++)
        for (size_t cols = 0; runnable[t] && cols <= C; cols += cols < 70 ? 1 : 40) {
            const size_t rows = cols < 70 ? cols % 10 : R, depth = cols < 70 ? cols % 12 : K;

            for (size_t i = 0; i < R * C; i++)
                cd[i] = wantd[i] = (double)(c[i] = want[i] = (float)i * 0.01f);
            tables[t]->rank_sub_f32(c, C, a, K, u, C, rows, cols, depth);
            tables[t]->rank_sub_f64(cd, C, ad, K, ud, C, rows, cols, depth);
            for (size_t i = 0; i < rows; i++)
                for (size_t k = 0; k < depth; k++)
                    for (size_t j = 0; j < cols; j++) {
                        want[i * C + j] = fmaf(-a[i * K + k], u[k * C + j], want[i * C + j]);
                        wantd[i * C + j] = fma(-ad[i * K + k], ud[k * C + j], wantd[i * C + j]);
                    }
            assert_memory_equal(c, want, sizeof c);
            assert_memory_equal(cd, wantd, sizeof cd);
        }
}

/* The same on more rows than share a packed strip, inside one matrix. */
static void rank_updates_go_down_a_tall_matrix(void **unused)
{
    enum { R = 300, C = 35, K = 5 };
    static float c[(R + K) * C], want[(R + K) * C], a[R * K];
    const struct woq_kernels *tables[8];
    int runnable[8];
    const size_t n = woq_kernels_all(tables, runnable, 8);

    (void)unused;
    for (size_t i = 0; i < R * K; i++)
        a[i] = (float)sin(1.0 + (double)i * 7);
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < (R + K) * C; i++)
            c[i] = want[i] = (float)cos((double)i * 3);
        if (!runnable[t])
            continue;
        tables[t]->rank_sub_f32(c + K * C, C, a, K, c, C, R, C, K);
        for (size_t i = 0; i < R; i++)
            for (size_t k = 0; k < K; k++)
                for (size_t j = 0; j < C; j++)
                    want[(K + i) * C + j] =
                        fmaf(-a[i * K + k], want[k * C + j], want[(K + i) * C + j]);
        assert_memory_equal(c, want, sizeof c);
    }
}

/* --- tiles: their own shapes --- */
static const float tile_levels[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113 };
static const float tile_scales[3] = { -8.5f, 7, -12 }, tile_ends[2] = { 0, 0.75f };

static struct woq_tile_grid draw_grid(int kind)
{
    struct woq_tile_grid g = { .n = kind % 2 ? 16 : 32, .passes = 2, .last_passes = 2 };

    g.kind = kind == 0 ? WOQ_TILE_MIN : kind == 1 ? WOQ_TILE_MIN_BELOW_ZERO : WOQ_TILE_SCALE;
    g.lo = kind < 2 ? 0 : -8;
    g.hi = kind < 2 ? 3 : 7;
    g.levels = kind == 3 ? tile_levels : NULL;
    g.starts = kind < 2 ? tile_ends : tile_scales;
    g.n_starts = kind < 2 ? 2 : 3;
    return g;
}

static void draw_tile(float x[32 * 16], float weight[32 * 16], int turn)
{
    static const float special[] = { 0, -0.0f, 1e-40f, -1e-38f, 1e30f, -1e30f, 3e38f, 0.5f };

    for (size_t i = 0; i < 32 * 16; i++) {
        const size_t lane = i % 16;
        x[i] = turn % 4 == 0 ? special[next_u32() % 8] : turn % 4 == 1 ? draw(TIES) : draw(GAUSS);
        if (lane == 3) /* constant, and of one sign */
            x[i] = turn % 2 ? 0.25f : 0;
        if (lane == 5)
            x[i] = fabsf(x[i]);
        weight[i] = turn % 3 ? 1 + fabsf(draw(GAUSS)) : 1;
    }
}

static void tiles_equal_the_reference(void **unused)
{
    const struct woq_kernels *tables[MAX_TABLES];
    int runnable[MAX_TABLES];
    const size_t n_tables = woq_kernels_all(tables, runnable, MAX_TABLES);
    static float x[32 * 16], weight[32 * 16];

    (void)unused;
    state = seed;
    for (int turn = 0; turn < 400; turn++) {
        const struct woq_tile_grid g = draw_grid(turn / 4 % 4);
        float want[2][16], got[2][16];
        struct woq_tile_sums want_sums, got_sums;
        uint8_t want_codes[32 * 16] = { 0 }, got_codes[32 * 16] = { 0 };
        draw_tile(x, weight, turn);
        tables[0]->tile_fit(want[0], want[1], x, weight, &g);
        tables[0]->tile_sums(&want_sums, x, weight, &g, want[0], want[1]);
        tables[0]->tile_codes(want_codes, x, &g, want[0], want[1]);
        for (size_t t = 1; t < n_tables; t++) {
            if (!runnable[t])
                continue;
            tables[t]->tile_fit(got[0], got[1], x, weight, &g);
            tables[t]->tile_sums(&got_sums, x, weight, &g, want[0], want[1]);
            tables[t]->tile_codes(got_codes, x, &g, want[0], want[1]);
            for (size_t i = 0; i < 32; i++)
                if (!same_float(want[i / 16][i % 16], got[i / 16][i % 16]))
                    fail_msg("%s tile_fit: turn %d, result %zu is %a, want %a", tables[t]->isa,
                             turn, i, (double)got[i / 16][i % 16], (double)want[i / 16][i % 16]);
            for (size_t i = 0; i < 4 * 16; i++)
                if (!same_float(((float *)&want_sums)[i], ((float *)&got_sums)[i]))
                    fail_msg("%s tile_sums: turn %d, result %zu", tables[t]->isa, turn, i);
            assert_memory_equal(want_codes, got_codes, sizeof want_codes);
        }
    }
}

/* The factor that each group gets is the best by quant_err, the first of equals, on any ISA. */
static void ranges_shrink_to_the_best(void **unused)
{
    enum { N = 33, STRIDE = 40, FACTORS = 80 };
    const struct woq_kernels *tables[MAX_TABLES];
    int runnable[MAX_TABLES];
    const size_t n_tables = woq_kernels_all(tables, runnable, MAX_TABLES);
    static float x[N * STRIDE], weight[N];
    float factors[FACTORS], scale[16], zero[16], want[16], got[16], loss[16], got_loss[16];

    (void)unused;
    state = seed;
    for (int i = 0; i < FACTORS; i++)
        factors[i] = 1 - (float)i / 100;
    for (int turn = 0; turn < 50; turn++) {
        for (size_t i = 0; i < N * STRIDE; i++)
            x[i] = draw(turn % 3 ? GAUSS : TIES);
        for (size_t i = 0; i < N; i++)
            weight[i] = turn % 2 ? 1 : fabsf(draw(GAUSS));
        for (size_t g = 0; g < 16; g++) {
            scale[g] = g == 3 ? 1e-40f : (g % 2 ? -0.1f : 0.3f) + fabsf(draw(GAUSS)) / 8;
            zero[g] = (float)(g / 2);
        }
        tables[0]->tile_shrink(want, loss, x, STRIDE, weight, N, scale, zero, 15, factors, FACTORS);
        for (size_t t = 1; t < n_tables; t++) {
            if (!runnable[t])
                continue;
            tables[t]->tile_shrink(got, got_loss, x, STRIDE, weight, N, scale, zero, 15, factors,
                                   FACTORS);
            assert_memory_equal(want, got, sizeof want);
            assert_memory_equal(loss, got_loss, sizeof loss);
        }
        for (size_t g = 0; g < 16; g++) {
            float group[N], best = INFINITY, mine;

            for (size_t i = 0; i < N; i++)
                group[i] = x[i * STRIDE + g];
            for (int i = 0; i < FACTORS; i++)
                best = fminf(best, tables[0]->quant_err(group, weight, N, scale[g] * factors[i],
                                                        zero[g], 15));
            mine = tables[0]->quant_err(group, weight, N, scale[g] * want[g], zero[g], 15);
            if (g == 3) /* no reciprocal: every factor is as good */
                assert_true(want[g] == 1);
            else
                assert_true(mine <= best * 1.0001f && fabsf(loss[g] - mine) <= 1e-4f * mine);
        }
    }
}

/* Values that lie on a grid are found again, and their codes. */
static void a_tile_on_a_grid_is_fitted_exactly(void **unused)
{
    const struct woq_tile_grid g = draw_grid(2);
    float x[32 * 16], weight[32 * 16], scale[16], min[16];
    struct woq_tile_sums sums;
    uint8_t codes[32 * 16];

    (void)unused;
    for (size_t i = 0; i < 32 * 16; i++) {
        const float unit = 0.125f * (float)(1 + i % 16);
        x[i] = (float)((int)(i / 16 * 7 % 16) - 8) * unit;
        weight[i] = 1 + (float)(i % 5);
    }
    woq_kernels()->tile_fit(scale, min, x, weight, &g);
    woq_kernels()->tile_sums(&sums, x, weight, &g, scale, min);
    woq_kernels()->tile_codes(codes, x, &g, scale, min);
    for (size_t i = 0; i < 32 * 16; i++) {
        assert_true(min[i % 16] == 0 && sums.err[i % 16] < 1e-9f);
        assert_true(fabsf(scale[i % 16] - 0.125f * (float)(1 + i % 16)) < 1e-6f);
        assert_int_equal(codes[i], i / 16 * 7 % 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_equals_the_reference),
        cmocka_unit_test(all_halves_convert_alike),
        cmocka_unit_test(narrowing_rounds_to_even),
        cmocka_unit_test(exp_is_within_two_ulp),
        cmocka_unit_test(exp_at_its_edges),
        cmocka_unit_test(reductions_follow_the_lanes),
        cmocka_unit_test(codes_clamp_and_round_to_even),
        cmocka_unit_test(empty_and_nan_groups),
        cmocka_unit_test(tiles_equal_the_reference),
        cmocka_unit_test(ranges_shrink_to_the_best),
        cmocka_unit_test(a_tile_on_a_grid_is_fitted_exactly),
        cmocka_unit_test(rank_updates_follow_the_order_of_k),
        cmocka_unit_test(rank_updates_go_down_a_tall_matrix),
        cmocka_unit_test(the_environment_caps_the_table),
    };

    if (getenv("WOQ_TEST_SEED"))
        seed = strtoull(getenv("WOQ_TEST_SEED"), NULL, 10);
    fence_a = fence_make(MAX_N * sizeof(float));
    fence_b = fence_make(MAX_N * sizeof(float));
    fence_c = fence_make(MAX_N * sizeof(float));
    fence_codes = fence_make(MAX_N);
    fence_half = fence_make(MAX_N * sizeof(uint16_t));
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
