/* packed_load.c -- packed linears (formats.md 4) as frames: whatever the layout, codes, scales,
 * zero points and group indices go to the stream as they are. */
#include <formats/packed.h>

#include <string.h>
#include <woq/quant.h>

enum { ALIGNED, FIELDS }; /* in scratch */

/* Words of a tensor, copied where the file does not align them. */
static const void *words(struct woq_buf *scratch, const struct woq_st_tensor *t,
                         struct woq_error *err)
{
    void *copy;

    if ((uintptr_t)t->data % woq_dtype_bytes(t->dtype) == 0)
        return t->data;
    copy = woq_buf_need(&scratch[ALIGNED], t->bytes, err);
    return copy ? memcpy(copy, t->data, t->bytes) : NULL;
}

/* Signed bytes as unsigned codes: false if one is not of `bits` bits. */
static bool from_bytes(uint8_t *x, size_t n, int bits)
{
    const int middle = 1 << (bits - 1);
    bool ok = true;

    for (size_t i = 0; i < n; i++) {
        const int v = (int)(x[i] ^ 0x80) - 128 + middle;
        ok = ok && v >= 0 && v < 2 * middle;
        x[i] = (uint8_t)v;
    }
    return ok;
}

static int fail_range(const struct woq_linear *l, enum woq_packed_part part, struct woq_error *err)
{
    return woq_fail(err, WOQ_EDATA, "is num_bits right in config.json?",
                    "'%s' has a value beyond %d bits", l->part[part]->name, l->bits);
}

static int load_codes(struct woq_buf *scratch, struct woq_frame *f, const struct woq_linear *l,
                      struct woq_error *err)
{
    const struct woq_packed_matrix m =
        woq_packed_codes(l->layout, l->order, l->bits, l->n_out, l->n_in);
    const uint64_t shape[2] = { l->n_out, l->n_in };
    const void *q = words(scratch, l->part[WOQ_PART_CODES], err);
    void *codes;
    int rc;

    if (!q)
        return WOQ_ENOMEM;
    rc = woq_frame_alloc(f, "codes", WOQ_U8, 2, shape, &codes, err);
    if (rc)
        return rc;
    woq_bitmat_unpack(codes, m.line_step, m.field_step, &m.m, q);
    if (l->layout->bytes && !from_bytes(codes, l->n_out * l->n_in, l->bits))
        return fail_range(l, WOQ_PART_CODES, err);
    return WOQ_OK;
}

/* In their dtype -> [out][groups] in f32. */
static int load_scales(struct woq_buf *scratch, struct woq_frame *f, const struct woq_linear *l,
                       struct woq_error *err)
{
    const struct woq_st_tensor *t = l->part[WOQ_PART_SCALES];
    const uint64_t shape[2] = { l->n_out, l->n_groups };
    const size_t n = l->n_out * l->n_stored;
    const void *q = words(scratch, t, err);
    float *from = woq_buf_need(&scratch[FIELDS], n * sizeof *from, err), *scale;
    void *to;
    int rc;

    if (!q || !from)
        return WOQ_ENOMEM;
    rc = woq_frame_alloc(f, "scale", WOQ_F32, 2, shape, &to, err);
    if (rc)
        return rc;
    scale = to;
    woq_to_f32(from, q, t->dtype, l->one_scale ? 1 : n);
    for (size_t i = 0; i < n && l->factor > 0; i++)
        from[i] *= l->factor;
    for (size_t o = 0; o < l->n_out; o++)
        for (size_t g = 0; g < l->n_groups; g++)
            scale[o * l->n_groups + g] = from[l->one_scale               ? 0
                                              : l->layout->scales_by_row ? o * l->n_stored + g
                                                                         : g * l->n_out + o];
    return WOQ_OK;
}

/* As fields [out][groups], each the zero point itself. */
static int zero_fields(uint8_t *fields, const struct woq_linear *l, const void *q,
                       struct woq_error *err)
{
    const struct woq_packed_matrix m =
        woq_packed_zeros(l->layout, l->order, l->bits, l->n_out, l->n_stored);
    const size_t n = l->n_out * l->n_stored;
    const int max = (1 << l->bits) - 1;

    if (l->one_scale)
        memset(fields, *(const uint8_t *)q, n);
    else
        woq_bitmat_unpack(fields, m.line_step, m.field_step, &m.m, q);
    if (l->layout->bytes && !from_bytes(fields, n, l->bits))
        return fail_range(l, WOQ_PART_ZEROS, err);
    for (size_t i = 0; i < n && l->layout->minus_one; i++)
        fields[i] = (uint8_t)((fields[i] + 1) & max);
    for (size_t o = 0; o < l->n_out && l->n_stored != l->n_groups; o++)
        memmove(fields + o * l->n_groups, fields + o * l->n_stored, l->n_groups);
    return WOQ_OK;
}

/* A symmetric checkpoint has one zero point throughout: the array is then left out. */
static int load_zeros(struct woq_buf *scratch, struct woq_frame *f, const struct woq_linear *l,
                      bool *sym, struct woq_error *err)
{
    const uint64_t shape[2] = { l->n_out, l->n_groups };
    const size_t n = l->n_out * l->n_groups;
    const int middle = 1 << (l->bits - 1);
    const void *q = words(scratch, l->part[WOQ_PART_ZEROS], err);
    uint8_t *fields = woq_buf_need(&scratch[FIELDS], l->n_out * l->n_stored, err);
    void *zero;
    int rc;

    if (!q || !fields)
        return WOQ_ENOMEM;
    rc = zero_fields(fields, l, q, err);
    for (size_t i = 0; i < n && rc == WOQ_OK; i++)
        *sym = *sym && fields[i] == middle;
    if (rc || *sym)
        return rc;
    rc = woq_frame_alloc(f, "zero", WOQ_F32, 2, shape, &zero, err);
    for (size_t i = 0; i < n && rc == WOQ_OK; i++)
        ((float *)zero)[i] = fields[i];
    return rc;
}

int woq_packed_load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                    struct woq_error *err)
{
    const struct woq_st_tensor *g_idx = l->part[WOQ_PART_G_IDX];
    const uint64_t n_in = l->n_in;
    struct woq_scheme scheme;
    bool sym = l->sym;
    void *to;
    int rc;

    if ((rc = load_codes(scratch, f, l, err)) < 0 || (rc = load_scales(scratch, f, l, err)) < 0)
        return rc;
    if (l->part[WOQ_PART_ZEROS] && (rc = load_zeros(scratch, f, l, &sym, err)) < 0)
        return rc;
    if (l->permuted) {
        if ((rc = woq_frame_alloc(f, "g_idx", WOQ_I32, 1, &n_in, &to, err)) < 0)
            return rc;
        memcpy(to, g_idx->data, 4 * l->n_in);
    }
    woq_scheme_init(&scheme);
    scheme.bits = l->bits;
    scheme.group_size = l->group_size;
    scheme.sym = sym || !l->part[WOQ_PART_ZEROS];
    woq_json_set(woq_frame_edit(f), "quant", woq_scheme_to_json(&scheme));
    return WOQ_OK;
}
