/* safetensors_write.h -- safetensors shards written in one pass (formats.md 1.4, 1.5), or the same
 * tensors in one file of PyTorch's (torch_write.h).
 *
 * Tensors arrive in any order and are not known in advance, but the header stands before the data:
 * room for it is kept (the JSON may be padded with spaces) and only if that is too small the data
 * is moved. Every tensor starts at a multiple of its element size: what would break that for its
 * successors (a length that is no multiple of 8) waits in a spool and goes to the end of its shard,
 * wide elements first. */
#ifndef WOQ_SAFETENSORS_WRITE_H
#define WOQ_SAFETENSORS_WRITE_H
#include <formats/zip_write.h>
#include <woq/dtype.h>
#include <woq/frame.h>

struct woq_st_entry {
    char *name;
    enum woq_dtype dtype;
    const char *stored; /* as the header spells the type; static */
    unsigned n_dims;
    uint64_t shape[WOQ_MAX_DIMS];
    uint64_t begin, bytes; /* in its shard's data */
    size_t shard;
    bool spooled;
};

struct woq_st_writer {
    struct woq_out *out;
    uint64_t shard_bytes, reserve;
    struct woq_st_entry *entries;
    size_t n_entries, cap_entries;
    size_t n_shards, first; /* first entry of the open shard */
    uint64_t *data_start;   /* of each shard that is done */
    struct woq_outfile file, spool;
    const char *torch; /* name of PyTorch's file; NULL: safetensors */
    struct woq_zip_writer zip;
    uint64_t left;        /* bytes that the current tensor still lacks */
    uint64_t total_bytes; /* of tensors */
    uint64_t file_bytes;  /* of shards and index */
};

/* `n_tensors`: how many are expected, to keep room for the header; a guess is fine. */
void woq_st_writer_init(struct woq_st_writer *w, struct woq_out *out, uint64_t shard_bytes,
                        uint64_t n_tensors);
/* Before the first tensor: they go into one file of PyTorch's, `name`, a static string. */
void woq_st_writer_torch(struct woq_st_writer *w, const char *name);
/* Starts a new shard if `bytes` more would go beyond the limit: keeps tensors together. */
int woq_st_room(struct woq_st_writer *w, uint64_t bytes, struct woq_error *err);
/* A tensor: begin, then its bytes in pieces. */
int woq_st_begin(struct woq_st_writer *w, const char *name, enum woq_dtype dtype, unsigned n_dims,
                 const uint64_t *shape, struct woq_error *err);
int woq_st_data(struct woq_st_writer *w, const void *data, uint64_t bytes, struct woq_error *err);
int woq_st_put(struct woq_st_writer *w, const char *name, enum woq_dtype dtype, unsigned n_dims,
               const uint64_t *shape, const void *data, struct woq_error *err);
/* The same, of a type that streams have no name for: `stored` (static, "F8_E4M3") of elements as
 * wide as those of dtype; NULL: dtype's own. */
int woq_st_put_as(struct woq_st_writer *w, const char *name, const char *stored,
                  enum woq_dtype dtype, unsigned n_dims, const uint64_t *shape, const void *data,
                  struct woq_error *err);
/* Ends the open shard. Afterwards tensors may be changed in place, for formats that settle a detail
 * at the end: `edit` gets the bytes of one. No more tensors may begin. */
int woq_st_seal(struct woq_st_writer *w, struct woq_error *err);
int woq_st_edit(struct woq_st_writer *w, size_t entry,
                void (*edit)(void *ctx, void *data, size_t bytes), void *ctx,
                struct woq_error *err);
/* Headers, final names, the index where there are several shards. Refuses a name that came twice.
 */
int woq_st_finish(struct woq_st_writer *w, struct woq_error *err);
void woq_st_writer_release(struct woq_st_writer *w); /* accepts a zeroed struct */

#endif
