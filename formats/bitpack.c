/* bitpack.c -- see the header. Three ways, by what lies together: fields of a line one behind the
 * other are squeezed eight at a time out of a 64-bit register by shifts and masks, and a tile of 16
 * lines makes every store of interleaved words a full cache line; where the fields of a line are
 * far apart, lines lie together, and whole words of many of them are put together at once; what is
 * left (odd widths, ends of lines) goes field by field. Plain integer C: the compiler's code is
 * about as fast as memory. */
#include <formats/bitpack.h>

#include <string.h>
#include <woq/threads.h>

enum { ITEM = 128, BLOCK = 512, UNIT = 32, LINES = 64 }; /* lines, fields, fields, lines */

struct masks {
    unsigned s1, s2, s3; /* how far the upper value of a pair, of a pair of pairs ... moves */
    uint64_t m0, m1, m2; /* the lower ones: `bits` of 16, 2 * bits of 32, 4 * bits of 64 */
    uint64_t all;        /* 8 * bits */
    uint64_t bytes;      /* `bits` of each byte */
};

static struct masks masks_for(int bits)
{
    const unsigned b = (unsigned)bits;
    struct masks m = { .s1 = 8 - b, .s2 = 2 * (8 - b), .s3 = 4 * (8 - b) };

    for (unsigned i = 0; i < 64; i++) {
        const uint64_t one = (uint64_t)1 << i;
        m.m0 |= i % 16 < b ? one : 0;
        m.m1 |= i % 32 < 2 * b ? one : 0;
        m.m2 |= i < 4 * b ? one : 0;
        m.all |= i < 8 * b ? one : 0;
        m.bytes |= i % 8 < b ? one : 0;
    }
    return m;
}

static inline uint64_t squeeze(uint64_t x, const struct masks *m)
{
    x = (x & m->m0) | (x & ~m->m0) >> m->s1;
    x = (x & m->m1) | (x & ~m->m1) >> m->s2;
    return (x & m->m2) | (x & ~m->m2) >> m->s3;
}

static inline uint64_t spread(uint64_t x, const struct masks *m)
{
    x &= m->all;
    x = (x & m->m2) | (x & ~m->m2) << m->s3;
    x = (x & m->m1) | (x & ~m->m1) << m->s2;
    return (x & m->m0) | (x & ~m->m0) << m->s1;
}

/* Words that fields fill without a rest, or one plane, are dense. */
static enum woq_field_order order_of(const struct woq_bitmat *m)
{
    if (m->order == WOQ_FIELDS_WHOLE && m->word_bits == 32 && 32 % m->bits == 0)
        return WOQ_FIELDS_DENSE;
    if (m->order == WOQ_FIELDS_PLANAR && (m->bits & (m->bits - 1)) == 0)
        return WOQ_FIELDS_DENSE;
    return m->order;
}

/* Of n fields: units are whole. */
static size_t places_of(const struct woq_bitmat *m, size_t n)
{
    const size_t unit = order_of(m) == WOQ_FIELDS_PLANAR ? UNIT
                        : m->order == WOQ_FIELDS_AWQ     ? 8
                                                         : 1;

    return n / unit * unit + (n % unit ? unit : 0);
}

/* 32 fields become `bits` words. */
static inline void pack32(uint32_t *w, size_t step, const uint8_t *f, int bits,
                          const struct masks *m)
{
    uint32_t rest = 0;
    unsigned have = 0;

    for (int k = 0; k < 4; k++) {
        uint64_t x;
        unsigned left = 8 * (unsigned)bits;
        memcpy(&x, f + 8 * k, sizeof x);
        x = squeeze(x, m);
        for (; have + left >= 32; w += step) {
            *w = rest | (uint32_t)(x << have);
            x >>= 32 - have;
            left -= 32 - have;
            rest = have = 0;
        }
        rest |= (uint32_t)(x << have);
        have += left;
    }
}

static inline void unpack32(uint8_t *f, const uint32_t *w, size_t step, int bits,
                            const struct masks *m)
{
    for (int k = 0; k < 4; k++) {
        const unsigned at = (unsigned)(8 * k * bits),
                       shift = at % 32; /* first bit of these eight */
        uint64_t x = (uint64_t)w[at / 32 * step] >> shift;
        if (shift + 8 * (unsigned)bits > 32)
            x |= (uint64_t)w[(at / 32 + 1) * step] << (32 - shift);
        if (shift + 8 * (unsigned)bits > 64)
            x |= (uint64_t)w[(at / 32 + 2) * step] << (64 - shift);
        x = spread(x, m);
        memcpy(f + 8 * k, &x, 8);
    }
}

enum { PLANES = 3 }; /* of 4, 2 and 1 bits */

static inline unsigned plane_width(int plane)
{
    return 4U >> plane;
}

struct job {
    uint8_t *words;
    uint8_t *fields;
    struct woq_bitmat m;
    size_t line_step, field_step; /* of fields */
    size_t n_words;               /* of a line */
    size_t word_step, line_words; /* in words: to the next word, to the next line */
    struct masks masks, planes[PLANES];
    bool pack;
};

static inline uint32_t *word_at(const struct job *j, size_t line, size_t word)
{
    uint32_t *all = (uint32_t *)(void *)j->words;
    return all + line * j->line_words + word * j->word_step;
}

/* Lines [l0, l1), fields [f0, f1) in whole units, dense, one field behind the other. */
static inline void rows_tile(const struct job *j, size_t l0, size_t l1, size_t f0, size_t f1,
                             int bits)
{
    const struct masks m = j->masks;

    for (size_t f = f0; f < f1; f += UNIT)
        for (size_t l = l0; l < l1; l++) {
            uint32_t *w = word_at(j, l, f / UNIT * (size_t)bits);
            uint8_t *field = j->fields + l * j->line_step + f;
            if (j->pack)
                pack32(w, j->word_step, field, bits, &m);
            else
                unpack32(field, w, j->word_step, bits, &m);
        }
}

/* 32 fields and their words by planes: eight of a plane lie within a word. */
static inline void planes32(const struct job *j, uint32_t *w, uint8_t *f)
{
    for (size_t k = 0; k < 4; k++) {
        uint64_t x = 0;
        unsigned done = 0; /* bits of a field, and words */
        if (j->pack)
            memcpy(&x, f + 8 * k, sizeof x);
        for (int p = 0; p < PLANES; p++) {
            const unsigned width = plane_width(p), at = 8 * (unsigned)k * width, shift = at % 32;
            uint32_t *word = w + (done + at / 32) * j->word_step;
            if (!((unsigned)j->m.bits & width))
                continue;
            if (j->pack)
                *word = (shift ? *word : 0) |
                        (uint32_t)squeeze(x >> done & j->planes[p].bytes, &j->planes[p]) << shift;
            else
                x |= spread(*word >> shift, &j->planes[p]) << done;
            done += width;
        }
        if (!j->pack)
            memcpy(f + 8 * k, &x, sizeof x);
    }
}

static void planes_tile(const struct job *j, size_t l0, size_t l1, size_t f0, size_t f1)
{
    for (size_t f = f0; f < f1; f += UNIT)
        for (size_t l = l0; l < l1; l++)
            planes32(j, word_at(j, l, f / UNIT * (size_t)j->m.bits),
                     j->fields + l * j->line_step + f);
}

/* Which field of a word lies at each place. */
static inline size_t at_place(const struct job *j, size_t place)
{
    static const uint8_t awq[8] = { 0, 2, 4, 6, 1, 3, 5, 7 };
    return j->m.order == WOQ_FIELDS_AWQ ? awq[place] : place;
}

/* Fields [f0, f1) of whole words, whose width divides a word; neighbouring lines lie together. */
static void columns_tile(const struct job *j, size_t l0, size_t l1, size_t f0, size_t f1)
{
    const size_t bits = (size_t)j->m.bits, per = 32 / bits, n = l1 - l0;
    const uint32_t mask = ((uint32_t)1 << bits) - 1;
    uint32_t x[LINES] = { 0 };

    for (size_t word = f0 / per; word * per < f1; word++) {
        for (size_t l = 0; l < n; l++)
            x[l] = j->pack ? 0 : *word_at(j, l0 + l, word);
        for (size_t place = 0; place < per; place++) {
            const unsigned shift = (unsigned)(place * bits);
            const size_t f = word * per + at_place(j, place);
            uint8_t *field = j->fields + f * j->field_step + l0;
            if (f >= f1)
                continue;
            if (j->pack)
                for (size_t l = 0; l < n; l++)
                    x[l] |= (uint32_t)field[l] << shift;
            else
                for (size_t l = 0; l < n; l++)
                    field[l] = (uint8_t)(x[l] >> shift & mask);
        }
        for (size_t l = 0; l < n && j->pack; l++)
            *word_at(j, l0 + l, word) = x[l];
    }
}

static uint64_t load_word(const struct job *j, const uint8_t *at)
{
    uint64_t x = 0;
    memcpy(&x, at, (size_t)j->m.word_bits / 8);
    return x;
}

/* Word and first bit of place f of a line. */
static inline size_t place_of(const struct job *j, size_t f, unsigned *shift)
{
    const size_t bits = (size_t)j->m.bits, width = (size_t)j->m.word_bits, per = width / bits;

    if (j->m.order != WOQ_FIELDS_WHOLE) {
        *shift = (unsigned)(f * bits % width);
        return f * bits / width;
    }
    *shift = (unsigned)(f % per * bits);
    return f / per;
}

/* A line's places must come in their order: the first of a word starts it afresh. */
static void any_field(const struct job *j, size_t l, size_t f)
{
    const unsigned bits = (unsigned)j->m.bits, width = (unsigned)j->m.word_bits;
    unsigned shift;
    const size_t word = place_of(j, f, &shift);
    const bool crosses = shift + bits > width;
    uint8_t *at = j->words + (l * j->line_words + word * j->word_step) * (width / 8);
    uint8_t *next = at + j->word_step * (width / 8);
    const size_t of = f / 8 * 8 + at_place(j, f % 8);
    uint8_t none = 0,
            *field = of < j->m.n_fields ? j->fields + l * j->line_step + of * j->field_step : &none;
    uint64_t x = j->pack && !shift ? 0 : load_word(j, at);

    if (j->pack) {
        x |= (uint64_t)*field << shift;
        memcpy(at, &x, width / 8);
        x = (uint64_t)*field >> (width - shift) % 64;
        if (crosses)
            memcpy(next, &x, width / 8);
        return;
    }
    x >>= shift;
    if (crosses)
        x |= load_word(j, next) << (width - shift);
    *field = (uint8_t)(x & (((uint64_t)1 << bits) - 1));
}

/* The same by planes. */
static void any_planes(const struct job *j, size_t l, size_t f)
{
    uint8_t *field = j->fields + l * j->line_step + f * j->field_step;
    const uint32_t x = j->pack ? *field : 0;
    unsigned done = 0, all = 0;

    for (int p = 0; p < PLANES; p++) {
        const unsigned width = plane_width(p), at = (unsigned)(f % UNIT) * width, shift = at % 32;
        const uint32_t mask = (1U << width) - 1;
        uint32_t *word;
        if (!((unsigned)j->m.bits & width))
            continue;
        word = word_at(j, l, f / UNIT * (size_t)j->m.bits + done + at / 32);
        if (j->pack)
            *word = (shift ? *word : 0) | (x >> done & mask) << shift;
        else
            all |= (*word >> shift & mask) << done;
        done += width;
    }
    if (!j->pack)
        *field = (uint8_t)all;
}

static void rows_tile_of(const struct job *j, size_t l0, size_t l1, size_t f0, size_t f1)
{
    /* A constant `bits` unrolls the loops of pack32. */
    switch (j->m.bits) {
    case 2:
        rows_tile(j, l0, l1, f0, f1, 2);
        break;
    case 3:
        rows_tile(j, l0, l1, f0, f1, 3);
        break;
    case 4:
        rows_tile(j, l0, l1, f0, f1, 4);
        break;
    case 8:
        rows_tile(j, l0, l1, f0, f1, 8);
        break;
    default:
        rows_tile(j, l0, l1, f0, f1, j->m.bits);
    }
}

static void tile(const struct job *j, size_t l0, size_t l1, size_t f0, size_t f1)
{
    size_t done = f0;

    if (j->m.order != WOQ_FIELDS_WHOLE && j->line_step == 1 && 32 % j->m.bits == 0 &&
        (j->m.order != WOQ_FIELDS_AWQ || j->m.bits == 4)) {
        columns_tile(j, l0, l1, f0, f1);
        return;
    }
    if (j->field_step == 1 && (j->m.order == WOQ_FIELDS_DENSE || j->m.order == WOQ_FIELDS_PLANAR)) {
        done = f0 + (f1 - f0) / UNIT * UNIT;
        (j->m.order == WOQ_FIELDS_DENSE ? rows_tile_of : planes_tile)(j, l0, l1, f0, done);
    }
    if (j->m.order == WOQ_FIELDS_AWQ)
        f1 = places_of(&j->m, f1);
    for (size_t l = l0; l < l1; l++)
        for (size_t f = done; f < f1; f++)
            (j->m.order == WOQ_FIELDS_PLANAR ? any_planes : any_field)(j, l, f);
}

/* Each row of words is on another page: all tiles of an item visit a block of them before the next.
 */
static void walk(void *ctx, size_t item, int thread)
{
    const struct job *j = ctx;
    const size_t n = j->m.n_lines, end = (item + 1) * ITEM < n ? (item + 1) * ITEM : n;
    const size_t lines = j->field_step == 1 ? 16 : LINES; /* a cache line of words, or of fields */

    (void)thread;
    for (size_t f = 0; f < j->m.n_fields; f += BLOCK) {
        const size_t f1 = j->m.n_fields - f < BLOCK ? j->m.n_fields : f + BLOCK;
        for (size_t l = item * ITEM; l < end; l += lines)
            tile(j, l, l + lines < end ? l + lines : end, f, f1);
    }
}

bool woq_bitmat_alike(const struct woq_bitmat *a, const struct woq_bitmat *b)
{
    return a->bits == b->bits && a->word_bits == b->word_bits && order_of(a) == order_of(b) &&
           a->words_first == b->words_first;
}

size_t woq_bitmat_words(const struct woq_bitmat *m)
{
    const size_t bits = (size_t)m->bits, per = (size_t)m->word_bits / bits;
    const size_t n = places_of(m, m->n_fields);

    if (m->order == WOQ_FIELDS_WHOLE)
        return n / per + (n % per != 0);
    return n / 32 * bits + (n % 32 * bits + 31) / 32;
}

size_t woq_bitmat_bytes(const struct woq_bitmat *m)
{
    return woq_bitmat_words(m) * m->n_lines * (size_t)m->word_bits / 8;
}

static void run(void *words, uint8_t *fields, size_t line_step, size_t field_step,
                const struct woq_bitmat *m, bool pack)
{
    struct job j = { .words = words,
                     .fields = fields,
                     .m = *m,
                     .line_step = line_step,
                     .field_step = field_step,
                     .n_words = woq_bitmat_words(m),
                     .masks = masks_for(m->bits),
                     .pack = pack };

    j.word_step = m->words_first ? m->n_lines : 1;
    j.line_words = m->words_first ? 1 : j.n_words;
    j.m.order = order_of(m);
    for (int p = 0; p < PLANES; p++)
        j.planes[p] = masks_for((int)plane_width(p));
    if (j.m.order == WOQ_FIELDS_PLANAR && pack &&
        m->n_fields % UNIT) /* words where no field begins */
        memset(words, 0, woq_bitmat_bytes(m));
    woq_parallel((m->n_lines + ITEM - 1) / ITEM, walk, &j);
}

void woq_bitmat_pack(void *restrict words, const struct woq_bitmat *m,
                     const uint8_t *restrict fields, size_t line_step, size_t field_step)
{
    run(words, (uint8_t *)(uintptr_t)fields, line_step, field_step, m, true);
}

void woq_bitmat_unpack(uint8_t *restrict fields, size_t line_step, size_t field_step,
                       const struct woq_bitmat *m, const void *restrict words)
{
    run((void *)(uintptr_t)words, fields, line_step, field_step, m, false);
}
