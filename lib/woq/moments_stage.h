/* moments_stage.h -- what woq-hessian and woq-stats are: acts frames become one frame per group. */
#ifndef WOQ_MOMENTS_STAGE_H
#define WOQ_MOMENTS_STAGE_H
#include <woq/filter.h>
#include <woq/moments.h>

struct woq_moments_stage { /* zeroed but for kind = empty */
    enum woq_moment_kind kind;
    struct woq_moments sum;
    struct woq_frame out;
};

/* Takes an acts frame into the sum; any other frame passes, after the sum that was pending. */
int woq_moments_pass(struct woq_moments_stage *s, struct woq_filter *w, struct woq_frame *f);
/* Puts the pending sum, if any: at the end, or before something else. */
int woq_moments_flush(struct woq_moments_stage *s, struct woq_filter *w);
void woq_moments_stage_release(struct woq_moments_stage *s);

#endif
