#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the guest's kernel from the distribution's package, without installing anything: kernel.py --output DIR

Output: vmlinux (ELF); modules.cpio, an archive of lib/modules/NN-name.ko, numbered in the order in which they must be loaded; and
kernel.json, which names the package.

The package is the one that the metapackage (linux-image-cloud-<arch>) stands for in apt's lists. It is kept in the cache directory and
used from there, offline too, while the lists still name it or while there are no lists. Downloads go through apt, which checks them
against the signed lists; no root is needed. Where the host's lists are missing or too old to download by, lists of our own are fetched into the cache.
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile

sys.dont_write_bytecode = True
import cpio
import vmlinux

METAPACKAGE = {"amd64": "linux-image-cloud-amd64"}
# What the agent needs before it has a root: its ports and its disk. ext4 and the 8250 console are built in.
MODULES = ("virtio_mmio", "virtio_blk", "virtio_console", "dummy")


class Failed(Exception):
    pass


def capture(*argv, cwd=None):
    r = subprocess.run(argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                       env={**os.environ, "LC_ALL": "C"})
    if r.returncode != 0:
        raise Failed(f"{' '.join(argv[:3])}: {r.stderr.strip() or 'exit %d' % r.returncode}")
    return r.stdout


class Apt:
    """apt's read-only side, over the host's package lists or over lists of our own in the cache directory."""

    def __init__(self, private=None):
        self.options = []
        if private:
            lists, archives = os.path.join(private, "lists"), os.path.join(private, "archives")
            for d in (lists, archives):
                os.makedirs(os.path.join(d, "partial"), exist_ok=True)
            self.options = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={private}", "-o", "APT::Sandbox::User="]

    def update(self):
        capture("apt-get", *self.options, "-q", "-o", "APT::Update::Error-Mode=any", "update")

    def resolve(self, metapackage):
        """The kernel package behind the metapackage: name, version and the SHA-256 of its file."""
        depends = re.search(r"^Depends:.*?\b(linux-image-[0-9][^ ,]*)", self.show(metapackage), re.M)
        if not depends:
            raise Failed(f"{metapackage} names no kernel package")
        record = self.show(depends.group(1))
        return tuple(re.search(rf"^{field}: (\S+)", record, re.M).group(1) for field in ("Package", "Version", "SHA256"))

    def show(self, package):
        return capture("apt-cache", *self.options, "show", "--no-all-versions", package)

    def download(self, name, version, directory):
        capture("apt-get", *self.options, "-q", "-o", "APT::Sandbox::User=", "download", f"{name}={version}", cwd=directory)


def digest_of(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def cached_path(cache, name, version):
    return os.path.join(cache, f"{name}_{version.replace(':', '%3a')}.deb")


def newest_cached(cache, arch):
    found = [f for f in os.listdir(cache) if re.fullmatch(rf"linux-image-.*-cloud-{arch}_.*\.deb", f)]
    return max((os.path.join(cache, f) for f in found), key=os.path.getmtime, default=None)


def fetch(cache, apt, metapackage):
    """Gives the path of the package in the cache, downloading it if it is not there."""
    name, version, digest = apt.resolve(metapackage)
    path = cached_path(cache, name, version)
    if os.path.exists(path) and digest_of(path) == digest:
        return path
    print(f"kernel: downloading {name} {version}", file=sys.stderr)
    partial = os.path.join(cache, f"partial.{os.getpid()}")
    os.makedirs(partial)
    try:
        apt.download(name, version, partial)
        [deb] = os.listdir(partial)
        os.replace(os.path.join(partial, deb), path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def default_cache():
    """Outlives build directories, so that a clean build needs no network."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("BOXLITE_BOOT_CACHE") or os.path.join(base, "boxlite-boot")


def find_package(cache, arch):
    if arch not in METAPACKAGE:
        raise Failed(f"no guest kernel is known for {arch}; known are: {', '.join(METAPACKAGE)}")
    os.makedirs(cache, exist_ok=True)
    metapackage = METAPACKAGE[arch]
    try:
        return fetch(cache, Apt(), metapackage)
    except Failed as e:
        why = e
    old = newest_cached(cache, arch)
    if old:
        print(f"kernel: using the cached {os.path.basename(old)}: {why}", file=sys.stderr)
        return old
    print(f"kernel: fetching package lists: {why}", file=sys.stderr)
    apt = Apt(private=os.path.join(cache, "apt"))
    apt.update()
    return fetch(cache, apt, metapackage)


def modinfo(ko):
    """The fields of a module's .modinfo section, as a list of (key, value)."""
    shoff, = struct.unpack_from("<Q", ko, 0x28)
    entsize, count, names_index = struct.unpack_from("<HHH", ko, 0x3a)
    sections = [struct.unpack_from("<IIQQQQ", ko, shoff + i * entsize) for i in range(count)]
    names = sections[names_index][4]
    for name, _type, _flags, _addr, offset, size in sections:
        if ko[names + name:names + name + 9] == b".modinfo\0":
            text = ko[offset:offset + size].decode()
            return [tuple(field.split("=", 1)) for field in text.split("\0") if "=" in field]
    return []


def load_order(wanted, modules):
    """The wanted modules and all that they need, each after its needs. modules maps a name to the module's bytes."""
    order = []

    def add(name, chain):
        if name in order:
            return
        if name in chain:
            raise Failed(f"modules need each other: {' '.join((*chain, name))}")
        if name not in modules:
            raise Failed(f"the package has no module {name}")
        for key, value in modinfo(modules[name]):
            if key == "depends":
                for need in filter(None, value.split(",")):
                    add(need.replace("-", "_"), (*chain, name))
        order.append(name)

    for name in wanted:
        add(name, ())
    return order


def read_package(path):
    """The boot image, the kernel's release and all modules (name to bytes, names with underscores) of a kernel package."""
    tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE)
    image = release = None
    modules = {}
    with tarfile.open(fileobj=tar.stdout, mode="r|") as members:
        for m in members:
            if not m.isfile():
                continue
            name = os.path.basename(m.name)
            if m.name.startswith("./boot/vmlinuz-"):
                release = name[len("vmlinuz-"):]
                image = members.extractfile(m).read()
            elif re.search(r"/kernel/drivers/(virtio|block|char)/.*\.ko$|/kernel/drivers/net/dummy\.ko$", m.name):
                modules[name[:-3].replace("-", "_")] = members.extractfile(m).read()
    tar.stdout.close()
    if tar.wait() != 0:
        raise Failed(f"dpkg-deb could not read {path}")
    if image is None:
        raise Failed(f"{path} has no boot/vmlinuz")
    return image, release, modules


def write(path, data):
    """Whole or not at all."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as f:
        f.write(data)
    os.replace(temporary, path)


def main():
    p = argparse.ArgumentParser(description="make vmlinux and modules from the distribution's kernel package")
    p.add_argument("--cache", default=default_cache(), help="where the package is kept (default: %(default)s)")
    p.add_argument("--output", required=True, help="where vmlinux, modules.cpio and kernel.json go")
    p.add_argument("--arch", default=None, help="Debian's name of the architecture (default: the host's)")
    a = p.parse_args()
    package = find_package(a.cache, a.arch or capture("dpkg", "--print-architecture").strip())
    image, release, modules = read_package(package)
    order = load_order(MODULES, modules)
    entries = {"lib": cpio.directory(), "lib/modules": cpio.directory()}
    for i, module in enumerate(order):
        entries[f"lib/modules/{i:02d}-{module}.ko"] = cpio.regular(modules[module])
    os.makedirs(a.output, exist_ok=True)
    write(os.path.join(a.output, "vmlinux"), vmlinux.unpack(image))
    write(os.path.join(a.output, "modules.cpio"), cpio.archive(entries))
    name, version = os.path.basename(package)[:-len(".deb")].split("_", 1)
    about = {"package": name, "version": version.replace("%3a", ":"), "release": release, "modules": order}
    write(os.path.join(a.output, "kernel.json"), (json.dumps(about, indent=2) + "\n").encode())


if __name__ == "__main__":
    try:
        main()
    except (Failed, vmlinux.BadKernel, OSError, tarfile.TarError) as e:
        sys.exit(f"kernel: {e}")
