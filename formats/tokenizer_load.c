/* tokenizer_load.c -- see tokenizer_load.h. */
#include "tokenizer_load.h"

#include "source.h"

#include <woq/model.h>
#include <woq/stream.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_TOKENIZER "a tokenizer.json, or a checkpoint that has one, is needed"

/* DIR/NAME; *data stays NULL when there is no such file. */
static int read_beside(const char *dir, const char *name, char **data, size_t *bytes,
                       struct woq_error *err)
{
    struct woq_str path = { 0 };
    int rc = WOQ_OK;

    if (woq_str_addf(&path, "%s/%s", dir, name) < 0 || !path.s)
        return woq_fail_nomem(err, strlen(dir));
    if (access(path.s, F_OK) == 0)
        rc = woq_file_read(path.s, 0, data, bytes, err);
    woq_str_release(&path);
    return rc;
}

static int from_folder(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    char *json = NULL, *config = NULL;
    size_t bytes = 0, config_bytes = 0;
    int rc = read_beside(path, "tokenizer.json", &json, &bytes, err);

    if (rc == WOQ_OK && !json)
        rc = woq_fail(err, WOQ_ETYPE, NO_TOKENIZER, "folder '%s' has no tokenizer.json", path);
    if (rc == WOQ_OK)
        rc = read_beside(path, "tokenizer_config.json", &config, &config_bytes, err);
    if (rc == WOQ_OK && (rc = woq_tokenizer_open(t, json, bytes, config, config_bytes, err)) < 0)
        woq_error_at(err, "%s", path);
    free(json);
    free(config);
    return rc;
}

/* A file tokenizer.json; its tokenizer_config.json lies beside it. */
static int from_json(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    const char *slash = strrchr(path, '/');
    char *json = NULL, *config = NULL, *dir = NULL;
    size_t bytes = 0, config_bytes = 0;
    int rc = woq_file_read(path, 0, &json, &bytes, err);

    dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (rc == WOQ_OK && !dir)
        rc = woq_fail_nomem(err, strlen(path));
    if (rc == WOQ_OK && dir)
        rc = read_beside(dir, "tokenizer_config.json", &config, &config_bytes, err);
    if (rc == WOQ_OK && (rc = woq_tokenizer_open(t, json, bytes, config, config_bytes, err)) < 0)
        woq_error_at(err, "%s", path);
    free(json);
    free(config);
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

static const struct woq_side *side_file(const struct woq_source *s, const char *name)
{
    for (size_t i = 0; i < s->n_side; i++)
        if (!strcmp(s->side[i].name, name))
            return &s->side[i];
    return NULL;
}

static int from_source(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    const struct woq_side *json, *config;
    struct woq_source *s = NULL;
    int rc = woq_source_open(&s, path, err);

    if (rc < 0)
        return rc;
    json = side_file(s, "tokenizer.json");
    config = side_file(s, "tokenizer_config.json");
    if (json)
        rc = woq_tokenizer_open(t, json->data, json->bytes, config ? config->data : NULL,
                                config ? config->bytes : 0, err);
    else
        rc = woq_fail(err, WOQ_ETYPE, NO_TOKENIZER,
                      "this %s checkpoint comes without a tokenizer that can be read", s->format);
    if (rc < 0)
        woq_error_at(err, "%s", path);
    woq_source_close(s);
    return rc;
}

int woq_tokenizer_load(struct woq_tokenizer **t, const char *path, struct woq_error *err)
{
    static const unsigned char start_code[] = { 0x89, 'W', 'O', 'Q' };
    unsigned char magic[9] = { 0 };
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
    /* safetensors has its '{' at byte 8, behind a length. */
    if (n > 0 && magic[0] && strchr("{ \t\r\n", magic[0]) &&
        !(n > 8 && magic[8] == '{' && !magic[7]))
        return from_json(t, path, err);
    return from_source(t, path, err);
}
