/* SPDX-License-Identifier: Apache-2.0 */
/* remedy.c - what to do on this host so that a layer can be had. */
#include <fcntl.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "jail/plan.h"

/* A number in a file of /proc/sys, -1 where there is none. */
static int64_t sysctl_value(const char *name)
{
    bx_cleanup_free char *path = bx_strf("/proc/sys/%s", name), *text = NULL;
    int64_t n = -1;
    size_t len;

    if (!path || bx_read_file(AT_FDCWD, path, 64, &text, &len) < 0)
        return -1;
    text[strcspn(text, "\n")] = '\0';
    return bx_parse_i64(text, 0, INT64_MAX, &n) == 0 ? n : -1;
}

static const char *namespace_remedy(void)
{
    if (sysctl_value("kernel/apparmor_restrict_unprivileged_userns") > 0)
        return "AppArmor lets no program of yours make namespaces (Ubuntu 23.10 and later): sysctl kernel.apparmor_restrict_unprivileged_userns=0, "
               "or a profile for boxlite-shim with `userns,`";
    if (sysctl_value("kernel/unprivileged_userns_clone") == 0)
        return "sysctl kernel.unprivileged_userns_clone=1";
    if (sysctl_value("user/max_user_namespaces") == 0)
        return "sysctl user.max_user_namespaces=15000";
    return "in a container: let it make namespaces (Docker: --security-opt seccomp=unconfined, or --privileged)";
}

const char *bx_jail_remedy(const char *layer)
{
    if (bx_streq(layer, "cgroup"))
        return "let the user have a control group (systemd-run --user --scope -p Delegate=yes boxlite ...); without it the host does not bound a "
               "machine's memory";
    if (bx_streq(layer, "landlock"))
        return "a kernel with Landlock; it counts where namespaces are refused";
    return strstr(layer, "_ns") || bx_streq(layer, "root") ? namespace_remedy() : "";
}
