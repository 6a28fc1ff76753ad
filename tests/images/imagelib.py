# SPDX-License-Identifier: Apache-2.0
"""Images to try conversion with, what umoci makes of them (the oracle), and what we make of them, as trees that can be compared.

Images are made once per build directory, below test-images/, from this host's Debian packages and from entries written by hand. All have
a last layer with /.walk, a static program that lists the tree from inside a box.
"""
import contextlib
import fcntl
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(SOURCE, "tests", "lib"), os.path.join(SOURCE, "tests", "unpack")]
import boxtest
import mkimage
import oci
from mkimage import block_device, char_device, directory, fifo, file, hardlink, opaque, symlink, whiteout

BUILD = os.path.abspath(os.environ.get("BOXLITE_BUILD", os.path.join(SOURCE, "build")))
os.environ.setdefault("BOXLITE_UNPACK", os.path.join(BUILD, "boxlite-unpack"))
WALK = os.environ.get("BX_TEST_WALK", os.path.join(BUILD, "tests", "images", "walk"))
WALK_EXT4 = os.environ.get("BX_TEST_WALK_EXT4", os.path.join(BUILD, "tests", "images", "walk_ext4"))
CACHE = os.path.join(BUILD, "test-images")
FORM = 2  # counted up when what is made here changes: the cache's names have it
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep


class Missing(Exception):
    """A program or an image that this needs is not there; the text says which."""


CANNOT = (Missing, boxtest.Skip, mkimage.NoBusybox)


def tool(*argv, **kw):
    env = {**os.environ, "PATH": "/usr/sbin:/sbin:" + os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
    try:
        p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, check=False, **kw)
    except FileNotFoundError as e:
        raise Missing(f"{argv[0]} is not installed") from e
    assert p.returncode == 0, f"{argv}: {p.returncode}: {p.stderr.decode(errors='replace')[-2000:]}{p.stdout[-500:]!r}"
    return p.stdout


# --- layouts ---

def cached(name, make):
    """The directory test-images/NAME, made by make(directory) if it is not there; of tests that want it at once one makes it."""
    path = os.path.join(CACHE, f"{name}-{FORM}")
    os.makedirs(CACHE, exist_ok=True)
    with open(path + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            partial = tempfile.mkdtemp(prefix="partial-", dir=CACHE)
            try:
                make(partial)
                os.chmod(partial, 0o755)
                os.rename(partial, path)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return path


def walk_layer():
    with open(WALK, "rb") as f:
        return [file(".walk", f.read(), 0o755)]


def manifest_of(layout):
    """Manifest and configuration of a layout's first image."""
    def read(descriptor):
        with open(os.path.join(layout, "blobs", *descriptor["digest"].split(":")), "rb") as f:
            return json.load(f)
    with open(os.path.join(layout, "index.json"), "rb") as f:
        manifest = read(json.load(f)["manifests"][0])
    return manifest, read(manifest["config"])


def blob_path(layout, digest):
    return os.path.join(layout, "blobs", *digest.split(":"))


# --- the images ---

def alpine():
    return cached("alpine", lambda d: mkimage.oci_layout(d, "alpine:latest", [mkimage.busybox_tree(), walk_layer()], {"Cmd": ["sh"]}))


def thirty_layers():
    """Each layer adds, replaces, hides and links what those below have."""
    def make(d):
        random.seed(30)
        layers, kinds = [mkimage.busybox_tree()], ["gzip"]
        for n in range(1, 29):
            at = f"srv/n{n % 7}"
            layer = [directory("srv", mtime=mkimage.MTIME + n), directory(at, 0o700 + n % 8, uid=n, gid=1000 + n)]
            layer += [file(f"{at}/f{i}", random.randbytes(random.choice((0, 1, 100, 4096, 30000))), 0o600 + i, uid=n, mtime=1_600_000_000 + n)
                      for i in range(n % 5, n % 5 + 4)]
            if n % 3 == 0:
                layer.append(whiteout(f"srv/n{(n - 1) % 7}/f{n % 5}"))
            if n % 4 == 0:
                layer.append(hardlink(f"srv/link{n}", f"{at}/f{n % 5}"))
            if n % 5 == 0:
                layer.append(opaque(f"srv/n{(n - 2) % 7}"))
                layer.append(file(f"srv/n{(n - 2) % 7}/after", b"%d" % n))
            if n % 7 == 0:
                layer += [whiteout(f"srv/n{(n - 3) % 7}"), file("srv/name", b"name %d" % n, 0o640)]
            if n == 20:
                layer += [whiteout("srv/never"), whiteout("nowhere/at/all")]
            layers.append(layer)
            kinds.append(("gzip", "")[n % 2])
        mkimage.oci_layout(d, "thirty:1", [*layers, walk_layer()], {"Cmd": ["sh"]}, compression=[*kinds, "gzip"])
    return cached("thirty", make)


def sparse_tars():
    """One layer for each way in which pax archives write holes. GNU's own way (type "S") umoci refuses; tests/unpack tries it."""
    with tempfile.TemporaryDirectory(prefix="boxlite-sparse-") as d:
        for i, way in enumerate(("0.0", "0.1", "1.0")):
            os.makedirs(f"{d}/{way}/sparse")
            with open(f"{d}/{way}/sparse/{way}", "wb") as f:
                for at in range(60):  # more pieces than the first header holds
                    f.seek(at * 300_000)
                    f.write(b"piece %d of %s" % (at, way.encode()) * 50)
                f.truncate(40_000_000 + i)
            with open(f"{d}/{way}/sparse/{way}-empty", "wb") as f:
                f.truncate(5_000_000)
            yield tool("tar", "-C", f"{d}/{way}", "--sparse", "--owner=0", "--group=0", "--mtime=@1700000000", "--format=pax",
                       "--sparse-version=" + way, "-cf", "-", "sparse")


def long_names():
    deep = "/".join(f"level{i}" for i in range(60))
    return [directory("long"), file("long/" + "n" * 250, b"250"), file("long/" + "é" * 127 + "e", b"255 bytes"),
            symlink("long/link", "t" * 3000), hardlink("long/hard", "long/" + "n" * 250), file(f"long/{deep}/end", b"deep"),
            file("long/" + "/".join(["p" * 200] * 15) + "/end", b"3 KB of path")]


def odd_layers():
    one = [directory("./", 0o755, mtime=1_234_567_890), directory("d", 0o1777), directory("bin"), directory("dev"), directory("proc"), directory("sys"),
           file("d/setuid", b"s" * 5000, 0o4755, uid=100000, gid=200000), file("d/setgid", b"g", 0o2711, uid=4294967294, gid=65536),
           file("d/none", b"secret", 0), directory("d/closed", 0), file("d/closed/in", b"x", 0o777),
           file("d/ns", b"1", pax={"mtime": "1500000000.123456789"}), file("d/old", b"1", mtime=-86400),
           file("d/older", b"1", pax={"mtime": "-1000000.25"}), file("d/far", b"1", pax={"mtime": "8000000000.5"}),
           file("d/raw\udcff\udcfe", b"bytes"), file("d/nfd-e\u0301\u0301", b"1"), file("d/nfc-\u00e9", b"1"), file("d/new\nline\ttab\\", b"1"),
           file("d/empty"), file("d/.hidden", b"."), file("d/ space ", b"1"), file("d/-dash", b"1"), file("._mac", b"kept"),
           symlink("d/dangling", "/nowhere/at/all"), symlink("d/raw-link", "\udcff/\udcfe"), symlink("d/loop", "loop"),
           symlink("d/fast", "x" * 59), symlink("d/slow", "x" * 60),
           char_device("d/null", 1, 3), char_device("d/big", 300, 70000, 0o600), block_device("d/sda", 8, 0), fifo("d/pipe", 0o640, uid=7),
           file("d/caps", b"#!/bin/true", 0o755, xattrs={"security.capability": CAPABILITY}),
           file("d/attrs", b"1", xattrs={"user.note": b"hello", "user.empty": b"", "user.bin": bytes(range(256)), "trusted.t": b"t"}),
           file("d/attrs-big", b"1", xattrs={"user.big": b"v" * 3000}), directory("d/attrs-dir", xattrs={"user.d": b"d"}),
           *(file(f"d/many/{i:04d}" + "n" * (i % 120), b"%d" % i, mtime=1_600_000_000 + i) for i in range(1500)),
           file("g/one", b"group" * 2000, 0o640, uid=5, gid=6), hardlink("g/two", "g/one"), hardlink("g/three", "g/two"), hardlink("g/four", "g/one"),
           hardlink("g/pipe", "d/pipe"), hardlink("g/slow", "d/slow"),
           directory("swap-dir"), file("swap-dir/in", b"1"), file("swap-file", b"1"), symlink("swap-link", "d"), directory("swap-to-link"),
           directory("opaque"), file("opaque/low", b"1"), directory("opaque/sub"), file("opaque/sub/low", b"1"),
           directory("usr"), directory("usr/lib"), symlink("lib", "usr/lib"), file("usr/lib/low", b"1"), file("gone/a", b"1"), file("gone/b/c", b"1")]
    two = [file("g/two", b"replaced", 0o600), whiteout("g/three"), hardlink("h-lower", "g/four"),  # one of a group, one link, a lower layer's file
           file("swap-dir", b"now a file"), directory("swap-file", 0o750), file("swap-file/in", b"2"), directory("swap-link"), file("swap-link/in", b"2"),
           symlink("swap-to-link", "opaque"), opaque("opaque"), file("opaque/new", b"2"), file("opaque/sub/new", b"2"),
           file("lib/through-link", b"2"), whiteout("gone"), whiteout("never-was"), whiteout("gone-too/never"),
           file("d/attrs", b"2", xattrs={"user.other": b"o"}), directory("d/attrs-dir", 0o711)]
    three = [file("gone/b", b"back, and a file"), hardlink("d/caps2", "d/caps"), file("g/one", b"last of a group"), whiteout("d/many/0007" + "n" * 7)]
    return [one, two, three, mkimage.tar(long_names(), tarfile.GNU_FORMAT), b"\0" * 1024, *sparse_tars()]


def odd():
    def make(d):
        layers = odd_layers()
        mkimage.oci_layout(d, "odd:1", [*layers, walk_layer()], {"Cmd": ["/.walk", "/"]}, ["gzip", ""] * (len(layers) // 2) + ["gzip"] * (1 + len(layers) % 2))
    return cached("odd", make)


def python():
    """The default image, and the walker in a layer above it."""
    return cached("python", lambda d: add_walk(d, boxtest.python_image(), "python:slim"))


def node():
    """Debian with Node.js: an image without Python, of this host's packages."""
    def make(d):
        home = os.path.join(d, "home")
        try:
            tool(os.path.join(BUILD, "boxlite"), "--home", home, "bootstrap", "debian", "-q", "--packages", "nodejs", "--name", "node:debian")
            tool(os.path.join(BUILD, "boxlite"), "--home", home, "save", "-o", os.path.join(d, "made/"), "node:debian")
        except AssertionError as e:
            raise Missing(f"an image of the host's packages cannot be made: {e}") from e
        add_walk(d, os.path.join(d, "made"), "node:alpine")
        shutil.rmtree(home)
        shutil.rmtree(os.path.join(d, "made"))
    return cached("node", make)


def add_walk(directory, source, name):
    """In directory the image of another layout with one more layer."""
    manifest, config = manifest_of(source)
    layout = oci.Layout(directory)
    for layer in manifest["layers"]:
        shutil.copyfile(blob_path(source, layer["digest"]), blob_path(directory, layer["digest"]))
    stored = [*zip(manifest["layers"], config["rootfs"]["diff_ids"]), layout.layer(io.BytesIO(mkimage.tar(walk_layer())).read, "gzip")]
    layout.image(name, stored, config["config"])


def for_umoci(layout):
    """The same image with layers that umoci can read."""
    kinds = {layer["mediaType"].rpartition(".")[2] for layer in manifest_of(layout)[0]["layers"]}
    if kinds <= {"tar", "tar+gzip"}:
        return layout
    name = os.path.basename(layout).removesuffix(f"-{FORM}") + "-gzip"
    return cached(name, lambda d: tool("skopeo", "--insecure-policy", "copy", "-q", "--dest-compress-format", "gzip",
                                       f"oci:{layout}:{name_of(layout)}", f"oci:{d}:{name_of(layout)}"))


# A large image: what it has in a gigabyte of files, as (directory, files, bytes of each, whether it packs well), one layer each.
LARGE = (("gzip", "text", 2000, 64 << 10, True), ("", "big", 8, 32 << 20, False), ("", "middle", 300, 1 << 20, False),
         ("", "small", 8000, 25 << 10, False), ("gzip", "wheels", 100, 1 << 20, True))


def large_files(directory, count, size, packs, seed):
    """Entries; the same ones every time. What does not pack comes from one piece of noise, cut differently for each file."""
    noise = random.Random(seed).randbytes(3 << 20)
    text = b"".join(b"line %d of a file that packs: %s\n" % (i, noise[i:i + 9].hex().encode()) for i in range(3000))
    yield mkimage.directory(directory)
    for i in range(count):
        at = i * 7919 % (1 << 20)
        source = text if packs else noise
        data = (b"%s %d\n" % (directory.encode(), i) + (source[at % len(source):] + source) * (1 + size // len(source)))[:size]
        if i % 100 == 0:
            yield mkimage.directory(f"{directory}/{i // 100:03d}")
        yield mkimage.file(f"{directory}/{i // 100:03d}/{i:05d}", data, 0o644 if i % 3 else 0o755, uid=i % 5, mtime=mkimage.MTIME + i)


def large(gigabytes=1):
    """An image that unpacks to so many gigabytes: many files and large ones, in layers of which the last one hides some of what is below."""
    def make(d):
        layout = oci.Layout(d)
        stored = [layout.layer(io.BytesIO(mkimage.tar(layer)).read, "gzip") for layer in (mkimage.busybox_tree(), walk_layer())]
        for number in range(gigabytes):
            for kind, name, count, size, packs in LARGE:
                entries = large_files(f"{name}{number}", count, size, packs, f"{name}{number}")
                with tempfile.TemporaryFile(dir=d) as f:
                    with tarfile.open(fileobj=f, mode="w", format=tarfile.PAX_FORMAT) as t:
                        for info, data in entries:
                            t.addfile(info, io.BytesIO(data) if data else None)
                    f.seek(0)
                    stored.append(layout.layer(f.read, kind))
        last = [whiteout("big0/000/00003"), whiteout("small0/007"), hardlink("linked", "big0/000/00001"), file("middle0/000/00000", b"replaced")]
        stored.append(layout.layer(io.BytesIO(mkimage.tar(last)).read, "gzip"))
        layout.image("large:1", stored, {"Cmd": ["sh"]})
    return cached(f"large-{gigabytes}", make)


# --- memory ---

class Peaks(threading.Thread):
    """While it runs, follows the processes that work in a home, and those that they started: the most memory that each program had, as the
    kernel has counted it (VmHWM), in bytes by its name. What a process takes in its last moments may be missed."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.home, self.most, self.ended = boxtest.Home(path), {}, threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()

    def run(self):
        while not self.ended.wait(0.02):
            found = list(self.home.processes())
            for pid in found:
                with contextlib.suppress(OSError, ValueError):
                    self.note(pid)
                    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                        found += [int(p) for p in f.read().split() if int(p) not in found]

    def note(self, pid):
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            facts = dict(line.split(":", 1) for line in f)
        peak = int(facts.get("VmHWM", "0").split()[0]) * 1024
        name = facts["Name"].strip()
        self.most[name] = max(peak, self.most.get(name, 0))


# --- trees ---

class Tree(dict):
    """path -> (type, mode, owner, time, size, links, device, content, xattrs, group): group is the tuple of all names of a file."""

    @classmethod
    def parse(cls, text):
        tree, inodes = cls(), {}
        for line in text.decode().splitlines():
            path, kind, mode, owner, time, size, links, ino, device, content, xattrs = line.split("\t")
            path = urllib.parse.unquote_to_bytes(path)
            tree[path] = {"type": kind, "mode": mode, "owner": owner, "time": time, "size": size, "device": device, "content": content,
                          "xattrs": xattrs}
            if kind != "dir":
                tree[path]["links"] = links
                inodes.setdefault(ino, []).append(path)
        for names in inodes.values():
            group = tuple(sorted(names))
            for name in names:
                tree[name]["names"] = group
        return tree


def tree_of_directory(path):
    return Tree.parse(tool(WALK, path))


def tree_of_ext4(path):
    return Tree.parse(tool(WALK_EXT4, path))


def tree_by_kernel(path):
    """The same through this host's kernel; needs root."""
    with tempfile.TemporaryDirectory(prefix="boxlite-mount-") as d:
        tool("mount", "-o", "loop,ro,noload", path, d)
        try:
            return tree_of_directory(d)
        finally:
            tool("umount", d)


def differences(ours, theirs, ignore=lambda path, field: False):
    """Lines, one for each difference; empty when the trees are equal."""
    found = []
    for path in sorted(set(ours) | set(theirs)):
        a, b = ours.get(path), theirs.get(path)
        if a is None or b is None:
            if not ignore(path, "presence"):
                found.append(f"{path!r}: only {'the oracle has' if a is None else 'we have'} it")
            continue
        found += [f"{path!r}: {field} is {a.get(field)!r}, of the oracle {b.get(field)!r}" for field in a.keys() | b.keys()
                  if a.get(field) != b.get(field) and not ignore(path, field)]
    return found


def differs_on_purpose(theirs, began):
    """umoci gives the time of unpacking to a directory that no layer names, or that a later layer removes from; the root is not in the layers."""
    def ignore(path, field):
        entry = theirs.get(path, {})
        new = entry.get("type") == "dir" and field == "time" and float(entry["time"]) >= began
        return path == b"/lost+found" or (path == b"/" and field in ("links", "time")) or new
    return ignore


def unpacked_by_umoci(layout, name, directory):
    """The root directory of a bundle made by umoci; as an ordinary user without owners and devices (--rootless)."""
    bundle = os.path.join(directory, "bundle")
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    tool("umoci", "unpack", *rootless, "--image", f"{layout}:{name}", bundle)
    return os.path.join(bundle, "rootfs")


def name_of(layout):
    with open(os.path.join(layout, "index.json"), "rb") as f:
        return json.load(f)["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
