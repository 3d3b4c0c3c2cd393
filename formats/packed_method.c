/* packed_method.c -- what the configuration of a packed checkpoint says: one row for each
 * quant_method. Widths and group sizes of single linears come from the shapes of their tensors, so
 * that mixed ones need no rules; what the configuration says of all of them may not contradict. */
#include <formats/packed.h>

#include <string.h>
#include <woq/json.h>

static int read_sizes(struct woq_packed_config *c, const struct woq_json *q, const char *bits,
                      const char *group_size, struct woq_error *err)
{
    c->bits = (int)woq_json_get_int(q, bits, 0);
    c->group_size = woq_json_get_int(q, group_size, 0);
    if (c->group_size < -1 || (c->group_size == 0 && woq_json_get(q, group_size)))
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: %s %lld: want -1 or more than 0",
                        group_size, (long long)c->group_size);
    return WOQ_OK;
}

static void use(struct woq_packed_config *c, const struct woq_packed_layout *layout)
{
    c->layouts[c->n_layouts++] = layout;
}

/* formats.md 4.a */
static int read_gptq(struct woq_packed_config *c, const struct woq_json *q, struct woq_error *err)
{
    const char *format = woq_json_get_str(q, "checkpoint_format");

    if (!format)
        format = woq_json_get_str(q, "format");
    if (format && strcmp(format, "gptq") != 0 && strcmp(format, "gptq_v2") != 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, "write it again as gptq or gptq_v2",
                        "config.json: checkpoint_format '%s' is not read, want gptq or gptq_v2",
                        format);
    use(c, format && !strcmp(format, "gptq_v2") ? &woq_layout_gptq_v2 : &woq_layout_gptq_v1);
    c->sym = woq_json_get_bool(q, "sym", true);
    const int rc = read_sizes(c, q, "bits", "group_size", err);
    if (woq_json_get(q, "dynamic"))
        c->bits = 0;
    return rc;
}

/* formats.md 4.b; the files of llm-awq say w_bit and q_group_size. */
static int read_awq(struct woq_packed_config *c, const struct woq_json *q, struct woq_error *err)
{
    const char *version = woq_json_get_str(q, "version");
    const bool old = woq_json_get(q, "w_bit") != NULL;

    if (version && strcmp(version, "gemm") != 0 && strcmp(version, "GEMM") != 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, "write it again as version gemm",
                        "config.json: AWQ version '%s' is not read, want gemm", version);
    use(c, &woq_layout_awq);
    c->sym = !woq_json_get_bool(q, "zero_point", true);
    return read_sizes(c, q, old ? "w_bit" : "bits", old ? "q_group_size" : "group_size", err);
}

static const struct woq_packed_method methods[] = {
    { "gptq", "gptq", read_gptq },
    { "awq", "awq", read_awq },
};
#define N_METHODS (sizeof methods / sizeof *methods)

int woq_packed_config_read(struct woq_packed_config *c, const struct woq_json *quant,
                           struct woq_error *err)
{
    const char *method = woq_json_get_str(quant, "quant_method");
    struct woq_str known = { 0 };

    memset(c, 0, sizeof *c);
    if (!method)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json has a quantization_config without quant_method");
    for (size_t i = 0; i < N_METHODS; i++)
        if (!strcmp(method, methods[i].quant_method)) {
            c->method = &methods[i];
            return methods[i].read(c, quant, err);
        }
    for (size_t i = 0; i < N_METHODS; i++)
        (void)woq_str_addf(&known, "%s%s", i ? ", " : "", methods[i].quant_method);
    const int rc = woq_fail(err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
                            "config.json: quant_method '%s' is not read, want one of %s", method,
                            known.s ? known.s : "");
    woq_str_release(&known);
    return rc;
}
