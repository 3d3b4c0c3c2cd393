/* woq-info -- what this build is and what it would use on this machine. */
#include <formats/gguf_arch.h>
#include <woq/filter.h>
#include <woq/kernels.h>
#include <woq/linalg.h>
#include <woq/packages.h>
#include <woq/threads.h>

#ifdef __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

static bool json;

/* clang-format off */
static const struct woq_opt opts[] = {
    { WOQ_OPT_FLAG, 'j', "json", NULL, &json, false, "one JSON object" },
    { WOQ_OPT_END },
};
/* clang-format on */

/* ISA rows in order: compiled in, runnable here, chosen (WOQ_ISA caps the choice). */
static struct woq_json *isa_table(void)
{
    const struct woq_kernels *tables[16];
    int runnable[16];
    const size_t n = woq_kernels_all(tables, runnable, 16);
    struct woq_json *list = woq_json_array();

    for (size_t i = 0; i < n; i++) {
        struct woq_json *o = woq_json_object();
        woq_json_set_str(o, "isa", tables[i]->isa);
        woq_json_set_bool(o, "runnable", runnable[i]);
        woq_json_set_bool(o, "chosen", !strcmp(tables[i]->isa, woq_kernels()->isa));
        woq_json_push(list, o);
    }
    return list;
}

static struct woq_json *packages(void)
{
    struct woq_json *o = woq_json_object();

    woq_json_set_str(o, "zstd", woq_version_zstd());
    woq_json_set_str(o, "xxhash", woq_version_xxhash());
    woq_json_set_str(o, "cjson", woq_version_cjson());
    woq_json_set_str(o, "pcre2", woq_version_pcre2());
    woq_json_set_str(o, "utf8proc", woq_version_utf8proc());
    return o;
}

/* What config.json may name as model_type, as the table of architectures has it. */
static struct woq_json *architectures(void)
{
    struct woq_json *list = woq_json_array();
    const struct woq_arch *a;

    for (size_t i = 0; (a = woq_arch_at(i)); i++) {
        struct woq_json *o = woq_json_object();
        woq_json_set_str(o, "model_type", a->model_type);
        woq_json_set_str(o, "class", a->architectures[0]);
        const struct woq_gguf_arch *row = woq_gguf_arch_of(a);
        woq_json_set(o, "gguf", row ? woq_json_of_str(row->name) : woq_json_of_null());
        woq_json_push(list, o);
    }
    return list;
}

static struct woq_json *collect(void)
{
    struct woq_json *o = woq_json_object(), *blas = woq_json_object();

    woq_json_set_str(o, "version", WOQ_VERSION);
    woq_json_set_str(o, "stream", WOQ_WTS_VERSION);
    woq_json_set_str(o, "compiler", COMPILER);
    woq_json_set_num(o, "threads", woq_threads());
    woq_json_set(o, "isa", isa_table());
    woq_json_set_str(blas, "core", woq_blas_core());
    woq_json_set_str(blas, "config", woq_blas_config());
    woq_json_set(o, "blas", blas);
    woq_json_set(o, "packages", packages());
    woq_json_set(o, "architectures", architectures());
    return o;
}

static void print_text(const struct woq_json *o)
{
    const struct woq_json *blas = woq_json_get(o, "blas");

    printf("woq %s, stream format %s, compiled by %s\n", woq_json_get_str(o, "version"),
           woq_json_get_str(o, "stream"), woq_json_get_str(o, "compiler"));
    printf("threads  %lld\n", (long long)woq_json_get_int(o, "threads", 0));
    woq_json_each(row, woq_json_get(o, "isa"))
    {
        printf("isa      %-8s %s%s\n", woq_json_get_str(row, "isa"),
               woq_json_get_bool(row, "runnable", false) ? "can run"
                                                         : "compiled in, can't run here",
               woq_json_get_bool(row, "chosen", false) ? ", chosen" : "");
    }
    printf("blas     %s (%s)\n", woq_json_get_str(blas, "core"), woq_json_get_str(blas, "config"));
    woq_json_each(package, woq_json_get(o, "packages"))
    {
        printf("package  %-8s %s\n", woq_json_key(package), woq_json_str(package));
    }
    woq_json_each(arch, woq_json_get(o, "architectures"))
    {
        const char *gguf = woq_json_get_str(arch, "gguf");

        printf("arch     %-12s %s%s%s\n", woq_json_get_str(arch, "model_type"),
               woq_json_get_str(arch, "class"), gguf ? ", GGUF " : "", gguf ? gguf : "");
    }
}

int main(int argc, char **argv)
{
    static const struct woq_program prog = { .name = "woq-info",
                                             .summary =
                                                 "show what this build is and what it uses here",
                                             .opts = opts,
                                             .flags = WOQ_SOURCE | WOQ_SINK,
                                             .examples = "  woq-info\n"
                                                         "  woq-info --json | jq .blas.core\n"
                                                         "  WOQ_ISA=ref woq-info\n" };
    struct woq_filter w;
    struct woq_json *o;
    char *text = NULL;
    int rc = WOQ_OK;

    woq_filter_open(&w, &prog, argc, argv);
    o = collect();
    if (json)
        rc =
            (text = woq_json_print(o, false)) ? (puts(text), WOQ_OK) : woq_fail_nomem(&w.err, 1024);
    else
        print_text(o);
    free(text);
    woq_json_free(o);
    return woq_filter_close(&w, rc);
}
