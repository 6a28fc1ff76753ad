/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every public function called wrongly: NULL, out of range, with handles that are void. Each refuses with a message, calls
 * no callback and crashes nothing (run it under ASan). A function without a row fails the test: BX_TEST_SYMBOLS names the list
 * of them. The rows are in the headers, by topic.
 */
#include "bad_calls_boxes.h"
#include "bad_calls_network.h"
#include "bad_calls_options.h"
#include "bad_calls_rest.h"

#define R(name) {#name, bad_##name}
static const struct {
    const char *name;
    void (*call)(struct bad *);
} rows[] = {
    R(boxlite_advanced_options_free),
    R(boxlite_advanced_options_new),
    R(boxlite_advanced_options_set_capabilities_add),
    R(boxlite_advanced_options_set_capabilities_drop),
    R(boxlite_advanced_options_set_close_fds),
    R(boxlite_advanced_options_set_jailer_enabled),
    R(boxlite_advanced_options_set_max_cpu_time),
    R(boxlite_advanced_options_set_max_file_size),
    R(boxlite_advanced_options_set_max_memory),
    R(boxlite_advanced_options_set_max_open_files),
    R(boxlite_advanced_options_set_max_processes),
    R(boxlite_advanced_options_set_network_enabled),
    R(boxlite_advanced_options_set_seccomp_enabled),
    R(boxlite_advanced_options_set_security_enabled),
    R(boxlite_advanced_options_set_security_preset),
    R(boxlite_box_attach_execution),
    R(boxlite_box_cancel_files),
    R(boxlite_box_cancel_logs),
    R(boxlite_box_copy_in),
    R(boxlite_box_copy_out),
    R(boxlite_box_details),
    R(boxlite_box_engine),
    R(boxlite_box_exec),
    R(boxlite_box_exec_post),
    R(boxlite_box_free),
    R(boxlite_box_id),
    R(boxlite_box_info),
    R(boxlite_box_list_dir),
    R(boxlite_box_logs),
    R(boxlite_box_metrics),
    R(boxlite_box_mkdir),
    R(boxlite_box_name),
    R(boxlite_box_network),
    R(boxlite_box_processes),
    R(boxlite_box_read_file),
    R(boxlite_box_remove_file),
    R(boxlite_box_rename),
    R(boxlite_box_set_allow_net),
    R(boxlite_box_set_detached),
    R(boxlite_box_stat),
    R(boxlite_box_wait),
    R(boxlite_box_write_file),
    R(boxlite_copy_into),
    R(boxlite_copy_out),
    R(boxlite_create_box),
    R(boxlite_error_free),
    R(boxlite_execution_free),
    R(boxlite_execution_id),
    R(boxlite_execution_kept),
    R(boxlite_execution_kill),
    R(boxlite_execution_on_exit),
    R(boxlite_execution_on_stderr),
    R(boxlite_execution_on_stdout),
    R(boxlite_execution_on_writable),
    R(boxlite_execution_pause),
    R(boxlite_execution_result),
    R(boxlite_execution_signal),
    R(boxlite_execution_stdin_close),
    R(boxlite_execution_stdin_room),
    R(boxlite_execution_stdin_write),
    R(boxlite_execution_tty_resize),
    R(boxlite_execution_wait),
    R(boxlite_free_box_info),
    R(boxlite_free_box_info_list),
    R(boxlite_free_image_info_list),
    R(boxlite_free_image_pull_result),
    R(boxlite_free_string),
    R(boxlite_get),
    R(boxlite_get_info),
    R(boxlite_get_or_create_box),
    R(boxlite_has_feature),
    R(boxlite_image_free),
    R(boxlite_image_import),
    R(boxlite_image_inspect),
    R(boxlite_image_list),
    R(boxlite_image_load),
    R(boxlite_image_prune),
    R(boxlite_image_pull),
    R(boxlite_image_remove),
    R(boxlite_image_save),
    R(boxlite_image_tag),
    R(boxlite_image_warm),
    R(boxlite_info_free),
    R(boxlite_info_get),
    R(boxlite_info_key),
    R(boxlite_list_info),
    R(boxlite_network_free),
    R(boxlite_network_tunnel),
    R(boxlite_options_add_env),
    R(boxlite_options_add_network_allow),
    R(boxlite_options_add_port),
    R(boxlite_options_add_secret),
    R(boxlite_options_add_volume),
    R(boxlite_options_free),
    R(boxlite_options_new),
    R(boxlite_options_set_advanced),
    R(boxlite_options_set_auto_delete_interval),
    R(boxlite_options_set_auto_remove),
    R(boxlite_options_set_auto_resume_enabled),
    R(boxlite_options_set_auto_stop_interval),
    R(boxlite_options_set_cmd),
    R(boxlite_options_set_cpus),
    R(boxlite_options_set_detach),
    R(boxlite_options_set_disk_size_gb),
    R(boxlite_options_set_engine),
    R(boxlite_options_set_entrypoint),
    R(boxlite_options_set_health_check),
    R(boxlite_options_set_main),
    R(boxlite_options_set_memory),
    R(boxlite_options_set_name),
    R(boxlite_options_set_network_disabled),
    R(boxlite_options_set_network_enabled),
    R(boxlite_options_set_rootfs_path),
    R(boxlite_options_set_stdin_open),
    R(boxlite_options_set_tty),
    R(boxlite_options_set_user),
    R(boxlite_options_set_workdir),
    R(boxlite_remove),
    R(boxlite_restart_box),
    R(boxlite_box_pause),
    R(boxlite_box_resume),
    R(boxlite_result_free),
    R(boxlite_runtime_doctor),
    R(boxlite_runtime_drain),
    R(boxlite_runtime_fd),
    R(boxlite_runtime_free),
    R(boxlite_runtime_images),
    R(boxlite_runtime_info),
    R(boxlite_runtime_metrics),
    R(boxlite_runtime_new),
    R(boxlite_runtime_on_event),
    R(boxlite_runtime_on_event_since),
    R(boxlite_runtime_on_progress),
    R(boxlite_runtime_on_pull_progress),
    R(boxlite_runtime_shutdown),
    R(boxlite_simple_free),
    R(boxlite_simple_new),
    R(boxlite_simple_run),
    R(boxlite_start_box),
    R(boxlite_stop_box),
    R(boxlite_tunnel_connect),
    R(boxlite_tunnel_forward),
    R(boxlite_tunnel_forwarder_address),
    R(boxlite_tunnel_forwarder_close),
    R(boxlite_tunnel_forwarder_free),
    R(boxlite_tunnel_forwarder_wait),
    R(boxlite_tunnel_free),
    R(boxlite_tunnel_uri),
    R(boxlite_version),
};

static void every_public_function_has_a_row(void **state)
{
    const char *path = getenv("BX_TEST_SYMBOLS");
    bx_cleanup_free char *text = NULL;
    char *save = NULL;
    int missing = 0, n = 0;

    (void)state;
    assert_non_null(path);
    assert_int_equal(bx_read_file(AT_FDCWD, path, 1 << 20, &text, NULL), 0);
    for (char *name = strtok_r(text, "\n", &save); name; name = strtok_r(NULL, "\n", &save), n++) {
        bool found = false;

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
            found = found || strcmp(rows[i].name, name) == 0;
        if (!found)
            print_error("%s: call it wrongly in tests/unit/bad_calls_*.h, with a row in test_bad_calls.c\n", name);
        missing += !found;
    }
    assert_int_equal(missing, 0);
    assert_int_equal(n, sizeof(rows) / sizeof(rows[0]));
}

static void each_of_them_refuses_what_is_wrong(void **state)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        rows[i].call(*state);
    /* No callback of a refused call comes later, and all goes on. */
    struct bad *b = *state;
    struct seen s = {0};
    CExecutionHandle *x = run(b->w, "echo", "well");

    boxlite_execution_on_stdout(x, on_out, &s, NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    DRAIN_UNTIL(b->rt, s.exits);
    assert_string_equal(s.out, "well");
    boxlite_execution_free(x);
}

/* The options were given nothing but what setters ignore: they still make the default box. */
static void setters_that_were_given_nothing_changed_nothing(void **state)
{
    struct bad *b = *state;
    struct answer a = {0};
    CBoxInfo *info;
    CBoxHandle *box;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strstr(rows[i].name, "_options_"))
            rows[i].call(b);
    boxlite_options_set_auto_resume_enabled(b->options, 1);
    box = make_box(b->rt, b->options);
    b->options = NULL;
    boxlite_box_info(box, on_box_info, &a, NULL);
    DRAIN_UNTIL(b->rt, a.done);
    ASSERT_ANSWER(a, Ok);
    info = a.result;
    assert_int_equal(info->cpus, 1);
    assert_int_equal(info->memory_mib, 1024);
    assert_null(info->name);
    assert_int_equal(info->auto_delete, 0);
    boxlite_free_box_info(info);
    boxlite_box_free(box);
}

static int bad_setup(void **state)
{
    struct bad *b = calloc(1, sizeof(*b));
    struct answer stop = {0};
    struct world *gone;
    void *first = NULL, *second = NULL;

    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[0] = '/';
    world_setup(&first);
    gone = first;
    b->stale_exec = run(gone, "sleep", NULL);
    b->stale_box = gone->box;
    assert_int_equal(boxlite_runtime_images(gone->home.rt, &b->stale_images, NULL), Ok);
    boxlite_runtime_free(gone->home.rt);
    kill(gone->pid, SIGKILL);
    waitpid(gone->pid, NULL, 0);
    close(stuck_pipe[0]);
    close(stuck_pipe[1]);
    assert_int_equal(bx_rm_rf(AT_FDCWD, gone->home.path), 0);
    boxlite_free_string(gone->id);
    free(gone);

    world_setup(&second);
    b->w = second;
    b->rt = b->w->home.rt;
    b->box = b->w->box;
    b->exec = run(b->w, "sleep", NULL);
    assert_int_equal(boxlite_runtime_images(b->rt, &b->images, NULL), Ok);
    assert_int_equal(boxlite_options_new("busybox", &b->options, NULL), Ok);
    assert_int_equal(boxlite_advanced_options_new(&b->advanced, NULL), Ok);
    b->stopped_box = make_box(b->rt, options_of("busybox", NULL));
    assert_int_equal(boxlite_stop_box(b->stopped_box, on_plain, &stop, NULL), Ok);
    DRAIN_UNTIL(b->rt, stop.done);
    b->closed = open_runtime(b->w->home.path);
    assert_int_equal(boxlite_runtime_shutdown(b->closed, 0, on_plain, &stop, NULL), Ok);
    *state = b;
    return 0;
}

static int bad_teardown(void **state)
{
    struct bad *b = *state;
    void *world = b->w;

    boxlite_execution_free(b->exec);
    boxlite_execution_free(b->stale_exec);
    boxlite_box_free(b->stopped_box);
    boxlite_box_free(b->stale_box);
    boxlite_image_free(b->images);
    boxlite_image_free(b->stale_images);
    boxlite_options_free(b->options);
    boxlite_advanced_options_free(b->advanced);
    boxlite_runtime_free(b->closed);
    free(b);
    return world_teardown(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_public_function_has_a_row),
        cmocka_unit_test_setup_teardown(each_of_them_refuses_what_is_wrong, bad_setup, bad_teardown),
        cmocka_unit_test_setup_teardown(setters_that_were_given_nothing_changed_nothing, bad_setup, bad_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
