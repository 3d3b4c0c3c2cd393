/* plan.c -- see plan.h. */
#include "plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_ignored(const struct woq_plan *p, const struct woq_plan_step *step, const char *name)
{
    if (step->place.role == WOQ_ROLE_HEAD)
        return p->config.tie && !step->place.bias;
    /* Files of deepseek v3 have layers behind the last, which predict further tokens. */
    if (step->place.block >= 0 && woq_has(&p->config, WOQ_T_CORRECTION) &&
        (size_t)step->place.block >= p->config.n_layers)
        return true;
    if (step->place.role != WOQ_ROLE_NONE)
        return false;
    return woq_name_is_ignorable(name);
}

static int by_rank(const void *a, const void *b)
{
    const struct woq_plan_step *x = a, *y = b;
    const int order = woq_place_compare(&x->place, &y->place);

    return order ? order : (x->item > y->item) - (x->item < y->item);
}

void woq_shape_text(char *buf, size_t cap, unsigned n_dims, const uint64_t *shape)
{
    size_t n = 0;

    buf[0] = '\0';
    for (unsigned i = 0; i < n_dims && n < cap; i++)
        n += (size_t)snprintf(buf + n, cap - n, "%s%" PRIu64, i ? "x" : "", shape[i]);
}

static int check_shape(const struct woq_plan *p, const struct woq_plan_step *step,
                       const struct woq_item *item, struct woq_error *err)
{
    char found[128], want[64];
    unsigned n_dims;
    uint64_t shape[2];

    if (!woq_config_shape(&p->config, &step->place, &n_dims, shape))
        return woq_fail(err, WOQ_EDATA, "compare config.json with the checkpoint",
                        "config.json leaves no place for tensor '%s'", item->name);
    if (n_dims == item->n_dims && memcmp(shape, item->shape, n_dims * sizeof *shape) == 0)
        return WOQ_OK;
    woq_shape_text(found, sizeof found, item->n_dims, item->shape);
    woq_shape_text(want, sizeof want, n_dims, shape);
    return woq_fail(err, WOQ_EDATA, "compare config.json with the checkpoint",
                    "tensor '%s' is %s, config.json wants %s", item->name,
                    found[0] ? found : "a scalar", want);
}

static int check_step(const struct woq_plan *p, const struct woq_plan_step *step,
                      const struct woq_item *item, struct woq_error *err)
{
    if (!item->quantized && item->dtype == WOQ_NO_DTYPE)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL, "tensor '%s' is %s, which woq can't read",
                        item->name, item->stored);
    if (step->place.role == WOQ_ROLE_NONE)
        return WOQ_OK;
    if (!item->quantized && !woq_dtype_is_float(item->dtype))
        return woq_fail(err, WOQ_ETYPE, NULL, "tensor '%s' is %s, want floats", item->name,
                        item->stored);
    if (step->place.block >= 0 && (size_t)step->place.block >= p->config.n_layers)
        return woq_fail(err, WOQ_EDATA, "compare config.json with the checkpoint",
                        "tensor '%s' is in block %ld, config.json has %zu blocks", item->name,
                        step->place.block, p->config.n_layers);
    return check_shape(p, step, item, err);
}

static int missing(const struct woq_plan *p, const struct woq_source *s,
                   const struct woq_place *place, struct woq_error *err)
{
    const char *hint =
        s->st.n_shards == 1 ? "is a shard missing? name the folder, not one file" : NULL;
    char name[256];

    if (woq_config_name(&p->config, place, name, sizeof name) < 0)
        name[0] = '\0';
    if (place->role == WOQ_ROLE_HEAD)
        hint = "is tie_word_embeddings right in config.json?";
    return woq_fail(err, WOQ_EDATA, hint, "tensor '%s' is missing", name);
}

/* The steps are sorted: walk what must be there along with them. */
static int check_complete(const struct woq_plan *p, const struct woq_source *s,
                          struct woq_error *err)
{
    struct woq_place want = { 0 };
    size_t at = 0;

    for (size_t i = 1; i < p->n_steps; i++)
        if (p->steps[i].place.role != WOQ_ROLE_NONE &&
            woq_place_compare(&p->steps[i].place, &p->steps[i - 1].place) == 0)
            return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' is there twice",
                            s->items[p->steps[i].item].name);
    for (; woq_config_next(&p->config, &want); at++)
        if (at >= p->n_steps || woq_place_compare(&p->steps[at].place, &want) != 0)
            return missing(p, s, &want, err);
    return WOQ_OK;
}

static int add_steps(struct woq_plan *p, const struct woq_source *s, bool check,
                     struct woq_error *err)
{
    for (size_t i = 0; i < s->n_items; i++) {
        struct woq_plan_step *step = &p->steps[p->n_steps];
        int rc;

        step->item = i;
        woq_arch_place(p->config.arch, s->items[i].name, &step->place);
        if (is_ignored(p, step, s->items[i].name)) {
            p->n_ignored++;
            continue;
        }
        if (check && (rc = check_step(p, step, &s->items[i], err)) < 0)
            return rc;
        if (step->place.role == WOQ_ROLE_NONE && p->n_unknown++ == 0)
            p->unknown = s->items[i].name;
        p->n_steps++;
    }
    return WOQ_OK;
}

int woq_plan_init(struct woq_plan *p, const struct woq_source *s, bool check, struct woq_error *err)
{
    int rc;

    memset(p, 0, sizeof *p);
    if (woq_config_init(&p->config, s->config, err) < 0)
        return woq_error_at(err, "%s: config.json", s->path);
    if (!(p->steps = calloc(s->n_items + 1, sizeof *p->steps)))
        return woq_fail_nomem(err, (s->n_items + 1) * sizeof *p->steps);
    if ((rc = add_steps(p, s, check, err)) == WOQ_OK) {
        qsort(p->steps, p->n_steps, sizeof *p->steps, by_rank);
        rc = check ? check_complete(p, s, err) : WOQ_OK;
    }
    if (rc < 0) {
        woq_plan_release(p);
        woq_error_at(err, "%s", s->path);
    }
    return rc;
}

int woq_plan_match(struct woq_plan *p, const struct woq_source *s, const char *glob,
                   struct woq_error *err)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n_steps; i++)
        if (woq_name_match(s->items[p->steps[i].item].name, glob))
            p->steps[n++] = p->steps[i];
    p->n_steps = n;
    if (n == 0)
        return woq_fail(err, WOQ_EDATA, "woq-extract --list shows the names",
                        "no tensor's name matches '%s'", glob);
    return WOQ_OK;
}

void woq_plan_release(struct woq_plan *p)
{
    free(p->steps);
    memset(p, 0, sizeof *p);
}
