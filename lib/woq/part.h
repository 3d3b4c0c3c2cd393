/* part.h -- a model stream cut into parts by blocks, and put together again (woq-part, woq-join).
 *
 * Part K of N holds blocks floor((K-1) L/N) .. floor(K L/N) - 1 of L; the stem goes with part 1,
 * what follows the last block with part N, MODL with every part. HEAD of a part says so in
 * "part":{"of":N,"take":K,"blocks":L,"total":...}. */
#ifndef WOQ_PART_H
#define WOQ_PART_H
#include <woq/frame.h>

struct woq_writer;

/* Blocks that config.json of a MODL frame promises; 0 if it does not say. */
uint64_t woq_modl_blocks(const struct woq_frame *modl);

struct woq_part {
    uint64_t of;       /* N; 0 = one part for each block, known when MODL has come */
    uint64_t take;     /* 1 <= take <= of */
    uint64_t n_blocks; /* L; 0 = not known yet */
    uint64_t owner;    /* part of the frames that come now */
    uint64_t n_seen;   /* blocks begun */
};
/* Whether a frame belongs to the part; frames come in stream order. */
int woq_part_takes(struct woq_part *p, const struct woq_frame *f, bool *takes,
                   struct woq_error *err);
/* After the last frame: all blocks were there. */
int woq_part_end(const struct woq_part *p, struct woq_error *err);
/* HEAD of part p->take of a stream with this HEAD; the caller frees it. NULL: no memory. */
struct woq_json *woq_part_head(const struct woq_json *head, const struct woq_part *p);

/* All parts in one pass: part K is FOLDER/K.wts, which appears when it is whole. */
struct woq_part_files {
    const char *folder;
    struct woq_part part;        /* of and n_blocks as above; take is the part in hand, first 0 */
    const struct woq_json *head; /* of the whole stream */
    int fd;                      /* -1 at first */
    struct woq_writer *out;
    struct woq_frame modl;
};
int woq_part_files_take(struct woq_part_files *p, struct woq_frame *f, struct woq_error *err);
/* After the last frame (rc == 0), or to clean up. Returns rc or what went wrong. */
int woq_part_files_end(struct woq_part_files *p, int rc, struct woq_error *err);

struct woq_join {
    uint64_t n_inputs, at; /* inputs, the one that is read now (1...) */
    bool has_parts;        /* HEADs carry "part" */
    uint64_t n_blocks, n_seen;
    struct woq_frame modl; /* of the first input */
};
/* For each input in order, before its frames: is it the part that is due? `first`: HEAD of input 1.
 */
int woq_join_begin(struct woq_join *j, const struct woq_json *head, const struct woq_json *first,
                   struct woq_error *err);
/* Whether a frame goes to the output; block numbers and MODL are checked. The caller moves a MODL
 * that goes out into j->modl after it was put. */
int woq_join_takes(struct woq_join *j, const struct woq_frame *f, bool *takes,
                   struct woq_error *err);
int woq_join_end(const struct woq_join *j, struct woq_error *err);
void woq_join_release(struct woq_join *j);

#endif
