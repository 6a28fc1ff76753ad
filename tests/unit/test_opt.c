/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: every accepted spelling, strict errors with their suggestion, the help text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/opt.h"
#include "base/str.h"

static struct {
    bool interactive, tty, rm, color, debug;
    const char *name, *home;
    char **env;
    int64_t cpus;
    uint64_t memory;
    unsigned called;
} o;

static int count_call(void *target, const char *value, struct bx_err *err)
{
    if (bx_streq(value, "bad"))
        return bx_fail(err, BX_EINVALID, 0, "no such thing as %s", value);
    (*(unsigned *)target)++;
    return 0;
}

static const struct bx_opt global_opts[] = {
    BX_OPT_GROUP("Global options"),
    BX_OPT_FLAG(0, "debug", &o.debug, "say more"),
    BX_OPT_STRING(0, "home", &o.home, "DIR", "where everything is kept"),
    BX_OPT_END,
};

static const struct bx_opt opts[] = {
    BX_OPT_FLAG('i', "interactive", &o.interactive, "keep stdin open"),
    BX_OPT_FLAG('t', "tty", &o.tty, "give it a terminal"),
    BX_OPT_FLAG(0, "rm", &o.rm, "remove the box afterwards"),
    BX_OPT_NEGATABLE(0, "color", &o.color, "in color"),
    BX_OPT_STRING('n', "name", &o.name, "NAME", "name of the box"),
    BX_OPT_LIST('e', "env", &o.env, "NAME=VALUE", "set a variable"),
    BX_OPT_INT('c', "cpus", &o.cpus, 1, 32, "N", "processors"),
    BX_OPT_SIZE(0, "memory", &o.memory, "SIZE", "memory"),
    BX_OPT_CALL(0, "thing", &o.called, count_call, "THING", "a long line of an option that needs two lines"),
    BX_OPT_CALL('v', NULL, &o.called, count_call, NULL, "more"),
    BX_OPT_STRING(0, "secret-option", &o.name, "X", NULL),
    BX_OPT_HELP('h', "help"),
    BX_OPT_INCLUDE(global_opts),
    BX_OPT_END,
};

static char *argv_copy[16];
static struct bx_err err;

/* Parses a NULL-terminated list of words. */
static int parse(unsigned flags, const char *const *words)
{
    int argc = 0;

    bx_strv_free(o.env);
    memset(&o, 0, sizeof(o));
    err = BX_ERR_INIT;
    for (; words[argc]; argc++)
        argv_copy[argc] = (char *)words[argc];
    argv_copy[argc] = NULL;
    return bx_opt_parse(opts, flags, argc, argv_copy, &err);
}
#define PARSE(flags, ...) parse(flags, (const char *const[]){ __VA_ARGS__, NULL })

static int forget(void **state)
{
    bx_strv_free(o.env);
    o.env = NULL;
    return 0;
}

static void every_spelling_of_a_value_works(void **state)
{
    assert_int_equal(PARSE(0, "--name=a", "--memory", "512m", "-c4", "-e", "A=1", "-e=B=2", "--env=C="), 0);
    assert_string_equal(o.name, "a");
    assert_int_equal(o.memory, 512 << 20);
    assert_int_equal(o.cpus, 4);
    assert_int_equal(bx_strv_len(o.env), 3);
    assert_string_equal(o.env[0], "A=1");
    assert_string_equal(o.env[1], "B=2");
    assert_string_equal(o.env[2], "C=");
    assert_int_equal(PARSE(0, "--name="), 0);
    assert_string_equal(o.name, "");
    assert_int_equal(PARSE(0, "--name", "--rm"), 0); /* a value is a value, whatever it looks like */
    assert_string_equal(o.name, "--rm");
    assert_false(o.rm);
}

static void short_flags_cluster(void **state)
{
    assert_int_equal(PARSE(0, "-itnweb", "-vv"), 0);
    assert_true(o.interactive && o.tty);
    assert_string_equal(o.name, "web");
    assert_int_equal(o.called, 2);
    assert_int_equal(PARSE(0, "-itn", "web"), 0);
    assert_string_equal(o.name, "web");
}

static void flags_are_negated_only_where_allowed(void **state)
{
    assert_int_equal(PARSE(0, "--color", "--no-color"), 0);
    assert_false(o.color);
    assert_int_equal(PARSE(0, "--no-color", "--color"), 0);
    assert_true(o.color);
    assert_int_equal(PARSE(0, "--no-rm"), -BX_EINVALID);
    assert_int_equal(PARSE(0, "--no-color=1"), -BX_EINVALID);
}

static void arguments_are_collected_in_order(void **state)
{
    assert_int_equal(PARSE(0, "one", "--rm", "-", "-n", "x", "two", "--", "--tty", "--"), 5);
    assert_string_equal(argv_copy[0], "one");
    assert_string_equal(argv_copy[1], "-");
    assert_string_equal(argv_copy[2], "two");
    assert_string_equal(argv_copy[3], "--tty");
    assert_string_equal(argv_copy[4], "--");
    assert_null(argv_copy[5]);
    assert_true(o.rm && !o.tty);
}

static void command_of_a_box_keeps_its_own_options(void **state)
{
    assert_int_equal(PARSE(BX_OPT_STOP_AT_ARG, "-i", "alpine", "ls", "-t", "--", "--bogus"), 5);
    assert_true(o.interactive && !o.tty);
    assert_string_equal(argv_copy[0], "alpine");
    assert_string_equal(argv_copy[2], "-t");
    assert_string_equal(argv_copy[3], "--");
    assert_int_equal(PARSE(BX_OPT_STOP_AT_ARG, "--", "-i"), 1);
    assert_string_equal(argv_copy[0], "-i");
}

static void included_table_is_part_of_it(void **state)
{
    assert_int_equal(PARSE(0, "--debug", "--home=/h"), 0);
    assert_true(o.debug);
    assert_string_equal(o.home, "/h");
}

#define REFUSED(message, ...)                                                                       \
    do {                                                                                            \
        assert_int_equal(PARSE(0, __VA_ARGS__), -BX_EINVALID);                                      \
        assert_string_equal(err.msg, message);                                                      \
    } while (0)

static void errors_name_the_option(void **state)
{
    REFUSED("unknown option --bogus", "--bogus");
    REFUSED("unknown option --bogus", "--bogus=5");
    REFUSED("unknown option -x in -ix", "-ix");
    REFUSED("unknown option -5 in -5", "-5");
    REFUSED("--rm takes no value", "--rm=yes");
    REFUSED("--name needs a value (NAME)", "--name");
    REFUSED("-n needs a value (NAME)", "-in");
    REFUSED("--cpus must lie between 1 and 32, not 33", "--cpus", "33");
    REFUSED("-c needs a number, not \"four\"", "-c", "four");
    REFUSED("--memory needs a size such as 512m or 10g, not \"1x\"", "--memory=1x");
    REFUSED("--thing: no such thing as bad", "--thing", "bad");
}

static void near_misses_get_a_suggestion(void **state)
{
    REFUSED("unknown option --interacitve (did you mean --interactive?)", "--interacitve");
    REFUSED("unknown option --cpu (did you mean --cpus?)", "--cpu=2");
    REFUSED("unknown option --mem (did you mean --memory?)", "--mem", "5");
    REFUSED("unknown option --hom (did you mean --home?)", "--hom");
    REFUSED("unknown option --secret-optio", "--secret-optio"); /* hidden ones stay hidden */
    REFUSED("unknown option --x", "--x");

    static const char *const verbs[] = { "run", "exec", "list", "stop", NULL };
    assert_string_equal(bx_opt_nearest("exce", verbs), "exec");
    assert_string_equal(bx_opt_nearest("rnu", verbs), "run");
    assert_string_equal(bx_opt_nearest("stpo", verbs), "stop");
    assert_null(bx_opt_nearest("frobnicate", verbs));
    assert_null(bx_opt_nearest("", verbs));
}

static void very_long_words_are_refused_calmly(void **state)
{
    char word[5000];

    memset(word, 'a', sizeof(word));
    memcpy(word, "--", 2);
    word[sizeof(word) - 1] = '\0';
    assert_int_equal(PARSE(0, word), -BX_EINVALID);
    assert_true(bx_starts_with(err.msg, "unknown option --aaaa"));
}

static void help_is_asked_for_and_shows_the_table(void **state)
{
    bx_cleanup_free char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_int_equal(PARSE(0, "--rm", "-h", "--bogus"), BX_OPT_HELP_ASKED);
    bx_opt_help(opts, out);
    fclose(out);
    assert_non_null(strstr(text, "  -i, --interactive           keep stdin open\n"));
    assert_non_null(strstr(text, "      --rm                    remove the box afterwards\n"));
    assert_non_null(strstr(text, "      --[no-]color            in color\n"));
    assert_non_null(strstr(text, "  -e, --env NAME=VALUE        set a variable\n"));
    assert_non_null(strstr(text, "  -v                          more\n"));
    assert_non_null(strstr(text, "\nGlobal options:\n      --debug                 say more\n"));
    assert_null(strstr(text, "secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_of_a_value_works),
        cmocka_unit_test(short_flags_cluster),
        cmocka_unit_test(flags_are_negated_only_where_allowed),
        cmocka_unit_test(arguments_are_collected_in_order),
        cmocka_unit_test(command_of_a_box_keeps_its_own_options),
        cmocka_unit_test(included_table_is_part_of_it),
        cmocka_unit_test(errors_name_the_option),
        cmocka_unit_test(near_misses_get_a_suggestion),
        cmocka_unit_test(very_long_words_are_refused_calmly),
        cmocka_unit_test(help_is_asked_for_and_shows_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, forget);
}
