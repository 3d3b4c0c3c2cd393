/* fsck.h -- checks beyond the framing, and what is left of a damaged stream (woq-fsck). */
#ifndef WOQ_FSCK_H
#define WOQ_FSCK_H
#include <woq/stream.h>

/* Rules over frames that a reader does not know: markers nest and count up, MODL comes once and
 * first, names are unique, a QTEN decodes, `of` names a tensor that follows. */
struct woq_fsck;
int woq_fsck_open(struct woq_fsck **c, struct woq_error *err);
int woq_fsck_frame(struct woq_fsck *c, const struct woq_frame *f, struct woq_error *err);
int woq_fsck_end(const struct woq_fsck *c, struct woq_error *err);
void woq_fsck_close(struct woq_fsck *c);

/* Intact frames of a damaged stream in memory: start code, header hash and body hash are right. */
struct woq_salvage {
    const uint8_t *data;
    size_t bytes;
    struct woq_found {
        uint64_t at;
        struct woq_header header;
        bool keep; /* not HEAD, TAIL, FAIL, nor unknown, nor a number that was there before */
    } * found;
    size_t n_found, cap;
    struct woq_json *head; /* meta of HEAD, or a new one */
    bool has_head, has_tail;
    uint64_t
        n_frames; /* what TAIL promises (HEAD counted), else one more than the last number seen */
};
/* Any byte offset is tried, not the 64-byte grid alone: lost bytes shift the grid. */
int woq_salvage_scan(struct woq_salvage *s, const void *data, size_t bytes, struct woq_error *err);
/* Sets up frame i of found[] for woq_writer_put; it borrows the data. */
void woq_salvage_frame(const struct woq_salvage *s, size_t i, struct woq_frame *f);
/* Appends what is missing: a line per run of numbers, per run of bytes. Returns the frames missing.
 */
uint64_t woq_salvage_report(const struct woq_salvage *s, struct woq_str *out);
void woq_salvage_release(struct woq_salvage *s);

#endif
