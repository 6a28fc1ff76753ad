/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape.c - shapes, the installed parts of a machine, and template keys.
 *
 * The key's text holds the whole command line that makes the template (with the names of files replaced by what they contain),
 * so nothing that is said to QEMU can be forgotten in it.
 */
#include "vm/shape.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/json.h"
#include "vm/internal.h"

#define KEY_VERSION 2   /* of this text's meaning: raise it when what makes a template changes outside of the command line */
#define KEY_TEXT_MAX 16384
#define BOOT_JSON_MAX 65536
#define HOOK_MAX (1024 * 1024)

const char *bx_engine_name(enum bx_engine e)
{
    return e == BX_ENGINE_KVM ? "kvm" : "tcg";
}

int bx_engine_parse(const char *s, enum bx_engine *ret)
{
    if (bx_streq(s, "kvm"))
        *ret = BX_ENGINE_KVM;
    else if (bx_streq(s, "tcg"))
        *ret = BX_ENGINE_TCG;
    else
        return -EINVAL;
    return 0;
}

int bx_vm_shape_round(struct bx_vm_shape *s, struct bx_err *err)
{
    if (s->engine != BX_ENGINE_TCG && s->engine != BX_ENGINE_KVM)
        return bx_fail(err, BX_EINVALID, 0, "no engine %d", (int)s->engine);
    if (s->cpus < 1 || s->cpus > BX_CPUS_MAX)
        return bx_fail(err, BX_EINVALID, 0, "cpus must be 1 to %d, not %u", BX_CPUS_MAX, s->cpus);
    if (s->memory_mib < BX_MEMORY_MIN_MIB || s->memory_mib > BX_MEMORY_MAX_MIB)
        return bx_fail(err, BX_EINVALID, 0, "memory must be %d to %d MiB, not %u", BX_MEMORY_MIN_MIB,
                       BX_MEMORY_MAX_MIB, s->memory_mib);
    if (s->engine == BX_ENGINE_TCG && s->tsc_khz == 0)
        return bx_fail(err, BX_EINVALID, 0, "a tcg machine needs the TSC's frequency");
    s->memory_mib = BX_ALIGN_UP(s->memory_mib, BX_MEMORY_STEP_MIB);
    if (s->engine == BX_ENGINE_KVM)
        s->tsc_khz = 0;
    return 0;
}

/* --- the installed parts --- */

static bool usable(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* First program of this name in PATH and the usual places, resolved. 0 or -ENOENT. */
static int find_program(const char *name, char dst[BX_VM_PATH_MAX])
{
    const char *path = getenv("PATH");
    bx_cleanup_free char *places = bx_strf("%s:/usr/bin:/usr/local/bin:/usr/libexec", path && *path ? path : "/usr/bin");

    for (const char *p = places; p && *p;) {
        size_t n = strcspn(p, ":");
        bx_cleanup_free char *candidate = bx_strf("%.*s/%s", (int)n, p, name);
        char real[PATH_MAX];

        if (n && p[0] == '/' && candidate && usable(candidate) && realpath(candidate, real) &&
            strlen(real) < BX_VM_PATH_MAX) {
            memcpy(dst, real, strlen(real) + 1);
            return 0;
        }
        p += n + (p[n] == ':');
    }
    return -ENOENT;
}

static int find_qemu(enum bx_engine engine, struct bx_vm_parts *ret, struct bx_err *err)
{
    const char *own = getenv("BOXLITE_QEMU");
    char real[PATH_MAX];

    if (own && *own) {
        if (own[0] != '/' || !usable(own) || !realpath(own, real) || strlen(real) >= BX_VM_PATH_MAX)
            return bx_fail(err, BX_EENGINE, 0, "BOXLITE_QEMU=%s is not the absolute path of a program", own);
        memcpy(ret->qemu, real, strlen(real) + 1);
        return 0;
    }
    if (engine == BX_ENGINE_KVM && find_program("qemu-system-x86_64-microvm", ret->qemu) == 0)
        return 0;
    if (find_program("qemu-system-x86_64", ret->qemu) == 0)
        return 0;
    return bx_fail(err, BX_EENGINE, 0,
                   "QEMU is not installed: qemu-system-x86_64 is not in PATH. On Debian and Ubuntu install the package "
                   "qemu-system-x86; elsewhere set BOXLITE_QEMU");
}

/* <dir of the program>/../<where>/<name>, for the first `where` that has it; dst "" and -ENOENT when none has. */
static int find_beside(const char *qemu, const char *const *where, const char *name, char *dst, size_t size)
{
    const char *slash = strrchr(qemu, '/');
    const char *up = slash;

    dst[0] = '\0';
    while (up && up > qemu && *--up != '/')
        ;
    for (size_t i = 0; up && where[i]; i++) {
        bx_cleanup_free char *path = bx_strf("%.*s/%s/%s", (int)(up - qemu), qemu, where[i], name);

        if (path && access(path, R_OK) == 0 && strlen(path) < size) {
            memcpy(dst, path, strlen(path) + 1);
            return 0;
        }
    }
    return -ENOENT;
}

int bx_vm_find_module(const char *qemu, enum bx_engine engine, char *dst, size_t size)
{
    static const char *const where[] = { "lib/x86_64-linux-gnu/qemu", "lib64/qemu-kvm", "lib64/qemu", "lib/qemu", NULL };

    if (engine == BX_ENGINE_TCG)
        return find_beside(qemu, where, "accel-tcg-x86_64.so", dst, size);
    dst[0] = '\0';
    return -ENOENT;
}

int bx_vm_find_firmware(const char *qemu, char *dst, size_t size)
{
    static const char *const where[] = { "share/qemu", "share/seabios", "share/qemu-kvm", "share/qemu/firmware", NULL };

    return find_beside(qemu, where, "bios-microvm.bin", dst, size);
}

static uint64_t hash_stat(uint64_t hash, const struct stat *st)
{
    const struct {
        uint64_t size, mtime_s, mtime_ns, ino;
    } id = { (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ino };

    return bx_fnv1a(hash, &id, sizeof(id));
}

static void hash_file_identity(uint64_t *hash, const char *path)
{
    struct stat st = { 0 };

    if (*path && stat(path, &st))
        st = (struct stat){ 0 };
    *hash = bx_fnv1a(*hash, path, strlen(path));
    *hash = hash_stat(*hash, &st);
}

static int identify_qemu(enum bx_engine engine, struct bx_vm_parts *p, struct bx_err *err)
{
    char module[BX_VM_PATH_MAX];
    char firmware[BX_VM_PATH_MAX];
    uint64_t hash = BX_FNV1A_SEED;

    (void)bx_vm_find_module(p->qemu, engine, module, sizeof(module)); /* may be built in */
    if (bx_vm_find_firmware(p->qemu, firmware, sizeof(firmware)))
        return bx_fail(err, BX_EENGINE, 0, "QEMU's firmware bios-microvm.bin is missing beside %s (Debian package "
                       "qemu-system-data or seabios)", p->qemu);
    hash_file_identity(&hash, p->qemu);
    hash_file_identity(&hash, module);
    hash_file_identity(&hash, firmware);
    (void)snprintf(p->qemu_id, sizeof(p->qemu_id), "%016" PRIx64, hash);
    return 0;
}

static int part_path(const char *libexec, const char *name, char dst[BX_VM_PATH_MAX], struct bx_err *err)
{
    bx_cleanup_free char *path = bx_strf("%s/%s", libexec, name);
    char real[PATH_MAX];

    if (!path)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "parts of the machine");
    if (access(path, R_OK) || !realpath(path, real))
        return bx_fail(err, BX_EENGINE, errno, "part of the machine is missing: %s (incomplete installation)", path);
    if (strlen(real) >= BX_VM_PATH_MAX)
        return bx_fail(err, BX_EENGINE, ENAMETOOLONG, "%s", real);
    memcpy(dst, real, strlen(real) + 1);
    return 0;
}

static int read_boot_json(const char *path, struct bx_vm_parts *p, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    bx_cleanup_json struct bx_json doc = { 0 };
    const char *kernel;
    const char *initramfs;
    size_t len;
    int r = bx_read_file(AT_FDCWD, path, BOOT_JSON_MAX, &text, &len);

    if (r)
        return bx_fail(err, BX_EENGINE, -r, "read %s", path);
    if (bx_json_parse(text, len, NULL, "boot.json", &doc, err) ||
        bx_json_str(&doc, "kernel_sha256", 64, &kernel, err) ||
        bx_json_str(&doc, "initramfs_sha256", 64, &initramfs, err))
        return bx_prefix(err, "%s", path);
    (void)snprintf(p->boot_id, sizeof(p->boot_id), "%s %s", kernel, initramfs);
    return 0;
}

int bx_vm_parts_find(const char *libexec, enum bx_engine engine, struct bx_vm_parts *ret, struct bx_err *err)
{
    struct bx_vm_parts p = { 0 };
    char boot[BX_VM_PATH_MAX];
    bx_cleanup_free char *hook = NULL;
    size_t hook_len;
    int r;

    r = find_qemu(engine, &p, err);
    if (r == 0)
        r = identify_qemu(engine, &p, err);
    if (r == 0)
        r = part_path(libexec, "vmlinux", p.kernel, err);
    if (r == 0)
        r = part_path(libexec, "initramfs.cpio", p.initramfs, err);
    if (r == 0)
        r = part_path(libexec, "libbxramhook.so", p.hook, err);
    if (r == 0)
        r = part_path(libexec, "boot.json", boot, err);
    if (r == 0)
        r = read_boot_json(boot, &p, err);
    if (r)
        return r;
    r = bx_read_file(AT_FDCWD, p.hook, HOOK_MAX, &hook, &hook_len);
    if (r)
        return bx_fail(err, BX_EENGINE, -r, "read %s", p.hook);
    p.hook_hash = bx_fnv1a(BX_FNV1A_SEED, hook, hook_len);
    *ret = p;
    return 0;
}

/* --- keys --- */

char *bx_vm_disk_id(int disks_fd, const char *name, struct bx_err *err)
{
    struct stat st;
    uint64_t hash;
    char *text;

    if (fstatat(disks_fd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode)) {
        (void)bx_fail(err, BX_ESTORAGE, errno, "disk %s", name);
        return NULL;
    }
    hash = hash_stat(BX_FNV1A_SEED, &st);
    text = bx_strf("disk=%s\ndisk-id=%016" PRIx64 "\n", name, hash);
    if (!text)
        (void)bx_fail(err, BX_EINTERNAL, ENOMEM, "template key");
    return text;
}

int bx_vm_key_make(const struct bx_vm_shape *s, const struct bx_vm_parts *p, const char *root, struct bx_vm_key *ret,
                   struct bx_err *err)
{
    const struct bx_vm_args args = {
        .mode = BX_QEMU_MAKE, .shape = s, .qemu = "qemu", .kernel = "vmlinux", .initramfs = "initramfs.cpio",
        .disk = root != NULL, .base = root != NULL,
    };
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(KEY_TEXT_MAX);
    bx_cleanup_strv char **argv = bx_vm_args_build(&args);
    char *text;

    if (!argv)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "template key");
    (void)bx_buf_addf(&b, "boxlite-template %d\n", KEY_VERSION);
    (void)bx_buf_addf(&b, "qemu %s %s\n", p->qemu, p->qemu_id);
    (void)bx_buf_addf(&b, "boot %s\n", p->boot_id);
    (void)bx_buf_addf(&b, "hook %016" PRIx64 "\n", p->hook_hash);
    for (size_t i = 1; argv[i]; i++)
        (void)bx_buf_addf(&b, "arg %s\n", argv[i]);
    if (root)
        (void)bx_buf_addstr(&b, root);
    text = bx_buf_take_str(&b);
    if (!text)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "template key");
    (void)snprintf(ret->name, sizeof(ret->name), "%s-c%u-m%u%s-%s%016" PRIx64, bx_engine_name(s->engine), s->cpus,
                   s->memory_mib, s->network ? "n" : "", root ? "i" : "", bx_fnv1a(BX_FNV1A_SEED, text, strlen(text)));
    ret->text = text;
    return 0;
}

void bx_vm_key_done(struct bx_vm_key *k)
{
    free(k->text);
    *k = (struct bx_vm_key){ 0 };
}

bool bx_vm_key_has_root(const struct bx_vm_key *k)
{
    return strstr(k->text, "\ndisk=") != NULL;
}
