/* SPDX-License-Identifier: Apache-2.0 */
/* A shell on a terminal: its size, what is typed, and Ctrl-C. */
#include "example.h"

static char screen[65536];
static size_t shown;

static void on_screen(const uint8_t *data, size_t len, void *user_data)
{
    (void)user_data;
    if (shown + len < sizeof(screen)) {
        memcpy(screen + shown, data, len);
        shown += len;
    }
}

static void expect(const char *text)
{
    while (!strstr(screen, text))
        if (boxlite_runtime_drain(runtime, -1, NULL) < 0)
            fail("drain", NULL);
    printf("the terminal shows \"%s\"\n", text);
    memset(screen, 0, sizeof(screen));
    shown = 0;
}

static void type(CExecutionHandle *shell, const char *text)
{
    CHECK(boxlite_execution_stdin_write(shell, (const uint8_t *)text, strlen(text), &error));
}

int main(int argc, char **argv)
{
    BoxliteCommand command = {0};
    BoxliteExecOptions options = BOXLITE_EXEC_OPTIONS_INIT;
    struct answer started = {0, NULL}, resized = {0, NULL};
    struct ended ended = {0, 0};
    CExecutionHandle *shell;
    CBoxHandle *box;

    open_runtime();
    box = make_box(options_of(argc > 1 ? argv[1] : NULL));
    command.command = "sh";
    command.tty = 1;
    options.rows = 24;
    options.cols = 80;
    CHECK(boxlite_box_exec_post(box, &command, &options, on_execution, &started, &error));
    wait_for(&started.done);
    shell = started.result;
    CHECK(boxlite_execution_on_stdout(shell, on_screen, NULL, &error));
    CHECK(boxlite_execution_on_exit(shell, on_exit_code, &ended, &error));
    type(shell, "stty size\n");
    expect("24 80");
    CHECK(boxlite_execution_tty_resize(shell, 40, 120, on_done, &resized, &error));
    wait_for(&resized.done);
    type(shell, "stty size\n");
    expect("40 120");
    /* What the shell shows of it while it is typed is not "ready"; who says that is in the foreground already. */
    type(shell, "sh -c 'echo rea\"\"dy; exec cat'\n");
    expect("ready");
    type(shell, "\003"); /* Ctrl-C: the terminal signals what is in the foreground */
    expect("# "); /* a shell that was interrupted forgets what was typed before its prompt */
    type(shell, "echo al''ive\n");
    expect("alive");
    type(shell, "exit 5\n");
    wait_for(&ended.done);
    printf("exit code %d\n", ended.code);
    boxlite_execution_free(shell);
    remove_box(box);
    boxlite_runtime_free(runtime);
    return 0;
}
