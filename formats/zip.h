/* zip.h -- the members of a ZIP archive in memory, as torch.save writes one (formats.md 2.1).
 *
 * Members are stored, never compressed, so each is a view into the mapping. Everything that the
 * archive says twice must agree: central directory and local header, 32-bit fields and zip64. */
#ifndef WOQ_ZIP_H
#define WOQ_ZIP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <woq/error.h>

struct woq_zip_member {
    char *name; /* owned by the archive */
    const uint8_t *data;
    size_t bytes;
    uint32_t crc;    /* as the directory says; torch.save may have been told to leave it out */
    uint64_t header; /* byte of the local header */
};

struct woq_zip {
    struct woq_zip_member *members; /* sorted by name (strcmp), unique, no two overlap */
    size_t n;
    char *top;    /* "archive/": the folder that all members lie in */
    size_t bytes; /* of the archive */
};

/* `data` is borrowed until release. On failure nothing is left to release. */
int woq_zip_parse(struct woq_zip *z, const uint8_t *data, size_t bytes, struct woq_error *err);
void woq_zip_release(struct woq_zip *z); /* accepts a zeroed struct */

/* The member TOP/name, or NULL. */
const struct woq_zip_member *woq_zip_find(const struct woq_zip *z, const char *name);
/* Compares the bytes of a member with its CRC-32. */
int woq_zip_check_crc(const struct woq_zip_member *m, struct woq_error *err);

/* CRC-32 as ZIP has it, in pieces: crc is 0 at first, then what the last piece gave. */
struct woq_crc32 {
    uint32_t t[8][256];
};
void woq_crc32_init(struct woq_crc32 *c);
uint32_t woq_crc32(const struct woq_crc32 *c, uint32_t crc, const void *data, size_t bytes);

#endif
