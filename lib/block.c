/* block.c -- weights of one block, from frames of a stream to f32 matrices. */
#include "decoder_internal.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <woq/kernels.h>
#include <woq/quant.h>
#include <woq/threads.h>
#include <woq/util.h>

enum { ROWS_PER_ITEM = 64 };

/* Roles that share one buffer, in its order: one matmul serves them all. */
static const enum woq_role shared[][3] = {
    { WOQ_ROLE_Q, WOQ_ROLE_K, WOQ_ROLE_V },
    { WOQ_ROLE_GATE, WOQ_ROLE_UP, WOQ_ROLE_NONE },
    { WOQ_ROLE_SHARED_GATE, WOQ_ROLE_SHARED_UP, WOQ_ROLE_NONE },
    { WOQ_ROLE_EXPERT_GATE, WOQ_ROLE_EXPERT_UP, WOQ_ROLE_NONE },
};

/* The first of the roles that a tensor holds. */
static enum woq_role first_part(enum woq_role role)
{
    switch (role) {
    case WOQ_ROLE_QKV:
        return WOQ_ROLE_Q;
    case WOQ_ROLE_GATE_UP:
        return WOQ_ROLE_GATE;
    case WOQ_ROLE_EXPERT_GATE_UP:
        return WOQ_ROLE_EXPERT_GATE;
    default:
        return role;
    }
}

/* Where a role's weights (or biases) lie: in a buffer with those that share its input, experts one
 * behind the other. */
struct spot {
    const enum woq_role *roles; /* of the buffer; NULL: only itself */
    enum woq_role owner;
    size_t offset, unit, n; /* floats: in a unit, of a unit; units */
};

static size_t elements(const struct woq_config *c, enum woq_role role, bool bias)
{
    uint64_t shape[2];

    woq_weight_shape(c, role, shape);
    return (size_t)(shape[0] * (bias || !shape[1] ? 1 : shape[1]));
}

static struct spot spot_of(const struct woq_config *c, enum woq_role role, bool bias)
{
    struct spot s = { .owner = role, .n = woq_config_count(c, role) };

    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        for (size_t k = 0; k < 3 && shared[i][k]; k++)
            if (shared[i][k] == role && (i ? woq_has(c, WOQ_T_GATED) : c->qkv != WOQ_QKV_MLA))
                s.roles = shared[i];
    s.unit = s.roles ? 0 : elements(c, role, bias);
    for (size_t k = 0; s.roles && k < 3 && s.roles[k]; k++) {
        s.owner = s.roles[0];
        if (s.roles[k] == role)
            s.offset = s.unit;
        s.unit += elements(c, s.roles[k], bias);
    }
    return s;
}

size_t woq_block_stride(const struct woq_config *c, enum woq_role role, bool bias)
{
    return spot_of(c, role, bias).unit;
}

/* Room for a tensor; base and *unit: of its buffer. */
static float *room(struct woq_block *b, const struct woq_config *c, const struct woq_place *p,
                   struct woq_error *err)
{
    const struct spot s = spot_of(c, first_part(p->role), p->bias);
    struct woq_buf *buf = p->bias ? &b->bias_bufs[s.owner] : &b->bufs[s.owner];
    size_t n, bytes;
    float *data;

    if (!woq_mul_size(s.unit, s.n, &n) || !woq_mul_size(n, sizeof(float), &bytes)) {
        woq_fail_nomem(err, SIZE_MAX);
        return NULL;
    }
    data = woq_buf_need(buf, bytes, err);
    return data ? data + p->index * s.unit + s.offset : NULL;
}

/* Every role that the tensor holds points at its part of the buffer. */
static void point(struct woq_block *b, const struct woq_config *c, const struct woq_place *p)
{
    const enum woq_role role = first_part(p->role);
    const struct spot s = spot_of(c, role, p->bias);
    const float **slots = p->bias ? b->bias : b->w;
    const struct woq_buf *buf = p->bias ? &b->bias_bufs[s.owner] : &b->bufs[s.owner];

    slots[role] = (const float *)buf->data + s.offset;
    for (size_t k = 0; role != p->role && k < 3 && s.roles && s.roles[k]; k++)
        slots[s.roles[k]] = (const float *)buf->data + spot_of(c, s.roles[k], p->bias).offset;
}

struct convert {
    float *dst;
    size_t n_rows, n_cols;
    const struct woq_config *c; /* NULL, or rows move as it says */
    const struct woq_place *p;
    const struct woq_tensor *t; /* or q */
    const struct woq_qview *q;
    atomic_bool bad;
};

static void convert_rows_at(struct convert *v, float *dst, size_t row0, size_t n)
{
    if (v->q)
        woq_dequant_rows(dst, v->q, row0, row0 + n);
    else
        woq_to_f32(dst, (const char *)v->t->data + row0 * v->n_cols * woq_dtype_bytes(v->t->dtype),
                   v->t->dtype, n * v->n_cols);
    if (!woq_kernels()->all_finite_f32(dst, n * v->n_cols))
        atomic_store(&v->bad, true);
}

static void convert_rows(void *ctx, size_t item, int thread)
{
    struct convert *v = ctx;
    const size_t row0 = item * ROWS_PER_ITEM, left = v->n_rows - row0;
    const size_t n = left < ROWS_PER_ITEM ? left : ROWS_PER_ITEM;

    (void)thread;
    if (!v->c)
        convert_rows_at(v, v->dst + row0 * v->n_cols, row0, n);
    for (size_t r = row0; v->c && r < row0 + n; r++)
        convert_rows_at(v, v->dst + woq_config_row(v->c, v->p, r) * v->n_cols, r, 1);
}

int woq_check_shape(const struct woq_frame *f, unsigned n_dims, const uint64_t want[2],
                    const uint64_t *got, unsigned got_dims, struct woq_error *err)
{
    if (got_dims == n_dims && got[0] == want[0] && (n_dims == 1 || got[1] == want[1]))
        return WOQ_OK;
    if (n_dims == 1)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "tensor '%s' has %u dims, first %llu; config.json says [%llu]",
                        woq_frame_name(f), got_dims, got_dims ? (unsigned long long)got[0] : 0,
                        (unsigned long long)want[0]);
    return woq_fail(err, WOQ_EDATA, NULL,
                    "tensor '%s' is [%llu, %llu] (%u dims); config.json says [%llu, %llu]",
                    woq_frame_name(f), got_dims > 0 ? (unsigned long long)got[0] : 0,
                    got_dims > 1 ? (unsigned long long)got[1] : 0, got_dims,
                    (unsigned long long)want[0], (unsigned long long)want[1]);
}

static int read_tensor(struct convert v, const struct woq_frame *f, unsigned n_dims,
                       const uint64_t shape[2], struct woq_error *err)
{
    struct woq_tensor t;
    struct woq_qview q;
    int rc;

    if (woq_frame_is(f, "QTEN")) {
        if ((rc = woq_qview_init(&q, f, err)) < 0 ||
            (rc = woq_check_shape(f, n_dims, shape, (uint64_t[]){ q.n_rows, q.n_cols }, 2, err)) <
                0)
            return rc;
        v.q = &q;
    } else {
        if ((rc = woq_frame_view(f, &t, err)) < 0 ||
            (rc = woq_check_shape(f, n_dims, shape, t.shape, t.n_dims, err)) < 0)
            return rc;
        if (!woq_dtype_is_float(t.dtype))
            return woq_fail(err, WOQ_ETYPE, NULL, "tensor '%s' is %s, want a float type",
                            woq_frame_name(f), woq_dtype_name(t.dtype));
        v.t = &t;
    }
    woq_parallel((v.n_rows + ROWS_PER_ITEM - 1) / ROWS_PER_ITEM, convert_rows, &v);
    if (atomic_load(&v.bad))
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' has a NaN or infinite value",
                        woq_frame_name(f));
    return WOQ_OK;
}

int woq_tensor_read(float *dst, const struct woq_frame *f, unsigned n_dims, const uint64_t shape[2],
                    struct woq_error *err)
{
    const struct convert v = { .dst = dst, .n_rows = (size_t)shape[0], .n_cols = (size_t)shape[1] };

    return read_tensor(v, f, n_dims, shape, err);
}

/* AutoGPTQ writes zero biases for linears that have none. */
static int check_zero_bias(const struct woq_frame *f, struct woq_error *err)
{
    struct woq_buf buf = { 0 };
    struct woq_tensor t;
    const float *data;
    float absmax = 0;
    int rc = woq_frame_f32(f, &t, &data, &buf, err);

    if (rc >= 0)
        absmax = woq_kernels()->absmax_f32(data, t.n_elem);
    woq_buf_release(&buf);
    if (rc >= 0 && absmax != 0)
        return woq_fail(err, WOQ_EDATA, "set attention_bias or mlp_bias in config.json",
                        "tensor '%s' is a bias that config.json does not have", woq_frame_name(f));
    return rc < 0 ? rc : WOQ_OK;
}

/* What the file holds -> what a forward multiplies by. */
static int finish(float *dst, const struct woq_config *c, const struct woq_place *p, size_t rows,
                  size_t cols)
{
    const struct woq_kernels *k = woq_kernels();

    if (woq_role_is_norm(p->role) && !p->bias && c->norm == WOQ_NORM_RMS_1P)
        for (size_t i = 0; i < rows * cols; i++)
            dst[i] += 1;
    if ((p->role == WOQ_ROLE_Q_NORM || p->role == WOQ_ROLE_K_NORM) && woq_has(c, WOQ_T_PAIRED)) {
        float *head = malloc(c->head_dim * sizeof *head);

        for (size_t i = 0; head && i + c->head_dim <= rows * cols; i += c->head_dim) {
            memcpy(head, dst + i, c->head_dim * sizeof *head);
            for (size_t d = 0; d < c->head_dim; d++)
                dst[i + woq_config_turn(c, d)] = head[d];
        }
        if (!head)
            return WOQ_ENOMEM;
        free(head);
    }
    for (size_t r = 0; r < rows && p->role == WOQ_ROLE_HEAD && woq_has(c, WOQ_T_HEAD_ROWNORM);
         r++) {
        float *row = dst + r * cols;

        k->scale_f32(row, cols, 1 / fmaxf(sqrtf(k->dot_f32(row, row, cols)), 1e-12f));
    }
    return WOQ_OK;
}

static uint8_t *have_bits(struct woq_block *b, const struct woq_config *c, struct woq_error *err)
{
    const size_t bytes = woq_config_slots(c) / 8 + 1;
    const bool fresh = b->have.cap_bytes < bytes;
    uint8_t *bits = woq_buf_need(&b->have, bytes, err);

    if (bits && fresh)
        memset(bits, 0, b->have.cap_bytes);
    return bits;
}

static bool has(const struct woq_block *b, const struct woq_config *c, const struct woq_place *p)
{
    const size_t slot = woq_config_slot(c, p);

    return b->have.data && ((const uint8_t *)b->have.data)[slot / 8] >> slot % 8 & 1;
}

void woq_block_forget(struct woq_block *b, const struct woq_config *c, const struct woq_place *p)
{
    const size_t slot = woq_config_slot(c, p);

    if (b->have.data)
        ((uint8_t *)b->have.data)[slot / 8] &= (uint8_t) ~(1u << slot % 8);
}

static int check_place(const struct woq_block *b, const struct woq_config *c,
                       const struct woq_place *p, const char *name, struct woq_error *err)
{
    if (!p->role || (p->block < 0) != (b->index == WOQ_OUTSIDE))
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' has no place %s of '%s'", name,
                        b->index == WOQ_OUTSIDE ? "beside the blocks" : "in a block",
                        c->arch->model_type);
    if (p->block >= 0 && (size_t)p->block != b->index)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' stands in block %zu of the stream", name,
                        b->index);
    if (p->index >= woq_config_count(c, p->role))
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s': config.json has %zu of them", name,
                        woq_config_count(c, p->role));
    return WOQ_OK;
}

int woq_block_take(struct woq_block *b, const struct woq_config *c, const struct woq_frame *f,
                   struct woq_error *err)
{
    const char *name = woq_frame_name(f);
    struct woq_place p;
    uint64_t shape[2];
    unsigned n_dims;
    uint8_t *have;
    float *dst;
    int rc;

    if (woq_name_is_ignorable(name))
        return WOQ_OK;
    woq_arch_place(c->arch, name, &p);
    if ((rc = check_place(b, c, &p, name, err)) < 0)
        return rc;
    if (!woq_config_shape(c, &p, &n_dims, shape))
        return p.bias ? check_zero_bias(f, err)
                      : woq_fail(err, WOQ_EDATA, "compare config.json with the checkpoint",
                                 "config.json leaves no place for tensor '%s'", name);
    if (!(have = have_bits(b, c, err)))
        return WOQ_ENOMEM;
    if (has(b, c, &p))
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' comes twice", name);
    if (!(dst = room(b, c, &p, err)))
        return WOQ_ENOMEM;
    {
        const bool moves = woq_config_moves_rows(c, p.role);
        const struct convert v = { .dst = dst,
                                   .n_rows = (size_t)shape[0],
                                   .n_cols = (size_t)shape[1],
                                   .c = moves ? c : NULL,
                                   .p = &p };

        if ((rc = read_tensor(v, f, n_dims, shape, err)) < 0)
            return rc;
    }
    if ((rc = finish(dst, c, &p, (size_t)shape[0], (size_t)shape[1])) < 0)
        return woq_fail_nomem(err, c->head_dim);
    point(b, c, &p);
    have[woq_config_slot(c, &p) / 8] |= (uint8_t)(1u << woq_config_slot(c, &p) % 8);
    return WOQ_OK;
}

int woq_block_check(const struct woq_block *b, const struct woq_config *c, struct woq_error *err)
{
    const bool outside = b->index == WOQ_OUTSIDE;
    struct woq_place p = { 0 };
    char name[256];

    while (woq_config_next(c, &p)) {
        if ((outside ? p.block >= 0 : p.block != (long)b->index) || p.role == WOQ_ROLE_EMBED ||
            has(b, c, &p))
            continue;
        woq_config_name(c, &p, name, sizeof name);
        if (outside)
            return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' is missing", name);
        return woq_fail(err, WOQ_EDATA, NULL, "block %zu lacks tensor '%s'", b->index, name);
    }
    return WOQ_OK;
}

void woq_block_clear(struct woq_block *b)
{
    memset(b->w, 0, sizeof b->w);
    memset(b->bias, 0, sizeof b->bias);
    if (b->have.data)
        memset(b->have.data, 0, b->have.cap_bytes);
}

void woq_block_release(struct woq_block *b)
{
    for (unsigned r = 0; r < WOQ_N_ROLES; r++) {
        woq_buf_release(&b->bufs[r]);
        woq_buf_release(&b->bias_bufs[r]);
    }
    woq_buf_release(&b->have);
    memset(b, 0, sizeof *b);
}
