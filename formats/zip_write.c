/* zip_write.c -- see the header. Records: PKWARE's APPNOTE 4.3, 4.5.3. The checksum of a member is
 * known behind its bytes and put into its header then. Times are 0, as torch's are. */
#include <formats/zip_write.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/util.h>

enum { LOCAL = 30, CRC_AT = 14, ALIGN = 64, MAX_COUNT = 0xffff };
enum { VERSION = 20, VERSION_64 = 45 }; /* needed to extract */

/* A record that is being put together. */
struct record {
    uint8_t data[4096];
    size_t n;
};

static void put(struct record *r, uint64_t x, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        r->data[r->n++] = (uint8_t)(x >> 8 * i);
}

static void put_text(struct record *r, const char *text)
{
    const size_t n = strlen(text);

    memcpy(r->data + r->n, text, n);
    r->n += n;
}

static bool is_large(const struct woq_zip_writer *w, uint64_t x)
{
    return x >= w->limit;
}

static void put_small(struct record *r, const struct woq_zip_writer *w, uint64_t x)
{
    put(r, is_large(w, x) ? UINT32_MAX : x, 4);
}

/* What local header and directory have in common: from the version needed to the extra field. */
static void put_common(struct record *r, const struct woq_zip_writer *w,
                       const struct woq_zip_entry *e, bool is_64, size_t extra)
{
    put(r, is_64 ? VERSION_64 : VERSION, 2);
    put(r, 0, 2); /* flags */
    put(r, 0, 2); /* stored */
    put(r, 0, 4); /* time and date */
    put(r, e->crc, 4);
    put_small(r, w, e->bytes);
    put_small(r, w, e->bytes);
    put(r, strlen(e->name), 2);
    put(r, extra, 2);
}

int woq_zip_writer_open(struct woq_zip_writer *w, struct woq_out *out, const char *name,
                        struct woq_error *err)
{
    memset(w, 0, sizeof *w);
    w->limit = UINT32_MAX;
    snprintf(w->top, sizeof w->top, "%.*s", (int)strcspn(name, "."), name);
    woq_crc32_init(&w->crc);
    return woq_outfile_open(&w->file, out, name, err);
}

static int new_entry(struct woq_zip_writer *w, const char *name, struct woq_error *err)
{
    struct woq_str s = { 0 };

    if (w->n_entries == w->cap_entries) {
        const size_t cap = w->cap_entries ? 2 * w->cap_entries : 256;
        struct woq_zip_entry *grown = realloc(w->entries, cap * sizeof *grown);
        if (!grown)
            return woq_fail_nomem(err, cap * sizeof *grown);
        w->entries = grown;
        w->cap_entries = cap;
    }
    if (woq_str_addf(&s, "%s/%s", w->top, name) < 0)
        return woq_fail_nomem(err, strlen(name));
    w->entries[w->n_entries++] = (struct woq_zip_entry){ .name = s.s };
    return WOQ_OK;
}

/* The extra field is the sizes where they are large, then what torch fills up with. */
int woq_zip_begin(struct woq_zip_writer *w, const char *name, uint64_t bytes, struct woq_error *err)
{
    struct record r = { .n = 0 };
    struct woq_zip_entry *e;
    size_t extra, fill;
    int rc = new_entry(w, name, err);

    if (w->left)
        WOQ_BUG("a member begins before the last one is complete");
    if (rc)
        return rc;
    e = &w->entries[w->n_entries - 1];
    e->header = w->file.at;
    e->bytes = w->left = bytes;
    const bool is_64 = is_large(w, bytes);
    extra = (is_64 ? 20u : 0) + 4;
    fill = -(size_t)(e->header + LOCAL + strlen(e->name) + extra) % ALIGN;
    put_text(&r, "PK\3\4");
    put_common(&r, w, e, is_64, extra + fill);
    put_text(&r, e->name);
    if (is_64) {
        put(&r, 1, 2);
        put(&r, 16, 2);
        put(&r, bytes, 8);
        put(&r, bytes, 8);
    }
    put_text(&r, "FB");
    put(&r, fill, 2);
    memset(r.data + r.n, 'Z', fill);
    return woq_outfile_add(&w->file, r.data, r.n + fill, err);
}

int woq_zip_data(struct woq_zip_writer *w, const void *data, uint64_t bytes, struct woq_error *err)
{
    struct woq_zip_entry *e = &w->entries[w->n_entries - 1];
    struct record crc = { .n = 0 };
    int rc;

    if (bytes > w->left)
        WOQ_BUG("more bytes than the member has");
    w->left -= bytes;
    e->crc = woq_crc32(&w->crc, e->crc, data, (size_t)bytes);
    rc = woq_outfile_add(&w->file, data, bytes, err);
    if (rc || w->left)
        return rc;
    put(&crc, e->crc, 4);
    return woq_outfile_write_at(&w->file, crc.data, crc.n, e->header + CRC_AT, err);
}

int woq_zip_put(struct woq_zip_writer *w, const char *name, const void *data, uint64_t bytes,
                struct woq_error *err)
{
    const int rc = woq_zip_begin(w, name, bytes, err);

    return rc == WOQ_OK ? woq_zip_data(w, data, bytes, err) : rc;
}

/* One entry of the directory; of sizes and offset, those that are large are in the extra field. */
static int add_entry(struct woq_zip_writer *w, const struct woq_zip_entry *e, struct woq_error *err)
{
    const bool size = is_large(w, e->bytes), at = is_large(w, e->header);
    const size_t large = (size ? 16u : 0) + (at ? 8u : 0);
    struct record r = { .n = 0 };

    put_text(&r, "PK\1\2");
    put(&r, large ? VERSION_64 : VERSION, 2); /* made by */
    put_common(&r, w, e, large != 0, large ? 4 + large : 0);
    put(&r, 0, 6); /* comment, disk, attributes inside */
    put(&r, 0, 4); /* and outside */
    put_small(&r, w, e->header);
    put_text(&r, e->name);
    if (large) {
        put(&r, 1, 2);
        put(&r, large, 2);
    }
    if (size) {
        put(&r, e->bytes, 8);
        put(&r, e->bytes, 8);
    }
    if (at)
        put(&r, e->header, 8);
    return woq_outfile_add(&w->file, r.data, r.n, err);
}

int woq_zip_writer_finish(struct woq_zip_writer *w, struct woq_error *err)
{
    const uint64_t at = w->file.at, n = w->n_entries;
    struct record r = { .n = 0 };
    int rc = WOQ_OK;

    for (size_t i = 0; i < n && rc == WOQ_OK; i++)
        rc = add_entry(w, &w->entries[i], err);
    const uint64_t end = w->file.at, bytes = end - at;
    const bool many = n >= MAX_COUNT || is_large(w, n);
    if (many || is_large(w, at) || is_large(w, bytes)) {
        put_text(&r, "PK\6\6");
        put(&r, 44, 8); /* of what follows of this record */
        put(&r, VERSION_64, 2);
        put(&r, VERSION_64, 2);
        put(&r, 0, 8); /* disks */
        put(&r, n, 8);
        put(&r, n, 8);
        put(&r, bytes, 8);
        put(&r, at, 8);
        put_text(&r, "PK\6\7");
        put(&r, 0, 4);
        put(&r, end, 8);
        put(&r, 1, 4);
    }
    put_text(&r, "PK\5\6");
    put(&r, 0, 4);
    put(&r, many ? MAX_COUNT : n, 2);
    put(&r, many ? MAX_COUNT : n, 2);
    put_small(&r, w, bytes);
    put_small(&r, w, at);
    put(&r, 0, 2);
    if (rc == WOQ_OK)
        rc = woq_outfile_add(&w->file, r.data, r.n, err);
    return rc == WOQ_OK ? woq_outfile_finish(&w->file, err) : rc;
}

void woq_zip_writer_release(struct woq_zip_writer *w)
{
    woq_outfile_abort(&w->file);
    for (size_t i = 0; i < w->n_entries; i++)
        free(w->entries[i].name);
    free(w->entries);
    memset(w, 0, sizeof *w);
}
