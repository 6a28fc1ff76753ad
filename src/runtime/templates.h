/* SPDX-License-Identifier: Apache-2.0 */
/*
 * templates.h - the machines of this home: what one is made of, whether its template is there, having it made (private).
 */
#ifndef BX_RUNTIME_TEMPLATES_H
#define BX_RUNTIME_TEMPLATES_H

#include "host/shim_plan.h"
#include "runtime/job.h"
#include "runtime/runtime.h"
#include "vm/shape.h"

/* Size of the disk that a template's machine knows. */
#define BX_TEMPLATE_DISK ((uint64_t)BX_DISK_DEFAULT_GB << 30)

struct bx_machine {
    struct bx_vm_shape shape;
    struct bx_vm_parts parts;
    struct bx_vm_key key;
    int64_t number; /* of the box: as root its QEMU has a uid of its own by it; 0: of no box */
};

/* From the shape as asked for: rounds it, finds the parts, makes the key of the blank template. */
int bx_machine_find(struct CBoxliteRuntime *rt, struct bx_machine *m, struct bx_err *err);
/* The key of the template with this disk mounted, instead. The old one is not freed. */
int bx_machine_key(struct CBoxliteRuntime *rt, struct bx_machine *m, const char *disk, struct bx_err *err);
/* A heap copy as a field of a plan; negative when memory is short. */
int bx_plan_text(char **field, const char *value);
/* The fields that box and template plans have in common. */
int bx_machine_plan(const struct CBoxliteRuntime *rt, const struct bx_machine *m, struct bx_shim_plan *p,
                    struct bx_err *err);

bool bx_template_exists(const struct CBoxliteRuntime *rt, const struct bx_machine *m);
/* Did somebody fail to make it a moment ago? Then err says why. */
bool bx_template_failed_lately(const struct CBoxliteRuntime *rt, const struct bx_machine *m, struct bx_err *err);

/* Has it made: boxlite-shim, which waits when another makes it. `disk` NULL: the blank one. fn gets what it said, for
 * bx_template_made. */
struct bx_job *bx_template_start(struct CBoxliteRuntime *rt, const struct bx_machine *m, const char *disk, bx_job_fn *fn,
                                 void *ud, struct bx_err *err);
/* What came of it: 0, or the reason, which is then remembered for a moment. */
int bx_template_made(struct CBoxliteRuntime *rt, const struct bx_machine *m, const char *text, size_t len,
                     struct bx_err *err);

/* Has the template of an image's disk made by a shim that nobody waits for and that gives way to everything else on
 * the host, unless that failed in the last hour. m is the blank machine. */
void bx_template_behind(struct CBoxliteRuntime *rt, const struct bx_machine *m, const char *disk);

#endif
