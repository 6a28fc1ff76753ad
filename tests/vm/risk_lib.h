/* SPDX-License-Identifier: Apache-2.0 */
/*
 * risk_lib.h - for the tests of the machine itself: a directory of templates of their own, a template, boxes restored from it, answers
 * from their ports, SHA-256 of files.
 *
 * The directory with kernel, initramfs, boot.json and hook is $BX_TEST_LIBEXEC. Every wait has a deadline.
 */
#ifndef BX_TESTS_RISK_LIB_H
#define BX_TESTS_RISK_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"
#include "vm/qemu.h"
#include "vm/template.h"

struct rig {
    struct bx_loop *loop;
    char home[64];
    int home_fd;
    int log_fd; /* console of every machine */
    struct bx_vm_shape shape;
    struct bx_vm_parts parts;
    struct bx_vm_key key;
};

struct box {
    struct rig *rig;
    struct bx_template tpl;
    struct bx_qemu *qemu;
    int disk_fd;
    int control;
    int bulk;
    bool exited;
    int status;
    bool replied;     /* of the last QMP command */
    bool reply_failed;
    int64_t spawn_time;
};

#define DISK_SIZE (1024ull * 1024 * 1024)

/* Prints why and exits 1; 77 for skip, unless BOXLITE_TEST_MUST_RUN is set. */
_Noreturn void rig_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void rig_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void rig_init(struct rig *r, unsigned cpus, unsigned memory_mib);
void rig_done(struct rig *r); /* removes the home */
void rig_make_template(struct rig *r);
/* SHA-256 of <name>/mem in lower-case hex. */
void rig_hash_memory(struct rig *r, char ret[65]);
/* Path of a file of the template. */
void rig_template_path(const struct rig *r, const char *part, char *dst, size_t size);

/* Starts a box from the template; does not wait. */
void box_start(struct rig *r, struct box *b);
/* Sends bytes to a port and waits for any answer (at most size-1 bytes, terminated). False when none came in time. */
bool box_ask(struct box *b, int port, const void *data, size_t len, char *answer, size_t size, int timeout_ms);
/* A Hello frame, as the shim would send it. */
bool box_hello(struct box *b, int timeout_ms);
/* Sends a QMP command and waits for its success. */
void box_qmp(struct box *b, const char *command, const char *args);
bool box_wait_locked(struct box *b, int timeout_ms);
bool box_wait_exit(struct box *b, int timeout_ms);
void box_done(struct box *b);

#endif
