/* SPDX-License-Identifier: Apache-2.0 */
/* Advanced options: presets, limits, capabilities as Docker reads them; what this version cannot give is refused by name. */
#include "api_help.h"

#include "base/str.h"
#include "jail/plan.h"
#include "runtime/options.h"
#include "runtime/security.h"

#define DOCKER 0xa80425fbULL /* what `docker run` gives: /proc/self/status, CapBnd */
#define ALL    ((1ULL << 41) - 1)
#define NET_ADMIN (1ULL << 12)
#define CHOWN     (1ULL << 0)

static CAdvancedBoxOptions *advanced(void)
{
    CAdvancedBoxOptions *a = NULL;

    assert_int_equal(boxlite_advanced_options_new(&a, NULL), Ok);
    return a;
}

static void capabilities_are_read_as_docker_reads_them(void **state)
{
    static const struct {
        const char *add[3], *drop[3];
        uint64_t mask;
    } cases[] = {
        {{0}, {0}, DOCKER},
        {{"NET_ADMIN"}, {0}, DOCKER | NET_ADMIN},
        {{"cap_net_admin"}, {"CAP_CHOWN"}, (DOCKER | NET_ADMIN) & ~CHOWN},
        {{"CHOWN"}, {"CHOWN"}, DOCKER}, /* the added wins */
        {{0}, {"ALL"}, 0},
        {{"CHOWN"}, {"all"}, CHOWN},
        {{"ALL"}, {0}, ALL},
        {{"ALL"}, {"NET_ADMIN", "CHOWN"}, ALL & ~(NET_ADMIN | CHOWN)},
        {{"SYS_ADMIN", "CHECKPOINT_RESTORE"}, {0}, DOCKER | 1ULL << 21 | 1ULL << 40},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CAdvancedBoxOptions *a = advanced();
        int adds = 0, drops = 0;

        while (adds < 3 && cases[i].add[adds])
            adds++;
        while (drops < 3 && cases[i].drop[drops])
            drops++;
        assert_int_equal(boxlite_advanced_options_set_capabilities_add(a, cases[i].add, adds), Ok);
        assert_int_equal(boxlite_advanced_options_set_capabilities_drop(a, cases[i].drop, drops), Ok);
        if (bx_capabilities_mask(&a->capabilities) != cases[i].mask)
            fail_msg("case %zu: %llx", i, (unsigned long long)bx_capabilities_mask(&a->capabilities));
        boxlite_advanced_options_free(a);
    }
}

/* Fails closed: also when the caller does not look at what the setter said. */
static void a_name_that_is_no_capability_makes_no_box(void **state)
{
    struct home *h = *state;
    static const char *const bad[][2] = {{"CHOWN", "CHOWNED"}, {"CHOWN", NULL}, {"CHOWN", ""}, {"CHOWN", "CAP_"}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CAdvancedBoxOptions *a = advanced();
        CBoxliteOptions *o = options_of("busybox", NULL);
        CBoxliteError e = {Ok, NULL};
        struct answer answer = {0};

        assert_int_equal(boxlite_advanced_options_set_capabilities_drop(a, bad[i], 2), InvalidArgument);
        boxlite_options_set_advanced(o, a);
        assert_int_equal(boxlite_create_box(h->rt, o, on_box, &answer, &e), InvalidArgument);
        assert_non_null(strstr(e.message, "capabilities_drop: number 1"));
        boxlite_error_free(&e);
        boxlite_options_free(o);
        boxlite_advanced_options_free(a);
    }
}

static void presets_set_what_the_guide_says(void **state)
{
    CAdvancedBoxOptions *a = advanced();
    CBoxliteError e = {Ok, NULL};

    (void)state;
    assert_int_equal(boxlite_advanced_options_set_security_preset(a, "maximum", NULL), Ok);
    assert_true(a->jailer_enabled && a->seccomp_enabled && a->close_fds && a->network_enabled);
    assert_int_equal(a->max_open_files, 1024);
    assert_int_equal(a->max_file_size, 1 << 30);
    assert_int_equal(a->max_processes, 100);
    assert_int_equal(a->max_memory + a->max_cpu_time, 0);
    boxlite_advanced_options_set_max_open_files(a, 2048);
    boxlite_advanced_options_set_network_enabled(a, 0);
    assert_int_equal(a->max_open_files, 2048);
    assert_false(a->network_enabled);
    assert_int_equal(boxlite_advanced_options_set_security_preset(a, "standard", NULL), Ok);
    assert_true(a->jailer_enabled && a->seccomp_enabled && a->close_fds && a->network_enabled);
    assert_int_equal(a->max_open_files + a->max_file_size + a->max_processes, 0);
    assert_int_equal(boxlite_advanced_options_set_security_preset(a, "development", NULL), Ok);
    assert_true(!a->jailer_enabled && !a->seccomp_enabled && !a->close_fds);
    boxlite_advanced_options_set_security_enabled(a, 1);
    assert_true(a->jailer_enabled && a->seccomp_enabled && a->close_fds);
    assert_int_equal(boxlite_advanced_options_set_security_preset(a, "paranoid", &e), InvalidArgument);
    assert_non_null(strstr(e.message, "maximum"));
    boxlite_error_free(&e);
    boxlite_advanced_options_free(a);
}

static void walls_and_limits_go_into_the_plan(void **state)
{
    CAdvancedBoxOptions *a = advanced();
    struct bx_shim_plan p = {.jail_layers = BX_JAIL_ALL, .jail_required = BX_JAIL_FLOOR};

    (void)state;
    bx_advanced_plan(a, &p);
    assert_int_equal(p.jail_layers, BX_JAIL_ALL);
    assert_int_equal(p.jail_required, BX_JAIL_FLOOR);
    assert_int_equal(p.jail_any, 0);
    assert_true(p.syscall_filter);
    assert_true(p.capabilities == DOCKER);
    boxlite_advanced_options_set_security_preset(a, "maximum", NULL);
    bx_advanced_plan(a, &p);
    assert_int_equal(p.jail_required, BX_JAIL_FLOOR);
    assert_int_equal(p.jail_any, BX_JAIL_ROOT | BX_JAIL_LANDLOCK);
    boxlite_advanced_options_set_max_open_files(a, 4096); /* other numbers: as strict */
    bx_advanced_plan(a, &p);
    assert_int_equal(p.jail_any, BX_JAIL_ROOT | BX_JAIL_LANDLOCK);
    boxlite_advanced_options_set_max_open_files(a, 1024);
    boxlite_advanced_options_set_max_memory(a, 5);
    boxlite_advanced_options_set_max_cpu_time(a, 6);
    boxlite_advanced_options_set_seccomp_enabled(a, 0);
    bx_advanced_plan(a, &p);
    assert_int_equal(p.jail_layers, BX_JAIL_ALL & ~BX_JAIL_SECCOMP);
    assert_int_equal(p.jail_required, BX_JAIL_FLOOR & ~BX_JAIL_SECCOMP);
    assert_int_equal(p.jail_any, 0);
    assert_false(p.syscall_filter);
    assert_int_equal(p.limits.nofile, 1024);
    assert_int_equal(p.limits.fsize, 1 << 30);
    assert_int_equal(p.limits.pids, 100);
    assert_int_equal(p.limits.as, 5);
    assert_int_equal(p.limits.cpu_seconds, 6);
    p = (struct bx_shim_plan){.jail_layers = BX_JAIL_ALL, .jail_required = BX_JAIL_FLOOR};
    boxlite_advanced_options_set_security_preset(a, "development", NULL);
    bx_advanced_plan(a, &p);
    assert_int_equal(p.jail_layers, BX_JAIL_NNP | BX_JAIL_RLIMITS);
    assert_int_equal(p.jail_required & ~p.jail_layers, 0);
    boxlite_advanced_options_free(a);
}

static void limits_out_of_range_are_refused_by_name(void **state)
{
    struct home *h = *state;
    static const struct {
        const char *name;
        void (*set)(CAdvancedBoxOptions *, uint64_t);
        uint64_t bad;
    } cases[] = {
        {"max_open_files", boxlite_advanced_options_set_max_open_files, 1048577},
        {"max_file_size", boxlite_advanced_options_set_max_file_size, UINT64_MAX},
        {"max_processes", boxlite_advanced_options_set_max_processes, 4194305},
        {"max_memory", boxlite_advanced_options_set_max_memory, 1ULL << 63},
        {"max_cpu_time", boxlite_advanced_options_set_max_cpu_time, UINT64_MAX},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CAdvancedBoxOptions *a = advanced();
        CBoxliteOptions *o = options_of("busybox", NULL);
        CBoxliteError e = {Ok, NULL};
        struct answer answer = {0};

        cases[i].set(a, cases[i].bad);
        boxlite_options_set_advanced(o, a);
        assert_int_equal(boxlite_create_box(h->rt, o, on_box, &answer, &e), InvalidArgument);
        assert_non_null(strstr(e.message, cases[i].name));
        boxlite_error_free(&e);
        cases[i].set(a, cases[i].bad - 1);
        if (cases[i].bad != UINT64_MAX) {
            boxlite_options_set_advanced(o, a);
            boxlite_box_free(make_box(h->rt, o));
        } else {
            boxlite_options_free(o);
        }
        boxlite_advanced_options_free(a);
    }
}

static const char *fact(CBoxliteInfo *info, const char *key)
{
    const char *v = boxlite_info_get(info, key);

    return v ? v : "(none)";
}

static void what_was_asked_for_is_kept_with_the_box_and_shown(void **state)
{
    struct home *h = *state;
    const char *add[] = {"SYS_ADMIN"}, *drop[] = {"ALL"};
    CAdvancedBoxOptions *a = advanced();
    CBoxliteOptions *o = options_of("busybox", "kept");
    CBoxliteRuntime *other = open_runtime(h->path);
    struct answer get = {0}, details = {0}, plain = {0};
    CBoxHandle *box, *idle;

    boxlite_advanced_options_set_security_preset(a, "maximum", NULL);
    boxlite_advanced_options_set_max_cpu_time(a, 77);
    boxlite_advanced_options_set_seccomp_enabled(a, 0);
    boxlite_advanced_options_set_capabilities_add(a, add, 1);
    boxlite_advanced_options_set_capabilities_drop(a, drop, 1);
    boxlite_options_set_advanced(o, a);
    boxlite_advanced_options_free(a); /* it was copied */
    boxlite_box_free(make_box(h->rt, o));
    boxlite_get(other, "kept", on_box, &get, NULL);
    DRAIN_UNTIL(other, get.done);
    ASSERT_ANSWER(get, Ok);
    box = get.result;
    boxlite_box_details(box, on_info, &details, NULL);
    DRAIN_UNTIL(other, details.done);
    ASSERT_ANSWER(details, Ok);
    assert_string_equal(fact(details.result, "capabilities"), "[\"SYS_ADMIN\"]");
    assert_string_equal(fact(details.result, "jailer_enabled"), "1");
    assert_string_equal(fact(details.result, "seccomp_enabled"), "0");
    assert_string_equal(fact(details.result, "max_open_files"), "1024");
    assert_string_equal(fact(details.result, "max_file_size"), "1073741824");
    assert_string_equal(fact(details.result, "max_processes"), "100");
    assert_string_equal(fact(details.result, "max_memory"), "(none)");
    assert_string_equal(fact(details.result, "max_cpu_time"), "77");
    boxlite_info_free(details.result);
    boxlite_box_free(box);
    idle = make_box(other, options_of("busybox", "plain"));
    boxlite_box_details(idle, on_info, &plain, NULL);
    DRAIN_UNTIL(other, plain.done);
    assert_string_equal(fact(plain.result, "max_open_files"), "(none)");
    assert_non_null(strstr(fact(plain.result, "capabilities"), "\"NET_RAW\""));
    boxlite_info_free(plain.result);
    boxlite_box_free(idle);
    boxlite_runtime_free(other);
}

static void a_row_of_an_older_library_has_all_walls_and_no_limits(void **state)
{
    struct CBoxliteOptions *o = NULL;
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    assert_int_equal(bx_options_from_json("{\"image\":\"busybox\"}", &o, &err), 0);
    assert_true(o->advanced.jailer_enabled && o->advanced.seccomp_enabled && o->advanced.close_fds);
    assert_true(bx_capabilities_mask(&o->advanced.capabilities) == DOCKER);
    assert_false(o->no_auto_resume);
    boxlite_options_free(o);
    /* and one of a newer library with a capability that is not known here is not run with fewer or more */
    assert_int_equal(bx_options_from_json("{\"image\":\"b\",\"advanced\":{\"capabilities_drop\":[\"TELEPORT\"]}}", &o,
                                          &err),
                     -BX_EDATABASE);
    assert_non_null(strstr(err.msg, "TELEPORT"));
}

static void one_with_other_capabilities_is_not_adopted(void **state)
{
    struct home *h = *state;
    const char *add[] = {"NET_ADMIN"};
    CAdvancedBoxOptions *a = advanced();
    CBoxliteOptions *o = options_of("busybox", "same");
    struct answer first = {0}, second = {0};
    CBoxliteError e = {Ok, NULL};

    boxlite_get_or_create_box(h->rt, o, on_made, &first, NULL);
    DRAIN_UNTIL(h->rt, first.done);
    assert_true(first.flag);
    o = options_of("busybox", "same");
    boxlite_advanced_options_set_capabilities_add(a, add, 1);
    boxlite_options_set_advanced(o, a);
    assert_int_equal(boxlite_get_or_create_box(h->rt, o, on_made, &second, &e), AlreadyExists);
    assert_non_null(strstr(e.message, "capabilities"));
    boxlite_error_free(&e);
    boxlite_advanced_options_set_capabilities_add(a, NULL, 0);
    boxlite_options_set_advanced(o, a);
    assert_int_equal(boxlite_get_or_create_box(h->rt, o, on_made, &second, &e), Ok);
    DRAIN_UNTIL(h->rt, second.done);
    assert_false(second.flag);
    boxlite_box_free(first.result);
    boxlite_box_free(second.result);
    boxlite_advanced_options_free(a);
}

static void security_without_a_network_is_a_box_without_one(void **state)
{
    struct home *h = *state;
    CAdvancedBoxOptions *a = advanced();
    CBoxliteOptions *o = options_of("busybox", "alone");
    struct answer info = {0}, none = {0};
    CBoxliteError e = {Ok, NULL};
    CBoxHandle *box;

    boxlite_advanced_options_set_network_enabled(a, 0);
    boxlite_options_set_advanced(o, a);
    boxlite_options_set_network_enabled(o);
    box = make_box(h->rt, o);
    boxlite_box_info(box, on_box_info, &info, NULL);
    DRAIN_UNTIL(h->rt, info.done);
    ASSERT_ANSWER(info, Ok);
    assert_int_equal(((CBoxInfo *)info.result)->network->mode, BoxliteNetworkModeDisabled);
    boxlite_free_box_info(info.result);
    boxlite_box_free(box);
    o = options_of("busybox", NULL);
    boxlite_options_set_advanced(o, a);
    assert_int_equal(boxlite_options_add_port(o, 0, 80, BoxlitePortProtocolTcp, NULL, NULL), Ok);
    assert_int_equal(boxlite_create_box(h->rt, o, on_box, &none, &e), InvalidArgument);
    assert_non_null(strstr(e.message, "ports: the network is disabled"));
    boxlite_error_free(&e);
    boxlite_options_free(o);
    boxlite_advanced_options_free(a);
}

/* ---- what this version cannot give ---- */

static void ask_volume(CBoxliteOptions *o)
{
    boxlite_options_add_volume(o, "/tmp", "/data", 1);
}
static void ask_secret(CBoxliteOptions *o)
{
    boxlite_options_add_secret(o, "KEY", "value", NULL, NULL, 0);
}
static void ask_auto_stop(CBoxliteOptions *o)
{
    boxlite_options_set_auto_stop_interval(o, 900);
}

static void what_cannot_be_given_is_refused_by_name(void **state)
{
    struct home *h = *state;
    static const struct {
        void (*ask)(CBoxliteOptions *);
        const char *name;
    } cases[] = {
        {ask_volume, "volume"},
        {ask_secret, "secret"},
        {ask_auto_stop, "auto_stop_interval"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CBoxliteOptions *o = options_of("busybox", NULL);
        CBoxliteError e = {Ok, NULL};
        struct answer a = {0};
        char begin[64];

        cases[i].ask(o);
        assert_int_equal(boxlite_create_box(h->rt, o, on_box, &a, &e), Unsupported);
        snprintf(begin, sizeof(begin), "unsupported: %s: ", cases[i].name);
        if (strncmp(e.message, begin, strlen(begin)) != 0)
            fail_msg("%s", e.message);
        boxlite_error_free(&e);
        boxlite_options_free(o);
    }
    CBoxliteOptions *o = options_of("busybox", NULL);
    boxlite_options_set_auto_stop_interval(o, 0);
    boxlite_options_set_auto_resume_enabled(o, 1);
    boxlite_box_free(make_box(h->rt, o));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, home_setup, home_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capabilities_are_read_as_docker_reads_them),
        T(a_name_that_is_no_capability_makes_no_box),
        cmocka_unit_test(presets_set_what_the_guide_says),
        cmocka_unit_test(walls_and_limits_go_into_the_plan),
        T(limits_out_of_range_are_refused_by_name),
        T(what_was_asked_for_is_kept_with_the_box_and_shown),
        cmocka_unit_test(a_row_of_an_older_library_has_all_walls_and_no_limits),
        T(one_with_other_capabilities_is_not_adopted),
        T(security_without_a_network_is_a_box_without_one),
        T(what_cannot_be_given_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
