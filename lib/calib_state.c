/* calib_state.c -- what a killed run leaves behind, so that the next one goes on.
 *
 * STATE.N.wts is the output of finished block N, a stream of its own; STATE holds the activations
 * after the last finished block, and in its HEAD what they belong to. Each appears under its name
 * only when it is complete and on disk, the logs first, so that STATE never promises too much. */
#include "calib_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* STATE.N.wts, or STATE itself for block < 0; with `tmp` the name before it is complete. */
static char *file_name(const struct woq_calib *c, long block, bool tmp)
{
    struct woq_str s = { 0 };

    woq_str_addf(&s, "%s", c->state.path);
    if (block >= 0)
        woq_str_addf(&s, ".%ld.wts", block);
    if (tmp)
        woq_str_addf(&s, ".tmp");
    return s.s;
}

static int open_tmp(struct woq_calib *c, long block, int *fd)
{
    char *path = file_name(c, block, true);

    if (!path)
        return woq_fail_nomem(c->err, 256);
    *fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (*fd < 0)
        woq_fail_errno(c->err, NULL, "can't write the state '%s'", path);
    free(path);
    return *fd < 0 ? WOQ_ESYS : WOQ_OK;
}

/* The complete file gets its name. Closes fd. */
static int settle(struct woq_calib *c, long block, int fd, int rc)
{
    char *tmp = file_name(c, block, true), *path = file_name(c, block, false);

    if (rc == WOQ_OK && (!tmp || !path))
        rc = woq_fail_nomem(c->err, 256);
    if (rc == WOQ_OK && fdatasync(fd) != 0)
        rc = woq_fail_errno(c->err, NULL, "can't write the state '%s'", tmp);
    close(fd);
    if (rc == WOQ_OK && rename(tmp, path) != 0)
        rc = woq_fail_errno(c->err, NULL, "can't name the state '%s'", path);
    free(tmp);
    free(path);
    return rc;
}

void woq_calib_count(struct woq_calib *c, const struct woq_frame *f)
{
    const uint64_t pair[2] = { c->state.input, f->wire_hash };

    if (c->state.path)
        c->state.input = woq_hash64(pair, sizeof pair);
}

static struct woq_json *head_of(const struct woq_calib *c, const char *kind)
{
    struct woq_json *head = woq_json_object();
    char input[17];

    snprintf(input, sizeof input, "%016llx", (unsigned long long)c->state.input);
    woq_json_set_str(head, "wts", WOQ_WTS_VERSION);
    woq_json_set_str(head, "calib", kind);
    woq_json_set_str(head, "key", c->o.key);
    woq_json_set_str(head, "input", input);
    woq_json_set_num(head, "done", (double)c->block + 1);
    return head;
}

int woq_calib_log_begin(struct woq_calib *c)
{
    struct woq_json *head;
    int rc;

    if (!c->state.path)
        return WOQ_OK;
    rc = open_tmp(c, (long)c->block, &c->state.log_fd);
    if (rc < 0)
        return rc;
    head = head_of(c, "block");
    rc = woq_writer_open_fd(&c->state.log, c->state.log_fd, "<state>", head, c->err);
    woq_json_free(head);
    return rc;
}

static int put_activations(struct woq_calib *c, int fd)
{
    const uint64_t shape[2] = { c->n_tokens, c->config.hidden };
    struct woq_json *head = head_of(c, "activations");
    struct woq_writer *w = NULL;
    struct woq_frame f = { 0 };
    int rc = woq_writer_open_fd(&w, fd, "<state>", head, c->err);

    woq_frame_begin(&f, "acts");
    if (rc == WOQ_OK)
        rc = woq_frame_add(&f, "x", WOQ_F32, 2, shape, c->x, c->err);
    if (rc == WOQ_OK)
        rc = woq_writer_put(w, &f, c->err);
    if (rc == WOQ_OK)
        rc = woq_writer_finish(w, c->err);
    woq_writer_close(w);
    woq_frame_release(&f);
    woq_json_free(head);
    return rc;
}

int woq_calib_log_end(struct woq_calib *c)
{
    int rc, fd;

    if (!c->state.path)
        return WOQ_OK;
    rc = woq_writer_finish(c->state.log, c->err);
    woq_writer_close(c->state.log);
    c->state.log = NULL;
    rc = settle(c, (long)c->block, c->state.log_fd, rc);
    c->state.log_fd = -1;
    if (rc == WOQ_OK)
        rc = open_tmp(c, -1, &fd);
    return rc == WOQ_OK ? settle(c, -1, fd, put_activations(c, fd)) : rc;
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
    const struct woq_array *x = NULL;
    const char *key, *kind;
    struct woq_frame *f;
    int rc = woq_reader_head(r, &head, c->err);

    if (rc < 0)
        return rc;
    kind = woq_json_get_str(head, "calib");
    key = woq_json_get_str(head, "key");
    if (!kind || strcmp(kind, "activations") != 0)
        return woq_fail(c->err, WOQ_EDATA, "give another name to --state",
                        "'%s' is no state of woq-calib", c->state.path);
    if (!key || strcmp(key, c->o.key) != 0)
        return other(c, "run", key, c->o.key);
    if ((rc = woq_reader_next(r, &f, c->err)) < 0)
        return rc;
    if (rc != WOQ_ITEM || woq_frame_want(f, "x", WOQ_F32, 2, &x, c->err) < 0 ||
        x->shape[0] != c->n_tokens || x->shape[1] != c->config.hidden)
        return other(c, "model", "shape", "the shape of these activations");
    memcpy(c->x, x->data, x->bytes);
    c->state.done = (size_t)woq_json_get_int(head, "done", 0);
    if (c->state.done == 0 || c->state.done > c->config.n_layers)
        return other(c, "model", "blocks", "fewer blocks");
    return woq_reader_next(r, &f, c->err); /* TAIL: nothing was cut */
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
    char *path = file_name(c, (long)block, false), input[17];
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
