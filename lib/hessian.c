/* hessian.c -- sums of x x^T. Walks across rows go tile by tile: a column of a matrix of 11008
 * inputs has a page for each element. */
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

struct walk {
    float *h;              /* of mirror */
    const float *seen;     /* of check */
    size_t n;              /* below, for each tile of rows: its first bad entry, column n = none */
    size_t *bad, *bad_row; /* column, row */
};

static size_t n_tiles(size_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

static void mirror_rows(void *ctx, size_t item, int thread)
{
    const struct walk *t = ctx;
    const size_t n = t->n, i0 = item * BLOCK, i1 = i0 + BLOCK < n ? i0 + BLOCK : n;

    (void)thread;
    for (size_t j0 = 0; j0 < i1; j0 += BLOCK)
        for (size_t i = i0; i < i1; i++)
            for (size_t j = j0; j < j0 + BLOCK && j < i; j++)
                t->h[i * n + j] = t->h[j * n + i];
}

void woq_hessian_mirror(float *h, size_t n)
{
    struct walk t = { .h = h, .n = n };

    woq_parallel(n_tiles(n), mirror_rows, &t);
}

/* Finite, not negative on the diagonal, and symmetric to what sums in another order may differ by.
 */
static bool is_good(const float *h, size_t n, size_t i, size_t j)
{
    const double d = (double)h[i * n + i], a = (double)h[i * n + j], b = (double)h[j * n + i];

    if (i == j)
        return isfinite(d) && d >= 0;
    return fabs(a - b) <= 1e-3 * fmax(d, (double)h[j * n + j]); /* NaN fails too */
}

static void check_rows(void *ctx, size_t item, int thread)
{
    const struct walk *t = ctx;
    const size_t n = t->n, i0 = item * BLOCK, i1 = i0 + BLOCK < n ? i0 + BLOCK : n;

    (void)thread;
    t->bad[item] = n;
    for (size_t j0 = 0; j0 < i1; j0 += BLOCK)
        for (size_t i = i0; i < i1; i++)
            for (size_t j = j0; j < j0 + BLOCK && j <= i; j++)
                if (!is_good(t->seen, n, i, j) && (t->bad[item] == n || i < t->bad_row[item])) {
                    t->bad[item] = j;
                    t->bad_row[item] = i;
                }
}

static int name_bad(const float *h, size_t n, size_t i, size_t j, struct woq_error *err)
{
    if (i == j)
        return woq_fail(err, WOQ_EDATA, "calibrate again: the activations were not finite",
                        "diagonal entry %zu of the Hessian is %g", i, (double)h[i * n + i]);
    return woq_fail(err, WOQ_EDATA, "calibrate again",
                    "Hessian is not symmetric and finite at %zu, %zu: %g and %g", i, j,
                    (double)h[i * n + j], (double)h[j * n + i]);
}

int woq_hessian_check(const float *h, size_t n, struct woq_error *err)
{
    const size_t tiles = n_tiles(n);
    size_t *bad = woq_alloc(2 * tiles * sizeof *bad, err);
    struct walk t = { .seen = h, .n = n, .bad = bad, .bad_row = bad ? bad + tiles : NULL };
    int rc = bad ? WOQ_OK : WOQ_ENOMEM;

    if (bad)
        woq_parallel(tiles, check_rows, &t);
    for (size_t i = 0; rc == WOQ_OK && i < tiles; i++)
        if (bad[i] < n)
            rc = name_bad(h, n, t.bad_row[i], bad[i], err);
    free(bad);
    return rc;
}
