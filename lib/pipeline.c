/* pipeline.c -- fork, exec, pipes and statuses. wait4 is not in POSIX; it alone tells the peak
 * memory of one child. */
#define _DEFAULT_SOURCE
#include <woq/pipeline.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MAX_STAGES = 16, MAX_CAPTURE = 1 << 20 };

/* What the signal handler may see: pids of running stages, and the signal that came. */
static volatile sig_atomic_t caught;
static volatile pid_t running[MAX_STAGES];

static const int passed_on[] = { SIGINT, SIGTERM, SIGHUP };
enum { N_PASSED_ON = sizeof passed_on / sizeof *passed_on };

static void on_signal(int signal)
{
    const int saved = errno;

    caught = signal;
    for (size_t i = 0; i < MAX_STAGES; i++)
        if (running[i] > 0)
            kill(running[i], signal);
    errno = saved;
}

static int close_on_exec(int fd)
{
    return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Starts argv with its standard input and output on these descriptors. */
static int spawn(char *const *argv, int in, int out, pid_t *pid, struct woq_error *err)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t defaults;
    int rc;

    /* A SIGPIPE ignored by whoever started us would be inherited, and a stage whose reader has gone
     * would then go on for nothing. */
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    if ((rc = posix_spawn_file_actions_init(&files)) != 0)
        goto failed;
    if ((rc = posix_spawnattr_init(&attr)) != 0) {
        posix_spawn_file_actions_destroy(&files);
        goto failed;
    }
    if (!(rc = posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO)) &&
        !(rc = posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO)) &&
        !(rc = posix_spawnattr_setsigdefault(&attr, &defaults)) &&
        !(rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF)))
        rc = posix_spawnp(pid, argv[0], &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    if (!rc)
        return WOQ_OK;
failed:
    return woq_fail(err, WOQ_ESYS, rc == ENOENT ? "is woq installed whole, or bin/ on PATH?" : NULL,
                    "cannot start '%s': %s", argv[0], strerror(rc));
}

/* Starts every stage; on failure those already started see their pipes close. */
static int start(struct woq_stage *stages, size_t n, struct woq_error *err)
{
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC), rc = WOQ_OK;

    if (in < 0)
        return woq_fail_errno(err, NULL, "/dev/null");
    for (size_t i = 0; i < n && !rc; i++) {
        int ends[2] = { -1, STDOUT_FILENO };
        pid_t pid = 0;

        if (i + 1 < n && (pipe(ends) || close_on_exec(ends[0]) || close_on_exec(ends[1])))
            rc = woq_fail_errno(err, NULL, "pipe");
        else if (!(rc = spawn(stages[i].argv, in, ends[1], &pid, err)))
            stages[i].pid = running[i] = pid;
        close(in);
        if (i + 1 < n && ends[1] > STDERR_FILENO)
            close(ends[1]);
        in = ends[0];
    }
    if (in >= 0)
        close(in);
    return rc;
}

static void wait_all(struct woq_stage *stages, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct rusage usage;
        int status = 0;
        pid_t pid;

        if (stages[i].pid <= 0)
            continue;
        do
            pid = wait4((pid_t)stages[i].pid, &status, 0, &usage);
        while (pid < 0 && errno == EINTR);
        running[i] = 0;
        stages[i].exit_status = -1;
        if (pid < 0)
            continue;
        if (WIFEXITED(status))
            stages[i].exit_status = WEXITSTATUS(status);
        else
            stages[i].signal = WTERMSIG(status);
        stages[i].peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
    }
}

int woq_pipeline_run(struct woq_stage *stages, size_t n, struct woq_error *err)
{
    struct sigaction pass = { .sa_handler = on_signal }, before[N_PASSED_ON];
    int rc;

    if (n == 0 || n > MAX_STAGES)
        return woq_fail(err, WOQ_EUSAGE, NULL, "a pipeline of %zu stages: want 1 to %d", n,
                        MAX_STAGES);
    for (size_t i = 0; i < n; i++) {
        stages[i].pid = 0;
        stages[i].exit_status = stages[i].signal = 0;
        stages[i].peak_bytes = 0;
    }
    caught = 0;
    sigemptyset(&pass.sa_mask);
    for (size_t i = 0; i < N_PASSED_ON; i++)
        sigaction(passed_on[i], &pass, &before[i]);
    if ((rc = start(stages, n, err)) < 0)
        on_signal(SIGTERM);
    else if (caught)
        on_signal(caught); /* it came before the last stage was known */
    wait_all(stages, n);
    const int signal = rc < 0 ? 0 : caught;
    for (size_t i = 0; i < N_PASSED_ON; i++)
        sigaction(passed_on[i], &before[i], NULL);
    if (signal)
        raise(signal);
    return rc;
}

const struct woq_stage *woq_pipeline_culprit(const struct woq_stage *stages, size_t n)
{
    const struct woq_stage *victim = NULL;

    for (size_t i = 0; i < n; i++) {
        const struct woq_stage *s = &stages[i];
        if (s->exit_status == 0)
            continue;
        /* A shell that ran the program reports its SIGPIPE as 128 + 13. */
        if (s->exit_status != 3 && s->exit_status != 128 + SIGPIPE && s->signal != SIGPIPE)
            return s;
        if (!victim)
            victim = s;
    }
    return victim;
}

static int add_word(struct woq_str *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_./:=,+@%-";
    int rc = WOQ_OK;

    if (*word && strspn(word, plain) == strlen(word))
        return woq_str_addf(out, "%s", word);
    rc = woq_str_addf(out, "'");
    for (const char *c = word; *c && !rc; c++)
        rc = *c == '\'' ? woq_str_addf(out, "'\\''") : woq_str_add(out, c, 1);
    return rc ? rc : woq_str_addf(out, "'");
}

int woq_pipeline_text(const struct woq_stage *stages, size_t n, struct woq_str *out)
{
    int rc = WOQ_OK;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; stages[i].argv[k]; k++) {
            if (k || i)
                rc = woq_str_addf(out, k ? " " : " | ");
            if (rc || (rc = add_word(out, stages[i].argv[k])))
                return rc;
        }
    return rc;
}

int woq_capture(char *const *argv, struct woq_str *out, struct woq_error *err)
{
    char bytes[4096];
    int ends[2], status = 0, rc;
    pid_t pid = 0;
    ssize_t got;

    if (pipe(ends))
        return woq_fail_errno(err, NULL, "pipe");
    if (close_on_exec(ends[0]) || close_on_exec(ends[1]))
        rc = woq_fail_errno(err, NULL, "pipe");
    else
        rc = spawn(argv, STDIN_FILENO, ends[1], &pid, err);
    close(ends[1]);
    while (!rc && ((got = read(ends[0], bytes, sizeof bytes)) > 0 || (got < 0 && errno == EINTR)))
        if (got > 0 && out->len < MAX_CAPTURE)
            rc = woq_str_add(out, bytes, (size_t)got);
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (rc < 0)
        return rc;
    if (status)
        return woq_fail(err, WOQ_ESYS, NULL, "'%s %s' failed", argv[0], argv[1] ? argv[1] : "");
    return WOQ_OK;
}

int woq_path_siblings(struct woq_error *err)
{
    const char *path = getenv("PATH");
    char self[PATH_MAX];
    struct woq_str joined = { 0 };
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    int rc;

    if (n <= 0)
        return WOQ_OK; /* no /proc: PATH alone has to do */
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    rc = woq_str_addf(&joined, "%s:%s", self, path ? path : "/usr/local/bin:/usr/bin:/bin");
    if (!rc && setenv("PATH", joined.s, 1))
        rc = woq_fail_errno(err, NULL, "PATH");
    woq_str_release(&joined);
    return rc;
}
