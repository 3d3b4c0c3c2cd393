/* moe.c -- mixtures of experts: which expert takes a token, and their sum (models.md 3.5, 6.8). */
#include "decoder_internal.h"

#include <math.h>
#include <string.h>

#include <woq/kernels.h>

/* ------------------------------------------------------------------ routers */

/* The first of the largest that was not taken; taken ones are -inf. */
static size_t best_of(const float *x, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* Score of a group of experts: its best one, or the sum of its two best. */
static float group_score(const float *x, size_t n, bool two)
{
    float first = -INFINITY, second = -INFINITY;

    for (size_t i = 0; i < n; i++)
        if (x[i] > first) {
            second = first;
            first = x[i];
        } else if (x[i] > second) {
            second = x[i];
        }
    return two && n > 1 ? first + second : first;
}

/* Experts outside the best groups get 0, as transformers has it. */
static void drop_groups(const struct woq_config *c, float *choice)
{
    const size_t n = c->n_experts / c->expert_groups;
    bool keep[WOQ_MAX_BLOCKS * 4] = { false };

    for (size_t k = 0; k < c->top_groups; k++) {
        size_t best = c->expert_groups;
        float top = -INFINITY;

        for (size_t g = 0; g < c->expert_groups; g++) {
            const float s = group_score(choice + g * n, n, woq_has(c, WOQ_T_CORRECTION));

            if (!keep[g] && (best == c->expert_groups || s > top)) {
                best = g;
                top = s;
            }
        }
        keep[best] = true;
    }
    for (size_t g = 0; g < c->expert_groups; g++)
        for (size_t e = g * n; !keep[g] && e < (g + 1) * n; e++)
            choice[e] = 0;
}

/* choice is spent; expert [n_used] in falling order. */
static void top(const struct woq_config *c, float *choice, uint32_t *expert)
{
    for (size_t k = 0; k < c->n_used; k++) {
        expert[k] = (uint32_t)best_of(choice, c->n_experts);
        choice[expert[k]] = -INFINITY;
    }
}

static void renormalise(float *w, size_t n, float extra)
{
    float sum = extra;

    for (size_t i = 0; i < n; i++)
        sum += w[i];
    for (size_t i = 0; i < n; i++)
        w[i] /= sum;
}

/* phimoe: the weight of a pick is the softmax over the logits that are close to the largest. */
static float sparse_pick(const struct woq_config *c, const float *logits, const float *left,
                         uint32_t *expert)
{
    const size_t best = best_of(left, c->n_experts);
    const float max = left[best];
    float sum = 0;

    *expert = (uint32_t)best;
    for (size_t e = 0; e < c->n_experts; e++) {
        const float scale = fmaxf(fabsf(logits[e]), max);

        if (left[e] > -INFINITY && !((max - logits[e]) / scale > 2 * c->router_jitter))
            sum += expf(left[e] - max);
    }
    return 1 / sum;
}

/* One token: logits [n_experts] are spent; spare [n_experts]. */
static void route(const struct woq_layer *l, float *logits, float *spare, uint32_t *expert,
                  float *weight)
{
    const struct woq_config *c = l->c;
    const size_t n = c->n_experts, used = c->n_used;
    const float *correction = l->b->w[WOQ_ROLE_CORRECTION];

    switch (c->arch->router) {
    case WOQ_ROUTER_SPARSE:
        memcpy(spare, logits, n * sizeof *spare);
        for (size_t k = 0; k < used; k++) {
            weight[k] = sparse_pick(c, logits, spare, &expert[k]);
            spare[expert[k]] = -INFINITY;
        }
        return;
    case WOQ_ROUTER_TOPK:
        memcpy(spare, logits, n * sizeof *spare);
        top(c, spare, expert);
        for (size_t k = 0; k < used; k++)
            weight[k] = logits[expert[k]];
        woq_kernels()->softmax_f32(weight, used);
        return;
    case WOQ_ROUTER_SIGMOID:
        for (size_t e = 0; e < n; e++)
            logits[e] = 1 / (1 + expf(-logits[e]));
        break;
    default:
        woq_kernels()->softmax_f32(logits, n);
    }
    for (size_t e = 0; e < n; e++)
        spare[e] = logits[e] + (correction ? correction[e] : 0);
    if (c->expert_groups)
        drop_groups(c, spare);
    top(c, spare, expert);
    for (size_t k = 0; k < used; k++)
        weight[k] = logits[expert[k]];
    if (woq_has(c, WOQ_T_NORM_TOPK))
        renormalise(weight, used, c->arch->router == WOQ_ROUTER_SIGMOID ? 1e-20f : 0);
    for (size_t k = 0; k < used; k++)
        weight[k] *= c->router_scale;
}

void woq_moe_route(const struct woq_layer *l, const float *in, size_t n, struct woq_route *r,
                   float *logits)
{
    const struct woq_config *c = l->c;
    float *spare = logits + n * c->n_experts;

    l->linear(logits, c->n_experts, in, n, l->b->w[WOQ_ROLE_ROUTER], l->b->bias[WOQ_ROLE_ROUTER],
              c->n_experts, c->hidden, 1, false);
    for (size_t t = 0; t < n; t++)
        route(l, logits + t * c->n_experts, spare, r->expert + t * c->n_used,
              r->weight + t * c->n_used);
}

size_t woq_moe_gather(const struct woq_config *c, const struct woq_route *r, const float *in,
                      size_t n, size_t e, float *dst, uint32_t *rows, float *w)
{
    size_t found = 0;

    for (size_t t = 0; t < n; t++)
        for (size_t k = 0; k < c->n_used; k++)
            if (r->expert[t * c->n_used + k] == e) {
                memcpy(dst + found * c->hidden, in + t * c->hidden, c->hidden * sizeof *dst);
                rows[found] = (uint32_t)t;
                w[found++] = r->weight[t * c->n_used + k];
                break;
            }
    return found;
}

/* ------------------------------------------------------------------ the branch */

/* Floats: gathered rows, gate and up, the expert's output, router logits (one row spare), routes,
 * row numbers and weights. */
size_t woq_moe_tmp(const struct woq_config *c)
{
    const size_t inter = c->expert_inter > c->shared_inter ? c->expert_inter : c->shared_inter;

    return 2 * c->hidden + woq_layer_up_width(c, inter) + 2 * c->n_experts + 2 * c->n_used + 2;
}

void woq_moe_shared_down(const struct woq_layer *l, const float *in, const float *h, size_t n,
                         float *y)
{
    const struct woq_config *c = l->c;
    const float *gate = l->b->w[WOQ_ROLE_SHARED_ROUTER];

    l->linear(y, c->hidden, h, n, l->b->w[WOQ_ROLE_SHARED_DOWN], NULL, c->hidden, c->shared_inter,
              1, false);
    for (size_t t = 0; t < n && woq_has(c, WOQ_T_SHARED_GATE); t++) {
        const float s = woq_kernels()->dot_f32(gate, in + t * c->hidden, c->hidden);

        woq_kernels()->scale_f32(y + t * c->hidden, c->hidden, 1 / (1 + expf(-s)));
    }
}

void woq_moe_shared(const struct woq_layer *l, const float *in, size_t n, float *y, float *tmp)
{
    const struct woq_config *c = l->c;

    if (!c->shared_inter) {
        memset(y, 0, n * c->hidden * sizeof *y);
        return;
    }
    woq_layer_up(l, WOQ_ROLE_SHARED_GATE, WOQ_ROLE_SHARED_UP, 0, in, n, c->shared_inter, tmp, tmp);
    woq_moe_shared_down(l, in, tmp, n, y);
}

void woq_moe(const struct woq_layer *l, const float *in, size_t n, float *y, float *tmp)
{
    const struct woq_config *c = l->c;
    const size_t h = c->hidden, inter = c->expert_inter;
    float *rows = tmp, *out = rows + n * h, *weight = out + n * h;
    struct woq_route r = { .expert = (uint32_t *)(void *)(weight + n), .weight = NULL };
    uint32_t *which;
    float *rest;

    r.weight = weight + n + n * c->n_used;
    which = (uint32_t *)(void *)(r.weight + n * c->n_used);
    rest = (float *)(void *)(which + n);
    woq_moe_route(l, in, n, &r, rest);
    woq_moe_shared(l, in, n, y, rest);
    for (size_t e = 0; e < c->n_experts; e++) {
        const size_t found = woq_moe_gather(c, &r, in, n, e, rows, which, weight);

        if (!found)
            continue;
        woq_layer_up(l, WOQ_ROLE_EXPERT_GATE, WOQ_ROLE_EXPERT_UP, e, rows, found, inter, rest,
                     rest);
        woq_moe_down(l, e, rest, found, out);
        for (size_t i = 0; i < found; i++)
            woq_kernels()->axpy_f32(y + which[i] * h, out + i * h, h, weight[i]);
    }
}

void woq_moe_down(const struct woq_layer *l, size_t e, const float *h, size_t n, float *y)
{
    const struct woq_config *c = l->c;
    const float *w = l->b->w[WOQ_ROLE_EXPERT_DOWN], *bias = l->b->bias[WOQ_ROLE_EXPERT_DOWN];

    l->linear(y, c->hidden, h, n, w + e * woq_block_stride(c, WOQ_ROLE_EXPERT_DOWN, false),
              bias ? bias + e * c->hidden : NULL, c->hidden, c->expert_inter, 1, false);
}
