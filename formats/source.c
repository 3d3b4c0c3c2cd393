/* source.c -- see source.h: what a path is, its config.json and side files, and who reads it.
 * Detection goes by content, never by the name of a file. */
/* madvise(MADV_DONTNEED) is Linux; glibc's posix_madvise ignores POSIX_MADV_DONTNEED. */
#define _GNU_SOURCE
#include "source.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <woq/chat.h>
#include <woq/json.h>

/* Files that travel with a model (formats.md 5). */
static const char *const side_names[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "qwen.tiktoken",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "LICENSE",
    "README.md",
};
#define MAX_SIDE_BYTES ((size_t)256 << 20)

/* Only for mapped files: MADV_DONTNEED empties pages that belong to no file. */
static void advise(const struct woq_source *s, const void *data, size_t bytes, int advice)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t from = (uintptr_t)data & ~(page - 1);

    if (s->mapped && bytes)
        (void)madvise((void *)from, bytes + ((uintptr_t)data - from), advice);
}

void woq_source_ahead(const struct woq_source *s, const void *data, size_t bytes)
{
    advise(s, data, bytes, MADV_SEQUENTIAL);
}

void woq_source_done(const struct woq_source *s, const void *data, size_t bytes)
{
    advise(s, data, bytes, MADV_DONTNEED);
}

struct woq_item *woq_source_add(struct woq_source *s, const char *name, struct woq_error *err)
{
    /* Grown by doubling; n_items alone tells when. */
    if ((s->n_items & (s->n_items - 1)) == 0) {
        const size_t cap = s->n_items ? 2 * s->n_items : 1;
        struct woq_item *grown = realloc(s->items, cap * sizeof *grown);

        if (!grown) {
            woq_fail_nomem(err, cap * sizeof *grown);
            return NULL;
        }
        s->items = grown;
    }
    struct woq_item *item = &s->items[s->n_items];
    memset(item, 0, sizeof *item);
    if (!(item->name = strdup(name))) {
        woq_fail_nomem(err, strlen(name) + 1);
        return NULL;
    }
    s->n_items++;
    return item;
}

struct woq_item *woq_source_add_st(struct woq_source *s, const struct woq_st_tensor *t,
                                   struct woq_error *err)
{
    struct woq_item *item = woq_source_add(s, t->name, err);

    if (!item)
        return NULL;
    item->dtype = t->dtype;
    item->n_dims = t->n_dims;
    memcpy(item->shape, t->shape, sizeof t->shape);
    snprintf(item->stored, sizeof item->stored, "%s", t->stored);
    item->file_bytes = t->bytes;
    return item;
}

int woq_source_add_side(struct woq_source *s, const char *name, void *data, size_t bytes,
                        struct woq_error *err)
{
    struct woq_side *grown = realloc(s->side, (s->n_side + 1) * sizeof *grown);
    char *copy = strdup(name);

    if (grown)
        s->side = grown;
    if (!grown || !copy) {
        free(copy);
        free(data);
        return woq_fail_nomem(err, (s->n_side + 1) * sizeof *grown);
    }
    s->side[s->n_side++] = (struct woq_side){ copy, data, bytes };
    return WOQ_OK;
}

void woq_source_close(struct woq_source *s)
{
    if (!s)
        return;
    if (s->close)
        s->close(s);
    for (size_t i = 0; i < s->n_items; i++)
        free(s->items[i].name);
    for (size_t i = 0; i < s->n_side; i++) {
        free(s->side[i].name);
        free(s->side[i].data);
    }
    free(s->items);
    free(s->side);
    woq_st_release(&s->st);
    woq_map_release(&s->map);
    woq_json_free(s->config);
    woq_json_free(s->quant);
    free(s->path);
    free(s);
}

/* Adds FOLDER/NAME if it is there. */
static int take_side(struct woq_source *s, const char *folder, const char *name,
                     struct woq_error *err)
{
    struct woq_str path = { 0 };
    char *data = NULL;
    size_t bytes = 0;
    int rc = WOQ_OK;

    if (woq_str_addf(&path, "%s/%s", folder, name) < 0)
        return woq_fail_nomem(err, strlen(folder));
    if (access(path.s, F_OK) == 0 &&
        (rc = woq_file_read(path.s, MAX_SIDE_BYTES, &data, &bytes, err)) == WOQ_OK)
        rc = woq_source_add_side(s, name, data, bytes, err);
    woq_str_release(&path);
    return rc;
}

/* Code that auto_map points at is part of the model. */
static int take_python(struct woq_source *s, const char *folder, struct woq_error *err)
{
    struct dirent **list = NULL;
    int rc = WOQ_OK;

    if (woq_json_type(woq_json_get(s->config, "auto_map")) != WOQ_JOBJECT)
        return WOQ_OK;
    const int n = scandir(folder, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const size_t len = strlen(list[i]->d_name);

        if (rc == WOQ_OK && len > 3 && len < 64 && strcmp(list[i]->d_name + len - 3, ".py") == 0)
            rc = take_side(s, folder, list[i]->d_name, err);
        free(list[i]);
    }
    free(list);
    return rc;
}

/* Chat templates with names lie in a folder of their own. */
static int take_templates(struct woq_source *s, const char *folder, struct woq_error *err)
{
    struct dirent **list = NULL;
    struct woq_str path = { 0 };
    int rc = WOQ_OK;

    if (woq_str_addf(&path, "%s/" WOQ_CHAT_FOLDER, folder) < 0)
        return woq_fail_nomem(err, strlen(folder));
    const int n = scandir(path.s, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        const size_t len = strlen(name);
        char file[320];

        (void)snprintf(file, sizeof file, WOQ_CHAT_FOLDER "/%s", name);
        if (rc == WOQ_OK && name[0] != '.' && len > 6 && !strcmp(name + len - 6, ".jinja"))
            rc = take_side(s, folder, file, err);
        free(list[i]);
    }
    free(list);
    woq_str_release(&path);
    return rc;
}

static int parse_config(struct woq_source *s, const char *folder, struct woq_error *err)
{
    int rc;

    if (!s->n_side)
        return woq_fail(err, WOQ_EDATA,
                        "copy the model's config.json there: it says what the tensors are",
                        "no config.json in '%s'", folder);
    rc = woq_json_parse(&s->config, s->side[0].data, s->side[0].bytes, err);
    if (rc == WOQ_OK && woq_json_type(s->config) != WOQ_JOBJECT)
        rc = woq_fail(err, WOQ_EDATA, NULL, "not a JSON object");
    if (rc < 0)
        woq_error_at(err, "%s/config.json", folder);
    return rc;
}

/* config.json first (side[0]), then what else is there. */
static int take_sides(struct woq_source *s, const char *folder, struct woq_error *err)
{
    int rc = take_side(s, folder, side_names[0], err);

    if (rc == WOQ_OK)
        rc = parse_config(s, folder, err);
    for (size_t i = 1; rc == WOQ_OK && i < sizeof side_names / sizeof *side_names; i++)
        rc = take_side(s, folder, side_names[i], err);
    if (rc == WOQ_OK)
        rc = take_templates(s, folder, err);
    return rc == WOQ_OK ? take_python(s, folder, err) : rc;
}

/* HQQ's own files have a config.json that tells nothing of it. */
static bool is_hqq(const struct woq_st *st)
{
    for (size_t i = 0; i < st->n_tensors; i++)
        if (woq_ends_with(st->tensors[i].name, ".W_q"))
            return true;
    return false;
}

/* Who reads tensors that lie in safetensors: config.json's quantization_config decides. */
static int init_by_config(struct woq_source *s, struct woq_error *err)
{
    const struct woq_json *quant = woq_json_get(s->config, "quantization_config");
    int rc;

    if (!quant)
        quant = woq_json_get(s->config, "compression_config");
    if (!quant && !s->quant && is_hqq(&s->st)) {
        static const char hqq[] = "{\"quant_method\":\"hqq\"}";
        if ((rc = woq_json_parse(&s->quant, hqq, sizeof hqq - 1, err)) < 0)
            return rc;
    }
    if (!quant)
        quant = s->quant;
    if (woq_json_type(quant) == WOQ_JNULL)
        return woq_safetensors_source_init(s, false, err);
    if ((rc = woq_st_settle(&s->st, err)) < 0) /* packed tensors are small, and rarely strided */
        return rc;
    const char *method = woq_json_get_str(quant, "quant_method");
    return method && strcmp(method, "mxfp4") == 0 ? woq_safetensors_source_init(s, true, err)
                                                  : woq_linear_source_init(s, quant, err);
}

/* What Neural Compressor says of quantized_weight.pt, beside it. */
static int take_qconfig(struct woq_source *s, const char *folder, struct woq_error *err)
{
    struct woq_str path = { 0 };
    char *text = NULL;
    size_t bytes = 0;
    int rc = WOQ_OK;

    if (woq_str_addf(&path, "%s/qconfig.json", folder) < 0)
        return woq_fail_nomem(err, strlen(folder));
    if (s->st.shards && strcmp(s->st.shards[0].format, "torch") == 0 && access(path.s, F_OK) == 0 &&
        (rc = woq_file_read(path.s, MAX_SIDE_BYTES, &text, &bytes, err)) == WOQ_OK &&
        (rc = woq_json_parse(&s->quant, text, bytes, err)) < 0)
        woq_error_at(err, "%s", path.s);
    free(text);
    woq_str_release(&path);
    return rc;
}

static int open_folder(struct woq_source *s, struct woq_error *err)
{
    int rc;

    if ((rc = take_sides(s, s->path, err)) < 0 ||
        (rc = woq_st_open_folder(&s->st, s->path, &s->opts, err)) < 0 ||
        (rc = take_qconfig(s, s->path, err)) < 0)
        return rc;
    return init_by_config(s, err);
}

/* One file of safetensors or torch: its model is the folder around it. */
static int open_st_file(struct woq_source *s, struct woq_error *err)
{
    const char *slash = strrchr(s->path, '/');
    char *folder =
        slash ? strndup(s->path, (size_t)(slash - s->path) + (slash == s->path)) : strdup(".");
    int rc;

    if (!folder)
        return woq_fail_nomem(err, strlen(s->path));
    if ((rc = woq_st_open(&s->st, s->path, &s->opts, err)) == WOQ_OK &&
        (rc = take_sides(s, folder, err)) == WOQ_OK &&
        (rc = take_qconfig(s, folder, err)) == WOQ_OK)
        rc = init_by_config(s, err);
    free(folder);
    return rc;
}

enum kind { KIND_GGUF, KIND_SAFETENSORS, KIND_LLAMA2C, KIND_TORCH, KIND_WTS, KIND_OTHER };

/* By the first bytes. A llama2.c file of version 0 has no magic: seven small numbers. */
static enum kind look(const uint8_t *p, size_t n)
{
    if (n >= 4 && memcmp(p, "GGUF", 4) == 0)
        return KIND_GGUF;
    /* A zip archive, or the pickles that torch wrote before 1.6. */
    if (n >= 4 &&
        (memcmp(p, "PK\003\004", 4) == 0 || (p[0] == 0x80 && p[1] >= 2 && p[1] <= 5 && p[2] != 0)))
        return KIND_TORCH;
    if (n >= 4 && memcmp(p, "\211WOQ", 4) == 0)
        return KIND_WTS;
    if (n >= 4 && memcmp(p, "24ka", 4) == 0)
        return KIND_LLAMA2C;
    /* A header length below 2^32, then '{' (the reference reader lets spaces pass before it). */
    if (n >= 9 && memcmp(p + 4, "\0\0\0\0", 4) == 0 && (p[8] == '{' || p[8] == ' '))
        return KIND_SAFETENSORS;
    if (n >= 28)
        for (int i = 0; i < 28; i += 4)
            if (p[i + 3] != 0 && !(i == 20 && p[i + 3] == 0xff))
                return KIND_OTHER;
    return n >= 28 ? KIND_LLAMA2C : KIND_OTHER;
}

static int refuse(const struct woq_source *s, enum kind kind, struct woq_error *err)
{
    if (kind == KIND_WTS)
        return woq_fail(err, WOQ_ETYPE, "filters read it as it is: woq-rtn <FILE",
                        "'%s' is a woq stream already", s->path);
    return woq_fail(
        err, WOQ_ETYPE,
        "want a folder with config.json and safetensors or PyTorch files, one such file, "
        "GGUF or llama2.c",
        "'%s' is no checkpoint that woq knows", s->path);
}

static int open_mapped(struct woq_source *s, const void *data, size_t bytes, enum kind kind,
                       struct woq_error *err)
{
    if (kind == KIND_GGUF)
        return woq_gguf_source_init(s, data, bytes, err);
    if (kind == KIND_LLAMA2C)
        return woq_llama2c_source_init(s, data, bytes, err);
    return refuse(s, kind, err);
}

static int open_file(struct woq_source *s, struct woq_error *err)
{
    int rc = woq_map_open(&s->map, s->path, err);

    if (rc < 0)
        return rc;
    const enum kind kind = look(s->map.data, s->map.bytes);
    /* A damaged file deserves the message of its own format. */
    if (kind == KIND_SAFETENSORS || kind == KIND_TORCH ||
        (kind == KIND_OTHER && woq_ends_with(s->path, ".safetensors"))) {
        woq_map_release(&s->map);
        return open_st_file(s, err);
    }
    if (kind == KIND_OTHER && woq_ends_with(s->path, ".gguf"))
        return woq_gguf_source_init(s, s->map.data, s->map.bytes, err);
    return open_mapped(s, s->map.data, s->map.bytes, kind, err);
}

static struct woq_source *new_source(const char *path, struct woq_error *err)
{
    struct woq_source *s = calloc(1, sizeof *s);

    if (s && !(s->path = strdup(path))) {
        free(s);
        s = NULL;
    }
    if (!s)
        woq_fail_nomem(err, sizeof *s);
    return s;
}

/* Hands a finished source over, or closes a failed one and names it in the message. */
static int finish(struct woq_source **out, struct woq_source *s, int rc, struct woq_error *err)
{
    if (rc < 0) {
        if (err)
            woq_error_at(err, "%s", s->path);
        woq_source_close(s);
        return rc;
    }
    *out = s;
    return WOQ_OK;
}

int woq_source_open_with(struct woq_source **out, const char *path, const struct woq_st_opts *opts,
                         struct woq_error *err)
{
    struct woq_source *s;
    struct stat st;

    *out = NULL;
    if (stat(path, &st) != 0)
        return woq_fail_errno(err, NULL, "can't open '%s'", path);
    if (!(s = new_source(path, err)))
        return WOQ_ENOMEM;
    s->mapped = true;
    if (opts)
        s->opts = *opts;
    for (size_t n = strlen(s->path); n > 1 && s->path[n - 1] == '/'; n--)
        s->path[n - 1] = '\0';
    return finish(out, s, S_ISDIR(st.st_mode) ? open_folder(s, err) : open_file(s, err), err);
}

int woq_source_open(struct woq_source **out, const char *path, struct woq_error *err)
{
    return woq_source_open_with(out, path, NULL, err);
}

int woq_source_open_mem(struct woq_source **out, const char *name, const void *data, size_t bytes,
                        const char *config_json, size_t config_bytes, struct woq_error *err)
{
    struct woq_source *s = new_source(name, err);
    int rc;

    *out = NULL;
    if (!s)
        return WOQ_ENOMEM;
    if (!config_json)
        return finish(out, s, open_mapped(s, data, bytes, look(data, bytes), err), err);
    char *copy = malloc(config_bytes + 1);
    if (!copy) {
        rc = woq_fail_nomem(err, config_bytes + 1);
    } else {
        memcpy(copy, config_json, config_bytes);
        rc = woq_source_add_side(s, "config.json", copy, config_bytes, err);
    }
    if (rc == WOQ_OK && (rc = parse_config(s, name, err)) == WOQ_OK &&
        (rc = woq_st_parse(&s->st, name, data, bytes, &s->opts, err)) == WOQ_OK)
        rc = init_by_config(s, err);
    return finish(out, s, rc, err);
}
