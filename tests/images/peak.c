/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peak.c - runs a program and tells how much memory it had at most: peak FILE PROGRAM ARG... writes the KiB into FILE. The number is
 * that of the program alone: what starts it here is small, unlike the test that a fork of its own would count with it.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct rusage usage;
    int status = 0;
    if (argc < 3) {
        fprintf(stderr, "usage: peak FILE PROGRAM ARG...\n");
        return 2;
    }
    pid_t pid = fork();
    if (pid == 0) {
        execv(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid)
        return 125;
    FILE *f = fopen(argv[1], "we");
    if (!f || fprintf(f, "%ld\n", usage.ru_maxrss) < 0 || fclose(f) != 0)
        return 125;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
