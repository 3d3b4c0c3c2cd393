/* sequence.c -- one sequence token by token, with a key and value cache: for generation, where
 * every token reads every weight once. Plain dot products over rows: memory decides the speed. */
#include "decoder_internal.h"

#include <stdlib.h>
#include <string.h>

#include <woq/kernels.h>
#include <woq/threads.h>

enum { ROWS = 32 };

struct woq_sequence {
    struct woq_config c;
    size_t max_tokens, n_seen;
    struct woq_rope rope, local;
    struct woq_buf cache; /* [block][k or v][token][kv_heads x dim] */
    struct woq_buf norm, qkv, att, mlp, branch, scores;
};

struct rows_job {
    float *y;
    const float *x, *w, *bias;
    size_t n, in, out, ldy;
    float alpha;
    bool add;
};

static void rows_item(void *ctx, size_t item, int thread)
{
    const struct rows_job *j = ctx;
    const size_t end = (item + 1) * ROWS < j->out ? (item + 1) * ROWS : j->out;

    (void)thread;
    for (size_t r = item * ROWS; r < end; r++)
        for (size_t t = 0; t < j->n; t++) {
            float *y = &j->y[t * j->ldy + r];
            float v = woq_kernels()->dot_f32(j->w + r * j->in, j->x + t * j->in, j->in);

            if (j->bias)
                v += j->bias[r];
            *y = j->add ? *y + j->alpha * v : j->alpha * v;
        }
}

static void linear(float *y, size_t ldy, const float *x, size_t n, const float *w,
                   const float *bias, size_t out, size_t in, float alpha, bool add)
{
    struct rows_job j = { .y = y,
                          .x = x,
                          .w = w,
                          .bias = bias,
                          .n = n,
                          .in = in,
                          .out = out,
                          .ldy = ldy,
                          .alpha = alpha,
                          .add = add };

    woq_parallel((out + ROWS - 1) / ROWS, rows_item, &j);
}

static float *floats(struct woq_buf *buf, size_t a, size_t b, struct woq_error *err)
{
    float *out;

    return woq_run_floats(buf, a, b, &out, err) == WOQ_OK ? out : NULL;
}

/* Floats of a block's cache: keys, then values. */
static size_t cache_floats(const struct woq_sequence *s)
{
    return s->max_tokens * s->c.n_kv_heads * (s->c.head_dim + s->c.v_dim);
}

int woq_sequence_open(struct woq_sequence **out, const struct woq_config *c, size_t max_tokens,
                      struct woq_error *err)
{
    struct woq_sequence *s = calloc(1, sizeof *s);
    int rc = WOQ_OK;

    *out = NULL;
    if (!s)
        return woq_fail_nomem(err, sizeof *s);
    s->c = *c;
    s->max_tokens = max_tokens;
    if (!floats(&s->cache, c->n_layers, cache_floats(s), err) ||
        !floats(&s->scores, max_tokens, 1, err))
        rc = WOQ_ENOMEM;
    if (rc == WOQ_OK && c->n_rot)
        rc = woq_rope_make(&s->rope, c, false, max_tokens, max_tokens, err);
    if (rc == WOQ_OK && c->n_rot && woq_has(c, WOQ_T_LOCAL_ROPE))
        rc = woq_rope_make(&s->local, c, true, max_tokens, max_tokens, err);
    if (rc < 0) {
        woq_sequence_close(s);
        return rc;
    }
    *out = s;
    return WOQ_OK;
}

void woq_sequence_close(struct woq_sequence *s)
{
    if (!s)
        return;
    woq_buf_release(&s->scores);
    woq_buf_release(&s->branch);
    woq_buf_release(&s->mlp);
    woq_buf_release(&s->att);
    woq_buf_release(&s->qkv);
    woq_buf_release(&s->norm);
    woq_buf_release(&s->cache);
    woq_buf_release(&s->rope.table);
    woq_buf_release(&s->local.table);
    free(s);
}

static float *cache_of(const struct woq_sequence *s, size_t block, bool values)
{
    return (float *)s->cache.data + block * cache_floats(s) +
           (values ? s->max_tokens * s->c.n_kv_heads * s->c.head_dim : 0);
}

/* k and v of n new tokens into the cache. */
static void remember(struct woq_sequence *s, size_t block, const float *qkv, size_t n)
{
    const struct woq_config *c = &s->c;
    const size_t k = c->n_kv_heads * c->head_dim, v = c->n_kv_heads * c->v_dim;

    for (size_t t = 0; t < n; t++) {
        const size_t p = s->n_seen + t;
        const float *row = qkv + t * woq_qkv_width(c) + c->n_heads * c->head_dim;

        memcpy(cache_of(s, block, false) + p * k, row, k * sizeof *row);
        memcpy(cache_of(s, block, true) + p * v, row + k, v * sizeof *row);
    }
}

static void attend(struct woq_sequence *s, const struct woq_layer *l, float *att, const float *qkv,
                   size_t n)
{
    const struct woq_config *c = &s->c;
    const struct woq_kernels *k = woq_kernels();
    const size_t dim = c->head_dim, v_dim = c->v_dim, n_kv = c->n_kv_heads;
    const size_t share = c->n_heads / n_kv, window = woq_config_window(c, l->b->index);
    const float scale = woq_layer_scale(l);
    float *p = s->scores.data;

    for (size_t i = 0; i < n * c->n_heads; i++) {
        const size_t t = i / c->n_heads, a = i % c->n_heads, seen = s->n_seen + t + 1;
        const size_t lo = window && seen > window ? seen - window : 0;
        const float *q = qkv + t * woq_qkv_width(c) + a * dim;
        const float *key = cache_of(s, l->b->index, false) + a / share * dim;
        const float *value = cache_of(s, l->b->index, true) + a / share * v_dim;
        float *out = att + i * v_dim;

        for (size_t y = lo; y < seen; y++)
            p[y] = scale * k->dot_f32(q, key + y * n_kv * dim, dim);
        woq_layer_softmax(l, p + lo, seen - lo, a, seen - 1, lo);
        memset(out, 0, v_dim * sizeof *out);
        for (size_t y = lo; y < seen; y++)
            k->axpy_f32(out, value + y * n_kv * v_dim, v_dim, p[y]);
    }
}

/* Scratch of the MLP or of q, k, v, a token. */
static size_t tmp_width(const struct woq_config *c)
{
    const size_t dense = woq_layer_up_width(c, c->inter), moe = c->n_experts ? woq_moe_tmp(c) : 0;
    const size_t qkv = woq_layer_qkv_tmp(c), n = dense > moe ? dense : moe;

    return n > qkv ? n : qkv;
}

static int need(struct woq_sequence *s, size_t n, struct woq_error *err)
{
    const struct woq_config *c = &s->c;

    return floats(&s->norm, n, c->hidden, err) && floats(&s->qkv, n, woq_qkv_width(c), err) &&
                   floats(&s->att, n, woq_att_width(c), err) &&
                   floats(&s->mlp, n, tmp_width(c), err) && floats(&s->branch, n, c->hidden, err)
               ? WOQ_OK
               : WOQ_ENOMEM;
}

static void forward_block(struct woq_sequence *s, const struct woq_layer *l, float *x, size_t n)
{
    const struct woq_config *c = &s->c;
    const bool parallel = woq_has(c, WOQ_T_PARALLEL);
    float *norm = s->norm.data, *mlp = s->mlp.data, *branch = s->branch.data;
    const float *in;

    woq_layer_prepare(l, WOQ_ROLE_ATTN_NORM, x, n);
    in = woq_layer_input(l, WOQ_ROLE_ATTN_NORM, x, n, norm);
    woq_layer_qkv(l, in, n, s->n_seen, SIZE_MAX, s->qkv.data, mlp);
    remember(s, l->b->index, s->qkv.data, n);
    attend(s, l, s->att.data, s->qkv.data, n);
    if (parallel)
        in = woq_layer_input(l, WOQ_ROLE_MLP_NORM, x, n, norm);
    woq_layer_output(l, WOQ_ROLE_ATTN_NORM, WOQ_ROLE_O, s->att.data, woq_att_width(c), x, n,
                     branch);
    if (!parallel) {
        woq_layer_prepare(l, WOQ_ROLE_MLP_NORM, x, n);
        in = woq_layer_input(l, WOQ_ROLE_MLP_NORM, x, n, norm);
    }
    if (woq_config_has_experts(c, l->b->index)) {
        woq_moe(l, in, n, branch, mlp);
        woq_layer_add(l, WOQ_ROLE_MLP_NORM, branch, x, n);
        return;
    }
    woq_layer_up(l, WOQ_ROLE_GATE, WOQ_ROLE_UP, 0, in, n, c->inter, mlp, mlp);
    woq_layer_output(l, WOQ_ROLE_MLP_NORM, WOQ_ROLE_DOWN, mlp, c->inter, x, n, branch);
}

int woq_sequence_forward(struct woq_sequence *s, const struct woq_block *b, float *x, size_t n,
                         struct woq_error *err)
{
    const struct woq_layer l = { .c = &s->c,
                                 .b = b,
                                 .rope = woq_rope_of(&s->c, b->index, &s->rope, &s->local),
                                 .linear = linear };
    int rc;

    if (n > s->max_tokens - s->n_seen)
        WOQ_BUG("more tokens than the sequence was opened for");
    if ((rc = need(s, n, err)) < 0)
        return rc;
    forward_block(s, &l, x, n);
    if (!woq_kernels()->all_finite_f32(x, n * s->c.hidden))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "block %zu: an activation became NaN or infinite in its forward", b->index);
    s->n_seen += b->index + 1 == s->c.n_layers ? n : 0;
    return WOQ_OK;
}

int woq_sequence_logits(struct woq_sequence *s, float *logits, const float *x,
                        const struct woq_head *head, struct woq_error *err)
{
    float *norm = floats(&s->norm, 1, woq_head_width(&s->c), err);

    if (!norm)
        return WOQ_ENOMEM;
    woq_head_input(norm, &s->c, head, x, 1);
    linear(logits, head->n_vocab, norm, 1, head->weight, NULL, head->n_vocab, s->c.embed_dim,
           s->c.logit_mul, false);
    woq_head_finish(logits, head->n_vocab, &s->c, head, 1, 0, head->n_vocab);
    return woq_kernels()->all_finite_f32(logits, head->n_vocab)
               ? WOQ_OK
               : woq_fail(err, WOQ_EDATA, NULL, "a logit is NaN or infinite");
}
