/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.h - parked machines on disk: <home>/templates/<name>/{mem,state,files,key}, made once, never written again.
 *
 * Two kinds. A blank one has no root and serves every disk. An image's has that image's disk mounted over an overlay, which is
 * kept frozen beside it (`disk`): a box begins with a copy of that overlay, so that its disk is as the machine remembers it.
 */
#ifndef BX_VM_TEMPLATE_H
#define BX_VM_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "loop/loop.h"
#include "vm/qemu.h"
#include "vm/shape.h"

struct bx_template {
    int mem_fd;   /* O_RDONLY */
    int state_fd; /* O_RDONLY, at offset 0 */
    int disk_fd;  /* O_RDONLY: the overlay to copy; -1: a blank template */
    char **files; /* for bx_qemu_config.files */
};
#define BX_TEMPLATE_INIT ((struct bx_template){ .mem_fd = -1, .state_fd = -1, .disk_fd = -1, .files = NULL })
void bx_template_done(struct bx_template *t);

/*
 * Opens the template of a key in the directory templates_fd. -BX_ENOTFOUND when there is none, or when what is there has the wrong key
 * text, size or mode (the message says which): the caller makes it anew.
 */
int bx_template_open(int templates_fd, const struct bx_vm_key *key, const struct bx_vm_shape *shape,
                     struct bx_template *ret, struct bx_err *err);

/* Removes a template that does not restore. Boxes that run on it are not disturbed. */
int bx_template_remove(int templates_fd, const char *name, struct bx_err *err);

/* Removes what makers and removers that were killed have left, of every template: up to the size of a machine's memory each. */
void bx_template_sweep(int templates_fd);

/* The right to make it: an exclusive flock on <name>.lock. Closing the descriptor gives it up. `wait`: blocks until it is free; else -BX_ESTATE when
 * somebody has it. Descriptor or negative. */
int bx_template_lock(int templates_fd, const char *name, bool wait, struct bx_err *err);

struct bx_template_maker;

struct bx_template_config {
    int templates_fd;
    const struct bx_vm_key *key;
    struct bx_vm_shape shape;
    const struct bx_vm_parts *parts;
    uid_t uid; /* as in bx_qemu_config */
    gid_t gid;
    int base_fd;        /* an image's disk, to be mounted in the template; -1 = blank */
    int log_fd;         /* console log, or -1 */
    int64_t timeout_ns; /* for the whole boot; 0 = 60 s */
};

/* Once, with NULL or the reason. The maker is freed by its owner, from the callback if it likes. */
typedef void bx_template_done_fn(void *ud, const struct bx_err *err);

/*
 * Boots a machine, waits until its agent has parked (it writes BX_PARKED_LINE to the console) and the machine has been quiet, saves and
 * publishes it. The caller holds the lock and everything of cfg stays valid until the callback.
 */
#define BX_PARKED_LINE "boxlite-guest: parked"
struct bx_template_maker *bx_template_make(struct bx_loop *loop, const struct bx_template_config *cfg,
                                           bx_template_done_fn *fn, void *ud, struct bx_err *err);
struct bx_template_maker *bx_template_maker_free(struct bx_template_maker *m);
BX_DEFINE_CLEANUP(struct bx_template_maker *, bx_template_maker_free)

#endif
