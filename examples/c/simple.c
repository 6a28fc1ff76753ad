/* SPDX-License-Identifier: Apache-2.0 */
/* One box without callbacks: each call waits. */
#include <boxlite.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    const char *args[] = {"-c", "echo hello from a box; uname -s"};
    CBoxliteError error = {Ok, NULL};
    CBoxliteSimple *box = NULL;
    CBoxliteExecResult *result = NULL;

    if (boxlite_simple_new(argc > 1 ? argv[1] : NULL, 0, 256, &box, &error) != Ok ||
        boxlite_simple_run(box, "sh", args, 2, &result, &error) != Ok) {
        fprintf(stderr, "%s\n", error.message);
        boxlite_error_free(&error);
        boxlite_simple_free(box);
        return 1;
    }
    printf("%sexit code %d\n", result->stdout_text, result->exit_code);
    boxlite_result_free(result);
    boxlite_simple_free(box);
    return 0;
}
