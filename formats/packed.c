/* packed.c -- the table of layouts. */
#include <formats/packed.h>

#include <stdio.h>

#define WIDTH(b) (1u << (b))
#define GPTQ_ROW                                                                                   \
    .name = "GPTQ", .suffix = { "qweight", "scales", "qzeros", "g_idx" },                          \
    .codes = { false, true }, .zeros = { true, false }, .order = WOQ_FIELDS_DENSE,                 \
    .always_zeros = true, .widths = WIDTH(2) | WIDTH(3) | WIDTH(4) | WIDTH(8), .multiple_in = 32,  \
    .multiple_out = 32

const struct woq_packed_layout woq_layout_gptq_v1 = { GPTQ_ROW, .minus_one = true };
const struct woq_packed_layout woq_layout_gptq_v2 = { GPTQ_ROW };
const struct woq_packed_layout woq_layout_awq = { .name = "AWQ",
                                                  .suffix = { "qweight", "scales", "qzeros" },
                                                  .codes = { true, false },
                                                  .zeros = { true, false },
                                                  .order = WOQ_FIELDS_AWQ,
                                                  .always_zeros = true,
                                                  .widths = WIDTH(4),
                                                  .multiple_in = 1,
                                                  .multiple_out = 8,
                                                  .whole_groups = true };

const char *woq_packed_widths(const struct woq_packed_layout *l, char buf[32])
{
    unsigned left = l->widths;
    size_t n = 0;

    buf[0] = 0;
    for (int b = 1; b <= 8 && n < 32; b++) {
        if (!(left >> b & 1))
            continue;
        left &= ~WIDTH(b);
        n += (size_t)snprintf(buf + n, 32 - n, "%s%d", n == 0 ? "" : left ? ", " : " and ", b);
    }
    return buf;
}

struct woq_packed_matrix woq_packed_matrix(struct woq_packed_place place,
                                           enum woq_field_order order, int bits, size_t n_out,
                                           size_t n_other)
{
    const bool out = place.along_out;
    struct woq_packed_matrix p = { .m = { .order = order,
                                          .bits = bits,
                                          .word_bits = 32,
                                          .n_lines = out ? n_other : n_out,
                                          .n_fields = out ? n_out : n_other,
                                          .words_first = place.words_first } };
    const uint64_t words = woq_bitmat_words(&p.m);

    p.line_step = out ? 1 : n_other;
    p.field_step = out ? n_other : 1;
    p.shape[0] = place.words_first ? words : p.m.n_lines;
    p.shape[1] = place.words_first ? p.m.n_lines : words;
    return p;
}

uint64_t woq_packed_bytes(const struct woq_packed_layout *l, int bits, size_t n_out, size_t n_in,
                          size_t n_groups, size_t scale_bytes)
{
    const struct woq_packed_matrix codes = woq_packed_matrix(l->codes, l->order, bits, n_out, n_in);
    const struct woq_packed_matrix zeros =
        woq_packed_matrix(l->zeros, l->order, bits, n_out, n_groups);
    uint64_t bytes = woq_bitmat_bytes(&codes.m) + n_out * n_groups * scale_bytes;

    if (l->always_zeros)
        bytes += woq_bitmat_bytes(&zeros.m);
    if (l->suffix[WOQ_PART_G_IDX])
        bytes += 4 * n_in;
    return bytes;
}
