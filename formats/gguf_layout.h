/* gguf_layout.h -- where the tensors of a stream lie in a GGUF file: names, shapes, order of rows
 * (models.md 3.8, 4; formats.md 3.5). Both directions go by it.
 *
 * A tensor of the stream is one part of a GGUF tensor or several: experts and norms of heads lie
 * in one with the number outermost, fused ones are split. Rows move whole, so that codes need no
 * new quantization; only the keys of latent attention are transposed. */
#ifndef WOQ_FORMATS_GGUF_LAYOUT_H
#define WOQ_FORMATS_GGUF_LAYOUT_H
#include <woq/arch.h>

#define WOQ_GGUF_PARTS 3

/* What other converters, older and newer ones, put together or apart; a file of ours has none. */
enum woq_gguf_form {
    WOQ_GGUF_WHOLE_KV_B = 1 << 0,    /* of latent attention: attn_kv_b, as HF files have it */
    WOQ_GGUF_EACH_EXPERT = 1 << 1,   /* experts apart: ffn_gate.0, ffn_gate.1 ... */
    WOQ_GGUF_FUSED_GATE_UP = 1 << 2, /* of experts: ffn_gate_up_exps */
    WOQ_GGUF_FUSED_QKV = 1 << 3,     /* attn_qkv where the architecture has three */
    WOQ_GGUF_FUSED_QKV_BIAS = 1 << 4,
};
/* The form that a tensor of this name is a sign of, or 0. */
unsigned woq_gguf_form_of(const char *name);

struct woq_gguf_part {
    char name[64]; /* of the GGUF tensor */
    unsigned n_dims;
    uint64_t ne[3];              /* all of it, innermost first */
    size_t row0, n_rows, n_cols; /* its rows that are ours; a vector is a column */
    size_t n_heads;              /* not 0: [heads][rows][cols], each [cols][rows] in the file */
    bool is_float;               /* a vector or norm: always F32 */
};

/* The parts of a tensor that the config asks for, in a file of these forms (enum woq_gguf_form); 0
 * if GGUF has no name for it, or a longer one than a file may have. */
size_t woq_gguf_parts(const struct woq_config *c, unsigned forms, const struct woq_place *p,
                      struct woq_gguf_part parts[WOQ_GGUF_PARTS]);
/* Is a row of the stream anything but the same row of each part? */
bool woq_gguf_moves_rows(const struct woq_config *c, unsigned forms, const struct woq_place *p);
/* Row of the stream -> part, and row in it (from row0; before it is transposed). */
void woq_gguf_row(const struct woq_config *c, unsigned forms, const struct woq_place *p, size_t row,
                  size_t *part, size_t *to);
#endif
