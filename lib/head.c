/* head.c -- final norm and head: logits, or the scores of single positions (models.md 6.9, 12).
 *
 * Scores need log-sum-exp over a row of logits and little else, so the logits of a chunk of tokens
 * are made in tiles of the vocabulary that stay in the second-level cache, and partial results are
 * joined in double, in the tiles' order. */
#include "decoder_internal.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include <woq/kernels.h>
#include <woq/linalg.h>
#include <woq/threads.h>

enum { TOKENS = 512, TILE = 1024, LOGIT_TOKENS = 128, LOGIT_TILE = 4096 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

void woq_head_init(struct woq_head *h, const struct woq_config *c, const struct woq_block *outside,
                   const float *tied)
{
    const float *own = outside->w[WOQ_ROLE_HEAD];

    *h = (struct woq_head){ .norm = outside->w[WOQ_ROLE_FINAL_NORM],
                            .norm_bias = outside->bias[WOQ_ROLE_FINAL_NORM],
                            .project = outside->w[WOQ_ROLE_PROJECT_OUT],
                            .weight = own ? own : tied,
                            .bias = outside->bias[WOQ_ROLE_HEAD],
                            .n_vocab = c->vocab };
}

size_t woq_head_width(const struct woq_config *c)
{
    return c->embed_dim == c->hidden ? c->hidden : c->embed_dim + c->hidden;
}

void woq_head_input(float *dst, const struct woq_config *c, const struct woq_head *h,
                    const float *x, size_t n)
{
    const size_t hidden = c->hidden;
    float *norm = h->project ? dst + n * c->embed_dim : dst;

    if (woq_has(c, WOQ_T_NO_FINAL_NORM))
        memcpy(norm, x, n * hidden * sizeof *norm);
    else
        woq_norm_rows(norm, hidden, x, hidden, n, hidden, c->norm, h->norm, h->norm_bias, c->eps);
    if (h->project)
        woq_sgemm(false, true, n, c->embed_dim, hidden, 1, norm, hidden, h->project, hidden, 0, dst,
                  c->embed_dim);
}

/* Bias and soft cap. */
void woq_head_finish(float *logits, size_t ld, const struct woq_config *c,
                     const struct woq_head *head, size_t n, size_t v0, size_t m)
{
    const float cap = c->final_softcap;

    for (size_t t = 0; t < n; t++) {
        float *row = logits + t * ld;

        if (head->bias)
            woq_kernels()->axpy_f32(row, head->bias + v0, m, c->logit_mul);
        for (size_t i = 0; cap > 0 && i < m; i++)
            row[i] = cap * tanhf(row[i] / cap);
    }
}

/* logits [n][ld] of vocabulary v0..v0+m-1 from normalised rows. */
static void tile(float *logits, size_t ld, const struct woq_config *c, const struct woq_head *head,
                 const float *norm, size_t n, size_t v0, size_t m)
{
    const size_t width = c->embed_dim;

    woq_sgemm(false, true, n, m, width, c->logit_mul, norm, width, head->weight + v0 * width, width,
              0, logits, ld);
    woq_head_finish(logits, ld, c, head, n, v0, m);
}

struct logits_job {
    struct woq_decoder *d;
    const struct woq_head *head;
    const float *norm;
    float *logits;
    size_t n_tokens, n_tiles;
    atomic_bool bad;
};

static void logits_item(void *ctx, size_t item, int thread)
{
    struct logits_job *j = ctx;
    const size_t t0 = item / j->n_tiles * LOGIT_TOKENS, v0 = item % j->n_tiles * LOGIT_TILE;
    const size_t n = least(LOGIT_TOKENS, j->n_tokens - t0);
    const size_t m = least(LOGIT_TILE, j->head->n_vocab - v0);
    float *out = j->logits + t0 * j->head->n_vocab + v0;

    (void)thread;
    tile(out, j->head->n_vocab, &j->d->c, j->head, j->norm + t0 * j->d->c.embed_dim, n, v0, m);
    for (size_t t = 0; t < n; t++)
        if (!woq_kernels()->all_finite_f32(out + t * j->head->n_vocab, m))
            atomic_store(&j->bad, true);
}

static int fail_logits(struct woq_error *err)
{
    return woq_fail(err, WOQ_EDATA, NULL, "a logit is NaN or infinite");
}

int woq_head_logits(struct woq_decoder *d, float *logits, const float *x, size_t n_tokens,
                    const struct woq_head *head, struct woq_error *err)
{
    struct logits_job j = { .d = d, .head = head, .logits = logits, .n_tokens = n_tokens };
    size_t bytes;
    float *norm;

    if (!woq_mul_size(n_tokens, woq_head_width(&d->c) * sizeof(float), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    if (!(norm = woq_buf_need(&d->norm, bytes, err)))
        return WOQ_ENOMEM;
    woq_head_input(norm, &d->c, head, x, n_tokens);
    j.norm = norm;
    j.n_tiles = (head->n_vocab + LOGIT_TILE - 1) / LOGIT_TILE;
    woq_parallel((n_tokens + LOGIT_TOKENS - 1) / LOGIT_TOKENS * j.n_tiles, logits_item, &j);
    return atomic_load(&j.bad) ? fail_logits(err) : WOQ_OK;
}

/* log-sum-exp so far, and where the largest logit was. */
struct lse {
    double sum; /* log of the sum of exp */
    float max;
    size_t argmax;
    double target;
};

static void lse_add(struct lse *s, const float *logits, size_t n, size_t v0, size_t target)
{
    size_t best;
    const double part = (double)woq_kernels()->logsumexp_f32(logits, n, &best);

    if (v0 == 0 || logits[best] > s->max) {
        s->max = logits[best];
        s->argmax = v0 + best;
    }
    if (v0 == 0)
        s->sum = part;
    else
        s->sum = fmax(s->sum, part) + log1p(exp(-fabs(s->sum - part)));
    if (target >= v0 && target - v0 < n)
        s->target = (double)logits[target - v0];
}

struct score_job {
    struct woq_decoder *d;
    const struct woq_head *head;
    const struct woq_reference *ref;
    const float *x;
    const uint32_t *targets;
    struct woq_score *scores;
    size_t n_tokens;
    atomic_bool bad;
};

/* Scratch of a thread: normalised rows and tiles of both models, running sums. */
struct score_scratch {
    float *norm, *ref_norm, *logits, *ref_logits;
    struct lse *s, *r;
    double *kl; /* sum over tiles seen so far of p (log p - log q), with p normalised over them */
};

static size_t score_layout(struct score_scratch *p, char *base, size_t width, size_t ref_width)
{
    const size_t sizes[] = { TOKENS * width * sizeof(float), TOKENS * ref_width * sizeof(float),
                             TOKENS * TILE * sizeof(float),  TOKENS * TILE * sizeof(float),
                             TOKENS * sizeof(struct lse),    TOKENS * sizeof(struct lse),
                             TOKENS * sizeof(double) };
    size_t at[8] = { 0 };

    for (size_t i = 0; i < 7; i++)
        at[i + 1] = at[i] + woq_align(sizes[i], 64);
    if (base) {
        p->norm = (float *)(void *)(base + at[0]);
        p->ref_norm = (float *)(void *)(base + at[1]);
        p->logits = (float *)(void *)(base + at[2]);
        p->ref_logits = (float *)(void *)(base + at[3]);
        p->s = (struct lse *)(void *)(base + at[4]);
        p->r = (struct lse *)(void *)(base + at[5]);
        p->kl = (double *)(void *)(base + at[6]);
    }
    return at[7];
}

/* One tile of one row. p = softmax of the reference over the tile, a its logits, b ours:
 * the expected a - b over the tile joins the running expectation with the weight of its mass. */
static void kl_add(double *kl, struct lse *r, float *a, float *b, size_t n, size_t v0,
                   size_t target)
{
    const struct woq_kernels *k = woq_kernels();
    const double before = v0 ? r->sum : -(double)INFINITY;
    double part, expected;

    lse_add(r, a, n, v0, target);
    /* Mass of this tile among the tiles so far. */
    part = v0 ? -expm1(before - r->sum) : 1;
    k->scale_f32(b, n, -1);
    k->add_f32(b, a, n);
    k->softmax_f32(a, n);
    expected = (double)k->dot_f32(a, b, n);
    *kl = v0 ? *kl + part * (expected - *kl) : expected;
}

static void score_tiles(struct score_job *j, struct score_scratch *p, size_t t0, size_t n)
{
    for (size_t v0 = 0; v0 < j->head->n_vocab; v0 += TILE) {
        const size_t m = least(TILE, j->head->n_vocab - v0);

        tile(p->logits, m, &j->d->c, j->head, p->norm, n, v0, m);
        if (j->ref)
            tile(p->ref_logits, m, &j->ref->d->c, j->ref->head, p->ref_norm, n, v0, m);
        for (size_t t = 0; t < n; t++) {
            lse_add(&p->s[t], p->logits + t * m, m, v0, j->targets[t0 + t]);
            if (j->ref)
                kl_add(&p->kl[t], &p->r[t], p->ref_logits + t * m, p->logits + t * m, m, v0,
                       j->targets[t0 + t]);
        }
    }
}

static void score_item(void *ctx, size_t item, int thread)
{
    struct score_job *j = ctx;
    const size_t t0 = item * TOKENS, n = least(TOKENS, j->n_tokens - t0);
    const size_t ref_hidden = j->ref ? j->ref->d->c.hidden : 0;
    struct score_scratch p;

    score_layout(&p, (char *)woq_scratch(j->d, thread), woq_head_width(&j->d->c),
                 j->ref ? woq_head_width(&j->ref->d->c) : 0);
    woq_head_input(p.norm, &j->d->c, j->head, j->x + t0 * j->d->c.hidden, n);
    if (j->ref)
        woq_head_input(p.ref_norm, &j->ref->d->c, j->ref->head, j->ref->x + t0 * ref_hidden, n);
    score_tiles(j, &p, t0, n);
    for (size_t t = 0; t < n; t++) {
        struct woq_score *s = &j->scores[t0 + t];

        s->nll = p.s[t].sum - p.s[t].target;
        s->argmax = (uint32_t)p.s[t].argmax;
        if (j->ref) {
            s->ref_nll = p.r[t].sum - p.r[t].target;
            s->ref_argmax = (uint32_t)p.r[t].argmax;
            /* Rounding may leave a tiny negative value where the models agree. */
            s->kl = fmax(p.kl[t] - p.r[t].sum + p.s[t].sum, 0);
        }
        if (!isfinite(s->nll) || (j->ref && !isfinite(p.kl[t] - p.r[t].sum)))
            atomic_store(&j->bad, true);
    }
}

int woq_head_score(struct woq_decoder *d, struct woq_score *scores, const float *x,
                   const uint32_t *targets, size_t n_tokens, const struct woq_head *head,
                   const struct woq_reference *ref, struct woq_error *err)
{
    struct score_job j = { .d = d,
                           .head = head,
                           .ref = ref,
                           .x = x,
                           .targets = targets,
                           .scores = scores,
                           .n_tokens = n_tokens };
    const size_t bytes =
        score_layout(NULL, NULL, woq_head_width(&d->c), ref ? woq_head_width(&ref->d->c) : 0);
    int rc;

    if (ref && ref->head->n_vocab != head->n_vocab)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "the reference has a vocabulary of %zu, this model one of %zu",
                        ref->head->n_vocab, head->n_vocab);
    if ((rc = woq_decoder_scratch(d, bytes, err)) < 0)
        return rc;
    memset(scores, 0, n_tokens * sizeof *scores);
    woq_parallel((n_tokens + TOKENS - 1) / TOKENS, score_item, &j);
    return atomic_load(&j.bad) ? fail_logits(err) : WOQ_OK;
}
