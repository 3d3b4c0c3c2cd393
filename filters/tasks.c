/* tasks.c -- the tasks of woq(1): which programs, in which order, with what on their command lines.
 */
#include "tasks.h"

#include <formats/estimate.h>
#include <stdio.h>
#include <string.h>
#include <woq/quant.h>

static const char *method = "rtn";
static struct woq_list rules;
static bool has_rules;
bool woq_dry_run;
static bool help;

static const struct woq_opt quantize_opts[] = {
    { WOQ_OPT_STR, 0, "method", "NAME", &method, false, "the quantizer is the program woq-NAME" },
    { WOQ_OPT_LIST, 0, "rule", "RULE", &rules, false,
      "'GLOB key=value ...': another scheme for tensors that match; the last rule wins" },
    { WOQ_OPT_FLAG, 'n', "dry-run", NULL, &woq_dry_run, false,
      "print the pipeline, the output's size and the memory that it takes; run nothing" },
    { WOQ_OPT_FLAG, 'h', "help", NULL, &help, false, "this text" },
    { WOQ_OPT_END },
};
static const struct woq_opt eval_opts[] = {
    { WOQ_OPT_FLAG, 'n', "dry-run", NULL, &woq_dry_run, false, "print the pipeline, run nothing" },
    { WOQ_OPT_FLAG, 'h', "help", NULL, &help, false, "this text" },
    { WOQ_OPT_END },
};

/* Options of stages that a task sets itself, or that would mean something else here. */
static const char hidden[] = "help|version|out|list|no-history|set";
/* --match and --dtype are the quantizer's and woq-pack's: woq-extract would drop and round weights.
 */
static const char source_hidden[] = "help|version|list|json|no-history|match|dtype|no-side";

static int compose_quantize(struct woq_compose *c, struct woq_error *err)
{
    char quantizer[64];
    int rc;

    if (strlen(method) > 40 || strchr(method, '/'))
        return woq_fail(err, WOQ_EUSAGE, "see woq list", "--method %s: no such quantizer", method);
    snprintf(quantizer, sizeof quantizer, "woq-%s", method);
    if ((rc = woq_compose_add(c, "woq-extract", source_hidden, err)) ||
        (has_rules && (rc = woq_compose_add(c, "woq-scheme", "*", err))))
        return rc;
    rc = woq_compose_add(c, quantizer, hidden, err);
    if (rc == WOQ_ESYS)
        return woq_fail(err, WOQ_EUSAGE, "woq list prints what there is",
                        "--method %s: there is no program '%s'", method, quantizer);
    if (rc)
        return rc;
    return woq_compose_add(c, "woq-pack", hidden, err);
}

static int place_quantize(struct woq_compose *c, char **operands, struct woq_error *err)
{
    int rc = woq_compose_word(c, 0, operands[0], err);

    for (size_t i = 0; i < rules.n && !rc; i++)
        if (!(rc = woq_compose_word(c, 1, "--set", err)))
            rc = woq_compose_word(c, 1, rules.items[i], err);
    if (!rc)
        rc = woq_compose_word(c, c->n_stages - 1, "--out", err);
    return rc ? rc : woq_compose_word(c, c->n_stages - 1, operands[1], err);
}

/* The scheme that the options ask for, as woq-rtn would read them. */
static struct woq_json *options_json(const struct woq_compose *c, struct woq_error *err)
{
    static const char *const keys[] = { "bits", "group_size", "group_dim" };
    static const char *const names[] = { "bits", "group-size", "group-dim" };
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

static int report_quantize(const struct woq_compose *c, const char *model, struct woq_error *err)
{
    const char *format = woq_compose_value(c, "format");
    struct woq_json *quant = options_json(c, err);
    struct woq_source *source = NULL;
    struct woq_estimate e;
    int rc = quant ? WOQ_OK : WOQ_ENOMEM;

    if (!rc && !(rc = woq_source_open(&source, model, err)))
        rc = woq_estimate_init(&e, source, quant, &rules, format ? format : "gptq", err);
    if (!rc)
        printf("output   %llu bytes of tensors; the source has %llu\n"
               "bits     %.3f per weight over all tensors, %.3f over the %.1f %% quantized\n"
               "memory   at most %.0f MB in each stage\n",
               (unsigned long long)e.bytes, (unsigned long long)e.source_bytes,
               8.0 * (double)e.bytes / (double)e.n_weights,
               e.n_quantized ? 8.0 * (double)e.quantized_bytes / (double)e.n_quantized : 0.0,
               100.0 * (double)e.n_quantized / (double)e.n_weights,
               (2.0 * (double)e.largest_f32_bytes + (64 << 20)) / 1e6);
    woq_source_close(source);
    woq_json_free(quant);
    return rc;
}

static int compose_eval(struct woq_compose *c, struct woq_error *err)
{
    const int rc = woq_compose_add(c, "woq-extract", source_hidden, err);
    return rc ? rc : woq_compose_add(c, "woq-eval", "help|version|no-history", err);
}

static int place_model(struct woq_compose *c, char **operands, struct woq_error *err)
{
    return woq_compose_word(c, 0, operands[0], err);
}

const struct woq_task woq_tasks[] = {
    { "quantize", "quantize a checkpoint into a new one", "MODEL OUT", 2, quantize_opts,
      compose_quantize, place_quantize, report_quantize },
    { "eval", "measure a checkpoint on text", "MODEL", 1, eval_opts, compose_eval, place_model,
      NULL },
    { 0 },
};

void woq_task_peek(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const bool next = i + 1 < argc;
        if (strncmp(argv[i], "--method=", 9) == 0)
            method = argv[i] + 9;
        else if (strcmp(argv[i], "--method") == 0 && next)
            method = argv[++i];
        else if (strncmp(argv[i], "--rule", 6) == 0)
            has_rules = true;
    }
}

bool woq_task_help(const struct woq_task *t, const struct woq_opt *const *tables, size_t n,
                   int argc, char **argv)
{
    struct woq_str text = { 0 };
    bool found = false;

    for (int i = 1; i < argc && !found && strcmp(argv[i], "--") != 0; i++) {
        found = true;
        if (strcmp(argv[i], "--help=mdoc") == 0)
            woq_opt_mdoc(tables, n, &text);
        else if (strcmp(argv[i], "--help=complete") == 0)
            woq_opt_complete(tables, n, &text);
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            woq_str_addf(&text, "usage: woq %s [OPTIONS] %s\n%s\n\n", t->name, t->operands,
                         t->summary);
            woq_opt_help(tables, n, &text);
            woq_str_addf(&text, "\nSee woq(1), woq(7).\n");
        } else
            found = false;
    }
    if (text.s)
        fputs(text.s, stdout);
    woq_str_release(&text);
    return found;
}
