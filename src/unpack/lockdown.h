/* SPDX-License-Identifier: Apache-2.0 */
/* lockdown.h - after this, the process can compute and use the descriptors it has; nothing else. */
#ifndef BX_UNPACK_LOCKDOWN_H
#define BX_UNPACK_LOCKDOWN_H

#include <stdint.h>

#include "base/err.h"

/* address_space: most bytes of it (reservations count); 0 leaves it as it is. */
int bx_lockdown(uint64_t address_space, struct bx_err *err);

#endif
