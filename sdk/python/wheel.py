#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wheel.py --stamp STAMP --version V --directory DIR --module FILE... --libexec FILE...: the package as one file for `pip install`.

In the wheel are the package's modules (boxlite/), and in boxlite/libexec/ libboxlite, its companions, the guest's kernel and initramfs: the
library finds them beside itself. What those programs link with, but for the C library, is in boxlite/libexec/lib/ under names of its own,
so that neither we nor another extension of the same process gets the other's copy. Of the host remain QEMU and the C library.

The same files give the same bytes: names are sorted, times are SOURCE_DATE_EPOCH or zip's first day, modes are 0644 or 0755.

Needs strip, patchelf and ldd; and dpkg-query, for the licences of the libraries that are carried.
"""
import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile

# The C library's own. They belong to the kernel and the loader of the host and are never carried.
HOSTS = re.compile(r"(ld-linux[\w-]*|lib(c|m|dl|rt|pthread|resolv|util|anl|nsl|nss_\w+))\.so(\.\d+)*$")
# What is inside of programs that are linked statically, and so has no file of its own in the wheel.
INSIDE = ("libc6", "libnanopb-dev")
COMMON = "/usr/share/common-licenses"


class Failed(Exception):
    pass


def capture(*argv):
    try:
        r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        raise Failed(f"{argv[0]} is not installed: run `make setup`") from None
    if r.returncode != 0:
        raise Failed(f"{' '.join(argv[:3])}: {r.stderr.strip() or r.returncode}")
    return r.stdout


def is_elf(path):
    with open(path, "rb") as f:
        return f.read(4) == b"\x7fELF"


def is_dynamic(path):
    return is_elf(path) and "Dynamic section" in capture("readelf", "-d", path)


def wheel_name(path):
    """How a file is called there: a library by the name that programs ask for, and others as they are."""
    if not is_dynamic(path):
        return os.path.basename(path)
    soname = re.search(r"\(SONAME\).*\[(.*)\]", capture("readelf", "-d", path))
    return soname[1] if soname else os.path.basename(path)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).digest()


class Libraries:
    """The shared libraries that are carried, by the names under which programs ask for them."""

    def __init__(self, ours):
        self.ours = ours  # names of libraries that are in the wheel anyway
        self.files = {}

    def add(self, program):
        for name, path in re.findall(r"^\s+(\S+) => (\S.*?)(?: \(0x\w+\))?$", capture("ldd", program), re.M):
            if HOSTS.match(name) or name in self.ours:
                continue
            if not os.path.isabs(path):
                raise Failed(f"{program} needs {name}, which is not found")
            self.files[name] = os.path.realpath(path)

    def carried_name(self, name):
        """libx.so.1 is libx-0123abcd.so.1 there."""
        stem, dot, rest = name.partition(".so")
        return f"{stem}-{digest(self.files[name]).hex()[:8]}{dot}{rest}"

    def link(self, path, runpath):
        """Makes a file ask for the carried ones, and look for them there."""
        for name in capture("patchelf", "--print-needed", path).split():
            if name in self.files:  # one at a time: patchelf mixes up the strings of several changes
                capture("patchelf", "--replace-needed", name, self.carried_name(name), path)
        capture("patchelf", "--set-rpath", runpath, path)


# --- what is carried of others ---

def package_of(path):
    """The Debian package of a file, as (binary package, source package, version)."""
    for name in (path, path[len("/usr"):]):  # /usr/lib and /lib are one
        r = subprocess.run(["dpkg-query", "-S", name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        if r.returncode == 0:
            return facts_of(r.stdout.split(":")[0])
    raise Failed(f"{path} belongs to no Debian package: its licence is not known, and it is not carried")


def facts_of(package):
    line = capture("dpkg-query", "-W", "-f", "${binary:Package} ${source:Package} ${source:Version}\n", package).splitlines()[0]
    name, source, version = line.split()
    return name.split(":")[0], source, version


def notice(kernel, libraries):
    """NOTICE, and {name: text} of all licences that it speaks of."""
    packages = {package_of(path): name for name, path in sorted(libraries.files.items())}
    rows = [f"    {package:24} {version:28} source: {source}" for package, source, version in sorted(packages)]
    inside = [facts_of(package) for package in INSIDE]
    texts = {}
    for package, _, _ in [*packages, *inside]:
        with open(f"/usr/share/doc/{package}/copyright", encoding="utf-8", errors="replace") as f:
            texts[f"{package}.copyright"] = f.read()
    named = {"GPL-2"} | {n for text in texts.values() for n in re.findall(COMMON + r"/([A-Za-z]+(?:-[0-9.]*[0-9])?)", text)}
    for name in sorted(n for n in named if os.path.exists(os.path.join(COMMON, n))):  # the rest are slips of those texts
        with open(os.path.join(COMMON, name), encoding="utf-8") as f:
            texts[name] = f.read()
    return "\n".join([
        "BoxLite is licensed under the Apache License 2.0 (LICENSE).", "",
        "This file carries software of others, as Debian has built it. Each one's licence is in the folder of this file, as",
        "PACKAGE.copyright; texts that those refer to are beside them. Sources of every package, in the version that is named:",
        "https://snapshot.debian.org/ or `apt-get source PACKAGE=VERSION`.", "",
        "The guest's kernel and its modules (boxlite/libexec/vmlinux and in initramfs.cpio), GPL-2.0 with the note on system calls:", "",
        f"    {kernel['package']:24} {kernel['version']:28} source: linux", "",
        "Shared libraries (boxlite/libexec/lib), unchanged but for the names by which they find each other:", "", *rows, "",
        "Linked into programs of this file:", "", *(f"    {p:24} {v:28} source: {s}" for p, s, v in inside), ""]), texts


# --- the file ---

class Wheel:
    def __init__(self, path, info):
        self.path, self.info, self.rows = path, info, []
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH", 0))
        self.date = max((1980, 1, 1, 0, 0, 0), time.gmtime(epoch)[:6])
        self.contents = {}

    def add(self, name, data, executable=False):
        self.contents[name] = (data.encode() if isinstance(data, str) else data, executable)

    def add_file(self, name, path):
        with open(path, "rb") as f:
            self.add(name, f.read(), os.access(path, os.X_OK))

    def write(self):
        record = "".join(f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
                         for name, (data, _) in sorted(self.contents.items()))
        last = f"{self.info}/RECORD"
        with zipfile.ZipFile(self.path + ".new", "w", zipfile.ZIP_DEFLATED, compresslevel=6) as z:
            for name, (data, executable) in [*sorted(self.contents.items()), (last, (f"{record}{last},,\n".encode(), False))]:
                entry = zipfile.ZipInfo(name, self.date)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3
                entry.external_attr = (0o100755 if executable else 0o100644) << 16
                z.writestr(entry, data)
        os.replace(self.path + ".new", self.path)


METADATA = """\
Metadata-Version: 2.1
Name: boxlite
Version: {version}
Summary: Programs that you do not trust, in small virtual machines ("boxes")
License: Apache-2.0
Platform: linux
Classifier: License :: OSI Approved :: Apache Software License
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: 3
Classifier: Typing :: Typed
Requires-Python: >=3.9
Requires-External: qemu-system-x86
"""


def build(a, scratch):
    name = f"boxlite-{a.version}"
    tag = "cp39-abi3-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
    path = os.path.join(a.directory, f"{name}-{tag}.whl")
    wheel = Wheel(path, f"{name}.dist-info")
    libraries = Libraries({wheel_name(f) for f in a.libexec})
    ready = []  # (place, file) of what is ours and linked

    for source in [*a.libexec, *a.module]:
        base = wheel_name(source)
        place = "boxlite/libexec" if source in a.libexec else "boxlite"
        if not is_dynamic(source):
            wheel.add_file(f"{place}/{base}", source)
            continue
        libraries.add(source)
        ready.append((f"{place}/{base}", source))
    for place, source in ready:
        file = os.path.join(scratch, os.path.basename(source))
        shutil.copyfile(source, file)
        shutil.copymode(source, file)
        capture("strip", "--strip-unneeded", file)
        libraries.link(file, "$ORIGIN:$ORIGIN/lib" if "/libexec/" in place else "$ORIGIN/libexec")
        wheel.add_file(place, file)
    for wanted, source in libraries.files.items():
        carried = libraries.carried_name(wanted)
        file = os.path.join(scratch, carried)
        shutil.copyfile(source, file)
        os.chmod(file, 0o755)
        libraries.link(file, "$ORIGIN")
        capture("patchelf", "--set-soname", carried, file)
        wheel.add_file(f"boxlite/libexec/lib/{carried}", file)

    with open(a.kernel, encoding="utf-8") as f:
        text, licences = notice(json.load(f), libraries)
    wheel.add(f"{wheel.info}/licenses/NOTICE", text)
    wheel.add_file(f"{wheel.info}/licenses/LICENSE", a.licence)
    for licence, text in licences.items():
        wheel.add(f"{wheel.info}/licenses/{licence}", text)
    wheel.add(f"{wheel.info}/METADATA", METADATA.format(version=a.version))
    wheel.add(f"{wheel.info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: boxlite ({a.version})\nRoot-Is-Purelib: false\nTag: {tag}\n")
    wheel.add(f"{wheel.info}/entry_points.txt", "[console_scripts]\nboxlite = boxlite.__main__:main\n")
    wheel.add(f"{wheel.info}/top_level.txt", "boxlite\n")
    for other in os.listdir(a.directory):  # of an earlier version
        if other.endswith((".whl", ".new")) and other != os.path.basename(path):
            os.unlink(os.path.join(a.directory, other))
    wheel.write()
    return path


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--stamp", required=True)
    p.add_argument("--version", required=True)
    p.add_argument("--directory", required=True, help="where the wheel is written")
    p.add_argument("--licence", required=True)
    p.add_argument("--kernel", required=True, help="boot.json, which names the kernel's package")
    p.add_argument("--module", nargs="+", required=True, help="files of the package, the extension among them")
    p.add_argument("--libexec", nargs="+", required=True, help="libboxlite and what it looks for beside itself")
    a = p.parse_args()
    os.makedirs(a.directory, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            path = build(a, scratch)
    except Failed as why:
        sys.exit(f"wheel: {why}")
    with open(a.stamp, "w", encoding="utf-8") as f:  # what was done, to do it again
        json.dump({"wheel": os.path.abspath(path), "argv": sys.argv, "cwd": os.getcwd()}, f)


if __name__ == "__main__":
    main()
