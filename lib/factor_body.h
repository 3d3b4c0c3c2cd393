/* factor_body.h -- A = L^T D L in place, once per type of number that includes it.
 *
 * Columns go from the last to the first, in panels of rows. What row k leaves when it is reached is
 * D_k L[k][.]: it goes into `panel`, transposed, and is divided by its pivot. The rows above take
 * A[i][j] -= (D L)[k][i] L[k][j], near ones at once, the rest of the panel and of the matrix
 * behind them, as chains of rank-one updates (kernels.h) in an order that is fixed: the bits are
 * the same anywhere. The including file says REAL, FACTOR_NAME and RANK_SUB. */

struct FACTOR_NAME(ldl) {
    const struct woq_factor *f;
    const float *h;
    double damp, least; /* a pivot is more than `least` of its diagonal */
    REAL *m, *d;        /* [n][ld] lower triangle; [n] pivots */
    REAL *panel;        /* [n][PANEL] */
    size_t n, ld, k0, k1;
    bool failed;
};

/* The permuted, damped matrix, tiles of rows. */
static void FACTOR_NAME(fill_rows)(void *ctx, size_t item, int thread)
{
    const struct FACTOR_NAME(ldl) *s = ctx;
    const size_t n = s->n, r0 = item * ROWS, r1 = n - r0 < ROWS ? n : r0 + ROWS;
    const uint32_t *perm = s->f->perm;

    (void)thread;
    for (size_t i = r0; i < r1; i++) {
        REAL *row = s->m + i * s->ld;
        const float *h = s->h + perm[i] * n;

        for (size_t j = 0; j < i; j++)
            row[j] = (REAL)h[perm[j]];
        row[i] = (REAL)((double)s->f->diag[perm[i]] + s->damp);
        memset(row + i + 1, 0, (s->ld - i - 1) * sizeof *row);
    }
}

/* Row k of columns [j0, j1): away with what it was, then L. */
static void FACTOR_NAME(finish_row)(const struct FACTOR_NAME(ldl) * s, size_t k, size_t j0,
                                    size_t j1)
{
    REAL *row = s->m + k * s->ld;

    for (size_t j = j0; j < j1; j++) {
        s->panel[j * PANEL + k - s->k0] = row[j];
        row[j] /= s->d[k];
    }
}

/* Rows [k0, k1) of columns [j0, j1); those of the diagonal block, which come first, find the
 * pivots. */
static bool FACTOR_NAME(sweep)(struct FACTOR_NAME(ldl) * s, size_t j0, size_t j1)
{
    const size_t ld = s->ld;

    for (size_t p1 = s->k1, p0; p1 > s->k0; p1 = p0) {
        p0 = p1 - s->k0 < NEAR ? s->k0 : p1 - NEAR;
        for (size_t k = p1; k-- > p0;) {
            const REAL pivot = s->m[k * ld + k];

            if (j0 == s->k0) {
                const double diag = (double)s->f->diag[s->f->perm[k]] + s->damp;

                if (!((double)pivot > s->least * diag) || !isfinite(pivot))
                    return false;
                s->d[k] = pivot;
            }
            FACTOR_NAME(finish_row)(s, k, j0, j1);
            woq_kernels()->RANK_SUB(s->m + p0 * ld + j0, ld, s->panel + p0 * PANEL + k - s->k0,
                                    PANEL, s->m + k * ld + j0, ld, k - p0, j1 - j0, 1);
        }
        woq_kernels()->RANK_SUB(s->m + s->k0 * ld + j0, ld, s->panel + s->k0 * PANEL + p0 - s->k0,
                                PANEL, s->m + p0 * ld + j0, ld, p0 - s->k0, j1 - j0, p1 - p0);
    }
    return true;
}

static void FACTOR_NAME(panel_columns)(void *ctx, size_t item, int thread)
{
    struct FACTOR_NAME(ldl) *s = ctx;
    const size_t j0 = item * ROWS, j1 = s->k0 - j0 < ROWS ? s->k0 : j0 + ROWS;

    (void)thread;
    FACTOR_NAME(sweep)(s, j0, j1);
}

/* The longest rows first. */
static void FACTOR_NAME(rows_above)(void *ctx, size_t item, int thread)
{
    struct FACTOR_NAME(ldl) *s = ctx;
    const size_t r1 = s->k0 - item * ROWS, r0 = r1 < ROWS ? 0 : r1 - ROWS;

    (void)thread;
    woq_kernels()->RANK_SUB(s->m + r0 * s->ld, s->ld, s->panel + r0 * PANEL, PANEL,
                            s->m + s->k0 * s->ld, s->ld, r1 - r0, r1, s->k1 - s->k0);
}

/* false if the matrix is not positive definite, or not enough for these numbers. */
static bool FACTOR_NAME(factor)(struct FACTOR_NAME(ldl) * s)
{
    woq_parallel(n_tiles(s->n), FACTOR_NAME(fill_rows), s);
    for (s->k1 = s->n; s->k1 > 0; s->k1 = s->k0) {
        s->k0 = s->k1 < PANEL ? 0 : s->k1 - PANEL;
        if (!FACTOR_NAME(sweep)(s, s->k0, s->k1))
            return false;
        woq_parallel(n_tiles(s->k0), FACTOR_NAME(panel_columns), s);
        woq_parallel(n_tiles(s->k0), FACTOR_NAME(rows_above), s);
    }
    return true;
}

#undef REAL
#undef FACTOR_NAME
#undef RANK_SUB
