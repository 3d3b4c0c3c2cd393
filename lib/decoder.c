/* decoder.c -- a block's forward over a batch of windows (models.md 3.2 PRE, 6).
 *
 * The batch is cut into chunks of tokens by its shape alone, and goes through in runs of chunks, so
 * that buffers are those of a run. Without a tap, a chunk's linears follow each other while its
 * rows are in the cache: norm + q,k,v; then attention; then o + norm + MLP. With a tap each step
 * makes its runs over the whole batch, because the tap must have seen every token before the
 * group's weights are used; what a step leaves for the next waits in a spill. */
#include "decoder_internal.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <woq/kernels.h>
#include <woq/linalg.h>
#include <woq/threads.h>

enum {
    CHUNK = 512,           /* tokens: packing a weight costs little beside its products */
    CHUNKS_PER_THREAD = 8, /* of a run: threads wait little at its end */
    RUN_BYTES = 32 << 20,  /* buffers of a run with a tap, if that is enough for every thread */
};

int woq_decoder_scratch(struct woq_decoder *d, size_t bytes, struct woq_error *err)
{
    for (int t = 0; t < d->n_threads; t++)
        if (!woq_buf_need(&d->scratch[t], bytes, err))
            return WOQ_ENOMEM;
    return WOQ_OK;
}

static int make_rope(struct woq_decoder *d, size_t seq_len, struct woq_error *err)
{
    const size_t half = d->c.n_rot / 2;
    float *cos_table;
    size_t bytes;

    if (!woq_mul_size(d->max_ctx, 2 * half * sizeof(float), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    if (!(cos_table = woq_buf_need(&d->rope, bytes, err)))
        return WOQ_ENOMEM;
    woq_rope_tables(cos_table, cos_table + d->max_ctx * half, &d->c, d->max_ctx, seq_len);
    d->rope_len = seq_len;
    return WOQ_OK;
}

int woq_decoder_open(struct woq_decoder **out, const struct woq_config *c, size_t max_ctx,
                     struct woq_error *err)
{
    struct woq_decoder *d = calloc(1, sizeof *d);
    int rc;

    *out = NULL;
    if (!d)
        return woq_fail_nomem(err, sizeof *d);
    d->c = *c;
    d->max_ctx = max_ctx;
    d->n_threads = woq_threads();
    d->spill_bytes = WOQ_SPILL_BYTES;
    d->scratch = calloc((size_t)d->n_threads, sizeof *d->scratch);
    rc = d->scratch ? make_rope(d, max_ctx, err) : woq_fail_nomem(err, sizeof *d->scratch);
    if (rc < 0) {
        woq_decoder_close(d);
        return rc;
    }
    *out = d;
    return WOQ_OK;
}

void woq_decoder_close(struct woq_decoder *d)
{
    if (!d)
        return;
    for (int t = 0; d->scratch && t < d->n_threads; t++)
        woq_buf_release(&d->scratch[t]);
    free(d->scratch);
    woq_buf_release(&d->att);
    woq_buf_release(&d->qkv);
    woq_buf_release(&d->shown);
    woq_buf_release(&d->norm);
    woq_spill_close(d->spill);
    woq_buf_release(&d->rope);
    free(d);
}

void woq_decoder_serial(struct woq_decoder *d)
{
    for (int t = 1; t < d->n_threads; t++)
        woq_buf_release(&d->scratch[t]);
    d->n_threads = 1;
}

/* Chunks never cross a window that is longer than a chunk, and hold whole windows otherwise, so
 * their borders are the same in every group of windows. */
struct chunks {
    size_t ctx, size, per_window, windows_per; /* one of the last two is 1 */
};

static struct chunks chunks_of(size_t ctx)
{
    struct chunks k = { .ctx = ctx, .per_window = 1, .windows_per = 1 };

    if (ctx > CHUNK) {
        k.per_window = (ctx + CHUNK - 1) / CHUNK;
        k.size = ((ctx + k.per_window - 1) / k.per_window + 15) / 16 * 16;
        k.per_window = (ctx + k.size - 1) / k.size;
    } else {
        k.windows_per = CHUNK / ctx;
        k.size = k.windows_per * ctx;
    }
    return k;
}

/* A run of chunks. Buffers begin at its first token, x at the first of all. */
struct job {
    struct woq_decoder *d;
    const struct woq_block *b;
    struct chunks k;
    float *x;
    size_t n_tokens;          /* of the whole batch */
    size_t chunk0, n, token0; /* chunks of this run; its first token */
    float *qkv, *att, *shown;
    atomic_bool bad;
    atomic_int rc; /* of the spill: the first failure, told in `err` */
    struct woq_error *err;
};

static size_t n_chunks(const struct chunks *k, size_t n_windows)
{
    return (n_windows + k->windows_per - 1) / k->windows_per * k->per_window;
}

/* Chunk i of the run, as tokens of the batch. */
static void chunk_span(const struct job *j, size_t i, size_t *t0, size_t *n)
{
    const size_t at = j->chunk0 + i, w = at / j->k.per_window * j->k.windows_per;
    const size_t part = at % j->k.per_window * j->k.size;
    const size_t limit = j->k.per_window > 1 ? (w + 1) * j->k.ctx : j->n_tokens;

    *t0 = w * j->k.ctx + part;
    *n = limit - *t0 < j->k.size ? limit - *t0 : j->k.size;
}

static void set_run(struct job *j, size_t chunk0, size_t n)
{
    size_t unused;

    j->chunk0 = chunk0;
    j->n = n;
    chunk_span(j, 0, &j->token0, &unused);
}

/* y [n][out] (+)= x [n][in] W^T + b for `n_roles` linears whose outputs lie side by side in y. */
static void linear(const struct woq_block *b, const enum woq_role *roles, const size_t *outs,
                   size_t n_roles, const float *x, size_t n, size_t in, float *y, size_t ldy,
                   float beta)
{
    const struct woq_kernels *k = woq_kernels();
    size_t col = 0;

    for (size_t i = 0; i < n_roles;) {
        const float *w = b->w[roles[i]];
        size_t out = outs[i], end = i + 1;

        for (; end < n_roles && b->w[roles[end]] == w + out * in; end++)
            out += outs[end];
        woq_sgemm(false, true, n, out, in, 1, x, in, w, in, beta, y + col, ldy);
        for (; i < end; col += outs[i++])
            for (size_t t = 0; b->bias[roles[i]] && t < n; t++)
                k->add_f32(y + t * ldy + col, b->bias[roles[i]], outs[i]);
    }
}

static void step_norm(const struct job *j, enum woq_role role, size_t t0, size_t n, float *dst)
{
    const struct woq_config *c = &j->d->c;

    for (size_t t = 0; t < n; t++)
        woq_kernels()->rmsnorm_f32(dst + t * c->hidden, j->x + (t0 + t) * c->hidden, j->b->w[role],
                                   c->hidden, c->eps);
}

static void step_qkv(const struct job *j, size_t t0, size_t n, const float *norm)
{
    static const enum woq_role roles[] = { WOQ_ROLE_Q, WOQ_ROLE_K, WOQ_ROLE_V };
    const struct woq_config *c = &j->d->c;
    const size_t dim = c->head_dim, width = woq_qkv_width(c), half = c->n_rot / 2;
    const size_t outs[] = { c->n_heads * dim, c->n_kv_heads * dim, c->n_kv_heads * dim };
    const float *cos_table = j->d->rope.data, *sin_table = cos_table + j->d->max_ctx * half;
    float *y = j->qkv + (t0 - j->token0) * width;

    linear(j->b, roles, outs, 3, norm, n, c->hidden, y, width, 0);
    for (size_t t = 0; t < n; t++) {
        const size_t p = (t0 + t) % j->k.ctx;

        for (size_t a = 0; a < c->n_heads + c->n_kv_heads; a++)
            woq_kernels()->rope_half_f32(y + t * width + a * dim, cos_table + p * half,
                                         sin_table + p * half, c->n_rot);
    }
}

/* att: [n][heads x head_dim] */
static void step_o(const struct job *j, size_t t0, size_t n, const float *att)
{
    static const enum woq_role role = WOQ_ROLE_O;
    const struct woq_config *c = &j->d->c;
    const size_t in = c->n_heads * c->head_dim;

    linear(j->b, &role, &c->hidden, 1, att, n, in, j->x + t0 * c->hidden, c->hidden, 1);
}

/* gu: scratch [n][2 inter]; h may be gu. */
static void step_gate_up(const struct job *j, size_t n, const float *norm, float *gu, float *h)
{
    static const enum woq_role roles[] = { WOQ_ROLE_GATE, WOQ_ROLE_UP };
    const struct woq_config *c = &j->d->c;
    const size_t outs[] = { c->inter, c->inter };

    linear(j->b, roles, outs, 2, norm, n, c->hidden, gu, 2 * c->inter, 0);
    for (size_t t = 0; t < n; t++)
        woq_gated_act(c->act, h + t * c->inter, gu + t * 2 * c->inter,
                      gu + t * 2 * c->inter + c->inter, c->inter);
}

static void step_down(struct job *j, size_t t0, size_t n, const float *h)
{
    static const enum woq_role role = WOQ_ROLE_DOWN;
    const struct woq_config *c = &j->d->c;
    float *x = j->x + t0 * c->hidden;

    linear(j->b, &role, &c->hidden, 1, h, n, c->inter, x, c->hidden, 1);
    if (!woq_kernels()->all_finite_f32(x, n * c->hidden))
        atomic_store(&j->bad, true);
}

/* ------------------------------------------------------------------ runs of chunks */

static int need_floats(struct woq_buf *buf, size_t n_tokens, size_t width, float **out,
                       struct woq_error *err)
{
    size_t n, bytes;

    if (!woq_mul_size(n_tokens, width, &n) || !woq_mul_size(n, sizeof(float), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    *out = woq_buf_need(buf, bytes, err);
    return *out ? WOQ_OK : WOQ_ENOMEM;
}

/* Scratch of every thread for chunks of `width` floats a token. */
static int chunk_scratch(const struct job *j, size_t width, struct woq_error *err)
{
    return woq_decoder_scratch(j->d, j->k.size * width * sizeof(float), err);
}

static size_t att_width(const struct woq_config *c)
{
    return c->n_heads * c->head_dim;
}

static void run_qkv(void *ctx, size_t i, int thread)
{
    const struct job *j = ctx;
    float *norm = woq_scratch(j->d, thread);
    size_t t0, n;

    chunk_span(j, i, &t0, &n);
    step_norm(j, WOQ_ROLE_ATTN_NORM, t0, n, norm);
    step_qkv(j, t0, n, norm);
}

/* q, k, v and attention of a run of whole windows. */
static int run_attention(struct job *j, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    const size_t windows = j->n / j->k.per_window * j->k.windows_per;
    const size_t left = (j->n_tokens - j->token0) / j->k.ctx;
    int rc;

    if ((rc = chunk_scratch(j, c->hidden, err)) < 0)
        return rc;
    woq_parallel(j->n, run_qkv, j);
    return woq_attention(j->d, j->att, j->qkv, windows < left ? windows : left, j->k.ctx,
                         woq_config_window(c, j->b->index), err);
}

static void run_after(void *ctx, size_t i, int thread)
{
    struct job *j = ctx;
    const struct woq_config *c = &j->d->c;
    float *norm = woq_scratch(j->d, thread), *gu = norm + j->k.size * c->hidden;
    size_t t0, n;

    chunk_span(j, i, &t0, &n);
    step_o(j, t0, n, j->att + (t0 - j->token0) * att_width(c));
    step_norm(j, WOQ_ROLE_MLP_NORM, t0, n, norm);
    step_gate_up(j, n, norm, gu, gu);
    step_down(j, t0, n, gu);
}

/* Chunks of a run whose buffers hold `width` floats a token: enough for every thread, then as many
 * as a budget allows; `whole`: of whole windows. */
static size_t run_chunks(const struct job *j, size_t width, size_t budget, bool whole)
{
    const size_t threads = (size_t)j->d->n_threads, unit = whole ? j->k.per_window : 1;
    size_t n = budget / (j->k.size * width * sizeof(float)) / threads * threads;

    n = n < threads ? threads : n > threads * CHUNKS_PER_THREAD ? threads * CHUNKS_PER_THREAD : n;
    return (n + unit - 1) / unit * unit;
}

/* Calls `fn` for run after run over the whole batch. */
static int each_run(struct job *j, size_t n_chunks, size_t per_run,
                    int (*fn)(struct job *, const struct woq_tap *, struct woq_error *),
                    const struct woq_tap *tap, struct woq_error *err)
{
    for (size_t at = 0; at < n_chunks; at += per_run) {
        int rc;

        set_run(j, at, n_chunks - at < per_run ? n_chunks - at : per_run);
        if ((rc = fn(j, tap, err)) < 0)
            return rc;
        if ((rc = atomic_load(&j->rc)) < 0)
            return rc;
    }
    return WOQ_OK;
}

/* ------------------------------------------------------------------ without a tap */

static int all_steps(struct job *j, const struct woq_tap *tap, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    int rc;

    (void)tap;
    if ((rc = run_attention(j, err)) < 0 ||
        (rc = chunk_scratch(j, c->hidden + 2 * c->inter, err)) < 0)
        return rc;
    woq_parallel(j->n, run_after, j);
    return WOQ_OK;
}

static int forward(struct job *j, size_t n, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    const size_t width = woq_qkv_width(c) + att_width(c);
    const size_t per_run = run_chunks(j, width, SIZE_MAX, true);
    const size_t tokens = (per_run < n ? per_run : n) * j->k.size;
    int rc;

    if ((rc = need_floats(&j->d->qkv, tokens, woq_qkv_width(c), &j->qkv, err)) < 0 ||
        (rc = need_floats(&j->d->att, tokens, att_width(c), &j->att, err)) < 0)
        return rc;
    return each_run(j, n, per_run, all_steps, NULL, err);
}

/* ------------------------------------------------------------------ with a tap */

/* Keeps the first failure of the threads. */
static void failed(struct job *j, int rc, const struct woq_error *err)
{
    int none = WOQ_OK;

    if (rc < 0 && atomic_compare_exchange_strong(&j->rc, &none, rc) && j->err)
        *j->err = *err;
}

static void put_rows(struct job *j, size_t t0, size_t n, const float *rows)
{
    struct woq_error err = { 0 };

    failed(j, woq_spill_put(j->d->spill, t0, n, rows, &err), &err);
}

static const float *get_rows(struct job *j, size_t t0, size_t n, int thread)
{
    float *rows = woq_scratch(j->d, thread);
    struct woq_error err = { 0 };

    failed(j, woq_spill_get(j->d->spill, t0, n, rows, &err), &err);
    return rows;
}

static int show(const struct job *j, const struct woq_tap *tap, const char *group, size_t width,
                struct woq_error *err)
{
    int rc = atomic_load(&j->rc);

    for (size_t i = 0; i < j->n && rc >= 0; i++) {
        size_t t0, n;

        chunk_span(j, i, &t0, &n);
        rc = tap->input(tap->ctx, group, j->shown + (t0 - j->token0) * width, n, width, t0, err);
    }
    return rc;
}

static void tap_norm1(void *ctx, size_t i, int thread)
{
    const struct job *j = ctx;
    size_t t0, n;

    (void)thread;
    chunk_span(j, i, &t0, &n);
    step_norm(j, WOQ_ROLE_ATTN_NORM, t0, n, j->shown + (t0 - j->token0) * j->d->c.hidden);
}

static int show_qkv(struct job *j, const struct woq_tap *tap, struct woq_error *err)
{
    woq_parallel(j->n, tap_norm1, j);
    return show(j, tap, "qkv", j->d->c.hidden, err);
}

static void keep_att(void *ctx, size_t i, int thread)
{
    struct job *j = ctx;
    size_t t0, n;

    (void)thread;
    chunk_span(j, i, &t0, &n);
    put_rows(j, t0, n, j->att + (t0 - j->token0) * att_width(&j->d->c));
}

static int show_o(struct job *j, const struct woq_tap *tap, struct woq_error *err)
{
    const int rc = run_attention(j, err);

    if (rc < 0)
        return rc;
    woq_parallel(j->n, keep_att, j);
    return show(j, tap, "o", att_width(&j->d->c), err);
}

static void tap_o(void *ctx, size_t i, int thread)
{
    struct job *j = ctx;
    size_t t0, n;

    chunk_span(j, i, &t0, &n);
    step_o(j, t0, n, get_rows(j, t0, n, thread));
    step_norm(j, WOQ_ROLE_MLP_NORM, t0, n, j->shown + (t0 - j->token0) * j->d->c.hidden);
}

static int show_gateup(struct job *j, const struct woq_tap *tap, struct woq_error *err)
{
    woq_parallel(j->n, tap_o, j);
    return show(j, tap, "gateup", j->d->c.hidden, err);
}

/* The norm again: it costs less than to keep it. */
static void tap_gate_up(void *ctx, size_t i, int thread)
{
    struct job *j = ctx;
    const struct woq_config *c = &j->d->c;
    float *norm = woq_scratch(j->d, thread), *h;
    size_t t0, n;

    chunk_span(j, i, &t0, &n);
    h = j->shown + (t0 - j->token0) * c->inter;
    step_norm(j, WOQ_ROLE_MLP_NORM, t0, n, norm);
    step_gate_up(j, n, norm, norm + j->k.size * c->hidden, h);
    put_rows(j, t0, n, h);
}

static int show_down(struct job *j, const struct woq_tap *tap, struct woq_error *err)
{
    woq_parallel(j->n, tap_gate_up, j);
    return show(j, tap, "down", j->d->c.inter, err);
}

static void tap_down(void *ctx, size_t i, int thread)
{
    struct job *j = ctx;
    size_t t0, n;

    chunk_span(j, i, &t0, &n);
    step_down(j, t0, n, get_rows(j, t0, n, thread));
}

static int finish_down(struct job *j, const struct woq_tap *tap, struct woq_error *err)
{
    (void)tap;
    (void)err;
    woq_parallel(j->n, tap_down, j);
    return WOQ_OK;
}

/* Every token's rows of a group are shown before the group's weights are used. What a group's
 * inputs were made from stays in x; attention and the activated product wait in the spill. */
static int forward_tapped(struct job *j, size_t n, const struct woq_tap *tap, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    const size_t att = att_width(c), qkv = woq_qkv_width(c);
    const struct {
        size_t width, scratch, spill; /* floats per token: buffers, per thread, what waits */
        bool windows;
        int (*fn)(struct job *, const struct woq_tap *, struct woq_error *);
    } steps[] = {
        { c->hidden, 0, 0, false, show_qkv },
        { qkv + att, c->hidden, att, true, show_o },
        { c->hidden, att, 0, false, show_gateup },
        { c->inter, c->hidden + 2 * c->inter, c->inter, false, show_down },
        { c->inter, c->inter, 0, false, finish_down },
    };
    int rc = WOQ_OK;

    if (!j->d->spill)
        rc = woq_spill_open(&j->d->spill, j->d->spill_bytes, err);
    for (size_t i = 0; i < sizeof steps / sizeof *steps && rc >= 0; i++) {
        const size_t per_run = run_chunks(j, steps[i].width, RUN_BYTES, steps[i].windows);
        const size_t tokens = (per_run < n ? per_run : n) * j->k.size;
        const size_t width = steps[i].width - (steps[i].windows ? qkv : 0);

        rc = need_floats(&j->d->shown, tokens, width, &j->shown, err);
        if (rc >= 0 && steps[i].windows)
            rc = need_floats(&j->d->qkv, tokens, qkv, &j->qkv, err);
        if (rc >= 0 && steps[i].spill)
            rc = woq_spill_begin(j->d->spill, j->n_tokens, steps[i].spill * sizeof(float), err);
        if (rc >= 0)
            rc = chunk_scratch(j, steps[i].scratch, err);
        j->att = j->shown;
        if (rc >= 0)
            rc = each_run(j, n, per_run, steps[i].fn, tap, err);
    }
    return rc;
}

void woq_decoder_spill(struct woq_decoder *d, size_t memory_bytes)
{
    d->spill_bytes = memory_bytes;
}

size_t woq_decoder_windows(const struct woq_decoder *d, size_t ctx)
{
    const struct chunks k = chunks_of(ctx ? ctx : 1);
    const size_t n = 2 * (size_t)d->n_threads;

    return k.per_window > 1 ? (n + k.per_window - 1) / k.per_window : n * k.windows_per;
}

int woq_block_forward(struct woq_decoder *d, const struct woq_block *b, float *x, size_t n_windows,
                      size_t ctx, const struct woq_tap *tap, struct woq_error *err)
{
    struct job j = { .d = d, .b = b, .k = chunks_of(ctx ? ctx : 1), .x = x, .err = err };
    size_t n;
    int rc;

    if (!ctx || !n_windows)
        return WOQ_OK;
    if (ctx > d->max_ctx)
        WOQ_BUG("window longer than the decoder was opened for");
    if (d->c.rope_scaling == WOQ_ROPE_DYNAMIC && d->rope_len != ctx &&
        (rc = make_rope(d, ctx, err)) < 0)
        return rc;
    j.n_tokens = n_windows * ctx;
    n = n_chunks(&j.k, n_windows);
    rc = tap ? forward_tapped(&j, n, tap, err) : forward(&j, n, err);
    if (rc == WOQ_OK && atomic_load(&j.bad))
        rc = woq_fail(err, WOQ_EDATA, NULL,
                      "block %zu: an activation became NaN or infinite in its forward", b->index);
    return rc;
}

double woq_forward_flops(const struct woq_config *c, size_t n_windows, size_t ctx,
                         size_t n_logit_rows, size_t n_vocab)
{
    const double h = (double)c->hidden, q = (double)(c->n_heads * c->head_dim);
    const double per_token = 2 * (h * (double)woq_qkv_width(c) + q * h + 3 * h * (double)c->inter);
    const double tokens = (double)n_windows * (double)ctx;

    /* QK^T and PV over the keys that are visible, half of them on average. */
    return (double)c->n_layers * tokens * (per_token + 2 * q * ((double)ctx + 1)) +
           2 * (double)n_logit_rows * h * (double)n_vocab;
}
