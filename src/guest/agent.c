/* SPDX-License-Identifier: Apache-2.0 */
/* agent.c - messages of the two ports to those who serve them. */
#include "guest/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/log.h"

#define AGENT_OWN   (12 * 1024 * 1024) /* memory reserved for the agent itself, beside kept output */
#define KEPT_MIN    (4 * 1024 * 1024)
#define KEPT_MAX    (64 * 1024 * 1024)
#define RESUME_ROOM (BX_PORT_DATA_MAX / 2)

/* Optional parts of the protocol that this agent has: names, each with its NUL. */
static const char features[] = "figures\0files\0idle";

void bx_agent_send(struct bx_agent *a, uint16_t type, const void *msg)
{
    bx_execs_told(&a->execs, bx_msg_send(&a->control.link, type, 0, msg, NULL));
}

static struct bx_agent *agent_of(struct bx_link *l)
{
    return ((struct bx_port *)l->ud)->ud;
}

static void answer_hello(struct bx_link *l, const uint8_t *payload, size_t len)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(BX_FRAME_PAYLOAD_MAX);
    struct bx_msg_hello hello = {.pb = boxlite_Hello_init_zero};
    struct bx_msg_hello mine = {.pb = boxlite_Hello_init_zero};
    struct bx_err err;

    if (bx_msg_decode_hello(payload, len, &arena, &hello, &err) < 0) {
        bx_msg_send_error(l, 0, 0, &err);
        return;
    }
    mine.features = (struct bx_strs){.data = features, .len = sizeof(features)};
    for (const char *f = features; f; f = bx_strs_next(&mine.features, f))
        mine.features.count++;
    mine.pb.version = BX_WIRE_VERSION;
    mine.pb.epoch = hello.pb.epoch;
    snprintf(mine.pb.program, sizeof(mine.pb.program), "boxlite-guest %s", BX_VERSION);
    bx_msg_send_hello(l, &mine, NULL);
}

void bx_agent_figures(const struct bx_agent *a, boxlite_Figures *ret)
{
    struct bx_cgroup_usage u;

    bx_cgroups_usage(&a->cgroups, &u);
    *ret = (boxlite_Figures){.memory_bytes = u.memory,
                             .memory_max = u.memory_max,
                             .cpu_us = u.cpu_us,
                             .processes = (uint32_t)u.processes};
}

static void answer_ping(struct bx_link *l, const uint8_t *payload, size_t len)
{
    boxlite_Ping ping = boxlite_Ping_init_zero;
    boxlite_Pong pong = boxlite_Pong_init_zero;

    if (bx_msg_decode(BX_MSG_PING, payload, len, &ping, NULL) < 0)
        return;
    pong.token = ping.token;
    if (ping.figures)
        bx_agent_figures(agent_of(l), &pong.figures);
    bx_msg_send(l, BX_MSG_PONG, 0, &pong, NULL);
}

static void answer_unknown(struct bx_link *l, uint16_t type, uint32_t stream)
{
    struct bx_err err;

    bx_fail(&err, BX_EUNSUPPORTED, 0, "the agent does not know %s", bx_msg_type_name(type));
    bx_msg_send_error(l, stream, 0, &err);
}

static void on_clock(struct bx_link *l, const uint8_t *payload, size_t len)
{
    boxlite_Clock msg = boxlite_Clock_init_zero;
    struct bx_err err;
    int r = bx_msg_decode(BX_MSG_CLOCK, payload, len, &msg, &err);

    if (r >= 0)
        r = bx_agent_set_clock(msg.realtime_ns, &err);
    if (r < 0)
        bx_msg_send_error(l, 0, msg.request, &err);
    else
        bx_msg_send_ok(l, 0, msg.request);
}

static int control_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *payload,
                           size_t len, struct bx_err *err)
{
    struct bx_agent *a = agent_of(l);

    (void)err;
    if (stream && (type == BX_MSG_DIAL || bx_connections_have(&a->tunnels, stream))) {
        bx_connections_message(&a->tunnels, type, stream, payload, len);
        return 0;
    }
    switch (type) {
    case BX_MSG_HELLO:
        bx_execs_drop_streams(&a->execs); /* a new epoch */
        bx_connections_drop(&a->tunnels);
        answer_hello(l, payload, len);
        bx_port_flush(&a->control); /* before a Start that came with it takes its time */
        break;
    case BX_MSG_PING:
        answer_ping(l, payload, len);
        break;
    case BX_MSG_PONG:
    case BX_MSG_OK:
    case BX_MSG_ERROR:
        break; /* nothing was asked */
    case BX_MSG_START:
        bx_agent_start(a, payload, len);
        break;
    case BX_MSG_CLOCK:
        on_clock(l, payload, len);
        break;
    case BX_MSG_STOP:
        bx_agent_stop(a, payload, len);
        break;
    case BX_MSG_GUEST_IDLE:
        bx_agent_rest_asked(a, payload, len);
        break;
    case BX_MSG_EXEC:
    case BX_MSG_ATTACH:
    case BX_MSG_FILE_OP:
    case BX_MSG_SIGNAL:
    case BX_MSG_RESIZE:
    case BX_MSG_CREDIT:
    case BX_MSG_CLAIM:
    case BX_MSG_CLOSE:
        bx_execs_message(&a->execs, type, stream, payload, len);
        break;
    default:
        answer_unknown(l, type, stream);
        break;
    }
    return 0;
}

static int control_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
                        struct bx_err *err)
{
    struct bx_agent *a = agent_of(l);

    (void)err;
    if (bx_connections_have(&a->tunnels, stream))
        bx_connections_data(&a->tunnels, stream, lane, data, len);
    else
        bx_execs_data(&a->execs, stream, lane, data, len);
    return 0;
}

static int control_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    struct bx_agent *a = agent_of(l);

    (void)err;
    if (bx_connections_have(&a->tunnels, stream))
        bx_connections_eof(&a->tunnels, stream, lane);
    else
        bx_execs_eof(&a->execs, stream, lane);
    return 0;
}

static int bulk_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *payload, size_t len,
                        struct bx_err *err)
{
    (void)err;
    switch (type) {
    case BX_MSG_HELLO:
        bx_connections_drop(&agent_of(l)->conns); /* a new epoch */
        answer_hello(l, payload, len);
        break;
    case BX_MSG_PING:
        answer_ping(l, payload, len);
        break;
    case BX_MSG_DIAL:
    case BX_MSG_CONNECTED:
    case BX_MSG_ERROR:
    case BX_MSG_CREDIT:
    case BX_MSG_CLOSE:
        bx_connections_message(&agent_of(l)->conns, type, stream, payload, len);
        break;
    default:
        answer_unknown(l, type, stream);
        break;
    }
    return 0;
}

static int bulk_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
                     struct bx_err *err)
{
    (void)err;
    bx_connections_data(&agent_of(l)->conns, stream, lane, data, len);
    return 0;
}

static int bulk_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    (void)err;
    bx_connections_eof(&agent_of(l)->conns, stream, lane);
    return 0;
}

static const struct bx_link_ops control_ops = {control_message, control_data, control_eof};
static const struct bx_link_ops bulk_ops = {bulk_message, bulk_data, bulk_eof};

static void control_lost(struct bx_port *p, void *ud)
{
    struct bx_agent *a = ud;

    (void)p;
    bx_execs_drop_streams(&a->execs);
    bx_connections_drop(&a->tunnels);
}

static void bulk_lost(struct bx_port *p, void *ud)
{
    struct bx_agent *a = ud;

    (void)p;
    bx_connections_drop(&a->conns);
}

/* All of the container that a template can hold. */
static int prepare(struct bx_agent *a, struct bx_err *err)
{
    struct sysinfo si;
    uint64_t total;
    int r;

    if (sysinfo(&si) < 0)
        return bx_fail(err, BX_EENGINE, errno, "sysinfo");
    total = (uint64_t)si.totalram * si.mem_unit;
    a->execs.kept_max = (size_t)BX_MIN(BX_MAX(total / 32, (uint64_t)KEPT_MIN), (uint64_t)KEPT_MAX);
    r = bx_cgroups_boot(&a->cgroups, err);
    if (r >= 0)
        r = bx_cgroups_guard_devices(&a->cgroups, err);
    if (r >= 0)
        r = a->network ? bx_catch_prepare(&a->catch, a->cgroups.box, err) : 0;
    if (r >= 0)
        r = bx_container_prepare(&a->container, a->cgroups.box, err);
    if (r >= 0)
        r = bx_cgroups_limit(&a->cgroups, AGENT_OWN + a->execs.kept_max, err);
    bx_cgroups_prepare(&a->cgroups);
    return r;
}

int bx_agent_init(struct bx_agent *a, const int ports[2], int uevent_fd, struct bx_err *err)
{
    int r;

    *a = (struct bx_agent){.uevent_fd = uevent_fd, .disk_fd = -1, .container = BX_CONTAINER_INIT};
    a->network = getenv(BX_GUEST_NETWORK_WORD) != NULL; /* said on the kernel's command line */
    a->box = (struct bx_box){.root_fd = -1, .pts_fd = -1, .ns_pidfd = -1};
    bx_buf_init(&a->box.strings, BX_MESSAGE_MAX);
    a->box.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    a->loop = bx_loop_new();
    if (!a->loop || a->box.null_fd < 0)
        return bx_fail(err, BX_EENGINE, errno, "event loop");
    bx_execs_init(&a->execs, a->loop, &a->control.link, &a->cgroups);
    bx_connections_init(&a->conns, a->loop, &a->bulk.link, &bx_catch_ops, &a->catch);
    bx_connections_init(&a->tunnels, a->loop, &a->control.link, NULL, NULL); /* inward only: nobody answers */
    bx_catch_init(&a->catch, &a->conns);
    r = prepare(a, err);
    if (r >= 0)
        r = bx_port_init(&a->control, a->loop, "control", ports[0], &control_ops, control_lost, a, err);
    if (r >= 0)
        r = bx_port_init(&a->bulk, a->loop, "bulk", ports[1], &bulk_ops, bulk_lost, a, err);
    if (r >= 0 && a->network)
        r = bx_catch_start(&a->catch, err);
    return r;
}

/* What is left to do when nothing is ready any more. */
static void after_round(struct bx_agent *a)
{
    bx_agent_rest_check(a);
    bx_port_flush(&a->control);
    bx_port_flush(&a->bulk);
    if (a->execs.link_failed || a->tunnels.relays.link_failed) {
        a->tunnels.relays.link_failed = false;
        bx_error("control: the host does not read its answers");
        bx_port_reset(&a->control);
    }
    if (a->tunnels.relays.first_starved && bx_link_data_room(&a->control.link) >= RESUME_ROOM) {
        bx_relays_resume(&a->tunnels.relays);
        bx_port_flush(&a->control);
    }
    if (a->execs.starved && bx_link_data_room(&a->control.link) >= RESUME_ROOM) {
        bx_execs_resume(&a->execs);
        bx_port_flush(&a->control);
    }
    if (a->conns.relays.link_failed) {
        bx_error("bulk: the host does not read its answers");
        a->conns.relays.link_failed = false;
        bx_port_reset(&a->bulk);
    }
    if (a->conns.relays.first_starved && bx_link_data_room(&a->bulk.link) >= RESUME_ROOM) {
        bx_relays_resume(&a->conns.relays);
        bx_port_flush(&a->bulk);
    }
    if (a->state == BX_AGENT_READY)
        bx_cgroups_prepare(&a->cgroups);
}

int bx_agent_run(struct bx_agent *a)
{
    for (;;) {
        int r = bx_loop_dispatch(a->loop, -1);

        if (r < 0)
            return r;
        after_round(a);
    }
}
