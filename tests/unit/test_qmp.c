/* SPDX-License-Identifier: Apache-2.0 */
/* The QMP client against a peer that answers well, badly, or with malice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "vm/qmp.h"

static struct rig {
    struct bx_loop *loop;
    struct bx_qmp *qmp;
    int peer;
    int gone;
    int gone_code;
    char log[512]; /* what happened, in order */
    bool free_on_reply;
} rig;

static void note(const char *a, const char *b)
{
    size_t n = strlen(rig.log);

    (void)snprintf(rig.log + n, sizeof(rig.log) - n, "%s%s;", a, b);
}

static void on_event(void *ud, const char *name, const char *data)
{
    (void)ud;
    note("event ", name);
    note("data ", data);
}

static void on_gone(void *ud, const struct bx_err *why)
{
    (void)ud;
    rig.gone++;
    rig.gone_code = why->code;
    note("gone", "");
}

static void on_reply(void *ud, const char *text, const struct bx_err *err)
{
    note(ud, err ? err->msg : text);
    if (rig.free_on_reply)
        rig.qmp = bx_qmp_free(rig.qmp);
}

static int set_up(void **state)
{
    struct bx_err err = BX_ERR_INIT;
    int pair[2];

    (void)state;
    rig = (struct rig){ .loop = bx_loop_new() };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    rig.peer = pair[1];
    assert_int_equal(bx_fd_nonblock(pair[1], true), 0);
    rig.qmp = bx_qmp_new(rig.loop, pair[0], on_event, on_gone, NULL, &err);
    assert_non_null(rig.qmp);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig.qmp = bx_qmp_free(rig.qmp);
    bx_close(rig.peer);
    (void)bx_loop_free(rig.loop);
    return 0;
}

static void peer_says(const char *s)
{
    assert_int_equal(write(rig.peer, s, strlen(s)), (ssize_t)strlen(s));
    while (bx_loop_dispatch(rig.loop, 20) > 0)
        ;
}

static void ask(const char *command, const char *args, const char *tag)
{
    struct bx_err err = BX_ERR_INIT;

    assert_int_equal(bx_qmp_send(rig.qmp, command, args, -1, on_reply, (void *)tag, &err), 0);
}

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"

static void commands_are_written_at_once_and_answered_in_order(void **state)
{
    char buf[512];
    ssize_t n;

    (void)state;
    ask("stop", NULL, "a ");
    ask("block_resize", "{\"size\":5}", "b ");
    n = read(rig.peer, buf, sizeof(buf) - 1);
    assert_true(n > 0);
    buf[n] = '\0';
    assert_string_equal(buf, "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"stop\"}\n"
                             "{\"execute\":\"block_resize\",\"arguments\":{\"size\":5}}\n");
    peer_says(GREETING "{\"return\": {}}\n{\"return\": {\"x\": 1}}\n{\"timestamp\":{}, \"event\": \"STOP\"}\n");
    peer_says("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no \\u0007 room\"}}\n");
    assert_string_equal(rig.log, "a {\"x\":1};event STOP;data {};b QEMU: no \\x07 room;");
    assert_int_equal(rig.gone, 0);
}

static void a_line_may_come_in_pieces(void **state)
{
    (void)state;
    ask("stop", NULL, "a ");
    peer_says(GREETING "{\"return\": {}}\n{\"ret");
    peer_says("urn\": ");
    assert_string_equal(rig.log, "");
    peer_says("{}}\n");
    assert_string_equal(rig.log, "a {};");
}

static void expect_broken(const char *text)
{
    ask("stop", NULL, "a ");
    peer_says(text);
    assert_int_equal(rig.gone, 1);
    assert_int_not_equal(rig.gone_code, BX_ETRANSPORT);
}

static void an_answer_nobody_asked_for_ends_it(void **state)
{
    (void)state;
    expect_broken("{\"return\": {}}\n{\"return\": {}}\n{\"return\": {}}\n");
    assert_string_equal(rig.log, "a {};gone;");
}

static void what_is_not_json_ends_it(void **state)
{
    (void)state;
    expect_broken("hello\n");
    assert_non_null(strstr(rig.log, "a QMP"));
}

static void an_array_ends_it(void **state)
{
    (void)state;
    expect_broken("[1]\n");
}

static void an_object_that_is_neither_ends_it(void **state)
{
    (void)state;
    expect_broken("{\"foo\": 1}\n");
}

static void deep_nesting_ends_it(void **state)
{
    (void)state;
    expect_broken("{\"return\": [[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]}\n");
}

static void an_endless_line_ends_it(void **state)
{
    char piece[4096];

    (void)state;
    ask("stop", NULL, "a ");
    memset(piece, ' ', sizeof(piece));
    for (int i = 0; i < 64 && !rig.gone; i++) {
        (void)!write(rig.peer, piece, sizeof(piece));
        (void)bx_loop_dispatch(rig.loop, 20);
    }
    assert_int_equal(rig.gone, 1);
    assert_int_equal(rig.gone_code, BX_ERPC);
}

static void when_the_peer_goes_every_command_is_answered(void **state)
{
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    ask("stop", NULL, "a ");
    ask("cont", NULL, "b ");
    rig.peer = bx_close(rig.peer);
    while (!rig.gone && bx_loop_dispatch(rig.loop, 1000) > 0)
        ;
    assert_int_equal(rig.gone, 1);
    assert_int_equal(rig.gone_code, BX_ETRANSPORT);
    assert_non_null(strstr(rig.log, "a "));
    assert_non_null(strstr(rig.log, "b "));
    assert_int_equal(bx_qmp_send(rig.qmp, "stop", NULL, -1, NULL, NULL, &err), -BX_ETRANSPORT);
}

static void it_may_be_freed_from_a_callback(void **state)
{
    (void)state;
    rig.free_on_reply = true;
    ask("stop", NULL, "a ");
    ask("cont", NULL, "b ");
    peer_says("{\"return\": {}}\n{\"return\": {}}\n{\"return\": {}}\n");
    assert_string_equal(rig.log, "a {};");
    assert_null(rig.qmp);
}

static void too_many_commands_are_refused(void **state)
{
    struct bx_err err = BX_ERR_INIT;
    int r = 0;

    (void)state;
    for (int i = 0; i < 100 && r == 0; i++)
        r = bx_qmp_send(rig.qmp, "stop", NULL, -1, NULL, NULL, &err);
    assert_int_equal(r, -BX_ERESOURCE);
}

static void a_descriptor_goes_with_its_command(void **state)
{
    struct bx_err err = BX_ERR_INIT;
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char buf[256];
    struct iovec iov = { buf, sizeof(buf) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    int sent = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int got;
    ssize_t n;

    (void)state;
    assert_int_equal(bx_qmp_send(rig.qmp, "add-fd", "{\"fdset-id\":9}", sent, NULL, NULL, &err), 0);
    assert_int_equal(fcntl(sent, F_GETFD), -1); /* taken */
    for (;;) {
        msg.msg_controllen = sizeof(control);
        n = recvmsg(rig.peer, &msg, MSG_CMSG_CLOEXEC);
        assert_true(n > 0);
        if (CMSG_FIRSTHDR(&msg))
            break;
    }
    memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(got));
    assert_true(fcntl(got, F_GETFD) >= 0);
    close(got);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(commands_are_written_at_once_and_answered_in_order),
        T(a_line_may_come_in_pieces),
        T(an_answer_nobody_asked_for_ends_it),
        T(what_is_not_json_ends_it),
        T(an_array_ends_it),
        T(an_object_that_is_neither_ends_it),
        T(deep_nesting_ends_it),
        T(an_endless_line_ends_it),
        T(when_the_peer_goes_every_command_is_answered),
        T(it_may_be_freed_from_a_callback),
        T(too_many_commands_are_refused),
        T(a_descriptor_goes_with_its_command),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
