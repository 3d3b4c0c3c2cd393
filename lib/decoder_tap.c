/* decoder_tap.c -- a block's forward that shows the input of each group of linears (woq_tap).
 *
 * The tap must have seen every token before the group's weights are used, so each step makes its
 * runs over the whole batch. What a group's inputs were made from stays in x; attention and the
 * activated product of all tokens wait in a spill. Where attention and MLP read the same x, the
 * sum of the former waits until the latter is done too. */
#include "decoder_internal.h"

#include <string.h>

#include <woq/threads.h>

enum { RUN_BYTES = 32 << 20 }; /* buffers of a run, if that is enough for every thread */

enum { ATT, H }; /* spills */

/* Attention is done with where the MLP reads what it was added to. */
static int spill_of_h(const struct woq_run *j)
{
    return woq_has(&j->d->c, WOQ_T_PARALLEL) ? H : ATT;
}

/* Keeps the first failure of the threads. */
static void failed(struct woq_run *j, int rc, const struct woq_error *err)
{
    int none = WOQ_OK;

    if (rc < 0 && atomic_compare_exchange_strong(&j->rc, &none, rc) && j->err)
        *j->err = *err;
}

static void put_rows(struct woq_run *j, int spill, size_t t0, size_t n, const float *rows)
{
    struct woq_error err = { 0 };

    failed(j, woq_spill_put(j->d->spill[spill], t0, n, rows, &err), &err);
}

static void get_rows(struct woq_run *j, int spill, size_t t0, size_t n, float *rows)
{
    struct woq_error err = { 0 };

    failed(j, woq_spill_get(j->d->spill[spill], t0, n, rows, &err), &err);
}

/* The rows of a run in j->shown, chunk by chunk. */
static int show(const struct woq_run *j, const char *group, size_t width, struct woq_error *err)
{
    int rc = atomic_load(&j->rc);

    for (size_t i = 0; i < j->n && rc >= 0; i++) {
        size_t t0, n;

        woq_run_span(j, i, &t0, &n);
        if (j->counts && !(n = j->counts[i]))
            continue;
        rc = j->tap->input(j->tap->ctx, group, j->shown + (t0 - j->token0) * width, n, width, t0,
                           err);
    }
    return rc;
}

void woq_tap_put(struct woq_run *j, size_t t0, size_t n, const float *rows)
{
    put_rows(j, spill_of_h(j), t0, n, rows);
}

void woq_tap_get(struct woq_run *j, size_t t0, size_t n, float *rows)
{
    get_rows(j, spill_of_h(j), t0, n, rows);
}

int woq_tap_spill(struct woq_run *j, size_t width, struct woq_error *err)
{
    return woq_spill_begin(j->d->spill[spill_of_h(j)], j->n_tokens, width * sizeof(float), err);
}

static int end_of(const struct woq_run *j, const char *group, struct woq_error *err)
{
    return j->tap->end ? j->tap->end(j->tap->ctx, group, err) : WOQ_OK;
}

static int run_step(struct woq_run *j, struct woq_error *err)
{
    const int rc = woq_run_scratch(j, j->step->tmp, err);

    if (rc < 0)
        return rc;
    woq_parallel(j->n, j->step->fill, j);
    return j->step->group ? show(j, j->step->group, j->step->width, err) : WOQ_OK;
}

int woq_tap_step(struct woq_run *j, const struct woq_step *s, struct woq_error *err)
{
    const size_t per_run = woq_run_chunks(j, s->width, RUN_BYTES, false);
    const size_t tokens = (per_run < j->n_chunks ? per_run : j->n_chunks) * j->k.size;
    int rc = woq_run_floats(&j->d->shown, tokens, s->width, &j->shown, err);

    j->step = s;
    if (rc >= 0)
        rc = woq_run_each(j, per_run, run_step, err);
    return rc < 0 || !s->group ? rc : end_of(j, s->group, err);
}

/* ------------------------------------------------------------------ attention */

/* Input of a sublayer into dst, copied where it is x itself. */
static void input_rows(const struct woq_run *j, enum woq_role norm, size_t t0, size_t n, float *dst)
{
    const size_t h = j->d->c.hidden;
    const float *in = woq_layer_input(&j->l, norm, j->x + t0 * h, n, dst);

    if (in != dst)
        memcpy(dst, in, n * h * sizeof *dst);
}

static void fill_qkv(void *ctx, size_t i, int thread)
{
    const struct woq_run *j = ctx;
    const size_t h = j->d->c.hidden;
    size_t t0, n;

    (void)thread;
    woq_run_span(j, i, &t0, &n);
    woq_layer_prepare(&j->l, WOQ_ROLE_ATTN_NORM, j->x + t0 * h, n);
    input_rows(j, WOQ_ROLE_ATTN_NORM, t0, n, j->shown + (t0 - j->token0) * h);
}

/* The latent vectors of MLA. The products before them run again: they are small. */
static void fill_latent(const struct woq_run *j, size_t i, int thread, bool kv)
{
    const struct woq_config *c = &j->d->c;
    float *norm = woq_scratch(j->d, thread), *tmp = norm + j->k.size * c->hidden;
    size_t t0, n;

    woq_run_span(j, i, &t0, &n);
    input_rows(j, WOQ_ROLE_ATTN_NORM, t0, n, norm);
    woq_layer_latent(&j->l, norm, n, kv,
                     j->shown + (t0 - j->token0) * (kv ? c->kv_lora : c->q_lora), tmp);
}

static void fill_q_b(void *ctx, size_t i, int thread)
{
    fill_latent(ctx, i, thread, false);
}

static void fill_kv_b(void *ctx, size_t i, int thread)
{
    fill_latent(ctx, i, thread, true);
}

static void keep_att(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    size_t t0, n;

    (void)thread;
    woq_run_span(j, i, &t0, &n);
    put_rows(j, ATT, t0, n, j->att + (t0 - j->token0) * woq_att_width(&j->d->c));
}

static int attend(struct woq_run *j, struct woq_error *err)
{
    const int rc = woq_run_attention(j, err);

    if (rc < 0)
        return rc;
    woq_parallel(j->n, keep_att, j);
    return show(j, "o", woq_att_width(&j->d->c), err);
}

static int tap_attention(struct woq_run *j, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    const size_t qkv = woq_qkv_width(c), att = woq_att_width(c);
    const size_t per_run = woq_run_chunks(j, qkv + att, RUN_BYTES, true);
    const size_t tokens = (per_run < j->n_chunks ? per_run : j->n_chunks) * j->k.size;
    const struct woq_step first = { "qkv", c->hidden, 0, fill_qkv };
    const struct woq_step q_b = { "q_b", c->q_lora, woq_run_attention_tmp(c), fill_q_b };
    const struct woq_step kv_b = { "kv_b", c->kv_lora, woq_run_attention_tmp(c), fill_kv_b };
    int rc;

    if ((rc = woq_tap_step(j, &first, err)) < 0)
        return rc;
    if (c->qkv == WOQ_QKV_MLA && ((c->q_lora && (rc = woq_tap_step(j, &q_b, err)) < 0) ||
                                  (rc = woq_tap_step(j, &kv_b, err)) < 0))
        return rc;
    j->prepared = true;
    if ((rc = woq_run_floats(&j->d->qkv, tokens, qkv, &j->qkv, err)) < 0 ||
        (rc = woq_run_floats(&j->d->shown, tokens, att, &j->shown, err)) < 0 ||
        (rc = woq_spill_begin(j->d->spill[ATT], j->n_tokens, att * sizeof(float), err)) < 0)
        return rc;
    j->att = j->shown;
    rc = woq_run_each(j, per_run, attend, err);
    return rc < 0 ? rc : end_of(j, "o", err);
}

/* x += attention, from the spill; scratch: att | hidden. */
void woq_tap_add_attention(struct woq_run *j, size_t t0, size_t n, float *tmp)
{
    const struct woq_config *c = &j->d->c;

    get_rows(j, ATT, t0, n, tmp);
    woq_layer_output(&j->l, WOQ_ROLE_ATTN_NORM, WOQ_ROLE_O, tmp, woq_att_width(c),
                     j->x + t0 * c->hidden, n, tmp + n * woq_att_width(c));
}

static size_t attention_tmp(const struct woq_config *c)
{
    return woq_att_width(c) + c->hidden;
}

/* ------------------------------------------------------------------ a dense MLP */

static void fill_mlp(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const struct woq_config *c = &j->d->c;
    size_t t0, n;

    woq_run_span(j, i, &t0, &n);
    if (!woq_has(c, WOQ_T_PARALLEL)) {
        woq_tap_add_attention(j, t0, n, woq_scratch(j->d, thread));
        woq_layer_prepare(&j->l, WOQ_ROLE_MLP_NORM, j->x + t0 * c->hidden, n);
    }
    input_rows(j, WOQ_ROLE_MLP_NORM, t0, n, j->shown + (t0 - j->token0) * c->hidden);
}

/* The norm again: it costs less than to keep it. */
static void fill_down(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const struct woq_config *c = &j->d->c;
    float *norm = woq_scratch(j->d, thread), *h;
    size_t t0, n;

    woq_run_span(j, i, &t0, &n);
    h = j->shown + (t0 - j->token0) * c->inter;
    woq_layer_up(&j->l, WOQ_ROLE_GATE, WOQ_ROLE_UP, 0,
                 woq_layer_input(&j->l, WOQ_ROLE_MLP_NORM, j->x + t0 * c->hidden, n, norm), n,
                 c->inter, norm + j->k.size * c->hidden, h);
    woq_tap_put(j, t0, n, h);
}

static void finish(void *ctx, size_t i, int thread)
{
    struct woq_run *j = ctx;
    const struct woq_config *c = &j->d->c;
    float *tmp = woq_scratch(j->d, thread), *x;
    size_t t0, n;

    woq_run_span(j, i, &t0, &n);
    x = j->x + t0 * c->hidden;
    if (woq_has(c, WOQ_T_PARALLEL))
        woq_tap_add_attention(j, t0, n, tmp);
    woq_tap_get(j, t0, n, tmp);
    woq_layer_output(&j->l, WOQ_ROLE_MLP_NORM, WOQ_ROLE_DOWN, tmp, c->inter, x, n,
                     tmp + n * c->inter);
    woq_run_check(j, x, n);
}

static int tap_dense(struct woq_run *j, struct woq_error *err)
{
    const struct woq_config *c = &j->d->c;
    const size_t att = attention_tmp(c), down = c->inter + c->hidden;
    const struct woq_step steps[] = {
        { "gateup", c->hidden, att, fill_mlp },
        { "down", c->inter, c->hidden + woq_layer_up_width(c, c->inter), fill_down },
        { NULL, 1, att > down ? att : down, finish },
    };
    int rc = woq_tap_step(j, &steps[0], err);

    if (rc >= 0)
        rc =
            woq_spill_begin(j->d->spill[spill_of_h(j)], j->n_tokens, c->inter * sizeof(float), err);
    for (size_t i = 1; i < 3 && rc >= 0; i++)
        rc = woq_tap_step(j, &steps[i], err);
    return rc;
}

int woq_run_tapped(struct woq_run *j, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (int i = 0; i < 2 && rc == WOQ_OK; i++)
        if (!j->d->spill[i])
            rc = woq_spill_open(&j->d->spill[i], j->d->spill_bytes, err);
    if (rc == WOQ_OK)
        rc = tap_attention(j, err);
    if (rc < 0)
        return rc;
    return woq_config_has_experts(&j->d->c, j->l.b->index) ? woq_run_tapped_moe(j, err)
                                                           : tap_dense(j, err);
}
