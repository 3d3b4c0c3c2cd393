/* imatrix.c -- fuzz target: importance matrices in both forms from memory; what is read is written
 * and read again. */
#include <formats/imatrix.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct woq_imatrix m, back;
    struct woq_error err = { 0 };

    if (woq_imatrix_parse(&m, data, bytes, &err) < 0)
        return 0;
    for (int gguf = 0; gguf < 2; gguf++) {
        struct woq_str out = { 0 };

        if ((gguf ? woq_imatrix_write_gguf : woq_imatrix_write_dat)(&m, &out, &err) == WOQ_OK &&
            woq_imatrix_parse(&back, out.s, out.len, &err) == WOQ_OK)
            woq_imatrix_release(&back);
        woq_str_release(&out);
    }
    woq_imatrix_release(&m);
    return 0;
}
