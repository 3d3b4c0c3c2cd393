/* kernels.c -- every kernel of every ISA that runs here, on one thread, over arrays that no cache
 * holds, in calls of one row; beside the read bandwidth of the same run.
 *
 * GB/s counts the bytes that the kernel reads and writes; for woq_rtn, the weights that it reads.
 * The bandwidth is the best of several runs of a sum of 64-bit words and of the widest sum_f32, on
 * one thread. Usage: kernels [NAME] */
#include <woq/kernels.h>
#include <woq/quant.h>
#include <woq/threads.h>
#include <woq/util.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROW = 4096, N_ROWS = 4096, GROUP = 64, RUNS = 3 };

static float *a, *b, *c;
static uint8_t *codes;
static uint16_t *half;
static float scale[ROW], zero[ROW], lo[ROW], hi[ROW];
static volatile float sink;
static volatile uint64_t sink_bits;

/* One row each; `at` is the first element of the row in the large arrays. */
#define RUN(name) static void run_##name(const struct woq_kernels *k, size_t at)
RUN(f16_to_f32)
{
    k->f16_to_f32(a + at, half + at, ROW);
}
RUN(f32_to_f16)
{
    k->f32_to_f16(half + at, b + at, ROW);
}
RUN(bf16_to_f32)
{
    k->bf16_to_f32(a + at, half + at, ROW);
}
RUN(f32_to_bf16)
{
    k->f32_to_bf16(half + at, b + at, ROW);
}
RUN(absmax)
{
    sink = k->absmax_f32(b + at, ROW);
}
RUN(finite)
{
    sink = (float)k->all_finite_f32(b + at, ROW);
}
RUN(minmax)
{
    k->minmax_groups_f32(lo, hi, b + at, ROW, GROUP);
}
RUN(quant)
{
    k->quant_groups_u8(codes + at, b + at, ROW, GROUP, scale, zero, 8, 15);
}
RUN(err)
{
    k->quant_err_groups(lo, b + at, NULL, ROW, GROUP, scale, zero, 8, 15);
}
RUN(dequant)
{
    k->dequant_groups_u8(a + at, codes + at, ROW, GROUP, scale, zero, 8);
}
RUN(dot)
{
    sink = k->dot_f32(b + at, c + at, ROW);
}
RUN(sum)
{
    sink = k->sum_f32(b + at, ROW);
}
RUN(scale)
{
    k->scale_f32(a + at, ROW, 1.0f);
}
RUN(add)
{
    k->add_f32(a + at, b + at, ROW);
}
RUN(axpy)
{
    k->axpy_f32(a + at, b + at, ROW, 0.5f);
}
RUN(exp)
{
    k->exp_f32(a + at, b + at, ROW);
}
RUN(softmax)
{
    k->softmax_f32(c + at, ROW);
}
RUN(rmsnorm)
{
    k->rmsnorm_f32(a + at, b + at, scale, ROW, 1e-5f);
}
RUN(silu)
{
    k->silu_mul_f32(a + at, b + at, c + at, ROW);
}
RUN(rope)
{
    for (size_t i = 0; i < ROW; i += 64)
        k->rope_half_f32(c + at + i, scale, zero, 64);
}
RUN(lse)
{
    size_t best;
    sink = k->logsumexp_f32(b + at, ROW, &best);
}

/* clang-format off */
static const struct bench {
    const char *name;
    void (*run)(const struct woq_kernels *k, size_t at);
    double bytes; /* read and written per element */
} benches[] = {
    { "f16_to_f32", run_f16_to_f32, 6 },     { "f32_to_f16", run_f32_to_f16, 6 },
    { "bf16_to_f32", run_bf16_to_f32, 6 },   { "f32_to_bf16", run_f32_to_bf16, 6 },
    { "absmax_f32", run_absmax, 4 },         { "all_finite_f32", run_finite, 4 },
    { "minmax_groups_f32 g64", run_minmax, 4 }, { "quant_groups_u8 g64", run_quant, 5 },
    { "quant_err_groups g64", run_err, 4 },             { "dequant_groups_u8 g64", run_dequant, 5 },
    { "dot_f32", run_dot, 8 },               { "sum_f32", run_sum, 4 },
    { "scale_f32", run_scale, 8 },           { "add_f32", run_add, 12 },
    { "axpy_f32", run_axpy, 12 },            { "exp_f32", run_exp, 8 },
    { "softmax_f32", run_softmax, 8 },       { "rmsnorm_f32", run_rmsnorm, 8 },
    { "silu_mul_f32", run_silu, 12 },        { "rope_half_f32 d64", run_rope, 8 },
    { "logsumexp_f32", run_lse, 4 },
};
/* clang-format on */

/* Processor time of this thread: what other programs take of it in between does not count. */
static uint64_t busy_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Best GB/s of some runs over the first n_rows rows. */
static double measure(const struct bench *w, const struct woq_kernels *k, size_t n_rows)
{
    double best = 0;

    for (int run = 0; run < RUNS; run++) {
        const uint64_t t0 = busy_ns();
        for (size_t r = 0; r < n_rows; r++)
            w->run(k, r * ROW);
        const double ns = (double)(busy_ns() - t0);
        const double rate = w->bytes * ROW * (double)n_rows / ns;
        best = rate > best ? rate : best;
    }
    return best;
}

static double read_bandwidth(const struct woq_kernels *k)
{
    static const struct bench sum = { "sum_f32", run_sum, 4 };
    double best = measure(&sum, k, N_ROWS);

    for (int run = 0; run < RUNS; run++) {
        const size_t n = (size_t)ROW * N_ROWS / 2;
        uint64_t word, total[4] = { 0 };
        const uint64_t t0 = busy_ns();
        for (size_t i = 0; i < n; i += 4)
            for (size_t j = 0; j < 4; j++) {
                memcpy(&word, b + 2 * (i + j), sizeof word);
                total[j] += word;
            }
        sink_bits = total[0] + total[1] + total[2] + total[3];
        const double rate = 8.0 * (double)n / (double)(busy_ns() - t0);
        best = rate > best ? rate : best;
    }
    return best;
}

static void *need(size_t bytes)
{
    struct woq_error err;
    void *p = woq_alloc(bytes, &err);

    if (!p) {
        fprintf(stderr, "kernels: %s\n", err.what);
        exit(1);
    }
    return p;
}

static void fill(void)
{
    const size_t n = (size_t)ROW * N_ROWS;
    uint32_t state = 1;

    a = need(n * sizeof *a);
    b = need(n * sizeof *b);
    c = need(n * sizeof *c);
    codes = need(n);
    half = need(n * sizeof *half);
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        a[i] = 0;
        b[i] = (float)(state >> 8) / 8388608.0f - 1;
        c[i] = b[i] * 0.5f;
        codes[i] = (uint8_t)(state >> 28);
        half[i] = (uint16_t)(0x3000 + (state >> 24));
    }
    for (size_t i = 0; i < ROW; i++) {
        scale[i] = 0.1f;
        zero[i] = 8;
    }
}

struct row {
    char what[64];
    double rate;
};

/* Round to nearest of one large weight: ranges, scales, zero points, codes. */
static struct row measure_rtn(const char *words, int bits, bool sym, const char *search)
{
    const uint64_t n = (uint64_t)ROW * N_ROWS;
    float *scales = need(n / GROUP * sizeof(float)), *zeros = need(n / GROUP * sizeof(float));
    struct woq_scheme s;
    struct woq_error err;
    struct row row = { "", 0 };

    woq_scheme_init(&s);
    s.bits = bits;
    s.sym = sym;
    s.group_size = GROUP;
    snprintf(s.search, sizeof s.search, "%s", search);
    for (int run = 0; run < RUNS; run++) {
        const size_t n_rows = strcmp(search, "none") == 0 ? N_ROWS : N_ROWS / 16;
        const uint64_t t0 = woq_now_ns();
        if (woq_rtn(codes, scales, sym ? NULL : zeros, b, n_rows, ROW, &s, NULL, &err))
            exit(1);
        const double rate = 4.0 * (double)(n_rows * ROW) / (double)(woq_now_ns() - t0);
        row.rate = rate > row.rate ? rate : row.rate;
    }
    snprintf(row.what, sizeof row.what, "woq_rtn %s, %d threads", words, woq_threads());
    free(scales);
    free(zeros);
    return row;
}

int main(int argc, char **argv)
{
    static struct row rows[256];
    const struct woq_kernels *tables[8];
    int runnable[8];
    const size_t n = woq_kernels_all(tables, runnable, 8);
    const char *only = argc > 1 ? argv[1] : "";
    size_t n_rows = 0;
    double read;

    fill();
    read = read_bandwidth(woq_kernels());
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++) {
        if (!strstr(benches[i].name, only))
            continue;
        /* in between, since other programs come and go */
        const double now = read_bandwidth(woq_kernels());
        read = now > read ? now : read;
        for (size_t t = 0; t < n; t++) {
            if (!runnable[t])
                continue;
            /* the reference is there to be right: an eighth tells its speed */
            rows[n_rows].rate = measure(&benches[i], tables[t], t ? N_ROWS : N_ROWS / 8);
            snprintf(rows[n_rows++].what, sizeof rows->what, "%s, %s", benches[i].name,
                     tables[t]->isa);
        }
    }
    if (strstr("woq_rtn", only)) {
        rows[n_rows++] = measure_rtn("int4 sym g64", 4, true, "none");
        rows[n_rows++] = measure_rtn("int4 asym g64", 4, false, "none");
        rows[n_rows++] = measure_rtn("int4 asym g64 mse", 4, false, "mse");
    }
    for (size_t i = 0; i < n_rows; i++)
        printf("%s\t%.2f\tGB/s\tread bandwidth %.1f GB/s\t%.2f\n", rows[i].what, rows[i].rate, read,
               rows[i].rate / read);
    free(a);
    free(b);
    free(c);
    free(codes);
    free(half);
    return 0;
}
