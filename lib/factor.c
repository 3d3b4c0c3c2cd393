/* factor.c -- the damped, permuted inverse factor of a Hessian, once for a group of linears.
 *
 * (P^T H P + damping)^-1 = U^T U, U upper triangular: with J the reversal of both indices and
 * J A J = L L^T, U = J L^-1 J (algorithms.md 3.3). All in f64, in blocks whose borders and order
 * are fixed; the work is in chains of rank-one updates (kernels.h), so the bits are the same
 * anywhere. */
#include <woq/hessian.h>
#include <woq/kernels.h>
#include <woq/threads.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 128, ROWS = 64 };

/* ------------------------------------------------------------------ order */

struct keyed {
    float key;
    uint32_t index;
};

/* Descending, ties keep the lower index first (algorithms.md 0). */
static int by_key(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void order_gar(struct keyed *k, struct keyed *groups, const float *diag, size_t n, size_t g)
{
    const size_t full = n / g;
    size_t at = 0;

    for (size_t t = 0; t < full; t++) {
        groups[t].key = -1;
        groups[t].index = (uint32_t)t;
        for (size_t j = t * g; j < (t + 1) * g; j++)
            if (diag[j] > groups[t].key)
                groups[t].key = diag[j];
    }
    qsort(groups, full, sizeof *groups, by_key);
    for (size_t t = 0; t < full; t++) {
        for (size_t j = 0; j < g; j++) {
            const uint32_t col = (uint32_t)(groups[t].index * g + j);

            k[at + j] = (struct keyed){ diag[col], col };
        }
        qsort(k + at, g, sizeof *k, by_key);
        at += g;
    }
    for (; at < n; at++) /* the tail stays last, unpermuted */
        k[at] = (struct keyed){ diag[at], (uint32_t)at };
}

static int make_order(struct woq_factor *f, enum woq_order order, size_t group_size,
                      struct woq_error *err)
{
    struct keyed *k = malloc(2 * (f->n + 1) * sizeof *k);

    if (!k)
        return woq_fail_nomem(err, 2 * f->n * sizeof *k);
    for (size_t j = 0; j < f->n; j++)
        k[j] = (struct keyed){ f->diag[j], (uint32_t)j };
    if (order == WOQ_ORDER_ACT)
        qsort(k, f->n, sizeof *k, by_key);
    else if (order == WOQ_ORDER_GAR && group_size && group_size < f->n)
        order_gar(k, k + f->n, f->diag, f->n, group_size);
    else if (order == WOQ_ORDER_GAR)
        qsort(k, f->n, sizeof *k, by_key);
    for (size_t j = 0; j < f->n; j++)
        f->perm[j] = k[j].index;
    free(k);
    return WOQ_OK;
}

/* ------------------------------------------------------------------ factor */

struct step {
    struct woq_factor *f;
    const float *h;
    double damp;
    double *m; /* [n][n] A reversed, then its lower factor L */
    double *x; /* [n][n] its inverse */
    size_t n, k0, k1;
    double *corner;  /* [BLOCK][BLOCK] minus the transposed inverse of L's diagonal block */
    double *corners; /* [n][BLOCK] minus the inverses of all diagonal blocks */
    double *panel;   /* [k1-k0][n]: the panel transposed */
};

static size_t n_tiles(size_t from, size_t n)
{
    return (n - from + ROWS - 1) / ROWS;
}

/* The permuted matrix, reversed in both indices, lower triangle. */
static void fill_rows(void *ctx, size_t item, int thread)
{
    const struct step *s = ctx;
    const size_t n = s->n, r0 = item * ROWS, r1 = r0 + ROWS < n ? r0 + ROWS : n;
    const uint32_t *perm = s->f->perm;

    (void)thread;
    for (size_t i = r0; i < r1; i++) {
        const size_t r = perm[n - 1 - i];

        for (size_t j = 0; j < i; j++)
            s->m[i * n + j] = (double)s->h[r * n + perm[n - 1 - j]];
        s->m[i * n + i] = (double)s->f->diag[r] + s->damp;
    }
}

/* Lower factor of the diagonal block, in place; false if it is not positive definite. */
static bool factor_block(double *a, size_t lda, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k <= i; k++) {
            double sum = a[i * lda + k];

            for (size_t p = 0; p < k; p++)
                sum -= a[i * lda + p] * a[k * lda + p];
            if (i > k)
                a[i * lda + k] = sum / a[k * lda + k];
            else if (sum > 0 && isfinite(sum))
                a[i * lda + i] = sqrt(sum);
            else
                return false;
        }
    return true;
}

/* Minus the inverse of the diagonal block: into corners, and transposed into corner. */
static void invert_block(const struct step *s)
{
    const double *a = s->m + s->k0 * s->n + s->k0;
    const size_t n = s->k1 - s->k0;

    memset(s->corner, 0, BLOCK * BLOCK * sizeof *s->corner);
    for (size_t c = 0; c < n; c++) {
        double *x = s->corner + c * BLOCK; /* column c of the inverse */

        x[c] = -1 / a[c * s->n + c];
        for (size_t i = c + 1; i < n; i++) {
            double sum = 0;

            for (size_t p = c; p < i; p++)
                sum -= a[i * s->n + p] * x[p];
            x[i] = sum / a[i * s->n + i];
        }
        for (size_t i = 0; i < n; i++)
            s->corners[(s->k0 + i) * BLOCK + c] = x[i];
    }
}

/* Rows below the diagonal block times its inverse, transposed: the panel. */
static void solve_rows(void *ctx, size_t item, int thread)
{
    const struct step *s = ctx;
    const size_t n = s->n, r0 = s->k1 + item * ROWS, rows = n - r0 < ROWS ? n - r0 : ROWS;
    const size_t depth = s->k1 - s->k0;
    double done[ROWS * BLOCK] = { 0 };

    (void)thread;
    woq_kernels()->rank_sub_f64(done, BLOCK, s->m + r0 * n + s->k0, n, s->corner, BLOCK, rows,
                                depth, depth);
    for (size_t i = 0; i < rows; i++)
        memcpy(s->m + (r0 + i) * n + s->k0, done + i * BLOCK, depth * sizeof *done);
    for (size_t k = 0; k < depth; k++)
        for (size_t i = 0; i < rows; i++)
            s->panel[k * n + r0 + i] = done[i * BLOCK + k];
}

/* A[i][j] -= sum_k L[i][k] L[j][k] for the rows of one tile, columns up to its last row. */
static void trailing_rows(void *ctx, size_t item, int thread)
{
    const struct step *s = ctx;
    const size_t n = s->n, r0 = s->k1 + item * ROWS, r1 = r0 + ROWS < n ? r0 + ROWS : n;

    (void)thread;
    woq_kernels()->rank_sub_f64(s->m + r0 * n + s->k1, n, s->m + r0 * n + s->k0, n,
                                s->panel + s->k1, n, r1 - r0, r1 - s->k1, s->k1 - s->k0);
}

/* Lower Cholesky factor in place; false if the matrix is not positive definite. */
static bool cholesky(struct step *s)
{
    const size_t n = s->n;

    for (s->k0 = 0; s->k0 < n; s->k0 = s->k1) {
        s->k1 = s->k0 + BLOCK < n ? s->k0 + BLOCK : n;
        if (!factor_block(s->m + s->k0 * n + s->k0, n, s->k1 - s->k0))
            return false;
        invert_block(s);
        woq_parallel(n_tiles(s->k1, n), solve_rows, s);
        woq_parallel(n_tiles(s->k1, n), trailing_rows, s);
    }
    return true;
}

/* Columns [c0, c1) of X = L^-1 by forward substitution, a block of rows at a time. */
static void invert_columns(void *ctx, size_t item, int thread)
{
    const struct step *s = ctx;
    const struct woq_kernels *k = woq_kernels();
    const size_t n = s->n, c0 = item * BLOCK, cols = n - c0 < BLOCK ? n - c0 : BLOCK;
    double sum[BLOCK * BLOCK];

    (void)thread;
    for (size_t b = c0; b < n; b += BLOCK) {
        const size_t rows = n - b < BLOCK ? n - b : BLOCK;
        double *x = s->x + b * n + c0;

        memset(sum, 0, sizeof sum);
        for (size_t i = 0; b == c0 && i < cols; i++)
            sum[i * BLOCK + i] = 1;
        for (size_t p = c0; p < b; p += BLOCK)
            k->rank_sub_f64(sum, BLOCK, s->m + b * n + p, n, s->x + p * n + c0, n, rows, cols,
                            BLOCK);
        for (size_t i = 0; i < rows; i++)
            memset(x + i * n, 0, cols * sizeof *x);
        k->rank_sub_f64(x, n, s->corners + b * BLOCK, BLOCK, sum, BLOCK, rows, cols, rows);
    }
}

/* u = J L^-1 J, rounded to f32. */
static void store_rows(void *ctx, size_t item, int thread)
{
    const struct step *s = ctx;
    const size_t n = s->n, r0 = item * ROWS, r1 = r0 + ROWS < n ? r0 + ROWS : n;

    (void)thread;
    for (size_t i = r0; i < r1; i++) {
        const double *row = s->x + (n - 1 - i) * n;

        memset(s->f->u + i * n, 0, i * sizeof *s->f->u);
        for (size_t j = i; j < n; j++)
            s->f->u[i * n + j] = (float)row[n - 1 - j];
    }
}

static void no_feedback(struct woq_factor *f)
{
    f->no_feedback = true;
    memset(f->u, 0, f->n * f->n * sizeof *f->u);
    for (size_t j = 0; j < f->n; j++)
        f->u[j * f->n + j] = 1;
}

/* One allocation for all that factorize works on. */
static double *place(struct step *s, struct woq_error *err)
{
    size_t elems, bytes;
    double *memory;

    if (!woq_mul_size(2 * s->n + 2 * BLOCK, s->n, &elems) ||
        !woq_mul_size(elems + BLOCK * BLOCK, sizeof *memory, &bytes)) {
        woq_fail_nomem(err, SIZE_MAX);
        return NULL;
    }
    memory = woq_alloc(bytes, err);
    if (!memory)
        return NULL;
    s->m = memory;
    s->x = s->m + s->n * s->n;
    s->corner = s->x + s->n * s->n;
    s->corners = s->corner + BLOCK * BLOCK;
    s->panel = s->corners + BLOCK * s->n;
    return memory;
}

static int factorize(struct woq_factor *f, const float *h, struct woq_error *err)
{
    const size_t n = f->n;
    struct step s = { .f = f, .h = h, .n = n };
    double *memory = place(&s, err), mean = 0;
    bool ok = false;

    if (!memory)
        return WOQ_ENOMEM;
    for (size_t j = 0; j < n; j++)
        mean += (double)f->diag[j] / (double)n;
    while (!ok && f->percdamp <= 1) {
        s.damp = f->percdamp * mean;
        woq_parallel(n_tiles(0, n), fill_rows, &s);
        ok = cholesky(&s);
        if (!ok)
            f->percdamp *= 10;
    }
    if (ok) {
        woq_parallel((n + BLOCK - 1) / BLOCK, invert_columns, &s);
        woq_parallel(n_tiles(0, n), store_rows, &s);
    } else {
        no_feedback(f);
    }
    free(memory);
    return WOQ_OK;
}

int woq_factor_init(struct woq_factor *f, const float *h, size_t n, enum woq_order order,
                    size_t group_size, double percdamp, struct woq_error *err)
{
    int rc;

    memset(f, 0, sizeof *f);
    f->n = n;
    f->percdamp = percdamp;
    f->u = woq_alloc((n * n + WOQ_FACTOR_PAD) * sizeof *f->u, err);
    f->perm = f->u ? woq_alloc(n * sizeof *f->perm, err) : NULL;
    f->diag = f->perm ? woq_alloc(n * sizeof *f->diag, err) : NULL;
    f->dead = f->diag ? woq_alloc(n, err) : NULL;
    if (!f->dead) {
        woq_factor_release(f);
        return WOQ_ENOMEM;
    }
    memset(f->u + n * n, 0, WOQ_FACTOR_PAD * sizeof *f->u);
    for (size_t j = 0; j < n; j++) {
        f->diag[j] = h[j * n + j];
        f->dead[j] = f->diag[j] == 0;
        f->n_dead += f->dead[j];
        if (f->dead[j])
            f->diag[j] = 1;
    }
    rc = make_order(f, order, group_size, err);
    if (rc == WOQ_OK)
        rc = factorize(f, h, err);
    if (rc)
        woq_factor_release(f);
    return rc;
}

void woq_factor_release(struct woq_factor *f)
{
    free(f->u);
    free(f->perm);
    free(f->diag);
    free(f->dead);
    memset(f, 0, sizeof *f);
}
