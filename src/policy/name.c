/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/name.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool hex_digit(char c)
{
    return digit(c) || (c >= 'a' && c <= 'f');
}

/* Would some resolver read a name that ends in this label as a number? (WHATWG URL, "ends in a number") */
static bool label_is_number(const char *label, size_t len)
{
    size_t i = 0;

    if (len >= 2 && label[0] == '0' && label[1] == 'x') {
        for (i = 2; i < len && hex_digit(label[i]); i++)
            ;
        return i == len;
    }
    while (i < len && digit(label[i]))
        i++;
    return i == len;
}

static int canonical_char(char c, char *ret)
{
    if (c >= 'A' && c <= 'Z')
        c = (char)(c - 'A' + 'a');
    if (!digit(c) && !(c >= 'a' && c <= 'z') && c != '-' && c != '_')
        return -EINVAL;
    *ret = c;
    return 0;
}

static bool label_fits(const char *label, size_t len)
{
    return len >= 1 && len <= 63 && label[0] != '-' && label[len - 1] != '-';
}

int bx_name_canonical(const char *text, size_t len, char ret[BX_HOST_NAME_MAX + 1])
{
    size_t label = 0;

    if (len > 0 && text[len - 1] == '.')
        len--;
    if (len == 0 || len > BX_HOST_NAME_MAX)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.') {
            if (!label_fits(ret + label, i - label))
                return -EINVAL;
            ret[i] = '.';
            label = i + 1;
        } else if (canonical_char(text[i], &ret[i]) < 0) {
            return -EINVAL;
        }
    }
    if (!label_fits(ret + label, len - label) || label_is_number(ret + label, len - label))
        return -EINVAL;
    ret[len] = '\0';
    return 0;
}

int bx_ipv4_parse(const char *text, size_t len, uint32_t *ret)
{
    uint32_t addr = 0;
    size_t at = 0;

    for (int part = 0; part < 4; part++) {
        uint32_t value = 0;
        size_t start;

        if (part > 0 && (at >= len || text[at++] != '.'))
            return -EINVAL;
        start = at;
        while (at < len && digit(text[at]) && at - start < 3)
            value = value * 10 + (uint32_t)(text[at++] - '0');
        if (at == start || value > 255 || (at - start > 1 && text[start] == '0'))
            return -EINVAL;
        addr = addr << 8 | value;
    }
    if (at != len)
        return -EINVAL;
    *ret = addr;
    return 0;
}

void bx_ipv4_format(uint32_t addr, char ret[BX_IPV4_TEXT_MAX])
{
    snprintf(ret, BX_IPV4_TEXT_MAX, "%u.%u.%u.%u", addr >> 24, addr >> 16 & 255, addr >> 8 & 255, addr & 255);
}
