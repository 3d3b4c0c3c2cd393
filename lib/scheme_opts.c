/* scheme_opts.c -- options become the JSON of a scheme, so that both mean the same. */
#include <woq/scheme_opts.h>

#include <string.h>

static void put(struct woq_json *quant, const struct woq_scheme_opts *o)
{
    if (o->bits_given)
        woq_json_set_num(quant, "bits", (double)o->bits);
    if (o->group_given)
        woq_json_set_num(quant, "group_size", (double)o->group_size);
    woq_json_set_num(quant, "group_dim", (double)o->group_dim);
    woq_json_set_num(quant, "group_rows", (double)o->group_rows);
    if (o->asym || o->sym)
        woq_json_set_bool(quant, "sym", !o->asym);
    if (o->full_range)
        woq_json_set_bool(quant, "full_range", true);
    if (o->float_zero)
        woq_json_set_bool(quant, "float_zero", true);
    woq_json_set_str(quant, "scale_dtype", o->scale_dtype);
    woq_json_set_str(quant, "dtype", o->dtype);
    woq_json_set_bool(quant, "double_quant", o->dq.on);
    woq_json_set_num(quant, "double_quant_bits", (double)o->dq.bits);
    woq_json_set_num(quant, "double_quant_group_size", (double)o->dq.group_size);
    woq_json_set_bool(quant, "double_quant_sym", o->dq.sym);
    woq_json_set_bool(quant, "double_quant_keep_codes", o->dq.keep_codes);
    woq_json_set_str(quant, "double_quant_dtype", o->dq.dtype);
}

int woq_scheme_opts_apply(struct woq_scheme *s, const struct woq_scheme_opts *o,
                          struct woq_error *err)
{
    const struct woq_format *f = woq_format_find(o->dtype, (int)o->bits);
    struct woq_json *quant;
    int rc;

    if (o->sym && o->asym)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--sym and --asym exclude each other");
    if (o->group_size == 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--group-size 0: want -1 or 1 and more");
    if (o->group_rows == 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--group-rows 0: want -1 or 1 and more");
    if (o->dq.given && !o->dq.on)
        return woq_fail(err, WOQ_EUSAGE, NULL, "a --double-quant-... wants --double-quant");
    if (o->dq.group_size == 0)
        return woq_fail(err, WOQ_EUSAGE, NULL,
                        "--double-quant-group-size 0: want -1 or 1 and more");
    if (o->bits_given && f && f->bits && f->bits != o->bits)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--bits %ld: %s has %d", o->bits, f->name, f->bits);
    if (!(quant = woq_json_object()))
        return woq_fail_nomem(err, 1 << 10);
    put(quant, o);
    rc = woq_scheme_from_json(s, quant, err);
    woq_json_free(quant);
    return rc ? rc : woq_scheme_check(s, err);
}
