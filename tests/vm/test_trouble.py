# SPDX-License-Identifier: Apache-2.0
"""When something is wrong: a clear error, the right exit code, and nothing left behind."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "boot"))
import boxtest
import cpio
from boxtest import Home, wait_for

IMAGE = "busybox:test"


def make_home():
    home = Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    return home


def template_of(home):
    root = os.path.join(home.path, "templates")
    names = [n for n in os.listdir(root) if os.path.isdir(os.path.join(root, n))]
    assert len(names) == 1, names
    return os.path.join(root, names[0])


def test_kvm_that_cannot_run_is_refused_at_once_with_the_reason(home):
    info = json.loads(home.ok("info", "--format", "json").text)
    if info["kvm"]["usable"]:
        raise boxtest.OtherHardware("this machine has a KVM that works")
    r = home.run("run", "--rm", "--engine", "kvm", IMAGE, "true")
    assert r.code == 125 and b"kvm" in r.err.lower(), r
    assert info["kvm"]["reason"].encode() in r.err, (info, r)
    assert not home.boxes()


def test_a_missing_qemu_is_named_with_its_package(home):
    r = home.run("run", "--rm", IMAGE, "true", env={"BOXLITE_QEMU": "/nonexistent/qemu-system-x86_64"})
    assert r.code == 125 and b"qemu-system-x86" in r.err, r


def test_ten_programs_that_want_the_same_missing_template_make_it_once(home):
    other = Home()
    try:
        other.ok("load", boxtest.busybox_image(), "--name", IMAGE)
        running = [other.popen("run", "--rm", IMAGE, "echo", str(i)) for i in range(10)]
        for i, p in enumerate(running):
            out, err = p.communicate(timeout=240)
            assert (p.returncode, out) == (0, b"%d\n" % i), (p.returncode, out, err)
        template_of(other)
        other.wait_no_processes()
        assert not other.leftovers(), other.leftovers()
    finally:
        other.close()


def test_a_corrupt_template_is_rebuilt(home):
    home.ok("run", "--rm", IMAGE, "true")
    for damage in ("state", "mem"):
        path = os.path.join(template_of(home), damage)
        os.chmod(path, 0o644)
        with open(path, "r+b") as f:
            if damage == "mem":
                f.truncate(4096)
            else:
                f.write(b"\0" * os.path.getsize(path))
        r = home.run("run", "--rm", IMAGE, "echo", "again")
        assert (r.code, r.out) == (0, b"again\n"), (damage, r)
        with open(os.path.join(template_of(home), damage), "rb") as f:
            assert f.seek(0, os.SEEK_END) > 4096 and f.seek(0) == 0 and f.read(4096) != bytes(4096), damage


def shim_of(home, box):
    return int(next(b["Pid"] for b in home.boxes() if b["Names"] == box))


def test_a_killed_qemu_fails_the_box_and_every_wait_on_it(home):
    home.ok("run", "-d", "--name", "victim", IMAGE, "sleep", "1000")
    p = home.popen("exec", "victim", "--", "sh", "-c", "echo up; sleep 1000")
    assert p.stdout.readline() == b"up\n"
    qemu = [pid for pid, comm in home.processes().items() if comm.startswith("qemu")]
    assert len(qemu) == 1, home.processes()
    os.kill(qemu[0], signal.SIGKILL)
    out, err = p.communicate(timeout=30)
    assert p.returncode == 125 and err, (p.returncode, err)
    wait_for(lambda: [b["Status"] for b in home.boxes() if b["Names"] == "victim"] == ["Failed"], "state failed")
    home.ok("start", "victim")
    assert home.ok("exec", "victim", "--", "echo", "back").out == b"back\n"
    home.ok("rm", "-f", "victim")


def test_a_killed_shim_takes_its_machine_along(home):
    home.ok("run", "-d", "--name", "orphan", IMAGE, "sleep", "1000")
    os.kill(shim_of(home, "orphan"), signal.SIGKILL)
    home.wait_no_processes("the box")
    status = [b["Status"] for b in home.boxes() if b["Names"] == "orphan"]
    assert status in (["Failed"], ["Stopped"]), status
    home.ok("rm", "-f", "orphan")


def test_an_agent_that_never_answers_is_given_up_with_the_consoles_tail(home):
    libexec = os.path.join(home.path, "tmp-libexec")
    os.mkdir(libexec)
    try:
        for name in os.listdir(boxtest.BUILD):
            if name.startswith(("boxlite", "libb", "vmlinux", "boot.json")):
                os.symlink(os.path.join(boxtest.BUILD, name), os.path.join(libexec, name))
        with open("/bin/busybox", "rb") as f:
            busybox = f.read()
        script = b"#!/busybox sh\n/busybox mount -t devtmpfs dev /dev\necho I am no agent >/dev/console\nexec /busybox sleep 1000\n"
        with open(os.path.join(libexec, "initramfs.cpio"), "wb") as f:
            f.write(cpio.archive({"init": cpio.regular(script, 0o755), "busybox": cpio.regular(busybox, 0o755), "dev": cpio.directory()}))
        with open(os.path.join(libexec, "boot.json")) as f:
            about = json.load(f)
        os.unlink(os.path.join(libexec, "boot.json"))
        about["initramfs_sha256"] = "0" * 64
        with open(os.path.join(libexec, "boot.json"), "w") as f:
            json.dump(about, f)
        r = home.run("run", "--rm", IMAGE, "true", env={"BOXLITE_LIBEXEC": libexec, "BOXLITE_START_TIMEOUT": "9"})
        assert r.code == 125 and b"I am no agent" in r.err, r
        assert not home.boxes(), home.boxes()
        home.wait_no_processes()
    finally:
        shutil.rmtree(libexec)


def test_a_disk_that_claims_to_have_grown_is_refused(home):
    box = home.ok("run", "-d", "--name", "grown", IMAGE, "sleep", "1000").text.strip()
    home.ok("stop", "grown")
    with open(os.path.join(home.path, "boxes", box, "disk.qcow2"), "r+b") as f:
        f.seek(24)  # the size, in the header that QEMU writes
        size = int.from_bytes(f.read(8), "big")
        f.seek(24)
        f.write((size * 2).to_bytes(8, "big"))
    r = home.run("start", "grown")
    assert r.code == 125 and b"tampered" in r.err, r
    home.ok("rm", "-f", "grown")


def test_a_full_disk_is_named_and_nothing_is_lost(home):
    if os.geteuid() != 0:
        raise boxtest.Skip("only root can mount a small file system")
    small = Home()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small.path], check=True)
    try:
        size = os.path.join(small.path, "filler")
        small.ok("ps")
        with open(size, "wb") as f:
            f.write(bytes(2_000_000))
        r = small.run("load", boxtest.busybox_image(), "--name", IMAGE)
        if r.code == 0:
            r = small.run("run", "--rm", IMAGE, "true")
        assert r.code == 125 and (b"space" in r.err), r
        os.unlink(size)
        assert not small.leftovers(), small.leftovers()
    finally:
        subprocess.run(["umount", small.path], check=True)
        small.close()


def test_a_program_without_rights_to_the_home_is_told_so(home):
    r = Home(path="/proc/nothing").run("ps")
    assert r.code == 125 and b"/proc/nothing" in r.err, r


def test_bad_arguments_are_named(home):
    for args, needle in ((["run", "--memroy", "1", IMAGE], b"--memory"),
                         (["run", "--memory", "lots", IMAGE, "true"], b"memory"),
                         (["run", "--cpus", "0", IMAGE, "true"], b"cpus"),
                         (["run", "--name", "-bad-", IMAGE, "true"], b"name"),
                         (["run", "lower/CASE", "true"], b"lower case"),
                         (["exec", "nobox", "--", "true"], b"nobox"),
                         (["rm", "nobox"], b"nobox"),
                         (["frobnicate"], b"frobnicate")):
        r = home.run(*args)
        assert r.code != 0 and needle in r.err, (args, r)


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
