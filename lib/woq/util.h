/* util.h -- small things that every room needs: checked products, an aligned arena, strings. */
#ifndef WOQ_UTIL_H
#define WOQ_UTIL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <woq/error.h>

/* true and *out = a * b (or a + b), false on overflow. */
bool woq_mul_size(size_t a, size_t b, size_t *out);
bool woq_add_size(size_t a, size_t b, size_t *out);

/* Round up to the next multiple of `align`, a power of two. The caller has checked the range. */
static inline uint64_t woq_align(uint64_t x, uint64_t align)
{
    return (x + align - 1) & ~(align - 1);
}

static inline uint64_t woq_ceil_div(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

/* Aligned (64 bytes) heap memory; free with free(). NULL and err on failure; 0 bytes give a
 * pointer. */
void *woq_alloc(size_t bytes, struct woq_error *err);

/* One 64-byte-aligned block that grows to the largest request and is then reused. */
struct woq_buf {
    void *data;
    size_t cap_bytes;
};
/* At least `bytes`; the old content is lost when it grows. NULL and err on failure. */
void *woq_buf_need(struct woq_buf *buf, size_t bytes, struct woq_error *err);
void woq_buf_release(struct woq_buf *buf);

/* Bump allocator, reset each turn: all blocks 64-byte aligned, valid until reset or release. */
struct woq_arena {
    struct woq_arena_chunk *head;
};
void *woq_arena_alloc(struct woq_arena *arena, size_t bytes, struct woq_error *err);
void woq_arena_reset(struct woq_arena *arena); /* keeps one chunk of the total size used */
void woq_arena_release(struct woq_arena *arena);

/* A growing byte string, always NUL-terminated. Functions return WOQ_OK or WOQ_ENOMEM. */
struct woq_str {
    char *s;
    size_t len, cap;
};
int woq_str_add(struct woq_str *str, const void *bytes, size_t n);
int woq_str_addf(struct woq_str *str, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int woq_str_addv(struct woq_str *str, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
void woq_str_release(struct woq_str *str);
/* Appends what base64 text stands for (RFC 4648; padding may be absent). */
int woq_base64_add(struct woq_str *str, const char *text, size_t n, struct woq_error *err);

/* Does `s` end so, and is more than that? */
bool woq_ends_with(const char *s, const char *end);
/* Is `word` one of those, which are one blank apart? Never if one of both is NULL. */
bool woq_word_in(const char *words, const char *word);
/* Shell-style glob over the whole name: '*', '?', '[...]'. */
bool woq_name_match(const char *name, const char *glob);

/* Reads a whole file (limit in bytes, 0 = 1 GiB). *data is malloc'ed, NUL-terminated, owned by
 * caller. */
int woq_file_read(const char *path, size_t limit, char **data, size_t *bytes,
                  struct woq_error *err);

/* Read-only private mapping of a whole regular file. */
struct woq_map {
    const uint8_t *data;
    size_t bytes;
    char *path;
};
int woq_map_open(struct woq_map *map, const char *path, struct woq_error *err);
void woq_map_release(struct woq_map *map);

/* Peak resident memory of this process in bytes; monotonic clock in nanoseconds. */
uint64_t woq_peak_bytes(void);
uint64_t woq_now_ns(void);

#endif
