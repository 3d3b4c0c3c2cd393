/* attention.c -- causal attention of windows, with grouped heads and sliding windows
 * (models.md 6.5).
 *
 * An item is (window, kv head, block of queries): the query rows of all heads that share the kv
 * head are stacked, so that QK^T and PV are one sgemm each, over the keys that the block can see
 * only. */
#include "decoder_internal.h"

#include <string.h>

#include <woq/linalg.h>
#include <woq/threads.h>

struct job {
    struct woq_decoder *d;
    const struct woq_layer *l;
    float *att;
    const float *qkv;
    size_t ctx, window; /* window = ctx for full attention */
    size_t heads_per_kv, block, n_blocks;
};

/* Queries per block: about 192 stacked rows feed sgemm well, and fewer waste less above the
 * diagonal. */
static size_t block_of(size_t heads_per_kv)
{
    const size_t n = 192 / heads_per_kv / 32 * 32;

    return n < 32 ? 32 : n > 96 ? 96 : n;
}

static void gather_queries(float *dst, const struct job *j, const float *q, size_t n)
{
    const size_t dim = j->d->c.head_dim, stride = woq_qkv_width(&j->d->c);

    for (size_t r = 0; r < j->heads_per_kv; r++)
        for (size_t i = 0; i < n; i++)
            memcpy(dst + (r * n + i) * dim, q + i * stride + r * dim, dim * sizeof *dst);
}

/* Rows of scores [heads_per_kv][n][keys] for queries first.. and keys key0..; outside a query's
 * view the probability is 0. */
static void softmax_rows(float *s, const struct job *j, size_t head, size_t n, size_t first,
                         size_t key0, size_t keys)
{
    for (size_t row = 0; row < j->heads_per_kv * n; row++) {
        const size_t query = first + row % n;
        const size_t lo = query + 1 > j->window ? query + 1 - j->window - key0 : 0;
        const size_t end = query + 1 - key0;
        float *p = s + row * keys;

        memset(p, 0, lo * sizeof *p);
        woq_layer_softmax(j->l, p + lo, end - lo, head + row / n, query, key0 + lo);
        memset(p + end, 0, (keys - end) * sizeof *p);
    }
}

static void attend(void *ctx, size_t item, int thread)
{
    const struct job *j = ctx;
    const struct woq_config *c = &j->d->c;
    const size_t dim = c->head_dim, v_dim = c->v_dim, stride = woq_qkv_width(c);
    const size_t n_kv = c->n_kv_heads;
    /* Last blocks first: they are the longest. */
    const size_t b = j->n_blocks - 1 - item % j->n_blocks;
    const size_t g = item / j->n_blocks % n_kv, w = item / j->n_blocks / n_kv;
    const size_t first = b * j->block, left = j->ctx - first;
    const size_t n = left < j->block ? left : j->block, rows = n * j->heads_per_kv;
    const size_t key0 = first + 1 > j->window ? first + 1 - j->window : 0;
    const size_t keys = first + n - key0;
    const float *base = j->qkv + w * j->ctx * stride;
    const float *key = base + key0 * stride + (c->n_heads + g) * dim;
    const float *value = base + key0 * stride + (c->n_heads + n_kv) * dim + g * v_dim;
    float *q = woq_scratch(j->d, thread), *s = q + j->heads_per_kv * j->block * dim;
    float *out = j->att + ((w * j->ctx + first) * c->n_heads + g * j->heads_per_kv) * v_dim;

    gather_queries(q, j, base + first * stride + g * j->heads_per_kv * dim, n);
    woq_sgemm(false, true, rows, keys, dim, woq_layer_scale(j->l), q, dim, key, stride, 0, s, keys);
    softmax_rows(s, j, g * j->heads_per_kv, n, first, key0, keys);
    for (size_t r = 0; r < j->heads_per_kv; r++)
        woq_sgemm(false, false, n, v_dim, keys, 1, s + r * n * keys, keys, value, stride, 0,
                  out + r * v_dim, c->n_heads * v_dim);
}

int woq_attention(struct woq_decoder *d, const struct woq_layer *l, float *att, const float *qkv,
                  size_t n_windows, size_t ctx, struct woq_error *err)
{
    const size_t window = woq_config_window(&d->c, l->b->index);
    const size_t share = d->c.n_heads / d->c.n_kv_heads, block = block_of(share);
    struct job j = { .d = d,
                     .l = l,
                     .att = att,
                     .qkv = qkv,
                     .ctx = ctx,
                     .window = window && window < ctx ? window : ctx,
                     .heads_per_kv = share,
                     .block = block,
                     .n_blocks = (ctx + block - 1) / block };
    size_t bytes;
    int rc;

    if (!woq_mul_size(share * block * sizeof(float), ctx + d->c.head_dim, &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    if ((rc = woq_decoder_scratch(d, bytes, err)) < 0)
        return rc;
    woq_parallel(n_windows * d->c.n_kv_heads * j.n_blocks, attend, &j);
    return WOQ_OK;
}
