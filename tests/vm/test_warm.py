#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`pull --warm`: the image's template is there before its first box; once, whoever else wants it; cleared away when it is given up; and it
makes room, is counted and goes with its image like any other template."""
import contextlib
import ctypes
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import boxtest  # noqa: E402
import registry  # noqa: E402
from boxtest import wait_for  # noqa: E402

GIB = 1024 ** 3
DAY = 86400
ON = {"BOXLITE_IMAGE_TEMPLATES": "auto", "BOXLITE_START_TIMEOUT": "100"}  # many machines boot here, beside other tests


def make_home():
    home = boxtest.Home(env=ON)
    home.env = {k: v for k, v in home.env.items() if not k.lower().endswith("_proxy")}
    home.env.pop("BOXLITE_CONFIG", None)
    home.ok("load", boxtest.busybox_image(), "--name", "busybox")
    return home


@contextlib.contextmanager
def another_home():
    home = make_home()
    try:
        yield home
        home.remove_all()
        home.wait_no_processes()
        assert not home.leftovers() and not unfinished(home), (home.leftovers(), unfinished(home))
    finally:
        home.close()


def path_of(home, *names):
    return os.path.join(home.path, "templates", *names)


def is_of_image(name):
    return name.rsplit("-", 1)[1].startswith("i")


def templates(home):
    """Finished templates of images, and blank ones."""
    names = [n for n in os.listdir(path_of(home)) if "." not in n]
    return [n for n in names if is_of_image(n)], [n for n in names if not is_of_image(n)]


def unfinished(home):
    return [n for n in os.listdir(path_of(home)) if n.startswith(".")]


def cold(home):
    """No template of an image, and nobody who makes one."""
    home.remove_all()
    home.wait_no_processes("the makers", boxtest.DEADLINE)
    for name in templates(home)[0]:
        shutil.rmtree(path_of(home, name))
    for name in os.listdir(path_of(home)):
        if name.endswith(".failed"):
            os.unlink(path_of(home, name))


def warm(home, *args, run=None, **kw):
    return (run or home.ok)("load", "--warm", *args, "--name", "busybox", boxtest.busybox_image(), **kw)


def configure(home, **keys):
    with open(os.path.join(home.path, "config.json"), "w", encoding="utf-8") as f:
        json.dump(keys, f)


def began_at_its_image(home, *args):
    """Does a new box begin at a template with its image's root mounted?"""
    box = home.ok("run", "-d", *args, "busybox", "sleep", "1000").text.strip()
    with open(os.path.join(home.path, "boxes", box, "shim.log"), encoding="utf-8") as f:
        name = [line for line in f if "ready from " in line][-1].split("ready from ")[1].split(":")[0]
    assert home.ok("exec", box, "--", "echo", "here").text == "here\n"
    home.ok("rm", "-f", box)
    return is_of_image(name)


def unused_for(home, name, seconds):
    then = time.time() - seconds
    os.utime(path_of(home, name), (then, then))


class Published:
    """Which templates appear while somebody looks: the kernel remembers, nothing is missed."""

    def __init__(self, home):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        moved_to = 0x80
        assert self.fd >= 0 and libc.inotify_add_watch(self.fd, path_of(home).encode(), moved_to) >= 0, os.strerror(ctypes.get_errno())

    def names(self):
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data = os.read(self.fd, 65536)
                while data:
                    length = struct.unpack_from("iIII", data)[3]
                    found.append(data[16:16 + length].rstrip(b"\0").decode())
                    data = data[16 + length:]
        return [n for n in found if "." not in n]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


def at_work(home, program):
    """The process that makes a template of an image, once it does."""
    wait_for(lambda: [n for n in unfinished(home) if n.endswith(".new") and is_of_image(n)], "the maker", boxtest.DEADLINE)
    return wait_for(lambda: [pid for pid, comm in home.processes().items() if comm.startswith(program)], program, boxtest.DEADLINE)[0]


# --- what it is for ---

def test_the_first_box_of_an_image_that_was_pulled_warm_begins_at_its_template(_home):
    with registry.FaultyRegistry() as reg, another_home() as home:
        home.ok("rmi", "busybox")
        home.ok("prune")
        reg.layout(boxtest.busybox_image(), "team/busybox", "1")
        configure(home, image_registries=[{"host": reg.host, "transport": "http"}])
        name = f"{reg.host}/team/busybox:1"
        lines = home.ok("pull", "--warm", name).text.splitlines()
        assert lines[0] == f"Pulled: {name}" and lines[-1] == "Warm: yes" and len(lines) == 4, lines
        assert [len(t) for t in templates(home)] == [1, 1], templates(home)
        home.ok("tag", name, "busybox")
        with Published(home) as new:
            assert began_at_its_image(home)
            assert new.names() == []
        r = home.ok("pull", "-q", "--warm", name)
        assert r.text == lines[1][len("Digest: "):] + "\n" and r.err == b"", r


def test_what_is_warm_is_not_made_again_and_counts_as_used(home):
    warm(home)
    name = templates(home)[0][0]
    unused_for(home, name, 20 * DAY)
    before = os.stat(path_of(home, name, "key")).st_ino
    with Published(home) as new:
        warm(home)
        assert new.names() == []
    assert os.stat(path_of(home, name, "key")).st_ino == before
    assert time.time() - os.stat(path_of(home, name)).st_mtime < DAY


def test_boxes_of_another_shape_have_a_template_of_their_own(home):
    warm(home)
    before = set(templates(home)[0])
    r = home.run("load", "--memory", "256", "--name", "busybox", boxtest.busybox_image())
    assert r.code == 2 and b"--memory is of --warm" in r.err, r
    assert warm(home, "--cpus", "2", "--memory", "256", run=home.run).code == 0
    (name,) = set(templates(home)[0]) - before
    assert "-c2-m256n-" in name, name
    with Published(home) as new:
        assert began_at_its_image(home, "--cpus", "2", "--memory", "256")
        assert new.names() == []
    for args in (["--memory", "1"], ["--cpus", "0"], ["--cpus", "many"]):
        r = warm(home, *args, run=home.run)
        assert r.code == 2 and args[0].encode() in r.err, r


def test_programs_that_want_the_same_make_it_once(_home):
    with another_home() as home:
        with Published(home) as new:
            running = [home.popen("load", "--warm", "--name", "busybox", boxtest.busybox_image()) for _ in range(4)]
            for p in running:
                out, err = p.communicate(timeout=boxtest.DEADLINE)
                assert p.returncode == 0 and out.endswith(b"Warm: yes\n"), (out, err)
            assert sorted(map(is_of_image, new.names())) == [False, True]
        cold(home)
        with Published(home) as new:  # beside one that is made behind a first box
            home.ok("run", "--rm", "busybox", "true")
            warm(home)
            home.wait_no_processes("the maker", boxtest.DEADLINE)
            assert [is_of_image(n) for n in new.names()] == [True]
        assert began_at_its_image(home)


def test_a_terminal_shows_what_is_made(home):
    cold(home)
    t = boxtest.Terminal(home, "load", "--warm", "--name", "busybox", boxtest.busybox_image())
    try:
        t.expect(b"make the image's template ...", boxtest.DEADLINE)
        t.expect(b"Warm: yes", boxtest.DEADLINE)
        assert t.wait() == 0
    finally:
        t.close()


# --- when it does not come to its end ---

def test_a_program_that_is_killed_in_the_middle_leaves_nothing_and_the_next_one_warms(home):
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        cold(home)
        p = home.popen("load", "--warm", "--name", "busybox", boxtest.busybox_image())
        machine = at_work(home, "qemu-system")
        assert os.sched_getscheduler(machine) == os.SCHED_OTHER and os.getpriority(os.PRIO_PROCESS, machine) == os.getpriority(os.PRIO_PROCESS, 0)
        p.send_signal(number)
        p.communicate(timeout=boxtest.DEADLINE)
        assert p.returncode == (-9 if number == signal.SIGKILL else 128 + number), p.returncode
        home.wait_no_processes("the maker", boxtest.DEADLINE)
        assert not unfinished(home) and not templates(home)[0] and not home.leftovers(), (os.listdir(path_of(home)), home.leftovers())
    warm(home)
    assert began_at_its_image(home)


def test_a_maker_that_is_killed_is_told_of_and_the_next_one_clears_up_after_it(home):
    cold(home)
    p = home.popen("load", "--warm", "--name", "busybox", boxtest.busybox_image())
    os.kill(at_work(home, "boxlite-shim"), signal.SIGKILL)
    out, err = p.communicate(timeout=boxtest.DEADLINE)
    assert p.returncode == 125 and b"boxlite-shim ended without a word" in err and out.startswith(b"Loaded: "), (p.returncode, out, err)
    home.wait_no_processes("the maker", boxtest.DEADLINE)
    warm(home)
    assert not unfinished(home) and began_at_its_image(home)


def test_what_stands_in_the_way_is_named_and_the_image_is_there_all_the_same(home):
    cold(home)
    for env, needle in (({"BOXLITE_QEMU": "/nonexistent/qemu-system-x86_64"}, b"qemu-system-x86"),
                        ({"BOXLITE_IMAGE_TEMPLATES": "off"}, b"BOXLITE_IMAGE_TEMPLATES=off")):
        r = warm(home, run=home.run, env=env)
        assert r.code == 125 and needle in r.err and r.out.startswith(b"Loaded: "), r
        assert b"Warm" not in r.out and not templates(home)[0], r
    r = home.run("pull", "--warm", "127.0.0.1:1/nothing:1")
    assert r.code == 125 and r.out == b"", r


def test_an_image_larger_than_the_disk_of_templates_has_none(_home):
    with another_home() as home:
        home.ok("run", "--rm", "busybox", "true", env={"BOXLITE_IMAGE_TEMPLATES": "off"})
        shutil.rmtree(path_of(home, templates(home)[1][0]))
        (disk,) = [n for n in os.listdir(os.path.join(home.path, "disks")) if n.endswith(".ext4")]
        disk = os.path.join(home.path, "disks", disk)
        os.chmod(disk, 0o644)
        os.truncate(disk, 11 * GIB)
        os.chmod(disk, 0o444)
        r = warm(home, run=home.run)
        assert r.code == 125 and b"larger than 10 GiB" in r.err and r.err.startswith(b"Error: unsupported: "), r
        assert [len(t) for t in templates(home)] == [0, 1], templates(home)


def test_a_full_disk_is_named_and_the_next_one_warms(_home):
    if os.geteuid() != 0:
        raise boxtest.Skip("only root can mount a small file system")
    small = boxtest.Home(env=ON)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", small.path], check=True)
    try:
        r = warm(small, run=small.run)
        assert r.code == 125 and (b"full" in r.err or b"space" in r.err) and r.out.startswith(b"Loaded: "), r
        small.wait_no_processes()
        assert not small.leftovers() and not unfinished(small) and templates(small) == ([], []), os.listdir(path_of(small))
        subprocess.run(["mount", "-o", "remount,size=600m", small.path], check=True)
        warm(small)
        assert began_at_its_image(small)
        small.wait_no_processes()
    finally:
        subprocess.run(["umount", small.path], check=True)
        small.close()


# --- its room ---

def test_it_is_counted_with_its_image_and_goes_with_it(_home):
    def size(home):
        (image,) = json.loads(home.ok("images", "--size", "--format", "json").text)
        return image["TemplateBytes"]

    with another_home() as home:
        assert size(home) == 0
        warm(home)
        (name,), (blank,) = templates(home)
        files = [os.stat(path_of(home, name, f)) for f in os.listdir(path_of(home, name))]
        assert size(home) == sum(f.st_blocks * 512 for f in files if stat.S_ISREG(f.st_mode)) > 10 ** 6
        home.ok("prune")
        home.ok("prune", "-a", "--older-than", "1d")  # to warm it is to use it
        assert templates(home) == ([name], [blank])
        home.ok("rmi", "busybox")
        assert templates(home) == ([], [blank]) and not [n for n in os.listdir(os.path.join(home.path, "disks")) if n.endswith(".ext4")]


def test_the_limit_is_what_the_user_says(_home):
    def two_shapes(home):
        """Templates of one shape, not used for an hour, then of another, just made."""
        warm(home, "--memory", "256")
        old = [n for t in templates(home) for n in t]
        for name in old:
            unused_for(home, name, 3600)
        warm(home, "--memory", "320")
        home.wait_no_processes("who makes room", boxtest.DEADLINE)
        return set(old), {n for t in templates(home) for n in t}

    with another_home() as home:
        old, now = two_shapes(home)
        assert len(old) == 2 and len(now) == 4 and old < now, (old, now)
        for name in now - old:
            shutil.rmtree(path_of(home, name))
        configure(home, templates={"limit": "1m"})
        old, now = two_shapes(home)
        assert len(now) == 2 and not old & now, (old, now)  # those that were just made are not in anybody's way yet
        for name in now:
            unused_for(home, name, 120)
        configure(home, templates={"limit": "1g"})
        home.ok("prune")
        assert {n for t in templates(home) for n in t} == now
        configure(home, templates={"limit": "1m"})
        home.ok("prune")
        assert templates(home) == ([], [])
        configure(home, templates={"days": 2})
        warm(home, "--memory", "256")
        for (name,), days in zip(templates(home), (3, 1)):
            unused_for(home, name, days * DAY)
        kept = templates(home)[1]
        home.ok("prune", "-n")
        home.ok("prune")
        assert templates(home) == ([], kept), (templates(home), kept)


def test_a_limit_that_is_none_is_refused_by_its_name(_home):
    with another_home() as home:
        for templates_of, needle in (({"limit": "lots"}, b"limit must be a number of bytes"), ({"limits": "1g"}, b"templates.limits"),
                                     ({"days": 0}, b"days"), ("2g", b"templates")):
            configure(home, templates=templates_of)
            r = home.run("images")
            assert r.code == 125 and needle in r.err and b"config.json" in r.err, r
        os.unlink(os.path.join(home.path, "config.json"))


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
