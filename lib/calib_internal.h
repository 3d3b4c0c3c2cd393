/* calib_internal.h -- what calib.c (the walk), calib_state.c (stop and go on) and calib_acts.c
 * (files of activations) share. */
#ifndef WOQ_CALIB_INTERNAL_H
#define WOQ_CALIB_INTERNAL_H
#include <woq/calib.h>
#include <woq/decoder.h>
#include <woq/moments.h>
#include <woq/spill.h>

struct woq_calib_state {
    const char *path;       /* NULL: none */
    size_t done;            /* blocks that the state says are finished */
    uint64_t input;         /* fold of the input frames seen so far */
    struct woq_writer *log; /* output of the block in hand */
    int log_fd;
};

enum { WOQ_CALIB_GROUPS = 8, WOQ_CALIB_ARRAYS = 4 }; /* groups beside those of experts */

/* What the float path feeds to each group, for tokens [token0, token0 + n_tokens). */
struct woq_float_path {
    struct woq_float_rows {
        char name[32];
        struct woq_spill *spill;
    } * groups; /* [n_sums + 1]; n_groups are of the block in hand */
    size_t n_groups, token0, n_tokens;
    struct woq_buf rows;
};

struct woq_calib {
    struct woq_calib_opts o;
    struct woq_filter *w;
    struct woq_error *err;
    struct woq_config config;
    bool has_config;
    struct woq_decoder *decoder;
    struct woq_coproc *command;
    struct woq_moments *sums; /* [n_sums], of the group in hand, or of each of a block */
    size_t n_sums;
    uint64_t *expert_tokens; /* [n_experts] of the block in hand: rows that each was shown */
    size_t n_seen_experts, n_starved; /* of all blocks */
    float *x;                         /* [n_samples][seqlen][hidden] */
    float *xf;                        /* the same on the float path; NULL without --targets both */
    struct woq_float_path path;
    size_t n_tokens, next_block;
    uint64_t tokens_hash, acts_hash; /* of ids; of what --acts-from held */
    struct woq_str key;              /* options and samples that a state must agree with */

    /* The block in hand. */
    bool in_block, any_block;
    size_t n_shown;    /* tokens of the group in hand */
    const char *group; /* in hand: of a block, "block", or "lm_head" */
    size_t block;
    struct woq_frame *held; /* its frames, in order */
    size_t n_held, cap_held, n_put;
    struct woq_block weights;
    struct woq_frame out;                    /* acts, hess or stat */
    struct woq_buf narrow[WOQ_CALIB_ARRAYS]; /* a chunk as bf16 */
    struct woq_buf windows, windows_float;   /* copies of some samples */
    struct woq_calib_state state;

    struct woq_block outside; /* what is beside the blocks, but for the embedding */
    bool has_stem, at_head;   /* x is what the first block gets */
};

/* Puts into the output and into the log of the block. */
int woq_calib_put(struct woq_calib *c, struct woq_frame *f);

/* To the command, or without one into the output. An error of the command names block and group. */
int woq_calib_send(struct woq_calib *c, struct woq_frame *f);
/* Ends the unit c->group and waits for what the command made of it (woq_coproc_loop). */
int woq_calib_loop(struct woq_calib *c, struct woq_frame **frames, size_t *n);
/* Puts the held frames that come before held frame `end` and were not put yet. */
int woq_calib_put_until(struct woq_calib *c, size_t end);

/* --- experts (calib_experts.c) --- */
int woq_calib_experts_open(struct woq_calib *c);
void woq_calib_experts_close(struct woq_calib *c);
/* Counts rows of a group, "gateup.E". */
void woq_calib_experts_count(struct woq_calib *c, const char *group, size_t n_tokens);
/* Marks the weights of a group that no token reached: a quantizer rounds them. */
int woq_calib_experts_starved(struct woq_calib *c, const char *group);
/* After the block: how many tokens each expert saw, as a note. */
int woq_calib_experts_note(struct woq_calib *c);
void woq_calib_experts_report(struct woq_calib *c);

/* --- units (calib_group.c, calib_block.c): the weights are in c->weights, all is held --- */
int woq_calib_groups(struct woq_calib *c); /* forward, group by group */
int woq_calib_block(struct woq_calib *c);  /* the whole block at once */

struct woq_json *woq_calib_unit_meta(const struct woq_calib *c, const char *group);
/* The first weight of a group, or NULL and an error. */
const struct woq_frame *woq_calib_first_of(const struct woq_calib *c, const char *group,
                                           struct woq_error *err);
struct woq_rows {
    const char *name;
    const float *x;
};
/* c->out becomes a chunk of rows [n_tokens][width], one array each. */
int woq_calib_make_acts(struct woq_calib *c, const char *group, const char *of,
                        const struct woq_rows *arrays, size_t n_arrays, size_t n_tokens,
                        size_t width, size_t token0);
/* As that, of a group's inputs, with the float path's where there is one. */
int woq_calib_group_acts(struct woq_calib *c, const struct woq_frame *first, const float *x,
                         size_t n_tokens, size_t width, size_t token0);
bool woq_calib_is_sum(const struct woq_calib *c); /* of activations, not they themselves */
enum woq_moment_kind woq_calib_moment_kind(const struct woq_calib *c);
/* Sends a sum and clears it. */
int woq_calib_send_sum(struct woq_calib *c, struct woq_moments *sum);
/* Each weight at most once: looked at before frames are moved away. */
int woq_calib_check_back(const struct woq_calib *c, const struct woq_frame *frames, size_t n);

/* --- the head (calib_head.c) --- */
/* WOQ_ITEM if this is a head whose scheme asks for a group of its own, or an error. */
int woq_calib_is_head(struct woq_calib *c, const struct woq_frame *f);
/* The head, described and exchanged, into the output. */
int woq_calib_head(struct woq_calib *c, struct woq_frame *head);

/* --- the float path (calib_float.c): before the weights change --- */
/* Samples [w, w + n) of c->xf through the block; what groups get is kept for float_rows. */
int woq_calib_float_pass(struct woq_calib *c, size_t w, size_t n);
/* *x [n_tokens][width]: the group's inputs there, until the next call. */
int woq_calib_float_rows(struct woq_calib *c, const char *group, size_t token0, size_t n_tokens,
                         size_t width, const float **x);
int woq_calib_float_check(struct woq_calib *c); /* are the weights float ones? */
void woq_calib_float_close(struct woq_calib *c);

/* c->x, and c->xf with --targets both, for o.n_samples x o.seqlen tokens; sets n_tokens. */
int woq_calib_x_alloc(struct woq_calib *c);

/* Files that appear under their name only when they are whole; `what` is for messages. end closes
 * fd, and with rc < 0 only removes what was written. */
int woq_calib_file_begin(const char *what, const char *path, int *fd, struct woq_error *err);
int woq_calib_file_end(const char *what, const char *path, int fd, int rc, struct woq_error *err);
/* What an open file of activations says takes the place of options, and its rows fill c->x. */
int woq_calib_acts_load(struct woq_calib *c, struct woq_reader *r);
/* HEAD of a file of activations after `done` blocks. */
struct woq_json *woq_calib_acts_head(const struct woq_calib *c, size_t done);
int woq_calib_acts_write(struct woq_calib *c, int fd, const struct woq_json *head);
/* The frames after HEAD into c->x; their number and width are checked. */
int woq_calib_acts_read(struct woq_calib *c, struct woq_reader *r);
/* --acts-from and --acts-to. */
int woq_calib_acts_from(struct woq_calib *c);
int woq_calib_acts_to(struct woq_calib *c);

/* Reads the state if there is one: fills c->x and c->state.done. Fails if it is of other options.
 */
int woq_calib_resume(struct woq_calib *c);
/* Frames that were read count, so that a state of another model is recognised. */
void woq_calib_count(struct woq_calib *c, const struct woq_frame *f);
int woq_calib_log_begin(struct woq_calib *c);
/* The block is finished: its log and then the activations get their final names. */
int woq_calib_log_end(struct woq_calib *c);
/* Puts the frames of a finished block from its log. */
int woq_calib_replay(struct woq_calib *c, size_t block);
/* The files stay, complete or not: the run may fail further down the pipe. */
void woq_calib_state_close(struct woq_calib *c);

#endif
