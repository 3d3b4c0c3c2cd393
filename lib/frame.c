/* frame.c -- frames as records of arrays; nothing here touches a file descriptor. */
#include <woq/frame.h>

#include <stdlib.h>
#include <string.h>

void woq_frame_begin(struct woq_frame *f, const char *type)
{
    woq_json_free(f->meta);
    f->meta = woq_json_object();
    memcpy(f->type, type, 4);
    f->type[4] = 0;
    f->flags = 0;
    f->seq = f->at_byte = 0;
    f->n_arrays = 0;
    f->wire_enc = f->wire_lent = false;
    f->dirty = true;
    woq_arena_reset(&f->own);
}

void woq_frame_release(struct woq_frame *f)
{
    woq_json_free(f->meta);
    free(f->arrays);
    woq_buf_release(&f->body);
    woq_buf_release(&f->meta_buf);
    woq_arena_release(&f->own);
    memset(f, 0, sizeof *f);
}

void woq_frame_move(struct woq_frame *dst, struct woq_frame *src)
{
    woq_frame_release(dst);
    *dst = *src;
    memset(src, 0, sizeof *src);
}

int woq_frames_push(struct woq_frame **list, size_t *n, size_t *cap, struct woq_frame *f,
                    struct woq_error *err)
{
    if (*n == *cap) {
        const size_t room = *cap ? 2 * *cap : 16;
        struct woq_frame *grown = realloc(*list, room * sizeof *grown);

        if (!grown)
            return woq_fail_nomem(err, room * sizeof *grown);
        memset(grown + *cap, 0, (room - *cap) * sizeof *grown);
        *list = grown;
        *cap = room;
    }
    woq_frame_move(&(*list)[(*n)++], f);
    return WOQ_OK;
}

bool woq_frame_is(const struct woq_frame *f, const char *type)
{
    return strcmp(f->type, type) == 0;
}

bool woq_frame_is_tensor(const struct woq_frame *f)
{
    return woq_frame_is(f, "TENS");
}

const char *woq_frame_name(const struct woq_frame *f)
{
    const char *name = woq_json_get_str(f->meta, "name");

    return name ? name : "";
}

struct woq_json *woq_frame_edit(struct woq_frame *f)
{
    f->dirty = true;
    return f->meta;
}

static struct woq_array *find(const struct woq_frame *f, const char *name)
{
    for (size_t i = 0; i < f->n_arrays; i++)
        if (strcmp(f->arrays[i].name, name) == 0)
            return &f->arrays[i];
    return NULL;
}

const struct woq_array *woq_frame_array(const struct woq_frame *f, const char *name)
{
    return find(f, name);
}

int woq_frame_want(const struct woq_frame *f, const char *name, enum woq_dtype dtype,
                   unsigned n_dims, const struct woq_array **out, struct woq_error *err)
{
    const struct woq_array *a = find(f, name);

    if (!a)
        return woq_fail(err, WOQ_EDATA, NULL, "%s '%s' has no array '%s'", f->type,
                        woq_frame_name(f), name);
    if (dtype != WOQ_NO_DTYPE && a->dtype != dtype)
        return woq_fail(err, WOQ_ETYPE, NULL, "array '%s' of '%s' is %s, want %s", name,
                        woq_frame_name(f), woq_dtype_name(a->dtype), woq_dtype_name(dtype));
    if (n_dims && a->n_dims != n_dims)
        return woq_fail(err, WOQ_EDATA, NULL, "array '%s' of '%s' has %u dimensions, want %u", name,
                        woq_frame_name(f), a->n_dims, n_dims);
    *out = a;
    return WOQ_OK;
}

/* The packed bytes of a tensor hold as long as no other array changes. */
static void drop_raw(struct woq_frame *f, const char *changed)
{
    if (strcmp(changed, "raw") != 0 && find(f, "raw"))
        woq_frame_del(f, "raw");
}

/* The slot for an array: the old one of that name, or a new one at the end. */
static struct woq_array *slot(struct woq_frame *f, const char *name, struct woq_error *err)
{
    struct woq_array *a;

    drop_raw(f, name);
    a = find(f, name);
    if (a)
        return a;
    if (f->n_arrays == f->cap_arrays) {
        const size_t cap = f->cap_arrays ? 2 * f->cap_arrays : 8;
        struct woq_array *grown = realloc(f->arrays, cap * sizeof *grown);

        if (!grown) {
            woq_fail_nomem(err, cap * sizeof *grown);
            return NULL;
        }
        f->arrays = grown;
        f->cap_arrays = cap;
    }
    return &f->arrays[f->n_arrays++];
}

static int size_of(size_t *n_elem, size_t *bytes, enum woq_dtype dtype, unsigned n_dims,
                   const uint64_t *shape, const char *name, struct woq_error *err)
{
    size_t n = 1;
    bool ok = n_dims <= WOQ_MAX_DIMS && woq_dtype_bytes(dtype) > 0;

    for (unsigned i = 0; ok && i < n_dims; i++)
        ok = shape[i] <= SIZE_MAX && woq_mul_size(n, (size_t)shape[i], &n);
    if (!ok || !woq_mul_size(n, woq_dtype_bytes(dtype), bytes))
        return woq_fail(err, WOQ_EDATA, NULL, "array '%s' has an impossible shape or dtype", name);
    *n_elem = n;
    return WOQ_OK;
}

int woq_frame_add(struct woq_frame *f, const char *name, enum woq_dtype dtype, unsigned n_dims,
                  const uint64_t *shape, const void *data, struct woq_error *err)
{
    size_t n_elem, bytes;
    uint64_t dims[WOQ_MAX_DIMS] = { 0 };
    struct woq_array *a;
    int rc = size_of(&n_elem, &bytes, dtype, n_dims, shape, name, err);

    if (rc)
        return rc;
    if (!*name || strlen(name) >= sizeof a->name)
        return woq_fail(err, WOQ_EDATA, NULL, "array name '%s' is not 1..%zu bytes long", name,
                        sizeof a->name - 1);
    if (n_dims) /* shape may be that of an array of this frame */
        memcpy(dims, shape, n_dims * sizeof *shape);
    a = slot(f, name, err);
    if (!a)
        return WOQ_ENOMEM;
    memset(a, 0, sizeof *a);
    memcpy(a->name, name, strlen(name));
    a->dtype = dtype;
    a->n_dims = n_dims;
    memcpy(a->shape, dims, sizeof dims);
    a->n_elem = n_elem;
    a->bytes = bytes;
    a->data = (void *)(uintptr_t)data;
    f->dirty = true;
    return WOQ_OK;
}

int woq_frame_add_lent(struct woq_frame *f, const char *name, enum woq_dtype dtype, unsigned n_dims,
                       const uint64_t *shape, const void *data, struct woq_error *err)
{
    const int rc = woq_frame_add(f, name, dtype, n_dims, shape, data, err);

    if (rc == WOQ_OK)
        find(f, name)->lent = true;
    return rc;
}

int woq_frame_alloc(struct woq_frame *f, const char *name, enum woq_dtype dtype, unsigned n_dims,
                    const uint64_t *shape, void **data, struct woq_error *err)
{
    size_t n_elem, bytes;
    int rc = size_of(&n_elem, &bytes, dtype, n_dims, shape, name, err);

    if (rc)
        return rc;
    *data = woq_arena_alloc(&f->own, bytes, err);
    if (!*data)
        return WOQ_ENOMEM;
    return woq_frame_add(f, name, dtype, n_dims, shape, *data, err);
}

void woq_frame_del(struct woq_frame *f, const char *name)
{
    struct woq_array *a;

    drop_raw(f, name);
    a = find(f, name);
    if (!a)
        return;
    if (strcmp(name, "raw") == 0)
        woq_json_del(woq_frame_edit(f), "raw_format");
    memmove(a, a + 1, (size_t)(f->arrays + f->n_arrays - (a + 1)) * sizeof *a);
    f->n_arrays--;
    f->dirty = true;
}

int woq_frame_view(const struct woq_frame *f, struct woq_tensor *t, struct woq_error *err)
{
    const struct woq_array *a = NULL;
    int rc = woq_frame_want(f, "data", WOQ_NO_DTYPE, 0, &a, err);

    if (rc)
        return rc;
    t->name = woq_frame_name(f);
    t->dtype = a->dtype;
    t->n_dims = a->n_dims;
    t->shape = a->shape;
    t->n_elem = a->n_elem;
    t->n_cols = a->n_dims ? (size_t)a->shape[a->n_dims - 1] : 1;
    t->n_rows = t->n_cols ? a->n_elem / t->n_cols : 0;
    t->data = a->data;
    return WOQ_OK;
}

int woq_frame_tensor(struct woq_frame *f, struct woq_tensor *t, struct woq_error *err)
{
    struct woq_array *a;

    drop_raw(f, "data");
    a = find(f, "data");
    f->dirty = true;
    if (a)
        a->lent = false; /* it may be written to from here on */
    return woq_frame_view(f, t, err);
}

int woq_frame_f32(const struct woq_frame *f, struct woq_tensor *t, const float **data,
                  struct woq_buf *buf, struct woq_error *err)
{
    size_t bytes;
    float *dst;
    int rc = woq_frame_view(f, t, err);

    if (rc)
        return rc;
    if (t->dtype == WOQ_F32 && ((uintptr_t)t->data & 3) == 0) {
        *data = t->data;
        return WOQ_OK;
    }
    if (!woq_dtype_is_float(t->dtype))
        return woq_fail(err, WOQ_ETYPE, NULL, "tensor '%s' is %s, want f32, f16, bf16 or f64",
                        t->name, woq_dtype_name(t->dtype));
    if (!woq_mul_size(t->n_elem, sizeof(float), &bytes))
        return woq_fail_nomem(err, SIZE_MAX);
    dst = woq_buf_need(buf, bytes, err);
    if (!dst)
        return WOQ_ENOMEM;
    woq_to_f32(dst, t->data, t->dtype, t->n_elem);
    *data = dst;
    return WOQ_OK;
}
