/* part.c -- which frame belongs to which part, and whether parts make a whole. */
#include <woq/part.h>

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

uint64_t woq_modl_blocks(const struct woq_frame *modl)
{
    static const char *const keys[] = { "num_hidden_layers", "n_layer", "n_layers", "num_layers" };
    const struct woq_array *a = woq_frame_array(modl, "config.json");
    struct woq_json *root = NULL;
    const struct woq_json *where[2];
    uint64_t n = 0;

    if (!a || woq_json_parse(&root, a->data, a->bytes, NULL) < 0)
        return 0;
    where[0] = root;
    where[1] = woq_json_get(root, "text_config");
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof keys / sizeof *keys && !n; k++)
            if (!woq_json_u64(woq_json_get(where[i], keys[k]), &n))
                n = 0;
    woq_json_free(root);
    return n;
}

/* Number of the block that a BLKB begins, which must follow the one before. */
static int next_block(const struct woq_frame *f, uint64_t n_seen, uint64_t *block,
                      struct woq_error *err)
{
    if (!woq_json_u64(woq_json_get(f->meta, "block"), block))
        return woq_fail(err, WOQ_EDATA, NULL, "BLKB without the number of a block");
    if (*block < n_seen)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "block %llu comes twice or out of order: want block %llu", (ull)*block,
                        (ull)n_seen);
    if (*block > n_seen)
        return woq_fail(err, WOQ_EDATA, NULL, "block %llu is missing: found block %llu",
                        (ull)n_seen, (ull)*block);
    return WOQ_OK;
}

/* The K with floor((K-1) L/N) <= block < floor(K L/N). */
static uint64_t owner_of(const struct woq_part *p, uint64_t block)
{
    uint64_t k = 1;

    while (k < p->of && k * p->n_blocks / p->of <= block)
        k++;
    return k;
}

static int no_count(struct woq_error *err)
{
    return woq_fail(err, WOQ_EDATA, "give --blocks N",
                    "the stream does not say how many blocks the model has");
}

int woq_part_takes(struct woq_part *p, const struct woq_frame *f, bool *takes,
                   struct woq_error *err)
{
    uint64_t block, promised;
    int rc;

    if (!p->owner)
        p->owner = 1;
    *takes = true;
    if (woq_frame_is(f, "MODL")) {
        promised = woq_modl_blocks(f);
        if (p->n_blocks && promised && promised != p->n_blocks)
            return woq_fail(err, WOQ_EUSAGE, NULL, "--blocks %llu: the model has %llu",
                            (ull)p->n_blocks, (ull)promised);
        p->n_blocks = promised ? promised : p->n_blocks;
    }
    if (!p->of)
        p->of = p->n_blocks;
    if (!p->of)
        return no_count(err);
    if (p->take > p->of)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--take %llu: the model has %llu blocks",
                        (ull)p->take, (ull)p->of);
    if (woq_frame_is(f, "MODL"))
        return WOQ_OK;
    if (woq_frame_is(f, "BLKB")) {
        if ((rc = next_block(f, p->n_seen, &block, err)) < 0)
            return rc;
        if (!p->n_blocks)
            return no_count(err);
        if (block >= p->n_blocks)
            return woq_fail(err, WOQ_EDATA, NULL, "block %llu in a model of %llu blocks",
                            (ull)block, (ull)p->n_blocks);
        p->n_seen++;
        p->owner = owner_of(p, block);
    }
    *takes = p->owner == p->take;
    return WOQ_OK;
}

int woq_part_end(const struct woq_part *p, struct woq_error *err)
{
    if (!p->of)
        return no_count(err);
    if (p->n_blocks && p->n_seen != p->n_blocks)
        return woq_fail(err, WOQ_EDATA, NULL, "the model has %llu blocks, the stream %llu",
                        (ull)p->n_blocks, (ull)p->n_seen);
    return WOQ_OK;
}

static int same_model(const struct woq_json *head, const struct woq_json *first,
                      struct woq_error *err)
{
    const char *a = woq_json_get_str(first, "model"), *b = woq_json_get_str(head, "model");

    if (strcmp(a ? a : "", b ? b : "") != 0)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "this is a stream of model '%s', the first one of '%s'", b ? b : "",
                        a ? a : "");
    return WOQ_OK;
}

int woq_join_begin(struct woq_join *j, const struct woq_json *head, const struct woq_json *first,
                   struct woq_error *err)
{
    const struct woq_json *part = woq_json_get(head, "part");
    const int64_t of = woq_json_get_int(part, "of", 0), take = woq_json_get_int(part, "take", 0);

    j->at++;
    if (j->at == 1) {
        j->has_parts = part != NULL;
        j->n_blocks = (uint64_t)woq_json_get_int(part, "blocks", 0);
    }
    if (j->has_parts != (part != NULL))
        return woq_fail(err, WOQ_EDATA, NULL, "this is %s, the first one is %s",
                        part ? "a part" : "a whole stream", part ? "a whole stream" : "a part");
    if (part && of != (int64_t)j->n_inputs)
        return woq_fail(err, WOQ_EDATA, "give every part once",
                        "this is one part of %lld, but %llu streams are given", (long long)of,
                        (ull)j->n_inputs);
    if (part && take != (int64_t)j->at)
        return woq_fail(err, WOQ_EDATA, "give the parts in order, each once",
                        "this is part %lld, want part %llu", (long long)take, (ull)j->at);
    return same_model(head, first, err);
}

static int same_modl(const struct woq_frame *a, const struct woq_frame *b, struct woq_error *err)
{
    if (a->n_arrays != b->n_arrays)
        return woq_fail(err, WOQ_EDATA, NULL, "MODL has %zu side files, the first one %zu",
                        b->n_arrays, a->n_arrays);
    for (size_t i = 0; i < a->n_arrays; i++) {
        const struct woq_array *x = &a->arrays[i], *y = woq_frame_array(b, x->name);
        if (!y || x->bytes != y->bytes || memcmp(x->data, y->data, x->bytes) != 0)
            return woq_fail(err, WOQ_EDATA, "are these parts of one model?",
                            "side file '%s' of MODL differs from the first one", x->name);
    }
    return WOQ_OK;
}

int woq_join_takes(struct woq_join *j, const struct woq_frame *f, bool *takes,
                   struct woq_error *err)
{
    uint64_t block, promised;
    int rc;

    *takes = true;
    if (woq_frame_is(f, "BLKB")) {
        if ((rc = next_block(f, j->n_seen, &block, err)) < 0)
            return rc;
        j->n_seen++;
        return WOQ_OK;
    }
    if (!woq_frame_is(f, "MODL"))
        return WOQ_OK;
    if (j->at > 1) {
        *takes = false;
        return same_modl(&j->modl, f, err);
    }
    promised = woq_modl_blocks(f);
    j->n_blocks = promised ? promised : j->n_blocks;
    return WOQ_OK;
}

int woq_join_end(const struct woq_join *j, struct woq_error *err)
{
    if (j->n_blocks && j->n_seen != j->n_blocks)
        return woq_fail(err, WOQ_EDATA, "is a part missing at the end?",
                        "the model has %llu blocks, the streams together %llu", (ull)j->n_blocks,
                        (ull)j->n_seen);
    return WOQ_OK;
}

void woq_join_release(struct woq_join *j)
{
    woq_frame_release(&j->modl);
}
