/* coded_mx_int.c -- AutoRound's mx_int of 4 bits: a sign and a magnitude of 0 to 7, in quarters,
 * times a power of two for each 32 inputs. That is whole numbers from -7 to 7 whose scale is a
 * quarter of the power: they go to the stream as symmetric integers; the second zero is a zero. */
#include <formats/coded.h>

#include <math.h>
#include <string.h>
#include <woq/format.h>

enum part { CODES, SCALES };
enum { GROUP = 32 };

static int measure(struct woq_linear *l, const struct woq_linear_told *told, struct woq_error *err)
{
    const struct woq_st_tensor *t = l->codes, *scales = l->part[SCALES];
    int rc;

    (void)told;
    if (strcmp(t->stored, "U8") != 0 || t->n_dims != 2 || !t->shape[0] || !t->shape[1] ||
        t->shape[0] > UINT32_MAX || t->shape[1] > UINT32_MAX / 2 || t->shape[1] % (GROUP / 2))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "'%s' is %s [%llu,%llu], want U8 [out, in / 2] and inputs in multiples of "
                        "%d",
                        t->name, t->stored, (unsigned long long)(t->n_dims ? t->shape[0] : 1),
                        (unsigned long long)(t->n_dims > 1 ? t->shape[1] : 1), GROUP);
    l->n_out = (size_t)t->shape[0];
    l->n_in = (size_t)t->shape[1] * 2;
    l->group = GROUP;
    rc = woq_coded_want(l, SCALES, "U8", (uint64_t)l->n_out * (l->n_in / GROUP), err);
    if (rc)
        return rc;
    for (size_t i = 0; i < scales->bytes; i++)
        if (scales->data[i] == 0xff)
            return woq_fail(err, WOQ_EDATA, NULL, "scale %zu of '%s' is NaN", i, scales->name);
    l->bits = 4;
    memcpy(l->dtype, "int", sizeof "int");
    return woq_coded_item(l, "mx_int");
}

static uint8_t code_of(unsigned field)
{
    const unsigned magnitude = field & 7;

    return (uint8_t)(field & 8 ? 8 - magnitude : 8 + magnitude);
}

static int load(const struct woq_linear *l, struct woq_buf scratch[2], struct woq_frame *f,
                struct woq_error *err)
{
    const float *power = woq_e8m0_lut();
    struct woq_qarrays a;
    struct woq_scheme s;
    const int rc = woq_coded_begin(f, l, l->n_in / GROUP, &a, err);

    (void)scratch;
    if (rc)
        return rc;
    for (size_t i = 0; i < l->codes->bytes; i++) {
        a.codes[2 * i] = code_of(l->codes->data[i] & 15U);
        a.codes[2 * i + 1] = code_of(l->codes->data[i] >> 4);
    }
    for (size_t i = 0; i < a.n_scales; i++)
        a.scale[i] = power[l->part[SCALES]->data[i]] / 4;
    woq_scheme_init(&s);
    s.group_size = GROUP;
    return woq_coded_meta(f, l, &s, err);
}

const struct woq_linear_kind woq_mx_int_kind = { .suffix = { "weight_packed", "weight_scale" },
                                                 .measure = measure,
                                                 .load = load };
