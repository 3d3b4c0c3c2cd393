/* gguf_reader.h -- keys of one architecture in a GGUF file, with their messages. The first failure
 * stays; later reads do nothing. */
#ifndef WOQ_FORMATS_GGUF_READER_H
#define WOQ_FORMATS_GGUF_READER_H
#include <formats/gguf.h>
#include <formats/gguf_arch.h>

struct woq_gguf_reader {
    const struct woq_gguf *g;
    const char *name;                /* general.architecture */
    const struct woq_gguf_arch *row; /* NULL until it is known */
    struct woq_error *err;
    int rc; /* first failure */
};

/* Of "<name>.<key>"; NULL if there is none. */
const struct woq_gguf_kv *woq_gguf_find(const struct woq_gguf_reader *r, const char *key);
/* A size; `otherwise` where the key is absent, 0 = it must be there. Arrays must repeat one value.
 */
uint64_t woq_gguf_size(struct woq_gguf_reader *r, const char *key, uint64_t otherwise);
/* A finite number; NAN = it must be there. */
double woq_gguf_num(struct woq_gguf_reader *r, const char *key, double otherwise);
/* A count that may be 0 or absent, which is 0. */
uint64_t woq_gguf_count(const struct woq_gguf_reader *r, const char *key);
bool woq_gguf_has_text(const struct woq_gguf_kv *kv, const char *text);

#endif
