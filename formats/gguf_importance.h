/* gguf_importance.h -- how much each column of a matrix matters when its blocks are searched: from
 * an imatrix file, else from the stream. */
#ifndef WOQ_FORMATS_GGUF_IMPORTANCE_H
#define WOQ_FORMATS_GGUF_IMPORTANCE_H
#include <formats/imatrix.h>
#include <formats/sink.h>

struct woq_gguf_importance { /* zeroed = empty */
    struct woq_imatrix imatrix;
    const char *path;   /* of it, or NULL */
    size_t n_important; /* matrices that had an entry there */
    struct woq_buf buf;
};

/* path NULL: only what comes in the stream. */
int woq_gguf_importance_open(struct woq_gguf_importance *p, const char *path,
                             struct woq_error *err);
/* *out: [n_cols] for matrix `index` of `n_mats` in the tensor that has this name in GGUF, made of
 * frame f; valid until the next call; NULL if there is none. Scaled to a mean of 1, and never 0:
 * where nothing came in on a column it still has to decode. */
int woq_gguf_importance_of(struct woq_gguf_importance *p, const struct woq_sink *s,
                           const struct woq_frame *f, const char *gguf_name, size_t index,
                           size_t n_mats, size_t n_cols, const float **out, struct woq_error *err);
/* An imatrix that names no matrix of the model belongs to another one. */
int woq_gguf_importance_check(const struct woq_gguf_importance *p, struct woq_error *err);
void woq_gguf_importance_release(struct woq_gguf_importance *p);

#endif
