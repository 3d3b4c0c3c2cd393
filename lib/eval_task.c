/* eval_task.c -- from a file to windows of ids and the positions that are scored. */
#include "eval_internal.h"

#include <stdlib.h>
#include <string.h>

#include <woq/stream.h>

enum { MAX_TEXT = 1 << 30 };

/* A row is a line with its newline, or empty where the line is " \n" (models.md 12.1). */
static int join_rows(const char *text, size_t bytes, struct woq_str *out)
{
    for (size_t at = 0; at < bytes;) {
        const char *line = text + at, *end = memchr(line, '\n', bytes - at);
        const size_t n = end ? (size_t)(end - line) + 1 : bytes - at;

        if ((at && woq_str_add(out, "\n\n", 2) < 0) ||
            (!(n == 2 && line[0] == ' ' && line[1] == '\n') && woq_str_add(out, line, n) < 0))
            return WOQ_ENOMEM;
        at += n;
    }
    return WOQ_OK;
}

int woq_task_open(struct woq_task *t, const struct woq_eval_opts *o, struct woq_error *err)
{
    struct woq_str joined = { 0 };
    int rc;

    memset(t, 0, sizeof *t);
    t->opts = o;
    if ((rc = woq_file_read(o->path, MAX_TEXT, &t->text, &t->text_bytes, err)) < 0)
        return rc;
    if (o->input == WOQ_EVAL_WIKITEXT) {
        if (join_rows(t->text, t->text_bytes, &joined) < 0)
            return woq_fail_nomem(err, t->text_bytes);
        free(t->text);
        t->text = joined.s;
        t->text_bytes = joined.len;
    }
    if (t->text_bytes == 0)
        return woq_fail(err, WOQ_EDATA, NULL, "%s: the file is empty", o->path);
    return WOQ_OK;
}

void woq_task_release(struct woq_task *t)
{
    free(t->text);
    free(t->ids);
    free(t->batches);
    free(t->rows);
    free(t->targets);
    free(t->doc_end);
    memset(t, 0, sizeof *t);
}

static int push_json(const struct woq_json *v, struct woq_ids *ids, const char *path,
                     struct woq_error *err)
{
    uint64_t id;
    int rc;

    if (woq_json_type(v) == WOQ_JARRAY) {
        woq_json_each(item, v)
        {
            if ((rc = push_json(item, ids, path, err)) < 0)
                return rc;
        }
        return WOQ_OK;
    }
    if (!woq_json_u64(v, &id) || id > UINT32_MAX)
        return woq_fail(err, WOQ_EDATA, NULL, "%s: token %zu is no id, want a whole number", path,
                        ids->n);
    return woq_ids_push(ids, (uint32_t)id, err);
}

static int parse_array(const char *text, size_t bytes, struct woq_ids *ids, const char *path,
                       struct woq_error *err)
{
    struct woq_json *root;
    int rc;

    if ((rc = woq_json_parse(&root, text, bytes, err)) < 0) {
        woq_error_at(err, "%s", path);
        return rc;
    }
    if (woq_json_type(root) != WOQ_JARRAY)
        rc = woq_fail(err, WOQ_EDATA, NULL, "%s: not a JSON array of ids", path);
    else
        rc = push_json(root, ids, path, err);
    woq_json_free(root);
    return rc;
}

/* One array over any number of lines, or one array per line, which are joined. */
static int ids_from_json(const struct woq_task *t, struct woq_ids *ids, struct woq_error *err)
{
    const char *path = t->opts->path;
    struct woq_error whole; /* of a file of lines; the line's own is told below */
    int rc = parse_array(t->text, t->text_bytes, ids, path, &whole);

    if (rc >= 0 && ids->n)
        return rc;
    ids->n = 0;
    for (size_t at = 0; at < t->text_bytes;) {
        const char *line = t->text + at, *end = memchr(line, '\n', t->text_bytes - at);
        const size_t n = end ? (size_t)(end - line) : t->text_bytes - at;

        if (n && (rc = parse_array(line, n, ids, path, err)) < 0)
            return rc;
        at += n + 1;
    }
    return WOQ_OK;
}

static int ids_from_stream(const struct woq_task *t, struct woq_ids *ids, struct woq_error *err)
{
    struct woq_reader *r;
    struct woq_frame *f;
    int rc = woq_reader_open_mem(&r, t->text, t->text_bytes, t->opts->path, NULL, err);

    if (rc < 0)
        return rc;
    while ((rc = woq_reader_next(r, &f, err)) > 0) {
        const struct woq_array *a;

        if (!woq_frame_is(f, "TOKN"))
            continue;
        if ((rc = woq_frame_want(f, "ids", WOQ_U32, 0, &a, err)) < 0)
            break;
        for (size_t i = 0; i < a->n_elem && rc >= 0; i++)
            rc = woq_ids_push(ids, ((const uint32_t *)a->data)[i], err);
        if (rc < 0)
            break;
    }
    woq_reader_close(r);
    return rc;
}

static int check_ids(const struct woq_task *t, const struct woq_config *c, struct woq_error *err)
{
    for (size_t i = 0; i < t->n_tokens; i++)
        if (t->ids[i] >= c->vocab)
            return woq_fail(err, WOQ_EDATA, NULL,
                            "%s: token %zu is %u, but the vocabulary has %zu entries",
                            t->opts->path, i, t->ids[i], c->vocab);
    return WOQ_OK;
}

/* Windows of ctx tokens; scored: all but the last position (gptq), or the second half of it (12.1,
 * 12.2). bos < 0: none is put in. */
static int cut_windows(struct woq_task *t, struct woq_ids *ids, long bos, struct woq_error *err)
{
    const struct woq_eval_opts *o = t->opts;
    const bool half = o->convention == WOQ_PPL_LLAMACPP;
    size_t ctx = o->ctx, n, first, k = 0;

    if (!ctx)
        ctx = o->logits ? ids->n : half ? 512 : 2048;
    n = ctx ? ids->n / ctx : 0;
    if (!n)
        return woq_fail(err, WOQ_EDATA, "give more text, or a smaller --ctx",
                        "%s: %zu tokens, but one window wants %zu", o->path, ids->n, ctx ? ctx : 1);
    n = o->windows && o->windows < n ? o->windows : n;
    first = half ? ctx / 2 : 0;
    t->ctx = t->max_ctx = ctx;
    t->n_windows = n;
    t->n_tokens = n * ctx;
    t->n_scored = ctx > first + 1 ? n * (ctx - 1 - first) : 0;
    t->ids = ids->ids;
    ids->ids = NULL;
    t->batches = calloc(1, sizeof *t->batches);
    t->rows = malloc((t->n_scored + 1) * sizeof *t->rows);
    t->targets = malloc((t->n_scored + 1) * sizeof *t->targets);
    if (!t->batches || !t->rows || !t->targets)
        return woq_fail_nomem(err, t->n_scored * 12);
    t->batches[0] = (struct woq_batch){ 0, n, ctx };
    t->n_batches = 1;
    for (size_t w = 0; w < n; w++) {
        for (size_t i = first; i + 1 < ctx; i++, k++) {
            t->rows[k] = w * ctx + i;
            t->targets[k] = t->ids[w * ctx + i + 1];
        }
        if (half && bos >= 0)
            t->ids[w * ctx] = (uint32_t)bos;
    }
    return WOQ_OK;
}

static int read_ids(const struct woq_task *t, const struct woq_tokenizer *tok, struct woq_ids *ids,
                    struct woq_error *err)
{
    int rc;

    if (t->opts->input != WOQ_EVAL_TOKENS) {
        if ((rc = woq_tokenizer_encode(tok, t->text, t->text_bytes, true, ids, err)) < 0)
            woq_error_at(err, "%s", t->opts->path);
        return rc;
    }
    return (unsigned char)t->text[0] == 0x89 ? ids_from_stream(t, ids, err)
                                             : ids_from_json(t, ids, err);
}

int woq_task_build(struct woq_task *t, const struct woq_frame *modl, const struct woq_config *c,
                   struct woq_error *err)
{
    const bool tokens = t->opts->input == WOQ_EVAL_TOKENS;
    struct woq_tokenizer *tok = NULL;
    struct woq_ids ids = { 0 };
    long bos = -1;
    int rc;

    if (t->built)
        return check_ids(t, c, err);
    /* Ids need no tokenizer; one that is there still tells about BOS. */
    if ((!tokens || woq_modl_file(modl, "tokenizer.json")) &&
        (rc = woq_modl_tokenizer(modl, &tok, err)) < 0)
        return rc;
    if (tok && woq_tokenizer_adds_bos(tok))
        bos = woq_tokenizer_bos(tok);
    if (t->opts->input == WOQ_EVAL_LAMBADA)
        rc = woq_task_build_lambada(t, tok, c, err);
    else if ((rc = read_ids(t, tok, &ids, err)) >= 0)
        rc = cut_windows(t, &ids, bos, err);
    woq_ids_release(&ids);
    woq_tokenizer_close(tok);
    free(t->text);
    t->text = NULL;
    t->built = rc >= 0;
    return rc < 0 ? rc : check_ids(t, c, err);
}
