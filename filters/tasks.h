/* tasks.h -- what `woq TASK` runs. A new task is one row. */
#ifndef WOQ_TASKS_H
#define WOQ_TASKS_H
#include <woq/compose.h>

struct woq_task {
    const char *name, *summary, *operands;
    int n_operands;
    const struct woq_opt *opts; /* the task's own; those of its stages come on top */
    int (*compose)(struct woq_compose *c, struct woq_error *err); /* adds the stages */
    int (*place)(struct woq_compose *c, char **operands, struct woq_error *err);
    /* What --dry-run prints below the pipeline; may be NULL. */
    int (*report)(const struct woq_compose *c, const char *model, struct woq_error *err);
    /* A task without a pipeline (compose is NULL) answers by itself. */
    int (*answer)(const char *model, struct woq_error *err);
};
extern const struct woq_task woq_tasks[]; /* ends with a row without name */
extern bool woq_dry_run;
/* report.c: size, bits and memory of woq quantize. */
int woq_report_quantize(const struct woq_compose *c, const char *model,
                        const struct woq_list *rules, struct woq_error *err);

/* info.c: what a checkpoint is. */
extern bool woq_info_json;
int woq_info(const char *model, struct woq_error *err);

/* Which stages there are decides which options there are, so --method, --on and --rule are looked
 * up before anything is parsed. */
void woq_task_peek(int argc, char **argv);
/* Answers --help, --help=mdoc and --help=complete from these tables; false if not asked. */
bool woq_task_help(const struct woq_task *t, const struct woq_opt *const *tables, size_t n,
                   int argc, char **argv);

#endif
