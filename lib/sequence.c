/* sequence.c -- one sequence token by token, with a key and value cache: for generation, where
 * every token reads every weight once. Plain dot products over rows: memory decides the speed. */
#include "decoder_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <woq/kernels.h>
#include <woq/threads.h>

enum { ROWS = 32 };

struct woq_sequence {
    struct woq_config c;
    size_t max_tokens, n_seen;
    struct woq_buf rope, cache; /* cache: [block][k or v][token][kv_heads x head_dim] */
    struct woq_buf norm, qkv, att, gu, h, scores;
};

struct rows_job {
    float *y;
    const float *x, *w, *bias;
    size_t n, in, out, ldy;
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
            *y = j->add ? *y + v : v;
        }
}

/* y [n][ldy] (+)= x [n][in] W^T + bias */
static void rows(float *y, size_t ldy, const float *x, size_t n, const float *w, const float *bias,
                 size_t out, size_t in, bool add)
{
    struct rows_job j = {
        .y = y, .x = x, .w = w, .bias = bias, .n = n, .in = in, .out = out, .ldy = ldy, .add = add
    };

    woq_parallel((out + ROWS - 1) / ROWS, rows_item, &j);
}

static float *floats(struct woq_buf *buf, size_t a, size_t b, struct woq_error *err)
{
    size_t n, bytes;

    if (!woq_mul_size(a, b, &n) || !woq_mul_size(n, sizeof(float), &bytes)) {
        woq_fail_nomem(err, SIZE_MAX);
        return NULL;
    }
    return woq_buf_need(buf, bytes, err);
}

int woq_sequence_open(struct woq_sequence **out, const struct woq_config *c, size_t max_tokens,
                      struct woq_error *err)
{
    struct woq_sequence *s = calloc(1, sizeof *s);
    const size_t half = c->n_rot / 2;
    float *rope;

    *out = NULL;
    if (!s)
        return woq_fail_nomem(err, sizeof *s);
    s->c = *c;
    s->max_tokens = max_tokens;
    if (!(rope = floats(&s->rope, max_tokens, 2 * half, err)) ||
        !floats(&s->cache, c->n_layers * 2 * c->n_kv_heads * c->head_dim, max_tokens, err) ||
        !floats(&s->scores, max_tokens, 1, err)) {
        woq_sequence_close(s);
        return WOQ_ENOMEM;
    }
    woq_rope_tables(rope, rope + max_tokens * half, c, max_tokens, max_tokens);
    *out = s;
    return WOQ_OK;
}

void woq_sequence_close(struct woq_sequence *s)
{
    if (!s)
        return;
    woq_buf_release(&s->scores);
    woq_buf_release(&s->h);
    woq_buf_release(&s->gu);
    woq_buf_release(&s->att);
    woq_buf_release(&s->qkv);
    woq_buf_release(&s->norm);
    woq_buf_release(&s->cache);
    woq_buf_release(&s->rope);
    free(s);
}

static void norm_rows(const struct woq_sequence *s, float *dst, const float *x, const float *w,
                      size_t n)
{
    for (size_t t = 0; t < n; t++)
        woq_kernels()->rmsnorm_f32(dst + t * s->c.hidden, x + t * s->c.hidden, w, s->c.hidden,
                                   s->c.eps);
}

static float *cache_of(const struct woq_sequence *s, size_t block, size_t part)
{
    return (float *)s->cache.data +
           (block * 2 + part) * s->max_tokens * s->c.n_kv_heads * s->c.head_dim;
}

/* Rope on q and k of n new tokens, k and v into the cache. */
static void remember(struct woq_sequence *s, size_t block, float *qkv, size_t n)
{
    const struct woq_config *c = &s->c;
    const size_t dim = c->head_dim, kv = c->n_kv_heads * dim, half = c->n_rot / 2;
    const float *cos_table = s->rope.data, *sin_table = cos_table + s->max_tokens * half;

    for (size_t t = 0; t < n; t++) {
        const size_t p = s->n_seen + t;
        float *row = qkv + t * woq_qkv_width(c);

        for (size_t a = 0; a < c->n_heads + c->n_kv_heads; a++)
            woq_kernels()->rope_half_f32(row + a * dim, cos_table + p * half, sin_table + p * half,
                                         c->n_rot);
        memcpy(cache_of(s, block, 0) + p * kv, row + c->n_heads * dim, kv * sizeof *row);
        memcpy(cache_of(s, block, 1) + p * kv, row + c->n_heads * dim + kv, kv * sizeof *row);
    }
}

static void attend(struct woq_sequence *s, size_t block, float *att, const float *qkv, size_t n)
{
    const struct woq_config *c = &s->c;
    const struct woq_kernels *k = woq_kernels();
    const size_t dim = c->head_dim, kv = c->n_kv_heads * dim, share = c->n_heads / c->n_kv_heads;
    const size_t window = woq_config_window(c, block);
    const float scale = 1.0f / sqrtf((float)dim);
    float *p = s->scores.data;

    for (size_t i = 0; i < n * c->n_heads; i++) {
        const size_t t = i / c->n_heads, a = i % c->n_heads, seen = s->n_seen + t + 1;
        const size_t lo = window && seen > window ? seen - window : 0;
        const float *q = qkv + t * woq_qkv_width(c) + a * dim;
        const float *key = cache_of(s, block, 0) + a / share * dim;
        const float *value = cache_of(s, block, 1) + a / share * dim;
        float *out = att + i * dim;

        for (size_t y = lo; y < seen; y++)
            p[y] = scale * k->dot_f32(q, key + y * kv, dim);
        k->softmax_f32(p + lo, seen - lo);
        memset(out, 0, dim * sizeof *out);
        for (size_t y = lo; y < seen; y++)
            k->axpy_f32(out, value + y * kv, dim, p[y]);
    }
}

static int need(struct woq_sequence *s, size_t n, struct woq_error *err)
{
    const struct woq_config *c = &s->c;

    return floats(&s->norm, n, c->hidden, err) && floats(&s->qkv, n, woq_qkv_width(c), err) &&
                   floats(&s->att, n, c->n_heads * c->head_dim, err) &&
                   floats(&s->gu, n, 2 * c->inter, err) && floats(&s->h, n, c->inter, err)
               ? WOQ_OK
               : WOQ_ENOMEM;
}

static void forward_block(struct woq_sequence *s, const struct woq_block *b, float *x, size_t n)
{
    const struct woq_config *c = &s->c;
    const size_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
    const size_t width = woq_qkv_width(c), hidden = c->hidden, inter = c->inter;
    float *norm = s->norm.data, *qkv = s->qkv.data, *gu = s->gu.data, *h = s->h.data;

    norm_rows(s, norm, x, b->w[WOQ_ROLE_ATTN_NORM], n);
    rows(qkv, width, norm, n, b->w[WOQ_ROLE_Q], b->bias[WOQ_ROLE_Q], q, hidden, false);
    rows(qkv + q, width, norm, n, b->w[WOQ_ROLE_K], b->bias[WOQ_ROLE_K], kv, hidden, false);
    rows(qkv + q + kv, width, norm, n, b->w[WOQ_ROLE_V], b->bias[WOQ_ROLE_V], kv, hidden, false);
    remember(s, b->index, qkv, n);
    attend(s, b->index, s->att.data, qkv, n);
    rows(x, hidden, s->att.data, n, b->w[WOQ_ROLE_O], b->bias[WOQ_ROLE_O], hidden, q, true);
    norm_rows(s, norm, x, b->w[WOQ_ROLE_MLP_NORM], n);
    rows(gu, 2 * inter, norm, n, b->w[WOQ_ROLE_GATE], b->bias[WOQ_ROLE_GATE], inter, hidden, false);
    rows(gu + inter, 2 * inter, norm, n, b->w[WOQ_ROLE_UP], b->bias[WOQ_ROLE_UP], inter, hidden,
         false);
    for (size_t t = 0; t < n; t++)
        woq_gated_act(c->act, h + t * inter, gu + t * 2 * inter, gu + t * 2 * inter + inter, inter);
    rows(x, hidden, h, n, b->w[WOQ_ROLE_DOWN], b->bias[WOQ_ROLE_DOWN], hidden, inter, true);
}

int woq_sequence_forward(struct woq_sequence *s, const struct woq_block *blocks, float *x, size_t n,
                         struct woq_error *err)
{
    int rc;

    if (n > s->max_tokens - s->n_seen)
        WOQ_BUG("more tokens than the sequence was opened for");
    if ((rc = need(s, n, err)) < 0)
        return rc;
    for (size_t l = 0; l < s->c.n_layers; l++) {
        forward_block(s, &blocks[l], x, n);
        if (!woq_kernels()->all_finite_f32(x, n * s->c.hidden))
            return woq_fail(err, WOQ_EDATA, NULL,
                            "block %zu: an activation became NaN or infinite in its forward", l);
    }
    s->n_seen += n;
    return WOQ_OK;
}

int woq_sequence_logits(struct woq_sequence *s, float *logits, const float *x,
                        const struct woq_head *head, struct woq_error *err)
{
    float *norm = floats(&s->norm, 1, s->c.hidden, err);

    if (!norm)
        return WOQ_ENOMEM;
    norm_rows(s, norm, x, head->norm, 1);
    rows(logits, head->n_vocab, norm, 1, head->weight, head->bias, head->n_vocab, s->c.hidden,
         false);
    return woq_kernels()->all_finite_f32(logits, head->n_vocab)
               ? WOQ_OK
               : woq_fail(err, WOQ_EDATA, NULL, "a logit is NaN or infinite");
}
