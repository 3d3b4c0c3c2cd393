/* npy.c -- numpy's array file, little-endian float32 in rows. */
#include "npy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <woq/util.h>

struct woq_npy {
    char *path, *temporary;
    int fd;
    size_t n_rows, n_cols, n_written;
};

static int write_all(struct woq_npy *n, const void *data, size_t bytes, struct woq_error *err)
{
    const char *at = data;

    while (bytes) {
        const ssize_t done = write(n->fd, at, bytes);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return woq_fail_errno(err, NULL, "can't write '%s'", n->temporary);
        at += done;
        bytes -= (size_t)done;
    }
    return WOQ_OK;
}

/* The header fills a multiple of 64 bytes with spaces and ends in a newline. */
static int write_header(struct woq_npy *n, struct woq_error *err)
{
    char head[192] = "\x93NUMPY\x01";
    const int text = snprintf(head + 10, sizeof head - 10,
                              "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                              n->n_rows, n->n_cols);
    const size_t total = (size_t)woq_align(10 + (uint64_t)text + 1, 64);

    memset(head + 10 + text, ' ', total - 10 - (size_t)text);
    head[total - 1] = '\n';
    head[8] = (char)((total - 10) & 0xff);
    head[9] = (char)((total - 10) >> 8);
    return write_all(n, head, total, err);
}

int woq_npy_open(struct woq_npy **out, const char *path, size_t n_rows, size_t n_cols,
                 struct woq_error *err)
{
    struct woq_npy *n = calloc(1, sizeof *n);
    const size_t cap = strlen(path) + 32;
    int rc = WOQ_OK;

    *out = NULL;
    if (!n)
        return woq_fail_nomem(err, sizeof *n);
    n->fd = -1;
    n->n_rows = n_rows;
    n->n_cols = n_cols;
    n->path = calloc(cap, 1);
    n->temporary = calloc(cap, 1);
    if (!n->path || !n->temporary) {
        rc = woq_fail_nomem(err, cap);
    } else {
        snprintf(n->path, cap, "%s", path);
        snprintf(n->temporary, cap, "%s.tmp.%ld", path, (long)getpid());
        n->fd = open(n->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        rc = n->fd < 0 ? woq_fail_errno(err, NULL, "can't create '%s'", n->temporary)
                       : write_header(n, err);
    }
    if (rc < 0)
        woq_npy_abort(n);
    else
        *out = n;
    return rc;
}

int woq_npy_put(struct woq_npy *n, const float *data, size_t n_rows, struct woq_error *err)
{
    if (n_rows > n->n_rows - n->n_written)
        WOQ_BUG("more rows than the header says");
    n->n_written += n_rows;
    return write_all(n, data, n_rows * n->n_cols * sizeof *data, err);
}

int woq_npy_close(struct woq_npy *n, struct woq_error *err)
{
    int rc = WOQ_OK;

    if (n->n_written != n->n_rows)
        WOQ_BUG("fewer rows than the header says");
    if (fsync(n->fd) < 0 && errno != EINVAL && errno != EROFS)
        rc = woq_fail_errno(err, NULL, "can't write '%s'", n->temporary);
    if (close(n->fd) < 0 && rc == WOQ_OK)
        rc = woq_fail_errno(err, NULL, "can't write '%s'", n->temporary);
    n->fd = -1;
    if (rc == WOQ_OK && rename(n->temporary, n->path) < 0)
        rc = woq_fail_errno(err, NULL, "can't rename '%s' to '%s'", n->temporary, n->path);
    if (rc == WOQ_OK)
        n->temporary[0] = '\0';
    woq_npy_abort(n);
    return rc;
}

void woq_npy_abort(struct woq_npy *n)
{
    if (!n)
        return;
    if (n->fd >= 0)
        close(n->fd);
    if (n->temporary && n->temporary[0])
        unlink(n->temporary);
    free(n->temporary);
    free(n->path);
    free(n);
}
