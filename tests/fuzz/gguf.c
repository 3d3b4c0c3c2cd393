/* gguf.c -- fuzz target: GGUF and llama2.c from memory, config derived, every tensor decoded. */
#include <formats/extract.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct woq_source *s = NULL;
    struct woq_plan p = { 0 };
    struct woq_frame f = { 0 };
    struct woq_error err = { 0 };

    if (woq_source_open_mem(&s, "x", data, bytes, NULL, 0, &err) < 0)
        return 0;
    /* Not only what makes a whole model: each tensor alone, too. */
    if (woq_plan_init(&p, s, false, &err) == WOQ_OK)
        for (size_t i = 0; i < p.n_steps; i++)
            if (woq_extract_load(&f, s, &p, i, &err) == WOQ_OK)
                (void)woq_extract_check_finite(&f, &err);
    woq_plan_release(&p);
    (void)woq_plan_init(&p, s, true, &err);
    woq_frame_release(&f);
    woq_plan_release(&p);
    woq_source_close(s);
    return 0;
}
