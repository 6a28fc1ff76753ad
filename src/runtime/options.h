/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - what a box was created with: the setters' object, its checks, and its JSON in the box's row
 * (private). */
#ifndef BX_RUNTIME_OPTIONS_H
#define BX_RUNTIME_OPTIONS_H

#include <boxlite.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "runtime/health.h"
#include "runtime/network.h"
#include "runtime/security.h"

#define BX_DEFAULT_IMAGE      "alpine:latest"
#define BX_DEFAULT_MEMORY_MIB 1024

struct CBoxliteOptions {
    char *image;
    char *rootfs_path; /* in place of it, or NULL */
    char *name; /* not in the JSON: the row has it */
    int cpus;   /* 0: default; likewise below */
    int memory_mib;
    int disk_size_gb;
    char *workdir;
    char *user;
    char *engine;
    char **env;        /* "K=V" */
    char **entrypoint; /* NULL: not given; empty list: given */
    char **cmd;
    bool run_main, tty, stdin_open;
    int auto_remove; /* -1: not given */
    bool has_auto_delete;
    uint32_t auto_delete;
    bool detach;
    struct bx_network network;
    struct bx_health health;
    bool no_auto_resume;
    struct CAdvancedBoxOptions advanced;
    const char *unsupported; /* what a setter asked for and this version cannot give; NULL: nothing */
    bool no_memory; /* a setter could not keep what it was given */
};

BX_DEFINE_CLEANUP(struct CBoxliteOptions *, boxlite_options_free)

/* Has it a main process of its own? */
bool bx_options_main(const struct CBoxliteOptions *o);
/* Does stopping remove it? */
bool bx_options_remove_on_stop(const struct CBoxliteOptions *o);

/* Everything in range and compatible? -BX_EINVALID, -BX_ESTATE, naming the field. */
int bx_options_check(const struct CBoxliteOptions *o, struct bx_err *err);

/* Heap text. 0 or negative. */
int bx_options_to_json(const struct CBoxliteOptions *o, char **ret, struct bx_err *err);
/* Keys that are not known are ignored: a newer library wrote them. -BX_EDATABASE. */
int bx_options_from_json(const char *text, struct CBoxliteOptions **ret, struct bx_err *err);

#endif
