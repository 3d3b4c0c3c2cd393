/* error.h -- one status convention and one message for the whole library.
 *
 * Every function that can fail returns an enum woq_status: 0 or positive on success, negative on
 * failure, and fills a caller-owned struct woq_error, which stays untouched on success. Nothing is
 * allocated on the error path and nothing is printed: lib/filter.c prints and picks the exit
 * status. */
#ifndef WOQ_ERROR_H
#define WOQ_ERROR_H
#include <stdarg.h>
#include <stddef.h>

enum woq_status {
    WOQ_OK = 0,
    WOQ_ITEM = 1,         /* a `next` function produced an item */
    WOQ_EUSAGE = -1,      /* wrong options or operands: exit 2 */
    WOQ_ESYS = -2,        /* the system refused: open, write, disk full */
    WOQ_EDATA = -3,       /* corrupt, contradictory or hostile input */
    WOQ_ETYPE = -4,       /* well formed, but not what this program takes */
    WOQ_ETRUNC = -5,      /* the input ended early: exit 3 */
    WOQ_EUPSTREAM = -6,   /* the program before us said that it failed: exit 3 */
    WOQ_ENOMEM = -7,      /* out of memory, or over --max-frame */
    WOQ_EUNSUPPORTED = -8 /* valid, but a case that is not implemented */
};

struct woq_error {
    enum woq_status status;
    char where[384]; /* "STREAM: frame N 'tensor', byte OFFSET", or a path; may be empty */
    char what[768];  /* problem first, lower case, with the wanted and the found value */
    char hint[384];  /* the next command or option to try; may be empty */
    char origin[64]; /* WOQ_EUPSTREAM: the program that failed first */
};

/* Sets status, message and hint (may be NULL), clears `where`. Returns `status`.
 * Control characters that come from input are replaced by '?'. `err` may be NULL. */
int woq_fail(struct woq_error *err, enum woq_status status, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* As woq_fail with WOQ_ESYS and ": strerror(errno)" appended. */
int woq_fail_errno(struct woq_error *err, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* WOQ_ENOMEM for an allocation of `bytes`. */
int woq_fail_nomem(struct woq_error *err, size_t bytes);

/* Names the place of an error that is already set, unless it has one. Returns err->status. */
int woq_error_at(struct woq_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#if defined(__clang_analyzer__) && !defined(WOQ_ERROR_C)
/* clang-tidy sees one file at a time and would follow the paths on which these return success. */
void woq_analyzer_sink(const void *err, const char *hint, ...);
#define woq_fail(err, status, hint, ...)                                                           \
    (woq_analyzer_sink(err, hint, __VA_ARGS__), (enum woq_status)(status))
#define woq_fail_errno(err, hint, ...) woq_fail(err, WOQ_ESYS, hint, __VA_ARGS__)
#define woq_fail_nomem(err, bytes) woq_fail(err, WOQ_ENOMEM, NULL, bytes)
#define woq_error_at(err, ...) woq_fail(err, WOQ_EDATA, NULL, __VA_ARGS__)
#endif

/* Exit status for a library status: 0, 1, 2 or 3 (the input ended early, upstream failed). */
int woq_exit_status(int status);

/* Our own mistakes only, never reachable from input. */
#define WOQ_BUG(msg) woq_bug(__FILE__, __LINE__, msg)
void woq_bug(const char *file, int line, const char *msg) __attribute__((noreturn));

#endif
