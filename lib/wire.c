/* wire.c -- the 64-byte frame header and the hashes. The only file that knows xxHash. */
#include "wire_internal.h"

#include <woq/packages.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

const uint8_t woq_start_code[8] = { 0x89, 'W', 'O', 'Q', 0x0d, 0x0a, 0x1a, 0x0a };
static const char zeros[WOQ_GRID];

uint64_t woq_hash64(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

uint64_t woq_xxh64(const void *data, size_t bytes)
{
    return XXH64(data, bytes, 0);
}

struct woq_hasher *woq_hasher_new(struct woq_error *err)
{
    XXH3_state_t *state = XXH3_createState();

    if (!state)
        woq_fail_nomem(err, 576);
    return (struct woq_hasher *)(void *)state;
}

static XXH3_state_t *state_of(const struct woq_hasher *h)
{
    return (XXH3_state_t *)(uintptr_t)h;
}

void woq_hasher_reset(struct woq_hasher *h)
{
    XXH3_64bits_reset(state_of(h));
}

void woq_hasher_add(struct woq_hasher *h, const void *data, size_t bytes)
{
    if (bytes)
        XXH3_64bits_update(state_of(h), data, bytes);
}

void woq_hasher_pad(struct woq_hasher *h, uint64_t bytes)
{
    woq_hasher_add(h, zeros, (size_t)(woq_align(bytes, WOQ_GRID) - bytes));
}

uint64_t woq_hasher_end(const struct woq_hasher *h)
{
    return XXH3_64bits_digest(state_of(h));
}

void woq_hasher_free(struct woq_hasher *h)
{
    if (h)
        XXH3_freeState(state_of(h));
}

uint64_t woq_fold(uint64_t fold, uint64_t header_hash)
{
    const uint64_t pair[2] = { fold, header_hash };

    return XXH3_64bits(pair, sizeof pair);
}

static void put64(uint8_t *p, uint64_t x, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(x >> (8 * i));
}

static uint64_t get64(const uint8_t *p, unsigned bytes)
{
    uint64_t x = 0;

    for (unsigned i = 0; i < bytes; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

void woq_header_encode(void *bytes64, struct woq_header *h)
{
    uint8_t *b = bytes64;

    memset(b, 0, WOQ_HEADER_BYTES);
    memcpy(b, woq_start_code, sizeof woq_start_code);
    memcpy(b + 8, h->type, 4);
    b[12] = 1;
    b[13] = h->flags;
    put64(b + 16, h->seq, 8);
    put64(b + 24, h->meta_bytes, 4);
    put64(b + 32, h->payload_bytes, 8);
    put64(b + 40, h->body_hash, 8);
    h->header_hash = woq_hash64(b, 56);
    put64(b + 56, h->header_hash, 8);
}

/* The first bytes of what is no stream, readable: a login script that talks, a wrong file. */
static int not_a_stream(const uint8_t *b, struct woq_error *err)
{
    char text[41];
    size_t n = 0;

    while (n < 40 && b[n] && b[n] != '\n' && b[n] != '\r') {
        text[n] = isprint(b[n]) ? (char)b[n] : '.';
        n++;
    }
    text[n] = 0;
    return woq_fail(err, WOQ_EDATA,
                    "make sure that only a stream is written there: a login script that prints, or "
                    "a checkpoint that needs woq-extract first?",
                    "no frame here: found '%s', want the start code 89 'WOQ'", text);
}

int woq_header_decode(struct woq_header *h, const void *bytes64, struct woq_error *err)
{
    const uint8_t *b = bytes64;

    if (memcmp(b, woq_start_code, sizeof woq_start_code) != 0)
        return not_a_stream(b, err);
    h->header_hash = get64(b + 56, 8);
    if (h->header_hash != woq_hash64(b, 56))
        return woq_fail(err, WOQ_EDATA, "check the file or link with woq-fsck",
                        "header is corrupt: its hash is %016llx, want %016llx",
                        (unsigned long long)woq_hash64(b, 56), (unsigned long long)h->header_hash);
    h->version = b[12];
    if (h->version != 1)
        return woq_fail(err, WOQ_EDATA, "upgrade woq",
                        "header version %u, this program knows version 1", h->version);
    h->flags = b[13];
    if ((h->flags & ~WOQ_FRAME_OF) || get64(b + 14, 2) || get64(b + 28, 4))
        return woq_fail(err, WOQ_EDATA, "upgrade woq", "reserved header bits are set");
    memcpy(h->type, b + 8, 4);
    h->type[4] = 0;
    for (int i = 0; i < 4; i++)
        if (!isalnum((unsigned char)h->type[i]) && h->type[i] != '_')
            return woq_fail(err, WOQ_EDATA, NULL, "frame type is not four letters");
    h->seq = get64(b + 16, 8);
    h->meta_bytes = get64(b + 24, 4);
    h->payload_bytes = get64(b + 32, 8);
    h->body_hash = get64(b + 40, 8);
    if (h->meta_bytes > WOQ_MAX_META)
        return woq_fail(err, WOQ_EDATA, NULL, "meta of %llu bytes, the limit is %u",
                        (unsigned long long)h->meta_bytes, WOQ_MAX_META);
    if (h->payload_bytes > UINT64_MAX / 4)
        return woq_fail(err, WOQ_EDATA, NULL, "payload of %llu bytes is impossible",
                        (unsigned long long)h->payload_bytes);
    return WOQ_OK;
}

bool woq_type_is_known(const char *type)
{
    static const char *const known[] = { "HEAD", "MODL", "TENS", "QTEN", "BLKB",
                                         "BLKE", "LOOP", "TOKN", "FAIL", "TAIL" };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(type, known[i]) == 0)
            return true;
    return false;
}

const char *woq_version_xxhash(void)
{
    static const unsigned v = XXH_VERSION_NUMBER;
    static char text[32];

    snprintf(text, sizeof text, "%u.%u.%u", v / 10000, v / 100 % 100, v % 100);
    return text;
}
