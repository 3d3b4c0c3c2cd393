/* calib_experts.c -- mixtures of experts in the walk: how many tokens reached each of them, and
 * what becomes of those that none reached.
 *
 * An expert is described by the tokens that its router sends to it. One without any has nothing to
 * be calibrated by: its weights travel on with "starved" in their meta, and woq-gptq rounds them.
 */
#include "calib_internal.h"

#include <woq/quant.h>

#include <stdlib.h>
#include <string.h>

int woq_calib_experts_open(struct woq_calib *c)
{
    const size_t n = WOQ_CALIB_GROUPS + 2 * c->config.n_experts;

    if (c->o.both && c->config.n_experts && !c->o.all_experts)
        return woq_fail(c->err, WOQ_EUNSUPPORTED, "give --calibrate-all-experts too",
                        "--targets both: the two paths send different tokens to an expert");
    c->sums = calloc(n, sizeof *c->sums);
    c->path.groups = calloc(n + 1, sizeof *c->path.groups);
    c->expert_tokens = calloc(c->config.n_experts + 1, sizeof *c->expert_tokens);
    c->n_sums = n;
    return c->sums && c->path.groups && c->expert_tokens
               ? WOQ_OK
               : woq_fail_nomem(c->err, n * sizeof *c->sums);
}

void woq_calib_experts_close(struct woq_calib *c)
{
    for (size_t i = 0; c->sums && i < c->n_sums; i++)
        woq_moments_release(&c->sums[i]);
    free(c->sums);
    free(c->expert_tokens);
}

/* Number of the expert in "gateup.3"; n_experts for a group that is of no expert. */
static size_t expert_of(const struct woq_calib *c, const char *group)
{
    const char *number = strncmp(group, "gateup.", 7) == 0 ? group + 7 : NULL;
    const size_t e = number ? strtoull(number, NULL, 10) : c->config.n_experts;

    return e < c->config.n_experts ? e : c->config.n_experts;
}

void woq_calib_experts_count(struct woq_calib *c, const char *group, size_t n_tokens)
{
    c->expert_tokens[expert_of(c, group)] += n_tokens;
}

int woq_calib_experts_starved(struct woq_calib *c, const char *group)
{
    for (size_t i = 0; i < c->n_held; i++) {
        const char *g = woq_json_get_str(c->held[i].meta, "group");
        struct woq_json *meta;

        if (!g || strcmp(g, group) != 0 || !woq_frame_is_tensor(&c->held[i]))
            continue;
        if (!(meta = woq_frame_edit(&c->held[i])))
            return woq_fail_nomem(c->err, 64);
        woq_json_set_bool(meta, "starved", true);
    }
    return WOQ_OK;
}

int woq_calib_experts_note(struct woq_calib *c)
{
    struct woq_json *tokens, *meta;

    if (!woq_config_has_experts(&c->config, c->block) ||
        (c->o.emit == WOQ_EMIT_NONE && !c->o.through))
        return WOQ_OK;
    woq_frame_begin(&c->out, "note");
    if (!(meta = woq_frame_edit(&c->out)) || !(tokens = woq_json_array()))
        return woq_fail_nomem(c->err, 256);
    woq_json_set_str(meta, "prog", "woq-calib");
    woq_json_set_num(meta, "block", (double)c->block);
    for (size_t e = 0; e < c->config.n_experts; e++) {
        woq_json_push(tokens, woq_json_of_num((double)c->expert_tokens[e]));
        c->n_starved += c->expert_tokens[e] == 0;
        c->expert_tokens[e] = 0;
    }
    c->n_seen_experts += c->config.n_experts;
    woq_json_set(meta, "expert_tokens", tokens);
    return woq_calib_put(c, &c->out);
}

void woq_calib_experts_report(struct woq_calib *c)
{
    if (c->n_starved)
        woq_filter_note(c->w,
                        "%zu of %zu experts saw no token and are not calibrated (more samples, or "
                        "--calibrate-all-experts)",
                        c->n_starved, c->n_seen_experts);
}
