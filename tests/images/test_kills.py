#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments, of every process that has to do with images: while one is pulled, loaded, imported, converted, removed.

After each round nothing of it runs, `images`, `prune` and a pull work, no file is left that nothing needs, and every blob and disk is what it
was the first time. BOXLITE_TEST_KILL_ROUNDS=200 plays more rounds than there are kinds of them; BOXLITE_TEST_SEED=N plays those of a seed again.
"""
import contextlib
import itertools
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from storelib import born, check_files, family, forget, grow_old, is_alive, pause, prepare, serve  # noqa: E402
import boxtest  # noqa: E402
import registry  # noqa: E402

SEED = int(os.environ.get("BOXLITE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))

# What is done, and who dies at it. "inside" is the jailed half of boxlite-pull; "all" is everything at once, as when the host's power fails.
KINDS = [("pull", "boxlite"), ("pull", "boxlite-pull"), ("pull", "inside"), ("pull", "all"),
         ("load", "boxlite"), ("load", "boxlite-unpack"), ("load", "all"),
         ("import", "boxlite"), ("import", "boxlite-unpack"),
         ("run", "boxlite"), ("run", "boxlite-pull"), ("run", "boxlite-unpack"), ("run", "all"),
         ("rmi", "boxlite"), ("prune", "boxlite")]
ROUNDS = int(os.environ.get("BOXLITE_TEST_KILL_ROUNDS", len(KINDS)))


def needs_nothing_more(home, disks):
    """After a kill, and once all processes have ended."""
    grow_old(home)
    home.ok("images")
    home.remove_all()
    home.ok("prune")
    r = home.ok("pull", "-q", home.name)
    assert r.text.strip() == home.digest, r
    check_files(home, disks)


# --- killing ---

def kill(pid, birth):
    """Whether it was there to be killed."""
    with contextlib.suppress(ProcessLookupError):
        if is_alive(pid, birth):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def strike(home, p, who, delay):
    """Kills, after a while: a child, after a while of its own life. Gives the exit code and the names of those that were killed."""
    found = {(p.pid, born(p.pid)): "boxlite"}
    end = time.monotonic() + boxtest.DEADLINE
    while who not in ("boxlite", "all") and who not in found.values() and p.poll() is None:
        found.update(family(home, p.pid))
        assert time.monotonic() < end, f"neither {who} nor the end: {found}"
        pause(0.001)
    pause(delay)
    if who == "all":
        found.update(family(home, p.pid))
    killed = {name for key, name in found.items() if who in ("all", name) and kill(*key)}
    found.update(family(home, p.pid))
    code = p.wait(timeout=boxtest.DEADLINE)
    boxtest.wait_for(lambda: not any(is_alive(*k) for k in found), f"the end of {found}", 60)
    home.wait_no_processes()
    return code, killed


def set_up(home, what, chance):
    """The state in which the next one is done. Mostly there is all to do."""
    if what in ("rmi", "prune"):
        home.ok("load", home.archive, "--name", "load:1")
    if what == "prune":
        home.ok("rmi", "load:1", home.name)
    elif what != "rmi" and chance.random() < 0.8:
        forget(home)


def play(home, reg, what, who, chance, disks, lengths):
    commands = {"pull": ["pull", "-q", home.name], "load": ["load", home.archive, "--name", "load:1"], "import": ["import", home.tar, "import:1"],
                "run": ["run", "--rm", home.name, "true"], "rmi": ["rmi", "load:1"], "prune": ["prune", "-a"]}
    set_up(home, what, chance)
    reg.forget()
    if chance.random() < 0.4:
        reg.fault("/blobs/", registry.drip(0, 0.01, 200_000))
    p = home.popen(*commands[what])
    code, killed = strike(home, p, who, chance.uniform(0, lengths[who if who in lengths else what]))
    err = p.stderr.read().decode(errors="replace")
    p.stdout.close(), p.stderr.close()
    if "boxlite" in killed:
        assert code in (-signal.SIGKILL, 0), (code, err)  # 0: it was about to end
    else:
        assert code == 0 or (code == 125 and err.startswith("Error: ")), (code, err)  # told in words
    reg.forget()
    needs_nothing_more(home, disks)
    return killed


def test_killed_at_any_moment_nothing_is_lost_and_nothing_stays(home):
    print(f"# seed {SEED}, {ROUNDS} rounds", flush=True)
    chance, disks, hits, n = random.Random(SEED), {}, {}, 0
    with registry.FaultyRegistry() as reg:
        serve(home, reg)
        lengths = undisturbed(home, disks)
        kinds = itertools.cycle(chance.sample(KINDS, len(KINDS)))
        for n, (what, who) in zip(range(ROUNDS), kinds):
            try:
                killed = play(home, reg, what, who, chance, disks, lengths)
            except Exception as e:
                raise AssertionError(f"round {n}, {who} killed at {what}; BOXLITE_TEST_SEED={SEED} plays it again") from e
            for name in killed or {"nobody"}:
                hits[name] = hits.get(name, 0) + 1
        assert home.ok("run", "--rm", home.name, "cat", "/srv/more/7").out == b"7" * 3000
    print(f"# killed: {hits}", flush=True)
    if ROUNDS >= 2 * len(KINDS):  # in a few rounds all may have come too late
        assert {"boxlite", "boxlite-pull", "boxlite-unpack", "inside"} <= set(hits), hits


def undisturbed(home, disks):
    """How long things take here, in seconds, and the children's part of them; and the disk as it shall be."""
    took = {}
    for what, *command in (("boot", "run", "--rm", home.name, "true"), ("load", "load", home.archive, "--name", "load:1"),
                           ("import", "import", home.tar, "import:1"), ("rmi", "rmi", "load:1", "import:1", home.name), ("prune", "prune", "-a"),
                           ("run", "run", "--rm", home.name, "true"), ("rmi", "rmi", home.name), ("prune", "prune", "-a"),
                           ("pull", "pull", "-q", home.name)):
        began = time.monotonic()
        r = home.ok(*command)
        took[what] = time.monotonic() - began
        check_files(home, disks)
    home.digest = r.text.strip()
    assert len(disks) == 1, disks
    took["rmi"] *= 0.5  # most of it is over before anybody strikes
    took["prune"] *= 0.5
    return {**took, "boxlite-pull": took["pull"] * 0.8, "inside": took["pull"] * 0.5, "boxlite-unpack": took["load"] * 0.6}


if __name__ == "__main__":
    boxtest.main(globals(), lambda: prepare(boxtest.Home()))
