# SPDX-License-Identifier: Apache-2.0
"""Ways out of sandboxes that were published or are obvious, tried by root in a box: what must be refused, and that neighbours and the host's
files never notice. What a machine's own kernel could do to QEMU is in risk_hostile.c, what an image could do to the host in the suites
unpack and images, what a copied tree could do in test_files.py; docs/THREAT_MODEL.md has the whole list."""
import glob
import hashlib
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import mkimage

IMAGE = "busybox:test"
PROBE = os.environ.get("BX_TEST_ESCAPES", os.path.join(boxtest.BUILD, "tests", "vm", "escapes"))


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    box(home, "inmate")
    box(home, "neighbour")
    return home


def box(home, name, *options):
    ident = home.ok("run", "-d", "--memory", "256", "--name", name, *options, IMAGE, "sleep", "100000").text.strip()
    home.ok("cp", PROBE, name + ":/root/escapes")
    return ident


def sh(home, script, *options, name="inmate"):
    return home.run("exec", *options, name, "--", "sh", "-c", script)


def attempts(home, *names, name="inmate"):
    """What the probe says: name of the attempt -> how it ended."""
    r = home.ok("exec", name, "--", "/root/escapes", *names)
    return dict(line.split(" ", 1) for line in r.text.splitlines())


def lives(home, name="neighbour"):
    assert home.ok("exec", name, "--", "echo", "alive").out == b"alive\n"


REASONS = tuple(f"refused ({why})" for why in ("Operation not permitted", "Permission denied", "Read-only file system"))


def refused(home, *names, name="inmate"):
    """Each of them is refused, and not for want of something else."""
    got = attempts(home, *names, name=name)
    assert set(got) == set(names), got
    assert all(how in REASONS for how in got.values()), got
    lives(home, name)


def digest(path):
    """Of a sparse file's parts and where they are."""
    sums = hashlib.sha256()
    with open(path, "rb") as f:
        end, at = os.fstat(f.fileno()).st_size, 0
        while at < end:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:  # only a hole is left
                break
            stop = os.lseek(f.fileno(), at, os.SEEK_HOLE)
            sums.update(b"%d-%d" % (at, stop))
            while at < stop:
                data = os.pread(f.fileno(), min(1 << 20, stop - at), at)
                sums.update(data)
                at += len(data)
    return sums.hexdigest()


# --- the container in the box: Docker's 14 capabilities, the default ---

def test_no_attempt_at_all_succeeds(home):
    got = attempts(home)
    assert len(got) > 40, got
    assert not [name for name, how in got.items() if how == "SUCCEEDED"], got
    lives(home)


def test_mounts_and_namespaces_cannot_be_made(home):
    refused(home, "mount_tmpfs", "new_mount_interface", "copy_of_mounts", "pivot", "user_namespace", "mount_namespace", "namespace_by_clone",
            "namespaces_of_init")


def test_read_only_and_masked_paths_cannot_be_remounted(home):  # CVE-2026-46695 of a sandbox of the same name, runc CVE-2025-31133
    refused(home, "remount_proc_writable", "remount_sys_writable", "unmount_masks")
    r = sh(home, "cat /proc/kcore /proc/keys /proc/timer_list | wc -c; ls /sys/firmware /proc/acpi | grep -vc :")
    assert r.text.split()[0] == "0", r


def test_settings_of_the_kernel_are_out_of_reach(home):  # core_pattern, modprobe, sysrq: classic ways out of containers
    refused(home, "write_sysrq", "write_core_pattern", "write_modprobe", "write_own_limits", "make_cgroup")


def test_nodes_lead_to_no_disk_port_console_or_memory(home):  # CAP_MKNOD is there, and making nodes works
    refused(home, "raw_disk", "agents_ports", "kernel_memory", "io_port_device", "kernel_log", "console", "serial_line")
    assert sh(home, "mknod /dev/mine c 1 3 && echo x >/dev/mine && mknod /root/disk b 254 0 && ls /root/disk").code == 0


def test_a_file_handle_opens_nothing(home):  # "shocker"
    refused(home, "file_handles")


def test_modules_and_kernels_cannot_be_loaded(home):
    refused(home, "load_module", "load_module_file", "unload_module", "kexec", "kexec_file")


def test_the_machine_cannot_be_restarted_and_its_clock_not_set(home):
    refused(home, "restart_machine", "set_clock", "swap_on")


def test_parts_of_the_kernel_with_a_history_are_closed(home):  # bpf, perf, keys, io_uring, userfaultfd, vsock, AF_ALG
    refused(home, "keyring", "add_key", "kernel_programs", "performance_counters", "user_faults", "io_uring", "host_socket", "kernel_ciphers",
            "kernel_messages", "io_ports", "all_io_ports")


def test_a_32_bit_call_ends_its_process(home):
    assert attempts(home, "call_of_32_bits") == {"call_of_32_bits": "killed (Bad system call)"}


def test_the_agent_is_not_to_be_seen(home):
    r = sh(home, "cat /proc/[0-9]*/comm; ps -o pid,args")
    assert "boxlite-guest" not in r.text and "boxlite-init" in r.text, r


def test_process_1_is_not_to_be_looked_into_traced_or_ended(home):  # CVE-2019-5736: its program; CVE-2024-21626: its descriptors
    refused(home, "memory_of_init", "root_of_init", "program_of_init", "trace_init", "read_init")
    sh(home, "kill -9 1; kill -STOP 1; kill -TERM 1")
    assert sh(home, "cat /proc/1/comm").out == b"boxlite-init\n"
    assert sh(home, "grep oom_score_adj /dev/null; echo -1000 2>/dev/null >/proc/self/oom_score_adj || echo refused").out == b"refused\n"


def test_a_command_inherits_no_descriptor(home):  # runc CVE-2024-21626
    assert sh(home, "exec ls /proc/self/fd").text.split() == ["0", "1", "2", "3"]  # the last one is ls's own
    for fd in range(3, 20):
        assert home.run("exec", "-w", f"/proc/self/fd/{fd}", "inmate", "--", "true").code != 0, fd


def test_setuid_programs_work_under_the_filter(home):
    sh(home, "cp /root/escapes /who && chmod 4755 /who")
    assert home.ok("exec", "-u", "1000:1000", "inmate", "--", "/who", "--who").out == b"1000 0\n"


def test_a_user_of_the_box_is_filtered_too(home):
    assert sh(home, "grep ^Seccomp: /proc/self/status; unshare -U true 2>/dev/null || echo refused", "-u", "1000").text.split() == [
        "Seccomp:", "2", "refused"]


ORDINARY = r"""
set -e
python3 -c '
import asyncio, multiprocessing, os, socket, subprocess, threading
assert subprocess.run(["true"]).returncode == 0
thread = threading.Thread(target=os.getpid)
thread.start()
thread.join()
async def run():
    return await (await asyncio.create_subprocess_exec("true")).wait()
assert asyncio.run(run()) == 0
with multiprocessing.Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
socket.socket(), os.memfd_create("x")
'
mkdir -p /tmp/p/DEBIAN
printf 'Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m <m@example.com>\nDescription: d\n' >/tmp/p/DEBIAN/control
dpkg-deb -b /tmp/p /tmp/p.deb >/dev/null
dpkg -i /tmp/p.deb >/dev/null
su nobody -s /bin/sh -c 'id -un'
"""


def test_python_dpkg_and_su_work_under_the_filter(home):
    home.ok("load", boxtest.python_image(), "--name", "debian:test")
    assert home.ok("run", "--rm", "debian:test", "sh", "-c", ORDINARY).out == b"nobody\n"
    home.ok("rmi", "debian:test")


# --- the switch ---

def test_without_the_filter_the_kernel_decides_alone(home):
    box(home, "open", "--security", "development")
    got = attempts(home, "user_namespace", "call_of_32_bits", "mount_tmpfs", name="open")
    assert got["user_namespace"] == got["call_of_32_bits"] == "SUCCEEDED" and got["mount_tmpfs"].startswith("refused"), got
    assert sh(home, "grep ^Seccomp: /proc/self/status", name="open").text.split() == ["Seccomp:", "0"]
    home.ok("rm", "-f", "open")


def test_capabilities_open_the_filter_where_they_are_for(home):
    box(home, "admin", "--cap-add", "SYS_ADMIN")
    got = attempts(home, "mount_tmpfs", "user_namespace", "new_mount_interface", "keyring", "load_module", name="admin")
    assert got["mount_tmpfs"] == got["user_namespace"] == got["new_mount_interface"] == "SUCCEEDED", got
    assert got["keyring"].startswith("refused") and got["load_module"].startswith("refused"), got
    home.ok("rm", "-f", "admin")


# --- a box with every capability: its own machine is its own, and nothing else is ---

def test_every_capability_loads_no_module_and_no_kernel(home):
    for preset in "standard", "development":  # with the filter, and by the kernel alone
        box(home, "full", "--cap-add", "ALL", "--security", preset)
        refused(home, "load_module", "load_module_file", "unload_module", "kexec", "raw_disk", "agents_ports", "kernel_memory", name="full")
        home.ok("rm", "-f", "full")


def test_every_capability_writes_no_image(home):  # a read-only disk is read-only in the device, not in the guest
    box(home, "writer", "--cap-add", "ALL")
    disks = {path: digest(path) for path in glob.glob(home.path + "/disks/*")}
    templates = {path: digest(path) for path in glob.glob(home.path + "/templates/*/mem")}
    assert disks and templates
    r = sh(home, "mount -o remount,rw / && for f in /etc/*; do echo changed >>$f; done; sync; grep -c changed /etc/passwd", name="writer")
    assert r.out == b"1\n", r
    assert b"changed" not in sh(home, "cat /etc/passwd").out
    assert disks == {path: digest(path) for path in disks}
    assert templates == {path: digest(path) for path in templates}
    home.ok("rm", "-f", "writer")


def test_a_box_that_ends_its_own_kernel_takes_no_other_along(home):
    box(home, "crash", "--cap-add", "ALL")
    r = sh(home, "mount -t proc p /root && echo c >/root/sysrq-trigger; echo still here", name="crash")
    assert r.code != 0 and b"still here" not in r.out, r
    lives(home)
    home.ok("rm", "-f", "crash")


# --- hostile images, and what the host says of a box ---

def test_links_of_an_image_lead_no_mount_out_of_it(home):  # runc CVE-2025-31133, -52565, -52881; youki CVE-2025-62161
    away = {name: "/etc/" + name for name in ("proc", "sys", "dev", "tmp")}
    tree = [e for e in mkimage.busybox_tree() if e[0].name not in away]
    tree += [mkimage.symlink(name, to) for name, to in away.items()] + [mkimage.directory(to[1:]) for to in away.values()]
    tree += [mkimage.symlink("etc/resolv.conf", "/proc/sys/kernel/core_pattern"), mkimage.symlink("etc/hostname", "../../../../../etc/hosts"),
             mkimage.symlink("etc/machine-id", "/dev/null"), mkimage.symlink("etc/hosts", "/nowhere/at/all")]
    path = os.path.join(home.path, "links.tar")
    with open(path, "wb") as f:
        f.write(mkimage.tar(tree))
    home.ok("import", path, "links:test")
    os.unlink(path)
    r = home.run("run", "-d", "--name", "links", "links:test", "sleep", "100000")
    if r.code == 0:
        home.ok("cp", PROBE, "links:/root/escapes")
        got = attempts(home, name="links")
        assert not [name for name, how in got.items() if how == "SUCCEEDED"], got
        assert sh(home, "cat /etc/proc/1/comm; cat /proc/sys/kernel/core_pattern", name="links").out == b"boxlite-init\ncore\n"
    else:
        assert b"engine reported an error" in r.err and b"in the container" in r.err, r
    home.run("rm", "-f", "links")
    lives(home)
    home.ok("rmi", "links:test")


def test_no_word_of_the_user_reaches_a_command_line_of_the_machine(home):  # Kata CVE-2026-44210
    word = "marker-of-a-user,readonly=off"
    home.ok("run", "-d", "--name", "words", "-e", "WORD=" + word, "-w", "/" + word, IMAGE, "sh", "-c", f": {word}; sleep 100000")
    seen = 0
    for pid in home.processes():
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            line = f.read()
        assert b"marker-of-a-user" not in line, line
        seen += 1
    assert seen >= 2, seen
    home.ok("rm", "-f", "words")


def test_two_boxes_of_one_template_share_no_identity(home):
    ask = "cat /etc/hostname /proc/sys/kernel/random/uuid; head -c 32 /dev/urandom | md5sum; cat /sys/class/net/eth0/address"
    first, second = (sh(home, ask, name=name).text.splitlines() for name in ("inmate", "neighbour"))
    assert len(first) == len(second) == 4 and not set(first) & set(second), (first, second)


# --- what a QEMU that was taken over could leave behind ---

def test_a_disk_whose_header_names_another_file_is_not_started(home):  # CVE-2026-27211
    ident = box(home, "header")
    home.ok("stop", "header")
    path = os.path.join(home.path, "boxes", ident, "disk.qcow2")
    with open(path, "r+b") as f:
        head = f.read(20)
        assert head[:4] == b"QFI\xfb" and head[8:16] == bytes(8), head
        f.seek(512)
        f.write(b"/etc/passwd")
        f.seek(8)
        f.write(struct.pack(">QI", 512, len("/etc/passwd")))
    r = home.run("start", "header")
    assert r.code != 0 and b"backing" in r.err, r
    home.ok("rm", "-f", "header")
    lives(home)


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
