/* woq -- the porcelain: tasks that run a pipeline of filters, and a way to every filter.
 *
 * The options of a task are those of its stages (woq/compose.h), so nothing has to be kept in step
 * here when a filter learns something. Any other word is a filter: `woq ls FILE` is `woq-ls FILE`.
 * It deliberately does no work on weights. */
#include "tasks.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(const char *task, const struct woq_error *err)
{
    fprintf(stderr, "woq %s: %s%s%s\n", task, err->where, err->where[0] ? ": " : "", err->what);
    if (err->hint[0])
        fprintf(stderr, "woq %s: hint: %s\n", task, err->hint);
    return woq_exit_status(err->status);
}

static int run(const struct woq_task *t, struct woq_compose *c, char **operands,
               struct woq_error *err)
{
    struct woq_str text = { 0 };
    int rc = woq_pipeline_text(c->stages, c->n_stages, &text);

    if (!rc && woq_dry_run)
        printf("%s\n", text.s);
    else if (!rc && woq_compose_value(c, "verbose"))
        fprintf(stderr, "woq %s: %s\n", t->name, text.s);
    woq_str_release(&text);
    if (rc)
        return woq_fail_nomem(err, 1 << 10);
    if (woq_dry_run)
        return t->report ? t->report(c, operands[0], err) : WOQ_OK;
    if (setenv("WOQ_TASK", t->name, 1)) /* stages need not repeat what others said */
        return woq_fail_errno(err, NULL, "WOQ_TASK");
    return woq_pipeline_run(c->stages, c->n_stages, err);
}

/* One line on who failed; its own message stands above. Status of the culprit, 1 for a signal. */
static int verdict(const struct woq_task *t, const struct woq_compose *c)
{
    const struct woq_stage *bad = woq_pipeline_culprit(c->stages, c->n_stages);

    if (!bad)
        return 0;
    if (bad->signal)
        fprintf(stderr, "woq %s: %s was ended by signal %d\n", t->name, bad->argv[0], bad->signal);
    else
        fprintf(stderr, "woq %s: %s failed with status %d\n", t->name, bad->argv[0],
                bad->exit_status);
    return bad->signal || bad->exit_status < 0 ? 1 : bad->exit_status;
}

static int run_task(const struct woq_task *t, int argc, char **argv)
{
    struct woq_compose c = { 0 };
    struct woq_error err = { 0 };
    int n = 0, rc, status = 0;

    woq_task_peek(argc, argv);
    rc = t->compose ? t->compose(&c, &err) : WOQ_OK;
    const struct woq_opt *const tables[] = { t->opts, c.opts };
    const size_t n_tables = t->compose ? 2 : 1;
    if (!rc && woq_task_help(t, tables, n_tables, argc, argv))
        goto out;
    if (!rc)
        rc = woq_opt_parse(tables, n_tables, argc, argv, &n, NULL, &err);
    if (!rc && n != t->n_operands)
        rc = woq_fail(&err, WOQ_EUSAGE, "see --help", "%d operands: want %s", n, t->operands);
    if (!rc && t->answer)
        rc = t->answer(argv[0], &err);
    else if (!rc && !(rc = woq_compose_finish(&c, &err)) && !(rc = t->place(&c, argv, &err)))
        rc = run(t, &c, argv, &err);
    status = rc < 0 ? fail(t->name, &err) : woq_dry_run ? 0 : verdict(t, &c);
out:
    woq_compose_release(&c);
    return status;
}

/* Replaces this program; returns only when that fails. */
static int become(char **argv)
{
    execvp(argv[0], argv);
    fprintf(stderr, "woq: cannot run '%s': %s\nwoq: hint: `woq list` prints what there is\n",
            argv[0], strerror(errno));
    return errno == ENOENT ? 2 : 1;
}

/* Path of a file relative to the folder of this executable: what a source tree has beside bin/. */
static bool beside(char *path, size_t cap, const char *relative)
{
    const char *path_env = getenv("PATH"); /* woq_path_siblings put our own folder first */
    const char *dirs = path_env ? path_env : ".";
    const int n = snprintf(path, cap, "%.*s/%s", (int)strcspn(dirs, ":"), dirs, relative);

    return n > 0 && (size_t)n < cap && access(path, R_OK) == 0;
}

/* The manual page of a program: of the tree that we stand in, else the installed one, else --help.
 */
static int open_page(const char *word)
{
    char name[64], local[96], path[4096];
    char *man[] = { (char *)"man", name, NULL, NULL }, *help[] = { name, (char *)"--help", NULL };

    snprintf(name, sizeof name, "%s%.50s", strncmp(word, "woq", 3) == 0 ? "" : "woq-", word);
    for (int section = 1; section <= 7; section += section == 1 ? 4 : 2) {
        snprintf(local, sizeof local, "../build/man/%s.%d", name, section);
        if (!beside(path, sizeof path, local))
            continue;
        man[1] = (char *)"-l";
        man[2] = path;
        execvp("man", man);
        man[0] = (char *)"mandoc";
        man[1] = (char *)"-a";
    }
    execvp(man[0], man);
    return become(help);
}

/* The programs beside this one, each with the second line of its --help. */
static int list_programs(void)
{
    char folder[4096];
    struct dirent **names = NULL;

    const int n = beside(folder, sizeof folder, "") ? scandir(folder, &names, NULL, alphasort) : 0;
    for (int i = 0; i < n; i++) {
        char *ask[] = { names[i]->d_name, (char *)"--help", NULL };
        struct woq_str text = { 0 };
        if (strncmp(ask[0], "woq-", 4) == 0 && woq_capture(ask, &text, NULL) == WOQ_OK && text.s &&
            strchr(text.s, '\n')) {
            const char *summary = strchr(text.s, '\n') + 1;
            printf("  %-14s %.*s\n", ask[0], (int)strcspn(summary, "\n"), summary);
        }
        woq_str_release(&text);
        free(names[i]);
    }
    free(names);
    return 0;
}

static int overview(void)
{
    printf("usage: woq TASK ...\ntasks that run a pipeline of filters\n\ntasks:\n");
    for (const struct woq_task *t = woq_tasks; t->name; t++)
        printf("  woq %-10s %s\n", t->name, t->summary);
    printf("  woq %-10s %s\n  woq %-10s %s\n", "help NAME", "the manual page of a task or filter",
           "NAME ...", "runs the filter woq-NAME");
    printf("\nfilters:\n");
    return list_programs();
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    struct woq_error err = { 0 };
    char name[64];

    if (woq_path_siblings(&err) < 0)
        return fail("", &err);
    for (const struct woq_task *t = woq_tasks; t->name; t++)
        if (strcmp(t->name, word) == 0)
            return run_task(t, argc - 1, argv + 1);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        return printf("woq %s\n", WOQ_VERSION) < 0;
    if (strcmp(word, "help") == 0 && argc > 2)
        return open_page(argv[2]);
    if (strncmp(word, "--help=", 7) == 0)
        return !woq_task_help(woq_tasks, &woq_tasks->opts, 1, argc, argv);
    if (strcmp(word, "help") == 0 || strcmp(word, "list") == 0 || strcmp(word, "--help") == 0)
        return overview();
    if (word[0] == '-' || word[0] == '\0') {
        fprintf(stderr, "woq: '%s': want a task or a filter\nusage: woq TASK ...; see woq help\n",
                word);
        return 2;
    }
    snprintf(name, sizeof name, "woq-%.50s", word);
    argv[1] = name;
    return become(argv + 1);
}
