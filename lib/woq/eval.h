/* eval.h -- scores of a model that streams by: perplexity, LAMBADA, KL divergence, logits
 * (models.md 12), and a greedy continuation.
 *
 * All windows go through a block when it arrives, so memory is one block, the activations
 * (tokens x hidden x 4 bytes) and the embedding, which a tied head needs again at the end. */
#ifndef WOQ_EVAL_H
#define WOQ_EVAL_H
#include <woq/chat.h>
#include <woq/frame.h>
#include <woq/progress.h>

/* Where a model's frames come from; `next` as woq_reader_next. Frames that were moved stay valid
 * until the source is closed, after the call. */
struct woq_frames {
    const char *name; /* for messages */
    int (*next)(void *ctx, struct woq_frame **f, struct woq_error *err);
    void *ctx;
};

/* Takes logits row by row: `begin` once with the shape, `rows` in order. */
struct woq_logits_sink {
    int (*begin)(void *ctx, size_t n_rows, size_t n_cols, struct woq_error *err);
    int (*rows)(void *ctx, const float *logits, size_t n_rows, struct woq_error *err);
    void *ctx;
};

enum woq_eval_input {
    WOQ_EVAL_TEXT,     /* the file's text as it is */
    WOQ_EVAL_WIKITEXT, /* rows of a wiki.*.raw file joined by "\n\n" (models.md 12.1) */
    WOQ_EVAL_TOKENS,   /* JSON arrays of ids, or a stream with TOKN frames, joined */
    WOQ_EVAL_LAMBADA,  /* JSON lines {"text": ...}: the last word (12.5) */
};

enum woq_convention { WOQ_PPL_GPTQ, WOQ_PPL_LLAMACPP };

struct woq_eval_opts {
    enum woq_eval_input input;
    const char *path;
    enum woq_convention convention;
    size_t ctx;     /* 0: 2048 (gptq), 512 (llamacpp), all tokens with a logits sink */
    size_t windows; /* at most; 0: all */
    size_t limit;   /* documents of LAMBADA; 0: all */
    const struct woq_frames *reference; /* KL(reference || model) as well; run first. May be NULL */
    const struct woq_logits_sink *logits; /* may be NULL */
    struct woq_progress *progress;
};

/* *result: an object with "perplexity", "stderr", "tokens" (scored), "convention", "ctx",
 * "windows", "tokens_per_second", ... as woq-eval(1) lists them. Owned by the caller. */
int woq_eval(const struct woq_eval_opts *o, const struct woq_frames *model,
             struct woq_json **result, struct woq_error *err);

/* A result of woq_eval or woq_generate as lines for people, appended. */
int woq_eval_text(const struct woq_json *result, struct woq_str *out);

struct woq_generate_opts {
    /* What is continued: a text; or answered by the chat template: what a user says, or the
     * conversation in a file. One of them, the others NULL. */
    const char *prompt, *ask, *chat_path;
    struct woq_chat_options chat; /* add_generation_prompt is set by itself */
    size_t n_tokens;              /* at most; a token that ends a text or a turn stops earlier */
    struct woq_progress *progress;
};
/* Greedy continuation: *result {"prompt", or "conversation" as the template writes it, "text",
 * "tokens", "seconds", "tokens_per_second"}. Keeps every block in memory, as it
 * came or as f32, whichever is smaller. */
int woq_generate(const struct woq_generate_opts *o, const struct woq_frames *model,
                 struct woq_json **result, struct woq_error *err);

#endif
