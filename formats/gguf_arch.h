/* gguf_arch.h -- architectures as GGUF files have them: one row for each of lib/arch_table.c of
 * which llama.cpp has a graph, with what that graph can do and what its file says of it.
 *
 * A model that a graph would evaluate otherwise is refused, by name. Read from llama.cpp at
 * 0c1e570: src/llama-arch.cpp, src/models/. */
#ifndef WOQ_FORMATS_GGUF_ARCH_H
#define WOQ_FORMATS_GGUF_ARCH_H
#include <woq/arch.h>

struct woq_gguf_keys;   /* gguf_keys.h */
struct woq_gguf_reader; /* gguf_reader.h */

enum woq_gguf_quirk {
    WOQ_GGUF_PERMUTED = 1 << 0,     /* rows of q and k alternate: rope turns neighbours */
    WOQ_GGUF_SPLIT_QKV = 1 << 1,    /* a fused q, k, v is three tensors */
    WOQ_GGUF_NARROW = 1 << 2,       /* heads times their size are the hidden size */
    WOQ_GGUF_WHOLE_ROPE = 1 << 3,   /* all dimensions of a head turn */
    WOQ_GGUF_OWN_HEAD = 1 << 4,     /* there is a tensor of the head, tied or not */
    WOQ_GGUF_TIED = 1 << 5,         /* there never is one */
    WOQ_GGUF_ROPE_FREQS = 1 << 6,   /* llama3 scaling: rope_freqs.weight */
    WOQ_GGUF_ROPE_FACTORS = 1 << 7, /* longrope: rope_factors_{short,long}.weight */
    WOQ_GGUF_SOME_WINDOWS = 1 << 8, /* the sliding window may be that of some blocks */
    WOQ_GGUF_WINDOW = 1 << 9,       /* and there is one */
    WOQ_GGUF_DENSE_FIRST = 1 << 10, /* of a model with experts: the first blocks may have none */
    WOQ_GGUF_ANY_SCALE = 1 << 11,   /* of attention scores; else 1 / sqrt(head size) */
    WOQ_GGUF_NO_TRUNCATE = 1 << 12, /* yarn without whole borders, which llama.cpp rounds */
    WOQ_GGUF_LATENT = 1 << 13,      /* q, k, v by latent vectors */
};

/* A key of one family. Values of 0 are left out. */
struct woq_gguf_extra {
    const char *key, *json;
    enum woq_gguf_extra_kind { WOQ_GGUF_SIZE, WOQ_GGUF_REAL, WOQ_GGUF_INVERSE } kind;
    size_t at;     /* of a size_t, or a float, in struct woq_config */
    double absent; /* what a file without the key means; 0: what config.json means without it */
};

struct woq_gguf_arch {
    const char *model_type;
    const char *name;    /* general.architecture; NULL: none */
    const char *why;     /* there is none */
    uint32_t quirks;     /* enum woq_gguf_quirk */
    uint64_t has, needs; /* traits of a config beyond its row's: that may be, that have to be */
    const char *mark;    /* of several rows with one name, the file that has this key or tensor */
    uint64_t mark_value; /* and the key this value; 0: any but 0 */
    struct {
        enum woq_role role;
        const char *name;
    } names[2];                                                      /* other than the usual */
    const struct woq_gguf_extra *extras;                             /* to a NULL key; or NULL */
    int (*check)(const struct woq_config *c, struct woq_error *err); /* what no column says */
    /* Keys that are the family's own, and what they say in a config.json. */
    void (*put)(struct woq_gguf_keys *k, const struct woq_config *c, const struct woq_json *config);
    void (*get)(struct woq_gguf_reader *r, struct woq_json *config);
};

size_t woq_gguf_arch_count(void);
const struct woq_gguf_arch *woq_gguf_arch_at(size_t i);
/* NULL: GGUF has none. */
const struct woq_gguf_arch *woq_gguf_arch_of(const struct woq_arch *a);

/* WOQ_OK if the graph of llama.cpp computes what this config says. */
int woq_gguf_arch_check(const struct woq_config *c, struct woq_error *err);

#endif
