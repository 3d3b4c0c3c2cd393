/* fsck.c -- rules over the frames of a whole stream. */
#include <woq/fsck.h>

#include <woq/quant.h>

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

/* Names as their hashes: two names with one hash are less likely than a bit flip that XXH3 misses.
 */
struct name_set {
    uint64_t *slot;
    size_t n, cap; /* cap: power of two; 0 = a free slot */
};

struct woq_fsck {
    struct name_set names;
    struct pending {
        uint64_t hash;
        char name[128];
    } * of; /* what hess and stat frames describe */
    size_t n_of, cap_of;
    uint64_t n_blocks;
    bool in_block, has_modl, has_tensor;
};

static uint64_t hash_of(const char *name)
{
    const uint64_t h = woq_hash64(name, strlen(name));
    return h ? h : 1;
}

static bool has_name(const struct name_set *s, uint64_t h)
{
    for (size_t i = h & (s->cap - 1); s->cap && s->slot[i]; i = (i + 1) & (s->cap - 1))
        if (s->slot[i] == h)
            return true;
    return false;
}

static void put_name(struct name_set *s, uint64_t h)
{
    size_t i = h & (s->cap - 1);

    while (s->slot[i])
        i = (i + 1) & (s->cap - 1);
    s->slot[i] = h;
}

static int add_name(struct name_set *s, uint64_t h, struct woq_error *err)
{
    struct name_set grown = { NULL, s->n, s->cap ? 2 * s->cap : 1024 };

    if (s->n * 2 >= s->cap) {
        grown.slot = calloc(grown.cap, sizeof *grown.slot);
        if (!grown.slot)
            return woq_fail_nomem(err, grown.cap * sizeof *grown.slot);
        for (size_t i = 0; i < s->cap; i++)
            if (s->slot[i])
                put_name(&grown, s->slot[i]);
        free(s->slot);
        *s = grown;
    }
    put_name(s, h);
    s->n++;
    return WOQ_OK;
}

int woq_fsck_open(struct woq_fsck **c, struct woq_error *err)
{
    *c = calloc(1, sizeof **c);
    return *c ? WOQ_OK : woq_fail_nomem(err, sizeof **c);
}

void woq_fsck_close(struct woq_fsck *c)
{
    if (!c)
        return;
    free(c->names.slot);
    free(c->of);
    free(c);
}

static int check_marker(struct woq_fsck *c, const struct woq_frame *f, struct woq_error *err)
{
    const bool begins = woq_frame_is(f, "BLKB");
    const uint64_t want = begins ? c->n_blocks : c->n_blocks - 1;
    const uint64_t first = begins && !c->n_blocks && !c->has_tensor ? UINT64_MAX : want;
    uint64_t block;

    if (!woq_json_u64(woq_json_get(f->meta, "block"), &block))
        return woq_fail(err, WOQ_EDATA, NULL, "%s without the number of a block", f->type);
    if (begins == c->in_block)
        return woq_fail(err, WOQ_EDATA, NULL,
                        begins ? "BLKB %llu inside a block" : "BLKE %llu outside a block",
                        (ull)block);
    /* A part of a model begins with any block. */
    if (first == UINT64_MAX)
        c->n_blocks = block;
    else if (block != want)
        return woq_fail(err, WOQ_EDATA, NULL, "%s %llu, want %llu", f->type, (ull)block, (ull)want);
    c->in_block = begins;
    c->n_blocks += begins;
    return WOQ_OK;
}

static int check_modl(struct woq_fsck *c, struct woq_error *err)
{
    if (c->has_modl)
        return woq_fail(err, WOQ_EDATA, NULL, "a second MODL frame");
    if (c->has_tensor || c->n_blocks)
        return woq_fail(err, WOQ_EDATA, NULL, "MODL comes after tensors, want it first");
    c->has_modl = true;
    return WOQ_OK;
}

static int check_weight(struct woq_fsck *c, const struct woq_frame *f, struct woq_error *err)
{
    const char *name = woq_frame_name(f);
    const uint64_t h = hash_of(name);
    const struct woq_array *data;
    struct woq_qview q;
    int rc;

    c->has_tensor = true;
    if (!*name)
        return woq_fail(err, WOQ_EDATA, NULL, "%s without a name", f->type);
    if (has_name(&c->names, h))
        return woq_fail(err, WOQ_EDATA, NULL, "a second tensor '%s'", name);
    rc = woq_frame_is_tensor(f) ? woq_frame_want(f, "data", WOQ_NO_DTYPE, 0, &data, err)
                                : woq_qview_init(&q, f, err);
    return rc < 0 ? rc : add_name(&c->names, h, err);
}

static int note_of(struct woq_fsck *c, const struct woq_frame *f, struct woq_error *err)
{
    const char *of = woq_json_get_str(f->meta, "of");
    struct pending *p;

    if (!of)
        return woq_fail(err, WOQ_EDATA, NULL, "%s without \"of\"", f->type);
    if (c->n_of == c->cap_of) {
        const size_t cap = c->cap_of ? 2 * c->cap_of : 64;
        if (!(p = realloc(c->of, cap * sizeof *p)))
            return woq_fail_nomem(err, cap * sizeof *p);
        c->of = p;
        c->cap_of = cap;
    }
    p = &c->of[c->n_of++];
    p->hash = hash_of(of);
    strncpy(p->name, of, sizeof p->name - 1);
    p->name[sizeof p->name - 1] = '\0';
    return WOQ_OK;
}

int woq_fsck_frame(struct woq_fsck *c, const struct woq_frame *f, struct woq_error *err)
{
    if (woq_frame_is(f, "BLKB") || woq_frame_is(f, "BLKE"))
        return check_marker(c, f, err);
    if (woq_frame_is(f, "MODL"))
        return check_modl(c, err);
    if (woq_frame_is_tensor(f) || woq_frame_is(f, "QTEN"))
        return check_weight(c, f, err);
    if (woq_frame_is(f, "hess") || woq_frame_is(f, "stat"))
        return note_of(c, f, err);
    return WOQ_OK;
}

int woq_fsck_end(const struct woq_fsck *c, struct woq_error *err)
{
    if (c->in_block)
        return woq_fail(err, WOQ_EDATA, NULL, "block %llu has no BLKE", (ull)c->n_blocks - 1);
    for (size_t i = 0; i < c->n_of; i++)
        if (!has_name(&c->names, c->of[i].hash))
            return woq_fail(err, WOQ_EDATA, NULL, "a frame describes '%s', which is not there",
                            c->of[i].name);
    return WOQ_OK;
}
