/* hessian.c -- sums of x x^T, and their damped, permuted inverse factor. */
#include <woq/hessian.h>
#include <woq/kernels.h>
#include <woq/linalg.h>
#include <woq/threads.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 384, BLOCK = 64 };

struct xtx {
    float *h;
    const float *x;
    size_t n, n_tokens, n_tiles;
};

static void xtx_tile(void *ctx, size_t item, int thread)
{
    const struct xtx *t = ctx;
    size_t i = 0, k = item;

    (void)thread;
    while (k >= t->n_tiles - i) /* item -> (i, j), i <= j, row by row of the upper triangle */
        k -= t->n_tiles - i++;
    const size_t r = i * TILE, c = (i + k) * TILE;
    const size_t rows = t->n - r < TILE ? t->n - r : TILE;
    const size_t cols = t->n - c < TILE ? t->n - c : TILE;

    if (r == c)
        woq_ssyrk(rows, t->n_tokens, t->x + r, t->n, t->h + r * t->n + r, t->n);
    else
        woq_sgemm(true, false, rows, cols, t->n_tokens, 1, t->x + r, t->n, t->x + c, t->n, 1,
                  t->h + r * t->n + c, t->n);
}

void woq_hessian_add(float *h, size_t n, const float *x, size_t n_tokens)
{
    struct xtx t = { h, x, n, n_tokens, (n + TILE - 1) / TILE };

    if (n && n_tokens)
        woq_parallel(t.n_tiles * (t.n_tiles + 1) / 2, xtx_tile, &t);
}

void woq_hessian_mirror(float *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            h[i * n + j] = h[j * n + i];
}

int woq_hessian_check(const float *h, size_t n, struct woq_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const double d = (double)h[i * n + i];

        if (!isfinite(d) || d < 0)
            return woq_fail(err, WOQ_EDATA, "calibrate again: the activations were not finite",
                            "diagonal entry %zu of the Hessian is %g", i, d);
        for (size_t j = 0; j < i; j++) {
            const double a = (double)h[i * n + j], b = (double)h[j * n + i];
            const double big = fmax(d, (double)h[j * n + j]);

            if (!(fabs(a - b) <= 1e-3 * big)) /* NaN fails too */
                return woq_fail(err, WOQ_EDATA, "calibrate again",
                                "Hessian is not symmetric and finite at %zu, %zu: %g and %g", i, j,
                                a, b);
        }
    }
    return WOQ_OK;
}

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

/* The permuted matrix, reversed in both indices (algorithms.md 3.3: factor J H J), lower triangle.
 */
static void fill(double *m, const float *h, const struct woq_factor *f, double damp)
{
    const size_t n = f->n;

    for (size_t i = 0; i < n; i++) {
        const size_t r = f->perm[n - 1 - i];

        for (size_t j = 0; j <= i; j++) {
            const size_t c = f->perm[n - 1 - j];

            m[i * n + j] = r < c ? (double)h[r * n + c] : (double)h[c * n + r];
        }
        m[i * n + i] = (double)f->diag[r] + damp;
        for (size_t j = i + 1; j < n; j++)
            m[i * n + j] = 0;
    }
}

struct step {
    double *m, *x;
    size_t n, k0, k1;
    double *panel; /* [k1-k0][n]: the panel transposed */
};

/* Rows below the diagonal block: L[i][k] = (A[i][k] - sum_p L[i][p] L[k][p]) / L[k][k]. */
static void solve_rows(void *ctx, size_t item, int thread)
{
    const struct step *s = ctx;
    const size_t r0 = s->k1 + item * BLOCK, n = s->n;
    const size_t r1 = r0 + BLOCK < n ? r0 + BLOCK : n;

    (void)thread;
    for (size_t i = r0; i < r1; i++) {
        double *row = s->m + i * n;

        for (size_t k = s->k0; k < s->k1; k++) {
            row[k] /= s->m[k * n + k];
            for (size_t j = k + 1; j < s->k1; j++)
                row[j] -= row[k] * s->m[j * n + k];
            s->panel[(k - s->k0) * n + i] = row[k];
        }
    }
}

/* A[i][j] -= sum_k L[i][k] L[j][k] for the rows of one tile, columns up to its last row. */
static void trailing_rows(void *ctx, size_t item, int thread)
{
    const struct step *s = ctx;
    const size_t r0 = s->k1 + item * BLOCK, n = s->n;
    const size_t r1 = r0 + BLOCK < n ? r0 + BLOCK : n;

    (void)thread;
    woq_kernels()->rank_sub_f64(s->m + r0 * n + s->k1, n, s->m + r0 * n + s->k0, n,
                                s->panel + s->k1, n, r1 - r0, r1 - s->k1, s->k1 - s->k0);
}

/* Lower Cholesky factor in place; false if the matrix is not positive definite. */
static bool cholesky(double *m, size_t n, double *panel)
{
    for (size_t k0 = 0; k0 < n; k0 += BLOCK) {
        const size_t k1 = k0 + BLOCK < n ? k0 + BLOCK : n;
        const size_t tiles = (n - k1 + BLOCK - 1) / BLOCK;
        struct step s = { m, NULL, n, k0, k1, panel };

        for (size_t k = k0; k < k1; k++) {
            const double d = m[k * n + k];

            if (!(d > 0) || !isfinite(d))
                return false;
            m[k * n + k] = sqrt(d);
            for (size_t i = k + 1; i < k1; i++)
                m[i * n + k] /= m[k * n + k];
            for (size_t i = k + 1; i < k1; i++)
                for (size_t j = k + 1; j <= i; j++)
                    m[i * n + j] -= m[i * n + k] * m[j * n + k];
        }
        woq_parallel(tiles, solve_rows, &s);
        woq_parallel(tiles, trailing_rows, &s);
    }
    return true;
}

/* Columns [c0, c1) of X = L^-1 by forward substitution, BLOCK rows at a time. */
static void invert_columns(void *ctx, size_t item, int thread)
{
    const struct step *s = ctx;
    const size_t n = s->n, c0 = item * BLOCK, c1 = c0 + BLOCK < n ? c0 + BLOCK : n;

    (void)thread;
    for (size_t i = c0; i < n; i++)
        for (size_t j = c0; j < c1; j++)
            s->x[i * n + j] = i == j;
    for (size_t b = c0; b < n; b += BLOCK) {
        const size_t e = b + BLOCK < n ? b + BLOCK : n;

        woq_kernels()->rank_sub_f64(s->x + b * n + c0, n, s->m + b * n + c0, n, s->x + c0 * n + c0,
                                    n, e - b, c1 - c0, b - c0);
        for (size_t i = b; i < e; i++) {
            woq_kernels()->rank_sub_f64(s->x + i * n + c0, n, s->m + i * n + b, n,
                                        s->x + b * n + c0, n, 1, c1 - c0, i - b);
            for (size_t j = c0; j < c1; j++)
                s->x[i * n + j] /= s->m[i * n + i];
        }
    }
}

/* u = J L^-1 J, rounded to f32. */
static void store(struct woq_factor *f, const double *x)
{
    const size_t n = f->n;

    memset(f->u, 0, n * n * sizeof *f->u);
    for (size_t i = 0; i < n; i++)
        for (size_t j = i; j < n; j++)
            f->u[i * n + j] = (float)x[(n - 1 - i) * n + (n - 1 - j)];
}

static int factorize(struct woq_factor *f, const float *h, struct woq_error *err)
{
    const size_t n = f->n;
    struct woq_buf mbuf = { 0 }, xbuf = { 0 }, pbuf = { 0 };
    double *m = woq_buf_need(&mbuf, n * n * sizeof *m, err);
    double *x = m ? woq_buf_need(&xbuf, n * n * sizeof *x, err) : NULL;
    double *panel = x ? woq_buf_need(&pbuf, BLOCK * n * sizeof *panel, err) : NULL;
    double mean = 0;
    bool ok = false;

    for (size_t j = 0; j < n; j++)
        mean += (double)f->diag[j] / (double)n;
    while (panel && !ok && f->percdamp <= 1) {
        fill(m, h, f, f->percdamp * mean);
        ok = cholesky(m, n, panel);
        if (!ok)
            f->percdamp *= 10;
    }
    if (ok) {
        struct step s = { m, x, n, 0, 0, NULL };

        woq_parallel((n + BLOCK - 1) / BLOCK, invert_columns, &s);
        store(f, x);
    } else if (panel) {
        f->no_feedback = true;
        memset(f->u, 0, n * n * sizeof *f->u);
        for (size_t j = 0; j < n; j++)
            f->u[j * n + j] = 1;
    }
    woq_buf_release(&mbuf);
    woq_buf_release(&xbuf);
    woq_buf_release(&pbuf);
    return panel ? WOQ_OK : WOQ_ENOMEM;
}

int woq_factor_init(struct woq_factor *f, const float *h, size_t n, enum woq_order order,
                    size_t group_size, double percdamp, struct woq_error *err)
{
    int rc;

    memset(f, 0, sizeof *f);
    f->n = n;
    f->percdamp = percdamp;
    f->u = woq_alloc(n * n * sizeof *f->u, err);
    f->perm = f->u ? woq_alloc(n * sizeof *f->perm, err) : NULL;
    f->diag = f->perm ? woq_alloc(n * sizeof *f->diag, err) : NULL;
    f->dead = f->diag ? woq_alloc(n, err) : NULL;
    if (!f->dead) {
        woq_factor_release(f);
        return WOQ_ENOMEM;
    }
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
