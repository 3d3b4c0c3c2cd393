/* calib_group.c -- the linears that share one input, as a unit: described, sent, exchanged.
 *
 * The forward stops at each group (woq_tap) until what came back for it is in place. */
#include "calib_internal.h"

#include <woq/quant.h>

#include <stdio.h>
#include <string.h>

/* Frames that belong to a group are matrices; a bias of the group stays as it is. */
static bool in_group(const struct woq_frame *f, const char *group)
{
    const char *g = woq_json_get_str(f->meta, "group");
    struct woq_tensor t;

    return g && strcmp(g, group) == 0 && woq_frame_is_tensor(f) &&
           woq_frame_view(f, &t, NULL) == WOQ_OK && t.n_dims == 2;
}

const struct woq_frame *woq_calib_first_of(const struct woq_calib *c, const char *group,
                                           struct woq_error *err)
{
    for (size_t i = 0; i < c->n_held; i++)
        if (in_group(&c->held[i], group))
            return &c->held[i];
    woq_fail(err, WOQ_EDATA, NULL, "block %zu has no weight of group '%s'", c->block, group);
    return NULL;
}

int woq_calib_put_until(struct woq_calib *c, size_t end)
{
    int rc = WOQ_OK;

    for (; rc == WOQ_OK && c->n_put < end; c->n_put++)
        rc = woq_calib_put(c, &c->held[c->n_put]);
    return rc;
}

/* Where the command failed. */
static int at_unit(struct woq_calib *c)
{
    return c->at_head ? woq_error_at(c->err, "group '%s'", c->group)
                      : woq_error_at(c->err, "block %zu, group '%s'", c->block, c->group);
}

int woq_calib_send(struct woq_calib *c, struct woq_frame *f)
{
    if (!c->command)
        return woq_calib_put(c, f);
    return woq_coproc_put(c->command, f, c->err) < 0 ? at_unit(c) : WOQ_OK;
}

/* On a terminal one sees who is at work. */
static void show_wait(struct woq_calib *c)
{
    char item[64];

    if (c->at_head)
        snprintf(item, sizeof item, "%s: at the command", c->group);
    else
        snprintf(item, sizeof item, "block %zu, %s: at the command", c->block, c->group);
    woq_progress_wait(c->w->progress, woq_reader_bytes(c->w->in), item);
}

int woq_calib_loop(struct woq_calib *c, struct woq_frame **frames, size_t *n)
{
    struct woq_json *unit = woq_calib_unit_meta(c, c->group);
    int rc = unit ? WOQ_OK : woq_fail_nomem(c->err, 256);

    show_wait(c);
    if (rc == WOQ_OK && woq_coproc_loop(c->command, unit, frames, n, c->err) < 0)
        rc = at_unit(c);
    woq_json_free(unit);
    return rc;
}

struct woq_json *woq_calib_unit_meta(const struct woq_calib *c, const char *group)
{
    struct woq_json *unit = woq_json_object();

    if (!c->at_head)
        woq_json_set_num(unit, "block", (double)c->block);
    woq_json_set_str(unit, "group", group);
    return unit;
}

static int add_rows(struct woq_calib *c, size_t i, const struct woq_rows *a, size_t n_tokens,
                    size_t width)
{
    const uint64_t shape[2] = { n_tokens, width };
    const void *data = a->x;

    if (c->o.acts_dtype != WOQ_F32) {
        void *narrow = woq_buf_need(&c->narrow[i], n_tokens * width * 2, c->err);

        if (!narrow)
            return WOQ_ENOMEM;
        woq_from_f32(narrow, c->o.acts_dtype, a->x, n_tokens * width);
        data = narrow;
    }
    return woq_frame_add(&c->out, a->name, c->o.acts_dtype, 2, shape, data, c->err);
}

int woq_calib_make_acts(struct woq_calib *c, const char *group, const char *of,
                        const struct woq_rows *arrays, size_t n_arrays, size_t n_tokens,
                        size_t width, size_t token0)
{
    int rc = WOQ_OK;

    woq_frame_begin(&c->out, "acts");
    c->out.flags = WOQ_FRAME_OF;
    woq_json_free(c->out.meta);
    c->out.meta = woq_calib_unit_meta(c, group);
    woq_json_set_str(c->out.meta, "of", of);
    woq_json_set_num(c->out.meta, "token0", (double)(c->o.token0 + token0));
    for (size_t i = 0; i < n_arrays && rc == WOQ_OK; i++)
        rc = add_rows(c, i, &arrays[i], n_tokens, width);
    return rc;
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
        struct woq_place p;

        if (woq_arch_place(c->config.arch, woq_frame_name(held), &p))
            woq_block_forget(&c->weights, &c->config, &p);
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
        if (frames[k].type[0] < 'a' && strcmp(frames[k].type, "BLKB") != 0 &&
            strcmp(woq_frame_name(&frames[k]), woq_frame_name(&frames[i])) == 0)
            return true;
    return false;
}

int woq_calib_check_back(const struct woq_calib *c, const struct woq_frame *frames, size_t n)
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
    int rc = woq_calib_check_back(c, frames, n);

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
    struct woq_frame *frames = NULL;
    size_t n = 0, n_sent = 0, n_back = 0;
    int rc = WOQ_OK;

    for (size_t i = 0; i < c->n_held && rc == WOQ_OK; i++)
        if (in_group(&c->held[i], group)) {
            rc = woq_calib_send(c, &c->held[i]);
            n_sent++;
        }
    if (rc == WOQ_OK)
        rc = woq_calib_loop(c, &frames, &n);
    if (rc == WOQ_OK)
        rc = take_back(c, group, frames, n, &n_back);
    if (rc == WOQ_OK && n_back != n_sent)
        rc = woq_fail(c->err, WOQ_EDATA, "the command must return each weight once",
                      "'%s' returned %zu weights of block %zu, group '%s', want %zu", c->o.through,
                      n_back, c->block, group, n_sent);
    if (rc == WOQ_OK)
        woq_coproc_next(c->command);
    return rc;
}

enum woq_moment_kind woq_calib_moment_kind(const struct woq_calib *c)
{
    return c->o.emit == WOQ_EMIT_HESS ? WOQ_MOMENT_HESS : WOQ_MOMENT_STAT;
}

bool woq_calib_is_sum(const struct woq_calib *c)
{
    return c->o.emit == WOQ_EMIT_HESS || c->o.emit == WOQ_EMIT_STAT;
}

int woq_calib_send_sum(struct woq_calib *c, struct woq_moments *sum)
{
    int rc = woq_moments_emit(sum, woq_calib_moment_kind(c), &c->out, c->err);

    if (rc == WOQ_OK)
        rc = woq_calib_send(c, &c->out);
    woq_moments_clear(sum);
    return rc;
}

int woq_calib_group_acts(struct woq_calib *c, const struct woq_frame *first, const float *x,
                         size_t n_tokens, size_t width, size_t token0)
{
    const char *group = woq_json_get_str(first->meta, "group");
    struct woq_rows rows[] = { { "x", x }, { "x_float", NULL } };
    const size_t n = c->xf ? 2 : 1;
    int rc = c->xf ? woq_calib_float_rows(c, group, token0, n_tokens, width, &rows[1].x) : WOQ_OK;

    if (rc == WOQ_OK)
        rc = woq_calib_make_acts(c, group, woq_frame_name(first), rows, n, n_tokens, width, token0);
    if (rc == WOQ_OK && !woq_calib_is_sum(c)) /* a sum looks by itself */
        rc = woq_acts_check((int64_t)c->block, group, WOQ_ACTS_QUANTIZED, x, n_tokens, width,
                            c->err);
    return rc;
}

/* woq_tap: before the group's first weight, what describes its inputs. */
static int end_group(void *ctx, const char *group, struct woq_error *err)
{
    struct woq_calib *c = ctx;
    const struct woq_frame *first = woq_calib_first_of(c, group, err);
    int rc = first ? WOQ_OK : WOQ_EDATA;
    const bool starved = c->n_shown == 0 && c->o.emit != WOQ_EMIT_NONE;

    c->group = group;
    c->n_shown = 0;
    if (rc == WOQ_OK && starved)
        rc = woq_calib_experts_starved(c, group);
    if (rc == WOQ_OK)
        rc = woq_calib_put_until(c, (size_t)(first - c->held));

    if (rc == WOQ_OK && woq_calib_is_sum(c) && !starved)
        rc = woq_calib_send_sum(c, &c->sums[0]);
    if (rc == WOQ_OK && c->command)
        rc = round_trip(c, group);
    return rc;
}

/* woq_tap: chunks of a group's inputs, in order. */
static int on_input(void *ctx, const char *group, const float *x, size_t n_tokens, size_t width,
                    size_t token0, struct woq_error *err)
{
    struct woq_calib *c = ctx;
    const struct woq_frame *first = woq_calib_first_of(c, group, err);
    int rc = first ? WOQ_OK : WOQ_EDATA;

    c->group = group;
    c->n_shown += n_tokens;
    woq_calib_experts_count(c, group, n_tokens);
    if (rc == WOQ_OK && c->o.emit != WOQ_EMIT_NONE)
        rc = woq_calib_group_acts(c, first, x, n_tokens, width, token0);
    if (rc == WOQ_OK && woq_calib_is_sum(c)) {
        rc = woq_moments_take(&c->sums[0], woq_calib_moment_kind(c), &c->out, err);
    } else if (rc == WOQ_OK && c->o.emit != WOQ_EMIT_NONE) {
        rc = woq_calib_put_until(c, (size_t)(first - c->held));
        if (rc == WOQ_OK)
            rc = woq_calib_send(c, &c->out);
    }
    return rc;
}

int woq_calib_groups(struct woq_calib *c)
{
    const struct woq_tap tap = { on_input, end_group, c };
    const bool tapped = c->command || c->o.emit != WOQ_EMIT_NONE;
    const int rc = c->xf ? woq_calib_float_pass(c, 0, c->o.n_samples) : WOQ_OK;

    if (rc < 0)
        return rc;
    return woq_block_forward(c->decoder, &c->weights, c->x, c->o.n_samples, c->o.seqlen,
                             tapped ? &tap : NULL, c->err);
}
