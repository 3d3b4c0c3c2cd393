/* report.c -- what `woq quantize --dry-run` foretells: size, bits, memory of each stage. */
#include "tasks.h"

#include <formats/estimate.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <woq/quant.h>
#include <woq/stream.h>
#include <woq/threads.h>

/* The scheme that the options ask for, as a quantizer would read them. */
static struct woq_json *options_json(const struct woq_compose *c, struct woq_error *err)
{
    static const char *const keys[] = { "dtype",
                                        "bits",
                                        "group_size",
                                        "group_dim",
                                        "group_rows",
                                        "double_quant",
                                        "double_quant_group_size",
                                        "double_quant_dtype" };
    static const char *const names[] = { "dtype",
                                         "bits",
                                         "group-size",
                                         "group-dim",
                                         "group-rows",
                                         "double-quant",
                                         "double-quant-group-size",
                                         "double-quant-dtype" };
    struct woq_json *quant = woq_json_object();
    char text[128];

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = woq_compose_value(c, names[i]);
        if (!value)
            continue;
        snprintf(text, sizeof text, "%s=%s", keys[i], value);
        if (woq_scheme_set(quant, text, err) < 0) {
            woq_json_free(quant);
            return NULL;
        }
    }
    if (woq_compose_value(c, "asym"))
        woq_json_set_bool(quant, "sym", false);
    return quant;
}

/* Tokens of a stream of samples. What is no file can be read once only: 0, not known. */
static int count_tokens(const char *path, uint64_t *n, struct woq_error *err)
{
    struct woq_reader *r;
    struct woq_frame *f;
    struct stat st;
    int rc;

    *n = 0;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return WOQ_OK;
    if ((rc = woq_reader_open(&r, path, NULL, err)) < 0)
        return rc;
    while ((rc = woq_reader_next(r, &f, err)) > 0) {
        const struct woq_array *ids = woq_frame_is(f, "TOKN") ? woq_frame_array(f, "ids") : NULL;
        *n += ids ? ids->n_elem : 0;
    }
    woq_reader_close(r);
    return rc < 0 ? woq_error_at(err, "%s", path) : rc;
}

static int calibration_tokens(const struct woq_compose *c, uint64_t *n, struct woq_error *err)
{
    const char *tokens = woq_compose_value(c, "tokens");

    if (tokens)
        return count_tokens(tokens, n, err);
    *n = (uint64_t)(woq_compose_number(c, "samples", 0) * woq_compose_number(c, "seqlen", 0));
    return WOQ_OK;
}

static void print_stage(const struct woq_estimate *e, const struct woq_estimate_run *run,
                        const char *program)
{
    const uint64_t bytes = woq_estimate_memory(e, run, program);

    if (bytes == 0)
        return; /* ssh */
    printf("memory   %-12s at most %.0f MB", program, (double)bytes / 1e6);
    if (strcmp(program, "woq-calib") == 0 && run->n_tokens)
        printf(": %" PRIu64 " tokens x %" PRIu64 " x %d B + two blocks + 200 MiB", run->n_tokens,
               e->hidden, run->both ? 8 : 4);
    else if (strcmp(program, "woq-calib") == 0)
        printf(" + %" PRIu64 " B for each token", (run->both ? 8U : 4U) * e->hidden);
    printf("\n");
}

static int print(const struct woq_compose *c, const struct woq_estimate *e, struct woq_error *err)
{
    const double threads = woq_compose_number(c, "threads", 0);
    const char *targets = woq_compose_value(c, "targets");
    struct woq_estimate_run run = { .both = targets && strcmp(targets, "both") == 0 };
    const int rc = calibration_tokens(c, &run.n_tokens, err);

    if (rc)
        return rc;
    run.n_threads = threads >= 1 ? (uint64_t)threads : (uint64_t)woq_threads();
    printf("output   %" PRIu64 " bytes of tensors; the source has %" PRIu64 "\n"
           "bits     %.3f per weight over all tensors, %.3f over the %.1f %% quantized\n",
           e->bytes, e->source_bytes, 8.0 * (double)e->bytes / (double)e->n_weights,
           e->n_quantized ? 8.0 * (double)e->quantized_bytes / (double)e->n_quantized : 0.0,
           100.0 * (double)e->n_quantized / (double)e->n_weights);
    for (size_t i = 0; i < c->n_stages + c->n_nested; i++)
        print_stage(e, &run, c->stages[i].argv[0]);
    return WOQ_OK;
}

int woq_report_quantize(const struct woq_compose *c, const char *model,
                        const struct woq_list *rules, struct woq_error *err)
{
    const struct woq_list *types = woq_compose_list(c, "tensor-type");
    const struct woq_sink_opts out = {
        .format = woq_compose_value(c, "format"),
        .scale_dtype = woq_compose_value(c, "scale-dtype"),
        .type = woq_compose_value(c, "type"),
        .embed_type = woq_compose_value(c, "embed-type"),
        .head_type = woq_compose_value(c, "head-type"),
        .tensor_types = types ? *types : (struct woq_list){ 0 },
        .pure = woq_compose_value(c, "pure") != NULL,
        .checkpoint_format = woq_compose_value(c, "checkpoint-format"),
    };
    struct woq_json *quant = options_json(c, err);
    struct woq_source *source = NULL;
    struct woq_estimate e;
    int rc = quant ? WOQ_OK : WOQ_ENOMEM;

    if (!rc && !(rc = woq_source_open(&source, model, err)))
        rc = woq_estimate_init(&e, source, quant, rules, &out, err);
    if (!rc)
        rc = print(c, &e, err);
    woq_source_close(source);
    woq_json_free(quant);
    return rc;
}
