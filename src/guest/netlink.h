/* SPDX-License-Identifier: Apache-2.0 */
/* netlink.h - the box's interface: made by a few messages to the kernel, no program is run. */
#ifndef BX_GUEST_NETLINK_H
#define BX_GUEST_NETLINK_H

#include "base/err.h"

/* What a box sees (host byte order). */
#define BX_NET_GUEST   0xc0a87f02u /* 192.168.127.2/24 on eth0 */
#define BX_NET_GATEWAY 0xc0a87f01u /* .1: gateway and DNS */
#define BX_NET_PREFIX  24

/*
 * Makes eth0, a dummy interface with the box's address and a default route, as programs expect to see; and, in the table
 * that the kernel asks first, a route by which every address is this machine's own. So each connection comes to the
 * agent (net.h). Needs the module "dummy".
 */
int bx_netlink_up(struct bx_err *err);

#endif
