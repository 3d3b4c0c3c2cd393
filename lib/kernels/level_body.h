/* level_body.h -- level_ref.c on sixteen floats at a time; included after a v16_*.h.
 *
 * Up to sixteen levels fit in a register: the cuts below x are counted, values are lanes. More are
 * searched by halves with loads from the table. */
#include "parts.h"
#include <math.h>

V v16 level_of(v16 x, const struct woq_levels *l)
{
    const v16 one = v_set(1.0f), none = v_set(0.0f);
    v16 at = none;

    if (l->n <= 16) {
        for (unsigned i = 0; i + 1 < l->n; i++)
            at = v_add(at, v_if_gt(x, v_set(l->cut[i]), one, none));
        return at;
    }
    for (unsigned step = 128; step > 0; step /= 2)
        at = v_add(at, v_if_gt(x, v_lookup(l->cut + step - 1, at), v_set((float)step), none));
    return at;
}

V v16 entry(const float *table, size_t n, v16 at)
{
    return n <= 16 ? v_lookup16(v_load(table), at) : v_lookup(table, at);
}

/* What a weight is divided by. */
V v16 divisor(v16 scale)
{
    return v_if_gt(v_abs(scale), v_set(0.0f), scale, v_set(INFINITY));
}

V void level_run(uint8_t *codes, const float *w, size_t n, v16 by, const struct woq_levels *l)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store_u8(codes + i, entry(l->code, l->n, level_of(v_div(v_load(w + i), by), l)));
    if (i < n)
        v_store_u8_n(codes + i,
                     entry(l->code, l->n, level_of(v_div(v_load_n(w + i, n - i, by), by), l)),
                     n - i);
}

static void level_groups_u8(uint8_t *codes, const float *w, size_t n, size_t group,
                            const float *scale, const struct woq_levels *levels)
{
    for (size_t at = 0, g = 0; at < n; at += group, g++)
        level_run(codes + at, w + at, n - at < group ? n - at : group, divisor(v_set(scale[g])),
                  levels);
}

static void level_cols_u8(uint8_t *codes, const float *w, size_t n, const float *scale,
                          const struct woq_levels *levels)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        level_run(codes + i, w + i, 16, divisor(v_load(scale + i)), levels);
    if (i < n)
        level_run(codes + i, w + i, n - i, divisor(v_load_n(scale + i, n - i, v_set(1.0f))),
                  levels);
}

V v16 level_square_err(v16 w, v16 scale, v16 by, const struct woq_levels *l)
{
    const v16 diff = v_sub(w, v_mul(entry(l->value, l->n, level_of(v_div(w, by), l)), scale));

    return v_mul(diff, diff);
}

V float level_err_run(const float *w, const float *weight, size_t n, float scale,
                      const struct woq_levels *l)
{
    const v16 s = v_set(scale), by = divisor(s), none = v_set(0.0f);
    v16 acc = none;
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        const v16 sq = level_square_err(v_load(w + i), s, by, l);
        acc = v_add(acc, weight ? v_mul(v_load(weight + i), sq) : sq);
    }
    if (i < n) {
        const size_t r = n - i;
        v16 sq = level_square_err(v_load_n(w + i, r, none), s, by, l);
        if (weight)
            sq = v_mul(v_load_n(weight + i, r, none), sq);
        acc = v_add(acc, v_keep_n(sq, r));
    }
    return v_fold_add(acc);
}

static void level_err_groups(float *err, const float *w, const float *weight, size_t n,
                             size_t group, const float *scale, const struct woq_levels *levels)
{
    for (size_t at = 0, g = 0; at < n; at += group, g++)
        err[g] = level_err_run(w + at, weight ? weight + at : NULL, n - at < group ? n - at : group,
                               scale[g], levels);
}

V void lut_run(float *dst, const uint8_t *codes, size_t n, v16 scale, const float *lut,
               size_t n_lut)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        v_store(dst + i, v_mul(entry(lut, n_lut, v_load_u8(codes + i)), scale));
    if (i < n)
        v_store_n(dst + i, v_mul(entry(lut, n_lut, v_load_u8_n(codes + i, n - i)), scale), n - i);
}

/* A short table is padded, so that a register can hold it. */
V const float *padded(float room[16], const float *lut, size_t n_lut)
{
    if (n_lut >= 16)
        return lut;
    memset(room, 0, 16 * sizeof *room);
    memcpy(room, lut, n_lut * sizeof *room);
    return room;
}

static void lut_groups_f32(float *dst, const uint8_t *codes, size_t n, size_t group,
                           const float *scale, const float *lut, size_t n_lut)
{
    float room[16];
    const float *table = padded(room, lut, n_lut);

    for (size_t at = 0, g = 0; at < n; at += group, g++)
        lut_run(dst + at, codes + at, n - at < group ? n - at : group, v_set(scale[g]), table,
                n_lut);
}

static void lut_cols_f32(float *dst, const uint8_t *codes, size_t n, const float *scale,
                         const float *lut, size_t n_lut)
{
    float room[16];
    const float *table = padded(room, lut, n_lut);
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        lut_run(dst + i, codes + i, 16, v_load(scale + i), table, n_lut);
    if (i < n)
        lut_run(dst + i, codes + i, n - i, v_load_n(scale + i, n - i, v_set(0.0f)), table, n_lut);
}

const struct woq_kernels WOQ_PART(level) = {
    .level_groups_u8 = level_groups_u8,
    .level_cols_u8 = level_cols_u8,
    .level_err_groups = level_err_groups,
    .lut_groups_f32 = lut_groups_f32,
    .lut_cols_f32 = lut_cols_f32,
};
