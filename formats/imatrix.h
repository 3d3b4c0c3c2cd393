/* imatrix.h -- importance matrices of llama.cpp (formats.md 3.7): for each weight the mean of x^2
 * of its inputs, in both forms, the older binary (.dat) and GGUF. */
#ifndef WOQ_IMATRIX_H
#define WOQ_IMATRIX_H
#include <woq/error.h>
#include <woq/util.h>

struct woq_imatrix_entry {
    char *name;        /* of the weight in a GGUF file: "blk.0.attn_q.weight" */
    size_t n, n_mats;  /* inputs of one matrix; matrices (experts), 1 as a rule */
    float *mean_sq;    /* [n_mats][n], >= 0 */
    uint64_t n_tokens; /* at least 1 */
};

struct woq_imatrix { /* zeroed = empty */
    struct woq_imatrix_entry *entries;
    size_t n_entries, cap_entries;
    char *dataset; /* what it was measured on; may be NULL */
    uint32_t chunk_size;
};

/* Either form, recognised by its first bytes. */
int woq_imatrix_parse(struct woq_imatrix *m, const void *data, size_t bytes, struct woq_error *err);
int woq_imatrix_open(struct woq_imatrix *m, const char *path, struct woq_error *err);
const struct woq_imatrix_entry *woq_imatrix_get(const struct woq_imatrix *m, const char *name);
/* Copies; a name that is there already, or is too long for the GGUF form, is an error. */
int woq_imatrix_add(struct woq_imatrix *m, const char *name, const float *mean_sq, size_t n,
                    size_t n_mats, uint64_t n_tokens, struct woq_error *err);
/* The same of matrix `index` of n_mats, one after another; those that never come stay 1. */
int woq_imatrix_put(struct woq_imatrix *m, const char *name, const float *mean_sq, size_t n,
                    size_t index, size_t n_mats, uint64_t n_tokens, struct woq_error *err);
/* Appends the file to `out`, entries sorted by name. */
int woq_imatrix_write_dat(struct woq_imatrix *m, struct woq_str *out, struct woq_error *err);
int woq_imatrix_write_gguf(struct woq_imatrix *m, struct woq_str *out, struct woq_error *err);
/* Chunks that were measured, at least 1. */
uint32_t woq_imatrix_chunks(const struct woq_imatrix *m);
void woq_imatrix_release(struct woq_imatrix *m);

#endif
