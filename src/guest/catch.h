/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catch.h - whatever the box's programs want to reach, caught by the guest's own kernel and brought to the agent.
 *
 * Theory of operation
 *
 *  There is no network card. A route makes every address this machine's own (netlink.h), so packets never leave the
 * loopback device, and two small programs in the kernel, loaded before the machine is parked, decide:
 *
 *  - LOOKUP (sk_lookup of the network namespace): a connection or datagram to an address that is not really ours is
 *    given to a socket of the agent, whatever its port.
 *  - EGRESS (of the box's cgroup): the first packet of a TCP connection (SYN) to such an address is taken out and put
 *    into a ring that the agent reads. It asks the host (connection.h). When the host has connected, the agent puts the packet
 *    back, and the kernel finishes what the program began; else it answers with a reset, or with an ICMP message, or not
 *    at all, as the host saw it. So connect() in the box tells the truth. ICMP goes to the gateway only, which the kernel
 *    answers; everything that is neither TCP nor UDP is dropped.
 *
 *  The kernel of the box ends the connection; what crosses to the host is a stream of bytes with an address, never a
 * packet. A root that takes all this apart cuts itself off: there is no other way out.
 */
#ifndef BX_GUEST_CATCH_H
#define BX_GUEST_CATCH_H

#include "guest/connection.h"

struct bx_catch {
    struct bx_connections *conns;
    int cgroup; /* of the box; not ours */
    int lookup, egress; /* programs */
    int sockets, ring; /* maps */
    int hold; /* what keeps LOOKUP attached */
    volatile uint64_t *consumed;
    const volatile uint64_t *produced;
    const uint8_t *data;
    int listener, datagrams, raw;
    struct bx_source *on_ring, *on_listener, *on_datagrams;
};

extern const struct bx_connection_ops bx_catch_ops; /* ud: struct bx_catch */

void bx_catch_init(struct bx_catch *k, struct bx_connections *conns);
/* Loads the programs: slow under emulation, so before parking. */
int bx_catch_prepare(struct bx_catch *k, int cgroup, struct bx_err *err);
/* Interface, routes, sockets; the programs go to work. Slow under emulation too: before parking. */
int bx_catch_start(struct bx_catch *k, struct bx_err *err);

/* --- for tests: packets are pure --- */

/* A SYN as the ring brings it: reads its flow. -EINVAL when it is none. */
int bx_catch_flow(const uint8_t *packet, size_t len, struct bx_flow *ret);
/* Both checksums of an IPv4 packet that carries TCP. */
void bx_catch_checksum(uint8_t *packet, size_t len);
/* The packet that refuses a SYN: length, at most 40. */
size_t bx_catch_reset(const uint8_t *syn, uint8_t ret[BX_CONNECTION_PACKET]);

#endif
