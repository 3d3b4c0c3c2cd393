/* fold.c -- scales between linears and what makes their input (models.md 10). */
#include <woq/fold.h>

#include <math.h>

#define BIT(r) ((uint64_t)1 << WOQ_ROLE_##r)
#define ATTN_INPUT (BIT(QKV) | BIT(Q) | BIT(K) | BIT(V) | BIT(Q_A) | BIT(KV_A))
#define MLP_INPUT                                                                                  \
    (BIT(GATE_UP) | BIT(GATE) | BIT(UP) | BIT(ROUTER) | BIT(SHARED_ROUTER) | BIT(SHARED_GATE) |    \
     BIT(SHARED_UP) | BIT(EXPERT_GATE_UP) | BIT(EXPERT_GATE) | BIT(EXPERT_UP))

static bool has(const struct woq_config *c, size_t block, enum woq_role role)
{
    const struct woq_place p = { .role = role, .block = (long)block };
    uint64_t shape[2];
    unsigned n_dims;

    return woq_config_shape(c, &p, &n_dims, shape);
}

static uint64_t present(const struct woq_config *c, size_t block, uint64_t roles)
{
    uint64_t there = 0;

    for (unsigned r = 1; r < WOQ_N_ROLES; r++)
        if (roles >> r & 1 && has(c, block, (enum woq_role)r))
            there |= (uint64_t)1 << r;
    return there;
}

/* Does the output of a block's norms reach the linears alone? */
static bool norms_fold(const struct woq_config *c)
{
    return !(c->traits & (WOQ_T_NORM_AFTER | WOQ_T_NORM_RESIDUAL));
}

/* The power by which a channel of up reaches down; 0 if it does so in no such way. */
static float up_power(const struct woq_config *c)
{
    if (woq_has(c, WOQ_T_GATED))
        return c->act == WOQ_ACT_OSS ? 0 : 1; /* clamped, and 1 is added */
    return c->act == WOQ_ACT_RELU ? 1 : c->act == WOQ_ACT_RELU2 ? 0.5f : 0;
}

/* The steps of woq_fold_next. Experts come last, one step each. */
enum { ATTN_IN, Q_LATENT, KV_LATENT, VALUES, MLP_IN, INNER, SHARED, EXPERTS };

/* The last norm into a head of its own, whose rows are used as they are. */
static void outside_fold(const struct woq_config *c, struct woq_fold *f)
{
    if (f->step > 0 || c->tie || woq_has(c, WOQ_T_HEAD_ROWNORM))
        return;
    f->producer = WOQ_ROLE_FINAL_NORM;
    f->consumers = c->embed_dim == c->hidden ? BIT(HEAD) : BIT(PROJECT_OUT);
}

static void attention_fold(const struct woq_config *c, struct woq_fold *f)
{
    if (f->step == ATTN_IN && norms_fold(c)) {
        f->producer = WOQ_ROLE_ATTN_NORM;
        f->consumers = ATTN_INPUT;
        if (woq_has(c, WOQ_T_PARALLEL | WOQ_T_ONE_NORM))
            f->consumers |= MLP_INPUT;
    } else if (f->step == Q_LATENT) {
        f->producer = WOQ_ROLE_Q_A_NORM;
        f->consumers = BIT(Q_B);
    } else if (f->step == KV_LATENT) {
        f->producer = WOQ_ROLE_KV_A_NORM;
        f->consumers = BIT(KV_B);
    } else if (f->step == VALUES && !(c->clip_qkv > 0)) {
        f->producer = WOQ_ROLE_V;
        f->consumers = BIT(O);
    }
}

static void mlp_fold(const struct woq_config *c, struct woq_fold *f)
{
    f->power = up_power(c);
    if (f->step == MLP_IN && norms_fold(c) && !woq_has(c, WOQ_T_PARALLEL | WOQ_T_ONE_NORM)) {
        f->producer = WOQ_ROLE_MLP_NORM;
        f->consumers = MLP_INPUT;
        f->power = 1;
    } else if (f->step == INNER) {
        f->producer = WOQ_ROLE_UP;
        f->consumers = BIT(DOWN);
    } else if (f->step == SHARED) {
        f->producer = WOQ_ROLE_SHARED_UP;
        f->consumers = BIT(SHARED_DOWN);
    } else if (f->step >= EXPERTS) {
        f->producer = WOQ_ROLE_EXPERT_UP;
        f->consumers = BIT(EXPERT_DOWN);
        f->expert = true;
        f->index = f->step - EXPERTS;
    }
}

static size_t channels(const struct woq_config *c, enum woq_role producer, enum woq_role consumer)
{
    uint64_t shape[2];

    if (producer == WOQ_ROLE_V)
        return c->n_kv_heads * c->v_dim;
    woq_weight_shape(c, consumer, shape);
    return shape[1];
}

bool woq_fold_next(const struct woq_config *c, size_t block, struct woq_fold *f)
{
    unsigned step = f->consumers ? f->step + 1 : 0;
    const unsigned n_steps = EXPERTS + (unsigned)c->n_experts;

    for (; step < n_steps; step++) {
        *f = (struct woq_fold){ .block = block, .power = 1, .step = step };
        if (block == SIZE_MAX)
            outside_fold(c, f);
        else if (step < MLP_IN)
            attention_fold(c, f);
        else
            mlp_fold(c, f);
        f->consumers = present(c, block, f->consumers);
        if (!f->consumers || !(f->power > 0))
            continue;
        if (woq_role_is_norm(f->producer) && !has(c, block, f->producer))
            continue;
        f->n_channels = channels(c, f->producer, (enum woq_role)__builtin_ctzll(f->consumers));
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------ rows and columns */

size_t woq_fold_column(const struct woq_config *c, const struct woq_fold *f, size_t col)
{
    const size_t share = c->n_heads / c->n_kv_heads;

    return f->producer == WOQ_ROLE_V ? col / c->v_dim / share * c->v_dim + col % c->v_dim : col;
}

/* Row `at` of the part that begins at row `first` of a forward's matrix. */
static size_t below(size_t at, size_t first)
{
    return at < first ? SIZE_MAX : at - first;
}

static size_t value_row(const struct woq_config *c, const struct woq_place *p, size_t row)
{
    if (p->role == WOQ_ROLE_V)
        return row;
    if (p->role == WOQ_ROLE_QKV)
        return below(woq_config_row(c, p, row), (c->n_heads + c->n_kv_heads) * c->head_dim);
    if (p->role == WOQ_ROLE_KV_B) { /* per head its keys, its values */
        const size_t keys = c->head_dim - c->n_rot, head = row / (keys + c->v_dim);
        const size_t at = below(row % (keys + c->v_dim), keys);

        return at == SIZE_MAX ? at : head * c->v_dim + at;
    }
    return SIZE_MAX;
}

size_t woq_fold_row(const struct woq_config *c, const struct woq_fold *f, const struct woq_place *p,
                    size_t row)
{
    if (p->block != (long)f->block || (f->expert && p->index != f->index))
        return SIZE_MAX;
    if (f->producer == WOQ_ROLE_V)
        return value_row(c, p, row);
    if (p->role == f->producer)
        return row;
    if (f->producer == WOQ_ROLE_UP && p->role == WOQ_ROLE_GATE_UP)
        return below(woq_config_row(c, p, row), c->inter);
    if (f->producer == WOQ_ROLE_EXPERT_UP && p->role == WOQ_ROLE_EXPERT_GATE_UP)
        return below(woq_config_row(c, p, row), c->expert_inter);
    return SIZE_MAX;
}

/* ------------------------------------------------------------------ the change */

static bool is_consumer(const struct woq_fold *f, const struct woq_place *p)
{
    return !p->bias && p->block == (long)f->block && f->consumers >> p->role & 1 &&
           (!f->expert || p->index == f->index);
}

static void divide_row(const struct woq_config *c, float *row, size_t n_cols, float s, bool norm)
{
    if (norm && c->norm == WOQ_NORM_RMS_1P)
        row[0] = (1 + row[0]) / s - 1;
    else
        for (size_t j = 0; j < n_cols; j++)
            row[j] /= s;
}

bool woq_fold_apply(const struct woq_config *c, const struct woq_fold *f, const float *s,
                    const struct woq_place *p, float *w, size_t n_rows, size_t n_cols)
{
    const bool norm = woq_role_is_norm(p->role) && !p->bias;
    bool any = false;

    for (size_t i = 0; i < n_rows; i++) {
        const size_t channel = woq_fold_row(c, f, p, i);
        if (channel == SIZE_MAX)
            continue;
        divide_row(c, w + i * n_cols, n_cols,
                   f->power < 1 ? powf(s[channel], f->power) : s[channel], norm);
        any = true;
    }
    if (!is_consumer(f, p))
        return any;
    for (size_t j = 0; j < n_cols; j++) {
        const float by = s[woq_fold_column(c, f, j)];
        for (size_t i = 0; i < n_rows; i++)
            w[i * n_cols + j] *= by;
    }
    return true;
}
