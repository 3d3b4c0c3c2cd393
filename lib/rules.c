/* rules.c -- rules from text and JSON, matched against the names and roles of weights. */
#include <woq/arch.h>
#include <woq/quant.h>
#include <woq/regex.h>
#include <woq/rules.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct rule {
    enum woq_rule_kind kind;
    char *pattern;
    char *text;             /* as given, for messages */
    struct woq_regex *re;   /* WOQ_RULE_REGEX; WOQ_RULE_NAME where the pattern is one */
    struct woq_json *quant; /* the fields, under our names */
    size_t n_matched;
};

struct woq_rules {
    struct rule *list;
    size_t n, cap;
};

int woq_rules_open(struct woq_rules **r, struct woq_error *err)
{
    *r = calloc(1, sizeof **r);
    return *r ? WOQ_OK : woq_fail_nomem(err, sizeof **r);
}

static void rule_release(struct rule *rule)
{
    free(rule->pattern);
    free(rule->text);
    woq_regex_close(rule->re);
    woq_json_free(rule->quant);
    memset(rule, 0, sizeof *rule);
}

void woq_rules_close(struct woq_rules *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++)
        rule_release(&r->list[i]);
    free(r->list);
    free(r);
}

size_t woq_rules_count(const struct woq_rules *r)
{
    return r->n;
}

const char *woq_rules_text(const struct woq_rules *r, size_t i, size_t *n_matched)
{
    *n_matched = r->list[i].n_matched;
    return r->list[i].text;
}

static char *copy_text(const char *from, size_t n, struct woq_error *err)
{
    char *to = malloc(n + 1);

    if (!to) {
        woq_fail_nomem(err, n + 1);
        return NULL;
    }
    memcpy(to, from, n);
    to[n] = 0;
    return to;
}

static int check_role(const char *role, struct woq_error *err)
{
    struct woq_str known = { 0 };
    int rc;

    if (strcmp(role, "linear") == 0 || woq_role_from_name(role) != WOQ_ROLE_NONE)
        return WOQ_OK;
    for (int i = WOQ_ROLE_NONE + 1; i < WOQ_N_ROLES; i++)
        woq_str_addf(&known, " %s", woq_role_name((enum woq_role)i));
    rc = woq_fail(err, WOQ_EUSAGE, NULL, "unknown role '%s', want linear or one of%s", role,
                  known.s ? known.s : "");
    woq_str_release(&known);
    return rc;
}

/* A name is also tried as a whole-match expression, unless it can't be one. */
static int compile(struct rule *rule, struct woq_error *err)
{
    struct woq_str whole = { 0 };
    struct woq_error unused;
    int rc = WOQ_OK;

    if (rule->kind == WOQ_RULE_ROLE)
        return check_role(rule->pattern, err);
    if (rule->kind == WOQ_RULE_REGEX) {
        rc = woq_regex_open(&rule->re, rule->pattern, strlen(rule->pattern), WOQ_REGEX_PCRE, err);
        return rc && err->status != WOQ_ENOMEM ? (err->status = WOQ_EUSAGE) : rc;
    }
    if (rule->kind != WOQ_RULE_NAME)
        return WOQ_OK;
    if (woq_str_addf(&whole, "\\A(?:%s)\\z", rule->pattern))
        return woq_fail_nomem(err, strlen(rule->pattern));
    if (woq_regex_open(&rule->re, whole.s, whole.len, WOQ_REGEX_PCRE, &unused))
        rule->re = NULL;
    woq_str_release(&whole);
    return rc;
}

/* Takes over `quant` in every case. */
static int append(struct woq_rules *r, enum woq_rule_kind kind, const char *pattern,
                  size_t pattern_bytes, const char *text, struct woq_json *quant,
                  struct woq_error *err)
{
    struct rule rule = { .kind = kind, .quant = quant };
    struct woq_scheme s;
    int rc = WOQ_ENOMEM;

    rule.pattern = copy_text(pattern, pattern_bytes, err);
    rule.text = copy_text(text, strlen(text), err);
    if (!rule.pattern || !rule.text)
        goto out;
    rc = pattern_bytes ? compile(&rule, err)
                       : woq_fail(err, WOQ_EUSAGE, NULL, "rule '%s' has an empty pattern", text);
    if (rc)
        goto out;
    if (woq_json_len(quant) == 0) {
        rc = woq_fail(err, WOQ_EUSAGE, "for example 'bits=8 group_size=128 asym'",
                      "rule '%s' says nothing about the scheme", text);
        goto out;
    }
    woq_scheme_init(&s);
    rc = woq_scheme_from_json(&s, quant, err);
    if (rc)
        goto out;
    if (r->n == r->cap) {
        const size_t cap = r->cap ? 2 * r->cap : 8;
        struct rule *grown = realloc(r->list, cap * sizeof *grown);
        if (!grown) {
            rc = woq_fail_nomem(err, cap * sizeof *grown);
            goto out;
        }
        r->list = grown;
        r->cap = cap;
    }
    r->list[r->n++] = rule;
    return WOQ_OK;
out:
    rule_release(&rule);
    return rc;
}

int woq_rules_add(struct woq_rules *r, enum woq_rule_kind kind, const char *text,
                  struct woq_error *err)
{
    struct woq_json *quant = woq_json_object();
    size_t pattern_bytes, n;
    const char *at = text;
    int rc;

    if (!quant)
        return woq_fail_nomem(err, 64);
    while (isspace((unsigned char)*at))
        at++;
    pattern_bytes = strcspn(at, " \t\n");
    for (const char *word = at + pattern_bytes; *(word += strspn(word, " \t\n")); word += n) {
        char one[128] = "";
        n = strcspn(word, " \t\n");
        if (n < sizeof one)
            memcpy(one, word, n);
        rc = woq_scheme_set(quant, n < sizeof one ? one : word, err);
        if (rc) {
            woq_json_free(quant);
            return rc;
        }
    }
    return append(r, kind, at, pattern_bytes, text, quant, err);
}

/* {"match": PATTERN, KEY: VALUE ...} */
static int add_item(struct woq_rules *r, const struct woq_json *item, struct woq_error *err)
{
    static const char *const kinds[] = { "match", "regex", "role", "name" };
    struct woq_json *keys = woq_json_copy(item), *quant = woq_json_object();
    const char *pattern = NULL;
    char *text = woq_json_print(item, false);
    int kind = -1, rc = WOQ_OK;

    for (int i = 0; i < 4; i++) {
        if (!woq_json_get(item, kinds[i]))
            continue;
        if (kind >= 0)
            rc = woq_fail(err, WOQ_EUSAGE, NULL, "has both '%s' and '%s'", kinds[kind], kinds[i]);
        kind = i;
        pattern = woq_json_get_str(item, kinds[i]);
        woq_json_del(keys, kinds[i]);
    }
    if (rc == WOQ_OK && !pattern)
        rc = woq_fail(err, WOQ_EUSAGE, NULL, "has no match, regex, role or name that is a text");
    if (rc == WOQ_OK && (!keys || !quant || !text))
        rc = woq_fail_nomem(err, 1 << 10);
    if (rc == WOQ_OK)
        rc = woq_scheme_merge(quant, keys, err);
    if (rc == WOQ_OK) {
        rc = append(r, (enum woq_rule_kind)kind, pattern, strlen(pattern), text, quant, err);
        quant = NULL;
    }
    woq_json_free(quant);
    woq_json_free(keys);
    free(text);
    return rc;
}

static int add_named(struct woq_rules *r, const struct woq_json *value, struct woq_error *err)
{
    const char *name = woq_json_key(value);
    struct woq_json *quant = woq_json_object();
    int rc = quant ? woq_scheme_merge(quant, value, err) : woq_fail_nomem(err, 64);

    if (rc) {
        woq_json_free(quant);
        return rc;
    }
    return append(r, WOQ_RULE_NAME, name, strlen(name), name, quant, err);
}

int woq_rules_add_file(struct woq_rules *r, const char *path, struct woq_error *err)
{
    struct woq_json *root = NULL;
    char *text = NULL;
    size_t bytes, i = 0;
    int rc = woq_file_read(path, 1 << 24, &text, &bytes, err);

    if (rc)
        return rc;
    rc = woq_json_parse(&root, text, bytes, err);
    free(text);
    if (rc) {
        woq_error_at(err, "%s", path);
        return rc;
    }
    if (woq_json_type(root) != WOQ_JARRAY && woq_json_type(root) != WOQ_JOBJECT)
        rc = woq_fail(err, WOQ_EUSAGE, NULL, "want an array of rules, or an object of schemes");
    woq_json_each(item, root)
    {
        const char *key = woq_json_key(item);
        if (rc)
            break;
        rc = key ? add_named(r, item, err) : add_item(r, item, err);
        if (rc && key)
            woq_error_at(err, "%s: '%s'", path, key);
        else if (rc)
            woq_error_at(err, "%s: rule %zu", path, i);
        i++;
    }
    woq_json_free(root);
    return rc ? woq_error_at(err, "%s", path) : WOQ_OK;
}

/* "model.layers.3.mlp.down_proj" of "model.layers.3.mlp.down_proj.weight". */
static int layer_of(char *layer, size_t cap, const char *name)
{
    const size_t n = strlen(name), suffix = strlen(".weight");

    if (n <= suffix || strcmp(name + n - suffix, ".weight") != 0 || n - suffix >= cap)
        return 0;
    memcpy(layer, name, n - suffix);
    layer[n - suffix] = 0;
    return 1;
}

static int matches_name(const struct rule *rule, const char *name, struct woq_error *err)
{
    char layer[512] = "";
    const int has_layer = layer_of(layer, sizeof layer, name);
    int rc;

    if (strcmp(name, rule->pattern) == 0 || (has_layer && strcmp(layer, rule->pattern) == 0))
        return 1;
    if (!rule->re)
        return 0;
    rc = woq_regex_search(rule->re, name, err);
    return rc || !has_layer ? rc : woq_regex_search(rule->re, layer, err);
}

/* 1, 0, or an error of the regular expression. */
static int matches(const struct rule *rule, const struct woq_frame *f, struct woq_error *err)
{
    const char *name = woq_frame_name(f), *role = woq_json_get_str(f->meta, "role");

    switch (rule->kind) {
    case WOQ_RULE_GLOB:
        return woq_name_match(name, rule->pattern);
    case WOQ_RULE_REGEX:
        return woq_regex_search(rule->re, name, err);
    case WOQ_RULE_NAME:
        return matches_name(rule, name, err);
    case WOQ_RULE_ROLE:
        break;
    }
    if (!role)
        return 0;
    if (strcmp(rule->pattern, "linear") == 0)
        return woq_role_is_linear(woq_role_from_name(role));
    return strcmp(rule->pattern, role) == 0;
}

int woq_rules_apply(struct woq_rules *r, struct woq_frame *f, struct woq_error *err)
{
    struct woq_tensor t;
    struct woq_json *quant = NULL;
    int rc;

    if (!woq_frame_is_tensor(f))
        return WOQ_OK;
    rc = woq_frame_view(f, &t, err);
    if (rc || t.n_dims != 2 || !woq_dtype_is_float(t.dtype))
        return rc;
    for (size_t i = 0; i < r->n; i++) {
        rc = matches(&r->list[i], f, err);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        r->list[i].n_matched++;
        if (!quant && !(quant = woq_json_get(woq_frame_edit(f), "quant"))) {
            woq_json_set(woq_frame_edit(f), "quant", woq_json_object());
            quant = woq_json_get(f->meta, "quant");
        }
        rc = quant ? woq_scheme_merge(quant, r->list[i].quant, err) : woq_fail_nomem(err, 64);
        if (rc)
            return rc;
    }
    return quant ? WOQ_ITEM : WOQ_OK;
}
