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

/* Files of one folder, read when they are asked for. */
struct folder {
    const char *dir;
    const char *vocabulary; /* the only one that is wanted, or NULL */
    char *data[16];
    size_t n;
    struct woq_error err; /* of a file that is there and cannot be read */
};

static const char *folder_file(void *ctx, const char *name, size_t *bytes)
{
    struct folder *f = ctx;
    struct woq_str path = { 0 };
    const char *data = NULL;

    if (f->vocabulary && strncmp(name, "tokenizer_config", 16) != 0 &&
        strncmp(name, "added_tokens", 12) != 0)
        return NULL;
    if (f->n == sizeof(f->data) / sizeof(f->data[0]) ||
        woq_str_addf(&path, "%s/%s", f->dir, name) < 0)
        return NULL;
    if (access(path.s, F_OK) == 0 &&
        woq_file_read(path.s, 0, &f->data[f->n], bytes, &f->err) == WOQ_OK)
        data = f->data[f->n++];
    woq_str_release(&path);
    return data;
}

static int from_folder(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    struct folder f = { .dir = path };
    int rc = woq_tokenizer_from_files(t, folder_file, &f, err);

    if (f.err.status < 0) {
        if (rc == WOQ_OK)
            woq_tokenizer_close(*t);
        *t = NULL;
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

/* A tokenizer's own file; its tokenizer_config.json lies beside it. */
static int from_file(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    const char *slash = strrchr(path, '/'), *config;
    char *data = NULL, *dir = NULL;
    size_t bytes = 0, config_bytes = 0;
    struct folder f = { .vocabulary = path };
    int rc = woq_file_read(path, 0, &data, &bytes, err);

    f.dir = dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (rc == WOQ_OK && !dir)
        rc = woq_fail_nomem(err, strlen(path));
    if (rc == WOQ_OK && dir) {
        config = folder_file(&f, "tokenizer_config.json", &config_bytes);
        rc = woq_tokenizer_open(t, data, bytes, config, config_bytes, err);
        if (rc < 0)
            woq_error_at(err, "%s", path);
    }
    for (size_t i = 0; i < f.n; i++)
        free(f.data[i]);
    free(data);
    free(dir);
    return rc;
}

/* The first frame of a model's stream is its MODL. */
static int from_stream(struct woq_tokenizer **t, const char *path, struct woq_error *err)
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
        rc = woq_modl_tokenizer(f, t, err);
    woq_reader_close(r);
    return rc;
}

static int from_llama2c(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    struct woq_str model = { 0 };
    char *data = NULL;
    size_t bytes;
    int rc = woq_file_read(path, 0, &data, &bytes, err);

    if (rc == WOQ_OK && (rc = woq_llama2c_vocab(&model, data, bytes, err)) == WOQ_OK)
        rc = woq_tokenizer_open(t, model.s, model.len, NULL, 0, err);
    if (rc < 0)
        woq_error_at(err, "%s", path);
    woq_str_release(&model);
    free(data);
    return rc;
}

/* A GGUF file of any architecture, with or without tensors. */
static int from_gguf(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    struct woq_str text = { 0 }, config = { 0 };
    struct woq_gguf g = { 0 };
    const char *name;
    int rc = woq_gguf_open(&g, path, err);

    if (rc == WOQ_OK && (rc = woq_gguf_tokenizer(&g, &name, &text, &config, err)) == WOQ_OK)
        rc = woq_tokenizer_open(t, text.s, text.len, config.s, config.len, err);
    if (rc < 0)
        woq_error_at(err, "%s", path);
    woq_gguf_release(&g);
    woq_str_release(&text);
    woq_str_release(&config);
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

static int from_source(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    struct woq_source *s = NULL;
    int rc = woq_source_open(&s, path, err);

    if (rc < 0)
        return rc;
    rc = woq_tokenizer_from_files(t, side_file, s, err);
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

int woq_tokenizer_load(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    static const unsigned char start_code[] = { 0x89, 'W', 'O', 'Q' };
    unsigned char magic[1024] = { 0 };
    struct stat st;
    ssize_t n;
    int fd;

    if (stat(path, &st) != 0)
        return woq_fail_errno(err, NULL, "can't open '%s'", path);
    if (S_ISDIR(st.st_mode))
        return from_folder(t, path, err);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return woq_fail_errno(err, NULL, "can't open '%s'", path);
    n = read(fd, magic, sizeof(magic));
    close(fd);
    if (n >= 4 && !memcmp(magic, start_code, 4))
        return from_stream(t, path, err);
    if (n >= 4 && !memcmp(magic, "GGUF", 4))
        return from_gguf(t, path, err);
    if (n > 0 && woq_llama2c_is_vocab((const char *)magic, (size_t)n))
        return from_llama2c(t, path, err);
    /* safetensors has its '{' at byte 8, behind a length. */
    if (n > 0 && woq_tokenizer_is((const char *)magic, (size_t)n) &&
        !(n > 8 && magic[8] == '{' && !magic[7]))
        return from_file(t, path, err);
    return from_source(t, path, err);
}
