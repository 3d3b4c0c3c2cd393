/* estimate.h -- how large a quantized checkpoint will be, from shapes alone. */
#ifndef WOQ_ESTIMATE_H
#define WOQ_ESTIMATE_H
#include <formats/source.h>
#include <woq/opt.h>

struct woq_estimate {
    uint64_t n_weights, n_quantized; /* elements of all tensors; of those that are quantized */
    uint64_t bytes, quantized_bytes; /* tensors of the output file; of the quantized ones */
    uint64_t source_bytes;
    uint64_t largest_f32_bytes; /* the largest tensor as f32 */
};

/* `options` is a JSON object of scheme keys (bits, group_size, sym ...); rules are texts
 * "GLOB key=value ..." applied in order to the tensors whose name matches. `format` is woq-pack's.
 * Tensors that stay float are counted at 2 bytes a weight. */
int woq_estimate_init(struct woq_estimate *e, const struct woq_source *source,
                      const struct woq_json *options, const struct woq_list *rules,
                      const char *format, struct woq_error *err);

#endif
