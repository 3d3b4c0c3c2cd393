/* calib_state.c -- what a killed run leaves behind, so that the next one goes on.
 *
 * STATE.N.wts is the output of finished block N, a stream of its own; STATE holds the activations
 * after the last finished block, and in its HEAD what they belong to. Each appears under its name
 * only when it is complete and on disk, the logs first, so that STATE never promises too much. */
#include "calib_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char kind_of_file[] = "state";

/* STATE.N.wts */
static char *log_name(const struct woq_calib *c, size_t block)
{
    struct woq_str s = { 0 };

    woq_str_addf(&s, "%s.%zu.wts", c->state.path, block);
    return s.s;
}

void woq_calib_count(struct woq_calib *c, const struct woq_frame *f)
{
    const uint64_t pair[2] = { c->state.input, f->wire_hash };

    if (c->state.path)
        c->state.input = woq_hash64(pair, sizeof pair);
}

/* What a file of the state belongs to: these options, this input so far. */
static struct woq_json *head_of(const struct woq_calib *c, const char *kind)
{
    struct woq_json *head = woq_calib_acts_head(c, c->block + 1);
    char input[17];

    snprintf(input, sizeof input, "%016llx", (unsigned long long)c->state.input);
    woq_json_set_str(head, "calib", kind);
    woq_json_set_str(head, "key", c->key.s);
    woq_json_set_str(head, "input", input);
    return head;
}

int woq_calib_log_begin(struct woq_calib *c)
{
    struct woq_json *head;
    char *path;
    int rc;

    if (!c->state.path)
        return WOQ_OK;
    path = log_name(c, c->block);
    rc = path ? woq_calib_file_begin(kind_of_file, path, &c->state.log_fd, c->err)
              : woq_fail_nomem(c->err, 256);
    free(path);
    if (rc < 0)
        return rc;
    head = head_of(c, "block");
    rc = woq_writer_open_fd(&c->state.log, c->state.log_fd, "<state>", head, c->err);
    woq_json_free(head);
    return rc;
}

int woq_calib_log_end(struct woq_calib *c)
{
    struct woq_json *head;
    char *path;
    int rc, fd;

    if (!c->state.path)
        return WOQ_OK;
    path = log_name(c, c->block);
    head = head_of(c, "activations");
    rc = path && head ? woq_writer_finish(c->state.log, c->err) : woq_fail_nomem(c->err, 256);
    woq_writer_close(c->state.log);
    c->state.log = NULL;
    if (path)
        rc = woq_calib_file_end(kind_of_file, path, c->state.log_fd, rc, c->err);
    c->state.log_fd = -1;
    if (rc == WOQ_OK)
        rc = woq_calib_file_begin(kind_of_file, c->state.path, &fd, c->err);
    if (rc == WOQ_OK)
        rc = woq_calib_file_end(kind_of_file, c->state.path, fd, woq_calib_acts_write(c, fd, head),
                                c->err);
    woq_json_free(head);
    free(path);
    return rc;
}

static int other(struct woq_calib *c, const char *what, const char *found, const char *want)
{
    return woq_fail(c->err, WOQ_EDATA, "remove the state to start anew, or use the same options",
                    "state '%s' is of another %s: '%s', want '%s'", c->state.path, what,
                    found ? found : "", want);
}

static int read_state(struct woq_calib *c, struct woq_reader *r)
{
    const struct woq_json *head = NULL;
    const char *key, *kind;
    int rc = woq_reader_head(r, &head, c->err);

    if (rc < 0)
        return rc;
    kind = woq_json_get_str(head, "calib");
    key = woq_json_get_str(head, "key");
    if (!kind || !key || strcmp(kind, "activations") != 0)
        return woq_fail(c->err, WOQ_EDATA, "give another name to --state",
                        "'%s' is no state of woq-calib", c->state.path);
    if (strcmp(key, c->key.s) != 0)
        return other(c, "run", key, c->key.s);
    c->state.done = (size_t)woq_json_get_int(head, "done", 0);
    if (c->state.done == 0 || c->state.done > c->config.n_layers)
        return other(c, "model", "blocks", "fewer blocks");
    rc = woq_calib_acts_read(c, r);
    return rc == WOQ_EDATA ? other(c, "model", "shape", "the shape of these activations") : rc;
}

int woq_calib_resume(struct woq_calib *c)
{
    struct woq_reader *r;
    int rc;

    if (!c->state.path || access(c->state.path, F_OK) != 0)
        return WOQ_OK;
    rc = woq_reader_open(&r, c->state.path, NULL, c->err);
    if (rc < 0)
        return rc;
    rc = read_state(c, r);
    woq_reader_close(r);
    if (rc == WOQ_OK)
        woq_filter_note(c->w, "going on after block %zu, from '%s'", c->state.done - 1,
                        c->state.path);
    return rc;
}

int woq_calib_replay(struct woq_calib *c, size_t block)
{
    char *path = log_name(c, block), input[17];
    const struct woq_json *head = NULL;
    const char *was;
    struct woq_reader *r = NULL;
    struct woq_frame *f;
    int rc = path ? woq_reader_open(&r, path, NULL, c->err) : woq_fail_nomem(c->err, 256);

    if (rc == WOQ_OK)
        rc = woq_reader_head(r, &head, c->err);
    snprintf(input, sizeof input, "%016llx", (unsigned long long)c->state.input);
    was = woq_json_get_str(head, "input");
    if (rc == WOQ_OK && (!was || strcmp(was, input) != 0))
        rc = other(c, "model", was, input);
    while (rc == WOQ_OK && (rc = woq_reader_next(r, &f, c->err)) > 0)
        rc = woq_filter_put(c->w, f);
    woq_reader_close(r);
    free(path);
    return rc;
}

void woq_calib_state_close(struct woq_calib *c)
{
    if (c->state.log)
        woq_writer_close(c->state.log);
    if (c->state.log_fd >= 0)
        close(c->state.log_fd);
}
