/* rtn.c -- round to nearest with scales from each group's range, and the search for a smaller
 * range.
 *
 * algorithms.md 1.2-1.4, 1.6 and 2. Items of parallel work are runs of rows (or of columns) whose
 * borders depend on the shape alone, and losses are added in the order of the items, so nothing
 * depends on the number of threads. */
#include <woq/kernels.h>
#include <woq/quant.h>
#include <woq/threads.h>

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 256,          /* groups whose ranges are on the stack at a time */
    ITEM_ELEMS = 1 << 16, /* elements of a parallel item: 256 KiB of f32, inside the L2 cache */
    TILE = 16,            /* columns gathered at once for a search along rows */
    N_RATIOS = 40,        /* 1.6: 1 - i/200, i = 0..39 */
};

struct job {
    const struct woq_kernels *k;
    const struct woq_grid *g;
    const struct woq_scheme *s;
    const float *w, *importance;
    uint8_t *codes;
    float *scale, *zero;
    size_t n_rows, n_cols, group, n_groups; /* groups along the grouped dimension */
    size_t item_rows, n_bands; /* rows per item; group_dim 0: items of CHUNK columns per group */
    float quantile;
    const char *search; /* per group (mse), per layer (clip), or none: `quantile` for all */
    bool given;         /* scale and zero are there, only codes are wanted */
    float *min, *max;   /* [n_rows][n_groups] where rows share their scales */
    double *loss;       /* [items][N_RATIOS] during a clip search, or NULL */
    float *columns;     /* [threads][TILE][group], group_dim 0 with a search */
    atomic_bool bad_weight, bad_scale;
};

static void encode_groups(const struct job *j, uint8_t *codes, const float *w, size_t n,
                          const float *scale, const float *zero)
{
    if (j->g->levels)
        j->k->level_groups_u8(codes, w, n, j->group, scale, j->g->levels);
    else
        j->k->quant_groups_u8(codes, w, n, j->group, scale, zero, j->g->mid, j->g->maxq);
}

/* Of scales that are powers of two, only the next one makes a difference: it cuts nothing. */
static int n_ratios(const struct job *j)
{
    return j->g->format->scale == WOQ_SCALE_E8M0 ? 2 : N_RATIOS;
}

static float ratio(const struct job *j, int i)
{
    return n_ratios(j) == 2 ? (float)(1 + i) : (float)(1.0 - i / 200.0);
}

/* n groups of `len` elements, one behind the other (the last may be shorter): their losses at every
 * ratio, times by[g], added to loss[]; or, with loss NULL, the best ratio's scale and zero of each.
 */
static void search_groups(const struct job *j, const float *w, const float *importance,
                          size_t n_elem, size_t len, const float *min, const float *max,
                          const float *by, double *loss, float *scale, float *zero)
{
    const size_t n = len ? (n_elem + len - 1) / len : 0;
    float sc[CHUNK], z[CHUNK], e[CHUNK], best[CHUNK];

    for (int i = 0; i < n_ratios(j); i++) {
        woq_group_params(sc, z, min, max, n, ratio(j, i), j->g);
        if (j->g->levels)
            j->k->level_err_groups(e, w, importance, n_elem, len, sc, j->g->levels);
        else
            j->k->quant_err_groups(e, w, importance, n_elem, len, sc, z, 0, j->g->maxq);
        for (size_t g = 0; g < n && loss; g++)
            loss[i] += (double)e[g] * (by ? (double)by[g] : 1.0);
        for (size_t g = 0; g < n && !loss; g++) {
            if (i > 0 && !(e[g] < best[g])) /* the first minimum wins; i = 0 also if e is inf */
                continue;
            best[g] = e[g];
            scale[g] = sc[g];
            if (zero)
                zero[g] = z[g];
        }
    }
}

/* --- groups along a row --- */
static void do_row_chunk(struct job *j, size_t row, size_t g0, double *loss)
{
    const size_t n = j->n_groups - g0 < CHUNK ? j->n_groups - g0 : CHUNK;
    const size_t col = g0 * j->group;
    const size_t n_cols = g0 + n == j->n_groups ? j->n_cols - col : n * j->group;
    const float *w = j->w + row * j->n_cols + col;
    float *scale = j->scale + row * j->n_groups + g0;
    float *zero = j->zero ? j->zero + row * j->n_groups + g0 : NULL;
    float min[CHUNK], max[CHUNK];

    if (!j->given && !j->k->minmax_groups_f32(min, max, w, n_cols, j->group))
        atomic_store(&j->bad_weight, true);
    if (loss || strcmp(j->search, "mse") == 0) {
        search_groups(j, w, j->importance ? j->importance + col : NULL, n_cols, j->group, min, max,
                      NULL, loss, scale, zero);
        if (loss)
            return;
    } else if (!j->given) {
        woq_group_params(scale, zero, min, max, n, j->quantile, j->g);
    }
    if (!j->k->all_finite_f32(scale, n))
        atomic_store(&j->bad_scale, true);
    encode_groups(j, j->codes + row * j->n_cols + col, w, n_cols, scale, zero);
}

static void do_rows(void *ctx, size_t item, int thread)
{
    struct job *j = ctx;
    const size_t row0 = item * j->item_rows;
    const size_t row1 = j->n_rows - row0 < j->item_rows ? j->n_rows : row0 + j->item_rows;

    (void)thread;
    for (size_t row = row0; row < row1; row++)
        for (size_t g = 0; g < j->n_groups; g += CHUNK)
            do_row_chunk(j, row, g, j->loss ? j->loss + item * N_RATIOS : NULL);
}

/* --- groups of several rows: first the ranges of each row, then those of its companions --- */
static void row_ranges(void *ctx, size_t item, int thread)
{
    struct job *j = ctx;
    const size_t row0 = item * j->item_rows;
    const size_t row1 = j->n_rows - row0 < j->item_rows ? j->n_rows : row0 + j->item_rows;

    (void)thread;
    for (size_t row = row0; row < row1; row++)
        if (!j->k->minmax_groups_f32(j->min + row * j->n_groups, j->max + row * j->n_groups,
                                     j->w + row * j->n_cols, j->n_cols, j->group))
            atomic_store(&j->bad_weight, true);
}

static void shared_params(struct job *j, size_t row0, size_t row1)
{
    const size_t n = j->n_groups;
    float *min = j->min + row0 * n, *max = j->max + row0 * n;

    for (size_t row = row0 + 1; row < row1; row++)
        j->k->minmax_cols_f32(min, max, j->min + row * n, n);
    for (size_t row = row0 + 1; row < row1; row++)
        j->k->minmax_cols_f32(min, max, j->max + row * n, n);
    woq_group_params(j->scale + row0 * n, j->zero ? j->zero + row0 * n : NULL, min, max, n, 1.0f,
                     j->g);
    for (size_t row = row0 + 1; row < row1; row++) {
        memcpy(j->scale + row * n, j->scale + row0 * n, n * sizeof *j->scale);
        if (j->zero)
            memcpy(j->zero + row * n, j->zero + row0 * n, n * sizeof *j->zero);
    }
}

static int share_rows(struct job *j, size_t n_items, struct woq_error *err)
{
    const int64_t want = j->s->group_rows;
    const size_t step = want < 1 || (uint64_t)want > j->n_rows ? j->n_rows : (size_t)want;

    j->min = woq_alloc(2 * j->n_rows * j->n_groups * sizeof *j->min, err);
    if (!j->min)
        return WOQ_ENOMEM;
    j->max = j->min + j->n_rows * j->n_groups;
    woq_parallel(n_items, row_ranges, j);
    for (size_t row = 0; row < j->n_rows; row += step)
        shared_params(j, row, j->n_rows - row < step ? j->n_rows : row + step);
    free(j->min);
    j->given = true;
    return WOQ_OK;
}

/* --- groups along a column: a band of CHUNK columns of one group of rows is an item --- */
struct band {
    size_t row0, n_rows, col0, n_cols;
    const float *w; /* of its first element; rows are the matrix's n_cols apart */
};

static struct band band_at(const struct job *j, size_t item)
{
    struct band b;

    b.row0 = item / j->n_bands * j->group;
    b.n_rows = j->n_rows - b.row0 < j->group ? j->n_rows - b.row0 : j->group;
    b.col0 = item % j->n_bands * CHUNK;
    b.n_cols = j->n_cols - b.col0 < CHUNK ? j->n_cols - b.col0 : CHUNK;
    b.w = j->w + b.row0 * j->n_cols + b.col0;
    return b;
}

static void search_band(struct job *j, const struct band *b, const float *min, const float *max,
                        double *loss, float *scale, float *zero, float *tile)
{
    for (size_t c0 = 0; c0 < b->n_cols; c0 += TILE) {
        const size_t n = b->n_cols - c0 < TILE ? b->n_cols - c0 : TILE;
        for (size_t r = 0; r < b->n_rows; r++)
            for (size_t c = 0; c < n; c++)
                tile[c * b->n_rows + r] = b->w[r * j->n_cols + c0 + c];
        /* one importance for all of a column */
        search_groups(j, tile, NULL, n * b->n_rows, b->n_rows, min + c0, max + c0,
                      j->importance ? j->importance + b->col0 + c0 : NULL, loss, scale + c0,
                      zero ? zero + c0 : NULL);
    }
}

static void do_band(void *ctx, size_t item, int thread)
{
    struct job *j = ctx;
    const struct band b = band_at(j, item);
    const size_t at = item / j->n_bands * j->n_cols + b.col0;
    float *scale = j->scale + at, *zero = j->zero ? j->zero + at : NULL;
    double *loss = j->loss ? j->loss + item * N_RATIOS : NULL;
    float min[CHUNK], max[CHUNK];
    bool finite = true;

    for (size_t c = 0; c < b.n_cols; c++) {
        min[c] = INFINITY;
        max[c] = -INFINITY;
    }
    for (size_t r = 0; r < b.n_rows; r++)
        finite &= j->k->minmax_cols_f32(min, max, b.w + r * j->n_cols, b.n_cols) != 0;
    if (!finite)
        atomic_store(&j->bad_weight, true);
    if (loss || strcmp(j->search, "mse") == 0)
        search_band(j, &b, min, max, loss, scale, zero,
                    j->columns + (size_t)thread * TILE * j->group);
    else if (!j->given)
        woq_group_params(scale, zero, min, max, b.n_cols, j->quantile, j->g);
    if (loss)
        return;
    if (!j->k->all_finite_f32(scale, b.n_cols))
        atomic_store(&j->bad_scale, true);
    for (size_t r = 0; r < b.n_rows; r++) {
        uint8_t *codes = j->codes + (b.row0 + r) * j->n_cols + b.col0;
        const float *w = b.w + r * j->n_cols;
        if (j->g->levels)
            j->k->level_cols_u8(codes, w, b.n_cols, scale, j->g->levels);
        else
            j->k->quant_cols_u8(codes, w, b.n_cols, scale, zero, j->g->mid, j->g->maxq);
    }
}

/* --- errors, found again at leisure --- */
static int fail_weight(const struct job *j, struct woq_error *err)
{
    for (size_t r = 0; r < j->n_rows; r++)
        for (size_t c = 0; c < j->n_cols; c++) {
            const float x = j->w[r * j->n_cols + c];
            if (!isfinite(x))
                return woq_fail(err, WOQ_EDATA, "the checkpoint is damaged or overflowed in f16",
                                "weight [%zu][%zu] is %s, want a finite number", r, c,
                                isnan(x)   ? "NaN"
                                : x > 0.0f ? "+inf"
                                           : "-inf");
        }
    return woq_fail(err, WOQ_EDATA, NULL, "a weight is not finite");
}

static int fail_scale(const struct job *j, struct woq_error *err)
{
    const size_t cols = j->s->group_dim ? j->n_groups : j->n_cols;
    const size_t rows = j->s->group_dim ? j->n_rows : j->n_groups;
    size_t at = 0;

    while (at + 1 < rows * cols && isfinite(j->scale[at]))
        at++;
    return woq_fail(err, WOQ_EDATA,
                    strcmp(j->s->scale_dtype, "f16") == 0 ? "take --scale-dtype f32" : NULL,
                    "scale [%zu][%zu] does not fit in %s: the weights of its group are too large",
                    at / cols, at % cols, j->s->scale_dtype);
}

/* The ratio with the least loss of the whole layer, first minimum (1.6). */
static int search_clip(struct job *j, size_t n_items, void (*fn)(void *, size_t, int),
                       struct woq_error *err)
{
    double best = (double)INFINITY;
    size_t bytes;

    if (!woq_mul_size(n_items, N_RATIOS * sizeof(double), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    j->loss = woq_alloc(bytes, err);
    if (!j->loss)
        return WOQ_ENOMEM;
    memset(j->loss, 0, bytes);
    woq_parallel(n_items, fn, j);
    for (int i = 0; i < n_ratios(j); i++) {
        double sum = 0.0;
        for (size_t item = 0; item < n_items; item++)
            sum += j->loss[item * N_RATIOS + (size_t)i];
        if (sum < best) {
            best = sum;
            j->quantile = ratio(j, i);
        }
    }
    free(j->loss);
    j->loss = NULL;
    return WOQ_OK;
}

static int run(struct job *j, size_t n_items, void (*fn)(void *, size_t, int),
               struct woq_error *err)
{
    if (strcmp(j->search, "clip") == 0 && n_items) {
        const int rc = search_clip(j, n_items, fn, err);
        if (rc)
            return rc;
    }
    if (!atomic_load(&j->bad_weight))
        woq_parallel(n_items, fn, j);
    if (atomic_load(&j->bad_weight))
        return fail_weight(j, err);
    if (atomic_load(&j->bad_scale))
        return fail_scale(j, err);
    return WOQ_OK;
}

static int run_rows(struct job *j, struct woq_error *err)
{
    size_t n_items;
    int rc;

    j->item_rows = j->n_cols >= ITEM_ELEMS ? 1 : ITEM_ELEMS / j->n_cols;
    n_items = j->n_rows / j->item_rows + (j->n_rows % j->item_rows != 0);
    if (j->s->group_rows != 1 && !j->given && (rc = share_rows(j, n_items, err)))
        return rc;
    return run(j, n_items, do_rows, err);
}

static int run_bands(struct job *j, struct woq_error *err)
{
    size_t bytes;
    int rc;

    j->n_bands = (j->n_cols + CHUNK - 1) / CHUNK;
    if (strcmp(j->search, "none") != 0) {
        if (!woq_mul_size(j->group, (size_t)woq_threads() * TILE * sizeof(float), &bytes))
            return woq_fail_nomem(err, SIZE_MAX);
        j->columns = woq_alloc(bytes, err);
        if (!j->columns)
            return WOQ_ENOMEM;
    }
    rc = run(j, j->n_groups * j->n_bands, do_band, err);
    free(j->columns);
    return rc;
}

static int quantize(uint8_t *codes, float *scale, float *zero, const float *w, size_t n_rows,
                    size_t n_cols, const struct woq_scheme *s, const float *importance, bool given,
                    struct woq_error *err)
{
    const size_t along = s->group_dim ? n_cols : n_rows;
    struct woq_grid g;
    struct job j = {
        .k = woq_kernels(),
        .g = &g,
        .s = s,
        .w = w,
        .importance = importance,
        .codes = codes,
        .scale = scale,
        .zero = zero,
        .n_rows = n_rows,
        .n_cols = n_cols,
        .group = woq_scheme_group_elems(s, along),
        .n_groups = woq_scheme_groups(s, along),
        .quantile = 1.0f,
        .search = given ? "none" : s->search,
        .given = given,
    };
    const int rc = woq_scheme_check(s, err);

    if (rc)
        return rc;
    if (woq_scheme_is_float(s) || (woq_scheme_has_zero(s) && !zero))
        WOQ_BUG("woq_rtn: no scheme to round by, or no place for zeros");
    woq_grid_init(&g, s, w, n_rows * n_cols);
    if (n_rows == 0 || n_cols == 0)
        return WOQ_OK;
    return s->group_dim ? run_rows(&j, err) : run_bands(&j, err);
}

int woq_rtn(uint8_t *codes, float *scale, float *zero, const float *w, size_t n_rows, size_t n_cols,
            const struct woq_scheme *s, const float *importance, struct woq_error *err)
{
    return quantize(codes, scale, zero, w, n_rows, n_cols, s, importance, false, err);
}

int woq_rtn_codes(uint8_t *codes, float *scale, float *zero, const float *w, size_t n_rows,
                  size_t n_cols, const struct woq_scheme *s, struct woq_error *err)
{
    return quantize(codes, scale, zero, w, n_rows, n_cols, s, NULL, true, err);
}

int woq_rtn_frame(struct woq_frame *out, const struct woq_frame *weight, const struct woq_scheme *s,
                  const float *importance, struct woq_buf *buf, struct woq_error *err)
{
    struct woq_qarrays a;
    struct woq_tensor t;
    const float *data;
    int rc = woq_scheme_check(s, err);

    if (rc || (rc = woq_qten_begin(out, weight, s, false, &a, err)) ||
        (rc = woq_frame_f32(weight, &t, &data, buf, err)))
        return rc;
    rc = woq_rtn(a.codes, a.scale, a.zero, data, t.n_rows, t.n_cols, s, importance, err);
    if (rc)
        return rc;
    if (s->dq.on)
        woq_qten_double_quant(&a, s);
    if (s->dq.on && !s->dq.keep_codes)
        return woq_rtn_codes(a.codes, a.scale, a.zero, data, t.n_rows, t.n_cols, s, err);
    woq_qten_finish(&a, s, data, t.n_elem);
    return WOQ_OK;
}
