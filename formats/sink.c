/* sink.c -- what all formats share: order, completeness, disk space, the final name. */
#include <formats/sink.h>

#include <formats/coded.h>
#include <formats/fingerprint.h>
#include <formats/packed_write.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/side.h>

/* A model may not replace itself, nor a copy of itself. */
static int check_source(const struct woq_sink *s, struct woq_error *err)
{
    struct woq_json *there;
    bool same;

    if (!s->opts.force || !s->head)
        return WOQ_OK;
    there = woq_fingerprints(s->opts.path);
    same = woq_fingerprints_meet(woq_json_get(s->head, "source"), there);
    woq_json_free(there);
    if (same)
        return woq_fail(err, WOQ_EUSAGE, "choose another name for --out",
                        "'%s' is the model that is being read, or a copy of it", s->opts.path);
    return WOQ_OK;
}

int woq_sink_open(struct woq_sink *s, const struct woq_sink_opts *opts, const struct woq_json *head,
                  struct woq_error *err)
{
    int rc;

    memset(s, 0, sizeof *s);
    s->opts = *opts;
    s->report.format = opts->format;
    s->ops = !strcmp(opts->format, "gguf")          ? &woq_gguf_sink
             : !strncmp(opts->format, "imatrix", 7) ? &woq_imatrix_sink
                                                    : &woq_folder_sink;
    if (head && !(s->head = woq_json_copy(head)))
        return woq_fail_nomem(err, 1 << 10);
    if (!(s->side = calloc(1, sizeof(struct woq_side))))
        return woq_fail_nomem(err, sizeof(struct woq_side));
    rc = check_source(s, err);
    if (rc == WOQ_OK)
        rc = woq_out_open(&s->out, opts->path, s->ops->is_folder, opts->force, err);
    return rc == WOQ_OK ? s->ops->open(s, err) : rc;
}

static int need_space(const struct woq_sink *s, double bytes, struct woq_error *err)
{
    const uint64_t has = woq_out_free_bytes(&s->out);

    if (bytes <= (double)has)
        return WOQ_OK;
    return woq_fail(err, WOQ_ESYS, "make room, or choose another place with --out",
                    "not enough space for '%s': at least %.1f MB more are needed, %.1f MB are free",
                    s->opts.path, bytes / 1e6, (double)has / 1e6);
}

/* The least that the model can take: what is written may be more, but refusing early must be right.
 */
static int check_space_before(const struct woq_sink *s, struct woq_error *err)
{
    const bool gguf = s->ops == &woq_gguf_sink,
               packed = woq_packed_format(s->opts.format) || woq_coded_by_format(s->opts.format);
    const double linear_bits = packed ? 1 : gguf ? 1.6 : 16, other_bits = gguf ? 1.6 : 16;
    double bits = 0;

    struct woq_place p = { 0 };

    while (s->shape.arch && woq_config_next(&s->shape, &p)) {
        uint64_t shape[2] = { 1, 1 };
        unsigned n_dims;

        woq_config_shape(&s->shape, &p, &n_dims, shape);
        bits += (double)shape[0] * (n_dims > 1 ? (double)shape[1] : 1) *
                (woq_role_is_linear(p.role) && !p.bias ? linear_bits : other_bits);
    }
    return need_space(s, bits / 8, err);
}

/* After each block: at least the smallest block so far for each that is still to come. */
static int check_space_now(struct woq_sink *s, struct woq_error *err)
{
    const uint64_t bytes = s->report.tensor_bytes - s->block_start;

    if (s->blocks_done++ == 0 || bytes < s->smallest_block)
        s->smallest_block = bytes;
    if (!s->shape.arch || s->blocks_done >= s->shape.n_layers)
        return WOQ_OK;
    return need_space(s, (double)s->smallest_block * (double)(s->shape.n_layers - s->blocks_done),
                      err);
}

static int take_model(struct woq_sink *s, const struct woq_frame *f, struct woq_error *err)
{
    const struct woq_array *a;
    struct woq_error ignored = { 0 };
    int rc;

    if (s->config)
        return woq_fail(err, WOQ_EDATA, "look for it with woq-ls", "a second MODL frame");
    rc = woq_frame_want(f, "config.json", WOQ_U8, 1, &a, err);
    if (rc == WOQ_OK)
        rc = woq_json_parse(&s->config, a->data, a->bytes, err);
    if (rc)
        return rc;
    if (woq_json_type(s->config) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json is no JSON object");
    /* Folders are copied even for architectures that we cannot run; GGUF asks for more itself. */
    if (woq_config_init(&s->shape, s->config, &ignored) != WOQ_OK)
        s->shape.arch = NULL;
    s->seen = calloc(s->shape.arch ? s->shape.n_layers + 1 : 1,
                     s->shape.arch ? woq_config_slots(&s->shape) / 8 + 1 : 1);
    if (!s->seen)
        return woq_fail_nomem(err, s->shape.n_layers);
    rc = s->ops == &woq_imatrix_sink ? WOQ_OK : check_space_before(s, err);
    return rc == WOQ_OK ? s->ops->model(s, f, err) : rc;
}

/* Tied weights are stored once. */
static bool is_tied_head(const struct woq_sink *s, const struct woq_frame *f, enum woq_role role)
{
    const bool tied =
        s->shape.arch ? s->shape.tie : woq_json_get_bool(s->config, "tie_word_embeddings", false);

    return tied && (role == WOQ_ROLE_HEAD || !strcmp(woq_frame_name(f), "lm_head.weight"));
}

static uint8_t *seen_byte(const struct woq_sink *s, const struct woq_place *p, unsigned *bit)
{
    const size_t slots = woq_config_slots(&s->shape), slot = woq_config_slot(&s->shape, p);
    const size_t part = p->block < 0 ? s->shape.n_layers : (size_t)p->block;

    *bit = 1u << slot % 8;
    return &s->seen[part * (slots / 8 + 1) + slot / 8];
}

static int mark_seen(struct woq_sink *s, const struct woq_place *p, const char *name,
                     struct woq_error *err)
{
    unsigned bit;
    uint8_t *byte;

    if (p->block >= 0 && (size_t)p->block >= s->shape.n_layers)
        return woq_fail(err, WOQ_EDATA, "the stream and its config.json do not belong together",
                        "tensor '%s' is of block %ld, but config.json says %zu blocks", name,
                        p->block, s->shape.n_layers);
    if (p->index >= woq_config_count(&s->shape, p->role))
        return woq_fail(err, WOQ_EDATA, "the stream and its config.json do not belong together",
                        "tensor '%s' is number %zu, but config.json says %zu", name, p->index,
                        woq_config_count(&s->shape, p->role));
    byte = seen_byte(s, p, &bit);
    if (*byte & bit)
        return woq_fail(err, WOQ_EDATA, "look for it with woq-ls", "tensor '%s' came twice", name);
    *byte |= (uint8_t)bit;
    return WOQ_OK;
}

static int take_tensor(struct woq_sink *s, const struct woq_frame *f, struct woq_error *err)
{
    const char *name = woq_frame_name(f);
    enum woq_role role = WOQ_ROLE_NONE;
    struct woq_place p;
    int rc = WOQ_OK;

    if (!s->config)
        return woq_fail(err, WOQ_EDATA, "start the pipe with woq-extract",
                        "a tensor without a MODL frame before it: there is no config.json");
    if (!*name)
        return woq_fail(err, WOQ_EDATA, NULL, "a tensor without a name");
    if (s->shape.arch) {
        if (woq_arch_place(s->shape.arch, name, &p))
            rc = mark_seen(s, &p, name, err);
        role = p.role;
    } else {
        role = woq_role_from_name(woq_json_get_str(f->meta, "role"));
    }
    if (rc)
        return rc;
    if (is_tied_head(s, f, role)) {
        if (woq_frame_is(f, "QTEN"))
            return woq_fail(err, WOQ_ETYPE, "leave the head alone: woq-scheme --set 'lm_head ...'",
                            "'%s' is quantized, but config.json ties it to the embedding", name);
        return WOQ_OK;
    }
    rc = s->ops->tensor(s, f, role, err);
    return rc < 0 && err && !err->where[0] ? woq_error_at(err, "'%s'", name) : rc;
}

int woq_sink_put(struct woq_sink *s, const struct woq_frame *f, struct woq_error *err)
{
    if (woq_frame_is(f, "TENS") || woq_frame_is(f, "QTEN"))
        return take_tensor(s, f, err);
    if (woq_frame_is(f, "MODL"))
        return take_model(s, f, err);
    if (woq_frame_is(f, "BLKB")) {
        s->block_start = s->report.tensor_bytes;
        return WOQ_OK;
    }
    if (woq_frame_is(f, "BLKE"))
        return check_space_now(s, err);
    if (woq_side_is(f) && s->ops != &woq_folder_sink)
        return woq_side_read(s->side, f, err);
    if (f->type[0] >= 'a' && f->type[0] <= 'z')
        return WOQ_OK; /* notes and the like end here */
    return woq_fail(err, WOQ_ETYPE, "see woq-stream(5)", "a %s frame has no place in a checkpoint",
                    f->type);
}

/* A model with a hole is worse than none. */
static int check_complete(const struct woq_sink *s, struct woq_error *err)
{
    struct woq_place p = { 0 };
    char name[256];

    if (!s->config)
        return woq_fail(err, WOQ_EDATA, "start the pipe with woq-extract",
                        "the stream has no MODL frame");
    while (s->shape.arch && woq_config_next(&s->shape, &p)) {
        unsigned bit;

        if (*seen_byte(s, &p, &bit) & bit)
            continue;
        woq_config_name(&s->shape, &p, name, sizeof name);
        return woq_fail(err, WOQ_EDATA, "was the stream cut with woq-head or woq-part?",
                        "tensor '%s' is missing", name);
    }
    return WOQ_OK;
}

const struct woq_importance *woq_sink_importance(const struct woq_sink *s,
                                                 const struct woq_frame *weight, bool *is_sum)
{
    const struct woq_side *side = s->side;
    const struct woq_importance *imp = woq_side_of(side, weight);

    *is_sum = imp == &side->hess;
    return imp;
}

int woq_sink_finish(struct woq_sink *s, struct woq_error *err)
{
    int rc = check_complete(s, err);

    if (rc == WOQ_OK)
        rc = s->ops->finish(s, err);
    return rc == WOQ_OK ? woq_out_commit(&s->out, err) : rc;
}

void woq_sink_release(struct woq_sink *s)
{
    if (s->ops)
        s->ops->release(s);
    woq_out_release(&s->out);
    if (s->side)
        woq_side_release(s->side);
    free(s->side);
    woq_json_free(s->head);
    woq_json_free(s->config);
    free(s->seen);
    memset(s, 0, sizeof *s);
}
