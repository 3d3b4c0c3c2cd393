/* gptq_target.c -- weights that aim at the float path's output, and how near a result comes to it.
 *
 * Behind quantized layers a layer sees inputs x where the float model has x_float. With
 * D = sum (x_float - x) x^T the output error over the calibration tokens, ||W x_float - Q x||^2, is
 *     tr(R H R^T) + 2 tr(R (W D)^T) + what does not depend on Q,      R = W - Q,
 * whose minimum over real Q is W + W D H^-1 (QEP, Arai and Ichikawa 2025, arXiv:2504.09629,
 * equation 5; GPTAQ, Li et al. 2025, arXiv:2504.02692, reaches it column by column). */
#include <woq/gptq.h>
#include <woq/kernels.h>
#include <woq/quant.h>
#include <woq/threads.h>

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 32, BLOCK = 128, NEAR = 16 };

struct toward {
    float *target, *sum; /* what is made: the target; or w D, negated */
    const float *w, *wd; /* wd: w D, negated */
    const struct woq_factor *f;
    const struct woq_qview *q;
    size_t n_rows;
    float alpha;
    double *error; /* [n_rows] */
    atomic_int failed;
};

static size_t rows_of(const struct toward *t, size_t item)
{
    return t->n_rows - item * ROWS < ROWS ? t->n_rows - item * ROWS : ROWS;
}

static void drift_tile(void *ctx, size_t item, int thread)
{
    const struct toward *t = ctx;
    const size_t n = t->f->n, at = item * ROWS * n;

    (void)thread;
    memset(t->sum + at, 0, rows_of(t, item) * n * sizeof *t->sum);
    woq_kernels()->rank_sub_f32(t->sum + at, n, t->w + at, n, t->f->d, n, rows_of(t, item), n, n);
}

void woq_gptq_drift(float *wd, const float *w, size_t n_rows, const struct woq_factor *f)
{
    struct toward t = { .sum = wd, .w = w, .f = f, .n_rows = n_rows };

    woq_parallel((n_rows + ROWS - 1) / ROWS, drift_tile, &t);
}

/* x [rows][n] -> z with z L = x, then z / D: columns from the last to the first. */
static void backward(const struct woq_factor *f, float *x, size_t rows)
{
    const struct woq_kernels *k = woq_kernels();
    const size_t n = f->n;

    for (size_t b1 = n, b0; b1 > 0; b1 = b0) {
        b0 = (b1 - 1) / BLOCK * BLOCK;
        for (size_t s1 = b1, s0; s1 > b0; s1 = s0) {
            s0 = (s1 - 1) / NEAR * NEAR;
            for (size_t c = s1; c-- > s0;)
                k->rank_sub_f32(x + s0, n, x + c, n, f->l + c * f->ld + s0, f->ld, rows, c - s0, 1);
            k->rank_sub_f32(x + b0, n, x + s0, n, f->l + s0 * f->ld + b0, f->ld, rows, s0 - b0,
                            s1 - s0);
        }
        k->rank_sub_f32(x, n, x + b0, n, f->l + b0 * f->ld, f->ld, rows, b0, b1 - b0);
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < n; c++)
            x[i * n + c] /= f->pivot[c];
}

/* target = w + alpha w D H^-1, in the order of the factor. */
static void target_tile(void *ctx, size_t item, int thread)
{
    struct toward *t = ctx;
    const struct woq_factor *f = t->f;
    const size_t n = f->n, rows = rows_of(t, item);
    const float *w = t->w + item * ROWS * n, *wd = t->wd + item * ROWS * n;
    float *target = t->target + item * ROWS * n;
    float *a = calloc(2 * ROWS * n, sizeof *a), *x = a ? a + ROWS * n : NULL;

    (void)thread;
    if (!a) {
        atomic_store(&t->failed, 1);
        return;
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < n; c++)
            a[i * n + c] = wd[i * n + f->perm[c]];
    backward(f, a, rows);
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < n; c++)
            x[c * ROWS + i] = a[i * n + c];
    woq_factor_walk(f, x, ROWS, 0, n, n, NULL, NULL); /* -w D H^-1, permuted */
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < n; c++) {
            const size_t at = i * n + f->perm[c];

            target[at] = w[at] - t->alpha * x[c * ROWS + i];
        }
    free(a);
}

int woq_gptq_target(float *target, const float *w, const float *wd, size_t n_rows,
                    const struct woq_factor *f, double alpha, struct woq_error *err)
{
    const size_t n = f->n;
    struct toward t = { .target = target, .w = w, .wd = wd, .f = f, .n_rows = n_rows };

    t.alpha = (float)alpha;
    woq_parallel((n_rows + ROWS - 1) / ROWS, target_tile, &t);
    if (atomic_load(&t.failed))
        return woq_fail_nomem(err, 2 * ROWS * n * sizeof *target);
    if (!woq_kernels()->all_finite_f32(target, n_rows * n))
        return woq_fail(err, WOQ_EDATA, "calibrate again, or take --correct 0",
                        "the correction toward the float path is not finite");
    return WOQ_OK;
}

/* Per row r.(H r) + 2 r.(w D), sums of products in double. */
static void error_tile(void *ctx, size_t item, int thread)
{
    struct toward *t = ctx;
    const struct woq_kernels *k = woq_kernels();
    const size_t n = t->f->n, rows = rows_of(t, item), row0 = item * ROWS;
    const float *w = t->w + row0 * n, *wd = t->wd + row0 * n;
    float *r = calloc(2 * ROWS * n, sizeof *r), *hr = r ? r + ROWS * n : NULL;

    (void)thread;
    if (!r) {
        atomic_store(&t->failed, 1);
        return;
    }
    woq_dequant_rows(r, t->q, row0, row0 + rows);
    for (size_t i = 0; i < rows * n; i++)
        r[i] = w[i] - r[i];
    k->rank_sub_f32(hr, n, r, n, t->f->h, n, rows, n, n);
    for (size_t i = 0; i < rows; i++) {
        double sum = 0;

        for (size_t j = i * n; j < (i + 1) * n; j++)
            sum -= (double)r[j] * ((double)hr[j] + 2 * (double)wd[j]);
        t->error[row0 + i] = sum;
    }
    free(r);
}

int woq_gptq_target_error(double *error, const struct woq_qview *q, const float *w, const float *wd,
                          const struct woq_factor *f, struct woq_error *err)
{
    struct toward t = { .w = w, .wd = wd, .f = f, .q = q, .n_rows = q->n_rows };

    t.error = woq_alloc((q->n_rows + !q->n_rows) * sizeof *t.error, err);
    if (!t.error)
        return WOQ_ENOMEM;
    woq_parallel((q->n_rows + ROWS - 1) / ROWS, error_tile, &t);
    *error = 0;
    for (size_t i = 0; i < q->n_rows; i++)
        *error += t.error[i];
    free(t.error);
    return atomic_load(&t.failed) ? woq_fail_nomem(err, 2 * ROWS * f->n * sizeof *w) : WOQ_OK;
}
