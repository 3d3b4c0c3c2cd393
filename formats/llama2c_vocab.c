/* llama2c_vocab.c -- llama2.c's tokenizer.bin as a SentencePiece model (formats.md 7.3): the length
 * of the longest piece, then for each piece its score, length and text, with spaces for U+2581. The
 * places of the special pieces are run.c's: unknown, BOS, EOS, and 256 bytes. */
#include "llama2c_vocab.h"

#include <woq/spm.h>

#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81" /* U+2581 */
#define FIRST_BYTE 3
#define N_SPECIAL (FIRST_BYTE + 256)

static uint32_t u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;

    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

bool woq_llama2c_is_vocab(const char *data, size_t bytes)
{
    return bytes > 17 && u32(data + 8) == 5 && !memcmp(data + 12, "<unk>", 5);
}

static enum woq_spm_type type_of(size_t id)
{
    return id == 0           ? WOQ_SPM_UNKNOWN
           : id < FIRST_BYTE ? WOQ_SPM_CONTROL
           : id < N_SPECIAL  ? WOQ_SPM_BYTE
                             : WOQ_SPM_NORMAL;
}

/* The text of piece `id` as SentencePiece has it. */
static int add_text(struct woq_str *texts, size_t id, const char *p, size_t len)
{
    int rc = WOQ_OK;

    if (id == 1 || id == 2)
        return woq_str_add(texts, id == 1 ? "<s>" : "</s>", id == 1 ? 3 : 4);
    for (size_t i = 0; rc == WOQ_OK && i < len; i++)
        rc = p[i] == ' ' ? woq_str_add(texts, MARK, 3) : woq_str_add(texts, p + i, 1);
    return rc;
}

struct piece {
    size_t end;
    float score;
};

static int read_pieces(struct piece **list, size_t *n, struct woq_str *texts, const char *data,
                       size_t bytes, struct woq_error *err)
{
    size_t cap = 0;

    for (size_t at = 4, len; at < bytes; at += 8 + len) {
        uint32_t bits;

        if (bytes - at < 8 || (len = u32(data + at + 4)) > bytes - at - 8)
            return woq_fail(err, WOQ_EDATA, NULL, "tokenizer.bin: cut in piece %zu", *n);
        if (*n == cap) {
            struct piece *grown = realloc(*list, (cap = cap ? 2 * cap : 1024) * sizeof(*grown));

            if (!grown)
                return woq_fail_nomem(err, cap * sizeof(*grown));
            *list = grown;
        }
        bits = u32(data + at);
        memcpy(&(*list)[*n].score, &bits, sizeof(bits));
        if (add_text(texts, *n, data + at + 8, len) < 0)
            return woq_fail_nomem(err, texts->len);
        (*list)[(*n)++].end = texts->len;
    }
    return WOQ_OK;
}

int woq_llama2c_vocab(struct woq_str *model, const char *data, size_t bytes, struct woq_error *err)
{
    struct woq_str texts = { 0 };
    struct piece *list = NULL;
    struct woq_spm m;
    size_t n = 0;
    int rc = read_pieces(&list, &n, &texts, data, bytes, err);

    woq_spm_init(&m);
    m.model = WOQ_SPM_BPE;
    m.byte_fallback = true;
    m.remove_extra = false;
    if (rc == WOQ_OK && n < N_SPECIAL)
        rc = woq_fail(err, WOQ_EDATA, NULL, "tokenizer.bin: %zu pieces, want %d or more", n,
                      N_SPECIAL);
    for (size_t i = 0; rc == WOQ_OK && i < n; i++) {
        const size_t begin = i ? list[i - 1].end : 0;

        if ((rc = woq_spm_add(&m, texts.s + begin, list[i].end - begin, list[i].score, type_of(i),
                              err)) < 0)
            woq_error_at(err, "tokenizer.bin");
    }
    if (rc == WOQ_OK)
        rc = woq_spm_write(&m, model, err);
    woq_spm_release(&m);
    woq_str_release(&texts);
    free(list);
    return rc;
}
