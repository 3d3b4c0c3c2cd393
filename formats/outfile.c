/* outfile.c -- one file of a checkpoint, written from front to back (out.h). */
#define _GNU_SOURCE /* sync_file_range: lets the disk work while the next tensor is made */
#include <formats/out.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <woq/util.h>

/* Dirty bytes that are left to the kernel; small models stay in memory until the end. */
#define PUSH_BYTES ((uint64_t)64 << 20)
#define COPY_BYTES ((size_t)8 << 20)

static const char hint_space[] = "make room, or choose another place with --out";

int woq_outfile_open(struct woq_outfile *f, struct woq_out *o, const char *name,
                     struct woq_error *err)
{
    memset(f, 0, sizeof *f);
    snprintf(f->name, sizeof f->name, "%s", name ? name : o->path);
    const int rc = woq_out_create(o, name, &f->fd, err);
    f->is_open = rc == WOQ_OK;
    return rc;
}

int woq_outfile_reopen(struct woq_outfile *f, struct woq_out *o, const char *name,
                       struct woq_error *err)
{
    memset(f, 0, sizeof *f);
    snprintf(f->name, sizeof f->name, "%s", name);
    const int rc = woq_out_reopen(o, name, &f->fd, err);
    f->is_open = rc == WOQ_OK;
    return rc;
}

static int write_now(const struct woq_outfile *f, const void *data, uint64_t bytes, uint64_t offset,
                     struct woq_error *err)
{
    const char *p = data;

    while (bytes > 0) {
        const size_t want = bytes < ((size_t)1 << 30) ? (size_t)bytes : (size_t)1 << 30;
        const ssize_t n = pwrite(f->fd, p, want, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return woq_fail_errno(
                err, errno == EFBIG ? "the limit on file size is 'ulimit -f'" : hint_space,
                "can't write '%s' at byte %llu", f->name, (unsigned long long)offset);
        p += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return WOQ_OK;
}

/* Waits for what is under way. */
static int settle(struct woq_outfile *f, struct woq_error *err)
{
    if (f->is_writing)
        pthread_join(f->thread, NULL);
    f->is_writing = false;
    if (f->late.status >= 0)
        return WOQ_OK;
    if (err)
        *err = f->late;
    return f->late.status;
}

static void *write_later(void *ctx)
{
    struct woq_outfile *f = ctx;

    (void)write_now(f, f->later, f->later_bytes, f->later_at, &f->late);
    return NULL;
}

int woq_outfile_write_at(struct woq_outfile *f, const void *data, uint64_t bytes, uint64_t offset,
                         struct woq_error *err)
{
    const int rc = settle(f, err);

    return rc < 0 ? rc : write_now(f, data, bytes, offset, err);
}

/* Hands what is written to the disk from time to time, so that it works while the next tensor is
 * made. Only a hint: what fails here is found by the sync at the end. */
static void push(struct woq_outfile *f, uint64_t done)
{
    if (done < f->pushed + PUSH_BYTES)
        return;
    (void)sync_file_range(f->fd, (off_t)f->pushed, (off_t)(done - f->pushed),
                          SYNC_FILE_RANGE_WRITE);
    f->pushed = done;
}

int woq_outfile_add(struct woq_outfile *f, const void *data, uint64_t bytes, struct woq_error *err)
{
    const int rc = woq_outfile_write_at(f, data, bytes, f->at, err);

    if (rc)
        return rc;
    f->at += bytes;
    push(f, f->at);
    return WOQ_OK;
}

int woq_outfile_write_later(struct woq_outfile *f, const void *data, uint64_t bytes,
                            uint64_t offset, struct woq_error *err)
{
    const int rc = settle(f, err);

    if (rc < 0)
        return rc;
    push(f, offset); /* what is before it is written, as a rule */
    f->later = data;
    f->later_bytes = bytes;
    f->later_at = offset;
    if (pthread_create(&f->thread, NULL, write_later, f) != 0) /* no thread to be had: now, then */
        return write_now(f, data, bytes, offset, err);
    f->is_writing = true;
    return WOQ_OK;
}

int woq_outfile_zeros(struct woq_outfile *f, uint64_t bytes, struct woq_error *err)
{
    static const char zeros[4096];
    int rc = WOQ_OK;

    for (; bytes > 0 && rc == WOQ_OK; bytes -= bytes < sizeof zeros ? bytes : sizeof zeros)
        rc = woq_outfile_add(f, zeros, bytes < sizeof zeros ? bytes : sizeof zeros, err);
    return rc;
}

int woq_outfile_read_at(struct woq_outfile *f, void *data, uint64_t bytes, uint64_t offset,
                        struct woq_error *err)
{
    char *p = data;
    const int rc = settle(f, err);

    if (rc < 0)
        return rc;
    while (bytes > 0) {
        const ssize_t n =
            pread(f->fd, p, bytes < COPY_BYTES ? (size_t)bytes : COPY_BYTES, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return woq_fail_errno(err, NULL, "can't read '%s' back", f->name);
        if (n == 0)
            return woq_fail(err, WOQ_ESYS, "another program changed it",
                            "'%s' is shorter than what was written", f->name);
        p += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return WOQ_OK;
}

int woq_outfile_shift(struct woq_outfile *f, uint64_t from, uint64_t to, struct woq_error *err)
{
    const uint64_t total = f->at - from;
    void *buf = from == to ? NULL : woq_alloc(COPY_BYTES, err);
    int rc = WOQ_OK;

    if (from == to)
        return WOQ_OK;
    if (!buf)
        return WOQ_ENOMEM;
    for (uint64_t done = 0; done < total && rc == WOQ_OK;) {
        const uint64_t n = total - done < COPY_BYTES ? total - done : COPY_BYTES;
        const uint64_t at = to > from ? total - done - n : done; /* from the far end */
        rc = woq_outfile_read_at(f, buf, n, from + at, err);
        if (rc == WOQ_OK)
            rc = woq_outfile_write_at(f, buf, n, to + at, err);
        done += n;
    }
    free(buf);
    f->at = to + total;
    if (rc == WOQ_OK && to < from && ftruncate(f->fd, (off_t)f->at) < 0)
        rc = woq_fail_errno(err, NULL, "can't cut '%s'", f->name);
    return rc;
}

int woq_outfile_finish(struct woq_outfile *f, struct woq_error *err)
{
    int rc = settle(f, err);

    if (rc == WOQ_OK && fdatasync(f->fd) < 0 && errno != EINVAL)
        rc = woq_fail_errno(err, hint_space, "can't sync '%s'", f->name);
    if (close(f->fd) < 0 && rc == WOQ_OK)
        rc = woq_fail_errno(err, hint_space, "can't close '%s'", f->name);
    f->is_open = false;
    return rc;
}

void woq_outfile_abort(struct woq_outfile *f)
{
    (void)settle(f, NULL);
    if (f->is_open)
        close(f->fd);
    f->is_open = false;
}
