#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What libboxlite exports, what <boxlite.h> declares and symbols.txt promises are one and the same list; header.c knows the layout of
every struct and tries every initializer.

    check_symbols.py LIBRARY HEADER SYMBOLS LAYOUTS
"""
import re
import subprocess
import sys


def exported(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout.splitlines()
    rows = (line.split() for line in lines)
    return {row[2].split("@")[0] for row in rows if row[1] in "TDBRVW" and row[2] != "BOXLITE_0"}


def declared(header):
    text = re.sub(r"/\*.*?\*/", "", open(header).read(), flags=re.S)
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    found = {}
    for statement in text.split(";"):
        match = re.search(r"BOXLITE_API\b[^(]*?\b(boxlite_\w+)\s*\(", statement)
        if match:
            found[match.group(1)] = True
        elif re.search(r"\bboxlite_\w+\s*\(", statement):
            sys.exit(f"declared without BOXLITE_API: {statement.strip()}")
    return set(found)


def undocumented(header):
    """A declaration with nothing above it but an empty line or another declaration's end of section."""
    lines = open(header).read().split("\n")
    missing = []
    for i, line in enumerate(lines):
        if not line.startswith("BOXLITE_API"):
            continue
        j = i - 1
        while j > 0 and (lines[j].startswith(("BOXLITE_API", " ", "\t")) and not lines[j].rstrip().endswith("*/")) and lines[j]:
            j -= 1
        if not lines[j].rstrip().endswith("*/") and not re.search(r"boxlite_(free|\w+_free)", line):
            missing.append(line)
    return missing


def unchecked(header, layouts):
    """Structs with members, enumerations and initializers of which header.c says nothing."""
    text = re.sub(r"/\*.*?\*/", "", open(header).read(), flags=re.S)
    have = open(layouts).read()
    structs = re.findall(r"typedef struct (\w+) \{.*?\} (\w+);", text, flags=re.S)
    missing = [s for s in structs if not any(re.search(r"(sizeof|offsetof)\(%s\b" % name, have) for name in s)]
    names = [s[1] for s in missing] + [e for e in re.findall(r"typedef enum (\w+)", text) if f"sizeof({e})" not in have]
    return names + [i for i in re.findall(r"#define (\w+_INIT)\b", text) if i not in have]


def main(library, header, symbols, layouts):
    listed = set(open(symbols).read().split())
    problems = []
    for name, have in (("exported by the library", exported(library)), ("declared in the header", declared(header))):
        problems += [f"{symbol}: promised, but not {name}" for symbol in sorted(listed - have)]
        problems += [f"{symbol}: {name}, but not in {symbols}" for symbol in sorted(have - listed)]
    problems += [f"not documented: {line}" for line in undocumented(header)]
    problems += [f"{name}: not in {layouts}" for name in unchecked(header, layouts)]
    print("\n".join(problems) or f"{len(listed)} symbols")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
