/* npy.h -- a matrix of float32 as a .npy file (version 1.0), written row by row under a temporary
 * name and renamed when it is whole. */
#ifndef WOQ_NPY_H
#define WOQ_NPY_H
#include <stddef.h>
#include <woq/error.h>

struct woq_npy;
/* Writes path.tmp.PID until woq_npy_close. */
int woq_npy_open(struct woq_npy **n, const char *path, size_t n_rows, size_t n_cols,
                 struct woq_error *err);
int woq_npy_put(struct woq_npy *n, const float *data, size_t n_rows, struct woq_error *err);
/* All rows there: fsync and rename. Frees n in any case. */
int woq_npy_close(struct woq_npy *n, struct woq_error *err);
void woq_npy_abort(struct woq_npy *n); /* removes the temporary file; NULL is fine */

#endif
