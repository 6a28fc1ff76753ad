/* SPDX-License-Identifier: Apache-2.0 */
#include "net/plan.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"

static int bad_line(struct bx_err *err, const char *line)
{
    char shown[80];

    bx_str_printable(shown, sizeof(shown), line, strlen(line));
    return bx_fail(err, BX_EINVALID, 0, "plan of boxlite-net: \"%s\"", shown);
}

static int parse_port(char *text, struct bx_net_plan *plan, struct bx_err *err)
{
    char *save = NULL, *protocol = strtok_r(text, " ", &save), *ip = strtok_r(NULL, " ", &save);
    char *host = strtok_r(NULL, " ", &save), *box = strtok_r(NULL, " ", &save);
    struct bx_net_port p = {.protocol = bx_streq(protocol, "udp") ? IPPROTO_UDP : IPPROTO_TCP};
    uint64_t host_port, box_port;

    if (!box || strtok_r(NULL, " ", &save) || (p.protocol == IPPROTO_TCP && !bx_streq(protocol, "tcp")) ||
        bx_ipv4_parse(ip, strlen(ip), &p.host_ip) < 0 || bx_parse_u64(host, 0, 65535, &host_port) < 0 ||
        bx_parse_u64(box, 1, 65535, &box_port) < 0)
        return bx_fail(err, BX_EINVALID, 0, "plan of boxlite-net: a port");
    if (plan->n_ports == BX_NET_PORTS_MAX)
        return bx_fail(err, BX_ERESOURCE, 0, "more than %d published ports", BX_NET_PORTS_MAX);
    p.host_port = (uint16_t)host_port;
    p.box_port = (uint16_t)box_port;
    plan->ports[plan->n_ports++] = p;
    return 0;
}

static int parse_guard(const char *text, struct bx_net_plan *plan, struct bx_err *err)
{
    bool host = bx_starts_with(text, "host ");
    struct bx_rule rule;
    const char *block = host ? text + 5 : bx_starts_with(text, "network ") ? text + 8 : "";
    int r = bx_rule_parse(block, strlen(block), &rule, err);

    if (r < 0)
        return r;
    if (rule.kind != BX_RULE_BLOCK || rule.port)
        return bad_line(err, text);
    (void)bx_policy_guard(&plan->policy, rule.addr, (unsigned)__builtin_popcount(rule.mask),
                          host ? "the host itself" : "private network of the host");
    return 0;
}

int bx_net_plan_parse(char *text, struct bx_net_plan *ret, struct bx_err *err)
{
    char *save = NULL, *line = strtok_r(text, "\n", &save);
    int r = 0;

    *ret = (struct bx_net_plan){0};
    bx_policy_init(&ret->policy);
    if (!bx_streq(line, BX_NET_PLAN_HEAD))
        return bad_line(err, line ? line : "");
    while (r == 0 && (line = strtok_r(NULL, "\n", &save))) {
        if (bx_starts_with(line, "rule "))
            r = bx_policy_add(&ret->policy, line + 5, err);
        else if (bx_starts_with(line, "port "))
            r = parse_port(line + 5, ret, err);
        else if (bx_starts_with(line, "guard "))
            r = parse_guard(line + 6, ret, err);
        else
            r = bad_line(err, line);
    }
    return r;
}

int bx_net_plan_read(int fd, struct bx_net_plan *ret, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    struct stat st;
    int r;

    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > BX_NET_PLAN_MAX)
        return bx_fail(err, BX_EINVALID, 0, "descriptor %d holds no plan of boxlite-net", fd);
    text = malloc((size_t)st.st_size + 1);
    if (!text)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "plan of boxlite-net");
    r = bx_pread_full(fd, text, (size_t)st.st_size, 0);
    if (r < 0)
        return bx_fail(err, BX_EINTERNAL, -r, "plan of boxlite-net");
    text[st.st_size] = '\0';
    return bx_net_plan_parse(text, ret, err);
}

void bx_net_plan_done(struct bx_net_plan *plan)
{
    bx_policy_done(&plan->policy);
}
