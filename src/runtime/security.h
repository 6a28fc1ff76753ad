/* SPDX-License-Identifier: Apache-2.0 */
/* security.h - what a box's commands may take and do, and what holds its machine: the advanced options (private). */
#ifndef BX_RUNTIME_SECURITY_H
#define BX_RUNTIME_SECURITY_H

#include <boxlite.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "host/json.h"
#include "host/shim_plan.h"

/* Capabilities by their numbers in Linux. */
struct bx_capabilities {
    uint64_t add, drop; /* masks */
    bool add_all, drop_all;
};

struct CAdvancedBoxOptions {
    bool jailer_enabled, seccomp_enabled, network_enabled, close_fds;
    uint64_t max_open_files, max_file_size, max_processes, max_memory, max_cpu_time; /* 0: no limit */
    struct bx_capabilities capabilities;
    char refused[128]; /* a setter was given what is none: what to say when a box is made with it */
};

void bx_advanced_init(struct CAdvancedBoxOptions *a);
/* Everything in range? -BX_EINVALID, naming the field. */
int bx_advanced_check(const struct CAdvancedBoxOptions *a, struct bx_err *err);

/* Docker's rules: all but the dropped, or the added alone, or the default ones less the dropped and with the added. */
uint64_t bx_capabilities_mask(const struct bx_capabilities *c);
/* Names of a mask, as Docker writes them without CAP_. NULL when memory is short. */
char **bx_capabilities_names(uint64_t mask);
bool bx_capabilities_equal(const struct bx_capabilities *a, const struct bx_capabilities *b);

/* What a plan says of all this. */
void bx_advanced_plan(const struct CAdvancedBoxOptions *a, struct bx_shim_plan *p);

/* Is anything not as bx_advanced_init has it? Only that is in a row: lists of boxes read every row. */
bool bx_advanced_given(const struct CAdvancedBoxOptions *a);
/* In the box's row: the members of an object that is open, and back. Unknown members are a newer library's. */
void bx_advanced_write(const struct CAdvancedBoxOptions *a, struct bx_jw *w);
int bx_advanced_read(const struct bx_json *j, struct CAdvancedBoxOptions *a, struct bx_err *err);

/* As facts of a box. 0 or -ENOMEM. */
struct CBoxliteInfo;
int bx_advanced_facts(const struct CAdvancedBoxOptions *a, struct CBoxliteInfo *info);

#endif
