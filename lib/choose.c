/* choose.c -- which frames a quantizer takes, and by which scheme: one rule for all of them. */
#include <woq/arch.h>
#include <woq/quant.h>

static bool matches(const char *name, const struct woq_list *match)
{
    for (size_t i = 0; match && i < match->n; i++)
        if (woq_name_match(name, match->items[i]))
            return true;
    return !match || match->n == 0;
}

int woq_scheme_choose(struct woq_scheme *s, const struct woq_frame *f,
                      const struct woq_scheme *defaults, const struct woq_list *match,
                      struct woq_error *err)
{
    const struct woq_json *quant = woq_json_get(f->meta, "quant");
    const struct woq_array *data = woq_frame_array(f, "data");
    const bool linear = woq_role_is_linear(woq_role_from_name(woq_json_get_str(f->meta, "role")));
    int rc;

    if (!woq_frame_is_tensor(f) || !matches(woq_frame_name(f), match) || (!quant && !linear))
        return WOQ_OK;
    /* A bias has the role of its weight. */
    if (linear && data && data->n_dims == 1)
        return WOQ_OK;
    *s = *defaults;
    if (quant && ((rc = woq_scheme_from_json(s, quant, err)) || (rc = woq_scheme_check(s, err))))
        return rc == WOQ_EUSAGE ? (err->status = WOQ_EDATA) : rc;
    return woq_scheme_is_float(s) ? WOQ_OK : WOQ_ITEM;
}
