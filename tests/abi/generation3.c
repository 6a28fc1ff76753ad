/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that was written for the third generation of the C interface recompiles: each of its functions has the type it has
 * there, each callback, and each enumerator its value. What is not here yet stands in not_yet.txt. (check_symbols.py)
 */
#include <boxlite.h>

typedef CBoxliteError *E;
typedef void *U;
typedef BoxliteErrorCode rc;

/* The function has this type: a pointer to it is initialized. */
#define HAS(ret, name, args) ret(*has_##name) args = boxlite_##name
#define CALLBACK(name, args) typedef void (*is_##name) args

CALLBACK(CBoxCreateBoxCb, (CBoxHandle *, E, U));
CALLBACK(CBoxGetOrCreateBoxCb, (CBoxHandle *, bool, E, U));
CALLBACK(CBoxGetBoxCb, (CBoxHandle *, E, U));
CALLBACK(CBoxStartBoxCb, (E, U));
CALLBACK(CBoxStopBoxCb, (E, U));
CALLBACK(CBoxRemoveBoxCb, (E, U));
CALLBACK(CBoxCopyCb, (E, U));
CALLBACK(CRuntimeShutdownCb, (E, U));
CALLBACK(CExecutionKillCb, (E, U));
CALLBACK(CExecutionSignalCb, (E, U));
CALLBACK(CExecutionResizeCb, (E, U));
CALLBACK(CTunnelForwarderWaitCb, (E, U));
CALLBACK(CTunnelForwarderCloseCb, (E, U));
CALLBACK(CBoxStdoutCb, (const uint8_t *, size_t, U));
CALLBACK(CBoxStderrCb, (const uint8_t *, size_t, U));
CALLBACK(CBoxExitCb, (int, U));
CALLBACK(CExecutionWaitCb, (int, E, U));
CALLBACK(CBoxImagePullCb, (CImagePullResult *, E, U));
CALLBACK(CBoxImageListCb, (CImageInfoList *, E, U));
CALLBACK(CBoxInfoCb, (CBoxInfo *, E, U));
CALLBACK(CBoxInfoListCb, (CBoxInfoList *, E, U));
CALLBACK(CBoxMetricsCb, (CBoxMetrics *, E, U));
CALLBACK(CRuntimeMetricsCb, (CRuntimeMetrics *, E, U));

/* A callback of ours and one of theirs are one type. */
#define SAME(name)                                                                                           \
    {                                                                                                        \
        is_##name theirs = 0;                                                                                \
        name ours = theirs;                                                                                  \
                                                                                                             \
        (void)ours;                                                                                          \
    }

static void callbacks(void)
{
    SAME(CBoxCreateBoxCb)
    SAME(CBoxGetOrCreateBoxCb)
    SAME(CBoxGetBoxCb)
    SAME(CBoxStartBoxCb)
    SAME(CBoxStopBoxCb)
    SAME(CBoxRemoveBoxCb)
    SAME(CBoxCopyCb)
    SAME(CRuntimeShutdownCb)
    SAME(CExecutionKillCb)
    SAME(CExecutionSignalCb)
    SAME(CExecutionResizeCb)
    SAME(CTunnelForwarderWaitCb)
    SAME(CTunnelForwarderCloseCb)
    SAME(CBoxStdoutCb)
    SAME(CBoxStderrCb)
    SAME(CBoxExitCb)
    SAME(CExecutionWaitCb)
    SAME(CBoxImagePullCb)
    SAME(CBoxImageListCb)
    SAME(CBoxInfoCb)
    SAME(CBoxInfoListCb)
    SAME(CBoxMetricsCb)
    SAME(CRuntimeMetricsCb)
}

HAS(const char *, version, (void));
HAS(rc, runtime_new, (const char *, const BoxliteImageRegistry *, int, CBoxliteRuntime **, E));
HAS(int, runtime_drain, (CBoxliteRuntime *, int, E));
HAS(rc, runtime_shutdown, (CBoxliteRuntime *, int, CRuntimeShutdownCb, U, E));
HAS(void, runtime_free, (CBoxliteRuntime *));
HAS(rc, runtime_images, (CBoxliteRuntime *, CBoxliteImageHandle **, E));
HAS(rc, runtime_metrics, (CBoxliteRuntime *, CRuntimeMetricsCb, U, E));

HAS(rc, create_box, (CBoxliteRuntime *, CBoxliteOptions *, CBoxCreateBoxCb, U, E));
HAS(rc, get_or_create_box, (CBoxliteRuntime *, CBoxliteOptions *, CBoxGetOrCreateBoxCb, U, E));
HAS(rc, get, (CBoxliteRuntime *, const char *, CBoxGetBoxCb, U, E));
HAS(rc, remove, (CBoxliteRuntime *, const char *, int, CBoxRemoveBoxCb, U, E));
HAS(rc, start_box, (CBoxHandle *, CBoxStartBoxCb, U, E));
HAS(rc, stop_box, (CBoxHandle *, CBoxStopBoxCb, U, E));
HAS(char *, box_id, (CBoxHandle *));
HAS(void, box_free, (CBoxHandle *));
HAS(rc, box_info, (CBoxHandle *, CBoxInfoCb, U, E));
HAS(rc, get_info, (CBoxliteRuntime *, const char *, CBoxInfoCb, U, E));
HAS(rc, list_info, (CBoxliteRuntime *, CBoxInfoListCb, U, E));
HAS(rc, box_metrics, (CBoxHandle *, CBoxMetricsCb, U, E));
HAS(rc, copy_into, (CBoxHandle *, const char *, const char *, CBoxCopyCb, U, E));
HAS(rc, copy_out, (CBoxHandle *, const char *, const char *, CBoxCopyCb, U, E));

HAS(rc, options_new, (const char *, CBoxliteOptions **, E));
HAS(void, options_free, (CBoxliteOptions *));
HAS(void, options_set_rootfs_path, (CBoxliteOptions *, const char *));
HAS(void, options_set_name, (CBoxliteOptions *, const char *));
HAS(void, options_set_cpus, (CBoxliteOptions *, int));
HAS(void, options_set_memory, (CBoxliteOptions *, int));
HAS(void, options_set_disk_size_gb, (CBoxliteOptions *, int));
HAS(void, options_set_workdir, (CBoxliteOptions *, const char *));
HAS(void, options_add_env, (CBoxliteOptions *, const char *, const char *));
HAS(void, options_add_volume, (CBoxliteOptions *, const char *, const char *, int));
HAS(void, options_set_network_enabled, (CBoxliteOptions *));
HAS(void, options_set_network_disabled, (CBoxliteOptions *));
HAS(void, options_add_network_allow, (CBoxliteOptions *, const char *));
HAS(void, options_add_secret,
    (CBoxliteOptions *, const char *, const char *, const char *, const char *const *, int));
HAS(void, options_set_auto_remove, (CBoxliteOptions *, int));
HAS(void, options_set_auto_stop_interval, (CBoxliteOptions *, uint32_t));
HAS(void, options_set_auto_delete_interval, (CBoxliteOptions *, uint32_t));
HAS(void, options_set_auto_resume_enabled, (CBoxliteOptions *, int));
HAS(void, options_set_detach, (CBoxliteOptions *, int));
HAS(void, options_set_advanced, (CBoxliteOptions *, const CAdvancedBoxOptions *));
HAS(void, options_set_entrypoint, (CBoxliteOptions *, const char *const *, int));
HAS(void, options_set_cmd, (CBoxliteOptions *, const char *const *, int));
HAS(rc, options_add_port, (CBoxliteOptions *, uint16_t, uint16_t, BoxlitePortProtocol, const char *, E));
HAS(rc, advanced_options_new, (CAdvancedBoxOptions **, E));
HAS(void, advanced_options_free, (CAdvancedBoxOptions *));
HAS(void, advanced_options_set_security_enabled, (CAdvancedBoxOptions *, int));
HAS(rc, advanced_options_set_capabilities_add, (CAdvancedBoxOptions *, const char *const *, int));
HAS(rc, advanced_options_set_capabilities_drop, (CAdvancedBoxOptions *, const char *const *, int));

HAS(rc, box_exec, (CBoxHandle *, const BoxliteCommand *, CExecutionHandle **, E));
HAS(rc, execution_on_stdout, (CExecutionHandle *, CBoxStdoutCb, U, E));
HAS(rc, execution_on_stderr, (CExecutionHandle *, CBoxStderrCb, U, E));
HAS(rc, execution_on_exit, (CExecutionHandle *, CBoxExitCb, U, E));
HAS(rc, execution_stdin_write, (CExecutionHandle *, const uint8_t *, size_t, E));
HAS(rc, execution_stdin_close, (CExecutionHandle *, E));
HAS(rc, execution_wait, (CExecutionHandle *, CExecutionWaitCb, U, E));
HAS(rc, execution_kill, (CExecutionHandle *, CExecutionKillCb, U, E));
HAS(rc, execution_signal, (CExecutionHandle *, int, CExecutionSignalCb, U, E));
HAS(rc, execution_tty_resize, (CExecutionHandle *, int, int, CExecutionResizeCb, U, E));
HAS(void, execution_free, (CExecutionHandle *));

HAS(rc, simple_new, (const char *, int, int, CBoxliteSimple **, E));
HAS(rc, simple_run, (CBoxliteSimple *, const char *, const char *const *, int, CBoxliteExecResult **, E));
HAS(void, result_free, (CBoxliteExecResult *));
HAS(void, simple_free, (CBoxliteSimple *));

HAS(rc, image_pull, (CBoxliteImageHandle *, const char *, CBoxImagePullCb, U, E));
HAS(rc, image_list, (CBoxliteImageHandle *, CBoxImageListCb, U, E));
HAS(void, image_free, (CBoxliteImageHandle *));

HAS(rc, box_network, (CBoxHandle *, CBoxNetworkHandle **, E));
HAS(void, network_free, (CBoxNetworkHandle *));
HAS(rc, network_tunnel, (CBoxNetworkHandle *, uint16_t, CBoxTunnelHandle **, E));
HAS(void, tunnel_free, (CBoxTunnelHandle *));
HAS(rc, tunnel_uri, (CBoxTunnelHandle *, char **, E));
HAS(rc, tunnel_connect, (CBoxTunnelHandle *, int32_t *, E));
HAS(rc, tunnel_forward, (CBoxTunnelHandle *, const BoxliteSocketAddress *, CTunnelForwarderHandle **, E));
HAS(rc, tunnel_forwarder_address, (CTunnelForwarderHandle *, char **, E));
HAS(rc, tunnel_forwarder_wait, (CTunnelForwarderHandle *, CTunnelForwarderWaitCb, U, E));
HAS(rc, tunnel_forwarder_close, (CTunnelForwarderHandle *, CTunnelForwarderCloseCb, U, E));
HAS(void, tunnel_forwarder_free, (CTunnelForwarderHandle *));

HAS(void, error_free, (E));
HAS(void, free_string, (char *));
HAS(void, free_box_info, (CBoxInfo *));
HAS(void, free_box_info_list, (CBoxInfoList *));
HAS(void, free_image_info_list, (CImageInfoList *));
HAS(void, free_image_pull_result, (CImagePullResult *));

/* Every enumerator and number, by its value there. */
static const int values[][2] = {
    {Ok, 0},
    {Internal, 1},
    {NotFound, 2},
    {AlreadyExists, 3},
    {InvalidState, 4},
    {InvalidArgument, 5},
    {Config, 6},
    {Storage, 7},
    {Image, 8},
    {Network, 9},
    {Execution, 10},
    {Stopped, 11},
    {Engine, 12},
    {Unsupported, 13},
    {Database, 14},
    {Portal, 15},
    {Rpc, 16},
    {RpcTransport, 17},
    {Metadata, 18},
    {UnsupportedEngine, 19},
    {ResourceExhausted, 20},
    {SessionReaped, 21},
    {BoxliteNetworkModeEnabled, 0},
    {BoxliteNetworkModeDisabled, 1},
    {BoxlitePortProtocolTcp, 0},
    {BoxlitePortProtocolUdp, 1},
    {BoxliteRegistryTransportHttps, 0},
    {BoxliteRegistryTransportHttp, 1},
    {BoxliteSocketTcp, 0},
    {BoxliteSocketUnix, 1},
    {QUEUE_CAPACITY, 4096},
};

int main(void)
{
    size_t i;

    callbacks();
    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        if (values[i][0] != values[i][1])
            return 1;
    return 0;
}
