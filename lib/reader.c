/* reader.c -- frames out of a pipe, a mapped file or memory, verified in the order of
 * woq-stream(5): header hash, limits, meta, shapes against sizes, only then the payload is
 * allocated and read, then the body hash. Nothing is skipped or repaired here (woq-fsck does that).
 */
#define _GNU_SOURCE /* F_SETPIPE_SZ */
#include "wire_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_CHUNK = 1 << 18 }; /* hashed while it is still in the second-level cache */

struct woq_reader {
    int fd; /* -1 for memory */
    bool own_fd;
    char *name;
    const uint8_t *mem; /* mapping or memory; NULL for pipes */
    size_t mem_bytes;
    void *map;
    size_t map_bytes;
    struct woq_reader_opts opts;
    uint64_t at, seq, fold, payload_total;
    struct woq_hasher *hash;
    struct woq_frame frame;
    struct woq_json *head;
    bool ended;
    struct {
        const uint8_t *from;
        size_t bytes;
    } used;              /* mapped bytes of the last frame */
    const uint8_t *kept; /* of the first frame that was moved away since the last drop, or NULL */
};

static int open_common(struct woq_reader **out, const char *name,
                       const struct woq_reader_opts *opts, struct woq_error *err)
{
    struct woq_reader *r = calloc(1, sizeof *r);

    if (!r)
        return woq_fail_nomem(err, sizeof *r);
    r->fd = -1;
    if (opts)
        r->opts = *opts;
    if (!r->opts.max_frame_bytes)
        r->opts.max_frame_bytes = WOQ_MAX_FRAME;
    r->name = strdup(name);
    r->hash = woq_hasher_new(err);
    if (!r->name || !r->hash) {
        woq_reader_close(r);
        return woq_fail_nomem(err, strlen(name) + 1);
    }
    *out = r;
    return WOQ_OK;
}

/* A regular file is mapped copy-on-write, so that frames can be changed in place. */
static void try_map(struct woq_reader *r)
{
    struct stat st;
    const off_t from = lseek(r->fd, 0, SEEK_CUR);
    void *p;

    if (fstat(r->fd, &st) != 0 || !S_ISREG(st.st_mode) || from < 0 || st.st_size <= from)
        return;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, r->fd,
             0);
    if (p == MAP_FAILED)
        return;
    posix_madvise(p, (size_t)st.st_size, POSIX_MADV_SEQUENTIAL);
    r->map = p;
    r->map_bytes = (size_t)st.st_size;
    r->mem = (const uint8_t *)p + from;
    r->mem_bytes = (size_t)(st.st_size - from);
}

int woq_reader_open_fd(struct woq_reader **out, int fd, const char *name,
                       const struct woq_reader_opts *opts, struct woq_error *err)
{
    int rc = open_common(out, name, opts, err);

    if (rc)
        return rc;
    (*out)->fd = fd;
    try_map(*out);
    if (!(*out)->mem)
        (void)fcntl(fd, F_SETPIPE_SZ, 1 << 20); /* refused for non-pipes and by limits: fine */
    return WOQ_OK;
}

int woq_reader_open(struct woq_reader **out, const char *spec, const struct woq_reader_opts *opts,
                    struct woq_error *err)
{
    char *end;
    long fd;
    int rc;

    if (strcmp(spec, "-") == 0)
        return woq_reader_open_fd(out, STDIN_FILENO, "<stdin>", opts, err);
    if (strncmp(spec, "fd:", 3) == 0) {
        fd = strtol(spec + 3, &end, 10);
        if (end == spec + 3 || *end || fd < 0 || fd > 1 << 20)
            return woq_fail(err, WOQ_EUSAGE, "use fd:3", "'%s' names no file descriptor", spec);
        return woq_reader_open_fd(out, (int)fd, spec, opts, err);
    }
    fd = open(spec, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return woq_fail_errno(err, NULL, "can't open '%s'", spec);
    rc = woq_reader_open_fd(out, (int)fd, spec, opts, err);
    if (rc)
        close((int)fd);
    else
        (*out)->own_fd = true;
    return rc;
}

int woq_reader_open_mem(struct woq_reader **out, const void *data, size_t bytes, const char *name,
                        const struct woq_reader_opts *opts, struct woq_error *err)
{
    int rc = open_common(out, name, opts, err);

    if (rc)
        return rc;
    (*out)->mem = data;
    (*out)->mem_bytes = bytes;
    return WOQ_OK;
}

void woq_reader_close(struct woq_reader *r)
{
    if (!r)
        return;
    woq_frame_release(&r->frame);
    woq_json_free(r->head);
    woq_hasher_free(r->hash);
    if (r->map)
        munmap(r->map, r->map_bytes);
    if (r->own_fd)
        close(r->fd);
    free(r->name);
    free(r);
}

const char *woq_reader_name(const struct woq_reader *r)
{
    return r->name;
}

uint64_t woq_reader_bytes(const struct woq_reader *r)
{
    return r->at;
}

uint64_t woq_reader_frames(const struct woq_reader *r)
{
    return r->seq;
}

/* Reads up to `want` bytes; fewer only at the end of the input. */
static int fill(struct woq_reader *r, void *dst, size_t want, size_t *got, bool hash,
                struct woq_error *err)
{
    *got = 0;
    while (*got < want) {
        const size_t left = want - *got, ask = left < READ_CHUNK ? left : READ_CHUNK;
        const ssize_t n = read(r->fd, (char *)dst + *got, ask);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return woq_fail_errno(err, NULL, "can't read");
        if (n == 0)
            return WOQ_OK;
        if (hash)
            woq_hasher_add(r->hash, (char *)dst + *got, (size_t)n);
        *got += (size_t)n;
    }
    return WOQ_OK;
}

/* `bytes` of the stream, in place where it is memory, else in buf; hashed when asked for. */
static int take(struct woq_reader *r, const void **data, size_t bytes, struct woq_buf *buf,
                const char *what, bool hash, struct woq_error *err)
{
    size_t got;
    int rc;

    if (r->mem) {
        const size_t have = r->at <= r->mem_bytes ? r->mem_bytes - (size_t)r->at : 0;

        got = bytes < have ? bytes : have;
        *data = r->mem + r->at;
        if (hash)
            woq_hasher_add(r->hash, *data, got);
    } else {
        void *dst = woq_buf_need(buf, bytes, err);

        if (!dst)
            return WOQ_ENOMEM;
        rc = fill(r, dst, bytes, &got, hash, err);
        if (rc)
            return rc;
        *data = dst;
    }
    r->at += got;
    if (got < bytes)
        return woq_fail(err, WOQ_ETRUNC,
                        "the program or file before ended early: look at its message",
                        "truncated: %zu of %zu %s bytes", got, bytes, what);
    return WOQ_OK;
}

/* One entry of meta "arrays"; `end` is where the arrays before it end. */
static int array_entry(struct woq_frame *f, const struct woq_json *j, uint64_t *end,
                       struct woq_error *err)
{
    const char *name = woq_json_get_str(j, "name");
    const enum woq_dtype dtype = woq_dtype_from_name(woq_json_get_str(j, "dtype"));
    const struct woq_json *shape = woq_json_get(j, "shape");
    uint64_t dims[WOQ_MAX_DIMS], offset;
    unsigned n = 0;
    struct woq_array *a;
    int rc;

    if (!name || dtype == WOQ_NO_DTYPE || woq_json_type(shape) != WOQ_JARRAY)
        return woq_fail(err, WOQ_EDATA, NULL, "an array without name, known dtype or shape");
    if (woq_frame_array(f, name))
        return woq_fail(err, WOQ_EDATA, NULL, "array '%s' twice", name);
    woq_json_each(d, shape) if (n >= WOQ_MAX_DIMS || !woq_json_u64(d, &dims[n++])) return woq_fail(
        err, WOQ_EDATA, NULL, "shape of array '%s' is not up to %d counts", name, WOQ_MAX_DIMS);
    rc = woq_frame_add(f, name, dtype, n, dims, NULL, err);
    if (rc)
        return rc;
    a = &f->arrays[f->n_arrays - 1];
    if (!woq_json_u64(woq_json_get(j, "offset"), &offset) || offset != woq_align(*end, WOQ_GRID))
        return woq_fail(err, WOQ_EDATA, NULL, "array '%s' is not at offset %llu", name,
                        (unsigned long long)woq_align(*end, WOQ_GRID));
    a->offset = offset;
    if (a->bytes > UINT64_MAX / 4 || offset > UINT64_MAX / 4)
        return woq_fail(err, WOQ_EDATA, NULL, "array '%s' has an impossible size", name);
    *end = offset + a->bytes;
    return WOQ_OK;
}

/* Meta text -> f->meta and f->arrays; *raw_bytes is what the arrays take. */
static int parse_meta(struct woq_frame *f, const char *text, size_t bytes, uint64_t *raw_bytes,
                      struct woq_error *err)
{
    int rc;

    *raw_bytes = 0;
    woq_json_free(f->meta);
    f->meta = NULL;
    rc = woq_json_parse(&f->meta, text, bytes, err);
    if (rc)
        return rc;
    if (woq_json_type(f->meta) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, NULL, "meta is not a JSON object");
    woq_json_each(j, woq_json_get(f->meta, "arrays"))
    {
        rc = array_entry(f, j, raw_bytes, err);
        if (rc)
            return rc;
    }
    woq_json_del(f->meta, "arrays");
    return WOQ_OK;
}

static int check_sizes(const struct woq_reader *r, const struct woq_header *h, uint64_t raw,
                       bool enc, struct woq_error *err)
{
    const uint64_t limit = r->opts.max_frame_bytes;

    if (raw > limit || h->payload_bytes > limit)
        return woq_fail(err, WOQ_ENOMEM, "raise --max-frame if you trust the source",
                        "frame of %llu bytes is over the limit of %llu",
                        (unsigned long long)(raw > limit ? raw : h->payload_bytes),
                        (unsigned long long)limit);
    if (!enc && raw != h->payload_bytes)
        return woq_fail(err, WOQ_EDATA, NULL, "payload has %llu bytes, its arrays take %llu",
                        (unsigned long long)h->payload_bytes, (unsigned long long)raw);
    return WOQ_OK;
}

static int expand(struct woq_frame *f, const void **payload, uint64_t bytes, uint64_t raw,
                  struct woq_error *err)
{
    const char *enc = woq_json_get_str(f->meta, "enc");
    void *dst;
    int rc;

    if (strcmp(enc, "zstd") != 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, "upgrade woq", "payload encoding '%s', want zstd",
                        enc);
    dst = woq_arena_alloc(&f->own, (size_t)raw, err);
    if (!dst)
        return WOQ_ENOMEM;
    rc = woq_zframe_expand(dst, (size_t)raw, *payload, (size_t)bytes, err);
    if (rc)
        return rc;
    *payload = dst;
    woq_json_del(f->meta, "enc");
    return WOQ_OK;
}

static int read_body(struct woq_reader *r, const struct woq_header *h, struct woq_error *err)
{
    struct woq_frame *f = &r->frame;
    const size_t meta_pad = (size_t)woq_align(h->meta_bytes, WOQ_GRID);
    const void *meta, *payload;
    uint64_t raw;
    int rc;

    woq_hasher_reset(r->hash);
    rc = take(r, &meta, meta_pad, &f->meta_buf, "meta", true, err);
    if (rc == WOQ_OK)
        rc = parse_meta(f, meta, (size_t)h->meta_bytes, &raw, err);
    if (rc == WOQ_OK)
        rc = check_sizes(r, h, raw, woq_json_get_str(f->meta, "enc") != NULL, err);
    if (rc)
        return rc;
    rc = take(r, &payload, (size_t)woq_align(h->payload_bytes, WOQ_GRID), &f->body, "payload",
              !r->opts.no_body_hash, err);
    if (rc)
        return rc;
    if (!r->opts.no_body_hash && woq_hasher_end(r->hash) != h->body_hash)
        return woq_fail(err, WOQ_EDATA, "check the file or link with woq-fsck",
                        "body is corrupt: its hash is %016llx, want %016llx",
                        (unsigned long long)woq_hasher_end(r->hash),
                        (unsigned long long)h->body_hash);
    f->wire_meta = meta;
    f->wire_meta_bytes = (size_t)h->meta_bytes;
    f->wire_payload = payload;
    f->wire_payload_bytes = (size_t)h->payload_bytes;
    f->wire_hash = h->body_hash;
    f->wire_lent = r->map != NULL;
    f->wire_enc = woq_json_get_str(f->meta, "enc") != NULL;
    f->dirty = false;
    if (f->wire_enc && !r->opts.keep_enc) {
        rc = expand(f, &payload, h->payload_bytes, raw, err);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < f->n_arrays; i++)
        f->arrays[i].data = (char *)(uintptr_t)payload + f->arrays[i].offset;
    return WOQ_OK;
}

/* Pages of a mapped file that were passed are given back: peak memory is a frame, not the file. */
static void drop_pages(const uint8_t *begin, const uint8_t *end)
{
    const uintptr_t page = 4095, from = ((uintptr_t)begin + page) & ~page;
    const uintptr_t to = (uintptr_t)end & ~page;

    if (to > from)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

static void drop_used(struct woq_reader *r)
{
    const uint8_t *from = r->used.from;

    r->used.from = NULL;
    if (!r->map || !from)
        return;
    if (r->frame.type[0])
        drop_pages(from, from + r->used.bytes);
    else if (!r->kept) /* moved away: its new owner still looks at them */
        r->kept = from;
}

void woq_reader_drop(struct woq_reader *r)
{
    drop_used(r);
    if (r->kept)
        drop_pages(r->kept, r->mem + r->at);
    r->kept = NULL;
}

/* A few bytes that begin no frame are no cut stream, but a text that does not belong there. */
static int short_header(const void *bytes, size_t n, struct woq_error *err)
{
    uint8_t padded[WOQ_HEADER_BYTES] = { 0 };
    struct woq_header h;

    if (!bytes)
        return WOQ_ETRUNC;
    memcpy(padded, bytes, n);
    if (memcmp(padded, woq_start_code, n < 8 ? n : 8) != 0)
        return woq_header_decode(&h, padded, err);
    return WOQ_ETRUNC;
}

/* One frame of any type into r->frame, with its place in the message if it fails. */
static int next_frame(struct woq_reader *r, struct woq_header *h, struct woq_error *err)
{
    struct woq_frame *f = &r->frame;
    struct woq_buf buf = { 0 };
    const uint64_t at = r->at;
    const void *bytes = NULL;
    char type[5] = "";
    int rc;

    drop_used(r);
    woq_arena_reset(&f->own);
    f->n_arrays = 0;
    woq_json_free(f->meta);
    f->meta = NULL;
    f->type[0] = 0;
    rc = take(r, &bytes, WOQ_HEADER_BYTES, &buf, "header", false, err);
    if (rc == WOQ_ETRUNC && r->at == at)
        woq_fail(err, WOQ_ETRUNC, "the program or file before ended early: look at its message",
                 r->seq ? "truncated: no TAIL frame at the end" : "empty input, want a stream");
    else if (rc == WOQ_ETRUNC)
        rc = short_header(bytes, (size_t)(r->at - at), err);
    if (rc == WOQ_OK)
        rc = woq_header_decode(h, bytes, err);
    if (rc == WOQ_OK && h->seq != r->seq)
        rc = woq_fail(err, WOQ_EDATA, "a frame was lost or doubled: see woq-fsck",
                      "frame carries number %llu, want %llu", (unsigned long long)h->seq,
                      (unsigned long long)r->seq);
    if (rc == WOQ_OK) {
        memcpy(type, h->type, 5);
        memcpy(f->type, type, 5);
        f->flags = h->flags;
        f->seq = h->seq;
        f->at_byte = at;
        rc = read_body(r, h, err);
    }
    woq_buf_release(&buf);
    if (rc) {
        const char *name = woq_frame_name(f);

        return woq_error_at(err, "%s: frame %llu%s%s%s%s%s, byte %llu", r->name,
                            (unsigned long long)r->seq, *type ? " " : "", type, *name ? " '" : "",
                            name, *name ? "'" : "", (unsigned long long)at);
    }
    r->used.from = r->mem ? r->mem + at : NULL;
    r->used.bytes = (size_t)(r->at - at);
    r->seq++;
    return WOQ_OK;
}

static int read_head(struct woq_reader *r, struct woq_error *err)
{
    struct woq_header h;
    const char *version;
    int rc = next_frame(r, &h, err);

    if (rc)
        return rc;
    if (!woq_frame_is(&r->frame, "HEAD"))
        rc = woq_fail(err, WOQ_EDATA, NULL, "the first frame is %s, want HEAD", r->frame.type);
    version = woq_json_get_str(r->frame.meta, "wts");
    if (rc == WOQ_OK && (!version || strncmp(version, "1.", 2) != 0))
        rc = woq_fail(err, WOQ_EDATA, "upgrade woq", "stream version '%s', this program knows %s",
                      version ? version : "none", WOQ_WTS_VERSION);
    if (rc)
        return woq_error_at(err, "%s: frame 0, byte 0", r->name);
    r->head = woq_json_copy(r->frame.meta);
    r->fold = woq_fold(0, h.header_hash);
    return r->head ? WOQ_OK : woq_fail_nomem(err, h.meta_bytes);
}

int woq_reader_head(struct woq_reader *r, const struct woq_json **head, struct woq_error *err)
{
    int rc = r->head ? WOQ_OK : read_head(r, err);

    if (rc == WOQ_OK && head)
        *head = r->head;
    return rc;
}

/* TAIL tells what must have arrived; after it nothing may follow. */
static int check_tail(struct woq_reader *r, struct woq_error *err)
{
    const struct woq_json *meta = r->frame.meta;
    const char *fold = woq_json_get_str(meta, "fold");
    char want[17];
    uint64_t frames = 0, bytes = 0;
    const void *more;
    struct woq_buf buf = { 0 };
    const uint64_t at = r->at;
    int rc;

    snprintf(want, sizeof want, "%016llx", (unsigned long long)r->fold);
    woq_json_u64(woq_json_get(meta, "frames"), &frames);
    woq_json_u64(woq_json_get(meta, "bytes"), &bytes);
    if (frames != r->seq - 1 || bytes != r->payload_total || !fold || strcmp(fold, want) != 0)
        return woq_fail(
            err, WOQ_EDATA, NULL,
            "TAIL does not match: %llu frames, %llu bytes, fold %s; read %llu, %llu, %s",
            (unsigned long long)frames, (unsigned long long)bytes, fold ? fold : "none",
            (unsigned long long)r->seq - 1, (unsigned long long)r->payload_total, want);
    rc = take(r, &more, 1, &buf, "trailing", false, NULL);
    woq_buf_release(&buf);
    if (rc != WOQ_ETRUNC || r->at != at)
        return woq_fail(err, WOQ_EDATA, "use woq-join to put streams together",
                        "bytes follow the TAIL frame");
    r->ended = true;
    return WOQ_OK;
}

static int upstream(const struct woq_reader *r, struct woq_error *err)
{
    const char *program = woq_json_get_str(r->frame.meta, "program");
    const char *message = woq_json_get_str(r->frame.meta, "message");

    woq_fail(err, WOQ_EUPSTREAM, woq_json_get_str(r->frame.meta, "hint"), "%s failed: %s",
             program ? program : "a program before", message ? message : "no message");
    if (err && program)
        snprintf(err->origin, sizeof err->origin, "%s", program);
    return WOQ_EUPSTREAM;
}

int woq_reader_next(struct woq_reader *r, struct woq_frame **f, struct woq_error *err)
{
    struct woq_header h = { 0 };
    int rc;

    if (r->ended)
        return WOQ_OK;
    rc = woq_reader_head(r, NULL, err);
    if (rc == WOQ_OK)
        rc = next_frame(r, &h, err);
    if (rc)
        return rc;
    if (woq_frame_is(&r->frame, "TAIL"))
        rc = check_tail(r, err);
    else if (woq_frame_is(&r->frame, "FAIL"))
        rc = upstream(r, err);
    else if (h.type[0] >= 'A' && h.type[0] <= 'Z' &&
             (!woq_type_is_known(h.type) || strcmp(h.type, "HEAD") == 0))
        rc = woq_fail(err, WOQ_EUNSUPPORTED, "upgrade woq",
                      "frame type %s is not known or not allowed here", h.type);
    else
        rc = WOQ_ITEM;
    if (rc < 0)
        return woq_error_at(err, "%s: frame %llu, byte %llu", r->name, (unsigned long long)h.seq,
                            (unsigned long long)r->frame.at_byte);
    if (rc == WOQ_OK)
        return WOQ_OK;
    r->fold = woq_fold(r->fold, h.header_hash);
    r->payload_total += h.payload_bytes;
    if (r->opts.on_frame)
        r->opts.on_frame(r->opts.ctx, &r->frame);
    *f = &r->frame;
    return WOQ_ITEM;
}
