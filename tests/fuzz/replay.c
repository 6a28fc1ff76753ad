/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - gives every file of the named directories (or the named files) to a fuzzer, once. For builds
 * without libFuzzer: what a fuzzer found stays found. A directory without files is a failure: a corpus that
 * was lost would pass for ever.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(int dirfd, const char *dir, const char *name)
{
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    uint8_t *data;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0) {
        fprintf(stderr, "%s/%s: %s\n", dir, name, strerror(errno));
        return -1;
    }
    /* Exactly as large as the file, so that the sanitizer sees a read past its end; a fresh one also when
     * it is empty. */
    data = malloc((size_t)st.st_size + (st.st_size == 0));
    n = data ? read(fd, data, (size_t)st.st_size) : -1;
    close(fd);
    if (n != st.st_size) {
        fprintf(stderr, "%s/%s: cannot read\n", dir, name);
        free(data);
        return -1;
    }
    /* Said before, so that a crash has a name. */
    printf("%s\n", name);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, (size_t)n);
    free(data);
    return 0;
}

static int run_directory(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int files = 0, failed = 0;

    if (!dir) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        files++;
        if (run_file(dirfd(dir), path, entry->d_name) < 0)
            failed++;
    }
    closedir(dir);
    if (files == 0)
        fprintf(stderr, "%s: no input\n", path);
    return files == 0 || failed > 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
    int failed = argc < 2;

    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (stat(argv[i], &st) < 0 ||
            (S_ISDIR(st.st_mode) ? run_directory(argv[i]) : run_file(AT_FDCWD, ".", argv[i])) < 0)
            failed = 1;
    }
    return failed;
}
