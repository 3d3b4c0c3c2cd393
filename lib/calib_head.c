/* calib_head.c -- the head as a last group, where its scheme asks for one.
 *
 * A head is left alone unless its meta has "quant" (woq-scheme): the same rule as for every
 * quantizer. Its inputs are the activations after the last block behind the final norm. */
#include "calib_internal.h"

#include <woq/quant.h>

#include <string.h>

enum { ROWS_PER_FRAME = 2048 };

static const char group[] = "lm_head";

int woq_calib_is_head(struct woq_calib *c, const struct woq_frame *f)
{
    const char *role = woq_json_get_str(f->meta, "role");
    const struct woq_array *data = woq_frame_array(f, "data");
    struct woq_scheme s, defaults;

    if (!role || strcmp(role, woq_role_name(WOQ_ROLE_HEAD)) != 0 || !data || data->n_dims != 2 ||
        (c->o.emit == WOQ_EMIT_NONE && !c->o.through))
        return WOQ_OK;
    woq_scheme_init(&defaults);
    return woq_scheme_choose(&s, f, &defaults, NULL, c->err);
}

static float *normed(struct woq_calib *c, struct woq_buf *buf, const float *x, size_t n)
{
    float *y = woq_buf_need(buf, n * woq_head_width(&c->config) * sizeof *y, c->err);
    struct woq_head head;

    woq_head_init(&head, &c->config, &c->outside, NULL);
    if (y)
        woq_head_input(y, &c->config, &head, x, n);
    return y;
}

/* Rows [t, t + n) as a chunk: sent, or added to the sum. */
static int describe(struct woq_calib *c, const char *name, size_t t, size_t n)
{
    const size_t hidden = c->config.hidden, width = c->config.embed_dim;
    struct woq_rows rows[] = { { "x", normed(c, &c->windows, c->x + t * hidden, n) },
                               { "x_float", NULL } };
    int rc;

    if (c->xf)
        rows[1].x = normed(c, &c->windows_float, c->xf + t * hidden, n);
    if (!rows[0].x || (c->xf && !rows[1].x))
        return WOQ_ENOMEM;
    rc = woq_acts_check(-1, group, WOQ_ACTS_QUANTIZED, rows[0].x, n, width, c->err);
    if (rc == WOQ_OK)
        rc = woq_calib_make_acts(c, group, name, rows, c->xf ? 2 : 1, n, width, t);
    if (rc < 0)
        return rc;
    return woq_calib_is_sum(c)
               ? woq_moments_take(&c->sums[0], woq_calib_moment_kind(c), &c->out, c->err)
               : woq_calib_send(c, &c->out);
}

/* The head that came back: once, of the same shape. */
static int check_back(struct woq_calib *c, const struct woq_frame *f, const struct woq_frame *head,
                      size_t n_before)
{
    struct woq_buf buf = { 0 };
    size_t rows, cols;
    struct woq_tensor t;
    const float *data;
    int rc;

    if (n_before || strcmp(woq_frame_name(f), woq_frame_name(head)) != 0)
        return woq_fail(c->err, WOQ_EDATA, "the command must return each weight once",
                        "'%s' returned %s '%s', which is not awaited in group '%s'", c->o.through,
                        f->type, woq_frame_name(f), group);
    rc = woq_frame_view(head, &t, c->err);
    if (rc == WOQ_OK)
        rc = woq_weight_f32(f, &rows, &cols, &data, &buf, c->err);
    woq_buf_release(&buf);
    if (rc == WOQ_OK && (rows != t.n_rows || cols != t.n_cols))
        rc = woq_fail(c->err, WOQ_EDATA, NULL, "'%s' returned %zu x %zu, want %zu x %zu",
                      c->o.through, rows, cols, t.n_rows, t.n_cols);
    return rc < 0 ? woq_error_at(c->err, "'%s'", woq_frame_name(head)) : rc;
}

static int round_trip(struct woq_calib *c, struct woq_frame *head)
{
    struct woq_frame *frames = NULL;
    size_t n = 0, n_back = 0;
    int rc = woq_calib_send(c, head);

    if (rc == WOQ_OK)
        rc = woq_calib_loop(c, &frames, &n);
    for (size_t i = 0; i < n && rc == WOQ_OK; i++)
        if (frames[i].type[0] < 'a')
            rc = check_back(c, &frames[i], head, n_back++);
    if (rc == WOQ_OK && n_back != 1)
        rc = woq_fail(c->err, WOQ_EDATA, "the command must return each weight once",
                      "'%s' returned 0 weights of group '%s', want 1", c->o.through, group);
    for (size_t i = 0; i < n && rc == WOQ_OK; i++)
        if (!woq_frame_is(&frames[i], "acts"))
            rc = woq_calib_put(c, &frames[i]);
    if (rc == WOQ_OK)
        woq_coproc_next(c->command);
    return rc;
}

static int check_place(struct woq_calib *c, const struct woq_frame *head)
{
    const char *name = woq_frame_name(head);

    if (c->config.tie)
        return woq_fail(c->err, WOQ_EDATA,
                        "leave the head alone: woq-scheme --set 'lm_head* float'",
                        "'%s' is to be quantized, but config.json ties it to the embedding", name);
    if (!c->x || c->next_block != c->config.n_layers)
        return woq_fail(c->err, WOQ_EDATA, "give --acts-from after the last block",
                        "the head '%s' comes after %zu of %zu blocks", name, c->next_block,
                        c->config.n_layers);
    if (!c->outside.w[WOQ_ROLE_FINAL_NORM] &&
        !(c->config.traits & (WOQ_T_NO_FINAL_NORM | WOQ_T_NORM_FREE)))
        return woq_fail(c->err, WOQ_EDATA, "start from woq-extract",
                        "the head '%s' comes before the final norm", name);
    return WOQ_OK;
}

int woq_calib_head(struct woq_calib *c, struct woq_frame *head)
{
    int rc = check_place(c, head);

    c->at_head = true;
    c->group = group;
    for (size_t t = 0; t < c->n_tokens && rc == WOQ_OK && c->o.emit != WOQ_EMIT_NONE;
         t += ROWS_PER_FRAME)
        rc = describe(c, woq_frame_name(head), t,
                      c->n_tokens - t < ROWS_PER_FRAME ? c->n_tokens - t : ROWS_PER_FRAME);
    if (rc == WOQ_OK && woq_calib_is_sum(c))
        rc = woq_calib_send_sum(c, &c->sums[0]);
    if (rc == WOQ_OK)
        rc = c->command ? round_trip(c, head) : woq_calib_put(c, head);
    c->at_head = false;
    return rc;
}
