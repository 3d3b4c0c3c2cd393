/* gptq_pack.c -- see the header. Eight codes at a time are squeezed out of a 64-bit register by
 * three shift-and-mask steps; a tile of 16 outputs makes every store of the transposed words a full
 * cache line. Plain integer C: the compiler's code is faster than memory already. */
#include <formats/gptq_pack.h>

#include <string.h>
#include <woq/threads.h>

enum { TILE = 16, ITEM = 128, BLOCK = 512 }; /* outputs, outputs, inputs */

struct masks {
    unsigned s1, s2, s3;     /* how far the upper value of a pair, of a pair of pairs ... moves */
    uint64_t m0, m1, m2, m3; /* fields of `bits` per byte, 2 bits per 16, 4 bits per 32, 8 bits */
};

static struct masks masks_for(int bits)
{
    const unsigned b = (unsigned)bits;
    struct masks m = { 8 - b, 2 * (8 - b), 4 * (8 - b), 0, 0, 0, 0 };

    for (unsigned i = 0; i < 64; i++) {
        const uint64_t one = (uint64_t)1 << i;
        m.m0 |= i % 8 < b ? one : 0;
        m.m1 |= i % 16 < 2 * b ? one : 0;
        m.m2 |= i % 32 < 4 * b ? one : 0;
        m.m3 |= i < 8 * b ? one : 0;
    }
    return m;
}

static inline uint64_t squeeze(uint64_t x, const struct masks *m)
{
    x = (x | x >> m->s1) & m->m1;
    x = (x | x >> m->s2) & m->m2;
    return (x | x >> m->s3) & m->m3;
}

static inline uint64_t spread(uint64_t x, const struct masks *m)
{
    x &= m->m3;
    x = (x | x << m->s3) & m->m2;
    x = (x | x << m->s2) & m->m1;
    return (x | x << m->s1) & m->m0;
}

static inline uint64_t load8(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* 32 codes become `bits` words. */
static inline void pack32(uint32_t *w, size_t step, const uint8_t *codes, int bits,
                          const struct masks *m)
{
    if (bits == 4) {
        for (int k = 0; k < 4; k++)
            w[(size_t)k * step] = (uint32_t)squeeze(load8(codes + 8 * k), m);
    } else if (bits == 8) {
        for (int k = 0; k < 8; k++)
            memcpy(&w[(size_t)k * step], codes + 4 * k, 4);
    } else if (bits == 2) {
        for (int k = 0; k < 2; k++)
            w[(size_t)k * step] = (uint32_t)(squeeze(load8(codes + 16 * k), m) |
                                             squeeze(load8(codes + 16 * k + 8), m) << 16);
    } else {
        const uint64_t a = squeeze(load8(codes), m) | squeeze(load8(codes + 8), m) << 24;
        const uint64_t b = squeeze(load8(codes + 16), m) | squeeze(load8(codes + 24), m) << 24;
        w[0] = (uint32_t)a;
        w[step] = (uint32_t)(a >> 32 | b << 16);
        w[2 * step] = (uint32_t)(b >> 16);
    }
}

static inline void unpack32(uint8_t *codes, const uint32_t *w, size_t step, int bits,
                            const struct masks *m)
{
    uint64_t x;

    if (bits == 8) {
        for (int k = 0; k < 8; k++)
            memcpy(codes + 4 * k, &w[(size_t)k * step], 4);
        return;
    }
    for (int k = 0; k < 4; k++) {
        const unsigned at = (unsigned)(8 * k * bits); /* first bit of these eight codes */
        x = (uint64_t)w[at / 32 * step] >> at % 32;
        if (at % 32 + 8 * (unsigned)bits > 32)
            x |= (uint64_t)w[(at / 32 + 1) * step] << (32 - at % 32);
        x = spread(x, m);
        memcpy(codes + 8 * k, &x, 8);
    }
}

struct weight_job {
    uint32_t *words;
    uint8_t *codes;
    size_t n_out, n_in;
    int bits;
    struct masks m;
};

/* Outputs [o0, o1), inputs [i0, i1). */
static inline void pack_tile(const struct weight_job *j, size_t o0, size_t o1, size_t i0, size_t i1,
                             int bits)
{
    const struct masks m = j->m;

    for (size_t i = i0; i < i1; i += 32) {
        uint32_t *w = j->words + i / 32 * (size_t)bits * j->n_out;
        for (size_t o = o0; o < o1; o++)
            pack32(w + o, j->n_out, j->codes + o * j->n_in + i, bits, &m);
    }
}

static inline void unpack_tile(const struct weight_job *j, size_t o0, size_t o1, size_t i0,
                               size_t i1, int bits)
{
    const struct masks m = j->m;

    for (size_t i = i0; i < i1; i += 32) {
        const uint32_t *w = j->words + i / 32 * (size_t)bits * j->n_out;
        for (size_t o = o0; o < o1; o++)
            unpack32(j->codes + o * j->n_in + i, w + o, j->n_out, bits, &m);
    }
}

/* One call per width: a constant `bits` lets the compiler drop the branches of pack32. */
#define BY_BITS(fn, j, ...)                                                                        \
    ((j)->bits == 4   ? fn(j, __VA_ARGS__, 4)                                                      \
     : (j)->bits == 8 ? fn(j, __VA_ARGS__, 8)                                                      \
     : (j)->bits == 2 ? fn(j, __VA_ARGS__, 2)                                                      \
                      : fn(j, __VA_ARGS__, 3))

/* Each row of words is on another page: all tiles of an item visit a block of them before the next.
 */
static void walk(const struct weight_job *j, size_t item, bool pack)
{
    const size_t end = (item + 1) * ITEM < j->n_out ? (item + 1) * ITEM : j->n_out;

    for (size_t i = 0; i < j->n_in; i += BLOCK) {
        const size_t i1 = j->n_in - i < BLOCK ? j->n_in : i + BLOCK;
        for (size_t o = item * ITEM; o < end; o += TILE) {
            const size_t o1 = o + TILE < end ? o + TILE : end;
            if (pack)
                BY_BITS(pack_tile, j, o, o1, i, i1);
            else
                BY_BITS(unpack_tile, j, o, o1, i, i1);
        }
    }
}

static void pack_item(void *ctx, size_t item, int thread)
{
    (void)thread;
    walk(ctx, item, true);
}

static void unpack_item(void *ctx, size_t item, int thread)
{
    (void)thread;
    walk(ctx, item, false);
}

void woq_gptq_pack_weight(uint32_t *restrict qweight, const uint8_t *restrict codes, size_t n_out,
                          size_t n_in, int bits)
{
    struct weight_job j = {
        qweight, (uint8_t *)(uintptr_t)codes, n_out, n_in, bits, masks_for(bits)
    };
    woq_parallel((n_out + ITEM - 1) / ITEM, pack_item, &j);
}

void woq_gptq_unpack_weight(uint8_t *restrict codes, const uint32_t *restrict qweight, size_t n_out,
                            size_t n_in, int bits)
{
    struct weight_job j = {
        (uint32_t *)(uintptr_t)qweight, codes, n_out, n_in, bits, masks_for(bits)
    };
    woq_parallel((n_out + ITEM - 1) / ITEM, unpack_item, &j);
}

bool woq_gptq_pack_zeros(uint32_t *restrict qzeros, const float *restrict zero, size_t n_out,
                         size_t n_groups, int bits, bool v1, size_t *n_null, size_t *bad)
{
    const struct masks m = masks_for(bits);
    const int max = (1 << bits) - 1;
    const size_t row_words = n_out / 32 * (size_t)bits;
    uint8_t fields[32];

    *n_null = 0;
    for (size_t g = 0; g < n_groups; g++)
        for (size_t o = 0; o < n_out; o += 32) {
            for (size_t k = 0; k < 32; k++) {
                const size_t at = (o + k) * n_groups + g;
                const float z = zero ? zero[at] : (float)(1 << (bits - 1));
                if (!(z >= 0 && z <= (float)max) || z != (float)(int)z) {
                    *bad = at;
                    return false;
                }
                *n_null += z == 0;
                fields[k] = (uint8_t)(((int)z - v1) & max);
            }
            pack32(qzeros + g * row_words + o / 32 * (size_t)bits, 1, fields, bits, &m);
        }
    return true;
}

void woq_gptq_unpack_zeros(float *restrict zero, const uint32_t *restrict qzeros, size_t n_out,
                           size_t n_groups, int bits, bool v1)
{
    const struct masks m = masks_for(bits);
    const int max = (1 << bits) - 1;
    const size_t row_words = n_out / 32 * (size_t)bits;
    uint8_t fields[32];

    for (size_t g = 0; g < n_groups; g++)
        for (size_t o = 0; o < n_out; o += 32) {
            unpack32(fields, qzeros + g * row_words + o / 32 * (size_t)bits, 1, bits, &m);
            for (size_t k = 0; k < 32; k++)
                zero[(o + k) * n_groups + g] = (float)((fields[k] + v1) & max);
        }
}

void woq_gptq_zeros_to_v2(uint32_t *qzeros, size_t n_words, int bits)
{
    const struct masks m = masks_for(bits);
    const int max = (1 << bits) - 1;
    const size_t step = bits == 3 ? 3 : 1, n = step * 32 / (size_t)bits;

    for (size_t i = 0; i + step <= n_words; i += step) {
        uint32_t w[8] = { 0 };
        uint8_t fields[32];
        memcpy(w, qzeros + i, step * 4);
        unpack32(fields, w, 1, bits, &m);
        for (size_t k = 0; k < n; k++)
            fields[k] = (uint8_t)((fields[k] + 1) & max);
        pack32(w, 1, fields, bits, &m);
        memcpy(qzeros + i, w, step * 4);
    }
}
