/* SPDX-License-Identifier: Apache-2.0 */
/* network.c - --network, --allow-net and --publish. */
#include "cli/cli.h"

#include <string.h>

#include "base/str.h"

/* Cuts what is behind the last `c` off; NULL when there is none. */
static char *cut_last(char *text, char c)
{
    char *at = strrchr(text, c);
    if (at)
        *at++ = '\0';
    return at;
}

static bool port_number(const char *text, uint64_t min, uint16_t *ret)
{
    uint64_t n;
    if (bx_parse_u64(text, min, 65535, &n) < 0)
        return false;
    *ret = (uint16_t)n;
    return true;
}

/* "80", "8080:80", "0.0.0.0:8080:80", "127.0.0.1::80", each with /tcp or /udp. */
static int publish(CBoxliteOptions *options, const char *verb, const char *text)
{
    bx_cleanup_free char *copy = strdup(text);
    CBoxliteError error = { Ok, NULL };
    uint16_t host = 0, guest = 0;
    if (!copy)
        return bx_cli_usage(verb, "--publish: out of memory");
    const char *protocol = cut_last(copy, '/');
    char *guest_text = cut_last(copy, ':');
    char *host_text = guest_text ? cut_last(copy, ':') : NULL;
    const char *ip = host_text ? copy : NULL;
    if (!guest_text)
        guest_text = copy;
    else if (!host_text)
        host_text = copy;
    if (!port_number(guest_text, 1, &guest) || (host_text && *host_text && !port_number(host_text, 0, &host)) ||
        (protocol && strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0))
        return bx_cli_usage(verb, "--publish: '%s' is not [[IP:]PORT:]PORT[/tcp|udp]", text);
    if (boxlite_options_add_port(options, host, guest,
                                 protocol && *protocol == 'u' ? BoxlitePortProtocolUdp : BoxlitePortProtocolTcp, ip,
                                 &error) != Ok)
        return bx_cli_fail(&error, "--publish");
    return 0;
}

int bx_cli_network(CBoxliteOptions *options, const char *verb, const struct bx_network_opts *o)
{
    bool disabled = bx_streq(o->mode, "disabled");
    if (o->mode && !disabled && strcmp(o->mode, "enabled") != 0)
        return bx_cli_usage(verb, "--network: '%s' is neither enabled nor disabled", o->mode);
    if (disabled && (o->allow || o->publish))
        return bx_cli_usage(verb, "--network disabled and %s exclude each other", o->allow ? "--allow-net" : "--publish");
    if (disabled)
        boxlite_options_set_network_disabled(options);
    else if (o->mode)
        boxlite_options_set_network_enabled(options);
    for (char **rule = o->allow; rule && *rule; rule++)
        boxlite_options_add_network_allow(options, *rule);
    int code = 0;
    for (char **port = o->publish; port && *port && code == 0; port++)
        code = publish(options, verb, *port);
    return code;
}

void bx_network_opts_done(struct bx_network_opts *o)
{
    bx_strv_free(o->allow);
    bx_strv_free(o->publish);
    *o = (struct bx_network_opts){ 0 };
}
