/* gguf_layout.c -- see the header. */
#include <formats/gguf_layout.h>

#include <formats/gguf_arch.h>
#include <string.h>
#include <woq/util.h>

/* clang-format off */
#define BLOCK "blk.{l}."
static const char *const names[WOQ_N_ROLES] = {
    [WOQ_ROLE_EMBED] = "token_embd", [WOQ_ROLE_POSITION] = "position_embd",
    [WOQ_ROLE_EMBED_NORM] = "token_embd_norm", [WOQ_ROLE_ATTN_NORM] = BLOCK "attn_norm",
    [WOQ_ROLE_QKV] = BLOCK "attn_qkv", [WOQ_ROLE_Q] = BLOCK "attn_q",
    [WOQ_ROLE_K] = BLOCK "attn_k", [WOQ_ROLE_V] = BLOCK "attn_v",
    [WOQ_ROLE_Q_A] = BLOCK "attn_q_a", [WOQ_ROLE_KV_A] = BLOCK "attn_kv_a_mqa",
    [WOQ_ROLE_Q_A_NORM] = BLOCK "attn_q_a_norm", [WOQ_ROLE_Q_B] = BLOCK "attn_q_b",
    [WOQ_ROLE_KV_A_NORM] = BLOCK "attn_kv_a_norm", [WOQ_ROLE_KV_B] = BLOCK "attn_k_b",
    [WOQ_ROLE_Q_NORM] = BLOCK "attn_q_norm", [WOQ_ROLE_K_NORM] = BLOCK "attn_k_norm",
    [WOQ_ROLE_SINKS] = BLOCK "attn_sinks", [WOQ_ROLE_O] = BLOCK "attn_output",
    [WOQ_ROLE_ATTN_POST_NORM] = BLOCK "post_attention_norm",
    [WOQ_ROLE_MLP_NORM] = BLOCK "ffn_norm", [WOQ_ROLE_ROUTER] = BLOCK "ffn_gate_inp",
    [WOQ_ROLE_CORRECTION] = BLOCK "exp_probs_b.bias!",
    [WOQ_ROLE_SHARED_ROUTER] = BLOCK "ffn_gate_inp_shexp",
    [WOQ_ROLE_GATE_UP] = BLOCK "ffn_up", [WOQ_ROLE_GATE] = BLOCK "ffn_gate",
    [WOQ_ROLE_UP] = BLOCK "ffn_up", [WOQ_ROLE_DOWN] = BLOCK "ffn_down",
    [WOQ_ROLE_SHARED_GATE] = BLOCK "ffn_gate_shexp", [WOQ_ROLE_SHARED_UP] = BLOCK "ffn_up_shexp",
    [WOQ_ROLE_SHARED_DOWN] = BLOCK "ffn_down_shexp",
    [WOQ_ROLE_EXPERT_GATE_UP] = BLOCK "ffn_gate_exps",
    [WOQ_ROLE_EXPERT_GATE] = BLOCK "ffn_gate_exps", [WOQ_ROLE_EXPERT_UP] = BLOCK "ffn_up_exps",
    [WOQ_ROLE_EXPERT_DOWN] = BLOCK "ffn_down_exps",
    [WOQ_ROLE_MLP_POST_NORM] = BLOCK "post_ffw_norm", [WOQ_ROLE_FINAL_NORM] = "output_norm",
    [WOQ_ROLE_HEAD] = "output" };
/* clang-format on */

static bool has_quirk(const struct woq_config *c, enum woq_gguf_quirk quirk)
{
    const struct woq_gguf_arch *row = woq_gguf_arch_of(c->arch);

    return row && (row->quirks & quirk);
}

/* A template with the numbers of a place, or what its family has instead of it. */
static bool name_of(const struct woq_config *c, const struct woq_place *p, const char *name,
                    char out[64])
{
    const struct woq_gguf_arch *row = woq_gguf_arch_of(c->arch);
    size_t n;

    for (size_t i = 0; row && i < 2; i++)
        if (row->names[i].name && row->names[i].role == p->role)
            name = row->names[i].name;
    if (!row || !name)
        return false;
    n = strcspn(name, "|");
    if (name[n] && c->second_names) {
        name += n + 1;
        n = strlen(name);
    }
    return woq_place_write(name, n, p, out, 64) == WOQ_OK;
}

/* --- forms --- */

unsigned woq_gguf_form_of(const char *name)
{
    static const struct {
        const char *glob;
        enum woq_gguf_form form;
    } signs[] = { { "blk.*.attn_kv_b.weight", WOQ_GGUF_WHOLE_KV_B },
                  { "blk.*.ffn_gate.*.weight", WOQ_GGUF_EACH_EXPERT },
                  { "blk.*.ffn_gate_up_exps.weight", WOQ_GGUF_FUSED_GATE_UP },
                  { "blk.*.attn_qkv.weight", WOQ_GGUF_FUSED_QKV },
                  { "blk.*.attn_qkv.bias", WOQ_GGUF_FUSED_QKV_BIAS } };

    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (woq_name_match(name, signs[i].glob))
            return signs[i].form;
    return 0;
}

/* Where the n_rows of a role are in the file: the name, and of how many rows the ones from *at. */
static const char *find_rows(const struct woq_config *c, unsigned forms, bool bias,
                             enum woq_role role, size_t n_rows, size_t *at, size_t *of)
{
    const size_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
    const bool each = forms & WOQ_GGUF_EACH_EXPERT;

    *at = 0;
    *of = n_rows;
    switch (role) {
    case WOQ_ROLE_Q:
    case WOQ_ROLE_K:
    case WOQ_ROLE_V:
        if (!(forms & (bias ? WOQ_GGUF_FUSED_QKV_BIAS : WOQ_GGUF_FUSED_QKV)))
            return names[role];
        *at = role == WOQ_ROLE_Q ? 0 : role == WOQ_ROLE_K ? q : q + kv;
        *of = q + 2 * kv;
        return names[WOQ_ROLE_QKV];
    case WOQ_ROLE_EXPERT_GATE:
    case WOQ_ROLE_EXPERT_UP:
        if (!bias && (forms & WOQ_GGUF_FUSED_GATE_UP)) {
            *at = role == WOQ_ROLE_EXPERT_UP ? n_rows : 0;
            *of = 2 * n_rows;
            return BLOCK "ffn_gate_up_exps";
        }
        return !each                        ? names[role]
               : role == WOQ_ROLE_EXPERT_UP ? BLOCK "ffn_up.{e}"
                                            : BLOCK "ffn_gate.{e}";
    case WOQ_ROLE_EXPERT_DOWN:
        return each ? BLOCK "ffn_down.{e}" : names[role];
    case WOQ_ROLE_KV_B:
        return forms & WOQ_GGUF_WHOLE_KV_B ? BLOCK "attn_kv_b" : names[role];
    default:
        return names[role];
    }
}

/* --- parts --- */

/* One part, of a role that need not be the place's: rows of all the tensors that share it lie one
 * after another. */
static bool add_part(const struct woq_config *c, unsigned forms, const struct woq_place *p,
                     enum woq_role role, size_t n_rows, size_t n_cols, unsigned n_dims,
                     struct woq_gguf_part *out)
{
    const bool apart = (forms & WOQ_GGUF_EACH_EXPERT) && woq_role_is_expert(p->role);
    const size_t n = apart ? 1 : woq_config_count(c, p->role);
    size_t at, of;
    const char *name = find_rows(c, forms, p->bias, role, n_rows, &at, &of);

    memset(out, 0, sizeof *out);
    out->row0 = (n > 1 ? p->index * of : 0) + at;
    out->n_rows = n_rows;
    out->n_cols = n_cols;
    out->n_dims = n_dims + (n > 1);
    out->ne[0] = n_dims > 1 ? n_cols : of;
    out->ne[n_dims - 1] = of;
    if (n > 1)
        out->ne[n_dims] = n;
    out->is_float = n_dims < 2 || woq_role_is_norm(p->role);
    return name_of(c, p, name, out->name);
}

/* Keys and values of latent attention: [heads][keys, values][latent] in one matrix. */
static size_t latent_parts(const struct woq_config *c, const struct woq_place *p,
                           struct woq_gguf_part parts[WOQ_GGUF_PARTS])
{
    const size_t nope = c->head_dim - c->n_rot;

    for (size_t i = 0; i < 2; i++) {
        const size_t n = i ? c->v_dim : nope;

        if (!add_part(c, 0, p, p->role, n * c->n_heads, c->kv_lora, 2, &parts[i]) ||
            (i && !name_of(c, p, BLOCK "attn_v_b", parts[i].name)))
            return 0;
        parts[i].n_dims = 3;
        parts[i].ne[0] = i ? c->kv_lora : n;
        parts[i].ne[1] = i ? n : c->kv_lora;
        parts[i].ne[2] = c->n_heads;
        parts[i].n_heads = i ? 0 : c->n_heads;
    }
    return 2;
}

/* Parts of a fused tensor: rows of each, under its role's name. */
static size_t split(const struct woq_config *c, unsigned forms, const struct woq_place *p,
                    size_t n_parts, const enum woq_role roles[], const size_t n_rows[],
                    size_t n_cols, unsigned n_dims, struct woq_gguf_part parts[WOQ_GGUF_PARTS])
{
    for (size_t i = 0; i < n_parts; i++)
        if (!add_part(c, forms, p, roles[i], n_rows[i], n_cols, n_dims, &parts[i]))
            return 0;
    return n_parts;
}

size_t woq_gguf_parts(const struct woq_config *c, unsigned forms, const struct woq_place *p,
                      struct woq_gguf_part parts[WOQ_GGUF_PARTS])
{
    static const enum woq_role qkv[] = { WOQ_ROLE_Q, WOQ_ROLE_K, WOQ_ROLE_V };
    static const enum woq_role gate_up[] = { WOQ_ROLE_EXPERT_GATE, WOQ_ROLE_EXPERT_UP };
    static const enum woq_role embed[] = { WOQ_ROLE_EMBED, WOQ_ROLE_HEAD };
    const size_t kv = c->n_kv_heads * c->head_dim;
    uint64_t shape[2];
    unsigned n_dims;

    if (!woq_config_shape(c, p, &n_dims, shape))
        return 0;
    if (p->role == WOQ_ROLE_KV_B && !(forms & WOQ_GGUF_WHOLE_KV_B))
        return latent_parts(c, p, parts);
    if (p->role == WOQ_ROLE_QKV && has_quirk(c, WOQ_GGUF_SPLIT_QKV))
        return split(c, forms, p, 3, qkv, (size_t[]){ c->n_heads * c->head_dim, kv, kv }, shape[1],
                     n_dims, parts);
    if (p->role == WOQ_ROLE_EXPERT_GATE_UP)
        return split(c, forms, p, 2, gate_up, (size_t[]){ c->expert_inter, c->expert_inter },
                     shape[1], n_dims, parts);
    if (p->role == WOQ_ROLE_EMBED && c->tie && has_quirk(c, WOQ_GGUF_OWN_HEAD))
        return split(c, forms, p, 2, embed, (size_t[]){ shape[0], shape[0] }, shape[1], n_dims,
                     parts);
    if (!add_part(c, forms, p, p->role, shape[0], shape[1], n_dims, &parts[0]))
        return 0;
    if (p->role == WOQ_ROLE_SHARED_ROUTER)
        parts[0].n_dims = 1; /* one row, as a vector */
    return 1;
}

/* --- rows --- */

bool woq_gguf_moves_rows(const struct woq_config *c, unsigned forms, const struct woq_place *p)
{
    switch (p->role) {
    case WOQ_ROLE_QKV:
        return c->qkv != WOQ_QKV_CAT || has_quirk(c, WOQ_GGUF_SPLIT_QKV);
    case WOQ_ROLE_Q:
    case WOQ_ROLE_K:
        return has_quirk(c, WOQ_GGUF_PERMUTED);
    case WOQ_ROLE_EXPERT_GATE_UP:
        return true;
    case WOQ_ROLE_KV_B:
        return !(forms & WOQ_GGUF_WHOLE_KV_B);
    default:
        return false;
    }
}

/* Rope of GGUF's llama pairs neighbours: row t*(hd/2) + j of a head is row 2j + t there. */
static size_t permute(const struct woq_config *c, size_t row)
{
    const size_t half = c->head_dim / 2, i = row % c->head_dim;

    if (!has_quirk(c, WOQ_GGUF_PERMUTED) || !c->n_rot)
        return row;
    return row - i + 2 * (i % half) + i / half;
}

static void qkv_row(const struct woq_config *c, size_t row, size_t *part, size_t *to)
{
    const size_t n_q = c->n_heads * c->head_dim, n_k = c->n_kv_heads * c->head_dim;
    const size_t at = woq_config_unfuse(c, row);

    *part = !has_quirk(c, WOQ_GGUF_SPLIT_QKV) || at < n_q ? 0 : at < n_q + n_k ? 1 : 2;
    *to = at - (*part == 0 ? 0 : *part == 1 ? n_q : n_q + n_k);
    if (*part < 2 && has_quirk(c, WOQ_GGUF_SPLIT_QKV))
        *to = permute(c, *to);
}

void woq_gguf_row(const struct woq_config *c, unsigned forms, const struct woq_place *p, size_t row,
                  size_t *part, size_t *to)
{
    const size_t nope = c->head_dim - c->n_rot, each = nope + c->v_dim;

    *part = 0;
    *to = row;
    switch (p->role) {
    case WOQ_ROLE_QKV:
        qkv_row(c, row, part, to);
        break;
    case WOQ_ROLE_Q:
    case WOQ_ROLE_K:
        *to = permute(c, row);
        break;
    case WOQ_ROLE_EXPERT_GATE_UP:
        *to = woq_config_row(c, p, row);
        *part = *to >= c->expert_inter;
        *to -= *part * c->expert_inter;
        break;
    case WOQ_ROLE_KV_B:
        if (forms & WOQ_GGUF_WHOLE_KV_B)
            break;
        *part = row % each >= nope;
        *to = *part ? row / each * c->v_dim + row % each - nope : row / each * nope + row % each;
        break;
    default:
        break;
    }
}
