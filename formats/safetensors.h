/* safetensors.h -- the tensors that are stored in files, safetensors or PyTorch's (torch.save),
 * read from memory, from one file or from a sharded folder.
 *
 * Files are untrusted. Of safetensors every rule of the reference reader is enforced (sizes,
 * gapless offsets, no overlap, no trailing bytes), and duplicate names, which the reference lets
 * pass, are refused too; what holds for PyTorch's files is told in zip.h and pickle.h. Tensors are
 * views into the mapping; nothing is copied. Writing is safetensors_write.h's business. */
#ifndef WOQ_SAFETENSORS_H
#define WOQ_SAFETENSORS_H
#include <woq/dtype.h>
#include <woq/frame.h>
#include <woq/util.h>

#define WOQ_ST_MAX_HEADER 100000000u

struct woq_st_tensor {
    const char *name;     /* owned by the woq_st */
    char stored[16];      /* dtype as safetensors spells it: "F16", "BF16", "I32", "F8_E4M3" */
    enum woq_dtype dtype; /* WOQ_NO_DTYPE where a stream has no such type (F8 ..., C64) */
    unsigned n_dims;      /* 0 = scalar */
    uint64_t shape[WOQ_MAX_DIMS];
    const uint8_t *data; /* in the mapping; aligned to nothing in particular */
    size_t bytes;        /* of all elements */
    size_t shard;        /* index into woq_st.shards */
    /* PyTorch only: elements lie in these strides (in elements), see woq_st_rows. */
    bool strided;
    uint64_t stride[WOQ_MAX_DIMS];
    void *owned; /* by woq_st_settle */
};

struct woq_st_shard {
    char *name;         /* base name, for messages */
    const char *format; /* "safetensors" or "torch" */
    struct woq_map map; /* zeroed where the bytes belong to the caller */
    size_t bytes;
};

struct woq_st {
    struct woq_st_shard *shards;
    size_t n_shards;
    struct woq_st_tensor *tensors; /* sorted by name (strcmp), unique */
    size_t n_tensors;
};

/* For PyTorch's files; NULL stands for zeroes. */
struct woq_st_opts {
    const char *key; /* the tensors are in a dict under this key of the pickle's dict */
    bool check_crc;  /* compare every member of the archive with its CRC-32: reads the file twice */
};

/* One file from memory; `name` for messages. `data` is borrowed until release. */
int woq_st_parse(struct woq_st *st, const char *name, const void *data, size_t bytes,
                 const struct woq_st_opts *opts, struct woq_error *err);
/* One file, mapped. */
int woq_st_open(struct woq_st *st, const char *path, const struct woq_st_opts *opts,
                struct woq_error *err);
/* A folder: model.safetensors.index.json and its shards, else model.safetensors, else the only
 * *.safetensors file; where there is none of these the same with pytorch_model.bin.index.json,
 * pytorch_model.bin and *.bin, *.pt, *.pth. Checks that shard names are plain file names, that
 * every shard of the index is there and that the index and the shards name the same tensors. */
int woq_st_open_folder(struct woq_st *st, const char *folder, const struct woq_st_opts *opts,
                       struct woq_error *err);
void woq_st_release(struct woq_st *st); /* accepts a zeroed struct */

/* The elements of a tensor row after row: t->data itself, or `buf` where it is strided. NULL when
 * out of memory. */
const void *woq_st_rows(const struct woq_st_tensor *t, struct woq_buf *buf, struct woq_error *err);
/* Brings every strided tensor in order, in memory: for readers that look at `data` themselves. */
int woq_st_settle(struct woq_st *st, struct woq_error *err);

/* By name, or NULL. */
const struct woq_st_tensor *woq_st_find(const struct woq_st *st, const char *name);

/* Bits of an element of a dtype by its file spelling, 0 if unknown; *dtype as in woq_st_tensor. */
unsigned woq_st_dtype(const char *stored, enum woq_dtype *dtype);

#endif
