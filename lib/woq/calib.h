/* calib.h -- the loop of layer-wise calibration: one forward per block (design.md 4).
 *
 * Tokens go through the model block by block. Before a group of linears is used, its inputs are
 * given away - as chunks of activations, as a Hessian, as statistics, or to a command that returns
 * the group quantized, in which case the rest of the forward runs on what came back. Each linear
 * runs once. Memory: tokens x hidden x 4 bytes, one block as f32 and as it came or as it came back,
 * and 200 MiB for chunks, the tokenizer and spill_bytes (decoder.h: what else must be kept of all
 * tokens goes through a temporary file); with the float path, as many activations again. */
#ifndef WOQ_CALIB_H
#define WOQ_CALIB_H
#include <woq/chat.h>
#include <woq/coproc.h>
#include <woq/filter.h>

#define WOQ_CALIB_MAX_SAMPLES (1 << 24)
#define WOQ_CALIB_MAX_SEQLEN (1 << 20)
#define WOQ_CALIB_MAX_TOKEN0 ((uint64_t)1 << 52)

/* What goes before the weights of a group: chunks, a sum, or nothing. */
enum woq_calib_emit { WOQ_EMIT_ACTS, WOQ_EMIT_HESS, WOQ_EMIT_STAT, WOQ_EMIT_NONE };

struct woq_calib_opts {
    const uint32_t *ids;       /* [n_samples][seqlen]; NULL with acts_from */
    size_t n_samples, seqlen;  /* acts_from says them too */
    uint64_t token0;           /* number of the first token on the wire, for parts to be merged */
    const char *through;       /* a command, or NULL: emit into the stream */
    enum woq_calib_emit emit;  /* NONE: the forward only */
    bool block_unit;           /* a whole block at once, not group by group */
    bool float_inputs;         /* the forward keeps the float weights (open loop) */
    bool all_experts;          /* experts are described by all tokens, not by their own */
    bool both;                 /* walk the float path beside: x_float and d (moments.h) */
    enum woq_dtype acts_dtype; /* f32 or bf16 on the wire */
    unsigned patience;         /* seconds that the command may return nothing; 0 = no limit */
    size_t spill_bytes;        /* of activations that wait, in memory; more goes to a file */
    const char *state;         /* file that a run continues from, or NULL */
    const char *acts_from;     /* activations to begin with, in place of ids and embedding */
    const char *acts_to;       /* written after the last block of the stream, or NULL */
};

struct woq_calib;
/* ids are borrowed until close. */
int woq_calib_open(struct woq_calib **c, const struct woq_calib_opts *o, struct woq_filter *w);
/* Takes the next frame of the model stream; puts frames into the filter. */
int woq_calib_take(struct woq_calib *c, struct woq_frame *f);
/* After the last frame (rc == 0), or to clean up. Returns rc or what went wrong. */
int woq_calib_close(struct woq_calib *c, int rc);

/* n windows of len tokens of a text file, or with `chat` of conversations, by the tokenizer (and
 * the chat template) of the MODL frame, drawn from `seed`. */
int woq_samples_draw(struct woq_ids *ids, const char *path, const struct woq_chat_options *chat,
                     const struct woq_frame *modl, size_t n, size_t len, uint64_t seed,
                     struct woq_error *err);
/* All TOKN frames of a stream, which must be of one length: *n samples of *len tokens. */
int woq_samples_load(struct woq_ids *ids, const char *spec, size_t *n, size_t *len,
                     struct woq_error *err);

#endif
