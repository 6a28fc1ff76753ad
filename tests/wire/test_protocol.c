/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The examples of docs/PROTOCOL.md are what the code does. A block "```hex NAME" holds bytes in hexadecimal,
 * '#' starts a comment. Each is made again by the senders, fed to a link, decoded and made once more; a block
 * "refused: ..." must kill the link, one "received: ..." is in a form that our senders do not choose. Every
 * example below is in the text and the other way round.
 */
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
#define STREAM 7

struct example {
    char name[64];
    uint8_t bytes[4096];
    size_t len;
};

static struct example examples[64];
static size_t n_examples;

/* --- the text --- */

static void add_hex(struct example *e, const char *line)
{
    unsigned byte;
    int n;

    while (sscanf(line, " %2x%n", &byte, &n) == 1) {
        assert_true(e->len < sizeof(e->bytes));
        e->bytes[e->len++] = (uint8_t)byte;
        line += n;
    }
    line += strspn(line, " \n");
    if (*line != '\0' && *line != '#')
        fail_msg("example %s: not hexadecimal: %s", e->name, line);
}

static int read_examples(void **state)
{
    FILE *f = fopen(getenv("PROTOCOL_MD"), "re");
    struct example *e = NULL;
    char line[1024];

    (void)state;
    if (!f)
        return -1;
    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, "```hex ", 7) == 0) {
            assert_true(n_examples < BX_ARRAY_SIZE(examples));
            e = &examples[n_examples++];
            snprintf(e->name, sizeof(e->name), "%.*s", (int)strcspn(line + 7, "\n"), line + 7);
        } else if (line[0] == '`') {
            e = NULL;
        } else if (e) {
            add_hex(e, line);
        }
    }
    fclose(f);
    return n_examples > 0 ? 0 : -1;
}

/* --- the code: NAME and how it is sent --- */

static struct bx_strs strs(const char *data, size_t len)
{
    struct bx_strs l = { data, len, 0 };

    for (size_t i = 0; i < len; i++)
        l.count += data[i] == '\0';
    return l;
}
#define STRS(literal) strs(literal, sizeof(literal))

static void send_hello(struct bx_link *l)
{
    struct bx_msg_hello m = { .pb = {
                                  .version = BX_WIRE_VERSION, .program = "boxlite-shim 0.1.0", .epoch = 1 } };

    assert_int_equal(bx_msg_send_hello(l, &m, NULL), 0);
}

static void send_start(struct bx_link *l)
{
    struct bx_msg_start m = { .pb = { .realtime_ns = 1700000000000000000,
                                      .entropy = { .size = 64 },
                                      .box_id = "b0xb0xb0xb0x",
                                      .hostname = "box",
                                      .disk_size = 1 << 30,
                                      .working_dir = "/root",
                                      .user = "root",
                                      .grow = true } };

    for (int i = 0; i < 64; i++)
        m.pb.entropy.bytes[i] = (uint8_t)i;
    m.env = STRS("PATH=/bin");
    assert_int_equal(bx_msg_send_start(l, &m, NULL), 0);
}

static void send_exec(struct bx_link *l)
{
    struct bx_msg_exec m = {
        .pb = { .exec_id = "abcdefghijkl", .cwd = "/tmp", .limits = { .nofile = 64 }, .claim = 6 }
    };

    m.args = STRS("sh\0-c\0true");
    m.env = STRS("A=1");
    assert_int_equal(bx_msg_send_exec(l, STREAM, &m, NULL), 0);
}

static void send_net_policy(struct bx_link *l)
{
    struct bx_msg_net_policy m = { .pb = { .request = 5 } };

    m.allow = STRS("a.examp\0*:443");
    assert_int_equal(bx_msg_send_net_policy(l, &m, NULL), 0);
}

#define SENDER(fn, type, kind, ...) \
    static void fn(struct bx_link *l) \
    { \
        kind m = { __VA_ARGS__ }; \
\
        assert_int_equal(bx_msg_send(l, type, STREAM, &m, NULL), 0); \
    }
SENDER(send_started, BX_MSG_STARTED, boxlite_Started, .pid = 2, .exec_id = "abcdefghijkl")
SENDER(send_error, BX_MSG_ERROR, boxlite_Error, .code = BX_EEXEC, .message = "nope", .sys_errno = 2)
SENDER(send_signal, BX_MSG_SIGNAL, boxlite_Signal, .request = 1, .signo = 15)
SENDER(send_credit, BX_MSG_CREDIT, boxlite_Credit, .lane = 1, .bytes = 262144)
SENDER(send_claim, BX_MSG_CLAIM, boxlite_Claim, .lane = 1)
SENDER(send_close, BX_MSG_CLOSE, boxlite_Close, 0)
SENDER(send_file_op, BX_MSG_FILE_OP, boxlite_FileOp, .op = 2, .path = "/root/out", .flags = 8)
SENDER(send_connect, BX_MSG_CONNECT, boxlite_Connect, .protocol = 6, .address = 0xc0000222, .port = 80)
SENDER(send_dial, BX_MSG_DIAL, boxlite_Dial, .protocol = 6, .port = 80)

static void send_box_pause(struct bx_link *l)
{
    boxlite_BoxPause m = { .request = 1 };

    assert_int_equal(bx_msg_send(l, BX_MSG_BOX_PAUSE, 0, &m, NULL), 0);
}

static void send_data(struct bx_link *l)
{
    assert_int_equal(bx_link_send_data(l, STREAM, BX_LANE_STDOUT, "hello\n", 6), 0);
}

static void send_eof(struct bx_link *l)
{
    assert_int_equal(bx_link_send_eof(l, STREAM, BX_LANE_STDOUT), 0);
}

static void send_exit(struct bx_link *l)
{
    boxlite_Exit m = { .code = 137, .signal = 9, .killed = true, .usage = { .wall_us = 1000 } };

    assert_int_equal(bx_msg_send_ordered(l, BX_MSG_EXIT, STREAM, &m, NULL), 0);
}

static void send_guest_idle(struct bx_link *l)
{
    boxlite_GuestIdle m = { .token = 42 };

    assert_int_equal(bx_msg_send(l, BX_MSG_GUEST_IDLE, 0, &m, NULL), 0);
}

static const struct {
    const char *name;
    void (*send)(struct bx_link *l); /* NULL: it is only received */
} known[] = {
    { "HELLO", send_hello },
    { "START", send_start },
    { "EXEC", send_exec },
    { "STARTED", send_started },
    { "DATA", send_data },
    { "EOF", send_eof },
    { "CREDIT", send_credit },
    { "CLAIM", send_claim },
    { "SIGNAL", send_signal },
    { "EXIT", send_exit },
    { "CLOSE", send_close },
    { "ERROR", send_error },
    { "FILE_OP", send_file_op },
    { "CONNECT", send_connect },
    { "DIAL", send_dial },
    { "NET_POLICY", send_net_policy },
    { "BOX_PAUSE", send_box_pause },
    { "GUEST_IDLE", send_guest_idle },
    { "received: CLOSE in parts", NULL },
    { "received: OK with a field of a later version", NULL },
    { "refused: too long", NULL },
    { "refused: reserved bits", NULL },
    { "refused: data of the link", NULL },
    { "refused: interrupted message", NULL },
};

/* --- back to bytes: a link whose handlers decode and send on to another --- */

static int again(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                 struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(BX_MESSAGE_MAX);
    static union {
        struct bx_msg_hello hello;
        struct bx_msg_start start;
        struct bx_msg_exec exec;
        struct bx_msg_net_policy net_policy;
        boxlite_Error error;
        boxlite_Exit exit;
        boxlite_FileOp file_op;
    } m;
    int r;

    if (type == BX_MSG_HELLO) {
        r = bx_msg_decode_hello(p, n, &arena, &m.hello, err);
        return r < 0 ? r : bx_msg_send_hello(l->ud, &m.hello, err);
    }
    if (type == BX_MSG_START) {
        r = bx_msg_decode_start(p, n, &arena, &m.start, err);
        return r < 0 ? r : bx_msg_send_start(l->ud, &m.start, err);
    }
    if (type == BX_MSG_EXEC) {
        r = bx_msg_decode_exec(p, n, &arena, &m.exec, err);
        return r < 0 ? r : bx_msg_send_exec(l->ud, stream, &m.exec, err);
    }
    if (type == BX_MSG_NET_POLICY) {
        r = bx_msg_decode_net_policy(p, n, &arena, &m.net_policy, err);
        return r < 0 ? r : bx_msg_send_net_policy(l->ud, &m.net_policy, err);
    }
    r = bx_msg_decode(type, p, n, &m, err);
    return r < 0 ? r : bx_msg_send(l->ud, type, stream, &m, err);
}

static int data_again(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                      struct bx_err *err)
{
    (void)err;
    return bx_link_send_data(l->ud, stream, lane, p, n);
}

static int eof_again(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    (void)err;
    return bx_link_send_eof(l->ud, stream, lane);
}

static const struct bx_link_ops ops = { again, data_again, eof_again };

static void print_hex(const char *what, const uint8_t *p, size_t n)
{
    print_message("%s:", what);
    for (size_t i = 0; i < n; i++)
        print_message(" %02x", p[i]);
    print_message("\n");
}

static void assert_sends(struct bx_link *l, const struct example *e, const char *who)
{
    const uint8_t *p = NULL;
    size_t n = 0;

    if (!bx_link_output(l, &p, &n) || n != e->len || memcmp(p, e->bytes, n) != 0) {
        print_hex("text", e->bytes, e->len);
        print_hex("code", p, n);
        fail_msg("example %s: %s", e->name, who);
    }
}

static void check_example(const struct example *e, void (*send)(struct bx_link *l))
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_link in, out, sender;
    int r;

    bx_link_init(&in, &ops, &out, DATA_MAX);
    bx_link_init(&out, &ops, NULL, DATA_MAX);
    bx_link_init(&sender, &ops, NULL, DATA_MAX);
    r = bx_link_input(&in, e->bytes, e->len, &err);
    if (strncmp(e->name, "refused: ", 9) == 0) {
        if (r != -BX_ERPC)
            fail_msg("example %s: accepted", e->name);
    } else if (r < 0 || bx_buf_len(&in.rx) > 0 || in.message_type != 0) {
        fail_msg("example %s: %s", e->name, r < 0 ? err.msg : "not whole");
    }
    if (send) {
        send(&sender);
        assert_sends(&sender, e, "the sender makes other bytes");
        assert_sends(&out, e, "decoded and sent on, it has other bytes");
    } else if (r == 0) {
        assert_true(bx_link_wants_write(&out));
    }
    bx_link_done(&in);
    bx_link_done(&out);
    bx_link_done(&sender);
}

static const struct example *find(const char *name)
{
    for (size_t i = 0; i < n_examples; i++)
        if (strcmp(examples[i].name, name) == 0)
            return &examples[i];
    fail_msg("docs/PROTOCOL.md has no example %s", name);
    return NULL;
}

static void examples_of_the_text_are_what_the_code_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < BX_ARRAY_SIZE(known); i++)
        check_example(find(known[i].name), known[i].send);
}

static void text_has_no_example_that_is_not_checked(void **state)
{
    (void)state;
    assert_int_equal(n_examples, BX_ARRAY_SIZE(known));
}

/* Numbers of the text's tables: "| 0x20 | EXEC |". */
static void types_of_the_text_are_those_of_the_code(void **state)
{
    FILE *f = fopen(getenv("PROTOCOL_MD"), "re");
    char line[1024], name[32];
    bool seen[256] = { false };
    unsigned type;

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "| 0x%2x | %31[A-Z_] |", &type, name) != 2)
            continue;
        assert_string_equal(bx_msg_type_name((uint16_t)type), name);
        assert_false(seen[type]);
        seen[type] = true;
    }
    fclose(f);
    for (unsigned t = 0; t < 256; t++)
        if (strncmp(bx_msg_type_name((uint16_t)t), "type ", 5) != 0 && !seen[t])
            fail_msg("docs/PROTOCOL.md does not tell of %s", bx_msg_type_name((uint16_t)t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_the_text_are_what_the_code_does),
        cmocka_unit_test(text_has_no_example_that_is_not_checked),
        cmocka_unit_test(types_of_the_text_are_those_of_the_code),
    };

    return cmocka_run_group_tests_name("protocol", tests, read_examples, NULL);
}
