/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages: what is sent arrives, what is malformed or too large is refused with words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "wire/messages.h"

#define DATA_MAX (256 * 1024)

/* A link to itself; the last message that came is kept. */
struct loop {
    struct bx_link l;
    struct bx_buf arena;
    uint16_t type;
    uint32_t stream;
    uint8_t *payload;
    size_t len;
};

static int on_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                      struct bx_err *err)
{
    struct loop *o = l->ud;

    (void)err;
    free(o->payload);
    o->type = type;
    o->stream = stream;
    o->payload = malloc(n + 1); /* exactly n, for the sanitizer, but never NULL */
    memcpy(o->payload, p, n);
    o->len = n;
    return 0;
}

static int on_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                   struct bx_err *err)
{
    (void)l, (void)stream, (void)lane, (void)p, (void)n, (void)err;
    return 0;
}

static int on_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    (void)l, (void)stream, (void)lane, (void)err;
    return 0;
}

static const struct bx_link_ops ops = { on_message, on_data, on_eof };

static int setup(void **state)
{
    struct loop *o = calloc(1, sizeof(*o));

    bx_link_init(&o->l, &ops, o, DATA_MAX);
    bx_buf_init(&o->arena, BX_MESSAGE_MAX);
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    struct loop *o = *state;

    bx_link_done(&o->l);
    bx_buf_done(&o->arena);
    free(o->payload);
    free(o);
    return 0;
}

static void deliver(struct loop *o)
{
    const uint8_t *p;
    size_t n;

    while (bx_link_output(&o->l, &p, &n)) {
        n = BX_MIN(n, (size_t)100000);
        assert_int_equal(bx_link_input(&o->l, p, n, NULL), 0);
        bx_link_sent(&o->l, n);
    }
}

/* Sends a message, receives it, and compares the structs, padding and all: it is zero in both. */
static void there_and_back(struct loop *o, uint16_t type, const void *msg, size_t size)
{
    struct bx_err err = BX_ERR_INIT;
    uint8_t *back = calloc(1, size);

    if (bx_msg_send(&o->l, type, 5, msg, &err) < 0)
        fail_msg("%s", err.msg);
    deliver(o);
    assert_int_equal(o->type, type);
    assert_int_equal(o->stream, 5);
    if (bx_msg_decode(type, o->payload, o->len, back, &err) < 0)
        fail_msg("%s", err.msg);
    if (memcmp(back, msg, size) != 0)
        fail_msg("%s came back changed", bx_msg_type_name(type));
    free(back);
}

/* Static, because only then padding is zero for certain. */
#define THERE_AND_BACK(type, kind, ...) \
    do { \
        static const kind msg = { __VA_ARGS__ }; \
        there_and_back(*state, type, &msg, sizeof(msg)); \
    } while (0)

static void every_message_arrives_as_it_was_sent(void **state)
{
    THERE_AND_BACK(BX_MSG_PING, boxlite_Ping, .token = UINT64_MAX);
    THERE_AND_BACK(BX_MSG_PONG, boxlite_Pong, .token = 1);
    THERE_AND_BACK(BX_MSG_OK, boxlite_Ok, .request = UINT32_MAX);
    THERE_AND_BACK(BX_MSG_ERROR, boxlite_Error, 7, BX_ENOTFOUND, "no such file", ENOENT);
    THERE_AND_BACK(BX_MSG_READY, boxlite_Ready, "6.1.0", "0.1.0", INT64_MIN, 1, 2, { 16, "0123456789abcde" }, true);
    THERE_AND_BACK(BX_MSG_CLOCK, boxlite_Clock, 1, -5);
    THERE_AND_BACK(BX_MSG_STOP, boxlite_Stop, 10000, 15);
    THERE_AND_BACK(BX_MSG_STOPPED, boxlite_Stopped, true);
    THERE_AND_BACK(BX_MSG_STARTED, boxlite_Started, 2, "abcdefghijkl");
    THERE_AND_BACK(BX_MSG_EXIT, boxlite_Exit, 137, 9, true, true, true, { 1, 2, 3, 4 }, "out of memory");
    THERE_AND_BACK(BX_MSG_EXIT, boxlite_Exit, 0);
    THERE_AND_BACK(BX_MSG_SIGNAL, boxlite_Signal, 3, 9, true);
    THERE_AND_BACK(BX_MSG_RESIZE, boxlite_Resize, 4, 24, 80);
    THERE_AND_BACK(BX_MSG_ATTACH, boxlite_Attach, "main");
    THERE_AND_BACK(BX_MSG_CREDIT, boxlite_Credit, 2, BX_WINDOW);
    THERE_AND_BACK(BX_MSG_CLAIM, boxlite_Claim, 1);
    THERE_AND_BACK(BX_MSG_CLOSE, boxlite_Close, 0);
    THERE_AND_BACK(BX_MSG_TRUNCATED, boxlite_Truncated, 1, 1ULL << 40);
    THERE_AND_BACK(BX_MSG_BOX_INFO, boxlite_BoxInfo, BX_BOX_RUNNING, "tcg", 10, 11, "6.1.0",
                   "userns, seccomp", 1, 2, 3, 4, 5, 6, 7, 8, true);
    THERE_AND_BACK(BX_MSG_BOX_INFO_GET, boxlite_BoxInfoGet, 1);
    THERE_AND_BACK(BX_MSG_BOX_STOP, boxlite_BoxStop, 1, 2, true);
    THERE_AND_BACK(BX_MSG_BOX_PAUSE, boxlite_BoxPause, 1);
    THERE_AND_BACK(BX_MSG_BOX_RESUME, boxlite_BoxResume, 2);
    THERE_AND_BACK(BX_MSG_GUEST_IDLE, boxlite_GuestIdle, 7, { 1, 2, 3, 4 });
    THERE_AND_BACK(BX_MSG_NET_WAKE, boxlite_NetWake, 0);
    THERE_AND_BACK(BX_MSG_BOX_GONE, boxlite_BoxGone, BX_BOX_FAILED, -1, "agent died", BX_EENGINE);
}

static struct bx_strs strs(const char *data, size_t len)
{
    struct bx_strs l = { data, len, 0 };

    for (size_t i = 0; i < len; i++)
        l.count += data[i] == '\0';
    return l;
}
#define STRS(literal) strs(literal, sizeof(literal)) /* the literal's own NUL ends the last */

static void assert_list(const struct bx_strs *got, const struct bx_strs *want)
{
    assert_int_equal(got->count, want->count);
    assert_int_equal(got->len, want->len);
    if (want->len == 0)
        assert_null(got->data);
    else
        assert_memory_equal(got->data, want->data, want->len);
}

static void exec_arrives_with_its_lists(void **state)
{
    struct loop *o = *state;
    struct bx_msg_exec msg = { .pb = { .exec_id = "abcdefghijkl",
                                       .cwd = "/work",
                                       .user = "1000:1000",
                                       .tty = true,
                                       .rows = 24,
                                       .cols = 80,
                                       .timeout_ms = 5000,
                                       .limits = { .nofile = 64 },
                                       .stdin = true,
                                       .claim = 6 } };
    struct bx_msg_exec got;
    const char *s;

    msg.args = STRS("sh\0-c\0\0last \xff");
    msg.env = STRS("A=1\0B=");
    assert_int_equal(bx_msg_send_exec(&o->l, 77, &msg, NULL), 0);
    deliver(o);
    assert_int_equal(o->type, BX_MSG_EXEC);
    assert_int_equal(o->stream, 77);
    assert_int_equal(bx_msg_decode_exec(o->payload, o->len, &o->arena, &got, NULL), 0);
    assert_list(&got.args, &msg.args);
    assert_list(&got.env, &msg.env);
    assert_string_equal(got.pb.cwd, "/work");
    assert_string_equal(got.pb.user, "1000:1000");
    assert_string_equal(got.pb.exec_id, "abcdefghijkl");
    assert_true(got.pb.tty && got.pb.stdin && !got.pb.main && !got.pb.detached);
    assert_int_equal(got.pb.limits.nofile, 64);
    assert_int_equal(got.pb.claim, 6);
    s = bx_strs_first(&got.args);
    assert_string_equal(s, "sh");
    s = bx_strs_next(&got.args, s);
    assert_string_equal(s, "-c");
    s = bx_strs_next(&got.args, s);
    assert_string_equal(s, "");
    s = bx_strs_next(&got.args, s);
    assert_string_equal(s, "last \xff");
    assert_null(bx_strs_next(&got.args, s));
}

static void empty_lists_arrive_empty(void **state)
{
    struct loop *o = *state;
    struct bx_msg_exec msg = { 0 }, got;

    assert_int_equal(bx_msg_send_exec(&o->l, 1, &msg, NULL), 0);
    deliver(o);
    assert_int_equal(o->len, 0);
    assert_int_equal(bx_msg_decode_exec(o->payload, o->len, &o->arena, &got, NULL), 0);
    assert_list(&got.args, &msg.args);
    assert_null(bx_strs_first(&got.args));
    msg.args = STRS(""); /* one empty argument is something else */
    assert_int_equal(bx_msg_send_exec(&o->l, 1, &msg, NULL), 0);
    deliver(o);
    assert_int_equal(bx_msg_decode_exec(o->payload, o->len, &o->arena, &got, NULL), 0);
    assert_int_equal(got.args.count, 1);
    assert_string_equal(bx_strs_first(&got.args), "");
}

static void start_and_hello_arrive_with_their_lists(void **state)
{
    struct loop *o = *state;
    /* static, as above: the structs are compared with their padding */
    static struct bx_msg_start start = { .pb = { .realtime_ns = 1700000000000000000,
                                                 .entropy = { 64, { 1, 2, 3 } },
                                                 .box_id = "abc",
                                                 .hostname = "box",
                                                 .machine_id = { 16, { 9 } },
                                                 .disk_size = 1ULL << 33,
                                                 .working_dir = "/root",
                                                 .user = "root",
                                                 .capabilities = 0xa80425fb,
                                                 .limits = { .pids = 100 },
                                                 .readonly_proc = true,
                                                 .grow = true } };
    struct bx_msg_start got_start;
    struct bx_msg_hello hello = { .pb = { .version = BX_WIRE_VERSION,
                                          .program = "boxlite-shim 0.1.0",
                                          .epoch = 42 } },
                        got_hello;

    start.env = STRS("PATH=/bin\0HOME=/root");
    assert_int_equal(bx_msg_send_start(&o->l, &start, NULL), 0);
    deliver(o);
    assert_int_equal(o->type, BX_MSG_START);
    assert_int_equal(bx_msg_decode_start(o->payload, o->len, &o->arena, &got_start, NULL), 0);
    assert_list(&got_start.env, &start.env);
    assert_memory_equal(&got_start.pb, &start.pb, sizeof(start.pb));
    hello.features = STRS("bulk\0clock");
    assert_int_equal(bx_msg_send_hello(&o->l, &hello, NULL), 0);
    deliver(o);
    assert_int_equal(bx_msg_decode_hello(o->payload, o->len, &o->arena, &got_hello, NULL), 0);
    assert_list(&got_hello.features, &hello.features);
    assert_int_equal(got_hello.pb.epoch, 42);
    assert_string_equal(got_hello.pb.program, "boxlite-shim 0.1.0");
}

static void mixed_lists_are_told_apart(void **state)
{
    struct loop *o = *state;
    static const uint8_t payload[] = { 0x12, 1,   'a',  0x1a, 3,   'X', '=', '1',  0x12,
                                       1,    'b', 0x1a, 3,    'Y', '=', '2', 0x12, 0 };
    struct bx_strs args = STRS("a\0b\0"), env = STRS("X=1\0Y=2");
    struct bx_msg_exec got;

    assert_int_equal(bx_msg_decode_exec(payload, sizeof(payload), &o->arena, &got, NULL), 0);
    assert_list(&got.args, &args);
    assert_list(&got.env, &env);
}

static void fields_of_a_later_version_are_ignored(void **state)
{
    /* Ok{request 5} with an unknown number, text, fixed32 and fixed64 around it */
    static const uint8_t payload[] = { 0xf8, 0x07, 0x01, 0xf2, 0x07, 3, 'a', 0, 'b', 0x08, 5, 0xfd, 0x07, 1,
                                       2,    3,    4,    0xf9, 0x07, 1, 2,   3, 4,   5,    6, 7,    8 };
    boxlite_Ok got;

    (void)state;
    assert_int_equal(bx_msg_decode(BX_MSG_OK, payload, sizeof(payload), &got, NULL), 0);
    assert_int_equal(got.request, 5);
}

static void text_with_a_nul_is_refused(void **state)
{
    static const uint8_t in_attach[] = { 0x0a, 5, 'm', 'a', 'i', 'n', 0 };
    static const uint8_t in_args[] = { 0x12, 3, 'a', 0, 'b' };
    struct loop *o = *state;
    struct bx_err err = BX_ERR_INIT;
    boxlite_Attach attach;
    struct bx_msg_exec exec;

    assert_int_equal(bx_msg_decode(BX_MSG_ATTACH, in_attach, sizeof(in_attach), &attach, &err), -BX_EINVALID);
    assert_non_null(strstr(err.msg, "NUL"));
    assert_int_equal(bx_msg_decode_exec(in_args, sizeof(in_args), &o->arena, &exec, &err), -BX_EINVALID);
    assert_non_null(strstr(err.msg, "NUL"));
}

static void text_longer_than_its_field_is_refused(void **state)
{
    uint8_t payload[2 + 64] = { 0x0a, 64 };
    struct bx_err err = BX_ERR_INIT;
    boxlite_Attach got;

    (void)state;
    memset(payload + 2, 'x', 64);
    assert_int_equal(bx_msg_decode(BX_MSG_ATTACH, payload, sizeof(payload), &got, &err), -BX_EINVALID);
    assert_non_null(strstr(err.msg, "at most 63"));
    payload[1] = 63;
    assert_int_equal(bx_msg_decode(BX_MSG_ATTACH, payload, sizeof(payload) - 1, &got, &err), 0);
    assert_int_equal(strlen(got.exec_id), 63);
}

static void bytes_longer_than_their_field_are_refused(void **state)
{
    struct loop *o = *state;
    uint8_t payload[2 + 65] = { 0x12, 65 };
    struct bx_msg_start got;

    assert_int_equal(bx_msg_decode_start(payload, sizeof(payload), &o->arena, &got, NULL), -BX_ERPC);
}

static void malformed_payload_is_refused(void **state)
{
    static const struct {
        const char *what;
        uint8_t len, bytes[12];
    } bad[] = {
        { "length beyond the end", 3, { 0x0a, 5, 'x' } },
        { "number that does not end", 3, { 0x08, 0xff, 0xff } },
        { "number of eleven bytes",
          12,
          { 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 } },
        { "text where a number belongs", 3, { 0x12, 1, 'x' } },
        { "number where text belongs", 2, { 0x08, 1 } },
        { "a group", 1, { 0x0b } },
        { "wire type 7", 1, { 0x0f } },
        { "only a tag", 1, { 0x0a } },
        { "length of 2^63", 11, { 0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01 } },
    };

    (void)state;
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++) {
        struct bx_err err = BX_ERR_INIT;
        union {
            boxlite_Attach attach; /* field 1 is text */
            boxlite_BoxGone gone;  /* field 2 is a number */
        } got;

        if (bx_msg_decode(bad[i].bytes[0] == 0x12 ? BX_MSG_BOX_GONE : BX_MSG_ATTACH, bad[i].bytes, bad[i].len,
                          &got, &err) != -BX_ERPC)
            fail_msg("accepted: %s", bad[i].what);
        assert_non_null(strstr(err.msg, "malformed"));
    }
}

static void argument_longer_than_linux_takes_is_refused_at_both_ends(void **state)
{
    struct loop *o = *state;
    char *big = malloc(BX_ARG_MAX + 2);
    struct bx_msg_exec msg = { 0 }, got;
    struct bx_err err = BX_ERR_INIT;
    uint8_t *payload = malloc(BX_ARG_MAX + 8);

    memset(big, 'x', BX_ARG_MAX + 2);
    big[BX_ARG_MAX - 1] = '\0';
    msg.args = (struct bx_strs){ big, BX_ARG_MAX, 1 };
    assert_int_equal(bx_msg_send_exec(&o->l, 1, &msg, NULL), 0);
    deliver(o);
    assert_int_equal(bx_msg_decode_exec(o->payload, o->len, &o->arena, &got, NULL), 0);
    assert_int_equal(strlen(bx_strs_first(&got.args)), BX_ARG_MAX - 1);

    big[BX_ARG_MAX - 1] = 'x';
    big[BX_ARG_MAX] = '\0';
    msg.args.len = BX_ARG_MAX + 1;
    assert_int_equal(bx_msg_send_exec(&o->l, 1, &msg, &err), -BX_EINVALID);
    assert_int_equal(err.sys_errno, E2BIG);
    assert_non_null(strstr(err.msg, "E2BIG"));
    assert_false(bx_link_wants_write(&o->l));

    memcpy(payload, "\x1a\x80\x80\x08", 4); /* env, 131072 bytes */
    memset(payload + 4, 'x', BX_ARG_MAX);
    memset(&err, 0, sizeof(err));
    assert_int_equal(bx_msg_decode_exec(payload, BX_ARG_MAX + 4, &o->arena, &got, &err), -BX_EINVALID);
    assert_int_equal(err.sys_errno, E2BIG);
    assert_non_null(strstr(err.msg, "variable 1"));
    free(payload);
    free(big);
}

static void too_many_arguments_are_refused_at_both_ends(void **state)
{
    struct loop *o = *state;
    char *many = calloc(1, BX_ARGS_MAX + 1);
    uint8_t *payload = calloc(2, BX_ARGS_MAX + 1);
    struct bx_msg_exec msg = { 0 }, got;
    struct bx_err err = BX_ERR_INIT;

    msg.args = (struct bx_strs){ many, BX_ARGS_MAX, BX_ARGS_MAX };
    assert_int_equal(bx_msg_send_exec(&o->l, 1, &msg, NULL), 0);
    deliver(o);
    assert_int_equal(bx_msg_decode_exec(o->payload, o->len, &o->arena, &got, NULL), 0);
    assert_int_equal(got.args.count, BX_ARGS_MAX);
    msg.args.len++;
    assert_int_equal(bx_msg_send_exec(&o->l, 1, &msg, &err), -BX_EINVALID);
    assert_int_equal(err.sys_errno, E2BIG);
    for (size_t i = 0; i < BX_ARGS_MAX + 1; i++)
        payload[2 * i] = 0x12;
    memset(&err, 0, sizeof(err));
    assert_int_equal(bx_msg_decode_exec(payload, 2 * (BX_ARGS_MAX + 1), &o->arena, &got, &err), -BX_EINVALID);
    assert_non_null(strstr(err.msg, "E2BIG"));
    free(payload);
    free(many);
}

static void arguments_over_the_message_limit_are_refused(void **state)
{
    struct loop *o = *state;
    size_t one = 100001, n = 42;
    char *data = malloc(one * n);
    struct bx_msg_exec msg = { 0 };
    struct bx_err err = BX_ERR_INIT;

    memset(data, 'x', one * n);
    for (size_t i = 1; i <= n; i++)
        data[i * one - 1] = '\0';
    msg.args = (struct bx_strs){ data, one * n, n };
    assert_int_equal(bx_msg_send_exec(&o->l, 1, &msg, &err), -BX_EINVALID);
    assert_int_equal(err.sys_errno, E2BIG);
    assert_false(bx_link_wants_write(&o->l));
    free(data);
}

static void arena_bounds_what_is_decoded(void **state)
{
    static const uint8_t payload[] = { 0x12, 3, 'a', 'b', 'c', 0x1a, 3, 'X', '=', '1' };
    struct bx_buf arena;
    struct bx_msg_exec got;
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    bx_buf_init(&arena, 8);
    assert_int_equal(bx_msg_decode_exec(payload, sizeof(payload), &arena, &got, NULL), 0);
    bx_buf_done(&arena);
    bx_buf_init(&arena, 7);
    assert_int_equal(bx_msg_decode_exec(payload, sizeof(payload), &arena, &got, &err), -BX_EINVALID);
    assert_non_null(strstr(err.msg, "E2BIG"));
    /* and is usable again */
    assert_int_equal(bx_msg_decode_exec(payload, 5, &arena, &got, NULL), 0);
    assert_int_equal(got.args.count, 1);
    bx_buf_done(&arena);
}

static void message_of_the_wrong_kind_is_refused(void **state)
{
    struct loop *o = *state;
    boxlite_Ok ok = { 1 };
    struct bx_msg_exec exec = { 0 };
    struct bx_err err = BX_ERR_INIT;

    assert_int_equal(bx_msg_decode(0x99, NULL, 0, &ok, &err), -BX_ERPC);
    assert_int_equal(bx_msg_decode(BX_MSG_EXEC, NULL, 0, &exec, NULL), -BX_ERPC);
    assert_int_equal(bx_msg_send(&o->l, BX_MSG_EXEC, 1, &exec, NULL), -BX_EINVALID);
    assert_int_equal(bx_msg_send(&o->l, BX_MSG_DATA, 1, &exec, NULL), -BX_EINVALID);
    assert_false(bx_link_wants_write(&o->l));
}

static void text_that_does_not_end_is_not_sent(void **state)
{
    struct loop *o = *state;
    struct bx_msg_exec exec = { 0 };
    boxlite_Attach attach;

    memset(&attach, 'x', sizeof(attach));
    assert_int_equal(bx_msg_send(&o->l, BX_MSG_ATTACH, 1, &attach, NULL), -BX_EINVALID);
    memset(exec.pb.cwd, 'x', sizeof(exec.pb.cwd));
    assert_int_equal(bx_msg_send_exec(&o->l, 1, &exec, NULL), -BX_EINVALID);
    memset(exec.pb.cwd, 0, sizeof(exec.pb.cwd));
    exec.args = (struct bx_strs){ "abc", 3, 1 };
    assert_int_equal(bx_msg_send_exec(&o->l, 1, &exec, NULL), -BX_EINVALID);
    assert_false(bx_link_wants_write(&o->l));
}

static void longest_error_arrives(void **state)
{
    struct loop *o = *state;
    struct bx_err why = { .code = BX_ESTORAGE, .sys_errno = ENOSPC };
    boxlite_Error got;

    memset(why.msg, 'x', sizeof(why.msg) - 1);
    assert_int_equal(bx_msg_send_error(&o->l, 4, 9, &why), 0);
    deliver(o);
    assert_int_equal(bx_msg_decode(BX_MSG_ERROR, o->payload, o->len, &got, NULL), 0);
    assert_string_equal(got.message, why.msg);
    assert_int_equal(got.code, BX_ESTORAGE);
    assert_int_equal(got.sys_errno, ENOSPC);
    assert_int_equal(got.request, 9);
    assert_int_equal(o->stream, 4);
}

static void short_forms_and_ordered_form_say_the_same(void **state)
{
    struct loop *o = *state;
    boxlite_Credit credit;
    boxlite_Exit sent = { .code = 3 }, exited;

    assert_int_equal(bx_msg_send_credit(&o->l, 3, BX_LANE_STDERR, 4096), 0);
    deliver(o);
    assert_int_equal(bx_msg_decode(o->type, o->payload, o->len, &credit, NULL), 0);
    assert_int_equal(credit.lane, 2);
    assert_int_equal(credit.bytes, 4096);
    assert_int_equal(bx_msg_send_ok(&o->l, 0, 8), 0);
    deliver(o);
    assert_int_equal(o->type, BX_MSG_OK);
    assert_int_equal(bx_msg_send_ordered(&o->l, BX_MSG_EXIT, 2, &sent, NULL), 0);
    assert_int_equal(bx_msg_send_ok(&o->l, 0, 8), 0);
    deliver(o); /* the Ok first, the Exit last */
    assert_int_equal(o->type, BX_MSG_EXIT);
    assert_int_equal(bx_msg_decode(o->type, o->payload, o->len, &exited, NULL), 0);
    assert_int_equal(exited.code, 3);
}

static void full_queue_is_told_in_words(void **state)
{
    struct loop *o = *state;
    struct bx_err err = BX_ERR_INIT;
    boxlite_BoxGone gone = { 0 };
    int r;

    memset(gone.message, 'x', sizeof(gone.message) - 1);
    while ((r = bx_msg_send(&o->l, BX_MSG_BOX_GONE, 0, &gone, &err)) == 0)
        ;
    assert_int_equal(r, -BX_ERESOURCE);
    assert_non_null(strstr(err.msg, "does not read"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        TEST(every_message_arrives_as_it_was_sent),
        TEST(exec_arrives_with_its_lists),
        TEST(empty_lists_arrive_empty),
        TEST(start_and_hello_arrive_with_their_lists),
        TEST(mixed_lists_are_told_apart),
        TEST(fields_of_a_later_version_are_ignored),
        TEST(text_with_a_nul_is_refused),
        TEST(text_longer_than_its_field_is_refused),
        TEST(bytes_longer_than_their_field_are_refused),
        TEST(malformed_payload_is_refused),
        TEST(argument_longer_than_linux_takes_is_refused_at_both_ends),
        TEST(too_many_arguments_are_refused_at_both_ends),
        TEST(arguments_over_the_message_limit_are_refused),
        TEST(arena_bounds_what_is_decoded),
        TEST(message_of_the_wrong_kind_is_refused),
        TEST(text_that_does_not_end_is_not_sent),
        TEST(longest_error_arrives),
        TEST(short_forms_and_ordered_form_say_the_same),
        TEST(full_queue_is_told_in_words),
    };

    return cmocka_run_group_tests_name("messages", tests, NULL, NULL);
}
