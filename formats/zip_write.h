/* zip_write.h -- a ZIP archive written from front to back, as torch.save writes one (formats.md
 * 2.1): members stored, in one folder that is called as the file, their bytes at multiples of 64.
 */
#ifndef WOQ_ZIP_WRITE_H
#define WOQ_ZIP_WRITE_H
#include <formats/out.h>
#include <formats/zip.h>

struct woq_zip_entry {
    char *name;
    uint64_t header, bytes; /* byte of the local header */
    uint32_t crc;
};

struct woq_zip_writer {
    struct woq_outfile file;
    char top[64]; /* "quantized_weight" */
    /* Sizes and offsets from here on, and that many members, are said in zip64: UINT32_MAX. */
    uint64_t limit;
    struct woq_zip_entry *entries;
    size_t n_entries, cap_entries;
    uint64_t left; /* bytes that the last member still lacks */
    struct woq_crc32 crc;
};

/* `name` inside the folder of `out`. */
int woq_zip_writer_open(struct woq_zip_writer *w, struct woq_out *out, const char *name,
                        struct woq_error *err);
/* A member TOP/name, of at most 64 bytes: begin, then its bytes in pieces. */
int woq_zip_begin(struct woq_zip_writer *w, const char *name, uint64_t bytes,
                  struct woq_error *err);
int woq_zip_data(struct woq_zip_writer *w, const void *data, uint64_t bytes, struct woq_error *err);
int woq_zip_put(struct woq_zip_writer *w, const char *name, const void *data, uint64_t bytes,
                struct woq_error *err);
/* The directory; syncs and closes. */
int woq_zip_writer_finish(struct woq_zip_writer *w, struct woq_error *err);
void woq_zip_writer_release(struct woq_zip_writer *w); /* accepts a zeroed struct */

#endif
