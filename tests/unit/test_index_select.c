/* SPDX-License-Identifier: Apache-2.0 */
/* Which entry of an index a platform gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "image/manifest.h"

/* Entries are "os/arch/variant"; ids are their positions. The one that is chosen, or -1. */
static int choose(const char *const *entries, const char *os, const char *arch, const char *variant)
{
    struct bx_descriptor items[8] = {{{0}}};
    struct bx_index index = {.items = items};
    const struct bx_descriptor *d;

    for (; entries[index.count]; index.count++) {
        struct bx_descriptor *e = &items[index.count];

        (void)sscanf(entries[index.count], "%31[^/]/%31[^/]/%31s", e->os, e->arch, e->variant);
    }
    d = bx_index_select(&index, os, arch, variant);
    return d ? (int)(d - items) : -1;
}

static void the_platform_is_found(void **state)
{
    const char *const entries[] = {"unknown/unknown", "windows/amd64", "linux/s390x", "linux/amd64", NULL};

    assert_int_equal(choose(entries, "linux", "amd64", ""), 3);
    assert_int_equal(choose(entries, "linux", "arm64", ""), -1);
    assert_int_equal(choose(entries, "unknown", "unknown", ""), -1);
}

static void the_highest_variant_that_runs_is_taken(void **state)
{
    const char *const arm[] = {"linux/arm/v5", "linux/arm/v7", "linux/arm/v6", NULL};
    const char *const amd[] = {"linux/amd64/v3", "linux/amd64", "linux/amd64/v2", NULL};

    assert_int_equal(choose(arm, "linux", "arm", "v7"), 1);
    assert_int_equal(choose(arm, "linux", "arm", "v6"), 2);
    assert_int_equal(choose(arm, "linux", "arm", "v8"), 1);
    assert_int_equal(choose(arm, "linux", "arm", "v4"), -1);
    assert_int_equal(choose(arm, "linux", "arm", ""), 0);
    assert_int_equal(choose(amd, "linux", "amd64", ""), 1);
    assert_int_equal(choose(amd, "linux", "amd64", "v2"), 2);
    assert_int_equal(choose(amd, "linux", "amd64", "v4"), 0);
    assert_int_equal(choose(amd, "linux", "amd64", "v1"), 1);
}

static void arm64_is_v8_whether_it_says_so_or_not(void **state)
{
    const char *const said[] = {"linux/arm64/v9", "linux/arm64/v8", NULL};
    const char *const unsaid[] = {"linux/arm64", NULL};

    assert_int_equal(choose(said, "linux", "arm64", ""), 1);
    assert_int_equal(choose(said, "linux", "arm64", "v8"), 1);
    assert_int_equal(choose(unsaid, "linux", "arm64", "v8"), 0);
    assert_int_equal(choose(unsaid, "linux", "arm64", ""), 0);
}

static void variants_of_another_spelling_fit_only_themselves(void **state)
{
    const char *const entries[] = {"linux/arm/odd", "linux/arm", NULL};

    assert_int_equal(choose(entries, "linux", "arm", "odd"), 0);
    assert_int_equal(choose(entries, "linux", "arm", "other"), 1);
    assert_int_equal(choose(entries, "linux", "arm", "v7"), 1);
}

static void an_entry_without_platform_is_the_last_resort(void **state)
{
    struct bx_descriptor items[2] = {{{0}}};
    struct bx_index index = {.items = items, .count = 2};

    (void)snprintf(items[1].os, sizeof(items[1].os), "linux");
    (void)snprintf(items[1].arch, sizeof(items[1].arch), "amd64");
    assert_ptr_equal(bx_index_select(&index, "linux", "amd64", ""), &items[1]);
    assert_ptr_equal(bx_index_select(&index, "linux", "arm64", ""), &items[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_platform_is_found),
        cmocka_unit_test(the_highest_variant_that_runs_is_taken),
        cmocka_unit_test(arm64_is_v8_whether_it_says_so_or_not),
        cmocka_unit_test(variants_of_another_spelling_fit_only_themselves),
        cmocka_unit_test(an_entry_without_platform_is_the_last_resort),
    };

    return cmocka_run_group_tests_name("index_select", tests, NULL, NULL);
}
