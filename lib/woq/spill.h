/* spill.h -- rows of one size that must wait longer than memory should hold them.
 *
 * Up to a budget they stay in memory; beyond it all of them go through a file without a name in
 * ${TMPDIR:-/var/tmp}, by plain writes and reads, so that they fill the page cache and not the
 * process. The file vanishes with the process, however that ends. */
#ifndef WOQ_SPILL_H
#define WOQ_SPILL_H
#include <woq/util.h>

struct woq_spill;
/* memory_bytes: what may stay in memory. Nothing is allocated or made before it is needed. */
int woq_spill_open(struct woq_spill **s, size_t memory_bytes, struct woq_error *err);
/* Room for n_rows of row_bytes each; what was there is forgotten. WOQ_ESYS if the file can't be
 * made or the disk has too little room for all rows. */
int woq_spill_begin(struct woq_spill *s, size_t n_rows, size_t row_bytes, struct woq_error *err);
/* Writes or reads rows [row0, row0 + n) of those asked for; any threads, for rows apart. A row that
 * was not put since begin holds anything. */
int woq_spill_put(struct woq_spill *s, size_t row0, size_t n, const void *rows,
                  struct woq_error *err);
int woq_spill_get(struct woq_spill *s, size_t row0, size_t n, void *rows, struct woq_error *err);
void woq_spill_close(struct woq_spill *s); /* NULL is fine */

#endif
