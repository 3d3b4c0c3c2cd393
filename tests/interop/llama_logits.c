/* llama_logits.c -- llama.cpp's logits of a GGUF file beside ours.
 *
 *     llama_logits MODEL.gguf IDS.json LOGITS.npy
 *
 * IDS.json is a list of token ids, LOGITS.npy [ids][vocabulary] f32 as woq-eval --logits writes it.
 * Prints the root of the mean square of the differences over that of ours, and the largest
 * difference over the largest of ours. Built by llama-archs.sh against llama.cpp's headers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>

static void quiet(enum ggml_log_level level, const char *text, void *ctx)
{
    (void)ctx;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static char *slurp(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;

    *bytes = 0;
    while (f && !feof(f)) {
        data = realloc(data, *bytes + 65537);
        *bytes += fread(data + *bytes, 1, 65536, f);
        data[*bytes] = 0;
    }
    if (!f || fclose(f))
        exit((fprintf(stderr, "llama_logits: can't read %s\n", path), 2));
    return data;
}

/* Logits of all tokens; the caller frees. */
static float *logits_of(const char *path, llama_token *ids, int n, int *vocab)
{
    struct llama_model_params mp = llama_model_default_params();
    struct llama_context_params cp = llama_context_default_params();
    struct llama_batch batch = llama_batch_init(n, 0, 1);
    struct llama_model *model = llama_model_load_from_file(path, mp);
    struct llama_context *ctx;
    float *out;

    cp.n_ctx = cp.n_batch = cp.n_ubatch = 256;
    cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    cp.type_k = cp.type_v = GGML_TYPE_F32;
    cp.n_threads = cp.n_threads_batch = 1;
    ctx = model ? llama_init_from_model(model, cp) : NULL;
    if (!ctx)
        exit((fprintf(stderr, "llama_logits: llama.cpp does not load %s\n", path), 1));
    for (int i = 0; i < n; i++) {
        batch.token[i] = ids[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    batch.n_tokens = n;
    if (llama_decode(ctx, batch))
        exit((fprintf(stderr, "llama_logits: llama.cpp does not run %s\n", path), 1));
    *vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    out = malloc(sizeof *out * (size_t)n * (size_t)*vocab);
    memcpy(out, llama_get_logits(ctx), sizeof *out * (size_t)n * (size_t)*vocab);
    llama_batch_free(batch);
    llama_free(ctx);
    llama_model_free(model);
    return out;
}

int main(int argc, char **argv)
{
    llama_token ids[256];
    size_t bytes;
    int n = 0, vocab = 0;
    double diff = 0, all = 0, most = 0, top = 0;

    if (argc != 4)
        return 2;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    for (char *text = slurp(argv[2], &bytes), *at = strpbrk(text, "0123456789"); at && n < 256;
         at = strpbrk(at, "0123456789"))
        ids[n++] = (llama_token)strtol(at, &at, 10);
    const float *theirs = logits_of(argv[1], ids, n, &vocab);
    const char *npy = slurp(argv[3], &bytes);
    const size_t want = sizeof(float) * (size_t)n * (size_t)vocab;
    if (bytes < want)
        return (fprintf(stderr, "llama_logits: %s is no [%d][%d]\n", argv[3], n, vocab), 1);
    const char *ours = npy + bytes - want;
    for (size_t i = 0; i < want / sizeof(float); i++) {
        float x;

        memcpy(&x, ours + i * sizeof x, sizeof x);
        const double d = fabs((double)x - (double)theirs[i]);
        diff += d * d;
        all += (double)x * (double)x;
        most = d > most || isnan(d) ? d : most;
        top = fabs((double)x) > top ? fabs((double)x) : top;
    }
    printf("%.2e %.2e\n", sqrt(diff / all), most / top);
    return 0;
}
