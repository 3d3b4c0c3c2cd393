/* sink.h -- a checkpoint being written, whatever its format: the mirror of source.h.
 *
 * Frames of a model stream go in, in their order; the result appears under its name when finish
 * succeeds, and never before. What a format cannot hold is refused by name. */
#ifndef WOQ_SINK_H
#define WOQ_SINK_H
#include <formats/out.h>
#include <woq/arch.h>
#include <woq/frame.h>
#include <woq/opt.h>
#include <woq/quant.h>

struct woq_importance; /* woq/side.h */

struct woq_sink_opts {
    const char *path;   /* what is to appear: a folder, for gguf and imatrix a file */
    const char *format; /* "safetensors" "gguf" "imatrix" "imatrix-dat", or one of packed_config.c:
                           "gptq" "awq" */
    const char *dtype;  /* of float tensors in a folder: "keep" "f32" "f16" "bf16"; NULL or "auto":
                         * keep for safetensors, f16 for packed ones */
    const char *scale_dtype; /* of packed linears: "f16" "bf16" "f32"; NULL or "auto": the usual */
    const char *type;        /* gguf, float matrices: see gguf_types.h, as the next four */
    const char *embed_type, *head_type;
    struct woq_list tensor_types;
    bool pure;
    const char *imatrix;           /* gguf: path of an importance matrix, or NULL */
    const char *checkpoint_format; /* packed: "auto", or a form of the format */
    uint64_t shard_bytes;
    bool force;
};

struct woq_sink_report {
    const char *format;
    size_t n_files, n_tensors;
    uint64_t file_bytes;
    uint64_t n_weights, tensor_bytes;      /* of all tensors */
    uint64_t n_quantized, quantized_bytes; /* of quantized ones: codes, scales, zeros, indices */
    size_t n_fell_back;  /* gguf: tensors of another type than asked for, for their columns */
    size_t blind_window; /* gguf: a sliding window of keys that llama.cpp does not keep to; or 0 */
};

struct woq_sink;
/* What a format does; `s->priv` is its own. */
struct woq_sink_ops {
    bool is_folder;
    int (*open)(struct woq_sink *s, struct woq_error *err);
    int (*model)(struct woq_sink *s, const struct woq_frame *modl, struct woq_error *err);
    /* TENS or QTEN with its role (WOQ_ROLE_NONE if unknown); counts into s->report. */
    int (*tensor)(struct woq_sink *s, const struct woq_frame *f, enum woq_role role,
                  struct woq_error *err);
    int (*finish)(struct woq_sink *s, struct woq_error *err); /* files complete and synced */
    void (*release)(struct woq_sink *s);
};

struct woq_sink {
    struct woq_sink_opts opts;
    struct woq_sink_report report;
    struct woq_out out;
    const struct woq_sink_ops *ops;
    void *priv;
    struct woq_json *head;   /* HEAD of the stream, copied */
    struct woq_json *config; /* config.json; NULL until MODL came */
    struct woq_config shape; /* what it says; shape.arch NULL if the architecture is unknown */
    void *side;              /* importance of the weights that come next; sink.c's own */
    uint8_t *seen;           /* a bit for each slot of each block (last: outside) */
    uint64_t block_start, smallest_block;
    size_t blocks_done;
};

/* `head` is HEAD's meta (may be NULL). Fails if the name is taken, or is the model that is being
 * read. */
int woq_sink_open(struct woq_sink *s, const struct woq_sink_opts *opts, const struct woq_json *head,
                  struct woq_error *err);
int woq_sink_put(struct woq_sink *s, const struct woq_frame *f, struct woq_error *err);
/* Only after TAIL: checks that nothing is missing, then gives the result its name. */
int woq_sink_finish(struct woq_sink *s, struct woq_error *err);
/* For ops: the importance in the stream that belongs to a weight, or NULL; *is_sum: of x^2 over its
 * tokens, not the mean. */
const struct woq_importance *woq_sink_importance(const struct woq_sink *s,
                                                 const struct woq_frame *weight, bool *is_sum);
void woq_sink_release(struct woq_sink *s); /* without finish: nothing is left. Accepts zeroes. */

extern const struct woq_sink_ops woq_folder_sink, woq_gguf_sink, woq_imatrix_sink;

#endif
