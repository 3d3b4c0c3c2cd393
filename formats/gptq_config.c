/* gptq_config.c -- what loaders of a GPTQ checkpoint are told (formats.md 4.a, Config). The scheme
 * of most linears is the base; what differs is named: `dynamic` (GPTQModel, vLLM) holds every
 * difference, `modules_in_block_to_quantize` (transformers with optimum) only linears that stay
 * float in all blocks. */
#include <formats/gptq_write.h>

#include <stdlib.h>
#include <string.h>

static bool same_scheme(const struct woq_gptq_module *a, const struct woq_gptq_module *b)
{
    return a->bits == b->bits && a->group_size == b->group_size && a->sym == b->sym;
}

/* The scheme of most modules, the first of equals. */
static const struct woq_gptq_module *base_of(const struct woq_gptq_writer *w)
{
    const struct woq_gptq_module *best = NULL;
    size_t best_n = 0;

    for (size_t i = 0; i < w->n_modules; i++) {
        size_t n = 0;
        bool first = w->modules[i].bits != 0;
        for (size_t k = 0; k < i && first; k++)
            first = !w->modules[k].bits || !same_scheme(&w->modules[i], &w->modules[k]);
        for (size_t k = i; k < w->n_modules && first; k++)
            n += same_scheme(&w->modules[i], &w->modules[k]);
        if (n > best_n) {
            best_n = n;
            best = &w->modules[i];
        }
    }
    return best;
}

/* "-:^model\.layers\.0\.mlp\.down_proj$" */
static char *dynamic_key(const struct woq_gptq_module *m)
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

static struct woq_json *dynamic(const struct woq_gptq_writer *w, const struct woq_gptq_module *base)
{
    struct woq_json *all = woq_json_object();

    for (size_t i = 0; i < w->n_modules; i++) {
        const struct woq_gptq_module *m = &w->modules[i];
        struct woq_json *one;
        char *key;
        if (same_scheme(m, base) || (!m->bits && m->block < 0))
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
static const char *suffix_of(const struct woq_gptq_module *m)
{
    char *end;

    for (const char *p = m->name; m->block >= 0 && (p = strchr(p, '.')); p++)
        if (strtol(p + 1, &end, 10) == m->block && end != p + 1 && *end == '.')
            return end + 1;
    return NULL;
}

/* [["self_attn.q_proj", ...]] if every suffix is quantized in all blocks or in none, and some in
 * none. */
static struct woq_json *in_block(const struct woq_gptq_writer *w)
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

struct woq_json *woq_gptq_config(const struct woq_gptq_writer *w, struct woq_error *err)
{
    const struct woq_gptq_module *base = base_of(w);
    struct woq_json *c, *d, *modules;

    if (!base) {
        woq_fail(err, WOQ_ETYPE,
                 "put a quantizer before this (woq-rtn --bits 4), or use "
                 "--format safetensors",
                 "no tensor of the stream is quantized");
        return NULL;
    }
    c = woq_json_object();
    woq_json_set_num(c, "bits", base->bits);
    woq_json_set_num(c, "group_size", (double)base->group_size);
    woq_json_set_bool(c, "desc_act", w->desc_act);
    woq_json_set_bool(c, "sym", base->sym);
    woq_json_set_num(c, "damp_percent", 0.01);
    woq_json_set_bool(c, "true_sequential", true);
    woq_json_set_bool(c, "static_groups", false);
    woq_json_set_str(c, "quant_method", "gptq");
    woq_json_set_str(c, "checkpoint_format", w->v1 ? "gptq" : "gptq_v2");
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
    if (!c)
        woq_fail_nomem(err, 1 << 10);
    return c;
}
