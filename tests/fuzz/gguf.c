/* gguf.c -- fuzz target: GGUF and llama2.c from memory, config derived, every tensor decoded. */
#include "checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct woq_source *s = NULL;
    struct woq_plan p = { 0 };
    struct woq_error err = { 0 };

    if (woq_source_open_mem(&s, "x", data, bytes, NULL, 0, &err) < 0)
        return 0;
    load_tensors(s, false); /* not only what makes a whole model: each tensor alone, too */
    (void)woq_plan_init(&p, s, true, &err);
    woq_plan_release(&p);
    woq_source_close(s);
    return 0;
}
