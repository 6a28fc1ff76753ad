/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: what a failing branch leaves behind, and the texts that programs compare. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

static void failure_sets_code_message_and_cause(void **state)
{
    struct bx_err err = BX_ERR_INIT;

    errno = EBUSY;
    assert_int_equal(bx_fail(&err, BX_ESTORAGE, EACCES, "open %s", "/x"), -BX_ESTORAGE);
    assert_int_equal(err.code, BX_ESTORAGE);
    assert_int_equal(err.sys_errno, EACCES);
    assert_string_equal(err.msg, "open /x: Permission denied");
    assert_int_equal(errno, EBUSY);
}

static void failure_without_cause_has_only_its_text(void **state)
{
    struct bx_err err = BX_ERR_INIT;

    bx_fail(&err, BX_EINVALID, 0, "no such mode");
    assert_string_equal(err.msg, "no such mode");
    assert_int_equal(err.sys_errno, 0);
    bx_fail(&err, BX_EINVALID, 99999, "odd");
    assert_string_equal(err.msg, "odd: errno 99999");
}

static void nobody_listening_still_gets_the_code(void **state)
{
    assert_int_equal(bx_fail(NULL, BX_ESTATE, 0, "x"), -BX_ESTATE);
    assert_int_equal(bx_prefix(NULL, "x"), -BX_EINTERNAL);
    bx_err_append(NULL, "x");
}

static void prefixes_stack_up_and_keep_the_code(void **state)
{
    struct bx_err err = BX_ERR_INIT;

    bx_fail(&err, BX_EIMAGE, ENOENT, "manifest");
    assert_int_equal(bx_prefix(&err, "layer %d", 3), -BX_EIMAGE);
    bx_prefix(&err, "image %s", "alpine");
    assert_string_equal(err.msg, "image alpine: layer 3: manifest: No such file or directory");
    assert_int_equal(err.sys_errno, ENOENT);
    bx_err_append(&err, " (try %s)", "pull");
    assert_true(bx_ends_with(err.msg, "directory (try pull)"));
}

static void message_may_quote_itself(void **state)
{
    struct bx_err err = BX_ERR_INIT;

    bx_fail(&err, BX_EENGINE, 0, "it died");
    bx_fail(&err, BX_ESTOPPED, 0, "start: %s", err.msg);
    assert_string_equal(err.msg, "start: it died");
    bx_prefix(&err, "%s", err.msg);
    assert_string_equal(err.msg, "start: it died: start: it died");
}

static void long_message_is_cut_between_characters(void **state)
{
    char text[BX_ERR_MSG_MAX + 10];

    /* A run of 2-, 3- and 4-byte characters, shifted so that the cut meets every position within them. */
    for (size_t shift = 0; shift < 9; shift++) {
        struct bx_err err = BX_ERR_INIT;
        size_t at = shift;

        memset(text, 'a', sizeof(text));
        for (; at + 9 < sizeof(text); at += 9)
            memcpy(text + at, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9);
        text[sizeof(text) - 1] = '\0';
        bx_fail(&err, BX_EINTERNAL, EIO, "%s", text);
        assert_true(bx_utf8_valid(err.msg, strlen(err.msg)));
        assert_true(strlen(err.msg) >= BX_ERR_MSG_MAX - 4);
        bx_prefix(&err, "%s", "more");
        assert_true(bx_utf8_valid(err.msg, strlen(err.msg)));
        bx_err_append(&err, "%s", text);
        assert_true(bx_utf8_valid(err.msg, strlen(err.msg)));
    }
}

static void every_code_has_its_row(void **state)
{
    /* The numbers and texts programs rely on. */
    static const struct {
        int code;
        const char *prefix;
        int http;
    } want[] = {
        { 1, "internal error: ", 500 },     { 2, "box not found: ", 404 },
        { 3, "already exists: ", 409 },     { 4, "invalid state: ", 409 },
        { 5, "invalid argument: ", 400 },   { 6, "configuration error: ", 500 },
        { 7, "storage error: ", 500 },      { 8, "images error: ", 422 },
        { 9, "network error: ", 503 },      { 10, "Execution error: ", 422 },
        { 11, "stopped: ", 409 },           { 12, "engine reported an error: ", 503 },
        { 13, "unsupported: ", 400 },       { 14, "database error: ", 500 },
        { 15, "portal error: ", 503 },      { 16, "gRPC/tonic error: ", 503 },
        { 17, "gRPC transport error: ", 503 }, { 18, "metadata error: ", 500 },
        { 19, "unsupported engine kind: ", 400 }, { 20, "resource exhausted: ", 429 },
        { 21, "session reaped: ", 410 },
    };

    assert_int_equal(BX_ARRAY_SIZE(want), BX_ECODE_MAX - 1);
    for (size_t i = 0; i < BX_ARRAY_SIZE(want); i++) {
        const struct bx_code_info *info = bx_code_info(want[i].code);

        assert_int_equal(info->code, want[i].code);
        assert_string_equal(info->prefix, want[i].prefix);
        assert_int_equal(info->http_status, want[i].http);
        assert_non_null(info->name);
        assert_non_null(info->http_type);
        assert_non_null(info->http_code);
        assert_true(info->exit_code == 125 || info->exit_code == 126);
    }
    assert_int_equal(bx_code_info(-3)->code, BX_EINTERNAL);
    assert_int_equal(bx_code_info(BX_ECODE_MAX)->code, BX_EINTERNAL);
    assert_int_equal(bx_code_info(0)->exit_code, 0);
}

static void errno_maps_to_the_obvious_code(void **state)
{
    assert_int_equal(bx_code_from_errno(ENOENT, BX_ESTORAGE), BX_ENOTFOUND);
    assert_int_equal(bx_code_from_errno(EEXIST, BX_ESTORAGE), BX_EEXISTS);
    assert_int_equal(bx_code_from_errno(EINVAL, BX_ESTORAGE), BX_EINVALID);
    assert_int_equal(bx_code_from_errno(ENOSPC, BX_ESTORAGE), BX_ESTORAGE);
}

static void broken_rule_aborts(void **state)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        bx_assert(1 == 1);
        bx_assert(errno == -1);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failure_sets_code_message_and_cause),
        cmocka_unit_test(failure_without_cause_has_only_its_text),
        cmocka_unit_test(nobody_listening_still_gets_the_code),
        cmocka_unit_test(prefixes_stack_up_and_keep_the_code),
        cmocka_unit_test(message_may_quote_itself),
        cmocka_unit_test(long_message_is_cut_between_characters),
        cmocka_unit_test(every_code_has_its_row),
        cmocka_unit_test(errno_maps_to_the_obvious_code),
        cmocka_unit_test(broken_rule_aborts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
