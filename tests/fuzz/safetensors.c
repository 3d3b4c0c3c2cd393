/* safetensors.c -- fuzz target: a file from memory beside a fixed config.json, read to its end. */
#include "checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    load_model(data, bytes);
    return 0;
}
