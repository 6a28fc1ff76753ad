/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine.c - see confine.h.
 *
 * Theory of operation
 *
 *  Two attempts. First in namespaces: a root with this program, its libraries, what resolving names and
 *  trusting certificates takes, and the store's directory as /blobs, which is the only thing in it that can
 *  be written; no descriptor of a directory is passed on, because ".." leads out of one. The network stays
 *  the host's. Where namespaces are refused: the store's directory as a descriptor and Landlock on the same
 *  list of files, where the kernel has it. Capabilities, no_new_privs, the system call filter and limits
 *  come with both; the library is told.
 *
 *  Files that are made must belong to the store's owner. An ordinary user's jail has the user's own id,
 *  root's that of root without a capability; when root works on the store of another user, the jail becomes
 *  that user.
 *
 *  The program's libraries are those that this copy of it has loaded: the jailed copy is the same file.
 */
#include "pull/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "jail/apply.h"

#define ADDRESS_SPACE (2ull << 30) /* of which a few MiB are touched: stacks of threads are reserved whole   \
                                    */
#define DESCRIPTORS 256
#define FILE_SPARE  (16ull << 20)

struct confine {
    const struct bx_pull_plan *plan;
    int plan_fd;
    char self[PATH_MAX];
    char blobs[PATH_MAX];
    struct bx_jail_mount mounts[BX_JAIL_MOUNTS_MAX];
    size_t n_mounts;
    char **names; /* of mounts */
    bool failed;
};

/* What name resolution, TLS and the dynamic linker open by themselves; what a host has not is left out. */
static const char *const files[] = {
    "/etc/ld.so.cache",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/ssl/openssl.cnf",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/pki/tls",
    "/etc/pki/ca-trust",
    "/etc/crypto-policies",
    "/usr/share/crypto-policies",
};

static void add_mount(struct confine *c, const char *path, bool exec)
{
    for (size_t i = 0; i < c->n_mounts; i++) {
        if (bx_streq(c->mounts[i].source, path))
            return;
    }
    if (c->n_mounts == BX_JAIL_MOUNTS_MAX || bx_strv_add(&c->names, path) < 0) {
        c->failed = true;
        return;
    }
    c->mounts[c->n_mounts] = (struct bx_jail_mount){.kind = BX_JAIL_BIND, .exec = exec};
    c->n_mounts++;
    for (size_t i = 0; i < c->n_mounts; i++) /* the list may have moved; the strings have not */
        c->mounts[i].source = c->names[i];
}

static int add_library(struct dl_phdr_info *info, size_t size, void *ud)
{
    (void)size;
    if (info->dlpi_name && info->dlpi_name[0] == '/')
        add_mount(ud, info->dlpi_name, true);
    return 0;
}

static int read_path(const char *link, char dst[PATH_MAX], struct bx_err *err)
{
    ssize_t n = readlink(link, dst, PATH_MAX - 1);

    if (n <= 0 || n >= PATH_MAX - 1)
        return bx_fail(err, BX_EINTERNAL, n < 0 ? errno : ENAMETOOLONG, "read %s", link);
    dst[n] = '\0';
    return 0;
}

static int list_files(struct confine *c, struct bx_err *err)
{
    char link[64];
    int r = read_path("/proc/self/exe", c->self, err);

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", c->plan->blobs_fd);
    if (r == 0)
        r = read_path(link, c->blobs, err);
    if (r < 0)
        return r;
    add_mount(c, c->self, true);
    (void)dl_iterate_phdr(add_library, c);
    for (size_t i = 0; i < BX_ARRAY_SIZE(files); i++) {
        if (access(files[i], F_OK) == 0)
            add_mount(c, files[i], false);
    }
    add_mount(c, c->blobs, false);
    if (c->failed || c->n_mounts == BX_JAIL_MOUNTS_MAX)
        return bx_fail(err, BX_ERESOURCE, 0, "boxlite-pull: too many libraries");
    c->mounts[c->n_mounts - 1].writable = true;
    c->mounts[c->n_mounts - 1].target = BX_PULL_BLOBS_DIR;
#ifdef BX_SANITIZED
    c->mounts[c->n_mounts++] =
        (struct bx_jail_mount){.kind = BX_JAIL_PROC, .target = "/proc"}; /* they read their own maps */
#endif
    return 0;
}

/* The owner of the store, when we are root and it is somebody else. */
static void choose_identity(struct bx_jail_plan *jail, int blobs_fd, bool bare)
{
    struct stat st;

    jail->uid = BX_JAIL_KEEP;
    jail->gid = (gid_t)-1;
    if (geteuid() == 0 && fstat(blobs_fd, &st) == 0 && st.st_uid != 0 && st.st_gid != 0)
        bx_jail_plan_identity(jail, st.st_uid, st.st_gid);
    if (bare && jail->bare_uid) {
        jail->uid = jail->bare_uid;
        jail->gid = jail->bare_gid;
    }
}

static void add_fd(struct bx_jail_fd *fds, size_t *n, int src, int dst)
{
    fds[(*n)++] = (struct bx_jail_fd){.src = src, .dst = dst};
}

static int spawn(struct confine *c, bool bare, struct bx_jail_child *child, struct bx_err *err)
{
    const char *libraries = getenv("LD_LIBRARY_PATH");
    bx_cleanup_free char *library_path = libraries ? bx_strf("LD_LIBRARY_PATH=%s", libraries) : NULL;
    char *const argv[] = {c->self, (char *)"--jailed", (char *)(bare ? BX_PULL_BARE : BX_PULL_IN_ROOT), NULL};
    bx_cleanup_free char *origin = bx_jail_plan_origin(c->self);
    char *const envp[] = {origin, library_path, NULL};
    const unsigned spaces = BX_JAIL_PID_NS | BX_JAIL_ROOT | BX_JAIL_IPC_NS | BX_JAIL_UTS_NS;
    const struct bx_jail_rlimit limits[] = {
        {RLIMIT_NOFILE, DESCRIPTORS},
        {RLIMIT_MEMLOCK, 0},
        {RLIMIT_FSIZE, BX_MIN(c->plan->max_bytes, (uint64_t)INT64_MAX - FILE_SPARE) + FILE_SPARE},
#ifndef BX_SANITIZED
        {RLIMIT_AS, ADDRESS_SPACE},
#endif
    };
    struct bx_jail_fd fds[4];
    struct bx_jail_plan jail = {
        .name = "boxlite-pull",
        .layers = BX_JAIL_UID | BX_JAIL_FLOOR | (bare ? BX_JAIL_LANDLOCK : spaces),
        .required = BX_JAIL_FLOOR | (bare ? 0 : spaces),
        .mounts = c->mounts,
        .n_mounts = c->n_mounts,
        .fds = fds,
        .rlimits = limits,
        .n_rlimits = BX_ARRAY_SIZE(limits),
        .seccomp = BX_SECCOMP_PULL,
        .init = true,
        .hostname = "pull",
        .path = c->self,
        .argv = argv,
        .envp = envp,
    };

    if (!origin)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "boxlite-pull");
    add_fd(fds, &jail.n_fds, c->plan_fd, BX_PULL_PLAN_FD);
    add_fd(fds, &jail.n_fds, c->plan->status_fd, BX_PULL_STATUS_FD);
    if (bare)
        add_fd(fds, &jail.n_fds, c->plan->blobs_fd, BX_PULL_BLOBS_FD);
#ifdef BX_SANITIZED
    add_fd(fds, &jail.n_fds, 2, 2); /* its reports */
#endif
    choose_identity(&jail, c->plan->blobs_fd, bare);
    return bx_jail_spawn(&jail, child, err);
}

/* Not in silence: the second attempt holds less. */
static void tell_refusal(const struct bx_pull_plan *plan, const struct bx_err *refused)
{
    char why[256];
    bx_cleanup_free char *line = NULL;

    bx_str_printable(why, sizeof(why), refused->msg, strlen(refused->msg));
    line = bx_strf("retry - 0 this host refuses namespaces (%s): going on in a jail without them\n", why);
    if (line)
        (void)bx_write_full(plan->status_fd, line, strlen(line));
}

int bx_confine_run(const struct bx_pull_plan *plan, int plan_fd, struct bx_err *err)
{
    struct confine c = {.plan = plan, .plan_fd = plan_fd};
    struct bx_jail_child child = BX_JAIL_CHILD_INIT;
    struct bx_err refused = BX_ERR_INIT;
    int r = list_files(&c, err);

    if (r == 0) {
        r = spawn(&c, false, &child, &refused);
        if (r < 0) {
            tell_refusal(plan, &refused);
            r = spawn(&c, true, &child, err);
        }
    }
    if (r == 0)
        r = bx_jail_child_wait(&child);
    if (r < 0 && err && !err->code)
        bx_fail(err, BX_EINTERNAL, -r, "wait for boxlite-pull");
    bx_strv_free(c.names);
    return r;
}
