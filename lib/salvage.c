/* salvage.c -- finds the intact frames of a damaged stream. */
#include "wire_internal.h"

#include <woq/fsck.h>

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

/* Next start code at or after `at`, or the end. */
static size_t find_start(const struct woq_salvage *s, size_t at)
{
    while (at + WOQ_HEADER_BYTES <= s->bytes) {
        const uint8_t *p = memchr(s->data + at, woq_start_code[0], s->bytes - at);
        if (!p)
            break;
        at = (size_t)(p - s->data);
        if (at + WOQ_HEADER_BYTES <= s->bytes && !memcmp(p, woq_start_code, sizeof woq_start_code))
            return at;
        at++;
    }
    return s->bytes;
}

/* Bytes of the whole frame at `at` if it is intact, else 0. */
static size_t intact(const struct woq_salvage *s, size_t at, struct woq_header *h)
{
    size_t body;

    if (woq_header_decode(h, s->data + at, NULL) < 0)
        return 0;
    body = (size_t)(woq_align(h->meta_bytes, WOQ_GRID) + woq_align(h->payload_bytes, WOQ_GRID));
    if (body > s->bytes - at - WOQ_HEADER_BYTES ||
        woq_hash64(s->data + at + WOQ_HEADER_BYTES, body) != h->body_hash)
        return 0;
    return WOQ_HEADER_BYTES + body;
}

static int add_found(struct woq_salvage *s, size_t at, const struct woq_header *h,
                     struct woq_error *err)
{
    if (s->n_found == s->cap) {
        const size_t cap = s->cap ? 2 * s->cap : 256;
        struct woq_found *grown = realloc(s->found, cap * sizeof *grown);
        if (!grown)
            return woq_fail_nomem(err, cap * sizeof *grown);
        s->found = grown;
        s->cap = cap;
    }
    s->found[s->n_found++] = (struct woq_found){ at, *h, false };
    return WOQ_OK;
}

static const struct woq_json *meta_of(const struct woq_salvage *s, const struct woq_found *f,
                                      struct woq_json **root)
{
    *root = NULL;
    (void)woq_json_parse(root, (const char *)s->data + f->at + WOQ_HEADER_BYTES,
                         (size_t)f->header.meta_bytes, NULL);
    return *root;
}

static bool is_plain(const struct woq_header *h)
{
    return strcmp(h->type, "HEAD") != 0 && strcmp(h->type, "TAIL") != 0 &&
           strcmp(h->type, "FAIL") != 0 && (woq_type_is_known(h->type) || h->type[0] >= 'a');
}

static void mark_kept(struct woq_salvage *s)
{
    uint64_t last = 0;

    for (size_t i = 0; i < s->n_found; i++) {
        struct woq_found *f = &s->found[i];
        if (!is_plain(&f->header))
            continue;
        f->keep = f->header.seq > last;
        last = f->keep ? f->header.seq : last;
    }
}

/* HEAD and TAIL tell what there should be. */
static void read_ends(struct woq_salvage *s)
{
    struct woq_json *meta;
    uint64_t promised = 0;

    for (size_t i = 0; i < s->n_found; i++) {
        const struct woq_found *f = &s->found[i];
        if (f->header.seq + 1 > s->n_frames && strcmp(f->header.type, "TAIL") != 0)
            s->n_frames = f->header.seq + 1;
        if (!strcmp(f->header.type, "HEAD") && !s->has_head && meta_of(s, f, &meta)) {
            s->head = meta;
            s->has_head = true;
        } else if (!strcmp(f->header.type, "TAIL")) {
            s->has_tail = true;
            if (woq_json_u64(woq_json_get(meta_of(s, f, &meta), "frames"), &promised) &&
                promised >= s->n_frames && promised <= f->header.seq + 1)
                s->n_frames = promised;
            woq_json_free(meta);
        }
    }
}

int woq_salvage_scan(struct woq_salvage *s, const void *data, size_t bytes, struct woq_error *err)
{
    struct woq_header h;
    size_t at = 0, n;
    int rc;

    memset(s, 0, sizeof *s);
    s->data = data;
    s->bytes = bytes;
    while ((at = find_start(s, at)) < bytes) {
        n = intact(s, at, &h);
        if (n && (rc = add_found(s, at, &h, err)) < 0)
            return rc;
        at += n ? n : 1;
    }
    mark_kept(s);
    read_ends(s);
    if (!s->head) {
        s->head = woq_json_object();
        woq_json_set_str(s->head, "wts", WOQ_WTS_VERSION);
    }
    return s->head ? WOQ_OK : woq_fail_nomem(err, 256);
}

void woq_salvage_frame(const struct woq_salvage *s, size_t i, struct woq_frame *f)
{
    const struct woq_found *x = &s->found[i];
    const uint8_t *meta = s->data + x->at + WOQ_HEADER_BYTES;

    woq_frame_begin(f, x->header.type);
    f->flags = x->header.flags;
    f->seq = x->header.seq;
    f->at_byte = x->at;
    f->wire_meta = meta;
    f->wire_meta_bytes = (size_t)x->header.meta_bytes;
    f->wire_payload = meta + woq_align(x->header.meta_bytes, WOQ_GRID);
    f->wire_payload_bytes = (size_t)x->header.payload_bytes;
    f->wire_hash = x->header.body_hash;
    f->dirty = false;
}

static void report_bytes(const struct woq_salvage *s, struct woq_str *out)
{
    uint64_t at = 0;

    for (size_t i = 0; i <= s->n_found; i++) {
        const uint64_t next = i < s->n_found ? s->found[i].at : s->bytes;
        if (next > at)
            woq_str_addf(out, "bytes %llu to %llu hold no intact frame\n", (ull)at, (ull)next - 1);
        if (i < s->n_found)
            at = next + WOQ_HEADER_BYTES + woq_align(s->found[i].header.meta_bytes, WOQ_GRID) +
                 woq_align(s->found[i].header.payload_bytes, WOQ_GRID);
    }
}

static void report_run(struct woq_str *out, uint64_t from, uint64_t to)
{
    if (from == to)
        woq_str_addf(out, "frame %llu is missing%s\n", (ull)from, from ? "" : " (HEAD)");
    else
        woq_str_addf(out, "frames %llu to %llu are missing\n", (ull)from, (ull)to);
}

uint64_t woq_salvage_report(const struct woq_salvage *s, struct woq_str *out)
{
    uint64_t want = 0, n_missing = 0;

    report_bytes(s, out);
    for (size_t i = 0; i < s->n_found; i++) {
        const struct woq_header *h = &s->found[i].header;
        if (!strcmp(h->type, "TAIL"))
            continue;
        if (!strcmp(h->type, "FAIL"))
            woq_str_addf(out, "frame %llu says that a program before failed\n", (ull)h->seq);
        if (h->seq < want)
            woq_str_addf(out, "frame %llu comes again at byte %llu\n", (ull)h->seq,
                         (ull)s->found[i].at);
        if (h->seq > want) {
            report_run(out, want, h->seq - 1);
            n_missing += h->seq - want;
        }
        want = h->seq >= want ? h->seq + 1 : want;
    }
    if (s->n_frames > want) {
        report_run(out, want, s->n_frames - 1);
        n_missing += s->n_frames - want;
    }
    if (!s->has_tail)
        woq_str_addf(out, "TAIL is missing: nobody knows how many frames followed\n");
    return n_missing;
}

void woq_salvage_release(struct woq_salvage *s)
{
    free(s->found);
    woq_json_free(s->head);
    memset(s, 0, sizeof *s);
}
