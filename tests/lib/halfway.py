#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""halfway.py [--no-landlock] PROGRAM...: runs it on a host that refuses namespaces half-way, as Ubuntu 24.04 does to programs without a
profile: unshare and clone make one, and in it nothing works that needs a capability: no mount, no host name. With --no-landlock the
kernel also has no Landlock. By a filter of system calls, which everything that is started inherits."""
import ctypes
import errno
import os
import struct
import sys

ALLOW, ERRNO = 0x7fff0000, 0x00050000
# x86-64 and, from 424 on, everybody.
REFUSED = {165: "EACCES", 166: "EACCES", 155: "EPERM", 170: "EPERM", 171: "EPERM", 428: "EPERM", 429: "EPERM", 430: "EPERM", 432: "EPERM",
           442: "EPERM"}
LANDLOCK = {444: "EOPNOTSUPP", 445: "EOPNOTSUPP", 446: "EOPNOTSUPP"}


def program(table):
    rows = [(0x20, 0, 0, 0)]  # the number
    for number, name in table.items():
        rows += [(0x15, 0, 1, number), (0x06, 0, 0, ERRNO | getattr(errno, name))]
    return rows + [(0x06, 0, 0, ALLOW)]


def main():
    words = sys.argv[1:]
    table = dict(REFUSED)
    if words[0] == "--no-landlock":
        words, table = words[1:], {**table, **LANDLOCK}
    rows = program(table)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    head = struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(head), 0, 0):  # no_new_privs, seccomp
        sys.exit(f"halfway.py: {os.strerror(ctypes.get_errno())}")
    os.execvp(words[0], words)


main()
