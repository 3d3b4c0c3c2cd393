/* woq-stats -- statistics of activations per channel: largest |x|, mean |x|, mean of x^2.
 *
 * Reads `acts` chunks of a group of linears and puts one `stat` frame in their place, right before
 * the weights of the group. AWQ and SmoothQuant scale by them; mean of x^2 weights a search. */
#include <woq/moments_stage.h>

int main(int argc, char **argv)
{
    static const struct woq_opt opts[] = { { WOQ_OPT_END } };
    static const struct woq_program prog = {
        .name = "woq-stats",
        .summary = "statistics of activations per channel",
        .opts = opts,
        .examples = "  woq-extract M | woq-calib --text T --emit acts | woq-stats | "
                    "woq-rtn --search mse >q.wts\n",
    };
    struct woq_moments_stage stage = { .kind = WOQ_MOMENT_STAT };
    struct woq_filter w;
    struct woq_frame *f;
    int rc;

    woq_filter_open(&w, &prog, argc, argv);
    while ((rc = woq_filter_next(&w, &f)) > 0 && (rc = woq_moments_pass(&stage, &w, f)) == WOQ_OK)
        continue;
    if (rc == WOQ_OK)
        rc = woq_moments_flush(&stage, &w);
    woq_moments_stage_release(&stage);
    return woq_filter_close(&w, rc);
}
