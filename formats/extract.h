/* extract.h -- frames of a source, step by step: what woq-extract is made of. */
#ifndef WOQ_EXTRACT_H
#define WOQ_EXTRACT_H
#include <formats/plan.h>
#include <woq/json.h>

/* The MODL frame: config.json and, unless no_side, the other files of the source. Data are borrowed
 * from the source. */
int woq_extract_modl(struct woq_frame *f, const struct woq_source *s, bool no_side,
                     struct woq_error *err);
/* Loads one step with its meta (role, block, group). */
int woq_extract_load(struct woq_frame *f, struct woq_source *s, const struct woq_plan *p,
                     size_t step, struct woq_error *err);
/* Float data of a TENS as another float type, into buf, without the packed bytes it may have had;
 * other frames stay as they are. A finite
 * number that the type can't hold is an error. */
int woq_extract_cast(struct woq_frame *f, enum woq_dtype to, struct woq_buf *buf,
                     struct woq_error *err);
/* NaN or infinity in float data of a TENS, or in the scales of a QTEN: an error that names the
 * place. */
int woq_extract_check_finite(const struct woq_frame *f, struct woq_error *err);
/* Frames and payload bytes between HEAD and TAIL. to: WOQ_NO_DTYPE keeps types. */
void woq_extract_total(const struct woq_source *s, const struct woq_plan *p, bool no_side,
                       enum woq_dtype to, uint64_t *n_frames, uint64_t *bytes);
/* What --list --json prints: {"format",
 * "tensors":[{"name","stored","shape","bytes","role","block"}]}. The caller frees. */
struct woq_json *woq_extract_list(const struct woq_source *s, const struct woq_plan *p);

#endif
