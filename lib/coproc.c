/* coproc.c -- both ends of a command: we write, a thread reads. */
#include <woq/coproc.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char hint_slow[] =
    "the command must take each unit and return it with its LOOP before "
    "it gets the next one; a slow one needs --timeout 0";

struct woq_coproc {
    char *command;
    pid_t pid;
    pid_t all; /* what kill() is told: its process group, or pid alone */
    int to, from;
    int wake[2]; /* a byte ends the wait for the next frame */
    struct woq_writer *out;
    struct woq_reader *in;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock;
    pthread_cond_t news;
    struct woq_frame *frames; /* of the unit in hand */
    size_t n, cap;
    unsigned patience;  /* seconds without a frame until a unit is given up; 0 = no limit */
    time_t since;       /* monotonic seconds when the frame that is being written began; 0 = none */
    bool stuck;         /* it was not taken for too long */
    bool closing;       /* no unit will be awaited any more */
    size_t n_late;      /* frames that came then */
    bool looped, ended; /* LOOP has come; the stream has ended (rc tells how) */
    char loop[256];     /* text of the LOOP frame's meta */
    int rc;
    struct woq_error err;
};

/* Keeps one frame. LOOP closes the unit. Activations that come back are ours already: they would
 * take as much memory as all tokens need. */
static int keep(struct woq_coproc *p, struct woq_frame *f)
{
    if (woq_frame_is(f, "LOOP")) {
        char *text = woq_json_print(f->meta, false);

        snprintf(p->loop, sizeof p->loop, "%s", text ? text : "");
        free(text);
        p->looped = true;
        return WOQ_OK;
    }
    if (woq_frame_is(f, "acts"))
        return WOQ_OK;
    return woq_frames_push(&p->frames, &p->n, &p->cap, f, &p->err);
}

static time_t seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1; /* never 0 */
}

/* Whoever writes waits in the kernel: a command that does not read is ended from here. */
static void look_at_writer(struct woq_coproc *p)
{
    pthread_mutex_lock(&p->lock);
    if (p->patience && p->since && seconds() - p->since > (time_t)p->patience && !p->stuck) {
        p->stuck = true;
        kill(p->all, SIGTERM);
    }
    pthread_mutex_unlock(&p->lock);
}

/* Waits for the next frame to begin. false: the command was given up. */
static bool more(struct woq_coproc *p)
{
    struct pollfd fds[2] = { { p->from, POLLIN, 0 }, { p->wake[0], POLLIN, 0 } };
    int n;

    while ((n = poll(fds, 2, 500)) == 0 || (n < 0 && errno == EINTR))
        look_at_writer(p);
    return fds[1].revents == 0;
}

/* woq_writer_put, with its time taken. */
static int put(struct woq_coproc *p, struct woq_frame *f, struct woq_error *err)
{
    int rc;

    pthread_mutex_lock(&p->lock);
    p->since = seconds();
    pthread_mutex_unlock(&p->lock);
    rc = woq_writer_put(p->out, f, err);
    pthread_mutex_lock(&p->lock);
    p->since = 0;
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static void *read_back(void *ctx)
{
    struct woq_coproc *p = ctx;
    struct woq_frame *f;
    struct woq_error err = { 0 };
    int rc = WOQ_OK;

    while (more(p) && (rc = woq_reader_next(p->in, &f, &err)) > 0) {
        pthread_mutex_lock(&p->lock);
        while (p->looped && !p->closing) /* the unit before was not taken over yet */
            pthread_cond_wait(&p->news, &p->lock);
        if (p->closing)
            p->n_late++;
        else
            rc = keep(p, f);
        pthread_cond_broadcast(&p->news);
        pthread_mutex_unlock(&p->lock);
        if (rc < 0)
            break;
    }
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    p->rc = rc;
    if (rc < 0 && !p->err.status)
        p->err = err;
    if (rc < 0) { /* a command that only writes must end, or our own put would wait for ever */
        close(p->from);
        p->from = -1;
    }
    pthread_cond_broadcast(&p->news);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ------------------------------------------------------------------ signals */

enum { N_SIGNALS = 3 };
static const int signals[N_SIGNALS] = { SIGINT, SIGTERM, SIGHUP };
static struct sigaction before[N_SIGNALS];
/* What kill() is told: the process group of the command, or the command alone. 0: none. A handler
 * has nothing else to go by, so this is one of a process, and the last command's. */
static volatile sig_atomic_t target;

static void on_signal(int sig)
{
    const pid_t command = (pid_t)target;

    if (command != 0)
        kill(command, SIGTERM);
    signal(sig, SIG_DFL);
    raise(sig);
}

/* From now on a signal that ends us ends the command too, unless we were told to ignore it. */
static void catch_signals(pid_t command)
{
    struct sigaction a = { 0 };

    a.sa_handler = on_signal;
    sigemptyset(&a.sa_mask);
    target = (sig_atomic_t)command;
    for (int i = 0; i < N_SIGNALS; i++) {
        sigaction(signals[i], NULL, &before[i]);
        if (before[i].sa_handler == SIG_DFL)
            sigaction(signals[i], &a, NULL);
    }
}

/* *old: the mask before. */
static void hold_signals(sigset_t *old)
{
    sigset_t set;

    sigemptyset(&set);
    for (int i = 0; i < N_SIGNALS; i++)
        sigaddset(&set, signals[i]);
    pthread_sigmask(SIG_BLOCK, &set, old);
}

static void release_signals(void)
{
    if (target == 0)
        return;
    target = 0;
    for (int i = 0; i < N_SIGNALS; i++)
        if (before[i].sa_handler == SIG_DFL)
            sigaction(signals[i], &before[i], NULL);
}

/* At a terminal the command stays in our process group: ^C reaches it, and ssh may ask for a
 * password. Elsewhere it gets one of its own, so that all of a pipeline can be ended. */
static bool has_terminal(void)
{
    const int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* ------------------------------------------------------------------ the child */

/* The child's side: the two pipes become its standard input and output. */
static void run_child(const char *command, int in, int out, bool own_group)
{
    if (own_group)
        setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL); /* we ignore it, the command's programs do not */
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static int start(struct woq_coproc *p, struct woq_error *err)
{
    const bool own_group = !has_terminal();
    sigset_t mask;
    int to[2], from[2];

    if (pipe(to) != 0)
        return woq_fail_errno(err, NULL, "can't make a pipe");
    if (pipe(from) != 0) {
        close(to[0]);
        close(to[1]);
        return woq_fail_errno(err, NULL, "can't make a pipe");
    }
    if (pipe(p->wake) != 0) {
        for (int i = 0; i < 2; i++) {
            close(to[i]);
            close(from[i]);
        }
        p->wake[0] = p->wake[1] = -1;
        return woq_fail_errno(err, NULL, "can't make a pipe");
    }
    /* The child's ends too: its programs must not hold each other's pipes open. dup2 undoes it. */
    for (int i = 0; i < 2; i++) {
        fcntl(to[i], F_SETFD, FD_CLOEXEC);
        fcntl(from[i], F_SETFD, FD_CLOEXEC);
        fcntl(p->wake[i], F_SETFD, FD_CLOEXEC);
    }
    hold_signals(&mask); /* none comes between the command's start and catch_signals */
    p->pid = fork();
    if (p->pid == 0) {
        sigprocmask(SIG_SETMASK, &mask, NULL);
        run_child(p->command, to[0], from[1], own_group);
    }
    if (p->pid > 0 && own_group)
        setpgid(p->pid, p->pid); /* whoever of the two comes first */
    if (p->pid > 0) {
        p->all = own_group ? -p->pid : p->pid;
        catch_signals(p->all);
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    close(to[0]);
    close(from[1]);
    p->to = to[1];
    p->from = from[0];
    return p->pid < 0 ? woq_fail_errno(err, NULL, "can't start '%s'", p->command) : WOQ_OK;
}

/* What became of the command, as the end of a message. */
static void status_text(int status, char *text, size_t cap)
{
    if (WIFSIGNALED(status))
        snprintf(text, cap, "was ended by signal %d", WTERMSIG(status));
    else
        snprintf(text, cap, "ended with status %d", WEXITSTATUS(status));
}

/* Ends our side of both pipes and waits for the thread and then for the command. */
static void hang_up(struct woq_coproc *p, int *status)
{
    woq_writer_close(p->out);
    p->out = NULL;
    if (p->to >= 0)
        close(p->to); /* the command sees the end of its input, and ends */
    p->to = -1;
    if (p->has_thread) {
        pthread_mutex_lock(&p->lock);
        p->closing = true;
        pthread_cond_broadcast(&p->news);
        pthread_mutex_unlock(&p->lock);
        pthread_join(p->thread, NULL);
    }
    p->has_thread = false;
    if (p->from >= 0)
        close(p->from); /* the thread is done with it: a command that goes on writing ends */
    p->from = -1;
    while (p->pid > 0 && waitpid(p->pid, status, 0) < 0 && errno == EINTR)
        continue;
    p->pid = 0;
    release_signals();
}

/* The command's end explains an error on either pipe: its FAIL message, else what was wrong with
 * its stream, else its exit status. */
static int explain(struct woq_coproc *p, int rc, struct woq_error *err)
{
    char text[64];
    int status = 0;

    hang_up(p, &status);
    status_text(status, text, sizeof text);
    if (p->stuck)
        return woq_fail(err, WOQ_ESYS, hint_slow, "'%s' took nothing of a frame for %u seconds",
                        p->command, p->patience);
    if (p->ended && p->rc == WOQ_EUPSTREAM)
        return woq_fail(err, WOQ_ESYS, p->err.hint[0] ? p->err.hint : NULL, "'%s' %s: %s",
                        p->command, text, p->err.what);
    if (p->ended && p->rc < 0 && p->rc != WOQ_ETRUNC)
        return woq_fail(err, p->rc, p->err.hint[0] ? p->err.hint : NULL, "'%s' returned: %s",
                        p->command, p->err.what);
    if (status != 0 || rc == WOQ_ESYS || (p->ended && p->rc == WOQ_ETRUNC))
        return woq_fail(err, WOQ_ESYS,
                        "run the command alone on a small stream to see what it says",
                        "'%s' %s before its work was done", p->command, text);
    return rc;
}

int woq_coproc_open(struct woq_coproc **out, const char *command, const struct woq_json *head,
                    uint64_t max_frame_bytes, struct woq_error *err)
{
    const struct woq_reader_opts opts = { .max_frame_bytes = max_frame_bytes };
    struct woq_coproc *p = calloc(1, sizeof *p);
    pthread_condattr_t clock;
    int rc;

    if (!p)
        return woq_fail_nomem(err, sizeof *p);
    p->to = p->from = p->wake[0] = p->wake[1] = -1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&p->news, &clock);
    pthread_condattr_destroy(&clock);
    p->command = strdup(command);
    rc = p->command ? start(p, err) : woq_fail_nomem(err, strlen(command));
    if (rc == WOQ_OK)
        rc = woq_reader_open_fd(&p->in, p->from, "<through>", &opts, err);
    if (rc == WOQ_OK && pthread_create(&p->thread, NULL, read_back, p) != 0)
        rc = woq_fail_errno(err, NULL, "can't start a thread");
    p->has_thread = rc == WOQ_OK;
    if (rc == WOQ_OK && (rc = woq_writer_open_fd(&p->out, p->to, "<through>", head, err)) < 0)
        rc = explain(p, rc, err);
    if (rc < 0)
        return woq_coproc_close(p, rc, err);
    *out = p;
    return WOQ_OK;
}

int woq_coproc_put(struct woq_coproc *p, struct woq_frame *f, struct woq_error *err)
{
    int rc = put(p, f, err);

    return rc < 0 ? explain(p, rc, err) : rc;
}

static int send_loop(struct woq_coproc *p, const struct woq_json *unit, char **text,
                     struct woq_error *err)
{
    struct woq_frame f = { 0 };
    int rc;

    woq_frame_begin(&f, "LOOP");
    woq_json_free(f.meta);
    f.meta = woq_json_copy(unit);
    *text = woq_json_print(unit, false);
    rc = f.meta && *text ? put(p, &f, err) : woq_fail_nomem(err, 256);
    woq_frame_release(&f);
    return rc;
}

void woq_coproc_patience(struct woq_coproc *p, unsigned seconds)
{
    pthread_mutex_lock(&p->lock);
    p->patience = seconds;
    pthread_mutex_unlock(&p->lock);
}

/* Until LOOP has come or the stream has ended. false: nothing came for too long. Locked. */
static bool await(struct woq_coproc *p)
{
    struct timespec until = { 0 };
    size_t seen = SIZE_MAX;

    while (!p->looped && !p->ended) {
        if (p->n != seen) {
            seen = p->n;
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_sec += (time_t)p->patience;
        }
        if (!p->patience)
            pthread_cond_wait(&p->news, &p->lock);
        else if (pthread_cond_timedwait(&p->news, &p->lock, &until) == ETIMEDOUT && p->n == seen)
            return p->looped || p->ended;
    }
    return true;
}

/* At a terminal, programs of the command that do not end with their input are left behind. */
static int give_up(struct woq_coproc *p, const char *unit, struct woq_error *err)
{
    const ssize_t woken = write(p->wake[1], "", 1);

    (void)woken;
    kill(p->all, SIGTERM);
    return woq_fail(err, WOQ_ESYS, hint_slow, "'%s' returned nothing for %u seconds, want LOOP %s",
                    p->command, p->patience, unit);
}

int woq_coproc_loop(struct woq_coproc *p, const struct woq_json *unit, struct woq_frame **frames,
                    size_t *n, struct woq_error *err)
{
    bool answered;
    char *text = NULL;
    int rc = send_loop(p, unit, &text, err);

    if (rc < 0) {
        free(text);
        return explain(p, rc, err);
    }
    pthread_mutex_lock(&p->lock);
    answered = await(p);
    *frames = p->frames;
    *n = p->n;
    if (!p->looped)
        rc = WOQ_ETRUNC;
    pthread_mutex_unlock(&p->lock);
    if (!answered) {
        rc = give_up(p, text, err);
    } else if (rc < 0) {
        woq_fail(err, WOQ_EDATA, NULL, "'%s' ended its stream before LOOP came back", p->command);
        rc = explain(p, WOQ_EDATA, err);
    } else if (strcmp(p->loop, text) != 0) {
        rc = woq_fail(err, WOQ_EDATA, "let LOOP frames pass in order",
                      "'%s' returned LOOP %s, want %s", p->command, p->loop, text);
    }
    free(text);
    return rc;
}

void woq_coproc_next(struct woq_coproc *p)
{
    pthread_mutex_lock(&p->lock);
    p->n = 0;
    p->looped = false;
    pthread_cond_broadcast(&p->news);
    pthread_mutex_unlock(&p->lock);
}

static int finish(struct woq_coproc *p, struct woq_error *err)
{
    int rc = woq_writer_finish(p->out, err);

    if (rc < 0)
        return explain(p, rc, err);
    rc = explain(p, WOQ_OK, err);
    if (rc == WOQ_OK && (p->n || p->looped || p->n_late))
        rc = woq_fail(err, WOQ_EDATA, "the command must return each unit once",
                      "'%s' returned %zu frames after the last LOOP", p->command,
                      p->n + p->looped + p->n_late);
    return rc;
}

int woq_coproc_close(struct woq_coproc *p, int rc, struct woq_error *err)
{
    int status;

    if (!p)
        return rc;
    if (rc == WOQ_OK)
        rc = finish(p, err);
    hang_up(p, &status);
    woq_reader_close(p->in);
    for (size_t i = 0; i < p->cap; i++)
        woq_frame_release(&p->frames[i]);
    free(p->frames);
    free(p->command);
    for (int i = 0; i < 2; i++)
        if (p->wake[i] >= 0)
            close(p->wake[i]);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->news);
    free(p);
    return rc;
}
