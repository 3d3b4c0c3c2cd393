/* woq-pack -- a checkpoint from a stream of tensors: the end of every pipe.
 *
 * Packing bits is this program's business alone. The result appears under its name only after TAIL,
 * synced and complete; whatever happens before leaves nothing behind, and SIGINT, SIGTERM and
 * SIGHUP are caught for that by a thread of their own. */
#include <formats/gguf_types.h>
#include <formats/sink.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include <woq/filter.h>

static struct woq_sink_opts opts = { .format = "safetensors",
                                     .dtype = "auto",
                                     .type = "auto",
                                     .embed_type = "auto",
                                     .head_type = "auto",
                                     .scale_dtype = "auto",
                                     .checkpoint_format = "auto",
                                     .shard_bytes = 5000000000u };
static bool json;

/* clang-format off */
static const struct woq_opt table[] = {
    { WOQ_OPT_ENUM, 'f', "format", "FORMAT", &opts.format, true, "what to write",
      .choices = "safetensors|gptq|awq|autoround|inc|compressed-tensors|bnb|hqq|fp8|gguf|imatrix|imatrix-dat" },
    { WOQ_OPT_STR, 'o', "out", "PATH", &opts.path, true,
      "where: a folder, for gguf and imatrix a file; it appears only when it is complete", .local = true },
    { WOQ_OPT_FLAG, 0, "force", NULL, &opts.force, false,
      "replace an existing file or model folder", .local = true },
    { WOQ_OPT_ENUM, 0, "dtype", "TYPE", &opts.dtype, false,
      "folders: type of float tensors; auto keeps them for safetensors and is f16 for the others",
      .choices = "auto|keep|f32|f16|bf16" },
    { WOQ_OPT_ENUM, 't', "type", "TYPE", &opts.type, false,
      "gguf: type of float matrices, with the choices per tensor that llama-quantize makes under that "
      "name; auto keeps what a GGUF file had in blocks, the rest is f16",
      .choices = "auto|" WOQ_GGUF_MIXES },
    { WOQ_OPT_FLAG, 0, "pure", NULL, &opts.pure, false,
      "gguf: --type for every matrix alike, embedding and head too" },
    { WOQ_OPT_LIST, 0, "tensor-type", "GLOB=TYPE", &opts.tensor_types, false,
      "gguf: type of matrices whose name here or in the file matches; the first that matches counts" },
    { WOQ_OPT_ENUM, 0, "embed-type", "TYPE", &opts.embed_type, false,
      "gguf: type of the embedding, and of the head unless --head-type says otherwise",
      .choices = "auto|" WOQ_GGUF_TYPES },
    { WOQ_OPT_ENUM, 0, "head-type", "TYPE", &opts.head_type, false,
      "gguf: type of the head, and of an embedding that is tied to it",
      .choices = "auto|" WOQ_GGUF_TYPES },
    { WOQ_OPT_STR, 0, "imatrix", "FILE", &opts.imatrix, false,
      "gguf: weight errors by this importance matrix, of llama-imatrix in either form; without it by "
      "the statistics in the stream, if there are any" },
    { WOQ_OPT_ENUM, 0, "scale-dtype", "TYPE", &opts.scale_dtype, false,
      "packed formats: type of scales; auto is f16, for compressed-tensors that of float tensors",
      .choices = "auto|f16|bf16|f32" },
    { WOQ_OPT_STR, 0, "checkpoint-format", "NAME", &opts.checkpoint_format, false,
      "gptq: gptq or gptq_v2, how zero points are stored, gptq_p by planes; awq: gemm or gemv; inc: huggingface or default, its own; autoround: its packing_format; "
      "compressed-tensors: pack-quantized, int-quantized, float-quantized ...; auto: what most loaders know" },
    { WOQ_OPT_SIZE, 0, "shard-size", "SIZE", &opts.shard_bytes, false,
      "folders: start another file beyond this many bytes" },
    { WOQ_OPT_FLAG, 0, "json", NULL, &json, false,
      "print the report as one JSON object on standard output", .local = true },
    { WOQ_OPT_END },
};
/* clang-format on */

static struct woq_sink sink;
static sigset_t quit_signals;

/* Removes the temporary, then dies of the same signal. */
static void *watch(void *ctx)
{
    int sig = 0;

    (void)ctx;
    if (sigwait(&quit_signals, &sig) != 0)
        return NULL;
    woq_out_kill(&sink.out);
    signal(sig, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &quit_signals, NULL);
    raise(sig);
    _exit(128 + sig);
}

/* Before any other thread starts, so that all of them leave these signals to `watch`. A signal that
 * the caller ignores (nohup) stays ignored. */
static void catch_signals(void)
{
    static const int all[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction old;
    pthread_t thread;

    signal(SIGXFSZ, SIG_IGN); /* a file size limit is then a message, not a death */
    sigemptyset(&quit_signals);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (sigaction(all[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaddset(&quit_signals, all[i]);
    pthread_sigmask(SIG_BLOCK, &quit_signals, NULL);
    if (pthread_create(&thread, NULL, watch, NULL) == 0)
        pthread_detach(thread);
    else
        pthread_sigmask(SIG_UNBLOCK, &quit_signals, NULL);
}

static double bits_per(uint64_t bytes, uint64_t n)
{
    return n ? 8.0 * (double)bytes / (double)n : 0;
}

static int report(struct woq_filter *w)
{
    const struct woq_sink_report *r = &sink.report;
    struct woq_json *j;
    char *text;

    if (!json && strncmp(opts.format, "imatrix", 7) == 0) {
        woq_filter_note(w, "%s: importance of %zu matrices", opts.path, r->n_tensors);
        return WOQ_OK;
    }
    if (!json) {
        woq_filter_note(
            w, "%s: %zu tensors, %.1f MB, %.3f bits per weight true (%.3f where quantized)",
            opts.path, r->n_tensors, (double)r->file_bytes / 1e6,
            bits_per(r->tensor_bytes, r->n_weights), bits_per(r->quantized_bytes, r->n_quantized));
        if (r->n_fell_back)
            woq_filter_note(w,
                            "%zu tensors have columns that are no whole blocks of their type and "
                            "took a smaller one",
                            r->n_fell_back);
        if (r->blind_window)
            woq_filter_note(w,
                            "llama.cpp has no sliding window in this architecture: it differs "
                            "beyond %zu tokens",
                            r->blind_window);
        return WOQ_OK;
    }
    j = woq_json_object();
    woq_json_set_str(j, "format", r->format);
    woq_json_set_num(j, "files", (double)r->n_files);
    woq_json_set_num(j, "tensors", (double)r->n_tensors);
    woq_json_set_num(j, "bytes", (double)r->file_bytes);
    woq_json_set_num(j, "tensor_bytes", (double)r->tensor_bytes);
    woq_json_set_num(j, "weights", (double)r->n_weights);
    woq_json_set_num(j, "bits_per_weight", bits_per(r->tensor_bytes, r->n_weights));
    woq_json_set_num(j, "quantized_weights", (double)r->n_quantized);
    woq_json_set_num(j, "quantized_bits_per_weight", bits_per(r->quantized_bytes, r->n_quantized));
    woq_json_set_num(j, "fell_back", (double)r->n_fell_back);
    woq_json_set_num(j, "ignored_window", (double)r->blind_window);
    woq_json_set_num(j, "peak_bytes", (double)woq_peak_bytes());
    text = woq_json_print(j, false);
    woq_json_free(j);
    if (!text)
        return woq_fail_nomem(&w->err, 1 << 10);
    puts(text);
    free(text);
    return WOQ_OK;
}

static int run(struct woq_filter *w)
{
    const struct woq_json *head;
    struct woq_frame *f;
    uint64_t frames = 0, done = 0;
    int rc = woq_reader_head(w->in, &head, &w->err);

    if (rc == WOQ_OK)
        rc = woq_sink_open(&sink, &opts, head, &w->err);
    if (rc)
        return rc;
    woq_json_u64(woq_json_get(woq_json_get(head, "total"), "frames"), &frames);
    woq_progress_phase(w->progress, "pack", frames, "frames");
    while ((rc = woq_filter_next(w, &f)) > 0) {
        if ((rc = woq_sink_put(&sink, f, &w->err)) < 0)
            break;
        done += f->type[0] < 'a'; /* notes and the like were added on the way */
        woq_progress_step(w->progress, done, woq_frame_name(f));
    }
    if (rc == WOQ_OK)
        rc = woq_sink_finish(&sink, &w->err);
    return rc == WOQ_OK ? report(w) : rc;
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = {
        .name = "woq-pack",
        .summary = "write a stream as a checkpoint",
        .opts = table,
        .flags = WOQ_SINK,
        .examples =
            "  woq-extract model/ | woq-rtn --bits 4 --group-size 64 | "
            "woq-pack --format gptq -o out/\n"
            "  woq-extract model/ | woq-rtn --bits 4 --group-size 32 | "
            "woq-pack --format gguf -o out.gguf\n"
            "  woq-extract model.gguf | woq-pack --format safetensors --dtype bf16 -o out/\n",
    };
    struct woq_filter w;
    int rc;

    catch_signals();
    woq_filter_open(&w, &prog, argc, argv);
    rc = run(&w);
    woq_sink_release(&sink);
    return woq_filter_close(&w, rc);
}
