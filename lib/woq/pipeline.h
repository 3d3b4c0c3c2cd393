/* pipeline.h -- programs run side by side, each one's standard output on the next one's standard
 * input, without a shell: no quoting, every exit status is seen. Used by the porcelain. */
#ifndef WOQ_PIPELINE_H
#define WOQ_PIPELINE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <woq/error.h>
#include <woq/util.h>

struct woq_stage {
    char **argv; /* NULL-terminated; argv[0] is looked up in PATH */
    /* Set by woq_pipeline_run. */
    long pid;
    int exit_status; /* 0..255, or -1 if a signal ended it */
    int signal;      /* 0, or the signal that ended it */
    uint64_t peak_bytes;
};

/* Starts all stages, waits for all. The first reads nothing (/dev/null), the last writes to our
 * standard output; all share standard error. SIGINT, SIGTERM and SIGHUP that reach us are passed on
 * to every stage and, once all have ended, raised again here. A stage that cannot be started ends
 * the others: WOQ_ESYS. Otherwise WOQ_OK, whatever the stages' statuses are: see
 * woq_pipeline_culprit. One pipeline at a time in a process. */
int woq_pipeline_run(struct woq_stage *stages, size_t n, struct woq_error *err);

/* The stage to blame: the first that failed on its own account, else the first whose input ended
 * early (status 3) or whose reader had gone (SIGPIPE); NULL if all ended well. */
const struct woq_stage *woq_pipeline_culprit(const struct woq_stage *stages, size_t n);

/* The stages as one line of shell, ready to paste. WOQ_OK or WOQ_ENOMEM. */
int woq_pipeline_text(const struct woq_stage *stages, size_t n, struct woq_str *out);

/* Standard output of one program, at most 1 MiB; fails when its status is not 0. out is appended
 * to. */
int woq_capture(char *const *argv, struct woq_str *out, struct woq_error *err);

/* Puts the folder of the running executable first in PATH, so that its siblings are found. */
int woq_path_siblings(struct woq_error *err);

#endif
