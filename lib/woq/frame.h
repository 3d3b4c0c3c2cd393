/* frame.h -- one frame of a stream: a named record of arrays (woq-stream(5)).
 *
 * A frame that was read owns its body (or borrows it from a mapped file) until the next `next`;
 * woq_frame_move keeps it longer. A frame that is being built borrows the arrays that were added,
 * until it was put. Meta is a JSON object owned by the frame. */
#ifndef WOQ_FRAME_H
#define WOQ_FRAME_H
#include <woq/dtype.h>
#include <woq/json.h>
#include <woq/util.h>

#define WOQ_MAX_DIMS 8
#define WOQ_FRAME_OF                                                                               \
    1u /* flag bit 0: describes another frame (meta "of"), dropped when that changes */

struct woq_array {
    char name[64];
    enum woq_dtype dtype;
    unsigned n_dims;
    uint64_t shape[WOQ_MAX_DIMS];
    uint64_t offset; /* in the payload; set by reader and writer */
    size_t n_elem, bytes;
    void *data; /* 64-byte aligned when it was read from a stream */
    bool lent;  /* see woq_frame_add_lent */
};

struct woq_frame {
    char type[5]; /* "TENS", NUL-terminated */
    uint8_t flags;
    uint64_t seq, at_byte; /* place in the stream it was read from */
    struct woq_json *meta; /* object; without "arrays", which is made when the frame is put */
    struct woq_array *arrays;
    size_t n_arrays, cap_arrays;
    /* Private to frame.c and stream.c. */
    struct woq_buf body, meta_buf; /* owned bytes as read; unused when they lie in a mapping */
    const void *wire_meta; /* unchanged bytes as read, so that pass-through rehashes nothing */
    size_t wire_meta_bytes, wire_payload_bytes;
    const void *wire_payload;
    uint64_t wire_hash;
    bool wire_lent;       /* they lie in a file mapping, untouched: a pipe may take the pages */
    bool wire_enc;        /* those bytes are compressed; the arrays never are */
    bool dirty;           /* meta or arrays changed since it was read, or built here */
    struct woq_arena own; /* arrays allocated by woq_frame_alloc */
};

/* Starts an empty frame of `type` in an initialised or zeroed struct; keeps its memory for reuse.
 */
void woq_frame_begin(struct woq_frame *f, const char *type);
void woq_frame_release(struct woq_frame *f); /* frees everything, accepts a zeroed struct */
/* dst (zeroed or initialised) takes everything src has; src becomes empty and the reader allocates
 * anew. What lies in a mapped file stays valid until the reader is closed. */
void woq_frame_move(struct woq_frame *dst, struct woq_frame *src);
/* Moves f to the end of a list of *n frames with room for *cap, NULL and 0, 0 at first; what lies
 * behind the *n frames is zeroed or released. The caller releases the frames and frees the list. */
int woq_frames_push(struct woq_frame **list, size_t *n, size_t *cap, struct woq_frame *f,
                    struct woq_error *err);

bool woq_frame_is(const struct woq_frame *f, const char *type);
bool woq_frame_is_tensor(const struct woq_frame *f);   /* TENS */
const char *woq_frame_name(const struct woq_frame *f); /* meta "name", "" if none */

/* Meta for writing: marks the frame dirty. */
struct woq_json *woq_frame_edit(struct woq_frame *f);

/* Array by name, or NULL. `want` additionally fails with a message when it is absent, has another
 * dtype (WOQ_NO_DTYPE = any) or another number of dimensions (0 = any). */
const struct woq_array *woq_frame_array(const struct woq_frame *f, const char *name);
int woq_frame_want(const struct woq_frame *f, const char *name, enum woq_dtype dtype,
                   unsigned n_dims, const struct woq_array **out, struct woq_error *err);

/* Adds an array whose data the caller keeps until the frame was put. Replaces one of that name.
 * Array `raw` (the tensor as packed bytes of a file, of the type that meta "raw_format" names) is
 * added last: whatever changes another array drops it, as do woq_frame_del and woq_frame_tensor. */
int woq_frame_add(struct woq_frame *f, const char *name, enum woq_dtype dtype, unsigned n_dims,
                  const uint64_t *shape, const void *data, struct woq_error *err);
/* As add, of data in a file mapping that nobody writes to: a pipe may take its pages, not a copy.
 */
int woq_frame_add_lent(struct woq_frame *f, const char *name, enum woq_dtype dtype, unsigned n_dims,
                       const uint64_t *shape, const void *data, struct woq_error *err);
/* As add, with memory that the frame owns (not cleared); *data receives it. */
int woq_frame_alloc(struct woq_frame *f, const char *name, enum woq_dtype dtype, unsigned n_dims,
                    const uint64_t *shape, void **data, struct woq_error *err);
void woq_frame_del(struct woq_frame *f, const char *name);

/* The array `data` of a TENS frame as a view. */
struct woq_tensor {
    const char *name;
    enum woq_dtype dtype;
    unsigned n_dims;
    const uint64_t *shape;
    size_t n_elem;
    size_t n_rows, n_cols; /* 2-D view: product of all but the last dim; last dim (1-D: 1 row) */
    void *data;
};
/* For reading (does not mark the frame dirty; do not write through it). */
int woq_frame_view(const struct woq_frame *f, struct woq_tensor *t, struct woq_error *err);
/* For writing in place: marks the frame dirty. */
int woq_frame_tensor(struct woq_frame *f, struct woq_tensor *t, struct woq_error *err);
/* The TENS data as f32: a pointer into the frame where it is f32 already, else converted into buf.
 */
int woq_frame_f32(const struct woq_frame *f, struct woq_tensor *t, const float **data,
                  struct woq_buf *buf, struct woq_error *err);

#endif
