/* compose.h -- a pipeline put together from programs and one command line (the porcelain).
 *
 * The options of a composed command are those of its stages: every program prints its table with
 * --help=complete, the tables are joined, and an option goes to each stage that has it. So a new
 * filter is known to the porcelain as soon as it exists, and the two can never disagree. */
#ifndef WOQ_COMPOSE_H
#define WOQ_COMPOSE_H
#include <woq/opt.h>
#include <woq/pipeline.h>

enum { WOQ_COMPOSE_STAGES = 8 };

struct woq_compose {
    struct woq_stage stages[WOQ_COMPOSE_STAGES]; /* argv is ours */
    size_t n_stages;
    struct woq_opt *opts; /* joined table, ends with WOQ_OPT_END; bound to values kept here */
    /* Private. */
    struct woq_compose_row *rows;
    size_t n_rows;
};

/* Adds a stage and its options, without those of `hidden` ("help|version|out"; "*": all that no
 * stage before it has; may be NULL). Options of all stages are to be added before the table is
 * used. */
int woq_compose_add(struct woq_compose *c, const char *program, const char *hidden,
                    struct woq_error *err);
/* Adds one word to a stage's command line: an operand, or an option that is not the user's. */
int woq_compose_word(struct woq_compose *c, size_t stage, const char *word, struct woq_error *err);
/* After parsing: checks numbers against the ranges that the programs stated and gives every stage
 * the options that were meant for it. */
int woq_compose_finish(struct woq_compose *c, struct woq_error *err);
/* What the user gave for an option ("true" for a flag), or NULL. */
const char *woq_compose_value(const struct woq_compose *c, const char *long_name);
void woq_compose_release(struct woq_compose *c);

#endif
