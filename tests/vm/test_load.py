# SPDX-License-Identifier: Apache-2.0
"""Images into the store: every packing, what is wrong with them, and nothing half taken. No machine is started here but one."""
import json
import os
import shutil
import subprocess
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import mkimage
from mkimage import directory, file

LAYERS = [[directory("etc"), file("etc/one", b"1" * 5000)], [file("etc/two", b"2" * 70000)]]


def make_home():
    home = boxtest.Home()
    home.work = os.path.join(home.path, "made")
    os.mkdir(home.work)
    return home


def place(home, name):
    return os.path.join(home.work, name)


def listed(home):
    return {f"{i['Repository']}:{i['Tag']}": i for i in json.loads(home.ok("images", "--format", "json").text)}


def blobs(home):
    return set(os.listdir(os.path.join(home.path, "blobs", "sha256")))


def clean(home):
    assert os.listdir(os.path.join(home.path, "tmp")) == [], os.listdir(os.path.join(home.path, "tmp"))


def test_folder_archive_and_docker_archive_give_the_same_layers(home):
    mkimage.oci_layout(place(home, "layout"), "folder:1", LAYERS)
    mkimage.oci_archive(place(home, "oci.tar"), "archive:1", LAYERS)
    mkimage.docker_archive(place(home, "docker.tar"), "docker:1", LAYERS)
    for name in ("layout", "oci.tar", "docker.tar"):
        r = home.ok("load", place(home, name))
        assert b"Layers: 2" in r.out, r
    images = listed(home)
    assert {"folder:1", "archive:1", "docker:1"} <= set(images), images
    assert images["folder:1"]["ID"] == images["archive:1"]["ID"]
    clean(home)


def test_compressed_archives_and_layers_of_every_kind(home):
    for kind in ("gzip", "zstd", ""):
        path = place(home, "kind-" + (kind or "plain"))
        mkimage.oci_layout(path, f"kind-{kind or 'plain'}:1", LAYERS, compression=kind)
        home.ok("load", path)
    mkimage.oci_archive(place(home, "a.tar"), "packed:1", LAYERS)
    subprocess.run(["gzip", "-f", place(home, "a.tar")], check=True)
    home.ok("load", place(home, "a.tar.gz"))
    assert "packed:1" in listed(home)
    clean(home)


def test_a_name_given_wins_and_a_nameless_image_needs_one(home):
    mkimage.oci_layout(place(home, "named"), "original:1", LAYERS)
    home.ok("load", place(home, "named"), "--name", "other/name:2")
    assert "other/name:2" in listed(home) and "original:1" not in listed(home)
    index = os.path.join(place(home, "named"), "index.json")
    document = json.load(open(index))
    for m in document["manifests"]:
        m.pop("annotations", None)
    json.dump(document, open(index, "w"))
    r = home.run("load", place(home, "named"))
    assert r.code != 0 and b"name" in r.err, r
    home.ok("load", place(home, "named"), "--name", "given:1")


def test_a_reference_can_be_taken_again_by_another_image(home):
    mkimage.oci_layout(place(home, "first"), "again:1", LAYERS)
    mkimage.oci_layout(place(home, "second"), "again:1", LAYERS[:1])
    home.ok("load", place(home, "first"))
    before = listed(home)["again:1"]["ID"]
    home.ok("load", place(home, "second"))
    assert listed(home)["again:1"]["ID"] != before


def test_of_several_images_the_name_says_which_one(home):
    path = place(home, "several")
    mkimage.oci_layout(path, "docker.io/library/several-a:1", LAYERS)
    mkimage.oci_layout(path, "several-b:1", LAYERS[:1])
    for arguments in ([], ["--name", "several-c:1"]):
        r = home.run("load", path, *arguments)
        assert r.code == 125 and b"several-a:1" in r.err and b"several-b:1" in r.err, r
    home.ok("load", path, "--name", "several-a:1")  # found by its name in full
    home.ok("load", path, "--name", "several-b:1")
    images = listed(home)
    assert images["several-a:1"]["ID"] != images["several-b:1"]["ID"], images


def test_the_platform_is_chosen_through_nested_indexes(home):
    path = place(home, "multi")
    ours = mkimage.oci_layout(path, "multi:1", LAYERS)
    index = os.path.join(path, "index.json")
    inner = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {**ours, "digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "s390x"}},
        {**ours, "platform": {"os": "linux", "architecture": "amd64"}}]}
    data = json.dumps(inner).encode()
    import hashlib
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(path, "blobs", "sha256", digest), "wb") as f:
        f.write(data)
    json.dump({"schemaVersion": 2, "manifests": [{"mediaType": inner["mediaType"], "digest": "sha256:" + digest, "size": len(data),
               "annotations": {"org.opencontainers.image.ref.name": "multi:1"}}]}, open(index, "w"))
    home.ok("load", path)
    assert "multi:1" in listed(home)
    inner["manifests"] = inner["manifests"][:1]
    data = json.dumps(inner).encode()
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(path, "blobs", "sha256", digest), "wb") as f:
        f.write(data)
    json.dump({"schemaVersion": 2, "manifests": [{"mediaType": inner["mediaType"], "digest": "sha256:" + digest, "size": len(data)}]},
              open(index, "w"))
    r = home.run("load", path, "--name", "foreign:1")
    assert r.code == 125 and b"linux/amd64" in r.err, r


def damage(home, name, what):
    path = place(home, name)
    mkimage.oci_layout(path, name + ":1", LAYERS)
    sums = os.path.join(path, "blobs", "sha256")
    biggest = max(os.listdir(sums), key=lambda n: os.path.getsize(os.path.join(sums, n)))
    what(os.path.join(sums, biggest))
    return path


def altered(path):
    os.chmod(path, 0o644)
    with open(path, "r+b") as f:
        f.seek(20)
        f.write(b"\xff\xff\xff\xff")


def truncated(path):
    os.chmod(path, 0o644)
    os.truncate(path, os.path.getsize(path) // 2)


def test_a_wrong_digest_or_a_missing_layer_is_refused_and_leaves_no_image(home):
    for name, what, needle in (("altered", altered, b"digest"), ("truncated", truncated, b"digest"), ("missing", os.unlink, b"lacks")):
        path = damage(home, name, what)
        # In an archive too: its members are known by what they contain.
        with tarfile.open(path + ".tar", "w") as t:
            for item in sorted(os.listdir(path)):
                t.add(os.path.join(path, item), arcname=item)
        for source in (path, path + ".tar"):
            # The sound layers of LAYERS may be in the store already: only an untouched home shows it.
            fresh = boxtest.Home()
            try:
                r = fresh.run("load", source)
                assert r.code == 125 and (needle in r.err or b"digest" in r.err), (source, r)
                assert not json.loads(fresh.ok("images", "--format", "json").text)
                clean(fresh)
            finally:
                fresh.close()


def test_what_is_no_image_is_told_so(home):
    os.makedirs(place(home, "empty"), exist_ok=True)
    with open(place(home, "text"), "w") as f:
        f.write("this is no archive\n")
    with open(place(home, "zero"), "w"):
        pass
    with tarfile.open(place(home, "other.tar"), "w") as t:
        t.add(place(home, "text"), arcname="text")
    mkimage.docker_archive(place(home, "cut.tar"), "cut:1", LAYERS)
    os.truncate(place(home, "cut.tar"), 40000)
    for name in ("empty", "text", "zero", "other.tar", "cut.tar", "does-not-exist"):
        r = home.run("load", place(home, name), "--name", "bad:1")
        assert r.code == 125 and r.err, (name, r)
    fifo = place(home, "fifo")
    os.mkfifo(fifo)
    r = home.run("load", fifo, "--name", "bad:1", timeout=10)
    assert r.code == 125, r
    assert "bad:1" not in listed(home)
    clean(home)


def test_a_folder_cannot_lead_out_of_itself(home):
    path = place(home, "escape")
    mkimage.oci_layout(path, "escape:1", LAYERS)
    sums = os.path.join(path, "blobs", "sha256")
    biggest = max(os.listdir(sums), key=lambda n: os.path.getsize(os.path.join(sums, n)))
    shutil.move(os.path.join(sums, biggest), place(home, "outside"))
    os.symlink(place(home, "outside"), os.path.join(sums, biggest))
    fresh = boxtest.Home()
    try:
        r = fresh.run("load", path)
        assert r.code == 125, r
    finally:
        fresh.close()


def test_blobs_are_read_only_and_named_by_their_content(home):
    import hashlib
    for name in blobs(home):
        path = os.path.join(home.path, "blobs", "sha256", name)
        assert os.stat(path).st_mode & 0o777 == 0o444, name
        assert hashlib.sha256(open(path, "rb").read()).hexdigest() == name


def test_two_programs_convert_an_image_once(home):
    home.ok("load", boxtest.busybox_image(), "--name", "busybox:once")
    running = [home.popen("run", "--rm", "busybox:once", "echo", str(i)) for i in range(2)]
    for i, p in enumerate(running):
        out, err = p.communicate(timeout=120)
        assert (p.returncode, out) == (0, b"%d\n" % i), (p.returncode, out, err)
    disks = [n for n in os.listdir(os.path.join(home.path, "disks")) if n.endswith(".ext4")]
    assert len(disks) == 1, disks
    assert os.stat(os.path.join(home.path, "disks", disks[0])).st_mode & 0o777 == 0o444
    clean(home)


def test_a_layer_that_is_no_tar_fails_the_start_with_the_reason(home):
    mkimage.oci_layout(place(home, "broken"), "broken:1", [b"this is no tar, but its digest is right" * 100])
    home.ok("load", place(home, "broken"))
    r = home.run("run", "--rm", "broken:1", "true")
    assert r.code == 125 and r.err, r
    assert not home.boxes()
    clean(home)


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
