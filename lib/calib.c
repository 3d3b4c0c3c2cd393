/* calib.c -- the walk over blocks and groups. */
#include "calib_internal.h"

#include <woq/model.h>
#include <woq/quant.h>

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
    c->state.log_fd = -1;
    *out = c;
    return WOQ_OK;
}

/* ------------------------------------------------------------------ the group */

/* Frames that belong to a group are matrices; a bias of the group stays as it is. */
static bool in_group(const struct woq_frame *f, const char *group)
{
    const char *g = woq_json_get_str(f->meta, "group");
    struct woq_tensor t;

    return g && strcmp(g, group) == 0 && woq_frame_is_tensor(f) &&
           woq_frame_view(f, &t, NULL) == WOQ_OK && t.n_dims == 2;
}

static const struct woq_frame *first_of(const struct woq_calib *c, const char *group)
{
    for (size_t i = 0; i < c->n_held; i++)
        if (in_group(&c->held[i], group))
            return &c->held[i];
    return NULL;
}

/* Puts the held frames that come before held frame `end`. */
static int put_until(struct woq_calib *c, size_t end)
{
    int rc = WOQ_OK;

    for (; rc == WOQ_OK && c->n_put < end; c->n_put++)
        rc = woq_calib_put(c, &c->held[c->n_put]);
    return rc;
}

static struct woq_json *unit_meta(const struct woq_calib *c, const char *group)
{
    struct woq_json *unit = woq_json_object();

    woq_json_set_num(unit, "block", (double)c->block);
    woq_json_set_str(unit, "group", group);
    return unit;
}

/* A chunk as an acts frame in c->out. */
static int make_acts(struct woq_calib *c, const char *group, const char *of, const float *x,
                     size_t n_tokens, size_t width, size_t token0)
{
    const uint64_t shape[2] = { n_tokens, width };
    const void *data = x;

    woq_frame_begin(&c->out, "acts");
    c->out.flags = WOQ_FRAME_OF;
    woq_json_free(c->out.meta);
    c->out.meta = unit_meta(c, group);
    woq_json_set_str(c->out.meta, "of", of);
    woq_json_set_num(c->out.meta, "token0", (double)(c->o.token0 + token0));
    if (c->o.acts_dtype != WOQ_F32) {
        void *narrow = woq_buf_need(&c->narrow, n_tokens * width * 2, c->err);

        if (!narrow)
            return WOQ_ENOMEM;
        woq_from_f32(narrow, c->o.acts_dtype, x, n_tokens * width);
        data = narrow;
    }
    return woq_frame_add(&c->out, "x", c->o.acts_dtype, 2, shape, data, c->err);
}

/* The frame that replaces `held`, if the command returned a good one for that name. */
static int exchange(struct woq_calib *c, struct woq_frame *held, struct woq_frame *back)
{
    struct woq_buf buf = { 0 };
    size_t rows, cols;
    struct woq_tensor t;
    const float *data;
    int rc = woq_frame_view(held, &t, c->err);

    if (rc == WOQ_OK)
        rc = woq_weight_f32(back, &rows, &cols, &data, &buf, c->err);
    woq_buf_release(&buf);
    if (rc == WOQ_OK && (rows != t.n_rows || cols != t.n_cols))
        rc = woq_fail(c->err, WOQ_EDATA, NULL, "'%s' returned %zu x %zu, want %zu x %zu",
                      c->o.through, rows, cols, t.n_rows, t.n_cols);
    if (rc == WOQ_OK && !c->o.float_inputs) {
        c->weights.w[woq_role_from_name(woq_json_get_str(held->meta, "role"))] = NULL;
        rc = woq_block_take(&c->weights, &c->config, back, c->err);
    }
    if (rc < 0)
        return woq_error_at(c->err, "block %zu, '%s'", c->block, woq_frame_name(held));
    woq_frame_move(held, back);
    return WOQ_OK;
}

static bool seen_before(const struct woq_frame *frames, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (frames[k].type[0] < 'a' &&
            strcmp(woq_frame_name(&frames[k]), woq_frame_name(&frames[i])) == 0)
            return true;
    return false;
}

/* Each weight at most once: looked at before frames are moved away. */
static int check_back(const struct woq_calib *c, const struct woq_frame *frames, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (frames[i].type[0] < 'a' && seen_before(frames, i))
            return woq_fail(c->err, WOQ_EDATA, "the command must return each weight once",
                            "'%s' returned '%s' twice in block %zu", c->o.through,
                            woq_frame_name(&frames[i]), c->block);
    return WOQ_OK;
}

/* Puts what describes (notes, Hessians) through, exchanges weights; *n counts exchanged ones. */
static int take_back(struct woq_calib *c, const char *group, struct woq_frame *frames, size_t n,
                     size_t *n_back)
{
    int rc = check_back(c, frames, n);

    for (size_t i = 0; i < n && rc == WOQ_OK; i++) {
        const char *name = woq_frame_name(&frames[i]);
        struct woq_frame *held = NULL;

        if (frames[i].type[0] >= 'a') {
            if (!woq_frame_is(&frames[i], "acts"))
                rc = woq_calib_put(c, &frames[i]);
            continue;
        }
        for (size_t k = 0; k < c->n_held && !held; k++)
            if (in_group(&c->held[k], group) && strcmp(woq_frame_name(&c->held[k]), name) == 0)
                held = &c->held[k];
        if (!held)
            return woq_fail(c->err, WOQ_EDATA, "the command must return each weight once",
                            "'%s' returned %s '%s', which is not awaited in block %zu, group '%s'",
                            c->o.through, frames[i].type, name, c->block, group);
        rc = exchange(c, held, &frames[i]);
        (*n_back)++;
    }
    return rc;
}

/* The group's weights to the command, and what it makes of them back. */
static int round_trip(struct woq_calib *c, const char *group)
{
    struct woq_json *unit = unit_meta(c, group);
    struct woq_frame *frames = NULL;
    size_t n = 0, n_sent = 0, n_back = 0;
    int rc = unit ? WOQ_OK : woq_fail_nomem(c->err, 256);

    for (size_t i = 0; i < c->n_held && rc == WOQ_OK; i++)
        if (in_group(&c->held[i], group)) {
            rc = woq_coproc_put(c->command, &c->held[i], c->err);
            n_sent++;
        }
    if (rc == WOQ_OK)
        rc = woq_coproc_loop(c->command, unit, &frames, &n, c->err);
    if (rc == WOQ_OK)
        rc = take_back(c, group, frames, n, &n_back);
    if (rc == WOQ_OK && n_back != n_sent)
        rc = woq_fail(c->err, WOQ_EDATA, "the command must return each weight once",
                      "'%s' returned %zu weights of block %zu, group '%s', want %zu", c->o.through,
                      n_back, c->block, group, n_sent);
    if (rc == WOQ_OK)
        woq_coproc_next(c->command);
    woq_json_free(unit);
    return rc;
}

static enum woq_moment_kind moment_kind(const struct woq_calib *c)
{
    return c->o.emit == WOQ_EMIT_HESS ? WOQ_MOMENT_HESS : WOQ_MOMENT_STAT;
}

static bool is_sum(const struct woq_calib *c)
{
    return c->o.emit == WOQ_EMIT_HESS || c->o.emit == WOQ_EMIT_STAT;
}

/* Before the group's first weight: what describes its inputs. */
static int end_group(struct woq_calib *c, const char *group, const struct woq_frame *first)
{
    const size_t at = (size_t)(first - c->held);
    int rc = put_until(c, at);

    if (rc == WOQ_OK && is_sum(c)) {
        rc = woq_moments_emit(&c->moments, moment_kind(c), &c->out, c->err);
        if (rc == WOQ_OK)
            rc = c->command ? woq_coproc_put(c->command, &c->out, c->err)
                            : woq_calib_put(c, &c->out);
        woq_moments_clear(&c->moments);
    }
    if (rc == WOQ_OK && c->command)
        rc = round_trip(c, group);
    return rc;
}

/* woq_tap: chunks of a group's inputs, in order. */
static int on_input(void *ctx, const char *group, const float *x, size_t n_tokens, size_t width,
                    size_t token0, struct woq_error *err)
{
    struct woq_calib *c = ctx;
    const struct woq_frame *first = first_of(c, group);
    int rc = WOQ_OK;

    if (!first)
        return woq_fail(err, WOQ_EDATA, NULL, "block %zu has no weight of group '%s'", c->block,
                        group);
    if (c->o.emit != WOQ_EMIT_NONE)
        rc = make_acts(c, group, woq_frame_name(first), x, n_tokens, width, token0);
    if (rc == WOQ_OK && is_sum(c))
        rc = woq_moments_take(&c->moments, moment_kind(c), &c->out, err);
    else if (rc == WOQ_OK && c->command && c->o.emit != WOQ_EMIT_NONE)
        rc = woq_coproc_put(c->command, &c->out, err);
    else if (rc == WOQ_OK && !c->command) {
        rc = put_until(c, (size_t)(first - c->held));
        if (rc == WOQ_OK)
            rc = woq_calib_put(c, &c->out);
    }
    if (rc == WOQ_OK && token0 + n_tokens == c->n_tokens)
        rc = end_group(c, group, first);
    return rc;
}

/* ------------------------------------------------------------------ the block */

static int hold(struct woq_calib *c, struct woq_frame *f)
{
    if (c->n_held == c->cap_held) {
        const size_t cap = c->cap_held ? 2 * c->cap_held : 16;
        struct woq_frame *grown = realloc(c->held, cap * sizeof *grown);

        if (!grown)
            return woq_fail_nomem(c->err, cap * sizeof *grown);
        memset(grown + c->cap_held, 0, (cap - c->cap_held) * sizeof *grown);
        c->held = grown;
        c->cap_held = cap;
    }
    woq_frame_move(&c->held[c->n_held++], f);
    return WOQ_OK;
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

static int begin_block(struct woq_calib *c, struct woq_frame *f)
{
    const int64_t block = woq_json_get_int(f->meta, "block", -1);
    const int rc = check_block(c, block);

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
    const struct woq_tap tap = { on_input, c };
    const bool tapped = c->o.through || c->o.emit != WOQ_EMIT_NONE;
    int rc = WOQ_OK;

    for (size_t i = 0; i < c->n_held && rc == WOQ_OK; i++)
        if (woq_json_get_str(c->held[i].meta, "role"))
            rc = woq_block_take(&c->weights, &c->config, &c->held[i], c->err);
    if (rc == WOQ_OK)
        rc = woq_block_check(&c->weights, &c->config, c->err);
    if (rc == WOQ_OK)
        rc = woq_calib_log_begin(c);
    if (rc == WOQ_OK)
        rc = woq_block_forward(c->decoder, &c->weights, c->x, c->o.n_samples, c->o.seqlen,
                               tapped ? &tap : NULL, c->err);
    if (rc == WOQ_OK)
        rc = put_until(c, c->n_held);
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
    return woq_str_addf(&c->key, "emit %s, inputs %s, %s, through %s", emits[c->o.emit],
                        c->o.float_inputs ? "float" : "quantized", woq_dtype_name(c->o.acts_dtype),
                        c->o.through ? c->o.through : "")
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
    if (rc == WOQ_OK && c->o.acts_from)
        rc = woq_calib_acts_from(c);
    if (rc == WOQ_OK)
        rc = woq_decoder_open(&c->decoder, &c->config, c->o.seqlen, c->err);
    if (rc == WOQ_OK)
        woq_decoder_spill(c->decoder, c->o.spill_bytes);
    c->has_config = rc == WOQ_OK;
    return rc == WOQ_OK && c->o.acts_from ? start(c) : rc;
}

static int embed(struct woq_calib *c, const struct woq_frame *f)
{
    int rc;

    if (!c->has_config)
        return woq_fail(c->err, WOQ_EDATA, "start from woq-extract",
                        "no MODL frame before weights");
    if (c->o.acts_from)
        return WOQ_OK;
    if (c->x)
        return woq_fail(c->err, WOQ_EDATA, NULL, "a second embedding");
    rc = woq_calib_x_alloc(c);
    if (rc == WOQ_OK)
        rc = woq_embed(c->x, &c->config, f, c->o.ids, c->n_tokens, c->err);
    if (rc == WOQ_OK)
        c->tokens_hash = woq_hash64(c->o.ids, c->n_tokens * sizeof *c->o.ids);
    return rc == WOQ_OK ? start(c) : rc;
}

int woq_calib_take(struct woq_calib *c, struct woq_frame *f)
{
    const char *role = woq_json_get_str(f->meta, "role");
    int rc = WOQ_OK;

    woq_calib_count(c, f);
    if (woq_frame_is(f, "BLKB"))
        rc = begin_block(c, f);
    else if (woq_frame_is(f, "BLKE") && c->in_block)
        return end_block(c, f);
    else if (c->in_block)
        rc = hold(c, f);
    else {
        if (woq_frame_is(f, "MODL"))
            rc = read_config(c, f);
        else if (role && strcmp(role, "embed") == 0)
            rc = embed(c, f);
        if (rc == WOQ_OK) {
            rc = woq_filter_put(c->w, f);
            woq_buf_release(
                &f->body); /* an embedding is large: a block does not inherit its room */
            return rc;
        }
    }
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
    woq_moments_release(&c->moments);
    woq_frame_release(&c->out);
    woq_buf_release(&c->narrow);
    woq_str_release(&c->key);
    free(c);
    return rc;
}
