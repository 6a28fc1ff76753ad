/* SPDX-License-Identifier: Apache-2.0 */
/*
 * info.c - `boxlite info`.
 */
#include "cli/cli.h"

#include "base/str.h"

static long long info_number(const CBoxliteInfo *info, const char *key)
{
    const char *text = boxlite_info_get(info, key);
    uint64_t n = 0;
    return text && bx_parse_u64(text, 0, INT64_MAX, &n) == 0 ? (long long)n : 0;
}

static int print_info(const CBoxliteInfo *info, enum bx_format format)
{
    const char *kvm = boxlite_info_get(info, "kvm");
#define TEXT(key, title, fact) { key, title, BX_FIELD_STR, boxlite_info_get(info, fact), 0 }
#define NUMBER(key, title, fact) { key, title, BX_FIELD_INT, NULL, info_number(info, fact) }
    const struct bx_field fields[] = {
        TEXT("version", "Version", "version"),
        TEXT("engine", "Engine", "engine"),
        TEXT("virtualization", NULL, "engine"), /* as the existing command calls it */
        { "kvm", NULL, BX_FIELD_OBJECT, NULL, 0 },
        { "usable", "KVM", BX_FIELD_BOOL, NULL, bx_streq(kvm, "yes") },
        TEXT("reason", "  reason", "kvm.reason"),
        TEXT("remedy", "  remedy", "kvm.remedy"),
        { NULL, NULL, BX_FIELD_OBJECT_END, NULL, 0 },
        TEXT("homeDir", "Home", "home"),
        TEXT("programs", "Programs", "libexec"),
        TEXT("qemu", "QEMU", "qemu"),
        TEXT("os", NULL, "os"),
        TEXT("arch", "Machine", "arch"),
        TEXT("protocol", NULL, "protocol"),
        NUMBER("boxesTotal", "Boxes", "boxes"),
        NUMBER("boxesRunning", "  running", "boxes.running"),
        NUMBER("boxesStopped", NULL, "boxes.stopped"),
        NUMBER("boxesConfigured", NULL, "boxes.configured"),
        NUMBER("imagesCount", "Images", "images"),
    };
    return bx_print_records(format, fields, BX_ARRAY_SIZE(fields), 1, true);
}

int bx_verb_info(int argc, char **argv)
{
    enum bx_format format = BX_FORMAT_TABLE;
    const struct bx_opt opts[] = {
        BX_FORMAT_OPT(0, "format", format),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("info", opts, 0, argc, argv, &code);
    if (n > 0)
        return bx_cli_usage("info", "it takes no arguments: '%s'", argv[1]);
    if (n < 0)
        return code;
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    struct bx_call call = BX_CALL_INIT;
    if (bx_call_wait(rt, &call, boxlite_runtime_info(rt, bx_call_info, &call, &call.error)))
        code = print_info(call.result, format);
    else
        code = bx_cli_fail(&call.error, NULL);
    boxlite_info_free(call.result);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
