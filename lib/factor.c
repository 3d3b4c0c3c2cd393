/* factor.c -- the damped, permuted Hessian factored as L^T D L, once for a group of linears.
 *
 * GPTQ is the nearest-plane algorithm on that factor: with the columns before it fixed and those
 * behind it free, column j does best at w_j - sum_{k<j} (q_k - w_k) L[j][k]. No inverse is needed;
 * the diagonal of U in algorithms.md 3.3 is D^-1/2. The numbers are f32, as those of H are, so
 * that rounding does to L about what it did to H; where a pivot shows that they do not suffice,
 * f64 and more damping. */
#include <woq/hessian.h>
#include <woq/kernels.h>
#include <woq/threads.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL = 256, WALK = 128, NEAR = 16, ROWS = 128 };

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

static size_t n_tiles(size_t n)
{
    return (n + ROWS - 1) / ROWS;
}

#define REAL float
#define FACTOR_NAME(name) name##_f32
#define RANK_SUB rank_sub_f32
#include "factor_body.h"

#define REAL double
#define FACTOR_NAME(name) name##_f64
#define RANK_SUB rank_sub_f64
#include "factor_body.h"

/* A pivot is what is left of its diagonal after up to n subtractions, each off by 2^-25 of it: one
 * that is less than this share may be off by parts of a hundred. */
static const double f32_least = 0x1p-12;

static int in_f32(struct woq_factor *f, const float *h, double damp, bool *ok,
                  struct woq_error *err)
{
    struct ldl_f32 s = {
        .f = f, .h = h, .damp = damp, .least = f32_least, .m = f->l, .d = f->pivot, .n = f->n
    };

    s.ld = f->ld;
    s.panel = woq_alloc(PANEL * f->n * sizeof *s.panel, err);
    if (!s.panel)
        return WOQ_ENOMEM;
    *ok = factor_f32(&s);
    free(s.panel);
    return WOQ_OK;
}

static void no_feedback(struct woq_factor *f)
{
    f->no_feedback = true;
    memset(f->l, 0, f->n * f->ld * sizeof *f->l);
    for (size_t j = 0; j < f->n; j++)
        f->l[j * f->ld + j] = f->pivot[j] = 1;
}

/* With ten times the damping until it serves. */
static int in_f64(struct woq_factor *f, const float *h, double mean, struct woq_error *err)
{
    struct ldl_f64 s = { .f = f, .h = h, .n = f->n, .ld = f->n };
    double *memory;
    size_t elems, bytes;
    bool ok = false;

    if (!woq_mul_size(f->n + PANEL + 1, f->n, &elems) ||
        !woq_mul_size(elems, sizeof *memory, &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    memory = woq_alloc(bytes, err);
    if (!memory)
        return WOQ_ENOMEM;
    s.m = memory;
    s.panel = s.m + f->n * f->n;
    s.d = s.panel + PANEL * f->n;
    f->in_f64 = true;
    while (!ok && f->percdamp <= 1) {
        s.damp = f->percdamp * mean;
        ok = factor_f64(&s);
        if (!ok)
            f->percdamp *= 10;
    }
    for (size_t i = 0; ok && i < f->n; i++) {
        f->pivot[i] = (float)s.d[i];
        for (size_t j = 0; j < f->n; j++)
            f->l[i * f->ld + j] = (float)s.m[i * f->n + j];
    }
    if (!ok)
        no_feedback(f);
    free(memory);
    return WOQ_OK;
}

static int factorize(struct woq_factor *f, const float *h, struct woq_error *err)
{
    double mean = 0;
    bool ok;
    int rc;

    for (size_t j = 0; j < f->n; j++)
        mean += (double)f->diag[j] / (double)f->n;
    rc = in_f32(f, h, f->percdamp * mean, &ok, err);
    return rc == WOQ_OK && !ok ? in_f64(f, h, mean, err) : rc;
}

/* Rows of L an odd number of cache lines apart, so that they do not push each other out. */
static size_t row_stride(size_t n)
{
    return ((n + 15) / 16 | 1) * 16;
}

int woq_factor_init(struct woq_factor *f, const float *h, size_t n, enum woq_order order,
                    size_t group_size, double percdamp, struct woq_error *err)
{
    int rc;

    memset(f, 0, sizeof *f);
    f->n = n;
    f->ld = row_stride(n);
    f->percdamp = percdamp;
    f->l = woq_alloc(n * f->ld * sizeof *f->l, err);
    f->pivot = f->l ? woq_alloc(n * sizeof *f->pivot, err) : NULL;
    f->perm = f->pivot ? woq_alloc(n * sizeof *f->perm, err) : NULL;
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
    free(f->l);
    free(f->pivot);
    free(f->perm);
    free(f->diag);
    free(f->dead);
    memset(f, 0, sizeof *f);
}

/* ------------------------------------------------------------------ walk */

/* x[r] -= sum over k in [k0, k1) of L[r][k] x[k], rows [r0, r1). */
static void take(const struct woq_factor *f, float *x, size_t lanes, size_t r0, size_t r1,
                 size_t k0, size_t k1)
{
    woq_kernels()->rank_sub_f32(x + r0 * lanes, lanes, f->l + r0 * f->ld + k0, f->ld,
                                x + k0 * lanes, lanes, r1 - r0, lanes, k1 - k0);
}

void woq_factor_walk(const struct woq_factor *f, float *x, size_t lanes, size_t from, size_t to,
                     size_t end, void (*column)(void *ctx, size_t c), void *ctx)
{
    for (size_t b0 = from, b1; b0 < to; b0 = b1) {
        b1 = to - b0 < WALK ? to : b0 + WALK;
        for (size_t s0 = b0, s1; s0 < b1; s0 = s1) {
            s1 = b1 - s0 < NEAR ? b1 : s0 + NEAR;
            for (size_t c = s0; c < s1; c++) {
                take(f, x, lanes, c, c + 1, s0, c);
                if (column)
                    column(ctx, c);
            }
            take(f, x, lanes, s1, b1, s0, s1);
        }
        take(f, x, lanes, b1, end, b0, b1);
    }
}
