/* coproc.c -- commands at the other end of the loop: one that works, and every way not to. */
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
#include <woq/coproc.h>

enum { UNITS = 3 };

static char folder[] = "/tmp/woq-unit-XXXXXX";
/* `cat FILE; exec cat >/dev/null`: a command that says what it was told to, and then takes whatever
 * it gets. */
static char replay[512];

static struct woq_json *unit_of(int u)
{
    struct woq_json *unit = woq_json_object();

    woq_json_set_num(unit, "block", u);
    woq_json_set_str(unit, "group", "qkv");
    return unit;
}

static void tensor(struct woq_frame *f, int u, const float *data, size_t n)
{
    const uint64_t shape[2] = { 1, n };
    char name[16];

    snprintf(name, sizeof name, "w%d", u);
    woq_frame_begin(f, "TENS");
    woq_json_set_str(woq_frame_edit(f), "name", name);
    assert_int_equal(woq_frame_add(f, "data", WOQ_F32, 2, shape, data, NULL), WOQ_OK);
}

static struct woq_json *head(void)
{
    struct woq_json *h = woq_json_object();

    woq_json_set_str(h, "wts", WOQ_WTS_VERSION);
    return h;
}

/* One unit of two tensors of n floats, and what came back for it. */
static int one_unit(struct woq_coproc *p, int u, const float *data, size_t n, size_t *n_back,
                    struct woq_error *err)
{
    struct woq_json *unit = unit_of(u);
    struct woq_frame f = { 0 }, *back;
    int rc = WOQ_OK;

    for (int i = 0; i < 2 && rc == WOQ_OK; i++) {
        tensor(&f, u, data, n);
        rc = woq_coproc_put(p, &f, err);
    }
    if (rc == WOQ_OK)
        rc = woq_coproc_loop(p, unit, &back, n_back, err);
    for (size_t i = 0; rc == WOQ_OK && i < *n_back; i++) {
        struct woq_tensor t;

        assert_int_equal(woq_frame_view(&back[i], &t, err), WOQ_OK);
        assert_int_equal(t.name[1], '0' + u);
        if (t.n_elem == n)
            assert_memory_equal(t.data, data, n * sizeof *data);
    }
    if (rc == WOQ_OK)
        woq_coproc_next(p);
    woq_json_free(unit);
    woq_frame_release(&f);
    return rc;
}

/* n_units units of two tensors of n floats through the command; n_back[u] frames came back. */
static int through(const char *command, int n_units, size_t n, size_t *n_back,
                   struct woq_error *err)
{
    struct woq_json *h = head();
    struct woq_coproc *p = NULL;
    float *data = malloc(n * sizeof *data);
    int rc;

    assert_non_null(data);
    memset(err, 0, sizeof *err);
    for (size_t i = 0; i < n; i++)
        data[i] = (float)i;
    rc = woq_coproc_open(&p, command, h, 0, err);
    for (int u = 0; u < n_units && rc == WOQ_OK; u++)
        rc = one_unit(p, u, data, n, &n_back[u], err);
    rc = woq_coproc_close(p, rc, err);
    free(data);
    woq_json_free(h);
    return rc;
}

/* The command fails with a message that has `text` in it, whether the tensors fit into the pipe or
 * fill it many times. */
static void fails(const char *command, int status, const char *text)
{
    struct woq_error err;
    size_t n_back[UNITS];

    for (size_t n = 4; n <= 400000; n *= 100000) {
        const int rc = through(command, 1, n, n_back, &err);

        if (rc != status || !strstr(err.what, text))
            fail_msg("'%s', %zu floats: %d '%s', want %d '%s'", command, n, rc, err.what, status,
                     text);
    }
}

/* The stream that `replay` says: units as numbers (a tensor and its LOOP), '-' for a tensor alone,
 * '!' for FAIL, '.' for TAIL. */
static void record(const char *script)
{
    static const float data[4] = { 0, 1, 2, 3 };
    struct woq_json *h = head();
    struct woq_writer *w;
    struct woq_frame f = { 0 };
    struct woq_error why = { 0 };
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/stream", folder);
    snprintf(replay, sizeof replay, "cat %s; exec cat >/dev/null", path);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(woq_writer_open_fd(&w, fileno(file), "file", h, NULL), WOQ_OK);
    for (const char *c = script; *c; c++) {
        const int u = *c >= '0' && *c <= '9' ? *c - '0' : 0;

        if (*c == '!') {
            woq_fail(&why, WOQ_EDATA, "look there", "the cause");
            woq_writer_fail(w, "woq-x", &why);
            continue;
        }
        if (*c == '.') {
            assert_int_equal(woq_writer_finish(w, NULL), WOQ_OK);
            continue;
        }
        tensor(&f, u, data, 4);
        assert_int_equal(woq_writer_put(w, &f, NULL), WOQ_OK);
        if (*c == '-')
            continue;
        woq_frame_begin(&f, "LOOP");
        woq_json_free(f.meta);
        f.meta = unit_of(u);
        assert_int_equal(woq_writer_put(w, &f, NULL), WOQ_OK);
    }
    woq_writer_close(w);
    woq_frame_release(&f);
    woq_json_free(h);
    fclose(file);
}

static void an_echo_returns_each_unit(void **state)
{
    (void)state;
    struct woq_error err;
    size_t n_back[UNITS];

    /* The second size is many times what two pipes hold: a side that waited would hang. */
    for (size_t n = 5; n <= 500000; n *= 100000) {
        assert_int_equal(through("cat", UNITS, n, n_back, &err), WOQ_OK);
        for (int u = 0; u < UNITS; u++)
            assert_int_equal(n_back[u], 2);
    }
    assert_int_equal(through("cat | cat", UNITS, 1000, n_back, &err), WOQ_OK);
    assert_int_equal(through("cat", 0, 1, n_back, &err), WOQ_OK); /* no unit at all */
}

static void an_answer_may_come_before_the_question(void **state)
{
    (void)state;
    struct woq_error err;
    size_t n_back[UNITS];

    record("-0-1."); /* '-' is a tensor of unit 0: in unit 1 it would be another's */
    assert_int_equal(through(replay, 1, 4, n_back, &err), WOQ_EDATA);
    record("-0112.");
    n_back[0] = 0;
    assert_int_equal(through(replay, 1, 4, n_back, &err), WOQ_EDATA);
    assert_int_equal(n_back[0], 2);
    record("012.");
    assert_int_equal(through(replay, UNITS, 4, n_back, &err), WOQ_OK);
    for (int u = 0; u < UNITS; u++)
        assert_int_equal(n_back[u], 1);
}

static void a_second_answer_is_refused(void **state)
{
    (void)state;
    struct woq_error err;
    size_t n_back[UNITS];

    record("00.");
    fails(replay, WOQ_EDATA, "returned 2 frames after the last LOOP");
    assert_int_equal(through(replay, 2, 4, n_back, &err), WOQ_EDATA);
    assert_non_null(strstr(err.what, "returned LOOP {\"block\":0,\"group\":\"qkv\"}, want "
                                     "{\"block\":1,\"group\":\"qkv\"}"));
    record("0-.");
    fails(replay, WOQ_EDATA, "returned 1 frames after the last LOOP");
}

static void a_command_that_ends_is_named(void **state)
{
    (void)state;
    fails("exit 7", WOQ_ESYS, "'exit 7' ended with status 7 before its work was done");
    fails("true", WOQ_ESYS, "'true' ended with status 0 before its work was done");
    fails("head -c 300", WOQ_ESYS, "ended with status 0 before its work was done");
    fails("no-such-program", WOQ_ESYS, "ended with status 127");
    fails("kill -9 $$", WOQ_ESYS, "was ended by signal 9 before its work was done");
    fails("head -c 300 >/dev/null; kill -15 $$", WOQ_ESYS, "was ended by signal 15");
    fails("cat; exit 5", WOQ_ESYS, "'cat; exit 5' ended with status 5");
}

static void a_whole_stream_without_the_answer(void **state)
{
    (void)state;
    char hasty[256];

    record("-.");
    fails(replay, WOQ_EDATA, "ended its stream before LOOP came back");
    /* The same, but the command does not even read what it gets. */
    snprintf(hasty, sizeof hasty, "cat %s/stream", folder);
    struct woq_error err;
    size_t n_back[UNITS];
    assert_int_equal(through(hasty, 1, 400000, n_back, &err), WOQ_ESYS);
    assert_non_null(strstr(err.what, hasty));
    assert_non_null(strstr(err.what, "ended with status 0 before its work was done"));
}

static void a_command_that_closes_its_output(void **state)
{
    (void)state;
    fails("exec >&-; cat >/dev/null", WOQ_ESYS, "ended with status 0 before its work was done");
    record("-"); /* no TAIL: cut */
    fails(replay, WOQ_ESYS, "ended with status 0 before its work was done");
}

static void garbage_is_refused(void **state)
{
    (void)state;
    fails("echo this is no stream at all, not at all, is it; exec cat >/dev/null", WOQ_EDATA,
          "' returned: ");
    /* Without end, and without reading what we write. */
    fails("yes", WOQ_EDATA, "'yes' returned: ");
    fails("cat /dev/zero", WOQ_EDATA, "'cat /dev/zero' returned: ");
}

static void failure_comes_with_its_cause(void **state)
{
    (void)state;
    struct woq_error err;
    size_t n_back[UNITS];
    char failing[600];

    record("-!");
    snprintf(failing, sizeof failing, "cat %s/stream; cat >/dev/null; exit 4", folder);
    fails(failing, WOQ_ESYS, "ended with status 4: woq-x failed: the cause");
    record("0!"); /* after good work, too */
    assert_int_equal(through(replay, 1, 4, n_back, &err), WOQ_ESYS);
    assert_non_null(strstr(err.what, "woq-x failed: the cause"));
    assert_string_equal(err.hint, "look there");
}

/* The caller gives up in the middle of a unit: the command ends, nothing is waited for. */
static void one_that_never_answers_can_be_closed(void **state)
{
    (void)state;
    static const char *const commands[] = { "cat >/dev/null", "cat", "yes", "exit 1" };
    static const float data[4] = { 0 };

    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct woq_json *h = head();
        struct woq_error err = { 0 };
        struct woq_coproc *p = NULL;
        struct woq_frame f = { 0 };

        if (woq_coproc_open(&p, commands[i], h, 0, &err) == WOQ_OK) {
            tensor(&f, 0, data, 4);
            (void)woq_coproc_put(p, &f, &err);
            woq_fail(&err, WOQ_EDATA, NULL, "our own reason");
            assert_int_equal(woq_coproc_close(p, WOQ_EDATA, &err), WOQ_EDATA);
            assert_string_equal(err.what, "our own reason");
        }
        woq_frame_release(&f);
        woq_json_free(h);
    }
    assert_int_equal(woq_coproc_close(NULL, WOQ_ESYS, NULL), WOQ_ESYS);
}

/* Whether they read or not: too long is an error, and they are ended. */
static void one_that_never_answers_is_given_up(void **state)
{
    (void)state;
    static const char *const commands[] = { "cat >/dev/null", "exec sleep 1000" };
    static const float data[4] = { 0 };

    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct woq_json *h = head();
        struct woq_error err = { 0 };
        struct woq_coproc *p = NULL;
        size_t n_back;

        assert_int_equal(woq_coproc_open(&p, commands[i], h, 0, &err), WOQ_OK);
        woq_coproc_patience(p, 1);
        assert_int_equal(one_unit(p, 0, data, 4, &n_back, &err), WOQ_ESYS);
        assert_non_null(strstr(err.what, "returned nothing for 1 seconds, want LOOP {\"block\":0"));
        assert_int_equal(woq_coproc_close(p, WOQ_ESYS, &err), WOQ_ESYS);
        assert_non_null(strstr(err.what, "returned nothing"));
        woq_json_free(h);
    }
}

/* A frame that the pipe cannot hold, and nobody reads. */
static void one_that_never_reads_is_given_up(void **state)
{
    (void)state;
    struct woq_json *h = head();
    struct woq_error err = { 0 };
    struct woq_coproc *p = NULL;
    const size_t n = 4 << 20;
    float *data = calloc(n, sizeof *data);
    size_t n_back;

    assert_non_null(data);
    assert_int_equal(woq_coproc_open(&p, "exec sleep 1000", h, 0, &err), WOQ_OK);
    woq_coproc_patience(p, 1);
    assert_int_equal(one_unit(p, 0, data, n, &n_back, &err), WOQ_ESYS);
    assert_non_null(strstr(err.what, "took nothing of a frame for 1 seconds"));
    assert_int_equal(woq_coproc_close(p, WOQ_ESYS, &err), WOQ_ESYS);
    free(data);
    woq_json_free(h);
}

/* Each frame is a sign of life. */
static void one_that_is_slow_is_waited_for(void **state)
{
    (void)state;
    static const float data[4] = { 0, 1, 2, 3 };
    char slow[600];
    struct woq_json *h = head();
    struct woq_error err = { 0 };
    struct woq_coproc *p = NULL;
    size_t n_back;

    record("---0.");
    snprintf(slow, sizeof slow,
             "(for n in 400 400 400 400; do head -c $n; sleep 0.6; done; cat) <%s/stream; "
             "exec cat >/dev/null",
             folder);
    assert_int_equal(woq_coproc_open(&p, slow, h, 0, &err), WOQ_OK);
    woq_coproc_patience(p, 2);
    assert_int_equal(one_unit(p, 0, data, 4, &n_back, &err), WOQ_OK);
    assert_int_equal(n_back, 4);
    assert_int_equal(woq_coproc_close(p, WOQ_OK, &err), WOQ_OK);
    woq_json_free(h);
}

static int make_folder(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* coproc.h wants it */
    alarm(120);               /* what hangs fails */
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/stream", folder);
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_echo_returns_each_unit),
        cmocka_unit_test(an_answer_may_come_before_the_question),
        cmocka_unit_test(a_second_answer_is_refused),
        cmocka_unit_test(a_command_that_ends_is_named),
        cmocka_unit_test(a_whole_stream_without_the_answer),
        cmocka_unit_test(a_command_that_closes_its_output),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(failure_comes_with_its_cause),
        cmocka_unit_test(one_that_never_answers_can_be_closed),
        cmocka_unit_test(one_that_never_answers_is_given_up),
        cmocka_unit_test(one_that_never_reads_is_given_up),
        cmocka_unit_test(one_that_is_slow_is_waited_for),
    };
    return cmocka_run_group_tests_name("coproc", tests, make_folder, remove_folder);
}
