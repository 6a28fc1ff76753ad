/* SPDX-License-Identifier: Apache-2.0 */
/* limits.h - every bound that more than one module must agree on, with its reason. */
#ifndef BX_BASE_LIMITS_H
#define BX_BASE_LIMITS_H

#define BX_FRAME_PAYLOAD_MAX 65536         /* one frame: bounds what a reader must hold before it can act */
#define BX_MESSAGE_MAX (4 * 1024 * 1024)   /* one control message over several frames: argv and env of Linux fit */
#define BX_ARG_MAX (128 * 1024)            /* one argument or variable: MAX_ARG_STRLEN of Linux */
#define BX_ARGS_MAX 16384                  /* arguments, and likewise variables, of one exec */
#define BX_STREAMS_MAX 1024                /* streams on one link at a time */
#define BX_CLIENTS_MAX 64                  /* programs connected to one shim at a time */
#define BX_WINDOW (1024 * 1024)            /* initial credit of a claimed lane: the round trip at 1 GB/s */
#define BX_CONN_WINDOW (128 * 1024)        /* the same of a connection, of which a box may have a thousand */
#define BX_KEEP_HEAD (512 * 1024)          /* unclaimed output kept from the start ... */
#define BX_KEEP_TAIL (512 * 1024)          /* ... and from the end */
#define BX_NAME_MAX 128                    /* box names: [a-zA-Z0-9][a-zA-Z0-9._-]* */
#define BX_CPUS_MAX 32
#define BX_MEMORY_MIN_MIB 128
#define BX_MEMORY_MAX_MIB 65536
#define BX_MEMORY_STEP_MIB 64              /* shapes are rounded up to this, so templates are shared */
#define BX_DISK_DEFAULT_GB 10
#define BX_DISK_MAX_GB 1024
#define BX_GUEST_NETWORK_WORD "boxlite_network" /* likewise: bring the network up */
#define BX_GUEST_ROOT_WORD "boxlite_root"    /* on the guest kernel's command line: mount the disk before parking */

#endif
