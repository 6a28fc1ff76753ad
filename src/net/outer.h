/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outer.h - the outer process of boxlite-net: what needs the host, done before anything of the box is read.
 *
 * It binds the published ports, finds out which addresses are the host's, follows resolv.conf, and starts the program
 * again in a jail, where all the work is done; again when that dies (connections are reset then, ports stay bound). It
 * holds the guest's port, to hand it to the next one, and never reads from it.
 */
#ifndef BX_NET_OUTER_H
#define BX_NET_OUTER_H

/* Exit status of the program. Descriptors as in net.h, the plan as the shim wrote it. */
int outer_run(void);

#endif
