#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the guest's initramfs and boot.json: initramfs.py --init AGENT --kernel VMLINUX --modules MODULES.cpio --about KERNEL.json ...

The initramfs has the agent as /init, the kernel modules that it loads in the order of their names (/lib/modules/NN-name.ko), /dev/console
for what is said before devtmpfs is mounted, and the directories it mounts on. It is not compressed: unpacking costs the guest more than
QEMU's reading saves. boot.json names what belongs together; a template is made for exactly these digests.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import cpio

DIRECTORIES = ("dev", "newroot", "proc", "run", "sys")


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as f:
        f.write(data)
    os.replace(temporary, path)


def stripped(path, strip):
    with tempfile.NamedTemporaryFile(prefix="boxlite-init-") as f:
        subprocess.run([strip, "-s", "-o", f.name, path], check=True)
        return read(f.name)


def initramfs(init, modules):
    entries = {name: cpio.directory() for name in DIRECTORIES}
    entries["dev/console"] = cpio.character_device(5, 1)
    entries["init"] = cpio.regular(init, 0o755)
    return cpio.archive(entries) + modules


def main():
    p = argparse.ArgumentParser(description="make the guest's initramfs")
    p.add_argument("--init", required=True, help="the agent, a static program")
    p.add_argument("--strip", help="the program that removes the agent's symbols")
    p.add_argument("--kernel", required=True, help="vmlinux")
    p.add_argument("--modules", required=True, help="archive of kernel modules, from kernel.py")
    p.add_argument("--about", required=True, help="kernel.json, from kernel.py")
    p.add_argument("--output", required=True, help="the initramfs")
    p.add_argument("--manifest", required=True, help="boot.json")
    a = p.parse_args()
    init = stripped(a.init, a.strip) if a.strip else read(a.init)
    archive = initramfs(init, read(a.modules))
    about = json.loads(read(a.about))
    about["kernel_sha256"] = hashlib.sha256(read(a.kernel)).hexdigest()
    about["initramfs_sha256"] = hashlib.sha256(archive).hexdigest()
    write(a.output, archive)
    write(a.manifest, (json.dumps(about, indent=2) + "\n").encode())


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, subprocess.CalledProcessError) as e:
        sys.exit(f"initramfs: {e}")
