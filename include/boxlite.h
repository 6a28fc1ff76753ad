/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boxlite.h - run programs that you do not trust in small virtual machines ("boxes"), from any OCI image.
 *
 * The one public header of libboxlite. C99, usable from C++.
 *
 * How calls work
 *
 *  Most calls *post*: they check their arguments, queue the work and return at once; Ok means queued. The
 *  answer comes as one call of the callback that was given, made inside boxlite_runtime_drain() on the thread
 *  that called it, with no lock of the library held: a callback may call anything here but
 *  boxlite_runtime_drain and boxlite_runtime_free. To wait in a loop of your own, watch boxlite_runtime_fd()
 *  for reading and drain with timeout 0. The library has no threads: nothing moves unless somebody drains. It
 *  installs no signal handler, has no child processes, and prints nothing.
 *
 * Rules that hold everywhere (a function's comment names only its exceptions)
 *
 *  Threads    Any function may be called from any thread. One thread drains at a time.
 *  Strings    UTF-8, NUL-terminated. Arguments are borrowed until the call returns and copied where they are
 *             kept.
 *  Results    A pointer handed to a callback on success belongs to the callee: free it with the function its
 *             type names. On failure it is NULL. A CBoxliteError handed to a callback is borrowed until the
 *             callback returns; it is NULL on success.
 *  Errors     `out_error` may be NULL. On failure *out_error holds code and message, to be released with
 *             boxlite_error_free; what a call promises to return is then unset. On success *out_error is not
 *             touched.
 *  NULL       A NULL callback or handle is InvalidArgument. Free functions accept NULL.
 *  Since      0.1.0, unless a later version is named. "Extension" marks what the existing BoxLite does not
 *             have.
 */
#ifndef BOXLITE_H
#define BOXLITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define BOXLITE_API __attribute__((visibility("default")))
#else
#define BOXLITE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* How many posted calls may be unanswered at once, for each runtime. One more is refused with
 * ResourceExhausted. */
#define QUEUE_CAPACITY 4096

/* ---- errors -------------------------------------------------------------------------------------------- */

/* What went wrong. Values are never reused. */
typedef enum BoxliteErrorCode {
    Ok = 0,
    Internal = 1,
    NotFound = 2,
    AlreadyExists = 3,
    InvalidState = 4,
    InvalidArgument = 5,
    Config = 6,
    Storage = 7,
    Image = 8,
    Network = 9,
    Execution = 10,
    Stopped = 11,
    Engine = 12,
    Unsupported = 13,
    Database = 14,
    Portal = 15,
    Rpc = 16,
    RpcTransport = 17,
    Metadata = 18,
    UnsupportedEngine = 19,
    ResourceExhausted = 20,
    SessionReaped = 21
} BoxliteErrorCode;

/* An error: start with {Ok, NULL}. The message begins with the name of its class: "box not found: web". */
typedef struct FFIError {
    BoxliteErrorCode code;
    char *message;
} FFIError;
typedef FFIError CBoxliteError;

/* Frees the message and sets the error to Ok. The struct itself stays the caller's. */
BOXLITE_API void boxlite_error_free(CBoxliteError *error);

/* Frees a string that this library returned. */
BOXLITE_API void boxlite_free_string(char *str);

/* ---- types --------------------------------------------------------------------------------------------- */

typedef enum BoxliteNetworkMode {
    BoxliteNetworkModeEnabled = 0,
    BoxliteNetworkModeDisabled = 1
} BoxliteNetworkMode;
typedef enum BoxlitePortProtocol {
    BoxlitePortProtocolTcp = 0,
    BoxlitePortProtocolUdp = 1
} BoxlitePortProtocol;
/* Kinds of a BoxliteSocketAddress. */
#define BoxliteSocketTcp  0
#define BoxliteSocketUnix 1

typedef enum BoxliteRegistryTransport {
    BoxliteRegistryTransportHttps = 0,
    BoxliteRegistryTransportHttp = 1
} BoxliteRegistryTransport;

/* A home directory opened for use. Many programs, and many runtimes of one program, may use one home at a time. */
typedef struct CBoxliteRuntime CBoxliteRuntime;
/* A box, by reference: freeing the handle does not touch the box. */
typedef struct CBoxHandle CBoxHandle;
/* What a new box shall be. */
typedef struct CBoxliteOptions CBoxliteOptions;
/* What its commands may take and do, and what holds its machine. */
typedef struct CAdvancedBoxOptions CAdvancedBoxOptions;
/* A command in a box. */
typedef struct CExecutionHandle CExecutionHandle;
/* One box for programs that want no callbacks. */
typedef struct CBoxliteSimple CBoxliteSimple;
/* The images of a runtime. */
typedef struct CBoxliteImageHandle CBoxliteImageHandle;
/* Named facts (extension): see boxlite_info_get. */
typedef struct CBoxliteInfo CBoxliteInfo;
/* The network of a box; a tunnel to one of its ports; what listens on this host for a tunnel. */
typedef struct CBoxNetworkHandle CBoxNetworkHandle;
typedef struct CBoxTunnelHandle CBoxTunnelHandle;
typedef struct CTunnelForwarderHandle CTunnelForwarderHandle;

/* A registry that images are pulled from; checked and kept by boxlite_runtime_new. Without credentials those of docker's
 * configuration are used (~/.docker/config.json and its helpers), if it has any. */
typedef struct BoxliteImageRegistry {
    const char *host; /* host[:port], without scheme or path */
    BoxliteRegistryTransport transport;
    int skip_verify;
    int search; /* tried, in order, for names without a registry */
    const char *username;
    const char *password;
    const char *bearer_token;
} BoxliteImageRegistry;

/* A command. Zero means default everywhere but in `command`. */
typedef struct BoxliteCommand {
    const char *command;     /* looked up in the box's PATH when it has no slash */
    const char *const *args; /* what follows it: argc strings */
    int argc;
    const char *const *env_pairs; /* name, value, name, value ... */
    int env_count;                /* number of strings in env_pairs */
    const char *workdir;          /* NULL: the box's */
    const char *user;             /* name|uid[:group|gid]; NULL: the box's */
    double timeout_secs;          /* 0: none; then TERM to all its processes, 2 s later KILL */
    int tty;                      /* a terminal; stderr then arrives as stdout */
} BoxliteCommand;

/* What boxlite_simple_run gives. Both texts are NUL-terminated and never NULL. */
typedef struct ExecResult {
    int exit_code;
    char *stdout_text;
    char *stderr_text;
} ExecResult;
typedef ExecResult CBoxliteExecResult;

typedef struct CImagePullResult {
    char *reference;
    char *config_digest;
    int layer_count;
} CImagePullResult;

typedef struct CImageInfo {
    char *reference;
    char *repository;
    char *tag;
    char *id;          /* sha256:... of its configuration */
    int64_t cached_at; /* unix time, seconds */
    uint64_t size;     /* bytes, compressed */
    int has_size;
} CImageInfo;

typedef struct CImageInfoList {
    CImageInfo *items;
    int count;
} CImageInfoList;

/* What boxlite_image_remove and boxlite_image_prune removed, or would remove. Extension. Fields are only ever
 * appended. */
typedef struct CImagePruneResult {
    size_t size;    /* sizeof(CImagePruneResult) of the library */
    uint64_t bytes; /* freed on the host's disk */
    int images;     /* names of images */
    int blobs;
    int disks; /* made from images */
    int templates;
    int blobs_kept;                /* that nothing refers to, but an image is being added right now */
    const char *const *references; /* the names, NULL behind the last; NULL when there are none */
} CImagePruneResult;

typedef struct CPublishedPort {
    uint16_t guest_port;
    char *host_ip;
    uint16_t host_port;
    BoxlitePortProtocol protocol;
} CPublishedPort;

typedef struct CPublishedPortList {
    CPublishedPort *items;
    int count;
} CPublishedPortList;

/* Where to listen. kind BoxliteSocketTcp: host (an IPv4 address, NULL: 127.0.0.1) and port (0: one is chosen);
 * BoxliteSocketUnix: path. */
typedef struct BoxliteSocketAddress {
    uint32_t kind;
    const char *host;
    uint16_t port;
    const char *path;
} BoxliteSocketAddress;

typedef struct CNetworkInfo {
    BoxliteNetworkMode mode;
    char **allow_net;
    int allow_net_count;
    CPublishedPortList *published_ports; /* NULL: not known */
} CNetworkInfo;

typedef struct CBoxInfo {
    char *id;
    char *name; /* NULL: none */
    char *image;
    char *status; /* configured running stopping stopped paused failed unknown */
    int running;
    int pid; /* of the box's supervisor; 0: none */
    int cpus;
    int memory_mib;
    uint32_t auto_stop;
    uint32_t auto_delete;
    int auto_resume;
    int64_t created_at; /* unix time, seconds */
    CNetworkInfo *network;
    int64_t started_at; /* unix time, milliseconds; 0: never */
} CBoxInfo;

typedef struct CBoxInfoList {
    CBoxInfo *items;
    int count;
} CBoxInfoList;

/* What a box takes and did since its last start; all 0 when it does not run. */
typedef struct CBoxMetrics {
    double cpu_percent;   /* of one host processor, since the last call of this runtime; the first time since the start */
    int64_t memory_bytes; /* of the host: the box's processes, shared pages in part (PSS) */
    int commands_executed; /* by all programs, the main process included */
    int exec_errors;       /* commands that could not be run */
    int64_t bytes_sent;     /* stdin */
    int64_t bytes_received; /* output that somebody had sent to him */
    int64_t create_duration_ms; /* from the wish to start it until it ran: image, template and all */
    int64_t boot_duration_ms;   /* of that: from the spawn of its supervisor */
    int64_t network_bytes_sent; /* by the box; of all protocols, likewise below */
    int64_t network_bytes_received;
    int network_tcp_connections; /* that are open now */
    int network_tcp_errors;      /* refused by the box's rules, or that could not be made */
} CBoxMetrics;

/* A process of a box, as the box sees it. Fields are only ever appended. Extension. */
typedef struct CBoxProcess {
    size_t size;         /* sizeof(CBoxProcess) of the library */
    int32_t pid, parent; /* parent 0: it was started from outside, as commands are */
    uint32_t uid;
    int32_t state; /* a letter: R runs, S sleeps, D waits for a device, T is stopped, Z has ended */
    int32_t threads;
    int32_t reserved;
    uint64_t cpu_us;       /* that it has used */
    uint64_t memory_bytes; /* resident */
    uint64_t age_ms;       /* since it was started */
    const char *name;
    const char *command; /* its arguments, with spaces between, at most 1024 bytes; "" when it has ended */
} CBoxProcess;

typedef struct CBoxProcessList {
    size_t size; /* sizeof(CBoxProcessList) of the library */
    const CBoxProcess *const *items;
    int32_t count;
    int32_t left_out; /* beyond 4096 */
} CBoxProcessList;

/* Values are never reused. Extension. */
typedef enum BoxliteFindingState {
    BoxliteFindingFine = 0,
    BoxliteFindingNote = 1,    /* worth knowing; nothing is broken */
    BoxliteFindingProblem = 2, /* still there */
    BoxliteFindingRepaired = 3
} BoxliteFindingState;

/* What boxlite_runtime_doctor has found of one thing. Fields are only ever appended. Extension. */
typedef struct CDoctorFinding {
    size_t size;         /* sizeof(CDoctorFinding) of the library */
    int32_t state;       /* enum BoxliteFindingState */
    int32_t reserved;
    const char *check;   /* home database boxes folders tmp images programs engine jail disks */
    const char *subject; /* which box, file or layer; "" for the whole */
    const char *text;    /* for a person; goes on where check and subject end */
    const char *remedy;  /* what can be done; "" for nothing */
} CDoctorFinding;

typedef struct CDoctorReport {
    size_t size; /* sizeof(CDoctorReport) of the library */
    const CDoctorFinding *const *items;
    int32_t count;    /* at most 1000 */
    int32_t problems; /* that are left */
    int32_t repaired;
    int32_t reserved;
} CDoctorReport;

/* What happened through a runtime since it was opened; num_running_boxes is of the home, of all programs. */
typedef struct CRuntimeMetrics {
    int boxes_created_total;
    int boxes_failed_total; /* that did not start, or failed while they ran */
    int num_running_boxes;
    int total_commands_executed;
    int total_exec_errors;
} CRuntimeMetrics;

/* What a pull does, or one layer of it. Values are never reused. Extension. */
typedef enum BoxlitePullState {
    BoxlitePullStateAsking = 0,   /* a registry, for the image */
    BoxlitePullStateWaiting = 1,  /* for another program, which fetches this layer */
    BoxlitePullStateFetching = 2,
    BoxlitePullStateRetrying = 3, /* `message` says what failed */
    BoxlitePullStateDone = 4      /* a layer that was there begins so */
} BoxlitePullState;

/* How far a pull is, or one layer of it. Fields are only ever appended. Extension. */
typedef struct CPullProgress {
    size_t size;
    const char *box_id;    /* whose start wants the image; "" for boxlite_image_pull */
    const char *reference; /* in full */
    const char *registry;  /* it comes from; "" as long as that is not known */
    const char *digest;    /* of the layer, "" for the image */
    const char *message;   /* "" when there is nothing to say */
    int32_t state;         /* enum BoxlitePullState */
    int32_t layer;         /* from 0; -1: the image as a whole */
    int32_t layers;        /* 0 as long as that is not known */
    int32_t reserved;
    uint64_t done; /* bytes, compressed */
    uint64_t total; /* of the layer; of the layers that are to be fetched */
} CPullProgress;

/* Callbacks. See the rules at the top. */
typedef void (*CBoxCreateBoxCb)(CBoxHandle *box, CBoxliteError *error, void *user_data);
typedef void (*CBoxGetOrCreateBoxCb)(CBoxHandle *box, bool created, CBoxliteError *error, void *user_data);
typedef void (*CBoxGetBoxCb)(CBoxHandle *box, CBoxliteError *error, void *user_data);
typedef void (*CBoxStartBoxCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxStopBoxCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxRemoveBoxCb)(CBoxliteError *error, void *user_data);
typedef void (*CRuntimeShutdownCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxSetAllowNetCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxInfoCb)(CBoxInfo *info, CBoxliteError *error, void *user_data);
typedef void (*CBoxInfoListCb)(CBoxInfoList *list, CBoxliteError *error, void *user_data);
/* `metrics` is borrowed: copy it. */
typedef void (*CBoxMetricsCb)(CBoxMetrics *metrics, CBoxliteError *error, void *user_data);
typedef void (*CRuntimeMetricsCb)(CRuntimeMetrics *metrics, CBoxliteError *error, void *user_data);
typedef void (*CBoxStdoutCb)(const uint8_t *data, size_t len, void *user_data);
typedef void (*CBoxStderrCb)(const uint8_t *data, size_t len, void *user_data);
typedef void (*CBoxExitCb)(int exit_code, void *user_data);
typedef void (*CExecutionWaitCb)(int exit_code, CBoxliteError *error, void *user_data);
typedef void (*CExecutionKillCb)(CBoxliteError *error, void *user_data);
typedef void (*CExecutionSignalCb)(CBoxliteError *error, void *user_data);
typedef void (*CExecutionResizeCb)(CBoxliteError *error, void *user_data);
typedef void (*CTunnelForwarderWaitCb)(CBoxliteError *error, void *user_data);
typedef void (*CTunnelForwarderCloseCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxImagePullCb)(CImagePullResult *result, CBoxliteError *error, void *user_data);
typedef void (*CBoxImageListCb)(CImageInfoList *list, CBoxliteError *error, void *user_data);
/* Extensions. */
typedef void (*CBoxPauseCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxWaitCb)(int exit_code, CBoxliteError *error, void *user_data);
typedef void (*CBoxProcessListCb)(const CBoxProcessList *list, CBoxliteError *error, void *user_data);
typedef void (*CDoctorCb)(const CDoctorReport *report, CBoxliteError *error, void *user_data);
typedef void (*CImageDoneCb)(CBoxliteError *error, void *user_data);
typedef void (*CImagePruneCb)(const CImagePruneResult *result, CBoxliteError *error, void *user_data);
typedef void (*CBoxExecCb)(CExecutionHandle *execution, CBoxliteError *error, void *user_data);
typedef void (*CExecutionWritableCb)(size_t room, void *user_data);
typedef void (*CBoxliteInfoCb)(CBoxliteInfo *info, CBoxliteError *error, void *user_data);
/* `box_id` is "" when no box is meant; `total` is 0 when it is not known. Both strings are borrowed. */
typedef void (*CRuntimeProgressCb)(const char *box_id, const char *what, uint64_t done, uint64_t total,
                                   void *user_data);
/* `progress` and its strings are borrowed. */
typedef void (*CPullProgressCb)(const CPullProgress *progress, void *user_data);

/* ---- runtime ------------------------------------------------------------------------------------------- */

/* The library's version: "0.1.0". Static. */
BOXLITE_API const char *boxlite_version(void);

/* Does this library have the named part? Names are added, never removed; unknown names give 0. Extension.
 * 0.1.0: "runtime_fd", "exec_post", "attach", "stdin_writable", "image_load", "image_store", "image_save", "image_pull", "image_warm",
 * "info", "engine", "progress", "pull_progress", "metrics", "restart", "image_import", "rootfs_path", "security",
 * "exec_limits", "output_pause", "files", "wait", "processes", "doctor", "logs", "events", "pause". */
BOXLITE_API int boxlite_has_feature(const char *name);

/*
 * Opens a home directory, making it when it is missing.
 *
 * `home_dir`: absolute; NULL means $BOXLITE_HOME, else ~/.boxlite. A configuration file is read when there is one:
 * $BOXLITE_CONFIG, else config.json in the home directory (JSON; README.md shows it; an unknown key is refused by name).
 * What `registries` say of a host goes before the file. `registries`: `registries_count` of them,
 * or NULL and 0. The runtime in *out_runtime is freed with boxlite_runtime_free. Does not start anything;
 * takes a few milliseconds.
 *
 * Environment read here: BOXLITE_ENGINE (auto, kvm, tcg: what a box that asks for "auto" gets),
 * BOXLITE_START_TIMEOUT (seconds), BOXLITE_LIBEXEC (where the library's programs are), BOXLITE_IMAGE_TEMPLATES (auto,
 * or off: no machines with an image's root mounted are kept, and none are used).
 *
 * Errors: Config (home is not absolute, a registry or the configuration file is malformed, an environment variable has no
 * meaning),
 * Storage, Database.
 */
BOXLITE_API BoxliteErrorCode boxlite_runtime_new(const char *home_dir, const BoxliteImageRegistry *registries,
                                                 int registries_count, CBoxliteRuntime **out_runtime,
                                                 CBoxliteError *out_error);

/*
 * Does what is to be done and makes the callbacks that are due, on this thread.
 *
 * `timeout_ms`: 0 does not wait, less than 0 waits until there is something to call, more waits that long at
 * most. Returns the number of callbacks made, or -1 with *out_error: InvalidState when another thread drains
 * this runtime, or when it is called inside a callback.
 */
BOXLITE_API int boxlite_runtime_drain(CBoxliteRuntime *runtime, int timeout_ms, CBoxliteError *out_error);

/* One descriptor that is readable whenever boxlite_runtime_drain(runtime, 0, ...) would do something. It
 * belongs to the runtime: do not read, close or change it. -1 for NULL. Extension. */
BOXLITE_API int boxlite_runtime_fd(CBoxliteRuntime *runtime);

/*
 * Stops every box that this runtime started and that is not detached, and refuses further work at once: all
 * other calls on the runtime and its handles give Stopped from now on, but drain and the free functions.
 *
 * `timeout_secs`: 0 means 10 s, less than 0 without end; what has not stopped by then is killed.
 */
BOXLITE_API BoxliteErrorCode boxlite_runtime_shutdown(CBoxliteRuntime *runtime, int timeout_secs,
                                                      CRuntimeShutdownCb cb, void *user_data,
                                                      CBoxliteError *out_error);

/* Closes the runtime without waiting. Boxes that it started and that are not detached end by themselves;
 * callbacks that are due are dropped. Handles stay allocated until they are freed; every call on them gives
 * Stopped. Inside a callback it does nothing. */
BOXLITE_API void boxlite_runtime_free(CBoxliteRuntime *runtime);

/*
 * Facts about this installation and host. Extension.
 *
 * Keys: version, home, engine (what "auto" gives: "kvm" or "tcg"), engine.asked, kvm ("yes", "no",
 * "unknown"), kvm.reason, kvm.remedy, os, arch, protocol, libexec, qemu (path, "" when it is missing),
 * images, boxes, boxes.running, boxes.stopped, boxes.configured. Takes about 100 ms when the engine was not
 * yet judged since the host's boot.
 */
BOXLITE_API BoxliteErrorCode boxlite_runtime_info(CBoxliteRuntime *runtime, CBoxliteInfoCb cb,
                                                  void *user_data, CBoxliteError *out_error);

/* What boxlite_runtime_doctor does. Set `size`; zero means no. Extension. */
typedef struct BoxliteDoctorOptions {
    size_t size;    /* sizeof(BoxliteDoctorOptions) */
    int32_t repair; /* what can be repaired without losing what somebody may want */
    int32_t quick;  /* not the disks of boxes, each of which is read as a whole */
} BoxliteDoctorOptions;
/* clang-format off */
#define BOXLITE_DOCTOR_OPTIONS_INIT { sizeof(BoxliteDoctorOptions), 0, 0 }
/* clang-format on */

/*
 * Looks for what a crash can leave in the home and for what this host lacks: the database, boxes without folders,
 * folders without boxes, dead sockets, left-over files, blobs, disks and templates that nothing needs, programs, the
 * engine, the layers of a jail, and the file systems of boxes that do not run (by e2fsck, in a jail, on a copy).
 * Extension.
 *
 * Safe beside any number of programs: what may be somebody's is left alone. `options` may be NULL. What opening the
 * home has put right by itself is told once. The report is borrowed until the callback returns; that there are problems
 * is no error.
 */
BOXLITE_API BoxliteErrorCode boxlite_runtime_doctor(CBoxliteRuntime *runtime, const BoxliteDoctorOptions *options,
                                                    CDoctorCb cb, void *user_data, CBoxliteError *out_error);

/* Counters of this runtime. Errors: Database. */
BOXLITE_API BoxliteErrorCode boxlite_runtime_metrics(CBoxliteRuntime *runtime, CRuntimeMetricsCb cb,
                                                     void *user_data, CBoxliteError *out_error);

/* Calls `cb` when a step that may take long begins or advances ("convert image", "make template", ...). One
 * callback for each runtime; NULL ends it. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_runtime_on_progress(CBoxliteRuntime *runtime, CRuntimeProgressCb cb,
                                                         void *user_data, CBoxliteError *out_error);

/* Calls `cb` about pulls, of calls and of starts: for the image as a whole and for each layer when it begins, when it is
 * done and some ten times a second between. boxlite_runtime_on_progress tells of the whole too ("pull the image"). One
 * callback for each runtime; NULL ends it. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_runtime_on_pull_progress(CBoxliteRuntime *runtime, CPullProgressCb cb,
                                                              void *user_data, CBoxliteError *out_error);

/* What has happened. Strings are borrowed and never NULL; "" says nothing. Fields are only ever appended. Extension. */
typedef struct CBoxliteEvent {
    size_t size;
    int64_t time_ns; /* unix time */
    /*
     * box.created, box.started, box.stopped, box.failed, box.removed, box.paused, box.resumed
     * box.health     its health check has come to another result: `health` is starting, healthy or unhealthy
     * box.oom        a command of it was killed for want of memory (execution_id: which; "main" is the main process)
     * box.network_refused   its rules have refused something (message: what and why); not every time: each once, few a minute
     * exec.started, exec.ended
     * image.pulled, image.loaded, image.imported, image.tagged, image.removed
     * events.current of boxlite_runtime_on_event_since: what had happened before the call has been told
     * events.lost    the program was too slow, and events that it has not seen are gone
     * Others may be added.
     */
    const char *type;
    const char *box_id;
    const char *box_name;
    const char *image;        /* the box's, or the one that it is about */
    const char *execution_id;
    const char *program;      /* of a command: its first word */
    const char *health;
    const char *message;      /* why, for a person */
    int32_t has_exit_code;
    int32_t exit_code;        /* of the command, or of the box's main process */
    int32_t oom;              /* exec.ended: it, or a process of it, was killed for want of memory */
    int32_t reserved;
} CBoxliteEvent;

/* `event` is borrowed. */
typedef void (*CRuntimeEventCb)(const CBoxliteEvent *event, void *user_data);

/*
 * Calls `cb` for everything that happens in this home from now on, whichever program does it, this one too. One callback
 * for each runtime; NULL ends it. Extension.
 *
 * Commands that are started with boxlite_box_exec and the like are told of, with their first word, not the main process:
 * its start is the box's. The home keeps the last 3 to 4 MiB of events. Errors: ResourceExhausted (the user's limits of
 * inotify), Stopped.
 */
BOXLITE_API BoxliteErrorCode boxlite_runtime_on_event(CBoxliteRuntime *runtime, CRuntimeEventCb cb, void *user_data,
                                                      CBoxliteError *out_error);
/* The same from a time on (unix time in ms, 0: all that is kept): first what has happened, then events.current, then what
 * happens. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_runtime_on_event_since(CBoxliteRuntime *runtime, int64_t since_ms, CRuntimeEventCb cb,
                                                            void *user_data, CBoxliteError *out_error);

/* The value of a fact, NULL when there is none of that name. Borrowed until boxlite_info_free. Extension. */
BOXLITE_API const char *boxlite_info_get(const CBoxliteInfo *info, const char *key);

/* The name of fact number `index`, NULL behind the last one. Borrowed until boxlite_info_free. Extension. */
BOXLITE_API const char *boxlite_info_key(const CBoxliteInfo *info, int index);

BOXLITE_API void boxlite_info_free(CBoxliteInfo *info);

/* ---- options ------------------------------------------------------------------------------------------- */

/*
 * What a box shall be, with its image (NULL: "alpine:latest"). Freed by boxlite_options_free, or consumed by
 * the call that makes a box. Setters copy what they are given and ignore NULL and numbers that are not
 * positive, unless they say otherwise; values are checked when the box is made, and the error names the
 * field. Options are used by one thread at a time.
 */
BOXLITE_API BoxliteErrorCode boxlite_options_new(const char *image, CBoxliteOptions **out_options,
                                                 CBoxliteError *out_error);
BOXLITE_API void boxlite_options_free(CBoxliteOptions *options);

/* A folder in OCI layout that has the box's image, which then needs no name; that of boxlite_options_new is ignored. The first start
 * takes it from there, as it is then, as boxlite_image_load would, but without storing it: an image that is there as before needs no new
 * disk. The box keeps its disk; the folder is not needed any more. A relative path is one of the working directory now. */
BOXLITE_API void boxlite_options_set_rootfs_path(CBoxliteOptions *options, const char *path);
/* A unique name: [a-zA-Z0-9][a-zA-Z0-9._-]*, at most 128 characters. */
BOXLITE_API void boxlite_options_set_name(CBoxliteOptions *options, const char *name);
/* Virtual processors, 1 to 32; default 1. */
BOXLITE_API void boxlite_options_set_cpus(CBoxliteOptions *options, int cpus);
/* Memory in MiB, 128 to 65536, rounded up to a multiple of 64; default 1024. */
BOXLITE_API void boxlite_options_set_memory(CBoxliteOptions *options, int memory_mib);
/* Size of the root file system in GiB; default 10, and never less than the image takes. Space is taken as it
 * is used. */
BOXLITE_API void boxlite_options_set_disk_size_gb(CBoxliteOptions *options, int disk_size_gb);
/* Working directory of commands; default the image's, else "/". Made when it is missing. */
BOXLITE_API void boxlite_options_set_workdir(CBoxliteOptions *options, const char *workdir);
/* Adds a variable to the environment of every command, over the image's. */
BOXLITE_API void boxlite_options_add_env(CBoxliteOptions *options, const char *key, const char *value);
/* name|uid[:group|gid] that commands run as; default the image's, else root. Extension. */
BOXLITE_API void boxlite_options_set_user(CBoxliteOptions *options, const char *user);
/*
 * The network. A box has one unless it is disabled. Without rules it may reach everything but what is guarded: the host
 * itself, the host's private networks, link-local addresses and cloud metadata. With rules it may reach only what they
 * name. Names are held to what TLS and HTTP ask for, and never lead to a guarded address. Connections are refused as a
 * firewall does (EHOSTUNREACH); names that are denied have the address 0.0.0.0. What contradicts (rules or ports with
 * the network disabled) makes create fail.
 */
BOXLITE_API void boxlite_options_set_network_enabled(CBoxliteOptions *options);
/* No interface but loopback, and nothing can be begun outward. */
BOXLITE_API void boxlite_options_set_network_disabled(CBoxliteOptions *options);
/* One rule: "pypi.org", "*.pypi.org", "192.0.2.7", "10.1.0.0/16", each with an optional ":port"; "*" is everything that
 * is not guarded. Guarded addresses need a rule that names them as addresses, a block no larger than /8;
 * "host.boxlite.internal" is the host's loopback. A rule that makes no sense makes create fail, naming it. */
BOXLITE_API void boxlite_options_add_network_allow(CBoxliteOptions *options, const char *host);
/* Publishes a port of the box on the host, at most 64. host_port 0: the host chooses, CBoxInfo tells. host_ip NULL: 127.0.0.1;
 * "0.0.0.0" is every address of the host. A port that is taken makes the start fail, naming it. */
BOXLITE_API BoxliteErrorCode boxlite_options_add_port(CBoxliteOptions *options, uint16_t host_port, uint16_t guest_port,
                                                      BoxlitePortProtocol protocol, const char *host_ip,
                                                      CBoxliteError *out_error);
/*
 * What this version cannot give yet, a folder or file of the host in the box, a value that the box sees only as
 * `placeholder`, a stop after so many idle seconds (0: never), makes the call that makes the box fail with Unsupported,
 * naming it.
 */
BOXLITE_API void boxlite_options_add_volume(CBoxliteOptions *options, const char *host_path, const char *guest_path,
                                            int read_only);
BOXLITE_API void boxlite_options_add_secret(CBoxliteOptions *options, const char *name, const char *value,
                                            const char *placeholder, const char *const *hosts, int hosts_count);
BOXLITE_API void boxlite_options_set_auto_stop_interval(CBoxliteOptions *options, uint32_t seconds);
/* 0: a command does not start the box again once it was stopped (InvalidState): only boxlite_start_box does; default 1. */
BOXLITE_API void boxlite_options_set_auto_resume_enabled(CBoxliteOptions *options, int enabled);
/* Whether stopping the box removes it; default 0. Incompatible with detach. Deprecated:
 * boxlite_options_set_auto_delete_interval. */
BOXLITE_API void boxlite_options_set_auto_remove(CBoxliteOptions *options, int auto_remove);
/* 0: the box is kept when it stops; more: it is removed then. Wins over auto_remove. */
BOXLITE_API void boxlite_options_set_auto_delete_interval(CBoxliteOptions *options, uint32_t seconds);
/* Whether the box outlives the program that starts it; default 0. */
BOXLITE_API void boxlite_options_set_detach(CBoxliteOptions *options, int detach);
/*
 * The main process is entrypoint, then cmd; the box ends when it ends. Both default to the image's, cmd only
 * where no entrypoint was given here. An empty list (count 0) counts as given. A box for which neither was
 * given idles until it is stopped, and does not run its image's command, unless boxlite_options_set_main says
 * so.
 */
BOXLITE_API void boxlite_options_set_entrypoint(CBoxliteOptions *options, const char *const *args, int count);
BOXLITE_API void boxlite_options_set_cmd(CBoxliteOptions *options, const char *const *args, int count);
/* 1: the box has a main process also when neither entrypoint nor cmd was given: the image's. Extension. */
BOXLITE_API void boxlite_options_set_main(CBoxliteOptions *options, int enabled);
/* 1: the main process has a terminal. Extension. */
BOXLITE_API void boxlite_options_set_tty(CBoxliteOptions *options, int enabled);
/* 1: the main process's stdin stays open until it is closed; default 0: it is at its end from the start.
 * Extension. */
BOXLITE_API void boxlite_options_set_stdin_open(CBoxliteOptions *options, int enabled);
/*
 * What runs the box: "kvm" (hardware virtualization), "tcg" (emulation: works everywhere, slower), "auto"
 * (default: kvm where it works, else tcg). A box that demands "kvm" where it cannot run fails to start with
 * UnsupportedEngine, the reason and the remedy. Extension.
 *
 * SECURITY NOTE: QEMU's project does not treat emulation as a security boundary. A box on "tcg" is held by
 * its jail: see the threat model. boxlite_box_engine says which engine a box has.
 */
BOXLITE_API void boxlite_options_set_engine(CBoxliteOptions *options, const char *engine);

/* How the health of a box is checked. Set `size`; zero means default. Extension. */
typedef struct BoxliteHealthCheck {
    size_t size;             /* sizeof(BoxliteHealthCheck) */
    const char *const *cmd;  /* what is run in the box: 0 is healthy; NULL: whether the box's agent answers */
    int64_t interval_ms;     /* from the start, and from one check to the next, 100 to a day; 30 s */
    int64_t timeout_ms;      /* of a check, which then counts as failed, 100 to a day; 10 s */
    int64_t start_period_ms; /* after the start in which failures do not count, up to a day; 60 s; less than 0: none */
    int64_t retries;         /* failures in a row that make it unhealthy, 1 to 1000; 3 */
    int32_t cmd_count;
    int32_t reserved;
} BoxliteHealthCheck;
/* clang-format off */
#define BOXLITE_HEALTH_CHECK_INIT { sizeof(BoxliteHealthCheck), NULL, 0, 0, 0, 0, 0, 0 }
/* clang-format on */

/* Has the box's health checked while it runs, by its supervisor, whichever programs there are. NULL: not (default). What it
 * says is in boxlite_box_details, its changes are events (boxlite_runtime_on_event). Nothing else is done about a box that
 * is not healthy. Errors: InvalidArgument, naming the field. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_options_set_health_check(CBoxliteOptions *options, const BoxliteHealthCheck *check,
                                                              CBoxliteError *out_error);

/* Takes a copy of the advanced options (below). */
BOXLITE_API void boxlite_options_set_advanced(CBoxliteOptions *options, const CAdvancedBoxOptions *advanced);

/*
 * Advanced options. A new object has the default: all walls, no limits, Docker's capabilities. It is freed by
 * boxlite_advanced_options_free, also after boxlite_options_set_advanced. What they say is kept with the box, for every
 * start and every program. Setters ignore a NULL object; numbers are checked when the box is made, and the error names
 * the field.
 */
BOXLITE_API BoxliteErrorCode boxlite_advanced_options_new(CAdvancedBoxOptions **out_options,
                                                          CBoxliteError *out_error);
BOXLITE_API void boxlite_advanced_options_free(CAdvancedBoxOptions *options);

/*
 * Sets all nine fields below: "development" (no jailer, no seccomp, no limits: to find out whether a wall is in the
 * way), "standard" (all walls, no limits: the default), "maximum" (also 1024 open files, files of 1 GiB, 100
 * processes). A wall that this host refuses is reported (boxlite_box_details, fact jail); but a box with both walls and
 * limits of open files, file size and processes, as "maximum" has, starts only where namespaces or Landlock hold its
 * machine, beside what every jail has: no_new_privs, the filters, no capability, limits. Else its start fails with Engine,
 * and the error says what to do. Errors: InvalidArgument. Extension.
 */
BOXLITE_API BoxliteErrorCode boxlite_advanced_options_set_security_preset(CAdvancedBoxOptions *options,
                                                                          const char *preset,
                                                                          CBoxliteError *out_error);
/* jailer_enabled, seccomp_enabled and close_fds at once. */
BOXLITE_API void boxlite_advanced_options_set_security_enabled(CAdvancedBoxOptions *options, int enabled);
/*
 * What holds the machine on the host; default 1. jailer_enabled: namespaces, a root of its own, another user, no
 * capabilities, a control group, Landlock. seccomp_enabled: the filters of system calls, also that of the box's commands (as
 * Docker's default profile; a refused call is EPERM, one of a 32-bit program SIGSYS). Without them whoever breaks out of the
 * machine is a program of the user who started the box, so switch them off to look for the cause of a trouble only.
 * Extensions.
 */
BOXLITE_API void boxlite_advanced_options_set_jailer_enabled(CAdvancedBoxOptions *options, int enabled);
BOXLITE_API void boxlite_advanced_options_set_seccomp_enabled(CAdvancedBoxOptions *options, int enabled);
/* 0: the box has no network, as boxlite_options_set_network_disabled, whatever else its options say of it. Default 1.
 * Extension. */
BOXLITE_API void boxlite_advanced_options_set_network_enabled(CAdvancedBoxOptions *options, int enabled);
/* 0: descriptors of the program need not be closed. They always are: no process of a box inherits any. Default 1.
 * Extension. */
BOXLITE_API void boxlite_advanced_options_set_close_fds(CAdvancedBoxOptions *options, int enabled);
/* Limits of commands, 0: none (default). Open files, bytes of a file, bytes of virtual memory and seconds of processor time are
 * of each process (more files than that: EMFILE; a larger file: SIGXFSZ; more memory: ENOMEM; more time: SIGKILL). Extensions. */
BOXLITE_API void boxlite_advanced_options_set_max_open_files(CAdvancedBoxOptions *options, uint64_t files);
BOXLITE_API void boxlite_advanced_options_set_max_file_size(CAdvancedBoxOptions *options, uint64_t bytes);
BOXLITE_API void boxlite_advanced_options_set_max_memory(CAdvancedBoxOptions *options, uint64_t bytes);
BOXLITE_API void boxlite_advanced_options_set_max_cpu_time(CAdvancedBoxOptions *options, uint64_t seconds);
/* Processes of the whole box, threads counted; 0: 4 for each MiB of its memory, at most 32768. Extension. */
BOXLITE_API void boxlite_advanced_options_set_max_processes(CAdvancedBoxOptions *options, uint64_t processes);

/*
 * What root in the box may do, as Docker has it: names with or without CAP_, in any case, or ALL. Each call replaces its list.
 * The result is Docker's default (CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW
 * SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP) without the dropped and with the added; with ALL added all but the dropped; with ALL
 * dropped the added alone. A name that is none, or NULL, is InvalidArgument, and no box is made with these options then.
 */
BOXLITE_API BoxliteErrorCode boxlite_advanced_options_set_capabilities_add(CAdvancedBoxOptions *options,
                                                                           const char *const *names, int count);
BOXLITE_API BoxliteErrorCode boxlite_advanced_options_set_capabilities_drop(CAdvancedBoxOptions *options,
                                                                            const char *const *names, int count);

/* ---- boxes --------------------------------------------------------------------------------------------- */

/*
 * Makes a box, in state "configured": nothing runs yet. The callback's handle is freed with boxlite_box_free.
 *
 * When Ok is returned the options are consumed: do not use or free them. Otherwise they remain the caller's.
 * Errors: InvalidArgument (an option, a name that is taken, remove-on-stop with detach), Unsupported, Database, Storage. An image that is not there is
 * pulled at the first start.
 */
BOXLITE_API BoxliteErrorCode boxlite_create_box(CBoxliteRuntime *runtime, CBoxliteOptions *options,
                                                CBoxCreateBoxCb cb, void *user_data,
                                                CBoxliteError *out_error);

/* Gives the box with the options' name, or makes it; `created` tells which. Without a name it is
 * boxlite_create_box. Options of an existing box are not changed; one with other capabilities is AlreadyExists. Consumes the
 * options as boxlite_create_box does. */
BOXLITE_API BoxliteErrorCode boxlite_get_or_create_box(CBoxliteRuntime *runtime, CBoxliteOptions *options,
                                                       CBoxGetOrCreateBoxCb cb, void *user_data,
                                                       CBoxliteError *out_error);

/* A handle on an existing box by id, name, or at least four first characters of an id. NotFound (to the
 * callback) when there is none. */
BOXLITE_API BoxliteErrorCode boxlite_get(CBoxliteRuntime *runtime, const char *id_or_name, CBoxGetBoxCb cb,
                                         void *user_data, CBoxliteError *out_error);

/* Removes a box and its disk. A running one is refused with InvalidState, unless `force`: it is then ended at
 * once. */
BOXLITE_API BoxliteErrorCode boxlite_remove(CBoxliteRuntime *runtime, const char *id_or_name, int force,
                                            CBoxRemoveBoxCb cb, void *user_data, CBoxliteError *out_error);

/*
 * Starts a box; answered when its agent has acknowledged this start. Nothing happens to one that runs; one that is paused
 * is InvalidState.
 *
 * The first start on a host judges the engine, the first of an image pulls it when it is not there (as
 * boxlite_image_pull does) and makes its disk, the first of a shape its template; programs that want the same thing at
 * the same time make it once. Errors: those of boxlite_image_pull, Image (unreadable), UnsupportedEngine, Engine (with the end of the console), Storage, Stopped.
 */
BOXLITE_API BoxliteErrorCode boxlite_start_box(CBoxHandle *box, CBoxStartBoxCb cb, void *user_data,
                                               CBoxliteError *out_error);

/*
 * Stops a box: ends its processes (TERM, then KILL), writes its disk, ends the machine. Nothing happens to
 * one that does not run. The handle is void afterwards (Stopped): boxlite_get gives a new one. A box with
 * remove-on-stop is removed.
 */
BOXLITE_API BoxliteErrorCode boxlite_stop_box(CBoxHandle *box, CBoxStopBoxCb cb, void *user_data,
                                              CBoxliteError *out_error);

/*
 * Stops a box as boxlite_stop_box does and starts it again; one that does not run is started. The handle stays good, and a
 * box with remove-on-stop stays. Its commands are ended; those posted from now on wait for the new start. A detached
 * box stays detached. A stop or remove posted before the box runs again wins: the restart is answered with Stopped.
 * Errors: those of boxlite_start_box, InvalidState (it is being stopped). Extension.
 */
BOXLITE_API BoxliteErrorCode boxlite_restart_box(CBoxHandle *box, CBoxStartBoxCb cb, void *user_data,
                                                 CBoxliteError *out_error);

/*
 * Makes the machine of a box that runs stand still, or go on; answered when it does. Its memory stays, it takes no processor
 * time, and its commands and their time limits wait with it. What the box is asked for meanwhile (commands, files, signals,
 * connections, start) is InvalidState and says that it is paused; what was under way goes on when it does. Stopping, restarting and
 * removing work. Its status is "paused" for every program, and any may resume it, also when the one that paused it has ended.
 * The box's clock is set when it goes on. Nothing happens to a box that is paused already, or is not.
 * Errors: InvalidState (it does not run, or is being stopped), NotFound, Unsupported (it was started by an older version),
 * Storage, Engine. Extension.
 */
BOXLITE_API BoxliteErrorCode boxlite_box_pause(CBoxHandle *box, CBoxPauseCb cb, void *user_data, CBoxliteError *out_error);
BOXLITE_API BoxliteErrorCode boxlite_box_resume(CBoxHandle *box, CBoxPauseCb cb, void *user_data, CBoxliteError *out_error);

/* Whether the starts of this box from now on outlive the program that makes them, whatever the box was made
 * with. A box that runs is not touched. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_set_detached(CBoxHandle *box, int detached,
                                                      CBoxliteError *out_error);

/* The box's id: 12 characters [0-9A-Za-z]. Free with boxlite_free_string; NULL for NULL. */
BOXLITE_API char *boxlite_box_id(CBoxHandle *box);
/* The box's name, NULL when it has none. Free with boxlite_free_string. Extension. */
BOXLITE_API char *boxlite_box_name(CBoxHandle *box);
/* "kvm" or "tcg": the engine of the box's last start; NULL before the first. Free with boxlite_free_string.
 * Extension. */
BOXLITE_API char *boxlite_box_engine(CBoxHandle *box);
/* Frees the handle; the box and its executions go on. */
BOXLITE_API void boxlite_box_free(CBoxHandle *box);

/* What a box is and does now. Free with boxlite_free_box_info. */
BOXLITE_API BoxliteErrorCode boxlite_box_info(CBoxHandle *box, CBoxInfoCb cb, void *user_data,
                                              CBoxliteError *out_error);
BOXLITE_API BoxliteErrorCode boxlite_get_info(CBoxliteRuntime *runtime, const char *id_or_name, CBoxInfoCb cb,
                                              void *user_data, CBoxliteError *out_error);
/* All boxes, newest first. Free with boxlite_free_box_info_list. */
BOXLITE_API BoxliteErrorCode boxlite_list_info(CBoxliteRuntime *runtime, CBoxInfoListCb cb, void *user_data,
                                               CBoxliteError *out_error);
/*
 * More about a box, as named facts. Extension.
 *
 * Keys, where known: id, name, status, image, engine, message (why it failed), exit_code (of the main
 * process), detached, created_at_ms, started_at_ms, stopped_at_ms, dir, disk (path of what the box has written), disk_bytes (that
 * it takes), disk_size (that the box sees), disk_base (path of the image's part of it), capabilities (a JSON array), jailer_enabled,
 * seccomp_enabled, network_enabled, close_fds, and where there is a limit max_open_files, max_file_size, max_processes,
 * max_memory, max_cpu_time; of a running box also pid, qemu_pid, kernel,
 * jail (the layers that hold, and why one does not), spawn_us, restore_us, start_us, uptime_ms, memory_bytes, cpu_ns (of the
 * host: the box's processes), execs_total, execs_running, exec_errors, bytes_sent, bytes_received, clients; the stages of
 * its start, stage_filesystem_setup_us, stage_image_prepare_us, stage_guest_rootfs_us, stage_box_config_us,
 * stage_box_spawn_us and stage_container_init_us; and as the machine's kernel counts them, of all its commands and what they
 * left behind, guest_memory_bytes, guest_memory_max, guest_cpu_us, guest_processes. Of a box with a network also
 * network_bytes_sent, network_bytes_received, network_connections (now), network_connections_total, network_refused (by its
 * rules), network_failed and network_refusals: of the last 32 different refusals a JSON array of objects, the newest last, with
 * time_ms (the last time), protocol (tcp, udp, or name: it was looked up), address, port, name, reason and times. Of a box with a health check: health_cmd (a JSON array), health_interval_ms, health_timeout_ms,
 * health_start_period_ms, health_retries; while it runs also health (starting, healthy or unhealthy), health_failures (in a
 * row), health_checked_at_ms, health_output (of the last check).
 */
BOXLITE_API BoxliteErrorCode boxlite_box_details(CBoxHandle *box, CBoxliteInfoCb cb, void *user_data,
                                                 CBoxliteError *out_error);

/* What the box takes and did. Does not start it. The metrics are borrowed until the callback returns. Errors: NotFound (it
 * was removed). */
BOXLITE_API BoxliteErrorCode boxlite_box_metrics(CBoxHandle *box, CBoxMetricsCb cb, void *user_data,
                                                 CBoxliteError *out_error);

/*
 * Answers when the box does not run, at once when it does not run now: with the exit code of its main process, 0 when it has
 * none. Any number of waits may be posted; a restart ends them. The handle stays good. A box that failed is answered with Engine, and why.
 * Errors: NotFound, InvalidState (it was removed, or started again, by another program). Extension.
 */
BOXLITE_API BoxliteErrorCode boxlite_box_wait(CBoxHandle *box, CBoxWaitCb cb, void *user_data,
                                              CBoxliteError *out_error);

/* The processes of a box that runs, by number, without need of anything in its image. Does not start it. The list is borrowed until
 * the callback returns. boxlite_box_cancel_files gives it up: a process can hold its own line back. Errors: InvalidState (it does not
 * run), Unsupported (it was started by an older version). Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_processes(CBoxHandle *box, CBoxProcessListCb cb, void *user_data,
                                                   CBoxliteError *out_error);

BOXLITE_API void boxlite_free_box_info(CBoxInfo *info);
BOXLITE_API void boxlite_free_box_info_list(CBoxInfoList *list);

/* ---- commands in boxes --------------------------------------------------------------------------------- */

/* More about how to run a command. Set `size`; zero means default. Extension. */
typedef struct BoxliteExecOptions {
    size_t size;          /* sizeof(BoxliteExecOptions) */
    int32_t stdin_closed; /* stdin is at its end from the start */
    int32_t detached;     /* goes on without us; its output is kept in the box until somebody attaches */
    uint32_t rows;        /* of the terminal */
    uint32_t cols;
    uint64_t max_open_files; /* of each of its processes; 0: as the box's commands have it, likewise below */
    uint64_t max_file_size;  /* bytes */
    uint64_t max_processes;  /* of the command and all it starts, threads counted, beside the box's own limit */
    uint64_t max_memory;     /* virtual memory of each of its processes, bytes */
    uint64_t max_cpu_time;   /* of each of its processes, seconds; then it is killed (137) */
} BoxliteExecOptions;
/* clang-format off */
#define BOXLITE_EXEC_OPTIONS_INIT { sizeof(BoxliteExecOptions), 0, 0, 0, 0, 0, 0, 0, 0, 0 }
/* clang-format on */

/*
 * Runs a command: BLOCKS until the box has accepted it, starting the box when it does not run (not one with a
 * main process: InvalidState). Other events of the runtime are kept for the next drain. boxlite_box_exec_post
 * is the form that does not block.
 *
 * The execution is freed with boxlite_execution_free. stdin is open until it is closed.
 * Errors: Execution (not found, cannot be run, no such directory or user), and those of boxlite_start_box.
 */
BOXLITE_API BoxliteErrorCode boxlite_box_exec(CBoxHandle *box, const BoxliteCommand *command,
                                              CExecutionHandle **out_execution, CBoxliteError *out_error);

/* The same, posted. `options` may be NULL. A command that cannot be run is answered with Execution; the text
 * says whether it was not found. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_exec_post(CBoxHandle *box, const BoxliteCommand *command,
                                                   const BoxliteExecOptions *options, CBoxExecCb cb,
                                                   void *user_data, CBoxliteError *out_error);

/*
 * A handle on a command that runs already: by id, or with NULL on the main process. Before the box is started
 * this takes hold of the main process to come: register callbacks, then start, and nothing is lost. Freeing
 * such a handle does not end the command.
 */
BOXLITE_API BoxliteErrorCode boxlite_box_attach_execution(CBoxHandle *box, const char *execution_id,
                                                          CBoxExecCb cb, void *user_data,
                                                          CBoxliteError *out_error);

/* The execution's id ("main" for the main process). Free with boxlite_free_string. Extension. */
BOXLITE_API char *boxlite_execution_id(CExecutionHandle *execution);

/*
 * Delivers output as it comes, in pieces as they come; each may be registered once. Data is borrowed until
 * the callback returns, and its stream's writer is stopped when 1 MiB was not yet delivered. Output that
 * nobody registered for within a second never stops the writer: its first and last 512 KiB are kept, for a
 * later registration or boxlite_execution_kept.
 */
BOXLITE_API BoxliteErrorCode boxlite_execution_on_stdout(CExecutionHandle *execution, CBoxStdoutCb cb,
                                                         void *user_data, CBoxliteError *out_error);
BOXLITE_API BoxliteErrorCode boxlite_execution_on_stderr(CExecutionHandle *execution, CBoxStderrCb cb,
                                                         void *user_data, CBoxliteError *out_error);
/*
 * Stops (1) and resumes (0) the delivery of a stream, 1 stdout or 2 stderr, to its callback, for programs that cannot use
 * output as fast as it comes. Meanwhile its writer is stopped when 1 MiB waits, and neither on_exit nor a wait is answered
 * as long as any of it waits. May be called in the callback. Extension.
 */
BOXLITE_API BoxliteErrorCode boxlite_execution_pause(CExecutionHandle *execution, int stream, int paused,
                                                     CBoxliteError *out_error);
/* Delivers the exit code, once, after all output: 0-255; 128+N when signal N ended it; -1 when the box failed
 * before it was known; -129 when the handle was freed before the end. */
BOXLITE_API BoxliteErrorCode boxlite_execution_on_exit(CExecutionHandle *execution, CBoxExitCb cb,
                                                       void *user_data, CBoxliteError *out_error);

/*
 * Queues bytes for stdin; all or nothing, never blocks. ResourceExhausted when they are more than
 * boxlite_execution_stdin_room: write less, or later (boxlite_execution_on_writable). InvalidState after
 * boxlite_execution_stdin_close or when the process has closed its end.
 */
BOXLITE_API BoxliteErrorCode boxlite_execution_stdin_write(CExecutionHandle *execution, const uint8_t *data,
                                                           size_t len, CBoxliteError *out_error);
/* How many bytes stdin takes now (at most 1 MiB). 0 after its end. Extension. */
BOXLITE_API size_t boxlite_execution_stdin_room(CExecutionHandle *execution);
/* Calls `cb` each time at least half of the room is free again after less was. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_execution_on_writable(CExecutionHandle *execution,
                                                           CExecutionWritableCb cb, void *user_data,
                                                           CBoxliteError *out_error);
/* Ends stdin after what is queued. May be repeated. */
BOXLITE_API BoxliteErrorCode boxlite_execution_stdin_close(CExecutionHandle *execution,
                                                           CBoxliteError *out_error);

/* Answers with the exit code when the command has ended and its output was delivered; any number of waits may
 * be posted. */
BOXLITE_API BoxliteErrorCode boxlite_execution_wait(CExecutionHandle *execution, CExecutionWaitCb cb,
                                                    void *user_data, CBoxliteError *out_error);
/* Kills the command and everything it started. Nothing happens when it has ended. */
BOXLITE_API BoxliteErrorCode boxlite_execution_kill(CExecutionHandle *execution, CExecutionKillCb cb,
                                                    void *user_data, CBoxliteError *out_error);
/* Sends signal 1..64 (Linux numbers) to the command; on a terminal to its foreground process group. */
BOXLITE_API BoxliteErrorCode boxlite_execution_signal(CExecutionHandle *execution, int signal,
                                                      CExecutionSignalCb cb, void *user_data,
                                                      CBoxliteError *out_error);
/* Sets the size of the command's terminal; InvalidState when it has none. */
BOXLITE_API BoxliteErrorCode boxlite_execution_tty_resize(CExecutionHandle *execution, int rows, int cols,
                                                          CExecutionResizeCb cb, void *user_data,
                                                          CBoxliteError *out_error);

/* How a command ended. Extension. Fields are only ever appended. */
typedef struct BoxliteExecutionResult {
    size_t size;       /* in: sizeof(BoxliteExecutionResult) of the caller */
    int32_t exit_code; /* as boxlite_execution_on_exit delivers it */
    int32_t signal;    /* that ended it, or 0 */
    int32_t oom;       /* it, or a process of it, was killed for lack of memory */
    int32_t timed_out;
    int32_t killed;           /* by boxlite_execution_kill, by a freed handle or by stop */
    int32_t stdout_truncated; /* a part in the middle was dropped because nobody read */
    int32_t stderr_truncated;
    int32_t reserved;
    uint64_t user_us;
    uint64_t system_us;
    uint64_t wall_us;
    uint64_t max_rss_bytes;
    const char *message; /* for a person: why it was killed or lost; "" when there is nothing to say. Borrowed until
                          * boxlite_execution_free */
} BoxliteExecutionResult;
/* clang-format off */
#define BOXLITE_EXECUTION_RESULT_INIT { sizeof(BoxliteExecutionResult), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
/* clang-format on */

/* Fills *result for a command that has ended; InvalidState before. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_execution_result(CExecutionHandle *execution,
                                                      BoxliteExecutionResult *result,
                                                      CBoxliteError *out_error);

/*
 * Output that was kept because nobody registered for it: stream 1 is stdout, 2 is stderr. A copy in *out_data
 * (freed with boxlite_free_string, NUL-terminated behind *out_len bytes). InvalidState while the command runs
 * or when a callback is registered for that stream. Extension.
 */
BOXLITE_API BoxliteErrorCode boxlite_execution_kept(CExecutionHandle *execution, int stream, char **out_data,
                                                    size_t *out_len, CBoxliteError *out_error);

/* Frees the handle, without waiting. A command that still runs and is neither detached nor attached to is
 * killed with everything it started, and on_exit delivers -129. */
BOXLITE_API void boxlite_execution_free(CExecutionHandle *execution);

/* ---- files of boxes ------------------------------------------------------------------------------------ */

/*
 * Work on a box's files starts a box that does not run, as boxlite_box_exec_post does. Paths in the box are taken from
 * its root, whatever its links say: none leads to files outside of it. /tmp, /dev and other file systems that are mounted
 * in the box are seen as its processes see them. Answers of a kind:
 *
 *   NotFound           no such file or folder ("not found: /x: No such file or directory")
 *   AlreadyExists      it is there and was not to be overwritten, or is a folder where a file is to be (or the reverse)
 *   Storage            a file system said no: no space left, read-only, no permission ...
 *   InvalidArgument    not a file, not a folder, a folder without `recursive`
 *   ResourceExhausted  more than a call, or max_bytes, allows; the box is out of memory
 *   Stopped, Portal    the box ended, or the work was ended in it
 *   Unsupported        the box was started by a version that does not know files
 *
 * Copies end with "(on the host)" or "(in the box)" where it matters. A file is there when it is whole, or not at all; of
 * a tree what was copied before a failure stays.
 */

/* How to copy. Set `size`; use BOXLITE_COPY_OPTIONS_INIT, which copies folders and overwrites. Extension. */
typedef struct BoxliteCopyOptions {
    size_t size;
    int32_t overwrite;       /* 1: files that are there are replaced; 0: they are an error. Folders are filled */
    int32_t follow_symlinks; /* 1: links stand for what they lead to; 0: they are copied as links */
    int32_t include_parent;  /* 1: a folder comes to be in the destination under its own name; 0: its content does */
    int32_t recursive;       /* 0: a folder is an error */
    int32_t keep_owner;      /* 1: owner and group are kept, as numbers, and in the box setuid and setgid bits. On the
                              * host that takes root. 0: what is made belongs to who makes it */
    int32_t all_links;       /* 1: out of a box also links that lead out of what is copied; 0: those are left out */
    const char *user;        /* name|uid[:group|gid] who reads or writes in the box; NULL: root */
    uint64_t max_bytes;      /* out of a box: more is ResourceExhausted (each entry counts 512 besides). 0: any number */
} BoxliteCopyOptions;
/* clang-format off */
#define BOXLITE_COPY_OPTIONS_INIT { sizeof(BoxliteCopyOptions), 1, 0, 1, 1, 0, 0, NULL, 0 }
/* clang-format on */

/* What a copy has done. Fields are only ever appended. Extension. */
typedef struct CBoxCopyResult {
    size_t size; /* sizeof(CBoxCopyResult) of the library */
    uint64_t files, folders, links;
    uint64_t bytes;    /* of the files, without holes */
    uint64_t left_out; /* pipes, sockets, devices; /proc, /sys and their like; links that lead nowhere (when they are followed) or
                        * out of what is copied out of a box */
} CBoxCopyResult;

typedef void (*CBoxCopyCb)(CBoxliteError *error, void *user_data);
/* The result is borrowed; NULL on failure. Likewise below. */
typedef void (*CBoxCopyResultCb)(const CBoxCopyResult *result, CBoxliteError *error, void *user_data);

/*
 * Copies a file, link or folder of the host into a box.
 *
 * A file goes into `guest_dst` when that is a folder or ends with '/', else it becomes `guest_dst`; a folder comes to be in
 * `guest_dst` under its own name ("src/." and "..": its content does). Folders on the way are made. Modes and times are
 * kept, holes stay holes, hard links become files of their own, extended attributes are not copied. What is made belongs to
 * root. `host_src` may be relative; /dev/stdin and /dev/fd/N mean that descriptor of this program: what comes from it
 * becomes one file. The work is done by a process of its own with this program's rights: no file of the host is opened here.
 */
BOXLITE_API BoxliteErrorCode boxlite_copy_into(CBoxHandle *box, const char *host_src, const char *guest_dst,
                                               CBoxCopyCb cb, void *user_data, CBoxliteError *out_error);
/*
 * Copies out of a box, by the same rules. `host_dst` /dev/stdout, /dev/fd/N, or a pipe or device that is there: the bytes of
 * one file are written to it.
 *
 * SECURITY NOTE: what comes out of a box is made by whoever it runs. It cannot make or change anything on the host but in
 * `host_dst`, no device, no setuid file, no link out of the copied tree (unless all_links): but names, contents and sizes are
 * theirs. max_bytes of boxlite_box_copy_out bounds them.
 */
BOXLITE_API BoxliteErrorCode boxlite_copy_out(CBoxHandle *box, const char *guest_src, const char *host_dst,
                                              CBoxCopyCb cb, void *user_data, CBoxliteError *out_error);
/* The same with options (NULL: the default) and with what was done. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_copy_in(CBoxHandle *box, const char *host_src, const char *guest_dst,
                                                 const BoxliteCopyOptions *options, CBoxCopyResultCb cb,
                                                 void *user_data, CBoxliteError *out_error);
BOXLITE_API BoxliteErrorCode boxlite_box_copy_out(CBoxHandle *box, const char *guest_src, const char *host_dst,
                                                  const BoxliteCopyOptions *options, CBoxCopyResultCb cb,
                                                  void *user_data, CBoxliteError *out_error);

/* More about a call on files. Set `size`; zero means default. Extension. */
typedef struct BoxliteFileOptions {
    size_t size;             /* sizeof(BoxliteFileOptions) */
    int32_t no_overwrite;    /* write, rename: what is there already is an error */
    int32_t parents;         /* write, mkdir, rename: folders on the way are made; mkdir: one that is there is fine */
    int32_t recursive;       /* remove: a folder with all that is in it */
    int32_t follow_symlinks; /* stat: of what a link leads to */
    uint32_t mode;           /* write: 0 is that of the file that is replaced, else 0644; mkdir: 0 is 0755 */
    int32_t reserved;
    uint64_t offset, length; /* read: from where, and how many bytes (0: all) */
    const char *user;        /* name|uid[:group|gid] who does it; NULL: root */
} BoxliteFileOptions;
/* clang-format off */
#define BOXLITE_FILE_OPTIONS_INIT { sizeof(BoxliteFileOptions), 0, 0, 0, 0, 0, 0, 0, 0, NULL }
/* clang-format on */

/* Values are never reused. Extension. */
typedef enum BoxliteFileType {
    BoxliteFileTypeFile = 1,
    BoxliteFileTypeFolder = 2,
    BoxliteFileTypeLink = 3,
    BoxliteFileTypeOther = 4 /* pipe, socket, device */
} BoxliteFileType;

/* A file in a box. Fields are only ever appended. Extension. */
typedef struct CBoxFileInfo {
    size_t size;             /* sizeof(CBoxFileInfo) of the library */
    const char *name;        /* the last component of its path; "" for "/". Bytes, not always UTF-8 */
    const char *link_target; /* "" unless it is a link */
    int32_t type;            /* enum BoxliteFileType */
    uint32_t mode;           /* permissions, 07777 */
    uint32_t uid, gid;
    uint64_t bytes;   /* of a file */
    int64_t mtime_ns; /* unix time */
} CBoxFileInfo;

typedef struct CBoxFileInfoList {
    const CBoxFileInfo *const *items;
    int count;
} CBoxFileInfoList;

typedef void (*CBoxFileDoneCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxFileDataCb)(const uint8_t *data, size_t len, CBoxliteError *error, void *user_data);
typedef void (*CBoxFileInfoCb)(const CBoxFileInfo *info, CBoxliteError *error, void *user_data);
typedef void (*CBoxFileListCb)(const CBoxFileInfoList *list, CBoxliteError *error, void *user_data);

/* What a file holds, at most 64 MiB (more: ResourceExhausted; read it in parts, or copy it). Links are followed. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_read_file(CBoxHandle *box, const char *path,
                                                   const BoxliteFileOptions *options, CBoxFileDataCb cb,
                                                   void *user_data, CBoxliteError *out_error);
/* Makes or replaces a file, at once when all of it is there; at most 64 MiB, copied before this returns. A file that is
 * replaced leaves its owner and mode to the new one. Links are followed. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_write_file(CBoxHandle *box, const char *path, const uint8_t *data, size_t len,
                                                    const BoxliteFileOptions *options, CBoxFileDoneCb cb,
                                                    void *user_data, CBoxliteError *out_error);
/* What is in a folder, by name, without "." and ".."; at most 65536 entries (more: ResourceExhausted). Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_list_dir(CBoxHandle *box, const char *path,
                                                  const BoxliteFileOptions *options, CBoxFileListCb cb,
                                                  void *user_data, CBoxliteError *out_error);
/* What is at a path; of a link itself unless follow_symlinks. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_stat(CBoxHandle *box, const char *path, const BoxliteFileOptions *options,
                                              CBoxFileInfoCb cb, void *user_data, CBoxliteError *out_error);
/* Makes a folder. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_mkdir(CBoxHandle *box, const char *path, const BoxliteFileOptions *options,
                                               CBoxFileDoneCb cb, void *user_data, CBoxliteError *out_error);
/* Moves a file, link or folder to the path `to`, replacing what is there; between file systems only files. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_rename(CBoxHandle *box, const char *path, const char *to,
                                                const BoxliteFileOptions *options, CBoxFileDoneCb cb, void *user_data,
                                                CBoxliteError *out_error);
/* Removes a file, a link (not what it leads to) or an empty folder; with `recursive` any. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_remove_file(CBoxHandle *box, const char *path,
                                                     const BoxliteFileOptions *options, CBoxFileDoneCb cb,
                                                     void *user_data, CBoxliteError *out_error);

/* Gives up all work on this box's files that was asked for with this user_data: it is answered with Stopped, and leaves
 * no half of a file. Nothing happens when there is none. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_cancel_files(CBoxHandle *box, const void *user_data, CBoxliteError *out_error);

/* ---- logs of a box ------------------------------------------------------------------------------------------
 * What the main process has written to stdout and stderr is kept with the box, whether anybody reads it or not: the last
 * 12 to 16 MiB, across stops and starts, until the box is removed. The console is the machine's own: its kernel and the
 * agent, since the last start.
 */

/* Streams of a log. Values are never reused. Extension. */
#define BoxliteLogConsole 0
#define BoxliteLogStdout  1
#define BoxliteLogStderr  2
#define BoxliteLogNotice  3 /* a line of this library: what is missing, and why */

/* What of a log. Set `size`; zero means all there is. Extension. */
typedef struct BoxliteLogOptions {
    size_t size;      /* sizeof(BoxliteLogOptions) */
    int64_t tail;     /* so many lines of the end, of both streams together; less than 0: none, only what comes */
    int64_t since_ms; /* unix time: only what is as young; not of the console */
    int32_t follow;   /* goes on with what is written, until the box stops */
    int32_t console;  /* the machine's console instead */
} BoxliteLogOptions;
/* clang-format off */
#define BOXLITE_LOG_OPTIONS_INIT { sizeof(BoxliteLogOptions), 0, 0, 0, 0 }
/* clang-format on */

/* `stream`: see above. `time_ns`: when it was written, unix time in ns; 0 for the console. `data` is borrowed; it is cut
 * anywhere, not at ends of lines. Extension. */
typedef void (*CBoxLogCb)(int stream, int64_t time_ns, const uint8_t *data, size_t len, void *user_data);
typedef void (*CBoxLogDoneCb)(CBoxliteError *error, void *user_data);

/*
 * Reads the log of a box, whether it runs or not. `on_chunk` is called for each piece, in order, then `on_done` once. A
 * program that does not drain stops nobody, but what is let go meanwhile is gone. Extension.
 *
 * Errors: InvalidArgument, Storage, ResourceExhausted (with follow: the user's limits of inotify), Stopped.
 */
BOXLITE_API BoxliteErrorCode boxlite_box_logs(CBoxHandle *box, const BoxliteLogOptions *options, CBoxLogCb on_chunk,
                                              CBoxLogDoneCb on_done, void *user_data, CBoxliteError *out_error);
/* Ends the readings of this box's log that have this user_data: their on_done gets Stopped. Nothing happens when there is
 * none. Extension. */
BOXLITE_API BoxliteErrorCode boxlite_box_cancel_logs(CBoxHandle *box, const void *user_data, CBoxliteError *out_error);

/* ---- one box without callbacks ------------------------------------------------------------------------ */

/*
 * A box of `image` (NULL: "alpine:latest"), in the default home, with a runtime of its own; cpus and memory as the setters
 * of options have them, 0: default. It is made and started by the first boxlite_simple_run. Freed by boxlite_simple_free.
 * Used by one thread at a time. Errors: InvalidArgument, and those of boxlite_runtime_new.
 */
BOXLITE_API BoxliteErrorCode boxlite_simple_new(const char *image, int cpus, int memory_mib,
                                                CBoxliteSimple **out_simple, CBoxliteError *out_error);
/*
 * Runs a command with `argc` arguments: BLOCKS until it has ended. Its stdin is at its end. Any exit code is Ok. The result
 * has its output as it was written, at most 64 MiB of each stream: a command that writes more is killed, and the answer
 * ResourceExhausted. Freed by boxlite_result_free. Errors: those of boxlite_box_exec.
 */
BOXLITE_API BoxliteErrorCode boxlite_simple_run(CBoxliteSimple *simple, const char *command, const char *const *args,
                                                int argc, CBoxliteExecResult **out_result, CBoxliteError *out_error);
BOXLITE_API void boxlite_result_free(CBoxliteExecResult *result);
/* Removes the box: BLOCKS until it has ended (some milliseconds). */
BOXLITE_API void boxlite_simple_free(CBoxliteSimple *simple);

/* ---- network of a box ---------------------------------------------------------------------------------------
 * Tunnels reach a port of the box from this program, whatever listens there on the box's loopback address. They need no
 * network of the box and nothing published. Bytes move while the program drains. Handles are independent of each other
 * and of the box's handle; each is freed by its caller.
 */

/* The network of a box. Errors: Stopped when the handle is void. */
BOXLITE_API BoxliteErrorCode boxlite_box_network(CBoxHandle *box, CBoxNetworkHandle **out_network, CBoxliteError *out_error);
BOXLITE_API void boxlite_network_free(CBoxNetworkHandle *network);

/*
 * The box follows these rules from now on, in place of all it had (as boxlite_options_add_network_allow; none: everything but
 * what is guarded), and at its later starts. Answered when it does: then connections that the new rules do not allow are closed,
 * those too that a name would allow but that were made by an address. Rules that make no sense change nothing. A box that does
 * not run has them from its next start; it is not started. The handle may be void. Errors: InvalidArgument, InvalidState (its
 * network is disabled; another program starts or stops it, or changes its rules), Unsupported (it was started by an older
 * version), Network (boxlite-net has ended), Stopped, NotFound. Extension.
 */
BOXLITE_API BoxliteErrorCode boxlite_box_set_allow_net(CBoxHandle *box, const char *const *rules, int count, CBoxSetAllowNetCb cb,
                                                       void *user_data, CBoxliteError *out_error);

/* A tunnel to a TCP port of the box, 1 to 65535. Nothing is connected yet. */
BOXLITE_API BoxliteErrorCode boxlite_network_tunnel(CBoxNetworkHandle *network, uint16_t port, CBoxTunnelHandle **out_tunnel,
                                                    CBoxliteError *out_error);
BOXLITE_API void boxlite_tunnel_free(CBoxTunnelHandle *tunnel);

/* Where others reach it: NULL, a box of this host is reached by its programs only. */
BOXLITE_API BoxliteErrorCode boxlite_tunnel_uri(CBoxTunnelHandle *tunnel, char **out_uri, CBoxliteError *out_error);

/* A connection: a stream socket, the caller's to close. The box is started when it does not run. When nothing listens in
 * the box the socket comes to its end at once. At most 256 at a time (ResourceExhausted). */
BOXLITE_API BoxliteErrorCode boxlite_tunnel_connect(CBoxTunnelHandle *tunnel, int32_t *out_fd, CBoxliteError *out_error);

/* Listens on this host; each connection goes to the box. Errors: Network when the address is taken. */
BOXLITE_API BoxliteErrorCode boxlite_tunnel_forward(CBoxTunnelHandle *tunnel, const BoxliteSocketAddress *address,
                                                    CTunnelForwarderHandle **out_forwarder, CBoxliteError *out_error);
/* "127.0.0.1:8080", or the path; the caller frees it (boxlite_free_string). */
BOXLITE_API BoxliteErrorCode boxlite_tunnel_forwarder_address(CTunnelForwarderHandle *forwarder, char **out_address,
                                                              CBoxliteError *out_error);
/* Answered when it listens no more. */
BOXLITE_API BoxliteErrorCode boxlite_tunnel_forwarder_wait(CTunnelForwarderHandle *forwarder, CTunnelForwarderWaitCb cb,
                                                           void *user_data, CBoxliteError *out_error);
/* Listens no more; connections that are open go on. */
BOXLITE_API BoxliteErrorCode boxlite_tunnel_forwarder_close(CTunnelForwarderHandle *forwarder, CTunnelForwarderCloseCb cb,
                                                            void *user_data, CBoxliteError *out_error);
/* Closes it too. */
BOXLITE_API void boxlite_tunnel_forwarder_free(CTunnelForwarderHandle *forwarder);

/* ---- images -------------------------------------------------------------------------------------------- */

/* The images of this runtime. Free with boxlite_image_free. */
BOXLITE_API BoxliteErrorCode boxlite_runtime_images(CBoxliteRuntime *runtime,
                                                    CBoxliteImageHandle **out_images,
                                                    CBoxliteError *out_error);
BOXLITE_API void boxlite_image_free(CBoxliteImageHandle *images);

/* All images, newest first. Free with boxlite_free_image_info_list. */
BOXLITE_API BoxliteErrorCode boxlite_image_list(CBoxliteImageHandle *images, CBoxImageListCb cb,
                                                void *user_data, CBoxliteError *out_error);

/*
 * Fetches an image from its registry; what is in the store already is not fetched again, and a known image costs one
 * request.
 *
 * `reference` is read as Docker reads it. Without a registry in it, the registries that are to be searched are asked in
 * order, until one has it; when there are none, docker.io. Mirrors of a registry are asked before it. Of those who
 * want one image at the same time, in one program or several, one does the work. A pull that was broken off goes on where
 * it was. The result, `reference` as it was given, is freed with boxlite_free_image_pull_result.
 * Errors: Image (no such image, not for this platform, malformed, a login is needed or was refused), Network, Config
 * (docker's configuration, a credential helper, a certificate's file), Storage, ResourceExhausted, Stopped.
 */
BOXLITE_API BoxliteErrorCode boxlite_image_pull(CBoxliteImageHandle *images, const char *reference,
                                                CBoxImagePullCb cb, void *user_data, CBoxliteError *out_error);

/*
 * Takes an image from `path`: a folder in OCI layout, an archive of one, or what `docker save` wrote (each
 * also gzip or zstd). Extension.
 *
 * The image is named `name`, or when that is NULL by the name it carries. Every digest is verified. The
 * result is freed with boxlite_free_image_pull_result. Errors: Image (malformed, wrong digest, no name, not
 * for this platform), NotFound, Storage.
 */
BOXLITE_API BoxliteErrorCode boxlite_image_load(CBoxliteImageHandle *images, const char *path,
                                                const char *name, CBoxImagePullCb cb, void *user_data,
                                                CBoxliteError *out_error);

/* What an imported image says of its command. Set `size`; NULL and zero say nothing. Extension. */
typedef struct BoxliteImageImport {
    size_t size;                   /* sizeof(BoxliteImageImport) */
    const char *const *cmd;        /* what boxlite_options_set_main runs, behind the entrypoint */
    const char *const *entrypoint;
    const char *const *env;        /* "NAME=VALUE" */
    int32_t cmd_count;
    int32_t entrypoint_count;
    int32_t env_count;
    const char *workdir; /* absolute */
    const char *user;    /* name|uid[:group|gid] */
} BoxliteImageImport;
/* clang-format off */
#define BOXLITE_IMAGE_IMPORT_INIT { sizeof(BoxliteImageImport), NULL, NULL, NULL, 0, 0, 0, NULL, NULL }
/* clang-format on */

/*
 * Makes an image of one layer from an archive of a root file system: a tar, plain or packed with gzip or zstd. Extension.
 *
 * `path`: a file or a pipe, which is read to its end; /dev/stdin and /dev/fd/N mean the descriptor itself, from where it stands (also a
 * socket), and it need not stay open. `reference`: the image's name; when another image has it, that one loses it. `options` may be
 * NULL. The archive stays as it is, byte for byte, and the image's date is the latest time in it: the same archive and options give the
 * same image. What is no tar, was cut off, or leads out of itself is refused, and nothing of it is kept. The result is freed
 * with boxlite_free_image_pull_result. Errors: InvalidArgument (reference, options), Image (no tar, damaged, a limit of layers, not there),
 * Unsupported (packed otherwise), Storage, ResourceExhausted, Stopped.
 */
BOXLITE_API BoxliteErrorCode boxlite_image_import(CBoxliteImageHandle *images, const char *path,
                                                  const char *reference, const BoxliteImageImport *options,
                                                  CBoxImagePullCb cb, void *user_data, CBoxliteError *out_error);

/* Which boxes boxlite_image_warm makes ready for. Set `size`; zero means what a box has by default. Extension. Fields are
 * only ever added. */
typedef struct BoxliteImageWarm {
    size_t size;        /* sizeof(BoxliteImageWarm) */
    int32_t cpus;       /* as boxlite_options_set_cpus */
    int32_t memory_mib; /* as boxlite_options_set_memory */
} BoxliteImageWarm;
/* clang-format off */
#define BOXLITE_IMAGE_WARM_INIT { sizeof(BoxliteImageWarm), 0, 0 }
/* clang-format on */

/*
 * Makes at once what the first boxes of an image would wait for: its disk, the template of the machine, and the template
 * with the image's root mounted, at which new boxes of it begin. Extension.
 *
 * `reference`: a name, as boxes have it; the image must be there. `options` may be NULL; boxes of other processors or
 * memory, or of another engine than the default, have a template of their own. When all is there it is answered at once.
 * What is missing is made once, however many calls and programs want it; a runtime warms one image at a time.
 * boxlite_runtime_on_progress tells what it does. The template counts as used now: "templates" in config.json says how
 * much all may take and how long one is kept. Boxes with another disk size than the default begin without it.
 * Errors: Image (not there: pull it; unreadable), InvalidArgument, Config (BOXLITE_IMAGE_TEMPLATES is off), Unsupported
 * (larger than 10 GiB as a disk: all but its template was made), UnsupportedEngine, Engine, Storage, Database, Stopped.
 */
BOXLITE_API BoxliteErrorCode boxlite_image_warm(CBoxliteImageHandle *images, const char *reference,
                                                const BoxliteImageWarm *options, CImageDoneCb cb,
                                                void *user_data, CBoxliteError *out_error);

/*
 * Writes images as an OCI layout: a folder, or a tar archive of one. Extension.
 *
 * `references`: as `source` of boxlite_image_tag, `count` of them (at most 256); all go into one layout. `format` is
 * "oci-dir", "oci-archive" or NULL: a folder when `path` ends with '/' or is one, else an archive. A folder must be new
 * or empty; an archive that is there is replaced when the new one is whole. The path of a pipe or device, /dev/stdout and
 * /dev/fd/N (which mean the descriptor itself) are written to as they take it. Manifests and layers stay as they were,
 * so that digests do; the same images give the same bytes.
 * Errors: Image (no such image, more than one), AlreadyExists (the folder is not empty), InvalidArgument, Storage.
 */
BOXLITE_API BoxliteErrorCode boxlite_image_save(CBoxliteImageHandle *images, const char *const *references,
                                                int count, const char *path, const char *format,
                                                CImageDoneCb cb, void *user_data, CBoxliteError *out_error);

/*
 * Gives an image a further name. Extension.
 *
 * `source`: a name, name@digest, the image's id or manifest digest, or at least four first digits of one. `target`:
 * a name; when another image has it, that one loses it. Errors: Image (no such image, a name that is none), Database.
 */
BOXLITE_API BoxliteErrorCode boxlite_image_tag(CBoxliteImageHandle *images, const char *source,
                                               const char *target, CImageDoneCb cb, void *user_data,
                                               CBoxliteError *out_error);

/*
 * Removes a name of an image; with its last name the image, its disk and its templates, and those of its layers that
 * no other image has. Extension.
 *
 * `reference_or_id` is as `source` above. InvalidState when a box stands on the image, or when an id means an image
 * with several names; with `force` it goes all the same, under all its names: a box that was started keeps its disk
 * as long as it exists, one that was not will not find its image. Blobs stay (blobs_kept) while any image is being
 * added: prune removes them later. The result is borrowed. Errors: Image (no such image, more than one), Database,
 * Storage.
 */
BOXLITE_API BoxliteErrorCode boxlite_image_remove(CBoxliteImageHandle *images, const char *reference_or_id,
                                                  int force, CImagePruneCb cb, void *user_data,
                                                  CBoxliteError *out_error);

/* What else boxlite_image_prune removes. Set `size`; zero means no. Extension. */
typedef struct BoxliteImagePrune {
    size_t size;              /* sizeof(BoxliteImagePrune) */
    int32_t all;              /* images that no box stands on, too */
    int32_t dry_run;          /* nothing; only say what would go */
    uint64_t older_than_secs; /* with `all`: not those used since: loaded, pulled, or a box of them started */
    uint64_t keep_bytes;      /* with `all`: longest unused first, and only until images, disks and templates together
                               * hold no more than this; then templates */
} BoxliteImagePrune;
/* clang-format off */
#define BOXLITE_IMAGE_PRUNE_INIT { sizeof(BoxliteImagePrune), 0, 0, 0, 0 }
/* clang-format on */

/*
 * Removes what nothing refers to: blobs and disks of images that are gone, templates of earlier versions, of images
 * that are gone and beyond what config.json allows (2 GiB in all), files that killed programs have left; blobs that a broken pull has left for
 * the next one after a day, with `all` at once. Extension.
 *
 * `options` may be NULL. Safe at any time, beside any number of programs. The result is borrowed. Errors:
 * InvalidArgument (older_than_secs or keep_bytes without `all`), Database, Storage.
 */
BOXLITE_API BoxliteErrorCode boxlite_image_prune(CBoxliteImageHandle *images, const BoxliteImagePrune *options,
                                                 CImagePruneCb cb, void *user_data, CBoxliteError *out_error);

/*
 * More about an image, as named facts. Extension.
 *
 * `reference` is as `source` above. Keys: reference, names (all of them), id, manifest, os, arch, variant, layers
 * (number), layer_digests, size (bytes of its blobs), shared_size (of those that other images have too),
 * unique_size (of those that go with it), disk (file name), disk_bytes (allocated, 0: not made yet),
 * template_bytes, cached_at and used_at (unix time, seconds), boxes (that stand on it), entrypoint, cmd, env,
 * working_dir, user, stop_signal. Lists are JSON arrays of strings; what the image does not say is missing.
 * Errors: Image (no such image, more than one, unreadable).
 */
BOXLITE_API BoxliteErrorCode boxlite_image_inspect(CBoxliteImageHandle *images, const char *reference,
                                                   CBoxliteInfoCb cb, void *user_data, CBoxliteError *out_error);

BOXLITE_API void boxlite_free_image_info_list(CImageInfoList *list);
BOXLITE_API void boxlite_free_image_pull_result(CImagePullResult *result);

#ifdef __cplusplus
}
#endif

#endif
