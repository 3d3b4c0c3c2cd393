/* decoder_internal.h -- what the files of the decoder share: steps of a block that know neither
 * chunks nor caches (layer.c, moe.c), so that windows (decoder.c) and a single sequence
 * (sequence.c) are made of the same.
 *
 * Each step takes n rows and writes n rows. Their backward (models.md 7) belongs beside them. */
#ifndef WOQ_DECODER_INTERNAL_H
#define WOQ_DECODER_INTERNAL_H
#include <woq/decoder.h>
#include <woq/spill.h>
#include <woq/util.h>

#include <stdatomic.h>

struct woq_rope {
    struct woq_buf table; /* cos [n_positions][n_rot/2], then sin */
    size_t n_positions;
};

struct woq_decoder {
    struct woq_config c;
    size_t max_ctx;
    size_t rope_len;               /* the length of sequence that the tables were made for */
    struct woq_rope rope, local;   /* of blocks with a window where theirs differs */
    struct woq_buf norm, qkv, att; /* of a group of windows */
    struct woq_buf shown;          /* what a tap looks at: inputs of a few chunks */
    struct woq_buf branch, route_expert, route_weight, counts; /* of experts, with a tap */
    bool all_experts;
    struct woq_spill *spill[2]; /* with a tap: what waits until every token was shown */
    size_t spill_bytes;         /* of each, in memory */
    struct woq_buf *scratch;    /* one per thread */
    int n_threads;
};

/* Shapes of a frame's tensor and of the config. */
int woq_check_shape(const struct woq_frame *f, unsigned n_dims, const uint64_t want[2],
                    const uint64_t *got, unsigned got_dims, struct woq_error *err);

/* --- positions (rope.c) --- */

/* Angles p * inv_i in double, times the attention factor, for positions 0..n_positions-1 of a
 * sequence of seq_len tokens (models.md 5.1, 5.2). `local`: of blocks with a window. */
int woq_rope_make(struct woq_rope *r, const struct woq_config *c, bool local, size_t n_positions,
                  size_t seq_len, struct woq_error *err);
/* Does a longer sequence turn otherwise? */
bool woq_rope_depends(const struct woq_config *c);
/* The table of a block, or NULL. */
const struct woq_rope *woq_rope_of(const struct woq_config *c, size_t block,
                                   const struct woq_rope *rope, const struct woq_rope *local);
/* Turns head dimensions of a row of q, k at position p. */
void woq_rope_row(const struct woq_rope *r, const struct woq_config *c, float *row, size_t p);
/* Slope of head h of n (models.md 5.4). */
float woq_alibi_slope(size_t h, size_t n);

/* --- scratch --- */

/* At least `bytes` of scratch for every thread. */
int woq_decoder_scratch(struct woq_decoder *d, size_t bytes, struct woq_error *err);

static inline float *woq_scratch(const struct woq_decoder *d, int thread)
{
    return d->scratch[thread % d->n_threads].data;
}

/* --- steps of a block (layer.c) --- */

/* y [n][ldy] (+)= alpha * (x [n][in] W^T + bias) */
typedef void woq_linear_fn(float *y, size_t ldy, const float *x, size_t n, const float *w,
                           const float *bias, size_t out, size_t in, float alpha, bool add);

struct woq_layer {
    const struct woq_config *c;
    const struct woq_block *b;
    const struct woq_rope *rope; /* NULL: the block has none */
    woq_linear_fn *linear;
};

void woq_norm_rows(float *dst, size_t ld_dst, const float *x, size_t ld_x, size_t n, size_t width,
                   enum woq_norm norm, const float *w, const float *bias, float eps);

/* A sublayer is named by the role of its norm, ATTN_NORM or MLP_NORM. */
/* Before it: what the branch will be added to (NORM_RESIDUAL). */
void woq_layer_prepare(const struct woq_layer *l, enum woq_role norm, float *x, size_t n);
/* Its input: dst, or x where there is no norm before it. */
const float *woq_layer_input(const struct woq_layer *l, enum woq_role norm, const float *x,
                             size_t n, float *dst);
/* x (+)= the branch y W^T of `role`; tmp [n][hidden] where woq_layer_needs_tmp. */
void woq_layer_output(const struct woq_layer *l, enum woq_role norm, enum woq_role role,
                      const float *y, size_t in, float *x, size_t n, float *tmp);
/* The same of a branch that is complete: norm after it, factor, sum. */
void woq_layer_add(const struct woq_layer *l, enum woq_role norm, float *branch, float *x,
                   size_t n);
bool woq_layer_needs_tmp(const struct woq_config *c);

/* qkv [n][q | k | v] with norms and rope, of rows at positions (p0 + t) % ctx. tmp: floats a token
 * of woq_layer_qkv_tmp. */
void woq_layer_qkv(const struct woq_layer *l, const float *in, size_t n, size_t p0, size_t ctx,
                   float *qkv, float *tmp);
size_t woq_layer_qkv_tmp(const struct woq_config *c);
/* MLA: normalised latent vectors, inputs of q_b and of kv_b (dst [n][q_lora or kv_lora]). */
void woq_layer_latent(const struct woq_layer *l, const float *in, size_t n, bool kv, float *dst,
                      float *tmp);
/* h [n][inter] = act(gate) * up, or act(up); gu [n][2 inter] or [n][inter] may be h. */
void woq_layer_up(const struct woq_layer *l, enum woq_role gate, enum woq_role up, size_t expert,
                  const float *in, size_t n, size_t inter, float *gu, float *h);
size_t woq_layer_up_width(const struct woq_config *c, size_t inter);

/* Scores p [n] of keys first.. for a query: soft cap, ALiBi, softmax, sink. */
void woq_layer_softmax(const struct woq_layer *l, float *p, size_t n, size_t head, size_t query,
                       size_t first);
float woq_layer_scale(const struct woq_layer *l); /* of scores */

/* --- activations (gated.c) --- */

/* dst = act(gate) * up, n values. */
void woq_gated_act(enum woq_act act, float *dst, const float *gate, const float *up, size_t n);
void woq_plain_act(enum woq_act act, float *x, size_t n);

/* --- experts (moe.c) --- */

struct woq_route {
    uint32_t *expert; /* [n][n_used] */
    float *weight;    /* [n][n_used] */
};
/* Floats of woq_moe's scratch a token, and of the route alone. */
size_t woq_moe_tmp(const struct woq_config *c);
/* logits [n][n_experts] is scratch. */
void woq_moe_route(const struct woq_layer *l, const float *in, size_t n, struct woq_route *r,
                   float *logits);
/* Rows of `in` that were routed to expert e: into dst, their numbers into rows, weights into w. */
size_t woq_moe_gather(const struct woq_config *c, const struct woq_route *r, const float *in,
                      size_t n, size_t e, float *dst, uint32_t *rows, float *w);
/* The expert that all tokens share: y [n][hidden] = it, or 0. tmp [n][woq_moe_tmp]. */
/* Its last linear and gate: y = gate * down(h). */
void woq_moe_shared_down(const struct woq_layer *l, const float *in, const float *h, size_t n,
                         float *y);
void woq_moe_shared(const struct woq_layer *l, const float *in, size_t n, float *y, float *tmp);
/* y [n][hidden] = down of expert e. */
void woq_moe_down(const struct woq_layer *l, size_t e, const float *h, size_t n, float *y);
/* y [n][hidden] = the whole branch. */
void woq_moe(const struct woq_layer *l, const float *in, size_t n, float *y, float *tmp);

/* --- chunks of a batch (decoder.c), for decoder_tap.c --- */

/* Chunks never cross a window that is longer than a chunk, and hold whole windows otherwise, so
 * their borders are the same in every group of windows. */
struct woq_chunks {
    size_t ctx, size, per_window, windows_per; /* one of the last two is 1 */
};

/* A run of chunks. Buffers begin at its first token, x at the first of all. */
struct woq_run {
    struct woq_decoder *d;
    struct woq_layer l;
    struct woq_chunks k;
    const struct woq_tap *tap;
    const struct woq_step *step; /* of decoder_tap.c */
    float *x;
    size_t n_tokens, n_chunks; /* of the whole batch */
    size_t chunk0, n, token0;  /* chunks of this run; its first token */
    float *qkv, *att, *shown;
    size_t *counts; /* rows that a chunk of an expert's run shows; NULL: all */
    size_t expert;
    bool prepared; /* the block's input was (woq_layer_prepare) */
    atomic_bool bad;
    atomic_int rc; /* of the spill: the first failure, told in `err` */
    struct woq_error *err;
};

/* Chunk i of the run, as tokens of the batch. */
void woq_run_span(const struct woq_run *j, size_t i, size_t *t0, size_t *n);
/* Chunks of a run whose buffers hold `width` floats a token: enough for every thread, then as many
 * as a budget allows; `whole`: of whole windows. */
size_t woq_run_chunks(const struct woq_run *j, size_t width, size_t budget, bool whole);
/* Calls `fn` for run after run over the whole batch. */
int woq_run_each(struct woq_run *j, size_t per_run, int (*fn)(struct woq_run *, struct woq_error *),
                 struct woq_error *err);
int woq_run_floats(struct woq_buf *buf, size_t n_tokens, size_t width, float **out,
                   struct woq_error *err);
/* Scratch of every thread for chunks of `width` floats a token. */
int woq_run_scratch(const struct woq_run *j, size_t width, struct woq_error *err);
/* q, k, v and attention of a run of whole windows. */
int woq_run_attention(struct woq_run *j, struct woq_error *err);
size_t woq_run_attention_tmp(const struct woq_config *c);
/* Notes a value that is not finite. */
void woq_run_check(struct woq_run *j, const float *x, size_t n);
int woq_run_tapped(struct woq_run *j, struct woq_error *err);

/* --- steps of a tapped forward (decoder_tap.c), for decoder_tap_moe.c --- */

/* `fill` makes the rows of chunk after chunk in j->shown; where there is a group, they are shown:
 * all of a chunk, or as many as j->counts says. */
struct woq_step {
    const char *group;
    size_t width, tmp; /* floats a token: of what is shown, of scratch */
    void (*fill)(void *run, size_t chunk, int thread);
};
int woq_tap_step(struct woq_run *j, const struct woq_step *s, struct woq_error *err);
/* x += attention, which waited; tmp [n][att width + hidden]. */
void woq_tap_add_attention(struct woq_run *j, size_t t0, size_t n, float *tmp);
/* What waits between two steps, rows of `width` for each token. */
int woq_tap_spill(struct woq_run *j, size_t width, struct woq_error *err);
void woq_tap_put(struct woq_run *j, size_t t0, size_t n, const float *rows);
void woq_tap_get(struct woq_run *j, size_t t0, size_t n, float *rows);
int woq_run_tapped_moe(struct woq_run *j, struct woq_error *err);

/* --- head (head.c) --- */

/* Logits [n][ld] of vocabulary v0.. v0+m-1, products times logit_mul: bias and soft cap. */
void woq_head_finish(float *logits, size_t ld, const struct woq_config *c,
                     const struct woq_head *head, size_t n, size_t v0, size_t m);

/* --- attention (attention.c) --- */

/* att [n_windows][ctx][heads x v_dim] from qkv [n_windows][ctx][width], rope applied already. */
int woq_attention(struct woq_decoder *d, const struct woq_layer *l, float *att, const float *qkv,
                  size_t n_windows, size_t ctx, struct woq_error *err);

static inline size_t woq_qkv_width(const struct woq_config *c)
{
    return (c->n_heads + c->n_kv_heads) * c->head_dim + c->n_kv_heads * c->v_dim;
}

static inline size_t woq_att_width(const struct woq_config *c)
{
    return c->n_heads * c->v_dim;
}

#endif
