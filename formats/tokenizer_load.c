/* tokenizer_load.c -- see tokenizer_load.h. */
#include "tokenizer_load.h"

#include "gguf_tokenizer.h"
#include "llama2c_vocab.h"
#include "source.h"

#include <woq/model.h>
#include <woq/stream.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_TOKENIZER "a tokenizer.json or tokenizer.model, or a checkpoint with one, is needed"

/* What is made of a model's files; `c` NULL: the tokenizer alone. */
struct load {
    struct woq_tokenizer **t;
    struct woq_chat **c;
    const struct woq_chat_options *o;
};

/* After the tokenizer: both or none. */
static int load_chat(const struct load *l, int rc, woq_tokenizer_file *file, void *ctx,
                     struct woq_error *err)
{
    if (rc != WOQ_OK || !l->c)
        return rc;
    rc = woq_chat_from_files(l->c, file, ctx, l->o, err);
    if (rc < 0) {
        woq_tokenizer_close(*l->t);
        *l->t = NULL;
    }
    return rc;
}

static int load_files(const struct load *l, woq_tokenizer_file *file, void *ctx,
                      struct woq_error *err)
{
    return load_chat(l, woq_tokenizer_from_files(l->t, file, ctx, err), file, ctx, err);
}

/* Files of one folder, read when they are asked for. */
struct folder {
    const char *dir;
    char *data[16];
    size_t n;
    struct woq_error err; /* of a file that is there and cannot be read */
};

static const char *folder_file(void *ctx, const char *name, size_t *bytes)
{
    struct folder *f = ctx;
    struct woq_str path = { 0 };
    const char *data = NULL;

    if (f->n == sizeof(f->data) / sizeof(f->data[0]) ||
        woq_str_addf(&path, "%s/%s", f->dir, name) < 0)
        return NULL;
    if (access(path.s, F_OK) == 0 &&
        woq_file_read(path.s, 0, &f->data[f->n], bytes, &f->err) == WOQ_OK)
        data = f->data[f->n++];
    woq_str_release(&path);
    return data;
}

static int from_folder(const struct load *l, const char *path, struct woq_error *err)
{
    struct folder f = { .dir = path };
    int rc = load_files(l, folder_file, &f, err);

    if (f.err.status < 0) {
        if (rc == WOQ_OK)
            woq_tokenizer_close(*l->t);
        if (rc == WOQ_OK && l->c)
            woq_chat_close(*l->c);
        *l->t = NULL;
        *err = f.err;
        rc = f.err.status;
    } else if (rc == WOQ_ITEM) {
        rc = woq_fail(err, WOQ_ETYPE, NO_TOKENIZER,
                      "folder '%s' has no tokenizer.json and no tokenizer.model", path);
    } else if (rc < 0) {
        woq_error_at(err, "%s", path);
    }
    for (size_t i = 0; i < f.n; i++)
        free(f.data[i]);
    return rc;
}

/* A tokenizer's own file; its tokenizer_config.json and the like lie beside it. */
static int from_file(const struct load *l, const char *path, struct woq_error *err)
{
    const char *slash = strrchr(path, '/'), *config;
    char *data = NULL, *dir = NULL;
    size_t bytes = 0, config_bytes = 0;
    struct folder f = { 0 };
    int rc = woq_file_read(path, 0, &data, &bytes, err);

    f.dir = dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (rc == WOQ_OK && !dir)
        rc = woq_fail_nomem(err, strlen(path));
    if (rc == WOQ_OK && dir) {
        config = folder_file(&f, "tokenizer_config.json", &config_bytes);
        rc = woq_tokenizer_open(l->t, data, bytes, config, config_bytes, err);
        if ((rc = load_chat(l, rc, folder_file, &f, err)) < 0)
            woq_error_at(err, "%s", path);
    }
    for (size_t i = 0; i < f.n; i++)
        free(f.data[i]);
    free(data);
    free(dir);
    return rc;
}

/* The first frame of a model's stream is its MODL. */
static int from_stream(const struct load *l, const char *path, struct woq_error *err)
{
    struct woq_reader *r = NULL;
    struct woq_frame *f;
    int rc = woq_reader_open(&r, path, NULL, err);

    if (rc < 0)
        return rc;
    rc = woq_reader_next(r, &f, err);
    if (rc == WOQ_OK || (rc == WOQ_ITEM && !woq_frame_is(f, "MODL")))
        rc = woq_fail(err, WOQ_ETYPE, NO_TOKENIZER, "stream '%s' does not begin with MODL", path);
    else if (rc == WOQ_ITEM)
        rc = l->c ? woq_modl_chat(f, l->t, l->c, l->o, err) : woq_modl_tokenizer(f, l->t, err);
    woq_reader_close(r);
    return rc;
}

static const char *no_file(void *ctx, const char *name, size_t *bytes)
{
    (void)ctx;
    (void)name;
    (void)bytes;
    return NULL;
}

static int from_llama2c(const struct load *l, const char *path, struct woq_error *err)
{
    struct woq_str model = { 0 };
    char *data = NULL;
    size_t bytes;
    int rc = woq_file_read(path, 0, &data, &bytes, err);

    if (rc == WOQ_OK && (rc = woq_llama2c_vocab(&model, data, bytes, err)) == WOQ_OK)
        rc = woq_tokenizer_open(l->t, model.s, model.len, NULL, 0, err);
    if ((rc = load_chat(l, rc, no_file, NULL, err)) < 0)
        woq_error_at(err, "%s", path);
    woq_str_release(&model);
    free(data);
    return rc;
}

/* The two files that stand for the keys of a GGUF file. */
struct gguf_files {
    const char *name; /* of the first one */
    struct woq_str text, config;
};

static const char *gguf_file(void *ctx, const char *name, size_t *bytes)
{
    const struct gguf_files *f = ctx;
    const struct woq_str *s = !strcmp(name, f->name)                   ? &f->text
                              : !strcmp(name, "tokenizer_config.json") ? &f->config
                                                                       : NULL;

    *bytes = s ? s->len : 0;
    return s ? s->s : NULL;
}

/* A GGUF file of any architecture, with or without tensors. */
static int from_gguf(const struct load *l, const char *path, struct woq_error *err)
{
    struct gguf_files f = { 0 };
    struct woq_gguf g = { 0 };
    int rc = woq_gguf_open(&g, path, err);

    if (rc == WOQ_OK && (rc = woq_gguf_tokenizer(&g, &f.name, &f.text, &f.config, err)) == WOQ_OK)
        rc = load_files(l, gguf_file, &f, err);
    if (rc < 0)
        woq_error_at(err, "%s", path);
    woq_gguf_release(&g);
    woq_str_release(&f.text);
    woq_str_release(&f.config);
    return rc;
}

static const char *side_file(void *ctx, const char *name, size_t *bytes)
{
    const struct woq_source *s = ctx;

    for (size_t i = 0; i < s->n_side; i++)
        if (!strcmp(s->side[i].name, name)) {
            *bytes = s->side[i].bytes;
            return s->side[i].data;
        }
    return NULL;
}

static int from_source(const struct load *l, const char *path, struct woq_error *err)
{
    struct woq_source *s = NULL;
    int rc = woq_source_open(&s, path, err);

    if (rc < 0)
        return rc;
    rc = load_files(l, side_file, s, err);
    if (rc == WOQ_ITEM)
        rc = s->no_tokenizer.status < 0
                 ? woq_fail(err, WOQ_ETYPE, NO_TOKENIZER, "%s", s->no_tokenizer.what)
                 : woq_fail(err, WOQ_ETYPE, NO_TOKENIZER,
                            "this %s checkpoint comes without a tokenizer that can be read",
                            s->format);
    if (rc < 0)
        woq_error_at(err, "%s", path);
    woq_source_close(s);
    return rc;
}

static int load(const struct load *l, const char *path, struct woq_error *err)
{
    static const unsigned char start_code[] = { 0x89, 'W', 'O', 'Q' };
    unsigned char magic[1024] = { 0 };
    struct stat st;
    ssize_t n;
    int fd;

    if (stat(path, &st) != 0)
        return woq_fail_errno(err, NULL, "can't open '%s'", path);
    if (S_ISDIR(st.st_mode))
        return from_folder(l, path, err);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return woq_fail_errno(err, NULL, "can't open '%s'", path);
    n = read(fd, magic, sizeof(magic));
    close(fd);
    if (n >= 4 && !memcmp(magic, start_code, 4))
        return from_stream(l, path, err);
    if (n >= 4 && !memcmp(magic, "GGUF", 4))
        return from_gguf(l, path, err);
    if (n > 0 && woq_llama2c_is_vocab((const char *)magic, (size_t)n))
        return from_llama2c(l, path, err);
    /* safetensors has its '{' at byte 8, behind a length. */
    if (n > 0 && woq_tokenizer_is((const char *)magic, (size_t)n) &&
        !(n > 8 && magic[8] == '{' && !magic[7]))
        return from_file(l, path, err);
    return from_source(l, path, err);
}

int woq_tokenizer_load(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    return load(&(struct load){ .t = t }, path, err);
}

int woq_chat_load(struct woq_chat **c, struct woq_tokenizer **t, const char *path,
                  const struct woq_chat_options *o, struct woq_error *err)
{
    return load(&(struct load){ t, c, o }, path, err);
}
