/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what the verbs of the `boxlite` command share.
 *
 * The command is a program like any other: it reaches boxes only through boxlite.h. Results go to stdout, everything else to
 * stderr; progress is shown on terminals only. Exit codes: the command's own, 128+N for signals, 126/127 for what cannot be
 * run or found, 125 for failures of ours, 2 for a wrong command line.
 */
#ifndef BX_CLI_CLI_H
#define BX_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "boxlite.h"

#define BX_EXIT_USAGE 2
#define BX_EXIT_FAILURE 125
#define BX_EXIT_CANNOT_RUN 126
#define BX_EXIT_NOT_FOUND 127

/*
 * The table of verbs (main.c). A row and the options that its function hands to bx_cli_parse are all there is to say of a
 * verb: the help, completion and the manual pages are made of them. The words in `args`, and the names of values in options, say what is completed:
 * BOX, IMAGE, VERB, FILE, DIR, PATH, or the values themselves as in table|json|yaml. The prose of boxlite-VERB(1) is docs/man/VERB.txt.
 */
struct bx_verb {
    const char *name;    /* one word, or two: "image inspect" */
    const char *alias;   /* other names, with '|' between, or NULL */
    const char *args;    /* "[OPTIONS] IMAGE [COMMAND...]" */
    const char *summary; /* NULL: not shown */
    /* argv[0] is the verb's last word; returns the exit code. Calls bx_cli_parse before it does anything. */
    int (*run)(int argc, char **argv);
    bool of_images; /* also `boxlite image VERB` */
};
extern const struct bx_verb bx_verbs[];
/* The heading of the rows below it. */
#define BX_VERB_GROUP(text) { "", NULL, NULL, (text), NULL, false }

/* The verb that the first of n words, or the first two, name; NULL: none. */
const struct bx_verb *bx_cli_find_verb(int n, char *const *words, int *ret_used);
/* Says so, with what was probably meant; returns BX_EXIT_USAGE. */
int bx_cli_unknown_verb(const char *name);
/* All verbs. */
void bx_cli_overview(FILE *out);
/* Calls fn with the options of a verb, which is not run. */
typedef void bx_verb_opts_fn(void *ud, const struct bx_verb *v, const struct bx_opt *opts, unsigned flags);
void bx_cli_describe(const struct bx_verb *v, bx_verb_opts_fn *fn, void *ud);

/* The options every verb takes (--home, --help): to be included in a verb's table. */
extern const struct bx_opt bx_cli_global_opts[];
extern bool bx_cli_debug; /* --debug */
/* Lines of --debug and BOXLITE_LOG_FILE. False after having printed why. */
bool bx_cli_trace_open(void);
bool bx_cli_traces(void); /* does anybody read them? */
void bx_cli_trace(enum bx_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* --version was given: prints it. */
bool bx_cli_version_asked(int *ret_exit);

/* Parses a verb's arguments. Returns how many remain (now argv[1..n]), or -1 when the verb is to return *ret_exit at once. */
int bx_cli_parse(const char *verb, const struct bx_opt *opts, unsigned flags, int argc, char **argv, int *ret_exit);
/* Prints "Error: ..." and how the verb is used; returns BX_EXIT_USAGE. */
int bx_cli_usage(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints "Error: ", in red on a terminal. */
void bx_cli_error_begin(void);
/* Prints "Error: <message>". */
void bx_cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Flushes stdout; a result that could not be written is a failure. Returns `code` or BX_EXIT_FAILURE. */
int bx_cli_finish(int code);
/* Prints and releases an error of the library; returns the exit code for it. */
int bx_cli_fail(CBoxliteError *e, const char *about);

/* The images of a runtime; NULL after having printed why. */
CBoxliteImageHandle *bx_cli_images(CBoxliteRuntime *rt, int *ret_exit);

/* "Loaded: NAME" and more, or its id only. Releases the result. */
void bx_cli_show_image(const char *did, CImagePullResult *result, bool quiet);

/* "12.3 MiB" */
#define BX_CLI_BYTES_LEN 24
void bx_cli_bytes(char dst[BX_CLI_BYTES_LEN], unsigned long long bytes);

/* "2026-11-29T15:01:08Z" of milliseconds since 1970, with a fraction when there is one; "" of nonsense. */
void bx_cli_time(char *dst, size_t size, int64_t ms);
/* "running" -> "Running", as the existing command prints it. */
void bx_cli_status(char *dst, size_t size, const char *status);

/* What --home says, absolute, or NULL. */
const char *bx_cli_home(void);
/* Opens the runtime in the home that --home or the environment name; NULL after having printed why. */
CBoxliteRuntime *bx_cli_open(void);
CBoxliteRuntime *bx_cli_try_open(CBoxliteError *error); /* says nothing */

/*
 * One posted call, waited for. The library's callbacks store their answer here:
 *     struct bx_call call = BX_CALL_INIT;
 *     rc = boxlite_get(rt, name, bx_call_handle, &call, &call.error);
 *     if (bx_call_wait(rt, &call, rc)) ... call.result
 * While it waits, SIGINT and SIGTERM are noticed: see bx_signals_*.
 */
struct bx_call {
    bool done;
    CBoxliteError error;
    void *result;
};
#define BX_CALL_INIT ((struct bx_call){ 0 })
/* Callback for calls that answer with an error only. */
void bx_call_plain(CBoxliteError *error, void *ud);
/* Stores the answer of a call that gives something; used by typed callbacks. */
void bx_call_answer(struct bx_call *call, void *result, CBoxliteError *error);
void bx_call_box(CBoxHandle *box, CBoxliteError *error, void *ud);
void bx_call_exec(CExecutionHandle *execution, CBoxliteError *error, void *ud);
void bx_call_info(CBoxliteInfo *info, CBoxliteError *error, void *ud);
/* Drains until the call was answered (rc: what posting it returned). true on success. */
bool bx_call_wait(CBoxliteRuntime *rt, struct bx_call *call, BoxliteErrorCode rc);

/* A box by id or name; NULL after having printed "no such box". Free with boxlite_box_free. */
CBoxHandle *bx_cli_box(CBoxliteRuntime *rt, const char *name, int *ret_exit);

/* Runs `fn` for each named box, printing the name of each that succeeded. The exit code of the verb. */
typedef bool bx_box_action(CBoxliteRuntime *rt, const char *name, struct bx_call *call, void *ud);
int bx_cli_each_box(int n, char **names, bx_box_action *fn, void *ud);

/* Signals that a person sends to the command: blocked, and read from one descriptor. */
int bx_signals_open(void); /* the descriptor, made at the first call; -1 on failure */
/* SIGINT or SIGTERM arrived while something was waited for: 128+N, else 0. */
int bx_signals_pending(void);

/* What to undo when a signal ends the program while it waits for a call; NULL for nothing. */
void bx_cli_on_leave(void (*fn)(void *), void *ud);

/* Shows progress of long steps on stderr while it is a terminal. */
void bx_cli_progress(CBoxliteRuntime *rt);
/* Shows a step that is due to be shown. For how long (ms) somebody who waits may wait till the next one is; -1: for ever. */
int bx_cli_progress_wait(void);
void bx_cli_progress_clear(void);
/* A step of somebody else's that takes long: to be called again from time to time while it lasts. */
void bx_cli_step(const char *what);

/*
 * A command in a box whose streams are ours, until it ends. Streams, signals, resizing and the raw terminal are its business.
 */
struct bx_process {
    CBoxliteRuntime *rt;
    CExecutionHandle *execution;
    bool interactive; /* forward stdin */
    bool tty;
};
/* Registers for output and exit. Before the command can produce any. */
bool bx_process_begin(struct bx_process *p);
/* Runs until the end; returns the exit code. */
int bx_process_run(struct bx_process *p);
/* Size of our terminal; false when there is none. */
bool bx_terminal_size(unsigned *ret_rows, unsigned *ret_cols);
/* Exit code for a command that could not be started: 126, 127 or 125. Prints and releases the error. */
int bx_process_start_failed(CBoxliteError *e);

/* A point in time, for BX_OPT_CALL; target is an int64_t: ns since 1970 (logs.c). */
int bx_when_parse(void *target, const char *value, struct bx_err *err);

/* Output of lists and facts in the format a verb was asked for. A template is remembered by bx_format_parse. */
enum bx_format { BX_FORMAT_TABLE, BX_FORMAT_JSON, BX_FORMAT_YAML, BX_FORMAT_TEMPLATE };
int bx_format_parse(void *target, const char *value, struct bx_err *err); /* for BX_OPT_CALL; target is enum bx_format */
#define BX_FORMAT_OPT(c, n, format) \
    BX_OPT_CALL(c, n, &(format), bx_format_parse, "table|json|yaml|TEMPLATE", "how to print; a template is like '{{.Field}}'")

/* Nothing on what is no terminal, and with NO_COLOR. color.c */
enum bx_color { BX_COLOR_NONE, BX_COLOR_TITLE, BX_COLOR_GOOD, BX_COLOR_MIDDLE, BX_COLOR_BAD };
const char *bx_color_begin(FILE *f, enum bx_color color);
const char *bx_color_end(FILE *f, enum bx_color color);

/* A field without a key is in the table only, one without a title not there. */
enum bx_field_kind { BX_FIELD_STR, BX_FIELD_INT, BX_FIELD_BOOL, BX_FIELD_OBJECT, BX_FIELD_OBJECT_END };
struct bx_field {
    const char *key;   /* of json and yaml */
    const char *title; /* column of the table; NULL = not shown there */
    enum bx_field_kind kind;
    const char *str;   /* NULL = null */
    long long num;
    enum bx_color color; /* in a table */
};
/* A list of records with n_fields each, row after row; or, with `single`, one record without a list around it. */
int bx_print_records(enum bx_format format, const struct bx_field *fields, size_t n_fields, size_t n_records, bool single);
/* What was written, which is finished here; a template is for each item of a list. No tables. */
struct bx_jw;
int bx_print_json(enum bx_format format, struct bx_jw *w);

/* Verbs. */
int bx_verb_run(int argc, char **argv);
int bx_verb_create(int argc, char **argv);
int bx_verb_cp(int argc, char **argv);
int bx_verb_exec(int argc, char **argv);
int bx_verb_logs(int argc, char **argv);
int bx_verb_events(int argc, char **argv);
int bx_verb_ps(int argc, char **argv);
int bx_verb_start(int argc, char **argv);
int bx_verb_stop(int argc, char **argv);
int bx_verb_restart(int argc, char **argv);
int bx_verb_pause(int argc, char **argv);
int bx_verb_unpause(int argc, char **argv);
int bx_verb_stats(int argc, char **argv);
int bx_verb_wait(int argc, char **argv);
int bx_verb_top(int argc, char **argv);
int bx_verb_inspect(int argc, char **argv);
int bx_verb_rm(int argc, char **argv);
int bx_verb_load(int argc, char **argv);
int bx_verb_import(int argc, char **argv);
int bx_verb_bootstrap(int argc, char **argv);
int bx_verb_pull(int argc, char **argv);
int bx_verb_save(int argc, char **argv);
int bx_verb_images(int argc, char **argv);
int bx_verb_image_inspect(int argc, char **argv);
int bx_verb_network_policy(int argc, char **argv);
int bx_verb_network_tunnel(int argc, char **argv);
int bx_verb_group(int argc, char **argv); /* the first word of verbs that have two */
int bx_verb_tag(int argc, char **argv);
int bx_verb_rmi(int argc, char **argv);
int bx_verb_prune(int argc, char **argv);
int bx_verb_doctor(int argc, char **argv);
int bx_verb_info(int argc, char **argv);
int bx_verb_version(int argc, char **argv);
int bx_verb_completion(int argc, char **argv);
int bx_verb_complete(int argc, char **argv);
int bx_verb_help(int argc, char **argv);

/* --- network.c: the network of a box that is made */

struct bx_network_opts {
    const char *mode; /* "enabled" | "disabled" */
    char **allow, **publish;
};

#define BX_NETWORK_OPTS(o)                                                                                            \
    BX_OPT_GROUP("The network"),                                                                                      \
        BX_OPT_STRING(0, "network", &(o).mode, "enabled|disabled", "disabled: no interface but loopback (enabled)"),  \
        BX_OPT_LIST(0, "allow-net", &(o).allow, "HOST[:PORT]", "reach only this: a name, *.name, address or block"),  \
        BX_OPT_LIST('p', "publish", &(o).publish, "[[IP:]PORT:]PORT[/tcp|udp]", "reach a port of the box on the host")

/* Sets them; 0, or the exit code of a mistake that was told. */
int bx_cli_network(CBoxliteOptions *options, const char *verb, const struct bx_network_opts *o);
void bx_network_opts_done(struct bx_network_opts *o);

/* --- health.c: is a box well */

struct bx_health_opts {
    const char *cmd;
    bool agent;
    int64_t interval, timeout, start_period, retries; /* ns; start_period less than 0: not given */
};

#define BX_HEALTH_OPTS(o)                                                                                             \
    BX_OPT_GROUP("Is it well"),                                                                                       \
        BX_OPT_STRING(0, "health-cmd", &(o).cmd, "COMMAND", "run this in the box's shell again and again; 0 is healthy"), \
        BX_OPT_FLAG(0, "health-agent", &(o).agent, "or see whether the box's agent answers"),                         \
        BX_OPT_CALL(0, "health-interval", &(o).interval, bx_duration_parse, "TIME", "from one check to the next (30s)"), \
        BX_OPT_CALL(0, "health-timeout", &(o).timeout, bx_duration_parse, "TIME", "a check that takes longer has failed (10s)"), \
        BX_OPT_INT(0, "health-retries", &(o).retries, 1, 1000, "N", "failures in a row that make it unhealthy (3)"),  \
        BX_OPT_CALL(0, "health-start-period", &(o).start_period, bx_duration_parse, "TIME",                           \
                    "after the start, in which failures do not count (60s)")
#define BX_HEALTH_OPTS_INIT ((struct bx_health_opts){ .start_period = -1 })

/* A length of time, for BX_OPT_CALL; target is an int64_t: ns. */
int bx_duration_parse(void *target, const char *value, struct bx_err *err);
/* Sets it; 0, or the exit code of a mistake that was told. */
int bx_cli_health(CBoxliteOptions *options, const char *verb, const struct bx_health_opts *o);

/* --- security.c: what a box's commands may do and take */

struct bx_security_opts {
    const char *preset;
    char **cap_add, **cap_drop, **ulimits;
};

#define BX_ULIMIT_OPT(list) \
    BX_OPT_LIST(0, "ulimit", &(list), "NAME=N", "a limit of each process: nofile, nproc (of all), fsize, as, cpu")
#define BX_SECURITY_OPTS(o)                                                                                           \
    BX_OPT_GROUP("What commands may do"),                                                                             \
        BX_OPT_LIST(0, "cap-add", &(o).cap_add, "CAPABILITY", "beside Docker's default ones; ALL"),                   \
        BX_OPT_LIST(0, "cap-drop", &(o).cap_drop, "CAPABILITY", "of the default ones; ALL"),                          \
        BX_ULIMIT_OPT((o).ulimits),                                                                                   \
        BX_OPT_STRING(0, "security", &(o).preset, "enable|disable|development|standard|maximum",                      \
                      "the walls round the machine (BOXLITE_SECURITY, enable)")

/* Sets them; 0, or the exit code of a mistake that was told. */
int bx_cli_security(CBoxliteOptions *options, const char *verb, const struct bx_security_opts *o);
int bx_cli_exec_limits(BoxliteExecOptions *options, const char *verb, char **ulimits);
void bx_security_opts_done(struct bx_security_opts *o);

#endif
