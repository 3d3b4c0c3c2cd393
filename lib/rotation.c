/* rotation.c -- orthogonal changes of the residual stream and of the values (models.md 11). */
#include <woq/fold.h>

#include <string.h>

static bool names(const struct woq_config *c, enum woq_role role)
{
    return c->arch->names[role];
}

const char *woq_rotation_refused(const struct woq_config *c, enum woq_rotation r)
{
    struct woq_fold f = { 0 };

    if (r == WOQ_ROTATE_VALUES) {
        while (woq_fold_next(c, 0, &f))
            if (f.producer == WOQ_ROLE_V)
                return NULL;
        return "its values are clipped";
    }
    if (c->traits & WOQ_T_NORM_AFTER)
        return "its norms stand in the residual stream";
    if (c->traits & WOQ_T_NORM_RESIDUAL)
        return "the output of its norms is its residual stream";
    if (names(c, WOQ_ROLE_ATTN_POST_NORM) || names(c, WOQ_ROLE_MLP_POST_NORM))
        return "norms with weights stand between its branches and the residual stream";
    if (names(c, WOQ_ROLE_EMBED_NORM))
        return "a norm follows its embedding";
    if (woq_has(c, WOQ_T_HEAD_ROWNORM))
        return "the rows of its head are normalised"; /* the last norm can't be folded into them */
    if (c->tie)
        return "its head is tied to its embedding";
    return NULL;
}

static enum woq_turn stream_site(const struct woq_config *c, const struct woq_place *p)
{
    switch (p->role) {
    case WOQ_ROLE_EMBED: /* a row is a vector of the stream, unless a projection follows */
        return c->embed_dim == c->hidden ? WOQ_TURN_COLS : WOQ_TURN_NONE;
    case WOQ_ROLE_HEAD:
        return c->embed_dim == c->hidden && !p->bias ? WOQ_TURN_COLS : WOQ_TURN_NONE;
    case WOQ_ROLE_POSITION:
    case WOQ_ROLE_PROJECT_OUT:
        return WOQ_TURN_COLS;
    case WOQ_ROLE_PROJECT_IN:
    case WOQ_ROLE_O:
    case WOQ_ROLE_DOWN:
    case WOQ_ROLE_SHARED_DOWN:
    case WOQ_ROLE_EXPERT_DOWN:
        return WOQ_TURN_ROWS;
    case WOQ_ROLE_QKV:
    case WOQ_ROLE_Q:
    case WOQ_ROLE_K:
    case WOQ_ROLE_V:
    case WOQ_ROLE_Q_A:
    case WOQ_ROLE_KV_A:
    case WOQ_ROLE_ROUTER:
    case WOQ_ROLE_SHARED_ROUTER:
    case WOQ_ROLE_GATE_UP:
    case WOQ_ROLE_GATE:
    case WOQ_ROLE_UP:
    case WOQ_ROLE_SHARED_GATE:
    case WOQ_ROLE_SHARED_UP:
    case WOQ_ROLE_EXPERT_GATE_UP:
    case WOQ_ROLE_EXPERT_GATE:
    case WOQ_ROLE_EXPERT_UP:
        return p->bias ? WOQ_TURN_NONE : WOQ_TURN_COLS;
    case WOQ_ROLE_ATTN_NORM:
    case WOQ_ROLE_MLP_NORM:
    case WOQ_ROLE_FINAL_NORM: /* its bias is a vector of the stream */
        return p->bias ? WOQ_TURN_ROWS : WOQ_TURN_NONE;
    default:
        return WOQ_TURN_NONE;
    }
}

static enum woq_turn value_site(const struct woq_config *c, const struct woq_place *p)
{
    switch (p->role) {
    case WOQ_ROLE_O:
        return p->bias ? WOQ_TURN_NONE : WOQ_TURN_COLS;
    case WOQ_ROLE_V:
    case WOQ_ROLE_QKV:
        return WOQ_TURN_ROWS;
    case WOQ_ROLE_KV_B:
        return c->qkv == WOQ_QKV_MLA ? WOQ_TURN_ROWS : WOQ_TURN_NONE;
    default:
        return WOQ_TURN_NONE;
    }
}

enum woq_turn woq_rotation_site(const struct woq_config *c, enum woq_rotation r,
                                const struct woq_place *p)
{
    return r == WOQ_ROTATE_STREAM ? stream_site(c, p) : value_site(c, p);
}

/* x[0], x[stride] ... x[(dim - 1) stride] times Q. */
static void turn_vector(float *x, size_t stride, const float *q, size_t dim, float *room)
{
    for (size_t j = 0; j < dim; j++) {
        double sum = 0;
        for (size_t i = 0; i < dim; i++)
            sum += (double)x[i * stride] * (double)q[i * dim + j];
        room[j] = (float)sum;
    }
    for (size_t j = 0; j < dim; j++)
        x[j * stride] = room[j];
}

void woq_rotation_apply(const struct woq_config *c, enum woq_rotation r, const float *q,
                        const struct woq_place *p, float *w, size_t n_rows, size_t n_cols,
                        float *room)
{
    const size_t dim = r == WOQ_ROTATE_STREAM ? c->hidden : c->v_dim;
    const enum woq_turn turn = woq_rotation_site(c, r, p);
    struct woq_fold values = { .block = (size_t)(p->block < 0 ? 0 : p->block),
                               .producer = WOQ_ROLE_V };

    if (turn == WOQ_TURN_COLS)
        for (size_t i = 0; i < n_rows; i++)
            for (size_t j = 0; j + dim <= n_cols; j += dim)
                turn_vector(w + i * n_cols + j, 1, q, dim, room);
    if (turn != WOQ_TURN_ROWS)
        return;
    for (size_t i = 0; i + dim <= n_rows; i++) {
        /* A head's values lie together in every layout. */
        const size_t at = r == WOQ_ROTATE_STREAM ? i : woq_fold_row(c, &values, p, i);
        if (at == SIZE_MAX || at % dim)
            continue;
        for (size_t j = 0; j < n_cols; j++)
            turn_vector(w + i * n_cols + j, n_cols, q, dim, room);
    }
}
