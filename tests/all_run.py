#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Is every test file a test of this build?

    all_run.py BUILD SOURCE

A file that no meson.build names, or that was left out because a library is missing, would otherwise fail nobody. Prints such files; they are
a failure where BOXLITE_TEST_MUST_RUN is 1, as in CI, else a skip.
"""
import fnmatch
import json
import os
import subprocess
import sys

PATTERNS = ["tests/*/test_*.c", "tests/*/test_*.py", "tests/vm/risk_*.c", "tests/fuzz/fuzz_*.c", "tests/*.py"]
HELPERS = {"tests/vm/risk_lib.c"}


def test_files(source):
    for folder, dirs, names in os.walk(os.path.join(source, "tests")):
        dirs[:] = [d for d in dirs if d not in ("__pycache__", "corpus")]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), source)
            if path not in HELPERS and any(path.count("/") == p.count("/") and fnmatch.fnmatch(path, p) for p in PATTERNS):
                yield path


def introspect(build, what):
    return json.loads(subprocess.run(["meson", "introspect", build, what], stdout=subprocess.PIPE, check=True).stdout)


def run_files(build, source):
    """Sources of programs that tests run, and files on their command lines."""
    words = {os.path.realpath(os.path.join(build, w)) for t in introspect(build, "--tests") for w in t["cmd"]}
    files = set(words)
    for target in introspect(build, "--targets"):
        if words & {os.path.realpath(f) for f in target["filename"]}:
            files |= {os.path.realpath(s) for group in target["target_sources"] for s in group.get("sources", [])}
    return {os.path.relpath(f, os.path.realpath(source)) for f in files}


def main(build, source):
    missing = sorted(set(test_files(source)) - run_files(build, source))
    for path in missing:
        print(f"{path}: no test of this build (is it named in meson.build, are its libraries there?)", file=sys.stderr)
    if not missing:
        return 0
    return 1 if os.environ.get("BOXLITE_TEST_MUST_RUN") == "1" else 77


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
