/* inspect.c -- values, statistics and differences of arrays. */
#include <woq/inspect.h>

#include <woq/threads.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fixed, so that sums do not depend on the number of threads. */
#define CHUNK_ELEMS ((size_t)1 << 16)

static size_t n_chunks(size_t n_elem)
{
    return (n_elem + CHUNK_ELEMS - 1) / CHUNK_ELEMS;
}

static size_t chunk_elems(size_t n_elem, size_t item)
{
    const size_t left = n_elem - item * CHUNK_ELEMS;
    return left < CHUNK_ELEMS ? left : CHUNK_ELEMS;
}

/* --- text --- */

static int print_float(struct woq_str *out, double x, bool is_double)
{
    const int most = is_double ? 17 : 9;
    char text[40];

    if (isnan(x))
        return woq_str_addf(out, "nan");
    for (int digits = is_double ? 15 : 6; digits <= most; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (is_double ? strtod(text, NULL) == x : strtof(text, NULL) == (float)x)
            break;
    }
    return woq_str_addf(out, "%s", text);
}

int woq_array_print(struct woq_str *out, const struct woq_array *a, size_t i)
{
    const size_t size = woq_dtype_bytes(a->dtype);
    const unsigned char *at = (const unsigned char *)a->data + i * size;
    uint64_t u = 0;
    double d;
    float f;

    if (!size)
        return woq_str_addf(out, "?");
    if (a->dtype == WOQ_F64) {
        memcpy(&d, at, sizeof d);
        return print_float(out, d, true);
    }
    if (woq_dtype_is_float(a->dtype)) {
        woq_to_f32(&f, at, a->dtype, 1);
        return print_float(out, (double)f, false);
    }
    for (size_t b = 0; b < size; b++)
        u |= (uint64_t)at[b] << (8 * b);
    if ((a->dtype == WOQ_I8 || a->dtype == WOQ_I16 || a->dtype == WOQ_I32 || a->dtype == WOQ_I64) &&
        u >> (8 * size - 1))
        return woq_str_addf(out, "-%llu",
                            (unsigned long long)((0 - u) & UINT64_MAX >> (64 - 8 * size)));
    return woq_str_addf(out, "%llu", (unsigned long long)u);
}

int woq_shape_print(struct woq_str *out, unsigned n_dims, const uint64_t *shape)
{
    int rc = n_dims ? WOQ_OK : woq_str_addf(out, "scalar");

    for (unsigned d = 0; d < n_dims && rc == WOQ_OK; d++)
        rc = woq_str_addf(out, d ? "x%llu" : "%llu", (unsigned long long)shape[d]);
    return rc;
}

/* --- statistics --- */

struct sums {
    double min, max, sum, squares;
    uint64_t n, n_nan, n_inf;
};

struct stats_job {
    const struct woq_array *a;
    double shift; /* subtracted before squaring, against cancellation */
    struct sums *part;
};

static double element(const struct woq_array *a, size_t i, const float *block, size_t at)
{
    const unsigned char *p = (const unsigned char *)a->data + i * 8;
    double d;
    uint64_t u;

    if (a->dtype == WOQ_F64) {
        memcpy(&d, p, sizeof d);
        return d;
    }
    if (a->dtype == WOQ_U64 || a->dtype == WOQ_I64) {
        memcpy(&u, p, sizeof u);
        return a->dtype == WOQ_U64 ? (double)u : (double)(int64_t)u;
    }
    return (double)block[at];
}

static void add_one(struct sums *s, double x, double shift)
{
    if (isnan(x)) {
        s->n_nan++;
    } else if (isinf(x)) {
        s->n_inf++;
    } else {
        s->min = s->n && s->min < x ? s->min : x;
        s->max = s->n && s->max > x ? s->max : x;
        s->sum += x - shift;
        s->squares += (x - shift) * (x - shift);
        s->n++;
    }
}

static void stats_chunk(void *ctx, size_t item, int thread)
{
    const struct stats_job *job = ctx;
    const struct woq_array *a = job->a;
    const size_t first = item * CHUNK_ELEMS, n = chunk_elems(a->n_elem, item), step = 1024;
    const size_t size = woq_dtype_bytes(a->dtype);
    struct sums s = { 0 };
    float block[1024] = { 0 };

    (void)thread;
    for (size_t at = 0; at < n; at += step) {
        const size_t m = n - at < step ? n - at : step;
        if (size < 8)
            woq_to_f32(block, (const unsigned char *)a->data + (first + at) * size, a->dtype, m);
        for (size_t i = 0; i < m; i++)
            add_one(&s, element(a, first + at + i, block, i), job->shift);
    }
    job->part[item] = s;
}

static struct sums fold(const struct sums *part, size_t n)
{
    struct sums all = { 0 };

    for (size_t i = 0; i < n; i++) {
        const struct sums *p = &part[i];
        if (p->n && (!all.n || p->min < all.min))
            all.min = p->min;
        if (p->n && (!all.n || p->max > all.max))
            all.max = p->max;
        all.sum += p->sum;
        all.squares += p->squares;
        all.n += p->n;
        all.n_nan += p->n_nan;
        all.n_inf += p->n_inf;
    }
    return all;
}

void woq_array_stats(struct woq_stats *s, const struct woq_array *a)
{
    const size_t n = n_chunks(a->n_elem);
    struct stats_job job = { a, 0.0, calloc(n + 1, sizeof *job.part) };
    struct sums all;

    memset(s, 0, sizeof *s);
    if (!job.part)
        return; /* of some kB: statistics of nothing then, as for an empty array */
    woq_parallel(n, stats_chunk, &job);
    all = fold(job.part, n);
    s->n_nan = all.n_nan;
    s->n_inf = all.n_inf;
    if (all.n) {
        s->min = all.min;
        s->max = all.max;
        s->absmax = fmax(fabs(all.min), fabs(all.max));
        s->mean = job.shift = all.sum / (double)all.n;
        woq_parallel(n, stats_chunk, &job);
        all = fold(job.part, n);
        s->std = sqrt(all.squares / (double)all.n);
    }
    free(job.part);
}

/* --- differences --- */

struct delta_sums {
    double max, squares, ref_squares;
    uint64_t n_differ;
};

struct delta_job {
    const float *a, *b;
    const uint8_t *ua, *ub; /* instead of a and b */
    size_t n_elem;
    struct delta_sums *part;
};

static void delta_one(struct delta_sums *s, double a, double b)
{
    const double e = b - a;

    if (isfinite(a))
        s->ref_squares += a * a;
    if (a == b || (isnan(a) && isnan(b)))
        return;
    s->n_differ++;
    if (!isfinite(e)) {
        s->max = s->squares = HUGE_VAL;
        return;
    }
    if (fabs(e) > s->max)
        s->max = fabs(e);
    s->squares += e * e;
}

static void delta_chunk(void *ctx, size_t item, int thread)
{
    const struct delta_job *job = ctx;
    const size_t first = item * CHUNK_ELEMS, n = chunk_elems(job->n_elem, item);
    struct delta_sums s = { 0 };

    (void)thread;
    for (size_t i = first; i < first + n; i++)
        if (job->a)
            delta_one(&s, (double)job->a[i], (double)job->b[i]);
        else
            delta_one(&s, job->ua[i], job->ub[i]);
    job->part[item] = s;
}

static void delta(struct woq_delta *d, struct delta_job *job)
{
    const size_t n = n_chunks(job->n_elem);
    struct delta_sums all = { 0 };

    memset(d, 0, sizeof *d);
    d->sqnr_db = HUGE_VAL;
    job->part = calloc(n + 1, sizeof *job->part);
    if (!job->part) { /* some kB: then say "different", never "equal" */
        d->max = d->rms = d->rel = HUGE_VAL;
        d->sqnr_db = -HUGE_VAL;
        d->n_differ = job->n_elem;
        return;
    }
    woq_parallel(n, delta_chunk, job);
    for (size_t i = 0; i < n; i++) {
        all.max = fmax(all.max, job->part[i].max);
        all.squares += job->part[i].squares;
        all.ref_squares += job->part[i].ref_squares;
        all.n_differ += job->part[i].n_differ;
    }
    free(job->part);
    d->n_differ = all.n_differ;
    if (!all.n_differ)
        return;
    d->max = all.max;
    d->rms = sqrt(all.squares / (double)job->n_elem);
    d->rel = sqrt(all.squares / all.ref_squares); /* of nothing: inf */
    d->sqnr_db = -20.0 * log10(d->rel);
}

void woq_delta_f32(struct woq_delta *d, const float *a, const float *b, size_t n_elem)
{
    struct delta_job job = { a, b, NULL, NULL, n_elem, NULL };
    delta(d, &job);
}

void woq_delta_u8(struct woq_delta *d, const uint8_t *a, const uint8_t *b, size_t n_elem)
{
    struct delta_job job = { NULL, NULL, a, b, n_elem, NULL };
    delta(d, &job);
}
