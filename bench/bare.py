# SPDX-License-Identifier: Apache-2.0
"""QEMU alone, for comparison: our kernel, our image as a raw disk, nothing else; what a program reads and writes there."""
import json
import os
import re
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(SOURCE, "boot"))
import cpio  # noqa: E402

INIT = """#!/busybox sh
/busybox mount -t proc proc /proc
for m in /lib/modules/*.ko; do /busybox insmod $m; done
/busybox mount -t devtmpfs dev /dev
while [ ! -b /dev/vda ]; do :; done
/busybox mount -t ext4 /dev/vda /root
/busybox mount -t proc proc /root/proc
/busybox mount -t devtmpfs dev /root/dev
/busybox mount -t tmpfs tmp /root/tmp
rates=$(/busybox chroot /root /usr/bin/python3 /bench.py)
echo "BENCH $rates"
/busybox reboot -f
"""


def initrd(build, busybox):
    with open(busybox, "rb") as f:
        program = f.read()
    ours = cpio.archive({"init": cpio.regular(INIT.encode(), 0o755), "busybox": cpio.regular(program, 0o755), "dev": cpio.directory(),
                         "proc": cpio.directory(), "root": cpio.directory()})
    with open(os.path.join(build, "modules.cpio"), "rb") as f:
        return f.read() + ours


def disk_rates(build, home, script):
    """(write, read) in MB/s of the script that prints both, in a machine of its own; None where busybox is missing."""
    busybox = "/bin/busybox" if os.path.exists("/bin/busybox") else "/usr/bin/busybox"
    if not os.path.exists(busybox):
        return None
    disk, ramdisk = os.path.join(home, "bare.ext4"), os.path.join(home, "bare.cpio")
    disks = [os.path.join(home, "disks", d) for d in os.listdir(os.path.join(home, "disks")) if d.endswith(".ext4")]
    image = max(disks, key=lambda d: os.stat(d).st_blocks)  # the one with Python
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", image, disk], check=True)
    os.chmod(disk, 0o600)
    with open(os.path.join(home, "cache", "host.json")) as f:
        khz = json.load(f)["tsc_khz"]
    with open(ramdisk, "wb") as f:
        f.write(initrd(build, busybox))
    subprocess.run(["debugfs", "-w", "-R", f"write {script_file(home, script)} bench.py", disk], check=True, stderr=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
    try:
        out = subprocess.run(
            ["qemu-system-x86_64", "-M", "microvm,x-option-roms=off,isa-serial=on,rtc=on,pit=off,pic=off", "-accel", "tcg,tb-size=32",
             "-cpu", "max,erms=off,fsrm=off", "-m", "512", "-kernel", os.path.join(build, "vmlinux"), "-initrd", ramdisk, "-append",
             f"console=ttyS0 quiet reboot=t panic=-1 tsc_early_khz={khz} tsc=reliable no_timer_check nokaslr mitigations=off "
             "audit=0 8250.nr_uarts=1", "-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-serial", "stdio", "-drive",
             f"id=d0,file={disk},format=raw,if=none", "-device", "virtio-blk-device,drive=d0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=300).stdout.decode(errors="replace")
    finally:
        os.unlink(disk)
        os.unlink(ramdisk)
    rates = re.search(r"BENCH ([0-9.]+) ([0-9.]+)", out)
    if not rates:
        raise RuntimeError(f"QEMU alone said: {out[-500:]}")
    return float(rates[1]), float(rates[2])


def script_file(home, script):
    path = os.path.join(home, "bare.py")
    with open(path, "w") as f:
        f.write(script)
    return path
