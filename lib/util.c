/* util.c -- checked arithmetic, aligned memory, strings, files. */
#include <woq/util.h>

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

bool woq_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool woq_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

void *woq_alloc(size_t bytes, struct woq_error *err)
{
    void *p = NULL;

    if (bytes > SIZE_MAX - 128 || posix_memalign(&p, 64, bytes ? bytes : 1) != 0) {
        woq_fail_nomem(err, bytes);
        return NULL;
    }
    return p;
}

void *woq_buf_need(struct woq_buf *buf, size_t bytes, struct woq_error *err)
{
    if (buf->data && bytes <= buf->cap_bytes)
        return buf->data;
    free(buf->data);
    buf->cap_bytes = 0;
    buf->data = woq_alloc(bytes, err);
    if (buf->data)
        buf->cap_bytes = bytes;
    return buf->data;
}

void woq_buf_release(struct woq_buf *buf)
{
    free(buf->data);
    buf->data = NULL;
    buf->cap_bytes = 0;
}

struct woq_arena_chunk {
    struct woq_arena_chunk *next;
    size_t cap, used;
    char *base;
};

static struct woq_arena_chunk *chunk_new(size_t cap, struct woq_error *err)
{
    struct woq_arena_chunk *c = malloc(sizeof *c);

    if (!c) {
        woq_fail_nomem(err, sizeof *c);
        return NULL;
    }
    c->base = woq_alloc(cap, err);
    if (!c->base) {
        free(c);
        return NULL;
    }
    c->next = NULL;
    c->cap = cap;
    c->used = 0;
    return c;
}

void *woq_arena_alloc(struct woq_arena *arena, size_t bytes, struct woq_error *err)
{
    struct woq_arena_chunk *c = arena->head;
    size_t need;
    void *p;

    if (bytes > SIZE_MAX / 2) {
        woq_fail_nomem(err, bytes);
        return NULL;
    }
    need = (size_t)woq_align(bytes ? bytes : 1, 64);
    if (!c || c->cap - c->used < need) {
        c = chunk_new(need > 4096 ? need : 4096, err);
        if (!c)
            return NULL;
        c->next = arena->head;
        arena->head = c;
    }
    p = c->base + c->used;
    c->used += need;
    return p;
}

void woq_arena_release(struct woq_arena *arena)
{
    while (arena->head) {
        struct woq_arena_chunk *next = arena->head->next;

        free(arena->head->base);
        free(arena->head);
        arena->head = next;
    }
}

void woq_arena_reset(struct woq_arena *arena)
{
    size_t total = 0;

    if (!arena->head)
        return;
    if (!arena->head->next) {
        arena->head->used = 0;
        return;
    }
    for (struct woq_arena_chunk *c = arena->head; c; c = c->next)
        total += c->cap;
    woq_arena_release(arena);
    arena->head = chunk_new(total, NULL); /* NULL is fine: the next alloc reports it */
}

int woq_str_add(struct woq_str *str, const void *bytes, size_t n)
{
    if (n >= SIZE_MAX / 4 || str->len > SIZE_MAX / 4)
        return WOQ_ENOMEM;
    if (!str->s || str->len + n + 1 > str->cap) {
        size_t cap = (str->len + n + 1) * 2;
        char *s = realloc(str->s, cap);

        if (!s)
            return WOQ_ENOMEM;
        str->s = s;
        str->cap = cap;
    }
    if (n)
        memcpy(str->s + str->len, bytes, n);
    str->len += n;
    str->s[str->len] = 0;
    return WOQ_OK;
}

int woq_str_addv(struct woq_str *str, const char *fmt, va_list ap)
{
    char small[256], *text = small;
    va_list again;
    int n, rc;

    va_copy(again, ap);
    n = vsnprintf(small, sizeof small, fmt, ap);
    if (n < 0) {
        va_end(again);
        return WOQ_ENOMEM;
    }
    if ((size_t)n >= sizeof small) {
        text = malloc((size_t)n + 1);
        if (text)
            vsnprintf(text, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    if (!text)
        return WOQ_ENOMEM;
    rc = woq_str_add(str, text, (size_t)n);
    if (text != small)
        free(text);
    return rc;
}

int woq_str_addf(struct woq_str *str, const char *fmt, ...)
{
    va_list ap;
    int rc;

    va_start(ap, fmt);
    rc = woq_str_addv(str, fmt, ap);
    va_end(ap);
    return rc;
}

void woq_str_release(struct woq_str *str)
{
    free(str->s);
    str->s = NULL;
    str->len = str->cap = 0;
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

int woq_base64_add(struct woq_str *str, const char *text, size_t n, struct woq_error *err)
{
    uint32_t bits = 0;
    size_t digits = 0;

    while (n && text[n - 1] == '=' && digits < 2) {
        n--;
        digits++;
    }
    for (size_t i = 0; i < n; i++) {
        static const unsigned shifts[] = { 0, 4, 2, 0 };
        const unsigned shift = shifts[i % 4];
        const int digit = base64_digit(text[i]);
        const char byte = (char)(((bits << 6 | (uint32_t)digit) >> shift) & 0xff);

        if (digit < 0)
            return woq_fail(err, WOQ_EDATA, NULL, "not base64: byte 0x%02x at offset %zu",
                            (unsigned char)text[i], i);
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 && woq_str_add(str, &byte, 1) < 0)
            return woq_fail_nomem(err, str->len);
    }
    return n % 4 == 1 ? woq_fail(err, WOQ_EDATA, NULL, "base64 of %zu digits is cut", n) : WOQ_OK;
}

bool woq_ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), tail = strlen(end);

    return n > tail && strcmp(s + n - tail, end) == 0;
}

bool woq_word_in(const char *words, const char *word)
{
    const size_t n = !word || strchr(word, ' ') ? 0 : strlen(word);

    for (const char *at = words; at && n && (at = strstr(at, word)); at += n)
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || !at[n]))
            return true;
    return false;
}

bool woq_name_match(const char *name, const char *glob)
{
    return fnmatch(glob, name, 0) == 0;
}

static int read_all(int fd, const char *path, size_t limit, struct woq_str *out,
                    struct woq_error *err)
{
    char block[65536];

    for (;;) {
        ssize_t n = read(fd, block, sizeof block);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return woq_fail_errno(err, NULL, "can't read '%s'", path);
        if (n == 0)
            return woq_str_add(out, "", 0) ? woq_fail_nomem(err, 1) : WOQ_OK;
        if (out->len + (size_t)n > limit)
            return woq_fail(err, WOQ_EDATA, NULL, "'%s' is larger than %zu bytes", path, limit);
        if (woq_str_add(out, block, (size_t)n))
            return woq_fail_nomem(err, out->len * 2);
    }
}

int woq_file_read(const char *path, size_t limit, char **data, size_t *bytes, struct woq_error *err)
{
    struct woq_str text = { 0 };
    const bool std = strcmp(path, "-") == 0;
    const int fd = std ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return woq_fail_errno(err, NULL, "can't open '%s'", path);
    rc = read_all(fd, path, limit ? limit : (size_t)1 << 30, &text, err);
    if (!std)
        close(fd);
    if (rc) {
        woq_str_release(&text);
        return rc;
    }
    *data = text.s;
    *bytes = text.len;
    return WOQ_OK;
}

int woq_map_open(struct woq_map *map, const char *path, struct woq_error *err)
{
    struct stat st;
    void *p = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    memset(map, 0, sizeof *map);
    if (fd < 0)
        return woq_fail_errno(err, NULL, "can't open '%s'", path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return woq_fail(err, WOQ_EDATA, "give a regular file", "'%s' is no regular file", path);
    }
    if (st.st_size > 0) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            woq_fail_errno(err, NULL, "can't map '%s'", path);
            close(fd);
            return WOQ_ESYS;
        }
    }
    close(fd);
    map->data = p;
    map->bytes = (size_t)st.st_size;
    map->path = strdup(path);
    if (!map->path) {
        woq_map_release(map);
        return woq_fail_nomem(err, strlen(path) + 1);
    }
    return WOQ_OK;
}

void woq_map_release(struct woq_map *map)
{
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->bytes);
    free(map->path);
    memset(map, 0, sizeof *map);
}

uint64_t woq_peak_bytes(void)
{
    struct rusage u;

    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss * 1024u : 0;
}

uint64_t woq_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
