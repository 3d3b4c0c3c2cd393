/* extract.c -- see extract.h. */
#include "extract.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <woq/kernels.h>
#include <woq/model.h>
#include <woq/threads.h>

int woq_extract_modl(struct woq_frame *f, const struct woq_source *s, bool no_side,
                     struct woq_error *err)
{
    int rc = WOQ_OK;

    woq_modl_begin(f);
    for (size_t i = 0; i < s->n_side && rc == WOQ_OK; i++) {
        const uint64_t shape = s->side[i].bytes;

        if (no_side && strcmp(s->side[i].name, "config.json") != 0)
            continue;
        rc = woq_frame_add(f, s->side[i].name, WOQ_U8, 1, &shape, s->side[i].data, err);
    }
    return rc;
}

int woq_extract_load(struct woq_frame *f, struct woq_source *s, const struct woq_plan *p,
                     size_t step, struct woq_error *err)
{
    const size_t item = p->steps[step].item;
    int rc = s->load(s, item, f, err);

    if (rc == WOQ_OK)
        rc = woq_tensor_meta(f, p->config.arch, s->items[item].name, err);
    return rc < 0 ? woq_error_at(err, "%s", s->path) : WOQ_OK;
}

/* Elements go in pieces of this many, so that any pointer can be aligned in a small buffer. */
#define PIECE 16384

struct job {
    const uint8_t *src;
    uint8_t *dst;
    enum woq_dtype from, to;
    size_t n;
    atomic_size_t bad; /* lowest element that is not finite, or was lost; SIZE_MAX = none */
};

static void note_bad(struct job *j, size_t at)
{
    size_t old = atomic_load(&j->bad);

    while (at < old && !atomic_compare_exchange_weak(&j->bad, &old, at))
        ;
}

/* Piece i of the source as f32; a mapped file aligns its data to nothing. */
static size_t piece(const struct job *j, size_t i, float *x, uint64_t *raw)
{
    const size_t at = i * PIECE, n = j->n - at < PIECE ? j->n - at : PIECE;
    const size_t bytes = woq_dtype_bytes(j->from);

    memcpy(raw, j->src + at * bytes, n * bytes);
    woq_to_f32(x, raw, j->from, n);
    return n;
}

static void cast_piece(void *ctx, size_t i, int thread)
{
    struct job *j = ctx;
    float x[PIECE];
    uint64_t raw[PIECE];
    const size_t n = piece(j, i, x, raw);
    uint8_t *dst = j->dst + i * PIECE * woq_dtype_bytes(j->to);

    (void)thread;
    woq_from_f32(dst, j->to, x, n);
    if (j->to != WOQ_F16)
        return;
    for (size_t k = 0; k < n; k++)
        if (fabsf(x[k]) >= 65520.0f && isfinite(x[k])) { /* rounds to infinity */
            note_bad(j, i * PIECE + k);
            return;
        }
}

static void check_piece(void *ctx, size_t i, int thread)
{
    struct job *j = ctx;
    float x[PIECE];
    uint64_t raw[PIECE];
    const size_t n = piece(j, i, x, raw);

    (void)thread;
    if (woq_kernels()->all_finite_f32(x, n))
        return;
    for (size_t k = 0; k < n; k++)
        if (!isfinite(x[k])) {
            note_bad(j, i * PIECE + k);
            return;
        }
}

static size_t n_pieces(const struct job *j)
{
    return j->n / PIECE + (j->n % PIECE != 0);
}

int woq_extract_cast(struct woq_frame *f, enum woq_dtype to, struct woq_buf *buf,
                     struct woq_error *err)
{
    const struct woq_array *a = woq_frame_array(f, "data");
    size_t bytes;

    if (to == WOQ_NO_DTYPE || !woq_frame_is_tensor(f) || !a || !woq_dtype_is_float(a->dtype))
        return WOQ_OK;
    woq_frame_del(f, "raw"); /* floats were asked for */
    a = woq_frame_array(f, "data");
    if (a->dtype == to)
        return WOQ_OK;
    struct job j = { .src = a->data, .from = a->dtype, .to = to, .n = a->n_elem, .bad = SIZE_MAX };
    if (!woq_mul_size(j.n, woq_dtype_bytes(to), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    if (!(j.dst = woq_buf_need(buf, bytes, err)))
        return WOQ_ENOMEM;
    woq_parallel(n_pieces(&j), cast_piece, &j);
    if (j.bad != SIZE_MAX)
        return woq_fail(err, WOQ_EDATA, "use --dtype bf16 or f32",
                        "tensor '%s', element %zu does not fit into f16", woq_frame_name(f),
                        (size_t)j.bad);
    uint64_t shape[WOQ_MAX_DIMS]; /* adding replaces the array that `a` points at */
    memcpy(shape, a->shape, sizeof shape);
    return woq_frame_add(f, "data", to, a->n_dims, shape, j.dst, err);
}

static int check_array(const struct woq_frame *f, const struct woq_array *a, struct woq_error *err)
{
    struct job j = { .src = a->data, .from = a->dtype, .n = a->n_elem, .bad = SIZE_MAX };

    woq_parallel(n_pieces(&j), check_piece, &j);
    if (j.bad == SIZE_MAX)
        return WOQ_OK;
    return woq_fail(err, WOQ_EDATA, "the checkpoint is damaged, or its training diverged",
                    "tensor '%s', element %zu of '%s' is not finite", woq_frame_name(f),
                    (size_t)j.bad, a->name);
}

int woq_extract_check_finite(const struct woq_frame *f, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; i < f->n_arrays && rc == WOQ_OK; i++)
        if (woq_dtype_is_float(f->arrays[i].dtype))
            rc = check_array(f, &f->arrays[i], err);
    return rc;
}

static uint64_t item_bytes(const struct woq_item *item, enum woq_dtype to)
{
    const enum woq_dtype dtype =
        to != WOQ_NO_DTYPE && woq_dtype_is_float(item->dtype) ? to : item->dtype;
    uint64_t bytes = woq_dtype_bytes(dtype);

    if (item->stream_bytes && (item->quantized || to == WOQ_NO_DTYPE))
        return item->stream_bytes;
    for (unsigned i = 0; i < item->n_dims; i++)
        bytes *= item->shape[i];
    return bytes;
}

void woq_extract_total(const struct woq_source *s, const struct woq_plan *p, bool no_side,
                       enum woq_dtype to, uint64_t *n_frames, uint64_t *bytes)
{
    *n_frames = 1;
    *bytes = 0;
    for (size_t i = 0; i < s->n_side; i++)
        if (!no_side || strcmp(s->side[i].name, "config.json") == 0)
            *bytes = woq_align(*bytes, 64) + s->side[i].bytes;
    for (size_t i = 0; i < p->n_steps; i++) {
        const long block = p->steps[i].place.block;

        /* BLKB and BLKE around each block that has a tensor. */
        *n_frames += block >= 0 && (i == 0 || p->steps[i - 1].place.block != block) ? 3u : 1u;
        *bytes += item_bytes(&s->items[p->steps[i].item], to);
    }
}

struct woq_json *woq_extract_list(const struct woq_source *s, const struct woq_plan *p)
{
    struct woq_json *root = woq_json_object(), *tensors = woq_json_array();

    for (size_t i = 0; i < p->n_steps; i++) {
        const struct woq_item *item = &s->items[p->steps[i].item];
        struct woq_json *t = woq_json_object(), *shape = woq_json_array();

        for (unsigned d = 0; d < item->n_dims; d++)
            woq_json_push(shape, woq_json_of_num((double)item->shape[d]));
        woq_json_set_str(t, "name", item->name);
        woq_json_set_str(t, "stored", item->stored);
        woq_json_set(t, "shape", shape);
        woq_json_set_num(t, "bytes", (double)item->file_bytes);
        woq_json_set_str(t, "role", woq_role_name(p->steps[i].place.role));
        if (p->steps[i].place.block >= 0)
            woq_json_set_num(t, "block", (double)p->steps[i].place.block);
        woq_json_push(tensors, t);
    }
    woq_json_set_str(root, "format", s->format);
    woq_json_set(root, "tensors", tensors);
    return root;
}
