/* scheme.c -- how a weight is to be quantized: as a struct, as JSON, as "key=value" text.
 *
 * Names of other tools are read and written back as ours, so that a rule file made for them works
 * and a stream knows one spelling. */
#include <woq/quant.h>

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum field {
    BITS = 1,
    GROUP_SIZE = 2,
    GROUP_DIM = 4,
    SYM = 8,
    FULL_RANGE = 16,
    DTYPE = 32,
    SEARCH = 64,
    SCALE_DTYPE = 128,
    ALL = 255
};

void woq_scheme_init(struct woq_scheme *s)
{
    const struct woq_scheme init = {
        .bits = 4,
        .group_size = 32,
        .group_dim = 1,
        .sym = true,
        .dtype = "int",
        .search = "none",
        .scale_dtype = "f32",
    };

    *s = init;
}

static int bad(struct woq_error *err, const char *key, const struct woq_json *v, const char *want)
{
    char *text = woq_json_print(v, false);
    const int rc = woq_fail(err, WOQ_EUSAGE, NULL, "%s %s: want %s", key, text ? text : "?", want);

    free(text);
    return rc;
}

static bool in_list(const char *word, const char *list)
{
    const size_t n = word && !strchr(word, ' ') ? strlen(word) : 0;

    for (const char *at = list; n && (at = strstr(at, word)) != NULL; at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0))
            return true;
    return false;
}

static int set_int(long *out, const char *key, const struct woq_json *v, long lo, long hi,
                   const char *want, struct woq_error *err)
{
    double x;

    if (!woq_json_num(v, &x) || x != floor(x) || x < (double)lo || x > (double)hi)
        return bad(err, key, v, want);
    *out = (long)x;
    return WOQ_OK;
}

/* true, false; also 0 and 1, as key=value text and Python tools write them. */
static int set_bool(bool *out, const char *key, const struct woq_json *v, struct woq_error *err)
{
    double x;

    if (woq_json_bool(v, out))
        return WOQ_OK;
    if (woq_json_num(v, &x) && (x == 0.0 || x == 1.0)) {
        *out = x == 1.0;
        return WOQ_OK;
    }
    return bad(err, key, v, "true or false");
}

static int set_word(char out[16], const char *key, const struct woq_json *v, const char *list,
                    struct woq_error *err)
{
    const char *word = woq_json_str(v);

    if (!in_list(word, list))
        return bad(err, key, v, list);
    memcpy(out, word, strlen(word) + 1);
    return WOQ_OK;
}

static int set_bits(struct woq_scheme *s, const char *key, const struct woq_json *v,
                    struct woq_error *err)
{
    long bits = 0;
    const int rc = set_int(&bits, key, v, 1, 32, "1..8, or 16 (leave the weight alone)", err);

    if (rc)
        return rc;
    if (bits > 8 && bits != 16 && bits != 32)
        return bad(err, key, v, "1..8, or 16 (leave the weight alone)");
    s->bits = (int)bits;
    return BITS;
}

/* "int", "intN" (algorithms.md 1.1), or a name of a float type. */
static int set_dtype(struct woq_scheme *s, const char *key, const struct woq_json *v,
                     struct woq_error *err)
{
    const char *word = woq_json_str(v);

    if (in_list(word, "float fp32 fp16 bf16 f32 f16")) {
        memcpy(s->dtype, "float", sizeof "float");
        return DTYPE;
    }
    if (!word || strncmp(word, "int", 3) != 0)
        return bad(err, key, v, "int, int1 ... int8 or float");
    if (word[3] && (word[3] < '1' || word[3] > '8' || word[4]))
        return bad(err, key, v, "int, int1 ... int8 or float");
    memcpy(s->dtype, "int", sizeof "int");
    if (!word[3])
        return DTYPE;
    s->bits = word[3] - '0';
    return DTYPE | BITS;
}

static int set_search(struct woq_scheme *s, const char *key, const struct woq_json *v,
                      struct woq_error *err)
{
    bool clip;

    if (strcmp(key, "use_mse_search") != 0) {
        const int rc = set_word(s->search, key, v, "none clip mse", err);
        return rc ? rc : SEARCH;
    }
    if (set_bool(&clip, key, v, err))
        return WOQ_EUSAGE;
    memcpy(s->search, clip ? "clip" : "none", 5);
    return SEARCH;
}

/* Sets what one member says. Returns the fields that changed, or an error. */
static int set_member(struct woq_scheme *s, const char *key, const struct woq_json *v,
                      struct woq_error *err)
{
    long n = 0;
    int rc;

    if (in_list(key, "bits"))
        return set_bits(s, key, v, err);
    if (in_list(key, "group_size")) {
        rc = set_int(&n, key, v, -1, 1L << 31, "-1 or 1 and more", err);
        s->group_size = n;
        if (rc == WOQ_OK && n == 0)
            rc = bad(err, key, v, "-1 or 1 and more");
        return rc ? rc : GROUP_SIZE;
    }
    if (in_list(key, "group_dim")) {
        rc = set_int(&n, key, v, 0, 1, "0 or 1", err);
        s->group_dim = (int)n;
        return rc ? rc : GROUP_DIM;
    }
    if (in_list(key, "sym use_sym")) {
        rc = set_bool(&s->sym, key, v, err);
        return rc ? rc : SYM;
    }
    if (in_list(key, "scheme")) {
        const char *word = woq_json_str(v);
        if (!in_list(word, "sym asym"))
            return bad(err, key, v, "sym or asym");
        s->sym = word[0] == 's';
        return SYM;
    }
    if (in_list(key, "full_range use_full_range")) {
        rc = set_bool(&s->full_range, key, v, err);
        return rc ? rc : FULL_RANGE;
    }
    if (in_list(key, "dtype data_type weight_dtype"))
        return set_dtype(s, key, v, err);
    if (in_list(key, "search use_mse_search"))
        return set_search(s, key, v, err);
    if (in_list(key, "scale_dtype")) {
        rc = set_word(s->scale_dtype, key, v, "f32 f16", err);
        return rc ? rc : SCALE_DTYPE;
    }
    return woq_fail(err, WOQ_EUSAGE,
                    "keys: bits group_size group_dim sym full_range dtype search scale_dtype",
                    "unknown key '%s' in a quantization scheme", key);
}

static int set_members(struct woq_scheme *s, const struct woq_json *quant, struct woq_error *err)
{
    int fields = 0;

    if (woq_json_type(quant) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EUSAGE, NULL, "a quantization scheme is a JSON object");
    woq_json_each(item, quant)
    {
        const int rc = set_member(s, woq_json_key(item), item, err);
        if (rc < 0)
            return rc;
        fields |= rc;
    }
    /* bits=8 takes back an earlier "leave this weight alone" */
    if (fields & BITS && !(fields & DTYPE) && s->bits <= 8) {
        memcpy(s->dtype, "int", sizeof "int");
        fields |= DTYPE;
    }
    return fields;
}

int woq_scheme_from_json(struct woq_scheme *s, const struct woq_json *quant, struct woq_error *err)
{
    struct woq_scheme changed = *s;
    const int rc = set_members(&changed, quant, err);

    if (rc < 0)
        return rc;
    *s = changed;
    return WOQ_OK;
}

static void put(struct woq_json *o, const struct woq_scheme *s, int fields)
{
    if (fields & BITS)
        woq_json_set_num(o, "bits", s->bits);
    if (fields & GROUP_SIZE)
        woq_json_set_num(o, "group_size", (double)s->group_size);
    if (fields & GROUP_DIM)
        woq_json_set_num(o, "group_dim", s->group_dim);
    if (fields & SYM)
        woq_json_set_bool(o, "sym", s->sym);
    if (fields & FULL_RANGE)
        woq_json_set_bool(o, "full_range", s->full_range);
    if (fields & DTYPE)
        woq_json_set_str(o, "dtype", s->dtype);
    if (fields & SEARCH)
        woq_json_set_str(o, "search", s->search);
    if (fields & SCALE_DTYPE)
        woq_json_set_str(o, "scale_dtype", s->scale_dtype);
}

struct woq_json *woq_scheme_to_json(const struct woq_scheme *s)
{
    struct woq_json *o = woq_json_object();

    if (o)
        put(o, s, ALL);
    return o;
}

int woq_scheme_merge(struct woq_json *quant, const struct woq_json *from, struct woq_error *err)
{
    struct woq_scheme s;
    int fields;

    woq_scheme_init(&s);
    fields = set_members(&s, from, err);
    if (fields < 0)
        return fields;
    put(quant, &s, fields);
    return WOQ_OK;
}

/* A number, true, false, or else a string. */
static struct woq_json *value_of(const char *text)
{
    char *end;
    const double x = strtod(text, &end);

    if (*text && !*end && !isspace((unsigned char)*text))
        return woq_json_of_num(x);
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return woq_json_of_bool(*text == 't');
    return woq_json_of_str(text);
}

int woq_scheme_set(struct woq_json *quant, const char *text, struct woq_error *err)
{
    const char *equals = strchr(text, '=');
    struct woq_json *one = woq_json_object();
    char key[64] = "";
    int rc;

    if (equals && (size_t)(equals - text) < sizeof key) {
        memcpy(key, text, (size_t)(equals - text));
        woq_json_set(one, key, value_of(equals + 1));
    } else if (in_list(text, "sym asym")) {
        woq_json_set_bool(one, "sym", text[0] == 's');
    } else if (in_list(text, "full_range")) {
        woq_json_set_bool(one, "full_range", true);
    } else if (in_list(text, "float")) {
        woq_json_set_str(one, "dtype", "float");
    } else {
        woq_json_free(one);
        return woq_fail(err, WOQ_EUSAGE, "for example bits=8 group_size=128 asym",
                        "'%s': want key=value, sym, asym, full_range or float", text);
    }
    rc = one ? woq_scheme_merge(quant, one, err) : woq_fail_nomem(err, 64);
    woq_json_free(one);
    return rc;
}

int woq_scheme_check(const struct woq_scheme *s, struct woq_error *err)
{
    if (woq_scheme_is_float(s))
        return WOQ_OK;
    if (s->bits < 1 || s->bits > 8)
        return woq_fail(err, WOQ_EUSAGE, NULL, "bits %d: want 1..8", s->bits);
    if (s->group_size != -1 && s->group_size < 1)
        return woq_fail(err, WOQ_EUSAGE, NULL, "group_size %lld: want -1 or 1 and more",
                        (long long)s->group_size);
    if (s->full_range && !s->sym)
        return woq_fail(err, WOQ_EUSAGE, "asymmetric codes use the full range already",
                        "full_range is for symmetric schemes");
    /* algorithms.md 1.3: the formula divides by minus zero */
    if (s->full_range && s->bits == 1)
        return woq_fail(err, WOQ_EUSAGE, NULL, "full_range with 1 bit is not defined");
    return WOQ_OK;
}

bool woq_scheme_is_float(const struct woq_scheme *s)
{
    return s->bits > 8 || strcmp(s->dtype, "float") == 0;
}

bool woq_scheme_has_zero(const struct woq_scheme *s)
{
    return !s->sym || s->bits == 1;
}

size_t woq_scheme_group_elems(const struct woq_scheme *s, size_t n)
{
    return s->group_size < 1 || (uint64_t)s->group_size >= n ? n : (size_t)s->group_size;
}

size_t woq_scheme_groups(const struct woq_scheme *s, size_t n)
{
    const size_t group = woq_scheme_group_elems(s, n);

    return n == 0 ? 0 : n / group + (n % group != 0);
}
