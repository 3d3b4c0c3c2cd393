/* estimate.h -- how large a quantized checkpoint will be, from shapes alone. */
#ifndef WOQ_ESTIMATE_H
#define WOQ_ESTIMATE_H
#include <formats/sink.h>
#include <formats/source.h>
#include <woq/opt.h>

struct woq_estimate {
    uint64_t n_weights, n_quantized; /* elements of all tensors; of those that are quantized */
    uint64_t bytes, quantized_bytes; /* tensors of the output file; of the quantized ones */
    uint64_t source_bytes;
    uint64_t largest_f32_bytes; /* the largest tensor as f32 */
    uint64_t hidden;            /* width of the activations between blocks */
    uint64_t block_f32_bytes;   /* all tensors of the largest block as f32 */
    uint64_t linear_f32_bytes;  /* the largest linear weight of a block as f32 */
    uint64_t widest_inputs;     /* of any linear weight: the order of its Hessian */
};

/* What a program's memory depends on beside the model. */
struct woq_estimate_run {
    uint64_t n_tokens; /* of calibration */
    uint64_t n_threads;
    bool both; /* woq-calib --targets both */
};

/* `options` is a JSON object of scheme keys (bits, group_size, sym ...); rules are texts
 * "GLOB key=value ..." applied in order to the tensors whose name matches. `out` says what would be
 * written: its format, and what else of it decides types. */
int woq_estimate_init(struct woq_estimate *e, const struct woq_source *source,
                      const struct woq_json *options, const struct woq_list *rules,
                      const struct woq_sink_opts *out, struct woq_error *err);

/* Peak memory of one stage in bytes, by the formulas of the manual pages, each rounded up to what
 * the process takes without a model; 0 for a program that is not one of ours. */
uint64_t woq_estimate_memory(const struct woq_estimate *e, const struct woq_estimate_run *run,
                             const char *program);

#endif
