/* tasks.c -- the tasks of woq(1): which programs, in which order, with what on their command lines.
 */
#include "tasks.h"

#include <stdio.h>
#include <string.h>

static const char *method = "rtn", *on;
static struct woq_list rules;
static bool has_rules;
bool woq_dry_run;
static bool help;

static const struct woq_opt quantize_opts[] = {
    { WOQ_OPT_STR, 0, "method", "NAME", &method, false, "the quantizer is the program woq-NAME" },
    { WOQ_OPT_LIST, 0, "rule", "RULE", &rules, false,
      "'GLOB key=value ...': another scheme for tensors that match; the last rule wins" },
    { WOQ_OPT_STR, 0, "on", "COMMAND", &on, false,
      "run the quantizer by a command that takes a line of shell as its last word: 'ssh host'" },
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

static const struct woq_opt info_opts[] = {
    { WOQ_OPT_FLAG, 'j', "json", NULL, &woq_info_json, false, "one JSON object" },
    { WOQ_OPT_FLAG, 'h', "help", NULL, &help, false, "this text" },
    { WOQ_OPT_END },
};

/* Quantizers that look at more than a weight: what makes it of the activations, in front of them in
 * the loop of woq-calib. Any other quantizer gets the stream as it is. */
static const struct calibrated {
    const char *method, *before;
} calibrated[] = { { "gptq", "woq-hessian" } };

/* Options of stages that a task sets itself, or that would mean something else here. */
#define HIDDEN                                                                                     \
    "help|version|out|list|no-history|set|through|emit|token0|acts-from|acts-to|merge|keep-hess|"  \
    "fallback"
static const char hidden[] = HIDDEN;
/* --dtype is the quantizer's: the type of float tensors is left as woq-pack chooses it. */
static const char pack_hidden[] = HIDDEN "|dtype";
/* --match and --dtype are the quantizer's: woq-extract would drop and round weights. */
static const char source_hidden[] = "help|version|list|json|no-history|match|dtype|no-side";

static const struct calibrated *calibration(void)
{
    for (size_t i = 0; i < sizeof calibrated / sizeof *calibrated; i++)
        if (strcmp(calibrated[i].method, method) == 0)
            return &calibrated[i];
    return NULL;
}

static int add_quantizer(struct woq_compose *c, struct woq_error *err)
{
    char program[64];
    int rc;

    if (strlen(method) > 40 || strchr(method, '/'))
        return woq_fail(err, WOQ_EUSAGE, "see woq list", "--method %s: no such quantizer", method);
    snprintf(program, sizeof program, "woq-%s", method);
    rc = woq_compose_add(c, program, hidden, err);
    if (rc == WOQ_ESYS)
        return woq_fail(err, WOQ_EUSAGE, "woq list prints what there is",
                        "--method %s: there is no program '%s'", method, program);
    if (!rc && !woq_compose_has(c, c->n_stages - 1, "bits"))
        return woq_fail(err, WOQ_EUSAGE, "try --method rtn or gptq",
                        "--method %s: '%s' is no quantizer", method, program);
    return rc;
}

/* woq-extract | [woq-scheme] | QUANTIZER | woq-pack, with woq-calib --through 'BEFORE | QUANTIZER'
 * in its place where the method is calibrated, and either of them handed to --on. */
static int compose_quantize(struct woq_compose *c, struct woq_error *err)
{
    const struct calibrated *k = calibration();
    size_t first, loop = 0;
    int rc;

    if ((rc = woq_compose_add(c, "woq-extract", source_hidden, err)) ||
        (has_rules && (rc = woq_compose_add(c, "woq-scheme", "*", err))))
        return rc;
    first = c->n_stages;
    if (k) {
        loop = first++;
        if ((rc = woq_compose_add(c, "woq-calib", hidden, err)) ||
            (rc = woq_compose_add(c, k->before, hidden, err)))
            return rc;
    }
    if ((rc = add_quantizer(c, err)))
        return rc;
    if (on) {
        if ((rc = woq_compose_add_words(c, on, err)) ||
            (rc = woq_compose_nest(c, first, c->n_stages - 1 - first, c->n_stages - 1, NULL, err)))
            return rc;
        first = c->n_stages - 1;
    }
    if (k && (rc = woq_compose_nest(c, first, c->n_stages - first, loop, "through", err)))
        return rc;
    return woq_compose_add(c, "woq-pack", pack_hidden, err);
}

static int place_quantize(struct woq_compose *c, char **operands, struct woq_error *err)
{
    int rc;

    if (calibration() && !woq_compose_value(c, "text") && !woq_compose_value(c, "chat") &&
        !woq_compose_value(c, "tokens"))
        return woq_fail(err, WOQ_EUSAGE, "any plain text in the language of the model will do",
                        "--method %s is calibrated: want --text FILE, --chat FILE or --tokens SPEC",
                        method);
    rc = woq_compose_word(c, 0, operands[0], err);
    for (size_t i = 0; i < rules.n && !rc; i++)
        if (!(rc = woq_compose_word(c, 1, "--set", err)))
            rc = woq_compose_word(c, 1, rules.items[i], err);
    if (!rc)
        rc = woq_compose_word(c, c->n_stages - 1, "--out", err);
    return rc ? rc : woq_compose_word(c, c->n_stages - 1, operands[1], err);
}

static int report_quantize(const struct woq_compose *c, const char *model, struct woq_error *err)
{
    return woq_report_quantize(c, model, &rules, err);
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
      compose_quantize, place_quantize, report_quantize, NULL },
    { "eval", "measure a checkpoint on text", "MODEL", 1, eval_opts, compose_eval, place_model,
      NULL, NULL },
    { "info", "tell what a checkpoint is and what quantizing it takes", "MODEL", 1, info_opts, NULL,
      NULL, NULL, woq_info },
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
        else if (strncmp(argv[i], "--on=", 5) == 0)
            on = argv[i] + 5;
        else if (strcmp(argv[i], "--on") == 0 && next)
            on = argv[++i];
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
