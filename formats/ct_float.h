/* ct_float.h -- compressed-tensors' floats (formats.md 4.d): nvfp4, mxfp4, mxfp8 and FP8, each a
 * layout of packed.h whose codes are those of a codebook. */
#ifndef WOQ_FORMATS_CT_FLOAT_H
#define WOQ_FORMATS_CT_FLOAT_H
#include <formats/packed_write.h>

/* The layout for a number format of format.h; NULL if there is none. */
const struct woq_packed_layout *woq_ct_float_layout(const char *codebook);

/* mxfp4 [n_out][n_in / 2] and its scales [n_out][n_in / 32] as they lie in a file, into a QTEN that
 * has its name. */
int woq_mxfp4_load(const uint8_t *codes, const uint8_t *scales, size_t n_out, size_t n_in,
                   struct woq_frame *f, struct woq_error *err);

/* For the writer: packs one QTEN of a codebook. */
int woq_ct_float_put(struct woq_packed_writer *w, struct woq_st_writer *st,
                     const struct woq_frame *f, const struct woq_qview *q,
                     struct woq_sink_report *r, struct woq_error *err);

#endif
