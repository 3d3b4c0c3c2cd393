/* eval.c -- runs a task through one model, or two, and sums up what was scored (models.md 12). */
#include "eval_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <woq/threads.h>

enum { PIECE = 8192 }; /* scored positions that are gathered at a time */

struct run {
    struct woq_task *task;
    struct woq_progress *progress;
    struct woq_decoder *d;     /* its threads share the work of one batch */
    struct woq_decoder **each; /* [n_threads], where every thread has batches of its own; or NULL */
    struct woq_error *errors;  /* [n_threads] */
    int n_threads;
    float *x; /* [n_tokens][hidden] */
    uint64_t start_ns;
    const char *what;
};

/* Many small batches (LAMBADA: one per length) keep threads busy only side by side. */
static int open_decoders(struct run *r, const struct woq_config *c, struct woq_error *err)
{
    const struct woq_task *t = r->task;
    int rc = woq_decoder_open(&r->d, c, t->max_ctx, err);

    r->n_threads = woq_threads();
    if (rc < 0 || r->n_threads == 1 || t->n_batches < 4 * (size_t)r->n_threads)
        return rc;
    r->each = calloc((size_t)r->n_threads, sizeof(struct woq_decoder *));
    r->errors = calloc((size_t)r->n_threads, sizeof *r->errors);
    if (!r->each || !r->errors)
        return woq_fail_nomem(err, (size_t)r->n_threads * sizeof *r->errors);
    for (int i = 0; i < r->n_threads; i++) {
        if ((rc = woq_decoder_open(&r->each[i], c, t->max_ctx, err)) < 0)
            return rc;
        woq_decoder_serial(r->each[i]);
    }
    return WOQ_OK;
}

static int run_begin(struct woq_lane *l, const struct woq_frame *modl, struct woq_error *err)
{
    struct run *r = l->ctx;
    int rc;

    if ((rc = woq_task_build(r->task, modl, &l->c, err)) < 0)
        return rc;
    r->start_ns = woq_now_ns();
    woq_progress_phase(r->progress, r->what, (uint64_t)l->c.n_layers * r->task->n_tokens,
                       "tokens x blocks");
    return open_decoders(r, &l->c, err);
}

static int run_stem(struct woq_lane *l, struct woq_error *err)
{
    struct run *r = l->ctx;
    size_t n, bytes;
    int rc = WOQ_OK;

    if (!woq_mul_size(r->task->n_tokens, l->c.hidden, &n) ||
        !woq_mul_size(n, sizeof(float), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    if (!(r->x = woq_alloc(bytes, err)))
        return WOQ_ENOMEM;
    for (size_t i = 0; i < r->task->n_batches && rc == WOQ_OK; i++) {
        const struct woq_batch *b = &r->task->batches[i];

        rc = woq_embed(r->x + b->token0 * l->c.hidden, &l->c, &l->embed, &l->outside,
                       r->task->ids + b->token0, b->n_windows * b->ctx, b->ctx, 0, err);
    }
    return rc;
}

static int run_batch(const struct woq_lane *l, struct woq_decoder *d, const struct woq_batch *b,
                     struct woq_error *err)
{
    const struct run *r = l->ctx;

    return woq_block_forward(d, &l->block, r->x + b->token0 * l->c.hidden, b->n_windows, b->ctx,
                             NULL, err);
}

/* Longest first; they are sorted by length. */
static void batch_item(void *ctx, size_t item, int thread)
{
    const struct woq_lane *l = ctx;
    const struct run *r = l->ctx;
    const struct woq_task *t = r->task;

    if (r->errors[thread].status == WOQ_OK)
        run_batch(l, r->each[thread], &t->batches[t->n_batches - 1 - item], &r->errors[thread]);
}

static int run_block(struct woq_lane *l, struct woq_error *err)
{
    struct run *r = l->ctx;
    const struct woq_task *t = r->task;
    const uint64_t before = (uint64_t)l->n_done * t->n_tokens;
    int rc;

    if (r->each)
        woq_parallel(t->n_batches, batch_item, l);
    for (int i = 0; r->each && i < r->n_threads; i++)
        if (r->errors[i].status < 0) {
            *err = r->errors[i];
            return err->status;
        }
    for (size_t i = 0; !r->each && i < t->n_batches; i++)
        if ((rc = run_batch(l, r->d, &t->batches[i], err)) < 0)
            return rc;
    woq_progress_step(r->progress, before + t->n_tokens, NULL);
    return WOQ_OK;
}

static void lane_init(struct woq_lane *l, struct run *r, struct woq_task *t,
                      const struct woq_frames *src, const char *what)
{
    memset(l, 0, sizeof *l);
    memset(r, 0, sizeof *r);
    r->task = t;
    r->progress = t->opts->progress;
    r->what = what;
    l->src = src;
    l->begin = run_begin;
    l->stem = run_stem;
    l->each = run_block;
    l->ctx = r;
}

static void lane_close(struct woq_lane *l, struct run *r)
{
    for (int i = 0; r->each && i < r->n_threads; i++)
        woq_decoder_close(r->each[i]);
    free(r->each);
    free(r->errors);
    woq_decoder_close(r->d);
    free(r->x);
    woq_lane_release(l);
}

static void gather(float *dst, const struct woq_lane *l, size_t row0, size_t n)
{
    const struct run *r = l->ctx;
    const size_t hidden = l->c.hidden;

    for (size_t i = 0; i < n; i++)
        memcpy(dst + i * hidden, r->x + r->task->rows[row0 + i] * hidden, hidden * sizeof *dst);
}

/* scores [n_scored]; ref may be NULL. */
static int score(struct woq_score *scores, const struct woq_lane *l, const struct woq_lane *ref,
                 struct woq_error *err)
{
    const struct run *r = l->ctx, *rr = ref ? ref->ctx : NULL;
    const struct woq_task *t = r->task;
    struct woq_buf x = { 0 }, y = { 0 };
    struct woq_reference reference = { .d = ref ? rr->d : NULL, .head = ref ? &ref->head : NULL };
    int rc = WOQ_OK;

    if (!woq_buf_need(&x, PIECE * l->c.hidden * sizeof(float), err) ||
        (ref && !woq_buf_need(&y, PIECE * ref->c.hidden * sizeof(float), err)))
        rc = WOQ_ENOMEM;
    woq_progress_phase(r->progress, "score", t->n_scored, "tokens");
    for (size_t i = 0; i < t->n_scored && rc >= 0; i += PIECE) {
        const size_t n = t->n_scored - i < PIECE ? t->n_scored - i : PIECE;

        gather(x.data, l, i, n);
        if (ref)
            gather(y.data, ref, i, n);
        reference.x = y.data;
        rc = woq_head_score(r->d, scores + i, x.data, t->targets + i, n, &l->head,
                            ref ? &reference : NULL, err);
        woq_progress_step(r->progress, i + n, NULL);
    }
    woq_buf_release(&x);
    woq_buf_release(&y);
    return rc;
}

static int emit_logits(const struct woq_lane *l, const struct woq_logits_sink *sink,
                       struct woq_error *err)
{
    const struct run *r = l->ctx;
    const size_t n_tokens = r->task->n_tokens, piece = 64 * (size_t)woq_threads();
    size_t bytes;
    float *logits;
    int rc;

    if (!woq_mul_size(piece * sizeof(float), l->c.vocab, &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    if (!(logits = woq_alloc(bytes, err)))
        return WOQ_ENOMEM;
    rc = sink->begin(sink->ctx, n_tokens, l->c.vocab, err);
    for (size_t i = 0; i < n_tokens && rc >= 0; i += piece) {
        const size_t n = n_tokens - i < piece ? n_tokens - i : piece;

        rc = woq_head_logits(r->d, logits, r->x + i * l->c.hidden, n, &l->head, err);
        if (rc >= 0)
            rc = sink->rows(sink->ctx, logits, n, err);
    }
    free(logits);
    return rc;
}

/* Mean of n values and the standard error of that mean, in double. */
struct mean {
    double sum, sum2;
    size_t n;
};

static void mean_add(struct mean *m, double x)
{
    m->sum += x;
    m->sum2 += x * x;
    m->n++;
}

static double mean_of(const struct mean *m)
{
    return m->n ? m->sum / (double)m->n : 0;
}

static double mean_error(const struct mean *m)
{
    const double mean = mean_of(m);

    return m->n < 2 ? 0 : sqrt(fmax(m->sum2 / (double)m->n - mean * mean, 0) / (double)(m->n - 1));
}

/* Of windows of equal length the mean of means is the mean over tokens, so both conventions sum the
 * same way and differ in what is scored. */
static void report_perplexity(struct woq_json *out, const struct woq_task *t,
                              const struct woq_score *scores, bool ref)
{
    struct mean m = { 0 };

    for (size_t i = 0; i < t->n_scored; i++)
        mean_add(&m, ref ? scores[i].ref_nll : scores[i].nll);
    if (ref) {
        woq_json_set_num(out, "reference_perplexity", exp(mean_of(&m)));
        return;
    }
    if (t->n_scored) {
        woq_json_set_num(out, "perplexity", exp(mean_of(&m)));
        woq_json_set_num(out, "stderr", exp(mean_of(&m)) * mean_error(&m));
        woq_json_set_num(out, "nll", mean_of(&m));
    }
    woq_json_set_num(out, "tokens", (double)t->n_scored);
    woq_json_set_str(out, "convention",
                     t->opts->convention == WOQ_PPL_LLAMACPP ? "llamacpp" : "gptq");
    woq_json_set_num(out, "ctx", (double)t->ctx);
    woq_json_set_num(out, "windows", (double)t->n_windows);
}

static void report_lambada(struct woq_json *out, const struct woq_task *t,
                           const struct woq_score *scores)
{
    struct mean nll = { 0 }, hit = { 0 };

    for (size_t i = 0, k = 0; i < t->n_docs; i++) {
        bool greedy = true;
        double sum = 0;

        for (; k < t->doc_end[i]; k++) {
            greedy = greedy && scores[k].argmax == t->targets[k];
            sum += scores[k].nll;
        }
        mean_add(&nll, sum);
        mean_add(&hit, greedy);
    }
    woq_json_set_num(out, "accuracy", mean_of(&hit));
    woq_json_set_num(out, "accuracy_stderr", mean_error(&hit));
    woq_json_set_num(out, "perplexity", exp(mean_of(&nll)));
    woq_json_set_num(out, "stderr", exp(mean_of(&nll)) * mean_error(&nll));
    woq_json_set_num(out, "documents", (double)t->n_docs);
    woq_json_set_num(out, "tokens", (double)t->n_scored);
    woq_json_set_str(out, "convention", "lambada");
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Linear between the neighbours in rank, as most tools have it. */
static double quantile(const double *sorted, size_t n, double q)
{
    const double at = q * (double)(n - 1);
    const size_t i = (size_t)at;

    return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

static int report_kl(struct woq_json *out, const struct woq_task *t, const struct woq_score *scores,
                     struct woq_error *err)
{
    double *kl = calloc(t->n_scored + 1, sizeof *kl);
    struct mean m = { 0 }, same = { 0 };

    if (!kl)
        return woq_fail_nomem(err, t->n_scored * sizeof *kl);
    for (size_t i = 0; i < t->n_scored; i++) {
        kl[i] = scores[i].kl;
        mean_add(&m, kl[i]);
        mean_add(&same, scores[i].argmax == scores[i].ref_argmax);
    }
    qsort(kl, t->n_scored, sizeof *kl, by_value);
    if (t->n_scored) {
        woq_json_set_num(out, "kl_mean", mean_of(&m));
        woq_json_set_num(out, "kl_stderr", mean_error(&m));
        woq_json_set_num(out, "kl_median", quantile(kl, t->n_scored, 0.5));
        woq_json_set_num(out, "kl_99", quantile(kl, t->n_scored, 0.99));
        woq_json_set_num(out, "kl_max", kl[t->n_scored - 1]);
        woq_json_set_num(out, "top1_agreement", mean_of(&same));
        report_perplexity(out, t, scores, true);
    }
    free(kl);
    return WOQ_OK;
}

static void report_speed(struct woq_json *out, const struct woq_lane *l)
{
    const struct run *r = l->ctx;
    const struct woq_task *t = r->task;
    const double seconds = (double)(woq_now_ns() - r->start_ns) / 1e9;
    double flops = woq_forward_flops(&l->c, 0, 0, t->n_scored, l->c.vocab);

    for (size_t i = 0; i < t->n_batches; i++)
        flops += woq_forward_flops(&l->c, t->batches[i].n_windows, t->batches[i].ctx, 0, 0);
    woq_json_set_num(out, "tokens_read", (double)t->n_tokens);
    woq_json_set_num(out, "seconds", seconds);
    woq_json_set_num(out, "tokens_per_second", (double)t->n_tokens / seconds);
    woq_json_set_num(out, "gflops", flops / seconds / 1e9);
}

static int report(struct woq_json **result, const struct woq_lane *l,
                  const struct woq_score *scores, struct woq_error *err)
{
    const struct woq_task *t = ((const struct run *)l->ctx)->task;
    struct woq_json *out = woq_json_object();
    int rc = WOQ_OK;

    if (t->n_docs)
        report_lambada(out, t, scores);
    else
        report_perplexity(out, t, scores, false);
    if (t->opts->reference)
        rc = report_kl(out, t, scores, err);
    report_speed(out, l);
    if (l->n_ignored)
        woq_json_set_num(out, "ignored_tensors", (double)l->n_ignored);
    if (rc < 0)
        woq_json_free(out);
    else
        *result = out;
    return rc;
}

/* After both models ran. */
static int conclude(struct woq_lane *l, const struct woq_lane *ref, struct woq_json **result,
                    struct woq_error *err)
{
    const struct run *r = l->ctx;
    const struct woq_task *t = r->task;
    struct woq_score *scores = calloc(t->n_scored + 1, sizeof *scores);
    int rc;

    if (!scores)
        return woq_fail_nomem(err, t->n_scored * sizeof *scores);
    rc = score(scores, l, ref, err);
    if (rc >= 0 && t->opts->logits)
        rc = emit_logits(l, t->opts->logits, err);
    if (rc >= 0)
        rc = report(result, l, scores, err);
    free(scores);
    return rc;
}

int woq_eval(const struct woq_eval_opts *o, const struct woq_frames *model,
             struct woq_json **result, struct woq_error *err)
{
    struct woq_lane lane, ref;
    struct run run, ref_run;
    struct woq_task task;
    int rc = woq_task_open(&task, o, err);

    *result = NULL;
    lane_init(&lane, &run, &task, model, "eval");
    lane_init(&ref, &ref_run, &task, o->reference, "reference");
    if (rc >= 0 && o->reference)
        rc = woq_lane_run(&ref, err);
    /* A block's scratch is not needed while the other model runs. */
    woq_block_release(&ref.block);
    if (rc >= 0)
        rc = woq_lane_run(&lane, err);
    if (rc >= 0)
        rc = conclude(&lane, o->reference ? &ref : NULL, result, err);
    lane_close(&ref, &ref_run);
    lane_close(&lane, &run);
    woq_task_release(&task);
    return rc;
}
