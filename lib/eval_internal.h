/* eval_internal.h -- tasks (tokens cut into windows, and what is scored) and lanes (a model that
 * streams by), shared by the eval_*.c files. */
#ifndef WOQ_EVAL_INTERNAL_H
#define WOQ_EVAL_INTERNAL_H
#include <woq/decoder.h>
#include <woq/eval.h>
#include <woq/model.h>

/* Windows of one length, one after another in `ids`. */
struct woq_batch {
    size_t token0, n_windows, ctx;
};

struct woq_task {
    const struct woq_eval_opts *opts;
    char *text; /* file content, until it is tokenized */
    size_t text_bytes;
    uint32_t *ids; /* inputs [n_tokens] */
    size_t n_tokens, n_windows, ctx, max_ctx;
    struct woq_batch *batches;
    size_t n_batches;
    /* Scored positions: state rows[i] predicts targets[i]. */
    size_t *rows;
    uint32_t *targets;
    size_t n_scored;
    size_t *doc_end; /* LAMBADA: scored positions of document i end before doc_end[i] */
    size_t n_docs;
    bool built;
};

/* Reads the file, so that a wrong path fails before a model is read. */
int woq_task_open(struct woq_task *t, const struct woq_eval_opts *o, struct woq_error *err);
/* Cuts windows, tokenizing with the MODL frame's tokenizer where text was given. Once. */
int woq_task_build(struct woq_task *t, const struct woq_frame *modl, const struct woq_config *c,
                   struct woq_error *err);
int woq_task_build_lambada(struct woq_task *t, const struct woq_tokenizer *tok,
                           const struct woq_config *c, struct woq_error *err);
void woq_task_release(struct woq_task *t);

/* A model on its way through: blocks are used as they arrive. */
struct woq_lane {
    const struct woq_frames *src;
    struct woq_config c;
    struct woq_frame embed; /* kept: gathered from, and the head where tied */
    struct woq_block block, outside;
    struct woq_buf head_buf;
    struct woq_head head; /* complete when woq_lane_run has returned */
    bool has_config, in_block;
    size_t n_done;    /* blocks */
    size_t n_ignored; /* tensors outside blocks that the architecture does not know */
    /* Called with the MODL frame; when the first block begins; at the end of each block. */
    int (*begin)(struct woq_lane *l, const struct woq_frame *modl, struct woq_error *err);
    int (*stem)(struct woq_lane *l, struct woq_error *err);
    int (*each)(struct woq_lane *l, struct woq_error *err);
    /* Called with each tensor of a block, which it may move away; may be NULL. */
    int (*tensor)(struct woq_lane *l, struct woq_frame *f, struct woq_error *err);
    void *ctx;
};
/* Reads the whole stream; everything must be there, once, in order. */
int woq_lane_run(struct woq_lane *l, struct woq_error *err);
void woq_lane_release(struct woq_lane *l);

#endif
