/* part_files.c -- all parts of a model in one pass over the stream, each a file of its own. */
#include <woq/part.h>
#include <woq/stream.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef unsigned long long ull;

struct woq_json *woq_part_head(const struct woq_json *head, const struct woq_part *p)
{
    struct woq_json *mine = woq_json_copy(head), *part = woq_json_object();

    woq_json_set_num(part, "of", (double)p->of);
    woq_json_set_num(part, "take", (double)p->take);
    if (p->n_blocks)
        woq_json_set_num(part, "blocks", (double)p->n_blocks);
    woq_json_set(part, "total", woq_json_copy(woq_json_get(head, "total")));
    woq_json_del(mine, "total");
    woq_json_set(mine, "part", part);
    return mine;
}

/* FOLDER/K.wts, with `tmp` the name before it is whole. */
static char *file_name(const struct woq_part_files *p, bool tmp)
{
    struct woq_str s = { 0 };

    woq_str_addf(&s, "%s/%llu.wts%s", p->folder, (ull)p->part.take, tmp ? ".tmp" : "");
    return s.s;
}

/* Begins part p->part.take. Every part has MODL; part 1 gets it as it comes. */
static int begin(struct woq_part_files *p, struct woq_error *err)
{
    char *path = file_name(p, true);
    struct woq_json *head = woq_part_head(p->head, &p->part);
    int rc = path && head ? WOQ_OK : woq_fail_nomem(err, 256);

    if (rc == WOQ_OK) {
        p->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (p->fd < 0)
            rc = woq_fail_errno(err, NULL, "can't write '%s'", path);
    }
    if (rc == WOQ_OK)
        rc = woq_writer_open_fd(&p->out, p->fd, path, head, err);
    if (rc == WOQ_OK && p->modl.type[0])
        rc = woq_writer_put(p->out, &p->modl, err);
    woq_json_free(head);
    free(path);
    return rc;
}

static void drop(struct woq_part_files *p)
{
    woq_writer_close(p->out);
    p->out = NULL;
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

/* The part in hand is whole and gets its name. */
static int settle(struct woq_part_files *p, struct woq_error *err)
{
    char *tmp = file_name(p, true), *path = file_name(p, false);
    int rc = tmp && path ? woq_writer_finish(p->out, err) : woq_fail_nomem(err, 256);

    drop(p);
    if (rc == WOQ_OK && rename(tmp, path) != 0)
        rc = woq_fail_errno(err, NULL, "can't name '%s'", path);
    free(tmp);
    free(path);
    return rc;
}

/* Part `k` becomes the one in hand; those before it are settled, empty ones too. */
static int move_to(struct woq_part_files *p, uint64_t k, struct woq_error *err)
{
    int rc = WOQ_OK;

    if (!p->part.take && mkdir(p->folder, 0777) != 0 && errno != EEXIST)
        return woq_fail_errno(err, NULL, "can't make the folder '%s'", p->folder);
    while (rc == WOQ_OK && p->part.take < k) {
        if (p->part.take)
            rc = settle(p, err);
        p->part.take++;
        if (rc == WOQ_OK)
            rc = begin(p, err);
    }
    return rc;
}

int woq_part_files_take(struct woq_part_files *p, struct woq_frame *f, struct woq_error *err)
{
    bool takes;
    int rc = woq_part_takes(&p->part, f, &takes, err);

    if (rc == WOQ_OK)
        rc = move_to(p, p->part.owner, err);
    if (rc == WOQ_OK)
        rc = woq_writer_put(p->out, f, err);
    if (rc == WOQ_OK && woq_frame_is(f, "MODL"))
        woq_frame_move(&p->modl, f);
    return rc;
}

int woq_part_files_end(struct woq_part_files *p, int rc, struct woq_error *err)
{
    if (rc == WOQ_OK)
        rc = woq_part_end(&p->part, err);
    if (rc == WOQ_OK)
        rc = move_to(p, p->part.of, err);
    if (rc == WOQ_OK)
        rc = settle(p, err);
    drop(p);
    woq_frame_release(&p->modl);
    return rc;
}
