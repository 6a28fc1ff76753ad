#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""assemble.py --stamp STAMP DIR FILE...: the package's files in a directory of their own, where PYTHONPATH finds them."""
import argparse
import os
import shutil


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--stamp", required=True)
    p.add_argument("directory")
    p.add_argument("files", nargs="+")
    a = p.parse_args()
    os.makedirs(a.directory, exist_ok=True)
    wanted = {os.path.basename(f): f for f in a.files}
    for name in os.listdir(a.directory):  # of an earlier build
        if name not in wanted:
            path = os.path.join(a.directory, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    for name, source in wanted.items():
        target = os.path.join(a.directory, name)
        shutil.copyfile(source, target + ".new")
        shutil.copymode(source, target + ".new")
        os.replace(target + ".new", target)  # a running program keeps the file that it has
    with open(a.stamp, "w", encoding="ascii"):
        pass


if __name__ == "__main__":
    main()
