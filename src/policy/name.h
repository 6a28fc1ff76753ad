/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name.h - host names and IPv4 addresses in one spelling each.
 *
 * Names reach the policy from rules (a user), from DNS questions, from TLS and from HTTP (all three the guest's).
 * They are compared only after this canonicaliser, so that no two parts of the program disagree on what a name is.
 */
#ifndef BX_POLICY_NAME_H
#define BX_POLICY_NAME_H

#include <stddef.h>
#include <stdint.h>

#define BX_HOST_NAME_MAX 253 /* RFC 1035 section 2.3.4, as text without the last dot */

/*
 * Writes the canonical form: lower case, no trailing dot. 0, or -EINVAL when it is no host name: empty or too long, a
 * label that is empty or longer than 63, any byte but letters, digits, '-' and '_', a '-' at the end of a label, or a
 * last label that makes it a number to some reader (all digits, or 0x and hexadecimal digits: "127.1", "0x7f000001").
 * Names outside ASCII are written in Punycode ("xn--..."); here they are refused.
 */
int bx_name_canonical(const char *text, size_t len, char ret[BX_HOST_NAME_MAX + 1]);

/* Four decimal numbers without leading zeros, nothing else. 0 or -EINVAL; the address in host byte order. */
int bx_ipv4_parse(const char *text, size_t len, uint32_t *ret);

#define BX_IPV4_TEXT_MAX 16
void bx_ipv4_format(uint32_t addr, char ret[BX_IPV4_TEXT_MAX]);

#endif
