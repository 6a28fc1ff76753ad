#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tree that a program in a box sees is the one that umoci unpacks: pulled from a registry, converted, mounted, and listed by a program
in the box. (test_oracle.py looks at more images, without machines.)"""
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import imagelib  # noqa: E402  (finds the others)
import boxtest  # noqa: E402
import mkimage  # noqa: E402
import registry  # noqa: E402

# What a box has of its own: file systems over these directories, and files in /etc, whose time is therefore that of the start.
OWN = {b"/dev", b"/proc", b"/sys", b"/tmp", b"/etc"}


def made(make):
    try:
        return make()
    except (imagelib.Missing, mkimage.NoBusybox) as why:
        raise boxtest.Skip(str(why)) from why


def unpacked(layout):
    if os.geteuid() != 0:
        raise boxtest.Skip("owners, devices and attributes need root on the oracle's side")
    try:
        with tempfile.TemporaryDirectory(prefix="boxlite-umoci-") as d:
            return imagelib.tree_of_directory(imagelib.unpacked_by_umoci(imagelib.for_umoci(layout), imagelib.name_of(layout), d))
    except imagelib.Missing as why:
        raise boxtest.Skip(str(why)) from why


def pulled(home, layout, *command):
    """Runs the command in a box of the image, which comes from a registry."""
    repository, tag = imagelib.name_of(layout).split(":")
    with registry.FaultyRegistry() as reg:
        reg.layout(layout, repository, tag)
        with open(os.path.join(home.path, "config.json"), "w", encoding="utf-8") as f:
            f.write('{"image_registries": [{"host": "%s", "transport": "http"}]}' % reg.host)
        return home.ok("run", "--rm", f"{reg.host}/{repository}:{tag}", *command, timeout=4 * boxtest.DEADLINE)


def compare(home, layout):
    began = int(time.time())
    theirs = unpacked(layout)
    ours = imagelib.Tree.parse(pulled(home, layout, "/.walk", "/").out)
    on_purpose = imagelib.differs_on_purpose(theirs, began)

    def ignore(path, field):
        return on_purpose(path, field) or (path in OWN and field in ("presence", "time"))
    found = imagelib.differences(ours, theirs, ignore)
    assert not found, "\n".join(found[:50])
    for path in OWN - {b"/etc"}:
        assert path not in ours, path  # another file system: the walker stays on the root's
    return {os.fsdecode(path) for path in ours}


def test_the_default_image_is_in_a_box_what_umoci_unpacks(home):
    names = compare(home, made(imagelib.python))
    assert "/usr/bin/python3" in names and len(names) > 3000, len(names)


def test_every_odd_kind_of_file_is_in_a_box_what_umoci_unpacks(home):
    names = compare(home, made(imagelib.odd))
    assert {"/d/pipe", "/d/big", "/g/four", "/d/attrs", "/sparse/1.0"} <= names, sorted(names)[:200]


def test_an_image_without_python_runs_what_it_is_for(home):
    r = pulled(home, made(imagelib.node), "node", "-p", "6 * 7")
    assert r.out == b"42\n" and r.err == b"", r


if __name__ == "__main__":
    boxtest.main(globals())
