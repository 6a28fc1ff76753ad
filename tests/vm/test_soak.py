#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments, of every process that a box has: while it is created, started, used, stopped and removed.

After each round nothing of a box that ended runs, `boxlite doctor --repair` finds no problem that stays, rows and folders of boxes are the same
set, no file is left that nothing needs, every disk is clean, and what a command has synced is there at the next start.
BOXLITE_TEST_KILL_ROUNDS=500 plays more rounds than there are kinds of them; BOXLITE_TEST_SEED=N plays those of a seed again.
"""
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import sys
import time
from hashlib import sha256

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", d) for d in ("lib", "images")]
import boxtest
from boxtest import wait_for
from storelib import born, family, grow_old, is_alive, pause

IMAGE = "busybox:test"
SEED = int(os.environ.get("BOXLITE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))

# What is done to the box "keep", or beside it, and who dies at it. "all" is everything at once, as when the host's power fails; "agent" is the
# agent in the box.
KINDS = [("create", "boxlite"), ("start", "boxlite"), ("start", "boxlite-shim"), ("start", "qemu-system-x86"), ("start", "all"),
         ("run", "boxlite"), ("run", "boxlite-shim"), ("run", "qemu-system-x86"), ("run", "boxlite-net"), ("run", "all"),
         ("exec", "boxlite"), ("exec", "boxlite-shim"), ("exec", "qemu-system-x86"), ("exec", "agent"), ("exec", "all"),
         ("cp", "boxlite"), ("cp", "boxlite-files"), ("cp", "qemu-system-x86"),
         ("stop", "boxlite"), ("stop", "boxlite-shim"), ("stop", "qemu-system-x86"), ("stop", "all"),
         ("rm", "boxlite"), ("rm", "boxlite-shim"), ("rm", "all")]
ROUNDS = int(os.environ.get("BOXLITE_TEST_KILL_ROUNDS", len(KINDS)))


def load(home):
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    return home


class Soak:
    """The home, the box "keep" of all rounds, and what it must have on its disk."""

    def __init__(self, home):
        self.home, self.chance = home, random.Random(SEED)
        self.written, self.n = set(), 0
        self.source = os.path.join(home.path, "source")
        with open(self.source, "wb") as f:
            f.write(self.chance.randbytes(3 << 20))
        home.ok("create", "--name", "keep", "--cap-add", "ALL", IMAGE, "sleep", "1000000")
        home.ok("start", "keep")
        home.ok("exec", "keep", "--", "sh", "-c", "mkdir /data; sync")

    def status(self, name):
        return next((b["Status"] for b in self.home.boxes() if b["Names"] == name), None)

    # --- what is done ---

    def before(self, what):
        """The state in which it is done."""
        if what == "start":
            self.home.ok("stop", "keep")
        elif what == "rm":
            self.home.ok("run", "-d", "--name", "gone", IMAGE, "sleep", "1000000")

    def command(self, what):
        write = f"echo {self.n} > /data/{self.n}; sync"
        return {"create": ["create", "--name", "made", IMAGE], "start": ["start", "keep"], "run": ["run", "--rm", IMAGE, "sh", "-c", "echo x > /x; sync"],
                "exec": ["exec", "keep", "--", "sh", "-c", write], "cp": ["cp", self.source, f"keep:/data/copy{self.n}"],
                "stop": ["stop", "keep"], "rm": ["rm", "-f", "gone"]}[what]

    # --- who is killed ---

    def victims(self, p, who):
        if who == "boxlite":
            return {(p.pid, born(p.pid)): "boxlite"} if p.poll() is None else {}
        return {key: name for key, name in family(self.home, 1).items() if who in ("all", name) and key[0] != os.getpid()}

    def strike(self, p, who, delay):
        """Kills after a while, counted from when there is somebody to kill. Gives the names of those that were killed."""
        if who == "agent":
            pause(delay)  # the kernel does not outlive its first process, and ends here as it would then
            r = self.home.run("exec", "keep", "--", "sh", "-c", "mkdir -p /p; mount -t proc proc /p && echo c > /p/sysrq-trigger")
            assert r.code == 125, r  # nobody is left to tell of the command's end
            return {"agent"}
        end = time.monotonic() + boxtest.DEADLINE
        while not self.victims(p, who) and p.poll() is None:
            assert time.monotonic() < end, f"neither {who} nor the end"
            pause(0.001)
        pause(delay)
        killed = set()
        for (pid, birth), name in self.victims(p, who).items():
            with contextlib.suppress(ProcessLookupError):
                if is_alive(pid, birth):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(name)
        return killed

    # --- what must hold ---

    def nothing_stays(self):
        home = self.home
        for name in ("gone", "made"):
            r = home.run("rm", "-f", name)
            assert r.code == 0 or b"No such box" in r.err, r
        assert self.status("keep") in ("Running", "Stopped", "Stopping", "Failed"), self.status("keep")
        home.ok("stop", "keep")
        for box in home.boxes():  # `run` had recorded it and not begun: it is whole, and whoever likes may start it
            if box["Names"] == "" and box["Status"] == "Configured":
                home.ok("rm", box["ID"])
        wait_for(lambda: {b["Names"] for b in home.boxes()} == {"keep"}, f"only keep: {home.boxes()}")
        home.wait_no_processes()
        grow_old(home)
        report = json.loads(home.ok("doctor", "--repair", "--format", "json").text)
        assert report["Problems"] == 0, report
        assert home.leftovers() == [], home.leftovers()
        assert not home.mounts(), home.mounts()
        with sqlite3.connect(f"file:{home.path}/db/boxlite.db?mode=ro", uri=True) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert sorted(os.listdir(os.path.join(home.path, "boxes"))) == [b["ID"] for b in home.boxes()]
        with open("/proc/net/unix", encoding="utf-8") as f:
            assert home.path not in f.read()

    def nothing_is_lost(self):
        self.home.ok("start", "keep")
        there = {n for n in self.home.ok("exec", "keep", "--", "ls", "/data").text.split() if n.isdigit()}
        assert self.written <= {int(n) for n in there}, self.written - {int(n) for n in there}
        if self.written:
            self.home.ok("exec", "keep", "--", "sh", "-c", "for f in /data/[0-9]*; do test $(cat $f) = ${f#/data/} || test ! -s $f || exit 9; done")

    def copied(self):
        sum_of = f"sha256sum < /data/copy{self.n}"
        mine = self.home.ok("exec", "keep", "--", "sh", "-c", sum_of).text
        with open(self.source, "rb") as f:
            assert mine.split()[0] == sha256(f.read()).hexdigest()

    def play(self, what, who, length):
        self.n += 1
        self.before(what)
        p = self.home.popen(*self.command(what))
        killed = self.strike(p, who, self.chance.uniform(0, length))
        out, err = p.communicate(timeout=boxtest.DEADLINE)
        if p.returncode != -signal.SIGKILL or "boxlite" not in killed:  # it may have been about to end
            assert p.returncode in (0, 137) or err.startswith(b"Error: "), (p.returncode, out, err)  # told in words
        if what == "exec" and p.returncode == 0:
            self.written.add(self.n)
        elif what == "cp" and p.returncode == 0 and not killed:
            self.copied()
        self.nothing_stays()
        self.nothing_is_lost()
        return killed


def test_killed_at_any_moment_no_box_loses_or_leaves_anything(home):
    print(f"# seed {SEED}, {ROUNDS} rounds", flush=True)
    soak, hits, n = Soak(home), {}, 0
    lengths = {"create": 0.03, "start": 0.2, "run": 0.3, "exec": 0.08, "cp": 0.15, "stop": 0.1, "rm": 0.05}
    kinds = itertools.cycle(soak.chance.sample(KINDS, len(KINDS)))
    for n, (what, who) in zip(range(ROUNDS), kinds):
        try:
            killed = soak.play(what, who, lengths[what])
        except Exception as e:
            raise AssertionError(f"round {n}, {who} killed at {what}; BOXLITE_TEST_SEED={SEED} plays it again") from e
        for name in killed or {"nobody"}:
            hits[name] = hits.get(name, 0) + 1
    print(f"# killed: {hits}; {len(soak.written)} files written", flush=True)
    home.remove_all()


if __name__ == "__main__":
    boxtest.main(globals(), lambda: load(boxtest.Home()))
