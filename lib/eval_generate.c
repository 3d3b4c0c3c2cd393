/* eval_generate.c -- a greedy continuation, or the answer in a conversation, with every block in
 * memory. */
#include "eval_internal.h"

#include <stdlib.h>
#include <string.h>

#include <woq/kernels.h>

struct generator {
    const struct woq_generate_opts *opts;
    struct woq_chat_options chat;
    struct woq_str talk;   /* the conversation's JSON, empty without one */
    struct woq_str prompt; /* what is continued */
    struct woq_tokenizer *tok;
    struct woq_ids ids, ends;
    size_t n_prompt;
    /* Of each block what is smaller: its weights as f32, or its frames, from `first` of it to that
     * of the next, which are decoded for each token. */
    struct woq_block *blocks;
    struct woq_frame *frames;
    size_t *first, n_frames, cap_frames;
    uint64_t start_ns;
};

/* ------------------------------------------------------------------ what is continued */
static int take_talk(void *ctx, const char *json, size_t bytes, struct woq_error *err)
{
    struct generator *g = ctx;

    if (g->talk.len)
        return woq_fail(err, WOQ_EDATA, "give each in a file of its own",
                        "a second conversation, want one");
    return woq_str_add(&g->talk, json, bytes) < 0 ? woq_fail_nomem(err, bytes) : WOQ_OK;
}

/* Before a model is read, so that a wrong path fails early. */
static int read_talk(struct generator *g, struct woq_error *err)
{
    const char *ask = g->opts->ask, *path = g->opts->chat_path;
    int rc = path ? woq_chats_each(path, take_talk, g, err) : WOQ_OK;

    if (rc == WOQ_OK && path && !g->talk.len)
        return woq_fail(err, WOQ_EDATA, NULL, "%s: no conversation", path);
    if (ask &&
        (woq_str_addf(&g->talk, "[{\"role\":\"user\",\"content\":") < 0 ||
         woq_json_quote(&g->talk, ask, strlen(ask)) < 0 || woq_str_add(&g->talk, "}]", 2) < 0))
        return woq_fail_nomem(err, strlen(ask));
    return rc;
}

/* Of a conversation special tokens are what the template writes: no BOS besides. */
static int encode(struct generator *g, const struct woq_frame *modl, struct woq_error *err)
{
    const char *text = g->opts->prompt;
    struct woq_chat *chat = NULL;
    int rc;

    if (g->talk.len) {
        if ((rc = woq_modl_chat(modl, &g->tok, &chat, &g->chat, err)) == WOQ_OK &&
            (rc = woq_chat_text(chat, g->talk.s, g->talk.len, &g->prompt, err)) < 0)
            woq_error_at(err, "%s", g->opts->ask ? "--ask" : g->opts->chat_path);
        woq_chat_close(chat);
    } else if ((rc = woq_modl_tokenizer(modl, &g->tok, err)) == WOQ_OK &&
               woq_str_add(&g->prompt, text, strlen(text)) < 0) {
        rc = woq_fail_nomem(err, strlen(text));
    }
    return rc < 0 || !g->prompt.len ? rc
                                    : woq_tokenizer_encode(g->tok, g->prompt.s, g->prompt.len,
                                                           !g->talk.len, &g->ids, err);
}

static int add_end(struct generator *g, const struct woq_json *v, struct woq_error *err)
{
    uint64_t id;

    return woq_json_u64(v, &id) && id <= UINT32_MAX ? woq_ids_push(&g->ends, (uint32_t)id, err)
                                                    : WOQ_OK;
}

/* eos_token_id of one of the model's files: an id or several. */
static int add_ends(struct generator *g, const struct woq_frame *modl, const char *file,
                    struct woq_error *err)
{
    const struct woq_array *a = woq_modl_file(modl, file);
    struct woq_json *config = NULL;
    int rc = a ? woq_json_parse(&config, a->data, a->bytes, err) : WOQ_OK;
    const struct woq_json *said = woq_json_get(config, "eos_token_id");

    if (rc == WOQ_OK)
        rc = add_end(g, said, err);
    woq_json_each(item, said)
    {
        if (rc == WOQ_OK)
            rc = add_end(g, item, err);
    }
    woq_json_free(config);
    return rc < 0 ? woq_error_at(err, "%s", file) : rc;
}

static bool ends(const struct generator *g, uint32_t id)
{
    bool found = (long)id == woq_tokenizer_eos(g->tok);

    for (size_t i = 0; !found && i < g->ends.n; i++)
        found = g->ends.ids[i] == id;
    return found;
}

/* ------------------------------------------------------------------ the model */
static int begin(struct woq_lane *l, const struct woq_frame *modl, struct woq_error *err)
{
    struct generator *g = l->ctx;
    int rc;

    if ((rc = encode(g, modl, err)) < 0 ||
        (rc = add_ends(g, modl, "generation_config.json", err)) < 0 ||
        (rc = add_ends(g, modl, "config.json", err)) < 0)
        return rc;
    g->n_prompt = g->ids.n;
    if (!g->n_prompt)
        return woq_fail(err, WOQ_EUSAGE, "give some words to continue", "the prompt is empty");
    g->blocks = calloc(l->c.n_layers, sizeof *g->blocks);
    g->first = calloc(l->c.n_layers + 1, sizeof *g->first);
    if (!g->blocks || !g->first)
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

static int take(struct woq_lane *l, struct woq_frame *f, struct woq_error *err)
{
    struct generator *g = l->ctx;

    return woq_frames_push(&g->frames, &g->n_frames, &g->cap_frames, f, err);
}

static int keep(struct woq_lane *l, struct woq_error *err)
{
    struct generator *g = l->ctx;
    size_t as_read = 0, decoded = 0;

    (void)err;
    for (size_t i = g->first[l->n_done]; i < g->n_frames; i++)
        for (size_t a = 0; a < g->frames[i].n_arrays; a++)
            as_read += g->frames[i].arrays[a].bytes;
    for (size_t r = 0; r < WOQ_N_ROLES; r++)
        decoded += l->block.bufs[r].cap_bytes + l->block.bias_bufs[r].cap_bytes;
    if (decoded <= as_read) {
        g->blocks[l->n_done] = l->block;
        memset(&l->block, 0, sizeof l->block);
        while (g->n_frames > g->first[l->n_done])
            woq_frame_release(&g->frames[--g->n_frames]);
    }
    g->first[l->n_done + 1] = g->n_frames;
    woq_progress_step(g->opts->progress, l->n_done + 1, NULL);
    return WOQ_OK;
}

/* Weights of a block, until the next call. */
static int decode(const struct woq_block **b, const struct generator *g, struct woq_lane *l,
                  size_t block, struct woq_error *err)
{
    int rc = WOQ_OK;

    *b = &g->blocks[block];
    if (g->first[block] == g->first[block + 1])
        return WOQ_OK;
    *b = &l->block;
    woq_block_clear(&l->block);
    l->block.index = block;
    for (size_t i = g->first[block]; rc == WOQ_OK && i < g->first[block + 1]; i++)
        rc = woq_block_take(&l->block, &l->c, &g->frames[i], err);
    return rc;
}

/* ------------------------------------------------------------------ tokens */
/* Runs the new tokens and appends the likeliest next one. */
static int step(struct generator *g, struct woq_lane *l, struct woq_sequence *s, float *x,
                float *logits, size_t n_new, struct woq_error *err)
{
    size_t best;
    int rc = woq_embed(x, &l->c, &l->embed, &l->outside, g->ids.ids + g->ids.n - n_new, n_new,
                       SIZE_MAX, g->ids.n - n_new, err);

    for (size_t i = 0; rc >= 0 && i < l->c.n_layers; i++) {
        const struct woq_block *b;

        if ((rc = decode(&b, g, l, i, err)) == WOQ_OK)
            rc = woq_sequence_forward(s, b, x, n_new, err);
    }
    if (rc < 0 ||
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
        if (rc >= 0 && ends(g, g->ids.ids[g->ids.n - 1]))
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
    const bool ended = ends(g, g->ids.ids[g->ids.n - 1]);
    const double seconds = (double)(woq_now_ns() - g->start_ns) / 1e9;
    struct woq_str text = { 0 };
    int rc = woq_tokenizer_decode(g->tok, g->ids.ids + g->n_prompt, n - ended, true, &text, err);

    if (rc >= 0) {
        *result = woq_json_object();
        woq_json_set_str(*result, g->talk.len ? "conversation" : "prompt", g->prompt.s);
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
    struct generator g = { .opts = o, .chat = o->chat };
    struct woq_lane lane = {
        .src = model, .begin = begin, .stem = stem, .each = keep, .tensor = take, .ctx = &g
    };
    int rc = read_talk(&g, err);

    *result = NULL;
    g.chat.add_generation_prompt = true;
    if (rc >= 0)
        rc = woq_lane_run(&lane, err);
    if (rc >= 0)
        rc = run(&g, &lane, err);
    if (rc >= 0)
        rc = report(result, &g, err);
    for (size_t l = 0; g.blocks && l < lane.c.n_layers; l++)
        woq_block_release(&g.blocks[l]);
    while (g.n_frames)
        woq_frame_release(&g.frames[--g.n_frames]);
    free(g.frames);
    free(g.first);
    free(g.blocks);
    woq_ids_release(&g.ids);
    woq_ids_release(&g.ends);
    woq_str_release(&g.prompt);
    woq_str_release(&g.talk);
    woq_tokenizer_close(g.tok);
    woq_lane_release(&lane);
    return rc;
}
