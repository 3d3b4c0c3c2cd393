/* calib_block.c -- a whole block as a unit, for methods that look at more than one group.
 *
 * First a forward with the weights as they came, which describes: on a copy of the activations,
 * some samples at a time, so that no matrix of all tokens is needed beside them. Then the command
 * gets the block, and a second forward on what came back propagates. Where nothing comes back, or
 * the forward stays in float, the first one is the only one. */
#include "calib_internal.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS_PER_FRAME = 4096 };

/* What the tap needs beside the calib: where the samples in hand begin. */
struct pass {
    struct woq_calib *c;
    size_t token0;
};

/* The sum of a group: the one in use for it, or an empty one. */
static struct woq_moments *sum_of(struct woq_calib *c, const char *group)
{
    for (size_t i = 0; i < c->n_sums; i++)
        if (woq_moments_is_empty(&c->sums[i]) ||
            strcmp(woq_json_get_str(c->sums[i].meta, "group"), group) == 0)
            return &c->sums[i];
    WOQ_BUG("more groups than any block has");
}

/* woq_tap: adds to the sums of all groups. */
static int on_input(void *ctx, const char *group, const float *x, size_t n_tokens, size_t width,
                    size_t token0, struct woq_error *err)
{
    const struct pass *p = ctx;
    struct woq_calib *c = p->c;
    const struct woq_frame *first = woq_calib_first_of(c, group, err);
    int rc = first ? WOQ_OK : WOQ_EDATA;

    woq_calib_experts_count(c, group, n_tokens);
    if (rc == WOQ_OK)
        rc = woq_calib_group_acts(c, first, x, n_tokens, width, p->token0 + token0);
    return rc == WOQ_OK ? woq_moments_take(sum_of(c, group), woq_calib_moment_kind(c), &c->out, err)
                        : rc;
}

/* Chunks of the block's inputs and float outputs, arrays [n_tokens][hidden]. */
static int send_acts(struct woq_calib *c, const struct woq_rows *arrays, size_t n_tokens,
                     size_t token0)
{
    const size_t width = c->config.hidden, n_arrays = c->xf ? 4 : 2;
    const char *of = "";
    int rc = WOQ_OK;

    for (size_t i = 0; i < c->n_held && !*of; i++)
        of = woq_frame_name(&c->held[i]);
    for (size_t t = 0; t < n_tokens && rc == WOQ_OK; t += ROWS_PER_FRAME) {
        const size_t n = n_tokens - t < ROWS_PER_FRAME ? n_tokens - t : ROWS_PER_FRAME;
        struct woq_rows rows[WOQ_CALIB_ARRAYS];

        for (size_t i = 0; i < n_arrays; i++)
            rows[i] = (struct woq_rows){ arrays[i].name, arrays[i].x + t * width };
        rc = woq_calib_make_acts(c, "block", of, rows, n_arrays, n, width, token0 + t);
        if (rc == WOQ_OK)
            rc = woq_calib_send(c, &c->out);
    }
    return rc;
}

static float *copy_rows(struct woq_buf *buf, const float *x, size_t n_elem, struct woq_error *err)
{
    float *copy = woq_buf_need(buf, n_elem * sizeof *copy, err);

    if (copy)
        memcpy(copy, x, n_elem * sizeof *copy);
    return copy;
}

/* Samples [w, w + n) through the float block; `keep`: the activations move on. Those of the float
 * path move on always. */
static int describe_windows(struct woq_calib *c, size_t w, size_t n, bool keep)
{
    const bool acts = c->o.emit == WOQ_EMIT_ACTS;
    const size_t n_tokens = n * c->o.seqlen, n_elem = n_tokens * c->config.hidden;
    struct pass p = { c, w * c->o.seqlen };
    const struct woq_tap tap = { on_input, NULL, &p };
    float *x = c->x + p.token0 * c->config.hidden, *y = x;
    struct woq_rows rows[] = { { "x", x }, { "y", x }, { "x_float", NULL }, { "y_float", NULL } };
    int rc = WOQ_OK;

    if (!keep || acts)
        y = copy_rows(&c->windows, x, n_elem, c->err);
    if (c->xf) {
        rows[3].x = c->xf + p.token0 * c->config.hidden;
        rows[2].x = acts ? copy_rows(&c->windows_float, rows[3].x, n_elem, c->err) : rows[3].x;
        rc = rows[2].x ? woq_calib_float_pass(c, w, n) : WOQ_ENOMEM;
    }
    rows[1].x = y;
    if (!y || rc < 0)
        return y ? rc : WOQ_ENOMEM;
    rc = woq_block_forward(c->decoder, &c->weights, y, n, c->o.seqlen,
                           woq_calib_is_sum(c) ? &tap : NULL, c->err);
    if (rc == WOQ_OK && acts)
        rc = send_acts(c, rows, n_tokens, p.token0);
    if (rc == WOQ_OK && keep && y != x)
        memcpy(x, y, n_elem * sizeof *y);
    return rc;
}

static int describe(struct woq_calib *c)
{
    const size_t step = woq_decoder_windows(c->decoder, c->o.seqlen);
    const bool keep = !c->command || c->o.float_inputs;
    int rc = WOQ_OK;

    if (c->o.emit == WOQ_EMIT_NONE && !keep)
        return c->xf ? woq_calib_float_pass(c, 0, c->o.n_samples) : WOQ_OK;
    for (size_t w = 0; w < c->o.n_samples && rc == WOQ_OK; w += step)
        rc = describe_windows(c, w, c->o.n_samples - w < step ? c->o.n_samples - w : step, keep);
    return rc;
}

/* Held frames [from, n) with the sum of a group before its first weight. */
static int send_block(struct woq_calib *c, size_t from)
{
    int rc = WOQ_OK;

    for (size_t i = from; i < c->n_held && rc == WOQ_OK; i++) {
        for (size_t g = 0; g < c->n_sums && rc == WOQ_OK; g++)
            if (!woq_moments_is_empty(&c->sums[g]) &&
                strcmp(woq_json_get_str(c->sums[g].meta, "of"), woq_frame_name(&c->held[i])) == 0)
                rc = woq_calib_send_sum(c, &c->sums[g]);
        if (rc == WOQ_OK)
            rc = woq_calib_send(c, &c->held[i]);
    }
    return rc;
}

static bool is_weight(const struct woq_frame *f)
{
    return woq_frame_is_tensor(f) || woq_frame_is(f, "QTEN");
}

/* Was this sent? A tensor may come back as QTEN, everything else as it was. */
static bool is_awaited(const struct woq_calib *c, const struct woq_frame *f)
{
    for (size_t i = 0; i < c->n_held; i++)
        if (strcmp(woq_frame_name(&c->held[i]), woq_frame_name(f)) == 0 &&
            (woq_frame_is(f, c->held[i].type) || (is_weight(f) && is_weight(&c->held[i]))))
            return true;
    return false;
}

/* Everything that a reader must understand came back once, between the block's ends. */
static int check_frames(struct woq_calib *c, const struct woq_frame *frames, size_t n)
{
    size_t n_sent = 0, n_back = 0;
    int rc = woq_calib_check_back(c, frames, n);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < c->n_held; i++)
        n_sent += c->held[i].type[0] < 'a';
    for (size_t i = 0; i < n; i++) {
        if (frames[i].type[0] >= 'a')
            continue;
        if (!is_awaited(c, &frames[i]))
            return woq_fail(c->err, WOQ_EDATA, "the command must return each weight once",
                            "'%s' returned %s '%s', which is not awaited in block %zu",
                            c->o.through, frames[i].type, woq_frame_name(&frames[i]), c->block);
        n_back++;
        if ((n_back == 1) != woq_frame_is(&frames[i], "BLKB") ||
            (n_back == n_sent) != woq_frame_is(&frames[i], "BLKE"))
            break;
    }
    if (n_back == n_sent)
        return WOQ_OK;
    return woq_fail(c->err, WOQ_EDATA, "BLKB, each tensor once, BLKE must come back",
                    "'%s' returned %zu of %zu frames of block %zu from BLKB to BLKE", c->o.through,
                    n_back, n_sent, c->block);
}

/* The block as it came back: its weights for the forward, its frames into the output. */
static int take_back(struct woq_calib *c, struct woq_frame *frames, size_t n)
{
    int rc = check_frames(c, frames, n);

    if (rc < 0)
        return rc;
    woq_block_clear(&c->weights);
    for (size_t i = 0; i < n && rc == WOQ_OK; i++)
        if (is_weight(&frames[i]) && woq_json_get_str(frames[i].meta, "role"))
            rc = woq_block_take(&c->weights, &c->config, &frames[i], c->err);
    if (rc == WOQ_OK)
        rc = woq_block_check(&c->weights, &c->config, c->err);
    if (rc < 0)
        return woq_error_at(c->err, "block %zu as '%s' returned it", c->block, c->o.through);
    for (size_t i = 0; i < n && rc == WOQ_OK; i++)
        if (!woq_frame_is(&frames[i], "acts"))
            rc = woq_calib_put(c, &frames[i]);
    c->n_put = c->n_held;
    return rc;
}

static int round_trip(struct woq_calib *c)
{
    struct woq_frame *frames = NULL;
    size_t n = 0;
    int rc = woq_calib_loop(c, &frames, &n);

    if (rc == WOQ_OK)
        rc = take_back(c, frames, n);
    if (rc == WOQ_OK)
        woq_coproc_next(c->command);
    if (rc == WOQ_OK && !c->o.float_inputs)
        rc = woq_block_forward(c->decoder, &c->weights, c->x, c->o.n_samples, c->o.seqlen, NULL,
                               c->err);
    return rc;
}

int woq_calib_block(struct woq_calib *c)
{
    int rc;

    c->group = "block";
    rc = woq_calib_send(c, &c->held[0]); /* BLKB */
    c->n_put = 1;
    if (rc == WOQ_OK)
        rc = describe(c);
    if (rc == WOQ_OK)
        rc = send_block(c, 1);
    c->n_put = c->n_held;
    return rc == WOQ_OK && c->command ? round_trip(c) : rc;
}
