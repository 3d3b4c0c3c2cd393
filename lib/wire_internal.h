/* wire_internal.h -- what reader.c and writer.c share: the running hash, the fold, zstd bodies. */
#ifndef WOQ_WIRE_INTERNAL_H
#define WOQ_WIRE_INTERNAL_H
#include <woq/stream.h>

#define WOQ_GRID 64u

struct woq_hasher; /* running XXH3-64 */
struct woq_hasher *woq_hasher_new(struct woq_error *err);
void woq_hasher_reset(struct woq_hasher *h);
void woq_hasher_add(struct woq_hasher *h, const void *data, size_t bytes);
uint64_t woq_hasher_end(const struct woq_hasher *h);
void woq_hasher_free(struct woq_hasher *h);
/* Adds the zero bytes that pad `bytes` to the grid. */
void woq_hasher_pad(struct woq_hasher *h, uint64_t bytes);

/* Fold of the header hashes, in TAIL as 16 hex digits. */
uint64_t woq_fold(uint64_t fold, uint64_t header_hash);

/* Bodies of compressed frames (meta "enc":"zstd"). dst has exactly `raw_bytes`. */
int woq_zframe_expand(void *dst, size_t raw_bytes, const void *src, size_t bytes,
                      struct woq_error *err);
/* Compresses segments as one zstd frame into *out (grown); segments are padded to the grid. */
struct woq_segment {
    const void *data;
    size_t bytes;
    bool lent; /* in a file mapping that nobody writes to */
};
int woq_zframe_pack(struct woq_str *out, const struct woq_segment *segs, size_t n, int level,
                    struct woq_error *err);

extern const uint8_t woq_start_code[8];
/* Types that every program of this version knows (upper-case ones may not pass unknown). */
bool woq_type_is_known(const char *type);

#endif
