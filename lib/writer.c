/* writer.c -- whole frames into a file descriptor by writev, straight from where the arrays lie. */
#define _GNU_SOURCE /* F_SETPIPE_SZ, vmsplice */
#include "wire_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LEND_BYTES = 1 << 16 }; /* below, a copy is cheaper than pinning pages */

static const char zeros[WOQ_GRID];

struct woq_writer {
    int fd;
    char *name;
    uint64_t seq, fold, bytes, payload_total;
    struct woq_hasher *hash;
    struct woq_segment *segs;
    size_t n_segs, cap_segs;
    struct woq_str packed;
    bool broken; /* a frame was cut: nothing may follow */
    bool is_pipe;
};

/* `lent`: the bytes lie in a file mapping that nobody writes to, so a pipe may take the pages
 * themselves instead of a copy. Memory that is used again for the next frame must be copied. */
static int writev_all(struct woq_writer *w, struct iovec *v, size_t n, bool lent,
                      struct woq_error *err)
{
    while (n > 0) {
        const size_t count = n > 64 ? 64 : n;
        ssize_t done = lent ? vmsplice(w->fd, v, count, 0) : writev(w->fd, v, (int)count);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            w->broken = true;
            woq_fail_errno(err, errno == ENOSPC ? "free some disk space" : NULL, "can't write");
            return woq_error_at(err, "%s", w->name);
        }
        w->bytes += (uint64_t)done;
        while (n > 0 && (size_t)done >= v->iov_len) {
            done -= (ssize_t)v->iov_len;
            v++;
            n--;
        }
        if (n > 0) {
            v->iov_base = (char *)v->iov_base + done;
            v->iov_len -= (size_t)done;
        }
    }
    return WOQ_OK;
}

static int add_seg(struct woq_writer *w, const void *data, size_t bytes, bool lent,
                   struct woq_error *err)
{
    if (w->n_segs == w->cap_segs) {
        const size_t cap = w->cap_segs ? 2 * w->cap_segs : 16;
        struct woq_segment *grown = realloc(w->segs, cap * sizeof *grown);

        if (!grown)
            return woq_fail_nomem(err, cap * sizeof *grown);
        w->segs = grown;
        w->cap_segs = cap;
    }
    w->segs[w->n_segs].data = data;
    w->segs[w->n_segs].bytes = bytes;
    w->segs[w->n_segs].lent = lent;
    w->n_segs++;
    return WOQ_OK;
}

/* v[0] is the header and v has room for two more entries per segment. */
static int send_body(struct woq_writer *w, struct iovec *v, struct woq_error *err)
{
    size_t n = 1;
    int rc;

    for (size_t i = 0; i < w->n_segs; i++) {
        const size_t bytes = w->segs[i].bytes, pad = (size_t)(woq_align(bytes, WOQ_GRID) - bytes);
        struct iovec body = { (void *)(uintptr_t)w->segs[i].data, bytes };

        if (w->is_pipe && w->segs[i].lent && bytes >= LEND_BYTES) {
            if ((rc = writev_all(w, v, n, false, err)) || (rc = writev_all(w, &body, 1, true, err)))
                return rc;
            n = 0;
        } else if (bytes) {
            v[n++] = body;
        }
        if (pad)
            v[n++] = (struct iovec){ (void *)(uintptr_t)zeros, pad };
    }
    return writev_all(w, v, n, false, err);
}

/* Header, then every segment padded to the grid. `h` has type, flags and sizes, and body_hash when
 * `hashed`. */
static int emit(struct woq_writer *w, struct woq_header *h, bool hashed, struct woq_error *err)
{
    const size_t n_iov = 1 + 2 * w->n_segs;
    struct iovec *v = malloc(n_iov * sizeof *v);
    uint8_t header[WOQ_HEADER_BYTES];
    int rc;

    if (!v)
        return woq_fail_nomem(err, n_iov * sizeof *v);
    if (!hashed) {
        woq_hasher_reset(w->hash);
        for (size_t i = 0; i < w->n_segs; i++) {
            woq_hasher_add(w->hash, w->segs[i].data, w->segs[i].bytes);
            woq_hasher_pad(w->hash, w->segs[i].bytes);
        }
        h->body_hash = woq_hasher_end(w->hash);
    }
    h->seq = w->seq;
    woq_header_encode(header, h);
    v[0].iov_base = header;
    v[0].iov_len = sizeof header;
    rc = send_body(w, v, err);
    free(v);
    if (rc)
        return rc;
    w->seq++;
    w->payload_total +=
        strcmp(h->type, "HEAD") != 0 && strcmp(h->type, "TAIL") != 0 ? h->payload_bytes : 0;
    w->fold = woq_fold(w->fold, h->header_hash);
    return WOQ_OK;
}

/* Meta text with "arrays" appended; sets the offsets and *raw_bytes. The caller frees. */
static char *meta_text(struct woq_frame *f, const char *enc, uint64_t *raw_bytes)
{
    struct woq_json *list = woq_json_array();
    uint64_t end = 0;
    char *text;

    for (size_t i = 0; i < f->n_arrays; i++) {
        struct woq_array *a = &f->arrays[i];
        struct woq_json *j = woq_json_object(), *shape = woq_json_array();

        a->offset = woq_align(end, WOQ_GRID);
        end = a->offset + a->bytes;
        for (unsigned d = 0; d < a->n_dims; d++)
            woq_json_push(shape, woq_json_of_num((double)a->shape[d]));
        woq_json_set_str(j, "name", a->name);
        woq_json_set_str(j, "dtype", woq_dtype_name(a->dtype));
        woq_json_set(j, "shape", shape);
        woq_json_set_num(j, "offset", (double)a->offset);
        woq_json_push(list, j);
    }
    *raw_bytes = end;
    if (enc)
        woq_json_set_str(f->meta, "enc", enc);
    if (f->n_arrays)
        woq_json_set(f->meta, "arrays", list);
    else
        woq_json_free(list);
    text = woq_json_print(f->meta, false);
    woq_json_del(f->meta, "arrays");
    woq_json_del(f->meta, "enc");
    return text;
}

/* Segments: meta, then the arrays (or their zstd form). */
static int put_made(struct woq_writer *w, struct woq_frame *f, int level, struct woq_error *err)
{
    struct woq_header h = { .flags = f->flags };
    uint64_t raw = 0;
    char *text = meta_text(f, level ? "zstd" : NULL, &raw);
    int rc;

    if (!text)
        return woq_fail_nomem(err, 1 << 10);
    memcpy(h.type, f->type, 5);
    h.meta_bytes = strlen(text);
    h.payload_bytes = raw;
    w->n_segs = 0;
    rc = add_seg(w, text, (size_t)h.meta_bytes, false, err);
    for (size_t i = 0; rc == WOQ_OK && i < f->n_arrays; i++)
        rc = add_seg(w, f->arrays[i].data, f->arrays[i].bytes, f->arrays[i].lent, err);
    if (rc == WOQ_OK && level) {
        rc = woq_zframe_pack(&w->packed, w->segs + 1, w->n_segs - 1, level, err);
        if (rc == WOQ_OK && w->packed.len >= raw) {
            free(text); /* nothing gained: plain is faster to read */
            return put_made(w, f, 0, err);
        }
        w->n_segs = 1;
        h.payload_bytes = w->packed.len;
        if (rc == WOQ_OK)
            rc = add_seg(w, w->packed.s, w->packed.len, false, err);
    }
    if (rc == WOQ_OK && h.meta_bytes > WOQ_MAX_META)
        rc = woq_fail(err, WOQ_EDATA, NULL, "meta of '%s' takes %llu bytes, the limit is %u",
                      woq_frame_name(f), (unsigned long long)h.meta_bytes, WOQ_MAX_META);
    if (rc == WOQ_OK)
        rc = emit(w, &h, false, err);
    free(text);
    return rc;
}

static int put_wire(struct woq_writer *w, const struct woq_frame *f, struct woq_error *err)
{
    struct woq_header h = { .flags = f->flags,
                            .meta_bytes = f->wire_meta_bytes,
                            .payload_bytes = f->wire_payload_bytes,
                            .body_hash = f->wire_hash };
    int rc;

    memcpy(h.type, f->type, 5);
    w->n_segs = 0;
    rc = add_seg(w, f->wire_meta, f->wire_meta_bytes, false, err);
    if (rc == WOQ_OK)
        rc = add_seg(w, f->wire_payload, f->wire_payload_bytes, f->wire_lent, err);
    return rc == WOQ_OK ? emit(w, &h, true, err) : rc;
}

int woq_writer_put(struct woq_writer *w, struct woq_frame *f, struct woq_error *err)
{
    return f->dirty ? put_made(w, f, 0, err) : put_wire(w, f, err);
}

int woq_writer_put_zstd(struct woq_writer *w, struct woq_frame *f, int level, struct woq_error *err)
{
    if (f->n_arrays == 0)
        return woq_writer_put(w, f, err);
    return put_made(w, f, level, err);
}

int woq_writer_open_fd(struct woq_writer **out, int fd, const char *name,
                       const struct woq_json *head, struct woq_error *err)
{
    struct woq_writer *w = calloc(1, sizeof *w);
    struct woq_frame f = { 0 };
    struct stat st;
    int rc = WOQ_OK;

    if (!w)
        return woq_fail_nomem(err, sizeof *w);
    w->fd = fd;
    w->name = strdup(name);
    w->hash = woq_hasher_new(err);
    (void)fcntl(fd, F_SETPIPE_SZ, 1 << 20);
    w->is_pipe = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
    woq_frame_begin(&f, "HEAD");
    woq_json_free(f.meta);
    f.meta = woq_json_copy(head);
    if (!w->name || !w->hash || !f.meta)
        rc = woq_fail_nomem(err, 1 << 10);
    if (rc == WOQ_OK)
        rc = woq_writer_put(w, &f, err);
    woq_frame_release(&f);
    if (rc) {
        woq_writer_close(w);
        return rc;
    }
    *out = w;
    return WOQ_OK;
}

int woq_writer_finish(struct woq_writer *w, struct woq_error *err)
{
    struct woq_frame f = { 0 };
    char fold[17];
    int rc;

    woq_frame_begin(&f, "TAIL");
    woq_json_set_num(f.meta, "frames", (double)w->seq);
    woq_json_set_num(f.meta, "bytes", (double)w->payload_total);
    snprintf(fold, sizeof fold, "%016llx", (unsigned long long)w->fold);
    woq_json_set_str(f.meta, "fold", fold);
    rc = woq_writer_put(w, &f, err);
    woq_frame_release(&f);
    return rc;
}

void woq_writer_fail(struct woq_writer *w, const char *program, const struct woq_error *why)
{
    struct woq_frame f = { 0 };
    const bool forward = why->status == WOQ_EUPSTREAM && why->origin[0];
    const char *message = why->what;

    if (w->broken)
        return;
    /* "X failed: text" came in; text goes on, so that the last program still names X once. */
    if (forward && strstr(message, " failed: "))
        message = strstr(message, " failed: ") + strlen(" failed: ");
    woq_frame_begin(&f, "FAIL");
    woq_json_set_str(f.meta, "program", forward ? why->origin : program);
    if (why->where[0] && !forward) {
        struct woq_str text = { 0 };

        woq_str_addf(&text, "%s: %s", why->where, message);
        woq_json_set_str(f.meta, "message", text.s ? text.s : message);
        woq_str_release(&text);
    } else {
        woq_json_set_str(f.meta, "message", message);
    }
    if (why->hint[0])
        woq_json_set_str(f.meta, "hint", why->hint);
    (void)woq_writer_put(w, &f, NULL); /* best effort: the reader also sees the missing TAIL */
    woq_frame_release(&f);
}

uint64_t woq_writer_bytes(const struct woq_writer *w)
{
    return w->bytes;
}

void woq_writer_close(struct woq_writer *w)
{
    if (!w)
        return;
    woq_hasher_free(w->hash);
    woq_str_release(&w->packed);
    free(w->segs);
    free(w->name);
    free(w);
}
