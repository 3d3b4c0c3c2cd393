/* stem.c -- from token ids to the input of the first block (models.md 3.6). */
#include "decoder_internal.h"

#include <stdlib.h>
#include <string.h>

#include <woq/kernels.h>
#include <woq/linalg.h>
#include <woq/quant.h>

int woq_embed_rows(float *out, const struct woq_config *c, const struct woq_frame *f,
                   const uint32_t *ids, size_t n_tokens, struct woq_error *err)
{
    const size_t width = c->embed_dim;
    const bool quantized = woq_frame_is(f, "QTEN");
    struct woq_tensor t = { 0 };
    struct woq_qview q = { 0 };
    int rc;

    if ((rc = quantized ? woq_qview_init(&q, f, err) : woq_frame_view(f, &t, err)) < 0)
        return rc;
    if ((rc = woq_check_shape(f, 2, (uint64_t[]){ c->vocab, width },
                              quantized ? (uint64_t[]){ q.n_rows, q.n_cols } : t.shape,
                              quantized ? 2 : t.n_dims, err)) < 0)
        return rc;
    if (!quantized && !woq_dtype_is_float(t.dtype))
        return woq_fail(err, WOQ_ETYPE, NULL, "tensor '%s' is %s, want a float type",
                        woq_frame_name(f), woq_dtype_name(t.dtype));
    for (size_t i = 0; i < n_tokens; i++) {
        float *dst = out + i * width;

        if (ids[i] >= c->vocab)
            return woq_fail(err, WOQ_EDATA, NULL,
                            "token %zu is %u, but the vocabulary has %zu entries", i, ids[i],
                            c->vocab);
        if (quantized)
            woq_dequant_rows(dst, &q, ids[i], ids[i] + 1);
        else
            woq_to_f32(dst, (const char *)t.data + ids[i] * width * woq_dtype_bytes(t.dtype),
                       t.dtype, width);
        if (!woq_kernels()->all_finite_f32(dst, width))
            return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' has a NaN or infinite value",
                            woq_frame_name(f));
    }
    return WOQ_OK;
}

/* opt-350m: embeddings narrower than the model grow in place, the last ones first. */
static int project(float *x, const struct woq_config *c, const float *w, size_t n_tokens,
                   struct woq_error *err)
{
    enum { PIECE = 512 };
    const size_t h = c->hidden, width = c->embed_dim;
    float *rows = woq_alloc(PIECE * width * sizeof *rows, err);

    if (!rows)
        return WOQ_ENOMEM;
    for (size_t end = n_tokens; end;) {
        const size_t n = end % PIECE ? end % PIECE : PIECE, at = end - n;

        memcpy(rows, x + at * width, n * width * sizeof *rows);
        woq_sgemm(false, true, n, h, width, 1, rows, width, w, width, 0, x + at * h, h);
        end = at;
    }
    free(rows);
    return WOQ_OK;
}

int woq_embed_finish(float *x, const struct woq_config *c, const struct woq_block *outside,
                     size_t n_tokens, size_t ctx, size_t pos0, struct woq_error *err)
{
    const float *positions = outside->w[WOQ_ROLE_POSITION];
    const float *norm = outside->w[WOQ_ROLE_EMBED_NORM], *w = outside->w[WOQ_ROLE_PROJECT_IN];
    const size_t h = c->hidden, longest = pos0 + (n_tokens < ctx ? n_tokens : ctx);
    const enum woq_role role = c->embed_dim != h && !w ? WOQ_ROLE_PROJECT_IN
                               : c->arch->names[WOQ_ROLE_POSITION] && !positions ? WOQ_ROLE_POSITION
                               : c->arch->names[WOQ_ROLE_EMBED_NORM] && !norm ? WOQ_ROLE_EMBED_NORM
                                                                              : WOQ_ROLE_NONE;
    int rc;

    if (role)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s.weight' did not come before block 0",
                        c->arch->names[role]);
    if (positions && longest > c->max_positions)
        return woq_fail(err, WOQ_EDATA, "use shorter windows",
                        "a window of %zu tokens, but the model has %zu positions", longest,
                        c->max_positions);
    if (w && (rc = project(x, c, w, n_tokens, err)) < 0)
        return rc;
    for (size_t i = 0; i < n_tokens; i++) {
        const size_t p = pos0 + i % ctx + c->arch->position_offset;

        if (c->embed_mul != 1)
            woq_kernels()->scale_f32(x + i * h, h, c->embed_mul);
        if (positions)
            woq_kernels()->add_f32(x + i * h, positions + p * h, h);
    }
    if (norm)
        woq_norm_rows(x, h, x, h, n_tokens, h, c->norm, norm, outside->bias[WOQ_ROLE_EMBED_NORM],
                      c->eps);
    return WOQ_OK;
}

int woq_embed(float *x, const struct woq_config *c, const struct woq_frame *f,
              const struct woq_block *outside, const uint32_t *ids, size_t n_tokens, size_t ctx,
              size_t pos0, struct woq_error *err)
{
    const int rc = woq_embed_rows(x, c, f, ids, n_tokens, err);

    return rc < 0 ? rc : woq_embed_finish(x, c, outside, n_tokens, ctx, pos0, err);
}
