# SPDX-License-Identifier: Apache-2.0
"""What the tests of broken-off work on images share: a home with an image in every form, what must hold in it, and its processes."""
import contextlib
import hashlib
import json
import os
import random
import tarfile
import time

import imagelib  # finds the others
import boxtest
import mkimage
from mkimage import directory, file, whiteout


def layers():
    noise = random.Random(1)
    tree = mkimage.busybox_tree()
    return [tree, [directory("srv"), *(file(f"srv/{i:03d}", noise.randbytes(i * 150)) for i in range(200))],
            [file("srv/big", noise.randbytes(3 << 20)), whiteout("srv/007")],
            [directory("srv/more"), *(file(f"srv/more/{i}", b"%d" % i * 3000) for i in range(100))]]


def prepare(home):
    """An image as a layout, as an archive, and its lower half as a tar; TMPDIR is a directory of its own. Gives the home."""
    home.work = os.path.join(home.path, "made")
    home.tmp = os.path.join(home.work, "tmp")
    os.makedirs(home.tmp)
    home.env["TMPDIR"] = home.tmp
    home.layout, home.archive, home.tar = (os.path.join(home.work, n) for n in ("layout", "archive.tar", "root.tar"))
    mkimage.oci_layout(home.layout, "odd:1", layers(), {"Cmd": ["true"]}, ["gzip", "gzip", "zstd", ""])
    with tarfile.open(home.archive, "w") as t:
        for name in sorted(os.listdir(home.layout)):
            t.add(os.path.join(home.layout, name), arcname=name)
    with open(home.tar, "wb") as f:
        f.write(mkimage.tar([e for layer in layers()[:2] for e in layer]))
    return home


def serve(home, reg):
    """The registry has the image, under the name home.name, and the home knows the registry."""
    reg.layout(home.layout, "team/odd", "1")
    home.name = f"{reg.host}/team/odd:1"
    with open(os.path.join(home.path, "config.json"), "w", encoding="utf-8") as f:
        json.dump({"image_registries": [{"host": reg.host, "transport": "http"}]}, f)


def forget(home):
    """No image, no blob, no disk."""
    names = sorted({i["Reference"] for i in json.loads(home.ok("images", "--format", "json").text)})
    if names:
        home.ok("rmi", *names)
    home.ok("prune", "-a")


# --- what must hold ---

def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def disk_digest(path):
    """Of what is in a disk, and where: it is nearly all holes."""
    h = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        end, at = os.fstat(f.fileno()).st_size, 0
        with contextlib.suppress(OSError):  # ENXIO: only a hole is left
            while at < end:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
                until = os.lseek(f.fileno(), at, os.SEEK_HOLE)
                while at < until:
                    data = os.pread(f.fileno(), min(4096, until - at), at)
                    if data.strip(b"\0"):
                        h.update(b"%d " % at + data)
                    at += len(data)
        h.update(b"%d" % end)
    return h.hexdigest()


def listing(home, *path):
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(os.path.join(home.path, *path)))
    return []


def check_files(home, disks):
    """disks: digests of the disks, by name; a new one is remembered."""
    for name in listing(home, "blobs", "sha256"):
        assert sha256(os.path.join(home.path, "blobs", "sha256", name)) == name, f"blob {name} is wrong"
    for name in listing(home, "disks"):
        if name.endswith(".ext4"):
            found = disk_digest(os.path.join(home.path, "disks", name))
            assert disks.setdefault(name, found) == found, f"disk {name} is another one now"
    assert listing(home, "blobs", "partial") == [], listing(home, "blobs", "partial")
    assert home.leftovers() == [], home.leftovers()
    assert os.listdir(home.tmp) == [], os.listdir(home.tmp)
    assert not home.mounts(), home.mounts()
    with open("/proc/net/unix", encoding="utf-8") as f:
        assert home.path not in f.read()


def grow_old(home):
    """Eleven minutes pass for what was not finished: until then it might be somebody's who is about to lock it."""
    when = time.time() - 660
    for path in [("tmp", n) for n in listing(home, "tmp")] + [("blobs", "partial", n) for n in listing(home, "blobs", "partial")]:
        os.utime(os.path.join(home.path, *path), (when, when))


# --- processes ---

def born(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return f.read().rsplit(")", 1)[1].split()[19]


def comm(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
        return f.read().strip()


def family(home, first):
    """Processes of the home and what they started, from a pid on: {(pid, birth): name}. The jailed half of boxlite-pull is called "inside"."""
    names, outer = {}, os.path.realpath(home.path) + "/"
    for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) >= first):
        with contextlib.suppress(OSError):
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            if any(link.startswith(outer) for link in links):
                names[pid, born(pid)] = comm(pid)
    pending = [pid for pid, _ in names]
    for pid in pending:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            for child in map(int, f.read().split()):
                if (child, born(child)) not in names:
                    names[child, born(child)] = "inside" if comm(child) == "boxlite-pull" else comm(child)
                    pending.append(child)
    return names


def is_alive(pid, birth):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return fields[19] == birth and fields[0] != "Z"
    return False


def pause(seconds):
    boxtest.select.select([], [], [], seconds)
