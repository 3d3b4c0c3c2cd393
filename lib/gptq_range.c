/* gptq_range.c -- scale and zero of a group: its range, or the shrunk one that the search likes
 * best, and a zero point beside it.
 *
 * Rows lie side by side, SIDE of them go together. */
#include "gptq_internal.h"
#include <woq/kernels.h>

#include <string.h>

enum { SHRINKS = 80, SIDE = 16 };

/* What the ranges of a group come to before they are shrunk. */
struct range {
    float lo, hi;
    bool negative; /* full range: the scale is */
};

/* Integers: scale and zero, algorithms.md 3.4 with lo = -hi for every symmetric group; full range:
 * the end of the larger magnitude, -hi or (negative) hi, gets the code 0, algorithms.md 1.3.
 * Codebooks: by the rule of the format. */
static void params(const struct woq_gptq_run *r, const struct range *a, float shrink, float *scale,
                   float *zero)
{
    const struct woq_grid *g = &r->grid;
    const float lo = shrink * a->lo, hi = shrink * a->hi;
    const float x = r->o->scheme.full_range ? hi / g->mid : (hi - lo) / g->maxq;

    if (g->levels) {
        woq_group_params(scale, zero, &a->lo, &a->hi, 1, shrink, g);
        return;
    }
    *scale = x > 0 ? a->negative ? -x : x : 2 / g->maxq;
    woq_grid_round(g, scale, 1);
    if (r->o->scheme.sym) {
        *zero = g->mid;
        return;
    }
    *zero = (x > 0 ? -lo : 1) / *scale;
    if (g->f16 && *zero > g->maxq) /* the rounded scale may be too small for the range */
        *zero = g->maxq;
    woq_grid_round_zero(g, zero, 1);
}

/* How far the i-th candidate shrinks a range: of powers of two only the next one is another. */
static int n_shrinks(const struct woq_gptq_run *r)
{
    return r->grid.format->scale == WOQ_SCALE_E8M0 ? 2 : SHRINKS;
}

static float shrink_at(const struct woq_gptq_run *r, int i)
{
    return n_shrinks(r) == 2 ? (float)(1 + i) : 1 - (float)i / 100;
}

static float powered(const struct woq_gptq_run *r, const float *x, size_t n, float scale,
                     float zero)
{
    float sum = 0;
    uint8_t code;

    for (size_t j = 0; j < n; j++) {
        const float d = fabsf(woq_gptq_code(r, x[j], scale, zero, &code) - x[j]);

        sum += d > 0 ? (float)pow((double)d, 2.4) : 0;
    }
    return sum;
}

static float loss_of(const struct woq_gptq_run *r, const float *x, const float *weight, size_t n,
                     float scale, float zero)
{
    const struct woq_kernels *k = woq_kernels();
    float loss;

    if (r->o->search == WOQ_GPTQ_MSE)
        return powered(r, x, n, scale, zero);
    if (!r->grid.levels)
        return k->quant_err(x, weight, n, scale, zero, r->grid.maxq);
    k->level_err_groups(&loss, x, weight, n, n, &scale, r->grid.levels);
    return loss;
}

/* The range of weights whose ends are lo and hi. */
static struct range range_of(const struct woq_gptq_run *r, float lo, float hi)
{
    struct range a = { .lo = lo < 0 ? lo : 0, .hi = hi > 0 ? hi : 0 };

    a.negative = r->o->scheme.full_range && a.hi > -a.lo;
    if (r->o->scheme.sym) {
        a.hi = -a.lo > a.hi ? -a.lo : a.hi;
        a.lo = -a.hi;
    }
    if (a.lo == 0 && a.hi == 0 && !r->grid.levels) {
        a.lo = -1;
        a.hi = 1;
    }
    return a;
}

/* scale and zero of one row, by trying. */
static void find_params(const struct woq_gptq_run *r, const struct range *a, const float *x,
                        const float *weight, size_t n, float *scale, float *zero)
{
    float best = INFINITY;

    for (int i = 0; i < n_shrinks(r); i++) {
        float s, z, loss;

        params(r, a, shrink_at(r, i), &s, &z);
        loss = loss_of(r, x, weight, n, s, z);
        if (loss < best) {
            best = loss;
            *scale = s;
            *zero = z;
        }
    }
}

/* Zero points one step away (a quarter where they need not be whole numbers), each with scales a
 * few percent around, where that is better; whole ones not to 0, which GPTQ's first form of
 * checkpoints cannot hold. */
static void move_zeros(const struct woq_gptq_run *r, const float *x, size_t lanes,
                       const float *weight, size_t n, float *scale, float *zero)
{
    static const float steps[] = { 0, -1, 1 };
    static const float near[] = { 1, 0.99f, 1.01f, 0.98f, 1.02f, 0.97f, 1.03f, 0.96f, 1.04f };
    const bool any = r->o->scheme.float_zero;
    float s[SIDE], z[SIDE], factor[SIDE], loss[SIDE], best[SIDE], from[SIDE];

    memcpy(s, scale, sizeof s);
    memcpy(from, zero, sizeof from);
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
        for (size_t i = 0; i < SIDE; i++)
            z[i] = fminf(fmaxf(from[i] + (any ? 0.25f : 1) * steps[k], any ? 0 : fminf(from[i], 1)),
                         r->grid.maxq);
        woq_grid_round_zero(&r->grid, z, SIDE);
        woq_kernels()->tile_shrink(factor, loss, x, lanes, weight, n, s, z, r->grid.maxq, near,
                                   sizeof near / sizeof *near);
        for (size_t i = 0; i < SIDE; i++)
            if (k == 0 || loss[i] < best[i]) {
                best[i] = loss[i];
                scale[i] = s[i] * factor[i];
                zero[i] = z[i];
            }
    }
    woq_grid_round(&r->grid, scale, SIDE);
}

/* The same for SIDE rows of whole numbers; zero points of asymmetric ones move too. */
static void find_side(const struct woq_gptq_run *r, const struct range *a, const float *x,
                      size_t lanes, const float *weight, size_t n, float *scale, float *zero)
{
    float shrinks[SHRINKS], best[SIDE], loss[SIDE];

    for (int i = 0; i < SHRINKS; i++)
        shrinks[i] = shrink_at(r, i);
    woq_kernels()->tile_shrink(best, loss, x, lanes, weight, n, scale, zero, r->grid.maxq, shrinks,
                               SHRINKS);
    for (size_t i = 0; i < SIDE; i++)
        params(r, a + i, best[i], scale + i, zero + i);
    if (!r->o->scheme.sym)
        move_zeros(r, x, lanes, weight, n, scale, zero);
}

/* Rows [0, SIDE) of x, as far as there are `rows`. */
static void side_ranges(const struct woq_gptq_run *r, float *scale, float *zero, const float *x,
                        size_t lanes, const float *weight, size_t n, size_t rows, float *row)
{
    float lo[SIDE], hi[SIDE];
    struct range a[SIDE];

    memcpy(lo, x, sizeof lo);
    memcpy(hi, x, sizeof hi);
    for (size_t j = 1; j < n; j++)
        woq_kernels()->minmax_cols_f32(lo, hi, x + j * lanes, SIDE);
    for (size_t i = 0; i < SIDE; i++) {
        a[i] = range_of(r, lo[i], hi[i]);
        params(r, a + i, 1, scale + i, zero + i);
    }
    if (r->o->search == WOQ_GPTQ_DIAG && !r->grid.levels) {
        find_side(r, a, x, lanes, weight, n, scale, zero);
        return;
    }
    for (size_t i = 0; i < rows && r->o->search != WOQ_GPTQ_MINMAX; i++) {
        for (size_t j = 0; j < n; j++)
            row[j] = x[j * lanes + i];
        find_params(r, a + i, row, weight, n, scale + i, zero + i);
    }
}

void woq_gptq_ranges(const struct woq_gptq_run *r, float *scale, float *zero, const float *x,
                     const float *weight, size_t n, size_t rows, size_t lanes, float *row)
{
    for (size_t i = 0; i < rows; i += SIDE)
        side_ranges(r, scale + i, zero + i, x + i, lanes, weight, n,
                    rows - i < SIDE ? rows - i : SIDE, row);
}
