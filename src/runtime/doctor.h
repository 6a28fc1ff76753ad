/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.h - looking for what a crash can leave in a home, and for what this host lacks (private).
 *
 * Theory of operation
 *
 *  A list of steps, one after another; between two the loop has its turn. A step looks at one kind of thing and adds a finding, also
 * when all is well, and with `repair` mends what can be mended without losing what somebody may want. What takes long (a
 * trial of the jail, the file system of a box) is done by a process of its own; the step goes on when it has answered.
 *
 *  Other programs use the home meanwhile. So nothing is taken for left over that its maker may still hold: folders and sockets only under
 * both locks of their box, files only when nobody holds theirs.
 */
#ifndef BX_RUNTIME_DOCTOR_H
#define BX_RUNTIME_DOCTOR_H

#include "runtime/job.h"
#include "runtime/runtime.h"

struct bx_doctor {
    struct bx_doctor *next; /* in rt->doctors */
    struct CBoxliteRuntime *rt;
    struct bx_op *op;
    bool repair, quick;
    size_t step;
    struct bx_source *turn;
    struct doctor_report *report;
    bool failed; /* memory was short */

    /* of a step that waits */
    struct bx_job *job;
    char **boxes; /* whose disks are to be looked at */
    size_t at;    /* which of them */
    int lock_fd;  /* start.lock of the box whose disk is looked at */
    char scratch[64];
    int scratch_fd; /* its lock: it is somebody's */
    unsigned sound, unsound;
};

/* A finding; texts are copied. subject: which box or file, "" for none. remedy: what a person can do, "" for nothing. */
void bx_doctor_say(struct bx_doctor *d, const char *check, BoxliteFindingState state, const char *subject, const char *remedy,
                   const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* A step that waited is done. */
void bx_doctor_next(struct bx_doctor *d);

/* Steps. true: done; false: bx_doctor_next is called later. */
typedef bool bx_doctor_step(struct bx_doctor *d);
/* doctor_home.c */
bx_doctor_step bx_doctor_home, bx_doctor_database, bx_doctor_rows, bx_doctor_folders, bx_doctor_temporary, bx_doctor_images;
/* doctor_host.c */
bx_doctor_step bx_doctor_programs, bx_doctor_engine, bx_doctor_jail, bx_doctor_disks;
/* What a step holds while it waits. */
void bx_doctor_disks_stop(struct bx_doctor *d);

void bx_doctors_end(struct CBoxliteRuntime *rt);
void bx_doctor_report_free(CDoctorReport *report);

#endif
