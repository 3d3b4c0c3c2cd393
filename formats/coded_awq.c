/* coded_awq.c -- AWQ in the order of its fast kernels (gemv_fast, llm-awq; formats.md 4.b): four
 * outputs share a line, and what a zero point takes away is stored as a float beside each scale.
 *
 * Such a number is -scale * zero point, rounded: where all of a linear are that of a whole zero
 * point, these go to the stream, as the quantizer had them; else what the numbers are by. */
#include <formats/coded.h>
#include <formats/packed.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <woq/threads.h>

enum part { CODES, SCALES, ZEROS, SCALED_ZEROS };
enum { ROWS = 4, BLOCK = 64, HALF = 32 }; /* outputs of a line; inputs that lie together */

static const struct woq_st_tensor *zeros_of(const struct woq_linear *l)
{
    return l->part[ZEROS] ? l->part[ZEROS] : l->part[SCALED_ZEROS];
}

static int fail_shape(const struct woq_st_tensor *t, const char *want, struct woq_error *err)
{
    return woq_fail(err, WOQ_EDATA, NULL, "'%s' is %s [%llu,%llu], want %s", t->name, t->stored,
                    (unsigned long long)(t->n_dims ? t->shape[0] : 1),
                    (unsigned long long)(t->n_dims > 1 ? t->shape[1] : 1), want);
}

/* Groups are filled up as in gemv, or to whole words only. */
static bool fills_up(uint64_t stored, size_t n_in, size_t n_groups)
{
    return stored == woq_packed_stored(&woq_layout_awq_gemv, n_in, n_groups) ||
           stored == (uint64_t)woq_ceil_div(n_groups, 8) * 8;
}

/* [groups, filled up with zeros][outputs] floats. */
static int check_table(const struct woq_linear *l, const struct woq_st_tensor *t,
                       struct woq_error *err)
{
    const size_t width = woq_dtype_bytes(t->dtype), used = l->n_groups * l->n_out * width;

    if (!woq_word_in("F16 BF16 F32", t->stored) || t->n_dims != 2 || t->shape[1] != l->n_out ||
        !fills_up(t->shape[0], l->n_in, l->n_groups))
        return fail_shape(t, "floats [groups in whole words, outputs]", err);
    for (size_t i = used; i < t->bytes; i++)
        if (t->data[i] & (i % width == width - 1 ? 0x7f : 0xff)) /* -0 is zero too */
            return woq_fail(err, WOQ_EDATA, "is group_size right in config.json?",
                            "'%s' has more than %zu groups of %zu", t->name, l->n_groups, l->group);
    return WOQ_OK;
}

static int measure(struct woq_linear *l, const struct woq_linear_told *told, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->codes, *scales = l->part[SCALES], *zeros = zeros_of(l);
    int rc;

    if (t->dtype != WOQ_I16 && told->n_kinds > 1)
        return WOQ_OK;
    if (t->dtype != WOQ_I16 || t->n_dims != 2 || !t->shape[0] || !t->shape[1] ||
        t->shape[0] > UINT32_MAX / ROWS || t->shape[1] > UINT32_MAX || t->shape[1] % BLOCK)
        return fail_shape(t, "I16 [out / 4, in] and inputs in multiples of 64", err);
    if (told->bits && told->bits != 4)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has 4 bits, config.json says %d", t->name,
                        told->bits);
    if (!scales || !zeros)
        return woq_fail(err, WOQ_EDATA, "the checkpoint is not complete",
                        "'%s' has no tensor '%s' beside it", t->name, scales ? "qzeros" : "scales");
    l->n_out = (size_t)t->shape[0] * ROWS;
    l->n_in = (size_t)t->shape[1];
    l->group = told->group_size > 0 ? (size_t)told->group_size : l->n_in;
    if (l->n_in % l->group)
        return woq_fail(err, WOQ_EDATA, NULL, "'%s' has %zu inputs in groups of %zu", t->name,
                        l->n_in, l->group);
    l->n_groups = l->n_in / l->group;
    if ((rc = check_table(l, scales, err)) || (rc = check_table(l, zeros, err)))
        return rc;
    if (zeros->dtype != scales->dtype || zeros->shape[0] != scales->shape[0])
        return fail_shape(zeros, "the type and the shape of the scales", err);
    l->bits = 4;
    memcpy(l->dtype, "int", sizeof "int");
    return woq_coded_item(l, "AWQ");
}

struct unpacking {
    const uint8_t *from;
    uint8_t *to;
    size_t n_in;
};

/* 32 inputs of one output: word j holds inputs 8 i + 2 j + k at place 4 k + i. */
static void unpack_half(uint8_t *to, const uint8_t *from)
{
    for (unsigned j = 0; j < 4; j++)
        for (unsigned place = 0; place < 8; place++)
            to[place % 4 * 8 + j * 2 + place / 4] =
                (uint8_t)(from[j * 4 + place / 2] >> place % 2 * 4 & 15);
}

static void unpack_line(void *ctx, size_t item, int thread)
{
    const struct unpacking *u = ctx;
    const uint8_t *from = u->from + item * u->n_in * 2; /* bytes: 4 outputs of 4 bits */

    (void)thread;
    for (size_t c = 0; c < u->n_in; c += BLOCK)
        for (size_t r = 0; r < ROWS; r++)
            for (size_t h = 0; h < BLOCK; h += HALF, from += HALF / 2)
                unpack_half(u->to + (item * ROWS + r) * u->n_in + c + h, from);
}

/* Are the n numbers `taken` those of whole zero points? These are then in `zero`. `other` has room
 * for 2 n. */
static bool whole_zeros(float *zero, const float *scale, const float *taken, float *other, size_t n,
                        enum woq_dtype dtype)
{
    bool whole = true;

    for (size_t i = 0; i < n; i++) {
        zero[i] = scale[i] != 0 ? rintf(-taken[i] / scale[i]) : 0;
        whole = whole && zero[i] >= 0 && zero[i] <= 15;
        other[i] = -(scale[i] * zero[i]);
    }
    woq_from_f32(other + n, dtype, other, n);
    woq_to_f32(other, other + n, dtype, n);
    for (size_t i = 0; i < n; i++)
        whole = whole && other[i] == taken[i];
    return whole;
}

/* Zero points [groups][outputs]. */
static int zero_points(float *zero, const float *scale, const float *taken, float *other,
                       const struct woq_linear *l, struct woq_error *err)
{
    const size_t n = l->n_groups * l->n_out;

    if (whole_zeros(zero, scale, taken, other, n, zeros_of(l)->dtype))
        return WOQ_OK;
    for (size_t i = 0; i < n; i++) {
        zero[i] = taken[i] != 0 ? -taken[i] / scale[i] : 0;
        if (!isfinite(zero[i]))
            return woq_fail(err, WOQ_EDATA, NULL, "'%s' [%zu][%zu] is %g where the scale is %g",
                            zeros_of(l)->name, i / l->n_out, i % l->n_out, (double)taken[i],
                            (double)scale[i]);
    }
    return WOQ_OK;
}

/* [groups][outputs] to [outputs][groups]. */
static void turn(float *to, const float *from, const struct woq_linear *l)
{
    for (size_t o = 0; o < l->n_out; o++)
        for (size_t g = 0; g < l->n_groups; g++)
            to[o * l->n_groups + g] = from[g * l->n_out + o];
}

static int load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                struct woq_error *err)
{
    const size_t n = l->n_groups * l->n_out, filled = (size_t)l->part[SCALES]->shape[0] * l->n_out;
    const uint64_t shape[2] = { l->n_out, l->n_groups };
    float *scale = woq_buf_need(&scratch[0], (2 * filled + 3 * n) * sizeof *scale, err);
    float *taken = scale + filled, *zero = taken + filled;
    struct woq_qarrays a;
    struct woq_scheme s;
    void *to;
    int rc;

    if (!scale)
        return WOQ_ENOMEM;
    if ((rc = woq_coded_begin(f, l, l->n_groups, &a, err)) ||
        (rc = woq_coded_floats(scale, l->part[SCALES], err)) ||
        (rc = woq_coded_floats(taken, zeros_of(l), err)) ||
        (rc = zero_points(zero, scale, taken, zero + n, l, err)))
        return rc;
    woq_parallel(l->n_out / ROWS, unpack_line,
                 &(struct unpacking){ l->codes->data, a.codes, l->n_in });
    turn(a.scale, scale, l);
    woq_scheme_init(&s);
    s.group_size = l->group == l->n_in ? -1 : (int64_t)l->group;
    for (size_t i = 0; i < n; i++)
        s.sym = s.sym && zero[i] == 8;
    if (!s.sym) {
        if ((rc = woq_frame_alloc(f, "zero", WOQ_F32, 2, shape, &to, err)))
            return rc;
        turn(to, zero, l);
    }
    return woq_coded_meta(f, l, &s, err);
}

const struct woq_linear_kind woq_awq_fast_kind = {
    .suffix = { "qweight", "scales", "qzeros", "scaled_zeros" }, .measure = measure, .load = load
};
