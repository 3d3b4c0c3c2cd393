/* side.c -- held frames, and the importance of columns that they carry. */
#include <woq/side.h>

bool woq_side_is(const struct woq_frame *f)
{
    return f->flags & WOQ_FRAME_OF || woq_frame_is(f, "hess") || woq_frame_is(f, "stat");
}

static bool same_group(const char *group, int64_t block, const struct woq_frame *weight)
{
    const char *other = woq_json_get_str(weight->meta, "group");

    return group && *group && other && strcmp(group, other) == 0 &&
           block == woq_json_get_int(weight->meta, "block", -1);
}

/* By the name of the weight, or of any weight of its group. */
static bool describes(const struct woq_frame *f, const struct woq_frame *weight)
{
    const char *of = woq_json_get_str(f->meta, "of");

    return (of && strcmp(of, woq_frame_name(weight)) == 0) ||
           same_group(woq_json_get_str(f->meta, "group"), woq_json_get_int(f->meta, "block", -1),
                      weight);
}

static void copy_text(char *to, size_t cap, const char *from)
{
    const size_t n = from ? strlen(from) : 0;

    if (n < cap) /* a longer name matches nothing, rather than something else */
        memcpy(to, from ? from : "", n + 1);
    else
        to[0] = 0;
}

/* `diag` as it is, or every (n+1)-th element of `h`. */
static int hess_diagonal(const struct woq_frame *f, const float **data, size_t *n, size_t *step,
                         struct woq_error *err)
{
    const struct woq_array *a = woq_frame_array(f, "diag");
    const bool full = !a;
    const int rc = woq_frame_want(f, full ? "h" : "diag", WOQ_F32, full ? 2 : 1, &a, err);

    if (rc)
        return rc;
    if (full && a->shape[0] != a->shape[1])
        return woq_fail(err, WOQ_EDATA, NULL, "array 'h' is %llu x %llu, want a square",
                        (unsigned long long)a->shape[0], (unsigned long long)a->shape[1]);
    *data = a->data;
    *n = (size_t)a->shape[0];
    *step = full ? *n + 1 : 1;
    return WOQ_OK;
}

static int read_importance(struct woq_importance *imp, const struct woq_frame *f,
                           struct woq_error *err)
{
    const struct woq_array *a = NULL, *count = woq_frame_array(f, "n_tokens");
    const float *data = NULL;
    float *diag;
    size_t n = 0, step = 1;
    int rc;

    imp->n_tokens = 0;
    if (count && count->dtype == WOQ_U64 && count->n_elem == 1)
        memcpy(&imp->n_tokens, count->data, sizeof imp->n_tokens);
    if (woq_frame_is(f, "hess")) {
        if ((rc = hess_diagonal(f, &data, &n, &step, err)))
            return rc;
    } else {
        if ((rc = woq_frame_want(f, "mean_sq", WOQ_F32, 1, &a, err)))
            return rc;
        data = a->data;
        n = a->n_elem;
    }
    diag = realloc(imp->diag, (n ? n : 1) * sizeof *diag);
    if (!diag)
        return woq_fail_nomem(err, n * sizeof *diag);
    imp->diag = diag;
    imp->n = n;
    for (size_t i = 0; i < n; i++) {
        diag[i] = data[i * step];
        if (!(diag[i] >= 0.0f && isfinite(diag[i])))
            return woq_fail(err, WOQ_EDATA, NULL,
                            "%s: element %zu of the diagonal is %g, want 0 or more", f->type, i,
                            (double)diag[i]);
    }
    copy_text(imp->of, sizeof imp->of, woq_json_get_str(f->meta, "of"));
    copy_text(imp->group, sizeof imp->group, woq_json_get_str(f->meta, "group"));
    imp->block = woq_json_get_int(f->meta, "block", -1);
    return WOQ_OK;
}

int woq_side_read(struct woq_side *s, const struct woq_frame *f, struct woq_error *err)
{
    if (woq_frame_is(f, "hess"))
        return read_importance(&s->hess, f, err);
    if (woq_frame_is(f, "stat") && woq_frame_array(f, "mean_sq"))
        return read_importance(&s->stat, f, err);
    return WOQ_OK;
}

int woq_side_hold(struct woq_side *s, struct woq_frame *f, struct woq_error *err)
{
    int rc = woq_side_read(s, f, err);

    if (rc)
        return rc;
    return woq_frames_push(&s->held, &s->n_held, &s->cap_held, f, err);
}

static bool belongs(const struct woq_importance *imp, const struct woq_frame *weight)
{
    return imp->diag && ((*imp->of && strcmp(imp->of, woq_frame_name(weight)) == 0) ||
                         same_group(imp->group, imp->block, weight));
}

const struct woq_importance *woq_side_of(const struct woq_side *s, const struct woq_frame *weight)
{
    return belongs(&s->hess, weight) ? &s->hess : belongs(&s->stat, weight) ? &s->stat : NULL;
}

int woq_side_importance(const struct woq_side *s, const struct woq_frame *weight, size_t n_cols,
                        const float **importance, struct woq_error *err)
{
    const struct woq_importance *imp = woq_side_of(s, weight);

    *importance = NULL;
    if (!imp)
        return WOQ_OK;
    if (imp->n != n_cols)
        return woq_fail(err, WOQ_EDATA, NULL, "%s frame describes %zu inputs, the weight has %zu",
                        imp == &s->hess ? "hess" : "stat", imp->n, n_cols);
    *importance = imp->diag;
    return WOQ_OK;
}

const struct woq_frame *woq_side_hess(const struct woq_side *s, const struct woq_frame *weight)
{
    for (size_t i = s->n_held; i-- > 0;)
        if (woq_frame_is(&s->held[i], "hess") && describes(&s->held[i], weight))
            return &s->held[i];
    return NULL;
}

/* Takes frame i out of the list, which keeps its memory behind the end. */
static void take_out(struct woq_side *s, size_t i)
{
    const struct woq_frame gone = s->held[i];

    memmove(s->held + i, s->held + i + 1, (--s->n_held - i) * sizeof *s->held);
    s->held[s->n_held] = gone;
    woq_frame_release(&s->held[s->n_held]);
}

int woq_side_settle(struct woq_side *s, struct woq_filter *w, const struct woq_frame *weight,
                    bool changed)
{
    for (size_t i = 0; i < s->n_held;) {
        if (!describes(&s->held[i], weight)) {
            i++;
            continue;
        }
        if (changed) {
            s->n_dropped++;
        } else {
            const int rc = woq_filter_put(w, &s->held[i]);
            if (rc)
                return rc;
        }
        take_out(s, i);
    }
    return WOQ_OK;
}

int woq_side_flush(struct woq_side *s, struct woq_filter *w)
{
    while (s->n_held) {
        const int rc = woq_filter_put(w, &s->held[0]);
        if (rc)
            return rc;
        take_out(s, 0);
    }
    return WOQ_OK;
}

void woq_side_release(struct woq_side *s)
{
    for (size_t i = 0; i < s->n_held; i++)
        woq_frame_release(&s->held[i]);
    free(s->held);
    free(s->hess.diag);
    free(s->stat.diag);
    memset(s, 0, sizeof *s);
}
