/* kquant_error.c -- how far the matrices of two GGUF files are from those of a third: for
 * kquants.sh. Usage: kquant_error ORIGINAL A B [IMATRIX]; without arguments it does nothing.
 *
 * Prints the geometric mean over the matrices of error(A) / error(B), and the largest: sums of
 * squared differences, each times the importance of its column where there is one. */
#include <formats/gguf.h>
#include <formats/imatrix.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/kernels.h>

static void die(const struct woq_error *err)
{
    fprintf(stderr, "kquant_error: %s\n", err->what);
    exit(1);
}

/* A row as f32. */
static void row(float *dst, const struct woq_gguf_tensor *t, size_t r, size_t n_cols)
{
    const uint8_t *src = t->data + r * (t->bytes / (size_t)t->shape[0]);

    if (t->type->decode)
        t->type->decode(dst, src, n_cols / t->type->block_elems);
    else
        woq_to_f32(dst, src, t->type->dtype, n_cols);
}

static double error(const struct woq_gguf_tensor *x, const struct woq_gguf_tensor *y,
                    const float *weight)
{
    const size_t n_rows = (size_t)x->shape[0], n_cols = (size_t)x->shape[1];
    float *a = malloc(2 * n_cols * sizeof *a), *b = a ? a + n_cols : NULL;
    double sum = 0;

    if (!a)
        exit(1);
    for (size_t r = 0; r < n_rows; r++) {
        row(a, x, r, n_cols);
        row(b, y, r, n_cols);
        for (size_t c = 0; c < n_cols; c++) {
            const double d = (double)a[c] - (double)b[c];
            sum += (weight ? (double)weight[c] : 1) * d * d;
        }
    }
    free(a);
    return sum;
}

int main(int argc, char **argv)
{
    struct woq_gguf g[3];
    struct woq_imatrix m = { 0 };
    struct woq_error err = { 0 };
    double log_sum = 0, most = 0;
    size_t n = 0;

    if (argc < 4)
        return 0;
    for (int i = 0; i < 3; i++)
        if (woq_gguf_open(&g[i], argv[i + 1], &err) < 0)
            die(&err);
    if (argc > 4 && woq_imatrix_open(&m, argv[4], &err) < 0)
        die(&err);
    for (size_t i = 0; i < g[0].n_tensors; i++) {
        const struct woq_gguf_tensor *t = &g[0].tensors[i];
        const struct woq_gguf_tensor *a = woq_gguf_tensor(&g[1], t->name);
        const struct woq_gguf_tensor *b = woq_gguf_tensor(&g[2], t->name);
        const struct woq_imatrix_entry *e = woq_imatrix_get(&m, t->name);
        double ratio;

        if (t->n_dims != 2 || !a || !b || !a->type->decode || (argc > 4 && !e))
            continue;
        ratio = error(t, a, e ? e->mean_sq : NULL) / error(t, b, e ? e->mean_sq : NULL);
        if (!(ratio > 0) || !isfinite(ratio)) /* both hold it exactly */
            continue;
        log_sum += log(ratio);
        most = ratio > most ? ratio : most;
        n++;
    }
    printf("%.4f %.4f\n", n ? exp(log_sum / (double)n) : 1.0, n ? most : 1.0);
    for (int i = 0; i < 3; i++)
        woq_gguf_release(&g[i]);
    woq_imatrix_release(&m);
    return 0;
}
