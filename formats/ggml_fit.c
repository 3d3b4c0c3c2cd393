/* ggml_fit.c -- see the header.
 *
 * Groups are fitted alone first (tile_fit). Where they share a unit, a unit and integers near the
 * fitted scales are chosen by the curvature of each group's error; then, in turn, the units move to
 * their least-squares place for the codes that are, and each group's integers to the best of their
 * neighbours, with codes chosen anew each time: the error that counts is the one the file will
 * have. */
#include <formats/ggml_fit.h>

#include <math.h>
#include <string.h>

enum { LANES = WOQ_TILE_LANES, N_UNITS = 40 };

static void round_f16(float *x, size_t n)
{
    uint16_t h[2 * N_UNITS];
    const struct woq_kernels *k = woq_kernels();

    k->f32_to_f16(h, x, n);
    k->f16_to_f32(x, h, n);
}

/* Element i of group g to [i * 16 + g]. Padding groups hold `fill`. */
static void to_tile(float *restrict tile, const float *restrict src, size_t n, size_t n_groups,
                    float fill)
{
    for (size_t i = 0; i < n * LANES && n_groups < LANES; i++)
        tile[i] = fill;
    for (size_t i = 0; i < n; i++)
        for (size_t g = 0; g < n_groups; g++)
            tile[i * LANES + g] = src[g * n + i];
}

static void load(struct woq_fit *f, size_t n, const float *src, const float *weight,
                 size_t n_groups)
{
    to_tile(f->x, src, n, n_groups, 0.0f);
    if (weight)
        to_tile(f->weight, weight, n, n_groups, 1.0f); /* weights divide */
    for (size_t i = 0; i < n * LANES && !weight; i++)
        f->weight[i] = 1.0f;
}

/* --- groups that share a unit: lanes from..to-1 --- */

struct shared {
    const struct woq_fit_spec *spec;
    struct woq_fit *f;
    size_t lanes; /* per unit */
    float w[LANES], wx[LANES];
};

static int clamp(int x, int lo, int hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

/* Candidates put the extreme value at an end of lo..hi, a little beyond, or within. */
static void unit_candidates(float units[N_UNITS], float extreme, int lo, int hi)
{
    const float part = lo < 0 ? 0.35f : 0.2f;

    for (int k = 0; k < N_UNITS; k++) {
        const float end = (float)(lo < 0 && k % 2 ? lo : hi);
        const float in = (float)(lo < 0 ? k / 2 : k) * part - 0.6f;

        units[k] = extreme / (end - copysignf(in, end));
    }
    round_f16(units, N_UNITS);
}

/* The f16 unit and integers lo..hi with the least sum of weight * (v - unit * integer)^2 that are
 * found. The unit is not finite if v is beyond f16. */
static float choose_unit(int *code, const float *v, const float *weight, size_t n, int lo, int hi)
{
    const float top = (float)hi, bottom = (float)lo;
    float units[N_UNITS], inv[N_UNITS], err[N_UNITS] = { 0 }, extreme = 0;
    size_t best = 0;

    for (size_t g = 0; g < n; g++)
        extreme = fabsf(v[g]) > fabsf(extreme) ? v[g] : extreme;
    unit_candidates(units, extreme, lo, hi);
    for (size_t k = 0; k < N_UNITS; k++)
        inv[k] = units[k] != 0 ? 1.0f / units[k] : 0.0f;
    for (size_t g = 0; g < n; g++)
        for (size_t k = 0; k < N_UNITS; k++) {
            float t = v[g] * inv[k], d;

            t = t > bottom ? t : bottom;
            t = t < top ? t : top;
            t = (t + 0x1.8p23f) - 0x1.8p23f; /* to the nearest integer */
            d = v[g] - units[k] * t;
            err[k] += weight[g] * (d * d);
        }
    for (size_t k = 1; k < N_UNITS; k++)
        best = err[k] < err[best] ? k : best;
    for (size_t g = 0; g < n; g++)
        code[g] = isfinite(units[best]) && units[best] != 0
                      ? clamp((int)lrintf(v[g] / units[best]), lo, hi)
                      : 0;
    return units[best];
}

static void set_grid(const struct shared *s, float scale[LANES], float min[LANES], int ds, int dm)
{
    const struct woq_fit *f = s->f;

    for (size_t g = 0; g < LANES; g++) {
        const int sc = clamp(f->scale_code[g] + ds, s->spec->scale_lo, s->spec->scale_hi);
        const int mc = clamp(f->min_code[g] + dm, 0, s->spec->min_hi);

        scale[g] = f->unit[g / s->lanes] * (float)sc;
        min[g] = -(f->min_unit[g / s->lanes] * (float)mc);
    }
}

static void first_choice(struct shared *s)
{
    const struct woq_kernels *k = woq_kernels();
    struct woq_fit *f = s->f;
    struct woq_tile_sums a;
    float curve[LANES], min[LANES];

    k->tile_sums(&a, f->x, f->weight, &s->spec->grid, f->scale, f->min);
    for (size_t g = 0; g < LANES; g++) {
        curve[g] = s->spec->min_hi ? a.ll[g] - a.l[g] * a.l[g] / s->w[g] : a.ll[g];
        curve[g] = curve[g] > 0 ? curve[g] : 0;
    }
    for (size_t g = 0; g < LANES; g += s->lanes)
        f->unit[g / s->lanes] = choose_unit(f->scale_code + g, f->scale + g, curve + g, s->lanes,
                                            s->spec->scale_lo, s->spec->scale_hi);
    if (!s->spec->min_hi)
        return;
    for (size_t g = 0; g < LANES; g++) {
        const float scale = f->unit[g / s->lanes] * (float)f->scale_code[g];

        min[g] = (scale * a.l[g] - s->wx[g]) / s->w[g];
        min[g] = min[g] > 0 ? min[g] : 0;
    }
    for (size_t g = 0; g < LANES; g += s->lanes)
        f->min_unit[g / s->lanes] =
            choose_unit(f->min_code + g, min + g, s->w + g, s->lanes, 0, s->spec->min_hi);
}

/* Units in the least-squares sense for the codes that are; kept where the error falls. */
static void move_units(struct shared *s, struct woq_tile_sums *a)
{
    const struct woq_kernels *k = woq_kernels();
    struct woq_fit *f = s->f;
    float scale[LANES], min[LANES], unit[4], old[4];
    struct woq_tile_sums b;
    const size_t n = LANES / s->lanes;

    memcpy(old, f->unit, sizeof f->unit);
    memcpy(old + 2, f->min_unit, sizeof f->min_unit);
    memcpy(unit, old, sizeof unit);
    for (size_t u = 0; u < n; u++) {
        double ss = 0, sm = 0, mm = 0, sx = 0, mx = 0, det;

        for (size_t g = u * s->lanes; g < (u + 1) * s->lanes; g++) {
            const double sc = f->scale_code[g], mc = f->min_code[g];

            ss += sc * sc * (double)a->ll[g];
            sm += sc * mc * (double)a->l[g];
            mm += mc * mc * (double)s->w[g];
            sx += sc * (double)a->xl[g];
            mx += mc * (double)s->wx[g];
        }
        det = ss * mm - sm * sm;
        if (mm > 0 && det > 1e-9 * ss * mm) {
            unit[u] = (float)((sx * mm - mx * sm) / det);
            unit[2 + u] = (float)((sx * sm - mx * ss) / det);
        } else if (ss > 0) {
            unit[u] = (float)((sx + (double)old[2 + u] * sm) / ss);
        }
    }
    round_f16(unit, 4);
    memcpy(f->unit, unit, sizeof f->unit);
    memcpy(f->min_unit, unit + 2, sizeof f->min_unit);
    set_grid(s, scale, min, 0, 0);
    k->tile_sums(&b, f->x, f->weight, &s->spec->grid, scale, min);
    for (size_t u = 0; u < n; u++) {
        float was = 0, is = 0;

        for (size_t g = u * s->lanes; g < (u + 1) * s->lanes; g++) {
            was += a->err[g];
            is += b.err[g];
        }
        if (is < was) {
            for (size_t g = u * s->lanes; g < (u + 1) * s->lanes; g++) {
                a->err[g] = b.err[g];
                a->l[g] = b.l[g];
                a->ll[g] = b.ll[g];
                a->xl[g] = b.xl[g];
            }
        } else {
            f->unit[u] = old[u];
            f->min_unit[u] = old[2 + u];
        }
    }
}

/* Each group's integers to the best of their neighbours. */
static void move_codes(struct shared *s, struct woq_tile_sums *a)
{
    static const int steps[8][2] = { { -1, 0 }, { 1, 0 },  { 0, -1 }, { 0, 1 },
                                     { -1, 1 }, { 1, -1 }, { 1, 1 },  { -1, -1 } };
    const struct woq_kernels *k = woq_kernels();
    const size_t n_steps = s->spec->min_hi ? 8 : 2;
    struct woq_fit *f = s->f;
    int best[LANES] = { 0 };

    for (size_t t = 0; t < n_steps; t++) {
        float scale[LANES], min[LANES];
        struct woq_tile_sums b;

        set_grid(s, scale, min, steps[t][0], steps[t][1]);
        k->tile_sums(&b, f->x, f->weight, &s->spec->grid, scale, min);
        for (size_t g = 0; g < LANES; g++)
            if (b.err[g] < a->err[g]) {
                best[g] = (int)t + 1;
                a->err[g] = b.err[g];
                a->l[g] = b.l[g];
                a->ll[g] = b.ll[g];
                a->xl[g] = b.xl[g];
            }
    }
    for (size_t g = 0; g < LANES; g++)
        if (best[g]) {
            const int *step = steps[best[g] - 1];

            f->scale_code[g] =
                clamp(f->scale_code[g] + step[0], s->spec->scale_lo, s->spec->scale_hi);
            f->min_code[g] = clamp(f->min_code[g] + step[1], 0, s->spec->min_hi);
        }
}

static void share_units(struct woq_fit *f, const struct woq_fit_spec *spec)
{
    struct shared s = { .spec = spec, .f = f, .lanes = 256 / spec->grid.n };
    const struct woq_kernels *k = woq_kernels();
    struct woq_tile_sums a;

    memset(f->min_code, 0, sizeof f->min_code);
    memset(f->unit, 0, sizeof f->unit);
    memset(f->min_unit, 0, sizeof f->min_unit);
    for (size_t i = 0; i < spec->grid.n; i++)
        for (size_t g = 0; g < LANES; g++) {
            s.w[g] += f->weight[i * LANES + g];
            s.wx[g] += f->weight[i * LANES + g] * f->x[i * LANES + g];
        }
    first_choice(&s);
    set_grid(&s, f->scale, f->min, 0, 0);
    k->tile_sums(&a, f->x, f->weight, &spec->grid, f->scale, f->min);
    for (unsigned r = 0; r < spec->rounds; r++) {
        move_units(&s, &a);
        move_codes(&s, &a);
    }
    set_grid(&s, f->scale, f->min, 0, 0);
}

/* --- groups with a scale of their own in f16 --- */

/* scale: where it was, or the next f16 toward zero (step -1) or away from it (1). */
static void step_f16(float scale[LANES], int step)
{
    const struct woq_kernels *k = woq_kernels();
    uint16_t h[LANES];

    k->f32_to_f16(h, scale, LANES);
    for (size_t g = 0; g < LANES; g++)
        if (h[g] & 0x7fff)
            h[g] = (uint16_t)(h[g] + step);
    k->f16_to_f32(scale, h, LANES);
}

/* Rounds scales and minima to f16: to that of three scales, each with the minimum that suits it,
 * for codes as they are and for codes one lower, which leaves the least error. Groups that were on
 * a grid of f16 before, whose minimum is exact at their lowest value only, are found again. */
static void round_groups(struct woq_fit *f, const struct woq_fit_spec *spec)
{
    static const int steps[][2] = { { 0, 0 }, { -1, 0 }, { 1, 0 }, { 0, 1 }, { -1, 1 }, { 1, 1 } };
    const struct woq_kernels *k = woq_kernels();
    const bool with_min = spec->grid.kind == WOQ_TILE_MIN;
    const size_t n_steps = with_min ? 6 : 3;
    float from[LANES], from_min[LANES], least[LANES], w[LANES] = { 0 }, wx[LANES] = { 0 };

    for (size_t i = 0; i < spec->grid.n && with_min; i++)
        for (size_t g = 0; g < LANES; g++) {
            w[g] += f->weight[i * LANES + g];
            wx[g] += f->weight[i * LANES + g] * f->x[i * LANES + g];
        }
    round_f16(f->scale, LANES);
    memcpy(from, f->scale, sizeof from);
    memcpy(from_min, f->min, sizeof from_min);
    round_f16(f->min, LANES);
    for (size_t t = 0; t < n_steps; t++) {
        float scale[LANES], min[LANES];
        struct woq_tile_sums a;

        memcpy(scale, from, sizeof scale);
        memcpy(min, from_min, sizeof min);
        step_f16(scale, steps[t][0]);
        if (with_min) {
            for (size_t g = 0; g < LANES && steps[t][1]; g++)
                min[g] += scale[g];
            k->tile_sums(&a, f->x, f->weight, &spec->grid, scale, min);
            for (size_t g = 0; g < LANES; g++)
                min[g] = (wx[g] - scale[g] * a.l[g]) / w[g];
            round_f16(min, LANES);
        }
        k->tile_sums(&a, f->x, f->weight, &spec->grid, scale, min);
        for (size_t g = 0; g < LANES; g++)
            if (t == 0 || a.err[g] < least[g]) {
                least[g] = a.err[g];
                f->scale[g] = scale[g];
                f->min[g] = min[g];
            }
    }
}

void woq_fit_groups(struct woq_fit *f, const struct woq_fit_spec *spec, const float *src,
                    const float *weight, size_t n_groups)
{
    const struct woq_kernels *k = woq_kernels();
    const size_t n = spec->grid.n;
    uint8_t codes[WOQ_TILE_MAX_N * LANES];

    load(f, n, src, weight, n_groups);
    k->tile_fit(f->scale, f->min, f->x, f->weight, &spec->grid);
    if (spec->scale_hi)
        share_units(f, spec);
    else
        round_groups(f, spec);
    k->tile_codes(codes, f->x, &spec->grid, f->scale, f->min);
    for (size_t g = 0; g < LANES; g++)
        for (size_t i = 0; i < n; i++)
            f->codes[g * n + i] = codes[i * LANES + g];
}
