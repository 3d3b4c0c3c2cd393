/* moments.h -- what is kept of a group's activations: sums over tokens, taken chunk by chunk.
 *
 * `acts` frames (meta "block", "group", "of", "token0"; array x [tokens][width]) go in, one `hess`
 * or `stat` frame comes out, which describes the weights that follow. The same code serves
 * woq-hessian, woq-stats and woq-calib --emit, so that a pipe more or less does not change a bit.
 *
 * Where the chunks carry x_float too, what the same tokens are on the path of the float model, a
 * hess frame gets d = sum of (x_float - x) x^T beside h = sum of x x^T: row i is the error of input
 * i, column j the input j that is there (the first-order term of GPTAQ, arXiv:2504.02692, and QEP,
 * arXiv:2504.09629). */
#ifndef WOQ_MOMENTS_H
#define WOQ_MOMENTS_H
#include <woq/frame.h>

enum woq_moment_kind { WOQ_MOMENT_HESS, WOQ_MOMENT_STAT };

struct woq_moments {       /* zeroed = empty */
    struct woq_json *meta; /* block, group, of; NULL = nothing taken */
    size_t n;              /* width */
    uint64_t n_tokens;
    struct woq_span {
        uint64_t from, to;
    } * spans; /* token ranges seen, ascending, disjoint */
    size_t n_spans;
    struct woq_buf h; /* f32 [n][n], upper triangle until it is emitted */
    struct woq_buf d; /* f32 [n][n], with x_float only */
    bool has_d;
    struct woq_buf absmax, sum_abs, sum_sq; /* f32, f64, f64 [n] */
    struct woq_buf x, error;                /* a chunk in f32; x_float - x of it */
};

/* Are these rows x [n_tokens][n] finite? Names block (-1: beside the blocks), group, token and
 * channel if not. */
enum woq_acts_path { WOQ_ACTS_QUANTIZED, WOQ_ACTS_FLOAT };
int woq_acts_check(int64_t block, const char *group, enum woq_acts_path path, const float *x,
                   size_t n_tokens, size_t n, struct woq_error *err);
bool woq_moments_is_empty(const struct woq_moments *m);
/* Do both describe the same group of the same block? */
bool woq_moments_match(const struct woq_moments *m, const struct woq_frame *f);
/* Adds a chunk; all of a group have x_float, or none. Statistics ignore it. NaN and infinity are an
 * error that names block, group, token and channel; tokens that were taken already are an error
 * too. */
int woq_moments_take(struct woq_moments *m, enum woq_moment_kind kind, const struct woq_frame *acts,
                     struct woq_error *err);
/* Adds a partial sum (a hess frame of other tokens of the same group). */
int woq_moments_merge(struct woq_moments *m, const struct woq_frame *hess, struct woq_error *err);
/* Begins `out` as the hess or stat frame; its arrays lie in `m`, which is empty for the next group
 * after woq_moments_clear. */
int woq_moments_emit(struct woq_moments *m, enum woq_moment_kind kind, struct woq_frame *out,
                     struct woq_error *err);
void woq_moments_clear(struct woq_moments *m);
void woq_moments_release(struct woq_moments *m);

#endif
