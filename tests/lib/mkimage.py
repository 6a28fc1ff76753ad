#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes images for tests: any tree of entries as layers, in any packing that a container image comes in.

A layer is a list of entries, in the order in which they are to stand in the tar: nothing is sorted, checked or completed, so that hostile
and odd layers can be written too. Names are taken as they are.

    from mkimage import directory, file, symlink, whiteout, oci_layout
    oci_layout(path, "odd:1", [[directory("a"), file("a/b", b"1")], [whiteout("a/b")]], compression="gzip")

As a program: mkimage.py busybox DIR makes an OCI layout with the host's static busybox.
"""
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import oci

MTIME = 1_700_000_000
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# --- entries: each a pair of header and data ---

def entry(name, kind, mode, data=b"", uid=0, gid=0, mtime=MTIME, xattrs=None, link="", device=(0, 0), pax=None):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, gid, mtime
    info.linkname, info.size = link, len(data)
    info.devmajor, info.devminor = device
    info.pax_headers = dict(pax or {})
    for key, value in (xattrs or {}).items():
        info.pax_headers["SCHILY.xattr." + key] = value.decode("utf-8", "surrogateescape")
    return info, data


def directory(name, mode=0o755, **kw):
    return entry(name, tarfile.DIRTYPE, mode, **kw)


def file(name, data=b"", mode=0o644, **kw):
    return entry(name, tarfile.REGTYPE, mode, data, **kw)


def symlink(name, target, **kw):
    return entry(name, tarfile.SYMTYPE, 0o777, link=target, **kw)


def hardlink(name, target, **kw):
    return entry(name, tarfile.LNKTYPE, 0o644, link=target, **kw)


def fifo(name, mode=0o644, **kw):
    return entry(name, tarfile.FIFOTYPE, mode, **kw)


def char_device(name, major, minor, mode=0o666, **kw):
    return entry(name, tarfile.CHRTYPE, mode, device=(major, minor), **kw)


def block_device(name, major, minor, mode=0o660, **kw):
    return entry(name, tarfile.BLKTYPE, mode, device=(major, minor), **kw)


def whiteout(path):
    """Removes what lower layers have at path."""
    head, tail = os.path.split(path)
    return file(os.path.join(head, ".wh." + tail))


def opaque(path):
    """Hides all that lower layers have in the directory."""
    return file(os.path.join(path, ".wh..wh..opq"))


# --- layers ---

def tar(entries, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as t:
        for info, data in entries:
            t.addfile(info, io.BytesIO(data) if data else None)
    return out.getvalue()


def layer_bytes(layer):
    """A layer may also be given as bytes: a tar as it is, broken perhaps."""
    return layer if isinstance(layer, bytes) else tar(layer)


def default_config(config):
    return {"Env": [PATH], **(config or {})}


# --- packings ---

def oci_layout(path, name, layers, config=None, compression="gzip"):
    """An OCI image layout in the directory path. compression: "gzip", "zstd" or "", for all layers or one per layer. Gives the manifest's
    descriptor. Called again with another name it adds an image."""
    layout = oci.Layout(path)
    index = os.path.join(path, "index.json")
    if os.path.exists(index):
        with open(index, encoding="utf-8") as f:
            layout.manifests = json.load(f)["manifests"]
    kinds = [compression] * len(layers) if isinstance(compression, str) else compression
    stored = [layout.layer(io.BytesIO(layer_bytes(layer)).read, kind) for layer, kind in zip(layers, kinds, strict=True)]
    return layout.image(name, stored, default_config(config))


def oci_archive(path, name, layers, config=None, compression="gzip"):
    with tempfile.TemporaryDirectory(prefix="mkimage-") as d:
        oci_layout(d, name, layers, config, compression)
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as t:
            for item in sorted(os.listdir(d)):
                t.add(os.path.join(d, item), arcname=item)
    return path


def docker_archive(path, name, layers, config=None):
    """What `docker save` wrote before it learned OCI: manifest.json, a configuration, one plain tar per layer."""
    tars = [layer_bytes(layer) for layer in layers]
    diff_ids = [hashlib.sha256(t).hexdigest() for t in tars]
    document = oci.canonical({"architecture": oci.ARCHITECTURES[os.uname().machine], "os": "linux", "config": default_config(config),
                              "rootfs": {"type": "layers", "diff_ids": ["sha256:" + d for d in diff_ids]}})
    config_name = hashlib.sha256(document).hexdigest() + ".json"
    manifest = oci.canonical([{"Config": config_name, "RepoTags": [name], "Layers": [d + "/layer.tar" for d in diff_ids]}])
    entries = [file(config_name, document)]
    for diff_id, data in dict(zip(diff_ids, tars)).items():
        entries += [directory(diff_id), file(diff_id + "/layer.tar", data)]
    with open(path, "wb") as f:
        f.write(tar([*entries, file("manifest.json", manifest)]))
    return path


# --- the image of most tests ---

class NoBusybox(Exception):
    """The host has no static busybox (Debian: busybox-static)."""


def busybox_tree():
    program = "/bin/busybox"
    try:
        with open(program, "rb") as f:
            binary = f.read()
    except OSError as e:
        raise NoBusybox(f"{program}: {e.strerror}; install busybox-static") from e
    if b"/ld-linux" in binary[:4096]:
        raise NoBusybox(f"{program} is not static; install busybox-static")
    applets = subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    tree = [directory(d) for d in ("bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin", "var", "var/tmp")]
    tree += [directory("tmp", 0o1777), directory("root", 0o700), file("bin/busybox", binary, 0o755),
             file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"),
             file("etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:1001:user\n"), directory("home/user", 0o755, uid=1000, gid=1000)]
    tree += [symlink("bin/" + a, "busybox") for a in applets if a != "busybox"]
    tree += [symlink("usr/bin/env", "../../bin/busybox")]
    return tree


def busybox(path, name="busybox:test"):
    """An OCI layout in the directory path with busybox and little else."""
    oci_layout(path, name, [busybox_tree()], {"Cmd": ["sh"]})
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "busybox":
        sys.exit("usage: mkimage.py busybox DIR")
    try:
        busybox(sys.argv[2])
    except (NoBusybox, OSError) as e:
        sys.exit(f"mkimage: {e}")
