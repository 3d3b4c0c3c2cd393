/* error.c -- filling struct woq_error. No allocation, no printing. */
#define WOQ_ERROR_C
#include <woq/error.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names and bytes that come from files reach a person's terminal: no escape sequences. */
static void tame(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || (unsigned char)*s == 0x7f)
            *s = '?';
}

static void copy(char *dst, size_t cap, const char *src)
{
    size_t n = strlen(src);

    if (n >= cap)
        n = cap - 1;
    memcpy(dst, src, n);
    dst[n] = 0;
}

static void set(struct woq_error *err, enum woq_status status, const char *hint)
{
    err->status = status;
    err->where[0] = 0;
    err->hint[0] = 0;
    err->origin[0] = 0;
    if (hint)
        copy(err->hint, sizeof err->hint, hint);
}

int woq_fail(struct woq_error *err, enum woq_status status, const char *hint, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return status;
    set(err, status, hint);
    va_start(ap, fmt);
    vsnprintf(err->what, sizeof err->what, fmt, ap);
    va_end(ap);
    tame(err->what);
    return status;
}

int woq_fail_errno(struct woq_error *err, const char *hint, const char *fmt, ...)
{
    const int saved = errno;
    size_t n;
    va_list ap;

    if (!err)
        return WOQ_ESYS;
    set(err, WOQ_ESYS, hint);
    va_start(ap, fmt);
    vsnprintf(err->what, sizeof err->what, fmt, ap);
    va_end(ap);
    n = strlen(err->what);
    snprintf(err->what + n, sizeof err->what - n, ": %s", strerror(saved));
    tame(err->what);
    errno = saved;
    return WOQ_ESYS;
}

int woq_fail_nomem(struct woq_error *err, size_t bytes)
{
    return woq_fail(err, WOQ_ENOMEM, "free memory, or use a machine with more",
                    "out of memory: can't get %zu bytes", bytes);
}

int woq_error_at(struct woq_error *err, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return WOQ_EDATA;
    if (!err->where[0]) {
        va_start(ap, fmt);
        vsnprintf(err->where, sizeof err->where, fmt, ap);
        va_end(ap);
        tame(err->where);
    }
    return err->status;
}

int woq_exit_status(int status)
{
    if (status >= 0)
        return 0;
    switch (status) {
    case WOQ_EUSAGE:
        return 2;
    case WOQ_ETRUNC:
    case WOQ_EUPSTREAM:
        return 3;
    default:
        return 1;
    }
}

void woq_bug(const char *file, int line, const char *msg)
{
    fprintf(stderr, "woq: BUG at %s:%d: %s\n", file, line, msg);
    abort();
}
