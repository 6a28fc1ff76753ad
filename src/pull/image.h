/* SPDX-License-Identifier: Apache-2.0 */
/* image.h - a whole pull: endpoints in order, manifests, the platform's image, its blobs. */
#ifndef BX_PULL_IMAGE_H
#define BX_PULL_IMAGE_H

#include "host/pull_plan.h"

/*
 * Does what the plan says, with blobs_fd and status_fd in place of those it names. ready() is called when
 * everything is set up and before anything is sent: the last moment to give up rights. Gives the exit code: 0
 * after `ok`, 1 after `error`.
 */
typedef int bx_pull_ready_fn(struct bx_err *err);
int bx_pull_image(const struct bx_pull_plan *plan, int blobs_fd, int status_fd, bx_pull_ready_fn *ready);

#endif
