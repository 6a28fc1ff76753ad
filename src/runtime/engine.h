/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - what is known about this host's ability to run machines: found out once per boot by a process of
 * its own, kept in <home>/cache/host.json (private).
 */
#ifndef BX_RUNTIME_ENGINE_H
#define BX_RUNTIME_ENGINE_H

#include "host/spawn.h"
#include "runtime/runtime.h"
#include "vm/probe.h"
#include "vm/shape.h"

struct bx_host_facts {
    struct bx_engine_verdict verdict;
    uint64_t tsc_khz;
};

/* "auto", "kvm" or "tcg"? */
bool bx_engine_choice_valid(const char *s);

/*
 * Calls fn with the facts, or NULL and an error: at once (from within) when they are known, else when they
 * are. need_verdict false: only the TSC's frequency is wanted. Negative: fn will not be called.
 */
typedef void bx_facts_fn(void *ud, const struct bx_host_facts *facts, const struct bx_err *err);
int bx_facts_get(struct CBoxliteRuntime *rt, bool need_verdict, bx_facts_fn *fn, void *ud,
                 struct bx_err *err);
/* fn will not be called for this ud. */
void bx_facts_forget(struct CBoxliteRuntime *rt, void *ud);
void bx_verdict_free(struct CBoxliteRuntime *rt);

/* What a choice gives on this host. -BX_EENGINEKIND with reason and remedy. */
int bx_engine_choose(struct CBoxliteRuntime *rt, const char *choice, const struct bx_host_facts *facts,
                     enum bx_engine *ret, bool *ret_was_auto, struct bx_err *err);

/* Directory of our programs; borrowed from rt. NULL with err. */
const char *bx_libexec(struct CBoxliteRuntime *rt, struct bx_err *err);

/* A spawn of boxlite-shim with this plan on descriptor 3. All in one, so that the caller's stack frees it. */
struct bx_shim_plan;
struct bx_shim_spawn {
    struct bx_spawn spawn;
    struct bx_spawn_fd fds[4];
    char *argv[4];
    char path[4096];
    int plan_fd;
};
int bx_shim_spawn_make(struct CBoxliteRuntime *rt, const struct bx_shim_plan *plan, struct bx_shim_spawn *ret,
                       struct bx_err *err);
void bx_shim_spawn_done(struct bx_shim_spawn *s);

#endif
