/* gptq.c -- the column loop of GPTQ, a tile of rows at a time.
 *
 * Rows never meet: each tile goes through all columns by itself, with its own copy of W in permuted
 * order. Inside a block the error of a column is spread at once; behind the block as one chain of
 * rank-one updates (kernels.h rank_sub_f32), whatever the block size: codes depend on it only where
 * ranges are found in the middle of a block. */
#include "gptq_internal.h"
#include <woq/kernels.h>
#include <woq/threads.h>

#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 32,
    SHRINKS = 80,
    NEAR = WOQ_FACTOR_PAD, /* columns that an error moves at once */
};

void woq_gptq_opts_init(struct woq_gptq_opts *o)
{
    memset(o, 0, sizeof *o);
    woq_scheme_init(&o->scheme);
    o->block_size = 128;
    o->percdamp = 0.01;
    o->search = WOQ_GPTQ_DIAG;
}

/* What one tile works on. */
struct tile {
    float *w;      /* [rows][n] permuted, with feedback */
    float *e;      /* [rows][block] */
    float *column; /* [n] scratch: one group of one row */
    size_t index;  /* of the tile */
};

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
    *zero = r->o->scheme.sym ? g->mid : rintf((x > 0 ? -lo : 1) / *scale);
    if (g->f16 && *zero > g->maxq) /* the rounded scale may be too small for the range */
        *zero = g->maxq;
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

/* scale and zero for `n` weights of one row; weight: their importance for the search. */
static void find_params(const struct woq_gptq_run *r, const float *x, const float *weight, size_t n,
                        float *scale, float *zero)
{
    struct range a;
    float best = INFINITY;

    woq_kernels()->minmax_f32(&a.lo, &a.hi, x, n);
    a.lo = a.lo < 0 ? a.lo : 0;
    a.hi = a.hi > 0 ? a.hi : 0;
    a.negative = r->o->scheme.full_range && a.hi > -a.lo;
    if (r->o->scheme.sym) {
        a.hi = -a.lo > a.hi ? -a.lo : a.hi;
        a.lo = -a.hi;
    }
    if (a.lo == 0 && a.hi == 0 && !r->grid.levels) {
        a.lo = -1;
        a.hi = 1;
    }
    params(r, &a, 1, scale, zero);
    if (r->o->search == WOQ_GPTQ_MINMAX)
        return;
    for (int i = 0; i < n_shrinks(r); i++) {
        float s, z, loss;

        params(r, &a, shrink_at(r, i), &s, &z);
        loss = loss_of(r, x, weight, n, s, z);
        if (loss < best) {
            best = loss;
            *scale = s;
            *zero = z;
        }
    }
}

/* Group of position c: consecutive in permuted order, or the column's own where groups stay put. */
static size_t group_of(const struct woq_gptq_run *r, size_t c)
{
    return (woq_gptq_groups_move(r) ? c : r->f->perm[c]) / r->group;
}

/* Double quantization of the scales of one group in a tile, which is a run of them
 * (algorithms.md 3.8). */
static void double_quant(const struct woq_gptq_run *r, const struct tile *t, size_t row0,
                         size_t rows, size_t g)
{
    const struct woq_double_quant *d = &r->o->scheme.dq;
    const size_t at = row0 * r->n_groups + g, run = t->index * r->n_groups + g;
    float zero;

    if (!d->on)
        return;
    r->out->scale_scale[run] = woq_nested_run(r->scale + at, r->out->scale_codes + at, rows,
                                              r->n_groups, d->bits, !d->sym, 0, &zero);
    if (r->out->scale_zero)
        r->out->scale_zero[run] = zero;
}

/* Ranges of all groups of a row from the weights as they came (static_groups). */
static void static_params(const struct woq_gptq_run *r, struct tile *t, size_t row, size_t i)
{
    for (size_t g = 0; g < r->n_groups; g++) {
        const size_t c0 = g * r->group, c1 = c0 + r->group < r->n ? c0 + r->group : r->n;

        for (size_t c = c0; c < c1; c++) {
            const size_t at = r->inverse[c];

            t->column[c - c0] = t->w[i * r->n + at];
            t->column[r->n + c - c0] = r->weight[at];
        }
        find_params(r, t->column, t->column + r->n, c1 - c0, r->scale + row * r->n_groups + g,
                    r->zero + row * r->n_groups + g);
    }
}

/* Ranges of the group that begins at position c, from W as the blocks before left it. */
static void group_params(const struct woq_gptq_run *r, const struct tile *t, size_t row0,
                         size_t rows, size_t c)
{
    const size_t c1 = c + r->group < r->n ? c + r->group : r->n, g = group_of(r, c);

    for (size_t i = 0; i < rows; i++)
        find_params(r, t->w + i * r->n + c, r->weight + c, c1 - c,
                    r->scale + (row0 + i) * r->n_groups + g,
                    r->zero + (row0 + i) * r->n_groups + g);
    double_quant(r, t, row0, rows, g);
}

/* Column c of every row of the tile: its code, and what its error does to the NEAR columns from s0
 * on, those before c being done. `w1` is the block's own copy, with room for NEAR columns more. */
static void one_column(const struct woq_gptq_run *r, struct tile *t, float *w1, size_t row0,
                       size_t rows, size_t b0, size_t s0, size_t c)
{
    const size_t width = r->o->block_size, g = group_of(r, c), old = r->f->perm[c];
    const float *u = r->f->u + c * r->n;

    for (size_t i = 0; i < rows; i++) {
        const size_t row = row0 + i, at = row * r->n_groups + g;
        const float w = w1[i * (width + NEAR) + c - b0];
        const float q = woq_gptq_code(r, w, r->scale[at], r->zero[at], r->codes + row * r->n + old);
        const float e = (w - q) / u[c];

        r->loss[row] += (double)e * (double)e / 2;
        t->e[i * width + c - b0] = e;
    }
    woq_kernels()->rank_sub_f32(w1 + s0 - b0, width + NEAR, t->e + c - b0, width, u + s0, r->n,
                                rows, NEAR, 1);
}

/* Columns [b0, b1): an error moves the NEAR columns around it at once, the rest of the block behind
 * them; each column takes what moves it in the same order as ever. */
static void one_block(const struct woq_gptq_run *r, struct tile *t, float *w1, size_t row0,
                      size_t rows, size_t b0, size_t b1)
{
    const size_t width = r->o->block_size;
    const bool whole_row = r->o->scheme.group_size == -1 || r->group >= r->n;

    for (size_t s0 = b0; s0 < b1; s0 += NEAR) {
        const size_t s1 = s0 + NEAR < b1 ? s0 + NEAR : b1;

        for (size_t c = s0; c < s1; c++) {
            if (!r->o->static_groups && !whole_row && c % r->group == 0)
                group_params(r, t, row0, rows, c);
            one_column(r, t, w1, row0, rows, b0, s0, c);
        }
        woq_kernels()->rank_sub_f32(w1 + s1 - b0, width + NEAR, t->e + s0 - b0, width,
                                    r->f->u + s0 * r->n + s1, r->n, rows, b1 - s1, s1 - s0);
    }
}

static void columns(const struct woq_gptq_run *r, struct tile *t, float *w1, size_t row0,
                    size_t rows)
{
    const size_t width = r->o->block_size;

    for (size_t b0 = 0; b0 < r->n; b0 += width) {
        const size_t b1 = b0 + width < r->n ? b0 + width : r->n;

        for (size_t i = 0; i < rows; i++)
            memcpy(w1 + i * (width + NEAR), t->w + i * r->n + b0, (b1 - b0) * sizeof *w1);
        one_block(r, t, w1, row0, rows, b0, b1);
        woq_kernels()->rank_sub_f32(t->w + b1, r->n, t->e, width, r->f->u + b0 * r->n + b1, r->n,
                                    rows, r->n - b1, b1 - b0);
    }
}

static void one_tile(void *ctx, size_t item, int thread)
{
    struct woq_gptq_run *r = ctx;
    const size_t most = r->tile_rows, row0 = item * most;
    const size_t rows = r->n_rows - row0 < most ? r->n_rows - row0 : most;
    const size_t width = r->o->block_size;
    const bool whole_row = r->o->scheme.group_size == -1 || r->group >= r->n;
    float *memory = calloc(rows * (r->n + 2 * width + NEAR) + 2 * r->n, sizeof *memory);
    struct tile t = { memory, memory + rows * r->n, memory + rows * (r->n + 2 * width + NEAR),
                      item };
    float *w1 = memory + rows * (r->n + width);

    (void)thread;
    if (!memory) {
        atomic_store(&r->failed, 1);
        return;
    }
    for (size_t i = 0; i < rows; i++) {
        const float *row = r->w + (row0 + i) * r->n;

        r->loss[row0 + i] = 0;
        if (whole_row && !r->o->static_groups) /* before dead columns, algorithms.md 3.3 */
            find_params(r, row, r->f->diag, r->n, r->scale + row0 + i, r->zero + row0 + i);
        for (size_t c = 0; c < r->n; c++)
            t.w[i * r->n + c] = r->f->dead[r->f->perm[c]] ? 0 : row[r->f->perm[c]];
        if (r->o->static_groups)
            static_params(r, &t, row0 + i, i);
    }
    for (size_t g = 0; g < r->n_groups && (whole_row || r->o->static_groups); g++)
        double_quant(r, &t, row0, rows, g);
    columns(r, &t, w1, row0, rows);
    free(memory);
}

static int check(const struct woq_factor *f, const struct woq_gptq_opts *o, const int32_t *g_idx,
                 struct woq_error *err)
{
    const int rc = woq_scheme_check(&o->scheme, err);

    if (rc)
        return rc;
    if (o->scheme.group_dim != 1 || o->scheme.group_rows != 1)
        return woq_fail(err, WOQ_EUSAGE, "use woq-rtn for group_dim 0 and for group_rows",
                        "GPTQ has groups along the inputs only, one row each");
    if (o->block_size == 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "block size 0");
    if (o->refit && !f->h)
        WOQ_BUG("a refit needs H");
    if (o->order == WOQ_ORDER_ACT && !o->static_groups && !g_idx &&
        woq_scheme_groups(&o->scheme, f->n) > 1)
        WOQ_BUG("act_order needs g_idx");
    return WOQ_OK;
}

/* Permuted search weights, the inverse permutation, losses per row: all in one allocation. */
static void *side_tables(struct woq_gptq_run *r, struct woq_error *err)
{
    const size_t n = r->n;
    double *memory = woq_alloc(r->n_rows * sizeof(double) + 2 * n * sizeof(float), err);
    float *weight;
    uint32_t *inverse;

    if (!memory)
        return NULL;
    weight = (float *)(memory + r->n_rows);
    inverse = (uint32_t *)(weight + n);
    for (size_t c = 0; c < n; c++) {
        weight[c] = r->f->diag[r->f->perm[c]];
        inverse[r->f->perm[c]] = (uint32_t)c;
    }
    r->weight = weight;
    r->inverse = inverse;
    r->loss = memory;
    return memory;
}

/* Tiles of a few rows; of all rows whose scales share a step in double quantization. */
static size_t tile_rows(const struct woq_scheme *s, size_t n_rows)
{
    const size_t rows = !s->dq.on ? ROWS : s->dq.group_size < 1 ? n_rows : (size_t)s->dq.group_size;

    return rows < n_rows ? rows : n_rows ? n_rows : 1;
}

int woq_gptq(const struct woq_qarrays *out, const float *w, size_t n_rows,
             const struct woq_factor *f, const struct woq_gptq_opts *o,
             struct woq_gptq_report *report, struct woq_error *err)
{
    float lut[256];
    int32_t *g_idx = out->g_idx;
    struct woq_gptq_run r = { .out = out,
                              .codes = out->codes,
                              .scale = out->scale,
                              .zero = out->zero,
                              .tile_rows = tile_rows(&o->scheme, n_rows),
                              .w = w,
                              .n_rows = n_rows,
                              .n = f->n,
                              .f = f,
                              .o = o };
    void *memory;
    int rc = check(f, o, g_idx, err);

    if (rc)
        return rc;
    r.n_groups = woq_scheme_groups(&o->scheme, f->n);
    r.group = r.n_groups == 1 ? f->n : (size_t)o->scheme.group_size;
    woq_grid_init(&r.grid, &o->scheme, w, n_rows * f->n);
    if (r.grid.levels) {
        woq_format_lut(lut, r.grid.format);
        r.lut = lut;
    }
    memory = side_tables(&r, err);
    if (!memory)
        return WOQ_ENOMEM;
    woq_parallel((n_rows + r.tile_rows - 1) / r.tile_rows, one_tile, &r);
    if (g_idx)
        for (size_t c = 0; c < f->n; c++)
            g_idx[f->perm[c]] = (int32_t)group_of(&r, c);
    memset(report, 0, sizeof *report);
    for (size_t i = 0; i < n_rows; i++)
        report->loss += r.loss[i];
    free(memory);
    if (atomic_load(&r.failed))
        return woq_fail_nomem(err, r.tile_rows * f->n * sizeof(float));
    if (!woq_kernels()->all_finite_f32(out->scale, n_rows * r.n_groups))
        return woq_fail(err, WOQ_EDATA, r.grid.f16 ? "take --scale-dtype f32" : NULL,
                        "a scale does not fit in %s: the weights of its group are too large",
                        o->scheme.scale_dtype);
    return o->refit ? woq_gptq_refit(&r, report, err) : WOQ_OK;
}
