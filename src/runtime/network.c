/* SPDX-License-Identifier: Apache-2.0 */
/* network.c - see network.h. */
#include "runtime/network.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"
#include "policy/policy.h"
#include "runtime/options.h"
#include "runtime/runtime.h"

#define PORT_TEXT_MAX 64 /* "udp 255.255.255.255 65535 65535" */

/* --- setters --- */

void boxlite_options_set_network_disabled(CBoxliteOptions *options)
{
    if (options)
        options->network.disabled = true;
}

void boxlite_options_set_network_enabled(CBoxliteOptions *options)
{
    if (options)
        options->network.enabled = true;
}

void boxlite_options_add_network_allow(CBoxliteOptions *options, const char *host)
{
    if (options && host && bx_strv_add(&options->network.allow, host) < 0)
        options->no_memory = true;
}

BoxliteErrorCode boxlite_options_add_port(CBoxliteOptions *options, uint16_t host_port, uint16_t guest_port,
                                          BoxlitePortProtocol protocol, const char *host_ip, CBoxliteError *out_error)
{
    struct bx_port p = {.host_port = host_port, .guest_port = guest_port, .host_ip = INADDR_LOOPBACK};
    struct bx_network *n;

    if (!options)
        return bx_api_invalid(out_error, "options is NULL");
    n = &options->network;
    if (protocol != BoxlitePortProtocolTcp && protocol != BoxlitePortProtocolUdp)
        return bx_api_invalid(out_error, "protocol: must be tcp or udp");
    if (guest_port == 0)
        return bx_api_invalid(out_error, "guest_port: must be 1 to 65535");
    if (host_ip && *host_ip && bx_ipv4_parse(host_ip, strlen(host_ip), &p.host_ip) < 0)
        return bx_api_invalid(out_error, "host_ip: must be an IPv4 address of this host, is \"%.40s\"", host_ip);
    if (n->n_ports == BX_PORTS_MAX)
        return bx_api_invalid(out_error, "ports: more than %d", BX_PORTS_MAX);
    p.protocol = protocol == BoxlitePortProtocolUdp ? IPPROTO_UDP : IPPROTO_TCP;
    n->ports[n->n_ports++] = p;
    return Ok;
}

void bx_network_done(struct bx_network *n)
{
    bx_strv_free(n->allow);
    *n = (struct bx_network){0};
}

/* --- checks --- */

static int check_ports(const struct bx_network *n, struct bx_err *err)
{
    for (size_t i = 0; i < n->n_ports; i++)
        for (size_t j = 0; j < i; j++) {
            const struct bx_port *a = &n->ports[i], *b = &n->ports[j];

            if (a->host_port && a->host_port == b->host_port && a->protocol == b->protocol &&
                (a->host_ip == b->host_ip || !a->host_ip || !b->host_ip))
                return bx_fail(err, BX_EINVALID, 0, "ports: %u of the host is published twice", a->host_port);
        }
    return 0;
}

int bx_network_check(const struct bx_network *n, struct bx_err *err)
{
    size_t rules = bx_strv_len(n->allow);
    struct bx_rule rule;
    int r = 0;

    if (n->disabled && n->enabled)
        return bx_fail(err, BX_EINVALID, 0, "network: enabled and disabled at once");
    if (n->disabled && rules > 0)
        return bx_fail(err, BX_EINVALID, 0, "allow_net: the network is disabled");
    if (n->disabled && n->n_ports > 0)
        return bx_fail(err, BX_EINVALID, 0, "ports: the network is disabled (a tunnel reaches the box without one)");
    if (rules > BX_POLICY_RULES_MAX)
        return bx_fail(err, BX_EINVALID, 0, "allow_net: more than %d rules", BX_POLICY_RULES_MAX);
    for (size_t i = 0; i < rules && r == 0; i++)
        r = bx_rule_parse(n->allow[i], strlen(n->allow[i]), &rule, err);
    return r < 0 ? r : check_ports(n, err);
}

/* --- JSON --- */

static void port_text(const struct bx_port *p, char dst[PORT_TEXT_MAX])
{
    char ip[BX_IPV4_TEXT_MAX];

    bx_ipv4_format(p->host_ip, ip);
    (void)snprintf(dst, PORT_TEXT_MAX, "%s %s %u %u", p->protocol == IPPROTO_UDP ? "udp" : "tcp", ip, p->host_port,
                   p->guest_port);
}

static int port_parse(const char *text, struct bx_port *ret)
{
    char copy[PORT_TEXT_MAX], *save = NULL, *word[4];
    uint64_t host_port, guest_port;

    if (strlen(text) >= sizeof(copy))
        return -EINVAL;
    memcpy(copy, text, strlen(text) + 1);
    for (int i = 0; i < 4; i++) {
        word[i] = strtok_r(i ? NULL : copy, " ", &save);
        if (!word[i])
            return -EINVAL;
    }
    if (bx_ipv4_parse(word[1], strlen(word[1]), &ret->host_ip) < 0 || bx_parse_u64(word[2], 0, 65535, &host_port) < 0 ||
        bx_parse_u64(word[3], 1, 65535, &guest_port) < 0)
        return -EINVAL;
    ret->protocol = bx_streq(word[0], "udp") ? IPPROTO_UDP : IPPROTO_TCP;
    ret->host_port = (uint16_t)host_port;
    ret->guest_port = (uint16_t)guest_port;
    return 0;
}

void bx_network_to_json(const struct bx_network *n, struct bx_jw *w)
{
    char text[BX_PORTS_MAX][PORT_TEXT_MAX], *list[BX_PORTS_MAX + 1] = {NULL};

    bx_jw_bool(w, "network", bx_network_on(n));
    if (n->allow)
        bx_jw_strv(w, "allow_net", n->allow);
    for (size_t i = 0; i < n->n_ports; i++) {
        port_text(&n->ports[i], text[i]);
        list[i] = text[i];
    }
    if (n->n_ports > 0)
        bx_jw_strv(w, "ports", list);
}

int bx_network_from_json(const struct bx_json *j, struct bx_network *ret, struct bx_err *err)
{
    bx_cleanup_strv char **ports = NULL;
    bool on = true;
    int r;

    if ((r = bx_json_opt_bool(j, "network", &on, err)) < 0 ||
        (r = bx_json_opt_strv(j, "allow_net", BX_POLICY_RULES_MAX, BX_RULE_TEXT_MAX, &ret->allow, err)) < 0 ||
        (r = bx_json_opt_strv(j, "ports", BX_PORTS_MAX, PORT_TEXT_MAX, &ports, err)) < 0)
        return r;
    ret->disabled = !on;
    for (size_t i = 0; ports && ports[i]; i++)
        if (port_parse(ports[i], &ret->ports[ret->n_ports++]) < 0)
            return bx_json_fail(j, err, "ports");
    return 0;
}

/* --- for the shim, and for who asks --- */

char *bx_network_plan(const struct bx_network *n)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(BX_POLICY_RULES_MAX * (BX_RULE_TEXT_MAX + 8));
    char port[PORT_TEXT_MAX];

    bx_buf_addstr(&text, "boxlite-net 1\n");
    for (size_t i = 0; n->allow && n->allow[i]; i++)
        bx_buf_addf(&text, "rule %s\n", n->allow[i]);
    for (size_t i = 0; i < n->n_ports; i++) {
        port_text(&n->ports[i], port);
        bx_buf_addf(&text, "port %s\n", port);
    }
    return bx_buf_take_str(&text);
}

static CPublishedPortList *published(const struct bx_network *n, const uint32_t *bound, size_t n_bound)
{
    CPublishedPortList *list = calloc(1, sizeof(*list));
    char ip[BX_IPV4_TEXT_MAX];

    if (!list || !(list->items = calloc(n->n_ports ? n->n_ports : 1, sizeof(list->items[0])))) {
        free(list);
        return NULL;
    }
    for (size_t i = 0; i < n->n_ports; i++) {
        CPublishedPort *p = &list->items[list->count++];

        bx_ipv4_format(n->ports[i].host_ip, ip);
        p->guest_port = n->ports[i].guest_port;
        p->host_ip = bx_strf("%s", ip);
        p->host_port = bound && i < n_bound ? (uint16_t)bound[i] : n->ports[i].host_port;
        p->protocol = n->ports[i].protocol == IPPROTO_UDP ? BoxlitePortProtocolUdp : BoxlitePortProtocolTcp;
    }
    return list;
}

CNetworkInfo *bx_network_info(const struct bx_network *n, const uint32_t *bound, size_t n_bound)
{
    CNetworkInfo *info = calloc(1, sizeof(*info));

    if (!info)
        return NULL;
    info->mode = bx_network_on(n) ? BoxliteNetworkModeEnabled : BoxliteNetworkModeDisabled;
    info->published_ports = published(n, bound, n_bound);
    if (n->allow) {
        info->allow_net = bx_strv_copy((const char *const *)n->allow, bx_strv_len(n->allow));
        info->allow_net_count = (int)bx_strv_len(info->allow_net);
    }
    if (info->published_ports && (!n->allow || info->allow_net))
        return info;
    bx_network_info_free(info);
    return NULL;
}

void bx_network_info_free(CNetworkInfo *info)
{
    if (!info)
        return;
    for (int i = 0; info->published_ports && i < info->published_ports->count; i++)
        free(info->published_ports->items[i].host_ip);
    if (info->published_ports)
        free(info->published_ports->items);
    free(info->published_ports);
    bx_strv_free(info->allow_net);
    free(info);
}
