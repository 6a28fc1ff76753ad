/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - facts about installation and host. */
#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

#include "runtime/engine.h"
#include "runtime/runtime.h"

static const char *yes_no(const struct bx_host_facts *f)
{
    switch (f->verdict.result) {
    case BX_PROBE_OK:
        return "yes";
    case BX_PROBE_TIMEOUT:
        return "unknown";
    default:
        return "no";
    }
}

static void add_counts(struct CBoxliteRuntime *rt, struct CBoxliteInfo *info)
{
    unsigned running = 0, stopped = 0, configured = 0;
    struct bx_box_row *rows = NULL;
    struct bx_image_row *images = NULL;
    size_t n = 0, n_images = 0, i;

    if (bx_store_box_list(rt->store, &rows, &n, NULL) >= 0) {
        for (i = 0; i < n; i++) {
            running += rows[i].state == BX_BOX_RUNNING;
            stopped += rows[i].state == BX_BOX_STOPPED || rows[i].state == BX_BOX_FAILED;
            configured += rows[i].state == BX_BOX_CONFIGURED;
        }
        bx_info_addf(info, "boxes", "%zu", n);
        bx_info_addf(info, "boxes.running", "%u", running);
        bx_info_addf(info, "boxes.stopped", "%u", stopped);
        bx_info_addf(info, "boxes.configured", "%u", configured);
        bx_box_rows_free(rows, n);
    }
    if (bx_store_image_list(rt->store, &images, &n_images, NULL) >= 0) {
        bx_info_addf(info, "images", "%zu", n_images);
        bx_image_rows_free(images, n_images);
    }
}

static void add_places(struct CBoxliteRuntime *rt, enum bx_engine engine, struct CBoxliteInfo *info)
{
    struct bx_vm_parts parts;
    const char *libexec = bx_libexec(rt, NULL);
    struct utsname u;

    memset(&parts, 0, sizeof(parts));
    if (!libexec || bx_vm_parts_find(libexec, engine, &parts, NULL) < 0)
        parts.qemu[0] = '\0';
    bx_info_add(info, "libexec", libexec ? libexec : "");
    bx_info_add(info, "qemu", parts.qemu);
    if (uname(&u) == 0) {
        bx_info_addf(info, "os", "%s %s", u.sysname, u.release);
        bx_info_add(info, "arch", u.machine);
    }
}

static void on_facts(void *ud, const struct bx_host_facts *f, const struct bx_err *err)
{
    struct bx_op *op = ud;
    struct CBoxliteRuntime *rt = op->rt;
    struct CBoxliteInfo *info = bx_info_new();
    enum bx_engine engine = BX_ENGINE_TCG;
    struct bx_err why = BX_ERR_INIT;
    bool was_auto;

    if (!info || err) {
        if (!info)
            bx_fail(&why, BX_ERESOURCE, ENOMEM, "info");
        boxlite_info_free(info);
        bx_op_answer(op, err ? err : &why);
        return;
    }
    bx_info_add(info, "version", BX_VERSION);
    bx_info_add(info, "home", rt->home);
    if (bx_engine_choose(rt, "auto", f, &engine, &was_auto, &why) < 0)
        bx_info_add(info, "engine", "none");
    else
        bx_info_add(info, "engine", bx_engine_name(engine));
    bx_info_add(info, "engine.asked", rt->engine_default);
    bx_info_add(info, "kvm", yes_no(f));
    bx_info_add(info, "kvm.reason", f->verdict.reason);
    bx_info_add(info, "kvm.remedy", f->verdict.remedy);
    bx_info_addf(info, "protocol", "%d", BX_WIRE_VERSION);
    add_places(rt, engine, info);
    add_counts(rt, info);
    op->result = info;
    bx_op_answer(op, NULL);
}

BoxliteErrorCode boxlite_runtime_info(CBoxliteRuntime *rt, CBoxliteInfoCb cb, void *user_data,
                                      CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_op *op;

    if (!rt || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !rt ? "runtime" : "cb");
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(rt, BX_OP_INFO, (union bx_op_cb){.info = cb}, user_data, &err);
    if (op && bx_facts_get(rt, true, on_facts, op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
