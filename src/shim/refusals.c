/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refusals.c - what the network of the box has refused: in the log, for who asks, and as events.
 *
 * The guest decides how much there is of it, so all of it is bounded: boxlite-net tells at most 256 a second, the last 32
 * different ones are kept, and of those that are new an event is told, 16 at once and then one a minute: events of one home
 * share their room.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "shim/box.h"

#define EVENTS_BURST 16
#define EVENTS_NS    (60 * BX_SEC)
#define TEXT_MAX     512

static void text_of(const boxlite_NetRefused *m, char ret[TEXT_MAX])
{
    if (m->protocol == 0)
        snprintf(ret, TEXT_MAX, "the name %s was refused: %s", m->name, m->why);
    else
        snprintf(ret, TEXT_MAX, "%s to %u.%u.%u.%u:%u%s%s was refused: %s", m->protocol == IPPROTO_UDP ? "udp" : "tcp",
                 m->address >> 24, m->address >> 16 & 255, m->address >> 8 & 255, m->address & 255, m->port, m->name[0] ? " " : "",
                 m->name, m->why);
}

static bool same(const boxlite_NetRefused *a, const boxlite_NetRefused *b)
{
    return a->protocol == b->protocol && a->address == b->address && a->port == b->port && bx_streq(a->name, b->name) &&
           bx_streq(a->why, b->why);
}

/* To the end of the list, once for each. True: it was not in it. */
static bool keep(struct box *b, boxlite_NetRefused *m)
{
    unsigned at = 0;
    bool found;

    while (at < b->n_refused && !same(&b->refused[at], m))
        at++;
    found = at < b->n_refused;
    m->times = found ? b->refused[at].times + (b->refused[at].times < UINT32_MAX) : 1;
    m->time_ms = bx_realtime() / BX_MSEC;
    if (!found && b->n_refused < BX_ARRAY_SIZE(b->refused)) {
        b->refused[b->n_refused++] = *m;
        return true;
    }
    at = found ? at : 0; /* the oldest goes */
    memmove(&b->refused[at], &b->refused[at + 1], (b->n_refused - at - 1) * sizeof(b->refused[0]));
    b->refused[b->n_refused - 1] = *m;
    return !found;
}

/* May one more event be told? */
static bool take_turn(struct box *b)
{
    int64_t now = bx_now(), more = b->refused_refill ? (now - b->refused_refill) / EVENTS_NS : EVENTS_BURST;

    if (more > 0) {
        b->refused_events = (unsigned)BX_MIN((int64_t)b->refused_events + more, (int64_t)EVENTS_BURST);
        b->refused_refill = now;
    }
    if (b->refused_events == 0)
        return false;
    b->refused_events--;
    return true;
}

static void tell(struct box *b, const char *text)
{
    bx_cleanup_free char *message = NULL;

    if (!take_turn(b)) {
        b->refused_untold++;
        return;
    }
    if (b->refused_untold)
        message = bx_strf("%s (and %u others before it)", text, b->refused_untold);
    b->refused_untold = 0;
    events_tell(b, (struct bx_event){.type = "box.network_refused", .message = message ? message : text});
}

int refusals_take(struct box *b, const uint8_t *p, size_t len, struct bx_err *err)
{
    static struct bx_ratelimit rl;
    boxlite_NetRefused told = boxlite_NetRefused_init_zero, m;
    char text[TEXT_MAX];
    int r = bx_msg_decode(BX_MSG_NET_REFUSED, p, len, &told, err);

    if (r < 0)
        return r;
    m = told;
    bx_str_printable(m.name, sizeof(m.name), told.name, strlen(told.name));
    bx_str_printable(m.why, sizeof(m.why), told.why, strlen(told.why));
    text_of(&m, text);
    bx_log_ratelimited(&rl, BX_LOG_INFO, "network: %s", text);
    if (keep(b, &m))
        tell(b, text);
    return 0;
}

void refusals_info(const struct box *b, boxlite_BoxInfo *i)
{
    i->refused_count = (pb_size_t)b->n_refused;
    memcpy(i->refused, b->refused, b->n_refused * sizeof(b->refused[0]));
}
