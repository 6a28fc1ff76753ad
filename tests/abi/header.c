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
CHECK(error, offsetof(CBoxliteError, message) == 8 && sizeof(CBoxliteError) == 16);
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

int main(void)
{
    BoxliteExecOptions options = BOXLITE_EXEC_OPTIONS_INIT;
    BoxliteExecutionResult result = BOXLITE_EXECUTION_RESULT_INIT;

    return options.size == sizeof(options) && result.size == sizeof(result) && boxlite_version() ? 0 : 1;
}
