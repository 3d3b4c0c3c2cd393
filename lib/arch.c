/* arch.c -- roles, and the names of tensors by role. The table is in arch_table.c, shapes are in
 * arch_shape.c; what a config.json says is read in config.c. */
#include "arch_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <woq/util.h>

struct role {
    const char *name, *group;
};

/* clang-format off */
static const struct role roles[WOQ_N_ROLES] = {
    [WOQ_ROLE_NONE] = { "none", NULL },
    [WOQ_ROLE_EMBED] = { "embed", NULL },
    [WOQ_ROLE_POSITION] = { "embed.position", NULL },
    [WOQ_ROLE_EMBED_NORM] = { "embed.norm", NULL },
    [WOQ_ROLE_PROJECT_IN] = { "embed.project", NULL },
    [WOQ_ROLE_ATTN_NORM] = { "attn.norm", NULL },
    [WOQ_ROLE_QKV] = { "attn.qkv", "qkv" },
    [WOQ_ROLE_Q] = { "attn.q", "qkv" },
    [WOQ_ROLE_K] = { "attn.k", "qkv" },
    [WOQ_ROLE_V] = { "attn.v", "qkv" },
    [WOQ_ROLE_Q_A] = { "attn.q_a", "qkv" },
    [WOQ_ROLE_KV_A] = { "attn.kv_a", "qkv" },
    [WOQ_ROLE_Q_A_NORM] = { "attn.q_a_norm", NULL },
    [WOQ_ROLE_Q_B] = { "attn.q_b", "q_b" },
    [WOQ_ROLE_KV_A_NORM] = { "attn.kv_a_norm", NULL },
    [WOQ_ROLE_KV_B] = { "attn.kv_b", "kv_b" },
    [WOQ_ROLE_Q_NORM] = { "attn.q_norm", NULL },
    [WOQ_ROLE_K_NORM] = { "attn.k_norm", NULL },
    [WOQ_ROLE_SINKS] = { "attn.sinks", NULL },
    [WOQ_ROLE_O] = { "attn.o", "o" },
    [WOQ_ROLE_ATTN_POST_NORM] = { "attn.post_norm", NULL },
    [WOQ_ROLE_MLP_NORM] = { "mlp.norm", NULL },
    [WOQ_ROLE_ROUTER] = { "router", NULL },
    [WOQ_ROLE_CORRECTION] = { "router.correction", NULL },
    [WOQ_ROLE_SHARED_ROUTER] = { "router.shared", NULL },
    [WOQ_ROLE_GATE_UP] = { "mlp.gate_up", "gateup" },
    [WOQ_ROLE_GATE] = { "mlp.gate", "gateup" },
    [WOQ_ROLE_UP] = { "mlp.up", "gateup" },
    [WOQ_ROLE_DOWN] = { "mlp.down", "down" },
    [WOQ_ROLE_SHARED_GATE] = { "shared.gate", "shared.gateup" },
    [WOQ_ROLE_SHARED_UP] = { "shared.up", "shared.gateup" },
    [WOQ_ROLE_SHARED_DOWN] = { "shared.down", "shared.down" },
    [WOQ_ROLE_EXPERT_GATE_UP] = { "expert.gate_up", "gateup" },
    [WOQ_ROLE_EXPERT_GATE] = { "expert.gate", "gateup" },
    [WOQ_ROLE_EXPERT_UP] = { "expert.up", "gateup" },
    [WOQ_ROLE_EXPERT_DOWN] = { "expert.down", "down" },
    [WOQ_ROLE_MLP_POST_NORM] = { "mlp.post_norm", NULL },
    [WOQ_ROLE_FINAL_NORM] = { "norm", NULL },
    [WOQ_ROLE_PROJECT_OUT] = { "head.project", NULL },
    [WOQ_ROLE_HEAD] = { "head", NULL },
};
/* clang-format on */

const char *woq_role_name(enum woq_role r)
{
    return (unsigned)r < WOQ_N_ROLES ? roles[r].name : "none";
}

enum woq_role woq_role_from_name(const char *name)
{
    for (unsigned r = 0; name && r < WOQ_N_ROLES; r++)
        if (!strcmp(name, roles[r].name))
            return (enum woq_role)r;
    return WOQ_ROLE_NONE;
}

bool woq_role_is_linear(enum woq_role r)
{
    return (unsigned)r < WOQ_N_ROLES && roles[r].group != NULL;
}

bool woq_role_is_expert(enum woq_role r)
{
    return r >= WOQ_ROLE_EXPERT_GATE_UP && r <= WOQ_ROLE_EXPERT_DOWN;
}

bool woq_role_in_block(enum woq_role r)
{
    return r >= WOQ_ROLE_ATTN_NORM && r <= WOQ_ROLE_MLP_POST_NORM;
}

bool woq_role_is_norm(enum woq_role r)
{
    switch (r) {
    case WOQ_ROLE_EMBED_NORM:
    case WOQ_ROLE_ATTN_NORM:
    case WOQ_ROLE_Q_A_NORM:
    case WOQ_ROLE_KV_A_NORM:
    case WOQ_ROLE_Q_NORM:
    case WOQ_ROLE_K_NORM:
    case WOQ_ROLE_ATTN_POST_NORM:
    case WOQ_ROLE_MLP_NORM:
    case WOQ_ROLE_MLP_POST_NORM:
    case WOQ_ROLE_FINAL_NORM:
        return true;
    default:
        return false;
    }
}

bool woq_place_group(const struct woq_place *p, char buf[WOQ_GROUP_NAME])
{
    if (!woq_role_is_linear(p->role))
        return false;
    if (woq_role_is_expert(p->role))
        snprintf(buf, WOQ_GROUP_NAME, "%s.%zu", roles[p->role].group, p->index);
    else
        snprintf(buf, WOQ_GROUP_NAME, "%s", roles[p->role].group);
    return true;
}

/* ------------------------------------------------------------------ rows by name */

static const struct woq_arch *by_class(const char *name)
{
    const struct woq_arch *a;

    for (size_t i = 0; name && (a = woq_arch_at(i)); i++)
        for (size_t k = 0; k < 4 && a->architectures[k]; k++)
            if (!strcmp(a->architectures[k], name))
                return a;
    return NULL;
}

const struct woq_arch *woq_arch_by_type(const char *name)
{
    const struct woq_arch *a;

    for (size_t i = 0; name && (a = woq_arch_at(i)); i++)
        if (!strcmp(a->model_type, name) || (a->aliases[0] && !strcmp(a->aliases[0], name)) ||
            (a->aliases[1] && !strcmp(a->aliases[1], name)))
            return a;
    return NULL;
}

const struct woq_arch *woq_arch_find(const struct woq_json *config, struct woq_error *err)
{
    const char *type = woq_json_get_str(config, "model_type"), *class = NULL;
    const struct woq_arch *a;
    struct woq_str known = { 0 };

    woq_json_each(item, woq_json_get(config, "architectures"))
    {
        class = woq_json_str(item);
        if ((a = by_class(class)))
            return a;
    }
    if ((a = woq_arch_by_type(type)))
        return a;
    for (size_t i = 0; (a = woq_arch_at(i)); i++)
        woq_str_addf(&known, "%s%s", i ? ", " : "", a->model_type);
    if (class)
        woq_fail(err, WOQ_EUNSUPPORTED, "woq-info lists the known ones",
                 "unknown architecture '%.100s' (model_type '%.100s')", class, type ? type : "");
    else if (type)
        woq_fail(err, WOQ_EUNSUPPORTED, "woq-info lists the known ones",
                 "unknown model_type '%.100s'", type);
    else
        woq_fail(err, WOQ_EDATA, NULL,
                 "config.json names neither 'architectures' nor 'model_type', want one of: %s",
                 known.s ? known.s : "");
    woq_str_release(&known);
    return NULL;
}

/* ------------------------------------------------------------------ names of tensors */

/* A decimal number without leading zeros at *name; moves behind it. */
static bool match_number(const char **name, long *number)
{
    const size_t n = strspn(*name, "0123456789");

    if (n == 0 || n > 6 || (n > 1 && **name == '0'))
        return false;
    *number = strtol(*name, NULL, 10);
    *name += n;
    return true;
}

/* Matches NAME against a template of `len` bytes + ".weight" or ".bias", or the template alone
 * where it ends in '!'. */
static bool match_template(const char *t, size_t len, const char *name, struct woq_place *p)
{
    const char *end = t + len;
    long block = -1, index = 0;

    while (t < end && *t != '!') {
        if (*t == '{') {
            if (!match_number(&name, t[1] == 'l' ? &block : &index))
                return false;
            t += 3;
        } else if (*t++ != *name++) {
            return false;
        }
    }
    if (t < end ? *name != '\0' : strcmp(name, ".weight") != 0 && strcmp(name, ".bias") != 0)
        return false;
    p->block = block;
    p->index = (size_t)index;
    p->bias = t == end && name[1] == 'b';
    return true;
}

/* One of two templates with '|' between them. */
static bool match_name(const char *templates, const char *name, struct woq_place *p)
{
    for (;;) {
        const size_t n = strcspn(templates, "|");

        if (match_template(templates, n, name, p))
            return true;
        if (!templates[n])
            return false;
        templates += n + 1;
    }
}

static bool find_place(const char *const names[WOQ_N_ROLES], const char *name, struct woq_place *p)
{
    for (unsigned r = 1; r < WOQ_N_ROLES; r++)
        if (names[r] && match_name(names[r], name, p)) {
            p->role = (enum woq_role)r;
            return true;
        }
    *p = (struct woq_place){ .role = WOQ_ROLE_NONE, .block = -1 };
    return false;
}

bool woq_arch_place(const struct woq_arch *a, const char *name, struct woq_place *p)
{
    char other[256];

    if (find_place(a->names, name, p))
        return true;
    for (size_t i = 1; i < 3 && a->prefix[i]; i++) {
        const size_t n = strlen(a->prefix[i]);

        if (strncmp(name, a->prefix[i], n) == 0 &&
            (size_t)snprintf(other, sizeof other, "%s%s", a->prefix[0], name + n) < sizeof other &&
            find_place(a->names, other, p))
            return true;
    }
    return false;
}

int woq_place_write(const char *template, size_t len, const struct woq_place *p, char *buf,
                    size_t cap)
{
    struct woq_str s = { 0 };
    const bool whole = len && template[len - 1] == '!';
    const char *end = template + len - whole;
    int rc;

    while (template <end) {
        const size_t n = strcspn(template, "{"), left = (size_t)(end - template);

        woq_str_add(&s, template, n < left ? n : left);
        template += n < left ? n : left;
        if (n < left) {
            woq_str_addf(&s, "%zu", template[1] == 'l' ? (size_t)p->block : p->index);
            template += 3;
        }
    }
    if (!whole)
        woq_str_addf(&s, ".%s", p->bias ? "bias" : "weight");
    rc = s.s && s.len < cap ? WOQ_OK : WOQ_EUSAGE;
    if (rc == WOQ_OK)
        memcpy(buf, s.s, s.len + 1);
    woq_str_release(&s);
    return rc;
}

int woq_config_name(const struct woq_config *c, const struct woq_place *p, char *buf, size_t cap)
{
    const char *t = (unsigned)p->role < WOQ_N_ROLES ? c->arch->names[p->role] : NULL;
    size_t n;

    if (!t)
        return WOQ_EUSAGE;
    n = strcspn(t, "|");
    if (t[n] && c->second_names) {
        t += n + 1;
        n = strlen(t);
    }
    return woq_place_write(t, n, p, buf, cap);
}

bool woq_arch_stack(const struct woq_arch *a, const char *name, struct woq_place *p)
{
    for (size_t i = 0; i < 2 && a->stacks[i].role; i++)
        for (int bias = 0; bias < 2; bias++) {
            const char *t = bias ? a->stacks[i].bias : a->stacks[i].weight;

            if (!t || !match_template(t, strlen(t), name, p))
                continue;
            p->role = a->stacks[i].role;
            p->bias = bias;
            return true;
        }
    return false;
}

bool woq_config_stack_name(const struct woq_config *c, const struct woq_place *p, char *buf,
                           size_t cap)
{
    for (size_t i = 0; i < 2 && c->arch->stacks[i].role; i++)
        if (c->arch->stacks[i].role == p->role) {
            const char *t = p->bias ? c->arch->stacks[i].bias : c->arch->stacks[i].weight;

            return t && woq_place_write(t, strlen(t), p, buf, cap) == WOQ_OK;
        }
    return false;
}

bool woq_arch_is_conv1d(const struct woq_arch *a, const struct woq_place *p)
{
    return p->role != WOQ_ROLE_NONE && !p->bias && (a->conv1d >> p->role & 1);
}

bool woq_name_is_ignorable(const char *name)
{
    static const char *const ignored[] = {
        "*.rotary_emb.inv_freq",   "*.rotary_pos_emb.inv_freq", "*.attn.masked_bias",
        "*.attention.masked_bias", "*.attention.bias",          "*.attn.bias",
        "*.attn.embed_positions",
    };

    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (woq_name_match(name, ignored[i]))
            return true;
    return false;
}
