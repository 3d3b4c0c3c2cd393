/* gguf_rows.c -- see the header. */
#include <formats/gguf_rows.h>

#include <formats/ggml_encode.h>
#include <formats/ggml_grid.h>
#include <stdatomic.h>
#include <string.h>
#include <woq/threads.h>

#define CHUNK_BYTES ((size_t)16 << 20)

struct job {
    const struct woq_gguf_rows *rows;
    uint8_t *dst;
    size_t row_bytes, row0, row1;
    float *tmp; /* n_cols per thread */
    size_t item_rows;
    atomic_bool bad;
};

static bool encode_row(const struct job *j, uint8_t *dst, size_t row, float *tmp)
{
    const struct woq_gguf_rows *r = j->rows;
    const size_t from = r->from ? r->from[row] : row;
    const float *x = tmp;

    if (r->raw) {
        memcpy(dst, r->raw + from * j->row_bytes, j->row_bytes);
        return true;
    }
    if (r->q)
        return woq_ggml_encode_codes(dst, r->type, r->q, from);
    const uint8_t *src = r->src + from * woq_dtype_bytes(r->dtype) * r->n_cols;
    if (r->dtype == WOQ_F32 && !r->change)
        x = (const float *)(const void *)src;
    else
        woq_to_f32(tmp, src, r->dtype, r->n_cols);
    if (r->change)
        r->change(tmp, r->n_cols);
    return woq_ggml_encode(dst, r->type, x, r->importance, r->n_cols);
}

static void rows_item(void *ctx, size_t item, int thread)
{
    struct job *j = ctx;
    const size_t a = j->row0 + item * j->item_rows;
    const size_t b = a + j->item_rows < j->row1 ? a + j->item_rows : j->row1;
    float *tmp = j->tmp + (size_t)thread * j->rows->n_cols;

    for (size_t r = a; r < b; r++)
        if (!encode_row(j, j->dst + (r - j->row0) * j->row_bytes, r, tmp))
            j->bad = true;
}

int woq_gguf_put_rows(struct woq_gguf_writer *w, struct woq_outfile *f, uint64_t offset,
                      const struct woq_gguf_rows *rows, size_t n_rows, struct woq_error *err)
{
    struct job j = { .rows = rows, .item_rows = 1 + 16384 / (rows->n_cols + 1) };
    size_t step;
    int rc = WOQ_OK;

    if (!woq_ggml_row_bytes(rows->type, rows->n_cols, &j.row_bytes))
        return woq_fail(err, WOQ_EDATA, NULL, "%zu columns are no whole blocks of %s", rows->n_cols,
                        rows->type->name);
    step = CHUNK_BYTES / (j.row_bytes ? j.row_bytes : 1);
    step = step ? step : 1;
    step = step < n_rows ? step : n_rows;
    j.tmp = woq_buf_need(&w->rows, (size_t)woq_threads() * rows->n_cols * sizeof(float), err);
    if (!j.tmp)
        return WOQ_ENOMEM;
    for (; j.row0 < n_rows && rc == WOQ_OK; j.row0 = j.row1) {
        w->turn ^= 1;
        if (!(j.dst = woq_buf_need(&w->out[w->turn], step * j.row_bytes, err)))
            return WOQ_ENOMEM;
        j.row1 = n_rows - j.row0 < step ? n_rows : j.row0 + step;
        woq_parallel((j.row1 - j.row0 + j.item_rows - 1) / j.item_rows, rows_item, &j);
        rc = j.bad ? woq_fail(err, WOQ_EDATA, "look at it with woq-cat --stats",
                              "a value or scale is not finite in %s", rows->type->name)
                   : woq_outfile_write_later(f, j.dst, (j.row1 - j.row0) * j.row_bytes,
                                             offset + j.row0 * j.row_bytes, err);
    }
    return rc;
}

void woq_gguf_writer_release(struct woq_gguf_writer *w)
{
    woq_buf_release(&w->out[0]);
    woq_buf_release(&w->out[1]);
    woq_buf_release(&w->rows);
    memset(w, 0, sizeof *w);
}
