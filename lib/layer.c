/* layer.c -- the steps of a block on rows of activations (models.md 3.2, 3.3, 6). */
#include "decoder_internal.h"

#include <math.h>
#include <string.h>

#include <woq/dtype.h>
#include <woq/kernels.h>

/* ------------------------------------------------------------------ norms */

/* LayerNorm is RMSNorm of what is left when the mean is gone, plus the bias (6.2, 6.3). */
static void layer_norm(float *dst, const float *x, size_t n, const float *w, const float *bias,
                       float eps)
{
    const struct woq_kernels *k = woq_kernels();
    const float mean = k->sum_f32(x, n) / (float)n;

    for (size_t i = 0; i < n; i++)
        dst[i] = x[i] - mean;
    if (w)
        k->rmsnorm_f32(dst, dst, w, n, eps);
    else
        k->scale_f32(dst, n, 1 / sqrtf(k->dot_f32(dst, dst, n) / (float)n + eps));
    if (bias)
        k->add_f32(dst, bias, n);
}

void woq_norm_rows(float *dst, size_t ld_dst, const float *x, size_t ld_x, size_t n, size_t width,
                   enum woq_norm norm, const float *w, const float *bias, float eps)
{
    for (size_t t = 0; t < n; t++)
        if (norm == WOQ_NORM_LN)
            layer_norm(dst + t * ld_dst, x + t * ld_x, width, w, bias, eps);
        else
            woq_kernels()->rmsnorm_f32(dst + t * ld_dst, x + t * ld_x, w, width, eps);
}

static void norm_by(const struct woq_layer *l, enum woq_role role, float *dst, const float *x,
                    size_t n)
{
    const size_t h = l->c->hidden;

    woq_norm_rows(dst, h, x, h, n, h, l->c->norm, l->b->w[role], l->b->bias[role], l->c->eps);
}

void woq_layer_prepare(const struct woq_layer *l, enum woq_role norm, float *x, size_t n)
{
    if (woq_has(l->c, WOQ_T_NORM_RESIDUAL))
        norm_by(l, norm, x, x, n);
}

const float *woq_layer_input(const struct woq_layer *l, enum woq_role norm, const float *x,
                             size_t n, float *dst)
{
    if (norm == WOQ_ROLE_MLP_NORM && woq_has(l->c, WOQ_T_ONE_NORM))
        norm = WOQ_ROLE_ATTN_NORM;
    if (!l->c->arch->names[norm] || l->c->traits & (WOQ_T_NORM_AFTER | WOQ_T_NORM_RESIDUAL))
        return x;
    norm_by(l, norm, dst, x, n);
    return dst;
}

static enum woq_role post_norm(const struct woq_config *c, enum woq_role norm)
{
    const enum woq_role r =
        norm == WOQ_ROLE_ATTN_NORM ? WOQ_ROLE_ATTN_POST_NORM : WOQ_ROLE_MLP_POST_NORM;

    return c->arch->names[r] ? r : WOQ_ROLE_NONE;
}

bool woq_layer_needs_tmp(const struct woq_config *c)
{
    return c->n_experts || post_norm(c, WOQ_ROLE_ATTN_NORM) != WOQ_ROLE_NONE;
}

void woq_layer_add(const struct woq_layer *l, enum woq_role norm, float *branch, float *x, size_t n)
{
    const enum woq_role post = post_norm(l->c, norm);
    const size_t n_elem = n * l->c->hidden;

    if (post)
        norm_by(l, post, branch, branch, n);
    if (l->c->resid_mul != 1)
        woq_kernels()->scale_f32(branch, n_elem, l->c->resid_mul);
    woq_kernels()->add_f32(x, branch, n_elem);
    if (woq_has(l->c, WOQ_T_NORM_AFTER))
        norm_by(l, norm, x, x, n);
}

void woq_layer_output(const struct woq_layer *l, enum woq_role norm, enum woq_role role,
                      const float *y, size_t in, float *x, size_t n, float *tmp)
{
    const struct woq_config *c = l->c;
    const bool post = post_norm(c, norm) != WOQ_ROLE_NONE;
    float *dst = post ? tmp : x;

    l->linear(dst, c->hidden, y, n, l->b->w[role], l->b->bias[role], c->hidden, in,
              post ? 1 : c->resid_mul, !post);
    if (post)
        woq_layer_add(l, norm, tmp, x, n);
    else if (woq_has(c, WOQ_T_NORM_AFTER))
        norm_by(l, norm, x, x, n);
}

/* ------------------------------------------------------------------ linears */

/* Linears of one input whose outputs lie side by side; neighbours in memory are one product. */
static void side_by_side(const struct woq_layer *l, const enum woq_role *roles, const size_t *outs,
                         size_t n_roles, const float *x, size_t n, size_t in, float *y, size_t ldy)
{
    const struct woq_block *b = l->b;
    size_t col = 0;

    for (size_t i = 0; i < n_roles;) {
        const float *w = b->w[roles[i]], *bias = b->bias[roles[i]];
        size_t out = outs[i], end = i + 1;

        for (; end < n_roles && b->w[roles[end]] == w + out * in &&
               b->bias[roles[end]] == (bias ? bias + out : NULL);
             end++)
            out += outs[end];
        l->linear(y + col, ldy, x, n, w, bias, out, in, 1, false);
        col += out;
        i = end;
    }
}

size_t woq_layer_up_width(const struct woq_config *c, size_t inter)
{
    return woq_has(c, WOQ_T_GATED) ? 2 * inter : inter;
}

void woq_layer_up(const struct woq_layer *l, enum woq_role gate, enum woq_role up, size_t expert,
                  const float *in, size_t n, size_t inter, float *gu, float *h)
{
    const struct woq_config *c = l->c;
    const enum woq_role roles[] = { gate, up };
    const size_t outs[] = { inter, inter };
    struct woq_block one;
    struct woq_layer of = *l;

    if (expert) { /* pointers of its own */
        for (size_t i = 0; i < 2; i++) {
            const float *bias = l->b->bias[roles[i]];

            one.w[roles[i]] = l->b->w[roles[i]] + expert * woq_block_stride(c, roles[i], false);
            one.bias[roles[i]] = bias ? bias + expert * woq_block_stride(c, roles[i], true) : NULL;
        }
        of.b = &one;
    }
    if (!woq_has(c, WOQ_T_GATED)) {
        l->linear(h, inter, in, n, l->b->w[up], l->b->bias[up], inter, c->hidden, 1, false);
        woq_plain_act(c->act, h, n * inter);
        return;
    }
    side_by_side(&of, roles, outs, 2, in, n, c->hidden, gu, 2 * inter);
    for (size_t t = 0; t < n; t++)
        woq_gated_act(c->act, h + t * inter, gu + t * 2 * inter, gu + t * 2 * inter + inter, inter);
}

/* ------------------------------------------------------------------ q, k, v */

/* `heads` heads of a row. */
static void head_norms(const struct woq_layer *l, enum woq_role role, float *row, size_t heads)
{
    const struct woq_config *c = l->c;
    const float *w = l->b->w[role], *bias = l->b->bias[role];
    const size_t dim = c->arch->qk_norm == WOQ_QK_WHOLE ? heads * c->head_dim : c->head_dim;
    const size_t step = c->arch->qk_norm == WOQ_QK_PER_HEAD ? dim : 0;

    for (size_t i = 0; i * dim < heads * c->head_dim; i++)
        woq_norm_rows(row + i * dim, dim, row + i * dim, dim, 1, dim, c->norm, w + i * step, bias,
                      c->eps);
}

/* Norms, clip and rope of rows that hold [q | k | v]. */
static void finish_qkv(const struct woq_layer *l, float *qkv, size_t n, size_t p0, size_t ctx)
{
    const struct woq_config *c = l->c;
    const size_t width = woq_qkv_width(c);

    for (size_t t = 0; t < n; t++) {
        float *row = qkv + t * width;

        if (woq_has(c, WOQ_T_QK_NORM)) {
            head_norms(l, WOQ_ROLE_Q_NORM, row, c->n_heads);
            head_norms(l, WOQ_ROLE_K_NORM, row + c->n_heads * c->head_dim, c->n_kv_heads);
        }
        for (size_t i = 0; c->clip_qkv > 0 && i < width; i++)
            row[i] = fminf(fmaxf(row[i], -c->clip_qkv), c->clip_qkv);
        if (l->rope)
            woq_rope_row(l->rope, c, row, (p0 + t) % ctx);
    }
}

/* Latent vectors have norms with an eps of their own (models.md 3.3). */
static const float latent_eps = 1e-6f;

void woq_layer_latent(const struct woq_layer *l, const float *in, size_t n, bool kv, float *dst,
                      float *tmp)
{
    const struct woq_config *c = l->c;
    const enum woq_role role = kv ? WOQ_ROLE_KV_A : WOQ_ROLE_Q_A;
    const enum woq_role norm = kv ? WOQ_ROLE_KV_A_NORM : WOQ_ROLE_Q_A_NORM;
    const size_t width = kv ? c->kv_lora : c->q_lora, out = kv ? c->kv_lora + c->n_rot : c->q_lora;

    l->linear(tmp, out, in, n, l->b->w[role], l->b->bias[role], out, c->hidden, 1, false);
    woq_norm_rows(dst, width, tmp, out, n, width, WOQ_NORM_RMS, l->b->w[norm], NULL, latent_eps);
}

/* Floats a token: the larger latent row, its norm, and what kv_b makes of it. */
size_t woq_layer_qkv_tmp(const struct woq_config *c)
{
    if (c->qkv != WOQ_QKV_MLA)
        return 0;
    return c->q_lora + 2 * (c->kv_lora + c->n_rot) +
           c->n_heads * (c->head_dim - c->n_rot + c->v_dim) + c->q_lora;
}

static void latent_qkv(const struct woq_layer *l, const float *in, size_t n, float *qkv, float *tmp)
{
    const struct woq_config *c = l->c;
    const size_t heads = c->n_heads, dim = c->head_dim, nope = dim - c->n_rot;
    const size_t width = woq_qkv_width(c), kv_a = c->kv_lora + c->n_rot, each = nope + c->v_dim;
    float *latent = tmp + n * c->q_lora, *raw = latent + n * kv_a;
    float *kv = raw + n * kv_a;

    if (c->q_lora) {
        woq_layer_latent(l, in, n, false, tmp, kv);
        l->linear(qkv, width, tmp, n, l->b->w[WOQ_ROLE_Q_B], NULL, heads * dim, c->q_lora, 1,
                  false);
    } else {
        l->linear(qkv, width, in, n, l->b->w[WOQ_ROLE_Q], NULL, heads * dim, c->hidden, 1, false);
    }
    woq_layer_latent(l, in, n, true, latent, raw);
    l->linear(kv, heads * each, latent, n, l->b->w[WOQ_ROLE_KV_B], NULL, heads * each, c->kv_lora,
              1, false);
    for (size_t t = 0; t < n; t++)
        for (size_t a = 0; a < heads; a++) {
            const float *from = kv + (t * heads + a) * each;
            float *key = qkv + t * width + (heads + a) * dim;

            memcpy(key, from, nope * sizeof *key);
            memcpy(key + nope, raw + t * kv_a + c->kv_lora, c->n_rot * sizeof *key);
            memcpy(qkv + t * width + 2 * heads * dim + a * c->v_dim, from + nope,
                   c->v_dim * sizeof *key);
        }
}

void woq_layer_qkv(const struct woq_layer *l, const float *in, size_t n, size_t p0, size_t ctx,
                   float *qkv, float *tmp)
{
    static const enum woq_role roles[] = { WOQ_ROLE_Q, WOQ_ROLE_K, WOQ_ROLE_V };
    const struct woq_config *c = l->c;
    const size_t kv = c->n_kv_heads * c->head_dim;
    const size_t outs[] = { c->n_heads * c->head_dim, kv, kv };

    if (c->qkv == WOQ_QKV_MLA)
        latent_qkv(l, in, n, qkv, tmp);
    else
        side_by_side(l, roles, outs, 3, in, n, c->hidden, qkv, woq_qkv_width(c));
    finish_qkv(l, qkv, n, p0, ctx);
}

/* ------------------------------------------------------------------ scores */

float woq_layer_scale(const struct woq_layer *l)
{
    return woq_has(l->c, WOQ_T_SCALE_BY_LAYER) ? l->c->attn_scale / (float)(l->b->index + 1)
                                               : l->c->attn_scale;
}

static float as_bf16(float x)
{
    uint16_t narrow;

    woq_from_f32(&narrow, WOQ_BF16, &x, 1);
    woq_to_f32(&x, &narrow, WOQ_BF16, 1);
    return x;
}

static void add_alibi(const struct woq_config *c, float *p, size_t n, size_t head, size_t query,
                      size_t first)
{
    float slope = woq_alibi_slope(head, c->n_heads);

    if (!woq_has(c, WOQ_T_ALIBI_BF16)) {
        for (size_t i = 0; i < n; i++)
            p[i] -= slope * (float)(query - first - i);
        return;
    }
    slope = as_bf16(slope);
    for (size_t i = 0; i < n; i++)
        p[i] += as_bf16(slope * (float)(first + i)) * c->attn_scale;
}

void woq_layer_softmax(const struct woq_layer *l, float *p, size_t n, size_t head, size_t query,
                       size_t first)
{
    const struct woq_kernels *k = woq_kernels();
    const struct woq_config *c = l->c;
    const float *sinks = l->b->w[WOQ_ROLE_SINKS];
    float kept = 1;

    for (size_t i = 0; c->attn_softcap > 0 && i < n; i++)
        p[i] = c->attn_softcap * tanhf(p[i] / c->attn_softcap);
    if (woq_has(c, WOQ_T_ALIBI))
        add_alibi(c, p, n, head, query, first);
    /* A sink takes its share of the sum and gives nothing. */
    if (sinks) {
        size_t best;

        kept = 1 / (1 + expf(sinks[head] - k->logsumexp_f32(p, n, &best)));
    }
    k->softmax_f32(p, n);
    if (sinks)
        k->scale_f32(p, n, kept);
}
