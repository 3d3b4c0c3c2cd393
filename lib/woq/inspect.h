/* inspect.h -- looking at arrays: values as text, statistics, differences (woq-cat, woq-diff). */
#ifndef WOQ_INSPECT_H
#define WOQ_INSPECT_H
#include <woq/frame.h>

/* Appends element i of an array: integers plainly, floats with the fewest digits that read back the
 * same, "nan", "inf", "-inf". */
int woq_array_print(struct woq_str *out, const struct woq_array *a, size_t i);
/* Appends "2x3" (n_dims 0: "scalar"). */
int woq_shape_print(struct woq_str *out, unsigned n_dims, const uint64_t *shape);

/* Over the finite elements; of none: all zero. std is that of the population. */
struct woq_stats {
    double min, max, mean, std, absmax;
    uint64_t n_nan, n_inf;
};
/* Any dtype; sums in f64, in fixed chunks: the same for any number of threads. */
void woq_array_stats(struct woq_stats *s, const struct woq_array *a);

/* How b differs from a. NaN against NaN and an infinity against itself are equal; any other pair
 * with one of them makes max, rms and rel infinite. */
struct woq_delta {
    double max, rms; /* of b - a */
    double rel;      /* |b - a| / |a| (2-norms); 0 where equal, inf where only a is zero */
    double sqnr_db;  /* 20 log10(1 / rel); inf where equal */
    uint64_t n_differ;
};
void woq_delta_f32(struct woq_delta *d, const float *a, const float *b, size_t n_elem);
void woq_delta_u8(struct woq_delta *d, const uint8_t *a, const uint8_t *b, size_t n_elem);

#endif
