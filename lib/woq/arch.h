/* arch.h -- decoder architectures as rows of one table (models.md 2, 3): what a config.json means,
 * which tensor is which. A new architecture is one row in arch_table.c. */
#ifndef WOQ_ARCH_H
#define WOQ_ARCH_H
#include <woq/json.h>

#define WOQ_MAX_BLOCKS 1024

enum woq_norm {
    WOQ_NORM_RMS,
    WOQ_NORM_RMS_1P, /* Gemma: the file holds weight - 1 */
    WOQ_NORM_LN,
};
enum woq_act {
    WOQ_ACT_SILU,
    WOQ_ACT_GELU_ERF,
    WOQ_ACT_GELU_TANH,
    WOQ_ACT_RELU,
    WOQ_ACT_RELU2,
    WOQ_ACT_QUICK_GELU,
    WOQ_ACT_OSS, /* gpt-oss: clamped, models.md 6.8 */
};
enum woq_rope_scaling {
    WOQ_ROPE_PLAIN,
    WOQ_ROPE_LINEAR,
    WOQ_ROPE_LLAMA3,
    WOQ_ROPE_DYNAMIC,
    WOQ_ROPE_YARN,
    WOQ_ROPE_LONG
};
/* Rows of q, k, v in the checkpoint (models.md 4). */
enum woq_qkv {
    WOQ_QKV_SEPARATE,
    WOQ_QKV_CAT,   /* [all q][all k][all v]: 4.2, 4.3, 4.4 */
    WOQ_QKV_GROUP, /* per kv head its q, k, v: 4.5 (one q each), 4.6 (one kv head), 4.7 */
    WOQ_QKV_MP4,   /* four shards of q, v, k: 4.8 */
    WOQ_QKV_MLA,   /* latent vectors: 4.9 */
};
enum woq_qk_norm {
    WOQ_QK_NONE,
    WOQ_QK_HEAD,     /* one weight [head_dim] for all heads */
    WOQ_QK_PER_HEAD, /* a weight for each head: one matrix, or a tensor each (stablelm) */
    WOQ_QK_WHOLE,    /* over all heads at once */
};
/* Which blocks have the sliding window (models.md 3.3), unless layer_types says it. */
enum woq_windows {
    WOQ_WINDOWS_NONE,
    WOQ_WINDOWS_ALL,
    WOQ_WINDOWS_FROM,   /* from max_window_layers on */
    WOQ_WINDOWS_PERIOD, /* block l is full exactly if (l + 1) % period == 0 */
};
/* How a router picks experts (models.md 3.5). */
enum woq_router {
    WOQ_ROUTER_NONE,
    WOQ_ROUTER_SOFTMAX, /* softmax over all, top K; renormalised with WOQ_T_NORM_TOPK */
    WOQ_ROUTER_TOPK,    /* top K, softmax over the K */
    WOQ_ROUTER_SIGMOID, /* deepseek v3: sigmoid, correction bias, groups of experts */
    WOQ_ROUTER_SPARSE,  /* phimoe: two picks with thresholds */
};

/* What a model has or is; a row has some, switches of its config add others. */
enum woq_trait {
    WOQ_T_QKV_BIAS = 1 << 0,
    WOQ_T_O_BIAS = 1 << 1,
    WOQ_T_MLP_BIAS = 1 << 2,
    WOQ_T_HEAD_BIAS = 1 << 3,
    WOQ_T_NORM_BIAS = 1 << 4,
    WOQ_T_NORM_FREE = 1 << 5,     /* norms without parameters */
    WOQ_T_PARALLEL = 1 << 6,      /* attention and MLP both read the block's input */
    WOQ_T_ONE_NORM = 1 << 7,      /* ... through the same norm */
    WOQ_T_NORM_AFTER = 1 << 8,    /* POST: x = norm(x + branch) */
    WOQ_T_NORM_RESIDUAL = 1 << 9, /* the output of the norm is what the branch is added to */
    WOQ_T_NO_FINAL_NORM = 1 << 10,
    WOQ_T_ALIBI = 1 << 11,
    WOQ_T_ALIBI_BF16 = 1 << 12, /* falcon: rounded, and divided by sqrt(head_dim) too */
    WOQ_T_GATED = 1 << 13,
    WOQ_T_PAIRED = 1 << 14,       /* rope turns neighbouring dimensions (PAIR), else halves */
    WOQ_T_HEAD_ROWNORM = 1 << 15, /* rows of the head are normalised before use */
    WOQ_T_SCALE_BY_LAYER = 1 << 16,
    WOQ_T_NORM_TOPK = 1 << 17,
    WOQ_T_SHARED_GATE = 1 << 18,  /* the shared expert has a gate of its own */
    WOQ_T_QK_BIAS = 1 << 19,      /* the norms of q and k have biases */
    WOQ_T_NO_SCALE = 1 << 20,     /* attention scores are not scaled */
    WOQ_T_EMBED_SQRT = 1 << 21,   /* embeddings times sqrt(hidden) */
    WOQ_T_FULL_NO_ROPE = 1 << 22, /* blocks without a window have no positions */
    WOQ_T_LOCAL_ROPE = 1 << 23,   /* blocks with a window have plain rope */
    WOQ_T_QK_NORM = 1 << 24,
    WOQ_T_CLIP_QKV = 1 << 25,
    WOQ_T_CORRECTION = 1 << 26,  /* the router has a correction bias */
    WOQ_T_INTERLEAVED = 1 << 27, /* gate and up rows alternate */
    WOQ_T_ROUTER_BIAS = 1 << 28,
};

/* Roles in the order in which a stream carries them: stem, inside a block, head. Those of experts
 * follow each other expert by expert. */
enum woq_role {
    WOQ_ROLE_NONE, /* not a tensor of this architecture: travels with the head */
    WOQ_ROLE_EMBED,
    WOQ_ROLE_POSITION,
    WOQ_ROLE_EMBED_NORM,
    WOQ_ROLE_PROJECT_IN,
    WOQ_ROLE_ATTN_NORM,
    WOQ_ROLE_QKV, /* q, k, v in one tensor */
    WOQ_ROLE_Q,
    WOQ_ROLE_K,
    WOQ_ROLE_V,
    WOQ_ROLE_Q_A, /* MLA: into the latent vectors */
    WOQ_ROLE_KV_A,
    WOQ_ROLE_Q_A_NORM,
    WOQ_ROLE_Q_B,
    WOQ_ROLE_KV_A_NORM,
    WOQ_ROLE_KV_B,
    WOQ_ROLE_Q_NORM,
    WOQ_ROLE_K_NORM,
    WOQ_ROLE_SINKS,
    WOQ_ROLE_O,
    WOQ_ROLE_ATTN_POST_NORM,
    WOQ_ROLE_MLP_NORM,
    WOQ_ROLE_ROUTER,
    WOQ_ROLE_CORRECTION,
    WOQ_ROLE_SHARED_ROUTER,
    WOQ_ROLE_GATE_UP, /* gate and up in one tensor */
    WOQ_ROLE_GATE,
    WOQ_ROLE_UP,
    WOQ_ROLE_DOWN,
    WOQ_ROLE_SHARED_GATE,
    WOQ_ROLE_SHARED_UP,
    WOQ_ROLE_SHARED_DOWN,
    WOQ_ROLE_EXPERT_GATE_UP,
    WOQ_ROLE_EXPERT_GATE,
    WOQ_ROLE_EXPERT_UP,
    WOQ_ROLE_EXPERT_DOWN,
    WOQ_ROLE_MLP_POST_NORM,
    WOQ_ROLE_FINAL_NORM,
    WOQ_ROLE_PROJECT_OUT,
    WOQ_ROLE_HEAD,
    WOQ_N_ROLES
};
const char *
woq_role_name(enum woq_role r); /* "embed" "attn.norm" "attn.q" ... "mlp.down" "norm" "head" */
enum woq_role woq_role_from_name(const char *name);
bool woq_role_is_linear(enum woq_role r); /* q k v o gate up down: what a quantizer takes */
bool woq_role_is_expert(enum woq_role r);
bool woq_role_is_norm(enum woq_role r);
bool woq_role_in_block(enum woq_role r);

/* One tensor of a model. */
struct woq_place {
    enum woq_role role;
    long block;   /* -1 outside blocks */
    size_t index; /* expert or head where the role has one tensor for each, else 0 */
    bool bias;
};

/* Group of linears that share one input: "qkv" "o" "gateup" "down", of an expert "gateup.3"; false
 * where the tensor is no linear. */
#define WOQ_GROUP_NAME 32
bool woq_place_group(const struct woq_place *p, char buf[WOQ_GROUP_NAME]);

/* Under which names a family keeps its sizes. A second name is an alias. */
struct woq_arch_keys {
    const char *hidden[2], *layers[2], *heads[2], *kv_heads, *inter, *head_dim, *positions[2];
    const char *vocab, *eps, *act[2];
    bool inter_4h; /* an absent or null `inter` means 4 x hidden */
};

struct woq_config;
struct woq_arch {
    const char *model_type, *architectures[4], *aliases[2]; /* aliases: other model types */
    const struct woq_arch_keys *keys;
    const char *eps_key; /* in place of the family's */
    double eps;          /* default */
    enum woq_norm norm;
    enum woq_act act; /* default; the config's key wins */
    enum woq_qkv qkv;
    enum woq_qk_norm qk_norm; /* present with WOQ_T_QK_NORM */
    enum woq_windows windows;
    enum woq_router router;
    uint64_t traits;
    struct woq_switch {
        const char *key;
        bool otherwise;   /* when absent or null */
        uint64_t on, off; /* traits added when true, when false */
    } switches[6];
    int default_kv_heads; /* when the key is missing altogether; 0 = n_heads */
    int default_head_dim; /* 0 = hidden / n_heads */
    bool tie_default;
    uint64_t default_positions; /* max_position_embeddings when the key is absent */
    int64_t default_window;     /* sliding window when the key is absent; 0: then there is none */
    const char *window_key;     /* in place of "sliding_window" */
    bool window_gated;          /* only with use_sliding_window */
    int window_period;
    double theta, partial; /* defaults of rope_theta (0: 10000), partial_rotary_factor (0: 1) */
    double theta_local;    /* default of rope_local_base_freq; 0: as theta */
    const char *theta_key, *partial_key; /* keys that win over those */
    size_t position_offset;              /* first row of learned positions */
    /* What does not fit a column; after sizes, switches, rope and windows were read. */
    int (*refine)(struct woq_config *c, const struct woq_json *config, struct woq_error *err);
    /* Names: "{l}" is the block, "{e}" the expert or head. Suffix .weight / .bias is implied but
     * where a name ends in '!'. Two names with '|': the second is for configs with second_names. */
    const char *const *names; /* [WOQ_N_ROLES] */
    const char *prefix[3];    /* files may have [1] or [2] where our names have [0] */
    uint64_t conv1d;          /* roles (bit) whose matrices are [in, out] in the checkpoint */
    /* Experts that lie in one tensor [E, ...] there: its whole names. */
    struct woq_stack {
        enum woq_role role;
        const char *weight, *bias;
    } stacks[2];
};

/* What config.json says, with defaults resolved and ranges checked. */
struct woq_config {
    const struct woq_arch *arch;
    uint64_t traits;
    size_t hidden, inter, n_layers, n_heads, n_kv_heads, head_dim, vocab, max_positions;
    size_t v_dim;     /* of a head's values; head_dim but for MLA */
    size_t embed_dim; /* width of the embedding; hidden but for opt-350m */
    float eps;
    enum woq_norm norm;
    enum woq_qkv qkv;
    bool second_names;
    double rope_theta, rope_theta_local;
    enum woq_rope_scaling rope_scaling;
    double rope_factor, rope_low, rope_high, rope_original; /* llama3, linear, dynamic, yarn */
    double rope_beta_fast, rope_beta_slow;
    bool rope_truncate;      /* yarn: whole dimensions as borders of the ramp */
    double rope_attn_factor; /* multiplies cos and sin; 1 unless yarn or longrope */
    double rope_mscale[2];   /* phimoe: in its place for short and long sequences; 0 = not */
    float rope_short[256], rope_long[256]; /* longrope: n_rot / 2 divisors */
    size_t n_rot;                          /* of the dimensions of a head; 0 = no rope */
    size_t rot_first;                      /* dimensions before the first that turns (MLA) */
    enum woq_act act;
    bool tie;
    float attn_scale, attn_softcap, final_softcap; /* softcap 0 = none */
    float embed_mul, resid_mul, logit_mul, clip_qkv;
    size_t window; /* keys that a query sees, itself included; 0 = no block has a window */
    uint64_t window_blocks[WOQ_MAX_BLOCKS / 64]; /* bit l: block l has the window */
    uint64_t no_rope_blocks[WOQ_MAX_BLOCKS / 64];
    uint64_t dense_blocks[WOQ_MAX_BLOCKS / 64]; /* of a model with experts: blocks without */
    /* Experts; n_experts 0 = none. */
    size_t n_experts, n_used, expert_inter, shared_inter;
    size_t expert_groups, top_groups; /* of experts, deepseek; 0 = not grouped */
    float router_scale, router_jitter;
    /* MLA; q_lora 0 = a plain q. head_dim = nope + n_rot. */
    size_t q_lora, kv_lora;
};

static inline bool woq_has(const struct woq_config *c, uint64_t traits)
{
    return (c->traits & traits) == traits;
}

/* Row for a config ("architectures", then "model_type"); NULL and err (with the list of known ones)
 * if unknown: never guesses. */
const struct woq_arch *woq_arch_find(const struct woq_json *config, struct woq_error *err);
const struct woq_arch *woq_arch_by_type(const char *model_type); /* NULL if there is none */
size_t woq_arch_count(void);
const struct woq_arch *woq_arch_at(size_t i);
/* Reads and checks a config.json (models.md 2, 3, 5.2): every size is in range, so that products of
 * two of them fit size_t and float counts. */
int woq_config_init(struct woq_config *c, const struct woq_json *config, struct woq_error *err);

/* Window of a block in keys, 0 = full attention. */
size_t woq_config_window(const struct woq_config *c, size_t block);
bool woq_config_has_rope(const struct woq_config *c, size_t block);
bool woq_config_has_experts(const struct woq_config *c, size_t block);

/* The tensor of a name; false (and role NONE) for names that this row does not use. */
bool woq_arch_place(const struct woq_arch *a, const char *name, struct woq_place *p);
/* HF name of a tensor: "model.layers.3.mlp.down_proj.weight" into buf. */
int woq_config_name(const struct woq_config *c, const struct woq_place *p, char *buf, size_t cap);
/* A template of `len` bytes with a tensor's numbers and suffix. */
int woq_place_write(const char *template, size_t len, const struct woq_place *p, char *buf,
                    size_t cap);
/* A tensor of a checkpoint that holds a role of all experts; index is 0. */
bool woq_arch_stack(const struct woq_arch *a, const char *name, struct woq_place *p);
/* Its name there for a place of the stream; false where experts have tensors of their own. */
bool woq_config_stack_name(const struct woq_config *c, const struct woq_place *p, char *buf,
                           size_t cap);
/* Is this matrix [in, out] in the checkpoint? */
bool woq_arch_is_conv1d(const struct woq_arch *a, const struct woq_place *p);
/* Buffers that old checkpoints carry and the config implies (models.md 3.7). */
bool woq_name_is_ignorable(const char *name);

/* Shape of a tensor in the stream ([out, in]); false if this config has no such tensor. The head's
 * shape is given for tied configs too: a file may hold a duplicate, and a missing head means tied.
 */
bool woq_config_shape(const struct woq_config *c, const struct woq_place *p, unsigned *n_dims,
                      uint64_t shape[2]);
/* Tensors of a role in a block (or outside): experts, heads, or 1. */
size_t woq_config_count(const struct woq_config *c, enum woq_role role);
/* Walks all tensors that the config asks for in the order of a stream; begin with a zeroed place.
 * A tied head is not among them. */
bool woq_config_next(const struct woq_config *c, struct woq_place *p);
/* Order of a stream: stem, blocks, head, then what has no role. */
int woq_place_compare(const struct woq_place *a, const struct woq_place *b);
/* A number for each tensor of a part (a block, or what is outside): below woq_config_slots. */
size_t woq_config_slots(const struct woq_config *c);
size_t woq_config_slot(const struct woq_config *c, const struct woq_place *p);
/* Where the checkpoint's row `row` of a tensor belongs in the matrices of a forward: q, k, v and
 * gate, up apart, dimensions that rope turns together half a rotation apart. */
size_t woq_config_row(const struct woq_config *c, const struct woq_place *p, size_t row);
/* Row of a fused q, k, v -> row of [all q][all k][all v], dimensions of a head as they are. */
size_t woq_config_unfuse(const struct woq_config *c, size_t row);
bool woq_config_moves_rows(const struct woq_config *c, enum woq_role role);
size_t woq_config_turn(const struct woq_config *c, size_t dim); /* the same for one head */
/* Shape of a role's weight whether or not this config has it; shape[1] 0: a vector. */
void woq_weight_shape(const struct woq_config *c, enum woq_role role, uint64_t shape[2]);

#endif
