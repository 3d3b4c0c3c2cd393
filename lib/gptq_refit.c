/* gptq_refit.c -- after the column loop: scales by least squares and coordinate descent over codes.
 *
 * For one row with residual r = w - dequant(code), the error is E = r H r. A sweep goes through the
 * groups in order. In each it first moves the scale to its least-squares value for the codes as
 * they are: with c = code - zero and g = H r the best change is c.g / c H c; then the zero point by
 * one step where that lessens E; then each code in turn to the value that is best with all others
 * held, w' = w_hat + g / H_jj. Each step lessens E or is not taken, and a row whose E, computed
 * anew, did not fall gets its codes back: E never grows (the property in tests/unit/gptq.c).
 *
 * Scale and codes alternate as in the refinement of OBC and of GPTQ's later kin; the formulas are
 * those of a quadratic's minimum. v = -H r is kept up to date by chains of rank-one updates
 * (kernels.h rank_sub_f32), whose bits do not depend on tiles, threads or ISA. */
#include "gptq_internal.h"
#include <woq/kernels.h>
#include <woq/threads.h>

#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, BLOCK = 128 };

struct refit {
    struct woq_gptq_run *run;
    const float *h;         /* [n][n] in working order: groups side by side */
    const uint32_t *order;  /* [n] position -> old column; NULL = the same */
    double *before, *after; /* [n_rows] */
};

struct tile {
    size_t row0, rows;
    float *v, *w, *r; /* [ROWS][n] in working order: -H r, target, residual */
    float *delta;     /* [ROWS][group] what a group's decoded weights changed by, negated */
    float *c, *y;     /* [ROWS][group] code - zero; -H_gg c */
    float *block;     /* [ROWS][BLOCK] the same of one block, for the rest of a wide group */
    uint8_t *codes;   /* [ROWS][n] in working order */
    uint8_t *saved_codes;
    float *saved; /* [ROWS][2 n_groups] scales and zeros */
    double e[ROWS], before[ROWS];
    bool done[ROWS];
};

static size_t tile_bytes(const struct woq_gptq_run *r)
{
    return ROWS * (sizeof(float) * (3 * r->n + 3 * r->group + BLOCK + 2 * r->n_groups) + 2 * r->n);
}

static void tile_place(struct tile *t, const struct woq_gptq_run *r, float *memory)
{
    t->v = memory;
    t->w = t->v + ROWS * r->n;
    t->r = t->w + ROWS * r->n;
    t->delta = t->r + ROWS * r->n;
    t->c = t->delta + ROWS * r->group;
    t->y = t->c + ROWS * r->group;
    t->block = t->y + ROWS * r->group;
    t->saved = t->block + ROWS * BLOCK;
    t->codes = (uint8_t *)(t->saved + ROWS * 2 * r->n_groups);
    t->saved_codes = t->codes + ROWS * r->n;
}

static float *scale_of(const struct woq_gptq_run *r, const struct tile *t, size_t i, size_t g)
{
    return r->scale + (t->row0 + i) * r->n_groups + g;
}

static float *zero_of(const struct woq_gptq_run *r, const struct tile *t, size_t i, size_t g)
{
    return r->zero + (t->row0 + i) * r->n_groups + g;
}

/* Residual, v and E of every row from codes, scales and zeros as they stand. */
static void measure(const struct refit *f, struct tile *t)
{
    const struct woq_gptq_run *r = f->run;

    for (size_t i = 0; i < t->rows; i++)
        for (size_t g = 0, j = 0; g < r->n_groups; g++) {
            const size_t end = r->n - j < r->group ? r->n : j + r->group;
            const float scale = *scale_of(r, t, i, g), zero = *zero_of(r, t, i, g);

            for (; j < end; j++)
                t->r[i * r->n + j] =
                    t->w[i * r->n + j] - woq_gptq_value(r, t->codes[i * r->n + j], zero) * scale;
        }
    memset(t->v, 0, t->rows * r->n * sizeof *t->v);
    woq_kernels()->rank_sub_f32(t->v, r->n, t->r, r->n, f->h, r->n, t->rows, r->n, r->n);
    for (size_t i = 0; i < t->rows; i++) {
        double e = 0;

        for (size_t j = 0; j < r->n; j++)
            e -= (double)t->r[i * r->n + j] * (double)t->v[i * r->n + j];
        t->e[i] = e;
    }
}

/* Row i: decoded weights of the group move by step * direction (direction H_gg = -hd). */
static void move(const struct woq_gptq_run *r, struct tile *t, size_t i, size_t c0, size_t width,
                 float step, const float *direction, const float *hd)
{
    float *v = t->v + i * r->n + c0, *delta = t->delta + i * r->group;

    for (size_t j = 0; j < width; j++) {
        v[j] -= step * hd[j];
        delta[j] -= step * (direction ? direction[j] : 1);
    }
}

/* Numerator d.g and denominator d H d of the best step along d. */
static void along(const float *d, const float *v, const float *hd, size_t width, double *num,
                  double *den)
{
    *num = *den = 0;
    for (size_t j = 0; j < width; j++) {
        const double x = d ? (double)d[j] : 1;

        *num -= x * (double)v[j];
        *den -= x * (double)hd[j];
    }
}

/* 1. the scale of group g of row i. c and y are the row's own. */
static void fit_scale(const struct woq_gptq_run *r, struct tile *t, size_t i, size_t g, size_t c0,
                      size_t width)
{
    const float *c = t->c + i * r->group, *y = t->y + i * r->group;
    float *scale = scale_of(r, t, i, g), better;
    double num, den, step;

    if (r->o->scheme.dq.on) /* a step that others share */
        return;
    along(c, t->v + i * r->n + c0, y, width, &num, &den);
    if (!(den > 0))
        return;
    better = (float)((double)*scale + num / den);
    if (!isfinite(better) || !(better * *scale > 0))
        return;
    woq_grid_round(&r->grid, &better, 1);
    step = (double)better - (double)*scale;
    if (!(better * *scale > 0) || !(step * step * den < 2 * step * num))
        return;
    move(r, t, i, c0, width, (float)step, c, y);
    *scale = better;
}

/* 2. the zero point, whose step moves the whole group by -scale or +scale: by one up or down, or to
 * its least-squares place where it need not be a whole number. Whole ones do not go
 * to 0, see gptq_range.c. */
static void fit_zero(const struct woq_gptq_run *r, struct tile *t, size_t i, size_t g, size_t c0,
                     size_t width, const float *ones)
{
    const float scale = *scale_of(r, t, i, g);
    float *zero = zero_of(r, t, i, g), better;
    double num, den, step;

    along(NULL, t->v + i * r->n + c0, ones, width, &num, &den);
    if (!(den > 0))
        return;
    /* w_hat = (code - zero) * scale: up by scale is one less */
    step = num * (double)scale < 0 ? -1 : 1;
    if (r->o->scheme.float_zero)
        step = num / den / (double)scale;
    better = (float)((double)*zero - step);
    woq_grid_round_zero(&r->grid, &better, 1);
    step = ((double)*zero - (double)better) * (double)scale;
    if (better < (r->o->scheme.float_zero ? 0 : fminf(*zero, 1)) || better > r->grid.maxq ||
        !(step * step * den < 2 * step * num))
        return;
    *zero = better;
    move(r, t, i, c0, width, (float)step, NULL, ones);
}

/* 3. codes [b0, b1) of all rows, one column after another. */
static bool descend(const struct refit *f, struct tile *t, size_t g, size_t c0, size_t b0,
                    size_t b1)
{
    const struct woq_gptq_run *r = f->run;
    bool any = false;

    memset(t->block, 0, t->rows * BLOCK * sizeof *t->block);
    for (size_t j = b0; j < b1; j++) {
        const float *h = f->h + j * r->n, diag = h[j];

        for (size_t i = 0; i < t->rows && diag > 0; i++) {
            const float scale = *scale_of(r, t, i, g), zero = *zero_of(r, t, i, g);
            float *v = t->v + i * r->n, step;
            uint8_t *code = t->codes + i * r->n + j, better;
            const float now = woq_gptq_value(r, *code, zero) * scale;

            woq_gptq_code(r, now - v[j] / diag, scale, zero, &better);
            if (t->done[i] || better == *code)
                continue;
            step = (woq_gptq_value(r, better, zero) - woq_gptq_value(r, *code, zero)) * scale;
            *code = better;
            woq_kernels()->axpy_f32(v + b0, h + b0, b1 - b0, step);
            t->delta[i * r->group + j - c0] -= step;
            t->block[i * BLOCK + j - b0] = -step;
            any = true;
        }
    }
    return any;
}

static void one_group(const struct refit *f, struct tile *t, size_t g, float *ones)
{
    const struct woq_gptq_run *r = f->run;
    const struct woq_kernels *k = woq_kernels();
    const size_t c0 = g * r->group, c1 = r->n - c0 < r->group ? r->n : c0 + r->group;
    const size_t width = c1 - c0;
    const float *hg = f->h + c0 * r->n + c0;

    memset(t->delta, 0, t->rows * r->group * sizeof *t->delta);
    memset(t->y, 0, t->rows * r->group * sizeof *t->y);
    for (size_t i = 0; i < t->rows; i++)
        for (size_t j = 0; j < width; j++)
            t->c[i * r->group + j] =
                woq_gptq_value(r, t->codes[i * r->n + c0 + j], *zero_of(r, t, i, g));
    k->rank_sub_f32(t->y, r->group, t->c, r->group, hg, r->n, t->rows, width, width);
    memset(ones, 0, width * sizeof *ones);
    for (size_t j = 0; j < width && !r->o->scheme.sym; j++)
        k->axpy_f32(ones, hg + j * r->n, width, -1);
    for (size_t i = 0; i < t->rows; i++) {
        if (t->done[i])
            continue;
        fit_scale(r, t, i, g, c0, width);
        if (!r->o->scheme.sym)
            fit_zero(r, t, i, g, c0, width, ones);
    }
    for (size_t b0 = c0; b0 < c1; b0 += BLOCK) {
        const size_t b1 = c1 - b0 < BLOCK ? c1 : b0 + BLOCK;

        if (!descend(f, t, g, c0, b0, b1) || width <= BLOCK)
            continue;
        k->rank_sub_f32(t->v + c0, r->n, t->block, BLOCK, f->h + b0 * r->n + c0, r->n, t->rows,
                        b0 - c0, b1 - b0);
        k->rank_sub_f32(t->v + b1, r->n, t->block, BLOCK, f->h + b0 * r->n + b1, r->n, t->rows,
                        c1 - b1, b1 - b0);
    }
    k->rank_sub_f32(t->v, r->n, t->delta, r->group, f->h + c0 * r->n, r->n, t->rows, c0, width);
    k->rank_sub_f32(t->v + c1, r->n, t->delta, r->group, f->h + c0 * r->n + c1, r->n, t->rows,
                    r->n - c1, width);
}

static void save(const struct woq_gptq_run *r, struct tile *t, size_t i)
{
    memcpy(t->saved_codes + i * r->n, t->codes + i * r->n, r->n);
    memcpy(t->saved + i * 2 * r->n_groups, scale_of(r, t, i, 0), r->n_groups * sizeof(float));
    memcpy(t->saved + (i * 2 + 1) * r->n_groups, zero_of(r, t, i, 0), r->n_groups * sizeof(float));
}

static void restore(const struct woq_gptq_run *r, struct tile *t, size_t i)
{
    memcpy(t->codes + i * r->n, t->saved_codes + i * r->n, r->n);
    memcpy(scale_of(r, t, i, 0), t->saved + i * 2 * r->n_groups, r->n_groups * sizeof(float));
    memcpy(zero_of(r, t, i, 0), t->saved + (i * 2 + 1) * r->n_groups, r->n_groups * sizeof(float));
}

static void sweeps(const struct refit *f, struct tile *t, float *ones)
{
    const struct woq_gptq_run *r = f->run;

    measure(f, t);
    for (size_t i = 0; i < t->rows; i++) {
        f->before[t->row0 + i] = t->e[i];
        t->done[i] = !(t->e[i] > 0);
    }
    for (int sweep = 0; sweep < r->o->refit; sweep++) {
        for (size_t i = 0; i < t->rows; i++) {
            save(r, t, i);
            t->before[i] = t->e[i];
        }
        for (size_t g = 0; g < r->n_groups; g++)
            one_group(f, t, g, ones);
        measure(f, t);
        for (size_t i = 0; i < t->rows; i++)
            if (!t->done[i] && !(t->e[i] < t->before[i])) {
                restore(r, t, i);
                t->e[i] = t->before[i];
                t->done[i] = true;
            }
    }
    for (size_t i = 0; i < t->rows; i++)
        f->after[t->row0 + i] = t->e[i];
}

static void one_tile(void *ctx, size_t item, int thread)
{
    const struct refit *f = ctx;
    struct woq_gptq_run *r = f->run;
    float *memory = malloc(tile_bytes(r) + r->group * sizeof *memory);
    struct tile t = { .row0 = item * ROWS };

    (void)thread;
    if (!memory) {
        atomic_store(&r->failed, 1);
        return;
    }
    t.rows = r->n_rows - t.row0 < ROWS ? r->n_rows - t.row0 : ROWS;
    tile_place(&t, r, memory + r->group);
    for (size_t i = 0; i < t.rows; i++)
        for (size_t j = 0; j < r->n; j++) {
            const size_t old = f->order ? f->order[j] : j, at = (t.row0 + i) * r->n + old;

            t.w[i * r->n + j] = r->f->dead[old] ? 0 : r->w[at];
            t.codes[i * r->n + j] = r->codes[at];
        }
    sweeps(f, &t, memory);
    for (size_t i = 0; i < t.rows; i++)
        for (size_t j = 0; j < r->n; j++)
            r->codes[(t.row0 + i) * r->n + (f->order ? f->order[j] : j)] = t.codes[i * r->n + j];
    free(memory);
}

/* H with its columns in the order of the groups. */
static float *in_order(const struct woq_gptq_run *r, struct woq_error *err)
{
    const size_t n = r->n;
    float *h = woq_alloc(n * n * sizeof *h, err);

    for (size_t i = 0; h && i < n; i++)
        for (size_t j = 0; j < n; j++)
            h[i * n + j] = r->f->h[r->f->perm[i] * n + r->f->perm[j]];
    return h;
}

int woq_gptq_refit(struct woq_gptq_run *r, struct woq_gptq_report *report, struct woq_error *err)
{
    struct refit f = { .run = r, .h = r->f->h };
    float *own = NULL;
    double *errors = woq_alloc(2 * r->n_rows * sizeof *errors, err);
    const bool moved = woq_gptq_groups_move(r);

    if (!errors || (moved && !(own = in_order(r, err)))) {
        free(errors);
        return WOQ_ENOMEM;
    }
    if (moved) {
        f.h = own;
        f.order = r->f->perm;
    }
    f.before = errors;
    f.after = errors + r->n_rows;
    woq_parallel((r->n_rows + ROWS - 1) / ROWS, one_tile, &f);
    for (size_t i = 0; i < r->n_rows; i++) {
        report->error += f.before[i];
        report->refit_error += f.after[i];
    }
    free(own);
    free(errors);
    return atomic_load(&r->failed) ? woq_fail_nomem(err, tile_bytes(r)) : WOQ_OK;
}
