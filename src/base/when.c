/* SPDX-License-Identifier: Apache-2.0 */
/* when.c - see when.h. */
#include "base/when.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

#define DIGITS        "0123456789"
#define DURATION_MAX  (100 * 366 * 86400LL) /* seconds */
#define SECONDS_MAX   (INT64_MAX / BX_SEC - 1)
#define BARE_LENGTH   1000000000LL /* below it a bare number is a length of time */

/* Digits, then perhaps a fraction of at most nine: whole part and ns. The rest of the text, or NULL. */
static const char *parse_number(const char *s, int64_t *ret_whole, int64_t *ret_ns)
{
    int64_t whole = 0, scale = BX_SEC / 10;
    size_t n = strspn(s, DIGITS);

    if (n == 0 || n > 12)
        return NULL;
    for (size_t i = 0; i < n; i++)
        whole = whole * 10 + (s[i] - '0');
    *ret_whole = whole;
    *ret_ns = 0;
    if (s[n] != '.')
        return s + n;
    s += n + 1;
    n = strspn(s, DIGITS);
    if (n == 0 || n > 9)
        return NULL;
    for (size_t i = 0; i < n; i++, scale /= 10)
        *ret_ns += (s[i] - '0') * scale;
    return s + n;
}

int bx_parse_duration(const char *s, int64_t *ret_ns)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"d", 86400 * BX_SEC}, {"h", 3600 * BX_SEC}, {"m", 60 * BX_SEC}, {"s", BX_SEC}, {"ms", BX_MSEC}};
    int64_t total = 0;
    size_t unit = 0;

    if (!*s)
        return -EINVAL;
    while (*s) {
        int64_t whole, fraction, per;
        size_t len;

        s = parse_number(s, &whole, &fraction);
        if (!s)
            return -EINVAL;
        len = strspn(s, "dhms");
        if (len == 0 && (*s || unit > 0)) /* seconds are the unit of a number alone */
            return -EINVAL;
        for (; len > 0 && unit < BX_ARRAY_SIZE(units); unit++)
            if (strlen(units[unit].name) == len && strncmp(units[unit].name, s, len) == 0)
                break;
        if (len > 0 && unit == BX_ARRAY_SIZE(units))
            return -EINVAL;
        per = len > 0 ? units[unit++].ns : BX_SEC;
        if (whole > DURATION_MAX * BX_SEC / per)
            return -ERANGE;
        total += whole * per + (per >= BX_SEC ? fraction * (per / BX_SEC) : fraction / (BX_SEC / per));
        if (total > DURATION_MAX * BX_SEC)
            return -ERANGE;
        s += len;
    }
    *ret_ns = total;
    return 0;
}

/* n digits, then `end`, at *s, which moves behind both. -1 when they are not there. */
static int digits(const char **s, size_t n, char end)
{
    int v = 0;

    if (strspn(*s, DIGITS) < n)
        return -1;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + ((*s)[i] - '0');
    if (end && (*s)[n] != end)
        return -1;
    *s += n + (end ? 1 : 0);
    return v;
}

/* "Z", "+01:00", "-0130", or nothing: seconds east. */
static int parse_offset(const char *s, int64_t *ret)
{
    int hours, minutes, sign = *s == '-' ? -1 : 1;

    *ret = 0;
    if (!*s || (*s == 'Z' && !s[1]))
        return 0;
    if (*s != '+' && *s != '-')
        return -EINVAL;
    s++;
    hours = digits(&s, 2, 0);
    if (*s == ':')
        s++;
    minutes = hours < 0 ? -1 : digits(&s, 2, 0);
    if (minutes < 0 || *s || hours > 23 || minutes > 59)
        return -EINVAL;
    *ret = sign * (hours * 3600 + minutes * 60);
    return 0;
}

/* "15:04", "15:04:05" or "15:04:05.25" behind a date; *s moves behind it. */
static int parse_clock(const char **s, struct tm *tm, int64_t *ret_ns)
{
    int64_t whole = 0;

    tm->tm_hour = digits(s, 2, ':');
    tm->tm_min = tm->tm_hour < 0 ? -1 : digits(s, 2, 0);
    if (tm->tm_min < 0)
        return -EINVAL;
    if (**s == ':') {
        (*s)++;
        if (strspn(*s, DIGITS) != 2 || !(*s = parse_number(*s, &whole, ret_ns)))
            return -EINVAL;
        tm->tm_sec = (int)whole;
    }
    return tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60 ? -EINVAL : 0;
}

static int parse_date(const char *s, int64_t *ret_ns)
{
    struct tm tm = {0}, check;
    int64_t offset = 0, fraction = 0, seconds;
    int r;

    tm.tm_year = digits(&s, 4, '-') - 1900;
    tm.tm_mon = tm.tm_year < 0 ? -1 : digits(&s, 2, '-') - 1;
    tm.tm_mday = tm.tm_mon < 0 ? -1 : digits(&s, 2, 0);
    if (tm.tm_mday < 1 || tm.tm_mon > 11 || tm.tm_mday > 31)
        return -EINVAL;
    if (*s == 'T' || *s == 't' || *s == ' ') {
        s++;
        r = parse_clock(&s, &tm, &fraction);
        if (r < 0)
            return r;
    }
    r = parse_offset(s, &offset);
    if (r < 0)
        return r;
    check = tm;
    seconds = timegm(&check) - offset;
    if (check.tm_mday != tm.tm_mday) /* 31 February */
        return -EINVAL;
    if (seconds < 0 || seconds > SECONDS_MAX)
        return -ERANGE;
    *ret_ns = seconds * BX_SEC + fraction;
    return 0;
}

int bx_parse_when(const char *s, int64_t now_ns, int64_t *ret_ns)
{
    int64_t whole, fraction, length;
    const char *rest = parse_number(s, &whole, &fraction);
    int r;

    if (rest && !*rest && whole >= BARE_LENGTH) {
        if (whole > SECONDS_MAX)
            return -ERANGE;
        *ret_ns = whole * BX_SEC + fraction;
        return 0;
    }
    if (strlen(s) >= 10 && s[4] == '-')
        return parse_date(s, ret_ns);
    r = bx_parse_duration(s, &length);
    if (r < 0)
        return r;
    if (length > now_ns)
        return -ERANGE;
    *ret_ns = now_ns - length;
    return 0;
}

void bx_format_when(char dst[BX_WHEN_LEN], int64_t ns)
{
    time_t seconds = ns / BX_SEC;
    struct tm tm;
    size_t n = 0;

    if (gmtime_r(&seconds, &tm))
        n = strftime(dst, BX_WHEN_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(dst + n, BX_WHEN_LEN - n, ".%09lldZ", (long long)(ns % BX_SEC));
}
