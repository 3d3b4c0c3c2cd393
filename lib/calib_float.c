/* calib_float.c -- the path of the float model beside the quantized one (--targets both).
 *
 * It has its own activations and its own forward, with the weights as they came. What it feeds to
 * each group of the block in hand waits in a spill until the quantized path gets there. */
#include "calib_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pass {
    struct woq_calib *c;
    size_t token0; /* of these samples */
};

static struct woq_float_rows *rows_of(struct woq_float_path *p, size_t limit, const char *group)
{
    size_t i = 0;

    while (i < p->n_groups && strcmp(p->groups[i].name, group) != 0)
        i++;
    if (i == limit)
        WOQ_BUG("more groups than any block has");
    return &p->groups[i];
}

/* woq_tap: rows of one group, kept. */
static int on_input(void *ctx, const char *group, const float *x, size_t n_tokens, size_t width,
                    size_t token0, struct woq_error *err)
{
    const struct pass *pass = ctx;
    struct woq_float_path *p = &pass->c->path;
    struct woq_float_rows *g = rows_of(p, pass->c->n_sums, group);
    int rc =
        woq_acts_check((int64_t)pass->c->block, group, WOQ_ACTS_FLOAT, x, n_tokens, width, err);

    if (rc == WOQ_OK && g == &p->groups[p->n_groups]) {
        p->n_groups++;
        snprintf(g->name, sizeof g->name, "%s", group);
        if (!g->spill)
            rc = woq_spill_open(&g->spill, pass->c->o.spill_bytes / pass->c->n_sums, err);
        if (rc == WOQ_OK)
            rc = woq_spill_begin(g->spill, p->n_tokens, width * sizeof *x, err);
    }
    return rc == WOQ_OK
               ? woq_spill_put(g->spill, pass->token0 + token0 - p->token0, n_tokens, x, err)
               : rc;
}

int woq_calib_float_pass(struct woq_calib *c, size_t w, size_t n)
{
    const size_t step = woq_decoder_windows(c->decoder, c->o.seqlen), end = w + n;
    const bool keep = woq_calib_is_sum(c) || (c->o.emit == WOQ_EMIT_ACTS && !c->o.block_unit);
    struct pass pass = { c, 0 };
    const struct woq_tap tap = { on_input, NULL, &pass };
    int rc = WOQ_OK;

    c->path.n_groups = 0;
    c->path.token0 = w * c->o.seqlen;
    c->path.n_tokens = n * c->o.seqlen;
    for (; w < end && rc == WOQ_OK; w += step) {
        pass.token0 = w * c->o.seqlen;
        rc = woq_block_forward(c->decoder, &c->weights, c->xf + pass.token0 * c->config.hidden,
                               end - w < step ? end - w : step, c->o.seqlen, keep ? &tap : NULL,
                               c->err);
    }
    return rc;
}

int woq_calib_float_rows(struct woq_calib *c, const char *group, size_t token0, size_t n_tokens,
                         size_t width, const float **x)
{
    struct woq_float_rows *g = rows_of(&c->path, c->n_sums, group);
    float *rows = woq_buf_need(&c->path.rows, n_tokens * width * sizeof *rows, c->err);

    if (!rows)
        return WOQ_ENOMEM;
    if (g == &c->path.groups[c->path.n_groups])
        WOQ_BUG("a group that the float path did not see");
    *x = rows;
    return woq_spill_get(g->spill, token0 - c->path.token0, n_tokens, rows, c->err);
}

int woq_calib_float_check(struct woq_calib *c)
{
    for (size_t i = 0; c->xf && i < c->n_held; i++)
        if (woq_frame_is(&c->held[i], "QTEN") && woq_json_get_str(c->held[i].meta, "role"))
            return woq_fail(c->err, WOQ_EDATA, "give the stream of the float model",
                            "--targets both needs float weights: '%s' is quantized",
                            woq_frame_name(&c->held[i]));
    return WOQ_OK;
}

void woq_calib_float_close(struct woq_calib *c)
{
    for (size_t i = 0; c->path.groups && i < c->n_sums; i++)
        woq_spill_close(c->path.groups[i].spill);
    free(c->path.groups);
    woq_buf_release(&c->path.rows);
    free(c->xf);
}
