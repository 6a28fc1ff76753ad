# SPDX-License-Identifier: Apache-2.0
"""Images without a registry: a plain archive of a root file system, imported and run."""
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import mkimage
from mkimage import directory, file

SMALL = [directory("etc"), file("etc/name", b"small\n")]


def make_home():
    home = boxtest.Home()
    home.work = os.path.join(home.path, "made")
    os.mkdir(home.work)
    return home


def place(home, name):
    return os.path.join(home.work, name)


def busybox_tar(home, name="busybox.tar", more=()):
    path = place(home, name)
    if not os.path.exists(path):
        with open(path, "wb") as f:
            try:
                f.write(mkimage.tar(mkimage.busybox_tree() + list(more)))
            except mkimage.NoBusybox as why:
                raise boxtest.Skip(str(why)) from None
    return path


def small_tar(home):
    path = place(home, "small.tar")
    with open(path, "wb") as f:
        f.write(mkimage.tar(SMALL))
    return path


def listed(home):
    return {f"{i['Repository']}:{i['Tag']}": i["ID"] for i in json.loads(home.ok("images", "--format", "json").text)}


def inspect(home, name):
    return json.loads(home.ok("image", "inspect", name).text)[0]


def blobs(home):
    return set(os.listdir(os.path.join(home.path, "blobs", "sha256")))


def clean(home):
    assert os.listdir(os.path.join(home.path, "tmp")) == [], os.listdir(os.path.join(home.path, "tmp"))


# --- import ---

def test_an_imported_archive_runs_with_the_command_it_was_given(home):
    r = home.ok("import", busybox_tar(home), "plain:1", "-e", "GREETING=good day", "-w", "/var/tmp", "-u", "user", "--",
                "sh", "-c", 'echo "$GREETING"; pwd; id -un')
    assert b"Imported: docker.io/library/plain:1" in r.out and b"Layers: 1" in r.out, r
    assert home.ok("run", "--rm", "plain:1").text == "good day\n/var/tmp\nuser\n"
    assert home.ok("run", "--rm", "-e", "GREETING=mine", "plain:1", "sh", "-c", "echo $GREETING").text == "mine\n"
    config = inspect(home, "plain:1")["Config"]
    assert config["Env"] == ["GREETING=good day"] and config["Entrypoint"] is None, config
    clean(home)


def test_an_entrypoint_is_given_the_command(home):
    home.ok("import", "--entrypoint", "echo", busybox_tar(home), "entry:1", "--", "from", "the image")
    assert home.ok("run", "--rm", "entry:1").text == "from the image\n"
    assert home.ok("run", "--rm", "entry:1", "from", "me").text == "from me\n"


def test_packed_archives_and_pipes_give_the_same_tree(home):
    tar = open(busybox_tar(home), "rb").read()
    zstd = subprocess.run(["zstd", "-q", "-c"], input=tar, stdout=subprocess.PIPE, check=True).stdout
    for name, data in (("gzip", gzip.compress(tar, 1, mtime=0)), ("zstd", zstd)):
        with open(place(home, name), "wb") as f:
            f.write(data)
        home.ok("import", place(home, name), f"{name}:file")
        home.ok("import", "-", f"{name}:pipe", input=data)
        images = listed(home)
        assert images[f"{name}:file"] == images[f"{name}:pipe"], images
        assert home.ok("run", "--rm", f"{name}:pipe", "cat", "/etc/group").text.startswith("root:x:0:\n")
    fifo = place(home, "fifo")
    os.mkfifo(fifo)
    p = home.popen("import", fifo, "zstd:fifo")
    with open(fifo, "wb") as f:
        f.write(zstd)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 0, (out, err)
    assert listed(home)["zstd:fifo"] == images["zstd:file"]


def test_the_same_archive_gives_the_same_image_everywhere(home):
    fresh = boxtest.Home()
    try:
        for h in (home, fresh):
            h.ok("import", busybox_tar(home), "same:1", "-e", "A=b", "--", "sh")
        a, b = inspect(home, "same:1"), inspect(fresh, "same:1")
        assert (a["Manifest"], a["Id"]) == (b["Manifest"], b["Id"])
        fresh.ok("import", busybox_tar(home), "same:1", "-e", "A=c", "--", "sh")
        assert inspect(fresh, "same:1")["Id"] != a["Id"]
    finally:
        fresh.close()


def test_an_imported_image_is_saved_and_loaded_like_any_other(home):
    home.ok("import", small_tar(home), "roundtrip:1", "--", "sh")
    home.ok("save", "-o", place(home, "roundtrip.tar"), "roundtrip:1")
    fresh = boxtest.Home()
    try:
        fresh.ok("load", place(home, "roundtrip.tar"), "--name", "roundtrip:1")
        assert inspect(fresh, "roundtrip:1")["Manifest"] == inspect(home, "roundtrip:1")["Manifest"]
    finally:
        fresh.close()


def test_what_is_no_archive_is_refused_and_leaves_nothing(home):
    before, names = blobs(home), listed(home)
    tar = open(small_tar(home), "rb").read()
    cases = {"text": (b"no archive\n", b"not a tar"), "nothing": (b"", b"nothing came"), "zeros": (bytes(10240), b"nothing in the archive"),
             "cut": (tar[:1200], b""), "no end": (tar.rstrip(b"\0") + bytes(-len(tar.rstrip(b"\0")) % 512), b"cut off"),
             "escape": (mkimage.tar([file("../../etc/passwd")]), b"leads out of the image")}
    for name, (data, words) in cases.items():
        with open(place(home, "bad"), "wb") as f:
            f.write(data)
        for source, given in ((place(home, "bad"), b""), ("-", data)):
            r = home.run("import", source, "bad:1", input=given)
            assert r.code == 125 and words in r.err and b"Error: " in r.err, (name, r)
    mkimage.oci_archive(place(home, "image.tar"), "image:1", [SMALL])
    r = home.run("import", place(home, "image.tar"), "bad:1")
    assert r.code == 125 and b"boxlite load" in r.err, r
    for arguments, words in ((["/does/not/exist", "bad:1"], b"No such file"), ([home.work, "bad:1"], b"folder"),
                             (["/dev/zero", "bad:1"], b"neither a file nor a pipe"), ([small_tar(home), "bad//name"], b"reference"),
                             ([small_tar(home), "bad:1", "-w", "relative"], b"workdir"), ([small_tar(home), "bad:1", "-e", "A"], b"NAME=VALUE")):
        r = home.run("import", *arguments)
        assert r.code == 125 and words in r.err, (arguments, r)
    for arguments in ([], [small_tar(home)]):
        assert home.run("import", *arguments).code == 2, arguments
    assert blobs(home) == before and listed(home) == names
    clean(home)


def test_an_import_that_is_ended_leaves_nothing(home):
    before, names = blobs(home), listed(home)
    tar = open(busybox_tar(home), "rb").read()
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        p = home.popen("import", "-", "ended:1", stdin=subprocess.PIPE)
        p.stdin.write(tar[:200000])
        p.stdin.flush()  # more than the pipe holds: the import has begun
        p.send_signal(sign)
        out, err = p.communicate(timeout=30)
        assert p.returncode == (-sign if sign == signal.SIGKILL else 128 + sign), (p.returncode, err)
        home.wait_no_processes()
        assert blobs(home) == before and listed(home) == names
    home.ok("prune")
    home.ok("import", "-", "ended:1", input=tar)
    home.ok("rmi", "ended:1")


# --- a folder in place of an image ---

def folder(home, name, more=(), config=None):
    """An OCI layout with busybox; `more` makes another image of it."""
    path = place(home, name)
    shutil.rmtree(path, ignore_errors=True)
    try:
        mkimage.oci_layout(path, "folder:1", [mkimage.busybox_tree(), [file("etc/name", name.encode()), *more]], config or {"Cmd": ["cat", "/etc/name"]})
    except mkimage.NoBusybox as why:
        raise boxtest.Skip(str(why)) from None
    return path


def disks(home):
    return {n for n in os.listdir(os.path.join(home.path, "disks")) if n.endswith(".ext4")}


def stays(home, name, *image):
    """A box that runs until it is ended."""
    home.ok("run", "-d", "--name", name, *image, "sleep", "1000000")


def test_a_box_of_a_folder_runs_and_keeps_its_disk(home):
    path, names, before = folder(home, "first"), listed(home), blobs(home)
    stays(home, "keeps", "--rootfs", path)
    assert home.ok("exec", "keeps", "--", "sh", "-c", "cat /etc/name; echo kept > /root/note").text == "first"
    new = blobs(home) - before
    assert len(new) == 2, new  # manifest and configuration: layers went into the disk
    assert listed(home) == names
    box = next(b for b in home.boxes() if b["Names"] in ("keeps", ["keeps"]))
    assert box["Image"] == path, box
    home.ok("stop", "keeps")
    shutil.rmtree(path)
    home.ok("prune", "--all")
    home.ok("start", "keeps")
    assert home.ok("exec", "keeps", "--", "cat", "/root/note", "/etc/name").text == "kept\nfirst"
    home.ok("prune")
    home.ok("stop", "keeps")
    home.ok("start", "keeps")
    assert home.ok("exec", "keeps", "--", "cat", "/root/note").text == "kept\n"
    home.ok("rm", "-f", "keeps")
    home.ok("prune")
    assert not new & blobs(home)
    clean(home)


def test_an_unchanged_folder_gives_the_same_disk_and_a_changed_one_another(home):
    path = folder(home, "changes")
    before = disks(home)
    stays(home, "old", "--rootfs", path)
    made = disks(home) - before
    assert len(made) == 1
    stat = os.stat(os.path.join(home.path, "disks", *made))
    assert home.ok("run", "--rm", "--rootfs", os.path.relpath(path)).text == "changes"
    assert disks(home) - before == made and os.stat(os.path.join(home.path, "disks", *made)).st_ino == stat.st_ino
    folder(home, "changes", more=[file("etc/more", b"more")], config={"Cmd": ["cat", "/etc/more"]})
    assert home.ok("run", "--rm", "--rootfs", path).text == "more"
    assert len(disks(home) - before) == 2
    home.ok("stop", "old")
    home.ok("start", "old")  # as it was made
    assert home.run("exec", "old", "--", "cat", "/etc/more").code == 1
    home.ok("rm", "-f", "old")
    home.ok("prune")
    assert not disks(home) - before
    clean(home)


def test_a_named_image_and_a_folder_with_the_same_content_share_a_disk(home):
    path, before = folder(home, "shared"), disks(home)
    home.ok("load", path, "--name", "shared:1")
    stays(home, "named", "shared:1")
    stays(home, "unnamed", "--rootfs", path)
    assert len(disks(home) - before) == 1
    r = home.run("rmi", "shared:1")
    assert r.code == 125 and b"is used by box" in r.err, r
    home.ok("rmi", "-f", "shared:1")
    home.ok("rm", "-f", "named")
    home.ok("stop", "unnamed")
    home.ok("prune", "--all")
    home.ok("start", "unnamed")
    assert home.ok("exec", "unnamed", "--", "cat", "/etc/name").text == "shared"
    home.ok("rm", "-f", "unnamed")
    home.ok("prune")
    assert disks(home) == before
    clean(home)


def test_two_programs_that_start_boxes_of_one_folder_convert_it_once(home):
    path, before = folder(home, "at-once"), disks(home)
    running = [home.popen("run", "--rm", "--rootfs", path) for _ in range(3)]
    for p in running:
        out, err = p.communicate(timeout=120)
        assert (p.returncode, out) == (0, b"at-once"), (p.returncode, out, err)
    assert len(disks(home) - before) == 1
    home.ok("prune")
    clean(home)


def biggest(path):
    sums = os.path.join(path, "blobs", "sha256")
    return max((os.path.join(sums, n) for n in os.listdir(sums)), key=os.path.getsize)


def altered(path):
    os.chmod(biggest(path), 0o644)
    with open(biggest(path), "r+b") as f:
        f.seek(1000)
        f.write(b"\xff\xff\xff\xff")


def escaping(path):
    layer = biggest(path)
    shutil.move(layer, path + "-outside")
    os.symlink(path + "-outside", layer)


def pipe(path):
    layer = biggest(path)
    os.unlink(layer)
    os.mkfifo(layer)


def test_a_folder_that_is_no_sound_layout_is_refused_and_leaves_no_box(home):
    before = disks(home)
    for name, what, words in (("altered", altered, b"digest"), ("truncated", lambda p: os.truncate(biggest(p), 5000), b"as the manifest says"),
                              ("missing", lambda p: os.unlink(biggest(p)), b"lacks"), ("escaping", escaping, b"lacks"),
                              ("pipe", pipe, b"no file"),
                              ("empty", lambda p: os.unlink(os.path.join(p, "index.json")), b"not an OCI layout"),
                              ("several", lambda p: mkimage.oci_layout(p, "other:1", [SMALL]), b"several images")):
        path = folder(home, name, more=[file("etc/big", os.urandom(3000000))])  # the upper layer is the biggest one, and nobody else's
        what(path)
        r = home.run("run", "--rootfs", path, "true")
        assert r.code == 125 and words in r.err, (name, r)
    for path in ("/etc/passwd", "/does/not/exist", home.work):
        assert home.run("run", "--rootfs", path, "true").code == 125
    assert home.run("run", "--rootfs", "", "true").code == 125
    assert not home.boxes() and disks(home) == before
    home.ok("prune")
    clean(home)


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
