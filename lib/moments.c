/* moments.c -- sums over tokens of a group's activations. */
#include <woq/hessian.h>
#include <woq/kernels.h>
#include <woq/linalg.h>
#include <woq/moments.h>
#include <woq/threads.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool woq_moments_is_empty(const struct woq_moments *m)
{
    return m->meta == NULL;
}

bool woq_moments_match(const struct woq_moments *m, const struct woq_frame *f)
{
    const char *a = woq_json_get_str(m->meta, "group"), *b = woq_json_get_str(f->meta, "group");

    return a && b && strcmp(a, b) == 0 &&
           woq_json_get_int(m->meta, "block", -1) == woq_json_get_int(f->meta, "block", -1);
}

/* "block 3, group 'down'", or "group 'lm_head'" beside the blocks. */
static const char *place_of(char text[96], int64_t block, const char *group)
{
    if (block < 0)
        snprintf(text, 96, "group '%s'", group ? group : "");
    else
        snprintf(text, 96, "block %lld, group '%s'", (long long)block, group ? group : "");
    return text;
}

/* Tokens [from, to) join the list; a range that was counted before is refused. */
static int add_span(struct woq_moments *m, uint64_t from, uint64_t to, struct woq_error *err)
{
    struct woq_span *grown;
    size_t i = 0;
    char text[96];

    while (i < m->n_spans && m->spans[i].to <= from)
        i++;
    if (i < m->n_spans && m->spans[i].from < to)
        return woq_fail(err, WOQ_EDATA, "merge sums of different samples only",
                        "tokens %llu to %llu of %s were counted before", (unsigned long long)from,
                        (unsigned long long)to,
                        place_of(text, woq_json_get_int(m->meta, "block", -1),
                                 woq_json_get_str(m->meta, "group")));
    if (i < m->n_spans && m->spans[i].from == to) { /* one range with the span behind */
        to = m->spans[i].to;
        memmove(m->spans + i, m->spans + i + 1, (--m->n_spans - i) * sizeof *m->spans);
    }
    if (i > 0 && m->spans[i - 1].to == from) { /* the usual case: the next chunk */
        m->spans[i - 1].to = to;
        return WOQ_OK;
    }
    grown = realloc(m->spans, (m->n_spans + 1) * sizeof *grown);
    if (!grown)
        return woq_fail_nomem(err, sizeof *grown);
    m->spans = grown;
    memmove(grown + i + 1, grown + i, (m->n_spans - i) * sizeof *grown);
    grown[i] = (struct woq_span){ from, to };
    m->n_spans++;
    return WOQ_OK;
}

static void *zeroed(struct woq_buf *buf, size_t bytes, struct woq_error *err)
{
    void *p = woq_buf_need(buf, bytes, err);

    if (p)
        memset(p, 0, bytes);
    return p;
}

/* The first chunk or partial sum of a group: names it, and clears the sums. */
static int begin(struct woq_moments *m, enum woq_moment_kind kind, const struct woq_frame *f,
                 size_t n, bool has_d, struct woq_error *err)
{
    static const char *const keys[] = { "of", "block", "group" };
    size_t bytes;

    if (!woq_json_get_str(f->meta, "group") || !woq_json_get_str(f->meta, "of"))
        return woq_fail(err, WOQ_EDATA, NULL, "%s frame without 'group' and 'of'", f->type);
    if (n == 0 || !woq_mul_size(n, n, &bytes) || !woq_mul_size(bytes, sizeof(float), &bytes))
        return woq_fail(err, WOQ_EDATA, NULL, "%s frame of width %zu", f->type, n);
    m->n = n;
    m->n_tokens = 0;
    m->n_spans = 0;
    m->has_d = has_d;
    if (kind == WOQ_MOMENT_HESS
            ? !zeroed(&m->h, bytes, err) || (has_d && !zeroed(&m->d, bytes, err))
            : !zeroed(&m->absmax, n * sizeof(float), err) ||
                  !zeroed(&m->sum_abs, n * sizeof(double), err) ||
                  !zeroed(&m->sum_sq, n * sizeof(double), err))
        return WOQ_ENOMEM;
    m->meta = woq_json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        woq_json_set(m->meta, keys[i], woq_json_copy(woq_json_get(f->meta, keys[i])));
    return m->meta ? WOQ_OK : woq_fail_nomem(err, 64);
}

int woq_acts_check(int64_t block, const char *group, enum woq_acts_path path, const float *x,
                   size_t n_tokens, size_t n, struct woq_error *err)
{
    char text[96];

    if (woq_kernels()->all_finite_f32(x, n_tokens * n))
        return WOQ_OK;
    for (size_t i = 0; i < n_tokens * n; i++)
        if (!isfinite(x[i]))
            return woq_fail(err, WOQ_EDATA, "the model or the text before this block is broken",
                            "%s of %s is %g at token %zu, channel %zu",
                            path == WOQ_ACTS_FLOAT ? "float-path activation" : "activation",
                            place_of(text, block, group), (double)x[i], i / n, i % n);
    return WOQ_OK;
}

static int check_rows(const struct woq_moments *m, enum woq_acts_path path, const float *x,
                      size_t n_tokens, struct woq_error *err)
{
    return woq_acts_check(woq_json_get_int(m->meta, "block", -1),
                          woq_json_get_str(m->meta, "group"), path, x, n_tokens, m->n, err);
}

enum { TILE = 256 };

struct cross {
    float *d;
    const float *error, *x;
    size_t n, n_tokens, n_tiles;
};

static void cross_tile(void *ctx, size_t item, int thread)
{
    const struct cross *k = ctx;
    const size_t r = item / k->n_tiles * TILE, c = item % k->n_tiles * TILE;
    const size_t rows = k->n - r < TILE ? k->n - r : TILE, cols = k->n - c < TILE ? k->n - c : TILE;

    (void)thread;
    woq_sgemm(true, false, rows, cols, k->n_tokens, 1, k->error + r, k->n, k->x + c, k->n, 1,
              k->d + r * k->n + c, k->n);
}

/* d += (x_float - x)^T x, in tiles that do not depend on threads. */
static int add_cross(struct woq_moments *m, const struct woq_array *a, const float *x,
                     struct woq_error *err)
{
    const size_t n_tokens = (size_t)a->shape[0];
    struct cross k = { m->d.data, NULL, x, m->n, n_tokens, (m->n + TILE - 1) / TILE };
    float *e = woq_buf_need(&m->error, a->n_elem * sizeof *e, err);
    int rc;

    if (!e)
        return WOQ_ENOMEM;
    woq_to_f32(e, a->data, a->dtype, a->n_elem);
    rc = check_rows(m, WOQ_ACTS_FLOAT, e, n_tokens, err);
    if (rc)
        return rc;
    woq_kernels()->axpy_f32(e, x, a->n_elem, -1);
    k.error = e;
    woq_parallel(k.n_tiles * k.n_tiles, cross_tile, &k);
    return WOQ_OK;
}

static void add_stats(struct woq_moments *m, const float *x, size_t n_tokens)
{
    float *absmax = m->absmax.data;
    double *sum_abs = m->sum_abs.data, *sum_sq = m->sum_sq.data;

    for (size_t t = 0; t < n_tokens; t++, x += m->n)
        for (size_t c = 0; c < m->n; c++) {
            const float a = fabsf(x[c]);

            absmax[c] = a > absmax[c] ? a : absmax[c];
            sum_abs[c] += (double)a;
            sum_sq[c] += (double)a * (double)a;
        }
}

/* The chunk's array as f32: as it lies there, or converted into m->x. */
static int rows_f32(struct woq_moments *m, const struct woq_array *a, const float **x,
                    struct woq_error *err)
{
    float *copy;

    *x = a->data;
    if (a->dtype == WOQ_F32)
        return WOQ_OK;
    copy = woq_buf_need(&m->x, a->n_elem * sizeof *copy, err);
    if (!copy)
        return WOQ_ENOMEM;
    woq_to_f32(copy, a->data, a->dtype, a->n_elem);
    *x = copy;
    return WOQ_OK;
}

/* Is this a chunk like those before? *xf: the array x_float, or NULL. */
static int check_chunk(struct woq_moments *m, enum woq_moment_kind kind,
                       const struct woq_frame *acts, const struct woq_array **x,
                       const struct woq_array **xf, struct woq_error *err)
{
    const struct woq_array *a, *f;
    int rc = woq_frame_want(acts, "x", WOQ_NO_DTYPE, 2, x, err);

    if (rc)
        return rc;
    a = *x;
    f = *xf = kind == WOQ_MOMENT_HESS ? woq_frame_array(acts, "x_float") : NULL;
    if (!woq_dtype_is_float(a->dtype) || (f && !woq_dtype_is_float(f->dtype)))
        return woq_fail(err, WOQ_ETYPE, NULL, "activations are %s, want a float type",
                        woq_dtype_name(f && woq_dtype_is_float(a->dtype) ? f->dtype : a->dtype));
    if (f && (f->n_dims != 2 || f->shape[0] != a->shape[0] || f->shape[1] != a->shape[1]))
        return woq_fail(err, WOQ_EDATA, NULL, "acts frame whose x_float has another shape than x");
    if (woq_moments_is_empty(m) && (rc = begin(m, kind, acts, (size_t)a->shape[1], f, err)))
        return rc;
    if (a->shape[0] == 0)
        return woq_fail(err, WOQ_EDATA, NULL, "acts frame of 0 tokens");
    if (a->shape[1] != m->n)
        return woq_fail(err, WOQ_EDATA, NULL, "activations are %llu wide, %zu before",
                        (unsigned long long)a->shape[1], m->n);
    if (m->has_d != (f != NULL))
        return woq_fail(err, WOQ_EDATA, "use --targets both for all chunks of a group, or for none",
                        "activations %s the float path, those before %s it", f ? "with" : "without",
                        f ? "lack" : "have");
    return WOQ_OK;
}

int woq_moments_take(struct woq_moments *m, enum woq_moment_kind kind, const struct woq_frame *acts,
                     struct woq_error *err)
{
    const struct woq_array *a = NULL, *xf = NULL;
    uint64_t token0;
    const float *x;
    int rc = check_chunk(m, kind, acts, &a, &xf, err);

    if (rc || (rc = rows_f32(m, a, &x, err)))
        return rc;
    if (!woq_json_u64(woq_json_get(acts->meta, "token0"), &token0))
        return woq_fail(err, WOQ_EDATA, NULL, "acts frame without 'token0'");
    if ((rc = check_rows(m, WOQ_ACTS_QUANTIZED, x, (size_t)a->shape[0], err)) ||
        (rc = add_span(m, token0, token0 + a->shape[0], err)) ||
        (xf && (rc = add_cross(m, xf, x, err))))
        return rc;
    if (kind == WOQ_MOMENT_HESS)
        woq_hessian_add(m->h.data, m->n, x, (size_t)a->shape[0]);
    else
        add_stats(m, x, (size_t)a->shape[0]);
    m->n_tokens += a->shape[0];
    return WOQ_OK;
}

/* "spans":[[from,to],...] of a hess frame, and that they add up to its token count. */
static int merge_spans(struct woq_moments *m, const struct woq_frame *f, uint64_t n_tokens,
                       struct woq_error *err)
{
    uint64_t sum = 0;

    woq_json_each(span, woq_json_get(f->meta, "spans"))
    {
        uint64_t from, to;
        int rc;

        if (!woq_json_u64(woq_json_first(span), &from) ||
            !woq_json_u64(woq_json_next(woq_json_first(span)), &to) || to <= from)
            return woq_fail(err, WOQ_EDATA, NULL, "hess frame with a malformed span of tokens");
        rc = add_span(m, from, to, err);
        if (rc)
            return rc;
        sum += to - from;
    }
    if (sum != n_tokens)
        return woq_fail(err, WOQ_EDATA, NULL, "hess frame counts %llu tokens, its spans %llu",
                        (unsigned long long)n_tokens, (unsigned long long)sum);
    m->n_tokens += n_tokens;
    return WOQ_OK;
}

/* d of a partial sum, or NULL: like h, and all partial sums of a group have it, or none. */
static int check_d(const struct woq_moments *m, const struct woq_array *h,
                   const struct woq_array *d, struct woq_error *err)
{
    if (m->has_d != (d != NULL))
        return woq_fail(err, WOQ_EDATA, "make all of them with --targets both, or none",
                        "this partial sum %s 'd', those before %s it", d ? "has" : "lacks",
                        d ? "lack" : "have");
    if (d && (d->dtype != WOQ_F32 || d->n_dims != 2 || d->shape[0] != h->shape[0] ||
              d->shape[1] != h->shape[1]))
        return woq_fail(err, WOQ_EDATA, NULL, "hess frame with arrays of the wrong shape");
    if (d && !woq_kernels()->all_finite_f32(d->data, d->n_elem))
        return woq_fail(err, WOQ_EDATA, "calibrate again", "'d' of the Hessian is not finite");
    return WOQ_OK;
}

int woq_moments_merge(struct woq_moments *m, const struct woq_frame *hess, struct woq_error *err)
{
    const struct woq_array *h = NULL, *count = NULL, *d = woq_frame_array(hess, "d");
    char text[96];
    int rc = woq_frame_want(hess, "h", WOQ_F32, 2, &h, err);

    if (rc || (rc = woq_frame_want(hess, "n_tokens", WOQ_U64, 1, &count, err)))
        return rc;
    if (h->shape[0] != h->shape[1] || count->n_elem != 1)
        return woq_fail(err, WOQ_EDATA, NULL, "hess frame with arrays of the wrong shape");
    if (woq_moments_is_empty(m) &&
        (rc = begin(m, WOQ_MOMENT_HESS, hess, (size_t)h->shape[0], d, err)))
        return rc;
    if (h->shape[0] != m->n || !woq_moments_match(m, hess))
        return woq_fail(err, WOQ_EDATA, "merge files of one model, made with the same options",
                        "partial sums do not match: %s, width %llu",
                        place_of(text, woq_json_get_int(hess->meta, "block", -1),
                                 woq_json_get_str(hess->meta, "group")),
                        (unsigned long long)h->shape[0]);
    if ((rc = woq_hessian_check(h->data, m->n, err)) || (rc = check_d(m, h, d, err)) ||
        (rc = merge_spans(m, hess, *(const uint64_t *)count->data, err)))
        return rc;
    woq_kernels()->add_f32(m->h.data, h->data, h->n_elem);
    if (d)
        woq_kernels()->add_f32(m->d.data, d->data, d->n_elem);
    return WOQ_OK;
}

static void put_spans(struct woq_moments *m, struct woq_json *meta)
{
    struct woq_json *list = woq_json_array();

    for (size_t i = 0; i < m->n_spans; i++) {
        struct woq_json *pair = woq_json_array();

        woq_json_push(pair, woq_json_of_num((double)m->spans[i].from));
        woq_json_push(pair, woq_json_of_num((double)m->spans[i].to));
        woq_json_push(list, pair);
    }
    woq_json_set(meta, "spans", list);
}

static int emit_stat(struct woq_moments *m, struct woq_frame *out, struct woq_error *err)
{
    const uint64_t n = m->n;
    const double *sum_abs = m->sum_abs.data, *sum_sq = m->sum_sq.data;
    void *mean_abs = NULL, *mean_sq = NULL;
    int rc = woq_frame_add(out, "absmax", WOQ_F32, 1, &n, m->absmax.data, err);

    if (rc || (rc = woq_frame_alloc(out, "mean_abs", WOQ_F32, 1, &n, &mean_abs, err)) ||
        (rc = woq_frame_alloc(out, "mean_sq", WOQ_F32, 1, &n, &mean_sq, err)))
        return rc;
    for (size_t c = 0; c < m->n; c++) {
        ((float *)mean_abs)[c] = (float)(sum_abs[c] / (double)m->n_tokens);
        ((float *)mean_sq)[c] = (float)(sum_sq[c] / (double)m->n_tokens);
    }
    return WOQ_OK;
}

int woq_moments_emit(struct woq_moments *m, enum woq_moment_kind kind, struct woq_frame *out,
                     struct woq_error *err)
{
    const uint64_t shape[2] = { m->n, m->n }, one = 1;
    void *count = NULL;
    int rc;

    woq_frame_begin(out, kind == WOQ_MOMENT_HESS ? "hess" : "stat");
    out->flags = WOQ_FRAME_OF;
    woq_json_free(out->meta);
    out->meta = woq_json_copy(m->meta);
    if (!out->meta)
        return woq_fail_nomem(err, 64);
    put_spans(m, out->meta);
    if (kind == WOQ_MOMENT_HESS) {
        woq_hessian_mirror(m->h.data, m->n);
        rc = woq_frame_add(out, "h", WOQ_F32, 2, shape, m->h.data, err);
        if (rc == WOQ_OK && m->has_d)
            rc = woq_frame_add(out, "d", WOQ_F32, 2, shape, m->d.data, err);
    } else {
        rc = emit_stat(m, out, err);
    }
    if (rc || (rc = woq_frame_alloc(out, "n_tokens", WOQ_U64, 1, &one, &count, err)))
        return rc;
    *(uint64_t *)count = m->n_tokens;
    return WOQ_OK;
}

void woq_moments_clear(struct woq_moments *m)
{
    woq_json_free(m->meta);
    m->meta = NULL;
}

void woq_moments_release(struct woq_moments *m)
{
    woq_json_free(m->meta);
    free(m->spans);
    woq_buf_release(&m->h);
    woq_buf_release(&m->d);
    woq_buf_release(&m->absmax);
    woq_buf_release(&m->sum_abs);
    woq_buf_release(&m->sum_sq);
    woq_buf_release(&m->x);
    woq_buf_release(&m->error);
    memset(m, 0, sizeof *m);
}
