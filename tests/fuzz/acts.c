/* acts.c -- fuzz target: a file of activations (--state, --acts-from of woq-calib), whose frames
 * are intact and whose contents are anything.
 *
 * Input: lines of JSON. The first is HEAD; "both" in it asks for the float path, too. Each other
 * one is the meta of a frame with rows "rows" x "cols" in array x, and "float" rows in x_float;
 * "bad" makes one value NaN. A model of 3 blocks, hidden 4. */
#define _GNU_SOURCE /* memfd_create */
#include "../../lib/calib_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { HIDDEN = 4, MAX_DIM = 64, MAX_TOKENS = 1 << 16 };

static uint64_t dim(const struct woq_json *j, const char *key)
{
    const int64_t n = woq_json_get_int(j, key, 0);

    return n < 0 || n > MAX_DIM ? MAX_DIM : (uint64_t)n;
}

static void put(struct woq_writer *w, const struct woq_json *meta)
{
    static float pool[MAX_DIM * MAX_DIM];
    const uint64_t cols = dim(meta, "cols"), x[2] = { dim(meta, "rows"), cols };
    const uint64_t xf[2] = { dim(meta, "float"), cols };
    struct woq_frame f = { 0 };

    pool[0] = woq_json_get(meta, "bad") ? NAN : 1.0f;
    woq_frame_begin(&f, "acts");
    woq_json_free(f.meta);
    f.meta = woq_json_copy(meta);
    if (woq_json_get(meta, "rows"))
        (void)woq_frame_add(&f, "x", WOQ_F32, 2, x, pool, NULL);
    if (woq_json_get(meta, "float"))
        (void)woq_frame_add(&f, "x_float", WOQ_F32, 2, xf, pool, NULL);
    (void)woq_writer_put(w, &f, NULL);
    woq_frame_release(&f);
}

static void load(int fd, bool both)
{
    struct woq_error err = { 0 };
    struct woq_calib c = { .err = &err };
    struct woq_reader *r = NULL;

    c.o.acts_from = "acts";
    c.o.both = both;
    c.config.hidden = HIDDEN;
    c.config.n_layers = 3;
    if (lseek(fd, 0, SEEK_SET) == 0 && woq_reader_open_fd(&r, fd, "acts", NULL, &err) == WOQ_OK &&
        woq_calib_acts_load(&c, r) < 0 && !err.what[0])
        abort(); /* what is refused is told why */
    woq_reader_close(r);
    free(c.x);
    free(c.xf);
}

/* More tokens than are worth the memory: a question of resources, not of the reader. */
static bool is_large(const struct woq_json *head)
{
    uint64_t n = 0, len = 0;

    return woq_json_u64(woq_json_get(head, "samples"), &n) &&
           woq_json_u64(woq_json_get(head, "seqlen"), &len) &&
           (n > MAX_TOKENS || len > MAX_TOKENS || n * len > MAX_TOKENS);
}

/* The line [*at, next newline) as an object; NULL: none. */
static struct woq_json *line(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *stop = *at < end ? memchr(*at, '\n', (size_t)(end - *at)) : NULL;
    const uint8_t *from = *at;
    struct woq_json *j = NULL;

    if (!stop)
        return NULL;
    *at = stop + 1;
    if (woq_json_parse(&j, (const char *)from, (size_t)(stop - from), NULL) < 0 ||
        woq_json_type(j) != WOQ_JOBJECT) {
        woq_json_free(j);
        return NULL;
    }
    return j;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const uint8_t *at = data, *end = data + bytes;
    struct woq_json *head = line(&at, end), *meta;
    struct woq_writer *w = NULL;
    const int fd = head && !is_large(head) ? memfd_create("acts", MFD_CLOEXEC) : -1;

    if (fd >= 0) {
        woq_json_set_str(head, "wts", WOQ_WTS_VERSION);
        if (woq_writer_open_fd(&w, fd, "acts", head, NULL) == WOQ_OK) {
            for (int i = 0; i < 64 && (meta = line(&at, end)) != NULL; i++) {
                put(w, meta);
                woq_json_free(meta);
            }
            (void)woq_writer_finish(w, NULL);
            woq_writer_close(w);
            load(fd, woq_json_get(head, "both") != NULL);
        }
        close(fd);
    }
    woq_json_free(head);
    return 0;
}
