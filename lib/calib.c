/* calib.c -- the walk over blocks and groups. */
#include "calib_internal.h"

#include <woq/model.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

int woq_calib_put(struct woq_calib *c, struct woq_frame *f)
{
    int rc = woq_filter_put(c->w, f);

    if (rc == WOQ_OK && c->state.log)
        rc = woq_writer_put(c->state.log, f, c->err);
    return rc;
}

int woq_calib_open(struct woq_calib **out, const struct woq_calib_opts *o, struct woq_filter *w)
{
    struct woq_calib *c = calloc(1, sizeof *c);

    if (!c)
        return woq_fail_nomem(&w->err, sizeof *c);
    c->o = *o;
    c->w = w;
    c->err = &w->err;
    c->state.path = o->state;
    c->outside.index = WOQ_OUTSIDE;
    c->state.log_fd = -1;
    *out = c;
    return WOQ_OK;
}

/* ------------------------------------------------------------------ the block */

static int hold(struct woq_calib *c, struct woq_frame *f)
{
    return woq_frames_push(&c->held, &c->n_held, &c->cap_held, f, c->err);
}

/* Blocks follow one another, from the first or from the one that --acts-from is for. */
static int check_block(struct woq_calib *c, int64_t block)
{
    if (!c->x)
        return woq_fail(c->err, WOQ_EDATA, "start from woq-extract, or give --acts-from",
                        "a block begins before the embedding came");
    if (c->in_block || block < 0)
        return woq_fail(c->err, WOQ_EDATA, NULL, "BLKB without a number, or inside a block");
    if ((size_t)block == c->next_block && c->next_block < c->config.n_layers)
        return WOQ_OK;
    if (c->o.acts_from && !c->any_block)
        return woq_fail(c->err, WOQ_EDATA, "give the part of the model that begins there",
                        "the stream begins with block %lld, the activations of '%s' are for block "
                        "%zu",
                        (long long)block, c->o.acts_from, c->next_block);
    return woq_fail(c->err, WOQ_EDATA, NULL, "found block %lld, want block %zu of %zu",
                    (long long)block, c->next_block, c->config.n_layers);
}

static int end_stem(struct woq_calib *c);

static int begin_block(struct woq_calib *c, struct woq_frame *f)
{
    const int64_t block = woq_json_get_int(f->meta, "block", -1);
    int rc = check_block(c, block);

    if (rc == WOQ_OK && !c->has_stem)
        rc = end_stem(c);
    if (rc < 0)
        return rc;
    c->any_block = true;
    c->in_block = true;
    c->block = (size_t)block;
    c->n_put = 0;
    c->weights.index = c->block;
    woq_block_clear(&c->weights);
    return hold(c, f);
}

static int forward(struct woq_calib *c)
{
    int rc = woq_calib_float_check(c);

    for (size_t i = 0; i < c->n_held && rc == WOQ_OK; i++)
        if (woq_json_get_str(c->held[i].meta, "role"))
            rc = woq_block_take(&c->weights, &c->config, &c->held[i], c->err);
    if (rc == WOQ_OK)
        rc = woq_block_check(&c->weights, &c->config, c->err);
    if (rc == WOQ_OK)
        rc = woq_calib_log_begin(c);
    if (rc == WOQ_OK)
        rc = c->o.block_unit ? woq_calib_block(c) : woq_calib_groups(c);
    if (rc == WOQ_OK)
        rc = woq_calib_put_until(c, c->n_held);
    if (rc == WOQ_OK)
        rc = woq_calib_experts_note(c);
    if (rc == WOQ_OK)
        rc = woq_calib_log_end(c);
    return rc;
}

static int end_block(struct woq_calib *c, struct woq_frame *f)
{
    int rc = hold(c, f);

    if (rc == WOQ_OK)
        rc = c->block < c->state.done ? woq_calib_replay(c, c->block) : forward(c);
    for (size_t i = 0; i < c->n_held; i++)
        woq_frame_release(&c->held[i]);
    c->n_held = 0;
    woq_reader_drop(c->w->in);
    c->in_block = false;
    c->next_block = c->block + 1;
    return rc;
}

/* ------------------------------------------------------------------ the stream */

/* What a state must agree with. */
static int make_key(struct woq_calib *c)
{
    static const char *const emits[] = { "acts", "hess", "stat", "none" };

    woq_str_addf(&c->key, "%zu x %zu tokens %016llx from %llu, ", c->o.n_samples, c->o.seqlen,
                 (unsigned long long)c->tokens_hash, (unsigned long long)c->o.token0);
    if (c->o.acts_from)
        woq_str_addf(&c->key, "activations %016llx after %zu blocks, ",
                     (unsigned long long)c->acts_hash, c->next_block);
    if (c->o.all_experts)
        woq_str_addf(&c->key, "all experts, ");
    return woq_str_addf(&c->key, "%s%semit %s, inputs %s, %s, through %s",
                        c->o.block_unit ? "unit block, " : "", c->o.both ? "targets both, " : "",
                        emits[c->o.emit], c->o.float_inputs ? "float" : "quantized",
                        woq_dtype_name(c->o.acts_dtype), c->o.through ? c->o.through : "")
               ? woq_fail_nomem(c->err, 256)
               : WOQ_OK;
}

/* The activations are there: a state may know later ones; the command is started. */
static int start(struct woq_calib *c)
{
    int rc = make_key(c);

    if (rc == WOQ_OK)
        rc = woq_calib_resume(c);
    if (rc == WOQ_OK && c->o.through) {
        signal(SIGPIPE, SIG_IGN); /* a command that hangs up becomes a message */
        rc = woq_coproc_open(&c->command, c->o.through, woq_filter_head(c->w),
                             woq_filter_max_frame(c->w), c->err);
        if (rc == WOQ_OK)
            woq_coproc_patience(c->command, c->o.patience);
    }
    return rc;
}

static int read_config(struct woq_calib *c, const struct woq_frame *modl)
{
    struct woq_json *json = NULL;
    int rc;

    if (c->has_config)
        return woq_fail(c->err, WOQ_EDATA, NULL, "a second MODL frame");
    rc = woq_modl_config(modl, &json, c->err);
    if (rc == WOQ_OK)
        rc = woq_config_init(&c->config, json, c->err);
    woq_json_free(json);
    if (rc == WOQ_OK)
        rc = woq_calib_experts_open(c);
    if (rc == WOQ_OK && c->o.acts_from)
        rc = woq_calib_acts_from(c);
    if (rc == WOQ_OK)
        rc = woq_decoder_open(&c->decoder, &c->config, c->o.seqlen, c->err);
    if (rc == WOQ_OK)
        woq_decoder_spill(c->decoder, c->o.spill_bytes);
    if (rc == WOQ_OK)
        woq_decoder_all_experts(c->decoder, c->o.all_experts);
    c->has_config = rc == WOQ_OK;
    c->has_stem = c->o.acts_from != NULL;
    return rc == WOQ_OK && c->has_stem ? start(c) : rc;
}

static int embed(struct woq_calib *c, const struct woq_frame *f)
{
    int rc;

    if (c->o.acts_from)
        return WOQ_OK;
    if (c->x)
        return woq_fail(c->err, WOQ_EDATA, NULL, "a second embedding");
    rc = woq_calib_x_alloc(c);
    if (rc == WOQ_OK)
        rc = woq_embed_rows(c->x, &c->config, f, c->o.ids, c->n_tokens, c->err);
    if (rc == WOQ_OK)
        c->tokens_hash = woq_hash64(c->o.ids, c->n_tokens * sizeof *c->o.ids);
    return rc;
}

/* Everything of the stem is there: the first block begins. */
static int end_stem(struct woq_calib *c)
{
    int rc = woq_embed_finish(c->x, &c->config, &c->outside, c->n_tokens, c->o.seqlen, 0, c->err);

    if (rc == WOQ_OK && c->xf)
        memcpy(c->xf, c->x, c->n_tokens * c->config.hidden * sizeof *c->x);
    c->has_stem = true;
    return rc == WOQ_OK ? start(c) : rc;
}

/* A tensor that the forward needs beside the blocks; the frame travels on in any case. */
static int take_beside(struct woq_calib *c, const struct woq_frame *f, enum woq_role role)
{
    if (!role || role == WOQ_ROLE_HEAD)
        return WOQ_OK;
    if (!c->has_config)
        return woq_fail(c->err, WOQ_EDATA, "start from woq-extract",
                        "no MODL frame before weights");
    return role == WOQ_ROLE_EMBED ? embed(c, f)
                                  : woq_block_take(&c->outside, &c->config, f, c->err);
}

/* Frames before and after the blocks. */
static int take_outside(struct woq_calib *c, struct woq_frame *f)
{
    const enum woq_role role = woq_role_from_name(woq_json_get_str(f->meta, "role"));
    int rc = WOQ_OK;

    if (woq_frame_is(f, "MODL"))
        rc = read_config(c, f);
    else if ((rc = take_beside(c, f, role)) == WOQ_OK &&
             (rc = woq_calib_is_head(c, f)) == WOQ_ITEM && (rc = woq_calib_head(c, f)) == WOQ_OK)
        return WOQ_OK;
    if (rc < 0)
        return woq_filter_at(c->w, f);
    rc = woq_filter_put(c->w, f);
    woq_buf_release(&f->body); /* an embedding is large: a block does not inherit its room */
    return rc;
}

int woq_calib_take(struct woq_calib *c, struct woq_frame *f)
{
    int rc;

    woq_calib_count(c, f);
    if (woq_frame_is(f, "BLKB"))
        rc = begin_block(c, f);
    else if (woq_frame_is(f, "BLKE") && c->in_block)
        return end_block(c, f);
    else if (c->in_block)
        rc = hold(c, f);
    else
        return take_outside(c, f);
    return rc < 0 ? woq_filter_at(c->w, f) : WOQ_OK;
}

int woq_calib_close(struct woq_calib *c, int rc)
{
    if (!c)
        return rc;
    if (rc == WOQ_OK && c->in_block)
        rc = woq_fail(c->err, WOQ_EDATA, NULL, "block %zu does not end", c->block);
    if (rc == WOQ_OK && !c->x)
        rc = woq_fail(c->err, WOQ_EDATA, "start from woq-extract", "the stream has no embedding");
    if (rc == WOQ_OK && !c->has_stem) /* a stem alone */
        rc = end_stem(c);
    rc = woq_coproc_close(c->command, rc, c->err);
    if (rc == WOQ_OK && c->o.acts_to)
        rc = woq_calib_acts_to(c);
    woq_calib_state_close(c);
    for (size_t i = 0; i < c->cap_held; i++)
        woq_frame_release(&c->held[i]);
    free(c->held);
    free(c->x);
    woq_block_release(&c->weights);
    woq_decoder_close(c->decoder);
    woq_frame_release(&c->out);
    for (size_t i = 0; i < WOQ_CALIB_ARRAYS; i++)
        woq_buf_release(&c->narrow[i]);
    woq_block_release(&c->outside);
    woq_buf_release(&c->windows);
    woq_buf_release(&c->windows_float);
    woq_calib_float_close(c);
    if (rc == WOQ_OK)
        woq_calib_experts_report(c);
    woq_calib_experts_close(c);
    woq_str_release(&c->key);
    free(c);
    return rc;
}
