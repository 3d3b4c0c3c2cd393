/* safetensors.c -- see safetensors.h. Layout and rules: formats.md 1 (huggingface/safetensors,
 * tensor.rs). The header is scanned for depth and number form before the JSON parser sees it, so
 * that a hostile header meets the cheap checks first. */
#include "safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/json.h>

static const char hint_damaged[] = "the file is damaged or cut short: copy or download it again";

/* clang-format off */
static const struct { const char *name; unsigned bits; enum woq_dtype dtype; } dtypes[] = {
    { "F32", 32, WOQ_F32 }, { "F16", 16, WOQ_F16 }, { "BF16", 16, WOQ_BF16 }, { "F64", 64, WOQ_F64 },
    { "I8", 8, WOQ_I8 },    { "U8", 8, WOQ_U8 },    { "I16", 16, WOQ_I16 },   { "U16", 16, WOQ_U16 },
    { "I32", 32, WOQ_I32 }, { "U32", 32, WOQ_U32 }, { "I64", 64, WOQ_I64 },   { "U64", 64, WOQ_U64 },
    { "BOOL", 8, WOQ_BOOL },
    { "F8_E4M3", 8, WOQ_NO_DTYPE },     { "F8_E5M2", 8, WOQ_NO_DTYPE }, { "F8_E8M0", 8, WOQ_NO_DTYPE },
    { "F8_E4M3FNUZ", 8, WOQ_NO_DTYPE }, { "F8_E5M2FNUZ", 8, WOQ_NO_DTYPE },
    { "F4", 4, WOQ_NO_DTYPE }, { "F6_E2M3", 6, WOQ_NO_DTYPE }, { "F6_E3M2", 6, WOQ_NO_DTYPE },
    { "C64", 64, WOQ_NO_DTYPE },
};
/* clang-format on */

unsigned woq_st_dtype(const char *stored, enum woq_dtype *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(stored, dtypes[i].name) == 0) {
            *dtype = dtypes[i].dtype;
            return dtypes[i].bits;
        }
    *dtype = WOQ_NO_DTYPE;
    return 0;
}

/* Length of the UTF-8 sequence at s, 0 if it is none (overlong, surrogate, cut). */
static size_t utf8_len(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80)
        return 1;
    const size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* What the JSON parser does not look at: UTF-8, depth <= 3, integers only inside [ ]. */
static int scan_header(const unsigned char *s, size_t n, struct woq_error *err)
{
    bool in_string = false;
    int depth = 0, brackets = 0;

    for (size_t i = 0, len; i < n; i += len) {
        if (!(len = utf8_len(s + i, n - i)))
            return woq_fail(err, WOQ_EDATA, hint_damaged, "header byte %zu is not UTF-8", i);
        if (in_string) {
            if (s[i] == '\\' && i + 1 < n)
                len = 2;
            else if (s[i] == '"')
                in_string = false;
            continue;
        }
        if (s[i] == '"')
            in_string = true;
        depth += (s[i] == '{' || s[i] == '[') - (s[i] == '}' || s[i] == ']');
        brackets += (s[i] == '[') - (s[i] == ']');
        if (depth > 3)
            return woq_fail(err, WOQ_EDATA, hint_damaged,
                            "header byte %zu: nested deeper than 3 levels", i);
        if (brackets > 0 && strchr(".eE-+", s[i]) && s[i])
            return woq_fail(err, WOQ_EDATA, hint_damaged,
                            "header byte %zu: want plain integers in shape and data_offsets", i);
    }
    return WOQ_OK;
}

static int get_shape(struct woq_st_tensor *t, const struct woq_json *shape, struct woq_error *err)
{
    if (woq_json_type(shape) != WOQ_JARRAY)
        return woq_fail(err, WOQ_EDATA, hint_damaged, "tensor '%s' has no shape", t->name);
    t->n_dims = 0;
    woq_json_each(dim, shape)
    {
        if (t->n_dims == WOQ_MAX_DIMS)
            return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' has more than %d dimensions",
                            t->name, WOQ_MAX_DIMS);
        if (!woq_json_u64(dim, &t->shape[t->n_dims++]))
            return woq_fail(err, WOQ_EDATA, hint_damaged,
                            "tensor '%s': dimension %u is not a size below 2^53", t->name,
                            t->n_dims - 1);
    }
    return WOQ_OK;
}

/* Bytes that dtype and shape ask for; fails on overflow and on a broken byte. */
static int want_bytes(const struct woq_st_tensor *t, unsigned bits, uint64_t *bytes,
                      struct woq_error *err)
{
    uint64_t n = bits;

    for (unsigned i = 0; i < t->n_dims; i++)
        if (__builtin_mul_overflow(n, t->shape[i], &n))
            return woq_fail(err, WOQ_EDATA, hint_damaged,
                            "tensor '%s': its shape needs more than 2^64 bits", t->name);
    if (n % 8)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "tensor '%s' takes %" PRIu64 " bits, want whole bytes", t->name, n);
    *bytes = n / 8;
    return WOQ_OK;
}

static int get_tensor(struct woq_st_tensor *t, const struct woq_json *entry, const uint8_t *data,
                      uint64_t data_bytes, struct woq_error *err)
{
    const struct woq_json *offsets = woq_json_get(entry, "data_offsets");
    const char *dtype = woq_json_get_str(entry, "dtype");
    uint64_t begin, end, want = 0;
    int rc;

    if (woq_json_type(entry) != WOQ_JOBJECT || !dtype)
        return woq_fail(err, WOQ_EDATA, hint_damaged, "tensor '%s' has no dtype", t->name);
    const unsigned bits = woq_st_dtype(dtype, &t->dtype);
    if (!bits)
        return woq_fail(err, WOQ_EDATA, NULL, "tensor '%s' has the unknown dtype '%s'", t->name,
                        dtype);
    snprintf(t->stored, sizeof t->stored, "%s", dtype);
    if ((rc = get_shape(t, woq_json_get(entry, "shape"), err)) < 0)
        return rc;
    const struct woq_json *first = woq_json_first(offsets);
    if (woq_json_len(offsets) != 2 || woq_json_type(offsets) != WOQ_JARRAY ||
        !woq_json_u64(first, &begin) || !woq_json_u64(woq_json_next(first), &end))
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "tensor '%s': data_offsets is not [begin, end]", t->name);
    if (begin > end)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "tensor '%s' ends at data byte %" PRIu64 ", before its begin %" PRIu64,
                        t->name, end, begin);
    if (end > data_bytes)
        return woq_fail(err, WOQ_ETRUNC, hint_damaged,
                        "truncated: tensor '%s' ends at data byte %" PRIu64
                        ", the file has %" PRIu64,
                        t->name, end, data_bytes);
    if ((rc = want_bytes(t, bits, &want, err)) < 0)
        return rc;
    if (end - begin != want)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "tensor '%s' has %" PRIu64 " bytes, its dtype and shape want %" PRIu64,
                        t->name, end - begin, want);
    t->data = data + begin;
    t->bytes = (size_t)want;
    return WOQ_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct woq_st_tensor *x = a, *y = b;

    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b)
{
    const struct woq_st_tensor *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* No hole, no overlap, nothing behind the last tensor. */
static int check_gapless(struct woq_st_tensor *t, size_t n, const uint8_t *data,
                         uint64_t data_bytes, struct woq_error *err)
{
    const uint8_t *at = data;

    qsort(t, n, sizeof *t, by_place);
    for (size_t i = 0; i < n; i++) {
        if (t[i].data != at)
            return woq_fail(err, WOQ_EDATA, hint_damaged, "tensor '%s' begins at data byte %td, %s",
                            t[i].name, t[i].data - data,
                            t[i].data > at ? "behind a hole" : "inside another tensor");
        at += t[i].bytes;
    }
    if ((uint64_t)(at - data) != data_bytes)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "the tensors take %td bytes of data, the file has %" PRIu64, at - data,
                        data_bytes);
    return WOQ_OK;
}

static int check_metadata(const struct woq_json *meta, struct woq_error *err)
{
    if (woq_json_type(meta) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, hint_damaged, "__metadata__ is not an object");
    woq_json_each(v, meta)
    {
        if (!woq_json_str(v))
            return woq_fail(err, WOQ_EDATA, hint_damaged, "__metadata__ '%s' is not a string",
                            woq_json_key(v));
    }
    return WOQ_OK;
}

/* Appends the tensors of one header; their names are copied. */
static int take_entries(struct woq_st *st, const struct woq_json *header, const uint8_t *data,
                        uint64_t data_bytes, struct woq_error *err)
{
    const size_t n0 = st->n_tensors, n = n0 + woq_json_len(header);
    struct woq_st_tensor *t = realloc(st->tensors, (n ? n : 1) * sizeof *t);
    int rc;

    if (!t)
        return woq_fail_nomem(err, n * sizeof *t);
    st->tensors = t;
    woq_json_each(entry, header)
    {
        const char *name = woq_json_key(entry);

        if (strcmp(name, "__metadata__") == 0) {
            if ((rc = check_metadata(entry, err)) < 0)
                return rc;
            continue;
        }
        t = &st->tensors[st->n_tensors];
        memset(t, 0, sizeof *t);
        if (!(t->name = strdup(name)))
            return woq_fail_nomem(err, strlen(name));
        st->n_tensors++;
        t->shard = st->n_shards - 1;
        if ((rc = get_tensor(t, entry, data, data_bytes, err)) < 0)
            return rc;
    }
    return check_gapless(st->tensors + n0, st->n_tensors - n0, data, data_bytes, err);
}

static int parse_shard(struct woq_st *st, const uint8_t *data, size_t bytes, struct woq_error *err)
{
    struct woq_json *header = NULL;
    uint64_t n = 0;
    int rc;

    if (bytes < 8)
        return woq_fail(err, WOQ_ETRUNC, hint_damaged,
                        "truncated: %zu bytes, want at least the 8 of the header length", bytes);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | data[i];
    if (n > WOQ_ST_MAX_HEADER)
        return woq_fail(err, WOQ_EDATA, "is this a safetensors file?",
                        "header length %" PRIu64 ", want at most %u", n, WOQ_ST_MAX_HEADER);
    if (n > bytes - 8)
        return woq_fail(err, WOQ_ETRUNC, hint_damaged,
                        "truncated: header of %" PRIu64 " bytes, the file has %zu after its length",
                        n, bytes - 8);
    if ((rc = scan_header(data + 8, (size_t)n, err)) < 0)
        return rc;
    if ((rc = woq_json_parse(&header, (const char *)data + 8, (size_t)n, err)) < 0)
        return rc;
    if (woq_json_type(header) != WOQ_JOBJECT)
        rc = woq_fail(err, WOQ_EDATA, hint_damaged, "the header is not a JSON object");
    else
        rc = take_entries(st, header, data + 8 + n, bytes - 8 - n, err);
    woq_json_free(header);
    return rc;
}

static int sort_names(struct woq_st *st, struct woq_error *err)
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

int woq_st_parse(struct woq_st *st, const char *name, const void *data, size_t bytes,
                 struct woq_error *err)
{
    memset(st, 0, sizeof *st);
    if (!add_shard(st, name, err))
        return WOQ_ENOMEM;
    if (parse_shard(st, data, bytes, err) < 0 || sort_names(st, err) < 0) {
        woq_st_release(st);
        return woq_error_at(err, "%s", name);
    }
    return WOQ_OK;
}

/* Maps one more shard and appends its tensors. */
static int take_shard(struct woq_st *st, const char *path, struct woq_error *err)
{
    const char *slash = strrchr(path, '/');
    struct woq_st_shard *s = add_shard(st, slash ? slash + 1 : path, err);
    int rc;

    if (!s)
        return WOQ_ENOMEM;
    if ((rc = woq_map_open(&s->map, path, err)) < 0)
        return rc;
    if (parse_shard(st, s->map.data, s->map.bytes, err) < 0)
        return woq_error_at(err, "%s", path);
    return WOQ_OK;
}

int woq_st_open(struct woq_st *st, const char *path, struct woq_error *err)
{
    memset(st, 0, sizeof *st);
    if (take_shard(st, path, err) < 0 || sort_names(st, err) < 0) {
        woq_st_release(st);
        return woq_error_at(err, "%s", path);
    }
    return WOQ_OK;
}

/* A shard name comes from a file that anybody may have written: no folders, no way out of this one.
 */
static bool is_plain_name(const char *name)
{
    return name[0] && name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\');
}

static bool has_shard(const struct woq_st *st, const char *name)
{
    for (size_t i = 0; i < st->n_shards; i++)
        if (strcmp(st->shards[i].name, name) == 0)
            return true;
    return false;
}

/* One line of the index. */
struct entry {
    const char *name, *shard;
};

static int by_entry(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* The index must name each tensor of the shards once, in the shard that holds it. Both are sorted.
 */
static int check_index(const struct woq_st *st, const struct entry *map, size_t n,
                       struct woq_error *err)
{
    const struct woq_st_tensor *t = st->tensors, *end = st->tensors + st->n_tensors;

    for (size_t i = 0; i < n; i++, t++) {
        if (i > 0 && strcmp(map[i].name, map[i - 1].name) == 0)
            return woq_fail(err, WOQ_EDATA, NULL, "the index names tensor '%s' twice", map[i].name);
        if (t == end || strcmp(map[i].name, t->name) < 0)
            return woq_fail(err, WOQ_EDATA, hint_damaged,
                            "tensor '%s' of the index is not in its shard '%s'", map[i].name,
                            map[i].shard);
        if (strcmp(map[i].name, t->name) > 0)
            break;
        if (strcmp(map[i].shard, st->shards[t->shard].name) != 0)
            return woq_fail(err, WOQ_EDATA, NULL,
                            "tensor '%s' lies in shard '%s', the index says '%s'", t->name,
                            st->shards[t->shard].name, map[i].shard);
    }
    if (t != end)
        return woq_fail(err, WOQ_EDATA, hint_damaged,
                        "tensor '%s' of shard '%s' is not in the index", t->name,
                        st->shards[t->shard].name);
    return WOQ_OK;
}

static int take_index(struct woq_st *st, const char *folder, const struct woq_json *index,
                      struct entry *map, struct woq_error *err)
{
    size_t n = 0;
    int rc;

    woq_json_each(entry, woq_json_get(index, "weight_map"))
    {
        const char *name = woq_json_str(entry);
        struct woq_str path = { 0 };

        if (!name || !is_plain_name(name))
            return woq_fail(err, WOQ_EDATA, NULL,
                            "the index puts tensor '%s' into '%s', want a plain file name",
                            woq_json_key(entry), name ? name : "(no string)");
        map[n++] = (struct entry){ woq_json_key(entry), name };
        if (has_shard(st, name))
            continue;
        rc = woq_str_addf(&path, "%s/%s", folder, name);
        rc = rc < 0 ? woq_fail_nomem(err, strlen(folder)) : take_shard(st, path.s, err);
        woq_str_release(&path);
        if (rc < 0)
            return rc;
    }
    if (n == 0)
        return woq_fail(err, WOQ_EDATA, NULL, "the index has no weight_map");
    qsort(map, n, sizeof *map, by_entry);
    if ((rc = sort_names(st, err)) < 0)
        return rc;
    return check_index(st, map, n, err);
}

static int open_index(struct woq_st *st, const char *folder, const char *path,
                      struct woq_error *err)
{
    struct woq_json *index = NULL;
    struct entry *map = NULL;
    char *text = NULL;
    size_t bytes;
    int rc;

    if ((rc = woq_file_read(path, 0, &text, &bytes, err)) < 0 ||
        (rc = woq_json_parse(&index, text, bytes, err)) < 0)
        goto out;
    const struct woq_json *weight_map = woq_json_get(index, "weight_map");
    if (woq_json_type(weight_map) != WOQ_JOBJECT) {
        rc = woq_fail(err, WOQ_EDATA, NULL, "the index has no weight_map");
        goto out;
    }
    const size_t n = woq_json_len(weight_map);
    if (!(map = calloc(n + 1, sizeof *map)))
        rc = woq_fail_nomem(err, (n + 1) * sizeof *map);
    else
        rc = take_index(st, folder, index, map, err);
out:
    free(map);
    woq_json_free(index);
    free(text);
    return rc < 0 ? woq_error_at(err, "%s", path) : WOQ_OK;
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);

    return n > m && strcmp(s + n - m, end) == 0;
}

/* What a folder holds: an index, a model.safetensors, else which *.safetensors files? */
static int look_into(const char *folder, bool *has_index, struct woq_str *file,
                     struct woq_error *err)
{
    DIR *dir = opendir(folder);
    size_t n = 0;
    bool torch = false, has_model = false;

    if (!dir)
        return woq_fail_errno(err, NULL, "can't open folder '%s'", folder);
    for (struct dirent *e; (e = readdir(dir));) {
        const bool model = strcmp(e->d_name, "model.safetensors") == 0;

        *has_index |= strcmp(e->d_name, "model.safetensors.index.json") == 0;
        torch |= ends_with(e->d_name, ".bin") || ends_with(e->d_name, ".pt");
        if (!ends_with(e->d_name, ".safetensors"))
            continue;
        has_model |= model;
        if (n++ == 0 || model) {
            file->len = 0;
            woq_str_addf(file, "%s/%s", folder, e->d_name);
        }
    }
    closedir(dir);
    if (*has_index || has_model || n == 1)
        return WOQ_OK;
    if (n > 1)
        return woq_fail(err, WOQ_EDATA,
                        "shards need their model.safetensors.index.json; one file can be named",
                        "folder '%s' has %zu safetensors files and no index", folder, n);
    return woq_fail(err, WOQ_EUNSUPPORTED,
                    torch ? "save it again with safe_serialization=True" : NULL,
                    "folder '%s' has no .safetensors file%s", folder,
                    torch ? ", only PyTorch files, which woq doesn't read" : "");
}

int woq_st_open_folder(struct woq_st *st, const char *folder, struct woq_error *err)
{
    struct woq_str file = { 0 };
    bool has_index = false;
    int rc;

    memset(st, 0, sizeof *st);
    if ((rc = look_into(folder, &has_index, &file, err)) < 0)
        goto out;
    if (has_index) {
        file.len = 0;
        woq_str_addf(&file, "%s/model.safetensors.index.json", folder);
        rc = file.s ? open_index(st, folder, file.s, err) : woq_fail_nomem(err, strlen(folder));
    } else {
        rc = file.s ? woq_st_open(st, file.s, err) : woq_fail_nomem(err, strlen(folder));
    }
    if (rc < 0)
        woq_st_release(st);
out:
    woq_str_release(&file);
    return rc;
}

void woq_st_release(struct woq_st *st)
{
    for (size_t i = 0; i < st->n_tensors; i++)
        free((char *)(uintptr_t)st->tensors[i].name);
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
