/* filter.h -- the frame around every main: options, streams, history, progress, exit status.
 *
 *     woq_filter_open(&w, &prog, argc, argv);         usage errors exit 2 here
 *     while ((rc = woq_filter_next(&w, &f)) > 0)
 *         if ((rc = transform(f, &w.err)) < 0 || (rc = woq_filter_put(&w, f)) < 0)
 *             break;
 *     return woq_filter_close(&w, rc);                TAIL only when rc == 0
 *
 * Common options of every program: --help[=mdoc|complete] --version --quiet --verbose --threads
 * --progress --max-frame, and --no-history where it writes a stream. This is the one place of the
 * library that prints and exits. */
#ifndef WOQ_FILTER_H
#define WOQ_FILTER_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/frame.h>
#include <woq/opt.h>
#include <woq/progress.h>
#include <woq/stream.h>

enum woq_program_flags {
    WOQ_SOURCE = 1, /* reads no stream from standard input (woq-extract, woq-gen) */
    WOQ_SINK = 2,   /* writes no stream (woq-ls, woq-pack, woq-eval) */
    WOQ_OPENS = 4,  /* opens its streams itself by woq_filter_input (woq-diff, woq-join) */
};

struct woq_program {
    const char *name, *summary;
    const struct woq_opt *opts;
    int (*check)(struct woq_error *err); /* after parsing; may be NULL */
    unsigned flags;
    const char
        *operands; /* for the usage line, NULL = "[FILE]" for stream readers, "" for sources */
    int min_operands, max_operands; /* max 0 with operands NULL = at most the one FILE */
    const char *examples;           /* shown by --help */
};

struct woq_filter {
    const struct woq_program *prog;
    struct woq_error err;
    struct woq_reader *in;  /* NULL for a source */
    struct woq_writer *out; /* NULL for a sink; opened by the first put, or by close */
    struct woq_json *head;  /* HEAD of the output: the input's, or what a source puts there */
    struct woq_progress *progress; /* never NULL after open; silent unless shown */
    char **operands;
    int n_operands;
    /* Private. */
    struct woq_str args;
    bool head_read, closed;
};

/* Parses, opens standard input (or the FILE operand of a stream reader with operands == NULL);
 * exits 0 after --help and --version, 2 after a usage error, 1 if the file can't be opened.
 * Refuses to write frames to a terminal, or read them from one. */
void woq_filter_open(struct woq_filter *w, const struct woq_program *prog, int argc, char **argv);
int woq_filter_next(struct woq_filter *w, struct woq_frame **f);
int woq_filter_put(struct woq_filter *w, struct woq_frame *f);
int woq_filter_put_zstd(struct woq_filter *w, struct woq_frame *f, int level);
/* For WOQ_OPENS, and for a second stream: a reader with --max-frame (opts may be NULL) that shows
 * its frames to WOQ_TRACE; a terminal is refused. The caller closes it. */
int woq_filter_input(struct woq_filter *w, const char *spec, const struct woq_reader_opts *opts,
                     struct woq_reader **r);
/* HEAD meta to edit before the first put (a source sets "model", "total"). Reads it if needed. */
struct woq_json *woq_filter_head(struct woq_filter *w);
/* rc == 0: TAIL, flushes stdout; rc < 0: prints the message, sends FAIL. Returns the exit status.
 */
int woq_filter_close(struct woq_filter *w, int rc);
/* Names frame `f` of the input as the place of the error that is set; returns its status. */
int woq_filter_at(struct woq_filter *w, const struct woq_frame *f);
/* A line "program: text" on stderr unless --quiet. */
void woq_filter_note(struct woq_filter *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool woq_filter_verbose(const struct woq_filter *w);
bool woq_filter_quiet(const struct woq_filter *w);
uint64_t woq_filter_max_frame(const struct woq_filter *w);

#endif
