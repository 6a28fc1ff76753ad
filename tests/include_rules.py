#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include what (docs/ARCHITECTURE.md, "The house").

Every #include "room/file.h" under src/ must name the file's own room or one that the table allows; the headers of some
libraries stay in the one room that is answerable for the library; language modules see the public header only.
Prints file:line for each breach and fails. With --self-test, checks that each kind of breach is found.
"""
import os
import re
import sys
import tempfile

ROOMS = {
    "base": "",
    "loop": "base",
    "wire": "base",
    "relay": "base loop wire",
    "host": "base loop",
    "jail": "base",
    "policy": "base",
    "files": "base wire jail",
    "disk": "base",
    "vm": "base loop host jail disk",
    "image": "base host",
    "store": "base",
    "runtime": "base loop wire relay host jail policy disk vm image store boxlite.h",
    "guest": "base loop wire relay files",
    "shim": "base loop wire relay host jail vm",
    "net": "base loop wire relay jail policy",
    "pull": "base loop host jail image",
    "unpack": "base disk",
    "cli": "boxlite.h base host",
    "serve": "boxlite.h base loop host",
}

# The library only asks the vm room about shapes and engines: machines are driven by the shim.
ONLY_HEADERS = {("runtime", "vm"): {"vm/shape.h", "vm/probe.h", "vm/template_evict.h"}}

# Library headers (exact names, or folders ending in /) and the places they may be used.
LIBRARIES = {
    "sqlite3.h": ["src/store/"],
    "jansson.h": ["src/host/json.c"],
    "archive.h": ["src/unpack/"],
    "archive_entry.h": ["src/unpack/"],
    "ext2fs/": ["src/disk/"],
    "et/": ["src/disk/"],
    "seccomp.h": ["src/jail/"],
    "cap-ng.h": ["src/jail/"],
    "openssl/": ["src/pull/", "src/unpack/"],
    "curl/": ["src/pull/"],
    "microhttpd.h": ["src/serve/"],
    "wslay/": ["src/serve/"],
}
# nanopb and what it generates belong to wire.
PROTOBUF = re.compile(r"^(pb|pb_\w+|\w+\.pb)\.h$")

INCLUDE = re.compile(r'^\s*#\s*include(?:_next)?\s*(?:"([^"]*)"|<([^>]*)>|(\S.*))')


def blank(text, strings):
    """The C text with comments (and, if asked, string contents) made blank; line numbers stay."""
    def keep_lines(match):
        token = match.group(0)
        if token[0] in "\"'":
            return '""' if strings else token
        return re.sub(r"[^\n]", " ", token)
    return re.sub(r'//(?:\\\n|[^\n])*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', keep_lines, text,
                  flags=re.S)


def c_files(root, tops):
    for top in tops:
        for folder, dirs, names in os.walk(os.path.join(root, top)):
            dirs.sort()
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def check_library(path, name):
    for header, places in LIBRARIES.items():
        if name == header or (header.endswith("/") and name.startswith(header)):
            if not any(path == p or (p.endswith("/") and path.startswith(p)) for p in places):
                return "<%s> may be included only in %s" % (name, " and ".join(places))
    return None


def check_include(path, quoted, angled, other):
    """What is wrong with this include, or None."""
    parts = path.split("/")
    room = parts[1] if parts[0] == "src" else None
    name = quoted if quoted is not None else angled
    if name is None:
        return "an include must name its file, not be a macro: %s" % other.strip()
    if ".." in name.split("/"):
        return '".." in an include'
    if PROTOBUF.match(os.path.basename(name)):
        if room != "wire":
            return "%s may be included only in src/wire/" % name
        return None
    if angled is not None:
        first = name.split("/")[0]
        if "/" in name and first in ROOMS:
            return '<%s> must be written "%s"' % (name, name)
        return check_library(path, name)
    if room is None:
        if name != "boxlite.h" and (name.split("/")[0] in ROOMS or check_library(path, name)):
            return 'language modules see "boxlite.h" only, not "%s"' % name
        return None
    allowed = ROOMS[room].split()
    if name == "boxlite.h":
        return None if "boxlite.h" in allowed else 'src/%s may not include the public header' % room
    if "/" not in name:
        return check_library(path, name) or '"%s" must be written "%s/%s"' % (name, room, name)
    target = name.split("/")[0]
    if target not in ROOMS:
        return check_library(path, name) or 'no such room: "%s"' % name
    if target != room and target not in allowed:
        return 'src/%s may not use src/%s ("%s"); allowed: %s' % (room, target, name, " ".join(allowed) or "nothing")
    only = ONLY_HEADERS.get((room, target))
    if only and name not in only:
        return 'src/%s may use only %s of src/%s' % (room, " ".join(sorted(only)), target)
    return None


def breaches(root):
    found = []
    for path in c_files(root, ["src", "sdk"]):
        parts = path.split("/")
        if parts[0] == "src" and (len(parts) < 3 or parts[1] not in ROOMS):
            found.append("%s:1: not in a known room" % path)
            continue
        for number, line in enumerate(blank(read(root, path), False).split("\n"), 1):
            match = INCLUDE.match(line)
            wrong = match and check_include(path, *match.groups())
            if wrong:
                found.append("%s:%d: %s" % (path, number, wrong))
    return found


SELF_TEST = [
    # file, content, expected breach ("" for none)
    ("src/loop/a.c", '#include "base/err.h"\n#include "loop/loop.h"\n#include <stdio.h>\n', ""),
    ("src/cli/a.c", '#include "boxlite.h"\n#include "host/json.h"\n', ""),
    ("src/host/json.c", "#include <jansson.h>\n", ""),
    ("src/wire/a.c", '#include "box.pb.h"\n#include <pb_encode.h>\n', ""),
    ("src/jail/a.c", "#include <linux/seccomp.h>\n#include <seccomp.h>\n", ""),
    ("src/runtime/a.c", '#include "vm/shape.h"\n', ""),
    ("src/disk/a.c", "#include <ext2fs/ext2fs.h>\n", ""),
    ("sdk/python/a.c", '#include <Python.h>\n#include "boxlite.h"\n', ""),
    ("src/base/a.c", '/* #include "vm/vm.h"\n#include "vm/vm.h" */\n// #include "vm/vm.h"\n', ""),
    ("src/base/a.h", 'int x;\n\n  #  include "loop/loop.h"\n', "src/base/a.h:3: src/base may not use src/loop"),
    ("src/guest/sub/a.c", '#include "host/json.h"\n', "src/guest/sub/a.c:1: src/guest may not use src/host"),
    ("src/store/a.c", '#include "host/json.h"\n', "src/store may not use src/host"),
    ("src/cli/a.c", '#include "runtime/runtime.h"\n', "src/cli may not use src/runtime"),
    ("src/shim/a.c", '#include "boxlite.h"\n', "may not include the public header"),
    ("src/runtime/a.c", '#include "vm/qmp.h"\n', "may use only vm/probe.h vm/shape.h vm/template_evict.h"),
    ("src/runtime/a.c", "#include <sqlite3.h>\n", "src/runtime/a.c:1: <sqlite3.h> may be included only in src/store/"),
    ("src/host/config.c", '#include "jansson.h"\n', "only in src/host/json.c"),
    ("src/shim/a.c", "#include <seccomp.h>\n", "only in src/jail/"),
    ("src/image/a.c", "#include <openssl/evp.h>\n", "only in src/pull/ and src/unpack/"),
    ("src/disk/a.c", "#include <archive_entry.h>\n", "only in src/unpack/"),
    ("src/unpack/a.c", "#include <ext2fs/ext2fs.h>\n", "only in src/disk/"),
    ("src/shim/a.c", '#include "wire/box.pb.h"\n', "only in src/wire/"),
    ("src/guest/a.c", "#include <pb_decode.h>\n", "only in src/wire/"),
    ("src/jail/a.c", '#include "internal.h"\n', 'must be written "jail/internal.h"'),
    ("src/base/a.c", '#include "base/../vm/vm.h"\n', '".." in an include'),
    ("src/base/a.c", "#include HEADER\n", "not be a macro"),
    ("src/base/a.c", "#include <vm/vm.h>\n", "must be written"),
    ("src/base/a.c", '#include "cellar/rat.h"\n', "no such room"),
    ("src/cellar/a.c", "int x;\n", "not in a known room"),
    ("src/a.c", "int x;\n", "not in a known room"),
    ("sdk/node/a.c", '#include "runtime/runtime.h"\n', 'see "boxlite.h" only'),
]


def run_self_test(table, check):
    """For each row: a tree with this one file must give exactly the expected breach."""
    failures = 0
    for path, content, want in table:
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, os.path.dirname(path)))
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(content)
            found = check(root)
        if (want == "" and found) or (want and (len(found) != 1 or want not in found[0])):
            failures += 1
            print("self-test: %s with %r: expected %r, found %r" % (path, content, want, found))
    print("self-test: %d cases, %d failures" % (len(table), failures))
    return 1 if failures else 0


def report(found, what):
    for line in found:
        print(line)
    print("%s: %d breaches" % (what, len(found)))
    return 1 if found else 0


def main(table, check, what):
    if sys.argv[1:] == ["--self-test"]:
        return run_self_test(table, check)
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    return report(check(os.path.abspath(root)), what)


if __name__ == "__main__":
    sys.exit(main(SELF_TEST, breaches, "include rules"))
