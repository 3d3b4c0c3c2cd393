/* eval_lane.c -- a model stream read front to back: config, embedding, blocks, head, with every
 * departure from that order or from the config refused. */
#include "eval_internal.h"

#include <string.h>

#include <woq/kernels.h>

static int take_modl(struct woq_lane *l, const struct woq_frame *f, struct woq_error *err)
{
    struct woq_json *config = NULL;
    int rc;

    if (l->has_config)
        return woq_fail(err, WOQ_EDATA, NULL, "a second MODL frame");
    if ((rc = woq_modl_config(f, &config, err)) < 0)
        return rc;
    rc = woq_config_init(&l->c, config, err);
    woq_json_free(config);
    if (rc < 0)
        return rc;
    l->has_config = true;
    l->outside.index = WOQ_OUTSIDE;
    return l->begin(l, f, err);
}

static int block_number(const struct woq_frame *f, uint64_t *n, struct woq_error *err)
{
    if (!woq_json_u64(woq_json_get(f->meta, "block"), n))
        return woq_fail(err, WOQ_EDATA, NULL, "a %s frame without a block number", f->type);
    return WOQ_OK;
}

static int begin_block(struct woq_lane *l, const struct woq_frame *f, struct woq_error *err)
{
    uint64_t n;
    int rc;

    if ((rc = block_number(f, &n, err)) < 0)
        return rc;
    if (l->in_block || n != l->n_done || n >= l->c.n_layers)
        return woq_fail(err, WOQ_EDATA, NULL, "block %llu begins, want block %zu of %zu%s",
                        (unsigned long long)n, l->n_done, l->c.n_layers,
                        l->in_block ? " to end" : "");
    if (!l->embed.type[0])
        return woq_fail(err, WOQ_EDATA, NULL, "block 0 begins and no embedding came before it");
    if (n == 0 && (rc = l->stem(l, err)) < 0)
        return rc;
    l->in_block = true;
    l->block.index = (size_t)n;
    woq_block_clear(&l->block);
    return WOQ_OK;
}

static int end_block(struct woq_lane *l, const struct woq_frame *f, struct woq_error *err)
{
    uint64_t n;
    int rc;

    if ((rc = block_number(f, &n, err)) < 0)
        return rc;
    if (!l->in_block || n != l->n_done)
        return woq_fail(err, WOQ_EDATA, NULL, "block %llu ends, but block %zu %s",
                        (unsigned long long)n, l->n_done, l->in_block ? "is open" : "is due");
    if ((rc = woq_block_check(&l->block, &l->c, err)) < 0 || (rc = l->each(l, err)) < 0)
        return rc;
    l->in_block = false;
    l->n_done++;
    return WOQ_OK;
}

static int take_embed(struct woq_lane *l, struct woq_frame *f, struct woq_error *err)
{
    if (l->embed.type[0] || l->n_done)
        return woq_fail(err, WOQ_EDATA, NULL, "the embedding '%s' comes %s", woq_frame_name(f),
                        l->n_done ? "after a block" : "twice");
    woq_frame_move(&l->embed, f);
    return WOQ_OK;
}

static int take_tensor(struct woq_lane *l, struct woq_frame *f, struct woq_error *err)
{
    const char *name = woq_frame_name(f);
    struct woq_place p;

    if (!l->has_config)
        return woq_fail(err, WOQ_EDATA, "make the stream with woq-extract",
                        "tensor '%s' comes before the MODL frame", name);
    if (l->in_block) {
        const int rc = woq_block_take(&l->block, &l->c, f, err);

        return rc == WOQ_OK && l->tensor ? l->tensor(l, f, err) : rc;
    }
    if (woq_name_is_ignorable(name))
        return WOQ_OK;
    if (!woq_arch_place(l->c.arch, name, &p)) {
        /* woq-extract puts them last and says so; the result counts them. */
        l->n_ignored++;
        return WOQ_OK;
    }
    if (!p.bias && p.role == WOQ_ROLE_EMBED)
        return take_embed(l, f, err);
    if (p.block >= 0)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' has no place outside a block in '%s'",
                        name, l->c.arch->model_type);
    if (p.role == WOQ_ROLE_HEAD && !p.bias && l->c.tie)
        return WOQ_OK; /* a duplicate of the embedding */
    return woq_block_take(&l->outside, &l->c, f, err);
}

static int take(struct woq_lane *l, struct woq_frame *f, struct woq_error *err)
{
    if (woq_frame_is(f, "MODL"))
        return take_modl(l, f, err);
    if (woq_frame_is(f, "TENS") || woq_frame_is(f, "QTEN"))
        return take_tensor(l, f, err);
    if (woq_frame_is(f, "BLKB") || woq_frame_is(f, "BLKE")) {
        if (!l->has_config)
            return woq_fail(err, WOQ_EDATA, "make the stream with woq-extract",
                            "a block begins before the MODL frame");
        return woq_frame_is(f, "BLKB") ? begin_block(l, f, err) : end_block(l, f, err);
    }
    if (f->type[0] >= 'a' && f->type[0] <= 'z')
        return WOQ_OK;
    return woq_fail(err, WOQ_ETYPE, NULL, "a frame of type '%s' is not for an evaluation", f->type);
}

/* The head is the embedding where tied. */
static int tied_head(struct woq_lane *l, const float **weight, struct woq_error *err)
{
    const uint64_t shape[2] = { l->c.vocab, l->c.embed_dim };
    struct woq_tensor t;
    float *dst;

    if (woq_frame_is_tensor(&l->embed) && woq_frame_view(&l->embed, &t, NULL) >= 0 &&
        t.dtype == WOQ_F32 && woq_kernels()->all_finite_f32(t.data, t.n_elem)) {
        *weight = t.data;
        return WOQ_OK;
    }
    if (!(dst = woq_buf_need(&l->head_buf, shape[0] * shape[1] * sizeof(float), err)))
        return WOQ_ENOMEM;
    *weight = dst;
    return woq_tensor_read(dst, &l->embed, 2, shape, err);
}

static int finish(struct woq_lane *l, struct woq_error *err)
{
    const float *tied = NULL;
    int rc;

    if (!l->has_config)
        return woq_fail(err, WOQ_EDATA, "make the stream with woq-extract",
                        "no MODL frame: this is no model");
    if (l->in_block || l->n_done != l->c.n_layers)
        return woq_fail(err, WOQ_EDATA, NULL, "the stream ends after %zu of %zu blocks", l->n_done,
                        l->c.n_layers);
    if (!l->outside.w[WOQ_ROLE_HEAD] && (rc = tied_head(l, &tied, err)) < 0)
        return rc;
    l->c.tie |= tied != NULL; /* a head that did not come is tied */
    if ((rc = woq_block_check(&l->outside, &l->c, err)) < 0)
        return rc;
    woq_head_init(&l->head, &l->c, &l->outside, tied);
    return WOQ_OK;
}

int woq_lane_run(struct woq_lane *l, struct woq_error *err)
{
    struct woq_frame *f;
    int rc;

    while ((rc = l->src->next(l->src->ctx, &f, err)) > 0) {
        const uint64_t seq = f->seq;

        if ((rc = take(l, f, err)) < 0) {
            woq_error_at(err, "%s: frame %llu", l->src->name, (unsigned long long)seq);
            return rc;
        }
    }
    if (rc == 0 && (rc = finish(l, err)) < 0)
        woq_error_at(err, "%s", l->src->name);
    return rc;
}

void woq_lane_release(struct woq_lane *l)
{
    woq_frame_release(&l->embed);
    woq_block_release(&l->block);
    woq_buf_release(&l->head_buf);
    woq_block_release(&l->outside);
}
