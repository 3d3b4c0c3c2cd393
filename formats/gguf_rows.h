/* gguf_rows.h -- rows of a tensor in a GGML type, written chunk by chunk: while one is written, the
 * threads make the next. */
#ifndef WOQ_FORMATS_GGUF_ROWS_H
#define WOQ_FORMATS_GGUF_ROWS_H
#include <formats/ggml_types.h>
#include <formats/out.h>
#include <woq/quant.h>
#include <woq/util.h>

/* What the rows are; one of q, raw and src is set. */
struct woq_gguf_rows {
    const struct woq_ggml_type *type; /* of the file */
    size_t n_cols;
    const struct woq_qview *q; /* codes whose grid is that of the type */
    const uint8_t *raw;        /* rows as they are to lie in the file */
    const uint8_t *src;        /* floats of `dtype`, rows dense */
    enum woq_dtype dtype;
    const float *importance; /* [n_cols], of floats; or NULL */
    const uint32_t *from;    /* row that comes at each place, or NULL: as they are */
    /* Of floats: what a row is before it is encoded, or NULL. */
    void (*change)(float *row, size_t n_cols);
};

struct woq_gguf_writer { /* zeroed = empty */
    struct woq_buf out[2], rows;
    unsigned turn;
};

/* Writes the first n_rows rows at byte `offset` of f. */
int woq_gguf_put_rows(struct woq_gguf_writer *w, struct woq_outfile *f, uint64_t offset,
                      const struct woq_gguf_rows *rows, size_t n_rows, struct woq_error *err);
void woq_gguf_writer_release(struct woq_gguf_writer *w);

#endif
