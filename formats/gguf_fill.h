/* gguf_fill.h -- what a frame is, and what its rows become in each part of a GGUF file: codes as
 * they are, floats of a chosen type, values that are transposed. */
#ifndef WOQ_FORMATS_GGUF_FILL_H
#define WOQ_FORMATS_GGUF_FILL_H
#include <formats/gguf_file.h>
#include <formats/gguf_importance.h>
#include <formats/gguf_layout.h>
#include <formats/gguf_rows.h>
#include <formats/gguf_types.h>
#include <formats/sink.h>

/* A tensor of the stream. */
struct woq_gguf_input {
    const struct woq_frame *f;
    struct woq_place place;
    size_t n_rows, n_cols; /* a vector is a column */
    bool is_q;
    struct woq_qview q; /* or: */
    struct woq_tensor t;
    const struct woq_ggml_type *grid; /* of the codes */
};
/* Fails where the frame is nothing that GGUF holds, or not what config.json says. */
int woq_gguf_input_init(struct woq_gguf_input *in, const struct woq_sink *s,
                        const struct woq_frame *f, struct woq_error *err);

struct woq_gguf_filler { /* zeroed = empty */
    struct woq_gguf_types types;
    struct woq_gguf_importance importance;
    struct woq_buf rows, floats, turned; /* order of rows; values that are to be transposed */
};
/* The rows of part k, *n_rows of them, for woq_gguf_put_rows; valid until the next call. `there`:
 * its tensor if others have begun to fill it, whose type is taken; or NULL. */
int woq_gguf_fill(struct woq_gguf_filler *p, struct woq_sink *s, const struct woq_gguf_input *in,
                  size_t k, const struct woq_gguf_part *part, const struct woq_gguf_info *there,
                  struct woq_gguf_rows *rows, size_t *n_rows, struct woq_error *err);
void woq_gguf_filler_release(struct woq_gguf_filler *p);

#endif
