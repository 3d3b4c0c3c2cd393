/* ggml_fit.h -- the search for the numbers of GGML's blocks: scales, minima and codes of sixteen
 * groups at once, weighted by importance.
 *
 * A group is 16 or 32 elements that share a scale (and a minimum). Groups stand alone (Q4_0, Q4_1,
 * IQ4_NL ...: each has its f16 scale), or 256 elements share one f16 unit, of which the groups'
 * scales are integer multiples (the K types). */
#ifndef WOQ_FORMATS_GGML_FIT_H
#define WOQ_FORMATS_GGML_FIT_H
#include <stdbool.h>
#include <woq/kernels.h>

enum { WOQ_TILE_LANES = 16, WOQ_TILE_MAX_N = 32 };

struct woq_fit_spec {
    struct woq_tile_grid grid;
    int scale_lo, scale_hi; /* integers that multiply the unit; both 0: groups stand alone */
    int min_hi;             /* the same of minima, 0..min_hi */
    unsigned rounds;        /* of moving units and integers in turn */
};

struct woq_fit {
    float x[WOQ_TILE_MAX_N * WOQ_TILE_LANES], weight[WOQ_TILE_MAX_N * WOQ_TILE_LANES];
    /* Results. What a decoder computes: (q + lo) * scale + min. */
    float scale[16], min[16];           /* of each group, as the file can hold them */
    float unit[2], min_unit[2];         /* f16, of lanes 0..7 and 8..15, or [0] of all 16 */
    int scale_code[16], min_code[16];   /* min = -min_unit * min_code */
    uint8_t codes[WOQ_TILE_MAX_N * 16]; /* group after group */
};

/* Fits n_groups (1..16) groups of src; weight as long as src. */
void woq_fit_groups(struct woq_fit *f, const struct woq_fit_spec *spec, const float *src,
                    const float *weight, size_t n_groups);

#endif
