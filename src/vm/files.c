/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.c - which files a QEMU process opens by itself: what its jail must hold.
 *
 * The dynamic linker is asked (`ld.so --list`), since only it knows its cache, run paths and hardware variants. It reads the program's
 * headers and runs none of its code.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/spawn.h"
#include "vm/internal.h"

#define LIST_MAX 65536 /* bytes of the linker's answer; QEMU's is 5,000 */
#define INTERP_MAX 256

/* The program's dynamic linker (PT_INTERP). 0 or -errno. */
static int find_linker(const char *program, char dst[INTERP_MAX])
{
    bx_cleanup_close int fd = open(program, O_RDONLY | O_CLOEXEC);
    Elf64_Ehdr eh;
    Elf64_Phdr ph;

    if (fd < 0)
        return -errno;
    if (bx_pread_full(fd, &eh, sizeof(eh), 0) || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
        eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_phentsize != sizeof(ph))
        return -ENOEXEC;
    for (unsigned i = 0; i < eh.e_phnum; i++) {
        if (bx_pread_full(fd, &ph, sizeof(ph), (off_t)(eh.e_phoff + i * sizeof(ph))))
            return -ENOEXEC;
        if (ph.p_type != PT_INTERP)
            continue;
        if (ph.p_filesz < 2 || ph.p_filesz >= INTERP_MAX ||
            bx_pread_full(fd, dst, ph.p_filesz, (off_t)ph.p_offset))
            return -ENOEXEC;
        dst[ph.p_filesz] = '\0';
        return dst[0] == '/' ? 0 : -ENOEXEC;
    }
    return -ENOENT; /* static */
}

static bool listed(char *const *v, const char *s)
{
    for (size_t i = 0; v && v[i]; i++) {
        if (bx_streq(v[i], s))
            return true;
    }
    return false;
}

static int add_file(char ***v, const char *path, struct bx_err *err)
{
    if (listed(*v, path))
        return 0;
    if (bx_strv_len(*v) >= BX_VM_FILES_MAX)
        return bx_fail(err, BX_EENGINE, 0, "QEMU needs more than %d files", BX_VM_FILES_MAX);
    return bx_strv_add(v, path) ? bx_fail(err, BX_EINTERNAL, ENOMEM, "list of files") : 0;
}

/* "\tname => /path (0xaddress)" or "\t/path (0xaddress)"; the vdso has no path. */
static int add_line(char ***v, char *text, struct bx_err *err)
{
    char *arrow = strstr(text, "=> ");
    char *path = arrow ? arrow + 3 : text + strspn(text, " \t");

    if (strstr(path, "not found"))
        return bx_fail(err, BX_EENGINE, 0, "QEMU cannot run, a library is missing: %.100s", text + strspn(text, " \t"));
    path[strcspn(path, " \n")] = '\0';
    return path[0] == '/' ? add_file(v, path, err) : 0;
}

static int run_linker(const char *linker, const char *object, char **ret, struct bx_err *err)
{
    char *const argv[] = { (char *)linker, (char *)"--list", (char *)object, NULL };
    char *const envp[] = { NULL };
    bx_cleanup_close int out = -1;
    bx_cleanup_close int pidfd = -1;
    bx_cleanup_free char *text = NULL;
    struct bx_spawn_fd pass = { .dst = 1 };
    struct bx_spawn s = { .path = linker, .argv = argv, .envp = envp, .fds = &pass, .n_fds = 1 };
    int ends[2];
    int r;

    if (pipe2(ends, O_CLOEXEC))
        return bx_fail(err, BX_ERESOURCE, errno, "pipe");
    out = ends[0];
    pass.src = ends[1];
    pidfd = bx_spawn(&s, NULL, err);
    bx_close(ends[1]);
    if (pidfd < 0)
        return bx_prefix(err, "list the libraries of %s", object);
    r = bx_read_fd(out, LIST_MAX, &text, NULL);
    /* a linker that talks on would end by SIGPIPE */
    /* NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores): the cleanup reads it */
    out = bx_close(out);
    if (bx_spawn_wait(pidfd) != 0 || r)
        return bx_fail(err, BX_EENGINE, r < 0 ? -r : 0, "list the libraries of %s", object);
    *ret = BX_TAKE_PTR(text);
    return 0;
}

static int add_libraries(const char *linker, const char *object, char ***v, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    int r = run_linker(linker, object, &text, err);

    for (char *p = text, *next; r == 0 && p && *p; p = next) {
        next = p + strcspn(p, "\n");
        if (*next)
            *next++ = '\0';
        r = add_line(v, p, err);
    }
    return r;
}

int bx_vm_list_files(const struct bx_vm_parts *parts, enum bx_engine engine, char ***ret, struct bx_err *err)
{
    bx_cleanup_strv char **v = NULL;
    char linker[INTERP_MAX];
    char module[BX_VM_PATH_MAX];
    char firmware[BX_VM_PATH_MAX];
    int r = find_linker(parts->qemu, linker);

    if (r)
        return bx_fail(err, BX_EENGINE, -r, "%s is not a program we can jail", parts->qemu);
    (void)bx_vm_find_module(parts->qemu, engine, module, sizeof(module));
    if (bx_vm_find_firmware(parts->qemu, firmware, sizeof(firmware)))
        return bx_fail(err, BX_EENGINE, ENOENT, "QEMU's firmware bios-microvm.bin");
    r = add_file(&v, parts->qemu, err);
    if (r == 0)
        r = add_file(&v, linker, err);
    if (r == 0)
        r = add_file(&v, firmware, err);
    if (r == 0 && *module)
        r = add_file(&v, module, err);
    if (r == 0 && access("/etc/ld.so.cache", R_OK) == 0)
        r = add_file(&v, "/etc/ld.so.cache", err);
    if (r == 0)
        r = add_libraries(linker, parts->qemu, &v, err);
    if (r == 0 && *module)
        r = add_libraries(linker, module, &v, err);
    if (r == 0)
        r = add_libraries(linker, parts->hook, &v, err);
    if (r)
        return r;
    *ret = BX_TAKE_PTR(v);
    return 0;
}
