/* table.c -- one row per instruction set, from the plainest to the widest; a member that a row does
 * not implement comes from the row above it. Built without any ISA flag, so that it runs anywhere.
 */
#ifdef __AVX__
#error "table.c must be built without ISA flags: leave -march out of CFLAGS"
#endif
#include "parts.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif

#define N_PARTS 7
#define PARTS(isa)                                                                                 \
    {                                                                                              \
        &woq_convert_##isa, &woq_quant_##isa, &woq_vector_##isa, &woq_decoder_##isa,               \
            &woq_rank_##isa, &woq_level_##isa, &woq_tile_##isa                                     \
    }

static int can_always(void)
{
    return 1;
}

#ifdef __x86_64__
/* clang 14 does not know the name "f16c" in __builtin_cpu_supports. */
static int has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;

    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

static int can_avx2(void)
{
    /* The compiler's run-time asks the system too whether it saves the wide registers. */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static int can_avx512(void)
{
    return can_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

static const struct row {
    const char *isa;
    int (*can_run)(void);
    const struct woq_kernels *parts[N_PARTS];
} rows[] = {
    { "ref", can_always, PARTS(ref) },
#ifdef __x86_64__
    { "avx2", can_avx2, PARTS(avx2) },
    { "avx512", can_avx512, PARTS(avx512) },
#endif
#ifdef __aarch64__
    { "neon", can_always, PARTS(neon) }, /* part of every ARMv8-A */
#endif
};
#define N_ROWS (sizeof rows / sizeof rows[0])

/* Every member of the struct is a pointer, so a table is also an array of them. */
#define N_MEMBERS (sizeof(struct woq_kernels) / sizeof(void (*)(void)))
_Static_assert(sizeof(struct woq_kernels) % sizeof(void (*)(void)) == 0, "a member is no pointer");

static struct woq_kernels tables[N_ROWS];
static size_t chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void overlay(struct woq_kernels *table, const struct woq_kernels *part)
{
    static const char null[sizeof(void (*)(void))];
    char *to = (char *)table;
    const char *from = (const char *)part;

    for (size_t i = 0; i < N_MEMBERS; i++, to += sizeof null, from += sizeof null)
        if (memcmp(from, null, sizeof null) != 0)
            memcpy(to, from, sizeof null);
}

static void resolve(void)
{
    const char *cap = getenv("WOQ_ISA");
    size_t top = N_ROWS - 1;

    if (cap && *cap)
        for (top = N_ROWS - 1; top > 0; top--)
            if (strcmp(rows[top].isa, cap) == 0)
                break;
    for (size_t r = 0; r < N_ROWS; r++) {
        if (r > 0)
            tables[r] = tables[r - 1];
        for (size_t p = 0; p < N_PARTS; p++)
            overlay(&tables[r], rows[r].parts[p]);
        tables[r].isa = rows[r].isa;
        if (r <= top && rows[r].can_run())
            chosen = r;
    }
}

const struct woq_kernels *woq_kernels(void)
{
    pthread_once(&once, resolve);
    return &tables[chosen];
}

size_t woq_kernels_all(const struct woq_kernels **list, int *runnable, size_t max)
{
    const size_t n = max < N_ROWS ? max : N_ROWS;

    pthread_once(&once, resolve);
    for (size_t r = 0; r < n; r++) {
        list[r] = &tables[r];
        runnable[r] = rows[r].can_run();
    }
    return n;
}
