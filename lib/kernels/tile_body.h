/* tile_body.h -- grids for sixteen groups at once; included after a v16_*.h.
 *
 * A lane is a group, so every sum runs over the elements of its group in order and no instruction
 * set can change it. Least squares and nearest codes in turn never raise the error (Lloyd 1982);
 * the starts decide which of its minima is found. */
#include "parts.h"

#define TINY 0x1p-126f /* below it a scale has no reciprocal */

struct tile_at { /* a grid for each lane: value = q * s + m */
    v16 s, m;
};

V v16 reciprocal(v16 s)
{
    return v_if_gt(v_abs(s), v_set(TINY), v_div(v_set(1.0f), s), v_set(0.0f));
}

/* The shape of a grid, so that each loop is compiled for its own. */
enum shape { SCALE, SCALE_MIN, LEVELS };

V enum shape shape_of(const struct woq_tile_grid *g)
{
    return g->levels ? LEVELS : g->kind == WOQ_TILE_SCALE ? SCALE : SCALE_MIN;
}

/* Nearest integer of lo..hi, or nearest of the levels, in units of the scale. */
V v16 nearest(v16 t, const struct woq_tile_grid *g, enum shape shape)
{
    v16 q;

    if (shape != LEVELS)
        return v_rint(v_min(v_max(t, v_set(g->lo)), v_set(g->hi)));
    q = v_set(g->levels[0]);
    for (int k = 1; k < 16; k++)
        q = v_if_gt(t, v_set(0.5f * (g->levels[k - 1] + g->levels[k])), v_set(g->levels[k]), q);
    return q;
}

struct lane_sums {
    v16 l, ll, xl;
};

V struct lane_sums sums_of(const float *x, const float *weight, const struct woq_tile_grid *g,
                           enum shape shape, struct tile_at at)
{
    const v16 inv = reciprocal(at.s);
    struct lane_sums a = { v_set(0.0f), v_set(0.0f), v_set(0.0f) };

    for (size_t i = 0; i < g->n; i++) {
        const v16 v = v_load(x + 16 * i), w = v_load(weight + 16 * i);
        const v16 y = shape == SCALE_MIN ? v_sub(v, at.m) : v;
        const v16 q = nearest(v_mul(y, inv), g, shape), wq = v_mul(w, q);

        if (shape == SCALE_MIN)
            a.l = v_add(a.l, wq);
        a.ll = v_add(a.ll, v_mul(wq, q));
        a.xl = v_add(a.xl, v_mul(wq, v));
    }
    return a;
}

struct lane_fit {
    struct tile_at best;
    v16 gain; /* how much less than the error of all zeros, in the least-squares sense */
    v16 w, x; /* sums of weights and of weighted values */
};

/* The least-squares grid of these codes; better ones replace the best. Without a minimum, or where
 * it would be positive, the scale is fitted alone. */
V struct tile_at refit(struct lane_fit *f, const struct woq_tile_grid *g, struct tile_at at,
                       struct lane_sums a)
{
    const v16 zero = v_set(0.0f);
    const v16 alone = v_if_gt(a.ll, v_set(TINY), v_div(a.xl, a.ll), zero);
    struct tile_at to = { alone, zero };
    v16 gain;

    if (g->kind != WOQ_TILE_SCALE) {
        const v16 det = v_sub(v_mul(f->w, a.ll), v_mul(a.l, a.l));
        const v16 s = v_div(v_sub(v_mul(f->w, a.xl), v_mul(f->x, a.l)), det);
        const v16 m = v_div(v_sub(f->x, v_mul(s, a.l)), f->w);
        const v16 bound = v_set(g->kind == WOQ_TILE_MIN_BELOW_ZERO ? 0.0f : 3e38f);

        /* det of one code alone is rounding noise */
        to.s = v_if_gt(m, bound, alone, s);
        to.m = v_if_gt(m, bound, zero, m);
        to.s = v_if_gt(det, v_mul(v_set(1e-6f), v_mul(f->w, a.ll)), to.s, alone);
        to.m = v_if_gt(det, v_mul(v_set(1e-6f), v_mul(f->w, a.ll)), to.m, zero);
    }
    gain = v_add(v_mul(to.s, a.xl), v_mul(to.m, f->x));
    /* A lane whose scale came out empty stays where it was. */
    to.s = v_if_gt(v_abs(to.s), v_set(TINY), to.s, at.s);
    f->best.s = v_if_gt(gain, f->gain, to.s, f->best.s);
    f->best.m = v_if_gt(gain, f->gain, to.m, f->best.m);
    f->gain = v_if_gt(gain, f->gain, gain, f->gain);
    return to;
}

/* Of a group: its ends, and the value that is largest in magnitude. */
struct lane_range {
    v16 lo, hi, extreme;
};

V struct tile_at start_of(const struct woq_tile_grid *g, size_t k, struct lane_range r)
{
    const size_t n = g->n_starts;
    struct tile_at at = { v_mul(r.extreme, v_set(1.0f / g->starts[k % n])), v_set(0.0f) };

    if (g->kind != WOQ_TILE_SCALE) {
        const v16 step = v_mul(v_sub(r.hi, r.lo), v_set(1.0f / g->hi));
        const float low = g->starts[k / n], high = g->starts[k % n];

        at.m = v_add(r.lo, v_mul(step, v_set(low)));
        at.s = v_mul(step, v_set(1.0f - (low + high) / g->hi));
    }
    return at;
}

V void fit(float *scale, float *min, const float *x, const float *weight,
           const struct woq_tile_grid *g, enum shape shape)
{
    const size_t n_starts = g->kind == WOQ_TILE_SCALE ? g->n_starts : g->n_starts * g->n_starts;
    const v16 zero = v_set(0.0f);
    struct lane_range r = { v_load(x), v_load(x), v_load(x) };
    struct lane_fit f = { { zero, zero }, v_set(-1.0f), zero, zero };
    struct tile_at at;

    for (size_t i = 0; i < g->n; i++) {
        const v16 v = v_load(x + 16 * i), w = v_load(weight + 16 * i);

        r.lo = v_min(v, r.lo);
        r.hi = v_max(v, r.hi);
        r.extreme = v_if_gt(v_abs(v), v_abs(r.extreme), v, r.extreme);
        f.w = v_add(f.w, w);
        f.x = v_add(f.x, v_mul(w, v));
    }
    if (g->kind == WOQ_TILE_MIN_BELOW_ZERO)
        r.lo = v_min(r.lo, zero);
    f.best = start_of(g, 0, r);
    for (size_t k = 0; k < n_starts; k++) {
        at = start_of(g, k, r);
        for (unsigned pass = 0; pass < g->passes; pass++)
            at = refit(&f, g, at, sums_of(x, weight, g, shape, at));
    }
    for (unsigned pass = 0; pass < g->last_passes; pass++) {
        at = f.best;
        refit(&f, g, at, sums_of(x, weight, g, shape, at));
    }
    v_store(scale, f.best.s);
    v_store(min, f.best.m);
}

static void tile_fit(float *scale, float *min, const float *x, const float *weight,
                     const struct woq_tile_grid *g)
{
    switch (shape_of(g)) {
    case SCALE:
        fit(scale, min, x, weight, g, SCALE);
        break;
    case SCALE_MIN:
        fit(scale, min, x, weight, g, SCALE_MIN);
        break;
    case LEVELS:
        fit(scale, min, x, weight, g, LEVELS);
        break;
    }
}

V void sums(struct woq_tile_sums *out, const float *x, const float *weight,
            const struct woq_tile_grid *g, enum shape shape, const float *scale, const float *min)
{
    const struct tile_at at = { v_load(scale), v_load(min) };
    const v16 inv = reciprocal(at.s);
    struct lane_sums a = { v_set(0.0f), v_set(0.0f), v_set(0.0f) };
    v16 err = v_set(0.0f);

    for (size_t i = 0; i < g->n; i++) {
        const v16 v = v_load(x + 16 * i), w = v_load(weight + 16 * i);
        const v16 y = shape == SCALE_MIN ? v_sub(v, at.m) : v;
        const v16 q = nearest(v_mul(y, inv), g, shape), wq = v_mul(w, q);
        const v16 r = v_sub(y, v_mul(q, at.s));

        if (shape == SCALE_MIN)
            a.l = v_add(a.l, wq);
        a.ll = v_add(a.ll, v_mul(wq, q));
        a.xl = v_add(a.xl, v_mul(wq, v));
        err = v_add(err, v_mul(w, v_mul(r, r)));
    }
    v_store(out->l, a.l);
    v_store(out->ll, a.ll);
    v_store(out->xl, a.xl);
    v_store(out->err, err);
}

static void tile_sums(struct woq_tile_sums *out, const float *x, const float *weight,
                      const struct woq_tile_grid *g, const float *scale, const float *min)
{
    switch (shape_of(g)) {
    case SCALE:
        sums(out, x, weight, g, SCALE, scale, min);
        break;
    case SCALE_MIN:
        sums(out, x, weight, g, SCALE_MIN, scale, min);
        break;
    case LEVELS:
        sums(out, x, weight, g, LEVELS, scale, min);
        break;
    }
}

static void tile_codes(uint8_t *codes, const float *x, const struct woq_tile_grid *g,
                       const float *scale, const float *min)
{
    const v16 m = v_load(min), inv = reciprocal(v_load(scale)), lo = v_set(g->lo);

    for (size_t i = 0; i < g->n; i++) {
        const v16 t = v_mul(v_sub(v_load(x + 16 * i), m), inv);
        v16 code = v_set(0.0f);

        if (!g->levels)
            code = v_sub(nearest(t, g, SCALE), lo);
        else
            for (int k = 1; k < 16; k++)
                code = v_if_gt(t, v_set(0.5f * (g->levels[k - 1] + g->levels[k])), v_set((float)k),
                               code);
        v_store_u8(codes + 16 * i, code);
    }
}

static void tile_shrink(float *factor, float *loss, const float *x, size_t stride,
                        const float *weight, size_t n, const float *scale, const float *zero,
                        float maxq, const float *factors, size_t n_factors)
{
    const v16 full = v_load(scale), mid = v_load(zero), top = v_set(maxq), none = v_set(0.0f);
    v16 best = v_set(3e38f), which = v_set(factors[0]);

    for (size_t k = 0; k < n_factors; k++) {
        const v16 s = v_mul(full, v_set(factors[k])), inv = reciprocal(s);
        v16 sum = none;

        for (size_t i = 0; i < n; i++) {
            const v16 t = v_add(v_mul(v_load(x + i * stride), inv), mid);
            const v16 d = v_sub(t, v_rint(v_min(v_max(t, none), top)));

            sum = v_add(sum, v_mul(v_set(weight[i]), v_mul(d, d)));
        }
        sum = v_mul(sum, v_mul(s, s));
        which = v_if_gt(best, sum, v_set(factors[k]), which);
        best = v_if_gt(best, sum, sum, best);
    }
    v_store(factor, which);
    v_store(loss, best);
}

const struct woq_kernels WOQ_PART(tile) = {
    .tile_fit = tile_fit,
    .tile_sums = tile_sums,
    .tile_codes = tile_codes,
    .tile_shrink = tile_shrink,
};
