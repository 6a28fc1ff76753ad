#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, or fills, at every stage of work on images: each is told in words or works, nothing that was stored is lost, and with
room again everything goes on. The home is a small file system of its own; needs root."""
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from storelib import check_files, family, forget, grow_old, pause, prepare, serve  # noqa: E402
import boxtest  # noqa: E402
import registry  # noqa: E402

SIZE = 512 << 20
SPACE = re.compile(r"[Nn]o space|disk is full|are free|left where images are kept")
# What is left free: nothing, less than a row of the database needs, than a layer, than all of them, than is to be left on a disk; enough.
FREE = (0, 20 << 10, 70 << 10, 1 << 20, 5 << 20, 9 << 20, 60 << 20, 100 << 20)


class Small:
    """A home on a file system of its own, whose size can be changed."""

    def __init__(self):
        self.disk = tempfile.mkdtemp(prefix="bxt-disk-")
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", self.disk], capture_output=True, check=False)
        if made.returncode != 0:
            os.rmdir(self.disk)
            raise boxtest.Skip(f"no small file system can be mounted: {made.stderr.decode(errors='replace').strip()}")
        self.image = prepare(boxtest.Home())  # what is put into images is made elsewhere
        self.home = boxtest.Home(os.path.join(self.disk, "home"), env={"TMPDIR": self.image.tmp})
        os.mkdir(self.home.path, 0o700)
        self.home.layout, self.home.archive, self.home.tar, self.home.tmp = (getattr(self.image, n) for n in ("layout", "archive", "tar", "tmp"))

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.disk], check=True)

    def fill(self, free):
        """Leaves so many bytes free: the disk shrinks around what is in it."""
        v = os.statvfs(self.disk)
        self.resize((v.f_blocks - v.f_bfree) * v.f_frsize + free)

    def empty(self):
        self.resize(SIZE)

    def close(self):
        subprocess.run(["umount", self.disk], check=True)
        os.rmdir(self.disk)
        self.image.close()


SMALL = []


@contextlib.contextmanager
def small_home():
    """The one of all tests: with a template, so that a start needs no more than a disk, and without images. A registry has the image."""
    small = SMALL[0] if SMALL else Small()
    SMALL[:] = [small]
    with registry.FaultyRegistry() as reg:
        serve(small.home, reg)
        small.home.ok("run", "--rm", small.home.name, "true")
        forget(small.home)
        try:
            yield small, small.home
        finally:
            small.empty()
        small.home.remove_all()
        small.home.wait_no_processes()
        forget(small.home)


def commands(home):
    return {"pull": ["pull", "-q", home.name], "start": ["run", "--rm", home.name, "true"], "load": ["load", home.archive, "--name", "load:1"],
            "import": ["import", home.tar, "import:1"], "run": ["run", "--rm", home.name, "true"]}


def told(r, what):
    """It worked, or says that there is no space. True when it worked."""
    err = r.err.decode(errors="replace")
    assert r.code == 0 or (r.code == 125 and err.startswith("Error: ") and SPACE.search(err)), (what, r)
    return r.code == 0


def goes_on(small, home, disks):
    small.empty()
    grow_old(home)
    home.ok("images")
    home.remove_all()
    home.ok("prune")
    home.ok("pull", "-q", home.name)
    check_files(home, disks)


def test_a_full_disk_is_told_at_every_stage_and_loses_nothing(_home):
    with small_home() as (small, home):
        disks, failed = {}, {}
        for what, command in commands(home).items():
            for free in FREE:
                if what == "start":  # with image and disk there
                    home.ok("run", "--rm", home.name, "true")
                small.fill(free)
                worked = told(home.run(*command), (what, free))
                failed[what] = failed.get(what, 0) + (not worked)
                told(home.run("images"), ("images", what, free))
                told(home.run("prune"), ("prune", what, free))
                goes_on(small, home, disks)
                forget(home)
        print(f"# failed, of {len(FREE)}: {failed}")
        assert all(0 < n < len(FREE) for n in failed.values()), failed


def test_a_disk_that_fills_while_an_image_is_converted_is_told(_home):
    with small_home() as (small, home):
        home.ok("pull", "-q", home.name)
        outcomes = set()
        for moment in range(6):
            p = home.popen("run", "--rm", home.name, "true")
            end = time.monotonic() + boxtest.DEADLINE
            unpack = None
            while not unpack and p.poll() is None:
                unpack = next((pid for (pid, _), name in family(home, p.pid).items() if name == "boxlite-unpack"), None)
                assert time.monotonic() < end
            pause(0.004 * moment)
            if unpack:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(unpack, signal.SIGSTOP)
                    small.fill((0, 1 << 20)[moment % 2])
                    os.kill(unpack, signal.SIGCONT)
            out, err = p.communicate(timeout=boxtest.DEADLINE)
            outcomes.add(told(boxtest.Result(p.returncode, out, err), moment))
            goes_on(small, home, {})
            forget(home)
            home.ok("pull", "-q", home.name)
        assert False in outcomes, "it never failed"


def test_a_box_whose_host_has_no_more_room_ends_and_says_why(_home):
    with small_home() as (small, home):
        home.ok("run", "--rm", home.name, "true")
        small.fill(70 << 10)  # for its row and its folder, not for what its file system writes when it is mounted
        r = home.run("run", "--rm", home.name, "true")
        assert r.code == 125 and b"no space is left on the host" in r.err, r
        small.empty()
        home.ok("run", "-d", "--name", "writer", home.name, "sleep", "1000000")
        home.ok("exec", "writer", "--", "sh", "-c", "echo kept >/root/before; sync")
        small.fill(2 << 20)
        r = home.run("exec", "writer", "--", "dd", "if=/dev/urandom", "of=/root/f", "bs=1M", "count=20", "conv=fsync")
        assert r.code == 125 and b"no space is left on the host" in r.err, r
        small.empty()
        assert [b["Status"] for b in home.boxes() if b["Names"] == "writer"] == ["Failed"], home.boxes()
        home.ok("start", "writer")
        assert home.ok("exec", "writer", "--", "cat", "/root/before").out == b"kept\n"
        home.ok("rm", "-f", "writer")


def test_an_image_can_be_removed_when_the_disk_is_full(_home):
    with small_home() as (small, home):
        home.ok("pull", "-q", home.name)
        home.ok("load", home.archive, "--name", "load:1")
        small.fill(0)
        if not told(home.run("rmi", "load:1", home.name), "rmi"):
            small.fill(64 << 10)  # the database writes before it frees
            home.ok("rmi", "load:1", home.name)
        home.ok("prune", "-a")
        assert os.listdir(os.path.join(home.path, "blobs", "sha256")) == []
        goes_on(small, home, {})


if __name__ == "__main__":
    try:
        boxtest.main(globals())
    finally:
        for small_one in SMALL:
            small_one.close()
