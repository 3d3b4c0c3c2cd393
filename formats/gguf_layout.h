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

struct woq_gguf_part {
    char name[64]; /* of the GGUF tensor */
    unsigned n_dims;
    uint64_t ne[3];              /* all of it, innermost first */
    size_t row0, n_rows, n_cols; /* its rows that are ours; a vector is a column */
    size_t n_heads;              /* not 0: [heads][rows][cols], each [cols][rows] in the file */
    bool is_float;               /* a vector or norm: always F32 */
};

/* The parts of a tensor that the config asks for; 0 if GGUF has no name for it, or a longer one
 * than a file may have. */
size_t woq_gguf_parts(const struct woq_config *c, const struct woq_place *p,
                      struct woq_gguf_part parts[WOQ_GGUF_PARTS]);
/* Is a row of the stream anything but the same row of each part? */
bool woq_gguf_moves_rows(const struct woq_config *c, const struct woq_place *p);
/* Row of the stream -> part, and row in it (from row0; before it is transposed). */
void woq_gguf_row(const struct woq_config *c, const struct woq_place *p, size_t row, size_t *part,
                  size_t *to);
#endif
