/* SPDX-License-Identifier: Apache-2.0 */
/* The header compiles alone, in every language it promises, without a warning; its structs have the layout of
 * the third generation. */
#include <boxlite.h>

#ifdef __cplusplus
#define CHECK(name, cond) static_assert(cond, #name)
#elif __STDC_VERSION__ >= 201112L
#define CHECK(name, cond) _Static_assert(cond, #name)
#else
#define CHECK(name, cond) typedef char check_##name[(cond) ? 1 : -1]
#endif

CHECK(codes, SessionReaped == 21 && ResourceExhausted == 20 && UnsupportedEngine == 19 && Execution == 10 &&
                 Ok == 0);
CHECK(modes,
      BoxliteNetworkModeDisabled == 1 && BoxlitePortProtocolUdp == 1 && BoxliteRegistryTransportHttp == 1);
CHECK(error, offsetof(FFIError, message) == 8 && sizeof(CBoxliteError) == 16);
CHECK(command, offsetof(BoxliteCommand, argc) == 16 && offsetof(BoxliteCommand, env_count) == 32 &&
                   offsetof(BoxliteCommand, timeout_secs) == 56 && offsetof(BoxliteCommand, tty) == 64 &&
                   sizeof(BoxliteCommand) == 72);
CHECK(box_info, offsetof(CBoxInfo, running) == 32 && offsetof(CBoxInfo, auto_stop) == 48 &&
                    offsetof(CBoxInfo, created_at) == 64 && offsetof(CBoxInfo, network) == 72 &&
                    offsetof(CBoxInfo, started_at) == 80 && sizeof(CBoxInfo) == 88);
CHECK(box_metrics, offsetof(CBoxMetrics, memory_bytes) == 8 && offsetof(CBoxMetrics, commands_executed) == 16 &&
                       offsetof(CBoxMetrics, bytes_sent) == 24 && offsetof(CBoxMetrics, create_duration_ms) == 40 &&
                       offsetof(CBoxMetrics, network_bytes_sent) == 56 &&
                       offsetof(CBoxMetrics, network_tcp_connections) == 72 && sizeof(CBoxMetrics) == 80);
CHECK(runtime_metrics, offsetof(CRuntimeMetrics, total_exec_errors) == 16 && sizeof(CRuntimeMetrics) == 20);
CHECK(exec_result, offsetof(CBoxliteExecResult, stdout_text) == 8 && sizeof(ExecResult) == 24);
CHECK(image_info, offsetof(CImageInfo, cached_at) == 32 && offsetof(CImageInfo, has_size) == 48 &&
                      sizeof(CImageInfo) == 56);
CHECK(pull, offsetof(CImagePullResult, layer_count) == 16);
CHECK(registry,
      offsetof(BoxliteImageRegistry, search) == 16 && offsetof(BoxliteImageRegistry, bearer_token) == 40);
CHECK(port, offsetof(CPublishedPort, host_port) == 16 && sizeof(CPublishedPort) == 24);
CHECK(network, offsetof(CNetworkInfo, published_ports) == 24);
CHECK(image_prune, offsetof(BoxliteImagePrune, older_than_secs) == 16 && sizeof(BoxliteImagePrune) == 32);
CHECK(image_pruned, offsetof(CImagePruneResult, bytes) == 8 && offsetof(CImagePruneResult, blobs_kept) == 32 &&
                        offsetof(CImagePruneResult, references) == 40 && sizeof(CImagePruneResult) == 48);
CHECK(exec_options, offsetof(BoxliteExecOptions, max_open_files) == 24 && sizeof(BoxliteExecOptions) == 64);
CHECK(result, offsetof(BoxliteExecutionResult, user_us) == 40 && sizeof(BoxliteExecutionResult) == 80);
CHECK(lists, offsetof(CImageInfoList, count) == 8 && offsetof(CPublishedPortList, count) == 8 &&
                 offsetof(CBoxInfoList, count) == 8 && offsetof(CBoxFileInfoList, count) == 8);
CHECK(pull_progress, offsetof(CPullProgress, state) == 48 && offsetof(CPullProgress, done) == 64 &&
                         sizeof(CPullProgress) == 80);
CHECK(copy_options, offsetof(BoxliteCopyOptions, user) == 32 && sizeof(BoxliteCopyOptions) == 48);
CHECK(copy_result, offsetof(CBoxCopyResult, bytes) == 32 && sizeof(CBoxCopyResult) == 48);
CHECK(file_options, offsetof(BoxliteFileOptions, offset) == 32 && sizeof(BoxliteFileOptions) == 56);
CHECK(file_info, offsetof(CBoxFileInfo, type) == 24 && offsetof(CBoxFileInfo, mtime_ns) == 48 &&
                     sizeof(CBoxFileInfo) == 56);
CHECK(image_import, offsetof(BoxliteImageImport, cmd_count) == 32 && offsetof(BoxliteImageImport, workdir) == 48 &&
                        sizeof(BoxliteImageImport) == 64);
CHECK(health_check, offsetof(BoxliteHealthCheck, retries) == 40 && sizeof(BoxliteHealthCheck) == 56);
CHECK(event, offsetof(CBoxliteEvent, type) == 16 && offsetof(CBoxliteEvent, message) == 72 && sizeof(CBoxliteEvent) == 96);
CHECK(log_options, offsetof(BoxliteLogOptions, since_ms) == 16 && offsetof(BoxliteLogOptions, console) == 28 &&
                       sizeof(BoxliteLogOptions) == 32);
CHECK(image_warm, offsetof(BoxliteImageWarm, cpus) == 8 && sizeof(BoxliteImageWarm) == 16);
CHECK(socket_address, offsetof(BoxliteSocketAddress, host) == 8 && offsetof(BoxliteSocketAddress, port) == 16 &&
                          offsetof(BoxliteSocketAddress, path) == 24 && sizeof(BoxliteSocketAddress) == 32);
CHECK(process, offsetof(CBoxProcess, parent) == 12 && offsetof(CBoxProcess, state) == 20 && offsetof(CBoxProcess, cpu_us) == 32 &&
                   offsetof(CBoxProcess, name) == 56 && sizeof(CBoxProcess) == 72 && offsetof(CBoxProcessList, items) == 8 &&
                   offsetof(CBoxProcessList, left_out) == 20 && sizeof(CBoxProcessList) == 24);
CHECK(doctor, offsetof(CDoctorFinding, check) == 16 && offsetof(CDoctorFinding, remedy) == 40 && sizeof(CDoctorFinding) == 48 &&
                  offsetof(CDoctorReport, items) == 8 && offsetof(CDoctorReport, problems) == 20 && sizeof(CDoctorReport) == 32 &&
                  sizeof(BoxliteDoctorOptions) == 16 && sizeof(BoxliteFindingState) == 4);
CHECK(enums, sizeof(BoxliteErrorCode) == 4 && sizeof(BoxliteNetworkMode) == 4 && sizeof(BoxlitePortProtocol) == 4 &&
                 sizeof(BoxliteRegistryTransport) == 4 && sizeof(BoxlitePullState) == 4 &&
                 sizeof(BoxliteFileType) == 4);

/* Each initializer in this language: it fits its struct, and says the struct's size. */
#define INITIALIZED(type, macro)                                                                             \
    do {                                                                                                     \
        type value = macro;                                                                                  \
                                                                                                             \
        if (value.size != sizeof(value))                                                                     \
            return 1;                                                                                        \
    } while (0)

int main(void)
{
    INITIALIZED(BoxliteExecOptions, BOXLITE_EXEC_OPTIONS_INIT);
    INITIALIZED(BoxliteExecutionResult, BOXLITE_EXECUTION_RESULT_INIT);
    INITIALIZED(BoxliteCopyOptions, BOXLITE_COPY_OPTIONS_INIT);
    INITIALIZED(BoxliteFileOptions, BOXLITE_FILE_OPTIONS_INIT);
    INITIALIZED(BoxliteLogOptions, BOXLITE_LOG_OPTIONS_INIT);
    INITIALIZED(BoxliteHealthCheck, BOXLITE_HEALTH_CHECK_INIT);
    INITIALIZED(BoxliteImageWarm, BOXLITE_IMAGE_WARM_INIT);
    INITIALIZED(BoxliteImageImport, BOXLITE_IMAGE_IMPORT_INIT);
    INITIALIZED(BoxliteDoctorOptions, BOXLITE_DOCTOR_OPTIONS_INIT);
    INITIALIZED(BoxliteImagePrune, BOXLITE_IMAGE_PRUNE_INIT);
    return boxlite_version() ? 0 : 1;
}
