/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - what boxlite-net is told when it starts, as lines of text in a memfd:
 *
 *   boxlite-net 1
 *   rule TEXT                                    policy/policy.h; any number
 *   port tcp|udp HOST_IP HOST_PORT BOX_PORT      published; HOST_PORT 0: the host chooses
 *   guard host|network A.B.C.D/N                 closed to names: added by the outer process, which sees the interfaces
 *
 * The shim has checked all of it; what cannot be read here is an error nevertheless.
 */
#ifndef BX_NET_PLAN_H
#define BX_NET_PLAN_H

#include "policy/policy.h"

#define BX_NET_PORTS_MAX 64
#define BX_NET_PLAN_MAX  (2 * 1024 * 1024)
#define BX_NET_PLAN_HEAD "boxlite-net 1"

struct bx_net_port {
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    uint32_t host_ip; /* host byte order */
    uint16_t host_port, box_port;
};

struct bx_net_plan {
    struct bx_policy policy;
    struct bx_net_port ports[BX_NET_PORTS_MAX];
    size_t n_ports;
};

/* text is cut up. */
int bx_net_plan_parse(char *text, struct bx_net_plan *ret, struct bx_err *err);
/* Of the memfd, from its start. */
int bx_net_plan_read(int fd, struct bx_net_plan *ret, struct bx_err *err);
void bx_net_plan_done(struct bx_net_plan *plan);

#endif
