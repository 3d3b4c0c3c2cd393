/* decoder.c -- a block's forward over a batch of windows (models.md 3.2 PRE, 6).
 *
 * The batch is cut into chunks of tokens by its shape alone. Without a tap, windows go through in
 * groups, and a chunk's linears follow each other while its rows are in the cache: norm + q,k,v;
 * then attention; then o + norm + MLP. With a tap each step runs over the whole batch, because the
 * tap must have seen every token before the group's weights are used. */
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
    CHUNKS_PER_THREAD = 8, /* of a group of windows: threads wait little at its end */
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
    woq_buf_release(&d->h);
    woq_buf_release(&d->att);
    woq_buf_release(&d->qkv);
    woq_buf_release(&d->norm);
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

struct job {
    struct woq_decoder *d;
    const struct woq_block *b;
    struct chunks k;
    float *x;
    size_t n_windows, n_tokens;
    float *norm, *qkv, *att, *h; /* of these windows; norm and h per thread without a tap */
    bool whole;                  /* norm and h hold all tokens */
    atomic_bool bad;
};

static size_t n_chunks(const struct job *j)
{
    return (j->n_windows + j->k.windows_per - 1) / j->k.windows_per * j->k.per_window;
}

static void chunk_span(const struct job *j, size_t i, size_t *t0, size_t *n)
{
    const size_t w = i / j->k.per_window * j->k.windows_per;
    const size_t part = i % j->k.per_window * j->k.size;
    const size_t limit = j->k.per_window > 1 ? (w + 1) * j->k.ctx : j->n_tokens;

    *t0 = w * j->k.ctx + part;
    *n = limit - *t0 < j->k.size ? limit - *t0 : j->k.size;
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
    float *y = j->qkv + t0 * width;

    linear(j->b, roles, outs, 3, norm, n, c->hidden, y, width, 0);
    for (size_t t = 0; t < n; t++) {
        const size_t p = (t0 + t) % j->k.ctx;

        for (size_t a = 0; a < c->n_heads + c->n_kv_heads; a++)
            woq_kernels()->rope_half_f32(y + t * width + a * dim, cos_table + p * half,
                                         sin_table + p * half, c->n_rot);
    }
}

static void step_o(const struct job *j, size_t t0, size_t n)
{
    static const enum woq_role role = WOQ_ROLE_O;
    const struct woq_config *c = &j->d->c;
    const size_t in = c->n_heads * c->head_dim;

    linear(j->b, &role, &c->hidden, 1, j->att + t0 * in, n, in, j->x + t0 * c->hidden, c->hidden,
           1);
}

/* gu: scratch [n][2 inter]. */
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

static float *norm_of(const struct job *j, size_t t0, int thread)
{
    return j->whole ? j->norm + t0 * j->d->c.hidden : woq_scratch(j->d, thread);
}

static float *h_of(const struct job *j, size_t t0, int thread)
{
    const struct woq_config *c = &j->d->c;

    return j->whole ? j->h + t0 * c->inter
                    : woq_scratch(j->d, thread) + j->k.size * (c->hidden + 2 * c->inter);
}

static void run_norm1(void *ctx, size_t i, int thread)
{
    const struct job *j = ctx;
    size_t t0, n;

    chunk_span(j, i, &t0, &n);
    step_norm(j, WOQ_ROLE_ATTN_NORM, t0, n, norm_of(j, t0, thread));
}

static void run_qkv(void *ctx, size_t i, int thread)
{
    const struct job *j = ctx;
    size_t t0, n;

    chunk_span(j, i, &t0, &n);
    step_qkv(j, t0, n, norm_of(j, t0, thread));
}

static void run_o_norm2(void *ctx, size_t i, int thread)
{
    const struct job *j = ctx;
    size_t t0, n;

    chunk_span(j, i, &t0, &n);
    step_o(j, t0, n);
    step_norm(j, WOQ_ROLE_MLP_NORM, t0, n, norm_of(j, t0, thread));
}

static void run_gate_up(void *ctx, size_t i, int thread)
{
    const struct job *j = ctx;
    const struct woq_config *c = &j->d->c;
    float *gu = woq_scratch(j->d, thread) + j->k.size * c->hidden;
    size_t t0, n;

    chunk_span(j, i, &t0, &n);
    step_gate_up(j, n, norm_of(j, t0, thread), gu, h_of(j, t0, thread));
}

static void run_down(void *ctx, size_t i, int thread)
{
    struct job *j = ctx;
    size_t t0, n;

    chunk_span(j, i, &t0, &n);
    step_down(j, t0, n, h_of(j, t0, thread));
}

static void run_before(void *ctx, size_t i, int thread)
{
    run_norm1(ctx, i, thread);
    run_qkv(ctx, i, thread);
}

static void run_after(void *ctx, size_t i, int thread)
{
    run_o_norm2(ctx, i, thread);
    run_gate_up(ctx, i, thread);
    run_down(ctx, i, thread);
}

static int chunk_scratch(struct job *j, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;

    return woq_decoder_scratch(j->d, j->k.size * (c->hidden + 3 * c->inter) * sizeof(float), err);
}

/* A job over windows that share qkv and att; scratch is asked for again after attention, which may
 * have exchanged it for a larger one. */
static int forward_group(struct job *j, struct woq_error *err)
{
    const size_t window = woq_config_window(&j->d->c, j->b->index);
    int rc;

    if ((rc = chunk_scratch(j, err)) < 0)
        return rc;
    woq_parallel(n_chunks(j), run_before, j);
    if ((rc = woq_attention(j->d, j->att, j->qkv, j->n_windows, j->k.ctx, window, err)) < 0 ||
        (rc = chunk_scratch(j, err)) < 0)
        return rc;
    woq_parallel(n_chunks(j), run_after, j);
    return WOQ_OK;
}

static int show(const struct job *j, const struct woq_tap *tap, const char *group, const float *x,
                size_t width, struct woq_error *err)
{
    for (size_t i = 0; i < n_chunks(j); i++) {
        size_t t0, n;
        int rc;

        chunk_span(j, i, &t0, &n);
        if ((rc = tap->input(tap->ctx, group, x + t0 * width, n, width, t0, err)) < 0)
            return rc;
    }
    return WOQ_OK;
}

static int forward_tapped(struct job *j, const struct woq_tap *tap, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    const size_t window = woq_config_window(c, j->b->index), n = n_chunks(j);
    int rc;

    woq_parallel(n, run_norm1, j);
    if ((rc = show(j, tap, "qkv", j->norm, c->hidden, err)) < 0)
        return rc;
    woq_parallel(n, run_qkv, j);
    if ((rc = woq_attention(j->d, j->att, j->qkv, j->n_windows, j->k.ctx, window, err)) < 0 ||
        (rc = show(j, tap, "o", j->att, c->n_heads * c->head_dim, err)) < 0)
        return rc;
    woq_parallel(n, run_o_norm2, j);
    if ((rc = show(j, tap, "gateup", j->norm, c->hidden, err)) < 0 ||
        (rc = chunk_scratch(j, err)) < 0)
        return rc;
    woq_parallel(n, run_gate_up, j);
    if ((rc = show(j, tap, "down", j->h, c->inter, err)) < 0)
        return rc;
    woq_parallel(n, run_down, j);
    return WOQ_OK;
}

static float *need(struct woq_buf *buf, size_t n_tokens, size_t width, struct woq_error *err)
{
    size_t n, bytes;

    if (!woq_mul_size(n_tokens, width, &n) || !woq_mul_size(n, sizeof(float), &bytes)) {
        woq_fail_nomem(err, SIZE_MAX);
        return NULL;
    }
    return woq_buf_need(buf, bytes, err);
}

static int prepare(struct job *j, struct woq_error *err)
{
    struct woq_decoder *d = j->d;
    const struct woq_config *c = &d->c;

    j->qkv = need(&d->qkv, j->n_tokens, woq_qkv_width(c), err);
    j->att = need(&d->att, j->n_tokens, c->n_heads * c->head_dim, err);
    if (!j->qkv || !j->att)
        return WOQ_ENOMEM;
    if (!j->whole)
        return WOQ_OK;
    j->norm = need(&d->norm, j->n_tokens, c->hidden, err);
    j->h = need(&d->h, j->n_tokens, c->inter, err);
    return j->norm && j->h ? WOQ_OK : WOQ_ENOMEM;
}

/* Windows that go through together when there is no tap. */
static size_t group_windows(const struct woq_decoder *d, const struct chunks *k, size_t n_windows)
{
    const size_t tokens = (size_t)d->n_threads * CHUNKS_PER_THREAD * k->size;
    size_t n = (tokens + k->ctx - 1) / k->ctx;

    n = (n + k->windows_per - 1) / k->windows_per * k->windows_per;
    return n < n_windows ? n : n_windows;
}

int woq_block_forward(struct woq_decoder *d, const struct woq_block *b, float *x, size_t n_windows,
                      size_t ctx, const struct woq_tap *tap, struct woq_error *err)
{
    struct job j = { .d = d, .b = b, .k = chunks_of(ctx ? ctx : 1), .whole = tap != NULL };
    size_t group;
    int rc;

    if (!ctx || !n_windows)
        return WOQ_OK;
    if (ctx > d->max_ctx)
        WOQ_BUG("window longer than the decoder was opened for");
    if (d->c.rope_scaling == WOQ_ROPE_DYNAMIC && d->rope_len != ctx &&
        (rc = make_rope(d, ctx, err)) < 0)
        return rc;
    group = tap ? n_windows : group_windows(d, &j.k, n_windows);
    for (size_t w = 0; w < n_windows; w += group) {
        j.x = x + w * ctx * d->c.hidden;
        j.n_windows = n_windows - w < group ? n_windows - w : group;
        j.n_tokens = j.n_windows * ctx;
        if ((rc = prepare(&j, err)) < 0 ||
            (rc = tap ? forward_tapped(&j, tap, err) : forward_group(&j, err)) < 0)
            return rc;
    }
    if (atomic_load(&j.bad))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "block %zu: an activation became NaN or infinite in its forward", b->index);
    return WOQ_OK;
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
