/* scheme.c -- how a weight is to be quantized: as a struct, as JSON, as "key=value" text.
 *
 * Names of other tools are read and written back as ours, so that a rule file made for them works
 * and a stream knows one spelling. */
#include <woq/format.h>
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
    GROUP_ROWS = 256,
    DOUBLE_QUANT = 512,
    FLOAT_ZERO = 1024,
    ALL = 2047
};

void woq_scheme_init(struct woq_scheme *s)
{
    const struct woq_scheme init = {
        .bits = 4,
        .group_size = 32,
        .group_dim = 1,
        .group_rows = 1,
        .sym = true,
        .dtype = "int",
        .search = "none",
        .scale_dtype = "f32",
        .dq = { .bits = 8, .group_size = 256, .dtype = "int" },
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

    if (!woq_word_in(list, word))
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

/* "int", "intN" with INC's endings (algorithms.md 1.1, 1.5c), a name of a float type, or a format.
 * It decides on the bits; what else a format has is left to fill_format. */
static int set_dtype(struct woq_scheme *s, const char *key, const struct woq_json *v,
                     struct woq_error *err)
{
    const char *word = woq_json_str(v);
    const struct woq_format *f = word ? woq_format_find(word, s->bits) : NULL;
    int fields = DTYPE;

    if (f && f->bits) {
        memcpy(s->dtype, f->name, strlen(f->name) + 1);
        s->bits = f->bits;
        return DTYPE | BITS;
    }
    if (woq_word_in("float fp32 fp16 bf16 f32 f16", word)) {
        memcpy(s->dtype, "float", sizeof "float");
        return DTYPE;
    }
    if (!word || strncmp(word, "int", 3) != 0)
        return bad(err, key, v, "int, int1 ... int8, float, or one of " WOQ_FORMAT_NAMES);
    if (word[3] && (word[3] < '1' || word[3] > '8' ||
                    (word[4] && !woq_word_in("_clip _fullrange _sym _asym", word + 4))))
        return bad(err, key, v, "int, int1 ... int8 (_clip, _fullrange)");
    memcpy(s->dtype, "int", sizeof "int");
    if (word[3]) {
        s->bits = word[3] - '0';
        fields |= BITS;
    }
    if (word[3] && word[4] && strstr(word, "sym")) {
        s->sym = word[5] == 's';
        return fields | SYM;
    }
    if (word[3] && word[4]) {
        s->full_range = word[5] == 'f';
        return fields | FULL_RANGE;
    }
    return fields;
}

/* What a codebook brings with it, where nothing else was said. */
static int fill_format(struct woq_scheme *s, int fields)
{
    const struct woq_format *f = woq_format_find(s->dtype, s->bits);

    if (!f || !f->bits)
        return fields;
    if (f->group && !(fields & GROUP_SIZE)) {
        s->group_size = f->group;
        fields |= GROUP_SIZE;
    }
    if (!(fields & SYM)) {
        s->sym = true;
        fields |= SYM;
    }
    if (!(fields & FULL_RANGE)) {
        s->full_range = false;
        fields |= FULL_RANGE;
    }
    if (!(fields & FLOAT_ZERO)) {
        s->float_zero = false;
        fields |= FLOAT_ZERO;
    }
    if (f->scale != WOQ_SCALE_FREE && !(fields & SCALE_DTYPE)) {
        memcpy(s->scale_dtype, "f32", sizeof "f32");
        fields |= SCALE_DTYPE;
    }
    return fields;
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

static int set_size(int64_t *out, const char *key, const struct woq_json *v, struct woq_error *err)
{
    long n = 0;
    const int rc = set_int(&n, key, v, -1, 1L << 31, "-1 or 1 and more", err);

    if (rc == WOQ_OK && n == 0)
        return bad(err, key, v, "-1 or 1 and more");
    *out = n;
    return rc;
}

/* A number, or AutoRound's pair (rows, columns) of a block. */
static int set_group_size(struct woq_scheme *s, const char *key, const struct woq_json *v,
                          struct woq_error *err)
{
    int64_t *place = &s->group_rows;
    int rc;

    if (woq_json_type(v) != WOQ_JARRAY) {
        rc = set_size(&s->group_size, key, v, err);
        return rc ? rc : GROUP_SIZE;
    }
    if (woq_json_len(v) != 2)
        return bad(err, key, v, "a number or [rows, columns]");
    woq_json_each(item, v)
    {
        if ((rc = set_size(place, key, item, err)))
            return rc;
        place = &s->group_size;
    }
    return GROUP_SIZE | GROUP_ROWS;
}

/* sym, asym, or a name of AutoRound for all of a scheme (algorithms.md 6.8). */
static int set_preset(struct woq_scheme *s, const char *key, const struct woq_json *v,
                      struct woq_error *err)
{
    static const struct {
        const char *name, *dtype;
        int bits;
        long group_size, group_rows;
    } presets[] = {
        { "W2A16", "int", 2, 128, 1 },
        { "W3A16", "int", 3, 128, 1 },
        { "W4A16", "int", 4, 128, 1 },
        { "W5A16", "int", 5, 128, 1 },
        { "W6A16", "int", 6, 128, 1 },
        { "W8A16", "int", 8, 128, 1 },
        { "W2A16G32", "int", 2, 32, 1 },
        { "W2A16G64", "int", 2, 64, 1 },
        { "MXFP4", "mxfp4", 4, 32, 1 },
        { "MXFP8", "mxfp8", 8, 32, 1 },
        { "NVFP4", "nvfp4", 4, 16, 1 },
        { "FPW8A16", "fp8_e4m3", 8, -1, -1 },
        { "FP8_BLOCK", "fp8_e4m3", 8, 128, 128 },
    };
    const char *word = woq_json_str(v);

    if (woq_word_in("sym asym", word)) {
        s->sym = word[0] == 's';
        return SYM;
    }
    for (size_t i = 0; word && i < sizeof presets / sizeof *presets; i++)
        if (strcmp(presets[i].name, word) == 0) {
            memcpy(s->dtype, presets[i].dtype, strlen(presets[i].dtype) + 1);
            s->bits = presets[i].bits;
            s->group_size = presets[i].group_size;
            s->group_rows = presets[i].group_rows;
            s->sym = true;
            s->full_range = false;
            return DTYPE | BITS | GROUP_SIZE | GROUP_ROWS | SYM | FULL_RANGE;
        }
    return bad(err, key, v,
               "sym, asym or a scheme of AutoRound for weights alone (W4A16 ..., MXFP4, MXFP8, "
               "NVFP4, FPW8A16, FP8_BLOCK)");
}

/* Our names; INC's begin with use_double_quant and double_quant_use_sym. One field for all of them:
 * a rule that names one replaces the rest by what it had. */
static int set_double_quant(struct woq_scheme *s, const char *key, const struct woq_json *v,
                            struct woq_error *err)
{
    struct woq_double_quant *d = &s->dq;
    long n = 0;
    int rc = WOQ_OK;

    if (woq_word_in("double_quant use_double_quant", key)) {
        rc = set_bool(&d->on, key, v, err);
    } else if (woq_word_in("double_quant_bits", key)) {
        rc = set_int(&n, key, v, 1, 8, "1..8", err);
        d->bits = (int)n;
    } else if (woq_word_in("double_quant_group_size", key)) {
        rc = set_size(&d->group_size, key, v, err);
    } else if (woq_word_in("double_quant_sym double_quant_use_sym", key)) {
        rc = set_bool(&d->sym, key, v, err);
    } else if (woq_word_in("double_quant_keep_codes", key)) {
        rc = set_bool(&d->keep_codes, key, v, err);
    } else if (woq_word_in("double_quant_dtype", key)) {
        rc = set_word(d->dtype, key, v, "int dynamic", err);
    } else {
        return WOQ_OK;
    }
    return rc ? rc : DOUBLE_QUANT;
}

/* Sets what one member says. Returns the fields that changed, or an error. */
static int set_member(struct woq_scheme *s, const char *key, const struct woq_json *v,
                      struct woq_error *err)
{
    long n = 0;
    int rc;

    if (woq_word_in("bits", key))
        return set_bits(s, key, v, err);
    if (woq_word_in("group_size", key))
        return set_group_size(s, key, v, err);
    if (woq_word_in("group_rows", key)) {
        rc = set_size(&s->group_rows, key, v, err);
        return rc ? rc : GROUP_ROWS;
    }
    if (woq_word_in("group_dim", key)) {
        rc = set_int(&n, key, v, 0, 1, "0 or 1", err);
        s->group_dim = (int)n;
        return rc ? rc : GROUP_DIM;
    }
    if (woq_word_in("sym use_sym", key)) {
        rc = set_bool(&s->sym, key, v, err);
        return rc ? rc : SYM;
    }
    if (woq_word_in("scheme", key))
        return set_preset(s, key, v, err);
    if (woq_word_in("full_range use_full_range", key)) {
        rc = set_bool(&s->full_range, key, v, err);
        return rc ? rc : FULL_RANGE;
    }
    if (woq_word_in("float_zero", key)) {
        rc = set_bool(&s->float_zero, key, v, err);
        return rc ? rc : FLOAT_ZERO;
    }
    if (woq_word_in("search use_mse_search", key))
        return set_search(s, key, v, err);
    if (woq_word_in("scale_dtype", key)) {
        rc = set_word(s->scale_dtype, key, v, "f32 f16", err);
        return rc ? rc : SCALE_DTYPE;
    }
    rc = set_double_quant(s, key, v, err);
    if (rc)
        return rc;
    return woq_fail(
        err, WOQ_EUSAGE,
        "keys: bits group_size group_dim group_rows sym full_range float_zero dtype search "
        "scale_dtype double_quant double_quant_bits double_quant_group_size ...",
        "unknown key '%s' in a quantization scheme", key);
}

/* A preset first, the rest on top of it; the dtype last, because it decides on the bits. */
static int turn_of(const char *key)
{
    return woq_word_in("scheme", key)                         ? 0
           : woq_word_in("dtype data_type weight_dtype", key) ? 2
                                                              : 1;
}

static int set_members(struct woq_scheme *s, const struct woq_json *quant, struct woq_error *err)
{
    int fields = 0;

    if (woq_json_type(quant) != WOQ_JOBJECT)
        return woq_fail(err, WOQ_EUSAGE, NULL, "a quantization scheme is a JSON object");
    for (int turn = 0; turn < 3; turn++)
        woq_json_each(item, quant)
        {
            const char *key = woq_json_key(item);
            const int rc = turn_of(key) != turn ? 0
                           : turn == 2          ? set_dtype(s, key, item, err)
                                                : set_member(s, key, item, err);
            if (rc < 0)
                return rc;
            fields |= rc;
        }
    /* bits=8 takes back an earlier "leave this weight alone" */
    if (fields & BITS && !(fields & DTYPE) && s->bits <= 8) {
        memcpy(s->dtype, "int", sizeof "int");
        fields |= DTYPE;
    }
    return fields & DTYPE ? fill_format(s, fields) : fields;
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
    if (fields & GROUP_ROWS && (fields != ALL || s->group_rows != 1))
        woq_json_set_num(o, "group_rows", (double)s->group_rows);
    if (fields & SYM)
        woq_json_set_bool(o, "sym", s->sym);
    if (fields & FULL_RANGE)
        woq_json_set_bool(o, "full_range", s->full_range);
    if (fields & FLOAT_ZERO && (fields != ALL || s->float_zero))
        woq_json_set_bool(o, "float_zero", s->float_zero);
    if (fields & DTYPE)
        woq_json_set_str(o, "dtype", s->dtype);
    if (fields & DOUBLE_QUANT && (fields != ALL || s->dq.on)) {
        woq_json_set_bool(o, "double_quant", s->dq.on);
        woq_json_set_num(o, "double_quant_bits", s->dq.bits);
        woq_json_set_num(o, "double_quant_group_size", (double)s->dq.group_size);
        woq_json_set_bool(o, "double_quant_sym", s->dq.sym);
        woq_json_set_str(o, "double_quant_dtype", s->dq.dtype);
        woq_json_set_bool(o, "double_quant_keep_codes", s->dq.keep_codes);
    }
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
    struct woq_scheme s, before;
    int fields;

    woq_scheme_init(&s);
    woq_scheme_init(&before);
    if (set_members(&before, quant, NULL) >= 0)
        s.dq = before.dq; /* its keys are one field */
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
    } else if (woq_word_in("sym asym", text)) {
        woq_json_set_bool(one, "sym", text[0] == 's');
    } else if (woq_word_in("full_range float_zero", text)) {
        woq_json_set_bool(one, text, true);
    } else if (woq_word_in("float", text)) {
        woq_json_set_str(one, "dtype", "float");
    } else {
        woq_json_free(one);
        return woq_fail(err, WOQ_EUSAGE, "for example bits=8 group_size=128 asym",
                        "'%s': want key=value, sym, asym, full_range, float_zero or float", text);
    }
    rc = one ? woq_scheme_merge(quant, one, err) : woq_fail_nomem(err, 64);
    woq_json_free(one);
    return rc;
}

/* What a codebook has no use for. */
static int check_format(const struct woq_scheme *s, const struct woq_format *f,
                        struct woq_error *err)
{
    if (s->bits != f->bits)
        return woq_fail(err, WOQ_EUSAGE, NULL, "bits %d: %s has %d", s->bits, f->name, f->bits);
    if (!s->sym || s->full_range || s->float_zero)
        return woq_fail(err, WOQ_EUSAGE, NULL, "%s has no %s", f->name,
                        s->full_range ? "full range" : "zero point, want sym");
    if (f->fixed_group && (s->group_size != f->group || s->group_rows != 1 || s->group_dim != 1))
        return woq_fail(err, WOQ_EUSAGE, "leave the group size to the format",
                        "group_size %lld: %s has groups of %d inputs", (long long)s->group_size,
                        f->name, f->group);
    if (f->scale != WOQ_SCALE_FREE && strcmp(s->scale_dtype, "f32") != 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "scale_dtype %s: %s has scales of one byte",
                        s->scale_dtype, f->name);
    return WOQ_OK;
}

static int check_groups(const struct woq_scheme *s, struct woq_error *err)
{
    if (s->group_size != -1 && s->group_size < 1)
        return woq_fail(err, WOQ_EUSAGE, NULL, "group_size %lld: want -1 or 1 and more",
                        (long long)s->group_size);
    if (s->group_rows != -1 && s->group_rows < 1)
        return woq_fail(err, WOQ_EUSAGE, NULL, "group_rows %lld: want -1 or 1 and more",
                        (long long)s->group_rows);
    if (s->group_rows != 1 && s->group_dim != 1)
        return woq_fail(err, WOQ_EUSAGE, NULL, "group_rows is for group_dim 1");
    if (s->group_rows != 1 && strcmp(s->search, "none") != 0)
        return woq_fail(err, WOQ_EUSAGE, NULL, "a search is for group_rows 1");
    return WOQ_OK;
}

static int check_double_quant(const struct woq_scheme *s, const struct woq_format *f,
                              struct woq_error *err)
{
    const char *what = NULL;

    if (!s->dq.on)
        return WOQ_OK;
    if (f && f->scale != WOQ_SCALE_FREE)
        what = "a dtype whose scales are one byte already";
    else if (s->group_rows != 1)
        what = "group_rows 1 only";
    else if (strcmp(s->scale_dtype, "f32") != 0)
        what = "scale_dtype f32 only";
    else if (strcmp(s->dq.dtype, "dynamic") == 0 && (s->dq.bits != 8 || s->dq.sym))
        what = "8 bits and asym where its dtype is dynamic";
    if (what)
        return woq_fail(err, WOQ_EUSAGE, NULL, "double quantization: %s%s",
                        f && f->scale != WOQ_SCALE_FREE ? "not for " : "for ", what);
    return WOQ_OK;
}

int woq_scheme_check(const struct woq_scheme *s, struct woq_error *err)
{
    const struct woq_format *f;
    int rc;

    if (woq_scheme_is_float(s))
        return WOQ_OK;
    if (s->bits < 1 || s->bits > 8)
        return woq_fail(err, WOQ_EUSAGE, NULL, "bits %d: want 1..8", s->bits);
    if ((rc = check_groups(s, err)))
        return rc;
    f = woq_format_find(s->dtype, s->bits);
    if ((rc = check_double_quant(s, f, err)))
        return rc;
    if (f && f->bits)
        return check_format(s, f, err);
    if (s->full_range && !s->sym)
        return woq_fail(err, WOQ_EUSAGE, "asymmetric codes use the full range already",
                        "full_range is for symmetric schemes");
    if (s->float_zero && s->sym)
        return woq_fail(err, WOQ_EUSAGE, NULL, "float_zero is for asymmetric schemes");
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
    return strcmp(s->dtype, "int") == 0 && (!s->sym || s->bits == 1);
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
