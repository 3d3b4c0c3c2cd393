/* ct_config.c -- what loaders of compressed-tensors are told (formats.md 4.d): a group for each
 * scheme; the first is for every Linear that no other names. */
#include <formats/packed_write.h>

#include <string.h>

void woq_ct_choose(struct woq_packed_writer *w)
{
    static const struct woq_packed_layout *const layouts[] = {
        &woq_layout_ct_packed, &woq_layout_ct_bytes, &woq_layout_ct_nvfp4,
        &woq_layout_ct_mxfp4,  &woq_layout_ct_mxfp8, &woq_layout_ct_fp8
    };

    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (!strcmp(w->form, layouts[i]->form))
            w->layout = layouts[i];
}

static const char *strategy_of(const struct woq_packed_module *m)
{
    if (m->layout == &woq_layout_ct_nvfp4)
        return "tensor_group";
    if (m->group_size > 0)
        return m->layout == &woq_layout_ct_fp8 ? "block" : "group";
    return m->group_rows == 1 ? "channel" : "tensor";
}

/* FP8 is multiplied with inputs of its own type: a scale for each token, found while it runs. */
static struct woq_json *fp8_inputs(void)
{
    struct woq_json *inputs = woq_json_object();

    woq_json_set_num(inputs, "num_bits", 8);
    woq_json_set_str(inputs, "type", "float");
    woq_json_set_bool(inputs, "symmetric", true);
    woq_json_set_str(inputs, "strategy", "token");
    woq_json_set_bool(inputs, "dynamic", true);
    return inputs;
}

static struct woq_json *ct_group(const struct woq_packed_module *m)
{
    struct woq_json *group = woq_json_object(), *weights = woq_json_object(), *block;
    const char *strategy = strategy_of(m);
    const bool in_groups = strstr(strategy, "group"), fp8 = m->layout == &woq_layout_ct_fp8;

    woq_json_set(group, "targets", woq_json_array());
    woq_json_set_num(weights, "num_bits", m->bits);
    woq_json_set_str(weights, "type", m->layout->codebook ? "float" : "int");
    woq_json_set_bool(weights, "symmetric", m->sym);
    woq_json_set_str(weights, "strategy", strategy);
    woq_json_set(weights, "group_size",
                 in_groups ? woq_json_of_num((double)m->group_size) : woq_json_of_null());
    if (!strcmp(strategy, "block")) {
        block = woq_json_array();
        woq_json_push(block, woq_json_of_num((double)m->group_rows));
        woq_json_push(block, woq_json_of_num((double)m->group_size));
        woq_json_set(weights, "block_structure", block);
    }
    woq_json_set_bool(weights, "dynamic", false);
    woq_json_set(group, "weights", weights);
    woq_json_set(group, "input_activations", fp8 ? fp8_inputs() : woq_json_of_null());
    woq_json_set(group, "output_activations", woq_json_of_null());
    woq_json_set_str(group, "format", m->layout->form);
    return group;
}

/* The group of the scheme of `m`: that of the first module that is like it. */
static struct woq_json *ct_group_of(const struct woq_packed_writer *w, struct woq_json *groups,
                                    const struct woq_packed_module *m)
{
    struct woq_str name = { 0 };
    struct woq_json *group = NULL;
    size_t first = 0;

    while (!woq_packed_same_scheme(&w->modules[first], m))
        first++;
    if (woq_str_addf(&name, "group_%zu", first + 1) == WOQ_OK)
        group = woq_json_get(groups, name.s);
    if (!group && name.s) {
        woq_json_set(groups, name.s, ct_group(m));
        group = woq_json_get(groups, name.s);
    }
    woq_str_release(&name);
    return group;
}

struct woq_json *woq_ct_config(const struct woq_packed_writer *w, struct woq_error *err)
{
    const struct woq_packed_module *base = woq_packed_base(w, err);
    struct woq_json *c, *groups, *ignore, *first;
    bool mixed = false;

    if (!base)
        return NULL;
    c = woq_json_object();
    groups = woq_json_object();
    ignore = woq_json_array();
    first = ct_group(base);
    woq_json_push(woq_json_get(first, "targets"), woq_json_of_str("Linear"));
    woq_json_set(groups, "group_0", first);
    for (size_t i = 0; i < w->n_modules; i++) {
        const struct woq_packed_module *m = &w->modules[i];
        mixed = mixed || (m->bits && m->layout != base->layout);
        if (!m->bits)
            woq_json_push(ignore, woq_json_of_str(m->name));
        else if (!woq_packed_same_scheme(m, base))
            woq_json_push(woq_json_get(ct_group_of(w, groups, m), "targets"),
                          woq_json_of_str(m->name));
    }
    if (!w->lm_head)
        woq_json_push(ignore, woq_json_of_str("lm_head"));
    woq_json_set_str(c, "quant_method", "compressed-tensors");
    woq_json_set_str(c, "format", mixed ? "mixed-precision" : base->layout->form);
    woq_json_set_str(c, "quantization_status", "compressed");
    woq_json_set(c, "global_compression_ratio", woq_json_of_null());
    woq_json_set(c, "config_groups", groups);
    woq_json_set(c, "ignore", ignore);
    woq_json_set(c, "kv_cache_scheme", woq_json_of_null());
    return woq_packed_finished(c, err);
}
