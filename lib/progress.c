/* progress.c -- one line, redrawn in place on a terminal, now and then elsewhere. */
#include <woq/progress.h>
#include <woq/util.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum mode { PLAIN, TTY, JSON };

struct woq_progress {
    enum mode mode;
    char program[32], what[48], unit[16];
    uint64_t total, start_ns, last_ns;
    bool drawn, colour;
};

struct woq_progress *woq_progress_open(const char *program, const char *mode, bool show)
{
    struct woq_progress *p;
    const bool tty = isatty(STDERR_FILENO) == 1;

    if (!show || strcmp(mode, "none") == 0)
        return NULL;
    p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->mode = strcmp(mode, "json") == 0 ? JSON : tty && strcmp(mode, "auto") == 0 ? TTY : PLAIN;
    p->colour = tty && !getenv("NO_COLOR");
    snprintf(p->program, sizeof p->program, "%s", program);
    p->start_ns = p->last_ns = woq_now_ns();
    return p;
}

void woq_progress_phase(struct woq_progress *p, const char *what, uint64_t total, const char *unit)
{
    if (!p)
        return;
    snprintf(p->what, sizeof p->what, "%s", what);
    snprintf(p->unit, sizeof p->unit, "%s", unit);
    p->total = total;
    p->start_ns = woq_now_ns();
    if (p->mode != TTY)
        p->last_ns = p->start_ns;
}

/* 1234567 B -> "1.2 MB"; other units count in the same steps. */
static void amount(char *out, size_t cap, double x, const char *unit)
{
    static const char *const steps[] = { "", "k", "M", "G", "T" };
    size_t i = 0;

    while (x >= 1000 && i < 4) {
        x /= 1000;
        i++;
    }
    snprintf(out, cap, x < 10 && i ? "%.1f %s%s" : "%.0f %s%s", x, steps[i], unit);
}

static void draw(struct woq_progress *p, uint64_t done, const char *item, double seconds)
{
    const double rate = seconds > 0 ? (double)done / seconds : 0;
    const double part = p->total ? (double)done / (double)p->total : 0;
    const double eta = rate > 0 && p->total > done ? (double)(p->total - done) / rate : 0;
    char a[32], b[32], c[32];

    amount(a, sizeof a, (double)done, p->unit);
    amount(b, sizeof b, (double)p->total, p->unit);
    amount(c, sizeof c, rate, p->unit);
    if (p->mode == JSON) {
        fprintf(stderr,
                "{\"program\":\"%s\",\"phase\":\"%s\",\"done\":%llu,\"total\":%llu,"
                "\"unit\":\"%s\",\"seconds\":%.1f,\"eta\":%.1f}\n",
                p->program, p->what, (unsigned long long)done, (unsigned long long)p->total,
                p->unit, seconds, eta);
        return;
    }
    if (p->mode == TTY)
        fprintf(stderr, "\r\033[K");
    fprintf(stderr, "%s%s%s: %s ", p->colour ? "\033[1m" : "", p->program,
            p->colour ? "\033[0m" : "", p->what);
    if (p->total)
        fprintf(stderr, "%3.0f %%  %s of %s  %s/s  %d:%02d left", 100 * part, a, b, c,
                (int)eta / 60, (int)eta % 60);
    else
        fprintf(stderr, "%s  %s/s", a, c);
    if (item && *item)
        fprintf(stderr, "  %.40s", item);
    if (p->mode == PLAIN)
        fputc('\n', stderr);
    fflush(stderr);
    p->drawn = p->mode == TTY;
}

void woq_progress_step(struct woq_progress *p, uint64_t done, const char *item)
{
    static const uint64_t every[] = {
        [PLAIN] = 10000000000u, [TTY] = 100000000u, [JSON] = 1000000000u
    };
    const uint64_t now = p ? woq_now_ns() : 0;

    if (!p || now - p->last_ns < every[p->mode])
        return;
    p->last_ns = now;
    draw(p, done, item, (double)(now - p->start_ns) / 1e9);
}

void woq_progress_wait(struct woq_progress *p, uint64_t done, const char *item)
{
    if (!p || p->mode != TTY)
        return;
    p->last_ns = woq_now_ns();
    draw(p, done, item, (double)(p->last_ns - p->start_ns) / 1e9);
}

void woq_progress_close(struct woq_progress *p)
{
    if (!p)
        return;
    if (p->drawn)
        fprintf(stderr, "\r\033[K");
    free(p);
}
