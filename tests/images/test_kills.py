#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments, of every process that has to do with images: while one is pulled, loaded, imported, converted, removed.

After each round nothing of it runs, `images`, `prune` and a pull work, no file is left that nothing needs, and every blob and disk is what it
was the first time. BOXLITE_TEST_KILL_ROUNDS=200 plays more rounds than there are kinds of them; BOXLITE_TEST_SEED=N plays those of a seed again.
"""
import contextlib
import hashlib
import itertools
import json
import os
import random
import signal
import sys
import tarfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import imagelib  # noqa: E402  (finds the others)
import boxtest  # noqa: E402
import mkimage  # noqa: E402
import registry  # noqa: E402
from mkimage import directory, file, whiteout  # noqa: E402

SEED = int(os.environ.get("BOXLITE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))

# What is done, and who dies at it. "inside" is the jailed half of boxlite-pull; "all" is everything at once, as when the host's power fails.
KINDS = [("pull", "boxlite"), ("pull", "boxlite-pull"), ("pull", "inside"), ("pull", "all"),
         ("load", "boxlite"), ("load", "boxlite-unpack"), ("load", "all"),
         ("import", "boxlite"), ("import", "boxlite-unpack"),
         ("run", "boxlite"), ("run", "boxlite-pull"), ("run", "boxlite-unpack"), ("run", "all"),
         ("rmi", "boxlite"), ("prune", "boxlite")]
ROUNDS = int(os.environ.get("BOXLITE_TEST_KILL_ROUNDS", len(KINDS)))


def layers():
    noise = random.Random(1)
    tree = mkimage.busybox_tree()
    return [tree, [directory("srv"), *(file(f"srv/{i:03d}", noise.randbytes(i * 150)) for i in range(200))],
            [file("srv/big", noise.randbytes(3 << 20)), whiteout("srv/007")],
            [directory("srv/more"), *(file(f"srv/more/{i}", b"%d" % i * 3000) for i in range(100))]]


def make_home():
    home = boxtest.Home()
    home.work = os.path.join(home.path, "made")
    home.tmp = os.path.join(home.work, "tmp")
    os.makedirs(home.tmp)
    home.env["TMPDIR"] = home.tmp
    home.layout, home.archive, home.tar = (os.path.join(home.work, n) for n in ("layout", "archive.tar", "root.tar"))
    mkimage.oci_layout(home.layout, "kills:1", layers(), {"Cmd": ["true"]}, ["gzip", "gzip", "zstd", ""])
    with tarfile.open(home.archive, "w") as t:
        for name in sorted(os.listdir(home.layout)):
            t.add(os.path.join(home.layout, name), arcname=name)
    with open(home.tar, "wb") as f:
        f.write(mkimage.tar([e for layer in layers()[:2] for e in layer]))
    return home


# --- what must hold ---

def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def disk_digest(path):
    """Of what is in a disk, and where: it is nearly all holes."""
    h = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        end, at = os.fstat(f.fileno()).st_size, 0
        with contextlib.suppress(OSError):  # ENXIO: only a hole is left
            while at < end:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
                until = os.lseek(f.fileno(), at, os.SEEK_HOLE)
                while at < until:
                    data = os.pread(f.fileno(), min(4096, until - at), at)
                    if data.strip(b"\0"):
                        h.update(b"%d " % at + data)
                    at += len(data)
        h.update(b"%d" % end)
    return h.hexdigest()


def listing(home, *path):
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(os.path.join(home.path, *path)))
    return []


def check_files(home, disks):
    """disks: digests of the disks, by name; a new one is remembered."""
    for name in listing(home, "blobs", "sha256"):
        assert sha256(os.path.join(home.path, "blobs", "sha256", name)) == name, f"blob {name} is wrong"
    for name in listing(home, "disks"):
        if name.endswith(".ext4"):
            found = disk_digest(os.path.join(home.path, "disks", name))
            assert disks.setdefault(name, found) == found, f"disk {name} is another one now"
    assert listing(home, "blobs", "partial") == [], listing(home, "blobs", "partial")
    assert home.leftovers() == [], home.leftovers()
    assert os.listdir(home.tmp) == [], os.listdir(home.tmp)
    assert not home.mounts(), home.mounts()
    with open("/proc/net/unix", encoding="utf-8") as f:
        assert home.path not in f.read()


def grow_old(home):
    """Eleven minutes pass for what was not finished: until then it might be somebody's who is about to lock it."""
    when = time.time() - 660
    for path in [("tmp", n) for n in listing(home, "tmp")] + [("blobs", "partial", n) for n in listing(home, "blobs", "partial")]:
        os.utime(os.path.join(home.path, *path), (when, when))


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

def born(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return f.read().rsplit(")", 1)[1].split()[19]


def comm(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
        return f.read().strip()


def family(home, first):
    """Processes of the home and what they started, from a pid on: {(pid, birth): name}. The jailed half of boxlite-pull is called "inside"."""
    names, outer = {}, os.path.realpath(home.path) + "/"
    for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) >= first):
        with contextlib.suppress(OSError):
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            if any(link.startswith(outer) for link in links):
                names[pid, born(pid)] = comm(pid)
    pending = [pid for pid, _ in names]
    for pid in pending:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            for child in map(int, f.read().split()):
                if (child, born(child)) not in names:
                    names[child, born(child)] = "inside" if comm(child) == "boxlite-pull" else comm(child)
                    pending.append(child)
    return names


def is_alive(pid, birth):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return fields[19] == birth and fields[0] != "Z"
    return False


def kill(pid, birth):
    """Whether it was there to be killed."""
    with contextlib.suppress(ProcessLookupError):
        if is_alive(pid, birth):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def pause(seconds):
    boxtest.select.select([], [], [], seconds)


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


def prepare(home, what, chance):
    """The state in which the next one is done. Mostly there is all to do."""
    if what in ("rmi", "prune"):
        home.ok("load", home.archive, "--name", "load:1")
    if what == "prune":
        home.ok("rmi", "load:1", home.name)
    elif what != "rmi" and chance.random() < 0.8:
        home.ok("rmi", *{i["Reference"] for i in json.loads(home.ok("images", "--format", "json").text)})
        home.ok("prune", "-a")


def play(home, reg, what, who, chance, disks, lengths):
    commands = {"pull": ["pull", "-q", home.name], "load": ["load", home.archive, "--name", "load:1"], "import": ["import", home.tar, "import:1"],
                "run": ["run", "--rm", home.name, "true"], "rmi": ["rmi", "load:1"], "prune": ["prune", "-a"]}
    prepare(home, what, chance)
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
        reg.layout(home.layout, "team/kills", "1")
        home.name = f"{reg.host}/team/kills:1"
        with open(os.path.join(home.path, "config.json"), "w", encoding="utf-8") as f:
            json.dump({"image_registries": [{"host": reg.host, "transport": "http"}]}, f)
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
    boxtest.main(globals(), make_home)
