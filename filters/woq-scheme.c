/* woq-scheme -- write into the meta of weights how they are to be quantized.
 *
 * The quantizers after it take what is said there over their own options, so that local rules,
 * mixed bits and "leave lm_head alone" work once, for all of them. The weights themselves pass. */
#include <woq/filter.h>
#include <woq/quant.h>
#include <woq/rules.h>

static struct woq_list set, set_regex, set_role, file;
static bool allow_unmatched, list;
static char **words; /* the command line as it was, for the order of the rules */
static int n_words;
static struct woq_rules *rules;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_LIST, 's', "set", "'GLOB KEY=VALUE ...'", &set, false,
      "scheme for the weights whose name matches GLOB; may be repeated" },
    { WOQ_OPT_LIST, 'r', "set-regex", "'RE KEY=VALUE ...'", &set_regex, false,
      "the same for a regular expression (PCRE) without spaces, found anywhere in the name" },
    { WOQ_OPT_LIST, 0, "set-role", "'ROLE KEY=VALUE ...'", &set_role, false,
      "the same for a role (mlp.down, head ...), or for every linear weight of the blocks (linear)" },
    { WOQ_OPT_LIST, 'f', "file", "RULES.json", &file, false,
      "rules from a JSON file; may be repeated" },
    { WOQ_OPT_FLAG, 0, "allow-unmatched", NULL, &allow_unmatched, false,
      "a rule that matches no weight is no error" },
    { WOQ_OPT_FLAG, 'l', "list", NULL, &list, false,
      "say on standard error which scheme each weight got" },
    { WOQ_OPT_END },
};
/* clang-format on */

/* Place on the command line of an option's value, which points into one of the words. */
static int place_of(const char *value)
{
    for (int i = 0; i < n_words; i++)
        for (const char *at = words[i];; at++) {
            if (at == value)
                return i;
            if (!*at)
                break;
        }
    return n_words;
}

/* The rules in the order of the command line, whatever options they came from. */
static int check(struct woq_error *err)
{
    const struct woq_list *lists[] = { &set, &set_regex, &set_role, &file };
    size_t next[4] = { 0 };
    int rc = woq_rules_open(&rules, err);

    while (rc == WOQ_OK) {
        int best = -1, best_place = n_words + 1;
        for (int k = 0; k < 4; k++) {
            const int at = next[k] < lists[k]->n ? place_of(lists[k]->items[next[k]]) : n_words + 1;
            if (at < best_place) {
                best = k;
                best_place = at;
            }
        }
        if (best < 0)
            break;
        if (best == 3)
            rc = woq_rules_add_file(rules, file.items[next[3]], err);
        else
            rc =
                woq_rules_add(rules, (enum woq_rule_kind)best, lists[best]->items[next[best]], err);
        next[best]++;
    }
    if (rc == WOQ_OK && woq_rules_count(rules) == 0)
        rc = woq_fail(err, WOQ_EUSAGE, "for example --set 'lm_head* bits=8'", "no rule is given");
    return rc;
}

/* What a quantizer would refuse is refused here, where the rule can still be named. */
static int check_result(struct woq_filter *w, const struct woq_frame *f)
{
    const struct woq_json *quant = woq_json_get(f->meta, "quant");
    struct woq_scheme s;
    int rc;

    woq_scheme_init(&s);
    rc = woq_scheme_from_json(&s, quant, &w->err);
    if (rc == WOQ_OK)
        rc = woq_scheme_check(&s, &w->err);
    if (rc == WOQ_OK && list && !woq_filter_quiet(w)) {
        char *text = woq_json_print(quant, false);
        woq_filter_note(w, "%s %s", woq_frame_name(f), text ? text : "");
        free(text);
    }
    return rc;
}

static int annotate(struct woq_filter *w, struct woq_frame *f)
{
    int rc = woq_rules_apply(rules, f, &w->err);

    if (rc == WOQ_ITEM)
        rc = check_result(w, f);
    if (rc) {
        w->err.status = w->err.status == WOQ_EUSAGE ? WOQ_EDATA : w->err.status;
        return woq_filter_at(w, f);
    }
    return woq_filter_put(w, f);
}

static int check_matched(struct woq_error *err)
{
    for (size_t i = 0; !allow_unmatched && i < woq_rules_count(rules); i++) {
        size_t n;
        const char *text = woq_rules_text(rules, i, &n);
        if (n == 0)
            return woq_fail(err, WOQ_EDATA,
                            "woq-ls shows the names and roles; --allow-unmatched lets it pass",
                            "rule '%s' matched no weight", text);
    }
    return WOQ_OK;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-scheme",
        .summary = "write into the meta of weights how they are to be quantized",
        .opts = opts,
        .check = check,
        .examples = "  woq-extract model/ | woq-scheme --set-role 'mlp.down bits=8' "
                    "--set 'model.layers.0.* bits=16' | woq-rtn --bits 4 | ...\n"
    };
    struct woq_filter w;
    struct woq_frame *f;
    int rc;

    words = malloc((size_t)argc * sizeof *words);
    if (!words)
        return 1;
    memcpy(words, argv, (size_t)argc * sizeof *words);
    n_words = argc;
    woq_filter_open(&w, &prog, argc, argv);
    while ((rc = woq_filter_next(&w, &f)) > 0)
        if ((rc = annotate(&w, f)) < 0)
            break;
    if (rc == 0)
        rc = check_matched(&w.err);
    woq_rules_close(rules);
    free(words);
    return woq_filter_close(&w, rc);
}
