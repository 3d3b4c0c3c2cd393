/* packed_config.c -- what loaders of packed checkpoints are told (formats.md 4, Config), and the
 * table of the formats. The scheme of most linears is the base; what differs is named, as far as a
 * format has words for it. */
#include <formats/ct_float.h>

#include <stdlib.h>
#include <string.h>

bool woq_packed_same_scheme(const struct woq_packed_module *a, const struct woq_packed_module *b)
{
    return a->bits == b->bits && a->group_size == b->group_size && a->sym == b->sym &&
           a->codebook == b->codebook && a->group_rows == b->group_rows;
}

const struct woq_packed_module *woq_packed_base(const struct woq_packed_writer *w,
                                                struct woq_error *err)
{
    const struct woq_packed_module *best = NULL;
    size_t best_n = 0;

    for (size_t i = 0; i < w->n_modules; i++) {
        size_t n = 0;
        bool first = w->modules[i].bits != 0;
        for (size_t k = 0; k < i && first; k++)
            first = !w->modules[k].bits || !woq_packed_same_scheme(&w->modules[i], &w->modules[k]);
        for (size_t k = i; k < w->n_modules && first; k++)
            n += woq_packed_same_scheme(&w->modules[i], &w->modules[k]);
        if (n > best_n) {
            best_n = n;
            best = &w->modules[i];
        }
    }
    if (!best)
        woq_fail(err, WOQ_ETYPE,
                 "put a quantizer before this (woq-rtn --bits 4), or use --format safetensors",
                 "no tensor of the stream is quantized");
    return best;
}

/* --- GPTQ (4.a): `dynamic` (GPTQModel, vLLM) holds every difference,
 * `modules_in_block_to_quantize` (transformers with optimum) only linears that stay float in all
 * blocks --- */

/* "-:^model\.layers\.0\.mlp\.down_proj$" */
static char *dynamic_key(const struct woq_packed_module *m)
{
    struct woq_str s = { 0 };
    int rc = woq_str_addf(&s, m->bits ? "+:^" : "-:^");

    for (const char *p = m->name; *p && rc == WOQ_OK; p++)
        rc = woq_str_addf(&s, strchr(".[]()+*?^$|\\{}", *p) ? "\\%c" : "%c", *p);
    if (rc == WOQ_OK && woq_str_addf(&s, "$") == WOQ_OK)
        return s.s;
    woq_str_release(&s);
    return NULL;
}

static struct woq_json *dynamic(const struct woq_packed_writer *w,
                                const struct woq_packed_module *base)
{
    struct woq_json *all = woq_json_object();

    for (size_t i = 0; i < w->n_modules; i++) {
        const struct woq_packed_module *m = &w->modules[i];
        struct woq_json *one;
        char *key;
        if (woq_packed_same_scheme(m, base) || (!m->bits && m->block < 0))
            continue;
        key = dynamic_key(m);
        one = woq_json_object();
        if (key && m->bits) {
            woq_json_set_num(one, "bits", m->bits);
            woq_json_set_num(one, "group_size", (double)m->group_size);
            woq_json_set_bool(one, "sym", m->sym);
        }
        if (key)
            woq_json_set(all, key, one);
        else
            woq_json_free(one);
        free(key);
    }
    return all;
}

/* "self_attn.q_proj" of "model.layers.0.self_attn.q_proj"; NULL outside blocks. */
static const char *suffix_of(const struct woq_packed_module *m)
{
    char *end;

    for (const char *p = m->name; m->block >= 0 && (p = strchr(p, '.')); p++)
        if (strtol(p + 1, &end, 10) == m->block && end != p + 1 && *end == '.')
            return end + 1;
    return NULL;
}

/* [["self_attn.q_proj", ...]] if every suffix is quantized in all blocks or in none, and some in
 * none. */
static struct woq_json *in_block(const struct woq_packed_writer *w)
{
    struct woq_json *outer = woq_json_array(), *inner = woq_json_array();
    bool differs = false, some_float = false;

    for (size_t i = 0; i < w->n_modules; i++) {
        const char *a = suffix_of(&w->modules[i]);
        bool first = a != NULL;
        for (size_t k = 0; k < i && a; k++) {
            const char *b = suffix_of(&w->modules[k]);
            if (!b || strcmp(a, b) != 0)
                continue;
            first = false;
            differs = differs || !w->modules[i].bits != !w->modules[k].bits;
        }
        some_float = some_float || (a && !w->modules[i].bits);
        if (first && w->modules[i].bits)
            woq_json_push(inner, woq_json_of_str(a));
    }
    if (differs || !some_float) {
        woq_json_free(inner);
        woq_json_free(outer);
        return NULL;
    }
    woq_json_push(outer, inner);
    return outer;
}

struct woq_json *woq_packed_finished(struct woq_json *c, struct woq_error *err)
{
    if (!c)
        woq_fail_nomem(err, 1 << 10);
    return c;
}

static struct woq_json *gptq_config(const struct woq_packed_writer *w, struct woq_error *err)
{
    const struct woq_packed_module *base = woq_packed_base(w, err);
    struct woq_json *c, *d, *modules;

    if (!base)
        return NULL;
    c = woq_json_object();
    woq_json_set_num(c, "bits", base->bits);
    woq_json_set_num(c, "group_size", (double)base->group_size);
    woq_json_set_bool(c, "desc_act", w->desc_act);
    woq_json_set_bool(c, "sym", base->sym);
    woq_json_set_num(c, "damp_percent", 0.01);
    woq_json_set_bool(c, "true_sequential", true);
    woq_json_set_bool(c, "static_groups", false);
    woq_json_set_str(c, "quant_method", "gptq");
    woq_json_set_str(c, "checkpoint_format", w->layout->form);
    woq_json_set_str(c, "pack_dtype", "int32");
    woq_json_set_bool(c, "lm_head", w->lm_head);
    d = dynamic(w, base);
    if (woq_json_len(d))
        woq_json_set(c, "dynamic", d);
    else
        woq_json_free(d);
    modules = in_block(w);
    if (modules)
        woq_json_set(c, "modules_in_block_to_quantize", modules);
    return woq_packed_finished(c, err);
}

static void choose_gptq(struct woq_packed_writer *w)
{
    if (!strcmp(w->form, "gptq_v2"))
        w->layout = &woq_layout_gptq_v2;
    if (!strcmp(w->form, "gptq_p"))
        w->layout = &woq_layout_gptq_p;
    if (!strcmp(w->form, "auto"))
        w->plain = &woq_layout_gptq_v2;
}

/* --- Neural Compressor's Hugging Face form (4.e): GPTQ's configuration, one scheme for all. A
 * damp_percent of 0, which it writes for methods without one, is refused by transformers. --- */

static struct woq_json *inc_config(const struct woq_packed_writer *w, struct woq_error *err)
{
    const struct woq_packed_module *base = woq_packed_base(w, err);
    struct woq_json *c;

    if (!base)
        return NULL;
    c = woq_json_object();
    woq_json_set_num(c, "bits", base->bits);
    woq_json_set_num(c, "group_size", (double)base->group_size);
    woq_json_set_num(c, "damp_percent", 0.01);
    woq_json_set_bool(c, "desc_act", w->desc_act);
    woq_json_set_bool(c, "sym", base->sym);
    woq_json_set_bool(c, "true_sequential", true);
    woq_json_set(c, "model_name_or_path", woq_json_of_null());
    woq_json_set_str(c, "model_file_base_name", "model");
    woq_json_set_str(c, "quant_method", "gptq");
    return woq_packed_finished(c, err);
}

/* --- its own form: qconfig.json tells of each linear what rtn was asked for, or awq, without which
 * its loader leaves scales of inputs as they come from malloc; a permuted one by the key that the
 * loader has for it --- */

static struct woq_json *qconfig_of(const struct woq_packed_module *m, const char *algorithm)
{
    struct woq_json *method = woq_json_object(), *c = woq_json_object();

    woq_json_set_str(c, "dtype", !m->bits ? "fp32" : m->codebook ? m->codebook : "int");
    woq_json_set_num(c, "bits", m->bits ? m->bits : 4);
    woq_json_set_bool(c, "use_sym", !m->bits || m->sym);
    woq_json_set_num(c, "group_size", m->bits ? (double)m->group_size : 32);
    woq_json_set_num(c, "group_dim", 1);
    woq_json_set_bool(c, "use_full_range", false);
    woq_json_set_bool(c, "use_mse_search", false);
    woq_json_set_bool(c, "use_layer_wise", false);
    woq_json_set_str(c, "model_path", "");
    woq_json_set_bool(c, "use_double_quant", false);
    woq_json_set_num(c, "double_quant_bits", 8);
    woq_json_set_str(c, "double_quant_dtype", "int");
    woq_json_set_bool(c, "double_quant_use_sym", false);
    woq_json_set_num(c, "double_quant_group_size", 256);
    woq_json_set_bool(c, "quant_lm_head", m->bits && !strcmp(m->name, "lm_head"));
    if (m->permuted)
        woq_json_set_bool(c, "desc_act", true);
    woq_json_set(method, algorithm, c);
    return method;
}

static struct woq_json *inc_own_config(const struct woq_packed_writer *w, struct woq_error *err)
{
    const char *algorithm = "rtn";
    struct woq_json *c;

    if (!woq_packed_base(w, err))
        return NULL;
    c = woq_json_object();
    for (size_t i = 0; i < w->n_modules; i++)
        if (w->modules[i].bits && w->modules[i].layout->kind.suffix[WOQ_PART_INPUTS])
            algorithm = "awq";
    for (size_t i = 0; i < w->n_modules && c; i++) {
        struct woq_str key = { 0 };

        if (woq_str_addf(&key, "('%s', 'Linear')", w->modules[i].name) < 0) {
            woq_json_free(c);
            woq_fail_nomem(err, 256);
            return NULL;
        }
        woq_json_set(c, key.s, qconfig_of(&w->modules[i], algorithm));
        woq_str_release(&key);
    }
    return woq_packed_finished(c, err);
}

static const struct woq_packed_format inc_own = { .name = "inc",
                                                  .side_file = "qconfig.json",
                                                  .torch = "quantized_weight.pt",
                                                  .layout = &woq_layout_inc_own,
                                                  .scaled = &woq_layout_inc_scaled,
                                                  .null_zeros = true,
                                                  .put_codebook = woq_inc_put,
                                                  .codebook = woq_inc_layout,
                                                  .config = inc_own_config };

static void choose_inc(struct woq_packed_writer *w)
{
    if (strcmp(w->form, "default") != 0)
        return;
    w->format = &inc_own;
    w->layout = inc_own.layout;
}

static void choose_awq(struct woq_packed_writer *w)
{
    if (!strcmp(w->form, "gemv"))
        w->layout = &woq_layout_awq_gemv;
}

/* --- AWQ (4.b): one scheme, and the linears that stay float by name --- */

static struct woq_json *awq_config(const struct woq_packed_writer *w, struct woq_error *err)
{
    const struct woq_packed_module *base = woq_packed_base(w, err);
    struct woq_json *c, *kept;
    bool sym = true;

    if (!base)
        return NULL;
    c = woq_json_object();
    kept = woq_json_array();
    for (size_t i = 0; i < w->n_modules; i++) {
        const struct woq_packed_module *m = &w->modules[i];
        if (!m->bits && m->block >= 0)
            woq_json_push(kept, woq_json_of_str(m->name));
        sym = sym && (!m->bits || m->sym);
    }
    woq_json_set_str(c, "quant_method", "awq");
    woq_json_set_num(c, "bits", base->bits);
    woq_json_set_num(c, "group_size", (double)base->group_size);
    woq_json_set_bool(c, "zero_point", !sym);
    woq_json_set_str(c, "version", w->layout->padded ? "gemv" : "gemm");
    if (!woq_json_len(kept)) {
        woq_json_free(kept);
        kept = woq_json_of_null();
    }
    woq_json_set(c, "modules_to_not_convert", kept);
    return woq_packed_finished(c, err);
}

/* --- AutoRound (4.c): extra_config holds every difference --- */

static void choose_round(struct woq_packed_writer *w)
{
    if (!strcmp(w->form, "auto_round"))
        w->layout = &woq_layout_round_v2;
    if (!strcmp(w->form, "auto_round:gptqmodel"))
        w->layout = &woq_layout_round_g_idx;
    if (!strcmp(w->form, "auto_round:auto_awq"))
        w->layout = &woq_layout_round_awq;
    if (!strcmp(w->form, "auto"))
        w->plain = &woq_layout_round_v2;
}

static const char *packing_format(const struct woq_packed_writer *w)
{
    if (strcmp(w->form, "auto") != 0)
        return w->form;
    return w->layout->minus_one ? "auto_round:auto_gptq" : "auto_round";
}

/* What of a scheme differs from the base; all of it where that does not reach (the head). */
static struct woq_json *differences(const struct woq_packed_module *m,
                                    const struct woq_packed_module *base)
{
    const bool all = m->block < 0;
    struct woq_json *d = woq_json_object();

    if (!m->bits) {
        woq_json_set_num(d, "bits", 16);
        woq_json_set_str(d, "data_type", "float");
        return d;
    }
    if (all || m->bits != base->bits)
        woq_json_set_num(d, "bits", m->bits);
    if (all || m->group_size != base->group_size)
        woq_json_set_num(d, "group_size", (double)m->group_size);
    if (all || m->sym != base->sym)
        woq_json_set_bool(d, "sym", m->sym);
    if (all)
        woq_json_set_str(d, "data_type", "int");
    return d;
}

/* "model.layers": where the blocks are. */
static char *blocks_of(const struct woq_packed_writer *w)
{
    for (size_t i = 0; i < w->n_modules; i++) {
        const char *rest = suffix_of(&w->modules[i]);
        if (!rest)
            continue;
        size_t n = (size_t)(rest - w->modules[i].name) - 1; /* without ".": "model.layers.0" */
        while (n && w->modules[i].name[n - 1] != '.')
            n--;
        return n ? strndup(w->modules[i].name, n - 1) : NULL;
    }
    return NULL;
}

static struct woq_json *round_config(const struct woq_packed_writer *w, struct woq_error *err)
{
    const struct woq_packed_module *base = woq_packed_base(w, err);
    struct woq_json *c, *extra;
    char *blocks;

    if (!base)
        return NULL;
    c = woq_json_object();
    extra = woq_json_object();
    blocks = blocks_of(w);
    woq_json_set_num(c, "bits", base->bits);
    woq_json_set_num(c, "group_size", (double)base->group_size);
    woq_json_set_bool(c, "sym", base->sym);
    woq_json_set_str(c, "data_type", "int");
    woq_json_set_str(c, "quant_method", "auto-round");
    woq_json_set_str(c, "packing_format", packing_format(w));
    if (blocks)
        woq_json_set_str(c, "block_name_to_quantize", blocks);
    free(blocks);
    for (size_t i = 0; i < w->n_modules; i++) {
        const struct woq_packed_module *m = &w->modules[i];
        if (m->bits ? m->block < 0 || !woq_packed_same_scheme(m, base) : m->block >= 0)
            woq_json_set(extra, m->name, differences(m, base));
    }
    if (woq_json_len(extra))
        woq_json_set(c, "extra_config", extra);
    else
        woq_json_free(extra);
    return woq_packed_finished(c, err);
}

/* --- the table --- */

static const struct woq_packed_format formats[] = {
    { .name = "gptq",
      .forms = "auto gptq gptq_v2 gptq_p",
      .side_file = "quantize_config.json",
      .layout = &woq_layout_gptq_v1,
      .minus_one_name = "checkpoint format gptq",
      .plain_hint = "use --checkpoint-format gptq_v2 or auto",
      /* GPTQModel up to 5.7 turns 3 bits of gptq into gptq_v2 with constants that add 4 to fields
       * (utils/model.py). */
      .plain_widths = 1u << 3,
      .wide = &woq_layout_gptq_p, /* GPTQModel from 7.3 on; one checkpoint_format tells of all */
      .choose = choose_gptq,
      .config = gptq_config },
    { .name = "awq",
      .forms = "auto gemm gemv",
      .layout = &woq_layout_awq,
      .one_group_size = true,
      .no_head = true,
      .choose = choose_awq,
      .config = awq_config },
    { .name = "inc",
      .forms = "auto huggingface default",
      .side_file = "quantize_config.json",
      .layout = &woq_layout_inc,
      .no_head = true,
      .one_scheme = true,
      .null_zeros = true,
      .choose = choose_inc,
      .config = inc_config },
    { .name = "autoround",
      .forms = "auto auto_round auto_round:auto_gptq auto_round:gptqmodel auto_round:auto_awq",
      .side_file = "quantization_config.json",
      .layout = &woq_layout_round_v1,
      .minus_one_name = "auto_round:auto_gptq",
      .plain_hint = "use --checkpoint-format auto_round or auto",
      .choose = choose_round,
      .config = round_config },
    { .name = "compressed-tensors",
      .forms = "auto pack-quantized int-quantized float-quantized nvfp4-pack-quantized "
               "mxfp4-pack-quantized mxfp8-quantized",
      .layout = &woq_layout_ct_packed,
      .model_scales = true,
      .choose = woq_ct_choose,
      .put_codebook = woq_ct_float_put,
      .codebook = woq_ct_float_layout,
      .config = woq_ct_config },
};

const struct woq_packed_format *woq_packed_format(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(formats[i].name, name))
            return &formats[i];
    return NULL;
}
