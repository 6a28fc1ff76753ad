#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What libboxlite exports, what <boxlite.h> declares and symbols.txt promises are one and the same list; header.c knows the layout of
every struct and tries every initializer; each function is one of the third generation (generation3.c knows its type), or stands among
the extensions in docs/DEVIATIONS.md; not_yet.txt has what of the third generation is missing.

    check_symbols.py LIBRARY HEADER SYMBOLS TESTS DEVIATIONS
"""
import itertools
import os
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


def expanded(word):
    """`a_{b,c}_d` as a_b_d, a_c_d."""
    parts = [p.strip("{}").split(",") for p in re.split(r"(\{[^}]*\})", word)]
    return {"".join(p) for p in itertools.product(*parts)}


def extensions(deviations):
    """What the paragraph about extensions names, and the beginnings of those that end in an asterisk."""
    text = re.search(r"^Extensions, marked so.*?(?=\n\n|\Z)", open(deviations).read(), re.S | re.M).group()
    words = set().union(*(expanded(w) for w in re.findall(r"`(boxlite_[^`]+)`", text)))
    return {w for w in words if not w.endswith("*")}, {w[:-1] for w in words if w.endswith("*")}


def origins(symbols, tests, deviations):
    """Functions whose origin nobody has written down, or has wrongly."""
    source = open(os.path.join(tests, "generation3.c")).read()
    old = {"boxlite_" + n for n in re.findall(r"^HAS\([^,]+, (\w+),", source, re.M)}
    missing = set(open(os.path.join(tests, "not_yet.txt")).read().split())
    new, beginnings = extensions(deviations)
    problems = [f"{s}: is there now: it belongs to generation3.c, not to not_yet.txt" for s in sorted(missing & symbols)]
    problems += [f"{s}: neither in generation3.c nor an extension in {deviations}" for s in sorted(symbols - old - new)
                 if not s.startswith(tuple(beginnings))]
    problems += [f"{s}: an extension in {deviations} that is not there" for s in sorted(new - symbols)]
    return problems + [f"{s}: an extension in {deviations}, but of the third generation" for s in sorted(new & old)]


def main(library, header, symbols, tests, deviations):
    layouts = os.path.join(tests, "header.c")
    listed = set(open(symbols).read().split())
    problems = []
    for name, have in (("exported by the library", exported(library)), ("declared in the header", declared(header))):
        problems += [f"{symbol}: promised, but not {name}" for symbol in sorted(listed - have)]
        problems += [f"{symbol}: {name}, but not in {symbols}" for symbol in sorted(have - listed)]
    problems += [f"not documented: {line}" for line in undocumented(header)]
    problems += [f"{name}: not in {layouts}" for name in unchecked(header, layouts)]
    problems += origins(listed, tests, deviations)
    print("\n".join(problems) or f"{len(listed)} symbols")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
