/* filter.c -- the frame around every main. The one file of the library that prints and exits. */
#include <woq/filter.h>
#include <woq/threads.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static long threads;
static bool help, version, quiet, verbose, no_history;
static const char *progress = "auto";
static uint64_t max_frame = WOQ_MAX_FRAME;
static bool trace;

static const struct woq_opt common[] = {
    { WOQ_OPT_INT, 0, "threads", "N", &threads, false,
      "threads to use; 0 = WOQ_THREADS, else every processor this process may use", .lo = 0,
      .hi = 1024, .local = true },
    { WOQ_OPT_ENUM, 0, "progress", "MODE", &progress, false, "progress on standard error",
      .choices = "auto|plain|json|none", .local = true },
    { WOQ_OPT_FLAG, 'q', "quiet", NULL, &quiet, false, "no progress, no notes; errors only",
      .local = true },
    { WOQ_OPT_FLAG, 'v', "verbose", NULL, &verbose, false, "say more on standard error",
      .local = true },
    { WOQ_OPT_FLAG, 'h', "help", NULL, &help, false,
      "this text; --help=mdoc and --help=complete print the table for man pages and shells",
      .local = true },
    { WOQ_OPT_FLAG, 'V', "version", NULL, &version, false, "print the version", .local = true },
    { WOQ_OPT_END },
};
static const struct woq_opt common_in[] = {
    { WOQ_OPT_SIZE, 0, "max-frame", "SIZE", &max_frame, false,
      "refuse frames that claim more bytes than this", .local = true },
    { WOQ_OPT_END },
};
static const struct woq_opt common_out[] = {
    { WOQ_OPT_FLAG, 0, "no-history", NULL, &no_history, false,
      "do not add this program to the stream's history", .local = true },
    { WOQ_OPT_END },
};

static size_t tables_of(const struct woq_program *prog, const struct woq_opt *tables[4])
{
    size_t n = 0;

    if (prog->opts)
        tables[n++] = prog->opts;
    if (!(prog->flags & WOQ_SINK))
        tables[n++] = common_out;
    if (!(prog->flags & WOQ_SOURCE))
        tables[n++] = common_in;
    tables[n++] = common;
    return n;
}

static void say(const struct woq_filter *w)
{
    const struct woq_error *e = &w->err;

    fflush(stdout);
    fprintf(stderr, "%s: %s%s%s\n", w->prog->name, e->where, e->where[0] ? ": " : "", e->what);
    if (e->hint[0])
        fprintf(stderr, "%s: hint: %s\n", w->prog->name, e->hint);
}

/* woq(1) sets WOQ_TASK for its stages: they share one standard error, and whoever broke our input
 * has said why. */
static bool is_victim(const struct woq_filter *w, int status)
{
    return (status == WOQ_EUPSTREAM || status == WOQ_ETRUNC) && getenv("WOQ_TASK") &&
           strncmp(w->err.where, "<stdin>", 7) == 0;
}

static void usage_line(const struct woq_program *prog, struct woq_str *out)
{
    const char *operands = prog->operands;

    if (!operands)
        operands = prog->flags & WOQ_SOURCE ? "" : "[FILE]";
    woq_str_addf(out, "usage: %s [OPTIONS]%s%s\n", prog->name, *operands ? " " : "", operands);
}

static void print_help(const struct woq_program *prog, const char *form)
{
    const struct woq_opt *tables[4];
    const size_t n = tables_of(prog, tables);
    struct woq_str out = { 0 };

    if (strcmp(form, "mdoc") == 0) {
        woq_opt_mdoc(tables, n, &out);
    } else if (strcmp(form, "complete") == 0) {
        woq_opt_complete(tables, n, &out);
    } else {
        usage_line(prog, &out);
        woq_str_addf(&out, "%s\n\n", prog->summary);
        woq_opt_help(tables, n, &out);
        if (prog->examples)
            woq_str_addf(&out, "\nexamples:\n%s", prog->examples);
        woq_str_addf(&out, "\nSee %s(1), woq(7).\n", prog->name);
    }
    fputs(out.s ? out.s : "", stdout);
    woq_str_release(&out);
}

/* --help and --version win over every other mistake on the command line. */
static void answer_questions(const struct woq_program *prog, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0)
            printf("%s %s\n", prog->name, WOQ_VERSION);
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            print_help(prog, "text");
        else if (strcmp(argv[i], "--help=mdoc") == 0 || strcmp(argv[i], "--help=complete") == 0)
            print_help(prog, argv[i] + strlen("--help="));
        else
            continue;
        exit(fflush(stdout) == 0 ? 0 : 1);
    }
}

static void quit(struct woq_filter *w, int status)
{
    say(w);
    if (status == WOQ_EUSAGE) {
        struct woq_str out = { 0 };

        usage_line(w->prog, &out);
        fputs(out.s ? out.s : "", stderr);
        woq_str_release(&out);
    }
    exit(woq_exit_status(status));
}

static void parse(struct woq_filter *w, int argc, char **argv)
{
    const struct woq_opt *tables[4];
    const size_t n = tables_of(w->prog, tables);
    bool seen[256] = { false };
    const int max = w->prog->operands || (w->prog->flags & WOQ_SOURCE) ? w->prog->max_operands : 1;
    int rc = woq_opt_parse(tables, n, argc, argv, &w->n_operands, seen, &w->err);

    if (rc == WOQ_OK && w->n_operands > max)
        rc = woq_fail(&w->err, WOQ_EUSAGE, "see --help", "operand '%s' is one too many", argv[max]);
    if (rc == WOQ_OK && w->n_operands < w->prog->min_operands)
        rc = woq_fail(&w->err, WOQ_EUSAGE, "see --help", "%d of %d operands are missing",
                      w->prog->min_operands - w->n_operands, w->prog->min_operands);
    if (rc == WOQ_OK && w->prog->check)
        rc = w->prog->check(&w->err);
    if (rc)
        quit(w, rc);
    w->operands = argv;
    woq_opt_record(tables, n, seen, &w->args);
}

static void trace_frame(const struct woq_filter *w, const char *arrow, const struct woq_frame *f)
{
    if (trace)
        fprintf(stderr, "%s: %s %llu %s %s\n", w->prog->name, arrow, (unsigned long long)f->seq,
                f->type, woq_frame_name(f));
}

static void trace_in(const void *w, const struct woq_frame *f)
{
    trace_frame(w, "<-", f);
}

int woq_filter_input(struct woq_filter *w, const char *spec, const struct woq_reader_opts *opts,
                     struct woq_reader **r)
{
    struct woq_reader_opts o = { 0 };

    if (opts)
        o = *opts;
    o.max_frame_bytes = max_frame;
    if (trace) {
        o.on_frame = trace_in;
        o.ctx = w;
    }
    if (strcmp(spec, "-") == 0 && isatty(STDIN_FILENO) == 1)
        return woq_fail(&w->err, WOQ_EUSAGE,
                        "pipe a stream in, for example: woq-extract MODEL | ...",
                        "standard input is a terminal");
    return woq_reader_open(r, spec, &o, &w->err);
}

/* WOQ_PROGRESS is what --progress is when nobody gives it. */
static void progress_default(struct woq_filter *w)
{
    static const char *const modes[] = { "auto", "plain", "json", "none" };
    const char *env = getenv("WOQ_PROGRESS");

    if (!env || !*env || strcmp(progress, "auto") != 0)
        return;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(env, modes[i]) == 0) {
            progress = modes[i];
            return;
        }
    woq_fail(&w->err, WOQ_EUSAGE, NULL, "WOQ_PROGRESS=%s: want auto, plain, json or none", env);
    quit(w, WOQ_EUSAGE);
}

static void open_input(struct woq_filter *w)
{
    const char *spec = !w->prog->operands && w->n_operands == 1 ? w->operands[0] : "-";
    const int rc = woq_filter_input(w, spec, NULL, &w->in);

    if (rc)
        quit(w, rc);
}

/* A stage whose output goes into a pipe stays silent: the last one tells. */
static bool is_last(const struct woq_filter *w)
{
    struct stat st;

    if (w->prog->flags & WOQ_SINK)
        return true;
    return fstat(STDOUT_FILENO, &st) == 0 && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode);
}

void woq_filter_open(struct woq_filter *w, const struct woq_program *prog, int argc, char **argv)
{
    memset(w, 0, sizeof *w);
    w->prog = prog;
    trace = getenv("WOQ_TRACE") != NULL;
    answer_questions(prog, argc, argv);
    parse(w, argc, argv);
    progress_default(w);
    if (threads)
        woq_threads_set((int)threads);
    if (!(prog->flags & WOQ_SINK) && isatty(STDOUT_FILENO) == 1) {
        woq_fail(&w->err, WOQ_EUSAGE, "pipe it into woq-ls to look at it, or into a file",
                 "will not write frames to a terminal");
        quit(w, WOQ_EUSAGE);
    }
    if (!(prog->flags & (WOQ_SOURCE | WOQ_OPENS)))
        open_input(w);
    w->progress = woq_progress_open(prog->name, quiet ? "none" : progress, is_last(w));
}

/* HEAD of the output: what came in, with this program added to the history. */
static int make_head(struct woq_filter *w)
{
    const struct woq_json *in = NULL;
    struct woq_json *history, *me;
    int rc;

    if (w->head)
        return WOQ_OK;
    if (w->in) {
        rc = woq_reader_head(w->in, &in, &w->err);
        if (rc)
            return rc;
        w->head = woq_json_copy(in);
    } else {
        w->head = woq_json_object();
        woq_json_set_str(w->head, "wts", WOQ_WTS_VERSION);
    }
    if (!w->head)
        return woq_fail_nomem(&w->err, 1 << 10);
    if (no_history || (w->prog->flags & WOQ_SINK))
        return WOQ_OK;
    if (!woq_json_get(w->head, "history"))
        woq_json_set(w->head, "history", woq_json_array());
    history = woq_json_get(w->head, "history");
    me = woq_json_object();
    woq_json_set_str(me, "prog", w->prog->name);
    woq_json_set_str(me, "version", WOQ_VERSION);
    woq_json_set_str(me, "args", w->args.s ? w->args.s : "");
    woq_json_push(history, me);
    return WOQ_OK;
}

static void show_totals(struct woq_filter *w)
{
    const struct woq_json *total = woq_json_get(w->head, "total");
    uint64_t bytes = 0;

    woq_json_u64(woq_json_get(total, "bytes"), &bytes);
    woq_progress_phase(w->progress, "stream", bytes, "B");
}

/* Who waits for input ends when nobody reads the output any more, as the next write would do: in a
 * loop (woq-calib --through) no input comes before that output, and all would wait for ever. */
static void wait_for_input(const struct woq_filter *w)
{
    struct pollfd fds[] = { { STDIN_FILENO, POLLIN, 0 }, { STDOUT_FILENO, 0, 0 } };

    if (w->prog->flags & WOQ_SINK || strcmp(woq_reader_name(w->in), "<stdin>") != 0)
        return;
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        continue;
    if (fds[1].revents & POLLERR && !fds[0].revents)
        raise(SIGPIPE);
}

int woq_filter_next(struct woq_filter *w, struct woq_frame **f)
{
    int rc;

    if (!w->head_read) {
        rc = make_head(w);
        if (rc)
            return rc;
        w->head_read = true;
        if (!(w->prog->flags & WOQ_SINK))
            show_totals(w);
    }
    wait_for_input(w);
    rc = woq_reader_next(w->in, f, &w->err);
    if (rc == WOQ_ITEM && !(w->prog->flags & WOQ_SINK))
        woq_progress_step(w->progress, woq_reader_bytes(w->in), woq_frame_name(*f));
    return rc;
}

struct woq_json *woq_filter_head(struct woq_filter *w)
{
    return make_head(w) == WOQ_OK ? w->head : NULL;
}

static int open_output(struct woq_filter *w)
{
    int rc;

    if (w->out)
        return WOQ_OK;
    rc = make_head(w);
    if (rc)
        return rc;
    return woq_writer_open_fd(&w->out, STDOUT_FILENO, "<stdout>", w->head, &w->err);
}

int woq_filter_put(struct woq_filter *w, struct woq_frame *f)
{
    int rc = open_output(w);

    if (rc)
        return rc;
    trace_frame(w, "->", f);
    return woq_writer_put(w->out, f, &w->err);
}

int woq_filter_put_zstd(struct woq_filter *w, struct woq_frame *f, int level)
{
    int rc = open_output(w);

    if (rc)
        return rc;
    trace_frame(w, "->", f);
    return woq_writer_put_zstd(w->out, f, level, &w->err);
}

/* WOQ_STATS=FILE: one JSON line per program, for reports on a whole pipeline. */
static void write_stats(const struct woq_filter *w, int status)
{
    const char *path = getenv("WOQ_STATS");
    FILE *f = path && *path ? fopen(path, "ae") : NULL;

    if (!f)
        return;
    fprintf(f, "{\"program\":\"%s\",\"status\":%d,\"peak_bytes\":%llu}\n", w->prog->name, status,
            (unsigned long long)woq_peak_bytes());
    fclose(f);
}

static int finish(struct woq_filter *w, int rc)
{
    if (rc == WOQ_OK && !(w->prog->flags & WOQ_SINK)) {
        rc = open_output(w);
        if (rc == WOQ_OK)
            rc = woq_writer_finish(w->out, &w->err);
    }
    if (rc == WOQ_OK && (fflush(stdout) != 0 || ferror(stdout))) {
        rc = woq_fail_errno(&w->err, NULL, "can't write");
        woq_error_at(&w->err, "<stdout>");
    }
    return rc;
}

/* A FAIL frame for the next program, even when our own HEAD was never read. That program may have
 * gone: our exit status then still tells of the failure, not of the pipe. */
static void pass_failure_on(struct woq_filter *w)
{
    const struct woq_error why = w->err;

    if (w->prog->flags & WOQ_SINK)
        return;
    if (!w->head) {
        w->head = woq_json_object();
        woq_json_set_str(w->head, "wts", WOQ_WTS_VERSION);
    }
    signal(SIGPIPE, SIG_IGN);
    if (open_output(w) == WOQ_OK)
        woq_writer_fail(w->out, w->prog->name, &why);
    w->err = why;
}

int woq_filter_close(struct woq_filter *w, int rc)
{
    int status;

    rc = finish(w, rc < 0 ? rc : WOQ_OK);
    woq_progress_close(w->progress);
    w->progress = NULL;
    if (rc < 0) {
        if (!is_victim(w, rc))
            say(w); /* first: whoever reads our output may end us, or speak before us */
        pass_failure_on(w);
    }
    status = woq_exit_status(rc);
    write_stats(w, status);
    woq_writer_close(w->out);
    woq_reader_close(w->in);
    woq_json_free(w->head);
    woq_str_release(&w->args);
    w->out = NULL;
    w->in = NULL;
    w->head = NULL;
    return status;
}

int woq_filter_at(struct woq_filter *w, const struct woq_frame *f)
{
    return woq_error_at(&w->err, "%s: frame %llu '%s', byte %llu",
                        w->in ? woq_reader_name(w->in) : "<stdin>", (unsigned long long)f->seq,
                        woq_frame_name(f), (unsigned long long)f->at_byte);
}

/* One write: a pipeline's programs share standard error, their lines must not mix. */
void woq_filter_note(struct woq_filter *w, const char *fmt, ...)
{
    struct woq_str line = { 0 };
    va_list ap;

    if (quiet)
        return;
    va_start(ap, fmt);
    woq_str_addf(&line, "%s: ", w->prog->name);
    woq_str_addv(&line, fmt, ap);
    woq_str_addf(&line, "\n");
    va_end(ap);
    fputs(line.s ? line.s : "", stderr);
    woq_str_release(&line);
}

bool woq_filter_verbose(const struct woq_filter *w)
{
    (void)w;
    return verbose;
}

bool woq_filter_quiet(const struct woq_filter *w)
{
    (void)w;
    return quiet;
}

uint64_t woq_filter_max_frame(const struct woq_filter *w)
{
    (void)w;
    return max_frame;
}
