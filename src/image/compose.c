/* SPDX-License-Identifier: Apache-2.0 */
/* compose.c - see compose.h. */
#include "image/compose.h"

#include <time.h>

#include "base/mem.h"
#include "host/json.h"

#define YEAR_9999 253402300799 /* its last second */

static void add_time(struct bx_jw *w, int64_t seconds)
{
    time_t t = (time_t)BX_MAX((int64_t)0, BX_MIN(seconds, (int64_t)YEAR_9999));
    struct tm tm;
    char text[32];
    gmtime_r(&t, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    bx_jw_str(w, "created", text);
}

static void add_list(struct bx_jw *w, const char *key, char *const *list)
{
    if (list && list[0])
        bx_jw_strv(w, key, list);
}

static void add_run_config(struct bx_jw *w, const struct bx_compose *c)
{
    bx_jw_obj(w, "config");
    if (c->user)
        bx_jw_str(w, "User", c->user);
    add_list(w, "Env", c->env);
    add_list(w, "Entrypoint", c->entrypoint);
    add_list(w, "Cmd", c->cmd);
    if (c->working_dir)
        bx_jw_str(w, "WorkingDir", c->working_dir);
    bx_jw_end(w);
}

int bx_compose_config(const struct bx_compose *c, struct bx_buf *out, struct bx_err *err)
{
    struct bx_jw w;
    bx_jw_init(&w, out, false);
    bx_jw_obj(&w, NULL);
    add_time(&w, c->created);
    bx_jw_str(&w, "architecture", c->arch);
    bx_jw_str(&w, "os", c->os);
    add_run_config(&w, c);
    bx_jw_obj(&w, "rootfs");
    bx_jw_str(&w, "type", "layers");
    bx_jw_arr(&w, "diff_ids");
    bx_jw_str(&w, NULL, c->diff_id);
    bx_jw_end(&w);
    bx_jw_end(&w);
    bx_jw_arr(&w, "history");
    bx_jw_obj(&w, NULL);
    add_time(&w, c->created);
    bx_jw_str(&w, "created_by", c->created_by);
    bx_jw_end(&w);
    bx_jw_end(&w);
    bx_jw_end(&w);
    return bx_jw_finish(&w, err);
}

static void add_descriptor(struct bx_jw *w, const char *key, const struct bx_descriptor *d)
{
    bx_jw_obj(w, key);
    bx_jw_str(w, "mediaType", d->media_type);
    bx_jw_str(w, "digest", d->digest);
    bx_jw_u64(w, "size", d->size);
    bx_jw_end(w);
}

int bx_compose_manifest(const struct bx_descriptor *config, const struct bx_descriptor *layers, size_t n_layers, struct bx_buf *out,
                        struct bx_err *err)
{
    struct bx_jw w;
    bx_jw_init(&w, out, false);
    bx_jw_obj(&w, NULL);
    bx_jw_u64(&w, "schemaVersion", 2);
    bx_jw_str(&w, "mediaType", BX_OCI_MANIFEST);
    add_descriptor(&w, "config", config);
    bx_jw_arr(&w, "layers");
    for (size_t i = 0; i < n_layers; i++)
        add_descriptor(&w, NULL, &layers[i]);
    bx_jw_end(&w);
    bx_jw_end(&w);
    return bx_jw_finish(&w, err);
}
