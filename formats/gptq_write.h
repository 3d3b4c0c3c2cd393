/* gptq_write.h -- QTEN frames as the four tensors of a GPTQ linear, and the configuration that
 * tells loaders about them (formats.md 4.a). */
#ifndef WOQ_GPTQ_WRITE_H
#define WOQ_GPTQ_WRITE_H
#include <formats/safetensors_write.h>
#include <formats/sink.h>

struct woq_gptq_module {
    char *name;         /* "model.layers.0.mlp.down_proj" */
    long block;         /* -1 outside */
    int bits;           /* 0: a linear that stays float */
    int64_t group_size; /* -1 = one group per row */
    bool sym;
    bool v1_zeros; /* qzeros lie in the file as v1 */
    size_t qzeros_entry;
};

struct woq_gptq_writer {
    enum { WOQ_GPTQ_AUTO, WOQ_GPTQ_V1, WOQ_GPTQ_V2 } want;
    bool v1; /* how qzeros are written now */
    bool desc_act, lm_head;
    struct woq_gptq_module *modules;
    size_t n_modules, cap_modules, n_quantized;
    struct woq_buf words, zeros, scales, g_idx;
};

int woq_gptq_writer_init(struct woq_gptq_writer *w, const char *checkpoint_format,
                         struct woq_error *err);
/* Packs one QTEN; bytes are counted into r. */
int woq_gptq_put(struct woq_gptq_writer *w, struct woq_st_writer *st, const struct woq_frame *f,
                 struct woq_sink_report *r, struct woq_error *err);
/* Remembers a linear that stays float: loaders must be told. */
int woq_gptq_keep_float(struct woq_gptq_writer *w, const char *name, long block,
                        struct woq_error *err);
/* After woq_st_seal: one zero convention for all of them. */
int woq_gptq_settle(struct woq_gptq_writer *w, struct woq_st_writer *st, struct woq_error *err);
/* The object for config.json; NULL and err on failure. */
struct woq_json *woq_gptq_config(const struct woq_gptq_writer *w, struct woq_error *err);
void woq_gptq_writer_release(struct woq_gptq_writer *w); /* accepts a zeroed struct */

#endif
