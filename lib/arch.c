/* arch.c -- the table of architectures, and names of tensors by role (models.md 3). What a
 * config.json says is read in config.c. */
#include <woq/arch.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <woq/util.h>

struct role {
    const char *name, *group;
};

static const struct role roles[WOQ_N_ROLES] = {
    [WOQ_ROLE_NONE] = { "none", NULL },
    [WOQ_ROLE_EMBED] = { "embed", NULL },
    [WOQ_ROLE_ATTN_NORM] = { "attn.norm", NULL },
    [WOQ_ROLE_Q] = { "attn.q", "qkv" },
    [WOQ_ROLE_K] = { "attn.k", "qkv" },
    [WOQ_ROLE_V] = { "attn.v", "qkv" },
    [WOQ_ROLE_O] = { "attn.o", "o" },
    [WOQ_ROLE_MLP_NORM] = { "mlp.norm", NULL },
    [WOQ_ROLE_GATE] = { "mlp.gate", "gateup" },
    [WOQ_ROLE_UP] = { "mlp.up", "gateup" },
    [WOQ_ROLE_DOWN] = { "mlp.down", "down" },
    [WOQ_ROLE_FINAL_NORM] = { "norm", NULL },
    [WOQ_ROLE_HEAD] = { "head", NULL },
};

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

const char *woq_role_group(enum woq_role r)
{
    return (unsigned)r < WOQ_N_ROLES ? roles[r].group : NULL;
}

bool woq_role_is_linear(enum woq_role r)
{
    return woq_role_group(r) != NULL;
}

/* clang-format off */
#define LLAMA_NAMES {                                             \
    [WOQ_ROLE_EMBED] = "model.embed_tokens",                      \
    [WOQ_ROLE_ATTN_NORM] = "model.layers.{l}.input_layernorm",    \
    [WOQ_ROLE_Q] = "model.layers.{l}.self_attn.q_proj",           \
    [WOQ_ROLE_K] = "model.layers.{l}.self_attn.k_proj",           \
    [WOQ_ROLE_V] = "model.layers.{l}.self_attn.v_proj",           \
    [WOQ_ROLE_O] = "model.layers.{l}.self_attn.o_proj",           \
    [WOQ_ROLE_MLP_NORM] = "model.layers.{l}.post_attention_layernorm", \
    [WOQ_ROLE_GATE] = "model.layers.{l}.mlp.gate_proj",           \
    [WOQ_ROLE_UP] = "model.layers.{l}.mlp.up_proj",               \
    [WOQ_ROLE_DOWN] = "model.layers.{l}.mlp.down_proj",           \
    [WOQ_ROLE_FINAL_NORM] = "model.norm",                         \
    [WOQ_ROLE_HEAD] = "lm_head" }

#define LLAMA_GGUF_NAMES {                          \
    [WOQ_ROLE_EMBED] = "token_embd",                \
    [WOQ_ROLE_ATTN_NORM] = "blk.{l}.attn_norm",     \
    [WOQ_ROLE_Q] = "blk.{l}.attn_q",                \
    [WOQ_ROLE_K] = "blk.{l}.attn_k",                \
    [WOQ_ROLE_V] = "blk.{l}.attn_v",                \
    [WOQ_ROLE_O] = "blk.{l}.attn_output",           \
    [WOQ_ROLE_MLP_NORM] = "blk.{l}.ffn_norm",       \
    [WOQ_ROLE_GATE] = "blk.{l}.ffn_gate",           \
    [WOQ_ROLE_UP] = "blk.{l}.ffn_up",               \
    [WOQ_ROLE_DOWN] = "blk.{l}.ffn_down",           \
    [WOQ_ROLE_FINAL_NORM] = "output_norm",          \
    [WOQ_ROLE_HEAD] = "output" }

static const struct woq_arch table[] = {
    /* Llama 1-3, SmolLM2, TinyLlama, Yi, Vicuna, DeepSeek-LLM. */
    { .model_type = "llama", .architectures = { "LlamaForCausalLM" },
      .norm = WOQ_NORM_RMS, .act = WOQ_ACT_SILU,
      .attention_bias_key = true, .mlp_bias_key = true, .default_positions = 2048,
      .gguf_arch = "llama", .gguf_permuted = true,
      .names = LLAMA_NAMES, .gguf_names = LLAMA_GGUF_NAMES },
    { .model_type = "mistral", .architectures = { "MistralForCausalLM" },
      .norm = WOQ_NORM_RMS, .act = WOQ_ACT_SILU,
      .default_kv_heads = 8, .default_window = 4096, .default_positions = 131072,
      .gguf_arch = "llama", .gguf_permuted = true,
      .names = LLAMA_NAMES, .gguf_names = LLAMA_GGUF_NAMES },
    { .model_type = "qwen2", .architectures = { "Qwen2ForCausalLM" },
      .norm = WOQ_NORM_RMS, .act = WOQ_ACT_SILU,
      .default_kv_heads = 32, .qkv_bias_always = true,
      .default_window = 4096, .window_key_gated = true, .default_positions = 32768,
      .gguf_arch = "qwen2", .gguf_permuted = false,
      .names = LLAMA_NAMES, .gguf_names = LLAMA_GGUF_NAMES },
};
/* clang-format on */

size_t woq_arch_count(void)
{
    return sizeof table / sizeof table[0];
}

const struct woq_arch *woq_arch_at(size_t i)
{
    return i < woq_arch_count() ? &table[i] : NULL;
}

const struct woq_arch *woq_arch_by_gguf(const char *gguf_arch)
{
    for (size_t i = 0; gguf_arch && i < woq_arch_count(); i++)
        if (!strcmp(table[i].gguf_arch, gguf_arch))
            return &table[i];
    return NULL;
}

static const struct woq_arch *by_class(const char *name)
{
    for (size_t i = 0; name && i < woq_arch_count(); i++)
        for (size_t k = 0; k < 4 && table[i].architectures[k]; k++)
            if (!strcmp(table[i].architectures[k], name))
                return &table[i];
    return NULL;
}

static const struct woq_arch *by_model_type(const char *name)
{
    for (size_t i = 0; name && i < woq_arch_count(); i++)
        if (!strcmp(table[i].model_type, name))
            return &table[i];
    return NULL;
}

const struct woq_arch *woq_arch_find(const struct woq_json *config, struct woq_error *err)
{
    const char *type = woq_json_get_str(config, "model_type"), *class = NULL;
    const struct woq_arch *a;
    char known[256];
    size_t n = 0;

    woq_json_each(item, woq_json_get(config, "architectures"))
    {
        class = woq_json_str(item);
        if ((a = by_class(class)))
            return a;
    }
    if ((a = by_model_type(type)))
        return a;
    known[0] = '\0';
    for (size_t i = 0; i < woq_arch_count() && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "",
                              table[i].model_type);
    if (class)
        woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                 "unknown architecture '%.100s' (model_type '%.100s'), known model types: %s",
                 class, type ? type : "", known);
    else if (type)
        woq_fail(err, WOQ_EUNSUPPORTED, NULL, "unknown model_type '%.100s', known ones: %s", type,
                 known);
    else
        woq_fail(err, WOQ_EDATA, NULL,
                 "config.json names neither 'architectures' nor 'model_type', want one of: %s",
                 known);
    return NULL;
}

/* Matches NAME against TEMPLATE + ".weight" or ".bias"; the block's number where "{l}" stands. */
static bool match_name(const char *template, const char *name, long *block, bool *bias)
{
    long number = -1;
    const char *t = template;

    while (*t) {
        if (!strncmp(t, "{l}", 3)) {
            char *end;

            if (*name < '0' || *name > '9' || (name[0] == '0' && name[1] >= '0' && name[1] <= '9'))
                return false;
            if (strspn(name, "0123456789") > 6)
                return false;
            number = strtol(name, &end, 10);
            name = end;
            t += 3;
        } else if (*t++ != *name++) {
            return false;
        }
    }
    if (strcmp(name, ".weight") != 0 && strcmp(name, ".bias") != 0)
        return false;
    if (block)
        *block = number;
    if (bias)
        *bias = !strcmp(name, ".bias");
    return true;
}

static enum woq_role find_role(const char *const names[WOQ_N_ROLES], const char *name, long *block,
                               bool *bias)
{
    if (block)
        *block = -1;
    if (bias)
        *bias = false;
    for (unsigned r = 1; r < WOQ_N_ROLES; r++)
        if (names[r] && match_name(names[r], name, block, bias))
            return (enum woq_role)r;
    return WOQ_ROLE_NONE;
}

static int write_name(const char *template, size_t block, bool bias, char *buf, size_t cap)
{
    const char *brace, *suffix = bias ? "bias" : "weight";
    int n;

    if (!template)
        return WOQ_EUSAGE;
    if ((brace = strstr(template, "{l}")))
        n = snprintf(buf, cap, "%.*s%zu%s.%s", (int)(brace - template), template, block, brace + 3,
                     suffix);
    else
        n = snprintf(buf, cap, "%s.%s", template, suffix);
    return n >= 0 && (size_t)n < cap ? WOQ_OK : WOQ_EUSAGE;
}

enum woq_role woq_arch_role(const struct woq_arch *a, const char *name, long *block, bool *bias)
{
    return find_role(a->names, name, block, bias);
}

enum woq_role woq_arch_gguf_role(const struct woq_arch *a, const char *name, long *block,
                                 bool *bias)
{
    return find_role(a->gguf_names, name, block, bias);
}

int woq_arch_name(const struct woq_arch *a, enum woq_role role, size_t block, bool bias, char *buf,
                  size_t cap)
{
    return write_name((unsigned)role < WOQ_N_ROLES ? a->names[role] : NULL, block, bias, buf, cap);
}

int woq_arch_gguf_name(const struct woq_arch *a, enum woq_role role, size_t block, bool bias,
                       char *buf, size_t cap)
{
    return write_name((unsigned)role < WOQ_N_ROLES ? a->gguf_names[role] : NULL, block, bias, buf,
                      cap);
}

static bool weight_shape(const struct woq_config *c, enum woq_role role, uint64_t shape[2])
{
    const uint64_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
    const uint64_t shapes[WOQ_N_ROLES][2] = {
        [WOQ_ROLE_EMBED] = { c->vocab, c->hidden },
        [WOQ_ROLE_ATTN_NORM] = { c->hidden, 0 },
        [WOQ_ROLE_Q] = { q, c->hidden },
        [WOQ_ROLE_K] = { kv, c->hidden },
        [WOQ_ROLE_V] = { kv, c->hidden },
        [WOQ_ROLE_O] = { c->hidden, q },
        [WOQ_ROLE_MLP_NORM] = { c->hidden, 0 },
        [WOQ_ROLE_GATE] = { c->inter, c->hidden },
        [WOQ_ROLE_UP] = { c->inter, c->hidden },
        [WOQ_ROLE_DOWN] = { c->hidden, c->inter },
        [WOQ_ROLE_FINAL_NORM] = { c->hidden, 0 },
        [WOQ_ROLE_HEAD] = { c->vocab, c->hidden },
    };

    if ((unsigned)role >= WOQ_N_ROLES || !shapes[role][0])
        return false;
    shape[0] = shapes[role][0];
    shape[1] = shapes[role][1];
    return true;
}

static bool has_bias(const struct woq_config *c, enum woq_role role)
{
    switch (role) {
    case WOQ_ROLE_Q:
    case WOQ_ROLE_K:
    case WOQ_ROLE_V:
        return c->qkv_bias;
    case WOQ_ROLE_O:
        return c->o_bias;
    case WOQ_ROLE_GATE:
    case WOQ_ROLE_UP:
    case WOQ_ROLE_DOWN:
        return c->mlp_bias;
    default:
        return false;
    }
}

bool woq_arch_shape(const struct woq_config *c, enum woq_role role, bool bias, unsigned *n_dims,
                    uint64_t shape[2])
{
    if (!weight_shape(c, role, shape) || (bias && !has_bias(c, role)))
        return false;
    *n_dims = bias || !shape[1] ? 1 : 2;
    if (*n_dims == 1)
        shape[1] = 1;
    return true;
}
