/* SPDX-License-Identifier: Apache-2.0 */
/* processes.h - the processes of a box (private). */
#ifndef BX_RUNTIME_PROCESSES_H
#define BX_RUNTIME_PROCESSES_H

#include "runtime/runtime.h"

/* What the box's agent has written (guest/processes.h) as a list; the text is cut up. -BX_ERPC: the box lies. */
int bx_processes_parse(char *text, uint64_t left_out, CBoxProcessList **ret, struct bx_err *err);
void bx_processes_free(CBoxProcessList *list);

#endif
