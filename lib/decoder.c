/* decoder.c -- a block's forward over a batch of windows (models.md 3.2, 6).
 *
 * The batch is cut into chunks of tokens by its shape alone, and goes through in runs of chunks, so
 * that buffers are those of a run. Without a tap, a chunk's linears follow each other while its
 * rows are in the cache: norm + q,k,v; then attention; then o + norm + MLP. With a tap
 * (decoder_tap.c) each step makes its runs over the whole batch. */
#include "decoder_internal.h"

#include <stdlib.h>
#include <string.h>

#include <woq/kernels.h>
#include <woq/linalg.h>
#include <woq/threads.h>

enum {
    CHUNK = 512,           /* tokens: packing a weight costs little beside its products */
    CHUNKS_PER_THREAD = 8, /* of a run: threads wait little at its end */
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
    int rc = WOQ_OK;

    d->rope_len = seq_len;
    if (d->c.n_rot)
        rc = woq_rope_make(&d->rope, &d->c, false, d->max_ctx, seq_len, err);
    if (rc == WOQ_OK && d->c.n_rot && woq_has(&d->c, WOQ_T_LOCAL_ROPE))
        rc = woq_rope_make(&d->local, &d->c, true, d->max_ctx, seq_len, err);
    return rc;
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
    woq_buf_release(&d->counts);
    woq_buf_release(&d->route_weight);
    woq_buf_release(&d->route_expert);
    woq_buf_release(&d->branch);
    woq_buf_release(&d->att);
    woq_buf_release(&d->qkv);
    woq_buf_release(&d->shown);
    woq_buf_release(&d->norm);
    woq_spill_close(d->spill[0]);
    woq_spill_close(d->spill[1]);
    woq_buf_release(&d->rope.table);
    woq_buf_release(&d->local.table);
    free(d);
}

void woq_decoder_serial(struct woq_decoder *d)
{
    for (int t = 1; t < d->n_threads; t++)
        woq_buf_release(&d->scratch[t]);
    d->n_threads = 1;
}

void woq_decoder_spill(struct woq_decoder *d, size_t memory_bytes)
{
    d->spill_bytes = memory_bytes;
}

void woq_decoder_all_experts(struct woq_decoder *d, bool all)
{
    d->all_experts = all;
}

/* ------------------------------------------------------------------ chunks */

static struct woq_chunks chunks_of(size_t ctx)
{
    struct woq_chunks k = { .ctx = ctx, .per_window = 1, .windows_per = 1 };

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

static size_t n_chunks(const struct woq_chunks *k, size_t n_windows)
{
    return (n_windows + k->windows_per - 1) / k->windows_per * k->per_window;
}

void woq_run_span(const struct woq_run *j, size_t i, size_t *t0, size_t *n)
{
    const size_t at = j->chunk0 + i, w = at / j->k.per_window * j->k.windows_per;
    const size_t part = at % j->k.per_window * j->k.size;
    const size_t limit = j->k.per_window > 1 ? (w + 1) * j->k.ctx : j->n_tokens;

    *t0 = w * j->k.ctx + part;
    *n = limit - *t0 < j->k.size ? limit - *t0 : j->k.size;
}

int woq_run_floats(struct woq_buf *buf, size_t n_tokens, size_t width, float **out,
                   struct woq_error *err)
{
    size_t n, bytes;

    if (!woq_mul_size(n_tokens, width, &n) || !woq_mul_size(n, sizeof(float), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    *out = woq_buf_need(buf, bytes, err);
    return *out ? WOQ_OK : WOQ_ENOMEM;
}

int woq_run_scratch(const struct woq_run *j, size_t width, struct woq_error *err)
{
    return woq_decoder_scratch(j->d, j->k.size * width * sizeof(float), err);
}

size_t woq_run_chunks(const struct woq_run *j, size_t width, size_t budget, bool whole)
{
    const size_t threads = (size_t)j->d->n_threads, unit = whole ? j->k.per_window : 1;
    size_t n = budget / (j->k.size * width * sizeof(float)) / threads * threads;

    n = n < threads ? threads : n > threads * CHUNKS_PER_THREAD ? threads * CHUNKS_PER_THREAD : n;
    return (n + unit - 1) / unit * unit;
}

int woq_run_each(struct woq_run *j, size_t per_run, int (*fn)(struct woq_run *, struct woq_error *),
                 struct woq_error *err)
{
    for (size_t at = 0; at < j->n_chunks; at += per_run) {
        size_t unused;
        int rc;

        j->chunk0 = at;
        j->n = j->n_chunks - at < per_run ? j->n_chunks - at : per_run;
        woq_run_span(j, 0, &j->token0, &unused);
        if ((rc = fn(j, err)) < 0)
            return rc;
        if ((rc = atomic_load(&j->rc)) < 0)
            return rc;
    }
    return WOQ_OK;
}

void woq_run_check(struct woq_run *j, const float *x, size_t n)
{
    if (!woq_kernels()->all_finite_f32(x, n * j->d->c.hidden))
        atomic_store(&j->bad, true);
}

/* ------------------------------------------------------------------ steps */

/* In one item of a parallel call: BLAS on one thread. */
static void linear(float *y, size_t ldy, const float *x, size_t n, const float *w,
                   const float *bias, size_t out, size_t in, float alpha, bool add)
{
    const struct woq_kernels *k = woq_kernels();

    woq_sgemm(false, true, n, out, in, alpha, x, in, w, in, add ? 1 : 0, y, ldy);
    for (size_t t = 0; bias && t < n; t++)
        if (alpha == 1)
            k->add_f32(y + t * ldy, bias, out);
        else
            k->axpy_f32(y + t * ldy, bias, out, alpha);
}

static void run_qkv(void *ctx, size_t i, int thread)
{
    const struct woq_run *j = ctx;
    const struct woq_config *c = &j->d->c;
    float *norm = woq_scratch(j->d, thread), *tmp = norm + j->k.size * c->hidden;
    const float *in;
    size_t t0, n;
    float *x;

    woq_run_span(j, i, &t0, &n);
    x = j->x + t0 * c->hidden;
    if (!j->prepared)
        woq_layer_prepare(&j->l, WOQ_ROLE_ATTN_NORM, x, n);
    in = woq_layer_input(&j->l, WOQ_ROLE_ATTN_NORM, x, n, norm);
    woq_layer_qkv(&j->l, in, n, t0, j->k.ctx, j->qkv + (t0 - j->token0) * woq_qkv_width(c), tmp);
}

size_t woq_run_attention_tmp(const struct woq_config *c)
{
    return c->hidden + woq_layer_qkv_tmp(c);
}

int woq_run_attention(struct woq_run *j, struct woq_error *err)
{
    const size_t windows = j->n / j->k.per_window * j->k.windows_per;
    const size_t left = (j->n_tokens - j->token0) / j->k.ctx;
    int rc;

    if ((rc = woq_run_scratch(j, woq_run_attention_tmp(&j->d->c), err)) < 0)
        return rc;
    woq_parallel(j->n, run_qkv, j);
    return woq_attention(j->d, &j->l, j->att, j->qkv, windows < left ? windows : left, j->k.ctx,
                         err);
}

/* Floats a token that run_after uses. */
static size_t after_tmp(const struct woq_run *j)
{
    const struct woq_config *c = &j->d->c;
    const size_t dense = woq_layer_up_width(c, c->inter), moe = c->n_experts ? woq_moe_tmp(c) : 0;

    return c->hidden * (woq_layer_needs_tmp(c) ? 2 : 1) + (dense > moe ? dense : moe);
}

static void run_after(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const struct woq_layer *l = &j->l;
    const struct woq_config *c = &j->d->c;
    const bool parallel = woq_has(c, WOQ_T_PARALLEL);
    float *norm = woq_scratch(j->d, thread), *branch = norm + j->k.size * c->hidden;
    float *gu = woq_layer_needs_tmp(c) ? branch + j->k.size * c->hidden : branch, *x;
    const float *in = NULL;
    size_t t0, n;

    woq_run_span(j, i, &t0, &n);
    x = j->x + t0 * c->hidden;
    if (parallel)
        in = woq_layer_input(l, WOQ_ROLE_MLP_NORM, x, n, norm);
    woq_layer_output(l, WOQ_ROLE_ATTN_NORM, WOQ_ROLE_O,
                     j->att + (t0 - j->token0) * woq_att_width(c), woq_att_width(c), x, n, branch);
    if (!parallel) {
        woq_layer_prepare(l, WOQ_ROLE_MLP_NORM, x, n);
        in = woq_layer_input(l, WOQ_ROLE_MLP_NORM, x, n, norm);
    }
    if (woq_config_has_experts(c, l->b->index)) {
        woq_moe(l, in, n, branch, gu);
        woq_layer_add(l, WOQ_ROLE_MLP_NORM, branch, x, n);
    } else {
        woq_layer_up(l, WOQ_ROLE_GATE, WOQ_ROLE_UP, 0, in, n, c->inter, gu, gu);
        woq_layer_output(l, WOQ_ROLE_MLP_NORM, WOQ_ROLE_DOWN, gu, c->inter, x, n, branch);
    }
    woq_run_check(j, x, n);
}

static int all_steps(struct woq_run *j, struct woq_error *err)
{
    int rc;

    if ((rc = woq_run_attention(j, err)) < 0 || (rc = woq_run_scratch(j, after_tmp(j), err)) < 0)
        return rc;
    woq_parallel(j->n, run_after, j);
    return WOQ_OK;
}

static int forward(struct woq_run *j, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    const size_t width = woq_qkv_width(c) + woq_att_width(c);
    const size_t per_run = woq_run_chunks(j, width, SIZE_MAX, true);
    const size_t tokens = (per_run < j->n_chunks ? per_run : j->n_chunks) * j->k.size;
    int rc;

    if ((rc = woq_run_floats(&j->d->qkv, tokens, woq_qkv_width(c), &j->qkv, err)) < 0 ||
        (rc = woq_run_floats(&j->d->att, tokens, woq_att_width(c), &j->att, err)) < 0)
        return rc;
    return woq_run_each(j, per_run, all_steps, err);
}

size_t woq_decoder_windows(const struct woq_decoder *d, size_t ctx)
{
    const struct woq_chunks k = chunks_of(ctx ? ctx : 1);
    const size_t n = 2 * (size_t)d->n_threads;

    return k.per_window > 1 ? (n + k.per_window - 1) / k.per_window : n * k.windows_per;
}

int woq_block_forward(struct woq_decoder *d, const struct woq_block *b, float *x, size_t n_windows,
                      size_t ctx, const struct woq_tap *tap, struct woq_error *err)
{
    struct woq_run j = { .d = d, .k = chunks_of(ctx ? ctx : 1), .tap = tap, .x = x, .err = err };
    int rc;

    if (!ctx || !n_windows)
        return WOQ_OK;
    if (ctx > d->max_ctx)
        WOQ_BUG("window longer than the decoder was opened for");
    if (woq_rope_depends(&d->c) && d->rope_len != ctx && (rc = make_rope(d, ctx, err)) < 0)
        return rc;
    j.l = (struct woq_layer){ .c = &d->c, .b = b, .linear = linear };
    j.l.rope = woq_rope_of(&d->c, b->index, &d->rope, &d->local);
    j.n_tokens = n_windows * ctx;
    j.n_chunks = n_chunks(&j.k, n_windows);
    rc = tap ? woq_run_tapped(&j, err) : forward(&j, err);
    if (rc == WOQ_OK && atomic_load(&j.bad))
        rc = woq_fail(err, WOQ_EDATA, NULL,
                      "block %zu: an activation became NaN or infinite in its forward", b->index);
    return rc;
}

/* Multiplications of a token by the block's linears; of experts those that it is routed to. */
static double weights_per_token(const struct woq_config *c, size_t block)
{
    struct woq_place p = { .role = WOQ_ROLE_ATTN_NORM, .block = (long)block };
    double sum = 0;

    for (; p.role <= WOQ_ROLE_MLP_POST_NORM; p.role++) {
        uint64_t shape[2];
        unsigned n_dims;

        if (!woq_config_shape(c, &p, &n_dims, shape) || n_dims < 2 || woq_role_is_norm(p.role))
            continue;
        sum += (double)shape[0] * (double)shape[1] *
               (woq_role_is_expert(p.role) ? (double)c->n_used : 1);
    }
    return sum;
}

double woq_forward_flops(const struct woq_config *c, size_t n_windows, size_t ctx,
                         size_t n_logit_rows, size_t n_vocab)
{
    const double tokens = (double)n_windows * (double)ctx;
    const double both = (double)c->n_heads * (double)(c->head_dim + c->v_dim);
    double sum = 2 * (double)n_logit_rows * (double)c->embed_dim * (double)n_vocab;

    /* QK^T and PV over the keys that are visible, half of them on average. */
    for (size_t l = 0; l < c->n_layers; l++)
        sum += tokens * (2 * weights_per_token(c, l) + both * ((double)ctx + 1));
    return sum;
}
