/* SPDX-License-Identifier: Apache-2.0 */
/* lockdown.h - after this, the process can compute and use the descriptors it has; nothing else. */
#ifndef BX_UNPACK_LOCKDOWN_H
#define BX_UNPACK_LOCKDOWN_H

#include <stdint.h>

#include "base/err.h"

/* Most bytes of each; 0 leaves it as it is. */
struct bx_lockdown_limits {
    uint64_t address_space; /* reservations count */
    uint64_t memory;        /* of the process alone: heap, private mappings */
    uint64_t file_size;     /* of any file written */
    unsigned polled;        /* not bytes: how many descriptors are waited for at a time */
};

int bx_lockdown(const struct bx_lockdown_limits *limits, struct bx_err *err);

#endif
