/* fingerprint.h -- is a file on this host the one that a stream was read from, on whatever host?
 *
 * Paths and inodes mean nothing at the other end of a pipe, so HEAD carries the size and a hash of
 * samples of each weight file ("source":["SIZE-HASH",...]), and woq-pack --force compares what it
 * is about to replace. Same bytes, same fingerprint: a copy of the input is protected too. */
#ifndef WOQ_FINGERPRINT_H
#define WOQ_FINGERPRINT_H
#include <woq/json.h>

/* Array of the fingerprints of a file, or of the *.safetensors files of a folder, sorted; empty if
 * nothing can be read. NULL when out of memory. */
struct woq_json *woq_fingerprints(const char *path);
/* Do two such arrays have a member in common? NULL has none. */
bool woq_fingerprints_meet(const struct woq_json *a, const struct woq_json *b);

#endif
