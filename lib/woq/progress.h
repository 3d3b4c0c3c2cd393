/* progress.h -- what a person sees while it runs: one line for a whole pipeline.
 *
 * Only the last stage shows (its standard output is no pipe), from the totals that woq-extract
 * wrote into HEAD ("total":{"frames","bytes"}): what, done/total, rate, ETA. On a terminal the line
 * is redrawn at most ten times a second; else a line every ten seconds; --progress json prints one
 * JSON object a second; --quiet and --progress none print nothing. NO_COLOR is honoured. */
#ifndef WOQ_PROGRESS_H
#define WOQ_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

struct woq_progress;
/* mode: "auto" "none" "json" "plain"; show = this program may show. Never fails (NULL = silent). */
struct woq_progress *woq_progress_open(const char *program, const char *mode, bool show);
/* A new phase: what is done now ("quantize", "eval blocks"), its unit ("B", "tensors", "tokens").
 */
void woq_progress_phase(struct woq_progress *p, const char *what, uint64_t total, const char *unit);
void woq_progress_step(struct woq_progress *p, uint64_t done,
                       const char *item); /* done: absolute */
/* Something is waited for: drawn at once, on a terminal. */
void woq_progress_wait(struct woq_progress *p, uint64_t done, const char *item);
void woq_progress_close(struct woq_progress *p); /* clears the line */

#endif
