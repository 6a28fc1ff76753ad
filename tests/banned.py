#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Functions that are not used here, each with what to use instead.

Looks for calls in src/ and sdk/, outside comments and strings; prints file:line for each and fails. With --self-test,
checks that calls are found and their look-alikes are not.
"""
import re
import sys

import include_rules

BUFFER = "bx_buf_* or snprintf"
NUMBER = "bx_parse_u64 or bx_parse_i64 (whole words, stated bounds)"
WAIT = "an event with a deadline (loop/loop.h)"
BANNED = {
    "strcpy": BUFFER, "strncpy": BUFFER, "stpcpy": BUFFER, "strcat": BUFFER, "strncat": BUFFER,
    "sprintf": BUFFER, "vsprintf": BUFFER, "gets": "bx_read_fd",
    "strtok": "strtok_r, strchr or strspn",
    "atoi": NUMBER, "atol": NUMBER, "atoll": NUMBER, "atof": NUMBER,
    "strtol": NUMBER, "strtoul": NUMBER, "strtoll": NUMBER, "strtoull": NUMBER,
    "scanf": NUMBER, "sscanf": NUMBER, "fscanf": NUMBER,
    "alloca": "the heap, or an array of fixed size",
    "system": "bx_spawn", "popen": "bx_spawn",
    "sleep": WAIT, "usleep": WAIT, "nanosleep": WAIT, "clock_nanosleep": WAIT,
    "mktemp": "bx_tmpfile_at", "tmpnam": "bx_tmpfile_at",
    # Not close-on-exec at birth.
    "pipe": "pipe2 with O_CLOEXEC", "accept": "accept4 with SOCK_CLOEXEC", "creat": "open with O_CLOEXEC",
    "epoll_create": "epoll_create1", "inotify_init": "inotify_init1",
    "rand": "bx_random", "random": "bx_random", "srand": "bx_random",
}
# The name as a whole word, followed by a parenthesis, not a member (.pipe(, ->pipe().
CALL = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(map(re.escape, BANNED)))


def breaches(root):
    found = []
    for path in include_rules.c_files(root, ["src", "sdk"]):
        for number, line in enumerate(include_rules.blank(include_rules.read(root, path), True).split("\n"), 1):
            for name in CALL.findall(line):
                found.append("%s:%d: %s is not used here: %s" % (path, number, name, BANNED[name]))
    return found


SELF_TEST = [
    ("src/a/a.c", "int x = my_atoi(y); snprintf(b, n, f); bx_system(q); s->pipe(1); ops.accept(2); pipe2(p, 0);\n", ""),
    ("src/a/a.c", '/* strcpy(a, b) */ // gets(s)\nputs("system(1)"); char c = \'"\'; puts("a\\"gets(b)");\n', ""),
    ("src/a/a.c", "int sleep_ms; int system;\n", ""),
    ("src/a/a.c", "\n\nx = strtol (s, NULL, 10);\n", "src/a/a.c:3: strtol is not used here"),
    ("src/a/a.h", "/* one\n two */ strcpy(a, b);\n", "src/a/a.h:2: strcpy"),
    ("sdk/node/a.c", "{usleep(5);}\n", "usleep is not used here: an event"),
    ("src/a/a.c", "p = alloca(n);\n", "alloca"),
    ("src/a/a.c", "pipe(p);\n", "pipe2 with O_CLOEXEC"),
]

if __name__ == "__main__":
    sys.exit(include_rules.main(SELF_TEST, breaches, "banned functions"))
