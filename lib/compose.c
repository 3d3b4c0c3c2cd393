/* compose.c -- joins option tables, splits one command line over the stages. */
#include <woq/compose.h>

#include <stdlib.h>
#include <string.h>

struct woq_compose_row {
    char *name, *choices, *help;
    char type[8]; /* as --help=complete has it: "flag" "int" "number" "size" "enum" "list" "string"
                   */
    unsigned stages; /* bit i: stage i has this option */
    /* What the parser fills. Numbers stay text: the program that owns them reads them. */
    const char *value;
    bool flag;
    struct woq_list list;
};

static bool is_hidden(const struct woq_compose *c, const char *hidden, const char *name)
{
    const size_t n = strlen(name);

    if (hidden && strcmp(hidden, "*") == 0) {
        for (size_t i = 0; i < c->n_rows; i++)
            if (strcmp(c->rows[i].name, name) == 0)
                return false;
        return true;
    }
    for (const char *h = hidden; h; h = strchr(h, '|') ? strchr(h, '|') + 1 : NULL)
        if (strncmp(h, name, n) == 0 && (h[n] == '|' || h[n] == '\0'))
            return true;
    return false;
}

static int add_row(struct woq_compose *c, size_t stage, char *fields[4], struct woq_error *err)
{
    struct woq_compose_row *rows, *row;

    for (size_t i = 0; i < c->n_rows; i++)
        if (strcmp(c->rows[i].name, fields[0]) == 0) {
            c->rows[i].stages |= 1u << stage;
            return WOQ_OK;
        }
    rows = realloc(c->rows, (c->n_rows + 1) * sizeof *rows);
    if (!rows)
        return woq_fail_nomem(err, sizeof *rows);
    c->rows = rows;
    row = &rows[c->n_rows];
    memset(row, 0, sizeof *row);
    row->stages = 1u << stage;
    row->name = strdup(fields[0]);
    row->choices = strdup(fields[2]);
    row->help = strdup(fields[3]);
    memcpy(row->type, fields[1], strnlen(fields[1], sizeof row->type - 1));
    c->n_rows++;
    return row->name && row->choices && row->help ? WOQ_OK : woq_fail_nomem(err, 64);
}

/* The joined table, bound anew: rows move when they grow. */
static int bind(struct woq_compose *c, struct woq_error *err)
{
    free(c->opts);
    c->opts = calloc(c->n_rows + 1, sizeof *c->opts);
    if (!c->opts)
        return woq_fail_nomem(err, c->n_rows * sizeof *c->opts);
    for (size_t i = 0; i < c->n_rows; i++) {
        struct woq_compose_row *row = &c->rows[i];
        struct woq_opt *o = &c->opts[i];

        o->long_name = row->name;
        o->help = row->help;
        o->type = WOQ_OPT_STR;
        o->arg = strcmp(row->type, "int") == 0      ? "N"
                 : strcmp(row->type, "number") == 0 ? "X"
                 : strcmp(row->type, "size") == 0   ? "SIZE"
                                                    : "TEXT";
        o->ptr = &row->value;
        if (strcmp(row->type, "flag") == 0) {
            o->type = WOQ_OPT_FLAG;
            o->arg = NULL;
            o->ptr = &row->flag;
        } else if (strcmp(row->type, "list") == 0) {
            o->type = WOQ_OPT_LIST;
            o->ptr = &row->list;
        } else if (strcmp(row->type, "enum") == 0) {
            o->type = WOQ_OPT_ENUM;
            o->arg = "WORD";
            o->choices = row->choices;
        }
    }
    return WOQ_OK;
}

int woq_compose_add(struct woq_compose *c, const char *program, const char *hidden,
                    struct woq_error *err)
{
    char *ask[] = { (char *)program, (char *)"--help=complete", NULL };
    struct woq_str table = { 0 };
    const size_t stage = c->n_stages;
    char *rest;
    int rc;

    if (stage == WOQ_COMPOSE_STAGES)
        return woq_fail(err, WOQ_EUSAGE, NULL, "more than %d stages", WOQ_COMPOSE_STAGES);
    memset(&c->stages[stage], 0, sizeof c->stages[stage]);
    c->n_stages++;
    if ((rc = woq_compose_word(c, stage, program, err)) || (rc = woq_capture(ask, &table, err)))
        goto out;
    for (char *line = table.s ? strtok_r(table.s, "\n", &rest) : NULL; line && !rc;
         line = strtok_r(NULL, "\n", &rest)) {
        char *fields[4] = { line, NULL, NULL, NULL };

        for (int i = 1; i < 4 && fields[i - 1]; i++)
            if ((fields[i] = strchr(fields[i - 1], '\t')) != NULL)
                *fields[i]++ = '\0';
        if (!fields[3] || strncmp(fields[0], "--", 2) != 0)
            rc = woq_fail(err, WOQ_EDATA, "are all programs of one version?",
                          "'%s --help=complete' printed no option table", program);
        else if (fields[0] += 2, !is_hidden(c, hidden, fields[0]))
            rc = add_row(c, stage, fields, err);
    }
    if (!rc)
        rc = bind(c, err);
out:
    woq_str_release(&table);
    return rc;
}

int woq_compose_add_words(struct woq_compose *c, const char *words, struct woq_error *err)
{
    const size_t stage = c->n_stages;
    char *copy = strdup(words), *rest;
    int rc = copy ? WOQ_OK : woq_fail_nomem(err, strlen(words));

    if (!rc && stage == WOQ_COMPOSE_STAGES)
        rc = woq_fail(err, WOQ_EUSAGE, NULL, "more than %d stages", WOQ_COMPOSE_STAGES);
    if (!rc) {
        memset(&c->stages[stage], 0, sizeof c->stages[stage]);
        c->n_stages++;
        for (char *word = strtok_r(copy, " \t\n", &rest); word && !rc;
             word = strtok_r(NULL, " \t\n", &rest))
            rc = woq_compose_word(c, stage, word, err);
        if (!rc && !c->stages[stage].argv)
            rc = woq_fail(err, WOQ_EUSAGE, NULL, "'%s': want a command", words);
    }
    free(copy);
    return rc;
}

int woq_compose_nest(struct woq_compose *c, size_t first, size_t n, size_t host, const char *option,
                     struct woq_error *err)
{
    if (c->n_nests == WOQ_COMPOSE_NESTS)
        return woq_fail(err, WOQ_EUSAGE, NULL, "more than %d commands inside others",
                        WOQ_COMPOSE_NESTS);
    c->nests[c->n_nests++] = (struct woq_compose_nest){ first, n, host, option };
    return WOQ_OK;
}

int woq_compose_word(struct woq_compose *c, size_t stage, const char *word, struct woq_error *err)
{
    char **argv = c->stages[stage].argv;
    size_t n = 0;

    while (argv && argv[n])
        n++;
    argv = realloc(argv, (n + 2) * sizeof *argv);
    if (!argv)
        return woq_fail_nomem(err, (n + 2) * sizeof *argv);
    c->stages[stage].argv = argv;
    argv[n] = strdup(word);
    argv[n + 1] = NULL;
    return argv[n] ? WOQ_OK : woq_fail_nomem(err, strlen(word));
}

/* "1..8" in the column of choices is the range of a number. */
static int check_range(const struct woq_compose_row *row, struct woq_error *err)
{
    const char *dots = strstr(row->choices, "..");
    char *end;

    if (!row->value || !dots || (strcmp(row->type, "int") != 0 && strcmp(row->type, "number") != 0))
        return WOQ_OK;
    const double x = strtod(row->value, &end);
    if (end == row->value || *end || !(x >= strtod(row->choices, NULL)) ||
        !(x <= strtod(dots + 2, NULL)))
        return woq_fail(err, WOQ_EUSAGE, NULL, "--%s %s: want %s", row->name, row->value,
                        row->choices);
    return WOQ_OK;
}

static int give(struct woq_compose *c, size_t stage, const char *name, const char *value,
                struct woq_error *err)
{
    struct woq_str option = { 0 };
    int rc = woq_str_addf(&option, "--%s", name);

    /* A value that looks like an option keeps to its name, else two words read better. */
    if (!rc && value && value[0] == '-')
        rc = woq_str_addf(&option, "=%s", value);
    if (rc)
        rc = woq_fail_nomem(err, 64);
    else
        rc = woq_compose_word(c, stage, option.s, err);
    woq_str_release(&option);
    return rc || !value || value[0] == '-' ? rc : woq_compose_word(c, stage, value, err);
}

/* The command lines of nested stages become words of their hosts. */
static int hand_over(struct woq_compose *c, struct woq_error *err)
{
    bool nested[WOQ_COMPOSE_STAGES] = { false };
    struct woq_stage sorted[WOQ_COMPOSE_STAGES];
    const size_t n = c->n_stages;
    size_t at = 0;
    int rc = WOQ_OK;

    for (size_t i = 0; i < c->n_nests && !rc; i++) {
        const struct woq_compose_nest *nest = &c->nests[i];
        struct woq_str text = { 0 };

        if (woq_pipeline_text(c->stages + nest->first, nest->n, &text))
            rc = woq_fail_nomem(err, 1 << 10);
        else if (nest->option)
            rc = give(c, nest->host, nest->option, text.s, err);
        else
            rc = woq_compose_word(c, nest->host, text.s, err);
        for (size_t k = 0; k < nest->n; k++)
            nested[nest->first + k] = true;
        woq_str_release(&text);
    }
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n; i++)
            if (nested[i] == (pass == 1)) {
                sorted[at++] = c->stages[i];
                c->n_nested += nested[i];
            }
    memcpy(c->stages, sorted, n * sizeof *sorted);
    c->n_stages -= c->n_nested;
    return rc;
}

int woq_compose_finish(struct woq_compose *c, struct woq_error *err)
{
    int rc = WOQ_OK;

    for (size_t i = 0; i < c->n_rows; i++) {
        const struct woq_compose_row *row = &c->rows[i];

        if ((rc = check_range(row, err)) < 0)
            return rc;
        for (size_t stage = 0; stage < c->n_stages && !rc; stage++) {
            if (!(row->stages & 1u << stage))
                continue;
            if (row->flag)
                rc = give(c, stage, row->name, NULL, err);
            if (row->value && !rc)
                rc = give(c, stage, row->name, row->value, err);
            for (size_t k = 0; k < row->list.n && !rc; k++)
                rc = give(c, stage, row->name, row->list.items[k], err);
        }
        if (rc)
            return rc;
    }
    return hand_over(c, err);
}

double woq_compose_number(const struct woq_compose *c, const char *long_name, double otherwise)
{
    for (size_t i = 0; i < c->n_rows; i++) {
        const struct woq_compose_row *row = &c->rows[i];
        const char *text = row->value;

        if (strcmp(row->name, long_name) != 0)
            continue;
        if (!text && (text = strstr(row->help, "(default ")) != NULL)
            text += strlen("(default ");
        return text ? strtod(text, NULL) : otherwise;
    }
    return otherwise;
}

bool woq_compose_has(const struct woq_compose *c, size_t stage, const char *long_name)
{
    for (size_t i = 0; i < c->n_rows; i++)
        if (strcmp(c->rows[i].name, long_name) == 0)
            return c->rows[i].stages & 1u << stage;
    return false;
}

const char *woq_compose_value(const struct woq_compose *c, const char *long_name)
{
    for (size_t i = 0; i < c->n_rows; i++)
        if (strcmp(c->rows[i].name, long_name) == 0)
            return c->rows[i].flag ? "true" : c->rows[i].value;
    return NULL;
}

const struct woq_list *woq_compose_list(const struct woq_compose *c, const char *long_name)
{
    for (size_t i = 0; i < c->n_rows; i++)
        if (strcmp(c->rows[i].name, long_name) == 0)
            return &c->rows[i].list;
    return NULL;
}

void woq_compose_release(struct woq_compose *c)
{
    for (size_t s = 0; s < c->n_stages + c->n_nested; s++) {
        for (char **word = c->stages[s].argv; word && *word; word++)
            free(*word);
        free(c->stages[s].argv);
    }
    for (size_t i = 0; i < c->n_rows; i++) {
        free(c->rows[i].name);
        free(c->rows[i].choices);
        free(c->rows[i].help);
        free(c->rows[i].list.items);
    }
    free(c->rows);
    free(c->opts);
    memset(c, 0, sizeof *c);
}
