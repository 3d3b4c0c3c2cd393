/* eval_text.c -- a result in a few lines for people. */
#include <woq/eval.h>

#include <math.h>

static double number(const struct woq_json *r, const char *key)
{
    return woq_json_get_num(r, key, (double)NAN);
}

static int perplexity(const struct woq_json *r, struct woq_str *out)
{
    if (woq_json_get(r, "accuracy"))
        return woq_str_addf(out,
                            "accuracy    %.4f +/- %.4f  (LAMBADA, %.0f documents)\n"
                            "perplexity  %.4f +/- %.4f\n",
                            number(r, "accuracy"), number(r, "accuracy_stderr"),
                            number(r, "documents"), number(r, "perplexity"), number(r, "stderr"));
    if (!woq_json_get(r, "perplexity"))
        return WOQ_OK;
    return woq_str_addf(out,
                        "perplexity  %.4f +/- %.4f  (%s, ctx %.0f, windows %.0f, %.0f tokens "
                        "scored)\n",
                        number(r, "perplexity"), number(r, "stderr"),
                        woq_json_get_str(r, "convention"), number(r, "ctx"), number(r, "windows"),
                        number(r, "tokens"));
}

static int divergence(const struct woq_json *r, struct woq_str *out)
{
    if (!woq_json_get(r, "kl_mean"))
        return WOQ_OK;
    return woq_str_addf(out,
                        "reference   perplexity %.4f\n"
                        "divergence  mean %.6f +/- %.6f, median %.6f, 99 %% %.6f, max %.6f nats\n"
                        "agreement   %.2f %% same top token\n",
                        number(r, "reference_perplexity"), number(r, "kl_mean"),
                        number(r, "kl_stderr"), number(r, "kl_median"), number(r, "kl_99"),
                        number(r, "kl_max"), 100 * number(r, "top1_agreement"));
}

int woq_eval_text(const struct woq_json *result, struct woq_str *out)
{
    const char *prompt = woq_json_get_str(result, "prompt");

    if (woq_json_get_str(result, "text"))
        return woq_str_addf(out, "%s%s\n", prompt ? prompt : "", woq_json_get_str(result, "text"));
    if (perplexity(result, out) < 0 || divergence(result, out) < 0)
        return WOQ_ENOMEM;
    if (woq_json_get(result, "ignored_tensors") &&
        woq_str_addf(out, "ignored     %.0f tensors that the architecture does not know\n",
                     number(result, "ignored_tensors")) < 0)
        return WOQ_ENOMEM;
    return woq_str_addf(out, "speed       %.0f tokens/s, %.1f s, %.1f GFLOP/s\n",
                        number(result, "tokens_per_second"), number(result, "seconds"),
                        number(result, "gflops"));
}
