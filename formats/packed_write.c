/* packed_write.c -- see the header.
 *
 * Formats that store zero points less one cannot hold a zero point of 0 so that all readers agree
 * (formats.md 4.a). The first one switches to the sister layout that stores them plain, and the few
 * words written before are put right at the end. So does the first of a width that only another
 * layout has. */
#include <formats/packed_write.h>

#include <formats/ggml_grid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --scale-dtype, else F16: it holds more digits than bf16, and what is bf16 fits into it unless it
 * is very small or large. Where scales must have the type of the model, that of float tensors. */
static enum woq_dtype scale_dtype(const struct woq_packed_format *format,
                                  const struct woq_sink_opts *opts)
{
    const enum woq_dtype said = woq_dtype_from_name(opts->scale_dtype ? opts->scale_dtype : "");
    const enum woq_dtype floats = woq_dtype_from_name(opts->dtype ? opts->dtype : "");

    if (said)
        return said;
    return format->model_scales && floats ? floats : WOQ_F16;
}

int woq_packed_writer_init(struct woq_packed_writer *w, const struct woq_packed_format *format,
                           const struct woq_sink_opts *opts, struct woq_error *err)
{
    memset(w, 0, sizeof *w);
    w->format = format;
    w->layout = format->layout;
    w->form = opts->checkpoint_format ? opts->checkpoint_format : "auto";
    w->scale_dtype = scale_dtype(format, opts);
    w->scale_said = woq_dtype_from_name(opts->scale_dtype ? opts->scale_dtype : "");
    if (!woq_word_in(format->forms, w->form))
        return woq_fail(err, WOQ_EUSAGE, NULL, "--checkpoint-format %s: --format %s has %s",
                        w->form, format->name, format->forms);
    if (w->scale_dtype == WOQ_F32 && !format->model_scales)
        return woq_fail(err, WOQ_EUSAGE, NULL, "--scale-dtype f32: --format %s has f16 and bf16",
                        format->name);
    if (format->choose)
        format->choose(w);
    return WOQ_OK;
}

static struct woq_packed_module *new_module(struct woq_packed_writer *w, const char *weight,
                                            long block, struct woq_error *err)
{
    const size_t n = strlen(weight), tail = strlen(".weight");
    struct woq_packed_module *m;

    if (n <= tail || strcmp(weight + n - tail, ".weight") != 0) {
        woq_fail(err, WOQ_ETYPE, NULL, "a packed linear is named 'MODULE.weight', found '%s'",
                 weight);
        return NULL;
    }
    if (w->n_modules == w->cap_modules) {
        const size_t cap = w->cap_modules ? 2 * w->cap_modules : 256;
        m = realloc(w->modules, cap * sizeof *m);
        if (!m) {
            woq_fail_nomem(err, cap * sizeof *m);
            return NULL;
        }
        w->modules = m;
        w->cap_modules = cap;
    }
    m = memset(&w->modules[w->n_modules], 0, sizeof *m);
    m->name = strndup(weight, n - tail);
    m->block = block;
    if (!m->name) {
        woq_fail_nomem(err, n);
        return NULL;
    }
    w->n_modules++;
    return m;
}

int woq_packed_keep_float(struct woq_packed_writer *w, const char *name, long block,
                          struct woq_error *err)
{
    if (w->format->one_scheme && block >= 0)
        return woq_fail(err, WOQ_ETYPE, "quantize it too, or use --format gptq",
                        "it is not quantized: %s has one scheme for all linears of the blocks",
                        w->layout->name);
    return new_module(w, name, block, err) ? WOQ_OK : err ? err->status : WOQ_ENOMEM;
}

static bool g_idx_is_trivial(const struct woq_qview *q)
{
    for (size_t c = 0; q->g_idx && c < q->n_cols; c++)
        if ((size_t)q->g_idx[c] != c / q->group_elems)
            return false;
    return true;
}

/* What the layout cannot hold, and what would do. */
static int check_form(const struct woq_packed_layout *l, const struct woq_qview *q,
                      int64_t group_size, struct woq_error *err)
{
    const char *alone = "leave it alone: woq-scheme --set 'NAME dtype=float' before the quantizer";
    char widths[32], hint[96];

    if (l->codebook && !q->lut)
        return woq_fail(err, WOQ_ETYPE, "use --checkpoint-format auto",
                        "integers have no form in %s", l->form);
    if (q->lut || (q->in_scale && !l->kind.suffix[WOQ_PART_INPUTS]) || q->group_dim != 1)
        return woq_fail(err, WOQ_ETYPE, "put 'woq-dequant' before this, or quantize without it",
                        "%s has no form in %s",
                        q->lut              ? "a codebook"
                        : q->group_dim != 1 ? "group_dim 0"
                                            : "a scale per input",
                        l->name);
    if (!woq_packed_width_ok(l, q->bits)) {
        snprintf(hint, sizeof hint, "quantize with --bits %s", woq_packed_widths(l, widths));
        return woq_fail(err, WOQ_ETYPE, hint, "%d bits: %s holds %s", q->bits, l->name, widths);
    }
    if (q->n_cols % l->multiple_in || q->n_rows % l->multiple_out)
        return woq_fail(err, WOQ_ETYPE, alone,
                        "%zu outputs and %zu inputs: %s wants multiples of %u and %u", q->n_rows,
                        q->n_cols, l->name, l->multiple_out, l->multiple_in);
    if (l->whole_groups && group_size > 0 && q->n_cols % (size_t)group_size)
        return woq_fail(err, WOQ_ETYPE, alone,
                        "%zu inputs in groups of %lld: %s wants whole groups", q->n_cols,
                        (long long)group_size, l->name);
    if (l->padded && q->group_elems < 128 && q->group_elems != 64 && q->group_elems != 32)
        return woq_fail(err, WOQ_ETYPE, "quantize with --group-size 128",
                        "groups of %zu: AWQ's gemv has 32, 64, and 128 and more", q->group_elems);
    if (l->g_idx == WOQ_G_IDX_NEVER && !g_idx_is_trivial(q))
        return woq_fail(
            err, WOQ_ETYPE,
            "quantize without --act-order or with --static-groups, or use --format gptq",
            "its groups are permuted: %s has no g_idx", l->name);
    return WOQ_OK;
}

/* What the configuration of the format could not tell. */
static int check_config(const struct woq_packed_writer *w, const char *name,
                        const struct woq_qview *q, int64_t group_size, struct woq_error *err)
{
    for (size_t i = 0; i < w->n_modules && w->format->one_scheme; i++) {
        const struct woq_packed_module *m = &w->modules[i];
        if (m->bits != q->bits || m->group_size != group_size || m->sym != !q->zero)
            return woq_fail(
                err, WOQ_ETYPE, "quantize all linears alike, or use --format gptq",
                "it is quantized otherwise than '%s': %s has one scheme for all linears "
                "of the blocks",
                m->name, w->layout->name);
    }
    for (size_t i = 0; i < w->n_modules && w->format->one_group_size; i++)
        if (w->modules[i].bits && w->modules[i].group_size != group_size)
            return woq_fail(err, WOQ_ETYPE, "use one --group-size, or another format",
                            "groups of %lld, but those of '%s' are %lld: %s has one size for all",
                            (long long)group_size, w->modules[i].name,
                            (long long)w->modules[i].group_size, w->layout->name);
    if (w->format->no_head && !strcmp(name, "lm_head.weight"))
        return woq_fail(err, WOQ_ETYPE,
                        "leave the head alone: woq-scheme --set 'lm_head* dtype=float'",
                        "%s has no quantized head", w->layout->name);
    return WOQ_OK;
}

/* [rows][groups] in the order and the type of the file. */
static int pack_scales(struct woq_packed_writer *w, const struct woq_qview *q,
                       struct woq_error *err)
{
    const size_t stored = woq_packed_stored(w->layout, q->n_cols, q->n_groups);
    const size_t n = q->n_rows * stored;
    float *x = woq_buf_need(&w->fields, n * sizeof *x, err);
    void *to = woq_buf_need(&w->scales, n * sizeof(float), err);
    bool ok = true;

    if (!x || !to)
        return WOQ_ENOMEM;
    memset(x, 0, n * sizeof *x);
    for (size_t r = 0; r < q->n_rows; r++)
        for (size_t g = 0; g < q->n_groups; g++) {
            const float scale = q->scale[r * q->n_groups + g];
            x[w->layout->scales_by_row ? r * stored + g : g * q->n_rows + r] = scale;
            ok = ok && scale - scale == 0;
        }
    if (w->scale_dtype == WOQ_F16)
        ok = woq_scales_to_f16(to, x, n);
    else
        woq_from_f32(to, w->scale_dtype, x, n);
    for (size_t r = 0; r < q->n_rows && stored != q->n_groups; r++) /* 0 is no scale elsewhere */
        memset((uint8_t *)to + 2 * (r * stored + q->n_groups), 0, 2 * (stored - q->n_groups));
    return ok ? WOQ_OK
              : woq_fail(err, WOQ_ETYPE, NULL, "a scale is not finite in %s%s",
                         w->scale_dtype == WOQ_F16 ? "F16" : woq_dtype_name(w->scale_dtype),
                         w->scale_dtype == WOQ_F16 ? " (at most 65504)" : "");
}

/* Zero points as fields, less one where the layout has them so. *n_null counts those equal to 0. */
static int zero_fields(uint8_t *fields, const struct woq_packed_layout *l,
                       const struct woq_qview *q, size_t *n_null, struct woq_error *err)
{
    const int max = (1 << q->bits) - 1;

    *n_null = 0;
    for (size_t i = 0; i < q->n_rows * q->n_groups; i++) {
        const float z = q->zero ? q->zero[i] : (float)(1 << (q->bits - 1));
        if (!(z >= 0 && z <= (float)max) || z != (float)(int)z)
            return woq_fail(err, WOQ_ETYPE,
                            "quantize without --float-zero, or let GGUF or HQQ hold it",
                            "zero point %g of row %zu, group %zu: %s holds integers in 0..%d",
                            (double)z, i / q->n_groups, i % q->n_groups, l->name, max);
        *n_null += z == 0;
        fields[i] = (uint8_t)((int)z - (l->bytes ? 1 << (q->bits - 1) : l->minus_one));
        if (!l->bytes)
            fields[i] &= (uint8_t)max;
    }
    return WOQ_OK;
}

static int pack_zeros(struct woq_packed_writer *w, const struct woq_qview *q, struct woq_error *err)
{
    const struct woq_packed_matrix m =
        woq_packed_zeros(w->layout, w->layout->order, q->bits, q->n_rows,
                         woq_packed_stored(w->layout, q->n_cols, q->n_groups));
    uint8_t *fields = woq_buf_need(&w->fields, m.m.n_lines * m.m.n_fields, err);
    void *to = woq_buf_need(&w->zeros, woq_bitmat_bytes(&m.m), err);
    size_t n_null;
    int rc;

    if (!fields || !to)
        return WOQ_ENOMEM;
    rc = zero_fields(fields, w->layout, q, &n_null, err);
    if (rc == WOQ_OK && n_null && w->layout->minus_one && !w->format->null_zeros) {
        if (!w->plain)
            return woq_fail(err, WOQ_ETYPE, w->format->plain_hint,
                            "%zu zero points are 0: readers of %s do not agree on them", n_null,
                            w->format->minus_one_name);
        w->layout = w->plain;
        rc = zero_fields(fields, w->layout, q, &n_null, err);
    }
    for (size_t r = q->n_rows; r-- > 0 && rc == WOQ_OK && w->layout->padded;) {
        memmove(fields + r * m.m.n_fields, fields + r * q->n_groups, q->n_groups);
        memset(fields + r * m.m.n_fields + q->n_groups, 0, m.m.n_fields - q->n_groups);
    }
    if (rc == WOQ_OK)
        woq_bitmat_pack(to, &m.m, fields, m.line_step, m.field_step);
    return rc;
}

static int pack_codes(struct woq_packed_writer *w, const struct woq_qview *q, struct woq_error *err)
{
    const struct woq_packed_matrix m =
        woq_packed_codes(w->layout, w->layout->order, q->bits, q->n_rows, q->n_cols);
    void *to = woq_buf_need(&w->codes, woq_bitmat_bytes(&m.m), err);
    int32_t *g_idx = woq_buf_need(&w->g_idx, q->n_cols * sizeof *g_idx, err);

    if (!to || !g_idx)
        return WOQ_ENOMEM;
    woq_bitmat_pack(to, &m.m, q->codes, m.line_step, m.field_step);
    for (size_t i = 0; i < q->n_rows * q->n_cols && w->layout->bytes; i++)
        ((uint8_t *)to)[i] = (uint8_t)(q->codes[i] - (1 << (q->bits - 1)));
    for (size_t c = 0; c < q->n_cols; c++)
        g_idx[c] = q->g_idx ? q->g_idx[c] : (int32_t)(c / q->group_elems);
    return WOQ_OK;
}

static int put_part(struct woq_st_writer *st, const struct woq_packed_module *m,
                    const struct woq_packed_tensor *p, struct woq_error *err)
{
    struct woq_str name = { 0 };
    int rc = woq_str_addf(&name, "%s.%s", m->name, m->layout->kind.suffix[p->part]);

    rc = rc == WOQ_OK
             ? woq_st_put_as(st, name.s, p->stored, p->dtype, p->n_dims, p->shape, p->data, err)
             : woq_fail_nomem(err, 256);
    woq_str_release(&name);
    return rc;
}

static uint64_t part_bytes(const struct woq_packed_tensor *p)
{
    return p->shape[0] * (p->n_dims > 1 ? p->shape[1] : 1) * woq_dtype_bytes(p->dtype);
}

static bool has_part(const struct woq_packed_module *m, enum woq_packed_part part)
{
    const struct woq_packed_layout *l = m->layout;

    return l->kind.suffix[part] && (part != WOQ_PART_ZEROS || l->always_zeros || !m->sym) &&
           (part != WOQ_PART_G_IDX || l->g_idx == WOQ_G_IDX_ALWAYS || m->permuted);
}

int woq_packed_put_tensors(struct woq_st_writer *st, struct woq_packed_module *m,
                           const struct woq_packed_tensor *t, size_t n, struct woq_sink_report *r,
                           struct woq_error *err)
{
    uint64_t all = 0;
    int rc;

    for (size_t i = 0; i < n; i++)
        all += has_part(m, t[i].part) ? part_bytes(&t[i]) : 0;
    rc = woq_st_room(st, all, err);
    for (size_t i = 0; i < n && rc == WOQ_OK; i++) {
        if (!has_part(m, t[i].part))
            continue;
        if (t[i].part == WOQ_PART_CODES)
            m->codes_entry = st->n_entries;
        if (t[i].part == WOQ_PART_ZEROS)
            m->zeros_entry = st->n_entries;
        rc = put_part(st, m, &t[i], err);
    }
    r->n_quantized += (uint64_t)m->n_out * m->n_in;
    r->n_weights += (uint64_t)m->n_out * m->n_in;
    r->tensor_bytes += all;
    r->quantized_bytes += all;
    return rc;
}

/* In the order of their names as GPTQ has them. */
static int put_parts(struct woq_packed_writer *w, struct woq_st_writer *st,
                     struct woq_packed_module *m, const struct woq_qview *q,
                     struct woq_sink_report *r, struct woq_error *err)
{
    const struct woq_packed_layout *l = m->layout;
    const struct woq_packed_matrix c = woq_packed_codes(l, l->order, q->bits, q->n_rows, q->n_cols);
    const size_t stored = woq_packed_stored(l, q->n_cols, q->n_groups);
    const struct woq_packed_matrix z = woq_packed_zeros(l, l->order, q->bits, q->n_rows, stored);
    const enum woq_dtype word = woq_packed_word(l);
    const size_t by_row = l->scales_by_row;
    const int64_t out_in[2] = { (int64_t)q->n_rows, (int64_t)q->n_cols };
    const uint16_t unused = 0;
    const struct woq_packed_tensor parts[] = {
        { WOQ_PART_INPUTS, NULL, WOQ_F32, 1, { q->n_cols }, q->in_scale },
        { WOQ_PART_FACTOR, NULL, WOQ_BF16, 1, { 1 }, &unused },
        { WOQ_PART_SHAPE, NULL, WOQ_I64, 1, { 2 }, out_in },
        { WOQ_PART_G_IDX, NULL, WOQ_I32, 1, { q->n_cols }, w->g_idx.data },
        { WOQ_PART_CODES, NULL, word, 2, { c.shape[0], c.shape[1] }, w->codes.data },
        { WOQ_PART_ZEROS, NULL, word, 2, { z.shape[0], z.shape[1] }, w->zeros.data },
        { WOQ_PART_SCALES,
          NULL,
          w->scale_dtype,
          2,
          { by_row ? q->n_rows : stored, by_row ? stored : q->n_rows },
          w->scales.data },
    };

    return woq_packed_put_tensors(st, m, parts, sizeof parts / sizeof *parts, r, err);
}

int woq_packed_add_module(struct woq_packed_writer *w, const struct woq_frame *f,
                          const struct woq_qview *q, int64_t group_size,
                          const struct woq_packed_layout *layout, struct woq_packed_module **out,
                          struct woq_error *err)
{
    struct woq_packed_module *m =
        new_module(w, woq_frame_name(f), (long)woq_json_get_int(f->meta, "block", -1), err);

    if (!m)
        return err ? err->status : WOQ_ENOMEM;
    m->layout = layout;
    m->codebook = layout->codebook;
    m->bits = q->bits;
    m->group_size = group_size;
    m->group_rows = 1;
    m->sym = q->zero == NULL;
    m->permuted = !g_idx_is_trivial(q);
    m->n_out = q->n_rows;
    m->n_in = q->n_cols;
    m->n_groups = q->n_groups;
    w->desc_act = w->desc_act || m->permuted;
    w->lm_head = w->lm_head || !strcmp(m->name, "lm_head");
    *out = m;
    return WOQ_OK;
}

int woq_packed_put(struct woq_packed_writer *w, struct woq_st_writer *st, const struct woq_frame *f,
                   struct woq_sink_report *r, struct woq_error *err)
{
    const int64_t said = woq_json_get_int(woq_json_get(f->meta, "quant"), "group_size", -1);
    const int64_t group_size = said > 0 ? said : -1;
    struct woq_packed_module *m = NULL;
    struct woq_qview q = { 0 };
    int rc = woq_qview_init(&q, f, err);

    if (rc == WOQ_OK && q.lut && w->format->put_codebook)
        return w->format->put_codebook(w, st, f, &q, r, err);
    if (rc == WOQ_OK && w->format->scaled)
        w->layout = q.in_scale ? w->format->scaled : w->format->layout;
    if (rc == WOQ_OK && w->plain && w->format->wide && !woq_packed_width_ok(w->layout, q.bits))
        w->layout = w->plain = w->format->wide;
    if (rc == WOQ_OK)
        rc = check_form(w->layout, &q, group_size, err);
    if (rc == WOQ_OK)
        rc = check_config(w, woq_frame_name(f), &q, group_size, err);
    if (rc == WOQ_OK && w->plain && w->format->plain_widths >> q.bits & 1)
        w->layout = w->plain;
    if (rc == WOQ_OK)
        rc = pack_zeros(w, &q, err);
    if (rc == WOQ_OK)
        rc = pack_scales(w, &q, err);
    if (rc == WOQ_OK)
        rc = pack_codes(w, &q, err);
    if (rc == WOQ_OK)
        rc = woq_packed_add_module(w, f, &q, group_size, w->layout, &m, err);
    return rc || !m ? rc : put_parts(w, st, m, &q, r, err);
}

/* "P" of "P.bias", or 0. */
static size_t biased_bytes(const char *name)
{
    const size_t n = strlen(name), tail = strlen(".bias");

    return n > tail && strcmp(name + n - tail, ".bias") == 0 ? n - tail : 0;
}

static int rename_bias(struct woq_st_entry *e, const struct woq_packed_module *m,
                       struct woq_error *err)
{
    struct woq_str name = { 0 };

    if (woq_str_addf(&name, "%s.%s", m->name, m->layout->kind.null_bias) < 0)
        return woq_fail_nomem(err, 256);
    free(e->name);
    e->name = name.s; /* malloc'ed, changes hands */
    return WOQ_OK;
}

int woq_packed_name(struct woq_packed_writer *w, struct woq_st_writer *st, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; i < st->n_entries && w->format->scaled && rc == WOQ_OK; i++) {
        const size_t n = biased_bytes(st->entries[i].name);
        for (size_t k = 0; k < w->n_modules && n; k++) {
            const struct woq_packed_module *m = &w->modules[k];
            if (!m->bits || !m->layout->kind.null_bias || strlen(m->name) != n ||
                memcmp(m->name, st->entries[i].name, n) != 0)
                continue;
            rc = rename_bias(&st->entries[i], m, err);
            break;
        }
    }
    return rc;
}

/* Fields from one layout to another. */
struct settling {
    struct woq_packed_matrix from, to;
    unsigned add, max; /* to each, modulo max + 1 */
    uint8_t *fields;
};

static void settle_fields(void *ctx, void *data, size_t bytes)
{
    const struct settling *s = ctx;

    (void)bytes;
    woq_bitmat_unpack(s->fields, s->from.line_step, s->from.field_step, &s->from.m, data);
    for (size_t i = 0; i < s->from.m.n_lines * s->from.m.n_fields; i++)
        s->fields[i] = (uint8_t)((s->fields[i] + s->add) & s->max);
    woq_bitmat_pack(data, &s->to.m, s->fields, s->to.line_step, s->to.field_step);
}

static int settle(struct woq_packed_writer *w, struct woq_st_writer *st, size_t entry,
                  struct settling s, struct woq_error *err)
{
    if (!s.add && woq_bitmat_alike(&s.from.m, &s.to.m))
        return WOQ_OK;
    s.fields = woq_buf_need(&w->fields, s.from.m.n_lines * s.from.m.n_fields, err);
    return s.fields ? woq_st_edit(st, entry, settle_fields, &s, err) : WOQ_ENOMEM;
}

int woq_packed_settle(struct woq_packed_writer *w, struct woq_st_writer *st, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; i < w->n_modules && w->layout == w->plain && w->plain && rc == WOQ_OK; i++) {
        struct woq_packed_module *m = &w->modules[i];
        const struct woq_packed_layout *from = m->layout, *to = w->plain;
        if (!m->bits || from == to)
            continue;
        const struct settling codes = {
            .from = woq_packed_codes(from, from->order, m->bits, m->n_out, m->n_in),
            .to = woq_packed_codes(to, to->order, m->bits, m->n_out, m->n_in),
            .max = (1U << m->bits) - 1
        };
        const struct settling zeros = {
            .from = woq_packed_zeros(from, from->order, m->bits, m->n_out, m->n_groups),
            .to = woq_packed_zeros(to, to->order, m->bits, m->n_out, m->n_groups),
            .add = from->minus_one,
            .max = codes.max
        };
        rc = settle(w, st, m->codes_entry, codes, err);
        if (rc == WOQ_OK)
            rc = settle(w, st, m->zeros_entry, zeros, err);
        m->layout = to;
    }
    return rc;
}

void woq_packed_writer_release(struct woq_packed_writer *w)
{
    for (size_t i = 0; i < w->n_modules; i++)
        free(w->modules[i].name);
    free(w->modules);
    woq_buf_release(&w->codes);
    woq_buf_release(&w->zeros);
    woq_buf_release(&w->scales);
    woq_buf_release(&w->g_idx);
    woq_buf_release(&w->fields);
    memset(w, 0, sizeof *w);
}
