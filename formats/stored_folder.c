/* stored_folder.c -- the files of a folder: an index with its shards, or one file (formats.md 1.5,
 * 2.5). */
#include "stored_internal.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static const char hint_damaged[] = "the file is damaged or cut short: copy or download it again";

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
                      struct entry *map, const struct woq_st_opts *opts, struct woq_error *err)
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
        rc =
            rc < 0 ? woq_fail_nomem(err, strlen(folder)) : woq_st_take_shard(st, path.s, opts, err);
        woq_str_release(&path);
        if (rc < 0)
            return rc;
    }
    if (n == 0)
        return woq_fail(err, WOQ_EDATA, NULL, "the index has no weight_map");
    qsort(map, n, sizeof *map, by_entry);
    if ((rc = woq_st_sort(st, err)) < 0)
        return rc;
    return check_index(st, map, n, err);
}

static int open_index(struct woq_st *st, const char *folder, const char *path,
                      const struct woq_st_opts *opts, struct woq_error *err)
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
        rc = take_index(st, folder, index, map, opts, err);
out:
    free(map);
    woq_json_free(index);
    free(text);
    return rc < 0 ? woq_error_at(err, "%s", path) : WOQ_OK;
}

/* What a folder may hold; the first that it does hold is taken. */
static const struct family {
    const char *index, *file, *endings[4];
} families[] = {
    { "model.safetensors.index.json", "model.safetensors", { ".safetensors" } },
    { "pytorch_model.bin.index.json", "pytorch_model.bin", { ".bin", ".pt", ".pth" } },
};

static bool ends_in(const char *s, const char *const *endings)
{
    const size_t n = strlen(s);

    for (; *endings; endings++)
        if (n > strlen(*endings) && strcmp(s + n - strlen(*endings), *endings) == 0)
            return true;
    return false;
}

/* The names of a family in a folder: does it have the index and the file, which others? */
struct finding {
    bool has_index, has_file;
    size_t n;
    char *any; /* one of n */
};

static int look_into(const char *folder, const struct family *f, struct finding *found,
                     struct woq_error *err)
{
    DIR *dir = opendir(folder);

    memset(found, 0, sizeof *found);
    if (!dir)
        return woq_fail_errno(err, NULL, "can't open folder '%s'", folder);
    for (struct dirent *e; (e = readdir(dir));) {
        found->has_index |= strcmp(e->d_name, f->index) == 0;
        found->has_file |= strcmp(e->d_name, f->file) == 0;
        if (!ends_in(e->d_name, f->endings) || found->n++)
            continue;
        found->any = strdup(e->d_name);
    }
    closedir(dir);
    return found->n && !found->any ? woq_fail_nomem(err, strlen(folder)) : WOQ_OK;
}

static int open_family(struct woq_st *st, const char *folder, const struct family *f,
                       const struct finding *found, const struct woq_st_opts *opts,
                       struct woq_error *err)
{
    const char *name = found->has_index ? f->index : found->has_file ? f->file : found->any;
    struct woq_str path = { 0 };
    int rc;

    if (!found->has_index && !found->has_file && found->n > 1)
        return woq_fail(err, WOQ_EDATA, "shards need their index; one file can be named",
                        "folder '%s' has %zu *%s files and no %s", folder, found->n, f->endings[0],
                        f->index);
    if (woq_str_addf(&path, "%s/%s", folder, name) < 0)
        rc = woq_fail_nomem(err, strlen(folder));
    else
        rc = found->has_index ? open_index(st, folder, path.s, opts, err)
                              : woq_st_open(st, path.s, opts, err);
    woq_str_release(&path);
    return rc;
}

int woq_st_open_folder(struct woq_st *st, const char *folder, const struct woq_st_opts *opts,
                       struct woq_error *err)
{
    memset(st, 0, sizeof *st);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        struct finding found;
        int rc = look_into(folder, &families[i], &found, err);

        if (rc == WOQ_OK && (found.has_index || found.n))
            rc = open_family(st, folder, &families[i], &found, opts, err);
        free(found.any);
        if (rc < 0)
            woq_st_release(st);
        if (rc < 0 || st->n_shards)
            return rc;
    }
    return woq_fail(err, WOQ_EUNSUPPORTED, NULL,
                    "folder '%s' has no .safetensors file and none of PyTorch (.bin, .pt, .pth)",
                    folder);
}
