/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - boxlite-unpack: the program that parses image layers, and can do nothing else.
 *
 *   boxlite-unpack convert REQUEST STATUS                layers to one ext4 file (request.h)
 *                                                        last line: ok FILES BYTES-WRITTEN SIZE
 *   boxlite-unpack scan    IN SPOOL STATUS MAX-BYTES     an archive's members into a spool file (scan.h)
 *                                                        last line: ok MEMBERS BYTES
 *   boxlite-unpack hash    IN OUT|-1 STATUS MAX-BYTES    copies and hashes one file
 *                                                        lines: file SIZE SHA256, ok 1 SIZE
 *   boxlite-unpack import  IN OUT STATUS MAX-BYTES SCRATCH  copies a file, pipe or socket and reads it as a tar (import.h)
 *                                                        lines: file SIZE SHA256, content SIZE SHA256, tar ..., ok 1 SIZE
 *   boxlite-unpack sync    FILE -1 STATUS 0              waits until a file is on the disk: ok 1 SIZE
 *
 * What is written is on the disk before "ok" is said: whoever waits for the disk here keeps no event loop waiting.
 *
 * All arguments are numbers of inherited descriptors and limits; lines on STATUS are described in status.h. Exit code 0
 * after ok, 1 after error, 2 when the arguments make no sense, 3 when nobody reads STATUS; SIGSYS when the program
 * tried what its filter forbids.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "unpack/convert.h"
#include "unpack/import.h"
#include "unpack/lockdown.h"
#include "unpack/scan.h"
#include "unpack/tar.h"

#if defined(__SANITIZE_ADDRESS__) || defined(BX_SANITIZED)
/* The leak checker needs what the filter forbids; leaks are looked for in the unit tests. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

static int take_fd(const char *s, int64_t min, int *ret)
{
    int64_t v = 0;
    int r = bx_parse_i64(s, min, 1 << 20, &v);
    *ret = (int)v;
    return r;
}

/* STATUS, until the last word was said. */
static int owes_last_word = -1;

/* libarchive ends the program by exit(3) when memory is short in places where it cannot say so. */
static void say_last_word(void)
{
    struct bx_err err = BX_ERR_INIT;
    if (owes_last_word < 0)
        return;
    (void)bx_fail(&err, BX_ERESOURCE, ENOMEM, "read the archive");
    bx_status_error(owes_last_word, &err);
}

/* Everything that is loaded on first use is loaded here; then the door closes. */
static int lock_down(const struct bx_lockdown_limits *limits, struct bx_err *err)
{
    struct evp_md_ctx_st *sha = bx_sha256_new();
    if (!sha)
        return bx_fail(err, BX_EINTERNAL, 0, "OpenSSL has no SHA-256");
    bx_sha256_free(sha);
    if (atexit(say_last_word))
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "prepare");
    int r = bx_tar_warm_up(err);
    return r < 0 ? r : bx_lockdown(limits, err);
}

static int finish(int status, int r, const struct bx_err *err)
{
    owes_last_word = -1;
    if (r >= 0)
        return 0;
    bx_status_error(status, err);
    return 1;
}

static int run_convert(int request_fd, int status)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_request req = { 0 };
    struct bx_convert_result result = { 0 };
    struct bx_progress progress = { .fd = status };
    struct bx_lockdown_limits limits;
    int r = bx_request_read(request_fd, &req, &err);
    for (size_t i = 0; r >= 0 && i < req.n_layers; i++)
        progress.total += req.layers[i].size;
    bx_convert_limits(&req, &limits);
    if (r >= 0)
        r = lock_down(&limits, &err);
    if (r >= 0)
        r = bx_convert_check_space(&req, &err);
    if (r >= 0)
        r = bx_convert(&req, &progress, &result, &err);
    if (r >= 0)
        bx_status_line(status, "ok %u %llu %llu", result.entries, (unsigned long long)result.bytes,
                       (unsigned long long)result.size);
    bx_request_done(&req);
    return finish(status, r, &err);
}

/* Nothing longer than max_bytes is written, but for what makes whole blocks. */
static int open_input(int in, uint64_t max_bytes, struct bx_progress *progress, struct bx_err *err)
{
    const struct bx_lockdown_limits limits = {
        .address_space = 2ULL << 30,
        .memory = 512ULL << 20,
        .file_size = max_bytes + (1U << 20),
    };
    struct stat st;
    if (fstat(in, &st) < 0 || !S_ISREG(st.st_mode))
        return bx_fail(err, BX_EINVALID, 0, "the input is not a regular file");
    progress->total = (uint64_t)st.st_size;
    return lock_down(&limits, err);
}

static int run_scan(int in, int spool, int status, uint64_t max_bytes)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_progress progress = { .fd = status };
    uint64_t members = 0, bytes = 0;
    int r = open_input(in, max_bytes, &progress, &err);
    if (r >= 0)
        r = bx_scan(in, progress.total, spool, max_bytes, &progress, &members, &bytes, &err);
    if (r >= 0)
        bx_status_line(status, "ok %llu %llu", (unsigned long long)members, (unsigned long long)bytes);
    return finish(status, r, &err);
}

static int run_hash(int in, int out, int status, uint64_t max_bytes)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_progress progress = { .fd = status };
    uint64_t size = 0;
    char hex[65];
    int r = open_input(in, max_bytes, &progress, &err);
    if (r >= 0)
        r = bx_hash_file(in, out, max_bytes, &progress, &size, hex, &err);
    if (r >= 0 && out >= 0 && fsync(out) < 0)
        r = bx_fail(&err, BX_ESTORAGE, errno, "write the copy");
    if (r >= 0) {
        bx_status_line(status, "file %llu %s", (unsigned long long)size, hex);
        bx_status_line(status, "ok 1 %llu", (unsigned long long)size);
    }
    return finish(status, r, &err);
}

static void tell_file(int status, const char *word, uint64_t size, const uint8_t digest[BX_SHA256_LEN])
{
    char hex[2 * BX_SHA256_LEN + 1];
    bx_hex(hex, digest, BX_SHA256_LEN);
    bx_status_line(status, "%s %llu %s", word, (unsigned long long)size, hex);
}

/* What kind of file it is cannot be asked any more when the door is closed. */
static int open_archive(struct bx_import_files *f, struct bx_progress *progress, struct bx_err *err)
{
    struct stat st;
    if (fstat(f->in, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        return bx_fail(err, BX_EINVALID, 0, "the archive is neither a regular file nor a pipe");
    f->stream = !S_ISREG(st.st_mode);
    progress->total = f->stream ? 0 : 2 * (uint64_t)st.st_size; /* copied, then read */
    return 0;
}

static int run_import(int in, int out, int status, uint64_t max_bytes, int scratch)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_progress progress = { .fd = status };
    struct bx_import_files files = { .in = in, .out = out, .scratch = scratch };
    struct bx_import_result result = { 0 };
    struct bx_lockdown_limits limits;
    int r = open_archive(&files, &progress, &err);
    bx_import_limits(max_bytes, &limits);
    if (r >= 0)
        r = lock_down(&limits, &err);
    if (r >= 0)
        r = bx_import(&files, max_bytes, &progress, &result, &err);
    if (r >= 0) {
        tell_file(status, "file", result.size, result.blob);
        tell_file(status, "content", result.content_size, result.content);
        bx_status_line(status, "tar %s %llu %lld", result.packing, (unsigned long long)result.entries, (long long)result.newest);
        bx_status_line(status, "ok 1 %llu", (unsigned long long)result.size);
    }
    return finish(status, r, &err);
}

static int run_sync(int file, int status)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_progress progress = { .fd = status };
    int r = open_input(file, 0, &progress, &err);
    if (r >= 0 && fsync(file) < 0)
        r = bx_fail(&err, BX_ESTORAGE, errno, "write the file");
    if (r >= 0)
        bx_status_line(status, "ok 1 %llu", (unsigned long long)progress.total);
    return finish(status, r, &err);
}

static int usage(void)
{
    fputs("boxlite-unpack is started by libboxlite: convert REQUEST STATUS | scan IN SPOOL STATUS MAX-BYTES | "
          "hash IN OUT STATUS MAX-BYTES | import IN OUT STATUS MAX-BYTES SCRATCH | sync FILE -1 STATUS 0\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    int a = -1, b = -1, status = -1, scratch = -1;
    uint64_t max_bytes = 0;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* EFBIG is said in words */
    if (argc == 4 && strcmp(argv[1], "convert") == 0) {
        if (take_fd(argv[2], 0, &a) < 0 || take_fd(argv[3], 0, &status) < 0)
            return usage();
        owes_last_word = status;
        return run_convert(a, status);
    }
    bool is_import = argc == 7 && strcmp(argv[1], "import") == 0 && take_fd(argv[6], 0, &scratch) >= 0;
    if ((argc != 6 && !is_import) || take_fd(argv[2], 0, &a) < 0 || take_fd(argv[3], -1, &b) < 0 || take_fd(argv[4], 0, &status) < 0 ||
        bx_parse_u64(argv[5], 0, UINT64_MAX / 4, &max_bytes) < 0)
        return usage();
    owes_last_word = status;
    if (strcmp(argv[1], "scan") == 0)
        return run_scan(a, b, status, max_bytes);
    if (strcmp(argv[1], "hash") == 0)
        return run_hash(a, b, status, max_bytes);
    if (is_import)
        return run_import(a, b, status, max_bytes, scratch);
    if (strcmp(argv[1], "sync") == 0)
        return run_sync(a, status);
    owes_last_word = -1;
    return usage();
}
