/* gguf_types.c -- see the header. The choices of each mix are those of llama-quantize
 * (llama.cpp, src/llama-quant.cpp): a value projection is small and hurts most, so does the
 * down projection of the first and last blocks. */
#include <formats/gguf_types.h>

#include <formats/ggml_encode.h>
#include <stdlib.h>
#include <string.h>
#include <woq/stream.h>

/* When a choice holds. */
enum when {
    ALWAYS,
    GQA_4,   /* at least four query heads share a value head */
    FIRST_2, /* of the blocks */
    FIRST_4,
    FIRST_EIGHTH,
    FIRST_16TH,
    ENDS_AND_THIRDS, /* first and last eighth, every third between */
    EIGHTH_BLIND,    /* first eighth, without an importance */
    EIGHTH_SEEING,   /* first eighth, with one */
};

struct choice {
    enum woq_role role;
    enum when when;
    enum woq_ggml_id type;
};

struct woq_gguf_mix {
    const char *name;
    enum woq_ggml_id type;
    uint32_t file_type; /* formats.md 3.2 */
    struct choice choices[5];
    bool more_o; /* of a model with 8 experts, o has more bits */
};

/* clang-format off */
#define V WOQ_ROLE_V
#define O WOQ_ROLE_O
#define DOWN WOQ_ROLE_DOWN
#define EXPERTS WOQ_ROLE_EXPERT_GATE_UP /* gate, up and down of all */
#define T(x) WOQ_GGML_##x
#define SMALL_V { V, GQA_4, T(Q5_K) }, { DOWN, EIGHTH_BLIND, T(Q5_K) }
#define MORE(x) { V, ENDS_AND_THIRDS, T(x) }, { DOWN, ENDS_AND_THIRDS, T(x) }

/* Of mixes of one type the first tells the file type where none was named. */
static const struct woq_gguf_mix mixes[] = {
    { "f32",    T(F32),    0,  { { 0 } } },
    { "f16",    T(F16),    1,  { { 0 } } },
    { "bf16",   T(BF16),   32, { { 0 } } },
    { "q8_0",   T(Q8_0),   7,  { { WOQ_ROLE_HEAD, ALWAYS, T(Q8_0) } } },
    { "q6_k",   T(Q6_K),   18, { { 0 } } },
    { "q5_k_m", T(Q5_K),   17, { MORE(Q6_K) } },
    { "q5_k",   T(Q5_K),   17, { MORE(Q6_K) } },
    { "q5_k_s", T(Q5_K),   16, { { 0 } } },
    { "q4_k_m", T(Q4_K),   15, { MORE(Q6_K) }, true },
    { "q4_k",   T(Q4_K),   15, { MORE(Q6_K) }, true },
    { "q4_k_s", T(Q4_K),   14, { { V, FIRST_4, T(Q5_K) }, { DOWN, FIRST_EIGHTH, T(Q5_K) } }, true },
    { "q3_k_m", T(Q3_K),   12, { { V, FIRST_2, T(Q5_K) }, { V, ALWAYS, T(Q4_K) }, { DOWN, FIRST_16TH, T(Q5_K) },
                                 { DOWN, ALWAYS, T(Q4_K) }, { O, ALWAYS, T(Q4_K) } }, true },
    { "q3_k",   T(Q3_K),   12, { { V, FIRST_2, T(Q5_K) }, { V, ALWAYS, T(Q4_K) }, { DOWN, FIRST_16TH, T(Q5_K) },
                                 { DOWN, ALWAYS, T(Q4_K) }, { O, ALWAYS, T(Q4_K) } }, true },
    { "q3_k_l", T(Q3_K),   13, { { V, ALWAYS, T(Q5_K) }, { DOWN, ALWAYS, T(Q5_K) }, { O, ALWAYS, T(Q5_K) } } },
    { "q3_k_s", T(Q3_K),   11, { { 0 } }, true },
    { "q2_k",   T(Q2_K),   10, { { V, GQA_4, T(Q4_K) }, { V, ALWAYS, T(Q3_K) }, { DOWN, ALWAYS, T(Q3_K) },
                                 { O, ALWAYS, T(Q3_K) } }, true },
    { "q2_k_s", T(Q2_K),   21, { { V, GQA_4, T(Q4_K) }, { DOWN, FIRST_EIGHTH, T(Q4_K) } } },
    { "q5_1",   T(Q5_1),   9,  { { 0 } } },
    { "q5_0",   T(Q5_0),   8,  { { DOWN, EIGHTH_SEEING, T(Q5_1) } } },
    { "q4_1",   T(Q4_1),   3,  { { 0 } } },
    { "q4_0",   T(Q4_0),   2,  { { DOWN, EIGHTH_SEEING, T(Q4_1) } } },
    { "iq4_nl", T(IQ4_NL), 25, { SMALL_V }, true },
    { "iq4_xs", T(IQ4_XS), 30, { SMALL_V }, true },
    { "mxfp4",  T(MXFP4),  38, { { 0 } } },
    { "mxfp4_moe", T(Q8_0), 38, { { EXPERTS, ALWAYS, T(MXFP4) } } },
    { "tq1_0",  T(TQ1_0),  36, { { WOQ_ROLE_EMBED, ALWAYS, T(Q4_K) } } },
    { "tq2_0",  T(TQ2_0),  37, { { WOQ_ROLE_EMBED, ALWAYS, T(Q4_K) } } },
};

/* Falcon's, where they are others: by file type. */
static const struct woq_gguf_mix falcon[] = {
    { "q4_k_m", T(Q4_K),   15, { { V, ENDS_AND_THIRDS, T(Q6_K) }, { DOWN, FIRST_16TH, T(Q6_K) },
                                 { DOWN, ENDS_AND_THIRDS, T(Q5_K) } }, false },
    { "q4_k_s", T(Q4_K),   14, { { V, FIRST_4, T(Q5_K) } }, false },
    { "q3_k_m", T(Q3_K),   12, { { V, FIRST_2, T(Q5_K) }, { V, ALWAYS, T(Q4_K) }, { DOWN, FIRST_16TH, T(Q5_K) },
                                 { DOWN, ENDS_AND_THIRDS, T(Q4_K) } }, false },
    { "q3_k_l", T(Q3_K),   13, { { V, ALWAYS, T(Q5_K) }, { DOWN, ALWAYS, T(Q4_K) }, { O, ALWAYS, T(Q4_K) } }, false },
    { "q2_k",   T(Q2_K),   10, { { V, GQA_4, T(Q4_K) }, { V, ALWAYS, T(Q3_K) }, { DOWN, ALWAYS, T(Q3_K) } }, false },
};

static const struct {
    enum woq_ggml_id type, instead; /* blocks of 256, of 32 */
} fallbacks[] = {
    { T(IQ4_XS), T(IQ4_NL) }, { T(Q2_K), T(Q4_0) }, { T(Q3_K), T(Q4_0) }, { T(Q4_K), T(Q5_0) },
    { T(Q5_K), T(Q5_1) },     { T(Q6_K), T(Q8_0) }, { T(TQ1_0), T(Q4_0) }, { T(TQ2_0), T(Q4_0) },
};
/* clang-format on */

static const struct woq_gguf_mix *mix_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof mixes / sizeof mixes[0]; i++)
        if (strcmp(mixes[i].name, name) == 0)
            return &mixes[i];
    return NULL;
}

/* A single tensor's type: the mixes that are named as their type. */
static int type_by_name(const struct woq_ggml_type **type, const char *option, const char *name,
                        struct woq_error *err)
{
    const struct woq_gguf_mix *mix = mix_by_name(name);

    if (!mix || strlen(name) != strlen(woq_ggml_type(mix->type)->name))
        return woq_fail(err, WOQ_EUSAGE, NULL, "%s: type '%s': want one of " WOQ_GGUF_TYPES, option,
                        name);
    *type = woq_ggml_type(mix->type);
    return WOQ_OK;
}

static int add_rule(struct woq_gguf_types *t, const char *text, struct woq_error *err)
{
    const char *eq = strrchr(text, '=');
    struct woq_gguf_rule *r = &t->rules[t->n_rules];
    int rc;

    if (!eq || eq == text)
        return woq_fail(err, WOQ_EUSAGE, "for example '*.ffn_down.weight=q6_k'",
                        "--tensor-type '%s': want GLOB=TYPE", text);
    if ((rc = type_by_name(&r->type, "--tensor-type", eq + 1, err)) < 0)
        return rc;
    if (!(r->glob = strndup(text, (size_t)(eq - text))))
        return woq_fail_nomem(err, strlen(text));
    t->n_rules++;
    return WOQ_OK;
}

int woq_gguf_types_init(struct woq_gguf_types *t, const char *type, const char *embed,
                        const char *head, const struct woq_list *rules, bool pure,
                        struct woq_error *err)
{
    int rc = WOQ_OK;

    memset(t, 0, sizeof *t);
    t->pure = pure;
    if (strcmp(type, "auto") != 0 && !(t->mix = mix_by_name(type)))
        return woq_fail(err, WOQ_EUSAGE, NULL, "--type %s: want auto or one of " WOQ_GGUF_MIXES,
                        type);
    if (embed && strcmp(embed, "auto") != 0)
        rc = type_by_name(&t->embed, "--embed-type", embed, err);
    t->head = t->embed;
    if (rc == WOQ_OK && head && strcmp(head, "auto") != 0)
        rc = type_by_name(&t->head, "--head-type", head, err);
    if (rc < 0 || !rules || !rules->n)
        return rc;
    if (!(t->rules = calloc(rules->n, sizeof *t->rules)))
        return woq_fail_nomem(err, rules->n * sizeof *t->rules);
    for (size_t i = 0; i < rules->n && rc == WOQ_OK; i++)
        rc = add_rule(t, rules->items[i], err);
    return rc;
}

void woq_gguf_types_release(struct woq_gguf_types *t)
{
    for (size_t i = 0; i < t->n_rules; i++)
        free(t->rules[i].glob);
    free(t->rules);
    memset(t, 0, sizeof *t);
}

static bool holds(enum when when, const struct woq_config *c, const struct woq_gguf_matrix *m)
{
    const size_t i = m->block < 0 ? 0 : (size_t)m->block, n = c->n_layers, eighth = n / 8;

    switch (when) {
    case ALWAYS:
        return true;
    case GQA_4:
        return c->n_kv_heads && c->n_heads / c->n_kv_heads >= 4;
    case FIRST_2:
        return i < 2;
    case FIRST_4:
        return i < 4;
    case FIRST_EIGHTH:
        return i < eighth;
    case FIRST_16TH:
        return i < n / 16;
    case ENDS_AND_THIRDS:
        return i < eighth || i >= 7 * n / 8 || (i - eighth) % 3 == 2;
    case EIGHTH_BLIND:
        return i < eighth && !m->has_importance;
    case EIGHTH_SEEING:
        return i < eighth && m->has_importance;
    }
    return false;
}

static bool fits(const struct woq_ggml_type *type, size_t n_cols)
{
    return n_cols % type->block_elems == 0;
}

static bool is_falcon(const struct woq_config *c)
{
    return c->arch && !strcmp(c->arch->model_type, "falcon");
}

/* The first choice of a mix that holds; else its type. */
static enum woq_ggml_id chosen(const struct woq_gguf_mix *mix, const struct woq_config *c,
                               const struct woq_gguf_matrix *m, enum woq_role role)
{
    for (size_t i = 0; is_falcon(c) && i < sizeof falcon / sizeof falcon[0]; i++)
        if (falcon[i].file_type == mix->file_type)
            mix = &falcon[i];
    for (size_t i = 0; i < sizeof mix->choices / sizeof mix->choices[0]; i++) {
        const struct choice *choice = &mix->choices[i];
        const bool is_it = choice->role == EXPERTS ? woq_role_is_expert(m->role)
                                                   : choice->role && choice->role == role;

        if (is_it && holds(choice->when, c, m))
            return choice->type;
    }
    return mix->type;
}

static enum woq_ggml_id mixed(const struct woq_gguf_mix *mix, const struct woq_config *c,
                              const struct woq_gguf_matrix *m, enum woq_role role)
{
    const struct woq_ggml_type *base = woq_ggml_type(mix->type);
    const enum woq_ggml_id type = chosen(mix, c, m, role);

    if (base->dtype != WOQ_NO_DTYPE)
        return type; /* floats are not mixed */
    if (role == WOQ_ROLE_HEAD && type == mix->type)
        return fits(base, m->n_cols) && mix->type != T(Q8_0) && !is_falcon(c) ? T(Q6_K) : T(Q8_0);
    /* Beside 8 experts attention is small. */
    if (c->n_experts == 8 && (role == V || role == WOQ_ROLE_K))
        return T(Q8_0);
    if (c->n_experts == 8 && role == O)
        return mix->more_o ? T(Q5_K) : mix->type;
    /* The value projections of a 70B model are eight times smaller than its queries. */
    if (role == V && c->n_layers == 80 && c->n_kv_heads < c->n_heads &&
        (type == T(Q3_K) || type == T(Q4_K)))
        return T(Q5_K);
    return type;
}

/* The role whose choices a tensor follows. */
static enum woq_role choice_role(const struct woq_config *c, enum woq_role role)
{
    switch (role) {
    case WOQ_ROLE_QKV:
        return WOQ_ROLE_V;
    case WOQ_ROLE_EXPERT_DOWN:
    case WOQ_ROLE_SHARED_DOWN:
        return WOQ_ROLE_DOWN;
    case WOQ_ROLE_EMBED: /* an embedding that is the head too is treated as one */
        return c->tie ? WOQ_ROLE_HEAD : role;
    default:
        return role;
    }
}

/* Small matrices that decide much: routers of experts, positions. */
static bool stays_f32(enum woq_role role)
{
    return role == WOQ_ROLE_ROUTER || role == WOQ_ROLE_SHARED_ROUTER || role == WOQ_ROLE_POSITION;
}

static const struct woq_ggml_type *
wanted(const struct woq_gguf_types *t, const struct woq_config *c, const struct woq_gguf_matrix *m)
{
    const enum woq_role role = choice_role(c, m->role);

    for (size_t i = 0; i < t->n_rules; i++)
        if (woq_name_match(m->gguf_name, t->rules[i].glob) ||
            woq_name_match(m->name, t->rules[i].glob))
            return t->rules[i].type;
    if (m->role == WOQ_ROLE_EMBED && t->embed)
        return t->embed;
    if (role == WOQ_ROLE_HEAD && t->head)
        return t->head;
    if (stays_f32(role))
        return woq_ggml_type(WOQ_GGML_F32);
    if (!t->mix)
        return m->raw ? m->raw : woq_ggml_type(WOQ_GGML_F16);
    return woq_ggml_type(t->pure ? t->mix->type : mixed(t->mix, c, m, role));
}

const struct woq_ggml_type *woq_gguf_type_of(const struct woq_gguf_types *t,
                                             const struct woq_config *c,
                                             const struct woq_gguf_matrix *m, bool *fell_back)
{
    const struct woq_ggml_type *type = wanted(t, c, m);

    *fell_back = !fits(type, m->n_cols);
    if (!*fell_back)
        return type;
    for (size_t i = 0; i < sizeof fallbacks / sizeof fallbacks[0]; i++)
        if (fallbacks[i].type == type->id) {
            type = woq_ggml_type(fallbacks[i].instead);
            break;
        }
    return fits(type, m->n_cols) ? type : woq_ggml_type(WOQ_GGML_F16);
}

uint32_t woq_gguf_file_type(const struct woq_gguf_types *t, const struct woq_ggml_type *most)
{
    if (t->mix)
        return t->mix->file_type;
    for (size_t i = 0; i < sizeof mixes / sizeof mixes[0]; i++)
        if (most && mixes[i].type == most->id)
            return mixes[i].file_type;
    return 1;
}
