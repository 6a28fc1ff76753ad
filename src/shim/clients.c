/* SPDX-License-Identifier: Apache-2.0 */
/* clients.c - programs connected to the box: the socket, who may come in, what they may ask about the box
 * itself. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"
#include "shim/box.h"

#define STARTER_GONE_GRACE_MS 2000
#define STOP_GRACE_MAX_MS     (600 * 1000)
#define BACKLOG               BX_CLIENTS_MAX

/* --- coming and going --- */

static void on_client_io(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    static struct bx_ratelimit rl;
    struct client *c = ud;
    struct bx_err err = BX_ERR_INIT;
    int r = 0;

    (void)s;
    (void)fd;
    box_touch(c->b);
    if ((events & (BX_READ | BX_HUP)) && c->conn.reading) {
        /* Others may have taken the room in this round. After a hang-up: all that it sent before, as far as there is room. */
        r = bx_mux_client_may_read(c->mc);
        while (r > 0) {
            r = bx_conn_read(&c->conn, &err);
            if (!(events & BX_HUP) || !bx_mux_client_may_read(c->mc))
                break;
        }
        if (r < 0 && err.code != BX_ETRANSPORT) {
            /* It broke the protocol: say so, then close. */
            bx_log_ratelimited(&rl, BX_LOG_WARN, "client: %s", err.msg);
            (void)bx_msg_send_error(bx_mux_client_link(c->mc), 0, 0, &err);
            c->drop = "protocol error";
            return;
        }
    }
    if (r < 0 || (events & BX_HUP))
        client_remove(c, "closed");
}

static int say_hello(struct client *c, struct bx_err *err)
{
    static const char features[] = "files\0pause\0net-policy"; /* the agent's comes from the same build */
    struct bx_msg_hello hello = {.pb = {.version = BX_WIRE_VERSION, .program = "boxlite-shim " BX_VERSION},
                                 .features = {.data = features, .len = sizeof(features), .count = 3}};

    return bx_msg_send_hello(bx_mux_client_link(c->mc), &hello, err);
}

int client_add(struct box *b, int fd, bool starter, struct bx_err *err)
{
    struct client *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        bx_close(fd);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "client");
    }
    c->b = b;
    c->starter = starter;
    c->conn = BX_CONN_INIT;
    c->mc = bx_mux_client_add(b->mux, c);
    if (!c->mc) {
        bx_close(fd);
        free(c);
        return bx_fail(err, BX_ERESOURCE, 0, "more than %d programs on one box", BX_CLIENTS_MAX);
    }
    r = bx_conn_init(&c->conn, b->loop, fd, bx_mux_client_link(c->mc), on_client_io, c);
    if (r == 0)
        r = say_hello(c, NULL);
    if (r < 0) {
        bx_conn_done(&c->conn);
        bx_mux_client_remove(c->mc);
        free(c);
        return bx_fail(err, BX_ERESOURCE, 0, "client");
    }
    c->next = b->clients;
    b->clients = c;
    box_touch(b);
    return 0;
}

void client_remove(struct client *c, const char *why)
{
    struct box *b = c->b;
    struct client **p = &b->clients;
    bool starter = c->starter;

    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    net_rules_client_gone(c);
    bx_conn_done(&c->conn);
    bx_mux_client_remove(c->mc);
    free(c);
    if (!why)
        return; /* the shim itself is ending */
    bx_debug("client removed: %s", why);
    if (starter && !b->plan->detached)
        box_stop(b, STARTER_GONE_GRACE_MS, false, "the program that started the box has gone");
}

/* --- the socket --- */

static bool may_connect(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return false;
    return cred.uid == geteuid() || cred.uid == 0;
}

static void on_listener(struct bx_source *s, int listen_fd, uint32_t events, void *ud)
{
    static struct bx_ratelimit rl;
    struct box *b = ud;
    struct bx_err err = BX_ERR_INIT;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)s;
    (void)events;
    if (fd < 0)
        return;
    if (!may_connect(fd)) {
        bx_log_ratelimited(&rl, BX_LOG_WARN, "a connection of another user was refused");
        bx_close(fd);
    } else if (client_add(b, fd, false, &err) < 0) {
        bx_log_ratelimited(&rl, BX_LOG_WARN, "connection refused: %s", err.msg);
    }
}

int clients_listen(struct box *b, struct bx_err *err)
{
    int fd = bx_unix_listen(b->dir_fd, "box.sock", BACKLOG);

    if (fd < 0)
        return bx_fail(err, BX_ESTORAGE, -fd, "listen on %s/box.sock", b->plan->box_dir);
    b->listen_fd = fd;
    if (fchmodat(b->dir_fd, "box.sock", 0600, 0) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "%s/box.sock", b->plan->box_dir);
    return 0;
}

int clients_accept(struct box *b, struct bx_err *err)
{
    b->listener = bx_loop_add_fd(b->loop, b->listen_fd, BX_READ, on_listener, b);
    return b->listener ? 0 : bx_fail(err, BX_ERESOURCE, errno, "box.sock");
}

/* --- end of round --- */

/* Writes what can be written, moving on what waits behind it. */
static int push(struct client *c, struct bx_err *err)
{
    size_t before;
    int r;

    do {
        bx_mux_client_refill(c->mc);
        before = bx_mux_client_queued(c->mc);
        r = bx_conn_flush(&c->conn, err);
    } while (r == 0 && !c->conn.blocked && bx_mux_client_queued(c->mc) > 0 &&
             bx_mux_client_queued(c->mc) < before);
    if (r == 0)
        bx_mux_client_refill(c->mc);
    return r;
}

void clients_settle(struct box *b)
{
    static struct bx_ratelimit rl;
    /* Not before Ready: the agent refuses commands until then. */
    bool read = b->phase != BOX_STARTING && b->phase != BOX_GONE;
    struct client *next;

    for (struct client *c = b->clients; c; c = next) {
        struct bx_err err = BX_ERR_INIT;
        const char *why = bx_mux_client_condemned(c->mc);

        next = c->next;
        if (!why && push(c, &err) < 0)
            why = err.msg;
        if (!why)
            why = c->drop;
        if (why) {
            if (bx_mux_client_condemned(c->mc))
                bx_log_ratelimited(&rl, BX_LOG_WARN, "client removed: %s", why);
            client_remove(c, why);
        } else {
            bx_conn_want_read(&c->conn, read && bx_mux_client_may_read(c->mc));
        }
    }
}

/* --- messages about the box --- */

static int client_hello(struct client *c, const uint8_t *p, size_t len, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(64 * 1024);
    struct bx_msg_hello hello;
    int r = bx_msg_decode_hello(p, len, &arena, &hello, err);

    if (r < 0)
        return r;
    if (c->hello)
        return bx_fail(err, BX_ERPC, 0, "a second Hello");
    if (hello.pb.version < 1) /* a later program speaks ours too */
        return bx_fail(err, BX_EUNSUPPORTED, 0,
                       "the box speaks version %d of the box protocol (boxlite-shim %s), not version %u",
                       BX_WIRE_VERSION, BX_VERSION, hello.pb.version);
    c->hello = true;
    if (!c->starter && c->b->phase == BOX_RUNNING)
        clients_send_info(c->b, c, false);
    return 0;
}

static int client_box_stop(struct client *c, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_BoxStop m;
    int r = bx_msg_decode(BX_MSG_BOX_STOP, p, len, &m, err);

    if (r < 0)
        return r;
    if (c->n_stops == CLIENT_STOPS_MAX)
        return bx_fail(err, BX_ERESOURCE, 0, "too many requests to stop");
    if (m.request != 0)
        c->stops[c->n_stops++] = m.request;
    box_stop(c->b, BX_MIN(m.grace_ms, (uint32_t)STOP_GRACE_MAX_MS), m.force,
             m.force ? "ended at once, as asked" : "asked to stop");
    return 0;
}

static int client_pause(struct client *c, uint16_t type, const uint8_t *p, size_t len, struct bx_err *err)
{
    union {
        boxlite_BoxPause pause;
        boxlite_BoxResume resume;
    } m;
    bool pause = type == BX_MSG_BOX_PAUSE;
    int r = bx_msg_decode(type, p, len, &m, err);

    if (r < 0)
        return r;
    vcpus_ask(c, pause ? m.pause.request : m.resume.request, pause);
    return 0;
}

int clients_message(struct client *c, uint16_t type, const uint8_t *p, size_t len, struct bx_err *err)
{
    struct bx_err why = BX_ERR_INIT;

    if (type == BX_MSG_HELLO)
        return client_hello(c, p, len, err);
    if (!c->hello)
        return bx_fail(err, BX_ERPC, 0, "%s before Hello", bx_msg_type_name(type));
    switch (type) {
    case BX_MSG_BOX_INFO_GET:
        figures_ask(c);
        return 0;
    case BX_MSG_BOX_STOP:
        return client_box_stop(c, p, len, err);
    case BX_MSG_BOX_PAUSE:
    case BX_MSG_BOX_RESUME:
        return client_pause(c, type, p, len, err);
    case BX_MSG_NET_POLICY:
        return net_rules_change(c, p, len, err);
    case BX_MSG_PONG:
        return 0;
    default:
        bx_fail(&why, BX_EUNSUPPORTED, 0, "message %s is not known here", bx_msg_type_name(type));
        return bx_msg_send_error(bx_mux_client_link(c->mc), 0, 0, &why);
    }
}

/* PSS of this process in bytes, 0 when the kernel does not say. */
static uint64_t own_memory(const struct box *b)
{
    char text[2048];
    uint64_t kib;
    ssize_t n = b->smaps_fd < 0 ? -1 : pread(b->smaps_fd, text, sizeof(text) - 1, 0);
    char *pss;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    pss = strstr(text, "\nPss:");
    if (!pss)
        return 0;
    pss += strcspn(pss, "0123456789");
    pss[strspn(pss, "0123456789")] = '\0';
    return bx_parse_u64(pss, 0, UINT64_MAX / 1024, &kib) < 0 ? 0 : kib * 1024;
}

static uint64_t own_cpu(void)
{
    struct rusage ru;

    if (getrusage(RUSAGE_SELF, &ru) < 0)
        return 0;
    return (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * 1000u;
}

void clients_send_info(struct box *b, struct client *c, bool figures)
{
    static const uint32_t states[] = {[BOX_STARTING] = BX_BOX_CONFIGURED,
                                      [BOX_RUNNING] = BX_BOX_RUNNING,
                                      [BOX_ENDING] = BX_BOX_STOPPING,
                                      [BOX_GONE] = BX_BOX_STOPPED};
    struct bx_mux_counts n = bx_mux_counts(b->mux);
    boxlite_BoxInfo i = {.state = b->paused && b->phase == BOX_RUNNING ? BX_BOX_PAUSED : states[b->phase],
                         .shim_pid = (uint32_t)getpid(),
                         .execs_total = n.execs_total,
                         .execs_running = n.execs_running,
                         .exec_errors = n.exec_errors,
                         .bytes_sent = n.bytes_in,
                         .bytes_received = n.bytes_out,
                         .clients = n.clients,
                         .detached = b->plan->detached,
                         .setup_us = b->plan->setup_us,
                         .image_us = b->plan->image_us,
                         .template_us = b->plan->template_us,
                         .config_us = b->plan->config_us};
    struct bx_err err = BX_ERR_INIT;

    snprintf(i.engine, sizeof(i.engine), "%s", b->plan->engine);
    check_info(b, &i);
    i.network = b->net_ready;
    i.ports_count = b->net_ports.ports_count;
    memcpy(i.ports, b->net_ports.ports, sizeof(i.ports));
    i.net = b->net_report;
    snprintf(i.kernel, sizeof(i.kernel), "%s", b->kernel);
    if (b->qemu) {
        int64_t exec = bx_qemu_exec_time(b->qemu);

        i.qemu_pid = (uint32_t)bx_qemu_pid(b->qemu);
        bx_jail_report_str(bx_qemu_report(b->qemu), i.jail, sizeof(i.jail));
        if (BX_JAIL_ALL & ~b->plan->jail_layers)
            snprintf(i.jail + strlen(i.jail), sizeof(i.jail) - strlen(i.jail), "; switched off:%s%s",
                     b->plan->jail_layers & BX_JAIL_CAPS ? "" : " jailer",
                     b->plan->jail_layers & BX_JAIL_SECCOMP ? "" : " seccomp");
        if (figures)
            bx_qemu_usage(b->qemu, &i.cpu_ns, &i.memory_bytes);
        i.spawn_us = (uint32_t)((exec - b->t_begin) / 1000);
        i.restore_us = b->t_hello ? (uint32_t)((b->t_hello - exec) / 1000) : 0;
        i.start_us = b->t_ready ? (uint32_t)((b->t_ready - b->t_hello) / 1000) : 0;
        i.uptime_ms = b->t_ready ? (uint32_t)((bx_now() - b->t_ready) / BX_MSEC) : 0;
    }
    if (figures) {
        i.cpu_ns += own_cpu();
        i.memory_bytes += own_memory(b);
        i.guest = b->guest_figures;
        refusals_info(b, &i);
    }
    if (bx_msg_send(bx_mux_client_link(c->mc), BX_MSG_BOX_INFO, 0, &i, &err) < 0)
        c->drop = "it does not read";
}
