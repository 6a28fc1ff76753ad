/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkup.c - the health check of a box: a command in it, or a Ping to its agent, again and again while it runs.
 *
 * One check at a time; the next begins `interval` after the end of the one before. A command has its timeout from the
 * agent, which ends its whole tree; should the agent not do that, the check is over all the same a little later.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"
#include "shim/box.h"

#define LATE (5 * BX_SEC) /* beyond the timeout: TERM, KILL, and the way here */

static bool wanted(const struct box *b)
{
    return b->plan->health_interval_ms > 0;
}

/* Else the agent is what is checked. */
static bool has_command(const struct box *b)
{
    return b->plan->health_cmd && b->plan->health_cmd[0];
}

static void arm(struct box *b, int64_t delay)
{
    if (b->check_held) {
        b->check_left = delay;
        return;
    }
    b->check_due = bx_now() + delay;
    bx_timer_set(b->check_timer, b->check_due);
}

void check_hold(struct box *b, bool hold)
{
    if (!b->check_timer || b->check_held == hold)
        return;
    b->check_held = hold;
    if (hold) {
        b->check_left = BX_MAX(b->check_due - bx_now(), (int64_t)0);
        bx_timer_set(b->check_timer, 0);
    } else if (b->phase == BOX_RUNNING) {
        arm(b, b->check_left);
    }
}

static void keep_output(struct box *b, const char *data, size_t len)
{
    size_t n = BX_MIN(len, sizeof(b->check_output) - b->check_output_len);

    memcpy(b->check_output + b->check_output_len, data, n);
    b->check_output_len += n;
}

/* A word of ours behind what the command said. */
static void add_word(struct box *b, const char *word)
{
    b->check_output_len = BX_MIN(b->check_output_len, sizeof(b->check_output) - strlen(word) - 1);
    if (b->check_output_len > 0 && b->check_output[b->check_output_len - 1] != '\n')
        keep_output(b, "\n", 1);
    keep_output(b, word, strlen(word));
}

static void output_text(const struct box *b, char *dst, size_t size)
{
    size_t len = b->check_output_len;

    while (len > 0 && b->check_output[len - 1] == '\n')
        len--;
    bx_str_printable(dst, size, b->check_output, len);
}

static void result(struct box *b, bool ok)
{
    char text[sizeof(b->check_output)];

    bx_mux_exec_close(b->mux, b->check_stream);
    b->check_stream = 0;
    b->check_token = 0;
    if (b->phase != BOX_RUNNING)
        return;
    b->checked_at = bx_realtime();
    if (bx_check_result(&b->check, ok, bx_now())) {
        output_text(b, text, sizeof(text));
        events_tell(b, (struct bx_event){.type = "box.health", .health = bx_health_name(b->check.state), .message = text});
    }
    arm(b, (int64_t)b->plan->health_interval_ms * BX_MSEC);
    box_touch(b);
}

static void on_output(void *ud, const uint8_t *data, size_t len)
{
    keep_output(ud, (const char *)data, len);
}

static void on_ended(void *ud, const boxlite_Exit *exit, const struct bx_err *err)
{
    struct box *b = ud;
    char word[80];

    if (err) {
        add_word(b, err->msg);
    } else if (exit->timed_out) {
        snprintf(word, sizeof(word), "it took longer than %u ms", b->plan->health_timeout_ms);
        add_word(b, word);
    }
    result(b, exit && exit->code == 0 && !exit->timed_out);
}

static const struct bx_mux_exec_ops exec_ops = {on_output, on_ended};

static void begin_command(struct box *b)
{
    bx_cleanup_buf struct bx_buf args = BX_BUF_INIT(2 * BX_ARG_MAX);
    struct bx_msg_exec e = {.pb = {.timeout_ms = b->plan->health_timeout_ms}};

    for (char **a = b->plan->health_cmd; *a; a++, e.args.count++)
        bx_buf_add(&args, *a, strlen(*a) + 1);
    e.args.data = (const char *)bx_buf_data(&args);
    e.args.len = bx_buf_len(&args);
    bx_random_id(e.pb.exec_id);
    if (!bx_buf_failed(&args))
        b->check_stream = bx_mux_exec(b->mux, &e, &exec_ops, b);
    if (b->check_stream == 0) {
        add_word(b, "too many commands run in the box, or memory is short");
        result(b, false);
    }
}

static void begin_ping(struct box *b)
{
    boxlite_Ping ping = {0};

    bx_random(&ping.token, sizeof(ping.token));
    ping.token |= 1; /* not 0, which is "none" */
    b->check_token = ping.token;
    if (bx_msg_send(bx_mux_guest(b->mux), BX_MSG_PING, 0, &ping, NULL) < 0)
        bx_mux_guest(b->mux)->dead = true;
}

static void on_timer(struct bx_source *s, void *ud)
{
    struct box *b = ud;

    (void)s;
    box_touch(b);
    if (b->phase != BOX_RUNNING)
        return;
    if (b->check_stream || b->check_token) {
        add_word(b, "the box does not answer");
        result(b, false);
        return;
    }
    b->check_output_len = 0;
    arm(b, (int64_t)b->plan->health_timeout_ms * BX_MSEC + (has_command(b) ? LATE : 0));
    if (has_command(b))
        begin_command(b);
    else
        begin_ping(b);
}

void check_pong(struct box *b, const boxlite_Pong *pong)
{
    if (b->check_token != 0 && pong->token == b->check_token)
        result(b, true);
}

int check_init(struct box *b, struct bx_err *err)
{
    if (!wanted(b))
        return 0;
    b->check_timer = bx_loop_add_timer(b->loop, on_timer, b);
    return b->check_timer ? 0 : bx_fail(err, BX_ERESOURCE, errno, "timer");
}

void check_started(struct box *b)
{
    if (!wanted(b))
        return;
    bx_check_begin(&b->check, b->plan->health_retries, bx_now(), (int64_t)b->plan->health_start_period_ms * BX_MSEC);
    arm(b, (int64_t)b->plan->health_interval_ms * BX_MSEC);
}

void check_info(const struct box *b, boxlite_BoxInfo *i)
{
    i->health = b->check.state;
    i->health_failures = b->check.failures;
    i->health_checked_ms = b->checked_at / BX_MSEC;
    output_text(b, i->health_output, sizeof(i->health_output));
}

void check_done(struct box *b)
{
    b->check_timer = bx_source_remove(b->check_timer);
}
