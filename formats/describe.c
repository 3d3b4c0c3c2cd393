/* describe.c -- see describe.h. */
#include "describe.h"

#include <formats/estimate.h>
#include <stdlib.h>
#include <string.h>
#include <woq/fold.h>
#include <woq/threads.h>

/* The programs whose memory depends on the model, in the order of the pipelines. */
static const char *const programs[] = { "woq-extract", "woq-rtn",  "woq-calib", "woq-hessian",
                                        "woq-gptq",    "woq-pack", "woq-eval" };
enum { GROUP = 128 };

static uint64_t n_elem(const struct woq_item *item)
{
    uint64_t n = 1;

    for (unsigned d = 0; d < item->n_dims; d++)
        n *= item->shape[d];
    return n;
}

static void add_num(struct woq_json *o, const char *key, double x)
{
    woq_json_set_num(o, key, woq_json_get_num(o, key, 0) + x);
}

static void add_architecture(struct woq_json *o, const struct woq_config *c)
{
    struct woq_json *a = woq_json_object();

    woq_json_set_str(a, "name", c->arch->model_type);
    woq_json_set_num(a, "blocks", (double)c->n_layers);
    woq_json_set_num(a, "hidden", (double)c->hidden);
    woq_json_set_num(a, "inter", (double)c->inter);
    woq_json_set_num(a, "heads", (double)c->n_heads);
    woq_json_set_num(a, "kv_heads", (double)c->n_kv_heads);
    woq_json_set_num(a, "vocab", (double)c->vocab);
    woq_json_set_num(a, "context", (double)c->max_positions);
    woq_json_set_bool(a, "tied_head", c->tie);
    woq_json_set(o, "architecture", a);
}

/* The folds of the last block, those of its experts once; rotations: null, or why not. */
static void add_invariances(struct woq_json *o, const struct woq_config *c)
{
    static const char *const names[] = {
        [WOQ_ROTATE_STREAM] = "stream", [WOQ_ROTATE_VALUES] = "values"
    };
    struct woq_json *folds = woq_json_array(), *rotations = woq_json_object();
    struct woq_fold f = { 0 };

    while (woq_fold_next(c, c->n_layers - 1, &f)) {
        struct woq_json *fold = woq_json_object(), *into = woq_json_array();

        for (unsigned r = 1; r < WOQ_N_ROLES; r++)
            if (f.consumers >> r & 1)
                woq_json_push(into, woq_json_of_str(woq_role_name((enum woq_role)r)));
        woq_json_set_str(fold, "from", woq_role_name(f.producer));
        woq_json_set(fold, "into", into);
        woq_json_push(folds, fold);
        if (f.expert)
            break;
    }
    for (unsigned r = 0; r < sizeof names / sizeof *names; r++) {
        const char *why = woq_rotation_refused(c, (enum woq_rotation)r);

        if (why)
            woq_json_set_str(rotations, names[r], why);
        else
            woq_json_set(rotations, names[r], woq_json_of_null());
    }
    woq_json_set(o, "folds", folds);
    woq_json_set(o, "rotations", rotations);
}

/* Adds up one tensor: in all, under its stored type, and where a quantizer would take it. */
static void add_tensor(struct woq_json *o, struct woq_json *types, struct woq_json *linear,
                       const struct woq_item *item, const struct woq_plan_step *step)
{
    const double n = (double)n_elem(item), bytes = (double)item->file_bytes;
    struct woq_json *type = woq_json_get(types, item->stored);

    if (!type)
        woq_json_set(types, item->stored, type = woq_json_object());
    add_num(o, "tensors", 1);
    add_num(o, "weights", n);
    add_num(o, "bytes", bytes);
    add_num(type, "tensors", 1);
    add_num(type, "weights", n);
    add_num(type, "bytes", bytes);
    if (item->quantized)
        add_num(linear, "already", 1);
    else if (woq_role_is_linear(step->place.role) && !step->place.bias && item->n_dims == 2) {
        add_num(linear, "tensors", 1);
        add_num(linear, "weights", n);
    }
}

static void add_tensors(struct woq_json *o, const struct woq_source *s, const struct woq_plan *p)
{
    static const char *const counts[] = { "tensors", "weights", "already" };
    struct woq_json *types = woq_json_object(), *linear = woq_json_object();

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        woq_json_set_num(linear, counts[i], 0);
    for (size_t i = 0; i < p->n_steps; i++)
        add_tensor(o, types, linear, &s->items[p->steps[i].item], &p->steps[i]);
    const double n = woq_json_get_num(o, "weights", 0);
    woq_json_set_num(o, "bits_per_weight", n > 0 ? 8 * woq_json_get_num(o, "bytes", 0) / n : 0);
    woq_json_set(o, "types", types);
    woq_json_set(o, "quantizable", linear);
}

static int add_size(struct woq_json *sizes, const struct woq_source *s, int bits,
                    struct woq_estimate *e, struct woq_error *err)
{
    struct woq_json *quant = woq_json_object(), *size = woq_json_object();
    const struct woq_list no_rules = { 0 };
    const struct woq_sink_opts gptq = { .format = "gptq" };

    woq_json_set_num(quant, "bits", bits);
    woq_json_set_num(quant, "group_size", GROUP);
    const int rc = woq_estimate_init(e, s, quant, &no_rules, &gptq, err);
    woq_json_free(quant);
    woq_json_set_num(size, "bits", bits);
    woq_json_set_num(size, "group_size", GROUP);
    woq_json_set_num(size, "bytes", (double)e->bytes);
    woq_json_set_num(size, "bits_per_weight",
                     e->n_weights ? 8.0 * (double)e->bytes / (double)e->n_weights : 0);
    woq_json_push(sizes, size);
    return rc;
}

static void add_memory(struct woq_json *o, const struct woq_estimate *e)
{
    const struct woq_estimate_run none = { .n_threads = (uint64_t)woq_threads() };
    struct woq_estimate_run one = none;
    struct woq_json *list = woq_json_array();

    one.n_tokens = 1;
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        struct woq_json *m = woq_json_object();
        const uint64_t bytes = woq_estimate_memory(e, &none, programs[i]);

        woq_json_set_str(m, "program", programs[i]);
        woq_json_set_num(m, "bytes", (double)bytes);
        woq_json_set_num(m, "bytes_per_token",
                         (double)(woq_estimate_memory(e, &one, programs[i]) - bytes));
        woq_json_push(list, m);
    }
    woq_json_set(o, "memory", list);
}

struct woq_json *woq_describe(const struct woq_source *s, const struct woq_plan *p,
                              struct woq_error *err)
{
    static const int widths[] = { 8, 4, 3, 2 };
    struct woq_json *o = woq_json_object(), *sizes = woq_json_array();
    struct woq_estimate e = { 0 };
    int rc = WOQ_OK;

    woq_json_set_str(o, "format", s->format);
    woq_json_set_num(o, "files", s->st.n_shards ? (double)s->st.n_shards : 1);
    add_architecture(o, &p->config);
    add_tensors(o, s, p);
    for (size_t i = 0; i < sizeof widths / sizeof *widths && rc == WOQ_OK; i++)
        rc = add_size(sizes, s, widths[i], &e, err);
    /* Of a checkpoint that is quantized already nothing would become smaller. */
    if (woq_json_get_num(woq_json_get(o, "quantizable"), "tensors", 0) > 0)
        woq_json_set(o, "as_gptq", sizes);
    else
        woq_json_free(sizes);
    add_memory(o, &e);
    add_invariances(o, &p->config);
    if (rc == WOQ_OK)
        return o;
    woq_json_free(o);
    return NULL;
}
