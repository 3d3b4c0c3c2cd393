/* gptq.c -- the column loop of GPTQ, a tile of rows at a time.
 *
 * Rows never meet: each tile goes through all columns by itself, transposed, so that the rows lie
 * side by side. It walks along the factor (hessian.h) with the error q - w of each column against
 * the weight as it came; what a column is quantized from is its optimum for the errors before it,
 * with those behind it free. Codes depend on the block size only where ranges are found in the
 * middle of a block. */
#include "gptq_internal.h"
#include <woq/kernels.h>
#include <woq/threads.h>

#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, FEW_ROWS = 64, LANES = 32, SIDE = 16 };

void woq_gptq_opts_init(struct woq_gptq_opts *o)
{
    memset(o, 0, sizeof *o);
    woq_scheme_init(&o->scheme);
    o->block_size = 128;
    o->percdamp = 0.01;
    o->search = WOQ_GPTQ_DIAG;
}

/* What one tile works on; lanes = rows, rounded up. Columns are in permuted order. */
struct tile {
    const struct woq_gptq_run *r;
    size_t index, row0, rows, lanes;
    float *x;            /* [n][lanes] weights with feedback; of finished columns, errors */
    float *w;            /* [n][lanes] weights as they came, dead columns 0 */
    float *scale, *zero; /* [n_groups][lanes] */
    float *fresh;        /* [n, or group if ranges come early][lanes] what ranges come from */
    float *q;            /* [lanes] */
    float *row;          /* [n] one group of one row */
    uint8_t *codes;      /* [n][lanes] */
    double *loss;        /* [lanes] */
};

/* Group of position c: consecutive in permuted order, or the column's own where groups stay put. */
static size_t group_of(const struct woq_gptq_run *r, size_t c)
{
    return (woq_gptq_groups_move(r) ? c : r->f->perm[c]) / r->group;
}

/* Ranges of group g from its n weights x [n][lanes]; then double quantization of its scales, which
 * are a run of them (algorithms.md 3.8). */
static void find_params(struct tile *t, size_t g, const float *x, const float *weight, size_t n)
{
    const struct woq_gptq_run *r = t->r;
    const struct woq_double_quant *d = &r->o->scheme.dq;
    const size_t at = t->row0 * r->n_groups + g, run = t->index * r->n_groups + g;
    float *scale = t->scale + g * t->lanes, *zero = t->zero + g * t->lanes, shift;

    woq_gptq_ranges(r, scale, zero, x, weight, n, t->rows, t->lanes, t->row);
    for (size_t i = 0; i < t->rows; i++) {
        r->scale[at + i * r->n_groups] = scale[i];
        r->zero[at + i * r->n_groups] = zero[i];
    }
    if (!d->on)
        return;
    r->out->scale_scale[run] = woq_nested_run(r->scale + at, r->out->scale_codes + at, t->rows,
                                              r->n_groups, d->bits, !d->sym, 0, &shift);
    if (r->out->scale_zero)
        r->out->scale_zero[run] = shift;
    for (size_t i = 0; i < t->rows; i++)
        scale[i] = r->scale[at + i * r->n_groups];
}

/* Ranges of all groups from the weights as they came, in the original order of columns: with
 * static_groups, or of whole rows, there before dead columns become 0 (algorithms.md 3.3). */
static void early_params(struct tile *t)
{
    const struct woq_gptq_run *r = t->r;

    for (size_t g = 0; g < r->n_groups; g++) {
        const size_t c0 = g * r->group, n = r->n - c0 < r->group ? r->n - c0 : r->group;

        memset(t->fresh, 0, n * t->lanes * sizeof *t->fresh);
        for (size_t i = 0; i < t->rows; i++) {
            const float *row = r->w + (t->row0 + i) * r->n + c0;

            for (size_t c = 0; c < n; c++)
                t->fresh[c * t->lanes + i] = r->o->static_groups && r->f->dead[c0 + c] ? 0 : row[c];
        }
        find_params(t, g, t->fresh, r->f->diag + c0, n);
    }
}

/* Ranges of the groups that begin in the block [b0, b1), from the optimum of all columns from b0 on
 * for the errors before it. */
static void block_params(struct tile *t, size_t b0, size_t b1)
{
    const struct woq_gptq_run *r = t->r;
    const size_t first = (b0 + r->group - 1) / r->group * r->group;
    const size_t last = (b1 - 1) / r->group * r->group;
    const size_t end = r->n - last < r->group ? r->n : last + r->group;
    const float *x = t->w;

    if (first >= b1)
        return;
    if (b0 > 0) {
        for (size_t k = b0 * t->lanes; k < end * t->lanes; k++)
            t->fresh[k] = t->x[k] - t->w[k];
        woq_factor_walk(r->f, t->fresh, t->lanes, b0, end, end, NULL, NULL);
        for (size_t k = b0 * t->lanes; k < end * t->lanes; k++)
            t->fresh[k] += t->w[k];
        x = t->fresh;
    }
    for (size_t c = first, n; c < b1; c += n) {
        n = r->n - c < r->group ? r->n - c : r->group;
        find_params(t, group_of(r, c), x + c * t->lanes, r->weight + c, n);
    }
}

/* Column c of every row: its code, its part of the loss, its error. */
static void one_column(void *ctx, size_t c)
{
    struct tile *t = ctx;
    const struct woq_gptq_run *r = t->r;
    const struct woq_kernels *k = woq_kernels();
    const size_t lanes = t->lanes, at = group_of(r, c) * lanes;
    const float *w = t->w + c * lanes;
    const double half = (double)r->f->pivot[c] / 2;
    float *x = t->x + c * lanes;
    uint8_t *codes = t->codes + c * lanes;

    if (r->grid.levels) {
        k->level_cols_u8(codes, x, lanes, t->scale + at, r->grid.levels);
        k->lut_cols_f32(t->q, codes, lanes, t->scale + at, r->lut, 256);
    } else {
        k->quant_cols_u8(codes, x, lanes, t->scale + at, t->zero + at, 0, r->grid.maxq);
        k->dequant_cols_u8(t->q, codes, lanes, t->scale + at, t->zero + at, 0);
    }
    for (size_t i = 0; i < lanes; i++) {
        const double miss = (double)(x[i] - t->q[i]);

        t->loss[i] += miss * miss * half;
        x[i] = t->q[i] - w[i];
    }
}

/* The weights of the tile, side by side and permuted; a few rows at a time stay near. */
static void gather(struct tile *t)
{
    const struct woq_gptq_run *r = t->r;

    for (size_t i0 = 0; i0 < t->rows; i0 += SIDE)
        for (size_t c = 0; c < r->n; c++) {
            const size_t old = r->f->perm[c];
            const bool dead = r->f->dead[old];
            float *w = t->w + c * t->lanes;

            for (size_t i = i0; i < i0 + SIDE && i < t->rows; i++)
                w[i] = dead ? 0 : r->w[(t->row0 + i) * r->n + old];
        }
    for (size_t c = 0; c < r->n && t->rows < t->lanes; c++)
        memset(t->w + c * t->lanes + t->rows, 0, (t->lanes - t->rows) * sizeof *t->w);
    memcpy(t->x, t->w, r->n * t->lanes * sizeof *t->x);
}

static void scatter(const struct tile *t)
{
    const struct woq_gptq_run *r = t->r;

    for (size_t i0 = 0; i0 < t->rows; i0 += SIDE)
        for (size_t c = 0; c < r->n; c++)
            for (size_t i = i0; i < i0 + SIDE && i < t->rows; i++)
                r->codes[(t->row0 + i) * r->n + r->f->perm[c]] = t->codes[c * t->lanes + i];
    for (size_t i = 0; i < t->rows; i++)
        r->loss[t->row0 + i] = t->loss[i];
}

static size_t tile_lanes(const struct woq_gptq_run *r)
{
    return (r->tile_rows + LANES - 1) / LANES * LANES;
}

/* Floats of a tile of r->tile_rows, and all its bytes. */
static size_t tile_floats(const struct woq_gptq_run *r)
{
    const size_t lanes = tile_lanes(r), fresh = r->early ? r->group : r->n;

    return (1 + 2 * r->n + fresh + 2 * r->n_groups) * lanes + r->n;
}

static size_t tile_bytes(const struct woq_gptq_run *r)
{
    const size_t lanes = tile_lanes(r);

    return (lanes * sizeof(double) + tile_floats(r) * sizeof(float) + r->n * lanes + 63) / 64 * 64;
}

/* Places the arrays of a tile in a thread's memory. */
static void place(struct tile *t, char *memory)
{
    const struct woq_gptq_run *r = t->r;
    const size_t lanes = tile_lanes(r), wide = r->n * lanes;

    t->lanes = lanes;
    t->loss = (double *)memory;
    t->x = (float *)(t->loss + lanes);
    t->w = t->x + wide;
    t->scale = t->w + wide;
    t->zero = t->scale + r->n_groups * lanes;
    t->q = t->zero + r->n_groups * lanes;
    t->row = t->q + lanes;
    t->fresh = t->row + r->n;
    t->codes = (uint8_t *)(t->x + tile_floats(r));
}

static void one_tile(void *ctx, size_t item, int thread)
{
    const struct woq_gptq_run *r = ctx;
    struct tile t = { .r = r, .index = item, .row0 = item * r->tile_rows };

    t.rows = r->n_rows - t.row0 < r->tile_rows ? r->n_rows - t.row0 : r->tile_rows;
    place(&t, r->memory + tile_bytes(r) * (size_t)thread);
    memset(t.loss, 0, t.lanes * sizeof *t.loss);
    memset(t.scale, 0, 2 * r->n_groups * t.lanes * sizeof *t.scale);
    gather(&t);
    if (r->early)
        early_params(&t);
    for (size_t b0 = 0, b1; b0 < r->n; b0 = b1) {
        b1 = r->n - b0 < r->o->block_size ? r->n : b0 + r->o->block_size;
        if (!r->early)
            block_params(&t, b0, b1);
        woq_factor_walk(r->f, t.x, t.lanes, b0, b1, r->n, one_column, &t);
    }
    scatter(&t);
}

/* All tiles; each thread has memory for one. */
static int columns(struct woq_gptq_run *r, struct woq_error *err)
{
    const size_t n_tiles = (r->n_rows + r->tile_rows - 1) / r->tile_rows;
    const size_t threads = (size_t)woq_threads() < n_tiles ? (size_t)woq_threads() : n_tiles;
    size_t bytes;

    if (!woq_mul_size(threads, tile_bytes(r), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    r->memory = woq_alloc(bytes, err);
    if (!r->memory)
        return WOQ_ENOMEM;
    woq_parallel(n_tiles, one_tile, r);
    free(r->memory);
    r->memory = NULL;
    return WOQ_OK;
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

/* Permuted search weights, losses per row: all in one allocation. */
static void *side_tables(struct woq_gptq_run *r, struct woq_error *err)
{
    const size_t n = r->n;
    double *memory = woq_alloc(r->n_rows * sizeof(double) + n * sizeof(float), err);
    float *weight;

    if (!memory)
        return NULL;
    weight = (float *)(memory + r->n_rows);
    for (size_t c = 0; c < n; c++)
        weight[c] = r->f->diag[r->f->perm[c]];
    r->weight = weight;
    r->loss = memory;
    return memory;
}

/* Tiles of a few rows; of all rows whose scales share a step in double quantization. */
static size_t tile_rows(const struct woq_scheme *s, size_t n_rows)
{
    const size_t plain = n_rows < 16 * ROWS ? FEW_ROWS : ROWS;
    const size_t rows = !s->dq.on              ? plain
                        : s->dq.group_size < 1 ? n_rows
                                               : (size_t)s->dq.group_size;

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
    r.early = o->static_groups || r.n_groups == 1;
    woq_grid_init(&r.grid, &o->scheme, w, n_rows * f->n);
    if (r.grid.levels) {
        woq_format_lut(lut, r.grid.format);
        r.lut = lut;
    }
    memory = side_tables(&r, err);
    if (!memory)
        return WOQ_ENOMEM;
    rc = columns(&r, err);
    if (g_idx)
        for (size_t c = 0; c < f->n; c++)
            g_idx[f->perm[c]] = (int32_t)group_of(&r, c);
    memset(report, 0, sizeof *report);
    for (size_t i = 0; i < n_rows; i++)
        report->loss += r.loss[i];
    free(memory);
    if (rc)
        return rc;
    if (!woq_kernels()->all_finite_f32(out->scale, n_rows * r.n_groups))
        return woq_fail(err, WOQ_EDATA, r.grid.f16 ? "take --scale-dtype f32" : NULL,
                        "a scale does not fit in %s: the weights of its group are too large",
                        o->scheme.scale_dtype);
    return o->refit ? woq_gptq_refit(&r, report, err) : WOQ_OK;
}
