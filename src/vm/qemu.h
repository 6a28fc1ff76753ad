/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemu.h - one QEMU process: its command line, its jail, its console, its end.
 *
 * QEMU gets everything as inherited descriptors and can open nothing but its own libraries. Template memory is handed
 * over read-only and mapped by the hook (ramhook.c).
 */
#ifndef BX_VM_QEMU_H
#define BX_VM_QEMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/limits.h"
#include "jail/apply.h"
#include "loop/loop.h"
#include "vm/qmp.h"
#include "vm/shape.h"

/* Size of the disk that a template's guest knows: that of most boxes, which then need no resizing. */
#define BX_QEMU_TEMPLATE_DISK ((unsigned long long)BX_DISK_DEFAULT_GB << 30)

enum bx_qemu_mode {
    BX_QEMU_MAKE,    /* cold boot, memory shared with mem_fd, disk is an empty placeholder unless one is given */
    BX_QEMU_RESTORE, /* from a template */
};

struct bx_qemu;

struct bx_qemu_events {
    /* The process ended (exit code or 128+N). Last callback. bx_qemu_why says more. */
    void (*on_exit)(void *ud, int status);
    /* Console bytes, already kept in the ring and the log. May be NULL. */
    void (*on_console)(void *ud, const void *data, size_t len);
    /* A QMP event. May be NULL. */
    void (*on_event)(void *ud, const char *name, const char *data);
};

struct bx_qemu_config {
    enum bx_qemu_mode mode;
    struct bx_vm_shape shape;        /* rounded */
    const struct bx_vm_parts *parts; /* borrowed until start returns */
    const char *name;                /* box id or template name: of the cgroup and for messages */

    int mem_fd;   /* MAKE: read-write file of the memory's size. RESTORE: read-only template memory */
    int state_fd; /* RESTORE: device state, read-only */
    int disk_fd;  /* qcow2 overlay, read-write; MAKE: or -1 */
    uint64_t disk_max; /* bytes that the guest may have on disk_fd: bounds the file, with room for qcow2; 0 = no bound */
    int base_fd;  /* read-only raw image under the overlay, or -1 */
    int log_fd;   /* console log, appended up to 4 MiB, or -1 */
    char *const *files; /* what QEMU opens by itself (template.h keeps it), NULL = found out now (15 ms) */
    /* All borrowed: bx_qemu_start hands copies to the child. */

    uid_t uid; /* to become when started as root; BX_JAIL_KEEP otherwise */
    gid_t gid;
    unsigned layers;          /* of the jail; usually BX_JAIL_ALL */
    unsigned required_layers; /* of them; usually BX_JAIL_FLOOR */
    unsigned any_layers;      /* of them; one of these is required, 0: none */

    const struct bx_qemu_events *events;
    void *ud;
};

/*
 * Starts QEMU in its jail. Blocks only for the spawn itself (a few ms). RESTORE: the guest runs by itself as soon as the
 * state is loaded; the caller writes Hello to bx_qemu_control at once, it is read when the guest is there.
 */
struct bx_qemu *bx_qemu_start(struct bx_loop *loop, const struct bx_qemu_config *cfg, struct bx_err *err);

/* Ends the process (SIGKILL) if it still runs and frees everything. No callback after it. Waits for the process's end. */
struct bx_qemu *bx_qemu_free(struct bx_qemu *q);
BX_DEFINE_CLEANUP(struct bx_qemu *, bx_qemu_free)

/* SIGKILL; on_exit follows. The host has what the guest wrote: nothing is lost but what the guest itself had not flushed. */
void bx_qemu_kill(struct bx_qemu *q);

/* Our ends of the two virtio ports: non-blocking stream sockets, owned by q unless taken (ownership moves, -1 after). */
int bx_qemu_take_control(struct bx_qemu *q);
int bx_qemu_take_bulk(struct bx_qemu *q);

struct bx_qmp *bx_qemu_qmp(struct bx_qemu *q);
pid_t bx_qemu_pid(const struct bx_qemu *q); /* of QEMU itself, for /proc */
const struct bx_jail_report *bx_qemu_report(const struct bx_qemu *q);
int64_t bx_qemu_exec_time(const struct bx_qemu *q); /* bx_now() when its exec had succeeded */

/* CPU time of the process in ns and its memory (PSS, or the cgroup's) in bytes; 0 when not to be had. */
void bx_qemu_usage(const struct bx_qemu *q, uint64_t *ret_cpu_ns, uint64_t *ret_memory);

/* Tells the guest the size of its disk (needed after every restore, unless it is BX_QEMU_TEMPLATE_DISK). fn is called with the answer. */
int bx_qemu_resize_disk(struct bx_qemu *q, uint64_t bytes, bx_qmp_reply_fn *fn, void *ud, struct bx_err *err);

/*
 * The second seccomp stage: after it QEMU can open, connect and run nothing more at all. RESTORE: part of the start, done before
 * the guest's first answer can be read by any client; a QEMU that does not lock itself is killed. For MAKE never.
 */
bool bx_qemu_locked(const struct bx_qemu *q); /* true also where cfg.layers has no seccomp */

/* Why we ended it, when we did ("it did not lock itself"); "" otherwise. */
const char *bx_qemu_why(const struct bx_qemu *q);

/* The last console bytes (at most 16 KiB kept), printable, newest last; always terminated. */
void bx_qemu_console_tail(const struct bx_qemu *q, char *dst, size_t size);

/* For tests: the argument vector of a configuration, as it would be started (heap, NULL-terminated). */
int bx_qemu_argv(const struct bx_qemu_config *cfg, char ***ret, struct bx_err *err);

#endif
