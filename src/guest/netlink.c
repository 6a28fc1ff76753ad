/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define NIC      "eth0"
#define NIC_MTU  1500
#define LOOPBACK 1 /* its index in every namespace */

static const uint8_t mac[6] = {0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee};

struct request {
    struct nlmsghdr head;
    char body[256];
};

/* Header of the family behind the netlink header. */
static void begin(struct request *r, uint16_t type, uint16_t flags, const void *family, size_t len)
{
    memset(r, 0, sizeof(*r));
    r->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
    r->head.nlmsg_type = type;
    r->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    memcpy(NLMSG_DATA(&r->head), family, len);
}

static struct rtattr *attr(struct request *r, uint16_t type, const void *data, size_t len)
{
    struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));

    bx_assert(NLMSG_ALIGN(r->head.nlmsg_len) + RTA_SPACE(len) <= sizeof(*r));
    a->rta_type = type;
    a->rta_len = (unsigned short)RTA_LENGTH(len);
    if (len > 0)
        memcpy(RTA_DATA(a), data, len);
    r->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->head.nlmsg_len) + RTA_SPACE(len));
    return a;
}

static void attr_u32(struct request *r, uint16_t type, uint32_t value)
{
    attr(r, type, &value, sizeof(value));
}

/* Sends one request and reads its answer, an error number. */
static int ask(int fd, struct request *r, const char *what, struct bx_err *err)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[512];
    } answer;
    ssize_t n;

    if (send(fd, r, r->head.nlmsg_len, 0) < 0)
        return bx_fail(err, BX_EENGINE, errno, "%s", what);
    n = recv(fd, &answer, sizeof(answer), 0);
    if (n < (ssize_t)NLMSG_LENGTH(sizeof(answer.error)) || answer.head.nlmsg_type != NLMSG_ERROR)
        return bx_fail(err, BX_EENGINE, n < 0 ? errno : EPROTO, "%s", what);
    return answer.error.error == 0 ? 0 : bx_fail(err, BX_EENGINE, -answer.error.error, "%s", what);
}

static int make_nic(int fd, struct bx_err *err)
{
    struct ifinfomsg link = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP | IFF_NOARP, .ifi_change = IFF_UP | IFF_NOARP};
    struct rtattr *info;
    struct request r;

    begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof(link));
    attr(&r, IFLA_IFNAME, NIC, sizeof(NIC));
    attr(&r, IFLA_ADDRESS, mac, sizeof(mac));
    attr_u32(&r, IFLA_MTU, NIC_MTU);
    info = attr(&r, IFLA_LINKINFO, NULL, 0);
    attr(&r, IFLA_INFO_KIND, "dummy", 5);
    info->rta_len = (unsigned short)((char *)&r + r.head.nlmsg_len - (char *)info);
    return ask(fd, &r, "make the interface " NIC, err);
}

static int nic_index(int *ret, struct bx_err *err)
{
    struct ifreq req = {.ifr_name = NIC};
    bx_cleanup_close int inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (inet < 0 || ioctl(inet, SIOCGIFINDEX, &req) < 0)
        return bx_fail(err, BX_EENGINE, errno, "find the interface " NIC);
    *ret = req.ifr_ifindex;
    return 0;
}

static int add_address(int fd, int nic, struct bx_err *err)
{
    struct ifaddrmsg addr = {.ifa_family = AF_INET, .ifa_prefixlen = BX_NET_PREFIX, .ifa_index = (uint32_t)nic};
    uint32_t broadcast = htonl(BX_NET_GUEST | 0xffu);
    struct request r;

    begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &addr, sizeof(addr));
    attr_u32(&r, IFA_LOCAL, htonl(BX_NET_GUEST));
    attr_u32(&r, IFA_ADDRESS, htonl(BX_NET_GUEST));
    attr(&r, IFA_BROADCAST, &broadcast, sizeof(broadcast));
    return ask(fd, &r, "give " NIC " its address", err);
}

/* What `ip route` shows. */
static int add_default_route(int fd, int nic, struct bx_err *err)
{
    struct rtmsg route = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT,
                          .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST};
    struct request r;

    begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route, sizeof(route));
    attr_u32(&r, RTA_GATEWAY, htonl(BX_NET_GATEWAY));
    attr_u32(&r, RTA_OIF, (uint32_t)nic);
    return ask(fd, &r, "add the default route", err);
}

/* What the kernel follows: everything is here. Twice, because of two routes of the same length the local one counts, but
 * the longer one before it: eth0's own network has a longer one. */
static int add_local_route(int fd, unsigned char prefix, struct bx_err *err)
{
    struct rtmsg route = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_LOCAL, .rtm_protocol = RTPROT_BOOT,
                          .rtm_scope = RT_SCOPE_HOST, .rtm_type = RTN_LOCAL, .rtm_dst_len = prefix};
    struct request r;

    begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route, sizeof(route));
    if (prefix > 0)
        attr_u32(&r, RTA_DST, htonl(BX_NET_GUEST & ~0u << (32 - prefix)));
    attr_u32(&r, RTA_OIF, LOOPBACK);
    attr_u32(&r, RTA_PREFSRC, htonl(BX_NET_GUEST));
    return ask(fd, &r, "add the local route", err);
}

int bx_netlink_up(struct bx_err *err)
{
    bx_cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    int nic = 0, r;

    if (fd < 0)
        return bx_fail(err, BX_EENGINE, errno, "speak to the kernel's routing");
    r = make_nic(fd, err);
    if (r >= 0)
        r = nic_index(&nic, err);
    if (r >= 0)
        r = add_address(fd, nic, err);
    if (r >= 0)
        r = add_default_route(fd, nic, err);
    if (r >= 0)
        r = add_local_route(fd, BX_NET_PREFIX, err);
    return r >= 0 ? add_local_route(fd, 0, err) : r;
}
