/* arch_shape.c -- which tensors a config asks for, their shapes, their order in a stream, and where
 * their rows belong (models.md 3, 4). */
#include "arch_internal.h"

#include <string.h>

#include <woq/error.h>

bool woq_config_has_experts(const struct woq_config *c, size_t block)
{
    return c->n_experts && !woq_bits_get(c->dense_blocks, block);
}

size_t woq_config_window(const struct woq_config *c, size_t block)
{
    return woq_bits_get(c->window_blocks, block) ? c->window : 0;
}

bool woq_config_has_rope(const struct woq_config *c, size_t block)
{
    return c->n_rot && !woq_bits_get(c->no_rope_blocks, block);
}

size_t woq_config_count(const struct woq_config *c, enum woq_role role)
{
    if (woq_role_is_expert(role))
        return c->n_experts;
    if (role == WOQ_ROLE_Q_NORM || role == WOQ_ROLE_K_NORM) {
        const char *name = c->arch->names[role];

        if (name && strstr(name, "{e}"))
            return role == WOQ_ROLE_Q_NORM ? c->n_heads : c->n_kv_heads;
    }
    return 1;
}

/* ------------------------------------------------------------------ shapes */

static void qk_norm_shape(const struct woq_config *c, enum woq_role role, uint64_t shape[2])
{
    const size_t heads = role == WOQ_ROLE_Q_NORM ? c->n_heads : c->n_kv_heads;
    const bool one_each = woq_config_count(c, role) > 1;

    shape[0] = c->head_dim;
    if (c->arch->qk_norm == WOQ_QK_WHOLE)
        shape[0] = heads * c->head_dim;
    else if (c->arch->qk_norm == WOQ_QK_PER_HEAD && !one_each) {
        shape[0] = heads;
        shape[1] = c->head_dim;
    }
}

void woq_weight_shape(const struct woq_config *c, enum woq_role role, uint64_t shape[2])
{
    const uint64_t h = c->hidden, q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
    const uint64_t v = c->n_kv_heads * c->v_dim, latent = c->q_lora ? c->q_lora : h;
    const uint64_t nope = c->head_dim - c->n_rot;
    const uint64_t shapes[WOQ_N_ROLES][2] = {
        [WOQ_ROLE_EMBED] = { c->vocab, c->embed_dim },
        [WOQ_ROLE_POSITION] = { c->max_positions + c->arch->position_offset, h },
        [WOQ_ROLE_EMBED_NORM] = { h, 0 },
        [WOQ_ROLE_PROJECT_IN] = { h, c->embed_dim },
        [WOQ_ROLE_ATTN_NORM] = { h, 0 },
        [WOQ_ROLE_QKV] = { q + kv + v, h },
        [WOQ_ROLE_Q] = { q, h },
        [WOQ_ROLE_K] = { kv, h },
        [WOQ_ROLE_V] = { v, h },
        [WOQ_ROLE_Q_A] = { c->q_lora, h },
        [WOQ_ROLE_KV_A] = { c->kv_lora + c->n_rot, h },
        [WOQ_ROLE_Q_A_NORM] = { c->q_lora, 0 },
        [WOQ_ROLE_Q_B] = { q, latent },
        [WOQ_ROLE_KV_A_NORM] = { c->kv_lora, 0 },
        [WOQ_ROLE_KV_B] = { c->n_heads * (nope + c->v_dim), c->kv_lora },
        [WOQ_ROLE_SINKS] = { c->n_heads, 0 },
        [WOQ_ROLE_O] = { h, c->n_heads * c->v_dim },
        [WOQ_ROLE_ATTN_POST_NORM] = { h, 0 },
        [WOQ_ROLE_MLP_NORM] = { h, 0 },
        [WOQ_ROLE_ROUTER] = { c->n_experts, h },
        [WOQ_ROLE_CORRECTION] = { c->n_experts, 0 },
        [WOQ_ROLE_SHARED_ROUTER] = { 1, h },
        [WOQ_ROLE_GATE_UP] = { 2 * c->inter, h },
        [WOQ_ROLE_GATE] = { c->inter, h },
        [WOQ_ROLE_UP] = { c->inter, h },
        [WOQ_ROLE_DOWN] = { h, c->inter },
        [WOQ_ROLE_SHARED_GATE] = { c->shared_inter, h },
        [WOQ_ROLE_SHARED_UP] = { c->shared_inter, h },
        [WOQ_ROLE_SHARED_DOWN] = { h, c->shared_inter },
        [WOQ_ROLE_EXPERT_GATE_UP] = { 2 * c->expert_inter, h },
        [WOQ_ROLE_EXPERT_GATE] = { c->expert_inter, h },
        [WOQ_ROLE_EXPERT_UP] = { c->expert_inter, h },
        [WOQ_ROLE_EXPERT_DOWN] = { h, c->expert_inter },
        [WOQ_ROLE_MLP_POST_NORM] = { h, 0 },
        [WOQ_ROLE_FINAL_NORM] = { h, 0 },
        [WOQ_ROLE_PROJECT_OUT] = { c->embed_dim, h },
        [WOQ_ROLE_HEAD] = { c->vocab, c->embed_dim },
    };

    memcpy(shape, shapes[role], 2 * sizeof *shape);
    if (role == WOQ_ROLE_Q_NORM || role == WOQ_ROLE_K_NORM)
        qk_norm_shape(c, role, shape);
}

/* Tensors that only some configs of a row have. */
static bool has_weight(const struct woq_config *c, enum woq_role role, long block)
{
    const bool experts = block >= 0 && woq_config_has_experts(c, (size_t)block);

    switch (role) {
    case WOQ_ROLE_PROJECT_IN:
    case WOQ_ROLE_PROJECT_OUT:
        return c->embed_dim != c->hidden;
    case WOQ_ROLE_MLP_NORM:
        return !woq_has(c, WOQ_T_ONE_NORM);
    case WOQ_ROLE_FINAL_NORM:
        return !woq_has(c, WOQ_T_NO_FINAL_NORM);
    case WOQ_ROLE_Q:
        return c->qkv != WOQ_QKV_MLA || !c->q_lora;
    case WOQ_ROLE_Q_A:
    case WOQ_ROLE_Q_A_NORM:
    case WOQ_ROLE_Q_B:
        return c->q_lora > 0;
    case WOQ_ROLE_Q_NORM:
    case WOQ_ROLE_K_NORM:
        return woq_has(c, WOQ_T_QK_NORM);
    case WOQ_ROLE_GATE:
    case WOQ_ROLE_GATE_UP:
        return !experts && woq_has(c, WOQ_T_GATED);
    case WOQ_ROLE_UP:
    case WOQ_ROLE_DOWN:
        return !experts;
    case WOQ_ROLE_SHARED_ROUTER:
    case WOQ_ROLE_SHARED_GATE:
    case WOQ_ROLE_SHARED_UP:
    case WOQ_ROLE_SHARED_DOWN:
        return experts && c->shared_inter > 0;
    case WOQ_ROLE_CORRECTION:
        return experts && woq_has(c, WOQ_T_CORRECTION);
    case WOQ_ROLE_ROUTER:
    case WOQ_ROLE_EXPERT_GATE_UP:
    case WOQ_ROLE_EXPERT_GATE:
    case WOQ_ROLE_EXPERT_UP:
    case WOQ_ROLE_EXPERT_DOWN:
        return experts;
    default:
        return true;
    }
}

static bool has_bias(const struct woq_config *c, enum woq_role role)
{
    switch (role) {
    case WOQ_ROLE_QKV:
    case WOQ_ROLE_K:
    case WOQ_ROLE_V:
    case WOQ_ROLE_Q_A:
    case WOQ_ROLE_KV_A:
        return woq_has(c, WOQ_T_QKV_BIAS);
    case WOQ_ROLE_Q:
        return woq_has(c, WOQ_T_QKV_BIAS) && c->qkv != WOQ_QKV_MLA;
    case WOQ_ROLE_O:
        return woq_has(c, WOQ_T_O_BIAS);
    case WOQ_ROLE_GATE_UP:
    case WOQ_ROLE_GATE:
    case WOQ_ROLE_UP:
    case WOQ_ROLE_DOWN:
    case WOQ_ROLE_EXPERT_GATE_UP:
    case WOQ_ROLE_EXPERT_GATE:
    case WOQ_ROLE_EXPERT_UP:
    case WOQ_ROLE_EXPERT_DOWN:
        return woq_has(c, WOQ_T_MLP_BIAS);
    case WOQ_ROLE_ROUTER:
        return woq_has(c, WOQ_T_ROUTER_BIAS);
    case WOQ_ROLE_HEAD:
        return woq_has(c, WOQ_T_HEAD_BIAS);
    case WOQ_ROLE_Q_NORM:
    case WOQ_ROLE_K_NORM:
        return woq_has(c, WOQ_T_QK_BIAS);
    default:
        return woq_role_is_norm(role) && woq_has(c, WOQ_T_NORM_BIAS);
    }
}

bool woq_config_shape(const struct woq_config *c, const struct woq_place *p, unsigned *n_dims,
                      uint64_t shape[2])
{
    const char *name = p->role ? c->arch->names[p->role] : NULL;

    if (!name || woq_role_in_block(p->role) != (p->block >= 0) || !has_weight(c, p->role, p->block))
        return false;
    if (woq_role_is_norm(p->role) && woq_has(c, WOQ_T_NORM_FREE))
        return false;
    if (p->bias && (!has_bias(c, p->role) || name[strlen(name) - 1] == '!'))
        return false;
    woq_weight_shape(c, p->role, shape);
    *n_dims = p->bias || !shape[1] ? 1 : 2;
    /* A norm of q and k that lies in one matrix has no bias in any row. */
    if (*n_dims == 1)
        shape[1] = 1;
    return shape[0] > 0;
}

/* ------------------------------------------------------------------ order */

static int part_of(const struct woq_place *p)
{
    if (p->role == WOQ_ROLE_NONE)
        return 3;
    if (p->block >= 0)
        return 1;
    return p->role < WOQ_ROLE_ATTN_NORM ? 0 : 2;
}

static enum woq_role order_of(enum woq_role r)
{
    return woq_role_is_expert(r) ? WOQ_ROLE_EXPERT_GATE_UP : r;
}

#define COMPARE(a, b)                                                                              \
    if ((a) != (b))                                                                                \
    return (a) < (b) ? -1 : 1

int woq_place_compare(const struct woq_place *a, const struct woq_place *b)
{
    COMPARE(part_of(a), part_of(b));
    COMPARE(a->block, b->block);
    COMPARE(order_of(a->role), order_of(b->role));
    COMPARE(a->index, b->index);
    COMPARE(a->role, b->role);
    COMPARE(a->bias, b->bias);
    return 0;
}

/* The next tensor that any config could have; false at the end. */
static bool step(const struct woq_config *c, struct woq_place *p)
{
    if (!p->bias) {
        p->bias = p->role != WOQ_ROLE_NONE;
        if (p->bias)
            return true;
    }
    p->bias = false;
    if (woq_role_is_expert(p->role)) {
        if (p->role < WOQ_ROLE_EXPERT_DOWN) {
            p->role++;
            return true;
        }
        if (++p->index < c->n_experts) {
            p->role = WOQ_ROLE_EXPERT_GATE_UP;
            return true;
        }
    } else if (++p->index < woq_config_count(c, p->role)) {
        return true;
    }
    p->index = 0;
    p->role++;
    if (p->role == WOQ_ROLE_ATTN_NORM && p->block < 0) {
        p->block = 0;
    } else if (p->role == WOQ_ROLE_FINAL_NORM) {
        if ((size_t)++p->block < c->n_layers)
            p->role = WOQ_ROLE_ATTN_NORM;
        else
            p->block = -1;
    }
    return p->role < WOQ_N_ROLES;
}

bool woq_config_next(const struct woq_config *c, struct woq_place *p)
{
    uint64_t shape[2];
    unsigned n_dims;

    if (p->role == WOQ_ROLE_NONE)
        *p = (struct woq_place){ .block = -1 };
    while (step(c, p))
        if (woq_config_shape(c, p, &n_dims, shape) &&
            !(p->role == WOQ_ROLE_HEAD && !p->bias && c->tie))
            return true;
    return false;
}

size_t woq_config_slots(const struct woq_config *c)
{
    const struct woq_place end = { .role = WOQ_N_ROLES };

    return woq_config_slot(c, &end);
}

size_t woq_config_slot(const struct woq_config *c, const struct woq_place *p)
{
    size_t n = 0;

    for (unsigned r = 1; r < (unsigned)p->role && r < WOQ_N_ROLES; r++)
        n += 2 * woq_config_count(c, (enum woq_role)r);
    return n + 2 * p->index + p->bias;
}

/* ------------------------------------------------------------------ rows */

/* Dimension of a head in the file -> in a forward that turns i with i + n_rot / 2. */
static size_t turn(const struct woq_config *c, size_t d)
{
    const size_t at = d - c->rot_first;

    if (!woq_has(c, WOQ_T_PAIRED) || d < c->rot_first || at >= c->n_rot)
        return d;
    return c->rot_first + at / 2 + at % 2 * (c->n_rot / 2);
}

static size_t turn_row(const struct woq_config *c, size_t row)
{
    return row - row % c->head_dim + turn(c, row % c->head_dim);
}

size_t woq_config_unfuse(const struct woq_config *c, size_t row)
{
    const size_t dim = c->head_dim, share = c->n_heads / c->n_kv_heads;
    const size_t n_q = c->n_heads * dim, n_k = c->n_kv_heads * dim;
    size_t head = row / dim, part = 0; /* 0 q, 1 k, 2 v */

    if (c->qkv == WOQ_QKV_GROUP) {
        const size_t group = head / (share + 2), at = head % (share + 2);

        part = at < share ? 0 : at - share + 1;
        head = part ? group : group * share + at;
    } else if (c->qkv == WOQ_QKV_MP4) {
        static const size_t order[] = { 0, 2, 1 }; /* q, v, k */
        const size_t each = c->n_heads / 4, shard = head / (3 * each), at = head % (3 * each);

        part = order[at / each];
        head = shard * each + at % each;
    } else if (row >= n_q) {
        part = row < n_q + n_k ? 1 : 2;
        head = (row - (part == 1 ? n_q : n_q + n_k)) / dim;
    }
    return head * dim + row % dim + (part == 0 ? 0 : part == 1 ? n_q : n_q + n_k);
}

static size_t split_row(const struct woq_config *c, size_t row)
{
    const size_t to = woq_config_unfuse(c, row);

    return to < (c->n_heads + c->n_kv_heads) * c->head_dim ? turn_row(c, to) : to;
}

bool woq_config_moves_rows(const struct woq_config *c, enum woq_role role)
{
    switch (role) {
    case WOQ_ROLE_QKV:
        return c->qkv != WOQ_QKV_CAT || woq_has(c, WOQ_T_PAIRED);
    case WOQ_ROLE_Q:
    case WOQ_ROLE_K:
    case WOQ_ROLE_Q_B:
    case WOQ_ROLE_KV_A:
        return woq_has(c, WOQ_T_PAIRED);
    case WOQ_ROLE_GATE_UP:
    case WOQ_ROLE_EXPERT_GATE_UP:
        return woq_has(c, WOQ_T_INTERLEAVED);
    default:
        return false;
    }
}

size_t woq_config_turn(const struct woq_config *c, size_t dim)
{
    return turn(c, dim);
}

size_t woq_config_row(const struct woq_config *c, const struct woq_place *p, size_t row)
{
    switch (p->role) {
    case WOQ_ROLE_QKV:
        return split_row(c, row);
    case WOQ_ROLE_Q:
    case WOQ_ROLE_K:
    case WOQ_ROLE_Q_B:
        return turn_row(c, row);
    case WOQ_ROLE_KV_A: /* the rope part is one head behind the latent vector */
        return row < c->kv_lora
                   ? row
                   : c->kv_lora + turn(c, row - c->kv_lora + c->rot_first) - c->rot_first;
    case WOQ_ROLE_GATE_UP:
    case WOQ_ROLE_EXPERT_GATE_UP:
        if (!woq_has(c, WOQ_T_INTERLEAVED))
            return row;
        return row / 2 + row % 2 * (p->role == WOQ_ROLE_GATE_UP ? c->inter : c->expert_inter);
    default:
        return row;
    }
}
