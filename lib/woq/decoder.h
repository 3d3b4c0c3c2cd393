/* decoder.h -- forward of a table-driven decoder in f32, windows x blocks (models.md 5, 6).
 *
 * A batch of windows goes through one block after another, so that memory is one block and the
 * activations. All work is cut into pieces whose borders depend on the shape alone, never on the
 * number of threads, so results are bit-identical for any WOQ_THREADS (with one BLAS core type). */
#ifndef WOQ_DECODER_H
#define WOQ_DECODER_H
#include <woq/arch.h>
#include <woq/frame.h>

#define WOQ_OUTSIDE SIZE_MAX
/* Weights of one block as f32 [out][in]; biases NULL if absent. Owned by the struct. Tensors that
 * hold several linears (qkv, gate_up) come apart here; linears of one group (q,k,v; gate,up) lie in
 * one buffer, one below the other, and experts one behind the other (woq_block_stride), when
 * woq_block_take filled them. Norms of Gemma have the 1 added, and rows are where woq_config_row
 * says. With index WOQ_OUTSIDE it holds what is beside the blocks, but for the embedding. */
struct woq_block {
    size_t index;
    const float *w[WOQ_N_ROLES];
    const float *bias[WOQ_N_ROLES];
    struct woq_buf bufs[WOQ_N_ROLES], bias_bufs[WOQ_N_ROLES], have;
};

struct woq_decoder; /* config, rope tables, scratch */
/* max_ctx: the longest window of later calls, in tokens. */
int woq_decoder_open(struct woq_decoder **d, const struct woq_config *c, size_t max_ctx,
                     struct woq_error *err);
void woq_decoder_close(struct woq_decoder *d); /* NULL is fine */
/* What waits between the steps of a forward with a tap stays in memory up to this many bytes, else
 * it goes through a temporary file (spill.h). */
#define WOQ_SPILL_BYTES ((size_t)32 << 20) /* unless told otherwise */
void woq_decoder_spill(struct woq_decoder *d, size_t memory_bytes);
/* With a tap, every expert is shown all tokens, not only those that are routed to it. */
void woq_decoder_all_experts(struct woq_decoder *d, bool all);
/* For a decoder that is used inside one item of a parallel call: scratch of one thread only. */
void woq_decoder_serial(struct woq_decoder *d);

/* Takes a TENS or QTEN frame of a block (dequantized, converted, checked: role, block, shape,
 * finite values). A bias that the config does not have is accepted when it is all zero. */
int woq_block_take(struct woq_block *b, const struct woq_config *c, const struct woq_frame *f,
                   struct woq_error *err);
/* Every tensor there? Names the first that is missing. */
int woq_block_check(const struct woq_block *b, const struct woq_config *c, struct woq_error *err);
/* The tensor may come again. */
void woq_block_forget(struct woq_block *b, const struct woq_config *c, const struct woq_place *p);
/* Floats from one expert (or head) of a role to the next. */
size_t woq_block_stride(const struct woq_config *c, enum woq_role role, bool bias);
void woq_block_clear(struct woq_block *b); /* ready for the next block, keeps buffers */
void woq_block_release(struct woq_block *b);
/* Any weight frame (TENS, QTEN) as f32 into dst, of this shape (1-D: {n, 1}), all values finite. */
int woq_tensor_read(float *dst, const struct woq_frame *f, unsigned n_dims, const uint64_t shape[2],
                    struct woq_error *err);
/* Rows of the embedding frame (TENS or QTEN, shape checked) for ids, which are checked against its
 * rows: x [n_tokens][embed_dim], in room for [n_tokens][hidden]. */
int woq_embed_rows(float *x, const struct woq_config *c, const struct woq_frame *f,
                   const uint32_t *ids, size_t n_tokens, struct woq_error *err);
/* What `outside` makes of them, x [n_tokens][hidden]: projection, positions, norm. Token i stands
 * at position pos0 + i % ctx. */
int woq_embed_finish(float *x, const struct woq_config *c, const struct woq_block *outside,
                     size_t n_tokens, size_t ctx, size_t pos0, struct woq_error *err);
/* Both. */
int woq_embed(float *x, const struct woq_config *c, const struct woq_frame *f,
              const struct woq_block *outside, const uint32_t *ids, size_t n_tokens, size_t ctx,
              size_t pos0, struct woq_error *err);

/* x [n_windows][ctx][hidden] in place through the block. `tap` (may be NULL) sees the input of each
 * linear group before it is used: group name, rows = tokens, width = in features; once per group
 * for all tokens of the batch (an expert: for those that are routed to it, "gateup.E", "down.E"),
 * in order, in calls of whole chunks (GPTQ calibration builds on it: it may exchange the group's
 * weights in `b` before they are used). Memory beside x: a few chunks per thread, one window's q,
 * k, v at least, and with a tap the spill (woq_decoder_spill): no linear runs twice, so attention
 * outputs and activated products of all tokens wait there. Fails if an activation becomes NaN or
 * infinite. */
struct woq_tap {
    int (*input)(void *ctx, const char *group, const float *x, size_t n_tokens, size_t width,
                 size_t token0, struct woq_error *err);
    /* Every token of the group was shown; may be NULL. */
    int (*end)(void *ctx, const char *group, struct woq_error *err);
    void *ctx;
};
/* Windows of ctx tokens for about two chunks per thread. A batch that is cut into multiples of it
 * is cut into the same chunks, so that forwards over the parts give the bits of one over all. */
size_t woq_decoder_windows(const struct woq_decoder *d, size_t ctx);
int woq_block_forward(struct woq_decoder *d, const struct woq_block *b, float *x, size_t n_windows,
                      size_t ctx, const struct woq_tap *tap, struct woq_error *err);

/* Final norm and head; borrowed. */
struct woq_head {
    const float *norm, *norm_bias; /* [hidden] or NULL */
    const float *project;          /* [embed_dim][hidden] or NULL */
    const float *weight;           /* [n_vocab][embed_dim] */
    const float *bias;             /* [n_vocab] or NULL */
    size_t n_vocab;
};
/* From what is outside the blocks; `tied` stands for a head that is not there. */
void woq_head_init(struct woq_head *h, const struct woq_config *c, const struct woq_block *outside,
                   const float *tied);
/* Rows [n][embed_dim] that the head sees: final norm, projection; dst has room for n rows of
 * woq_head_width. */
size_t woq_head_width(const struct woq_config *c);
void woq_head_input(float *dst, const struct woq_config *c, const struct woq_head *h,
                    const float *x, size_t n);
/* Logits [n_tokens][n_vocab] of final hidden states x [n_tokens][hidden]. */
int woq_head_logits(struct woq_decoder *d, float *logits, const float *x, size_t n_tokens,
                    const struct woq_head *head, struct woq_error *err);

/* What one position predicts, without a matrix of logits in memory. */
struct woq_score {
    double nll;      /* -log p(target), nats */
    uint32_t argmax; /* lowest id of the largest logit */
    double kl;       /* KL(reference || model), nats; with a reference only */
    double ref_nll;
    uint32_t ref_argmax;
};
/* scores[i] for x[i], targets[i]. ref (NULL if none): the final states of another model with its
 * own head over the same vocabulary; its hidden size may differ. */
struct woq_reference {
    struct woq_decoder *d;
    const float *x;
    const struct woq_head *head;
};
int woq_head_score(struct woq_decoder *d, struct woq_score *scores, const float *x,
                   const uint32_t *targets, size_t n_tokens, const struct woq_head *head,
                   const struct woq_reference *ref, struct woq_error *err);

/* Floating-point operations of a forward: linears, attention (causal half), head. */
double woq_forward_flops(const struct woq_config *c, size_t n_windows, size_t ctx,
                         size_t n_logit_rows, size_t n_vocab);

/* --- one sequence, token by token (generation) --- */
struct woq_sequence; /* key and value cache */
int woq_sequence_open(struct woq_sequence **s, const struct woq_config *c, size_t max_tokens,
                      struct woq_error *err);
void woq_sequence_close(struct woq_sequence *s);
/* n new tokens through one block, x [n][hidden] in place, at the positions that follow those seen
 * so far: embeddings go in to block 0, final states come out of the last one, whose tokens are seen
 * then. Blocks come in order, each for the same tokens. */
int woq_sequence_forward(struct woq_sequence *s, const struct woq_block *b, float *x, size_t n,
                         struct woq_error *err);
/* Logits [n_vocab] of one state. */
int woq_sequence_logits(struct woq_sequence *s, float *logits, const float *x,
                        const struct woq_head *head, struct woq_error *err);

#endif
