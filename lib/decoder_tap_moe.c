/* decoder_tap_moe.c -- the tapped forward of a mixture of experts: each expert is a group of its
 * own, and sees the tokens that are routed to it, or all of them (woq_decoder_all_experts), in
 * which case only those routed to it go on.
 *
 * Beside x a second matrix of all tokens holds the sum of the experts, because every one of them
 * reads the same x. The norm runs again for each: it costs little beside an expert. */
#include "decoder_internal.h"

#include <stdio.h>
#include <string.h>

#include <woq/kernels.h>
#include <woq/threads.h>

/* Scratch of a chunk: norm | gathered rows | out or gate and up | row numbers and weights. */
struct rows {
    float *norm, *rows, *rest, *weight;
    uint32_t *which;
};

static size_t tmp_width(const struct woq_config *c)
{
    const size_t inter = c->expert_inter > c->shared_inter ? c->expert_inter : c->shared_inter;
    const size_t up = woq_layer_up_width(c, inter), att = woq_att_width(c) + c->hidden;
    const size_t rest = (up > c->hidden ? up : c->hidden) + inter + 2 * c->n_experts;

    return 2 * c->hidden + (rest > att ? rest : att) + 2;
}

static struct rows rows_of(const struct woq_run *j, int thread)
{
    const size_t h = j->d->c.hidden;
    struct rows r = { .norm = woq_scratch(j->d, thread) };

    r.rows = r.norm + j->k.size * h;
    r.weight = r.rows + j->k.size * h;
    r.which = (uint32_t *)(void *)(r.weight + j->k.size);
    r.rest = (float *)(void *)(r.which + j->k.size);
    return r;
}

static const float *input(const struct woq_run *j, size_t t0, size_t n, float *norm)
{
    return woq_layer_input(&j->l, WOQ_ROLE_MLP_NORM, j->x + t0 * j->d->c.hidden, n, norm);
}

static struct woq_route route_of(const struct woq_run *j, size_t t0)
{
    const struct woq_config *c = &j->d->c;

    return (struct woq_route){ (uint32_t *)j->d->route_expert.data + t0 * c->n_used,
                               (float *)j->d->route_weight.data + t0 * c->n_used };
}

static float *branch_of(const struct woq_run *j, size_t t0)
{
    return (float *)j->d->branch.data + t0 * j->d->c.hidden;
}

/* The rows of this run's expert: into r->rows; all of them when everybody sees all. */
static size_t expert_rows(const struct woq_run *j, size_t t0, size_t n, const float *in,
                          struct rows *r)
{
    const struct woq_route route = route_of(j, t0);

    return woq_moe_gather(&j->d->c, &route, in, n, j->expert, r->rows, r->which, r->weight);
}

/* ------------------------------------------------------------------ steps */

static void fill_route(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const struct woq_config *c = &j->d->c;
    struct rows r = rows_of(j, thread);
    struct woq_route route;
    size_t t0, n;

    woq_run_span(j, i, &t0, &n);
    woq_tap_add_attention(j, t0, n, r.rest);
    woq_layer_prepare(&j->l, WOQ_ROLE_MLP_NORM, j->x + t0 * c->hidden, n);
    route = route_of(j, t0);
    woq_moe_route(&j->l, input(j, t0, n, r.norm), n, &route, r.rest);
    memset(branch_of(j, t0), 0, n * c->hidden * sizeof(float));
}

static void fill_shared_up(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const size_t h = j->d->c.hidden;
    size_t t0, n;
    const float *in;
    float *dst;

    (void)thread;
    woq_run_span(j, i, &t0, &n);
    dst = j->shown + (t0 - j->token0) * h;
    if ((in = input(j, t0, n, dst)) != dst)
        memcpy(dst, in, n * h * sizeof *dst);
}

static void fill_shared_down(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const size_t inter = j->d->c.shared_inter;
    struct rows r = rows_of(j, thread);
    size_t t0, n;

    woq_run_span(j, i, &t0, &n);
    woq_layer_up(&j->l, WOQ_ROLE_SHARED_GATE, WOQ_ROLE_SHARED_UP, 0, input(j, t0, n, r.norm), n,
                 inter, r.rest, j->shown + (t0 - j->token0) * inter);
    woq_tap_put(j, t0, n, j->shown + (t0 - j->token0) * inter);
}

static void add_shared(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    struct rows r = rows_of(j, thread);
    size_t t0, n;

    woq_run_span(j, i, &t0, &n);
    woq_tap_get(j, t0, n, r.rest);
    woq_moe_shared_down(&j->l, input(j, t0, n, r.norm), r.rest, n, branch_of(j, t0));
}

static void fill_up(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const size_t h = j->d->c.hidden;
    struct rows r = rows_of(j, thread);
    size_t t0, n;
    const float *in;

    woq_run_span(j, i, &t0, &n);
    in = input(j, t0, n, r.norm);
    j->counts[i] = j->d->all_experts ? n : expert_rows(j, t0, n, in, &r);
    memcpy(j->shown + (t0 - j->token0) * h, j->d->all_experts ? in : r.rows,
           j->counts[i] * h * sizeof(float));
}

static void fill_down(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const size_t inter = j->d->c.expert_inter;
    struct rows r = rows_of(j, thread);
    size_t t0, n;
    const float *in;
    float *h;

    woq_run_span(j, i, &t0, &n);
    h = j->shown + (t0 - j->token0) * inter;
    in = input(j, t0, n, r.norm);
    j->counts[i] = j->d->all_experts ? n : expert_rows(j, t0, n, in, &r);
    if (!j->counts[i])
        return;
    woq_layer_up(&j->l, WOQ_ROLE_EXPERT_GATE, WOQ_ROLE_EXPERT_UP, j->expert,
                 j->d->all_experts ? in : r.rows, j->counts[i], inter, r.rest, h);
    woq_tap_put(j, t0, j->counts[i], h);
}

/* The expert's output for the rows that were routed to it, into the sum. */
static void add_expert(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const struct woq_config *c = &j->d->c;
    const size_t inter = c->expert_inter;
    struct rows r = rows_of(j, thread);
    float *h = r.rest, *out = r.norm, *sum;
    size_t t0, n, found;

    woq_run_span(j, i, &t0, &n);
    found = expert_rows(j, t0, n, j->x + t0 * c->hidden, &r);
    if (!found)
        return;
    woq_tap_get(j, t0, j->d->all_experts ? n : found, h);
    for (size_t k = 0; k < found && j->d->all_experts; k++)
        memmove(h + k * inter, h + r.which[k] * inter, inter * sizeof *h);
    woq_moe_down(&j->l, j->expert, h, found, out);
    sum = branch_of(j, t0);
    for (size_t k = 0; k < found; k++)
        woq_kernels()->axpy_f32(sum + r.which[k] * c->hidden, out + k * c->hidden, c->hidden,
                                r.weight[k]);
}

static void finish(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const size_t h = j->d->c.hidden;
    size_t t0, n;

    (void)thread;
    woq_run_span(j, i, &t0, &n);
    woq_layer_add(&j->l, WOQ_ROLE_MLP_NORM, branch_of(j, t0), j->x + t0 * h, n);
    woq_run_check(j, j->x + t0 * h, n);
}

/* ------------------------------------------------------------------ the walk */

static int need_room(struct woq_run *j, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    float *unused;
    int rc;

    if ((rc = woq_run_floats(&j->d->branch, j->n_tokens, c->hidden, &unused, err)) < 0 ||
        (rc = woq_run_floats(&j->d->route_expert, j->n_tokens, c->n_used, &unused, err)) < 0 ||
        (rc = woq_run_floats(&j->d->route_weight, j->n_tokens, c->n_used, &unused, err)) < 0)
        return rc;
    j->counts = woq_buf_need(&j->d->counts, j->n_chunks * sizeof *j->counts, err);
    return j->counts ? WOQ_OK : WOQ_ENOMEM;
}

/* Two groups and the sum of what they make: of the shared expert, or of one. */
static int walk(struct woq_run *j, const struct woq_step steps[3], size_t inter,
                struct woq_error *err)
{
    int rc = woq_tap_spill(j, inter, err);

    for (size_t i = 0; i < 3 && rc >= 0; i++)
        rc = woq_tap_step(j, &steps[i], err);
    return rc;
}

static int tap_shared(struct woq_run *j, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    const size_t tmp = tmp_width(c);
    const struct woq_step steps[] = {
        { "shared.gateup", c->hidden, tmp, fill_shared_up },
        { "shared.down", c->shared_inter, tmp, fill_shared_down },
        { NULL, 1, tmp, add_shared },
    };

    return c->shared_inter ? walk(j, steps, c->shared_inter, err) : WOQ_OK;
}

static int tap_expert(struct woq_run *j, size_t e, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    const size_t tmp = tmp_width(c);
    char up[WOQ_GROUP_NAME], down[WOQ_GROUP_NAME];
    const struct woq_step steps[] = {
        { up, c->hidden, tmp, fill_up },
        { down, c->expert_inter, tmp, fill_down },
        { NULL, 1, tmp, add_expert },
    };

    snprintf(up, sizeof up, "gateup.%zu", e);
    snprintf(down, sizeof down, "down.%zu", e);
    j->expert = e;
    return walk(j, steps, c->expert_inter, err);
}

int woq_run_tapped_moe(struct woq_run *j, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    const struct woq_step route = { NULL, 1, tmp_width(c), fill_route };
    const struct woq_step last = { NULL, 1, 1, finish };
    size_t *counts;
    int rc;

    if ((rc = need_room(j, err)) < 0)
        return rc;
    counts = j->counts;
    j->counts = NULL;
    if ((rc = woq_tap_step(j, &route, err)) < 0 || (rc = tap_shared(j, err)) < 0)
        return rc;
    j->counts = counts;
    for (size_t e = 0; e < c->n_experts && rc >= 0; e++)
        rc = tap_expert(j, e, err);
    return rc < 0 ? rc : woq_tap_step(j, &last, err);
}
