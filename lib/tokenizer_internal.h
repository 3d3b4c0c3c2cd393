/* tokenizer_internal.h -- what the rooms of the tokenizer share.
 *
 *   tokenizer.c         open, close, encode
 *   tokenizer_post.c    what is put around a text: templates, tokenizer_config.json
 *   tokenizer_map.c     hash of byte strings (vocabulary, added tokens, cache of words)
 *   tokenizer_trie.c    the same by prefix
 *   tokenizer_vocab.c   tokens and their ids
 *   tokenizer_word.c    one piece of text to ids: the cache, and the model behind it
 *   tokenizer_bpe.c     merges
 *   tokenizer_unigram.c the likeliest segmentation
 *   tokenizer_pairs.c   merges from pieces with ranks
 *   tokenizer_spm.c     SentencePiece models: loading, normalizer, BPE
 *   tokenizer_spm_decode.c  and decoding
 *   tokenizer_tiktoken.c  tiktoken files
 *   tokenizer_config.c  classes of tokenizer_config.json
 *   tokenizer_charsmap.c replacements compiled by SentencePiece
 *   tokenizer_added.c   added tokens: cutting them out of a text
 *   tokenizer_split.c   patterns and what becomes of their matches
 *   tokenizer_steps.c   normalizers and pre-tokenizers read
 *   tokenizer_run.c     the same at work
 *   tokenizer_decode.c  ids to text
 *
 * A text is a list of pieces over one buffer. A step that only cuts makes a new list over the same
 * buffer; a step that changes characters writes the other buffer and moves the pieces. */
#ifndef WOQ_TOKENIZER_INTERNAL_H
#define WOQ_TOKENIZER_INTERNAL_H
#include <woq/regex.h>
#include <woq/spm.h>
#include <woq/tokenizer.h>
#include <woq/unicode.h>

struct woq_tokenizer;

#define TOK_MAX_ID                                                                                 \
    (1u << 22) /* ids of hostile files are bounded; the largest real one is 2.6e5                  \
                */
#define TOK_MAX_STEPS 64
#define TOK_MAX_ADDED_BYTES 4096
#define TOK_NO_ID UINT32_MAX
#define TOK_MARK "\xe2\x96\x81" /* U+2581, what stands for a space */
#define TOK_MARK_BYTES 3u

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
    struct woq_ids spare;
    struct tok_halves { /* SentencePiece: what an unused piece was last queued from, per id */
        uint32_t left, right;
    } * split;
    size_t cap_split;
    bool skip_special;     /* decoding */
    struct tok_best *best; /* Unigram: the best path to each byte */
    size_t cap_best;
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
struct tok_pattern { /* exactly one of the four */
    struct woq_regex *re;
    char *literal;
    size_t literal_bytes;
    bool (*is)(uint32_t cp);
    size_t every; /* so many characters */
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

/* ------------------------------------------------------------------ charsmap */
struct tok_charsmap { /* a double array of prefixes, and the texts that replace them */
    uint32_t *unit;
    size_t n_units;
    char *text; /* strings that end in NUL */
    size_t text_bytes;
};
/* Bytes of a precompiled_charsmap. */
int tok_charsmap_open(struct tok_charsmap *c, const char *blob, size_t bytes,
                      struct woq_error *err);
void tok_charsmap_release(struct tok_charsmap *c);
/* The replacement of the longest (or the shortest) prefix of text that has one; NULL if there is
 * none. *used receives the prefix's length. */
const char *tok_charsmap_get(const struct tok_charsmap *c, const char *text, size_t len,
                             bool longest, size_t *used);
/* As tokenizers' Precompiled does: whole grapheme clusters, else characters. */
int tok_charsmap_run(const struct tok_charsmap *c, const char *text, size_t len,
                     struct woq_str *out, struct woq_error *err);

/* ------------------------------------------------------------------ steps */
enum tok_kind {
    /* normalizers */
    TOK_NORM_FORM,
    TOK_NORM_LOWER,
    TOK_NORM_NMT,
    TOK_NORM_STRIP_ACCENTS,
    TOK_NORM_BYTELEVEL,
    TOK_NORM_CHARSMAP,
    TOK_NORM_SPM,
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
    TOK_DEC_METASPACE,
    TOK_DEC_BPE,
    TOK_DEC_SPM
};
enum tok_prepend { TOK_PREPEND_NEVER, TOK_PREPEND_FIRST, TOK_PREPEND_ALWAYS };

struct tok_step {
    enum tok_kind kind;
    enum woq_form form;
    struct tok_pattern pattern; /* Replace, Split */
    struct tok_charsmap charsmap;
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
int tok_steps_run(const struct woq_tokenizer *t, const struct tok_steps *steps, struct tok_work *w,
                  struct woq_error *err);

/* ------------------------------------------------------------------ vocabulary */
struct tok_vocab {
    struct tok_map map;      /* token -> id */
    uint32_t byte_id[256];   /* <0xHH>, or TOK_NO_ID */
    uint32_t char_id[0x800]; /* tokens of one character of one or two bytes, or TOK_NO_ID */
};
int tok_vocab_add(struct tok_vocab *v, const char *token, size_t len, uint64_t id,
                  struct woq_error *err);
/* Fills byte_id and char_id when all tokens are there. */
void tok_vocab_index(struct tok_vocab *v);
/* Id of one character of n bytes, or TOK_NO_ID. */
uint32_t tok_vocab_char(const struct tok_vocab *v, const char *text, size_t n);
/* Are all these bytes tokens <0xHH>? */
bool tok_vocab_has_bytes(const struct tok_vocab *v, const char *text, size_t n);
int tok_vocab_push_bytes(const struct tok_vocab *v, const char *text, size_t n, struct woq_ids *out,
                         struct woq_error *err);
/* Can no token reach over the place in front of U+2581 behind another character? */
bool tok_vocab_cuts_at_marks(const struct tok_vocab *v);

/* ------------------------------------------------------------------ trie */
struct tok_trie { /* edges in a hash: node << 8 | byte -> node */
    uint64_t *key;
    uint32_t *to;
    size_t n_slots, n_edges;
    uint32_t *token; /* per node: index of what ends here + 1, 0 = none */
    size_t n_nodes, cap_nodes;
    bool first[256]; /* can an entry begin with this byte */
};
/* Of equal entries the first counts. */
int tok_trie_add(struct tok_trie *t, const char *text, size_t len, uint32_t index,
                 struct woq_error *err);
/* One byte further; false where nothing goes on. Begin at node 0. */
bool tok_trie_step(const struct tok_trie *t, uint32_t *node, unsigned char byte);
/* Index of the longest entry at the start of text, *len its length; -1 if there is none. */
long tok_trie_longest(const struct tok_trie *t, const char *text, size_t n, size_t *len);
void tok_trie_release(struct tok_trie *t);

/* ------------------------------------------------------------------ BPE */
struct tok_merge { /* slot of a hash; key UINT64_MAX = free */
    uint64_t key;  /* left << 32 | right */
    uint32_t rank, id;
};
struct tok_bpe {
    const struct tok_vocab *vocab;
    struct tok_merge *merge;
    size_t n_slots;
    char *prefix, *suffix, *unk; /* NULL when empty */
    bool fuse_unk, byte_fallback, ignore_merges;
    bool *unused; /* per id: merged, but to fall apart again; NULL: none */
};
/* Fills the vocabulary too. */
int tok_bpe_parse(struct tok_bpe *b, struct tok_vocab *vocab, const struct woq_json *model,
                  struct woq_error *err);
/* Room for `n` merges; then each, the last of equal ones counts. */
int tok_bpe_reserve(struct tok_bpe *b, size_t n, struct woq_error *err);
void tok_bpe_add(struct tok_bpe *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t id);
/* Merges of any two neighbours whose concatenation is in the vocabulary: rank[id], lowest first,
 * or TOK_NO_ID for tokens that are not merged. A character that is no token takes part as
 * `unknown` | its code point. */
int tok_bpe_from_pieces(struct tok_bpe *b, const uint32_t *rank, uint32_t unknown,
                        struct woq_error *err);
void tok_bpe_release(struct tok_bpe *b);
/* One word to w->symbols. */
int tok_bpe_encode(const struct tok_bpe *b, struct tok_work *w, const char *text, size_t len,
                   struct woq_error *err);
/* Merges w->symbols in place. */
int tok_bpe_merge(const struct tok_bpe *b, struct tok_work *w, struct woq_error *err);

/* ------------------------------------------------------------------ Unigram */
struct tok_unigram {
    const struct tok_vocab *vocab;
    struct tok_trie trie; /* -> id */
    double *score;        /* per id */
    double unk_score;
    long unk; /* -1: none */
    bool byte_fallback;
    const uint8_t *type; /* SentencePiece's (enum woq_spm_type), whose sums are floats; or NULL */
};
int tok_unigram_parse(struct tok_unigram *u, struct tok_vocab *vocab, const struct woq_json *model,
                      struct woq_error *err);
void tok_unigram_release(struct tok_unigram *u);
/* One word to w->symbols. */
int tok_unigram_encode(const struct tok_unigram *u, struct tok_work *w, const char *text,
                       size_t len, struct woq_error *err);

/* ------------------------------------------------------------------ SentencePiece */
struct tok_spm {
    bool on;
    bool byte_fallback, space_suffix, dummy_prefix, remove_extra, escape;
    bool only_first; /* no dummy prefix behind an added token */
    struct tok_charsmap charsmap;
    struct tok_trie user; /* user-defined pieces -> id */
    struct woq_str unk_surface;
    uint8_t *type; /* [n] enum woq_spm_type */
    size_t n;
    uint32_t unk;
};
/* Fills vocabulary, model and steps of *t. */
int tok_spm_load(struct woq_tokenizer *t, const char *data, size_t bytes, struct woq_error *err);
void tok_spm_release(struct tok_spm *s);
int tok_spm_normalize(const struct tok_spm *s, const char *text, size_t len, bool first,
                      struct woq_str *out, struct woq_error *err);
/* One word to w->symbols. */
int tok_spm_encode(const struct woq_tokenizer *t, struct tok_work *w, const char *text, size_t len,
                   struct woq_error *err);
/* Appends the text of w->pieces. */
int tok_spm_decode(const struct woq_tokenizer *t, struct tok_work *w, struct woq_str *out,
                   struct woq_error *err);

/* ------------------------------------------------------------------ classes */
#define TOK_CLASS_SPECIAL 6
struct tok_class {
    const char *name;
    bool bos, eos;                          /* added unless tokenizer_config.json says otherwise */
    bool rebuilds;                          /* ... even where tokenizer.json has a template */
    const char *prefix[2];                  /* tokens before each text */
    const char *special[TOK_CLASS_SPECIAL]; /* tokens behind the vocabulary, */
    unsigned n_extra;                       /* and so many <|extra_N|> behind them */
    const char *normalizer, *pre;           /* of tiktoken files: JSON as in tokenizer.json */
};
/* By "tokenizer_class"; NULL if it is absent or not known. */
const struct tok_class *tok_class_find(const struct woq_json *config);
/* Added tokens of a vocabulary that has none itself. */
int tok_class_added(struct woq_tokenizer *t, const struct tok_class *c, size_t n_ids,
                    const struct woq_json *config, struct woq_error *err);
int tok_class_around(struct woq_tokenizer *t, const struct tok_class *c,
                     const struct woq_json *config, struct woq_error *err);

/* ------------------------------------------------------------------ tiktoken */
/* Does it begin with a line of such a file? */
bool tok_is_tiktoken(const char *data, size_t bytes);
int tok_tiktoken_load(struct woq_tokenizer *t, const char *data, size_t bytes,
                      const struct tok_class *c, struct woq_error *err);

/* ------------------------------------------------------------------ one piece */
/* Appends the ids of a piece of text. */
int tok_word_encode(const struct woq_tokenizer *t, struct tok_work *w, const char *text, size_t len,
                    struct woq_ids *out, struct woq_error *err);

/* ------------------------------------------------------------------ added tokens */
struct tok_added {
    char *content;
    size_t bytes;
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
};
struct tok_added_set {
    struct tok_added *a;
    size_t n;
    struct tok_map by_content; /* -> index */
    struct tok_trie raw, normalized;
};
int tok_added_parse(struct tok_added_set *set, const struct woq_json *list,
                    const struct tok_map *vocab, struct woq_error *err);
/* Makes the tries; contents of normalized tokens go through the normalizer. */
int tok_added_build(struct woq_tokenizer *t, struct tok_work *w, struct woq_error *err);
void tok_added_release(struct tok_added_set *set);
/* Cuts the tokens of `trie` out of all pieces that are text. */
int tok_added_split(const struct tok_added_set *set, const struct tok_trie *trie,
                    struct tok_work *w, struct woq_error *err);

/* ------------------------------------------------------------------ the whole */
struct tok_cell; /* one struct tok_work to be taken and given back, without a lock */
enum tok_model { TOK_BPE, TOK_SPM_BPE, TOK_UNIGRAM };
struct woq_tokenizer {
    enum tok_model model;
    struct tok_vocab vocab;
    struct tok_bpe bpe;         /* TOK_BPE, TOK_SPM_BPE */
    struct tok_unigram unigram; /* TOK_UNIGRAM */
    struct tok_spm spm;
    bool cut_at_marks; /* a text may be cut in front of U+2581 behind something else */
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
int tok_post_parse(struct woq_tokenizer *t, const struct woq_json *v, struct woq_error *err);
/* BOS, EOS and clean-up as tokenizer_config.json says, `c` being its class or NULL. */
void tok_config_tokens(struct woq_tokenizer *t, const struct woq_json *config);
int tok_config_template(struct woq_tokenizer *t, const struct tok_class *c,
                        const struct woq_json *config, struct woq_error *err);
/* Text of an id, or NULL. */
const char *tok_token(const struct woq_tokenizer *t, uint32_t id, size_t *bytes);

#endif
