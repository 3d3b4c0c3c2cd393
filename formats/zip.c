/* zip.c -- see zip.h. Records: PKWARE's APPNOTE 4.3, 4.5.3; what torch writes: formats.md 2.1. */
#include "zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char hint_damaged[] = "the file is damaged or cut short: copy or download it again";
static const char hint_again[] =
    "load it with torch (TorchScript: torch.jit.load) and save its state_dict() with torch.save";

enum { END = 22, END64 = 56, LOCATOR64 = 20, ENTRY = 46, LOCAL = 30, MAX_COMMENT = 65535 };
enum { FLAG_ENCRYPTED = 1, FLAG_SIZES_BEHIND = 8, FLAG_STRONG = 64 };

static uint64_t load(const uint8_t *p, unsigned bytes)
{
    uint64_t x = 0;

    for (unsigned i = bytes; i-- > 0;)
        x = x << 8 | p[i];
    return x;
}

/* Where the central directory is, as the end record tells. */
struct directory {
    uint64_t n, bytes, at;
};

/* A field of 16 or 32 bits that is all ones stands for the one of zip64; else both must agree. */
static bool agree(uint64_t small, unsigned bytes, uint64_t large)
{
    return small == ((uint64_t)1 << 8 * bytes) - 1 || small == large;
}

static int find_end64(const uint8_t *data, size_t end, struct directory *d, struct woq_error *err)
{
    if (end < LOCATOR64 || memcmp(data + end - LOCATOR64, "PK\6\7", 4) != 0)
        return WOQ_OK;
    const uint8_t *locator = data + end - LOCATOR64;
    const uint64_t at = load(locator + 8, 8);

    if (at > end - LOCATOR64 || end - LOCATOR64 - at < END64 || memcmp(data + at, "PK\6\6", 4) != 0)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "zip: no zip64 end record at byte %" PRIu64 ", where its locator points",
                        at);
    const struct directory large = { load(data + at + 32, 8), load(data + at + 40, 8),
                                     load(data + at + 48, 8) };
    if (!agree(d->n, 2, large.n) || !agree(d->bytes, 4, large.bytes) || !agree(d->at, 4, large.at))
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "zip: the end record and its zip64 form disagree");
    *d = large;
    return WOQ_OK;
}

/* The end record closes the file; a comment may follow it, whose length must fit exactly. */
static int find_directory(const uint8_t *data, size_t bytes, struct directory *d,
                          struct woq_error *err)
{
    const size_t lowest = bytes > END + MAX_COMMENT ? bytes - END - MAX_COMMENT : 0;
    size_t end = bytes >= END ? bytes - END : 0;
    int rc;

    while (bytes >= END && end > lowest &&
           (memcmp(data + end, "PK\5\6", 4) != 0 || end + END + load(data + end + 20, 2) != bytes))
        end--;
    if (bytes < END || memcmp(data + end, "PK\5\6", 4) != 0 ||
        end + END + load(data + end + 20, 2) != bytes)
        return woq_fail(err, WOQ_ETRUNC, hint_damaged,
                        "truncated: the zip archive has no directory at its end");
    *d = (struct directory){ load(data + end + 10, 2), load(data + end + 12, 4),
                             load(data + end + 16, 4) };
    if ((rc = find_end64(data, end, d, err)) < 0)
        return rc;
    if (d->at > end || d->bytes > end - d->at || d->n > d->bytes / ENTRY)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "zip: a directory of %" PRIu64 " members in %" PRIu64
                        " bytes from byte %" PRIu64 " does not fit into the file",
                        d->n, d->bytes, d->at);
    return WOQ_OK;
}

/* Fields of 32 bits at record + at[i]; those that are all ones stand in the extra field of id 1
 * instead (zip64), in this order. */
static int take_sizes(const uint8_t *record, const unsigned *at, int n, const uint8_t *extra,
                      size_t extra_bytes, uint64_t *sizes)
{
    const uint8_t *p = NULL, *end = NULL;

    for (size_t i = 0; i + 4 <= extra_bytes; i += 4 + load(extra + i + 2, 2)) {
        const size_t bytes = load(extra + i + 2, 2);

        if (bytes > extra_bytes - i - 4)
            return WOQ_EDATA;
        if (load(extra + i, 2) == 1 && !p) {
            p = extra + i + 4;
            end = p + bytes;
        }
    }
    for (int i = 0; i < n; i++) {
        sizes[i] = load(record + at[i], 4);
        if (sizes[i] != UINT32_MAX)
            continue;
        if (!p || end - p < 8)
            return WOQ_EDATA;
        sizes[i] = load(p, 8);
        p += 8;
    }
    return WOQ_OK;
}

/* Plain and packed size; a writer that did not know them put zeros here, and them behind the data.
 */
static bool local_sizes_agree(const uint8_t *local, size_t name, const struct woq_zip_member *m)
{
    static const unsigned at[2] = { 22, 18 };
    uint64_t sizes[2];

    if (take_sizes(local, at, 2, local + LOCAL + name, load(local + 28, 2), sizes) < 0)
        return false;
    if (sizes[0] == m->bytes && sizes[1] == m->bytes)
        return true;
    return load(local + 6, 2) & FLAG_SIZES_BEHIND && sizes[0] == 0 && sizes[1] == 0;
}

/* The local header repeats the entry of the directory; readers that trust one of them differ from
 * those that trust the other, so they must say the same. `local` is there whole. */
static int check_local(const uint8_t *local, const uint8_t *entry, const struct woq_zip_member *m,
                       struct woq_error *err)
{
    const size_t name = strlen(m->name);
    const char *what = NULL;

    if (load(local + 8, 2) != load(entry + 10, 2))
        what = "method";
    else if ((load(local + 6, 2) ^ load(entry + 8, 2)) & (FLAG_ENCRYPTED | FLAG_STRONG))
        what = "encryption flag";
    else if (load(local + 26, 2) != name || memcmp(local + LOCAL, m->name, name) != 0)
        what = "name";
    else if (!local_sizes_agree(local, name, m))
        what = "size";
    if (!what)
        return WOQ_OK;
    return woq_fail(err, WOQ_EDATA, hint_damaged,
                    "zip member '%s': the %s of its local header at byte %" PRIu64
                    " is not that of the directory",
                    m->name, what, m->header);
}

static int check_kind(const uint8_t *entry, const char *name, const uint64_t sizes[3],
                      struct woq_error *err)
{
    if (load(entry + 8, 2) & (FLAG_ENCRYPTED | FLAG_STRONG))
        return woq_fail(err, WOQ_EUNSUPPORTED, hint_again, "zip member '%s' is encrypted", name);
    if (load(entry + 10, 2) != 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, hint_again,
                        "zip member '%s' is compressed (method %" PRIu64 "), want stored", name,
                        load(entry + 10, 2));
    if (sizes[0] != sizes[1])
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "zip member '%s': stored, but %" PRIu64 " bytes become %" PRIu64, name,
                        sizes[1], sizes[0]);
    return WOQ_OK;
}

/* Payloads lie before the directory. */
static int place_member(struct woq_zip_member *m, const uint8_t *data, const uint8_t *entry,
                        const uint64_t sizes[3], uint64_t limit, struct woq_error *err)
{
    m->header = sizes[2];
    m->bytes = (size_t)sizes[0];
    m->crc = (uint32_t)load(entry + 16, 4);
    if (limit < LOCAL || m->header > limit - LOCAL || memcmp(data + m->header, "PK\3\4", 4) != 0)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "zip member '%s': no local header at byte %" PRIu64, m->name, m->header);
    const uint8_t *local = data + m->header;
    const uint64_t room = limit - m->header;
    const uint64_t before = LOCAL + load(local + 26, 2) + load(local + 28, 2);
    if (before > room || m->bytes > room - before)
        return woq_fail(err, WOQ_ETRUNC, hint_damaged,
                        "truncated: zip member '%s' of %zu bytes at byte %" PRIu64
                        " ends beyond the members",
                        m->name, m->bytes, m->header);
    m->data = local + before;
    return check_local(local, entry, m, err);
}

/* Plain names in one folder; nothing is ever unpacked, but a torch file has no others. */
static bool is_plain(const char *name, size_t n)
{
    return n > 0 && strlen(name) == n && name[0] != '/' && !strchr(name, '\\') &&
           strncmp(name, "../", 3) != 0 && !strstr(name, "/../") && !strstr(name, "//");
}

static int take_entry(struct woq_zip *z, const uint8_t *data, const struct directory *d,
                      uint64_t *at, struct woq_error *err)
{
    const uint8_t *entry = data + *at;
    const uint64_t left = d->at + d->bytes - *at;
    struct woq_zip_member *m = &z->members[z->n];
    static const unsigned size_at[3] = { 24, 20, 42 }; /* plain, packed, local header */
    uint64_t sizes[3];
    int rc;

    if (left < ENTRY || memcmp(entry, "PK\1\2", 4) != 0)
        return woq_fail(err, WOQ_EDATA, hint_damaged, "zip: no directory entry at byte %" PRIu64,
                        *at);
    const size_t name = load(entry + 28, 2), extra = load(entry + 30, 2);
    const uint64_t bytes = ENTRY + name + extra + load(entry + 32, 2);
    if (bytes > left)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "zip: the directory entry at byte %" PRIu64 " is cut off", *at);
    *at += bytes;
    if (!(m->name = malloc(name + 1)))
        return woq_fail_nomem(err, name + 1);
    memcpy(m->name, entry + ENTRY, name);
    m->name[name] = '\0';
    z->n++;
    if (!is_plain(m->name, name))
        return woq_fail(err, WOQ_EDATA, NULL, "zip member '%s': want a plain name", m->name);
    if (take_sizes(entry, size_at, 3, entry + ENTRY + name, extra, sizes) < 0)
        return woq_fail(err, WOQ_EDATA, hint_damaged, "zip member '%s': its zip64 fields are cut",
                        m->name);
    if ((rc = check_kind(entry, m->name, sizes, err)) < 0)
        return rc;
    return place_member(m, data, entry, sizes, d->at, err);
}

static int by_place(const void *a, const void *b)
{
    const struct woq_zip_member *x = a, *y = b;

    return (x->header > y->header) - (x->header < y->header);
}

static int by_name(const void *a, const void *b)
{
    const struct woq_zip_member *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* No two members share bytes or a name, all lie in the folder of the first. */
static int check_members(struct woq_zip *z, const char *first, struct woq_error *err)
{
    const char *slash = strchr(first, '/');

    if (!slash || !(z->top = strndup(first, (size_t)(slash - first) + 1)))
        return woq_fail(err, WOQ_EDATA, "is this a file of torch.save?",
                        "zip member '%s' lies in no folder", first);
    qsort(z->members, z->n, sizeof *z->members, by_place);
    for (size_t i = 1; i < z->n; i++) {
        const struct woq_zip_member *a = &z->members[i - 1], *b = &z->members[i];

        /* Both data pointers come from the same mapping, the one of b behind its local header. */
        if (a->data + a->bytes > b->data || a->header == b->header ||
            (size_t)(b->data - a->data) - a->bytes < LOCAL + strlen(b->name))
            return woq_fail(err, WOQ_EDATA, hint_damaged, "zip members '%s' and '%s' overlap",
                            a->name, b->name);
    }
    qsort(z->members, z->n, sizeof *z->members, by_name);
    for (size_t i = 0; i < z->n; i++) {
        if (strncmp(z->members[i].name, z->top, strlen(z->top)) != 0)
            return woq_fail(err, WOQ_EDATA, "is this a file of torch.save?",
                            "zip member '%s' lies outside of '%s'", z->members[i].name, z->top);
        if (i > 0 && strcmp(z->members[i - 1].name, z->members[i].name) == 0)
            return woq_fail(err, WOQ_EDATA, NULL, "zip member '%s' is there twice",
                            z->members[i].name);
    }
    return WOQ_OK;
}

static int parse(struct woq_zip *z, const uint8_t *data, size_t bytes, struct woq_error *err)
{
    struct directory d = { 0 };
    int rc;

    if ((rc = find_directory(data, bytes, &d, err)) < 0)
        return rc;
    if (d.n == 0)
        return woq_fail(err, WOQ_EDATA, NULL, "the zip archive is empty");
    if (!(z->members = calloc((size_t)d.n, sizeof *z->members)))
        return woq_fail_nomem(err, (size_t)d.n * sizeof *z->members);
    uint64_t at = d.at;
    for (uint64_t i = 0; i < d.n; i++)
        if ((rc = take_entry(z, data, &d, &at, err)) < 0)
            return rc;
    if (at != d.at + d.bytes)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "zip: the directory goes on behind its last entry, at byte %" PRIu64, at);
    return check_members(z, z->members[0].name, err);
}

int woq_zip_parse(struct woq_zip *z, const uint8_t *data, size_t bytes, struct woq_error *err)
{
    memset(z, 0, sizeof *z);
    z->bytes = bytes;
    const int rc = parse(z, data, bytes, err);

    if (rc < 0)
        woq_zip_release(z);
    return rc;
}

void woq_zip_release(struct woq_zip *z)
{
    for (size_t i = 0; i < z->n; i++)
        free(z->members[i].name);
    free(z->members);
    free(z->top);
    memset(z, 0, sizeof *z);
}

/* Compares TOP/name with the name of a member without putting the two together. */
static int compare(const struct woq_zip *z, const char *name, const struct woq_zip_member *m)
{
    const size_t n = strlen(z->top);

    return strcmp(name, m->name + n); /* every member's name begins with top */
}

const struct woq_zip_member *woq_zip_find(const struct woq_zip *z, const char *name)
{
    size_t low = 0, high = z->n;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const int order = compare(z, name, &z->members[mid]);

        if (order == 0)
            return &z->members[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

/* Eight tables, so that a step takes eight bytes (Kounavis and Berry, "slicing by 8"). */
void woq_crc32_init(struct woq_crc32 *c)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t x = i;

        for (int bit = 0; bit < 8; bit++)
            x = x >> 1 ^ (x & 1 ? 0xedb88320u : 0);
        c->t[0][i] = x;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            c->t[k][i] = c->t[k - 1][i] >> 8 ^ c->t[0][c->t[k - 1][i] & 255];
}

uint32_t woq_crc32(const struct woq_crc32 *c, uint32_t crc, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    size_t i = 0;

    crc = ~crc;
    for (; i + 8 <= bytes; i += 8) {
        const uint64_t x = load(p + i, 8) ^ crc;

        crc = c->t[7][x & 255] ^ c->t[6][x >> 8 & 255] ^ c->t[5][x >> 16 & 255] ^
              c->t[4][x >> 24 & 255] ^ c->t[3][x >> 32 & 255] ^ c->t[2][x >> 40 & 255] ^
              c->t[1][x >> 48 & 255] ^ c->t[0][x >> 56];
    }
    for (; i < bytes; i++)
        crc = crc >> 8 ^ c->t[0][(crc ^ p[i]) & 255];
    return ~crc;
}

int woq_zip_check_crc(const struct woq_zip_member *m, struct woq_error *err)
{
    struct woq_crc32 c;
    uint32_t crc;

    woq_crc32_init(&c);
    crc = woq_crc32(&c, 0, m->data, m->bytes);
    if (crc == m->crc)
        return WOQ_OK;
    return woq_fail(
        err, WOQ_EDATA, "the file is damaged; or torch saved it with set_crc32_options(False)",
        "zip member '%s': its CRC-32 is %08x, the directory says %08x", m->name, crc, m->crc);
}
