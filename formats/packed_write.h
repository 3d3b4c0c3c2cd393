/* packed_write.h -- QTEN frames as the tensors of packed linears, and the configuration that tells
 * loaders about them (formats.md 4). A format is one row of a table (packed_format.c). */
#ifndef WOQ_FORMATS_PACKED_WRITE_H
#define WOQ_FORMATS_PACKED_WRITE_H
#include <formats/packed.h>
#include <formats/safetensors_write.h>
#include <formats/sink.h>

/* A linear of the model, quantized or not. */
struct woq_packed_module {
    char *name; /* "model.layers.0.mlp.down_proj" */
    long block; /* -1 outside */
    int bits;   /* 0: it stays float, loaders must be told */
    int64_t group_size;
    int64_t group_rows; /* rows of a block of FP8; 1, or -1 = all */
    bool sym, permuted;
    size_t n_out, n_in, n_groups;
    const struct woq_packed_layout *layout; /* as it lies in the file */
    const char *codebook;                   /* a name of format.h; NULL: integers */
    size_t codes_entry, zeros_entry;
};

/* A tensor of the linear that is about to be written. */
struct woq_packed_tensor {
    enum woq_packed_part part;
    const char *stored; /* another spelling of the type; NULL */
    enum woq_dtype dtype;
    unsigned n_dims;
    uint64_t shape[2];
    const void *data;
};

struct woq_packed_writer;
struct woq_packed_format {
    const char *name;      /* of --format */
    const char *forms;     /* of --checkpoint-format, apart by spaces; the first one is "auto" */
    const char *side_file; /* repeats the configuration for loaders that look there; NULL */
    const char *torch;     /* the file of PyTorch's that holds the tensors; its configuration is in
                              side_file alone. NULL: safetensors */
    const struct woq_packed_layout *layout;  /* of a linear, unless --checkpoint-format differs */
    const struct woq_packed_layout *scaled;  /* of one whose inputs are scaled; NULL: refused */
    const char *minus_one_name, *plain_hint; /* for the message about a zero point of 0 */
    bool one_group_size, no_head;            /* what its configuration has no words for */
    bool model_scales;                       /* scales have the type of the model's floats */
    bool one_scheme;                         /* the same: one for all linears of the blocks */
    bool null_zeros;       /* its readers agree on a zero point of 0 that is stored less one */
    unsigned plain_widths; /* bit b: "auto" stores zero points of b bits plain from the start */
    const struct woq_packed_layout *wide; /* "auto": of all linears, if one has a width that is not
                                             in `layout`; NULL */
    /* Says what this writer is to do about w->form, or refuses it. NULL: nothing to choose. */
    void (*choose)(struct woq_packed_writer *w);
    /* Packs the linears of a codebook. NULL: there are none. */
    int (*put_codebook)(struct woq_packed_writer *w, struct woq_st_writer *st,
                        const struct woq_frame *f, const struct woq_qview *q,
                        struct woq_sink_report *r, struct woq_error *err);
    /* The layout that it has for a name of format.h, or NULL. */
    const struct woq_packed_layout *(*codebook)(const char *dtype);
    /* The object for config.json's quantization_config; NULL and err on failure. */
    struct woq_json *(*config)(const struct woq_packed_writer *w, struct woq_error *err);
};
/* NULL if --format names no packed format. */
const struct woq_packed_format *woq_packed_format(const char *name);

struct woq_packed_writer {
    const struct woq_packed_format *format;
    const char *form;                       /* of --checkpoint-format; "auto" */
    const struct woq_packed_layout *layout; /* of the next linear */
    /* Zero points are stored less one, but 0 cannot be: then all linears change to this. NULL:
     * they may not, a zero point of 0 is refused. */
    const struct woq_packed_layout *plain;
    enum woq_dtype scale_dtype, scale_said; /* said: --scale-dtype, WOQ_NO_DTYPE if it is auto */
    bool desc_act, lm_head;
    struct woq_packed_module *modules;
    size_t n_modules, cap_modules;
    struct woq_buf codes, zeros, scales, g_idx, fields;
};

int woq_packed_writer_init(struct woq_packed_writer *w, const struct woq_packed_format *format,
                           const struct woq_sink_opts *opts, struct woq_error *err);
/* Packs one QTEN; bytes are counted into r. */
int woq_packed_put(struct woq_packed_writer *w, struct woq_st_writer *st, const struct woq_frame *f,
                   struct woq_sink_report *r, struct woq_error *err);
/* Remembers a linear that stays float: loaders must be told. */
int woq_packed_keep_float(struct woq_packed_writer *w, const char *name, long block,
                          struct woq_error *err);
/* Before woq_st_seal: biases as the layouts of their linears call them. */
int woq_packed_name(struct woq_packed_writer *w, struct woq_st_writer *st, struct woq_error *err);
/* After woq_st_seal: one way to store zero points for all of them. */
int woq_packed_settle(struct woq_packed_writer *w, struct woq_st_writer *st, struct woq_error *err);
void woq_packed_writer_release(struct woq_packed_writer *w); /* accepts a zeroed struct */

/* --- for put_codebook --- */

int woq_packed_add_module(struct woq_packed_writer *w, const struct woq_frame *f,
                          const struct woq_qview *q, int64_t group_size,
                          const struct woq_packed_layout *layout, struct woq_packed_module **out,
                          struct woq_error *err);
/* Those that the module has, all in one shard; counted. */
int woq_packed_put_tensors(struct woq_st_writer *st, struct woq_packed_module *m,
                           const struct woq_packed_tensor *t, size_t n, struct woq_sink_report *r,
                           struct woq_error *err);

/* --- for configurations --- */

/* The scheme of most quantized linears, the first of equals; NULL if there are none. */
const struct woq_packed_module *woq_packed_base(const struct woq_packed_writer *w,
                                                struct woq_error *err);
/* c, or NULL and a message where it ran out of memory. */
struct woq_json *woq_packed_finished(struct woq_json *c, struct woq_error *err);
bool woq_packed_same_scheme(const struct woq_packed_module *a, const struct woq_packed_module *b);

/* Neural Compressor's own form (inc.c): packs one QTEN of a codebook, and what qconfig.json says.
 */
const struct woq_packed_layout *woq_inc_layout(const char *codebook);
int woq_inc_put(struct woq_packed_writer *w, struct woq_st_writer *st, const struct woq_frame *f,
                const struct woq_qview *q, struct woq_sink_report *r, struct woq_error *err);

/* Configurations in files of their own. */
void woq_ct_choose(struct woq_packed_writer *w);
struct woq_json *woq_ct_config(const struct woq_packed_writer *w, struct woq_error *err);

#endif
