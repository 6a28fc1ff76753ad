/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - jail plans as data: checking one, choosing an identity, naming layers. Pure but for reading our own identity. */
#include "jail/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

static const char *const layer_names[] = {
    "user_ns", "pid_ns", "root", "net_ns", "ipc_ns", "uts_ns", "uid", "caps", "no_new_privs", "seccomp", "rlimits", "cgroup",
    "landlock",
};
_Static_assert(BX_ARRAY_SIZE(layer_names) == BX_JAIL_LAYERS, "a layer has no name");

char *bx_jail_plan_origin(const char *program)
{
    const char *slash = strrchr(program, '/');

    return bx_strf("LD_ORIGIN_PATH=%.*s", slash ? (int)(slash - program) : 0, program);
}

const char *bx_jail_layer_name(unsigned layer)
{
    if (layer == 0 || (layer & (layer - 1)) || layer >= 1u << BX_JAIL_LAYERS)
        return NULL;
    return layer_names[__builtin_ctz(layer)];
}

/* Absolute, not "/", no empty, "." or ".." component, short enough for the child's buffers. */
static bool clean_path(const char *path)
{
    size_t len = path ? strnlen(path, 500) : 0;

    if (len < 2 || len == 500 || path[0] != '/')
        return false;
    for (const char *p = path; *p;) {
        const char *end = strchrnul(++p, '/');
        size_t n = (size_t)(end - p);

        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p = end;
    }
    return true;
}

static int check_mounts(const struct bx_jail_plan *plan, struct bx_err *err)
{
    if (plan->n_mounts > BX_JAIL_MOUNTS_MAX)
        return bx_fail(err, BX_EINVALID, 0, "jail %s: more than %d mounts", plan->name, BX_JAIL_MOUNTS_MAX);
    for (size_t i = 0; i < plan->n_mounts; i++) {
        const struct bx_jail_mount *m = &plan->mounts[i];

        if (m->kind == BX_JAIL_BIND && !clean_path(m->source))
            return bx_fail(err, BX_EINVALID, 0, "jail %s: bad mount source %s", plan->name, m->source ? m->source : "");
        if ((m->target || m->kind != BX_JAIL_BIND) && !clean_path(m->target))
            return bx_fail(err, BX_EINVALID, 0, "jail %s: bad mount target %s", plan->name, m->target ? m->target : "");
        if (m->kind == BX_JAIL_TMPFS && m->size == 0)
            return bx_fail(err, BX_EINVALID, 0, "jail %s: %s has no size", plan->name, m->target);
    }
    return 0;
}

static int check_fds(const struct bx_jail_plan *plan, struct bx_err *err)
{
    if (plan->n_fds > BX_JAIL_FDS_MAX)
        return bx_fail(err, BX_EINVALID, 0, "jail %s: more than %d descriptors", plan->name, BX_JAIL_FDS_MAX);
    for (size_t i = 0; i < plan->n_fds; i++) {
        if (plan->fds[i].src < 0 || plan->fds[i].dst < 0 || plan->fds[i].dst > 255)
            return bx_fail(err, BX_EINVALID, 0, "jail %s: bad descriptor %d -> %d", plan->name, plan->fds[i].src,
                           plan->fds[i].dst);
        for (size_t j = 0; j < i; j++) {
            if (plan->fds[j].dst == plan->fds[i].dst)
                return bx_fail(err, BX_EINVALID, 0, "jail %s: descriptor %d named twice", plan->name, plan->fds[i].dst);
        }
    }
    return 0;
}

int bx_jail_plan_check(const struct bx_jail_plan *plan, struct bx_err *err)
{
    int r;

    if (!plan->name || !plan->argv || !plan->argv[0] || !plan->path || plan->path[0] != '/')
        return bx_fail(err, BX_EINVALID, 0, "jail %s: no program", plan->name ? plan->name : "?");
    if (plan->seccomp >= BX_SECCOMP_PROFILES || (plan->layers >> BX_JAIL_LAYERS) || ((plan->required | plan->required_any) & ~plan->layers))
        return bx_fail(err, BX_EINVALID, 0, "jail %s: bad layers or profile", plan->name);
    if ((plan->layers & BX_JAIL_UID) && plan->uid != BX_JAIL_KEEP && (plan->uid == 0 || plan->gid == 0))
        return bx_fail(err, BX_EINVALID, 0, "jail %s: a jailed program is never root", plan->name);
    for (size_t i = 0; i < plan->n_rlimits; i++) {
        if (plan->rlimits[i].resource < 0 || plan->rlimits[i].resource >= (int)RLIM_NLIMITS)
            return bx_fail(err, BX_EINVALID, 0, "jail %s: no limit %d", plan->name, plan->rlimits[i].resource);
    }
    r = check_mounts(plan, err);
    return r ? r : check_fds(plan, err);
}

/* Is the id mapped in the user namespace we are in? */
static bool id_mapped(const char *map_file, unsigned id)
{
    bx_cleanup_free char *text = NULL;
    char *save = NULL;

    if (bx_read_file(AT_FDCWD, map_file, 65536, &text, NULL))
        return false;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *save2 = NULL;
        const char *first = strtok_r(line, " ", &save2);
        const char *outer = strtok_r(NULL, " ", &save2);
        const char *count = strtok_r(NULL, " ", &save2);
        uint64_t from;
        uint64_t n;

        if (outer && count && bx_parse_u64(first, 0, UINT32_MAX, &from) == 0 &&
            bx_parse_u64(count, 0, UINT32_MAX, &n) == 0 && id >= from && id - from < n)
            return true;
    }
    return false;
}

static bool have_capabilities(uint32_t need)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[2] = { { 0 } };

    return syscall(SYS_capget, &head, caps) == 0 && (caps[0].effective & need) == need;
}

void bx_jail_plan_identity(struct bx_jail_plan *plan, uid_t uid, gid_t gid)
{
    bool change = uid != 0 && gid != 0 && uid != BX_JAIL_KEEP && have_capabilities(1u << CAP_SETUID | 1u << CAP_SETGID) &&
                  id_mapped("/proc/self/uid_map", uid) && id_mapped("/proc/self/gid_map", gid);
    bool planned = change && have_capabilities(1u << CAP_SYS_ADMIN);

    plan->uid = planned ? uid : BX_JAIL_KEEP;
    plan->gid = planned ? gid : (gid_t)-1;
    plan->bare_uid = change ? uid : 0;
    plan->bare_gid = change ? gid : 0;
}
