/* stream.c -- fuzz target of the stream reader, the rules of woq-fsck and the salvage.
 *
 * Hashes would stop nearly every mutation at the first header, so each input is read twice: as it
 * is, and with start codes, sequence numbers and hashes made right. */
#include <woq/fsck.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static volatile unsigned sink;

/* Looks at every byte that the frame promises, so that a sanitizer sees a wrong promise. */
static void touch(const struct woq_frame *f)
{
    unsigned sum = 0;

    for (size_t i = 0; i < f->n_arrays; i++)
        for (size_t b = 0; b < f->arrays[i].bytes; b++)
            sum += ((const unsigned char *)f->arrays[i].data)[b];
    sink = sum;
}

static void read_all(const uint8_t *data, size_t bytes, bool keep_enc)
{
    const struct woq_reader_opts opts = { .max_frame_bytes = 1 << 22, .keep_enc = keep_enc };
    struct woq_error err = { 0 };
    struct woq_reader *r = NULL;
    struct woq_fsck *c = NULL;
    struct woq_frame *f;
    int rc = woq_reader_open_mem(&r, data, bytes, "fuzz", &opts, &err);

    if (rc == WOQ_OK)
        rc = woq_fsck_open(&c, &err);
    while (rc == WOQ_OK && woq_reader_next(r, &f, &err) > 0) {
        if (!keep_enc) {
            touch(f);
            (void)woq_fsck_frame(c, f, &err);
        }
    }
    woq_fsck_close(c);
    woq_reader_close(r);
}

static void save(const uint8_t *data, size_t bytes)
{
    struct woq_salvage s;
    struct woq_str text = { 0 };

    if (woq_salvage_scan(&s, data, bytes, NULL) == WOQ_OK)
        (void)woq_salvage_report(&s, &text);
    woq_str_release(&text);
    woq_salvage_release(&s);
}

static void make_right(uint8_t *data, size_t bytes)
{
    static const uint8_t start[] = { 0x89, 'W', 'O', 'Q', 0x0d, 0x0a, 0x1a, 0x0a };
    size_t at = 0, body;
    uint64_t payload, hash;
    uint32_t meta;

    for (uint64_t seq = 0; at + WOQ_HEADER_BYTES <= bytes; seq++) {
        uint8_t *h = data + at;
        memcpy(h, start, sizeof start);
        memcpy(h + 16, &seq, sizeof seq);
        memcpy(&meta, h + 24, sizeof meta);
        memcpy(&payload, h + 32, sizeof payload);
        at += WOQ_HEADER_BYTES;
        if (payload > bytes || meta > bytes)
            body = bytes + 1;
        else
            body = (size_t)(woq_align(meta, 64) + woq_align(payload, 64));
        if (body <= bytes - at) {
            hash = woq_hash64(data + at, body);
            memcpy(h + 40, &hash, sizeof hash);
        }
        hash = woq_hash64(h, 56);
        memcpy(h + 56, &hash, sizeof hash);
        if (body > bytes - at)
            return;
        at += body;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);

    read_all(data, bytes, false);
    if (!copy)
        return 0;
    if (bytes)
        memcpy(copy, data, bytes);
    make_right(copy, bytes);
    read_all(copy, bytes, false);
    read_all(copy, bytes, true);
    save(copy, bytes);
    free(copy);
    return 0;
}
