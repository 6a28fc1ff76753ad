/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - what `boxlite doctor` cannot look at by itself: which layers of a jail this host allows, found out by making one, and
 * whether the file system of a stopped box is sound.
 *
 * What a box has written is hostile, and so qemu-img and e2fsck read it in a jail: the system's programs and libraries, the
 * box's disk and what is under it, all read-only, and one scratch file. The journal is replayed in that copy, as the next start
 * would.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/json.h"
#include "jail/apply.h"
#include "shim/oneshot.h"

#define JAIL_ID     65533 /* of root's jails */
#define OUTPUT_KEEP 2048
#define DEADLINE_S  900
#define SPEC_MAX    16384
#define NO_TOOL     101

static const char script[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
                             "tool=$(command -v qemu-img) && tool=$(command -v e2fsck) || exit 101\n"
                             "qemu-img convert -q -O raw \"$1\" \"$2\" || exit 100\n"
                             "e2fsck -p -E journal_only \"$2\"\n" /* the journal, and nothing else: what is damaged shall be seen */
                             "e2fsck -f -n \"$2\"\n";

struct check {
    const struct bx_shim_plan *plan;
    struct bx_jail_child child;
    struct bx_jail_mount mounts[16];
    size_t n_mounts;
    struct bx_buf spec; /* for qemu-img: the disk over its base, whatever its header says of one */
    int pipe[2];
};

static void add_mount(struct check *c, const char *path, bool exec, bool writable)
{
    if (path && access(path, F_OK) == 0)
        c->mounts[c->n_mounts++] = (struct bx_jail_mount){.kind = BX_JAIL_BIND, .source = path, .exec = exec, .writable = writable};
}

static void write_file_node(struct bx_jw *w, const char *path)
{
    bx_jw_str(w, "driver", "file");
    bx_jw_str(w, "filename", path);
}

static int make_spec(struct check *c, struct bx_err *err)
{
    struct bx_jw w;

    bx_buf_addstr(&c->spec, "json:");
    bx_jw_init(&w, &c->spec, false);
    bx_jw_obj(&w, NULL);
    bx_jw_str(&w, "driver", "qcow2");
    bx_jw_obj(&w, "file");
    write_file_node(&w, c->plan->check_disk);
    bx_jw_end(&w);
    bx_jw_obj(&w, "backing");
    bx_jw_str(&w, "driver", "raw");
    bx_jw_obj(&w, "file");
    write_file_node(&w, c->plan->base_disk);
    bx_jw_end(&w);
    bx_jw_end(&w);
    bx_jw_end(&w);
    return bx_jw_finish(&w, err);
}

static int spawn(struct check *c, struct bx_err *err)
{
    static char sh[] = "/bin/sh", dash_c[] = "-c", name[] = "boxlite-check", path[] = "/usr/bin/true";
    const bool disk = c->plan->check_disk != NULL;
    char *const trial[] = {path, NULL};
    char *const check[] = {sh, dash_c, (char *)(uintptr_t)script, name, (char *)(uintptr_t)bx_buf_str(&c->spec), c->plan->check_scratch, NULL};
    const struct bx_jail_fd fds[] = {{c->pipe[1], 1}, {c->pipe[1], 2}};
    const struct bx_jail_rlimit limits[] = {{RLIMIT_CPU, DEADLINE_S}, {RLIMIT_NOFILE, 64}};
    bx_cleanup_free char *cgroup_name = bx_strf("doctor-%d", (int)getpid());
    const struct bx_cgroup_limits group = {.memory_max = 1ULL << 31, .pids_max = 64, .cpus = 1};
    struct bx_cgroup cgroup = BX_CGROUP_INIT;
    struct bx_jail_plan plan = {
        .name = "check",
        .layers = BX_JAIL_ALL & ~(disk ? BX_JAIL_SECCOMP : 0u), /* there is no filter for those programs */
        .required = disk ? BX_JAIL_CAPS | BX_JAIL_NNP | BX_JAIL_RLIMITS : 0,
        .mounts = c->mounts,
        .n_mounts = c->n_mounts,
        .fds = fds,
        .n_fds = BX_ARRAY_SIZE(fds),
        .rlimits = limits,
        .n_rlimits = BX_ARRAY_SIZE(limits),
        .cgroup = &cgroup,
        .seccomp = BX_SECCOMP_QEMU,
        .init = true,
        .path = disk ? sh : path,
        .argv = disk ? check : trial,
    };
    int r = cgroup_name ? bx_cgroup_make(cgroup_name, &group, &cgroup, err) : bx_fail(err, BX_ERESOURCE, 0, "out of memory");

    if (r == 0) {
        if (disk) /* its files are ours alone: it stays who we are, in a user namespace and without capabilities */
            plan.uid = BX_JAIL_KEEP;
        else
            bx_jail_plan_identity(&plan, JAIL_ID, JAIL_ID);
        r = bx_jail_spawn(&plan, &c->child, err);
    }
    bx_cgroup_done(&cgroup);
    return r;
}

/* Of what it says the last OUTPUT_KEEP bytes. */
static void read_tail(int fd, char tail[OUTPUT_KEEP + 1])
{
    char piece[4096];
    size_t kept = 0;
    ssize_t n;

    while ((n = read(fd, piece, sizeof(piece))) > 0) {
        size_t take = BX_MIN((size_t)n, (size_t)OUTPUT_KEEP), drop = kept + take > OUTPUT_KEEP ? kept + take - OUTPUT_KEEP : 0;

        memmove(tail, tail + drop, kept - drop);
        kept -= drop;
        memcpy(tail + kept, piece + (size_t)n - take, take);
        kept += take;
    }
    tail[kept] = '\0';
}

static int run(struct check *c, struct bx_err *err)
{
    char tail[OUTPUT_KEEP + 1], text[4 * OUTPUT_KEEP + 1], jail[1024];
    int r, status;

    add_mount(c, "/usr", true, false);
    add_mount(c, "/bin", true, false);
    add_mount(c, "/lib", true, false);
    add_mount(c, "/lib64", true, false);
    add_mount(c, "/etc/ld.so.cache", false, false);
    add_mount(c, c->plan->check_disk, false, false);
    add_mount(c, c->plan->base_disk, false, false);
    add_mount(c, c->plan->check_scratch, false, true);
    if (c->plan->check_disk && make_spec(c, err) < 0)
        return -BX_EINVALID;
    if (pipe2(c->pipe, O_CLOEXEC) < 0)
        return bx_fail(err, BX_ERESOURCE, 0, "pipe");
    r = spawn(c, err);
    c->pipe[1] = bx_close(c->pipe[1]);
    if (r < 0)
        return r;
    read_tail(c->pipe[0], tail);
    status = bx_jail_child_wait(&c->child);
    bx_str_printable(text, sizeof(text), tail, strlen(tail));
    bx_jail_report_str(&c->child.report, jail, sizeof(jail));
    return bx_shim_check_write(c->plan->fd, jail, !c->plan->check_disk || status == NO_TOOL ? -1 : status, text);
}

int shim_check(const struct bx_shim_plan *plan)
{
    struct check c = {.plan = plan, .child = BX_JAIL_CHILD_INIT, .spec = BX_BUF_INIT(SPEC_MAX), .pipe = {-1, -1}};
    struct bx_err err = BX_ERR_INIT;
    int r;

    alarm(DEADLINE_S);
    r = run(&c, &err);
    bx_jail_child_done(&c.child);
    bx_buf_done(&c.spec);
    bx_close(c.pipe[0]);
    bx_close(c.pipe[1]);
    if (r < 0)
        (void)bx_shim_error_write(plan->fd, &err);
    return r < 0;
}
