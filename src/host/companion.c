/* SPDX-License-Identifier: Apache-2.0 */
/* companion.c - see companion.h. */
#include "host/companion.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/mem.h"

/* The file this code was loaded from, links resolved. 0 or -errno. */
static int own_object(char dst[PATH_MAX])
{
    Dl_info us, program;
    const char *file = "/proc/self/exe";

    /* For the program itself dladdr gives argv[0], which may be anything; /proc/self/exe is the truth. */
    if (dladdr((void *)(uintptr_t)&own_object, &us) && dladdr((void *)getauxval(AT_ENTRY), &program) &&
        us.dli_fbase != program.dli_fbase && us.dli_fname)
        file = us.dli_fname;
    return realpath(file, dst) ? 0 : -errno;
}

/* Directories to search, in order; each at most PATH_MAX. Returns how many. */
#define PLACES 3
static size_t places(char dst[PLACES][PATH_MAX])
{
    /* beside; <prefix>/bin or <prefix>/lib; <prefix>/lib/<triplet> */
    static const char *const relative[PLACES] = {"", "/../libexec/boxlite", "/../../libexec/boxlite"};
    const char *env = getenv("BOXLITE_LIBEXEC");
    char self[PATH_MAX];
    size_t n = 0;

    if (env && *env)
        return realpath(env, dst[0]) || snprintf(dst[0], PATH_MAX, "%s", env) < PATH_MAX ? 1 : 0;
    if (own_object(self) < 0)
        return 0;
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < PLACES; i++) {
        char path[PATH_MAX + 32];

        snprintf(path, sizeof(path), "%s%s", self, relative[i]);
        if (realpath(path, dst[n]))
            n++;
    }
    return n;
}

int bx_companion_path(const char *name, char *dst, size_t size, struct bx_err *err)
{
    char dirs[PLACES][PATH_MAX];
    size_t n = places(dirs);

    for (size_t i = 0; i < n; i++) {
        int r = snprintf(dst, size, "%s/%s", dirs[i], name);

        if (r < 0 || (size_t)r >= size)
            return bx_fail(err, BX_EINVALID, ENAMETOOLONG, "%s", dirs[i]);
        if (access(dst, F_OK) == 0)
            return 0;
    }
    bx_fail(err, BX_ENOTFOUND, 0, "%s is missing", name);
    for (size_t i = 0; err && i < n; i++)
        bx_err_append(err, "%s%s", i == 0 ? ": looked in " : ", ", dirs[i]);
    if (err)
        bx_err_append(err, "; run `make` (it builds everything), or set BOXLITE_LIBEXEC");
    return -BX_ENOTFOUND;
}

int bx_companion_dir(char *dst, size_t size, struct bx_err *err)
{
    int r = bx_companion_path("boxlite-shim", dst, size, err);

    if (r == 0)
        *strrchr(dst, '/') = '\0';
    return r;
}
