/* pair.h -- two streams side by side, their tensors paired by name (woq-diff).
 *
 * Frames that are ahead wait in memory (of a mapped file: in the mapping), so streams of the same
 * order need one frame of each; in the worst case all of the smaller stream is held. */
#ifndef WOQ_PAIR_H
#define WOQ_PAIR_H
#include <woq/inspect.h>
#include <woq/stream.h>

struct woq_pair_side {
    struct woq_reader *in; /* borrowed */
    struct woq_frame *waiting;
    size_t n, cap;
    bool ended;
};
struct woq_pair {
    struct woq_pair_side side[2];
    struct woq_frame a, b; /* the last result */
    const char *match;     /* glob over names */
    struct woq_buf buf[2];
};

void woq_pair_init(struct woq_pair *p, struct woq_reader *a, struct woq_reader *b,
                   const char *match);
void woq_pair_release(struct woq_pair *p);
/* WOQ_ITEM: *a and *b (TENS or QTEN) of one name, or one of them NULL when the other stream ended
 * without it; valid until the next call. A name that comes again while the first waits: WOQ_EDATA.
 */
int woq_pair_next(struct woq_pair *p, const struct woq_frame **a, const struct woq_frame **b,
                  struct woq_error *err);
/* Differences of two frames of one shape: weights (QTEN decoded), or with `codes` the codes of two
 * QTEN (rel is then the share that differs). *n_elem: compared. False in *comparable: not the same
 * shape, or codes against no codes. */
int woq_pair_delta(struct woq_pair *p, const struct woq_frame *a, const struct woq_frame *b,
                   bool codes, struct woq_delta *d, size_t *n_elem, bool *comparable,
                   struct woq_error *err);

#endif
