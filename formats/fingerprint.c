/* fingerprint.c -- see the header. */
#include <formats/fingerprint.h>

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <woq/stream.h>

enum { N_SAMPLES = 64, SAMPLE_BYTES = 4096 };

/* "SIZE-HASH" over evenly spread samples, first and last bytes among them; false if unreadable. */
static bool fingerprint(int fd, char text[40])
{
    uint64_t hashes[N_SAMPLES];
    uint8_t buf[SAMPLE_BYTES];
    struct stat st;
    uint64_t room;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    room = (uint64_t)st.st_size > SAMPLE_BYTES ? (uint64_t)st.st_size - SAMPLE_BYTES : 0;
    for (uint64_t i = 0; i < N_SAMPLES; i++) {
        const uint64_t at =
            room / (N_SAMPLES - 1) * i + room % (N_SAMPLES - 1) * i / (N_SAMPLES - 1);
        const ssize_t n = pread(fd, buf, sizeof buf, (off_t)at);
        if (n < 0)
            return false;
        hashes[i] = woq_hash64(buf, (size_t)n);
    }
    snprintf(text, 40, "%" PRIu64 "-%016" PRIx64, (uint64_t)st.st_size,
             woq_hash64(hashes, sizeof hashes));
    return true;
}

static void push(struct woq_json *list, int fd)
{
    char text[40];

    if (fd >= 0 && fingerprint(fd, text))
        woq_json_push(list, woq_json_of_str(text));
    if (fd >= 0)
        close(fd);
}

static int is_weights(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');

    return dot && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".bin") || !strcmp(dot, ".pt") ||
                   !strcmp(dot, ".pth"));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

struct woq_json *woq_fingerprints(const char *path)
{
    struct woq_json *list = woq_json_array();
    struct dirent **names = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const int n = fd >= 0 ? scandir(path, &names, is_weights, by_name) : -1;

    if (n < 0) {
        push(list, fd); /* no folder */
        return list;
    }
    for (int i = 0; i < n; i++) {
        push(list, openat(fd, names[i]->d_name, O_RDONLY | O_CLOEXEC));
        free(names[i]);
    }
    free(names);
    close(fd);
    return list;
}

bool woq_fingerprints_meet(const struct woq_json *a, const struct woq_json *b)
{
    woq_json_each(x, a) woq_json_each(y, b)
    {
        const char *s = woq_json_str(x), *t = woq_json_str(y);
        if (s && t && !strcmp(s, t))
            return true;
    }
    return false;
}
