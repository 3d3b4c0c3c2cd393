/* spill.c -- memory, or an unlinked temporary file. */
#define _GNU_SOURCE /* fallocate, mkostemp */
#include <woq/spill.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char hint_room[] = "set TMPDIR to a folder with more room, or use fewer tokens";

struct woq_spill {
    size_t memory_bytes, n_rows, row_bytes, file_bytes;
    struct woq_buf memory;
    bool in_file;
    int fd;
    char dir[256]; /* for messages; a longer one is cut there */
};

int woq_spill_open(struct woq_spill **out, size_t memory_bytes, struct woq_error *err)
{
    struct woq_spill *s = calloc(1, sizeof *s);

    if (!s)
        return woq_fail_nomem(err, sizeof *s);
    s->memory_bytes = memory_bytes;
    s->fd = -1;
    *out = s;
    return WOQ_OK;
}

static int make_file(struct woq_spill *s, struct woq_error *err)
{
    const char *dir = getenv("TMPDIR");
    struct woq_str path = { 0 };

    if (!dir || !*dir)
        dir = "/var/tmp";
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    if (woq_str_addf(&path, "%s/woq-spill.XXXXXX", dir))
        return woq_fail_nomem(err, strlen(dir));
    s->fd = mkostemp(path.s, O_CLOEXEC);
    if (s->fd < 0)
        woq_fail_errno(err, "set TMPDIR to a folder that can be written",
                       "can't make a temporary file in '%s'", s->dir);
    else
        unlink(path.s);
    woq_str_release(&path);
    return s->fd < 0 ? WOQ_ESYS : WOQ_OK;
}

/* All blocks at once: a disk that is too small says so before the work is done. */
static int reserve(struct woq_spill *s, size_t bytes, struct woq_error *err)
{
    int rc;

    if (bytes <= s->file_bytes)
        return WOQ_OK;
    do
        rc = fallocate(s->fd, 0, 0, (off_t)bytes);
    while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
        return woq_fail_errno(err, hint_room, "can't reserve %zu MiB for a temporary file in '%s'",
                              (bytes >> 20) + 1, s->dir);
    s->file_bytes = bytes;
    return WOQ_OK;
}

int woq_spill_begin(struct woq_spill *s, size_t n_rows, size_t row_bytes, struct woq_error *err)
{
    size_t bytes;
    int rc;

    if (!woq_mul_size(n_rows, row_bytes, &bytes) || bytes > SIZE_MAX / 4)
        return woq_fail_nomem(err, SIZE_MAX);
    s->n_rows = n_rows;
    s->row_bytes = row_bytes;
    s->in_file = bytes > s->memory_bytes;
    if (!s->in_file)
        return woq_buf_need(&s->memory, bytes, err) ? WOQ_OK : WOQ_ENOMEM;
    woq_buf_release(&s->memory);
    if (s->fd < 0 && (rc = make_file(s, err)) < 0)
        return rc;
    return reserve(s, bytes, err);
}

static void check_range(const struct woq_spill *s, size_t row0, size_t n)
{
    if (row0 > s->n_rows || n > s->n_rows - row0)
        WOQ_BUG("rows that were not asked for");
}

int woq_spill_put(struct woq_spill *s, size_t row0, size_t n, const void *rows,
                  struct woq_error *err)
{
    size_t at = row0 * s->row_bytes, left = n * s->row_bytes;
    const char *from = rows;

    check_range(s, row0, n);
    if (!s->in_file) {
        memcpy((char *)s->memory.data + at, rows, left);
        return WOQ_OK;
    }
    while (left > 0) {
        const ssize_t done = pwrite(s->fd, from, left, (off_t)at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return woq_fail_errno(err, hint_room, "can't write to a temporary file in '%s'",
                                  s->dir);
        from += done;
        at += (size_t)done;
        left -= (size_t)done;
    }
    return WOQ_OK;
}

int woq_spill_get(struct woq_spill *s, size_t row0, size_t n, void *rows, struct woq_error *err)
{
    size_t at = row0 * s->row_bytes, left = n * s->row_bytes;
    char *to = rows;

    check_range(s, row0, n);
    if (!s->in_file) {
        memcpy(rows, (const char *)s->memory.data + at, left);
        return WOQ_OK;
    }
    while (left > 0) {
        const ssize_t done = pread(s->fd, to, left, (off_t)at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return woq_fail_errno(err, NULL, "can't read a temporary file in '%s'", s->dir);
        if (done == 0)
            return woq_fail(err, WOQ_ESYS, "does another program clear it?",
                            "a temporary file in '%s' became shorter", s->dir);
        to += done;
        at += (size_t)done;
        left -= (size_t)done;
    }
    return WOQ_OK;
}

void woq_spill_close(struct woq_spill *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    woq_buf_release(&s->memory);
    free(s);
}
