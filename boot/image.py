#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the default image, a small Debian with Python, as an OCI image layout: image.py --output DIR

Packages come through mmdebstrap from the Debian sources that the host's apt already has (and from mmdebstrap's own default if it has none).
Works as root and as an ordinary user with subordinate ids. With the same packages and SOURCE_DATE_EPOCH the image has the same bytes;
without it the newest of the archive's own dates is taken, so that only new packages change the image.
"""
import argparse
import calendar
import gzip
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

sys.dont_write_bytecode = True
import oci

NAME = "python:slim-debian"
PACKAGES = "python3,ca-certificates"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Nobody reads manuals in a box. Licences stay.
DPKG_OPTIONS = ("path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*", "path-exclude=/usr/share/locale/*",
                "path-exclude=/usr/share/lintian/*", "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright")
# What a machine of its own would write anew, what differs from run to run, and apt's files (apt itself is not in the image). mmdebstrap
# must run no apt afterwards, hence --skip: without its configuration in /tmp, which also must stay, that would work on the host's lists.
REMOVE = ("/etc/apt", "/etc/hostname", "/etc/resolv.conf", "/var/log/*", "/var/cache/debconf/*-old", "/var/cache/ldconfig/*",
          "/var/lib/dpkg/*-old", "/var/lib/apt", "/var/cache/apt", "/etc/*-")

# Runs in the new system. Under SOURCE_DATE_EPOCH Debian's scripts compile Python to files that carry the hash of their source, so that
# each import reads and hashes it: slow in an emulated machine. The files get the usual time and size of the source instead.
RETIME = r"""
import os, struct
epoch = int(os.environ["SOURCE_DATE_EPOCH"])
for top in ("/usr/lib", "/usr/share"):
    for directory, _, names in os.walk(top):
        if os.path.basename(directory) != "__pycache__":
            continue
        for name in names:
            source = os.path.join(os.path.dirname(directory), name.split(".")[0] + ".py")
            path = os.path.join(directory, name)
            with open(path, "r+b") as f:
                if f.read(8)[4:] == b"\3\0\0\0" and os.path.exists(source):
                    s = os.stat(source)
                    f.seek(4)
                    f.write(struct.pack("<III", 0, min(int(s.st_mtime), epoch), s.st_size))
"""


class Failed(Exception):
    pass


def output_of(*argv):
    r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    return r.stdout if r.returncode == 0 else ""


def debian_sources():
    """The host's sources that are Debian's own: the suite, and lines for mmdebstrap."""
    fields = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(CODENAME)"
    lines, suite = [], None
    for line in output_of("apt-get", "indextargets", "--format", fields, "Created-By: Packages").splitlines():
        origin, uri, release, component, codename = line.split("|")
        source = f"deb {uri} {release} {component}"
        if origin != "Debian" or component != "main" or "debug" in release or source in lines:
            continue
        lines.append(source)
        if suite is None or len(codename) < len(suite):
            suite = codename
    return suite or "stable", lines


def archive_date():
    """The newest date of the Debian archives in apt's lists, or now."""
    lists = output_of("apt-config", "shell", "D", "Dir::State::lists/d").split("'")
    directory = lists[1] if len(lists) > 1 else "/var/lib/apt/lists"
    newest = 0
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        if not re.search(r"Release(\.gz)?$", name):
            continue
        path = os.path.join(directory, name)
        with (gzip.open if name.endswith(".gz") else open)(path, "rt", errors="replace") as f:
            head = f.read(4096)
        date = re.search(r"^Date: (.*) UTC$", head, re.M)
        if date and re.search(r"^Origin: Debian$", head, re.M):
            newest = max(newest, calendar.timegm(time.strptime(date.group(1), "%a, %d %b %Y %H:%M:%S")))
    return newest or int(time.time())


def apt_options():
    """What the host's apt was told about its clock and its way to the network holds for the new system's apt as well."""
    for line in output_of("apt-config", "dump").splitlines():
        if re.match(r'Acquire::(Check-(Valid-Until|Date)|https?::Proxy(::\S+)?) "[^"]+";$', line):
            yield f"--aptopt={line}"


def command(epoch, retime):
    suite, sources = debian_sources()
    clean = " ".join(f'"$1"{pattern}' for pattern in REMOVE)
    hooks = (f"chroot \"$1\" python3 -I - < '{retime}'",
             'mkdir -p "$1/usr/local/bin" && ln -s /usr/bin/python3 "$1/usr/local/bin/python3" && ln -s python3 "$1/usr/local/bin/python"',
             f"rm -rf {clean}")
    return ["mmdebstrap", "--mode=auto", "--variant=essential", f"--include={PACKAGES}", "--format=tar", "--skip=output/dev,cleanup/apt,cleanup/mmdebstrap",
            "--hook-directory=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
            *(f"--dpkgopt={o}" for o in DPKG_OPTIONS), *apt_options(), *(f"--customize-hook={h}" for h in hooks), suite, "-", *sources]


def empty_dev(epoch):
    """The tar header of /dev, which mmdebstrap leaves out together with the device nodes that a box has no use for."""
    entry = tarfile.TarInfo("./dev/")
    entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, epoch
    return entry.tobuf()


def after(head, read):
    """A read function that gives head first."""
    heads = [head]
    return lambda n: heads.pop() if heads else read(n)


def build(directory, name, epoch):
    """Makes the layout in an empty directory."""
    layout = oci.Layout(directory)
    with tempfile.TemporaryDirectory(prefix="boxlite-image-") as temporary:
        os.chmod(temporary, 0o755)
        retime = os.path.join(temporary, "retime.py")
        with open(retime, "w", encoding="ascii") as f:
            f.write(RETIME)
        with open(os.path.join(temporary, "log"), "w+b") as log:
            environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}
            process = subprocess.Popen(command(epoch, retime), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment)
            layer = layout.layer(after(empty_dev(epoch), process.stdout.read), "zstd")
            if process.wait() != 0:
                log.seek(0)
                raise Failed(f"mmdebstrap failed:\n{log.read().decode(errors='replace')[-4000:]}")
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    layout.image(name, [layer], {"Env": [f"PATH={PATH}"], "Cmd": ["python3"], "WorkingDir": "/"}, created)


def main():
    p = argparse.ArgumentParser(description="make the default image, a small Debian with Python, as an OCI image layout")
    p.add_argument("--output", required=True, help="the layout's directory; it is replaced when the new one is whole")
    p.add_argument("--name", default=NAME, help="the image's name (default: %(default)s)")
    a = p.parse_args()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or archive_date())
    output = os.path.abspath(a.output)
    os.makedirs(os.path.dirname(output), exist_ok=True)
    partial = f"{output}.{os.getpid()}.tmp"
    try:
        build(partial, a.name, epoch)
        shutil.rmtree(output, ignore_errors=True)
        os.replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except (Failed, OSError, ValueError) as e:
        sys.exit(f"image: {e}")
