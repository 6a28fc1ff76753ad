#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An image of a gigabyte, from a registry to a box: what is on its disk is what umoci unpacks, and no process needs much memory for it.

BOXLITE_TEST_IMAGE_GB=5 takes one of five gigabytes."""
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import imagelib  # noqa: E402  (finds the others)
import boxtest  # noqa: E402
import mkimage  # noqa: E402
import registry  # noqa: E402
import unpacklib  # noqa: E402

GIGABYTES = int(os.environ.get("BOXLITE_TEST_IMAGE_GB", "1"))
MEMORY = 64 << 20
DEADLINE = (1 + GIGABYTES) * 2 * boxtest.DEADLINE


def large():
    try:
        return imagelib.large(GIGABYTES)
    except mkimage.NoBusybox as why:
        raise boxtest.Skip(str(why)) from why


def disks(home):
    path = os.path.join(home.path, "disks")
    return [os.path.join(path, name) for name in os.listdir(path) if name.endswith(".ext4")]


def test_a_large_image_is_pulled_and_converted_in_little_memory(home):
    layout = large()
    with registry.FaultyRegistry() as reg, imagelib.Peaks(home.path) as peaks:
        reg.layout(layout, "large", "1")
        with open(os.path.join(home.path, "config.json"), "w", encoding="utf-8") as f:
            f.write('{"image_registries": [{"host": "%s", "transport": "http"}]}' % reg.host)
        home.large = f"{reg.host}/large:1"
        r = home.ok("run", "--rm", home.large, "cat", "/middle0/000/00000", timeout=DEADLINE)
        assert r.out == b"replaced", r
    for program in ("boxlite", "boxlite-pull", "boxlite-unpack"):
        print(f"# {program}: {peaks.most[program] >> 20} MiB")
        assert peaks.most[program] <= MEMORY or unpacklib.sanitized(), peaks.most


def test_its_disk_has_what_umoci_unpacks(home):
    if os.geteuid() != 0:
        raise boxtest.Skip("owners need root on the oracle's side")
    layout, began = large(), int(time.time())
    (disk,) = disks(home)
    unpacklib.tool("e2fsck", "-fn", disk)
    ours = imagelib.tree_of_ext4(disk)
    try:
        with tempfile.TemporaryDirectory(prefix="boxlite-umoci-", dir="/var/tmp") as d:
            theirs = imagelib.tree_of_directory(imagelib.unpacked_by_umoci(layout, imagelib.name_of(layout), d))
    except imagelib.Missing as why:
        raise boxtest.Skip(str(why)) from why
    assert sum(int(e["size"]) for e in theirs.values() if e["type"] == "file") >= GIGABYTES * 900_000_000
    assert len(theirs) > GIGABYTES * 8_000
    found = imagelib.differences(ours, theirs, imagelib.differs_on_purpose(theirs, began))
    assert not found, "\n".join(found[:50])


if __name__ == "__main__":
    boxtest.main(globals())
