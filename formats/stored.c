/* stored.c -- tensors of one file or of many (safetensors.h): who parses it is told by its first
 * bytes, never by its name. */
#include "stored_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    const struct woq_st_tensor *x = a, *y = b;

    return strcmp(x->name, y->name);
}

int woq_st_reserve(struct woq_st *st, size_t n, struct woq_error *err)
{
    struct woq_st_tensor *t = realloc(st->tensors, (st->n_tensors + n + 1) * sizeof *t);

    if (!t)
        return woq_fail_nomem(err, (st->n_tensors + n + 1) * sizeof *t);
    st->tensors = t;
    return WOQ_OK;
}

struct woq_st_tensor *woq_st_add(struct woq_st *st, const char *name, size_t name_bytes,
                                 struct woq_error *err)
{
    struct woq_st_tensor *t = &st->tensors[st->n_tensors];

    memset(t, 0, sizeof *t);
    if (!(t->name = strndup(name, name_bytes))) {
        woq_fail_nomem(err, name_bytes + 1);
        return NULL;
    }
    st->n_tensors++;
    t->shard = st->n_shards - 1;
    return t;
}

int woq_st_sort(struct woq_st *st, struct woq_error *err)
{
    if (st->n_tensors)
        qsort(st->tensors, st->n_tensors, sizeof *st->tensors, by_name);
    for (size_t i = 1; i < st->n_tensors; i++) {
        const struct woq_st_tensor *a = &st->tensors[i - 1], *b = &st->tensors[i];

        if (strcmp(a->name, b->name) == 0)
            return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' is there twice (%s, %s)", a->name,
                            st->shards[a->shard].name, st->shards[b->shard].name);
    }
    return WOQ_OK;
}

static struct woq_st_shard *add_shard(struct woq_st *st, const char *name, struct woq_error *err)
{
    struct woq_st_shard *s = realloc(st->shards, (st->n_shards + 1) * sizeof *s);

    if (!s) {
        woq_fail_nomem(err, (st->n_shards + 1) * sizeof *s);
        return NULL;
    }
    st->shards = s;
    s += st->n_shards;
    memset(s, 0, sizeof *s);
    if (!(s->name = strdup(name))) {
        woq_fail_nomem(err, strlen(name));
        return NULL;
    }
    st->n_shards++;
    return s;
}

static int parse_shard(struct woq_st *st, const uint8_t *data, size_t bytes,
                       const struct woq_st_opts *opts, struct woq_error *err)
{
    static const char legacy[] = "\200\2\212\12\154\374\234\106\371\40\152\250\120\31";
    static const char hint[] = "load it with torch and save it again with torch.save";
    struct woq_st_shard *s = &st->shards[st->n_shards - 1];

    s->format = "safetensors";
    s->bytes = bytes;
    if (bytes >= 4 && memcmp(data, "PK\003\004", 4) == 0) {
        s->format = "torch";
        return woq_st_parse_torch(st, data, bytes, opts, err);
    }
    if (bytes >= sizeof legacy - 1 && memcmp(data, legacy, sizeof legacy - 1) == 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, hint,
                        "a PyTorch file of the form before 1.6 (five pickles, no zip archive)");
    if (bytes >= 3 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5 && data[2] != 0)
        return woq_fail(err, WOQ_EUNSUPPORTED, hint, "a bare pickle, want a file of torch.save");
    return woq_st_parse_safetensors(st, data, bytes, err);
}

int woq_st_parse(struct woq_st *st, const char *name, const void *data, size_t bytes,
                 const struct woq_st_opts *opts, struct woq_error *err)
{
    memset(st, 0, sizeof *st);
    if (!add_shard(st, name, err))
        return WOQ_ENOMEM;
    if (parse_shard(st, data, bytes, opts, err) < 0 || woq_st_sort(st, err) < 0) {
        woq_st_release(st);
        return woq_error_at(err, "%s", name);
    }
    return WOQ_OK;
}

int woq_st_take_shard(struct woq_st *st, const char *path, const struct woq_st_opts *opts,
                      struct woq_error *err)
{
    const char *slash = strrchr(path, '/');
    struct woq_st_shard *s = add_shard(st, slash ? slash + 1 : path, err);
    int rc;

    if (!s)
        return WOQ_ENOMEM;
    if ((rc = woq_map_open(&s->map, path, err)) < 0)
        return rc;
    if (parse_shard(st, s->map.data, s->map.bytes, opts, err) < 0)
        return woq_error_at(err, "%s", path);
    return WOQ_OK;
}

int woq_st_open(struct woq_st *st, const char *path, const struct woq_st_opts *opts,
                struct woq_error *err)
{
    memset(st, 0, sizeof *st);
    if (woq_st_take_shard(st, path, opts, err) < 0 || woq_st_sort(st, err) < 0) {
        woq_st_release(st);
        return woq_error_at(err, "%s", path);
    }
    return WOQ_OK;
}

void woq_st_release(struct woq_st *st)
{
    for (size_t i = 0; i < st->n_tensors; i++) {
        free((char *)(uintptr_t)st->tensors[i].name);
        free(st->tensors[i].owned);
    }
    for (size_t i = 0; i < st->n_shards; i++) {
        woq_map_release(&st->shards[i].map);
        free(st->shards[i].name);
    }
    free(st->tensors);
    free(st->shards);
    memset(st, 0, sizeof *st);
}

const struct woq_st_tensor *woq_st_find(const struct woq_st *st, const char *name)
{
    const struct woq_st_tensor key = { .name = name };

    if (!st->n_tensors)
        return NULL;
    return bsearch(&key, st->tensors, st->n_tensors, sizeof key, by_name);
}
