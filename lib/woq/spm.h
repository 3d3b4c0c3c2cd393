/* spm.h -- a SentencePiece model file: its pieces and flags read from protobuf and written
 * (formats.md 6.6). What they mean for a text is the tokenizer's business. */
#ifndef WOQ_SPM_H
#define WOQ_SPM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <woq/error.h>
#include <woq/util.h>

enum woq_spm_type {
    WOQ_SPM_NORMAL = 1,
    WOQ_SPM_UNKNOWN = 2,
    WOQ_SPM_CONTROL = 3,
    WOQ_SPM_USER_DEFINED = 4,
    WOQ_SPM_UNUSED = 5,
    WOQ_SPM_BYTE = 6
};
enum woq_spm_model { WOQ_SPM_UNIGRAM = 1, WOQ_SPM_BPE = 2, WOQ_SPM_WORD = 3, WOQ_SPM_CHAR = 4 };

struct woq_spm_text { /* not ended by NUL, not owned */
    const char *s;
    size_t len;
};
struct woq_spm_piece {
    struct woq_spm_text text;
    float score;
    enum woq_spm_type type;
};
struct woq_spm {
    struct woq_spm_piece *piece; /* [n], owned; the index is the id */
    size_t n, cap;
    enum woq_spm_model model;
    bool byte_fallback, space_suffix;           /* of the trainer's part */
    bool dummy_prefix, remove_extra, escape;    /* of the normalizer's */
    struct woq_spm_text charsmap, denormalizer; /* precompiled; empty: none */
    struct woq_spm_text unk_surface;            /* what an unknown piece becomes */
    long bos, eos, pad;                         /* -1: none */
};

/* The defaults of the format, without a piece. */
void woq_spm_init(struct woq_spm *m);
/* Fills an initialized *m; texts point into data. Checks what a reader may rely on: pieces that are
 * UTF-8 and not empty, finite scores, known types, one unknown piece, all bytes or none. Release
 * it, after an error too. */
int woq_spm_read(struct woq_spm *m, const char *data, size_t bytes, struct woq_error *err);
int woq_spm_add(struct woq_spm *m, const char *text, size_t len, float score,
                enum woq_spm_type type, struct woq_error *err);
/* Appends the file. */
int woq_spm_write(const struct woq_spm *m, struct woq_str *out, struct woq_error *err);
void woq_spm_release(struct woq_spm *m);
/* Value of a piece "<0xHH>", or -1. */
int woq_spm_byte(const char *text, size_t len);

#endif
