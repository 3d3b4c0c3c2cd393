/* spm.c -- protobuf's wire format, as much as a SentencePiece model needs: a field is a number and
 * a wire type, fields that are not known are skipped by their type. */
#include <woq/spm.h>
#include <woq/unicode.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PIECES (1u << 22)

/* ------------------------------------------------------------------ reading */
struct cursor {
    const unsigned char *p, *end;
    const unsigned char *begin;
};
enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value; /* VARINT, FIXED32 */
    struct woq_spm_text bytes;
};

static int cut(const struct cursor *c, struct woq_error *err)
{
    return woq_fail(err, WOQ_EDATA, "is it a SentencePiece model?",
                    "SentencePiece model: not valid protobuf at byte %zu",
                    (size_t)(c->p - c->begin));
}

static bool varint(struct cursor *c, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && c->p < c->end; shift += 7) {
        const unsigned char byte = *c->p++;

        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* WOQ_ITEM, WOQ_OK at the end. */
static int next_field(struct cursor *c, struct field *f, struct woq_error *err)
{
    uint64_t tag, n = 0;

    if (c->p == c->end)
        return WOQ_OK;
    if (!varint(c, &tag))
        return cut(c, err);
    *f = (struct field){ .number = tag >> 3, .wire = (enum wire)(tag & 7) };
    if (f->wire == VARINT)
        return varint(c, &f->value) ? WOQ_ITEM : cut(c, err);
    if (f->wire == FIXED64)
        n = 8;
    else if (f->wire == FIXED32)
        n = 4;
    else if (f->wire != BYTES || !varint(c, &n))
        return cut(c, err);
    if (n > (uint64_t)(c->end - c->p))
        return cut(c, err);
    f->bytes = (struct woq_spm_text){ (const char *)c->p, (size_t)n };
    for (size_t i = 0; f->wire == FIXED32 && i < 4; i++)
        f->value |= (uint64_t)c->p[i] << (8 * i);
    c->p += n;
    return WOQ_ITEM;
}

static struct cursor inside(const struct cursor *c, struct woq_spm_text t)
{
    const unsigned char *p = (const unsigned char *)t.s;

    return (struct cursor){ p, p + t.len, c->begin };
}

static int read_piece(struct woq_spm *m, struct cursor c, struct woq_error *err)
{
    struct woq_spm_piece piece = { .type = WOQ_SPM_NORMAL };
    struct field f;
    int rc;

    while ((rc = next_field(&c, &f, err)) == WOQ_ITEM) {
        const uint32_t bits = (uint32_t)f.value;

        if (f.number == 1 && f.wire == BYTES)
            piece.text = f.bytes;
        else if (f.number == 2 && f.wire == FIXED32)
            memcpy(&piece.score, &bits, sizeof(bits));
        else if (f.number == 3 && f.wire == VARINT)
            piece.type = f.value < 7 ? (enum woq_spm_type)f.value : (enum woq_spm_type)0;
    }
    if (rc < 0)
        return rc;
    return woq_spm_add(m, piece.text.s, piece.text.len, piece.score, piece.type, err);
}

/* Ids are int32 on the wire, negative ones as 64-bit two's complement. */
static long id_of(uint64_t value)
{
    return value <= INT32_MAX ? (long)value : -1;
}

static int read_trainer(struct woq_spm *m, struct cursor c, struct woq_error *err)
{
    struct field f;
    int rc;

    while ((rc = next_field(&c, &f, err)) == WOQ_ITEM) {
        if (f.number == 44 && f.wire == BYTES)
            m->unk_surface = f.bytes;
        if (f.wire != VARINT)
            continue;
        switch (f.number) {
        case 3:
            m->model = f.value < 5 ? (enum woq_spm_model)f.value : (enum woq_spm_model)0;
            break;
        case 24:
            m->space_suffix = f.value != 0;
            break;
        case 35:
            m->byte_fallback = f.value != 0;
            break;
        case 41:
            m->bos = id_of(f.value);
            break;
        case 42:
            m->eos = id_of(f.value);
            break;
        case 43:
            m->pad = id_of(f.value);
            break;
        default:
            break;
        }
    }
    return rc;
}

static int read_normalizer(struct woq_spm *m, struct cursor c, struct woq_error *err)
{
    struct field f;
    int rc;

    while ((rc = next_field(&c, &f, err)) == WOQ_ITEM) {
        if (f.number == 2 && f.wire == BYTES)
            m->charsmap = f.bytes;
        else if (f.number == 3 && f.wire == VARINT)
            m->dummy_prefix = f.value != 0;
        else if (f.number == 4 && f.wire == VARINT)
            m->remove_extra = f.value != 0;
        else if (f.number == 5 && f.wire == VARINT)
            m->escape = f.value != 0;
    }
    return rc;
}

static int read_denormalizer(struct woq_spm *m, struct cursor c, struct woq_error *err)
{
    struct field f;
    int rc;

    while ((rc = next_field(&c, &f, err)) == WOQ_ITEM)
        if (f.number == 2 && f.wire == BYTES)
            m->denormalizer = f.bytes;
    return rc;
}

/* An id that the trainer's part names counts only where its piece is a control piece. */
static long control(const struct woq_spm *m, long id)
{
    return id >= 0 && (size_t)id < m->n && m->piece[id].type == WOQ_SPM_CONTROL ? id : -1;
}

static int check(struct woq_spm *m, struct woq_error *err)
{
    size_t n_unknown = 0, n_bytes = 0;
    bool seen[256] = { false };

    for (size_t i = 0; i < m->n; i++) {
        const struct woq_spm_piece *p = &m->piece[i];
        const int byte = p->type == WOQ_SPM_BYTE ? woq_spm_byte(p->text.s, p->text.len) : -1;

        n_unknown += p->type == WOQ_SPM_UNKNOWN;
        if (p->type == WOQ_SPM_BYTE && (byte < 0 || seen[byte]))
            return woq_fail(err, WOQ_EDATA, NULL,
                            "SentencePiece model: byte piece %zu is not one of <0x00> to <0xFF>, "
                            "or a second one",
                            i);
        if (byte >= 0) {
            seen[byte] = true;
            n_bytes++;
        }
    }
    if (n_unknown != 1)
        return woq_fail(err, WOQ_EDATA, NULL, "SentencePiece model: %zu unknown pieces, want one",
                        n_unknown);
    if (n_bytes != (m->byte_fallback ? 256 : 0))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "SentencePiece model: %zu byte pieces, byte_fallback is %s", n_bytes,
                        m->byte_fallback ? "true" : "false");
    m->bos = control(m, m->bos);
    m->eos = control(m, m->eos);
    m->pad = control(m, m->pad);
    return WOQ_OK;
}

void woq_spm_init(struct woq_spm *m)
{
    *m = (struct woq_spm){ .model = WOQ_SPM_UNIGRAM,
                           .dummy_prefix = true,
                           .remove_extra = true,
                           .escape = true,
                           .unk_surface = { " \xe2\x81\x87 ", 5 },
                           .bos = 1,
                           .eos = 2,
                           .pad = -1 };
}

int woq_spm_read(struct woq_spm *m, const char *data, size_t bytes, struct woq_error *err)
{
    const unsigned char *p = (const unsigned char *)data;
    struct cursor c = { p, p + bytes, p };
    struct field f;
    int rc;

    while ((rc = next_field(&c, &f, err)) == WOQ_ITEM) {
        if (f.wire != BYTES)
            continue;
        if (f.number == 1)
            rc = read_piece(m, inside(&c, f.bytes), err);
        else if (f.number == 2)
            rc = read_trainer(m, inside(&c, f.bytes), err);
        else if (f.number == 3)
            rc = read_normalizer(m, inside(&c, f.bytes), err);
        else if (f.number == 5)
            rc = read_denormalizer(m, inside(&c, f.bytes), err);
        if (rc < 0)
            return rc;
    }
    return rc < 0 ? rc : check(m, err);
}

int woq_spm_add(struct woq_spm *m, const char *text, size_t len, float score,
                enum woq_spm_type type, struct woq_error *err)
{
    if (m->n == MAX_PIECES)
        return woq_fail(err, WOQ_EDATA, NULL, "SentencePiece model: more than %u pieces",
                        MAX_PIECES);
    if (!len || memchr(text, 0, len) || woq_utf8_valid(text, len) < len || !isfinite(score) ||
        type < WOQ_SPM_NORMAL || type > WOQ_SPM_BYTE)
        return woq_fail(err, WOQ_EDATA, NULL,
                        "SentencePiece model: piece %zu is empty, not UTF-8, without a finite "
                        "score or of an unknown type",
                        m->n);
    if (m->n == m->cap) {
        const size_t cap = m->cap ? 2 * m->cap : 1024;
        struct woq_spm_piece *grown = realloc(m->piece, cap * sizeof(*grown));

        if (!grown)
            return woq_fail_nomem(err, cap * sizeof(*grown));
        m->piece = grown;
        m->cap = cap;
    }
    m->piece[m->n++] = (struct woq_spm_piece){ { text, len }, score, type };
    return WOQ_OK;
}

void woq_spm_release(struct woq_spm *m)
{
    free(m->piece);
    *m = (struct woq_spm){ 0 };
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int woq_spm_byte(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' || hex(text[3]) < 0 ||
        hex(text[4]) < 0)
        return -1;
    return hex(text[3]) * 16 + hex(text[4]);
}

/* ------------------------------------------------------------------ writing */
static void put_varint(struct woq_str *out, uint64_t value, int *rc)
{
    do {
        const char byte = (char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));

        *rc |= woq_str_add(out, &byte, 1);
        value >>= 7;
    } while (value);
}

static void put_number(struct woq_str *out, unsigned field, uint64_t value, int *rc)
{
    put_varint(out, field << 3 | VARINT, rc);
    put_varint(out, value, rc);
}

static void put_bytes(struct woq_str *out, unsigned field, const char *s, size_t n, int *rc)
{
    put_varint(out, field << 3 | BYTES, rc);
    put_varint(out, n, rc);
    *rc |= woq_str_add(out, s, n);
}

static void put_piece(struct woq_str *out, const struct woq_spm_piece *p, struct woq_str *part,
                      int *rc)
{
    unsigned char score[4];
    uint32_t bits;

    memcpy(&bits, &p->score, sizeof(bits));
    for (size_t i = 0; i < 4; i++)
        score[i] = (unsigned char)(bits >> (8 * i));
    part->len = 0;
    put_bytes(part, 1, p->text.s, p->text.len, rc);
    put_varint(part, 2 << 3 | FIXED32, rc);
    *rc |= woq_str_add(part, score, 4);
    if (p->type != WOQ_SPM_NORMAL)
        put_number(part, 3, p->type, rc);
    put_bytes(out, 1, part->s, part->len, rc);
}

static uint64_t id_to_wire(long id)
{
    return (uint64_t)(int64_t)id;
}

int woq_spm_write(const struct woq_spm *m, struct woq_str *out, struct woq_error *err)
{
    struct woq_str part = { 0 };
    const char *name = m->charsmap.len ? "user_defined" : "identity";
    int rc = WOQ_OK;

    for (size_t i = 0; i < m->n; i++)
        put_piece(out, &m->piece[i], &part, &rc);
    part.len = 0;
    put_number(&part, 3, m->model, &rc);
    put_number(&part, 4, m->n, &rc);
    put_number(&part, 24, m->space_suffix, &rc);
    put_number(&part, 35, m->byte_fallback, &rc);
    for (size_t i = 0; i < m->n; i++)
        if (m->piece[i].type == WOQ_SPM_UNKNOWN)
            put_number(&part, 40, i, &rc);
    put_number(&part, 41, id_to_wire(m->bos), &rc);
    put_number(&part, 42, id_to_wire(m->eos), &rc);
    put_number(&part, 43, id_to_wire(m->pad), &rc);
    put_bytes(&part, 44, m->unk_surface.s, m->unk_surface.len, &rc);
    put_bytes(out, 2, part.s, part.len, &rc);
    part.len = 0;
    put_bytes(&part, 1, name, strlen(name), &rc);
    put_bytes(&part, 2, m->charsmap.s ? m->charsmap.s : "", m->charsmap.len, &rc);
    put_number(&part, 3, m->dummy_prefix, &rc);
    put_number(&part, 4, m->remove_extra, &rc);
    put_number(&part, 5, m->escape, &rc);
    put_bytes(out, 3, part.s, part.len, &rc);
    woq_str_release(&part);
    return rc ? woq_fail_nomem(err, out->len) : WOQ_OK;
}
