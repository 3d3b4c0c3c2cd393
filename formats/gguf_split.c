/* gguf_split.c -- see gguf_split.h. */
#include "gguf_split.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a file says of its place; a file of its own says nothing, or 1. */
struct place {
    uint64_t no, count, n_tensors;
    bool has_n_tensors;
};

static int get_place(const struct woq_gguf *g, struct place *p, struct woq_error *err)
{
    const struct woq_gguf_kv *no = woq_gguf_get(g, "split.no");
    const struct woq_gguf_kv *count = woq_gguf_get(g, "split.count");

    *p = (struct place){ .no = 0, .count = 1 };
    p->has_n_tensors = woq_gguf_u64(woq_gguf_get(g, "split.tensors.count"), 0, &p->n_tensors);
    if ((no && !woq_gguf_u64(no, 0, &p->no)) || (count && !woq_gguf_u64(count, 0, &p->count)) ||
        p->count > 99999 || (p->count ? p->no >= p->count : p->no > 0))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "split.no %" PRIu64 " and split.count %" PRIu64 " are no place in a set",
                        p->no, p->count);
    return WOQ_OK;
}

/* PREFIX of "PREFIX-00001-of-0000N.gguf": its length, 0 if `path` is named otherwise. */
static size_t prefix_of(const char *path, const struct place *p)
{
    const size_t n = strlen(path);
    char end[64];

    snprintf(end, sizeof end, "-%05" PRIu64 "-of-%05" PRIu64 ".gguf", p->no + 1, p->count);
    const size_t m = strlen(end);
    return n > m && strcmp(path + n - m, end) == 0 ? n - m : 0;
}

static int check_first(const char *path, const struct place *p, struct woq_error *err)
{
    char hint[256];

    if (!path)
        return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                        "part %" PRIu64 " of %" PRIu64 " of a GGUF model, from memory", p->no + 1,
                        p->count);
    const size_t prefix = prefix_of(path, p);
    if (!prefix)
        return woq_fail(err, WOQ_EDATA, "give the parts the names back that they had",
                        "part %" PRIu64 " of %" PRIu64
                        " of a GGUF model, but its name does not end in -%05" PRIu64
                        "-of-%05" PRIu64 ".gguf",
                        p->no + 1, p->count, p->no + 1, p->count);
    if (p->no == 0)
        return WOQ_OK;
    snprintf(hint, sizeof hint, "name the first part: %.*s-00001-of-%05" PRIu64 ".gguf",
             (int)(prefix < 200 ? prefix : 200), path, p->count);
    return woq_fail(err, WOQ_EDATA, hint, "part %" PRIu64 " of %" PRIu64 " of a GGUF model",
                    p->no + 1, p->count);
}

/* The tensors and the mapping of a part become those of g; its keys are of no use. */
static int adopt(struct woq_gguf *g, struct woq_gguf *part, struct woq_error *err)
{
    const size_t n = g->n_tensors + part->n_tensors;
    struct woq_gguf_tensor *tensors = realloc(g->tensors, (n + 1) * sizeof *tensors);
    struct woq_map *more = realloc(g->more, (g->n_more + 1) * sizeof *more);

    if (tensors)
        g->tensors = tensors;
    if (more)
        g->more = more;
    if (!tensors || !more)
        return woq_fail_nomem(err, (n + 1) * sizeof *tensors);
    memcpy(tensors + g->n_tensors, part->tensors, part->n_tensors * sizeof *tensors);
    more[g->n_more++] = part->map;
    g->n_tensors = n;
    part->n_tensors = 0;
    memset(&part->map, 0, sizeof part->map);
    return WOQ_OK;
}

static int add_part(struct woq_gguf *g, const char *name, uint64_t no, uint64_t count,
                    struct woq_error *err)
{
    struct woq_gguf part;
    struct place p;
    int rc = woq_gguf_open(&part, name, err);

    if (rc < 0)
        return rc;
    if ((rc = get_place(&part, &p, err)) == WOQ_OK && (p.no != no || p.count != count))
        rc = woq_fail(err, WOQ_EDATA, "are these the parts of one model?",
                      "the file says that it is part %" PRIu64 " of %" PRIu64
                      ", its name says %" PRIu64 " of %" PRIu64,
                      p.no + 1, p.count, no + 1, count);
    if (rc == WOQ_OK)
        rc = adopt(g, &part, err);
    woq_gguf_release(&part);
    return rc < 0 ? woq_error_at(err, "%s", name) : WOQ_OK;
}

int woq_gguf_add_parts(struct woq_gguf *g, const char *path, struct woq_error *err)
{
    struct place p;
    int rc = get_place(g, &p, err);

    if (rc < 0 || p.count < 2)
        return rc;
    if ((rc = check_first(path, &p, err)) < 0)
        return rc;
    for (uint64_t no = 1; no < p.count && rc == WOQ_OK; no++) {
        struct woq_str name = { 0 };

        if (woq_str_addf(&name, "%.*s-%05" PRIu64 "-of-%05" PRIu64 ".gguf",
                         (int)prefix_of(path, &p), path, no + 1, p.count) < 0)
            rc = woq_fail_nomem(err, strlen(path));
        else
            rc = add_part(g, name.s, no, p.count, err);
        woq_str_release(&name);
    }
    if (rc == WOQ_OK && p.has_n_tensors && p.n_tensors != g->n_tensors)
        rc = woq_fail(err, WOQ_EDATA, "are these the parts of one model?",
                      "%" PRIu64 " parts have %zu tensors, split.tensors.count says %" PRIu64,
                      p.count, g->n_tensors, p.n_tensors);
    return rc;
}
