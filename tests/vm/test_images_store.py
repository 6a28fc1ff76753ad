# SPDX-License-Identifier: Apache-2.0
"""Images named, counted, removed and collected: what is needed stays, what is not goes, whoever else is at work and whoever is killed.
Few machines are started."""
import fcntl
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import mkimage
from mkimage import directory, file

SEED = int(os.environ.get("BOXLITE_TEST_SEED", "7"))
DAY = 86400


def noise(size, seed):
    return random.Random(seed).randbytes(size)


BASE = [directory("bin"), file("bin/base", noise(300_000, 1))]
EXTRA = [file("extra", noise(90_000, 2))]


def make_home():
    home = boxtest.Home()
    home.work = os.path.join(home.path, "made")
    os.mkdir(home.work)
    return home


def layout(home, name, layers, **kw):
    layers = [mkimage.layer_bytes(layer) for layer in layers]
    path = os.path.join(home.work, hashlib.sha256(repr((name, layers, kw)).encode()).hexdigest())
    if not os.path.exists(path):
        mkimage.oci_layout(path, name, layers, **kw)
    return path


def load(home, name, layers, **kw):
    home.ok("load", layout(home, name, layers, **kw))
    return name


def images(home):
    return {f"{i['Repository']}:{i['Tag']}": i for i in json.loads(home.ok("images", "--format", "json").text)}


def inspect(home, name):
    return json.loads(home.ok("image", "inspect", name).text)[0]


def prune(home, *args):
    return json.loads(home.ok("prune", "--format", "json", *args).text)


def blob_dir(home):
    return os.path.join(home.path, "blobs", "sha256")


def blobs(home):
    return set(os.listdir(blob_dir(home))) if os.path.exists(blob_dir(home)) else set()


def disks(home):
    return {n for n in os.listdir(os.path.join(home.path, "disks")) if n.endswith(".ext4")}


def templates(home):
    return {n for n in os.listdir(os.path.join(home.path, "templates"))
            if os.path.isdir(os.path.join(home.path, "templates", n)) and not n.startswith(".")}


def allocated(*paths):
    """What files and trees take on the disk, directories not counted."""
    total = 0
    for path in paths:
        found = [path] if os.path.isfile(path) else [os.path.join(d, f) for d, _, files in os.walk(path) for f in files]
        total += sum(os.lstat(p).st_blocks * 512 for p in found)
    return total


def stored(home):
    return allocated(*(os.path.join(home.path, d) for d in ("blobs", "disks", "templates", "tmp")))


def needed_by(home, name):
    i = inspect(home, name)
    return {d.split(":")[1] for d in [i["Manifest"], i["Id"], *i["Layers"]]}


def make_disk(home, image):
    """A start that goes no further than the machine: the image's disk is made. (Where kvm works it goes further and fails at the command.)"""
    home.run("run", "--rm", image, "/nothing", env={"BOXLITE_ENGINE": "kvm"})


def rows(home):
    return sqlite3.connect(os.path.join(home.path, "db", "boxlite.db"), timeout=10, isolation_level=None)


def age(home, reference, days):
    """Its last use was so long ago."""
    ms = int((time.time() - days * DAY) * 1000)
    db = rows(home)
    db.execute("UPDATE image SET cached_ms = ?, used_ms = ? WHERE reference = ?", (ms, ms, "docker.io/library/" + reference))
    db.close()


def empty(home):
    home.remove_all()
    prune(home, "--all")
    assert not images(home) and not blobs(home) and not disks(home), (images(home), blobs(home), disks(home))


# --- sizes ---

def test_sizes_are_those_of_the_files(home):
    load(home, "one:1", [BASE, [file("a", noise(70_000, 3))]])
    load(home, "two:1", [BASE, BASE, [file("b", noise(50_000, 4))]])  # the same layer twice, and shared with the other
    make_disk(home, "one:1")
    size = {b: os.stat(os.path.join(blob_dir(home), b)).st_size for b in blobs(home)}
    one, two = needed_by(home, "one:1"), needed_by(home, "two:1")
    assert len(one & two) == 1 and one | two == set(size)
    listed = images(home)
    for name, own, other in (("one:1", one, two), ("two:1", two, one)):
        for i in (listed[name], inspect(home, name)):
            assert i["Size"] == sum(size[b] for b in own), (name, i)
            assert i["SharedSize"] == sum(size[b] for b in own & other), (name, i)
            assert i["UniqueSize"] == sum(size[b] for b in own - other), (name, i)
    i = inspect(home, "one:1")
    assert disks(home) == {i["Disk"]}
    assert i["DiskBytes"] == os.stat(os.path.join(home.path, "disks", i["Disk"])).st_blocks * 512 > 0
    assert inspect(home, "two:1")["DiskBytes"] == 0
    # Two names of one image share nothing with anybody by that.
    home.ok("tag", "one:1", "uno:1")
    assert images(home)["uno:1"]["SharedSize"] == i["SharedSize"]
    wide = home.ok("images", "--size").text.splitlines()
    assert wide[0].split() == ["REPOSITORY", "TAG", "ID", "CREATED", "SIZE", "SHARED", "UNIQUE", "DISK", "TEMPLATES"], wide[0]
    empty(home)


def test_what_prune_says_it_freed_is_what_was_freed(home):
    load(home, "one:1", [BASE, EXTRA])
    load(home, "two:1", [BASE])
    make_disk(home, "one:1")
    before = stored(home)
    would = prune(home, "--all", "--dry-run")
    assert stored(home) == before and set(images(home)) == {"one:1", "two:1"}
    did = prune(home, "--all")
    assert did == would, (would, did)
    assert did["Bytes"] == before - stored(home) > 0, (did, before, stored(home))
    assert did["Disks"] == 1 and did["Blobs"] == 6 and sorted(did["Images"]) == ["docker.io/library/one:1", "docker.io/library/two:1"], did
    assert prune(home, "--all")["Bytes"] == 0
    assert os.listdir(os.path.join(home.path, "disks")) == []  # no lock either


# --- names ---

def test_an_image_is_called_by_name_digest_and_id(home):
    load(home, "one:1", [BASE])
    load(home, "two:1", [EXTRA])
    i = inspect(home, "one:1")
    for text in (i["Id"], i["Id"][7:], i["Id"][7:19], i["Manifest"], i["Manifest"][7:17], "docker.io/library/one:1", "one@" + i["Manifest"],
                 "one:1@" + i["Manifest"]):
        assert inspect(home, text)["Reference"] == "docker.io/library/one:1", text
    for text in ("three:1", "one:2", "abc", "0" * 64, "sha256:" + "0" * 64, "two@" + i["Manifest"], "ONE:1", "", "x y", "é", "a" * 5000):
        r = home.run("image", "inspect", text)
        assert r.code != 0 and b"image" in r.err.lower() and r.out.strip() == b"[]", (text, r)
    empty(home)


def test_tag_names_an_image_again_and_takes_names_over(home):
    load(home, "one:1", [BASE])
    load(home, "two:1", [EXTRA])
    one, two = inspect(home, "one:1")["Id"], inspect(home, "two:1")["Id"]
    home.ok("tag", "one:1", "localhost:5000/team/one")
    home.ok("tag", one[7:19], "uno:1")
    assert sorted(inspect(home, "uno:1")["Names"]) == ["docker.io/library/one:1", "docker.io/library/uno:1", "localhost:5000/team/one:latest"]
    home.ok("tag", "one:1", "one:1")
    home.ok("tag", "one:1", "two:1")
    assert inspect(home, "two:1")["Id"] == one
    assert home.run("image", "inspect", two).code != 0
    assert prune(home)["Blobs"] == 3  # what was two
    for source, target in (("three:1", "x:1"), ("one:1", "X:1"), ("one:1", ""), ("one:1", "x@" + inspect(home, "one:1")["Manifest"])):
        r = home.run("tag", source, target)
        assert r.code not in (0, None) and r.err.startswith(b"Error: "), r
    empty(home)


def test_an_image_goes_with_its_last_name(home):
    load(home, "one:1", [BASE, EXTRA])
    load(home, "two:1", [BASE])
    home.ok("tag", "one:1", "uno:1")
    make_disk(home, "one:1")
    one = inspect(home, "one:1")
    r = home.run("rmi", one["Id"])
    assert r.code != 0 and b"2 names" in r.err and b"uno:1" in r.err, r
    assert home.ok("rmi", "one:1").text == "docker.io/library/one:1\n"
    assert needed_by(home, "uno:1") <= blobs(home) and disks(home) == {one["Disk"]}
    home.ok("rmi", one["Id"][7:19])
    assert blobs(home) == needed_by(home, "two:1") and not disks(home)
    home.ok("tag", "two:1", "due:1")
    home.ok("rmi", "-f", inspect(home, "two:1")["Id"])
    assert not images(home) and not blobs(home)
    r = home.run("rmi", "one:1", "two:1")
    assert r.code != 0 and r.err.count(b"no such image") == 2, r


# --- who needs it ---

def test_an_image_that_a_box_waits_for_stays(home):
    load(home, "one:1", [BASE])
    r = home.run("run", "--name", "waiting", "one:1", "/nothing", env={"BOXLITE_ENGINE": "kvm"})
    assert r.code != 0
    if "waiting" not in {b["Names"] for b in home.boxes()}:
        db = rows(home)  # the command removes a box whose first start fails: put one there as a program would leave it
        db.execute("INSERT INTO box (id, name, image, options, state, created_ms) VALUES ('waitingwaiti', 'waiting', 'one:1', '{}', 1, 1)")
        db.close()
    r = home.run("rmi", "one:1")
    assert r.code != 0 and b"used by box waiting" in r.err, r
    assert prune(home, "--all")["Images"] == []
    assert needed_by(home, "one:1") <= blobs(home)
    home.ok("tag", "one:1", "uno:1")  # the other name is nobody's
    home.ok("rmi", "uno:1")
    home.ok("rmi", "-f", "one:1")
    home.remove_all()
    empty(home)


def test_a_box_keeps_its_disk_when_its_image_is_forced_away(home):
    home.ok("load", boxtest.busybox_image())
    home.ok("run", "-d", "--name", "keeper", "busybox:test", "sleep", "1000")
    home.ok("exec", "keeper", "--", "sh", "-c", "echo kept >/kept; sync")
    disk = inspect(home, "busybox:test")["Disk"]
    assert inspect(home, "busybox:test")["Boxes"] == 1
    r = home.run("rmi", "busybox:test")
    assert r.code != 0 and b"used by box keeper" in r.err, r
    assert prune(home, "--all")["Images"] == []
    home.ok("rmi", "-f", "busybox:test")
    prune(home, "--all")
    assert disks(home) == {disk} and len(blobs(home)) == 2, (disks(home), blobs(home))  # manifest and configuration
    assert home.ok("exec", "keeper", "--", "cat", "/kept").text == "kept\n"
    home.ok("stop", "keeper")
    prune(home, "--all")
    home.ok("start", "keeper")
    assert home.ok("exec", "keeper", "--", "sh", "-c", "cat /kept && busybox true && echo whole").text == "kept\nwhole\n"
    home.ok("rm", "-f", "keeper")
    did = prune(home)
    assert did["Disks"] == 1 and did["Blobs"] == 2, did
    empty(home)


def test_blobs_stay_while_an_image_is_being_added(home):
    load(home, "one:1", [BASE])
    with open(os.path.join(home.path, "blobs", "lease"), "w") as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)
        home.ok("load", layout(home, "two:1", [EXTRA]))  # any number at once
        r = home.ok("rmi", "one:1")
        assert b"Kept 3 blobs" in r.err, r
        did = prune(home, "--all")
        assert did["Blobs"] == 0 and did["BlobsKept"] == 6, did
    did = prune(home)
    assert did["Blobs"] == 6 and did["BlobsKept"] == 0, did
    # And who adds waits for a collector, which is never long at it.
    with open(os.path.join(home.path, "blobs", "lease"), "w") as lease:
        fcntl.flock(lease, fcntl.LOCK_EX)
        p = home.popen("load", layout(home, "two:1", [EXTRA]))
        try:
            p.wait(0.3)
            raise AssertionError("it did not wait")
        except subprocess.TimeoutExpired:
            pass
    assert p.wait(10) == 0
    empty(home)


# --- by age, by size ---

def test_prune_by_age_takes_what_was_not_used(home):
    for n, days in ((1, 40), (2, 20), (3, 0)):
        load(home, f"aged:{n}", [[file("f", noise(50_000, 10 + n))]])
        age(home, f"aged:{n}", days)
    assert prune(home, "--older-than", "50d")["Images"] == []
    assert prune(home, "--older-than", "30d", "-n")["Images"] == ["docker.io/library/aged:1"]
    assert prune(home, "--older-than", "30d")["Images"] == ["docker.io/library/aged:1"]
    make_disk(home, "aged:2")  # a start is a use
    assert prune(home, "--older-than", "1h")["Images"] == []
    for text in ("", "d", "-1d", "1y", "1.5h", "99999999999999999999d", "0"):
        assert home.run("prune", "--older-than", text).code == 2, text
    empty(home)


def test_prune_by_size_takes_the_longest_unused_first(home):
    for n, days in ((1, 10), (2, 30), (3, 20)):
        load(home, f"sized:{n}", [BASE, [file("f", noise(400_000, 20 + n))]], compression="")
        age(home, f"sized:{n}", days)
    kept = stored(home) - allocated(os.path.join(home.path, "tmp"))
    assert prune(home, "--keep", str(kept))["Images"] == []
    assert prune(home, "--keep", str(kept - 1))["Images"] == ["docker.io/library/sized:2"]
    kept = stored(home)
    assert prune(home, "--max-size", str(kept - 300_000))["Images"] == ["docker.io/library/sized:3"]
    assert set(images(home)) == {"sized:1"}
    assert stored(home) <= kept - 400_000
    assert prune(home, "--keep", "1k")["Images"] == ["docker.io/library/sized:1"]
    for text in ("0", "x", "-1", "1q"):
        assert home.run("prune", "--keep", text).code == 2, text
    empty(home)


# --- templates, and what killed programs left ---

def fake_template(home, name, key, days, size=200_000):
    path = os.path.join(home.path, "templates", name)
    os.mkdir(path)
    for part, data in (("mem", noise(size, 99)), ("state", b"s" * 5000), ("files", b"/bin/true\n"), ("key", key.encode())):
        with open(os.path.join(path, part), "wb") as f:
            f.write(data)
    when = time.time() - days * DAY
    os.utime(path, (when, when))
    return path


def test_templates_go_with_their_images_and_with_their_versions(home):
    for name in templates(home):
        subprocess.run(["rm", "-r", os.path.join(home.path, "templates", name)], check=True)
    load(home, "one:1", [BASE])
    load(home, "two:1", [EXTRA])
    make_disk(home, "one:1")
    make_disk(home, "two:1")
    one, two = inspect(home, "one:1")["Disk"], inspect(home, "two:1")["Disk"]
    new = fake_template(home, "tcg-c1-m512-00000000000000a1", "version 2\n", 0.1)
    old = fake_template(home, "tcg-c1-m512-00000000000000a0", "version 1\n", 2)
    idle = fake_template(home, "tcg-c2-m512-00000000000000a0", "version 2\n", 40)
    of_one = fake_template(home, "tcg-c1-m512-i00000000000000b1", f"version 2\ndisk={one}\ndisk-id=1\n", 0)
    of_two = fake_template(home, "tcg-c1-m512-i00000000000000b2", f"version 2\ndisk={two}\ndisk-id=1\n", 0)
    of_none = fake_template(home, "tcg-c1-m512-i00000000000000b3", "version 2\ndisk=" + "0" * 64 + ".ext4\ndisk-id=1\n", 0)
    assert inspect(home, "one:1")["TemplateBytes"] == images(home)["one:1"]["TemplateBytes"] == allocated(of_one)
    gone = allocated(old, idle, of_none)
    did = prune(home)
    assert did["Templates"] == 3 and did["Bytes"] == gone, (did, gone)
    assert templates(home) == {os.path.basename(p) for p in (new, of_one, of_two)}
    home.ok("rmi", "two:1")
    assert templates(home) == {os.path.basename(p) for p in (new, of_one)}
    # One that is being made anew is left alone.
    with open(of_one + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        home.ok("rmi", "one:1")
        assert os.path.basename(of_one) in templates(home)
    assert prune(home)["Templates"] == 1
    # Within a size, templates are what goes last.
    when = time.time() - 3600
    os.utime(new, (when, when))
    assert prune(home, "--keep", "1k")["Templates"] == 1 and not templates(home)
    empty(home)


def test_what_killed_programs_left_is_taken_and_what_live_ones_hold_is_not(home):
    tmp, partial, made = (os.path.join(home.path, d) for d in ("tmp", "blobs/partial", "templates"))
    os.makedirs(partial, exist_ok=True)
    held = []

    def leave(path, seconds, hold=False, tree=False):
        if tree:
            os.makedirs(os.path.join(path, "sub"))
        target = os.path.join(path, "sub", "f") if tree else path
        with open(target, "wb") as f:
            f.write(noise(30_000, 5))
        if hold:
            held.append(os.open(path, os.O_RDONLY))
            fcntl.flock(held[-1], fcntl.LOCK_EX)
        when = time.time() - seconds
        os.utime(path, (when, when))
        return path

    take = [leave(os.path.join(tmp, "gc-abc"), 0, tree=True), leave(os.path.join(partial, "a" * 64), 2 * DAY),
            leave(os.path.join(partial, "manifest.abc.tmp"), 700),
            leave(os.path.join(made, ".x.new"), 0, tree=True), leave(os.path.join(made, ".x.abc.old"), 0, tree=True)]
    keep = [leave(os.path.join(tmp, "young"), 0), leave(os.path.join(tmp, "gc-held"), 0, hold=True, tree=True),
            leave(os.path.join(partial, "b" * 64), 3600), leave(os.path.join(partial, "manifest.def.tmp"), 60), leave(os.path.join(partial, "c" * 64), 2 * DAY, hold=True),
            leave(os.path.join(made, ".y.new"), 0, tree=True)]
    held.append(os.open(os.path.join(made, ".y.lock"), os.O_RDWR | os.O_CREAT))
    os.rename(os.path.join(made, ".y.lock"), os.path.join(made, "y.lock"))
    fcntl.flock(held[-1], fcntl.LOCK_EX)
    gone = allocated(*take)
    did = prune(home)
    assert did["Bytes"] == gone, (did, gone)
    assert not any(map(os.path.exists, take)) and all(map(os.path.exists, keep))
    for fd in held:
        os.close(fd)
    os.remove(keep[0])
    prune(home, "--all")
    assert not any(map(os.path.exists, keep[1:])), [p for p in keep if os.path.exists(p)]
    assert sorted(os.listdir(tmp)) == []


def test_a_database_of_the_first_schema_is_taken_over(home):
    load(home, "one:1", [BASE])
    db = rows(home)
    db.execute("ALTER TABLE image DROP COLUMN used_ms")
    db.execute("PRAGMA user_version = 101")
    db.close()
    made = inspect(home, "one:1")
    assert made["UsedAt"] == made["CachedAt"]
    home.ok("tag", "one:1", "uno:1")
    assert prune(home)["Blobs"] == 0
    empty(home)


def test_an_image_without_layers_is_refused_in_words(home):
    r = home.run("load", layout(home, "none:1", []))
    assert r.code != 0 and b"no layers" in r.err, r
    empty(home)


def test_a_large_member_of_an_archive_is_taken(home):
    path = os.path.join(home.work, "large.tar")
    mkimage.oci_archive(path, "large:1", [[file("f", noise(3_000_000, 6))]], compression="")
    home.ok("load", path)
    whole(home)
    empty(home)


# --- several at once, and death ---

def whole(home):
    """Every image has all its blobs, and they are what their names say."""
    db = rows(home)
    found = db.execute("SELECT reference, manifest_digest, manifest FROM image").fetchall()
    db.close()
    for reference, manifest, text in found:
        m = json.loads(text)
        for digest in [manifest, m["config"]["digest"], *(l["digest"] for l in m["layers"])]:
            with open(os.path.join(blob_dir(home), digest.split(":")[1]), "rb") as f:
                assert hashlib.sha256(f.read()).hexdigest() == digest.split(":")[1], (reference, digest)
    return len(found)


def beside(home, args, work):
    """Does work while another program runs the command over and over."""
    stop, results = threading.Event(), []

    def again():
        while not stop.is_set():
            results.append(home.run(*args))

    t = threading.Thread(target=again)
    t.start()
    try:
        work()
    finally:
        stop.set()
        t.join()
    for r in results:
        assert r.code == 0 or b"no such image" in r.err, r
    return len(results)


def test_prune_beside_load_takes_nothing_of_it(home):
    paths = [layout(home, f"beside:{n}", [BASE, [file("f", noise(20_000, 30 + n))], EXTRA]) for n in range(4)]

    def work():
        for n in range(24):
            home.ok("load", paths[n % 4])
            needed = needed_by(home, f"beside:{n % 4}")
            assert needed <= blobs(home), needed - blobs(home)
            if n % 6 == 5:
                home.ok("rmi", f"beside:{(n - 2) % 4}")

    assert beside(home, ["prune"], work) > 3
    whole(home)
    empty(home)


def test_prune_of_everything_beside_load_leaves_whole_images_or_none(home):
    path = layout(home, "beside:9", [[file(f"f{n}", noise(9_000, 60 + n))] for n in range(12)])

    def work():
        for _ in range(20):
            home.ok("load", path)

    assert beside(home, ["prune", "--all"], work) > 3
    whole(home)
    home.ok("load", path)
    assert whole(home) == 1
    empty(home)


def test_prune_beside_starts_takes_no_disk_away(home):
    home.ok("load", boxtest.busybox_image())

    ran = []

    def work():
        for _ in range(20):
            n = len(ran)
            home.ok("load", boxtest.busybox_image())
            r = home.run("run", "--name", f"racer{n}", "busybox:test", "sh", "-c", "busybox true && echo whole")
            if r.out == b"whole\n":
                ran.append(f"racer{n}")
                home.ok("rmi", "-f", "busybox:test")
                if len(ran) > 1:
                    home.ok("rm", ran[-2])  # its disk goes, unless the next one stands on it too
                if len(ran) % 4 == 0:
                    return
            else:
                # A start that finds no image goes to pull it, and there is none to be had.
                assert any(word in r.err for word in (b"no such image", b"removed meanwhile", b"network error")), r

    assert beside(home, ["prune", "--all"], work) > 3  # mostly quicker than the start
    assert beside(home, ["prune", "--older-than", "1s"], work) > 3  # mostly not
    assert ran, "no start was quick enough"
    home.ok("start", ran[-1])  # it still has what it stands on
    whole(home)
    empty(home)


def test_a_collector_that_is_killed_leaves_nothing_wrong(home):
    dice = random.Random(SEED)
    paths = [layout(home, f"killed:{n}", [[file(f"f{n}", noise(8_000, 100 * n + k))] for k in range(20)] + [BASE]) for n in range(3)]
    outcomes = {}
    for number in range(30):
        for path in paths:
            home.ok("load", path)
        if number % 5 == 0:
            make_disk(home, "killed:0")
        args = dice.choice([["prune", "--all"], ["rmi", "-f", "killed:1"], ["prune", "--keep", "600k"]])
        p = home.popen(*args)
        try:
            p.wait(dice.uniform(0.001, 0.015))
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
        p.communicate()
        outcomes[p.returncode] = outcomes.get(p.returncode, 0) + 1
        whole(home)
        assert set(images(home)) <= {"killed:0", "killed:1", "killed:2"}
        if number % 3 == 2:
            empty(home)
            assert os.listdir(os.path.join(home.path, "tmp")) == [], os.listdir(os.path.join(home.path, "tmp"))
    empty(home)
    assert os.listdir(os.path.join(home.path, "tmp")) == []
    print(f"# ends of collectors: {outcomes}", flush=True)
    assert outcomes.get(-signal.SIGKILL, 0) >= 3, outcomes


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
