/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_plan.h - what the library tells boxlite-shim to do: one JSON document on a sealed memfd.
 *
 * The shim is started as `boxlite-shim --plan-fd N` and decides nothing itself: every path, number and limit
 * is in the plan. The format is versioned and strict: an unknown key or a missing one is refused, because
 * library and shim come from one installation (a running shim is met through the box protocol, which
 * tolerates differences).
 */
#ifndef BX_HOST_SHIM_PLAN_H
#define BX_HOST_SHIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define BX_SHIM_PLAN_VERSION 1
#define BX_SHIM_PLAN_MAX     (8 * 1024 * 1024) /* the environment may take 4 MiB, escaped */

enum bx_shim_kind {
    BX_SHIM_BOX = 1,  /* run a box */
    BX_SHIM_TEMPLATE, /* make a template; exit 0, or the reason on `fd` as bx_shim_error_write does, exit 1 */
    BX_SHIM_PROBE,    /* the engine's verdict and the TSC's frequency on `fd` (bx_shim_probe_parse) */
    BX_SHIM_CHECK,    /* which layers of a jail this host allows; and whether a box's file system is sound (shim/check.c) */
};

/* Numbers 0 mean "none". */
struct bx_shim_limits {
    uint64_t nofile, fsize, as, cpu_seconds, pids;
};

/* All strings are heap, "" or NULL when they do not apply; bx_shim_plan_done frees them. */
struct bx_shim_plan {
    enum bx_shim_kind kind;
    int fd; /* box: the library's end of a stream socketpair, its own connection to the box. Others: write end
               of a pipe */

    /* box and template */
    char *engine; /* "tcg" | "kvm" */
    unsigned cpus;
    unsigned memory_mib; /* rounded */
    uint64_t tsc_khz;
    bool network; /* the machine's; of a box that has net_program too */
    char *qemu; /* the machine's parts, as bx_vm_parts has them */
    char *qemu_id;
    char *kernel;
    char *initramfs;
    char *hook;
    char *boot_id;
    uint64_t hook_hash;
    char *templates_dir;
    char *template_name;
    char *template_key;
    int64_t uid; /* to run QEMU as when the shim is root; -1 = the shim's own */
    int64_t gid;
    unsigned jail_layers;   /* that are wanted */
    unsigned jail_required; /* of them: without which nothing is started */
    unsigned jail_any;      /* of them: one of which there must be; 0: none */
    unsigned timeout_ms;    /* box: spawn to Ready. template: the whole boot */
    char *base_disk;        /* raw image: under disk.qcow2; of a template: to be mounted in it. NULL: none */

    /* template */
    bool background; /* nobody waits for it: idle priority, never in the way of another maker, a failure is
                        written beside it */
    uint64_t templates_bytes;  /* when it is made others make room: what all may take ... */
    unsigned templates_idle_s; /* ... and how long one is kept that is not used */

    /* check */
    char *check_disk;    /* disk.qcow2 over base_disk; NULL: the jail alone */
    char *check_scratch; /* an empty file to write it to, as one image */

    /* box */
    char *box_id;
    char *box_dir;      /* <home>/boxes/<id>: lock, disk.qcow2, box.sock, logs, exit.json, paused */
    bool detached;      /* lives on when `fd` closes */
    uint64_t disk_size; /* bytes */
    bool grow;          /* the file system of base_disk is smaller than disk_size */
    char *hostname;
    char *working_dir;
    char *user;
    char **env; /* "K=V" */
    uint64_t capabilities;
    struct bx_shim_limits limits;
    bool readonly_proc;
    bool syscall_filter; /* for commands, in the guest */
    char *box_name, *image; /* for events; the name may be NULL */
    char *events_dir;       /* <home>/events; NULL: nobody is told */
    char **health_cmd;      /* NULL or empty: the agent is asked whether it lives */
    unsigned health_interval_ms; /* 0: no health check */
    unsigned health_timeout_ms, health_start_period_ms, health_retries;
    char *net_program; /* boxlite-net; NULL: a box without a network */
    char *net_plan;    /* what it is told (net/plan.h) */
    unsigned setup_us, image_us, template_us, config_us; /* what the start took before the shim */
};

#define BX_SHIM_PLAN_INIT ((struct bx_shim_plan){.fd = -1, .uid = -1, .gid = -1})
void bx_shim_plan_done(struct bx_shim_plan *p);
#define bx_cleanup_shim_plan BX_CLEANUP(bx_shim_plan_done)

/* Appends the JSON. -BX_EINVALID (named) when something is missing, out of range or not UTF-8. */
int bx_shim_plan_write(const struct bx_shim_plan *p, struct bx_buf *out, struct bx_err *err);
int bx_shim_plan_parse(const char *text, size_t len, struct bx_shim_plan *ret, struct bx_err *err);

/* The shim's answers on `fd` when it is no box: one JSON document each. */
int bx_shim_error_write(int fd, const struct bx_err *why);
/* Sets err to what the shim said; -BX_ERPC when it said nothing sensible. Always negative. */
int bx_shim_error_parse(const char *text, size_t len, struct bx_err *err);

/* Probe: verdict_line is what bx_probe_format gave (vm/probe.h), without its end of line. */
int bx_shim_probe_write(int fd, const char *verdict_line, uint64_t tsc_khz);
/* verdict_line: at least 512 bytes. */
int bx_shim_probe_parse(const char *text, size_t len, char *verdict_line, size_t size, uint64_t *ret_tsc_khz,
                        struct bx_err *err);

/* Check: what holds ("pid_ns root ...; without cgroup (...)"); of a disk also e2fsck's exit status (-1: it could not be tried) and
 * the end of what it said. */
int bx_shim_check_write(int fd, const char *jail, int status, const char *output);
int bx_shim_check_parse(const char *text, size_t len, char *jail, size_t jail_size, int *ret_status, char *output, size_t size,
                        struct bx_err *err);

/* A file in the folder of a box: there while it is paused. The shim's, as its lock; others look only. */
#define BX_PAUSED_MARK "paused"

/*
 * exit.json of a box: how it ended. Written by the shim, read by the next runtime that looks.
 */
struct bx_exit_record {
    bool failed;        /* state failed, else stopped */
    bool has_exit_code; /* the main process ended by itself */
    int exit_code;
    bool oom;
    int code;           /* enum bx_code when failed */
    int64_t time_ns;    /* wall clock */
    char message[2048]; /* with the console's tail */
};
int bx_exit_record_write(int dirfd, const struct bx_exit_record *r, struct bx_err *err);
/* -BX_ENOTFOUND when there is none. */
int bx_exit_record_read(int dirfd, struct bx_exit_record *ret, struct bx_err *err);

#endif
