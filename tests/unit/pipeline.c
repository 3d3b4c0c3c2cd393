/* pipeline.c -- pipelines without a shell, and command lines split over their stages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <woq/compose.h>

/* exec takes char **, which nobody writes to: literals will do. */
#pragma GCC diagnostic ignored "-Wdiscarded-qualifiers"
#define STAGE(...)                                                                                 \
    {                                                                                              \
        .argv = (char *[])                                                                         \
        {                                                                                          \
            __VA_ARGS__, NULL                                                                      \
        }                                                                                          \
    }
#define SH(text) STAGE("sh", "-c", text)

static void blames(struct woq_stage *stages, size_t n, long culprit, int status, int sig)
{
    struct woq_error err = { 0 };
    const struct woq_stage *bad;

    assert_int_equal(woq_pipeline_run(stages, n, &err), WOQ_OK);
    bad = woq_pipeline_culprit(stages, n);
    if (culprit < 0) {
        assert_null(bad);
        return;
    }
    assert_non_null(bad);
    assert_int_equal(bad - stages, culprit);
    assert_int_equal(bad->exit_status, status);
    assert_int_equal(bad->signal, sig);
}

static void all_well(void **state)
{
    (void)state;
    struct woq_stage s[] = { SH("echo a b"), STAGE("cat"), SH("read x; test \"$x\" = 'a b'") };
    blames(s, 3, -1, 0, 0);
    assert_true(s[1].peak_bytes > 100000);
}

static void the_culprit_is_not_a_victim(void **state)
{
    (void)state;
    struct woq_stage killed[] = { SH("yes"), SH("kill -9 $$"), SH("cat >/dev/null; exit 3") };
    struct woq_stage usage[] = { SH("yes"), SH("exit 2"), SH("cat >/dev/null; exit 3") };
    struct woq_stage only_victims[] = { SH("exit 0"), SH("exit 3"), SH("exit 3") };

    blames(killed, 3, 1, -1, SIGKILL);
    blames(usage, 3, 1, 2, 0);
    blames(only_victims, 3, 1, 3, 0);
}

static void the_first_reads_nothing(void **state)
{
    (void)state;
    struct woq_stage s[] = { SH("test -z \"$(cat)\"") };
    blames(s, 1, -1, 0, 0);
}

static void a_missing_program_ends_the_others(void **state)
{
    (void)state;
    struct woq_stage s[] = { SH("exec sleep 60"), STAGE("woq-no-such-program") };
    struct woq_error err = { 0 };

    assert_int_equal(woq_pipeline_run(s, 2, &err), WOQ_ESYS);
    assert_non_null(strstr(err.what, "woq-no-such-program"));
    assert_int_equal(s[0].signal, SIGTERM);
}

static volatile sig_atomic_t came;
static void note(int sig)
{
    came = sig;
}

static void signals_reach_the_stages_and_then_us(void **state)
{
    (void)state;
    struct sigaction mine = { .sa_handler = note }, before;
    struct woq_stage s[] = { SH("kill -TERM $PPID; exec sleep 60"), SH("exec sleep 60") };
    struct woq_error err = { 0 };

    sigemptyset(&mine.sa_mask);
    sigaction(SIGTERM, &mine, &before);
    assert_int_equal(woq_pipeline_run(s, 2, &err), WOQ_OK);
    sigaction(SIGTERM, &before, NULL);
    assert_int_equal(came, SIGTERM);
    assert_int_equal(s[0].signal, SIGTERM);
    assert_int_equal(s[1].signal, SIGTERM);
}

static void text_can_be_pasted(void **state)
{
    (void)state;
    const struct woq_stage s[] = { STAGE("a", "x y", "", "it's"), STAGE("b", "--k=1,2", "*$") };
    struct woq_str text = { 0 };

    assert_int_equal(woq_pipeline_text(s, 2, &text), WOQ_OK);
    assert_string_equal(text.s, "a 'x y' '' 'it'\\''s' | b --k=1,2 '*$'");
    woq_str_release(&text);
}

static void capture_wants_success(void **state)
{
    (void)state;
    struct woq_str text = { 0 };
    struct woq_error err = { 0 };
    char *good[] = { "echo", "hello", NULL }, *bad[] = { "sh", "-c", "echo x; exit 1", NULL };

    assert_int_equal(woq_capture(good, &text, &err), WOQ_OK);
    assert_string_equal(text.s, "hello\n");
    assert_int_equal(woq_capture(bad, &text, &err), WOQ_ESYS);
    woq_str_release(&text);
}

/* Two programs that share --threads; --bits has a range, --rule repeats. */
static void script(const char *path, const char *table)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\nprintf '%%b' '%s'\n", table);
    fclose(f);
    char *mode[] = { "chmod", "+x", (char *)path, NULL };
    struct woq_str none = { 0 };
    assert_int_equal(woq_capture(mode, &none, NULL), WOQ_OK);
}

static void options_go_where_they_are_known(void **state)
{
    (void)state;
    char folder[] = "/tmp/woq-unit-XXXXXX", one[64], two[64];
    struct woq_compose c = { 0 };
    struct woq_error err = { 0 };
    struct woq_str text = { 0 };
    char *argv[] = {
        "x", "--threads", "2", "--bits=-1", "M", "--rule", "a b", "--rule", "c", NULL
    };
    char *high[] = { "x", "--bits", "9", NULL };
    const struct woq_opt *table;
    int n;

    assert_non_null(mkdtemp(folder));
    snprintf(one, sizeof one, "%s/one", folder);
    snprintf(two, sizeof two, "%s/two", folder);
    script(one, "--help\\tflag\\t\\th\\n--threads\\tint\\t0..64\\tt\\n--bits\\tint\\t-1..8\\tb\\n");
    script(two, "--threads\\tint\\t0..64\\tt\\n--rule\\tlist\\t\\tr\\n--sym\\tflag\\t\\ts\\n");
    assert_int_equal(woq_compose_add(&c, one, "help|x", &err), WOQ_OK);
    assert_int_equal(woq_compose_add(&c, two, NULL, &err), WOQ_OK);
    table = c.opts;
    assert_int_equal(woq_opt_parse(&table, 1, 9, argv, &n, NULL, &err), WOQ_OK);
    assert_int_equal(n, 1);
    assert_string_equal(woq_compose_value(&c, "bits"), "-1");
    assert_null(woq_compose_value(&c, "sym"));
    assert_null(woq_compose_value(&c, "help"));
    assert_int_equal(woq_compose_finish(&c, &err), WOQ_OK);
    assert_int_equal(woq_pipeline_text(c.stages, 2, &text), WOQ_OK);
    const char *const want = "one --threads 2 --bits=-1 | ";
    assert_non_null(strstr(text.s, want));
    assert_non_null(strstr(text.s, "two --threads 2 --rule 'a b' --rule c"));
    assert_int_equal(woq_opt_parse(&table, 1, 3, high, &n, NULL, &err), WOQ_OK);
    assert_int_equal(woq_compose_finish(&c, &err), WOQ_EUSAGE);
    assert_string_equal(err.what, "--bits 9: want -1..8");
    woq_compose_release(&c);
    woq_str_release(&text);
    unlink(one);
    unlink(two);
    rmdir(folder);
}

static void nested_stages_become_a_word_of_their_host(void **state)
{
    (void)state;
    char folder[] = "/tmp/woq-unit-XXXXXX", name[4][64], want[256];
    struct woq_compose c = { 0 };
    struct woq_error err = { 0 };
    char *argv[] = { "x", "--glob", "*", "--threads", "2", NULL };
    const struct woq_opt *table;
    int n;

    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 4; i++) {
        snprintf(name[i], sizeof name[i], "%s/p%d", folder, i);
        script(name[i],
               i == 3 ? "--glob\\tstring\\t\\tg\\n" : "--threads\\tint\\t0..64\\tt (default 7)\\n");
        assert_int_equal(woq_compose_add(&c, name[i], NULL, &err), WOQ_OK);
    }
    assert_int_equal(woq_compose_add_words(&c, " ssh  host ", &err), WOQ_OK);
    assert_int_equal(woq_compose_add_words(&c, "last", &err), WOQ_OK);
    assert_int_equal(woq_compose_nest(&c, 2, 2, 4, NULL, &err), WOQ_OK);
    assert_int_equal(woq_compose_nest(&c, 4, 1, 1, "through", &err), WOQ_OK);
    assert_int_equal(woq_compose_nest(&c, 0, 1, 1, NULL, &err), WOQ_EUSAGE);
    assert_true(woq_compose_has(&c, 3, "glob"));
    assert_false(woq_compose_has(&c, 2, "glob"));
    table = c.opts;
    assert_int_equal((int)woq_compose_number(&c, "threads", 1), 7);
    assert_int_equal((int)woq_compose_number(&c, "nothing", 1), 1);
    assert_int_equal(woq_opt_parse(&table, 1, 5, argv, &n, NULL, &err), WOQ_OK);
    assert_int_equal((int)woq_compose_number(&c, "threads", 1), 2);
    assert_int_equal(woq_compose_finish(&c, &err), WOQ_OK);
    assert_int_equal(c.n_stages, 3);
    assert_int_equal(c.n_nested, 3);
    assert_string_equal(c.stages[1].argv[0], name[1]);
    assert_string_equal(c.stages[1].argv[3], "--through");
    snprintf(want, sizeof want, "ssh host '%s --threads 2 | %s --glob '\\''*'\\'''", name[2],
             name[3]);
    assert_string_equal(c.stages[1].argv[4], want);
    assert_string_equal(c.stages[2].argv[0], "last");
    woq_compose_release(&c);
    for (int i = 0; i < 4; i++)
        unlink(name[i]);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_well),
        cmocka_unit_test(the_culprit_is_not_a_victim),
        cmocka_unit_test(the_first_reads_nothing),
        cmocka_unit_test(a_missing_program_ends_the_others),
        cmocka_unit_test(signals_reach_the_stages_and_then_us),
        cmocka_unit_test(text_can_be_pasted),
        cmocka_unit_test(capture_wants_success),
        cmocka_unit_test(options_go_where_they_are_known),
        cmocka_unit_test(nested_stages_become_a_word_of_their_host),
    };
    return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}
