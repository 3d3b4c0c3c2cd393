/* unicode.h -- UTF-8 and character properties. The only room that knows utf8proc. */
#ifndef WOQ_UNICODE_H
#define WOQ_UNICODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <woq/error.h>
#include <woq/util.h>

enum woq_form { WOQ_NFC, WOQ_NFD, WOQ_NFKC, WOQ_NFKD };

/* Byte offset of the first invalid sequence (overlong, surrogate, beyond U+10FFFF, cut), or
 * `bytes`. */
size_t woq_utf8_valid(const char *text, size_t bytes);
/* Bytes of the maximal subpart of an ill-formed sequence at the start of text (Unicode 3.9): what
 * one U+FFFD stands for. bytes > 0. */
size_t woq_utf8_bad_bytes(const char *text, size_t bytes);

/* Bytes of a character by its first byte. Text must be valid. */
static inline size_t woq_utf8_bytes(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}
/* Code point at the start of valid text; *bytes receives its length. */
uint32_t woq_utf8_get(const char *text, size_t *bytes);
/* Encodes into out[4], returns the length. cp <= 0x10ffff. */
size_t woq_utf8_put(char *out, uint32_t cp);

/* Appends the normal form of valid text. */
int woq_utf8_normalize(struct woq_str *out, const char *text, size_t bytes, enum woq_form form,
                       struct woq_error *err);
/* Appends the lower case, character by character (no final sigma), U+0130 as "i" U+0307. */
int woq_utf8_lower(struct woq_str *out, const char *text, size_t bytes, struct woq_error *err);
/* The upper case that is one character, else the character. */
uint32_t woq_cp_upper(uint32_t cp);

/* Bytes of the (extended) grapheme cluster at the start of valid text; bytes > 0. */
size_t woq_grapheme_bytes(const char *text, size_t bytes);

/* Two letters, "Lu"; "Cn" for what is not assigned. */
const char *woq_cp_category(uint32_t cp);
bool woq_cp_is_space(uint32_t cp);   /* White_Space */
bool woq_cp_is_numeric(uint32_t cp); /* Nd Nl No */
bool woq_cp_is_punct(uint32_t cp);   /* P*, and all ASCII punctuation ($ + < = > ^ ` | ~ too) */
bool woq_cp_is_mark(uint32_t cp);    /* M* */
bool woq_cp_is_word(uint32_t cp);    /* \w: Alphabetic, M*, Nd, Pc, Join_Control */

#endif
