/* info.c -- the task `woq info`: what a checkpoint is, without reading its weights. */
#include "tasks.h"

#include <formats/describe.h>
#include <stdio.h>
#include <stdlib.h>

bool woq_info_json;

static double num(const struct woq_json *o, const char *key)
{
    return woq_json_get_num(o, key, 0);
}

static void print_invariances(const struct woq_json *o)
{
    woq_json_each(fold, woq_json_get(o, "folds"))
    {
        const char *sep = " of ";

        printf("fold          %s into the input", woq_json_get_str(fold, "from"));
        woq_json_each(role, woq_json_get(fold, "into"))
        {
            printf("%s%s", sep, woq_json_str(role));
            sep = ", ";
        }
        printf("\n");
    }
    woq_json_each(r, woq_json_get(o, "rotations"))
    {
        const char *why = woq_json_str(r);
        printf("rotation      of the %-6s %s%s\n", woq_json_key(r), why ? "no: " : "yes",
               why ? why : "");
    }
}

static void print_text(const struct woq_json *o)
{
    const struct woq_json *a = woq_json_get(o, "architecture"), *q = woq_json_get(o, "quantizable");
    const double weights = num(o, "weights");

    printf("format        %s, %.0f tensors, %.0f file%s\n", woq_json_get_str(o, "format"),
           num(o, "tensors"), num(o, "files"), num(o, "files") > 1 ? "s" : "");
    printf("architecture  %s: %.0f blocks, hidden %.0f, inter %.0f, heads %.0f/%.0f, vocab %.0f, "
           "context %.0f%s\n",
           woq_json_get_str(a, "name"), num(a, "blocks"), num(a, "hidden"), num(a, "inter"),
           num(a, "heads"), num(a, "kv_heads"), num(a, "vocab"), num(a, "context"),
           woq_json_get_bool(a, "tied_head", false) ? ", tied head" : "");
    printf("size          %.1f M weights, %.1f MB, %.3f bits per weight\n", weights / 1e6,
           num(o, "bytes") / 1e6, num(o, "bits_per_weight"));
    woq_json_each(type, woq_json_get(o, "types"))
    {
        printf("  %-11s %.0f tensors, %.1f M weights, %.1f MB\n", woq_json_key(type),
               num(type, "tensors"), num(type, "weights") / 1e6, num(type, "bytes") / 1e6);
    }
    printf("quantizable   %.0f tensors, %.1f %% of the weights", num(q, "tensors"),
           weights > 0 ? 100 * num(q, "weights") / weights : 0);
    if (num(q, "already") > 0)
        printf("; %.0f are quantized already", num(q, "already"));
    printf("\n");
    woq_json_each(size, woq_json_get(o, "as_gptq"))
    {
        printf("  %.0f bits      %.1f MB, %.3f bits per weight (GPTQ, group %.0f)\n",
               num(size, "bits"), num(size, "bytes") / 1e6, num(size, "bits_per_weight"),
               num(size, "group_size"));
    }
    woq_json_each(m, woq_json_get(o, "memory"))
    {
        printf("memory        %-12s at most %.0f MB", woq_json_get_str(m, "program"),
               num(m, "bytes") / 1e6);
        if (num(m, "bytes_per_token") > 0)
            printf(" + %.0f B for each token of calibration", num(m, "bytes_per_token"));
        printf("\n");
    }
    print_invariances(o);
}

static int print_json(const struct woq_json *o, struct woq_error *err)
{
    char *text = woq_json_print(o, false);

    if (!text)
        return woq_fail_nomem(err, 1 << 12);
    puts(text);
    free(text);
    return WOQ_OK;
}

int woq_info(const char *model, struct woq_error *err)
{
    struct woq_source *s = NULL;
    struct woq_plan p = { 0 };
    struct woq_json *o = NULL;
    int rc = woq_source_open(&s, model, err);

    if (rc == WOQ_OK && (rc = woq_plan_init(&p, s, true, err)) == WOQ_OK)
        rc = (o = woq_describe(s, &p, err)) ? WOQ_OK : WOQ_EDATA;
    if (rc == WOQ_OK && woq_info_json)
        rc = print_json(o, err);
    else if (rc == WOQ_OK)
        print_text(o);
    woq_json_free(o);
    woq_plan_release(&p);
    woq_source_close(s);
    return rc;
}
