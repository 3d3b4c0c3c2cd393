/* tokenizer_internal.h -- what the rooms of the tokenizer share.
 *
 *   tokenizer.c         open, close, encode, template
 *   tokenizer_map.c     hash of byte strings (vocabulary, added tokens, cache of words)
 *   tokenizer_bpe.c     vocabulary, merges, one word to ids
 *   tokenizer_added.c   added tokens: cutting them out of a text
 *   tokenizer_split.c   patterns and what becomes of their matches
 *   tokenizer_steps.c   normalizers and pre-tokenizers
 *   tokenizer_decode.c  ids to text
 *
 * A text is a list of pieces over one buffer. A step that only cuts makes a new list over the same
 * buffer; a step that changes characters writes the other buffer and moves the pieces. */
#ifndef WOQ_TOKENIZER_INTERNAL_H
#define WOQ_TOKENIZER_INTERNAL_H
#include <woq/regex.h>
#include <woq/tokenizer.h>
#include <woq/unicode.h>

#define TOK_MAX_ID                                                                                 \
    (1u << 22) /* ids of hostile files are bounded; the largest real one is 2.6e5                  \
                */
#define TOK_MAX_STEPS 64
#define TOK_MAX_ADDED_BYTES 4096
#define TOK_NO_ID UINT32_MAX

/* ------------------------------------------------------------------ hash of byte strings */
struct tok_map {
    struct woq_str keys;
    struct tok_entry {
        size_t off;
        uint32_t len, value, hash;
    } * entry; /* in order of insertion */
    size_t n, cap;
    uint32_t *slot; /* index into entry + 1, 0 = free */
    size_t n_slots; /* power of two, or 0 */
};
/* The entry of a key, or NULL. */
struct tok_entry *tok_map_get(const struct tok_map *m, const char *key, size_t len);
/* Adds a key that is not there yet. */
int tok_map_add(struct tok_map *m, const char *key, size_t len, uint32_t value,
                struct woq_error *err);
void tok_map_release(struct tok_map *m);

/* ------------------------------------------------------------------ pieces */
struct tok_piece {
    size_t off, len;
    uint32_t id; /* an added token, or TOK_NO_ID for text */
    bool first;  /* begins where the original text begins */
};
struct tok_pieces {
    struct tok_piece *p;
    size_t n, cap;
};
struct tok_range {
    size_t start, end;
    bool match;
};

/* Scratch of one call, kept for the next one. */
struct tok_work {
    struct woq_str text, other;
    struct tok_pieces pieces, next;
    struct tok_range *range;
    size_t n_ranges, cap_ranges;
    struct woq_match *match;
    struct tok_map words; /* cache: word -> index into spans */
    struct tok_span {
        size_t off;
        uint32_t n;
    } * span;
    size_t n_spans, cap_spans;
    struct woq_ids word_ids;
    struct woq_ids symbols;
    struct tok_node *node; /* long words */
    size_t cap_nodes;
    struct tok_queued *heap;
    size_t n_heap, cap_heap;
};
int tok_work_new(struct tok_work **w, struct woq_error *err);
void tok_work_free(struct tok_work *w);
/* Appends a piece to w->next unless it is empty. */
int tok_piece_add(struct tok_work *w, size_t off, size_t len, uint32_t id, bool first,
                  struct woq_error *err);
/* w->next becomes w->pieces. */
void tok_pieces_swap(struct tok_work *w);
/* Doubles *array until it holds `want` elements of `size` bytes. */
int tok_grow(void *array, size_t *cap, size_t want, size_t size, struct woq_error *err);
/* woq_str_add with a message. */
int tok_add(struct woq_str *s, const void *bytes, size_t n, struct woq_error *err);

/* ------------------------------------------------------------------ splitting */
enum tok_behaviour {
    TOK_REMOVED,
    TOK_ISOLATED,
    TOK_MERGED_WITH_PREVIOUS,
    TOK_MERGED_WITH_NEXT,
    TOK_CONTIGUOUS
};
struct tok_pattern { /* exactly one of the three */
    struct woq_regex *re;
    char *literal;
    size_t literal_bytes;
    bool (*is)(uint32_t cp);
};
/* {"String": s} or {"Regex": s}; a bare string is a literal. */
int tok_pattern_parse(struct tok_pattern *p, const struct woq_json *v, struct woq_error *err);
void tok_pattern_release(struct tok_pattern *p);
/* Ranges of matches and gaps that cover the text, into w->range. */
int tok_find(const struct tok_pattern *p, struct tok_work *w, const char *text, size_t len,
             struct woq_error *err);
/* Cuts one piece (of w->text) into w->next. */
int tok_split(const struct tok_pattern *p, enum tok_behaviour b, bool invert, struct tok_work *w,
              const struct tok_piece *piece, struct woq_error *err);

/* ------------------------------------------------------------------ steps */
enum tok_kind {
    /* normalizers */
    TOK_NORM_FORM,
    TOK_NORM_LOWER,
    TOK_NORM_REPLACE,
    TOK_NORM_PREPEND,
    TOK_NORM_STRIP,
    /* pre-tokenizers */
    TOK_PRE_BYTELEVEL,
    TOK_PRE_SPLIT,
    TOK_PRE_METASPACE,
    /* decoders */
    TOK_DEC_BYTELEVEL,
    TOK_DEC_REPLACE,
    TOK_DEC_BYTEFALLBACK,
    TOK_DEC_FUSE,
    TOK_DEC_STRIP,
    TOK_DEC_METASPACE
};
enum tok_prepend { TOK_PREPEND_NEVER, TOK_PREPEND_FIRST, TOK_PREPEND_ALWAYS };

struct tok_step {
    enum tok_kind kind;
    enum woq_form form;
    struct tok_pattern pattern; /* Replace, Split */
    enum tok_behaviour behaviour;
    bool invert;
    bool prefix_space, use_regex; /* ByteLevel */
    enum tok_prepend prepend;     /* Metaspace */
    bool split;                   /* Metaspace */
    bool left, right;             /* Strip of a normalizer */
    size_t start, stop;           /* Strip of a decoder */
    char *content;                /* Replace, Prepend, Strip; Metaspace: the replacement */
    size_t content_bytes;
};
struct tok_steps {
    struct tok_step *s;
    size_t n;
};
/* A component of tokenizer.json (NULL and null: none); Sequence is flattened. */
int tok_normalizer_parse(struct tok_steps *steps, const struct woq_json *v, struct woq_error *err);
int tok_pre_parse(struct tok_steps *steps, const struct woq_json *v, struct woq_error *err);
int tok_decoder_parse(struct tok_steps *steps, const struct woq_json *v, struct woq_error *err);
/* Flattens `v` into steps: calls one(step, component) on each that is no Sequence. */
typedef int tok_parse_one(struct tok_step *s, const struct woq_json *v, const char *type,
                          struct woq_error *err);
int tok_steps_parse(struct tok_steps *steps, const struct woq_json *v, const char *what,
                    const char *members, tok_parse_one *one, struct woq_error *err);
int tok_step_content(struct tok_step *s, const char *text, struct woq_error *err);
int tok_metaspace_parse(struct tok_step *s, const struct woq_json *v, struct woq_error *err);
void tok_steps_release(struct tok_steps *steps);
/* Runs every step over all pieces that are text. */
struct woq_tokenizer;
int tok_steps_run(const struct woq_tokenizer *t, const struct tok_steps *steps, struct tok_work *w,
                  struct woq_error *err);

/* ------------------------------------------------------------------ BPE */
struct tok_merge { /* slot of a hash; key UINT64_MAX = free */
    uint64_t key;  /* left << 32 | right */
    uint32_t rank, id;
};
struct tok_bpe {
    struct tok_map vocab; /* token -> id */
    struct tok_merge *merge;
    size_t n_merges, n_slots;
    char *prefix, *suffix, *unk; /* NULL when empty */
    bool fuse_unk, byte_fallback, ignore_merges;
    uint32_t byte_id[256];   /* <0xHH>, or TOK_NO_ID */
    uint32_t char_id[0x800]; /* tokens of one character of one or two bytes, or TOK_NO_ID */
};
int tok_bpe_parse(struct tok_bpe *b, const struct woq_json *model, struct woq_error *err);
void tok_bpe_release(struct tok_bpe *b);
int tok_bpe_encode(const struct tok_bpe *b, struct tok_work *w, const char *text, size_t len,
                   struct woq_ids *out, struct woq_error *err);

/* ------------------------------------------------------------------ added tokens */
struct tok_added {
    char *content;
    size_t bytes;
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
};
struct tok_trie { /* edges in a hash: node << 8 | byte -> node */
    uint64_t *key;
    uint32_t *to;
    size_t n_slots, n_edges;
    uint32_t *token; /* per node: index into added + 1, 0 = none */
    size_t n_nodes, cap_nodes;
    bool first[256]; /* can a token begin with this byte */
};
struct tok_added_set {
    struct tok_added *a;
    size_t n;
    struct tok_map by_content; /* -> index */
    struct tok_trie raw, normalized;
};
int tok_added_parse(struct tok_added_set *set, const struct woq_json *list,
                    const struct tok_bpe *bpe, struct woq_error *err);
/* Makes the tries; contents of normalized tokens go through the normalizer. */
int tok_added_build(struct woq_tokenizer *t, struct tok_work *w, struct woq_error *err);
void tok_added_release(struct tok_added_set *set);
/* Cuts the tokens of `trie` out of all pieces that are text. */
int tok_added_split(const struct tok_added_set *set, const struct tok_trie *trie,
                    struct tok_work *w, struct woq_error *err);

/* ------------------------------------------------------------------ the whole */
struct tok_cell; /* one struct tok_work to be taken and given back, without a lock */
struct woq_tokenizer {
    struct tok_bpe bpe;
    struct tok_added_set added;
    struct tok_steps normalizer, pre, decoder;
    bool has_decoder, clean_up;
    struct woq_regex *gpt2;
    struct woq_ids prefix, suffix; /* of the template */
    uint32_t *token_of;            /* id -> index of vocab entry + 1, 0 = none */
    uint32_t *added_of;            /* id -> index of added token + 1, 0 = none */
    size_t n_ids;
    long bos, eos;
    uint16_t byte_cp[256]; /* the alphabet of ByteLevel */
    int16_t cp_byte[0x144];
    struct tok_cell *cell;
};
/* Text of an id, or NULL. */
const char *tok_token(const struct woq_tokenizer *t, uint32_t id, size_t *bytes);

#endif
