/* gguf_file.h -- a GGUF v3 file being written: tensor infos, the header before the data, places of
 * tensors (formats.md 3.1).
 *
 * The length of the header follows from what is predicted, so data go to their places at once. Only
 * if other tensors come than were predicted, the data are moved when all are known. */
#ifndef WOQ_FORMATS_GGUF_FILE_H
#define WOQ_FORMATS_GGUF_FILE_H
#include <formats/ggml_types.h>
#include <formats/out.h>
#include <woq/util.h>

#define WOQ_GGUF_ALIGN 32u

struct woq_gguf_info {
    char name[64];
    unsigned n_dims;
    uint64_t ne[3]; /* innermost first */
    const struct woq_ggml_type *type;
    uint64_t offset, bytes; /* from data_start; without padding */
};

struct woq_gguf_file { /* zeroed = empty */
    struct woq_gguf_info *infos;
    size_t n_infos, cap_infos;
    uint64_t data_start; /* as predicted */
    struct woq_outfile out;
};

/* Bytes of a header: of everything but infos where there are `keys` bytes of keys, of one info. */
uint64_t woq_gguf_header_bytes(uint64_t keys);
uint64_t woq_gguf_info_bytes(const char *name, unsigned n_dims);
/* Data begin behind a header of so many bytes. */
void woq_gguf_file_predict(struct woq_gguf_file *f, uint64_t header_bytes);
/* A tensor behind those that are there; its bytes are to be written at data_start + offset, in any
 * order. Valid until the next call. NULL and err when out of memory, or where the innermost
 * dimension is no whole number of blocks. */
const struct woq_gguf_info *woq_gguf_file_add(struct woq_gguf_file *f, const char *name,
                                              unsigned n_dims, const uint64_t *ne,
                                              const struct woq_ggml_type *type,
                                              struct woq_error *err);
uint64_t woq_gguf_info_elems(const struct woq_gguf_info *i);
/* Writes the header: n_keys entries of `keys`. The file is complete and synced then. */
int woq_gguf_file_finish(struct woq_gguf_file *f, const struct woq_str *keys, uint64_t n_keys,
                         struct woq_error *err);
void woq_gguf_file_release(struct woq_gguf_file *f); /* the file stays where it is */

#endif
