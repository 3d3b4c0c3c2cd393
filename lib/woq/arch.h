/* arch.h -- decoder architectures as rows of one table (models.md 2, 3): what a config.json means,
 * which tensor is which. A new architecture is one row in arch.c. */
#ifndef WOQ_ARCH_H
#define WOQ_ARCH_H
#include <woq/json.h>

#define WOQ_MAX_BLOCKS 1024

enum woq_norm { WOQ_NORM_RMS };
enum woq_act { WOQ_ACT_SILU, WOQ_ACT_GELU_ERF, WOQ_ACT_GELU_TANH, WOQ_ACT_RELU };
enum woq_rope_scaling {
    WOQ_ROPE_PLAIN,
    WOQ_ROPE_LINEAR,
    WOQ_ROPE_LLAMA3,
    WOQ_ROPE_DYNAMIC,
    WOQ_ROPE_YARN
};

/* Roles in the order in which a stream carries them: stem, inside a block, head. */
enum woq_role {
    WOQ_ROLE_NONE, /* not a tensor of this architecture: travels with the head */
    WOQ_ROLE_EMBED,
    WOQ_ROLE_ATTN_NORM,
    WOQ_ROLE_Q,
    WOQ_ROLE_K,
    WOQ_ROLE_V,
    WOQ_ROLE_O,
    WOQ_ROLE_MLP_NORM,
    WOQ_ROLE_GATE,
    WOQ_ROLE_UP,
    WOQ_ROLE_DOWN,
    WOQ_ROLE_FINAL_NORM,
    WOQ_ROLE_HEAD,
    WOQ_N_ROLES
};
const char *
woq_role_name(enum woq_role r); /* "embed" "attn.norm" "attn.q" ... "mlp.down" "norm" "head" */
enum woq_role woq_role_from_name(const char *name);
bool woq_role_is_linear(enum woq_role r); /* q k v o gate up down: what a quantizer takes */
const char *
woq_role_group(enum woq_role r); /* "qkv" "o" "gateup" "down": linears sharing an input; NULL */

struct woq_arch {
    const char *model_type, *architectures[4];
    enum woq_norm norm;
    enum woq_act act;     /* default; hidden_act of the config wins */
    int default_kv_heads; /* when the key is missing altogether; 0 = n_heads */
    bool qkv_bias_always, attention_bias_key, mlp_bias_key;
    bool tie_default;
    uint64_t default_positions; /* max_position_embeddings when the key is absent */
    int64_t default_window;     /* sliding window when the key is absent; 0 = has no such key */
    bool window_key_gated;      /* qwen2: only with use_sliding_window, from max_window_layers */
    const char *gguf_arch;      /* "llama", "qwen2" */
    bool gguf_permuted;         /* q and k rows permuted per head in GGUF (rope PAIR there) */
    /* HF names: "{l}" is the block. Suffix .weight / .bias is implied. Indexed by role. */
    const char *names[WOQ_N_ROLES];
    const char *gguf_names[WOQ_N_ROLES];
};

/* What config.json says, with defaults resolved and ranges checked. */
struct woq_config {
    const struct woq_arch *arch;
    size_t hidden, inter, n_layers, n_heads, n_kv_heads, head_dim, vocab, max_positions;
    float eps;
    double rope_theta;
    enum woq_rope_scaling rope_scaling;
    double rope_factor, rope_low, rope_high, rope_original; /* llama3, linear, dynamic, yarn */
    double rope_beta_fast, rope_beta_slow;
    bool rope_truncate;      /* yarn: whole dimensions as borders of the ramp */
    double rope_attn_factor; /* multiplies cos and sin; 1 unless yarn */
    size_t n_rot;
    enum woq_act act;
    bool tie, qkv_bias, o_bias, mlp_bias;
    size_t window; /* keys that a query sees, itself included; 0 = no block has a window */
    uint64_t window_blocks[WOQ_MAX_BLOCKS / 64]; /* bit l: block l has the window */
};

/* Row for a config ("architectures", then "model_type"); NULL and err (with the list of known ones)
 * if unknown: never guesses. */
const struct woq_arch *woq_arch_find(const struct woq_json *config, struct woq_error *err);
const struct woq_arch *woq_arch_by_gguf(const char *gguf_arch);
size_t woq_arch_count(void);
const struct woq_arch *woq_arch_at(size_t i);
/* Reads and checks a config.json (models.md 2, 3, 5.2): every size is in range, so that products of
 * two of them fit size_t and float counts. */
int woq_config_init(struct woq_config *c, const struct woq_json *config, struct woq_error *err);

/* Window of a block in keys, 0 = full attention. */
size_t woq_config_window(const struct woq_config *c, size_t block);

/* Role of a checkpoint's tensor, WOQ_ROLE_NONE for names that this row does not use; *block = -1
 * outside blocks; *bias tells weight from bias. */
enum woq_role woq_arch_role(const struct woq_arch *a, const char *name, long *block, bool *bias);
/* HF name of a role: "model.layers.3.mlp.down_proj.weight" into buf. */
int woq_arch_name(const struct woq_arch *a, enum woq_role role, size_t block, bool bias, char *buf,
                  size_t cap);
/* The same two under GGUF names: "blk.3.ffn_down.weight". */
enum woq_role woq_arch_gguf_role(const struct woq_arch *a, const char *name, long *block,
                                 bool *bias);
int woq_arch_gguf_name(const struct woq_arch *a, enum woq_role role, size_t block, bool bias,
                       char *buf, size_t cap);
/* Expected shape of a role; false if this config has no such tensor. The head's shape is given for
 * tied configs too: a file may hold a duplicate, and a missing head means tied. */
bool woq_arch_shape(const struct woq_config *c, enum woq_role role, bool bias, unsigned *n_dims,
                    uint64_t shape[2]);

#endif
