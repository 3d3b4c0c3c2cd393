/* packed.c -- fuzz target: config.json, a NUL, and a safetensors file, read to the end whatever the
 * quant_method; each linear that loads must decode. */
#include <formats/source.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <woq/quant.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const uint8_t *nul = memchr(data, 0, bytes);
    const size_t config = nul ? (size_t)(nul - data) : bytes, head = config + (nul != NULL);
    struct woq_source *s = NULL;
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };
    struct woq_buf buf = { 0 };

    if (woq_source_open_mem(&s, "x", data + head, bytes - head, (const char *)data, config, &err) <
        0)
        return 0;
    for (size_t i = 0; i < s->n_items; i++) {
        const float *w;
        size_t rows, cols;

        if (s->items[i].dtype == WOQ_NO_DTYPE || s->load(s, i, &f, &err) < 0)
            continue;
        /* The reader has checked what it made: a linear that does not decode is a finding. */
        if (s->items[i].quantized && woq_weight_f32(&f, &rows, &cols, &w, &buf, &err) < 0)
            abort();
    }
    woq_buf_release(&buf);
    woq_frame_release(&f);
    woq_source_close(s);
    return 0;
}
