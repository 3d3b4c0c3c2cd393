/* describe.h -- what a checkpoint is, as `woq info` tells it. */
#ifndef WOQ_DESCRIBE_H
#define WOQ_DESCRIBE_H
#include <formats/plan.h>

/* One JSON object: format, architecture and its sizes, tensors by stored type, bits for each
 * weight, what of it a quantizer takes, the size as a GPTQ checkpoint at several widths, the peak
 * memory of each program by the formulas of the manual pages, and what of it scales may be folded
 * into and rotations turned (fold.h). NULL and err on failure. */
struct woq_json *woq_describe(const struct woq_source *s, const struct woq_plan *p,
                              struct woq_error *err);

#endif
