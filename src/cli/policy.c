/* SPDX-License-Identifier: Apache-2.0 */
/* policy.c - `boxlite network policy`: the rules of a box's network, shown or replaced. */
#include "cli/cli.h"

#include "base/str.h"

static void keep_info(CBoxInfo *info, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, info, error);
}

static int show(CBoxliteRuntime *rt, CBoxHandle *box)
{
    struct bx_call call = BX_CALL_INIT;
    if (!bx_call_wait(rt, &call, boxlite_box_info(box, keep_info, &call, &call.error)))
        return bx_cli_fail(&call.error, NULL);
    CBoxInfo *info = call.result;
    for (int i = 0; info->network && i < info->network->allow_net_count; i++)
        puts(info->network->allow_net[i]);
    boxlite_free_box_info(info);
    return bx_cli_finish(0);
}

static int replace(CBoxliteRuntime *rt, CBoxHandle *box, char **rules)
{
    struct bx_call call = BX_CALL_INIT;
    BoxliteErrorCode rc = boxlite_box_set_allow_net(box, (const char *const *)rules, (int)bx_strv_len(rules), bx_call_plain, &call,
                                                    &call.error);
    return bx_call_wait(rt, &call, rc) ? 0 : bx_cli_fail(&call.error, NULL);
}

int bx_verb_network_policy(int argc, char **argv)
{
    bx_cleanup_strv char **rules = NULL;
    bool none = false;
    const struct bx_opt opts[] = {
        BX_OPT_LIST(0, "allow-net", &rules, "RULE", "from now on only this: a name, *.name, an address or a block, each with :PORT or not (again: and this)"),
        BX_OPT_FLAG(0, "no-rules", &none, "from now on everything but what is guarded"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("network policy", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 1)
        return bx_cli_usage("network policy", n == 0 ? "of which box?" : "one box");
    if (none && rules)
        return bx_cli_usage("network policy", "--no-rules and --allow-net exclude each other");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxHandle *box = bx_cli_box(rt, argv[1], &code);
    if (box)
        code = none || rules ? replace(rt, box, rules) : show(rt, box);
    boxlite_box_free(box);
    boxlite_runtime_free(rt);
    return code;
}
