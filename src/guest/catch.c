/* SPDX-License-Identifier: Apache-2.0 */
/* catch.c - see catch.h. */
#include "guest/catch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/bpf.h"
#include "guest/netlink.h"

#define RING_SIZE   (64 * 1024)
#define RING_TURN   64
#define ACCEPT_TURN 64
#define WAIT_NS     (10 * BX_SEC) /* from Connected to the program's connection */
#define SOCKET_TCP  0
#define SOCKET_UDP  1
#define OUR_PORT    1 /* of the sockets that catch; which does not matter */
#define TTL         64

#define IP_HEADER     20
#define TCP_HEADER    20
#define IP_PROTOCOL   9 /* offsets in the header */
#define IP_DST        16
#define TCP_FLAGS     13
#define SYN_AND_ACK   0x12
#define SYN           0x02
#define ETHERTYPE     ((int32_t)__builtin_bswap16(ETH_P_IP)) /* as the programs see what is big-endian */
#define ADDRESS(addr) ((int32_t)__builtin_bswap32(addr))

#define R0  BPF_REG_0
#define R1  BPF_REG_1
#define R2  BPF_REG_2
#define R3  BPF_REG_3
#define R4  BPF_REG_4
#define CTX BPF_REG_6
#define SK  BPF_REG_7
#define LEN BPF_REG_7
#define FP  BPF_REG_10

enum { PASS = 1, TCP, ICMP, DROP, HAVE_KEY };

/* clang-format off */
static const struct bpf_insn lookup_program[] = {
    BX_BPF_MOV(CTX, R1),
    BX_BPF_LOAD(R1, CTX, offsetof(struct bpf_sk_lookup, family)),
    BX_BPF_JUMP(BPF_JNE, R1, AF_INET, PASS),
    BX_BPF_LOAD(R1, CTX, offsetof(struct bpf_sk_lookup, local_ip4)),
    BX_BPF_JUMP_32(BPF_JEQ, R1, ADDRESS(BX_NET_GUEST), PASS),
    BX_BPF_OP(BPF_AND, R1, 0xff),
    BX_BPF_JUMP(BPF_JEQ, R1, 127, PASS),
    BX_BPF_STORE(FP, -4, SOCKET_TCP),
    BX_BPF_LOAD(R1, CTX, offsetof(struct bpf_sk_lookup, protocol)),
    BX_BPF_JUMP(BPF_JEQ, R1, IPPROTO_TCP, HAVE_KEY),
    BX_BPF_STORE(FP, -4, SOCKET_UDP),
    BX_BPF_LABEL(HAVE_KEY),
    BX_BPF_MAP(R1),
    BX_BPF_MOV(R2, FP),
    BX_BPF_OP(BPF_ADD, R2, -4),
    BX_BPF_CALL(BPF_FUNC_map_lookup_elem),
    BX_BPF_JUMP(BPF_JEQ, R0, 0, PASS),
    BX_BPF_MOV(SK, R0),
    BX_BPF_MOV(R1, CTX),
    BX_BPF_MOV(R2, SK),
    BX_BPF_OP(BPF_MOV, R3, 0),
    BX_BPF_CALL(BPF_FUNC_sk_assign),
    BX_BPF_MOV(R1, SK),
    BX_BPF_CALL(BPF_FUNC_sk_release),
    BX_BPF_LABEL(PASS),
    BX_BPF_OP(BPF_MOV, R0, SK_PASS),
    BX_BPF_EXIT,
};

#define PACKET (-(BX_CONNECTION_PACKET)) /* on the stack */
#define COPY(at, count) /* count bytes at offset `at` of the packet, to the front of PACKET */ \
    BX_BPF_MOV(R1, CTX), BX_BPF_OP(BPF_MOV, R2, at), BX_BPF_MOV(R3, FP), BX_BPF_OP(BPF_ADD, R3, PACKET), \
    BX_BPF_OP(BPF_MOV, R4, count), BX_BPF_CALL(BPF_FUNC_skb_load_bytes), BX_BPF_JUMP(BPF_JNE, R0, 0, DROP)
#define ZERO(at) BX_BPF_STORE_8(FP, PACKET + (at), 0)

static const struct bpf_insn egress_program[] = {
    BX_BPF_MOV(CTX, R1),
    BX_BPF_LOAD(R1, CTX, offsetof(struct __sk_buff, protocol)),
    BX_BPF_JUMP(BPF_JNE, R1, ETHERTYPE, PASS), /* IPv6 has the loopback interface only */
    COPY(0, IP_HEADER),
    BX_BPF_LOAD(R1, FP, PACKET + IP_DST),
    BX_BPF_LOAD_BYTE(R2, FP, PACKET + IP_PROTOCOL),
    BX_BPF_JUMP_32(BPF_JEQ, R1, ADDRESS(BX_NET_GUEST), PASS),
    BX_BPF_JUMP(BPF_JEQ, R2, IPPROTO_ICMP, ICMP),
    BX_BPF_OP(BPF_AND, R1, 0xff),
    BX_BPF_JUMP(BPF_JEQ, R1, 127, PASS),
    BX_BPF_JUMP(BPF_JEQ, R2, IPPROTO_UDP, PASS),
    BX_BPF_JUMP(BPF_JEQ, R2, IPPROTO_TCP, TCP),
    BX_BPF_LABEL(DROP),
    BX_BPF_OP(BPF_MOV, R0, 0),
    BX_BPF_EXIT,
    BX_BPF_LABEL(ICMP),
    BX_BPF_JUMP_32(BPF_JEQ, R1, ADDRESS(BX_NET_GATEWAY), PASS),
    BX_BPF_OP(BPF_AND, R1, 0xff),
    BX_BPF_JUMP(BPF_JNE, R1, 127, DROP),
    BX_BPF_LABEL(PASS),
    BX_BPF_OP(BPF_MOV, R0, 1),
    BX_BPF_EXIT,
    /* TCP: is it a SYN? The header begins behind as many words as the first byte says. */
    BX_BPF_LABEL(TCP),
    BX_BPF_LOAD_BYTE(LEN, FP, PACKET),
    BX_BPF_OP(BPF_AND, LEN, 0x0f),
    BX_BPF_OP(BPF_LSH, LEN, 2),
    BX_BPF_OP(BPF_ADD, LEN, TCP_FLAGS),
    BX_BPF_MOV(R1, CTX),
    BX_BPF_MOV(R2, LEN),
    BX_BPF_MOV(R3, FP),
    BX_BPF_OP(BPF_ADD, R3, PACKET),
    BX_BPF_OP(BPF_MOV, R4, 1),
    BX_BPF_CALL(BPF_FUNC_skb_load_bytes),
    BX_BPF_JUMP(BPF_JNE, R0, 0, DROP),
    BX_BPF_LOAD_BYTE(R1, FP, PACKET),
    BX_BPF_OP(BPF_AND, R1, SYN_AND_ACK),
    BX_BPF_JUMP(BPF_JNE, R1, SYN, PASS),
    /* The whole of it, with what is behind it zero, goes to the ring. */
    BX_BPF_LOAD(LEN, CTX, offsetof(struct __sk_buff, len)),
    BX_BPF_JUMP(BPF_JLT, LEN, IP_HEADER + TCP_HEADER, DROP),
    BX_BPF_JUMP(BPF_JGT, LEN, BX_CONNECTION_PACKET, DROP),
    ZERO(0), ZERO(8), ZERO(16), ZERO(24), ZERO(32), ZERO(40), ZERO(48), ZERO(56), ZERO(64), ZERO(72), ZERO(80), ZERO(88),
    ZERO(96), ZERO(104), ZERO(112),
    BX_BPF_MOV(R1, CTX),
    BX_BPF_OP(BPF_MOV, R2, 0),
    BX_BPF_MOV(R3, FP),
    BX_BPF_OP(BPF_ADD, R3, PACKET),
    BX_BPF_MOV(R4, LEN),
    BX_BPF_CALL(BPF_FUNC_skb_load_bytes),
    BX_BPF_JUMP(BPF_JNE, R0, 0, DROP),
    BX_BPF_MAP(R1),
    BX_BPF_MOV(R2, FP),
    BX_BPF_OP(BPF_ADD, R2, PACKET),
    BX_BPF_OP(BPF_MOV, R3, BX_CONNECTION_PACKET),
    BX_BPF_OP(BPF_MOV, R4, 0),
    BX_BPF_CALL(BPF_FUNC_ringbuf_output),
    BX_BPF_GO(DROP),
};
/* clang-format on */

void bx_catch_init(struct bx_catch *k, struct bx_connections *conns)
{
    *k = (struct bx_catch){.conns = conns, .cgroup = -1, .lookup = -1, .egress = -1, .sockets = -1, .ring = -1, .hold = -1,
                           .listener = -1, .datagrams = -1, .raw = -1};
}

/* A page of ours, a page of the kernel's, and the bytes twice, so that no record is broken at the end. */
static int map_ring(struct bx_catch *k, struct bx_err *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *ours = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, k->ring, 0);
    uint8_t *kernels = mmap(NULL, page + 2 * RING_SIZE, PROT_READ, MAP_SHARED, k->ring, (off_t)page);

    if (ours == MAP_FAILED || kernels == MAP_FAILED)
        return bx_fail(err, BX_EENGINE, errno, "map the ring of held connections");
    k->consumed = ours;
    k->produced = (volatile uint64_t *)(void *)kernels;
    k->data = kernels + page;
    return 0;
}

int bx_catch_prepare(struct bx_catch *k, int cgroup, struct bx_err *err)
{
    k->cgroup = cgroup;
    k->sockets = bx_bpf_map(BPF_MAP_TYPE_SOCKMAP, 4, 8, 2, err);
    if (k->sockets < 0)
        return k->sockets;
    k->ring = bx_bpf_map(BPF_MAP_TYPE_RINGBUF, 0, 0, RING_SIZE, err);
    if (k->ring < 0)
        return k->ring;
    k->lookup = bx_bpf_load("that catches connections", BPF_PROG_TYPE_SK_LOOKUP, BPF_SK_LOOKUP, lookup_program,
                            BX_ARRAY_SIZE(lookup_program), k->sockets, err);
    if (k->lookup < 0)
        return k->lookup;
    k->egress = bx_bpf_load("that holds connections", BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS, egress_program,
                            BX_ARRAY_SIZE(egress_program), k->ring, err);
    return k->egress < 0 ? k->egress : map_ring(k, err);
}

/* --- packets --- */

static uint32_t sum(uint32_t so_far, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i + 1 < len; i += 2)
        so_far += (uint32_t)(data[i] << 8 | data[i + 1]);
    if (len % 2)
        so_far += (uint32_t)data[len - 1] << 8;
    return so_far;
}

static uint16_t folded(uint32_t s)
{
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return htons((uint16_t)~s);
}

void bx_catch_checksum(uint8_t *packet, size_t len)
{
    struct iphdr *ip = (struct iphdr *)(void *)packet;
    size_t head = (size_t)ip->ihl * 4;
    struct tcphdr *tcp = (struct tcphdr *)(void *)(packet + head);
    uint32_t s;

    ip->check = 0;
    ip->check = folded(sum(0, packet, head));
    tcp->check = 0;
    s = sum(IPPROTO_TCP + (uint32_t)(len - head), packet + 12, 8); /* both addresses */
    tcp->check = folded(sum(s, packet + head, len - head));
}

int bx_catch_flow(const uint8_t *packet, size_t len, struct bx_flow *ret)
{
    const struct iphdr *ip = (const struct iphdr *)(const void *)packet;
    const struct tcphdr *tcp;
    size_t head;

    if (len < IP_HEADER + TCP_HEADER || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_TCP)
        return -EINVAL;
    head = (size_t)ip->ihl * 4;
    if (ntohs(ip->tot_len) > len || head + TCP_HEADER > ntohs(ip->tot_len))
        return -EINVAL;
    tcp = (const struct tcphdr *)(const void *)(packet + head);
    if (!tcp->syn || tcp->ack)
        return -EINVAL;
    *ret = (struct bx_flow){.src = ip->saddr, .dst = ip->daddr, .src_port = tcp->source, .dst_port = tcp->dest,
                            .protocol = IPPROTO_TCP};
    return 0;
}

size_t bx_catch_reset(const uint8_t *syn, uint8_t ret[BX_CONNECTION_PACKET])
{
    const struct iphdr *ip = (const struct iphdr *)(const void *)syn;
    const struct tcphdr *tcp = (const struct tcphdr *)(const void *)(syn + (size_t)ip->ihl * 4);
    struct {
        struct iphdr ip;
        struct tcphdr tcp;
    } rst = {
        .ip = {.version = 4, .ihl = 5, .tot_len = htons(IP_HEADER + TCP_HEADER), .ttl = TTL, .protocol = IPPROTO_TCP,
               .saddr = ip->daddr, .daddr = ip->saddr},
        .tcp = {.source = tcp->dest, .dest = tcp->source, .ack_seq = htonl(ntohl(tcp->seq) + 1), .doff = 5, .rst = 1,
                .ack = 1},
    };

    memcpy(ret, &rst, sizeof(rst));
    bx_catch_checksum(ret, sizeof(rst));
    return sizeof(rst);
}

/* What a router says of a packet that it does not forward: with that packet's header and 8 bytes of what follows. */
static size_t unreachable(const uint8_t *packet, uint8_t code, uint8_t ret[BX_CONNECTION_PACKET])
{
    const struct iphdr *held = (const struct iphdr *)(const void *)packet;
    size_t quote = (size_t)held->ihl * 4 + 8, len = IP_HEADER + 8 + quote;
    struct iphdr ip = {.version = 4, .ihl = 5, .tot_len = htons((uint16_t)len), .ttl = TTL, .protocol = IPPROTO_ICMP,
                       .saddr = htonl(BX_NET_GATEWAY), .daddr = held->saddr};
    struct icmphdr icmp = {.type = ICMP_DEST_UNREACH, .code = code};

    memcpy(ret, &ip, sizeof(ip));
    memcpy(ret + IP_HEADER, &icmp, sizeof(icmp));
    memcpy(ret + IP_HEADER + 8, packet, quote);
    icmp.checksum = folded(sum(0, ret + IP_HEADER, len - IP_HEADER));
    memcpy(ret + IP_HEADER, &icmp, sizeof(icmp));
    return len;
}

/* Into the kernel as if it came from outside. A packet that it does not take is as good as lost on the way. */
static void inject(struct bx_catch *k, const uint8_t *packet, size_t len)
{
    struct sockaddr_in to = {.sin_family = AF_INET};

    memcpy(&to.sin_addr, packet + IP_DST, 4);
    (void)!sendto(k->raw, packet, len, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
}

/* --- what the host answers --- */

static void on_wait(struct bx_source *s, void *ud)
{
    (void)s;
    bx_connection_fail(ud, ETIMEDOUT, "the program has gone away");
}

/* The program's packet goes on; its connection is then accepted. */
static void let_go(struct bx_catch *k, struct bx_connection *c)
{
    if (!c->timer)
        c->timer = bx_loop_add_timer(k->conns->relays.loop, on_wait, c);
    if (c->timer)
        bx_timer_after(c->timer, WAIT_NS);
    inject(k, c->packet, c->packet_len);
}

static void answered(struct bx_connection *c, const boxlite_Error *why, void *ud)
{
    struct bx_catch *k = ud;
    uint8_t packet[BX_CONNECTION_PACKET];
    size_t len;

    if (!why) {
        if (c->flow.protocol == IPPROTO_TCP)
            let_go(k, c);
        return;
    }
    switch (why->sys_errno) {
    case ETIMEDOUT:
        return; /* silence: the program's own patience counts */
    case EACCES: /* by policy */
        len = unreachable(c->packet, ICMP_PKT_FILTERED, packet);
        break;
    case EHOSTUNREACH:
    case ENETUNREACH:
        len = unreachable(c->packet, ICMP_HOST_UNREACH, packet);
        break;
    default:
        len = c->flow.protocol == IPPROTO_TCP ? bx_catch_reset(c->packet, packet)
                                              : unreachable(c->packet, ICMP_PORT_UNREACH, packet);
        break;
    }
    inject(k, packet, len);
}

const struct bx_connection_ops bx_catch_ops = {answered};

/* --- what programs begin --- */

static void on_syn(struct bx_catch *k, const uint8_t *packet, size_t len)
{
    struct bx_flow flow;
    struct bx_connection *c;
    uint8_t reset[BX_CONNECTION_PACKET];

    if (bx_catch_flow(packet, len, &flow) < 0)
        return;
    c = bx_connection_find(k->conns, &flow);
    if (c && c->state == BX_CONNECTION_OPEN)
        return; /* of an earlier connection with the same ports: its end is on the way */
    if (!c)
        c = bx_connection_ask(k->conns, &flow);
    if (!c) {
        inject(k, reset, bx_catch_reset(packet, reset));
        return;
    }
    c->packet_len = ntohs(((const struct iphdr *)(const void *)packet)->tot_len);
    memcpy(c->packet, packet, c->packet_len);
    bx_catch_checksum(c->packet, c->packet_len);
    if (c->state == BX_CONNECTION_WAITING)
        let_go(k, c); /* sent again: the first one may be lost */
}

/* Layout and flags of records: include/uapi/linux/bpf.h, BPF_RINGBUF_*. */
static void on_ring(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_catch *k = ud;
    uint64_t at = *k->consumed;

    (void)s, (void)fd, (void)events;
    for (int i = 0; i < RING_TURN && at < __atomic_load_n(k->produced, __ATOMIC_ACQUIRE); i++) {
        const uint8_t *record = k->data + at % RING_SIZE;
        uint32_t len = __atomic_load_n((const uint32_t *)(const void *)record, __ATOMIC_ACQUIRE);
        uint8_t packet[BX_CONNECTION_PACKET];

        if (len & BPF_RINGBUF_BUSY_BIT)
            break;
        if (!(len & BPF_RINGBUF_DISCARD_BIT) && len == sizeof(packet)) {
            memcpy(packet, record + BPF_RINGBUF_HDR_SZ, sizeof(packet));
            on_syn(k, packet, sizeof(packet));
        }
        len &= ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
        at += (len + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
        __atomic_store_n(k->consumed, at, __ATOMIC_RELEASE);
    }
}

static void on_listener(struct bx_source *s, int listener, uint32_t events, void *ud)
{
    struct bx_catch *k = ud;

    (void)s, (void)events;
    for (int i = 0; i < ACCEPT_TURN; i++) {
        struct sockaddr_in peer = {0}, here = {0};
        socklen_t peer_len = sizeof(peer), here_len = sizeof(here);
        struct linger now = {.l_onoff = 1};
        struct bx_flow flow;
        struct bx_connection *c;
        int fd = accept4(listener, (struct sockaddr *)&peer, &peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            return; /* none, or one that has gone */
        getsockname(fd, (struct sockaddr *)&here, &here_len);
        flow = (struct bx_flow){peer.sin_addr.s_addr, here.sin_addr.s_addr, peer.sin_port, here.sin_port, IPPROTO_TCP};
        c = bx_connection_find(k->conns, &flow);
        if (c && c->state == BX_CONNECTION_WAITING) {
            bx_connection_open(c, fd);
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        bx_close(fd);
    }
}

/* A socket of this flow alone: the kernel finds it before it asks LOOKUP. */
static int flow_socket(const struct bx_flow *flow)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = flow->dst_port, .sin_addr.s_addr = flow->dst};
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = flow->src_port, .sin_addr.s_addr = flow->src};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, e;

    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, (struct sockaddr *)&here, sizeof(here)) == 0 && connect(fd, (struct sockaddr *)&peer, sizeof(peer)) == 0)
        return fd;
    e = errno;
    bx_close(fd);
    return -e;
}

/* The headers that its datagrams have, for an ICMP message about them. */
static void flow_headers(struct bx_connection *c)
{
    struct {
        struct iphdr ip;
        struct udphdr udp;
    } h = {
        .ip = {.version = 4, .ihl = 5, .tot_len = htons(IP_HEADER + 8), .ttl = TTL, .protocol = IPPROTO_UDP,
               .saddr = c->flow.src, .daddr = c->flow.dst},
        .udp = {.source = c->flow.src_port, .dest = c->flow.dst_port, .len = htons(8)},
    };

    memcpy(c->packet, &h, sizeof(h));
    c->packet_len = sizeof(h);
}

static void on_datagram(struct bx_catch *k, const struct bx_flow *flow, const void *data, size_t len)
{
    struct bx_connection *c = bx_connection_find(k->conns, flow);
    int fd;

    if (!c) {
        fd = flow_socket(flow);
        if (fd < 0)
            return;
        c = bx_connection_ask(k->conns, flow);
        if (!c) {
            bx_close(fd);
            return;
        }
        flow_headers(c);
        bx_connection_open(c, fd);
        c = bx_connection_find(k->conns, flow);
    }
    if (c)
        bx_relay_datagram(&c->relay, data, len);
}

/* Where a datagram was going to, from what came along with it. */
static bool original(struct msghdr *msg, struct sockaddr_in *ret)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_ORIGDSTADDR && c->cmsg_len >= CMSG_LEN(sizeof(*ret))) {
            memcpy(ret, CMSG_DATA(c), sizeof(*ret));
            return true;
        }
    }
    return false;
}

static void on_datagrams(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    static uint8_t data[BX_FRAME_PAYLOAD_MAX]; /* single thread */
    struct bx_catch *k = ud;

    (void)s, (void)events;
    for (int i = 0; i < ACCEPT_TURN; i++) {
        char control[CMSG_SPACE(sizeof(struct sockaddr_in))];
        struct sockaddr_in peer, dst;
        struct iovec iov = {data, sizeof(data)};
        struct msghdr msg = {.msg_name = &peer, .msg_namelen = sizeof(peer), .msg_iov = &iov, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
        struct bx_flow flow;

        if (n < 0)
            return;
        if (!original(&msg, &dst))
            continue;
        flow = (struct bx_flow){peer.sin_addr.s_addr, dst.sin_addr.s_addr, peer.sin_port, dst.sin_port, IPPROTO_UDP};
        on_datagram(k, &flow, data, (size_t)n);
    }
}

/* --- start --- */

/* A socket of the gateway's address, which nothing but LOOKUP leads to. */
static int catcher(struct bx_catch *k, int type, uint32_t slot, struct bx_err *err)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(OUR_PORT), .sin_addr.s_addr = htonl(BX_NET_GATEWAY)};
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, r;

    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0 ||
        (type == SOCK_STREAM ? listen(fd, BX_CONNECTIONS_MAX) : setsockopt(fd, SOL_IP, IP_RECVORIGDSTADDR, &on, sizeof(on))) < 0) {
        r = bx_fail(err, BX_EENGINE, errno, "make the socket that catches connections");
        bx_close(fd);
        return r;
    }
    r = bx_bpf_map_set(k->sockets, slot, (uint64_t)fd, err);
    if (r >= 0)
        return fd;
    bx_close(fd);
    return r;
}

static int watch(struct bx_catch *k, struct bx_err *err)
{
    struct bx_loop *loop = k->conns->relays.loop;

    k->on_ring = bx_loop_add_fd(loop, k->ring, BX_READ, on_ring, k);
    k->on_listener = bx_loop_add_fd(loop, k->listener, BX_READ, on_listener, k);
    k->on_datagrams = bx_loop_add_fd(loop, k->datagrams, BX_READ, on_datagrams, k);
    if (!k->on_ring || !k->on_listener || !k->on_datagrams)
        return bx_fail(err, BX_EENGINE, errno, "watch the box's connections");
    return 0;
}

int bx_catch_start(struct bx_catch *k, struct bx_err *err)
{
    bx_cleanup_close int ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int r = bx_netlink_up(err);

    if (r < 0)
        return r;
    if (ns < 0)
        return bx_fail(err, BX_EENGINE, errno, "open the network namespace");
    k->listener = catcher(k, SOCK_STREAM, SOCKET_TCP, err);
    if (k->listener < 0)
        return k->listener;
    k->datagrams = catcher(k, SOCK_DGRAM, SOCKET_UDP, err);
    if (k->datagrams < 0)
        return k->datagrams;
    k->raw = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);
    if (k->raw < 0)
        return bx_fail(err, BX_EENGINE, errno, "make the socket that lets connections go");
    k->hold = bx_bpf_link(k->lookup, ns, BPF_SK_LOOKUP, err);
    if (k->hold < 0)
        return k->hold;
    r = bx_bpf_attach(k->egress, k->cgroup, BPF_CGROUP_INET_EGRESS, err);
    return r < 0 ? r : watch(k, err);
}
