#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Images out of the store: folders, archives and streams that skopeo and another home accept, and nothing half written. No machine is started."""
import hashlib
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import mkimage
from mkimage import directory, file

BASE = [directory("etc"), file("etc/one", b"1" * 5000)]
IMAGES = {"saved:1": [BASE, [file("etc/two", os.urandom(300_000))]], "other/saved:1": [BASE], "saved:2": [BASE, [file("etc/three", b"3")]]}


def make_home():
    home = boxtest.Home()
    home.work = os.path.join(home.path, "made")
    os.mkdir(home.work)
    for number, (name, layers) in enumerate(IMAGES.items()):
        path = os.path.join(home.work, f"source{number}")
        os.mkdir(path)
        mkimage.oci_layout(path, name, layers, {"Cmd": ["/bin/sh"]}, ["gzip", ""][:len(layers)])
        home.ok("load", path)
    return home


def place(home, name):
    path = os.path.join(home.work, name)
    if os.path.isdir(path):
        shutil.rmtree(path)
    return path


def manifest(home, name):
    return json.loads(home.ok("image", "inspect", name).text)[0]["Manifest"]


def seen_by_skopeo(where):
    r = subprocess.run(["skopeo", "inspect", where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert r.returncode == 0, r.stderr.decode()
    return json.loads(r.stdout)["Digest"]


def unfinished(home):
    return [n for n in os.listdir(home.work) if n.startswith(".boxlite")]


def test_a_folder_is_what_skopeo_reads_and_another_home_loads_the_same_digest(home):
    out = place(home, "folder")
    home.ok("save", "-o", out + "/", "saved:1")
    assert seen_by_skopeo(f"oci:{out}:1") == manifest(home, "saved:1")
    for name in os.listdir(os.path.join(out, "blobs", "sha256")):
        with open(os.path.join(out, "blobs", "sha256", name), "rb") as f:
            assert hashlib.sha256(f.read()).hexdigest() == name
    other = boxtest.Home()
    try:
        other.ok("load", out)
        assert manifest(other, "saved:1") == manifest(home, "saved:1")
    finally:
        other.close()


def test_an_archive_is_what_skopeo_reads_and_the_same_images_give_the_same_bytes(home):
    archives = [place(home, f"archive{i}.tar") for i in range(2)]
    for path in archives:
        home.ok("save", "-o", path, "saved:1")
    assert seen_by_skopeo(f"oci-archive:{archives[0]}:1") == manifest(home, "saved:1")
    contents = [open(path, "rb").read() for path in archives]
    assert contents[0] == contents[1]


def test_a_stream_is_the_archive(home):
    path = place(home, "file.tar")
    home.ok("save", "-o", path, "saved:1")
    with open(path, "rb") as f:
        expected = f.read()
    assert home.ok("save", "saved:1").out == expected
    assert home.ok("save", "-o", "-", "saved:1").out == expected
    with open(place(home, "redirected.tar"), "w+b") as f:
        assert home.popen("save", "saved:1", stdout=f).wait(boxtest.DEADLINE) == 0
        f.seek(0)
        assert f.read() == expected


def test_a_reader_that_goes_away_ends_it_in_words(home):
    p = home.popen("save", "saved:1")
    p.stdout.read(600)
    p.stdout.close()
    err = p.stderr.read()
    assert p.wait(boxtest.DEADLINE) == 125 and b"nobody reads" in err, (p.returncode, err)


def test_several_images_share_their_blobs_and_keep_their_names(home):
    out = place(home, "several")
    home.ok("save", "-o", out + "/", "saved:1", "saved:2", "other/saved:1", "saved:2")
    with open(os.path.join(out, "index.json"), encoding="utf-8") as f:
        index = json.load(f)["manifests"]
    assert len(index) == 3, index
    assert len(os.listdir(os.path.join(out, "blobs", "sha256"))) == 3 + 3 + 3  # manifests, configurations; base, two, three
    assert seen_by_skopeo(f"oci:{out}:2") == manifest(home, "saved:2")
    other = boxtest.Home()
    try:
        for name in IMAGES:
            other.ok("load", out, "--name", name)
            assert manifest(other, name) == manifest(home, name), name
    finally:
        other.close()


def test_what_is_there_already_is_not_mixed_with_it(home):
    out = place(home, "full")
    os.mkdir(out)
    with open(os.path.join(out, "mine"), "w", encoding="utf-8"):
        pass
    r = home.run("save", "-o", out, "saved:1")
    assert r.code == 125 and b"not empty" in r.err, r
    assert os.listdir(out) == ["mine"]
    os.unlink(os.path.join(out, "mine"))
    home.ok("save", "-o", out, "saved:1")
    assert sorted(os.listdir(out)) == ["blobs", "index.json", "oci-layout"]
    archive = place(home, "old.tar")
    with open(archive, "wb") as f:
        f.write(b"old")
    home.ok("save", "-o", archive, "saved:1")
    assert seen_by_skopeo(f"oci-archive:{archive}:1")
    assert not unfinished(home)


def test_bad_wishes_are_told_and_leave_nothing(home):
    for words, why in ((["save", "-o", place(home, "x"), "nothing:1"], b"no such image"), (["save", "-o", "/nowhere/at/all", "saved:1"], b"/nowhere/at"),
                       (["save", "-o", place(home, "x"), "--format", "tar", "saved:1"], b"oci-archive"), (["save"], b"which image"),
                       (["save", "-o", "/dev/full", "saved:1"], b"No space left")):
        r = home.run(*words)
        assert r.code in (2, 125) and why in r.err, (words, r)
    assert not os.path.exists(place(home, "x")) and not unfinished(home)


def test_a_store_that_lost_a_blob_says_so_and_the_archive_does_not_appear(home):
    blobs = os.path.join(home.path, "blobs", "sha256")
    before = set(os.listdir(blobs))
    source = place(home, "lost-source")
    os.mkdir(source)
    mkimage.oci_layout(source, "lost:1", [[file("only", os.urandom(1000))]], {})
    home.ok("load", source)
    layer = max(set(os.listdir(blobs)) - before, key=lambda n: os.stat(os.path.join(blobs, n)).st_size)
    os.unlink(os.path.join(blobs, layer))
    r = home.run("save", "-o", place(home, "lost.tar"), "lost:1")
    assert r.code == 125 and layer.encode() in r.err, r
    assert not os.path.exists(place(home, "lost.tar")) and not unfinished(home)


def test_a_disk_that_fills_leaves_nothing(home):
    if os.geteuid() != 0:
        raise boxtest.Skip("a small disk needs root")
    disk = place(home, "small")
    os.mkdir(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "small", disk], check=True)
    try:
        for path in os.path.join(disk, "a.tar"), os.path.join(disk, "folder") + "/":
            r = home.run("save", "-o", path, "saved:1")
            assert r.code == 125 and b"No space left" in r.err, r
            assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
