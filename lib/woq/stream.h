/* stream.h -- frames from and to file descriptors and memory (woq-stream(5)): wire.c has the header
 * and xxHash, reader.c and writer.c the two ends, zframe.c zstd.
 *
 * The reader verifies everything: header hash, limits, order of sequence numbers, body hash, TAIL.
 * It returns the frames between HEAD and TAIL; HEAD's meta stays readable in `head`. A FAIL frame
 * becomes WOQ_EUPSTREAM. The writer emits HEAD before the first frame and TAIL on finish. */
#ifndef WOQ_STREAM_H
#define WOQ_STREAM_H
#include <woq/frame.h>

#define WOQ_WTS_VERSION "1.0"
#define WOQ_HEADER_BYTES 64
#define WOQ_MAX_META (1u << 20)
#define WOQ_MAX_FRAME ((uint64_t)4 << 30)

struct woq_reader;
struct woq_reader_opts {
    uint64_t max_frame_bytes; /* 0: WOQ_MAX_FRAME */
    bool keep_enc;            /* leave compressed payloads as they are (woq-ls, woq-fsck) */
    bool no_body_hash;        /* do not read payloads at all (woq-ls on a file) */
    /* Sees each frame before the caller gets it; NULL for none. */
    void (*on_frame)(const void *ctx, const struct woq_frame *f);
    const void *ctx;
};

/* name: for messages ("<stdin>"). The fd is borrowed. A regular file is mapped, not copied. */
int woq_reader_open_fd(struct woq_reader **r, int fd, const char *name,
                       const struct woq_reader_opts *opts, struct woq_error *err);
/* SPEC: path, "-" for standard input, or "fd:N". */
int woq_reader_open(struct woq_reader **r, const char *spec, const struct woq_reader_opts *opts,
                    struct woq_error *err);
int woq_reader_open_mem(struct woq_reader **r, const void *data, size_t bytes, const char *name,
                        const struct woq_reader_opts *opts, struct woq_error *err);
/* WOQ_ITEM and a frame valid until the next call, WOQ_OK after a correct TAIL, or an error with its
 * place (stream, frame, byte). HEAD is read by the first call. */
int woq_reader_next(struct woq_reader *r, struct woq_frame **f, struct woq_error *err);
/* Reads HEAD now, if that has not happened yet. */
int woq_reader_head(struct woq_reader *r, const struct woq_json **head, struct woq_error *err);
const char *woq_reader_name(const struct woq_reader *r);
uint64_t woq_reader_bytes(const struct woq_reader *r); /* consumed so far */
uint64_t woq_reader_frames(const struct woq_reader *r);
/* Frames that were moved away (woq_frame_move) have been released: a mapped file's pages go too. */
void woq_reader_drop(struct woq_reader *r);
void woq_reader_close(struct woq_reader *r); /* NULL is fine */

struct woq_writer;
/* `head`: meta of the HEAD frame, copied. The fd is borrowed. */
int woq_writer_open_fd(struct woq_writer **w, int fd, const char *name, const struct woq_json *head,
                       struct woq_error *err);
/* Whole frames only; an unchanged frame keeps its bytes but for the sequence number. */
int woq_writer_put(struct woq_writer *w, struct woq_frame *f, struct woq_error *err);
/* As put, payload compressed with zstd (meta "enc":"zstd"). */
int woq_writer_put_zstd(struct woq_writer *w, struct woq_frame *f, int level,
                        struct woq_error *err);
int woq_writer_finish(struct woq_writer *w, struct woq_error *err); /* TAIL */
/* Best-effort FAIL frame, so that the next program names the culprit. */
void woq_writer_fail(struct woq_writer *w, const char *program, const struct woq_error *why);
uint64_t woq_writer_bytes(const struct woq_writer *w);
void woq_writer_close(struct woq_writer *w);

/* --- for woq-fsck, woq-ls and tests: the raw header --- */
struct woq_header {
    char type[5];
    uint8_t version, flags;
    uint64_t seq, meta_bytes, payload_bytes, body_hash, header_hash;
};
/* WOQ_OK, or WOQ_EDATA with what is wrong (start code, version, reserved, hash, limits). */
int woq_header_decode(struct woq_header *h, const void *bytes64, struct woq_error *err);
void woq_header_encode(void *bytes64, struct woq_header *h); /* fills header_hash */
uint64_t woq_hash64(const void *data, size_t bytes);         /* XXH3-64 */
/* XXH64, seed 0: the hash of the golden tables in tests. */
uint64_t woq_xxh64(const void *data, size_t bytes);

#endif
