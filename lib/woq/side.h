/* side.h -- frames that describe a weight which comes after them (flag WOQ_FRAME_OF: `hess`,
 * `stat`).
 *
 * Whether such a frame still holds is known only when its weight arrives: a filter that changes the
 * weight drops it, else it goes on, before the weight as it came. Until then it is held here. */
#ifndef WOQ_SIDE_H
#define WOQ_SIDE_H
#include <woq/filter.h>

/* Second moments of the inputs of one weight or of a group of weights that share them. */
struct woq_importance {
    float *diag; /* [n]: diagonal of the Hessian, or mean of x^2 */
    size_t n;
    uint64_t n_tokens; /* 0 where the frame does not tell */
    char of[256], group[32];
    int64_t block;
};

struct woq_side { /* zeroed = empty */
    struct woq_frame *held;
    size_t n_held, cap_held, n_dropped;
    struct woq_importance hess, stat;
};

bool woq_side_is(const struct woq_frame *f);
/* Reads the importance of a frame that describes a weight, if it has one; the frame stays. */
int woq_side_read(struct woq_side *s, const struct woq_frame *f, struct woq_error *err);
/* The importance that was read last and belongs to the weight, or NULL; the Hessian's goes first.
 */
const struct woq_importance *woq_side_of(const struct woq_side *s, const struct woq_frame *weight);
/* Takes the frame over (the reader's frame is empty then) and reads its importance, if it has one.
 */
int woq_side_hold(struct woq_side *s, struct woq_frame *f, struct woq_error *err);
/* [n_cols] that belong to the weight, or NULL; of a group's frame also for its later members. A
 * length other than n_cols is an error. */
int woq_side_importance(const struct woq_side *s, const struct woq_frame *weight, size_t n_cols,
                        const float **importance, struct woq_error *err);
/* The held hess frame that describes the weight, or NULL. Borrowed until the next call. */
const struct woq_frame *woq_side_hess(const struct woq_side *s, const struct woq_frame *weight);
/* The held frames that describe `weight` (by name or by group) are dropped if it changed, else put.
 */
int woq_side_settle(struct woq_side *s, struct woq_filter *w, const struct woq_frame *weight,
                    bool changed);
/* Puts what is left; before any frame that is not a tensor, and at the end. */
int woq_side_flush(struct woq_side *s, struct woq_filter *w);
void woq_side_release(struct woq_side *s);

#endif
