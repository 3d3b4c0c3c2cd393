/* fold.h -- changes of weights that leave a model's output as it is, from the row of its
 * architecture (models.md 10, 11).
 *
 * A fold: linears multiply their input channels by s, what makes these channels divides by s.
 * A rotation: x becomes x Q, on the residual stream or in the values of each head. */
#ifndef WOQ_FOLD_H
#define WOQ_FOLD_H
#include <woq/arch.h>

struct woq_fold {
    size_t block;
    enum woq_role producer; /* a norm, or a linear: V and UP stand for the rows of fused tensors */
    uint64_t consumers;     /* bit r: role r; every one of them takes the scale */
    bool expert;            /* producer and consumers are those of the expert `index` */
    size_t index;
    size_t n_channels; /* length of s; heads that share a v share its channels */
    float power;       /* the producer divides by s to this power: 0.5 before a squared relu */
    unsigned step;     /* private: where `next` goes on */
};
/* The folds of a block one by one (block SIZE_MAX: what is behind the last): begin with a zeroed
 * struct; false after the last. None is given that would change the output: where a norm's output
 * is also the residual, where a nonlinearity is not homogeneous, where v is clipped ... */
bool woq_fold_next(const struct woq_config *c, size_t block, struct woq_fold *f);
/* Channel of s for an input column of a consumer; the channel that a row of tensor p makes,
 * SIZE_MAX where it makes none of this fold. */
size_t woq_fold_column(const struct woq_config *c, const struct woq_fold *f, size_t col);
size_t woq_fold_row(const struct woq_config *c, const struct woq_fold *f, const struct woq_place *p,
                    size_t row);
/* Applies s [n_channels], all > 0, to one tensor of the stream: w [n_rows][n_cols] as
 * woq_config_shape says (biases and norms: n_cols 1). False if the fold does not concern it. */
bool woq_fold_apply(const struct woq_config *c, const struct woq_fold *f, const float *s,
                    const struct woq_place *p, float *w, size_t n_rows, size_t n_cols);

enum woq_rotation {
    WOQ_ROTATE_STREAM, /* R1: Q [hidden][hidden] on the residual stream */
    WOQ_ROTATE_VALUES, /* R2: Q [v_dim][v_dim] on the values of every head */
};
enum woq_turn {
    WOQ_TURN_NONE,
    WOQ_TURN_COLS, /* W Q, on each span of columns as long as Q */
    WOQ_TURN_ROWS, /* Q^T W, on each span of rows; of a bias too */
};
/* NULL if the rotation leaves this model's output as it is, else why not, a phrase for a message.
 * R1 wants norms without weights: fold them before, the last one into a head that is not tied. For
 * norms that subtract the mean Q must keep the vector of ones. */
const char *woq_rotation_refused(const struct woq_config *c, enum woq_rotation r);
enum woq_turn woq_rotation_site(const struct woq_config *c, enum woq_rotation r,
                                const struct woq_place *p);
/* Turns one tensor w [n_rows][n_cols] (a bias: n_cols 1) by Q; `room` has as many floats as Q has
 * rows. A tensor that is no site stays. */
void woq_rotation_apply(const struct woq_config *c, enum woq_rotation r, const float *q,
                        const struct woq_place *p, float *w, size_t n_rows, size_t n_cols,
                        float *room);

#endif
