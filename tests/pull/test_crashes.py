#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boxlite-pull that is killed or runs twice, and what its jail lets it have; run as every kind of user."""
import contextlib
import random
import threading

from pulllib import *
from registry import *

BIG = 6 << 20


def big(reg, tag="1", size=BIG):
    return reg.image("library/odd", tag, [os.urandom(size), b"small"])


def size_of(path):
    with contextlib.suppress(OSError):
        return os.path.getsize(path)
    return 0


def stalled_in_the_middle(reg, store, image, **kw):
    """A pull that has half of the first layer and gets no more."""
    reg.fault("/blobs/" + image.layers[0], stall(BIG // 2), times=1)
    p = store.start(plan(reg.host, "library/odd", "1", **kw))
    boxtest.wait_for(lambda: size_of(store.partial(image.layers[0])) >= BIG // 2 - (256 << 10), "half of the layer")
    return p


# --- killed ---

def test_a_killed_pull_goes_on_where_it_was(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        p = stalled_in_the_middle(reg, store, image)
        inner = p.inner()
        assert inner and inner != p.process.pid
        p.kill()
        boxtest.wait_for(lambda: not processes(), "the jailed program ends with the outer one")
        half = size_of(store.partial(image.layers[0]))
        assert not store.has(image.layers[0])
        reg.forget()
        result = expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert reg.sent(image.layers[0]) == BIG - half, (reg.sent(image.layers[0]), half)
        told = [int(done) for index, done in result.words("progress") if index == "0"]
        assert told[0] >= half, (told, half)
        store.check(*all_of(image))


def test_a_killed_jail_is_told_of(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        with stalled_in_the_middle(reg, store, image) as p:
            os.kill(p.inner(), signal.SIGKILL)
            expect_error(p.wait(), "internal", "signal 9")


def test_a_damaged_rest_is_fetched_again(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        stalled_in_the_middle(reg, store, image).kill()
        boxtest.wait_for(lambda: not processes(), "it has ended")
        with open(store.partial(image.layers[0]), "r+b") as f:
            f.seek(12345)
            f.write(b"damage")
        reg.forget()
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert reg.count("GET", image.layers[0]) == 2
        store.check(*all_of(image))


def test_a_rest_that_is_too_long_or_complete_is_dealt_with(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        os.mkdir(os.path.join(store.path, "partial"))
        with open(store.partial(image.layers[0]), "wb") as f:
            f.write(reg.blobs[image.layers[0]])
        with open(store.partial(image.layers[1]), "wb") as f:
            f.write(b"longer than it should be")
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert reg.count("GET", image.layers[0]) == 0 and reg.count("GET", image.layers[1]) == 1
        store.check(*all_of(image))


def test_when_nobody_reads_the_pull_ends(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        with stalled_in_the_middle(reg, store, image) as p:
            p.status.close()
            assert p.process.wait(timeout=10) == 3
            boxtest.wait_for(lambda: not processes(), "all of it ends")
            assert size_of(store.partial(image.layers[0])) > 0


def test_killed_at_any_moment_it_leaves_nothing_wrong(store):
    chance = random.Random(7)
    with FaultyRegistry() as reg:
        image = reg.image("library/odd", "1", [os.urandom(400000 + i) for i in range(8)])
        for _ in range(25):
            with store.start(plan(reg.host, "library/odd", "1")) as p:
                boxtest.select.select([], [], [], chance.uniform(0.002, 0.05))
                victim = chance.choice([p.process.pid, p.inner() or p.process.pid])
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(victim, signal.SIGKILL)
                p.process.wait(timeout=20)
            for name in os.listdir(os.path.join(store.path, "sha256")) if os.path.exists(store.path + "/sha256") else []:
                with open(store.blob(name), "rb") as f:
                    assert hashlib.file_digest(f, "sha256").hexdigest() == name, "a published blob is wrong"
        result = expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert len(result.words("done")) + len([w for w in result.words("layer") if w[3] == "have"]) == 8
        for name in os.listdir(os.path.join(store.path, "partial")):
            assert name.endswith(".tmp"), name  # for the collector
            os.unlink(os.path.join(store.path, "partial", name))
        store.check(*all_of(image))


# --- two at once ---

def test_two_pulls_of_one_image_do_the_work_once(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        go = threading.Event()
        reg.fault("/blobs/" + image.layers[0], hold(go, after=BIG // 2), times=1)
        document = plan(reg.host, "library/odd", "1")
        with store.start(document) as first:
            boxtest.wait_for(lambda: size_of(store.partial(image.layers[0])) > 0, "the first has begun")
            with store.start(document) as second:
                second.read_until("wait 0")
                go.set()
                for p in (first, second):
                    expect_ok(p.wait(), image)
        assert reg.count("GET", "/blobs/") == 3, [r.path for r in reg.requests]
        store.check(*all_of(image))


def test_who_waits_takes_over_from_the_dead(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        first = stalled_in_the_middle(reg, store, image)
        with store.start(plan(reg.host, "library/odd", "1")) as second:
            second.read_until("wait 0")
            first.kill()
            expect_ok(second.wait(), image)
        assert reg.matching("GET", image.layers[0])[-1].headers.get("Range"), "it went on where the first one was"
        store.check(*all_of(image))


def test_eight_pulls_at_once_leave_one_of_each(store):
    with FaultyRegistry() as reg:
        image = reg.image("library/odd", "1", [os.urandom(50000) for _ in range(10)])
        running = [store.start(plan(reg.host, "library/odd", "1", concurrent=4)) for _ in range(8)]
        for p in running:
            expect_ok(p.wait(), image)
        assert reg.count("GET", "/blobs/") == 11, reg.count("GET", "/blobs/")
        store.check(*all_of(image))


# --- memory ---

def test_memory_does_not_grow_with_the_image(store):
    size = 300 << 20
    path = os.path.join(store.path, "blob")
    with open(path, "wb") as f:
        f.truncate(size)
    with FaultyRegistry() as reg:
        image = reg.image("library/odd", "1", [path])
        result = expect_ok(store.pull(reg.host, "library/odd", "1", peak=True), image)
        assert 4 << 20 < result.peak <= 64 << 20, f"{result.peak >> 20} MiB"
        print(f"# {result.peak >> 20} MiB")
        os.unlink(path)


# --- the jail ---

def look_inside(pid):
    with open(f"/proc/{pid}/status") as f:
        facts = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    return {k: v.strip() for k, v in facts.items()}


def open_files(pid):
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return links


def test_the_jail_holds_what_it_should(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        with stalled_in_the_middle(reg, store, image) as p:
            pid = p.inner()
            facts = look_inside(pid)
            assert facts["Seccomp"] == "2" and facts["Seccomp_filters"] >= "2" and facts["NoNewPrivs"] == "1", facts
            assert all(int(facts[c], 16) == 0 for c in ("CapInh", "CapPrm", "CapEff", "CapAmb")), facts
            assert (facts["NSpid"].split()[-1] != str(pid)) == (os.environ.get("BX_TEST_BARE") != "1"), facts["NSpid"]
            refused = [w for w in p.said("retry") if "namespaces" in " ".join(w)]
            assert len(refused) == (os.environ.get("BX_TEST_BARE") == "1"), refused
            if not real_root():
                return  # nobody else may look further
            assert os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
            assert os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
            with open(PROGRAM, "rb") as f:
                sanitized = b"__asan_init" in f.read()  # sanitizers want /proc and write reports
            links = open_files(pid)
            inside = ("/blobs", "/dev/null")
            assert all(not k.startswith("/") or k in inside or "/sha256" in k or "/partial" in k or sanitized and "(deleted)" in k
                       for k in links), links
            assert sorted(os.listdir(f"/proc/{pid}/root/blobs")) == ["partial", "sha256"]
            roots = set(os.listdir(f"/proc/{pid}/root"))
            # The program itself is there under its own path, wherever it was built.
            own = os.path.realpath(PROGRAM).split("/")[1]
            assert ("proc" in roots) == sanitized and not roots & ({"home", "root", "dev", "sys", "var", "run"} - {own}), roots
            assert not os.path.exists(f"/proc/{pid}/root/etc/passwd")


main(globals())
