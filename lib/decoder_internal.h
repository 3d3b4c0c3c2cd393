/* decoder_internal.h -- what decoder.c, attention.c, head.c and sequence.c share. */
#ifndef WOQ_DECODER_INTERNAL_H
#define WOQ_DECODER_INTERNAL_H
#include <woq/decoder.h>
#include <woq/spill.h>
#include <woq/util.h>

struct woq_decoder {
    struct woq_config c;
    size_t max_ctx;
    size_t rope_len;               /* dynamic scaling: the length the tables were made for */
    struct woq_buf rope;           /* cos [max_ctx][n_rot/2], then sin */
    struct woq_buf norm, qkv, att; /* of a group of windows */
    struct woq_buf shown;          /* what a tap looks at: inputs of a few chunks */
    struct woq_spill *spill;       /* with a tap: what waits until every token was shown */
    size_t spill_bytes;            /* of it, in memory */
    struct woq_buf *scratch;       /* one per thread */
    int n_threads;
};

/* Angles p * inv_i in double, times the attention factor, for positions 0..n_positions-1 of a
 * sequence of seq_len tokens (models.md 5.1, 5.2). */
void woq_rope_tables(float *cos_out, float *sin_out, const struct woq_config *c, size_t n_positions,
                     size_t seq_len);

/* At least `bytes` of scratch for every thread. */
int woq_decoder_scratch(struct woq_decoder *d, size_t bytes, struct woq_error *err);

static inline float *woq_scratch(const struct woq_decoder *d, int thread)
{
    return d->scratch[thread % d->n_threads].data;
}

/* dst = act(gate) * up, n values. */
void woq_gated_act(enum woq_act act, float *dst, const float *gate, const float *up, size_t n);

/* att [n_windows][ctx][heads x head_dim] from qkv [n_windows][ctx][(heads + 2 kv) x head_dim], rope
 * applied already. */
int woq_attention(struct woq_decoder *d, float *att, const float *qkv, size_t n_windows, size_t ctx,
                  size_t window, struct woq_error *err);

static inline size_t woq_qkv_width(const struct woq_config *c)
{
    return (c->n_heads + 2 * c->n_kv_heads) * c->head_dim;
}

#endif
