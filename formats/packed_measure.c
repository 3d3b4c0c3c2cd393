/* packed_measure.c -- the width, the sizes and the groups of a packed linear, from the shapes of
 * its tensors and what the configuration says. */
#include <formats/packed.h>

#include <stdio.h>
#include <string.h>

static bool has_shape(const struct woq_st_tensor *t, const uint64_t shape[2])
{
    return t->n_dims == 2 && t->shape[0] == shape[0] && t->shape[1] == shape[1];
}

static int fail_shape(const struct woq_st_tensor *t, const uint64_t want[2], struct woq_error *err)
{
    return woq_fail(err, WOQ_EDATA, NULL, "'%s' has shape [%llu,%llu], want [%llu,%llu]", t->name,
                    (unsigned long long)(t->n_dims ? t->shape[0] : 1),
                    (unsigned long long)(t->n_dims > 1 ? t->shape[1] : 1),
                    (unsigned long long)want[0], (unsigned long long)want[1]);
}

static int want_part(const struct woq_linear *l, enum woq_packed_part part, enum woq_dtype dtype,
                     unsigned n_dims, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[part], *codes = l->part[WOQ_PART_CODES];
    const size_t head = strlen(codes->name) - strlen(l->kind->suffix[WOQ_PART_CODES]);

    if (!t)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has no tensor '%.*s%s' beside it", codes->name,
                        (int)head, codes->name, l->kind->suffix[part]);
    if (dtype ? t->dtype != dtype : !woq_dtype_is_float(t->dtype))
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' is %s, want %s", t->name, t->stored,
                        dtype ? woq_dtype_name(dtype) : "a float type");
    if (t->n_dims != n_dims)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has %u dimensions, want %u", t->name, t->n_dims,
                        n_dims);
    if (n_dims && (!t->shape[0] || !t->shape[n_dims - 1]))
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has shape [%llu,%llu], want none of 0", t->name,
                        (unsigned long long)t->shape[0],
                        (unsigned long long)(n_dims > 1 ? t->shape[1] : 1));
    return WOQ_OK;
}

/* Outputs and groups, which the scales tell; one scale of the whole tensor is a group of each row.
 */
static int read_scales(struct woq_linear *l, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[WOQ_PART_SCALES];
    const struct woq_packed_layout *layout = l->layout;
    int rc;

    l->one_scale = layout->scales_by_row && t && t->n_dims < 2;
    rc = want_part(l, WOQ_PART_SCALES, WOQ_NO_DTYPE, l->one_scale ? t->n_dims : 2, err);
    if (rc)
        return rc;
    l->n_out = (size_t)l->part[WOQ_PART_CODES]->shape[0];
    l->n_groups = 1;
    if (l->one_scale && t->n_dims && t->shape[0] != 1)
        return fail_shape(t, (const uint64_t[]){ l->n_out, 1 }, err);
    if (!l->one_scale) {
        l->n_out = (size_t)t->shape[!layout->scales_by_row];
        l->n_groups = (size_t)t->shape[layout->scales_by_row];
    }
    return WOQ_OK;
}

/* The shape that a layout may state beside its codes. */
static int read_shape(struct woq_linear *l, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[WOQ_PART_SHAPE];
    int64_t shape[2];
    int rc;

    if (!l->kind->suffix[WOQ_PART_SHAPE])
        return WOQ_OK;
    rc = want_part(l, WOQ_PART_SHAPE, WOQ_I64, 1, err);
    if (rc)
        return rc;
    if (t->shape[0] != 2)
        return fail_shape(t, (const uint64_t[]){ 2, 1 }, err);
    memcpy(shape, t->data, sizeof shape);
    if (shape[0] < 0 || (uint64_t)shape[0] != l->n_out || shape[1] < 1 || shape[1] > UINT32_MAX)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' says %lld x %lld, but its scales have %zu rows",
                        t->name, (long long)shape[0], (long long)shape[1], l->n_out);
    l->n_in = (size_t)shape[1];
    return WOQ_OK;
}

static bool codes_fit(const struct woq_linear *l, size_t n_in)
{
    return n_in && has_shape(l->part[WOQ_PART_CODES],
                             woq_packed_codes(l->layout, l->order, l->bits, l->n_out, n_in).shape);
}

/* Inputs that the codes leave possible: where words may be filled in part, as g_idx has them or as
 * full groups, else as full words. */
static bool find_inputs(struct woq_linear *l, const struct woq_linear_told *c)
{
    const struct woq_packed_place place = l->layout->codes;
    const struct woq_st_tensor *codes = l->part[WOQ_PART_CODES], *g_idx = l->part[WOQ_PART_G_IDX];
    const uint64_t n = codes->shape[place.along_out == place.words_first], bits = (uint64_t)l->bits;
    const bool whole = l->order == WOQ_FIELDS_WHOLE && !l->layout->bytes;

    if (l->kind->suffix[WOQ_PART_SHAPE])
        return codes_fit(l, l->n_in);
    const uint64_t tries[] = {
        place.along_out || l->layout->bytes ? n : 0, /* not packed: as many as there are */
        whole ? l->model_in : 0,
        whole && g_idx && g_idx->n_dims == 1 ? g_idx->shape[0] : 0,
        whole && c->group_size > 0 ? l->n_groups * (uint64_t)c->group_size : 0,
        whole ? n * (32 / bits) : n * 32 / bits,
    };

    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
        if (n <= UINT32_MAX && tries[i] <= UINT32_MAX && codes_fit(l, (size_t)tries[i])) {
            l->n_in = (size_t)tries[i];
            return true;
        }
    return false;
}

/* Do the shapes of all tensors agree under this order and width? */
static bool fits(struct woq_linear *l, const struct woq_linear_told *c)
{
    const struct woq_st_tensor *zeros = l->part[WOQ_PART_ZEROS];

    if (zeros && !l->one_scale &&
        !has_shape(zeros,
                   woq_packed_zeros(l->layout, l->order, l->bits, l->n_out, l->n_stored).shape))
        return false;
    return find_inputs(l, c);
}

/* The first order and width that fit, `bits` only unless 0. */
static bool find_width(struct woq_linear *l, const struct woq_linear_told *c, int bits)
{
    static const int likely_first[] = { 4, 8, 2, 3, 5, 6, 7, 1 };
    const enum woq_field_order orders[] = { l->layout->order, WOQ_FIELDS_WHOLE };

    for (size_t o = 0; o < 1 + (size_t)l->layout->or_whole; o++)
        for (size_t i = 0; i < sizeof likely_first / sizeof *likely_first; i++) {
            l->order = orders[o];
            l->bits = likely_first[i];
            if ((!bits || bits == l->bits) && woq_packed_width_ok(l->layout, l->bits) && fits(l, c))
                return true;
        }
    return false;
}

static int fail_width(struct woq_linear *l, const struct woq_linear_told *c, struct woq_error *err)
{
    const struct woq_st_tensor *w = l->part[WOQ_PART_CODES], *z = l->part[WOQ_PART_ZEROS];
    char zeros[64] = "", widths[32];

    if (c->bits && find_width(l, c, 0))
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has %d bits by its shape, config.json says %d",
                        w->name, l->bits, c->bits);
    if (z)
        snprintf(zeros, sizeof zeros, ", its zero points [%llu,%llu]",
                 (unsigned long long)z->shape[0], (unsigned long long)z->shape[1]);
    return woq_fail(err, WOQ_EUNSUPPORTED, "are these tensors of one checkpoint?",
                    "'%s' is [%llu,%llu]%s, its scales are of %zu outputs in %zu groups: not a "
                    "layout that is read (%s, %s bits)",
                    w->name, (unsigned long long)w->shape[0], (unsigned long long)w->shape[1],
                    zeros, l->n_out, l->n_groups, l->layout->name,
                    woq_packed_widths(l->layout, widths));
}

static int32_t g_idx_at(const struct woq_linear *l, size_t c)
{
    int32_t g;
    memcpy(&g, l->part[WOQ_PART_G_IDX]->data + 4 * c, 4);
    return g;
}

int woq_packed_g_idx(struct woq_linear *l, struct woq_error *err)
{
    const size_t step = l->group_size < 0 ? l->n_in : (size_t)l->group_size;

    for (size_t c = 0; l->part[WOQ_PART_G_IDX] && c < l->n_in; c++) {
        const int32_t g = g_idx_at(l, c);
        if (g < 0 || (size_t)g >= l->n_groups)
            return woq_fail(err, WOQ_EDATA, NULL, "'%s' %zu is %d, want 0..%zu",
                            l->part[WOQ_PART_G_IDX]->name, c, g, l->n_groups - 1);
        l->permuted = l->permuted || (size_t)g != c / step;
    }
    return WOQ_OK;
}

static bool groups_fit(const struct woq_linear *l, int64_t group_size)
{
    const uint64_t g =
        group_size < 0 || (uint64_t)group_size > l->n_in ? l->n_in : (uint64_t)group_size;
    return g && (l->n_in + g - 1) / g == l->n_groups;
}

/* The group size that the configuration says, else the first run of g_idx, else the even one. */
static int find_groups(struct woq_linear *l, const struct woq_linear_told *c, struct woq_error *err)
{
    const bool has_g_idx = l->part[WOQ_PART_G_IDX] != NULL;
    int64_t run = 0;

    l->group_size = c->group_size;
    while (has_g_idx && (size_t)run < l->n_in && g_idx_at(l, (size_t)run) == g_idx_at(l, 0))
        run++;
    if (!groups_fit(l, l->group_size) && has_g_idx)
        l->group_size = run;
    if (!groups_fit(l, l->group_size) && l->n_in % l->n_groups == 0)
        l->group_size = (int64_t)(l->n_in / l->n_groups);
    if (!groups_fit(l, l->group_size))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "'%s' has %zu groups, but %zu inputs in groups of %lld make another number",
                        l->part[WOQ_PART_SCALES]->name, l->n_groups, l->n_in,
                        (long long)c->group_size);
    return woq_packed_g_idx(l, err);
}

static int read_factor(struct woq_linear *l, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[WOQ_PART_FACTOR];
    uint64_t aligned = 0;
    int rc;

    if (!t)
        return WOQ_OK;
    rc = want_part(l, WOQ_PART_FACTOR, WOQ_NO_DTYPE, 1, err);
    if (rc)
        return rc;
    if (t->shape[0] != 1)
        return fail_shape(t, (const uint64_t[]){ 1, 1 }, err);
    memcpy(&aligned, t->data, woq_dtype_bytes(t->dtype));
    woq_to_f32(&l->factor, &aligned, t->dtype, 1);
    return l->factor - l->factor == 0
               ? WOQ_OK
               : woq_fail(err, WOQ_EDATA, NULL, "'%s' is not finite", t->name);
}

/* Codes of one byte have a name that floats have too: their type tells, and scales beside them. */
static bool is_codes(const struct woq_linear *l)
{
    return !l->layout->bytes ||
           (l->codes->dtype == woq_packed_word(l->layout) && l->part[WOQ_PART_SCALES]);
}

int woq_packed_measure(struct woq_linear *l, const struct woq_linear_told *c, struct woq_error *err)
{
    const struct woq_st_tensor *g_idx = l->part[WOQ_PART_G_IDX];
    enum woq_dtype word;
    int rc;

    l->layout = (const struct woq_packed_layout *)l->kind; /* its first member */
    if (!is_codes(l))
        return WOQ_OK;
    l->sym = c->sym;
    word = woq_packed_word(l->layout);
    rc = want_part(l, WOQ_PART_CODES, word, 2, err);

    if (rc == WOQ_OK)
        rc = read_scales(l, err);
    if (rc == WOQ_OK)
        rc = read_shape(l, err);
    if (rc == WOQ_OK)
        rc = read_factor(l, err);
    if (rc == WOQ_OK && (l->layout->always_zeros || l->part[WOQ_PART_ZEROS]))
        rc = want_part(l, WOQ_PART_ZEROS, word, l->one_scale ? l->part[WOQ_PART_SCALES]->n_dims : 2,
                       err);
    if (rc == WOQ_OK && g_idx)
        rc = want_part(l, WOQ_PART_G_IDX, WOQ_I32, 1, err);
    if (rc)
        return rc;
    l->n_stored = l->n_groups;
    if (!find_width(l, c, l->layout->bytes && !c->bits ? 8 : c->bits))
        return fail_width(l, c, err);
    if (l->layout->padded) {
        l->n_groups = c->group_size > 0 ? l->n_in / (size_t)c->group_size : 1;
        if (woq_packed_stored(l->layout, l->n_in, l->n_groups) != l->n_stored)
            return woq_fail(err, WOQ_EDATA, NULL,
                            "'%s' has %zu groups, want %zu for %zu inputs in groups of %lld",
                            l->part[WOQ_PART_SCALES]->name, l->n_stored,
                            woq_packed_stored(l->layout, l->n_in, l->n_groups), l->n_in,
                            (long long)c->group_size);
    }
    if (!l->n_groups || l->n_groups > l->n_in)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has %zu groups of %zu inputs",
                        l->part[WOQ_PART_SCALES]->name, l->n_groups, l->n_in);
    if (g_idx && g_idx->shape[0] != l->n_in)
        return fail_shape(g_idx, (const uint64_t[]){ l->n_in, 1 }, err);
    rc = find_groups(l, c, err);
    snprintf(l->stored, sizeof l->stored, "%s%d", l->layout->name, l->bits);
    return rc ? rc : WOQ_ITEM;
}
