/* source.h -- a checkpoint opened for reading, whatever its format.
 *
 * A reader maps its files and lists items under their HF names, in any order; woq-extract sorts
 * them by the architecture table. Loading an item fills a frame: TENS (array "data", straight from
 * the mapping where no conversion is due) or QTEN (codes, scale, zero, g_idx). Quirks of the format
 * (reversed dims, permuted rope rows, [in,out]) are undone here; rows are in HF order always. */
#ifndef WOQ_SOURCE_H
#define WOQ_SOURCE_H
#include <formats/safetensors.h>
#include <woq/frame.h>

struct woq_item {
    char *name;           /* HF name, "model.layers.0.self_attn.q_proj.weight" */
    bool quantized;       /* loads as QTEN */
    enum woq_dtype dtype; /* of TENS data; WOQ_NO_DTYPE: can't be loaded, only listed */
    unsigned n_dims;
    uint64_t shape[WOQ_MAX_DIMS];
    char stored[16];     /* "F16", "Q4_1", "GPTQ4": for --list */
    uint64_t file_bytes; /* taken in the file */
    /* For the progress of a pipeline; 0 = dtype times shape. A QTEN should say what it will take.
     */
    uint64_t stream_bytes;
};

/* A file for MODL; data are owned (malloc). */
struct woq_side {
    char *name;
    void *data;
    size_t bytes;
};

struct woq_source {
    const char *format;      /* "safetensors" "torch" "gguf" "llama2c", or woq-pack's: "gptq" ... */
    char *path;              /* as given, for messages */
    struct woq_json *config; /* HF config.json, made up for formats without one */
    struct woq_json *quant;  /* what tells of quantized tensors outside config.json, or NULL */
    struct woq_item *items;
    size_t n_items;
    struct woq_side *side; /* "config.json" among them, byte for byte where the source has one */
    size_t n_side;
    struct woq_error no_tokenizer; /* why a vocabulary of the source is not among the side files */
    struct woq_st_opts opts;
    struct woq_st st;   /* the shards of formats that lie in safetensors; else zeroed */
    struct woq_map map; /* the file of formats that are one file */
    bool mapped;        /* false: bytes of the caller, from memory */
    /* Fills f (begun by the callee with type TENS or QTEN, meta "name" set). Data stay valid until
     * the next load or close; pages of the mapping that held the item before may be dropped. */
    int (*load)(struct woq_source *s, size_t item, struct woq_frame *f, struct woq_error *err);
    void (*close)(struct woq_source *s); /* frees priv; the rest is freed by woq_source_close */
    void *priv;
};

/* Detects what `path` is: a folder with config.json (safetensors or PyTorch files, sharded, GPTQ),
 * one file of these (config.json beside it), GGUF, llama2.c. Anything else is refused by what it
 * looks like. The strings of `opts` (NULL: none) must live as long as the source. */
int woq_source_open(struct woq_source **s, const char *path, struct woq_error *err);
int woq_source_open_with(struct woq_source **s, const char *path, const struct woq_st_opts *opts,
                         struct woq_error *err);
/* A single file from memory, borrowed until close; config_json (may be NULL where the format has
 * its own) stands for the config.json beside it. For tests and fuzzing. */
int woq_source_open_mem(struct woq_source **s, const char *name, const void *data, size_t bytes,
                        const char *config_json, size_t config_bytes, struct woq_error *err);
void woq_source_close(struct woq_source *s); /* NULL is fine */

/* --- for readers --- */

/* Appends a zeroed item with a copy of `name`; NULL and err when out of memory. */
struct woq_item *woq_source_add(struct woq_source *s, const char *name, struct woq_error *err);
/* The same for a tensor of s->st as it lies there. */
struct woq_item *woq_source_add_st(struct woq_source *s, const struct woq_st_tensor *t,
                                   struct woq_error *err);
/* Appends a side file; `data` (malloc'ed) changes hands, on failure too. */
int woq_source_add_side(struct woq_source *s, const char *name, void *data, size_t bytes,
                        struct woq_error *err);
/* Announces that bytes of a mapped file will be read front to back. */
void woq_source_ahead(const struct woq_source *s, const void *data, size_t bytes);
/* Gives their pages back, so that they do not count as this process's memory any longer. */
void woq_source_done(const struct woq_source *s, const void *data, size_t bytes);

/* Readers: each takes a source with path set (and config, side, st where the format lies in
 * safetensors) and sets format, items, load, close and priv; a failed one leaves nothing behind
 * that woq_source_close does not free. */
/* mxfp4: experts are packed as those of gpt-oss. */
int woq_safetensors_source_init(struct woq_source *s, bool mxfp4, struct woq_error *err);
/* By config.json's quantization_config (formats/linear_method.c knows the methods). */
int woq_linear_source_init(struct woq_source *s, const struct woq_json *quant,
                           struct woq_error *err);
int woq_gguf_source_init(struct woq_source *s, const void *data, size_t bytes,
                         struct woq_error *err);
int woq_llama2c_source_init(struct woq_source *s, const void *data, size_t bytes,
                            struct woq_error *err);

#endif
