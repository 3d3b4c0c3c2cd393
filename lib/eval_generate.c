/* eval_generate.c -- a greedy continuation with every block in memory. */
#include "eval_internal.h"

#include <stdlib.h>
#include <string.h>

#include <woq/kernels.h>

struct generator {
    const struct woq_generate_opts *opts;
    struct woq_tokenizer *tok;
    struct woq_ids ids;
    size_t n_prompt;
    struct woq_block *blocks;
    uint64_t start_ns;
};

static int begin(struct woq_lane *l, const struct woq_frame *modl, struct woq_error *err)
{
    struct generator *g = l->ctx;
    const char *prompt = g->opts->prompt;
    int rc;

    if ((rc = woq_modl_tokenizer(modl, &g->tok, err)) < 0 ||
        (rc = woq_tokenizer_encode(g->tok, prompt, strlen(prompt), true, &g->ids, err)) < 0)
        return rc;
    g->n_prompt = g->ids.n;
    if (!g->n_prompt)
        return woq_fail(err, WOQ_EUSAGE, "give some words to continue", "the prompt is empty");
    if (!(g->blocks = calloc(l->c.n_layers, sizeof *g->blocks)))
        return woq_fail_nomem(err, l->c.n_layers * sizeof *g->blocks);
    woq_progress_phase(g->opts->progress, "load", l->c.n_layers, "blocks");
    return WOQ_OK;
}

static int stem(struct woq_lane *l, struct woq_error *err)
{
    (void)l;
    (void)err;
    return WOQ_OK;
}

static int keep(struct woq_lane *l, struct woq_error *err)
{
    struct generator *g = l->ctx;

    (void)err;
    g->blocks[l->n_done] = l->block;
    memset(&l->block, 0, sizeof l->block);
    woq_progress_step(g->opts->progress, l->n_done + 1, NULL);
    return WOQ_OK;
}

/* Runs the new tokens and appends the likeliest next one. */
static int step(struct generator *g, struct woq_lane *l, struct woq_sequence *s, float *x,
                float *logits, size_t n_new, struct woq_error *err)
{
    size_t best;
    int rc;

    if ((rc = woq_embed(x, &l->c, &l->embed, &l->outside, g->ids.ids + g->ids.n - n_new, n_new,
                        SIZE_MAX, g->ids.n - n_new, err)) < 0 ||
        (rc = woq_sequence_forward(s, g->blocks, x, n_new, err)) < 0 ||
        (rc = woq_sequence_logits(s, logits, x + (n_new - 1) * l->c.hidden, &l->head, err)) < 0)
        return rc;
    woq_kernels()->logsumexp_f32(logits, l->head.n_vocab, &best);
    return woq_ids_push(&g->ids, (uint32_t)best, err);
}

static int run(struct generator *g, struct woq_lane *l, struct woq_error *err)
{
    const size_t width = g->n_prompt * l->c.hidden;
    struct woq_sequence *s = NULL;
    float *x = NULL, *logits = NULL;
    int rc;

    if ((rc = woq_sequence_open(&s, &l->c, g->n_prompt + g->opts->n_tokens, err)) < 0)
        return rc;
    x = woq_alloc(width * sizeof *x, err);
    logits = x ? woq_alloc(l->head.n_vocab * sizeof *logits, err) : NULL;
    if (!logits)
        rc = WOQ_ENOMEM;
    woq_progress_phase(g->opts->progress, "generate", g->opts->n_tokens, "tokens");
    g->start_ns = woq_now_ns();
    for (size_t i = 0; i < g->opts->n_tokens && rc >= 0; i++) {
        rc = step(g, l, s, x, logits, i ? 1 : g->n_prompt, err);
        if (rc >= 0 && (long)g->ids.ids[g->ids.n - 1] == woq_tokenizer_eos(g->tok))
            break;
        woq_progress_step(g->opts->progress, i + 1, NULL);
    }
    free(logits);
    free(x);
    woq_sequence_close(s);
    return rc;
}

static int report(struct woq_json **result, const struct generator *g, struct woq_error *err)
{
    const size_t n = g->ids.n - g->n_prompt;
    const double seconds = (double)(woq_now_ns() - g->start_ns) / 1e9;
    struct woq_str text = { 0 };
    int rc = woq_tokenizer_decode(g->tok, g->ids.ids + g->n_prompt, n, true, &text, err);

    if (rc >= 0) {
        *result = woq_json_object();
        woq_json_set_str(*result, "prompt", g->opts->prompt);
        woq_json_set_str(*result, "text", text.s ? text.s : "");
        woq_json_set_num(*result, "tokens", (double)n);
        woq_json_set_num(*result, "seconds", seconds);
        woq_json_set_num(*result, "tokens_per_second", (double)n / seconds);
    }
    woq_str_release(&text);
    return rc;
}

int woq_generate(const struct woq_generate_opts *o, const struct woq_frames *model,
                 struct woq_json **result, struct woq_error *err)
{
    struct generator g = { .opts = o };
    struct woq_lane lane = { .src = model, .begin = begin, .stem = stem, .each = keep, .ctx = &g };
    int rc = woq_lane_run(&lane, err);

    *result = NULL;
    if (rc >= 0)
        rc = run(&g, &lane, err);
    if (rc >= 0)
        rc = report(result, &g, err);
    for (size_t l = 0; g.blocks && l < lane.c.n_layers; l++)
        woq_block_release(&g.blocks[l]);
    free(g.blocks);
    woq_ids_release(&g.ids);
    woq_tokenizer_close(g.tok);
    woq_lane_release(&lane);
    return rc;
}
