/* model.c -- see model.h. */
#include <woq/model.h>

#include <string.h>

void woq_modl_begin(struct woq_frame *f)
{
    woq_frame_begin(f, "MODL");
}

const struct woq_array *woq_modl_file(const struct woq_frame *modl, const char *name)
{
    const struct woq_array *a = woq_frame_array(modl, name);

    return a && a->dtype == WOQ_U8 && a->n_dims == 1 ? a : NULL;
}

int woq_modl_config(const struct woq_frame *modl, struct woq_json **config, struct woq_error *err)
{
    const struct woq_array *a = woq_modl_file(modl, "config.json");

    if (!woq_frame_is(modl, "MODL") || !a)
        return woq_fail(err, WOQ_EDATA, "streams of models come from woq-extract",
                        "the stream has no config.json (MODL frame)");
    if (woq_json_parse(config, a->data, a->bytes, err) < 0)
        return woq_error_at(err, "config.json");
    if (woq_json_type(*config) != WOQ_JOBJECT) {
        woq_json_free(*config);
        *config = NULL;
        return woq_fail(err, WOQ_EDATA, NULL, "config.json is not a JSON object");
    }
    return WOQ_OK;
}

int woq_tensor_meta(struct woq_frame *f, const struct woq_arch *a, const char *name,
                    struct woq_error *err)
{
    struct woq_json *meta = woq_frame_edit(f);
    char group[WOQ_GROUP_NAME];
    struct woq_place p;

    if (!meta)
        return woq_fail_nomem(err, 0);
    woq_arch_place(a, name, &p);
    woq_json_set_str(meta, "name", name);
    woq_json_set_str(meta, "role", woq_role_name(p.role));
    if (p.block >= 0)
        woq_json_set_num(meta, "block", (double)p.block);
    if (woq_place_group(&p, group))
        woq_json_set_str(meta, "group", group);
    return WOQ_OK;
}
