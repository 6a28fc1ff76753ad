/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.c - limits of the box, one group per exec. See cgroup.h.
 *
 * Descriptors of a group's files are opened once and read with pread at 0: kernfs makes the content anew each
 * time.
 */
#include "guest/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define PROCS_READ_MAX (512 * 1024)
#define LINGER_LOOK    16 /* lingering groups looked at each time one is wanted */

bool bx_cgroup_parse_key(const char *text, const char *key, uint64_t *ret)
{
    size_t len = strlen(key);

    while (*text) {
        const char *nl = strchr(text, '\n');
        size_t line = nl ? (size_t)(nl - text) : strlen(text);
        char number[24];

        if (line > len + 1 && line - len - 1 < sizeof(number) && strncmp(text, key, len) == 0 &&
            text[len] == ' ') {
            memcpy(number, text + len + 1, line - len - 1);
            number[line - len - 1] = '\0';
            return bx_parse_u64(number, 0, UINT64_MAX, ret) == 0;
        }
        text += line + (nl ? 1 : 0);
    }
    return false;
}

size_t bx_cgroup_parse_pids(const char *text, size_t len, uint32_t *carry, void (*fn)(int pid, void *ud),
                            void *ud)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] >= '0' && text[i] <= '9' && *carry < 100000000u) {
            *carry = *carry * 10 + (uint32_t)(text[i] - '0');
        } else if (*carry > 0) {
            fn((int)*carry, ud);
            *carry = 0;
            n++;
        }
    }
    if (len == 0 && *carry > 0) {
        fn((int)*carry, ud);
        *carry = 0;
        n++;
    }
    return n;
}

static int write_at(int dir, const char *name, const char *value)
{
    bx_cleanup_close int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    return bx_write_full(fd, value, strlen(value));
}

static bool read_key(int fd, const char *key, uint64_t *ret)
{
    char text[1024];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n < 0)
        return false;
    text[n] = '\0';
    return bx_cgroup_parse_key(text, key, ret);
}

static int make_dir(int parent, const char *name)
{
    int fd;

    if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int bx_cgroups_open(struct bx_cgroups *cs, int box_fd, struct bx_err *err)
{
    *cs = BX_CGROUPS_INIT;
    cs->box = box_fd;
    cs->kill = openat(box_fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);
    cs->events = openat(box_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    if (cs->kill < 0 || cs->events < 0)
        return bx_fail(err, BX_EENGINE, errno, "control files of the box's cgroup");
    return 0;
}

int bx_cgroups_boot(struct bx_cgroups *cs, struct bx_err *err)
{
    bx_cleanup_close int root = open(BX_CGROUP_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bx_cleanup_close int agent = -1;
    int r, box;

    if (root < 0)
        return bx_fail(err, BX_EENGINE, errno, "open " BX_CGROUP_ROOT);
    r = write_at(root, "cgroup.subtree_control", "+cpu +memory +pids");
    if (r < 0)
        return bx_fail(err, BX_EENGINE, -r, "turn on the cpu, memory and pids controllers");
    agent = make_dir(root, "agent");
    if (agent < 0)
        return bx_fail(err, BX_EENGINE, -agent, "make the agent's cgroup");
    r = write_at(agent, "cgroup.procs", "0");
    if (r < 0)
        return bx_fail(err, BX_EENGINE, -r, "move into the agent's cgroup");
    box = make_dir(root, "box");
    if (box < 0)
        return bx_fail(err, BX_EENGINE, -box, "make the box's cgroup");
    return bx_cgroups_open(cs, box, err);
}

static int write_number(int dir, const char *name, uint64_t value, struct bx_err *err)
{
    char number[32];
    int r;

    snprintf(number, sizeof(number), "%llu", (unsigned long long)value);
    r = write_at(dir, name, number);
    return r < 0 ? bx_fail(err, BX_EENGINE, -r, "set %s to %s", name, number) : 0;
}

int bx_cgroups_set_pids(struct bx_cgroups *cs, uint64_t pids, struct bx_err *err)
{
    return write_number(cs->box, "pids.max", pids, err);
}

int bx_cgroups_limit(struct bx_cgroups *cs, uint64_t reserve, struct bx_err *err)
{
    struct sysinfo si;
    uint64_t total;
    int r;

    if (sysinfo(&si) < 0)
        return bx_fail(err, BX_EENGINE, errno, "sysinfo");
    total = (uint64_t)si.totalram * si.mem_unit;
    reserve = BX_MIN(reserve, total / 4);
    r = write_number(cs->box, "memory.max", total - reserve, err);
    if (r >= 0)
        r = write_number(cs->box, "../agent/memory.min", reserve, err);
    if (r >= 0)
        r = bx_cgroups_set_pids(cs, BX_MIN(total / (1024 * 1024) * BX_PIDS_PER_MIB, (uint64_t)BX_PIDS_MAX),
                                err);
    if (r < 0)
        return r;
    /* cpu: each command has the same share, or one that forks without end would keep all others out. */
    r = write_at(cs->box, "cgroup.subtree_control", "+cpu +memory +pids");
    return r < 0 ? bx_fail(err, BX_EENGINE, -r, "turn on controllers below the box's cgroup") : 0;
}

static struct bx_cgroup *cgroup_free(struct bx_cgroup *cg)
{
    bx_close(cg->dir);
    bx_close(cg->kill);
    bx_close(cg->procs);
    bx_close(cg->events);
    bx_close(cg->memory);
    free(cg);
    return NULL;
}

static void free_list(struct bx_cgroup *cg)
{
    while (cg) {
        struct bx_cgroup *next = cg->next;

        cgroup_free(cg);
        cg = next;
    }
}

void bx_cgroups_done(struct bx_cgroups *cs)
{
    free_list(cs->idle);
    free_list(cs->lingering);
    bx_close(cs->kill);
    bx_close(cs->events);
    bx_close(cs->box);
    *cs = BX_CGROUPS_INIT;
}

int bx_cgroups_populated(struct bx_cgroups *cs)
{
    uint64_t v;

    return read_key(cs->events, "populated", &v) ? v != 0 : -EIO;
}

int bx_cgroups_kill(struct bx_cgroups *cs)
{
    return bx_write_full(cs->kill, "1", 1);
}

static struct bx_cgroup *cgroup_new(struct bx_cgroups *cs, struct bx_err *err)
{
    struct bx_cgroup *cg;
    char name[16];

    if (cs->made >= BX_CGROUPS_MAX) {
        bx_fail(err, BX_ERESOURCE, 0, "%d commands have left processes behind: no more can be started",
                BX_CGROUPS_MAX);
        return NULL;
    }
    cg = calloc(1, sizeof(*cg));
    if (!cg) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "make a cgroup");
        return NULL;
    }
    cg->nr = cs->made;
    cg->dir = cg->kill = cg->procs = cg->events = cg->memory = -1;
    snprintf(name, sizeof(name), "e%u", cg->nr);
    cg->dir = make_dir(cs->box, name);
    if (cg->dir < 0) {
        bx_fail(err, BX_ERESOURCE, -cg->dir, "make a cgroup");
        return cgroup_free(cg);
    }
    cg->kill = openat(cg->dir, "cgroup.kill", O_WRONLY | O_CLOEXEC);
    cg->procs = openat(cg->dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    cg->events = openat(cg->dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
    cg->memory = openat(cg->dir, "memory.events", O_RDONLY | O_CLOEXEC);
    if (cg->kill < 0 || cg->procs < 0 || cg->events < 0 || cg->memory < 0) {
        bx_fail(err, BX_ERESOURCE, errno, "open control files of a cgroup");
        return cgroup_free(cg);
    }
    cs->made++;
    return cg;
}

/* Moves groups whose last process has gone from lingering to idle. All are looked at only before refusing. */
static void collect(struct bx_cgroups *cs)
{
    unsigned look = cs->made < BX_CGROUPS_MAX ? LINGER_LOOK : BX_CGROUPS_MAX;
    struct bx_cgroup **p = &cs->lingering;

    for (unsigned i = 0; *p && i < look; i++) {
        struct bx_cgroup *cg = *p;

        if (bx_cgroup_populated(cg)) {
            p = &cg->next;
            continue;
        }
        *p = cg->next;
        cg->next = cs->idle;
        cs->idle = cg;
    }
}

struct bx_cgroup *bx_cgroup_get(struct bx_cgroups *cs, struct bx_err *err)
{
    struct bx_cgroup *cg;

    if (!cs->idle)
        collect(cs);
    cg = cs->idle;
    if (cg)
        cs->idle = cg->next;
    else
        cg = cgroup_new(cs, err);
    if (!cg)
        return NULL;
    cg->next = NULL;
    if (!read_key(cg->memory, "oom_kill", &cg->oom_base))
        cg->oom_base = 0;
    return cg;
}

void bx_cgroups_prepare(struct bx_cgroups *cs)
{
    struct bx_err ignored;

    if (cs->box < 0 || cs->idle)
        return;
    cs->idle = cgroup_new(cs, &ignored); /* a failure will be met, and told, when one is wanted */
}

struct bx_cgroup *bx_cgroup_put(struct bx_cgroups *cs, struct bx_cgroup *cg)
{
    struct bx_cgroup **list;

    if (!cg)
        return NULL;
    list = bx_cgroup_populated(cg) ? &cs->lingering : &cs->idle;
    cg->next = *list;
    *list = cg;
    return NULL;
}

int bx_cgroup_set_pids(struct bx_cgroup *cg, uint64_t pids, struct bx_err *err)
{
    int r;

    if (pids > 0) {
        cg->limited = true; /* also when it fails half-way: the next user sets it right */
        return write_number(cg->dir, "pids.max", pids, err);
    }
    r = cg->limited ? write_at(cg->dir, "pids.max", "max") : 0;
    if (r < 0)
        return bx_fail(err, BX_EENGINE, -r, "set pids.max to max");
    cg->limited = false;
    return 0;
}

int bx_cgroup_kill(struct bx_cgroup *cg)
{
    return bx_write_full(cg->kill, "1", 1);
}

struct signal_arg {
    int signo;
    int count;
};

static void signal_one(int pid, void *ud)
{
    struct signal_arg *a = ud;

    if (pid > 1 && kill(pid, a->signo) == 0)
        a->count++;
}

int bx_cgroup_signal(struct bx_cgroup *cg, int signo)
{
    struct signal_arg a = {.signo = signo};
    char text[4096];
    uint32_t carry = 0;
    off_t at = 0;
    ssize_t n;

    /* The list grows while it is read: a fork bomb must not hold us here. */
    do {
        n = pread(cg->procs, text, sizeof(text), at);
        if (n < 0)
            return -errno;
        bx_cgroup_parse_pids(text, (size_t)n, &carry, signal_one, &a);
        at += n;
    } while (n > 0 && at < PROCS_READ_MAX);
    return a.count;
}

void bx_cgroups_signal(struct bx_cgroups *cs, int signo)
{
    for (struct bx_cgroup *cg = cs->lingering; cg; cg = cg->next)
        bx_cgroup_signal(cg, signo);
}

bool bx_cgroup_populated(struct bx_cgroup *cg)
{
    uint64_t v;

    return read_key(cg->events, "populated", &v) && v != 0;
}

uint64_t bx_cgroup_oom_kills(struct bx_cgroup *cg)
{
    uint64_t v;

    if (!read_key(cg->memory, "oom_kill", &v) || v < cg->oom_base)
        return 0;
    return v - cg->oom_base;
}

/* A file of the box's group that holds one number, or (key not NULL) the one behind a key. */
static uint64_t box_number(const struct bx_cgroups *cs, const char *file, const char *key)
{
    bx_cleanup_close int fd = openat(cs->box, file, O_RDONLY | O_CLOEXEC);
    char text[8192];
    uint64_t v = 0;
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (key)
        return bx_cgroup_parse_key(text, key, &v) ? v : 0;
    text[strcspn(text, "\n")] = '\0';
    return bx_parse_u64(text, 0, UINT64_MAX, &v) == 0 ? v : 0; /* not "max" */
}

void bx_cgroups_usage(const struct bx_cgroups *cs, struct bx_cgroup_usage *ret)
{
    uint64_t cache = box_number(cs, "memory.stat", "inactive_file");

    ret->memory = box_number(cs, "memory.current", NULL);
    ret->memory -= BX_MIN(cache, ret->memory);
    ret->memory_max = box_number(cs, "memory.max", NULL);
    ret->cpu_us = box_number(cs, "cpu.stat", "usage_usec");
    ret->processes = box_number(cs, "pids.current", NULL);
}
