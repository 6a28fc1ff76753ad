/* SPDX-License-Identifier: Apache-2.0 */
/* bad_calls_options.h - functions about errors, facts, runtimes and options, called wrongly. */
#ifndef BX_TESTS_BAD_CALLS_OPTIONS_H
#define BX_TESTS_BAD_CALLS_OPTIONS_H

#include "bad_calls.h"

/* ---- errors, strings, facts ---- */

ROW(boxlite_error_free)
{
    CBoxliteError none = {Ok, NULL};

    UNUSED(b);
    boxlite_error_free(NULL);
    boxlite_error_free(&none);
    boxlite_error_free(&none);
}
ROW(boxlite_free_string)
{
    UNUSED(b);
    boxlite_free_string(NULL);
}
ROW(boxlite_version)
{
    UNUSED(b);
    assert_non_null(boxlite_version());
}
ROW(boxlite_has_feature)
{
    UNUSED(b);
    assert_int_equal(boxlite_has_feature(NULL), 0);
    assert_int_equal(boxlite_has_feature(""), 0);
    assert_int_equal(boxlite_has_feature(long_text), 0);
}
ROW(boxlite_info_get)
{
    UNUSED(b);
    assert_null(boxlite_info_get(NULL, "x"));
    assert_null(boxlite_info_get(NULL, NULL));
}
ROW(boxlite_info_key)
{
    UNUSED(b);
    assert_null(boxlite_info_key(NULL, 0));
    assert_null(boxlite_info_key(NULL, INT_MIN));
}
ROW(boxlite_info_free)
{
    UNUSED(b);
    boxlite_info_free(NULL);
}

/* ---- runtime ---- */

ROW(boxlite_runtime_new)
{
    CBoxliteRuntime *rt = NULL;
    BoxliteImageRegistry nothing = {0};

    UNUSED(b);
    BAD(boxlite_runtime_new("/tmp/x", NULL, 0, NULL, E));
    BAD(boxlite_runtime_new("/tmp/x", NULL, 1, &rt, E));
    BAD(boxlite_runtime_new("/tmp/x", &nothing, -1, &rt, E));
    REFUSED(Config, boxlite_runtime_new("relative", NULL, 0, &rt, E));
    REFUSED(Config, boxlite_runtime_new("/tmp/x", &nothing, 1, &rt, E));
    assert_null(rt);
}
ROW(boxlite_runtime_drain)
{
    CBoxliteError e = {Ok, NULL};

    UNUSED(b);
    assert_int_equal(boxlite_runtime_drain(NULL, 0, &e), -1);
    assert_int_equal(e.code, InvalidArgument);
    boxlite_error_free(&e);
    assert_int_equal(boxlite_runtime_drain(NULL, -1, NULL), -1);
}
ROW(boxlite_runtime_fd)
{
    UNUSED(b);
    assert_int_equal(boxlite_runtime_fd(NULL), -1);
}
ROW(boxlite_runtime_shutdown)
{
    BAD(boxlite_runtime_shutdown(NULL, 0, no_plain, NULL, E));
    BAD(boxlite_runtime_shutdown(b->rt, 0, NULL, NULL, E));
}
ROW(boxlite_runtime_free)
{
    UNUSED(b);
    boxlite_runtime_free(NULL);
}
ROW(boxlite_runtime_info)
{
    BAD(boxlite_runtime_info(NULL, no_info, NULL, E));
    BAD(boxlite_runtime_info(b->rt, NULL, NULL, E));
    STALE(boxlite_runtime_info(b->closed, no_info, NULL, E));
}
ROW(boxlite_runtime_doctor)
{
    const BoxliteDoctorOptions none = {0};

    BAD(boxlite_runtime_doctor(NULL, NULL, no_report, NULL, E));
    BAD(boxlite_runtime_doctor(b->rt, NULL, NULL, NULL, E));
    BAD(boxlite_runtime_doctor(b->rt, &none, no_report, NULL, E));
    STALE(boxlite_runtime_doctor(b->closed, NULL, no_report, NULL, E));
}
ROW(boxlite_runtime_metrics)
{
    BAD(boxlite_runtime_metrics(NULL, no_runtime_metrics, NULL, E));
    BAD(boxlite_runtime_metrics(b->rt, NULL, NULL, E));
    STALE(boxlite_runtime_metrics(b->closed, no_runtime_metrics, NULL, E));
}
ROW(boxlite_runtime_on_progress)
{
    BAD(boxlite_runtime_on_progress(NULL, no_progress, NULL, E));
    STALE(boxlite_runtime_on_progress(b->closed, no_progress, NULL, E));
}
ROW(boxlite_runtime_on_pull_progress)
{
    BAD(boxlite_runtime_on_pull_progress(NULL, no_pull_progress, NULL, E));
    STALE(boxlite_runtime_on_pull_progress(b->closed, no_pull_progress, NULL, E));
}
ROW(boxlite_runtime_images)
{
    CBoxliteImageHandle *images = NULL;

    BAD(boxlite_runtime_images(NULL, &images, E));
    BAD(boxlite_runtime_images(b->rt, NULL, E));
    STALE(boxlite_runtime_images(b->closed, &images, E));
}

/* ---- options: setters ignore what is no value; what is out of range, the call that makes the box refuses ---- */

ROW(boxlite_options_new)
{
    UNUSED(b);
    BAD(boxlite_options_new("x", NULL, E));
}
ROW(boxlite_options_free)
{
    UNUSED(b);
    boxlite_options_free(NULL);
}

#define TEXT_SETTER(name)                                                                                    \
    ROW(name)                                                                                                \
    {                                                                                                        \
        name(NULL, "x");                                                                                     \
        name(NULL, NULL);                                                                                    \
        name(b->options, NULL);                                                                              \
    }
#define INT_SETTER(name)                                                                                     \
    ROW(name)                                                                                                \
    {                                                                                                        \
        name(NULL, 1);                                                                                       \
        name(NULL, -1);                                                                                      \
        name(b->options, 0);                                                                                 \
    }
#define LIST_SETTER(name)                                                                                    \
    ROW(name)                                                                                                \
    {                                                                                                        \
        name(NULL, one, 1);                                                                                  \
        name(b->options, NULL, 1);                                                                           \
        name(b->options, one, -1);                                                                           \
        name(b->options, holes, 2);                                                                          \
    }
TEXT_SETTER(boxlite_options_set_rootfs_path)
TEXT_SETTER(boxlite_options_set_name)
TEXT_SETTER(boxlite_options_set_workdir)
TEXT_SETTER(boxlite_options_set_user)
TEXT_SETTER(boxlite_options_set_engine)
TEXT_SETTER(boxlite_options_add_network_allow)
INT_SETTER(boxlite_options_set_cpus)
INT_SETTER(boxlite_options_set_memory)
INT_SETTER(boxlite_options_set_disk_size_gb)
INT_SETTER(boxlite_options_set_auto_remove)
INT_SETTER(boxlite_options_set_detach)
INT_SETTER(boxlite_options_set_main)
INT_SETTER(boxlite_options_set_tty)
INT_SETTER(boxlite_options_set_stdin_open)
INT_SETTER(boxlite_options_set_auto_delete_interval)
INT_SETTER(boxlite_options_set_auto_stop_interval)
INT_SETTER(boxlite_options_set_auto_resume_enabled)
LIST_SETTER(boxlite_options_set_entrypoint)
LIST_SETTER(boxlite_options_set_cmd)
ROW(boxlite_options_add_env)
{
    boxlite_options_add_env(NULL, "a", "b");
    boxlite_options_add_env(b->options, NULL, "b");
    boxlite_options_add_env(b->options, "", "b");
    boxlite_options_add_env(b->options, "a", NULL);
}
ROW(boxlite_options_set_network_enabled)
{
    UNUSED(b);
    boxlite_options_set_network_enabled(NULL);
}
ROW(boxlite_options_set_network_disabled)
{
    UNUSED(b);
    boxlite_options_set_network_disabled(NULL);
}
ROW(boxlite_options_add_port)
{
    BAD(boxlite_options_add_port(NULL, 1, 1, BoxlitePortProtocolTcp, NULL, E));
    BAD(boxlite_options_add_port(b->options, 1, 0, BoxlitePortProtocolTcp, NULL, E));
    BAD(boxlite_options_add_port(b->options, 1, 1, (BoxlitePortProtocol)77, NULL, E));
    BAD(boxlite_options_add_port(b->options, 1, 1, BoxlitePortProtocolTcp, "not an address", E));
}
ROW(boxlite_options_add_volume)
{
    boxlite_options_add_volume(NULL, "/a", "/b", 0);
    boxlite_options_add_volume(b->options, NULL, "/b", 0);
    boxlite_options_add_volume(b->options, "/a", NULL, 0);
}
ROW(boxlite_options_add_secret)
{
    boxlite_options_add_secret(NULL, "n", "v", NULL, one, 1);
    boxlite_options_add_secret(b->options, NULL, "v", NULL, one, 1);
    boxlite_options_add_secret(b->options, "n", NULL, NULL, NULL, 3);
}
ROW(boxlite_options_set_advanced)
{
    boxlite_options_set_advanced(NULL, b->advanced);
    boxlite_options_set_advanced(b->options, NULL);
}

ROW(boxlite_advanced_options_new)
{
    UNUSED(b);
    BAD(boxlite_advanced_options_new(NULL, E));
}
ROW(boxlite_advanced_options_free)
{
    UNUSED(b);
    boxlite_advanced_options_free(NULL);
}
ROW(boxlite_advanced_options_set_security_preset)
{
    BAD(boxlite_advanced_options_set_security_preset(NULL, "maximum", E));
    BAD(boxlite_advanced_options_set_security_preset(b->advanced, NULL, E));
    BAD(boxlite_advanced_options_set_security_preset(b->advanced, long_text, E));
}
#define ADVANCED_SETTER(name)                                                                                \
    ROW(name)                                                                                                \
    {                                                                                                        \
        UNUSED(b);                                                                                           \
        name(NULL, 1);                                                                                       \
    }
ADVANCED_SETTER(boxlite_advanced_options_set_security_enabled)
ADVANCED_SETTER(boxlite_advanced_options_set_jailer_enabled)
ADVANCED_SETTER(boxlite_advanced_options_set_seccomp_enabled)
ADVANCED_SETTER(boxlite_advanced_options_set_network_enabled)
ADVANCED_SETTER(boxlite_advanced_options_set_close_fds)
ADVANCED_SETTER(boxlite_advanced_options_set_max_open_files)
ADVANCED_SETTER(boxlite_advanced_options_set_max_file_size)
ADVANCED_SETTER(boxlite_advanced_options_set_max_memory)
ADVANCED_SETTER(boxlite_advanced_options_set_max_cpu_time)
ADVANCED_SETTER(boxlite_advanced_options_set_max_processes)
#define CAPABILITIES(name)                                                                                   \
    ROW(name)                                                                                                \
    {                                                                                                        \
        CAdvancedBoxOptions *a = NULL;                                                                       \
                                                                                                             \
        UNUSED(b);                                                                                           \
        assert_int_equal(boxlite_advanced_options_new(&a, NULL), Ok);                                        \
        assert_int_equal(name(NULL, one, 1), InvalidArgument);                                               \
        assert_int_equal(name(a, NULL, 1), InvalidArgument);                                                 \
        assert_int_equal(name(a, one, -1), InvalidArgument);                                                 \
        assert_int_equal(name(a, holes, 2), InvalidArgument);                                                \
        boxlite_advanced_options_free(a);                                                                    \
    }
CAPABILITIES(boxlite_advanced_options_set_capabilities_add)
CAPABILITIES(boxlite_advanced_options_set_capabilities_drop)

ROW(boxlite_options_set_health_check)
{
    struct {
        BoxliteHealthCheck known;
        uint64_t later;
    } newer = {.known = {.size = sizeof(newer)}, .later = 1};

    BAD(boxlite_options_set_health_check(NULL, NULL, E));
    BAD(boxlite_options_set_health_check(b->options, &newer.known, E));
    BAD(boxlite_options_set_health_check(b->options, &((BoxliteHealthCheck){.size = 0}), E));
#define HEALTH(...) \
    BAD(boxlite_options_set_health_check(b->options, &((BoxliteHealthCheck){.size = sizeof(BoxliteHealthCheck), __VA_ARGS__}), E))
    HEALTH(.interval_ms = 99);
    HEALTH(.interval_ms = -1);
    HEALTH(.interval_ms = 86400001);
    HEALTH(.timeout_ms = 1);
    HEALTH(.timeout_ms = INT64_MAX);
    HEALTH(.start_period_ms = INT64_MAX);
    HEALTH(.retries = -1);
    HEALTH(.retries = 1001);
    HEALTH(.cmd_count = 1);
    HEALTH(.cmd_count = -1, .cmd = one);
    HEALTH(.cmd_count = 2, .cmd = holes);
    HEALTH(.cmd_count = 1, .cmd = (const char *const[]){""});
    HEALTH(.cmd_count = 1, .cmd = (const char *const[]){"\xff"});
}

#endif
