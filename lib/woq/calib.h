/* calib.h -- the loop of layer-wise calibration: one forward per block (design.md 4).
 *
 * Tokens go through the model block by block. Before a group of linears is used, its inputs are
 * given away - as chunks of activations, as a Hessian, as statistics, or to a command that returns
 * the group quantized, in which case the rest of the forward runs on what came back. Each linear
 * runs once. Memory: tokens x (2 hidden + (heads + 2 kv_heads) x head_dim + inter) x 4 bytes, one
 * block as f32 and as it came. */
#ifndef WOQ_CALIB_H
#define WOQ_CALIB_H
#include <woq/coproc.h>
#include <woq/filter.h>

enum woq_calib_emit { WOQ_EMIT_ACTS, WOQ_EMIT_HESS, WOQ_EMIT_STAT };

struct woq_calib_opts {
    const uint32_t *ids; /* [n_samples][seqlen] */
    size_t n_samples, seqlen;
    uint64_t token0;           /* number of the first token on the wire, for parts to be merged */
    const char *through;       /* a command, or NULL: emit into the stream */
    enum woq_calib_emit emit;  /* what goes before the weights of a group */
    bool float_inputs;         /* the forward keeps the float weights (open loop) */
    enum woq_dtype acts_dtype; /* f32 or bf16 on the wire */
    const char *state;         /* file that a run continues from, or NULL */
    const char *key;           /* options that a state must agree with */
};

struct woq_calib;
int woq_calib_open(struct woq_calib **c, const struct woq_calib_opts *o, struct woq_filter *w);
/* Takes the next frame of the model stream; puts frames into the filter. */
int woq_calib_take(struct woq_calib *c, struct woq_frame *f);
/* After the last frame (rc == 0), or to clean up. Returns rc or what went wrong. */
int woq_calib_close(struct woq_calib *c, int rc);

#endif
