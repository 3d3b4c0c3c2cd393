/* driver.c -- runs one fuzz target on its committed corpus, as a TAP program for `make check`.
 *
 * A finding of `make fuzz` becomes a seed, so it stays found. Every seed is also cut at each
 * 64-byte boundary and has bits flipped at places drawn from a fixed generator: what a truncated
 * download and a bad disk do. A crash, a hang or a sanitizer report fails the run; the target's
 * return value says nothing. The corpus is $WOQ_ROOT/tests/fuzz/corpus/NAME, NAME being this
 * program's. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MAX_CUTS = 512, FLIPS = 64, MAX_SEEDS = 4096 };

/* A copy of exactly `bytes`, so that a sanitizer sees the first byte read beyond the end. */
static void feed(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);

    if (!copy)
        abort();
    memcpy(copy, data, bytes);
    (void)LLVMFuzzerTestOneInput(copy, bytes);
    free(copy);
}

static void damage(uint8_t *data, size_t bytes)
{
    uint64_t state = 0x9e3779b97f4a7c15u;
    const size_t step = bytes / 64 > MAX_CUTS ? bytes / MAX_CUTS / 64 * 64 : 64;

    feed(data, bytes);
    for (size_t cut = 0; cut < bytes; cut += step)
        feed(data, cut);
    for (int i = 0; i < FLIPS && bytes; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const size_t at = (size_t)(state >> 20) % bytes;
        const uint8_t bit = (uint8_t)(1u << (state >> 61));

        data[at] ^= bit;
        feed(data, bytes);
        data[at] ^= bit;
    }
}

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t bytes = 0, cap = 0;

    if (!f)
        return -1;
    do {
        cap = cap ? cap * 2 : 1 << 16;
        data = realloc(data, cap);
        if (!data)
            abort();
        bytes += fread(data + bytes, 1, cap - bytes, f);
    } while (bytes == cap);
    fclose(f);
    damage(data, bytes);
    free(data);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t list(const char *folder, char **names)
{
    DIR *d = opendir(folder);
    size_t n = 0;

    for (struct dirent *e = d ? readdir(d) : NULL; e && n < MAX_SEEDS; e = readdir(d))
        if (e->d_name[0] != '.' && !(names[n++] = strdup(e->d_name)))
            abort();
    if (d)
        closedir(d);
    qsort(names, n, sizeof *names, by_name);
    return n;
}

int main(int argc, char **argv)
{
    static char *names[MAX_SEEDS];
    const char *root = getenv("WOQ_ROOT"), *slash = strrchr(argv[0], '/');
    char folder[2048], path[4400];
    int failed = 0;

    (void)argc;
    snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/%s", root ? root : ".",
             slash ? slash + 1 : argv[0]);
    const size_t n = list(folder, names);
    printf("1..%zu\n", n + 1);
    feed((const uint8_t *)"", 0);
    printf("%s 1 - %s has seeds\n", n ? "ok" : "not ok", folder);
    failed += !n;
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        const int rc = run_file(path);
        printf("%s %zu - %s\n", rc ? "not ok" : "ok", i + 2, names[i]);
        fflush(stdout);
        failed += rc != 0;
        free(names[i]);
    }
    return failed != 0;
}
