/* linear_method.c -- what the configuration of a quantized checkpoint says: one row for each
 * quant_method. Widths and group sizes of single linears come from the shapes of their tensors, so
 * that mixed ones need no rules; what the configuration says of all of them may not contradict. */
#include <formats/coded.h>
#include <formats/packed.h>

#include <string.h>
#include <strings.h>
#include <woq/json.h>

static int read_sizes(struct woq_linear_told *c, const struct woq_json *q, const char *bits,
                      const char *group_size, struct woq_error *err)
{
    c->bits = (int)woq_json_get_int(q, bits, 0);
    c->group_size = woq_json_get_int(q, group_size, 0);
    if (c->group_size < -1 ||
        (c->group_size == 0 && woq_json_type(woq_json_get(q, group_size)) != WOQ_JNULL))
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: %s %lld: want -1 or more than 0",
                        group_size, (long long)c->group_size);
    return WOQ_OK;
}

static void use_kind(struct woq_linear_told *c, const struct woq_linear_kind *kind)
{
    c->kinds[c->n_kinds++] = kind;
}

static void use(struct woq_linear_told *c, const struct woq_packed_layout *layout)
{
    use_kind(c, &layout->kind);
}

/* formats.md 4.a */
static int read_gptq(struct woq_linear_told *c, const struct woq_json *q, struct woq_error *err)
{
    static const struct woq_packed_layout *const layouts[] = { &woq_layout_gptq_v1,
                                                               &woq_layout_gptq_v2,
                                                               &woq_layout_gptq_p };
    const char *format = woq_json_get_str(q, "checkpoint_format");

    if (!format)
        format = woq_json_get_str(q, "format");
    if (!format)
        format = "gptq";
    /* Neural Compressor says gptq too: its own tensor beside the codes tells. */
    use(c, &woq_layout_inc);
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (strcmp(layouts[i]->form, format) == 0)
            use(c, layouts[i]);
    if (c->n_kinds < 2)
        return woq_fail(err, WOQ_EUNSUPPORTED, "write it again as gptq or gptq_v2",
                        "config.json: checkpoint_format '%s' is not read, want gptq, gptq_v2 or "
                        "gptq_p",
                        format);
    c->sym = woq_json_get_bool(q, "sym", true);
    const int rc = read_sizes(c, q, "bits", "group_size", err);
    if (woq_json_get(q, "dynamic"))
        c->bits = 0;
    return rc;
}

/* formats.md 4.b; the files of llm-awq say w_bit and q_group_size, or are told by their backend. */
static int read_awq(struct woq_linear_told *c, const struct woq_json *q, struct woq_error *err)
{
    const char *version = woq_json_get_str(q, "version");
    const char *backend = woq_json_get_str(q, "backend");
    const bool old = woq_json_get(q, "w_bit") != NULL;

    if (backend && strcmp(backend, "llm-awq") == 0)
        version = backend;
    if (!version)
        version = "gemm";
    if (!strcasecmp(version, "gemv_fast") || !strcmp(version, "llm-awq"))
        use_kind(c, &woq_awq_fast_kind);
    if (!strcasecmp(version, "gemv") || !strcmp(version, "llm-awq")) /* the older, of whole words */
        use(c, &woq_layout_awq_gemv);
    if (!strcasecmp(version, "gemm"))
        use(c, &woq_layout_awq);
    if (!c->n_kinds)
        return woq_fail(err, WOQ_EUNSUPPORTED, "write it again as version gemm",
                        "config.json: AWQ version '%s' is not read, want gemm, gemv, gemv_fast or "
                        "llm-awq",
                        version);
    c->sym = !woq_json_get_bool(q, "zero_point", true);
    return read_sizes(c, q, old ? "w_bit" : "bits", old ? "q_group_size" : "group_size", err);
}

/* Floats as compressed-tensors has them: types and shapes of a linear's tensors tell which. */
static void use_floats(struct woq_linear_told *c)
{
    use(c, &woq_layout_ct_nvfp4);
    use(c, &woq_layout_ct_mxfp4);
    use(c, &woq_layout_ct_mxfp8);
    use_kind(c, &woq_fp8_kind);
}

/* AutoRound's nvfp4 with scales in e5m3: only the configuration tells it from mxfp4. */
static void use_e5m3(struct woq_linear_told *c)
{
    use(c, &woq_layout_ct_e5m3);
}

/* AutoRound's integers with scales of E8M0, in the same types too. */
static void use_mx_ints(struct woq_linear_told *c)
{
    use_kind(c, &woq_mx_int_kind);
}

/* [rows, columns]; false where that is no pair of sizes. */
static bool read_block(uint64_t block[2], const struct woq_json *size)
{
    uint64_t b[2];

    if (woq_json_len(size) != 2 || !woq_json_u64(woq_json_first(size), &b[0]) ||
        !woq_json_u64(woq_json_next(woq_json_first(size)), &b[1]) || !b[0] || !b[1])
        return false;
    block[0] = b[0];
    block[1] = b[1];
    return true;
}

/* formats.md 4.c; releases before 0.5 say `backend`. Suffixes name kernels: parts of it decide. */
static int read_round_ints(struct woq_linear_told *c, const struct woq_json *q, const char *packing,
                           struct woq_error *err)
{
    use(c, strstr(packing, "awq")         ? &woq_layout_round_awq
           : strstr(packing, "gptqmodel") ? &woq_layout_round_g_idx
           : strstr(packing, "gptq")      ? &woq_layout_round_v1
                                          : &woq_layout_round_v2);
    c->sym = woq_json_get_bool(q, "sym", true);
    const int rc = read_sizes(c, q, "bits", "group_size", err);
    if (woq_json_len(woq_json_get(q, "extra_config")))
        c->bits = 0;
    return rc;
}

/* What data_type begins with, and may not hold; what its linears may be, unless integers. */
static const struct round_type {
    const char *begins, *without;
    void (*use)(struct woq_linear_told *c);
} round_types[] = {
    { "int", NULL, NULL },
    { "mx_fp", NULL, use_floats },
    { "nv_fp", NULL, use_floats },
    { "nvfp4_v2", "global", use_e5m3 },
    { "mx_int", NULL, use_mx_ints },
    { "fp", "_to_int", use_floats }, /* fp8_to_int_sym: integers whose scales are for FP8 */
};

static int read_auto_round(struct woq_linear_told *c, const struct woq_json *q,
                           struct woq_error *err)
{
    const char *packing = woq_json_get_str(q, "packing_format");
    const char *type = woq_json_get_str(q, "data_type");

    if (!packing)
        packing = woq_json_get_str(q, "backend");
    if (!packing)
        packing = "auto_round:auto_gptq";
    if (!type)
        type = "int";
    for (size_t i = 0; i < sizeof round_types / sizeof *round_types; i++) {
        const struct round_type *t = &round_types[i];
        if (strncmp(type, t->begins, strlen(t->begins)) != 0 ||
            (t->without && strstr(type, t->without)))
            continue;
        if (!t->use && (strstr(packing, "fp8") || strstr(packing, "llm_compressor")))
            break;
        if (!t->use)
            return read_round_ints(c, q, packing, err);
        t->use(c);
        (void)read_block(c->block, woq_json_get(q, "group_size"));
        return WOQ_OK;
    }
    return woq_fail(
        err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
        "config.json: data_type '%s' with packing_format '%s' is not read, want int in a "
        "layout of integers, or mx_fp, nv_fp or fp",
        type, packing);
}

/* Blocks of floats: one size for all groups. */
static int read_ct_block(struct woq_linear_told *c, const struct woq_json *group,
                         struct woq_error *err)
{
    const struct woq_json *size = woq_json_get(woq_json_get(group, "weights"), "block_structure");
    uint64_t block[2] = { 0 };

    if (woq_json_type(size) == WOQ_JNULL)
        return WOQ_OK;
    if (!read_block(block, size) ||
        (c->block[0] && (c->block[0] != block[0] || c->block[1] != block[1])))
        return woq_fail(err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
                        "config.json: block_structure of '%s' is no pair of sizes, or not that of "
                        "the other groups",
                        woq_json_key(group));
    c->block[0] = block[0];
    c->block[1] = block[1];
    return WOQ_OK;
}

/* One group of linears (formats.md 4.d); what groups say differently is left to the shapes. */
static int read_ct_group(struct woq_linear_told *c, const struct woq_json *group, bool first,
                         struct woq_error *err)
{
    const struct woq_json *w = woq_json_get(group, "weights");
    const char *type = woq_json_get_str(w, "type"), *strategy = woq_json_get_str(w, "strategy");
    struct woq_linear_told one = { 0 };
    int rc;

    if (!w)
        return WOQ_OK;
    if (type && strcmp(type, "float") == 0)
        return read_ct_block(c, group, err);
    if (type && strcmp(type, "int") != 0)
        return woq_fail(
            err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
            "config.json: '%s' has weights of type '%s', which is not read, want int or float",
            woq_json_key(group), type);
    if (strategy && !strcmp(strategy, "block"))
        return woq_fail(err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
                        "config.json: '%s' has the strategy block, want group, channel or tensor",
                        woq_json_key(group));
    rc = read_sizes(&one, w, "num_bits", "group_size", err);
    if (!one.bits)
        one.bits = 8; /* its default */
    c->bits = first || c->bits == one.bits ? one.bits : 0;
    c->group_size = first || c->group_size == one.group_size ? one.group_size : 0;
    return rc;
}

static int read_compressed_tensors(struct woq_linear_told *c, const struct woq_json *q,
                                   struct woq_error *err)
{
    static const char read[] =
        "pack-quantized int-quantized naive-quantized float-quantized nvfp4-pack-quantized "
        "mxfp4-pack-quantized mxfp8-quantized nvfp4-e5m3-pack-quantized mixed-precision dense";
    const struct woq_json *groups = woq_json_get(q, "config_groups");
    const char *format = woq_json_get_str(q, "format");
    size_t n = 0;
    int rc = WOQ_OK;

    if (woq_json_type(groups) != WOQ_JOBJECT || !woq_json_len(groups))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: the quantization_config has no config_groups");
    if (format && !woq_word_in(read, format))
        return woq_fail(err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
                        "config.json: compressed-tensors' format '%s' is not read, want one of %s",
                        format, read);
    if (format && strcmp(format, woq_layout_ct_e5m3.form) == 0)
        use_e5m3(c);
    else
        use_floats(c);
    use(c, &woq_layout_ct_packed);
    use(c, &woq_layout_ct_bytes);
    woq_json_each(group, groups)
    {
        if (rc == WOQ_OK)
            rc = read_ct_group(c, group, n++ == 0, err);
    }
    return rc;
}

/* formats.md 4.e: qconfig.json tells of each linear */
static int read_inc(struct woq_linear_told *c, const struct woq_json *q, struct woq_error *err)
{
    (void)q;
    (void)err;
    use(c, &woq_layout_inc_scaled);
    use(c, &woq_layout_inc_float_scaled);
    use(c, &woq_layout_inc_own);
    use(c, &woq_layout_inc_float);
    return WOQ_OK;
}

/* formats.md 4.f, 4.g, 4.h: each linear tells of itself */
static int read_bnb(struct woq_linear_told *c, const struct woq_json *q, struct woq_error *err)
{
    (void)q;
    (void)err;
    use_kind(c, &woq_bnb_kind);
    return WOQ_OK;
}

static int read_hqq(struct woq_linear_told *c, const struct woq_json *q, struct woq_error *err)
{
    (void)q;
    (void)err;
    use_kind(c, &woq_hqq_kind);
    return WOQ_OK;
}

static int read_fp8(struct woq_linear_told *c, const struct woq_json *q, struct woq_error *err)
{
    (void)err;
    (void)read_block(c->block, woq_json_get(q, "weight_block_size"));
    use_kind(c, &woq_fp8_kind);
    return WOQ_OK;
}

static const struct method {
    const char *quant_method;
    const char *format; /* woq-pack's name for it */
    int (*read)(struct woq_linear_told *c, const struct woq_json *quant, struct woq_error *err);
} methods[] = {
    { "gptq", "gptq", read_gptq },
    { "awq", "awq", read_awq },
    { "auto-round", "autoround", read_auto_round },
    { "compressed-tensors", "compressed-tensors", read_compressed_tensors },
    { "bitsandbytes", "bnb", read_bnb },
    { "hqq", "hqq", read_hqq },
    { "fp8", "fp8", read_fp8 },
};
#define N_METHODS (sizeof methods / sizeof *methods)

/* Neural Compressor's qconfig.json: its keys are Python's tuples of a module and its class. */
static bool is_qconfig(const struct woq_json *quant)
{
    const char *key = woq_json_key(woq_json_first(quant));

    return key && strncmp(key, "('", 2) == 0;
}

/* Weights of such checkpoints are right for inputs that are transformed while the model runs. */
static int check_transforms(const struct woq_json *quant, struct woq_error *err)
{
    static const char *const keys[] = { "rotation_config", "spinquant_config", "transform_config" };

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (woq_json_len(woq_json_get(quant, keys[i])))
            return woq_fail(err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
                            "config.json: %s: transforms of inputs are not read", keys[i]);
    return WOQ_OK;
}

int woq_linear_told_read(struct woq_linear_told *c, const struct woq_json *quant,
                         struct woq_error *err)
{
    const char *method = woq_json_get_str(quant, "quant_method");
    struct woq_str known = { 0 };
    int rc;

    *c = (struct woq_linear_told){ .quant = quant };
    if (is_qconfig(quant)) {
        c->format = "inc";
        return read_inc(c, quant, err);
    }
    if (!method)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json has a quantization_config without quant_method");
    if ((rc = check_transforms(quant, err)) != WOQ_OK)
        return rc;
    for (size_t i = 0; i < N_METHODS; i++)
        if (!strcmp(method, methods[i].quant_method)) {
            c->format = methods[i].format;
            return methods[i].read(c, quant, err);
        }
    for (size_t i = 0; i < N_METHODS; i++)
        (void)woq_str_addf(&known, "%s%s", i ? ", " : "", methods[i].quant_method);
    rc = woq_fail(err, WOQ_EUNSUPPORTED, "start from the float checkpoint",
                  "config.json: quant_method '%s' is not read, want one of %s", method,
                  known.s ? known.s : "");
    woq_str_release(&known);
    return rc;
}
