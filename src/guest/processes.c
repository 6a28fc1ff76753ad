/* SPDX-License-Identifier: Apache-2.0 */
/* processes.c - see processes.h. What a process says of itself (its name, its command line) is only passed on. */
#include "guest/processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define COMMAND_MAX 1024 /* of a command line */
#define STAT_MAX    1024

struct process {
    char name[64];
    char state;
    unsigned parent, threads;
    uint64_t ticks, started; /* clock ticks; since boot */
    uint64_t pages;
};

/* "12 (a name) S 1 ...": the name can have anything in it, brackets too. False when it is no such line. */
static bool parse_stat(char *text, struct process *p)
{
    /* What is behind the name, by place. */
    enum { STATE, PARENT, USER = 11, SYSTEM = 12, THREADS = 17, STARTED = 19, PAGES = 21, FIELDS };
    char *open = strchr(text, '('), *close = strrchr(text, ')'), *save = NULL, *word;
    uint64_t n[FIELDS] = {0};
    size_t i = 0;

    if (!open || !close || close < open)
        return false;
    *close = '\0';
    snprintf(p->name, sizeof(p->name), "%s", open + 1);
    for (word = strtok_r(close + 1, " ", &save); word && i < FIELDS; word = strtok_r(NULL, " ", &save), i++) {
        if (i == STATE)
            p->state = *word;
        else if (bx_parse_u64(word, 0, UINT64_MAX, &n[i]) < 0)
            n[i] = 0; /* some may be negative; none of ours is */
    }
    p->parent = (unsigned)n[PARENT];
    p->ticks = n[USER] + n[SYSTEM];
    p->started = n[STARTED];
    p->threads = (unsigned)n[THREADS];
    p->pages = n[PAGES];
    return i == FIELDS && p->state > ' ';
}

/* Up to size - 1 bytes of a file; the length, or -errno. */
static ssize_t read_some(int dir, const char *name, char *dst, size_t size)
{
    bx_cleanup_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    size_t at = 0;
    ssize_t n;

    if (fd < 0)
        return -errno;
    while (at + 1 < size && (n = read(fd, dst + at, size - 1 - at)) != 0) {
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    dst[at] = '\0';
    return (ssize_t)at;
}

/* The real one: /proc/N belongs to the effective one, and to root when it may not be traced. */
static unsigned user_of(int dir)
{
    char text[2048], *line;
    uint64_t uid = 0;

    if (read_some(dir, "status", text, sizeof(text)) <= 0 || !(line = strstr(text, "\nUid:\t")))
        return 0;
    line += strlen("\nUid:\t");
    line[strcspn(line, "\t\n")] = '\0';
    return bx_parse_u64(line, 0, UINT32_MAX, &uid) == 0 ? (unsigned)uid : 0;
}

static void add_command(int dir, struct bx_buf *out)
{
    char raw[COMMAND_MAX + 1] = "", text[4 * COMMAND_MAX + 1];
    ssize_t n = read_some(dir, "cmdline", raw, sizeof(raw));

    while (n > 0 && raw[n - 1] == '\0')
        n--;
    for (ssize_t i = 0; i < n; i++)
        if (raw[i] == '\0')
            raw[i] = ' ';
    bx_str_printable(text, sizeof(text), raw, (size_t)BX_MAX(n, (ssize_t)0));
    bx_buf_addstr(out, text);
}

/* A line, or nothing when it has ended. */
static bool add_process(int proc, const char *number, uint64_t uptime_ms, struct bx_buf *out)
{
    bx_cleanup_close int dir = openat(proc, number, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    const uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK), page = (uint64_t)sysconf(_SC_PAGESIZE);
    char stat[STAT_MAX], name[4 * sizeof(((struct process *)0)->name)];
    struct process p = {0};
    uint64_t started_ms;

    if (dir < 0 || read_some(dir, "stat", stat, sizeof(stat)) <= 0 || !parse_stat(stat, &p))
        return false;
    started_ms = p.started * 1000 / hz;
    bx_str_printable(name, sizeof(name), p.name, strlen(p.name));
    bx_buf_addf(out, "%s %u %u %c %u %llu %llu %llu\t%s\t", number, p.parent, user_of(dir), p.state, p.threads,
                (unsigned long long)p.ticks * 1000000 / hz, (unsigned long long)p.pages * page,
                (unsigned long long)(uptime_ms > started_ms ? uptime_ms - started_ms : 0), name);
    add_command(dir, out);
    bx_buf_addstr(out, "\n");
    return true;
}

static uint64_t read_uptime_ms(int proc)
{
    char text[64];
    double seconds = 0;

    if (read_some(proc, "uptime", text, sizeof(text)) > 0)
        seconds = strtod(text, NULL);
    return seconds > 0 ? (uint64_t)(seconds * 1000) : 0;
}

static int by_number(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

    return x < y ? -1 : x > y;
}

/* The lowest BX_PROCESSES_MAX of them would need all; the first that proc shows are the lowest. */
static size_t read_numbers(DIR *d, unsigned numbers[BX_PROCESSES_MAX], uint64_t *ret_left_out)
{
    struct dirent *e;
    uint64_t n;
    size_t count = 0;

    while ((e = readdir(d))) {
        if (bx_parse_u64(e->d_name, 1, UINT32_MAX, &n) < 0 || (pid_t)n == getpid())
            continue; /* we are in the box's list too */
        if (count < BX_PROCESSES_MAX)
            numbers[count++] = (unsigned)n;
        else
            (*ret_left_out)++;
    }
    qsort(numbers, count, sizeof(numbers[0]), by_number);
    return count;
}

int bx_processes_list(int proc, struct bx_buf *out, uint64_t *ret_listed, uint64_t *ret_left_out, struct bx_err *err)
{
    static unsigned numbers[BX_PROCESSES_MAX];
    int fd = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    uint64_t uptime_ms = read_uptime_ms(proc);
    char number[16];
    size_t n;

    if (!d) {
        bx_close(fd);
        return bx_fail(err, BX_EENGINE, errno, "read the box's /proc");
    }
    *ret_listed = *ret_left_out = 0;
    n = read_numbers(d, numbers, ret_left_out);
    closedir(d);
    for (size_t i = 0; i < n; i++) {
        snprintf(number, sizeof(number), "%u", numbers[i]);
        *ret_listed += add_process(proc, number, uptime_ms, out);
    }
    return bx_buf_failed(out) ? bx_fail(err, BX_ERESOURCE, 0, "the list of processes becomes too long") : 0;
}
