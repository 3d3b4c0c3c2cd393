/* config_values.c -- single values of a config.json, with their ranges and messages. */
#include "arch_internal.h"

#include <math.h>

const struct woq_json *woq_config_get(const struct woq_json *j, const char *const keys[2])
{
    const struct woq_json *v = keys[0] ? woq_json_get(j, keys[0]) : NULL;

    return v || !keys[1] ? v : woq_json_get(j, keys[1]);
}

int woq_config_u64(const struct woq_json *v, const char *key, uint64_t lo, uint64_t hi,
                   uint64_t *out, struct woq_error *err)
{
    double number;

    if (woq_json_u64(v, out) && *out >= lo && *out <= hi)
        return WOQ_OK;
    if (!woq_json_num(v, &number))
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' is not a number, want a count",
                        key);
    return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' is %g, want a whole number %llu..%llu",
                    key, number, (unsigned long long)lo, (unsigned long long)hi);
}

int woq_config_need(const struct woq_json *j, const char *key, uint64_t hi, size_t *out,
                    struct woq_error *err)
{
    const struct woq_json *v = woq_json_get(j, key);
    uint64_t n;
    int rc;

    if (woq_json_type(v) == WOQ_JNULL)
        return woq_fail(err, WOQ_EDATA, NULL, "config.json lacks '%s'", key);
    if ((rc = woq_config_u64(v, key, 1, hi, &n, err)) < 0)
        return rc;
    *out = (size_t)n;
    return WOQ_OK;
}

int woq_config_maybe(const struct woq_json *j, const char *key, uint64_t hi, uint64_t otherwise,
                     size_t *out, struct woq_error *err)
{
    *out = (size_t)otherwise;
    if (woq_json_type(woq_json_get(j, key)) == WOQ_JNULL)
        return WOQ_OK;
    return woq_config_need(j, key, hi, out, err);
}

int woq_config_real(const struct woq_json *j, const char *key, double lo, double hi,
                    double otherwise, double *out, struct woq_error *err)
{
    const struct woq_json *v = woq_json_get(j, key);

    *out = otherwise;
    if (woq_json_type(v) != WOQ_JNULL && !woq_json_num(v, out))
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' is not a number", key);
    if (isnan(*out))
        return woq_fail(err, WOQ_EDATA, NULL, "config.json lacks '%s'", key);
    if (!(*out > lo && *out <= hi))
        return woq_fail(err, WOQ_EDATA, NULL,
                        "config.json: '%s' is %g, want more than %g, up to %g", key, *out, lo, hi);
    return WOQ_OK;
}

int woq_config_flag(const struct woq_json *j, const char *key, bool otherwise, bool *out,
                    struct woq_error *err)
{
    const struct woq_json *v = woq_json_get(j, key);

    *out = otherwise;
    if (woq_json_type(v) != WOQ_JNULL && !woq_json_bool(v, out))
        return woq_fail(err, WOQ_EDATA, NULL, "config.json: '%s' is neither true nor false", key);
    return WOQ_OK;
}
