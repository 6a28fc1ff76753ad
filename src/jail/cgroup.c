/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.c - a control group per box, best effort.
 *
 * v2: a child of our own group, when that is ours to divide (delegated, or root). v1: a child of our group in each of memory,
 * pids and cpu. Where nothing can be made the box runs in ours, and the report says so: no limit of a box's safety rests on this.
 */
#include "jail/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define CGROUP2_MAGIC 0x63677270
#define PERIOD_US 100000u
#define SWEEP_MAX 1024   /* entries looked at each time */
#define SWEEP_AGE_S 120

enum { LIMIT_MEMORY = 1u, LIMIT_PIDS = 2u, LIMIT_CPU = 4u };

static int write_value(const char *dir, const char *file, const char *value)
{
    bx_cleanup_free char *path = bx_strf("%s/%s", dir, file);
    bx_cleanup_close int fd = -1;

    if (!path)
        return -ENOMEM;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return bx_write_full(fd, value, strlen(value));
}

static int write_number(const char *dir, const char *file, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    return write_value(dir, file, text);
}

static int read_number(const char *dir, const char *file, const char *field, uint64_t *ret)
{
    bx_cleanup_free char *path = bx_strf("%s/%s", dir, file);
    bx_cleanup_free char *text = NULL;
    char *p;
    int r;

    if (!path)
        return -ENOMEM;
    r = bx_read_file(AT_FDCWD, path, 65536, &text, NULL);
    if (r)
        return r;
    p = text;
    if (field) {
        p = strstr(text, field);
        if (!p)
            return -ENOENT;
        p += strlen(field);
    }
    p[strcspn(p, "\n")] = '\0';
    return bx_parse_u64(p, 0, UINT64_MAX, ret);
}

/* Our group in a hierarchy: "controller" in the second field of /proc/self/cgroup, "" for v2. Heap or NULL. */
static char *own_group(const char *controller)
{
    bx_cleanup_free char *text = NULL;
    char *save = NULL;

    if (bx_read_file(AT_FDCWD, "/proc/self/cgroup", 65536, &text, NULL))
        return NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *names = strchr(line, ':');
        char *path = names ? strchr(names + 1, ':') : NULL;

        if (!path)
            continue;
        *path++ = '\0';
        if (bx_streq(names + 1, controller))
            return bx_strf("%s", bx_streq(path, "/") ? "" : path);
    }
    return NULL;
}

/*
 * Removes what shims that were killed have left: empty groups (others cannot be removed) that are too old for their process to
 * be still on its way.
 */
static void sweep(const char *base, const char *group)
{
    bx_cleanup_free char *path = bx_strf("%s%s", base, group);
    DIR *d = path ? opendir(path) : NULL;
    struct dirent *e;
    struct stat st;

    for (int i = 0; d && i < SWEEP_MAX && (e = readdir(d)); i++) {
        if (bx_starts_with(e->d_name, "boxlite-") && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            bx_realtime() / BX_SEC - st.st_ctim.tv_sec > SWEEP_AGE_S)
            (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
    }
    if (d)
        closedir(d);
}

/*
 * A directory of ours alone: two machines in one group would share its limits. Another home may have one of the name (a template has
 * the same in all of them), or a shim that was killed has left it (the sweep takes it later): then the name gets an end of its own.
 */
static int make_dir(const char *base, const char *group, const char *name, char **ret)
{
    bx_cleanup_free char *dir = bx_strf("%s%s/boxlite-%s", base, group, name);
    char id[BX_ID_LEN + 1];
    int r = !dir ? -ENOMEM : mkdir(dir, 0755) ? -errno : 0;

    if (r == -EEXIST) {
        bx_random_id(id);
        free(dir);
        dir = bx_strf("%s%s/boxlite-%s-%s", base, group, name, id);
        r = !dir ? -ENOMEM : mkdir(dir, 0755) ? -errno : 0;
    }
    if (r == 0)
        *ret = BX_TAKE_PTR(dir);
    return r;
}

/* Makes a group and opens its cgroup.procs. 0 or -errno. */
static int add_dir(struct bx_cgroup *c, const char *base, const char *group, const char *name)
{
    bx_cleanup_free char *dir = NULL;
    bx_cleanup_free char *procs = NULL;
    int fd;
    int e;
    int r = make_dir(base, group, name, &dir);

    if (r)
        return r;
    procs = bx_strf("%s/cgroup.procs", dir);
    if (!procs)
        return -ENOMEM;
    sweep(base, group);
    fd = open(procs, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        e = errno;
        (void)rmdir(dir);
        return -e;
    }
    c->dirs[c->n] = BX_TAKE_PTR(dir);
    c->procs[c->n++] = fd;
    return 0;
}

static void limits_v2(struct bx_cgroup *c, const char *parent, const struct bx_cgroup_limits *l)
{
    const char *dir = c->dirs[0];
    char text[48];

    /* Allowed only where we may divide the parent and nothing runs in it (but the root group). */
    (void)write_value(parent, "cgroup.subtree_control", "+memory");
    (void)write_value(parent, "cgroup.subtree_control", "+pids");
    (void)write_value(parent, "cgroup.subtree_control", "+cpu");
    if (l->memory_max && write_number(dir, "memory.max", l->memory_max) == 0)
        c->limits |= LIMIT_MEMORY;
    if (l->pids_max && write_number(dir, "pids.max", l->pids_max) == 0)
        c->limits |= LIMIT_PIDS;
    (void)snprintf(text, sizeof(text), "%u %u", l->cpus * PERIOD_US, PERIOD_US);
    if (l->cpus && write_value(dir, "cpu.max", text) == 0)
        c->limits |= LIMIT_CPU;
}

static int make_v2(const char *name, const struct bx_cgroup_limits *l, struct bx_cgroup *ret)
{
    bx_cleanup_free char *group = own_group("");
    bx_cleanup_free char *parent = group ? bx_strf(CGROUP_ROOT "%s", group) : NULL;
    int r;

    if (!parent)
        return -ENOENT;
    r = add_dir(ret, CGROUP_ROOT, group, name);
    if (r)
        return r;
    ret->version = 2;
    limits_v2(ret, parent, l);
    return 0;
}

static int v1_memory(const char *dir, const struct bx_cgroup_limits *l)
{
    return l->memory_max ? write_number(dir, "memory.limit_in_bytes", l->memory_max) : -ENOENT;
}

static int v1_pids(const char *dir, const struct bx_cgroup_limits *l)
{
    return l->pids_max ? write_number(dir, "pids.max", l->pids_max) : -ENOENT;
}

static int v1_cpu(const char *dir, const struct bx_cgroup_limits *l)
{
    int r = l->cpus ? write_number(dir, "cpu.cfs_period_us", PERIOD_US) : -ENOENT;

    return r ? r : write_number(dir, "cpu.cfs_quota_us", (uint64_t)l->cpus * PERIOD_US);
}

static const struct v1 {
    const char *controller;
    unsigned limit;
    int (*apply)(const char *dir, const struct bx_cgroup_limits *l);
} v1_table[BX_CGROUP_DIRS] = {
    { "memory", LIMIT_MEMORY, v1_memory },
    { "pids", LIMIT_PIDS, v1_pids },
    { "cpu", LIMIT_CPU, v1_cpu },
};

static int make_v1(const char *name, const struct bx_cgroup_limits *l, struct bx_cgroup *ret)
{
    int first = -ENOENT;

    for (size_t i = 0; i < BX_ARRAY_SIZE(v1_table); i++) {
        const struct v1 *v = &v1_table[i];
        bx_cleanup_free char *group = own_group(v->controller);
        bx_cleanup_free char *base = bx_strf(CGROUP_ROOT "/%s", v->controller);
        int r = group && base ? add_dir(ret, base, group, name) : -ENOENT;

        if (r == 0 && v->apply(ret->dirs[ret->n - 1], l) == 0)
            ret->limits |= v->limit;
        if (r && first == -ENOENT)
            first = r;
    }
    if (ret->n == 0)
        return first;
    ret->version = 1;
    return 0;
}

int bx_cgroup_make(const char *name, const struct bx_cgroup_limits *limits, struct bx_cgroup *ret, struct bx_err *err)
{
    struct bx_cgroup c = BX_CGROUP_INIT;
    struct statfs st;
    int r;

    if (statfs(CGROUP_ROOT, &st))
        r = -errno;
    else if (st.f_type == CGROUP2_MAGIC)
        r = make_v2(name, limits, &c);
    else
        r = make_v1(name, limits, &c);
    if (r == -ENOMEM) {
        bx_cgroup_done(&c);
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "control group");
    }
    c.why = -r;
    *ret = c;
    return 0;
}

void bx_cgroup_done(struct bx_cgroup *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        bx_close(c->procs[i]);
        (void)rmdir(c->dirs[i]);
        free(c->dirs[i]);
    }
    *c = BX_CGROUP_INIT;
}

bool bx_cgroup_joined(const struct bx_cgroup *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        bx_cleanup_free char *path = bx_strf("%s/cgroup.procs", c->dirs[i]);
        bx_cleanup_free char *text = NULL;

        if (!path || bx_read_file(AT_FDCWD, path, 65536, &text, NULL) || !*text)
            return false;
    }
    return c->n > 0;
}

int bx_cgroup_usage(const struct bx_cgroup *c, uint64_t *ret_cpu_ns, uint64_t *ret_memory)
{
    uint64_t cpu = 0;
    uint64_t memory = 0;
    int r;

    if (c->version != 2)
        return -ENOENT; /* v1 has no CPU time beside the memory; the caller reads /proc */
    r = read_number(c->dirs[0], "cpu.stat", "usage_usec ", &cpu);
    if (r == 0)
        r = read_number(c->dirs[0], "memory.current", NULL, &memory);
    if (r)
        return r;
    *ret_cpu_ns = cpu * 1000;
    *ret_memory = memory;
    return 0;
}
