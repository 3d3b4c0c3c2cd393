/* calib_acts.c -- files of activations: where a run stopped, and where another one goes on.
 *
 * A stream of its own: HEAD says how many blocks are done and which tokens these are, `acts` frames
 * hold the rows in order, in chunks. The same form serves --state, --acts-from and --acts-to. A
 * file appears under its name only when it is complete and on disk. */
#include "calib_internal.h"

#include <woq/kernels.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_BYTES = 32 << 20 };

static char *tmp_name(const char *path)
{
    struct woq_str s = { 0 };

    woq_str_addf(&s, "%s.tmp", path);
    return s.s;
}

int woq_calib_file_begin(const char *what, const char *path, int *fd, struct woq_error *err)
{
    char *tmp = tmp_name(path);

    *fd = -1;
    if (!tmp)
        return woq_fail_nomem(err, 256);
    *fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (*fd < 0)
        woq_fail_errno(err, NULL, "can't write the %s '%s'", what, tmp);
    free(tmp);
    return *fd < 0 ? WOQ_ESYS : WOQ_OK;
}

int woq_calib_file_end(const char *what, const char *path, int fd, int rc, struct woq_error *err)
{
    char *tmp = tmp_name(path);

    if (rc == WOQ_OK && !tmp)
        rc = woq_fail_nomem(err, 256);
    if (rc == WOQ_OK && fdatasync(fd) != 0)
        rc = woq_fail_errno(err, NULL, "can't write the %s '%s'", what, tmp);
    close(fd);
    if (rc == WOQ_OK && rename(tmp, path) != 0)
        rc = woq_fail_errno(err, NULL, "can't name the %s '%s'", what, path);
    if (rc < 0 && tmp)
        unlink(tmp);
    free(tmp);
    return rc;
}

struct woq_json *woq_calib_acts_head(const struct woq_calib *c, size_t done)
{
    struct woq_json *head = woq_json_object();
    char tokens[17];

    snprintf(tokens, sizeof tokens, "%016llx", (unsigned long long)c->tokens_hash);
    woq_json_set_str(head, "wts", WOQ_WTS_VERSION);
    woq_json_set_str(head, "calib", "activations");
    woq_json_set_num(head, "done", (double)done);
    woq_json_set_num(head, "samples", (double)c->o.n_samples);
    woq_json_set_num(head, "seqlen", (double)c->o.seqlen);
    woq_json_set_num(head, "token0", (double)c->o.token0);
    woq_json_set_str(head, "tokens", tokens);
    return head;
}

static size_t rows_per_chunk(const struct woq_calib *c)
{
    const size_t n = CHUNK_BYTES / (c->config.hidden * sizeof(float));

    return n ? n : 1;
}

int woq_calib_acts_write(struct woq_calib *c, int fd, const struct woq_json *head)
{
    const size_t step = rows_per_chunk(c), hidden = c->config.hidden;
    struct woq_writer *w = NULL;
    struct woq_frame f = { 0 };
    int rc = woq_writer_open_fd(&w, fd, "<activations>", head, c->err);

    for (size_t t = 0; rc == WOQ_OK && t < c->n_tokens; t += step) {
        const uint64_t shape[2] = { c->n_tokens - t < step ? c->n_tokens - t : step, hidden };

        woq_frame_begin(&f, "acts");
        woq_json_set_num(woq_frame_edit(&f), "token0", (double)(c->o.token0 + t));
        rc = woq_frame_add(&f, "x", WOQ_F32, 2, shape, c->x + t * hidden, c->err);
        if (rc == WOQ_OK && c->xf)
            rc = woq_frame_add(&f, "x_float", WOQ_F32, 2, shape, c->xf + t * hidden, c->err);
        if (rc == WOQ_OK)
            rc = woq_writer_put(w, &f, c->err);
    }
    if (rc == WOQ_OK)
        rc = woq_writer_finish(w, c->err);
    woq_writer_close(w);
    woq_frame_release(&f);
    return rc;
}

/* An array of rows, to its place behind the `done` ones in dst. */
static int take_array(struct woq_calib *c, const struct woq_frame *f, const char *name, float *dst,
                      size_t done, const struct woq_array **x)
{
    const int rc = woq_frame_want(f, name, WOQ_F32, 2, x, c->err);
    const struct woq_array *a = *x;

    if (rc < 0)
        return rc;
    if (a->shape[1] != c->config.hidden)
        return woq_fail(c->err, WOQ_EDATA, "use the activations of this model",
                        "activations are %llu wide, the model has %zu",
                        (unsigned long long)a->shape[1], c->config.hidden);
    if (a->shape[0] > c->n_tokens - done)
        return woq_fail(c->err, WOQ_EDATA, NULL, "%llu activations behind %zu, want %zu in all",
                        (unsigned long long)a->shape[0], done, c->n_tokens);
    if (!woq_kernels()->all_finite_f32(a->data, a->n_elem))
        return woq_fail(c->err, WOQ_EDATA, NULL, "an activation is NaN or infinite");
    memcpy(dst + done * c->config.hidden, a->data, a->bytes);
    return WOQ_OK;
}

/* One frame of rows, which must be the ones that follow. */
static int take_rows(struct woq_calib *c, const struct woq_frame *f, size_t *done)
{
    const struct woq_array *x = NULL, *xf = NULL;
    uint64_t token0 = 0;
    int rc = take_array(c, f, "x", c->x, *done, &x);

    if (rc == WOQ_OK && c->xf && !woq_frame_array(f, "x_float"))
        return woq_fail(c->err, WOQ_EDATA, "make the file with --targets both",
                        "the activations lack the float path");
    if (rc == WOQ_OK && c->xf)
        rc = take_array(c, f, "x_float", c->xf, *done, &xf);
    if (rc < 0)
        return rc;
    if (!woq_json_u64(woq_json_get(f->meta, "token0"), &token0) || token0 != c->o.token0 + *done ||
        (xf && xf->shape[0] != x->shape[0]))
        return woq_fail(c->err, WOQ_EDATA, NULL,
                        "%llu activations from token %llu on, want those from token %llu on",
                        (unsigned long long)x->shape[0], (unsigned long long)token0,
                        (unsigned long long)(c->o.token0 + *done));
    *done += (size_t)x->shape[0];
    c->acts_hash = woq_hash64((uint64_t[]){ c->acts_hash, f->wire_hash }, 16);
    return WOQ_OK;
}

int woq_calib_acts_read(struct woq_calib *c, struct woq_reader *r)
{
    struct woq_frame *f;
    size_t done = 0;
    int rc;

    while ((rc = woq_reader_next(r, &f, c->err)) > 0)
        if (woq_frame_is(f, "acts") && (rc = take_rows(c, f, &done)) < 0)
            return woq_error_at(c->err, "%s: frame %llu", woq_reader_name(r),
                                (unsigned long long)f->seq);
    if (rc == WOQ_OK && done != c->n_tokens)
        rc = woq_fail(c->err, WOQ_EDATA, NULL, "'%s' holds activations of %zu tokens, want %zu",
                      woq_reader_name(r), done, c->n_tokens);
    return rc;
}

int woq_calib_x_alloc(struct woq_calib *c)
{
    size_t bytes;

    if (!woq_mul_size(c->o.n_samples, c->o.seqlen, &c->n_tokens) ||
        !woq_mul_size(c->n_tokens, c->config.hidden * sizeof *c->x, &bytes))
        return woq_fail_nomem(c->err, SIZE_MAX);
    c->x = woq_alloc(bytes, c->err);
    if (c->x && c->o.both)
        c->xf = woq_alloc(bytes, c->err);
    return c->x && (c->xf || !c->o.both) ? WOQ_OK : WOQ_ENOMEM;
}

/* What HEAD of --acts-from says takes the place of options. */
static int take_head(struct woq_calib *c, const struct woq_json *head)
{
    const char *kind = woq_json_get_str(head, "calib"), *tokens = woq_json_get_str(head, "tokens");
    uint64_t n = 0, len = 0, token0 = 0, done = 0;

    if (!kind || strcmp(kind, "activations") != 0)
        return woq_fail(c->err, WOQ_EDATA, "give a file that --acts-to or --state wrote",
                        "'%s' holds no activations of woq-calib", c->o.acts_from);
    if (!tokens || !woq_json_u64(woq_json_get(head, "samples"), &n) ||
        !woq_json_u64(woq_json_get(head, "seqlen"), &len) ||
        !woq_json_u64(woq_json_get(head, "token0"), &token0) ||
        !woq_json_u64(woq_json_get(head, "done"), &done) || n < 1 || n > WOQ_CALIB_MAX_SAMPLES ||
        len < 2 || len > WOQ_CALIB_MAX_SEQLEN || token0 > WOQ_CALIB_MAX_TOKEN0)
        return woq_fail(c->err, WOQ_EDATA, NULL,
                        "'%s' does not say samples, seqlen, token0, tokens and done",
                        c->o.acts_from);
    if (done > c->config.n_layers)
        return woq_fail(c->err, WOQ_EDATA, "use the activations of this model",
                        "'%s' is after %llu blocks, the model has %zu", c->o.acts_from,
                        (unsigned long long)done, c->config.n_layers);
    c->o.n_samples = (size_t)n;
    c->o.seqlen = (size_t)len;
    c->o.token0 = token0;
    c->tokens_hash = strtoull(tokens, NULL, 16);
    c->next_block = (size_t)done;
    return WOQ_OK;
}

int woq_calib_acts_load(struct woq_calib *c, struct woq_reader *r)
{
    const struct woq_json *head = NULL;
    int rc = woq_reader_head(r, &head, c->err);

    if (rc == WOQ_OK)
        rc = take_head(c, head);
    if (rc == WOQ_OK)
        rc = woq_calib_x_alloc(c);
    return rc == WOQ_OK ? woq_calib_acts_read(c, r) : rc;
}

int woq_calib_acts_from(struct woq_calib *c)
{
    struct woq_reader *r;
    int rc = woq_reader_open(&r, c->o.acts_from, NULL, c->err);

    if (rc < 0)
        return rc;
    rc = woq_calib_acts_load(c, r);
    woq_reader_close(r);
    return rc;
}

int woq_calib_acts_to(struct woq_calib *c)
{
    static const char what[] = "activations";
    struct woq_json *head;
    int fd, rc;

    if (c->next_block < c->state.done)
        return woq_fail(c->err, WOQ_EDATA, "remove the state to start anew",
                        "the state is after %zu blocks, the stream ends after %zu", c->state.done,
                        c->next_block);
    head = woq_calib_acts_head(c, c->next_block);
    rc = head ? woq_calib_file_begin(what, c->o.acts_to, &fd, c->err) : woq_fail_nomem(c->err, 256);
    if (rc == WOQ_OK)
        rc = woq_calib_file_end(what, c->o.acts_to, fd, woq_calib_acts_write(c, fd, head), c->err);
    woq_json_free(head);
    return rc;
}
