/* compose.h -- a pipeline put together from programs and one command line (the porcelain).
 *
 * The options of a composed command are those of its stages: every program prints its table with
 * --help=complete, the tables are joined, and an option goes to each stage that has it. So a new
 * filter is known to the porcelain as soon as it exists, and the two can never disagree. */
#ifndef WOQ_COMPOSE_H
#define WOQ_COMPOSE_H
#include <woq/opt.h>
#include <woq/pipeline.h>

enum { WOQ_COMPOSE_STAGES = 8, WOQ_COMPOSE_NESTS = 2 };

/* A run of stages that is the business of another stage: their command line is its last word. */
struct woq_compose_nest {
    size_t first, n, host;
    const char *option;
};

struct woq_compose {
    struct woq_stage stages[WOQ_COMPOSE_STAGES]; /* argv is ours */
    size_t n_stages;
    size_t n_nested; /* after woq_compose_finish: stages behind n_stages, which others will run */
    struct woq_opt *opts; /* joined table, ends with WOQ_OPT_END; bound to values kept here */
    /* Private. */
    struct woq_compose_row *rows;
    size_t n_rows;
    struct woq_compose_nest nests[WOQ_COMPOSE_NESTS];
    size_t n_nests;
};

/* Adds a stage and its options, without those of `hidden` ("help|version|out"; "*": all that no
 * stage before it has; may be NULL). Options of all stages are to be added before the table is
 * used. */
int woq_compose_add(struct woq_compose *c, const char *program, const char *hidden,
                    struct woq_error *err);
/* Adds a stage that is not ours and has no options here ("ssh host"): words between blanks. */
int woq_compose_add_words(struct woq_compose *c, const char *words, struct woq_error *err);
/* Stages first .. first + n - 1 are run by stage `host`, which gets them as one line of shell: as
 * the value of --option, or as its last word where that is NULL. Inner ones before outer ones.
 * Their options are options of the whole all the same. */
int woq_compose_nest(struct woq_compose *c, size_t first, size_t n, size_t host, const char *option,
                     struct woq_error *err);
/* Adds one word to a stage's command line: an operand, or an option that is not the user's. */
int woq_compose_word(struct woq_compose *c, size_t stage, const char *word, struct woq_error *err);
/* After parsing: checks numbers against the ranges that the programs stated and gives every stage
 * the options that were meant for it. Nested stages move behind the others, so that stages[0 ..
 * n_stages - 1] are what woq_pipeline_run is to run. */
int woq_compose_finish(struct woq_compose *c, struct woq_error *err);
/* What the user gave for an option ("true" for a flag), or NULL. */
const char *woq_compose_value(const struct woq_compose *c, const char *long_name);
/* All that the user gave for an option that may be repeated; NULL where no stage has it. */
const struct woq_list *woq_compose_list(const struct woq_compose *c, const char *long_name);
/* The number that an option has, given or by default; `otherwise` where no stage has the option. */
double woq_compose_number(const struct woq_compose *c, const char *long_name, double otherwise);
/* Whether stage `stage`, by its place when it was added, has the option. */
bool woq_compose_has(const struct woq_compose *c, size_t stage, const char *long_name);
void woq_compose_release(struct woq_compose *c);

#endif
