/* template.c -- fuzz target: a template, then its variables behind the first NUL byte. The limits
 * are low, so that a loop within loops ends. */
#include <lib/template/internal.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char usual[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":null,"
        "\"add_generation_prompt\":true,\"bos_token\":\"<s>\"}";
    const struct tpl_limits limits = { .steps = 100000, .bytes = 1 << 22 };
    const uint8_t *nul = bytes ? memchr(data, 0, bytes) : NULL;
    const size_t n = nul ? (size_t)(nul - data) : bytes;
    const char *vars = nul ? (const char *)nul + 1 : usual;
    struct woq_template *t = NULL;
    struct woq_error err = { 0 };
    struct woq_str out = { 0 };

    if (woq_template_open(&t, (const char *)data, n, &err) < 0)
        return 0;
    (void)tpl_render(t, vars, nul ? bytes - n - 1 : sizeof usual - 1, "2026-01-31", limits, &out,
                     &err);
    woq_str_release(&out);
    woq_template_close(t);
    return 0;
}
