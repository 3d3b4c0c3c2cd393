/* block.c -- weights of one block, from frames of a stream to f32 matrices. */
#include <woq/decoder.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <woq/kernels.h>
#include <woq/quant.h>
#include <woq/threads.h>
#include <woq/util.h>

enum { ROWS_PER_ITEM = 64 };

bool woq_name_is_ignorable(const char *name)
{
    return woq_name_match(name, "*.rotary_emb.inv_freq") ||
           woq_name_match(name, "*.rotary_pos_emb.inv_freq");
}

/* Roles that share one buffer, in its order: one matmul serves them all. */
static const enum woq_role shared[WOQ_N_ROLES][3] = {
    [WOQ_ROLE_Q] = { WOQ_ROLE_Q, WOQ_ROLE_K, WOQ_ROLE_V },
    [WOQ_ROLE_GATE] = { WOQ_ROLE_GATE, WOQ_ROLE_UP, WOQ_ROLE_NONE },
};

static enum woq_role owner_of(enum woq_role role)
{
    switch (role) {
    case WOQ_ROLE_K:
    case WOQ_ROLE_V:
        return WOQ_ROLE_Q;
    case WOQ_ROLE_UP:
        return WOQ_ROLE_GATE;
    default:
        return role;
    }
}

/* Where a weight goes: its part of the group's buffer. */
static float *place(struct woq_block *b, const struct woq_config *c, enum woq_role role,
                    struct woq_error *err)
{
    const enum woq_role owner = owner_of(role);
    size_t total = 0, offset = 0;
    uint64_t shape[2];
    unsigned n_dims;
    float *data;

    if (shared[owner][0] == WOQ_ROLE_NONE) {
        woq_arch_shape(c, role, false, &n_dims, shape);
        return woq_buf_need(&b->bufs[role], shape[0] * shape[1] * sizeof(float), err);
    }
    for (size_t i = 0; i < 3 && shared[owner][i] != WOQ_ROLE_NONE; i++) {
        woq_arch_shape(c, shared[owner][i], false, &n_dims, shape);
        if (shared[owner][i] == role)
            offset = total;
        total += shape[0] * shape[1];
    }
    data = woq_buf_need(&b->bufs[owner], total * sizeof(float), err);
    return data ? data + offset : NULL;
}

struct convert {
    float *dst;
    size_t n_rows, n_cols;
    const struct woq_tensor *t; /* or q */
    const struct woq_qview *q;
    atomic_bool bad;
};

static void convert_rows(void *ctx, size_t item, int thread)
{
    struct convert *v = ctx;
    const size_t row0 = item * ROWS_PER_ITEM, left = v->n_rows - row0;
    const size_t n = left < ROWS_PER_ITEM ? left : ROWS_PER_ITEM;
    float *dst = v->dst + row0 * v->n_cols;

    (void)thread;
    if (v->q)
        woq_dequant_rows(dst, v->q, row0, row0 + n);
    else
        woq_to_f32(dst, (const char *)v->t->data + row0 * v->n_cols * woq_dtype_bytes(v->t->dtype),
                   v->t->dtype, n * v->n_cols);
    if (!woq_kernels()->all_finite_f32(dst, n * v->n_cols))
        atomic_store(&v->bad, true);
}

static int check_shape(const struct woq_frame *f, unsigned n_dims, const uint64_t want[2],
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

int woq_tensor_read(float *dst, const struct woq_frame *f, unsigned n_dims, const uint64_t shape[2],
                    struct woq_error *err)
{
    struct convert v = { .dst = dst, .n_rows = (size_t)shape[0], .n_cols = (size_t)shape[1] };
    struct woq_tensor t;
    struct woq_qview q;
    int rc;

    if (woq_frame_is(f, "QTEN")) {
        if ((rc = woq_qview_init(&q, f, err)) < 0 ||
            (rc = check_shape(f, n_dims, shape, (uint64_t[]){ q.n_rows, q.n_cols }, 2, err)) < 0)
            return rc;
        v.q = &q;
    } else {
        if ((rc = woq_frame_view(f, &t, err)) < 0 ||
            (rc = check_shape(f, n_dims, shape, t.shape, t.n_dims, err)) < 0)
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

int woq_block_take(struct woq_block *b, const struct woq_config *c, const struct woq_frame *f,
                   struct woq_error *err)
{
    const char *name = woq_frame_name(f);
    enum woq_role role;
    uint64_t shape[2];
    unsigned n_dims;
    float *dst;
    bool bias;
    long block;
    int rc;

    if (woq_name_is_ignorable(name))
        return WOQ_OK;
    role = woq_arch_role(c->arch, name, &block, &bias);
    if (role == WOQ_ROLE_NONE || block < 0)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' has no place in a block of '%s'", name,
                        c->arch->model_type);
    if ((size_t)block != b->index)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' stands in block %zu of the stream", name,
                        b->index);
    if (!woq_arch_shape(c, role, bias, &n_dims, shape)) {
        if (!bias)
            WOQ_BUG("a weight without a shape");
        return check_zero_bias(f, err);
    }
    if (bias ? b->bias[role] != NULL : b->w[role] != NULL)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' comes twice", name);
    dst = bias ? woq_buf_need(&b->bias_bufs[role], shape[0] * sizeof(float), err)
               : place(b, c, role, err);
    if (!dst)
        return WOQ_ENOMEM;
    if ((rc = woq_tensor_read(dst, f, n_dims, shape, err)) < 0)
        return rc;
    if (bias)
        b->bias[role] = dst;
    else
        b->w[role] = dst;
    return WOQ_OK;
}

int woq_block_check(const struct woq_block *b, const struct woq_config *c, struct woq_error *err)
{
    for (unsigned r = WOQ_ROLE_ATTN_NORM; r <= WOQ_ROLE_DOWN; r++)
        for (int bias = 0; bias < 2; bias++) {
            char name[256];
            uint64_t shape[2];
            unsigned n_dims;

            if (!woq_arch_shape(c, (enum woq_role)r, bias, &n_dims, shape) ||
                (bias ? b->bias[r] : b->w[r]))
                continue;
            woq_arch_name(c->arch, (enum woq_role)r, b->index, bias, name, sizeof name);
            return woq_fail(err, WOQ_EDATA, NULL, "block %zu lacks tensor '%s'", b->index, name);
        }
    return WOQ_OK;
}

void woq_block_clear(struct woq_block *b)
{
    memset(b->w, 0, sizeof b->w);
    memset(b->bias, 0, sizeof b->bias);
}

void woq_block_release(struct woq_block *b)
{
    for (unsigned r = 0; r < WOQ_N_ROLES; r++) {
        woq_buf_release(&b->bufs[r]);
        woq_buf_release(&b->bias_bufs[r]);
    }
    memset(b, 0, sizeof *b);
}

int woq_embed(float *x, const struct woq_config *c, const struct woq_frame *f, const uint32_t *ids,
              size_t n_tokens, struct woq_error *err)
{
    const bool quantized = woq_frame_is(f, "QTEN");
    struct woq_tensor t = { 0 };
    struct woq_qview q = { 0 };
    int rc;

    if ((rc = quantized ? woq_qview_init(&q, f, err) : woq_frame_view(f, &t, err)) < 0)
        return rc;
    if ((rc = check_shape(f, 2, (uint64_t[]){ c->vocab, c->hidden },
                          quantized ? (uint64_t[]){ q.n_rows, q.n_cols } : t.shape,
                          quantized ? 2 : t.n_dims, err)) < 0)
        return rc;
    if (!quantized && !woq_dtype_is_float(t.dtype))
        return woq_fail(err, WOQ_ETYPE, NULL, "tensor '%s' is %s, want a float type",
                        woq_frame_name(f), woq_dtype_name(t.dtype));
    for (size_t i = 0; i < n_tokens; i++) {
        float *dst = x + i * c->hidden;

        if (ids[i] >= c->vocab)
            return woq_fail(err, WOQ_EDATA, NULL,
                            "token %zu is %u, but the vocabulary has %zu entries", i, ids[i],
                            c->vocab);
        if (quantized)
            woq_dequant_rows(dst, &q, ids[i], ids[i] + 1);
        else
            woq_to_f32(dst, (const char *)t.data + ids[i] * c->hidden * woq_dtype_bytes(t.dtype),
                       t.dtype, c->hidden);
        if (!woq_kernels()->all_finite_f32(dst, c->hidden))
            return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' has a NaN or infinite value",
                            woq_frame_name(f));
    }
    return WOQ_OK;
}
