/* coproc.h -- a command that takes frames and gives frames back, one unit at a time (design.md 4).
 *
 * A thread of its own reads what comes back, so that neither side can wait for the other for ever,
 * whatever the command holds back. The command is run once, by `sh -c`: an ssh line or a pipeline.
 * SIGINT, SIGTERM and SIGHUP end it with us. */
#ifndef WOQ_COPROC_H
#define WOQ_COPROC_H
#include <woq/stream.h>

struct woq_coproc;

/* Starts the command. `head` is the meta of the HEAD frame it gets. SIGPIPE must be ignored. */
int woq_coproc_open(struct woq_coproc **p, const char *command, const struct woq_json *head,
                    uint64_t max_frame_bytes, struct woq_error *err);
int woq_coproc_put(struct woq_coproc *p, struct woq_frame *f, struct woq_error *err);
/* Ends a unit: sends LOOP with this meta (block, group) and waits until it comes back. The frames
 * that came before it are *frames[0 .. *n), owned by the coprocess until the next unit begins. A
 * command that ended, failed or returned another LOOP is an error with its message and status. */
int woq_coproc_loop(struct woq_coproc *p, const struct woq_json *unit, struct woq_frame **frames,
                    size_t *n, struct woq_error *err);
/* How long a frame may take to be written, and woq_coproc_loop waits for one, before the command is
 * given up (WOQ_ESYS) and ended; 0, as at first: for ever. */
void woq_coproc_patience(struct woq_coproc *p, unsigned seconds);
/* Gives the frames of the unit back; before the next unit's first put. */
void woq_coproc_next(struct woq_coproc *p);
/* Sends TAIL and waits for the command's own TAIL and for exit status 0. With rc < 0 only cleans
 * up. Returns rc or what went wrong. */
int woq_coproc_close(struct woq_coproc *p, int rc, struct woq_error *err);

#endif
